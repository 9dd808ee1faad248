//! `miro-siem gaps`: what is not collected, open and lost; from the running daemon, or from its state where none runs.

use std::fmt::Write as _;

use serde::Serialize;

use super::{
    Exit, daemon, print,
    readable::{clean, cut},
    report, stopped,
    terminal::{indented, span},
};
use crate::{
    admin::status::{EndedGapStatus, GapEnd, GapState, GapStatus, RangeStatus, Status, instant},
    clock::Clock,
    config::{self, Environment, Settings},
    event::StreamId,
    pipeline::{Missing, Polled},
};

const NAME_CHARS_MAX: usize = 24;

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    #[command(flatten)]
    daemon: daemon::DaemonOptions,
    /// Show what is being collected, the gaps of the last 90 days that have closed, and the time that is verified: an hour in it without
    /// events had none
    #[arg(long)]
    all: bool,
    /// Only those of this organisation, by its configured name
    #[arg(long, value_name = "NAME")]
    org: Option<String>,
    /// Only those of this stream: audit, content, ai
    #[arg(long, value_name = "STREAM", value_parser = ["audit", "content", "ai"])]
    stream: Option<String>,
    /// Print the gaps as a JSON array
    #[arg(long)]
    json: bool,
}

/// What one stream has and has not.
struct Stream {
    org: String,
    kind: String,
    verified: Vec<RangeStatus>,
    gaps: Vec<GapStatus>,
    ended: Vec<EndedGapStatus>,
}

/// A range of a stream; the members of the JSON.
#[derive(Clone, Debug, Serialize)]
struct Row<'a> {
    org: &'a str,
    stream: &'a str,
    from: &'a str,
    to: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    secs: Option<f64>,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    opened_at: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lost_from: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<&'a str>,
}

pub(super) fn run(options: &Options) -> Exit {
    daemon::with_admin(&options.daemon, async |admin| {
        let known = match daemon::ask(&admin).await {
            Ok(answer) => of_status(answer.status),
            Err(error) if options.daemon.admin.is_none() && is_absent(&error) => match settings(options) {
                Some(settings) => of_state(&settings).await?,
                None => return Err(error),
            },
            Err(error) => return Err(error),
        };
        let wanted: Vec<Stream> = known.into_iter().filter(|stream| is_wanted(options, stream)).collect();
        if wanted.is_empty() && (options.org.is_some() || options.stream.is_some()) {
            report("error: there is no such organisation or stream; `miro-siem status` lists them");
            return Ok(Exit::Usage);
        }
        let rows: Vec<Row<'_>> = wanted.iter().flat_map(|stream| stream.rows(options.all)).collect();
        let text = if options.json { serde_json::to_string(&rows)? + "\n" } else { table(&rows) };
        Ok(print(text.as_bytes()))
    })
}

fn is_absent(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(daemon::DaemonError::Absent { .. } | daemon::DaemonError::Off))
}

/// The configuration; `None` without a file, where there is no saying which state is meant.
fn settings(options: &Options) -> Option<Settings> {
    config::load(options.daemon.config.config.as_deref(), &Environment::of_process()).ok().map(|loaded| loaded.settings)
}

fn is_wanted(options: &Options, stream: &Stream) -> bool {
    options.org.as_ref().is_none_or(|org| *org == stream.org) && options.stream.as_ref().is_none_or(|kind| *kind == stream.kind)
}

fn of_status(status: Status) -> Vec<Stream> {
    let stream = |row: crate::admin::status::StreamStatus| Stream {
        org: row.org,
        kind: row.stream,
        verified: row.coverage,
        gaps: row.gaps,
        ended: row.gaps_ended,
    };
    status.streams.into_iter().map(stream).collect()
}

/// As the daemon would say it now. Time that has passed without it is a gap as well.
async fn of_state(settings: &Settings) -> anyhow::Result<Vec<Stream>> {
    report("no daemon answers; this is what its state says");
    let now = Clock::system().now();
    stopped::with_journal(settings, |journal| {
        let mut streams = Vec::new();
        for org in &settings.orgs {
            for stream in &org.streams {
                let polled = Polled { retention: stream.retention, interval: stream.poll_interval };
                let missing = Missing::of(journal, &StreamId::new(org.name.clone(), stream.kind), polled, now);
                let verified = missing.iter().flat_map(|missing| missing.coverage.ranges());
                streams.push(Stream {
                    org: org.name.to_string(),
                    kind: stream.kind.to_string(),
                    verified: verified.map(|range| RangeStatus { from: instant(range.from()), to: instant(range.to()) }).collect(),
                    gaps: missing.as_ref().map(Missing::gaps).unwrap_or_default(),
                    ended: missing.as_ref().map(Missing::ended).unwrap_or_default(),
                });
            }
        }
        streams
    })
    .await
}

impl Stream {
    /// What is open and lost, in the order of time; with `all`, everything else that is known as well.
    fn rows(&self, all: bool) -> Vec<Row<'_>> {
        let plain = |from, to, state| Row {
            org: &self.org,
            stream: &self.kind,
            from,
            to,
            secs: None,
            state,
            opened_at: None,
            ended_at: None,
            lost_from: None,
            cause: None,
        };
        let gaps = self.gaps.iter().filter(|gap| all || gap.state != GapState::Pending).map(|gap| Row {
            secs: Some(gap.secs),
            opened_at: gap.opened_at.as_deref(),
            lost_from: gap.lost_from.as_deref(),
            cause: gap.cause.as_deref(),
            ..plain(&gap.from, &gap.to, gap.state.as_str())
        });
        let mut rows: Vec<Row<'_>> = gaps.collect();
        if all {
            // What was lost is a row already, for as long as it is missing.
            rows.extend(self.ended.iter().filter(|ended| ended.end == GapEnd::Closed).map(|ended| Row {
                secs: Some(ended.secs),
                opened_at: Some(&ended.opened_at),
                ended_at: Some(&ended.ended_at),
                cause: Some(&ended.cause),
                ..plain(&ended.from, &ended.to, ended.end.as_str())
            }));
            rows.extend(self.verified.iter().map(|range| plain(&range.from, &range.to, "verified")));
            rows.sort_by_key(|row| (row.from, row.to));
        }
        rows
    }
}

fn table(rows: &[Row<'_>]) -> String {
    let count = |state: GapState| rows.iter().filter(|row| row.state == state.as_str()).count();
    let (open, lost) = (count(GapState::Open), count(GapState::Lost));
    if rows.is_empty() {
        return "no gaps\n".to_owned();
    }
    let mut text = format!("{:<NAME_CHARS_MAX$} {:<8} {:<24} {:<24} {:>8}\n", "STREAM", "STATE", "FROM", "TO (NOT IN IT)", "LENGTH");
    for row in rows {
        let name = cut(&clean(&format!("{}/{}", row.org, row.stream)), NAME_CHARS_MAX);
        let line = format!(
            "{name:<NAME_CHARS_MAX$} {:<8} {:<24} {:<24} {:>8}",
            row.state,
            row.from,
            row.to,
            row.secs.map_or_else(String::new, span)
        );
        let _ = writeln!(text, "{}", line.trim_end());
        if let Some(said) = said(row) {
            text.push_str(&indented(&clean(&said)));
        }
    }
    let summary = match (open, lost) {
        (0, 0) => "no gaps".to_owned(),
        _ => format!("{open} open, will be collected; {lost} lost, past Miro's retention"),
    };
    let _ = writeln!(text, "\n{summary}");
    text
}

/// When it was found and why, when it ended, and when it will be lost.
fn said(row: &Row<'_>) -> Option<String> {
    let found = row.opened_at.map(|at| match row.cause {
        Some(cause) if !cause.is_empty() => format!("found {at}: {cause}"),
        _ => format!("found {at}"),
    });
    let ended = row.ended_at.map(|at| format!("closed {at}"));
    let lost = row.lost_from.filter(|_| row.state == GapState::Open.as_str()).map(|at| format!("lost from {at} on"));
    let parts: Vec<String> = [ended, lost, found].into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gap(org: &'static str, state: GapState) -> Row<'static> {
        let (from, to) = ("2026-11-20T10:00:00.000Z", "2026-11-20T12:00:00.000Z");
        let (opened_at, ended_at, lost_from, cause) = (None, None, None, None);
        Row { org, stream: "audit", from, to, secs: Some(7_200.0), state: state.as_str(), opened_at, ended_at, lost_from, cause }
    }

    #[test]
    fn what_is_known_about_a_gap_is_told_below_it() {
        let open = Row {
            opened_at: Some("2026-11-20T10:15:00.000Z"),
            lost_from: Some("2027-02-18T10:00:00.000Z"),
            cause: Some("HTTP\u{1b}[31m 503"),
            ..gap("acme", GapState::Open)
        };
        let text = table(&[open]);
        assert!(text.contains("\n  lost from 2027-02-18T10:00:00.000Z on; found 2026-11-20T10:15:00.000Z: HTTP"), "{text}");
        assert!(!text.contains('\u{1b}'), "{text:?}");
    }

    #[test]
    fn all_shows_what_is_verified_what_is_pending_and_what_has_closed() {
        let range = |from: &str, to: &str| RangeStatus { from: from.to_owned(), to: to.to_owned() };
        let pending = GapStatus {
            from: "2026-11-01".to_owned(),
            to: "2026-11-02".to_owned(),
            secs: 86_400.0,
            state: GapState::Pending,
            opened_at: None,
            lost_from: None,
            cause: None,
        };
        let closed = EndedGapStatus {
            from: "2026-11-03".to_owned(),
            to: "2026-11-04".to_owned(),
            secs: 86_400.0,
            lost_secs: 0.0,
            opened_at: "2026-11-03".to_owned(),
            ended_at: "2026-11-05".to_owned(),
            end: GapEnd::Closed,
            cause: "miro-siem was not running".to_owned(),
        };
        let (org, kind) = ("acme".to_owned(), "audit".to_owned());
        let stream = Stream { org, kind, verified: vec![range("2026-11-02", "2026-11-09")], gaps: vec![pending], ended: vec![closed] };
        assert!(stream.rows(false).is_empty());
        let rows = stream.rows(true);
        assert_eq!(rows.iter().map(|row| row.state).collect::<Vec<_>>(), ["pending", "verified", "closed"]);
        let text = table(&rows);
        assert!(
            text.contains("  closed 2026-11-05; found 2026-11-03: miro-siem was not running\n") && text.ends_with("\nno gaps\n"),
            "{text}"
        );
    }

    #[test]
    fn open_and_lost_gaps_are_told_apart_and_counted() {
        let text = table(&[gap("acme", GapState::Open), gap("acme", GapState::Lost), gap("beta", GapState::Lost)]);
        assert!(text.contains("acme/audit               open     2026-11-20T10:00:00.000Z 2026-11-20T12:00:00.000Z       2h\n"), "{text}");
        assert!(text.contains("beta/audit               lost     "), "{text}");
        assert!(text.ends_with("\n1 open, will be collected; 2 lost, past Miro's retention\n"), "{text}");
    }

    #[test]
    fn the_table_fits_100_columns_whatever_the_names() {
        let long = "an-organisation-with-a-very-long-name-indeed-of-64-letters-and-so";
        let text = table(&[gap(long, GapState::Open)]);
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    }

    #[test]
    fn no_gap_is_said_in_words() {
        assert_eq!(table(&[]), "no gaps\n");
    }
}

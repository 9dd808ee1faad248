//! `miro-siem attest`: what was collected, stream by stream and hour by hour, as a page for an auditor.

use std::fmt::Write as _;

use super::{
    Exit, daemon,
    evidence::{Source, hours},
    print,
    readable::{clean, cut},
    report,
    terminal::span,
    time::{When, when},
};
use crate::{
    attest::{HourReport, MissingState, Report, Selection, StreamReport},
    clock::Clock,
    event::StreamKind,
    journal::proof::Tally,
};

/// A stream's name may be longer than the page.
const NAME_CHARS_MAX: usize = 60;
/// So many digits of a hash stand in a row; the whole is in the JSON.
const HASH_DIGITS: usize = 16;
/// More gaps than a person reads; the JSON has all of them.
const MISSING_LISTED_MAX: usize = 200;

const EXAMPLES: &str = "Examples:
  miro-siem attest --from 24h
  miro-siem attest --from 2026-03-01 --to 2026-04-01 --org acme --stream audit > march.txt
  miro-siem attest --from 90d --json | jq '.streams[].missing'

Exit codes: 0 complete, 3 not complete, 1 it failed, 2 usage or configuration.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Options {
    #[command(flatten)]
    daemon: daemon::DaemonOptions,
    /// From this time on: RFC 3339, a date (UTC), or an age such as 24h
    #[arg(long, value_name = "TIME", value_parser = when)]
    from: When,
    /// Up to this time [default: now]
    #[arg(long, value_name = "TIME", value_parser = when)]
    to: Option<When>,
    /// Only streams of this organisation
    #[arg(long, value_name = "ORG")]
    org: Option<String>,
    /// Only streams of this kind: audit, content, ai
    #[arg(long, value_name = "STREAM", value_parser = kind)]
    stream: Option<StreamKind>,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

/// What clap reads a stream with.
pub(super) fn kind(name: &str) -> Result<StreamKind, String> {
    let known = [StreamKind::Audit, StreamKind::Content, StreamKind::Ai];
    StreamKind::parse(name).filter(|kind| known.contains(kind)).ok_or_else(|| "the streams are audit, content and ai".to_owned())
}

pub(super) fn run(options: &Options) -> Exit {
    daemon::with_admin(&options.daemon, async |admin| {
        let now = Clock::system().now();
        let to = options.to.map_or(now, |to| to.instant(now));
        let hours = match hours(options.from.instant(now), to, now) {
            Ok(hours) => hours,
            Err(problem) => {
                report(&format!("error: {problem}"));
                return Ok(Exit::Usage);
            }
        };
        let selection = Selection { org: options.org.clone(), kind: options.stream };
        let (_, made) = Source::report(admin, &options.daemon, &selection, hours).await?;
        if made.streams.is_empty() {
            report("error: nothing was ever collected of such a stream; `miro-siem status` lists the streams");
            return Ok(Exit::Failed);
        }
        let text = if options.json { serde_json::to_string(&made)? + "\n" } else { page(&made) };
        let printed = print(text.as_bytes());
        Ok(if printed == Exit::Fine && !made.complete { Exit::Partly } else { printed })
    })
}

fn page(made: &Report) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "Attestation of collection from Miro\n");
    let _ = writeln!(text, "  range     {} to {}, whole hours by the time of the events, UTC", made.from, made.to);
    let _ = writeln!(text, "  made      {} by miro-siem {} from journal {}", made.made_at, clean(&made.version), clean(&made.journal));
    let verdict = match (made.complete, made.exact) {
        (true, true) => "COMPLETE: every hour was collected, and every count is certain",
        (true, false) => "COMPLETE: every hour was collected; counts marked ~ are not certain",
        (false, _) => "NOT COMPLETE: see what is missing, below",
    };
    let _ = writeln!(text, "  verdict   {verdict}");
    totals(&mut text, "  all      ", &made.total);
    made.streams.iter().for_each(|stream| stream_page(&mut text, stream));
    text.push_str(LEGEND);
    text
}

const LEGEND: &str = "
covered    all of the hour was collected       empty      all of it, and there was nothing
PARTLY     a part of it is missing             pending    it has only just happened
GAP open   missing, will be collected          GAP lost   missing, past Miro's retention
not asked  collection began later              ~          the count and the hash are not certain
repeats    listed again and dropped            no id      without a readable id or time
hash       sum of the SHA-256 of the ids modulo 2^256; docs/attest.md says how to compute it
";

fn totals(text: &mut String, name: &str, total: &Tally) {
    let Tally { collected, late, backfilled, undecodable, duplicates, ids } = total;
    let _ = writeln!(text, "{name} {collected} events; {duplicates} repeats dropped");
    let _ = writeln!(text, "            of them {late} late, {backfilled} backfilled, {undecodable} without an id or time");
    let _ = writeln!(text, "            hash of the ids {ids}");
}

fn stream_page(text: &mut String, stream: &StreamReport) {
    let name = cut(&clean(&format!("{}/{}", stream.org, stream.stream)), NAME_CHARS_MAX);
    let verdict = if stream.complete { "complete" } else { "NOT COMPLETE" };
    let _ = writeln!(text, "\n{name}: {verdict}");
    let _ = writeln!(text, "  collected from {}, without a hole up to {}", stream.collected_from, stream.collected_to);
    totals(text, "  total    ", &stream.total);
    let _ = writeln!(
        text,
        "\n{:<16} {:>5} {:<9} {:>10} {:>8} {:>9} {:>6} {:>9}   {:<HASH_DIGITS$}",
        "FROM (UTC)", "HOURS", "STATE", "COLLECTED", "LATE", "BACKFILL", "NO ID", "REPEATS", "HASH"
    );
    for run in runs(&stream.hours) {
        let first = &run[0];
        row(text, &first.from, run.len(), first.state.as_str(), first.exact, &first.tally);
    }
    for day in &stream.undated {
        row(text, &day.day, 24, "no time", day.exact, &day.tally);
    }
    missing(text, stream);
}

/// Hours in a row that have one state and no event stand in one line.
fn runs(hours: &[HourReport]) -> impl Iterator<Item = &[HourReport]> {
    let is_bare = |hour: &HourReport| hour.tally == Tally::default();
    hours.chunk_by(move |one, next| is_bare(one) && is_bare(next) && one.state == next.state && one.exact == next.exact)
}

fn row(text: &mut String, from: &str, hours: usize, state: &str, exact: bool, tally: &Tally) {
    let Tally { collected, late, backfilled, undecodable, duplicates, ids } = tally;
    let from = clean(from.get(..16).unwrap_or(from)).replacen('T', " ", 1);
    let (mark, hash) = (if exact { ' ' } else { '~' }, if *collected > 0 { cut_hash(&ids.to_string()) } else { String::new() });
    let line = format!(
        "{from:<16} {hours:>5} {state:<9} {collected:>10} {late:>8} {backfilled:>9} {undecodable:>6} {duplicates:>9} {mark} {hash}"
    );
    let _ = writeln!(text, "{}", line.trim_end());
}

fn cut_hash(hash: &str) -> String {
    hash.chars().take(HASH_DIGITS).collect()
}

fn missing(text: &mut String, stream: &StreamReport) {
    if stream.missing.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n  missing:");
    for hole in stream.missing.iter().take(MISSING_LISTED_MAX) {
        let what = match hole.state {
            MissingState::NotAsked => "not asked: collection began later",
            MissingState::Lost => "lost: past Miro's retention",
            MissingState::Open => "open: will be collected",
            MissingState::Pending => "pending: has only just happened",
        };
        let _ = writeln!(text, "  {:<24} {:<24} {:>8}  {what}", hole.from, hole.to, span(hole.secs));
    }
    if stream.missing.len() > MISSING_LISTED_MAX {
        let _ = writeln!(text, "  and {} more; --json has all of them", stream.missing.len() - MISSING_LISTED_MAX);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::attest::HourState;

    fn hour(hour: u32, state: HourState, collected: u64) -> Value {
        let hash = format!("{:064x}", u128::from(collected) << 64);
        json!({ "from": format!("2026-03-01T{hour:02}:00:00Z"), "state": state, "exact": hour != 3, "collected": collected, "late": collected / 2,
            "backfilled": 0, "undecodable": 0, "duplicates": collected, "id_hash": hash })
    }

    fn made() -> Report {
        let states = [HourState::Covered, HourState::Empty, HourState::Empty, HourState::Partly, HourState::GapOpen, HourState::GapLost];
        let hours: Vec<Value> =
            states.iter().enumerate().map(|(at, state)| hour(at as u32, *state, if at % 3 == 0 { 999_999_999 } else { 0 })).collect();
        let total = hour(0, HourState::Covered, 1_999_999_998);
        let hole =
            |state: &str| json!({ "from": "2026-03-01T04:00:00.000Z", "to": "2026-03-01T05:00:00.000Z", "state": state, "secs": 3_600.0 });
        let org = "an-organisation-whose-name-is-as-long-as-names-may-be-64-letters";
        let report = json!({
            "version": "0.1.0", "journal": "00000000deadbeef", "made_at": "2026-03-02T00:00:00Z", "from": "2026-03-01T00:00:00Z",
            "to": "2026-03-01T06:00:00Z", "complete": false, "exact": false, "total": total,
            "streams": [{
                "org": org, "stream": "content", "collected_from": "2026-01-01T00:00:00.000Z", "collected_to": "2026-03-01T03:20:00.000Z",
                "ids_from": "2026-02-20T00:00:00.000Z", "complete": false, "exact": false, "hours": hours,
                "undated": [{ "day": "2026-03-01T00:00:00Z", "exact": true, "collected": 3, "late": 0, "backfilled": 0, "undecodable": 3,
                    "duplicates": 0, "id_hash": "ab".repeat(32) }],
                "missing": [hole("open"), hole("lost"), hole("not_asked"), hole("pending")], "total": total,
            }],
        });
        serde_json::from_value(report).expect("a report")
    }

    #[test]
    fn the_page_fits_100_columns_whatever_it_says() {
        let text = page(&made());
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    }

    #[test]
    fn each_hour_has_a_line_and_bare_ones_of_one_state_share_it() {
        let text = page(&made());
        let states: Vec<_> = text.lines().filter(|line| line.starts_with("2026-03-01")).map(|line| line[17..33].trim_end()).collect();
        assert_eq!(states, ["    1 covered", "    2 empty", "    1 PARTLY", "    1 GAP open", "    1 GAP lost", "   24 no time"], "{text}");
        assert!(text.contains("999999999 ~ "), "{text}");
        assert!(text.contains("NOT COMPLETE: see what is missing"), "{text}");
        assert!(text.contains("60m  lost: past Miro's retention"), "{text}");
        assert!(text.contains("abababababababab\n"), "{text}");
    }
}

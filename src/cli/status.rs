//! `miro-siem status`: what the running daemon is doing.

use std::{fmt::Write as _, io::Write as _, time::Duration};

use self::details::details;
use super::{
    Exit, daemon, print,
    readable::{clean, cut},
    terminal::{Colours, Tone, indented, span},
};
use crate::{
    admin::status::{SinkStatus, Status, StreamStatus},
    config::settings::AdminSettings,
    health::Fault,
};

mod details;

/// The mend stands at the end of a sentence, so it must not be cut off; a receiver's answer inside is kept short where it is made.
const FAULT_CHARS_MAX: usize = 1_000;
const NAME_CHARS_MAX: usize = 24;
/// Fewer days than this leave little time for somebody to act.
const GRANT_DAYS_TOLD: f64 = 14.0;
/// Often enough to follow, and the daemon answers from memory.
const REDRAW_INTERVAL: Duration = Duration::from_secs(2);

const EXAMPLES: &str = "Examples:
  miro-siem status --watch
  miro-siem status --json | jq '.streams[] | {stream, lag_secs}'";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Options {
    #[command(flatten)]
    daemon: daemon::DaemonOptions,
    /// Print the status as JSON
    #[arg(long)]
    json: bool,
    /// Show it again every 2 seconds, until Ctrl-C
    #[arg(long, conflicts_with = "json")]
    watch: bool,
}

pub(super) fn run(options: &Options) -> Exit {
    daemon::with_admin(&options.daemon, async |admin| {
        let answer = daemon::ask(&admin).await?;
        let colours = Colours::of_stdout();
        if options.watch {
            return watch(&admin, colours, table(&answer.status, colours)).await;
        }
        let text = if options.json { format!("{}\n", answer.body.trim_end()) } else { table(&answer.status, colours) };
        Ok(print(text.as_bytes()))
    })
}

/// Draws again and again. A daemon that does not answer for a while, such as one that is started anew, does not end it.
async fn watch(admin: &AdminSettings, colours: Colours, first: String) -> anyhow::Result<Exit> {
    let mut text = first;
    let mut interrupt = std::pin::pin!(tokio::signal::ctrl_c());
    loop {
        if draw(&text, colours).is_err() {
            return Ok(Exit::Fine);
        }
        let next = async {
            tokio::time::sleep(REDRAW_INTERVAL).await;
            daemon::ask(admin).await
        };
        text = tokio::select! {
            _ = &mut interrupt => return Ok(Exit::Fine),
            answer = next => match answer {
                Ok(answer) => table(&answer.status, colours),
                Err(error) => format!("{}\n{}", colours.paint(Tone::Bad, "no answer"), indented(&clean(&format!("{error:#}")))),
            },
        };
    }
}

/// On a terminal over what is there, line by line, so that nothing flickers; elsewhere one below the other.
fn draw(text: &str, colours: Colours) -> std::io::Result<()> {
    use std::io::IsTerminal;
    let mut out = std::io::stdout().lock();
    if out.is_terminal() && (colours == Colours::On || std::env::var_os("TERM").is_none_or(|term| term != "dumb")) {
        write!(out, "\u{1b}[H{}\u{1b}[J", text.replace('\n', "\u{1b}[K\n"))?;
    } else {
        writeln!(out, "{text}")?;
    }
    out.flush()
}

fn table(status: &Status, colours: Colours) -> String {
    let mut text = String::new();
    let verdict = if status.healthy { colours.paint(Tone::Good, "healthy") } else { colours.paint(Tone::Bad, "needs attention") };
    let _ = writeln!(text, "miro-siem {} (pid {}) {verdict}, since {}\n", status.version, status.pid, status.started_at);
    let _ = writeln!(text, "{:<24} {:<12} {:<24} {:>8} {:>10} {:>8}", "STREAM", "STATE", "COLLECTED UP TO", "LAG", "EVENTS", "GAPS");
    for row in &status.streams {
        stream_line(&mut text, row, colours);
    }
    let _ = writeln!(text, "\n{:<24} {:<12} {:>12} {:>10} {:>8} {:>12}", "SINK", "STATE", "DELIVERED", "BACKLOG", "OLDEST", "DEAD LETTERS");
    for row in &status.sinks {
        sink_line(&mut text, row, colours);
    }
    let journal = &status.journal;
    let _ = writeln!(text, "\njournal: {} events, {} of {} bytes", journal.events, journal.bytes, journal.bytes_max);
    text
}

fn stream_line(text: &mut String, row: &StreamStatus, colours: Colours) {
    let gap_secs = row.gap_secs();
    let gaps = format!("{:>8}", span(gap_secs));
    let _ = writeln!(
        text,
        "{:<24} {} {:<24} {:>8} {:>10} {}",
        short(&format!("{}/{}", row.org, row.stream)),
        phase(&row.phase, row.healthy, row.fault.as_ref(), colours),
        row.watermark.as_deref().unwrap_or("-"),
        row.lag_secs.map_or_else(|| "-".to_owned(), span),
        row.events_collected,
        colours.paint(if gap_secs > 0.0 { Tone::Bad } else { Tone::Plain }, &gaps)
    );
    if let Some(days) = row.grant_days_left.filter(|days| *days < GRANT_DAYS_TOLD) {
        let said = format!("the app has to be authorised again in {days:.1} days unless its token can be refreshed before");
        text.push_str(&indented(&said));
    }
    fault(text, row.fault.as_ref());
    details(text, row, colours);
}

fn sink_line(text: &mut String, row: &SinkStatus, colours: Colours) {
    let dead_letters = format!("{:>12}", row.events_dead_lettered);
    let _ = writeln!(
        text,
        "{:<24} {} {:>12} {:>10} {:>8} {}",
        short(&row.name),
        phase(&row.phase, row.healthy && !row.paused, row.fault.as_ref(), colours),
        row.events_delivered,
        row.backlog_events,
        span(row.oldest_event_age_secs),
        colours.paint(if row.events_dead_lettered > 0 { Tone::Doubtful } else { Tone::Plain }, &dead_letters)
    );
    fault(text, row.fault.as_ref());
}

fn short(name: &str) -> String {
    cut(&clean(name), NAME_CHARS_MAX)
}

fn phase(phase: &impl serde::Serialize, healthy: bool, fault: Option<&Fault>, colours: Colours) -> String {
    let name = serde_json::to_value(phase).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default();
    let tone = match (healthy, fault) {
        (false, _) => Tone::Bad,
        (true, Some(_)) => Tone::Doubtful,
        (true, None) => Tone::Good,
    };
    colours.paint(tone, &format!("{name:<12}"))
}

/// What a receiver said goes to the terminal without anything that would move its cursor.
fn fault(text: &mut String, fault: Option<&Fault>) {
    if let Some(fault) = fault {
        text.push_str(&indented(&fault_words(fault)));
    }
}

fn fault_words(fault: &Fault) -> String {
    format!("{}: {}", clean(&fault.class), cut(&clean(&fault.message), FAULT_CHARS_MAX))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn status(healthy: bool) -> Status {
        let name = "a-name-that-is-as-long-as-names-may-be-and-that-is-64-characters";
        let fault =
            json!({ "at": "2023-11-14T22:13:20.000Z", "class": "auth", "message": format!("refused\u{1b}[2J {}", "because ".repeat(60)) });
        let (time, fault) = ("2026-11-20T10:00:00.000Z", if healthy { serde_json::Value::Null } else { fault });
        let request = json!({ "id": 1, "from": time, "to": time, "missing_secs": 1.0, "events": 2 });
        let status = json!({
            "version": "0.1.0", "pid": 4_194_303, "started_at": time, "now": time, "healthy": healthy, "ready": true, "problems": [],
            "streams": [{
                "org": name, "stream": "content", "phase": "journal_full", "healthy": healthy, "origin": time, "watermark": time,
                "lag_secs": 86_400.0, "coverage": [], "gaps": [{ "from": time, "to": time, "secs": 3_600.0, "state": "open" }],
                "last_success": time, "events_collected": 1_234_567_890_u64, "quota_remaining_credits": 98_000,
                "token_expires_at": "2026-11-20T11:00:00.000Z", "token_days_left": 0.04, "grant_days_left": 58.5, "fault": fault,
                "backfill": { "missing_secs": 2_592_000.0, "windows": 12, "set_aside": 3, "requests": [request, request], "fault": fault },
                "reconcile": [
                    { "after_secs": 3_600.0, "up_to": time, "fault": null }, { "after_secs": 86_400.0, "up_to": time, "fault": fault },
                    { "after_secs": 604_800.0, "up_to": time, "fault": null },
                ],
            }],
            "sinks": [{
                "name": name, "phase": "delivering", "paused": !healthy, "healthy": healthy, "backlog_events": 1_234_567_890_u64,
                "oldest_event_age_secs": 90.0, "events_delivered": 123_456_789_012_u64, "events_dead_lettered": 7, "last_success": null,
                "fault": fault,
            }],
            "journal": { "bytes": 1, "bytes_max": 2, "events": 3, "head": 4, "quarantined_records": 0 },
        });
        serde_json::from_value(status).expect("a status")
    }

    #[test]
    fn the_table_fits_100_columns_whatever_it_says() {
        for healthy in [true, false] {
            let text = table(&status(healthy), Colours::Off);
            assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
            assert!(!text.contains('\u{1b}'), "{text}");
        }
    }

    #[test]
    fn a_stream_says_what_is_left_of_its_past_its_quota_and_its_token() {
        let text = table(&status(true), Colours::Off);
        assert!(text.contains("  past: 30d to collect, 2 backfills asked for, 12 windows open, 3 ranges set aside\n"), "{text}");
        assert!(text.contains("  quota: 98000 credits left · authorisation: 58d left\n"), "{text}");
        assert!(
            text.contains("  listed again: after 1h up to 11-20 10:00, after 24h up to 11-20 10:00, after 7d up to 11-20 10:00\n"),
            "{text}"
        );
        assert!(table(&status(false), Colours::Off).contains("  listing again after 24h: auth: refused"), "{text}");
    }

    #[test]
    fn colours_change_nothing_but_the_colour() {
        let coloured = table(&status(false), Colours::On);
        assert!(coloured.contains("\u{1b}[1;31mneeds attention\u{1b}[0m"), "{coloured}");
        let plain = ["1;31", "33", "32", "0"].iter().fold(coloured, |text, code| text.replace(&format!("\u{1b}[{code}m"), ""));
        assert_eq!(plain, table(&status(false), Colours::Off));
    }
}

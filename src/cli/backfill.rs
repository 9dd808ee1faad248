//! `miro-siem backfill`: collects a range of one stream, through the running daemon, or alone where none runs.

use std::fmt::Write as _;

use serde_json::json;

use self::progress::{Progress, summary};
use super::{
    Exit, LogOptions,
    daemon::{self, DaemonError, Request},
    print,
    readable::{clean, cut},
    report,
    time::{When, when},
};
use crate::{
    admin::control::{BackfillState, BackfillStatus},
    clock::Clock,
    config::settings::AdminSettings,
    event::{OrgName, StreamId, StreamKind, Timestamp},
};

mod alone;
mod follow;
mod progress;

const PATH: &str = "/api/v1/backfills";
const ID_CHARS_MAX: usize = 30;

const EXAMPLES: &str = "Examples:
  miro-siem backfill --org acme --stream audit --from 30d
  miro-siem backfill --org acme --stream content --from 2026-01-01 --to 2026-02-01 --detach
  miro-siem backfill --list
  miro-siem backfill --cancel acme/content/2

Only what is not collected yet is fetched. With a daemon running, Ctrl-C lets go of the backfill, and it goes on; without one, Ctrl-C
ends it, and the same command goes on with it.

Exit codes: 0 collected, 1 it failed, 2 usage or configuration, 3 a part of it: it was cancelled or interrupted.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, group = clap::ArgGroup::new("instead").args(["list", "cancel"]))]
pub(super) struct Options {
    /// The organisation, by its name in the configuration
    #[arg(long, value_name = "ORG", required_unless_present = "instead", conflicts_with = "instead")]
    org: Option<String>,
    /// The stream: audit, content or ai
    #[arg(long, value_name = "STREAM", required_unless_present = "instead", conflicts_with = "instead")]
    stream: Option<String>,
    /// Where the range begins: a time, a date, or an age such as 30d
    #[arg(long, value_name = "TIME", value_parser = when, required_unless_present = "instead", conflicts_with = "instead")]
    from: Option<When>,
    /// Where it ends: the first instant that is not in it [default: now]
    #[arg(long, value_name = "TIME", value_parser = when, conflicts_with = "instead")]
    to: Option<When>,
    /// Ask the daemon for it and do not wait
    #[arg(long, conflicts_with = "instead")]
    detach: bool,
    /// List the daemon's backfills, with how far they are
    #[arg(long)]
    list: bool,
    /// End one of the daemon's backfills; what it has collected stays
    #[arg(long, value_name = "ID")]
    cancel: Option<String>,
    #[command(flatten)]
    daemon: daemon::DaemonOptions,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// What is to be collected, as it was typed.
#[derive(Clone, Debug)]
struct Wanted {
    org: String,
    stream: String,
    from: Timestamp,
    to: Timestamp,
}

pub(super) fn run(options: &Options, log: &LogOptions) -> Exit {
    let wanted = match wanted(options) {
        Ok(wanted) => wanted,
        Err(problem) => return usage(&problem),
    };
    // What the daemon has answered decides whether this process does it alone: after the runtime of the question has ended.
    let mut is_alone = false;
    let asked = daemon::with_admin(&options.daemon, async |admin| {
        let done = match (&wanted, &options.cancel) {
            (Some(wanted), _) => ask(options, wanted, &admin).await,
            (None, Some(id)) => cancel(options, id, &admin).await,
            (None, None) => list(options, &admin).await,
        };
        match done {
            Err(error) if error.is_absence() && wanted.is_some() && !options.detach && options.daemon.admin.is_none() => {
                is_alone = true;
                Ok(Exit::Fine)
            }
            Err(DaemonError::Refused { status, why, .. }) if matches!(status.as_u16(), 400 | 404) => Ok(usage(&why)),
            done => Ok(done?),
        }
    });
    match wanted {
        Some(wanted) if is_alone => alone::run(options, &wanted, log),
        _ => asked,
    }
}

fn usage(problem: &str) -> Exit {
    report(&format!("error: {problem}"));
    Exit::Usage
}

/// What is to be collected; `None` where something else is asked for.
fn wanted(options: &Options) -> Result<Option<Wanted>, String> {
    let (Some(org), Some(stream), Some(from)) = (&options.org, &options.stream, options.from) else { return Ok(None) };
    let now = Clock::system().now();
    let (from, to) = (from.instant(now), options.to.map_or(now, |to| to.instant(now)));
    if from >= to {
        return Err(format!("the range ends at {to}, which is not after its beginning at {from}"));
    }
    Ok(Some(Wanted { org: org.clone(), stream: stream.clone(), from, to }))
}

impl Wanted {
    /// The stream, if it is one of those; else what there is.
    fn among(&self, known: &[StreamId]) -> Result<StreamId, String> {
        let names = |names: Vec<String>| names.join(", ");
        let wanted = StreamKind::parse(&self.stream).map(|kind| StreamId::new(OrgName::new(&self.org), kind));
        if let Some(found) = wanted.filter(|wanted| known.contains(wanted)) {
            return Ok(found);
        }
        let of_org: Vec<String> = known.iter().filter(|one| one.org.as_str() == self.org).map(|one| one.kind.to_string()).collect();
        if of_org.is_empty() {
            let mut orgs: Vec<String> = known.iter().map(|one| one.org.to_string()).collect();
            orgs.dedup();
            return Err(format!("--org {}: there is no such organisation; the organisations are {}", self.org, names(orgs)));
        }
        Err(format!("--stream {}: {} does not collect it; its streams are {}", self.stream, self.org, names(of_org)))
    }
}

async fn ask(options: &Options, wanted: &Wanted, admin: &AdminSettings) -> Result<Exit, DaemonError> {
    let body = json!({
        "org": wanted.org, "stream": wanted.stream, "from": wanted.from.to_rfc3339_millis(), "to": wanted.to.to_rfc3339_millis(),
    });
    let asked: BackfillStatus = daemon::call(admin, &Request::post(PATH, body)).await?;
    if let Some(note) = &asked.note {
        report(&format!("note: {}", clean(note)));
    }
    if options.detach {
        let words =
            format!("{}\nfollow it with `miro-siem backfill --list`, end it with `miro-siem backfill --cancel {0}`\n", clean(&asked.id));
        return said(options, &asked, &words);
    }
    let mut progress = Progress::new();
    let followed = follow::through(admin, asked, &mut progress).await;
    progress.clear();
    match followed? {
        follow::Followed::Ended(status) => told(options, &status),
        follow::Followed::Interrupted(status) => {
            let id = clean(&status.id);
            report(&format!(
                "the daemon goes on with it; follow it with `miro-siem backfill --list`, end it with `miro-siem backfill --cancel {id}`"
            ));
            said(options, &status, "").map(|_| Exit::Partly)
        }
        follow::Followed::Forgotten(status) => {
            report(
                "the daemon was started anew and does not know the backfill any more: it had ended. `miro-siem gaps` lists what is missing",
            );
            said(options, &status, "").map(|_| Exit::Partly)
        }
    }
}

/// Says how it ended.
fn told(options: &Options, status: &BackfillStatus) -> Result<Exit, DaemonError> {
    let printed = said(options, status, &format!("{}\n", summary(status)))?;
    Ok(match (printed, status.state) {
        (Exit::Fine, BackfillState::Done) => Exit::Fine,
        (Exit::Fine, _) => Exit::Partly,
        (printed, _) => printed,
    })
}

/// As JSON where that is asked for, else in words.
fn said(options: &Options, status: &BackfillStatus, words: &str) -> Result<Exit, DaemonError> {
    let json = |status| serde_json::to_string(status).map(|line| line + "\n").map_err(|error| DaemonError::Setup(error.into()));
    Ok(print(if options.json { json(status)? } else { words.to_owned() }.as_bytes()))
}

async fn cancel(options: &Options, id: &str, admin: &AdminSettings) -> Result<Exit, DaemonError> {
    let path = format!("{PATH}/{}", follow::escaped(id));
    let ended: BackfillStatus = daemon::call(admin, &Request::delete(path)).await?;
    said(options, &ended, &format!("{}\n", summary(&ended)))
}

async fn list(options: &Options, admin: &AdminSettings) -> Result<Exit, DaemonError> {
    let all: Vec<BackfillStatus> = daemon::call(admin, &Request::get(PATH)).await?;
    let text = if options.json { json!(all).to_string() + "\n" } else { table(&all) };
    Ok(print(text.as_bytes()))
}

fn table(all: &[BackfillStatus]) -> String {
    if all.is_empty() {
        return "no backfills\n".to_owned();
    }
    let mut text =
        format!("{:<ID_CHARS_MAX$} {:<20} {:<20} {:<9} {:>5} {:>11}\n", "ID", "FROM", "TO (NOT IN IT)", "STATE", "DONE", "EVENTS");
    for one in all {
        let id = cut(&clean(&one.id), ID_CHARS_MAX);
        let done = format!("{:.0} %", (one.fraction() * 100.0).floor());
        let (from, to) = (progress::second(&one.from), progress::second(&one.to));
        let _ = writeln!(text, "{id:<ID_CHARS_MAX$} {from:<20} {to:<20} {:<9} {done:>5} {:>11}", one.state.as_str(), one.events);
        if let Some(fault) = &one.fault {
            text.push_str(&super::terminal::indented(&clean(fault)));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(org: &str, stream: &str) -> Wanted {
        let at = Timestamp::from_millis;
        Wanted { org: org.to_owned(), stream: stream.to_owned(), from: at(0), to: at(1) }
    }

    #[test]
    fn an_unknown_stream_is_refused_with_those_that_there_are() {
        let known: Vec<StreamId> = ["acme/audit", "acme/content", "beta/audit"].iter().filter_map(|text| StreamId::parse(text)).collect();
        assert_eq!(wanted("acme", "content").among(&known).expect("it is there").to_string(), "acme/content");
        for (org, stream, told) in [
            ("gamma", "audit", "the organisations are acme, beta"),
            ("acme", "ai", "its streams are audit, content"),
            ("acme", "nonsense", "its streams are audit, content"),
        ] {
            let problem = wanted(org, stream).among(&known).expect_err("it is not there");
            assert!(problem.contains(told), "{problem}");
        }
    }

    #[test]
    fn the_list_fits_100_columns_whatever_it_says() {
        let one = BackfillStatus {
            id: format!("{}/content/18446744073709551615", "o".repeat(64)),
            org: "o".repeat(64),
            stream: "content".to_owned(),
            from: "2026-01-31T09:30:10.840Z".to_owned(),
            to: "2026-02-28T09:30:10.840Z".to_owned(),
            state: BackfillState::Cancelled,
            range_secs: 3e6,
            missing_at_start_secs: 3e6,
            missing_secs: 1.0,
            events: 123_456_789,
            note: None,
            fault: Some("refused \u{1b}[2J because ".repeat(20)),
        };
        let text = table(&[one]);
        assert!(text.lines().all(|line| line.chars().count() <= 100) && !text.contains('\u{1b}'), "{text}");
        assert!(text.contains(" 99 % "), "a second that is missing is not everything: {text}");
        assert_eq!(table(&[]), "no backfills\n");
    }
}

//! `miro-siem dead-letters`: the events that a receiver refused. `list`, `show` and `export` only read the state directory, so that they are
//! safe beside a running daemon and without one; `retry` and `drop` ask the daemon, or take its place.

use std::{fs::OpenOptions, io::Write, os::unix::fs::OpenOptionsExt, path::PathBuf};

use anyhow::{Context, bail};

use super::{ConfigOption, Exit, LogOptions, fail, print, report};
use crate::{
    config::{self, Environment, Settings},
    event::SinkName,
    sink::dead_letters::{DeadLetter, DeadLetters, Reason},
};

mod change;
mod show;

/// How many the table of `list` shows unless it is told otherwise: a store may hold hundreds of thousands.
const LISTED_MAX: usize = 100;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// List them, oldest first
    List(ListOptions),
    /// Show one event's dead letters whole, with what the receiver said and the event itself, as Miro sent it
    Show(ShowOptions),
    /// Write them out as JSON, one per line, with the original events: whatever the sink redacts is in them
    #[command(after_help = EXPORT_EXAMPLES)]
    Export(ExportOptions),
    /// Send them again, through the sink's filter and format as they are now. What is delivered leaves the store
    #[command(after_help = RETRY_EXAMPLES)]
    Retry(change::RetryOptions),
    /// Throw them away for good
    Drop(change::DropOptions),
}

const RETRY_EXAMPLES: &str = "Examples:
  miro-siem dead-letters retry --sink splunk           once the receiver is mended
  miro-siem dead-letters retry 2026-01-31T09:30:10Z#1  one event, at every sink that has it

Exit codes: 0 all delivered, 1 it failed, 2 usage or configuration, 3 some were refused again, or it was cut short.";

const EXPORT_EXAMPLES: &str = "Examples:
  miro-siem dead-letters export --all --out letters.ndjson
  miro-siem dead-letters export --sink splunk | jq -r .raw       the events as Miro sent them";

/// Which dead letters are meant.
#[derive(Debug, clap::Args)]
struct Selection {
    #[command(flatten)]
    config: ConfigOption,
    /// Only those of this sink
    #[arg(long, value_name = "NAME")]
    sink: Option<String>,
    /// Only those that were set aside for this reason: rejected, too_large, unencodable
    #[arg(long, value_name = "REASON", value_parser = reason)]
    reason: Option<Reason>,
}

#[derive(Debug, clap::Args)]
pub(super) struct ListOptions {
    #[command(flatten)]
    selection: Selection,
    /// List all of them, not only the newest 100
    #[arg(long)]
    all: bool,
    /// Print all of them as JSON, one per line, without the events themselves
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct ShowOptions {
    /// The event's id
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    selection: Selection,
    /// Print it as JSON, one line per dead letter
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("which").args(["sink", "reason", "all"]).multiple(true).required(true))]
pub(super) struct ExportOptions {
    #[command(flatten)]
    selection: Selection,
    /// Those of every sink, whatever their reason
    #[arg(long, conflicts_with_all = ["sink", "reason"])]
    all: bool,
    /// Write into this new file, which only its owner can read, instead of stdout
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

fn reason(name: &str) -> Result<Reason, String> {
    let known = || Reason::ALL.map(Reason::as_str).join(", ");
    Reason::parse(name).ok_or_else(|| format!("there is no such reason; the reasons are {}", known()))
}

pub(super) fn run(command: &Command, log: &LogOptions) -> Exit {
    let selection = match command {
        Command::Retry(options) => return change::retry(options, log),
        Command::Drop(options) => return change::throw_away(options, log),
        Command::List(options) => &options.selection,
        Command::Show(options) => &options.selection,
        Command::Export(options) => &options.selection,
    };
    let settings = match config::load(selection.config.config.as_deref(), &Environment::of_process()) {
        Ok(loaded) => loaded.settings,
        Err(problems) => {
            report(&problems.to_string());
            return Exit::Usage;
        }
    };
    let known = match sinks(&settings) {
        Ok(known) => known,
        Err(error) => return fail(&error),
    };
    match chosen(selection, known) {
        Ok(sinks) => act(command, &sinks, &settings).unwrap_or_else(|error| fail(&error)),
        Err(problem) => {
            report(&format!("error: {problem}"));
            Exit::Usage
        }
    }
}

fn act(command: &Command, sinks: &[SinkName], settings: &Settings) -> anyhow::Result<Exit> {
    match command {
        Command::List(options) => list(options, sinks, settings),
        Command::Show(options) => show(options, sinks, settings),
        Command::Export(options) => export(options, sinks, settings),
        Command::Retry(_) | Command::Drop(_) => Ok(Exit::Usage),
    }
}

/// Every sink that is configured, or was and has left dead letters behind.
fn sinks(settings: &Settings) -> anyhow::Result<Vec<SinkName>> {
    let mut names: Vec<SinkName> = settings.sinks.iter().map(|sink| sink.name.clone()).collect();
    for name in DeadLetters::sinks(&settings.state.dir).context("failed to look for dead letters; run this as the service's user")? {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(names)
}

fn chosen(selection: &Selection, known: Vec<SinkName>) -> Result<Vec<SinkName>, String> {
    let Some(wanted) = &selection.sink else { return Ok(known) };
    let names = known.iter().map(SinkName::as_str).collect::<Vec<_>>().join(", ");
    match known.iter().find(|sink| sink.as_str() == wanted) {
        Some(sink) => Ok(vec![sink.clone()]),
        None => Err(format!("--sink {wanted}: there is no such sink, and no dead letters of it; the sinks are {names}")),
    }
}

/// Hands every selected letter over. A letter that cannot be read is told and passed over.
fn each(
    selection: &Selection,
    sinks: &[SinkName],
    settings: &Settings,
    mut take: impl FnMut(DeadLetter) -> anyhow::Result<()>,
) -> anyhow::Result<Exit> {
    let mut exit = Exit::Fine;
    for sink in sinks {
        let letters =
            DeadLetters::read(&settings.state.dir, sink).context("failed to read dead letters; run this as the service's user")?;
        for letter in letters {
            match letter {
                Ok(letter) if selection.reason.is_none_or(|reason| reason == letter.reason) => take(letter)?,
                Ok(_) => {}
                Err(error) => {
                    report(&format!("error: {error}"));
                    exit = Exit::Partly;
                }
            }
        }
    }
    Ok(exit)
}

fn list(options: &ListOptions, sinks: &[SinkName], settings: &Settings) -> anyhow::Result<Exit> {
    if options.json {
        let mut out = std::io::stdout().lock();
        return until_gone(each(&options.selection, sinks, settings, |letter| show::json_line(&letter, show::Content::Without, &mut out)));
    }
    let mut rows = show::Rows::keeping(if options.all { usize::MAX } else { LISTED_MAX });
    let exit = each(&options.selection, sinks, settings, |letter| {
        rows.push(&letter);
        Ok(())
    })?;
    Ok(worse(print(rows.table().as_bytes()), exit))
}

fn show(options: &ShowOptions, sinks: &[SinkName], settings: &Settings) -> anyhow::Result<Exit> {
    let mut found = Vec::new();
    let exit = each(&options.selection, sinks, settings, |letter| {
        if letter.event.id.as_str() == options.id {
            if options.json {
                show::json_line(&letter, show::Content::With, &mut found)?;
            } else {
                found.extend_from_slice(show::whole(&letter).as_bytes());
            }
        }
        Ok(())
    })?;
    if found.is_empty() {
        bail!("there is no dead letter of an event {:?}; `miro-siem dead-letters list --all` lists them", options.id);
    }
    Ok(worse(print(&found), exit))
}

fn export(options: &ExportOptions, sinks: &[SinkName], settings: &Settings) -> anyhow::Result<Exit> {
    let Some(path) = &options.out else {
        let mut out = std::io::stdout().lock();
        return until_gone(each(&options.selection, sinks, settings, |letter| show::json_line(&letter, show::Content::With, &mut out)));
    };
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let file = opened.with_context(|| format!("failed to make {}; an existing file is not written over", path.display()))?;
    let mut out = std::io::BufWriter::new(file);
    let mut count = 0_u64;
    let exit = each(&options.selection, sinks, settings, |letter| {
        count += 1;
        show::json_line(&letter, show::Content::With, &mut out)
    })?;
    out.flush().and_then(|()| out.get_ref().sync_all()).with_context(|| format!("failed to write {}", path.display()))?;
    report(&format!("{count} exported to {}", path.display()));
    Ok(exit)
}

/// A reader that went away, such as `head`, has what it wanted.
fn until_gone(done: anyhow::Result<Exit>) -> anyhow::Result<Exit> {
    match done {
        Err(error) if show::is_gone(&error) => Ok(Exit::Fine),
        done => done,
    }
}

fn worse(printed: Exit, read: Exit) -> Exit {
    if printed == Exit::Fine { read } else { printed }
}

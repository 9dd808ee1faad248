//! `dead-letters retry` and `dead-letters drop`: through the running daemon, or alone where none runs.

use std::io::{BufRead, IsTerminal, Write};

use super::{Reason, reason};
use crate::{
    admin::{
        Dropped,
        control::{LetterSelection, Redeliveries as _},
    },
    cli::{
        Exit, LogOptions,
        daemon::{self, DaemonError, DaemonOptions, Request},
        logging, redelivery,
        redelivery::{Ask, Show, Wait},
        report,
    },
    config::{self, Environment},
    event::SinkName,
    sink::dead_letters::{DeadLetter, DeadLetters},
};

/// Which dead letters are meant: never all of them by an oversight.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("meant").args(["ids", "sink", "reason", "all"]).multiple(true).required(true))]
struct Meant {
    /// The letters of these events
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// Only those of this sink
    #[arg(long, value_name = "NAME")]
    sink: Option<String>,
    /// Only those that were set aside for this reason: rejected, too_large, unencodable
    #[arg(long, value_name = "REASON", value_parser = reason)]
    reason: Option<Reason>,
    /// Those of every sink, whatever their reason
    #[arg(long, conflicts_with_all = ["ids", "sink", "reason"])]
    all: bool,
    #[command(flatten)]
    daemon: DaemonOptions,
}

impl Meant {
    fn selection(&self) -> LetterSelection {
        let reason = self.reason.map(|reason| reason.as_str().to_owned());
        LetterSelection { sink: self.sink.clone(), reason, ids: self.ids.clone(), all: self.all }
    }

    fn takes(&self, letter: &DeadLetter) -> bool {
        let is_id = self.ids.is_empty() || self.ids.iter().any(|id| id == letter.event.id.as_str());
        is_id && self.reason.is_none_or(|reason| reason == letter.reason)
    }
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct RetryOptions {
    #[command(flatten)]
    meant: Meant,
    /// Print the result as JSON, one line for each sink
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct DropOptions {
    #[command(flatten)]
    meant: Meant,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn retry(options: &RetryOptions, log: &LogOptions) -> Exit {
    let show = if options.json { Show::Json } else { Show::Words };
    redelivery::carry_out(&options.meant.daemon, log, &Ask::Retry(options.meant.selection()), show, Wait::ToTheEnd)
}

pub(super) fn throw_away(options: &DropOptions, log: &LogOptions) -> Exit {
    // What is thrown away is logged, letter by letter.
    if let Err(problem) = logging::init(log, "info") {
        report(&format!("error: {problem}"));
        return Exit::Usage;
    }
    if !options.yes {
        match confirmed(&options.meant) {
            Ok(true) => {}
            Ok(false) => {
                report("nothing was dropped");
                return Exit::Partly;
            }
            Err(exit) => return exit,
        }
    }
    let selection = options.meant.selection();
    let mut absent = None;
    let through_daemon = daemon::with_admin(&options.meant.daemon, async |admin| {
        let asked = daemon::call(&admin, &Request::post("/api/v1/dead-letters/drop", redelivery::json(&selection))).await;
        match asked {
            Ok(dropped) => Ok(told(&dropped, options.json)),
            Err(error @ (DaemonError::Absent { .. } | DaemonError::Off)) if options.meant.daemon.admin.is_none() => {
                absent = Some(error);
                Ok(Exit::Fine)
            }
            Err(error) => Err(error.into()),
        }
    });
    let Some(absent) = absent else { return through_daemon };
    redelivery::alone(&options.meant.daemon.config, &absent, async |here| match here.redeliveries().drop_letters(selection.clone()).await {
        Ok(dropped) => Ok(told(&Dropped { dropped }, options.json)),
        Err(error) => redelivery::refused(&error),
    })
}

fn told(dropped: &Dropped, json: bool) -> Exit {
    let text = if json { format!("{}\n", redelivery::json(dropped)) } else { format!("{} dropped\n", dropped.dropped) };
    crate::cli::print(text.as_bytes())
}

/// Counts what is meant and asks. Without a terminal there is nobody to ask.
fn confirmed(meant: &Meant) -> Result<bool, Exit> {
    let settings = config::load(meant.daemon.config.config.as_deref(), &Environment::of_process()).map_err(|problems| {
        report(&problems.to_string());
        Exit::Usage
    })?;
    let failed = |error| crate::cli::fail(&anyhow::Error::new(error).context("failed to count the dead letters"));
    let dir = settings.settings.state.dir;
    let mut count = 0_u64;
    for sink in DeadLetters::sinks(&dir).map_err(failed)?.iter().filter(|sink| is_meant(meant, sink)) {
        count +=
            DeadLetters::read(&dir, sink).map_err(failed)?.filter(|letter| letter.as_ref().is_ok_and(|letter| meant.takes(letter))).count()
                as u64;
    }
    if !std::io::stdin().is_terminal() {
        report(&format!("error: {count} dead letters would be lost for good; say --yes if that is meant, and `export` them before"));
        return Err(Exit::Usage);
    }
    let _ = write!(std::io::stderr(), "{count} dead letters will be lost for good. Drop them? [y/N] ");
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    Ok(read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn is_meant(meant: &Meant, sink: &SinkName) -> bool {
    meant.sink.as_deref().is_none_or(|wanted| wanted == sink.as_str())
}

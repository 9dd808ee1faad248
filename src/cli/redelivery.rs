//! What `dead-letters retry`, `dead-letters drop` and `replay` have in common: through the running daemon, or alone where none runs.

use std::{io::IsTerminal, io::Write as _, time::Duration};

use anyhow::Context;

use super::{
    ConfigOption, Exit, LogOptions,
    daemon::{self, DaemonError, DaemonOptions, Request},
    fail, logging, print,
    readable::clean,
    report, runtime,
};
use crate::{
    admin::{
        ReplayBody,
        control::{ControlError, LetterSelection, Redeliveries, RedeliveryKind, RedeliveryState, RedeliveryStatus, ReplayRequest},
    },
    config::{self, Environment, Settings, settings::AdminSettings},
    journal::JournalError,
    pipeline::{Alone, RunError},
};

/// How often the daemon is asked how far it is.
const POLL: Duration = Duration::from_millis(300);

pub(super) const JOBS: &str = "/api/v1/redeliveries";

/// What is to be sent again.
#[derive(Clone, Debug)]
pub(super) enum Ask {
    /// Dead letters.
    Retry(LetterSelection),
    /// A range.
    Replay(ReplayRequest),
}

/// How the result is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Show {
    /// In words.
    Words,
    /// One JSON object for each job.
    Json,
}

/// Whether to wait for the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// Until every job is over.
    ToTheEnd,
    /// Until the daemon has taken them on.
    Detached,
}

/// Does it, and says how it went.
pub(super) fn carry_out(options: &DaemonOptions, log: &LogOptions, ask: &Ask, show: Show, wait: Wait) -> Exit {
    if let Err(problem) = logging::init(log, "warn") {
        report(&format!("error: {problem}"));
        return Exit::Usage;
    }
    let mut absent = None;
    let through_daemon = daemon::with_admin(options, async |admin| match begin(&admin, ask).await {
        Ok(jobs) if wait == Wait::Detached => summary(&jobs, show),
        Ok(jobs) => follow_daemon(&admin, jobs, show).await,
        Err(error @ (DaemonError::Absent { .. } | DaemonError::Off)) if options.admin.is_none() && wait == Wait::ToTheEnd => {
            absent = Some(error);
            Ok(Exit::Fine)
        }
        Err(error) => Err(error.into()),
    });
    match absent {
        None => through_daemon,
        Some(error) => alone(&options.config, &error, async |here| follow_here(here, ask, show).await),
    }
}

/// Does something without a daemon, as the one process that has the state directory.
pub(super) fn alone(config: &ConfigOption, absent: &DaemonError, act: impl AsyncFnOnce(&Alone) -> anyhow::Result<Exit>) -> Exit {
    let settings = match config::load(config.config.as_deref(), &Environment::of_process()) {
        Ok(loaded) => loaded.settings,
        Err(problems) => {
            report(&problems.to_string());
            return Exit::Usage;
        }
    };
    let done = runtime().context("failed to start the runtime").and_then(|runtime| runtime.block_on(with_state(&settings, absent, act)));
    done.unwrap_or_else(|error| fail(&error))
}

async fn with_state(
    settings: &Settings,
    absent: &DaemonError,
    act: impl AsyncFnOnce(&Alone) -> anyhow::Result<Exit>,
) -> anyhow::Result<Exit> {
    let here = match Alone::open(settings).await {
        Err(RunError::Journal(error @ JournalError::Locked { .. })) => {
            return Err(anyhow::Error::new(error).context(format!("{absent}, and without it")));
        }
        opened => opened?,
    };
    let done = act(&here).await;
    here.close().await;
    done
}

async fn begin(admin: &AdminSettings, ask: &Ask) -> Result<Vec<RedeliveryStatus>, DaemonError> {
    let request = match ask {
        Ask::Retry(selection) => Request::post("/api/v1/dead-letters/retry", json(selection)),
        Ask::Replay(wanted) => {
            let ReplayRequest { sink, from, to, org, stream } = wanted.clone();
            let body = ReplayBody { sink, from: from.to_string(), to: to.map(|to| to.to_string()), org, stream };
            Request::post("/api/v1/replays", json(&body))
        }
    };
    daemon::call(admin, &request).await
}

/// Our own bodies are text, numbers and lists of them.
pub(super) fn json(body: &impl serde::Serialize) -> serde_json::Value {
    serde_json::to_value(body).unwrap_or_default()
}

/// Asks until the jobs are over. Ctrl-C lets go of them, and they go on.
async fn follow_daemon(admin: &AdminSettings, mut jobs: Vec<RedeliveryStatus>, show: Show) -> anyhow::Result<Exit> {
    let mut line = Line::new(show);
    let interrupted = tokio::signal::ctrl_c();
    tokio::pin!(interrupted);
    while jobs.iter().any(|job| !job.state.is_over()) {
        line.show(&jobs);
        tokio::select! {
            () = tokio::time::sleep(POLL) => {}
            _ = &mut interrupted => {
                line.clear();
                report("the daemon goes on with it; `miro-siem replay --list` shows how far it is, `--cancel ID` ends it");
                summary(&jobs, show)?;
                return Ok(Exit::Partly);
            }
        }
        for job in jobs.iter_mut().filter(|job| !job.state.is_over()) {
            *job = daemon::call(admin, &Request::get(format!("{JOBS}/{}", job.id))).await?;
        }
    }
    line.clear();
    summary(&jobs, show)
}

/// The same in this process, where Ctrl-C ends them.
async fn follow_here(here: &Alone, ask: &Ask, show: Show) -> anyhow::Result<Exit> {
    let redeliveries = here.redeliveries();
    let begun = match ask {
        Ask::Retry(selection) => redeliveries.retry(selection.clone()).await,
        Ask::Replay(wanted) => redeliveries.replay(wanted.clone()).await,
    };
    let ids: Vec<String> = match begun {
        Ok(jobs) => jobs.into_iter().map(|job| job.id).collect(),
        Err(error) => return refused(&error),
    };
    let mut line = Line::new(show);
    let now = || -> Vec<RedeliveryStatus> { redeliveries.list().into_iter().filter(|job| ids.contains(&job.id)).collect() };
    let interrupted = tokio::signal::ctrl_c();
    tokio::pin!(interrupted);
    while now().iter().any(|job| !job.state.is_over()) {
        line.show(&now());
        tokio::select! {
            () = tokio::time::sleep(POLL) => {}
            _ = &mut interrupted => {
                for id in &ids {
                    // One that is over by now needs no end.
                    let _ = redeliveries.cancel(id).await;
                }
            }
        }
    }
    line.clear();
    summary(&now(), show)
}

/// What makes no sense is the caller's; everything else is a failure.
pub(super) fn refused(error: &ControlError) -> anyhow::Result<Exit> {
    match error {
        ControlError::Unknown(_) | ControlError::Invalid(_) => {
            report(&format!("error: {error}"));
            Ok(Exit::Usage)
        }
        ControlError::NotYet(_) | ControlError::Conflict(_) | ControlError::Failed(_) => Err(anyhow::Error::new(error.clone())),
    }
}

/// How far it is, on one line of a terminal.
struct Line(bool);

impl Line {
    fn new(show: Show) -> Self {
        Self(show == Show::Words && std::io::stderr().is_terminal())
    }

    fn show(&mut self, jobs: &[RedeliveryStatus]) {
        if self.0 {
            let sum = |of: fn(&RedeliveryStatus) -> u64| jobs.iter().map(of).sum::<u64>();
            let note = jobs.iter().find_map(|job| job.note.as_deref()).map(|note| format!("; {}", clean(note))).unwrap_or_default();
            let text = format!("{} delivered, {} refused{note}", sum(|job| job.delivered), sum(|job| job.refused));
            let _ = write!(std::io::stderr(), "\r\u{1b}[2K{}", super::readable::cut(&text, 99));
        }
    }

    fn clear(&mut self) {
        if self.0 {
            let _ = write!(std::io::stderr(), "\r\u{1b}[2K");
        }
    }
}

/// What came of them.
pub(super) fn summary(jobs: &[RedeliveryStatus], show: Show) -> anyhow::Result<Exit> {
    let text: String = match show {
        Show::Words => jobs.iter().map(sentence).collect(),
        Show::Json => jobs.iter().map(|job| format!("{}\n", json(job))).collect(),
    };
    let shown = print(text.as_bytes());
    let is = |state| jobs.iter().any(|job| job.state == state);
    Ok(match shown {
        Exit::Fine if is(RedeliveryState::Failed) => Exit::Failed,
        Exit::Fine if is(RedeliveryState::Cancelled) || jobs.iter().any(|job| job.refused > 0) => Exit::Partly,
        other => other,
    })
}

/// One line about a job.
pub(super) fn sentence(job: &RedeliveryStatus) -> String {
    let what = match job.kind {
        RedeliveryKind::Retry => format!("{} letters", job.selected.unwrap_or_default()),
        RedeliveryKind::Replay => {
            let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "?".to_owned());
            format!("{} from {} to {}", text(&job.stream), text(&job.from), text(&job.to))
        }
    };
    let filtered = if job.filtered > 0 { format!(", {} filtered", job.filtered) } else { String::new() };
    let note = job.note.as_deref().map(|note| format!("; {}", clean(note))).unwrap_or_default();
    format!(
        "{} {} ({}): {what}: {} delivered{filtered}, {} refused{note}\n",
        job.sink,
        job.state.as_str(),
        job.id,
        job.delivered,
        job.refused
    )
}

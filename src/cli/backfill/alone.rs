//! A backfill without a daemon: a pipeline of this process's own that collects one stream, delivers to every sink, and ends.
//!
//! Every other stream and sink keeps its place: what sinks had yet to deliver of them is delivered here as well.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, bail};

use super::{
    super::{Exit, LogOptions, fail, logging, print, readable::clean, report, runtime, stopped},
    Options, Wanted,
    progress::{Progress, summary},
    usage,
};
use crate::{
    admin::{
        control::{BackfillRequest, BackfillState, BackfillStatus, Backfills, ControlError, LogLevel},
        status::StreamStatus,
    },
    config::{self, Environment, Settings},
    event::StreamId,
    health::StreamPhase,
    pipeline::{self, Observer, Outcome, Signals, Stop},
};

/// What goes on is shown; logs are for what goes wrong.
const LOG_LEVEL: &str = "warn";
/// How often the pipeline is looked at.
const INTERVAL: Duration = Duration::from_millis(250);

pub(super) fn run(options: &Options, wanted: &Wanted, log: &LogOptions) -> Exit {
    let log = match logging::init(log, LOG_LEVEL) {
        Ok(log) => log,
        Err(problem) => return usage(&problem),
    };
    let settings = match config::load(options.daemon.config.config.as_deref(), &Environment::of_process()) {
        Ok(loaded) => loaded.settings,
        Err(problems) => {
            report(&problems.to_string());
            return Exit::Usage;
        }
    };
    let streams = settings.orgs.iter().flat_map(|org| org.streams.iter().map(|stream| StreamId::new(org.name.clone(), stream.kind)));
    let stream = match wanted.among(&streams.collect::<Vec<_>>()) {
        Ok(stream) => stream,
        Err(problem) => return usage(&problem),
    };
    if let Err(error) = stopped::may_write(&settings.state.dir) {
        return fail(&error);
    }
    let done = runtime().context("failed to start the runtime");
    done.and_then(|runtime| runtime.block_on(collect(settings, stream, wanted, options, log))).unwrap_or_else(|error| fail(&error))
}

async fn collect(
    mut settings: Settings,
    stream: StreamId,
    wanted: &Wanted,
    options: &Options,
    log: Arc<dyn LogLevel>,
) -> anyhow::Result<Exit> {
    // The address is the daemon's; whoever wants to look meanwhile uses the socket.
    settings.admin.listen = None;
    let stop = Stop::new();
    let signals = Signals::listen().context("failed to listen for signals")?;
    let driving = tokio::spawn(signals.drive(stop.clone()));
    let parts = pipeline::Parts { log: Some(log), only: Some(stream.clone()), ..pipeline::Parts::new(settings) };
    let running = pipeline::start(parts, stop.clone()).await?;
    report(&format!("no daemon runs with this configuration: {stream} is collected by this command, and delivered"));
    let alone = Alone { observer: running.observer().clone(), backfills: running.backfill_control(), stream, stop: stop.clone() };
    let mut progress = Progress::new();
    let ended = alone.work(wanted, &mut progress).await;
    progress.clear();
    if matches!(ended, Ok(None)) {
        report("stopping; a second Ctrl-C stops at once");
    }
    stop.drain();
    let outcome = running.wait().await;
    driving.abort();
    told(ended?, outcome, options)
}

/// Says how it ended; nothing ended where a signal came first.
fn told(ended: Option<BackfillStatus>, outcome: Outcome, options: &Options) -> anyhow::Result<Exit> {
    let Some(status) = ended else {
        report("stopped; what is collected stays, and the same command goes on from there, or the daemon when it runs");
        return Ok(Exit::Partly);
    };
    // Standard output may be a sink's.
    report(&summary(&status));
    let printed = if options.json { print((serde_json::to_string(&status)? + "\n").as_bytes()) } else { Exit::Fine };
    if outcome == Outcome::Undelivered {
        report("not everything is delivered yet: what is left goes out when the daemon runs, or with the next backfill");
    }
    Ok(match (printed, status.state, outcome) {
        (Exit::Fine, BackfillState::Done, Outcome::Drained) => Exit::Fine,
        (Exit::Fine, ..) => Exit::Partly,
        (printed, ..) => printed,
    })
}

/// The pipeline, as this command sees it.
struct Alone {
    observer: Observer,
    backfills: Arc<dyn Backfills>,
    stream: StreamId,
    stop: Stop,
}

impl Alone {
    /// Until all that can be is collected, and delivered as far as receivers take it; `None` where a signal came first.
    async fn work(&self, wanted: &Wanted, progress: &mut Progress) -> anyhow::Result<Option<BackfillStatus>> {
        let Some(asked) = self.asked(wanted, progress).await? else { return Ok(None) };
        if let Some(note) = &asked.note {
            report(&format!("note: {note}"));
        }
        let Some(status) = self.collected(asked, progress).await? else { return Ok(None) };
        Ok(self.delivered(progress).await.then_some(status))
    }

    /// Waits for a moment; whether there is to be another.
    async fn pause(&self) -> bool {
        let draining = self.stop.draining();
        tokio::select! {
            () = draining.cancelled() => false,
            () = tokio::time::sleep(INTERVAL) => true,
        }
    }

    /// Asks for it as soon as that can be done: a stream that was never collected begins with Miro's first answer. `None` where a signal came
    /// first.
    async fn asked(&self, wanted: &Wanted, progress: &mut Progress) -> anyhow::Result<Option<BackfillStatus>> {
        loop {
            self.needs_nobody()?;
            let request = BackfillRequest { stream: self.stream.clone(), from: wanted.from, to: Some(wanted.to) };
            match self.backfills.request(request).await {
                Ok(asked) => return Ok(Some(asked)),
                Err(ControlError::NotYet(_)) => {}
                Err(error) => return Err(error.into()),
            }
            let fault = self.row().and_then(|row| row.fault);
            let why = fault.map_or_else(String::new, |fault| format!(": {}", clean(&fault.message)));
            progress.say(&format!("waiting for Miro's first answer{why}"));
            if !self.pause().await {
                return Ok(None);
            }
        }
    }

    fn row(&self) -> Option<StreamStatus> {
        self.observer.status().streams.into_iter().next()
    }

    /// Until all of it is collected that can be; `None` where a signal came first.
    async fn collected(&self, asked: BackfillStatus, progress: &mut Progress) -> anyhow::Result<Option<BackfillStatus>> {
        let mut status = asked;
        while status.state == BackfillState::Running {
            self.needs_nobody()?;
            progress.show(&status);
            if !self.pause().await {
                return Ok(None);
            }
            let newer = self.backfills.list().into_iter().find(|one| one.id == status.id);
            status = newer.context("the backfill was forgotten")?;
        }
        Ok(Some(status))
    }

    /// Until every receiver has everything, or only such are left that need a person; `false` where a signal came first.
    async fn delivered(&self, progress: &mut Progress) -> bool {
        loop {
            let status = self.observer.status();
            let behind: Vec<_> = status.sinks.iter().filter(|sink| sink.backlog_events > 0).collect();
            if behind.iter().all(|sink| sink.paused) {
                return true;
            }
            let events: u64 = behind.iter().map(|sink| sink.backlog_events).sum();
            progress.say(&format!("collected; {events} events are still to be delivered"));
            if !self.pause().await {
                return false;
            }
        }
    }

    /// A daemon would wait until somebody has mended it; whoever types a command is there and can.
    fn needs_nobody(&self) -> anyhow::Result<()> {
        let paused = self.row().filter(|row| row.phase == StreamPhase::Paused);
        match paused.and_then(|row| row.fault) {
            Some(fault) => bail!("failed to collect {}: {}", self.stream, clean(&fault.message)),
            None => Ok(()),
        }
    }
}

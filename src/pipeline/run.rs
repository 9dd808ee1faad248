//! Starting, running and stopping the whole.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use thiserror::Error;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::{
    AssemblyError, Observer, ReadySink, Stop,
    assembly::{self, Collected, Shared},
    backfills::Engine,
    redeliver::{self, Delivery, Redeliver},
    routes,
    supervise::{Supervision, supervise},
    tail::{Tail, followable},
};
use crate::{
    admin::{
        self,
        control::{Backfills, LogLevel, Proving},
    },
    attest::{RuleBook, Rules},
    clock::Clock,
    config::{
        Settings,
        settings::{AdminSettings, StreamSettings},
    },
    event::{OrgName, SinkName, StreamId},
    forwarder::Forwarder,
    health::Health,
    journal::{DiskJournal, Journal, JournalError, Options},
    metrics::Metrics,
    sink::{
        dead_letters::{DeadLetterError, DeadLetters},
        driver::{Driver, Shutdown, SinkParts, SinkState},
    },
    source::{BackfillRequests, Collector, SPAN_MAX, gaps::Keeper, piece},
};

/// Ids are remembered for the longest delay of reconcile, its piece, a window and its overlap, and this much longer, so that a clock step does not
/// send anything twice.
const IDS_REACH_MARGIN: Duration = Duration::from_secs(3_600);

/// How long the admin endpoint may take to finish its answers at the end.
const SERVICES_TIMEOUT: Duration = Duration::from_secs(2);

/// What a pipeline is made of.
#[derive(Debug)]
pub struct Parts {
    /// The configuration.
    pub settings: Settings,
    /// Sinks beside the configured ones.
    pub sinks: Vec<ReadySink>,
    /// What time it is.
    pub clock: Clock,
    /// Where everything counts.
    pub metrics: Metrics,
    /// Where every task says how it is doing.
    pub health: Health,
    /// The process's log level, where it can be changed.
    pub log: Option<Arc<dyn LogLevel>>,
    /// Only this stream is collected. Every sink and stream keeps its place, and what is collected already of the others is delivered.
    pub only: Option<StreamId>,
}

impl Parts {
    /// What the settings say, on the machine's clock.
    pub fn new(settings: Settings) -> Self {
        Self { settings, sinks: Vec::new(), clock: Clock::system(), metrics: Metrics::new(), health: Health::new(), log: None, only: None }
    }
}

/// How a pipeline ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything that was collected is delivered.
    Drained,
    /// Something is still in the journal; it goes out at the next start.
    Undelivered,
}

/// Why a pipeline did not start.
#[derive(Debug, Error)]
pub enum RunError {
    /// The journal.
    #[error("failed to open the state directory: {0}")]
    Journal(#[from] JournalError),
    /// Sinks and streams.
    #[error(transparent)]
    Assembly(#[from] AssemblyError),
    /// The admin endpoint.
    #[error(transparent)]
    Admin(#[from] admin::BindError),
    /// The dead letters.
    #[error(transparent)]
    DeadLetters(#[from] DeadLetterError),
}

/// A pipeline at work.
#[derive(Debug)]
pub struct Running {
    observer: Observer,
    admin_address: Option<SocketAddr>,
    journal: Arc<dyn Journal>,
    sinks: Vec<Arc<SinkState>>,
    sources: JoinSet<()>,
    backfills: BTreeMap<StreamId, BackfillRequests>,
    engine: Arc<Engine>,
    drivers: JoinSet<()>,
    /// Cancelled when collection has ended: only then is there nothing to come that a driver would have to wait for.
    drain: CancellationToken,
    redeliver: Redeliver,
    services: JoinSet<()>,
    services_stop: CancellationToken,
    drain_timeout: Duration,
    stop: Stop,
}

/// Starts a pipeline, tells the service manager, and waits for its end.
pub async fn run(parts: Parts, stop: Stop) -> Result<Outcome, RunError> {
    let running = start(parts, stop).await?;
    Ok(running.wait().await)
}

/// Starts a pipeline.
pub async fn start(parts: Parts, stop: Stop) -> Result<Running, RunError> {
    let Parts { settings, sinks: extra, clock, metrics, health, log, only } = parts;
    let shared = Shared { clock: clock.clone(), health: health.clone(), metrics: metrics.clone() };
    let disk = open_journal(&settings).await?;
    let journal: Arc<dyn Journal> = disk.clone();
    let listeners = admin::Listeners::bind(&settings.admin).await?;
    let mut streams = assembly::streams(&settings, &shared)?;
    let mut sinks = assembly::sinks(&settings.sinks)?;
    sinks.extend(extra);
    let routes = assembly::routes(&streams, &sinks);
    redeliver::begin_new_sinks(&journal, &redeliver::new_sinks(&settings, &routes), clock.now()).await?;
    routes::subscribe(&journal, &routes).await?;
    streams.retain(|one| only.as_ref().is_none_or(|only| one.stream == *only));
    let observer = Observer {
        journal: journal.clone(),
        health,
        metrics,
        started_at: clock.now(),
        clock,
        streams: streams.iter().map(Collected::observed).collect(),
        sinks: routes.clone(),
        stop: stop.clone(),
    };
    // A stop at once is a drain as well: a task that it ends has not failed.
    let shutdown = Shutdown { drain: stop.stopping().child_token(), stop: stop.stopping() };
    let states = sink_states(&settings, &sinks, &shared)?;
    let delivery = Delivery { sinks: &sinks, routes: &routes, states: &states };
    let redeliver = redeliver::assemble(&settings, &streams, &delivery, &journal, &shared, stop.draining());
    let drivers = spawn_drivers(&states, &sinks, &routes, &journal, &shared, &shutdown);
    let streams_len = streams.len();
    let forwarders = assembly::forwarders(&settings, &routes, &journal, &shared);
    let streams: Vec<_> = streams.into_iter().map(|one| (one.requests(&journal, &shared), one)).collect();
    let backfills: BTreeMap<_, _> = streams.iter().map(|(requests, one)| (one.stream.clone(), requests.clone())).collect();
    let sources = spawn_sources(streams, &forwarders, &journal, &shared, &stop);
    let (services_stop, mut services) = (CancellationToken::new(), JoinSet::new());
    let admin_address = listeners.address();
    let tail = Tail::new(journal.clone(), followable(observer.streams.iter().map(|one| one.stream.clone())), services_stop.clone());
    let engine = Arc::new(Engine { streams: backfills.clone(), health: shared.health.clone(), clock: shared.clock.clone() });
    let proof = Proving { journal: disk, rules: attest_rules(&settings), clock: shared.clock.clone() };
    let redeliveries = Some(Arc::new(redeliver.clone()) as Arc<dyn admin::control::Redeliveries>);
    let control = admin::Control { log, events: Some(Arc::new(tail)), backfills: Some(engine.clone()), proof: Some(proof), redeliveries };
    redeliver.resume();
    spawn_admin(&mut services, listeners, &settings.admin, &observer, control, &services_stop);
    spawn_watchdog(&mut services, &services_stop);
    info!(streams = streams_len, sinks = sinks.len(), admin = admin_address.map_or_else(|| "off".to_owned(), |address| address.to_string()), state = %settings.state.dir.display(), "running");
    notify(sd_notify::NotifyState::Ready);
    Ok(Running {
        observer,
        admin_address,
        journal,
        sinks: states,
        sources,
        backfills,
        engine,
        drivers,
        drain: shutdown.drain,
        redeliver,
        services,
        services_stop,
        drain_timeout: settings.state.drain_timeout,
        stop,
    })
}

impl Running {
    /// Where the admin endpoint listens.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin_address
    }

    /// The backfills on request of each stream.
    pub fn backfills(&self) -> &BTreeMap<StreamId, BackfillRequests> {
        &self.backfills
    }

    /// The same as the admin endpoint offers them.
    pub fn backfill_control(&self) -> Arc<dyn Backfills> {
        self.engine.clone()
    }

    /// Sees the whole pipeline.
    pub fn observer(&self) -> &Observer {
        &self.observer
    }

    /// Waits until a stop is asked for and carried out: collection ends, what is collected is delivered, then everything is closed.
    pub async fn wait(mut self) -> Outcome {
        self.stop.draining().cancelled().await;
        notify(sd_notify::NotifyState::Stopping);
        while self.sources.join_next().await.is_some() {}
        self.drain.cancel();
        self.redeliver.ended().await;
        self.deliver_the_rest().await;
        let backlog: u64 = self.observer.status().sinks.iter().map(|sink| sink.backlog_events).sum();
        self.services_stop.cancel();
        let ended = tokio::time::timeout(SERVICES_TIMEOUT, async { while self.services.join_next().await.is_some() {} }).await;
        if ended.is_err() {
            // Somebody holds a request open; nothing of ours depends on it.
            self.services.shutdown().await;
        }
        for sink in &self.sinks {
            if let Err(error) = sink.close().await {
                warn!(sink = %sink.name(), error = %error, "sink did not close cleanly");
            }
        }
        if let Err(error) = self.journal.close().await {
            error!(error = %error, "journal did not close cleanly");
        }
        if backlog == 0 {
            info!("stopped with everything delivered");
            Outcome::Drained
        } else {
            warn!(events = backlog, "stopped; what is not delivered is in the journal and goes out at the next start");
            Outcome::Undelivered
        }
    }

    async fn deliver_the_rest(&mut self) {
        let (stop, stopping) = (self.stop.clone(), self.stop.stopping());
        let drained = async { while self.drivers.join_next().await.is_some() {} };
        tokio::select! {
            () = drained => return,
            () = tokio::time::sleep(self.drain_timeout) => warn!(timeout_secs = self.drain_timeout.as_secs_f64(), "the drain deadline has passed"),
            () = stopping.cancelled() => {}
        }
        stop.at_once();
        while self.drivers.join_next().await.is_some() {}
    }
}

/// How the journal of that configuration is opened, by the daemon or in its place.
pub fn journal_options(settings: &Settings) -> Options {
    Options { dir: settings.state.dir.clone(), bytes_max: settings.state.journal_bytes_max, ids_reach: ids_reach(settings) }
}

/// How far behind the watermark ids are remembered until a stream's collector has said it more exactly, and how far back events without a time
/// are compared.
fn ids_reach(settings: &Settings) -> Duration {
    let streams = settings.orgs.iter().flat_map(|org| &org.streams);
    let reach = |stream: &StreamSettings| {
        let latest = stream.reconcile.iter().map(|delay| *delay + piece(*delay, stream.poll_interval)).max();
        latest.unwrap_or_default() + stream.overlap
    };
    streams.map(reach).max().unwrap_or_default() + SPAN_MAX + IDS_REACH_MARGIN
}

/// By what the holes of these settings' streams are judged.
pub fn attest_rules(settings: &Settings) -> RuleBook {
    let rules = settings.orgs.iter().flat_map(|org| {
        let rules = |stream: &StreamSettings| Rules::of(Some(stream.retention), stream.poll_interval);
        org.streams.iter().map(move |stream| (StreamId::new(org.name.clone(), stream.kind), rules(stream)))
    });
    RuleBook(rules.collect())
}

pub(super) async fn open_journal(settings: &Settings) -> Result<Arc<DiskJournal>, RunError> {
    let options = journal_options(settings);
    let opened = tokio::task::spawn_blocking(move || DiskJournal::open(options)).await;
    let journal = opened.map_err(|_| JournalError::Closed)??;
    Ok(Arc::new(journal))
}

fn spawn_sources(
    streams: Vec<(BackfillRequests, Collected)>,
    forwarders: &BTreeMap<OrgName, Forwarder>,
    journal: &Arc<dyn Journal>,
    shared: &Shared,
    stop: &Stop,
) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for (requests, one) in streams {
        if let Some(forwarder) = forwarders.get(&one.stream.org) {
            let (parts, draining) = (one.keeper_parts(journal.clone(), forwarder.clone(), shared), stop.draining());
            let make = move || Keeper::new(parts.clone()).run(draining.clone());
            tasks.spawn(supervise(format!("gaps {}", one.stream), supervision(shared), stop.draining(), make));
        }
        let (journal, context, draining) = (journal.clone(), shared.clone(), stop.draining());
        let name = format!("source {}", one.stream);
        let make = move || Collector::new(one.collector_parts(journal.clone(), requests.clone(), &context), draining.clone()).run();
        tasks.spawn(supervise(name, supervision(shared), stop.draining(), make));
    }
    tasks
}

pub(super) fn sink_states(settings: &Settings, sinks: &[ReadySink], shared: &Shared) -> Result<Vec<Arc<SinkState>>, RunError> {
    let state = |sink: &ReadySink| {
        Ok(Arc::new(SinkState::new(SinkParts {
            name: sink.name.clone(),
            sink: sink.built.sink.clone(),
            limits: sink.built.limits.clone(),
            dead_letters: DeadLetters::open(&settings.state.dir, &sink.name, settings.state.dead_letter_bytes_max)?,
            metrics: shared.metrics.clone(),
            health: shared.health.clone(),
            clock: shared.clock.clone(),
        })))
    };
    sinks.iter().map(state).collect()
}

fn spawn_drivers(
    states: &[Arc<SinkState>],
    sinks: &[ReadySink],
    routes: &[(SinkName, Vec<StreamId>)],
    journal: &Arc<dyn Journal>,
    shared: &Shared,
    shutdown: &Shutdown,
) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for ((state, sink), (_, streams)) in states.iter().zip(sinks).zip(routes) {
        for stream in streams {
            let driver = Arc::new(Driver::new(state.clone(), journal.clone(), stream.clone(), sink.built.transform.clone()));
            let (name, shutdown, drain) = (format!("sink {} {stream}", sink.name), shutdown.clone(), shutdown.drain.clone());
            let make = move || {
                let (driver, shutdown) = (driver.clone(), shutdown.clone());
                async move { driver.run(&shutdown).await }
            };
            tasks.spawn(supervise(name, supervision(shared), drain, make));
        }
    }
    tasks
}

fn supervision(shared: &Shared) -> Supervision {
    Supervision { clock: shared.clock.clone(), health: shared.health.clone(), metrics: shared.metrics.clone() }
}

fn spawn_admin(
    services: &mut JoinSet<()>,
    listeners: admin::Listeners,
    settings: &AdminSettings,
    observer: &Observer,
    control: admin::Control,
    stop: &CancellationToken,
) {
    let (for_status, for_metrics) = (observer.clone(), observer.clone());
    let parts =
        admin::AdminParts { status: Arc::new(move || for_status.status()), metrics: Arc::new(move || for_metrics.metrics_text()), control };
    let (settings, stop) = (settings.clone(), stop.clone());
    services.spawn(async move { admin::serve(listeners, &settings, parts, stop).await });
}

/// Tells systemd's watchdog that the runtime still turns, at twice the rate that it asks for.
fn spawn_watchdog(services: &mut JoinSet<()>, stop: &CancellationToken) {
    let Some(limit) = sd_notify::watchdog_enabled() else { return };
    let stop = stop.clone();
    services.spawn(async move {
        let mut ticks = tokio::time::interval(limit / 2);
        loop {
            tokio::select! {
                _ = ticks.tick() => notify(sd_notify::NotifyState::Watchdog),
                () = stop.cancelled() => return,
            }
        }
    });
}

/// Without a service manager there is nobody to tell.
fn notify(state: sd_notify::NotifyState<'_>) {
    let _ = sd_notify::notify(&[state]);
}

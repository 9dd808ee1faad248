//! What the streams of one sink share: the sink itself, its pause, its health and its dead letters.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use tokio::sync::{Notify, watch};

use super::{Limits, Shutdown};
use crate::{
    clock::Clock,
    event::{SinkName, StreamId, Timestamp},
    health::{Fault, Health, SinkPhase},
    journal::Journal,
    metrics::{self, Metrics},
    sink::{
        ErrorClass, Sink, SinkError,
        dead_letters::{DeadLetter, DeadLetters},
    },
};

/// What a sink's state is made of.
#[derive(Debug)]
pub struct SinkParts {
    /// Its name.
    pub name: SinkName,
    /// The sink.
    pub sink: Arc<dyn Sink>,
    /// Its limits.
    pub limits: Limits,
    /// Where refused events are set aside.
    pub dead_letters: DeadLetters,
    /// Where outcomes are counted.
    pub metrics: Metrics,
    /// Where its condition is shown.
    pub health: Health,
    /// What time it is.
    pub clock: Clock,
}

/// One sink, shared by the drivers of its streams.
pub struct SinkState {
    parts: SinkParts,
    paused: watch::Sender<bool>,
    /// Only one stream's driver probes; the others wait behind it.
    prober: tokio::sync::Mutex<()>,
    /// Pauses since the receiver last accepted something: a probe that passes proves less than a delivery.
    pauses: AtomicU32,
    probe_now: Notify,
    lanes: Mutex<BTreeMap<StreamId, Lane>>,
}

/// How one stream's driver is doing.
#[derive(Clone, Debug, Default)]
struct Lane {
    phase: SinkPhase,
    fault: Option<Fault>,
}

/// Whether a sink takes deliveries again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opened {
    Yes,
    /// It is paused and the driver is to end.
    GivenUp,
}

/// A failure, as it is shown.
#[derive(Debug)]
pub(super) struct Failure {
    phase: SinkPhase,
    class: &'static str,
    message: String,
}

impl Failure {
    pub(super) fn throttled(error: &SinkError) -> Self {
        Self { phase: SinkPhase::Throttled, class: error.class().as_str(), message: error.to_string() }
    }

    pub(super) fn backing_off(error: &SinkError) -> Self {
        Self { phase: SinkPhase::BackingOff, class: error.class().as_str(), message: error.to_string() }
    }

    pub(super) fn journal(message: String) -> Self {
        Self { phase: SinkPhase::BackingOff, class: "journal", message }
    }

    pub(super) fn dead_letters(message: String) -> Self {
        Self { phase: SinkPhase::BackingOff, class: "dead_letters", message }
    }
}

impl SinkState {
    /// Puts a sink's parts together.
    pub fn new(parts: SinkParts) -> Self {
        parts.metrics.sink_gauge(metrics::SINK_PAUSED, &parts.name).set(0.0);
        Self {
            parts,
            paused: watch::Sender::new(false),
            prober: tokio::sync::Mutex::new(()),
            pauses: AtomicU32::new(0),
            probe_now: Notify::new(),
            lanes: Mutex::default(),
        }
    }

    /// Its name.
    pub fn name(&self) -> &SinkName {
        &self.parts.name
    }

    /// Where its refused events are set aside.
    pub fn dead_letters(&self) -> &DeadLetters {
        &self.parts.dead_letters
    }

    /// Whether it is paused by an authentication or configuration fault.
    pub fn is_paused(&self) -> bool {
        *self.paused.borrow()
    }

    /// Probes a paused sink now instead of at its next time: after a reload, when a person may have mended something.
    pub fn probe_now(&self) {
        self.probe_now.notify_waiters();
    }

    /// Lets go of connections and files. Call it when the drivers of all streams have ended.
    pub async fn close(&self) -> Result<(), SinkError> {
        let close = tokio::time::timeout(self.parts.limits.deliver_timeout, self.parts.sink.close());
        close.await.unwrap_or_else(|_| Err(SinkError::new(ErrorClass::Ambiguous, "closing took too long")))
    }

    pub(super) fn sink(&self) -> &dyn Sink {
        &*self.parts.sink
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.parts.limits
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.parts.metrics
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.parts.clock
    }

    pub(super) fn began(&self, stream: &StreamId) {
        tracing::info!(sink = %self.parts.name, %stream, "delivery began");
        self.set_lane(stream, Lane { phase: SinkPhase::Delivering, fault: None });
    }

    pub(super) fn ended(&self, stream: &StreamId) {
        tracing::info!(sink = %self.parts.name, %stream, "delivery ended");
        let fault = self.lanes().get(stream).and_then(|lane| lane.fault.clone());
        self.set_lane(stream, Lane { phase: SinkPhase::Stopped, fault });
    }

    /// The receiver accepted events.
    pub(super) fn succeeded(&self, stream: &StreamId, events: usize) {
        if events > 0 {
            self.pauses.store(0, Ordering::Relaxed);
        }
        let now = self.parts.clock.now();
        self.set_lane(stream, Lane { phase: SinkPhase::Delivering, fault: None });
        self.parts.health.sink(&self.parts.name, |row| {
            row.last_success = Some(now);
            row.stream_success.insert(stream.clone(), now);
            row.events_delivered += events as u64;
        });
        tracing::debug!(sink = %self.parts.name, %stream, events, "delivered");
    }

    /// Something failed that mends itself or is tried again.
    pub(super) fn failed(&self, stream: &StreamId, failure: Failure) {
        tracing::warn!(sink = %self.parts.name, %stream, class = failure.class, error = %failure.message, "delivery failed, will try again");
        let fault = self.fault(failure.class, failure.message);
        self.set_lane(stream, Lane { phase: failure.phase, fault: Some(fault) });
    }

    /// What failed works again, though nothing was delivered by it.
    pub(super) fn recovered(&self, stream: &StreamId) {
        self.set_lane(stream, Lane { phase: SinkPhase::Delivering, fault: None });
    }

    pub(super) fn count_error(&self, class: ErrorClass) {
        let labels = [("sink", self.parts.name.as_str()), ("class", class.as_str())];
        self.parts.metrics.counter(metrics::SINK_ERRORS, &labels).increment(1);
    }

    /// Dead letters were made.
    pub(super) fn set_aside(&self, stream: &StreamId, letters: &[DeadLetter]) {
        self.parts.health.sink(&self.parts.name, |row| row.events_dead_lettered += letters.len() as u64);
        if let Some(first) = letters.first() {
            tracing::error!(
                sink = %self.parts.name, %stream, events = letters.len(), reason = first.reason.as_str(), error = %first.answer,
                "events set aside as dead letters"
            );
        }
    }

    /// Stops deliveries of all streams until a probe passes.
    pub(super) fn pause(&self, stream: &StreamId, error: &SinkError) {
        let newly = self.paused.send_if_modified(|paused| !std::mem::replace(paused, true));
        if newly {
            self.pauses.fetch_add(1, Ordering::Relaxed);
            self.parts.metrics.sink_gauge(metrics::SINK_PAUSED, &self.parts.name).set(1.0);
            tracing::error!(sink = %self.parts.name, %stream, class = error.class().as_str(), %error, "sink paused, data is kept");
        }
        let fault = self.fault(error.class().as_str(), error.to_string());
        self.set_lane(stream, Lane { phase: SinkPhase::Paused, fault: Some(fault) });
    }

    /// Waits while the sink is paused. A drain does not wait for it: the journal keeps what is not delivered.
    pub(super) async fn opened(&self, stream: &StreamId, shutdown: &Shutdown) -> Opened {
        if !self.is_paused() {
            return Opened::Yes;
        }
        tokio::select! {
            biased;
            () = shutdown.stop.cancelled() => Opened::GivenUp,
            () = shutdown.drain.cancelled() => Opened::GivenUp,
            () = self.probe_until_open(stream) => Opened::Yes,
        }
    }

    async fn probe_until_open(&self, stream: &StreamId) {
        let _prober = self.prober.lock().await;
        let mut failed_probes = 0;
        while self.is_paused() {
            let pauses = self.pauses.load(Ordering::Relaxed).saturating_sub(1);
            let limits = &self.parts.limits;
            let wait = limits.probe_initial.saturating_mul(1 << (pauses + failed_probes).min(8)).min(limits.probe_max);
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.probe_now.notified() => {}
            }
            match self.probe().await {
                Ok(()) => self.reopen(),
                Err(error) => {
                    failed_probes += 1;
                    self.count_error(error.class());
                    self.pause(stream, &error);
                }
            }
        }
        self.set_lane(stream, Lane { phase: SinkPhase::Delivering, fault: None });
    }

    async fn probe(&self) -> Result<(), SinkError> {
        let timeout = self.parts.limits.deliver_timeout;
        let hung = || SinkError::new(ErrorClass::Retryable, format!("the receiver did not answer a probe within {} s", timeout.as_secs()));
        tokio::time::timeout(timeout, self.parts.sink.probe()).await.unwrap_or_else(|_| Err(hung()))
    }

    fn reopen(&self) {
        tracing::info!(sink = %self.parts.name, "sink resumed");
        self.parts.metrics.sink_gauge(metrics::SINK_PAUSED, &self.parts.name).set(0.0);
        self.paused.send_replace(false);
    }

    fn fault(&self, class: &str, message: String) -> Fault {
        Fault { at: self.parts.clock.now(), class: class.to_owned(), message }
    }

    fn lanes(&self) -> MutexGuard<'_, BTreeMap<StreamId, Lane>> {
        // Lanes are replaced whole, so a writer that panicked has left a whole one.
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes one stream's condition; the sink's row shows the worst of them.
    fn set_lane(&self, stream: &StreamId, lane: Lane) {
        let mut lanes = self.lanes();
        lanes.insert(stream.clone(), lane);
        let worst = lanes.values().max_by_key(|lane| severity(lane.phase)).cloned().unwrap_or_default();
        self.parts.health.sink(&self.parts.name, |row| {
            row.phase = worst.phase;
            row.fault = worst.fault;
        });
    }
}

/// Which condition a sink shows when its streams differ.
fn severity(phase: SinkPhase) -> u8 {
    match phase {
        SinkPhase::Stopped => 0,
        SinkPhase::Starting => 1,
        SinkPhase::Delivering => 2,
        SinkPhase::Throttled => 3,
        SinkPhase::BackingOff => 4,
        SinkPhase::Paused => 5,
    }
}

impl fmt::Debug for SinkState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SinkState").field("name", &self.parts.name).field("paused", &self.is_paused()).finish_non_exhaustive()
    }
}

/// Sets a sink's backlog gauges from the journal: how many events it has yet to deliver, and how old the oldest is.
pub fn publish_backlog(journal: &dyn Journal, metrics: &Metrics, sink: &SinkName, streams: &[StreamId], now: Timestamp) {
    let backlogs = streams.iter().map(|stream| journal.backlog(sink, stream));
    let (mut events, mut oldest): (u64, Option<Timestamp>) = (0, None);
    for backlog in backlogs {
        events += backlog.events;
        oldest = oldest.into_iter().chain(backlog.oldest_collected_at).min();
    }
    metrics.sink_gauge(metrics::SINK_BACKLOG, sink).set(events as f64);
    metrics.sink_gauge(metrics::SINK_OLDEST_AGE, sink).set(oldest.map_or(0.0, |oldest| now.since(oldest).as_secs_f64()));
}

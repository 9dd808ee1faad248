//! What the lanes of one sink share: the sink itself, its pause, its health and its dead letters.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
};

use tokio::sync::{Notify, watch};

use super::{Lane, Limits, Purpose, Shutdown};
use crate::{
    clock::Clock,
    event::{Position, SinkName, StreamId, Timestamp},
    health::{Fault, Health, SinkPhase},
    journal::Journal,
    metrics::{self, Metrics},
    sink::{
        ErrorClass, Sink, SinkError,
        dead_letters::{DeadLetter, DeadLetters},
    },
};

/// A journal that took a million events a second would come here after a hundred thousand years.
const RESERVED_FROM: u64 = 1 << 62;
/// More events than a single retry or replay has.
const RESERVED_AT_ONCE: u64 = 1 << 40;

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
    /// Only one lane's driver probes; the others wait behind it.
    prober: tokio::sync::Mutex<()>,
    /// Pauses since the receiver last accepted something: a probe that passes proves less than a delivery.
    pauses: AtomicU32,
    probe_now: Notify,
    /// Whether the dead letters were nearly full when they were last looked at.
    near_full: AtomicBool,
    /// Where the next reserved positions begin.
    positions: AtomicU64,
    lanes: Mutex<BTreeMap<Lane, Condition>>,
}

/// How one lane's driver is doing.
#[derive(Clone, Debug, Default)]
struct Condition {
    phase: SinkPhase,
    fault: Option<Fault>,
    /// Whether a fault of configuration keeps this lane waiting.
    is_paused: bool,
    /// Such pauses since the receiver last accepted something of this lane.
    pauses: u32,
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

    pub(super) fn supply(class: &'static str, message: String) -> Self {
        Self { phase: SinkPhase::BackingOff, class, message }
    }

    pub(super) fn dead_letters(message: String) -> Self {
        Self { phase: SinkPhase::BackingOff, class: "dead_letters", message }
    }
}

impl SinkState {
    /// Puts a sink's parts together.
    pub fn new(parts: SinkParts) -> Self {
        parts.metrics.sink_gauge(metrics::SINK_PAUSED, &parts.name).set(0.0);
        let state = Self {
            parts,
            paused: watch::Sender::new(false),
            prober: tokio::sync::Mutex::new(()),
            pauses: AtomicU32::new(0),
            probe_now: Notify::new(),
            near_full: AtomicBool::new(false),
            positions: AtomicU64::new(RESERVED_FROM),
            lanes: Mutex::default(),
        };
        state.show_dead_letters();
        state
    }

    /// Its name.
    pub fn name(&self) -> &SinkName {
        &self.parts.name
    }

    /// A position before many that nobody else uses: for events that have none in the journal. They are far past those of any journal.
    pub fn reserve_positions(&self) -> Position {
        Position(self.positions.fetch_add(RESERVED_AT_ONCE, Ordering::Relaxed))
    }

    /// Where its refused events are set aside.
    pub fn dead_letters(&self) -> &DeadLetters {
        &self.parts.dead_letters
    }

    /// Whether it is paused by refused credentials, or any of its lanes by a fault of configuration.
    pub fn is_paused(&self) -> bool {
        *self.paused.borrow() || self.lanes().values().any(|lane| lane.is_paused)
    }

    /// Probes a paused sink now instead of at its next time: after a reload, when a person may have mended something.
    pub fn probe_now(&self) {
        self.probe_now.notify_waiters();
    }

    /// Lets go of connections and files. Call it when the drivers of all lanes have ended.
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

    pub(super) fn began(&self, lane: &Lane) {
        tracing::info!(sink = %self.parts.name, stream = %lane.stream, purpose = lane.purpose.as_str(), "delivery began");
        // A pause outlives the task that met it: one that is started again is no reason to try at once.
        self.change(lane, |condition| condition.phase = if condition.is_paused { SinkPhase::Paused } else { SinkPhase::Delivering });
    }

    pub(super) fn ended(&self, lane: &Lane) {
        tracing::info!(sink = %self.parts.name, stream = %lane.stream, purpose = lane.purpose.as_str(), "delivery ended");
        if lane.purpose == Purpose::Live {
            self.change(lane, |condition| condition.phase = SinkPhase::Stopped);
        } else {
            // What was done on request is done; its result is told to who asked.
            self.lanes().remove(lane);
            self.show();
        }
    }

    /// The receiver accepted events.
    pub(super) fn succeeded(&self, lane: &Lane, events: usize) {
        if events > 0 {
            self.pauses.store(0, Ordering::Relaxed);
        }
        let now = self.parts.clock.now();
        self.change(lane, |condition| *condition = Condition { phase: SinkPhase::Delivering, ..Condition::default() });
        self.parts.health.sink(&self.parts.name, |row| {
            row.last_success = Some(now);
            if lane.purpose == Purpose::Live {
                row.stream_success.insert(lane.stream.clone(), now);
                row.events_delivered += events as u64;
            }
        });
        tracing::debug!(sink = %self.parts.name, %lane, events, "delivered");
    }

    /// Something failed that mends itself or is tried again.
    pub(super) fn failed(&self, lane: &Lane, failure: Failure) {
        tracing::warn!(sink = %self.parts.name, %lane, class = failure.class, error = %failure.message, "delivery failed, will try again");
        let fault = self.fault(failure.class, failure.message);
        self.change(lane, |condition| {
            condition.phase = failure.phase;
            condition.fault = Some(fault);
        });
    }

    /// What failed works again, though nothing was delivered by it.
    pub(super) fn recovered(&self, lane: &Lane) {
        self.change(lane, |condition| {
            condition.phase = SinkPhase::Delivering;
            condition.fault = None;
        });
    }

    pub(super) fn count_error(&self, class: ErrorClass) {
        let labels = [("sink", self.parts.name.as_str()), ("class", class.as_str())];
        self.parts.metrics.counter(metrics::SINK_ERRORS, &labels).increment(1);
    }

    /// Dead letters were made.
    pub(super) fn set_aside(&self, lane: &Lane, letters: &[DeadLetter]) {
        if lane.purpose != Purpose::Retry {
            self.parts.health.sink(&self.parts.name, |row| row.events_dead_lettered += letters.len() as u64);
        }
        if let Some(first) = letters.first() {
            tracing::error!(
                sink = %self.parts.name, %lane, events = letters.len(), reason = first.reason.as_str(), error = %first.answer,
                "events set aside as dead letters"
            );
        }
        self.show_dead_letters();
    }

    /// Sets the gauge of the store, and warns once when it is nearly full.
    pub fn show_dead_letters(&self) {
        let room = self.parts.dead_letters.room();
        self.parts.metrics.sink_gauge(metrics::DEAD_LETTER_BYTES, &self.parts.name).set(room.bytes as f64);
        let was_near = self.near_full.swap(room.is_nearly_full(), Ordering::Relaxed);
        if room.is_nearly_full() && !was_near {
            tracing::warn!(
                sink = %self.parts.name, bytes = room.bytes, bytes_max = room.bytes_max,
                "dead letters are nearly at their limit, where the sink will pause; retry, export or drop some, or raise state.dead_letters_max"
            );
        }
    }

    /// Stops deliveries until a probe passes: of all lanes where the credentials are refused, which they share, else of this lane.
    pub(super) fn pause(&self, lane: &Lane, error: &SinkError) {
        let class = error.class().as_str();
        let fault = self.fault(class, error.to_string());
        if error.class() == ErrorClass::Auth {
            let newly = self.paused.send_if_modified(|paused| !std::mem::replace(paused, true));
            if newly {
                self.pauses.fetch_add(1, Ordering::Relaxed);
                tracing::error!(sink = %self.parts.name, %lane, class, %error, "sink paused, data is kept");
            }
        } else if !self.condition(lane).is_paused {
            tracing::error!(sink = %self.parts.name, %lane, class, %error, "stream paused at this sink, data is kept");
        }
        self.change(lane, |condition| {
            if error.class() != ErrorClass::Auth && !condition.is_paused {
                condition.is_paused = true;
                condition.pauses += 1;
            }
            condition.phase = SinkPhase::Paused;
            condition.fault = Some(fault);
        });
    }

    /// Waits while the sink or the lane is paused. A drain does not wait for it: what is not delivered is kept.
    pub(super) async fn opened(&self, lane: &Lane, shutdown: &Shutdown) -> Opened {
        if !*self.paused.borrow() && !self.condition(lane).is_paused {
            return Opened::Yes;
        }
        tokio::select! {
            biased;
            () = shutdown.stop.cancelled() => Opened::GivenUp,
            () = shutdown.drain.cancelled() => Opened::GivenUp,
            () = self.probe_until_open(lane) => Opened::Yes,
        }
    }

    async fn probe_until_open(&self, lane: &Lane) {
        let mut failed_probes = 0;
        loop {
            let pauses = if *self.paused.borrow() {
                // One of the lanes probes for all of them.
                let _prober = self.prober.lock().await;
                self.probe_for_the_sink(lane, &mut failed_probes).await;
                continue;
            } else {
                let condition = self.condition(lane);
                if !condition.is_paused {
                    break;
                }
                condition.pauses
            };
            self.wait_for_probe(pauses.saturating_sub(1) + failed_probes).await;
            match self.probe().await {
                Ok(()) => self.change(lane, |condition| condition.is_paused = false),
                Err(error) => {
                    failed_probes += 1;
                    self.count_error(error.class());
                    self.pause(lane, &error);
                }
            }
        }
        tracing::info!(sink = %self.parts.name, %lane, "delivery resumed");
        self.recovered(lane);
    }

    /// Probes until the credentials are taken again.
    async fn probe_for_the_sink(&self, lane: &Lane, failed_probes: &mut u32) {
        while *self.paused.borrow() {
            let pauses = self.pauses.load(Ordering::Relaxed).saturating_sub(1);
            self.wait_for_probe(pauses + *failed_probes).await;
            match self.probe().await {
                Ok(()) => {
                    tracing::info!(sink = %self.parts.name, "sink resumed");
                    self.paused.send_replace(false);
                    self.change(lane, |condition| condition.is_paused = false);
                }
                Err(error) => {
                    *failed_probes += 1;
                    self.count_error(error.class());
                    let fault = self.fault(error.class().as_str(), error.to_string());
                    self.change(lane, |condition| condition.fault = Some(fault));
                }
            }
        }
    }

    async fn wait_for_probe(&self, earlier: u32) {
        let limits = &self.parts.limits;
        let wait = limits.probe_initial.saturating_mul(1 << earlier.min(8)).min(limits.probe_max);
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = self.probe_now.notified() => {}
        }
    }

    async fn probe(&self) -> Result<(), SinkError> {
        let timeout = self.parts.limits.deliver_timeout;
        let hung = || SinkError::new(ErrorClass::Retryable, format!("the receiver did not answer a probe within {} s", timeout.as_secs()));
        tokio::time::timeout(timeout, self.parts.sink.probe()).await.unwrap_or_else(|_| Err(hung()))
    }

    fn fault(&self, class: &str, message: String) -> Fault {
        Fault { at: self.parts.clock.now(), class: class.to_owned(), message }
    }

    fn lanes(&self) -> MutexGuard<'_, BTreeMap<Lane, Condition>> {
        // Conditions are changed in steps that are each whole, so a writer that panicked has left a whole one.
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn condition(&self, lane: &Lane) -> Condition {
        self.lanes().get(lane).cloned().unwrap_or_default()
    }

    /// Changes one lane's condition.
    fn change(&self, lane: &Lane, change: impl FnOnce(&mut Condition)) {
        change(self.lanes().entry(lane.clone()).or_default());
        self.show();
    }

    /// The sink's row shows the worst of its lanes.
    fn show(&self) {
        let lanes = self.lanes();
        let worst = lanes.values().max_by_key(|condition| severity(condition.phase)).cloned().unwrap_or_default();
        let is_paused = worst.phase == SinkPhase::Paused;
        self.parts.metrics.sink_gauge(metrics::SINK_PAUSED, &self.parts.name).set(if is_paused { 1.0 } else { 0.0 });
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

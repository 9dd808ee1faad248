//! The driver: takes one stream's events from the journal to one sink, and gives every event exactly one outcome.
//!
//! ```text
//! journal ─► Feed: read, filter, format ─► Pending: one batch ─► Delivery: send, judge, retry ─► ack
//!                                                                      │
//!                                          SinkState: pause, probe,    └─► dead letters
//!                                          health (shared by a sink's streams)
//! ```
//!
//! # What it promises
//!
//! 1. Every event gets one outcome: delivered, filtered or dead-lettered; it is counted when it has it.
//! 2. An ack moves only past events that have their outcome: after the receiver accepted, or after the dead letter is durable.
//! 3. The order of a stream is kept: what is sent is always the front of what is not settled. (A receiver that takes the end of a
//!    batch and leaves the beginning for later changes the order itself.)
//! 4. It never gives up and never spins: every failure is followed by a wait, or by a smaller batch, and every wait ends with a stop.
//! 5. A sink's fault holds up nobody but that sink; a stream's backlog holds up nobody but that stream.
//! 6. In memory are at most one chunk of the journal and one batch.
//!
//! # What it does not do
//!
//! It does not know what a receiver is: the class of an error decides, never its text. It does not collect, and does not decide
//! where a new sink begins: that is the journal's subscription.
//!
//! # On a crash
//!
//! Nothing is kept beside the journal's acks and the dead letters. After a crash, or when the future is dropped at any point, what was
//! not acked is read and sent again: at least once, with the same ids.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use crate::{
    event::{Position, StreamId},
    journal::{Journal, JournalError},
    metrics,
    retry::Backoff,
    transform::TransformSettings,
};

use delivery::Link;
use feed::{Feed, Filled};
use pending::Pending;

mod delivery;
mod feed;
mod pending;
mod state;

pub use state::{SinkParts, SinkState, publish_backlog};

/// How much a sink is sent at once, and how long things may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Events in a batch, at most.
    pub events_max: usize,
    /// Encoded bytes in a batch, at most; a single larger event is sent alone.
    pub bytes_max: usize,
    /// How long an event may wait, from when it was collected, for a batch to fill.
    pub flush_interval: Duration,
    /// How long one delivery may take by the sink's own count; the driver gives it a little more before it gives it up.
    pub deliver_timeout: Duration,
    /// The first ceiling of the wait after an error.
    pub retry_initial: Duration,
    /// The last one.
    pub retry_max: Duration,
    /// How long a paused sink waits for its first probe; each further one waits twice as long.
    pub probe_initial: Duration,
    /// How long it waits at most.
    pub probe_max: Duration,
}

impl Limits {
    /// `probe_initial`, unless somebody has a reason.
    pub const PROBE_INITIAL: Duration = Duration::from_secs(30);
    /// `probe_max`, unless somebody has a reason: a mended credential is picked up within this time even if nobody tells the daemon.
    pub const PROBE_MAX: Duration = Duration::from_secs(5 * 60);
}

/// The two ways to end a driver.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    /// Deliver what the journal holds, then end. A paused sink ends at once: its data stays in the journal.
    pub drain: CancellationToken,
    /// End now. A delivery under way is given up; its events are sent again after the next start.
    pub stop: CancellationToken,
}

impl Shutdown {
    /// Two tokens that nobody has cancelled.
    pub fn new() -> Self {
        Self::default()
    }
}

/// Whether to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    Continue,
    Stop,
}

/// Takes one stream to one sink.
#[derive(Debug)]
pub struct Driver {
    sink: Arc<SinkState>,
    journal: Arc<dyn Journal>,
    stream: StreamId,
    transform: TransformSettings,
    counters: Counters,
}

/// What the outcomes are counted in.
struct Counters {
    delivered: ::metrics::Counter,
    filtered: ::metrics::Counter,
    unmapped: ::metrics::Counter,
    dead_lettered: ::metrics::Counter,
    possible_duplicates: ::metrics::Counter,
}

impl std::fmt::Debug for Counters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Counters")
    }
}

impl Driver {
    /// For one stream of a sink. The journal must know the subscription.
    pub fn new(sink: Arc<SinkState>, journal: Arc<dyn Journal>, stream: StreamId, transform: TransformSettings) -> Self {
        let counter = |name| sink.metrics().sink_counter(name, sink.name(), &stream);
        let counters = Counters {
            delivered: counter(metrics::EVENTS_DELIVERED),
            filtered: counter(metrics::EVENTS_FILTERED),
            unmapped: counter(metrics::EVENTS_UNMAPPED),
            dead_lettered: counter(metrics::EVENTS_DEAD_LETTERED),
            possible_duplicates: counter(metrics::POSSIBLE_DUPLICATES),
        };
        // An outcome that has not happened yet is a zero, not an absent series: alerts need it.
        let Counters { delivered, filtered, unmapped, dead_lettered, possible_duplicates } = &counters;
        for counter in [delivered, filtered, unmapped, dead_lettered, possible_duplicates] {
            counter.increment(0);
        }
        Self { sink, journal, stream, transform, counters }
    }

    /// The stream.
    pub fn stream(&self) -> &StreamId {
        &self.stream
    }

    /// Delivers until it is told to end. May be called again after it has ended or was dropped: it begins after the last ack.
    pub async fn run(&self, shutdown: &Shutdown) {
        self.sink.began(&self.stream);
        let mut backoff = self.backoff();
        if let Some(after) = self.start_position(&mut backoff, shutdown).await {
            let feed = Feed::new(self, after);
            self.deliver_from(feed, shutdown).await;
        }
        self.sink.ended(&self.stream);
    }

    async fn deliver_from(&self, mut feed: Feed<'_>, shutdown: &Shutdown) {
        let mut pending = Pending::default();
        let mut link = Link::new(self.backoff());
        loop {
            match feed.fill(&mut pending, shutdown).await {
                Filled::Batch => {}
                Filled::Drained | Filled::Stopped => return,
            }
            if self.deliver(&mut pending, &mut link, shutdown).await == Flow::Stop {
                return;
            }
        }
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(self.sink.limits().retry_initial, self.sink.limits().retry_max)
    }

    /// Where to begin; `None` if told to stop before that is known.
    async fn start_position(&self, backoff: &mut Backoff, shutdown: &Shutdown) -> Option<Position> {
        loop {
            if let Some(position) = self.journal.acked(self.sink.name(), &self.stream) {
                return Some(position);
            }
            let message = format!("the journal has no subscription of the sink {} to {}", self.sink.name(), self.stream);
            self.sink.failed(&self.stream, state::Failure::journal(message));
            if self.wait(backoff.next_wait(), shutdown).await == Flow::Stop {
                return None;
            }
        }
    }

    /// Makes the ack durable, however long that takes: what it stands for has its outcome already.
    async fn ack(&self, pending: &mut Pending, shutdown: &Shutdown) -> Flow {
        let up_to = pending.settled_up_to();
        let mut backoff = self.backoff();
        let mut failures = 0_u64;
        loop {
            match self.journal.ack(self.sink.name(), &self.stream, up_to).await {
                Ok(()) => {
                    if failures > 0 {
                        self.sink.recovered(&self.stream);
                    }
                    self.counters.filtered.increment(pending.take_filtered(up_to));
                    return Flow::Continue;
                }
                Err(JournalError::Closed) => return Flow::Stop,
                Err(error) => self.sink.failed(&self.stream, state::Failure::journal(error.to_string())),
            }
            failures += 1;
            if self.wait(backoff.next_wait(), shutdown).await == Flow::Stop {
                return Flow::Stop;
            }
        }
    }

    /// Waits, unless it is time to stop.
    async fn wait(&self, wait: Duration, shutdown: &Shutdown) -> Flow {
        tokio::select! {
            biased;
            () = shutdown.stop.cancelled() => Flow::Stop,
            () = tokio::time::sleep(wait) => Flow::Continue,
        }
    }
}

//! The driver: takes one stream's events to one sink, and gives every event exactly one outcome.
//!
//! ```text
//! Supply ─► Feed: read, transform ──────► Pending: one batch ─► delivery: send, judge, retry ─► settled
//!   (journal, letters, a replay)                                       │
//!                                          SinkState: pause, probe,    └─► dead letters
//!                                          health (shared by a sink's lanes)
//! ```
//!
//! # What it promises
//!
//! 1. Every event gets one outcome: delivered, filtered or dead-lettered; it is counted when it has it. A guard compares what was taken with
//!    what was counted, batch by batch, and reports a difference (`miro_siem_events_without_outcome_total`, which is always 0).
//! 2. An ack moves only past events that have their outcome: after the receiver accepted, or after the dead letter is durable.
//! 3. The order of a stream is kept: what is sent is always the front of what is not settled. (A receiver that takes the end of a
//!    batch and leaves the beginning for later changes the order itself.)
//! 4. It never gives up and never spins: every failure is followed by a wait, or by a smaller batch, and every wait ends with a stop.
//! 5. A sink's fault holds up nobody but that sink; a stream's backlog holds up nobody but that stream. Refused credentials pause a sink
//!    with all its streams, since they share them. A fault of configuration pauses the stream that met it: a table or an index that is not
//!    there for one stream is no reason to keep the others waiting, and where all of them meet it, all of them pause.
//! 6. A receiver that refuses a thousand events in a row, and takes none between them, pauses the stream: that is no fault of the events,
//!    and a backlog is not to become dead letters at full speed. From then on one event is tried at a time, until one is taken.
//! 7. In memory are at most one chunk of the supply and one batch.
//!
//! # What it does not do
//!
//! It does not know what a receiver is: the class of an error decides, never its text. It does not collect, and does not decide
//! where a new sink begins: that is the journal's subscription.
//!
//! # On a crash
//!
//! Nothing is kept beside the journal's acks and the dead letters. After a crash, or when the future is dropped at any point, what was
//! not acked is read and sent again: at least once, with the same ids. The supply knows whether a delivery may have been under way then;
//! the first batch afterwards counts as possible duplicates.

use std::{fmt, sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use crate::{event::StreamId, journal::Journal, retry::Backoff, transform::TransformSettings};

use counters::{Counters, Guard};
use feed::{Feed, Filled};
use link::Link;
use pending::Pending;
use supply::FromJournal;

mod aside;
mod counters;
mod delivery;
mod feed;
mod link;
mod pending;
mod state;
mod supply;

pub use counters::Tally;
pub use state::{SinkParts, SinkState, publish_backlog};
pub use supply::{Begin, Care, Earlier, Extent, Supply, SupplyError, Wanted};

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

/// What a lane is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purpose {
    /// What the journal holds for the sink.
    Live,
    /// Dead letters, once more.
    Retry,
    /// A range, once more.
    Replay,
}

impl Purpose {
    /// The name in logs and status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Retry => "retry",
            Self::Replay => "replay",
        }
    }
}

/// One way to a sink: events of one stream, in order, for one purpose.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lane {
    /// The stream.
    pub stream: StreamId,
    /// What for.
    pub purpose: Purpose,
}

impl fmt::Display for Lane {
    /// `acme/audit`, or `acme/audit (retry)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.purpose {
            Purpose::Live => self.stream.fmt(f),
            other => write!(f, "{} ({})", self.stream, other.as_str()),
        }
    }
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Everything that the supply had has its outcome.
    Delivered,
    /// It was told to.
    Stopped,
    /// The supply has failed for good, with these words.
    Broken(String),
}

/// Takes one lane's events to one sink.
#[derive(Debug)]
pub struct Driver {
    sink: Arc<SinkState>,
    lane: Lane,
    supply: Arc<dyn Supply>,
    transform: TransformSettings,
    counters: Counters,
}

impl Driver {
    /// For one stream of a sink, from the journal. The journal must know the subscription.
    pub fn new(sink: Arc<SinkState>, journal: Arc<dyn Journal>, stream: StreamId, transform: TransformSettings) -> Self {
        let supply = FromJournal { journal, sink: sink.name().clone(), stream: stream.clone() };
        Self::of(sink, Lane { stream, purpose: Purpose::Live }, Arc::new(supply), transform)
    }

    /// For any lane.
    pub fn of(sink: Arc<SinkState>, lane: Lane, supply: Arc<dyn Supply>, transform: TransformSettings) -> Self {
        let counters = Counters::new(sink.metrics(), sink.name(), &lane.stream, lane.purpose);
        Self { sink, lane, supply, transform, counters }
    }

    /// The stream.
    pub fn stream(&self) -> &StreamId {
        &self.lane.stream
    }

    /// Its outcomes since it was made.
    pub fn tally(&self) -> Tally {
        self.counters.tally()
    }

    /// Delivers until it is told to end. May be called again after it has ended or was dropped: it begins after what is settled.
    pub async fn run(&self, shutdown: &Shutdown) {
        self.run_to_the_end(shutdown).await;
    }

    /// The same, and says how it ended.
    pub async fn run_to_the_end(&self, shutdown: &Shutdown) -> Ended {
        self.sink.began(&self.lane);
        let ended = match self.begin(shutdown).await {
            Ok(begin) => self.deliver_from(begin, shutdown).await,
            Err(ended) => ended,
        };
        self.sink.ended(&self.lane);
        ended
    }

    async fn deliver_from(&self, begin: Begin, shutdown: &Shutdown) -> Ended {
        let mut feed = Feed::new(self, begin);
        let (mut pending, mut guard) = (Pending::default(), Guard::new(&self.counters));
        let mut link = Link::new(self.backoff(), self.backoff());
        let mut has_delivered = false;
        loop {
            let filled = feed.fill(&mut pending, shutdown).await;
            if filled != Filled::Batch {
                self.come_to_rest().await;
                return feed.ended(filled);
            }
            if pending.len() > 0 && !has_delivered {
                has_delivered = true;
                if self.note_delivering(shutdown).await == Flow::Stop {
                    return Ended::Stopped;
                }
            }
            match self.deliver(&mut pending, &mut link, shutdown).await {
                Delivered::Whole => guard.check(feed.taken(), &self.counters, self.sink.name(), &self.lane.stream),
                Delivered::StoppedBetween => {
                    self.come_to_rest().await;
                    return Ended::Stopped;
                }
                Delivered::StoppedWithin => return Ended::Stopped,
            }
        }
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(self.sink.limits().retry_initial, self.sink.limits().retry_max)
    }

    /// Where to begin; an end if told to stop before that is known.
    async fn begin(&self, shutdown: &Shutdown) -> Result<Begin, Ended> {
        let mut backoff = self.backoff();
        loop {
            match self.supply.begin().await {
                Ok(begin) => return Ok(begin),
                Err(error) => self.endure(error, &mut backoff, shutdown).await?,
            }
        }
    }

    /// Tells the supply, before the first delivery, that one may be under way from now on.
    async fn note_delivering(&self, shutdown: &Shutdown) -> Flow {
        let (mut backoff, mut failures) = (self.backoff(), 0_u64);
        while let Err(error) = self.supply.delivering().await {
            failures += 1;
            if self.endure(error, &mut backoff, shutdown).await.is_err() {
                return Flow::Stop;
            }
        }
        if failures > 0 {
            self.sink.recovered(&self.lane);
        }
        Flow::Continue
    }

    /// Where it fails, the next run takes its first batch for possible duplicates, which does no harm.
    async fn come_to_rest(&self) {
        if let Err(error) = self.supply.at_rest().await {
            tracing::debug!(sink = %self.sink.name(), lane = %self.lane, error = %error, "end of delivery was not noted");
        }
    }

    /// Makes the settled part durable, however long that takes: what it stands for has its outcome already.
    async fn settle(&self, pending: &mut Pending, shutdown: &Shutdown) -> Flow {
        let up_to = pending.settled_up_to();
        let (mut backoff, mut failures) = (self.backoff(), 0_u64);
        while let Err(error) = self.supply.settled(up_to).await {
            failures += 1;
            if self.endure(error, &mut backoff, shutdown).await.is_err() {
                return Flow::Stop;
            }
        }
        if failures > 0 {
            self.sink.recovered(&self.lane);
        }
        self.counters.filtered(pending.take_filtered(up_to));
        Flow::Continue
    }

    /// Shows a failure of the supply and waits.
    async fn endure(&self, error: SupplyError, backoff: &mut Backoff, shutdown: &Shutdown) -> Result<(), Ended> {
        match error {
            SupplyError::Closed => Err(Ended::Stopped),
            SupplyError::Broken(message) => Err(Ended::Broken(message)),
            SupplyError::Failed { class, message, wait } => {
                self.sink.failed(&self.lane, state::Failure::supply(class, message));
                let wait = wait.unwrap_or_else(|| backoff.next_wait());
                if self.wait(wait, shutdown).await == Flow::Stop { Err(Ended::Stopped) } else { Ok(()) }
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

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Delivered {
    /// Every event has its outcome.
    Whole,
    /// It was stopped while nothing was under way.
    StoppedBetween,
    /// It was stopped in the middle of a delivery: the events may have arrived.
    StoppedWithin,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{OrgName, StreamKind};

    #[test]
    fn a_lane_says_what_it_is_for() {
        let lane = |purpose| Lane { stream: StreamId::new(OrgName::new("acme"), StreamKind::Audit), purpose };
        let shown = [Purpose::Live, Purpose::Retry, Purpose::Replay].map(|purpose| lane(purpose).to_string());
        assert_eq!(shown, ["acme/audit", "acme/audit (retry)", "acme/audit (replay)"]);
    }
}

//! How every stream and sink is doing, as its own task says it: the source of /healthz, /readyz and the status.
//!
//! Each task owns a handle and writes to it; nobody else does. Readers take a copy of the whole board.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::event::{SinkName, StreamId, TimeRange, Timestamp};

/// What a stream's task is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StreamPhase {
    /// It has not begun.
    #[default]
    Starting,
    /// It fetches a window.
    Polling,
    /// It waits for the next poll.
    Waiting,
    /// It waits after an error.
    BackingOff,
    /// It waits because Miro's quota says so.
    Throttled,
    /// It waits for room in the journal.
    JournalFull,
    /// It needs a person: the token is refused or the configuration does not fit.
    Paused,
    /// It has ended.
    Stopped,
}

/// What a sink's tasks are doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SinkPhase {
    /// It has not begun.
    #[default]
    Starting,
    /// It delivers, or has nothing to deliver.
    Delivering,
    /// It waits after an error.
    BackingOff,
    /// It waits because the receiver says so.
    Throttled,
    /// It needs a person: credentials or configuration are refused. Data is kept, the receiver is probed slowly.
    Paused,
    /// It has ended.
    Stopped,
}

/// An error as an operator reads it, and when it happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// When.
    #[serde(with = "rfc3339")]
    pub at: Timestamp,
    /// The class, such as `auth` or `throttled`.
    pub class: String,
    /// What failed, why, and the mend.
    pub message: String,
}

/// A fault's time is written like every other time of the status.
mod rfc3339 {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    use crate::event::Timestamp;

    pub(super) fn serialize<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&time.to_rfc3339_millis())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        Timestamp::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// How a stream is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamHealth {
    /// What it is doing.
    pub phase: StreamPhase,
    /// Its poll interval.
    pub poll_interval: Duration,
    /// When its task began.
    pub started_at: Option<Timestamp>,
    /// When it last finished a window.
    pub last_success: Option<Timestamp>,
    /// The newest error; none since the last success.
    pub fault: Option<Fault>,
    /// Events collected since the start of the process.
    pub events_collected: u64,
    /// When the access token expires, where it does.
    pub token_expires_at: Option<Timestamp>,
    /// The server's time in its newest answer, and when that came: an answer's age does not depend on this machine's clock.
    pub server_clock: Option<(Timestamp, Instant)>,
    /// What is done about time of the past.
    pub backfill: BackfillHealth,
    /// How far each later listing has got, the shortest delay first.
    pub reconcile: Vec<PassHealth>,
}

/// How the collection of past time is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BackfillHealth {
    /// Time that is wanted and not collected, without what lies past Miro's retention.
    pub missing: Duration,
    /// Windows that are being listed.
    pub windows: usize,
    /// Ranges that failed and wait for another attempt.
    pub set_aside: usize,
    /// What was asked for and is not done.
    pub requests: Vec<RequestHealth>,
    /// The newest error; none since a window was finished and nothing waits for another attempt.
    pub fault: Option<Fault>,
}

/// A requested range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHealth {
    /// Its number.
    pub id: u64,
    /// What was asked for.
    pub range: TimeRange,
    /// What of it is not collected yet.
    pub missing: Duration,
    /// Events that were found in it since the process started.
    pub events: u64,
}

/// How a later listing is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassHealth {
    /// How long after it happened time is listed again.
    pub after: Duration,
    /// Up to here that is done.
    pub up_to: Timestamp,
    /// Why it got no further, where something is wrong.
    pub fault: Option<Fault>,
}

/// The server's clock comes in whole seconds: smaller differences are no differences.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(2);

/// Intervals without success after which a stream is unhealthy.
const UNHEALTHY_AFTER_INTERVALS: u32 = 3;

impl StreamHealth {
    /// Now by the server's clock as far as it is known, else by ours: a clock of ours that is wrong or steps makes no gap and hides none.
    pub fn server_now(&self, ours: Timestamp) -> Timestamp {
        let server = self.server_clock.map_or(ours, |(time, heard)| time.plus(heard.elapsed()));
        if ours.since(server).max(server.since(ours)) <= CLOCK_TOLERANCE { ours } else { server }
    }

    /// Whether the stream makes progress: it has succeeded within three intervals, and it is not paused. One that has ended did so because a
    /// stop was asked for, and a drain is no fault; a task that ends unasked is told by its supervisor.
    pub fn is_healthy(&self, now: Timestamp) -> bool {
        let since = self.last_success.or(self.started_at);
        let overdue = since.is_some_and(|since| now.since(since) > self.poll_interval * UNHEALTHY_AFTER_INTERVALS);
        match self.phase {
            StreamPhase::Paused => false,
            StreamPhase::Stopped => true,
            _ => !overdue,
        }
    }
}

/// How a sink is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SinkHealth {
    /// What it is doing.
    pub phase: SinkPhase,
    /// When the receiver last accepted something.
    pub last_success: Option<Timestamp>,
    /// The same for each stream: one that fails must not hide behind one that does not.
    pub stream_success: BTreeMap<StreamId, Timestamp>,
    /// The newest error; none since the last success.
    pub fault: Option<Fault>,
    /// Events delivered since the start of the process.
    pub events_delivered: u64,
    /// Events set aside since the start of the process.
    pub events_dead_lettered: u64,
}

#[derive(Default)]
struct Rows {
    streams: BTreeMap<StreamId, StreamHealth>,
    sinks: BTreeMap<SinkName, SinkHealth>,
    tasks: BTreeMap<String, TaskHealth>,
}

/// Whether a supervised task runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskHealth {
    /// Whether it runs now; false between a failure and the restart.
    pub running: bool,
    /// How often it was started again.
    pub restarts: u64,
    /// The newest failure.
    pub fault: Option<Fault>,
}

/// The board on which every task writes how it is doing.
#[derive(Clone, Default)]
pub struct Health(Arc<Mutex<Rows>>);

impl Health {
    /// An empty board.
    pub fn new() -> Self {
        Self::default()
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        // A writer that panicked has left a whole row behind: rows are replaced field by field with no invariant between them.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes a stream's row.
    pub fn stream(&self, stream: &StreamId, change: impl FnOnce(&mut StreamHealth)) {
        change(self.rows().streams.entry(stream.clone()).or_default());
    }

    /// Changes a sink's row.
    pub fn sink(&self, sink: &SinkName, change: impl FnOnce(&mut SinkHealth)) {
        change(self.rows().sinks.entry(sink.clone()).or_default());
    }

    /// Changes a task's row.
    pub fn task(&self, task: &str, change: impl FnOnce(&mut TaskHealth)) {
        change(self.rows().tasks.entry(task.to_owned()).or_default());
    }

    /// Every stream.
    pub fn streams(&self) -> BTreeMap<StreamId, StreamHealth> {
        self.rows().streams.clone()
    }

    /// Every sink.
    pub fn sinks(&self) -> BTreeMap<SinkName, SinkHealth> {
        self.rows().sinks.clone()
    }

    /// Every supervised task.
    pub fn tasks(&self) -> BTreeMap<String, TaskHealth> {
        self.rows().tasks.clone()
    }
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Health")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_unhealthy_after_three_intervals_without_success() {
        let began = Timestamp::from_millis(0);
        let mut stream = StreamHealth { poll_interval: Duration::from_secs(10), started_at: Some(began), ..StreamHealth::default() };
        assert!(stream.is_healthy(began.plus(Duration::from_secs(30))));
        assert!(!stream.is_healthy(began.plus(Duration::from_secs(31))));
        stream.last_success = Some(began.plus(Duration::from_secs(25)));
        assert!(stream.is_healthy(began.plus(Duration::from_secs(55))));
        assert!(!stream.is_healthy(began.plus(Duration::from_secs(56))));
    }

    #[test]
    fn a_paused_stream_is_unhealthy_at_once() {
        let now = Timestamp::from_millis(0);
        let stream = StreamHealth {
            phase: StreamPhase::Paused,
            poll_interval: Duration::from_secs(10),
            started_at: Some(now),
            ..StreamHealth::default()
        };
        assert!(!stream.is_healthy(now));
    }

    #[test]
    fn a_drained_stream_is_no_fault_however_long_the_drain_takes() {
        let began = Timestamp::from_millis(0);
        let stream = StreamHealth {
            phase: StreamPhase::Stopped,
            poll_interval: Duration::from_secs(10),
            started_at: Some(began),
            ..StreamHealth::default()
        };
        assert!(stream.is_healthy(began.plus(Duration::from_secs(3_600))));
    }

    #[test]
    fn a_fault_tells_its_time_as_the_status_does() {
        let fault = Fault { at: Timestamp::from_millis(1_700_000_000_123), class: "auth".to_owned(), message: "m".to_owned() };
        let text = serde_json::to_string(&fault).expect("a fault is JSON");
        assert_eq!(text, r#"{"at":"2023-11-14T22:13:20.123Z","class":"auth","message":"m"}"#);
        assert_eq!(serde_json::from_str::<Fault>(&text).expect("and back"), fault);
    }
}

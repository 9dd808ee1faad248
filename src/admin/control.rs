//! What the endpoint can ask of the running process, and how that is said in JSON.

use std::{fmt, sync::Arc};

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::mpsc;

use crate::{
    attest::RuleBook,
    clock::Clock,
    event::{StreamId, Timestamp},
    journal::proof::Proof,
};

/// The running process, as far as it can be steered: what a person changes goes through here, and through nothing else. A part that is not
/// there is one that this process does not have, and its routes say so.
///
/// To add a part: a small trait and a member here, its routes in a file beside `api.rs`, merged into the router. The token, the log line
/// and the limits come by themselves.
#[derive(Clone, Debug, Default)]
pub struct Control {
    /// Collecting ranges on request.
    pub backfills: Option<Arc<dyn Backfills>>,
    /// Events as they are collected.
    pub events: Option<Arc<dyn Events>>,
    /// Dead letters and ranges once more to their sinks.
    pub redeliveries: Option<Arc<dyn Redeliveries>>,
    /// How much is logged.
    pub log: Option<Arc<dyn LogLevel>>,
    /// What was collected.
    pub proof: Option<Proving>,
}

/// What an attestation is made from.
#[derive(Clone, Debug)]
pub struct Proving {
    /// The journal.
    pub journal: Arc<dyn Proof>,
    /// By what the holes of its streams are judged.
    pub rules: RuleBook,
    /// What time it is.
    pub clock: Clock,
}

/// Collecting ranges on request.
pub trait Backfills: Send + Sync + fmt::Debug {
    /// Asks for a range of a stream to be collected. Durable on return: a restart goes on with it.
    fn request(&self, wanted: BackfillRequest) -> BoxFuture<'_, Result<BackfillStatus, ControlError>>;

    /// Every backfill that is remembered, oldest first.
    fn list(&self) -> Vec<BackfillStatus>;

    /// Ends a backfill. What it has collected stays collected.
    fn cancel<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<BackfillStatus, ControlError>>;
}

/// Events as they are collected.
pub trait Events: Send + Sync + fmt::Debug {
    /// Follows the journal. Holds up nothing: a receiver that is not read is cut loose, see [`Tailed::End`].
    fn tail(&self, wanted: TailRequest) -> Result<mpsc::Receiver<Tailed>, ControlError>;
}

/// Dead letters and ranges once more to their sinks.
pub trait Redeliveries: Send + Sync + fmt::Debug {
    /// Begins to send dead letters again, one job for each sink.
    fn retry(&self, wanted: LetterSelection) -> BoxFuture<'_, Result<Vec<RedeliveryStatus>, ControlError>>;

    /// Throws dead letters away and says how many. Durable on return.
    fn drop_letters(&self, wanted: LetterSelection) -> BoxFuture<'_, Result<u64, ControlError>>;

    /// Begins to send a range again, one job for each stream. Durable on return: a restart goes on with it.
    fn replay(&self, wanted: ReplayRequest) -> BoxFuture<'_, Result<Vec<RedeliveryStatus>, ControlError>>;

    /// Every job that is remembered, oldest first.
    fn list(&self) -> Vec<RedeliveryStatus>;

    /// Ends a job. What it has delivered stays delivered.
    fn cancel<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<RedeliveryStatus, ControlError>>;
}

/// Which dead letters are meant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LetterSelection {
    /// Only of this sink.
    pub sink: Option<String>,
    /// Only those that were set aside for this reason.
    pub reason: Option<String>,
    /// Only those of these events.
    pub ids: Vec<String>,
    /// Really all, where nothing else is said.
    pub all: bool,
}

/// A range that is to be sent again to one sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayRequest {
    /// The sink.
    pub sink: String,
    /// The first instant.
    pub from: Timestamp,
    /// The first instant after it; now where it is left out.
    pub to: Option<Timestamp>,
    /// Only of this organisation.
    pub org: Option<String>,
    /// Only of this kind of stream.
    pub stream: Option<String>,
}

/// A retry of dead letters or a replay of a range, as the API tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RedeliveryStatus {
    /// What it is asked for by.
    pub id: String,
    /// Which of the two.
    pub kind: RedeliveryKind,
    /// The sink.
    pub sink: String,
    /// The stream of a replay.
    pub stream: Option<String>,
    /// The first instant of a replay.
    pub from: Option<String>,
    /// The first instant after it.
    pub to: Option<String>,
    /// Up to where Miro's part of a replay is sent.
    pub reached: Option<String>,
    /// How far it is.
    pub state: RedeliveryState,
    /// Letters of a retry.
    pub selected: Option<u64>,
    /// Events that the receiver has taken.
    pub delivered: u64,
    /// Events that the sink's filter leaves out.
    pub filtered: u64,
    /// Events that were refused: they are dead letters, or stay what they are.
    pub refused: u64,
    /// What is to be known about it: what holds it up, or why it has failed.
    pub note: Option<String>,
}

/// A retry or a replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RedeliveryKind {
    /// Of dead letters.
    Retry,
    /// Of a range.
    Replay,
}

/// How far a retry or a replay is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RedeliveryState {
    /// It is worked on, or waits for its turn.
    Running,
    /// Every event has its outcome.
    Done,
    /// Somebody has ended it.
    Cancelled,
    /// It cannot go on.
    Failed,
}

impl RedeliveryState {
    /// Whether nothing more will happen.
    pub fn is_over(self) -> bool {
        self != Self::Running
    }

    /// The name in JSON and in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        }
    }
}

/// The process's log level.
pub trait LogLevel: Send + Sync + fmt::Debug {
    /// The directives that hold now, and those that it was started with.
    fn directives(&self) -> LogDirectives;

    /// Makes these directives hold; those for single modules only are put over what holds. Answers what is wrong with them.
    fn set(&self, directives: &str) -> Result<LogDirectives, String>;

    /// Makes those hold that the process was started with.
    fn reset(&self) -> LogDirectives;
}

/// How much is logged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogDirectives {
    /// What holds now.
    pub directives: String,
    /// What the process was started with.
    pub started_with: String,
}

/// Why something is not done, in words for the person who asked.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ControlError {
    /// There is no such thing.
    #[error("{0}")]
    Unknown(String),
    /// It makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// It can be done as soon as Miro has answered once.
    #[error("{0}")]
    NotYet(String),
    /// It cannot be done now.
    #[error("{0}")]
    Conflict(String),
    /// It failed.
    #[error("{0}")]
    Failed(String),
}

/// A range of a stream that is to be collected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackfillRequest {
    /// The stream.
    pub stream: StreamId,
    /// The first instant.
    pub from: Timestamp,
    /// The first instant after it; now where it is left out.
    pub to: Option<Timestamp>,
}

/// A backfill, as the API tells it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BackfillStatus {
    /// What it is asked for by.
    pub id: String,
    /// The organisation's configured name.
    pub org: String,
    /// The kind of stream.
    pub stream: String,
    /// The first instant.
    pub from: String,
    /// The first instant after it.
    pub to: String,
    /// How far it is.
    pub state: BackfillState,
    /// How much time it covers.
    pub range_secs: f64,
    /// How much of that was not collected when it was asked for.
    pub missing_at_start_secs: f64,
    /// How much of it is not collected now.
    pub missing_secs: f64,
    /// New events that were found in its range, since it was asked for or since the process started.
    pub events: u64,
    /// What is to be known about it, such as that its range was cut.
    pub note: Option<String>,
    /// What keeps it from going on, while something does.
    pub fault: Option<String>,
}

impl BackfillStatus {
    /// How much of what was missing is collected, from 0 to 1.
    pub fn fraction(&self) -> f64 {
        if self.missing_at_start_secs > 0.0 { (1.0 - self.missing_secs / self.missing_at_start_secs).clamp(0.0, 1.0) } else { 1.0 }
    }
}

/// How far a backfill is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackfillState {
    /// It is worked on, or waits for its turn.
    Running,
    /// All of its range is collected.
    Done,
    /// It has ended, and what is still missing lies past Miro's retention by now.
    Partly,
    /// Somebody has ended it.
    Cancelled,
}

impl BackfillState {
    /// The name in JSON and in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Partly => "partly",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Which events are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TailRequest {
    /// Only of this organisation.
    pub org: Option<String>,
    /// Only of this kind of stream.
    pub stream: Option<String>,
    /// Only those with a name that matches; see the filter of sinks.
    pub event: Option<String>,
    /// Those that were collected since then first, as far as the journal still holds them.
    pub since: Option<Timestamp>,
}

/// What comes over a tail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tailed {
    /// Records of the `raw` format, one per line.
    Lines(bytes::Bytes),
    /// The last thing that comes, and why.
    End(String),
}

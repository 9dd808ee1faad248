//! The status as JSON: what /api/v1/status answers, what `miro-siem status` prints, what the page shows.

use serde::{Deserialize, Serialize};

use crate::{
    event::Timestamp,
    health::{Fault, SinkPhase, StreamPhase},
};

/// Everything at one moment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    /// The program's version.
    pub version: String,
    /// The process.
    pub pid: u32,
    /// When it started.
    pub started_at: String,
    /// When this was put together.
    pub now: String,
    /// Whether every task makes progress: what /healthz answers by.
    pub healthy: bool,
    /// Whether it is set up and has collected from every stream once: what /readyz answers by.
    pub ready: bool,
    /// What is wrong, in words.
    pub problems: Vec<String>,
    /// Each stream.
    pub streams: Vec<StreamStatus>,
    /// Each sink.
    pub sinks: Vec<SinkStatus>,
    /// The journal.
    pub journal: JournalStatus,
}

/// One stream.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StreamStatus {
    /// The organisation's configured name.
    pub org: String,
    /// The kind.
    pub stream: String,
    /// What its task is doing.
    pub phase: StreamPhase,
    /// Whether it makes progress.
    pub healthy: bool,
    /// Where collection began.
    pub origin: Option<String>,
    /// Up to here it is collected without a hole.
    pub watermark: Option<String>,
    /// Now minus the watermark, or minus the oldest hole that can still be filled.
    pub lag_secs: Option<f64>,
    /// The collected ranges: Miro was asked for all of their time and has answered, so an hour in them without events had none. What lies in
    /// none of them was not asked for, or not answered.
    pub coverage: Vec<RangeStatus>,
    /// What is not collected and should be, oldest first.
    pub gaps: Vec<GapStatus>,
    /// The gaps of the last 90 days that have ended, the newest first.
    #[serde(default)]
    pub gaps_ended: Vec<EndedGapStatus>,
    /// When a window was last finished.
    pub last_success: Option<String>,
    /// Events collected since the process started.
    pub events_collected: u64,
    /// Credits that Miro says are left.
    pub quota_remaining_credits: Option<u64>,
    /// When the access token expires.
    pub token_expires_at: Option<String>,
    /// How many days that is from now; less than 0 where it has.
    #[serde(default)]
    pub token_days_left: Option<f64>,
    /// When a person has to authorise the app again, unless its token is refreshed before.
    #[serde(default)]
    pub grant_expires_at: Option<String>,
    /// How many days that is from now; less than 0 where it was.
    #[serde(default)]
    pub grant_days_left: Option<f64>,
    /// The newest error.
    pub fault: Option<Fault>,
    /// What is done about time of the past.
    #[serde(default)]
    pub backfill: BackfillStatus,
    /// How far each later listing of collected time has got, the shortest delay first.
    #[serde(default)]
    pub reconcile: Vec<PassStatus>,
}

/// How the collection of past time is doing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BackfillStatus {
    /// Seconds that are wanted and not collected, without what lies past Miro's retention.
    pub missing_secs: f64,
    /// Windows that are being listed.
    pub windows: usize,
    /// Ranges that failed and wait for another attempt.
    pub set_aside: usize,
    /// What was asked for with `miro-siem backfill` and is not done.
    pub requests: Vec<RequestStatus>,
    /// The newest error; none since a window was finished and nothing waits for another attempt.
    pub fault: Option<Fault>,
}

/// A requested range.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RequestStatus {
    /// Its number.
    pub id: u64,
    /// The first instant that was asked for.
    pub from: String,
    /// The first instant after what was asked for.
    pub to: String,
    /// Seconds of it that are not collected yet.
    pub missing_secs: f64,
    /// Events that were found in it since the process started.
    pub events: u64,
}

/// One later listing of collected time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PassStatus {
    /// How many seconds after it happened time is listed again.
    pub after_secs: f64,
    /// Up to here that is done.
    pub up_to: String,
    /// Why it got no further, where something is wrong.
    pub fault: Option<Fault>,
}

impl StreamStatus {
    /// Seconds that are overdue or lost; what is being collected is no gap.
    pub fn gap_secs(&self) -> f64 {
        self.gaps.iter().filter(|gap| gap.state != GapState::Pending).fold(0.0, |sum, gap| sum + gap.secs)
    }
}

/// A half-open range.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RangeStatus {
    /// Its first instant.
    pub from: String,
    /// The first instant after it.
    pub to: String,
}

/// A range that is not collected.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GapStatus {
    /// Its first instant.
    pub from: String,
    /// The first instant after it.
    pub to: String,
    /// Its length.
    pub secs: f64,
    /// `open`: overdue, and will be collected; `lost`: past Miro's retention; `pending`: is being collected, such as history that the first
    /// backfill has not reached yet.
    pub state: GapState,
    /// When it was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opened_at: Option<String>,
    /// When its first instant is lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost_from: Option<String>,
    /// Why it was not collected, as far as it was known when it was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
}

/// A gap that has ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EndedGapStatus {
    /// Its first instant.
    pub from: String,
    /// The first instant after it.
    pub to: String,
    /// Its length.
    pub secs: f64,
    /// How much of it was never collected.
    pub lost_secs: f64,
    /// When it was found.
    pub opened_at: String,
    /// When it ended.
    pub ended_at: String,
    /// How.
    pub end: GapEnd,
    /// Why it was not collected at first.
    pub cause: String,
}

/// How a gap ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GapEnd {
    /// All of it was collected.
    Closed,
    /// Some of it never can be.
    Lost,
}

impl GapEnd {
    /// The name in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Lost => "lost",
        }
    }
}

/// Whether a gap can still be filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GapState {
    /// It will be collected.
    Open,
    /// It is past Miro's retention.
    Lost,
    /// It is being collected.
    Pending,
}

impl GapState {
    /// The name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Lost => "lost",
            Self::Pending => "pending",
        }
    }
}

/// One sink.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SinkStatus {
    /// The configured name.
    pub name: String,
    /// What its tasks are doing.
    pub phase: SinkPhase,
    /// Whether it waits for a person.
    pub paused: bool,
    /// Whether it makes progress.
    pub healthy: bool,
    /// Events that it has yet to deliver.
    pub backlog_events: u64,
    /// Age of the oldest of them since it was collected.
    pub oldest_event_age_secs: f64,
    /// Events delivered since the process started.
    pub events_delivered: u64,
    /// Events set aside since the process started.
    pub events_dead_lettered: u64,
    /// When the receiver last accepted something.
    pub last_success: Option<String>,
    /// The newest error.
    pub fault: Option<Fault>,
}

/// The journal.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JournalStatus {
    /// Bytes on disk.
    pub bytes: u64,
    /// The limit.
    pub bytes_max: u64,
    /// Events that are still stored.
    pub events: u64,
    /// The newest position.
    pub head: u64,
    /// Damaged records that were set aside since the start.
    pub quarantined_records: u64,
}

/// A time as the status prints it.
pub fn instant(time: Timestamp) -> String {
    time.to_rfc3339_millis()
}

//! What the simulated organisation and its API are like.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::auth::AuthConfig;
use crate::faults::FaultPlan;

/// One day, the unit of retention.
pub const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// One log of the organisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// `GET /v2/audit/logs`
    Audit,
    /// `GET /v2/orgs/{org_id}/content-logs/items`
    Content,
    /// `GET /v2/orgs/{org_id}/ai-interaction-logs`
    Ai,
}

impl Stream {
    /// All streams, in the order of this enum.
    pub const ALL: [Self; 3] = [Self::Audit, Self::Content, Self::Ai];

    /// The stream's name as it stands in URLs of the control API.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Audit => "audit",
            Self::Content => "content",
            Self::Ai => "ai",
        }
    }

    pub(crate) fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Stream {
    type Err = UnknownStream;

    fn from_str(text: &str) -> Result<Self, UnknownStream> {
        Self::ALL.into_iter().find(|stream| stream.name() == text).ok_or_else(|| UnknownStream(text.to_owned()))
    }
}

/// A stream name that is not one of audit, content, ai.
#[derive(Debug, thiserror::Error)]
#[error("recognise stream {0:?}: it is one of audit, content, ai")]
pub struct UnknownStream(String);

/// Whether new events go on appearing after [`SimConfig::now`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LiveMode {
    /// The history is all there is.
    Off,
    /// New events appear as time passes, at the organisation's daily rhythm.
    Rhythm,
}

/// How the last page of an audit listing says that it is the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastPage {
    /// Each window behaves in one of the ways below, chosen by the window, always the same way.
    Varied,
    /// With a cursor that leads to an empty page without one.
    WithCursor,
    /// With a cursor that leads to an empty page with the same cursor.
    CursorToTheEnd,
    /// Without the key `cursor`.
    Absent,
    /// `"cursor":null`
    Null,
    /// `"cursor":""`
    Empty,
}

/// What an audit listing does with a `createdAfter` that lies beyond retention. Miro documents neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BeyondRetention {
    /// Serves what is left of the window.
    Clamp,
    /// Answers 400 and names `createdAfter`.
    Reject,
}

/// Whether and how a 429 carries `Retry-After`. Miro's documentation does not mention the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryAfter {
    /// No such header.
    Absent,
    /// Whole seconds.
    Seconds,
    /// An HTTP date.
    HttpDate,
}

/// Everything that can be chosen about a simulator. Two simulators with equal seed, `now` and sizes serve equal bytes.
#[derive(Clone, Debug)]
pub struct SimConfig {
    /// All choices derive from it.
    pub seed: u64,
    /// The organisation's present moment when the simulator starts; the history lies before it. A `now` that is not the wall
    /// clock's shifts the simulator's clock (see [`crate::SimClock`]).
    pub now: DateTime<Utc>,
    /// Days of history before `now`.
    pub days: u32,
    /// Audit events in the history.
    pub audit_events: u64,
    /// Content-log entries in the history.
    pub content_events: u64,
    /// AI interaction log entries in the history.
    pub ai_events: u64,
    /// Members of the organisation, active or not.
    pub members: u32,
    /// Whether new events appear after `now`.
    pub live: LiveMode,
    /// Audit events a minute after `now`, whatever the hour; a fifth as many content and a tenth as many AI events go with them.
    /// Setting it switches live events on.
    pub live_rate_per_minute: Option<f64>,
    /// The share of events, 0 to 1, that becomes visible late.
    pub late_fraction: f64,
    /// Late events become visible up to this long after they were created.
    pub late_max: Duration,
    /// The share of records, 0 to 1, without a usable id or time.
    pub undecodable_fraction: f64,
    /// The share of AI entries, 0 to 1, in the newer of the two schema generations.
    pub ai_new_schema_fraction: f64,
    /// Credits per token and [`SimConfig::quota_window`]; `None` switches the quota off.
    pub credits_per_minute: Option<u32>,
    /// How long credits last. Miro's is a minute; tests shorten it.
    pub quota_window: Duration,
    /// The header of a 429.
    pub retry_after: RetryAfter,
    /// Largest `limit` that an audit listing accepts. Miro documents none; 500 is what its own clients send.
    pub audit_limit_max: u32,
    /// How audit listings end.
    pub last_page: LastPage,
    /// How far back audit events are served.
    pub audit_retention: Duration,
    /// How far back content and AI entries are served.
    pub content_retention: Duration,
    /// Expired events are served this much longer, as removal by time-to-live is not to the second.
    pub retention_lag: Duration,
    /// What a window beyond retention gets.
    pub beyond_retention: BeyondRetention,
    /// Faults that come by chance.
    pub faults: FaultPlan,
    /// Time that every answer takes, uniformly distributed.
    pub latency: RangeInclusive<Duration>,
    /// Tokens and apps.
    pub auth: AuthConfig,
}

/// Events a day of an organisation of 250 people, by stream.
const AUDIT_PER_DAY: u64 = 1_111;
const CONTENT_PER_DAY: u64 = 222;
const AI_PER_DAY: u64 = 44;

impl Default for SimConfig {
    fn default() -> Self {
        Self {
            seed: 1,
            now: Utc::now(),
            days: 0,
            audit_events: 0,
            content_events: 0,
            ai_events: 0,
            members: 250,
            live: LiveMode::Off,
            live_rate_per_minute: None,
            late_fraction: 0.0,
            late_max: Duration::from_secs(3 * 60 * 60),
            undecodable_fraction: 0.0,
            ai_new_schema_fraction: 0.5,
            credits_per_minute: Some(100_000),
            quota_window: Duration::from_secs(60),
            retry_after: RetryAfter::Absent,
            audit_limit_max: 500,
            last_page: LastPage::Varied,
            audit_retention: 90 * DAY,
            content_retention: 90 * DAY,
            retention_lag: Duration::from_secs(6 * 60 * 60),
            beyond_retention: BeyondRetention::Clamp,
            faults: FaultPlan::none(),
            latency: Duration::ZERO..=Duration::ZERO,
            auth: AuthConfig::default(),
        }
        .with_days(90)
    }
}

impl SimConfig {
    /// The same with this much history, at the usual number of events a day.
    #[must_use]
    pub fn with_days(mut self, days: u32) -> Self {
        self.days = days;
        self.audit_events = u64::from(days) * AUDIT_PER_DAY;
        self.content_events = u64::from(days) * CONTENT_PER_DAY;
        self.ai_events = u64::from(days) * AI_PER_DAY;
        self
    }

    pub(crate) fn events(&self, stream: Stream) -> u64 {
        match stream {
            Stream::Audit => self.audit_events,
            Stream::Content => self.content_events,
            Stream::Ai => self.ai_events,
        }
    }

    /// Live events a minute of a stream where the rate is overridden.
    pub(crate) fn live_rate(&self, stream: Stream) -> Option<f64> {
        let share = match stream {
            Stream::Audit => 1.0,
            Stream::Content => 0.2,
            Stream::Ai => 0.1,
        };
        self.live_rate_per_minute.map(|rate| rate * share)
    }

    pub(crate) fn is_live(&self) -> bool {
        self.live == LiveMode::Rhythm || self.live_rate_per_minute.is_some()
    }

    pub(crate) fn retention(&self, stream: Stream) -> Duration {
        let retention = if stream == Stream::Audit { self.audit_retention } else { self.content_retention };
        retention.saturating_add(self.retention_lag)
    }
}

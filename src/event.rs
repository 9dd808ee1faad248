//! What travels: an event, the names it goes under, and its times.
//!
//! An event is the bytes that Miro sent. What is known about it beside them (its id, its time, how it was collected) is kept
//! next to those bytes and never written into them; a format may add it on the way out.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub use time::{ParseTimeError, TimeRange, Timestamp};

mod time;

/// The operator's name for one Miro organisation, as written in `[orgs.<name>]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OrgName(Arc<str>);

impl OrgName {
    /// Takes the name as it is; the configuration has checked it.
    pub fn new(name: &str) -> Self {
        Self(Arc::from(name))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for OrgName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which of an organisation's logs, or what we have to say about them ourselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StreamKind {
    /// Audit logs: `GET /v2/audit/logs`.
    Audit,
    /// Content logs: `GET /v2/orgs/{org}/content-logs/items`.
    Content,
    /// AI interaction logs: `GET /v2/orgs/{org}/ai-interaction-logs`.
    Ai,
    /// Snapshots of licences and seats.
    Licenses,
    /// Events of our own about the organisation's streams. Nothing of Miro's, and only for sinks that ask for it.
    Forwarder,
}

impl StreamKind {
    /// Every kind, in the order in which they are shown.
    pub const ALL: [Self; 5] = [Self::Audit, Self::Content, Self::Ai, Self::Licenses, Self::Forwarder];
    /// The kinds that hold what Miro sent: what a sink takes where it names none.
    pub const OF_MIRO: [Self; 4] = [Self::Audit, Self::Content, Self::Ai, Self::Licenses];

    /// The name in configuration, metrics and records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Audit => "audit",
            Self::Content => "content",
            Self::Ai => "ai",
            Self::Licenses => "licenses",
            Self::Forwarder => "forwarder",
        }
    }

    /// The kind of that name, if there is one.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

impl fmt::Display for StreamKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One log of one organisation; prints as `acme/audit`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StreamId {
    /// The organisation.
    pub org: OrgName,
    /// Which of its logs.
    pub kind: StreamKind,
}

impl StreamId {
    /// The stream of that organisation and kind.
    pub fn new(org: OrgName, kind: StreamKind) -> Self {
        Self { org, kind }
    }

    /// Reads what `Display` prints.
    pub fn parse(text: &str) -> Option<Self> {
        let (org, kind) = text.rsplit_once('/')?;
        Some(Self::new(OrgName::new(org), StreamKind::parse(kind)?))
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.org, self.kind)
    }
}

/// A sink's name, as written in `[sinks.<name>]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SinkName(Arc<str>);

impl SinkName {
    /// Takes the name as it is; the configuration has checked it.
    pub fn new(name: &str) -> Self {
        Self(Arc::from(name))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SinkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A sequence number in the journal, one per event, from 1 on; 0 is "before everything".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Position(pub u64);

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What Miro sent for one record, before it is in the journal.
#[derive(Clone, PartialEq, Eq)]
pub struct RawEvent {
    /// Miro's id, or one made from the bytes of a record that has none (see [`undecodable_id`]).
    pub id: EventId,
    /// When it happened, by Miro's clock; `None` for a record without a readable time.
    pub time: Option<Timestamp>,
    /// Exactly the bytes of the JSON value that Miro sent.
    pub raw: Bytes,
    /// Whether the head (id and time) could be read.
    pub decoded: Decoded,
}

impl fmt::Debug for RawEvent {
    /// Without the body: an event's content never reaches a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawEvent").field("time", &self.time).field("bytes", &self.raw.len()).finish_non_exhaustive()
    }
}

/// Whether a record's id and time could be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// Both were there.
    Whole,
    /// At least one was missing or unreadable: kept, counted and delivered all the same.
    Undecodable,
}

/// The stable id of an event: what receivers can drop repeats by.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct EventId(Bytes);

impl EventId {
    /// An id from text.
    pub fn new(id: impl Into<String>) -> Self {
        Self(Bytes::from(id.into().into_bytes()))
    }

    /// An id that shares its buffer; `None` if the bytes are not UTF-8.
    pub fn from_utf8(bytes: Bytes) -> Option<Self> {
        std::str::from_utf8(&bytes).is_ok().then_some(Self(bytes))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        // Both constructors have checked it; a lossless second check costs nanoseconds and needs no unsafe code.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The id as bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EventId({})", self.as_str())
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The id of a record that has none: `undecodable-` and 128 bits of the SHA-256 of its bytes, so that the same bytes are
/// the same event however often they are listed.
pub fn undecodable_id(raw: &[u8]) -> EventId {
    use sha2::{Digest, Sha256};
    let digest = Sha256::digest(raw);
    let mut id = String::with_capacity(12 + 32);
    id.push_str("undecodable-");
    for byte in &digest[..16] {
        id.push_str(&format!("{byte:02x}"));
    }
    EventId::new(id)
}

/// How an event came to be collected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// By the poll of the newest window.
    Live,
    /// By a window that lies in the past on purpose.
    Backfill,
    /// Found later than its neighbours, in a range that had been collected already.
    Late,
}

/// One event as the journal hands it to a sink.
#[derive(Clone)]
pub struct Event {
    /// Its place in the journal.
    pub position: Position,
    /// Its stable id.
    pub id: EventId,
    /// When it happened, by Miro's clock.
    pub time: Option<Timestamp>,
    /// When its page was received.
    pub collected_at: Timestamp,
    /// How it came to be collected.
    pub origin: Origin,
    /// Exactly the bytes of the JSON value that Miro sent.
    pub raw: Bytes,
}

impl fmt::Debug for Event {
    /// Without the body: an event's content never reaches a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("position", &self.position)
            .field("time", &self.time)
            .field("bytes", &self.raw.len())
            .finish_non_exhaustive()
    }
}

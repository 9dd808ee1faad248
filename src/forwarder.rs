//! Events of our own: what happens to collection, told to the sinks that ask for it (`forwarder_events = true`).
//!
//! # What it promises
//!
//! 1. An event of ours travels like one of Miro's: through the journal, under a stable id, with delivery, retries and dead letters as they are
//!    for every sink. It is durable when `emit` returns.
//! 2. It has the shape of a Miro audit record, so that every format and every table that takes those takes it:
//!
//! ```json
//! {"id":"miro_siem.gap_opened/acme/audit/…","type":"event","event":"miro_siem.gap_opened","category":"miro_siem",
//!  "createdAt":"2026-01-31T09:30:10.840Z","createdBy":{"type":"application","id":"miro-siem","name":"miro-siem"},
//!  "object":{"id":"acme/audit","name":"acme/audit"},"context":{"organization":{"id":"3074457345821141000","name":"acme"}},
//!  "details":{"stream":"audit","from":"…","to":"…","seconds":600,…}}
//! ```
//!
//! 3. The same id with the same time is in the journal once, however often it is emitted within 30 days: whoever remembers what it was about
//!    to say can say it again after a crash.
//!
//! # What it does not do
//!
//! It decides nothing, remembers nothing and does not retry. Where no sink takes such events, none are written.
//!
//! # On a crash
//!
//! An event is in the journal or it is not; the caller emits it again.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use serde::Serialize;
use tokio::sync::Mutex;

use crate::{
    clock::Clock,
    event::{Decoded, EventId, OrgName, Origin, RawEvent, StreamId, StreamKind, TimeRange, Timestamp},
    journal::{Commit, CoverageChange, Journal, JournalError},
};

/// The name and the id that our events give for who speaks.
const OWN_NAME: &str = "miro-siem";
/// Ids are kept by the journal for as long as their time is not covered: coverage of this stream follows at that distance.
const IDS_KEPT: Duration = Duration::from_secs(30 * 24 * 3_600);
/// How often it follows.
const IDS_STEP: Duration = Duration::from_secs(24 * 3_600);

/// One event of our own, with everything that makes it the same event when it is emitted again.
#[derive(Clone, PartialEq, Eq)]
pub struct OwnEvent {
    id: EventId,
    at: Timestamp,
    raw: Bytes,
}

/// What an event is about.
#[derive(Clone, Copy, Debug)]
pub struct Notice<'a> {
    /// Its name after `miro_siem.`, such as `gap_opened`.
    pub name: &'static str,
    /// The stream that it is about.
    pub stream: &'a StreamId,
    /// What tells it from others of that name and stream.
    pub key: &'a str,
    /// When it happened, by the server's clock as far as it is known.
    pub at: Timestamp,
}

/// Says an organisation's events of our own.
#[derive(Clone)]
pub struct Forwarder(Arc<Inner>);

struct Inner {
    stream: StreamId,
    org_id: Option<String>,
    journal: Arc<dyn Journal>,
    clock: Clock,
    audience: Audience,
    /// One at a time: the stream begins once, and its coverage moves in order.
    turn: Mutex<()>,
}

/// Whether anybody takes these events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// No sink does: nothing is written.
    Nobody,
    /// At least one sink does.
    Sinks,
}

impl OwnEvent {
    /// Makes an event, with Miro's id of the organisation where that is known. The same notice with the same details gives the same bytes.
    pub fn new(notice: &Notice<'_>, org_id: Option<&str>, details: &impl Serialize) -> Self {
        let (name, about, at) = (format!("miro_siem.{}", notice.name), notice.stream.to_string(), notice.at.floor_millis());
        let id = format!("{name}/{about}/{}", notice.key);
        let record = Record {
            id: &id,
            kind: "event",
            event: &name,
            category: "miro_siem",
            created_at: at.to_rfc3339_millis(),
            created_by: Party { kind: Some("application"), id: Some(OWN_NAME), name: OWN_NAME },
            object: Party { kind: None, id: Some(&about), name: &about },
            context: Context { organization: Party { kind: None, id: org_id, name: notice.stream.org.as_str() } },
            details,
        };
        let raw = serde_json::to_vec(&record).expect("a record of texts, numbers and objects is always JSON");
        Self { id: EventId::new(id), at, raw: raw.into() }
    }

    /// Its stable id.
    pub fn id(&self) -> &EventId {
        &self.id
    }

    /// When it happened.
    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// The record as JSON.
    pub fn raw(&self) -> &Bytes {
        &self.raw
    }
}

impl fmt::Debug for OwnEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnEvent").field("id", &self.id).field("at", &self.at).finish_non_exhaustive()
    }
}

/// The stream of an organisation's events of our own.
pub fn stream_of(org: &OrgName) -> StreamId {
    StreamId::new(org.clone(), StreamKind::Forwarder)
}

impl Forwarder {
    /// For that organisation, with Miro's id of it where the configuration has it.
    pub fn new(org: &OrgName, org_id: Option<String>, journal: Arc<dyn Journal>, clock: Clock, audience: Audience) -> Self {
        Self(Arc::new(Inner { stream: stream_of(org), org_id, journal, clock, audience, turn: Mutex::new(()) }))
    }

    /// Miro's id of the organisation, where the configuration has it.
    pub fn org_id(&self) -> Option<&str> {
        self.0.org_id.as_deref()
    }

    /// Makes the event durable. One that is in the journal already is not written again.
    pub async fn emit(&self, event: &OwnEvent) -> Result<(), JournalError> {
        if self.0.audience == Audience::Nobody {
            return Ok(());
        }
        let _turn = self.0.turn.lock().await;
        let coverage = self.begin_or_follow(event.at).await?;
        let raw = RawEvent { id: event.id.clone(), time: Some(event.at), raw: event.raw.clone(), decoded: Decoded::Whole };
        self.commit(vec![(raw, Origin::Live)], coverage).await
    }

    /// Begins the stream when it is first needed; later its coverage follows at a distance, so that the journal can let go of ids.
    async fn begin_or_follow(&self, at: Timestamp) -> Result<CoverageChange, JournalError> {
        let Some(held) = self.0.journal.coverage(&self.0.stream) else {
            self.commit(Vec::new(), CoverageChange::Begin(at)).await?;
            return Ok(CoverageChange::None);
        };
        let due = TimeRange::new(held.newest(), at.minus(IDS_KEPT)).filter(|due| due.length() >= IDS_STEP);
        Ok(due.map_or(CoverageChange::None, CoverageChange::Add))
    }

    async fn commit(&self, events: Vec<(RawEvent, Origin)>, coverage: CoverageChange) -> Result<(), JournalError> {
        let commit = Commit { stream: self.0.stream.clone(), collected_at: self.0.clock.now(), events, coverage };
        self.0.journal.commit(commit).await.map(drop)
    }
}

impl fmt::Debug for Forwarder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Forwarder").field("stream", &self.0.stream).field("audience", &self.0.audience).finish_non_exhaustive()
    }
}

/// The members of an audit record, in Miro's order.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Record<'a, D> {
    id: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    event: &'a str,
    category: &'static str,
    created_at: String,
    created_by: Party<'a>,
    object: Party<'a>,
    context: Context<'a>,
    details: &'a D,
}

#[derive(Serialize)]
struct Party<'a> {
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    name: &'a str,
}

#[derive(Serialize)]
struct Context<'a> {
    organization: Party<'a>,
}

//! What the tests share: a journal in a directory of its own, and what can be read from it.

use std::{path::Path, sync::Arc, time::Duration};

use miro_siem::{
    clock::Clock,
    config::settings::{Start, StreamSettings},
    event::{Event, OrgName, Position, StreamId, StreamKind, TimeRange, Timestamp},
    forwarder::{self, Audience, Forwarder},
    health::Health,
    journal::{Commit, CoverageChange, DiskJournal, Journal, Options, Read},
    source::gaps::KeeperParts,
};
use serde_json::Value;

pub(crate) fn org() -> OrgName {
    OrgName::new("acme")
}

pub(crate) fn audit() -> StreamId {
    StreamId::new(org(), StreamKind::Audit)
}

pub(crate) fn open(dir: &Path) -> Arc<dyn Journal> {
    let options = Options { dir: dir.to_owned(), bytes_max: 1 << 30, ids_reach: Duration::from_secs(26 * 3_600) };
    Arc::new(DiskJournal::open(options).expect("the journal opens"))
}

/// Every event of our own that the journal holds.
pub(crate) async fn own_events(journal: &Arc<dyn Journal>) -> Vec<Event> {
    let read = Read { stream: forwarder::stream_of(&org()), after: Position(0), events_max: 100_000, bytes_max: 1 << 30 };
    journal.read(read).await.expect("the journal can be read").events
}

/// 2026-11-20T10:00:00Z and so many seconds.
pub(crate) fn at(secs: u64) -> Timestamp {
    Timestamp::from_millis(1_795_168_800_000).plus(Duration::from_secs(secs))
}

/// The settings of a stream that is polled every five minutes.
pub(crate) fn settings(heartbeat: Option<Duration>) -> StreamSettings {
    StreamSettings {
        kind: StreamKind::Audit,
        auth: None,
        poll_interval: Duration::from_secs(300),
        start: Start::Now,
        overlap: Duration::from_secs(900),
        page_size: 500,
        reconcile: Vec::new(),
        retention: Duration::from_secs(90 * 86_400),
        heartbeat,
    }
}

pub(crate) fn keeper_parts(journal: &Arc<dyn Journal>, clock: Clock, health: &Health, heartbeat: Option<Duration>) -> KeeperParts {
    KeeperParts {
        stream: audit(),
        settings: settings(heartbeat),
        journal: journal.clone(),
        clock: clock.clone(),
        health: health.clone(),
        forwarder: Forwarder::new(&org(), None, journal.clone(), clock, Audience::Sinks),
    }
}

/// A change of coverage, without events.
pub(crate) fn moves(change: CoverageChange) -> Commit {
    Commit { stream: audit(), collected_at: at(0), events: Vec::new(), coverage: change }
}

pub(crate) fn range(from: u64, to: u64) -> TimeRange {
    TimeRange::new(at(from), at(to)).expect("from <= to")
}

/// An event's name and details.
pub(crate) fn told(raw: &[u8]) -> (String, Value) {
    let value: Value = serde_json::from_slice(raw).expect("JSON");
    (value["event"].as_str().expect("a name").to_owned(), value["details"].clone())
}

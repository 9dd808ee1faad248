//! What the tests share: a journal in a directory of its own, and what can be read from it.

use std::{path::Path, sync::Arc, time::Duration};

use miro_siem::{
    event::{Event, OrgName, Position, StreamId, StreamKind, Timestamp},
    forwarder,
    journal::{DiskJournal, Journal, Options, Read},
};

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

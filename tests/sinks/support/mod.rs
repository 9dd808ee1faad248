//! Hand-written fakes and a bench that puts them together.

pub(crate) use bench::{Bench, FILTERED_NAME, limits as bench_limits};
pub(crate) use journal::MemoryJournal;
pub(crate) use scripted::{Answer, ScriptedSink};

use miro_siem::event::{Event, EventId, OrgName, Origin, Position, StreamId, StreamKind, Timestamp};

mod bench;
mod journal;
pub(crate) mod pki;
pub(crate) mod records;
pub(crate) mod rsyslog;
mod scripted;
pub(crate) mod syslog;
pub(crate) mod syslog_ng;

pub(crate) fn stream(kind: StreamKind) -> StreamId {
    StreamId::new(OrgName::new("acme"), kind)
}

pub(crate) fn audit() -> StreamId {
    stream(StreamKind::Audit)
}

/// When every paused-clock test begins.
pub(crate) fn began_at() -> Timestamp {
    Timestamp::parse("2026-01-31T09:00:00Z").expect("a time")
}

/// An event whose id is its position and whose record names it.
pub(crate) fn event(position: u64, collected_at: Timestamp) -> Event {
    Event {
        position: Position(position),
        id: EventId::new(format!("id-{position}")),
        time: Some(collected_at),
        collected_at,
        origin: Origin::Live,
        raw: format!(r#"{{"id":"id-{position}","event":"board_opened"}}"#).into(),
    }
}

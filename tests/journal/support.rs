//! What the tests share: streams, pages, times, and a journal with small segments.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use miro_siem::{
    event::{Decoded, Event, EventId, OrgName, Origin, Position, RawEvent, SinkName, StreamId, StreamKind, TimeRange, Timestamp},
    journal::{
        Commit, CoverageChange, Journal, JournalError, Options, Read,
        disk::{Disk, DiskJournal, Storage, Tuning},
        proof::{Proof, Slot, Tallies, Tally},
    },
};

pub(crate) const HOUR: Duration = Duration::from_secs(3_600);

/// 2026-01-01T00:00:00Z and so many minutes.
pub(crate) fn minute(minutes: i64) -> Timestamp {
    Timestamp::from_millis(1_767_225_600_000 + minutes * 60_000)
}

pub(crate) fn minutes(from: i64, to: i64) -> TimeRange {
    TimeRange::new(minute(from), minute(to)).expect("from <= to")
}

pub(crate) fn stream(kind: StreamKind) -> StreamId {
    StreamId::new(OrgName::new("acme"), kind)
}

pub(crate) fn audit() -> StreamId {
    stream(StreamKind::Audit)
}

pub(crate) fn sink(name: &str) -> SinkName {
    SinkName::new(name)
}

/// An event with that id at that minute; its bytes follow from both.
pub(crate) fn event(id: &str, at: i64) -> RawEvent {
    RawEvent { id: EventId::new(id), time: Some(minute(at)), raw: raw(id, at), decoded: Decoded::Whole }
}

pub(crate) fn raw(id: &str, at: i64) -> Bytes {
    Bytes::from(format!("{{\"id\":\"{id}\",\"createdAt\":\"{}\",\"n\": 9007199254740993}}", minute(at)))
}

pub(crate) fn page(stream: &StreamId, events: Vec<RawEvent>, coverage: CoverageChange) -> Commit {
    let events = events.into_iter().map(|event| (event, Origin::Live)).collect();
    Commit { stream: stream.clone(), collected_at: minute(60), events, coverage }
}

pub(crate) fn begin(stream: &StreamId) -> Commit {
    page(stream, Vec::new(), CoverageChange::Begin(minute(0)))
}

pub(crate) fn options(dir: &Path) -> Options {
    Options { dir: dir.to_owned(), bytes_max: 1 << 30, ids_reach: HOUR * 24 * 8 }
}

pub(crate) fn tuning(segment_bytes: u64) -> Tuning {
    tuning_on(segment_bytes, Arc::new(Disk))
}

pub(crate) fn tuning_on(segment_bytes: u64, storage: Arc<dyn Storage>) -> Tuning {
    Tuning { segment_bytes, storage, checkpoint_after: Duration::ZERO, ..Tuning::default() }
}

pub(crate) fn open(dir: &Path) -> DiskJournal {
    DiskJournal::open_tuned(options(dir), tuning(4_096)).expect("the journal opens")
}

/// All events of a stream after a position, read in chunks of that size.
pub(crate) async fn read_all(journal: &dyn Journal, stream: &StreamId, after: u64, events_max: usize) -> Vec<Event> {
    let mut events = Vec::new();
    let mut after = Position(after);
    loop {
        let read = Read { stream: stream.clone(), after, events_max, bytes_max: 1 << 20 };
        let chunk = journal.read(read).await.expect("reads");
        if chunk.events.is_empty() {
            return events;
        }
        assert!(chunk.up_to >= chunk.events.last().expect("not empty").position);
        after = chunk.up_to;
        events.extend(chunk.events);
    }
}

pub(crate) fn ids(events: &[Event]) -> Vec<String> {
    events.iter().map(|event| event.id.as_str().to_owned()).collect()
}

pub(crate) fn segments(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut paths: Vec<_> = std::fs::read_dir(dir.join("journal")).expect("lists").map(|entry| entry.expect("lists").path()).collect();
    paths.sort();
    paths
}

pub(crate) fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("creates");
    for entry in std::fs::read_dir(from).expect("lists") {
        let entry = entry.expect("lists");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("known").is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("copies");
        }
    }
}

pub(crate) fn is_no_space(error: &JournalError) -> bool {
    matches!(error, JournalError::NoSpace { .. })
}

/// All tallies of a stream.
pub(crate) async fn tallies(journal: &dyn Proof, stream: &StreamId) -> Tallies {
    let ever = TimeRange::new(Timestamp::from_micros(i64::MIN), Timestamp::from_micros(i64::MAX)).expect("from <= to");
    journal.tallies(stream, ever).await.expect("reads")
}

/// What the tallies of events with these ids and minutes must be.
pub(crate) fn counted(events: impl IntoIterator<Item = (String, i64)>) -> BTreeMap<Slot, Tally> {
    let mut truth: BTreeMap<Slot, Tally> = BTreeMap::new();
    for (id, at) in events {
        let hour = Timestamp::from_micros(minute(at).as_micros().div_euclid(3_600_000_000) * 3_600_000_000);
        truth.entry(Slot::Hour(hour)).or_default().count(&EventId::new(id), Origin::Live, false);
    }
    truth
}

/// Tallies that are certain and say this; repeats are not compared, since a crash may forget them.
#[track_caller]
pub(crate) fn assert_counted(tallies: &Tallies, truth: &BTreeMap<Slot, Tally>) {
    assert!(tallies.unsure.is_empty(), "{:?}", tallies.unsure);
    let rows = tallies.rows.iter().filter(|row| row.tally.collected > 0 || !row.exact);
    let told: BTreeMap<Slot, Tally> = rows
        .map(|row| {
            assert!(row.exact, "{row:?}");
            (row.slot, Tally { duplicates: 0, ..row.tally })
        })
        .collect();
    assert_eq!(&told, truth);
}

//! The jobs of a stream against a Miro of the test's own and a journal in memory, on a clock that stands still until somebody waits.

mod again;
mod any_order;
mod live;
mod miro;
mod past;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    clock::Clock,
    config::settings::{Start, StreamSettings},
    coverage::Coverage,
    event::{Decoded, EventId, OrgName, Origin, Position, RawEvent, SinkName, StreamId, StreamKind, TimeRange, Timestamp},
    health::{Health, StreamHealth},
    journal::{Backlog, Chunk, Commit, Committed, CoverageChange, Journal, JournalError, Read, Stats},
    metrics::Metrics,
    miro::{Cursor, MiroClass, MiroError, Page, PageRequest, Pages, Priority, QuotaReading},
};

const NOW_SECS: i64 = 1_700_000_000;

#[derive(Debug, Default)]
struct Books {
    coverage: BTreeMap<StreamId, Coverage>,
    state: BTreeMap<String, Vec<u8>>,
    /// The ids that are remembered, with the times of their events.
    ids: BTreeMap<String, Option<Timestamp>>,
    events: Vec<(String, Origin)>,
    refusals: VecDeque<JournalError>,
    /// How long a commit takes.
    slowness: Duration,
}

#[derive(Debug)]
struct MemoryJournal(Mutex<Books>, watch::Sender<Position>);

impl MemoryJournal {
    fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::default(), watch::channel(Position(0)).0))
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The stream began then, and nothing was collected since.
    fn begin(&self, origin: Timestamp) {
        let mut books = self.books();
        books.coverage.insert(stream(), Coverage::starting_at(origin));
        books.state.insert(format!("source/live-since/{}", stream()), origin.as_micros().to_be_bytes().to_vec());
    }

    fn ranges(&self) -> Vec<(i64, i64)> {
        let coverage = self.coverage(&stream()).expect("the stream has begun");
        coverage.ranges().iter().map(|range| (secs(range.from()), secs(range.to()))).collect()
    }

    fn take(&self, commit: Commit) -> Result<Committed, JournalError> {
        let mut books = self.books();
        if let Some(refusal) = books.refusals.pop_front() {
            return Err(refusal);
        }
        match commit.coverage {
            CoverageChange::None => {}
            CoverageChange::Begin(origin) => {
                let before = books.coverage.insert(commit.stream.clone(), Coverage::starting_at(origin));
                assert!(before.is_none(), "a stream begins once");
            }
            CoverageChange::Add(range) => books.coverage.get_mut(&commit.stream).expect("the stream has begun").add(range)?,
        }
        let mut fresh = Vec::new();
        for (event, origin) in commit.events {
            let id = event.id.as_str().to_owned();
            let new = books.ids.insert(id.clone(), event.time).is_none();
            fresh.push(new);
            if new {
                books.events.push((id, origin));
            }
        }
        let coverage = books.coverage[&commit.stream].clone();
        Ok(Committed { fresh, head: Position(books.events.len() as u64), coverage })
    }
}

type Answer<'a, T> = BoxFuture<'a, Result<T, JournalError>>;

impl Journal for MemoryJournal {
    fn commit(&self, commit: Commit) -> Answer<'_, Committed> {
        let slowness = self.books().slowness;
        Box::pin(async move {
            if !slowness.is_zero() {
                tokio::time::sleep(slowness).await;
            }
            self.take(commit)
        })
    }
    fn coverage(&self, stream: &StreamId) -> Option<Coverage> {
        self.books().coverage.get(stream).cloned()
    }
    fn read(&self, _: Read) -> Answer<'_, Chunk> {
        unreachable!("a collector does not read")
    }
    fn subscribe(&self, _: Vec<(SinkName, StreamId)>) -> Answer<'_, ()> {
        unreachable!("a collector does not subscribe")
    }
    fn acked(&self, _: &SinkName, _: &StreamId) -> Option<Position> {
        unreachable!("a collector does not ask for acks")
    }
    fn ack<'a>(&'a self, _: &'a SinkName, _: &'a StreamId, _: Position) -> Answer<'a, ()> {
        unreachable!("a collector does not ack")
    }
    fn backlog(&self, _: &SinkName, _: &StreamId) -> Backlog {
        unreachable!("a collector does not ask for backlogs")
    }
    fn head(&self) -> watch::Receiver<Position> {
        self.1.subscribe()
    }
    /// Forgets at once what it may, so that whoever needs it all the same is found out.
    fn keep_ids(&self, _: &StreamId, from: Timestamp) {
        self.books().ids.retain(|_, time| time.is_none_or(|time| time >= from));
    }
    fn stats(&self) -> Stats {
        Stats::default()
    }
    fn put_state<'a>(&'a self, key: &'a str, value: Vec<u8>) -> Answer<'a, ()> {
        self.books().state.insert(key.to_owned(), value);
        Box::pin(std::future::ready(Ok(())))
    }
    fn state(&self, key: &str) -> Option<Vec<u8>> {
        self.books().state.get(key).cloned()
    }
    fn close(&self) -> Answer<'_, ()> {
        Box::pin(std::future::ready(Ok(())))
    }
}

fn secs(time: Timestamp) -> i64 {
    time.as_micros() / 1_000_000 - NOW_SECS
}

fn at(secs: i64) -> Timestamp {
    Timestamp::from_millis((NOW_SECS + secs) * 1_000)
}

fn range(from: i64, to: i64) -> TimeRange {
    TimeRange::new(at(from), at(to)).expect("from <= to")
}

fn stream() -> StreamId {
    StreamId::new(OrgName::new("acme"), StreamKind::Audit)
}

fn settings() -> StreamSettings {
    StreamSettings {
        kind: StreamKind::Audit,
        auth: None,
        poll_interval: Duration::from_secs(300),
        start: Start::Now,
        overlap: Duration::from_secs(900),
        page_size: 500,
        reconcile: Vec::new(),
        retention: Duration::from_secs(90 * 86_400),
        heartbeat: None,
    }
}

fn parts(journal: Arc<MemoryJournal>, pages: Arc<dyn Pages>, settings: StreamSettings, clock: Clock) -> CollectorParts {
    CollectorParts {
        stream: stream(),
        requests: BackfillRequests::load(stream(), settings.retention, journal.clone(), clock.clone()),
        settings,
        pages,
        journal,
        clock,
        metrics: Metrics::new(),
        health: Health::new(),
    }
}

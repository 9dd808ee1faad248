//! A journal in memory, for tests on a paused clock: what it is asked to do is done when it returns.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_util::future::BoxFuture;
use miro_siem::{
    coverage::Coverage,
    event::{Position, RawEvent, SinkName, StreamId},
    journal::{Backlog, Chunk, Commit, Committed, CoverageChange, Journal, JournalError, Read, Stats},
};
use tokio::sync::watch;

#[derive(Debug, Default)]
struct Books {
    coverage: BTreeMap<StreamId, Coverage>,
    state: BTreeMap<String, Vec<u8>>,
    ids: BTreeSet<String>,
    events: Vec<RawEvent>,
    full: bool,
}

#[derive(Debug)]
pub(crate) struct Memory(Mutex<Books>, watch::Sender<Position>);

impl Memory {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::default(), watch::channel(Position(0)).0))
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every event, in order.
    pub(crate) fn events(&self) -> Vec<RawEvent> {
        self.books().events.clone()
    }

    /// From now on events are refused, or taken again.
    pub(crate) fn fill(&self, full: bool) {
        self.books().full = full;
    }

    fn take(&self, commit: Commit) -> Result<Committed, JournalError> {
        let mut books = self.books();
        if books.full && !commit.events.is_empty() {
            return Err(JournalError::Full { bytes: 2, bytes_max: 1 });
        }
        match commit.coverage {
            CoverageChange::None => {}
            CoverageChange::Begin(origin) => {
                let before = books.coverage.insert(commit.stream.clone(), Coverage::starting_at(origin));
                assert!(before.is_none(), "a stream begins once");
            }
            CoverageChange::Add(range) => books.coverage.get_mut(&commit.stream).expect("it has begun").add(range)?,
        }
        let mut fresh = Vec::new();
        for (event, _) in commit.events {
            fresh.push(books.ids.insert(event.id.to_string()));
            if fresh.last() == Some(&true) {
                books.events.push(event);
            }
        }
        let head = Position(books.events.len() as u64);
        self.1.send_if_modified(|known| std::mem::replace(known, head) != head);
        Ok(Committed { fresh, head, coverage: books.coverage[&commit.stream].clone() })
    }
}

type Answer<'a, T> = BoxFuture<'a, Result<T, JournalError>>;

impl Journal for Memory {
    fn commit(&self, commit: Commit) -> Answer<'_, Committed> {
        Box::pin(std::future::ready(self.take(commit)))
    }
    fn coverage(&self, stream: &StreamId) -> Option<Coverage> {
        self.books().coverage.get(stream).cloned()
    }
    fn read(&self, _: Read) -> Answer<'_, Chunk> {
        unreachable!("a keeper does not read")
    }
    fn subscribe(&self, _: Vec<(SinkName, StreamId)>) -> Answer<'_, ()> {
        unreachable!("a keeper does not subscribe")
    }
    fn acked(&self, _: &SinkName, _: &StreamId) -> Option<Position> {
        unreachable!("a keeper does not ask for acks")
    }
    fn ack<'a>(&'a self, _: &'a SinkName, _: &'a StreamId, _: Position) -> Answer<'a, ()> {
        unreachable!("a keeper does not ack")
    }
    fn backlog(&self, _: &SinkName, _: &StreamId) -> Backlog {
        unreachable!("a keeper does not ask for backlogs")
    }
    fn head(&self) -> watch::Receiver<Position> {
        self.1.subscribe()
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

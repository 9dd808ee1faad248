//! A journal in memory, as far as a driver uses one, with failures to order.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Mutex,
};

use futures_util::future::BoxFuture;
use miro_siem::{
    coverage::Coverage,
    event::{Event, Position, SinkName, StreamId},
    journal::{Backlog, Chunk, Commit, Committed, Journal, JournalError, Read, Stats},
};
use tokio::sync::watch;

/// Called with the events of every ack, before it counts.
pub(crate) type OnAck = Box<dyn Fn(&StreamId, &Event) + Send + Sync>;

#[derive(Default)]
struct Inner {
    events: BTreeMap<Position, (StreamId, Event)>,
    acked: HashMap<(SinkName, StreamId), Position>,
    failures: VecDeque<JournalError>,
    reads: usize,
    state: HashMap<String, Vec<u8>>,
}

pub(crate) struct MemoryJournal {
    inner: Mutex<Inner>,
    head: watch::Sender<Position>,
    ack_count: watch::Sender<u64>,
    on_ack: OnAck,
}

impl MemoryJournal {
    pub(crate) fn new(on_ack: OnAck) -> Self {
        Self { inner: Mutex::default(), head: watch::Sender::new(Position(0)), ack_count: watch::Sender::new(0), on_ack }
    }

    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().expect("no test panics while it holds the lock")
    }

    /// Adds an event; its position decides its place.
    pub(crate) fn append(&self, stream: &StreamId, event: Event) {
        let position = event.position;
        self.inner().events.insert(position, (stream.clone(), event));
        self.head.send_replace(position);
    }

    pub(crate) fn head_position(&self) -> Position {
        *self.head.borrow()
    }

    pub(crate) fn subscribe_now(&self, sink: &SinkName, stream: &StreamId) {
        self.inner().acked.insert((sink.clone(), stream.clone()), Position(0));
    }

    /// The next reads and acks fail with these.
    pub(crate) fn fail(&self, failures: impl IntoIterator<Item = JournalError>) {
        self.inner().failures.extend(failures);
    }

    /// A notice of each ack.
    pub(crate) fn ack_count(&self) -> watch::Receiver<u64> {
        self.ack_count.subscribe()
    }

    pub(crate) fn reads(&self) -> usize {
        self.inner().reads
    }
}

impl Journal for MemoryJournal {
    fn commit(&self, _: Commit) -> BoxFuture<'_, Result<Committed, JournalError>> {
        unreachable!("a driver does not commit")
    }

    fn coverage(&self, _: &StreamId) -> Option<Coverage> {
        unreachable!("a driver does not ask for coverage")
    }

    fn read(&self, read: Read) -> BoxFuture<'_, Result<Chunk, JournalError>> {
        Box::pin(async move {
            let mut inner = self.inner();
            inner.reads += 1;
            if let Some(failure) = inner.failures.pop_front() {
                return Err(failure);
            }
            let mut chunk = Chunk { events: Vec::new(), up_to: *self.head.borrow() };
            let mut bytes = 0;
            for (position, (stream, event)) in inner.events.range(Position(read.after.0 + 1)..) {
                if *stream != read.stream {
                    continue;
                }
                bytes += event.raw.len();
                if chunk.events.len() >= read.events_max || (bytes > read.bytes_max && !chunk.events.is_empty()) {
                    chunk.up_to = Position(position.0 - 1);
                    break;
                }
                chunk.events.push(event.clone());
            }
            Ok(chunk)
        })
    }

    fn subscribe(&self, subscriptions: Vec<(SinkName, StreamId)>) -> BoxFuture<'_, Result<(), JournalError>> {
        let head = self.head_position();
        subscriptions.into_iter().for_each(|key| {
            self.inner().acked.entry(key).or_insert(head);
        });
        Box::pin(async { Ok(()) })
    }

    fn acked(&self, sink: &SinkName, stream: &StreamId) -> Option<Position> {
        self.inner().acked.get(&(sink.clone(), stream.clone())).copied()
    }

    fn ack<'a>(&'a self, sink: &'a SinkName, stream: &'a StreamId, up_to: Position) -> BoxFuture<'a, Result<(), JournalError>> {
        Box::pin(async move {
            if let Some(failure) = self.inner().failures.pop_front() {
                return Err(failure);
            }
            let key = (sink.clone(), stream.clone());
            let mut inner = self.inner();
            let from = inner.acked[&key];
            for (_, (of, event)) in inner.events.range(Position(from.0 + 1)..=up_to.max(Position(from.0 + 1))) {
                if of == stream && event.position <= up_to {
                    (self.on_ack)(stream, event);
                }
            }
            inner.acked.insert(key, up_to.max(from));
            self.ack_count.send_modify(|count| *count += 1);
            Ok(())
        })
    }

    fn backlog(&self, sink: &SinkName, stream: &StreamId) -> Backlog {
        let after = self.acked(sink, stream).expect("the stream is subscribed");
        let inner = self.inner();
        let waiting = || inner.events.range(Position(after.0 + 1)..).filter(|(_, (of, _))| of == stream);
        Backlog { events: waiting().count() as u64, oldest_collected_at: waiting().map(|(_, (_, event))| event.collected_at).min() }
    }

    fn head(&self) -> watch::Receiver<Position> {
        self.head.subscribe()
    }

    fn stats(&self) -> Stats {
        unreachable!("a driver does not ask for statistics")
    }

    fn put_state<'a>(&'a self, key: &'a str, value: Vec<u8>) -> BoxFuture<'a, Result<(), JournalError>> {
        self.inner().state.insert(key.to_owned(), value);
        Box::pin(async { Ok(()) })
    }

    fn state(&self, key: &str) -> Option<Vec<u8>> {
        self.inner().state.get(key).cloned()
    }

    fn close(&self) -> BoxFuture<'_, Result<(), JournalError>> {
        Box::pin(async { Ok(()) })
    }
}

impl std::fmt::Debug for MemoryJournal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MemoryJournal")
    }
}

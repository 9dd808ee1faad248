//! Events as they are collected, for whoever follows: read from the journal by position, beside the sinks.
//!
//! A follower has no subscription: the journal keeps nothing for it and waits for nobody. What its sinks have all taken may be gone before it is
//! read here; at the pace of a person and of a terminal it is not. Memory is bounded by the queue: a follower that does not read on is cut loose.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use crate::{
    admin::control::{ControlError, Events, TailRequest, Tailed},
    config::settings::Provenance,
    event::{Event, Position, StreamId, StreamKind, Timestamp},
    journal::{Journal, JournalError, Read},
    sink::ndjson::push_line,
    transform::{filter::Names, raw::Raw},
};

/// A few people who look at once; each costs at most its queue.
const FOLLOWERS_MAX: usize = 8;
/// Chunks that wait for a follower. With the one in the making and the system's buffers, some MiB.
const QUEUE_CHUNKS: usize = 2;
/// The limits of one read of one stream.
const CHUNK_EVENTS_MAX: usize = 200;
const CHUNK_BYTES_MAX: usize = 256 * 1024;
/// How long a chunk may wait for its follower.
const PATIENCE: Duration = Duration::from_secs(20);
/// Shorter than the silence after which a follower gives us up, and what tells us that one has gone.
const SIGN_OF_LIFE_INTERVAL: Duration = Duration::from_secs(15);

/// Who can follow what.
#[derive(Debug)]
pub(super) struct Tail {
    pub(super) journal: Arc<dyn Journal>,
    pub(super) streams: Vec<StreamId>,
    pub(super) stop: CancellationToken,
    room: Arc<Semaphore>,
}

impl Tail {
    /// Of those streams, until `stop`.
    pub(super) fn new(journal: Arc<dyn Journal>, streams: Vec<StreamId>, stop: CancellationToken) -> Self {
        Self { journal, streams, stop, room: Arc::new(Semaphore::new(FOLLOWERS_MAX)) }
    }

    fn chosen(&self, wanted: &TailRequest) -> Result<Vec<StreamId>, ControlError> {
        let known = |names: BTreeSet<String>| names.into_iter().collect::<Vec<_>>().join(", ");
        if let Some(org) = wanted.org.as_deref().filter(|org| !self.streams.iter().any(|stream| stream.org.as_str() == *org)) {
            let names = known(self.streams.iter().map(|stream| stream.org.to_string()).collect());
            return Err(ControlError::Unknown(format!("there is no organisation {org:?}; the organisations are {names}")));
        }
        let is_chosen = |stream: &&StreamId| {
            wanted.org.as_deref().is_none_or(|org| stream.org.as_str() == org)
                && wanted.stream.as_deref().is_none_or(|kind| stream.kind.as_str() == kind)
        };
        let chosen: Vec<StreamId> = self.streams.iter().filter(is_chosen).cloned().collect();
        if chosen.is_empty() {
            let names = known(self.streams.iter().map(ToString::to_string).collect());
            let kind = wanted.stream.as_deref().unwrap_or_default();
            return Err(ControlError::Unknown(format!("no stream {kind:?} is collected there; the streams are {names}")));
        }
        Ok(chosen)
    }
}

impl Events for Tail {
    fn tail(&self, wanted: TailRequest) -> Result<mpsc::Receiver<Tailed>, ControlError> {
        let streams = self.chosen(&wanted)?;
        let full = |_| ControlError::Conflict(format!("{FOLLOWERS_MAX} are following already; one of them has to end first"));
        let permit = self.room.clone().try_acquire_owned().map_err(full)?;
        let followed = |id: StreamId| Followed {
            names: wanted.event.as_deref().map(|pattern| Names::new(pattern, id.kind)),
            raw: Raw::new(Provenance::On, &id),
            id,
        };
        // One place more, for the words at the end.
        let (queue, receiver) = mpsc::channel(QUEUE_CHUNKS + 1);
        let follower = Follower {
            journal: self.journal.clone(),
            streams: streams.into_iter().map(followed).collect(),
            at: *self.journal.head().borrow(),
            stop: self.stop.clone(),
            queue,
            _room: permit,
        };
        tokio::spawn(follower.run(wanted.since));
        Ok(receiver)
    }
}

/// A stream as one follower sees it.
#[derive(Debug)]
struct Followed {
    id: StreamId,
    names: Option<Names>,
    raw: Raw,
}

/// Somebody who follows.
#[derive(Debug)]
struct Follower {
    journal: Arc<dyn Journal>,
    streams: Vec<Followed>,
    /// Everything up to here has been looked at.
    at: Position,
    stop: CancellationToken,
    queue: mpsc::Sender<Tailed>,
    _room: OwnedSemaphorePermit,
}

impl Follower {
    async fn run(mut self, since: Option<Timestamp>) {
        let Ok(last_word) = self.queue.clone().reserve_owned().await else { return };
        let why = match self.follow(since).await {
            Ok(why) => why,
            Err(error) => Some(format!("the journal cannot be read: {error}")),
        };
        if let Some(why) = why {
            last_word.send(Tailed::End(why));
        }
    }

    /// Until it ends, with the reason; `None` where nobody is there to be told.
    async fn follow(&mut self, since: Option<Timestamp>) -> Result<Option<String>, JournalError> {
        let mut heads = self.journal.head();
        if let Some(since) = since {
            self.at = self.first_since(since).await?;
        }
        loop {
            let newest = *heads.borrow_and_update();
            if self.at < newest {
                let lines = self.next_lines(newest).await?;
                if !lines.is_empty() && !self.hand_over(lines).await {
                    return Ok(self.gone());
                }
                continue;
            }
            tokio::select! {
                () = self.stop.cancelled() => return Ok(Some("the daemon is stopping".to_owned())),
                () = self.queue.closed() => return Ok(None),
                moved = heads.changed() => if moved.is_err() { return Ok(Some("the daemon is stopping".to_owned())) },
                () = tokio::time::sleep(SIGN_OF_LIFE_INTERVAL) => {
                    if !self.hand_over(Bytes::from_static(b"\n")).await {
                        return Ok(self.gone());
                    }
                }
            }
        }
    }

    fn gone(&self) -> Option<String> {
        let slow = || format!("nothing was read for {} s: read faster, or narrow it down with a filter", PATIENCE.as_secs());
        (!self.queue.is_closed()).then(slow)
    }

    async fn hand_over(&self, lines: Bytes) -> bool {
        self.queue.send_timeout(Tailed::Lines(lines), PATIENCE).await.is_ok()
    }

    /// The next events of all streams in the order in which they were collected; moves on to where all streams have been looked at.
    async fn next_lines(&mut self, newest: Position) -> Result<Bytes, JournalError> {
        let (mut up_to, mut found) = (newest, Vec::new());
        for (index, stream) in self.streams.iter().enumerate() {
            let read = Read { stream: stream.id.clone(), after: self.at, events_max: CHUNK_EVENTS_MAX, bytes_max: CHUNK_BYTES_MAX };
            let chunk = self.journal.read(read).await?;
            up_to = up_to.min(chunk.up_to);
            found.extend(chunk.events.into_iter().map(|event| (index, event)));
        }
        found.retain(|(_, event)| event.position <= up_to);
        found.sort_by_key(|(_, event)| event.position);
        let mut lines = Vec::new();
        for (index, event) in found {
            self.streams[index].write(&event, &mut lines);
        }
        self.at = up_to.max(self.at);
        Ok(lines.into())
    }

    /// The position after which everything was collected since then. Positions and times of collection rise together, so the middle tells which
    /// half to look at.
    async fn first_since(&self, since: Timestamp) -> Result<Position, JournalError> {
        let mut first = Position::default();
        for stream in &self.streams {
            let (mut low, mut high) = (Position::default(), self.at);
            while low < high {
                let middle = Position(low.0 + (high.0 - low.0) / 2);
                let read = Read { stream: stream.id.clone(), after: middle, events_max: 1, bytes_max: 1 };
                match self.journal.read(read).await?.events.first() {
                    Some(event) if event.collected_at < since => low = event.position,
                    _ => high = middle,
                }
            }
            first = first.max(high);
        }
        Ok(first)
    }
}

impl Followed {
    fn write(&mut self, event: &Event, lines: &mut Vec<u8>) {
        let is_wanted = self.names.as_ref().is_none_or(|names| names.fit(event));
        if is_wanted {
            let mut record = Vec::with_capacity(event.raw.len() + 256);
            self.raw.write(event, &mut record);
            push_line(&record, lines);
        }
    }
}

/// What can be followed: what is collected, and our own events about it.
pub(super) fn followable(collected: impl Iterator<Item = StreamId>) -> Vec<StreamId> {
    let collected: Vec<StreamId> = collected.collect();
    let orgs: BTreeSet<_> = collected.iter().map(|stream| stream.org.clone()).collect();
    let own = orgs.into_iter().map(|org| StreamId::new(org, StreamKind::Forwarder));
    collected.iter().cloned().chain(own).collect()
}

#[cfg(test)]
mod tests;

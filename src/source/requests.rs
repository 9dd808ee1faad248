//! Backfills on request: ranges of a stream that an operator wants, beside what the settings say.
//!
//! A request is durable before it is answered, and goes on after a restart. What is collected already is not fetched again: only the holes
//! are. A request for time in which nothing is missing is answered like any other, with an id whose progress says `Done` from the start.
//! Time before the stream's origin can be asked for as well, as far back as Miro's log reaches; the origin does not move for it. What a
//! request brought stays wanted: if it is lost by damage, it is collected again. A cancelled request leaves what it has brought.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::{Notify, watch};
use tracing::{error, info};

use super::wanted::{merged, missing_length};
use crate::{
    clock::Clock,
    coverage::Coverage,
    event::{StreamId, TimeRange, Timestamp},
    journal::{Journal, JournalError},
};

/// So many requests of a stream are open at most.
const OPEN_MAX: usize = 16;
/// So many of those that ended are remembered, until the process ends.
const ENDED_MAX: usize = 32;
/// The version of what is stored.
const VERSION: u32 = 1;

/// The number of a request, unique in its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BackfillId(pub u64);

impl fmt::Display for BackfillId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where a request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackfillState {
    /// Something is still missing; it is being collected, or waits for its turn.
    Running,
    /// Nothing is missing any more.
    Done,
    /// It has ended, and what is still missing lies past Miro's retention by now.
    Partly,
    /// Somebody has cancelled it.
    Cancelled,
}

/// How far a request has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackfillProgress {
    /// Its number.
    pub id: BackfillId,
    /// What is collected: what was asked for, without the future and without what Miro no longer has.
    pub range: TimeRange,
    /// How much of that was not collected when it was asked for.
    pub missing_at_start: Duration,
    /// How much of it is not collected now.
    pub missing_now: Duration,
    /// Events in that range that were new, since the request or since the process started, whichever is later.
    pub events: u64,
    /// Where it stands.
    pub state: BackfillState,
}

/// Why a range cannot be collected on request.
#[derive(Debug, Error)]
pub enum RequestError {
    /// Nothing was collected yet.
    #[error("the stream {0} has not begun: Miro has not answered yet. See `miro-siem status`, and ask again once it collects")]
    NotBegun(StreamId),
    /// The range is empty, or lies in the future.
    #[error("there is nothing in that range yet: {0} is collected up to {1} by now")]
    Nothing(StreamId, Timestamp),
    /// All of it is older than Miro's log.
    #[error(
        "all of that range is older than {cliff}, where Miro's log of {stream} ends; if the organisation keeps it for longer, set `retention` of the stream"
    )]
    PastRetention {
        /// The stream.
        stream: StreamId,
        /// The oldest instant that can be collected.
        cliff: Timestamp,
    },
    /// Others have to end first.
    #[error("{0} backfills of that stream are open already; wait for one of them, or cancel it")]
    TooMany(usize),
    /// It could not be made durable.
    #[error("failed to store the request: {0}")]
    Journal(#[from] JournalError),
}

/// The requests of one stream; clones are handles of the same ones.
#[derive(Clone)]
pub struct BackfillRequests(Arc<Inner>);

struct Inner {
    stream: StreamId,
    retention: Duration,
    journal: Arc<dyn Journal>,
    clock: Clock,
    book: Mutex<Book>,
    /// One change at a time becomes durable.
    storing: tokio::sync::Mutex<()>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Book {
    next_id: u64,
    open: BTreeMap<BackfillId, Open>,
    ended: VecDeque<watch::Receiver<BackfillProgress>>,
    /// What requests have brought, merged: it stays wanted.
    kept: Vec<TimeRange>,
}

#[derive(Debug)]
struct Open {
    progress: watch::Sender<BackfillProgress>,
    reach: Reach,
}

/// How far back a request was meant to go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Reach {
    /// To where its range begins.
    #[default]
    Range,
    /// As far as Miro's log reaches: what falls off its end while the rest is collected is no part of it.
    Retention,
}

/// What is stored under the key of the stream.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    version: u32,
    next_id: u64,
    open: Vec<StoredRequest>,
    kept: Vec<TimeRange>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredRequest {
    id: BackfillId,
    range: TimeRange,
    missing_at_start_micros: u64,
    #[serde(default)]
    reach: Reach,
}

impl BackfillRequests {
    /// The requests of a stream, with those that are still open from an earlier process.
    pub fn load(stream: StreamId, retention: Duration, journal: Arc<dyn Journal>, clock: Clock) -> Self {
        let book = stored(&stream, &journal).map(|stored| Book::from_stored(stored, &stream, &journal)).unwrap_or_default();
        let (book, storing, changed) = (Mutex::new(book), tokio::sync::Mutex::default(), Notify::new());
        Self(Arc::new(Inner { stream, retention, journal, clock, book, storing, changed }))
    }

    /// Wants a range. Durable on return. Time past Miro's retention and time that live polling takes care of are left out of it.
    ///
    /// # Errors
    /// If nothing of it can be collected, or too many requests are open, or it could not be stored.
    pub async fn request(&self, range: TimeRange) -> Result<BackfillId, RequestError> {
        let inner = &*self.0;
        let coverage = inner.journal.coverage(&inner.stream).ok_or_else(|| RequestError::NotBegun(inner.stream.clone()))?;
        let (cliff, newest) = (inner.clock.now().minus(inner.retention), coverage.newest());
        let wanted = TimeRange::new(range.from().max(cliff), range.to().min(newest)).filter(|wanted| !wanted.is_empty());
        let refused = || match range.to() <= cliff {
            true => RequestError::PastRetention { stream: inner.stream.clone(), cliff },
            false => RequestError::Nothing(inner.stream.clone(), newest),
        };
        let wanted = wanted.ok_or_else(refused)?;
        let missing = missing_length(&coverage, wanted);
        let _one_at_a_time = inner.storing.lock().await;
        let reach = if range.from() < cliff { Reach::Retention } else { Reach::Range };
        let id = inner.open(wanted, missing, reach)?;
        if missing.is_zero() {
            inner.book().end(id, BackfillState::Done);
        } else if let Err(error) = inner.store().await {
            inner.book().open.remove(&id);
            return Err(error.into());
        } else {
            info!(stream = %inner.stream, backfill = %id, range = %wanted, missing_secs = missing.as_secs(), "backfill begins");
        }
        inner.changed.notify_one();
        Ok(id)
    }

    /// How far a request has got, and a notice of each change; `None` for one that is not known, or ended long ago.
    pub fn progress(&self, id: BackfillId) -> Option<watch::Receiver<BackfillProgress>> {
        let book = self.0.book();
        let ended = || book.ended.iter().find(|ended| ended.borrow().id == id).cloned();
        book.open.get(&id).map(|open| open.progress.subscribe()).or_else(ended)
    }

    /// Ends a request; what it has brought stays. Durable on return. Says whether it was open.
    ///
    /// # Errors
    /// If that could not be stored: then it goes on.
    pub async fn cancel(&self, id: BackfillId) -> Result<bool, JournalError> {
        let inner = &*self.0;
        let _one_at_a_time = inner.storing.lock().await;
        let Some(open) = inner.book().open.remove(&id) else { return Ok(false) };
        if let Err(error) = inner.store().await {
            inner.book().open.insert(id, open);
            return Err(error);
        }
        info!(stream = %inner.stream, backfill = %id, "backfill cancelled");
        let mut book = inner.book();
        book.open.insert(id, open);
        book.end(id, BackfillState::Cancelled);
        drop(book);
        inner.changed.notify_one();
        Ok(true)
    }

    /// All that are open, and those that ended lately, by number.
    pub fn list(&self) -> Vec<BackfillProgress> {
        let book = self.0.book();
        let mut all: Vec<_> = book.ended.iter().map(|ended| *ended.borrow()).collect();
        all.extend(book.open.values().map(|open| *open.progress.borrow()));
        all.sort_by_key(|progress| progress.id);
        all
    }

    /// Waits for a change of what is wanted.
    pub(super) async fn changed(&self) {
        self.0.changed.notified().await;
    }

    /// All time that was asked for, open or done.
    pub(super) fn wanted(&self) -> Vec<TimeRange> {
        let book = self.0.book();
        book.kept.iter().copied().chain(book.open.values().map(|open| open.progress.borrow().range)).collect()
    }

    /// Counts new events for the requests in whose ranges they lie.
    pub(super) fn collected(&self, times: impl Iterator<Item = Timestamp> + Clone) {
        for open in self.0.book().open.values() {
            let range = open.progress.borrow().range;
            let inside = times.clone().filter(|time| range.contains(*time)).count() as u64;
            if inside > 0 {
                open.progress.send_modify(|progress| progress.events += inside);
            }
        }
    }

    /// Brings every progress up to date, and ends what is through. What could not be stored is stored with the next change.
    pub(super) async fn refresh(&self, coverage: &Coverage, cliff: Timestamp) {
        let inner = &*self.0;
        let through = inner.book().refresh(coverage, cliff);
        if through.is_empty() {
            return;
        }
        let _one_at_a_time = inner.storing.lock().await;
        for (id, state) in through {
            info!(stream = %inner.stream, backfill = %id, ?state, "backfill ended");
            inner.book().end(id, state);
        }
        if let Err(error) = inner.store().await {
            error!(stream = %inner.stream, %error, "failed to store that a backfill has ended; after a restart it is looked at once more");
        }
    }
}

impl Inner {
    fn book(&self) -> MutexGuard<'_, Book> {
        // Every entry stands for itself: a panic of another holder has left nothing half done.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self, range: TimeRange, missing: Duration, reach: Reach) -> Result<BackfillId, RequestError> {
        let mut book = self.book();
        if book.open.len() >= OPEN_MAX {
            return Err(RequestError::TooMany(OPEN_MAX));
        }
        book.next_id += 1;
        let id = BackfillId(book.next_id);
        book.open.insert(id, Open::at_its_start(id, range, missing, missing, reach));
        Ok(id)
    }

    async fn store(&self) -> Result<(), JournalError> {
        let stored = self.book().to_stored();
        // Numbers and ranges are always JSON.
        let value = serde_json::to_vec(&stored).unwrap_or_default();
        self.journal.put_state(&key(&self.stream), value).await
    }
}

impl Open {
    fn at_its_start(id: BackfillId, range: TimeRange, missing_at_start: Duration, missing_now: Duration, reach: Reach) -> Self {
        let progress = BackfillProgress { id, range, missing_at_start, missing_now, events: 0, state: BackfillState::Running };
        Self { progress: watch::Sender::new(progress), reach }
    }
}

impl Book {
    fn from_stored(stored: Stored, stream: &StreamId, journal: &Arc<dyn Journal>) -> Self {
        let coverage = journal.coverage(stream);
        let open = stored.open.into_iter().map(|request| {
            let missing = coverage.as_ref().map_or(request.range.length(), |coverage| missing_length(coverage, request.range));
            let at_start = Duration::from_micros(request.missing_at_start_micros);
            (request.id, Open::at_its_start(request.id, request.range, at_start, missing, request.reach))
        });
        Self { next_id: stored.next_id, open: open.collect(), ended: VecDeque::new(), kept: stored.kept }
    }

    fn to_stored(&self) -> Stored {
        let open = self.open.values().map(|open| {
            let BackfillProgress { id, range, missing_at_start, .. } = *open.progress.borrow();
            StoredRequest {
                id,
                range,
                missing_at_start_micros: u64::try_from(missing_at_start.as_micros()).unwrap_or(u64::MAX),
                reach: open.reach,
            }
        });
        Stored { version: VERSION, next_id: self.next_id, open: open.collect(), kept: self.kept.clone() }
    }

    fn refresh(&mut self, coverage: &Coverage, cliff: Timestamp) -> Vec<(BackfillId, BackfillState)> {
        self.kept.retain(|range| range.to() > cliff);
        let mut through = Vec::new();
        for (id, open) in &self.open {
            let range = open.progress.borrow().range;
            let reachable = TimeRange::new(range.from().max(cliff), range.to());
            let meant = reachable.filter(|_| open.reach == Reach::Retention).unwrap_or(range);
            let missing = missing_length(coverage, meant);
            open.progress.send_if_modified(|progress| std::mem::replace(&mut progress.missing_now, missing) != missing);
            if missing.is_zero() {
                through.push((*id, BackfillState::Done));
            } else if reachable.is_none_or(|range| missing_length(coverage, range).is_zero()) {
                through.push((*id, BackfillState::Partly));
            }
        }
        through
    }

    fn end(&mut self, id: BackfillId, state: BackfillState) {
        let Some(open) = self.open.remove(&id) else { return };
        open.progress.send_modify(|progress| progress.state = state);
        if state != BackfillState::Cancelled {
            let range = open.progress.borrow().range;
            self.kept = merged(self.kept.iter().copied().chain([range]));
        }
        self.ended.push_back(open.progress.subscribe());
        if self.ended.len() > ENDED_MAX {
            self.ended.pop_front();
        }
    }
}

impl fmt::Debug for BackfillRequests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BackfillRequests").field(&self.0.stream).field(&*self.0.book()).finish()
    }
}

fn key(stream: &StreamId) -> String {
    format!("source/backfill/{stream}")
}

/// What is stored; what cannot be read is named and left behind.
fn stored(stream: &StreamId, journal: &Arc<dyn Journal>) -> Option<Stored> {
    let bytes = journal.state(&key(stream))?;
    match serde_json::from_slice::<Stored>(&bytes) {
        Ok(stored) if stored.version == VERSION => Some(stored),
        Ok(Stored { version, .. }) => {
            error!(%stream, version, "the open backfills were stored by another version of miro-siem and are forgotten; ask for them again");
            None
        }
        Err(error) => {
            error!(%stream, %error, "the open backfills cannot be read and are forgotten; ask for them again");
            None
        }
    }
}

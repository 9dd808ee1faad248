//! What the writer publishes and everybody else reads: the segments, the ledger, the counts. Only what is durable is in here.

use std::{
    collections::{BTreeMap, VecDeque},
    fs::File,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::sync::watch;

use super::{
    index::{Index, IndexEntry, Remaining, Summary},
    ledger::Ledger,
    segment::{Left, Segment, SegmentName},
};
use crate::{
    event::{Position, StreamId, Timestamp},
    journal::Stats,
};

/// The published state.
#[derive(Debug)]
pub(super) struct View {
    /// Complete segments, oldest first.
    pub(super) sealed: VecDeque<Arc<Segment>>,
    pub(super) active: ActiveView,
    pub(super) ledger: Ledger,
    pub(super) quarantined: u64,
}

/// The segment that is being written, as far as it is durable.
#[derive(Debug)]
pub(super) struct ActiveView {
    pub(super) name: SegmentName,
    pub(super) file: Arc<File>,
    pub(super) bytes: u64,
    pub(super) index: Index,
    pub(super) events: u64,
}

/// Where the next events of a stream are.
#[derive(Clone, Debug)]
pub(super) enum Located {
    /// In the active segment, in that record.
    Active { name: SegmentName, file: Arc<File>, entry: IndexEntry },
    /// In a complete segment; its index knows the record.
    Sealed(Arc<Segment>),
    /// Nowhere: the stream has no event after that position.
    Nowhere,
}

impl View {
    pub(super) fn head(&self) -> Position {
        Position(self.ledger.next_position.saturating_sub(1))
    }

    /// Bytes of all segments.
    pub(super) fn bytes(&self) -> u64 {
        self.sealed.iter().map(|segment| segment.bytes).sum::<u64>() + self.active.bytes
    }

    pub(super) fn events(&self) -> u64 {
        self.sealed.iter().map(|segment| segment.events()).sum::<u64>() + self.active.events
    }

    pub(super) fn locate(&self, stream: &StreamId, after: Position) -> Located {
        let start = self.sealed.partition_point(|segment| segment.next_position <= after.0 + 1);
        let holds = |segment: &&Arc<Segment>| segment.remaining(stream, after) != Left::Nothing;
        if let Some(segment) = self.sealed.range(start..).find(holds) {
            return Located::Sealed(segment.clone());
        }
        match self.active.index.find(stream, after.0) {
            Some(entry) => Located::Active { name: self.active.name, file: self.active.file.clone(), entry },
            None => Located::Nowhere,
        }
    }

    /// What is left of a stream after a position, and the segment whose index has to tell the rest.
    pub(super) fn remaining(&self, stream: &StreamId, after: Position) -> (Remaining, Option<Arc<Segment>>) {
        let (mut total, mut partly) = (Remaining::default(), None);
        for segment in &self.sealed {
            match segment.remaining(stream, after) {
                Left::Nothing => {}
                Left::Known(known) => total = joined(total, known),
                Left::Partly => partly = Some(segment.clone()),
            }
        }
        (joined(total, self.active.index.remaining(stream, after.0)), partly)
    }

    /// How many of the oldest segments every subscriber has done with. Without any subscription nothing is: nobody can say then
    /// what is still wanted. A stream that no sink has subscribed to, while others are, is wanted by nobody.
    pub(super) fn settled_segments(&self) -> usize {
        self.sealed.iter().take_while(|segment| self.settled(&segment.streams)).count()
    }

    /// Whether every subscriber has done with all that is summarised.
    pub(super) fn settled(&self, summaries: &[Summary]) -> bool {
        let done = |summary: &Summary| {
            self.ledger.acks.iter().filter(|((_, stream), _)| *stream == summary.stream).all(|(_, acked)| *acked >= summary.last)
        };
        !self.ledger.acks.is_empty() && summaries.iter().all(done)
    }

    pub(super) fn stats(&self, bytes_max: u64) -> Stats {
        Stats { bytes: self.bytes(), bytes_max, events: self.events(), head: self.head(), quarantined_records: self.quarantined }
    }
}

/// The older one first: its oldest page is the oldest of both.
pub(super) fn joined(older: Remaining, newer: Remaining) -> Remaining {
    Remaining { events: older.events + newer.events, oldest: older.oldest.or(newer.oldest) }
}

/// What the writer, the readers and the handle share.
#[derive(Debug)]
pub(super) struct Shared {
    view: RwLock<View>,
    pub(super) head: watch::Sender<Position>,
    pub(super) dir: PathBuf,
    pub(super) log_dir: PathBuf,
    pub(super) bytes_max: u64,
    closed: AtomicBool,
    /// The oldest event time whose ids are needed, by stream, as the collection has named it in this process.
    needed_ids: Mutex<BTreeMap<StreamId, Timestamp>>,
}

impl Shared {
    pub(super) fn new(view: View, dir: PathBuf, log_dir: PathBuf, bytes_max: u64) -> Self {
        let head = watch::Sender::new(view.head());
        Self { view: RwLock::new(view), head, dir, log_dir, bytes_max, closed: AtomicBool::new(false), needed_ids: Mutex::default() }
    }

    /// The view for reading. A writer that panicked has left it whole: it is changed only after everything that can fail.
    pub(super) fn view(&self) -> RwLockReadGuard<'_, View> {
        self.view.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The view for changing; only the writer does.
    pub(super) fn view_mut(&self) -> RwLockWriteGuard<'_, View> {
        self.view.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn keep_ids(&self, stream: &StreamId, from: Timestamp) {
        self.needed_ids.lock().unwrap_or_else(PoisonError::into_inner).insert(stream.clone(), from);
    }

    pub(super) fn needed_ids(&self, stream: &StreamId) -> Option<Timestamp> {
        self.needed_ids.lock().unwrap_or_else(PoisonError::into_inner).get(stream).copied()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }
}

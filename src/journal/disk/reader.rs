//! Reading: any number of readers, each at its own position, none of them known to the journal.
//!
//! A chunk is cut out of one decompressed page without copying. The last few pages are kept, so that sinks which read side by side,
//! or in small chunks, decompress each page once. What is kept answers on the caller's own thread; anything that needs the disk
//! goes to a thread where waiting is allowed, since a disk may take its time and the runtime's threads must not.

use std::{
    collections::{HashMap, VecDeque},
    fs::File,
    io,
    os::unix::fs::FileExt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc::SyncSender},
};

use tokio::sync::oneshot;

use super::{
    examine::examine,
    index::{Index, IndexEntry, Remaining},
    ledger::Ledger,
    lock::failed,
    page::Page,
    record::{HEADER_BYTES, Header, Kind},
    scan::ScanError,
    segment::{IndexAt, Segment, SegmentName, read_index},
    view::{Located, Shared, joined},
    writer::{Command, Queued},
};
use crate::{
    event::{Position, SinkName, StreamId},
    journal::{Backlog, Chunk, JournalError, Read},
};

/// Pages that are kept decompressed.
const PAGES_MAX: usize = 4;

/// Together they are no larger than this, apart from the newest.
const PAGES_BYTES_MAX: usize = 4 << 20;

/// Indexes of complete segments that are kept, each at most 640 KiB.
const INDEXES_MAX: usize = 8;

/// Files that are kept open.
const FILES_MAX: usize = 16;

/// A disk that fails to read the same record so often in a row has lost it.
const IO_FAILURES_MAX: u32 = 3;

/// Why a record cannot be read.
#[derive(Debug)]
pub(super) enum Unreadable {
    Damaged(&'static str),
    Io(io::Error),
}

/// Whether a read may wait for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Only what is in memory.
    Memory,
    /// Anything; may block.
    Disk,
}

/// A few things, the most recently used last.
#[derive(Debug)]
struct Recent<K, V>(VecDeque<(K, V)>);

impl<K: PartialEq, V: Clone> Recent<K, V> {
    fn new() -> Self {
        Self(VecDeque::new())
    }

    fn get(&mut self, key: &K) -> Option<V> {
        let at = self.0.iter().position(|(held, _)| held == key)?;
        let entry = self.0.remove(at)?;
        let value = entry.1.clone();
        self.0.push_back(entry);
        Some(value)
    }

    fn put(&mut self, key: K, value: V, fits: impl Fn(&VecDeque<(K, V)>) -> bool) {
        self.0.retain(|(held, _)| *held != key);
        self.0.push_back((key, value));
        while self.0.len() > 1 && !fits(&self.0) {
            self.0.pop_front();
        }
    }
}

/// What is left of one segment for one sink and stream, as long as the sink does not move.
#[derive(Clone, Copy, Debug)]
struct Partial {
    acked: Position,
    remaining: Remaining,
}

/// Reads for everybody.
#[derive(Debug)]
pub(super) struct Reader {
    shared: Arc<Shared>,
    /// `None` once the journal is closed.
    writer: Mutex<Option<SyncSender<Queued>>>,
    pages: Mutex<Recent<u64, Arc<Page>>>,
    indexes: Mutex<Recent<SegmentName, Arc<Index>>>,
    files: Mutex<Recent<SegmentName, Arc<File>>>,
    partials: Mutex<HashMap<(SinkName, StreamId), Partial>>,
    /// The record that the disk failed to read last, and how often in a row.
    failing: Mutex<(u64, u32)>,
}

/// A record that holds the next events, and the file that it is in.
struct Next {
    name: SegmentName,
    entry: IndexEntry,
    /// Present for the active segment.
    file: Option<Arc<File>>,
    lost: bool,
}

/// What a step of reading came to.
enum Step<T> {
    Done(T),
    /// The disk is needed, and the caller must not wait for it.
    NeedsDisk,
}

impl Reader {
    pub(super) fn new(shared: Arc<Shared>, writer: SyncSender<Queued>) -> Self {
        Self {
            shared,
            writer: Mutex::new(Some(writer)),
            pages: Mutex::new(Recent::new()),
            indexes: Mutex::new(Recent::new()),
            files: Mutex::new(Recent::new()),
            partials: Mutex::new(HashMap::new()),
            failing: Mutex::new((0, 0)),
        }
    }

    /// Lets go of the writer's queue.
    pub(super) fn disconnect(&self) {
        *locked(&self.writer) = None;
    }

    /// Reads a chunk; `None` where that needs the disk and the access does not allow it.
    pub(super) fn read(&self, read: &Read, access: Access) -> Result<Option<Chunk>, JournalError> {
        let head = self.shared.view().head();
        let mut gathered = Gathered::default();
        let mut after = read.after;
        if read.events_max == 0 {
            return Ok(Some(Chunk { events: Vec::new(), up_to: after }));
        }
        loop {
            let next = match self.next(&read.stream, after, access)? {
                Step::NeedsDisk => return Ok(None),
                Step::Done(None) => return Ok(Some(gathered.chunk(head.max(after)))),
                Step::Done(Some(next)) => next,
            };
            let last = Position(next.entry.last_position());
            if next.lost {
                after = last;
                continue;
            }
            match self.page(&next, &read.stream, access)? {
                Step::NeedsDisk => return Ok(None),
                // Set aside meanwhile: the next look finds it lost.
                Step::Done(None) => {}
                Step::Done(Some(page)) => {
                    let first = (after.0 + 1).saturating_sub(next.entry.first_position);
                    if let Some(full_at) = gathered.take(&page, first, read) {
                        return Ok(Some(gathered.chunk(full_at)));
                    }
                    after = last;
                }
            }
        }
    }

    fn next(&self, stream: &StreamId, after: Position, access: Access) -> Result<Step<Option<Next>>, JournalError> {
        loop {
            let (located, lost) = {
                let view = self.shared.view();
                let located = view.locate(stream, after);
                let lost = matches!(&located, Located::Active { entry, .. } if view.ledger.lost.contains(entry.sequence));
                (located, lost)
            };
            let segment = match located {
                Located::Nowhere => return Ok(Step::Done(None)),
                Located::Active { name, file, entry } => return Ok(Step::Done(Some(Next { name, entry, file: Some(file), lost }))),
                Located::Sealed(segment) => segment,
            };
            let index = match self.index(&segment, access) {
                Ok(Some(index)) => index,
                Ok(None) => return Ok(Step::NeedsDisk),
                // Everybody was done with the segment between the look and now.
                Err(_) if self.is_deleted(segment.name) => continue,
                Err(error) => return Err(error),
            };
            let Some(entry) = index.find(stream, after.0) else {
                let problem = "its index does not hold what its seal says".to_owned();
                return Err(JournalError::Corrupt { path: segment.name.path(&self.shared.log_dir).display().to_string(), problem });
            };
            let lost = self.shared.view().ledger.lost.contains(entry.sequence);
            return Ok(Step::Done(Some(Next { name: segment.name, entry, file: None, lost })));
        }
    }

    fn page(&self, next: &Next, stream: &StreamId, access: Access) -> Result<Step<Option<Arc<Page>>>, JournalError> {
        if let Some(page) = locked(&self.pages).get(&next.entry.sequence) {
            return Ok(Step::Done(Some(page)));
        }
        if access == Access::Memory {
            return Ok(Step::NeedsDisk);
        }
        let file = match next.file.clone().map_or_else(|| self.file(next.name), Ok) {
            Err(_) if self.is_deleted(next.name) => return Ok(Step::Done(None)),
            file => file?,
        };
        match read_page(&file, &next.entry) {
            Ok(page) => {
                let page = Arc::new(page);
                let small = |pages: &VecDeque<(u64, Arc<Page>)>| {
                    pages.len() <= PAGES_MAX && pages.iter().map(|(_, page)| page.bytes()).sum::<usize>() <= PAGES_BYTES_MAX
                };
                locked(&self.pages).put(next.entry.sequence, page.clone(), small);
                Ok(Step::Done(Some(page)))
            }
            Err(Unreadable::Io(source)) if !self.has_failed_too_often(next.entry.sequence) => {
                Err(failed("read", &next.name.path(&self.shared.log_dir))(source))
            }
            Err(_) => self.report(next, stream).map(|()| Step::Done(None)),
        }
    }

    /// Asks the writer to set a damaged record aside, and waits until that is durable. One at a time: the queue has one place for it.
    fn report(&self, next: &Next, stream: &StreamId) -> Result<(), JournalError> {
        let (reply, answer) = oneshot::channel();
        let command = Command::Damaged { segment: next.name, entry: next.entry, stream: stream.clone(), reply };
        let writer = locked(&self.writer);
        writer.as_ref().ok_or(JournalError::Closed)?.send(Queued { command, _place: None }).map_err(|_| JournalError::Closed)?;
        answer.blocking_recv().map_err(|_| JournalError::Closed)?
    }

    fn has_failed_too_often(&self, sequence: u64) -> bool {
        let mut failing = locked(&self.failing);
        *failing = (sequence, if failing.0 == sequence { failing.1 + 1 } else { 1 });
        failing.1 > IO_FAILURES_MAX
    }

    fn is_deleted(&self, name: SegmentName) -> bool {
        let view = self.shared.view();
        view.active.name != name && view.sealed.iter().all(|segment| segment.name != name)
    }

    fn file(&self, name: SegmentName) -> Result<Arc<File>, JournalError> {
        if let Some(file) = locked(&self.files).get(&name) {
            return Ok(file);
        }
        let path = name.path(&self.shared.log_dir);
        let file = Arc::new(File::open(&path).map_err(failed("open", &path))?);
        locked(&self.files).put(name, file.clone(), |files| files.len() <= FILES_MAX);
        Ok(file)
    }

    fn index(&self, segment: &Segment, access: Access) -> Result<Option<Arc<Index>>, JournalError> {
        let offset = match &segment.index {
            IndexAt::Memory(index) => return Ok(Some(index.clone())),
            IndexAt::Seal(offset) => *offset,
        };
        if let Some(index) = locked(&self.indexes).get(&segment.name) {
            return Ok(Some(index));
        }
        if access == Access::Memory {
            return Ok(None);
        }
        let path = segment.name.path(&self.shared.log_dir);
        let file = self.file(segment.name)?;
        let stored = read_index(&file, offset).map_err(failed("read the index of", &path))?;
        let index = Arc::new(stored.map_or_else(|| index_again(&file, segment), Ok)?);
        locked(&self.indexes).put(segment.name, index.clone(), |indexes| indexes.len() <= INDEXES_MAX);
        Ok(Some(index))
    }

    /// What a sink has yet to acknowledge. Cheap while the sink stands still; after each of its steps an index is looked at once.
    pub(super) fn backlog(&self, sink: &SinkName, stream: &StreamId) -> Backlog {
        let key = (sink.clone(), stream.clone());
        let (acked, (known, partly)) = {
            let view = self.shared.view();
            let Some(acked) = view.ledger.acks.get(&key).copied() else { return Backlog::default() };
            (acked, view.remaining(stream, acked))
        };
        let partial = partly.map_or_else(Remaining::default, |segment| self.partial(key, acked, &segment, stream));
        let remaining = joined(partial, known);
        Backlog { events: remaining.events, oldest_collected_at: remaining.oldest }
    }

    fn partial(&self, key: (SinkName, StreamId), acked: Position, segment: &Segment, stream: &StreamId) -> Remaining {
        if let Some(partial) = locked(&self.partials).get(&key).filter(|partial| partial.acked == acked) {
            return partial.remaining;
        }
        // An index that cannot be read makes the number an upper bound; reading the events will say what is wrong.
        let at_most = segment
            .summary(stream)
            .map_or_else(Remaining::default, |all| Remaining { events: all.last.0 - acked.0, oldest: Some(all.collected_at) });
        let remaining = match self.index(segment, Access::Disk) {
            Ok(Some(index)) => index.remaining(stream, acked.0),
            _ => at_most,
        };
        locked(&self.partials).insert(key, Partial { acked, remaining });
        remaining
    }
}

/// Events gathered for a chunk.
#[derive(Default)]
struct Gathered {
    events: Vec<crate::event::Event>,
    bytes: usize,
}

impl Gathered {
    /// Takes events from `first` on; returns the last taken position once there is no room for the next.
    fn take(&mut self, page: &Page, first: u64, read: &Read) -> Option<Position> {
        let first = usize::try_from(first).unwrap_or(usize::MAX);
        self.events.reserve(page.len().saturating_sub(first).min(read.events_max.saturating_sub(self.events.len())));
        for index in first..page.len() {
            let size = page.raw_len(index);
            let full = self.events.len() >= read.events_max || (!self.events.is_empty() && self.bytes + size > read.bytes_max);
            if let (true, Some(last)) = (full, self.events.last()) {
                return Some(last.position);
            }
            self.bytes += size;
            self.events.extend(page.event(index));
        }
        self.events.last().map(|event| event.position).filter(|_| self.events.len() >= read.events_max)
    }

    fn chunk(self, up_to: Position) -> Chunk {
        Chunk { events: self.events, up_to }
    }
}

/// Reads a page record and checks all that can be checked.
pub(super) fn read_page(file: &File, entry: &IndexEntry) -> Result<Page, Unreadable> {
    let mut bytes = vec![0; entry.len as usize];
    file.read_exact_at(&mut bytes, u64::from(entry.offset)).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => Unreadable::Damaged("the file ends before it"),
        _ => Unreadable::Io(error),
    })?;
    let expected = |header: &Header| {
        header.kind == Kind::Page
            && (header.sequence, header.first_position, header.count) == (entry.sequence, entry.first_position, entry.count)
            && header.total_len() == u64::from(entry.len)
    };
    let header = Header::decode(&bytes).ok().filter(expected).ok_or(Unreadable::Damaged("its header is damaged"))?;
    let body = header.sections(&bytes[HEADER_BYTES..]).body.ok_or(Unreadable::Damaged("the checksum of its events is wrong"))?;
    let page = Page::decode(&header, body).map_err(|problem| Unreadable::Damaged(problem.0))?;
    if page.len() == entry.count as usize { Ok(page) } else { Err(Unreadable::Damaged("it has fewer events than it says")) }
}

/// Makes the index anew from the records, where the stored one is damaged.
fn index_again(file: &File, segment: &Segment) -> Result<Index, JournalError> {
    let corrupt = |problem: String| JournalError::Corrupt { path: segment.name.to_string(), problem };
    match examine(file, segment.name, segment.last_sequence + 1, &mut Ledger::default()) {
        Ok(examined) => Ok(examined.index),
        Err(ScanError::Io(error)) => Err(corrupt(error.to_string())),
        Err(ScanError::Newer(version)) => Err(corrupt(format!("it holds a record of version {version}"))),
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

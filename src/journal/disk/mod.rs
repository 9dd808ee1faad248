//! The journal on one machine's disk.
//!
//! ```text
//! <state dir>/
//!   lock                        held by the one process that uses the directory; its pid is in it
//!   journal/<position>-<record>.seg    the log: append-only segments of records, one record for each commit
//!   checkpoints/                sled: coverage, acknowledgements, small state; a copy, rebuilt from the log when it is not right
//!   seen/<org>/<stream>/<day>.ids      the ids of committed events, by event hour
//!   tallies/<org>/<stream>/<month>.tallies    what was collected in each hour of event time, see [`crate::journal::proof`]
//!   quarantine/                 what was damaged, for somebody to look at
//! ```
//!
//! # What it promises
//!
//! What [`Journal`] promises. Beyond that: memory does not grow with the backlog, a full disk is survived in place and works again
//! once there is room, and opening reads a few hundred bytes of each complete segment, not the segments.
//!
//! Segments are deleted whole, oldest first, when every subscriber of every stream in them has acknowledged past them. While nobody
//! at all is subscribed nothing is deleted. A stream that no sink is subscribed to, while other streams have subscribers, is kept for
//! nobody. The newest segment is never deleted, and each begins with a snapshot: together they let everything be rebuilt.
//!
//! # What it does not do
//!
//! It does not share a directory between processes or machines, and it does not compact: a segment goes as a whole or stays.
//!
//! # On a crash
//!
//! `recovery` says what happens. Nothing that was reported as committed is lost. Acknowledgements of the last moments may go
//! back after a power cut, never after a mere crash, and lead to a redelivery. A record that turns out to be damaged, then or later,
//! is set aside, named in a log line, and what it proved is taken out of the coverage so that it is collected again.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use futures_util::future::BoxFuture;
use tokio::sync::{Semaphore, oneshot, watch};
use tracing::info;

pub(crate) use fuzz::{fuzz_record, fuzz_state, record_seeds, state_seeds};
pub use inspect::Inspection;
pub use storage::{Disk, Storage};

use self::{
    lock::{Lock, Paths, failed},
    log::{Limits, Log},
    page::PageEncoder,
    reader::{Access, Reader},
    recovery::recover,
    view::Shared,
    writer::{Batch, Command, Due, Queued, Reply, Trouble, Writer},
};
use super::{Backlog, Chunk, Commit, Committed, Journal, JournalError, Options, Read, Stats};
use crate::{
    coverage::Coverage,
    event::{Position, SinkName, StreamId, Timestamp},
};

mod checkpoint;
mod codec;
mod commit;
mod damage;
mod dirs;
mod examine;
mod fuzz;
mod idfile;
mod index;
mod inspect;
mod keeper;
mod ledger;
mod lock;
mod log;
mod named;
mod page;
mod prove;
mod quarantine;
mod reader;
mod record;
mod recount;
mod recovery;
mod scan;
mod seen;
mod segment;
mod sequences;
mod storage;
mod survey;
mod tallies;
mod tally;
mod tallyfile;
mod view;
mod writer;

/// So many commands wait for the writer at most; who comes later waits to be let in.
const QUEUE_MAX: usize = 64;

/// Inner measures, with defaults that fit. Tests make them small.
#[derive(Clone, Debug)]
pub struct Tuning {
    /// The size of a segment, in bytes, from which on a new one is begun. Never more than a quarter of the journal's size limit.
    pub segment_bytes: u64,
    /// The number of records from which on a new segment is begun.
    pub segment_records: u32,
    /// So many ids are in memory at most, apart from those of the hours in use; 16 bytes each, and about as much again.
    pub ids_in_memory: usize,
    /// How long what has changed may wait for its place in the checkpoint store. The log has it already; what this bounds is how
    /// much could vanish from the end of the log, by damage and not by a crash, without being missed.
    pub checkpoint_after: Duration,
    /// What does the writing.
    pub storage: Arc<dyn Storage>,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            segment_bytes: 32 << 20,
            segment_records: 16_384,
            ids_in_memory: 262_144,
            checkpoint_after: Duration::from_secs(1),
            storage: Arc::new(Disk),
        }
    }
}

/// The journal on disk.
pub struct DiskJournal {
    shared: Arc<Shared>,
    reader: Arc<Reader>,
    queue: Mutex<Option<mpsc::SyncSender<Queued>>>,
    places: Arc<Semaphore>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl DiskJournal {
    /// Opens the journal in a state directory, creating it where there is none, and recovers what has to be recovered. Blocks.
    pub fn open(options: Options) -> Result<Self, JournalError> {
        Self::open_tuned(options, Tuning::default())
    }

    /// The same with other inner measures.
    pub fn open_tuned(options: Options, tuning: Tuning) -> Result<Self, JournalError> {
        let began = Instant::now();
        let paths = Paths::new(&options.dir);
        paths.create()?;
        let lock = Lock::take(&options.dir)?;
        let recovered = recover(&paths, &options, &tuning)?;
        let shared = Arc::new(Shared::new(recovered.view, options.dir.clone(), paths.log.clone(), options.bytes_max));
        let stats = shared.view().stats(options.bytes_max);
        let writer = Writer {
            shared: shared.clone(),
            log: Log {
                storage: tuning.storage.clone(),
                paths: paths.clone(),
                active: recovered.active,
                limits: Limits { segment_bytes: tuning.segment_bytes.min(options.bytes_max / 4), segment_records: tuning.segment_records },
            },
            seen: recovered.seen,
            tallies: recovered.tallies,
            store: recovered.store,
            store_is_whole: false,
            encoder: PageEncoder::new().map_err(failed("set up compression for", &paths.log))?,
            makers: HashMap::new(),
            batch: Batch::default(),
            due: Due::default(),
            ids_reach: options.ids_reach,
            checkpoint_after: tuning.checkpoint_after,
            save_trouble: Trouble::default(),
            ids_trouble: Trouble::default(),
            tally_trouble: Trouble::default(),
            newcomers_start: recovered.newcomers_start,
            lock: Some(lock),
        };
        info!(
            path = %options.dir.display(), bytes = stats.bytes, events = stats.events, head = stats.head.0,
            quarantined_records = stats.quarantined_records, took = ?began.elapsed(), "the journal is open"
        );
        Self::start(shared, writer, &paths)
    }

    fn start(shared: Arc<Shared>, mut writer: Writer, paths: &Paths) -> Result<Self, JournalError> {
        writer.reset_batch();
        writer.save_or_warn(&ledger::Acks::new());
        writer.trim();
        // One more than there are places: the readers, who take turns, need none. So nobody ever waits to send.
        let (queue, commands) = mpsc::sync_channel(QUEUE_MAX + 1);
        let thread = std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || writer.run(&commands))
            .map_err(failed("start the thread that writes to", &paths.log))?;
        Ok(Self {
            reader: Arc::new(Reader::new(shared.clone(), queue.clone())),
            shared,
            queue: Mutex::new(Some(queue)),
            places: Arc::new(Semaphore::new(QUEUE_MAX)),
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Puts a command into the queue once there is a place, and waits for the answer.
    async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, JournalError> {
        let place = self.places.clone().acquire_owned().await.map_err(|_| JournalError::Closed)?;
        let (reply, answer) = oneshot::channel();
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let queued = Queued { command: command(reply), _place: Some(place) };
        queue.ok_or(JournalError::Closed)?.send(queued).map_err(|_| JournalError::Closed)?;
        answer.await.map_err(|_| self.unanswered())?
    }

    /// The writer lets go of a question only when it has been closed, or when it has panicked over it.
    fn unanswered(&self) -> JournalError {
        if self.shared.is_closed() {
            return JournalError::Closed;
        }
        let path = self.shared.dir.display().to_string();
        JournalError::Io { action: "write to", path, source: std::io::Error::other("the writer failed over it; it was taken back") }
    }
}

impl DiskJournal {
    /// Who is no longer named is forgotten with what it has not taken: the operator has decided that, and reads what it costs.
    fn warn_of_forgotten(&self, subscriptions: &[(SinkName, StreamId)]) {
        let gone: Vec<_> = self.shared.view().ledger.acks.keys().filter(|key| !subscriptions.contains(key)).cloned().collect();
        for (sink, stream) in gone {
            let undelivered = self.reader.backlog(&sink, &stream).events;
            if undelivered > 0 {
                tracing::warn!(
                    %sink, %stream, undelivered,
                    "sink or stream is no longer configured; events that it has not taken are given up"
                );
            }
        }
    }
}

impl Journal for DiskJournal {
    fn commit(&self, commit: Commit) -> BoxFuture<'_, Result<Committed, JournalError>> {
        Box::pin(self.ask(|reply| Command::Commit { commit, reply }))
    }

    fn coverage(&self, stream: &StreamId) -> Option<Coverage> {
        self.shared.view().ledger.coverage.get(stream).cloned()
    }

    fn read(&self, read: Read) -> BoxFuture<'_, Result<Chunk, JournalError>> {
        Box::pin(async move {
            if self.shared.is_closed() {
                return Err(JournalError::Closed);
            }
            if let Some(chunk) = self.reader.read(&read, Access::Memory)? {
                return Ok(chunk);
            }
            let reader = self.reader.clone();
            let chunk = tokio::task::spawn_blocking(move || reader.read(&read, Access::Disk)).await;
            chunk.map_err(|_| self.unanswered())??.ok_or_else(|| self.unanswered())
        })
    }

    fn subscribe(&self, subscriptions: Vec<(SinkName, StreamId)>) -> BoxFuture<'_, Result<(), JournalError>> {
        self.warn_of_forgotten(&subscriptions);
        Box::pin(self.ask(|reply| Command::Subscribe { subscriptions, reply }))
    }

    fn acked(&self, sink: &SinkName, stream: &StreamId) -> Option<Position> {
        self.shared.view().ledger.acks.get(&(sink.clone(), stream.clone())).copied()
    }

    fn ack<'a>(&'a self, sink: &'a SinkName, stream: &'a StreamId, up_to: Position) -> BoxFuture<'a, Result<(), JournalError>> {
        let (sink, stream) = (sink.clone(), stream.clone());
        Box::pin(self.ask(move |reply| Command::Ack { sink, stream, up_to, reply }))
    }

    fn backlog(&self, sink: &SinkName, stream: &StreamId) -> Backlog {
        self.reader.backlog(sink, stream)
    }

    fn head(&self) -> watch::Receiver<Position> {
        self.shared.head.subscribe()
    }

    fn keep_ids(&self, stream: &StreamId, from: Timestamp) {
        self.shared.keep_ids(stream, from);
    }

    fn stats(&self) -> Stats {
        self.shared.view().stats(self.shared.bytes_max)
    }

    fn put_state<'a>(&'a self, key: &'a str, value: Vec<u8>) -> BoxFuture<'a, Result<(), JournalError>> {
        let key = key.to_owned();
        Box::pin(self.ask(move |reply| Command::PutState { key, value, reply }))
    }

    fn state(&self, key: &str) -> Option<Vec<u8>> {
        self.shared.view().ledger.state.get(key).cloned()
    }

    fn close(&self) -> BoxFuture<'_, Result<(), JournalError>> {
        Box::pin(async move {
            let closed = self.ask(|reply| Command::Close { reply }).await;
            self.shared.close();
            closed
        })
    }
}

impl Drop for DiskJournal {
    /// Lets what has begun run to its end, and the lock go: the directory can be opened again at once.
    fn drop(&mut self) {
        self.shared.close();
        *self.queue.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.reader.disconnect();
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // A writer that panicked outside of a batch has said so already.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for DiskJournal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiskJournal").field("dir", &self.shared.dir).finish_non_exhaustive()
    }
}

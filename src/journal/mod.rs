//! The durable, ordered buffer between sources and sinks, and the place where collection's checkpoint lives.
//!
//! # What it promises
//!
//! 1. A commit is one write: a page's events, its coverage change and its ids are durable together when `commit` returns, or
//!    not at all.
//! 2. An id that was committed is not committed again while its event time is not older than what [`Journal::keep_ids`] has named, or,
//!    where nothing has been named, while it is within reach of the stream's watermark.
//! 3. An entry is deleted only when every subscribed sink has acknowledged it.
//! 4. Nothing is dropped to make room: a journal at its limit refuses commits until sinks have caught up.
//! 5. Dropping a future that it returned loses nothing: a write that has begun runs to its end.
//!
//! # What it does not do
//!
//! It knows neither Miro nor receivers, does not look into events, does not wait, retry or sleep, and deletes by position, never by age.
//!
//! # On a crash
//!
//! The log decides. A checkpoint that is behind it is rolled forward, one that is ahead goes back, an empty or broken one is rebuilt.

use std::{fmt::Debug, time::Duration};

use futures_util::future::BoxFuture;
use thiserror::Error;
use tokio::sync::watch;

use crate::{
    coverage::{Coverage, OverlapError},
    event::{Event, Origin, Position, RawEvent, SinkName, StreamId, TimeRange, Timestamp},
};

pub mod disk;
pub mod proof;

pub use disk::DiskJournal;

/// One page, to be made durable as a whole.
#[derive(Debug)]
pub struct Commit {
    /// The stream that the page belongs to.
    pub stream: StreamId,
    /// When the page was received.
    pub collected_at: Timestamp,
    /// The page's events, in Miro's order, each with how it came to be collected.
    pub events: Vec<(RawEvent, Origin)>,
    /// What the page adds to the stream's coverage.
    pub coverage: CoverageChange,
}

/// What a commit does to a stream's coverage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CoverageChange {
    /// Nothing: the page lies wholly in time that is covered, or its end is not known to be complete.
    None,
    /// The stream begins here. Refused where the stream has begun already.
    Begin(Timestamp),
    /// The range is collected now. Refused without any change where it overlaps what is covered.
    Add(TimeRange),
}

/// What became of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// For each event of the commit, in order: whether it was new (`true`) or had been committed before (`false`).
    pub fresh: Vec<bool>,
    /// The position of the last event that was written, or the newest position where none was.
    pub head: Position,
    /// The stream's coverage, with the change in it.
    pub coverage: Coverage,
}

/// What to read: the events of one stream after a position, at most so many and so large.
#[derive(Clone, Debug)]
pub struct Read {
    /// The stream.
    pub stream: StreamId,
    /// Only what comes after this position.
    pub after: Position,
    /// At most so many events.
    pub events_max: usize,
    /// At most so many bytes of raw events together; a single larger event is still returned alone.
    pub bytes_max: usize,
}

/// What a read returned.
#[derive(Debug)]
pub struct Chunk {
    /// The events, in the order of their positions.
    pub events: Vec<Event>,
    /// Up to here the stream has no other events than the returned ones: where to go on reading.
    pub up_to: Position,
}

/// How full the journal is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Bytes on disk.
    pub bytes: u64,
    /// The size limit, in bytes.
    pub bytes_max: u64,
    /// Events that are still stored.
    pub events: u64,
    /// The newest position.
    pub head: Position,
    /// Records that could not be read back and were set aside since the start.
    pub quarantined_records: u64,
}

/// What one sink has not acknowledged of one stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// How many events.
    pub events: u64,
    /// When the oldest of them was collected; `None` where there is none.
    pub oldest_collected_at: Option<Timestamp>,
}

/// Why the journal could not do what it was asked to.
#[derive(Debug, Error)]
pub enum JournalError {
    /// The size limit is reached; commits are refused until sinks have acknowledged more.
    #[error(
        "the journal holds {bytes} bytes and its limit is {bytes_max}; collection waits until a sink catches up. \
         See `miro-siem status` for the sink that is behind, or raise state.journal_max"
    )]
    Full {
        /// Bytes on disk.
        bytes: u64,
        /// The limit.
        bytes_max: u64,
    },
    /// The disk is full; works again as soon as there is room.
    #[error("no space is left on the disk that holds {path}; free some, collection goes on by itself")]
    NoSpace {
        /// The state directory.
        path: String,
    },
    /// The commit claims time that is covered already.
    #[error(transparent)]
    Overlap(#[from] OverlapError),
    /// The commit adds coverage to a stream that has not begun, or begins one that has.
    #[error("the stream {stream} {problem}")]
    Sequence {
        /// The stream.
        stream: StreamId,
        /// What is out of order.
        problem: &'static str,
    },
    /// Another process uses the state directory.
    #[error(
        "{path} is in use by another miro-siem process (pid {pid}); one process owns a state directory. Stop the other one, or give this one a state.dir of its own"
    )]
    Locked {
        /// The state directory.
        path: String,
        /// The other process, as far as it is known.
        pid: String,
    },
    /// Reading or writing failed.
    #[error("failed to {action} {path}: {source}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// The file or directory.
        path: String,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// Stored data is not what was written.
    #[error("{path} is damaged: {problem}")]
    Corrupt {
        /// The file.
        path: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The checkpoint store failed; it is reopened on the next use.
    #[error("the checkpoint store failed: {problem}")]
    Checkpoint {
        /// What it said.
        problem: String,
    },
    /// The journal was closed.
    #[error("the journal is closed")]
    Closed,
}

/// The journal as the rest of the program knows it.
pub trait Journal: Send + Sync + Debug {
    /// Makes one page durable. Events whose id is known already are left out and reported as such.
    fn commit(&self, commit: Commit) -> BoxFuture<'_, Result<Committed, JournalError>>;

    /// The coverage of a stream; `None` for one that has not begun.
    fn coverage(&self, stream: &StreamId) -> Option<Coverage>;

    /// Reads events of one stream in order.
    fn read(&self, read: Read) -> BoxFuture<'_, Result<Chunk, JournalError>>;

    /// Names the sinks and streams whose acknowledgements count. New ones begin at the newest position; those no longer named are forgotten.
    fn subscribe(&self, subscriptions: Vec<(SinkName, StreamId)>) -> BoxFuture<'_, Result<(), JournalError>>;

    /// A sink's acknowledged position in a stream; `None` where it is not subscribed.
    fn acked(&self, sink: &SinkName, stream: &StreamId) -> Option<Position>;

    /// Acknowledges everything of the stream up to a position. Never moves back. Durable on return.
    fn ack<'a>(&'a self, sink: &'a SinkName, stream: &'a StreamId, up_to: Position) -> BoxFuture<'a, Result<(), JournalError>>;

    /// What a sink has yet to acknowledge.
    fn backlog(&self, sink: &SinkName, stream: &StreamId) -> Backlog;

    /// The newest position, and a notice of each newer one.
    fn head(&self) -> watch::Receiver<Position>;

    /// Names the oldest event time whose ids may still be needed: ids before it are deleted when it suits, ids after it are kept however far
    /// the watermark has moved. It holds until another is named or the journal is closed; while none is named, `ids_reach` behind the
    /// watermark decides. A journal that never forgets an id has nothing to do.
    fn keep_ids(&self, _stream: &StreamId, _from: Timestamp) {}

    /// How full it is.
    fn stats(&self) -> Stats;

    /// Small named state of other parts, durable on return. Keys are ours, values at most 64 KiB.
    fn put_state<'a>(&'a self, key: &'a str, value: Vec<u8>) -> BoxFuture<'a, Result<(), JournalError>>;

    /// What was put under that key.
    fn state(&self, key: &str) -> Option<Vec<u8>>;

    /// Finishes what has begun, flushes and lets go of the state directory.
    fn close(&self) -> BoxFuture<'_, Result<(), JournalError>>;
}

/// What the journal needs to know to open.
#[derive(Clone, Debug)]
pub struct Options {
    /// The state directory; created with mode 0700.
    pub dir: std::path::PathBuf,
    /// The size at which commits are refused, in bytes.
    pub bytes_max: u64,
    /// How far behind a stream's watermark ids are remembered, where nobody has said it more exactly.
    pub ids_reach: Duration,
}

//! The checkpoint store: coverage, acknowledgements and small state in a small sled database. The only file that names sled.
//!
//! It is a copy and never the truth, except for one thing: acknowledgements since the last snapshot are only here, and to lose
//! them costs a redelivery. What was measured of sled 0.34.7 shapes this file:
//! - Its `flush` alone does not survive a power cut on Linux (it ends in `sync_file_range`), so the file is synced as well.
//! - After any write error it refuses for ever, so it is dropped and opened again.
//! - It can come up empty or older than it was without an error, so an update number and the newest record number are kept in it.
//! - Opening a damaged database can panic, so every call into it is caught.

use std::{
    fs::{self, File, Permissions, TryLockError},
    io::ErrorKind,
    os::unix::fs::PermissionsExt,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use thiserror::Error;

use super::{
    codec::{Decoder, Encode, Malformed},
    ledger::Acks,
};
use crate::{
    coverage::Coverage,
    event::{Position, SinkName, StreamId},
};

/// The version of what is stored under all keys.
const VERSION: u8 = 1;

/// A few dozen keys do not need more.
const CACHE_BYTES: u64 = 1 << 20;

/// How long a dropped database may take to let go of its file.
const RELEASE_WITHIN: Duration = Duration::from_secs(5);

const HEAD: &[u8] = b"head";

/// Why the checkpoint store could not be used.
#[derive(Debug, Error)]
pub(super) enum CheckpointError {
    #[error("{0}")]
    Store(#[from] sled::Error),
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("it panicked: {0}")]
    Panic(String),
    #[error("it is damaged: {0}")]
    Damaged(#[from] Malformed),
    #[error("it was written by a newer version of miro-siem (format {0}, this one reads {VERSION})")]
    Newer(u8),
}

impl CheckpointError {
    fn io_kind(&self) -> Option<ErrorKind> {
        match self {
            Self::Io(error) | Self::Store(sled::Error::Io(error)) => Some(error.kind()),
            Self::Store(_) | Self::Panic(_) | Self::Damaged(_) | Self::Newer(_) => None,
        }
    }

    /// Whether the disk is full.
    pub(super) fn is_no_space(&self) -> bool {
        self.io_kind().is_some_and(|kind| matches!(kind, ErrorKind::StorageFull | ErrorKind::QuotaExceeded))
    }

    /// Whether it was the disk that failed and not the database: then the database is kept. A file that ends too early or makes no
    /// sense is the database's own fault.
    pub(super) fn is_the_disk(&self) -> bool {
        self.io_kind().is_some_and(|kind| !matches!(kind, ErrorKind::UnexpectedEof | ErrorKind::InvalidData | ErrorKind::InvalidInput))
    }
}

/// What the store holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Saved {
    pub(super) head: Head,
    pub(super) coverage: Vec<(StreamId, Coverage)>,
    pub(super) acks: Acks,
    pub(super) state: Vec<(String, Vec<u8>)>,
}

/// How far the log had got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    /// Which journal this belongs to.
    pub(super) journal: u64,
    /// Counts updates of the store.
    pub(super) update: u64,
    /// The newest record that is accounted for.
    pub(super) sequence: u64,
    /// The position that the next event will have.
    pub(super) next_position: u64,
}

/// What is to be saved. A value of `None` deletes the key.
#[derive(Clone, Debug, Default)]
pub(super) struct Changes {
    pub(super) coverage: Vec<(StreamId, Coverage)>,
    pub(super) acks: Vec<((SinkName, StreamId), Option<Position>)>,
    pub(super) state: Vec<(String, Vec<u8>)>,
}

struct Open {
    /// Always there until it is dropped.
    db: Option<sled::Db>,
    /// A handle of our own on sled's file, for the sync that sled does not do.
    file: File,
}

/// The store. Closed after a failure, until the next save opens it again.
pub(super) struct CheckpointStore {
    dir: PathBuf,
    open: Option<Open>,
    update: u64,
}

impl CheckpointStore {
    /// A store that is not open yet.
    pub(super) fn new(dir: PathBuf) -> Self {
        Self { dir, open: None, update: 0 }
    }

    /// Opens it and reads what it holds; `None` where that is nothing.
    pub(super) fn load(&mut self) -> Result<Option<Saved>, CheckpointError> {
        let open = Open::at(&self.dir)?;
        let saved = caught(|| open.read())?;
        self.update = saved.as_ref().map_or(0, |saved| saved.head.update);
        self.open = Some(open);
        Ok(saved)
    }

    /// Whether the last save worked, so that the next one may save changes only.
    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Lets go of the database.
    pub(super) fn close(&mut self) {
        self.open = None;
    }

    /// Saves changes in one batch, durable on return.
    pub(super) fn save(&mut self, head: Head, changes: &Changes) -> Result<(), CheckpointError> {
        self.write(head, changes, sled::Batch::default())
    }

    /// Saves everything and deletes what is not in it.
    pub(super) fn save_all(&mut self, head: Head, all: &Changes) -> Result<(), CheckpointError> {
        let opened = match self.open.take() {
            Some(open) => open,
            None => Open::at(&self.dir)?,
        };
        let mut batch = sled::Batch::default();
        caught(|| {
            for key in opened.db()?.iter().keys() {
                batch.remove(key?);
            }
            Ok(())
        })?;
        self.open = Some(opened);
        self.write(head, all, batch)
    }

    fn write(&mut self, mut head: Head, changes: &Changes, mut batch: sled::Batch) -> Result<(), CheckpointError> {
        self.update += 1;
        head.update = self.update;
        let Some(open) = self.open.as_ref() else { return Err(std::io::Error::other("it is not open").into()) };
        fill(&mut batch, head, changes);
        let result = caught(|| {
            open.db()?.apply_batch(batch)?;
            open.db()?.flush()?;
            Ok(open.file.sync_data()?)
        });
        if result.is_err() {
            self.close();
        }
        result
    }
}

impl Open {
    fn at(dir: &Path) -> Result<Self, CheckpointError> {
        let existed = dir.exists();
        wait_until_released(&dir.join("db"));
        let db = caught(|| {
            // No flusher thread: every save flushes, and nothing is written in between.
            Ok(sled::Config::new().path(dir).cache_capacity(CACHE_BYTES).flush_every_ms(None).open()?)
        })?;
        let path = dir.join("db");
        let file = File::open(&path)?;
        fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        if !existed {
            File::open(dir)?.sync_all()?;
            if let Some(parent) = dir.parent() {
                File::open(parent)?.sync_all()?;
            }
        }
        Ok(Self { db: Some(db), file })
    }

    fn db(&self) -> Result<&sled::Db, CheckpointError> {
        self.db.as_ref().ok_or_else(|| std::io::Error::other("it is closed").into())
    }

    fn read(&self) -> Result<Option<Saved>, CheckpointError> {
        let db = self.db()?;
        // First, because it has the version of all the others.
        let Some(head) = db.get(HEAD)? else { return Ok(None) };
        let mut saved = Saved { head: decode_head(&head)?, ..Saved::default() };
        for pair in db.iter() {
            let (key, value) = pair?;
            match decode_pair(&key, &value)? {
                Pair::Coverage(stream, coverage) => saved.coverage.push((stream, coverage)),
                Pair::Ack(key, position) => drop(saved.acks.insert(key, position)),
                Pair::State(name, value) => saved.state.push((name, value)),
                Pair::Head(head) => saved.head = head,
                Pair::Other => {}
            }
        }
        Ok(Some(saved))
    }
}

impl Drop for Open {
    /// Dropping a database flushes it, and on a damaged one that can panic as well.
    fn drop(&mut self) {
        let db = self.db.take();
        let _ = caught(move || {
            drop(db);
            Ok(())
        });
    }
}

/// sled's pool of threads may hold on to a database for a moment after it was dropped, with the lock on its file. We hold the lock
/// of the state directory, so nobody else can be meant. Past the time limit sled's own answer is as good as any.
fn wait_until_released(path: &Path) {
    let until = Instant::now() + RELEASE_WITHIN;
    while Instant::now() < until {
        match File::open(path).map(|file| file.try_lock()) {
            Ok(Err(TryLockError::WouldBlock)) => std::thread::sleep(Duration::from_millis(5)),
            _ => return,
        }
    }
}

fn fill(batch: &mut sled::Batch, head: Head, changes: &Changes) {
    let mut value = vec![VERSION];
    for number in [head.journal, head.update, head.sequence, head.next_position] {
        value.put_u64(number);
    }
    batch.insert(HEAD, value);
    for (stream, coverage) in &changes.coverage {
        let (mut key, mut value) = (vec![b'c'], Vec::new());
        key.put_stream(stream);
        value.put_coverage(coverage);
        batch.insert(key, value);
    }
    for ((sink, stream), position) in &changes.acks {
        let mut key = vec![b'a'];
        key.put_bytes(sink.as_str().as_bytes());
        key.put_stream(stream);
        match position {
            Some(position) => batch.insert(key, position.0.to_le_bytes().to_vec()),
            None => batch.remove(key),
        }
    }
    for (name, state) in &changes.state {
        let (mut key, mut value) = (vec![b's'], Vec::new());
        key.extend_from_slice(name.as_bytes());
        value.put_bytes(state);
        batch.insert(key, value);
    }
}

/// What stands under one key.
#[derive(Debug)]
pub(super) enum Pair {
    Head(Head),
    Coverage(StreamId, Coverage),
    Ack((SinkName, StreamId), Position),
    State(String, Vec<u8>),
    /// Nothing that this version knows.
    Other,
}

pub(super) fn decode_pair(key: &[u8], value: &[u8]) -> Result<Pair, CheckpointError> {
    if key == HEAD {
        return decode_head(value).map(Pair::Head);
    }
    let mut value = Decoder::new(value);
    Ok(match key.split_first() {
        Some((b'c', stream)) => Pair::Coverage(Decoder::new(stream).stream()?, value.coverage()?),
        Some((b'a', names)) => {
            let mut names = Decoder::new(names);
            Pair::Ack((SinkName::new(names.str()?), names.stream()?), Position(value.u64()?))
        }
        Some((b's', name)) => {
            let name = std::str::from_utf8(name).map_err(|_| Malformed("a key is not UTF-8"))?;
            Pair::State(name.to_owned(), value.bytes()?.to_vec())
        }
        _ => Pair::Other,
    })
}

fn decode_head(bytes: &[u8]) -> Result<Head, CheckpointError> {
    let mut from = Decoder::new(bytes);
    let version = from.u8()?;
    if version != VERSION {
        return Err(CheckpointError::Newer(version));
    }
    let head = Head { journal: from.u64()?, update: from.u64()?, sequence: from.u64()?, next_position: from.u64()? };
    from.end()?;
    Ok(head)
}

/// Runs a call into sled and turns a panic into an error.
fn caught<T>(call: impl FnOnce() -> Result<T, CheckpointError>) -> Result<T, CheckpointError> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
        Err(CheckpointError::Panic(text.unwrap_or("without a word").to_owned()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{OrgName, StreamKind, TimeRange, Timestamp};

    fn stream() -> StreamId {
        StreamId::new(OrgName::new("acme/eu"), StreamKind::Audit)
    }

    fn changes() -> Changes {
        let mut coverage = Coverage::starting_at(Timestamp::from_micros(3));
        let range = TimeRange::new(Timestamp::from_micros(3), Timestamp::from_micros(9)).expect("from <= to");
        coverage.add(range).expect("new");
        Changes {
            coverage: vec![(stream(), coverage)],
            acks: vec![((SinkName::new("splunk"), stream()), Some(Position(7)))],
            state: vec![("cursor".to_owned(), vec![1, 2])],
        }
    }

    fn head() -> Head {
        Head { journal: 5, update: 0, sequence: 12, next_position: 40 }
    }

    #[test]
    fn what_was_saved_is_there_after_reopening() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut store = CheckpointStore::new(dir.path().join("checkpoints"));
        assert_eq!(store.load().expect("opens"), None);
        store.save(head(), &changes()).expect("saves");
        store.close();
        let saved = store.load().expect("opens").expect("something");
        let all = changes();
        assert_eq!((saved.head, saved.coverage, saved.state), (Head { update: 1, ..head() }, all.coverage, all.state));
        assert_eq!(saved.acks, Acks::from([((SinkName::new("splunk"), stream()), Position(7))]));
    }

    #[test]
    fn saving_everything_deletes_what_is_not_in_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut store = CheckpointStore::new(dir.path().join("checkpoints"));
        store.load().expect("opens");
        store.save(head(), &changes()).expect("saves");
        store.save_all(head(), &Changes { coverage: changes().coverage, ..Changes::default() }).expect("saves");
        store.close();
        let saved = store.load().expect("opens").expect("something");
        assert_eq!((saved.acks.len(), saved.state.len(), saved.coverage), (0, 0, changes().coverage));
        assert_eq!(saved.head.update, 2);
    }

    #[test]
    fn a_database_that_is_let_go_of_late_is_waited_for() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut store = CheckpointStore::new(dir.path().join("checkpoints"));
        store.load().expect("opens");
        store.close();
        let held = File::open(dir.path().join("checkpoints/db")).expect("there");
        held.lock().expect("locks");
        let late = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(200));
            drop(held);
        });
        store.load().expect("opens once it is free");
        late.join().expect("ends");
    }

    #[test]
    fn a_newer_format_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("checkpoints");
        let db = sled::open(&path).expect("opens");
        db.insert(HEAD, vec![VERSION + 1]).expect("inserts");
        db.flush().expect("flushes");
        drop(db);
        assert!(matches!(CheckpointStore::new(path).load(), Err(CheckpointError::Newer(version)) if version == VERSION + 1));
    }
}

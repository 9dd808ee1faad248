//! Events that a receiver refused, set aside durably with everything that is needed to send them again.
//!
//! # What it promises
//!
//! A dead letter is on disk, synced, before its event is acknowledged. It holds the event's original bytes, who refused it, why, and
//! how often it was tried. Nothing is overwritten or dropped to make room: a full store refuses, and the sink pauses.
//!
//! # What it does not do
//!
//! It does not decide what becomes a dead letter, and sends nothing.
//!
//! # On a crash
//!
//! Letters are lines of one append-only file per sink, `dead-letters/<sink>/letters.ndjson` under the state directory. A half line at
//! its end was never acknowledged: it is cut off when the store opens, and the event comes again. Every line carries a version.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use thiserror::Error;

use super::names::path_component;
use crate::event::{Event, SinkName, StreamId, Timestamp};

use wire::Line;

mod wire;

/// The file's name.
const FILE_NAME: &str = "letters.ndjson";
/// Room for hundreds of thousands of refused events; more than that is no longer an exception that somebody reviews one by one.
pub const DEAD_LETTER_BYTES_MAX: u64 = 1 << 30;

/// No event is nearly as large: a longer line is not one of ours.
const LINE_BYTES_MAX: u64 = 128 << 20;

/// Why an event was set aside. The names are stable: commands and alerts select by them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The receiver refuses the event for good.
    Rejected,
    /// The event alone is larger than the receiver takes.
    TooLarge,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 2] = [Self::Rejected, Self::TooLarge];

    /// The stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::TooLarge => "too_large",
        }
    }

    /// The reason of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == name)
    }
}

/// One event that one sink could not deliver.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    /// The sink.
    pub sink: SinkName,
    /// The stream.
    pub stream: StreamId,
    /// The event, with its original bytes.
    pub event: Event,
    /// Why.
    pub reason: Reason,
    /// What the receiver said.
    pub answer: String,
    /// How often it was sent.
    pub attempts: u32,
    /// When it was first sent.
    pub first_attempt_at: Timestamp,
    /// When it was last sent.
    pub last_attempt_at: Timestamp,
}

/// Why a dead letter could not be stored or read.
#[derive(Debug, Error)]
pub enum DeadLetterError {
    /// The store's limit is reached.
    #[error(
        "the dead letters in {path} take {bytes} bytes of {bytes_max}, and there is no room for more; look into them with \
         `miro-siem dead-letters list`, mend what the receiver refused, and move the file elsewhere: delivery then goes on by itself"
    )]
    Full {
        /// The file.
        path: String,
        /// Its size.
        bytes: u64,
        /// The limit.
        bytes_max: u64,
    },
    /// Reading or writing failed.
    #[error("failed to {action} {path}: {source}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// The file or directory.
        path: String,
        /// The operating system's answer.
        source: io::Error,
    },
    /// A stored line is not what was written.
    #[error("line {line} of {path} is no dead letter: {problem}")]
    Corrupt {
        /// The file.
        path: String,
        /// The line, from 1.
        line: u64,
        /// What is wrong with it.
        problem: String,
    },
    /// The writing task was torn down with the runtime.
    #[error("the dead letters were not written because the process is ending")]
    Ending,
}

/// The dead letters of one sink. Clones share one store.
#[derive(Clone, Debug)]
pub struct DeadLetters {
    path: Arc<PathBuf>,
    store: Arc<Mutex<Store>>,
}

#[derive(Debug)]
struct Store {
    file: File,
    bytes: u64,
    bytes_max: u64,
}

impl DeadLetters {
    /// Opens or creates a sink's store under the state directory. Blocks on the disk. One process owns a state directory.
    pub fn open(state_dir: &Path, sink: &SinkName, bytes_max: u64) -> Result<Self, DeadLetterError> {
        let dir = directory(state_dir, sink);
        let at_dir = |source| failed("create", &dir, source);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir).map_err(at_dir)?;
        let path = dir.join(FILE_NAME);
        let (file, bytes) = open_file(&path).map_err(|source| failed("open", &path, source))?;
        sync_dirs(&dir).map_err(|source| failed("sync", &dir, source))?;
        Ok(Self { path: Arc::new(path), store: Arc::new(Mutex::new(Store { file, bytes, bytes_max })) })
    }

    /// Stores letters, all or none; durable on return. Dropping the future stops nothing that has begun.
    pub async fn put(&self, letters: Vec<DeadLetter>) -> Result<(), DeadLetterError> {
        let (path, store) = (self.path.clone(), self.store.clone());
        let written = tokio::task::spawn_blocking(move || {
            let mut lines = Vec::new();
            for letter in &letters {
                Line::of(letter).push(&mut lines);
            }
            store.lock().unwrap_or_else(PoisonError::into_inner).append(&path, &lines)
        });
        written.await.unwrap_or(Err(DeadLetterError::Ending))
    }

    /// Bytes on disk.
    pub fn bytes(&self) -> u64 {
        self.store.lock().unwrap_or_else(PoisonError::into_inner).bytes
    }

    /// The sinks that have a store under the state directory, by name.
    pub fn sinks(state_dir: &Path) -> Result<Vec<SinkName>, DeadLetterError> {
        let dir = state_dir.join("dead-letters");
        let entries = match fs::read_dir(&dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(|source| failed("list", &dir, source))?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|source| failed("list", &dir, source))?;
            // Configured names have no other letters than those that stay as they are in a path.
            names.extend(entry.file_name().to_str().filter(|name| path_component(name) == *name).map(SinkName::new));
        }
        names.sort();
        Ok(names)
    }

    /// Reads a sink's letters, oldest first, without touching them: also while a daemon writes, and where there are none.
    pub fn read(state_dir: &Path, sink: &SinkName) -> Result<Letters, DeadLetterError> {
        let path = directory(state_dir, sink).join(FILE_NAME);
        match File::open(&path) {
            Ok(file) => Ok(Letters { reader: Some(BufReader::new(file)), path, line: 0 }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Letters { reader: None, path, line: 0 }),
            Err(source) => Err(failed("open", &path, source)),
        }
    }
}

fn directory(state_dir: &Path, sink: &SinkName) -> PathBuf {
    state_dir.join("dead-letters").join(&*path_component(sink.as_str()))
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> DeadLetterError {
    DeadLetterError::Io { action, path: path.display().to_string(), source }
}

/// A new file is there after a power cut only if its directory was synced, and so is a new directory.
fn sync_dirs(dir: &Path) -> io::Result<()> {
    dir.ancestors().take(3).filter(|dir| !dir.as_os_str().is_empty()).try_for_each(|dir| File::open(dir)?.sync_all())
}

/// Opens or creates the file, cuts a half line off its end, and says how long it is.
fn open_file(path: &Path) -> io::Result<(File, u64)> {
    let mut file = OpenOptions::new().create(true).truncate(false).read(true).write(true).mode(0o600).open(path)?;
    let bytes = cut_half_line(&mut file)?;
    Ok((file, bytes))
}

/// Cuts the file after its last line end, and says how long it is then.
fn cut_half_line(file: &mut File) -> io::Result<u64> {
    const STEP: u64 = 64 * 1024;
    let whole = file.metadata()?.len();
    let mut end = whole;
    while end > 0 {
        let start = end.saturating_sub(STEP);
        let mut piece = vec![0; usize::try_from(end - start).unwrap_or(usize::MAX)];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut piece)?;
        if let Some(at) = memchr::memrchr(b'\n', &piece) {
            end = start + at as u64 + 1;
            break;
        }
        end = start;
    }
    if end < whole {
        file.set_len(end)?;
        file.sync_all()?;
    }
    Ok(end)
}

impl Store {
    fn append(&mut self, path: &Path, lines: &[u8]) -> Result<(), DeadLetterError> {
        self.follow_the_file(path).map_err(|source| failed("open", path, source))?;
        if self.bytes + lines.len() as u64 > self.bytes_max {
            return Err(DeadLetterError::Full { path: path.display().to_string(), bytes: self.bytes, bytes_max: self.bytes_max });
        }
        match self.write(lines) {
            Ok(()) => {
                self.bytes += lines.len() as u64;
                Ok(())
            }
            Err(source) => {
                // What was written of it is not promised to anybody. If it cannot be cut off now, the next write goes over it.
                let _ = self.file.set_len(self.bytes);
                Err(failed("write dead letters to", path, source))
            }
        }
    }

    /// People move and empty files: what is written into one that is gone from its place, or after a hole, would be lost.
    fn follow_the_file(&mut self, path: &Path) -> io::Result<()> {
        let held = self.file.metadata()?;
        let in_place = fs::metadata(path).is_ok_and(|found| (found.dev(), found.ino()) == (held.dev(), held.ino()));
        if !in_place {
            (self.file, self.bytes) = open_file(path)?;
            return sync_dirs(path.parent().unwrap_or(path));
        }
        if held.len() < self.bytes {
            self.bytes = cut_half_line(&mut self.file)?;
        }
        Ok(())
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(self.bytes))?;
        self.file.write_all(lines)?;
        self.file.sync_data()
    }
}

/// A sink's dead letters, oldest first.
#[derive(Debug)]
pub struct Letters {
    reader: Option<BufReader<File>>,
    path: PathBuf,
    line: u64,
}

impl Iterator for Letters {
    type Item = Result<DeadLetter, DeadLetterError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut text = Vec::new();
        match self.reader.as_mut()?.take(LINE_BYTES_MAX).read_until(b'\n', &mut text) {
            Err(source) => {
                self.reader = None;
                return Some(Err(failed("read", &self.path, source)));
            }
            Ok(_) if text.len() as u64 == LINE_BYTES_MAX => {
                self.reader = None;
                let problem = format!("it has more than {LINE_BYTES_MAX} bytes");
                return Some(Err(DeadLetterError::Corrupt { path: self.path.display().to_string(), line: self.line + 1, problem }));
            }
            // A line without its end is being written, or was when the power went.
            Ok(_) if text.pop() != Some(b'\n') => return None,
            Ok(_) => self.line += 1,
        }
        Some(Line::parse(&text).map_err(|problem| DeadLetterError::Corrupt {
            path: self.path.display().to_string(),
            line: self.line,
            problem,
        }))
    }
}

#[cfg(test)]
mod tests;

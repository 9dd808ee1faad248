//! The file of one sink's letters, as the one process that owns it writes it.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write},
    os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    DeadLetter, DeadLetterError, FILE_NAME, Gone, LetterKey, Letters, SinkName, Timestamp, directory, failed,
    index::Index,
    path_component,
    wire::{Line, push_gone},
};

/// A file is not written anew for less than this.
const COMPACTED_FROM_BYTES: u64 = 64 * 1024;
/// A store above this many percent of its limit is nearly full.
const NEARLY_FULL_PERCENT: u64 = 80;

/// The dead letters of one sink. Clones share one store.
#[derive(Clone, Debug)]
pub struct DeadLetters {
    path: Arc<PathBuf>,
    store: Arc<Mutex<Store>>,
}

/// How much of a store is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Bytes on disk.
    pub bytes: u64,
    /// The limit.
    pub bytes_max: u64,
}

impl Room {
    /// Whether a person should look before the sink has to pause.
    pub fn is_nearly_full(self) -> bool {
        u128::from(self.bytes) * 100 >= u128::from(self.bytes_max) * u128::from(NEARLY_FULL_PERCENT)
    }
}

/// Whether the limit counts for what is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Limit {
    Holds,
    /// It takes the place of what is there already, or takes something away.
    Waived,
}

#[derive(Debug)]
struct Store {
    file: File,
    bytes: u64,
    bytes_max: u64,
    /// Made when it is first needed: most stores are only ever written to.
    index: Option<Index>,
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
        let store = Store { file, bytes, bytes_max, index: None };
        Ok(Self { path: Arc::new(path), store: Arc::new(Mutex::new(store)) })
    }

    /// Stores letters, all or none; durable on return. Dropping the future stops nothing that has begun.
    pub async fn put(&self, letters: Vec<DeadLetter>) -> Result<(), DeadLetterError> {
        self.append(lines_of(letters), Limit::Holds).await
    }

    /// Stores newer versions of letters that are there: the limit does not hold for them.
    pub async fn put_again(&self, letters: Vec<DeadLetter>) -> Result<(), DeadLetterError> {
        self.append(lines_of(letters), Limit::Waived).await
    }

    /// Takes letters away, all or none; durable on return. Those that are not there do no harm.
    pub async fn remove(&self, keys: &[LetterKey], how: Gone, now: Timestamp) -> Result<(), DeadLetterError> {
        let mut lines = Vec::new();
        keys.iter().for_each(|key| push_gone(key, how, now, &mut lines));
        if lines.is_empty() { Ok(()) } else { self.append(lines, Limit::Waived).await }
    }

    async fn append(&self, lines: Vec<u8>, limit: Limit) -> Result<(), DeadLetterError> {
        let this = self.clone();
        let written = tokio::task::spawn_blocking(move || this.lock().append(&this.path, &lines, limit));
        written.await.unwrap_or(Err(DeadLetterError::Ending))
    }

    fn lock(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How much of it is used.
    pub fn room(&self) -> Room {
        let store = self.lock();
        Room { bytes: store.bytes, bytes_max: store.bytes_max }
    }

    /// Its letters at this moment, oldest first. Blocks on the disk.
    pub fn letters(&self) -> Result<Letters, DeadLetterError> {
        Letters::of(self.path.to_path_buf())
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
        Letters::open(state_dir, sink)
    }
}

fn lines_of(letters: Vec<DeadLetter>) -> Vec<u8> {
    let mut lines = Vec::new();
    letters.iter().for_each(|letter| Line::of(letter).push(&mut lines));
    lines
}

impl Store {
    fn append(&mut self, path: &Path, lines: &[u8], limit: Limit) -> Result<(), DeadLetterError> {
        self.follow_the_file(path).map_err(|source| failed("open", path, source))?;
        let is_too_much = |store: &Self| limit == Limit::Holds && store.bytes + lines.len() as u64 > store.bytes_max;
        if is_too_much(self) {
            self.compact(path)?;
        }
        if is_too_much(self) {
            return Err(DeadLetterError::Full { path: path.display().to_string(), bytes: self.bytes, bytes_max: self.bytes_max });
        }
        if let Err(source) = self.write(lines) {
            // What was written of it is not promised to anybody. If it cannot be cut off now, the next write goes over it.
            let _ = self.file.set_len(self.bytes);
            return Err(failed("write dead letters to", path, source));
        }
        self.bytes += lines.len() as u64;
        if let Some(index) = &mut self.index {
            index.extend(lines);
        }
        if limit == Limit::Waived && self.bytes > COMPACTED_FROM_BYTES {
            // What was asked for is durable; room is found another time.
            if let Err(error) = self.compact_if_worth_it(path) {
                tracing::warn!(error = %error, "dead letters were not compacted");
            }
        }
        Ok(())
    }

    /// People move and empty files: what is written into one that is gone from its place, or after a hole, would be lost.
    fn follow_the_file(&mut self, path: &Path) -> io::Result<()> {
        let held = self.file.metadata()?;
        let in_place = fs::metadata(path).is_ok_and(|found| (found.dev(), found.ino()) == (held.dev(), held.ino()));
        if !in_place {
            (self.file, self.bytes) = open_file(path)?;
            self.index = None;
            return sync_dirs(path.parent().unwrap_or(path));
        }
        if held.len() < self.bytes {
            self.bytes = cut_half_line(&mut self.file)?;
            self.index = None;
        }
        Ok(())
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(self.bytes))?;
        self.file.write_all(lines)?;
        self.file.sync_data()
    }

    fn index(&mut self) -> io::Result<&Index> {
        if self.index.is_none() {
            self.file.seek(SeekFrom::Start(0))?;
            self.index = Some(Index::of(BufReader::with_capacity(1 << 16, (&self.file).take(self.bytes)))?);
        }
        Ok(self.index.get_or_insert_default())
    }

    fn compact_if_worth_it(&mut self, path: &Path) -> Result<(), DeadLetterError> {
        let live = self.index().map_err(|source| failed("read", path, source))?.live_bytes();
        if live * 2 < self.bytes { self.compact(path) } else { Ok(()) }
    }

    /// Writes the file anew, without the lines that no longer count.
    fn compact(&mut self, path: &Path) -> Result<(), DeadLetterError> {
        let index = self.index().map_err(|source| failed("read", path, source))?;
        let places = index.places();
        if index.live_bytes() == self.bytes {
            return Ok(());
        }
        let beside = path.with_extension("ndjson.new");
        let written = || -> io::Result<File> {
            let file = OpenOptions::new().create(true).truncate(true).read(true).write(true).mode(0o600).open(&beside)?;
            let mut out = BufWriter::with_capacity(1 << 16, file);
            let mut piece = vec![0; 1 << 16];
            for place in &places {
                copy(&self.file, place.offset..place.offset + place.bytes, &mut piece, &mut out)?;
            }
            let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
            file.sync_all()?;
            fs::rename(&beside, path)?;
            sync_dirs(path.parent().unwrap_or(path))?;
            Ok(file)
        };
        self.file = written().map_err(|source| failed("compact", path, source))?;
        let before = self.bytes;
        self.bytes = places.iter().map(|place| place.bytes).sum();
        self.index = None;
        tracing::info!(path = %path.display(), bytes = self.bytes, before, "dead letters were compacted");
        Ok(())
    }
}

fn copy(from: &File, range: std::ops::Range<u64>, piece: &mut [u8], to: &mut impl Write) -> io::Result<()> {
    let mut at = range.start;
    while at < range.end {
        let wanted = usize::try_from(range.end - at).unwrap_or(usize::MAX).min(piece.len());
        from.read_exact_at(&mut piece[..wanted], at)?;
        to.write_all(&piece[..wanted])?;
        at += wanted as u64;
    }
    Ok(())
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

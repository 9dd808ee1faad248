//! A grant on disk: `tokens/<org>.json` or `tokens/<org>.<stream>.json` in the state directory, readable by its owner alone.
//!
//! It is replaced as a whole: a temporary file is written and synced, renamed over the old one, and the directory is synced. So a
//! reader finds the old record or the new one, and after `save` has returned, the new one survives a power cut.
//!
//! The temporary file for a new pair is made before Miro is asked, so that the answer's first way is to the disk. A process that dies between
//! that write and the rename has left the pair beside the record, and `recover` puts it in its place.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::files::{Disk, Files};
use crate::event::Timestamp;

/// The form of the record; a newer one is refused, so that a downgrade does not destroy it.
const VERSION: u32 = 1;
/// A record has less than 2 KiB; a larger file is no record.
const RECORD_BYTES_MAX: u64 = 64 * 1024;
/// A refresh takes at most its timeout; whoever holds the lock for longer is stuck.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(150);
const LOCK_WAIT_STEP: Duration = Duration::from_millis(25);

/// Why the record could not be read or written.
#[derive(Debug, Error)]
pub(super) enum StoreError {
    #[error("failed to {action} {path}: {source}; the state directory must be writable, and there must be room on its disk")]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("{path} is damaged ({problem}); delete it, authorise the app again in Miro and configure the new refresh token")]
    Damaged { path: PathBuf, problem: String },
    #[error(
        "{path} was written by a newer miro-siem (version {version} of the record); run that version, or delete the file and authorise again"
    )]
    Newer { path: PathBuf, version: u32 },
    #[error("another process has held {path} for {} s; stop it, or use another state directory", LOCK_WAIT_MAX.as_secs())]
    Locked { path: PathBuf },
}

/// What is known of a grant.
#[derive(Clone, Debug)]
pub(super) struct Record {
    /// The configured refresh token that this grant descends from, as its SHA-256: another one in the configuration begins anew.
    pub(super) seed: Fingerprint,
    /// The newest pair; none before the first refresh.
    pub(super) pair: Option<Pair>,
    /// A refresh was begun then, and what came of it was not recorded: nobody knows whether Miro took the refresh token in.
    pub(super) in_doubt_since: Option<Timestamp>,
}

/// An access token and the refresh token that came with it.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    pub(super) access: SecretString,
    pub(super) refresh: SecretString,
    pub(super) expires_at: Option<Timestamp>,
    pub(super) obtained_at: Timestamp,
}

/// The SHA-256 of secrets, to tell whether they have changed without keeping them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Fingerprint(String);

impl Fingerprint {
    pub(super) fn of(parts: &[&str]) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        Self(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

impl Record {
    /// A grant of which nothing but its seed is known.
    pub(super) fn new(seed: Fingerprint) -> Self {
        Self { seed, pair: None, in_doubt_since: None }
    }
}

/// The record as it is written.
#[derive(Serialize, Deserialize)]
struct Written {
    version: u32,
    seed_sha256: Fingerprint,
    #[serde(skip_serializing_if = "Option::is_none")]
    pair: Option<WrittenPair>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_began_at_us: Option<Timestamp>,
}

#[derive(Serialize, Deserialize)]
struct WrittenPair {
    access_token: String,
    refresh_token: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at_us: Option<Timestamp>,
    obtained_at_us: Timestamp,
}

impl From<&Record> for Written {
    fn from(record: &Record) -> Self {
        let pair = record.pair.as_ref().map(|pair| WrittenPair {
            access_token: pair.access.expose_secret().to_owned(),
            refresh_token: pair.refresh.expose_secret().to_owned(),
            expires_at_us: pair.expires_at,
            obtained_at_us: pair.obtained_at,
        });
        Self { version: VERSION, seed_sha256: record.seed.clone(), pair, refresh_began_at_us: record.in_doubt_since }
    }
}

impl From<Written> for Record {
    fn from(written: Written) -> Self {
        let pair = written.pair.map(|pair| Pair {
            access: pair.access_token.into(),
            refresh: pair.refresh_token.into(),
            expires_at: pair.expires_at_us,
            obtained_at: pair.obtained_at_us,
        });
        Self { seed: written.seed_sha256, pair, in_doubt_since: written.refresh_began_at_us }
    }
}

/// The file of one grant. Its methods block: they belong on a blocking thread.
#[derive(Clone, Debug)]
pub(super) struct Store {
    dir: PathBuf,
    path: PathBuf,
    files: Arc<dyn Files>,
}

/// The right to refresh: one process at a time.
#[derive(Debug)]
pub(super) struct StoreLock(#[expect(dead_code, reason = "holds the lock until it is dropped")] File);

/// A file for the next record, without anything in it yet.
#[derive(Debug)]
pub(super) struct Prepared(File);

impl Store {
    /// The record of that name under the state directory.
    pub(super) fn new(state_dir: &Path, name: &str) -> Self {
        Self::over(Arc::new(Disk), state_dir, name)
    }

    /// The same on files of that kind.
    pub(super) fn over(files: Arc<dyn Files>, state_dir: &Path, name: &str) -> Self {
        let dir = state_dir.join("tokens");
        let path = dir.join(format!("{name}.json"));
        Self { dir, path, files }
    }

    /// The record, if there is one.
    pub(super) fn load(&self) -> Result<Option<Record>, StoreError> {
        let bytes = match self.read(&self.path) {
            Ok(bytes) => bytes,
            Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(self.io("read", &self.path, source)),
        };
        self.parse(&bytes).map(Some)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        if fs::metadata(path)?.len() > RECORD_BYTES_MAX {
            return Ok(Vec::new());
        }
        fs::read(path)
    }

    fn parse(&self, bytes: &[u8]) -> Result<Record, StoreError> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        // serde_json's message would quote the file's content.
        let damaged = |error: serde_json::Error| StoreError::Damaged {
            path: self.path.clone(),
            problem: format!("{:?} error in line {}, column {}", error.classify(), error.line(), error.column()).to_lowercase(),
        };
        match serde_json::from_slice::<Versioned>(bytes).map_err(damaged)?.version {
            VERSION => serde_json::from_slice::<Written>(bytes).map(Record::from).map_err(damaged),
            version => Err(StoreError::Newer { path: self.path.clone(), version }),
        }
    }

    /// Replaces the record, durably.
    pub(super) fn save(&self, record: &Record) -> Result<(), StoreError> {
        let prepared = self.prepare()?;
        self.save_into(prepared, record)
    }

    /// Makes the file that the next record is written into. What is left of an earlier attempt is removed: it may have other rights.
    pub(super) fn prepare(&self) -> Result<Prepared, StoreError> {
        self.make_dir()?;
        let temporary = self.temporary();
        match self.files.remove(&temporary) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => return Err(self.io("remove", &temporary, source)),
            _ => {}
        }
        self.files.create(&temporary).map(Prepared).map_err(|source| self.io("create", &temporary, source))
    }

    /// Replaces the record, durably, by way of a file that is there already.
    pub(super) fn save_into(&self, Prepared(mut file): Prepared, record: &Record) -> Result<(), StoreError> {
        let temporary = self.temporary();
        let failed = |source| self.io("write", &temporary, source);
        let content = serde_json::to_vec(&Written::from(record)).map_err(|error| failed(error.into()))?;
        self.files.write(&mut file, &content).map_err(failed)?;
        self.put_in_place(&file)
    }

    fn put_in_place(&self, file: &File) -> Result<(), StoreError> {
        let temporary = self.temporary();
        self.files.sync(file).map_err(|source| self.io("sync", &temporary, source))?;
        self.files.rename(&temporary, &self.path).map_err(|source| self.io("replace", &self.path, source))?;
        self.sync_dir(&self.dir)
    }

    /// Puts a pair in its place that a process had written, and died before it had. Only for whoever has the lock: somebody else may be
    /// writing otherwise.
    pub(super) fn recover(&self, _: &StoreLock) -> Result<(), StoreError> {
        let Some(held) = self.load()? else { return Ok(()) };
        let temporary = self.temporary();
        let beside = self.read(&temporary).ok().and_then(|bytes| self.parse(&bytes).ok());
        // Nothing else is written while a refresh is in doubt but its answer, or the record without its mark.
        let is_answer = |found: &Record| {
            found.seed == held.seed && found.pair.as_ref().zip(held.in_doubt_since).is_some_and(|(pair, since)| pair.obtained_at >= since)
        };
        if !beside.is_some_and(|found| is_answer(&found)) {
            return Ok(());
        }
        let file = self.files.open(&temporary).map_err(|source| self.io("open", &temporary, source))?;
        self.put_in_place(&file)
    }

    fn temporary(&self) -> PathBuf {
        self.path.with_extension("json.tmp")
    }

    /// Waits for other processes that refresh the same grant.
    pub(super) fn lock(&self) -> Result<StoreLock, StoreError> {
        self.make_dir()?;
        let path = self.path.with_extension("lock");
        let file = self.files.open_lock(&path).map_err(|source| self.io("open", &path, source))?;
        let began = Instant::now();
        loop {
            match self.files.try_lock(&file) {
                Ok(()) => return Ok(StoreLock(file)),
                Err(TryLockError::Error(source)) => return Err(self.io("lock", &path, source)),
                Err(TryLockError::WouldBlock) if began.elapsed() > LOCK_WAIT_MAX => return Err(StoreError::Locked { path }),
                Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_WAIT_STEP),
            }
        }
    }

    fn make_dir(&self) -> Result<(), StoreError> {
        if self.dir.is_dir() {
            return Ok(());
        }
        self.files.make_dir(&self.dir).map_err(|source| self.io("create", &self.dir, source))?;
        self.dir.parent().map_or(Ok(()), |parent| self.sync_dir(parent))
    }

    fn sync_dir(&self, dir: &Path) -> Result<(), StoreError> {
        self.files.open(dir).and_then(|dir| self.files.sync(&dir)).map_err(|source| self.io("sync", dir, source))
    }

    fn io(&self, action: &'static str, path: &Path, source: io::Error) -> StoreError {
        StoreError::Io { action, path: path.to_owned(), source }
    }
}

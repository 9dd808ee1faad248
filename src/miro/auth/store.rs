//! A grant on disk: `tokens/<org>.json` or `tokens/<org>.<stream>.json` in the state directory, readable by its owner alone.
//!
//! It is replaced as a whole: a temporary file is written and synced, renamed over the old one, and the directory is synced. So a
//! reader finds the old record or the new one, and after `save` has returned, the new one survives a power cut.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

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
}

/// The right to refresh: one process at a time.
#[derive(Debug)]
pub(super) struct StoreLock(#[expect(dead_code, reason = "holds the lock until it is dropped")] File);

impl Store {
    /// The record of that name under the state directory.
    pub(super) fn new(state_dir: &Path, name: &str) -> Self {
        let dir = state_dir.join("tokens");
        let path = dir.join(format!("{name}.json"));
        Self { dir, path }
    }

    /// The record, if there is one.
    pub(super) fn load(&self) -> Result<Option<Record>, StoreError> {
        let bytes = match self.read() {
            Ok(bytes) => bytes,
            Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(self.io("read", &self.path, source)),
        };
        self.parse(&bytes).map(Some)
    }

    fn read(&self) -> io::Result<Vec<u8>> {
        if fs::metadata(&self.path)?.len() > RECORD_BYTES_MAX {
            return Ok(Vec::new());
        }
        fs::read(&self.path)
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
        let temporary = self.path.with_extension("json.tmp");
        let content = serde_json::to_vec(&Written::from(record)).map_err(|error| self.io("write", &temporary, error.into()))?;
        self.make_dir()?;
        let written = write_synced(&temporary, &content);
        written.map_err(|source| self.io("write", &temporary, source))?;
        fs::rename(&temporary, &self.path).map_err(|source| self.io("replace", &self.path, source))?;
        self.sync_dir(&self.dir)
    }

    /// Waits for other processes that refresh the same grant.
    pub(super) fn lock(&self) -> Result<StoreLock, StoreError> {
        self.make_dir()?;
        let path = self.path.with_extension("lock");
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
        let file = file.map_err(|source| self.io("open", &path, source))?;
        let began = Instant::now();
        loop {
            match file.try_lock() {
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
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.dir);
        made.map_err(|source| self.io("create", &self.dir, source))?;
        self.dir.parent().map_or(Ok(()), |parent| self.sync_dir(parent))
    }

    fn sync_dir(&self, dir: &Path) -> Result<(), StoreError> {
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(|source| self.io("sync", dir, source))
    }

    fn io(&self, action: &'static str, path: &Path, source: io::Error) -> StoreError {
        StoreError::Io { action, path: path.to_owned(), source }
    }
}

/// Writes a file that only its owner may read, and syncs it. What is left of an earlier attempt is removed: it may have other rights.
fn write_synced(path: &Path, content: &[u8]) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

//! The state directory: its layout, its permissions, and the lock that keeps a second process out.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use tracing::warn;

use crate::journal::JournalError;

/// How long another process may take to end before it counts as running.
const PATIENCE: Duration = Duration::from_millis(500);

/// Where everything is.
#[derive(Clone, Debug)]
pub(super) struct Paths {
    pub(super) root: PathBuf,
    pub(super) log: PathBuf,
    pub(super) checkpoints: PathBuf,
    pub(super) seen: PathBuf,
    pub(super) tallies: PathBuf,
    pub(super) quarantine: PathBuf,
}

impl Paths {
    pub(super) fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            log: root.join("journal"),
            checkpoints: root.join("checkpoints"),
            seen: root.join("seen"),
            tallies: root.join("tallies"),
            quarantine: root.join("quarantine"),
        }
    }

    /// Creates what is missing, mode 0700, and takes away what others may do in the state directory.
    pub(super) fn create(&self) -> Result<(), JournalError> {
        for dir in [&self.root, &self.log, &self.seen, &self.tallies, &self.quarantine] {
            DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed("create", dir))?;
        }
        let mode = fs::metadata(&self.root).map_err(failed("look at", &self.root))?.mode() & 0o777;
        if mode & 0o077 != 0 {
            warn!(path = %self.root.display(), mode = format!("{mode:o}"), "others could read the state directory; its mode is 0700 now");
            fs::set_permissions(&self.root, Permissions::from_mode(0o700)).map_err(failed("restrict the mode of", &self.root))?;
        }
        for dir in self.root.parent().into_iter().chain([self.root.as_path()]) {
            // A parent that cannot be synced has been there before us, and then there is nothing to make durable.
            let _ = File::open(dir).and_then(|dir| dir.sync_all());
        }
        Ok(())
    }
}

/// Turns an operating system's error into the journal's, naming what was being done.
pub(super) fn failed(action: &'static str, path: &Path) -> impl Fn(io::Error) -> JournalError {
    move |source| match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => JournalError::NoSpace { path: path.display().to_string() },
        _ => JournalError::Io { action, path: path.display().to_string(), source },
    }
}

/// Holds the lock of a state directory until it is dropped or the process ends, however it ends.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
}

impl Drop for Lock {
    /// Closing alone does not do it while a process that was just forked elsewhere in the program still holds a copy of the file.
    fn drop(&mut self) {
        let _ = self.file.unlock();
    }
}

impl Lock {
    pub(super) fn take(root: &Path) -> Result<Self, JournalError> {
        let path = root.join("lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(failed("open", &path))?;
        lock_patiently(|| file.try_lock()).map_err(|error| not_locked(error, root, &file))?;
        // Not being able to write the pid (a full disk) is no reason not to run.
        let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(Self { file })
    }

    /// Keeps processes that would change something out, while others may look as well. Changes nothing; `None` where no process has ever
    /// been here.
    pub(super) fn look(root: &Path) -> Result<Option<Self>, JournalError> {
        let path = root.join("lock");
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(failed("open", &path))?,
        };
        lock_patiently(|| file.try_lock_shared()).map_err(|error| not_locked(error, root, &file))?;
        Ok(Some(Self { file }))
    }
}

fn not_locked(error: TryLockError, root: &Path, file: &File) -> JournalError {
    if let TryLockError::Error(source) = error {
        return failed("lock", &root.join("lock"))(source);
    }
    let mut pid = String::new();
    // The pid is only for the message; that the lock is held is certain without it.
    let _ = file.take(20).read_to_string(&mut pid);
    let pid = if pid.trim().is_empty() { "unknown".to_owned() } else { pid.trim().to_owned() };
    JournalError::Locked { path: root.display().to_string(), pid }
}

/// A process that is ending may hold the lock a moment longer than it answers.
fn lock_patiently(attempt: impl Fn() -> Result<(), TryLockError>) -> Result<(), TryLockError> {
    let began = Instant::now();
    loop {
        match attempt() {
            Err(TryLockError::WouldBlock) if began.elapsed() < PATIENCE => std::thread::sleep(PATIENCE / 20),
            outcome => return outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_lock_is_refused_with_the_pid_of_the_first() {
        let dir = tempfile::tempdir().expect("a directory");
        let held = Lock::take(dir.path()).expect("free");
        match Lock::take(dir.path()) {
            Err(JournalError::Locked { pid, .. }) => assert_eq!(pid, std::process::id().to_string()),
            other => panic!("{other:?}"),
        }
        drop(held);
        Lock::take(dir.path()).expect("free again");
    }

    #[test]
    fn wide_permissions_are_tightened() {
        let dir = tempfile::tempdir().expect("a directory");
        let root = dir.path().join("state");
        fs::create_dir(&root).expect("creates");
        fs::set_permissions(&root, Permissions::from_mode(0o755)).expect("sets");
        Paths::new(&root).create().expect("creates");
        assert_eq!(fs::metadata(&root).expect("there").mode() & 0o777, 0o700);
        assert_eq!(fs::metadata(root.join("journal")).expect("there").mode() & 0o777, 0o700);
    }
}

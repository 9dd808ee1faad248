//! Where damaged data goes: nothing that could be damaged evidence is deleted, as long as there is room to keep it.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use chrono::Utc;
use tracing::warn;

use super::{lock::Paths, storage::Storage};

/// No more than this is kept: a disk that goes bad must not fill what is left of it.
const QUARANTINE_BYTES_MAX: u64 = 256 << 20;

/// Copies a stretch of a file and returns where to; `None` where it could not be kept, which the log then says.
pub(super) fn keep(storage: &dyn Storage, paths: &Paths, file: &File, name: &str, from: u64, to: u64) -> Option<PathBuf> {
    let path = paths.quarantine.join(format!("{}-{name}-{from}", stamp()));
    match copy(storage, paths, file, &path, from, to) {
        Ok(()) => Some(path),
        Err(error) => {
            warn!(%error, path = %path.display(), "failed to keep a copy of damaged bytes");
            None
        }
    }
}

fn copy(storage: &dyn Storage, paths: &Paths, file: &File, path: &Path, from: u64, to: u64) -> io::Result<()> {
    if used(&paths.quarantine)? + (to - from) > QUARANTINE_BYTES_MAX {
        return Err(io::Error::other("the quarantine directory is full; look at it and empty it"));
    }
    let copy = storage.create(path)?;
    let mut buffer = vec![0; 64 << 10];
    let mut at = from;
    while at < to {
        let size = usize::try_from(to - at).unwrap_or(buffer.len()).min(buffer.len());
        let read = file.read_at(&mut buffer[..size], at)?;
        if read == 0 {
            break;
        }
        storage.write_at(&copy, &buffer[..read], at - from)?;
        at += read as u64;
    }
    storage.sync(&copy)?;
    storage.sync_dir(&paths.quarantine)
}

/// Moves the checkpoint store out of the way. It is built anew from the log.
pub(super) fn set_checkpoints_aside(paths: &Paths, why: &dyn std::fmt::Display) -> io::Result<()> {
    let target = paths.quarantine.join(format!("{}-checkpoints", stamp()));
    match fs::rename(&paths.checkpoints, &target) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        moved => moved?,
    }
    warn!(problem = %why, moved_to = %target.display(), "the checkpoint store was broken; it is set aside and built anew from the log");
    Ok(())
}

/// Moves a file of tallies out of the way. They are counted again from the log, as far as it has the records.
pub(super) fn set_tallies_aside(paths: &Paths, path: &Path, problem: &str) {
    let name = path.strip_prefix(&paths.tallies).unwrap_or(path).to_string_lossy().replace('/', "-");
    let target = paths.quarantine.join(format!("{}-tallies-{name}", stamp()));
    match fs::rename(path, &target) {
        Ok(()) => {
            warn!(problem, moved_to = %target.display(), "a file of tallies is of no use; it is set aside and counted again from the log")
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => warn!(problem, path = %path.display(), "a file of tallies is missing"),
        Err(error) => warn!(%error, problem, path = %path.display(), "a file of tallies is of no use and cannot be moved away"),
    }
}

fn used(dir: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(dir)? {
        let metadata = entry?.metadata()?;
        bytes += if metadata.is_file() { metadata.len() } else { 0 };
    }
    Ok(bytes)
}

/// To the nanosecond, so that two in one second have two names.
fn stamp() -> String {
    Utc::now().format("%Y%m%dT%H%M%S%.9fZ").to_string()
}

//! The steps of which storing a record consists, one system call each: the place where a test can end the process between any two of them.

use std::{
    fmt::Debug,
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

/// What a store does to a disk.
pub(super) trait Files: Send + Sync + Debug {
    /// Makes a directory, and those above it, for its owner alone.
    fn make_dir(&self, dir: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)
    }

    /// Opens a lock file, which may be there already.
    fn open_lock(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path)
    }

    /// Takes the lock, if nobody has it.
    fn try_lock(&self, file: &File) -> Result<(), TryLockError> {
        file.try_lock()
    }

    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    /// Makes a file that was not there, for its owner alone.
    fn create(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new().create_new(true).write(true).mode(0o600).open(path)
    }

    /// Writes into a file.
    fn write(&self, file: &mut File, content: &[u8]) -> io::Result<()> {
        file.write_all(content)
    }

    /// Makes a file or a directory durable.
    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_all()
    }

    /// Puts a file in the place of another.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    /// Opens a file or a directory that is there, to make it durable.
    fn open(&self, path: &Path) -> io::Result<File> {
        File::open(path)
    }
}

/// The disk itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Disk;

impl Files for Disk {}

//! The few things that are done to files, so that tests can make each of them fail.

use std::{
    fmt::Debug,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
};

/// Changes files and directories. Reading is not part of it: what a test wants to read wrongly, it writes wrongly.
pub trait Storage: Send + Sync + Debug {
    /// Creates a file that does not exist yet, for reading and writing, mode 0600.
    fn create(&self, path: &Path) -> io::Result<File>;
    /// Writes all the bytes at that offset.
    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Makes what was written durable, with the file's size.
    fn sync(&self, file: &File) -> io::Result<()>;
    /// Cuts the file, or makes it longer with zeros.
    fn truncate(&self, file: &File, len: u64) -> io::Result<()>;
    /// Puts one file in another's place.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Deletes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes the creation, renaming and deletion of files in a directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
}

/// The machine's own files.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk;

impl Storage for Disk {
    fn create(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
    }

    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        file.write_all_at(bytes, offset)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    fn truncate(&self, file: &File, len: u64) -> io::Result<()> {
        file.set_len(len)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }
}

/// Puts a file with these bytes in another's place, or where none is: readers find the old one or the new one, whole. The directory is
/// left for the caller to sync.
pub(super) fn replace(storage: &dyn Storage, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    remove_if_there(storage, &temporary)?;
    let file = storage.create(&temporary)?;
    storage.write_at(&file, bytes, 0)?;
    storage.sync(&file)?;
    storage.rename(&temporary, path)
}

/// Deletes a file, if it is there.
pub(super) fn remove_if_there(storage: &dyn Storage, path: &Path) -> io::Result<()> {
    match storage.remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

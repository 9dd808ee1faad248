//! The open files of a file sink: which of the numbered files of a path is written to, and that what is written is on disk.

use std::{
    ffi::OsString,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Seek, SeekFrom, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use super::recover;

/// Files that stay open: more than the streams of a few organisations on the days around midnight.
const OPEN_FILES_MAX: usize = 32;
const ZSTD_LEVEL: i32 = 3;
const DIRECTORY_MODE: u32 = 0o750;

/// What a file consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    Lines,
    ZstdFrames,
}

/// How files are written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    pub(super) packing: Packing,
    pub(super) size_bytes_max: Option<u64>,
    pub(super) mode: u32,
}

/// An append that did not come about.
#[derive(Debug)]
pub(super) struct AppendError {
    pub(super) path: PathBuf,
    pub(super) action: &'static str,
    pub(super) source: io::Error,
    /// Whether the file is sure to be as it was before.
    pub(super) left: Left,
}

/// What a failed append left in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    Nothing,
    PerhapsAll,
}

/// Files by the path that was asked for, the least recently used first.
#[derive(Debug)]
pub(super) struct Writers {
    style: Style,
    open: Vec<(PathBuf, Writer)>,
}

impl Writers {
    pub(super) fn new(style: Style) -> Self {
        Self { style, open: Vec::new() }
    }

    /// Appends whole lines to the newest file of a path, synced on return.
    pub(super) fn append(&mut self, path: &Path, lines: &[u8]) -> Result<(), AppendError> {
        let mut writer = self.take(path)?;
        writer.append(&self.style, lines)?;
        if self.open.len() >= OPEN_FILES_MAX {
            self.open.remove(0);
        }
        self.open.push((path.to_owned(), writer));
        Ok(())
    }

    /// The writer of a path, open and with room. It is put back after a write that went well: after another, it is opened afresh.
    fn take(&mut self, path: &Path) -> Result<Writer, AppendError> {
        let open = self.open.iter().position(|(of, _)| of == path).map(|at| self.open.remove(at).1);
        match open.filter(Writer::is_in_place) {
            Some(writer) if writer.has_room(&self.style) => Ok(writer),
            _ => Writer::open_newest(path, &self.style),
        }
    }

    pub(super) fn close(&mut self) {
        self.open.clear();
    }
}

#[derive(Debug)]
struct Writer {
    path: PathBuf,
    file: File,
    bytes: u64,
}

impl Writer {
    /// The file of the highest number, or the next one where that is full.
    fn open_newest(path: &Path, style: &Style) -> Result<Self, AppendError> {
        let number = newest_number(path).map_err(|source| refused(path, "list the directory of", source))?;
        let writer = Self::open(numbered(path, number), style)?;
        if writer.has_room(style) { Ok(writer) } else { Self::open(numbered(path, number + 1), style) }
    }

    fn open(path: PathBuf, style: &Style) -> Result<Self, AppendError> {
        let parent = parent_of(&path);
        create_directories(parent).map_err(|source| refused(parent, "create", source))?;
        let existed = path.exists();
        let mut options = OpenOptions::new();
        let opened = options.create(true).truncate(false).read(true).write(true).mode(style.mode).open(&path);
        let mut file = opened.map_err(|source| refused(&path, "open", source))?;
        if !existed {
            sync_directory(parent).map_err(|source| refused(parent, "sync", source))?;
        }
        let bytes = repair(&mut file, style.packing).map_err(|source| refused(&path, "repair the end of", source))?;
        Ok(Self { path, file, bytes })
    }

    fn has_room(&self, style: &Style) -> bool {
        style.size_bytes_max.is_none_or(|max| self.bytes < max)
    }

    /// Whether the path still leads to the open file: log rotation renames or removes files under those who write to them.
    fn is_in_place(&self) -> bool {
        let (Ok(there), Ok(here)) = (fs::metadata(&self.path), self.file.metadata()) else { return false };
        (there.dev(), there.ino(), there.len()) == (here.dev(), here.ino(), self.bytes)
    }

    fn append(&mut self, style: &Style, lines: &[u8]) -> Result<(), AppendError> {
        let written = match style.packing {
            Packing::ZstdFrames => pack(lines).and_then(|frame| self.write(&frame)),
            Packing::Lines => self.write(lines),
        };
        written.map_err(|source| {
            let left = match self.file.set_len(self.bytes) {
                Ok(()) => Left::Nothing,
                Err(_) => Left::PerhapsAll,
            };
            AppendError { path: self.path.clone(), action: "write to", source, left }
        })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(self.bytes))?;
        self.file.write_all(bytes)?;
        self.file.sync_data()?;
        self.bytes += bytes.len() as u64;
        Ok(())
    }
}

fn refused(path: &Path, action: &'static str, source: io::Error) -> AppendError {
    AppendError { path: path.to_owned(), action, source, left: Left::Nothing }
}

/// One batch, one frame: frames follow each other (RFC 8878 section 3.1), and a half one is cut off without touching those before it.
fn pack(lines: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::with_capacity(lines.len() / 8), ZSTD_LEVEL)?;
    encoder.include_checksum(true)?;
    encoder.set_pledged_src_size(Some(lines.len() as u64))?;
    encoder.write_all(lines)?;
    encoder.finish()
}

/// Cuts off what a crash left unfinished, and says how long the file is then.
fn repair(file: &mut File, packing: Packing) -> io::Result<u64> {
    let whole = match packing {
        Packing::ZstdFrames => recover::whole_frames(file)?,
        Packing::Lines => recover::whole_lines(file)?,
    };
    if whole < file.metadata()?.len() {
        file.set_len(whole)?;
        file.sync_all()?;
    }
    Ok(whole)
}

fn parent_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Creates what is missing and syncs the directory that each new one is in.
pub(super) fn create_directories(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let parent = parent_of(dir);
    if dir.parent().is_some() {
        create_directories(parent)?;
    }
    match DirBuilder::new().mode(DIRECTORY_MODE).create(dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
        Ok(()) => sync_directory(parent),
    }
}

fn sync_directory(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// `audit.ndjson.zst` is the first file, `audit.1.ndjson.zst` the second, and so on: the number stands before the last extension
/// and `.zst`. A file keeps its name for ever; the highest number is the newest.
fn numbered(path: &Path, number: u64) -> PathBuf {
    if number == 0 {
        return path.to_owned();
    }
    let (stem, extensions) = split_name(path);
    let mut name = stem;
    name.push(format!(".{number}"));
    name.push(extensions);
    path.with_file_name(name)
}

fn split_name(path: &Path) -> (OsString, OsString) {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let (body, zst) = match name.strip_suffix(".zst") {
        Some(body) if !body.is_empty() => (body, ".zst"),
        _ => (name.as_str(), ""),
    };
    let (stem, extension) = match body.rfind('.') {
        Some(at) if at > 0 => body.split_at(at),
        _ => (body, ""),
    };
    (stem.into(), format!("{extension}{zst}").into())
}

/// The highest number among the files of a path; 0 where there is none.
fn newest_number(path: &Path) -> io::Result<u64> {
    let entries = match fs::read_dir(parent_of(path)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    let (stem, extensions) = split_name(path);
    let (stem, extensions) = (format!("{}.", stem.to_string_lossy()), extensions.to_string_lossy().into_owned());
    let mut newest = 0;
    for entry in entries {
        let name = entry?.file_name();
        let name = name.to_string_lossy();
        let number = name.strip_prefix(&stem).and_then(|rest| rest.strip_suffix(extensions.as_str()));
        newest = newest.max(number.and_then(|number| number.parse().ok()).unwrap_or(0));
    }
    Ok(newest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(path: &str, number: u64, expected: &str) {
        assert_eq!(numbered(Path::new(path), number), Path::new(expected));
    }

    #[test]
    fn the_number_stands_before_the_extension() {
        check("/x/audit-2026-01-31.ndjson", 0, "/x/audit-2026-01-31.ndjson");
        check("/x/audit-2026-01-31.ndjson", 1, "/x/audit-2026-01-31.1.ndjson");
        check("/x/audit.ndjson.zst", 12, "/x/audit.12.ndjson.zst");
        check("/x/audit", 2, "/x/audit.2");
        check("/x/.audit", 2, "/x/.audit.2");
        check("/x/.zst", 2, "/x/.zst.2");
    }

    #[test]
    fn the_newest_number_is_found_whatever_was_removed() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("audit.ndjson");
        assert_eq!(newest_number(&path).expect("listed"), 0);
        for name in ["audit.9.ndjson", "audit.11.ndjson", "audit.x.ndjson", "audit.12.ndjson.zst", "other.20.ndjson", "audit.ndjson"] {
            fs::write(dir.path().join(name), "").expect("written");
        }
        assert_eq!(newest_number(&path).expect("listed"), 11);
        assert_eq!(newest_number(&dir.path().join("missing/audit.ndjson")).expect("listed"), 0);
    }
}

//! `type = "file"`: one record a line, in files by date.
//!
//! # What it promises
//!
//! - A batch counts as delivered when it is written and synced (fdatasync; the directory too where a file is new).
//! - `path` is filled from the event's own time in UTC, or from when it was collected where it has none, so that an event lands in the
//!   same file whenever it is delivered. Org names cannot lead out of the directory.
//! - With `size_max`, a file that has reached it is left alone and `name.1.ndjson`, `name.2.ndjson` and so on follow. No file is ever
//!   renamed, so that whatever reads them can go by names.
//! - With `compression = "zstd"`, the path ends in `.zst`, and each batch is one frame with a checksum. Frames may follow each other
//!   (RFC 8878), so `zstdcat` reads the file at any moment.
//! - A file that was renamed or removed by others, as log rotation does, is opened afresh before the next batch.
//!
//! # What it does not do
//!
//! It deletes nothing. Two sinks must not share a path.
//!
//! # On a crash
//!
//! A half line or frame at a file's end was never acknowledged. It is cut off before the file is written to again, and its events come
//! again: at least once, and never a new line glued to half an old one.

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::future::BoxFuture;
use thiserror::Error;

use super::{Batch, ErrorClass, Receipt, Sink, SinkError, Verdict, ndjson};
use crate::{
    config::settings::{Compression, FileSettings},
    event::Event,
};

pub use template::TemplateError;

use template::Template;
use writer::{AppendError, Left, Packing, Style, Writers};

mod recover;
pub(in crate::sink) mod template;
mod writer;

/// Why a file sink could not be made.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum FileSinkError {
    /// The path cannot be filled in.
    #[error(transparent)]
    Path(#[from] TemplateError),
    /// The files cannot be compressed that way.
    #[error("compression is gzip, which a file sink does not have; write zstd or none")]
    Compression,
}

/// Writes lines to files.
#[derive(Debug)]
pub struct FileSink {
    template: Template,
    writers: Arc<Mutex<Writers>>,
}

/// The lines for one file, and which events of the batch they are.
#[derive(Debug)]
struct Share {
    path: PathBuf,
    lines: Vec<u8>,
    events: Vec<usize>,
}

impl FileSink {
    /// With those settings. Touches no file yet.
    pub fn new(settings: &FileSettings) -> Result<Self, FileSinkError> {
        let (packing, extension) = match settings.compression {
            Compression::None => (Packing::Lines, ""),
            Compression::Zstd if settings.path.ends_with(".zst") => (Packing::ZstdFrames, ""),
            Compression::Zstd => (Packing::ZstdFrames, ".zst"),
            Compression::Gzip => return Err(FileSinkError::Compression),
        };
        let template = Template::parse(&format!("{}{extension}", settings.path))?;
        let style = Style { packing, size_bytes_max: settings.size_bytes_max, mode: settings.mode };
        Ok(Self { template, writers: Arc::new(Mutex::new(Writers::new(style))) })
    }

    /// Sorts a batch's records by file, in the order in which the files come first.
    fn shares(&self, batch: Batch<'_>) -> Vec<Share> {
        let mut shares: Vec<Share> = Vec::new();
        let mut by_path: HashMap<PathBuf, usize> = HashMap::new();
        let mut by_period: Option<(i64, usize)> = None;
        for (index, (event, record)) in batch.iter().enumerate() {
            let time = event_time(event);
            let period = self.template.period(time);
            let share = match by_period {
                Some((known, share)) if known == period => share,
                _ => *by_path.entry(self.template.path(batch.stream(), time)).or_insert_with_key(|path| {
                    shares.push(Share { path: path.clone(), lines: Vec::new(), events: Vec::new() });
                    shares.len() - 1
                }),
            };
            by_period = Some((period, share));
            ndjson::push_line(record, &mut shares[share].lines);
            shares[share].events.push(index);
        }
        shares
    }

    async fn write(&self, batch: Batch<'_>) -> Result<Receipt, SinkError> {
        let (shares, writers, count) = (self.shares(batch), self.writers.clone(), batch.len());
        let written =
            tokio::task::spawn_blocking(move || append_all(&mut writers.lock().unwrap_or_else(PoisonError::into_inner), shares, count));
        written.await.unwrap_or_else(|_| Err(SinkError::new(ErrorClass::Ambiguous, "the write was torn down with the process")))
    }
}

fn event_time(event: &Event) -> crate::event::Timestamp {
    event.time.unwrap_or(event.collected_at)
}

/// Writes one file after the other. What is written before one of them fails stays delivered.
fn append_all(writers: &mut Writers, shares: Vec<Share>, count: usize) -> Result<Receipt, SinkError> {
    let mut verdicts = vec![Verdict::NotTaken; count];
    let mut any = false;
    for share in shares {
        match writers.append(&share.path, &share.lines) {
            Ok(()) => share.events.iter().for_each(|&index| verdicts[index] = Verdict::Accepted),
            // The rest comes again at once, and the failure shows then.
            Err(error) if any && error.left == Left::Nothing => return Ok(Receipt::Each(verdicts)),
            Err(error) => return Err(classify(&error)),
        }
        any = true;
    }
    Ok(Receipt::All)
}

fn classify(error: &AppendError) -> SinkError {
    use io::ErrorKind as Kind;
    let (path, action) = (error.path.display(), error.action);
    if error.left == Left::PerhapsAll {
        return SinkError::new(ErrorClass::Ambiguous, format!("failed to {action} {path}, and to undo it: {}", error.source));
    }
    let (class, mend) = match error.source.kind() {
        Kind::StorageFull | Kind::QuotaExceeded => {
            (ErrorClass::Retryable, "the disk or quota is full; free some room, delivery goes on by itself")
        }
        Kind::PermissionDenied => {
            (ErrorClass::Config, "let the service's user write there (under systemd: ReadWritePaths=), or choose another path")
        }
        Kind::ReadOnlyFilesystem => {
            (ErrorClass::Config, "the file system is read-only; choose another path (under systemd: ReadWritePaths=)")
        }
        Kind::NotADirectory | Kind::IsADirectory | Kind::InvalidFilename | Kind::InvalidInput | Kind::NotSeekable => {
            (ErrorClass::Config, "choose another path")
        }
        _ => (ErrorClass::Retryable, "it is tried again"),
    };
    SinkError::new(class, format!("failed to {action} {path}: {}; {mend}", error.source))
}

/// Tries whether a file can be made in the directory.
fn probe(directory: &Path) -> Result<(), SinkError> {
    let failed = |action, path: &Path, source| classify(&AppendError { path: path.to_owned(), action, source, left: Left::Nothing });
    writer::create_directories(directory).map_err(|source| failed("create", directory, source))?;
    let trial = directory.join(format!(".miro-siem-probe-{}", std::process::id()));
    std::fs::File::create(&trial).map_err(|source| failed("create", &trial, source))?;
    std::fs::remove_file(&trial).map_err(|source| failed("remove", &trial, source))
}

impl Sink for FileSink {
    fn probe(&self) -> BoxFuture<'_, Result<(), SinkError>> {
        let directory = self.template.fixed_directory();
        Box::pin(async move {
            let probed = tokio::task::spawn_blocking(move || probe(&directory)).await;
            probed.unwrap_or_else(|_| Err(SinkError::new(ErrorClass::Retryable, "the probe was torn down with the process")))
        })
    }

    fn deliver<'a>(&'a self, batch: Batch<'a>) -> BoxFuture<'a, Result<Receipt, SinkError>> {
        Box::pin(self.write(batch))
    }

    fn close(&self) -> BoxFuture<'_, Result<(), SinkError>> {
        let writers = self.writers.clone();
        Box::pin(async move {
            // Waits behind a write that is still under way.
            let closed = tokio::task::spawn_blocking(move || writers.lock().unwrap_or_else(PoisonError::into_inner).close()).await;
            closed.map_err(|_| SinkError::new(ErrorClass::Ambiguous, "closing was torn down with the process"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(kind: io::ErrorKind, left: Left, class: ErrorClass, words: &str) {
        let error = classify(&AppendError { path: "/var/log/x".into(), action: "write to", source: kind.into(), left });
        assert_eq!(error.class(), class, "{error}");
        assert!(error.to_string().starts_with("failed to write to /var/log/x") && error.to_string().contains(words), "{error}");
    }

    #[test]
    fn a_fault_says_what_mends_it_and_pauses_only_where_a_person_must() {
        check(io::ErrorKind::StorageFull, Left::Nothing, ErrorClass::Retryable, "free some room");
        check(io::ErrorKind::QuotaExceeded, Left::Nothing, ErrorClass::Retryable, "free some room");
        check(io::ErrorKind::PermissionDenied, Left::Nothing, ErrorClass::Config, "ReadWritePaths=");
        check(io::ErrorKind::ReadOnlyFilesystem, Left::Nothing, ErrorClass::Config, "read-only");
        check(io::ErrorKind::Other, Left::Nothing, ErrorClass::Retryable, "tried again");
        check(io::ErrorKind::StorageFull, Left::PerhapsAll, ErrorClass::Ambiguous, "to undo it");
    }
}

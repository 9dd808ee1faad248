//! A look at a state directory that no process uses, without changing anything in it: what [`Proof`] asks for, from the log and the
//! files beside it.

use std::{
    fs::File,
    io,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::future::{BoxFuture, ready};

use super::{
    Tuning,
    damage::Loss,
    examine::remember_ids,
    ledger::Ledger,
    lock::{Lock, Paths, failed},
    named::search,
    recount::count,
    seen::Seen,
    segment::SegmentName,
    storage::Storage,
    survey::Survey,
    tallies::{Found, TallyStore},
    tally,
};
use crate::{
    event::{StreamId, TimeRange},
    journal::{
        JournalError,
        proof::{Fingerprint, KnownIds, Named, Proof, Slot, StreamProof, Tallies},
    },
};

/// Refuses every change.
#[derive(Debug)]
struct ReadOnly;

fn refused<T>() -> io::Result<T> {
    Err(io::Error::new(io::ErrorKind::ReadOnlyFilesystem, "the state is only looked at"))
}

impl Storage for ReadOnly {
    fn create(&self, _: &Path) -> io::Result<File> {
        refused()
    }

    fn write_at(&self, _: &File, _: &[u8], _: u64) -> io::Result<()> {
        refused()
    }

    fn sync(&self, _: &File) -> io::Result<()> {
        refused()
    }

    fn truncate(&self, _: &File, _: u64) -> io::Result<()> {
        refused()
    }

    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        refused()
    }

    fn remove(&self, _: &Path) -> io::Result<()> {
        refused()
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        refused()
    }
}

/// A state directory that is looked at. As long as this lives, no process can start to use the directory.
pub struct Inspection {
    paths: Paths,
    ledger: Ledger,
    segments: Vec<SegmentName>,
    parts: Mutex<(Seen, TallyStore)>,
    _lock: Option<Lock>,
}

impl Inspection {
    /// Looks at a state directory. Fails where a process uses it. Blocks, and reads the newest part of the log.
    pub fn of(dir: &Path, ids_reach: Duration) -> Result<Self, JournalError> {
        let paths = Paths::new(dir);
        std::fs::metadata(&paths.log).map_err(failed("find a journal in", dir))?;
        let lock = Lock::look(dir)?;
        let tuning = Tuning { storage: Arc::new(ReadOnly), ids_in_memory: usize::MAX, ..Tuning::default() };
        let mut survey = Survey::of(&paths, &tuning, Loss::new(ids_reach))?;
        let loss = std::mem::replace(&mut survey.loss, Loss::new(Duration::ZERO));
        let reopen = loss.reopen(survey.lost.clone());
        survey.ledger.reopen(&reopen);
        let mut seen =
            Seen::open(tuning.storage.clone(), paths.seen.clone(), ids_reach, tuning.ids_in_memory).map_err(failed("open", &paths.seen))?;
        let had_ids = seen.reached() > 0;
        let from = if had_ids { survey.ledger.ids_synced + 1 } else { 0 };
        for found in survey.found.iter().filter(|found| found.segment.last_sequence >= from) {
            remember_ids(&found.file, from, found.segment.last_sequence + 1, &mut seen)
                .map_err(|error| survey.scan_failed(found.segment.name, error))?;
        }
        let found = Found::read(&paths.tallies).map_err(failed("open", &paths.tallies))?;
        let (mut store, recount) = TallyStore::new(tuning.storage.clone(), &paths, &found, survey.ledger.journal);
        count(&survey, &mut store, &recount, had_ids)?;
        let segments = survey.found.iter().map(|found| found.segment.name).collect();
        let ledger = survey.ledger;
        Ok(Self { ledger, segments, parts: Mutex::new((seen, store)), _lock: lock, paths })
    }

    fn parts(&self) -> MutexGuard<'_, (Seen, TallyStore)> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Proof for Inspection {
    fn journal_id(&self) -> u64 {
        self.ledger.journal
    }

    fn streams(&self) -> BoxFuture<'_, Result<Vec<StreamProof>, JournalError>> {
        let mut proofs = Vec::new();
        for (stream, coverage) in &self.ledger.coverage {
            let ids_from = match self.parts().0.kept_from(stream, None) {
                Ok(kept) => kept.unwrap_or(coverage.newest()),
                Err(error) => return Box::pin(ready(Err(failed("list the known ids in", &self.paths.seen)(error)))),
            };
            proofs.push(StreamProof { stream: stream.clone(), coverage: coverage.clone(), ids_from });
        }
        Box::pin(ready(Ok(proofs)))
    }

    fn tallies(&self, stream: &StreamId, range: TimeRange) -> BoxFuture<'_, Result<Tallies, JournalError>> {
        let tallies = self.parts().1.query(stream, range).map_err(failed("read the tallies in", &self.paths.tallies));
        Box::pin(ready(tallies))
    }

    fn known_ids(&self, stream: &StreamId, slot: Slot) -> BoxFuture<'_, Result<KnownIds, JournalError>> {
        let ids = self.parts().0.ids_of(stream, tally::bucket(slot)).map_err(failed("read the known ids in", &self.paths.seen));
        Box::pin(ready(ids.map(|ids| KnownIds { ids })))
    }

    fn named(&self, stream: &StreamId, wanted: Vec<Fingerprint>) -> BoxFuture<'_, Result<Vec<Named>, JournalError>> {
        Box::pin(ready(search(&self.segments, &self.paths.log, stream, &wanted)))
    }
}

impl std::fmt::Debug for Inspection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inspection").field("dir", &self.paths.root).finish_non_exhaustive()
    }
}

//! The log as the writer has it: appends records, makes them durable, begins new segments and seals complete ones.

use std::sync::Arc;

use super::{
    index::{Index, Seal},
    ledger::Ledger,
    lock::{Paths, failed},
    record::{Kind, Place, frame},
    segment::{Active, IndexAt, Segment, SegmentName},
    storage::{Storage, remove_if_there},
};
use crate::journal::JournalError;

/// When a segment is complete.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Bytes from which on a new one is begun.
    pub(super) segment_bytes: u64,
    /// Records from which on a new one is begun, so that an index is never large.
    pub(super) segment_records: u32,
}

/// The writing end of the log.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) storage: Arc<dyn Storage>,
    pub(super) paths: Paths,
    pub(super) active: Active,
    pub(super) limits: Limits,
}

/// The first record of a segment: a snapshot.
pub(super) fn snapshot_record(ledger: &Ledger, sequence: u64) -> Vec<u8> {
    let mut snapshot = ledger.clone();
    snapshot.sequence = sequence;
    frame(Kind::Snapshot, Place { sequence, next_position: ledger.next_position }, &snapshot.encode())
}

/// Creates a segment whose first record is a snapshot of the ledger with that number. Durable on return; after an error nothing is left.
pub(super) fn begin_segment(storage: &dyn Storage, paths: &Paths, ledger: &Ledger, sequence: u64) -> Result<Active, JournalError> {
    let name = SegmentName { first_position: ledger.next_position, first_sequence: sequence };
    let path = name.path(&paths.log);
    // What may be left of an earlier attempt holds nothing that was acknowledged: its number was not given out.
    remove_if_there(storage, &path).map_err(failed("delete", &path))?;
    let file = storage.create(&path).map_err(failed("create", &path))?;
    let record = snapshot_record(ledger, sequence);
    let written = storage.write_at(&file, &record, 0).and_then(|()| storage.sync(&file)).and_then(|()| storage.sync_dir(&paths.log));
    if let Err(error) = written {
        // A file that stays is the newest segment at the next start, and then cut to what is whole in it.
        let _ = storage.remove(&path);
        return Err(failed("write", &path)(error));
    }
    Ok(Active::new(name, Arc::new(file), record.len() as u64, 1))
}

impl Log {
    /// Whether a new segment is due before the next record.
    pub(super) fn is_due(&self) -> bool {
        self.active.spent || self.active.len >= self.limits.segment_bytes || self.active.records >= self.limits.segment_records
    }

    /// Appends a record; it is durable after the next `sync`. Returns its offset.
    pub(super) fn append(&mut self, record: &[u8]) -> Result<u64, JournalError> {
        let path = self.active.name.path(&self.paths.log);
        self.active.append(&*self.storage, record).map_err(failed("write", &path))
    }

    pub(super) fn sync(&mut self) -> Result<(), JournalError> {
        let path = self.active.name.path(&self.paths.log);
        self.active.sync(&*self.storage).map_err(failed("sync", &path))
    }

    pub(super) fn take_back(&mut self) {
        self.active.take_back(&*self.storage);
    }

    /// Begins a new segment and returns the complete one, sealed if that was possible: the seal only makes opening faster.
    pub(super) fn roll(&mut self, ledger: &Ledger, sequence: u64, index: &Index) -> Result<Segment, JournalError> {
        let fresh = begin_segment(&*self.storage, &self.paths, ledger, sequence)?;
        let mut old = std::mem::replace(&mut self.active, fresh);
        let seal = Seal { last_sequence: sequence - 1, next_position: ledger.next_position, streams: index.summaries() };
        let offset = if old.spent { None } else { old.append(&*self.storage, &seal.record(index, old.len)).ok() };
        let synced = offset.is_some() && old.sync(&*self.storage).is_ok();
        Ok(Segment {
            name: old.name,
            bytes: old.len,
            last_sequence: seal.last_sequence,
            next_position: seal.next_position,
            streams: seal.streams,
            index: match offset.filter(|_| synced) {
                Some(offset) => IndexAt::Seal(offset),
                None => IndexAt::Memory(Arc::new(index.clone())),
            },
        })
    }

    /// Deletes a segment.
    pub(super) fn delete(&self, name: SegmentName) -> Result<(), JournalError> {
        let path = name.path(&self.paths.log);
        match self.storage.remove(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failed("delete", &path)(error)),
            _ => Ok(()),
        }
    }

    /// Makes deletions durable.
    pub(super) fn sync_dir(&self) -> Result<(), JournalError> {
        self.storage.sync_dir(&self.paths.log).map_err(failed("sync", &self.paths.log))
    }
}

//! What the writer keeps beside the log: acknowledgements, subscriptions, the checkpoint store, and the deletion of segments that
//! everybody has done with.

use std::{collections::BTreeMap, time::Instant};

use tracing::{info, warn};

use super::{
    checkpoint::{Changes, CheckpointError, Head},
    ledger::{Acks, Entry},
    lock::failed,
    log::snapshot_record,
    quarantine,
    record::{Kind, Place, frame},
    writer::{Due, Reply, Writer},
};
use crate::{
    event::{Position, SinkName, StreamId},
    journal::JournalError,
};

/// One waiting acknowledgement.
pub(super) type Ack = (SinkName, StreamId, Position, Reply<()>);

impl Writer {
    /// Names who is subscribed. Written to the log, so that it is never only in the checkpoint store.
    pub(super) fn subscribe(&mut self, subscriptions: Vec<(SinkName, StreamId)>) -> Result<(), JournalError> {
        let ledger = self.shared.view().ledger.clone();
        let start = std::mem::take(&mut self.newcomers_start).unwrap_or_else(|| self.shared.view().head());
        let wanted = |key: &(SinkName, StreamId)| ledger.acks.get(key).copied().unwrap_or(start);
        let acks: Acks = subscriptions.into_iter().map(|key| (key.clone(), wanted(&key))).collect();
        if acks.keys().eq(ledger.acks.keys()) {
            return Ok(());
        }
        let gone: Vec<_> = ledger.acks.keys().filter(|key| !acks.contains_key(*key)).cloned().collect();
        self.due.acks.extend(acks.keys().cloned().chain(gone));
        self.write_snapshot(|ledger| ledger.acks = acks)?;
        self.save_or_warn(&Acks::new());
        self.trim();
        Ok(())
    }

    /// Writes a snapshot of the ledger with a change in it.
    pub(super) fn write_snapshot(&mut self, change: impl FnOnce(&mut super::ledger::Ledger)) -> Result<(), JournalError> {
        self.begin_segment_if_due()?;
        let mut ledger = self.shared.view().ledger.clone();
        change(&mut ledger);
        let record = snapshot_record(&ledger, self.batch.next_sequence);
        self.write_alone(Entry::Snapshot(Box::new(ledger)), &record)
    }

    /// Makes all waiting acknowledgements durable with one save.
    pub(super) fn acknowledge(&mut self, waiting: Vec<Ack>) {
        if waiting.is_empty() {
            return;
        }
        let mut moved = Acks::new();
        {
            let view = self.shared.view();
            for (sink, stream, up_to, _) in &waiting {
                let key = (sink.clone(), stream.clone());
                let Some(held) = view.ledger.acks.get(&key) else { continue };
                let up_to = (*up_to).min(view.head());
                if up_to > *held.max(moved.get(&key).unwrap_or(held)) {
                    moved.insert(key, up_to);
                }
            }
        }
        let saved = if moved.is_empty() { Ok(()) } else { self.save_acks(&moved) };
        // Before the answer: who has acknowledged may count on the room that this makes.
        self.trim();
        for (_, _, _, reply) in waiting {
            let _ = reply.send(saved.as_ref().copied().map_err(|error| self.checkpoint_failed(error)));
        }
    }

    fn save_acks(&mut self, moved: &Acks) -> Result<(), CheckpointError> {
        let mut saved = self.save(moved);
        if saved.as_ref().is_err_and(CheckpointError::is_no_space) {
            // What every receiver has may go before that is written down: at worst nothing is left to be delivered again.
            self.shared.view_mut().ledger.acks.extend(moved.clone());
            self.trim();
            saved = self.save(moved);
        }
        if saved.is_ok() {
            self.shared.view_mut().ledger.acks.extend(moved.clone());
        }
        saved
    }

    fn checkpoint_failed(&self, error: &CheckpointError) -> JournalError {
        if error.is_no_space() {
            return JournalError::NoSpace { path: self.shared.dir.display().to_string() };
        }
        JournalError::Checkpoint { problem: error.to_string() }
    }

    /// Saves what has changed, where some of it has waited long enough.
    pub(super) fn checkpoint_if_due(&mut self) {
        if self.due.since.is_some_and(|since| since.elapsed() >= self.checkpoint_after) {
            self.save_or_warn(&Acks::new());
        }
    }

    pub(super) fn save_or_warn(&mut self, moved: &Acks) {
        match self.save(moved) {
            Ok(()) if self.save_trouble.is_over() => info!("checkpoints are saved again"),
            Ok(()) => {}
            Err(error) => {
                if self.save_trouble.is_new() {
                    warn!(%error, "failed to save checkpoints; the log has them, and it is tried again");
                }
                self.due.since = Some(Instant::now());
            }
        }
    }

    /// Saves acknowledgements that are to move, and all else that is due. A database that fails is opened again, and one that
    /// stays broken is set aside and built anew.
    fn save(&mut self, moved: &Acks) -> Result<(), CheckpointError> {
        let head = self.head();
        let due = std::mem::take(&mut self.due);
        let result = if self.store.is_open() && self.store_is_whole {
            let changes = self.changes(&due, moved);
            self.store.save(head, &changes)
        } else {
            self.save_everything(head, moved)
        };
        self.store_is_whole = result.is_ok();
        if result.is_ok() {
            self.expire_ids();
        } else {
            self.due = due;
        }
        result
    }

    fn save_everything(&mut self, head: Head, moved: &Acks) -> Result<(), CheckpointError> {
        let all = self.everything(moved);
        let first = self.store.save_all(head, &all);
        match first {
            Err(ref error) if !error.is_the_disk() => {
                quarantine::set_checkpoints_aside(&self.log.paths, error)?;
                self.store.save_all(head, &all)
            }
            other => other,
        }
    }

    fn head(&self) -> Head {
        let view = self.shared.view();
        Head { journal: view.ledger.journal, update: 0, sequence: view.ledger.sequence, next_position: view.ledger.next_position }
    }

    fn changes(&self, due: &Due, moved: &Acks) -> Changes {
        let view = self.shared.view();
        let ledger = &view.ledger;
        let coverage = due.streams.iter().filter_map(|stream| Some((stream.clone(), ledger.coverage.get(stream)?.clone())));
        let mut acks: BTreeMap<_, _> = due.acks.iter().map(|key| (key.clone(), ledger.acks.get(key).copied())).collect();
        acks.extend(moved.iter().map(|(key, position)| (key.clone(), Some(*position))));
        let state = due.keys.iter().filter_map(|key| Some((key.clone(), ledger.state.get(key)?.clone())));
        Changes { coverage: coverage.collect(), acks: acks.into_iter().collect(), state: state.collect() }
    }

    fn everything(&self, moved: &Acks) -> Changes {
        let view = self.shared.view();
        let mut acks = view.ledger.acks.clone();
        acks.extend(moved.clone());
        Changes {
            coverage: view.ledger.coverage.clone().into_iter().collect(),
            acks: acks.into_iter().map(|(key, position)| (key, Some(position))).collect(),
            state: view.ledger.state.clone().into_iter().collect(),
        }
    }

    fn expire_ids(&mut self) {
        let streams: Vec<StreamId> = self.shared.view().ledger.coverage.keys().cloned().collect();
        for (stream, from) in self.needed_ids(streams.into_iter()) {
            if let Err(error) = self.seen.expire(&stream, from) {
                warn!(%error, %stream, "failed to delete ids that are no longer needed; it is tried again");
            }
        }
    }

    /// Deletes the segments that every subscriber has done with, oldest first. The newest always stays.
    pub(super) fn trim(&mut self) {
        let count = self.shared.view().settled_segments();
        if count == 0 {
            return;
        }
        if let Err(error) = self.delete_oldest(count) {
            warn!(%error, "failed to delete delivered segments; it is tried again");
        }
    }

    fn delete_oldest(&mut self, count: usize) -> Result<(), JournalError> {
        let count = self.counted_segments(count)?;
        let newest = self.shared.view().sealed.get(count - 1).map_or(0, |segment| segment.last_sequence);
        if self.shared.view().ledger.ids_synced < newest {
            self.seen.flush().map_err(failed("write ids to", &self.log.paths.seen))?;
            let mut view = self.shared.view_mut();
            view.ledger.ids_synced = view.ledger.ids_synced.max(newest);
        }
        // First it is written that they go: a segment that is missing without a word was lost. On a full disk that has to wait until
        // the deletion has made room for it.
        let oldest = {
            let view = self.shared.view();
            view.sealed.get(count).map_or(view.active.name, |segment| segment.name).first_sequence
        };
        let told = self.tell_trim(oldest);
        for _ in 0..count {
            // Out of the view first: a reader that misses the file looks again and finds it gone there too.
            let Some(segment) = self.shared.view_mut().sealed.pop_front() else { break };
            if let Err(error) = self.log.delete(segment.name) {
                self.shared.view_mut().sealed.push_front(segment);
                return Err(error);
            }
            tracing::debug!(segment = %segment.name, bytes = segment.bytes, "deleted a delivered segment");
        }
        if told.is_err() {
            self.tell_trim(oldest)?;
        }
        self.log.sync_dir()
    }

    /// Notes that all records in front of this one are deleted. A spent segment takes no record; the next snapshot says it then.
    fn tell_trim(&mut self, oldest: u64) -> Result<(), JournalError> {
        if self.log.active.spent {
            self.shared.view_mut().ledger.oldest = oldest;
            return Ok(());
        }
        let place = Place { sequence: self.batch.next_sequence, next_position: self.batch.next_position };
        self.write_alone(Entry::Trim { oldest }, &frame(Kind::Trim, place, &oldest.to_le_bytes()))
    }

    /// Writes down all that only memory knows, and lets go of the state directory.
    pub(super) fn close(&mut self) -> Result<(), JournalError> {
        let closed = self.settle();
        self.store.close();
        self.shared.close();
        self.lock = None;
        info!("the journal is closed");
        closed
    }

    fn settle(&mut self) -> Result<(), JournalError> {
        self.finish();
        self.seen.flush().map_err(failed("write ids to", &self.log.paths.seen))?;
        self.flush_tallies()?;
        let (ids_synced, newest) = {
            let view = self.shared.view();
            (view.ledger.ids_synced, view.ledger.sequence)
        };
        if ids_synced < newest {
            // So that the next start need not read the ids of this segment again.
            self.write_snapshot(|ledger| ledger.ids_synced = newest + 1)?;
        }
        self.save(&Acks::new()).map_err(|error| self.checkpoint_failed(&error))
    }
}

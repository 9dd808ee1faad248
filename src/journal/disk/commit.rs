//! A commit on its way into the log: what it does to coverage, which of its events are new, and whether there is room for it.

use std::time::Duration;

use super::{
    index::IndexEntry,
    ledger::Entry,
    lock::failed,
    page::{Before, Bucket, Draft, Facts, Id, IdMaker, Run},
    record::{Kind, Place, frame},
    tally::{self, PageTally},
    view::View,
    writer::{Answer, Reply, Staged, Writer},
};
use crate::{
    coverage::Coverage,
    event::{Origin, RawEvent, StreamId, Timestamp},
    journal::{Commit, Committed, CoverageChange, JournalError},
};

/// All values of the small state together. A snapshot holds them all.
const STATE_BYTES_MAX: usize = 8 << 20;

/// One value of the small state.
const VALUE_BYTES_MAX: usize = 64 << 10;

impl Writer {
    pub(super) fn stage_commit(&mut self, commit: Commit, reply: Reply<Committed>) {
        match self.prepare(&commit) {
            Ok(prepared) => {
                let Prepared { entry, index, fresh, coverage } = prepared;
                let tally = Some((commit.stream.clone(), tally::of_commit(&commit, &fresh)));
                self.batch.coverage.insert(commit.stream, coverage.clone());
                let answer = Answer::Commit { fresh, coverage, reply };
                self.stage(entry, index, tally, answer);
            }
            Err(error) => drop(reply.send(Err(error))),
        }
    }

    pub(super) fn stage_state(&mut self, key: String, value: Vec<u8>, reply: Reply<()>) {
        let written = self.fitting_state(&key, &value).and_then(|()| self.begin_segment_if_due()).and_then(|()| {
            let place = Place { sequence: self.batch.next_sequence, next_position: self.batch.next_position };
            self.log.append(&frame(Kind::State, place, &Entry::encode_state(&key, &value)))
        });
        match written {
            Ok(_) => self.stage(Some(Entry::State { key, value }), None, None, Answer::Done(reply)),
            Err(error) => drop(reply.send(Err(error))),
        }
    }

    fn stage(&mut self, entry: Option<Entry>, index: Option<IndexEntry>, tally: Option<(StreamId, PageTally)>, answer: Answer) {
        let sequence = self.batch.next_sequence;
        self.batch.next_position += index.map_or(0, |index| u64::from(index.count));
        self.batch.next_sequence += u64::from(entry.is_some());
        self.batch.staged.push(Staged { sequence, next_position: self.batch.next_position, entry, index, tally, answer });
    }

    fn fitting_state(&self, key: &str, value: &[u8]) -> Result<(), JournalError> {
        let view = self.shared.view();
        let others = view.ledger.state.iter().filter(|(held, _)| *held != key).map(|(key, value)| key.len() + value.len());
        if value.len() <= VALUE_BYTES_MAX && others.sum::<usize>() + key.len() + value.len() <= STATE_BYTES_MAX {
            return Ok(());
        }
        let source = std::io::Error::new(std::io::ErrorKind::InvalidInput, "the value is larger than small state may be");
        Err(JournalError::Io { action: "store state in", path: self.shared.dir.display().to_string(), source })
    }

    fn prepare(&mut self, commit: &Commit) -> Result<Prepared, JournalError> {
        // Both may end the batch, and with it what is staged: only then is it known what the commit builds upon.
        self.begin_segment_if_due()?;
        self.make_room(commit)?;
        let (coverage, before) = self.changed_coverage(commit)?;
        let sequence = self.batch.next_sequence;
        let (ids, runs) = self.ids(commit);
        let fresh = self.seen.sift(&commit.stream, sequence, &ids).map_err(failed("read the known ids in", &self.log.paths.seen))?;
        self.compare_loads();
        let facts = Facts { stream: commit.stream.clone(), change: commit.coverage, before, runs: kept_runs(&runs, &fresh) };
        let nothing = !fresh.contains(&true) && commit.coverage == CoverageChange::None;
        if nothing {
            return Ok(Prepared { entry: None, index: None, fresh, coverage });
        }
        match self.write_page(commit, &facts, &fresh, &ids) {
            Ok(index) => Ok(Prepared { entry: Some(Entry::Page(facts)), index, fresh, coverage }),
            Err(error) => {
                self.seen.take_back(sequence);
                Err(error)
            }
        }
    }

    /// The stream's coverage with the commit's change in it, and where it stood before.
    fn changed_coverage(&self, commit: &Commit) -> Result<(Coverage, Option<Before>), JournalError> {
        let held = match self.batch.coverage.get(&commit.stream) {
            Some(staged) => Some(staged.clone()),
            None => self.shared.view().ledger.coverage.get(&commit.stream).cloned(),
        };
        let before = held.as_ref().map(|held| Before { origin: held.origin(), watermark: held.watermark() });
        let out_of_order = |problem| JournalError::Sequence { stream: commit.stream.clone(), problem };
        let coverage = match (held, commit.coverage) {
            (None, CoverageChange::Begin(origin)) => Coverage::starting_at(origin),
            (Some(_), CoverageChange::Begin(_)) => return Err(out_of_order("has begun already")),
            (None, _) => return Err(out_of_order("has not begun")),
            (Some(held), CoverageChange::None) => held,
            (Some(mut held), CoverageChange::Add(range)) => {
                held.add(range)?;
                held
            }
        };
        Ok((coverage, before))
    }

    fn ids(&mut self, commit: &Commit) -> (Vec<(Bucket, Id)>, Vec<Run>) {
        let maker = self.makers.entry(commit.stream.clone()).or_insert_with(|| IdMaker::new(&commit.stream));
        let mut runs: Vec<Run> = Vec::new();
        let ids = commit.events.iter().map(|(event, _)| {
            let bucket = Bucket::of(event.time, commit.collected_at);
            match runs.last_mut().filter(|run| run.bucket == bucket) {
                Some(run) => run.count += 1,
                None => runs.push(Run { bucket, count: 1 }),
            }
            (bucket, maker.id(event.id.as_bytes()))
        });
        (ids.collect(), runs)
    }

    fn write_page(
        &mut self,
        commit: &Commit,
        facts: &Facts,
        fresh: &[bool],
        ids: &[(Bucket, Id)],
    ) -> Result<Option<IndexEntry>, JournalError> {
        let kept = || fresh.iter().zip(&commit.events).filter(|(fresh, _)| **fresh);
        let events: Vec<(&RawEvent, Origin)> = kept().map(|(_, (event, origin))| (event, *origin)).collect();
        let ids: Vec<Id> = fresh.iter().zip(ids).filter(|(fresh, _)| **fresh).map(|(_, (_, id))| *id).collect();
        let place = Place { sequence: self.batch.next_sequence, next_position: self.batch.next_position };
        let draft = Draft { place, collected_at: commit.collected_at, facts, events: &events, ids: &ids };
        let header = self.encoder.encode(&draft).map_err(failed("encode a page for", &self.log.paths.log))?;
        self.refuse_what_does_not_fit(header.total_len())?;
        let offset = self.log.append(self.encoder.record())?;
        Ok((header.count > 0).then(|| IndexEntry::new(offset, &header)))
    }

    /// Begins a new segment where the active one is complete.
    pub(super) fn begin_segment_if_due(&mut self) -> Result<(), JournalError> {
        if self.log.is_due() { self.begin_segment() } else { Ok(()) }
    }

    pub(super) fn begin_segment(&mut self) -> Result<(), JournalError> {
        self.finish();
        let newest = self.shared.view().ledger.sequence;
        match self.seen.flush() {
            Ok(()) => {
                self.shared.view_mut().ledger.ids_synced = newest;
                self.flush_tallies_or_warn();
            }
            Err(error) => tracing::warn!(%error, "failed to write ids to their files; recovery reads them from the log"),
        }
        let sequence = self.batch.next_sequence;
        let complete = {
            let view = self.shared.view();
            let mut ledger = view.ledger.clone();
            ledger.lost.forget_before(view.sealed.front().map_or(view.active.name, |segment| segment.name).first_sequence);
            self.log.roll(&ledger, sequence, &view.active.index)?
        };
        {
            let mut view = self.shared.view_mut();
            view.sealed.push_back(std::sync::Arc::new(complete));
            view.active = super::view::ActiveView {
                name: self.log.active.name,
                file: self.log.active.file.clone(),
                bytes: self.log.active.len,
                index: super::index::Index::default(),
                events: 0,
            };
            view.ledger.sequence = sequence;
        }
        self.reset_batch();
        self.trim();
        Ok(())
    }

    /// Frees the active segment where the journal might be too full for the commit and everything in it has been delivered: the
    /// newest segment is never deleted, so it must stop being the newest.
    fn make_room(&mut self, commit: &Commit) -> Result<(), JournalError> {
        let wanted: u64 = commit.events.iter().map(|(event, _)| event.raw.len() as u64 + 256).sum::<u64>() + 1_024;
        let settled = {
            let view = self.shared.view();
            let crowded = self.bytes(&view) + wanted > self.shared.bytes_max;
            crowded && view.active.events > 0 && self.batch.staged.is_empty() && view.settled(&view.active.index.summaries())
        };
        if settled { self.begin_segment() } else { Ok(()) }
    }

    fn refuse_what_does_not_fit(&self, len: u64) -> Result<(), JournalError> {
        let view = self.shared.view();
        let (bytes, bytes_max) = (self.bytes(&view), self.shared.bytes_max);
        // A journal with nothing to deliver takes a record of any size, or it would refuse that record for ever.
        let idle = view.sealed.is_empty() && view.active.events == 0 && self.batch.staged.is_empty();
        if bytes + len > bytes_max && !idle { Err(JournalError::Full { bytes, bytes_max }) } else { Ok(()) }
    }

    /// Bytes on disk with what is written and not yet published.
    fn bytes(&self, view: &View) -> u64 {
        view.bytes() - view.active.bytes + self.log.active.len
    }

    /// From when on the ids of these streams are needed: as the collection has named it, else so far behind the watermark as ids reach, but not
    /// further behind the newest time than any log of Miro's goes back. A hole that is lost for good would otherwise keep every id for ever.
    pub(super) fn needed_ids(&self, streams: impl Iterator<Item = StreamId>) -> Vec<(StreamId, Timestamp)> {
        let view = self.shared.view();
        let unnamed = |stream: &StreamId| {
            let held = view.ledger.coverage.get(stream)?;
            Some(held.watermark().max(held.newest().minus(HOLE_AGE_MAX)).minus(self.ids_reach))
        };
        streams.filter_map(|stream| Some((stream.clone(), self.shared.needed_ids(&stream).or_else(|| unnamed(&stream))?))).collect()
    }
}

/// Miro keeps its logs for a year at most, as far as is documented; where collection has not said what it needs, a hole that is older
/// cannot be filled.
const HOLE_AGE_MAX: Duration = Duration::from_secs(366 * 24 * 3_600);

struct Prepared {
    entry: Option<Entry>,
    index: Option<IndexEntry>,
    fresh: Vec<bool>,
    coverage: Coverage,
}

/// The buckets of the events that are written.
fn kept_runs(runs: &[Run], fresh: &[bool]) -> Vec<Run> {
    let mut rest = fresh;
    let mut kept = Vec::with_capacity(runs.len());
    for run in runs {
        let (these, others) = rest.split_at(run.count as usize);
        rest = others;
        let count = these.iter().filter(|fresh| **fresh).count();
        if count > 0 {
            kept.push(Run { bucket: run.bucket, count: super::codec::length(count) });
        }
    }
    kept
}

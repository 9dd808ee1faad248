//! Opening: what the segments hold decides, and everything else is brought in line with it.
//!
//! 1. A complete segment is taken at its seal's word; its records are checked when they are read. One without a seal, and the
//!    newest, are read whole, and the ledger is replayed from the newest snapshot that begins a segment.
//! 2. Record numbers have no holes. One that is missing was lost, wherever that became visible: inside a segment, between two, or
//!    behind the end of the log when the checkpoint store or the id files have heard of later records. A torn record at the end
//!    that nobody has heard of was never acknowledged, and is cut.
//! 3. What lost records proved is taken out of the coverage and their ids are forgotten, so that Miro is asked again. Their numbers
//!    and positions are never given out again: an acknowledgement cannot come to mean another event.
//! 4. What had not reached the files of tallies is counted again, see `recount`.
//! 5. A new segment is begun, whose snapshot holds all of this. Nothing is ever appended to a segment of an earlier process.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tracing::{info, warn};

use super::{
    Tuning,
    checkpoint::{CheckpointError, CheckpointStore, Saved},
    damage::{Doubt, Loss},
    examine::remember_ids,
    index::{Index, Seal},
    ledger::Ledger,
    lock::{Paths, failed},
    log::begin_segment,
    quarantine,
    recount::recount,
    seen::Seen,
    segment::{Active, IndexAt, Segment, read_index},
    storage::remove_if_there,
    survey::{FoundSegment, Survey},
    tallies::{Found, TallyStore},
    view::{ActiveView, View},
};
use crate::{
    coverage::Coverage,
    event::{Position, StreamId},
    journal::{JournalError, Options},
};

/// A journal that is ready to be used.
pub(super) struct Recovered {
    pub(super) view: View,
    pub(super) active: Active,
    pub(super) seen: Seen,
    pub(super) tallies: TallyStore,
    pub(super) store: CheckpointStore,
    /// Where new subscribers begin, if it is not certain who was subscribed.
    pub(super) newcomers_start: Option<Position>,
}

/// Opens what is in the directory, whatever state it is in.
pub(super) fn recover(paths: &Paths, options: &Options, tuning: &Tuning) -> Result<Recovered, JournalError> {
    let mut survey = Survey::of(paths, tuning, Loss::new(options.ids_reach))?;
    let mut seen = Seen::open(tuning.storage.clone(), paths.seen.clone(), options.ids_reach, tuning.ids_in_memory)
        .map_err(failed("open", &paths.seen))?;
    let mut store = CheckpointStore::new(paths.checkpoints.clone());
    let saved = load_checkpoints(&survey, &mut store)?;
    let found = Found::read(&paths.tallies).map_err(failed("open", &paths.tallies))?;
    let journal = if survey.grounded { survey.ledger.journal } else { saved.as_ref().map_or(0, |saved| saved.head.journal) };
    let (ids_reached, had_ids) = (seen.reached(), seen.reached() > 0);
    reconcile(&mut survey, saved.as_ref(), ids_reached.max(found.reached(journal)));
    let doubts = bring_ids_in_line(&mut survey, &mut seen)?;
    let tallies = recount(&survey, &found, doubts, had_ids)?;
    let uncertain = is_uncertain(&survey) && saved.is_none() && !survey.found.is_empty();
    let oldest = survey.found.first().map_or(survey.ledger.next_position, |found| found.segment.name.first_position);
    let newcomers_start = uncertain.then(|| Position(oldest.saturating_sub(1)));
    let (view, active) = begin(survey)?;
    Ok(Recovered { view, active, seen, tallies, store, newcomers_start })
}

fn load_checkpoints(survey: &Survey<'_>, store: &mut CheckpointStore) -> Result<Option<Saved>, JournalError> {
    let existed = survey.paths.checkpoints.exists();
    let problem: String = match store.load() {
        Ok(Some(saved)) if !survey.grounded || saved.head.journal == survey.ledger.journal => return Ok(Some(saved)),
        Ok(Some(_)) => "it belongs to another journal".to_owned(),
        Ok(None) => {
            if existed && !survey.found.is_empty() {
                warn!("the checkpoint store is empty although the journal is not; it is built anew from the log");
            }
            return Ok(None);
        }
        Err(error @ CheckpointError::Newer(_)) => {
            return Err(JournalError::Corrupt { path: survey.paths.checkpoints.display().to_string(), problem: error.to_string() });
        }
        Err(error) if error.is_the_disk() => {
            warn!(%error, "the checkpoint store cannot be opened; acknowledgements go back to the last snapshot in the log");
            return Ok(None);
        }
        Err(error) => error.to_string(),
    };
    store.close();
    if let Err(error) = quarantine::set_checkpoints_aside(survey.paths, &problem) {
        warn!(%error, problem, "the checkpoint store is broken and cannot be moved away; it is tried again with the next checkpoint");
    }
    Ok(None)
}

/// Whether the newest snapshot may not be the newest that there was.
fn is_uncertain(survey: &Survey<'_>) -> bool {
    !survey.grounded || !survey.lost.is_empty()
}

/// Compares the log with what the checkpoint store and the id files have heard of.
fn reconcile(survey: &mut Survey<'_>, saved: Option<&Saved>, reached: u64) {
    let heard = saved.map_or(0, |saved| saved.head.sequence).max(reached);
    let next_position = saved.map_or(0, |saved| saved.head.next_position).max(survey.ledger.next_position);
    if heard > survey.ledger.sequence {
        let positions = next_position - survey.ledger.next_position;
        survey.take_tail_losses(heard, positions);
        survey.ledger.sequence = heard;
    }
    survey.ledger.next_position = next_position;
    if let Some(saved) = saved {
        let uncertain = is_uncertain(survey);
        merge(&mut survey.ledger, saved, uncertain);
        if !survey.grounded {
            survey.ledger.journal = saved.head.journal;
        }
    }
    if survey.ledger.journal == 0 {
        survey.ledger.journal = rand::random::<u64>().max(1);
    }
    if survey.lost_positions > 0 {
        for (stream, coverage) in &survey.ledger.coverage {
            survey.loss.unknown(stream, coverage);
        }
    }
}

fn merge(ledger: &mut Ledger, saved: &Saved, uncertain: bool) {
    let head = Position(ledger.next_position.saturating_sub(1));
    for (key, position) in &saved.acks {
        let position = (*position).min(head);
        match ledger.acks.get_mut(key) {
            Some(held) => *held = position.max(*held),
            // The snapshot that subscribed it may be among the lost.
            None if uncertain => drop(ledger.acks.insert(key.clone(), position)),
            None => {}
        }
    }
    for (stream, coverage) in &saved.coverage {
        // Nothing in the log proves anything of this stream, but where it began is still worth knowing: to begin anew at the
        // present would skip all that lies between.
        ledger.coverage.entry(stream.clone()).or_insert_with(|| Coverage::starting_at(coverage.origin()));
    }
    if uncertain {
        for (key, value) in &saved.state {
            ledger.state.entry(key.clone()).or_insert_with(|| value.clone());
        }
    }
}

/// Forgets the ids of lost records, remembers those that had not reached their files, and reopens what lost records proved. Returns
/// where tallies are no longer certain.
fn bring_ids_in_line(survey: &mut Survey<'_>, seen: &mut Seen) -> Result<Vec<(StreamId, Doubt)>, JournalError> {
    let path = &survey.paths.seen;
    // Without a word from the id files, all ids that the log still has are read.
    let from = if seen.reached() == 0 { 0 } else { survey.ledger.ids_synced + 1 };
    let mut loss = std::mem::replace(&mut survey.loss, Loss::new(Duration::ZERO));
    if !survey.lost.is_empty() {
        loss.hours(seen.forget_records(&survey.lost).map_err(failed("forget lost ids in", path))?);
    }
    for found in survey.found.iter().filter(|found| found.segment.last_sequence >= from) {
        remember_ids(&found.file, from, found.segment.last_sequence + 1, seen)
            .map_err(|error| survey.scan_failed(found.segment.name, error))?;
    }
    match seen.flush() {
        Ok(()) => {
            survey.ledger.ids_synced = survey.ledger.sequence;
            // Read again where they are needed, and then compared with what was counted.
            seen.unload();
        }
        Err(error) => warn!(%error, "failed to write ids to their files; it is tried again"),
    }
    let doubts = loss.take_doubts();
    let reopen = loss.reopen(survey.lost.clone());
    if !reopen.ranges.is_empty() {
        warn!(reopened = ?reopen.ranges, "coverage that only lost records proved is open again");
    }
    survey.ledger.reopen(&reopen);
    Ok(doubts)
}

/// Begins a new segment, seals the old ones that are not, and drops those without an event at the end: the new snapshot says all
/// that they do, and a process that restarts again and again leaves no trail of them.
fn begin(mut survey: Survey<'_>) -> Result<(View, Active), JournalError> {
    let quarantined = survey.lost.len();
    let mut ledger = survey.ledger.clone();
    let kept = survey.found.iter().rposition(|found| !found.segment.streams.is_empty()).map_or(0, |last| last + 1);
    if let Some(first) = survey.found.get(kept) {
        ledger.lost.insert(first.segment.name.first_sequence, ledger.sequence);
    }
    let sequence = ledger.sequence + 1;
    ledger.oldest = survey.found.first().filter(|_| kept > 0).map_or(sequence, |first| first.segment.name.first_sequence);
    ledger.lost.forget_before(ledger.oldest);
    let active = match begin_segment(&*survey.tuning.storage, survey.paths, &ledger, sequence) {
        Ok(active) => active,
        // A full disk must not keep the sinks from making room: the next commit tries again.
        Err(JournalError::NoSpace { path }) if !survey.found.is_empty() => {
            warn!(path, "no space is left; nothing is collected until there is, and what is stored is delivered");
            return Ok(begin_without_room(survey, quarantined));
        }
        Err(error) => return Err(error),
    };
    ledger.sequence = sequence;
    let dropped = survey.found.split_off(kept);
    for found in dropped.iter().filter(|found| found.segment.name != active.name) {
        let path = found.segment.name.path(&survey.paths.log);
        if let Err(error) = remove_if_there(&*survey.tuning.storage, &path) {
            warn!(%error, path = %path.display(), "failed to delete a segment without events; it does no harm");
        }
    }
    survey.found.iter_mut().for_each(|found| seal(survey.tuning, found));
    let sealed: VecDeque<_> = survey.found.into_iter().map(|found| Arc::new(found.segment)).collect();
    let active_view = ActiveView { name: active.name, file: active.file.clone(), bytes: active.len, index: Index::default(), events: 0 };
    Ok((View { sealed, active: active_view, ledger, quarantined }, active))
}

/// The newest segment stays the active one, closed to new records.
fn begin_without_room(mut survey: Survey<'_>, quarantined: u64) -> (View, Active) {
    let last = survey.found.len() - 1;
    let FoundSegment { file, segment, .. } = survey.found.remove(last);
    let index = match &segment.index {
        IndexAt::Memory(index) => (**index).clone(),
        IndexAt::Seal(offset) => read_index(&file, *offset).ok().flatten().unwrap_or_default(),
    };
    let mut active = Active::new(segment.name, file.clone(), segment.bytes, 0);
    active.spent = true;
    let active_view = ActiveView { name: segment.name, file, bytes: segment.bytes, index, events: segment.events() };
    let sealed = survey.found.into_iter().map(|found| Arc::new(found.segment)).collect();
    (View { sealed, active: active_view, ledger: survey.ledger, quarantined }, active)
}

/// Cuts off what is torn and seals the segment. The seal only makes the next opening faster, so this may fail.
fn seal(tuning: &Tuning, found: &mut FoundSegment) {
    let (Some(valid_to), IndexAt::Memory(index)) = (found.unsealed_at, found.segment.index.clone()) else { return };
    let Segment { last_sequence, next_position, streams, bytes, .. } = &found.segment;
    if *bytes > valid_to {
        info!(segment = %found.segment.name, bytes = bytes - valid_to, "cut what was torn off the end of a segment");
    }
    let seal = Seal { last_sequence: *last_sequence, next_position: *next_position, streams: streams.clone() };
    let mut old = Active::new(found.segment.name, found.file.clone(), valid_to, 0);
    let storage = &*tuning.storage;
    let written = storage
        .truncate(&found.file, valid_to)
        .and_then(|()| old.append(storage, &seal.record(&index, valid_to)))
        .and_then(|_| old.sync(storage));
    if written.is_ok() {
        found.segment.index = IndexAt::Seal(valid_to);
    }
    found.segment.bytes = old.len;
}

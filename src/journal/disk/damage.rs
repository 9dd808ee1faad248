//! Lost records: which time has to be collected again because of them, and how the running journal sets one aside.

use std::{collections::BTreeMap, time::Duration};

use tracing::error;

use super::{
    examine::Broken,
    index::IndexEntry,
    ledger::{Entry, Reopen},
    lock::failed,
    page::{Bucket, Facts},
    quarantine,
    reader::{Unreadable, read_page},
    record::{HEADER_BYTES, Header, Kind, Place, frame},
    segment::SegmentName,
    sequences::Sequences,
    writer::Writer,
};
use crate::{
    coverage::Coverage,
    event::{StreamId, TimeRange, Timestamp},
    journal::{CoverageChange, JournalError},
};

const HOUR: Duration = Duration::from_secs(3_600);

/// What is known of lost records, turned into time that is to be collected again.
#[derive(Debug)]
pub(super) struct Loss {
    ranges: Vec<(StreamId, TimeRange)>,
    doubts: Vec<(StreamId, Doubt)>,
    reach: Duration,
}

/// Where events may be counted twice, because their ids were forgotten, or not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doubt {
    Bucket(Bucket),
    Range(TimeRange),
}

impl Loss {
    pub(super) fn new(reach: Duration) -> Self {
        Self { ranges: Vec::new(), doubts: Vec::new(), reach }
    }

    /// A page whose events are gone while it still says what it was.
    pub(super) fn page(&mut self, facts: &Facts, collected_at: Timestamp) {
        self.torn(facts, collected_at);
        self.doubts.extend(facts.runs.iter().map(|run| (facts.stream.clone(), Doubt::Bucket(run.bucket))));
    }

    /// A page that was most likely never acknowledged, and so never counted.
    pub(super) fn torn(&mut self, facts: &Facts, collected_at: Timestamp) {
        let mut add = |range: Option<TimeRange>| self.ranges.extend(range.map(|range| (facts.stream.clone(), range)));
        if let CoverageChange::Add(range) = facts.change {
            add(Some(range));
        }
        for run in &facts.runs {
            add(match run.bucket {
                Bucket::Hour(hour) => hour_range(hour),
                // Events without a time lie somewhere in what was listed, and that reaches no further back than ids do.
                Bucket::Undated(_) => TimeRange::new(collected_at.minus(self.reach), collected_at.plus(HOUR)),
            });
        }
    }

    /// Hours in which lost records have left ids.
    pub(super) fn hours(&mut self, hours: impl IntoIterator<Item = (StreamId, Bucket)>) {
        for (stream, bucket) in hours {
            self.doubts.push((stream.clone(), Doubt::Bucket(bucket)));
            let Bucket::Hour(hour) = bucket else { continue };
            self.ranges.extend(hour_range(hour).map(|range| (stream, range)));
        }
    }

    /// What one ledger covers and the other does not: lost records proved it.
    pub(super) fn difference(&mut self, claimed: &BTreeMap<StreamId, Coverage>, proven: &BTreeMap<StreamId, Coverage>) {
        for (stream, claimed) in claimed {
            for range in claimed.ranges() {
                let lost = proven.get(stream).map_or_else(|| vec![*range], |proven| proven.missing(*range));
                self.doubts.extend(lost.iter().map(|range| (stream.clone(), Doubt::Range(*range))));
                self.ranges.extend(lost.into_iter().map(|range| (stream.clone(), range)));
            }
        }
    }

    /// Nothing is known of some lost events of a stream. They were new, so their time lay within the reach of ids or in what was
    /// added to coverage, and the latter is known from the records around them.
    pub(super) fn unknown(&mut self, stream: &StreamId, coverage: &Coverage) {
        let from = coverage.watermark().minus(self.reach).max(coverage.origin());
        let range = TimeRange::new(from, coverage.newest());
        self.doubts.extend(range.map(|range| (stream.clone(), Doubt::Range(range))));
        self.ranges.extend(range.map(|range| (stream.clone(), range)));
    }

    /// Where the tallies are no longer certain.
    pub(super) fn take_doubts(&mut self) -> Vec<(StreamId, Doubt)> {
        std::mem::take(&mut self.doubts)
    }

    /// As a record, with the numbers of the lost ones.
    pub(super) fn reopen(self, lost: Sequences) -> Reopen {
        Reopen { lost, ranges: self.ranges }
    }
}

fn hour_range(hour: i32) -> Option<TimeRange> {
    let from = Timestamp::from_millis(i64::from(hour) * 3_600_000);
    TimeRange::new(from, from.plus(HOUR))
}

impl Writer {
    /// Sets a record aside that a reader could not read: keeps its bytes, forgets its ids, reopens its time, and notes in the log
    /// that it is lost. In this order: ids that stayed would keep the events out when Miro lists them again.
    pub(super) fn set_aside(&mut self, segment: SegmentName, entry: IndexEntry, stream: &StreamId) -> Result<(), JournalError> {
        if self.shared.view().ledger.lost.contains(entry.sequence) {
            return Ok(());
        }
        let path = segment.path(&self.log.paths.log);
        let file = std::fs::File::open(&path).map_err(failed("open", &path))?;
        let problem = match read_page(&file, &entry) {
            Ok(_) => return Ok(()),
            Err(Unreadable::Damaged(problem)) => problem.to_owned(),
            Err(Unreadable::Io(error)) => error.to_string(),
        };
        let (from, to) = (u64::from(entry.offset), u64::from(entry.offset) + u64::from(entry.len));
        let kept = quarantine::keep(&*self.log.storage, &self.log.paths, &file, &segment.to_string(), from, to);
        let lost = Sequences::of(entry.sequence, entry.sequence);
        let hours = self.seen.forget_records(&lost).map_err(failed("forget lost ids in", &self.log.paths.seen))?;
        let mut loss = Loss::new(self.ids_reach);
        match told(&file, &entry) {
            Some(Broken { facts: Some(facts), collected_at, .. }) => loss.page(&facts, collected_at),
            _ => self.estimate(&mut loss, stream, hours),
        }
        self.tallies.doubt_all(loss.take_doubts());
        self.flush_tallies()?;
        let reopen = loss.reopen(lost);
        error!(
            segment = %segment, offset = from, bytes = to - from, events = entry.count, %stream, problem,
            kept = kept.map(|path| path.display().to_string()), reopened = ?reopen.ranges,
            "a journal record is damaged; it is set aside and its time is collected again"
        );
        self.reopen(reopen)?;
        self.shared.view_mut().quarantined += 1;
        Ok(())
    }

    fn estimate(&self, loss: &mut Loss, stream: &StreamId, hours: Vec<(StreamId, Bucket)>) {
        loss.hours(hours);
        if let Some(coverage) = self.shared.view().ledger.coverage.get(stream) {
            loss.unknown(stream, coverage);
        }
    }

    fn reopen(&mut self, reopen: Reopen) -> Result<(), JournalError> {
        self.begin_segment_if_due()?;
        let place = Place { sequence: self.batch.next_sequence, next_position: self.batch.next_position };
        let record = frame(Kind::Reopen, place, &reopen.encode());
        self.due.streams.extend(reopen.ranges.iter().map(|(stream, _)| stream.clone()));
        self.due.since.get_or_insert_with(std::time::Instant::now);
        self.write_alone(Entry::Reopen(reopen), &record)
    }
}

/// What a damaged record still says of itself.
fn told(file: &std::fs::File, entry: &IndexEntry) -> Option<Broken> {
    use std::os::unix::fs::FileExt;
    let mut bytes = vec![0; entry.len as usize];
    file.read_exact_at(&mut bytes, u64::from(entry.offset)).ok()?;
    let header = Header::decode(&bytes).ok().filter(|header| header.sequence == entry.sequence)?;
    let facts = header.sections(&bytes[HEADER_BYTES..]).facts.and_then(|facts| Facts::decode(facts).ok());
    Some(Broken { sequence: header.sequence, count: header.count, collected_at: Timestamp::from_micros(header.collected_at), facts })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::{OrgName, StreamKind},
        journal::disk::page::Run,
    };

    fn stream() -> StreamId {
        StreamId::new(OrgName::new("acme"), StreamKind::Audit)
    }

    fn hours(from: i64, to: i64) -> TimeRange {
        TimeRange::new(Timestamp::from_millis(from * 3_600_000), Timestamp::from_millis(to * 3_600_000)).expect("from <= to")
    }

    fn covered(ranges: &[TimeRange]) -> BTreeMap<StreamId, Coverage> {
        let mut coverage = Coverage::starting_at(hours(0, 0).from());
        ranges.iter().for_each(|range| coverage.add(*range).expect("new"));
        BTreeMap::from([(stream(), coverage)])
    }

    #[test]
    fn a_lost_page_reopens_its_range_and_the_hours_of_its_events() {
        let mut loss = Loss::new(HOUR * 10);
        let runs = vec![Run { bucket: Bucket::Hour(7), count: 2 }];
        let facts = Facts { stream: stream(), change: CoverageChange::Add(hours(3, 4)), before: None, runs };
        loss.page(&facts, hours(9, 9).from());
        assert_eq!(loss.ranges, [(stream(), hours(3, 4)), (stream(), hours(7, 8))]);
    }

    #[test]
    fn what_only_lost_records_proved_is_the_difference_of_two_ledgers() {
        let mut loss = Loss::new(HOUR);
        loss.difference(&covered(&[hours(0, 9)]), &covered(&[hours(0, 2), hours(5, 6)]));
        assert_eq!(loss.ranges, [(stream(), hours(2, 5)), (stream(), hours(6, 9))]);
    }

    #[test]
    fn events_of_which_nothing_is_known_reopen_the_reach_of_ids() {
        let mut loss = Loss::new(HOUR * 3);
        loss.unknown(&stream(), &covered(&[hours(0, 10), hours(12, 13)])[&stream()]);
        assert_eq!(loss.ranges, [(stream(), hours(7, 13))]);
    }
}

//! Where a new sink begins: with what it has a `start` for, before the journal takes it on.

use std::sync::Arc;

use super::record::{self, Reason, Record};
use crate::{
    config::settings::Start,
    event::{SinkName, StreamId, TimeRange, Timestamp},
    journal::{Journal, JournalError},
};

/// A sink that begins in the past when it is new.
#[derive(Clone, Debug)]
pub(in super::super) struct NewSink {
    pub(in super::super) name: SinkName,
    pub(in super::super) start: Start,
    pub(in super::super) streams: Vec<StreamId>,
}

/// Records a replay for every stream that a sink takes for the first time, before it is subscribed to: a crash in between finds the record,
/// and records it once. Call it before anything collects.
///
/// The sink gets everything that is collected from now on. What it does not get that way is sent by the replay: the time that is covered
/// already, and the time before the stream's origin, which nobody collects. A hole in the coverage is left to collection.
pub(in super::super) async fn begin_new_sinks(journal: &Arc<dyn Journal>, sinks: &[NewSink], now: Timestamp) -> Result<(), JournalError> {
    let mut records = record::read(&**journal);
    let before = records.len();
    let until = journal.head().borrow().0;
    for sink in sinks {
        let Some(from) = begin_of(sink.start, now) else { continue };
        for stream in sink.streams.iter().filter(|stream| journal.acked(&sink.name, stream).is_none()) {
            let is_recorded = |record: &Record| {
                record.reason == Reason::NewSink && !record.is_over() && record.sink == sink.name && record.stream() == Some(stream.clone())
            };
            if !records.iter().any(is_recorded) {
                records.push(first_of(journal, sink, stream, from, until));
            }
        }
    }
    if records.len() > before { record::write(&**journal, &records).await } else { Ok(()) }
}

fn begin_of(start: Start, now: Timestamp) -> Option<Timestamp> {
    match start {
        Start::Now => None,
        Start::Ago(age) => Some(now.minus(age)),
        Start::At(time) => Some(time).filter(|time| *time < now),
    }
}

fn first_of(journal: &Arc<dyn Journal>, sink: &NewSink, stream: &StreamId, from: Timestamp, until: u64) -> Record {
    let Some(coverage) = journal.coverage(stream) else {
        let record = Record::new(Reason::NewSink, sink.name.clone(), stream, &[], until);
        return Record { before_origin: Some(from.as_micros()), ..record };
    };
    // What is covered may reach back before the origin, where somebody has asked for it.
    let covered = coverage.ranges().iter().filter_map(|range| TimeRange::new(range.from().max(from), range.to()));
    let ranges = joined(TimeRange::new(from, coverage.origin()).into_iter().chain(covered).collect());
    Record::new(Reason::NewSink, sink.name.clone(), stream, &ranges, until)
}

/// The same time in order, each instant once.
fn joined(mut ranges: Vec<TimeRange>) -> Vec<TimeRange> {
    ranges.retain(|range| !range.is_empty());
    ranges.sort_by_key(TimeRange::from);
    let mut joined: Vec<TimeRange> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match joined.last_mut().filter(|last| range.from() <= last.to()) {
            Some(last) => *last = TimeRange::new(last.from(), last.to().max(range.to())).unwrap_or(*last),
            None => joined.push(range),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_touch_or_overlap_are_one() {
        let range = |from, to| TimeRange::new(Timestamp::from_micros(from), Timestamp::from_micros(to)).expect("from <= to");
        let all = vec![range(50, 60), range(0, 10), range(10, 20), range(5, 8), range(30, 30), range(40, 55)];
        assert_eq!(joined(all), [range(0, 20), range(40, 60)]);
    }
}

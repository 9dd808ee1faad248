//! The ledger: all that the log proves, as far as it has been read. A snapshot record is a written ledger; replaying the records
//! behind a snapshot gives the ledger at the end of the log. The writer keeps one, recovery rebuilds one, with the same code.

use std::collections::BTreeMap;

use super::{
    codec::{Decoder, Encode, Malformed, length},
    page::Facts,
    sequences::Sequences,
};
use crate::{
    coverage::Coverage,
    event::{Position, SinkName, StreamId, TimeRange},
    journal::CoverageChange,
};

/// Acknowledged positions by sink and stream. Who is in here is subscribed.
pub(super) type Acks = BTreeMap<(SinkName, StreamId), Position>;

/// All that the log proves up to one of its records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ledger {
    /// Which journal it is: a random number from its first day. A checkpoint store of another one is not believed.
    pub(super) journal: u64,
    /// The record up to which it counts.
    pub(super) sequence: u64,
    /// The position that the next event will have.
    pub(super) next_position: u64,
    /// The oldest record that is still there; what came before was deleted because everybody was done with it.
    pub(super) oldest: u64,
    /// What is collected.
    pub(super) coverage: BTreeMap<StreamId, Coverage>,
    /// Who is subscribed; the positions are those at the last snapshot, the checkpoint store knows newer ones.
    pub(super) acks: Acks,
    /// The small named state.
    pub(super) state: BTreeMap<String, Vec<u8>>,
    /// Records that are known to be lost: what they proved has been taken out of the coverage.
    pub(super) lost: Sequences,
    /// The ids of all records up to this one are in the bucket files, synced.
    pub(super) ids_synced: u64,
}

/// What one record does to the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// A page, with the number of its events.
    Page(Facts),
    /// Everything anew.
    Snapshot(Box<Ledger>),
    /// A value of the small state.
    State { key: String, value: Vec<u8> },
    /// Lost records, and the time that is open again.
    Reopen(Reopen),
    /// Everything in front of that record was deleted.
    Trim { oldest: u64 },
}

/// Lost records, and what has to be collected again because of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Reopen {
    pub(super) lost: Sequences,
    pub(super) ranges: Vec<(StreamId, TimeRange)>,
}

impl Ledger {
    /// Applies the record of that number. The log has decided already whether it is valid, so this cannot refuse.
    pub(super) fn apply(&mut self, sequence: u64, next_position: u64, entry: &Entry) {
        match entry {
            Entry::Page(facts) => self.apply_page(facts),
            Entry::Snapshot(snapshot) => *self = (**snapshot).clone(),
            Entry::State { key, value } => {
                self.state.insert(key.clone(), value.clone());
            }
            Entry::Reopen(reopen) => self.reopen(reopen),
            Entry::Trim { oldest } => self.oldest = *oldest,
        }
        self.sequence = sequence;
        self.next_position = next_position;
    }

    fn apply_page(&mut self, facts: &Facts) {
        if let CoverageChange::Begin(origin) = facts.change {
            self.coverage.entry(facts.stream.clone()).or_insert_with(|| Coverage::starting_at(origin));
        }
        if let Some(before) = facts.before {
            // The record that began the stream may be lost; this one still knows where that was.
            self.coverage.entry(facts.stream.clone()).or_insert_with(|| Coverage::starting_at(before.origin));
        }
        if let (CoverageChange::Add(range), Some(coverage)) = (facts.change, self.coverage.get_mut(&facts.stream)) {
            put(coverage, range);
        }
    }

    /// Takes out what only lost records proved.
    pub(super) fn reopen(&mut self, reopen: &Reopen) {
        for (stream, range) in &reopen.ranges {
            if let Some(coverage) = self.coverage.get_mut(stream) {
                coverage.remove(*range);
            }
        }
        for (from, to) in reopen.lost.iter() {
            self.lost.insert(from, to);
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(1024);
        out.put_u64(self.journal);
        out.put_u64(self.sequence);
        out.put_u64(self.next_position);
        out.put_u64(self.ids_synced);
        out.put_u64(self.oldest);
        out.put_u32(length(self.coverage.len()));
        for (stream, coverage) in &self.coverage {
            out.put_stream(stream);
            out.put_coverage(coverage);
        }
        out.put_u32(length(self.acks.len()));
        for ((sink, stream), position) in &self.acks {
            out.put_bytes(sink.as_str().as_bytes());
            out.put_stream(stream);
            out.put_u64(position.0);
        }
        out.put_u32(length(self.state.len()));
        for (key, value) in &self.state {
            out.put_bytes(key.as_bytes());
            out.put_bytes(value);
        }
        self.lost.encode(&mut out);
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut from = Decoder::new(bytes);
        let mut ledger = Self {
            journal: from.u64()?,
            sequence: from.u64()?,
            next_position: from.u64()?,
            ids_synced: from.u64()?,
            oldest: from.u64()?,
            ..Self::default()
        };
        for _ in 0..from.u32()? {
            ledger.coverage.insert(from.stream()?, from.coverage()?);
        }
        for _ in 0..from.u32()? {
            ledger.acks.insert((SinkName::new(from.str()?), from.stream()?), Position(from.u64()?));
        }
        for _ in 0..from.u32()? {
            ledger.state.insert(from.str()?.to_owned(), from.bytes()?.to_vec());
        }
        ledger.lost = Sequences::decode(&mut from)?;
        from.end()?;
        Ok(ledger)
    }
}

/// Covers a range, also where a part of it is covered: a record whose reopening was lost adds what seems to be there.
fn put(coverage: &mut Coverage, range: TimeRange) {
    for missing in coverage.missing(range) {
        // A missing part cannot overlap; and if it did, leaving it open is the safe side.
        let _ = coverage.add(missing);
    }
}

impl Entry {
    pub(super) fn encode_state(key: &str, value: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(8 + key.len() + value.len());
        out.put_bytes(key.as_bytes());
        out.put_bytes(value);
        out
    }

    pub(super) fn decode_state(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut from = Decoder::new(bytes);
        let entry = Self::State { key: from.str()?.to_owned(), value: from.bytes()?.to_vec() };
        from.end()?;
        Ok(entry)
    }

    pub(super) fn decode_trim(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut from = Decoder::new(bytes);
        let entry = Self::Trim { oldest: from.u64()? };
        from.end()?;
        Ok(entry)
    }
}

impl Reopen {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.lost.encode(&mut out);
        out.put_u32(length(self.ranges.len()));
        for (stream, range) in &self.ranges {
            out.put_stream(stream);
            out.put_range(*range);
        }
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut from = Decoder::new(bytes);
        let mut reopen = Self { lost: Sequences::decode(&mut from)?, ranges: Vec::new() };
        for _ in 0..from.u32()? {
            reopen.ranges.push((from.stream()?, from.range()?));
        }
        from.end()?;
        Ok(reopen)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        event::{OrgName, StreamKind, Timestamp},
        journal::disk::page::Before,
    };

    fn stream() -> StreamId {
        StreamId::new(OrgName::new("acme"), StreamKind::Content)
    }

    fn range(from: i64, to: i64) -> TimeRange {
        TimeRange::new(Timestamp::from_micros(from), Timestamp::from_micros(to)).expect("from <= to")
    }

    fn page(change: CoverageChange, before: Option<Before>) -> Entry {
        Entry::Page(Facts { stream: stream(), change, before, runs: Vec::new() })
    }

    fn sample() -> Ledger {
        let mut ledger = Ledger::default();
        ledger.apply(1, 5, &page(CoverageChange::Begin(Timestamp::from_micros(3)), None));
        ledger.apply(2, 9, &page(CoverageChange::Add(range(3, 8)), None));
        ledger.acks.insert((SinkName::new("splunk"), stream()), Position(4));
        ledger.apply(3, 9, &Entry::State { key: "cursor".into(), value: vec![1, 2, 3] });
        ledger.lost.insert(7, 9);
        ledger.ids_synced = 1;
        ledger.oldest = 2;
        ledger
    }

    #[test]
    fn a_ledger_reads_back_as_it_was_written() {
        assert_eq!(Ledger::decode(&sample().encode()), Ok(sample()));
    }

    #[test]
    fn a_page_whose_beginning_is_lost_still_begins_the_stream() {
        let mut ledger = Ledger::default();
        let before = Before { origin: Timestamp::from_micros(1), watermark: Timestamp::from_micros(4) };
        ledger.apply(9, 1, &page(CoverageChange::Add(range(4, 6)), Some(before)));
        let coverage = &ledger.coverage[&stream()];
        assert_eq!((coverage.origin(), coverage.ranges()), (Timestamp::from_micros(1), &[range(4, 6)][..]));
    }

    #[test]
    fn reopened_time_can_be_covered_again() {
        let mut ledger = sample();
        let mut reopen = Reopen { lost: Sequences::default(), ranges: vec![(stream(), range(4, 6))] };
        reopen.lost.insert(2, 2);
        assert_eq!(Reopen::decode(&reopen.encode()), Ok(reopen.clone()));
        ledger.apply(4, 9, &Entry::Reopen(reopen));
        assert_eq!(ledger.coverage[&stream()].gaps(), vec![range(4, 6)]);
        assert!(ledger.lost.contains(2));
        ledger.apply(5, 9, &page(CoverageChange::Add(range(3, 8)), None));
        assert_eq!(ledger.coverage[&stream()].ranges(), [range(3, 8)]);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_decoders_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Ledger::decode(&bytes);
            let _ = Reopen::decode(&bytes);
            let _ = Entry::decode_state(&bytes);
        }
    }
}

//! Which events are where in a segment, and the seal that keeps this at a segment's end, so that opening a large journal reads
//! a few hundred bytes of each segment and not all of it.

use super::{
    codec::{Decoder, Encode, Malformed, length},
    record::{Header, Kind, VERSION},
};
use crate::event::{Position, StreamId, Timestamp};

/// The bytes behind a seal that say where it begins.
pub(super) const TRAILER_BYTES: usize = 16;

const TRAILER_MAGIC: [u8; 4] = *b"MSJe";

/// One record that holds events. 40 bytes, because the active segment's are all in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct IndexEntry {
    pub(super) sequence: u64,
    pub(super) first_position: u64,
    /// Microseconds since the epoch.
    pub(super) collected_at: i64,
    pub(super) offset: u32,
    pub(super) len: u32,
    pub(super) count: u32,
    /// Into the index's list of streams.
    stream: u16,
}

impl IndexEntry {
    pub(super) fn new(offset: u64, header: &Header) -> Self {
        Self {
            sequence: header.sequence,
            first_position: header.first_position,
            collected_at: header.collected_at,
            offset: u32::try_from(offset).unwrap_or(u32::MAX),
            len: u32::try_from(header.total_len()).unwrap_or(u32::MAX),
            count: header.count,
            stream: 0,
        }
    }

    /// The position of its last event.
    pub(super) fn last_position(&self) -> u64 {
        (self.first_position + u64::from(self.count)).saturating_sub(1)
    }
}

/// The records of a segment that hold events, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Index {
    streams: Vec<StreamId>,
    entries: Vec<IndexEntry>,
}

/// What a segment holds of one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Summary {
    pub(super) stream: StreamId,
    pub(super) first: Position,
    pub(super) last: Position,
    pub(super) events: u64,
    /// When its oldest page was received.
    pub(super) collected_at: Timestamp,
}

/// What a sink has yet to read of one segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Remaining {
    pub(super) events: u64,
    pub(super) oldest: Option<Timestamp>,
}

impl Index {
    pub(super) fn push(&mut self, stream: &StreamId, mut entry: IndexEntry) {
        let known = self.streams.iter().position(|held| held == stream);
        let at = known.unwrap_or_else(|| {
            self.streams.push(stream.clone());
            self.streams.len() - 1
        });
        // There are as many streams as the configuration names, far below 65 536.
        entry.stream = u16::try_from(at).unwrap_or(u16::MAX);
        self.entries.push(entry);
    }

    pub(super) fn stream_of(&self, entry: &IndexEntry) -> Option<&StreamId> {
        self.streams.get(usize::from(entry.stream))
    }

    /// The first record of the stream that holds an event after `after`.
    pub(super) fn find(&self, stream: &StreamId, after: u64) -> Option<IndexEntry> {
        let wanted = self.streams.iter().position(|held| held == stream)?;
        let start = self.entries.partition_point(|entry| entry.last_position() <= after);
        self.entries[start..].iter().find(|entry| usize::from(entry.stream) == wanted).copied()
    }

    /// What lies after `after` of the stream.
    pub(super) fn remaining(&self, stream: &StreamId, after: u64) -> Remaining {
        let mut remaining = Remaining::default();
        let Some(wanted) = self.streams.iter().position(|held| held == stream) else { return remaining };
        let start = self.entries.partition_point(|entry| entry.last_position() <= after);
        for entry in self.entries[start..].iter().filter(|entry| usize::from(entry.stream) == wanted) {
            remaining.events += u64::from(entry.count).min(entry.last_position() - after);
            remaining.oldest.get_or_insert(Timestamp::from_micros(entry.collected_at));
        }
        remaining
    }

    pub(super) fn summaries(&self) -> Vec<Summary> {
        let mut summaries: Vec<Summary> = Vec::new();
        for entry in &self.entries {
            let Some(stream) = self.stream_of(entry) else { continue };
            let last = Position(entry.last_position());
            if let Some(summary) = summaries.iter_mut().find(|summary| summary.stream == *stream) {
                summary.last = last;
                summary.events += u64::from(entry.count);
            } else {
                let collected_at = Timestamp::from_micros(entry.collected_at);
                let first = Position(entry.first_position);
                summaries.push(Summary { stream: stream.clone(), first, last, events: u64::from(entry.count), collected_at });
            }
        }
        summaries
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64 + self.entries.len() * 38);
        out.put_u32(length(self.streams.len()));
        for stream in &self.streams {
            out.put_stream(stream);
        }
        out.put_u32(length(self.entries.len()));
        for entry in &self.entries {
            out.put_u64(entry.sequence);
            out.put_u64(entry.first_position);
            out.put_i64(entry.collected_at);
            for number in [entry.offset, entry.len, entry.count] {
                out.put_u32(number);
            }
            out.put_u16(entry.stream);
        }
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut from = Decoder::new(bytes);
        let mut index = Self::default();
        for _ in 0..from.u32()? {
            index.streams.push(from.stream()?);
        }
        for _ in 0..from.u32()? {
            let (sequence, first_position, collected_at) = (from.u64()?, from.u64()?, from.i64()?);
            let (offset, len, count, stream) = (from.u32()?, from.u32()?, from.u32()?, from.u16()?);
            index.entries.push(IndexEntry { sequence, first_position, collected_at, offset, len, count, stream });
        }
        from.end()?;
        Ok(index)
    }
}

/// What a seal says of its segment at once; the index itself is read when a sink gets there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seal {
    pub(super) last_sequence: u64,
    pub(super) next_position: u64,
    pub(super) streams: Vec<Summary>,
}

impl Seal {
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut from = Decoder::new(bytes);
        let mut seal = Self { last_sequence: from.u64()?, next_position: from.u64()?, streams: Vec::new() };
        for _ in 0..from.u32()? {
            let stream = from.stream()?;
            let (first, last, events) = (Position(from.u64()?), Position(from.u64()?), from.u64()?);
            seal.streams.push(Summary { stream, first, last, events, collected_at: from.timestamp()? });
        }
        from.end()?;
        Ok(seal)
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(128);
        out.put_u64(self.last_sequence);
        out.put_u64(self.next_position);
        out.put_u32(length(self.streams.len()));
        for summary in &self.streams {
            out.put_stream(&summary.stream);
            for number in [summary.first.0, summary.last.0, summary.events] {
                out.put_u64(number);
            }
            out.put_i64(summary.collected_at.as_micros());
        }
        out
    }

    /// The seal record of a segment with its trailer, to be written at `offset`.
    pub(super) fn record(&self, index: &Index, offset: u64) -> Vec<u8> {
        let (facts, body) = (self.encode(), index.encode());
        let header = Header {
            kind: Kind::Seal,
            facts_len: length(facts.len()),
            ids_len: 0,
            body_len: length(body.len()),
            raw_len: length(body.len()),
            sequence: self.last_sequence,
            first_position: self.next_position,
            collected_at: 0,
            count: 0,
            facts_crc: crc32fast::hash(&facts),
            ids_crc: crc32fast::hash(&[]),
            body_crc: crc32fast::hash(&body),
        };
        let mut out = header.encode();
        out.extend_from_slice(&facts);
        out.extend_from_slice(&body);
        let mut trailer = Vec::with_capacity(TRAILER_BYTES);
        trailer.put_u64(offset | u64::from(VERSION) << 56);
        trailer.extend_from_slice(&TRAILER_MAGIC);
        trailer.put_u32(crc32fast::hash(&trailer));
        out.extend_from_slice(&trailer);
        out
    }
}

/// Where the seal begins, as the last bytes of a segment say; `None` where they say nothing.
pub(super) fn seal_offset(trailer: &[u8]) -> Option<u64> {
    let (content, crc) = trailer.split_at_checked(TRAILER_BYTES - 4)?;
    if crc32fast::hash(content).to_le_bytes() != crc || content[8..] != TRAILER_MAGIC {
        return None;
    }
    let mut from = Decoder::new(content);
    from.u64().ok().map(|offset| offset & (u64::MAX >> 8))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::{OrgName, StreamKind},
        journal::disk::record::HEADER_BYTES,
    };

    fn stream(kind: StreamKind) -> StreamId {
        StreamId::new(OrgName::new("acme"), kind)
    }

    fn sample() -> Index {
        let mut index = Index::default();
        let mut position = 1;
        for (number, (kind, count)) in [(StreamKind::Audit, 3), (StreamKind::Ai, 2), (StreamKind::Audit, 4)].into_iter().enumerate() {
            let sequence = number as u64 + 1;
            let entry =
                IndexEntry { sequence, first_position: position, collected_at: 10 * position as i64, offset: 7, len: 9, count, stream: 0 };
            index.push(&stream(kind), entry);
            position += u64::from(count);
        }
        index
    }

    #[test]
    fn an_entry_stays_small() {
        assert_eq!(size_of::<IndexEntry>(), 40);
    }

    #[test]
    fn the_index_finds_the_record_that_holds_the_next_event() {
        let index = sample();
        let find = |kind, after| index.find(&stream(kind), after).map(|entry| entry.sequence);
        assert_eq!([find(StreamKind::Audit, 0), find(StreamKind::Audit, 2), find(StreamKind::Audit, 3)], [Some(1), Some(1), Some(3)]);
        assert_eq!([find(StreamKind::Audit, 8), find(StreamKind::Audit, 9), find(StreamKind::Content, 0)], [Some(3), None, None]);
        assert_eq!(find(StreamKind::Ai, 4), Some(2));
    }

    #[test]
    fn what_remains_is_counted_from_the_middle_of_a_record() {
        let index = sample();
        let remaining = |after| index.remaining(&stream(StreamKind::Audit), after);
        assert_eq!(remaining(0), Remaining { events: 7, oldest: Some(Timestamp::from_micros(10)) });
        assert_eq!(remaining(2), Remaining { events: 5, oldest: Some(Timestamp::from_micros(10)) });
        assert_eq!(remaining(7), Remaining { events: 2, oldest: Some(Timestamp::from_micros(60)) });
        assert_eq!(remaining(9), Remaining::default());
    }

    #[test]
    fn a_seal_reads_back_as_it_was_written() {
        let index = sample();
        let seal = Seal { last_sequence: 3, next_position: 10, streams: index.summaries() };
        let record = seal.record(&index, 4_711);
        assert_eq!(seal_offset(&record[record.len() - TRAILER_BYTES..]), Some(4_711));
        let header = Header::decode(&record).expect("a header");
        let sections = header.sections(&record[HEADER_BYTES..]);
        assert_eq!(Seal::decode(sections.facts.expect("whole")), Ok(seal));
        assert_eq!(Index::decode(sections.body.expect("whole")), Ok(index));
    }
}

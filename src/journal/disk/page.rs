//! The record of one page: what it says (facts), the ids of its events, and the events themselves, compressed.

use bytes::Bytes;

use super::{
    codec::{Decoder, Encode, Malformed, length},
    record::{HEADER_BYTES, Header, Kind, Place, RECORD_BYTES_MAX},
};
use crate::{
    event::{Event, EventId, Origin, Position, RawEvent, StreamId, Timestamp},
    journal::CoverageChange,
};

pub(super) use crate::journal::proof::{FINGERPRINT_BYTES as ID_BYTES, Fingerprint as Id, FingerprintMaker as IdMaker};

/// Each event's row at the head of the body: id length, raw length, time, flags.
const ROW_BYTES: usize = 4 + 4 + 8 + 1;

const MICROS_PER_HOUR: i64 = 3_600_000_000;
const HOURS_PER_DAY: i64 = 24;

const FLAG_TIMED: u8 = 0b100;
const FLAG_ORIGIN: u8 = 0b011;

/// Where an id is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Bucket {
    /// The hour of the event's time, counted since the epoch.
    Hour(i32),
    /// The day of collection, counted since the epoch, of an event without a time.
    Undated(i32),
}

impl Bucket {
    pub(super) fn of(time: Option<Timestamp>, collected_at: Timestamp) -> Self {
        match time {
            Some(time) => Self::Hour(held(time.as_micros().div_euclid(MICROS_PER_HOUR))),
            None => Self::Undated(held(collected_at.as_micros().div_euclid(MICROS_PER_HOUR * HOURS_PER_DAY))),
        }
    }

    /// The day since the epoch that it lies in.
    pub(super) fn day(self) -> i32 {
        match self {
            Self::Hour(hour) => held(i64::from(hour).div_euclid(HOURS_PER_DAY)),
            Self::Undated(day) => day,
        }
    }

    pub(super) fn encode(self, out: &mut Vec<u8>) {
        let (tag, number) = match self {
            Self::Hour(hour) => (0, hour),
            Self::Undated(day) => (1, day),
        };
        out.put_u8(tag);
        out.put_i32(number);
    }

    pub(super) fn decode(from: &mut Decoder<'_>) -> Result<Self, Malformed> {
        match (from.u8()?, from.i32()?) {
            (0, hour) => Ok(Self::Hour(hour)),
            (1, day) => Ok(Self::Undated(day)),
            _ => Err(Malformed("it names a bucket of an unknown kind")),
        }
    }
}

/// Years that no clock shows are held at the ends of what is stored.
fn held(number: i64) -> i32 {
    i32::try_from(number).unwrap_or(if number < 0 { i32::MIN } else { i32::MAX })
}

/// So many consecutive events of a record that belong to one bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) bucket: Bucket,
    pub(super) count: u32,
}

/// Where a stream's coverage stood before a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Before {
    pub(super) origin: Timestamp,
    pub(super) watermark: Timestamp,
}

/// What a page record says beside its events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) stream: StreamId,
    pub(super) change: CoverageChange,
    /// `None` in the record that begins a stream.
    pub(super) before: Option<Before>,
    /// The buckets of its events, in their order.
    pub(super) runs: Vec<Run>,
}

impl Facts {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(96 + self.runs.len() * 9);
        out.put_stream(&self.stream);
        match self.change {
            CoverageChange::None => out.put_u8(0),
            CoverageChange::Begin(origin) => {
                out.put_u8(1);
                out.put_i64(origin.as_micros());
            }
            CoverageChange::Add(range) => {
                out.put_u8(2);
                out.put_range(range);
            }
        }
        out.put_u8(u8::from(self.before.is_some()));
        if let Some(before) = self.before {
            out.put_i64(before.origin.as_micros());
            out.put_i64(before.watermark.as_micros());
        }
        out.put_u32(length(self.runs.len()));
        for run in &self.runs {
            run.bucket.encode(&mut out);
            out.put_u32(run.count);
        }
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut from = Decoder::new(bytes);
        let stream = from.stream()?;
        let change = match from.u8()? {
            0 => CoverageChange::None,
            1 => CoverageChange::Begin(from.timestamp()?),
            2 => CoverageChange::Add(from.range()?),
            _ => return Err(Malformed("it changes coverage in an unknown way")),
        };
        let before = match from.u8()? {
            0 => None,
            1 => Some(Before { origin: from.timestamp()?, watermark: from.timestamp()? }),
            _ => return Err(Malformed("it does not say what was covered before")),
        };
        let mut runs = Vec::new();
        for _ in 0..from.u32()? {
            runs.push(Run { bucket: Bucket::decode(&mut from)?, count: from.u32()? });
        }
        from.end()?;
        Ok(Self { stream, change, before, runs })
    }
}

/// The ids of a section, in the order of the events.
pub(super) fn ids(section: &[u8]) -> impl Iterator<Item = Id> {
    section.chunks_exact(ID_BYTES).map(|chunk| {
        let mut id = [0; ID_BYTES];
        id.copy_from_slice(chunk);
        Id(id)
    })
}

/// What is to be written: only new events, each with its id.
pub(super) struct Draft<'a> {
    pub(super) place: Place,
    pub(super) collected_at: Timestamp,
    pub(super) facts: &'a Facts,
    pub(super) events: &'a [(&'a RawEvent, Origin)],
    pub(super) ids: &'a [Id],
}

/// Writes page records. Keeps its buffers and its compressor: to make them anew costs as much as a page takes to encode.
pub(super) struct PageEncoder {
    compressor: zstd::bulk::Compressor<'static>,
    raw: Vec<u8>,
    record: Vec<u8>,
    record_len: usize,
}

impl PageEncoder {
    /// A page above this size gives its buffers back after use.
    const KEPT_BYTES_MAX: usize = 2 << 20;

    /// Level 1: the best ratio for its time on Miro's events, 8 to 1.
    const LEVEL: i32 = 1;

    pub(super) fn new() -> std::io::Result<Self> {
        let compressor = zstd::bulk::Compressor::new(Self::LEVEL)?;
        Ok(Self { compressor, raw: Vec::new(), record: Vec::new(), record_len: 0 })
    }

    /// The record that was encoded last.
    pub(super) fn record(&self) -> &[u8] {
        &self.record[..self.record_len]
    }

    /// Encodes a whole record and returns its header.
    pub(super) fn encode(&mut self, draft: &Draft<'_>) -> std::io::Result<Header> {
        self.shrink();
        self.lay_out(draft.events);
        if self.raw.len() as u64 > RECORD_BYTES_MAX {
            return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, "the page is larger than a record may be"));
        }
        let facts = draft.facts.encode();
        let ids_start = HEADER_BYTES + facts.len();
        let body_start = ids_start + draft.ids.len() * ID_BYTES;
        let bound = if self.raw.is_empty() { 0 } else { zstd::zstd_safe::compress_bound(self.raw.len()) };
        if self.record.len() < body_start + bound {
            self.record.resize(body_start + bound, 0);
        }
        self.record[HEADER_BYTES..ids_start].copy_from_slice(&facts);
        for (place, id) in self.record[ids_start..body_start].chunks_exact_mut(ID_BYTES).zip(draft.ids) {
            place.copy_from_slice(&id.0);
        }
        let body_len = match bound {
            0 => 0,
            bound => self.compressor.compress_to_buffer(&self.raw, &mut self.record[body_start..body_start + bound])?,
        };
        let header = Header {
            kind: Kind::Page,
            facts_len: length(facts.len()),
            ids_len: length(body_start - ids_start),
            body_len: length(body_len),
            raw_len: length(self.raw.len()),
            sequence: draft.place.sequence,
            first_position: draft.place.next_position,
            collected_at: draft.collected_at.as_micros(),
            count: length(draft.events.len()),
            facts_crc: crc32fast::hash(&facts),
            ids_crc: crc32fast::hash(&self.record[ids_start..body_start]),
            body_crc: crc32fast::hash(&self.record[body_start..body_start + body_len]),
        };
        self.record[..HEADER_BYTES].copy_from_slice(&header.encode());
        self.record_len = body_start + body_len;
        Ok(header)
    }

    fn shrink(&mut self) {
        self.record_len = 0;
        for buffer in [&mut self.raw, &mut self.record] {
            if buffer.capacity() > Self::KEPT_BYTES_MAX {
                *buffer = Vec::new();
            }
        }
    }

    /// Rows first, then all ids, then all raw bytes: like things next to each other compress best, and can be cut out without a search.
    fn lay_out(&mut self, events: &[(&RawEvent, Origin)]) {
        self.raw.clear();
        let size = events.iter().map(|(event, _)| ROW_BYTES + event.id.as_bytes().len() + event.raw.len()).sum();
        self.raw.reserve(size);
        for (event, origin) in events {
            self.raw.put_u32(length(event.id.as_bytes().len()));
            self.raw.put_u32(length(event.raw.len()));
            self.raw.put_i64(event.time.map_or(0, Timestamp::as_micros));
            self.raw.put_u8(flags(event.time, *origin));
        }
        for (event, _) in events {
            self.raw.extend_from_slice(event.id.as_bytes());
        }
        for (event, _) in events {
            self.raw.extend_from_slice(&event.raw);
        }
    }
}

fn flags(time: Option<Timestamp>, origin: Origin) -> u8 {
    let origin = match origin {
        Origin::Live => 0,
        Origin::Backfill => 1,
        Origin::Late => 2,
    };
    origin | if time.is_some() { FLAG_TIMED } else { 0 }
}

/// The events of a page, in one buffer that all of them share.
#[derive(Debug)]
pub(super) struct Page {
    data: Bytes,
    rows: Vec<Row>,
    first_position: u64,
    collected_at: Timestamp,
}

#[derive(Clone, Copy, Debug)]
struct Row {
    id_start: u32,
    raw_start: u32,
    raw_end: u32,
    id_len: u32,
    time: Option<Timestamp>,
    origin: Origin,
}

impl Page {
    /// From a body as it is stored. The caller has checked its checksum.
    pub(super) fn decode(header: &Header, body: &[u8]) -> Result<Self, Malformed> {
        let (count, raw_len) = (header.count as usize, header.raw_len as usize);
        if u64::from(header.raw_len) > RECORD_BYTES_MAX || count.saturating_mul(ROW_BYTES) > raw_len {
            return Err(Malformed("its size does not fit its content"));
        }
        let data = zstd::bulk::decompress(body, raw_len).map_err(|_| Malformed("its events do not decompress"))?;
        let rows = Self::rows(&data, count)?;
        Ok(Self {
            data: Bytes::from(data),
            rows,
            first_position: header.first_position,
            collected_at: Timestamp::from_micros(header.collected_at),
        })
    }

    fn rows(data: &[u8], count: usize) -> Result<Vec<Row>, Malformed> {
        let table = data.get(..count * ROW_BYTES).ok_or(Malformed("it has fewer events than it says"))?;
        let lengths = |chunk: &[u8]| -> Result<(u32, u32), Malformed> {
            let mut from = Decoder::new(chunk);
            Ok((from.u32()?, from.u32()?))
        };
        let mut ids_len = 0_u64;
        for chunk in table.chunks_exact(ROW_BYTES) {
            ids_len += u64::from(lengths(chunk)?.0);
        }
        let too_long = Malformed("its events are longer than it is");
        let mut id_start = length(table.len());
        let mut raw_start = u32::try_from(table.len() as u64 + ids_len).map_err(|_| too_long)?;
        let mut rows = Vec::with_capacity(count);
        for chunk in table.chunks_exact(ROW_BYTES) {
            let (id_len, raw_len) = lengths(chunk)?;
            let mut rest = Decoder::new(&chunk[8..]);
            let (time, flags) = (rest.timestamp()?, rest.u8()?);
            let raw_end = raw_start.checked_add(raw_len).ok_or(too_long)?;
            let origin = match flags & FLAG_ORIGIN {
                0 => Origin::Live,
                1 => Origin::Backfill,
                2 => Origin::Late,
                _ => return Err(Malformed("an event has an unknown origin")),
            };
            rows.push(Row { id_start, raw_start, raw_end, id_len, time: (flags & FLAG_TIMED != 0).then_some(time), origin });
            id_start = id_start.checked_add(id_len).ok_or(too_long)?;
            raw_start = raw_end;
        }
        let id = |row: &Row| data.get(row.id_start as usize..(row.id_start + row.id_len) as usize);
        if raw_start as usize != data.len() {
            return Err(Malformed("its events do not fill it"));
        }
        let readable = rows.iter().all(|row| id(row).is_some_and(|id| std::str::from_utf8(id).is_ok()));
        if readable { Ok(rows) } else { Err(Malformed("an id is not UTF-8")) }
    }

    /// How many events.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The size of the buffer, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.data.len()
    }

    /// The size of one event's raw bytes.
    pub(super) fn raw_len(&self, index: usize) -> usize {
        self.rows.get(index).map_or(0, |row| (row.raw_end - row.raw_start) as usize)
    }

    /// One event, without a copy of its bytes; `None` past the end.
    pub(super) fn event(&self, index: usize) -> Option<Event> {
        let row = self.rows.get(index)?;
        let id = self.data.slice(row.id_start as usize..(row.id_start + row.id_len) as usize);
        Some(Event {
            position: Position(self.first_position + index as u64),
            id: EventId::from_utf8(id)?,
            time: row.time,
            collected_at: self.collected_at,
            origin: row.origin,
            raw: self.data.slice(row.raw_start as usize..row.raw_end as usize),
        })
    }

    /// The ids as they are remembered, made anew from the events.
    pub(super) fn ids(&self, maker: &IdMaker) -> Vec<Id> {
        let id = |row: &Row| maker.id(&self.data[row.id_start as usize..(row.id_start + row.id_len) as usize]);
        self.rows.iter().map(id).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::event::{Decoded, OrgName, StreamKind, TimeRange};

    fn stream() -> StreamId {
        StreamId::new(OrgName::new("acme"), StreamKind::Audit)
    }

    fn facts(runs: Vec<Run>) -> Facts {
        let at = Timestamp::from_millis;
        let change = TimeRange::new(at(5), at(9)).map_or(CoverageChange::None, CoverageChange::Add);
        Facts { stream: stream(), change, before: Some(Before { origin: at(1), watermark: at(5) }), runs }
    }

    fn raw(id: &str, time: Option<i64>, raw: &[u8]) -> RawEvent {
        RawEvent { id: EventId::new(id), time: time.map(Timestamp::from_micros), raw: Bytes::copy_from_slice(raw), decoded: Decoded::Whole }
    }

    #[test]
    fn facts_read_back_as_they_were_written() {
        let run = |bucket, count| Run { bucket, count };
        let mut facts = facts(vec![run(Bucket::Hour(-3), 4), run(Bucket::Undated(20_000), 1)]);
        for change in [CoverageChange::None, CoverageChange::Begin(Timestamp::from_micros(-1)), facts.change] {
            facts.change = change;
            assert_eq!(Facts::decode(&facts.encode()), Ok(facts.clone()));
        }
    }

    #[test]
    fn an_hour_before_the_epoch_is_an_hour() {
        let at = |micros| Some(Timestamp::from_micros(micros));
        assert_eq!(Bucket::of(at(-1), Timestamp::from_micros(0)), Bucket::Hour(-1));
        assert_eq!(Bucket::of(at(MICROS_PER_HOUR), Timestamp::from_micros(0)), Bucket::Hour(1));
        assert_eq!(Bucket::of(None, Timestamp::from_micros(-1)), Bucket::Undated(-1));
        assert_eq!(Bucket::of(at(i64::MAX), Timestamp::from_micros(0)), Bucket::Hour(i32::MAX), "held at the end");
    }

    #[test]
    fn the_same_id_in_two_streams_is_two_ids() {
        let other = StreamId::new(OrgName::new("acme"), StreamKind::Ai);
        assert_ne!(IdMaker::new(&stream()).id(b"x"), IdMaker::new(&other).id(b"x"));
    }

    proptest! {
        #[test]
        fn a_page_reads_back_byte_for_byte(
            events in proptest::collection::vec(("\\PC{0,12}", any::<Option<i64>>(), proptest::collection::vec(any::<u8>(), 0..60), 0_u8..3), 0..30)
        ) {
            let raws: Vec<RawEvent> = events.iter().map(|(id, time, bytes, _)| raw(id, *time, bytes)).collect();
            let origins = [Origin::Live, Origin::Backfill, Origin::Late];
            let rows: Vec<(&RawEvent, Origin)> = raws.iter().zip(&events).map(|(event, (.., origin))| (event, origins[usize::from(*origin)])).collect();
            let maker = IdMaker::new(&stream());
            let ids: Vec<Id> = raws.iter().map(|event| maker.id(event.id.as_bytes())).collect();
            let facts = facts(Vec::new());
            let draft = Draft { place: Place { sequence: 3, next_position: 40 }, collected_at: Timestamp::from_micros(77), facts: &facts, events: &rows, ids: &ids };
            let mut encoder = PageEncoder::new().expect("zstd");
            let header = encoder.encode(&draft).expect("encodes");
            let record = encoder.record();
            prop_assert_eq!(Header::decode(record), Ok(header));
            prop_assert_eq!(header.total_len() as usize, record.len());
            let sections = header.sections(&record[HEADER_BYTES..]);
            prop_assert_eq!(Facts::decode(sections.facts.expect("whole")), Ok(facts.clone()));
            prop_assert_eq!(super::ids(sections.ids.expect("whole")).collect::<Vec<_>>(), ids.clone());
            if rows.is_empty() {
                prop_assert_eq!(header.body_len, 0);
                return Ok(());
            }
            let page = Page::decode(&header, sections.body.expect("whole")).expect("decodes");
            prop_assert_eq!(page.len(), rows.len());
            prop_assert_eq!(page.ids(&maker), ids);
            for (index, (event, origin)) in rows.iter().enumerate() {
                let read = page.event(index).expect("there");
                prop_assert_eq!(read.position, Position(40 + index as u64));
                prop_assert_eq!((&read.id, read.time, &read.raw, read.origin), (&event.id, event.time, &event.raw, *origin));
                prop_assert_eq!(read.collected_at, Timestamp::from_micros(77));
            }
            prop_assert!(page.event(rows.len()).is_none());
        }

        #[test]
        fn no_bytes_make_the_decoders_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), count in 0_u32..20) {
            let _ = Facts::decode(&bytes);
            let _ = Page::rows(&bytes, count as usize);
        }
    }
}

//! Harness for hostile stored bytes, see [`crate::fuzzing`]. Checksums would keep a fuzzer out of what they guard, so it sets them right.

use std::{cell::RefCell, fs::File, io, path::PathBuf};

use super::{
    checkpoint::decode_pair,
    codec::Encode,
    examine::{decoded, examine, pages},
    idfile,
    index::{Index, Seal, seal_offset},
    ledger::{Entry, Ledger, Reopen},
    page::{Bucket, Facts, Page, ids},
    record::{HEADER_BYTES, Header, Kind, Place, RECORD_BYTES_MAX, frame},
    seen::{decode_marker, encode_marker},
    segment::SegmentName,
    storage::{Disk, Storage},
    tally::of_page,
    tallyfile::{Manifest, MonthTally},
};
use crate::event::{OrgName, StreamId, StreamKind, Timestamp};

/// What a body may be decompressed to here: a fuzzer would else spend its memory on empty pages.
const RAW_BYTES_MAX: u32 = 1 << 20;

thread_local! {
    /// One file for each thread: what reads files is to be tried on files.
    static SCRATCH: RefCell<Option<(tempfile::TempDir, PathBuf, File)>> = const { RefCell::new(None) };
}

/// Does something with a file of these bytes.
fn with_file(bytes: &[u8], act: impl FnOnce(&std::path::Path, &File) -> io::Result<()>) {
    SCRATCH.with_borrow_mut(|scratch| {
        let done = (|| -> io::Result<()> {
            if scratch.is_none() {
                let dir = tempfile::tempdir()?;
                let path = dir.path().join("scratch");
                let file = File::options().read(true).write(true).create_new(true).open(&path)?;
                *scratch = Some((dir, path, file));
            }
            let Some((_, path, file)) = scratch else { return Ok(()) };
            Disk.truncate(file, 0)?;
            Disk.write_at(file, bytes, 0)?;
            act(path, file)
        })();
        // A disk that fails proves nothing about the decoders, and must not look as if they were fine.
        assert!(done.is_ok(), "the scratch file cannot be used: {done:?}");
    });
}

/// Bytes as a segment, and as the sections of a record whose checksums are right.
pub(crate) fn fuzz_record(data: &[u8]) {
    let _ = Header::decode(data).map(|header| assert_eq!(header.encode(), data[..HEADER_BYTES]));
    segment(data);
    let Some((head, rest)) = data.split_at_checked(6) else { return };
    let record = repaired(head, rest);
    segment(&record);
    if let Ok(header) = Header::decode(&record) {
        let sections = header.sections(&record[HEADER_BYTES..]);
        let _ = decoded(&header, &sections);
        if let Some(section) = sections.facts.filter(|_| header.kind == Kind::Seal) {
            let _ = Seal::decode(section);
        }
        let _ = sections.ids.map(|section| ids(section).count());
        let _ = sections.body.map(|body| (Index::decode(body).is_ok(), page(&header, body)));
        if let Some(facts) = sections.facts.and_then(|facts| Facts::decode(facts).ok()) {
            assert_eq!(Facts::decode(&facts.encode()), Ok(facts), "facts survive being written");
        }
    }
    let _ = seal_offset(data);
}

/// A record of which the first bytes say the kind and the sizes, and the rest is its sections.
fn repaired(head: &[u8], rest: &[u8]) -> Vec<u8> {
    let kinds = [Kind::Page, Kind::Snapshot, Kind::State, Kind::Reopen, Kind::Trim, Kind::Seal];
    let (facts, others) = rest.split_at(rest.len().min(usize::from(head[1])));
    let (id_bytes, body) = others.split_at(others.len().min(usize::from(head[2])));
    // A body that a compressor has made, unless the input wants to be its own.
    let body = if head[3].is_multiple_of(2) { body.to_vec() } else { zstd::bulk::compress(body, 1).unwrap_or_default() };
    let crc = crc32fast::hash;
    let header = Header {
        kind: kinds[usize::from(head[0]) % kinds.len()],
        facts_len: super::codec::length(facts.len()),
        ids_len: super::codec::length(id_bytes.len()),
        body_len: super::codec::length(body.len()),
        raw_len: if head[3].is_multiple_of(2) { u32::from(head[4]) << 8 } else { super::codec::length(others.len() - id_bytes.len()) },
        sequence: 1,
        first_position: 1,
        collected_at: 0,
        count: u32::from(head[5]),
        facts_crc: crc(facts),
        ids_crc: crc(id_bytes),
        body_crc: crc(&body),
    };
    [&header.encode()[..], facts, id_bytes, &body].concat()
}

fn page(header: &Header, body: &[u8]) {
    assert!(header.total_len() <= RECORD_BYTES_MAX);
    if header.raw_len > RAW_BYTES_MAX {
        return;
    }
    let Ok(page) = Page::decode(header, body) else { return };
    for index in 0..page.len() {
        assert!(page.event(index).is_some(), "an event that is counted is there");
    }
    let counted: u64 = of_page(&page, Timestamp::from_micros(0)).iter().map(|(_, tally)| tally.collected).sum();
    assert_eq!(counted, page.len() as u64, "every event is tallied once");
}

fn segment(bytes: &[u8]) {
    let is_small = |header: &Header| header.raw_len <= RAW_BYTES_MAX;
    with_file(bytes, |_, file| {
        let name = SegmentName { first_position: 1, first_sequence: 1 };
        let _ = examine(file, name, u64::MAX, &mut Ledger::default());
        let _ = pages(file, 0, u64::MAX, |header, _, sections| {
            if let Some(body) = sections.body.filter(|_| is_small(header)) {
                page(header, body);
            }
            Ok(())
        });
        let _ = super::segment::Segment::from_seal(name, file);
        Ok(())
    });
}

/// Bytes as each of the other things that are stored; the first byte says which.
pub(crate) fn fuzz_state(data: &[u8]) {
    let Some((which, data)) = data.split_first() else { return };
    match which % 8 {
        0 => survives(data, Ledger::decode, Ledger::encode),
        1 => survives(data, Reopen::decode, Reopen::encode),
        2 => {
            if let Ok(Entry::State { key, value }) = Entry::decode_state(data) {
                assert_eq!(Entry::encode_state(&key, &value), data, "a value survives being written");
            }
            let _ = Entry::decode_trim(data);
        }
        3 => survives(&checked(b"MSt\x01", data), MonthTally::decode, MonthTally::encode),
        4 => survives(&checked(b"MSm\x01", data), Manifest::decode, Manifest::encode),
        5 => {
            let _ = decode_marker(data);
            let _ = decode_marker(&checked(b"", data));
            let _ = decode_marker(&checked(b"MSr\x02", data));
        }
        6 => id_file(data),
        _ => {
            let cut = data.first().map_or(0, |len| usize::from(*len).min(data.len() - 1));
            let (key, value) = data.get(1..).unwrap_or_default().split_at(cut);
            let _ = decode_pair(key, value);
        }
    }
}

/// What is decoded, written and decoded again is the same.
fn survives<T: PartialEq + std::fmt::Debug, E>(data: &[u8], decode: impl Fn(&[u8]) -> Result<T, E>, encode: impl Fn(&T) -> Vec<u8>) {
    if let Ok(once) = decode(data) {
        let again = decode(&encode(&once)).ok();
        assert_eq!(again.as_ref(), Some(&once), "what was read survives being written");
    }
}

/// A file with its first bytes and its checksum.
fn checked(magic: &[u8], data: &[u8]) -> Vec<u8> {
    let mut whole = [magic, data].concat();
    let crc = crc32fast::hash(&whole);
    whole.put_u32(crc);
    whole
}

/// As it is, and behind a block that is whole.
fn id_file(data: &[u8]) {
    let bucket = Bucket::Hour(7);
    let mut whole = Vec::new();
    idfile::encode_block(bucket, &[(1, super::page::Id([7; 16]))], &mut whole);
    whole.extend_from_slice(data);
    for bytes in [data, &whole] {
        with_file(bytes, |path, _| {
            let mut found = 0;
            idfile::load(path, bucket, |_| found += 1)?;
            assert!(bytes.len() == data.len() || found > 0, "what is whole is found in front of anything");
            let _ = idfile::refuse_newer(path);
            idfile::touched(path, &super::sequences::Sequences::of(0, 5)).map(drop)
        });
    }
}

/// Records as this program writes them.
pub(crate) fn record_seeds() -> Vec<Vec<u8>> {
    let ledger = Ledger { journal: 1, next_position: 1, ..Ledger::default() };
    let place = Place { sequence: 1, next_position: 1 };
    let snapshot = frame(Kind::Snapshot, place, &ledger.encode());
    let state = frame(Kind::State, Place { sequence: 2, next_position: 1 }, &Entry::encode_state("key", b"value"));
    let trim = frame(Kind::Trim, Place { sequence: 3, next_position: 1 }, &1_u64.to_le_bytes());
    let facts = facts().encode();
    // Kind, sizes of facts and ids, compressed, unused, one event; then the sections.
    let mut page = vec![0, u8::try_from(facts.len()).unwrap_or(u8::MAX), 16, 1, 0, 1];
    page.extend_from_slice(&facts);
    page.extend_from_slice(&[3; 16]);
    page.extend_from_slice(&row(2, 2));
    page.extend_from_slice(b"id{}");
    vec![[snapshot, state, trim].concat(), page]
}

/// The row of one event at the head of a body: the lengths of its id and its bytes, its time, its flags.
fn row(id_len: u32, raw_len: u32) -> Vec<u8> {
    let mut row = Vec::new();
    row.put_u32(id_len);
    row.put_u32(raw_len);
    row.put_i64(1_767_225_600_000_000);
    row.put_u8(0b100);
    row
}

fn facts() -> Facts {
    let stream = StreamId::new(OrgName::new("acme"), StreamKind::Audit);
    let runs = vec![super::page::Run { bucket: Bucket::Hour(490_896), count: 1 }];
    Facts { stream, change: crate::journal::CoverageChange::None, before: None, runs }
}

/// Everything else as this program writes it.
pub(crate) fn state_seeds() -> Vec<Vec<u8>> {
    let seed = |which: u8, bytes: &[u8]| [&[which], bytes].concat();
    let stream = StreamId::new(OrgName::new("acme"), StreamKind::Audit);
    let mut ledger = Ledger { journal: 1, next_position: 1, ids_synced: 4, ..Ledger::default() };
    ledger.coverage.insert(stream.clone(), crate::coverage::Coverage::starting_at(Timestamp::from_micros(5)));
    ledger.state.insert("key".to_owned(), vec![1, 2, 3]);
    ledger.lost.insert(2, 3);
    let mut month = MonthTally { journal: 1, through: 9, ..MonthTally::default() };
    month.rows.insert(Bucket::Hour(490_896), super::tallyfile::Row::default());
    let mut manifest = Manifest { journal: 1, through: 9, ..Manifest::default() };
    manifest.streams.entry(stream.clone()).or_default().months.insert(super::tally::Month(24_312));
    // The magic and the checksum are put on by the harness.
    let inner = |bytes: Vec<u8>| bytes[4..bytes.len() - 4].to_vec();
    let mut block = Vec::new();
    idfile::encode_block(Bucket::Undated(20_454), &[(3, super::page::Id([1; 16])), (4, super::page::Id([2; 16]))], &mut block);
    let mut key = vec![b'c'];
    key.put_stream(&stream);
    let mut pair = vec![u8::try_from(key.len()).unwrap_or(u8::MAX)];
    pair.extend_from_slice(&key);
    pair.put_coverage(&crate::coverage::Coverage::starting_at(Timestamp::from_micros(5)));
    let mut reopen = Reopen { lost: super::sequences::Sequences::of(4, 6), ranges: Vec::new() };
    reopen.ranges.extend(crate::event::TimeRange::new(Timestamp::from_micros(1), Timestamp::from_micros(2)).map(|range| (stream, range)));
    vec![
        seed(0, &ledger.encode()),
        seed(1, &reopen.encode()),
        seed(2, &Entry::encode_state("key", b"value")),
        seed(3, &inner(month.encode())),
        seed(4, &inner(manifest.encode())),
        seed(5, &inner(encode_marker(7))),
        seed(6, &block),
        seed(7, &pair),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seeds_get_through_the_decoders() {
        let seeds = state_seeds();
        assert!(Ledger::decode(&seeds[0][1..]).is_ok());
        assert!(MonthTally::decode(&checked(b"MSt\x01", &seeds[3][1..])).is_ok());
        assert!(Manifest::decode(&checked(b"MSm\x01", &seeds[4][1..])).is_ok());
        assert_eq!(decode_marker(&checked(b"MSr\x02", &seeds[5][1..])), Ok(Some(7)));
        let page = &record_seeds()[1];
        let record = repaired(&page[..6], &page[6..]);
        let header = Header::decode(&record).expect("a header");
        let body = header.sections(&record[HEADER_BYTES..]).body.expect("whole");
        let decoded = Page::decode(&header, body).expect("a page");
        assert_eq!(decoded.event(0).map(|event| event.id.to_string()).as_deref(), Some("id"));
    }
}

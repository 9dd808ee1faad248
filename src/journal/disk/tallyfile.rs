//! The files that tallies are kept in: one for each stream and month, and one that says which there are. Each is written anew as a
//! whole, beside the old one, and put in its place; each carries a version, the journal that it belongs to and a checksum.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    codec::{Decoder, Encode, Malformed, Newer, length},
    page::Bucket,
    tally::Month,
};
use crate::{
    event::StreamId,
    journal::proof::{IdSum, Tally},
};

/// The first bytes of a month's file; the version follows.
const MONTH_MAGIC: [u8; 3] = *b"MSt";

/// The first bytes of the list of months; the version follows.
const MANIFEST_MAGIC: [u8; 3] = *b"MSm";

/// The version that this program writes, and the newest that it reads.
pub(super) const VERSION: u8 = 1;

/// A month has at most 744 hours and 31 days, of 78 bytes each; whatever is larger is no such file.
pub(super) const FILE_BYTES_MAX: u64 = 1 << 20;

/// Why a file is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unusable {
    /// It is not what was written.
    Damaged(&'static str),
    /// A newer program wrote it.
    Newer(Newer),
}

impl From<Malformed> for Unusable {
    fn from(malformed: Malformed) -> Self {
        Self::Damaged(malformed.0)
    }
}

/// One slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) tally: Tally,
    /// Whether nothing is missing and nothing is counted twice.
    pub(super) exact: bool,
}

impl Default for Row {
    fn default() -> Self {
        Self { tally: Tally::default(), exact: true }
    }
}

impl Row {
    pub(super) fn add(&mut self, other: &Self) {
        self.tally.add(&other.tally);
        self.exact &= other.exact;
    }
}

/// What one month's file holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct MonthTally {
    pub(super) journal: u64,
    /// All records up to this one are counted in it.
    pub(super) through: u64,
    /// The file was lost and is built from what the log still had: no hour of it is certain.
    pub(super) partial: bool,
    pub(super) rows: BTreeMap<Bucket, Row>,
}

impl MonthTally {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = begin(MONTH_MAGIC, self.journal, self.through);
        out.put_u8(u8::from(self.partial));
        out.put_u32(length(self.rows.len()));
        for (bucket, row) in &self.rows {
            bucket.encode(&mut out);
            out.put_u8(u8::from(row.exact));
            let Tally { collected, late, backfilled, undecodable, duplicates, ids } = row.tally;
            for number in [collected, late, backfilled, undecodable, duplicates] {
                out.put_u64(number);
            }
            out.extend_from_slice(&ids.to_bytes());
        }
        finished(out)
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Unusable> {
        let mut from = checked(bytes, MONTH_MAGIC)?;
        let mut month = Self { journal: from.u64()?, through: from.u64()?, partial: flag(&mut from)?, rows: BTreeMap::new() };
        for _ in 0..from.u32()? {
            let (bucket, exact) = (Bucket::decode(&mut from)?, flag(&mut from)?);
            let [collected, late, backfilled, undecodable, duplicates] = numbers(&mut from)?;
            let mut ids = [0; 32];
            ids.copy_from_slice(from.take(32)?);
            let tally = Tally { collected, late, backfilled, undecodable, duplicates, ids: IdSum::from_bytes(ids) };
            month.rows.insert(bucket, Row { tally, exact });
        }
        from.end()?;
        Ok(month)
    }

    /// Adds what another holds.
    pub(super) fn merge(&mut self, other: &Self) {
        self.partial |= other.partial;
        for (bucket, row) in &other.rows {
            self.rows.entry(*bucket).or_default().add(row);
        }
    }
}

/// Which files there are, and how far they reach together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Manifest {
    pub(super) journal: u64,
    /// All records up to this one are counted in the files.
    pub(super) through: u64,
    pub(super) streams: BTreeMap<StreamId, Listed>,
}

/// What is known of one stream's files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    /// No hour before this one is certain: its events may have been collected before they were counted.
    pub(super) exact_from_hour: i32,
    pub(super) months: BTreeSet<Month>,
}

impl Default for Listed {
    fn default() -> Self {
        Self { exact_from_hour: i32::MIN, months: BTreeSet::new() }
    }
}

impl Manifest {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = begin(MANIFEST_MAGIC, self.journal, self.through);
        out.put_u32(length(self.streams.len()));
        for (stream, listed) in &self.streams {
            out.put_stream(stream);
            out.put_i32(listed.exact_from_hour);
            out.put_u32(length(listed.months.len()));
            for month in &listed.months {
                out.put_i32(month.0);
            }
        }
        finished(out)
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Unusable> {
        let mut from = checked(bytes, MANIFEST_MAGIC)?;
        let mut manifest = Self { journal: from.u64()?, through: from.u64()?, streams: BTreeMap::new() };
        for _ in 0..from.u32()? {
            let (stream, mut listed) = (from.stream()?, Listed { exact_from_hour: from.i32()?, months: BTreeSet::new() });
            for _ in 0..from.u32()? {
                listed.months.insert(Month(from.i32()?));
            }
            manifest.streams.insert(stream, listed);
        }
        from.end()?;
        Ok(manifest)
    }
}

fn begin(magic: [u8; 3], journal: u64, through: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(4_096);
    out.extend_from_slice(&magic);
    out.put_u8(VERSION);
    out.put_u64(journal);
    out.put_u64(through);
    out
}

fn finished(mut out: Vec<u8>) -> Vec<u8> {
    let crc = crc32fast::hash(&out);
    out.put_u32(crc);
    out
}

/// What follows the version, if the checksum is right. Every version has its first four bytes and its last four in common, so that a
/// newer one is told from damage.
fn checked(bytes: &[u8], magic: [u8; 3]) -> Result<Decoder<'_>, Unusable> {
    let content = bytes.len().checked_sub(4).and_then(|len| bytes.split_at_checked(len));
    let (content, crc) = content.ok_or(Unusable::Damaged("it ends too early"))?;
    if crc32fast::hash(content).to_le_bytes() != crc {
        return Err(Unusable::Damaged("its checksum is wrong"));
    }
    let mut from = Decoder::new(content);
    if from.take(3)? != magic {
        return Err(Unusable::Damaged("it does not begin as such a file does"));
    }
    match from.u8()? {
        VERSION => Ok(from),
        newer => Err(Unusable::Newer(Newer(newer))),
    }
}

fn flag(from: &mut Decoder<'_>) -> Result<bool, Malformed> {
    match from.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Malformed("a yes or no in it is neither")),
    }
}

fn numbers<const N: usize>(from: &mut Decoder<'_>) -> Result<[u64; N], Malformed> {
    let mut numbers = [0; N];
    for number in &mut numbers {
        *number = from.u64()?;
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::event::{OrgName, StreamKind};

    fn month() -> MonthTally {
        let mut ids = IdSum::default();
        ids.add_id(b"one");
        let tally = Tally { collected: 5, late: 1, backfilled: 2, undecodable: 3, duplicates: 9, ids };
        let rows = [(Bucket::Hour(490_000), Row { tally, exact: true }), (Bucket::Undated(20_454), Row { tally, exact: false })];
        MonthTally { journal: 7, through: 44, partial: true, rows: rows.into_iter().collect() }
    }

    fn manifest() -> Manifest {
        let listed = Listed { exact_from_hour: 490_001, months: BTreeSet::from([Month(24_312), Month(24_313)]) };
        let stream = StreamId::new(OrgName::new("acme"), StreamKind::Content);
        Manifest { journal: 7, through: 44, streams: BTreeMap::from([(stream, listed)]) }
    }

    #[test]
    fn files_read_back_as_they_were_written() {
        assert_eq!(MonthTally::decode(&month().encode()), Ok(month()));
        assert_eq!(Manifest::decode(&manifest().encode()), Ok(manifest()));
    }

    #[test]
    fn any_flipped_bit_is_noticed() {
        let (month, manifest) = (month().encode(), manifest().encode());
        for bit in 0..month.len() * 8 {
            let mut damaged = month.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(MonthTally::decode(&damaged), Err(Unusable::Damaged(_))), "bit {bit}");
        }
        for bit in 0..manifest.len() * 8 {
            let mut damaged = manifest.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(Manifest::decode(&damaged), Err(Unusable::Damaged(_))), "bit {bit}");
        }
    }

    #[test]
    fn a_newer_version_is_told_from_damage() {
        let mut bytes = month().encode();
        bytes[3] = VERSION + 1;
        let end = bytes.len() - 4;
        let crc = crc32fast::hash(&bytes[..end]).to_le_bytes();
        bytes[end..].copy_from_slice(&crc);
        assert_eq!(MonthTally::decode(&bytes), Err(Unusable::Newer(Newer(VERSION + 1))));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_decoders_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            for magic in [MONTH_MAGIC, MANIFEST_MAGIC] {
                let mut whole = begin(magic, 1, 1);
                whole.extend_from_slice(&bytes);
                let whole = finished(whole);
                let _ = MonthTally::decode(&whole);
                let _ = Manifest::decode(&whole);
            }
        }
    }
}

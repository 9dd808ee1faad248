//! The frame of a record: a fixed header that can be checked alone, then up to three sections, each with its own checksum.
//!
//! ```text
//! header 72 B, CRC32 │ facts: what the record says │ ids: 16 B for each event │ body: zstd of the events
//! ```
//!
//! The sections have separate checksums so that damage costs no more than it must: a record whose body is damaged still tells
//! which time has to be collected again, and one whose ids are damaged has lost nothing, since the body tells them too.
//!
//! The header's layout is the same in every version, so that an older program can tell a newer record from a damaged one.

use super::codec::{Decoder, Encode, Malformed, length};

/// The version of the records that this program writes, and the newest that it reads.
pub(super) const VERSION: u8 = 1;

/// The size of the header.
pub(super) const HEADER_BYTES: usize = 72;

/// The first bytes of every record.
pub(super) const MAGIC: [u8; 4] = *b"MSJ\xf1";

/// No record is larger: a page is at most 64 MiB as Miro's answers are capped, and this leaves room for whole snapshots.
pub(super) const RECORD_BYTES_MAX: u64 = 256 << 20;

/// What a record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// One commit: a page's events, its coverage change and its ids.
    Page,
    /// Everything that the log has proved so far; the first record of each segment, and written again when subscriptions change.
    Snapshot,
    /// One value of the small named state.
    State,
    /// Records were lost, and this is the time that is to be collected again.
    Reopen,
    /// Segments were deleted because everybody was done with them.
    Trim,
    /// The index of a segment, at its end. Derived from the rest; takes no sequence number.
    Seal,
}

impl Kind {
    fn code(self) -> u8 {
        match self {
            Self::Page => 1,
            Self::Snapshot => 2,
            Self::State => 3,
            Self::Reopen => 4,
            Self::Trim => 5,
            Self::Seal => 6,
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        let all = [Self::Page, Self::Snapshot, Self::State, Self::Reopen, Self::Trim, Self::Seal];
        all.into_iter().find(|kind| kind.code() == code)
    }
}

/// The header of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    pub(super) facts_len: u32,
    pub(super) ids_len: u32,
    pub(super) body_len: u32,
    /// The size of the body once it is decompressed.
    pub(super) raw_len: u32,
    /// Counts records, from 1 on, without a hole: this is how a lost record is noticed.
    pub(super) sequence: u64,
    /// The position of the first event; where there is none, the position that the next event will have.
    pub(super) first_position: u64,
    /// When the page was received, in microseconds since the epoch.
    pub(super) collected_at: i64,
    /// How many events.
    pub(super) count: u32,
    pub(super) facts_crc: u32,
    pub(super) ids_crc: u32,
    pub(super) body_crc: u32,
}

/// Why bytes are not a header that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotAHeader {
    /// They are no header, or a damaged one.
    Damaged,
    /// They are a whole header, written by a newer program.
    Newer(u8),
}

impl Header {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_BYTES);
        out.extend_from_slice(&MAGIC);
        out.put_u8(VERSION);
        out.put_u8(self.kind.code());
        out.put_u16(0);
        for len in [self.facts_len, self.ids_len, self.body_len, self.raw_len] {
            out.put_u32(len);
        }
        out.put_u64(self.sequence);
        out.put_u64(self.first_position);
        out.put_i64(self.collected_at);
        for number in [self.count, self.facts_crc, self.ids_crc, self.body_crc, 0] {
            out.put_u32(number);
        }
        out.put_u32(crc32fast::hash(&out));
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, NotAHeader> {
        let header = bytes.get(..HEADER_BYTES).ok_or(NotAHeader::Damaged)?;
        let (content, crc) = header.split_at(HEADER_BYTES - 4);
        if !header.starts_with(&MAGIC) || crc32fast::hash(content).to_le_bytes() != crc {
            return Err(NotAHeader::Damaged);
        }
        if header[4] != VERSION {
            return Err(NotAHeader::Newer(header[4]));
        }
        Self::fields(content).ok().filter(|header| header.total_len() <= RECORD_BYTES_MAX).ok_or(NotAHeader::Damaged)
    }

    fn fields(content: &[u8]) -> Result<Self, Malformed> {
        let mut from = Decoder::new(content);
        from.take(MAGIC.len() + 1)?;
        let kind = Kind::from_code(from.u8()?).ok_or(Malformed("it is of an unknown kind"))?;
        from.u16()?;
        Ok(Self {
            kind,
            facts_len: from.u32()?,
            ids_len: from.u32()?,
            body_len: from.u32()?,
            raw_len: from.u32()?,
            sequence: from.u64()?,
            first_position: from.u64()?,
            collected_at: from.i64()?,
            count: from.u32()?,
            facts_crc: from.u32()?,
            ids_crc: from.u32()?,
            body_crc: from.u32()?,
        })
    }

    /// The whole record's size, with the header.
    pub(super) fn total_len(&self) -> u64 {
        HEADER_BYTES as u64 + u64::from(self.facts_len) + u64::from(self.ids_len) + u64::from(self.body_len)
    }

    /// Cuts what follows the header into its sections.
    pub(super) fn sections<'a>(&self, after_header: &'a [u8]) -> Sections<'a> {
        let ids_at = self.facts_len as usize;
        let body_at = ids_at + self.ids_len as usize;
        let section =
            |from: usize, len: u32, crc: u32| after_header.get(from..from + len as usize).filter(|section| crc32fast::hash(section) == crc);
        Sections {
            facts: section(0, self.facts_len, self.facts_crc),
            ids: section(ids_at, self.ids_len, self.ids_crc),
            body: section(body_at, self.body_len, self.body_crc),
        }
    }
}

/// The sections of a record; `None` for one that is not there as a whole or whose checksum is wrong.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sections<'a> {
    pub(super) facts: Option<&'a [u8]>,
    pub(super) ids: Option<&'a [u8]>,
    pub(super) body: Option<&'a [u8]>,
}

/// What the header says of a record that has facts and nothing else.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// The record's number.
    pub(super) sequence: u64,
    /// The position that the next event will have.
    pub(super) next_position: u64,
}

/// A whole record that has facts and nothing else.
pub(super) fn frame(kind: Kind, place: Place, facts: &[u8]) -> Vec<u8> {
    let header = Header {
        kind,
        facts_len: length(facts.len()),
        ids_len: 0,
        body_len: 0,
        raw_len: 0,
        sequence: place.sequence,
        first_position: place.next_position,
        collected_at: 0,
        count: 0,
        facts_crc: crc32fast::hash(facts),
        ids_crc: crc32fast::hash(&[]),
        body_crc: crc32fast::hash(&[]),
    };
    let mut out = header.encode();
    out.extend_from_slice(facts);
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample() -> Header {
        Header {
            kind: Kind::Page,
            facts_len: 3,
            ids_len: 16,
            body_len: 5,
            raw_len: 50,
            sequence: 7,
            first_position: 900,
            collected_at: -4,
            count: 1,
            facts_crc: 1,
            ids_crc: 2,
            body_crc: 3,
        }
    }

    #[test]
    fn a_header_reads_back_as_it_was_written() {
        let bytes = sample().encode();
        assert_eq!(bytes.len(), HEADER_BYTES);
        assert_eq!(Header::decode(&bytes), Ok(sample()));
    }

    #[test]
    fn a_header_with_any_bit_flipped_is_refused() {
        let bytes = sample().encode();
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::decode(&damaged), Err(NotAHeader::Damaged), "bit {bit}");
        }
    }

    #[test]
    fn a_newer_version_is_told_from_damage() {
        let mut bytes = sample().encode();
        bytes[4] = VERSION + 1;
        let crc = crc32fast::hash(&bytes[..HEADER_BYTES - 4]).to_le_bytes();
        bytes[HEADER_BYTES - 4..].copy_from_slice(&crc);
        assert_eq!(Header::decode(&bytes), Err(NotAHeader::Newer(VERSION + 1)));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_header_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Header::decode(&bytes);
        }
    }
}

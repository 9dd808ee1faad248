//! Segment files: their names, what is known of one that is complete, and the one that is being written.

use std::{
    fmt,
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    index::{Index, Remaining, Seal, Summary, TRAILER_BYTES, seal_offset},
    record::{HEADER_BYTES, Header, Kind},
    storage::Storage,
};
use crate::event::{Position, StreamId};

const SUFFIX: &str = ".seg";

/// A segment's name: where it begins. Sorts by position, then by record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct SegmentName {
    pub(super) first_position: u64,
    pub(super) first_sequence: u64,
}

impl SegmentName {
    pub(super) fn parse(file_name: &str) -> Option<Self> {
        let (position, sequence) = file_name.strip_suffix(SUFFIX)?.split_once('-')?;
        let number = |text: &str| (text.len() == 20).then(|| text.parse().ok()).flatten();
        Some(Self { first_position: number(position)?, first_sequence: number(sequence)? })
    }

    pub(super) fn path(self, dir: &Path) -> PathBuf {
        dir.join(self.to_string())
    }
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:020}-{:020}{SUFFIX}", self.first_position, self.first_sequence)
    }
}

/// A segment that is no longer written to.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub(super) name: SegmentName,
    pub(super) bytes: u64,
    pub(super) last_sequence: u64,
    pub(super) next_position: u64,
    pub(super) streams: Vec<Summary>,
    pub(super) index: IndexAt,
}

/// Where a segment's index is.
#[derive(Clone, Debug)]
pub(super) enum IndexAt {
    /// In the seal that begins at this offset.
    Seal(u64),
    /// In memory, because the segment could not be sealed.
    Memory(Arc<Index>),
}

impl Segment {
    /// What the segment holds of a stream.
    pub(super) fn summary(&self, stream: &StreamId) -> Option<&Summary> {
        self.streams.iter().find(|summary| summary.stream == *stream)
    }

    /// What is left of a stream after a position, as far as that can be told without the index.
    pub(super) fn remaining(&self, stream: &StreamId, after: Position) -> Left {
        match self.summary(stream) {
            None => Left::Nothing,
            Some(summary) if summary.last <= after => Left::Nothing,
            Some(summary) if summary.first > after => Left::Known(Remaining { events: summary.events, oldest: Some(summary.collected_at) }),
            Some(_) => Left::Partly,
        }
    }

    pub(super) fn events(&self) -> u64 {
        self.streams.iter().map(|summary| summary.events).sum()
    }

    /// From the seal at a file's end; `None` where there is no valid one.
    pub(super) fn from_seal(name: SegmentName, file: &File) -> io::Result<Option<Self>> {
        let bytes = file.metadata()?.len();
        let Some(trailer_at) = bytes.checked_sub(TRAILER_BYTES as u64) else { return Ok(None) };
        let mut trailer = [0; TRAILER_BYTES];
        file.read_exact_at(&mut trailer, trailer_at)?;
        let Some(offset) = seal_offset(&trailer).filter(|offset| offset + HEADER_BYTES as u64 <= trailer_at) else { return Ok(None) };
        let Some((header, facts)) = seal_facts(file, offset, trailer_at)? else { return Ok(None) };
        let Ok(seal) = Seal::decode(&facts) else { return Ok(None) };
        let ends_at = offset + header.total_len();
        Ok((ends_at == trailer_at).then_some(Self {
            name,
            bytes,
            last_sequence: seal.last_sequence,
            next_position: seal.next_position,
            streams: seal.streams,
            index: IndexAt::Seal(offset),
        }))
    }
}

/// How much of a stream a segment has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    Nothing,
    Known(Remaining),
    /// The position lies inside; the index knows.
    Partly,
}

fn seal_facts(file: &File, offset: u64, end: u64) -> io::Result<Option<(Header, Vec<u8>)>> {
    let mut head = [0; HEADER_BYTES];
    file.read_exact_at(&mut head, offset)?;
    let Ok(header) = Header::decode(&head) else { return Ok(None) };
    if header.kind != Kind::Seal || offset + header.total_len() > end {
        return Ok(None);
    }
    let mut facts = vec![0; header.facts_len as usize];
    file.read_exact_at(&mut facts, offset + HEADER_BYTES as u64)?;
    Ok((crc32fast::hash(&facts) == header.facts_crc).then_some((header, facts)))
}

/// Reads the index that a seal holds; `None` where it is damaged.
pub(super) fn read_index(file: &File, offset: u64) -> io::Result<Option<Index>> {
    let Some((header, _)) = seal_facts(file, offset, file.metadata()?.len())? else { return Ok(None) };
    let mut body = vec![0; header.body_len as usize];
    file.read_exact_at(&mut body, offset + HEADER_BYTES as u64 + u64::from(header.facts_len))?;
    Ok((crc32fast::hash(&body) == header.body_crc).then(|| Index::decode(&body).ok()).flatten())
}

/// The segment that is being written.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) name: SegmentName,
    pub(super) file: Arc<File>,
    /// The end of what was written.
    pub(super) len: u64,
    /// The end of what is durable.
    pub(super) synced: u64,
    /// Records in it.
    pub(super) records: u32,
    /// What lies behind the end may be garbage that could not be cut off yet.
    dirty_tail: bool,
    /// No record may follow: a sync has failed, and what the disk holds of this file is not certain.
    pub(super) spent: bool,
}

impl Active {
    pub(super) fn new(name: SegmentName, file: Arc<File>, len: u64, records: u32) -> Self {
        Self { name, file, len, synced: len, records, dirty_tail: false, spent: false }
    }

    /// Writes a record behind the last one, and returns where it begins. After a failure the file ends where it did before.
    pub(super) fn append(&mut self, storage: &dyn Storage, record: &[u8]) -> io::Result<u64> {
        if self.dirty_tail {
            storage.truncate(&self.file, self.len)?;
            self.dirty_tail = false;
        }
        let offset = self.len;
        if let Err(error) = storage.write_at(&self.file, record, offset) {
            self.cut(storage, offset);
            return Err(error);
        }
        self.len += record.len() as u64;
        self.records += 1;
        Ok(offset)
    }

    /// Makes what was appended durable. After a failure it is gone, and the segment takes no more: a disk that has failed to
    /// write a page may report the next sync of it as a success.
    pub(super) fn sync(&mut self, storage: &dyn Storage) -> io::Result<()> {
        if self.len == self.synced {
            return Ok(());
        }
        match storage.sync(&self.file) {
            Ok(()) => {
                self.synced = self.len;
                Ok(())
            }
            Err(error) => {
                self.spent = true;
                self.cut(storage, self.synced);
                Err(error)
            }
        }
    }

    /// Takes back what is not durable yet.
    pub(super) fn take_back(&mut self, storage: &dyn Storage) {
        if self.len != self.synced {
            self.cut(storage, self.synced);
        }
    }

    fn cut(&mut self, storage: &dyn Storage, len: u64) {
        self.len = len;
        self.dirty_tail = storage.truncate(&self.file, len).is_err();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sort_by_position_and_read_back() {
        let name = SegmentName { first_position: 9, first_sequence: 100 };
        let later = SegmentName { first_position: 10, first_sequence: 7 };
        assert!(name.to_string() < later.to_string());
        assert_eq!(SegmentName::parse(&name.to_string()), Some(name));
        for other in ["", "1-2.seg", "lock", "00000000000000000009-00000000000000000100.tmp"] {
            assert_eq!(SegmentName::parse(other), None, "{other}");
        }
    }
}

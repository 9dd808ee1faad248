//! The files that ids are remembered in: one for each stream and day, blocks of ids appended to it, each block for one bucket.
//!
//! A block is checked when it is read; what is damaged is stepped over. Ids that are lost with a block can only lead to an event
//! being sent once more, never to one being left out.

use std::{
    fs::File,
    io::{self, ErrorKind},
    os::unix::fs::FileExt,
    path::Path,
};

use super::{
    codec::{Decoder, Encode, Malformed, Newer, length},
    page::{Bucket, ID_BYTES, Id},
    scan::find,
    sequences::Sequences,
    storage::{Storage, remove_if_there},
};

/// The last byte is the version.
const MAGIC: [u8; 4] = *b"MSi\x01";

const HEADER_BYTES: usize = 37;

/// So many ids in one block at most, so that one block is never much to hold.
pub(super) const BLOCK_IDS_MAX: usize = 65_536;

/// The head of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    bucket: Bucket,
    /// The records that the ids belong to lie between these two.
    first_sequence: u64,
    last_sequence: u64,
    count: u32,
    ids_crc: u32,
}

impl Head {
    fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&MAGIC);
        self.bucket.encode(out);
        out.put_u64(self.first_sequence);
        out.put_u64(self.last_sequence);
        out.put_u32(self.count);
        out.put_u32(self.ids_crc);
        let crc = crc32fast::hash(&out[start..]);
        out.put_u32(crc);
    }

    fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, Malformed> {
        let (content, crc) = bytes.split_at(HEADER_BYTES - 4);
        if !content.starts_with(&MAGIC) || crc32fast::hash(content).to_le_bytes() != crc {
            return Err(Malformed("it is no head of a block"));
        }
        let mut from = Decoder::new(&content[MAGIC.len()..]);
        let bucket = Bucket::decode(&mut from)?;
        Ok(Self { bucket, first_sequence: from.u64()?, last_sequence: from.u64()?, count: from.u32()?, ids_crc: from.u32()? })
    }

    /// Whether these bytes are a whole head that a newer program wrote. The first three bytes, the version behind them and the checksum
    /// at the end of a head have their place in every version.
    fn newer(bytes: &[u8; HEADER_BYTES]) -> Option<Newer> {
        let (content, crc) = bytes.split_at(HEADER_BYTES - 4);
        let is_head = content.starts_with(&MAGIC[..3]) && crc32fast::hash(content).to_le_bytes() == crc;
        (is_head && content[3] != MAGIC[3]).then(|| Newer(content[3]))
    }

    fn ids_len(&self) -> u64 {
        u64::from(self.count) * ID_BYTES as u64
    }
}

/// Appends a block to a buffer that is then written as a whole. `ids` are of one bucket, each with its record's number.
pub(super) fn encode_block(bucket: Bucket, ids: &[(u64, Id)], out: &mut Vec<u8>) {
    let mut section = Vec::with_capacity(ids.len() * ID_BYTES);
    for (_, id) in ids {
        section.extend_from_slice(&id.0);
    }
    let sequences = || ids.iter().map(|(sequence, _)| *sequence);
    let head = Head {
        bucket,
        first_sequence: sequences().min().unwrap_or(0),
        last_sequence: sequences().max().unwrap_or(0),
        count: length(ids.len()),
        ids_crc: crc32fast::hash(&section),
    };
    head.encode(out);
    out.extend_from_slice(&section);
}

/// Walks over the blocks of a file; damaged stretches are left out.
fn walk(file: &File, mut visit: impl FnMut(u64, Head) -> io::Result<()>) -> io::Result<()> {
    let len = file.metadata()?.len();
    let mut at = 0;
    while at + HEADER_BYTES as u64 <= len {
        let mut bytes = [0; HEADER_BYTES];
        file.read_exact_at(&mut bytes, at)?;
        match Head::decode(&bytes) {
            Ok(head) if at + HEADER_BYTES as u64 + head.ids_len() <= len => {
                visit(at, head)?;
                at += HEADER_BYTES as u64 + head.ids_len();
            }
            _ => match find(file, &MAGIC, at + 1, len)? {
                Some(next) => at = next,
                None => break,
            },
        }
    }
    Ok(())
}

/// The ids section of a block; `None` where it is damaged.
fn section(file: &File, at: u64, head: &Head) -> io::Result<Option<Vec<u8>>> {
    let mut ids = vec![0; head.ids_len() as usize];
    file.read_exact_at(&mut ids, at + HEADER_BYTES as u64)?;
    Ok((crc32fast::hash(&ids) == head.ids_crc).then_some(ids))
}

/// Refuses a file that a newer program has begun.
pub(super) fn refuse_newer(path: &Path) -> io::Result<()> {
    let Some(file) = open(path)? else { return Ok(()) };
    let mut bytes = [0; HEADER_BYTES];
    match file.read_exact_at(&mut bytes, 0) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(()),
        Err(error) => Err(error),
        Ok(()) => Head::newer(&bytes).map_or(Ok(()), |newer| Err(newer.refusal(path))),
    }
}

/// All ids of one bucket in a file; none where the file does not exist.
pub(super) fn load(path: &Path, bucket: Bucket, mut each: impl FnMut(Id)) -> io::Result<()> {
    let Some(file) = open(path)? else { return Ok(()) };
    walk(&file, |at, head| {
        if head.bucket == bucket
            && let Some(ids) = section(&file, at, &head)?
        {
            super::page::ids(&ids).for_each(&mut each);
        }
        Ok(())
    })
}

/// The buckets in which records of those numbers have left ids, and whether the file has to be rewritten at all.
pub(super) fn touched(path: &Path, lost: &Sequences) -> io::Result<Vec<Bucket>> {
    let mut buckets = Vec::new();
    let Some(file) = open(path)? else { return Ok(buckets) };
    walk(&file, |_, head| {
        if lost.overlaps(head.first_sequence, head.last_sequence) && !buckets.contains(&head.bucket) {
            buckets.push(head.bucket);
        }
        Ok(())
    })?;
    Ok(buckets)
}

/// Writes the file anew without the blocks that hold ids of those records.
pub(super) fn rewrite_without(storage: &dyn Storage, path: &Path, lost: &Sequences) -> io::Result<()> {
    let Some(file) = open(path)? else { return Ok(()) };
    let temporary = path.with_extension("tmp");
    remove_if_there(storage, &temporary)?;
    let fresh = storage.create(&temporary)?;
    let mut len = 0;
    walk(&file, |at, head| {
        if lost.overlaps(head.first_sequence, head.last_sequence) {
            return Ok(());
        }
        if let Some(ids) = section(&file, at, &head)? {
            let mut block = Vec::with_capacity(HEADER_BYTES + ids.len());
            head.encode(&mut block);
            block.extend_from_slice(&ids);
            storage.write_at(&fresh, &block, len)?;
            len += block.len() as u64;
        }
        Ok(())
    })?;
    storage.sync(&fresh)?;
    storage.rename(&temporary, path)
}

fn open(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::disk::storage::Disk;

    fn id(n: u8) -> Id {
        Id([n; ID_BYTES])
    }

    fn loaded(path: &Path, bucket: Bucket) -> Vec<Id> {
        let mut ids = Vec::new();
        load(path, bucket, |id| ids.push(id)).expect("readable");
        ids
    }

    fn written(dir: &Path, blocks: &[(Bucket, &[(u64, Id)])]) -> (std::path::PathBuf, Vec<u8>) {
        let path = dir.join("20000.ids");
        let mut bytes = Vec::new();
        for (bucket, ids) in blocks {
            encode_block(*bucket, ids, &mut bytes);
        }
        std::fs::write(&path, &bytes).expect("writes");
        (path, bytes)
    }

    #[test]
    fn a_bucket_reads_its_own_blocks_only() {
        let dir = tempfile::tempdir().expect("a directory");
        let (one, other) = (Bucket::Hour(480_000), Bucket::Undated(20_000));
        let (path, _) = written(dir.path(), &[(one, &[(1, id(1)), (1, id(2))]), (other, &[(1, id(3))]), (one, &[(2, id(4))])]);
        assert_eq!(loaded(&path, one), [id(1), id(2), id(4)]);
        assert_eq!(loaded(&path, other), [id(3)]);
        assert_eq!(loaded(&dir.path().join("absent.ids"), one), []);
    }

    #[test]
    fn any_damaged_byte_costs_only_its_own_block() {
        let dir = tempfile::tempdir().expect("a directory");
        let bucket = Bucket::Hour(7);
        let (path, bytes) = written(dir.path(), &[(bucket, &[(1, id(1))]), (bucket, &[(2, id(2))]), (bucket, &[(3, id(3))])]);
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x20;
            std::fs::write(&path, &damaged).expect("writes");
            let ids = loaded(&path, bucket);
            let whole = [id(1), id(2), id(3)].into_iter().enumerate().filter(|(block, _)| *block != at / (bytes.len() / 3));
            assert_eq!(ids, whole.map(|(_, id)| id).collect::<Vec<_>>(), "byte {at}");
        }
    }

    #[test]
    fn ids_of_lost_records_are_forgotten_and_their_hours_named() {
        let dir = tempfile::tempdir().expect("a directory");
        let (one, other) = (Bucket::Hour(1), Bucket::Hour(2));
        let (path, _) = written(dir.path(), &[(one, &[(1, id(1)), (3, id(2))]), (other, &[(4, id(3))]), (one, &[(5, id(4))])]);
        let lost = Sequences::of(2, 3);
        assert_eq!(touched(&path, &lost).expect("readable"), [one]);
        rewrite_without(&Disk, &path, &lost).expect("rewrites");
        assert_eq!((loaded(&path, one), loaded(&path, other)), (vec![id(4)], vec![id(3)]));
    }
}

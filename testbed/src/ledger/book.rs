//! How the events are kept: entries in order, ids in one string, and an index over hashes of the ids.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

use super::{Digest, Kept};

#[derive(Debug, Default)]
pub(super) struct Book {
    index: HashMap<Key, u32, BuildHasherDefault<KeyHasher>>,
    pub(super) entries: Vec<Entry>,
    pub(super) ids: String,
    pub(super) kept: Vec<Kept>,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) digest: Digest,
    /// Where the id ends in `Book::ids`; it begins where the one before it ends.
    pub(super) id_end: u32,
    pub(super) seen: u32,
    pub(super) altered: u32,
}

#[derive(Debug, PartialEq, Eq, Clone, Copy, Hash)]
pub(super) struct Key([u8; 16]);

/// The keys are hashes already: their first eight bytes serve as they are.
#[derive(Debug, Default)]
struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk::<8>() {
            self.0 = u64::from_le_bytes(*first);
        }
    }

    // The length prefix that arrays of bytes are hashed with says nothing: all keys are of one length.
    fn write_usize(&mut self, _: usize) {}
}

impl Book {
    pub(super) fn find(&self, id: &str) -> Option<usize> {
        self.index.get(&key_of(id)).map(|n| *n as usize)
    }

    /// Returns whether the event is new.
    pub(super) fn file(&mut self, key: Key, id: &str, digest: Digest) -> bool {
        if let Some(n) = self.index.get(&key) {
            let entry = &mut self.entries[*n as usize];
            entry.seen += 1;
            entry.altered += u32::from(entry.digest != digest);
            return false;
        }
        self.ids.push_str(id);
        self.index.insert(key, small(self.entries.len()));
        self.entries.push(Entry { digest, id_end: small(self.ids.len()), seen: 1, altered: 0 });
        true
    }
}

pub(super) fn key_of(id: &str) -> Key {
    let mut key = [0; 16];
    key.copy_from_slice(&Digest::of(id.as_bytes()).as_bytes()[..16]);
    Key(key)
}

fn small(n: usize) -> u32 {
    u32::try_from(n).expect("a ledger holds fewer than 2^32 events and 4 GiB of ids")
}

//! What a receiver took: which event, how often, and the exact bytes.
//!
//! Made for a million events: an event costs its id, a SHA-256 and about fifty bytes. Ids are found through the first 16 bytes of
//! their SHA-256, and are kept in the order in which they arrived first.

use std::{
    borrow::Cow,
    collections::HashMap,
    fmt,
    hash::{BuildHasherDefault, Hasher},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use sha2::{Digest as _, Sha256};
use tokio::{sync::watch, time::Instant};

/// The SHA-256 of some bytes; prints as lower-case hex.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

impl Digest {
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    fn key(&self) -> Key {
        let mut key = [0; 16];
        key.copy_from_slice(&self.0[..16]);
        Key(key)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How much of an event a ledger keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Keep {
    #[default]
    Digests,
    /// The bytes of every event's first arrival too; for tests with few events.
    Bytes,
}

/// One event as a receiver found it in a request.
#[derive(Debug)]
pub struct Record<'a> {
    /// The event's own id; an event without one is filed under the hex of its digest.
    pub id: Option<Cow<'a, str>>,
    /// The exact bytes of the event.
    pub bytes: &'a [u8],
    /// What surrounded the event: the whole HEC envelope, the row as a table stores it. Only read under [`Keep::Bytes`].
    pub context: Cow<'a, [u8]>,
}

/// The first arrival of an event, kept under [`Keep::Bytes`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    pub bytes: Vec<u8>,
    pub context: Vec<u8>,
}

/// One line of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub id: String,
    pub times_seen: u32,
    /// Of the first arrival.
    pub digest: Digest,
    /// Later arrivals whose bytes differed from the first.
    pub times_altered: u32,
}

/// How a ledger differs from what was expected. Empty lists: every event, each once, byte for byte.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Difference {
    pub missing: Vec<String>,
    pub unexpected: Vec<String>,
    pub altered: Vec<String>,
    pub repeated: Vec<String>,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the receiver took {got} of {wanted} events within {waited:?}")]
pub struct TooFew {
    pub wanted: usize,
    pub got: usize,
    pub waited: Duration,
}

/// Raw counters of a receiver. Relaxed: each is exact, but they are not read at one instant.
#[derive(Debug, Default)]
pub struct Counters {
    pub(crate) connections: AtomicU64,
    pub(crate) requests: AtomicU64,
    pub(crate) body_bytes: AtomicU64,
    pub(crate) gzip_bytes: AtomicU64,
    pub(crate) plain_bytes: AtomicU64,
    pub(crate) events: AtomicU64,
    pub(crate) faults: AtomicU64,
}

/// The counters at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Counts {
    pub connections: u64,
    /// Requests whose head was read.
    pub requests: u64,
    /// Body bytes as sent.
    pub body_bytes: u64,
    /// Body bytes as sent, of the bodies that were compressed with gzip.
    pub gzip_bytes: u64,
    /// Body bytes after decompression.
    pub plain_bytes: u64,
    /// Events taken, repeats included.
    pub events: u64,
    /// Requests that met a scripted fault.
    pub faults: u64,
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64, amount: u64) {
        counter.fetch_add(amount, Ordering::Relaxed);
    }

    pub fn read(&self) -> Counts {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            connections: get(&self.connections),
            requests: get(&self.requests),
            body_bytes: get(&self.body_bytes),
            gzip_bytes: get(&self.gzip_bytes),
            plain_bytes: get(&self.plain_bytes),
            events: get(&self.events),
            faults: get(&self.faults),
        }
    }
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Ledger {
    keep: Keep,
    book: Mutex<Book>,
    len: watch::Sender<usize>,
    counters: Counters,
}

#[derive(Debug, Default)]
struct Book {
    index: HashMap<Key, u32, BuildHasherDefault<KeyHasher>>,
    entries: Vec<Entry>,
    ids: String,
    kept: Vec<Kept>,
}

#[derive(Debug)]
struct Entry {
    digest: Digest,
    /// Where the id ends in `Book::ids`; it begins where the one before it ends.
    id_end: u32,
    seen: u32,
    altered: u32,
}

#[derive(Debug, PartialEq, Eq, Clone, Copy, Hash)]
struct Key([u8; 16]);

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

impl Ledger {
    pub fn new(keep: Keep) -> Self {
        Self {
            keep,
            book: Mutex::default(),
            len: watch::Sender::new(0),
            counters: Counters::default(),
        }
    }

    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    pub fn counts(&self) -> Counts {
        self.counters.read()
    }

    pub(crate) fn keeps_bytes(&self) -> bool {
        self.keep == Keep::Bytes
    }

    /// Files what one request brought, in its order.
    pub fn record(&self, records: &[Record<'_>]) {
        if records.is_empty() {
            return;
        }
        // Hashing is the larger part of the work, so it happens before the lock is taken.
        let digests: Vec<Digest> = records
            .iter()
            .map(|record| Digest::of(record.bytes))
            .collect();
        let ids: Vec<Cow<'_, str>> = records
            .iter()
            .zip(&digests)
            .map(|(record, digest)| {
                record
                    .id
                    .clone()
                    .unwrap_or_else(|| Cow::Owned(digest.to_string()))
            })
            .collect();
        let keys: Vec<Key> = ids.iter().map(|id| key_of(id)).collect();
        let mut book = self.book();
        for (n, record) in records.iter().enumerate() {
            if book.file(keys[n], &ids[n], digests[n]) && self.keep == Keep::Bytes {
                book.kept.push(Kept {
                    bytes: record.bytes.to_vec(),
                    context: record.context.to_vec(),
                });
            }
        }
        let len = book.entries.len();
        drop(book);
        Counters::add(&self.counters.events, records.len() as u64);
        self.len.send_modify(|known| *known = len.max(*known));
    }

    /// How many different events were taken.
    pub fn len(&self) -> usize {
        self.book().entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How often the event was taken; 0 for one that never was.
    pub fn times_seen(&self, id: &str) -> u32 {
        let book = self.book();
        book.find(id).map_or(0, |n| book.entries[n].seen)
    }

    /// The digest of the event's first arrival.
    pub fn digest_of(&self, id: &str) -> Option<Digest> {
        let book = self.book();
        book.find(id).map(|n| book.entries[n].digest)
    }

    /// The event's first arrival, under [`Keep::Bytes`].
    pub fn kept(&self, id: &str) -> Option<Kept> {
        let book = self.book();
        book.find(id).and_then(|n| book.kept.get(n).cloned())
    }

    /// Every id, in the order of first arrival.
    pub fn ids(&self) -> Vec<String> {
        self.lines().into_iter().map(|line| line.id).collect()
    }

    /// Everything, in the order of first arrival.
    pub fn lines(&self) -> Vec<Line> {
        let book = self.book();
        let mut begin = 0;
        book.entries
            .iter()
            .map(|entry| {
                let end = entry.id_end as usize;
                let id = book.ids[begin..end].to_owned();
                begin = end;
                Line {
                    id,
                    times_seen: entry.seen,
                    digest: entry.digest,
                    times_altered: entry.altered,
                }
            })
            .collect()
    }

    /// The events that were taken more than once.
    pub fn duplicates(&self) -> Vec<Line> {
        self.lines()
            .into_iter()
            .filter(|line| line.times_seen > 1)
            .collect()
    }

    /// Compares with what should have arrived: ids and the digests of their bytes.
    pub fn difference<'a>(
        &self,
        expected: impl IntoIterator<Item = (&'a str, Digest)>,
    ) -> Difference {
        let mut found: HashMap<String, Line> = self
            .lines()
            .into_iter()
            .map(|line| (line.id.clone(), line))
            .collect();
        let mut difference = Difference::default();
        for (id, digest) in expected {
            let Some(line) = found.remove(id) else {
                difference.missing.push(id.to_owned());
                continue;
            };
            if line.digest != digest || line.times_altered > 0 {
                difference.altered.push(id.to_owned());
            }
            if line.times_seen > 1 {
                difference.repeated.push(id.to_owned());
            }
        }
        difference.unexpected = found.into_keys().collect();
        difference.unexpected.sort_unstable();
        difference
    }

    /// Waits until `wanted` different events were taken.
    ///
    /// # Errors
    /// [`TooFew`] when that does not happen within `timeout`.
    pub async fn wait_for(&self, wanted: usize, timeout: Duration) -> Result<(), TooFew> {
        let started = Instant::now();
        let mut len = self.len.subscribe();
        match tokio::time::timeout(timeout, len.wait_for(|len| *len >= wanted)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(TooFew {
                wanted,
                got: self.len(),
                waited: started.elapsed(),
            }),
        }
    }

    /// Forgets every event; the counters stay.
    pub fn clear(&self) {
        *self.book() = Book::default();
        self.len.send_replace(0);
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    fn find(&self, id: &str) -> Option<usize> {
        self.index.get(&key_of(id)).map(|n| *n as usize)
    }

    /// Returns whether the event is new.
    fn file(&mut self, key: Key, id: &str, digest: Digest) -> bool {
        if let Some(n) = self.index.get(&key) {
            let entry = &mut self.entries[*n as usize];
            entry.seen += 1;
            entry.altered += u32::from(entry.digest != digest);
            return false;
        }
        self.ids.push_str(id);
        self.index.insert(key, small(self.entries.len()));
        self.entries.push(Entry {
            digest,
            id_end: small(self.ids.len()),
            seen: 1,
            altered: 0,
        });
        true
    }
}

fn key_of(id: &str) -> Key {
    Digest::of(id.as_bytes()).key()
}

fn small(n: usize) -> u32 {
    u32::try_from(n).expect("a ledger holds fewer than 2^32 events and 4 GiB of ids")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record<'a>(id: Option<&'a str>, bytes: &'a str) -> Record<'a> {
        Record {
            id: id.map(Cow::Borrowed),
            bytes: bytes.as_bytes(),
            context: Cow::Borrowed(b"around"),
        }
    }

    #[test]
    fn an_event_is_counted_each_time_and_keeps_its_first_digest() {
        let ledger = Ledger::new(Keep::Digests);
        ledger.record(&[
            record(Some("a"), "1"),
            record(Some("b"), "2"),
            record(Some("a"), "1"),
        ]);
        ledger.record(&[record(Some("a"), "other")]);
        assert_eq!(
            (
                ledger.len(),
                ledger.times_seen("a"),
                ledger.times_seen("b"),
                ledger.times_seen("c")
            ),
            (2, 3, 1, 0)
        );
        assert_eq!(ledger.digest_of("a"), Some(Digest::of(b"1")));
        let duplicates = ledger.duplicates();
        assert_eq!(duplicates.len(), 1);
        assert_eq!(
            (duplicates[0].id.as_str(), duplicates[0].times_altered),
            ("a", 1)
        );
        assert_eq!(ledger.counts().events, 4);
        assert_eq!(ledger.kept("a"), None);
    }

    #[test]
    fn an_event_without_an_id_is_filed_under_its_digest() {
        let ledger = Ledger::new(Keep::Bytes);
        ledger.record(&[record(None, "x"), record(None, "x")]);
        let id = Digest::of(b"x").to_string();
        assert_eq!(
            id,
            "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
        );
        assert_eq!(ledger.times_seen(&id), 2);
        assert_eq!(
            ledger.kept(&id),
            Some(Kept {
                bytes: b"x".to_vec(),
                context: b"around".to_vec()
            })
        );
    }

    #[test]
    fn a_difference_names_what_is_missing_unexpected_altered_and_repeated() {
        let ledger = Ledger::new(Keep::Digests);
        ledger.record(&[
            record(Some("same"), "1"),
            record(Some("changed"), "2"),
            record(Some("new"), "3"),
        ]);
        ledger.record(&[record(Some("same"), "1")]);
        let expected = [
            ("same", Digest::of(b"1")),
            ("changed", Digest::of(b"1")),
            ("gone", Digest::of(b"1")),
        ];
        let difference = ledger.difference(expected);
        assert_eq!(difference.missing, ["gone"]);
        assert_eq!(difference.unexpected, ["new"]);
        assert_eq!(difference.altered, ["changed"]);
        assert_eq!(difference.repeated, ["same"]);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn waiting_ends_with_the_last_event_or_with_the_timeout() {
        let ledger = Ledger::new(Keep::Digests);
        let (done, ()) = tokio::join!(ledger.wait_for(2, Duration::from_secs(10)), async {
            ledger.record(&[record(Some("a"), "1")]);
            tokio::task::yield_now().await;
            ledger.record(&[record(Some("b"), "1")]);
        });
        assert_eq!(done, Ok(()));
        let err = ledger
            .wait_for(3, Duration::from_millis(5))
            .await
            .expect_err("only two events");
        assert_eq!((err.wanted, err.got), (3, 2));
    }

    #[test]
    fn a_hundred_thousand_ids_stay_apart_and_in_order() {
        let ledger = Ledger::new(Keep::Digests);
        let ids: Vec<String> = (0..100_000).map(|n| format!("id#{n}")).collect();
        for chunk in ids.chunks(500) {
            let records: Vec<Record<'_>> = chunk.iter().map(|id| record(Some(id), id)).collect();
            ledger.record(&records);
        }
        assert_eq!(ledger.ids(), ids);
        assert_eq!(
            ledger.difference(
                ids.iter()
                    .map(|id| (id.as_str(), Digest::of(id.as_bytes())))
            ),
            Difference::default()
        );
    }
}

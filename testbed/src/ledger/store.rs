//! The ledger itself.

use std::{
    borrow::Cow,
    collections::HashMap,
    io::Write as _,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

use super::{
    Counters, Counts, Difference, Digest, Keep, Kept, Line, Record, TooFew, Totals,
    book::{Book, Entry, Key, key_of},
};

/// See the module's documentation.
#[derive(Debug)]
pub struct Ledger {
    keep: Keep,
    book: Mutex<Book>,
    len: watch::Sender<usize>,
    counters: Counters,
}

impl Ledger {
    pub fn new(keep: Keep) -> Self {
        Self { keep, book: Mutex::default(), len: watch::Sender::new(0), counters: Counters::default() }
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
        let digests: Vec<Digest> = records.iter().map(|record| Digest::of(record.bytes)).collect();
        let ids: Vec<Cow<'_, str>> = records
            .iter()
            .zip(&digests)
            .map(|(record, digest)| record.id.clone().unwrap_or_else(|| Cow::Owned(digest.to_string())))
            .collect();
        let keys: Vec<Key> = ids.iter().map(|id| key_of(id)).collect();
        let mut book = self.book();
        for (n, record) in records.iter().enumerate() {
            if book.file(keys[n], &ids[n], digests[n]) && self.keep == Keep::Bytes {
                book.kept.push(Kept { bytes: record.bytes.to_vec(), context: record.context.to_vec() });
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
        let mut lines = Vec::new();
        self.each_line(|id, entry| {
            lines.push(Line { id: id.to_owned(), times_seen: entry.seen, digest: entry.digest, times_altered: entry.altered });
        });
        lines
    }

    /// The events that were taken more than once.
    pub fn duplicates(&self) -> Vec<Line> {
        self.lines().into_iter().filter(|line| line.times_seen > 1).collect()
    }

    pub fn totals(&self) -> Totals {
        let book = self.book();
        Totals {
            distinct: book.entries.len(),
            repeated: book.entries.iter().filter(|entry| entry.seen > 1).count(),
            altered: book.entries.iter().filter(|entry| entry.altered > 0).count(),
        }
    }

    /// Everything as NDJSON, in the order of first arrival: `{"id":"…","seen":1,"altered":0,"sha256":"…"}`.
    pub fn ndjson(&self) -> Vec<u8> {
        let mut text = Vec::new();
        self.each_line(|id, entry| {
            let Entry { seen, altered, digest, .. } = entry;
            let id = serde_json::Value::from(id);
            // Writing into memory cannot fail.
            let _ = writeln!(text, r#"{{"id":{id},"seen":{seen},"altered":{altered},"sha256":"{digest}"}}"#);
        });
        text
    }

    fn each_line(&self, mut visit: impl FnMut(&str, &Entry)) {
        let book = self.book();
        let mut begin = 0;
        for entry in &book.entries {
            let end = entry.id_end as usize;
            visit(&book.ids[begin..end], entry);
            begin = end;
        }
    }

    /// Compares with what should have arrived: ids and the digests of their bytes.
    pub fn difference<'a>(&self, expected: impl IntoIterator<Item = (&'a str, Digest)>) -> Difference {
        let mut found: HashMap<String, Line> = self.lines().into_iter().map(|line| (line.id.clone(), line)).collect();
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
            Ok(Err(_)) | Err(_) => Err(TooFew { wanted, got: self.len(), waited: started.elapsed() }),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn record<'a>(id: Option<&'a str>, bytes: &'a str) -> Record<'a> {
        Record { id: id.map(Cow::Borrowed), bytes: bytes.as_bytes(), context: Cow::Borrowed(b"around") }
    }

    #[test]
    fn an_event_is_counted_each_time_and_keeps_its_first_digest() {
        let ledger = Ledger::new(Keep::Digests);
        ledger.record(&[record(Some("a"), "1"), record(Some("b"), "2"), record(Some("a"), "1")]);
        ledger.record(&[record(Some("a"), "other")]);
        assert_eq!((ledger.len(), ledger.times_seen("a"), ledger.times_seen("b"), ledger.times_seen("c")), (2, 3, 1, 0));
        assert_eq!(ledger.digest_of("a"), Some(Digest::of(b"1")));
        let duplicates = ledger.duplicates();
        assert_eq!(duplicates.len(), 1);
        assert_eq!((duplicates[0].id.as_str(), duplicates[0].times_altered), ("a", 1));
        assert_eq!(ledger.counts().events, 4);
        assert_eq!(ledger.totals(), Totals { distinct: 2, repeated: 1, altered: 1 });
        let text = String::from_utf8(ledger.ndjson()).expect("UTF-8");
        let first = format!(r#"{{"id":"a","seen":3,"altered":1,"sha256":"{}"}}"#, Digest::of(b"1"));
        assert_eq!(text.lines().next(), Some(first.as_str()));
        assert_eq!(ledger.kept("a"), None);
    }

    #[test]
    fn an_event_without_an_id_is_filed_under_its_digest() {
        let ledger = Ledger::new(Keep::Bytes);
        ledger.record(&[record(None, "x"), record(None, "x")]);
        let id = Digest::of(b"x").to_string();
        assert_eq!(id, "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881");
        assert_eq!(ledger.times_seen(&id), 2);
        assert_eq!(ledger.kept(&id), Some(Kept { bytes: b"x".to_vec(), context: b"around".to_vec() }));
    }

    #[test]
    fn a_difference_names_what_is_missing_unexpected_altered_and_repeated() {
        let ledger = Ledger::new(Keep::Digests);
        ledger.record(&[record(Some("same"), "1"), record(Some("changed"), "2"), record(Some("new"), "3")]);
        ledger.record(&[record(Some("same"), "1")]);
        let expected = [("same", Digest::of(b"1")), ("changed", Digest::of(b"1")), ("gone", Digest::of(b"1"))];
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
        let err = ledger.wait_for(3, Duration::from_millis(5)).await.expect_err("only two events");
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
        assert_eq!(ledger.difference(ids.iter().map(|id| (id.as_str(), Digest::of(id.as_bytes())))), Difference::default());
    }
}

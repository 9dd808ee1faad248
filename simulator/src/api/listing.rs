//! What the three listings share: the visible events of a window, a page at a time.

use crate::config::Stream;
use crate::faults::PageFault;
use crate::mix::Mix;
use crate::simulator::Inner;
use crate::timeline::{Entry, Key, Order, Span};
use crate::truth::floor;

const KEY_SHUFFLE: u64 = 801;
/// Nineteen digits, as all numbers have.
const SOME_NUMBER: u64 = 1_000_000_000_000_000_000;
/// A page with duplicates repeats so many events.
const REPEATED: usize = 3;

/// A validated listing request. Times are as the client sent them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Listing {
    pub(super) stream: Stream,
    pub(super) from_us: i64,
    pub(super) to_us: i64,
    pub(super) order: Order,
    pub(super) limit: usize,
    pub(super) past: Option<Key>,
}

/// One page, not yet rendered.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) entries: Vec<Entry>,
    /// Where the next page goes on; `None` where this one is the last.
    pub(super) next: Option<Key>,
    /// The key of the last event, also on the last page.
    pub(super) last: Option<Key>,
}

impl Listing {
    /// A key before every event of the window in the listing's order: what follows it is the first page.
    pub(super) fn before_all(&self) -> Key {
        match self.order {
            Order::Ascending => Key { at_us: floor(Stream::Ai, self.from_us) - 1_000_000, number: SOME_NUMBER },
            Order::Descending => Key { at_us: floor(Stream::Ai, self.to_us) + 1_000_000, number: SOME_NUMBER },
        }
    }

    /// The window's bounds in the precision of the stream: half-open, and cut off where retention ends.
    fn span(&self, inner: &Inner, now_us: i64) -> Span {
        let oldest_us = now_us.saturating_sub(inner.config.retention(self.stream).as_micros() as i64);
        Span {
            from_us: floor(self.stream, self.from_us).max(oldest_us),
            to_us: floor(self.stream, self.to_us),
            past: self.past,
            order: self.order,
        }
    }

    /// The page as it is at this moment.
    pub(super) fn page(&self, inner: &Inner, fault: Option<PageFault>, wanted: impl Fn(&Entry) -> bool) -> Page {
        let now_us = inner.now_us();
        inner.catch_up(self.stream, now_us);
        let span = self.span(inner, now_us);
        let timeline = inner.timeline(self.stream);
        let shown = |entry: &Entry| entry.key.at_us <= now_us && entry.visible_us() <= now_us && wanted(entry);
        let mut entries: Vec<Entry> = timeline.entries(span).filter(shown).take(self.limit + 1).collect();
        let more = entries.len() > self.limit;
        entries.truncate(self.limit);
        let last = entries.last().map(|entry| entry.key);
        let next = if more { last } else { None };
        match fault {
            Some(PageFault::Duplicates) => {
                let before: Vec<Entry> = match self.past {
                    Some(past) => timeline.entries(backwards(span, past)).filter(shown).take(REPEATED).collect(),
                    None => entries.iter().take(REPEATED).cloned().collect(),
                };
                entries.splice(0..0, before);
            }
            Some(PageFault::Unsorted) => shuffle(&mut entries, Mix::of(&[inner.config.seed, KEY_SHUFFLE, self.from_us as u64])),
            _ => {}
        }
        Page { entries, next, last }
    }
}

/// From the key, inclusive, back towards the window's start.
fn backwards(span: Span, past: Key) -> Span {
    let (order, number) = match span.order {
        Order::Ascending => (Order::Descending, past.number + 1),
        Order::Descending => (Order::Ascending, past.number - 1),
    };
    Span { past: Some(Key { number, ..past }), order, ..span }
}

fn shuffle(entries: &mut [Entry], mut mix: Mix) {
    for at in (1..entries.len()).rev() {
        entries.swap(at, mix.index(at + 1));
    }
}

impl Page {
    /// Appends the events as a JSON array.
    pub(super) fn put_data(&self, inner: &Inner, stream: Stream, fault: Option<PageFault>, out: &mut Vec<u8>) {
        if fault == Some(PageFault::WrongType) {
            out.extend_from_slice(b"null");
            return;
        }
        out.reserve(self.entries.len() * 1_000);
        out.push(b'[');
        for (at, entry) in self.entries.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            inner.renderer.put(stream, entry, out);
        }
        out.push(b']');
    }
}

//! Events of certain ranges, as Miro lists them now, with the lowest priority of its quota.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::future::BoxFuture;
use tokio::sync::watch;

use super::Origin as Source;
use crate::{
    clock::Clock,
    event::{Event, Origin, Position, RawEvent, TimeRange, Timestamp},
    journal::Chunk,
    miro::{Cursor, MiroClass, MiroError, Page, PageRequest, Priority},
    sink::driver::{Begin, Earlier, Extent, Supply, SupplyError, Wanted},
    source::SPAN_MAX,
};

/// How long a person is waited for: credentials that are refused here are refused to collection too, and mended there.
const PERSON_WAIT: Duration = Duration::from_secs(300);
/// The wait for a throttle that names none: Miro's quota refills within a minute.
const THROTTLE_UNNAMED: Duration = Duration::from_secs(61);
/// No longer wait is kept to: whoever dictates it may be wrong.
const THROTTLE_MAX: Duration = Duration::from_secs(900);
/// The page size that every tenant takes.
const PAGE_SIZE_SAFE: u32 = 100;
/// A window of more pages is not a listing but a loop.
const PAGES_MAX: usize = 100_000;
/// Empty pages in a row that are followed, as collection does.
const EMPTY_PAGES_MAX: u32 = 3;

/// Lists ranges page by page.
#[derive(Debug)]
pub(super) struct FromMiro {
    source: Source,
    clock: Clock,
    after: Position,
    walk: Mutex<Walk>,
    /// One page at a time.
    turn: tokio::sync::Mutex<()>,
    head: watch::Sender<Position>,
}

#[derive(Debug)]
struct Walk {
    /// What is left, the window at work first.
    windows: VecDeque<TimeRange>,
    cursor: Option<Cursor>,
    seen: HashSet<Cursor>,
    page_size: u32,
    /// The newest time of the page before: what is older has been listed, where the listing is in order of time.
    listed: Option<Timestamp>,
    is_in_order: bool,
    /// Pages in a row without an event.
    empty_pages: u32,
    /// The newest page.
    held: Vec<RawEvent>,
    /// Events that did not fit into the last chunk.
    left: VecDeque<RawEvent>,
    position: Position,
    /// Once everything up to that position is settled, everything before that time is.
    reached: VecDeque<(Position, Timestamp)>,
    settled: Option<Timestamp>,
}

impl FromMiro {
    pub(super) fn new(source: Source, ranges: Vec<TimeRange>, clock: Clock, after: Position) -> Self {
        let walk = Walk::new(ranges, source.page_size, after);
        let head = watch::Sender::new(Position(u64::MAX));
        Self { source, clock, after, walk: Mutex::new(walk), turn: tokio::sync::Mutex::default(), head }
    }

    fn walk(&self) -> MutexGuard<'_, Walk> {
        self.walk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything before that time is settled when everything up to that position is.
    pub(super) fn reached(&self, up_to: Position) -> Option<Timestamp> {
        let mut walk = self.walk();
        while let Some(&(position, time)) = walk.reached.front().filter(|(position, _)| *position <= up_to) {
            debug_assert!(position <= up_to);
            walk.settled = walk.settled.max(Some(time));
            walk.reached.pop_front();
        }
        walk.settled
    }

    /// Fetches pages until there are events, or the end.
    async fn fetch(&self) -> Result<(), SupplyError> {
        loop {
            let (window, cursor, limit) = {
                let walk = self.walk();
                let Some(window) = walk.windows.front().copied().filter(|_| walk.left.is_empty()) else { return Ok(()) };
                (window, walk.cursor.clone(), walk.page_size)
            };
            if let Some(wait) = self.source.pages.ready_in(self.clock.now(), Priority::Backfill) {
                tokio::time::sleep(wait.min(THROTTLE_MAX)).await;
                continue;
            }
            let request = PageRequest { window, cursor: cursor.as_ref(), limit, priority: Priority::Backfill };
            match self.source.pages.page(request).await {
                Ok(page) => self.walk().take(page),
                Err(error) => self.walk().endure(&error)?,
            }
        }
    }
}

/// With each of those events settled, in their order: up to when everything is. The next ones may be older than it.
fn reached_with_each(events: &[RawEvent], before: Position, known_to: Timestamp, begin: Timestamp) -> Vec<(Position, Timestamp)> {
    let mut least = known_to;
    let mut reached = Vec::with_capacity(events.len() + 1);
    for (index, event) in events.iter().enumerate().rev() {
        reached.push((Position(before.0 + index as u64 + 1), least));
        least = least.min(event.time.unwrap_or(begin));
    }
    // Without any event what was before it stands for it.
    if events.is_empty() {
        reached.push((before, least));
    }
    reached.reverse();
    reached
}

/// The oldest and the newest time.
fn span(events: &[RawEvent]) -> (Option<Timestamp>, Option<Timestamp>) {
    let times = || events.iter().filter_map(|event| event.time);
    (times().min(), times().max())
}

/// Parts that a cursor lives through.
fn windows(range: TimeRange) -> Vec<TimeRange> {
    let mut parts = Vec::new();
    let mut from = range.from();
    while from < range.to() {
        let to = from.plus(SPAN_MAX).min(range.to());
        parts.extend(TimeRange::new(from, to));
        from = to;
    }
    parts
}

impl Walk {
    fn new(ranges: Vec<TimeRange>, page_size: u32, position: Position) -> Self {
        Self {
            windows: ranges.into_iter().flat_map(windows).collect(),
            cursor: None,
            seen: HashSet::new(),
            page_size,
            listed: None,
            is_in_order: true,
            empty_pages: 0,
            held: Vec::new(),
            left: VecDeque::new(),
            position,
            reached: VecDeque::new(),
            settled: None,
        }
    }

    /// Takes a page in. It is held until the next one shows whether the listing went on from there: only then is it known up to where a
    /// stop in its middle would leave nothing behind.
    fn take(&mut self, page: Page) {
        let Some(window) = self.windows.front().copied() else { return };
        let (oldest, newest) = span(&page.events);
        self.empty_pages = if page.events.is_empty() { self.empty_pages + 1 } else { 0 };
        let goes_on = self.seen.len() < PAGES_MAX && self.empty_pages <= EMPTY_PAGES_MAX;
        let next = page.next.filter(|cursor| goes_on && self.seen.insert(cursor.clone()));
        self.is_in_order &= oldest.zip(self.listed).is_none_or(|(oldest, listed)| oldest >= listed);
        let held = std::mem::replace(&mut self.held, page.events);
        if next.is_some() {
            let known_to = if self.is_in_order { self.listed.unwrap_or(window.from()) } else { window.from() };
            self.release(held, known_to, window.from());
            self.listed = newest.max(self.listed);
        } else {
            // The window is known to its end.
            let undated = self.held.iter().any(|event| event.time.is_none());
            let rest = if undated { window.from() } else { oldest.unwrap_or(window.to()).min(window.to()) };
            self.release(held, rest, window.from());
            let last = std::mem::take(&mut self.held);
            self.release(last, window.to(), window.from());
            self.windows.pop_front();
            self.begin_window();
        }
        self.cursor = next;
    }

    /// Lets events go out, after which everything before `known_to` is known to have been listed.
    fn release(&mut self, events: Vec<RawEvent>, known_to: Timestamp, begin: Timestamp) {
        let before = Position(self.position.0 + self.left.len() as u64);
        self.reached.extend(reached_with_each(&events, before, known_to, begin));
        self.left.extend(events);
    }

    fn begin_window(&mut self) {
        (self.cursor, self.listed, self.is_in_order, self.empty_pages) = (None, None, true, 0);
        self.seen.clear();
        self.held.clear();
    }

    fn endure(&mut self, error: &MiroError) -> Result<(), SupplyError> {
        let failed = |wait| Err(SupplyError::Failed { class: "miro", message: error.to_string(), wait });
        match error.class() {
            MiroClass::Throttled(wait) => failed(Some(wait.unwrap_or(THROTTLE_UNNAMED).min(THROTTLE_MAX))),
            MiroClass::Retryable => failed(None),
            // What was listed of the window before is listed again: at least once.
            MiroClass::CursorRejected => {
                self.begin_window();
                failed(None)
            }
            MiroClass::PageSizeRejected if self.page_size > PAGE_SIZE_SAFE => {
                self.page_size = PAGE_SIZE_SAFE;
                Ok(())
            }
            MiroClass::PageSizeRejected
            | MiroClass::Auth
            | MiroClass::Permission
            | MiroClass::NotFound
            | MiroClass::BadRequest
            | MiroClass::Config => failed(Some(PERSON_WAIT)),
        }
    }

    fn chunk(&mut self, wanted: Wanted, now: Timestamp) -> Chunk {
        let (mut events, mut bytes) = (Vec::new(), 0);
        while let Some(event) = self.left.front() {
            bytes += event.raw.len();
            if events.len() >= wanted.events_max || (bytes > wanted.bytes_max && !events.is_empty()) {
                break;
            }
            let Some(event) = self.left.pop_front() else { break };
            self.position = Position(self.position.0 + 1);
            let RawEvent { id, time, raw, decoded: _ } = event;
            events.push(Event { position: self.position, id, time, collected_at: now, origin: Origin::Backfill, raw });
        }
        let is_over = self.left.is_empty() && self.windows.is_empty();
        Chunk { events, up_to: if is_over { Position(u64::MAX) } else { self.position } }
    }
}

impl Supply for FromMiro {
    fn begin(&self) -> BoxFuture<'_, Result<Begin, SupplyError>> {
        Box::pin(async { Ok(Begin { after: self.after, earlier: Earlier::AtRest }) })
    }

    fn read(&self, wanted: Wanted) -> BoxFuture<'_, Result<Chunk, SupplyError>> {
        Box::pin(async move {
            let _turn = self.turn.lock().await;
            self.fetch().await?;
            Ok(self.walk().chunk(wanted, self.clock.now()))
        })
    }

    fn head(&self) -> watch::Receiver<Position> {
        self.head.subscribe()
    }

    fn extent(&self) -> Extent {
        Extent::Ends
    }

    fn settled(&self, _: Position) -> BoxFuture<'_, Result<(), SupplyError>> {
        Box::pin(async { Ok(()) })
    }

    fn delivering(&self) -> BoxFuture<'_, Result<(), SupplyError>> {
        Box::pin(async { Ok(()) })
    }

    fn at_rest(&self) -> BoxFuture<'_, Result<(), SupplyError>> {
        Box::pin(async { Ok(()) })
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::event::{Decoded, EventId};

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_millis(secs * 1_000)
    }

    #[test]
    fn nothing_that_is_still_to_come_lies_before_what_is_reached() {
        let check = |times: &[Option<i64>], expected: &[(u64, i64)]| {
            let event =
                |time: &Option<i64>| RawEvent { id: EventId::new("a"), time: time.map(at), raw: Bytes::new(), decoded: Decoded::Whole };
            let events: Vec<RawEvent> = times.iter().map(event).collect();
            let reached = reached_with_each(&events, Position(7), at(100), at(0));
            assert_eq!(reached, expected.iter().map(|&(position, secs)| (Position(position), at(secs))).collect::<Vec<_>>(), "{times:?}");
        };
        check(&[Some(10), Some(20), Some(30)], &[(8, 20), (9, 30), (10, 100)]);
        check(&[Some(30), Some(10), Some(20)], &[(8, 10), (9, 20), (10, 100)]);
        check(&[Some(10), None, Some(30)], &[(8, 0), (9, 30), (10, 100)]);
        check(&[], &[(7, 100)]);
    }

    /// Two pages and an empty one: each event's step is known once the page after it has come.
    #[test]
    fn a_page_goes_out_when_the_next_one_has_shown_that_the_listing_went_on() {
        let quota = crate::miro::QuotaReading::default();
        let event = |secs| RawEvent { id: EventId::new("a"), time: Some(at(secs)), raw: Bytes::new(), decoded: Decoded::Whole };
        let page = |times: &[i64], next: Option<&str>| Page {
            events: times.iter().map(|secs| event(*secs)).collect(),
            next: next.map(Cursor::new),
            quota,
            server_time: None,
        };
        let mut walk = Walk::new(vec![TimeRange::new(at(0), at(100)).expect("from <= to")], 500, Position(0));
        walk.take(page(&[10, 20], Some("a")));
        assert_eq!(walk.left.len(), 0);
        walk.take(page(&[20, 40], Some("b")));
        assert_eq!((walk.left.len(), walk.reached.back()), (2, Some(&(Position(2), at(20)))));
        walk.take(page(&[], Some("c")));
        assert_eq!((walk.left.len(), walk.reached.back()), (4, Some(&(Position(4), at(40)))));
        walk.take(page(&[50], None));
        assert_eq!((walk.left.len(), walk.reached.back(), walk.windows.len()), (5, Some(&(Position(5), at(100))), 0));
    }

    #[test]
    fn a_listing_out_of_order_claims_nothing_before_its_end() {
        let quota = crate::miro::QuotaReading::default();
        let event = |secs| RawEvent { id: EventId::new("a"), time: Some(at(secs)), raw: Bytes::new(), decoded: Decoded::Whole };
        let page = |times: &[i64], next: Option<&str>| Page {
            events: times.iter().map(|secs| event(*secs)).collect(),
            next: next.map(Cursor::new),
            quota,
            server_time: None,
        };
        let mut walk = Walk::new(vec![TimeRange::new(at(0), at(100)).expect("from <= to")], 500, Position(0));
        walk.take(page(&[80, 90], Some("a")));
        walk.take(page(&[10, 20], Some("b")));
        walk.take(page(&[30], Some("c")));
        assert!(walk.reached.iter().all(|(_, time)| *time == at(0)), "{:?}", walk.reached);
        walk.take(page(&[40], None));
        assert_eq!(walk.reached.back(), Some(&(Position(6), at(100))));
    }

    #[test]
    fn a_range_is_cut_into_windows_that_touch() {
        let range = TimeRange::new(at(0), at(2 * 86_400 + 5)).expect("from <= to");
        let parts = windows(range);
        assert_eq!(parts.len(), 3);
        assert!(parts.windows(2).all(|pair| pair[0].to() == pair[1].from()));
        assert_eq!((parts[0].from(), parts[2].to()), (range.from(), range.to()));
    }
}

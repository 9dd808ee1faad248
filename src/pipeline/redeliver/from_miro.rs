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
    /// Events that did not fit into the last chunk.
    left: VecDeque<RawEvent>,
    position: Position,
    /// Once everything up to that position is settled, everything before that time is.
    reached: VecDeque<(Position, Timestamp)>,
    settled: Option<Timestamp>,
}

impl FromMiro {
    pub(super) fn new(source: Source, ranges: Vec<TimeRange>, clock: Clock, after: Position) -> Self {
        let walk = Walk {
            windows: ranges.into_iter().flat_map(windows).collect(),
            cursor: None,
            seen: HashSet::new(),
            page_size: source.page_size,
            listed: None,
            is_in_order: true,
            left: VecDeque::new(),
            position: after,
            reached: VecDeque::new(),
            settled: None,
        };
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
            walk.settled = Some(time);
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
    fn take(&mut self, page: Page) {
        let newest = page.events.iter().filter_map(|event| event.time).max();
        let oldest = page.events.iter().filter_map(|event| event.time).min();
        self.is_in_order &= oldest.zip(self.listed).is_none_or(|(oldest, listed)| oldest >= listed);
        let done = if self.is_in_order { self.listed } else { None };
        self.listed = newest.max(self.listed);
        self.left.extend(page.events);
        let window = self.windows.front().copied();
        let next = page.next.filter(|cursor| self.seen.len() < PAGES_MAX && self.seen.insert(cursor.clone()));
        let reached = if next.is_none() { window.map(|window| window.to()) } else { done };
        // It holds once the events that are left now are settled; one page later than it could, which costs nothing.
        let position = Position(self.position.0 + self.left.len() as u64);
        self.reached.extend(reached.map(|time| (position, time)));
        self.cursor = next;
        if self.cursor.is_none() {
            self.windows.pop_front();
            self.begin_window();
        }
    }

    fn begin_window(&mut self) {
        (self.cursor, self.listed, self.is_in_order) = (None, None, true);
        self.seen.clear();
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

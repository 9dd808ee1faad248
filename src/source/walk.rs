//! One window, page by page: what each page proves to be collected, and whether the walk gets anywhere.

use std::collections::HashSet;

use crate::{
    coverage::Coverage,
    event::{Origin, RawEvent, TimeRange, Timestamp},
    journal::CoverageChange,
    miro::{Cursor, Page},
    source::Plan,
};

/// A window of more pages than this is not a listing but a loop. At 100 events a page it is 10 million events.
const PAGES_MAX: usize = 100_000;
/// Empty pages in a row that are followed.
const EMPTY_PAGES_MAX: u32 = 3;

/// Where a walk through a window stands.
#[derive(Debug)]
pub(super) struct Walk {
    plan: Plan,
    /// The cursor for the next page.
    cursor: Option<Cursor>,
    /// Every cursor that this walk has been given: one that comes back means that the listing goes in circles.
    cursors: HashSet<Cursor>,
    /// Up to here the new part is committed.
    frontier: Timestamp,
    /// The newest event time so far.
    high: Option<Timestamp>,
    /// The newest event time of the pages before the newest one: the newest page's own last time may be an outlier, which shows only when
    /// the next page begins before it.
    settled: Option<Timestamp>,
    /// Pages in a row without an event.
    empty_pages: u32,
    /// Whether the pages so far were in order of time: only then does a page prove that everything before its last event was listed.
    order: Order,
    /// The server's time when the walk's first page was answered: later than that, nothing can have been listed.
    listed_at: Option<Timestamp>,
    /// What was covered before this walk began: an event inside of it turned up late.
    covered_before: Coverage,
    /// Events older than this were there before collection began.
    live_since: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Ascending,
    Broken,
}

/// What a page means.
#[derive(Debug)]
pub(super) struct Step {
    /// Its events with how they came to be collected.
    pub(super) events: Vec<(RawEvent, Origin)>,
    /// What it adds to the coverage.
    pub(super) coverage: CoverageChange,
    /// Where the walk stands after it.
    pub(super) next: Next,
}

/// What comes after a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Another page.
    Page,
    /// Nothing: the window is complete.
    Done,
    /// The listing goes in circles: the walk has to begin anew.
    Circle,
}

impl Walk {
    pub(super) fn new(plan: Plan, covered_before: Coverage, live_since: Timestamp) -> Self {
        Self {
            plan,
            cursor: None,
            cursors: HashSet::new(),
            frontier: plan.new.from(),
            high: None,
            settled: None,
            empty_pages: 0,
            order: Order::Ascending,
            listed_at: None,
            covered_before,
            live_since,
        }
    }

    pub(super) fn window(&self) -> TimeRange {
        self.plan.window
    }

    pub(super) fn cursor(&self) -> Option<&Cursor> {
        self.cursor.as_ref()
    }

    /// Takes a page in. The step's change is to be committed before the next page is asked for.
    pub(super) fn take(&mut self, page: Page) -> Step {
        self.listed_at = self.listed_at.or(page.server_time);
        self.settled = self.high;
        self.follow_order(&page.events);
        let next = self.follow_cursor(page.next, page.events.is_empty());
        let coverage = self.advance(next);
        let events = page.events.into_iter().map(|event| with_origin(self, event)).collect();
        Step { events, coverage, next }
    }

    fn follow_order(&mut self, events: &[RawEvent]) {
        for time in events.iter().filter_map(|event| event.time) {
            // A time past the window is as telling as one that goes back: such a listing is not in order of the time it is filtered by.
            if self.high.is_some_and(|high| time < high) || time > self.plan.window.to().ceil_secs() {
                self.order = Order::Broken;
            }
            self.high = Some(self.high.map_or(time, |high| high.max(time)));
        }
    }

    /// An empty page is the end where its cursor leads nowhere new; a few that lead on are followed, because a filtered listing may have them.
    fn follow_cursor(&mut self, next: Option<Cursor>, is_empty: bool) -> Next {
        self.empty_pages = if is_empty { self.empty_pages + 1 } else { 0 };
        let Some(cursor) = next else { return Next::Done };
        let known = !self.cursors.insert(cursor.clone());
        if is_empty && (known || self.empty_pages > EMPTY_PAGES_MAX) {
            return Next::Done;
        }
        if known || self.cursors.len() > PAGES_MAX {
            return Next::Circle;
        }
        self.cursor = Some(cursor);
        Next::Page
    }

    /// The time that is collected now and was not before: up to the last event of the page before, once this page has shown that the listing
    /// went on from there. Siblings of that event may be on this page, so its own instant is not part of it before the next step.
    fn advance(&mut self, next: Next) -> CoverageChange {
        let reached = match (next, self.order) {
            (Next::Done, _) => self.listed_at.map_or(self.plan.new.to(), |listed_at| self.plan.new.to().min(listed_at)),
            (Next::Page, Order::Ascending) => self.settled.unwrap_or(self.frontier).min(self.plan.new.to()),
            (Next::Page, Order::Broken) | (Next::Circle, _) => self.frontier,
        };
        let Some(gained) = TimeRange::new(self.frontier, reached).filter(|gained| !gained.is_empty()) else { return CoverageChange::None };
        self.frontier = reached;
        CoverageChange::Add(gained)
    }

    fn origin(&self, event: &RawEvent) -> Origin {
        match event.time {
            Some(time) if self.covered_before.contains(time) => Origin::Late,
            Some(time) if time < self.live_since => Origin::Backfill,
            _ => Origin::Live,
        }
    }
}

fn with_origin(walk: &Walk, event: RawEvent) -> (RawEvent, Origin) {
    let origin = walk.origin(&event);
    (event, origin)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{
        event::{Decoded, EventId},
        miro::QuotaReading,
    };

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_millis(secs * 1_000)
    }

    fn range(from: i64, to: i64) -> TimeRange {
        TimeRange::new(at(from), at(to)).expect("from <= to")
    }

    fn event(secs: i64) -> RawEvent {
        RawEvent { id: EventId::new(format!("e{secs}")), time: Some(at(secs)), raw: Bytes::from_static(b"{}"), decoded: Decoded::Whole }
    }

    fn page(times: &[i64], next: Option<&str>) -> Page {
        Page {
            events: times.iter().map(|secs| event(*secs)).collect(),
            next: next.map(Cursor::new),
            quota: QuotaReading::default(),
            server_time: Some(at(1_000)),
        }
    }

    pub(super) fn walk() -> Walk {
        let mut covered = Coverage::starting_at(at(0));
        covered.add(range(0, 100)).expect("new");
        Walk::new(Plan { window: range(85, 400), new: range(100, 400) }, covered, at(0))
    }

    #[test]
    fn a_page_proves_the_one_before_and_the_last_page_the_rest() {
        let mut walk = walk();
        let first = walk.take(page(&[90, 150, 200], Some("a")));
        assert_eq!((first.coverage, first.next), (CoverageChange::None, Next::Page));
        let second = walk.take(page(&[200, 300], Some("b")));
        assert_eq!((second.coverage, second.next), (CoverageChange::Add(range(100, 200)), Next::Page));
        let last = walk.take(page(&[350], None));
        assert_eq!((last.coverage, last.next), (CoverageChange::Add(range(200, 400)), Next::Done));
    }

    #[test]
    fn an_unsorted_listing_covers_nothing_before_its_end() {
        let mut walk = walk();
        assert_eq!(walk.take(page(&[300, 200], Some("a"))).coverage, CoverageChange::None);
        assert_eq!(walk.take(page(&[350, 390], Some("b"))).coverage, CoverageChange::None);
        assert_eq!(walk.take(page(&[120], None)).coverage, CoverageChange::Add(range(100, 400)));
    }

    #[test]
    fn an_outlier_at_a_pages_end_claims_nothing() {
        let mut walk = walk();
        assert_eq!(walk.take(page(&[110, 120, 390], Some("a"))).coverage, CoverageChange::None);
        assert_eq!(walk.take(page(&[130, 140], Some("b"))).coverage, CoverageChange::None);
        assert_eq!(walk.take(page(&[150, 160], Some("c"))).coverage, CoverageChange::None);
    }

    #[test]
    fn a_time_past_the_window_claims_nothing() {
        let mut walk = walk();
        assert_eq!(walk.take(page(&[110, 9_000], Some("a"))).coverage, CoverageChange::None);
        assert_eq!(walk.take(page(&[9_001], Some("b"))).coverage, CoverageChange::None);
    }

    #[test]
    fn an_empty_page_is_the_end_only_where_its_cursor_leads_nowhere() {
        let mut walk = walk();
        assert_eq!(walk.take(page(&[110], Some("a"))).next, Next::Page);
        assert_eq!(walk.take(page(&[], Some("b"))).next, Next::Page);
        assert_eq!(walk.take(page(&[120], Some("c"))).next, Next::Page);
        assert_eq!(walk.take(page(&[], Some("c"))).next, Next::Done);
        let mut endless = super::tests::walk();
        let ends: Vec<_> = ["a", "b", "c", "d"].map(|cursor| endless.take(page(&[], Some(cursor))).next).into();
        assert_eq!(ends, [Next::Page, Next::Page, Next::Page, Next::Done]);
    }

    #[test]
    fn a_cursor_that_comes_back_is_a_circle_and_covers_nothing() {
        let mut walk = walk();
        assert_eq!(walk.take(page(&[150], Some("a"))).next, Next::Page);
        assert_eq!(walk.take(page(&[160], Some("b"))).next, Next::Page);
        let step = walk.take(page(&[390], Some("a")));
        assert_eq!((step.next, step.coverage), (Next::Circle, CoverageChange::None));
        assert_eq!(step.events.len(), 1, "the page's events are still worth keeping");
    }

    #[test]
    fn nothing_is_covered_beyond_the_servers_own_time() {
        let mut covered = Coverage::starting_at(at(0));
        covered.add(range(0, 100)).expect("new");
        let mut walk = Walk::new(Plan { window: range(85, 5_000), new: range(100, 5_000) }, covered, at(0));
        assert_eq!(walk.take(page(&[], None)).coverage, CoverageChange::Add(range(100, 1_000)));
    }

    #[test]
    fn what_turns_up_in_covered_time_is_late_and_what_was_there_before_is_backfill() {
        let mut covered = Coverage::starting_at(at(0));
        covered.add(range(0, 100)).expect("new");
        let mut walk = Walk::new(Plan { window: range(85, 400), new: range(100, 400) }, covered, at(200));
        let origins: Vec<_> = walk.take(page(&[99, 100, 199, 200], None)).events.into_iter().map(|(_, origin)| origin).collect();
        assert_eq!(origins, [Origin::Late, Origin::Backfill, Origin::Backfill, Origin::Live]);
    }

    #[test]
    fn an_endless_listing_ends() {
        let mut walk = walk();
        let mut steps = 0;
        while walk.take(page(&[150], Some(&format!("c{steps}")))).next == Next::Page {
            steps += 1;
            assert!(steps <= PAGES_MAX);
        }
    }
}

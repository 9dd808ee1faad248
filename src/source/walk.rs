//! One window, page by page: what each page proves to be collected, and whether the walk gets anywhere.

use std::{collections::HashSet, time::Duration};

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
    /// How the window is looked at.
    sight: Sight,
}

/// How a window is looked at: by that an event's origin is told.
#[derive(Clone, Copy, Debug)]
pub(super) enum Sight {
    /// The newest time. Events before `since` were there before collection began.
    Live {
        /// When the stream began.
        since: Timestamp,
    },
    /// Time of the past, listed with its edges.
    Past {
        /// The time that is meant.
        part: TimeRange,
        /// From when on the ids of covered time are known.
        ids_from: Timestamp,
    },
    /// Covered time once more, listed with its edges: what is new in it turned up late.
    Again {
        /// The time that is meant.
        part: TimeRange,
    },
}

/// Windows of the past show so much more than is meant: their edges, cut to what Miro takes.
const BESIDE_MAX: Duration = Duration::from_secs(2);

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
    /// Events that were left out.
    pub(super) left_out: u64,
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
    pub(super) fn new(plan: Plan, covered_before: Coverage, sight: Sight) -> Self {
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
            sight,
        }
    }

    pub(super) fn window(&self) -> TimeRange {
        self.plan.window
    }

    pub(super) fn plan(&self) -> Plan {
        self.plan
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
        let listed = page.events.len();
        let events: Vec<_> =
            page.events.into_iter().filter(|event| !self.is_left_out(event)).map(|event| with_origin(self, event)).collect();
        Step { left_out: (listed - events.len()) as u64, events, coverage, next }
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
        let is_covered = event.time.is_some_and(|time| self.covered_before.contains(time));
        match (self.sight, event.time) {
            (Sight::Again { .. }, _) => Origin::Late,
            _ if is_covered => Origin::Late,
            (Sight::Past { .. }, _) => Origin::Backfill,
            (Sight::Live { since }, Some(time)) if time < since => Origin::Backfill,
            (Sight::Live { .. }, _) => Origin::Live,
        }
    }

    /// Whether the event is somebody else's: one beside what is meant, in time that is not covered, belongs to whoever covers that, or to time
    /// before the stream. One in covered time whose ids are no longer known was collected long ago.
    fn is_left_out(&self, event: &RawEvent) -> bool {
        let (part, ids_from) = match self.sight {
            Sight::Live { .. } => return false,
            Sight::Past { part, ids_from } => (part, ids_from),
            Sight::Again { part } => (part, Timestamp::from_micros(i64::MIN)),
        };
        event.time.is_some_and(|time| {
            let is_covered = self.covered_before.contains(time);
            let near = part.from().minus(BESIDE_MAX) <= time && time < part.to().plus(BESIDE_MAX);
            let is_beside = near && !part.contains(time);
            (is_beside && !is_covered) || (is_covered && time < ids_from)
        })
    }

    /// Up to where the new part is committed.
    pub(super) fn frontier(&self) -> Timestamp {
        self.frontier
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
        Walk::new(Plan { window: range(85, 400), new: range(100, 400) }, covered, Sight::Live { since: at(0) })
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
        let mut walk = Walk::new(Plan { window: range(85, 5_000), new: range(100, 5_000) }, covered, Sight::Live { since: at(0) });
        assert_eq!(walk.take(page(&[], None)).coverage, CoverageChange::Add(range(100, 1_000)));
    }

    #[test]
    fn what_turns_up_in_covered_time_is_late_and_what_was_there_before_is_backfill() {
        let mut covered = Coverage::starting_at(at(0));
        covered.add(range(0, 100)).expect("new");
        let origins = |sight| {
            let mut walk = Walk::new(Plan { window: range(85, 400), new: range(100, 400) }, covered.clone(), sight);
            walk.take(page(&[99, 100, 199, 200], None)).events.into_iter().map(|(_, origin)| origin).collect::<Vec<_>>()
        };
        use Origin::{Backfill, Late, Live};
        assert_eq!(origins(Sight::Live { since: at(200) }), [Late, Backfill, Backfill, Live]);
        let past = |ids_from| Sight::Past { part: range(100, 400), ids_from: at(ids_from) };
        assert_eq!(origins(past(0)), [Late, Backfill, Backfill, Backfill]);
        assert_eq!(origins(past(100)), [Backfill, Backfill, Backfill], "what nobody remembers is left out");
        assert_eq!(origins(Sight::Again { part: range(50, 150) }), [Late; 4]);
    }

    #[test]
    fn what_lies_beside_a_window_of_the_past_is_left_to_its_neighbours() {
        let mut covered = Coverage::starting_at(at(0));
        covered.add(range(0, 100)).expect("new");
        covered.add(range(300, 310)).expect("new");
        let times = |sight: Sight, window: TimeRange, listed: &[i64]| {
            let mut walk = Walk::new(Plan { window, new: range(400, 400) }, covered.clone(), sight);
            let step = walk.take(page(listed, None));
            assert_eq!(step.left_out as usize + step.events.len(), listed.len());
            step.events.iter().map(|(event, _)| event.time.map_or(0, |time| time.as_micros() / 1_000_000)).collect::<Vec<_>>()
        };
        let past = Sight::Past { part: range(200, 300), ids_from: at(0) };
        assert_eq!(times(past, range(199, 301), &[199, 200, 299, 300, 301]), [200, 299, 300, 301], "covered time may show what is late");
        assert_eq!(times(past, range(199, 301), &[50, 150, 250, 390]), [50, 150, 250, 390], "what is far off is nobody else's");
        let again = Sight::Again { part: range(300, 310) };
        assert_eq!(times(again, range(299, 311), &[299, 300, 309, 310, 311]), [300, 309], "holes are for backfill");
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

//! Which window comes next: arithmetic on coverage, without any input or output.

use std::time::Duration;

use crate::{
    config::settings::{Start, StreamSettings},
    coverage::Coverage,
    event::{TimeRange, Timestamp},
};

/// Longest window, so that a cursor does not have to live long and a restart does not cost much. A listing that goes in circles shows a
/// whole window again: ids are remembered for at least that long.
pub const SPAN_MAX: Duration = Duration::from_secs(24 * 3_600);
/// Shortest window that repeated trouble shrinks to.
pub(super) const SPAN_MIN: Duration = Duration::from_secs(60);
/// A stream begins this much inside of the retention, so that nothing falls off its end before the first window is fetched.
const START_MARGIN: Duration = Duration::from_secs(300);
/// A stream that begins now has no time to ask for yet: it asks for this much, so that a wrong token shows at once.
const GLANCE: Duration = Duration::from_secs(1);
/// After a longer absence live polling takes so much, or two intervals where they are longer, and leaves the rest to backfill: fresh events first.
const LIVE_REACH_MIN: Duration = Duration::from_secs(3_600);
/// Windows of the past are asked for with so much more at both ends: whether Miro takes the ends of a window as part of it is documented
/// nowhere, and the others of its logs have whole seconds.
const EDGE: Duration = Duration::from_secs(1);

/// One window to fetch, and the part of it that is not covered yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// What Miro is asked for.
    pub window: TimeRange,
    /// The newly covered part: it ends where the window ends, or a little before.
    pub new: TimeRange,
}

impl Plan {
    /// A window of the past that is not covered yet, with its edges; never before `floor`.
    pub(super) fn past(part: TimeRange, floor: Timestamp) -> Self {
        Self { window: range(part.from().minus(EDGE).max(floor).min(part.from()), part.to().plus(EDGE)), new: part }
    }

    /// The same for one that is covered: it adds nothing.
    pub(super) fn again(part: TimeRange, floor: Timestamp) -> Self {
        Self { new: range(part.to(), part.to()), ..Self::past(part, floor) }
    }
}

/// Plans a stream's live windows, and knows where the stream begins.
#[derive(Clone, Debug)]
pub struct Planner {
    start: Start,
    overlap: Duration,
    retention: Duration,
    live_reach: Duration,
    span: Duration,
}

impl Planner {
    /// A planner for that stream.
    pub fn new(settings: &StreamSettings) -> Self {
        Self {
            start: settings.start,
            overlap: settings.overlap,
            retention: settings.retention,
            live_reach: LIVE_REACH_MIN.max(settings.poll_interval * 2),
            span: SPAN_MAX,
        }
    }

    /// Where the stream begins at its first run, held inside of Miro's retention.
    pub fn origin(&self, now: Timestamp) -> Timestamp {
        let wanted = self.wanted(now).min(now);
        wanted.max(self.cliff(now).plus(START_MARGIN)).floor_millis()
    }

    /// Where the configuration wants it to begin, whether that can be or not.
    pub fn wanted(&self, now: Timestamp) -> Timestamp {
        match self.start {
            Start::Now => now,
            Start::Ago(ago) => now.minus(ago),
            Start::At(time) => time,
        }
    }

    /// The oldest time that Miro can still be asked for.
    pub fn cliff(&self, now: Timestamp) -> Timestamp {
        now.minus(self.retention)
    }

    /// The next live window: from where live collection stands on, which is never before `live_since`, the instant when the stream began.
    /// Where everything up to `now` is covered it is the newest stretch once more, without a new part: only an answer of Miro's says that
    /// there is nothing, and what time it is there.
    pub fn live(&self, coverage: &Coverage, live_since: Timestamp, now: Timestamp) -> Plan {
        let front = coverage.newest().max(live_since);
        let new_from = if now.since(front) > self.live_reach { now.minus(self.live_reach) } else { front };
        let to = now.min(new_from.plus(self.span)).max(new_from);
        let floor = self.cliff(now).max(coverage.origin());
        let from = new_from.minus(self.overlap).max(floor).min(new_from);
        let window_to = if from == to { to.plus(GLANCE) } else { to };
        Plan { window: range(from, window_to), new: range(new_from, to) }
    }

    /// Makes the next windows smaller, after one that could not be finished.
    pub fn shrink(&mut self) {
        self.span = (self.span / 2).max(SPAN_MIN);
    }

    /// Back to the full length, after one that could.
    pub fn restore(&mut self) {
        self.span = SPAN_MAX;
    }
}

/// A range whose ends are in order by construction; an empty one where they are not.
fn range(from: Timestamp, to: Timestamp) -> TimeRange {
    TimeRange::new(from, to.max(from)).unwrap_or(TimeRange::EMPTY)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);
    const RETENTION: Duration = Duration::from_secs(90 * 24 * 3_600);

    fn planner(start: Start) -> Planner {
        Planner { start, overlap: Duration::from_secs(900), retention: RETENTION, live_reach: HOUR, span: SPAN_MAX }
    }

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000).plus(Duration::from_secs(secs))
    }

    fn range(from: u64, to: u64) -> TimeRange {
        TimeRange::new(at(from), at(to)).expect("from <= to")
    }

    #[track_caller]
    fn check(covered: &[(u64, u64)], now: u64, window: (u64, u64), new: (u64, u64)) {
        let mut coverage = Coverage::starting_at(at(0));
        for (from, to) in covered {
            coverage.add(range(*from, *to)).expect("apart");
        }
        let plan = planner(Start::Now).live(&coverage, at(0), at(now));
        assert_eq!(plan.window, range(window.0, window.1), "window");
        assert_eq!(plan.new, range(new.0, new.1), "new part");
    }

    #[test]
    fn windows_begin_an_overlap_before_the_watermark_but_not_before_the_origin() {
        check(&[], 300, (0, 300), (0, 300));
        check(&[(0, 300)], 600, (0, 600), (300, 600));
        check(&[(0, 3_600)], 3_900, (2_700, 3_900), (3_600, 3_900));
    }

    #[test]
    fn where_all_is_covered_the_newest_stretch_is_listed_again() {
        check(&[(0, 3_600)], 3_600, (2_700, 3_600), (3_600, 3_600));
        // A clock that was set back is no reason not to ask.
        check(&[(0, 3_600)], 60, (2_700, 3_600), (3_600, 3_600));
        check(&[], 0, (0, 1), (0, 0));
    }

    #[test]
    fn a_hole_does_not_hold_up_what_is_newer() {
        check(&[(0, 3_600), (7_200, 9_000)], 9_600, (8_100, 9_600), (9_000, 9_600));
    }

    #[test]
    fn after_a_long_absence_the_newest_stretch_comes_first() {
        check(&[(0, 3_600)], 400_000, (395_500, 400_000), (396_400, 400_000));
        check(&[(0, 3_600)], 7_200, (2_700, 7_200), (3_600, 7_200));
        let rarely = StreamSettings { poll_interval: HOUR * 20, ..settings() };
        let mut coverage = Coverage::starting_at(at(0));
        coverage.add(range(0, 3_600)).expect("new");
        let plan = Planner::new(&rarely).live(&coverage, at(0), at(3_600).plus(HOUR * 30));
        assert_eq!(
            plan.new,
            range(3_600, 3_600 + 86_400),
            "within two intervals it is no absence, and still no window is longer than a day"
        );
    }

    #[test]
    fn a_stream_with_a_past_begins_to_listen_where_it_began() {
        let mut coverage = Coverage::starting_at(at(0));
        let plan = planner(Start::Now).live(&coverage, at(90_000), at(90_000));
        assert_eq!((plan.window, plan.new), (range(89_100, 90_000), range(90_000, 90_000)));
        coverage.add(range(80_000, 90_000)).expect("new");
        assert_eq!(planner(Start::Now).live(&coverage, at(90_000), at(90_300)).new, range(90_000, 90_300));
    }

    #[test]
    fn windows_of_the_past_have_edges_but_none_past_the_retention() {
        let plan = Plan::past(range(10, 20), at(0));
        assert_eq!((plan.window, plan.new), (range(9, 21), range(10, 20)));
        assert_eq!(Plan::past(range(10, 20), at(10)).window, range(10, 21));
        let again = Plan::again(range(10, 20), at(0));
        assert_eq!((again.window, again.new), (range(9, 21), range(20, 20)));
    }

    fn settings() -> StreamSettings {
        StreamSettings {
            kind: crate::event::StreamKind::Audit,
            auth: None,
            poll_interval: Duration::from_secs(300),
            start: Start::Now,
            overlap: Duration::from_secs(900),
            page_size: 500,
            reconcile: Vec::new(),
            retention: RETENTION,
            heartbeat: None,
        }
    }

    #[test]
    fn a_start_beyond_the_retention_is_held_at_the_cliff() {
        let now = at(0);
        assert_eq!(planner(Start::Ago(HOUR)).origin(now), now.minus(HOUR));
        assert_eq!(planner(Start::Ago(HOUR * 24 * 365)).origin(now), now.minus(RETENTION).plus(START_MARGIN));
        assert_eq!(planner(Start::At(now.plus(HOUR))).origin(now), now);
    }

    #[test]
    fn time_past_the_retention_is_not_asked_for() {
        let now = at(0);
        let coverage = Coverage::starting_at(now.minus(RETENTION * 2));
        let plan = planner(Start::Now).live(&coverage, coverage.origin(), now);
        assert_eq!(plan.new.from(), now.minus(HOUR));
        let slow = Planner { live_reach: RETENTION * 2, ..planner(Start::Now) };
        assert_eq!(slow.live(&coverage, coverage.origin(), now).window.from(), coverage.origin(), "and never later than its new part");
    }

    #[test]
    fn trouble_shrinks_windows_down_to_a_minute_and_success_restores_them() {
        let mut planner = planner(Start::Now);
        for _ in 0..40 {
            planner.shrink();
        }
        assert_eq!(planner.span, SPAN_MIN);
        planner.restore();
        assert_eq!(planner.span, SPAN_MAX);
    }
}

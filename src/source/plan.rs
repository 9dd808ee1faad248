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
const SPAN_MIN: Duration = Duration::from_secs(60);
/// A stream begins this much inside of the retention, so that nothing falls off its end before the first window is fetched.
const START_MARGIN: Duration = Duration::from_secs(300);
/// A stream that begins now has no time to ask for yet: it asks for this much, so that a wrong token shows at once.
const GLANCE: Duration = Duration::from_secs(1);

/// One window to fetch, and the part of it that is not covered yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// What Miro is asked for.
    pub window: TimeRange,
    /// The newly covered part: it ends where the window ends.
    pub new: TimeRange,
}

/// Plans a stream's windows.
#[derive(Clone, Debug)]
pub struct Planner {
    start: Start,
    overlap: Duration,
    retention: Duration,
    span: Duration,
}

impl Planner {
    /// A planner for that stream.
    pub fn new(settings: &StreamSettings) -> Self {
        Self { start: settings.start, overlap: settings.overlap, retention: settings.retention, span: SPAN_MAX }
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

    /// The next window. Where everything up to `now` is covered it is the newest stretch once more, without a new part: only an answer of
    /// Miro's says that there is nothing, and what time it is there.
    pub fn next(&self, coverage: &Coverage, now: Timestamp) -> Plan {
        let (new_from, to) = match self.first_missing(coverage, now) {
            Some(missing) => (missing.from(), missing.to().min(missing.from().plus(self.span))),
            None => (coverage.newest(), coverage.newest()),
        };
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

    fn first_missing(&self, coverage: &Coverage, now: Timestamp) -> Option<TimeRange> {
        let floor = self.cliff(now).max(coverage.origin());
        coverage.missing(TimeRange::new(floor, now)?).into_iter().next()
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
        Planner { start, overlap: Duration::from_secs(900), retention: RETENTION, span: SPAN_MAX }
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
        let plan = planner(Start::Now).next(&coverage, at(now));
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
    fn a_hole_is_filled_before_anything_newer() {
        check(&[(0, 3_600), (7_200, 9_000)], 9_600, (2_700, 7_200), (3_600, 7_200));
    }

    #[test]
    fn a_long_absence_is_cut_into_days() {
        check(&[(0, 3_600)], 400_000, (2_700, 3_600 + 86_400), (3_600, 3_600 + 86_400));
    }

    #[test]
    fn a_start_beyond_the_retention_is_held_at_the_cliff() {
        let now = at(0);
        assert_eq!(planner(Start::Ago(HOUR)).origin(now), now.minus(HOUR));
        assert_eq!(planner(Start::Ago(HOUR * 24 * 365)).origin(now), now.minus(RETENTION).plus(START_MARGIN));
        assert_eq!(planner(Start::At(now.plus(HOUR))).origin(now), now);
    }

    #[test]
    fn time_past_the_retention_is_not_asked_for_and_stays_a_hole() {
        let now = at(0);
        let coverage = Coverage::starting_at(now.minus(RETENTION * 2));
        let plan = planner(Start::Now).next(&coverage, now);
        assert_eq!((plan.window.from(), plan.new.from()), (now.minus(RETENTION), now.minus(RETENTION)));
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

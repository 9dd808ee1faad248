//! Which window comes next: arithmetic on coverage, without any input or output.

use std::time::Duration;

use crate::{
    config::settings::{Start, StreamSettings},
    coverage::Coverage,
    event::{StreamKind, TimeRange, Timestamp},
};

/// Longest window, so that a cursor does not have to live long and a restart does not cost much. A listing that goes in circles shows a
/// whole window again: ids are remembered for at least that long.
pub const SPAN_MAX: Duration = Duration::from_secs(24 * 3_600);
/// Shortest window that repeated trouble shrinks to.
const SPAN_MIN: Duration = Duration::from_secs(60);
/// Miro's audit log API reaches back 90 days (reference of GET /v2/audit/logs). What it answers beyond that is not documented,
/// so we stay five minutes inside.
const AUDIT_RETENTION: Duration = Duration::from_secs(90 * 24 * 3_600 - 300);

/// How far back Miro can be asked, where that is known.
pub fn retention(kind: StreamKind) -> Option<Duration> {
    match kind {
        StreamKind::Audit => Some(AUDIT_RETENTION),
        // The retention of the others is the customer's setting, between 30 days and a year.
        StreamKind::Content | StreamKind::Ai | StreamKind::Licenses => None,
    }
}

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
    kind: StreamKind,
    start: Start,
    overlap: Duration,
    span: Duration,
}

impl Planner {
    /// A planner for that stream.
    pub fn new(settings: &StreamSettings) -> Self {
        Self { kind: settings.kind, start: settings.start, overlap: settings.overlap, span: SPAN_MAX }
    }

    /// Where the stream begins at its first run, held inside of Miro's retention.
    pub fn origin(&self, now: Timestamp) -> Timestamp {
        let wanted = self.wanted(now).min(now);
        self.cliff(now).map_or(wanted, |cliff| wanted.max(cliff)).floor_millis()
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
    pub fn cliff(&self, now: Timestamp) -> Option<Timestamp> {
        retention(self.kind).map(|reach| now.minus(reach))
    }

    /// The oldest uncovered time that can still be collected; `now` where there is none.
    pub fn frontier(&self, coverage: &Coverage, now: Timestamp) -> Timestamp {
        self.first_missing(coverage, now).map_or(now, |range| range.from())
    }

    /// The next window; `None` when everything up to `now` is covered.
    pub fn next(&self, coverage: &Coverage, now: Timestamp) -> Option<Plan> {
        let missing = self.first_missing(coverage, now)?;
        let to = missing.to().min(missing.from().plus(self.span));
        let from = missing.from().minus(self.overlap).max(coverage.origin()).min(missing.from());
        Some(Plan { window: TimeRange::new(from, to)?, new: TimeRange::new(missing.from(), to)? })
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
        let floor = self.cliff(now).map_or(coverage.origin(), |cliff| cliff.max(coverage.origin()));
        coverage.missing(TimeRange::new(floor, now)?).into_iter().next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn planner(start: Start) -> Planner {
        Planner { kind: StreamKind::Audit, start, overlap: Duration::from_secs(900), span: SPAN_MAX }
    }

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000).plus(Duration::from_secs(secs))
    }

    fn range(from: u64, to: u64) -> TimeRange {
        TimeRange::new(at(from), at(to)).expect("from <= to")
    }

    #[track_caller]
    fn check(covered: &[(u64, u64)], now: u64, window: Option<(u64, u64)>, new: Option<(u64, u64)>) {
        let mut coverage = Coverage::starting_at(at(0));
        for (from, to) in covered {
            coverage.add(range(*from, *to)).expect("apart");
        }
        let plan = planner(Start::Now).next(&coverage, at(now));
        assert_eq!(plan.map(|plan| plan.window), window.map(|(from, to)| range(from, to)), "window");
        assert_eq!(plan.map(|plan| plan.new), new.map(|(from, to)| range(from, to)), "new part");
    }

    #[test]
    fn windows_begin_an_overlap_before_the_watermark_but_not_before_the_origin() {
        check(&[], 300, Some((0, 300)), Some((0, 300)));
        check(&[(0, 300)], 600, Some((0, 600)), Some((300, 600)));
        check(&[(0, 3_600)], 3_900, Some((2_700, 3_900)), Some((3_600, 3_900)));
        check(&[(0, 3_600)], 3_600, None, None);
    }

    #[test]
    fn a_hole_is_filled_before_anything_newer() {
        check(&[(0, 3_600), (7_200, 9_000)], 9_600, Some((2_700, 7_200)), Some((3_600, 7_200)));
    }

    #[test]
    fn a_long_absence_is_cut_into_days() {
        check(&[(0, 3_600)], 400_000, Some((2_700, 3_600 + 86_400)), Some((3_600, 3_600 + 86_400)));
    }

    #[test]
    fn a_start_beyond_the_retention_is_held_at_the_cliff() {
        let now = at(0);
        assert_eq!(planner(Start::Ago(HOUR)).origin(now), now.minus(HOUR));
        assert_eq!(planner(Start::Ago(HOUR * 24 * 365)).origin(now), now.minus(AUDIT_RETENTION));
        assert_eq!(planner(Start::At(now.plus(HOUR))).origin(now), now);
    }

    #[test]
    fn time_past_the_retention_is_not_asked_for_and_stays_a_hole() {
        let now = at(0);
        let coverage = Coverage::starting_at(now.minus(AUDIT_RETENTION * 2));
        let plan = planner(Start::Now).next(&coverage, now).expect("there is time to collect");
        assert_eq!(plan.new.from(), now.minus(AUDIT_RETENTION));
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

//! What of the past is wanted and not there: arithmetic on ranges.

use std::time::Duration;

use crate::{
    coverage::Coverage,
    event::{TimeRange, Timestamp},
};

/// The same ranges, sorted, without an overlap, those that touch as one.
pub(super) fn merged(ranges: impl IntoIterator<Item = TimeRange>) -> Vec<TimeRange> {
    let mut sorted: Vec<TimeRange> = ranges.into_iter().filter(|range| !range.is_empty()).collect();
    sorted.sort_unstable();
    let mut merged: Vec<TimeRange> = Vec::with_capacity(sorted.len());
    for range in sorted {
        match merged.last_mut().filter(|last| last.to() >= range.from()) {
            Some(last) => *last = TimeRange::new(last.from(), last.to().max(range.to())).unwrap_or(*last),
            None => merged.push(range),
        }
    }
    merged
}

/// How much of a range is not covered.
pub(super) fn missing_length(coverage: &Coverage, range: TimeRange) -> Duration {
    coverage.missing(range).iter().map(TimeRange::length).sum()
}

/// All that backfill takes care of: everything from the origin on and what was asked for, between Miro's retention and where live polling
/// begins.
pub(super) fn wanted(origin: Timestamp, asked_for: Vec<TimeRange>, cliff: Timestamp, live_front: Timestamp) -> Vec<TimeRange> {
    let inside = |range: TimeRange| TimeRange::new(range.from().max(cliff), range.to().min(live_front));
    merged(asked_for.into_iter().chain(TimeRange::new(origin, live_front)).filter_map(inside))
}

/// The parts of the wanted ranges that are neither covered nor in anybody's hands, oldest first.
pub(super) fn free(coverage: &Coverage, wanted: &[TimeRange], taken: impl IntoIterator<Item = TimeRange>) -> Vec<TimeRange> {
    let mut held = coverage.clone();
    for range in taken {
        for part in held.missing(range) {
            // A missing part cannot overlap.
            let _ = held.add(part);
        }
    }
    wanted.iter().flat_map(|range| held.missing(*range)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_millis(secs * 1_000)
    }

    fn ranges(pairs: &[(i64, i64)]) -> Vec<TimeRange> {
        pairs.iter().map(|(from, to)| TimeRange::new(at(*from), at(*to)).expect("from <= to")).collect()
    }

    #[test]
    fn ranges_that_touch_or_overlap_are_one() {
        let check = |of: &[(i64, i64)], expected: &[(i64, i64)]| assert_eq!(merged(ranges(of)), ranges(expected), "{of:?}");
        check(&[], &[]);
        check(&[(5, 5), (1, 2)], &[(1, 2)]);
        check(&[(5, 9), (1, 5)], &[(1, 9)]);
        check(&[(1, 9), (2, 3), (8, 12), (20, 30)], &[(1, 12), (20, 30)]);
    }

    #[test]
    fn wanted_is_what_lies_between_retention_and_live_polling() {
        let check = |origin: i64, asked: &[(i64, i64)], cliff: i64, front: i64, expected: &[(i64, i64)]| {
            assert_eq!(wanted(at(origin), ranges(asked), at(cliff), at(front)), ranges(expected), "{origin} {asked:?} {cliff} {front}");
        };
        check(50, &[], 0, 100, &[(50, 100)]);
        check(50, &[], 70, 100, &[(70, 100)]);
        check(50, &[(10, 20), (40, 60), (90, 120)], 15, 100, &[(15, 20), (40, 100)]);
        check(100, &[], 0, 100, &[]);
        check(50, &[(10, 20)], 200, 100, &[]);
    }

    #[test]
    fn what_is_covered_or_in_somebodys_hands_is_not_free() {
        let mut coverage = Coverage::starting_at(at(0));
        ranges(&[(10, 20), (40, 50)]).into_iter().for_each(|range| coverage.add(range).expect("apart"));
        let free = free(&coverage, &ranges(&[(0, 45), (48, 60)]), ranges(&[(15, 25), (55, 57)]));
        assert_eq!(free, ranges(&[(0, 10), (25, 40), (50, 55), (57, 60)]));
        assert_eq!(missing_length(&coverage, ranges(&[(0, 45)])[0]), Duration::from_secs(30));
    }
}

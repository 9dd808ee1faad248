//! Coverage: which part of a stream's time is durably collected. This is the checkpoint.
//!
//! Coverage is a set of half-open ranges. A commit names the range that it adds, and that range must be new: one that overlaps
//! what is covered already is refused without any change, because it would mean that two windows believe to own the same time.
//! Ranges that touch are merged; what lies between two ranges is a hole, and the watermark stays in front of it.
//!
//! The origin divides time in two. From it on everything is wanted, and what is missing there is a gap. Time before it was never wanted, but
//! may be collected on request: such ranges are covered like any other, they are never fetched twice, and what lies around them is no gap.
//! The origin does not move for them, and neither do the watermark and the newest instant look at them.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::event::{TimeRange, Timestamp};

/// What is durably collected of one stream.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    /// Where collection of this stream began; what lies before it was asked for only on request.
    origin: Timestamp,
    /// Sorted, not empty, and apart from each other.
    ranges: Vec<TimeRange>,
}

/// A commit that claims time which is covered already.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the range {claimed} overlaps {held}, which is covered already")]
pub struct OverlapError {
    /// What the commit wanted to add.
    pub claimed: TimeRange,
    /// The first covered range that it runs into.
    pub held: TimeRange,
}

impl Coverage {
    /// Nothing covered yet, beginning at `origin`.
    pub fn starting_at(origin: Timestamp) -> Self {
        Self { origin, ranges: Vec::new() }
    }

    /// Where collection began.
    pub fn origin(&self) -> Timestamp {
        self.origin
    }

    /// The covered ranges, oldest first.
    pub fn ranges(&self) -> &[TimeRange] {
        &self.ranges
    }

    /// The time up to which coverage is contiguous from the origin on.
    pub fn watermark(&self) -> Timestamp {
        // Ranges that touch are merged, so only the one around the origin counts; one that ends at the origin proves nothing after it.
        let at = self.ranges.partition_point(|range| range.to() <= self.origin);
        self.ranges.get(at).filter(|range| range.from() <= self.origin).map_or(self.origin, TimeRange::to)
    }

    /// The end of the newest covered range; the origin where nothing after it is covered.
    pub fn newest(&self) -> Timestamp {
        self.ranges.last().map_or(self.origin, |last| last.to().max(self.origin))
    }

    /// Whether the instant is covered.
    pub fn contains(&self, time: Timestamp) -> bool {
        let at = self.ranges.partition_point(|range| range.to() <= time);
        self.ranges.get(at).is_some_and(|range| range.contains(time))
    }

    /// Adds a range that must be wholly new. An empty range changes nothing.
    pub fn add(&mut self, claimed: TimeRange) -> Result<(), OverlapError> {
        if claimed.is_empty() {
            return Ok(());
        }
        let at = self.ranges.partition_point(|range| range.to() <= claimed.from());
        if let Some(held) = self.ranges.get(at).filter(|held| held.from() < claimed.to()) {
            return Err(OverlapError { claimed, held: *held });
        }
        self.ranges.insert(at, claimed);
        self.merge_around(at);
        Ok(())
    }

    /// The parts of `range` that are not covered, oldest first.
    pub fn missing(&self, range: TimeRange) -> Vec<TimeRange> {
        let mut missing = Vec::new();
        let mut reached = range.from();
        for held in &self.ranges {
            if held.to() <= reached {
                continue;
            }
            if held.from() >= range.to() {
                break;
            }
            missing.extend(TimeRange::new(reached, held.from()).filter(|part| !part.is_empty()));
            reached = held.to();
        }
        missing.extend(TimeRange::new(reached, range.to()).filter(|part| !part.is_empty()));
        missing
    }

    /// The covered parts of `range`, oldest first.
    pub fn covered(&self, range: TimeRange) -> Vec<TimeRange> {
        let inside = |held: &TimeRange| TimeRange::new(held.from().max(range.from()), held.to().min(range.to()));
        self.ranges.iter().filter_map(inside).filter(|part| !part.is_empty()).collect()
    }

    /// Takes a range out again, because the record that proved it was lost.
    pub fn remove(&mut self, range: TimeRange) {
        if range.is_empty() {
            return;
        }
        let mut kept = Vec::with_capacity(self.ranges.len() + 1);
        for held in self.ranges.drain(..) {
            let before = TimeRange::new(held.from(), held.to().min(range.from()));
            let after = TimeRange::new(held.from().max(range.to()), held.to());
            kept.extend([before, after].into_iter().flatten().filter(|part| !part.is_empty()));
        }
        self.ranges = kept;
    }

    /// The holes between the origin and the newest covered instant, oldest first.
    pub fn gaps(&self) -> Vec<TimeRange> {
        TimeRange::new(self.origin, self.newest()).map(|whole| self.missing(whole)).unwrap_or_default()
    }

    fn merge_around(&mut self, at: usize) {
        for left in [at, at.saturating_sub(1)] {
            let Some((first, second)) = self.ranges.get(left).zip(self.ranges.get(left + 1)) else { continue };
            if first.to() == second.from()
                && let Some(joined) = TimeRange::new(first.from(), second.to())
            {
                self.ranges.splice(left..left + 2, [joined]);
            }
        }
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.ranges.is_empty() {
            return write!(f, "nothing since {}", self.origin);
        }
        for (index, range) in self.ranges.iter().enumerate() {
            write!(f, "{}{range}", if index == 0 { "" } else { " " })?;
        }
        Ok(())
    }
}

impl fmt::Debug for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Coverage(from {}: {self})", self.origin)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn range(from: i64, to: i64) -> TimeRange {
        TimeRange::new(Timestamp::from_micros(from), Timestamp::from_micros(to)).expect("from <= to")
    }

    #[test]
    fn coverage_refuses_an_overlapping_commit_and_does_not_change() {
        let mut coverage = Coverage::starting_at(Timestamp::from_micros(0));
        coverage.add(range(10, 20)).expect("new");
        let before = coverage.clone();
        for claimed in [range(10, 20), range(5, 11), range(19, 25), range(12, 13), range(0, 30)] {
            assert_eq!(coverage.add(claimed), Err(OverlapError { claimed, held: range(10, 20) }));
            assert_eq!(coverage, before);
        }
    }

    #[test]
    fn the_watermark_stays_in_front_of_a_hole() {
        let mut coverage = Coverage::starting_at(Timestamp::from_micros(5));
        assert_eq!(coverage.watermark().as_micros(), 5);
        coverage.add(range(10, 20)).expect("new");
        assert_eq!(coverage.watermark().as_micros(), 5);
        assert_eq!(coverage.gaps(), vec![range(5, 10)]);
        coverage.add(range(5, 10)).expect("new");
        assert_eq!(coverage.watermark().as_micros(), 20);
        assert_eq!(coverage.ranges(), [range(5, 20)]);
        assert!(coverage.gaps().is_empty());
    }

    #[test]
    fn what_was_collected_before_the_origin_moves_neither_watermark_nor_newest_and_leaves_no_gap() {
        let mut coverage = Coverage::starting_at(Timestamp::from_micros(100));
        coverage.add(range(10, 20)).expect("new");
        assert_eq!((coverage.watermark().as_micros(), coverage.newest().as_micros()), (100, 100));
        assert!(coverage.gaps().is_empty());
        coverage.add(range(100, 150)).expect("new");
        coverage.add(range(160, 170)).expect("new");
        assert_eq!((coverage.watermark().as_micros(), coverage.newest().as_micros()), (150, 170));
        assert_eq!(coverage.gaps(), [range(150, 160)]);
        assert_eq!(
            coverage.add(range(15, 25)),
            Err(OverlapError { claimed: range(15, 25), held: range(10, 20) }),
            "nothing is covered twice"
        );
        coverage.add(range(20, 100)).expect("new");
        assert_eq!((coverage.watermark().as_micros(), coverage.origin().as_micros()), (150, 100));
        assert_eq!(coverage.ranges(), [range(10, 150), range(160, 170)]);
    }

    fn instants(coverage: &Coverage) -> BTreeSet<i64> {
        (0..64).filter(|at| coverage.contains(Timestamp::from_micros(*at))).collect()
    }

    proptest! {
        /// Against a plain set of instants as the model: adding, removing and asking agree for every sequence of ranges.
        #[test]
        fn coverage_is_a_set_of_instants(
            origin in 0_i64..64,
            steps in proptest::collection::vec((0_i64..64, 0_i64..64, any::<bool>()), 0..40),
        ) {
            let mut coverage = Coverage::starting_at(Timestamp::from_micros(origin));
            let mut model = BTreeSet::new();
            for (a, b, adds) in steps {
                let step = range(a.min(b), a.max(b));
                let inside: BTreeSet<i64> = (a.min(b)..a.max(b)).collect();
                if adds {
                    let fits = model.is_disjoint(&inside);
                    prop_assert_eq!(coverage.add(step).is_ok(), fits);
                    if fits { model.extend(&inside); }
                } else {
                    coverage.remove(step);
                    model.retain(|at| !inside.contains(at));
                }
                prop_assert_eq!(&instants(&coverage), &model);
                prop_assert!(coverage.ranges().windows(2).all(|pair| pair[0].to() < pair[1].from()), "ranges stay sorted and apart");
                let missing: BTreeSet<i64> = coverage.missing(range(0, 64)).iter().flat_map(|part| part.from().as_micros()..part.to().as_micros()).collect();
                prop_assert_eq!(missing, (0..64).filter(|at| !model.contains(at)).collect::<BTreeSet<_>>());
                let covered: BTreeSet<i64> =
                    coverage.covered(step).iter().flat_map(|part| part.from().as_micros()..part.to().as_micros()).collect();
                prop_assert_eq!(covered, inside.intersection(&model).copied().collect::<BTreeSet<_>>());
                // Before the origin, nothing counts for the watermark, the newest instant and the gaps.
                let contiguous = (origin..64).take_while(|at| model.contains(at)).count() as i64;
                prop_assert_eq!(coverage.watermark().as_micros(), origin + contiguous);
                let newest = model.last().map_or(origin, |last| (last + 1).max(origin));
                prop_assert_eq!(coverage.newest().as_micros(), newest);
                let gaps: BTreeSet<i64> = coverage.gaps().iter().flat_map(|gap| gap.from().as_micros()..gap.to().as_micros()).collect();
                prop_assert_eq!(gaps, (origin..newest).filter(|at| !model.contains(at)).collect::<BTreeSet<_>>());
                prop_assert_eq!(coverage.origin().as_micros(), origin, "the origin does not move");
            }
        }
    }
}

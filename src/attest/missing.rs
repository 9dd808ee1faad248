//! The parts of a range that are not collected, each with what is to be expected of it.

use serde::{Deserialize, Serialize};

use super::Rules;
use crate::{
    coverage::Coverage,
    event::{TimeRange, Timestamp},
};

/// What is to be expected of a part that is not collected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MissingState {
    /// Collection of this stream begins later: Miro was never asked.
    NotAsked,
    /// It is past Miro's retention and cannot be collected any more.
    Lost,
    /// It will be collected.
    Open,
    /// It has only just happened, and is on its way.
    Pending,
}

impl MissingState {
    /// Whether it is a hole in what was to be collected.
    pub fn is_gap(self) -> bool {
        matches!(self, Self::Lost | Self::Open)
    }
}

/// A part that is not collected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The part.
    pub range: TimeRange,
    /// What is to be expected.
    pub state: MissingState,
}

/// All parts of a range that are not collected, oldest first.
pub(super) fn missing(coverage: &Coverage, rules: Rules, range: TimeRange, now: Timestamp) -> Vec<Missing> {
    let cliff = rules.retention.map_or(Timestamp::from_micros(i64::MIN), |reach| now.minus(reach));
    // The time behind the newest collected instant is on its way as long as that instant is young.
    let newest = coverage.newest();
    let pending_from = if now.since(newest) <= rules.grace { newest } else { now };
    let kinds = [
        (Timestamp::from_micros(i64::MIN), coverage.origin(), MissingState::NotAsked),
        (coverage.origin(), cliff.min(now), MissingState::Lost),
        (coverage.origin().max(cliff), pending_from.min(now), MissingState::Open),
        (coverage.origin().max(pending_from), Timestamp::from_micros(i64::MAX), MissingState::Pending),
    ];
    let mut found = Vec::new();
    for hole in coverage.missing(range) {
        for (from, to, state) in kinds {
            let part = TimeRange::new(hole.from().max(from), hole.to().min(to)).filter(|part| !part.is_empty());
            found.extend(part.map(|range| Missing { range, state }));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(hours: i64) -> Timestamp {
        Timestamp::from_millis(hours * 3_600_000)
    }

    fn hours(from: i64, to: i64) -> TimeRange {
        TimeRange::new(at(from), at(to)).expect("from <= to")
    }

    #[track_caller]
    fn check(covered: &[(i64, i64)], now: i64, expected: &[(i64, i64, MissingState)]) {
        let mut coverage = Coverage::starting_at(at(10));
        covered.iter().for_each(|(from, to)| coverage.add(hours(*from, *to)).expect("new"));
        let rules = Rules { retention: Some(Duration::from_secs(100 * 3_600)), grace: Duration::from_secs(2 * 3_600) };
        let found = missing(&coverage, rules, hours(0, 200), at(now));
        let told: Vec<_> = found.iter().map(|one| (one.range, one.state)).collect();
        let expected: Vec<_> = expected.iter().map(|(from, to, state)| (hours(*from, *to), *state)).collect();
        assert_eq!(told, expected);
    }

    #[test]
    fn every_hole_is_told_by_what_is_to_be_expected_of_it() {
        use MissingState::{Lost, NotAsked, Open, Pending};
        check(&[(10, 50)], 50, &[(0, 10, NotAsked), (50, 200, Pending)]);
        check(&[(10, 50)], 52, &[(0, 10, NotAsked), (50, 200, Pending)]);
        check(&[(10, 50)], 53, &[(0, 10, NotAsked), (50, 53, Open), (53, 200, Pending)]);
        check(&[(10, 50), (60, 118)], 120, &[(0, 10, NotAsked), (50, 60, Open), (118, 200, Pending)]);
        check(&[(10, 50), (60, 155)], 155, &[(0, 10, NotAsked), (50, 55, Lost), (55, 60, Open), (155, 200, Pending)]);
        check(&[(10, 50), (60, 170)], 170, &[(0, 10, NotAsked), (50, 60, Lost), (170, 200, Pending)]);
        check(&[], 10, &[(0, 10, NotAsked), (10, 200, Pending)]);
    }
}

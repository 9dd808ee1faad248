//! Attestation: what was collected of each stream, hour by hour, as a page for an auditor and as something to compare.
//!
//! # What it promises
//!
//! Every hour of the range has exactly one state, made from the coverage alone: an hour that was verified empty is told from one that was
//! never asked for. Counts and hashes are the journal's tallies, and what is not certain among them is marked.
//!
//! # What it does not do
//!
//! It asks nobody: neither Miro nor a receiver. It says what this journal has collected, not what a receiver has kept; for that there is
//! `miro-siem diff`. Its hashes compare honest collections, see [`crate::journal::proof`].
//!
//! # On a crash
//!
//! Nothing to do: it keeps no state.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    coverage::Coverage,
    event::{StreamId, StreamKind, TimeRange, Timestamp},
    journal::{
        JournalError,
        proof::{Proof, Tallies},
    },
};

mod missing;
mod report;

pub use missing::{Missing, MissingState};
pub use report::{HourReport, HourState, MissingReport, Report, StreamReport, UndatedReport};

const HOUR: Duration = Duration::from_secs(3_600);

/// Tallies are kept for 400 days, and an hour takes a row: no more is asked for at once.
pub const RANGE_MAX: Duration = Duration::from_secs(400 * 86_400);

/// What is known of one stream.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// The stream.
    pub stream: StreamId,
    /// What is collected of it.
    pub coverage: Coverage,
    /// How much, by the hour.
    pub tallies: Tallies,
    /// From this time on its ids are remembered.
    pub ids_from: Timestamp,
    /// By what its holes are judged.
    pub rules: Rules,
}

/// By what a stream's holes are judged.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// How far back Miro can be asked, where that is known: a hole before that is lost.
    pub retention: Option<Duration>,
    /// How long after an instant it counts as on its way: a stream whose newest covered time is older has a gap.
    pub grace: Duration,
}

impl Rules {
    /// For a stream that is polled that often: three polls, as its health is judged, and at least an hour.
    pub fn of(retention: Option<Duration>, poll_interval: Duration) -> Self {
        Self { retention, grace: (poll_interval * 3).max(HOUR) }
    }
}

/// The rules of every configured stream.
#[derive(Clone, Debug, Default)]
pub struct RuleBook(pub BTreeMap<StreamId, Rules>);

impl RuleBook {
    /// The rules of a stream. One that is not configured any more is not collected, so nothing of it is on its way.
    pub fn of(&self, stream: &StreamId) -> Rules {
        self.0.get(stream).copied().unwrap_or(Rules { retention: None, grace: HOUR })
    }
}

/// Which streams are wanted; all of them by default.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Only those of this organisation.
    pub org: Option<String>,
    /// Only those of this kind.
    pub kind: Option<StreamKind>,
}

impl Selection {
    fn has(&self, stream: &StreamId) -> bool {
        // Events of our own are nothing of Miro's: there is nothing to prove about them.
        stream.kind != StreamKind::Forwarder
            && self.org.as_ref().is_none_or(|org| org == stream.org.as_str())
            && self.kind.is_none_or(|kind| kind == stream.kind)
    }
}

/// A range of whole hours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hours(TimeRange);

impl Hours {
    /// The hours that a range touches; `None` where it ends before it begins or is longer than [`RANGE_MAX`].
    pub fn touching(from: Timestamp, to: Timestamp) -> Option<Self> {
        let first = floor(from);
        let last = if floor(to) == to { to } else { floor(to).plus(HOUR) };
        TimeRange::new(first, last).filter(|range| !range.is_empty() && range.length() <= RANGE_MAX).map(Self)
    }

    /// From the first hour's begin to the last one's end.
    pub fn range(&self) -> TimeRange {
        self.0
    }

    fn iter(self) -> impl Iterator<Item = TimeRange> {
        let next = move |begins: &Timestamp| Some(begins.plus(HOUR)).filter(|next| *next < self.0.to());
        std::iter::successors(Some(self.0.from()), next).filter_map(|begins| TimeRange::new(begins, begins.plus(HOUR)))
    }
}

/// The begin of the hour that an instant lies in.
pub fn floor(time: Timestamp) -> Timestamp {
    let hour = i64::try_from(HOUR.as_micros()).unwrap_or(i64::MAX);
    Timestamp::from_micros(time.as_micros().div_euclid(hour) * hour)
}

/// The begin of the UTC day that an instant lies in.
pub fn floor_day(time: Timestamp) -> Timestamp {
    let day = i64::try_from(HOUR.as_micros() * 24).unwrap_or(i64::MAX);
    Timestamp::from_micros(time.as_micros().div_euclid(day) * day)
}

/// Collects what a journal knows of the wanted streams.
pub async fn gather(
    proof: &dyn Proof,
    selection: &Selection,
    hours: Hours,
    rules: impl Fn(&StreamId) -> Rules,
) -> Result<Vec<Evidence>, JournalError> {
    let mut evidence = Vec::new();
    for held in proof.streams().await?.into_iter().filter(|held| selection.has(&held.stream)) {
        let tallies = proof.tallies(&held.stream, hours.range()).await?;
        evidence.push(Evidence {
            rules: rules(&held.stream),
            stream: held.stream,
            coverage: held.coverage,
            ids_from: held.ids_from,
            tallies,
        });
    }
    Ok(evidence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_widened_to_whole_hours() {
        let at = |minutes: i64| Timestamp::from_millis(minutes * 60_000);
        let hours = Hours::touching(at(61), at(179)).expect("a range");
        assert_eq!((hours.range().from(), hours.range().to()), (at(60), at(180)));
        assert_eq!(hours.iter().map(|hour| hour.from()).collect::<Vec<_>>(), [at(60), at(120)]);
        assert_eq!(Hours::touching(at(60), at(120)).expect("a range").iter().count(), 1);
        assert_eq!(Hours::touching(at(60), at(60)), None);
        assert_eq!(Hours::touching(at(120), at(60)), None);
        assert_eq!(Hours::touching(at(0), at(401 * 24 * 60)), None);
    }
}

//! What is missing at a moment: lost, open and pending time. Arithmetic on coverage, without any input or output.

use std::time::Duration;

use crate::{
    coverage::Coverage,
    event::{TimeRange, Timestamp},
};

/// A stream that has not succeeded for so many poll intervals is unhealthy, and what it has not collected by then is overdue.
const OVERDUE_INTERVALS: u32 = 3;
/// Nothing is lost before it was overdue for most of the time.
const OVERDUE_RETENTION_DIVISOR: u32 = 4;

/// A stream at a moment.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// What is collected.
    pub coverage: &'a Coverage,
    /// The time, by the server's clock as far as it is known.
    pub now: Timestamp,
    /// When the stream began to be polled: what lies before it is history.
    pub live_since: Timestamp,
    /// How far Miro's log reaches back.
    pub retention: Duration,
    /// How often the stream is polled.
    pub poll_interval: Duration,
    /// Whether the first backfill gets on.
    pub history: History,
}

/// Whether the first backfill gets on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum History {
    /// It has covered something lately, or there is nothing to cover.
    Moving,
    /// It has covered nothing for three poll intervals.
    Stalled,
}

/// What is missing at a moment, each kind oldest first and apart from the others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outline {
    /// Past the retention.
    pub lost: Vec<TimeRange>,
    /// Overdue.
    pub open: Vec<TimeRange>,
    /// Being collected: history that is not reached yet, and young holes.
    pub pending: Vec<TimeRange>,
    /// The stretch up to now, where that is not overdue.
    pub lag: Option<TimeRange>,
}

impl View<'_> {
    /// The oldest instant that can still be collected.
    pub fn cliff(&self) -> Timestamp {
        self.now.minus(self.retention)
    }

    /// How long time may wait before it is overdue.
    pub fn grace(&self) -> Duration {
        (self.poll_interval * OVERDUE_INTERVALS).min(self.retention / OVERDUE_RETENTION_DIVISOR)
    }

    /// Now minus the oldest instant that is missing and can still be collected.
    pub fn lag(&self) -> Duration {
        let wanted = TimeRange::new(self.cliff().max(self.coverage.origin()), self.now);
        let oldest = wanted.and_then(|wanted| self.coverage.missing(wanted).into_iter().next());
        oldest.map_or(Duration::ZERO, |oldest| self.now.since(oldest.from()))
    }

    /// All that is not covered, up to now.
    fn missing(&self) -> Vec<TimeRange> {
        TimeRange::new(self.coverage.origin(), self.now).map(|asked| self.coverage.missing(asked)).unwrap_or_default()
    }
}

impl Outline {
    /// What is missing. `known` are the ranges of gaps that were found before: what is missing in them stays open.
    pub fn of(view: &View<'_>, known: &[TimeRange]) -> Self {
        let (mut outline, cliff) = (Self::default(), view.cliff());
        for range in view.missing() {
            let lost = before(range, cliff);
            let rest = after(range, cliff);
            let has_lost = lost.is_some();
            outline.lost.extend(lost);
            let parts = rest.map(|rest| [before(rest, view.live_since), after(rest, view.live_since)]);
            for part in parts.into_iter().flatten().flatten() {
                outline.place(view, part, known, has_lost);
            }
        }
        join(&mut outline.open);
        outline
    }

    /// How much time ranges hold together.
    pub fn total(ranges: &[TimeRange]) -> Duration {
        ranges.iter().map(TimeRange::length).sum()
    }

    fn place(&mut self, view: &View<'_>, part: TimeRange, known: &[TimeRange], has_lost: bool) {
        if is_due(view, part) || has_lost {
            self.open.push(part);
            return;
        }
        self.open.extend(known.iter().filter_map(|known| common(part, *known)));
        for rest in without(part, known) {
            if rest.to() == view.now { self.lag = Some(rest) } else { self.pending.push(rest) }
        }
    }
}

/// History is due where the backfill does not get on; anything else, where it has waited for too long.
fn is_due(view: &View<'_>, part: TimeRange) -> bool {
    if part.to() <= view.live_since { view.history == History::Stalled } else { part.from() <= view.now.minus(view.grace()) }
}

/// Joins neighbours that touch.
pub(super) fn join(ranges: &mut Vec<TimeRange>) {
    ranges.sort();
    ranges.dedup_by(|next, held| {
        let touches = next.from() <= held.to();
        if touches {
            *held = span(held.from(), held.to().max(next.to()));
        }
        touches
    });
}

/// A range whose ends are in order by construction; an empty one where they are not.
pub(super) fn span(from: Timestamp, to: Timestamp) -> TimeRange {
    TimeRange::new(from, to).unwrap_or(TimeRange::EMPTY)
}

fn whole(from: Timestamp, to: Timestamp) -> Option<TimeRange> {
    TimeRange::new(from, to).filter(|range| !range.is_empty())
}

/// The part in front of an instant.
pub(super) fn before(range: TimeRange, instant: Timestamp) -> Option<TimeRange> {
    whole(range.from(), range.to().min(instant))
}

/// The part from an instant on.
pub(super) fn after(range: TimeRange, instant: Timestamp) -> Option<TimeRange> {
    whole(range.from().max(instant), range.to())
}

/// What both have.
pub(super) fn common(one: TimeRange, other: TimeRange) -> Option<TimeRange> {
    whole(one.from().max(other.from()), one.to().min(other.to()))
}

/// What of a range lies in none of the others.
pub(super) fn without(range: TimeRange, others: &[TimeRange]) -> Vec<TimeRange> {
    others.iter().fold(vec![range], |left, other| {
        left.into_iter().flat_map(|part| [before(part, other.from()), after(part, other.to())]).flatten().collect()
    })
}

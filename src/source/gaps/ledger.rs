//! The gaps that are known, and what changes about them. Decides; neither waits nor writes.

use std::time::Duration;

use super::outline::{Outline, View, after, common, join, span, without};
use crate::event::{TimeRange, Timestamp};

/// How many gaps are told apart at once; what comes beyond is added to the gap before it.
const GAPS_MAX: usize = 100;
/// How many gaps that have ended are kept, and for how long.
const ENDED_MAX: usize = 300;
const ENDED_KEPT: Duration = Duration::from_secs(90 * 24 * 3_600);
/// A cause as it is kept: the sentence that matters is at its beginning.
const CAUSE_BYTES_MAX: usize = 160;
/// How many changes are made at once, so that all that is to be said fits into one value of the journal's small state.
pub(super) const CHANGES_MAX: usize = 16;
/// The parts of the way to the cliff at which is warned, in percent.
const WARNINGS: [u8; 3] = [90, 75, 50];

/// A gap that has not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Its first instant when it was found: with `opened_at`, this is which gap it is.
    pub key: Timestamp,
    /// When it was found.
    pub opened_at: Timestamp,
    /// All that has ever been missing of it. What is missing now is what of this is not covered.
    pub range: TimeRange,
    /// The highest warning so far, in percent; 0 without any.
    pub warned_percent: u8,
    /// Whether it was said that a part of it is lost.
    pub is_losing: bool,
    /// Why it was not collected, as far as it was known when it was found.
    pub cause: String,
}

/// A gap that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Which it was. What was said on its way is of no use any more.
    pub gap: Gap,
    /// When it ended.
    pub ended_at: Timestamp,
    /// How.
    pub end: End,
    /// How much of it is lost.
    pub lost: Duration,
}

/// How a gap ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// All of it was collected.
    Closed,
    /// Some of it never can be.
    Lost,
}

/// What has changed about a gap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What.
    pub kind: ChangeKind,
    /// The gap as it is now.
    pub gap: Gap,
    /// When.
    pub at: Timestamp,
    /// The range that this is about: what is missing, from its first instant to its last.
    pub range: TimeRange,
    /// How much of it is open.
    pub open: Duration,
    /// How much of it is lost.
    pub lost: Duration,
    /// When the oldest instant that is open is lost.
    pub lost_from: Option<Timestamp>,
}

/// The kinds of changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// It was found.
    Opened,
    /// So many percent of the way to the cliff are behind it.
    Warned(u8),
    /// Its oldest part is lost.
    PartlyLost,
    /// All of it is collected.
    Closed,
    /// What is missing of it is lost.
    Lost,
}

/// The gaps of one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ledger {
    /// By time, and apart from each other.
    pub(super) gaps: Vec<Gap>,
    /// In the order in which they ended.
    pub(super) ended: Vec<Ended>,
    /// What was lost before this and is in none of the gaps has left the ledger: it is not found again.
    pub(super) forgotten_before: Timestamp,
    /// What is decided and may not have been said yet.
    pub(super) unsaid: Vec<Change>,
}

impl Default for Ledger {
    fn default() -> Self {
        Self { gaps: Vec::new(), ended: Vec::new(), forgotten_before: Timestamp::from_micros(i64::MIN), unsaid: Vec::new() }
    }
}

impl Ledger {
    /// The gaps that have not ended, oldest first.
    pub fn gaps(&self) -> &[Gap] {
        &self.gaps
    }

    /// The gaps that have ended, in the order in which they did.
    pub fn ended(&self) -> &[Ended] {
        &self.ended
    }

    /// What is decided and may not have been said yet.
    pub fn unsaid(&self) -> &[Change] {
        &self.unsaid
    }

    /// The ranges of the gaps that have not ended.
    pub fn ranges(&self) -> Vec<TimeRange> {
        self.gaps.iter().map(|gap| gap.range).collect()
    }

    /// What is missing now, with what the ledger knows.
    pub fn outline(&self, view: &View<'_>) -> Outline {
        Outline::of(view, &self.ranges())
    }

    /// Brings the ledger up to date and returns what has changed, oldest gap first. At most so many changes are made at once: where there may be
    /// more, it is to be called again.
    pub fn judge(&mut self, view: &View<'_>, cause: &dyn Fn(TimeRange) -> String) -> Vec<Change> {
        let outline = self.outline(view);
        let mut changes = Vec::new();
        self.find(view, &outline, cause, &mut changes);
        self.follow(view, &outline, &mut changes);
        self.forget(view.now);
        changes
    }

    /// Puts what is missing into gaps: into those that it touches, else into new ones.
    fn find(&mut self, view: &View<'_>, outline: &Outline, cause: &dyn Fn(TimeRange) -> String, changes: &mut Vec<Change>) {
        let settled: Vec<TimeRange> = self.ended.iter().filter(|ended| ended.end == End::Lost).map(|ended| ended.gap.range).collect();
        let lost = outline.lost.iter().flat_map(|range| without(*range, &settled));
        let mut alarming: Vec<TimeRange> = lost.filter_map(|range| after(range, self.forgotten_before)).collect();
        alarming.extend(&outline.open);
        join(&mut alarming);
        for range in alarming {
            for part in without(range, &self.ranges()) {
                if self.grow(part) {
                    continue;
                }
                if changes.len() == CHANGES_MAX {
                    return;
                }
                let gap = Gap {
                    key: part.from(),
                    opened_at: view.now,
                    range: part,
                    warned_percent: 0,
                    is_losing: false,
                    cause: cut(cause(part)),
                };
                changes.push(Missing::of(&gap, outline).change(ChangeKind::Opened, &gap, view));
                let at = self.gaps.partition_point(|held| held.range.from() < part.from());
                self.gaps.insert(at, gap);
            }
        }
    }

    /// Adds a part to the gap that it touches; where there are too many gaps, to the one before it or else to the first. The part lies in none.
    fn grow(&mut self, part: TimeRange) -> bool {
        let next = self.gaps.partition_point(|gap| gap.range.from() < part.from());
        let touched = [next.checked_sub(1), Some(next)]
            .into_iter()
            .flatten()
            .find(|at| self.gaps.get(*at).is_some_and(|gap| gap.range.to() == part.from() || gap.range.from() == part.to()));
        let crowded = (self.gaps.len() >= GAPS_MAX).then(|| next.saturating_sub(1));
        let Some(gap) = touched.or(crowded).and_then(|at| self.gaps.get_mut(at)) else { return false };
        gap.range = span(gap.range.from().min(part.from()), gap.range.to().max(part.to()));
        true
    }

    /// Ends what has ended, and says what is near its end.
    fn follow(&mut self, view: &View<'_>, outline: &Outline, changes: &mut Vec<Change>) {
        let mut gaps = std::mem::take(&mut self.gaps);
        gaps.retain_mut(|gap| {
            let missing = Missing::of(gap, outline);
            let Some(kind) = kind(gap, &missing, view).filter(|_| changes.len() < CHANGES_MAX) else { return true };
            match kind {
                ChangeKind::PartlyLost => gap.is_losing = true,
                ChangeKind::Warned(percent) => gap.warned_percent = percent,
                ChangeKind::Opened | ChangeKind::Closed | ChangeKind::Lost => {}
            }
            changes.push(missing.change(kind, gap, view));
            let Some(end) = end_of(kind) else { return true };
            let gap = Gap { warned_percent: 0, is_losing: false, ..gap.clone() };
            self.ended.push(Ended { gap, ended_at: view.now, end, lost: missing.lost_total() });
            false
        });
        self.gaps = gaps;
    }

    /// Lets go of what ended long ago. What is lost stays missing for ever, so it has to be known that it was said.
    fn forget(&mut self, now: Timestamp) {
        let too_many = self.ended.len().saturating_sub(ENDED_MAX);
        let old = self.ended.iter().take_while(|ended| now.since(ended.ended_at) > ENDED_KEPT).count();
        for ended in self.ended.drain(..too_many.max(old)).filter(|ended| ended.end == End::Lost) {
            self.forgotten_before = self.forgotten_before.max(ended.gap.range.to());
        }
    }
}

/// What is missing of one gap.
struct Missing {
    open: Vec<TimeRange>,
    lost: Vec<TimeRange>,
}

impl Missing {
    fn of(gap: &Gap, outline: &Outline) -> Self {
        let inside = |ranges: &[TimeRange]| ranges.iter().filter_map(|range| common(*range, gap.range)).collect();
        Self { open: inside(&outline.open), lost: inside(&outline.lost) }
    }

    fn lost_total(&self) -> Duration {
        Outline::total(&self.lost)
    }

    /// From the first missing instant to the last; the gap's own range where nothing is missing any more.
    fn extent(&self, gap: &Gap) -> TimeRange {
        let all = || self.lost.iter().chain(&self.open);
        match (all().next(), all().next_back()) {
            (Some(first), Some(last)) => span(first.from(), last.to()),
            _ => gap.range,
        }
    }

    fn change(&self, kind: ChangeKind, gap: &Gap, view: &View<'_>) -> Change {
        Change {
            kind,
            gap: gap.clone(),
            at: view.now,
            range: self.extent(gap),
            open: Outline::total(&self.open),
            lost: self.lost_total(),
            lost_from: self.open.first().map(|oldest| oldest.from().plus(view.retention)),
        }
    }
}

/// What is to be said about a gap now. One that reaches past now was found by a clock that has been set back since: what is missing of it
/// shows when that time has come.
fn kind(gap: &Gap, missing: &Missing, view: &View<'_>) -> Option<ChangeKind> {
    match (missing.open.first(), missing.lost.is_empty()) {
        (None, true) => (gap.range.from() < view.now).then_some(ChangeKind::Closed),
        (None, false) => (gap.range.to() <= view.now).then_some(ChangeKind::Lost),
        (Some(_), false) => (!gap.is_losing).then_some(ChangeKind::PartlyLost),
        (Some(oldest), true) => {
            let percent = view.now.since(oldest.from()).as_secs_f64() / view.retention.as_secs_f64() * 100.0;
            let reached = WARNINGS.into_iter().find(|level| percent >= f64::from(*level));
            reached.filter(|reached| *reached > gap.warned_percent).map(ChangeKind::Warned)
        }
    }
}

fn end_of(kind: ChangeKind) -> Option<End> {
    match kind {
        ChangeKind::Closed => Some(End::Closed),
        ChangeKind::Lost => Some(End::Lost),
        ChangeKind::Opened | ChangeKind::Warned(_) | ChangeKind::PartlyLost => None,
    }
}

fn cut(mut cause: String) -> String {
    if cause.len() > CAUSE_BYTES_MAX {
        cause.truncate(cause.floor_char_boundary(CAUSE_BYTES_MAX - "…".len()));
        cause.push('…');
    }
    cause
}

#[cfg(test)]
mod tests;

//! What is missing of a stream, as the status, the metrics and the command line show it.

use std::time::Duration;

use crate::{
    admin::status::{EndedGapStatus, GapEnd, GapState, GapStatus, instant},
    coverage::Coverage,
    event::{StreamId, TimeRange, Timestamp},
    journal::Journal,
    source::gaps::{End, Ended, History, Ledger, Outline, View, outlook},
};

/// What is missing of one stream at a moment.
#[derive(Debug)]
pub struct Missing {
    /// What is collected.
    pub coverage: Coverage,
    /// Now minus the oldest instant that is missing and can still be collected.
    pub lag: Duration,
    outline: Outline,
    ledger: Ledger,
    retention: Duration,
}

/// How a stream is polled, as far as it says what is missing.
#[derive(Clone, Copy, Debug)]
pub struct Polled {
    /// How far Miro's log reaches back.
    pub retention: Duration,
    /// How often the stream is polled.
    pub interval: Duration,
}

impl Missing {
    /// Of that stream now; `None` where it was never asked for.
    pub fn of(journal: &dyn Journal, stream: &StreamId, polled: Polled, now: Timestamp) -> Option<Self> {
        let (coverage, live_since, ledger) = outlook(journal, stream)?;
        let Polled { retention, interval: poll_interval } = polled;
        // Whether the backfill has stalled is the keeper's to see; what it found then is in the ledger.
        let view = View { coverage: &coverage, now, live_since, retention, poll_interval, history: History::Moving };
        let (lag, outline) = (view.lag(), ledger.outline(&view));
        Some(Self { coverage, lag, outline, ledger, retention })
    }

    /// How much of it is in that state.
    pub fn total(&self, state: GapState) -> Duration {
        Outline::total(self.ranges(state))
    }

    /// The gaps, oldest first.
    pub fn gaps(&self) -> Vec<GapStatus> {
        let states = [GapState::Lost, GapState::Open, GapState::Pending];
        let mut found: Vec<(TimeRange, GapState)> =
            states.into_iter().flat_map(|state| self.ranges(state).iter().map(move |range| (*range, state))).collect();
        found.sort_by_key(|(range, _)| *range);
        found.into_iter().map(|(range, state)| self.gap(range, state)).collect()
    }

    /// The gaps that have ended, the newest first.
    pub fn ended(&self) -> Vec<EndedGapStatus> {
        self.ledger.ended().iter().rev().map(ended).collect()
    }

    fn ranges(&self, state: GapState) -> &[TimeRange] {
        match state {
            GapState::Open => &self.outline.open,
            GapState::Lost => &self.outline.lost,
            GapState::Pending => &self.outline.pending,
        }
    }

    fn gap(&self, range: TimeRange, state: GapState) -> GapStatus {
        let holds = |held: &TimeRange| held.from() < range.to() && range.from() < held.to();
        let ended = || self.ledger.ended().iter().rev().map(|ended| &ended.gap);
        let known = self.ledger.gaps().iter().chain(ended()).find(|gap| holds(&gap.range)).filter(|_| state != GapState::Pending);
        GapStatus {
            from: instant(range.from()),
            to: instant(range.to()),
            secs: range.length().as_secs_f64(),
            state,
            opened_at: known.map(|gap| instant(gap.opened_at)),
            lost_from: (state != GapState::Lost).then(|| instant(range.from().plus(self.retention))),
            cause: known.map(|gap| gap.cause.clone()),
        }
    }
}

fn ended(ended: &Ended) -> EndedGapStatus {
    EndedGapStatus {
        from: instant(ended.gap.range.from()),
        to: instant(ended.gap.range.to()),
        secs: ended.gap.range.length().as_secs_f64(),
        lost_secs: ended.lost.as_secs_f64(),
        opened_at: instant(ended.gap.opened_at),
        ended_at: instant(ended.ended_at),
        end: match ended.end {
            End::Closed => GapEnd::Closed,
            End::Lost => GapEnd::Lost,
        },
        cause: ended.gap.cause.clone(),
    }
}

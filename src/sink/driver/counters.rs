//! Where outcomes are counted, by what a lane is for; and the guard that sees to it that every event gets one.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::{
    event::{SinkName, StreamId},
    metrics::{self, Metrics},
    sink::driver::Purpose,
};

type Counter = ::metrics::Counter;

/// The counters of one lane.
pub(super) struct Counters {
    delivered: Counter,
    filtered: Counter,
    dead_lettered: Counter,
    pub(super) filter_errors: Counter,
    pub(super) unmapped: Counter,
    pub(super) possible_duplicates: Counter,
    without_outcome: Counter,
    tally: [AtomicU64; 3],
}

/// A lane's outcomes since its driver was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Events that the receiver has taken.
    pub delivered: u64,
    /// Events that the filter left out.
    pub filtered: u64,
    /// Events that were set aside.
    pub dead_lettered: u64,
}

impl Tally {
    /// All of them.
    pub fn outcomes(self) -> u64 {
        self.delivered + self.filtered + self.dead_lettered
    }
}

impl Counters {
    pub(super) fn new(metrics: &Metrics, sink: &SinkName, stream: &StreamId, purpose: Purpose) -> Self {
        let counter = |name| metrics.sink_counter(name, sink, stream);
        let by_result =
            |name, result| metrics.counter(name, &[("sink", sink.as_str()), ("stream", stream.kind.as_str()), ("result", result)]);
        let [delivered, filtered, dead_lettered] = match purpose {
            Purpose::Live => [metrics::EVENTS_DELIVERED, metrics::EVENTS_FILTERED, metrics::EVENTS_DEAD_LETTERED].map(counter),
            Purpose::Retry => ["delivered", "filtered", "refused"].map(|result| by_result(metrics::DEAD_LETTERS_RETRIED, result)),
            Purpose::Replay => ["delivered", "filtered", "dead_lettered"].map(|result| by_result(metrics::EVENTS_REPLAYED, result)),
        };
        let counters = Self {
            delivered,
            filtered,
            dead_lettered,
            filter_errors: counter(metrics::FILTER_ERRORS),
            unmapped: counter(metrics::EVENTS_UNMAPPED),
            possible_duplicates: counter(metrics::POSSIBLE_DUPLICATES),
            without_outcome: counter(metrics::EVENTS_WITHOUT_OUTCOME),
            tally: Default::default(),
        };
        // An outcome that has not happened yet is a zero, not an absent series: alerts need it.
        let Self { delivered, filtered, dead_lettered, filter_errors, unmapped, possible_duplicates, without_outcome, tally: _ } =
            &counters;
        for counter in [delivered, filtered, dead_lettered, filter_errors, unmapped, possible_duplicates, without_outcome] {
            counter.increment(0);
        }
        counters
    }

    pub(super) fn delivered(&self, events: usize) {
        self.count(&self.delivered, 0, events as u64);
    }

    pub(super) fn filtered(&self, events: u64) {
        self.count(&self.filtered, 1, events);
    }

    pub(super) fn dead_lettered(&self, events: usize) {
        self.count(&self.dead_lettered, 2, events as u64);
    }

    fn count(&self, counter: &Counter, outcome: usize, events: u64) {
        counter.increment(events);
        self.tally[outcome].fetch_add(events, Ordering::Relaxed);
    }

    pub(super) fn tally(&self) -> Tally {
        let [delivered, filtered, dead_lettered] = [0, 1, 2].map(|outcome| self.tally[outcome].load(Ordering::Relaxed));
        Tally { delivered, filtered, dead_lettered }
    }

    fn outcomes(&self) -> u64 {
        self.tally().outcomes()
    }
}

impl std::fmt::Debug for Counters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Counters").field("tally", &self.tally()).finish_non_exhaustive()
    }
}

/// Compares what a run has taken from its supply with the outcomes that were counted: whenever a batch is done, they are the same number.
#[derive(Debug)]
pub(super) struct Guard {
    /// Outcomes that this run does not answer for; less than none where some of its own were missing and have been told.
    before: i128,
}

impl Guard {
    pub(super) fn new(counters: &Counters) -> Self {
        Self { before: counters.outcomes().into() }
    }

    /// With so many events taken from the supply, and none of them under way: says when some have no outcome, or have two.
    pub(super) fn check(&mut self, taken: u64, counters: &Counters, sink: &SinkName, stream: &StreamId) {
        let (taken, outcomes) = (i128::from(taken), i128::from(counters.outcomes()) - self.before);
        if taken == outcomes {
            return;
        }
        tracing::error!(
            %sink, %stream, taken, outcomes,
            "events left the driver without an outcome, or with two: this is a defect of miro-siem, please report it"
        );
        counters.without_outcome.increment(u64::try_from(taken.abs_diff(outcomes)).unwrap_or(u64::MAX));
        // Told once, not with every batch from here on.
        self.before += outcomes - taken;
        debug_assert_eq!(taken, outcomes, "every event has exactly one outcome");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{OrgName, StreamKind};

    fn parts() -> (Metrics, SinkName, StreamId) {
        (Metrics::new(), SinkName::new("splunk"), StreamId::new(OrgName::new("acme"), StreamKind::Audit))
    }

    #[test]
    fn a_run_whose_events_all_have_their_outcome_is_not_told() {
        let (metrics, sink, stream) = parts();
        let counters = Counters::new(&metrics, &sink, &stream, Purpose::Live);
        counters.delivered(4);
        let mut guard = Guard::new(&counters);
        counters.delivered(7);
        counters.filtered(2);
        counters.dead_lettered(1);
        guard.check(10, &counters, &sink, &stream);
        assert!(metrics.render().contains("miro_siem_events_without_outcome_total{sink=\"splunk\",stream=\"audit\"} 0"));
    }

    #[test]
    fn an_event_without_an_outcome_is_counted_once_and_stops_a_debug_build() {
        let (metrics, sink, stream) = parts();
        let counters = Counters::new(&metrics, &sink, &stream, Purpose::Live);
        let mut guard = Guard::new(&counters);
        counters.delivered(8);
        let mut check = |taken| std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| guard.check(taken, &counters, &sink, &stream)));
        assert_eq!(check(10).is_err(), cfg!(debug_assertions));
        counters.delivered(5);
        assert!(check(15).is_ok(), "what was told is not told again");
        assert!(metrics.render().contains("miro_siem_events_without_outcome_total{sink=\"splunk\",stream=\"audit\"} 2"));
    }
}

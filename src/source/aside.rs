//! Ranges that failed and wait for another attempt, while others go on.

use std::time::Duration;

use tokio::time::Instant;

use super::plan::SPAN_MIN;
use crate::{event::TimeRange, retry::Backoff};

/// First and last ceiling of the wait; at least half of it is waited.
const WAIT_INITIAL: Duration = Duration::from_secs(15);
const WAIT_MAX: Duration = Duration::from_secs(1_800);
/// So many ranges wait at most. With so many nothing new is begun: then it is not a range that fails but everything.
const RANGES_MAX: usize = 16;
/// Up to so many, ranges are halved; the rest of the room is for others that fail.
const HALVES_MAX: usize = 8;

/// What was set aside.
#[derive(Debug, Default)]
pub(super) struct Asides(Vec<Aside>);

#[derive(Debug)]
struct Aside {
    range: TimeRange,
    due: Instant,
    backoff: Backoff,
}

/// A range that is due, and how patient to be if it fails again.
#[derive(Debug)]
pub(super) struct Retry {
    pub(super) range: TimeRange,
    backoff: Backoff,
}

impl Asides {
    pub(super) fn is_full(&self) -> bool {
        self.0.len() >= RANGES_MAX
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn ranges(&self) -> impl Iterator<Item = TimeRange> + '_ {
        self.0.iter().map(|aside| aside.range)
    }

    /// When the next one is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.0.iter().map(|aside| aside.due).min()
    }

    /// Takes the newest range that is due.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<Retry> {
        let due = self.0.iter().enumerate().filter(|(_, aside)| aside.due <= now);
        let newest = due.max_by_key(|(_, aside)| aside.range.to()).map(|(at, _)| at)?;
        let Aside { range, backoff, .. } = self.0.swap_remove(newest);
        Some(Retry { range, backoff })
    }

    /// Sets a range aside for the first time.
    pub(super) fn add(&mut self, range: TimeRange, now: Instant) {
        self.put(range, Backoff::new(WAIT_INITIAL, WAIT_MAX), now);
    }

    /// Sets one aside that has failed again: in two halves, so that what can be had is told from what cannot.
    pub(super) fn add_again(&mut self, retry: Retry, now: Instant) {
        let Retry { range, backoff } = retry;
        let middle = range.from().plus(range.length() / 2).floor_secs();
        let halves = [TimeRange::new(range.from(), middle), TimeRange::new(middle, range.to())];
        match halves {
            [Some(older), Some(newer)] if range.length() >= SPAN_MIN * 2 && self.0.len() + 2 <= HALVES_MAX => {
                self.add(older, now);
                self.put(newer, backoff, now);
            }
            _ => self.put(range, backoff, now),
        }
    }

    /// Forgets what nobody wants any more.
    pub(super) fn keep_wanted(&mut self, wanted: &[TimeRange]) {
        self.0.retain(|aside| wanted.iter().any(|range| range.from() < aside.range.to() && aside.range.from() < range.to()));
    }

    fn put(&mut self, range: TimeRange, mut backoff: Backoff, now: Instant) {
        // Half of it for certain: a range that fails is not hammered, whatever chance says.
        let wait = WAIT_INITIAL / 2 + backoff.next_wait();
        self.0.push(Aside { range, due: now + wait, backoff });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Timestamp;

    fn range(from: i64, to: i64) -> TimeRange {
        TimeRange::new(Timestamp::from_millis(from * 1_000), Timestamp::from_millis(to * 1_000)).expect("from <= to")
    }

    #[tokio::test(start_paused = true)]
    async fn what_fails_again_is_halved_down_to_two_minutes() {
        let mut asides = Asides::default();
        asides.add(range(0, 480), Instant::now());
        assert!(asides.take_due(Instant::now()).is_none(), "not at once");
        for _ in 0..6 {
            tokio::time::advance(WAIT_MAX * 2).await;
            let retry = asides.take_due(Instant::now()).expect("it is due");
            asides.add_again(retry, Instant::now());
        }
        assert_eq!(super::super::wanted::merged(asides.ranges()), [range(0, 480)], "nothing is forgotten");
        assert!(asides.ranges().all(|range| range.length() >= SPAN_MIN));
        assert!(asides.len() > 2);
        asides.keep_wanted(&[range(470, 500)]);
        assert_eq!(asides.len(), 1);
    }
}

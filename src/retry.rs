//! Waits between attempts. The `backoff` crate, which is no longer maintained, is named in this file alone.
//!
//! An error makes the wait grow; a throttle, whose wait the server dictates, does not come here at all.

use std::{fmt, time::Duration};

use backoff::{ExponentialBackoff, ExponentialBackoffBuilder, backoff::Backoff as _};
use rand::{Rng, RngExt, SeedableRng, rngs::StdRng};

const MULTIPLIER: f64 = 2.0;

/// A growing wait with full jitter: each wait is uniform between zero and a ceiling that doubles up to a maximum. Never gives up.
pub struct Backoff {
    ceiling: ExponentialBackoff,
    max: Duration,
    rng: Box<dyn Rng + Send + Sync>,
}

impl Backoff {
    /// Ceilings from `initial` to `max`, jitter from the operating system's randomness.
    pub fn new(initial: Duration, max: Duration) -> Self {
        Self::with_rng(initial, max, Box::new(StdRng::from_rng(&mut rand::rng())))
    }

    /// The same with a source of randomness of one's own, so that a schedule can be asserted.
    pub fn with_rng(initial: Duration, max: Duration, rng: Box<dyn Rng + Send + Sync>) -> Self {
        let ceiling = ExponentialBackoffBuilder::new()
            .with_initial_interval(initial)
            .with_max_interval(max)
            .with_multiplier(MULTIPLIER)
            .with_randomization_factor(0.0)
            .with_max_elapsed_time(None)
            .build();
        Self { ceiling, max, rng }
    }

    /// How long to wait before the next attempt.
    pub fn next_wait(&mut self) -> Duration {
        let ceiling = self.ceiling.next_backoff().unwrap_or(self.max).min(self.max);
        ceiling.mul_f64(self.rng.random_range(0.0..=1.0))
    }

    /// Begins again with the shortest ceiling, after a success.
    pub fn reset(&mut self) {
        self.ceiling.reset();
    }
}

impl fmt::Debug for Backoff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backoff").field("max", &self.max).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ceilings_double_up_to_the_maximum_and_waits_stay_below_them() {
        let mut backoff = Backoff::with_rng(Duration::from_secs(1), Duration::from_secs(10), Box::new(StdRng::seed_from_u64(7)));
        for ceiling_secs in [1, 2, 4, 8, 10, 10, 10] {
            assert!(backoff.next_wait() <= Duration::from_secs(ceiling_secs));
        }
        backoff.reset();
        assert!(backoff.next_wait() <= Duration::from_secs(1));
    }

    #[test]
    fn jitter_reaches_the_whole_range() {
        let mut waits = Vec::new();
        for seed in 0..200 {
            let mut backoff = Backoff::with_rng(Duration::from_secs(1), Duration::from_secs(1), Box::new(StdRng::seed_from_u64(seed)));
            waits.push(backoff.next_wait());
        }
        assert!(waits.iter().any(|wait| *wait < Duration::from_millis(100)));
        assert!(waits.iter().any(|wait| *wait > Duration::from_millis(900)));
    }

    #[test]
    fn a_schedule_is_repeatable_with_its_seed() {
        let schedule = |seed| {
            let mut backoff = Backoff::with_rng(Duration::from_secs(1), Duration::from_secs(60), Box::new(StdRng::seed_from_u64(seed)));
            (0..8).map(|_| backoff.next_wait()).collect::<Vec<_>>()
        };
        assert_eq!(schedule(3), schedule(3));
        assert_ne!(schedule(3), schedule(4));
    }
}

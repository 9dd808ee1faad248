//! The simulator's time: the wall clock shifted, or a clock that stands still until it is moved.
//!
//! It decides what exists, what is visible, and when tokens expire. Quota windows and the `Date` header follow the wall clock
//! instead, because a client measures its waits with a real clock.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

/// A shared clock that tests can set, advance and stop. Cheap to clone; all clones are the same clock.
#[derive(Clone, Debug)]
pub struct SimClock(Arc<Mutex<State>>);

#[derive(Clone, Copy, Debug)]
enum State {
    /// Runs with the wall clock, this much ahead of it.
    Running(TimeDelta),
    Frozen(DateTime<Utc>),
}

/// A start this near the wall clock is meant to be the wall clock.
const SAME_INSTANT: TimeDelta = TimeDelta::seconds(5);

impl SimClock {
    /// A clock that shows `now` at this moment and then runs.
    #[must_use]
    pub fn starting_at(now: DateTime<Utc>) -> Self {
        let ahead = now - Utc::now();
        let ahead = if ahead.abs() < SAME_INSTANT { TimeDelta::zero() } else { ahead };
        Self(Arc::new(Mutex::new(State::Running(ahead))))
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The simulator's present moment.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        self.with(|state| match state {
            State::Running(ahead) => Utc::now() + *ahead,
            State::Frozen(at) => *at,
        })
    }

    /// Sets the time; a running clock goes on running from there, a frozen one stays there.
    pub fn set(&self, to: DateTime<Utc>) {
        self.with(|state| {
            *state = match state {
                State::Running(_) => State::Running(to - Utc::now()),
                State::Frozen(_) => State::Frozen(to),
            };
        });
    }

    /// Moves the time forward, running or frozen.
    pub fn advance(&self, by: Duration) {
        let by = TimeDelta::from_std(by).unwrap_or(TimeDelta::MAX);
        self.with(|state| match state {
            State::Running(ahead) => *ahead += by,
            State::Frozen(at) => *at += by,
        });
    }

    /// Stops the clock at `at`.
    pub fn freeze_at(&self, at: DateTime<Utc>) {
        self.with(|state| *state = State::Frozen(at));
    }

    /// Lets a frozen clock run again from the time it shows.
    pub fn run(&self) {
        self.with(|state| {
            if let State::Frozen(at) = *state {
                *state = State::Running(at - Utc::now());
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frozen_clock_moves_only_when_told() {
        let clock = SimClock::starting_at(Utc::now());
        let at = Utc::now() - TimeDelta::days(3);
        clock.freeze_at(at);
        assert_eq!(clock.now(), at);
        clock.advance(Duration::from_secs(60));
        assert_eq!(clock.now(), at + TimeDelta::seconds(60));
        clock.run();
        assert!(clock.now() - at < TimeDelta::seconds(70));
    }

    #[test]
    fn a_start_in_the_past_stays_in_the_past() {
        let start = Utc::now() - TimeDelta::days(300);
        assert!((SimClock::starting_at(start).now() - start).abs() < TimeDelta::seconds(5));
    }
}

//! One minute of the quota, as far as it is known.

use std::time::Duration;

use crate::event::Timestamp;

/// Two resets that are this near to each other are the same one: the header has whole seconds.
const SAME_RESET: Duration = Duration::from_secs(2);

/// A stretch of time by our clock. Before its beginning it does not count either: then the clock was set back, and its end means nothing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) from: Timestamp,
    pub(super) to: Timestamp,
}

impl Span {
    /// What is left of it; `None` outside of it.
    pub(super) fn left(self, now: Timestamp) -> Option<Duration> {
        (self.from <= now && now < self.to).then(|| self.to.since(now))
    }

    /// Whether it has ended, and not longer ago than that.
    pub(super) fn ended_within(self, time: Duration, now: Timestamp) -> bool {
        now >= self.to && now.since(self.to) <= time
    }
}

/// The newest reading, made whole.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) limit: Option<u32>,
    /// The lowest reading.
    pub(super) remaining: u32,
    /// From the first reading to the time when the credits come back.
    pub(super) valid: Span,
    /// What we have spent of it ourselves; other programs with the same user and app are not in it.
    pub(super) spent: u32,
    /// No answer has spoken of it: it is only our own count of a minute.
    pub(super) is_assumed: bool,
}

impl Window {
    pub(super) fn read(limit: Option<u32>, remaining: u32, valid: Span) -> Self {
        Self { limit, remaining, valid, spent: 0, is_assumed: false }
    }

    pub(super) fn assumed(now: Timestamp, period: Duration, limit: u32) -> Self {
        let valid = Span { from: now, to: now.plus(period) };
        Self { limit: Some(limit), remaining: u32::MAX, valid, spent: 0, is_assumed: true }
    }

    pub(super) fn is_same_minute(&self, other: &Self) -> bool {
        let (one, two) = (self.valid.to, other.valid.to);
        one.since(two).max(two.since(one)) <= SAME_RESET
    }

    /// Of two readings of one minute the lower one counts, of two minutes the later one. Says whether a new minute has begun.
    pub(super) fn merge(&mut self, new: Self) -> bool {
        if self.is_same_minute(&new) {
            self.limit = new.limit.or(self.limit);
            self.remaining = self.remaining.min(new.remaining);
            return false;
        }
        let is_new = new.valid.to > self.valid.to;
        if is_new {
            *self = new;
        }
        is_new
    }
}

//! Miro's quota: credits per minute for each token, learned from the answers and never assumed.
//!
//! Source: the page "Rate limiting" of Miro's REST API reference. Every answer says in `X-RateLimit-Limit`, `-Remaining` and `-Reset` how
//! many credits the minute has, how many are left, and when they come back. The figures are of one user and one app, so all streams that
//! share a token share a [`Quota`].

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use reqwest::header::HeaderMap;

use crate::{
    event::{OrgName, Timestamp},
    metrics::{Metrics, QUOTA_REMAINING},
    net,
};

/// Credits come back every minute; used where an answer does not say when.
const PERIOD: Duration = Duration::from_secs(60);
/// A reset that is further away than this is a clock that is wrong, not a quota.
const RESET_MAX: Duration = Duration::from_secs(10 * 60);
/// Two resets that are this near to each other are the same one: the header has whole seconds.
const SAME_RESET: Duration = Duration::from_secs(2);

/// What a call costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Credits(pub u32);

impl Credits {
    /// Token info, boards, teams.
    pub const LEVEL_1: Self = Self(50);
    /// Audit logs, team members.
    pub const LEVEL_2: Self = Self(100);
    /// The organisation and its members.
    pub const LEVEL_3: Self = Self(500);
    /// Content logs, AI interaction logs.
    pub const LEVEL_4: Self = Self(2_000);
}

/// What one answer said about the quota.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuotaReading {
    /// Credits a minute.
    pub limit: Option<u32>,
    /// Credits that are left in this minute.
    pub remaining: Option<u32>,
    /// When they come back, by our clock.
    pub resets_at: Option<Timestamp>,
}

impl QuotaReading {
    /// Reads the headers of an answer that came at `now`.
    pub(super) fn of(headers: &HeaderMap, now: Timestamp) -> Self {
        let number = |name| headers.get(name).and_then(|value| value.to_str().ok()).and_then(|text| text.trim().parse::<u64>().ok());
        let credits = |name| number(name).map(|credits| u32::try_from(credits).unwrap_or(u32::MAX));
        Self {
            limit: credits("x-ratelimit-limit"),
            remaining: credits("x-ratelimit-remaining"),
            resets_at: number("x-ratelimit-reset").map(|reset| reset_time(reset, net::server_time(headers), now)),
        }
    }
}

/// The unit of the header is not documented: past 10^12 it is taken for milliseconds of the epoch, past 10^9 for its seconds, and below
/// for seconds from now. An instant is measured against the answer's own `Date`, so that a wrong clock of ours does not matter.
fn reset_time(reset: u64, server_time: Option<Timestamp>, now: Timestamp) -> Timestamp {
    let millis = |value: u64| Timestamp::from_millis(i64::try_from(value).unwrap_or(i64::MAX));
    let wait = match reset {
        0..=1_000_000_000 => Duration::from_secs(reset),
        1_000_000_001..=1_000_000_000_000 => millis(reset.saturating_mul(1_000)).since(server_time.unwrap_or(now)),
        _ => millis(reset).since(server_time.unwrap_or(now)),
    };
    now.plus(wait.min(RESET_MAX))
}

/// The quota of one token, shared by every stream that uses it.
#[derive(Clone)]
pub struct Quota(Arc<Mutex<State>>);

struct State {
    board: Arc<Board>,
    /// Which token of the board this is.
    member: usize,
    reading: Option<Current>,
    /// No request before the end of this: Miro has answered 429.
    blocked: Option<Span>,
    /// Credits of requests that are under way, which no reading contains yet.
    in_flight: u32,
}

/// The newest reading, made whole.
#[derive(Clone, Copy)]
struct Current {
    limit: Option<u32>,
    remaining: u32,
    /// From the reading to the time when the credits come back.
    valid: Span,
}

/// A stretch of time by our clock. Before its beginning it does not count either: then the clock was set back, and its end means nothing.
#[derive(Clone, Copy, Debug)]
struct Span {
    from: Timestamp,
    to: Timestamp,
}

impl Span {
    /// What is left of it; `None` outside of it.
    fn left(self, now: Timestamp) -> Option<Duration> {
        (self.from <= now && now < self.to).then(|| self.to.since(now))
    }
}

/// The readings of all tokens of one organisation: the metric has one number for them, the lowest.
struct Board {
    metrics: Metrics,
    org: OrgName,
    members: Mutex<HashMap<usize, Current>>,
    next: Mutex<usize>,
}

impl Quota {
    /// The quota of an organisation's first token.
    pub fn new(org: OrgName, metrics: Metrics) -> Self {
        let board = Board { metrics, org, members: Mutex::default(), next: Mutex::default() };
        Self::on(Arc::new(board))
    }

    /// The quota of another token of the same organisation.
    pub fn of_another_token(&self) -> Self {
        let board = self.state().board.clone();
        Self::on(board)
    }

    fn on(board: Arc<Board>) -> Self {
        let mut next = lock(&board.next);
        let member = *next;
        *next += 1;
        drop(next);
        Self(Arc::new(Mutex::new(State { board, member, reading: None, blocked: None, in_flight: 0 })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0)
    }

    /// How long to wait before a call of that cost, so as not to run into the limit; `None` if it may go now, which is also the answer
    /// while nothing is known.
    pub fn ready_in(&self, cost: Credits, now: Timestamp) -> Option<Duration> {
        let state = self.state();
        let blocked = state.blocked.and_then(|span| span.left(now));
        let short = state.reading.and_then(|reading| {
            let credits = reading.remaining.saturating_sub(state.in_flight);
            reading.valid.left(now).filter(|_| credits < cost.0)
        });
        blocked.max(short)
    }

    /// The newest reading.
    pub fn reading(&self) -> QuotaReading {
        self.state().reading.map_or_else(QuotaReading::default, |reading| QuotaReading {
            limit: reading.limit,
            remaining: Some(reading.remaining),
            resets_at: Some(reading.valid.to),
        })
    }

    /// Counts a request as under way until the guard is dropped.
    pub(super) fn begin(&self, cost: Credits) -> InFlight {
        let mut state = self.state();
        state.in_flight = state.in_flight.saturating_add(cost.0);
        InFlight { quota: self.clone(), cost }
    }

    /// Takes in what an answer said. Answers come out of order; within one minute the lowest reading counts.
    pub(super) fn observe(&self, reading: QuotaReading, now: Timestamp) {
        let Some(remaining) = reading.remaining else { return };
        let mut state = self.state();
        let resets_at = reading.resets_at.unwrap_or_else(|| now.plus(PERIOD));
        let new = Current { limit: reading.limit, remaining, valid: Span { from: now, to: resets_at } };
        let newest = match state.reading.filter(|old| old.valid.left(now).is_some()) {
            Some(old) => old.merged_with(new),
            None => new,
        };
        state.reading = Some(newest);
        state.board.show(state.member, newest, now);
    }

    /// Takes in that Miro has answered 429, with the wait that it dictates.
    pub(super) fn block(&self, wait: Duration, now: Timestamp) {
        let mut state = self.state();
        let longest = state.blocked.and_then(|span| span.left(now)).map_or(wait, |left| left.max(wait));
        state.blocked = Some(Span { from: now, to: now.plus(longest) });
    }
}

impl fmt::Debug for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("Quota")
            .field("remaining", &state.reading.map(|reading| reading.remaining))
            .field("resets_at", &state.reading.map(|reading| reading.valid.to))
            .field("blocked", &state.blocked)
            .field("in_flight", &state.in_flight)
            .finish()
    }
}

impl Current {
    /// Of two readings of one minute the lower one counts, of two minutes the later one.
    fn merged_with(self, new: Self) -> Self {
        let (old_reset, new_reset) = (self.valid.to, new.valid.to);
        if new_reset.since(old_reset) > SAME_RESET {
            new
        } else if old_reset.since(new_reset) > SAME_RESET {
            self
        } else {
            Self { limit: new.limit.or(self.limit), remaining: self.remaining.min(new.remaining), valid: self.valid }
        }
    }
}

impl Board {
    fn show(&self, member: usize, reading: Current, now: Timestamp) {
        let mut members = lock(&self.members);
        members.insert(member, reading);
        let lowest =
            members.values().filter(|held| held.valid.left(now).is_some()).map(|held| held.remaining).min().unwrap_or(reading.remaining);
        self.metrics.gauge(QUOTA_REMAINING, &[("org", self.org.as_str())]).set(f64::from(lowest));
    }
}

/// A request that is under way.
#[derive(Debug)]
pub(super) struct InFlight {
    quota: Quota,
    cost: Credits,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let mut state = self.quota.state();
        state.in_flight = state.in_flight.saturating_sub(self.cost.0);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is behind these locks is replaced as a whole: a panic of another holder has left nothing half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_769_851_810_000);

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    fn quota() -> Quota {
        Quota::new(OrgName::new("acme"), Metrics::new())
    }

    fn reading(remaining: u32, resets_in_secs: u64) -> QuotaReading {
        QuotaReading { limit: Some(100_000), remaining: Some(remaining), resets_at: Some(NOW.plus(secs(resets_in_secs))) }
    }

    #[track_caller]
    fn check_reset(reset: u64, server_time: Option<Timestamp>, expected: Duration) {
        assert_eq!(reset_time(reset, server_time, NOW), NOW.plus(expected), "{reset}");
    }

    #[test]
    fn a_reset_is_read_in_every_unit_and_by_miros_own_clock() {
        check_reset(30, None, secs(30));
        check_reset(1_769_851_840, None, secs(30));
        check_reset(1_769_851_840_000, None, secs(30));
        check_reset(1_769_855_440, Some(NOW.plus(secs(3_600))), secs(30));
        check_reset(1_769_851_000, None, Duration::ZERO);
        check_reset(1_869_851_840, None, RESET_MAX);
        check_reset(u64::MAX, None, RESET_MAX);
    }

    #[test]
    fn what_nothing_is_known_about_may_go() {
        assert_eq!(quota().ready_in(Credits::LEVEL_4, NOW), None);
    }

    #[test]
    fn a_call_waits_for_the_credits_that_it_costs() {
        let quota = quota();
        quota.observe(reading(2_000, 30), NOW);
        assert_eq!(quota.ready_in(Credits::LEVEL_4, NOW), None);
        let under_way = quota.begin(Credits::LEVEL_1);
        assert_eq!(quota.ready_in(Credits::LEVEL_4, NOW), Some(secs(30)));
        assert_eq!(quota.ready_in(Credits::LEVEL_2, NOW), None);
        drop(under_way);
        assert_eq!(quota.ready_in(Credits::LEVEL_4, NOW), None);
    }

    #[test]
    fn answers_out_of_order_do_not_bring_credits_back() {
        let quota = quota();
        quota.observe(reading(100, 30), NOW);
        quota.observe(reading(5_000, 31), NOW);
        assert_eq!(quota.reading(), reading(100, 30));
        assert_eq!(quota.ready_in(Credits::LEVEL_4, NOW), Some(secs(30)));
        quota.observe(reading(90_000, 90), NOW);
        assert_eq!(quota.ready_in(Credits::LEVEL_4, NOW), None, "the next minute");
        quota.observe(reading(0, 30), NOW);
        assert_eq!(quota.ready_in(Credits::LEVEL_4, NOW), None, "a late answer of the minute before");
    }

    #[test]
    fn credits_come_back_at_the_reset() {
        let quota = quota();
        quota.observe(reading(0, 30), NOW);
        assert_eq!(quota.ready_in(Credits::LEVEL_1, NOW.plus(secs(29))), Some(secs(1)));
        assert_eq!(quota.ready_in(Credits::LEVEL_1, NOW.plus(secs(30))), None);
    }

    #[test]
    fn without_a_reset_credits_come_back_after_a_minute() {
        let quota = quota();
        quota.observe(QuotaReading { remaining: Some(0), ..QuotaReading::default() }, NOW);
        assert_eq!(quota.ready_in(Credits::LEVEL_1, NOW), Some(PERIOD));
    }

    #[test]
    fn of_two_dictated_waits_the_longer_one_counts() {
        let quota = quota();
        quota.block(secs(40), NOW);
        quota.block(secs(5), NOW.plus(secs(1)));
        assert_eq!(quota.ready_in(Credits::LEVEL_1, NOW.plus(secs(1))), Some(secs(39)));
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_make_a_wait_longer() {
        let quota = quota();
        quota.observe(reading(0, 30), NOW);
        quota.block(secs(40), NOW);
        assert_eq!(quota.ready_in(Credits::LEVEL_1, NOW.minus(secs(86_400))), None);
    }
}

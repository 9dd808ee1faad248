//! Who may call now: arithmetic on readings, without a clock or a lock of its own.
//!
//! Live calls go as long as there are credits. Lower ones keep three things in mind: a reserve for live calls that fall due before the
//! credits come back, the share that the operator allows us, and an even pace, so that what is allowed lasts until then.

use std::{collections::BTreeMap, time::Duration};

use super::{
    Credits, Endpoint, QuotaReading,
    costs::Costs,
    window::{Span, Window},
};
use crate::{config::settings::QuotaShare, event::Timestamp, miro::Priority};

/// Credits come back every minute; used where an answer does not say when.
pub(super) const PERIOD: Duration = Duration::from_secs(60);
/// Miro's documented credits a minute, assumed where no answer names a limit.
const LIMIT_DOCUMENTED: u32 = 100_000;
/// The reserve for live calls is at most this part of the quota, or one call where that is more.
const RESERVE_DIVISOR: u32 = 20;
/// So far lower calls may run ahead of the even pace: a tenth of the minute, so that a short listing does not crawl.
const AHEAD_MAX: Duration = Duration::from_secs(6);
/// While it is not known what a minute holds, one call at a time finds out, and the others look again after this.
const PROBE_WAIT: Duration = Duration::from_millis(50);
/// A reset that turned out to be too early by rounding is waited for this much longer from then on.
const GRACE: Duration = Duration::from_secs(1);
/// A refusal this soon after a reset means that the reset came later than was said.
const LATE_RESET: Duration = Duration::from_secs(2);
/// After a refusal nothing is sent for at least this long.
const BLOCK_MIN: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Governor {
    share: QuotaShare,
    window: Option<Window>,
    /// No request before the end of this: Miro has answered 429.
    blocked: Option<Span>,
    /// Answers come without a word about the quota, and always did.
    silent: bool,
    /// Waits a little beyond each reset, because one of them came late.
    grace: Duration,
    calls_in_flight: u32,
    credits_in_flight: u32,
    /// Counts admissions, so that a call knows whether it was alone.
    admissions: u64,
    /// When the next lower call is due at an even pace.
    pace: Option<Timestamp>,
    /// The next live call of each stream.
    live: BTreeMap<Endpoint, Timestamp>,
    /// Since when a reconcile call waits: backfills let it go first.
    reconcile_waits: Option<Timestamp>,
    costs: Costs,
}

/// A call that was let go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Admitted {
    pub(super) endpoint: Endpoint,
    pub(super) cost: Credits,
    number: u64,
    /// What was left before it, where nothing else was under way.
    before: Option<Before>,
}

#[derive(Clone, Copy, Debug)]
struct Before {
    remaining: u32,
    resets_at: Timestamp,
}

impl Governor {
    pub(super) fn new(share: QuotaShare) -> Self {
        Self {
            share,
            window: None,
            blocked: None,
            silent: false,
            grace: Duration::ZERO,
            calls_in_flight: 0,
            credits_in_flight: 0,
            admissions: 0,
            pace: None,
            live: BTreeMap::new(),
            reconcile_waits: None,
            costs: Costs::default(),
        }
    }

    pub(super) fn window(&self) -> Option<&Window> {
        self.window.as_ref()
    }

    /// How long such a call has to wait; `None` if it may go now. It stays noted for a while who waits, so that lower calls let it go first.
    pub(super) fn ready_in(&mut self, endpoint: Endpoint, priority: Priority, now: Timestamp) -> Option<Duration> {
        let wait = self.wait(endpoint, priority, now);
        match (priority, wait) {
            (Priority::Live, Some(_)) => drop(self.live.insert(endpoint, now)),
            (Priority::Reconcile, Some(_)) => self.reconcile_waits = Some(now),
            _ => {}
        }
        wait
    }

    /// Lets a call go, or says how long it has to wait.
    pub(super) fn admit(&mut self, endpoint: Endpoint, priority: Priority, now: Timestamp) -> Result<Admitted, Duration> {
        if let Some(wait) = self.ready_in(endpoint, priority, now) {
            return Err(wait);
        }
        let cost = self.costs.of(endpoint);
        self.note_pace(cost, priority, now);
        match priority {
            // Another page may follow at once: its credits stay reserved until the next poll is announced.
            Priority::Live => drop(self.live.insert(endpoint, now)),
            Priority::Reconcile => self.reconcile_waits = None,
            Priority::Backfill => {}
        }
        let before = self
            .window
            .as_ref()
            .filter(|_| self.calls_in_flight == 0)
            .map(|window| Before { remaining: window.remaining, resets_at: window.valid.to });
        if self.silent && self.current(now).is_none() {
            self.window = Some(Window::assumed(now, PERIOD, LIMIT_DOCUMENTED));
        }
        if let Some(window) = &mut self.window {
            window.spent = window.spent.saturating_add(cost.0);
        }
        self.admissions += 1;
        self.calls_in_flight += 1;
        self.credits_in_flight = self.credits_in_flight.saturating_add(cost.0);
        Ok(Admitted { endpoint, cost, number: self.admissions, before })
    }

    /// The call is over, with an answer or without.
    pub(super) fn finish(&mut self, call: Admitted) {
        self.calls_in_flight = self.calls_in_flight.saturating_sub(1);
        self.credits_in_flight = self.credits_in_flight.saturating_sub(call.cost.0);
    }

    /// Announces when the next live call of a stream falls due.
    pub(super) fn plan_live(&mut self, endpoint: Endpoint, at: Timestamp) {
        self.live.insert(endpoint, at);
    }

    /// Takes in what the answer to a call said. Answers come out of order; within one minute the lowest reading counts.
    pub(super) fn observe(&mut self, call: Option<&Admitted>, reading: QuotaReading, now: Timestamp) {
        let Some(remaining) = reading.remaining else {
            self.silent |= self.window.as_ref().is_none_or(|window| window.is_assumed || now.since(window.valid.to) > PERIOD);
            return;
        };
        self.silent = false;
        let resets_at = reading.resets_at.unwrap_or_else(|| now.plus(PERIOD));
        let mut new = Window::read(reading.limit, remaining, Span { from: now, to: resets_at });
        // What is under way was charged to the new minute, or will be.
        new.spent = self.credits_in_flight;
        if let Some(call) = call {
            self.learn(call, &new);
        }
        match &mut self.window {
            Some(held) if !held.is_assumed && held.valid.left(now).is_some() => {
                if held.merge(new) {
                    self.begin_pace(now);
                }
            }
            Some(held) if !held.is_assumed && held.is_same_minute(&new) => held.remaining = held.remaining.min(remaining),
            _ => {
                self.window = Some(new);
                self.begin_pace(now);
            }
        }
    }

    /// Takes in that Miro has answered 429, with the wait that it dictates; returns the wait that holds.
    pub(super) fn block(&mut self, wait: Duration, now: Timestamp) -> Duration {
        if self.window.as_ref().is_some_and(|window| !window.is_assumed && window.valid.ended_within(LATE_RESET, now)) {
            self.grace = GRACE;
        }
        let wait = wait.max(BLOCK_MIN);
        let longest = self.blocked.and_then(|span| span.left(now)).map_or(wait, |left| left.max(wait));
        self.blocked = Some(Span { from: now, to: now.plus(longest) });
        wait
    }

    pub(super) fn wait(&self, endpoint: Endpoint, priority: Priority, now: Timestamp) -> Option<Duration> {
        if let Some(left) = self.blocked.and_then(|span| span.left(now)) {
            return Some(left);
        }
        let cost = self.costs.of(endpoint);
        if priority == Priority::Live {
            return self.live_wait(cost, now);
        }
        let Some((window, left)) = self.current(now) else { return self.probe_wait(now) };
        // A call that seems to cost nothing leaves the last credits alone all the same: the counter may lag.
        if self.budget(window, left, now) < cost.max(endpoint.documented()).0 {
            return Some(left);
        }
        let ahead = self.pace.map(|pace| pace.minus(AHEAD_MAX)).filter(|due| *due > now).map(|due| due.since(now));
        // A pace that lies further off than a whole minute is a clock that was set back.
        if let Some(wait) = ahead.filter(|wait| *wait <= PERIOD) {
            return Some(wait);
        }
        let gives_way = priority == Priority::Backfill
            && self.reconcile_waits.is_some_and(|since| now >= since && now.since(since) < self.patience(window, left, now));
        gives_way.then_some(PROBE_WAIT)
    }

    fn live_wait(&self, cost: Credits, now: Timestamp) -> Option<Duration> {
        let (window, left) = self.current(now)?;
        if window.is_assumed {
            return None;
        }
        (window.remaining.saturating_sub(self.credits_in_flight) < cost.0).then_some(left)
    }

    /// The minute that is running, and what is left of it. Past its end nothing is known before an answer of the next one.
    fn current(&self, now: Timestamp) -> Option<(&Window, Duration)> {
        self.window.as_ref().and_then(|window| Some((window, window.valid.left(now)?)))
    }

    /// While nothing is known of the minute, lower calls go one at a time; where answers never say anything, they just go.
    fn probe_wait(&self, now: Timestamp) -> Option<Duration> {
        if self.silent {
            return None;
        }
        let since_reset = self.window.as_ref().map(|window| now.since(window.valid.to)).filter(|since| *since < self.grace);
        since_reset.map(|since| self.grace - since).or((self.calls_in_flight > 0).then_some(PROBE_WAIT))
    }

    /// Credits that lower calls may spend until the end of the minute.
    fn budget(&self, window: &Window, left: Duration, now: Timestamp) -> u32 {
        let limit = window.limit.unwrap_or(LIMIT_DOCUMENTED);
        // What the whole quota holds is told by its readings, which know more than our own count.
        let ours = if self.share == QuotaShare::WHOLE { u32::MAX } else { self.share.of(limit).saturating_sub(window.spent) };
        if window.is_assumed {
            return ours;
        }
        let theirs = window.remaining.saturating_sub(self.credits_in_flight).saturating_sub(self.reserve(limit, left, now));
        ours.min(theirs)
    }

    /// What is kept for live calls that fall due before the credits come back, or that wait already.
    fn reserve(&self, limit: u32, left: Duration, now: Timestamp) -> u32 {
        let due = self.live.iter().filter(|(_, at)| **at <= now.plus(left) && now.since(**at) < PERIOD);
        let costs: Vec<u32> = due.map(|(endpoint, _)| self.costs.of(*endpoint).0).collect();
        let largest = costs.iter().copied().max().unwrap_or(0);
        costs.iter().fold(0_u32, |sum, cost| sum.saturating_add(*cost)).min((limit / RESERVE_DIVISOR).max(largest))
    }

    fn note_pace(&mut self, cost: Credits, priority: Priority, now: Timestamp) {
        if priority == Priority::Live {
            return;
        }
        let Some((window, left)) = self.current(now) else { return };
        let spacing = self.spacing(window, cost, left, now);
        let due = self.pace.filter(|pace| pace.since(now) <= PERIOD).map_or(now, |pace| pace.max(now));
        self.pace = Some(due.plus(spacing));
    }

    /// The time between two such calls that makes what is left last until the credits come back.
    fn spacing(&self, window: &Window, cost: Credits, left: Duration, now: Timestamp) -> Duration {
        let budget = self.budget(window, left, now).max(cost.0).max(1);
        left.mul_f64(f64::from(cost.0) / f64::from(budget))
    }

    /// How long a reconcile call that was seen waiting is let go first.
    fn patience(&self, window: &Window, left: Duration, now: Timestamp) -> Duration {
        self.spacing(window, Credits::LEVEL_4, left, now).clamp(Duration::from_millis(200), Duration::from_secs(5))
    }

    /// A new minute: what was paced for the last one does not hold it up.
    fn begin_pace(&mut self, now: Timestamp) {
        self.pace = self.pace.map(|pace| pace.min(now.plus(AHEAD_MAX)));
    }

    fn learn(&mut self, call: &Admitted, new: &Window) {
        let alone = self.calls_in_flight == 1 && call.number == self.admissions;
        let Some(before) = call.before.filter(|_| alone) else { return };
        let held = Window::read(None, before.remaining, Span { from: new.valid.from, to: before.resets_at });
        let base = if held.is_same_minute(new) { Some(before.remaining) } else { new.limit.filter(|_| new.valid.to > before.resets_at) };
        if let Some(spent) = base.and_then(|base| base.checked_sub(new.remaining)) {
            self.costs.learn(call.endpoint, spent);
        }
    }
}

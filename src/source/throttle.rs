//! How many calls a job has under way at once: more while that is of use, half as many after trouble.
//!
//! Calls wait here in turn. Whoever is first waits for the quota; so streams that share a token meet there one by one, and not with all
//! their windows.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Notify, OwnedMutexGuard},
    time::Instant,
};

use super::{
    context::{Context, Stopped},
    endure::{Pause, RETRY_INITIAL, RETRY_MAX},
};
use crate::{miro::Priority, retry::Backoff};

/// So many calls at once at most. At the slowest answers, 350 ms, six are enough for the quota of audit logs.
const CALLS_MAX: f64 = 32.0;
/// So many to begin with.
const CALLS_INITIAL: f64 = 4.0;
/// Pages that are under way at once are worth so many bytes at most, as far as earlier ones tell.
const BYTES_MAX: u64 = 64 << 20;
/// Forecasts of the quota change: they are asked for again after this.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Lets the calls of one job go.
#[derive(Debug)]
pub(super) struct Throttle {
    priority: Priority,
    turn: Arc<tokio::sync::Mutex<()>>,
    /// Told when a call has begun or ended.
    pub(super) moved: Notify,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    calls_max: f64,
    under_way: usize,
    /// Windows that sleep after a failure.
    resting: usize,
    /// The mean size of a page's events, in bytes, newer ones counting more.
    page_bytes: u64,
    last_cut: Option<Instant>,
    held_until: Option<Instant>,
    /// A person is needed: one call at a time tries whether that is still so.
    paused: bool,
    retry: Backoff,
    pause: Pause,
}

/// A call that may go now; it is under way until this is dropped.
#[derive(Debug)]
pub(super) struct Permit<'t> {
    throttle: &'t Throttle,
    began: Instant,
    was_needed: bool,
    _turn: Option<OwnedMutexGuard<()>>,
}

impl Throttle {
    pub(super) fn new(priority: Priority) -> Self {
        let state = State {
            calls_max: if priority == Priority::Backfill { CALLS_INITIAL } else { 1.0 },
            under_way: 0,
            resting: 0,
            page_bytes: 1 << 20,
            last_cut: None,
            held_until: None,
            paused: false,
            retry: Backoff::new(RETRY_INITIAL, RETRY_MAX),
            pause: Pause::new(),
        };
        Self { priority, turn: Arc::default(), moved: Notify::new(), state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many calls may be under way.
    pub(super) fn calls_max(&self) -> usize {
        self.state().calls_max()
    }

    /// How many are.
    pub(super) fn under_way(&self) -> usize {
        self.state().under_way
    }

    /// How many windows sleep after a failure.
    pub(super) fn resting(&self) -> usize {
        self.state().resting
    }

    /// Sleeps after a failure; others may take one's place meanwhile.
    pub(super) async fn rest(&self, context: &Context, wait: Duration) -> Result<(), Stopped> {
        let rest = Rest::begin(self);
        let slept = context.sleep(wait).await;
        drop(rest);
        slept
    }

    /// Waits for one's turn, for the end of what holds everything up, and for the quota.
    pub(super) async fn enter(&self, context: &Context) -> Result<Permit<'_>, Stopped> {
        let turn = tokio::select! {
            turn = self.turn.clone().lock_owned() => turn,
            () = context.stop.cancelled() => return Err(Stopped),
        };
        loop {
            let moved = self.moved.notified();
            if let Some(wait) = self.wait(context) {
                tokio::select! {
                    () = tokio::time::sleep(wait.clamp(Duration::from_millis(1), LOOK_AGAIN)) => {}
                    () = moved => {}
                    () = context.stop.cancelled() => return Err(Stopped),
                }
                continue;
            }
            let mut state = self.state();
            state.under_way += 1;
            let was_needed = state.under_way >= state.calls_max();
            // While a person is needed nobody else tries before this call has shown whether that is still so.
            let turn = state.paused.then_some(turn);
            drop(state);
            self.moved.notify_waiters();
            return Ok(Permit { throttle: self, began: Instant::now(), was_needed, _turn: turn });
        }
    }

    fn wait(&self, context: &Context) -> Option<Duration> {
        let now = Instant::now();
        {
            let state = self.state();
            if let Some(until) = state.held_until.filter(|until| *until > now) {
                return Some(until - now);
            }
            if state.under_way >= state.calls_max() {
                return Some(LOOK_AGAIN);
            }
        }
        context.parts.pages.ready_in(context.parts.clock.now(), self.priority)
    }

    /// Miro dictates a wait.
    pub(super) fn throttled(&self, wait: Duration) {
        self.hold(Instant::now() + wait);
    }

    /// A person is needed. Calls that were under way at the same time and tell the same do not make the wait longer.
    pub(super) fn pause(&self) {
        let mut state = self.state();
        let now = Instant::now();
        if !state.paused || state.held_until.is_none_or(|until| until <= now) {
            state.paused = true;
            let wait = state.pause.next_wait();
            state.held_until = Some(now + wait);
        }
    }

    fn hold(&self, until: Instant) {
        let mut state = self.state();
        state.held_until = Some(state.held_until.map_or(until, |held| held.max(until)));
    }
}

impl State {
    fn calls_max(&self) -> usize {
        let by_bytes = (BYTES_MAX / self.page_bytes.max(1)).max(1);
        (self.calls_max as usize).min(usize::try_from(by_bytes).unwrap_or(usize::MAX)).max(1)
    }
}

impl Permit<'_> {
    /// The call has brought a page of that size: one more at once is tried, where this many were of use.
    pub(super) fn succeeded(self, bytes: u64) {
        let mut state = self.throttle.state();
        state.page_bytes = (state.page_bytes * 7 + bytes) / 8;
        if self.was_needed && self.throttle.priority == Priority::Backfill {
            state.calls_max = (state.calls_max + 1.0 / state.calls_max).min(CALLS_MAX);
        }
        if std::mem::take(&mut state.paused) {
            state.held_until = None;
        }
        state.retry.reset();
        state.pause.reset();
    }

    /// The call has failed: half as many at once, once for all that were under way together. With only one left, it waits longer and longer.
    pub(super) fn failed(self) {
        let mut state = self.throttle.state();
        if state.last_cut.is_some_and(|cut| self.began < cut) {
            return;
        }
        let now = Instant::now();
        let is_last = state.calls_max < 2.0;
        state.last_cut = Some(now);
        state.calls_max = (state.calls_max / 2.0).max(1.0);
        if is_last {
            let wait = state.retry.next_wait();
            state.held_until = Some(state.held_until.map_or(now + wait, |held| held.max(now + wait)));
        }
    }
}

struct Rest<'t>(&'t Throttle);

impl<'t> Rest<'t> {
    fn begin(throttle: &'t Throttle) -> Self {
        throttle.state().resting += 1;
        throttle.moved.notify_waiters();
        Self(throttle)
    }
}

impl Drop for Rest<'_> {
    fn drop(&mut self) {
        self.0.state().resting -= 1;
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.throttle.state().under_way -= 1;
        self.throttle.moved.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permit(throttle: &Throttle, was_needed: bool) -> Permit<'_> {
        throttle.state().under_way += 1;
        Permit { throttle, began: Instant::now(), was_needed, _turn: None }
    }

    #[tokio::test(start_paused = true)]
    async fn calls_at_once_grow_while_they_are_of_use_and_halve_after_trouble() {
        let throttle = Throttle::new(Priority::Backfill);
        for _ in 0..100 {
            permit(&throttle, false).succeeded(1_000);
        }
        assert_eq!(throttle.calls_max(), 4, "what is not needed is not tried");
        for _ in 0..10_000 {
            permit(&throttle, true).succeeded(1_000);
        }
        assert_eq!(throttle.calls_max(), 32);
        let together: Vec<_> = (0..8).map(|_| permit(&throttle, true)).collect();
        tokio::time::advance(Duration::from_millis(300)).await;
        together.into_iter().for_each(Permit::failed);
        assert_eq!(throttle.calls_max(), 16, "trouble of one moment counts once");
        assert_eq!(throttle.under_way(), 0);
        for _ in 0..10 {
            tokio::time::advance(Duration::from_secs(1)).await;
            permit(&throttle, true).failed();
        }
        assert_eq!(throttle.calls_max(), 1);
        assert!(throttle.state().held_until.is_some(), "a single call waits longer and longer");
    }

    #[test]
    fn large_pages_are_asked_for_one_by_one() {
        let throttle = Throttle::new(Priority::Backfill);
        assert_eq!(throttle.calls_max(), 4);
        for _ in 0..50 {
            permit(&throttle, true).succeeded(60 << 20);
        }
        assert_eq!(throttle.calls_max(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_is_one_pause_however_many_calls_tell_of_it() {
        let throttle = Throttle::new(Priority::Backfill);
        throttle.pause();
        let until = throttle.state().held_until.expect("it waits");
        (0..20).for_each(|_| throttle.pause());
        assert_eq!(throttle.state().held_until, Some(until));
        permit(&throttle, false).succeeded(1);
        assert!(!throttle.state().paused);
    }
}

//! Miro's quota: credits per minute for each token, learned from the answers and never assumed where they say it.
//!
//! Source: the page "Rate limiting" of Miro's REST API reference. Every answer says in `X-RateLimit-Limit`, `-Remaining` and `-Reset` how
//! many credits the minute has, how many are left, and when they come back. The figures are of one user and one app, so all streams that
//! share a token share a [`Quota`].
//!
//! It is the one place where calls are let go. Live polling goes before reconcile, and that before backfill ([`Priority`]); lower calls
//! leave room for live ones, keep to the share that the operator gives us and to an even pace. A call is checked and counted under one lock:
//! whatever happens in parallel, no two calls spend the same credits.

mod costs;
mod governor;
mod reading;
mod window;

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

pub use self::{
    costs::{Credits, Endpoint},
    reading::QuotaReading,
};
use self::{
    governor::{Admitted, Governor},
    window::Window,
};
use super::Priority;
use crate::{
    config::settings::QuotaShare,
    event::{OrgName, Timestamp},
    metrics::{Metrics, QUOTA_REMAINING},
};

/// The quota of one token, shared by every stream that uses it.
#[derive(Clone)]
pub struct Quota(Arc<Mutex<State>>);

struct State {
    board: Arc<Board>,
    /// Which token of the board this is.
    member: usize,
    governor: Governor,
}

/// The readings of all tokens of one organisation: the metric has one number for them, the lowest.
struct Board {
    metrics: Metrics,
    org: OrgName,
    share: QuotaShare,
    members: Mutex<HashMap<usize, Window>>,
    next: Mutex<usize>,
}

impl Quota {
    /// The quota of an organisation's first token, of which that share is ours.
    pub fn new(org: OrgName, share: QuotaShare, metrics: Metrics) -> Self {
        let board = Board { metrics, org, share, members: Mutex::default(), next: Mutex::default() };
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
        let governor = Governor::new(board.share);
        Self(Arc::new(Mutex::new(State { board, member, governor })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0)
    }

    /// How long to wait before such a call, so as not to run into the limit; `None` if it may go now, which is also the answer to the first
    /// call while nothing is known. Whoever has to wait is noted, and lower calls let it go first.
    pub fn ready_in(&self, endpoint: Endpoint, priority: Priority, now: Timestamp) -> Option<Duration> {
        self.state().governor.ready_in(endpoint, priority, now)
    }

    /// Announces when the next live call falls due, so that lower calls leave room for it.
    pub fn plan_live(&self, endpoint: Endpoint, at: Timestamp) {
        self.state().governor.plan_live(endpoint, at);
    }

    /// The newest reading.
    pub fn reading(&self) -> QuotaReading {
        let state = self.state();
        state.governor.window().filter(|window| !window.is_assumed).map_or_else(QuotaReading::default, |window| QuotaReading {
            limit: window.limit,
            remaining: Some(window.remaining),
            resets_at: Some(window.valid.to),
        })
    }

    /// Lets a call go and counts it as under way until the guard is dropped, or says how long it has to wait.
    pub(super) fn admit(&self, endpoint: Endpoint, priority: Priority, now: Timestamp) -> Result<UnderWay, Duration> {
        let call = self.state().governor.admit(endpoint, priority, now)?;
        Ok(UnderWay { quota: self.clone(), call })
    }

    fn observe(&self, call: Option<&Admitted>, reading: QuotaReading, now: Timestamp) {
        let mut state = self.state();
        state.governor.observe(call, reading, now);
        if let Some(window) = state.governor.window().filter(|window| !window.is_assumed) {
            state.board.show(state.member, *window, now);
        }
    }

    /// Takes in that Miro has answered 429, with the wait that it dictates; returns the wait that holds, at least a second.
    pub(super) fn block(&self, wait: Duration, now: Timestamp) -> Duration {
        self.state().governor.block(wait, now)
    }
}

impl fmt::Debug for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Quota").field(&self.state().governor).finish()
    }
}

impl Board {
    fn show(&self, member: usize, reading: Window, now: Timestamp) {
        let mut members = lock(&self.members);
        members.insert(member, reading);
        let lowest =
            members.values().filter(|held| held.valid.left(now).is_some()).map(|held| held.remaining).min().unwrap_or(reading.remaining);
        self.metrics.gauge(QUOTA_REMAINING, &[("org", self.org.as_str())]).set(f64::from(lowest));
    }
}

/// A call that is under way.
#[derive(Debug)]
pub(super) struct UnderWay {
    quota: Quota,
    call: Admitted,
}

impl UnderWay {
    /// Takes in what its answer said.
    pub(super) fn answered(&self, reading: QuotaReading, now: Timestamp) {
        self.quota.observe(Some(&self.call), reading, now);
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.quota.state().governor.finish(self.call);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is behind these locks is replaced as a whole: a panic of another holder has left nothing half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;

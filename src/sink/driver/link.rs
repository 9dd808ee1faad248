//! What is known about the way to the receiver: how much it takes at once, how long to wait, and whether it takes anything at all.

use super::pending::Pending;
use crate::retry::Backoff;

/// After so many deliveries without a complaint, a larger size is tried again.
const SIZE_RETRIED_AFTER: u32 = 16;
/// A receiver that has refused so many events one after the other, and taken none between them, refuses everything: that is no fault
/// of the events, and the rest of the backlog is not to become dead letters.
pub(super) const REFUSED_IN_A_ROW_MAX: usize = 1_000;

/// Lives as long as a run, longer than a batch.
#[derive(Debug)]
pub(super) struct Link {
    /// After errors.
    pub(super) backoff: Backoff,
    /// After successes that come with a warning of full queues.
    pub(super) pace: Backoff,
    /// The receiver has refused more than this as too large, in bytes.
    bytes_cap: Option<usize>,
    /// Deliveries since the cap was last touched.
    accepted_under_cap: u32,
    /// While an event is being searched that the receiver refuses: how many are sent at once.
    events_cap: Option<usize>,
    /// Events that it has refused since it last took one.
    refused_in_a_row: usize,
}

impl Link {
    pub(super) fn new(backoff: Backoff, pace: Backoff) -> Self {
        Self { backoff, pace, bytes_cap: None, accepted_under_cap: 0, events_cap: None, refused_in_a_row: 0 }
    }

    /// How many events from the front to send now.
    pub(super) fn window(&self, pending: &Pending) -> usize {
        let fitting = self.bytes_cap.map_or(pending.len(), |cap| pending.fitting(cap));
        fitting.min(self.events_cap.unwrap_or(usize::MAX)).min(pending.len())
    }

    /// The receiver took `count` events: larger parts may be tried again.
    pub(super) fn accepted(&mut self, count: usize) {
        self.backoff.reset();
        if count > 0 {
            self.refused_in_a_row = 0;
        }
        self.events_cap = self.events_cap.map(|cap| cap.max(count).saturating_mul(2));
        self.accepted_under_cap += 1;
        if self.accepted_under_cap >= SIZE_RETRIED_AFTER {
            self.accepted_under_cap = 0;
            self.bytes_cap = self.bytes_cap.map(|cap| cap.saturating_mul(2));
        }
    }

    /// So many bytes were too many.
    pub(super) fn too_large(&mut self, bytes: usize) {
        self.bytes_cap = Some(bytes / 2);
        self.accepted_under_cap = 0;
    }

    /// Among so many events is one that the receiver refuses. Once it is found, alone, the next one may be like it: what is sent at once
    /// grows again from one event on.
    pub(super) fn refused_among(&mut self, count: usize) {
        self.events_cap = Some((count / 2).max(1));
    }

    /// So many events were refused, each by itself.
    pub(super) fn refused(&mut self, count: usize) {
        self.refused_in_a_row += count;
    }

    /// How many more it may refuse before it is taken for one that refuses everything.
    pub(super) fn refusals_left(&self) -> usize {
        REFUSED_IN_A_ROW_MAX.saturating_sub(self.refused_in_a_row)
    }

    /// A new batch is not suspected of anything.
    pub(super) fn begin_batch(&mut self) {
        self.events_cap = None;
    }
}

//! What was asked of the simulator, for tests to look at.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::faults::{Endpoint, Fault};

/// Only so many requests are remembered one by one; the counters go on.
const REMEMBERED_MAX: usize = 20_000;

/// One request and what became of it. Tokens of the simulator open nothing real, so they are kept as they came.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RequestSeen {
    /// When it arrived, by the wall clock.
    pub at: DateTime<Utc>,
    /// `GET`, `POST`, …
    pub method: String,
    /// Without the query.
    pub path: String,
    /// As it came, still percent-encoded; empty where there was none.
    pub query: String,
    /// Which operation it was.
    pub endpoint: Endpoint,
    /// The bearer token.
    pub token: Option<String>,
    /// The refresh token in the form or query of a token request.
    pub refresh_token: Option<String>,
    /// What was answered; `None` where the connection ended before a status line.
    pub status: Option<u16>,
    /// What went wrong on purpose.
    pub fault: Option<Fault>,
}

/// Requests by endpoint and status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct RequestCount {
    /// The operation.
    pub endpoint: Endpoint,
    /// `None` where the connection ended before a status line.
    pub status: Option<u16>,
    /// How many.
    pub count: u64,
}

#[derive(Debug, Default)]
pub(crate) struct RequestLog(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    latest: VecDeque<RequestSeen>,
    counts: BTreeMap<(Endpoint, Option<u16>), u64>,
}

impl RequestLog {
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn add(&self, request: RequestSeen) {
        let mut seen = self.lock();
        *seen.counts.entry((request.endpoint, request.status)).or_default() += 1;
        if seen.latest.len() == REMEMBERED_MAX {
            seen.latest.pop_front();
        }
        seen.latest.push_back(request);
    }

    pub(crate) fn latest(&self) -> Vec<RequestSeen> {
        self.lock().latest.iter().cloned().collect()
    }

    pub(crate) fn counts(&self) -> Vec<RequestCount> {
        self.lock()
            .counts
            .iter()
            .map(|((endpoint, status), count)| RequestCount { endpoint: *endpoint, status: *status, count: *count })
            .collect()
    }

    pub(crate) fn forget(&self) {
        *self.lock() = Seen::default();
    }
}

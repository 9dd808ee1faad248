//! Credits: so many a minute for each token, taken by the level of the operation.
//!
//! Miro's levels cost 50, 100, 500 and 2000 credits of 100 000 a minute. Windows follow the wall clock, as clients wait by theirs.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::Body;
use axum::http::{HeaderValue, Response};

/// What headers say where the quota is switched off.
const UNLIMITED: u32 = 100_000;

#[derive(Debug)]
pub(crate) struct Quota {
    credits: Option<u32>,
    window: Duration,
    spent: Mutex<HashMap<String, Spent>>,
}

#[derive(Clone, Copy, Debug)]
struct Spent {
    window_start: Duration,
    credits: u32,
}

/// The state of a token's credits after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) limit: u32,
    pub(crate) remaining: u32,
    /// Since 1970, by the wall clock.
    pub(crate) reset: Duration,
}

impl Quota {
    pub(crate) fn new(credits: Option<u32>, window: Duration) -> Self {
        Self { credits, window, spent: Mutex::new(HashMap::new()) }
    }

    /// Takes the cost of a request from the token's credits: the standing after it, or the standing that is too low for it.
    pub(crate) fn charge(&self, token: &str, cost: u32) -> Result<Standing, Standing> {
        let now = since_1970();
        let Some(limit) = self.credits else {
            return Ok(self.untouched(now));
        };
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = spent.entry(token.to_owned()).or_insert(Spent { window_start: now, credits: 0 });
        if now.saturating_sub(entry.window_start) >= self.window {
            *entry = Spent { window_start: now, credits: 0 };
        }
        let reset = entry.window_start + self.window;
        let remaining = limit.saturating_sub(entry.credits);
        if remaining < cost {
            return Err(Standing { limit, remaining, reset });
        }
        entry.credits += cost;
        Ok(Standing { limit, remaining: remaining - cost, reset })
    }

    /// The standing of a token that has spent nothing.
    pub(crate) fn fresh(&self) -> Standing {
        self.untouched(since_1970())
    }

    fn untouched(&self, now: Duration) -> Standing {
        let limit = self.credits.unwrap_or(UNLIMITED);
        Standing { limit, remaining: limit, reset: now + self.window }
    }
}

pub(crate) fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

impl Standing {
    /// Seconds from now until credits are back, rounded up.
    pub(crate) fn wait_secs(self) -> u64 {
        let wait = self.reset.saturating_sub(since_1970());
        wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
    }

    pub(crate) fn put_headers(self, response: &mut Response<Body>) {
        let headers = response.headers_mut();
        let reset = self.reset.as_secs() + u64::from(self.reset.subsec_nanos() > 0);
        headers.insert("x-ratelimit-limit", HeaderValue::from(self.limit));
        headers.insert("x-ratelimit-remaining", HeaderValue::from(self.remaining));
        headers.insert("x-ratelimit-reset", HeaderValue::from(reset));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credits_are_per_token_and_come_back_with_the_window() {
        let quota = Quota::new(Some(300), Duration::from_millis(40));
        assert_eq!(quota.charge("a", 100).map(|standing| standing.remaining), Ok(200));
        assert_eq!(quota.charge("a", 200).map(|standing| standing.remaining), Ok(0));
        assert!(quota.charge("a", 1).is_err());
        assert!(quota.charge("b", 300).is_ok());
        std::thread::sleep(Duration::from_millis(50));
        assert!(quota.charge("a", 300).is_ok());
    }
}

//! Access tokens: issued by Entra and the managed identity, checked by the ingestion.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Tokens remembered at once. A sender that asks for this many does not cache.
const TOKENS_MAX: usize = 10_000;

#[derive(Debug)]
pub(super) struct Tokens {
    lifetime: Duration,
    expiries: Mutex<HashMap<String, Instant>>,
}

impl Tokens {
    pub(super) fn new(lifetime: Duration) -> Self {
        Self { lifetime, expiries: Mutex::default() }
    }

    pub(super) fn lifetime(&self) -> Duration {
        self.lifetime
    }

    /// A new token; none when too many are about.
    pub(super) fn issue(&self) -> Option<String> {
        let token = format!("eyJ0eXAi.{:032x}", rand::random::<u128>());
        let now = Instant::now();
        let mut expiries = self.expiries();
        expiries.retain(|_, expiry| *expiry > now);
        if expiries.len() >= TOKENS_MAX {
            return None;
        }
        expiries.insert(token.clone(), now + self.lifetime);
        Some(token)
    }

    pub(super) fn is_valid(&self, token: &str) -> bool {
        self.expiries().get(token).is_some_and(|expiry| *expiry > Instant::now())
    }

    pub(super) fn revoke_all(&self) {
        self.expiries().clear();
    }

    fn expiries(&self) -> MutexGuard<'_, HashMap<String, Instant>> {
        self.expiries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

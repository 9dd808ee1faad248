//! Raw counters.

use std::sync::atomic::{AtomicU64, Ordering};

/// Raw counters of a receiver. Relaxed: each is exact, but they are not read at one instant.
#[derive(Debug, Default)]
pub struct Counters {
    pub(crate) connections: AtomicU64,
    pub(crate) requests: AtomicU64,
    pub(crate) body_bytes: AtomicU64,
    pub(crate) gzip_bytes: AtomicU64,
    pub(crate) plain_bytes: AtomicU64,
    pub(crate) events: AtomicU64,
    pub(crate) faults: AtomicU64,
}

/// The counters at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Counts {
    pub connections: u64,
    /// Requests whose head was read.
    pub requests: u64,
    /// Body bytes as sent.
    pub body_bytes: u64,
    /// Body bytes as sent, of the bodies that were compressed with gzip.
    pub gzip_bytes: u64,
    /// Body bytes after decompression.
    pub plain_bytes: u64,
    /// Events taken, repeats included.
    pub events: u64,
    /// Requests that met a scripted fault.
    pub faults: u64,
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64, amount: u64) {
        counter.fetch_add(amount, Ordering::Relaxed);
    }

    pub fn read(&self) -> Counts {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            connections: get(&self.connections),
            requests: get(&self.requests),
            body_bytes: get(&self.body_bytes),
            gzip_bytes: get(&self.gzip_bytes),
            plain_bytes: get(&self.plain_bytes),
            events: get(&self.events),
            faults: get(&self.faults),
        }
    }
}

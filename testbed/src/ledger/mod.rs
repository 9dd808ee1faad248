//! What a receiver took: which event, how often, and the exact bytes.
//!
//! Made for a million events: an event costs its id, a SHA-256 and about fifty bytes. Ids are found through the first 16 bytes of
//! their SHA-256, and are kept in the order in which they arrived first.

mod book;
mod counters;
mod digest;
mod store;

use std::{borrow::Cow, time::Duration};

pub use counters::{Counters, Counts};
pub use digest::Digest;
pub use store::Ledger;

/// How much of an event a ledger keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Keep {
    #[default]
    Digests,
    /// The bytes of every event's first arrival too; for tests with few events.
    Bytes,
}

/// One event as a receiver found it in a request.
#[derive(Debug)]
pub struct Record<'a> {
    /// The event's own id; an event without one is filed under the hex of its digest.
    pub id: Option<Cow<'a, str>>,
    /// The exact bytes of the event.
    pub bytes: &'a [u8],
    /// What surrounded the event: the whole HEC envelope, the row as a table stores it. Only read under [`Keep::Bytes`].
    pub context: Cow<'a, [u8]>,
}

/// The first arrival of an event, kept under [`Keep::Bytes`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    pub bytes: Vec<u8>,
    pub context: Vec<u8>,
}

/// One line of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub id: String,
    pub times_seen: u32,
    /// Of the first arrival.
    pub digest: Digest,
    /// Later arrivals whose bytes differed from the first.
    pub times_altered: u32,
}

/// How a ledger differs from what was expected. Empty lists: every event, each once, byte for byte.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Difference {
    pub missing: Vec<String>,
    pub unexpected: Vec<String>,
    pub altered: Vec<String>,
    pub repeated: Vec<String>,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the receiver took {got} of {wanted} events within {waited:?}")]
pub struct TooFew {
    pub wanted: usize,
    pub got: usize,
    pub waited: Duration,
}

/// The ledger in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Totals {
    /// Different events.
    pub distinct: usize,
    /// Events that were taken more than once.
    pub repeated: usize,
    /// Events that came again with other bytes.
    pub altered: usize,
}

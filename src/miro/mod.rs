//! Miro's REST API and nothing else: requests, authorisation, quota, wire format, errors.
//!
//! ```text
//!                    LogClient ── Pages::page ──► one page of one log
//!                        │
//!           LogKind      │     path, parameter names, time field, costs: what differs between the logs
//!           Api ─────────┤     one authorised GET: token, one refresh after a 401, quota, metrics
//!           TokenSource ─┤     a token that stays, or a grant that is refreshed and kept on disk
//!           Quota ───────┤     credits of one token, learned from the answers
//!           decode ──────┘     the page object; every record as the bytes that Miro sent
//! ```
//!
//! It promises:
//! - One call of [`Pages::page`] is one page. It neither sleeps nor retries, except once with another token after a 401.
//! - Each event is a slice of the answer's body: what leaves is what Miro sent, byte for byte. A record whose id or time cannot be
//!   read is kept and marked, never dropped; an answer that is no page is an error, never an empty page.
//! - Each error has a class, which decides what the caller does, and a sentence, which tells the operator what failed, why, and
//!   the mend. Neither a token nor a cursor, a query or an event is ever part of one.
//! - Calls draw on one quota for each token, by priority: live polling before reconcile before backfill. One that the quota does not let go
//!   is refused before anything is sent, with the wait that it takes ([`MiroError::is_held`]).
//! - A refresh token is used once. The pair that replaces it is on disk, synced, before it is used.
//!
//! It does not plan windows, wait, drop repeats or remember where it was: that is the collector's part. It knows no event names.
//!
//! After a crash there is nothing to mend but a refresh that was under way: a marker on disk tells that it is unknown whether Miro
//! took the refresh token in, see [`auth`].

use std::{fmt, fmt::Debug, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};

pub use client::LogClient;
pub use connection::Connection;
pub use error::{MiroClass, MiroError};
pub use kind::LogKind;
pub use limits::Limits;
pub use org::{OrgId, TokenInfo, token_info};
pub use org_api::{OrgApi, OrgParts, SetupError};
pub use quota::{Credits, Endpoint, Quota, QuotaReading};

use crate::event::{RawEvent, TimeRange, Timestamp};

pub mod auth;

mod api;
mod client;
mod connection;
mod decode;
mod error;
mod kind;
mod limits;
mod org;
mod org_api;
mod quota;
mod refusal;
mod sentence;

pub(crate) use decode::fuzz as fuzz_page;

/// Miro's opaque paging token inside a window. It means nothing outside of the window, stream and page size that it came from.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cursor(Arc<str>);

impl Cursor {
    /// Takes a cursor as Miro wrote it.
    pub fn new(cursor: &str) -> Self {
        Self(Arc::from(cursor))
    }

    /// As Miro wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Debug for Cursor {
    /// Only its size: a cursor belongs into requests and state, not into logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cursor({} bytes)", self.0.len())
    }
}

/// Whose call it is: what goes first where Miro's quota does not suffice for all. The greater goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// Time of the past that was never collected.
    Backfill,
    /// Collected time that is listed once more.
    Reconcile,
    /// The newest time; neither paced nor held to a share.
    Live,
}

/// Which page is wanted.
#[derive(Clone, Copy, Debug)]
pub struct PageRequest<'a> {
    /// The window, by the time that the log is filtered on. Where Miro takes whole seconds or milliseconds, it is widened to them.
    pub window: TimeRange,
    /// Where in the window; `None` for its first page.
    pub cursor: Option<&'a Cursor>,
    /// How many events at most; held within what Miro documents for the log.
    pub limit: u32,
    /// Whose call it is.
    pub priority: Priority,
}

/// One page of a log.
#[derive(Clone, Debug)]
pub struct Page {
    /// Its records in Miro's order, each as Miro sent it.
    pub events: Vec<RawEvent>,
    /// Where the next page begins; `None` on the last page of the window.
    pub next: Option<Cursor>,
    /// What the answer said about the quota.
    pub quota: QuotaReading,
    /// When Miro answered, by its own clock (the `Date` header).
    pub server_time: Option<Timestamp>,
}

/// One log of one organisation, page by page.
pub trait Pages: Send + Sync + Debug {
    /// Fetches one page. Dropping the future loses nothing.
    ///
    /// # Errors
    /// Whatever kept the page from coming; [`MiroError::class`] says what to do about it.
    fn page<'a>(&'a self, request: PageRequest<'a>) -> BoxFuture<'a, Result<Page, MiroError>>;

    /// How long to wait before the next page of that priority, so as not to run into the quota; `None` where there is room. The wait is a
    /// forecast: what others of the token do meanwhile changes it, so whoever waits long asks again in between.
    fn ready_in(&self, now: Timestamp, priority: Priority) -> Option<Duration>;

    /// Announces when the next live page will be asked for, so that lower priorities leave room for it.
    fn plan_live(&self, _at: Timestamp) {}

    /// What is known of the quota.
    fn quota(&self) -> QuotaReading;

    /// When the access token expires, where it does and is known.
    fn token_expires_at(&self) -> Option<Timestamp>;

    /// When a person has to authorise the app again, unless its token is refreshed before; `None` where that is never needed or not known.
    fn grant_expires_at(&self) -> Option<Timestamp> {
        None
    }
}

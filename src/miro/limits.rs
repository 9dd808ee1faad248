//! How much and how long: the bounds of one request.

use std::time::Duration;

/// The bounds of one request to Miro.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest body of an answer, in bytes.
    pub body_bytes_max: u64,
    /// From the request's beginning to the body's end.
    pub total: Duration,
    /// Between two pieces of the body.
    pub stall: Duration,
}

impl Default for Limits {
    /// 64 MiB: a page of 500 audit events has half a MiB; one of 1 000 content entries with 64 KiB of state each just fits.
    /// 120 s: a page that large over 5 Mbit/s. 30 s: longer than any hiccup that a connection survives.
    fn default() -> Self {
        Self { body_bytes_max: 64 * 1024 * 1024, total: Duration::from_secs(120), stall: Duration::from_secs(30) }
    }
}

//! Stand-ins for receivers that cannot be installed on a test machine, with their quirks.
//!
//! ```text
//!   sender ──► port ──► http (one request) ──► faults ──► hec | azure | sumo | elastic | otlp | lookalikes ──► ledger
//!                └────► syslog, relp (scripted connections) ─────────────────────────► ledger
//! ```
//!
//! What it promises: a receiver answers as the real one does, including the answers that mislead (a 204 for data that is thrown
//! away, a 400 that took half of the batch, an acknowledgement that can be read once), and its [`ledger`] says exactly which
//! bytes it took, how often and in which order. Rules come from vendor pages and published measurements; where a stand-in is
//! stricter than what is known, its documentation says so.
//!
//! What it does not do: index, search, check schemas beyond the rules named, or survive a restart. Everything is in memory.

#![forbid(unsafe_code)]

mod accept;
pub mod azure;
pub mod ca;
pub mod control;
pub mod elastic;
pub mod faults;
pub mod hec;
pub mod http;
mod json;
pub mod ledger;
pub mod lookalikes;
pub mod otlp;
mod port;
pub mod relp;
mod running;
pub mod sumo;
mod switch;
pub mod syslog;
mod wire;

pub use running::{Running, StartError};

//! # miro-siem
//!
//! Brings every Miro log event into a SIEM. One promise: every event that Miro makes visible within its retention reaches every
//! sink, or the gap is named. At least once, with a stable event id everywhere; never silently lost, never silently stopped.
//!
//! ```text
//! Miro REST ─► source ─────────────► journal ───────────► transform ───────► sink driver ─► receiver
//! client,      plans windows:        one transaction:     filter, format     batch, retry,
//! auth, quota  live polling,         events + coverage                       ack, dead
//!              dedupes               + seen ids                              letters
//! ```
//!
//! The modules, in the order in which an event meets them; below them, what all of them use. ARCHITECTURE.md has the invariants.

#![forbid(unsafe_code)]

pub mod miro;

pub mod source;

pub mod journal;

pub mod forwarder;

pub mod transform;

pub mod sink;

pub mod pipeline;

pub mod admin;

pub mod cli;

pub mod config;

pub mod attest;
pub mod clock;
pub mod coverage;
pub mod event;
#[doc(hidden)]
pub mod fuzzing;
pub mod health;
pub mod metrics;
pub mod net;
pub mod retry;

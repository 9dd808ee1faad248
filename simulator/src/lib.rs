//! A faithful Miro REST API over HTTP, with a deterministic organisation behind it and faults to order.
//!
//! ```text
//!   seed ─► organisation ─► timeline: when ─┐
//!                │                          ├─► api: listing, page ─► faults ─► wire
//!                └───────► render: what ────┘          │
//!                                                    truth: what was visible when
//! ```
//!
//! It promises: with equal seed, `now` and sizes, equal bytes; a listing shows exactly the events of its window that are visible at
//! that moment; [`Simulator::truth`] knows every one of them. It keeps nothing on disk: after a crash or a stop the same configuration
//! gives the same history, without injected events, refreshed tokens and changed members.
//!
//! What is Miro's documented behaviour and what is invented is said in the crate's README.

#![forbid(unsafe_code)]

mod api;
mod auth;
mod clock;
mod config;
mod control;
mod faults;
mod mix;
mod org;
mod render;
mod requests;
mod server;
mod simulator;
mod timeline;
mod truth;

pub use auth::{AuthConfig, OAuthApp, SCOPE_AI, SCOPE_AUDIT, SCOPE_CONTENT, SCOPE_ORG, StaticToken};
pub use clock::SimClock;
pub use config::{BeyondRetention, DAY, LastPage, LiveMode, RetryAfter, SimConfig, Stream, UnknownStream};
pub use faults::{Endpoint, Fault, FaultOrder, FaultPlan};
pub use org::{AdminRole, Member};
pub use requests::{RequestCount, RequestSeen};
pub use server::Running;
pub use simulator::Simulator;
pub use truth::{TruthEvent, TruthIter};

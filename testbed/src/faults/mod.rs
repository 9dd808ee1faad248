//! Faults to order: what a receiver takes of a request, and what the sender gets to see of it, chosen apart.
//!
//! A fault is a pair: [`Take`] says what is ingested, [`Then`] what happens on the wire. A lost answer is `(All, Reset)`, a silent
//! loss is `(Nothing, Usual)`, a time-out in the middle is `(Half, Answer(408))`. A [`Rule`] says when a fault happens. The first
//! rule that applies to a request wins; rules are asked in the order in which they were added.

mod fault;
mod rules;
mod written;

pub use fault::{Answer, Fault, RetryAfter, Take, Then};
pub use rules::{Faults, Rule};
pub use written::{BadRule, parse_rules};

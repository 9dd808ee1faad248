//! The whole program, as a child process, between a simulated Miro and receivers: what goes in has to come out.

#![allow(clippy::print_stdout, reason = "the counts are part of what the tests show")]

mod admin;
mod ai;
mod attest;
mod backfill;
mod cli;
mod complete;
mod daemon;
mod gaps;
mod outage;
mod receivers;
mod redelivery;
mod rsyslog;
mod secrets;
mod tokens;
mod world;

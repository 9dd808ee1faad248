//! Assembly: journal, sources, sinks and admin endpoint put together from the settings, kept running, and stopped in order.
//!
//! # What it promises
//!
//! Every stream and every sink is supervised: one that fails or panics is started again after a wait that grows, and shows on the health board.
//! A stop is a drain: collection ends first, then what is collected is delivered, up to a deadline; what remains is in the
//! journal and goes out at the next start.
//!
//! # What it does not do
//!
//! It moves no event itself.

mod alone;
mod assembly;
mod backfills;
mod gaps;
mod observe;
mod redeliver;
mod routes;
mod run;
mod signals;
mod supervise;
mod tail;

pub use alone::Alone;
pub use assembly::{AssemblyError, ReadySink};
pub use gaps::{Missing, Polled};
pub use observe::Observer;
pub use redeliver::Redeliver;
pub use run::{Outcome, Parts, RunError, Running, attest_rules, journal_options, run, start};
pub use signals::{Signals, Stop};

//! Collection: which time of a stream is asked for, in which order, and when.
//!
//! ```text
//!               ┌─ live       the newest time, at each interval, before everything else
//! Collector ────┼─ reconcile  collected time once more, an hour, a day and a week later: what turned up late
//! one a stream  └─ backfill   the past, wherever it is missing or was asked for: newest first, several windows at once
//!
//!   Context     what the three share: Miro, journal, clock, counters, board
//!   Walk        one window, page by page: what each page proves to be collected
//!   Throttle    how many calls a job has under way
//! ```
//!
//! # What it promises
//!
//! 1. Everything that Miro lists for a stream between its start and now is committed to the journal once, or the time that was
//!    not asked for is a hole in the stream's coverage. Holes are filled, newest first, as long as Miro's log reaches there.
//! 2. Live events do not wait for the past: neither after a first start with a past, nor after an absence, nor for the quota.
//! 3. Live windows overlap: each begins `overlap` before the newest covered instant. What became visible later than that is found when the time is
//!    listed again, after each delay of `reconcile`. Ids that were committed before are left out by the journal.
//! 4. A stop, a crash or an error in mid-window costs at most the listing of a page or of the overlap again: each page is committed with the
//!    time that it proves to be collected, and what is missing is what is asked for next.
//! 5. A cursor that is refused or that repeats restarts the window from what is committed, and cannot loop. A window that fails for good
//!    is set aside, tried again later and later, and named on the board; others go on.
//! 6. Streams are apart: one that waits, backs off or is paused holds up no other.
//!
//! # What it does not do
//!
//! It does not know the HTTP API (that is `miro`), keeps no files of its own (the journal does), and does not know sinks.
//!
//! # On a crash
//!
//! Nothing to do: the coverage in the journal is the checkpoint. Frontiers of reconcile and requested backfills are in the journal's
//! small state.

mod aside;
mod backfill;
mod collector;
mod context;
mod density;
mod endure;
pub mod gaps;
mod live;
mod plan;
mod reconcile;
mod requests;
mod throttle;
mod walk;
mod wanted;
mod window;

pub use collector::Collector;
pub use context::CollectorParts;
pub use plan::{Plan, Planner, SPAN_MAX};
pub use reconcile::piece;
pub use requests::{BackfillId, BackfillProgress, BackfillRequests, BackfillState, RequestError};

#[cfg(test)]
mod tests;

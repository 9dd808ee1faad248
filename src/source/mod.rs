//! Collection: which time of a stream is asked for, in which order, and when.
//!
//! # What it promises
//!
//! 1. Everything that Miro lists for a stream between its start and now is committed to the journal once, or the time that was
//!    not asked for is a hole in the stream's coverage.
//! 2. Windows overlap: each begins `overlap` before the watermark, so that what became visible late is still found. Ids that
//!    were committed before are left out by the journal.
//! 3. A stop, a crash or an error in mid-window costs at most the listing of the overlap again: each page is committed with the
//!    time that it proves to be collected, and the next window begins there.
//! 4. A cursor that is refused or that repeats restarts the window from what is committed, and cannot loop: restarts without
//!    progress wait longer and longer, and make the window smaller.
//! 5. Streams are apart: one that waits, backs off or is paused holds up no other.
//!
//! # What it does not do
//!
//! It does not know the HTTP API (that is `miro`), keeps no state of its own on disk (the journal does), and does not know sinks.
//!
//! # On a crash
//!
//! Nothing to do: the coverage in the journal is the checkpoint.

pub mod gaps;
mod plan;
mod poller;
mod walk;

pub use plan::{Plan, Planner, SPAN_MAX};
pub use poller::{Poller, PollerParts};

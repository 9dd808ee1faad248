//! Gaps: time of a stream that should have been collected and was not, and what became of it.
//!
//! # Words
//!
//! Of the time between a stream's beginning and now, what is not covered is
//!
//! - **lost** where it lies past Miro's retention: it cannot be collected any more;
//! - **open** where it is overdue: its oldest instant has been waiting for three poll intervals (or a quarter of the retention, where that is
//!   less). That is so for a hole between covered ranges as for the stretch up to now, which nobody has collected for so long;
//! - **pending** otherwise: it is being collected. History from before the stream began to be polled, which the first backfill has not reached
//!   yet, is pending for as long as the backfill gets on; it is open where that has not covered anything more for as long, and where a part
//!   of it has been lost already.
//!
//! The stretch up to now that is younger than that is neither: that is lag.
//!
//! A **gap** is one such absence over its whole life. It is known by its first instant when it was found, and when that was: it stays the same
//! gap while it grows, shrinks or is filled in pieces. Each ends once: closed, where all of it was collected, or lost, where a part of it
//! never can be and the rest is collected.
//!
//! | event | when |
//! |---|---|
//! | `miro_siem.gap_opened` | it was found |
//! | `miro_siem.gap_warning` | its oldest missing instant is 50, 75 or 90 % of the way to the end of Miro's retention; each once, only the highest |
//! | `miro_siem.gap_partly_lost` | its oldest part has been lost, the rest can still be collected |
//! | `miro_siem.gap_closed` | everything in it is collected |
//! | `miro_siem.gap_lost` | nothing in it can be collected any more, and something was not |
//!
//! # What it promises
//!
//! 1. What is open and lost follows from coverage and the time alone ([`Outline`]): metrics and status are never behind the ledger.
//! 2. Each of those events is in the journal exactly once, in order, whatever happens in between: a ledger with the changes that it is about to
//!    say is durable first, then the events are, under ids that follow from the gap, then the ledger that has said them.
//! 3. It works while Miro is down: it asks nobody.
//! 4. The ledger is bounded: 100 gaps at once (further ones join their neighbours), 300 that have ended, for 90 days.
//!
//! # What it does not do
//!
//! It collects nothing: the poller does. It does not decide what is collected next.
//!
//! # On a crash
//!
//! The ledger is read from the journal's small state, and what it was about to say is said: what was said already is known by its id and time,
//! and dropped by the journal.

mod heartbeat;
mod keeper;
mod ledger;
mod notice;
mod outline;
mod record;

pub use keeper::{Keeper, KeeperParts, live_since, outlook};
pub use ledger::{Change, ChangeKind, End, Ended, Gap, Ledger};
pub use outline::{History, Outline, View};
pub use record::RecordError;

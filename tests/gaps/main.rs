//! Events of our own and the gap ledger, on a real journal.

mod crash;
mod forwarder;
mod memory;
mod outage;
mod support;

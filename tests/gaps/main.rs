//! Events of our own and the gap ledger, on a real journal.

mod forwarder;
mod support;

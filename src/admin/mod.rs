//! The admin endpoint: health, metrics, status and a page for people.
//!
//! Read only. Loopback by default; on any other address every path asks for the token. It answers from the health board, the
//! journal and the metrics, never from Miro or a receiver, so that a scrape costs nothing and cannot hang.

mod page;
mod server;
pub mod status;

pub use server::{AdminParts, bind, serve};

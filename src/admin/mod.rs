//! The admin endpoint: health, metrics, status and a page for people, and the changes that a person asks for.
//!
//! # What it promises
//!
//! The same answers at a TCP address, on loopback unless configured otherwise, and at a unix socket for the service's own user, which is what
//! the commands use. What is asked about the state is answered from memory, never from Miro or a receiver, so that a scrape costs nothing
//! and cannot hang. Who may do what is said in `guard.rs`: in short, changes and events need the token or the socket, and no web page of
//! another origin gets anything. Every change is logged with who has asked for it. No answer holds a secret.
//!
//! A client that is slow, silent or hostile holds up nobody: each wait and each size has a limit (`listen.rs`).
//!
//! # What it does not do
//!
//! It changes nothing by itself: it hands what is asked for to the parts of [`Control`].
//!
//! # On a crash
//!
//! Nothing to do: it keeps no state. The socket's file that is left is replaced at the next start.

mod api;
mod certificate;
pub mod control;
mod guard;
mod listen;
mod page;
mod patience;
mod proof;
mod redeliveries;
mod server;
mod socket;
pub mod status;

pub use api::{BackfillBody, EventsQuery, LogLevelBody, TAIL_END};
pub use control::Control;
pub use listen::{BindError, Listeners};
pub use proof::{AttestQuery, IdsQuery, NAMES_MAX, NamedId, NamesBody};
pub use redeliveries::{Dropped, ReplayBody};
pub use server::{AdminParts, serve};
pub use socket::SocketError;

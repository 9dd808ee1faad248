//! The client of Miro's API against servers that answer to the byte what a test tells them to.

mod client;
mod errors;
mod grants;
mod killed;
mod oauth;
mod org;
mod quota;
mod secrets;
mod server;
mod transport;

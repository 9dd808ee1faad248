//! The admin endpoint over real sockets: who gets what, and that nobody can hold it.

mod hostile;
mod rules;
mod support;
mod tls;

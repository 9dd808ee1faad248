//! A syslog receiver that follows a script: octet counting over TCP (RFC 6587 section 3.4.1) and TLS (RFC 5425), and UDP (RFC 5426).
//!
//! It is for what a real syslog daemon cannot be told to do: reset in the middle of a frame, stop reading, close after so many
//! messages. It is also a strict reader: a frame that is not counted as the RFCs say, or a message that is not RFC 5424, is a
//! violation that a test can ask for.
//!
//! The ledger files the MSG part of a message, under its `id` when it is a JSON object that has one; what is not RFC 5424 is filed
//! whole.
//!
//! What it does not do: frames that end with a line feed, RFC 3164, RELP.

mod frames;
mod receiver;
pub mod rfc5424;

use std::{net::SocketAddr, sync::Arc};

use rustls::ServerConfig;

pub use receiver::Syslog;

use crate::ledger::Keep;

/// How messages travel.
#[derive(Debug, Clone)]
pub enum Transport {
    /// One message a datagram.
    Udp,
    Tcp,
    /// With [`crate::ca::ClientCertificates::Required`] a sender has to show a certificate.
    Tls(Arc<ServerConfig>),
}

/// What one connection meets. UDP has no connections and always takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Behaviour {
    #[default]
    Take,
    /// Closes in order after this many messages; what came later is lost.
    CloseAfter { messages: usize },
    /// Takes this many messages, reads so many bytes of the next frame, its count included, and resets.
    ResetWithin { messages: usize, bytes: usize },
    /// Takes this many messages, then stops reading until [`Syslog::resume`].
    StallAfter { messages: usize },
    /// Resets at once, before any TLS handshake.
    Refuse,
}

/// What the receiver is set up with.
#[derive(Debug, Clone)]
pub struct SyslogConfig {
    pub listen: SocketAddr,
    pub transport: Transport,
    pub keep: Keep,
    /// A longer message is a violation and ends the connection.
    pub message_bytes_max: usize,
    /// The kernel's buffer for what was not read yet. None leaves it to the kernel, which may take megabytes from a sender before it
    /// notices a stall.
    pub receive_buffer_bytes: Option<u32>,
}

impl SyslogConfig {
    pub fn new(transport: Transport) -> Self {
        Self {
            listen: ([127, 0, 0, 1], 0).into(),
            transport,
            keep: Keep::default(),
            message_bytes_max: 1 << 20,
            receive_buffer_bytes: None,
        }
    }
}

//! A connection for plain syslog over TCP or TLS, and everything that a protocol without answers can be made to tell.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::io::AsyncWriteExt;

use super::{
    send_queue,
    target::Target,
    wire::{self, REFUSED_IN_SILENCE, Seen, Wire},
};
use crate::sink::{ErrorClass, SinkError};

/// With TLS 1.3 a refused client certificate shows only after the handshake, when the receiver's alert arrives.
const REFUSAL_WAIT: Duration = Duration::from_millis(200);
/// How long to look whether the peer has closed: enough for the runtime to take notice of what has arrived already.
const GLANCE: Duration = Duration::from_millis(1);
/// Once everything is confirmed, how long the connection must stay open: a receiver that is going down closes it about now.
const GRACE: Duration = Duration::from_millis(20);
/// How often to look whether the peer's kernel has confirmed everything; the driver's timeout ends it.
const QUEUE_WAITS_MS: [u64; 7] = [1, 2, 5, 10, 20, 50, 100];

/// An open connection.
#[derive(Debug)]
pub(super) struct Connection {
    wire: Wire,
    local: SocketAddr,
    peer: SocketAddr,
}

impl Connection {
    /// Opens a connection, with TLS if there is a configuration for it.
    pub(super) async fn open(target: &Target, tls: Option<&Arc<rustls::ClientConfig>>) -> Result<Self, SinkError> {
        let mut wire = Wire::open(target, tls).await?;
        let (local, peer) = wire.addresses().map_err(|error| {
            SinkError::new(ErrorClass::Retryable, format!("failed to connect to {target}: {error}; it closed the connection at once"))
        })?;
        if let Wire::Tls(_) = wire {
            match wire.look(REFUSAL_WAIT).await {
                Seen::Open => {}
                Seen::Closed => {
                    let message =
                        format!("failed to open TLS to {target}: it closed the connection after the handshake; {REFUSED_IN_SILENCE}");
                    return Err(SinkError::new(ErrorClass::Retryable, message));
                }
                Seen::Failed(error) => return Err(wire::tls_fault(target, &error)),
            }
        }
        Ok(Self { wire, local, peer })
    }

    /// Whether the peer still holds the connection, as far as is known here.
    pub(super) async fn is_open(&mut self) -> bool {
        matches!(self.wire.look(GLANCE).await, Seen::Open)
    }

    /// Writes everything and waits until the peer's kernel has confirmed all of it, where this machine can tell. Leaves the connection
    /// in an unknown state if it fails or is dropped: do not use it again then.
    pub(super) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.wire.write_all(bytes).await?;
        self.wire.flush().await?;
        for wait in QUEUE_WAITS_MS.into_iter().chain(std::iter::repeat(100)) {
            self.stays_open(Duration::from_millis(wait)).await?;
            if send_queue::unconfirmed_bytes(self.local, self.peer).unwrap_or(0) == 0 {
                break;
            }
        }
        self.stays_open(GRACE).await
    }

    /// A syslog receiver sends nothing: what can be read is the end, an error, or noise.
    async fn stays_open(&mut self, wait: Duration) -> io::Result<()> {
        match self.wire.look(wait).await {
            Seen::Open => Ok(()),
            Seen::Closed => Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the receiver closed the connection")),
            Seen::Failed(error) => Err(error),
        }
    }

    /// Says goodbye where the protocol has a word for it (RFC 5425 section 4.4: close_notify).
    pub(super) async fn close(mut self) {
        // The peer may be gone already; there is nobody to tell.
        let _ = self.wire.shutdown().await;
    }
}

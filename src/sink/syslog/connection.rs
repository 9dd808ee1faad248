//! A connection over TCP or TLS, and everything that a protocol without answers can be made to tell.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{send_queue, target::Target};
use crate::sink::{ErrorClass, SinkError};

/// A connection that takes longer than this to open is not going to.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// With TLS 1.3 a refused client certificate shows only after the handshake, when the receiver's alert arrives.
const REFUSAL_WAIT: Duration = Duration::from_millis(200);
/// How long to look whether the peer has closed: enough for the runtime to take notice of what has arrived already.
const GLANCE: Duration = Duration::from_millis(1);
const REFUSED_IN_SILENCE: &str = "if the receiver wants a client certificate, check tls.cert_file, tls.key_file and what it accepts";
/// Once everything is confirmed, how long the connection must stay open: a receiver that is going down closes it about now.
const GRACE: Duration = Duration::from_millis(20);
/// How often to look whether the peer's kernel has confirmed everything; the driver's timeout ends it.
const QUEUE_WAITS_MS: [u64; 7] = [1, 2, 5, 10, 20, 50, 100];

/// An open connection.
#[derive(Debug)]
pub(super) struct Connection {
    io: Io,
    local: SocketAddr,
    peer: SocketAddr,
}

#[derive(Debug)]
enum Io {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Connection {
    /// Opens a connection, with TLS if there is a configuration for it.
    pub(super) async fn open(target: &Target, tls: Option<&Arc<rustls::ClientConfig>>) -> Result<Self, SinkError> {
        match tokio::time::timeout(CONNECT_TIMEOUT, Self::connect(target, tls)).await {
            Ok(opened) => opened,
            Err(_) => {
                let message = format!("failed to connect to {target}: no answer within {} s", CONNECT_TIMEOUT.as_secs());
                Err(SinkError::new(ErrorClass::Retryable, message))
            }
        }
    }

    async fn connect(target: &Target, tls: Option<&Arc<rustls::ClientConfig>>) -> Result<Self, SinkError> {
        let refused = |error: io::Error| {
            SinkError::new(
                ErrorClass::Retryable,
                format!("failed to connect to {target}: {error}; check the address, the receiver and the firewalls between"),
            )
        };
        let stream = TcpStream::connect((target.host.as_str(), target.port)).await.map_err(refused)?;
        // A batch is written at once; its last packet must not wait for the confirmation of the one before it.
        stream.set_nodelay(true).map_err(refused)?;
        let (local, peer) = (stream.local_addr().map_err(refused)?, stream.peer_addr().map_err(refused)?);
        let Some(config) = tls else { return Ok(Self { io: Io::Tcp(stream), local, peer }) };
        let name = ServerName::try_from(target.host.clone())
            .map_err(|_| SinkError::new(ErrorClass::Config, format!("{} is no name that a certificate can be checked for", target.host)))?;
        let handshake = TlsConnector::from(config.clone()).connect(name, stream).await;
        let stream = handshake.map_err(|error| tls_fault(target, &error))?;
        let mut connection = Self { io: Io::Tls(Box::new(stream)), local, peer };
        match connection.look(REFUSAL_WAIT).await {
            Seen::Open => Ok(connection),
            Seen::Closed => {
                let message = format!("failed to open TLS to {target}: it closed the connection after the handshake; {REFUSED_IN_SILENCE}");
                Err(SinkError::new(ErrorClass::Retryable, message))
            }
            Seen::Failed(error) => Err(tls_fault(target, &error)),
        }
    }

    /// Whether the peer still holds the connection, as far as is known here.
    pub(super) async fn is_open(&mut self) -> bool {
        matches!(self.look(GLANCE).await, Seen::Open)
    }

    /// Writes everything and waits until the peer's kernel has confirmed all of it, where this machine can tell. Leaves the connection
    /// in an unknown state if it fails or is dropped: do not use it again then.
    pub(super) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.io.write_all(bytes).await?;
        for wait in QUEUE_WAITS_MS.into_iter().chain(std::iter::repeat(100)) {
            self.stays_open(Duration::from_millis(wait)).await?;
            if send_queue::unconfirmed_bytes(self.local, self.peer).unwrap_or(0) == 0 {
                break;
            }
        }
        self.stays_open(GRACE).await
    }

    async fn stays_open(&mut self, wait: Duration) -> io::Result<()> {
        match self.look(wait).await {
            Seen::Open => Ok(()),
            Seen::Closed => Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the receiver closed the connection")),
            Seen::Failed(error) => Err(error),
        }
    }

    /// Says goodbye where the protocol has a word for it (RFC 5425 section 4.4: close_notify).
    pub(super) async fn close(mut self) {
        // The peer may be gone already; there is nobody to tell.
        let _ = self.io.shutdown().await;
    }

    /// A syslog receiver sends nothing: what can be read is the end, an error, or noise.
    async fn look(&mut self, wait: Duration) -> Seen {
        let mut noise = [0; 512];
        let read = async {
            loop {
                match self.io.read(&mut noise).await {
                    Ok(0) => return Seen::Closed,
                    Ok(_) => {}
                    Err(error) => return Seen::Failed(error),
                }
            }
        };
        tokio::time::timeout(wait, read).await.unwrap_or(Seen::Open)
    }
}

enum Seen {
    Open,
    Closed,
    Failed(io::Error),
}

impl Io {
    async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        async fn all(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
            stream.write_all(bytes).await?;
            stream.flush().await
        }
        match self {
            Self::Tcp(stream) => all(stream, bytes).await,
            Self::Tls(stream) => all(stream, bytes).await,
        }
    }

    async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        async fn some(stream: &mut (impl AsyncRead + Unpin), buffer: &mut [u8]) -> io::Result<usize> {
            stream.read(buffer).await
        }
        match self {
            Self::Tcp(stream) => some(stream, buffer).await,
            Self::Tls(stream) => some(stream, buffer).await,
        }
    }

    async fn shutdown(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.shutdown().await,
            Self::Tls(stream) => stream.shutdown().await,
        }
    }
}

/// A failed handshake, as the operator needs it: whose certificate is refused, and where to mend it.
fn tls_fault(target: &Target, error: &io::Error) -> SinkError {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
    let (class, mend) = match cause {
        Some(rustls::Error::InvalidCertificate(_)) => (
            ErrorClass::Config,
            "its certificate is not trusted for that name; set tls.ca_file to the authority that issued it, or mend the address",
        ),
        Some(rustls::Error::AlertReceived(_)) => {
            (ErrorClass::Auth, "the receiver refuses us; check tls.cert_file and tls.key_file, and what it accepts as client certificate")
        }
        Some(rustls::Error::InvalidMessage(_)) => (ErrorClass::Config, "the other side does not speak TLS; check the port, or use tcp://"),
        Some(_) => (ErrorClass::Config, "check the TLS settings of both sides"),
        // GnuTLS says nothing when it refuses a client; a receiver that is being restarted looks the same.
        None => (ErrorClass::Retryable, REFUSED_IN_SILENCE),
    };
    SinkError::new(class, format!("failed to open TLS to {target}: {error}; {mend}"))
}

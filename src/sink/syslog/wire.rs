//! A TCP connection to the receiver, with TLS where it is asked for, and what is wrong when there is none.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::target::Target;
use crate::sink::{ErrorClass, SinkError};

/// A connection that takes longer than this to open is not going to.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// GnuTLS, which most receivers use, says nothing when it refuses a client.
pub(super) const REFUSED_IN_SILENCE: &str =
    "if the receiver wants a client certificate, check tls.cert_file, tls.key_file and what it accepts";

/// The bytes of a connection, in both directions.
#[derive(Debug)]
pub(super) enum Wire {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// What a look at a connection has shown.
pub(super) enum Seen {
    Open,
    Closed,
    Failed(io::Error),
}

impl Wire {
    /// Connects, with TLS if there is a configuration for it.
    pub(super) async fn open(target: &Target, tls: Option<&Arc<rustls::ClientConfig>>) -> Result<Self, SinkError> {
        match tokio::time::timeout(CONNECT_TIMEOUT, connect(target, tls)).await {
            Ok(opened) => opened,
            Err(_) => {
                let message = format!("failed to connect to {target}: no answer within {} s", CONNECT_TIMEOUT.as_secs());
                Err(SinkError::new(ErrorClass::Retryable, message))
            }
        }
    }

    /// Our address and the peer's.
    pub(super) fn addresses(&self) -> io::Result<(SocketAddr, SocketAddr)> {
        let stream = match self {
            Self::Tcp(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
        };
        Ok((stream.local_addr()?, stream.peer_addr()?))
    }

    /// Looks for that long whether the peer closes; what it says meanwhile is thrown away.
    pub(super) async fn look(&mut self, wait: Duration) -> Seen {
        let mut noise = [0; 512];
        let read = async {
            loop {
                match self.read(&mut noise).await {
                    Ok(0) => return Seen::Closed,
                    Ok(_) => {}
                    Err(error) => return Seen::Failed(error),
                }
            }
        };
        tokio::time::timeout(wait, read).await.unwrap_or(Seen::Open)
    }
}

async fn connect(target: &Target, tls: Option<&Arc<rustls::ClientConfig>>) -> Result<Wire, SinkError> {
    let refused = |error: io::Error| {
        SinkError::new(
            ErrorClass::Retryable,
            format!("failed to connect to {target}: {error}; check the address, the receiver and the firewalls between"),
        )
    };
    let stream = TcpStream::connect((target.host.as_str(), target.port)).await.map_err(refused)?;
    // A batch is written at once; its last packet must not wait for the confirmation of the one before it.
    stream.set_nodelay(true).map_err(refused)?;
    let Some(config) = tls else { return Ok(Wire::Tcp(stream)) };
    let name = ServerName::try_from(target.host.clone())
        .map_err(|_| SinkError::new(ErrorClass::Config, format!("{} is no name that a certificate can be checked for", target.host)))?;
    let handshake = TlsConnector::from(config.clone()).connect(name, stream).await;
    Ok(Wire::Tls(Box::new(handshake.map_err(|error| tls_fault(target, &error))?)))
}

/// A failed handshake, as the operator needs it: whose certificate is refused, and where to mend it.
pub(super) fn tls_fault(target: &Target, error: &io::Error) -> SinkError {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
    let (class, mend) = match cause {
        Some(rustls::Error::InvalidCertificate(_)) => (
            ErrorClass::Config,
            "its certificate is not trusted for that name; set tls.ca_file to the authority that issued it, or mend the address",
        ),
        Some(rustls::Error::AlertReceived(_)) => {
            (ErrorClass::Auth, "the receiver refuses us; check tls.cert_file and tls.key_file, and what it accepts as client certificate")
        }
        Some(rustls::Error::InvalidMessage(_)) => {
            (ErrorClass::Config, "the other side does not speak TLS; check the port, or use an address without TLS")
        }
        Some(_) => (ErrorClass::Config, "check the TLS settings of both sides"),
        // A receiver that is being restarted looks the same.
        None => (ErrorClass::Retryable, REFUSED_IN_SILENCE),
    };
    SinkError::new(class, format!("failed to open TLS to {target}: {error}; {mend}"))
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

//! Connections: a TCP address and a unix socket, each with limits, so that nobody can hold anything by being slow.
//!
//! Every wait for the other end has a limit: for the TLS handshake, for a request's head (which is the limit for idle connections as well),
//! for its body, for room to write. The number of connections is limited for each way in of its own: whoever takes all of TCP's leaves
//! the operator the socket.

use std::{fmt, io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, body::Body, extract::Request};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixStream},
    sync::Semaphore,
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::{
    certificate::Certificate,
    guard::Peer,
    patience::Patient,
    socket::{Socket, SocketError},
};
use crate::{config::settings::AdminSettings, net::TlsError};

/// A scraper, a few browsers and a few operators need a handful.
const TCP_CONNECTIONS_MAX: usize = 64;
/// Commands of one machine.
const SOCKET_CONNECTIONS_MAX: usize = 32;
/// From the connection, or from the end of the answer before, to the end of the request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an answer may wait for the other end to read on.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long requests that are being answered may take when the endpoint closes.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// A request's line and headers together; browsers send some 2 KiB.
const HEAD_BYTES_MAX: usize = 16 * 1024;
const HEADERS_MAX: usize = 64;
/// When the system has no descriptors left, some may be free again after this.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Why the endpoint cannot be opened.
#[derive(Debug, Error)]
pub enum BindError {
    /// The address.
    #[error("failed to listen on {address} (admin.listen): {source}; is another miro-siem running? Choose another port, or \"off\"")]
    Tcp {
        /// The address.
        address: SocketAddr,
        /// The operating system's answer.
        source: io::Error,
    },
    /// The socket.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The certificate.
    #[error("failed to set up the admin endpoint's certificate (admin.tls): {0}")]
    Tls(#[from] TlsError),
}

/// The ways in, bound: whatever is in use is an error at the start.
#[derive(Debug, Default)]
pub struct Listeners {
    tcp: Option<(TcpListener, Option<Certificate>)>,
    socket: Option<Socket>,
}

impl Listeners {
    /// Binds what is configured.
    pub async fn bind(settings: &AdminSettings) -> Result<Self, BindError> {
        let tcp = match settings.listen {
            None => None,
            Some(address) => {
                let certificate = settings.tls.as_ref().map(Certificate::load).transpose()?;
                Some((TcpListener::bind(address).await.map_err(|source| BindError::Tcp { address, source })?, certificate))
            }
        };
        let socket = match &settings.socket {
            None => None,
            Some(path) => Some(Socket::bind(path).await?),
        };
        Ok(Self { tcp, socket })
    }

    /// Where TCP is listened on.
    pub fn address(&self) -> Option<SocketAddr> {
        self.tcp.as_ref().and_then(|(listener, _)| listener.local_addr().ok())
    }
}

/// Serves until `stop` is cancelled, and a moment longer what is being answered then.
pub(super) async fn serve(listeners: Listeners, router: Router, stop: CancellationToken) {
    let mut ways = JoinSet::new();
    if let Some((listener, certificate)) = listeners.tcp {
        let way = Tcp { listener, certificate: certificate.map(Arc::new) };
        ways.spawn(accept(way, router.clone(), TCP_CONNECTIONS_MAX, stop.clone()));
    }
    if let Some(socket) = listeners.socket {
        ways.spawn(accept(socket, router, SOCKET_CONNECTIONS_MAX, stop));
    }
    while ways.join_next().await.is_some() {}
}

/// A way in.
trait Way: Send + Sync {
    /// The next connection.
    fn next(&self) -> impl Future<Output = io::Result<Caller>> + Send;
}

/// Somebody who has connected.
enum Caller {
    Tcp(TcpStream, SocketAddr, Option<Arc<Certificate>>),
    Socket(UnixStream, u32),
}

#[derive(Debug)]
struct Tcp {
    listener: TcpListener,
    certificate: Option<Arc<Certificate>>,
}

impl Way for Tcp {
    async fn next(&self) -> io::Result<Caller> {
        let (stream, address) = self.listener.accept().await?;
        Ok(Caller::Tcp(stream, address, self.certificate.clone()))
    }
}

impl Way for Socket {
    async fn next(&self) -> io::Result<Caller> {
        let (stream, uid) = self.accept().await?;
        Ok(Caller::Socket(stream, uid))
    }
}

/// Takes connections in, never more at a time than there is room for: the others wait with the system, and those that say nothing are closed.
async fn accept(way: impl Way, router: Router, connections_max: usize, stop: CancellationToken) {
    let room = Arc::new(Semaphore::new(connections_max));
    let mut connections = JoinSet::new();
    loop {
        let next = async {
            let permit = room.clone().acquire_owned().await;
            (permit, way.next().await)
        };
        let (permit, caller) = tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            next = next => next,
        };
        match caller {
            Ok(caller) => {
                let (router, stop) = (router.clone(), stop.clone());
                connections.spawn(async move {
                    converse(caller, router, &stop).await;
                    drop(permit);
                });
            }
            Err(error) => {
                warn!(%error, "failed to accept a connection at the admin endpoint");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    // Nothing new comes in while the last answers go out.
    drop(way);
    while connections.join_next().await.is_some() {}
}

async fn converse(caller: Caller, router: Router, stop: &CancellationToken) {
    match caller {
        Caller::Socket(stream, uid) => answer(stream, Peer::Socket { uid }, router, stop).await,
        Caller::Tcp(stream, address, None) => answer(stream, Peer::Tcp(address), router, stop).await,
        Caller::Tcp(stream, address, Some(certificate)) => {
            let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, certificate.acceptor().accept(stream));
            let shaken = tokio::select! {
                () = stop.cancelled() => return,
                shaken = handshake => shaken,
            };
            match shaken {
                Ok(Ok(stream)) => answer(stream, Peer::Tcp(address), router, stop).await,
                Ok(Err(error)) => debug!(%error, %address, "a TLS handshake at the admin endpoint failed"),
                Err(_) => debug!(%address, "a TLS handshake at the admin endpoint took too long"),
            }
        }
    }
}

async fn answer(stream: impl AsyncRead + AsyncWrite + Unpin + Send, peer: Peer, router: Router, stop: &CancellationToken) {
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(peer);
        hyper::service::Service::call(&router, request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(Patient::new(stream, WRITE_TIMEOUT)), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            match tokio::time::timeout(CLOSE_TIMEOUT, connection).await {
                Ok(ended) => ended,
                // Somebody holds a request open; nothing of ours depends on it.
                Err(_) => return,
            }
        }
    };
    if let Err(error) = ended {
        debug!(%error, caller = %peer, "a connection at the admin endpoint ended early");
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(_, address, _) => write!(f, "Tcp({address})"),
            Self::Socket(_, uid) => write!(f, "Socket(uid {uid})"),
        }
    }
}

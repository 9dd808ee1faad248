//! Accepts TCP connections, plain or encrypted.

use std::{future::Future, sync::Arc, time::Duration};

use rustls::ServerConfig;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::wire::Wire;

/// Connections served at once; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 1024;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// The pause after a failed accept, which most often means that file descriptors ran out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// What serves the connections of a listener.
pub(crate) trait Connections: Send + Sync + 'static {
    /// Serves one connection to its end. It is dropped wherever it waits when the listener is switched off.
    fn serve(&self, socket: TcpStream) -> impl Future<Output = ()> + Send;
}

/// Accepts until `stop`, then closes the port and every connection.
pub(crate) async fn accept(listener: TcpListener, connections: Arc<impl Connections>, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut open = JoinSet::new();
    let accepting = async {
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                return;
            };
            match listener.accept().await {
                Ok((socket, _)) => {
                    let connections = Arc::clone(&connections);
                    open.spawn(async move {
                        connections.serve(socket).await;
                        drop(place);
                    });
                }
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            }
            while open.try_join_next().is_some() {}
        }
    };
    stop.run_until_cancelled(accepting).await;
    drop(listener);
    open.shutdown().await;
}

/// Shakes hands where there is TLS; none when that fails.
pub(crate) async fn secure(socket: TcpStream, tls: Option<&Arc<ServerConfig>>) -> Option<Wire> {
    let Some(config) = tls else {
        return Some(Wire::Plain(socket));
    };
    match timeout(HANDSHAKE_TIMEOUT, TlsAcceptor::from(Arc::clone(config)).accept(socket)).await {
        Ok(Ok(tls)) => Some(Wire::Tls(Box::new(tls))),
        Ok(Err(_)) | Err(_) => None,
    }
}

//! Accepts connections, and can be taken down and brought up again on the same port.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rustls::ServerConfig;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::{JoinHandle, JoinSet},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::{Service, connection, wire::Wire};
use crate::{
    faults::Faults,
    ledger::{Counters, Ledger},
    port::Port,
};

/// Connections served at once; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 1024;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// The pause after a failed accept, which most often means that file descriptors ran out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// What every connection of a server needs.
#[derive(Debug)]
pub(super) struct Shared<S> {
    pub(super) service: S,
    pub(super) faults: Faults,
    pub(super) ledger: Arc<Ledger>,
    tls: Option<Arc<ServerConfig>>,
}

/// See the module's documentation. Dropping it closes the port and every connection.
#[derive(Debug)]
pub(crate) struct Server<S> {
    port: Port,
    shared: Arc<Shared<S>>,
    listening: Mutex<Option<Listening>>,
}

#[derive(Debug)]
struct Listening {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl<S: Service> Server<S> {
    pub(crate) fn start(
        addr: SocketAddr,
        tls: Option<Arc<ServerConfig>>,
        service: S,
        faults: Faults,
        ledger: Arc<Ledger>,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            service,
            faults,
            ledger,
            tls,
        });
        let server = Self {
            port: Port::reserve(addr)?,
            shared,
            listening: Mutex::default(),
        };
        server.up()?;
        Ok(server)
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.port.addr()
    }

    /// Opens the port; nothing happens when it is open already.
    pub(crate) fn up(&self) -> io::Result<()> {
        let mut listening = self
            .listening
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if listening.is_none() {
            let listener = self.port.listen()?;
            let stop = CancellationToken::new();
            let task = tokio::spawn(accept(listener, Arc::clone(&self.shared), stop.clone()));
            *listening = Some(Listening { stop, task });
        }
        Ok(())
    }

    /// Closes the port and every connection, as a killed process would; returns when new connections are refused.
    pub(crate) async fn down(&self) {
        let listening = self
            .listening
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(Listening { stop, task }) = listening {
            stop.cancel();
            // It only fails when the task panicked, and then the port is closed as well.
            let _ = task.await;
        }
    }
}

impl<S> Drop for Server<S> {
    fn drop(&mut self) {
        let listening = self
            .listening
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(listening) = listening {
            listening.stop.cancel();
        }
    }
}

async fn accept<S: Service>(
    listener: TcpListener,
    shared: Arc<Shared<S>>,
    stop: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    let accepting = async {
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                return;
            };
            match listener.accept().await {
                Ok((socket, _)) => {
                    let shared = Arc::clone(&shared);
                    connections.spawn(async move {
                        serve(socket, &shared).await;
                        drop(place);
                    });
                }
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            }
            while connections.try_join_next().is_some() {}
        }
    };
    stop.run_until_cancelled(accepting).await;
    drop(listener);
    connections.shutdown().await;
}

async fn serve<S: Service>(socket: TcpStream, shared: &Shared<S>) {
    Counters::add(&shared.ledger.counters().connections, 1);
    // Small answers should not wait for the sender's next packet.
    let _ = socket.set_nodelay(true);
    let wire = match &shared.tls {
        None => Wire::Plain(socket),
        Some(config) => match timeout(
            HANDSHAKE_TIMEOUT,
            TlsAcceptor::from(Arc::clone(config)).accept(socket),
        )
        .await
        {
            Ok(Ok(tls)) => Wire::Tls(Box::new(tls)),
            Ok(Err(_)) | Err(_) => return,
        },
    };
    connection::serve(wire, shared).await;
}

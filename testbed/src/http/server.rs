//! A port that serves HTTP, and can be taken down and brought up again.

use std::{io, net::SocketAddr, sync::Arc};

use rustls::ServerConfig;
use tokio::net::TcpStream;

use super::{Service, connection};
use crate::{
    accept::{Connections, accept, secure},
    faults::Faults,
    ledger::{Counters, Ledger},
    port::Port,
    switch::Switch,
};

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
    listening: Switch,
}

impl<S: Service> Server<S> {
    pub(crate) fn start(
        addr: SocketAddr,
        tls: Option<Arc<ServerConfig>>,
        service: S,
        faults: Faults,
        ledger: Arc<Ledger>,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared { service, faults, ledger, tls });
        let server = Self { port: Port::reserve(addr)?, shared, listening: Switch::default() };
        server.up()?;
        Ok(server)
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.port.addr()
    }

    /// Opens the port; nothing happens when it is open already.
    pub(crate) fn up(&self) -> io::Result<()> {
        self.listening.on(|stop| Ok(accept(self.port.listen(None)?, Arc::clone(&self.shared), stop)))
    }

    /// Closes the port and every connection, as a killed process would; returns when new connections are refused.
    pub(crate) async fn down(&self) {
        self.listening.off().await;
    }
}

impl<S: Service> Connections for Shared<S> {
    async fn serve(&self, socket: TcpStream) {
        Counters::add(&self.ledger.counters().connections, 1);
        // Small answers should not wait for the sender's next packet.
        let _ = socket.set_nodelay(true);
        if let Some(wire) = secure(socket, self.tls.as_ref()).await {
            connection::serve(wire, self).await;
        }
    }
}

//! The handle on a receiver that was started.

use std::{io, net::SocketAddr, sync::Arc};

use rustls::ServerConfig;

use crate::{
    ca::CaError,
    faults::Faults,
    http::{Server, Service},
    ledger::Ledger,
};

/// Why a receiver did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("listen on {addr}: {source}; choose another address, or port 0 for a free one")]
    Listen { addr: SocketAddr, source: io::Error },
    #[error(transparent)]
    Tls(#[from] CaError),
}

/// A receiver at work. Dropping it ends the receiver; its ledger can be kept.
#[derive(Debug)]
pub struct Running<S: Service> {
    server: Server<Arc<S>>,
    service: Arc<S>,
    ledger: Arc<Ledger>,
    faults: Faults,
    scheme: &'static str,
}

impl<S: Service> Running<S> {
    pub(crate) fn start(listen: SocketAddr, tls: Option<Arc<ServerConfig>>, service: S, ledger: Arc<Ledger>) -> Result<Self, StartError> {
        let scheme = if tls.is_some() { "https" } else { "http" };
        let (service, faults) = (Arc::new(service), Faults::default());
        let server = Server::start(listen, tls, Arc::clone(&service), faults.clone(), Arc::clone(&ledger))
            .map_err(|source| StartError::Listen { addr: listen, source })?;
        Ok(Self { server, service, ledger, faults, scheme })
    }

    /// Scheme, address and port, without a slash at the end.
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.server.addr())
    }

    pub fn addr(&self) -> SocketAddr {
        self.server.addr()
    }

    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// The receiver's own switches.
    pub fn service(&self) -> &S {
        &self.service
    }

    /// Closes the port and every connection, as a killed process would: connections are refused from here on. What was taken
    /// stays in the ledger.
    pub async fn down(&self) {
        self.server.down().await;
    }

    /// Opens the same port again.
    ///
    /// # Errors
    /// When the port cannot be opened, which only the machine's limits can cause: it stays reserved while the receiver is down.
    pub fn up(&self) -> io::Result<()> {
        self.server.up()
    }

    /// Ends the receiver and every connection.
    pub async fn stop(self) {
        self.server.down().await;
    }
}

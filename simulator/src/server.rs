//! Serving over TCP, with connections that a fault can cut: a reset or a silent close needs the socket, below HTTP.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::IncomingStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{SimConfig, Simulator};

/// How long open answers may take to finish after the server was told to stop.
const STOP_GRACE: Duration = Duration::from_secs(1);

/// How a fault ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Abort {
    Close = 1,
    Reset = 2,
}

/// A handler's hold on the connection that it answers.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    abort: Arc<AtomicU8>,
    closing: CancellationToken,
}

impl Connection {
    fn new(closing: CancellationToken) -> Self {
        Self { abort: Arc::new(AtomicU8::new(0)), closing }
    }

    /// For a router that somebody else serves: aborting has no effect, and nothing says when the server closes.
    pub(crate) fn detached() -> Self {
        Self::new(CancellationToken::new())
    }

    pub(crate) fn abort(&self, how: Abort) {
        self.abort.store(how as u8, Ordering::SeqCst);
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.is_cancelled()
    }

    /// Waits that long, or until the server closes.
    pub(crate) async fn sleep(&self, time: Duration) {
        tokio::select! {
            () = tokio::time::sleep(time) => {}
            () = self.closing.cancelled() => {}
        }
    }

    fn aborted(&self, how: Abort) -> bool {
        self.abort.load(Ordering::SeqCst) == how as u8
    }

    fn check(&self) -> io::Result<()> {
        match self.abort.load(Ordering::SeqCst) {
            0 => Ok(()),
            _ => Err(io::ErrorKind::ConnectionReset.into()),
        }
    }
}

/// A TCP stream that stops writing once its connection is aborted, and then closes or resets.
struct Wire {
    stream: TcpStream,
    connection: Connection,
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.connection.aborted(Abort::Reset) {
            // With nothing to linger for, closing sends RST. On failure the client sees an ordinary close instead.
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.connection.check()?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, context: &mut Context<'_>, parts: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.connection.check()?;
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.connection.check()?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.connection.check()?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Accepts connections and wires them.
struct Gate {
    listener: TcpListener,
    closing: CancellationToken,
}

impl axum::serve::Listener for Gate {
    type Io = Wire;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Wire, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok((stream, address)) => {
                    // Small answers must not wait for the client's delayed acknowledgement; failing costs only time.
                    let _ = stream.set_nodelay(true);
                    return (Wire { stream, connection: Connection::new(self.closing.clone()) }, address);
                }
                // A client that gave up already, or no descriptor left: the next attempt may work.
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl Connected<IncomingStream<'_, Gate>> for Connection {
    fn connect_info(stream: IncomingStream<'_, Gate>) -> Self {
        stream.io().connection.clone()
    }
}

impl Simulator {
    /// Serves until `shutdown` is cancelled; answers under way then have a second to finish.
    ///
    /// # Errors
    /// Where the listener fails for good.
    pub async fn serve(&self, listener: TcpListener, shutdown: CancellationToken) -> io::Result<()> {
        let gate = Gate { listener, closing: shutdown.clone() };
        let service = self.router().into_make_service_with_connect_info::<Connection>();
        let serving = axum::serve(gate, service).with_graceful_shutdown(shutdown.clone().cancelled_owned());
        let deadline = async {
            shutdown.cancelled().await;
            tokio::time::sleep(STOP_GRACE).await;
        };
        tokio::select! {
            result = serving => result,
            () = deadline => Ok(()),
        }
    }

    /// A new simulator on a free port of 127.0.0.1, served by a task of the current runtime.
    ///
    /// # Errors
    /// Where no port can be bound.
    pub async fn start(config: SimConfig) -> io::Result<Running> {
        Self::new(config).run("127.0.0.1:0").await
    }

    /// Serves this simulator at an address, by a task of the current runtime. A simulator that was stopped can run again.
    ///
    /// # Errors
    /// Where the address cannot be bound.
    pub async fn run(&self, address: impl tokio::net::ToSocketAddrs) -> io::Result<Running> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let shutdown = CancellationToken::new();
        let (sim, token) = (self.clone(), shutdown.clone());
        let task = tokio::spawn(async move { sim.serve(listener, token).await });
        Ok(Running { sim: self.clone(), address, shutdown, task: Some(task) })
    }
}

/// A simulator that is being served. Dropping it stops the server, without waiting for it.
#[derive(Debug)]
pub struct Running {
    sim: Simulator,
    address: SocketAddr,
    shutdown: CancellationToken,
    task: Option<JoinHandle<io::Result<()>>>,
}

impl Running {
    /// `http://127.0.0.1:<port>`
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The simulator itself.
    #[must_use]
    pub fn sim(&self) -> &Simulator {
        &self.sim
    }

    /// Stops the server and waits until its port is free.
    ///
    /// # Errors
    /// What serving ended with.
    pub async fn stop(mut self) -> io::Result<()> {
        self.shutdown.cancel();
        match self.task.take() {
            Some(task) => task.await.map_err(io::Error::other)?,
            None => Ok(()),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

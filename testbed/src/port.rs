//! A TCP port that can be closed and opened again without anybody else taking it in between.

use std::{io, net::SocketAddr};

use tokio::net::{TcpListener, TcpSocket};

/// Connections that may wait to be accepted; more are refused by the kernel.
const BACKLOG: u32 = 1024;

/// Keeps a port reserved with a socket that is bound but never listens.
///
/// A connection to a port that is bound without a listener is refused, which is what a stopped receiver looks like. The
/// reservation also keeps the kernel from handing the port to an outgoing connection, which could then connect to itself.
#[derive(Debug)]
pub(crate) struct Port {
    addr: SocketAddr,
    _reservation: TcpSocket,
}

impl Port {
    /// Reserves `addr`; port 0 picks a free one.
    pub(crate) fn reserve(addr: SocketAddr) -> io::Result<Self> {
        let socket = reusable(addr)?;
        socket.bind(addr)?;
        Ok(Self { addr: socket.local_addr()?, _reservation: socket })
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Opens the port: from here on connections are accepted, until the listener is dropped. A small receive buffer makes a
    /// sender notice early that nobody reads; none leaves its size to the kernel.
    pub(crate) fn listen(&self, receive_buffer_bytes: Option<u32>) -> io::Result<TcpListener> {
        let socket = reusable(self.addr)?;
        if let Some(bytes) = receive_buffer_bytes {
            socket.set_recv_buffer_size(bytes)?;
        }
        socket.bind(self.addr)?;
        socket.listen(BACKLOG)
    }
}

fn reusable(addr: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Without it the listener could not share the port with the reservation.
    socket.set_reuseaddr(true)?;
    Ok(socket)
}

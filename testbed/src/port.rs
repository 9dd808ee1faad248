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
        Ok(Self {
            addr: socket.local_addr()?,
            _reservation: socket,
        })
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Opens the port: from here on connections are accepted, until the listener is dropped.
    pub(crate) fn listen(&self) -> io::Result<TcpListener> {
        let socket = reusable(self.addr)?;
        socket.bind(self.addr)?;
        socket.listen(BACKLOG)
    }
}

fn reusable(addr: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if addr.is_ipv4() {
        TcpSocket::new_v4()
    } else {
        TcpSocket::new_v6()
    }?;
    // Without it the listener could not share the port with the reservation.
    socket.set_reuseaddr(true)?;
    Ok(socket)
}

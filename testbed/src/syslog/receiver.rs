//! The receiver itself.

use std::{
    borrow::Cow,
    collections::VecDeque,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::BytesMut;
use tokio::{
    io::AsyncReadExt as _,
    net::{TcpStream, UdpSocket},
    sync::watch,
};
use tokio_util::sync::CancellationToken;

use super::{Behaviour, SyslogConfig, Transport, frames, rfc5424};
use crate::{
    accept::{Connections, accept, secure},
    json::id_of,
    ledger::{Counters, Ledger, Record},
    port::Port,
    running::StartError,
    switch::Switch,
    wire::Wire,
};

/// Violations that are remembered; one is enough to fail a test.
const VIOLATIONS_KEPT: usize = 100;
const READ_BYTES: usize = 64 * 1024;
/// The largest datagram there is.
const DATAGRAM_BYTES_MAX: usize = 65_535;

/// A syslog receiver at work. Dropping it ends the receiver.
#[derive(Debug)]
pub struct Syslog {
    shared: Arc<Shared>,
    addr: SocketAddr,
    /// Only for streams: a datagram socket reserves its own port while it is open.
    port: Option<Port>,
    listening: Switch,
}

#[derive(Debug)]
struct Shared {
    config: SyslogConfig,
    ledger: Arc<Ledger>,
    script: Mutex<VecDeque<Behaviour>>,
    violations: Mutex<Vec<String>>,
    /// Counts the calls of [`Syslog::resume`].
    resumed: watch::Sender<u64>,
}

impl Syslog {
    /// # Errors
    /// When the address cannot be listened on.
    pub fn start(config: SyslogConfig) -> Result<Self, StartError> {
        let listen = config.listen;
        Self::open(config).map_err(|source| StartError::Listen { addr: listen, source })
    }

    fn open(config: SyslogConfig) -> io::Result<Self> {
        let listen = config.listen;
        let datagrams = matches!(config.transport, Transport::Udp);
        let shared = Arc::new(Shared {
            ledger: Arc::new(Ledger::new(config.keep)),
            config,
            script: Mutex::default(),
            violations: Mutex::default(),
            resumed: watch::Sender::new(0),
        });
        let listening = Switch::default();
        if datagrams {
            // This very socket is used, so that nobody can take the port in between.
            let socket = datagram_socket(listen)?;
            let addr = socket.local_addr()?;
            listening.on(|stop| Ok(receive(socket, Arc::clone(&shared), stop)))?;
            return Ok(Self { shared, addr, port: None, listening });
        }
        let port = Port::reserve(listen)?;
        let syslog = Self { shared, addr: port.addr(), port: Some(port), listening };
        syslog.up()?;
        Ok(syslog)
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// `udp://`, `tcp://` or `tls://` with address and port.
    pub fn url(&self) -> String {
        let scheme = match self.shared.config.transport {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
            Transport::Tls(_) => "tls",
        };
        format!("{scheme}://{}", self.addr)
    }

    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.shared.ledger
    }

    /// The next connection that has nothing ordered yet meets `behaviour`; after the script every connection takes.
    pub fn script(&self, behaviour: Behaviour) {
        lock(&self.shared.script).push_back(behaviour);
    }

    /// Stalled connections read on, and take everything.
    pub fn resume(&self) {
        self.shared.resumed.send_modify(|calls| *calls += 1);
    }

    /// The same after a while.
    pub fn resume_after(&self, wait: std::time::Duration) {
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            shared.resumed.send_modify(|calls| *calls += 1);
        });
    }

    /// What senders did that the RFCs forbid.
    pub fn violations(&self) -> Vec<String> {
        lock(&self.shared.violations).clone()
    }

    /// Opens the port; nothing happens when it is open already.
    ///
    /// # Errors
    /// When the port cannot be opened.
    pub fn up(&self) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        match &self.port {
            Some(port) => {
                let buffer = shared.config.receive_buffer_bytes;
                self.listening.on(|stop| Ok(accept(port.listen(buffer)?, shared, stop)))
            }
            None => self.listening.on(|stop| Ok(receive(datagram_socket(self.addr)?, shared, stop))),
        }
    }

    /// Closes the port and every connection.
    pub async fn down(&self) {
        self.listening.off().await;
    }

    /// Ends the receiver.
    pub async fn stop(self) {
        self.listening.off().await;
    }
}

fn datagram_socket(addr: SocketAddr) -> io::Result<UdpSocket> {
    let socket = std::net::UdpSocket::bind(addr)?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket)
}

async fn receive(socket: UdpSocket, shared: Arc<Shared>, stop: CancellationToken) {
    let receiving = async {
        let mut datagram = vec![0; DATAGRAM_BYTES_MAX];
        loop {
            // An error here is the echo of a datagram that could not be delivered, and this socket sends none.
            if let Ok(length) = socket.recv(&mut datagram).await {
                shared.take(&datagram[..length]);
            }
        }
    };
    stop.run_until_cancelled(receiving).await;
}

impl Connections for Shared {
    async fn serve(&self, socket: TcpStream) {
        Counters::add(&self.ledger.counters().connections, 1);
        let behaviour = lock(&self.script).pop_front().unwrap_or_default();
        if behaviour == Behaviour::Refuse {
            return Wire::Plain(socket).reset();
        }
        let tls = match &self.config.transport {
            Transport::Tls(config) => Some(config),
            Transport::Tcp | Transport::Udp => None,
        };
        if let Some(wire) = secure(socket, tls).await {
            self.converse(wire, behaviour).await;
        }
    }
}

impl Shared {
    async fn converse(&self, mut wire: Wire, behaviour: Behaviour) {
        let mut buf = BytesMut::new();
        match behaviour {
            Behaviour::Refuse => wire.reset(),
            Behaviour::Take => self.messages(&mut wire, &mut buf, usize::MAX).await,
            Behaviour::CloseAfter { messages } => self.messages(&mut wire, &mut buf, messages).await,
            Behaviour::ResetWithin { messages, bytes } => {
                self.messages(&mut wire, &mut buf, messages).await;
                while buf.len() < bytes && more(&mut wire, &mut buf).await {}
                wire.reset();
            }
            Behaviour::StallAfter { messages } => {
                let mut resumed = self.resumed.subscribe();
                self.messages(&mut wire, &mut buf, messages).await;
                // It cannot fail: the sender lives in `self`.
                let _ = resumed.changed().await;
                self.messages(&mut wire, &mut buf, usize::MAX).await;
            }
        }
    }

    /// Takes that many messages, or as many as come.
    async fn messages(&self, wire: &mut Wire, buf: &mut BytesMut, count: usize) {
        let mut taken = 0;
        while taken < count {
            match frames::next(buf, self.config.message_bytes_max) {
                Ok(Some(message)) => {
                    self.take(&message);
                    taken += 1;
                }
                Ok(None) if more(wire, buf).await => {}
                Ok(None) => return,
                Err(violation) => return self.note(violation),
            }
        }
    }

    fn take(&self, message: &[u8]) {
        let counters = self.ledger.counters();
        Counters::add(&counters.requests, 1);
        Counters::add(&counters.body_bytes, message.len() as u64);
        Counters::add(&counters.plain_bytes, message.len() as u64);
        let bytes = match rfc5424::parse(message) {
            Ok(parsed) => parsed.msg,
            Err(violation) => {
                self.note(violation.to_owned());
                message
            }
        };
        let id = std::str::from_utf8(bytes).ok().and_then(id_of);
        self.ledger.record(&[Record { id, bytes, context: Cow::Borrowed(message) }]);
    }

    fn note(&self, violation: String) {
        let mut violations = lock(&self.violations);
        if violations.len() < VIOLATIONS_KEPT {
            violations.push(violation);
        }
    }
}

/// Reads more of the connection; false at its end.
async fn more(wire: &mut Wire, buf: &mut BytesMut) -> bool {
    buf.reserve(READ_BYTES);
    matches!(wire.read_buf(buf).await, Ok(1..))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

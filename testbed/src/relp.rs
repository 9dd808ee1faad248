//! A RELP receiver that does with each message what it is told.
//!
//! It is for what a real rsyslog cannot be told to do: refuse a message, answer in another order, answer late or never, close in the middle
//! of a batch. It is a strict reader too: a frame that is none ends the connection and is a violation that a test can ask for.
//!
//! The ledger files the MSG part of a message that is taken, under its `id` when it is a JSON object that has one.
//!
//! What it does not do: TLS, sending offers other than those it is given, commands other than `open`, `syslog` and `close`.

use std::{
    borrow::Cow,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    accept::{Connections, accept},
    json::id_of,
    ledger::{Counters, Keep, Ledger, Record},
    port::Port,
    running::StartError,
    switch::Switch,
    syslog::rfc5424,
};

/// The answer to the offers of a receiver that takes syslog.
pub const WELCOME: &str = "200 OK\nrelp_version=0\nrelp_software=testbed\ncommands=syslog";

/// What becomes of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Say {
    /// Takes it.
    Accept,
    /// Takes it and answers after that long, and what follows after it.
    AcceptAfter(Duration),
    /// Refuses it with 500 and these words.
    Refuse(&'static str),
    /// Takes it, and answers after the next one that is accepted at once.
    Later,
    /// Takes it and says nothing.
    Nothing,
    /// Neither takes it nor says anything.
    Ignore,
    /// Takes it and closes the connection without a word.
    HangUp,
    /// Takes it, answers, and closes the session as a receiver does that is being stopped.
    AcceptAndStop,
    /// Takes it, answers with something that is no RELP, and closes the connection.
    Babble,
}

/// One message that came, taken or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Came {
    /// Over which connection, counted from 0.
    pub connection: usize,
    pub txnr: u32,
    pub message: String,
}

type Script = Box<dyn FnMut(usize, &str) -> Say + Send>;

/// A RELP receiver at work. Dropping it ends the receiver.
#[derive(Debug)]
pub struct Relp {
    shared: Arc<Shared>,
    port: Port,
    listening: Switch,
}

struct Shared {
    ledger: Arc<Ledger>,
    welcome: Mutex<String>,
    script: Mutex<Script>,
    came: Mutex<Vec<Came>>,
    violations: Mutex<Vec<String>>,
    connections: AtomicUsize,
}

impl Relp {
    /// On a free port; takes everything until it is told otherwise.
    ///
    /// # Errors
    /// When no port can be listened on.
    pub fn start(keep: Keep) -> Result<Self, StartError> {
        let addr: SocketAddr = ([127, 0, 0, 1], 0).into();
        let open = || {
            let port = Port::reserve(addr)?;
            let shared = Arc::new(Shared {
                ledger: Arc::new(Ledger::new(keep)),
                welcome: Mutex::new(WELCOME.to_owned()),
                script: Mutex::new(Box::new(|_, _| Say::Accept)),
                came: Mutex::default(),
                violations: Mutex::default(),
                connections: AtomicUsize::new(0),
            });
            let relp = Self { shared, port, listening: Switch::default() };
            relp.up()?;
            Ok(relp)
        };
        open().map_err(|source| StartError::Listen { addr, source })
    }

    pub fn port(&self) -> u16 {
        self.port.addr().port()
    }

    /// `relp://` with address and port.
    pub fn url(&self) -> String {
        format!("relp://{}", self.port.addr())
    }

    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.shared.ledger
    }

    /// From here on asked what becomes of each message, with the number of its connection.
    pub fn script(&self, script: impl FnMut(usize, &str) -> Say + Send + 'static) {
        *lock(&self.shared.script) = Box::new(script);
    }

    /// Answers the offers of new sessions with these words.
    pub fn welcome(&self, words: &str) {
        words.clone_into(&mut lock(&self.shared.welcome));
    }

    /// Every message that came, in the order of their coming.
    pub fn came(&self) -> Vec<Came> {
        lock(&self.shared.came).clone()
    }

    /// What senders did that RELP forbids.
    pub fn violations(&self) -> Vec<String> {
        lock(&self.shared.violations).clone()
    }

    /// Opens the port; nothing happens when it is open already.
    ///
    /// # Errors
    /// When the port cannot be opened.
    pub fn up(&self) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        self.listening.on(|stop| Ok(accept(self.port.listen(None)?, shared, stop)))
    }

    /// Closes the port and every connection.
    pub async fn down(&self) {
        self.listening.off().await;
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Connections for Shared {
    async fn serve(&self, socket: TcpStream) {
        Counters::add(&self.ledger.counters().connections, 1);
        let connection = self.connections.fetch_add(1, Ordering::Relaxed);
        // A sender that goes away needs no answer.
        let _ = self.converse(socket, connection).await;
    }
}

/// Whether a session goes on.
enum Session {
    GoesOn,
    IsOver,
}

impl Shared {
    async fn converse(&self, mut socket: TcpStream, connection: usize) -> io::Result<()> {
        let (mut input, mut later) = (Vec::new(), Vec::new());
        loop {
            match parse(&input) {
                Ok(Some((frame, length))) => {
                    input.drain(..length);
                    if let Session::IsOver = self.answer(&mut socket, connection, &frame, &mut later).await? {
                        return Ok(());
                    }
                }
                Ok(None) if socket.read_buf(&mut input).await? == 0 => return Ok(()),
                Ok(None) => {}
                Err(violation) => {
                    lock(&self.violations).push(violation.to_owned());
                    return Ok(());
                }
            }
        }
    }

    async fn answer(&self, socket: &mut TcpStream, connection: usize, frame: &Frame, later: &mut Vec<String>) -> io::Result<Session> {
        let txnr = frame.txnr;
        let rsp = |code: &str| format!("{txnr} rsp {} {code}\n", code.len());
        match frame.command.as_str() {
            "open" => {
                let welcome = rsp(&lock(&self.welcome));
                socket.write_all(welcome.as_bytes()).await?;
                return Ok(Session::GoesOn);
            }
            "syslog" => {}
            "close" => {
                socket.write_all(format!("{txnr} rsp 0\n0 serverclose 0\n").as_bytes()).await?;
                return Ok(Session::IsOver);
            }
            other => {
                lock(&self.violations).push(format!("there is no command {other}"));
                return Ok(Session::IsOver);
            }
        }
        let say = lock(&self.script)(connection, &frame.data);
        lock(&self.came).push(Came { connection, txnr, message: frame.data.clone() });
        if !matches!(say, Say::Refuse(_) | Say::Ignore) {
            self.take(&frame.data);
        }
        let text = match say {
            Say::AcceptAfter(wait) => {
                tokio::time::sleep(wait).await;
                rsp("200 OK")
            }
            Say::Accept => later.drain(..).rev().fold(rsp("200 OK"), |all, one| all + &one),
            Say::Refuse(words) => rsp(&format!("500 {words}")),
            Say::Later => {
                later.push(rsp("200 OK"));
                String::new()
            }
            Say::Nothing | Say::Ignore | Say::HangUp => String::new(),
            Say::AcceptAndStop => rsp("200 OK") + "0 serverclose 0\n",
            Say::Babble => "HTTP/1.1 400 Bad Request\r\n\r\n".to_owned(),
        };
        socket.write_all(text.as_bytes()).await?;
        Ok(if matches!(say, Say::HangUp | Say::AcceptAndStop | Say::Babble) { Session::IsOver } else { Session::GoesOn })
    }

    fn take(&self, message: &str) {
        Counters::add(&self.ledger.counters().requests, 1);
        let bytes = match rfc5424::parse(message.as_bytes()) {
            Ok(parsed) => parsed.msg,
            Err(violation) => {
                lock(&self.violations).push(violation.to_owned());
                message.as_bytes()
            }
        };
        let id = std::str::from_utf8(bytes).ok().and_then(id_of);
        self.ledger.record(&[Record { id, bytes, context: Cow::Borrowed(message.as_bytes()) }]);
    }
}

struct Frame {
    txnr: u32,
    command: String,
    data: String,
}

/// `TXNR SP COMMAND SP DATALEN [SP DATA] LF`, and the frame's length; none while it has not come whole.
fn parse(input: &[u8]) -> Result<Option<(Frame, usize)>, &'static str> {
    let Some((end, _)) = input.iter().enumerate().filter(|(_, byte)| matches!(byte, b' ' | b'\n')).nth(2) else { return Ok(None) };
    let head = std::str::from_utf8(&input[..end]).map_err(|_| "the head of a frame is no text")?;
    let mut words = head.split(' ');
    let mut next = || words.next().unwrap_or_default();
    let txnr = next().parse().map_err(|_| "a transaction has no number")?;
    let command = next().to_owned();
    let length: usize = next().parse().map_err(|_| "a frame has no length")?;
    let begin = if length > 0 { end + 1 } else { end };
    let (Some(data), Some(last)) = (input.get(begin..begin + length), input.get(begin + length)) else { return Ok(None) };
    if *last != b'\n' {
        return Err("a frame does not end with a line end");
    }
    let data = String::from_utf8(data.to_vec()).map_err(|_| "a message is no text")?;
    Ok(Some((Frame { txnr, command, data }, begin + length + 1)))
}

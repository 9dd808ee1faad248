//! A RELP receiver that does with each message what it is told.

use std::sync::{Arc, Mutex};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// What it does with one message. All but the first three end the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Say {
    /// Takes it.
    Accept,
    /// Refuses it with 500 and these words.
    Refuse(&'static str),
    /// Takes it, and answers after the next one that is taken at once.
    Later,
    /// Takes it and says nothing.
    Nothing,
    /// Takes it and closes the connection.
    HangUp,
    /// Takes it, answers, and closes the session as a receiver does that is being stopped.
    AcceptAndStop,
    /// Answers with something that is no RELP.
    Babble,
}

/// What it says to the offers.
pub(crate) const WELCOME: &str = "200 OK\nrelp_version=0\nrelp_software=scripted\ncommands=syslog";

type Script = Box<dyn Fn(usize, &str) -> Say + Send + Sync>;

/// One message that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Came {
    /// Over which connection, counted from 0.
    pub(crate) connection: usize,
    pub(crate) txnr: u32,
    pub(crate) message: String,
}

pub(crate) struct RelpReceiver {
    pub(crate) port: u16,
    came: Arc<Mutex<Vec<Came>>>,
}

impl RelpReceiver {
    /// The script is asked with the number of the connection and the message.
    pub(crate) async fn start(script: impl Fn(usize, &str) -> Say + Send + Sync + 'static) -> Self {
        Self::start_with(WELCOME, script).await
    }

    pub(crate) async fn start_with(welcome: &'static str, script: impl Fn(usize, &str) -> Say + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let came = Arc::new(Mutex::new(Vec::new()));
        let (log, script): (_, Arc<Script>) = (came.clone(), Arc::new(Box::new(script)));
        tokio::spawn(async move {
            for connection in 0.. {
                let Ok((stream, _)) = listener.accept().await else { return };
                tokio::spawn(serve(stream, connection, welcome, log.clone(), script.clone()));
            }
        });
        Self { port, came }
    }

    pub(crate) fn came(&self) -> Vec<Came> {
        self.came.lock().expect("no panic").clone()
    }
}

async fn serve(mut stream: TcpStream, connection: usize, welcome: &str, log: Arc<Mutex<Vec<Came>>>, script: Arc<Script>) {
    let (mut input, mut later) = (Vec::new(), Vec::new());
    loop {
        let Some((txnr, command, message)) = next_frame(&mut stream, &mut input).await else { return };
        let answer = |code: &str| format!("{txnr} rsp {} {code}\n", code.len());
        let say = match command.as_str() {
            "open" => {
                stream.write_all(answer(welcome).as_bytes()).await.expect("written");
                continue;
            }
            "syslog" => {
                log.lock().expect("no panic").push(Came { connection, txnr, message: message.clone() });
                script(connection, &message)
            }
            "close" => {
                // The sender may be gone.
                let _ = stream.write_all(format!("{txnr} rsp 0\n0 serverclose 0\n").as_bytes()).await;
                return;
            }
            other => panic!("no command of RELP: {other}"),
        };
        let text = match say {
            Say::Accept => later.drain(..).rev().fold(answer("200 OK"), |all, one: String| all + &one),
            Say::Refuse(words) => answer(&format!("500 {words}")),
            Say::Later => {
                later.push(answer("200 OK"));
                continue;
            }
            Say::Nothing => continue,
            Say::HangUp => return,
            Say::AcceptAndStop => answer("200 OK") + "0 serverclose 0\n",
            Say::Babble => "HTTP/1.1 400 Bad Request\r\n\r\n".to_owned(),
        };
        if stream.write_all(text.as_bytes()).await.is_err() || matches!(say, Say::AcceptAndStop | Say::Babble) {
            return;
        }
    }
}

/// Transaction number, command and data.
async fn next_frame(stream: &mut TcpStream, input: &mut Vec<u8>) -> Option<(u32, String, String)> {
    loop {
        if let Some((frame, length)) = parse(input) {
            input.drain(..length);
            return Some(frame);
        }
        if stream.read_buf(input).await.ok()? == 0 {
            return None;
        }
    }
}

fn parse(input: &[u8]) -> Option<((u32, String, String), usize)> {
    let end = input.iter().enumerate().filter(|(_, byte)| matches!(byte, b' ' | b'\n')).nth(2)?.0;
    let head = std::str::from_utf8(&input[..end]).expect("a head is text");
    let mut words = head.split(' ');
    let (txnr, command) = (words.next()?.parse().expect("a number"), words.next()?.to_owned());
    let length: usize = words.next()?.parse().expect("a length");
    let begin = if length > 0 { end + 1 } else { end };
    let data = input.get(begin..begin + length)?;
    assert_eq!(*input.get(begin + length)?, b'\n', "a frame ends with a line end");
    Some(((txnr, command, String::from_utf8(data.to_vec()).expect("text")), begin + length + 1))
}

/// A web server in the place of a receiver; returns its port.
pub(crate) async fn start_web() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("its address").port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            // The sender may be gone.
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n").await;
        }
    });
    port
}

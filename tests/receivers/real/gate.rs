//! A gate between a sink and a real receiver, which cannot be told to misbehave by itself.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// What happens to what passes through. A text is one that begins the part of the conversation which is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Everything passes.
    Open,
    /// The next reply that holds the text waits that long.
    HoldReply(&'static str, Duration),
    /// The connection ends instead of the next reply that holds the text.
    CutReply(&'static str),
    /// What is sent from a request on that holds the text does not arrive, until the gate is open.
    HoldRequests(&'static str),
    /// The next request that holds the first text does not arrive either: the second one is its answer.
    AnswerOnce(&'static str, String),
    /// The same for every such request, until the gate is open.
    Answer(&'static str, String),
}

/// A port that leads to another one.
pub(crate) struct Gate {
    pub(crate) port: u16,
    mode: watch::Sender<Mode>,
}

impl Gate {
    pub(crate) async fn before(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let gate = Self { port: listener.local_addr().expect("an address").port(), mode: watch::Sender::new(Mode::Open) };
        let mode = gate.mode.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, SocketAddr::from(([127, 0, 0, 1], port)), mode.clone()));
            }
        });
        gate
    }

    pub(crate) fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }
}

async fn pass(mut client: TcpStream, receiver: SocketAddr, mode: watch::Sender<Mode>) {
    let Ok(mut receiver) = TcpStream::connect(receiver).await else { return };
    let (from_client, to_client) = client.split();
    let (from_receiver, to_receiver) = receiver.split();
    // When either side ends, so does the other.
    let answer = tokio::select! {
        answer = requests(from_client, to_receiver, &mode) => answer,
        () = replies(from_receiver, to_client, &mode) => None,
    };
    if let Some(answer) = answer
        && client.write_all(answer.as_bytes()).await.is_ok()
        && client.shutdown().await.is_ok()
    {
        // Unread bytes would reset the connection, and the answer with it.
        let mut rest = vec![0; 64 * 1024];
        while let Ok(1..) = client.read(&mut rest).await {}
    }
}

/// Passes requests on until they end, or until one is not to arrive: then with its answer.
async fn requests(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, mode: &watch::Sender<Mode>) -> Option<String> {
    let mut piece = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut piece).await {
        let now = mode.borrow().clone();
        match now {
            Mode::HoldRequests(text) if holds(&piece[..read], text) => {
                mode.subscribe().wait_for(|mode| *mode == Mode::Open).await.ok()?;
            }
            Mode::AnswerOnce(text, answer) if holds(&piece[..read], text) => {
                mode.send_replace(Mode::Open);
                return Some(answer);
            }
            Mode::Answer(text, answer) if holds(&piece[..read], text) => return Some(answer),
            _ => {}
        }
        to.write_all(&piece[..read]).await.ok()?;
    }
    None
}

async fn replies(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, mode: &watch::Sender<Mode>) {
    let mut piece = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut piece).await {
        let now = mode.borrow().clone();
        match now {
            Mode::HoldReply(text, wait) if holds(&piece[..read], text) => {
                mode.send_replace(Mode::Open);
                tokio::time::sleep(wait).await;
            }
            Mode::CutReply(text) if holds(&piece[..read], text) => {
                mode.send_replace(Mode::Open);
                return;
            }
            _ => {}
        }
        if to.write_all(&piece[..read]).await.is_err() {
            return;
        }
    }
}

fn holds(piece: &[u8], text: &str) -> bool {
    piece.windows(text.len()).any(|window| window == text.as_bytes())
}

//! One RELP session: opened with offers, a window of messages in flight, closed with a goodbye.

use std::{io, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::Instant,
};

use super::{
    super::{
        target::Target,
        wire::{REFUSED_IN_SILENCE, Wire, tls_fault},
    },
    frame::{Frame, TXNR_MAX, push_frame, take_frame},
    tally::{Fate, Response, Tally},
};
use crate::sink::{ErrorClass, SinkError};

/// A receiver that takes longer to answer the offers is not going to.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);
/// Only a courtesy waits for the answer to a goodbye.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// How long to look for what the receiver has said already.
const GLANCE: Duration = Duration::from_millis(1);
/// How long to look for answers that came before a connection broke.
const LAST_WORDS_WAIT: Duration = Duration::from_millis(50);
/// As much is put together before it is written; one message more may be on top.
const OUT_BYTES_MAX: usize = 256 * 1024;
/// What we offer: the version that every receiver answers, and the one command that we use.
const OFFERS: &str = concat!("relp_version=0\nrelp_software=miro-siem,", env!("CARGO_PKG_VERSION"), "\ncommands=syslog");
const NO_RELP: &str = "what it says is no RELP; check the port, and set `tls` if the receiver wants TLS";

/// An open session.
#[derive(Debug)]
pub(super) struct Session {
    wire: Wire,
    /// What has come and is no whole frame yet.
    input: Vec<u8>,
    last_txnr: u32,
}

/// What became of a batch.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) fates: Vec<Fate>,
    /// Why the session is over, if it is.
    pub(super) ended: Option<String>,
}

impl Session {
    /// Connects and agrees on what is spoken.
    pub(super) async fn open(target: &Target, tls: Option<&Arc<rustls::ClientConfig>>) -> Result<Self, SinkError> {
        let wire = Wire::open(target, tls).await?;
        let mut session = Self { wire, input: Vec::new(), last_txnr: 0 };
        let answer = match tokio::time::timeout(OPEN_TIMEOUT, session.ask("open", OFFERS.as_bytes())).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(ended)) => return Err(session.not_opened(target, ended)),
            Err(_) => return Err(fault(target, ErrorClass::Retryable, &format!("no answer within {} s", OPEN_TIMEOUT.as_secs()))),
        };
        check_offers(target, &answer)?;
        Ok(session)
    }

    fn not_opened(&self, target: &Target, ended: Ended) -> SinkError {
        let is_tls = matches!(self.wire, Wire::Tls(_));
        match ended {
            Ended::Io(error) if is_tls && error.get_ref().is_some() => tls_fault(target, &error),
            Ended::NoRelp => fault(target, ErrorClass::Config, NO_RELP),
            ended if is_tls => fault(target, ErrorClass::Retryable, &format!("{ended}; {REFUSED_IN_SILENCE}")),
            ended => fault(target, ErrorClass::Retryable, &format!("{ended}; if the receiver wants TLS, set `tls`")),
        }
    }

    /// Whether the receiver still holds the session, as far as is known here.
    pub(super) async fn is_open(&mut self) -> bool {
        // Between batches a receiver says nothing but that it closes.
        let silent = tokio::time::timeout(GLANCE, self.wire.read_buf(&mut self.input)).await.is_err();
        silent && self.input.is_empty()
    }

    /// Sends messages, each of them a range of `bytes`, and waits for their answers until `deadline`. A session that is over after it, or
    /// one whose future was dropped, is not to be used again.
    pub(super) async fn send(&mut self, bytes: &[u8], messages: &[std::ops::Range<usize>], deadline: Instant) -> Sent {
        let mut tally = Tally::new(messages.len());
        let ended = match tokio::time::timeout_at(deadline, self.exchange(bytes, messages, &mut tally)).await {
            Ok(Ok(())) => None,
            Ok(Err(Ended::Io(error))) => {
                self.hear_last_words(&mut tally).await;
                Some(Ended::Io(error).to_string())
            }
            Ok(Err(ended)) => Some(ended.to_string()),
            Err(_) => Some("the receiver did not answer all messages in time".to_owned()),
        };
        let ended = ended.filter(|_| !tally.is_complete());
        Sent { fates: tally.into_fates(), ended }
    }

    async fn exchange(&mut self, bytes: &[u8], messages: &[std::ops::Range<usize>], tally: &mut Tally) -> Result<(), Ended> {
        let Self { wire, input, last_txnr } = self;
        let (mut reader, mut writer) = tokio::io::split(wire);
        let mut out = Outgoing::default();
        loop {
            file_answers(input, tally)?;
            if tally.is_complete() {
                return Ok(());
            }
            while let Some(index) = tally.to_queue().filter(|_| out.has_room()) {
                let txnr = following(last_txnr);
                let added = out.push(txnr, &bytes[messages[index].clone()]);
                tally.queued(txnr, added);
            }
            tokio::select! {
                read = reader.read_buf(input) => {
                    if read.map_err(Ended::Io)? == 0 {
                        file_answers(input, tally)?;
                        return Err(Ended::Closed);
                    }
                }
                written = out.advance(&mut writer), if out.is_unfinished() => tally.written(written.map_err(Ended::Io)?),
            }
        }
    }

    /// A receiver that goes away may have answered before it went.
    async fn hear_last_words(&mut self, tally: &mut Tally) {
        let hear = async {
            while let Ok(1..) = self.wire.read_buf(&mut self.input).await {
                if file_answers(&mut self.input, tally).is_err() {
                    break;
                }
            }
        };
        // However it ends, what has been heard is in the tally.
        let _ = tokio::time::timeout(LAST_WORDS_WAIT, hear).await;
    }

    /// Sends one command and waits for its answer.
    async fn ask(&mut self, command: &str, data: &[u8]) -> Result<Frame, Ended> {
        let mut bytes = Vec::new();
        let txnr = following(&mut self.last_txnr);
        push_frame(txnr, command, data, &mut bytes);
        self.wire.write_all(&bytes).await.map_err(Ended::Io)?;
        self.wire.flush().await.map_err(Ended::Io)?;
        loop {
            match take_frame(&mut self.input).map_err(|_| Ended::NoRelp)? {
                Some(frame) if frame.command == "rsp" && frame.txnr == txnr => return Ok(frame),
                Some(frame) if frame.command == "serverclose" => return Err(Ended::Closed),
                Some(_) => return Err(Ended::NoRelp),
                None => {}
            }
            if self.wire.read_buf(&mut self.input).await.map_err(Ended::Io)? == 0 {
                return Err(Ended::Closed);
            }
        }
    }

    /// Says goodbye.
    pub(super) async fn close(mut self) {
        // Everything that was sent is answered: whether the receiver hears this changes nothing.
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, async {
            let _ = self.ask("close", b"").await;
            self.wire.shutdown().await
        })
        .await;
    }
}

fn following(last: &mut u32) -> u32 {
    *last = if *last >= TXNR_MAX { 1 } else { *last + 1 };
    *last
}

fn file_answers(input: &mut Vec<u8>, tally: &mut Tally) -> Result<(), Ended> {
    while let Some(frame) = take_frame(input).map_err(|_| Ended::NoRelp)? {
        tally.answered(&frame).map_err(Ended::Said)?;
    }
    Ok(())
}

/// A receiver that takes syslog says so in its own offers.
fn check_offers(target: &Target, answer: &Frame) -> Result<(), SinkError> {
    let refuse = |words: &str| Err(fault(target, ErrorClass::Config, words));
    match Response::of(&answer.data) {
        Some(Response { code: 200, .. }) => {}
        Some(Response { code, words }) => {
            let words: String = words.chars().filter(|char| !char.is_control()).take(200).collect();
            return refuse(&format!("it refuses the session with {code} ({words}); check that it takes RELP with the command syslog"));
        }
        None => return refuse(NO_RELP),
    }
    let offers = String::from_utf8_lossy(&answer.data);
    let commands = offers.lines().find_map(|line| line.strip_prefix("commands="));
    if commands.is_some_and(|commands| commands.split(',').any(|command| command.trim() == "syslog")) {
        return Ok(());
    }
    refuse("it does not offer the command syslog; check that it is a receiver of syslog")
}

fn fault(target: &Target, class: ErrorClass, words: &str) -> SinkError {
    SinkError::new(class, format!("failed to open a RELP session with {target}: {words}"))
}

/// Why a session is over.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("the receiver closed the connection")]
    Closed,
    #[error("{0}")]
    Io(io::Error),
    #[error("{NO_RELP}")]
    NoRelp,
    #[error("{0}")]
    Said(String),
}

/// Frames on their way to the wire.
#[derive(Debug, Default)]
struct Outgoing {
    bytes: Vec<u8>,
    written: usize,
    /// TLS holds back what is not flushed.
    unflushed: bool,
}

impl Outgoing {
    fn has_room(&self) -> bool {
        self.bytes.len() < OUT_BYTES_MAX
    }

    /// Adds a message; returns the size of its frame.
    fn push(&mut self, txnr: u32, message: &[u8]) -> usize {
        let before = self.bytes.len();
        push_frame(txnr, "syslog", message, &mut self.bytes);
        self.bytes.len() - before
    }

    fn is_unfinished(&self) -> bool {
        self.unflushed || self.written < self.bytes.len()
    }

    /// Writes some, or flushes what is written; returns how much was written. Loses nothing when its future is dropped.
    async fn advance(&mut self, writer: &mut (impl AsyncWrite + Unpin)) -> io::Result<usize> {
        if self.written == self.bytes.len() {
            writer.flush().await?;
            self.unflushed = false;
            return Ok(0);
        }
        let written = writer.write(&self.bytes[self.written..]).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.unflushed = true;
        self.written += written;
        if self.written == self.bytes.len() {
            self.bytes.clear();
            self.written = 0;
        }
        Ok(written)
    }
}

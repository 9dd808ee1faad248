//! `relp://`: syslog with an answer to every message, in the protocol of librelp and rsyslog.
//!
//! # What it promises
//!
//! - A message counts as delivered when the receiver has answered its transaction with 200, and never before.
//! - When a session breaks, what was written and not answered may have arrived: exactly that is sent again as a possible duplicate.
//!   What was answered stays delivered, and what was not written goes again as new.
//! - A message that the receiver refuses while it takes later ones is refused for good and becomes a dead letter. RELP has one code for
//!   "not this message" and "not now"; where nothing later was taken, the message is tried a few times before it counts as refused (see
//!   `patience`).
//!
//! # What it does not promise
//!
//! An answer says that the receiver has queued the message. rsyslog answers before it has written or forwarded it, so that a crash of
//! the receiver loses what its queue held in memory: give it a disk-assisted queue. rsyslog also cuts a message at its own
//! `maxMessageSize` and answers 200 all the same: keep `message_bytes_max` at or below it.
//!
//! # On a crash
//!
//! Nothing is kept here; the driver sends again what was not acknowledged, as a new session.

use std::{
    ops::Range,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::time::Instant;

use super::{lock, target::Target};
use crate::sink::{
    Batch, ErrorClass, Receipt, SinkError, Verdict, http,
    patience::{Patience, Word},
};

use session::{Sent, Session};
use tally::Fate;

mod frame;
mod session;
mod tally;

/// Sessions with one receiver.
#[derive(Debug)]
pub(super) struct Relp {
    target: Target,
    tls: Option<Arc<rustls::ClientConfig>>,
    /// For one batch, from opening a session to the last answer.
    timeout: Duration,
    /// Taken out while they are used: a session that was dropped in mid-batch is never used again.
    idle: Mutex<Vec<Session>>,
    patience: Patience,
}

impl Relp {
    pub(super) fn new(target: Target, tls: Option<rustls::ClientConfig>, timeout: Duration) -> Self {
        Self { target, tls: tls.map(Arc::new), timeout, idle: Mutex::default(), patience: Patience::default() }
    }

    pub(super) fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
    }

    /// Sends messages of the batch's events, each of them a range of `bytes`; the verdicts are in the order of the messages.
    pub(super) async fn send(&self, batch: &Batch<'_>, bytes: &[u8], messages: &[Range<usize>]) -> Result<Receipt, SinkError> {
        let deadline = Instant::now() + self.timeout;
        let mut session = match tokio::time::timeout_at(deadline, self.session()).await {
            Ok(session) => session?,
            Err(_) => {
                let message = format!("failed to open a RELP session with {}: no answer within {:?}", self.target, self.timeout);
                return Err(SinkError::new(ErrorClass::Retryable, message));
            }
        };
        let sent = session.send(bytes, messages, deadline).await;
        if sent.ended.is_none() {
            lock(&self.idle).push(session);
        }
        self.judge(batch, &sent)
    }

    /// An idle session that is still open, or a new one.
    async fn session(&self) -> Result<Session, SinkError> {
        loop {
            let session = lock(&self.idle).pop();
            match session {
                None => return Session::open(&self.target, self.tls.as_ref()).await,
                Some(mut session) => {
                    if session.is_open().await {
                        return Ok(session);
                    }
                }
            }
        }
    }

    /// Opens a session, or sees that one is open.
    pub(super) async fn try_session(&self) -> Result<(), SinkError> {
        let session = self.session().await?;
        lock(&self.idle).push(session);
        Ok(())
    }

    pub(super) async fn close(&self) {
        let sessions = std::mem::take(&mut *lock(&self.idle));
        for session in sessions {
            session.close().await;
        }
    }

    fn judge(&self, batch: &Batch<'_>, sent: &Sent) -> Result<Receipt, SinkError> {
        let ended = sent.ended.as_ref().map(|why| format!("the RELP session with {} ended in a batch: {why}", self.target));
        let mut verdicts = verdicts(&sent.fates, ended.as_deref(), batch);
        if verdicts.iter().any(|verdict| matches!(verdict, Verdict::Accepted | Verdict::Rejected(_))) {
            self.patience.renew(batch.stream());
        }
        if verdicts.iter().all(|verdict| *verdict == Verdict::Accepted) {
            return Ok(Receipt::All);
        }
        if verdicts.iter().any(|verdict| *verdict != Verdict::NotTaken) {
            return Ok(Receipt::Each(verdicts));
        }
        if let Some(why) = ended {
            return Err(SinkError::new(ErrorClass::Retryable, why));
        }
        let words = sent.fates.iter().find_map(|fate| match fate {
            Fate::Refused(words) => Some(http::excerpt(words, &[], Some(batch))),
            Fate::Accepted | Fate::Unanswered | Fate::Unsent => None,
        });
        let words = words.unwrap_or_default();
        match self.patience.refused(batch.stream()) {
            Word::Doubted => {
                let message = format!("{} refuses every message: {words}; see its own log", self.target);
                Err(SinkError::new(ErrorClass::Retryable, message))
            }
            Word::Taken => {
                self.patience.renew(batch.stream());
                verdicts[0] = Verdict::Rejected(words);
                Ok(Receipt::Each(verdicts))
            }
        }
    }
}

/// A refusal counts where the receiver took a later message: then it was not its own state that was to blame.
fn verdicts(fates: &[Fate], ended: Option<&str>, batch: &Batch<'_>) -> Vec<Verdict> {
    let last_accepted = fates.iter().rposition(|fate| *fate == Fate::Accepted);
    let verdict = |(at, fate): (usize, &Fate)| match fate {
        Fate::Accepted => Verdict::Accepted,
        Fate::Refused(words) if last_accepted.is_some_and(|last| at < last) => Verdict::Rejected(http::excerpt(words, &[], Some(batch))),
        Fate::Refused(_) | Fate::Unsent => Verdict::NotTaken,
        Fate::Unanswered => Verdict::Unknown(ended.unwrap_or("the receiver did not answer").to_owned()),
    };
    fates.iter().enumerate().map(verdict).collect()
}

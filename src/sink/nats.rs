//! NATS JetStream: one message for each event, and an event counts when a stream has said that it stored it.
//!
//! All messages of a batch are published before the first acknowledgement is waited for. Each has a `Nats-Msg-Id`, made from the
//! organisation, the stream and the event's id: within the stream's duplicate window (2 minutes unless it was configured, counted by the
//! server) a message that is sent again is acknowledged and not stored again. So a delivery without an answer is only then called
//! ambiguous, and its events counted as possible duplicates, when it was not sent again in time.
//!
//! A lost connection ends the delivery at once: what was acknowledged until then is sent again with the rest, as one batch. The next
//! delivery connects anew, with the credential read anew; the client library does not reconnect behind our back for longer than a
//! round of the servers.
//!
//! What it does not do: make or change streams; publish where no JetStream stream listens, without saying so.
//! Rules: the NATS documentation, "JetStream: Publishing" and "Model Deep Dive: Message Deduplication".
//!
//! On a crash, or when a delivery is dropped, messages may be on their way: they are sent again under the same ids.

use std::{fmt, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use tokio::{sync::Mutex, time::Instant};

use self::{session::Session, unsure::Unsure};
use super::{Batch, ErrorClass, Receipt, Sink, SinkError};
use crate::{
    config::settings::{NatsSettings, TlsSettings},
    event::StreamId,
    net::{self, TlsError},
};

mod answer;
mod session;
mod unsure;

/// As many as are on their way at once.
pub const DEFAULT_BATCH_EVENTS: usize = 1_000;
/// Of encoded events: a batch is copied into the client's buffers.
pub const DEFAULT_BATCH_BYTES: usize = 2_000_000;

/// A sink of type `nats`.
pub struct NatsSink {
    settings: NatsSettings,
    tls: rustls::ClientConfig,
    timeout: Duration,
    session: Mutex<Option<Arc<Session>>>,
    unsure: Unsure,
}

impl NatsSink {
    /// A sink with those settings. It does not connect.
    ///
    /// # Errors
    /// If TLS cannot be set up.
    pub fn new(settings: NatsSettings, tls: &TlsSettings, timeout: Duration) -> Result<Self, TlsError> {
        Ok(Self { settings, tls: net::client_tls(tls)?, timeout, session: Mutex::new(None), unsure: Unsure::default() })
    }

    /// The open connection, or a new one. All streams of the sink share it.
    async fn session(&self) -> Result<Arc<Session>, SinkError> {
        let mut slot = self.session.lock().await;
        if let Some(session) = slot.as_ref().filter(|session| session.is_open()) {
            return Ok(Arc::clone(session));
        }
        *slot = None;
        let session = Arc::new(Session::open(&self.settings, &self.tls, self.timeout).await?);
        Ok(Arc::clone(slot.insert(session)))
    }

    /// Gives a connection up, unless another one has taken its place already.
    async fn forget(&self, session: &Arc<Session>) {
        let mut slot = self.session.lock().await;
        if slot.as_ref().is_some_and(|current| Arc::ptr_eq(current, session)) {
            *slot = None;
        }
    }

    async fn send(&self, batch: Batch<'_>) -> Result<Receipt, SinkError> {
        if batch.is_empty() {
            return Ok(Receipt::All);
        }
        let session = self.session().await?;
        let subject = subject(&self.settings.subject, batch.stream());
        self.check_window(&session, &batch, &subject).await?;
        let began = Instant::now();
        let result = session.publish(&batch, &subject).await;
        match &result {
            Ok(_) => self.unsure.settle(&batch),
            Err(error) if error.class() == ErrorClass::Ambiguous => {
                self.forget(&session).await;
                self.unsure.note(&batch, began);
                return Err(SinkError::new(ErrorClass::Retryable, error.to_string()));
            }
            Err(error) if error.class() == ErrorClass::Auth => self.forget(&session).await,
            Err(_) => {}
        }
        result
    }

    /// Says so, once, if the batch may be there already and the stream may not know it any more.
    async fn check_window(&self, session: &Session, batch: &Batch<'_>, subject: &str) -> Result<(), SinkError> {
        let Some(age) = self.unsure.age(batch) else { return Ok(()) };
        let window = session.duplicate_window(subject).await;
        // This delivery may take as long as it is allowed to.
        if age + self.timeout < window {
            return Ok(());
        }
        self.unsure.tell(batch.stream());
        Err(answer::forgotten(age, window))
    }

    /// Connects anew, because that is when credentials are looked at, and asks for the stream.
    async fn ask(&self) -> Result<(), SinkError> {
        let session = Session::open(&self.settings, &self.tls, self.timeout).await?;
        session.find_stream(&every_subject(&self.settings.subject)).await
    }
}

/// The template with its placeholders filled. What could be more than one token becomes one.
fn subject(template: &str, stream: &StreamId) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let org: String = stream.org.as_str().chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
    template.replace("{org}", &org).replace("{stream}", stream.kind.as_str())
}

/// What a stream has to listen to, whatever organisations and streams there are: each token with a placeholder becomes a wildcard.
fn every_subject(template: &str) -> String {
    template.split('.').map(|token| if token.contains('{') { "*" } else { token }).collect::<Vec<_>>().join(".")
}

impl fmt::Debug for NatsSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsSink").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Sink for NatsSink {
    fn probe(&self) -> BoxFuture<'_, Result<(), SinkError>> {
        Box::pin(self.ask())
    }

    fn deliver<'a>(&'a self, batch: Batch<'a>) -> BoxFuture<'a, Result<Receipt, SinkError>> {
        Box::pin(self.send(batch))
    }

    fn close(&self) -> BoxFuture<'_, Result<(), SinkError>> {
        Box::pin(async {
            // The library ends the connection when the last handle to it is gone.
            *self.session.lock().await = None;
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{OrgName, StreamKind};

    #[track_caller]
    fn check(template: &str, org: &str, one: &str, every: &str) {
        let stream = StreamId::new(OrgName::new(org), StreamKind::Audit);
        assert_eq!((subject(template, &stream).as_str(), every_subject(template).as_str()), (one, every));
    }

    #[test]
    fn a_subject_has_the_tokens_of_its_template() {
        check("miro.{org}.{stream}", "acme", "miro.acme.audit", "miro.*.*");
        check("miro.{org}.{stream}", "a.b > *", "miro.a_b____.audit", "miro.*.*");
        check("siem.miro-{stream}", "acme", "siem.miro-audit", "siem.*");
        check("miro", "acme", "miro", "miro");
    }
}

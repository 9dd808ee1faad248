//! `type = "syslog"`: RFC 5424 messages over UDP (RFC 5426), TCP with octet counting (RFC 6587 section 3.4.1), TLS (RFC 5425) or RELP.
//!
//! # What it promises
//!
//! - One event, one message, at most `message_bytes_max` long: no receiver cuts it or makes several of it. A larger `raw` record is shrunk
//!   by whole members, with the hash of the original in it (see `shrink`), one of another format as that format's own page says; an event that fits in no way is refused, and becomes a dead
//!   letter.
//! - The event's id is in the structured data, where a receiver can drop repeats by it.
//!
//! # What it cannot promise: best effort
//!
//! Syslog receivers do not answer, except over RELP, which [`relp`] is about. Over TCP and TLS a batch counts as delivered when the receiver's kernel has confirmed all of its
//! bytes and the connection is still open a moment later. What a receiver loses after that, by a crash before it has read or stored
//! them, nobody sees. Over UDP a batch counts as delivered when it was sent and no refusal came back; the network and the receiver may
//! drop datagrams without a word. Where every event counts, choose a sink that acknowledges.
//!
//! A connection that the receiver has closed meanwhile is noticed before a batch is written into it. One that breaks while a batch is
//! under way leaves the batch ambiguous: it is sent again as a whole on a new connection.
//!
//! # On a crash
//!
//! Nothing is kept here; the driver sends again what was not acknowledged.

use std::{
    fmt,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::future::BoxFuture;
use tokio::net::UdpSocket;

use super::{Batch, ErrorClass, Receipt, Sink, SinkError, Verdict};
use crate::{
    config::settings::{Format, Provenance, SyslogSettings, SyslogTransport, TlsSettings},
    net::{self, TlsError},
};

use connection::Connection;
use datagrams::DATAGRAM_BYTES_MAX;
use message::Encoder;
use relp::Relp;
use target::Target;

mod connection;
mod datagrams;
mod message;
mod relp;
mod send_queue;
mod shrink;
mod target;
mod wire;

/// For one batch over RELP, unless the configuration says otherwise.
const RELP_TIMEOUT: Duration = Duration::from_secs(30);

/// Sends syslog messages.
pub struct SyslogSink {
    target: Target,
    encoder: Encoder,
    transport: Transport,
}

/// Connections are taken out while they are used and put back when all went well: one that was dropped in mid-write is never used again.
enum Transport {
    Udp(Mutex<Vec<UdpSocket>>),
    Stream { tls: Option<Arc<rustls::ClientConfig>>, idle: Mutex<Vec<Connection>> },
    Relp(Relp),
}

/// The messages of a batch.
#[derive(Debug, Default)]
struct Messages {
    bytes: Vec<u8>,
    /// Where each message lies in `bytes`.
    ranges: Vec<Range<usize>>,
    /// The events that do not fit into a message.
    refused: Vec<usize>,
}

impl SyslogSink {
    /// With those settings. Reads certificates; connects to nobody yet.
    pub fn new(settings: &SyslogSettings, tls: &TlsSettings, provenance: Provenance) -> Result<Self, TlsError> {
        let stream = |tls| Transport::Stream { tls, idle: Mutex::default() };
        let target = Target::of(settings);
        let relp = |tls| Transport::Relp(Relp::new(target.clone(), tls, RELP_TIMEOUT));
        let (transport, bytes_max) = match settings.transport {
            SyslogTransport::Udp => (Transport::Udp(Mutex::default()), settings.message_bytes_max.min(DATAGRAM_BYTES_MAX)),
            SyslogTransport::Tcp => (stream(None), settings.message_bytes_max),
            SyslogTransport::Tls => (stream(Some(Arc::new(net::client_tls(tls)?))), settings.message_bytes_max),
            SyslogTransport::Relp => (relp(None), settings.message_bytes_max),
            SyslogTransport::RelpTls => (relp(Some(net::client_tls(tls)?)), settings.message_bytes_max),
        };
        Ok(Self { target, encoder: Encoder::new(settings, provenance, bytes_max), transport })
    }

    /// For records of that format, which decides what is left out of one that is too large; `raw` unless this says otherwise.
    #[must_use]
    pub fn with_format(mut self, format: Format) -> Self {
        self.encoder.set_format(format);
        self
    }

    /// How long a batch may take over RELP; what is answered within it counts, whatever the rest does. 30 s unless this says otherwise.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        if let Transport::Relp(relp) = &mut self.transport {
            relp.set_timeout(timeout);
        }
        self
    }

    async fn send(&self, batch: Batch<'_>) -> Result<Receipt, SinkError> {
        let messages = self.messages(batch);
        let receipt = if messages.ranges.is_empty() { Receipt::All } else { self.send_messages(&batch, &messages).await? };
        Ok(with_refused(receipt, &messages.refused, batch.len()))
    }

    fn messages(&self, batch: Batch<'_>) -> Messages {
        let mut messages = Messages { bytes: Vec::with_capacity(batch.bytes() + batch.len() * 256), ..Messages::default() };
        let mut message = Vec::new();
        for (index, (event, record)) in batch.iter().enumerate() {
            message.clear();
            if self.encoder.encode(batch.stream(), event, record, &mut message).is_err() {
                messages.refused.push(index);
                continue;
            }
            let start = messages.bytes.len();
            if let Transport::Stream { .. } = self.transport {
                messages.bytes.extend_from_slice(format!("{} ", message.len()).as_bytes());
            }
            messages.bytes.extend_from_slice(&message);
            messages.ranges.push(start..messages.bytes.len());
        }
        messages
    }

    async fn send_messages(&self, batch: &Batch<'_>, messages: &Messages) -> Result<Receipt, SinkError> {
        match &self.transport {
            Transport::Udp(idle) => {
                let socket = lock(idle).pop();
                let socket = match socket {
                    Some(socket) => socket,
                    None => datagrams::open(&self.target).await?,
                };
                // After an error the name is looked up again: the receiver may have moved.
                let receipt = datagrams::send(&self.target, &socket, &messages.bytes, &messages.ranges).await?;
                lock(idle).push(socket);
                Ok(receipt)
            }
            Transport::Stream { tls, idle } => {
                let mut connection = self.open_connection(tls.as_ref(), idle).await?;
                connection.send(&messages.bytes).await.map_err(|error| self.broken(&error))?;
                lock(idle).push(connection);
                Ok(Receipt::All)
            }
            Transport::Relp(relp) => relp.send(batch, &messages.bytes, &messages.ranges).await,
        }
    }

    /// An idle connection that is still open, or a new one.
    async fn open_connection(
        &self,
        tls: Option<&Arc<rustls::ClientConfig>>,
        idle: &Mutex<Vec<Connection>>,
    ) -> Result<Connection, SinkError> {
        loop {
            let connection = lock(idle).pop();
            match connection {
                None => return Connection::open(&self.target, tls).await,
                Some(mut connection) => {
                    if connection.is_open().await {
                        return Ok(connection);
                    }
                }
            }
        }
    }

    fn broken(&self, error: &std::io::Error) -> SinkError {
        SinkError::new(
            ErrorClass::Ambiguous,
            format!("the connection to {} broke in a batch: {error}; part of it may have arrived", self.target),
        )
    }

    async fn try_connection(&self) -> Result<(), SinkError> {
        match &self.transport {
            Transport::Udp(_) => datagrams::open(&self.target).await.map(|_| ()),
            Transport::Stream { tls, idle } => {
                let connection = self.open_connection(tls.as_ref(), idle).await?;
                lock(idle).push(connection);
                Ok(())
            }
            Transport::Relp(relp) => relp.try_session().await,
        }
    }

    async fn close_connections(&self) {
        match &self.transport {
            // A datagram socket has nobody to say goodbye to.
            Transport::Udp(_) => {}
            Transport::Stream { idle, .. } => {
                let connections = std::mem::take(&mut *lock(idle));
                for connection in connections {
                    connection.close().await;
                }
            }
            Transport::Relp(relp) => relp.close().await,
        }
    }
}

fn lock<T>(idle: &Mutex<Vec<T>>) -> MutexGuard<'_, Vec<T>> {
    // A list of connections is whole at any moment.
    idle.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Puts the verdicts of what was not sent between those of what was.
fn with_refused(receipt: Receipt, refused: &[usize], events: usize) -> Receipt {
    if refused.is_empty() {
        return receipt;
    }
    let mut sent = match receipt {
        Receipt::All | Receipt::AllNearlyFull => vec![Verdict::Accepted; events - refused.len()],
        Receipt::Each(verdicts) => verdicts,
    }
    .into_iter();
    let verdict = |index| match refused.binary_search(&index) {
        Ok(_) => Verdict::TooLarge("does not fit into message_bytes_max in any form; raise it if the receiver takes more".to_owned()),
        Err(_) => sent.next().unwrap_or(Verdict::NotTaken),
    };
    Receipt::Each((0..events).map(verdict).collect())
}

impl Sink for SyslogSink {
    fn probe(&self) -> BoxFuture<'_, Result<(), SinkError>> {
        Box::pin(self.try_connection())
    }

    fn deliver<'a>(&'a self, batch: Batch<'a>) -> BoxFuture<'a, Result<Receipt, SinkError>> {
        Box::pin(self.send(batch))
    }

    fn close(&self) -> BoxFuture<'_, Result<(), SinkError>> {
        Box::pin(async {
            self.close_connections().await;
            Ok(())
        })
    }
}

impl fmt::Debug for SyslogSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SyslogSink").field("target", &self.target).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_keep_their_places_around_what_was_not_sent() {
        use Verdict::{Accepted, NotTaken};
        let places = |receipt, refused: &[usize]| match with_refused(receipt, refused, 5) {
            Receipt::All | Receipt::AllNearlyFull => "all".to_owned(),
            Receipt::Each(verdicts) => verdicts
                .iter()
                .map(|verdict| match verdict {
                    Accepted => 'a',
                    NotTaken => '.',
                    Verdict::Unknown(_) => '?',
                    _ => 'r',
                })
                .collect(),
        };
        assert_eq!(places(Receipt::All, &[]), "all");
        assert_eq!(places(Receipt::All, &[0, 3]), "raara");
        assert_eq!(places(Receipt::Each(vec![Accepted, NotTaken, NotTaken]), &[1, 4]), "ar..r");
    }
}

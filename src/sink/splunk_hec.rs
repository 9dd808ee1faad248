//! Splunk's HTTP Event Collector, and the receivers that speak its protocol.
//!
//! One request carries a batch as concatenated JSON envelopes. What an answer means is decided in `answer`; with `ack = true` an
//! event counts as delivered only when the indexers have acknowledged it, which `channel` waits for.
//!
//! Whose collector it is decides where it listens, under which word it takes the token, and what an answer without a code means; see
//! `dialect`.
//!
//! What it does not do: guess. An answer that is not HEC's is never a success, and an acknowledgement that cannot be asked for is
//! never an acknowledgement. Rules: Splunk's "HTTP Event Collector" pages and `inputs.conf`; where those are silent, measurements
//! on Splunk Enterprise 10.4 and Splunk Cloud 10.5.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::future::BoxFuture;
use reqwest::{StatusCode, header};
use secrecy::SecretString;
use url::Url;

use self::{
    answer::{AckId, Hec, Outcome, Queues},
    channel::{Channel, POLL_FIRST, POLL_LAST},
    dialect::Endpoints,
    envelope::Envelopes,
};
use super::{
    Batch, ErrorClass, Receipt, Sink, SinkError, Verdict,
    http::{self, Answer, BuildError, Connection, Http, Receiver},
};
use crate::{
    config::settings::{Compression, IndexerAck, Provenance, SplunkHecSettings},
    event::StreamId,
};

mod answer;
mod channel;
mod dialect;
mod envelope;

/// With it a batch of ordinary events and its envelopes stay near 1 MB, a fifth of what Splunk Cloud takes.
pub const DEFAULT_BATCH_EVENTS: usize = 1_000;
/// Of encoded events, without their envelopes. Splunk Cloud refuses bodies from about 5 MiB on.
pub const DEFAULT_BATCH_BYTES: usize = 1_000_000;

/// Smaller bodies, such as questions about an acknowledgement, gain nothing.
const GZIP_BYTES_MIN: usize = 1024;

/// A sink of type `splunk_hec`.
#[derive(Debug)]
pub struct SplunkHecSink {
    settings: SplunkHecSettings,
    connection: Connection,
    provenance: Provenance,
    receiver: Receiver,
    endpoints: Endpoints,
    http: Http,
    /// One for each stream: acknowledgement ids belong to a channel, and one batch of a stream is in flight at a time.
    channels: Mutex<HashMap<StreamId, Arc<Channel>>>,
}

impl SplunkHecSink {
    /// A sink with those settings. It does not connect.
    pub fn new(settings: SplunkHecSettings, connection: Connection, provenance: Provenance) -> Result<Self, BuildError> {
        if settings.compression == Compression::Zstd {
            return Err(BuildError::setting("compression", "is zstd, which HEC does not take: gzip or none"));
        }
        Ok(Self {
            receiver: Receiver::new(dialect::name(settings.dialect), &settings.url),
            endpoints: Endpoints::of(&settings),
            http: Http::new(&connection)?,
            channels: Mutex::default(),
            settings,
            connection,
            provenance,
        })
    }

    /// The channel of a stream. With acknowledgement it has connections of its own, so that questions about acknowledgement reach
    /// the indexer that took the batch, as far as a load balancer goes by the connection.
    fn channel(&self, stream: &StreamId) -> Result<Arc<Channel>, SinkError> {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(channel) = channels.get(stream) {
            return Ok(Arc::clone(channel));
        }
        let channel = Arc::new(self.new_channel()?);
        channels.insert(stream.clone(), Arc::clone(&channel));
        Ok(channel)
    }

    fn new_channel(&self) -> Result<Channel, SinkError> {
        let http = match self.settings.ack {
            IndexerAck::Off => self.http.clone(),
            IndexerAck::On => Http::new(&self.connection).map_err(|error| SinkError::new(ErrorClass::Config, error.to_string()))?,
        };
        Ok(Channel::new(http))
    }

    /// Forgets a channel, so that the next delivery begins one: what is pending on the old one can no longer be told apart from lost.
    fn give_up(&self, stream: &StreamId) {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner).remove(stream);
    }

    fn token(&self) -> Result<SecretString, SinkError> {
        http::read_secret("token", &self.settings.token)
    }

    fn read<'a>(&'a self, answer: &'a Answer, token: &'a SecretString) -> Hec<'a> {
        Hec { answer, receiver: &self.receiver, token, dialect: self.settings.dialect }
    }

    async fn send(&self, batch: Batch<'_>) -> Result<Receipt, SinkError> {
        if batch.is_empty() {
            return Ok(Receipt::All);
        }
        let token = self.token()?;
        let channel = self.channel(batch.stream())?;
        let body = Envelopes::new(&self.settings, self.provenance, batch.stream()).encode(&batch);
        let plain_bytes = body.len();
        let answer = self.post(&channel, &token, &self.endpoints.event, body).await?;
        let hec = self.read(&answer, &token);
        let outcome = hec.outcome(&batch, plain_bytes)?;
        if self.settings.ack == IndexerAck::On && outcome.accepted > 0 {
            let id = hec.ack_id()?;
            self.acknowledged(&channel, &token, id, batch.stream()).await?;
        }
        Ok(receipt(outcome, batch.len()))
    }

    async fn post(&self, channel: &Channel, token: &SecretString, url: &Url, body: Vec<u8>) -> Result<Answer, SinkError> {
        let mut request = channel
            .http()
            .client()
            .post(url.clone())
            .header(header::AUTHORIZATION, http::credential_header("token", self.endpoints.auth_scheme, token)?)
            .header(header::CONTENT_TYPE, "application/json");
        request = channel.mark(request);
        let request = match self.settings.compression {
            Compression::Gzip if body.len() >= GZIP_BYTES_MIN => request.header(header::CONTENT_ENCODING, "gzip").body(http::gzip(&body)),
            _ => request.body(body),
        };
        let answer = channel.http().send(request).await.map_err(|fault| fault.into_error(&self.receiver))?;
        channel.remember(&answer);
        Ok(answer)
    }

    /// Waits until the indexers have acknowledged. Only `true` counts, and it is said once: it ends the wait where it is read.
    /// A question that fails for the moment is asked again; one that is refused ends the wait, and never as a success.
    async fn acknowledged(&self, channel: &Channel, token: &SecretString, id: AckId, stream: &StreamId) -> Result<(), SinkError> {
        let wait = async {
            let mut pause = POLL_FIRST;
            loop {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(POLL_LAST);
                if self.ask(channel, token, id).await? {
                    return Ok(());
                }
            }
        };
        tokio::time::timeout(self.settings.ack_timeout, wait).await.unwrap_or_else(|_| {
            self.give_up(stream);
            Err(SinkError::new(ErrorClass::Ambiguous, self.unacknowledged()))
        })
    }

    fn unacknowledged(&self) -> String {
        format!(
            "get an acknowledgement from {} within {:?}: the events may be indexed and are sent again on a new channel; \
             check the indexers, and that a load balancer keeps a client on one indexer",
            self.receiver, self.settings.ack_timeout
        )
    }

    async fn ask(&self, channel: &Channel, token: &SecretString, id: AckId) -> Result<bool, SinkError> {
        match self.post(channel, token, &self.endpoints.ack, id.question()).await {
            Ok(answer) => self.read(&answer, token).acknowledged(id),
            Err(error) => match error.class() {
                ErrorClass::Retryable | ErrorClass::Ambiguous | ErrorClass::Throttled(_) => Ok(false),
                _ => Err(error),
            },
        }
    }

    /// Health says whether HEC can take events. It does not look at the token on every version, so an empty delivery does: a good
    /// token is answered with "no data". An acknowledgement is asked for on a channel of its own, where nothing is pending.
    async fn try_out(&self) -> Result<(), SinkError> {
        let token = self.token()?;
        let channel = self.new_channel()?;
        self.health(&channel, &token).await?;
        let answer = self.post(&channel, &token, &self.endpoints.event, Vec::new()).await?;
        self.read(&answer, &token).no_data()?;
        if self.settings.ack == IndexerAck::On {
            let answer = self.post(&channel, &token, &self.endpoints.ack, AckId::FIRST.question()).await?;
            self.read(&answer, &token).acknowledged(AckId::FIRST)?;
        }
        Ok(())
    }

    async fn health(&self, channel: &Channel, token: &SecretString) -> Result<(), SinkError> {
        let Some(url) = &self.endpoints.health else { return Ok(()) };
        let request = self.http.client().get(url.clone());
        let request = request.header(header::AUTHORIZATION, http::credential_header("token", self.endpoints.auth_scheme, token)?);
        let answer = self.http.send(channel.mark(request)).await.map_err(|fault| fault.into_error(&self.receiver))?;
        // Receivers that only speak HEC's language often have no health page.
        if matches!(answer.status, StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED) {
            return Ok(());
        }
        self.read(&answer, token).healthy()
    }
}

fn receipt(outcome: Outcome, events: usize) -> Receipt {
    if outcome.accepted >= events {
        return if outcome.queues == Queues::NearlyFull { Receipt::AllNearlyFull } else { Receipt::All };
    }
    let mut verdicts = vec![Verdict::Accepted; outcome.accepted];
    verdicts.extend(outcome.refused.map(Verdict::Rejected));
    verdicts.resize(events, Verdict::NotTaken);
    Receipt::Each(verdicts)
}

impl Sink for SplunkHecSink {
    fn probe(&self) -> BoxFuture<'_, Result<(), SinkError>> {
        Box::pin(self.try_out())
    }

    fn deliver<'a>(&'a self, batch: Batch<'a>) -> BoxFuture<'a, Result<Receipt, SinkError>> {
        Box::pin(self.send(batch))
    }

    fn close(&self) -> BoxFuture<'_, Result<(), SinkError>> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner).clear();
        Box::pin(std::future::ready(Ok(())))
    }
}

//! Azure Monitor's Logs Ingestion API: Microsoft Sentinel and Log Analytics, into the tables that Miro's own Sentinel solution uses.
//!
//! A batch is one JSON array. What Azure would do in silence is done here and said: a body that is too large is not sent at all, a
//! field that is too long is shortened with a marker, and a record that is no object, which Azure would answer with 204 and throw
//! away, is refused. A table that takes only half an hour of events at once is sent parts by time.
//!
//! What a 204 does not prove: that the rows are stored. A rule whose transformation fails says so only in Azure (the rule's metrics
//! and the table DCRLogErrors). Rules: Microsoft's pages "Logs Ingestion API in Azure Monitor" and "Azure Monitor service limits".

use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use reqwest::{StatusCode, header};
use secrecy::SecretString;
use url::Url;
use uuid::Uuid;

use self::{body::Rows, token::Tokens};
use super::{
    Batch, ErrorClass, Receipt, Sink, SinkError, Verdict,
    http::{self, Answer, BuildError, Connection, Http, Receiver},
};
use crate::{
    config::settings::{AzureMonitorSettings, Compression},
    event::StreamKind,
};

mod answer;
mod body;
mod time_range;
mod token;

/// With it a batch of ordinary events stays below the limit of a call before compression.
pub const DEFAULT_BATCH_EVENTS: usize = 1_000;
/// Of encoded events. Microsoft documents 1 MB a call "compressed and uncompressed"; its own clients cut there before compression.
pub const DEFAULT_BATCH_BYTES: usize = 1_000_000;

/// What the service checks: the body as it is sent.
const SENT_BYTES_MAX: usize = 1024 * 1024;
const API_VERSION: &str = "2023-01-01";

/// A sink of type `azure_monitor`.
#[derive(Debug)]
pub struct AzureMonitorSink {
    settings: AzureMonitorSettings,
    receiver: Receiver,
    http: Http,
    tokens: Tokens,
    /// Streams whose tables have said that they take only so much time at once.
    narrow: Mutex<BTreeSet<StreamKind>>,
}

impl AzureMonitorSink {
    /// A sink with those settings. It does not connect.
    pub fn new(settings: AzureMonitorSettings, connection: &Connection) -> Result<Self, BuildError> {
        if settings.compression == Compression::Zstd {
            return Err(BuildError::setting("compression", "is zstd, which Azure does not take: gzip or none"));
        }
        if settings.endpoint.scheme() != "https" {
            return Err(BuildError::setting("endpoint", "is no https URL: access tokens are not sent in clear"));
        }
        Ok(Self {
            receiver: Receiver::new("Azure Monitor", &settings.endpoint),
            http: Http::new(connection)?,
            tokens: Tokens::new(&settings, connection)?,
            narrow: Mutex::default(),
            settings,
        })
    }

    fn stream(&self, kind: StreamKind) -> &str {
        match kind {
            // Events of our own are shaped like audit events, so that no table has to be made for them.
            StreamKind::Audit | StreamKind::Forwarder => &self.settings.audit_stream,
            StreamKind::Content => &self.settings.content_stream,
            StreamKind::Ai => &self.settings.ai_stream,
            StreamKind::Licenses => &self.settings.licenses_stream,
        }
    }

    fn url(&self, kind: StreamKind) -> Url {
        let mut url = http::join(&self.settings.endpoint, "/");
        if let Ok(mut path) = url.path_segments_mut() {
            // Pushing escapes what is no plain segment, so that a name cannot lead elsewhere.
            path.pop_if_empty().extend(["dataCollectionRules", &self.settings.dcr_id, "streams", self.stream(kind)]);
        }
        url.query_pairs_mut().append_pair("api-version", API_VERSION);
        url
    }

    /// Sends a batch. The answer that it spans too much time comes from a table of the Auxiliary plan: from then on its stream is sent as
    /// much as spans less, from the front, and the rest is left for the next delivery.
    async fn send(&self, batch: Batch<'_>) -> Result<Receipt, SinkError> {
        let kind = batch.stream().kind;
        if !self.narrow().contains(&kind) {
            match self.send_whole(batch).await {
                Err(Refused::TimeRange) => drop(self.narrow().insert(kind)),
                Err(Refused::Error(error)) => return Err(error),
                Ok(receipt) => return Ok(receipt),
            }
        }
        let count = time_range::leading(batch.events());
        let (front, rest) = batch.split_at(count);
        let receipt = self.send_whole(front).await.map_err(|refused| match refused {
            Refused::Error(error) => error,
            Refused::TimeRange => SinkError::new(ErrorClass::Rejected, self.too_much_time(count)),
        })?;
        if rest.is_empty() {
            return Ok(receipt);
        }
        let mut verdicts = match receipt {
            Receipt::Each(verdicts) => verdicts,
            Receipt::All | Receipt::AllNearlyFull => vec![Verdict::Accepted; count],
        };
        verdicts.resize(batch.len(), Verdict::NotTaken);
        Ok(Receipt::Each(verdicts))
    }

    fn narrow(&self) -> MutexGuard<'_, BTreeSet<StreamKind>> {
        self.narrow.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn too_much_time(&self, events: usize) -> String {
        format!(
            "deliver to {}: it says that {events} events within {} minutes span more than 30; their times are hardly what it goes by: \
             check the transformation in the data collection rule",
            self.receiver,
            time_range::SPAN_MAX.as_secs() / 60
        )
    }

    async fn send_whole(&self, batch: Batch<'_>) -> Result<Receipt, Refused> {
        let (body, refused) = Rows::of(&batch).into_body(self.settings.compression);
        let Some(body) = body else { return Ok(receipt(refused)) };
        if body.len() > SENT_BYTES_MAX {
            return Err(Refused::Error(self.too_large(body.len())));
        }
        let answered = self.post(batch.stream().kind, body).await.map_err(Refused::Error)?;
        if answered.answer.status.is_success() {
            return Ok(receipt(refused));
        }
        Err(if answer::spans_too_much_time(&answered.answer) { Refused::TimeRange } else { Refused::Error(answered.error(self, &batch)) })
    }

    fn too_large(&self, bytes: usize) -> SinkError {
        let message = format!("deliver to {}: the request would have {bytes} bytes, and it takes {SENT_BYTES_MAX}", self.receiver);
        SinkError::new(ErrorClass::TooLarge, message)
    }

    /// Sends a body. A token that is refused may have been revoked before its time: it is dropped, and the body is sent once more
    /// with a new one.
    async fn post(&self, kind: StreamKind, body: Bytes) -> Result<Answered, SinkError> {
        let answered = self.post_with(self.tokens.token().await?, kind, body.clone()).await?;
        if answered.answer.status != StatusCode::UNAUTHORIZED {
            return Ok(answered);
        }
        self.tokens.forget();
        self.post_with(self.tokens.token().await?, kind, body).await
    }

    async fn post_with(&self, token: SecretString, kind: StreamKind, body: Bytes) -> Result<Answered, SinkError> {
        let request_id = Uuid::new_v4();
        let mut request = self
            .http
            .client()
            .post(self.url(kind))
            .header(header::AUTHORIZATION, http::credential_header("the access token", "Bearer", &token)?)
            .header(header::CONTENT_TYPE, "application/json")
            .header("x-ms-client-request-id", request_id.to_string());
        if self.settings.compression == Compression::Gzip {
            request = request.header(header::CONTENT_ENCODING, "gzip");
        }
        let answer = self.http.send(request.body(body)).await.map_err(|fault| fault.into_error(&self.receiver))?;
        Ok(Answered { answer, token, request_id, kind })
    }
}

/// Why a batch was not taken.
enum Refused {
    /// It spans more time than the table takes at once.
    TimeRange,
    Error(SinkError),
}

/// An answer, and what is needed to speak about it.
struct Answered {
    answer: Answer,
    token: SecretString,
    request_id: Uuid,
    kind: StreamKind,
}

impl Answered {
    fn error(&self, sink: &AzureMonitorSink, batch: &Batch<'_>) -> SinkError {
        answer::refusal(&answer::Context {
            answer: &self.answer,
            receiver: &sink.receiver,
            token: &self.token,
            request_id: self.request_id,
            dcr_id: &sink.settings.dcr_id,
            stream: sink.stream(self.kind),
            batch,
        })
    }
}

/// One verdict for each record where some are no objects.
fn receipt(refused: Vec<Option<String>>) -> Receipt {
    if refused.iter().all(Option::is_none) {
        return Receipt::All;
    }
    Receipt::Each(refused.into_iter().map(|why| why.map_or(Verdict::Accepted, Verdict::Unencodable)).collect())
}

impl Sink for AzureMonitorSink {
    /// Gets a token. Whether the rule takes events from it, only an event can show.
    fn probe(&self) -> BoxFuture<'_, Result<(), SinkError>> {
        Box::pin(async { self.tokens.token().await.map(drop) })
    }

    fn deliver<'a>(&'a self, batch: Batch<'a>) -> BoxFuture<'a, Result<Receipt, SinkError>> {
        Box::pin(self.send(batch))
    }

    fn close(&self) -> BoxFuture<'_, Result<(), SinkError>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

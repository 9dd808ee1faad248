//! Elasticsearch and OpenSearch: `_bulk` with `create` into a data stream.
//!
//! Every document has an `_id` made from its organisation, stream and event id. So a batch may be sent again whenever it is not known
//! what became of it: what is there already answers 409, which is a success. That holds within the data stream's current write index;
//! a batch that is sent again after a rollover makes second documents, and `_miro_siem.id` is what a search drops them by.
//!
//! A bulk answers for each document by itself; `answer` reads what it says.
//!
//! What it does not do: make templates, data streams or mappings; sign requests for AWS. Where a failure store takes a document that
//! does not fit its mapping, that counts as delivered: the receiver has it.
//! Rules: Elastic's pages "Bulk API" and "Data streams"; OpenSearch's of the same names.

use std::fmt;

use futures_util::future::BoxFuture;
use reqwest::{
    RequestBuilder,
    header::{self, HeaderValue},
};
use url::Url;

use self::answer::Reply;
use super::{
    Batch, ErrorClass, Receipt, Sink, SinkError,
    http::{self, Authorization, BuildError, Connection, Http, Receiver},
};
use crate::{config::settings::ElasticsearchSettings, event::StreamId};

mod answer;
mod body;

/// With it a batch of ordinary events is a bulk of about a megabyte.
pub const DEFAULT_BATCH_EVENTS: usize = 1_000;
/// Of encoded events. Elastic advises bulks of a few megabytes; `http.max_content_length` is 100 MB.
pub const DEFAULT_BATCH_BYTES: usize = 5_000_000;

/// Only what is read of an answer: a bulk's whole answer is several hundred bytes for each document.
const FILTER_PATH: &str = "error.type,error.reason,items.*.status,items.*.error.type,items.*.error.reason";

/// A sink of type `elasticsearch`.
pub struct ElasticsearchSink {
    settings: ElasticsearchSettings,
    receiver: Receiver,
    http: Http,
}

impl ElasticsearchSink {
    /// A sink with those settings. It does not connect.
    ///
    /// # Errors
    /// If TLS cannot be set up.
    pub fn new(settings: ElasticsearchSettings, connection: &Connection) -> Result<Self, BuildError> {
        Ok(Self { receiver: Receiver::new("Elasticsearch", &settings.url), http: Http::new(connection)?, settings })
    }

    /// Where a stream's events go.
    fn bulk_url(&self, stream: &StreamId) -> Url {
        let name = data_stream(&self.settings, stream);
        let mut url = http::join(&self.settings.url, &format!("/{name}/_bulk"));
        url.set_query(Some(&format!("filter_path={FILTER_PATH}")));
        url
    }

    async fn send(&self, batch: Batch<'_>) -> Result<Receipt, SinkError> {
        if batch.is_empty() {
            return Ok(Receipt::All);
        }
        let authorization = Authorization::read(&self.settings.credential)?;
        let (body, encoding) = http::compressed(self.settings.compression, body::bulk(&batch))?;
        let mut request = self.http.client().post(self.bulk_url(batch.stream())).body(body);
        request = request.header(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
        if let Some(encoding) = encoding {
            request = request.header(header::CONTENT_ENCODING, encoding);
        }
        let answer =
            self.http.send(authorized(request, &authorization)).await.map_err(|fault| self.safe(fault.into_error(&self.receiver)))?;
        Reply { answer: &answer, receiver: &self.receiver, authorization: &authorization }.receipt(&batch)
    }

    /// What may have arrived can be sent again: the ids see to it that nothing is there twice.
    fn safe(&self, error: SinkError) -> SinkError {
        match error.class() {
            ErrorClass::Ambiguous => SinkError::new(ErrorClass::Retryable, error.to_string()),
            _ => error,
        }
    }

    /// Asks who is there. A key that may only write gets 403 for that, which shows all the same that it is known.
    async fn ask(&self) -> Result<(), SinkError> {
        let authorization = Authorization::read(&self.settings.credential)?;
        let request = self.http.client().get(http::join(&self.settings.url, "/"));
        let answer = self.http.send(authorized(request, &authorization)).await.map_err(|fault| fault.into_error(&self.receiver))?;
        let reply = Reply { answer: &answer, receiver: &self.receiver, authorization: &authorization };
        if answer.status.is_success() || answer.status == reqwest::StatusCode::FORBIDDEN { Ok(()) } else { Err(reply.refusal(None)) }
    }
}

fn authorized(request: RequestBuilder, authorization: &Authorization) -> RequestBuilder {
    match authorization.header() {
        Some(value) => request.header(header::AUTHORIZATION, value),
        None => request,
    }
}

/// The name with its placeholders filled. Names of data streams have no upper case.
fn data_stream(settings: &ElasticsearchSettings, stream: &StreamId) -> String {
    settings
        .data_stream
        .replace("{org}", &stream.org.as_str().to_ascii_lowercase())
        .replace("{stream}", stream.kind.as_str())
        .replace("{namespace}", &settings.namespace)
}

impl fmt::Debug for ElasticsearchSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ElasticsearchSink").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Sink for ElasticsearchSink {
    fn probe(&self) -> BoxFuture<'_, Result<(), SinkError>> {
        Box::pin(self.ask())
    }

    fn deliver<'a>(&'a self, batch: Batch<'a>) -> BoxFuture<'a, Result<Receipt, SinkError>> {
        Box::pin(self.send(batch))
    }

    fn close(&self) -> BoxFuture<'_, Result<(), SinkError>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

//! OpenTelemetry logs over HTTP (OTLP/HTTP): collectors, and the many backends that take logs this way.
//!
//! One request carries a batch as log records of one resource; what a record looks like is decided in `body`, what an answer means in
//! `answer`. The body of a log record is the event's record as text, byte for byte, not a structure that a receiver would spell anew.
//!
//! # Where it leaves the specification
//!
//! The specification tells a client what to drop. Nothing is dropped here:
//!
//! - "Partial success" says how many records were refused, not which, and forbids to send the request again, as that would repeat those
//!   that were taken. All refused: each becomes a dead letter. Some refused: each event of the request becomes a dead letter under the
//!   reason `maybe_rejected`, and it is a person who decides to send them again, at the price of repeats: `dead-letters retry`
//!   then sends each alone, so that an answer is about one event, and counts the others as possible duplicates. So a request holds few events.
//! - A request that is refused as a whole (400, and 5xx but 502, 503 and 504) is not dropped: it is bisected until the refused event is
//!   found. A 5xx is doubted a few times before, because it may be the receiver's own state (see `patience`).
//!
//! What it does not do: gRPC, traces, metrics. Rules: OTLP 1.x ("OTLP/HTTP"), the logs data model, and its semantic conventions.

use std::fmt;

use futures_util::future::BoxFuture;
use prost::Message as _;
use reqwest::header::{self, HeaderMap, HeaderValue};
use secrecy::SecretString;
use url::Url;

use self::{answer::Reply, body::Template};
use super::{
    Batch, Receipt, Sink, SinkError,
    http::{self, Authorization, BuildError, Connection, Http, Receiver},
    patience::Patience,
};
use crate::config::settings::{Compression, OtlpEncoding, OtlpSettings, Provenance};

mod answer;
mod body;

/// So many events are set aside at most where a receiver refuses one of them and does not say which.
pub const DEFAULT_BATCH_EVENTS: usize = 200;
/// Of encoded events. Collectors take 20 MiB, backends that bill by the byte often 1 MB.
pub const DEFAULT_BATCH_BYTES: usize = 900_000;

/// Where logs go, below a base address; an address that ends with it is one that names the logs already.
const PATH: &str = "/v1/logs";

/// A sink of type `otlp`.
pub struct OtlpSink {
    settings: OtlpSettings,
    template: Template,
    receiver: Receiver,
    url: Url,
    http: Http,
    patience: Patience,
}

/// What of a request is read anew for each, so that changed files are picked up.
struct Head {
    headers: HeaderMap,
    secrets: Vec<SecretString>,
}

impl OtlpSink {
    /// A sink with those settings. It does not connect.
    ///
    /// # Errors
    /// If TLS cannot be set up, or a setting cannot be used.
    pub fn new(settings: OtlpSettings, connection: &Connection, provenance: Provenance) -> Result<Self, BuildError> {
        if settings.compression == Compression::Zstd {
            return Err(BuildError::setting("compression", "is zstd, which OTLP does not have: gzip or none"));
        }
        http::check_header_names(&settings.headers)?;
        Ok(Self {
            template: Template::new(&settings, provenance),
            receiver: Receiver::new("the OTLP receiver", &settings.url),
            url: logs_url(&settings.url),
            http: Http::new(connection)?,
            patience: Patience::default(),
            settings,
        })
    }

    fn head(&self) -> Result<Head, SinkError> {
        let authorization = Authorization::read(&self.settings.credential)?;
        let (mut headers, mut secrets) = http::read_headers(&self.settings.headers)?;
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type(self.settings.encoding)));
        if let Some(value) = authorization.header() {
            headers.insert(header::AUTHORIZATION, value);
        }
        secrets.extend(authorization.secrets().cloned());
        Ok(Head { headers, secrets })
    }

    async fn send(&self, batch: Batch<'_>) -> Result<Receipt, SinkError> {
        if batch.is_empty() {
            return Ok(Receipt::All);
        }
        self.post(Some(&batch)).await
    }

    /// A request with a batch, or with nothing: that is legal, has no effect, and shows whether address and credentials are good.
    async fn post(&self, batch: Option<&Batch<'_>>) -> Result<Receipt, SinkError> {
        let head = self.head()?;
        let request = self.template.request(batch);
        let body = match self.settings.encoding {
            OtlpEncoding::Protobuf => request.encode_to_vec(),
            OtlpEncoding::Json => serde_json::to_vec(&request).expect("texts and numbers are always JSON, and memory does not fail"),
        };
        let (body, encoding) = http::compressed(self.settings.compression, body)?;
        let mut request = self.http.client().post(self.url.clone()).headers(head.headers).body(body);
        if let Some(encoding) = encoding {
            request = request.header(header::CONTENT_ENCODING, encoding);
        }
        let answer = self.http.send(request).await.map_err(|fault| fault.into_error(&self.receiver))?;
        Reply { answer: &answer, receiver: &self.receiver, secrets: &head.secrets, batch, patience: &self.patience }.receipt()
    }
}

fn content_type(encoding: OtlpEncoding) -> &'static str {
    match encoding {
        OtlpEncoding::Protobuf => "application/x-protobuf",
        OtlpEncoding::Json => "application/json",
    }
}

/// The rule of the specification's exporters for a base address, and its rule for one that names the logs, told apart by the path.
fn logs_url(base: &Url) -> Url {
    if base.path().trim_end_matches('/').ends_with(PATH) { base.clone() } else { http::join(base, PATH) }
}

impl fmt::Debug for OtlpSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OtlpSink").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Sink for OtlpSink {
    fn probe(&self) -> BoxFuture<'_, Result<(), SinkError>> {
        Box::pin(async { self.post(None).await.map(drop) })
    }

    fn deliver<'a>(&'a self, batch: Batch<'a>) -> BoxFuture<'a, Result<Receipt, SinkError>> {
        Box::pin(self.send(batch))
    }

    fn close(&self) -> BoxFuture<'_, Result<(), SinkError>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_logs_is_added_unless_it_is_there() {
        let check = |base: &str, expected: &str| assert_eq!(logs_url(&base.parse().expect("a URL")).as_str(), expected);
        check("http://collector:4318", "http://collector:4318/v1/logs");
        check("http://collector:4318/", "http://collector:4318/v1/logs");
        check("https://gateway.example.com/otlp", "https://gateway.example.com/otlp/v1/logs");
        check("https://gateway.example.com/otlp/v1/logs", "https://gateway.example.com/otlp/v1/logs");
        check("https://gateway.example.com/v1/logs/", "https://gateway.example.com/v1/logs/");
    }
}

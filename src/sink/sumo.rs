//! A Sumo Logic HTTP source: one line per event, Miro's own object, so that Sumo's Miro app can read it.
//!
//! The URL is the credential. It never gets into an error, a log or a `Debug`; only its host does.
//!
//! What an answer does not say: while an ingest budget is spent, Sumo answers 200 and drops the data. Nobody can tell from here.
//! Rules: Sumo's pages "Upload Logs to an HTTP Source" and "HTTP Source troubleshooting".

use std::fmt;

use futures_util::future::BoxFuture;
use reqwest::{
    StatusCode,
    header::{self, HeaderMap, HeaderName, HeaderValue},
};

use super::{
    Batch, ErrorClass, Receipt, Sink, SinkError,
    http::{self, Answer, BuildError, Connection, Http, Receiver, SecretUrl},
    ndjson,
};
use crate::config::settings::SumoSettings;

/// With it a batch of ordinary events fills the size that Sumo advises.
pub const DEFAULT_BATCH_EVENTS: usize = 1_000;
/// Sumo advises 100 KB to 1 MB before compression in each request.
pub const DEFAULT_BATCH_BYTES: usize = 1_000_000;

const RECEIVER: &str = "the Sumo Logic source";

/// A sink of type `sumo`.
pub struct SumoSink {
    settings: SumoSettings,
    metadata: HeaderMap,
    http: Http,
}

impl SumoSink {
    /// A sink with those settings. It does not connect.
    pub fn new(settings: SumoSettings, connection: &Connection) -> Result<Self, BuildError> {
        Ok(Self { metadata: metadata(&settings)?, http: Http::new(connection)?, settings })
    }

    fn url(&self) -> Result<SecretUrl, SinkError> {
        SecretUrl::read("url", &self.settings.url, "copy the HTTP source's address from Sumo again")
    }

    async fn send(&self, batch: Batch<'_>) -> Result<Receipt, SinkError> {
        if batch.is_empty() {
            return Ok(Receipt::All);
        }
        let url = self.url()?;
        let receiver = url.receiver(RECEIVER);
        let (body, encoding) = http::compressed(self.settings.compression, ndjson::lines(batch))?;
        let mut request = self.http.client().post(url.url().clone()).headers(self.metadata.clone()).body(body);
        if let Some(encoding) = encoding {
            request = request.header(header::CONTENT_ENCODING, encoding);
        }
        let answer = self.http.send(request).await.map_err(|fault| fault.into_error(&receiver))?;
        if answer.status.is_success() { Ok(Receipt::All) } else { Err(refusal(&answer, &receiver, &url, &batch)) }
    }
}

/// The headers that say where events belong; the same for every request.
fn metadata(settings: &SumoSettings) -> Result<HeaderMap, BuildError> {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    let plain = [
        ("category", "x-sumo-category", &settings.category),
        ("name", "x-sumo-name", &settings.name),
        ("host", "x-sumo-host", &settings.host),
    ];
    for (key, header, value) in plain {
        if let Some(value) = value {
            headers.insert(HeaderName::from_static(header), header_value(key, value)?);
        }
    }
    if !settings.fields.is_empty() {
        headers.insert(HeaderName::from_static("x-sumo-fields"), header_value("fields", &fields(&settings.fields)?)?);
    }
    Ok(headers)
}

/// `k=v,k2=v2`: there is no way to write either sign inside.
fn fields(fields: &[(String, String)]) -> Result<String, BuildError> {
    let bad = |text: &str| text.is_empty() || text.contains([',', '=']);
    if let Some((name, _)) = fields.iter().find(|(name, value)| bad(name) || bad(value)) {
        return Err(BuildError::setting("fields", format!("has {name:?}, whose name or value is empty or holds ',' or '='")));
    }
    Ok(fields.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(","))
}

fn header_value(key: &'static str, value: &str) -> Result<HeaderValue, BuildError> {
    HeaderValue::from_bytes(value.as_bytes()).map_err(|_| BuildError::setting(key, "holds control characters"))
}

fn refusal(answer: &Answer, receiver: &Receiver, url: &SecretUrl, batch: &Batch<'_>) -> SinkError {
    let (class, mend) = match answer.status {
        StatusCode::BAD_REQUEST => (ErrorClass::Rejected, "it cannot read the request"),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => (ErrorClass::Auth, "check url: the source's address may have been replaced"),
        StatusCode::NOT_FOUND => (ErrorClass::Config, "check url: there is no such source"),
        // The connection is closed after 30 s, and what had been read by then may be in.
        StatusCode::REQUEST_TIMEOUT => (ErrorClass::Ambiguous, "it waited too long for the request; part of it may be in"),
        StatusCode::PAYLOAD_TOO_LARGE => (ErrorClass::TooLarge, "the request is larger than it takes"),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => (ErrorClass::Config, "it does not take this compression; set compression = \"gzip\""),
        StatusCode::TOO_MANY_REQUESTS => (ErrorClass::Throttled(answer.retry_after()), "the account's quota is used up for now"),
        status if status.is_server_error() => (answer.class(), "it failed inside or is overloaded"),
        _ => (answer.class(), "the answer is none that Sumo documents; check url and proxies in between"),
    };
    let secrets: Vec<_> = url.secrets().collect();
    let words = http::excerpt(&String::from_utf8_lossy(&answer.body), &secrets, Some(batch));
    let status = answer.status.as_u16();
    let words = if words.is_empty() { format!("HTTP {status}") } else { format!("HTTP {status} ({words})") };
    SinkError::new(class, format!("deliver to {receiver}: {words}: {mend}"))
}

impl fmt::Debug for SumoSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SumoSink").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Sink for SumoSink {
    fn probe(&self) -> BoxFuture<'_, Result<(), SinkError>> {
        Box::pin(async { self.url()?.connect(&self.http, RECEIVER).await })
    }

    fn deliver<'a>(&'a self, batch: Batch<'a>) -> BoxFuture<'a, Result<Receipt, SinkError>> {
        Box::pin(self.send(batch))
    }

    fn close(&self) -> BoxFuture<'_, Result<(), SinkError>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

//! Any receiver of JSON over HTTP: one request carries a batch, as lines or as an array, signed by Standard Webhooks where it is asked for.
//!
//! Nothing is known of the receiver but what HTTP says: 200 to 299 is a success, and the answer's body is only read to be shown.
//! A receiver that has to drop repeats can do so by `_miro_siem.id` in each record, and, of signed requests, by `webhook-id`: it is the
//! same whenever the same batch is sent again.
//!
//! What it does not do: follow redirects, or take "410 gone" for the end. The data waits until the configuration is mended.
//! Rules: RFC 9110; the Standard Webhooks specification.

use std::{fmt, time::SystemTime};

use futures_util::future::BoxFuture;
use reqwest::{
    RequestBuilder,
    header::{self, HeaderMap, HeaderValue},
};
use secrecy::SecretString;
use serde_json::value::RawValue;

use self::signature::SigningKey;
use super::{
    Batch, ErrorClass, Receipt, Sink, SinkError,
    http::{self, Answer, Authorization, BuildError, Connection, Http, SecretUrl},
    ndjson,
};
use crate::config::settings::{HttpWebhookSettings, WebhookBody};

mod signature;

/// With it a batch of ordinary events stays near 1 MB, which most receivers take.
pub const DEFAULT_BATCH_EVENTS: usize = 1_000;
/// Of encoded events. Collectors document limits from 1 MB on.
pub const DEFAULT_BATCH_BYTES: usize = 900_000;

const RECEIVER: &str = "the HTTP receiver";

/// A sink of type `http`.
pub struct HttpWebhookSink {
    settings: HttpWebhookSettings,
    http: Http,
}

/// Everything of a request that is read anew for each, so that changed files are picked up.
struct Target {
    url: SecretUrl,
    headers: HeaderMap,
    signing_key: Option<SigningKey>,
    secrets: Vec<SecretString>,
}

impl HttpWebhookSink {
    /// A sink with those settings. It does not connect.
    ///
    /// # Errors
    /// If TLS cannot be set up, or a header has no name that HTTP knows.
    pub fn new(settings: HttpWebhookSettings, connection: &Connection) -> Result<Self, BuildError> {
        http::check_header_names(&settings.headers)?;
        Ok(Self { http: Http::new(connection)?, settings })
    }

    fn target(&self) -> Result<Target, SinkError> {
        let url = SecretUrl::read("url", &self.settings.url, "check how it was written")?;
        let authorization = Authorization::read(&self.settings.credential)?;
        let signing_key = self.settings.signing_secret.as_ref().map(SigningKey::read).transpose()?;
        let (own, values) = http::read_headers(&self.settings.headers)?;
        let mut secrets: Vec<SecretString> = url.secrets().chain(authorization.secrets()).cloned().chain(values).collect();
        secrets.extend(signing_key.as_ref().map(|key| key.secret().clone()));
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type(self.settings.body)));
        // Of the same name, the operator's stay.
        headers.extend(own);
        if let Some(value) = authorization.header() {
            headers.insert(header::AUTHORIZATION, value);
        }
        Ok(Target { url, headers, signing_key, secrets })
    }

    async fn send(&self, batch: Batch<'_>) -> Result<Receipt, SinkError> {
        if batch.is_empty() {
            return Ok(Receipt::All);
        }
        let target = self.target()?;
        let request = self.request(&target, &batch)?;
        let receiver = target.url.receiver(RECEIVER);
        let answer = self.http.send(request).await.map_err(|fault| fault.into_error(&receiver))?;
        if answer.status.is_success() { Ok(Receipt::All) } else { Err(refusal(&answer, &target, &batch)) }
    }

    fn request(&self, target: &Target, batch: &Batch<'_>) -> Result<RequestBuilder, SinkError> {
        let body = match self.settings.body {
            WebhookBody::Ndjson => ndjson::lines(*batch),
            WebhookBody::Array => array(batch),
        };
        let mut request = self.http.client().post(target.url.url().clone()).headers(target.headers.clone());
        if let Some(key) = &target.signing_key {
            request = request.headers(key.headers(batch, &body, SystemTime::now()));
        }
        let (body, encoding) = http::compressed(self.settings.compression, body)?;
        if let Some(encoding) = encoding {
            request = request.header(header::CONTENT_ENCODING, encoding);
        }
        Ok(request.body(body))
    }

    /// Reads every secret, and sees whether the host answers.
    async fn connect(&self) -> Result<(), SinkError> {
        self.target()?.url.connect(&self.http, RECEIVER).await
    }
}

fn content_type(body: WebhookBody) -> &'static str {
    match body {
        WebhookBody::Ndjson => "application/x-ndjson",
        WebhookBody::Array => "application/json",
    }
}

/// The records with commas between them. One that is no JSON goes as a string of its text: it would break all others.
fn array(batch: &Batch<'_>) -> Vec<u8> {
    let mut body = Vec::with_capacity(batch.bytes() + batch.len() + 2);
    body.push(b'[');
    for (index, (_, record)) in batch.iter().enumerate() {
        if index > 0 {
            body.push(b',');
        }
        if record.first() == Some(&b'{') || serde_json::from_slice::<&RawValue>(record).is_ok() {
            body.extend_from_slice(record);
        } else {
            let text = String::from_utf8_lossy(record);
            serde_json::to_writer(&mut body, &text).expect("a string is always JSON, and writing to memory does not fail");
        }
    }
    body.push(b']');
    body
}

fn refusal(answer: &Answer, target: &Target, batch: &Batch<'_>) -> SinkError {
    let status = answer.status.as_u16();
    let (class, mend) = match status {
        300..=399 => (ErrorClass::Config, "it wants to send us elsewhere, and the data stays here; check url"),
        400 | 422 => (ErrorClass::Rejected, "it refuses what the request holds"),
        401 | 403 => (ErrorClass::Auth, "check the credentials in the sink's table, and its signing_secret"),
        404 | 410 => (ErrorClass::Config, "there is no receiver at this address; check url"),
        408 | 504 => (ErrorClass::Ambiguous, "it waited too long; the request may be in"),
        413 => (ErrorClass::TooLarge, "the request is larger than it takes"),
        415 => (ErrorClass::Config, "it does not take this form; check body, compression and a Content-Type in headers"),
        429 => (answer.class(), "it takes no more for now"),
        500..=599 => (answer.class(), "it failed inside or is overloaded"),
        _ => (answer.class(), "check url and proxies in between"),
    };
    let secrets: Vec<&SecretString> = target.secrets.iter().collect();
    let words = http::excerpt(&String::from_utf8_lossy(&answer.body), &secrets, Some(batch));
    let words = if words.is_empty() { format!("HTTP {status}") } else { format!("HTTP {status} ({words})") };
    SinkError::new(class, format!("deliver to {}: {words}: {mend}", target.url.receiver(RECEIVER)))
}

impl fmt::Debug for HttpWebhookSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpWebhookSink").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Sink for HttpWebhookSink {
    fn probe(&self) -> BoxFuture<'_, Result<(), SinkError>> {
        Box::pin(self.connect())
    }

    fn deliver<'a>(&'a self, batch: Batch<'a>) -> BoxFuture<'a, Result<Receipt, SinkError>> {
        Box::pin(self.send(batch))
    }

    fn close(&self) -> BoxFuture<'_, Result<(), SinkError>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

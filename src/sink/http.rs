//! What the HTTP sinks share: one request under a timeout, its answer under a size cap, and words about it for an operator.
//!
//! It does not retry, follow redirects or log. A URL never gets into an error from here, only the name of the host: a URL may be
//! the credential itself.

use std::{fmt, time::Duration};

use chrono::{DateTime, NaiveDateTime, Utc};
use reqwest::{
    RequestBuilder, StatusCode,
    header::{self, HeaderMap, HeaderValue},
};
use secrecy::{ExposeSecret as _, SecretString};
use thiserror::Error;
use url::Url;

use super::{Batch, ErrorClass, SinkError};
use crate::{
    config::{Secret, secret::SecretError, settings::TlsSettings},
    net::{self, TlsError, TransportFault},
};

pub use self::{
    authorization::Authorization,
    compress::{compressed, gzip},
    headers::{check_header_names, read_headers},
    secret_url::SecretUrl,
};

mod authorization;
mod compress;
mod headers;
mod secret_url;

/// No receiver answers a delivery with more than a few kilobytes; the rest of a longer answer is not read.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// How much of a receiver's own words an operator gets to read.
const EXCERPT_CHARS_MAX: usize = 300;
/// A receiver that dictates a longer wait is asked again after this one, so that a mistaken header cannot stop a sink for days.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60 * 60);
/// Shorter pieces of an answer say nothing about an echo of what was sent: they occur everywhere.
const ECHO_BYTES_MIN: usize = 8;

/// How a sink connects: the settings that every HTTP sink has.
#[derive(Clone, Debug)]
pub struct Connection {
    /// `timeout` of one request, from its first byte to the end of the answer.
    pub timeout: Duration,
    /// `tls`
    pub tls: TlsSettings,
}

/// Why a sink cannot be set up.
#[derive(Debug, Error)]
pub enum BuildError {
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A setting's value cannot be used.
    #[error("{key} {problem}")]
    Setting {
        /// The key in the sink's table.
        key: &'static str,
        /// What is wrong with its value, without the value where it is a secret.
        problem: String,
    },
}

impl BuildError {
    /// A setting whose value cannot be used.
    pub fn setting(key: &'static str, problem: impl Into<String>) -> Self {
        Self::Setting { key, problem: problem.into() }
    }
}

/// An HTTP client of one sink.
#[derive(Clone)]
pub struct Http {
    client: reqwest::Client,
}

impl Http {
    /// A client with its own connections.
    pub fn new(connection: &Connection) -> Result<Self, TlsError> {
        Ok(Self { client: net::http_client(&connection.tls, connection.timeout)? })
    }

    /// A client that uses no proxy, for an endpoint that exists on this machine alone.
    pub fn direct(connection: &Connection) -> Result<Self, TlsError> {
        let client = reqwest::Client::builder()
            .user_agent(net::USER_AGENT)
            .no_proxy()
            .timeout(connection.timeout)
            .redirect(reqwest::redirect::Policy::none())
            .tls_backend_preconfigured(net::client_tls(&connection.tls)?)
            .build()
            .map_err(|error| TlsError::Setup(net::describe(&error)))?;
        Ok(Self { client })
    }

    /// The client, to begin a request with.
    pub fn client(&self) -> &reqwest::Client {
        &self.client
    }

    /// Sends a request once and reads its answer. An answer whose body breaks off or is too long is cut there: its status is
    /// known, and `Answer::whole` says that the rest is not.
    pub async fn send(&self, request: RequestBuilder) -> Result<Answer, NoAnswer> {
        let mut response = request.send().await.map_err(|error| NoAnswer::of(&error))?;
        let mut body = Vec::new();
        let whole = loop {
            match response.chunk().await {
                Ok(Some(chunk)) if body.len() + chunk.len() <= ANSWER_BYTES_MAX => body.extend_from_slice(&chunk),
                Ok(Some(_)) | Err(_) => break Whole::No,
                Ok(None) => break Whole::Yes,
            }
        };
        Ok(Answer { status: response.status(), headers: response.headers().clone(), body, whole })
    }
}

impl fmt::Debug for Http {
    /// Without the client, whose settings are nobody's concern in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Http")
    }
}

/// Whether an answer's body was read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whole {
    /// It was.
    Yes,
    /// It broke off, or it was longer than we read.
    No,
}

/// What a receiver answered.
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, or its beginning.
    pub body: Vec<u8>,
    /// Whether that is all of it.
    pub whole: Whole,
}

impl Answer {
    /// The class that the status alone speaks for. Whether a server error came before or after the data was taken is not known,
    /// except for 503, which every receiver here gives before. A status that no receiver documents is a matter of configuration:
    /// the data is kept.
    pub fn class(&self) -> ErrorClass {
        match self.status.as_u16() {
            401 | 403 => ErrorClass::Auth,
            413 => ErrorClass::TooLarge,
            429 => ErrorClass::Throttled(self.retry_after()),
            503 => self.not_taken(),
            408 | 500..=599 => ErrorClass::Ambiguous,
            _ => ErrorClass::Config,
        }
    }

    /// The class of an answer that says "not now": as long as the receiver dictates, where it does.
    pub fn not_taken(&self) -> ErrorClass {
        self.retry_after().map_or(ErrorClass::Retryable, |wait| ErrorClass::Throttled(Some(wait)))
    }

    /// How long the receiver wants us to wait: `Retry-After` in either form (RFC 9110, section 10.2.3), at most an hour. A date is
    /// counted from the answer's own `Date`, so that a wrong clock on either side does no harm.
    pub fn retry_after(&self) -> Option<Duration> {
        let text = |name| self.headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let now = text(header::DATE).and_then(parse_http_date).unwrap_or_else(Utc::now);
        parse_retry_after(text(header::RETRY_AFTER)?, now)
    }
}

impl fmt::Debug for Answer {
    /// Without the body and the headers: they may repeat what was sent.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("status", &self.status).field("bytes", &self.body.len()).finish_non_exhaustive()
    }
}

fn parse_retry_after(value: &str, now: DateTime<Utc>) -> Option<Duration> {
    let value = value.trim();
    let wait = if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // Digits that do not fit are a very long time.
        Duration::from_secs(value.parse().unwrap_or(u64::MAX))
    } else {
        (parse_http_date(value)? - now).to_std().unwrap_or(Duration::ZERO)
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

/// The three forms of RFC 9110, section 5.6.7. The day of the week, which comes first, adds nothing and is not checked.
fn parse_http_date(value: &str) -> Option<DateTime<Utc>> {
    const FORMS: [&str; 3] = ["%d %b %Y %H:%M:%S GMT", "%d-%b-%y %H:%M:%S GMT", "%b %e %H:%M:%S %Y"];
    let (_, date) = value.trim().split_once(' ')?;
    FORMS.iter().find_map(|form| NaiveDateTime::parse_from_str(date.trim(), form).ok()).map(|time| time.and_utc())
}

/// A request that got no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoAnswer {
    /// What went wrong.
    pub fault: TransportFault,
    /// The causes in the words of the libraries, without the URL.
    pub detail: String,
}

impl NoAnswer {
    /// What became of a request without an answer.
    pub(crate) fn of(error: &reqwest::Error) -> Self {
        Self { fault: TransportFault::of(error), detail: net::describe(error) }
    }

    /// The error that a delivery to `receiver` ends with: ambiguous where the request may have arrived.
    pub fn into_error(self, receiver: &Receiver) -> SinkError {
        let Self { fault, detail } = self;
        let message = match fault {
            TransportFault::Dns => format!("find {receiver}: {detail}; check the host's name and DNS"),
            TransportFault::Connect => format!("connect to {receiver}: {detail}; check that it runs, the port, firewalls and proxies"),
            TransportFault::Tls => {
                format!("set up TLS with {receiver}: {detail}; check its certificate, and tls.ca_file where a private authority signed it")
            }
            TransportFault::Timeout => format!("get an answer from {receiver} in time: {detail}; check its load, or raise timeout"),
            TransportFault::Broken => format!("get an answer from {receiver}: the connection broke: {detail}"),
            TransportFault::Request => format!("make a request for {receiver}: {detail}; check the sink's settings"),
        };
        let class = match fault {
            _ if fault.may_have_arrived() => ErrorClass::Ambiguous,
            TransportFault::Request => ErrorClass::Config,
            _ => ErrorClass::Retryable,
        };
        SinkError::new(class, message)
    }
}

/// A receiver's name for operators: what it is, and its host and port, never a path or credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receiver(String);

impl Receiver {
    /// One that is known by its name alone.
    pub fn named(what: &str) -> Self {
        Self(what.to_owned())
    }

    /// `Splunk HEC at splunk.example.com:8088`.
    pub fn new(what: &str, url: &Url) -> Self {
        let host = url.host_str().unwrap_or("an unnamed host");
        Self(match url.port_or_known_default() {
            Some(port) => format!("{what} at {host}:{port}"),
            None => format!("{what} at {host}"),
        })
    }
}

impl fmt::Display for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A URL below `base`, whose own path is kept.
pub fn join(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_query(None);
    url.set_fragment(None);
    url.set_path(&format!("{}{path}", base.path().trim_end_matches('/')));
    url
}

/// Reads a secret now, so that a changed file is picked up. What cannot be read is a fault of credentials.
pub fn read_secret(key: &str, secret: &Secret) -> Result<SecretString, SinkError> {
    secret.read().map_err(|error: SecretError| SinkError::new(ErrorClass::Auth, format!("read {key}: {error}")))
}

/// A header's value that no library prints: a scheme and a secret, such as `Bearer …`.
pub fn credential_header(key: &str, scheme: &str, secret: &SecretString) -> Result<HeaderValue, SinkError> {
    let mut value = HeaderValue::try_from(format!("{scheme} {}", secret.expose_secret())).map_err(|_| {
        SinkError::new(ErrorClass::Auth, format!("use {key}: it holds characters that no HTTP header can carry; check how it was written"))
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// A receiver's own words, fit to be shown: at most 300 characters on one line, without control characters and without the
/// secrets. They end where they begin to repeat an event: a receiver that echoes what it was sent must not get it into a log.
pub fn excerpt(text: &str, secrets: &[&SecretString], batch: Option<&Batch<'_>>) -> String {
    // Only the beginning can be shown; four times as much leaves room for what is taken out.
    let mut clean: String = text.chars().take(4 * EXCERPT_CHARS_MAX).collect();
    for secret in secrets.iter().map(|secret| secret.expose_secret()).filter(|secret| !secret.is_empty()) {
        clean = clean.replace(secret, "…");
    }
    let words: Vec<&str> = clean.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()).collect();
    let mut line = words.join(" ");
    if let Some(start) = batch.and_then(|batch| echo_start(&line, batch)) {
        line.truncate(start);
        line.push('…');
    }
    match line.char_indices().nth(EXCERPT_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// Where a piece begins that some event of the batch contains, and that is long enough not to be there by chance.
fn echo_start(line: &str, batch: &Batch<'_>) -> Option<usize> {
    let is_piece = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '@' | '#' | '/' | '+');
    let mut start = 0;
    for part in line.split_inclusive(|c: char| !is_piece(c)) {
        let piece = part.trim_end_matches(|c: char| !is_piece(c)).as_bytes();
        let echoed = |payload: &[u8]| payload.windows(piece.len()).any(|window| window == piece);
        if piece.len() >= ECHO_BYTES_MIN && batch.iter().any(|(_, payload)| echoed(payload)) {
            return Some(start);
        }
        start += part.len();
    }
    None
}

#[cfg(test)]
mod tests;

//! One authorised GET: a token, at most one other token after a 401, the quota, the metrics, the bounds.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use reqwest::{
    Method, StatusCode,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue},
};
use secrecy::ExposeSecret;
use url::Url;

use super::{
    Connection, MiroClass, MiroError, Priority, Quota, QuotaReading,
    auth::{AccessToken, TokenSource},
    decode::ShapeFault,
    quota::UnderWay,
    refusal::{Refusal, clean},
    sentence::{Asked, Call},
};
use crate::{
    event::{StreamId, Timestamp},
    metrics::{REQUESTS, TOKEN_EXPIRY},
    net::{self, BodyFault},
};

/// Refusals are short; a longer one is a web page, of which nothing is shown.
const REFUSAL_BYTES_MAX: usize = 64 * 1024;
/// What is waited at most because Miro says so: an hour, after which it is asked again.
const WAIT_MAX: Duration = Duration::from_secs(3_600);

/// One stream's way to Miro.
#[derive(Debug)]
pub(super) struct Api {
    pub(super) connection: Connection,
    pub(super) stream: StreamId,
    pub(super) auth: Arc<dyn TokenSource>,
    pub(super) quota: Quota,
}

/// An answer with status 200, and what its body was read as.
pub(super) struct Answer<T> {
    pub(super) value: T,
    pub(super) quota: QuotaReading,
    pub(super) server_time: Option<Timestamp>,
}

/// A call that is about to be made.
pub(super) struct Get<'a> {
    pub(super) call: Call,
    pub(super) url: Url,
    /// Whose call it is.
    pub(super) priority: Priority,
    /// The cursor in the query, to be masked where Miro repeats it.
    pub(super) cursor: Option<&'a str>,
}

/// Reads the body of an answer.
pub(super) trait Read<T>: Fn(&Bytes) -> Result<T, ShapeFault> + Send + Sync {}
impl<T, F: Fn(&Bytes) -> Result<T, ShapeFault> + Send + Sync> Read<T> for F {}

/// What one attempt came to.
enum Attempt<T> {
    Answer(Answer<T>),
    /// 401, or 400 where that means the same.
    TokenRefused(MiroError),
}

impl Api {
    /// Makes the call and reads its answer; after a 401 once more, if there is another token.
    pub(super) async fn get<T>(&self, get: Get<'_>, read: impl Read<T>) -> Result<Answer<T>, MiroError> {
        let token = self.token().await?;
        let refused = match self.attempt(&get, &token, &read).await? {
            Attempt::Answer(answer) => return Ok(answer),
            Attempt::TokenRefused(error) => error,
        };
        let Some(token) = self.auth.rejected(&token).await? else { return Err(refused) };
        match self.attempt(&get, &token, &read).await? {
            Attempt::Answer(answer) => Ok(answer),
            Attempt::TokenRefused(error) => Err(error),
        }
    }

    async fn token(&self) -> Result<AccessToken, MiroError> {
        let token = self.auth.token().await?;
        if let Some(expires_at) = token.expires_at() {
            self.connection.metrics.stream_gauge(TOKEN_EXPIRY, &self.stream).set(expires_at.as_secs_f64());
        }
        Ok(token)
    }

    /// Sends once and counts what came of it.
    async fn attempt<T>(&self, get: &Get<'_>, token: &AccessToken, read: &impl Read<T>) -> Result<Attempt<T>, MiroError> {
        let host = self.connection.host();
        let asked = self.asked(get.call, &host);
        let admitted = self.quota.admit(get.call.endpoint(), get.priority, self.connection.clock.now());
        let under_way = admitted.map_err(|wait| asked.held(wait))?;
        let request = self.request(get.url.clone(), token, &asked)?;
        let began = tokio::time::Instant::now();
        let outcome = self.exchange(request, under_way, get, token, &asked, read).await;
        let label = outcome.as_ref().map_or_else(MiroError::label, |_| "200");
        self.count(label);
        tracing::debug!(stream = %self.stream, status = label, elapsed_ms = began.elapsed().as_millis(), "miro request finished");
        match outcome {
            Ok(answer) => Ok(Attempt::Answer(answer)),
            Err(error) if error.class() == MiroClass::Auth => Ok(Attempt::TokenRefused(error)),
            Err(error) => Err(error),
        }
    }

    fn asked<'a>(&'a self, call: Call, host: &'a str) -> Asked<'a> {
        Asked { call, org: &self.stream.org, host, key: self.auth.key(), token: self.auth.kind() }
    }

    fn request(&self, url: Url, token: &AccessToken, asked: &Asked<'_>) -> Result<reqwest::Request, MiroError> {
        let mut bearer =
            HeaderValue::from_str(&format!("Bearer {}", token.secret().expose_secret())).map_err(|_| asked.token_unsendable())?;
        bearer.set_sensitive(true);
        let mut request = reqwest::Request::new(Method::GET, url);
        request.headers_mut().insert(AUTHORIZATION, bearer);
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static("application/json"));
        *request.timeout_mut() = Some(self.connection.limits.total);
        Ok(request)
    }

    async fn exchange<T>(
        &self,
        request: reqwest::Request,
        under_way: UnderWay,
        get: &Get<'_>,
        token: &AccessToken,
        asked: &Asked<'_>,
        read: &impl Read<T>,
    ) -> Result<Answer<T>, MiroError> {
        let limits = self.connection.limits;
        let response = self.connection.http.execute(request).await.map_err(|error| asked.failed(&BodyFault::of(&error), &limits))?;
        let now = self.connection.clock.now();
        let headers = response.headers().clone();
        let quota = QuotaReading::of(&headers, now);
        // A proxy's answer in Miro's place says nothing about the quota, and that says nothing about Miro.
        if response.status() == StatusCode::OK || quota.remaining.is_some() {
            under_way.answered(quota, now);
        }
        drop(under_way);
        if response.status() != StatusCode::OK {
            let status = response.status().as_u16();
            let wait = self.dictated_wait(status, &headers, quota, now);
            let body = net::read_body_start(response, REFUSAL_BYTES_MAX, limits.stall).await;
            let secrets = [token.secret().expose_secret(), get.cursor.unwrap_or_default()];
            return Err(asked.refused(&Refusal::read(status, &body, &secrets), wait));
        }
        let body = net::read_body(response, limits.body_bytes_max, limits.stall).await.map_err(|fault| asked.failed(&fault, &limits))?;
        let value = json_or(&headers).and_then(|()| read(&body)).map_err(|fault| asked.misshapen(&fault))?;
        tracing::debug!(stream = %self.stream, bytes = body.len(), remaining = quota.remaining, "miro answer read");
        Ok(Answer { value, quota, server_time: net::server_time(&headers) })
    }

    /// How long Miro wants us to wait: `Retry-After` where it sends one, else until the credits come back. After a 429 every stream with this
    /// token waits.
    fn dictated_wait(&self, status: u16, headers: &HeaderMap, quota: QuotaReading, now: Timestamp) -> Option<Duration> {
        if status != StatusCode::TOO_MANY_REQUESTS.as_u16() {
            return None;
        }
        let wait = net::retry_after(headers, now).or_else(|| quota.resets_at.map(|reset| reset.since(now)))?.min(WAIT_MAX);
        Some(self.quota.block(wait, now))
    }

    fn count(&self, status: &str) {
        let labels = [("org", self.stream.org.as_str()), ("stream", self.stream.kind.as_str()), ("status", status)];
        self.connection.metrics.counter(REQUESTS, &labels).increment(1);
    }
}

/// An answer may leave its type out; where it names one, it must be JSON.
fn json_or(headers: &HeaderMap) -> Result<(), ShapeFault> {
    let Some(named) = headers.get(CONTENT_TYPE).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()) else { return Ok(()) };
    let essence = named.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if essence == "application/json" || essence.ends_with("+json") || essence == "text/json" {
        Ok(())
    } else {
        Err(ShapeFault::ContentType(clean(&essence, &[])))
    }
}

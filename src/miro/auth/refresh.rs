//! The call that exchanges a refresh token for a new pair: `POST /v1/oauth/token` with everything in a form body (RFC 6749 section 6; "Get
//! new access token using refresh token" in Miro's REST API reference), and what its refusals mean.

use std::time::Duration;

use reqwest::{
    Method, StatusCode,
    header::{ACCEPT, CONTENT_TYPE, HeaderValue},
};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::store::Pair;
use crate::{
    event::Timestamp,
    metrics::REQUESTS,
    miro::{Connection, MiroClass, MiroError, QuotaReading, refusal::Refusal, sentence},
    net::{self, BodyFault, TransportFault},
};

/// A token answer has half a KiB.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;
/// A refresh is one small exchange; longer than this, the connection is gone.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Refreshes are counted under this stream, because one grant may serve several.
const STREAM_LABEL: &str = "oauth";

/// What is sent.
pub(super) struct Credentials {
    pub(super) client_id: String,
    pub(super) client_secret: SecretString,
    pub(super) refresh_token: SecretString,
}

/// Why there is no new pair.
#[derive(Debug)]
pub(super) enum RefreshFault {
    /// The refresh token was not taken in: it is as good as before.
    NotTaken(MiroError),
    /// It may have been taken in: the answer did not come, or makes no sense.
    InDoubt(MiroError),
    /// Miro refuses the refresh token itself.
    TokenDead(Refusal),
    /// Miro refuses the client: the refresh token was not looked at.
    ClientRefused(Refusal),
}

/// Exchanges a refresh token for a new pair.
pub(super) async fn refresh(connection: &Connection, org: &str, key: &str, credentials: &Credentials) -> Result<Pair, RefreshFault> {
    let outcome = Exchange { connection, key, credentials }.run().await;
    let label = match &outcome {
        Ok(_) => "200",
        Err(RefreshFault::NotTaken(error) | RefreshFault::InDoubt(error)) => error.label(),
        Err(RefreshFault::TokenDead(refusal) | RefreshFault::ClientRefused(refusal)) => &refusal.status.to_string(),
    };
    connection.metrics.counter(REQUESTS, &[("org", org), ("stream", STREAM_LABEL), ("status", label)]).increment(1);
    outcome
}

struct Exchange<'a> {
    connection: &'a Connection,
    key: &'a str,
    credentials: &'a Credentials,
}

impl Exchange<'_> {
    async fn run(&self) -> Result<Pair, RefreshFault> {
        let asked_at = self.connection.clock.now();
        let response = self.connection.http.execute(self.request()).await.map_err(|error| self.unanswered(&BodyFault::of(&error)))?;
        let status = response.status();
        if status != StatusCode::OK {
            let now = self.connection.clock.now();
            let headers = response.headers().clone();
            let reset = || QuotaReading::of(&headers, now).resets_at.map(|reset| reset.since(now));
            let wait = net::retry_after(&headers, now).or_else(reset);
            let body = net::read_body_start(response, 64 * 1024, self.connection.limits.stall).await;
            return Err(self.refused(self.refusal(status, &body), wait));
        }
        let body = net::read_body(response, ANSWER_BYTES_MAX, self.connection.limits.stall).await;
        let body = body.map_err(|fault| self.unanswered(&fault))?;
        Answer::read(&body).map(|answer| self.pair(answer, asked_at)).ok_or_else(|| self.senseless())
    }

    fn request(&self) -> reqwest::Request {
        let Credentials { client_id, client_secret, refresh_token } = self.credentials;
        let form = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "refresh_token")
            .append_pair("client_id", client_id)
            .append_pair("client_secret", client_secret.expose_secret())
            .append_pair("refresh_token", refresh_token.expose_secret())
            .finish();
        let mut request = reqwest::Request::new(Method::POST, self.connection.url(&["v1", "oauth", "token"], &[]));
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static("application/json"));
        *request.timeout_mut() = Some(TIMEOUT.min(self.connection.limits.total));
        *request.body_mut() = Some(form.into());
        request
    }

    /// The expiry counts from before the request, so that it is never late.
    fn pair(&self, answer: Answer, asked_at: Timestamp) -> Pair {
        let expires_at = answer.lifetime().map(|lifetime| asked_at.plus(lifetime));
        // RFC 6749 section 6: without a new refresh token, the old one stays good.
        let refresh = answer
            .refresh_token
            .filter(|token| !token.is_empty())
            .map_or_else(|| self.credentials.refresh_token.clone(), SecretString::from);
        Pair { access: answer.access_token.into(), refresh, expires_at, obtained_at: asked_at }
    }

    fn refusal(&self, status: StatusCode, body: &[u8]) -> Refusal {
        let secrets = [self.credentials.client_secret.expose_secret(), self.credentials.refresh_token.expose_secret()];
        Refusal::read(status.as_u16(), body, &secrets)
    }

    fn refused(&self, refusal: Refusal, wait: Option<Duration>) -> RefreshFault {
        let say = |class, why: &str| {
            MiroError::answered(
                class,
                refusal.status,
                format!("failed to refresh the token of {}: Miro answered {refusal}: {why}", self.key),
            )
        };
        match (refusal.status, meaning(&refusal)) {
            (400 | 401 | 403, Meaning::Token) => RefreshFault::TokenDead(refusal),
            (400 | 401 | 403, Meaning::Client) => RefreshFault::ClientRefused(refusal),
            (429, _) => RefreshFault::NotTaken(say(MiroClass::Throttled(wait), "too many requests; it is tried again")),
            (500..=599 | 408, _) => {
                RefreshFault::InDoubt(say(MiroClass::Retryable, "Miro, or a proxy in between, is not well; it is tried again"))
            }
            (400 | 401 | 403, Meaning::Unknown) => {
                let why = "the grant is refused for a reason that this version does not know; compare client_id, client_secret and refresh_token with the app's settings in Miro";
                RefreshFault::NotTaken(say(MiroClass::Auth, why))
            }
            _ => RefreshFault::NotTaken(say(
                MiroClass::Config,
                "there is no token endpoint at that address; check api_url and the proxy in between",
            )),
        }
    }

    /// The exchange has no answer: whether the request can have arrived decides whether the refresh token is in doubt.
    fn unanswered(&self, fault: &BodyFault) -> RefreshFault {
        let host = self.connection.host();
        let (label, why) = sentence::unanswered(fault, &host, TIMEOUT.min(self.connection.limits.total));
        let class = match fault {
            BodyFault::Transport { fault: TransportFault::Request, .. } => MiroClass::Config,
            _ => MiroClass::Retryable,
        };
        let error = MiroError::new(class, label, format!("failed to refresh the token of {}: {why}", self.key));
        match fault {
            BodyFault::Transport { fault, .. } if !fault.may_have_arrived() => RefreshFault::NotTaken(error),
            _ => RefreshFault::InDoubt(error),
        }
    }

    fn senseless(&self) -> RefreshFault {
        let message = format!(
            "failed to refresh the token of {}: {} answered 200 without an access token; it is tried again, check api_url and whether a proxy answers in Miro's place",
            self.key,
            self.connection.host()
        );
        RefreshFault::InDoubt(MiroError::new(MiroClass::Retryable, "bad_shape", message))
    }
}

/// Which half of the credentials a refusal is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    Token,
    Client,
    Unknown,
}

/// Miro answers `oauthError` and `secretKeyNotFound` in its own error object; the client is checked before the refresh token. The codes of RFC
/// 6749 section 5.2 are understood too.
fn meaning(refusal: &Refusal) -> Meaning {
    let message = refusal.message.as_deref().unwrap_or_default().to_ascii_lowercase();
    match refusal.code.as_deref().unwrap_or_default() {
        "secretKeyNotFound" | "invalid_client" | "unauthorized_client" | "unsupported_grant_type" => Meaning::Client,
        "oauthError" if message.contains("grant type") || message.contains("client") => Meaning::Client,
        "oauthError" | "invalid_grant" => Meaning::Token,
        _ => Meaning::Unknown,
    }
}

/// The answer, as far as it matters: `team_id` and `user_id` are numbers past 2^53 or text, and not needed here.
#[derive(Deserialize)]
struct Answer {
    access_token: String,
    refresh_token: Option<String>,
    expires_in: Option<serde_json::Value>,
}

impl Answer {
    fn read(body: &[u8]) -> Option<Self> {
        serde_json::from_slice::<Self>(body).ok().filter(|answer| !answer.access_token.trim().is_empty())
    }

    /// Absent for tokens that do not expire; in seconds, as a number or as text.
    fn lifetime(&self) -> Option<Duration> {
        let secs = match self.expires_in.as_ref()? {
            serde_json::Value::String(text) => text.trim().parse().ok()?,
            number => number.as_u64()?,
        };
        (secs > 0).then(|| Duration::from_secs(secs))
    }
}

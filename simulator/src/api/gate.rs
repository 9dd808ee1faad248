//! What every request passes before and after its handler.

use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderValue, Method, Response, StatusCode, header};
use axum::middleware::Next;
use chrono::{DateTime, Utc};

use super::errors::ApiError;
use super::query::Params;
use super::quota::Standing;
use crate::auth::{Access, Denied, SCOPE_AI, SCOPE_AUDIT, SCOPE_CONTENT, SCOPE_ORG};
use crate::config::RetryAfter;
use crate::faults::{Endpoint, Fault, HasCursor, after, before};
use crate::requests::{RequestLog, RequestSeen};
use crate::server::Connection;
use crate::simulator::Inner;
use crate::{Simulator, config};

/// Forms and JSON bodies of the token operations are small.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// A forced 429 says that credits are back in this time.
const FORCED_WAIT: std::time::Duration = std::time::Duration::from_secs(1);

/// What an operation demands.
struct Demand {
    credits: u32,
    scope: Option<&'static str>,
}

fn demand(endpoint: Endpoint) -> Option<Demand> {
    let (credits, scope) = match endpoint {
        Endpoint::Audit => (100, Some(SCOPE_AUDIT)),
        Endpoint::Content => (2_000, Some(SCOPE_CONTENT)),
        Endpoint::Ai => (2_000, Some(SCOPE_AI)),
        Endpoint::Organization | Endpoint::Members | Endpoint::Member => (500, Some(SCOPE_ORG)),
        // Miro names no level for token information; the cheapest is assumed.
        Endpoint::TokenInfo => (50, None),
        Endpoint::Token | Endpoint::Revoke | Endpoint::Other => return None,
    };
    Some(Demand { credits, scope })
}

fn endpoint_of(path: &str) -> Endpoint {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    match parts.as_slice() {
        ["v2", "audit", "logs"] => Endpoint::Audit,
        ["v2", "orgs", _] => Endpoint::Organization,
        ["v2", "orgs", _, "members"] => Endpoint::Members,
        ["v2", "orgs", _, "members", _] => Endpoint::Member,
        ["v2", "orgs", _, "content-logs", "items"] => Endpoint::Content,
        ["v2", "orgs", _, "ai-interaction-logs"] => Endpoint::Ai,
        ["v1", "oauth-token"] => Endpoint::TokenInfo,
        ["v1", "oauth", "token"] => Endpoint::Token,
        ["v2", "oauth", "revoke"] => Endpoint::Revoke,
        _ => Endpoint::Other,
    }
}

pub(super) async fn pass(State(sim): State<Simulator>, request: Request, next: Next) -> Response<Body> {
    let inner = sim.inner();
    let connection = request.extensions().get::<ConnectInfo<Connection>>().map_or_else(Connection::detached, |info| info.0.clone());
    let (request, seen) = match look(request).await {
        Ok(looked) => looked,
        Err(error) => return error.into(),
    };
    let mut noted = Noted { log: &inner.requests, seen };
    let seen = &mut noted.seen;
    let latency = inner.latency();
    if !latency.is_zero() {
        connection.sleep(latency).await;
    }
    let has_cursor = Params::parse(&seen.query).get("cursor").map_or(HasCursor::No, |_| HasCursor::Yes);
    seen.fault = inner.faults.next(seen.endpoint, has_cursor);
    let response = answer(inner, request, seen, &connection, next).await;
    seen.status = match seen.fault {
        Some(fault) if fault.hides_status() => None,
        _ => Some(response.status().as_u16()),
    };
    response
}

/// A request that is on the record in any case, also where the client went away before its answer.
struct Noted<'a> {
    log: &'a RequestLog,
    seen: RequestSeen,
}

impl Drop for Noted<'_> {
    fn drop(&mut self) {
        self.log.add(self.seen.clone());
    }
}

/// Notes what came, and gives the request back whole.
async fn look(request: Request) -> Result<(Request, RequestSeen), ApiError> {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, BODY_BYTES_MAX)
        .await
        .map_err(|_| ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "payloadTooLarge", "Payload too large"))?;
    let query = parts.uri.query().unwrap_or_default().to_owned();
    let endpoint = endpoint_of(parts.uri.path());
    let form = if endpoint == Endpoint::Token { Params::parse(&String::from_utf8_lossy(&body)) } else { Params::default() };
    let bearer = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let seen = RequestSeen {
        at: Utc::now(),
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        endpoint,
        token: bearer.and_then(bearer_token).map(str::to_owned),
        refresh_token: form.and(Params::parse(&query)).get("refresh_token").map(str::to_owned),
        query,
        status: None,
        fault: None,
    };
    Ok((Request::from_parts(parts, Body::from(body)), seen))
}

/// The token of an `Authorization` header; the scheme's case does not matter (RFC 9110 section 11.1).
fn bearer_token(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

async fn answer(inner: &Inner, mut request: Request, seen: &RequestSeen, connection: &Connection, next: Next) -> Response<Body> {
    if let Some(fault) = seen.fault {
        if let Some(mut response) = before(fault, connection).await {
            put_standing(inner, forced_standing(inner, fault), &mut response);
            return response;
        }
        if let Some(fault) = fault.of_page() {
            request.extensions_mut().insert(fault);
        }
    }
    let now = inner.clock.now();
    let (mut response, standing) = match admit(inner, request.method(), seen, now) {
        Ok((access, standing)) => {
            request.extensions_mut().insert(access);
            (next.run(request).await, standing)
        }
        Err((error, standing)) => (error.into(), standing),
    };
    put_standing(inner, standing, &mut response);
    match seen.fault {
        Some(fault) => after(fault, response, connection).await,
        None => response,
    }
}

fn forced_standing(inner: &Inner, fault: Fault) -> Standing {
    let fresh = inner.quota.fresh();
    match fault {
        Fault::Status(429) => Standing { remaining: 0, reset: super::quota::since_1970() + FORCED_WAIT, ..fresh },
        _ => fresh,
    }
}

/// Authentication, then credits, then scope.
fn admit(
    inner: &Inner,
    method: &Method,
    seen: &RequestSeen,
    now: DateTime<Utc>,
) -> Result<(Option<Access>, Standing), (ApiError, Standing)> {
    let fresh = inner.quota.fresh();
    let Some(demand) = demand(seen.endpoint) else {
        return Ok((None, fresh));
    };
    if method != Method::GET && method != Method::HEAD {
        // The router answers 405.
        return Ok((None, fresh));
    }
    let access = inner.tokens.check(seen.token.as_deref(), now).map_err(|denied| (denied_error(denied, seen.endpoint), fresh))?;
    let charged = inner.quota.charge(seen.token.as_deref().unwrap_or_default(), demand.credits);
    let standing = charged.map_err(|standing| (ApiError::of_status(StatusCode::TOO_MANY_REQUESTS), standing))?;
    match demand.scope {
        Some(scope) if !access.scopes.iter().any(|held| held == scope) => Err((ApiError::of_status(StatusCode::FORBIDDEN), standing)),
        _ => Ok((Some(access), standing)),
    }
}

fn denied_error(denied: Denied, endpoint: Endpoint) -> ApiError {
    if endpoint == Endpoint::TokenInfo && denied != Denied::Missing {
        return ApiError::new(StatusCode::BAD_REQUEST, "invalidToken", "Invalid token provided");
    }
    match denied {
        Denied::Missing => ApiError::of_status(StatusCode::UNAUTHORIZED),
        Denied::Unknown => ApiError::new(StatusCode::UNAUTHORIZED, "invalidToken", "Token is invalid or revoked"),
        Denied::Expired => ApiError::new(StatusCode::UNAUTHORIZED, "tokenExpired", "Token has expired"),
    }
}

/// The headers of every answer, and what a 429 has besides.
fn put_standing(inner: &Inner, standing: Standing, response: &mut Response<Body>) {
    standing.put_headers(response);
    if response.status() == StatusCode::TOO_MANY_REQUESTS {
        put_retry_after(inner.config.retry_after, standing, response);
    }
}

fn put_retry_after(how: config::RetryAfter, standing: Standing, response: &mut Response<Body>) {
    let wait_secs = standing.wait_secs();
    let value = match how {
        RetryAfter::Absent => return,
        RetryAfter::Seconds => Ok(HeaderValue::from(wait_secs)),
        RetryAfter::HttpDate => {
            let at = Utc::now() + std::time::Duration::from_secs(wait_secs);
            HeaderValue::try_from(at.format("%a, %d %b %Y %H:%M:%S GMT").to_string())
        }
    };
    if let Ok(value) = value {
        response.headers_mut().insert(header::RETRY_AFTER, value);
    }
}

//! The HTTP side of the admin endpoint.

use std::{fmt, net::SocketAddr, sync::Arc};

use axum::{
    Json, Router,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::{self, Next},
    response::{Html, IntoResponse, Response},
    routing::get,
};
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{page, status::Status};
use crate::config::Secret;

/// What the endpoint answers from.
#[derive(Clone)]
pub struct AdminParts {
    /// Makes the status.
    pub status: Arc<dyn Fn() -> Status + Send + Sync>,
    /// Makes the Prometheus text.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// Asked for where it is set.
    pub token: Option<Secret>,
}

impl fmt::Debug for AdminParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminParts").field("token", &self.token).finish_non_exhaustive()
    }
}

/// Binds the address, so that a port in use is an error at the start.
pub async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Serves until `stop` is cancelled.
pub async fn serve(listener: TcpListener, parts: AdminParts, stop: CancellationToken) -> std::io::Result<()> {
    axum::serve(listener, router(parts)).with_graceful_shutdown(stop.cancelled_owned()).await
}

fn router(parts: AdminParts) -> Router {
    Router::new()
        .route("/", get(front_page))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics_text))
        .route("/api/v1/status", get(status))
        .layer(middleware::from_fn_with_state(parts.clone(), guard))
        .with_state(parts)
}

/// Asks for the token, compared in constant time, and keeps answers out of caches and frames.
async fn guard(State(parts): State<AdminParts>, request: Request, next: Next) -> Response {
    let mut response = match refused(&parts, request.headers()) {
        None => next.run(request).await,
        Some(refusal) => refusal,
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, header::HeaderValue::from_static("nosniff"));
    headers.insert(header::X_FRAME_OPTIONS, header::HeaderValue::from_static("DENY"));
    response
}

/// `None` where the request may pass, else what it is answered.
fn refused(parts: &AdminParts, headers: &HeaderMap) -> Option<Response> {
    let token = parts.token.as_ref()?;
    let Ok(wanted) = token.read() else {
        return Some((StatusCode::INTERNAL_SERVER_ERROR, "admin.token cannot be read; see `miro-siem check`\n").into_response());
    };
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(bearer);
    // Digests of equal length, compared whole: how long it takes says nothing about the token.
    let same = given.is_some_and(|given| {
        let (given, wanted) = (Sha256::digest(given.trim()), Sha256::digest(wanted.expose_secret()));
        given.iter().zip(wanted.iter()).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
    });
    if same {
        return None;
    }
    let ask = [(header::WWW_AUTHENTICATE, "Bearer realm=\"miro-siem\"")];
    Some((StatusCode::UNAUTHORIZED, ask, "send the header `Authorization: Bearer <admin.token>`\n").into_response())
}

/// The token of an Authorization header; a scheme has no case (RFC 9110 section 11.1).
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token)
}

async fn front_page(State(parts): State<AdminParts>) -> Html<String> {
    Html(page::render(&(parts.status)()))
}

async fn healthz(State(parts): State<AdminParts>) -> Response {
    let status = (parts.status)();
    verdict(status.healthy, "every task makes progress", &status.problems)
}

async fn readyz(State(parts): State<AdminParts>) -> Response {
    let status = (parts.status)();
    verdict(
        status.ready,
        "collecting",
        &["not every stream has been collected once since the start, or the process is stopping".to_owned()],
    )
}

fn verdict(fine: bool, summary: &str, problems: &[String]) -> Response {
    if fine {
        (StatusCode::OK, format!("ok: {summary}\n")).into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, problems.join("\n") + "\n").into_response()
    }
}

async fn metrics_text(State(parts): State<AdminParts>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], (parts.metrics)()).into_response()
}

async fn status(State(parts): State<AdminParts>) -> Json<Status> {
    Json((parts.status)())
}

#[cfg(test)]
mod tests {
    use super::bearer;

    #[test]
    fn the_scheme_has_no_case_and_is_asked_for() {
        assert_eq!(bearer("Bearer abc"), Some("abc"));
        assert_eq!(bearer("bearer abc"), Some("abc"));
        assert_eq!(bearer("Basic abc"), None);
        assert_eq!(bearer("abc"), None);
    }
}

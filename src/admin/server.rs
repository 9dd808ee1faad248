//! The HTTP side of the admin endpoint.

use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Extension, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{Html, IntoResponse, Response},
    routing::get,
};
use serde_json::json;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    Control, Listeners, api,
    guard::{Gives, Peer, Refusal, Rules, is_change},
    listen, page, proof, redeliveries,
    status::Status,
};
use crate::config::settings::AdminSettings;

/// Everything that is sent here fits a screen.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// From the end of a request's head to the beginning of its answer; a body that comes in drops is cut off with it.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Whoever tries tokens in a loop fills no disk with log lines.
const REFUSALS_LOGGED_EVERY: Duration = Duration::from_secs(10);
/// The page needs its own styles and nothing from elsewhere.
const CONTENT_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What the endpoint answers from.
#[derive(Clone)]
pub struct AdminParts {
    /// Makes the status.
    pub status: Arc<dyn Fn() -> Status + Send + Sync>,
    /// Makes the Prometheus text.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// What can be changed.
    pub control: Control,
}

impl fmt::Debug for AdminParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminParts").field("control", &self.control).finish_non_exhaustive()
    }
}

/// Serves until `stop` is cancelled.
pub async fn serve(listeners: Listeners, settings: &AdminSettings, parts: AdminParts, stop: CancellationToken) {
    listen::serve(listeners, router(settings, parts), stop).await;
}

fn router(settings: &AdminSettings, parts: AdminParts) -> Router {
    let gate = Gate { rules: Arc::new(Rules::new(settings)), told: Arc::default() };
    let state = Router::new()
        .route("/", get(front_page))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics_text))
        .route("/api/v1/status", get(status))
        .merge(api::changes())
        .merge(proof::proofs())
        .merge(redeliveries::changes())
        .fallback(nothing_here)
        .layer(middleware::from_fn_with_state((gate.clone(), Gives::State), guard));
    let events = api::events().merge(proof::names()).layer(middleware::from_fn_with_state((gate, Gives::Events), guard));
    state.merge(events).layer(DefaultBodyLimit::max(BODY_BYTES_MAX)).with_state(parts)
}

/// The rules, and when a refused change was last logged.
#[derive(Clone, Debug)]
struct Gate {
    rules: Arc<Rules>,
    told: Arc<Mutex<Option<Instant>>>,
}

/// Judges a request, logs it where it changes something, and keeps answers out of caches, frames and other pages.
async fn guard(State((gate, gives)): State<(Gate, Gives)>, Extension(peer): Extension<Peer>, request: Request, next: Next) -> Response {
    let change = is_change(request.method()).then(|| format!("{} {}", request.method(), request.uri().path()));
    let is_api = request.uri().path().starts_with("/api/");
    let (head, body) = request.into_parts();
    let mut response = match gate.rules.judge(peer, &head, gives) {
        Ok(()) => {
            let answering = tokio::time::timeout(ANSWER_TIMEOUT, next.run(Request::from_parts(head, body)));
            let response = answering.await.unwrap_or_else(|_| (StatusCode::REQUEST_TIMEOUT, "the request took too long\n").into_response());
            if let Some(change) = change {
                info!(caller = %peer, change, status = response.status().as_u16(), "a change was asked for through the admin endpoint");
            }
            response
        }
        Err(refusal) => {
            if let Some(change) = change {
                gate.tell(peer, &change, &refusal);
            }
            refused(refusal, is_api)
        }
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CONTENT_SECURITY_POLICY, CONTENT_POLICY),
        (header::HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

impl Gate {
    fn tell(&self, peer: Peer, change: &str, refusal: &Refusal) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|at| at.elapsed() >= REFUSALS_LOGGED_EVERY) {
            *told = Some(Instant::now());
            warn!(caller = %peer, change, status = refusal.status.as_u16(), reason = refusal.why, "a change was refused at the admin endpoint");
        }
    }
}

fn refused(refusal: Refusal, is_api: bool) -> Response {
    let Refusal { status, why, socket } = refusal;
    let mut headers = HeaderMap::new();
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"miro-siem\""));
    }
    if is_api {
        let socket = socket.as_deref().map(PathBuf::from).map(|path| path.display().to_string());
        (status, headers, Json(json!({ "error": why, "socket": socket }))).into_response()
    } else {
        (status, headers, why + "\n").into_response()
    }
}

async fn nothing_here() -> Response {
    (StatusCode::NOT_FOUND, "there is nothing here; try /, /healthz, /readyz, /metrics and /api/v1/status\n").into_response()
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

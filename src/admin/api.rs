//! The routes that change something, or that give events away.

use std::{convert::Infallible, sync::Arc};

use axum::{
    Json, Router,
    body::Body,
    extract::{Extension, Path, Query, State, rejection::JsonRejection},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::mpsc;

use super::{
    control::{BackfillRequest, BackfillStatus, Backfills, ControlError, LogDirectives, LogLevel, TailRequest, Tailed},
    guard::Peer,
    server::AdminParts,
};
use crate::event::{OrgName, StreamId, StreamKind, Timestamp};

/// Changes, and what they are about.
pub(super) fn changes() -> Router<AdminParts> {
    Router::new()
        .route("/api/v1/backfills", get(backfills).post(request_backfill))
        .route("/api/v1/backfills/{id}", get(backfill).delete(cancel_backfill))
        .route("/api/v1/log-level", get(log_level).post(set_log_level).delete(reset_log_level))
}

/// Events.
pub(super) fn events() -> Router<AdminParts> {
    Router::new().route("/api/v1/events", get(tail))
}

impl IntoResponse for ControlError {
    fn into_response(self) -> Response {
        let status = match self {
            Self::Unknown(_) => StatusCode::NOT_FOUND,
            Self::Invalid(_) => StatusCode::BAD_REQUEST,
            Self::NotYet(_) | Self::Conflict(_) => StatusCode::CONFLICT,
            Self::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (status, Json(json!({ "error": self.to_string() }))).into_response()
    }
}

/// Why a route gives no answer.
#[derive(Debug)]
pub(super) enum ApiError {
    /// The body cannot be read.
    Body(JsonRejection),
    /// What it asks for is not done.
    Control(ControlError),
}

impl From<JsonRejection> for ApiError {
    fn from(rejection: JsonRejection) -> Self {
        Self::Body(rejection)
    }
}

impl From<ControlError> for ApiError {
    fn from(error: ControlError) -> Self {
        Self::Control(error)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        match self {
            Self::Body(rejection) => {
                let error = json!({ "error": format!("the request cannot be read: {}", rejection.body_text()) });
                (rejection.status(), Json(error)).into_response()
            }
            Self::Control(error) => error.into_response(),
        }
    }
}

/// What `POST /api/v1/backfills` takes.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackfillBody {
    /// The organisation's configured name.
    pub org: String,
    /// The kind of stream.
    pub stream: String,
    /// The first instant, RFC 3339.
    pub from: String,
    /// The first instant after it, RFC 3339; now where it is left out.
    pub to: Option<String>,
}

impl BackfillBody {
    fn wanted(self) -> Result<BackfillRequest, ControlError> {
        let kind = StreamKind::parse(&self.stream)
            .ok_or_else(|| ControlError::Unknown(format!("there is no stream {:?}; the streams are audit, content and ai", self.stream)))?;
        let time = |name: &str, text: &str| Timestamp::parse(text).map_err(|error| ControlError::Invalid(format!("{name} is {error}")));
        let to = self.to.as_deref().map(|to| time("to", to)).transpose()?;
        Ok(BackfillRequest { stream: StreamId::new(OrgName::new(&self.org), kind), from: time("from", &self.from)?, to })
    }
}

fn engine(parts: &AdminParts) -> Result<&Arc<dyn Backfills>, ControlError> {
    let none = || ControlError::Conflict("this process does not collect from Miro, so there is nothing to backfill".to_owned());
    parts.control.backfills.as_ref().ok_or_else(none)
}

async fn backfills(State(parts): State<AdminParts>) -> Result<Json<Vec<BackfillStatus>>, ControlError> {
    engine(&parts).map(|engine| Json(engine.list()))
}

async fn backfill(State(parts): State<AdminParts>, Path(id): Path<String>) -> Result<Json<BackfillStatus>, ControlError> {
    let found = engine(&parts)?.list().into_iter().find(|one| one.id == id);
    found.map(Json).ok_or_else(|| ControlError::Unknown(format!("there is no backfill {id:?}")))
}

async fn request_backfill(State(parts): State<AdminParts>, body: Result<Json<BackfillBody>, JsonRejection>) -> Result<Response, ApiError> {
    let Json(body) = body?;
    let status = engine(&parts)?.request(body.wanted()?).await?;
    Ok((StatusCode::CREATED, Json(status)).into_response())
}

async fn cancel_backfill(State(parts): State<AdminParts>, Path(id): Path<String>) -> Result<Json<BackfillStatus>, ControlError> {
    engine(&parts)?.cancel(&id).await.map(Json)
}

/// What `POST /api/v1/log-level` takes.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogLevelBody {
    /// A level, or directives with commas between them.
    pub directives: String,
}

fn log(parts: &AdminParts) -> Result<&Arc<dyn LogLevel>, ControlError> {
    let none = || ControlError::Conflict("this process does not log by itself, so there is no level to change".to_owned());
    parts.control.log.as_ref().ok_or_else(none)
}

async fn log_level(State(parts): State<AdminParts>) -> Result<Json<LogDirectives>, ControlError> {
    log(&parts).map(|log| Json(log.directives()))
}

async fn set_log_level(
    State(parts): State<AdminParts>,
    body: Result<Json<LogLevelBody>, JsonRejection>,
) -> Result<Json<LogDirectives>, ApiError> {
    let Json(body) = body?;
    Ok(Json(log(&parts)?.set(&body.directives).map_err(ControlError::Invalid)?))
}

async fn reset_log_level(State(parts): State<AdminParts>) -> Result<Json<LogDirectives>, ControlError> {
    log(&parts).map(|log| Json(log.reset()))
}

/// What `GET /api/v1/events` takes.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventsQuery {
    /// Only of this organisation.
    pub org: Option<String>,
    /// Only of this kind of stream.
    pub stream: Option<String>,
    /// Only those with such a name; `*` stands for any text, `?` for any character.
    pub event: Option<String>,
    /// Those that were collected since then first, RFC 3339.
    pub since: Option<String>,
}

async fn tail(
    State(parts): State<AdminParts>,
    Extension(peer): Extension<Peer>,
    query: Query<EventsQuery>,
) -> Result<Response, ControlError> {
    let Query(query) = query;
    let since =
        query.since.as_deref().map(|since| Timestamp::parse(since).map_err(|error| ControlError::Invalid(format!("since is {error}"))));
    let wanted = TailRequest { org: query.org, stream: query.stream, event: query.event, since: since.transpose()? };
    let none = || ControlError::Conflict("this process has no events to show".to_owned());
    let events = parts.control.events.as_ref().ok_or_else(none)?.tail(wanted)?;
    // Who has read personal data is to be found in the log.
    tracing::info!(caller = %peer, "events are read through the admin endpoint");
    let body = Body::from_stream(futures_util::stream::unfold(events, next_lines));
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}

async fn next_lines(mut events: mpsc::Receiver<Tailed>) -> Option<(Result<Bytes, Infallible>, mpsc::Receiver<Tailed>)> {
    let lines = match events.recv().await? {
        Tailed::Lines(lines) => lines,
        Tailed::End(why) => {
            events.close();
            Bytes::from(json!({ TAIL_END: why }).to_string() + "\n")
        }
    };
    Some((Ok(lines), events))
}

/// The only key of a tail's last line, where it is cut off by this end.
pub const TAIL_END: &str = "_miro_siem_end";

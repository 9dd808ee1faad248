//! The routes of dead letters and replays.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Path, State, rejection::JsonRejection},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::{Deserialize, Serialize};

use super::{
    api::ApiError,
    control::{ControlError, LetterSelection, Redeliveries, RedeliveryStatus, ReplayRequest},
    server::AdminParts,
};
use crate::event::Timestamp;

pub(super) fn changes() -> Router<AdminParts> {
    Router::new()
        .route("/api/v1/dead-letters/retry", post(retry))
        .route("/api/v1/dead-letters/drop", post(drop_letters))
        .route("/api/v1/replays", post(replay))
        .route("/api/v1/redeliveries", get(list))
        .route("/api/v1/redeliveries/{id}", get(one).delete(cancel))
}

fn engine(parts: &AdminParts) -> Result<&Arc<dyn Redeliveries>, ControlError> {
    let none = || ControlError::Conflict("this process delivers nothing, so there is nothing to send again".to_owned());
    parts.control.redeliveries.as_ref().ok_or_else(none)
}

async fn retry(State(parts): State<AdminParts>, body: Result<Json<LetterSelection>, JsonRejection>) -> Result<Response, ApiError> {
    let Json(wanted) = body?;
    let jobs = engine(&parts)?.retry(wanted).await?;
    Ok((StatusCode::CREATED, Json(jobs)).into_response())
}

/// What `POST /api/v1/dead-letters/drop` answers.
#[derive(Debug, Serialize, Deserialize)]
pub struct Dropped {
    /// How many letters were thrown away.
    pub dropped: u64,
}

async fn drop_letters(
    State(parts): State<AdminParts>,
    body: Result<Json<LetterSelection>, JsonRejection>,
) -> Result<Json<Dropped>, ApiError> {
    let Json(wanted) = body?;
    Ok(Json(Dropped { dropped: engine(&parts)?.drop_letters(wanted).await? }))
}

/// What `POST /api/v1/replays` takes.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplayBody {
    /// The sink.
    pub sink: String,
    /// The first instant, RFC 3339.
    pub from: String,
    /// The first instant after it, RFC 3339; now where it is left out.
    pub to: Option<String>,
    /// Only of this organisation.
    pub org: Option<String>,
    /// Only of this kind of stream.
    pub stream: Option<String>,
}

impl ReplayBody {
    fn wanted(self) -> Result<ReplayRequest, ControlError> {
        let time = |name: &str, text: &str| Timestamp::parse(text).map_err(|error| ControlError::Invalid(format!("{name} is {error}")));
        let to = self.to.as_deref().map(|to| time("to", to)).transpose()?;
        Ok(ReplayRequest { from: time("from", &self.from)?, to, sink: self.sink, org: self.org, stream: self.stream })
    }
}

async fn replay(State(parts): State<AdminParts>, body: Result<Json<ReplayBody>, JsonRejection>) -> Result<Response, ApiError> {
    let Json(body) = body?;
    let jobs = engine(&parts)?.replay(body.wanted()?).await?;
    Ok((StatusCode::CREATED, Json(jobs)).into_response())
}

async fn list(State(parts): State<AdminParts>) -> Result<Json<Vec<RedeliveryStatus>>, ControlError> {
    engine(&parts).map(|engine| Json(engine.list()))
}

async fn one(State(parts): State<AdminParts>, Path(id): Path<String>) -> Result<Json<RedeliveryStatus>, ControlError> {
    let found = engine(&parts)?.list().into_iter().find(|job| job.id == id);
    found.map(Json).ok_or_else(|| ControlError::Unknown(format!("there is no retry or replay {id:?}")))
}

async fn cancel(State(parts): State<AdminParts>, Path(id): Path<String>) -> Result<Json<RedeliveryStatus>, ControlError> {
    engine(&parts)?.cancel(&id).await.map(Json)
}

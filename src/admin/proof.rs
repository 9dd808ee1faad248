//! The routes that say what was collected: the attestation, and the ids behind it. They only read.

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Query, State, rejection::JsonRejection},
    http::header,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::{Deserialize, Serialize};

use super::{
    control::{ControlError, Proving},
    server::AdminParts,
};
use crate::{
    attest::{Hours, Report, Selection, gather},
    event::{OrgName, StreamId, StreamKind, Timestamp},
    journal::{
        JournalError,
        proof::{Fingerprint, Slot},
    },
};

/// So many ids may be named at once, 32 digits each; naming them reads all of the log.
pub const NAMES_MAX: usize = 100_000;
const NAMES_BYTES_MAX: usize = NAMES_MAX * 36;

/// What was collected, and fingerprints of ids.
pub(super) fn proofs() -> Router<AdminParts> {
    Router::new().route("/api/v1/attest", get(attest)).route("/api/v1/ids", get(ids))
}

/// Ids by name: they belong to events.
pub(super) fn names() -> Router<AdminParts> {
    Router::new().route("/api/v1/ids/names", post(name).layer(DefaultBodyLimit::max(NAMES_BYTES_MAX)))
}

/// What `GET /api/v1/attest` takes.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttestQuery {
    /// The first instant, RFC 3339.
    pub from: String,
    /// The first instant after it, RFC 3339; now where it is left out.
    pub to: Option<String>,
    /// Only of this organisation.
    pub org: Option<String>,
    /// Only of this kind of stream.
    pub stream: Option<String>,
}

/// What `GET /api/v1/ids` takes: a stream, and either an hour of event time or a day of collection. The answer is 16 bytes for each id,
/// in order.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdsQuery {
    /// The organisation's configured name.
    pub org: String,
    /// The kind of stream.
    pub stream: String,
    /// An instant in the hour, RFC 3339.
    pub hour: Option<String>,
    /// An instant in the UTC day, RFC 3339, for events without a time.
    pub undated: Option<String>,
}

/// What `POST /api/v1/ids/names` takes.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamesBody {
    /// The organisation's configured name.
    pub org: String,
    /// The kind of stream.
    pub stream: String,
    /// Fingerprints, 32 hexadecimal digits each.
    pub ids: Vec<String>,
}

/// An id by name.
#[derive(Debug, Serialize, Deserialize)]
pub struct NamedId {
    /// What was asked for.
    pub fingerprint: String,
    /// Miro's id.
    pub id: String,
    /// When the event happened.
    pub time: Option<String>,
}

fn proving(parts: &AdminParts) -> Result<&Proving, ControlError> {
    let none = || ControlError::Conflict("this process has no journal of its own, so there is nothing to attest".to_owned());
    parts.control.proof.as_ref().ok_or_else(none)
}

fn instant(name: &str, text: &str) -> Result<Timestamp, ControlError> {
    Timestamp::parse(text).map_err(|error| ControlError::Invalid(format!("{name} is {error}")))
}

fn kind(name: &str) -> Result<StreamKind, ControlError> {
    StreamKind::parse(name).ok_or_else(|| ControlError::Unknown(format!("there is no stream {name:?}")))
}

fn failed(error: JournalError) -> ControlError {
    ControlError::Failed(error.to_string())
}

async fn attest(State(parts): State<AdminParts>, Query(query): Query<AttestQuery>) -> Result<Json<Report>, ControlError> {
    let proving = proving(&parts)?;
    let now = proving.clock.now();
    let to = query.to.as_deref().map_or(Ok(now), |to| instant("to", to))?;
    let hours = Hours::touching(instant("from", &query.from)?, to)
        .ok_or_else(|| ControlError::Invalid("the range is empty, or longer than 400 days".to_owned()))?;
    let selection = Selection { org: query.org, kind: query.stream.as_deref().map(kind).transpose()? };
    let evidence = gather(&*proving.journal, &selection, hours, |stream| proving.rules.of(stream)).await.map_err(failed)?;
    Ok(Json(Report::new(proving.journal.journal_id(), &evidence, hours, now)))
}

async fn ids(State(parts): State<AdminParts>, Query(query): Query<IdsQuery>) -> Result<Response, ControlError> {
    let stream = StreamId::new(OrgName::new(&query.org), kind(&query.stream)?);
    let slot = match (&query.hour, &query.undated) {
        (Some(hour), None) => Slot::Hour(instant("hour", hour)?),
        (None, Some(day)) => Slot::Undated(instant("undated", day)?),
        _ => return Err(ControlError::Invalid("either hour or undated is needed".to_owned())),
    };
    let known = proving(&parts)?.journal.known_ids(&stream, slot).await.map_err(failed)?;
    let bytes: Vec<u8> = known.ids.iter().flat_map(|id| id.0).collect();
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], bytes).into_response())
}

async fn name(State(parts): State<AdminParts>, body: Result<Json<NamesBody>, JsonRejection>) -> Result<Json<Vec<NamedId>>, ControlError> {
    let Json(body) = body.map_err(|rejection| ControlError::Invalid(format!("the request cannot be read: {}", rejection.body_text())))?;
    let stream = StreamId::new(OrgName::new(&body.org), kind(&body.stream)?);
    let wanted: Option<Vec<Fingerprint>> = body.ids.iter().map(|text| Fingerprint::parse(text)).collect();
    let wanted = wanted.ok_or_else(|| ControlError::Invalid("a fingerprint has 32 hexadecimal digits".to_owned()))?;
    let named = proving(&parts)?.journal.named(&stream, wanted).await.map_err(failed)?;
    let told = named.into_iter().map(|named| NamedId {
        fingerprint: named.fingerprint.to_string(),
        id: named.id.to_string(),
        time: named.time.map(|time| time.to_rfc3339_millis()),
    });
    Ok(Json(told.collect()))
}

//! Control endpoints, for tests whose simulator runs in another process. Like the handle, over HTTP, without authentication.
//!
//! | request | what |
//! |---|---|
//! | `GET /_sim/truth?stream=audit&from=&to=[&raw=true]` | NDJSON: id, decodable, created_at, visible_at, sha256 of the bytes, and the bytes as a string |
//! | `GET /_sim/counts` | events by stream, requests by endpoint and status |
//! | `GET /_sim/requests` | the latest requests; `DELETE` forgets them |
//! | `POST /_sim/faults` | `{"plan": …}` and/or `{"orders": […]}`; `DELETE` clears both |
//! | `POST /_sim/inject?stream=&created_at=[&visible_at=]` | the body becomes an event, byte for byte |
//! | `GET`/`POST /_sim/clock` | `{"set": time}`, `{"advance_ms": n}`, `{"freeze": time}`, `{"run": true}`; answers `{"now": time}` |
//! | `GET`/`PUT /_sim/members`, `DELETE /_sim/members/{id}` | the member list |

use std::fmt::Write as _;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use chrono::{DateTime, SecondsFormat, Utc};
use futures_util::stream;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::api::query::Params;
use crate::{FaultOrder, FaultPlan, Member, Simulator, Stream, TruthEvent, TruthIter};

/// So many lines of truth go into one piece of the body.
const LINES: usize = 500;

type Refusal = (StatusCode, String);

pub(crate) fn router() -> Router<Simulator> {
    Router::new()
        .route("/truth", get(truth))
        .route("/counts", get(counts))
        .route("/requests", get(requests).delete(forget_requests))
        .route("/faults", post(set_faults).delete(clear_faults))
        .route("/inject", post(inject))
        .route("/clock", get(clock).post(set_clock))
        .route("/members", get(members).put(put_member))
        .route("/members/{id}", delete(remove_member))
}

fn refuse(problem: impl std::fmt::Display) -> Refusal {
    (StatusCode::BAD_REQUEST, problem.to_string())
}

fn stream_of(params: &Params) -> Result<Stream, Refusal> {
    params.get("stream").unwrap_or("audit").parse().map_err(refuse)
}

fn time(params: &Params, name: &str) -> Result<Option<DateTime<Utc>>, Refusal> {
    params.get(name).map(|text| text.parse().map_err(|_| refuse(format!("{name} is not an RFC 3339 time")))).transpose()
}

async fn truth(State(sim): State<Simulator>, RawQuery(query): RawQuery) -> Result<Response, Refusal> {
    let params = Params::parse(query.as_deref().unwrap_or_default());
    let from = time(&params, "from")?.unwrap_or(DateTime::UNIX_EPOCH);
    let to = time(&params, "to")?.unwrap_or_else(|| sim.clock().now() + Duration::from_secs(1));
    let events = sim.truth_iter(stream_of(&params)?, from, to);
    let with_raw = params.get("raw") == Some("true");
    let pieces = stream::unfold(events, move |mut events| async move {
        let piece = lines(&mut events, with_raw);
        (!piece.is_empty()).then_some((Ok::<_, std::io::Error>(piece), events))
    });
    let kind = (header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    Ok(([kind], Body::from_stream(pieces)).into_response())
}

fn lines(events: &mut TruthIter, with_raw: bool) -> String {
    let mut out = String::new();
    for event in events.take(LINES) {
        out.push_str(&line(&event, with_raw).to_string());
        out.push('\n');
    }
    out
}

fn line(event: &TruthEvent, with_raw: bool) -> Value {
    let micros = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Micros, true);
    let digest = Sha256::digest(&event.raw).iter().fold(String::new(), |mut text, byte| {
        // Writing into a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    });
    let mut line = json!({
        "id": event.id,
        "decodable": event.decodable,
        "created_at": micros(event.created_at),
        "visible_at": micros(event.visible_at),
        "sha256": digest,
    });
    if with_raw {
        line["raw"] = String::from_utf8_lossy(&event.raw).into();
    }
    line
}

async fn counts(State(sim): State<Simulator>) -> Json<Value> {
    let count = |stream: Stream| (stream.to_string(), sim.count(stream).into());
    let events: serde_json::Map<String, Value> = Stream::ALL.into_iter().map(count).collect();
    Json(json!({ "events": events, "requests": sim.request_counts() }))
}

async fn requests(State(sim): State<Simulator>) -> impl IntoResponse {
    Json(sim.requests())
}

async fn forget_requests(State(sim): State<Simulator>) -> StatusCode {
    sim.forget_requests();
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FaultsWanted {
    plan: Option<FaultPlan>,
    #[serde(default)]
    orders: Vec<FaultOrder>,
}

async fn set_faults(State(sim): State<Simulator>, Json(wanted): Json<FaultsWanted>) -> StatusCode {
    if let Some(plan) = wanted.plan {
        sim.set_faults(plan);
    }
    for order in wanted.orders {
        sim.order_fault(order);
    }
    StatusCode::NO_CONTENT
}

async fn clear_faults(State(sim): State<Simulator>) -> StatusCode {
    sim.clear_faults();
    StatusCode::NO_CONTENT
}

async fn inject(State(sim): State<Simulator>, RawQuery(query): RawQuery, body: Bytes) -> Result<StatusCode, Refusal> {
    let params = Params::parse(query.as_deref().unwrap_or_default());
    let created_at = time(&params, "created_at")?.ok_or_else(|| refuse("created_at is required"))?;
    let visible_at = time(&params, "visible_at")?.unwrap_or(created_at);
    sim.inject(stream_of(&params)?, body.to_vec(), created_at, visible_at);
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum ClockChange {
    Set(DateTime<Utc>),
    AdvanceMs(u64),
    Freeze(DateTime<Utc>),
    Run(bool),
}

async fn clock(State(sim): State<Simulator>) -> Json<Value> {
    Json(json!({ "now": sim.clock().now().to_rfc3339_opts(SecondsFormat::Micros, true) }))
}

async fn set_clock(State(sim): State<Simulator>, Json(change): Json<ClockChange>) -> Json<Value> {
    match change {
        ClockChange::Set(to) => sim.clock().set(to),
        ClockChange::AdvanceMs(millis) => sim.clock().advance(Duration::from_millis(millis)),
        ClockChange::Freeze(at) => sim.clock().freeze_at(at),
        ClockChange::Run(true) => sim.clock().run(),
        ClockChange::Run(false) => sim.clock().freeze_at(sim.clock().now()),
    }
    clock(State(sim)).await
}

async fn members(State(sim): State<Simulator>) -> Json<Vec<Member>> {
    Json(sim.members())
}

async fn put_member(State(sim): State<Simulator>, Json(member): Json<Member>) -> Result<StatusCode, Refusal> {
    sim.put_member(member).map_err(|_| refuse("the member's id is not a number"))?;
    Ok(StatusCode::NO_CONTENT)
}

async fn remove_member(State(sim): State<Simulator>, Path(id): Path<String>) -> StatusCode {
    match sim.remove_member(&id) {
        Some(_) => StatusCode::NO_CONTENT,
        None => StatusCode::NOT_FOUND,
    }
}

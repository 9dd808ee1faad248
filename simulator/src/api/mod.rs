//! The API over HTTP: routes, and the gate that every request passes.
//!
//! The gate does what Miro's edge does for every operation: authentication, credits, scopes, and the headers of each answer. It is also
//! where latency and faults come in. Handlers only answer. Control endpoints under `/_sim` do not pass the gate.

mod audit;
pub(crate) mod errors;
mod gate;
mod listing;
mod logs;
mod members;
pub(crate) mod query;
pub(crate) mod quota;
mod tokens;

use axum::Router;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};

use crate::{Simulator, control};
use errors::ApiError;

pub(crate) fn router(sim: Simulator) -> Router {
    let api = Router::new()
        .route("/v2/audit/logs", get(audit::logs))
        .route("/v2/orgs/{org_id}", get(members::organization))
        .route("/v2/orgs/{org_id}/members", get(members::list))
        .route("/v2/orgs/{org_id}/members/{member_id}", get(members::one))
        .route("/v2/orgs/{org_id}/content-logs/items", get(logs::content))
        .route("/v2/orgs/{org_id}/ai-interaction-logs", get(logs::ai))
        .route("/v1/oauth-token", get(tokens::info))
        .route("/v1/oauth/token", post(tokens::token))
        .route("/v2/oauth/revoke", post(tokens::revoke))
        .route("/oauth/authorize", get(tokens::authorize))
        .fallback(async || ApiError::not_found())
        .method_not_allowed_fallback(async || ApiError::of_status(StatusCode::METHOD_NOT_ALLOWED))
        .layer(from_fn_with_state(sim.clone(), gate::pass));
    Router::new().nest("/_sim", control::router()).fallback_service(api.with_state(sim.clone())).with_state(sim)
}

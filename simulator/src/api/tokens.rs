//! Tokens over HTTP: information, exchange, refresh, revocation, and the consent page that a browser would show.

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::{RawQuery, State};
use axum::http::{HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};

use super::errors::{self, ApiError};
use super::query::Params;
use crate::Simulator;
use crate::auth::{Access, GrantError, Pair};
use crate::simulator::Inner;

type Answer = Result<Response<Body>, ApiError>;

/// `GET /v1/oauth-token`
pub(super) async fn info(State(sim): State<Simulator>, Extension(access): Extension<Option<Access>>) -> Answer {
    let access = access.ok_or_else(|| ApiError::of_status(StatusCode::UNAUTHORIZED))?;
    let org = &sim.inner().org;
    let user = json!({ "type": "user", "name": org.people[0].name, "id": org.people[0].id.to_string() });
    let body = json!({
        "type": "oAuthToken",
        "application": { "type": "application", "name": access.app.0, "id": access.app.1 },
        "organization": { "type": "organization", "name": org.named.name, "id": org.named.id },
        "team": { "type": "team", "name": org.teams[0].name, "id": org.teams[0].id },
        "createdBy": user,
        "user": user,
        "scopes": access.scopes,
    });
    Ok(respond(&body))
}

/// `POST /v1/oauth/token`: parameters from the form body or the query, as Miro's own clients use both.
pub(super) async fn token(State(sim): State<Simulator>, RawQuery(query): RawQuery, body: Bytes) -> Answer {
    let inner = sim.inner();
    let params = Params::parse(&String::from_utf8_lossy(&body)).and(Params::parse(query.as_deref().unwrap_or_default()));
    let required = |name: &'static str| params.get(name).ok_or_else(|| ApiError::invalid(name, format!("Field [{name}] is required")));
    let grant_type = required("grant_type")?;
    let client = (required("client_id")?, required("client_secret")?);
    let now = inner.clock.now();
    let pair = match grant_type {
        "refresh_token" => inner.tokens.refresh(client, required("refresh_token")?, now),
        "authorization_code" => inner.tokens.exchange(client, required("code")?, now),
        _ => Err(GrantError::UnsupportedGrantType),
    };
    Ok(pair_answer(inner, &pair.map_err(refused)?))
}

fn refused(error: GrantError) -> ApiError {
    let (code, message) = match error {
        GrantError::UnknownClient => ("secretKeyNotFound", "Secret key not found"),
        GrantError::BadRefreshToken => ("oauthError", "Invalid refresh token"),
        GrantError::BadCode => ("oauthError", "Invalid authorization code"),
        GrantError::UnsupportedGrantType => ("oauthError", "Unauthorized grant type"),
    };
    ApiError::new(StatusCode::UNAUTHORIZED, code, message)
}

/// Team and user ids are numbers of 19 digits here, as in the documentation's example.
fn pair_answer(inner: &Inner, pair: &Pair) -> Response<Body> {
    let body = format!(
        "{{\"user_id\":{},\"refresh_token\":\"{}\",\"access_token\":\"{}\",\"expires_in\":{},\"team_id\":{},\"scope\":\"{}\",\"token_type\":\"bearer\"}}",
        inner.org.people[0].id,
        pair.refresh_token,
        pair.access_token,
        pair.expires_in.as_secs(),
        inner.org.teams[0].id,
        pair.scopes.join(" "),
    );
    errors::json(StatusCode::OK, body.into_bytes())
}

/// `POST /v2/oauth/revoke`
pub(super) async fn revoke(State(sim): State<Simulator>, body: Bytes) -> Answer {
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let text = |name: &'static str| body.get(name).and_then(Value::as_str).unwrap_or_default();
    if !sim.inner().tokens.revoke((text("clientId"), text("clientSecret")), text("accessToken")) {
        return Err(ApiError::new(StatusCode::NOT_FOUND, "notFound", "Failed to revoke token"));
    }
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(response)
}

/// `GET /oauth/authorize`, which Miro serves at miro.com: the user agrees at once, and the browser is sent back with a code.
pub(super) async fn authorize(State(sim): State<Simulator>, RawQuery(query): RawQuery) -> Answer {
    let inner = sim.inner();
    let params = Params::parse(query.as_deref().unwrap_or_default());
    let client = params.get("client_id").unwrap_or_default();
    let redirect = params.get("redirect_uri").ok_or_else(|| ApiError::invalid("redirect_uri", "Field [redirect_uri] is required"))?;
    let code = inner.tokens.authorize(client, inner.clock.now()).ok_or_else(|| ApiError::invalid("client_id", "Unknown client"))?;
    let separator = if redirect.contains('?') { '&' } else { '?' };
    let mut location = format!("{redirect}{separator}code={code}&client_id={client}&team_id={}", inner.org.teams[0].id);
    if let Some(state) = params.get("state") {
        location.push_str("&state=");
        location.extend(
            state.bytes().map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") }),
        );
    }
    let location = HeaderValue::try_from(location).map_err(|_| ApiError::invalid("redirect_uri", "Field [redirect_uri] is not a URL"))?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::FOUND;
    response.headers_mut().insert(header::LOCATION, location);
    Ok(response)
}

fn respond(body: &Value) -> Response<Body> {
    errors::json(StatusCode::OK, body.to_string().into_bytes())
}

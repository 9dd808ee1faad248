//! The organisation and its members.

use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::{Response, StatusCode};
use chrono::SecondsFormat;
use serde_json::{Map, Value, json};

use super::errors::{self, ApiError};
use super::query::Params;
use crate::Simulator;
use crate::mix::Mix;
use crate::org::Member;
use crate::simulator::Inner;

type Answer = Result<Response<Body>, ApiError>;

const LIMIT_MAX: u32 = 100;
const EMAILS_MAX: usize = 10;
const KEY_NEVER: u64 = 821;

/// Another organisation's id is forbidden, anything else unknown: callers cannot tell from it what is wrong.
pub(super) fn check_org(inner: &Inner, org: &str) -> Result<(), ApiError> {
    if org == inner.org.named.id {
        return Ok(());
    }
    if org.len() == 19 && org.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(ApiError::new(StatusCode::FORBIDDEN, "forbiddenAccess", "Access Denied"));
    }
    Err(ApiError::not_found())
}

pub(super) async fn organization(State(sim): State<Simulator>, Path(org): Path<String>) -> Answer {
    let inner = sim.inner();
    check_org(inner, &org)?;
    let org = &inner.org;
    let body = json!({
        "id": org.named.id,
        "fullLicensesPurchased": org.full_licenses_purchased,
        "name": org.named.name,
        "plan": org.plan,
        "type": "organization",
    });
    Ok(respond(&body))
}

pub(super) async fn one(State(sim): State<Simulator>, Path((org, id)): Path<(String, String)>) -> Answer {
    let inner = sim.inner();
    check_org(inner, &org)?;
    let members = inner.members();
    let member = id.parse().ok().and_then(|id: u64| members.get(&id)).ok_or_else(ApiError::not_found)?;
    Ok(respond(&as_json(inner, member)))
}

pub(super) async fn list(State(sim): State<Simulator>, Path(org): Path<String>, RawQuery(query): RawQuery) -> Answer {
    let inner = sim.inner();
    check_org(inner, &org)?;
    let params = Params::parse(query.as_deref().unwrap_or_default());
    match params.get("emails") {
        Some(emails) => by_emails(inner, emails),
        None => by_cursor(inner, &params),
    }
}

/// Every other parameter is ignored, and the answer is an array, not a page.
fn by_emails(inner: &Inner, emails: &str) -> Answer {
    let emails: Vec<&str> = emails.split(',').map(str::trim).collect();
    if emails.len() > EMAILS_MAX {
        return Err(ApiError::invalid("emails", format!("Field [emails] must have at most {EMAILS_MAX} items")));
    }
    let members = inner.members();
    let found = members.values().filter(|member| emails.iter().any(|email| email.eq_ignore_ascii_case(&member.email)));
    Ok(respond(&Value::Array(found.map(|member| as_json(inner, member)).collect())))
}

/// The cursor is the id of the last member received; an empty one ends the list.
fn by_cursor(inner: &Inner, params: &Params) -> Answer {
    let limit = params.limit(1..=LIMIT_MAX, LIMIT_MAX)?;
    let after: u64 = match params.get("cursor").filter(|cursor| !cursor.is_empty()) {
        Some(cursor) => cursor.parse().map_err(|_| ApiError::invalid("cursor", "Field [cursor] is not valid"))?,
        None => 0,
    };
    let active = match params.get("active") {
        None => None,
        Some("true") => Some(true),
        Some("false") => Some(false),
        Some(_) => {
            return Err(ApiError::invalid("active", "Field [active] must be true or false"));
        }
    };
    let wanted = |member: &&Member| {
        active.is_none_or(|active| active == member.active)
            && params.get("role").is_none_or(|role| role == member.role)
            && params.get("license").is_none_or(|license| license == member.license)
    };
    let members = inner.members();
    let mut page: Vec<&Member> = members.range(after + 1..).map(|(_, member)| member).filter(wanted).take(limit + 1).collect();
    let more = page.len() > limit;
    page.truncate(limit);
    let cursor = if more { page.last().map_or("", |member| member.id.as_str()) } else { "" };
    let data: Vec<Value> = page.iter().map(|member| as_json(inner, member)).collect();
    Ok(respond(&json!({ "limit": limit, "size": data.len(), "data": data, "cursor": cursor, "type": "cursor-list" })))
}

/// Somebody who never signed in has an empty last activity by the documentation; null and no key at all are served too.
fn as_json(inner: &Inner, member: &Member) -> Value {
    let time = |time: chrono::DateTime<chrono::Utc>| Value::String(time.to_rfc3339_opts(SecondsFormat::Millis, true));
    let mut object = Map::new();
    object.insert("id".to_owned(), member.id.clone().into());
    object.insert("email".to_owned(), member.email.clone().into());
    object.insert("active".to_owned(), member.active.into());
    object.insert("role".to_owned(), member.role.clone().into());
    object.insert("license".to_owned(), member.license.clone().into());
    let never = Mix::of(&[inner.config.seed, KEY_NEVER, member.id.parse().unwrap_or_default()]).below(4);
    match (member.last_activity_at, never) {
        (Some(at), _) => object.insert("lastActivityAt".to_owned(), time(at)),
        (None, 0) => object.insert("lastActivityAt".to_owned(), Value::Null),
        (None, 1) => None,
        (None, _) => object.insert("lastActivityAt".to_owned(), "".into()),
    };
    if let Some(at) = member.license_assigned_at {
        object.insert("licenseAssignedAt".to_owned(), time(at));
    }
    if !member.admin_roles.is_empty() {
        let roles = member.admin_roles.iter().map(|role| json!({ "type": role.kind, "name": role.name }));
        object.insert("adminRoles".to_owned(), roles.collect());
    }
    object.insert("type".to_owned(), "organization-member".into());
    Value::Object(object)
}

fn respond(body: &Value) -> Response<Body> {
    errors::json(StatusCode::OK, body.to_string().into_bytes())
}

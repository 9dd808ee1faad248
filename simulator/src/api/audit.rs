//! `GET /v2/audit/logs`

use axum::Extension;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{Response, StatusCode};

use super::errors::{ApiError, json};
use super::listing::{Listing, Page};
use super::query::Params;
use crate::Simulator;
use crate::config::{BeyondRetention, LastPage, Stream};
use crate::faults::PageFault;
use crate::mix::Mix;
use crate::render::json::put_u64;
use crate::render::put_audit_id;
use crate::simulator::Inner;
use crate::timeline::{Key, Order};

const KEY_LAST_PAGE: u64 = 811;
const DEFAULT_LIMIT: u32 = 100;

/// What a client sent as cursor.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Sent {
    None,
    Whole(Key, String),
    /// The part before '#', as a client sends that does not encode it: the server starts over and never stops giving cursors.
    CutOff,
}

pub(super) async fn logs(
    State(sim): State<Simulator>,
    RawQuery(query): RawQuery,
    fault: Option<Extension<PageFault>>,
) -> Result<Response<Body>, ApiError> {
    let inner = sim.inner();
    let params = Params::parse(query.as_deref().unwrap_or_default());
    let sent = sent_cursor(&params)?;
    let listing = listing(inner, &params, &sent)?;
    let fault = fault.map(|Extension(fault)| fault);
    let page = listing.page(inner, fault, |_| true);
    let cursor = cursor(inner, &listing, &sent, &page, fault);
    let mut out = format!("{{\"type\":\"cursor-list\",\"limit\":{},\"size\":", listing.limit).into_bytes();
    put_u64(&mut out, page.entries.len() as u64);
    match cursor {
        Cursor::Absent => {}
        Cursor::Null => out.extend_from_slice(b",\"cursor\":null"),
        Cursor::Text(text) => {
            out.extend_from_slice(b",\"cursor\":\"");
            out.extend_from_slice(text.as_bytes());
            out.push(b'"');
        }
    }
    out.extend_from_slice(b",\"data\":");
    page.put_data(inner, Stream::Audit, fault, &mut out);
    out.push(b'}');
    Ok(json(StatusCode::OK, out))
}

fn listing(inner: &Inner, params: &Params, sent: &Sent) -> Result<Listing, ApiError> {
    let (from_us, to_us) = (params.time_us("createdAfter")?, params.time_us("createdBefore")?);
    let limit = params.limit(1..=inner.config.audit_limit_max, DEFAULT_LIMIT.min(inner.config.audit_limit_max))?;
    let order = match params.get("sorting") {
        None | Some("ASC") => Order::Ascending,
        Some("DESC") => Order::Descending,
        Some(_) => {
            return Err(ApiError::invalid("sorting", "Field [sorting] must be ASC or DESC"));
        }
    };
    if from_us > to_us {
        return Err(ApiError::invalid("createdAfter", "Field [createdAfter] must not be later than [createdBefore]"));
    }
    let oldest_us = inner.now_us() - inner.config.retention(Stream::Audit).as_micros() as i64;
    if inner.config.beyond_retention == BeyondRetention::Reject && from_us < oldest_us {
        return Err(ApiError::invalid("createdAfter", "Field [createdAfter] must lie within the last 90 days"));
    }
    let past = if let Sent::Whole(key, _) = sent { Some(*key) } else { None };
    Ok(Listing { stream: Stream::Audit, from_us, to_us, order, limit, past })
}

fn sent_cursor(params: &Params) -> Result<Sent, ApiError> {
    let Some(text) = params.get("cursor").filter(|text| !text.is_empty()) else {
        return Ok(Sent::None);
    };
    let Some((time, rest)) = text.split_once('#') else {
        return Ok(Sent::CutOff);
    };
    let at = chrono::DateTime::parse_from_rfc3339(time).ok();
    let number = rest.strip_suffix("-DDB").and_then(|number| number.parse().ok());
    match (at, number) {
        (Some(at), Some(number)) => Ok(Sent::Whole(Key { at_us: at.timestamp_micros(), number }, text.to_owned())),
        _ => Err(ApiError::invalid("cursor", "Field [cursor] is not valid")),
    }
}

enum Cursor {
    Absent,
    Null,
    Text(String),
}

fn cursor(inner: &Inner, listing: &Listing, sent: &Sent, page: &Page, fault: Option<PageFault>) -> Cursor {
    let last = || page.last.map_or(Cursor::Absent, |key| Cursor::Text(text(key)));
    match (fault, sent) {
        (Some(PageFault::RepeatCursor), Sent::Whole(_, same)) => return Cursor::Text(same.clone()),
        (Some(PageFault::RepeatCursor), _) => return Cursor::Text(text(listing.before_all())),
        (_, Sent::CutOff) => return last(),
        _ => {}
    }
    if let Some(next) = page.next {
        return Cursor::Text(text(next));
    }
    match last_page(inner, listing) {
        LastPage::Null => Cursor::Null,
        LastPage::Empty => Cursor::Text(String::new()),
        LastPage::WithCursor => last(),
        LastPage::CursorToTheEnd => match (page.last, sent) {
            (None, Sent::Whole(_, same)) => Cursor::Text(same.clone()),
            _ => last(),
        },
        LastPage::Absent | LastPage::Varied => Cursor::Absent,
    }
}

/// Chosen by the window, so that a window asked for again behaves the same.
fn last_page(inner: &Inner, listing: &Listing) -> LastPage {
    if inner.config.last_page != LastPage::Varied {
        return inner.config.last_page;
    }
    let ways = [LastPage::WithCursor, LastPage::CursorToTheEnd, LastPage::Absent, LastPage::Null, LastPage::Empty];
    *Mix::of(&[inner.config.seed, KEY_LAST_PAGE, listing.from_us as u64, listing.to_us as u64]).pick(&ways)
}

fn text(key: Key) -> String {
    let mut out = Vec::with_capacity(51);
    put_audit_id(&mut out, key);
    String::from_utf8_lossy(&out).into_owned()
}

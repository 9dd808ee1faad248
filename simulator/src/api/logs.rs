//! `GET /v2/orgs/{org_id}/content-logs/items` and `GET /v2/orgs/{org_id}/ai-interaction-logs`: two listings of one design.

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::{Response, StatusCode};

use super::errors::{ApiError, json};
use super::listing::{Listing, Page};
use super::members::check_org;
use super::query::Params;
use crate::Simulator;
use crate::config::Stream;
use crate::faults::PageFault;
use crate::render::json::put_u64;
use crate::simulator::Inner;
use crate::timeline::{Entry, Key, Order, What};

/// How many values a filter takes.
const FILTER_VALUES_MAX: usize = 15;

type Answer = Result<Response<Body>, ApiError>;

pub(super) async fn content(
    State(sim): State<Simulator>,
    Path(org): Path<String>,
    RawQuery(query): RawQuery,
    fault: Option<Extension<PageFault>>,
) -> Answer {
    list(&sim, &org, query, fault, Stream::Content)
}

pub(super) async fn ai(
    State(sim): State<Simulator>,
    Path(org): Path<String>,
    RawQuery(query): RawQuery,
    fault: Option<Extension<PageFault>>,
) -> Answer {
    list(&sim, &org, query, fault, Stream::Ai)
}

fn list(sim: &Simulator, org: &str, query: Option<String>, fault: Option<Extension<PageFault>>, stream: Stream) -> Answer {
    let inner = sim.inner();
    check_org(inner, org)?;
    let params = Params::parse(query.as_deref().unwrap_or_default());
    let listing = listing(&params, stream).map_err(ApiError::numeric)?;
    let filter = Filter::new(inner, &params, stream).map_err(ApiError::numeric)?;
    let fault = fault.map(|Extension(fault)| fault);
    let page = listing.page(inner, fault, |entry| filter.allows(inner, stream, entry));
    let mut out = format!("{{\"limit\":{},\"size\":", listing.limit).into_bytes();
    put_u64(&mut out, page.entries.len() as u64);
    out.extend_from_slice(b",\"data\":");
    page.put_data(inner, stream, fault, &mut out);
    out.extend_from_slice(b",\"cursor\":\"");
    out.extend_from_slice(cursor(&params, &listing, &page, fault).as_bytes());
    out.extend_from_slice(b"\",\"type\":\"cursor-list\"}");
    Ok(json(StatusCode::OK, out))
}

fn listing(params: &Params, stream: Stream) -> Result<Listing, ApiError> {
    let most = if stream == Stream::Content { 1_000 } else { 100 };
    let (from_us, to_us) = (params.time_us("from")?, params.time_us("to")?);
    let limit = params.limit(1..=most, most)?;
    let order = match params.get("sorting") {
        None | Some("asc") => Order::Ascending,
        Some("desc") => Order::Descending,
        Some(_) => {
            return Err(ApiError::invalid("sorting", "Field [sorting] must be asc or desc"));
        }
    };
    if from_us > to_us {
        return Err(ApiError::invalid("from", "Field [from] must not be later than [to]"));
    }
    let past = match params.get("cursor").filter(|text| !text.is_empty()) {
        Some(text) => Some(key(text).ok_or_else(|| ApiError::invalid("cursor", "Field [cursor] is not valid"))?),
        None => None,
    };
    Ok(Listing { stream, from_us, to_us, order, limit, past })
}

fn cursor(params: &Params, listing: &Listing, page: &Page, fault: Option<PageFault>) -> String {
    match (fault, params.get("cursor").filter(|text| !text.is_empty())) {
        (Some(PageFault::RepeatCursor), Some(same)) => same.to_owned(),
        (Some(PageFault::RepeatCursor), None) => text(listing.before_all()),
        _ => page.next.map(text).unwrap_or_default(),
    }
}

/// Base64 of `<epoch milliseconds>|<number>`, as the specification's example decodes. Twenty digits make it end in `==`, which a client has
/// to encode.
fn text(key: Key) -> String {
    encode(format!("{}|{:020}", key.at_us.div_euclid(1_000), key.number).as_bytes())
}

fn key(cursor: &str) -> Option<Key> {
    let text = String::from_utf8(decode(cursor)?).ok()?;
    let (millis, number) = text.split_once('|')?;
    Some(Key { at_us: millis.parse::<i64>().ok()?.checked_mul(1_000)?, number: number.parse().ok()? })
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// RFC 4648 section 4, with padding.
fn encode(bytes: &[u8]) -> String {
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for at in 0..4 {
            let digit = ALPHABET[(word >> (18 - 6 * at) & 63) as usize];
            out.push(if at > chunk.len() { '=' } else { char::from(digit) });
        }
    }
    out
}

fn decode(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=').as_bytes();
    let mut out = Vec::new();
    for chunk in digits.chunks(4) {
        let mut word = 0_u32;
        for byte in chunk {
            word = word << 6 | ALPHABET.iter().position(|digit| digit == byte)? as u32;
        }
        word <<= 6 * (4 - chunk.len());
        out.extend_from_slice(&word.to_be_bytes()[1..chunk.len()]);
    }
    Some(out)
}

/// Which entries a client asked for. Injected events pass every filter, as nobody knows what they are about.
struct Filter {
    people: Option<Vec<usize>>,
    /// Boards, and `None` for the organisation itself.
    objects: Option<Vec<Option<usize>>>,
}

impl Filter {
    fn new(inner: &Inner, params: &Params, stream: Stream) -> Result<Self, ApiError> {
        let emails = params.list("emails", FILTER_VALUES_MAX)?;
        let objects = params.list(if stream == Stream::Content { "board_ids" } else { "object_ids" }, FILTER_VALUES_MAX)?;
        let org = &inner.org;
        let known = |id: &&str| match org.boards.iter().position(|board| board.named.id == **id) {
            Some(board) => Some(Some(board)),
            None if stream == Stream::Ai && org.named.id == **id => Some(None),
            None => None,
        };
        Ok(Self {
            people: (!emails.is_empty()).then(|| emails.iter().filter_map(|email| org.person_by_email(email)).collect()),
            objects: (!objects.is_empty()).then(|| objects.iter().filter_map(known).collect()),
        })
    }

    fn allows(&self, inner: &Inner, stream: Stream, entry: &Entry) -> bool {
        if self.people.is_none() && self.objects.is_none() {
            return true;
        }
        let What::Generated(sequence, _) = entry.what else {
            return true;
        };
        let about = inner.renderer.about(stream, sequence);
        let person = self.people.as_ref().is_none_or(|people| people.contains(&about.person));
        person && self.objects.as_ref().is_none_or(|objects| objects.contains(&about.board))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_are_base64_and_read_back() {
        assert_eq!(encode(b"1669885200000|123"), "MTY2OTg4NTIwMDAwMHwxMjM=");
        for number in [1, 12, 123, u64::MAX] {
            let wanted = Key { at_us: 1_669_885_200_000_000, number };
            assert!(text(wanted).ends_with('='));
            assert_eq!(key(&text(wanted)), Some(wanted));
        }
        for bad in ["%", "MTIz", "a", "bm90fGE="] {
            assert_eq!(key(bad), None, "{bad}");
        }
    }
}

//! The Logs Ingestion endpoint.

use std::{
    borrow::Cow,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use chrono::{TimeDelta, Utc};
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::{
    AzureConfig, error,
    row::{Detail, Row, row},
    schema::StreamSchema,
    tokens::Tokens,
};
use crate::{
    faults::{Answer, Fault, RetryAfter, Take},
    http::{Encoding, Head, Limits, Refusal, Reply, Request, Service},
    ledger::{Ledger, Record},
};

/// The body as sent, so compressed when it is.
const SENT_BYTES_MAX: usize = 1 << 20;
/// The body after decompression.
const PLAIN_BYTES_MAX: usize = 50 << 20;
/// Above this a body is not even read to its end.
const READ_BYTES_MAX: usize = 64 << 20;
const API_VERSIONS: [&str; 2] = ["2023-01-01", "2021-11-01-preview"];

/// Whether the caller has the role "Monitoring Metrics Publisher" on the rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    #[default]
    Granted,
    /// 403; a new assignment takes up to half an hour to be known.
    Missing,
}

/// What was answered with 204 and yet not stored as sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Losses {
    /// Bodies that were no array.
    pub bodies_dropped: u64,
    /// Elements that were no object.
    pub elements_dropped: u64,
    /// Members that the stream does not declare.
    pub members_dropped: u64,
    /// Values above 64 KB.
    pub values_cut: u64,
    /// Rows whose time was replaced by the time of receipt.
    pub times_replaced: u64,
}

/// Which plan the tables are on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Plan {
    #[default]
    Analytics,
    /// A request whose events are more than half an hour apart is refused as a whole. An event without a time counts as received now.
    Auxiliary,
}

/// What one request may span on the Auxiliary plan.
const AUXILIARY_SPAN_MAX: TimeDelta = TimeDelta::minutes(30);

#[derive(Debug, Default)]
struct LossCounters {
    bodies_dropped: AtomicU64,
    elements_dropped: AtomicU64,
    members_dropped: AtomicU64,
    values_cut: AtomicU64,
    times_replaced: AtomicU64,
}

/// The endpoint.
#[derive(Debug)]
pub struct Ingest {
    config: Arc<AzureConfig>,
    tokens: Arc<Tokens>,
    ledger: Arc<Ledger>,
    role: Mutex<Role>,
    plan: Mutex<Plan>,
    losses: LossCounters,
}

impl Ingest {
    pub(super) fn new(config: Arc<AzureConfig>, tokens: Arc<Tokens>, ledger: Arc<Ledger>) -> Self {
        Self { config, tokens, ledger, role: Mutex::default(), plan: Mutex::default(), losses: LossCounters::default() }
    }

    pub fn set_role(&self, role: Role) {
        *self.role.lock().unwrap_or_else(PoisonError::into_inner) = role;
    }

    /// Which plan the tables are on from here on.
    pub fn set_plan(&self, plan: Plan) {
        *self.plan.lock().unwrap_or_else(PoisonError::into_inner) = plan;
    }

    fn plan(&self) -> Plan {
        *self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn losses(&self) -> Losses {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Losses {
            bodies_dropped: get(&self.losses.bodies_dropped),
            elements_dropped: get(&self.losses.elements_dropped),
            members_dropped: get(&self.losses.members_dropped),
            values_cut: get(&self.losses.values_cut),
            times_replaced: get(&self.losses.times_replaced),
        }
    }

    /// The path of a stream, with its query.
    pub fn path(&self, stream: &str) -> String {
        format!("/dataCollectionRules/{}/streams/{stream}?api-version={}", self.config.dcr_id, API_VERSIONS[0])
    }

    /// Everything that is checked before the body is looked at.
    fn check<'a>(&'a self, request: &Request<'_>) -> Result<&'a StreamSchema, Reply> {
        let head = request.head;
        let (dcr, stream) = stream_of(&head.path).ok_or_else(|| error(404, "NotFound", "The resource was not found."))?;
        if head.method != "POST" {
            return Err(error(405, "MethodNotAllowed", "Only POST is allowed."));
        }
        if request.sent_bytes > SENT_BYTES_MAX {
            return Err(too_long());
        }
        if !head.query_value("api-version").is_some_and(|version| API_VERSIONS.contains(&version.as_str())) {
            return Err(error(400, "UnsupportedApiVersion", "The api-version is missing or not supported."));
        }
        let token = head.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        if !token.is_some_and(|token| self.tokens.is_valid(token)) {
            return Err(error(401, "InvalidToken", "The access token is missing, expired or not for this resource."));
        }
        if dcr != self.config.dcr_id {
            return Err(error(404, "NotFound", "A data collection rule with this immutable id was not found."));
        }
        if *self.role.lock().unwrap_or_else(PoisonError::into_inner) == Role::Missing {
            return Err(error(403, "OperationFailed", ROLE_MISSING));
        }
        let json = head.header("content-type").is_some_and(|value| value.to_ascii_lowercase().starts_with("application/json"));
        if !json {
            return Err(error(415, "UnsupportedMediaType", "The content type has to be application/json."));
        }
        let schema = self.config.streams.iter().find(|schema| schema.name == stream);
        schema.ok_or_else(|| error(404, "NotFound", "The stream was not found in the data collection rule."))
    }

    fn ingest(&self, body: &[u8], schema: &StreamSchema, take: Take) -> Reply {
        let Ok(elements) = serde_json::from_slice::<Vec<&RawValue>>(body) else {
            return match serde_json::from_slice::<IgnoredAny>(body) {
                Ok(_) => {
                    count(&self.losses.bodies_dropped, 1);
                    accepted()
                }
                Err(_) => error(400, "InvalidPayload", "The request body is malformed JSON."),
            };
        };
        let taken = match take {
            Take::All => elements.len(),
            Take::Half => elements.len() / 2,
            Take::Nothing | Take::Unread => 0,
        };
        let now = Utc::now();
        let detail = if self.ledger.keeps_bytes() { Detail::Stored } else { Detail::Counts };
        let rows: Vec<_> = elements[..taken].iter().map(|element| (element, row(element, schema, now, detail))).collect();
        let times = rows.iter().filter_map(|(_, row)| row.as_ref().map(|row| row.time.unwrap_or(now)));
        let span = times.clone().max().zip(times.min()).map_or(TimeDelta::zero(), |(newest, oldest)| newest - oldest);
        if self.plan() == Plan::Auxiliary && span > AUXILIARY_SPAN_MAX {
            return error(400, "RecordsTimeRangeIsMoreThan30Minutes", "The time range of the records is more than 30 minutes.");
        }
        let mut records = Vec::with_capacity(taken);
        for (element, row) in rows {
            match row {
                Some(row) => records.push(self.record(element, row)),
                None => count(&self.losses.elements_dropped, 1),
            }
        }
        self.ledger.record(&records);
        accepted()
    }

    fn record<'a>(&self, element: &'a RawValue, row: Row<'a>) -> Record<'a> {
        count(&self.losses.members_dropped, row.members_dropped);
        count(&self.losses.values_cut, row.values_cut);
        count(&self.losses.times_replaced, u64::from(row.time_replaced));
        Record { id: row.id, bytes: element.get().as_bytes(), context: Cow::Owned(row.stored.into_bytes()) }
    }
}

impl Service for Ingest {
    fn limits(&self) -> Limits {
        Limits { sent_bytes_max: READ_BYTES_MAX, plain_bytes_max: PLAIN_BYTES_MAX, encodings: &[Encoding::Gzip] }
    }

    fn refuse(&self, _head: &Head, why: Refusal) -> Reply {
        match why {
            Refusal::TooLarge => too_long(),
            Refusal::TooLargeUnpacked => {
                error(413, "PayloadSizeLimitExceeded", "The decompressed payload is above the limit of 52428800 bytes.")
            }
            Refusal::UnknownEncoding => error(415, "UnsupportedMediaType", "The content encoding is not supported."),
            Refusal::Undecodable => error(400, "InvalidPayload", "The request body cannot be decompressed."),
        }
    }

    fn handle(&self, request: &Request<'_>, take: Take) -> Reply {
        match self.check(request) {
            Ok(schema) => self.ingest(request.body, schema, take),
            Err(refusal) => refusal,
        }
    }
}

/// The rule and the stream that a path names.
fn stream_of(path: &str) -> Option<(&str, &str)> {
    let (dcr, stream) = path.strip_prefix("/dataCollectionRules/")?.split_once("/streams/")?;
    (!dcr.contains('/') && !stream.contains('/')).then_some((dcr, stream))
}

fn accepted() -> Reply {
    Reply::empty(204)
}

fn too_long() -> Reply {
    error(413, "ContentLengthLimitExceeded", &format!("Maximum allowed content length: {SENT_BYTES_MAX} bytes."))
}

fn count(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Ordering::Relaxed);
}

const ROLE_MISSING: &str = "The authentication token provided does not have access to ingest data for the data collection rule.";

/// The 403 of a role that is not assigned, or not known yet.
pub fn role_missing() -> Fault {
    Fault::answer(ready(&error(403, "OperationFailed", ROLE_MISSING)))
}

/// The 429 of a rule that takes too much.
pub fn throttled(retry_after: RetryAfter) -> Fault {
    let reply = error(429, "TooManyRequests", "The data collection rule is over its limit.");
    Fault::answer(ready(&reply).retry_after(retry_after))
}

fn ready(reply: &Reply) -> Answer {
    let body = String::from_utf8_lossy(&reply.body).into_owned();
    Answer { headers: reply.headers.clone(), ..Answer::new(reply.status, body) }
}

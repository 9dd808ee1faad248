//! What can go wrong between Miro and a client, by chance or to order.
//!
//! A fault either replaces the answer ([`Fault::Status`]), damages it on its way ([`Fault::Truncated`]), or makes the listing itself
//! misbehave ([`Fault::RepeatCursor`]). Orders come first; chance decides for the rest, and never more than a few times in a
//! row for one endpoint, so that a client which tries again makes progress.

mod apply;
mod body;

pub(crate) use apply::{PageFault, after, before};

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::mix::Mix;

const KEY_FAULT: u64 = 601;

/// Silence in [`FaultPlan::rough`].
const STALL: Duration = Duration::from_secs(2);

/// An operation of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    /// `GET /v2/audit/logs`
    Audit,
    /// `GET /v2/orgs/{org_id}/content-logs/items`
    Content,
    /// `GET /v2/orgs/{org_id}/ai-interaction-logs`
    Ai,
    /// `GET /v2/orgs/{org_id}`
    Organization,
    /// `GET /v2/orgs/{org_id}/members`
    Members,
    /// `GET /v2/orgs/{org_id}/members/{member_id}`
    Member,
    /// `GET /v1/oauth-token`
    TokenInfo,
    /// `POST /v1/oauth/token`
    Token,
    /// `POST /v2/oauth/revoke`
    Revoke,
    /// Anything else.
    Other,
}

/// One thing that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// This status with Miro's error body. 429 keeps its rate-limit headers.
    Status(u16),
    /// This status with a web page, as a proxy or load balancer sends.
    Html(u16),
    /// This status with nothing.
    Empty(u16),
    /// `Content-Length` promises the whole body, half of it comes, then the connection closes.
    Truncated,
    /// A chunked body that never ends.
    Endless,
    /// A TCP reset before the request has any effect.
    Reset,
    /// A TCP reset after the request took effect: the client cannot know.
    ResetAfterProcessing,
    /// A TCP reset in the middle of the body.
    ResetInBody,
    /// No byte of an answer for this long, then the connection closes. The request has no effect.
    StallBeforeHeaders(#[serde(with = "millis")] Duration),
    /// Headers and half of the body, then nothing for this long, then the connection closes.
    StallInBody(#[serde(with = "millis")] Duration),
    /// The right answer, in small pieces, over about this long.
    Trickle(#[serde(with = "millis")] Duration),
    /// A request that carries a cursor gets 400; others pass.
    ExpiredCursor,
    /// The page's cursor is the one that the request came with; for a first page, the cursor leads back to the start.
    RepeatCursor,
    /// A body that is JSON at its start only.
    InvalidJson,
    /// The page with `"data":null`.
    WrongType,
    /// The page holds some events of the page before, or its own twice.
    Duplicates,
    /// The page's events out of order.
    Unsorted,
}

impl Fault {
    /// Faults of a listing do not fit other operations.
    pub(crate) fn fits(self, endpoint: Endpoint) -> bool {
        let needs_listing = matches!(self, Self::ExpiredCursor | Self::RepeatCursor | Self::WrongType | Self::Duplicates | Self::Unsorted);
        !needs_listing || matches!(endpoint, Endpoint::Audit | Endpoint::Content | Endpoint::Ai)
    }
}

/// Faults to order: the next `times` requests to `endpoint` (any, where that is `None`) meet `fault`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultOrder {
    /// What goes wrong.
    pub fault: Fault,
    /// Where; `None` for every operation.
    #[serde(default)]
    pub endpoint: Option<Endpoint>,
    /// How often; `u32::MAX` for ever.
    #[serde(default = "once")]
    pub times: u32,
    /// How many fitting requests pass before the first.
    #[serde(default)]
    pub after: u32,
}

fn once() -> u32 {
    1
}

impl FaultOrder {
    /// Once, at the next request to `endpoint`.
    #[must_use]
    pub fn once(fault: Fault, endpoint: Endpoint) -> Self {
        Self { fault, endpoint: Some(endpoint), times: 1, after: 0 }
    }

    /// The same, so many times.
    #[must_use]
    pub fn times(self, times: u32) -> Self {
        Self { times, ..self }
    }

    /// The same, but that many requests pass first.
    #[must_use]
    pub fn after(self, after: u32) -> Self {
        Self { after, ..self }
    }
}

/// Faults by chance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FaultPlan {
    /// The share of requests, 0 to 1, that meets a fault.
    pub probability: f64,
    /// The faults to choose from, each equally likely; those that do not fit an operation are passed over.
    pub faults: Vec<Fault>,
    /// At most so many in a row at one operation.
    pub in_a_row_max: u32,
}

impl FaultPlan {
    /// Nothing goes wrong.
    #[must_use]
    pub fn none() -> Self {
        Self { probability: 0.0, faults: Vec::new(), in_a_row_max: 0 }
    }

    /// One request in eight meets one of the faults that pass by themselves, of every kind. Stalls are short (2 s), so that a test's
    /// client needs no long timeout to get through. 401 and 403 are left out, as a client is right to stop at them.
    #[must_use]
    pub fn rough() -> Self {
        let faults = vec![
            Fault::Status(429),
            Fault::Status(500),
            Fault::Status(502),
            Fault::Status(503),
            Fault::Status(504),
            Fault::Status(409),
            Fault::Html(502),
            Fault::Html(503),
            Fault::Html(200),
            Fault::Empty(500),
            Fault::Empty(200),
            Fault::Truncated,
            Fault::Endless,
            Fault::Reset,
            Fault::ResetInBody,
            Fault::StallBeforeHeaders(STALL),
            Fault::StallInBody(STALL),
            Fault::Trickle(STALL / 8),
            Fault::ExpiredCursor,
            Fault::RepeatCursor,
            Fault::InvalidJson,
            Fault::WrongType,
            Fault::Duplicates,
            Fault::Unsorted,
        ];
        Self { probability: 0.125, faults, in_a_row_max: 3 }
    }
}

/// Decides which request meets which fault.
pub(crate) struct Faults {
    seed: u64,
    state: Mutex<State>,
}

struct State {
    plan: FaultPlan,
    orders: VecDeque<FaultOrder>,
    requests: u64,
    in_a_row: HashMap<Endpoint, u32>,
}

impl Faults {
    pub(crate) fn new(seed: u64, plan: FaultPlan) -> Self {
        let state = State { plan, orders: VecDeque::new(), requests: 0, in_a_row: HashMap::new() };
        Self { seed, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_plan(&self, plan: FaultPlan) {
        self.state().plan = plan;
    }

    pub(crate) fn order(&self, order: FaultOrder) {
        if order.times > 0 {
            self.state().orders.push_back(order);
        }
    }

    pub(crate) fn clear(&self) {
        let mut state = self.state();
        state.orders.clear();
        state.plan = FaultPlan::none();
    }

    /// The fault of the next request to `endpoint`.
    pub(crate) fn next(&self, endpoint: Endpoint, has_cursor: HasCursor) -> Option<Fault> {
        let mut state = self.state();
        let fits = |fault: Fault| fault.fits(endpoint) && (fault != Fault::ExpiredCursor || has_cursor == HasCursor::Yes);
        state.requests += 1;
        if let Some(fault) = state.ordered(endpoint, fits) {
            return Some(fault);
        }
        let mut mix = Mix::of(&[self.seed, KEY_FAULT, state.requests]);
        let in_a_row = state.in_a_row.get(&endpoint).copied().unwrap_or_default();
        let met = in_a_row < state.plan.in_a_row_max && mix.chance(state.plan.probability);
        let choices: Vec<Fault> = state.plan.faults.iter().copied().filter(|fault| fits(*fault)).collect();
        let fault = (met && !choices.is_empty()).then(|| *mix.pick(&choices));
        state.in_a_row.insert(endpoint, if fault.is_some() { in_a_row + 1 } else { 0 });
        fault
    }
}

/// Whether a request continues a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HasCursor {
    Yes,
    No,
}

impl State {
    fn ordered(&mut self, endpoint: Endpoint, fits: impl Fn(Fault) -> bool) -> Option<Fault> {
        let at = self.orders.iter().position(|order| order.endpoint.is_none_or(|wanted| wanted == endpoint) && fits(order.fault))?;
        let order = &mut self.orders[at];
        if order.after > 0 {
            order.after -= 1;
            return None;
        }
        let fault = order.fault;
        if order.times != u32::MAX {
            order.times = order.times.saturating_sub(1);
        }
        if order.times == 0 {
            self.orders.remove(at);
        }
        Some(fault)
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faults").finish_non_exhaustive()
    }
}

/// Durations as JSON: whole milliseconds.
mod millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }
}

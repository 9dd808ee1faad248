//! `[orgs.<name>]` and its streams.

use std::time::Duration;

use super::{
    address::BaseUrl,
    key::{Defaulted, Key, Keys, Optional},
    name,
    node::{Kind, Node},
    problem::Faulty,
    scalar::Heartbeat,
    secret_value::{OAUTH, STREAM_OAUTH, STREAM_TOKEN, TOKEN, auth},
    settings::{AuthSettings, OrgSettings, QuotaShare, Start, StreamSettings},
    table::{At, Table, nearest},
    unsupported,
    value::{FromText, Unfit, switch},
};
use crate::event::{OrgName, StreamKind};

const ID: Key<OrgId, Optional> =
    Key::optional("id", "\"3074457345821141000\"", "it is found from the token", "Miro's id of the organisation.");
const API_URL: Key<BaseUrl, Defaulted> = Key::defaulted("api_url", "https://api.miro.com", "Where Miro's REST API is.")
    .limited("without /v2, which is added where it is needed", |url| !url.0.path().trim_end_matches('/').ends_with("/v2"));

const QUOTA_SHARE: Key<QuotaShare, Defaulted> = Key::defaulted(
    "quota_share",
    "1.0",
    "Which part of the credits that Miro gives a token every minute is for this program, where other programs use the same user and app. \
     Live polling is never held back by it; backfills and later listings are.",
);

pub(super) const ORG_KEYS: Keys = &[&ID, &API_URL, &TOKEN, &OAUTH, &QUOTA_SHARE];

/// Miro's id of an organisation: digits today, and never anything that would change a URL's path.
struct OrgId(String);

impl FromText for OrgId {
    const MEANT: &'static str = "an organisation's id such as \"3074457345821141000\"";
    const SHOWN: bool = false;

    fn from_text(text: &str) -> Result<Self, Unfit> {
        let is_id = !text.is_empty() && text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_=".contains(&byte));
        if is_id { Ok(Self(text.to_owned())) } else { Err(Unfit::Plainly) }
    }

    fn from_integer(number: i128) -> Option<Result<Self, Unfit>> {
        Some(if number > 0 { Ok(Self(number.to_string())) } else { Err(Unfit::Plainly) })
    }
}

const POLL_INTERVAL: Key<Duration, Defaulted> = Key::defaulted("poll_interval", "5m", "How long to wait between two polls.")
    .limited("from 10s to 24h", |interval| (Duration::from_secs(10)..=DAY).contains(interval));
const START: Key<Start, Defaulted> = Key::defaulted(
    "start",
    "now",
    "Where collection begins at the first run: now, an age, or a time. It is held within `retention`. \
     Later runs continue where the last one stopped.",
);
const OVERLAP: Key<Duration, Defaulted> = Key::defaulted(
    "overlap",
    "15m",
    "How far each poll looks back behind what is collected already: Miro makes events visible late and out of order. \
     What was seen is not sent again.",
)
.limited("at most 24h", |overlap| *overlap <= DAY);

const RECONCILE: Key<Vec<Duration>, Defaulted> = Key::defaulted(
    "reconcile",
    "1h,24h,7d",
    "After which times what was collected is listed once more: what Miro has made visible since then is delivered, marked as late. \
     An empty list switches it off, and then what is late by more than `overlap` is never found.",
)
.limited("at most 8 durations, each from 1s to 31d", |delays| {
    delays.len() <= 8 && delays.iter().all(|delay| (Duration::from_secs(1)..=DAY * 31).contains(delay))
});

const HEARTBEAT: Key<Heartbeat, Defaulted> = Key::defaulted(
    "heartbeat",
    "off",
    "How often an event `miro_siem.heartbeat` says how the stream is doing, so that a receiver can alarm on silence. It goes to sinks with \
     forwarder_events.",
)
.limited("from 1m to 24h, or \"off\"", |heartbeat| heartbeat.0.is_none_or(|every| (Duration::from_secs(60)..=DAY).contains(&every)));

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// Events that become visible late by minutes have been seen; a shorter overlap is asking for gaps.
const OVERLAP_DOUBTFUL: Duration = Duration::from_secs(60);

/// The largest page that each of Miro's APIs is known to answer.
const AUDIT_PAGE: Key<u32, Defaulted> =
    Key::defaulted("page_size", "500", "How many events to ask for at once.").limited("from 1 to 500", |size| (1..=500).contains(size));
const CONTENT_PAGE: Key<u32, Defaulted> =
    Key::defaulted("page_size", "1000", "How many events to ask for at once.").limited("from 1 to 1000", |size| (1..=1000).contains(size));
const AI_PAGE: Key<u32, Defaulted> =
    Key::defaulted("page_size", "100", "How many events to ask for at once.").limited("from 1 to 100", |size| (1..=100).contains(size));

const AUDIT_RETENTION: Key<Duration, Defaulted> = Key::defaulted(
    "retention",
    "90d",
    "How far back Miro's log reaches: 90 days through its API, or less where the organisation's own setting is shorter. Time that is older \
     and was not collected is reported as lost.",
)
.limited("from 1h to 90d", |retention| (HOUR..=DAY * 90).contains(retention));
const CONTENT_RETENTION: Key<Duration, Defaulted> = Key::defaulted(
    "retention",
    "30d",
    "How far back Miro's log reaches: what the organisation has set there. Left out, a `start` that is an age counts where it reaches \
     further back. Time that is older and was not collected is reported as lost.",
)
.limited("from 1h to 3650d", |retention| (HOUR..=DAY * 3650).contains(retention));

/// The streams of an organisation, each with the keys of its table.
pub(super) const STREAMS: [(StreamKind, Keys); 3] = [
    (
        StreamKind::Audit,
        &[&STREAM_TOKEN, &STREAM_OAUTH, &POLL_INTERVAL, &START, &OVERLAP, &RECONCILE, &AUDIT_RETENTION, &HEARTBEAT, &AUDIT_PAGE],
    ),
    (
        StreamKind::Content,
        &[&STREAM_TOKEN, &STREAM_OAUTH, &POLL_INTERVAL, &START, &OVERLAP, &RECONCILE, &CONTENT_RETENTION, &HEARTBEAT, &CONTENT_PAGE],
    ),
    (
        StreamKind::Ai,
        &[&STREAM_TOKEN, &STREAM_OAUTH, &POLL_INTERVAL, &START, &OVERLAP, &RECONCILE, &CONTENT_RETENTION, &HEARTBEAT, &AI_PAGE],
    ),
];

/// `[orgs.<name>]`
pub(super) fn org(at: At<'_>, name: &str, node: &Node) -> Result<OrgSettings, Faulty> {
    let valid_name = name::check(&at, name, node);
    let table = Table::open(at, node)?;
    refuse_unknown(&table);
    let (id, api_url, auth, quota_share) = (table.take(&ID), table.take(&API_URL), auth(&table), table.take(&QUOTA_SHARE));
    let org_has_auth = !matches!(auth, Ok(None));
    let streams: Vec<_> = STREAMS.iter().filter_map(|(kind, keys)| stream(&table, *kind, keys, org_has_auth)).collect();
    let wants_any = STREAMS.iter().any(|(kind, _)| table.raw(kind.as_str()).is_some());
    let has_unsupported = unsupported::STREAMS.iter().any(|name| table.raw(name).is_some());
    if streams.is_empty() && !has_unsupported {
        let how = if wants_any { "all its streams are switched off" } else { "it has no stream" };
        let key = &table.at.key;
        return Err(table.at.problem(node, format!("collects nothing: {how}; add [{key}.audit]")));
    }
    valid_name?;
    Ok(OrgSettings {
        name: OrgName::new(name),
        id: id?.map(|id| id.0),
        api_url: api_url?.0,
        auth: auth?,
        quota_share: quota_share?,
        streams: streams.into_iter().collect::<Result<_, _>>()?,
    })
}

fn refuse_unknown(table: &Table<'_>) {
    let streams: Vec<&str> = STREAMS.iter().map(|(kind, _)| kind.as_str()).collect();
    let known: Vec<&str> = ORG_KEYS.iter().map(|key| key.name()).chain(streams.iter().copied()).collect();
    let of_streams = STREAMS[0].1;
    for (name, node) in table.entries().filter(|(name, _)| !known.contains(name)) {
        let at = table.at.child(name);
        let message = if unsupported::STREAMS.contains(&name) {
            unsupported::message("the stream", name)
        } else if of_streams.iter().any(|key| key.name() == name) {
            format!("belongs to a stream's table, such as [{}.audit]", table.at.key)
        } else {
            match nearest(name, &known) {
                Some(meant) => format!("unknown key; did you mean {meant:?}?"),
                None => format!("unknown key; known here: {}", known.join(", ")),
            }
        };
        at.problem(node, message);
    }
}

/// A stream, if it is on: its table is there, or `true`, which is what a variable can say.
fn stream(org: &Table<'_>, kind: StreamKind, keys: Keys, org_has_auth: bool) -> Option<Result<StreamSettings, Faulty>> {
    let node = org.raw(kind.as_str())?;
    let empty = Node { kind: Kind::Nothing, origin: node.origin.clone() };
    let table = match switch(node) {
        Some(false) => return None,
        Some(true) => Table::of_keys(org.at.child(kind.as_str()), &empty, keys),
        None => Table::of_keys(org.at.child(kind.as_str()), node, keys),
    };
    Some(table.and_then(|table| read_stream(&table, kind, org, org_has_auth)))
}

fn read_stream(table: &Table<'_>, kind: StreamKind, org: &Table<'_>, org_has_auth: bool) -> Result<StreamSettings, Faulty> {
    let auth = require_auth(table, auth(table), org, org_has_auth);
    let (poll_interval, start, overlap) = (table.take(&POLL_INTERVAL), table.take(&START), table.take(&OVERLAP));
    let (page_size, reconcile, heartbeat) = (table.take(page_key(kind)), table.take(&RECONCILE), table.take(&HEARTBEAT));
    let retention = retention(table, kind, start.as_ref().ok());
    if overlap.as_ref().is_ok_and(|overlap| *overlap < OVERLAP_DOUBTFUL)
        && let Some(node) = table.raw(OVERLAP.name)
    {
        table.at.child(OVERLAP.name).warning(node, "is shorter than 1m: events that Miro makes visible later than that are not collected");
    }
    Ok(StreamSettings {
        kind,
        auth: auth?,
        poll_interval: poll_interval?,
        start: start?,
        overlap: overlap?,
        page_size: page_size?,
        reconcile: sorted(reconcile?),
        retention: retention?,
        heartbeat: heartbeat?.0,
    })
}

fn sorted(mut delays: Vec<Duration>) -> Vec<Duration> {
    delays.sort_unstable();
    delays.dedup();
    delays
}

/// How far the log reaches back. An operator who lets a content or AI log begin further back than is usual, and writes no retention, says with
/// that how long the log is; a retention that is written, and Miro's own for audit logs, hold against the start.
fn retention(table: &Table<'_>, kind: StreamKind, start: Option<&Start>) -> Result<Duration, Faulty> {
    let key = if kind == StreamKind::Audit { &AUDIT_RETENTION } else { &CONTENT_RETENTION };
    let retention = table.take(key)?;
    let Some(Start::Ago(age)) = start.filter(|start| matches!(start, Start::Ago(age) if *age > retention)) else { return Ok(retention) };
    if kind != StreamKind::Audit && table.raw(key.name).is_none() {
        return Ok((*age).min(DAY * 3650));
    }
    if let Some(node) = table.raw(START.name) {
        let days = retention.as_secs_f64() / DAY.as_secs_f64();
        let message = format!("lies further back than `retention` says that Miro's log reaches ({days:.1} days): collection begins there");
        table.at.child(START.name).warning(node, message);
    }
    Ok(retention)
}

fn page_key(kind: StreamKind) -> &'static Key<u32, Defaulted> {
    match kind {
        StreamKind::Audit => &AUDIT_PAGE,
        StreamKind::Content => &CONTENT_PAGE,
        StreamKind::Ai | StreamKind::Licenses | StreamKind::Forwarder => &AI_PAGE,
    }
}

fn require_auth(
    stream: &Table<'_>,
    auth: Result<Option<AuthSettings>, Faulty>,
    org: &Table<'_>,
    org_has_auth: bool,
) -> Result<Option<AuthSettings>, Faulty> {
    match auth {
        Ok(None) if !org_has_auth => {
            let message = format!("is missing; neither {} nor {} has `token` or `oauth`", stream.at.key, org.at.key);
            Err(stream.problem(TOKEN.name, message))
        }
        auth => auth,
    }
}

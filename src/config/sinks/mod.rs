//! `[sinks.<name>]`: the keys of any sink, and the table of types. Each type's own keys are in a file of its own.

use std::time::Duration;

use super::{
    key::{Defaulted, Key, Keys, Optional, Required},
    name,
    node::{Kind, Node},
    problem::Faulty,
    scalar::ByteSize,
    settings::{Format, Provenance, SinkKindSettings, SinkSettings, Start, TlsSettings},
    table::{At, Table, nearest},
    unsupported,
    value::{FromText, Unfit},
};
use crate::event::{SinkName, StreamKind};

mod azure_monitor;
mod credential;
mod elasticsearch;
mod file;
mod filter;
mod headers;
mod http;
mod nats;
mod otlp;
mod redact;
mod s3;
mod splunk_hec;
mod sumo;
mod syslog;

use filter::FILTER;
use redact::REDACT;

/// A type of sink.
pub(super) struct SinkType {
    /// The value of `type`.
    pub(super) name: &'static str,
    /// What it is, in a sentence.
    pub(super) doc: &'static str,
    /// The keys that only this type has.
    pub(super) keys: Keys,
    /// Whether it opens connections that `tls` could be about.
    pub(super) connects: Connects,
    /// Whether a record says where it comes from, unless the configuration decides.
    pub(super) provenance: Provenance,
    read: fn(&Table<'_>) -> Result<SinkKindSettings, Faulty>,
}

/// Whether a type of sink opens connections.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Connects {
    /// It writes locally.
    No,
    /// It talks to a receiver.
    Yes,
}

/// Every type of this version.
pub(super) const TYPES: [&SinkType; 11] = [
    &STDOUT,
    &file::TYPE,
    &splunk_hec::TYPE,
    &azure_monitor::TYPE,
    &sumo::TYPE,
    &syslog::TYPE,
    &http::TYPE,
    &elasticsearch::TYPE,
    &nats::TYPE,
    &otlp::TYPE,
    &s3::TYPE,
];

const STDOUT: SinkType = SinkType {
    name: "stdout",
    doc: "One JSON record per line on standard output.",
    keys: &[],
    connects: Connects::No,
    provenance: Provenance::On,
    read: |_| Ok(SinkKindSettings::Stdout),
};

/// The value of `type`.
struct TypeName(&'static SinkType);

impl FromText for TypeName {
    const MEANT: &'static str = "\"stdout\", \"file\", \"splunk_hec\", \"azure_monitor\", \"sumo\", \"syslog\", \"http\", \"elasticsearch\", \"nats\", \"otlp\" or \"s3\"";

    fn from_text(text: &str) -> Result<Self, Unfit> {
        if unsupported::SINK_TYPES.contains(&text) {
            return Err(Unfit::Instead(unsupported::message("the sink type", text)));
        }
        if let Some(found) = TYPES.into_iter().find(|kind| kind.name == text) {
            return Ok(Self(found));
        }
        let names: Vec<&str> = TYPES.iter().map(|kind| kind.name).chain(unsupported::SINK_TYPES.iter().copied()).collect();
        Err(nearest(text, &names).map_or(Unfit::Plainly, |meant| Unfit::Because(format!("did you mean {meant:?}?"))))
    }
}

const TYPE: Key<TypeName, Required> = Key::required("type", "\"splunk_hec\"", "What kind of receiver it is; the types are below.");
const STREAMS: Key<Vec<StreamKind>, Optional> = Key::optional("streams", "[\"audit\", \"content\"]", "all", "Which streams it takes.")
    .limited("of at least one stream", |streams| !streams.is_empty());
const FORWARDER_EVENTS: Key<bool, Defaulted> = Key::defaulted(
    "forwarder_events",
    "false",
    "Whether it takes miro-siem's own events too: gaps that open, close or are lost, warnings before Miro's retention ends, heartbeats. They \
     are shaped like audit events, of the stream `forwarder` and the category `miro_siem`; of the filter, only exclude_events is about them.",
);
const START: Key<Start, Defaulted> = Key::defaulted(
    "start",
    "now",
    "Where a new sink begins: \"now\", an age such as \"24h\", or a time. What was collected before is sent from the journal as far as that \
     reaches, the rest from Miro once more, beside the normal flow and without touching other sinks. A sink that is taken out of the \
     configuration and comes back is a new one.",
);
const FORMAT: Key<Format, Defaulted> = Key::defaulted(
    "format",
    "raw",
    "How a record is written; raw is Miro's own object, byte for byte, ocsf is OCSF 1.8.0, ecs the Elastic Common Schema. cef and leef are \
     for syslog only; raw is the only one for azure_monitor, whose tables have Miro's columns.",
);
const PROVENANCE: Key<Provenance, Optional> = Key::optional(
    "provenance",
    "true",
    "true; false for azure_monitor, whose tables drop columns that they do not declare",
    "Whether a record says where it comes from: `_miro_siem` at the end of a JSON record, `fields` over HEC.",
);
const BATCH_EVENTS_MAX: Key<usize, Optional> =
    Key::optional("batch_events_max", "500", "the type's own limit", "How many events are sent at once at most.")
        .limited("from 1 to 100000", |events| (1..=100_000).contains(events));
const BATCH_BYTES_MAX: Key<ByteSize, Optional> = Key::optional(
    "batch_bytes_max",
    "\"1MiB\"",
    "the type's own limit",
    "How large the records that are sent at once may be, before compression.",
)
.limited("from 1KiB to 100MiB", |size| (1 << 10..=100 << 20).contains(&size.0));
const FLUSH_INTERVAL: Key<Duration, Optional> =
    Key::optional("flush_interval", "\"1s\"", "1s; 60s for s3, where each batch is an object", "How long a batch may wait to fill.")
        .limited("at most 10m", |wait| *wait <= Duration::from_secs(600));
const TIMEOUT: Key<Duration, Defaulted> = Key::defaulted("timeout", "30s", "How long one delivery may take.")
    .limited("from 100ms to 10m", |timeout| (Duration::from_millis(100)..=Duration::from_secs(600)).contains(timeout));
const RETRY_INITIAL: Key<Duration, Defaulted> = Key::defaulted(
    "retry_initial",
    "1s",
    "The longest first wait after a failure; each further one may be twice as long. Retrying never ends.",
)
.limited("from 1ms to 1h", |wait| (Duration::from_millis(1)..=Duration::from_secs(3600)).contains(wait));
const RETRY_MAX: Key<Duration, Defaulted> = Key::defaulted("retry_max", "5m", "The longest wait between two attempts.")
    .limited("from 1ms to 24h", |wait| (Duration::from_millis(1)..=Duration::from_secs(24 * 3600)).contains(wait));
const TLS: Key<TlsSettings, Optional> = Key::optional(
    "tls",
    "{ ca_file = \"/etc/ssl/certs/siem-ca.pem\" }",
    "[tls] holds",
    "TLS for this sink; what it leaves out comes from [tls].",
);

/// The keys of any sink.
pub(super) const COMMON_KEYS: Keys = &[
    &TYPE,
    &STREAMS,
    &START,
    &FORWARDER_EVENTS,
    &FORMAT,
    &PROVENANCE,
    &FILTER,
    &REDACT,
    &BATCH_EVENTS_MAX,
    &BATCH_BYTES_MAX,
    &FLUSH_INTERVAL,
    &TIMEOUT,
    &RETRY_INITIAL,
    &RETRY_MAX,
    &TLS,
];

/// `[sinks.<name>]`; `global` is `[tls]`.
pub(super) fn sink(at: At<'_>, name: &str, node: &Node, global: &TlsSettings) -> Result<SinkSettings, Faulty> {
    let valid_name = name::check(&at, name, node);
    let table = Table::open(at, node)?;
    // Without its type nothing is known about the other keys.
    let TypeName(kind) = table.take(&TYPE)?;
    refuse_unknown(&table, kind);
    let own = (kind.read)(&table);
    let common = common(&table, kind, global);
    valid_name?;
    let (own, common) = (own?, common?);
    Ok(common(SinkName::new(name), own))
}

fn refuse_unknown(table: &Table<'_>, kind: &SinkType) {
    table.refuse_unknown(&[COMMON_KEYS, kind.keys], |name| {
        if unsupported::SINK_KEYS.contains(&name) {
            return Some(unsupported::message("the key", name));
        }
        let owners: Vec<&str> =
            TYPES.iter().filter(|other| other.keys.iter().any(|key| key.name() == name)).map(|other| other.name).collect();
        match owners.as_slice() {
            [] => None,
            owners => Some(format!("belongs to sinks of type {}; this one is {}", owners.join(" or "), kind.name)),
        }
    });
}

/// Reads the common keys; what comes back puts them together with the rest.
fn common(
    table: &Table<'_>,
    kind: &SinkType,
    global: &TlsSettings,
) -> Result<impl FnOnce(SinkName, SinkKindSettings) -> SinkSettings + use<>, Faulty> {
    let (streams, format, provenance) = (table.take(&STREAMS), format(table, kind), table.take(&PROVENANCE));
    let (filter, redact) = (table.take(&FILTER), table.take(&REDACT));
    let start = table.take(&START);
    let (events_max, bytes_max, flush) = (table.take(&BATCH_EVENTS_MAX), table.take(&BATCH_BYTES_MAX), table.take(&FLUSH_INTERVAL));
    let (timeout, waits, tls, forwarder_events) =
        (table.take(&TIMEOUT), retry_waits(table), tls(table, kind, global), table.take(&FORWARDER_EVENTS));
    let (streams, format) = (streams?.unwrap_or_else(|| StreamKind::OF_MIRO.to_vec()), format?);
    let (filter, redact) = (filter?.unwrap_or_default(), redact?.unwrap_or_default());
    let own = forwarder_events?.then_some(StreamKind::Forwarder);
    let (provenance, start) = (provenance?.unwrap_or(kind.provenance), start?);
    let (batch_events_max, batch_bytes_max) = (events_max?, bytes_max?.map(|size| usize::try_from(size.0).unwrap_or(usize::MAX)));
    let (flush_interval, timeout, (retry_initial, retry_max), tls) = (flush?.unwrap_or(usual_flush(kind)), timeout?, waits?, tls?);
    Ok(move |name, kind| SinkSettings {
        name,
        kind,
        streams: in_order(&streams).into_iter().chain(own).collect(),
        start,
        format,
        provenance,
        filter,
        redact,
        batch_events_max,
        batch_bytes_max,
        flush_interval,
        timeout,
        retry_initial,
        retry_max,
        tls,
    })
}

/// How long a batch may wait to fill where the configuration does not say.
fn usual_flush(kind: &SinkType) -> Duration {
    Duration::from_secs(if kind.name == s3::TYPE.name { 60 } else { 1 })
}

/// Each kind once, in the order in which they are shown.
fn in_order(streams: &[StreamKind]) -> Vec<StreamKind> {
    StreamKind::OF_MIRO.into_iter().filter(|kind| streams.contains(kind)).collect()
}

/// The formats that are no JSON are for receivers that expect them; nobody else could read them.
fn format(table: &Table<'_>, kind: &SinkType) -> Result<Format, Faulty> {
    let format = table.take(&FORMAT)?;
    match format {
        Format::Cef | Format::Leef if kind.name != syslog::TYPE.name => Err(table
            .problem(FORMAT.name, format!("cef and leef are for sinks of type syslog; this one is {}: use raw, ocsf or ecs", kind.name))),
        Format::Ocsf | Format::Ecs if kind.name == azure_monitor::TYPE.name => {
            let why = "has to be raw here: the tables of an azure_monitor sink have the columns of Miro's own object, and drop all others";
            Err(table.problem(FORMAT.name, why))
        }
        Format::Raw | Format::Ocsf | Format::Ecs | Format::Cef | Format::Leef => Ok(format),
    }
}

fn retry_waits(table: &Table<'_>) -> Result<(Duration, Duration), Faulty> {
    let (initial, max) = (table.take(&RETRY_INITIAL), table.take(&RETRY_MAX));
    let (initial, max) = (initial?, max?);
    if initial > max {
        return Err(table.problem(RETRY_MAX.name, "needs to be at least retry_initial"));
    }
    Ok((initial, max))
}

fn tls(table: &Table<'_>, kind: &SinkType, global: &TlsSettings) -> Result<TlsSettings, Faulty> {
    if kind.connects == Connects::No && table.raw(TLS.name).is_some() {
        return Err(table.problem(TLS.name, format!("has no meaning here: a sink of type {} opens no connection", kind.name)));
    }
    let own = table.take(&TLS)?.unwrap_or_default();
    let pair = if own.cert_file.is_some() { &own } else { global };
    Ok(TlsSettings {
        ca_file: own.ca_file.clone().or_else(|| global.ca_file.clone()),
        cert_file: pair.cert_file.clone(),
        key_file: pair.key_file.clone(),
    })
}

/// Whether a key is written at all, whatever it holds.
fn is_written(table: &Table<'_>, name: &str) -> bool {
    table.raw(name).is_some_and(|node| !matches!(node.kind, Kind::Nothing))
}

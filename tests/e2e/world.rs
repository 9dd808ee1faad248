//! A simulated organisation and what it has to say: the truth that every receiver is compared with.

use std::{collections::BTreeMap, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use miro_simulator::{FaultPlan, Running, SimConfig, Simulator, Stream};
use testbed::ledger::Digest;

/// What was visible, by id.
pub(crate) type Truth = BTreeMap<String, Fact>;

/// One event that was visible.
pub(crate) struct Fact {
    /// Of the bytes that Miro sent.
    pub(crate) exact: Digest,
    /// Of the same with line breaks between JSON tokens replaced by spaces, which is how one record per line has to travel.
    pub(crate) one_line: Digest,
    /// Whether a field is larger than Azure stores.
    pub(crate) oversized: bool,
}

/// Azure cuts fields above this many bytes (Logs Ingestion API, service limits).
const AZURE_FIELD_BYTES_MAX: usize = 64 * 1024;

impl Fact {
    fn of(raw: &[u8]) -> Self {
        let one_line: Vec<u8> = raw.iter().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte }).collect();
        Self { exact: Digest::of(raw), one_line: Digest::of(&one_line), oversized: raw.len() > AZURE_FIELD_BYTES_MAX }
    }
}

/// An organisation of that size, with faults or without.
pub(crate) async fn organisation(days: u32, audit_events: u64, content_events: u64, faults: FaultPlan) -> Running {
    let config = SimConfig {
        seed: 11,
        days,
        audit_events,
        content_events,
        ai_events: 0,
        late_fraction: 0.0,
        credits_per_minute: None,
        faults,
        latency: Duration::ZERO..=Duration::ZERO,
        ..SimConfig::default()
    };
    Simulator::start(config).await.expect("the simulator starts")
}

/// Everything that the organisation has of those streams since `from`, whatever its age.
pub(crate) fn truth(simulator: &Running, streams: &[Stream], from: DateTime<Utc>) -> Truth {
    let until = Utc::now() + TimeDelta::days(1);
    let events = streams.iter().flat_map(|stream| simulator.sim().truth_iter(*stream, from, until));
    events.map(|event| (event.id.expect("the organisation has whole records only"), Fact::of(&event.raw))).collect()
}

/// The token that may read everything.
pub(crate) fn token(simulator: &Running) -> &str {
    simulator.sim().auth().token("admin").expect("the simulator has such a token")
}

//! A simulated organisation and what it has to say: the truth that every receiver is compared with.

use std::{collections::BTreeMap, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use miro_simulator::{FaultPlan, Running, SimConfig, Simulator, Stream};
use testbed::ledger::Digest;

/// What was visible: id and digest of the bytes, by stream.
pub(crate) type Truth = BTreeMap<String, Digest>;

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
    events.map(|event| (event.id.expect("the organisation has whole records only"), Digest::of(&event.raw))).collect()
}

/// The token that may read everything.
pub(crate) fn token(simulator: &Running) -> &str {
    simulator.sim().auth().token("admin").expect("the simulator has such a token")
}

//! What an organisation writes in a day, by the simulator: mostly audit events, some content, few AI interactions.

use std::fmt;

use miro_siem::event::{Event, EventId, OrgName, Origin, Position, StreamId, StreamKind, Timestamp, undecodable_id};
use miro_simulator::{SimConfig, Simulator, Stream};

/// Events of several streams.
pub(crate) struct Mix(Vec<(StreamId, Vec<Event>)>);

impl Mix {
    pub(crate) fn of_a_day() -> Self {
        let simulator = Simulator::new(SimConfig {
            seed: 7,
            now: "2026-03-01T00:00:00Z".parse().expect("a time"),
            days: 1,
            audit_events: 10_000,
            content_events: 2_500,
            ai_events: 250,
            ..SimConfig::default()
        });
        let (from, to) = ("2026-02-01T00:00:00Z".parse().expect("a time"), "2026-03-01T00:00:00Z".parse().expect("a time"));
        let streams = [(StreamKind::Audit, Stream::Audit), (StreamKind::Content, Stream::Content), (StreamKind::Ai, Stream::Ai)];
        let of = |(kind, stream)| {
            let events = simulator.truth(stream, from, to).into_iter().map(|event| Event {
                position: Position(1),
                time: event.decodable.then(|| Timestamp::from(event.created_at)),
                id: event.id.map_or_else(|| undecodable_id(&event.raw), EventId::new),
                collected_at: Timestamp::from_millis(1_772_323_500_500),
                origin: Origin::Live,
                raw: event.raw.into(),
            });
            (StreamId::new(OrgName::new("acme"), kind), events.collect())
        };
        Self(streams.map(of).into())
    }

    pub(crate) fn streams(&self) -> impl Iterator<Item = (&StreamId, &[Event])> {
        self.0.iter().map(|(stream, events)| (stream, events.as_slice()))
    }

    pub(crate) fn len(&self) -> u64 {
        self.0.iter().map(|(_, events)| events.len() as u64).sum()
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let each: Vec<String> = self
            .0
            .iter()
            .map(|(stream, events)| {
                let bytes: usize = events.iter().map(|event| event.raw.len()).sum();
                format!("{} {} events of {} bytes", events.len(), stream.kind, bytes / events.len().max(1))
            })
            .collect();
        f.write_str(&each.join(", "))
    }
}

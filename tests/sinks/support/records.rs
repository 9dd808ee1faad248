//! Events with their records, as the driver hands them to a sink, and what a receiver of syslog must have of them.

use miro_siem::{
    config::settings::{Format, Provenance},
    event::{Event, EventId},
    sink::{Batch, Receipt, Sink, SinkError},
    transform::{Transform, TransformSettings},
};

use super::{audit, began_at, event};

/// Events with everything that a text may hold.
pub(crate) fn events(positions: std::ops::Range<u64>) -> Vec<Event> {
    let odd = ["", "é ß 漢字 🦀", "\u{2028}\u{85}", r#"\n\r\t\u0000"#, r#"\"]\\["#, "%s %n ${jndi} <b>", "  two  spaces  "];
    let with = |position: u64| {
        let text = odd[position as usize % odd.len()];
        let id = format!("2026-01-31T09:30:10.840687Z#{position}-DDB");
        let raw = format!(r#"{{"id":"{id}","event":"board_opened","n":12345678901234567890.10,"text":"{text}"}}"#);
        Event { id: EventId::new(id), raw: raw.into(), ..event(position, began_at()) }
    };
    positions.map(with).collect()
}

pub(crate) struct Records {
    pub(crate) events: Vec<Event>,
    payloads: Vec<u8>,
    ends: Vec<usize>,
}

impl Records {
    pub(crate) fn of(events: Vec<Event>) -> Self {
        Self::in_format(Format::Raw, events)
    }

    pub(crate) fn in_format(format: Format, events: Vec<Event>) -> Self {
        let settings = TransformSettings::whole(format, Provenance::On);
        let mut transform = Transform::new(&settings, &audit());
        let (mut payloads, mut ends) = (Vec::new(), Vec::new());
        for event in &events {
            transform.apply(event, &mut payloads);
            ends.push(payloads.len());
        }
        Self { events, payloads, ends }
    }

    pub(crate) async fn deliver(&self, sink: &dyn Sink) -> Result<Receipt, SinkError> {
        sink.deliver(Batch::new(&audit(), &self.events, &self.payloads, &self.ends)).await
    }

    /// What a receiver must have: the structured data and the record of each event.
    pub(crate) fn expected(&self) -> Vec<(String, String)> {
        let stream = audit();
        let batch = Batch::new(&stream, &self.events, &self.payloads, &self.ends);
        batch.iter().map(|(event, record)| (structured_data(event), String::from_utf8(record.to_vec()).expect("text"))).collect()
    }
}

fn structured_data(event: &Event) -> String {
    format!(r#"[miroSiem@32473 org="acme" stream="audit" id="{}" late="false" backfill="false"]"#, event.id)
}

//! What is sent: one resource, one scope, and a log record for each event.
//!
//! | part | holds |
//! |---|---|
//! | resource | `service.name` and `service.version`, `miro.org`, and what the configuration adds |
//! | scope | `miro-siem` and its version |
//! | time, observed time | when it happened (unset where that is unknown), when it was collected |
//! | severity | `INFO` |
//! | event name | `miro.` and the event's name, such as `miro.board_opened` |
//! | body | the record as text |
//! | attributes | `log.record.uid` (the stable id; "records with the same id … can be removed safely"), `miro.org`, `miro.stream`, `miro.late`, `miro.backfill`; and where the record has them, `user.id`, `user.email`, `user.full_name`, `client.address` |
//!
//! What is in the record alone is read from the record and not from the event, so that what was redacted stays redacted.

use opentelemetry_proto::tonic::{
    collector::logs::v1::ExportLogsServiceRequest,
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs, SeverityNumber},
    resource::v1::Resource,
};

use super::super::Batch;
use crate::{
    config::settings::{OtlpSettings, Provenance},
    event::{Event, Origin, StreamId, Timestamp},
    transform::{members::Members, names},
};

const NAME: &str = "miro-siem";

/// What is the same for every request of a sink.
#[derive(Debug)]
pub(super) struct Template {
    resource: Vec<KeyValue>,
    scope: InstrumentationScope,
    provenance: Provenance,
}

impl Template {
    pub(super) fn new(settings: &OtlpSettings, provenance: Provenance) -> Self {
        let own = [("service.name", NAME), ("service.version", env!("CARGO_PKG_VERSION"))];
        let own = own.into_iter().filter(|(name, _)| !settings.resource_attributes.iter().any(|(added, _)| added == name));
        let added = settings.resource_attributes.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        Self {
            resource: own.chain(added).map(|(name, value)| text(name, value)).collect(),
            scope: InstrumentationScope {
                name: NAME.to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                ..InstrumentationScope::default()
            },
            provenance,
        }
    }

    /// A request with those events; without any, an empty one.
    pub(super) fn request(&self, batch: Option<&Batch<'_>>) -> ExportLogsServiceRequest {
        let resource_logs = batch.map(|batch| self.resource_logs(batch)).into_iter().collect();
        ExportLogsServiceRequest { resource_logs }
    }

    fn resource_logs(&self, batch: &Batch<'_>) -> ResourceLogs {
        let mut resource = self.resource.clone();
        if self.provenance == Provenance::On {
            resource.push(text("miro.org", batch.stream().org.as_str()));
        }
        let log_records = batch.iter().map(|(event, record)| self.log_record(batch.stream(), event, record)).collect();
        ResourceLogs {
            resource: Some(Resource { attributes: resource, ..Resource::default() }),
            scope_logs: vec![ScopeLogs { scope: Some(self.scope.clone()), log_records, ..ScopeLogs::default() }],
            ..ResourceLogs::default()
        }
    }

    fn log_record(&self, stream: &StreamId, event: &Event, record: &[u8]) -> LogRecord {
        let mut attributes = Vec::with_capacity(9);
        if self.provenance == Provenance::On {
            push_provenance(stream, event, &mut attributes);
        }
        push_people(record, &mut attributes);
        let names = names::of(stream.kind, &event.raw);
        LogRecord {
            time_unix_nano: event.time.map(nanos).unwrap_or_default(),
            observed_time_unix_nano: nanos(event.collected_at),
            severity_number: SeverityNumber::Info.into(),
            severity_text: "INFO".to_owned(),
            event_name: names.first().filter(|name| !name.is_empty()).map(|name| format!("miro.{name}")).unwrap_or_default(),
            body: Some(AnyValue { value: Some(text_or_bytes(record)) }),
            attributes,
            ..LogRecord::default()
        }
    }
}

fn push_provenance(stream: &StreamId, event: &Event, attributes: &mut Vec<KeyValue>) {
    attributes.extend([
        text("log.record.uid", event.id.as_str()),
        text("miro.org", stream.org.as_str()),
        text("miro.stream", stream.kind.as_str()),
        flag("miro.late", event.origin == Origin::Late),
        flag("miro.backfill", event.origin == Origin::Backfill),
    ]);
}

/// Who did it and from where, under the names of the semantic conventions.
fn push_people(record: &[u8], attributes: &mut Vec<KeyValue>) {
    let members = Members::of(record);
    let actor = if members.get("createdBy").is_some() { members.inside("createdBy") } else { members.inside("actor") };
    let context = members.inside("context");
    let found = [
        ("user.id", actor.text("id")),
        ("user.email", actor.text("email")),
        ("user.full_name", actor.text("name")),
        ("client.address", context.text("ip")),
    ];
    attributes.extend(found.into_iter().filter_map(|(name, value)| Some(text(name, &value?))));
}

fn text(name: &str, value: &str) -> KeyValue {
    attribute(name, Value::StringValue(value.to_owned()))
}

fn flag(name: &str, value: bool) -> KeyValue {
    attribute(name, Value::BoolValue(value))
}

fn attribute(name: &str, value: Value) -> KeyValue {
    KeyValue { key: name.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

/// A text in protobuf is UTF-8, and so is JSON. What is neither keeps its bytes.
fn text_or_bytes(record: &[u8]) -> Value {
    match std::str::from_utf8(record) {
        Ok(text) => Value::StringValue(text.to_owned()),
        Err(_) => Value::BytesValue(record.to_vec()),
    }
}

/// Nanoseconds since 1970; 0, which means unknown, for a time before it.
fn nanos(time: Timestamp) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or_default().saturating_mul(1_000)
}

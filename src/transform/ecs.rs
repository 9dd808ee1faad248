//! The `ecs` format: the Elastic Common Schema (elastic.co, ECS reference), by the same table as `ocsf`.
//!
//! `event.original` is Miro's own object as text, byte for byte; what has no field of its own is under `miro.audit` and its like, as it
//! is spelled: map that as `flattened`, because its shapes are Miro's and change. `state` of content logs is in `event.original` only.
//! `_miro_siem` is where the record comes from, unless `provenance` is off. `event.id` is the stable id.
//!
//! What is not in the table has no `event.category` and no `event.type`, and is counted. Bytes that are no UTF-8 go into `miro.raw_hex`.
//!
//! Where a message is too small: `event.original` and `miro` give way to `event.hash`, the SHA-256 of the original bytes; where that is
//! too large, what remains is time, id, dataset and hash.

use super::{
    Extent, Mapped,
    draft::Draft,
    mapping::{self, Class, Effect, Mapping, What},
    object::Object,
    raw::ProvenanceWriter,
    reading::{Party, Reading},
};
use crate::{
    config::settings::Provenance,
    event::{Event, StreamId, StreamKind},
};

/// Every field here is in this version and all later ones.
const VERSION: &str = "8.11.0";
/// Members that fields hold, wholly.
const PLACED: &[&str] = &["id", "createdBy", "actor", "event", "actionType", "state"];

/// Writes `ecs` records of one stream.
#[derive(Debug)]
pub struct Ecs {
    stream: StreamKind,
    provenance: Option<ProvenanceWriter>,
}

impl Ecs {
    /// For events of that stream, with or without provenance.
    pub fn new(provenance: Provenance, stream: &StreamId) -> Self {
        Self { stream: stream.kind, provenance: (provenance == Provenance::On).then(|| ProvenanceWriter::new(stream)) }
    }

    /// Adds the event's record to `out`, and says whether its name was known.
    pub(super) fn write(&mut self, event: &Event, extent: Extent, out: &mut Vec<u8>) -> Mapped {
        let draft = Draft::of(self.stream, event, extent);
        Object::write(out, |record| {
            record.text("@timestamp", Some(&draft.reading.time.to_rfc3339_millis()));
            record.object("ecs", |ecs| ecs.text("version", Some(VERSION)));
            record.object("event", |fields| write_event(fields, &draft));
            if extent != Extent::Minimal {
                write_parties(record, draft.mapping, &draft.reading);
            }
            if extent == Extent::Full {
                record.object("miro", |miro| write_leftovers(miro, &draft));
                if let Some(provenance) = &mut self.provenance {
                    record.written("_miro_siem", |out| draft.push_provenance(provenance, out));
                }
            }
        });
        draft.mapped()
    }
}

fn write_event(fields: &mut Object<'_>, draft: &Draft<'_>) {
    let (reading, mapping) = (&draft.reading, draft.claimed());
    fields.text("kind", Some("event"));
    fields.text("id", Some(reading.id));
    fields.text("module", Some("miro"));
    fields.text("dataset", Some(&reading.dataset()));
    if draft.extent != Extent::Minimal {
        fields.text("action", reading.code.as_deref());
        fields.text("provider", reading.feature.as_deref());
        fields.texts("category", categories(mapping).iter().copied());
        fields.texts("type", types(mapping));
        if mapping.class == Class::Auth {
            fields.text("outcome", Some(if mapping.is_failure() { "failure" } else { "success" }));
        }
        fields.integer("severity", mapping.severity as i64);
        fields.text("created", Some(&draft.event.collected_at.to_rfc3339_millis()));
    }
    match draft.extent {
        Extent::Full => fields.text("original", draft.text()),
        Extent::Reduced | Extent::Minimal => fields.written("hash", |out| draft.push_quoted_hash(out)),
    }
}

/// The allowed values of `event.category`.
fn categories(mapping: &Mapping) -> &'static [&'static str] {
    match mapping.class {
        Class::Base => &[],
        Class::Auth if mapping.is_failure() => &["authentication"],
        Class::Auth => &["authentication", "session"],
        Class::Account | Class::Access | Class::Group => &["iam"],
        Class::Entity | Class::App => &["configuration"],
        Class::Web => &["file"],
    }
}

/// The values of `event.type` that its category allows.
fn types(mapping: &Mapping) -> Vec<&'static str> {
    let about = match mapping.class {
        Class::Base => return Vec::new(),
        Class::Account => Some("user"),
        Class::Access => Some("admin"),
        Class::Group => Some("group"),
        Class::Auth | Class::Entity | Class::App | Class::Web => None,
    };
    let change = match mapping.change {
        Effect::Access => "access",
        Effect::Change => "change",
        Effect::Creation => "creation",
        Effect::Deletion => "deletion",
        Effect::End => "end",
        Effect::Info => "info",
        Effect::Start => "start",
    };
    about.into_iter().chain([change]).collect()
}

fn write_parties(record: &mut Object<'_>, mapping: &Mapping, reading: &Reading<'_>) {
    let target = mapping::target(mapping.what, reading);
    record.object("user", |user| {
        write_user(user, &reading.actor);
        if let Some(target) = &target {
            user.object("target", |user| write_user(user, target));
        }
    });
    let team = if matches!(mapping.what, What::Team | What::TeamEntity) { &reading.object } else { &reading.team };
    record.object("group", |group| write_named(group, team));
    record.object("organization", |org| write_named(org, &reading.org));
    let ip = reading.ip.map(|ip| ip.to_string());
    record.object("source", |source| source.text("ip", ip.as_deref()));
    record.object("related", |related| {
        related.texts("ip", ip.as_deref());
        let users = [Some(&reading.actor), target.as_ref()].into_iter().flatten();
        related.texts("user", users.flat_map(|user| [user.id.as_deref(), user.email.as_deref()]).flatten());
    });
}

fn write_user(user: &mut Object<'_>, party: &Party<'_>) {
    user.text("id", party.id.as_deref());
    user.text("full_name", party.name.as_deref());
    user.text("email", party.email.as_deref());
}

fn write_named(out: &mut Object<'_>, party: &Party<'_>) {
    out.text("id", party.id.as_deref());
    out.text("name", party.name.as_deref());
}

fn write_leftovers(miro: &mut Object<'_>, draft: &Draft<'_>) {
    if draft.text().is_none() {
        miro.written("raw_hex", |out| draft.push_raw_hex(out));
    }
    let reading = &draft.reading;
    miro.object(reading.stream.as_str(), |own| reading.leftovers(PLACED).for_each(|(name, value)| own.json(name, value)));
}

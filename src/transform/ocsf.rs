//! The `ocsf` format: one OCSF 1.8.0 event per record (schema.ocsf.io), of the class that the table in `mapping.rs` says.
//!
//! What is not in the table, or lacks what its class requires, is a base event (class 0, category 0) and counted. `raw_data` is Miro's
//! own object as text, byte for byte; `unmapped` has those of its members that no attribute holds, as they are spelled, but not `state`
//! of content logs, which is in `raw_data` already and large. `unmapped._miro_siem` is where the record comes from, unless `provenance`
//! is off. `metadata.uid` is the stable id by which a receiver can drop repeats.
//!
//! Bytes that are no UTF-8 cannot be text; they go into `unmapped.raw_hex`.
//!
//! Where a message is too small: `raw_data` and `unmapped` give way to `raw_data_hash` and `raw_data_size`, with
//! `metadata.is_truncated`; where that is too large, what remains is a base event with id and time.

use super::{
    Extent, Mapped,
    draft::Draft,
    mapping::{self, Class, Mapping, What},
    object::Object,
    raw::ProvenanceWriter,
    reading::{Party, Reading},
};
use crate::{
    config::settings::Provenance,
    event::{Event, StreamId, StreamKind},
};

const VERSION: &str = "1.8.0";
/// Who speaks in events of our own.
const OWN_NAME: &str = "miro-siem";
/// Members that attributes hold, wholly.
const PLACED: &[&str] = &["id", "createdBy", "actor", "createdAt", "actionTime", "storedAt", "event", "actionType", "state"];

/// Writes `ocsf` records of one stream.
#[derive(Debug)]
pub struct Ocsf {
    stream: StreamKind,
    provenance: Option<ProvenanceWriter>,
}

impl Ocsf {
    /// For events of that stream, with or without provenance.
    pub fn new(provenance: Provenance, stream: &StreamId) -> Self {
        Self { stream: stream.kind, provenance: (provenance == Provenance::On).then(|| ProvenanceWriter::new(stream)) }
    }

    /// Adds the event's record to `out`, and says whether its name was known.
    pub(super) fn write(&mut self, event: &Event, extent: Extent, out: &mut Vec<u8>) -> Mapped {
        let draft = Draft::of(self.stream, event, extent);
        let (reading, mapping) = (&draft.reading, draft.claimed());
        Object::write(out, |record| {
            classification(record, mapping, reading, extent);
            record.object("metadata", |metadata| write_metadata(metadata, event, reading, mapping, extent));
            if extent != Extent::Minimal {
                write_origin(record, mapping, reading);
                write_subject(record, mapping.what, reading);
            }
            match extent {
                Extent::Full => self.write_rest(record, &draft),
                Extent::Reduced | Extent::Minimal => write_hash(record, &draft),
            }
        });
        draft.mapped()
    }

    fn write_rest(&mut self, record: &mut Object<'_>, draft: &Draft<'_>) {
        let (text, reading) = (draft.text(), &draft.reading);
        record.text("raw_data", text);
        record.object("unmapped", |unmapped| {
            if text.is_none() {
                unmapped.written("raw_hex", |out| draft.push_raw_hex(out));
            }
            for (name, value) in reading.leftovers(PLACED).filter(|(name, _)| *name != "raw_hex" && *name != "_miro_siem") {
                unmapped.json(name, value);
            }
            if let Some(provenance) = &mut self.provenance {
                unmapped.written("_miro_siem", |out| draft.push_provenance(provenance, out));
            }
        });
        if let Some(label) = auth_label(draft.mapping, reading) {
            record.text("auth_protocol", Some(label));
            record.integer("auth_protocol_id", 99);
        }
    }
}

/// How somebody signed in, where Miro says so. SSO may be SAML or OpenID Connect, so no number but "other" is true.
fn auth_label<'r>(mapping: &Mapping, reading: &'r Reading<'_>) -> Option<&'r str> {
    reading.auth_type.as_deref().filter(|_| mapping.class == Class::Auth)
}

fn classification(record: &mut Object<'_>, mapping: &Mapping, reading: &Reading<'_>, extent: Extent) {
    let (class, severity) = (mapping.class, mapping.severity);
    let own_name = reading.code.as_deref().filter(|_| class == Class::Base && extent != Extent::Minimal);
    record.integer("activity_id", i64::from(mapping.activity));
    record.text("activity_name", Some(own_name.unwrap_or(mapping.activity_caption())));
    record.integer("category_uid", i64::from(class.uid() / 1_000));
    record.text("category_name", Some(category(class)));
    record.integer("class_uid", i64::from(class.uid()));
    record.text("class_name", Some(class.caption()));
    record.integer("type_uid", i64::from(mapping.type_uid()));
    record.text("type_name", Some(&format!("{}: {}", class.caption(), class.activity(mapping.activity))));
    record.integer("time", reading.time.as_micros().div_euclid(1_000));
    record.integer("severity_id", severity as i64);
    record.text("severity", Some(severity.caption()));
    if class == Class::Auth {
        let failed = mapping.is_failure();
        record.integer("status_id", if failed { 2 } else { 1 });
        record.text("status", Some(if failed { "Failure" } else { "Success" }));
        record.flag("is_mfa", reading.mfa.as_deref().map(|factor| factor != "NONE"));
    }
}

fn category(class: Class) -> &'static str {
    match class.uid() / 1_000 {
        3 => "Identity & Access Management",
        6 => "Application Activity",
        _ => "Uncategorized",
    }
}

fn write_metadata(metadata: &mut Object<'_>, event: &Event, reading: &Reading<'_>, mapping: &Mapping, extent: Extent) {
    metadata.text("version", Some(VERSION));
    metadata.object("product", |product| {
        product.text("name", Some("Miro"));
        product.text("vendor_name", Some("Miro"));
    });
    metadata.text("uid", Some(reading.id));
    metadata.text("log_name", Some(reading.stream.as_str()));
    metadata.text("log_provider", Some(if reading.stream == StreamKind::Forwarder { OWN_NAME } else { "Miro" }));
    if extent == Extent::Minimal {
        metadata.flag("is_truncated", Some(true));
        return;
    }
    metadata.text("original_event_uid", reading.members.text("id").as_deref());
    metadata.text("event_code", reading.feature.as_deref().or(reading.code.as_deref()));
    metadata.text("tenant_uid", reading.org.id.as_deref());
    metadata.text("correlation_uid", reading.session.as_deref());
    metadata.text("original_time", reading.original_time.as_deref());
    if let Some(stored) = reading.stored {
        metadata.integer("logged_time", stored.as_micros().div_euclid(1_000));
    }
    metadata.integer("processed_time", event.collected_at.as_micros().div_euclid(1_000));
    if extent == Extent::Reduced {
        metadata.flag("is_truncated", Some(true));
    }
    // `actor` is an attribute of these classes only under this profile.
    if needs_profile(mapping.class) {
        metadata.texts("profiles", ["host"]);
    }
}

fn needs_profile(class: Class) -> bool {
    matches!(class, Class::Base | Class::Web | Class::App)
}

/// Who did it, and from where.
fn write_origin(record: &mut Object<'_>, mapping: &Mapping, reading: &Reading<'_>) {
    record.object("actor", |actor| {
        let by = &reading.actor;
        match by.kind.as_deref() {
            Some("application") => {
                actor.text("app_uid", by.id.as_deref());
                actor.text("app_name", by.name.as_deref());
            }
            _ if by.is_known() => actor.object("user", |user| write_user(user, by)),
            _ => {}
        }
    });
    // These two classes have no such attribute; the address is in unmapped.context.
    if !matches!(mapping.class, Class::Base | Class::App) {
        record.object("src_endpoint", |endpoint| endpoint.text("ip", reading.ip.map(|ip| ip.to_string()).as_deref()));
    }
}

fn write_user(user: &mut Object<'_>, party: &Party<'_>) {
    user.text("uid", party.id.as_deref());
    user.text("name", party.name.as_deref().or(party.email.as_deref()));
    user.text("email_addr", party.email.as_deref().filter(|email| is_email(email)));
    let kind = match party.kind.as_deref() {
        Some("user") => Some((1, "User")),
        Some("miro_automation") => Some((3, "System")),
        Some("scim_provisioner") => Some((4, "Service")),
        Some(other) => Some((99, other)),
        None => None,
    };
    if let Some((id, caption)) = kind {
        user.integer("type_id", id);
        user.text("type", Some(caption));
    }
}

/// What the schema takes for an e-mail address; any other text is a name only.
fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.split_once('@') else { return false };
    let is_local = |char: char| char.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(char);
    let is_domain = |char: char| char.is_ascii_alphanumeric() || matches!(char, '-' | '.');
    let dotted = domain.split_once('.').is_some_and(|(first, rest)| !first.is_empty() && !rest.is_empty());
    !local.is_empty() && local.chars().all(is_local) && dotted && domain.chars().all(is_domain)
}

/// The attributes that the class is about.
fn write_subject(record: &mut Object<'_>, what: What, reading: &Reading<'_>) {
    let object = &reading.object;
    match what {
        What::Unknown => {}
        What::Session => {
            let who = if reading.actor.is_known() { &reading.actor } else { object };
            record.object("user", |user| write_user(user, who));
            record.object("service", |service| service.text("name", Some("Miro")));
        }
        What::User => record.object("user", |user| write_target(user, what, reading)),
        What::Privilege(name) => {
            record.object("user", |user| write_target(user, what, reading));
            record.texts("privileges", [name]);
        }
        What::Team => record.object("group", |group| write_named(group, object, "team")),
        What::Member => {
            record.object("group", |group| write_named(group, &reading.team, "team"));
            record.object("user", |user| write_target(user, what, reading));
        }
        What::Policy(_) | What::Organization | What::TeamEntity | What::Token(_) | What::Request => {
            record.object("entity", |entity| write_entity(entity, what, reading));
        }
        What::App => record.object("app", |app| {
            app.text("uid", object.id.as_deref());
            app.text("name", object.name.as_deref());
        }),
        What::Collection => record.object("app", |app| {
            app.text("uid", Some(OWN_NAME));
            app.text("name", Some(OWN_NAME));
            app.object("feature", |feature| feature.text("name", object.name.as_deref()));
        }),
        What::Resource(kind) => record.objects("web_resources", [object], |object, web| write_named(web, object, kind)),
        What::Ai => record.objects("web_resources", [object], |object, web| write_named(web, object, object.kind.as_deref().unwrap_or(""))),
        What::Item => record.objects("web_resources", [true, false], |is_item, web| {
            if is_item && object.id.is_some() {
                write_named(web, object, object.kind.as_deref().unwrap_or(""));
            } else if !is_item && reading.board.is_some() {
                web.text("uid", reading.board.as_deref());
                web.text("type", Some("board"));
            }
        }),
    }
}

fn write_target(user: &mut Object<'_>, what: What, reading: &Reading<'_>) {
    if let Some(target) = mapping::target(what, reading) {
        write_user(user, &target);
    }
}

fn write_named(out: &mut Object<'_>, party: &Party<'_>, kind: &str) {
    out.text("uid", party.id.as_deref());
    out.text("name", party.name.as_deref());
    out.text("type", Some(kind));
}

fn write_entity(entity: &mut Object<'_>, what: What, reading: &Reading<'_>) {
    let known = |party: &Party<'_>| party.is_known();
    let (type_id, kind, name) = match what {
        What::Policy(name) => (5, "Policy", Some(name)),
        What::Token(name) => (99, "API Token", Some(name)),
        What::TeamEntity => (3, "Group", None),
        What::Organization => (4, "Organization", None),
        _ => (99, "Access Request", None),
    };
    match name {
        Some(name) => entity.text("name", Some(name)),
        None => {
            let party = if what == What::Organization && !known(&reading.object) { &reading.org } else { &reading.object };
            entity.text("uid", party.id.as_deref());
            entity.text("name", party.name.as_deref().or(party.email.as_deref()));
        }
    }
    entity.text("type", Some(kind));
    entity.integer("type_id", type_id);
}

fn write_hash(record: &mut Object<'_>, draft: &Draft<'_>) {
    record.written("raw_data_hash", |out| {
        out.extend_from_slice(b"{\"algorithm\":\"SHA-256\",\"algorithm_id\":3,\"value\":");
        draft.push_quoted_hash(out);
        out.push(b'}');
    });
    record.integer("raw_data_size", i64::try_from(draft.event.raw.len()).unwrap_or(i64::MAX));
}

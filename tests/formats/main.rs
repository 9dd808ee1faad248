//! What each format makes of Miro's events: golden files over every family of events that the simulator makes, and rules that hold for
//! any bytes.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    path::PathBuf,
};

use miro_siem::{
    config::{
        Secret,
        settings::{Format, Provenance, RedactPreset, RedactRules, RedactSettings},
    },
    event::{Event, EventId, OrgName, Origin, Position, StreamId, StreamKind, Timestamp, undecodable_id},
    transform::{Formatter, Mapped, Redaction, Transform, TransformSettings},
};
use miro_simulator::{SimConfig, Simulator, Stream};
use serde_json::Value;

mod hostile;
mod redacted;
mod samples;

const FORMATS: [(Format, &str); 5] = [
    (Format::Raw, "raw.ndjson"),
    (Format::Ocsf, "ocsf.ndjson"),
    (Format::Ecs, "ecs.ndjson"),
    (Format::Cef, "cef.txt"),
    (Format::Leef, "leef.txt"),
];

fn stream(kind: StreamKind) -> StreamId {
    StreamId::new(OrgName::new("acme"), kind)
}

fn write(format: Format, kind: StreamKind, event: &Event) -> (String, Mapped) {
    let mut out = Vec::new();
    let transformed = Formatter::new(format, Provenance::On, &stream(kind)).write(event, &mut out);
    (String::from_utf8(out).expect("every record is text"), transformed)
}

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/formats").join(name)
}

#[test]
fn every_family_and_every_odd_record_is_written_as_in_the_golden_files() {
    let samples = samples::all();
    assert!(samples.len() > 150, "only {} samples", samples.len());
    for (format, file) in FORMATS {
        let text: String = samples.iter().map(|(kind, event)| format!("{}\n", write(format, *kind, event).0)).collect();
        let path = golden(file);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, &text).expect("the golden file can be written");
        }
        let expected = std::fs::read_to_string(&path).expect("the golden file can be read");
        let wrong = text.lines().zip(expected.lines()).enumerate().find(|(_, (now, then))| now != then);
        assert!(wrong.is_none(), "{file}: run with UPDATE_GOLDEN=1 and look at the difference: {wrong:?}");
        assert_eq!(text.lines().count(), expected.lines().count(), "{file}");
    }
}

/// Also for the script that asks the official schemas: what is left with every preset.
#[test]
fn ocsf_records_with_everything_taken_out_are_as_in_the_golden_file() {
    let rules = RedactRules {
        presets: RedactPreset::ALL.to_vec(),
        key: Some(Secret::literal("the key of the golden file")),
        ..RedactRules::default()
    };
    let redaction = Redaction::of(&RedactSettings::Rules(rules)).expect("a usable key");
    let settings = TransformSettings { redaction, ..TransformSettings::whole(Format::Ocsf, Provenance::On) };
    let mut text = String::new();
    for (kind, event) in samples::all().into_iter().step_by(4) {
        let mut out = Vec::new();
        Transform::new(&settings, &stream(kind)).apply(&event, &mut out);
        text.push_str(&format!("{}\n", String::from_utf8(out).expect("text")));
    }
    let path = golden("ocsf-redacted.ndjson");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &text).expect("the golden file can be written");
    }
    assert_eq!(std::fs::read_to_string(&path).expect("the golden file can be read"), text, "run with UPDATE_GOLDEN=1");
}

#[test]
fn every_row_of_the_table_has_a_sample_that_is_mapped() {
    let table = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/src/transform/mapping.rs")).expect("the table can be read");
    let table = table.split_once("const AUDIT: ").and_then(|(_, rest)| rest.split_once("\n};")).expect("the table is there").0;
    // A row begins with its name, in quotes, and a number.
    let words: Vec<&str> = table.split_whitespace().collect();
    let rows: BTreeSet<&str> = words
        .windows(2)
        .filter(|pair| pair[1].parse::<u8>().is_ok())
        .filter_map(|pair| pair[0].strip_prefix('"')?.strip_suffix('"'))
        .collect();
    assert!(rows.len() > 100, "{rows:?}");
    let mapped: BTreeSet<String> = samples::all()
        .into_iter()
        .filter(|(kind, event)| *kind == StreamKind::Audit && write(Format::Ocsf, *kind, event).1 == Mapped::Known)
        .filter_map(|(_, event)| serde_json::from_slice::<Value>(&event.raw).ok()?["event"].as_str().map(str::to_owned))
        .collect();
    let missing: Vec<&&str> = rows.iter().filter(|row| !mapped.contains(**row)).collect();
    assert!(missing.is_empty(), "no sample of {missing:?}");
}

/// Also for the script that asks the official schemas: what syslog sends of an event that is too large.
#[test]
fn the_smaller_forms_of_ocsf_are_as_in_the_golden_file() {
    let mut text = String::new();
    // Every sixth is enough for the rules, and keeps the file small.
    for (kind, event) in samples::all().into_iter().step_by(6) {
        let (full, _) = write(Format::Ocsf, kind, &event);
        let mut formatter = Formatter::new(Format::Ocsf, Provenance::On, &stream(kind));
        let reduced = formatter.write_smaller(&event, full.len()).expect("it fits");
        let minimal = formatter.write_smaller(&event, 900).unwrap_or_default();
        for record in [reduced, minimal] {
            if !record.is_empty() {
                text.push_str(&format!("{}\n", String::from_utf8(record).expect("text")));
            }
        }
    }
    let path = golden("ocsf-smaller.ndjson");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &text).expect("the golden file can be written");
    }
    assert_eq!(std::fs::read_to_string(&path).expect("the golden file can be read"), text, "run with UPDATE_GOLDEN=1");
}

#[test]
fn every_mapped_class_and_the_base_event_are_among_the_samples() {
    let mut classes = BTreeSet::new();
    for (kind, event) in samples::all() {
        let (record, transformed) = write(Format::Ocsf, kind, &event);
        let value: Value = serde_json::from_str(&record).expect("JSON");
        let class = value["class_uid"].as_u64().expect("a class");
        assert_eq!(class == 0, transformed == Mapped::Unknown, "{record}");
        classes.insert(class);
    }
    assert_eq!(classes, BTreeSet::from([0, 3001, 3002, 3004, 3005, 3006, 6001, 6002]));
}

#[test]
fn only_names_that_nobody_has_described_are_unmapped_among_whole_events() {
    let mut unmapped = BTreeSet::new();
    for event in samples::truth(Stream::Audit) {
        let value: Value = serde_json::from_slice(&event.raw).expect("JSON");
        let has_team = value["context"]["team"].is_object() || value["category"] != "user_management";
        let is_whole = value["object"].is_object() && has_team;
        if is_whole && write(Format::Ocsf, StreamKind::Audit, &event).1 == Mapped::Unknown {
            unmapped.insert(value["event"].as_str().unwrap_or_default().to_owned());
        }
    }
    let described = ["board_opened", "team_created", "sign_in_failed"];
    assert!(!unmapped.is_empty() && described.iter().all(|name| !unmapped.contains(*name)), "{unmapped:?}");
    let known =
        BTreeSet::from(["quantum_board_entangled", "boardOpened.v3", "legal_hold_applied", "событие_без_описания", "x"].map(str::to_owned));
    assert!(unmapped.is_subset(&known), "{unmapped:?}");
}

#[test]
fn the_original_bytes_travel_with_ocsf_and_ecs() {
    for (kind, event) in samples::all() {
        let original = std::str::from_utf8(&event.raw).expect("samples are text");
        let ocsf: Value = serde_json::from_str(&write(Format::Ocsf, kind, &event).0).expect("JSON");
        let ecs: Value = serde_json::from_str(&write(Format::Ecs, kind, &event).0).expect("JSON");
        if !original.is_empty() {
            assert_eq!((ocsf["raw_data"].as_str(), ecs["event"]["original"].as_str()), (Some(original), Some(original)));
        }
        for id in [&ocsf["metadata"]["uid"], &ecs["event"]["id"], &ocsf["unmapped"]["_miro_siem"]["id"], &ecs["_miro_siem"]["id"]] {
            assert_eq!(id, event.id.as_str());
        }
    }
}

#[test]
fn provenance_can_be_left_off() {
    for (kind, event) in samples::all() {
        for format in [Format::Ocsf, Format::Ecs] {
            let mut out = Vec::new();
            Formatter::new(format, Provenance::Off, &stream(kind)).write(&event, &mut out);
            let value: Value = serde_json::from_slice(&out).expect("JSON");
            assert!(value["unmapped"].get("_miro_siem").is_none() && value.get("_miro_siem").is_none());
        }
    }
}

/// The values that the ECS reference allows for each category.
#[test]
fn ecs_types_are_allowed_for_their_categories() {
    let allowed: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("iam", ["admin", "change", "creation", "deletion", "group", "info", "user"].as_slice()),
        ("authentication", &["start", "end", "info"]),
        ("session", &["start", "end", "info"]),
        ("configuration", &["access", "change", "creation", "deletion", "info"]),
        ("file", &["access", "change", "creation", "deletion", "info"]),
    ]);
    for (kind, event) in samples::all() {
        let value: Value = serde_json::from_str(&write(Format::Ecs, kind, &event).0).expect("JSON");
        let texts = |name: &str| -> Vec<String> {
            value["event"][name]
                .as_array()
                .map(|list| list.iter().map(|text| text.as_str().expect("text").to_owned()).collect())
                .unwrap_or_default()
        };
        for category in texts("category") {
            for one in texts("type") {
                assert!(allowed[category.as_str()].contains(&one.as_str()), "{category} with {one}");
            }
        }
        assert_eq!(texts("category").is_empty(), texts("type").is_empty());
    }
}

/// The fields that records have, with their types, from the ECS reference 8.11. What is Miro's own is under `miro`, what is ours under
/// `_miro_siem`; both have names that the reference leaves to others.
const ECS_FIELDS: [(&str, Field); 28] = [
    ("@timestamp", Field::Date),
    ("ecs.version", Field::Keyword),
    ("event.kind", Field::Keyword),
    ("event.id", Field::Keyword),
    ("event.module", Field::Keyword),
    ("event.dataset", Field::Keyword),
    ("event.action", Field::Keyword),
    ("event.provider", Field::Keyword),
    ("event.category", Field::Keywords),
    ("event.type", Field::Keywords),
    ("event.outcome", Field::Keyword),
    ("event.severity", Field::Long),
    ("event.created", Field::Date),
    ("event.original", Field::Keyword),
    ("event.hash", Field::Keyword),
    ("user.id", Field::Keyword),
    ("user.full_name", Field::Keyword),
    ("user.email", Field::Keyword),
    ("user.target.id", Field::Keyword),
    ("user.target.full_name", Field::Keyword),
    ("user.target.email", Field::Keyword),
    ("group.id", Field::Keyword),
    ("group.name", Field::Keyword),
    ("organization.id", Field::Keyword),
    ("organization.name", Field::Keyword),
    ("source.ip", Field::Ip),
    ("related.ip", Field::Ips),
    ("related.user", Field::Keywords),
];

#[derive(Clone, Copy, Debug)]
enum Field {
    Keyword,
    Keywords,
    Long,
    Date,
    Ip,
    Ips,
}

impl Field {
    fn takes(self, value: &Value) -> bool {
        let text = value.as_str();
        match self {
            Self::Keyword => text.is_some_and(|text| !text.is_empty()),
            Self::Long => value.is_i64(),
            Self::Date => text.is_some_and(|text| Timestamp::parse(text).is_ok()),
            Self::Ip => text.is_some_and(|text| text.parse::<std::net::IpAddr>().is_ok()),
            Self::Keywords => value.as_array().is_some_and(|list| !list.is_empty() && list.iter().all(|one| Self::Keyword.takes(one))),
            Self::Ips => value.as_array().is_some_and(|list| !list.is_empty() && list.iter().all(|one| Self::Ip.takes(one))),
        }
    }
}

/// Takes every field off the list that is found, and refuses one that is not on it or is of another type.
fn check_ecs(path: &str, value: &Value, seen: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                let inner = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                if inner != "miro" && inner != "_miro_siem" {
                    check_ecs(&inner, value, seen);
                }
            }
        }
        _ => {
            let field = ECS_FIELDS.iter().find(|(name, _)| *name == path).unwrap_or_else(|| panic!("{path} is no field of the reference"));
            assert!(field.1.takes(value), "{path}: {value} is no {:?}", field.1);
            seen.insert(path.to_owned());
        }
    }
}

#[test]
fn every_field_of_an_ecs_record_is_one_of_the_reference_and_of_its_type() {
    let mut seen = BTreeSet::new();
    for (kind, event) in samples::all() {
        let record: Value = serde_json::from_str(&write(Format::Ecs, kind, &event).0).expect("JSON");
        check_ecs("", &record, &mut seen);
        let smaller = Formatter::new(Format::Ecs, Provenance::On, &stream(kind)).write_smaller(&event, 900);
        smaller.iter().for_each(|record| check_ecs("", &serde_json::from_slice(record).expect("JSON"), &mut seen));
    }
    let never: Vec<&str> = ECS_FIELDS.iter().map(|(name, _)| *name).filter(|name| !seen.contains(*name)).collect();
    assert!(never.is_empty(), "the list holds what is written and nothing else: {never:?}");
}

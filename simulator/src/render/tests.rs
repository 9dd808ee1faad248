use std::collections::{BTreeMap, HashSet};
use std::time::Instant;

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::catalogue::{CONFIRMED, INVENTED, UNKNOWN};
use crate::{SimConfig, Simulator, Stream, TruthEvent};

fn config() -> SimConfig {
    SimConfig { now: "2026-11-20T13:00:00Z".parse().expect("a time"), ..SimConfig::default().with_days(30) }
}

fn truth(config: SimConfig, stream: Stream) -> Vec<TruthEvent> {
    Simulator::new(config).truth(stream, DateTime::<Utc>::UNIX_EPOCH, DateTime::<Utc>::MAX_UTC)
}

fn texts(events: &[TruthEvent]) -> Vec<&str> {
    events.iter().map(|event| std::str::from_utf8(&event.raw).expect("events are UTF-8")).collect()
}

#[test]
fn audit_events_have_about_880_bytes() {
    let events = truth(config(), Stream::Audit);
    let mean = events.iter().map(|event| event.raw.len()).sum::<usize>() / events.len();
    assert!((840..=920).contains(&mean), "{mean}");
}

#[test]
fn every_event_of_the_catalogue_happens() {
    let events = truth(SimConfig { audit_events: 120_000, ..config() }, Stream::Audit);
    let texts = texts(&events);
    let seen: HashSet<&str> = texts.iter().filter_map(|text| text.split_once("\"event\":\"")?.1.split('"').next()).collect();
    for name in CONFIRMED.iter().chain(INVENTED).map(|kind| kind.name).chain(UNKNOWN.iter().copied()) {
        assert!(seen.contains(name), "{name}");
    }
}

#[test]
fn every_oddity_of_audit_events_occurs() {
    let events = truth(config(), Stream::Audit);
    let texts = texts(&events);
    for needle in [
        "\"team\":null",
        "\"createdBy\":null",
        "\"email\":null",
        "\"context\":null",
        "\"object\":null",
        "\"details\":null",
        "\"details\":{}",
        "\"details\":\"{\\\"",
        "9007199254740993",
        "123456789012345678901234567890",
        ":1.0,",
        ":1e3,",
        ":-0,",
        "\"riskScore\":",
        "not-the-event-id",
        "\"a\":1,\"a\":2",
        "{ \n\t\"id\" : ",
        "\\u00e9",
        "\\/",
        "\\ud83d\\ude80",
        "a\\u0000b",
        "\\u2028",
        "\u{2028}",
        "\u{202e}",
        "a\u{308}\u{301}",
        "👩🏽‍💻",
        "[[[[[[",
        "Z\",\"createdBy\"",
        "{\"details\":",
        "\"type\":\"scim_provisioner\"",
        "\"type\":\"miro_automation\"",
        "\"type\":\"application\"",
        "2001:db8:",
    ] {
        assert!(texts.iter().any(|text| text.contains(needle)), "{needle:?} does not occur");
    }
    let missing = |name: &str| texts.iter().any(|text| !text.contains(&format!("\"{name}\"")));
    for name in ["createdBy", "context", "object", "details", "category", "ip"] {
        assert!(missing(name), "{name} is never missing");
    }
    assert!(texts.iter().any(|text| text.contains("Z#") && text.contains(":00.000000Z#") || text.contains(".000000Z#")), "no whole second");
}

#[test]
fn the_three_forms_of_created_at_all_name_the_moment_of_the_listing() {
    let mut forms: BTreeMap<usize, usize> = BTreeMap::new();
    for event in truth(config(), Stream::Audit) {
        let value: Value = serde_json::from_slice(&event.raw).expect("an event is JSON");
        let text = value["createdAt"].as_str().expect("a time").to_owned();
        let time =
            DateTime::parse_from_str(&text, "%Y-%m-%dT%H:%M:%S%.f%z").or_else(|_| DateTime::parse_from_rfc3339(&text)).expect("a time");
        assert_eq!(time.to_utc(), event.created_at, "{text}");
        *forms.entry(text.len()).or_default() += 1;
    }
    assert_eq!(
        forms.keys().copied().collect::<Vec<_>>(),
        ["2023-09-01T09:30:10Z".len(), "2023-09-01T09:30:10.840Z".len(), "2023-09-01T09:30:10.840+0000".len()]
    );
    assert!(forms[&28] > 100 * forms[&24], "{forms:?}");
}

#[test]
fn content_entries_hold_html_tables_comments_and_states_of_100_kilobytes() {
    let events = truth(SimConfig { content_events: 12_000, ..config() }, Stream::Content);
    let values: Vec<Value> = events.iter().map(|event| serde_json::from_slice(&event.raw).expect("an entry is JSON")).collect();
    for item in ["widget", "comment_thread", "comment_message", "data_table", "doc_page"] {
        assert!(values.iter().any(|value| value["itemType"] == item), "{item}");
    }
    let texts = texts(&events);
    for needle in
        ["\\ud83d\\ude80 \\/ a\\u0000b", "\"z\":1e3", "123456789012345678901234567890", "\"actionType\":\"restore\"", "\"resourceId\":0"]
    {
        assert!(texts.iter().any(|text| text.contains(needle)), "{needle:?} does not occur");
    }
    assert!(values.iter().any(|value| value.pointer("/state/snapshot/records/0/f1").is_some()));
    assert!(values.iter().any(|value| value.pointer("/ai/assisted") == Some(&true.into())));
    assert!(values.iter().any(|value| value.pointer("/relationships/0/type") == Some(&"parent".into())));
    assert!(
        values.iter().any(|value| value["state"]["text"].as_str().is_some_and(|text| text.contains("&amp;") && text.starts_with("<p>")))
    );
    assert!(values.iter().any(|value| value["state"].is_null()));
    assert!(events.iter().any(|event| event.raw.len() > 100_000));
    for (value, event) in values.iter().zip(&events) {
        assert_eq!(value["actionTime"].as_str().expect("a time").parse::<DateTime<Utc>>().expect("a time"), event.created_at);
    }
}

#[test]
fn ai_entries_come_in_both_generations_and_are_placed_by_stored_at() {
    let generations = |share: f64| -> (usize, usize) {
        let events = truth(SimConfig { ai_new_schema_fraction: share, ..config() }, Stream::Ai);
        let values: Vec<Value> = events.iter().map(|event| serde_json::from_slice(&event.raw).expect("an entry is JSON")).collect();
        for (value, event) in values.iter().zip(&events) {
            assert_eq!(value["storedAt"].as_str().expect("a time").parse::<DateTime<Utc>>().expect("a time"), event.created_at);
            assert!(value["createdAt"].as_str() <= value["storedAt"].as_str());
        }
        (
            values.iter().filter(|value| value.get("aiFeatureName").is_some()).count(),
            values.iter().filter(|value| value.get("surface").is_some()).count(),
        )
    };
    assert_eq!(generations(0.0), (1_320, 0));
    assert_eq!(generations(1.0), (0, 1_320));
    let (old, new) = generations(0.5);
    assert!(old > 500 && new > 500);
}

#[test]
fn the_asked_for_share_of_records_is_undecodable_and_said_to_be() {
    for stream in Stream::ALL {
        assert!(truth(config(), stream).iter().all(|event| event.decodable && event.id.is_some()), "{stream}");
        let events = truth(SimConfig { undecodable_fraction: 0.1, ..config() }, stream);
        let time_name = ["createdAt", "actionTime", "storedAt"][stream.index()];
        let mut broken = 0;
        for event in &events {
            let value: Value = serde_json::from_slice(&event.raw).expect("a record is JSON all the same");
            let usable = value["id"].is_string() && value[time_name].as_str().is_some_and(|time| time.starts_with("20"));
            assert_eq!(usable, event.decodable, "{value}");
            assert_eq!(value["id"].as_str(), event.id.as_deref());
            broken += usize::from(!usable);
        }
        assert!((events.len() / 15..events.len() / 7).contains(&broken), "{stream}: {broken} of {}", events.len());
    }
}

#[test]
fn a_million_events_are_made_within_seconds_even_unoptimised() {
    let started = Instant::now();
    let sim = Simulator::new(SimConfig { audit_events: 1_000_000, ..SimConfig::default() });
    assert!(sim.count(Stream::Audit) >= 999_999);
    assert!(started.elapsed().as_secs() < 30, "{:?}", started.elapsed());
}

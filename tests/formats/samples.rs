//! Events to format: one of each kind that the simulator makes, and records that no one should send.

use std::sync::LazyLock;

use miro_siem::forwarder::{Notice, OwnEvent};

use super::*;

/// A history that is long enough to have every name and every oddity in it.
fn simulator() -> Simulator {
    Simulator::new(SimConfig {
        seed: 7,
        now: "2026-03-01T00:00:00Z".parse().expect("a time"),
        days: 30,
        audit_events: 30_000,
        content_events: 1_500,
        ai_events: 500,
        undecodable_fraction: 0.02,
        ..SimConfig::default()
    })
}

/// Everything in a stream.
pub(crate) fn truth(stream: Stream) -> Vec<Event> {
    let (from, to) = ("2025-12-01T00:00:00Z", "2026-03-01T00:00:00Z");
    let parse = |text: &str| text.parse().expect("a time");
    simulator()
        .truth(stream, parse(from), parse(to))
        .into_iter()
        .map(|event| {
            let time = event.decodable.then(|| Timestamp::from(event.created_at));
            self::event(event.raw, event.id, time)
        })
        .collect()
}

fn event(raw: Vec<u8>, id: Option<String>, time: Option<Timestamp>) -> Event {
    Event {
        position: Position(1),
        id: id.map_or_else(|| undecodable_id(&raw), EventId::new),
        time,
        collected_at: Timestamp::parse("2026-03-01T00:05:00.5Z").expect("a time"),
        origin: Origin::Live,
        raw: raw.into(),
    }
}

/// What tells one sample from the next: the stream, the event's name, and which members have which types.
fn family(kind: StreamKind, event: &Event) -> Vec<String> {
    let Ok(value) = serde_json::from_slice::<Value>(&event.raw) else { return vec![format!("{kind} unreadable")] };
    let text = |name: &str| value[name].as_str().unwrap_or("-").to_owned();
    let name = match kind {
        StreamKind::Audit => text("event"),
        StreamKind::Content => format!("{} {}", text("itemType"), text("actionType")),
        _ => format!("{} {}", text("eventType"), text("logType")),
    };
    let shape = |value: &Value| match value {
        Value::Null => "null",
        Value::Object(members) if members.is_empty() => "{}",
        Value::Object(_) => "object",
        Value::Array(_) => "array",
        Value::String(_) => "text",
        _ => "other",
    };
    let all: Vec<String> = value.as_object().into_iter().flatten().map(|(name, value)| format!("{name}:{}", shape(value))).collect();
    let actor = value["createdBy"]["type"].as_str().unwrap_or("-");
    let ip = if value["context"]["ip"].as_str().is_some_and(|ip| ip.contains(':')) { "v6" } else { "v4 or none" };
    let context: Vec<String> =
        value["context"].as_object().into_iter().flatten().map(|(name, value)| format!("{name}:{}", shape(value))).collect();
    let head = String::from_utf8_lossy(&event.raw[..event.raw.len().min(3)]).into_owned();
    let details: Vec<&str> = value["details"].as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    vec![
        format!("{kind} name {name}"),
        format!("{kind} actor {actor} {ip}"),
        format!("{kind} shape {head} {}", all.join(",")),
        format!("{kind} context {}", context.join(",")),
        format!("{kind} details {}", details.join(",")),
    ]
}

/// One event of each family, in the order of time, then the records that are made by hand.
pub(crate) fn all() -> Vec<(StreamKind, Event)> {
    static ALL: LazyLock<Vec<(StreamKind, Event)>> = LazyLock::new(make);
    ALL.clone()
}

fn make() -> Vec<(StreamKind, Event)> {
    let streams = [(StreamKind::Audit, Stream::Audit), (StreamKind::Content, Stream::Content), (StreamKind::Ai, Stream::Ai)];
    let mut seen = HashSet::new();
    let mut samples = Vec::new();
    for (kind, stream) in streams {
        for event in truth(stream) {
            let is_new = family(kind, &event).into_iter().fold(false, |is_new, family| seen.insert(family) | is_new);
            // The repository need not hold the largest ones: their text is like that of the others.
            if is_new && event.raw.len() < 4_000 {
                samples.push((kind, event));
            }
        }
    }
    samples.extend(odd().into_iter().flat_map(|raw| {
        [StreamKind::Audit, StreamKind::Content, StreamKind::Ai].map(|kind| (kind, event(raw.as_bytes().to_vec(), None, None)))
    }));
    samples.extend(own().into_iter().map(|event| (StreamKind::Forwarder, event)));
    samples
}

/// Events of our own, one of each name, and one of a name that nobody knows.
fn own() -> Vec<Event> {
    let stream = stream(StreamKind::Audit);
    let names = ["gap_opened", "gap_closed", "gap_warning", "gap_partly_lost", "gap_lost", "heartbeat", "of_a_later_version"];
    let at = Timestamp::parse("2026-03-01T00:04:59.999Z").expect("a time");
    let details = serde_json::json!({
        "stream": "audit", "from": "2026-02-28T21:00:00.000Z", "to": "2026-03-01T00:04:00.000Z", "seconds": 11_040,
        "cause": "fetch the audit log: HTTP 503 | try again = later", "mend": "nothing to do: it is collected as soon as Miro answers",
    });
    let made = names.iter().zip([Some("3074457345821141000"), None].into_iter().cycle()).map(|(name, org_id)| {
        let own = OwnEvent::new(&Notice { name, stream: &stream, key: "17/18", at }, org_id, &details);
        Event { id: own.id().clone(), ..event(own.raw().to_vec(), None, Some(own.at())) }
    });
    made.collect()
}

fn odd() -> Vec<String> {
    let mut odd: Vec<String> = [
        "null",
        "17",
        "[]",
        "{}",
        "{broken",
        "",
        "\"text\"",
        r#"{"event":"board_opened","event":"board_deleted","object":{"id":"1"}}"#,
        r#"{"event":"board_opened","object":{"id":7,"name":"a|b=c\\d\n\te\u0000f"},"createdBy":{"email":"not an address","type":"martian"}}"#,
        r#"{"event":"sign_in_failed","createdBy":{"type":"user","id":"1","email":"Jo@Example.com"},"context":{"ip":"999.1.1.1"}}"#,
        r#"{"event":"sign_in_succeeded","createdBy":{"type":"user","email":"jo@example.com"},"context":{"ip":"::ffff:192.0.2.1"},"details":{"authType":"SSO","mfaFactorType":"TOTP"}}"#,
        r#"{"event":"sign_in_succeeded","_miro_siem":{"forged":true},"raw_hex":"x"}"#,
        r#"{"actionType":"create","itemId":"1","contentId":"2","itemType":"widget","actor":{"id":"3"},"state":{"text":"x"}}"#,
        r#"{"event":["board_opened"],"actionType":{},"object":[],"actor":7,"createdBy":"jo","context":"x","details":[1]}"#,
        r#"{"event":"a\ud800b"}"#,
        r#"{"event":""}"#,
    ]
    .map(str::to_owned)
    .to_vec();
    // The one row of the table that a month of the simulator may go without.
    odd.push(r#"{"event":"block_deactivated_users_enabled","context":{"organization":{"id":"1"}}}"#.to_owned());
    odd.push(format!(r#"{{"event":"{}|\\=\n"}}"#, "n".repeat(1_500)));
    odd.push(format!(r#"{{"event":"x","details":{}1{}}}"#, "[".repeat(200), "]".repeat(200)));
    odd
}

//! HEC's envelopes: `{"time":…,"sourcetype":…,"fields":{…},"event":…}`, one after the other.
//!
//! What is the same for all events of a batch is written once and copied; an event's own bytes are never touched. No key that HEC
//! does not know is ever written: Splunk answers an envelope with one by taking only what stood before it.

use serde_json::value::RawValue;

use super::super::Batch;
use crate::{
    config::settings::{HecDialect, Provenance, SplunkHecSettings},
    event::{Event, Origin, StreamId, StreamKind, Timestamp},
};

/// What an envelope adds to its event at most in ordinary cases, for the size of the buffer.
const ENVELOPE_BYTES: usize = 384;

/// Writes the envelopes of one stream's events.
pub(super) struct Envelopes {
    /// From after the time up to where an event's own values begin.
    constant: Vec<u8>,
    provenance: Provenance,
}

impl Envelopes {
    /// For the events of that stream.
    pub(super) fn new(settings: &SplunkHecSettings, provenance: Provenance, stream: &StreamId) -> Self {
        let mut constant = Vec::with_capacity(ENVELOPE_BYTES);
        let usual = (settings.dialect != HecDialect::LogScale).then(|| default_sourcetype(stream.kind));
        let keys = [
            ("sourcetype", settings.sourcetype.as_deref().or(usual)),
            ("host", settings.host.as_deref()),
            ("source", settings.source.as_deref()),
            ("index", settings.index.as_deref()),
        ];
        for (key, value) in keys {
            if let Some(value) = value {
                constant.extend_from_slice(format!("\"{key}\":").as_bytes());
                push_string(&mut constant, value);
                constant.push(b',');
            }
        }
        if provenance == Provenance::On {
            constant.extend_from_slice(b"\"fields\":{\"miro_org\":");
            push_string(&mut constant, stream.org.as_str());
            constant.extend_from_slice(format!(",\"miro_stream\":\"{}\",\"miro_event_id\":", stream.kind).as_bytes());
        } else {
            constant.extend_from_slice(b"\"event\":");
        }
        Self { constant, provenance }
    }

    /// The body of a request.
    pub(super) fn encode(&self, batch: &Batch<'_>) -> Vec<u8> {
        let mut body = Vec::with_capacity(batch.bytes() + batch.len() * ENVELOPE_BYTES);
        let mut origin = OriginFields::default();
        for (event, payload) in batch.iter() {
            body.push(b'{');
            if let Some(time) = event.time {
                body.extend_from_slice(b"\"time\":");
                push_time(&mut body, time);
                body.push(b',');
            }
            body.extend_from_slice(&self.constant);
            if self.provenance == Provenance::On {
                push_string(&mut body, event.id.as_str());
                body.extend_from_slice(origin.of(event));
            }
            push_event(&mut body, payload);
            body.extend_from_slice(b"}\n");
        }
        body
    }
}

fn default_sourcetype(kind: StreamKind) -> &'static str {
    match kind {
        StreamKind::Audit => "miro:audit",
        StreamKind::Content => "miro:content",
        StreamKind::Ai => "miro:ai",
        StreamKind::Licenses => "miro:licenses",
        StreamKind::Forwarder => "miro:forwarder",
    }
}

/// The fields that say how an event was collected: the events of one page share them, so they are seldom written anew.
#[derive(Default)]
struct OriginFields {
    of: Option<(Timestamp, Origin)>,
    text: Vec<u8>,
}

impl OriginFields {
    fn of(&mut self, event: &Event) -> &[u8] {
        let wanted = Some((event.collected_at, event.origin));
        if self.of != wanted {
            self.of = wanted;
            self.text = format!(
                ",\"miro_collected_at\":\"{}\",\"miro_late\":\"{}\",\"miro_backfill\":\"{}\"}},\"event\":",
                event.collected_at,
                event.origin == Origin::Late,
                event.origin == Origin::Backfill,
            )
            .into_bytes();
        }
        &self.text
    }
}

/// An object goes as it is. HEC takes non-blank strings beside objects and nothing else, so any other record goes as a string
/// that holds its exact text: that string is what Splunk keeps as `_raw`.
fn push_event(body: &mut Vec<u8>, payload: &[u8]) {
    let is_object = payload.first() == Some(&b'{') || is_object(payload);
    if is_object {
        body.extend_from_slice(payload);
    } else {
        push_string(body, &String::from_utf8_lossy(payload));
    }
}

/// For the rare record that does not begin with a brace.
fn is_object(payload: &[u8]) -> bool {
    serde_json::from_slice::<&RawValue>(payload).is_ok_and(|value| value.get().starts_with('{'))
}

/// Seconds since the epoch as exact decimal text, with three or six digits after the point. 19 significant digits do not fit a float.
fn push_time(body: &mut Vec<u8>, time: Timestamp) {
    let micros = time.as_micros();
    if micros < 0 {
        body.push(b'-');
    }
    let micros = micros.unsigned_abs();
    let fraction = micros % 1_000_000;
    push_digits(body, micros / 1_000_000, 1);
    body.push(b'.');
    if fraction.is_multiple_of(1_000) { push_digits(body, fraction / 1_000, 3) } else { push_digits(body, fraction, 6) }
}

/// A number with at least that many digits.
fn push_digits(body: &mut Vec<u8>, mut number: u64, digits_min: usize) {
    let mut digits = [b'0'; 20];
    let mut at = digits.len();
    while number > 0 {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
    }
    body.extend_from_slice(&digits[at.min(digits.len() - digits_min)..]);
}

/// A JSON string. Ids and names seldom need escapes, and then it is a copy.
fn push_string(body: &mut Vec<u8>, text: &str) {
    if text.bytes().all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\') {
        body.push(b'"');
        body.extend_from_slice(text.as_bytes());
        body.push(b'"');
    } else {
        serde_json::to_writer(&mut *body, text).expect("a string is always JSON, and writing to memory does not fail");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::{
        config::{
            Secret,
            settings::{Compression, IndexerAck},
        },
        event::{EventId, OrgName, Position},
    };

    fn check_time(micros: i64, expected: &str) {
        let mut text = Vec::new();
        push_time(&mut text, Timestamp::from_micros(micros));
        assert_eq!(String::from_utf8(text).unwrap(), expected, "{micros}");
    }

    #[test]
    fn a_time_is_exact_decimal_text() {
        check_time(1_693_560_610_840_000, "1693560610.840");
        check_time(1_693_560_610_840_001, "1693560610.840001");
        check_time(1_693_560_610_000_000, "1693560610.000");
        check_time(1_693_560_610_000_010, "1693560610.000010");
        check_time(0, "0.000");
        check_time(1, "0.000001");
        check_time(-1, "-0.000001");
        check_time(-1_500_000, "-1.500");
        check_time(253_402_300_799_999_999, "253402300799.999999");
        check_time(i64::MAX, "9223372036854.775807");
        check_time(i64::MIN, "-9223372036854.775808");
    }

    #[test]
    fn a_record_that_hec_would_not_take_goes_as_a_string_of_its_text() {
        let check = |payload: &[u8], expected: &str| {
            let mut body = Vec::new();
            push_event(&mut body, payload);
            assert_eq!(String::from_utf8(body).unwrap(), expected);
        };
        check(br#"{"a":1.0e400}"#, r#"{"a":1.0e400}"#);
        check(b" \n{\"a\":1}", " \n{\"a\":1}");
        check(b"[1, 2]", r#""[1, 2]""#);
        check(b"null", r#""null""#);
        check(b"12", r#""12""#);
        check(br#""""#, r#""\"\"""#);
        check(b"", r#""""#);
        check(b"CEF:0|Miro\\|x", r#""CEF:0|Miro\\|x""#);
        check(b"\xff", "\"\u{fffd}\"");
    }

    fn settings(text: &str) -> SplunkHecSettings {
        SplunkHecSettings {
            dialect: HecDialect::Splunk,
            path: None,
            auth_scheme: None,
            url: "https://splunk.example.com:8088".parse().expect("a URL"),
            token: Secret::literal("t"),
            ack: IndexerAck::Off,
            ack_timeout: std::time::Duration::from_secs(1),
            compression: Compression::None,
            index: Some(text.to_owned()),
            source: Some(text.to_owned()),
            sourcetype: None,
            host: Some(text.to_owned()),
        }
    }

    fn event(id: &str, micros: Option<i64>) -> Event {
        Event {
            position: Position(1),
            id: EventId::new(id),
            time: micros.map(Timestamp::from_micros),
            collected_at: Timestamp::from_micros(1),
            origin: Origin::Live,
            raw: Vec::new().into(),
        }
    }

    proptest! {
        #[test]
        fn whatever_names_and_ids_hold_every_envelope_reads_back_and_its_event_is_untouched(
            text in any::<String>(),
            events in prop::collection::vec((any::<String>(), any::<Option<i64>>(), any::<i64>()), 1..5),
        ) {
            let stream = StreamId::new(OrgName::new(&text), StreamKind::Audit);
            let (mut all, mut payloads, mut ends) = (Vec::new(), Vec::new(), Vec::new());
            for (id, micros, number) in &events {
                all.push(event(id, *micros));
                payloads.extend_from_slice(format!("{{\"n\" :  {number}}}").as_bytes());
                ends.push(payloads.len());
            }
            let batch = Batch::new(&stream, &all, &payloads, &ends);
            let body = Envelopes::new(&settings(&text), Provenance::On, &stream).encode(&batch);
            let lines: Vec<&[u8]> = body.strip_suffix(b"\n").expect("a last line").split(|byte| *byte == b'\n').collect();
            prop_assert_eq!(lines.len(), events.len());
            for (n, line) in lines.into_iter().enumerate() {
                let envelope: Value = serde_json::from_slice(line).expect("JSON");
                prop_assert_eq!(envelope["fields"]["miro_event_id"].as_str(), Some(events[n].0.as_str()));
                for value in [&envelope["fields"]["miro_org"], &envelope["host"], &envelope["source"], &envelope["index"]] {
                    prop_assert_eq!(value.as_str(), Some(text.as_str()));
                }
                prop_assert_eq!(envelope.get("time").is_some(), events[n].1.is_some());
                let tail = format!("\"event\":{}}}", String::from_utf8_lossy(batch.payload(n)));
                prop_assert!(line.ends_with(tail.as_bytes()));
            }
        }
    }
}

//! The `raw` format: Miro's own object, byte for byte, with one key added at its end.
//!
//! ```json
//! {"id":"…","event":"board_opened",…,"_miro_siem":{"org":"acme","stream":"audit","collected_at":"2026-01-31T09:30:10.840Z","late":false,"backfill":false,"id":"…"}}
//! ```
//!
//! Every byte that Miro sent is there, in its order: spelling of numbers, order of keys, white space, doubled keys. With
//! `provenance = false` there is nothing else.
//!
//! A record that is not an object cannot take a key. It is wrapped, so that it arrives all the same and shows what it is:
//! `{"raw":<the value>,"_miro_siem":{…,"undecodable":true}}`; bytes that are no JSON at all go as `"raw_hex"`.

use crate::{
    config::settings::Provenance,
    event::{Event, Origin, StreamId, Timestamp},
};

/// Writes `raw` records of one stream.
#[derive(Debug)]
pub struct Raw {
    provenance: Option<ProvenanceWriter>,
}

impl Raw {
    /// For events of that stream, with or without provenance.
    pub fn new(provenance: Provenance, stream: &StreamId) -> Self {
        Self {
            provenance: match provenance {
                Provenance::On => Some(ProvenanceWriter::new(stream)),
                Provenance::Off => None,
            },
        }
    }

    /// Adds the event's record to `out`.
    pub fn write(&mut self, event: &Event, out: &mut Vec<u8>) {
        let Some(provenance) = &mut self.provenance else {
            out.extend_from_slice(&event.raw);
            return;
        };
        match Shape::of(&event.raw) {
            Shape::Object { close, empty } => {
                out.extend_from_slice(&event.raw[..close]);
                if !empty {
                    out.push(b',');
                }
                out.extend_from_slice(b"\"_miro_siem\":");
                provenance.write(event, Wrapped::No, out);
                out.extend_from_slice(&event.raw[close..]);
            }
            Shape::OtherJson => {
                out.extend_from_slice(b"{\"raw\":");
                out.extend_from_slice(&event.raw);
                close_wrapper(provenance, event, out);
            }
            Shape::NoJson => {
                out.extend_from_slice(b"{\"raw_hex\":\"");
                push_hex(&event.raw, out);
                out.push(b'"');
                close_wrapper(provenance, event, out);
            }
        }
    }
}

fn close_wrapper(provenance: &mut ProvenanceWriter, event: &Event, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"_miro_siem\":");
    provenance.write(event, Wrapped::Yes, out);
    out.push(b'}');
}

/// Adds the bytes as lower-case hexadecimal digits.
pub(crate) fn push_hex(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.extend(bytes.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]));
}

/// What a record is, as far as it matters for adding a key.
#[derive(Debug, PartialEq, Eq)]
enum Shape {
    /// An object; `close` is where its last brace is.
    Object { close: usize, empty: bool },
    /// Null, a number, an array and so on.
    OtherJson,
    /// Nothing that a JSON parser takes.
    NoJson,
}

impl Shape {
    /// Miro's client hands over whole JSON values, so for an object its two braces are proof enough: no parser runs per event.
    fn of(raw: &[u8]) -> Self {
        let body = raw.trim_ascii();
        if body.first() == Some(&b'{') && body.last() == Some(&b'}') && body.len() >= 2 {
            let leading = raw.len() - raw.trim_ascii_start().len();
            return Self::Object { close: leading + body.len() - 1, empty: body[1..body.len() - 1].trim_ascii().is_empty() };
        }
        match serde_json::from_slice::<&serde_json::value::RawValue>(raw) {
            Ok(_) => Self::OtherJson,
            Err(_) => Self::NoJson,
        }
    }
}

/// Whether the record had to be wrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrapped {
    No,
    Yes,
}

/// Writes the value of `_miro_siem`. What is the same for a whole stream, or for a whole page, is put together once.
#[derive(Debug)]
pub(super) struct ProvenanceWriter {
    /// `{"org":"acme","stream":"audit","collected_at":"`
    opening: Vec<u8>,
    /// The newest page's time, as text.
    collected_at: (Timestamp, String),
}

impl ProvenanceWriter {
    pub(super) fn new(stream: &StreamId) -> Self {
        let mut opening = b"{\"org\":".to_vec();
        push_json_string(stream.org.as_str(), &mut opening);
        opening.extend_from_slice(b",\"stream\":");
        push_json_string(stream.kind.as_str(), &mut opening);
        opening.extend_from_slice(b",\"collected_at\":\"");
        let epoch = Timestamp::from_micros(0);
        Self { opening, collected_at: (epoch, epoch.to_rfc3339_millis()) }
    }

    pub(super) fn write(&mut self, event: &Event, wrapped: Wrapped, out: &mut Vec<u8>) {
        if self.collected_at.0 != event.collected_at {
            self.collected_at = (event.collected_at, event.collected_at.to_rfc3339_millis());
        }
        out.extend_from_slice(&self.opening);
        out.extend_from_slice(self.collected_at.1.as_bytes());
        out.extend_from_slice(match event.origin {
            Origin::Live => b"\",\"late\":false,\"backfill\":false,\"id\":",
            Origin::Backfill => b"\",\"late\":false,\"backfill\":true,\"id\":",
            Origin::Late => b"\",\"late\":true,\"backfill\":false,\"id\":",
        });
        push_json_string(event.id.as_str(), out);
        if wrapped == Wrapped::Yes {
            out.extend_from_slice(b",\"undecodable\":true");
        }
        out.push(b'}');
    }
}

/// Adds the text as a JSON string, quotes included.
pub(crate) fn push_json_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f)) {
        out.extend_from_slice(&rest[..at]);
        match rest[at] {
            byte @ (b'"' | b'\\') => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            byte => {
                out.extend_from_slice(b"\\u00");
                push_hex(&[byte], out);
            }
        }
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::event::{EventId, OrgName, Position, StreamKind};

    fn event(raw: &[u8]) -> Event {
        Event {
            position: Position(1),
            id: EventId::new("2026-01-31T09:30:10.840687Z#1-DDB"),
            time: None,
            collected_at: Timestamp::from_millis(1_769_851_810_840),
            origin: Origin::Live,
            raw: Bytes::copy_from_slice(raw),
        }
    }

    fn written(event: &Event, provenance: Provenance) -> Vec<u8> {
        let mut out = Vec::new();
        Raw::new(provenance, &StreamId::new(OrgName::new("acme"), StreamKind::Audit)).write(event, &mut out);
        out
    }

    const OURS: &str = r#""_miro_siem":{"org":"acme","stream":"audit","collected_at":"2026-01-31T09:30:10.840Z","late":false,"backfill":false,"id":"2026-01-31T09:30:10.840687Z#1-DDB""#;

    #[track_caller]
    fn check(raw: &str, expected: &str) {
        let text = String::from_utf8(written(&event(raw.as_bytes()), Provenance::On)).expect("records are text");
        assert_eq!(text, expected.replace("OURS", OURS), "{raw}");
        serde_json::from_str::<serde_json::Value>(&text).expect("a record is JSON");
        assert_eq!(written(&event(raw.as_bytes()), Provenance::Off), raw.as_bytes());
    }

    #[test]
    fn the_key_is_added_at_the_end_of_an_object_and_nothing_else_changes() {
        check(r#"{"a":1}"#, r#"{"a":1,OURS}}"#);
        check(r#"{"a":12345678901234567890.10,"a":1e2}"#, r#"{"a":12345678901234567890.10,"a":1e2,OURS}}"#);
        check("{\"a\":{ } \n}", "{\"a\":{ } \n,OURS}}");
        check("{}", "{OURS}}");
        check(" { \n } ", " { \n OURS}} ");
        check(r#"{"brace":"}"}"#, r#"{"brace":"}",OURS}}"#);
    }

    #[test]
    fn what_is_not_an_object_is_wrapped() {
        check("null", r#"{"raw":null,OURS,"undecodable":true}}"#);
        check("17", r#"{"raw":17,OURS,"undecodable":true}}"#);
        check(r#"[{"a":1}]"#, r#"{"raw":[{"a":1}],OURS,"undecodable":true}}"#);
        check(r#""text""#, r#"{"raw":"text",OURS,"undecodable":true}}"#);
    }

    #[test]
    fn bytes_that_are_no_json_survive_as_hexadecimal_digits() {
        check("{\"a\"", r#"{"raw_hex":"7b226122",OURS,"undecodable":true}}"#);
        check("", r#"{"raw_hex":"",OURS,"undecodable":true}}"#);
        let out = written(&event(&[0xff, 0x00]), Provenance::On);
        assert!(String::from_utf8_lossy(&out).starts_with(r#"{"raw_hex":"ff00","#));
    }

    #[test]
    fn the_origin_and_a_difficult_id_are_written_exactly() {
        let mut late = event(b"{}");
        late.origin = Origin::Late;
        late.id = EventId::new("a\"b\\c\n\u{1}é");
        let value: serde_json::Value = serde_json::from_slice(&written(&late, Provenance::On)).expect("JSON");
        assert_eq!(value["_miro_siem"]["id"], "a\"b\\c\n\u{1}é");
        assert_eq!((&value["_miro_siem"]["late"], &value["_miro_siem"]["backfill"]), (&true.into(), &false.into()));
        late.origin = Origin::Backfill;
        let value: serde_json::Value = serde_json::from_slice(&written(&late, Provenance::On)).expect("JSON");
        assert_eq!((&value["_miro_siem"]["late"], &value["_miro_siem"]["backfill"]), (&false.into(), &true.into()));
    }

    #[test]
    fn each_page_shows_its_own_time() {
        let mut raw = Raw::new(Provenance::On, &StreamId::new(OrgName::new("acme"), StreamKind::Audit));
        for millis in [0, 1_000, 1_000, 5] {
            let mut out = Vec::new();
            raw.write(&Event { collected_at: Timestamp::from_millis(millis), ..event(b"{}") }, &mut out);
            let value: serde_json::Value = serde_json::from_slice(&out).expect("JSON");
            assert_eq!(value["_miro_siem"]["collected_at"], Timestamp::from_millis(millis).to_rfc3339_millis());
        }
    }

    proptest::proptest! {
        #[test]
        fn every_text_becomes_the_same_json_string(text in ".*") {
            let mut out = Vec::new();
            push_json_string(&text, &mut out);
            proptest::prop_assert_eq!(serde_json::from_slice::<String>(&out).expect("a JSON string"), text);
        }
    }
}

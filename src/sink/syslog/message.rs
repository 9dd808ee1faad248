//! One syslog message, as RFC 5424 section 6 has it:
//!
//! ```text
//! <109>1 2026-01-31T09:30:10.840Z host miro-siem 4711 board_opened [miroSiem@32473 org="acme" stream="audit" id="…" late="false" backfill="false"] {"id":…}
//! ```
//!
//! There is no byte order mark before the record: receivers keep it in the text, where it breaks the detection of JSON. 32473 is the
//! enterprise number that RFC 5612 sets aside for examples.

use super::shrink::shrink;
use crate::{
    config::settings::{Format, Provenance, SyslogSettings},
    event::{Event, Origin, StreamId},
    sink::ndjson,
    transform::{Formatter, names},
};

/// RFC 5424 section 6: the longest header fields.
const HOSTNAME_MAX: usize = 255;
const APP_NAME_MAX: usize = 48;
const MSGID_MAX: usize = 32;

/// Writes messages of one sink.
#[derive(Debug)]
pub(super) struct Encoder {
    /// `<109>1 `
    opening: String,
    /// ` host miro-siem 4711 `
    origin: String,
    provenance: Provenance,
    format: Format,
    bytes_max: usize,
}

/// An event that is larger than a message may be, whatever is left out of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DoesNotFit;

impl Encoder {
    /// For messages of at most so many bytes.
    pub(super) fn new(settings: &SyslogSettings, provenance: Provenance, bytes_max: usize) -> Self {
        let hostname = settings.hostname.clone().or_else(machine_name).unwrap_or_default();
        let hostname = printable(&hostname, HOSTNAME_MAX).unwrap_or_else(|| "-".to_owned());
        let app_name = printable(&settings.app_name, APP_NAME_MAX).unwrap_or_else(|| "-".to_owned());
        Self {
            opening: format!("<{}>1 ", u32::from(settings.facility) * 8 + u32::from(settings.severity)),
            origin: format!(" {hostname} {app_name} {} ", std::process::id()),
            provenance,
            format: Format::Raw,
            bytes_max,
        }
    }

    /// What the records are.
    pub(super) fn set_format(&mut self, format: Format) {
        self.format = format;
    }

    /// Adds the message to `out`; adds nothing if it does not fit.
    pub(super) fn encode(&self, stream: &StreamId, event: &Event, record: &[u8], out: &mut Vec<u8>) -> Result<(), DoesNotFit> {
        let start = out.len();
        self.push_header(stream, event, out);
        let room = self.bytes_max.saturating_sub(out.len() - start);
        if record.len() <= room {
            ndjson::push_flat(record, out);
            return Ok(());
        }
        match self.smaller(stream, event, record, room) {
            Some(smaller) => {
                ndjson::push_flat(&smaller, out);
                Ok(())
            }
            None => {
                out.truncate(start);
                Err(DoesNotFit)
            }
        }
    }

    fn smaller(&self, stream: &StreamId, event: &Event, record: &[u8], room: usize) -> Option<Vec<u8>> {
        match self.format {
            Format::Raw => shrink(record, event, room),
            format => Formatter::new(format, self.provenance, stream).write_smaller(event, room),
        }
    }

    fn push_header(&self, stream: &StreamId, event: &Event, out: &mut Vec<u8>) {
        let time = event.time.unwrap_or(event.collected_at).to_rfc3339_millis();
        let names = names::of(stream.kind, &event.raw);
        let msgid = names.first().and_then(|name| printable(name, MSGID_MAX).filter(|id| id == name)).unwrap_or_else(|| "-".to_owned());
        for part in [self.opening.as_str(), &time, &self.origin, &msgid, " "] {
            out.extend_from_slice(part.as_bytes());
        }
        match self.provenance {
            Provenance::On => push_provenance(stream, event, out),
            Provenance::Off => out.push(b'-'),
        }
        out.push(b' ');
    }
}

fn push_provenance(stream: &StreamId, event: &Event, out: &mut Vec<u8>) {
    let flag = |is: bool| if is { "true" } else { "false" };
    let parameters = [
        ("org", stream.org.as_str()),
        ("stream", stream.kind.as_str()),
        ("id", event.id.as_str()),
        ("late", flag(event.origin == Origin::Late)),
        ("backfill", flag(event.origin == Origin::Backfill)),
    ];
    out.extend_from_slice(b"[miroSiem@32473");
    for (name, value) in parameters {
        out.push(b' ');
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"=\"");
        push_value(value, out);
        out.push(b'"');
    }
    out.push(b']');
}

/// RFC 5424 section 6.3.3: exactly `"`, `\` and `]` are escaped. Control characters are legal, but break receivers that go by lines.
fn push_value(value: &str, out: &mut Vec<u8>) {
    for &byte in value.as_bytes() {
        match byte {
            b'"' | b'\\' | b']' => out.extend_from_slice(&[b'\\', byte]),
            0..=0x1f | 0x7f => out.push(b' '),
            _ => out.push(byte),
        }
    }
}

/// The text as a header field: printable ASCII without spaces, cut to size; `None` if nothing is left.
fn printable(text: &str, len_max: usize) -> Option<String> {
    let kept: String = text.chars().filter(char::is_ascii_graphic).take(len_max).collect();
    (!kept.is_empty()).then_some(kept)
}

fn machine_name() -> Option<String> {
    let read = |path| std::fs::read_to_string(path).ok().map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
    read("/proc/sys/kernel/hostname").or_else(|| read("/etc/hostname"))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{
        config::settings::SyslogTransport,
        event::{EventId, OrgName, Position, StreamKind, Timestamp},
    };

    fn settings() -> SyslogSettings {
        SyslogSettings {
            transport: SyslogTransport::Tcp,
            host: "siem.example.com".to_owned(),
            port: 601,
            facility: 13,
            severity: 5,
            app_name: "miro-siem".to_owned(),
            hostname: Some("collector 1".to_owned()),
            message_bytes_max: 8_192,
        }
    }

    fn event(id: &str, raw: &str) -> Event {
        Event {
            position: Position(1),
            id: EventId::new(id),
            time: Some(Timestamp::parse("2026-01-31T09:30:10.840687Z").expect("a time")),
            collected_at: Timestamp::from_millis(0),
            origin: Origin::Late,
            raw: Bytes::copy_from_slice(raw.as_bytes()),
        }
    }

    fn message(provenance: Provenance, event: &Event) -> String {
        let mut out = Vec::new();
        let stream = StreamId::new(OrgName::new("acme"), StreamKind::Audit);
        Encoder::new(&settings(), provenance, 8_192).encode(&stream, event, &event.raw, &mut out).expect("it fits");
        String::from_utf8(out).expect("text").replace(&format!(" {} ", std::process::id()), " PID ")
    }

    #[test]
    fn a_message_has_every_field_in_its_place() {
        let opened = event("2026#1-DDB", r#"{"event":"board_opened"}"#);
        let expected = r#"<109>1 2026-01-31T09:30:10.840Z collector1 miro-siem PID board_opened [miroSiem@32473 org="acme" stream="audit" id="2026#1-DDB" late="true" backfill="false"] {"event":"board_opened"}"#;
        assert_eq!(message(Provenance::On, &opened), expected);
        let expected = r#"<109>1 2026-01-31T09:30:10.840Z collector1 miro-siem PID board_opened - {"event":"board_opened"}"#;
        assert_eq!(message(Provenance::Off, &opened), expected);
    }

    #[test]
    fn structured_data_is_escaped_and_a_name_that_does_not_fit_is_left_out() {
        for raw in [
            r#"{"event":"board opened"}"#,
            r#"{"event":"é"}"#,
            r#"{"event":"a_name_of_thirty_three_characters"}"#,
            "null",
            r#"{"event":""}"#,
        ] {
            let text = message(Provenance::On, &event("a\"b\\c]d\ne", raw));
            assert!(text.contains(r#" PID - [miroSiem@32473 org="acme" stream="audit" id="a\"b\\c\]d e" "#), "{text}");
        }
    }

    #[test]
    fn a_record_of_another_format_shrinks_as_that_format_does() {
        let stream = StreamId::new(OrgName::new("acme"), StreamKind::Audit);
        let large = event("1", &format!(r#"{{"id":"1","event":"board_opened","object":{{"id":"2"}},"details":"{}"}}"#, "y".repeat(10_000)));
        for (format, kept) in [
            (Format::Ocsf, r#""is_truncated":true"#),
            (Format::Ecs, r#""action":"board_opened""#),
            (Format::Cef, "cs3=2 cs3Label=Object ID fileHash="),
            (Format::Leef, "\tobjectId=2\tobjectType=board\tsha256="),
        ] {
            let mut encoder = Encoder::new(&settings(), Provenance::On, 1_200);
            encoder.set_format(format);
            let (mut record, mut out) = (Vec::new(), Vec::new());
            Formatter::new(format, Provenance::On, &stream).write(&large, &mut record);
            encoder.encode(&stream, &large, &record, &mut out).expect("it fits");
            assert!(out.len() <= 1_200 && String::from_utf8_lossy(&out).contains(kept), "{}", String::from_utf8_lossy(&out));
            let mut narrow = Encoder::new(&settings(), Provenance::On, 200);
            narrow.set_format(format);
            assert_eq!(narrow.encode(&stream, &large, &record, &mut out), Err(DoesNotFit));
        }
    }

    #[test]
    fn an_event_without_a_time_has_that_of_its_page() {
        let untimed = Event { time: None, ..event("1", "{}") };
        assert!(message(Provenance::Off, &untimed).starts_with("<109>1 1970-01-01T00:00:00.000Z "));
    }

    #[test]
    fn a_message_is_one_line_and_never_larger_than_it_may_be() {
        let pretty = event("1", "{\n\"event\":\r\"x\"}");
        assert!(message(Provenance::Off, &pretty).ends_with(" x - { \"event\": \"x\"}"));
        let stream = StreamId::new(OrgName::new("acme"), StreamKind::Audit);
        let large = event("1", &format!(r#"{{"id":"1","event":"x","details":"{}"}}"#, "y".repeat(10_000)));
        for bytes_max in [480, 1_000, 2_048, 8_192, 10_200] {
            let mut out = b"before".to_vec();
            Encoder::new(&settings(), Provenance::On, bytes_max).encode(&stream, &large, &large.raw, &mut out).expect("it fits");
            assert!(out.len() - 6 <= bytes_max, "{} of {bytes_max}", out.len() - 6);
        }
        let mut out = b"before".to_vec();
        let result = Encoder::new(&settings(), Provenance::On, 200).encode(&stream, &large, &large.raw, &mut out);
        assert_eq!((result, &out[..]), (Err(DoesNotFit), &b"before"[..]));
    }
}

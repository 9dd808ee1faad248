//! The `cef` format: ArcSight's Common Event Format, version 0 (OpenText, "Implementing ArcSight Common Event Format"). Only for syslog.
//!
//! ```text
//! CEF:0|Miro|Miro|1.0|board_opened|board opened|1|rt=1769851810840 externalId=… cat=boards act=board_opened suser=…
//! ```
//!
//! | key | what |
//! |---|---|
//! | `rt`, `externalId`, `cat`, `act`, `outcome` | time in milliseconds, stable id, category, event name, outcome of a sign-in |
//! | `suser`, `suid` | who did it: e-mail address, else name; id |
//! | `duser`, `duid` | whom it was done to |
//! | `src`, or `c6a2` for IPv6 | from where |
//! | `cs1` to `cs6` | organisation, team, object id, object name, actor type, log stream, each with its label |
//! | `msg` | `details` as Miro spells them |
//!
//! CEF has no place for the whole object, and content logs' `state` is not in it: choose a JSON format where that is wanted. An event
//! that is not in the table of `mapping.rs` is written with the severity 1 and counted.
//!
//! Where a message is too small, `msg` and the names of objects and teams give way; where that is too large, what remains is time, id,
//! event name and stream. Either form has the SHA-256 of the original bytes in `fileHash`.

use super::{
    Extent, Mapped,
    draft::Draft,
    mapping::{self, Class, What},
    reading::Reading,
};
use crate::event::{Event, StreamKind};

/// The longest header fields that common parsers take, in characters.
const SIGNATURE_MAX: usize = 1_023;
const NAME_MAX: usize = 512;

/// Writes `cef` records of one stream.
#[derive(Debug)]
pub struct Cef {
    stream: StreamKind,
}

impl Cef {
    /// For events of that stream. Where they come from is in the syslog message around the record.
    pub fn new(stream: StreamKind) -> Self {
        Self { stream }
    }

    /// Adds the event's record to `out`, and says whether its name was known.
    pub(super) fn write(&self, event: &Event, extent: Extent, out: &mut Vec<u8>) -> Mapped {
        let draft = Draft::of(self.stream, event, extent);
        let (reading, mapping) = (&draft.reading, draft.mapping);
        let code = reading.code.as_deref().unwrap_or("unknown");
        // 1.0 is the version of this layout: Miro has none that it would tell.
        out.extend_from_slice(b"CEF:0|Miro|Miro|1.0|");
        push_header(code, SIGNATURE_MAX, out);
        out.push(b'|');
        push_header(&code.replace('_', " "), NAME_MAX, out);
        out.extend_from_slice(format!("|{}|", mapping.severity.of_ten()).as_bytes());
        let mut extension = Extension { out, first: true };
        extension.put("rt", Some(&reading.time.as_micros().div_euclid(1_000).to_string()));
        extension.put("externalId", Some(reading.id));
        extension.put("act", reading.code.as_deref());
        extension.labelled("cs6", "Log Stream", Some(reading.stream.as_str()));
        if extent != Extent::Minimal {
            let outcome = if mapping.is_failure() { "failure" } else { "success" };
            extension.put("cat", Some(reading.category.as_deref().unwrap_or(reading.stream.as_str())));
            extension.put("outcome", (mapping.class == Class::Auth).then_some(outcome));
            put_parties(&mut extension, mapping.what, reading, extent);
        }
        match extent {
            Extent::Full => extension.put("msg", reading.details()),
            Extent::Reduced | Extent::Minimal => {
                let mut hash = Vec::with_capacity(64);
                draft.push_hash(&mut hash);
                extension.put("fileHash", Some(&String::from_utf8_lossy(&hash)));
            }
        }
        draft.mapped()
    }
}

fn put_parties(extension: &mut Extension<'_>, what: What, reading: &Reading<'_>, extent: Extent) {
    let actor = &reading.actor;
    extension.put("suser", actor.email.as_deref().or(actor.name.as_deref()));
    extension.put("suid", actor.id.as_deref());
    if let Some(target) = mapping::target(what, reading) {
        extension.put("duser", target.email.as_deref().or(target.name.as_deref()));
        extension.put("duid", target.id.as_deref());
    }
    match reading.ip {
        Some(ip) if ip.is_ipv4() => extension.put("src", Some(&ip.to_string())),
        Some(ip) => extension.labelled("c6a2", "Source IPv6 Address", Some(&ip.to_string())),
        None => {}
    }
    extension.labelled("cs1", "Organization ID", reading.org.id.as_deref());
    let object = &reading.object;
    extension.labelled("cs3", "Object ID", object.id.as_deref().or(reading.board.as_deref()));
    extension.labelled("cs5", "Actor Type", actor.kind.as_deref());
    if extent == Extent::Full {
        extension.labelled("cs2", "Team", reading.team.name.as_deref().or(reading.team.id.as_deref()));
        extension.labelled("cs4", "Object Name", object.name.as_deref().or(object.kind.as_deref()));
    }
}

/// The pairs after the header.
struct Extension<'o> {
    out: &'o mut Vec<u8>,
    first: bool,
}

impl Extension<'_> {
    fn put(&mut self, key: &str, value: Option<&str>) {
        let Some(value) = value.filter(|value| !value.is_empty()) else { return };
        if !self.first {
            self.out.push(b' ');
        }
        self.first = false;
        self.out.extend_from_slice(key.as_bytes());
        self.out.push(b'=');
        push_value(value, self.out);
    }

    fn labelled(&mut self, key: &str, label: &str, value: Option<&str>) {
        if value.is_some_and(|value| !value.is_empty()) {
            self.put(key, value);
            self.put(&format!("{key}Label"), Some(label));
        }
    }
}

/// In the header `\` and `|` are escaped, and there are no line ends.
fn push_header(text: &str, chars_max: usize, out: &mut Vec<u8>) {
    for char in text.chars().take(chars_max) {
        match char {
            '\\' | '|' => out.extend_from_slice(&[b'\\', char as u8]),
            char if char.is_control() => out.push(b' '),
            char => out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

/// In the extension `\`, `=` and line ends are escaped, and `|` is not. Other control characters would end the record at some receivers.
fn push_value(text: &str, out: &mut Vec<u8>) {
    for char in text.chars() {
        match char {
            '\\' | '=' => out.extend_from_slice(&[b'\\', char as u8]),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            char if char.is_control() => out.push(b' '),
            char => out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_and_extension_are_escaped_each_in_its_way() {
        let mut out = Vec::new();
        push_header("a|b\\c=d\n\u{85}é", 64, &mut out);
        assert_eq!(String::from_utf8_lossy(&out), "a\\|b\\\\c=d  é");
        out.clear();
        push_value("a|b\\c=d\r\n\t\u{0}é", &mut out);
        assert_eq!(String::from_utf8_lossy(&out), "a|b\\\\c\\=d\\r\\n  é");
    }
}

//! The `leef` format: IBM QRadar's Log Event Extended Format, version 2.0 (IBM, "LEEF event components"). Only for syslog.
//!
//! ```text
//! LEEF:2.0|Miro|Miro|1.0|board_opened|x09|devTime=1769851810840<tab>cat=boards<tab>sev=1<tab>usrName=…
//! ```
//!
//! | key | what |
//! |---|---|
//! | `devTime`, `cat`, `sev`, `eventId` | time in milliseconds, category, severity from 1 to 10, stable id |
//! | `usrName`, `src`, `resource`, `policy` | who, from where, on what, by which setting |
//! | `isLoginEvent`, `isLogoutEvent` | `true` for sign-ins and sign-outs |
//! | `outcome`, `actorId`, `actorType`, `targetUser`, `objectId`, `objectType`, `orgId`, `teamName`, `stream`, `details` | the rest |
//!
//! LEEF has no escapes: tabs, line ends and other control characters in a value become spaces, and so does `|` in the header. It has no
//! place for the whole object, and content logs' `state` is not in it: choose a JSON format where that is wanted. An event that is
//! not in the table of `mapping.rs` is written with the severity 1 and counted.
//!
//! Where a message is too small, `details`, `resource` and `teamName` give way; where that is too large, what remains is time, id and
//! stream. Either form has the SHA-256 of the original bytes in `sha256`.

use super::{
    Extent, Mapped,
    draft::Draft,
    mapping::{self, Class, Effect, Mapping, What},
    reading::{Party, Reading},
};
use crate::event::{Event, StreamKind};

/// QRadar reads an event id of at most this many characters.
const EVENT_ID_MAX: usize = 255;

/// Writes `leef` records of one stream.
#[derive(Debug)]
pub struct Leef {
    stream: StreamKind,
}

impl Leef {
    /// For events of that stream. Where they come from is in the syslog message around the record.
    pub fn new(stream: StreamKind) -> Self {
        Self { stream }
    }

    /// Adds the event's record to `out`, and says whether its name was known.
    pub(super) fn write(&self, event: &Event, extent: Extent, out: &mut Vec<u8>) -> Mapped {
        let draft = Draft::of(self.stream, event, extent);
        let (reading, mapping) = (&draft.reading, draft.mapping);
        // 1.0 is the version of this layout: Miro has none that it would tell.
        out.extend_from_slice(b"LEEF:2.0|Miro|Miro|1.0|");
        let code = reading.code.as_deref().unwrap_or("unknown");
        push_clean(code.chars().take(EVENT_ID_MAX).map(|char| if char == '|' { ' ' } else { char }), out);
        out.extend_from_slice(b"|x09|");
        let mut pairs = Pairs { out, first: true };
        pairs.put("devTime", Some(&reading.time.as_micros().div_euclid(1_000).to_string()));
        pairs.put("eventId", Some(reading.id));
        pairs.put("cat", Some(reading.category.as_deref().unwrap_or(reading.stream.as_str())).filter(|_| extent != Extent::Minimal));
        pairs.put("sev", Some(&mapping.severity.of_ten().to_string()));
        pairs.put("stream", Some(reading.stream.as_str()));
        if extent != Extent::Minimal {
            put_session(&mut pairs, mapping);
            put_parties(&mut pairs, mapping, reading, extent);
        }
        match extent {
            Extent::Full => pairs.put("details", reading.details()),
            Extent::Reduced | Extent::Minimal => {
                let mut hash = Vec::with_capacity(64);
                draft.push_hash(&mut hash);
                pairs.put("sha256", Some(&String::from_utf8_lossy(&hash)));
            }
        }
        draft.mapped()
    }
}

fn put_session(pairs: &mut Pairs<'_>, mapping: &Mapping) {
    if mapping.class == Class::Auth {
        pairs.put(if mapping.change == Effect::End { "isLogoutEvent" } else { "isLoginEvent" }, Some("true"));
        pairs.put("outcome", Some(if mapping.is_failure() { "failure" } else { "success" }));
    }
}

fn put_parties(pairs: &mut Pairs<'_>, mapping: &Mapping, reading: &Reading<'_>, extent: Extent) {
    let (actor, object) = (&reading.actor, &reading.object);
    pairs.put("usrName", actor.shown());
    pairs.put("actorId", actor.id.as_deref());
    pairs.put("actorType", actor.kind.as_deref());
    pairs.put("src", reading.ip.map(|ip| ip.to_string()).as_deref());
    pairs.put("targetUser", mapping::target(mapping.what, reading).as_ref().and_then(Party::shown));
    pairs.put("objectId", object.id.as_deref().or(reading.board.as_deref()));
    let kind = if let What::Resource(kind) = mapping.what { Some(kind) } else { object.kind.as_deref() };
    pairs.put("objectType", kind);
    pairs.put("orgId", reading.org.id.as_deref());
    if let What::Policy(name) = mapping.what {
        pairs.put("policy", Some(name));
    }
    if extent == Extent::Full {
        pairs.put("resource", object.name.as_deref());
        pairs.put("teamName", reading.team.name.as_deref());
    }
}

/// The pairs after the header.
struct Pairs<'o> {
    out: &'o mut Vec<u8>,
    first: bool,
}

impl Pairs<'_> {
    fn put(&mut self, key: &str, value: Option<&str>) {
        let Some(value) = value.filter(|value| !value.is_empty()) else { return };
        if !self.first {
            self.out.push(b'\t');
        }
        self.first = false;
        self.out.extend_from_slice(key.as_bytes());
        self.out.push(b'=');
        push_clean(value.chars(), self.out);
    }
}

fn push_clean(chars: impl Iterator<Item = char>, out: &mut Vec<u8>) {
    for char in chars {
        let char = if char.is_control() { ' ' } else { char };
        out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delimiter_cannot_be_in_a_value() {
        let mut out = Vec::new();
        let mut pairs = Pairs { out: &mut out, first: true };
        pairs.put("a", Some("b\tc=d|\r\n\u{0}é"));
        pairs.put("none", Some(""));
        pairs.put("e", Some("f"));
        assert_eq!(String::from_utf8_lossy(&out), "a=b c=d|   é\te=f");
    }
}

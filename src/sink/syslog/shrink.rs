//! How a record is made to fit into a message that is too small for it.
//!
//! Receivers do not say that a message is too large: they cut it, which breaks its JSON, or they make several of it. So whole members
//! are left out, the same ones every time, until the record fits:
//!
//! 1. `state`, `details`, `relationships`, `context`, in this order: the bulk of an event, and what is in Miro to be looked up;
//! 2. then whichever other member is largest (of two equal ones, the later), but none of those that say who did what and when:
//!    `id`, `event`, `category`, `createdAt`, `createdBy`, `actionType`, `actionTime`, `itemType`, `actor`;
//! 3. if it still does not fit, a minimal record: id, time, hash.
//!
//! What is kept keeps its bytes and its order. `_miro_siem.truncated` tells the SHA-256 and the length of the event's bytes as they were before,
//! and the names of what was left out:
//!
//! ```json
//! {"id":"…","event":"board_opened","_miro_siem":{…,"truncated":{"sha256":"…","bytes":10240,"left_out":["details"]}}}
//! ```

use std::borrow::Cow;

use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::{
    event::Event,
    transform::{
        members::{Member, Members},
        raw::{push_hex, push_json_string},
    },
};

const LEFT_OUT_FIRST: [&str; 4] = ["state", "details", "relationships", "context"];
const KEPT: [&str; 9] = ["id", "event", "category", "createdAt", "createdBy", "actionType", "actionTime", "itemType", "actor"];
const OURS: &str = "_miro_siem";

/// The record in at most `bytes_max` bytes; `None` if not even the minimal one fits.
pub(super) fn shrink(record: &[u8], event: &Event, bytes_max: usize) -> Option<Vec<u8>> {
    let original = Original::of(event);
    serde_json::from_slice::<Members<'_>>(record)
        .ok()
        .and_then(|members| leave_out(members.0, &original, bytes_max))
        .or_else(|| Some(minimal(event, &original)).filter(|record| record.len() <= bytes_max))
}

/// Leaves out one member after the other until it fits.
fn leave_out(mut members: Vec<Member<'_>>, original: &Original, bytes_max: usize) -> Option<Vec<u8>> {
    let ours = members.iter().position(|(name, _)| name == OURS).map(|at| members.remove(at).1);
    let mut left_out = Vec::new();
    while let Some(at) = next_to_leave_out(&members) {
        left_out.push(members.remove(at).0);
        // Putting the record together is worth it only when it may fit.
        if members.iter().map(|(_, value)| value.get().len()).sum::<usize>() <= bytes_max {
            let record = put_together(&members, ours, original, &left_out);
            if record.len() <= bytes_max {
                return Some(record);
            }
        }
    }
    None
}

fn next_to_leave_out(members: &[Member<'_>]) -> Option<usize> {
    let named = LEFT_OUT_FIRST.iter().find_map(|name| members.iter().position(|(member, _)| member == name));
    named.or_else(|| {
        let others = members.iter().enumerate().filter(|(_, (name, _))| !KEPT.contains(&&**name));
        others.max_by_key(|(_, (_, value))| value.get().len()).map(|(at, _)| at)
    })
}

fn put_together(members: &[Member<'_>], ours: Option<&RawValue>, original: &Original, left_out: &[Cow<'_, str>]) -> Vec<u8> {
    let mut record = b"{".to_vec();
    for (name, value) in members {
        push_json_string(name, &mut record);
        record.push(b':');
        record.extend_from_slice(value.get().as_bytes());
        record.push(b',');
    }
    push_json_string(OURS, &mut record);
    record.push(b':');
    let inside = ours.and_then(|ours| ours.get().trim().strip_suffix('}')).map(str::trim_end).filter(|inside| inside.starts_with('{'));
    match inside {
        Some(inside) if inside.len() > 1 => {
            record.extend_from_slice(inside.as_bytes());
            record.push(b',');
        }
        _ => record.push(b'{'),
    }
    original.push_truncated(left_out, &mut record);
    record.extend_from_slice(b"}}");
    record
}

fn minimal(event: &Event, original: &Original) -> Vec<u8> {
    let mut record = b"{\"id\":".to_vec();
    push_json_string(event.id.as_str(), &mut record);
    record.extend_from_slice(b",\"time\":");
    match event.time {
        Some(time) => push_json_string(&time.to_rfc3339_millis(), &mut record),
        None => record.extend_from_slice(b"null"),
    }
    record.extend_from_slice(b",\"_miro_siem\":{");
    original.push_truncated(&[], &mut record);
    record.extend_from_slice(b"}}");
    record
}

/// What tells the original from the shrunk record.
struct Original {
    sha256: [u8; 32],
    bytes: usize,
}

impl Original {
    fn of(event: &Event) -> Self {
        Self { sha256: Sha256::digest(&event.raw).into(), bytes: event.raw.len() }
    }

    /// `"truncated":{…}`, with the names of what was left out unless everything was.
    fn push_truncated(&self, left_out: &[Cow<'_, str>], out: &mut Vec<u8>) {
        out.extend_from_slice(b"\"truncated\":{\"sha256\":\"");
        push_hex(&self.sha256, out);
        out.extend_from_slice(format!("\",\"bytes\":{}", self.bytes).as_bytes());
        for (index, name) in left_out.iter().enumerate() {
            out.extend_from_slice(if index == 0 { b",\"left_out\":[" } else { b"," });
            push_json_string(name, out);
        }
        out.extend_from_slice(if left_out.is_empty() { b"}" } else { b"]}" });
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::event::{EventId, Origin, Position, Timestamp};

    fn event(raw: &str) -> Event {
        Event {
            position: Position(1),
            id: EventId::new("1"),
            time: Some(Timestamp::parse("2026-01-31T09:30:10.840Z").expect("a time")),
            collected_at: Timestamp::from_millis(0),
            origin: Origin::Live,
            raw: Bytes::copy_from_slice(raw.as_bytes()),
        }
    }

    fn truncated(raw: &str, left_out: &str) -> String {
        let mut hash = Vec::new();
        push_hex(&Sha256::digest(raw), &mut hash);
        format!(r#""truncated":{{"sha256":"{}","bytes":{}{left_out}}}"#, String::from_utf8_lossy(&hash), raw.len())
    }

    #[track_caller]
    fn check(raw: &str, bytes_max: usize, expected: &str, left_out: &str) {
        let shrunk = shrink(raw.as_bytes(), &event(raw), bytes_max).map(|record| String::from_utf8(record).expect("text"));
        assert_eq!(shrunk.as_deref(), Some(expected.replace("TRUNCATED", &truncated(raw, left_out)).as_str()));
        let shrunk = shrunk.unwrap_or_default();
        assert!(shrunk.len() <= bytes_max);
        serde_json::from_str::<serde_json::Value>(&shrunk).expect("a shrunk record is JSON");
    }

    #[test]
    fn bulk_is_left_out_first_then_the_largest_and_the_head_never() {
        let big = "y".repeat(300);
        let raw =
            format!(r#"{{"id":"1", "context":{{"ip":"{big}"}},"details":"{big}","n":1.50,"event":"x","other":"{big}{big}","a":[1, 2]}}"#);
        check(
            &raw,
            1_500,
            &raw.replace(&format!(r#","details":"{big}""#), "").replace("\"1\", ", "\"1\",").replace("]}", "],\"_miro_siem\":{TRUNCATED}}"),
            r#","left_out":["details"]"#,
        );
        check(
            &raw,
            1_000,
            &format!(r#"{{"id":"1","n":1.50,"event":"x","other":"{big}{big}","a":[1, 2],"_miro_siem":{{TRUNCATED}}}}"#),
            r#","left_out":["details","context"]"#,
        );
        check(
            &raw,
            260,
            r#"{"id":"1","n":1.50,"event":"x","a":[1, 2],"_miro_siem":{TRUNCATED}}"#,
            r#","left_out":["details","context","other"]"#,
        );
        check(&raw, 193, r#"{"id":"1","event":"x","_miro_siem":{TRUNCATED}}"#, r#","left_out":["details","context","other","a","n"]"#);
        check(&raw, 180, r#"{"id":"1","time":"2026-01-31T09:30:10.840Z","_miro_siem":{TRUNCATED}}"#, "");
    }

    #[test]
    fn provenance_stays_and_gains_the_marker() {
        let raw = format!(r#"{{"id":"1","details":"{}"}}"#, "y".repeat(500));
        let record = format!(r#"{},"_miro_siem":{{"org":"acme","id":"1"}}}}"#, raw.strip_suffix('}').unwrap_or_default());
        let shrunk = shrink(record.as_bytes(), &event(&raw), 400).expect("it fits");
        let expected = format!(r#"{{"id":"1","_miro_siem":{{"org":"acme","id":"1",{}}}}}"#, truncated(&raw, r#","left_out":["details"]"#));
        assert_eq!(String::from_utf8_lossy(&shrunk), expected);
    }

    #[test]
    fn what_is_no_object_becomes_the_minimal_record() {
        let raw = format!("[\"{}\"]", "y".repeat(500));
        check(&raw, 300, r#"{"id":"1","time":"2026-01-31T09:30:10.840Z","_miro_siem":{TRUNCATED}}"#, "");
        assert_eq!(shrink(raw.as_bytes(), &event(&raw), 100), None);
        let untimed = Event { time: None, ..event(&raw) };
        assert!(shrink(b"null", &untimed, 300).is_some_and(|record| record.starts_with(br#"{"id":"1","time":null,"#)));
    }

    #[test]
    fn the_same_record_shrinks_the_same_way() {
        let raw = format!(r#"{{"b":"{0}","a":"{0}","c":"{0}"}}"#, "y".repeat(200));
        let shrunk = shrink(raw.as_bytes(), &event(&raw), 600).expect("it fits");
        assert!(String::from_utf8_lossy(&shrunk).contains(r#""left_out":["c"]"#), "of equal ones the last goes first");
        assert_eq!(shrink(raw.as_bytes(), &event(&raw), 600), Some(shrunk));
    }
}

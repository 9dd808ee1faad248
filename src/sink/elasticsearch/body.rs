//! The body of a bulk: for each event a line `{"create":{"_id":…}}` and a line with the document.

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use super::super::{Batch, ndjson};
use crate::event::{Event, StreamId};

/// What the two lines add to a record.
const FRAME_BYTES: usize = 160;
/// Data streams refuse documents without it.
const TIME_KEY: &str = "@timestamp";

/// The lines of a batch; the last one ends with a line break too, as it has to.
pub(super) fn bulk(batch: &Batch<'_>) -> Vec<u8> {
    let mut body = Vec::with_capacity(batch.bytes() + batch.len() * FRAME_BYTES);
    for (event, record) in batch.iter() {
        body.extend_from_slice(b"{\"create\":{\"_id\":\"");
        body.extend_from_slice(document_id(batch.stream(), event).as_bytes());
        body.extend_from_slice(b"\"}}\n");
        push_document(event, record, &mut body);
        body.push(b'\n');
    }
    body
}

/// Hex of SHA-256 over `org|stream|id`: 64 bytes of the 512 that are allowed, whatever Miro's ids look like.
pub(super) fn document_id(stream: &StreamId, event: &Event) -> String {
    let mut digest = Sha256::new_with_prefix(format!("{}|{}|", stream.org, stream.kind));
    digest.update(event.id.as_bytes());
    digest.finalize().iter().fold(String::with_capacity(64), |id, byte| id + &format!("{byte:02x}"))
}

/// The record with its time as first member. One that is no object becomes the `message` of one.
fn push_document(event: &Event, record: &[u8], body: &mut Vec<u8>) {
    let time = format!("{{\"{TIME_KEY}\":\"{}\"", event.time.unwrap_or(event.collected_at));
    let Some(members) = record.trim_ascii_start().strip_prefix(b"{") else {
        body.extend_from_slice(time.as_bytes());
        body.extend_from_slice(b",\"message\":");
        let text = String::from_utf8_lossy(record);
        serde_json::to_writer(&mut *body, &text).expect("a string is always JSON, and writing to memory does not fail");
        body.push(b'}');
        return;
    };
    if has_time(record) {
        return ndjson::push_flat(record, body);
    }
    body.extend_from_slice(time.as_bytes());
    if members.trim_ascii_start().first() != Some(&b'}') {
        body.push(b',');
    }
    ndjson::push_flat(members, body);
}

/// Whether the record has a time of its own: a member that is there twice is refused. Only a record that holds the word is parsed.
fn has_time(record: &[u8]) -> bool {
    memchr::memmem::find(record, TIME_KEY.as_bytes()).is_some()
        && serde_json::from_slice::<BTreeMap<String, &RawValue>>(record).is_ok_and(|members| members.contains_key(TIME_KEY))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{EventId, OrgName, Origin, Position, StreamKind, Timestamp};

    fn event(time: Option<Timestamp>) -> Event {
        Event {
            position: Position(1),
            id: EventId::new("e#1"),
            time,
            collected_at: Timestamp::from_millis(2_000),
            origin: Origin::Live,
            raw: Vec::new().into(),
        }
    }

    #[track_caller]
    fn check(record: &str, document: &str) {
        let mut body = Vec::new();
        push_document(&event(Some(Timestamp::from_millis(1_500))), record.as_bytes(), &mut body);
        assert_eq!(String::from_utf8_lossy(&body), document);
    }

    #[test]
    fn a_document_is_the_record_with_its_time_in_front() {
        check(r#"{"a":1.0e400,"a":2}"#, r#"{"@timestamp":"1970-01-01T00:00:01.500Z","a":1.0e400,"a":2}"#);
        check("{\n \"a\": 1\r\n}", "{\"@timestamp\":\"1970-01-01T00:00:01.500Z\",  \"a\": 1  }");
        check(" { }", r#"{"@timestamp":"1970-01-01T00:00:01.500Z" }"#);
        check(r#"{"@timestamp":"x"}"#, r#"{"@timestamp":"x"}"#);
        check(r#"{"b":"@timestamp"}"#, r#"{"@timestamp":"1970-01-01T00:00:01.500Z","b":"@timestamp"}"#);
        check(r#"{"b":{"@timestamp":1}}"#, r#"{"@timestamp":"1970-01-01T00:00:01.500Z","b":{"@timestamp":1}}"#);
        check("[\"x\"]", r#"{"@timestamp":"1970-01-01T00:00:01.500Z","message":"[\"x\"]"}"#);
    }

    #[test]
    fn a_document_without_a_time_of_its_own_has_that_of_its_collection() {
        let mut body = Vec::new();
        push_document(&event(None), b"{}", &mut body);
        assert_eq!(String::from_utf8_lossy(&body), r#"{"@timestamp":"1970-01-01T00:00:02Z"}"#);
    }

    #[test]
    fn an_id_is_the_digest_of_organisation_stream_and_event() {
        let stream = StreamId::new(OrgName::new("acme"), StreamKind::Audit);
        // sha256sum of "acme|audit|e#1".
        assert_eq!(document_id(&stream, &event(None)), "f7fcaadb7c1d31ce327780edaa5f551e19192327f01f4aa8ea5af1ee3eaf07e5");
    }
}

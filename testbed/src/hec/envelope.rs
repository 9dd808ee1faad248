//! Reads a body: JSON objects one after the other, as far as they can be taken.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::{
    HecConfig,
    answers::{Code, Verdict},
};
use crate::{
    json::{Members, id_of, text},
    ledger::Record,
};

/// One object of a body.
#[derive(Debug, Default)]
struct Envelope<'a> {
    event: Option<&'a RawValue>,
    fields: Option<&'a RawValue>,
    index: Option<Cow<'a, str>>,
    /// The key that ends the request.
    unknown_key: bool,
    /// A known key with a value of the wrong kind.
    malformed: bool,
}

impl<'a> Envelope<'a> {
    fn of(object: Members<'a>) -> Self {
        let mut envelope = Self::default();
        for (key, value) in object.0 {
            match key.as_ref() {
                "event" => envelope.event = Some(value),
                "fields" => envelope.fields = Some(value),
                "index" => match text(value) {
                    Some(index) => envelope.index = Some(index),
                    None => envelope.malformed = true,
                },
                "host" | "source" | "sourcetype" => envelope.malformed |= text(value).is_none(),
                "time" => envelope.malformed |= !is_time(value),
                _ => envelope.unknown_key = true,
            }
        }
        envelope
    }
}

/// Epoch seconds with a decimal fraction, as a number or as a string.
fn is_time(raw: &RawValue) -> bool {
    let value = raw.get().trim_matches('"');
    value.parse::<f64>().is_ok_and(f64::is_finite)
}

/// Why an object stops the request.
enum Stop {
    Error(Code),
    /// The wrong-index error names the object after the bad one.
    IncorrectIndex,
    /// Answered with a success.
    UnknownKey,
}

/// What of a body is indexed, and what the sender is told.
pub(super) struct Parsed<'a> {
    pub(super) records: Vec<Record<'a>>,
    pub(super) verdict: Verdict,
}

pub(super) fn parse<'a>(body: &'a [u8], config: &HecConfig, refused: Option<&[u8]>) -> Parsed<'a> {
    let mut records = Vec::new();
    let mut objects = serde_json::Deserializer::from_slice(body).into_iter::<Members<'a>>();
    let mut begin = 0;
    let verdict = loop {
        let number = records.len();
        let Some(object) = objects.next() else {
            break if number == 0 { Code::NoData.into() } else { Code::Success.into() };
        };
        let Ok(object) = object else {
            break Verdict::at(Code::InvalidDataFormat, number);
        };
        let end = objects.byte_offset();
        let whole = body[begin..end].trim_ascii();
        begin = end;
        if refused.is_some_and(|bytes| memchr::memmem::find(whole, bytes).is_some()) {
            break Verdict::at(Code::InvalidDataFormat, number);
        }
        match take(&Envelope::of(object), whole, config) {
            Ok(record) => records.push(record),
            Err(Stop::Error(code)) => break Verdict::at(code, number),
            Err(Stop::IncorrectIndex) => break Verdict::at(Code::IncorrectIndex, number + 1),
            Err(Stop::UnknownKey) if number == 0 => break Code::NoData.into(),
            Err(Stop::UnknownKey) => break Code::Success.into(),
        }
    };
    Parsed { records, verdict }
}

fn take<'a>(envelope: &Envelope<'a>, whole: &'a [u8], config: &HecConfig) -> Result<Record<'a>, Stop> {
    if envelope.unknown_key {
        return Err(Stop::UnknownKey);
    }
    if envelope.malformed || whole.len() > config.event_bytes_max {
        return Err(Stop::Error(Code::InvalidDataFormat));
    }
    let event = envelope.event.filter(|event| event.get() != "null").ok_or(Stop::Error(Code::EventRequired))?;
    check_event(event)?;
    let fields = envelope.fields.map(|fields| parse_fields(fields).ok_or(Stop::Error(Code::IndexedFields))).transpose()?;
    let may_write = |index: &str| config.indexes.is_empty() || config.indexes.iter().any(|known| known == index);
    if envelope.index.as_deref().is_some_and(|index| !may_write(index)) {
        return Err(Stop::IncorrectIndex);
    }
    let id = id_of(event.get()).or(fields.flatten());
    Ok(Record { id, bytes: event.get().as_bytes(), context: Cow::Borrowed(whole) })
}

fn check_event(event: &RawValue) -> Result<(), Stop> {
    match event.get().as_bytes().first() {
        Some(b'{') => Ok(()),
        Some(b'"') if text(event).is_some_and(|text| !text.trim().is_empty()) => Ok(()),
        Some(b'"') => Err(Stop::Error(Code::EventBlank)),
        _ => Err(Stop::Error(Code::InvalidDataFormat)),
    }
}

/// Indexed fields are flat: strings (numbers and booleans are taken as such) or lists of strings. Returns the event id among them,
/// or nothing when they are not flat.
fn parse_fields(fields: &RawValue) -> Option<Option<Cow<'_, str>>> {
    let fields: Members<'_> = serde_json::from_str(fields.get()).ok()?;
    let mut event_id = None;
    for (key, value) in fields.0 {
        if !is_flat(value) {
            return None;
        }
        if key == "miro_event_id" {
            event_id = text(value);
        }
    }
    Some(event_id)
}

fn is_flat(value: &RawValue) -> bool {
    match value.get().as_bytes().first() {
        Some(b'{') => false,
        Some(b'[') => {
            serde_json::from_str::<Vec<&RawValue>>(value.get()).is_ok_and(|items| items.iter().all(|item| item.get().starts_with('"')))
        }
        Some(_) => value.get() != "null",
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks which ids are taken, and the answer.
    fn check(body: &str, taken: &[&str], answer: &str) {
        let config = HecConfig { indexes: vec!["main".to_owned()], event_bytes_max: 200, ..HecConfig::default() };
        let parsed = parse(body.as_bytes(), &config, None);
        let ids: Vec<&str> = parsed.records.iter().map(|record| record.id.as_deref().unwrap_or("-")).collect();
        assert_eq!(ids, taken, "{body}");
        let reply = parsed.verdict.reply();
        assert_eq!(String::from_utf8_lossy(&reply.body), answer, "{body}");
    }

    #[test]
    fn objects_may_follow_each_other_with_anything_or_nothing_between() {
        let success = r#"{"text":"Success","code":0}"#;
        check(r#"{"event":{"id":"a"}}{"event":{"id":"b"}}"#, &["a", "b"], success);
        check("{\"event\":{\"id\":\"a\"}}\r\n \t{\"event\":{\"id\":\"b\"}}\n", &["a", "b"], success);
        check(r#"{"event":{"id":7},"time":"1700000000.123456","host":"h","index":"main"}"#, &["7"], success);
        check(r#"{"event":{"id":"a#1\u0041"},"time":1.5}"#, &["a#1A"], success);
        check(r#"{"event":{"x":1},"fields":{"miro_event_id":"f","list":["a","b"],"n":1}}"#, &["f"], success);
        check(r#"{"event":"some text"}"#, &["-"], success);
    }

    #[test]
    fn an_error_names_its_object_and_the_objects_before_it_are_taken() {
        let a = r#"{"event":{"id":"a"}}"#;
        let numbered = |code: u8, text: &str, n: usize| format!(r#"{{"text":"{text}","code":{code},"invalid-event-number":{n}}}"#);
        let format = |n| numbered(6, "Invalid data format", n);
        check(&format!("{a}{{\"event\":{{\"id\":\"b\""), &["a"], &format(1));
        check(&format!("{a}{a}nonsense{a}"), &["a", "a"], &format(2));
        check(&format!("[{a},{a}]"), &[], &format(0));
        check(&format!(r#"{a}{{"event":1}}"#), &["a"], &format(1));
        check(&format!(r#"{a}{{"event":"x","time":"soon"}}"#), &["a"], &format(1));
        check(&format!(r#"{a}{{"event":"x","host":1}}"#), &["a"], &format(1));
        check(&format!(r#"{a}{{"event":"{}"}}"#, "x".repeat(200)), &["a"], &format(1));
        check(&format!(r#"{a}{{"time":1}}{a}"#), &["a"], &numbered(12, "Event field is required", 1));
        check(&format!(r#"{a}{{"event":null}}{a}"#), &["a"], &numbered(12, "Event field is required", 1));
        check(r#"{"event":"  "}"#, &[], &numbered(13, "Event field cannot be blank", 0));
        let fields = "Error in handling indexed fields";
        check(&format!(r#"{a}{{"event":"x","fields":{{"a":{{"b":1}}}}}}"#), &["a"], &numbered(15, fields, 1));
        check(r#"{"event":"x","fields":{"a":[["b"]]}}"#, &[], &numbered(15, fields, 0));
        check(r#"{"event":"x","fields":"a"}"#, &[], &numbered(15, fields, 0));
    }

    #[test]
    fn a_wrong_index_names_the_object_after_it() {
        let body = r#"{"event":{"id":"a"},"index":"main"}{"event":{"id":"b"},"index":"other"}{"event":{"id":"c"}}"#;
        check(body, &["a"], r#"{"text":"Incorrect index","code":7,"invalid-event-number":2}"#);
    }

    #[test]
    fn an_unknown_key_ends_the_request_with_a_success() {
        let (a, odd) = (r#"{"event":{"id":"a"}}"#, r#"{"event":{"id":"b"},"extra":{"deep":[1]}}"#);
        check(&format!("{a}{odd}{a}"), &["a"], r#"{"text":"Success","code":0}"#);
        check(&format!("{odd}{a}"), &[], r#"{"text":"No data","code":5}"#);
    }

    #[test]
    fn nothing_is_no_data() {
        check("", &[], r#"{"text":"No data","code":5}"#);
        check(" \n", &[], r#"{"text":"No data","code":5}"#);
    }

    #[test]
    fn the_bytes_of_an_event_are_kept_as_they_came() {
        let body = r#"{"time":1, "event" : { "n": 12345678901234567890.10, "id":"a" } ,"host":"h"} {"event":{"id":"b"}}"#;
        let parsed = parse(body.as_bytes(), &HecConfig::default(), None);
        assert_eq!(parsed.records[0].bytes, br#"{ "n": 12345678901234567890.10, "id":"a" }"#);
        assert_eq!(&*parsed.records[1].context, br#"{"event":{"id":"b"}}"#);
    }
}

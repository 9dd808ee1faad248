//! The page object, and the head of every record in it.
//!
//! A page is `{ "type", "limit", "size", "cursor", "data": [ … ] }`; only `cursor` and `data` are believed. Records stay the bytes
//! that Miro sent: each is a slice of the body, and so is its id where that has no escapes. Of a record only its id and its time are
//! read; of a key that stands twice in a record, the last one counts, as it does in most JSON parsers. A page whose `data` or
//! `cursor` stands twice is refused, because to choose one would drop the other's records.

use std::{borrow::Cow, fmt};

use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::{error::Category, value::RawValue};
use thiserror::Error;

use super::Cursor;
use crate::event::{Decoded, EventId, RawEvent, Timestamp, undecodable_id};

/// Why an answer with status 200 is no page.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(super) enum ShapeFault {
    #[error("its content type is {0}, not JSON")]
    ContentType(String),
    #[error("its body is empty")]
    Empty,
    #[error("its JSON ends in the middle, after {bytes} bytes")]
    Truncated { bytes: usize },
    #[error("its body is no JSON from line {line}, column {column} on")]
    Malformed { line: usize, column: usize },
    #[error("its JSON is not an object")]
    NotAnObject,
    #[error("it has no data")]
    NoData,
    #[error("its data is not a list")]
    DataNotAList,
    #[error("its cursor is not text")]
    CursorNotText,
    #[error("its {0} stands twice")]
    Repeated(&'static str),
    #[error("it does not describe a token")]
    NotTokenInfo,
}

/// What a page holds.
#[derive(Debug)]
pub(super) struct Decoding {
    pub(super) events: Vec<RawEvent>,
    pub(super) next: Option<Cursor>,
}

/// Reads a page whose records have their time under `time_field`.
pub(super) fn page(body: &Bytes, time_field: &'static str) -> Result<Decoding, ShapeFault> {
    if body.trim_ascii().is_empty() {
        return Err(ShapeFault::Empty);
    }
    let shape: PageShape<'_> = serde_json::from_slice(body).map_err(|error| fault_of(&error, body))?;
    if let Some(key) = shape.repeated {
        return Err(ShapeFault::Repeated(key));
    }
    let records = shape.data.ok_or(ShapeFault::NoData)?;
    let cursor = shape.cursor.map_or(Ok(None), cursor_of)?;
    let events: Vec<_> = records.iter().map(|record| event(body, record.get(), time_field)).collect();
    Ok(Decoding { events, next: cursor })
}

/// The cursor, if there is one: absent, null and empty text all say that this was the last page.
fn cursor_of(value: &RawValue) -> Result<Option<Cursor>, ShapeFault> {
    match value.get() {
        "null" => Ok(None),
        text => match text_of(text) {
            Some(cursor) if cursor.is_empty() => Ok(None),
            Some(cursor) => Ok(Some(Cursor::new(&cursor))),
            None => Err(ShapeFault::CursorNotText),
        },
    }
}

fn fault_of(error: &serde_json::Error, body: &[u8]) -> ShapeFault {
    match error.classify() {
        Category::Eof => ShapeFault::Truncated { bytes: body.len() },
        Category::Data if body.trim_ascii_start().starts_with(b"{") => ShapeFault::DataNotAList,
        Category::Data => ShapeFault::NotAnObject,
        Category::Syntax | Category::Io => ShapeFault::Malformed { line: error.line(), column: error.column() },
    }
}

/// One record: whatever it is, it becomes an event.
fn event(body: &Bytes, record: &str, time_field: &'static str) -> RawEvent {
    let head = Head::read(record, time_field);
    let raw = body.slice_ref(record.as_bytes());
    let id = head.id.and_then(|value| id_of(body, value));
    let time = head.time.and_then(time_of);
    let decoded = if id.is_some() && time.is_some() { Decoded::Whole } else { Decoded::Undecodable };
    RawEvent { id: id.unwrap_or_else(|| undecodable_id(&raw)), time, raw, decoded }
}

/// An id is text, or in the first version of the API a number, whose digits are the id. Blank text is none: events that share it would be
/// taken for repeats of each other.
fn id_of(body: &Bytes, value: &str) -> Option<EventId> {
    match value.as_bytes().first()? {
        b'"' => match text_of(value)? {
            text if text.trim().is_empty() => None,
            Cow::Borrowed(text) => EventId::from_utf8(body.slice_ref(text.as_bytes())),
            Cow::Owned(text) => Some(EventId::new(text)),
        },
        b'-' | b'0'..=b'9' => EventId::from_utf8(body.slice_ref(value.as_bytes())),
        _ => None,
    }
}

fn time_of(value: &str) -> Option<Timestamp> {
    Timestamp::parse(&text_of(value)?).ok()
}

/// The text of a JSON string, borrowed where it has no escapes; `None` for other values and for halves of surrogate pairs.
fn text_of(value: &str) -> Option<Cow<'_, str>> {
    let inner = value.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') { serde_json::from_str(value).ok().map(Cow::Owned) } else { Some(Cow::Borrowed(inner)) }
}

/// The text of a JSON string, or the digits of a number as they are written.
pub(super) fn text_or_number(value: &str) -> Option<String> {
    match value.as_bytes().first()? {
        b'-' | b'0'..=b'9' => Some(value.to_owned()),
        _ => text_of(value).map(Cow::into_owned).filter(|text| !text.trim().is_empty()),
    }
}

/// The values of a record's id and time, as they are written; neither for a record that is no object.
#[derive(Default)]
struct Head<'a> {
    id: Option<&'a str>,
    time: Option<&'a str>,
}

impl<'a> Head<'a> {
    fn read(record: &'a str, time_field: &'static str) -> Self {
        let mut json = serde_json::Deserializer::from_str(record);
        json.deserialize_map(HeadVisitor { time_field }).unwrap_or_default()
    }
}

struct HeadVisitor {
    time_field: &'static str,
}

impl<'de> Visitor<'de> for HeadVisitor {
    type Value = Head<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a record")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut head = Head::default();
        while let Some(key) = map.next_key_seed(KeySeed(["id", self.time_field]))? {
            match key {
                Some(0) => head.id = Some(map.next_value::<&RawValue>()?.get()),
                Some(_) => head.time = Some(map.next_value::<&RawValue>()?.get()),
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(head)
    }
}

/// Tells which of the wanted keys a key is, without keeping it.
struct KeySeed<const N: usize>([&'static str; N]);

impl<'de, const N: usize> serde::de::DeserializeSeed<'de> for KeySeed<N> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_bytes(self)
    }
}

impl<const N: usize> Visitor<'_> for KeySeed<N> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_bytes<E: serde::de::Error>(self, key: &[u8]) -> Result<Self::Value, E> {
        Ok(self.0.iter().position(|wanted| wanted.as_bytes() == key))
    }

    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<Self::Value, E> {
        self.visit_bytes(key.as_bytes())
    }
}

#[derive(Default)]
struct PageShape<'a> {
    data: Option<Vec<&'a RawValue>>,
    cursor: Option<&'a RawValue>,
    repeated: Option<&'static str>,
}

impl<'de> Deserialize<'de> for PageShape<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(PageVisitor)
    }
}

struct PageVisitor;

impl<'de> Visitor<'de> for PageVisitor {
    type Value = PageShape<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a page")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut page = PageShape::default();
        while let Some(key) = map.next_key_seed(KeySeed(["data", "cursor"]))? {
            let repeated = match key {
                Some(0) => page.data.replace(map.next_value()?).map(|_| "data"),
                Some(_) => page.cursor.replace(map.next_value()?).map(|_| "cursor"),
                None => map.next_value::<IgnoredAny>().map(|_| None)?,
            };
            page.repeated = page.repeated.or(repeated);
        }
        Ok(page)
    }
}

/// Harness for hostile answers, see [`crate::fuzzing`]: whatever is read is part of what came, and every record becomes one event.
pub(crate) fn fuzz(body: &Bytes) {
    for time_field in ["createdAt", "actionTime"] {
        let Ok(decoding) = page(body, time_field) else { continue };
        for event in &decoding.events {
            assert!(!event.id.as_str().is_empty(), "an event has an id");
            assert!(serde_json::from_slice::<&RawValue>(&event.raw).is_ok(), "an event is a JSON value of its own");
            assert!(event.decoded == Decoded::Undecodable || event.time.is_some(), "what is whole has a time");
            assert!(body.as_ptr_range().contains(&event.raw.as_ptr()), "an event is a part of the answer and not a copy");
        }
    }
}

#[cfg(test)]
mod tests;

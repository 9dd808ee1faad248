//! How a dead letter is written down.

use std::borrow::Cow;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{DeadLetter, Event, EventId, Gone, LetterKey, Reason, SinkName, StreamId, Timestamp};
use crate::{
    event::{Origin, Position},
    transform::raw::push_hex,
};

/// Version 1: a letter. A reader refuses versions it does not know; a later writer that only adds members keeps the number.
const VERSION: u32 = 1;
/// Version 2: a letter is gone.
const VERSION_GONE: u32 = 2;

/// One line. Members are only ever added.
#[derive(Serialize, Deserialize)]
pub(super) struct Line {
    v: u32,
    sink: SinkName,
    stream: String,
    position: Position,
    id: String,
    time: Option<String>,
    collected_at: String,
    origin: Origin,
    reason: String,
    answer: String,
    attempts: u32,
    first_attempt_at: String,
    last_attempt_at: String,
    /// The event's bytes where they are text.
    #[serde(skip_serializing_if = "Option::is_none")]
    raw: Option<String>,
    /// The event's bytes where they are not.
    #[serde(skip_serializing_if = "Option::is_none")]
    raw_hex: Option<String>,
}

impl Line {
    pub(super) fn of(letter: &DeadLetter) -> Self {
        let event = &letter.event;
        let text = std::str::from_utf8(&event.raw).ok();
        Self {
            v: VERSION,
            sink: letter.sink.clone(),
            stream: letter.stream.to_string(),
            position: event.position,
            id: event.id.as_str().to_owned(),
            time: event.time.map(|time| time.to_string()),
            collected_at: event.collected_at.to_string(),
            origin: event.origin,
            reason: letter.reason.as_str().to_owned(),
            answer: letter.answer.clone(),
            attempts: letter.attempts,
            first_attempt_at: letter.first_attempt_at.to_string(),
            last_attempt_at: letter.last_attempt_at.to_string(),
            raw: text.map(str::to_owned),
            raw_hex: text.is_none().then(|| hex(&event.raw)),
        }
    }

    /// Adds the line with its end.
    pub(super) fn push(&self, out: &mut Vec<u8>) {
        // A Vec takes every write, and every member is text, a number or null: this cannot fail.
        if serde_json::to_writer(&mut *out, self).is_ok() {
            out.push(b'\n');
        }
    }

    /// Reads a line without its end.
    pub(super) fn parse(text: &[u8]) -> Result<DeadLetter, String> {
        let line: Self = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        if line.v != VERSION {
            return Err(unknown(line.v));
        }
        let time = |text: &str| Timestamp::parse(text).map_err(|error| error.to_string());
        let raw = match (line.raw, line.raw_hex) {
            (Some(text), None) => Bytes::from(text),
            (None, Some(digits)) => Bytes::from(unhex(&digits).ok_or("raw_hex holds something else than hexadecimal digits")?),
            _ => return Err("it must have one of raw and raw_hex".to_owned()),
        };
        Ok(DeadLetter {
            stream: StreamId::parse(&line.stream).ok_or("its stream is none")?,
            event: Event {
                position: line.position,
                id: EventId::new(line.id),
                time: line.time.as_deref().map(time).transpose()?,
                collected_at: time(&line.collected_at)?,
                origin: line.origin,
                raw,
            },
            sink: line.sink,
            reason: Reason::parse(&line.reason).ok_or("its reason is none that this program knows")?,
            answer: line.answer,
            attempts: line.attempts,
            first_attempt_at: time(&line.first_attempt_at)?,
            last_attempt_at: time(&line.last_attempt_at)?,
        })
    }
}

/// What a line is about, as far as one has to know to find the lines that count.
pub(super) struct Head {
    pub(super) key: LetterKey,
    pub(super) gone: Option<Gone>,
}

#[derive(Deserialize)]
struct HeadLine<'a> {
    v: u32,
    #[serde(borrow)]
    stream: Cow<'a, str>,
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow, default)]
    gone: Option<Cow<'a, str>>,
}

impl Head {
    /// Reads the head of a line without its end.
    pub(super) fn parse(text: &[u8]) -> Result<Self, String> {
        let line: HeadLine<'_> = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        let gone = match (line.v, line.gone.as_deref()) {
            (VERSION, None) => None,
            (VERSION_GONE, Some("settled")) => Some(Gone::Settled),
            (VERSION_GONE, Some("dropped")) => Some(Gone::Dropped),
            (version, _) => return Err(unknown(version)),
        };
        let stream = StreamId::parse(&line.stream).ok_or("its stream is none")?;
        Ok(Self { key: LetterKey { stream, id: EventId::new(line.id) }, gone })
    }
}

#[derive(Serialize)]
struct GoneLine<'a> {
    v: u32,
    gone: &'a str,
    stream: String,
    id: &'a str,
    at: String,
}

/// Adds the line that says so, with its end.
pub(super) fn push_gone(key: &LetterKey, how: Gone, at: Timestamp, out: &mut Vec<u8>) {
    let line = GoneLine { v: VERSION_GONE, gone: how.as_str(), stream: key.stream.to_string(), id: key.id.as_str(), at: at.to_string() };
    // As above: this cannot fail.
    if serde_json::to_writer(&mut *out, &line).is_ok() {
        out.push(b'\n');
    }
}

fn unknown(version: u32) -> String {
    format!("it has version {version}, this program knows versions {VERSION} and {VERSION_GONE}")
}

fn hex(bytes: &[u8]) -> String {
    let mut digits = Vec::with_capacity(bytes.len() * 2);
    push_hex(bytes, &mut digits);
    digits.into_iter().map(char::from).collect()
}

fn unhex(digits: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = digits.as_bytes().chunks(2);
    pairs.map(|pair| if let [high, low] = *pair { Some(digit(high)? * 16 + digit(low)?) } else { None }).collect()
}

//! How a dead letter is written down.

use serde::{Deserialize, Serialize};

use super::{Bytes, DeadLetter, Event, Reason, SinkName, StreamId, Timestamp};
use crate::{
    event::{EventId, Origin, Position},
    transform::raw::push_hex,
};

/// Version 1. A reader refuses versions it does not know; a later writer that only adds members keeps the number.
const VERSION: u32 = 1;

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
            return Err(format!("it has version {}, this program knows version {VERSION}", line.v));
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

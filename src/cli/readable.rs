//! Events as a person reads them: one line each, for the demo.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
};

use futures_util::future::BoxFuture;
use serde_json::Value;

use crate::{
    event::Event,
    pipeline::Stop,
    sink::{Batch, ErrorClass, Receipt, Sink, SinkError},
};

const NAME_CHARS_MAX: usize = 28;
const TARGET_CHARS_MAX: usize = 44;

/// A sink that writes readable lines to stdout. When its reader has gone, as `head` does, the demo is over.
#[derive(Debug)]
pub(super) struct ReadableStdout {
    stop: Stop,
}

impl ReadableStdout {
    /// Stops by `stop` when nobody reads any more.
    pub(super) fn new(stop: Stop) -> Self {
        Self { stop }
    }

    fn receipt(&self, written: io::Result<()>) -> Result<Receipt, SinkError> {
        match written {
            Ok(()) => Ok(Receipt::All),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.stop.at_once();
                Ok(Receipt::All)
            }
            Err(error) => Err(SinkError::new(ErrorClass::Config, format!("failed to write to stdout: {error}"))),
        }
    }
}

impl Sink for ReadableStdout {
    fn probe(&self) -> BoxFuture<'_, Result<(), SinkError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn deliver<'a>(&'a self, batch: Batch<'a>) -> BoxFuture<'a, Result<Receipt, SinkError>> {
        let lines: String = batch.events().iter().map(|event| line(batch.stream().kind.as_str(), event)).collect();
        let written = io::stdout().lock().write_all(lines.as_bytes()).and_then(|()| io::stdout().flush());
        Box::pin(std::future::ready(self.receipt(written)))
    }

    fn close(&self) -> BoxFuture<'_, Result<(), SinkError>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// `10:15:02.123  audit    board_opened          Ada Lovelace        Roadmap 2027   203.0.113.7`
fn line(stream: &str, event: &Event) -> String {
    let value: Value = serde_json::from_slice(&event.raw).unwrap_or_default();
    let time = event.time.map_or_else(|| "-".to_owned(), |time| time.to_datetime().format("%m-%d %H:%M:%S%.3f").to_string());
    let mut line = format!(
        "{time:<18} {stream:<8} {:<32} {:<NAME_CHARS_MAX$} {}",
        what(&value),
        cut(&who(&value), NAME_CHARS_MAX),
        cut(&target(&value), TARGET_CHARS_MAX)
    );
    if let Some(ip) = value.pointer("/context/ip").and_then(Value::as_str) {
        let _ = write!(line, "  from {}", clean(ip));
    }
    line.truncate(line.trim_end().len());
    line.push('\n');
    line
}

/// What happened.
pub(super) fn what(value: &Value) -> String {
    let text = |key| value.get(key).and_then(Value::as_str);
    match (text("event"), text("itemType"), text("actionType")) {
        (Some(event), _, _) => clean(event),
        (None, Some(item), Some(action)) => clean(&format!("{item} {action}")),
        _ => text("aiFeatureName").or_else(|| text("surface")).map_or_else(|| "(no name)".to_owned(), clean),
    }
}

/// Who did it.
pub(super) fn who(value: &Value) -> String {
    let person = ["/createdBy/name", "/createdBy/email", "/actor/name", "/actor/email"];
    person.iter().find_map(|path| value.pointer(path).and_then(Value::as_str)).map_or_else(|| "-".to_owned(), clean)
}

/// What it was done to.
pub(super) fn target(value: &Value) -> String {
    let places = ["/object/name", "/object/id", "/contentId"];
    places.iter().find_map(|path| value.pointer(path).and_then(Value::as_str)).map(clean).unwrap_or_default()
}

/// Nothing that an event carries may move the terminal's cursor.
pub(super) fn clean(text: &str) -> String {
    text.chars().map(|symbol| if symbol.is_control() || is_hidden(symbol) { '·' } else { symbol }).collect()
}

/// What changes the direction of the text around it, or hides in it: the format characters of Unicode that no name needs. The joiners that
/// emoji and some scripts are made with stay.
fn is_hidden(symbol: char) -> bool {
    matches!(
        symbol,
        '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2028}' | '\u{2029}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
    )
}

/// The text, or its beginning with `…` where it is longer.
pub(super) fn cut(text: &str, chars_max: usize) -> String {
    if text.chars().count() <= chars_max { text.to_owned() } else { text.chars().take(chars_max - 1).chain(['…']).collect() }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::event::{EventId, Origin, Position, Timestamp};

    #[track_caller]
    fn check(raw: &'static str, expected: &str) {
        let time = Timestamp::parse("2026-11-20T10:15:02.123Z").ok();
        let event = Event {
            position: Position(1),
            id: EventId::new("e"),
            time,
            collected_at: Timestamp::from_millis(0),
            origin: Origin::Live,
            raw: Bytes::from_static(raw.as_bytes()),
        };
        let line = line("audit", &event);
        assert_eq!(line.split_whitespace().collect::<Vec<_>>().join(" "), expected);
        assert_eq!(line.matches('\n').count(), 1);
    }

    #[test]
    fn events_of_every_log_become_one_line() {
        check(
            r#"{"event":"board_opened","createdBy":{"name":"Ada"},"object":{"name":"Plan"},"context":{"ip":"203.0.113.7"}}"#,
            "11-20 10:15:02.123 audit board_opened Ada Plan from 203.0.113.7",
        );
        check(
            r#"{"itemType":"widget","actionType":"create","actor":{"email":"a@b.c"},"contentId":"uX="}"#,
            "11-20 10:15:02.123 audit widget create a@b.c uX=",
        );
        check("null", "11-20 10:15:02.123 audit (no name) -");
    }

    #[test]
    fn nothing_in_an_event_moves_the_cursor() {
        check("{\"event\":\"a\\u001b[2J\\nb\\u202ec\"}", "11-20 10:15:02.123 audit a·[2J·b·c -");
    }
}

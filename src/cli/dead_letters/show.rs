//! A dead letter as a row, as a page and as JSON.

use std::{
    collections::VecDeque,
    fmt::Write as _,
    io::{self, Write},
};

use serde::Serialize;

use crate::{
    cli::{
        readable::{clean, cut},
        terminal::indented,
    },
    event::{Origin, Position},
    sink::dead_letters::DeadLetter,
    transform::raw::push_hex,
};

/// Whether the event itself is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// Its bytes too.
    With,
    /// Only what happened to it.
    Without,
}

/// The members of the JSON, those of the stored lines.
#[derive(Serialize)]
struct Json<'a> {
    sink: &'a str,
    stream: String,
    position: Position,
    id: &'a str,
    time: Option<String>,
    collected_at: String,
    origin: Origin,
    reason: &'static str,
    answer: &'a str,
    attempts: u32,
    first_attempt_at: String,
    last_attempt_at: String,
    /// The event's bytes where they are text.
    #[serde(skip_serializing_if = "Option::is_none")]
    raw: Option<&'a str>,
    /// The event's bytes where they are not.
    #[serde(skip_serializing_if = "Option::is_none")]
    raw_hex: Option<String>,
}

/// Writes a dead letter as JSON on one line.
pub(super) fn json_line(letter: &DeadLetter, content: Content, out: &mut dyn Write) -> anyhow::Result<()> {
    let event = &letter.event;
    let text = std::str::from_utf8(&event.raw).ok();
    let line = Json {
        sink: letter.sink.as_str(),
        stream: letter.stream.to_string(),
        position: event.position,
        id: event.id.as_str(),
        time: event.time.map(|time| time.to_string()),
        collected_at: event.collected_at.to_string(),
        origin: event.origin,
        reason: letter.reason.as_str(),
        answer: &letter.answer,
        attempts: letter.attempts,
        first_attempt_at: letter.first_attempt_at.to_string(),
        last_attempt_at: letter.last_attempt_at.to_string(),
        raw: text.filter(|_| content == Content::With),
        raw_hex: (content == Content::With && text.is_none()).then(|| hex(&event.raw)),
    };
    let mut bytes = serde_json::to_vec(&line)?;
    bytes.push(b'\n');
    Ok(out.write_all(&bytes)?)
}

fn hex(bytes: &[u8]) -> String {
    let mut digits = Vec::with_capacity(bytes.len() * 2);
    push_hex(bytes, &mut digits);
    digits.into_iter().map(char::from).collect()
}

/// Whether an error is that of a reader that went away.
pub(super) fn is_gone(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// A dead letter whole, for a person.
pub(super) fn whole(letter: &DeadLetter) -> String {
    let event = &letter.event;
    let mut text = String::new();
    let rows = [
        ("event id", clean(event.id.as_str())),
        ("sink", clean(letter.sink.as_str())),
        ("stream", clean(&letter.stream.to_string())),
        ("reason", letter.reason.as_str().to_owned()),
        ("attempts", letter.attempts.to_string()),
        ("first sent", letter.first_attempt_at.to_string()),
        ("last sent", letter.last_attempt_at.to_string()),
        ("event time", event.time.map_or_else(|| "-".to_owned(), |time| time.to_string())),
        ("collected at", event.collected_at.to_string()),
    ];
    for (name, value) in rows {
        let _ = writeln!(text, "{name:<13} {value}");
    }
    let _ = write!(text, "the receiver said:\n{}", indented(&clean(&letter.answer)));
    let _ = writeln!(text, "the event:\n  {}\n", clean(&String::from_utf8_lossy(&event.raw)));
    text
}

/// The rows of a table, the newest of them.
#[derive(Debug)]
pub(super) struct Rows {
    rows: VecDeque<String>,
    rows_max: usize,
    left_out: usize,
}

impl Rows {
    /// An empty table that keeps so many.
    pub(super) fn keeping(rows_max: usize) -> Self {
        Self { rows: VecDeque::new(), rows_max, left_out: 0 }
    }

    /// Adds a row, at the cost of the oldest one where there is no room.
    pub(super) fn push(&mut self, letter: &DeadLetter) {
        if self.rows.len() == self.rows_max {
            self.rows.pop_front();
            self.left_out += 1;
        }
        self.rows.push_back(row(
            &clean(letter.sink.as_str()),
            letter.reason.as_str(),
            &letter.last_attempt_at.to_string(),
            letter.event.id.as_str(),
            &letter.answer,
        ));
    }

    /// The table as text.
    pub(super) fn table(&self) -> String {
        if self.rows.is_empty() {
            return "no dead letters\n".to_owned();
        }
        let mut text = row("SINK", "REASON", "LAST SENT", "EVENT ID", "ANSWER");
        text.extend(self.rows.iter().map(String::as_str));
        let shown = self.rows.len();
        let _ = match self.left_out {
            0 => writeln!(text, "\n{shown} in all"),
            left_out => writeln!(text, "\nthe newest {shown} of {}; --all lists every one", shown + left_out),
        };
        text
    }
}

/// Ids stay whole, because `show` asks for them; what is left of the width is the answer's.
fn row(sink: &str, reason: &str, last: &str, id: &str, answer: &str) -> String {
    let row = format!("{:<16} {reason:<9} {last:<24} {:<20} {}", cut(sink, 16), clean(id), cut(&clean(answer), 27));
    format!("{}\n", row.trim_end())
}

//! `miro-siem tail`: events as the running daemon collects them.

use std::io::{ErrorKind, IsTerminal, Write};

use anyhow::Context;
use serde::Deserialize;
use serde_json::Value;

use super::{
    Exit,
    daemon::{self, DaemonError, Request},
    readable::{clean, target, what, who},
    report,
    terminal::{Colours, Tone, columns_of_stdout, fitted, width},
    time::{When, when},
};
use crate::{
    admin::{EventsQuery, TAIL_END},
    clock::Clock,
};

/// The journal's records are limited; a longer line is not from miro-siem.
const LINE_BYTES_MAX: usize = 64 * 1024 * 1024;

const EXAMPLES: &str = "Examples:
  miro-siem tail --event 'board_*' --since 10m
  miro-siem tail --stream audit --json | jq -r .event
  miro-siem tail -n 1 --json                       one event, whole

Events are personal data: they come over the daemon's socket, so run this as its user or root, or with admin.token configured.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Options {
    #[command(flatten)]
    daemon: daemon::DaemonOptions,
    /// Only events of this organisation
    #[arg(long, value_name = "ORG")]
    org: Option<String>,
    /// Only events of this stream: audit, content, ai, or forwarder for miro-siem's own
    #[arg(long, value_name = "STREAM")]
    stream: Option<String>,
    /// Only events of such a name; `*` stands for any text, `?` for any character
    #[arg(long, value_name = "PATTERN")]
    event: Option<String>,
    /// Begin with those that were collected since then and are still in the journal: a time, a date, or an age such as 10m
    #[arg(long, value_name = "TIME", value_parser = when)]
    since: Option<When>,
    /// End after so many events
    #[arg(long, short = 'n', value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Print the events as JSON, one per line, as a `raw` sink does
    #[arg(long)]
    json: bool,
}

pub(super) fn run(options: &Options) -> Exit {
    daemon::with_admin(&options.daemon, async |admin| {
        let mut answer = daemon::send(&admin, &Request::get(path(options))).await?;
        if std::io::stderr().is_terminal() {
            report("waiting for events; Ctrl-C ends it");
        }
        let mut printer = Printer::new(options);
        let mut interrupt = std::pin::pin!(tokio::signal::ctrl_c());
        let mut lines = Lines::default();
        loop {
            let piece = tokio::select! {
                _ = &mut interrupt => return Ok(Exit::Fine),
                piece = daemon::next_piece(&mut answer) => piece?,
            };
            let Some(piece) = piece else { return ended("the daemon has closed the connection") };
            lines.add(&piece)?;
            while let Some(line) = lines.next() {
                if let Some(why) = end_of(&line) {
                    return ended(&why);
                }
                if !printer.print(&line)? {
                    return Ok(Exit::Fine);
                }
            }
            if !printer.flush()? {
                return Ok(Exit::Fine);
            }
        }
    })
}

/// What came is shown; what would have come is not.
fn ended(why: &str) -> anyhow::Result<Exit> {
    report(&format!("ended: {}", clean(why)));
    Ok(Exit::Partly)
}

fn path(options: &Options) -> String {
    let since = options.since.map(|since| since.instant(Clock::system().now()).to_rfc3339_millis());
    let query = EventsQuery { org: options.org.clone(), stream: options.stream.clone(), event: options.event.clone(), since };
    let pairs = [("org", query.org), ("stream", query.stream), ("event", query.event), ("since", query.since)];
    let mut written = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in pairs {
        if let Some(value) = value {
            written.append_pair(name, &value);
        }
    }
    format!("/api/v1/events?{}", written.finish())
}

/// Pieces of an answer, put together to lines.
#[derive(Debug, Default)]
struct Lines {
    held: Vec<u8>,
    /// Up to here there is no line end.
    searched: usize,
}

impl Lines {
    fn add(&mut self, piece: &[u8]) -> Result<(), DaemonError> {
        if self.held.len() + piece.len() > LINE_BYTES_MAX {
            return Err(DaemonError::Unclear("a line has no end".to_owned()));
        }
        self.held.extend_from_slice(piece);
        Ok(())
    }

    /// The next whole line that is not empty; empty ones are signs of life.
    fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            let Some(found) = memchr::memchr(b'\n', &self.held[self.searched..]) else {
                self.searched = self.held.len();
                return None;
            };
            let rest = self.held.split_off(self.searched + found + 1);
            let mut line = std::mem::replace(&mut self.held, rest);
            self.searched = 0;
            line.pop();
            if !line.is_empty() {
                return Some(line);
            }
        }
    }
}

/// The reason, where the line is the daemon's last word.
fn end_of(line: &[u8]) -> Option<String> {
    let begins = line.strip_prefix(b"{\"").is_some_and(|rest| rest.starts_with(TAIL_END.as_bytes()));
    let last = begins.then(|| serde_json::from_slice::<Value>(line).ok()).flatten()?;
    Some(last.get(TAIL_END)?.as_str().unwrap_or_default().to_owned())
}

/// Puts events on stdout until there have been enough of them, or nobody reads any more.
struct Printer {
    colours: Colours,
    columns: usize,
    stream_columns: usize,
    json: bool,
    left: Option<u64>,
    out: std::io::BufWriter<std::io::Stdout>,
}

impl Printer {
    fn new(options: &Options) -> Self {
        let out = std::io::BufWriter::new(std::io::stdout());
        Self {
            colours: Colours::of_stdout(),
            columns: columns_of_stdout(),
            stream_columns: 0,
            json: options.json,
            left: options.count,
            out,
        }
    }

    /// Whether there is more to print.
    fn print(&mut self, line: &[u8]) -> anyhow::Result<bool> {
        let written = if self.json {
            self.out.write_all(line).and_then(|()| self.out.write_all(b"\n"))
        } else {
            writeln!(self.out, "{}", readable(line, self.columns, &mut self.stream_columns, self.colours))
        };
        if !still_read(written)? {
            return Ok(false);
        }
        self.left = self.left.map(|left| left - 1);
        if self.left == Some(0) {
            self.flush()?;
            return Ok(false);
        }
        Ok(true)
    }

    fn flush(&mut self) -> anyhow::Result<bool> {
        still_read(self.out.flush())
    }
}

/// A reader that went away, such as `head`, has what it wanted.
fn still_read(written: std::io::Result<()>) -> anyhow::Result<bool> {
    match written {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error).context("failed to write to stdout"),
    }
}

/// Where a record comes from.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Source {
    org: String,
    stream: String,
    late: bool,
    backfill: bool,
}

/// `11-20 10:15:02  acme/audit  board_opened  Ada Lovelace  Roadmap 2027  203.0.113.7`, in so many columns, of which the stream takes
/// `stream_columns`. Everything in it was written by somebody else, so nothing of it reaches the terminal but letters.
fn readable(line: &[u8], columns: usize, stream_columns: &mut usize, colours: Colours) -> String {
    let value: Value = serde_json::from_slice(line).unwrap_or_default();
    let source = value.get("_miro_siem").and_then(|source| Source::deserialize(source).ok()).unwrap_or_default();
    // A record that is no object travels in one.
    let is_wrapped = value.pointer("/_miro_siem/undecodable").is_some();
    let value = value.get("raw").filter(|_| is_wrapped).unwrap_or(&value);
    let is_wide = columns >= WIDE_COLUMNS;
    let ip = value.pointer("/context/ip").and_then(Value::as_str).map(clean).unwrap_or_default();
    let ip = fitted(&ip, width(&ip).min(if is_wide { ADDRESS_COLUMNS_MAX } else { ADDRESS_COLUMNS_MIN }));
    let mark = match (source.late, source.backfill) {
        (true, _) => " late",
        (_, true) if is_wide => " backfill",
        _ => "",
    };
    let stream = clean(&format!("{}/{}", source.org, source.stream));
    // It grows with the longest name so far, so that the columns are below each other.
    *stream_columns = (*stream_columns).max(width(&stream)).min(columns / 5);
    let room = columns.saturating_sub(TIME_COLUMNS + *stream_columns + 5 + mark.len() + width(&ip));
    let [event, actor] = [room * 38 / 100, room * 27 / 100];
    let object = room.saturating_sub(event + actor);
    let line = [
        colours.paint(Tone::Quiet, &fitted(&time(value), TIME_COLUMNS)),
        fitted(&stream, *stream_columns),
        colours.paint(Tone::Name, &fitted(&what(value), event)),
        fitted(&who(value), actor),
        fitted(&target(value), object),
        colours.paint(Tone::Quiet, &ip),
    ]
    .join(" ");
    format!("{}{}", line.trim_end(), colours.paint(Tone::Doubtful, mark))
}

/// From here on there is room for everything.
const WIDE_COLUMNS: usize = 120;
/// What an address is cut to where there is none for all of it.
const ADDRESS_COLUMNS_MIN: usize = 24;
/// An IPv6 address, written out.
const ADDRESS_COLUMNS_MAX: usize = 39;
const TIME_COLUMNS: usize = "11-20 10:15:02".len();

/// When it happened, in UTC; the streams have different names for it.
fn time(value: &Value) -> String {
    let names = ["createdAt", "actionTime", "storedAt"];
    let found =
        names.iter().find_map(|name| value.get(name).and_then(Value::as_str).and_then(|text| crate::event::Timestamp::parse(text).ok()));
    found.map_or_else(|| "-".to_owned(), |time| time.to_datetime().format("%m-%d %H:%M:%S").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT: &str = r#"{"id":"1","event":"board_opened","createdAt":"2026-11-20T10:15:02.123Z","createdBy":{"name":"Ada Lovelace"},"object":{"name":"Roadmap"},"context":{"ip":"203.0.113.7"},"_miro_siem":{"org":"acme","stream":"audit","late":false,"backfill":false}}"#;

    fn shown(line: &str, columns: usize, colours: Colours) -> String {
        readable(line.as_bytes(), columns, &mut 0, colours)
    }

    #[test]
    fn an_event_is_one_line_that_fits_the_width() {
        let line = shown(EVENT, 100, Colours::Off);
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words.join(" "), "11-20 10:15:02 acme/audit board_opened Ada Lovelace Roadmap 203.0.113.7");
        let wide = EVENT.replace("Roadmap", &"ロード ".repeat(200)).replace("board_opened", &"x".repeat(300));
        let far = wide.replace("203.0.113.7", "2001:db8:85a3:1234:5678:8a2e:370:7334 and more than an address has");
        for columns in [80, 100, 120, 200] {
            for text in [EVENT, &wide, &far, &far.replace("\"late\":false", "\"late\":true"), "null", "{}", "not json"] {
                let line = shown(text, columns, Colours::Off);
                assert!(width(&line) <= columns, "{} of {columns}: {line}", width(&line));
            }
        }
        assert!(shown(&far, 100, Colours::Off).contains(" acme/audit xxxxxxxxxx"), "names keep their room");
    }

    #[test]
    fn nothing_in_an_event_reaches_the_terminal_but_letters() {
        let hostile = EVENT.replace("Ada Lovelace", "\\u001b[2J\\u009b31m\\u202egnp\\u0007\\n\\u200b").replace("acme", "\\u001b]0;x");
        let line = shown(&hostile, 100, Colours::Off);
        assert!(!line.chars().any(|symbol| symbol.is_control() || matches!(symbol, '\u{202e}' | '\u{200b}')), "{line:?}");
        let coloured = shown(&hostile, 100, Colours::On);
        assert!(!coloured.replace("\u{1b}[36m", "").replace("\u{1b}[2m", "").replace("\u{1b}[0m", "").contains('\u{1b}'), "{coloured:?}");
    }

    #[test]
    fn late_events_and_those_of_a_backfill_are_marked() {
        assert!(shown(&EVENT.replace("\"late\":false", "\"late\":true"), 80, Colours::Off).ends_with(" late"));
        assert!(shown(&EVENT.replace("\"backfill\":false", "\"backfill\":true"), 120, Colours::Off).ends_with(" backfill"));
    }

    #[test]
    fn lines_are_put_together_from_any_pieces() {
        let mut lines = Lines::default();
        let mut found = Vec::new();
        for piece in ["{\"a\"", ":1}\n", "\n\n{}\n{\"b", "\":2}", "\n"] {
            lines.add(piece.as_bytes()).expect("short");
            while let Some(line) = lines.next() {
                found.push(String::from_utf8(line).expect("text"));
            }
        }
        assert_eq!(found, ["{\"a\":1}", "{}", "{\"b\":2}"]);
        assert_eq!(end_of(br#"{"_miro_siem_end":"too slow"}"#).as_deref(), Some("too slow"));
        assert_eq!(end_of(EVENT.as_bytes()), None);
    }
}

//! Reads ids from a file: one a line, from a member of NDJSON, or from a column of CSV.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Seek},
    path::Path,
};

use anyhow::{Context, bail};
use serde_json::Value;

use crate::{
    event::StreamId,
    journal::proof::{Fingerprint, FingerprintMaker},
};

/// No line of an export is longer: an event is at most a few megabytes.
const LINE_BYTES_MAX: usize = 64 << 20;

/// Where an id stands in a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// The line is the id.
    Plain,
    /// Under that JSON pointer (RFC 6901) of the object that the line is.
    Json(String),
    /// In the column of that name; the first line has the names (RFC 4180).
    Csv(String),
}

impl Form {
    /// From a member's name or a JSON pointer.
    pub(super) fn json(field: &str) -> Self {
        Self::Json(if field.starts_with('/') { field.to_owned() } else { format!("/{}", field.replace('~', "~0").replace('/', "~1")) })
    }
}

/// A file of ids that can be read twice.
#[derive(Debug)]
pub(super) struct IdFile {
    file: File,
    form: Form,
    maker: FingerprintMaker,
}

/// The ids of a file, as they are compared.
#[derive(Debug)]
pub(super) struct Held {
    /// Each once, sorted.
    pub(super) ids: Vec<Fingerprint>,
    /// How many stood in the file more than once.
    pub(super) repeats: u64,
    /// Lines without an id where it should be.
    pub(super) unreadable: u64,
}

impl IdFile {
    /// Opens a file. What cannot be read twice, such as stdin (`-`), is kept in a temporary file.
    pub(super) fn open(path: &Path, form: Form, stream: &StreamId) -> anyhow::Result<Self> {
        let maker = FingerprintMaker::new(stream);
        let spooled = |mut from: Box<dyn io::Read>| -> anyhow::Result<File> {
            let mut file = tempfile::tempfile().context("failed to create a temporary file for the ids")?;
            io::copy(&mut from, &mut file).context("failed to keep the ids in a temporary file")?;
            Ok(file)
        };
        let file = if path == Path::new("-") {
            spooled(Box::new(io::stdin()))?
        } else {
            let opened = File::open(path).with_context(|| format!("failed to open {}", path.display()))?;
            let is_file = opened.metadata().with_context(|| format!("failed to look at {}", path.display()))?.is_file();
            if is_file { opened } else { spooled(Box::new(opened))? }
        };
        Ok(Self { file, form, maker })
    }

    /// Reads all ids as fingerprints: 16 bytes each in memory.
    pub(super) fn read(&mut self) -> anyhow::Result<Held> {
        let mut ids = Vec::new();
        let unreadable = self.each(|fingerprint, _| {
            ids.push(fingerprint);
            Ok(())
        })?;
        let all = ids.len();
        ids.sort_unstable();
        ids.dedup();
        ids.shrink_to_fit();
        Ok(Held { repeats: (all - ids.len()) as u64, ids, unreadable })
    }

    /// Visits every id with its fingerprint; returns how many lines have none.
    pub(super) fn each(&mut self, mut visit: impl FnMut(Fingerprint, &[u8]) -> anyhow::Result<()>) -> anyhow::Result<u64> {
        self.file.rewind().context("failed to read the ids again")?;
        let mut lines = Lines { from: BufReader::with_capacity(1 << 20, &self.file), line: Vec::new() };
        let column = match &self.form {
            Form::Csv(name) => Some(column(&mut lines, name)?),
            Form::Plain | Form::Json(_) => None,
        };
        let mut unreadable = 0;
        while lines.next(column.is_some())? {
            let line = lines.line.trim_ascii();
            if line.is_empty() {
                continue;
            }
            let id = match (&self.form, column) {
                (Form::Json(pointer), _) => json_id(line, pointer),
                (Form::Csv(_), Some(at)) => fields(line).nth(at).filter(|id| !id.is_empty()),
                _ => Some(line.to_vec()),
            };
            match id {
                Some(id) => visit(self.maker.id(&id), &id)?,
                None => unreadable += 1,
            }
        }
        Ok(unreadable)
    }
}

/// Lines, or records of CSV, whose quoted fields may hold line breaks.
struct Lines<R> {
    from: R,
    line: Vec<u8>,
}

impl<R: BufRead> Lines<R> {
    fn next(&mut self, is_csv: bool) -> anyhow::Result<bool> {
        self.line.clear();
        loop {
            let read = self.from.read_until(b'\n', &mut self.line).context("failed to read the ids")?;
            if self.line.len() > LINE_BYTES_MAX {
                bail!("a line of the ids is longer than {LINE_BYTES_MAX} bytes; is the form right (--field, --column)?");
            }
            let is_open = is_csv && self.line.iter().filter(|byte| **byte == b'"').count() % 2 == 1;
            if read == 0 || !is_open {
                return Ok(!self.line.is_empty());
            }
        }
    }
}

fn column<R: BufRead>(lines: &mut Lines<R>, name: &str) -> anyhow::Result<usize> {
    lines.next(true)?;
    let header = lines.line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&lines.line).trim_ascii();
    let names: Vec<Vec<u8>> = fields(header).collect();
    names.iter().position(|held| held == name.as_bytes()).with_context(|| {
        let known: Vec<_> = names.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
        format!("the file has no column {name:?}; its first line names {}", known.join(", "))
    })
}

/// The fields of a record of CSV, without their quotes.
fn fields(record: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let mut rest = Some(record);
    std::iter::from_fn(move || {
        let text = rest?;
        let (mut field, mut quoted, mut at) = (Vec::new(), false, 0);
        while let Some(byte) = text.get(at) {
            match (byte, quoted) {
                (b'"', true) if text.get(at + 1) == Some(&b'"') => {
                    field.push(b'"');
                    at += 1;
                }
                (b'"', _) => quoted = !quoted,
                (b',', false) => break,
                (byte, _) => field.push(*byte),
            }
            at += 1;
        }
        rest = text.get(at + 1..).filter(|_| at < text.len());
        Some(field)
    })
}

/// An id in JSON is text, or a number whose digits are the id.
fn json_id(line: &[u8], pointer: &str) -> Option<Vec<u8>> {
    let value: Value = serde_json::from_slice(line).ok()?;
    match value.pointer(pointer)? {
        Value::String(text) if !text.is_empty() => Some(text.as_bytes().to_vec()),
        Value::Number(number) => Some(number.to_string().into_bytes()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::event::{OrgName, StreamKind};

    #[track_caller]
    fn check(form: Form, text: &str, expected: &[&str], repeats: u64, unreadable: u64) {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(text.as_bytes()).expect("writes");
        let stream = StreamId::new(OrgName::new("acme"), StreamKind::Audit);
        let mut ids = IdFile::open(file.path(), form, &stream).expect("opens");
        let mut found = Vec::new();
        ids.each(|_, id| {
            found.push(String::from_utf8_lossy(id).into_owned());
            Ok(())
        })
        .expect("reads");
        assert_eq!(found, expected);
        let held = ids.read().expect("reads again");
        assert_eq!((held.repeats, held.unreadable), (repeats, unreadable));
        assert_eq!(held.ids.len() as u64 + repeats, expected.len() as u64);
    }

    #[test]
    fn ids_are_read_one_a_line() {
        check(Form::Plain, "a\r\n\nb b\n  c", &["a", "b b", "c"], 0, 0);
        check(Form::Plain, "", &[], 0, 0);
    }

    #[test]
    fn ids_are_read_from_members_of_json() {
        check(Form::json("id"), "{\"id\":\"a\"}\n{\"id\":3458764}\n{\"x\":1}\nno\n{\"id\":\"a\"}\n", &["a", "3458764", "a"], 1, 2);
        check(Form::json("/event/id"), "{\"event\":{\"id\":\"\\u0061\"}}\n", &["a"], 0, 0);
        check(Form::json("a/b"), "{\"a/b\":\"x\"}\n", &["x"], 0, 0);
    }

    #[test]
    fn ids_are_read_from_a_column_of_csv() {
        check(Form::Csv("id".into()), "\u{feff}time,id,text\r\n1,a,\"x,\n y\"\r\n2,\"b\"\"\",z\r\n3,,z\r\n4\r\n", &["a", "b\""], 0, 2);
        check(Form::Csv("last".into()), "id,\"last\"\na,b\n", &["b"], 0, 0);
    }

    #[test]
    fn a_column_that_is_not_there_is_named_with_those_that_are() {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(b"time,event_id\n1,a\n").expect("writes");
        let stream = StreamId::new(OrgName::new("acme"), StreamKind::Audit);
        let mut ids = IdFile::open(file.path(), Form::Csv("id".into()), &stream).expect("opens");
        let refused = ids.read().expect_err("no such column").to_string();
        assert_eq!(refused, "the file has no column \"id\"; its first line names time, event_id");
    }
}

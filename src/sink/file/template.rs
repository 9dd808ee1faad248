//! The `path` of a file sink, or the `prefix` of an object's key: text with `{org}`, `{stream}` and strftime's `%` specifiers in it.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use chrono::format::{Item, StrftimeItems};
use thiserror::Error;

use crate::{
    event::{StreamId, Timestamp},
    sink::names::path_component,
};

/// What is wrong with a `path`.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum TemplateError {
    /// A brace that is no placeholder.
    #[error("path holds {{{0}}}; the placeholders are {{org}} and {{stream}}")]
    Placeholder(String),
    /// A `%` specifier that strftime does not have.
    #[error("path holds a % that is no date pattern; write %Y-%m-%d and the like, or %% for a percent sign")]
    Pattern,
    /// It names a directory.
    #[error("path must end in a file name")]
    NoFile,
}

/// A parsed `path`.
#[derive(Clone, Debug)]
pub(in crate::sink) struct Template {
    parts: Vec<Part>,
    granularity: Granularity,
}

#[derive(Clone, Debug)]
enum Part {
    Text(String),
    Org,
    Stream,
    Time(Vec<Item<'static>>),
}

/// For how long a path stays the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Granularity {
    Ever,
    Day,
    Hour,
    Minute,
    Instant,
}

impl Template {
    /// The path of a file.
    pub(super) fn parse(path: &str) -> Result<Self, TemplateError> {
        if path.is_empty() || path.ends_with('/') {
            return Err(TemplateError::NoFile);
        }
        Self::prefix(path)
    }

    /// What a name begins with; it may be empty or end in a directory.
    pub(in crate::sink) fn prefix(path: &str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut rest = path;
        while let Some(open) = rest.find('{') {
            push_dated(&rest[..open], &mut parts)?;
            let inside = &rest[open + 1..];
            let (name, after) = inside.split_once('}').ok_or_else(|| TemplateError::Placeholder(inside.to_owned()))?;
            parts.push(match name {
                "org" => Part::Org,
                "stream" => Part::Stream,
                other => return Err(TemplateError::Placeholder(other.to_owned())),
            });
            rest = after;
        }
        push_dated(rest, &mut parts)?;
        Ok(Self { granularity: granularity(path), parts })
    }

    /// The path for an event of that stream and time.
    pub(in crate::sink) fn path(&self, stream: &StreamId, time: Timestamp) -> PathBuf {
        let mut path = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => path.push_str(text),
                Part::Org => path.push_str(&path_component(stream.org.as_str())),
                Part::Stream => path.push_str(stream.kind.as_str()),
                Part::Time(items) => {
                    // Every item was checked when the path was parsed, and a String takes every write.
                    let _ = write!(path, "{}", time.to_datetime().format_with_items(items.iter()));
                }
            }
        }
        PathBuf::from(path)
    }

    /// Events of one stream with the same value go to the same path: saves making the path for each of them.
    pub(in crate::sink) fn period(&self, time: Timestamp) -> i64 {
        const MICROS_PER_MINUTE: i64 = 60_000_000;
        let micros = time.as_micros();
        match self.granularity {
            Granularity::Ever => 0,
            Granularity::Day => micros.div_euclid(24 * 60 * MICROS_PER_MINUTE),
            Granularity::Hour => micros.div_euclid(60 * MICROS_PER_MINUTE),
            Granularity::Minute => micros.div_euclid(MICROS_PER_MINUTE),
            Granularity::Instant => micros,
        }
    }

    /// The directory that all files share: the path up to the first part that changes.
    pub(super) fn fixed_directory(&self) -> PathBuf {
        let fixed = match self.parts.first() {
            Some(Part::Text(text)) => text.as_str(),
            _ => "",
        };
        let directory = if self.parts.len() == 1 { Path::new(fixed).parent() } else { fixed.rfind('/').map(|at| Path::new(&fixed[..=at])) };
        directory.filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned()
    }
}

/// Text that may have date patterns in it.
fn push_dated(text: &str, parts: &mut Vec<Part>) -> Result<(), TemplateError> {
    if text.is_empty() {
        return Ok(());
    }
    if !text.contains('%') {
        parts.push(Part::Text(text.to_owned()));
        return Ok(());
    }
    // The fixed part before the first pattern stays apart: it tells which directory can be tried before there are events.
    let (fixed, dated) = text.split_at(text.find('%').unwrap_or(0));
    if !fixed.is_empty() {
        parts.push(Part::Text(fixed.to_owned()));
    }
    let items: Vec<Item<'static>> = StrftimeItems::new(dated).map(Item::to_owned).collect();
    if items.iter().any(|item| matches!(item, Item::Error)) {
        return Err(TemplateError::Pattern);
    }
    parts.push(Part::Time(items));
    Ok(())
}

/// The finest of the patterns in the path. A pattern that is not known to be coarse counts as the finest: that costs time, not truth.
fn granularity(path: &str) -> Granularity {
    let mut finest = Granularity::Ever;
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        let specifier = rest[at + 1..].trim_start_matches(['-', '_', '0']).chars().next();
        finest = finest.max(match specifier {
            Some('%') => Granularity::Ever,
            Some(
                'Y' | 'C' | 'y' | 'q' | 'm' | 'b' | 'B' | 'h' | 'd' | 'e' | 'a' | 'A' | 'w' | 'u' | 'U' | 'W' | 'G' | 'g' | 'V' | 'j' | 'D'
                | 'F',
            ) => Granularity::Day,
            Some('H' | 'k' | 'I' | 'l' | 'P' | 'p') => Granularity::Hour,
            Some('M' | 'R') => Granularity::Minute,
            _ => Granularity::Instant,
        });
        let skipped = if specifier == Some('%') { 2 } else { 1 };
        rest = &rest[(at + skipped).min(rest.len())..];
    }
    finest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{OrgName, StreamKind};

    fn time(text: &str) -> Timestamp {
        Timestamp::parse(text).expect("a time")
    }

    #[track_caller]
    fn check(path: &str, org: &str, expected: &str) {
        let stream = StreamId::new(OrgName::new(org), StreamKind::Content);
        let template = Template::parse(path).expect("a path");
        assert_eq!(template.path(&stream, time("2026-01-31T23:59:58.5Z")).to_string_lossy(), expected);
    }

    #[test]
    fn placeholders_and_patterns_are_filled_in() {
        check("/var/log/miro/{stream}-%Y-%m-%d.ndjson", "acme", "/var/log/miro/content-2026-01-31.ndjson");
        check("{org}/{stream}", "acme", "acme/content");
        check("/x/%Y/%H/100%%.ndjson", "acme", "/x/2026/23/100%.ndjson");
        check("/x/{org}.log", "../../etc/passwd", "/x/%2E.%2F..%2Fetc%2Fpasswd.log");
        check("/x/{org}.log", "%Y", "/x/%25Y.log");
    }

    #[test]
    fn a_path_that_cannot_be_filled_in_is_refused() {
        assert_eq!(Template::parse("/x/{host}.log").err(), Some(TemplateError::Placeholder("host".to_owned())));
        assert_eq!(Template::parse("/x/{org").err(), Some(TemplateError::Placeholder("org".to_owned())));
        assert_eq!(Template::parse("/x/%!.log").err(), Some(TemplateError::Pattern));
        assert_eq!(Template::parse("/x/%").err(), Some(TemplateError::Pattern));
        assert_eq!(Template::parse("/x/").err(), Some(TemplateError::NoFile));
        assert_eq!(Template::parse("").err(), Some(TemplateError::NoFile));
    }

    #[test]
    fn one_period_has_one_path() {
        let stream = StreamId::new(OrgName::new("acme"), StreamKind::Audit);
        let times =
            ["2026-01-31T00:00:00Z", "2026-01-31T00:00:01Z", "2026-01-31T00:01:00Z", "2026-01-31T01:00:00Z", "2026-02-01T00:00:00Z"];
        for path in ["/x", "/%Y-%j", "/%F", "/%-d", "/%d-%H", "/%d-%I%p", "/%R", "/%T", "/%s", "/%+", "/%3f", "/%c", "/%%H"] {
            let template = Template::parse(path).expect("a path");
            for (one, other) in times.iter().flat_map(|one| times.iter().map(move |other| (time(one), time(other)))) {
                if template.period(one) == template.period(other) {
                    assert_eq!(template.path(&stream, one), template.path(&stream, other), "{path} {one} {other}");
                }
            }
        }
    }

    #[test]
    fn the_fixed_directory_is_known_before_there_are_events() {
        for (path, directory) in [
            ("/var/log/miro/{stream}-%Y.ndjson", "/var/log/miro/"),
            ("/var/log/%Y/x", "/var/log/"),
            ("/var/log/x", "/var/log"),
            ("x", "."),
            ("{org}/x", "."),
            ("/{org}", "/"),
        ] {
            assert_eq!(Template::parse(path).expect("a path").fixed_directory(), Path::new(directory), "{path}");
        }
    }
}

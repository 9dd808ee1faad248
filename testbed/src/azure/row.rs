//! Turns an element of a body into the row that a table stores, and counts what gets lost on the way.

use std::borrow::Cow;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::value::RawValue;

use super::schema::StreamSchema;
use crate::json::{Members, id_text, text};

/// A longer value is cut (Azure Monitor service limits, Logs Ingestion API).
const VALUE_BYTES_MAX: usize = 64 * 1024;
/// `TimeGenerated` before this age is replaced by the time of receipt.
const AGE_MAX: TimeDelta = TimeDelta::days(2);
/// `TimeGenerated` beyond this is replaced by the time of receipt.
const AHEAD_MAX: TimeDelta = TimeDelta::days(1);

/// One row, and what it lost.
#[derive(Debug, Default)]
pub(super) struct Row<'a> {
    pub(super) id: Option<Cow<'a, str>>,
    pub(super) members_dropped: u64,
    pub(super) values_cut: u64,
    pub(super) time_replaced: bool,
    /// The value of the time column, as far as it can be read.
    pub(super) time: Option<DateTime<Utc>>,
    /// The row as JSON, when it was asked for.
    pub(super) stored: String,
}

/// Whether the row itself is needed, or only the counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Detail {
    Counts,
    Stored,
}

/// None when the element is not an object.
pub(super) fn row<'a>(element: &'a RawValue, schema: &StreamSchema, now: DateTime<Utc>, detail: Detail) -> Option<Row<'a>> {
    let members: Members<'a> = serde_json::from_str(element.get()).ok()?;
    let mut row = Row::default();
    let mut stored = Vec::new();
    let mut time = None;
    for (key, value) in members.0 {
        if key == "id" {
            // Also where the stream does not declare it: the ledger wants to know which event this was.
            row.id = id_text(value);
        }
        if !schema.columns.iter().any(|column| *column == key) {
            row.members_dropped += 1;
            continue;
        }
        if key == schema.time_column {
            time = text(value).and_then(|text| parse_time(&text));
        }
        let cut = cut(value);
        row.values_cut += u64::from(cut.is_some());
        if detail == Detail::Stored {
            let value = cut.unwrap_or_else(|| value.get().to_owned());
            stored.push(format!("{}:{value}", serde_json::Value::from(key.as_ref())));
        }
    }
    let kept = time.filter(|time| *time >= now - AGE_MAX && *time <= now + AHEAD_MAX);
    (row.time, row.time_replaced) = (time, kept.is_none());
    if detail == Detail::Stored {
        let generated = kept.unwrap_or(now).to_rfc3339_opts(SecondsFormat::Millis, true);
        stored.push(format!(r#""TimeGenerated":"{generated}""#));
        row.stored = format!("{{{}}}", stored.join(","));
    }
    Some(row)
}

/// Miro writes the zone of audit events without a colon.
fn parse_time(text: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(text)
        .or_else(|_| DateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f%z"))
        .ok()
        .map(|time| time.with_timezone(&Utc))
}

/// The value as stored when it is too long: its text up to the limit, as a JSON string.
fn cut(value: &RawValue) -> Option<String> {
    // A value can only be too long when its spelling is.
    if value.get().len() <= VALUE_BYTES_MAX {
        return None;
    }
    let text = text(value).unwrap_or(Cow::Borrowed(value.get()));
    let end = text.floor_char_boundary(VALUE_BYTES_MAX);
    (end < text.len()).then(|| serde_json::Value::from(&text[..end]).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(time: &str) -> DateTime<Utc> {
        parse_time(time).expect("a time")
    }

    #[test]
    fn undeclared_members_are_left_out_and_counted() {
        let schema = StreamSchema::new("s", &["id", "createdAt", "object"], "createdAt");
        let raw = r#"{"id":"a#1","extra":1,"createdAt":"2026-01-02T03:04:05.000+0000","object":{"n": 1e400},"_x":{}}"#;
        let raw: &RawValue = serde_json::from_str(raw).expect("JSON");
        let row = row(raw, &schema, at("2026-01-03T00:00:00Z"), Detail::Stored).expect("an object");
        assert_eq!((row.id.as_deref(), row.members_dropped, row.values_cut, row.time_replaced), (Some("a#1"), 2, 0, false));
        let expected = concat!(
            r#"{"id":"a#1","createdAt":"2026-01-02T03:04:05.000+0000","object":{"n": 1e400},"#,
            r#""TimeGenerated":"2026-01-02T03:04:05.000Z"}"#
        );
        assert_eq!(row.stored, expected);
    }

    #[test]
    fn a_time_outside_the_window_is_replaced_by_the_time_of_receipt() {
        let check = |time: &str, replaced: bool| {
            let schema = StreamSchema::new("s", &["t"], "t");
            let raw = RawValue::from_string(format!(r#"{{"t":"{time}"}}"#)).expect("JSON");
            let row = row(&raw, &schema, at("2026-01-03T00:00:00Z"), Detail::Stored).expect("an object");
            assert_eq!(row.time_replaced, replaced, "{time}");
            assert_eq!(row.stored.contains(r#""TimeGenerated":"2026-01-03T00:00:00.000Z""#), replaced, "{time}");
        };
        check("2026-01-01T00:00:00Z", false);
        check("2025-12-31T23:59:59.999+0000", true);
        check("2026-01-04T00:00:00Z", false);
        check("2026-01-04T00:00:01Z", true);
        check("yesterday", true);
    }

    #[test]
    fn a_value_above_64_kb_is_cut_between_characters() {
        let check = |value: String, stored: Option<usize>| {
            let raw = RawValue::from_string(value).expect("JSON");
            let length = cut(&raw).map(|cut| serde_json::from_str::<String>(&cut).expect("a string").len());
            assert_eq!(length, stored);
        };
        check(format!(r#""{}""#, "x".repeat(65_536)), None);
        check(format!(r#""{}""#, "x".repeat(65_537)), Some(65_536));
        check(format!(r#""x{}""#, "é".repeat(32_768)), Some(65_535));
        check(format!(r#""{}""#, r"\u0041".repeat(65_536)), None);
        check(format!(r#"{{"a":"{}"}}"#, "x".repeat(65_536)), Some(65_536));
    }
}

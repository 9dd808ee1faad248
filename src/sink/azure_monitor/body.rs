//! The array of a request, and what is done about fields that Azure would cut in silence.
//!
//! A value of more than 64 KB is shortened here, with the length and the SHA-256 of what it was, so that a reader sees it and an
//! archive can prove it: a string keeps its beginning and ends in a marker; any other value becomes an object with
//! `_miro_siem_truncated`. Everything else is copied byte for byte.

use std::{borrow::Cow, fmt, fmt::Write as _};

use bytes::Bytes;
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use super::super::{Batch, http};
use crate::config::settings::Compression;

/// A longer value is cut ("Azure Monitor service limits", Logs Ingestion API): the UTF-8 bytes of a string, the JSON text of any
/// other value.
pub(super) const FIELD_BYTES_MAX: usize = 64 * 1024;

/// The rows of a batch.
pub(super) struct Rows {
    array: Vec<u8>,
    /// For each record of the batch, why it is not among the rows.
    refused: Vec<Option<String>>,
}

impl Rows {
    /// Of a batch.
    pub(super) fn of(batch: &Batch<'_>) -> Self {
        let mut array = Vec::with_capacity(batch.bytes() + batch.len() + 2);
        array.push(b'[');
        let refused = batch.iter().map(|(_, payload)| push_row(&mut array, payload).err()).collect();
        array.push(b']');
        Self { array, refused }
    }

    /// What is sent, `None` without rows; and the refusals.
    pub(super) fn into_body(self, compression: Compression) -> (Option<Bytes>, Vec<Option<String>>) {
        if self.refused.iter().all(Option::is_some) {
            return (None, self.refused);
        }
        let body = match compression {
            Compression::Gzip => http::gzip(&self.array),
            Compression::None | Compression::Zstd => self.array,
        };
        (Some(Bytes::from(body)), self.refused)
    }
}

fn push_row(array: &mut Vec<u8>, payload: &[u8]) -> Result<(), String> {
    let start = payload.iter().position(|byte| !byte.is_ascii_whitespace()).unwrap_or(payload.len());
    if payload.get(start) != Some(&b'{') {
        return Err("a row has to be a JSON object: Azure takes anything else without a word and does not store it".to_owned());
    }
    let row = shorten(payload)?;
    if array.len() > 1 {
        array.push(b',');
    }
    array.extend_from_slice(&row);
    Ok(())
}

/// The record with its members at most as long as a field may be.
pub(super) fn shorten(payload: &[u8]) -> Result<Cow<'_, [u8]>, String> {
    // A value can only be too long when its spelling is.
    if payload.len() <= FIELD_BYTES_MAX {
        return Ok(Cow::Borrowed(payload));
    }
    let members: Members<'_> = serde_json::from_slice(payload).map_err(|_| "the record is no JSON that can be read".to_owned())?;
    if members.0.iter().all(|(_, value)| !is_too_long(value)) {
        return Ok(Cow::Borrowed(payload));
    }
    let mut row = Vec::with_capacity(payload.len());
    for (key, value) in &members.0 {
        row.push(if row.is_empty() { b'{' } else { b',' });
        row.extend_from_slice(key.get().as_bytes());
        row.push(b':');
        if is_too_long(value) {
            row.extend_from_slice(shortened(value).as_bytes());
        } else {
            row.extend_from_slice(value.get().as_bytes());
        }
    }
    row.push(b'}');
    Ok(Cow::Owned(row))
}

fn is_too_long(value: &RawValue) -> bool {
    value.get().len() > FIELD_BYTES_MAX && text_of(value).map_or(value.get().len(), |text| text.len()) > FIELD_BYTES_MAX
}

/// A string's text; half a surrogate pair has none, and such a string counts by its spelling.
fn text_of(value: &RawValue) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    serde_json::from_str::<Text<'_>>(value.get()).ok().map(|text| text.0)
}

fn shortened(value: &RawValue) -> String {
    match text_of(value) {
        Some(text) => shortened_string(&text),
        None => shortened_value(value.get()),
    }
}

fn shortened_string(text: &str) -> String {
    let marker = format!("… [shortened by miro-siem: {} bytes, sha256 {}]", text.len(), sha256(text));
    let end = text.floor_char_boundary(FIELD_BYTES_MAX - marker.len());
    serde_json::Value::from(format!("{}{marker}", &text[..end])).to_string()
}

fn shortened_value(json: &str) -> String {
    let head = format!(r#"{{"_miro_siem_truncated":true,"sha256":"{}","bytes":{},"prefix":""#, sha256(json), json.len());
    let mut shortened = head;
    for c in json.chars() {
        // JSON text has no control characters but white space, and of those and the rest only these grow.
        let (escape, length) = match c {
            '"' | '\\' => (Some(c), 2),
            '\n' => (Some('n'), 2),
            '\r' => (Some('r'), 2),
            '\t' => (Some('t'), 2),
            _ => (None, c.len_utf8()),
        };
        if shortened.len() + length + 2 > FIELD_BYTES_MAX {
            break;
        }
        if escape.is_some() {
            shortened.push('\\');
        }
        shortened.push(escape.unwrap_or(c));
    }
    shortened.push_str("\"}");
    shortened
}

fn sha256(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().fold(String::with_capacity(64), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// The members of an object in their order, repeats included, keys and values as they were written.
struct Members<'a>(Vec<(&'a RawValue, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry::<&'de RawValue, &'de RawValue>()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn shorten_text(record: &str) -> String {
        let row = shorten(record.as_bytes()).expect("an object").into_owned();
        String::from_utf8(row).expect("UTF-8")
    }

    /// The bytes of a value as the limit counts them.
    fn counted(value: &RawValue) -> usize {
        text_of(value).map_or(value.get().len(), |text| text.len())
    }

    /// Checks one row against the record that it was made of.
    fn check(record: &str) {
        let row = shorten_text(record);
        let (before, after): (Members<'_>, Members<'_>) =
            (serde_json::from_str(record).expect("JSON"), serde_json::from_str(&row).expect("JSON"));
        assert_eq!(before.0.len(), after.0.len());
        for ((key, old), (same_key, new)) in before.0.iter().zip(&after.0) {
            assert_eq!(key.get(), same_key.get());
            if counted(old) <= FIELD_BYTES_MAX {
                assert_eq!(old.get(), new.get(), "what fits is copied");
            } else {
                check_marker(old, new);
            }
        }
    }

    fn check_marker(old: &RawValue, new: &RawValue) {
        assert!(counted(new) <= FIELD_BYTES_MAX, "{}", counted(new));
        assert!(counted(new) > FIELD_BYTES_MAX - 8, "as much as fits is kept: {}", counted(new));
        match text_of(old) {
            Some(text) => {
                let new: String = serde_json::from_str(new.get()).expect("a string");
                let (prefix, marker) = new.split_once("… [shortened by miro-siem: ").expect("a marker");
                assert!(text.starts_with(prefix));
                assert_eq!(marker, format!("{} bytes, sha256 {}]", text.len(), sha256(&text)));
            }
            None => {
                let new: Value = serde_json::from_str(new.get()).expect("an object");
                assert_eq!((&new["_miro_siem_truncated"], &new["bytes"]), (&Value::Bool(true), &old.get().len().into()));
                assert_eq!(new["sha256"], sha256(old.get()));
                assert!(old.get().starts_with(new["prefix"].as_str().expect("text")));
            }
        }
    }

    #[test]
    fn a_field_of_exactly_64_kb_is_copied_and_one_byte_more_is_marked() {
        for (text, marked) in [("x".repeat(FIELD_BYTES_MAX), false), ("x".repeat(FIELD_BYTES_MAX + 1), true)] {
            let record = format!(r#"{{"id":"a","event":"{text}"}}"#);
            check(&record);
            assert_eq!(shorten_text(&record) != record, marked);
        }
        // Six bytes of spelling for each byte of text.
        let spelled = format!(r#"{{"event":"{}"}}"#, r"\u0041".repeat(FIELD_BYTES_MAX));
        assert_eq!(shorten_text(&spelled), spelled);
    }

    #[test]
    fn half_a_surrogate_pair_in_a_long_string_does_not_stop_it() {
        check(&format!(r#"{{"id":"a","event":"\ud800{}"}}"#, "x".repeat(FIELD_BYTES_MAX)));
    }

    #[test]
    fn a_broken_record_is_refused_with_a_reason() {
        assert!(shorten(format!(r#"{{"id":"a","event":"{}"#, "x".repeat(FIELD_BYTES_MAX)).as_bytes()).is_err());
    }

    fn long_string() -> impl Strategy<Value = String> {
        (prop::sample::select(vec!["x", "é", "😀", "\\", "\"", "\n", "\u{1}", "a\u{2028}"]), 60_000..70_000_usize, "[ -~]{0,40}")
            .prop_map(|(unit, bytes, tail)| unit.repeat(bytes / unit.len()) + &tail)
    }

    fn field() -> impl Strategy<Value = String> {
        prop_oneof![
            long_string().prop_map(|text| Value::from(text).to_string()),
            long_string().prop_map(|text| Value::from(vec![Value::from(text), Value::Null]).to_string()),
            (20_000..40_000_usize).prop_map(|count| format!("{{\"list\":\n[{}1.50]\r\n\t}}", "1e2, ".repeat(count))),
            Just("9007199254740993".to_owned()),
            Just("null".to_owned()),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
        #[test]
        fn every_field_is_copied_or_marked_and_none_is_above_the_limit(fields in prop::collection::vec(field(), 1..4)) {
            let members: Vec<String> = fields.iter().enumerate().map(|(n, value)| format!(r#" "k{n}" : {value}"#)).collect();
            check(&format!("{{{}}}", members.join(",")));
        }
    }
}

//! The array of a request, and what is done about fields that Azure would cut in silence.
//!
//! A value of more than 64 KB is shortened here, with the length and the SHA-256 of what it was, so that a reader sees it and an
//! archive can prove it: a string keeps its beginning and ends in a marker; any other value becomes an object with
//! `_miro_siem_truncated`. Everything else is copied byte for byte.

use std::{borrow::Cow, fmt, fmt::Write as _};

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
    pub(super) refused: Vec<Option<String>>,
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

    /// What is sent; `None` without rows.
    pub(super) fn body(&self, compression: Compression) -> Option<Cow<'_, [u8]>> {
        if self.refused.iter().all(Option::is_some) {
            return None;
        }
        Some(match compression {
            Compression::Gzip => Cow::Owned(http::gzip(&self.array, super::GZIP_LEVEL)),
            Compression::None | Compression::Zstd => Cow::Borrowed(&self.array),
        })
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

//! Reads JSON without losing the bytes it was written with.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// The members of an object in their order, repeats included, each value as it was written.
#[derive(Debug, Default)]
pub(crate) struct Members<'a>(pub(crate) Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
        let mut members = Vec::new();
        while let Some((key, value)) = map.next_entry::<Text<'de>, &'de RawValue>()? {
            members.push((key.0, value));
        }
        Ok(Members(members))
    }
}

/// A string that is borrowed where it has no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// The `id` of a JSON object as text, also when it is a number. None without one, or when `object` is something else.
pub(crate) fn id_of(object: &str) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct HasId<'a> {
        #[serde(borrow)]
        id: Option<&'a RawValue>,
    }
    // A derived struct would read its fields from an array as well.
    if !object.trim_start().starts_with('{') {
        return None;
    }
    id_text(serde_json::from_str::<HasId<'_>>(object).ok()?.id?)
}

/// The text of a value that can be an id.
pub(crate) fn id_text(id: &RawValue) -> Option<Cow<'_, str>> {
    match id.get().as_bytes().first() {
        Some(b'"') => text(id),
        Some(b'0'..=b'9' | b'-') => Some(Cow::Borrowed(id.get())),
        _ => None,
    }
}

/// The text of a JSON string, borrowed where it has no escapes; none for any other value.
pub(crate) fn text(raw: &RawValue) -> Option<Cow<'_, str>> {
    let inner = raw.get().strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') { serde_json::from_str(raw.get()).ok().map(Cow::Owned) } else { Some(Cow::Borrowed(inner)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_string_or_a_number() {
        let check = |object: &str, expected: Option<&str>| assert_eq!(id_of(object).as_deref(), expected, "{object}");
        check(r#"{"a":{"id":1},"id":"x#1"}"#, Some("x#1"));
        check(r#"{"id":"caf\u00e9"}"#, Some("café"));
        check(r#"{"id":12345678901234567890}"#, Some("12345678901234567890"));
        check(r#"{"id":null}"#, None);
        check(r#"{"id":{}}"#, None);
        check(r#"{}"#, None);
        check(r#"["id"]"#, None);
        check("text", None);
    }
}

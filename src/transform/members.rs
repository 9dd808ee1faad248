//! An object's members as they stand: in their order, doubled names included, values as spelled.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// A name and its value.
pub(crate) type Member<'a> = (Cow<'a, str>, &'a RawValue);

/// An object's members.
#[derive(Debug, Default)]
pub(crate) struct Members<'a>(pub(crate) Vec<Member<'a>>);

impl<'a> Members<'a> {
    /// The members of an object; none if it is something else.
    pub(crate) fn of(json: &'a [u8]) -> Self {
        serde_json::from_slice(json).unwrap_or_default()
    }

    /// The same, and nothing if it is something else.
    pub(super) fn read(json: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(json).ok()
    }

    /// The first member of that name.
    pub(crate) fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.0.iter().find(|(member, _)| member == name).map(|(_, value)| *value)
    }

    /// The members of the object of that name.
    pub(crate) fn inside(&self, name: &str) -> Members<'a> {
        self.get(name).map(|value| Members::of(value.get().as_bytes())).unwrap_or_default()
    }

    /// The text of that name; a number counts as its spelling, because an id may come as one.
    pub(crate) fn text(&self, name: &str) -> Option<Cow<'a, str>> {
        let json = self.get(name)?.get();
        if json.starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
            return Some(Cow::Borrowed(json));
        }
        serde_json::from_str::<Text<'a>>(json).ok().map(|text| text.0).filter(|text| !text.is_empty())
    }
}

/// `Cow<str>` on its own would always copy.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((Text(name), value)) = map.next_entry::<Text<'de>, &RawValue>()? {
                    members.push((name, value));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

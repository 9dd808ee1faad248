//! What the formats beside `raw` read out of an event: who, what, where and when, wherever Miro says so.
//!
//! Nothing is required and nothing is trusted: a member of another type than expected counts as missing, of doubled members the first
//! counts, and an event that is no object has no members.

use std::{borrow::Cow, collections::HashSet, net::IpAddr};

use super::{members::Members, names};
use crate::event::{Event, StreamKind, Timestamp};

/// Many JSON parsers give up at 128 levels, and a record wraps its members in a few of its own.
const DEPTH_MAX: usize = 64;

/// A person, an app, a board: whatever has an id and a name.
#[derive(Debug, Default)]
pub(super) struct Party<'a> {
    pub(super) id: Option<Cow<'a, str>>,
    pub(super) name: Option<Cow<'a, str>>,
    pub(super) email: Option<Cow<'a, str>>,
    pub(super) kind: Option<Cow<'a, str>>,
}

/// An event as far as it could be read.
#[derive(Debug)]
pub(super) struct Reading<'a> {
    pub(super) stream: StreamKind,
    /// Miro's id, or ours where there is none.
    pub(super) id: &'a str,
    /// What the event is called: `event`, `widget.delete`, or the kind of an AI interaction.
    pub(super) code: Option<Cow<'a, str>>,
    /// The name that the mapping knows: `event` or `actionType`.
    pub(super) key: Option<Cow<'a, str>>,
    pub(super) category: Option<Cow<'a, str>>,
    /// When it happened; when it was collected, where that could not be read.
    pub(super) time: Timestamp,
    /// The time as Miro spells it.
    pub(super) original_time: Option<Cow<'a, str>>,
    /// When Miro stored an AI interaction.
    pub(super) stored: Option<Timestamp>,
    pub(super) session: Option<Cow<'a, str>>,
    pub(super) feature: Option<Cow<'a, str>>,
    pub(super) actor: Party<'a>,
    /// What was acted on.
    pub(super) object: Party<'a>,
    /// The user that `details` name.
    pub(super) grantee: Party<'a>,
    pub(super) board: Option<Cow<'a, str>>,
    pub(super) org: Party<'a>,
    pub(super) team: Party<'a>,
    pub(super) ip: Option<IpAddr>,
    pub(super) auth_type: Option<Cow<'a, str>>,
    pub(super) mfa: Option<Cow<'a, str>>,
    pub(super) members: Members<'a>,
}

impl<'a> Party<'a> {
    fn of(members: &Members<'a>) -> Self {
        Self { id: members.text("id"), name: members.text("name"), email: members.text("email"), kind: members.text("type") }
    }

    /// Whether it says whom or what it is about.
    pub(super) fn is_known(&self) -> bool {
        self.id.is_some() || self.name.is_some() || self.email.is_some()
    }

    /// The best text to show: the e-mail address, else the name, else the id.
    pub(super) fn shown(&self) -> Option<&str> {
        self.email.as_deref().or(self.name.as_deref()).or(self.id.as_deref())
    }
}

impl<'a> Reading<'a> {
    /// Reads an event of a stream of that kind.
    pub(super) fn of(stream: StreamKind, event: &'a Event) -> Self {
        let members = Members::of(&event.raw);
        let (context, details) = (members.inside("context"), members.inside("details"));
        let is_content = stream == StreamKind::Content;
        let is_like_audit = matches!(stream, StreamKind::Audit | StreamKind::Forwarder);
        let original_time = members.text(if is_content { "actionTime" } else { "createdAt" });
        // The time that AI interactions are listed by is the one of their storing.
        let own_time = original_time.as_deref().filter(|_| stream == StreamKind::Ai).and_then(|text| Timestamp::parse(text).ok());
        let object = if is_content {
            Party { id: members.text("itemId"), kind: members.text("itemType"), ..Party::default() }
        } else {
            Party::of(&members.inside("object"))
        };
        let names = names::of_members(stream, &members);
        Self {
            stream,
            id: event.id.as_str(),
            code: names.first().cloned().filter(|code| !code.is_empty()),
            key: if is_content { names.last().cloned() } else { names.first().cloned() },
            category: members.text("category"),
            time: own_time.or(event.time).unwrap_or(event.collected_at),
            original_time,
            stored: members.text("storedAt").and_then(|text| Timestamp::parse(&text).ok()),
            session: members.text("sessionId").or_else(|| members.inside("session").text("id")),
            feature: members.text("surface").or_else(|| members.text("aiFeatureName")),
            actor: Party::of(&members.inside(if is_like_audit { "createdBy" } else { "actor" })),
            object,
            grantee: Party { id: details.text("userId"), email: details.text("email"), ..Party::default() },
            board: members.text("contentId"),
            org: Party::of(&context.inside("organization")),
            team: Party::of(&context.inside("team")),
            ip: context.text("ip").and_then(|ip| ip.parse().ok()),
            auth_type: details.text("authType"),
            mfa: details.text("mfaFactorType"),
            members,
        }
    }

    /// The members that a format has no place of its own for: all but those named, each name once. What is nested too deep for common
    /// parsers is left out: the original has it as text.
    pub(super) fn leftovers<'s>(&'s self, placed: &'s [&str]) -> impl Iterator<Item = (&'s str, &'a [u8])> {
        let mut seen = HashSet::new();
        self.members.0.iter().filter_map(move |(name, value)| {
            let is_left = seen.insert(name.as_ref()) && !placed.contains(&name.as_ref()) && depth(value.get()) <= DEPTH_MAX;
            is_left.then(|| (name.as_ref(), value.get().as_bytes()))
        })
    }

    /// `details` as they are spelled.
    pub(super) fn details(&self) -> Option<&'a str> {
        self.members.get("details").map(|details| details.get()).filter(|details| !matches!(*details, "null" | "{}"))
    }

    /// `miro.audit` and so on.
    pub(super) fn dataset(&self) -> String {
        format!("miro.{}", self.stream)
    }
}

/// How deep arrays and objects are nested in well-formed JSON.
fn depth(json: &str) -> usize {
    let (mut depth, mut deepest, mut in_text, mut escaped) = (0_usize, 0, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_text,
            b'"' => in_text = !in_text,
            b'[' | b'{' if !in_text => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_counts_brackets_outside_of_texts() {
        for (json, expected) in [("1", 0), ("[]", 1), (r#"{"a[[\"[":[{}]}"#, 3), (r#""[\\""#, 0), (r#"[[],[[]]]"#, 3)] {
            assert_eq!(depth(json), expected, "{json}");
        }
    }
}

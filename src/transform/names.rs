//! What an event is called.
//!
//! | stream | names |
//! |---|---|
//! | audit | `event`, such as `board_opened` |
//! | content | the item's type and `actionType`, such as `widget.delete`; and `actionType` alone |
//! | ai | `eventType` (or `logType`), and `surface` (or `aiFeatureName`) |
//! | licenses | none |
//! | forwarder | `event`, such as `miro_siem.gap_opened` |
//!
//! Names are text as Miro sends it, of no closed set.

use std::borrow::Cow;

use super::members::Members;
use crate::event::StreamKind;

/// An event's names, the most telling one first; none where they cannot be read.
pub(crate) fn of(kind: StreamKind, raw: &[u8]) -> Vec<Cow<'_, str>> {
    of_members(kind, &Members::of(raw))
}

/// The same, of an event that has been taken apart.
pub(super) fn of_members<'a>(kind: StreamKind, members: &Members<'a>) -> Vec<Cow<'a, str>> {
    let named = |names: &[&str]| names.iter().filter_map(|name| text(members, name)).collect();
    match kind {
        StreamKind::Audit | StreamKind::Forwarder => named(&["event"]),
        StreamKind::Content => {
            let action = text(members, "actionType");
            let both = action.as_ref().zip(text(members, "itemType")).map(|(action, item)| Cow::Owned(format!("{item}.{action}")));
            both.into_iter().chain(action).collect()
        }
        StreamKind::Ai => named(&["eventType", "logType", "surface", "aiFeatureName"]),
        StreamKind::Licenses => Vec::new(),
    }
}

/// A member's text; none if it is something else, or stands twice: nobody can say which of two names counts.
fn text<'a>(members: &Members<'a>, name: &str) -> Option<Cow<'a, str>> {
    let mut named = members.0.iter().filter(|(member, _)| member == name).map(|(_, value)| value.get());
    match (named.next(), named.next()) {
        (Some(json), None) => {
            serde_json::from_str::<&str>(json).map(Cow::Borrowed).or_else(|_| serde_json::from_str::<String>(json).map(Cow::Owned)).ok()
        }
        _ => None,
    }
}

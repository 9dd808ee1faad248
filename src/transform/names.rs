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

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::event::StreamKind;

/// An event's names, the most telling one first; none where they cannot be read.
pub(crate) fn of(kind: StreamKind, raw: &[u8]) -> Vec<Cow<'_, str>> {
    serde_json::from_slice::<Head<'_>>(raw).map(|head| head.names(kind)).unwrap_or_default()
}

/// The members that hold a name, whatever type they have.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head<'a> {
    #[serde(borrow)]
    event: Option<&'a RawValue>,
    #[serde(borrow)]
    action_type: Option<&'a RawValue>,
    #[serde(borrow)]
    item_type: Option<&'a RawValue>,
    #[serde(borrow)]
    event_type: Option<&'a RawValue>,
    #[serde(borrow)]
    log_type: Option<&'a RawValue>,
    #[serde(borrow)]
    surface: Option<&'a RawValue>,
    #[serde(borrow)]
    ai_feature_name: Option<&'a RawValue>,
}

impl<'a> Head<'a> {
    fn names(&self, kind: StreamKind) -> Vec<Cow<'a, str>> {
        match kind {
            StreamKind::Audit | StreamKind::Forwarder => text(self.event).into_iter().collect(),
            StreamKind::Content => {
                let action = text(self.action_type);
                let both = action.as_ref().zip(text(self.item_type)).map(|(action, item)| Cow::Owned(format!("{item}.{action}")));
                both.into_iter().chain(action).collect()
            }
            StreamKind::Ai => [self.event_type, self.log_type, self.surface, self.ai_feature_name].into_iter().filter_map(text).collect(),
            StreamKind::Licenses => Vec::new(),
        }
    }
}

/// A member's text, if it is one. `Cow<str>` on its own would always copy.
fn text(member: Option<&RawValue>) -> Option<Cow<'_, str>> {
    let json = member?.get();
    serde_json::from_str::<&str>(json).map(Cow::Borrowed).or_else(|_| serde_json::from_str::<String>(json).map(Cow::Owned)).ok()
}

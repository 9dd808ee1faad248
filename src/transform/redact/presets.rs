//! What the presets know of Miro's events, stream by stream. docs/privacy.md lists the same; a test compares them.
//!
//! `content_text` and `ai_prompts` turn things round: they replace everything in their part of an event but what is listed here. Miro
//! documents neither `state` of content logs nor all of AI logs, and what is new there is more likely to be somebody's text than not.

use crate::{
    config::{pointer::Pointer, settings::RedactPreset},
    event::StreamKind,
};

/// The part of an event that a preset takes.
pub(super) struct Closed {
    /// Empty for the whole event.
    pub(super) part: &'static str,
    /// What it leaves, each a single value.
    pub(super) kept: &'static [&'static str],
}

/// What `content_text` leaves of `state`.
const STATE_KEPT: &[&str] = &["/state/type", "/state/parentItemId", "/state/resourceId"];

/// What `ai_prompts` leaves, of both generations of the schema.
const AI_KEPT: &[&str] = &[
    "/id",
    "/type",
    "/createdAt",
    "/storedAt",
    "/aiFeatureName",
    "/surface",
    "/logType",
    "/eventType",
    "/sessionId",
    "/session/id",
    "/session/parentSessionId",
    "/messageId",
    "/turnId",
    "/object/id",
    "/object/type",
    "/object/name",
    "/actor/id",
    "/actor/type",
    "/actor/name",
    "/actor/email",
    "/model/name",
    "/model/provider",
    "/model/platform",
    "/tool/name",
    "/tool/type",
    "/details/status",
    "/details/modelCallId",
    "/details/toolCallId",
    "/details/content/*/type",
    "/details/content/*/role",
];

const AUDIT_PERSONAL: &[&str] = &[
    "/createdBy/name",
    "/createdBy/email",
    "/object/name",
    "/object/email",
    "/context/ip",
    "/details/**/name",
    "/details/**/email",
    "/details/**/emails",
    "/details/**/firstName",
    "/details/**/lastName",
    "/details/**/fullName",
    "/details/**/displayName",
    "/details/**/userName",
    "/details/**/ip",
    "/details/**/ipAddress",
    "/details/**/userAgent",
    "/details/**/deviceId",
    "/details/**/oldValue",
    "/details/**/newValue",
];
/// A text there that is no JSON may name anybody.
const AUDIT_TEXT: &str = "/details";

const CONTENT_PERSONAL: &[&str] = &["/actor/name", "/actor/email"];
const AI_PERSONAL: &[&str] = &["/actor/name", "/actor/email", "/object/name"];
/// Snapshots are about people, wherever in them those stand.
const LICENSES_PERSONAL: &[&str] = &["/**/name", "/**/email"];

/// The part that a preset takes of a stream's events, if it takes one.
pub(super) fn closed(preset: RedactPreset, kind: StreamKind) -> Option<Closed> {
    match (preset, kind) {
        (RedactPreset::ContentText, StreamKind::Content) => Some(Closed { part: "/state", kept: STATE_KEPT }),
        (RedactPreset::AiPrompts, StreamKind::Ai) => Some(Closed { part: "", kept: AI_KEPT }),
        _ => None,
    }
}

/// What a preset replaces, value by value.
pub(super) fn replaced(preset: RedactPreset, kind: StreamKind) -> &'static [&'static str] {
    match (preset, kind) {
        (RedactPreset::PersonalData, StreamKind::Audit) => AUDIT_PERSONAL,
        (RedactPreset::PersonalData, StreamKind::Content) => CONTENT_PERSONAL,
        (RedactPreset::PersonalData, StreamKind::Ai) => AI_PERSONAL,
        (RedactPreset::PersonalData, StreamKind::Licenses) => LICENSES_PERSONAL,
        (RedactPreset::ContentText | RedactPreset::AiPrompts, _) | (RedactPreset::PersonalData, StreamKind::Forwarder) => &[],
    }
}

/// Where a preset replaces a text that holds no JSON.
pub(super) fn text_masked(preset: RedactPreset, kind: StreamKind) -> Option<&'static str> {
    (preset == RedactPreset::PersonalData && kind == StreamKind::Audit).then_some(AUDIT_TEXT)
}

/// One of the pointers above, which a test has read.
pub(super) fn pointer(text: &'static str) -> Option<Pointer> {
    Pointer::parse(text).ok()
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    fn list(pointers: &[&str]) -> String {
        pointers.iter().map(|pointer| format!("`{pointer}`")).collect::<Vec<_>>().join(", ")
    }

    /// The table of docs/privacy.md, as the code has it.
    fn table() -> String {
        let mut table = String::new();
        for preset in RedactPreset::ALL {
            for kind in StreamKind::ALL {
                let mut takes = Vec::new();
                if let Some(closed) = closed(preset, kind) {
                    let part = if closed.part.is_empty() { "the whole event".to_owned() } else { format!("`{}`", closed.part) };
                    takes.push(format!("{part}, but for numbers, `true`, `false` and {}", list(closed.kept)));
                }
                let replaced = replaced(preset, kind);
                if !replaced.is_empty() {
                    takes.push(list(replaced));
                }
                if let Some(place) = text_masked(preset, kind) {
                    takes.push(format!("`{place}` as a whole where it is a text that is no JSON"));
                }
                if !takes.is_empty() {
                    let _ = writeln!(table, "| `{}` | `{kind}` | {} |", preset.as_str(), takes.join("; "));
                }
            }
        }
        table
    }

    #[test]
    fn the_privacy_page_lists_what_the_presets_take() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/privacy.md");
        let written = std::fs::read_to_string(path).expect("docs/privacy.md can be read");
        let is_row = |line: &&str| RedactPreset::ALL.iter().any(|preset| line.starts_with(&format!("| `{}` |", preset.as_str())));
        let rows: String = written.lines().filter(is_row).map(|line| format!("{line}\n")).collect();
        assert_eq!(rows, table(), "docs/privacy.md is stale; its rows should be those on the right");
    }
}

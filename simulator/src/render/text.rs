//! Words for boards: HTML fragments as widgets hold them.

use super::json;
use crate::mix::Mix;

const PHRASES: &[&str] = &[
    "Ship the beta to five design partners",
    "Who owns the on-call rota?",
    "Latency p99 &lt; 250&nbsp;ms",
    "Blocked by legal",
    "Umsatz &amp; Marge prüfen",
    "検索の改善",
    "Ждём ответа",
    "اقتراح جديد",
    "Move to Q4 🎯",
    "Duplicate of card 118",
    "Customers ask for <strong>SSO</strong>",
    "<a href=\"https://example.com/?a=1&amp;b=2\">the paper</a>",
    "cafe\u{301} Zürich",
    "Remember: don't paste secrets here",
    "Risk &gt; 3 → escalate",
    "line one<br />line two",
    "Σ = 42",
    "שלום עולם",
];

/// A JSON string with one or a few paragraphs of HTML.
pub(super) fn put_html(out: &mut Vec<u8>, mix: &mut Mix) {
    out.extend_from_slice(b"\"<p>");
    for at in 0..1 + mix.below(3) {
        if at > 0 {
            out.extend_from_slice(b"</p><p>");
        }
        json::put_escaped(out, mix.word(PHRASES));
    }
    out.extend_from_slice(b"</p>\"");
}

/// A JSON string of at least that many bytes.
pub(super) fn put_long(out: &mut Vec<u8>, least_bytes: usize, mix: &mut Mix) {
    let start = out.len();
    out.extend_from_slice(b"\"<p>");
    while out.len() - start < least_bytes {
        json::put_escaped(out, mix.word(PHRASES));
        out.extend_from_slice(b"</p><p>");
    }
    out.extend_from_slice(b"</p>\"");
}

/// A plain phrase, as a JSON string.
pub(super) fn put_phrase(out: &mut Vec<u8>, mix: &mut Mix) {
    json::put_str(out, mix.word(PHRASES));
}

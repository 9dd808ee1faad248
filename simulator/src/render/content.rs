//! One content-log entry. Miro documents its envelope; the shape of `state` is known only from what viewers read, and is made up beyond that.

use super::{Broken, Renderer, json, put_time_member, put_uuid_member, text};
use crate::config::Stream;
use crate::mix::Mix;
use crate::timeline::Key;

/// One entry in so many has a state of about 100 KB.
const HUGE_ONE_IN: u64 = 2_000;
const HUGE_BYTES: usize = 100_000;
const ITEM_ID_BASE: u64 = 3_458_764_549_483_493_025;

/// A widget with everything in it that careless readers change: escapes, number spellings, integers past 2^64, invisible characters.
const ODD_STATE: &str = "{\"type\":\"shape\",\"text\":\"<p>caf\\u00e9 \\ud83d\\ude80 \\/ a\\u0000b\\u2028<\\/p>\",\"name\":\"\u{202e}שלום \u{200f}مرحبا\u{202c} Z\u{351}\u{36b}\",\"rotation\":-0.0,\"opacity\":1.0,\"z\":1e3,\"resourceId\":123456789012345678901234567890,\"createdIn\":9007199254740993,\"createdIn\":9007199254740993}";

impl Renderer {
    pub(super) fn put_content(&self, sequence: u64, key: Key, broken: Option<Broken>, out: &mut Vec<u8>) {
        let mut mix = self.mix(Stream::Content, sequence);
        out.push(b'{');
        put_uuid_member(out, &mut mix, broken);
        let about = self.draw_about(Stream::Content, &mut mix);
        let board = &self.org.boards[about.board.unwrap_or_default()];
        out.extend_from_slice(b"\"contentId\":\"");
        out.extend_from_slice(board.named.id.as_bytes());
        let (action, item) = (action_type(&mut mix), item_type(&mut mix));
        out.extend_from_slice(format!("\",\"actionType\":\"{action}\",").as_bytes());
        put_time_member(out, "actionTime", key.at_us, broken);
        out.extend_from_slice(b"\"actor\":");
        out.extend_from_slice(&self.org.people[about.person].actor);
        let id = ITEM_ID_BASE + mix.below(1_000_000_000);
        out.extend_from_slice(format!(",\"itemType\":\"{item}\",\"itemId\":\"{id}\",\"state\":").as_bytes());
        put_state(out, item, action, &mut mix);
        out.extend_from_slice(b",\"relationships\":");
        put_relationships(out, id, &mut mix);
        match mix.below(20) {
            0 => out.extend_from_slice(b",\"ai\":{\"assisted\":true}"),
            1..6 => out.extend_from_slice(b",\"ai\":{\"assisted\":false}"),
            6 => out.extend_from_slice(b",\"revision\":9007199254740993"),
            _ => {}
        }
        out.push(b'}');
    }
}

/// The last one is in no documentation: the list is open.
fn action_type(mix: &mut Mix) -> &'static str {
    match mix.below(100) {
        0..20 => "create",
        20..79 => "update",
        79..99 => "delete",
        _ => "restore",
    }
}

/// The fourth is not in the specification's list but is read by log viewers; the last is in no documentation.
fn item_type(mix: &mut Mix) -> &'static str {
    match mix.below(100) {
        0..72 => "widget",
        72..82 => "comment_thread",
        82..96 => "comment_message",
        96..99 => "data_table",
        _ => "doc_page",
    }
}

fn put_relationships(out: &mut Vec<u8>, id: u64, mix: &mut Mix) {
    match mix.below(10) {
        0..4 => out.extend_from_slice(b"[]"),
        4..6 => out.extend_from_slice(b"null"),
        _ => {
            let parent = id - mix.below(90_000);
            out.extend_from_slice(format!("[{{\"type\":\"parent\",\"itemType\":\"widget\",\"itemId\":\"{parent}\"}}]").as_bytes());
        }
    }
}

fn put_state(out: &mut Vec<u8>, item: &str, action: &str, mix: &mut Mix) {
    if action == "delete" && mix.chance(0.5) {
        out.extend_from_slice(if mix.chance(0.5) { b"null" } else { b"{}" });
        return;
    }
    match item {
        "data_table" => put_table(out, mix),
        "comment_thread" => {
            out.extend_from_slice(b"{\"resolved\":");
            out.extend_from_slice(if mix.chance(0.3) { b"true" } else { b"false" });
            out.extend_from_slice(b",\"hidden\":false,\"resourceId\":0}");
        }
        "comment_message" => {
            out.extend_from_slice(b"{\"text\":");
            text::put_html(out, mix);
            out.extend_from_slice(b",\"hidden\":false,\"resourceId\":3458764549483493025}");
        }
        _ if mix.below(HUGE_ONE_IN) == 0 => {
            out.extend_from_slice(b"{\"type\":\"document\",\"text\":");
            text::put_long(out, HUGE_BYTES, mix);
            out.push(b'}');
        }
        _ if mix.chance(0.02) => out.extend_from_slice(ODD_STATE.as_bytes()),
        _ if mix.chance(0.06) => put_ai_widget(out, mix),
        _ => put_widget(out, mix),
    }
}

fn put_widget(out: &mut Vec<u8>, mix: &mut Mix) {
    let kind = mix.word(&["sticker", "text", "shape", "card", "frame", "image", "embed", "mindmap_node"]);
    out.extend_from_slice(format!("{{\"type\":\"{kind}\",\"text\":").as_bytes());
    text::put_html(out, mix);
    out.extend_from_slice(b",\"title\":");
    text::put_phrase(out, mix);
    out.extend_from_slice(
        format!(",\"altText\":null,\"hidden\":{},\"parentItemId\":\"{}\",\"scale\":1.0", mix.chance(0.05), ITEM_ID_BASE + mix.below(9_999))
            .as_bytes(),
    );
    out.extend_from_slice(b",\"style\":{\"fillColor\":\"#fff9b1\",\"textAlign\":\"center\",\"fontSize\":14.0},\"tags\":[");
    for at in 0..mix.below(4) {
        if at > 0 {
            out.push(b',');
        }
        text::put_phrase(out, mix);
    }
    out.extend_from_slice(b"]}");
}

fn put_ai_widget(out: &mut Vec<u8>, mix: &mut Mix) {
    out.extend_from_slice(b"{\"type\":\"ai_widget\",\"name\":");
    text::put_phrase(out, mix);
    out.extend_from_slice(b",\"aiPrompt\":");
    text::put_phrase(out, mix);
    out.extend_from_slice(b",\"systemInstructions\":\"Answer briefly.\\nUse bullet points.\",\"output\":");
    text::put_long(out, 600 + mix.index(2_000), mix);
    out.push(b'}');
}

fn put_table(out: &mut Vec<u8>, mix: &mut Mix) {
    let fields = 2 + mix.index(4);
    out.extend_from_slice(b"{\"title\":");
    text::put_phrase(out, mix);
    out.extend_from_slice(b",\"snapshot\":{\"fields\":[");
    for at in 0..fields {
        out.extend_from_slice(if at > 0 { b"," } else { b"" });
        out.extend_from_slice(format!("{{\"id\":\"f{at}\",\"name\":\"Field {at}\",\"type\":\"text\"}}").as_bytes());
    }
    out.extend_from_slice(b"],\"records\":[");
    for record in 0..1 + mix.below(8) {
        out.extend_from_slice(if record > 0 { b"," } else { b"" });
        out.extend_from_slice(b"{\"id\":");
        json::put_u64(out, record);
        for at in 0..fields {
            out.extend_from_slice(format!(",\"f{at}\":").as_bytes());
            text::put_phrase(out, mix);
        }
        out.push(b'}');
    }
    out.extend_from_slice(b"]}}");
}

//! One AI interaction log entry, in either of the two generations of its schema. The filter's time is `storedAt`.

use super::{About, Broken, Renderer, json, put_time_member, put_uuid_member, text};
use crate::config::Stream;
use crate::mix::Mix;
use crate::timeline::Key;

const FEATURES: [&str; 4] = ["ai_generate_sticky_notes", "miro_ai_sidekicks_chat", "ai_summarize", "ai_create_diagram"];

impl Renderer {
    pub(super) fn put_ai(&self, sequence: u64, key: Key, broken: Option<Broken>, out: &mut Vec<u8>) {
        let mut mix = self.mix(Stream::Ai, sequence);
        out.push(b'{');
        put_uuid_member(out, &mut mix, broken);
        let about = self.draw_about(Stream::Ai, &mut mix);
        let created_us = key.at_us - mix.below(30) as i64 * 1_000_000;
        put_time_member(out, "createdAt", created_us, None);
        put_time_member(out, "storedAt", key.at_us, broken);
        if mix.chance(self.ai_new_schema_fraction) {
            self.put_new(about, &mut mix, out);
        } else {
            self.put_old(about, &mut mix, out);
        }
        out.push(b'}');
    }

    /// The schema of the published specification.
    fn put_old(&self, about: About, mix: &mut Mix, out: &mut Vec<u8>) {
        put_id(out, "sessionId", mix);
        put_id(out, "messageId", mix);
        let (id, kind) = self.ai_object(about);
        out.extend_from_slice(format!("\"object\":{{\"id\":\"{id}\",\"type\":\"{kind}\"}},").as_bytes());
        let feature = mix.word(&FEATURES);
        out.extend_from_slice(format!("\"aiFeatureName\":\"{feature}\",\"actor\":").as_bytes());
        out.extend_from_slice(&self.org.people[about.person].actor);
        let kind = mix.word(&["request", "request", "response", "chat"]);
        out.extend_from_slice(format!(",\"logType\":\"{kind}\",\"details\":{{\"text\":").as_bytes());
        if mix.below(50) == 0 {
            // Unstructured text may hold anything.
            out.extend_from_slice(br#""a\u0000b \ud83d\ude80 \/ \u2028","tokens":9007199254740993,"temperature":1e0}"#);
            return;
        }
        // A string that holds JSON, as in the specification's example.
        let mut inner = b"{\"text\":".to_vec();
        text::put_phrase(&mut inner, mix);
        inner.extend_from_slice(format!(",\"board_context\":{{\"selection\":{{\"selected_nodes\":[],\"comments\":[]}}}},\"config\":{{\"ai_feature\":\"{feature}\"}},\"screens\":null}}").as_bytes());
        json::put_str(out, &String::from_utf8_lossy(&inner));
        out.push(b'}');
    }

    /// The schema that a newer log viewer reads.
    fn put_new(&self, about: About, mix: &mut Mix, out: &mut Vec<u8>) {
        out.extend_from_slice(format!("\"surface\":\"{}\",", mix.word(&FEATURES)).as_bytes());
        let event = mix.word(&["input", "output", "model_invocation_request", "model_invocation_response", "tool_invocation"]);
        out.extend_from_slice(format!("\"eventType\":\"{event}\",\"session\":{{").as_bytes());
        put_id(out, "id", mix);
        out.extend_from_slice(b"\"parentSessionId\":null},");
        put_id(out, "turnId", mix);
        let (id, _) = self.ai_object(about);
        out.extend_from_slice(format!("\"object\":{{\"id\":\"{id}\",\"name\":").as_bytes());
        json::put_str(out, about.board.map_or(&self.org.named.name, |board| &self.org.boards[board].named.name));
        out.extend_from_slice(b"},\"actor\":");
        out.extend_from_slice(&self.org.people[about.person].actor);
        let byoai = mix.chance(0.1);
        out.extend_from_slice(
            format!(",\"model\":{{\"name\":\"model-large-2\",\"provider\":\"example\",\"platform\":\"cloud\",\"byoai\":{byoai}}}")
                .as_bytes(),
        );
        if event == "tool_invocation" {
            out.extend_from_slice(br#","tool":{"name":"board_search","type":"internal"}"#);
        }
        out.extend_from_slice(b",\"details\":{\"status\":\"success\",");
        put_id(out, "modelCallId", mix);
        out.extend_from_slice(b"\"content\":[");
        // Model events repeat the whole conversation each time.
        for at in 0..1 + mix.below(6) {
            out.extend_from_slice(if at > 0 { b"," } else { b"" });
            let role = if at % 2 == 0 { "user" } else { "assistant" };
            out.extend_from_slice(format!("{{\"type\":\"text\",\"role\":\"{role}\",\"text\":").as_bytes());
            text::put_phrase(out, mix);
            out.push(b'}');
        }
        out.extend_from_slice(b"]}");
    }

    fn ai_object(&self, about: About) -> (&str, &'static str) {
        match about.board {
            Some(board) => (&self.org.boards[board].named.id, "board"),
            None => (&self.org.named.id, "organization"),
        }
    }
}

/// `"<name>":"<uuid>",`
fn put_id(out: &mut Vec<u8>, name: &str, mix: &mut Mix) {
    out.extend_from_slice(format!("\"{name}\":\"").as_bytes());
    json::put_uuid(out, mix);
    out.extend_from_slice(b"\",");
}

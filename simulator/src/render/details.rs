//! The member `details` of an audit event: the documented keys where there are any, and a plausible rest.

use super::audit::Facts;
use super::catalogue::Shape;
use super::{Renderer, json};
use crate::mix::Mix;
use crate::org::AGENTS;
use crate::timeline::story::{By, From};

const ROLES: [&str; 4] = ["OWNER", "EDITOR", "COMMENTER", "VIEWER"];

/// Appends a JSON object.
pub(super) fn put(renderer: &Renderer, facts: &Facts, mut mix: Mix, out: &mut Vec<u8>) {
    out.push(b'{');
    match facts.kind.shape {
        Shape::Auth => put_auth(facts, &mut mix, out),
        Shape::Role => {
            put_member(out, "role", mix.word(&ROLES));
            put_member(out, "effectiveRole", mix.word(&ROLES));
        }
        Shape::File => {
            put_member(out, "type", mix.word(&["PDF", "IMAGE", "CSV", "VECTOR", "BACKUP"]));
            put_member(out, "object", mix.word(&["BOARD", "FRAME", "FILE", "TABLE"]));
        }
        Shape::Change => {
            put_member(out, "oldValue", renderer.subject_name(facts.subject));
            put_member(out, "newValue", mix.word(&["Renamed", "Draft", "In review", "Final (v2)", "Neu"]));
        }
        Shape::Grantee => put_grantee(renderer, &mut mix, out),
        Shape::Ai => {
            put_member(out, "feature", mix.word(&["ai_generate_sticky_notes", "miro_ai_sidekicks_chat", "ai_summarize", "ai_cluster"]));
            put_member(out, "model", mix.word(&["default", "byo"]));
        }
        Shape::Scopes => out.extend_from_slice(br#""scopes":["boards:read","boards:write","identity:read"],"#),
        Shape::Plain => {}
    }
    put_client(renderer, facts, &mut mix, out);
    out.push(b'}');
}

fn put_member(out: &mut Vec<u8>, name: &str, value: &str) {
    out.push(b'"');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
    json::put_str(out, value);
    out.push(b',');
}

fn put_auth(facts: &Facts, mix: &mut Mix, out: &mut Vec<u8>) {
    if matches!(facts.from, From::Odd(_)) {
        put_member(out, "authType", "PASSWORD");
        put_member(out, "mfaFactorType", "NONE");
        return;
    }
    put_member(out, "authType", mix.word(&["SSO", "SSO", "SSO", "PASSWORD", "GOOGLE", "MICROSOFT"]));
    put_member(out, "mfaFactorType", mix.word(&["NONE", "NONE", "TOTP"]));
}

fn put_grantee(renderer: &Renderer, mix: &mut Mix, out: &mut Vec<u8>) {
    let person = mix.pick(&renderer.org.people);
    out.extend_from_slice(b"\"userId\":\"");
    json::put_u64(out, person.id);
    out.extend_from_slice(b"\",");
    put_member(out, "email", &person.email);
    put_member(out, "role", mix.word(&ROLES));
}

/// The client that the action came from, and what support would ask for.
fn put_client(renderer: &Renderer, facts: &Facts, mix: &mut Mix, out: &mut Vec<u8>) {
    let agent = match facts.by {
        By::Person(at) => AGENTS[renderer.org.people[at].agent],
        _ => "Miro-API/2.0 (integration)",
    };
    out.extend_from_slice(b"\"client\":{\"userAgent\":\"");
    out.extend_from_slice(agent.as_bytes());
    out.extend_from_slice(b"\",\"sessionAgeSeconds\":");
    json::put_u64(out, mix.below(30_000));
    out.extend_from_slice(b",\"appVersion\":\"2026.46.3\",\"platform\":\"web\",\"deviceId\":\"");
    json::put_uuid(out, mix);
    out.extend_from_slice(b"\"},\"requestId\":\"");
    json::put_uuid(out, mix);
    out.push(b'"');
}

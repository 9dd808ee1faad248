//! Odd but legal audit events: everything that the field's table of facts allows and a careless reader breaks on.

use super::audit::Facts;
use super::catalogue::UNKNOWN;
use super::{Broken, Renderer, details, json, put_audit_id};
use crate::mix::Mix;
use crate::timeline::Slot;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Oddity {
    None,
    NullTeam,
    NoTeam,
    NullActor,
    NoActor,
    PartialActor,
    NullContext,
    NoContext,
    NoIp,
    NullObject,
    NoObject,
    NoCategory,
    NoType,
    DetailsText,
    NullDetails,
    NoDetails,
    EmptyDetails,
    BigIntegers,
    NumberSpellings,
    UnknownMembers,
    UnknownEvent,
    LookalikeMembers,
    Reordered,
    Spaced,
    Escapes,
    Unicode,
    ZuluTime,
    DeepNesting,
}

pub(crate) const ALL: &[Oddity] = &[
    Oddity::NullTeam,
    Oddity::NoTeam,
    Oddity::NullActor,
    Oddity::NoActor,
    Oddity::PartialActor,
    Oddity::NullContext,
    Oddity::NoContext,
    Oddity::NoIp,
    Oddity::NullObject,
    Oddity::NoObject,
    Oddity::NoCategory,
    Oddity::NoType,
    Oddity::DetailsText,
    Oddity::NullDetails,
    Oddity::NoDetails,
    Oddity::EmptyDetails,
    Oddity::BigIntegers,
    Oddity::NumberSpellings,
    Oddity::UnknownMembers,
    Oddity::UnknownEvent,
    Oddity::LookalikeMembers,
    Oddity::Reordered,
    Oddity::Spaced,
    Oddity::Escapes,
    Oddity::Unicode,
    Oddity::ZuluTime,
    Oddity::DeepNesting,
];

/// Integers that a double, or a signed 64-bit integer, cannot hold.
const BIG: &[u8] = br#"{"exact":9007199254740993,"id":3458764517517852417,"negative":-9223372036854775809,"huge":123456789012345678901234567890,"small":0.1000000000000000055511151231257827,"role":"OWNER"}"#;
const SPELLINGS: &[u8] =
    br#"{"one":1.0,"thousand":1e3,"thousandToo":1E+3,"zero":-0,"zeroToo":-0.0,"tiny":1.50e-7,"trailing":2.500,"role":"EDITOR"}"#;
const ESCAPES: &[u8] = br#"{"name":"caf\u00e9 \u00C9tude","path":"https:\/\/miro.com\/app\/board\/","emoji":"\ud83d\ude80","nul":"a\u0000b","separators":"\u2028\u2029","control":"\b\f\u001b[31m","quote":"\u0022\\\"","tag":"\u003cscript\u003e"}"#;
const UNICODE: &str = "{\"rtl\":\"\u{202e}مرحبا \u{200f}שלום\u{202c}\",\"combining\":\"Z\u{351}\u{36b}\u{343}a\u{308}\u{301}lgo\",\"emoji\":\"👩🏽‍💻🏴‍☠️🇪🇺\",\"separator\":\"line\u{2028}break\u{2029}\",\"width\":\"ﷺ\u{feff}\u{200b}\",\"astral\":\"𝕄𝕚𝕣𝕠 𠮷\",\"private\":\"\u{e000}\u{10ffff}\"}";
const LOOKALIKE: &[u8] =
    br#"{"id":"not-the-event-id","createdAt":"1999-12-31T23:59:59Z","event":"not_the_event","a":1,"a":2,"":"empty key"}"#;

type Members = Vec<(&'static str, Option<Vec<u8>>)>;

/// Appends the event with that oddity; the slot and `broken` may change its time and id too.
pub(super) fn put(renderer: &Renderer, facts: &Facts, oddity: Oddity, slot: Slot, broken: Option<Broken>, mix: Mix, out: &mut Vec<u8>) {
    let mut members: Members = vec![
        ("id", id(facts, broken)),
        ("type", Some(b"\"event\"".to_vec())),
        ("event", Some(quoted(facts.kind.name))),
        ("category", Some(quoted(facts.kind.category))),
        ("createdAt", time(facts, oddity, slot, broken)),
        ("createdBy", Some(written(|out| renderer.put_actor(facts, out)))),
        ("object", Some(renderer.object(facts.subject).to_vec())),
        ("context", Some(written(|out| renderer.put_context(facts, out)))),
        ("details", Some(written(|out| details::put(renderer, facts, mix, out)))),
    ];
    alter(renderer, facts, oddity, mix, &mut members);
    let spaced = oddity == Oddity::Spaced;
    out.extend_from_slice(if spaced { b"{ \n\t" } else { b"{" });
    let mut first = true;
    for (name, value) in members.iter().filter_map(|(name, value)| value.as_ref().map(|value| (name, value))) {
        if !first {
            out.extend_from_slice(if spaced { b" ,\r\n  " } else { b"," });
        }
        first = false;
        out.extend_from_slice(&quoted(name));
        out.extend_from_slice(if spaced { b" : " } else { b":" });
        out.extend_from_slice(value);
    }
    out.extend_from_slice(if spaced { b"  }" } else { b"}" });
}

fn alter(renderer: &Renderer, facts: &Facts, oddity: Oddity, mut mix: Mix, members: &mut Members) {
    let org = String::from_utf8_lossy(&renderer.org.named.object);
    let null = || Some(b"null".to_vec());
    match oddity {
        Oddity::None | Oddity::ZuluTime | Oddity::Spaced => {}
        Oddity::NullTeam => set(members, "context", Some(format!(r#"{{"ip":"192.0.2.1","team":null,"organization":{org}}}"#).into())),
        Oddity::NoTeam => set(members, "context", Some(format!(r#"{{"ip":"192.0.2.1","organization":{org}}}"#).into())),
        Oddity::NoIp => set(members, "context", Some(format!(r#"{{"organization":{org},"account":{org}}}"#).into())),
        Oddity::NullContext => set(members, "context", null()),
        Oddity::NoContext => set(members, "context", None),
        Oddity::NullActor => set(members, "createdBy", null()),
        Oddity::NoActor => set(members, "createdBy", None),
        Oddity::PartialActor => set(members, "createdBy", Some(br#"{"type":"user","id":"3458764517517000003","email":null}"#.to_vec())),
        Oddity::NullObject => set(members, "object", null()),
        Oddity::NoObject => set(members, "object", None),
        Oddity::NoCategory => set(members, "category", None),
        Oddity::NoType => set(members, "type", None),
        Oddity::DetailsText => {
            let inner = written(|out| details::put(renderer, facts, mix, out));
            set(members, "details", Some(quoted(&String::from_utf8_lossy(&inner))));
        }
        Oddity::NullDetails => set(members, "details", null()),
        Oddity::NoDetails => set(members, "details", None),
        Oddity::EmptyDetails => set(members, "details", Some(b"{}".to_vec())),
        Oddity::BigIntegers => set(members, "details", Some(BIG.to_vec())),
        Oddity::NumberSpellings => set(members, "details", Some(SPELLINGS.to_vec())),
        Oddity::Escapes => set(members, "details", Some(ESCAPES.to_vec())),
        Oddity::Unicode => set(members, "details", Some(UNICODE.into())),
        Oddity::DeepNesting => set(members, "details", Some([b"[".repeat(60), b"]".repeat(60)].concat())),
        Oddity::LookalikeMembers => {
            set(members, "details", Some(LOOKALIKE.to_vec()));
            members.insert(0, ("Id", Some(b"\"capital\"".to_vec())));
            members.insert(0, ("event ", Some(b"\"with a space\"".to_vec())));
            members.push(("created_at", Some(b"1693560610840".to_vec())));
        }
        Oddity::UnknownMembers => {
            members.push(("riskScore", Some(b"0.30000000000000004".to_vec())));
            members.push(("legacyAccount", Some(format!(r#"{{"account":{org},"flags":[true,false,null,[],{{}}]}}"#).into())));
            members.push(("_miro", Some(b"\"\"".to_vec())));
        }
        Oddity::UnknownEvent => set(members, "event", Some(quoted(mix.word(UNKNOWN)))),
        Oddity::Reordered => members.reverse(),
    }
}

fn set(members: &mut Members, name: &str, value: Option<Vec<u8>>) {
    for member in members.iter_mut().filter(|member| member.0 == name) {
        member.1.clone_from(&value);
    }
}

fn id(facts: &Facts, broken: Option<Broken>) -> Option<Vec<u8>> {
    match broken {
        Some(Broken::NoId) => None,
        Some(Broken::NullId) => Some(b"null".to_vec()),
        _ => Some(written(|out| {
            out.push(b'"');
            put_audit_id(out, facts.key);
            out.push(b'"');
        })),
    }
}

fn time(facts: &Facts, oddity: Oddity, slot: Slot, broken: Option<Broken>) -> Option<Vec<u8>> {
    match broken {
        Some(Broken::NoTime) => return None,
        Some(Broken::WordAsTime) => return Some(b"\"yesterday\"".to_vec()),
        _ => {}
    }
    Some(written(|out| {
        out.push(b'"');
        match (slot.whole_second(), oddity) {
            (true, _) => json::put_seconds_z(out, facts.key.at_us),
            (false, Oddity::ZuluTime) => json::put_millis_z(out, facts.key.at_us),
            (false, _) => json::put_millis_offset(out, facts.key.at_us),
        }
        out.push(b'"');
    }))
}

fn quoted(text: &str) -> Vec<u8> {
    written(|out| json::put_str(out, text))
}

fn written(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out);
    out
}

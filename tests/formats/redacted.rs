//! What is taken out of an event is in no record of it, in whatever format, however the event is put together.
//!
//! Events are made as trees whose every text is a word that occurs nowhere else. Which words have to be gone is said by a model that looks at
//! the tree alone; which are there is read from the records, by undoing every escape until there is none.

use std::collections::BTreeSet;

use miro_siem::{
    config::{
        Secret,
        pointer::{Pointer, Segment},
        settings::{AiPrompts, RedactPreset, RedactRules, RedactSettings},
    },
    transform::{Redaction, Transform, TransformSettings, Transformed},
};
use proptest::prelude::*;

use super::*;

const ALL_FORMATS: [Format; 5] = [Format::Raw, Format::Ocsf, Format::Ecs, Format::Cef, Format::Leef];

/// A value before it is spelled.
#[derive(Clone, Debug)]
enum Tree {
    Word,
    Number,
    Null,
    List(Vec<Tree>),
    Object(Vec<(&'static str, Tree)>),
    /// A text that holds the value as JSON.
    Text(Box<Tree>),
}

const NAMES: [&str; 24] = [
    "id",
    "event",
    "createdBy",
    "createdAt",
    "object",
    "context",
    "details",
    "actor",
    "name",
    "email",
    "ip",
    "team",
    "actionType",
    "itemType",
    "state",
    "text",
    "content",
    "type",
    "role",
    "storedAt",
    "surface",
    "arguments",
    "a/b",
    "",
];

fn trees() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![6 => Just(Tree::Word), 1 => Just(Tree::Number), 1 => Just(Tree::Null)];
    let inner = leaf.prop_recursive(5, 40, 6, |inner| {
        let member = (prop::sample::select(NAMES.to_vec()), inner.clone());
        let object = prop::collection::vec(member, 0..6).prop_map(Tree::Object);
        prop_oneof![
            4 => object.clone(),
            1 => prop::collection::vec(inner, 0..4).prop_map(Tree::List),
            1 => object.prop_map(|tree| Tree::Text(Box::new(tree))),
        ]
    });
    prop::collection::vec((prop::sample::select(NAMES.to_vec()), inner), 1..10).prop_map(Tree::Object)
}

/// Spells a tree, with escapes and white space by chance, and notes each word with the way to it.
struct Speller {
    random: u64,
    words: Vec<(String, Vec<String>)>,
}

impl Speller {
    fn chance(&mut self, one_in: u64) -> bool {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33).is_multiple_of(one_in)
    }

    fn spell(&mut self, tree: &Tree, path: &mut Vec<String>, out: &mut String) {
        match tree {
            Tree::Word => {
                let word = format!("word{}x", self.words.len());
                self.words.push((word.clone(), path.clone()));
                self.text(&word, out);
            }
            Tree::Number => out.push_str("12345678901234567890.10"),
            Tree::Null => out.push_str("null"),
            Tree::List(items) => {
                self.all('[', ']', items.iter().enumerate().map(|(index, item)| (index.to_string(), item)), false, path, out);
            }
            Tree::Object(members) => {
                self.all('{', '}', members.iter().map(|(name, value)| ((*name).to_owned(), value)), true, path, out);
            }
            Tree::Text(tree) => {
                let mut inner = String::new();
                self.spell(tree, path, &mut inner);
                self.text(&inner, out);
            }
        }
    }

    fn all<'t>(
        &mut self,
        open: char,
        close: char,
        items: impl Iterator<Item = (String, &'t Tree)>,
        named: bool,
        path: &mut Vec<String>,
        out: &mut String,
    ) {
        out.push(open);
        for (index, (name, item)) in items.enumerate() {
            if index > 0 {
                out.push_str(if self.chance(4) { " ,\n" } else { "," });
            }
            if named {
                self.text(&name, out);
                out.push_str(if self.chance(4) { " : " } else { ":" });
            }
            path.push(name);
            self.spell(item, path, out);
            path.pop();
        }
        out.push(close);
    }

    fn text(&mut self, text: &str, out: &mut String) {
        let escapes = self.chance(3);
        out.push('"');
        for char in text.chars() {
            match char {
                '"' | '\\' => out.extend(['\\', char]),
                '\n' => out.push_str("\\n"),
                char if escapes && self.chance(4) => out.push_str(&format!("\\u{:04x}", char as u32)),
                char => out.push(char),
            }
        }
        out.push('"');
    }
}

fn spelled(tree: &Tree, random: u64) -> (String, Vec<(String, Vec<String>)>) {
    let (mut speller, mut out) = (Speller { random, words: Vec::new() }, String::new());
    speller.spell(tree, &mut Vec::new(), &mut out);
    (out, speller.words)
}

/// Whether the pointer leads to the value at that path or to one around it.
fn leads_to(segments: &[Segment], path: &[String]) -> bool {
    match (segments.split_first(), path.split_first()) {
        (None, _) => true,
        (Some((Segment::Deep, rest)), _) => leads_to(rest, path) || path.split_first().is_some_and(|(_, below)| leads_to(segments, below)),
        (Some(_), None) => false,
        (Some((Segment::Any, rest)), Some((_, below))) => leads_to(rest, below),
        (Some((Segment::Name(name), rest)), Some((step, below))) => name == step && leads_to(rest, below),
    }
}

fn leads_exactly(segments: &[Segment], path: &[String]) -> bool {
    match (segments.split_first(), path.split_first()) {
        (None, None) => true,
        (Some((Segment::Any, rest)), Some((_, below))) => leads_exactly(rest, below),
        (Some((Segment::Name(name), rest)), Some((step, below))) => name == step && leads_exactly(rest, below),
        _ => false,
    }
}

fn pointers(texts: &[&str]) -> Vec<Pointer> {
    texts.iter().map(|text| Pointer::parse(text).expect("a pointer")).collect()
}

/// A record as it stands and with its escapes undone, again and again: a text may be inside of JSON inside of a text.
fn readable(record: &str) -> String {
    let (mut all, mut text) = (record.to_owned(), record.to_owned());
    while text.contains('\\') {
        text = without_escapes(&text);
        all.push('\n');
        all.push_str(&text);
    }
    all
}

fn without_escapes(text: &str) -> String {
    let (mut plain, mut rest) = (String::new(), text);
    while let Some(at) = rest.find('\\') {
        plain.push_str(&rest[..at]);
        let escaped = rest[at + 1..].chars().next();
        let code = rest.get(at + 2..at + 6).filter(|_| escaped == Some('u')).and_then(|digits| u32::from_str_radix(digits, 16).ok());
        plain.extend(code.map_or(escaped, |code| Some(char::from_u32(code).unwrap_or('?'))));
        rest = &rest[at + 1 + code.map_or(escaped.map_or(0, char::len_utf8), |_| 5)..];
    }
    plain + rest
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

/// All that leaves of an event: the record in full, every smaller form, and the bytes that the sink itself is handed.
fn leaving(redaction: &Redaction, format: Format, kind: StreamKind, event: &Event) -> Vec<String> {
    let settings = TransformSettings { redaction: redaction.clone(), ..TransformSettings::whole(format, Provenance::On) };
    let mut out = Vec::new();
    let Transformed::Written(written) = Transform::new(&settings, &stream(kind)).apply(event, &mut out) else {
        panic!("nothing is filtered here")
    };
    let sent = Event { raw: written.redacted.unwrap_or_else(|| event.raw.clone()), ..event.clone() };
    let smaller =
        [400, 1_000, 4_000].into_iter().filter_map(|size| Formatter::new(format, Provenance::On, &stream(kind)).write_smaller(&sent, size));
    smaller.chain([out, sent.raw.to_vec()]).map(|bytes| String::from_utf8(bytes).expect("text")).collect()
}

fn event(raw: &str) -> Event {
    Event {
        position: Position(1),
        id: EventId::new("stable"),
        time: Some(Timestamp::from_millis(0)),
        collected_at: Timestamp::from_millis(0),
        origin: Origin::Live,
        raw: raw.to_owned().into(),
    }
}

/// Checks that the words that have to be gone are nowhere, and, in the bytes themselves, that all others are still there.
fn check(redaction: &Redaction, kind: StreamKind, raw: &str, words: &[(String, Vec<String>)], is_gone: impl Fn(&[String]) -> bool) {
    let event = event(raw);
    for format in ALL_FORMATS {
        let records = leaving(redaction, format, kind, &event);
        for record in &records {
            let readable = readable(record);
            for (word, path) in words.iter().filter(|(_, path)| is_gone(path)) {
                assert!(!readable.contains(&hex(word)), "{format:?}: {word} of {raw} is in {record} as digits");
                assert!(!readable.contains(word.as_str()), "{format:?}: {word} at {path:?} of {raw} is in {record}");
            }
        }
        let sent = readable(records.last().expect("the bytes"));
        for (word, path) in words.iter().filter(|(_, path)| !is_gone(path)) {
            assert!(sent.contains(word.as_str()), "{format:?}: {word} at {path:?} of {raw} is not in {sent}");
        }
    }
}

fn kinds() -> impl Strategy<Value = StreamKind> {
    prop::sample::select(StreamKind::OF_MIRO.to_vec())
}

fn is_id(path: &[String]) -> bool {
    path.len() == 1 && path[0] == "id"
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn no_text_at_a_pointer_leaves_in_any_format(tree in trees(), kind in kinds(), random in any::<u64>(), way in 0_usize..3) {
        let named = pointers(&["/createdBy/email", "/object/name", "/details/**/text", "/context", "/actor/*", "/**/role", "/state/*/a~1b", "/team/0"]);
        let mut rules = RedactRules { ai_prompts: AiPrompts::Pass, ..RedactRules::default() };
        match way {
            0 => rules.drop = named.clone(),
            1 => rules.mask = named.clone(),
            _ => (rules.hash, rules.key) = (named.clone(), Some(Secret::literal("a key of sixteen bytes"))),
        }
        let redaction = Redaction::of(&RedactSettings::Rules(rules)).expect("a usable key");
        let (raw, words) = spelled(&tree, random);
        check(&redaction, kind, &raw, &words, |path| named.iter().any(|pointer| leads_to(pointer.segments(), path)) && !is_id(path));
    }

    #[test]
    fn no_prompt_leaves_a_sink_that_says_nothing_of_redaction(tree in trees(), random in any::<u64>()) {
        let kept = pointers(&[
            "/id", "/type", "/createdAt", "/storedAt", "/surface", "/object/id", "/object/type", "/object/name", "/actor/id", "/actor/type",
            "/actor/name", "/actor/email", "/details/content/*/type", "/details/content/*/role",
        ]);
        let (raw, words) = spelled(&tree, random);
        check(&Redaction::default(), StreamKind::Ai, &raw, &words, |path| !kept.iter().any(|pointer| leads_exactly(pointer.segments(), path)));
    }

    #[test]
    fn no_text_of_a_board_leaves_with_content_text(tree in trees(), random in any::<u64>()) {
        let rules = RedactRules { presets: vec![RedactPreset::ContentText], ..RedactRules::default() };
        let redaction = Redaction::of(&RedactSettings::Rules(rules)).expect("no key");
        let (raw, words) = spelled(&tree, random);
        let kept = pointers(&["/state/type"]);
        check(&redaction, StreamKind::Content, &raw, &words, |path| {
            path[0] == "state" && !kept.iter().any(|pointer| leads_exactly(pointer.segments(), path))
        });
    }

    #[test]
    fn without_rules_every_format_is_what_it_was(tree in trees(), kind in kinds(), random in any::<u64>()) {
        let (raw, _) = spelled(&tree, random);
        let event = event(&raw);
        for format in ALL_FORMATS {
            let records = leaving(&Redaction::none(), format, kind, &event);
            prop_assert_eq!(records.last().map(String::as_str), Some(raw.as_str()));
            let mut plain = Vec::new();
            Formatter::new(format, Provenance::On, &stream(kind)).write(&event, &mut plain);
            prop_assert_eq!(records[records.len() - 2].as_bytes(), plain);
        }
    }

    #[test]
    fn any_bytes_leave_a_redacting_sink_as_an_object(raw in prop::collection::vec(any::<u8>(), 0..200)) {
        let event = Event { raw: raw.into(), ..event("") };
        for format in [Format::Raw, Format::Ocsf, Format::Ecs] {
            for record in leaving(&Redaction::default(), format, StreamKind::Ai, &event) {
                prop_assert!(serde_json::from_str::<Value>(&record).is_ok_and(|value| value.is_object()), "{}", record);
            }
        }
    }
}

/// The simulator's own events, with every preset: no e-mail address that any member holds.
#[test]
fn no_address_of_the_simulators_people_leaves_with_all_presets() {
    let rules = RedactRules { presets: RedactPreset::ALL.to_vec(), ..RedactRules::default() };
    let redaction = Redaction::of(&RedactSettings::Rules(rules)).expect("no key");
    let mut addresses = BTreeSet::new();
    for (kind, event) in samples::all().into_iter().filter(|(_, event)| event.time.is_some()) {
        let sent = readable(&String::from_utf8_lossy(&event.raw));
        let found: Vec<&str> = sent.split('"').filter(|text| text.ends_with("@example.com") && !text.contains(['\\', ' '])).collect();
        for record in ALL_FORMATS.iter().flat_map(|format| leaving(&redaction, *format, kind, &event)) {
            assert!(!readable(&record).contains("@example.com"), "{kind}: {record}");
        }
        addresses.extend(found.into_iter().map(str::to_owned));
    }
    assert!(addresses.len() > 50, "{addresses:?}");
}

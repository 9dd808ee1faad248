//! `redact` of a sink.

use serde_json::{Value as Json, json};

use crate::config::{
    Secret,
    key::{Defaulted, Key, Keys, Optional},
    node::{Kind, Node},
    pointer::{Pointer, Segment},
    problem::Faulty,
    schema,
    settings::{AiPrompts, RedactPreset, RedactRules, RedactSettings},
    table::{At, Table},
    value::{FromText, Unfit, Value},
};

impl FromText for RedactPreset {
    const MEANT: &'static str = "\"content_text\", \"ai_prompts\" or \"personal_data\"";
    const WORDS: &'static [&'static str] = &["content_text", "ai_prompts", "personal_data"];

    fn from_text(text: &str) -> Result<Self, Unfit> {
        Self::ALL.into_iter().find(|preset| preset.as_str() == text).ok_or(Unfit::Plainly)
    }
}

impl FromText for AiPrompts {
    const MEANT: &'static str = "\"mask\" or \"pass\"";
    const WORDS: &'static [&'static str] = &["mask", "pass"];

    fn from_text(text: &str) -> Result<Self, Unfit> {
        match text {
            "mask" => Ok(Self::Mask),
            "pass" => Ok(Self::Pass),
            _ => Err(Unfit::Plainly),
        }
    }
}

const PRESETS: Key<Vec<RedactPreset>, Defaulted> = Key::defaulted(
    "presets",
    "",
    "Known places: `content_text` is what people wrote on boards, `ai_prompts` what they asked Miro's AI and were answered, `personal_data` \
     names, e-mail addresses, IP addresses and the like. docs/privacy.md lists them.",
);
const AI_PROMPTS: Key<AiPrompts, Defaulted> = Key::defaulted(
    "ai_prompts",
    "mask",
    "Prompts and answers of AI logs are masked on every sink, whatever else is here, unless this says pass or `redact` is \"none\".",
);
const DROP: Key<Vec<Pointer>, Defaulted> =
    Key::defaulted("drop", "", "What is left out of every event: JSON pointers, with `*` for any member or element, `**` for any depth.");
const MASK: Key<Vec<Pointer>, Defaulted> = Key::defaulted("mask", "", "What is replaced by \"[redacted]\".");
const HASH: Key<Vec<Pointer>, Defaulted> =
    Key::defaulted("hash", "", "What is replaced by a pseudonym: the same text gives the same one in every sink with the same key.");
const KEEP: Key<Vec<Pointer>, Defaulted> = Key::defaulted("keep", "", "What the presets leave as it is.");
const REDACT_KEY: Key<Secret, Optional> = Key::optional(
    "key",
    "{ file = \"/etc/miro-siem/redact.key\" }",
    "nothing can be hashed, and personal_data masks",
    "The key of the pseudonyms, of at least 16 bytes. With it, personal_data hashes.",
);

const KEYS: Keys = &[&PRESETS, &AI_PROMPTS, &DROP, &MASK, &HASH, &KEEP, &REDACT_KEY];

/// `redact`
pub(super) const REDACT: Key<RedactSettings, Optional> = Key::optional(
    "redact",
    "{ presets = [\"personal_data\"], drop = [\"/details/client\"] }",
    "prompts and answers of AI logs are masked, everything else leaves as it is",
    "What is taken out of every event before it leaves, in whatever format; \"none\" lets everything pass.",
);

impl Value for RedactSettings {
    const MEANT: &'static str = "a table of what is taken out, or \"none\"";
    const SHORT: &'static str = "a table, or \"none\"";

    fn read(at: &At<'_>, node: &Node) -> Result<Self, Faulty> {
        match &node.kind {
            Kind::Text(text) if text.trim() == "none" => Ok(Self::None),
            Kind::Table(_) | Kind::Nothing => rules(at, node).map(Self::Rules),
            _ => Err(at.problem(node, format!("needs {}; found {}", Self::MEANT, node.describe()))),
        }
    }

    fn sub_keys() -> Keys {
        KEYS
    }

    fn form() -> Json {
        json!({ "oneOf": [{ "enum": ["none"] }, schema::table(KEYS)] })
    }
}

fn rules(at: &At<'_>, node: &Node) -> Result<RedactRules, Faulty> {
    let table = Table::of_keys(at.clone(), node, KEYS)?;
    let (presets, ai_prompts, key) = (table.take(&PRESETS), table.take(&AI_PROMPTS), table.take(&REDACT_KEY));
    let (drop, mask, hash, keep) = (table.take(&DROP), table.take(&MASK), table.take(&HASH), table.take(&KEEP));
    let rules = RedactRules { presets: presets?, ai_prompts: ai_prompts?, drop: drop?, mask: mask?, hash: hash?, keep: keep?, key: key? };
    let named = [(DROP.name, &rules.drop), (MASK.name, &rules.mask), (HASH.name, &rules.hash)];
    let mut checked = named.into_iter().try_for_each(|(name, pointers)| refuse_id(&table, name, pointers));
    if !rules.hash.is_empty() && rules.key.is_none() {
        let why = "needs `key`: without one, whoever knows a name or an address can find out its pseudonym";
        checked = Err(table.problem(HASH.name, why));
    }
    if rules.ai_prompts == AiPrompts::Pass && rules.presets.contains(&RedactPreset::AiPrompts) {
        checked = Err(table.problem(AI_PROMPTS.name, "says pass, and `presets` has ai_prompts; one of the two is meant"));
    }
    checked.map(|()| rules)
}

/// The id is what receivers drop repeats by; it travels beside the event too.
fn refuse_id(table: &Table<'_>, name: &str, pointers: &[Pointer]) -> Result<(), Faulty> {
    let is_id = |pointer: &&Pointer| matches!(pointer.segments(), [Segment::Name(name)] if name == "id");
    match pointers.iter().find(is_id) {
        Some(_) => Err(table.problem(name, "holds \"/id\"; an event keeps its id, because receivers drop repeats by it")),
        None => Ok(()),
    }
}

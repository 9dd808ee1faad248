//! What is taken out of an event before a sink gets to see it.
//!
//! Redaction works on Miro's own bytes, before any format: what is taken out is in no record of whatever format, no smaller form of it
//! and no header made from it. It reads JSON as every receiver does: a name is the same name however it is escaped, of a member that
//! stands twice both are meant, and a text that holds JSON (`details` may be one) is looked into.
//!
//! # What it promises
//!
//! What a rule names does not leave. What no rule names leaves byte for byte: numbers, the order of members, white space, escapes; also
//! in a text that holds JSON. An event that no rule changes is not copied.
//!
//! Where it cannot see, it takes out: a text that begins as JSON does and is broken, what is nested deeper than 100 levels, or texts in
//! each other more than four times, are replaced as a whole where a rule may reach into them. A record that is no JSON object is
//! replaced by a stub with its id, `{"id":"…","undecodable":true,"redacted":"the record is no JSON object"}`, on every sink that has a
//! rule for the stream; its bytes are in the journal, and in the dead letter should it become one.
//!
//! # What it does not do
//!
//! It does not touch what travels beside the event: the stable id (Miro's, or a digest of the bytes of a record without one), the time,
//! the organisation's name; nor events of our own, which are about collection and nobody's. Names of members are not rewritten, only left out together with their values. It finds nothing by itself in
//! the text that people write: a preset takes such text as a whole.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::value::RawValue;
use thiserror::Error;

use super::raw::push_json_string;
use crate::{
    config::{
        pointer::Pointer,
        settings::{AiPrompts, RedactPreset, RedactRules, RedactSettings},
    },
    event::{Event, StreamKind},
};

use pseudonym::Pseudonyms;
use rules::{Effect, Rules};
use walk::{Walk, Walker};

pub use pseudonym::KeyError;

mod json;
mod presets;
mod pseudonym;
mod rules;
mod walk;

/// What a sink takes out, with its key: for any of its streams.
#[derive(Clone, Debug, Default)]
pub struct Redaction {
    settings: RedactSettings,
    pseudonyms: Option<Pseudonyms>,
}

/// Why a sink cannot take out what it should.
#[derive(Debug, Error)]
pub enum RedactionError {
    /// There is no usable key.
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl Redaction {
    /// As configured; reads the key.
    pub fn of(settings: &RedactSettings) -> Result<Self, RedactionError> {
        let key = match settings {
            RedactSettings::Rules(RedactRules { key: Some(key), .. }) => Some(key),
            RedactSettings::Rules(_) | RedactSettings::None => None,
        };
        Ok(Self { settings: settings.clone(), pseudonyms: key.map(Pseudonyms::with).transpose()? })
    }

    /// Nothing is taken out, not even prompts.
    pub fn none() -> Self {
        Self { settings: RedactSettings::None, pseudonyms: None }
    }

    /// For one stream.
    pub fn for_stream(&self, kind: StreamKind) -> Redactor {
        let rules = match &self.settings {
            RedactSettings::Rules(settings) if kind != StreamKind::Forwarder => self.rules(settings, kind),
            RedactSettings::Rules(_) | RedactSettings::None => Rules::new(),
        };
        Redactor { rules: (!rules.is_empty()).then(|| Arc::new(rules)), pseudonyms: self.pseudonyms.clone(), walk: Walk::default() }
    }

    fn rules(&self, settings: &RedactRules, kind: StreamKind) -> Rules {
        let mut rules = Rules::new();
        for (pointers, effect) in
            [(&settings.drop, Effect::Drop), (&settings.mask, Effect::Mask), (&settings.hash, Effect::Hash), (&settings.keep, Effect::Keep)]
        {
            pointers.iter().for_each(|pointer| rules.add(pointer, effect));
        }
        let personal = if self.pseudonyms.is_some() { Effect::PresetHash } else { Effect::PresetMask };
        for preset in RedactPreset::ALL.into_iter().filter(|preset| is_in_force(*preset, settings)) {
            let read = |pointers: &'static [&'static str]| pointers.iter().filter_map(|text| presets::pointer(text));
            read(presets::replaced(preset, kind)).for_each(|pointer| rules.add(&pointer, personal));
            if let Some(closed) = presets::closed(preset, kind) {
                let part = presets::pointer(closed.part);
                rules.close(part.as_ref().map_or(&[], Pointer::segments));
                read(closed.kept).for_each(|pointer| rules.add(&pointer, Effect::PresetKeep));
            }
            if let Some(pointer) = presets::text_masked(preset, kind).and_then(presets::pointer) {
                rules.mask_text(pointer.segments());
            }
        }
        // Only `keep`: there is nothing that it could be an exception from.
        if rules.does_nothing() { Rules::new() } else { rules }
    }
}

fn is_in_force(preset: RedactPreset, settings: &RedactRules) -> bool {
    settings.presets.contains(&preset) || (preset == RedactPreset::AiPrompts && settings.ai_prompts == AiPrompts::Mask)
}

/// What a sink takes out of one stream's events.
pub struct Redactor {
    /// `None` where nothing is taken out.
    rules: Option<Arc<Rules>>,
    pseudonyms: Option<Pseudonyms>,
    walk: Walk,
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redactor").field("rules", &self.rules).finish_non_exhaustive()
    }
}

impl Redactor {
    /// The event's bytes as they may leave; `None` if they are those that it has.
    pub fn redact(&mut self, event: &Event) -> Option<Bytes> {
        let rules = self.rules.as_deref()?;
        if !is_object(&event.raw) {
            return Some(stub(event));
        }
        Walker { rules, pseudonyms: self.pseudonyms.as_ref(), walk: &mut self.walk }.object(&event.raw).map(Bytes::from)
    }
}

/// Whether it is one JSON object and nothing else: from then on, finding one's way in it needs no further doubt.
fn is_object(raw: &[u8]) -> bool {
    serde_json::from_slice::<&RawValue>(raw).is_ok_and(|value| value.get().starts_with('{'))
}

fn stub(event: &Event) -> Bytes {
    let mut stub = b"{\"id\":".to_vec();
    push_json_string(event.id.as_str(), &mut stub);
    stub.extend_from_slice(b",\"undecodable\":true,\"redacted\":\"the record is no JSON object\"}");
    Bytes::from(stub)
}

#[cfg(test)]
mod tests;

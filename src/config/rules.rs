//! What a sink takes and what is taken out of it: `filter` and `redact`, validated.

use super::{Secret, expression::Expression, pointer::Pointer};

/// A shorter `key` of pseudonyms can be found by trying.
pub const REDACT_KEY_BYTES_MIN: usize = 16;

/// `filter`: what a sink takes. Patterns are whole names, ids and so on, with `*` and `?`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilterSettings {
    /// `include_events`: only these, where there are any.
    pub include_events: Vec<String>,
    /// `exclude_events`: not these.
    pub exclude_events: Vec<String>,
    /// `include_categories`
    pub include_categories: Vec<String>,
    /// `exclude_categories`
    pub exclude_categories: Vec<String>,
    /// `include_actors`: by id or e-mail address.
    pub include_actors: Vec<String>,
    /// `exclude_actors`
    pub exclude_actors: Vec<String>,
    /// `include_boards`: by id or name.
    pub include_boards: Vec<String>,
    /// `exclude_boards`
    pub exclude_boards: Vec<String>,
    /// `include_teams`: by id or name.
    pub include_teams: Vec<String>,
    /// `exclude_teams`
    pub exclude_teams: Vec<String>,
    /// `cel`: only events for which it is true.
    pub cel: Option<Expression>,
}

/// `redact`: what is taken out of every event before it leaves.
#[derive(Clone, Debug)]
pub enum RedactSettings {
    /// `"none"`
    None,
    /// A table, or nothing, which is the empty table.
    Rules(RedactRules),
}

/// The keys of `redact`.
#[derive(Clone, Debug, Default)]
pub struct RedactRules {
    /// `presets`
    pub presets: Vec<RedactPreset>,
    /// `ai_prompts`
    pub ai_prompts: AiPrompts,
    /// `drop`: these members and elements are left out.
    pub drop: Vec<Pointer>,
    /// `mask`: these are replaced by a constant.
    pub mask: Vec<Pointer>,
    /// `hash`: these are replaced by a pseudonym.
    pub hash: Vec<Pointer>,
    /// `keep`: presets leave these as they are.
    pub keep: Vec<Pointer>,
    /// `key` of the pseudonyms.
    pub key: Option<Secret>,
}

impl Default for RedactSettings {
    fn default() -> Self {
        Self::Rules(RedactRules::default())
    }
}

/// `presets`: what is known to be where in Miro's events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RedactPreset {
    /// What people wrote on boards, in content logs.
    ContentText,
    /// What people asked and were answered, in AI logs.
    AiPrompts,
    /// Names, addresses and the like of people, in every log.
    PersonalData,
}

impl RedactPreset {
    /// Every preset.
    pub const ALL: [Self; 3] = [Self::ContentText, Self::AiPrompts, Self::PersonalData];

    /// The name in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ContentText => "content_text",
            Self::AiPrompts => "ai_prompts",
            Self::PersonalData => "personal_data",
        }
    }
}

/// `ai_prompts`: whether prompts and answers of AI logs leave. They do only where that is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AiPrompts {
    /// `"mask"`
    #[default]
    Mask,
    /// `"pass"`
    Pass,
}

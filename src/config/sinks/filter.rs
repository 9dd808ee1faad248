//! `filter` of a sink.

use serde_json::Value as Json;

use crate::config::{
    expression::Expression,
    key::{Defaulted, Key, Keys, Optional},
    node::Node,
    problem::Faulty,
    schema,
    settings::FilterSettings,
    table::{At, Table},
    value::{FromText, Unfit, Value},
};

/// A pattern for event names.
struct EventPattern(String);

impl FromText for EventPattern {
    const MEANT: &'static str = "an event's name, with `*` and `?` where it may differ";

    fn from_text(text: &str) -> Result<Self, Unfit> {
        let is_name = !text.is_empty() && text.len() <= 256 && !text.chars().any(|char| char.is_control() || char.is_whitespace());
        if is_name { Ok(Self(text.to_owned())) } else { Err(Unfit::Plainly) }
    }
}

/// A pattern for ids, names and addresses.
struct Pattern(String);

impl FromText for Pattern {
    const MEANT: &'static str = "an id, a name or an address, with `*` and `?` where it may differ";

    fn from_text(text: &str) -> Result<Self, Unfit> {
        let is_fit = !text.is_empty() && text.len() <= 1_024 && !text.chars().any(char::is_control);
        if is_fit { Ok(Self(text.to_owned())) } else { Err(Unfit::Plainly) }
    }
}

impl FromText for Expression {
    const MEANT: &'static str = "an expression in CEL over event, stream, org, late and backfill that is true or false";
    const SHORT: &'static str = "a CEL expression";

    fn from_text(text: &str) -> Result<Self, Unfit> {
        Self::parse(text).map_err(|error| Unfit::Because(error.to_string()))
    }
}

type Patterns<T> = Key<Vec<T>, Defaulted>;

const INCLUDE_EVENTS: Patterns<EventPattern> = Key::defaulted(
    "include_events",
    "",
    "Only events of these names, where there are any; `*` and `?` stand for any text and any character. A name is `event` of audit logs, \
     `widget.delete` or `delete` of content logs, `eventType`, `logType` and the feature of AI logs.",
);
const EXCLUDE_EVENTS: Patterns<EventPattern> = Key::defaulted("exclude_events", "", "No events of these names.");
const INCLUDE_CATEGORIES: Patterns<Pattern> = Key::defaulted(
    "include_categories",
    "",
    "Only events of these categories: `category` of audit logs, `itemType` of content logs, `surface` or `aiFeatureName` of AI logs.",
);
const EXCLUDE_CATEGORIES: Patterns<Pattern> = Key::defaulted("exclude_categories", "", "No events of these categories.");
const INCLUDE_ACTORS: Patterns<Pattern> =
    Key::defaulted("include_actors", "", "Only what these did: the actor's id or e-mail address, the latter in any case.");
const EXCLUDE_ACTORS: Patterns<Pattern> = Key::defaulted("exclude_actors", "", "Nothing that these did.");
const INCLUDE_BOARDS: Patterns<Pattern> = Key::defaulted(
    "include_boards",
    "",
    "Only what was done to these boards: the board's id or name in audit logs and AI logs, its id in content logs.",
);
const EXCLUDE_BOARDS: Patterns<Pattern> = Key::defaulted("exclude_boards", "", "Nothing that was done to these boards.");
const INCLUDE_TEAMS: Patterns<Pattern> =
    Key::defaulted("include_teams", "", "Only what happened in these teams: the team's id or name. Content and AI logs name no team.");
const EXCLUDE_TEAMS: Patterns<Pattern> = Key::defaulted("exclude_teams", "", "Nothing that happened in these teams.");
const CEL: Key<Expression, Optional> = Key::optional(
    "cel",
    "\"event.event != 'board_opened' || event.details.role == 'OWNER'\"",
    "every event",
    "Only events for which this expression is true. An event on which it fails, because a member is missing, is taken and counted.",
);

const KEYS: Keys = &[
    &INCLUDE_EVENTS,
    &EXCLUDE_EVENTS,
    &INCLUDE_CATEGORIES,
    &EXCLUDE_CATEGORIES,
    &INCLUDE_ACTORS,
    &EXCLUDE_ACTORS,
    &INCLUDE_BOARDS,
    &EXCLUDE_BOARDS,
    &INCLUDE_TEAMS,
    &EXCLUDE_TEAMS,
    &CEL,
];

/// `filter`
pub(super) const FILTER: Key<FilterSettings, Optional> =
    Key::optional("filter", "{ exclude_events = [\"board_opened\"] }", "everything is taken", "Which events it takes.");

impl Value for FilterSettings {
    const MEANT: &'static str = "a table of what is included and excluded";

    fn read(at: &At<'_>, node: &Node) -> Result<Self, Faulty> {
        let table = Table::open(at.clone(), node)?;
        table.refuse_unknown(&[KEYS], |name| {
            let about = ["events", "categories", "actors", "boards", "teams"].into_iter().find(|about| *about == name)?;
            Some(format!("unknown key; include_{about} and exclude_{about} are meant, or one of them"))
        });
        let events =
            |key: &Patterns<EventPattern>| table.take(key).map(|patterns| patterns.into_iter().map(|EventPattern(text)| text).collect());
        let texts = |key: &Patterns<Pattern>| table.take(key).map(|patterns| patterns.into_iter().map(|Pattern(text)| text).collect());
        // Every key is read before the first fault counts, so that all of them are told.
        let (include_events, exclude_events) = (events(&INCLUDE_EVENTS), events(&EXCLUDE_EVENTS));
        let (include_categories, exclude_categories) = (texts(&INCLUDE_CATEGORIES), texts(&EXCLUDE_CATEGORIES));
        let (include_actors, exclude_actors) = (texts(&INCLUDE_ACTORS), texts(&EXCLUDE_ACTORS));
        let (include_boards, exclude_boards) = (texts(&INCLUDE_BOARDS), texts(&EXCLUDE_BOARDS));
        let (include_teams, exclude_teams, cel) = (texts(&INCLUDE_TEAMS), texts(&EXCLUDE_TEAMS), table.take(&CEL));
        Ok(Self {
            include_events: include_events?,
            exclude_events: exclude_events?,
            include_categories: include_categories?,
            exclude_categories: exclude_categories?,
            include_actors: include_actors?,
            exclude_actors: exclude_actors?,
            include_boards: include_boards?,
            exclude_boards: exclude_boards?,
            include_teams: include_teams?,
            exclude_teams: exclude_teams?,
            cel: cel?,
        })
    }

    fn sub_keys() -> Keys {
        KEYS
    }

    fn form() -> Json {
        schema::table(KEYS)
    }
}

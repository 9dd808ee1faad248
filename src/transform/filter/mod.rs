//! Which events a sink takes.
//!
//! Two lists for each of five attributes, and an expression; all of them have to agree. A pattern is a whole text in which `*` stands
//! for any text and `?` for any one character; case counts, but for e-mail addresses.
//!
//! | lists | audit | content | ai |
//! |---|---|---|---|
//! | `…_events` | the names, see `names.rs` | the same | the same |
//! | `…_categories` | `category` | `itemType` | `surface` or `aiFeatureName` |
//! | `…_actors` | id and e-mail address of `createdBy` | of `actor` | of `actor` |
//! | `…_boards` | id and name of `object`, where the event's name is one of boards | `contentId` | id and name of `object`, unless its type is another |
//! | `…_teams` | id and name of `context.team` | does not apply | does not apply |
//!
//! With an `include_` list, an event is taken if one of its texts matches one of the patterns; with an `exclude_` list, it is left out
//! if one of its texts matches one of those, whatever is included. An event that has nothing of the kind is not among what an `include_`
//! list names (`sso_disabled` happened on no board), and is not excluded.
//!
//! **What cannot be read is taken**: a filter must not hide what nobody has understood. That is an event without a readable name; a
//! value of another type than Miro documents, or one that stands twice; a record whose id or time could not be read; and an event on
//! which the expression fails. The last is told to the caller, who counts it.
//!
//! What is not one of Miro's three logs is taken always. Events of our own are asked for by a key of their own, and of all this only
//! `exclude_events` is about them.

use std::borrow::Cow;

use super::{members::Members, names};
use crate::{
    config::settings::FilterSettings,
    event::{Event, StreamId, StreamKind},
};

use attribute::{Attribute, Found};
use evaluate::Evaluator;
use glob::Glob;

pub use evaluate::Unjudged;

mod attribute;
mod evaluate;
mod glob;

/// What a filter says of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The sink takes it.
    Taken,
    /// The sink takes it, because the expression could not be asked.
    Unjudged(Unjudged),
    /// The sink does not take it.
    LeftOut,
}

/// A compiled filter for one stream.
#[derive(Debug)]
pub struct Filter {
    lists: Vec<Lists>,
    expression: Option<Evaluator>,
    kind: StreamKind,
}

/// The two lists of one attribute.
#[derive(Debug)]
struct Lists {
    attribute: Attribute,
    include: Vec<Glob>,
    exclude: Vec<Glob>,
}

impl Filter {
    /// From the settings, for events of that stream.
    pub fn new(settings: &FilterSettings, stream: &StreamId) -> Self {
        let kind = stream.kind;
        let own = FilterSettings {
            exclude_events: if kind == StreamKind::Forwarder { settings.exclude_events.clone() } else { Vec::new() },
            ..FilterSettings::default()
        };
        let settings = if is_log(kind) { settings } else { &own };
        let lists = [
            (Attribute::Event, &settings.include_events, &settings.exclude_events),
            (Attribute::Category, &settings.include_categories, &settings.exclude_categories),
            (Attribute::Actor, &settings.include_actors, &settings.exclude_actors),
            (Attribute::Board, &settings.include_boards, &settings.exclude_boards),
            (Attribute::Team, &settings.include_teams, &settings.exclude_teams),
        ]
        .into_iter()
        .filter(|(_, include, exclude)| !include.is_empty() || !exclude.is_empty())
        .map(|(attribute, include, exclude)| Lists::new(attribute, include, exclude))
        .collect();
        Self { lists, expression: settings.cel.clone().map(|cel| Evaluator::new(cel, stream)), kind }
    }

    /// Whether the sink takes the event.
    pub fn judge(&self, event: &Event) -> Verdict {
        // Without a filter, which is the rule, an event is not parsed at all.
        if (self.lists.is_empty() && self.expression.is_none()) || is_undecodable(event) {
            return Verdict::Taken;
        }
        if !self.lists.is_empty() {
            let Some(members) = Members::read(&event.raw) else { return Verdict::Taken };
            if !self.lists.iter().all(|lists| lists.take(&lists.attribute.of(self.kind, &members))) {
                return Verdict::LeftOut;
            }
        }
        match self.expression.as_ref().map(|expression| expression.judge(event)) {
            None | Some(Ok(true)) => Verdict::Taken,
            Some(Ok(false)) => Verdict::LeftOut,
            Some(Err(why)) => Verdict::Unjudged(why),
        }
    }
}

impl Lists {
    fn new(attribute: Attribute, include: &[String], exclude: &[String]) -> Self {
        let glob = |pattern: &String| Glob::new(&comparable(attribute, pattern));
        Self { attribute, include: include.iter().map(glob).collect(), exclude: exclude.iter().map(glob).collect() }
    }

    fn take(&self, found: &Found<'_>) -> bool {
        match found {
            Found::Foreign | Found::Unreadable => true,
            Found::Nothing => self.include.is_empty(),
            Found::Texts(texts) => {
                let texts: Vec<Cow<'_, str>> = texts.iter().map(|text| comparable(self.attribute, text)).collect();
                let any = |globs: &[Glob]| globs.iter().any(|glob| texts.iter().any(|text| glob.matches(text)));
                (self.include.is_empty() || any(&self.include)) && !any(&self.exclude)
            }
        }
    }
}

/// Nobody means two people by two spellings of one address.
fn comparable(attribute: Attribute, text: &str) -> Cow<'_, str> {
    if attribute == Attribute::Actor { Cow::Owned(text.to_lowercase()) } else { Cow::Borrowed(text) }
}

/// A pattern of names on its own, for whoever looks for events of some name. Unlike a sink, they do not mean events without one.
#[derive(Debug)]
pub struct Names {
    glob: Glob,
    kind: StreamKind,
}

impl Names {
    /// For events of that kind.
    pub fn new(pattern: &str, kind: StreamKind) -> Self {
        Self { glob: Glob::new(pattern), kind }
    }

    /// Whether one of the event's names fits.
    pub fn fit(&self, event: &Event) -> bool {
        names::of(self.kind, &event.raw).iter().any(|name| self.glob.matches(name))
    }
}

fn is_log(kind: StreamKind) -> bool {
    matches!(kind, StreamKind::Audit | StreamKind::Content | StreamKind::Ai)
}

/// The journal keeps a record without a readable time as such, and one without an id under an id of ours.
fn is_undecodable(event: &Event) -> bool {
    event.time.is_none() || event.id.as_bytes().starts_with(b"undecodable-")
}

#[cfg(test)]
mod tests;

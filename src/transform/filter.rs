//! Which events a sink takes, by their names.
//!
//! A pattern is a whole name in which `*` stands for any text and `?` for any one character; case counts. What an event's names are
//! is said in `names.rs`.
//!
//! With `include_events`, an event is taken if one of its names matches one of them; with `exclude_events`, it is left out if one of
//! its names matches one of those, whatever is included. **An event without a readable name is always taken**, and so is a record whose
//! id or time could not be read: a filter must not hide what nobody has understood.
//!
//! Events of our own are asked for by a key of their own, so a list of Miro's events to include does not leave them out.

use super::names;
use crate::{
    config::settings::FilterSettings,
    event::{Event, StreamKind},
};

/// A compiled filter for one kind of stream.
#[derive(Debug)]
pub struct Filter {
    include: Vec<Glob>,
    exclude: Vec<Glob>,
    kind: StreamKind,
}

impl Filter {
    /// From the settings, for events of that kind.
    pub fn new(settings: &FilterSettings, kind: StreamKind) -> Self {
        let globs = |patterns: &[String]| patterns.iter().map(|pattern| Glob::new(pattern)).collect();
        let include = if kind == StreamKind::Forwarder { Vec::new() } else { globs(&settings.include_events) };
        Self { include, exclude: globs(&settings.exclude_events), kind }
    }

    /// Whether the sink takes the event.
    pub fn takes(&self, event: &Event) -> bool {
        // Without a filter, which is the rule, an event is not parsed at all.
        if (self.include.is_empty() && self.exclude.is_empty()) || is_undecodable(event) {
            return true;
        }
        let names = names::of(self.kind, &event.raw);
        if names.is_empty() {
            return true;
        }
        let any = |globs: &[Glob]| globs.iter().any(|glob| names.iter().any(|name| glob.matches(name)));
        (self.include.is_empty() || any(&self.include)) && !any(&self.exclude)
    }
}

impl Filter {
    /// Whether one of the event's names is among those that are included. Unlike a sink, whoever looks for a name does not mean events
    /// without one.
    pub fn names(&self, event: &Event) -> bool {
        let names = names::of(self.kind, &event.raw);
        self.include.iter().any(|glob| names.iter().any(|name| glob.matches(name)))
    }
}

/// The journal keeps a record without a readable time as such, and one without an id under an id of ours.
fn is_undecodable(event: &Event) -> bool {
    event.time.is_none() || event.id.as_bytes().starts_with(b"undecodable-")
}

/// A name with `*` and `?` in it.
#[derive(Debug)]
struct Glob(Vec<char>);

impl Glob {
    fn new(pattern: &str) -> Self {
        Self(pattern.chars().collect())
    }

    /// Goes back to the newest `*` only, so it takes at most pattern times name steps.
    fn matches(&self, name: &str) -> bool {
        let name: Vec<char> = name.chars().collect();
        let (mut at, mut next) = (0, 0);
        let mut star: Option<(usize, usize)> = None;
        while next < name.len() {
            match self.0.get(at) {
                Some('*') => {
                    star = Some((at, next));
                    at += 1;
                }
                Some(&wanted) if wanted == '?' || wanted == name[next] => {
                    at += 1;
                    next += 1;
                }
                _ => {
                    let Some((star_at, taken)) = star else { return false };
                    star = Some((star_at, taken + 1));
                    at = star_at + 1;
                    next = taken + 1;
                }
            }
        }
        self.0[at..].iter().all(|&rest| rest == '*')
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::event::{EventId, Origin, Position, Timestamp};

    fn event(raw: &str) -> Event {
        let now = Timestamp::from_millis(1);
        Event {
            position: Position(1),
            id: EventId::new("1"),
            time: Some(now),
            collected_at: now,
            origin: Origin::Live,
            raw: Bytes::copy_from_slice(raw.as_bytes()),
        }
    }

    fn filter(include: &[&str], exclude: &[&str], kind: StreamKind) -> Filter {
        let owned = |patterns: &[&str]| patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
        Filter::new(&FilterSettings { include_events: owned(include), exclude_events: owned(exclude) }, kind)
    }

    #[track_caller]
    fn check(pattern: &str, name: &str, expected: bool) {
        assert_eq!(Glob::new(pattern).matches(name), expected, "{pattern} on {name}");
    }

    #[test]
    fn patterns_match_whole_names() {
        check("board_opened", "board_opened", true);
        check("board_opened", "board_opened2", false);
        check("board_*", "board_opened", true);
        check("*public_link*", "board_public_link_enabled", true);
        check("*sharing", "team_sharing", true);
        check("*sharing", "team_sharing_off", false);
        check("sign_in_?ailed", "sign_in_failed", true);
        check("?", "", false);
        check("*", "", true);
        check("", "", true);
        check("", "a", false);
        check("a*b*c", "aXbYbZc", true);
        check("a*b*c", "aXbYbZ", false);
        check("é?", "éß", true);
        check("Board_*", "board_opened", false);
    }

    #[test]
    fn includes_and_excludes_decide_by_any_name() {
        let opened = event(r#"{"event":"board_opened"}"#);
        assert!(filter(&[], &[], StreamKind::Audit).takes(&opened));
        assert!(filter(&["board_*"], &[], StreamKind::Audit).takes(&opened));
        assert!(!filter(&["sign_*"], &[], StreamKind::Audit).takes(&opened));
        assert!(!filter(&["board_*"], &["*_opened"], StreamKind::Audit).takes(&opened));
        let deleted = event(r#"{"actionType":"delete","itemType":"widget","event":"board_opened"}"#);
        assert!(filter(&["delete"], &["board_*"], StreamKind::Content).takes(&deleted));
        assert!(!filter(&[], &["widget.*"], StreamKind::Content).takes(&deleted));
        let old = event(r#"{"logType":"request","aiFeatureName":"ai_generate"}"#);
        let new = event(r#"{"eventType":"model_invocation","surface":"ai_generate"}"#);
        assert!(filter(&["request"], &[], StreamKind::Ai).takes(&old));
        assert!(!filter(&["request"], &[], StreamKind::Ai).takes(&new));
        assert!(filter(&["ai_*"], &[], StreamKind::Ai).takes(&new));
    }

    #[test]
    fn events_of_our_own_are_only_left_out_by_an_exclude() {
        let opened = event(r#"{"event":"miro_siem.gap_opened"}"#);
        assert!(filter(&["board_*"], &[], StreamKind::Forwarder).takes(&opened));
        assert!(!filter(&[], &["miro_siem.gap_*"], StreamKind::Forwarder).takes(&opened));
    }

    #[test]
    fn an_escaped_name_is_the_same_name() {
        assert!(!filter(&[], &["board_opened"], StreamKind::Audit).takes(&event(r#"{"event":"board\u005fopened"}"#)));
    }

    #[test]
    fn what_has_no_readable_name_is_never_left_out() {
        let nothing = filter(&["nothing"], &["*"], StreamKind::Audit);
        for raw in ["null", "[]", "{}", r#"{"event":null}"#, r#"{"event":7}"#, r#"{"event":"a","event":"b"}"#, "{broken", ""] {
            assert!(nothing.takes(&event(raw)), "{raw}");
        }
        let named = event(r#"{"event":"board_opened"}"#);
        assert!(!nothing.takes(&named));
        assert!(nothing.takes(&Event { time: None, ..named.clone() }));
        assert!(nothing.takes(&Event { id: EventId::new("undecodable-00"), ..named }));
    }
}

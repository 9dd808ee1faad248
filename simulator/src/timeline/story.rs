//! What happens by script rather than by chance: a nightly import job, and an evening on which an account is taken over.
//!
//! A detection rule, a dashboard and a demonstration each need something to find.

use chrono::{DateTime, Timelike, Utc};

use crate::mix::Mix;
use crate::org::Organisation;
use crate::render::catalogue::{Kind, kind};

const KEY_STORY: u64 = 201;
const SECOND_US: i64 = 1_000_000;
const MINUTE_US: i64 = 60 * SECOND_US;
const DAY_US: i64 = 24 * 60 * MINUTE_US;

/// Who did it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    Person(usize),
    Application(usize),
    ScimProvisioner,
    MiroAutomation,
}

/// What it was done to; the numbers are indices into the lists of the organisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    Board(usize),
    Person(usize),
    Team(usize),
    Organization,
    Project(usize),
    Template(usize),
    App(usize),
    Blueprint(usize),
}

/// Where from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum From {
    /// The person's usual address.
    Usual,
    /// One of the addresses that nobody in the organisation uses.
    Odd(u8),
    /// The data centre of an application.
    Service,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Scripted {
    pub(crate) at_us: i64,
    pub(crate) kind: &'static Kind,
    pub(crate) by: By,
    pub(crate) subject: Subject,
    pub(crate) from: From,
}

/// A history smaller than this has no room for a story.
const SMALLEST_HISTORY: u64 = 2_000;

/// The scripted audit events, sorted by time: those before `now` belong to the history, those after it to live operation.
pub(crate) fn write(org: &Organisation, now: DateTime<Utc>, days: u32, audit_events: u64, live: bool) -> Vec<Scripted> {
    let now_us = now.timestamp_micros();
    let midnight = now_us - i64::from(now.num_seconds_from_midnight()) * SECOND_US;
    let mut events = Vec::new();
    if audit_events >= SMALLEST_HISTORY && days >= 4 {
        import_job(org, midnight - 3 * DAY_US + 130 * MINUTE_US, audit_events / 50, &mut events);
        takeover(org, 0, midnight - DAY_US + 1_300 * MINUTE_US, &mut events);
    }
    if audit_events >= SMALLEST_HISTORY && days >= 24 {
        takeover(org, 1, midnight - 23 * DAY_US + 1_250 * MINUTE_US, &mut events);
    }
    if live {
        takeover(org, 2, now_us + 30 * SECOND_US, &mut events);
    }
    events.sort_by_key(|event| event.at_us);
    events
}

/// An integration creates boards at two in the night, many within a millisecond.
fn import_job(org: &Organisation, start_us: i64, count: u64, events: &mut Vec<Scripted>) {
    let mut mix = Mix::of(&[org.seed, KEY_STORY, 99]);
    let mut at_us = start_us;
    for board in 0..count.min(600) {
        at_us += if mix.chance(0.4) { mix.below(400) as i64 } else { mix.below(250_000) as i64 };
        let subject = Subject::Board(board as usize % org.boards.len());
        events.push(Scripted { at_us, kind: kind("board_created"), by: By::Application(1), subject, from: From::Service });
    }
}

/// An account is guessed, then used: boards read and exported, doors opened for later.
fn takeover(org: &Organisation, which: u64, start_us: i64, events: &mut Vec<Scripted>) {
    let mut mix = Mix::of(&[org.seed, KEY_STORY, which]);
    let victim = mix.index(org.actors);
    let mut script = Script { at_us: start_us, by: victim, from: From::Odd(0), events };
    for guess in 0..18 {
        let target = if guess % 3 == 0 { mix.index(org.actors) } else { victim };
        script.from = From::Odd(mix.below(5) as u8);
        script.by = target;
        script.add(2 * SECOND_US + mix.below(15_000_000) as i64, "sign_in_failed", Subject::Person(target));
    }
    script.by = victim;
    script.from = From::Odd(3);
    script.add(9 * SECOND_US, "sign_in_succeeded", Subject::Person(victim));
    for _ in 0..60 {
        script.add(SECOND_US + mix.below(7_000_000) as i64, "board_opened", Subject::Board(mix.index(org.boards.len())));
    }
    for _ in 0..25 {
        let board = Subject::Board(mix.index(org.boards.len()));
        script.add(SECOND_US + mix.below(3_000_000) as i64, "board_exported", board);
        script.add(mix.below(2_000_000) as i64, "file_downloaded", board);
    }
    for _ in 0..4 {
        script.add(4 * SECOND_US, "board_public_link_enabled", Subject::Board(mix.index(org.boards.len())));
    }
    for name in ["organization_public_link_enabled", "guests_outside_allowed_domains_enabled", "sso_disabled", "scim_api_token_generated"] {
        script.add(11 * SECOND_US, name, Subject::Organization);
    }
    script.add(8 * SECOND_US, "company_admin_granted", Subject::Person(mix.index(org.people.len())));
    script.add(14 * SECOND_US, "app_installed", Subject::App(4));
    script.add(40 * SECOND_US, "sign_out_succeeded", Subject::Person(victim));
}

struct Script<'a> {
    at_us: i64,
    by: usize,
    from: From,
    events: &'a mut Vec<Scripted>,
}

impl Script<'_> {
    fn add(&mut self, after_us: i64, name: &str, subject: Subject) {
        self.at_us += after_us;
        self.events.push(Scripted { at_us: self.at_us, kind: kind(name), by: By::Person(self.by), subject, from: self.from });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_story_is_sorted_lies_where_it_should_and_has_its_alarms() {
        let org = Organisation::new(1, 250);
        let now: DateTime<Utc> = "2026-11-20T13:00:00Z".parse().expect("a time");
        let events = write(&org, now, 90, 100_000, true);
        assert!(events.windows(2).all(|pair| pair[0].at_us <= pair[1].at_us));
        let (past, future): (Vec<&Scripted>, Vec<&Scripted>) = events.iter().partition(|event| event.at_us < now.timestamp_micros());
        assert!(past.len() > 500 && future.len() > 100, "{} {}", past.len(), future.len());
        for name in ["sign_in_failed", "scim_api_token_generated", "board_exported", "company_admin_granted"] {
            assert!(past.iter().any(|event| event.kind.name == name), "{name}");
        }
        assert!(write(&org, now, 90, 100, false).is_empty());
    }
}

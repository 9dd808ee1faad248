//! One audit event.

use super::catalogue::{About, Kind};
use super::{Broken, Renderer, details, json, odd, put_audit_id};
use crate::config::Stream;
use crate::mix::Mix;
use crate::org::Named;
use crate::timeline::story::{By, From, Subject};
use crate::timeline::{Key, Slot};

/// Everything that an event is about, decided before a byte is written.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) kind: &'static Kind,
    pub(crate) by: By,
    pub(crate) subject: Subject,
    pub(crate) from: From,
    pub(crate) team: Option<usize>,
    pub(crate) key: Key,
    /// Choices about the details are drawn from here.
    pub(crate) mix: Mix,
}

/// The share of odd but legal events, in thousandths.
const ODD_PER_MILLE: u64 = 40;

impl Renderer {
    pub(super) fn put_audit(&self, sequence: u64, slot: Slot, key: Key, broken: Option<Broken>, out: &mut Vec<u8>) {
        let facts = self.facts(sequence, slot, key);
        let mut mix = facts.mix;
        let is_odd = slot.scripted().is_none() && mix.below(1_000) < ODD_PER_MILLE;
        if is_odd || broken.is_some() || slot.whole_second() {
            let oddity = if is_odd { *mix.pick(odd::ALL) } else { odd::Oddity::None };
            odd::put(self, &facts, oddity, slot, broken, mix, out);
            return;
        }
        out.extend_from_slice(b"{\"id\":\"");
        put_audit_id(out, key);
        out.extend_from_slice(b"\",\"type\":\"event\",\"event\":\"");
        out.extend_from_slice(facts.kind.name.as_bytes());
        out.extend_from_slice(b"\",\"category\":\"");
        out.extend_from_slice(facts.kind.category.as_bytes());
        out.extend_from_slice(b"\",\"createdAt\":\"");
        json::put_millis_offset(out, key.at_us);
        out.extend_from_slice(b"\",\"createdBy\":");
        self.put_actor(&facts, out);
        out.extend_from_slice(b",\"object\":");
        out.extend_from_slice(self.object(facts.subject));
        out.extend_from_slice(b",\"context\":");
        self.put_context(&facts, out);
        out.extend_from_slice(b",\"details\":");
        details::put(self, &facts, mix, out);
        out.push(b'}');
    }

    pub(super) fn facts(&self, sequence: u64, slot: Slot, key: Key) -> Facts {
        let mut mix = self.mix(Stream::Audit, sequence);
        if let Some(at) = slot.scripted() {
            let event = &self.scripted[at];
            let team = self.team(event.kind, event.subject, &mut mix);
            return Facts { kind: event.kind, by: event.by, subject: event.subject, from: event.from, team, key, mix };
        }
        let kind = self.catalogue.pick(&mut mix);
        let person = mix.skewed(self.org.actors);
        let by = match mix.below(1_000) {
            0..25 => By::Application(mix.index(self.org.apps.len())),
            25..75 if kind.category == "user_management" => By::ScimProvisioner,
            25..30 => By::MiroAutomation,
            _ => By::Person(person),
        };
        let subject = self.subject(kind, person, &mut mix);
        let from = if matches!(by, By::Person(_)) { From::Usual } else { From::Service };
        let team = self.team(kind, subject, &mut mix);
        Facts { kind, by, subject, from, team, key, mix }
    }

    fn subject(&self, kind: &Kind, person: usize, mix: &mut Mix) -> Subject {
        let org = &self.org;
        match kind.about {
            About::Board => Subject::Board(mix.skewed(org.boards.len())),
            About::User if matches!(kind.category, "authentication" | "profile") => Subject::Person(person),
            About::User => Subject::Person(mix.index(org.people.len())),
            About::Team => Subject::Team(mix.index(org.teams.len())),
            About::Organization => Subject::Organization,
            About::Project => Subject::Project(mix.index(org.projects.len())),
            About::Template => Subject::Template(mix.index(org.templates.len())),
            About::App => Subject::App(mix.index(org.apps.len())),
            About::Blueprint => Subject::Blueprint(mix.index(org.blueprints.len())),
        }
    }

    /// Events about the whole organisation, and sign-ins, have no team.
    fn team(&self, kind: &Kind, subject: Subject, mix: &mut Mix) -> Option<usize> {
        match subject {
            Subject::Board(at) => Some(self.org.boards[at].team),
            Subject::Team(at) => Some(at),
            Subject::Project(_) | Subject::Template(_) | Subject::Blueprint(_) => Some(mix.index(self.org.teams.len())),
            Subject::Person(at) if kind.category == "user_management" => Some(self.org.people[at].team),
            Subject::Person(_) | Subject::Organization | Subject::App(_) => None,
        }
    }

    fn named(&self, subject: Subject) -> Option<&Named> {
        let org = &self.org;
        match subject {
            Subject::Board(at) => Some(&org.boards[at].named),
            Subject::Team(at) => Some(&org.teams[at]),
            Subject::Project(at) => Some(&org.projects[at]),
            Subject::Template(at) => Some(&org.templates[at]),
            Subject::App(at) => Some(&org.apps[at]),
            Subject::Blueprint(at) => Some(&org.blueprints[at]),
            Subject::Organization => Some(&org.named),
            Subject::Person(_) => None,
        }
    }

    /// The name of what the event is about.
    pub(super) fn subject_name(&self, subject: Subject) -> &str {
        match subject {
            Subject::Person(at) => &self.org.people[at].name,
            other => self.named(other).map_or("", |named| &named.name),
        }
    }

    pub(super) fn object(&self, subject: Subject) -> &[u8] {
        match subject {
            Subject::Person(at) => &self.org.people[at].object,
            other => self.named(other).map_or(b"null", |named| &named.object),
        }
    }

    pub(super) fn put_actor(&self, facts: &Facts, out: &mut Vec<u8>) {
        match facts.by {
            By::Person(at) => out.extend_from_slice(&self.org.people[at].audit_actor),
            By::Application(at) => put_typed(out, "application", &self.org.apps[at % self.org.apps.len()]),
            By::ScimProvisioner => {
                out.extend_from_slice(br#"{"type":"scim_provisioner","id":"3458764517517000001","name":"SCIM provisioner"}"#)
            }
            By::MiroAutomation => {
                out.extend_from_slice(br#"{"type":"miro_automation","id":"3458764517517000002","name":"Miro automation"}"#)
            }
        }
    }

    pub(super) fn put_context(&self, facts: &Facts, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"ip\":\"");
        put_ip(facts, out);
        out.extend_from_slice(b"\",");
        if let Some(team) = facts.team {
            out.extend_from_slice(b"\"team\":");
            put_with_type(out, &self.org.teams[team].object, b"team");
            out.push(b',');
        }
        out.extend_from_slice(b"\"organization\":");
        put_with_type(out, &self.org.named.object, b"organization");
        out.push(b'}');
    }
}

/// The fragment `{…}` with one more member, its type.
fn put_with_type(out: &mut Vec<u8>, object: &[u8], kind: &[u8]) {
    out.extend_from_slice(&object[..object.len() - 1]);
    out.extend_from_slice(b",\"type\":\"");
    out.extend_from_slice(kind);
    out.extend_from_slice(b"\"}");
}

fn put_typed(out: &mut Vec<u8>, kind: &str, named: &Named) {
    out.extend_from_slice(b"{\"type\":\"");
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(b"\",");
    out.extend_from_slice(&named.object[1..]);
}

/// Addresses from the ranges for documentation (RFC 5737, RFC 3849): nobody's.
fn put_ip(facts: &Facts, out: &mut Vec<u8>) {
    let person = match facts.by {
        By::Person(at) => at as u64,
        _ => 0,
    };
    match facts.from {
        From::Odd(at) => {
            out.extend_from_slice(b"203.0.113.");
            json::put_u64(out, 66 + u64::from(at) * 13);
        }
        From::Service => out.extend_from_slice(b"198.51.100.7"),
        From::Usual if person % 7 == 3 => {
            out.extend_from_slice(b"2001:db8:85a3::8a2e:");
            json::put_u64(out, person % 9_999 + 1);
        }
        From::Usual => {
            out.extend_from_slice(if person % 3 == 0 { b"198.51.100." } else { b"192.0.2." });
            json::put_u64(out, 10 + person % 240);
        }
    }
}

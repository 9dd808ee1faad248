//! The organisation that the events are about: people, teams and boards, made from the seed.
//!
//! People are kept as ready JSON fragments, because every event names one and rendering must be cheap. A person's place in the list
//! is the person's identity inside the simulator. The first [`Organisation::actors`] people do things; the others are the
//! deactivated, the idle and those who never signed in, whom licence reports look for.

mod members;
mod names;

pub(crate) use members::at_start as members_at_start;
pub use members::{AdminRole, Member};

use crate::mix::Mix;
use crate::render::json::put_str;

/// Base of the 19-digit ids, above 2^53 so that a reader that goes through a double is found out.
const USER_ID_BASE: u64 = 3_458_764_517_517_000_000;
const TEAM_ID_BASE: u64 = 3_074_457_345_618_265_000;

/// Keys of the independent streams of choices.
const KEY_ORG: u64 = 101;
const KEY_PERSON: u64 = 102;
const KEY_BOARD: u64 = 103;

#[derive(Debug)]
pub(crate) struct Person {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) email: String,
    pub(crate) team: usize,
    pub(crate) agent: usize,
    /// `{"type":"user","id":…,"name":…,"email":…}`, as in an audit event.
    pub(crate) audit_actor: Box<[u8]>,
    /// `{"id":…,"name":…}`
    pub(crate) object: Box<[u8]>,
    /// `{"id":…,"email":…,"name":…}`, as in content and AI entries.
    pub(crate) actor: Box<[u8]>,
}

#[derive(Debug)]
pub(crate) struct Named {
    pub(crate) id: String,
    pub(crate) name: String,
    /// `{"id":…,"name":…}`
    pub(crate) object: Box<[u8]>,
}

#[derive(Debug)]
pub(crate) struct Board {
    pub(crate) named: Named,
    pub(crate) team: usize,
}

#[derive(Debug)]
pub(crate) struct Organisation {
    pub(crate) seed: u64,
    pub(crate) named: Named,
    pub(crate) plan: &'static str,
    pub(crate) full_licenses_purchased: u32,
    pub(crate) people: Vec<Person>,
    /// How many of the people, from the first, do things.
    pub(crate) actors: usize,
    pub(crate) teams: Vec<Named>,
    pub(crate) boards: Vec<Board>,
    pub(crate) projects: Vec<Named>,
    pub(crate) templates: Vec<Named>,
    pub(crate) apps: Vec<Named>,
    pub(crate) blueprints: Vec<Named>,
}

/// Clients that the people use; part of the details of many events.
pub(crate) const AGENTS: &[&str] = &[
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Safari/605.1.15",
    "Mozilla/5.0 (X11; Linux x86_64; rv:144.0) Gecko/20100101 Firefox/144.0",
    "Miro/0.11.124 (Macintosh; macOS 15.1) Electron/37.2.0 Chrome/138.0.7204.35 AppleWebKit/537.36",
    "Miro/3.9.1 (iPad; iOS 18.1; Scale/2.00) AppleWebKit/605.1.15 Mobile/15E148",
];

impl Organisation {
    pub(crate) fn new(seed: u64, members: u32) -> Self {
        let mut mix = Mix::of(&[seed, KEY_ORG]);
        let members = members.max(1) as usize;
        let teams: Vec<Named> = (0..(members / 25).clamp(3, 60)).map(team).collect();
        let people: Vec<Person> = (0..members).map(|at| person(seed, at, teams.len())).collect();
        let boards = (0..(members * 4).clamp(24, 20_000)).map(|at| board(seed, at, teams.len())).collect();
        let org_id = 3_074_457_345_821_140_000 + mix.below(999_999);
        Self {
            seed,
            named: named(org_id.to_string(), "Simulated Boards & Söhne".to_owned()),
            plan: "company",
            full_licenses_purchased: (members as u32) + (members as u32) / 10,
            actors: (members * 17 / 20).max(1),
            people,
            teams,
            boards,
            projects: numbered(names::PROJECTS, 3_074_457_350_000_000_000),
            templates: numbered(names::TEMPLATES, 3_074_457_360_000_000_000),
            apps: numbered(names::APPS, 3_458_764_600_000_000_000),
            blueprints: numbered(names::BLUEPRINTS, 3_458_764_700_000_000_000),
        }
    }

    pub(crate) fn person_by_email(&self, email: &str) -> Option<usize> {
        self.people.iter().position(|person| person.email.eq_ignore_ascii_case(email))
    }
}

fn named(id: String, name: String) -> Named {
    let mut object = Vec::new();
    object.extend_from_slice(b"{\"id\":");
    put_str(&mut object, &id);
    object.extend_from_slice(b",\"name\":");
    put_str(&mut object, &name);
    object.push(b'}');
    Named { id, name, object: object.into() }
}

fn numbered(names: &[&str], base: u64) -> Vec<Named> {
    names.iter().enumerate().map(|(at, name)| named((base + at as u64 * 7_907).to_string(), (*name).to_owned())).collect()
}

fn team(at: usize) -> Named {
    let name = names::TEAMS[at % names::TEAMS.len()];
    let name = if at < names::TEAMS.len() { name.to_owned() } else { format!("{name} {}", at / names::TEAMS.len() + 1) };
    named((TEAM_ID_BASE + at as u64 * 131).to_string(), name)
}

fn person(seed: u64, at: usize, teams: usize) -> Person {
    let mut mix = Mix::of(&[seed, KEY_PERSON, at as u64]);
    let scripts = names::SCRIPTS;
    let script = if mix.chance(0.45) { &scripts[mix.index(2)] } else { mix.pick(scripts) };
    let (given, family) = (mix.pick(script.given), mix.pick(script.family));
    let name = if script.family_first { format!("{}{}", family.0, given.0) } else { format!("{} {}", given.0, family.0) };
    // The number keeps addresses apart where two people have one name.
    let email = format!("{}.{}.{at}@example.com", given.1, family.1);
    let id = USER_ID_BASE + at as u64 * 997 + mix.below(997);
    let mut audit_actor = format!("{{\"type\":\"user\",\"id\":\"{id}\",\"name\":").into_bytes();
    put_str(&mut audit_actor, &name);
    audit_actor.extend_from_slice(format!(",\"email\":\"{email}\"}}").as_bytes());
    let mut actor = format!("{{\"id\":\"{id}\",\"email\":\"{email}\",\"name\":").into_bytes();
    put_str(&mut actor, &name);
    actor.push(b'}');
    let object = named(id.to_string(), name.clone()).object;
    Person {
        id,
        name,
        email,
        team: mix.index(teams),
        agent: mix.index(AGENTS.len()),
        audit_actor: audit_actor.into(),
        object,
        actor: actor.into(),
    }
}

fn board(seed: u64, at: usize, teams: usize) -> Board {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";
    let mut mix = Mix::of(&[seed, KEY_BOARD, at as u64]);
    let mut id = String::from("uXjV");
    // Three characters count the boards, so that no two share an id; four are noise.
    for digit in [at / 4096 % 64, at / 64 % 64, at % 64] {
        id.push(char::from(ALPHABET[digit]));
    }
    for _ in 0..4 {
        id.push(char::from(*mix.pick(ALPHABET)));
    }
    id.push('=');
    let subject = mix.pick(names::BOARD_SUBJECTS);
    let name = if mix.chance(0.3) { (*subject).to_owned() } else { format!("{subject} #{at}") };
    Board { named: named(id, name), team: mix.index(teams) }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_and_addresses_are_unique_and_ids_exceed_a_double() {
        let org = Organisation::new(9, 5_000);
        let ids: HashSet<u64> = org.people.iter().map(|person| person.id).collect();
        let emails: HashSet<&str> = org.people.iter().map(|person| person.email.as_str()).collect();
        let boards: HashSet<&str> = org.boards.iter().map(|board| board.named.id.as_str()).collect();
        assert_eq!((ids.len(), emails.len(), boards.len()), (5_000, 5_000, org.boards.len()));
        assert!(ids.iter().all(|id| *id > 1 << 53 && id.to_string().len() == 19));
    }

    #[test]
    fn fragments_are_json() {
        let org = Organisation::new(3, 300);
        for person in &org.people {
            for fragment in [&person.audit_actor, &person.object, &person.actor] {
                let value: serde_json::Value = serde_json::from_slice(fragment).expect("a fragment is JSON");
                assert_eq!(value["name"], person.name);
            }
        }
        for board in &org.boards {
            let value: serde_json::Value = serde_json::from_slice(&board.named.object).expect("a fragment is JSON");
            assert_eq!(value["name"], board.named.name);
        }
    }
}

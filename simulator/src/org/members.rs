//! The member list: what licence reports read. Tests may change it while the simulator runs.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::Organisation;
use crate::config::DAY;
use crate::mix::Mix;

const KEY_MEMBER: u64 = 111;

/// A prebuilt or custom administrator role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdminRole {
    /// `prebuilt` or `custom`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// One member of the organisation, as `GET /v2/orgs/{org_id}/members` knows them. Role and licence are open strings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// 19 digits.
    pub id: String,
    /// The address that events name too.
    pub email: String,
    /// False for a deactivated user.
    pub active: bool,
    /// `organization_internal_user` and others.
    pub role: String,
    /// `full`, `free_restricted` and others.
    pub license: String,
    /// `None` for somebody who never signed in; served as an empty string, null or not at all.
    pub last_activity_at: Option<DateTime<Utc>>,
    /// When the licence was assigned, where that is known.
    pub license_assigned_at: Option<DateTime<Utc>>,
    /// Empty for most.
    #[serde(default)]
    pub admin_roles: Vec<AdminRole>,
}

/// How people use the product; decides their last activity.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Habit {
    Regular,
    Idle,
    Never,
    Deactivated,
}

/// The members of the organisation at its start, in the order of their ids.
pub(crate) fn at_start(org: &Organisation, now: DateTime<Utc>) -> Vec<Member> {
    (0..org.people.len()).map(|at| member(org, at, now)).collect()
}

fn member(org: &Organisation, at: usize, now: DateTime<Utc>) -> Member {
    let mut mix = Mix::of(&[org.seed, KEY_MEMBER, at as u64]);
    let habit = match at {
        at if at < org.actors => Habit::Regular,
        _ => *mix.pick(&[Habit::Idle, Habit::Idle, Habit::Never, Habit::Deactivated]),
    };
    let role = match mix.below(100) {
        _ if at == 0 => "organization_internal_admin",
        0..2 => "organization_internal_admin",
        2..85 => "organization_internal_user",
        85..95 => "organization_external_user",
        95..99 => "organization_team_guest_user",
        _ => "unknown",
    };
    let license = match mix.below(100) {
        0..55 => "full",
        55..65 => "free_restricted",
        65..72 => "occasional",
        72..80 => "standard",
        80..86 => "advanced",
        86..91 => "basic",
        91..95 => "free",
        95..98 => "full_trial",
        _ => "unknown",
    };
    let admin_roles = match role {
        "organization_internal_admin" => vec![AdminRole { kind: "prebuilt".to_owned(), name: "Company Admin".to_owned() }],
        _ if mix.chance(0.01) => vec![AdminRole { kind: "custom".to_owned(), name: "User Admin".to_owned() }],
        _ => Vec::new(),
    };
    Member {
        id: org.people[at].id.to_string(),
        email: org.people[at].email.clone(),
        active: habit != Habit::Deactivated,
        role: role.to_owned(),
        license: license.to_owned(),
        last_activity_at: last_activity(habit, &mut mix, now),
        license_assigned_at: mix.chance(0.9).then(|| now - ago(&mut mix, 200 * DAY, 700 * DAY)),
        admin_roles,
    }
}

fn last_activity(habit: Habit, mix: &mut Mix, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let ago = match habit {
        Habit::Regular => ago(mix, Duration::from_secs(60), 3 * DAY),
        Habit::Idle | Habit::Deactivated => ago(mix, 20 * DAY, 500 * DAY),
        Habit::Never => return None,
    };
    Some(now - ago)
}

fn ago(mix: &mut Mix, least: Duration, most: Duration) -> Duration {
    Duration::from_secs(least.as_secs() + mix.below((most - least).as_secs()))
}

//! Which class, activity and severity an event has: a table, and nothing else.
//!
//! Miro's documentation, specification and dashboards confirm six names of audit events: `sign_in_succeeded`, `sign_in_failed`,
//! `sign_out_succeeded`, `board_opened`, `board_created` and `board_exported`. Its help centre describes the others in words only; the
//! spellings below follow the pattern of those six. A name that is spelled otherwise is not found, and nothing is guessed from its
//! parts: it goes out as a base event and is counted in `miro_siem_events_unmapped_total`. To map it, add a row.
//!
//! Classes and activities are those of OCSF 1.8.0 (schema.ocsf.io). An activity of 99 has a caption of its own.

use std::{collections::HashMap, sync::LazyLock};

use super::reading::{Party, Reading};
use crate::event::StreamKind;

/// A class of OCSF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Base,
    Account,
    Auth,
    Entity,
    Access,
    Group,
    Web,
    App,
}

impl Class {
    /// The class's number, its caption, and the captions of the activities that are used here.
    fn row(self) -> (u16, &'static str, &'static [(u8, &'static str)]) {
        match self {
            Self::Base => (0, "Base Event", &[]),
            Self::Account => (3001, "Account Change", &[(2, "Enable"), (5, "Disable"), (6, "Delete"), (9, "Lock"), (12, "Unlock")]),
            Self::Auth => (3002, "Authentication", &[(1, "Logon"), (2, "Logoff")]),
            Self::Entity => {
                (3004, "Entity Management", &[(1, "Create"), (3, "Update"), (4, "Delete"), (5, "Move"), (8, "Enable"), (9, "Disable")])
            }
            Self::Access => (3005, "User Access Management", &[(1, "Assign Privileges"), (2, "Revoke Privileges")]),
            Self::Group => (3006, "Group Management", &[(3, "Add User"), (4, "Remove User"), (5, "Delete"), (6, "Create")]),
            Self::Web => (
                6001,
                "Web Resources Activity",
                &[(1, "Create"), (2, "Read"), (3, "Update"), (4, "Delete"), (6, "Import"), (7, "Export"), (8, "Share")],
            ),
            Self::App => (6002, "Application Lifecycle", &[(1, "Install"), (2, "Remove"), (6, "Enable"), (7, "Disable")]),
        }
    }

    pub(super) fn uid(self) -> u16 {
        self.row().0
    }

    pub(super) fn caption(self) -> &'static str {
        self.row().1
    }

    /// The caption of an activity; every class has 0 and 99.
    pub(super) fn activity(self, activity: u8) -> &'static str {
        match activity {
            0 => "Unknown",
            99 => "Other",
            _ => self.row().2.iter().find(|(id, _)| *id == activity).map_or("Other", |(_, caption)| caption),
        }
    }
}

/// OCSF's `severity_id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Severity {
    Informational = 1,
    Low = 2,
    Medium = 3,
    High = 4,
}

impl Severity {
    pub(super) fn caption(self) -> &'static str {
        match self {
            Self::Informational => "Informational",
            Self::Low => "Low",
            Self::Medium => "Medium",
            Self::High => "High",
        }
    }

    /// On the scale of CEF (0 to 10) and LEEF (1 to 10).
    pub(super) fn of_ten(self) -> u8 {
        match self {
            Self::Informational => 1,
            Self::Low => 3,
            Self::Medium => 5,
            Self::High => 8,
        }
    }
}

/// What an event was about, which decides where it is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// Nobody knows.
    Unknown,
    /// The actor signs in or out.
    Session,
    /// The user in `object`.
    User,
    /// A privilege of that name, of the user in `object`.
    Privilege(&'static str),
    /// The team in `object`.
    Team,
    /// The user in `object`, and the team in `context`.
    Member,
    /// A setting of that name, of the organisation or team.
    Policy(&'static str),
    /// The organisation itself.
    Organization,
    /// The team's own attributes.
    TeamEntity,
    /// A token of that name.
    Token(&'static str),
    /// The request in `object`.
    Request,
    /// The app in `object`.
    App,
    /// The thing of that type in `object`.
    Resource(&'static str),
    /// The item of a board.
    Item,
    /// What an AI interaction was about.
    Ai,
    /// The collection of the stream in `object`, by us.
    Collection,
}

/// What happened to it, in the words of ECS (`event.type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Access,
    Change,
    Creation,
    Deletion,
    End,
    Info,
    Start,
}

/// One row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mapping {
    pub(super) name: &'static str,
    pub(super) class: Class,
    pub(super) activity: u8,
    /// The caption of an activity of 99.
    pub(super) other: &'static str,
    pub(super) severity: Severity,
    pub(super) what: What,
    pub(super) change: Effect,
}

impl Mapping {
    pub(super) fn type_uid(&self) -> u32 {
        u32::from(self.class.uid()) * 100 + u32::from(self.activity)
    }

    /// Whether somebody was refused; every other event tells of something that was done.
    pub(super) fn is_failure(&self) -> bool {
        self.name == "sign_in_failed"
    }

    pub(super) fn activity_caption(&self) -> &'static str {
        if self.other.is_empty() { self.class.activity(self.activity) } else { self.other }
    }
}

macro_rules! rows {
    ($($class:ident $what:expr => { $($name:literal $activity:literal $severity:ident $change:ident $($other:literal)?),* $(,)? })*) => {
        &[$($(Mapping {
            name: $name,
            class: Class::$class,
            activity: $activity,
            other: concat!($($other)?),
            severity: Severity::$severity,
            what: $what,
            change: Effect::$change,
        }),*),*]
    };
}

/// Whatever is not in the tables.
pub(super) const UNMAPPED: Mapping = Mapping {
    name: "",
    class: Class::Base,
    activity: 99,
    other: "",
    severity: Severity::Informational,
    what: What::Unknown,
    change: Effect::Info,
};

/// Content logs, by `actionType`.
pub(super) const CONTENT: &[Mapping] = rows! {
    Web What::Item => { "create" 1 Informational Creation, "update" 3 Informational Change, "delete" 4 Informational Deletion }
};

/// AI interactions: what they are called is an open list, what they are is not.
pub(super) const AI: Mapping = Mapping {
    name: "",
    class: Class::Web,
    activity: 99,
    other: "AI Interaction",
    severity: Severity::Informational,
    what: What::Ai,
    change: Effect::Access,
};

/// Events of our own, by `event`: what happens in the life of the application that collects.
pub(super) const FORWARDER: &[Mapping] = rows! {
    App What::Collection => {
        "miro_siem.gap_opened" 99 Medium Info "Collection Gap Opened", "miro_siem.gap_closed" 99 Informational Info "Collection Gap Closed",
        "miro_siem.gap_warning" 99 Medium Info "Collection Gap Near Retention",
        "miro_siem.gap_partly_lost" 99 High Info "Collection Gap Partly Lost", "miro_siem.gap_lost" 99 High Info "Collection Gap Lost",
        "miro_siem.heartbeat" 99 Informational Info "Heartbeat",
    }
};

/// Audit events, by `event`.
pub(super) const AUDIT: &[Mapping] = rows! {
    Auth What::Session => {
        "sign_in_succeeded" 1 Informational Start, "sign_in_failed" 1 Low Start, "sign_out_succeeded" 2 Informational End,
    }
    Account What::User => {
        "profile_locked" 9 Medium Change, "profile_unlocked" 12 Low Change, "user_deactivated" 5 Low Change,
        "user_reactivated" 2 Low Change, "user_deleted" 6 Medium Deletion,
        "profile_details_changed" 99 Informational Change "Update", "email_change_requested" 99 Low Change "Request Email Change",
        "email_changed" 99 Low Change "Update Email",
        "user_joined_organization" 99 Informational Change "Join Organization",
    }
    Access What::Privilege("company_admin") => { "company_admin_granted" 1 High Change, "company_admin_revoked" 2 Medium Change }
    Access What::Privilege("team_admin") => { "team_admin_granted" 1 High Change, "team_admin_revoked" 2 Medium Change }
    Access What::Privilege("guest") => { "user_converted_to_guest" 1 Low Change }
    Access What::Privilege("full_member") => { "user_converted_to_full_member" 1 Low Change }
    Group What::Member => {
        "team_member_invited" 99 Low Change "Invite User", "invitation_revoked" 99 Low Change "Revoke Invitation",
        "user_joined_team" 3 Informational Change, "user_removed_from_team" 4 Low Change,
    }
    Group What::Team => { "team_created" 6 Low Creation, "team_deleted" 5 Low Deletion }
    Entity What::TeamEntity => {
        "team_name_changed" 3 Informational Change, "team_logo_changed" 3 Informational Change, "team_logo_removed" 3 Informational Change,
    }
    Entity What::Organization => {
        "organization_name_changed" 3 Informational Change, "organization_logo_changed" 3 Informational Change,
        "organization_logo_removed" 3 Informational Change,
    }
    Entity What::Policy("Team invitations") => { "team_invitation_settings_changed" 3 Low Change }
    Entity What::Policy("Team discovery") => { "team_discovery_changed" 3 Low Change }
    Entity What::Policy("Team guests") => { "team_guests_enabled" 8 Medium Change, "team_guests_disabled" 9 Low Change }
    Entity What::Policy("Default board sharing") => { "team_default_board_sharing" 3 Medium Change }
    Entity What::Policy("Default project sharing") => { "team_default_project_sharing" 3 Medium Change }
    Entity What::Policy("Activity metrics") => {
        "user_activity_metrics_enabled" 8 Low Change, "user_activity_metrics_disabled" 9 Low Change,
    }
    Entity What::Policy("SSO") => { "sso_enabled" 8 High Change, "sso_disabled" 9 High Change, "sso_settings_changed" 3 High Change }
    Entity What::Policy("SCIM") => { "scim_enabled" 8 High Change, "scim_disabled" 9 High Change }
    Entity What::Policy("SCIM notifications") => { "scim_notifications_enabled" 8 Low Change, "scim_notifications_disabled" 9 Low Change }
    Entity What::Token("SCIM API token") => { "scim_api_token_generated" 1 High Creation }
    Entity What::Policy("Domain allowlist") => {
        "domain_allowlist_enabled" 8 Medium Change, "domain_allowlist_disabled" 9 High Change, "domain_allowlist_changed" 3 Medium Change,
    }
    Entity What::Policy("Guests outside allowed domains") => {
        "guests_outside_allowed_domains_enabled" 8 High Change, "guests_outside_allowed_domains_disabled" 9 Medium Change,
    }
    Entity What::Policy("Public links") => {
        "organization_public_link_enabled" 8 High Change, "organization_public_link_disabled" 9 Medium Change,
    }
    Entity What::Policy("Editing by public link") => {
        "organization_public_link_editing_enabled" 8 High Change, "organization_public_link_editing_disabled" 9 Medium Change,
    }
    Entity What::Policy("Team privacy") => { "team_privacy_enabled" 8 Medium Change, "team_privacy_disabled" 9 High Change }
    Entity What::Policy("Domain control") => {
        "domain_control_enabled" 8 Medium Change, "domain_control_disabled" 9 High Change, "domain_control_updated" 3 Medium Change,
    }
    Entity What::Policy("Block deactivated users") => {
        "block_deactivated_users_enabled" 8 Medium Change, "block_deactivated_users_disabled" 9 High Change,
    }
    Entity What::Policy("Request management") => { "request_management_changed" 3 Medium Change }
    Entity What::Policy("AI moderation") => { "ai_moderation_changed" 3 High Change }
    Entity What::Request => {
        "access_request_created" 1 Informational Creation, "access_request_declined" 99 Informational Info "Decline",
    }
    App What::App => {
        "app_installed" 1 Medium Creation, "app_uninstalled" 2 Medium Deletion, "app_approved" 6 Medium Change,
        "app_restricted" 7 Medium Change,
    }
    Web What::Resource("board") => {
        "board_opened" 2 Informational Access, "board_created" 1 Informational Creation, "board_exported" 7 Low Access,
        "board_deleted" 4 Low Deletion, "board_restored" 99 Informational Change "Restore", "board_renamed" 3 Informational Change,
        "board_description_changed" 3 Informational Change, "board_cover_changed" 3 Informational Change,
        "board_moved_to_team" 3 Low Change, "board_added_to_project" 3 Informational Change,
        "board_removed_from_project" 3 Informational Change, "board_moved_between_projects" 3 Informational Change,
        "board_owner_changed" 3 Low Change, "board_user_sharing" 8 Low Change, "board_user_removed" 99 Informational Change "Unshare",
        "board_public_link_enabled" 8 High Change, "board_public_link_disabled" 99 Informational Change "Unshare",
        "board_public_link_changed" 8 High Change, "board_password_enabled" 3 Low Change, "board_password_disabled" 3 Medium Change,
        "board_password_changed" 3 Low Change, "board_organization_sharing" 8 Low Change, "board_team_sharing" 8 Low Change,
        "board_status_created" 3 Informational Change, "board_status_updated" 3 Informational Change,
        "board_status_deleted" 3 Informational Change, "file_downloaded" 7 Low Access, "file_uploaded" 6 Low Creation,
        "ai_feature_used" 99 Informational Access "AI Feature Use",
    }
    Web What::Resource("template") => {
        "template_opened" 2 Informational Access, "template_created" 1 Informational Creation, "template_deleted" 4 Low Deletion,
        "template_restored" 99 Informational Change "Restore", "template_renamed" 3 Informational Change,
        "template_owner_changed" 3 Low Change, "template_status_created" 3 Informational Change,
        "template_status_updated" 3 Informational Change, "template_status_deleted" 3 Informational Change,
    }
    Web What::Resource("project") => {
        "project_created" 1 Informational Creation, "project_deleted" 4 Low Deletion, "project_renamed" 3 Informational Change,
        "project_user_sharing" 8 Low Change, "project_participant_removed" 99 Informational Change "Unshare",
        "project_team_sharing" 8 Low Change, "project_owner_changed" 3 Low Change,
    }
    Web What::Resource("blueprint") => {
        "blueprint_created" 1 Informational Creation, "blueprint_deleted" 4 Low Deletion,
        "blueprint_section_created" 3 Informational Change, "blueprint_section_deleted" 3 Informational Change,
        "blueprint_owner_changed" 3 Low Change,
    }
};

static AUDIT_BY_NAME: LazyLock<HashMap<&str, &Mapping>> = LazyLock::new(|| AUDIT.iter().map(|row| (row.name, row)).collect());

/// Whether the object of audit events of that name is a board.
pub(super) fn is_about_a_board(name: &str) -> bool {
    name.starts_with("board_") || AUDIT_BY_NAME.get(name).is_some_and(|row| row.what == What::Resource("board"))
}

/// The event's row. One without what its class requires (a user, a board) has none: its class would be a claim that nobody can check.
pub(super) fn of(reading: &Reading<'_>) -> &'static Mapping {
    let key = reading.key.as_deref().unwrap_or_default();
    let row = match reading.stream {
        StreamKind::Audit => AUDIT_BY_NAME.get(key).copied(),
        StreamKind::Content => CONTENT.iter().find(|row| row.name == key),
        StreamKind::Ai => Some(&AI),
        StreamKind::Licenses => None,
        StreamKind::Forwarder => FORWARDER.iter().find(|row| row.name == key),
    };
    row.filter(|row| is_complete(row.what, reading)).unwrap_or(&UNMAPPED)
}

fn is_complete(what: What, reading: &Reading<'_>) -> bool {
    let object = &reading.object;
    match what {
        What::Unknown | What::Policy(_) | What::Token(_) | What::Collection => true,
        What::Session => reading.actor.is_known() || object.is_known(),
        What::Organization => object.is_known() || reading.org.is_known(),
        What::Member => object.is_known() && (reading.team.id.is_some() || reading.team.name.is_some()),
        What::User | What::Privilege(_) => object.is_known(),
        What::Item => object.id.is_some() || reading.board.is_some(),
        What::Team | What::TeamEntity | What::Request | What::App | What::Resource(_) | What::Ai => {
            object.id.is_some() || object.name.is_some()
        }
    }
}

/// Whom it was done to. The address that `details` give is the user's in `object` only if the id is.
pub(super) fn target<'a>(what: What, reading: &'a Reading<'a>) -> Option<Party<'a>> {
    let (object, grantee) = (&reading.object, &reading.grantee);
    match what {
        What::User | What::Privilege(_) | What::Member => {
            let same = object.id.is_some() && object.id == grantee.id;
            let email = object.email.clone().or_else(|| grantee.email.clone().filter(|_| same));
            Some(Party { id: object.id.clone(), name: object.name.clone(), email, kind: None })
        }
        _ if grantee.is_known() => Some(Party { id: grantee.id.clone(), email: grantee.email.clone(), ..Party::default() }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_name_has_one_row_and_every_activity_a_caption() {
        let names: HashSet<&str> = AUDIT.iter().map(|row| row.name).collect();
        assert_eq!(names.len(), AUDIT.len());
        for row in AUDIT.iter().chain(CONTENT).chain(FORWARDER).chain([&AI, &UNMAPPED]) {
            let is_other = row.class.activity(row.activity) == "Other";
            assert_eq!(is_other, row.activity == 99, "{}: activity {} has no caption", row.name, row.activity);
            assert!(row.other.is_empty() || is_other, "{}: only 99 has a caption of its own", row.name);
            assert_eq!(row.type_uid(), u32::from(row.class.uid()) * 100 + u32::from(row.activity));
        }
    }
}

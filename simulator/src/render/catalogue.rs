//! The audit events that the organisation produces.
//!
//! Six names and one category are confirmed by Miro's documentation, specification or dashboards; they are in
//! [`CONFIRMED`]. Miro's help centre describes all the others without giving their API names: those spellings, and all
//! categories but `authentication`, are this simulator's own. They follow the patterns of Miro's dashboards (`board_*`,
//! `*public_link*`, `*sharing`, `file_*`).

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum About {
    Board,
    User,
    Team,
    Organization,
    Project,
    Template,
    App,
    Blueprint,
}

/// The shape of an event's `details`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// `authType`, `mfaFactorType`
    Auth,
    /// `role`, `effectiveRole`
    Role,
    /// `type`, `object`
    File,
    /// `oldValue`, `newValue`
    Change,
    /// Another user: `userId`, `email`, `role`
    Grantee,
    /// `feature`, `model`
    Ai,
    /// Scopes that an app asked for.
    Scopes,
    Plain,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) category: &'static str,
    pub(crate) about: About,
    pub(crate) shape: Shape,
    /// How often it happens, relative to the others.
    pub(crate) weight: u32,
}

const fn event(name: &'static str, category: &'static str, about: About, shape: Shape, weight: u32) -> Kind {
    Kind { name, category, about, shape, weight }
}

macro_rules! kinds {
    ($($group:literal $about:ident { $($name:literal $shape:ident $weight:literal),* $(,)? })*) => {
        &[$($(event($name, $group, About::$about, Shape::$shape, $weight)),*),*]
    };
}

/// The confirmed names.
pub(crate) const CONFIRMED: &[Kind] = &[
    event("sign_in_succeeded", "authentication", About::User, Shape::Auth, 900),
    event("sign_in_failed", "authentication", About::User, Shape::Auth, 40),
    event("sign_out_succeeded", "authentication", About::User, Shape::Plain, 300),
    event("board_opened", "boards", About::Board, Shape::Role, 4_800),
    event("board_created", "boards", About::Board, Shape::Plain, 420),
    event("board_exported", "boards", About::Board, Shape::File, 90),
];

/// One name for every event that the help centre describes.
pub(crate) const INVENTED: &[Kind] = kinds! {
    "administration" Organization {
        "organization_name_changed" Change 1, "organization_logo_changed" Plain 1, "organization_logo_removed" Plain 1,
        "user_activity_metrics_enabled" Plain 1, "user_activity_metrics_disabled" Plain 1,
        "sso_enabled" Plain 1, "sso_disabled" Plain 1, "sso_settings_changed" Change 2,
        "scim_enabled" Plain 1, "scim_disabled" Plain 1, "scim_api_token_generated" Plain 1,
        "scim_notifications_enabled" Plain 1, "scim_notifications_disabled" Plain 1,
        "domain_allowlist_enabled" Plain 1, "domain_allowlist_disabled" Plain 1, "domain_allowlist_changed" Change 2,
        "guests_outside_allowed_domains_enabled" Plain 1, "guests_outside_allowed_domains_disabled" Plain 1,
        "organization_public_link_enabled" Role 1, "organization_public_link_disabled" Role 1,
        "organization_public_link_editing_enabled" Role 1, "organization_public_link_editing_disabled" Role 1,
        "team_privacy_enabled" Plain 1, "team_privacy_disabled" Plain 1,
        "domain_control_enabled" Plain 1, "domain_control_disabled" Plain 1, "domain_control_updated" Change 2,
        "block_deactivated_users_enabled" Plain 1, "block_deactivated_users_disabled" Plain 1,
        "request_management_changed" Change 2, "ai_moderation_changed" Change 1,
    }
    "administration" User { "access_request_created" Grantee 20, "access_request_declined" Grantee 6 }
    "administration" Team {
        "team_created" Plain 4, "team_deleted" Plain 1, "team_name_changed" Change 3, "team_logo_changed" Plain 2,
        "team_logo_removed" Plain 1, "team_invitation_settings_changed" Change 2, "team_discovery_changed" Change 2,
        "team_guests_enabled" Plain 2, "team_guests_disabled" Plain 1, "team_default_board_sharing" Role 2,
        "team_default_project_sharing" Role 2,
    }
    "administration" App { "app_installed" Scopes 20, "app_uninstalled" Plain 8, "app_approved" Plain 4, "app_restricted" Plain 2 }
    "user_management" User {
        "team_member_invited" Grantee 90, "user_converted_to_guest" Grantee 5, "user_converted_to_full_member" Grantee 12,
        "company_admin_granted" Grantee 1, "company_admin_revoked" Grantee 1, "team_admin_granted" Grantee 5,
        "team_admin_revoked" Grantee 4, "user_removed_from_team" Grantee 20, "user_deleted" Grantee 3,
        "invitation_revoked" Grantee 6, "user_deactivated" Grantee 6, "user_reactivated" Grantee 3,
        "user_joined_team" Grantee 60, "user_joined_organization" Grantee 20,
    }
    "boards" Board {
        "board_deleted" Plain 90, "board_restored" Plain 12, "board_renamed" Change 120, "board_description_changed" Change 30,
        "board_cover_changed" Plain 20, "board_moved_to_team" Change 15, "board_added_to_project" Change 60,
        "board_removed_from_project" Change 20, "board_moved_between_projects" Change 12, "board_owner_changed" Grantee 25,
        "board_user_sharing" Grantee 260, "board_user_removed" Grantee 30, "board_public_link_enabled" Role 20,
        "board_public_link_disabled" Role 12, "board_public_link_changed" Role 8, "board_password_enabled" Plain 4,
        "board_password_disabled" Plain 2, "board_password_changed" Plain 3, "board_organization_sharing" Role 40,
        "board_team_sharing" Role 80, "file_downloaded" File 120, "file_uploaded" File 40,
        "board_status_created" Plain 8, "board_status_updated" Change 16, "board_status_deleted" Plain 4,
    }
    "templates" Template {
        "template_opened" Role 60, "template_created" Plain 10, "template_deleted" Plain 3, "template_restored" Plain 1,
        "template_renamed" Change 3, "template_owner_changed" Grantee 2, "template_status_created" Plain 1,
        "template_status_updated" Change 1, "template_status_deleted" Plain 1,
    }
    "projects" Project {
        "project_created" Plain 12, "project_deleted" Plain 4, "project_renamed" Change 5, "project_user_sharing" Grantee 18,
        "project_participant_removed" Grantee 5, "project_team_sharing" Role 6, "project_owner_changed" Grantee 3,
    }
    "authentication" User { "profile_locked" Plain 4, "profile_unlocked" Plain 4 }
    "profile" User { "profile_details_changed" Change 40, "email_change_requested" Change 4, "email_changed" Change 3 }
    "blueprints" Blueprint {
        "blueprint_created" Plain 3, "blueprint_deleted" Plain 1, "blueprint_section_created" Plain 4,
        "blueprint_section_deleted" Plain 2, "blueprint_owner_changed" Grantee 1,
    }
    "ai" Board { "ai_feature_used" Ai 180 }
};

/// A table from which a uniform draw gives a kind by its weight.
#[derive(Debug)]
pub(crate) struct Catalogue {
    slots: Vec<&'static Kind>,
}

/// Names for events that nobody has described yet; a collector must pass them through.
pub(crate) const UNKNOWN: &[&str] = &["quantum_board_entangled", "boardOpened.v3", "legal_hold_applied", "событие_без_описания", "x"];

impl Catalogue {
    pub(crate) fn new() -> Self {
        let weighted = CONFIRMED.iter().chain(INVENTED);
        let slots = weighted.flat_map(|kind| std::iter::repeat_n(kind, kind.weight as usize)).collect();
        Self { slots }
    }

    pub(crate) fn pick(&self, mix: &mut crate::mix::Mix) -> &'static Kind {
        self.slots[mix.index(self.slots.len())]
    }
}

/// The kind of that name.
///
/// # Panics
/// Where the catalogue has no such name; the callers name constants of this file, and a test names all of them.
pub(crate) fn kind(name: &str) -> &'static Kind {
    CONFIRMED.iter().chain(INVENTED).find(|kind| kind.name == name).unwrap_or_else(|| panic!("no audit event is called {name}"))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_unique_and_match_the_dashboards_patterns() {
        let names: Vec<&str> = CONFIRMED.iter().chain(INVENTED).map(|kind| kind.name).collect();
        assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len());
        for pattern in ["board_", "file_", "sign_in_"] {
            assert!(names.iter().any(|name| name.starts_with(pattern)), "{pattern}");
        }
        assert!(names.iter().filter(|name| name.contains("public_link")).count() >= 3);
        assert!(names.iter().filter(|name| name.ends_with("sharing")).count() >= 3);
    }

    #[test]
    fn the_readme_lists_every_name_and_says_which_are_confirmed() {
        let readme = include_str!("../../README.md");
        for kind in CONFIRMED.iter().chain(INVENTED) {
            assert!(readme.contains(&format!("`{}`", kind.name)), "the README does not list {}", kind.name);
        }
        let confirmed = readme.lines().find(|line| line.starts_with("Confirmed names:")).expect("the README names the confirmed");
        for kind in CONFIRMED {
            assert!(confirmed.contains(kind.name), "{}", kind.name);
        }
    }
}

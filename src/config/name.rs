//! The names that operators give to organisations and sinks.

use super::{
    node::Node,
    problem::Faulty,
    table::{At, Table},
};

const NAME_CHARS_MAX: usize = 64;
/// The same rule as a regular expression, but for the length.
pub(super) const PATTERN: &str = "^[A-Za-z0-9](_?[A-Za-z0-9-])*_?$";

/// Checks one name. It goes into paths, metric labels and the names of environment variables.
pub(super) fn check(at: &At<'_>, name: &str, node: &Node) -> Result<(), Faulty> {
    let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    let begins_well = name.starts_with(|first: char| first.is_ascii_alphanumeric());
    if is_plain && begins_well && name.len() <= NAME_CHARS_MAX && !name.contains("__") {
        return Ok(());
    }
    let message = "a name is made of at most 64 letters, digits, `-` and single `_`, and begins with a letter or digit";
    Err(at.problem(node, message))
}

/// Refuses names that an environment variable could not tell apart.
pub(super) fn refuse_collisions(table: &Table<'_>) {
    let mut seen: Vec<(String, &str)> = Vec::new();
    for (name, node) in table.entries() {
        let folded = fold(name);
        match seen.iter().find(|(other, _)| *other == folded) {
            Some((_, first)) => {
                let message = format!("collides with the name {first:?}: names differ in more than case, `-` and `_`");
                table.at.child(name).problem(node, message);
            }
            None => seen.push((folded, name)),
        }
    }
}

/// What an environment variable can say of a name.
pub(super) fn fold(name: &str) -> String {
    name.to_ascii_lowercase().replace('-', "_")
}

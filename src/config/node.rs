//! What was written, before anything is known about its meaning; every piece remembers where it comes from.

use std::collections::BTreeMap;

use config::{Value, ValueKind};

/// Every variable that overrides a key begins with this.
pub(super) const ENV_PREFIX: &str = "MIRO_SIEM__";

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// Nobody wrote it.
    BuiltIn,
    /// The configuration file.
    File,
    /// An environment variable of that name.
    Environment(String),
}

/// A value with its origin. Has no `Debug`: it may be a secret.
#[derive(Clone)]
pub(super) struct Node {
    pub(super) kind: Kind,
    pub(super) origin: Origin,
}

/// What a value looks like.
#[derive(Clone)]
pub(super) enum Kind {
    /// YAML's and JSON's null.
    Nothing,
    Switch(bool),
    Integer(i128),
    /// With a fraction, or too large for a whole number.
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Table(BTreeMap<String, Node>),
}

impl Node {
    /// The text of a default, read by the same rules as a variable.
    pub(super) fn built_in(text: &str) -> Self {
        Self { kind: Kind::Text(text.to_owned()), origin: Origin::BuiltIn }
    }

    /// What the `config` crate has merged. Values without an origin come from `unmarked`.
    pub(super) fn from_merged(value: Value, unmarked: &Origin) -> Self {
        let origin = match value.origin() {
            Some(name) if name.starts_with(ENV_PREFIX) => Origin::Environment(name.to_owned()),
            _ => unmarked.clone(),
        };
        let kind = match value.kind {
            ValueKind::Nil => Kind::Nothing,
            ValueKind::Boolean(switch) => Kind::Switch(switch),
            ValueKind::I64(number) => Kind::Integer(number.into()),
            ValueKind::U64(number) => Kind::Integer(number.into()),
            ValueKind::I128(number) => Kind::Integer(number),
            ValueKind::U128(number) => i128::try_from(number).map_or(Kind::Float(number as f64), Kind::Integer),
            ValueKind::Float(number) => Kind::Float(number),
            ValueKind::String(text) => Kind::Text(text),
            ValueKind::Array(list) => Kind::List(list.into_iter().map(|node| Self::from_merged(node, unmarked)).collect()),
            ValueKind::Table(table) => Kind::Table(table.into_iter().map(|(key, node)| (key, Self::from_merged(node, unmarked))).collect()),
        };
        let origin = made_by_variables(&kind).unwrap_or(origin);
        Self { kind, origin }
    }

    /// Notes the variable of every key that comes from one.
    pub(super) fn variables(&self, key: &str, found: &mut BTreeMap<String, String>) {
        if let Origin::Environment(name) = &self.origin {
            found.insert(key.to_owned(), name.clone());
        }
        if let Kind::Table(table) = &self.kind {
            for (name, node) in table {
                let below = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                node.variables(&below, found);
            }
        }
    }

    /// Whether types are only spelled out here: variables and defaults are text, whatever they mean.
    pub(super) fn is_spelled(&self) -> bool {
        self.origin != Origin::File
    }

    /// What it is, in words that show nothing of it.
    pub(super) fn describe(&self) -> &'static str {
        match &self.kind {
            Kind::Nothing => "nothing",
            Kind::Switch(true) => "true",
            Kind::Switch(false) => "false",
            Kind::Integer(_) => "a whole number",
            Kind::Float(_) => "a number with a fraction, or one that is too large",
            Kind::Text(text) if text.is_empty() => "an empty text",
            Kind::Text(_) => "a text",
            Kind::List(_) => "a list",
            Kind::Table(_) => "a table",
        }
    }
}

/// Merging forgets where a table comes from; one that holds nothing but variables comes from the first of them.
fn made_by_variables(kind: &Kind) -> Option<Origin> {
    let Kind::Table(table) = kind else { return None };
    let is_variable = |node: &Node| matches!(node.origin, Origin::Environment(_));
    table.values().all(is_variable).then(|| table.values().next().map(|node| node.origin.clone())).flatten()
}

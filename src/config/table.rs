//! Reading a table: its keys by their declarations, and whatever is not declared as a problem.

use std::collections::BTreeMap;

use super::{
    key::{Key, Keys, Presence},
    node::{Kind, Node},
    problem::{Faulty, Report},
    value::Value,
};

/// Where the reader is: the full key, and where problems go.
#[derive(Clone)]
pub(super) struct At<'a> {
    pub(super) report: &'a Report,
    pub(super) key: String,
}

impl<'a> At<'a> {
    /// The top of the configuration.
    pub(super) fn root(report: &'a Report) -> Self {
        Self { report, key: String::new() }
    }

    /// One step further in.
    pub(super) fn child(&self, name: &str) -> Self {
        let key = if self.key.is_empty() { name.to_owned() } else { format!("{}.{name}", self.key) };
        Self { report: self.report, key }
    }

    /// An element of a list.
    pub(super) fn element(&self, index: usize) -> Self {
        Self { report: self.report, key: format!("{}[{index}]", self.key) }
    }

    /// Records that something is wrong here.
    pub(super) fn problem(&self, node: &Node, message: impl Into<String>) -> Faulty {
        self.report.problem(&self.key, &node.origin, message)
    }

    /// Records that something is doubtful here.
    pub(super) fn warning(&self, node: &Node, message: impl Into<String>) {
        self.report.warning(&self.key, &node.origin, message);
    }
}

/// A table whose keys are being read.
pub(super) struct Table<'a> {
    pub(super) at: At<'a>,
    pub(super) node: &'a Node,
    entries: &'a BTreeMap<String, Node>,
}

static NO_ENTRIES: BTreeMap<String, Node> = BTreeMap::new();

impl<'a> Table<'a> {
    /// Takes a node for a table; null stands for an empty one, as in YAML's `audit:`.
    pub(super) fn open(at: At<'a>, node: &'a Node) -> Result<Self, Faulty> {
        match &node.kind {
            Kind::Table(entries) => Ok(Self { at, node, entries }),
            Kind::Nothing => Ok(Self { at, node, entries: &NO_ENTRIES }),
            _ => Err(at.problem(node, format!("needs to be a table; found {}", node.describe()))),
        }
    }

    /// Takes a node for a table of those keys and no others.
    pub(super) fn of_keys(at: At<'a>, node: &'a Node, keys: Keys) -> Result<Self, Faulty> {
        let table = Self::open(at, node)?;
        table.refuse_unknown(&[keys], |_| None);
        Ok(table)
    }

    /// Reports every key that is not declared. `explain` knows better what some of them are about.
    pub(super) fn refuse_unknown(&self, declared: &[Keys], explain: impl Fn(&str) -> Option<String>) {
        let names: Vec<&str> = declared.iter().copied().flatten().map(|key| key.name()).collect();
        for (name, node) in self.entries.iter().filter(|(name, _)| !names.contains(&name.as_str())) {
            let message = explain(name).unwrap_or_else(|| unknown(name, &names));
            self.at.child(name).problem(node, message);
        }
    }

    /// Reports every key that is none of those.
    pub(super) fn refuse_unlisted(&self, names: &[&str]) {
        for (name, node) in self.entries.iter().filter(|(name, _)| !names.contains(&name.as_str())) {
            self.at.child(name).problem(node, unknown(name, names));
        }
    }

    /// What a key holds, by its declaration.
    pub(super) fn take<T: Value, P: Presence>(&self, key: &Key<T, P>) -> Result<P::Out<T>, Faulty> {
        let at = self.at.child(key.name);
        match self.raw(key.name) {
            Some(node) => key.read(&at, node).map(P::present),
            None => P::absent(key, &at, self.node),
        }
    }

    /// What a key holds, as it is written.
    pub(super) fn raw(&self, name: &str) -> Option<&'a Node> {
        self.entries.get(name)
    }

    /// Every key with what it holds.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&'a str, &'a Node)> + use<'a> {
        self.entries.iter().map(|(name, node)| (name.as_str(), node))
    }

    /// Records that something is wrong with a key of this table.
    pub(super) fn problem(&self, name: &str, message: impl Into<String>) -> Faulty {
        self.at.child(name).problem(self.raw(name).unwrap_or(self.node), message)
    }
}

/// "unknown key", and the key that was meant where one is near.
fn unknown(name: &str, known: &[&str]) -> String {
    match nearest(name, known) {
        Some(meant) => format!("unknown key; did you mean {meant:?}?"),
        None if known.len() <= 8 => format!("unknown key; known here: {}", known.join(", ")),
        None => "unknown key".to_owned(),
    }
}

/// The known word that a mistyped one is nearest to, if it is near at all: spelling in another case, with dashes, or with about
/// one letter in three wrong.
pub(super) fn nearest<'w>(word: &str, known: &[&'w str]) -> Option<&'w str> {
    let plain = |text: &str| text.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    let written = plain(word);
    if written.is_empty() {
        return None;
    }
    known
        .iter()
        .map(|known| (strsim::damerau_levenshtein(&written, &plain(known)), *known))
        .filter(|(distance, known)| *distance <= (known.len() / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

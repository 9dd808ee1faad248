//! The environment as a layer over the file: `MIRO_SIEM__SINKS__SPLUNK__URL` is `sinks.splunk.url`.
//!
//! Names of variables have no case and no dashes, names of organisations and sinks have both: each part is matched with what the
//! file has, and only what is new is taken in lower case. A value is text; the key that it belongs to decides what it means. One
//! that is a JSON object or list stands for a table or list.

use std::{collections::BTreeMap, fmt};

use config::{Map, Value, ValueKind};

use super::{
    name::fold,
    node::ENV_PREFIX,
    problem::{Place, Problem},
};

/// The environment variables of a process.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// Those of this process. What is not Unicode is kept with the replacement character in it, so that it is refused where it matters.
    pub fn of_process() -> Self {
        std::env::vars_os().map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned())).collect()
    }

    /// A variable; an empty one counts as not set.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Whether any variable overrides a key below `section`.
    pub(super) fn names_in(&self, section: &str) -> Vec<String> {
        let prefix = format!("{ENV_PREFIX}{}__", section.to_ascii_uppercase());
        let names = self.overrides().filter_map(|(name, _)| name.to_ascii_uppercase().strip_prefix(&prefix).map(str::to_ascii_lowercase));
        names.map(|rest| rest.split("__").next().unwrap_or_default().to_owned()).collect()
    }

    fn overrides(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .filter(|(name, value)| !value.is_empty() && name.get(..ENV_PREFIX.len()).is_some_and(|start| start == ENV_PREFIX))
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The layer that the variables make over `file`, or what is wrong with them.
    pub(super) fn layer(&self, file: &Map<String, Value>) -> Result<Map<String, Value>, Vec<Problem>> {
        let (mut layer, mut problems) = (Map::new(), Vec::new());
        // In the order of names, so that a variable comes before those that it would swallow.
        for (name, text) in self.overrides() {
            let parts: Vec<&str> = name[ENV_PREFIX.len()..].split("__").collect();
            // The `config` crate would take brackets and dots in the first part for a path, and `[9999999999]` for that many elements.
            let is_plain = |part: &&str| part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
            let placed = if parts.iter().any(|part| part.is_empty()) {
                Err("names no key: there is nothing between two `__`".to_owned())
            } else if !parts.iter().all(is_plain) {
                Err("names no key: a key is made of letters, digits, `_` and `-`".to_owned())
            } else {
                insert(&mut layer, Some(file), &parts, value(name, text))
            };
            if let Err(message) = placed {
                problems.push(Problem { place: Place::Environment(name.to_owned()), key: String::new(), message });
            }
        }
        if problems.is_empty() { Ok(layer) } else { Err(problems) }
    }
}

impl FromIterator<(String, String)> for Environment {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(variables: I) -> Self {
        Self(variables.into_iter().collect())
    }
}

impl fmt::Debug for Environment {
    /// Without any value: tokens are among them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Puts a value to its place, by the keys that the file has there already.
fn insert(layer: &mut Map<String, Value>, file: Option<&Map<String, Value>>, parts: &[&str], value: Value) -> Result<(), String> {
    let Some((part, rest)) = parts.split_first() else { return Ok(()) };
    let key = resolve(part, layer, file);
    if rest.is_empty() {
        return match layer.insert(key, value) {
            None => Ok(()),
            Some(_) => Err("is set a second time by another variable".to_owned()),
        };
    }
    let below = file.and_then(|file| table_of(file.get(&key)?));
    let origin = value.origin().map(ToOwned::to_owned);
    let next = layer.entry(key).or_insert_with(|| Value::new(origin.as_ref(), ValueKind::Table(Map::new())));
    // `…__AUDIT=true` switches a stream on, and `…__AUDIT__START` says more about it.
    if matches!(&next.kind, ValueKind::String(text) if text.trim().eq_ignore_ascii_case("true")) {
        next.kind = ValueKind::Table(Map::new());
    }
    match &mut next.kind {
        ValueKind::Table(table) => insert(table, below, rest, value),
        _ => Err("goes into a table that another variable sets to a plain value".to_owned()),
    }
}

fn table_of(value: &Value) -> Option<&Map<String, Value>> {
    match &value.kind {
        ValueKind::Table(table) => Some(table),
        _ => None,
    }
}

/// The key that a part of a variable's name stands for.
fn resolve(part: &str, layer: &Map<String, Value>, file: Option<&Map<String, Value>>) -> String {
    let folded = fold(part);
    let mut known: Vec<&String> = file.into_iter().flat_map(Map::keys).chain(layer.keys()).filter(|key| fold(key) == folded).collect();
    // Names that collide are refused later; until then the choice has to be the same each time.
    known.sort();
    known.first().map_or_else(|| part.to_ascii_lowercase(), |key| (*key).clone())
}

/// A variable's text, or the table or list that it spells as JSON.
fn value(name: &str, text: &str) -> Value {
    let spelled = text.trim_start();
    let json = if spelled.starts_with(['{', '[']) { serde_json::from_str(text).ok() } else { None };
    from_json(name, json.unwrap_or_else(|| serde_json::Value::String(text.to_owned())))
}

fn from_json(name: &str, json: serde_json::Value) -> Value {
    let kind = match json {
        serde_json::Value::Null => ValueKind::Nil,
        serde_json::Value::Bool(switch) => ValueKind::Boolean(switch),
        // As text, like every other value of a variable.
        serde_json::Value::Number(number) => ValueKind::String(number.to_string()),
        serde_json::Value::String(text) => ValueKind::String(text),
        serde_json::Value::Array(list) => ValueKind::Array(list.into_iter().map(|element| from_json(name, element)).collect()),
        serde_json::Value::Object(table) => ValueKind::Table(table.into_iter().map(|(key, value)| (key, from_json(name, value))).collect()),
    };
    Value::new(Some(&name.to_owned()), kind)
}

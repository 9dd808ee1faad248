//! The JSON Schema of the configuration, for editors, made from the declarations of the keys.
//!
//! It knows every key, its form and its meaning, and refuses unknown ones. It is no replacement for `miro-siem check`: most limits
//! of values, what keys mean to each other, and what the environment adds are beyond it.

use serde_json::{Map, Value as Json, json};

use super::{
    general::{ADMIN_KEYS, STATE_KEYS, TLS_KEYS},
    key::{Declared, Keys},
    name::PATTERN,
    org::{ORG_KEYS, STREAMS},
    sinks::{COMMON_KEYS, Connects, SinkType, TYPES},
};

const DESCRIPTION: &str = "The configuration of miro-siem. A key that only an environment variable sets looks missing to this schema; \
                           `miro-siem check` says what really holds.";

/// The schema, in the dialect 2020-12.
pub fn schema() -> Json {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "miro-siem",
        "description": DESCRIPTION,
        "type": "object",
        "properties": {
            "state": table(STATE_KEYS),
            "admin": table(ADMIN_KEYS),
            "tls": table(TLS_KEYS),
            "orgs": named(org()),
            "sinks": named(sink()),
        },
        "required": ["orgs", "sinks"],
        "additionalProperties": false,
    })
}

/// A table of those keys and no others. A table that is written without anything in it is null in YAML.
pub(super) fn table(keys: Keys) -> Json {
    closed(json!(["object", "null"]), keys.iter().copied(), Map::new())
}

/// A table of those keys, or `true` and `false`.
pub(super) fn table_or_switch(keys: Keys) -> Json {
    closed(json!(["object", "null", "boolean"]), keys.iter().copied(), Map::new())
}

/// Tables under names of the operator's choice.
fn named(table: Json) -> Json {
    json!({ "type": "object", "minProperties": 1, "propertyNames": { "pattern": PATTERN, "maxLength": 64 }, "additionalProperties": table })
}

fn org() -> Json {
    let streams = STREAMS.iter().map(|(kind, keys)| (kind.as_str().to_owned(), table_or_switch(keys)));
    let mut org = closed(json!("object"), ORG_KEYS.iter().copied(), streams.collect());
    org["anyOf"] = STREAMS.iter().map(|(kind, _)| json!({ "required": [kind.as_str()] })).collect();
    org
}

/// What a sink's other keys are depends on its type.
fn sink() -> Json {
    let types: Vec<&str> = TYPES.iter().map(|kind| kind.name).collect();
    let by_type: Vec<Json> = TYPES.iter().map(|kind| of_type(kind)).collect();
    json!({ "type": "object", "required": ["type"], "properties": { "type": { "enum": types } }, "allOf": by_type })
}

fn of_type(kind: &SinkType) -> Json {
    let is_meant = |key: &&dyn Declared| kind.connects == Connects::Yes || key.name() != "tls";
    let keys = COMMON_KEYS.iter().copied().filter(is_meant).chain(kind.keys.iter().copied());
    let mut then = closed(json!("object"), keys, Map::new());
    then["description"] = json!(kind.doc);
    json!({ "if": { "properties": { "type": { "const": kind.name } }, "required": ["type"] }, "then": then })
}

fn closed(kind: Json, keys: impl Iterator<Item = &'static dyn Declared>, mut properties: Map<String, Json>) -> Json {
    let mut required = Vec::new();
    for key in keys {
        if key.is_required() {
            required.push(key.name());
        }
        properties.insert(key.name().to_owned(), property(key));
    }
    json!({ "type": kind, "properties": properties, "required": required, "additionalProperties": false })
}

fn property(key: &dyn Declared) -> Json {
    let mut property = key.form();
    let otherwise = match key.otherwise() {
        "" | "required" => String::new(),
        otherwise => format!(" Left out: {otherwise}."),
    };
    property["description"] = json!(format!("{} ({}){otherwise}", key.doc(), key.meant()));
    // What TOML and JSON spell alike; a table is spelled differently, and needs no example: its keys have their own.
    let as_json = |toml: String| serde_json::from_str::<Json>(&toml).ok();
    if let Some(default) = key.default().and_then(as_json) {
        property["default"] = default;
    } else if let Some(example) = as_json(key.example()) {
        property["examples"] = json!([example]);
    }
    property
}

//! Whatever is written, the answer is settings or problems, never a panic, and never a secret.

use std::path::Path;

use miro_siem::config::load_text;
use proptest::prelude::*;

use super::{env, no_env};

const KEYS: &[&str] = &[
    "state",
    "admin",
    "tls",
    "orgs",
    "sinks",
    "acme",
    "audit",
    "content",
    "ai",
    "licenses",
    "dir",
    "journal_max",
    "drain_timeout",
    "listen",
    "token",
    "oauth",
    "client_id",
    "client_secret",
    "refresh_token",
    "file",
    "env",
    "credential",
    "ca_file",
    "cert_file",
    "key_file",
    "id",
    "api_url",
    "poll_interval",
    "start",
    "overlap",
    "page_size",
    "reconcile",
    "retention",
    "heartbeat",
    "forwarder_events",
    "quota_share",
    "type",
    "streams",
    "format",
    "provenance",
    "filter",
    "include_events",
    "exclude_events",
    "batch_events_max",
    "batch_bytes_max",
    "flush_interval",
    "timeout",
    "retry_initial",
    "retry_max",
    "path",
    "size_max",
    "compression",
    "mode",
    "url",
    "ack",
    "ack_timeout",
    "index",
    "endpoint",
    "dcr_id",
    "tenant_id",
    "managed_identity",
    "workload_identity",
    "authority",
    "scope",
    "category",
    "fields",
    "address",
    "facility",
    "severity",
    "app_name",
    "hostname",
    "message_bytes_max",
    "redact",
    "presets",
    "cel",
    "mask",
    "include_boards",
    "ü",
    "a b",
    "",
    "a.b",
    "a[9999999999]",
    "x__y",
];

const WORDS: &[&str] = &[
    "stdout",
    "file",
    "splunk_hec",
    "azure_monitor",
    "sumo",
    "syslog",
    "http",
    "elasticsearch",
    "nats",
    "otlp",
    "s3",
    "raw",
    "ocsf",
    "audit",
    "now",
    "off",
    "24h",
    "10GiB",
    "0640",
    "https://x",
    "https://u:p@x",
    "tls://x",
    "nats://x:1",
    "relp://x",
    "udp://[::1]:1",
    "127.0.0.1:1",
    "0.0.0.0:1",
    "2026-01-31T00:00:00Z",
    "/x/%Y/{stream}",
    "%",
    "{",
    "local0",
    "true",
    "-1",
    "99999999999999999999",
    "",
];

fn value() -> impl Strategy<Value = serde_json::Value> {
    let scalar = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<u64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        prop::sample::select(WORDS).prop_map(Into::into),
        ".{0,40}".prop_map(Into::into),
    ];
    scalar.prop_recursive(5, 64, 8, |inner| prop_oneof![prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into), table(inner),])
}

fn table(inner: impl Strategy<Value = serde_json::Value>) -> impl Strategy<Value = serde_json::Value> {
    let key = prop::sample::select(KEYS).prop_map(str::to_owned);
    prop::collection::btree_map(key, inner, 0..8).prop_map(|map| serde_json::Value::Object(map.into_iter().collect()))
}

/// Garbage in the right places, so that it gets past the first check.
fn sections() -> impl Strategy<Value = serde_json::Value> {
    (table(value()), table(value()), table(value()), table(value()), prop::sample::select(WORDS)).prop_map(
        |(state, org, stream, mut sink, kind)| {
            sink["type"] = kind.into();
            let mut org = org;
            org["audit"] = stream;
            serde_json::json!({"state": state, "orgs": {"acme": org}, "sinks": {"s": sink}})
        },
    )
}

/// Loads it in every format that can hold it, and tells what was found.
fn load_everywhere(json: &serde_json::Value) -> String {
    let text = json.to_string();
    let mut told = Vec::new();
    // JSON is YAML, too.
    for path in ["c.json", "c.yaml"] {
        told.push(format!("{:?}", load_text(Path::new(path), &text, &no_env())));
    }
    if let Some(toml) = as_toml(json) {
        told.push(format!("{:?}", load_text(Path::new("c.toml"), &toml, &no_env())));
    }
    told.join("\n")
}

/// As an inline table; `None` where there is something that TOML does not have.
fn as_toml(json: &serde_json::Value) -> Option<String> {
    Some(match json {
        serde_json::Value::Null => return None,
        serde_json::Value::String(text) => toml_text(text),
        serde_json::Value::Array(elements) => format!("[{}]", elements.iter().map(as_toml).collect::<Option<Vec<_>>>()?.join(", ")),
        serde_json::Value::Object(table) => {
            let entry = |(key, value): (&String, &serde_json::Value)| Some(format!("{} = {}", toml_text(key), as_toml(value)?));
            format!("{{ {} }}", table.iter().map(entry).collect::<Option<Vec<_>>>()?.join(", "))
        }
        scalar => scalar.to_string(),
    })
}

fn toml_text(text: &str) -> String {
    let escaped: String = text
        .chars()
        .map(|char| if char.is_ascii_alphanumeric() { char.to_string() } else { format!("\\U{:08x}", u32::from(char)) })
        .collect();
    format!("\"{escaped}\"")
}

/// A document of TOML rather than one inline table.
fn document(json: &serde_json::Value) -> Option<String> {
    let lines = json.as_object()?.iter().map(|(key, value)| Some(format!("{} = {}\n", toml_text(key), as_toml(value)?)));
    lines.collect::<Option<String>>()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn garbage_never_panics(json in table(value())) {
        load_everywhere(&json);
    }

    #[test]
    fn garbage_in_the_right_places_never_panics(json in sections()) {
        load_everywhere(&json);
        if let Some(toml) = document(&json) {
            let _ = format!("{:?}", load_text(Path::new("c.toml"), &toml, &no_env()));
        }
    }

    #[test]
    fn text_that_is_no_configuration_never_panics(text in "(?s).{0,200}") {
        for path in ["c.toml", "c.yaml", "c.json"] {
            let _ = load_text(Path::new(path), &text, &no_env());
        }
    }

    #[test]
    fn variables_never_panic(parts in prop::collection::vec(prop::sample::select(KEYS), 0..5), value in ".{0,40}", json in value()) {
        let name = format!("MIRO_SIEM__{}", parts.join("__").to_uppercase());
        for text in [value.as_str(), &json.to_string()] {
            let _ = load_text(Path::new("c.toml"), "[orgs.acme]\ntoken = 'x'\naudit = {}\n[sinks.s]\ntype = 'stdout'\n", &env(&[(&name, text)]));
        }
    }

    #[test]
    fn a_secret_never_shows_whatever_stands_beside_it(json in sections(), key in prop::sample::select(&["token", "url", "client_secret", "address", "id", "oauth"][..])) {
        let mut json = json;
        json["sinks"]["s"][key] = "https://user:s3cr3t-Zx81@host/s3cr3t-Zx81".into();
        json["orgs"]["acme"][key] = "s3cr3t-Zx81".into();
        let told = load_everywhere(&json);
        prop_assert!(!told.contains("s3cr3t-Zx81"), "{}", told);
    }
}

//! Files: where they are looked for, their formats, and the lines that problems name.

use std::{fs, path::Path};

use miro_siem::config::{ConfigErrors, Source, load, load_text};

use super::{ORG, SINK, env, load_toml, no_env};

fn problems(path: &str, text: &str) -> Vec<String> {
    match load_text(Path::new(path), text, &no_env()) {
        Ok(_) => Vec::new(),
        Err(ConfigErrors { problems, .. }) => problems.iter().map(ToString::to_string).collect(),
    }
}

#[track_caller]
fn check(path: &str, text: &str, expected: &[&str]) {
    assert_eq!(problems(path, text), expected, "{text}");
}

const YAML: &str = "
orgs:
  acme:
    token: { file: /t }
    audit:
      start: 2026-01-31T09:30:00Z
    content:
sinks:
  out:
    type: syslog
    address: tls://siem
    message_bytes_max: 4096
    streams: [audit]
admin:
  listen: off
";

const JSON: &str = r#"{
  "orgs": {"acme": {"id": 18446744073709551615, "token": {"file": "/t"}, "audit": {}, "content": null}},
  "sinks": {"out": {"type": "stdout", "streams": ["audit", "content"]}}
}"#;

#[test]
fn yaml_and_json_mean_the_same_as_toml() {
    let yaml = load_text(Path::new("config.yaml"), YAML, &no_env()).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(yaml.settings.orgs[0].streams.len(), 2, "an empty table switches a stream on");
    assert_eq!(yaml.settings.admin.listen, None);
    let json = load_text(Path::new("config.json"), JSON, &no_env()).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(json.settings.orgs[0].id.as_deref(), Some("18446744073709551615"));
    assert_eq!(json.settings.sinks[0].streams.len(), 2);
    assert_eq!(json.settings.orgs[0].streams.len(), 2);
}

#[test]
fn variables_go_over_yaml_and_json_too() {
    let over = env(&[("MIRO_SIEM__ADMIN__LISTEN", "127.0.0.1:1")]);
    for (path, text) in [("c.yml", YAML), ("c.json", JSON)] {
        let loaded = load_text(Path::new(path), text, &over).unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(loaded.settings.admin.listen.map(|address| address.port()), Some(1), "{path}");
    }
}

#[test]
fn problems_name_the_line_of_a_toml_file() {
    check(
        "/etc/c.toml",
        "[state]\njournal_max = 'much'\n\n[orgs.acme]\ntoken = 'x'\n[orgs.acme.audit]\n\n[sinks.a]\ntype = 'stdout'\nstreams = [\n  'audit',\n  'audits',\n]\n[sinks.b]\ntype = 'file'\n",
        &[
            "/etc/c.toml:2: state.journal_max: needs a size such as \"10GiB\", \"512MB\" or \"1048576\"; found \"much\"",
            "/etc/c.toml:12: sinks.a.streams[1]: needs \"audit\", \"content\" or \"ai\"; found \"audits\": did you mean \"audit\"?",
            "/etc/c.toml:14: sinks.b.path: is missing; it needs a path, with {org}, {stream} and the event's date as %Y-%m-%d where they are wanted: path = \"/var/log/miro/{stream}-%Y-%m-%d.ndjson\"",
        ],
    );
}

#[test]
fn problems_name_the_key_in_yaml_and_json() {
    check(
        "c.yaml",
        &YAML.replace("4096", "many"),
        &["c.yaml: sinks.out.message_bytes_max: needs a size such as \"10GiB\", \"512MB\" or \"1048576\"; found \"many\""],
    );
    check(
        "c.json",
        &JSON.replace("\"audit\": {}", "\"audit\": 5"),
        &["c.json: orgs.acme.audit: needs to be a table; found a whole number"],
    );
}

#[test]
fn what_cannot_be_parsed_names_its_line() {
    check("c.toml", "[state]\ndir = '/x'\n[state]\n", &["c.toml:3: is no valid TOML: duplicate key"]);
    check(
        "c.toml",
        "[state]\njournal_max = 99999999999999999999\n",
        &["c.toml:2: state.journal_max: the number is too large; write it in quotes"],
    );
    assert!(problems("c.yaml", "a: [1")[0].starts_with("c.yaml: cannot be parsed: "), "{:?}", problems("c.yaml", "a: [1"));
    assert!(problems("c.yaml", "a: 1\n---\nb: 2\n")[0].contains("2 YAML documents"));
    check("c.json", "{\"a\": 1,}", &["c.json: cannot be parsed: trailing comma at line 1 column 9"]);
    assert!(problems("c.json", "[1]")[0].starts_with("c.json: cannot be parsed: "));
}

#[test]
fn nesting_without_end_is_refused() {
    for (path, open) in [("c.json", "["), ("c.json", "{\"a\":"), ("c.toml", "[["), ("c.toml", "a = [["), ("c.toml", "a.")] {
        assert_ne!(problems(path, &open.repeat(100_000)), [""; 0], "{path} {open}");
    }
}

#[test]
fn a_byte_order_mark_is_no_part_of_a_file() {
    assert!(load_toml(&format!("\u{feff}{ORG}{SINK}")).is_ok());
}

#[test]
fn a_file_that_cannot_be_read_says_why() {
    let missing = load(Some(Path::new("/nonexistent/config.toml")), &no_env()).expect_err("there is none").to_string();
    assert!(missing.contains("/nonexistent/config.toml: cannot be read: No such file or directory"), "{missing}");
    check("/etc/passwd", "", &["/etc/passwd: has no extension that tells its format; name it .toml, .yaml, .yml or .json"]);
}

#[test]
fn a_named_file_is_read_and_told_as_the_source() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("mine.TOML");
    fs::write(&path, format!("{ORG}{SINK}")).expect("a file");
    let loaded = load(Some(&path), &no_env()).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(loaded.source, Source::File(path));
}

#[test]
fn a_file_without_organisations_is_not_filled_in_from_the_environment() {
    let errors = load_text(Path::new("c.toml"), SINK, &env(&[("MIRO_ACCESS_TOKEN", "x")])).expect_err("no organisation");
    assert!(errors.to_string().contains("orgs: is missing: no organisation is configured"), "{errors}");
}

#[test]
fn a_huge_file_is_refused_unread() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("c.toml");
    fs::write(&path, "#".repeat(5 << 20)).expect("a file");
    let errors = load(Some(&path), &no_env()).expect_err("too large");
    assert!(errors.to_string().contains("is larger than 4 MiB: not a configuration"), "{errors}");
}

/// The example of the product's design, whole: what this version does not do yet is told, and nothing else.
#[test]
fn of_the_whole_design_only_what_is_not_supported_yet_is_refused() {
    let toml = r#"
[state]
dir = "/var/lib/miro-siem"
journal_max = "10GiB"
[admin]
listen = "127.0.0.1:9494"
[tls]
ca_file = "/etc/ssl/ca.pem"
[orgs.acme]
id = "3074457345821141000"
api_url = "https://api.miro.com"
token = { file = "/etc/miro-siem/miro.token" }
[orgs.acme.audit]
poll_interval = "5m"
start = "now"
overlap = "15m"
page_size = 500
[orgs.acme.content]
token = { env = "MIRO_CONTENT_TOKEN" }
[orgs.acme.ai]
[orgs.acme.licenses]
poll_interval = "24h"
[sinks.archive]
type = "file"
path = "/var/log/miro/{stream}-%Y-%m-%d.ndjson"
[sinks.splunk]
type = "splunk_hec"
url = "https://splunk.example.com:8088"
token = { file = "/etc/miro-siem/splunk.token" }
ack = true
streams = ["audit", "content"]
format = "raw"
filter = { exclude_events = ["board_opened"] }
[sinks.sentinel]
type = "azure_monitor"
endpoint = "https://x.westeurope-1.ingest.monitor.azure.com"
dcr_id = "dcr-0123"
tenant_id = "t"
client_id = "c"
client_secret = { credential = "azure" }
authority = "https://login.microsoftonline.com"
audit_stream = "Custom-MiroAuditLogs_CL"
content_stream = "Custom-MiroContentLogs_CL"
[sinks.sumo]
type = "sumo"
url = { env = "SUMO_URL" }
category = "miro"
[sinks.qradar]
type = "syslog"
address = "tls://siem.example.com:6514"
format = "leef"
facility = "local0"
severity = "info"
app_name = "miro"
hostname = "siem"
message_bytes_max = 4096
batch_events_max = 100
batch_bytes_max = "1MiB"
flush_interval = "2s"
timeout = "10s"
retry_initial = "2s"
retry_max = "1m"
tls = { ca_file = "/a", cert_file = "/b", key_file = "/c" }
"#;
    check("c.toml", toml, &["c.toml:21: orgs.acme.licenses: the stream \"licenses\" is not supported by this version yet"]);
    let supported = toml.replace("[orgs.acme.licenses]\npoll_interval = \"24h\"\n", "");
    check("c.toml", &supported, &[]);
}

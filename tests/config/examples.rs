//! What is shipped beside the program agrees with it: the reference page, the examples, the manifests.

use std::{
    fs,
    path::{Path, PathBuf},
};

use miro_siem::config::{load_text, reference};

use super::{load_toml, no_env};

/// Set to anything but nothing, it makes the tests write the files instead of comparing them.
const UPDATE: &str = "UPDATE_DOCS";

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

#[track_caller]
fn compare(path: &str, expected: &str) {
    let file = root().join(path);
    if std::env::var_os(UPDATE).is_some_and(|value| !value.is_empty()) {
        fs::create_dir_all(file.parent().expect("below the root")).expect("a directory that can be made");
        fs::write(&file, expected).expect("a file that can be written");
    }
    let found = fs::read_to_string(&file).unwrap_or_default();
    assert!(found == expected, "{path} is stale; write it anew with: {UPDATE}=1 cargo test --test config");
}

#[test]
fn the_reference_page_is_what_the_keys_say() {
    compare("docs/configuration.md", &reference::reference());
}

#[test]
fn the_default_configuration_is_what_the_keys_say() {
    compare("config/default.toml", &reference::default_toml());
}

/// Every file below a directory.
fn files_below(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display())) {
        let path = entry.expect("an entry").path();
        if path.is_dir() { files_below(&path, found) } else { found.push(path) }
    }
}

#[track_caller]
fn is_valid(path: &Path, text: &str) {
    let loaded = load_text(path, text, &no_env()).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(loaded.warnings, [], "{}", path.display());
}

#[test]
fn every_file_of_the_examples_is_valid_and_raises_no_warning() {
    let mut files = Vec::new();
    files_below(&root().join("config"), &mut files);
    for kind in ["stdout", "file", "splunk_hec", "azure_monitor", "sumo", "syslog", "http", "elasticsearch", "nats", "otlp", "s3"] {
        let example = root().join(format!("config/sinks/{kind}.toml"));
        assert!(files.contains(&example), "{} is missing", example.display());
    }
    for file in files {
        is_valid(&file, &fs::read_to_string(&file).expect("readable text"));
    }
}

#[test]
fn the_configurations_of_the_manifests_are_valid() {
    for path in ["deploy/kubernetes/base/config.toml", "deploy/kubernetes/sidecar/config.toml"] {
        let file = root().join(path);
        is_valid(&file, &fs::read_to_string(&file).unwrap_or_else(|error| panic!("{path}: {error}")));
    }
}

/// The blocks of a page that are of that language.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let text = fs::read_to_string(root().join(page)).unwrap_or_else(|error| panic!("{page}: {error}"));
    text.split(&format!("```{language}\n")).skip(1).filter_map(|rest| Some(rest.split_once("```")?.0.to_owned())).collect()
}

#[test]
fn the_configurations_of_the_readme_and_the_privacy_page_are_valid() {
    let whole = blocks("docs/privacy.md", "toml");
    assert_eq!(whole.len(), 1);
    is_valid(Path::new("docs/privacy.toml"), &whole[0]);
    let blocks = blocks("README.md", "toml");
    assert!(blocks.len() >= 2, "{blocks:?}");
    for block in blocks {
        // A block that shows a sink only needs something to send.
        let org = if block.contains("[orgs.") {
            ""
        } else {
            "[orgs.acme]\ntoken = { file = \"/etc/miro-siem/miro.token\" }\n[orgs.acme.audit]\n"
        };
        is_valid(Path::new("README.toml"), &format!("{org}{block}"));
    }
}

#[test]
fn every_commented_key_of_the_default_configuration_is_valid_too() {
    // Of several ways to authenticate only one can be written: these are left out, in any table or in that one.
    let alternatives =
        ["oauth", "managed_identity", "workload_identity", "bearer_token", "api_key", "nats.token", "nkey", "credentials", "web_identity"];
    let mut table = String::new();
    let uncommented: Vec<String> = reference::default_toml()
        .lines()
        .map(|line| {
            let is_key = |key: &&str| key.starts_with(|first: char| first == '[' || first.is_ascii_lowercase());
            let line = line.strip_prefix('#').filter(is_key).unwrap_or(line);
            if let Some(sink) = line.strip_prefix("[sinks.") {
                table = sink.trim_end_matches(']').to_owned();
            }
            let key = line.split(" =").next().unwrap_or_default();
            let is_left_out = |name: &&str| **name == *key || **name == format!("{table}.{key}");
            if alternatives.iter().any(is_left_out) { String::new() } else { line.to_owned() }
        })
        .collect();
    let text = uncommented.join("\n");
    let loaded = load_toml(&text).unwrap_or_else(|errors| panic!("{errors}\n{text}"));
    assert_eq!(loaded.settings.sinks.len(), 11);
    assert_eq!(loaded.settings.orgs[0].streams.len(), 3);
}

//! The configuration as an operator meets it: what is taken, what is refused and in which words, and that no secret ever shows.

mod environment;
mod examples;
mod files;
mod http_sinks;
mod problems;
mod robustness;
mod rules;
mod secrets;
mod stores;
mod values;

use std::path::Path;

use miro_siem::config::{ConfigErrors, Environment, Loaded, load_text};

/// An organisation and a sink, so that a test only writes what it is about.
const ORG: &str = "[orgs.acme]\ntoken = 'literal-token'\n[orgs.acme.audit]\n";
const SINK: &str = "[sinks.out]\ntype = 'stdout'\n";

/// No environment at all.
fn no_env() -> Environment {
    Environment::default()
}

fn env(variables: &[(&str, &str)]) -> Environment {
    variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn load_toml(toml: &str) -> Result<Loaded, ConfigErrors> {
    load_text(Path::new("config.toml"), toml, &no_env())
}

#[track_caller]
fn loaded(toml: &str) -> Loaded {
    load_toml(toml).unwrap_or_else(|errors| panic!("{errors}\n{toml}"))
}

/// Checks that exactly these problems are told, each as `key: message`.
#[track_caller]
fn check(toml: &str, expected: &[&str]) {
    let found: Vec<String> = match load_toml(toml) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.problems.iter().map(|problem| format!("{}: {}", problem.key, problem.message)).collect(),
    };
    assert_eq!(found, expected, "{toml}");
}

/// Checks the problems of an otherwise sound organisation.
#[track_caller]
fn check_org(toml: &str, expected: &[&str]) {
    check(&format!("{SINK}[orgs.acme]\n{toml}\n"), expected);
}

/// Checks the problems of an otherwise sound sink.
#[track_caller]
fn check_sink(toml: &str, expected: &[&str]) {
    check(&format!("{ORG}[sinks.s]\n{toml}\n"), expected);
}

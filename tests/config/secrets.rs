//! No secret ever shows: not in `Debug`, not in a problem, not in a warning, not in what `check` prints.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use miro_siem::{
    cli::check::{Verdict, run},
    config::{load, load_text, verify},
};

use super::{check_sink, env, no_env};

const SECRET: &str = "s3cr3t-Zx81";

/// Every place where a secret can stand.
fn everywhere() -> String {
    format!(
        "[admin]\ntoken = '{SECRET}'\n[orgs.acme]\ntoken = '{SECRET}'\n[orgs.acme.audit]\n[orgs.acme.content]\n\
         oauth = {{ client_id = '1', client_secret = '{SECRET}', refresh_token = '{SECRET}' }}\n\
         [sinks.a]\ntype = 'splunk_hec'\nurl = 'http://splunk:8088'\ntoken = '{SECRET}'\n\
         [sinks.b]\ntype = 'sumo'\nurl = 'http://sumo.example.com/receiver/v1/http/{SECRET}'\n\
         [sinks.c]\ntype = 'azure_monitor'\nendpoint = 'https://x'\ndcr_id = 'dcr-1'\ntenant_id = 't'\nclient_id = 'c'\nclient_secret = '{SECRET}'\n\
         [sinks.d]\ntype = 'http'\nurl = 'https://x/{SECRET}'\nheaders = {{ X-Key = '{SECRET}' }}\nbearer_token = '{SECRET}'\nsigning_secret = '{SECRET}'\n\
         [sinks.e]\ntype = 'elasticsearch'\nurl = 'https://x'\napi_key = '{SECRET}'\n\
         [sinks.f]\ntype = 'elasticsearch'\nurl = 'https://x'\nusername = 'u'\npassword = '{SECRET}'\n\
         [sinks.n1]\ntype = 'nats'\nservers = ['tls://x']\nusername = 'u'\npassword = '{SECRET}'\n\
         [sinks.n2]\ntype = 'nats'\nservers = ['tls://x']\ntoken = '{SECRET}'\n\
         [sinks.n3]\ntype = 'nats'\nservers = ['tls://x']\nnkey = '{SECRET}'\n\
         [sinks.o]\ntype = 's3'\nbucket = 'logs'\naccess_key_id = 'a'\nsecret_access_key = '{SECRET}'\nsession_token = '{SECRET}'\n"
    )
}

#[test]
fn debug_of_everything_that_is_loaded_shows_no_secret() {
    let variables = env(&[("MIRO_SIEM__SINKS__A__TOKEN", SECRET), ("MIRO_ACCESS_TOKEN", SECRET)]);
    let loaded = load_text(Path::new("config.toml"), &everywhere(), &variables).unwrap_or_else(|errors| panic!("{errors}"));
    let shown = format!("{loaded:?} {loaded:#?} {:?} {variables:?}", loaded.settings);
    assert!(!shown.contains(SECRET), "{shown}");
    assert!(shown.contains("Literal(…)"));
    assert_eq!(loaded.warnings.len(), 2, "of two URLs in clear text: {:?}", loaded.warnings);
}

#[track_caller]
fn hides(path: &str, text: &str) {
    let errors = load_text(Path::new(path), text, &no_env()).expect_err("something is wrong");
    let shown = format!("{errors} {errors:?}");
    assert!(!shown.contains(SECRET), "{shown}");
}

#[test]
fn problems_show_no_secret_whatever_is_wrong() {
    let sink = |toml: &str| hides("c.toml", &format!("[sinks.s]\n{toml}"));
    // A form that cannot be parsed, on the secret's own line.
    hides("c.toml", &format!("token = '{SECRET}"));
    hides("c.toml", &format!("token = '{SECRET}' '{SECRET}'"));
    hides("c.toml", &format!("token = {SECRET}"));
    hides("c.json", &format!("{{\"token\": \"{SECRET}\" x}}"));
    hides("c.json", &format!("{{\"token\": {SECRET}}}"));
    hides("c.yaml", &format!("token: \"{SECRET}\nx: ["));
    hides("c.yaml", &format!("token: '{SECRET}': x"));
    // A key that nobody knows, or of another type, or in another place.
    sink(&format!("type = 'stdout'\ntokn = '{SECRET}'"));
    sink(&format!("type = 'stdout'\ntoken = '{SECRET}'"));
    sink(&format!("type = 'kafka'\npassword = '{SECRET}'"));
    hides("c.toml", &format!("[orgs.a]\ntokens = ['{SECRET}']"));
    // A value in the wrong form.
    sink(&format!("type = 'splunk_hec'\nurl = 'https://user:{SECRET}@splunk'\ntoken = ['{SECRET}']"));
    sink(&format!("type = 'splunk_hec'\nurl = '{SECRET}'\ntoken = '{SECRET} {SECRET}'"));
    sink(&format!("type = 'splunk_hec'\nurl = 'https://x/?token={SECRET}'\ntoken = {{ file = '/x', literal = '{SECRET}' }}"));
    sink(&format!("type = 'sumo'\nurl = 'sumo/{SECRET}'"));
    sink(&format!("type = 'sumo'\nurl = 'ftp://x/{SECRET}'"));
    sink(&format!("type = 'http'\nurl = 'ftp://x/{SECRET}'\nheaders = {{ Host = '{SECRET}', X-Key = ['{SECRET}'] }}"));
    sink(&format!("type = 'http'\nurl = 'https://x'\nbearer_token = '{SECRET}'\nusername = 'u'\npassword = '{SECRET}'"));
    sink(&format!("type = 'elasticsearch'\nurl = 'https://user:{SECRET}@x'\napi_key = '{SECRET}'\npassword = '{SECRET}'"));
    sink(&format!("type = 'syslog'\naddress = 'tls://user:{SECRET}@siem'"));
    sink(&format!("type = 's3'\nbucket = 'logs'\nsecret_access_key = '{SECRET}'\nsession_token = ['{SECRET}']\nweb_identity = '{SECRET}'"));
    sink(&format!("type = 'nats'\nservers = ['tls://user:{SECRET}@x', 'tls://x/{SECRET}']\ntoken = '{SECRET}'\nnkey = ['{SECRET}']"));
    hides("c.toml", &format!("[orgs.a]\nid = '{SECRET}!'\napi_url = 'https://{SECRET}@x'"));
}

#[test]
fn a_long_text_in_the_wrong_place_is_not_repeated() {
    let token = "eyJtaXJvLm9yaWdpbiI6ImV1MDEifQ_0123456789abcdef";
    check_sink(
        &format!("type = 'stdout'\ntimeout = '{token}'"),
        &["sinks.s.timeout: needs a duration such as \"500ms\", \"30s\", \"5m\", \"1h30m\" or \"90d\"; found a text"],
    );
}

#[test]
fn secrets_have_one_source_and_no_white_space() {
    let meant = "needs a secret: { file = \"…\" }, { env = \"…\" }, { credential = \"…\" } or a text";
    let check = |written: &str, expected: &str| {
        check_sink(&format!("type = 'splunk_hec'\nurl = 'https://x'\ntoken = {written}"), &[expected]);
    };
    check("{}", &format!("sinks.s.token: {meant}; found a table that names no source"));
    check("''", &format!("sinks.s.token: {meant}; found an empty text"));
    check("'a b'", "sinks.s.token: holds white space or a control character, which no secret of this kind does");
    check("{ file = '/a', env = 'B' }", "sinks.s.token: needs one source; found file and env");
    check("{ path = '/a' }", "sinks.s.token.path: unknown key; known here: file, env, credential");
    check("{ env = '$B' }", "sinks.s.token.env: needs the bare name of an environment variable");
    check("{ credential = 'a/b' }", "sinks.s.token.credential: needs a name, not a path");
}

/// What `check` prints for a file of that content and mode, with its verdict.
fn printed(content: &str, mode: u32) -> (Verdict, String) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("config.toml");
    fs::write(&path, content).expect("a file");
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("its mode");
    let mut out = Vec::new();
    let verdict = run(Some(&path), &no_env(), &mut out).expect("a vector takes every write");
    (verdict, String::from_utf8(out).expect("text").replace(&dir.path().display().to_string(), "DIR"))
}

#[test]
fn a_literal_secret_in_a_file_for_everybody_is_warned_of() {
    let toml = format!("[orgs.acme]\ntoken = '{SECRET}'\n[orgs.acme.audit]\n[sinks.out]\ntype = 'stdout'\n");
    let warning = "warning: DIR/config.toml:2: orgs.acme.token: is written in a file that everybody may read; chmod it to 0640, or name a source: { file = \"…\" }";
    assert_eq!(printed(&toml, 0o644).1.lines().next(), Some(warning));
    assert!(!printed(&toml, 0o640).1.contains("warning"));
    assert!(!printed(&toml, 0o644).1.contains(SECRET));
}

#[test]
fn check_prints_a_summary_or_every_problem() {
    let toml = "[orgs.acme]\ntoken = 'x'\n[orgs.acme.audit]\n[orgs.acme.content]\n[sinks.out]\ntype = 'stdout'\n";
    let (verdict, text) = printed(toml, 0o600);
    assert_eq!((verdict, verdict.exit_code()), (Verdict::Fine, 0));
    assert_eq!(
        text,
        "ok: DIR/config.toml: 1 organisation, 2 streams, 1 sink\n  organisation acme: audit, content\n  sink out: stdout\n  state directory /var/lib/miro-siem\n"
    );
    let (verdict, text) = printed(&everywhere().replace("token", "tocken"), 0o600);
    assert_eq!((verdict, verdict.exit_code()), (Verdict::Problems, 2));
    assert!(text.contains("error: DIR/config.toml:2: admin.tocken: unknown key; did you mean \"token\"?"), "{text}");
    assert!(text.ends_with("problems found\n"), "{text}");
    assert!(!text.contains(SECRET), "{text}");
}

#[test]
fn check_looks_for_the_files_that_are_named() {
    let toml = "[tls]\nca_file = '/nonexistent/ca.pem'\n[orgs.acme]\ntoken = { file = '/nonexistent/token' }\n[orgs.acme.audit]\n\
                [orgs.acme.content]\ntoken = { env = 'MIRO_SIEM_TEST_UNSET' }\n\
                [sinks.out]\ntype = 'syslog'\naddress = 'tls://siem'\ntls = { cert_file = '/nonexistent/cert', key_file = '/nonexistent/key' }\n";
    let (verdict, text) = printed(toml, 0o600);
    assert_eq!(verdict, Verdict::Problems);
    let expected = [
        "warning: DIR/config.toml:7: orgs.acme.content.token: the environment variable MIRO_SIEM_TEST_UNSET is not set or not text; set it for the service, or name another source for the secret",
        "error: DIR/config.toml:1: tls: failed to read /nonexistent/ca.pem: No such file or directory (os error 2)",
        "error: DIR/config.toml:4: orgs.acme.token: failed to read the secret file /nonexistent/token: No such file or directory (os error 2); check that it exists and that the service's user may read it",
        "error: DIR/config.toml:11: sinks.out.tls: failed to read /nonexistent/ca.pem: No such file or directory (os error 2)",
        "3 problems found",
    ];
    assert_eq!(text.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn check_names_the_variable_that_named_a_file() {
    let toml = "[orgs.acme]\ntoken = 'x'\naudit = {}\n[sinks.out]\ntype = 'stdout'\n";
    let variables = env(&[("MIRO_SIEM__ORGS__ACME__TOKEN__FILE", "/nonexistent/token")]);
    let loaded = load_text(Path::new("c.toml"), toml, &variables).unwrap_or_else(|errors| panic!("{errors}"));
    let found = verify(&loaded).problems;
    assert!(found[0].to_string().starts_with("$MIRO_SIEM__ORGS__ACME__TOKEN__FILE: orgs.acme.token: failed to read"), "{found:?}");
}

#[test]
fn loading_does_not_read_what_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("c.toml");
    let toml = "[tls]\nca_file = '/nonexistent/ca.pem'\n[orgs.acme]\ntoken = { file = '/nonexistent/token' }\naudit = {}\n[sinks.out]\ntype = 'stdout'\n";
    fs::write(&path, toml).expect("a file");
    assert!(load(Some(&path), &no_env()).is_ok());
}

//! Variables over the file, and variables alone.

use std::path::{Path, PathBuf};

use miro_siem::{
    config::{
        Loaded, Secret, Source, load, load_text,
        settings::{AuthSettings, IndexerAck, SinkKindSettings},
    },
    event::StreamKind,
};

use super::{ORG, SINK, env};

const SPLUNK: &str = "[sinks.splunk]\ntype = 'splunk_hec'\nurl = 'https://file:8088'\ntoken = { file = '/file' }\n";

#[track_caller]
fn over(toml: &str, variables: &[(&str, &str)]) -> Loaded {
    load_text(Path::new("config.toml"), toml, &env(variables)).unwrap_or_else(|errors| panic!("{errors}"))
}

#[track_caller]
fn check(toml: &str, variables: &[(&str, &str)], expected: &[&str]) {
    let found: Vec<String> = match load_text(Path::new("config.toml"), toml, &env(variables)) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.problems.iter().map(ToString::to_string).collect(),
    };
    assert_eq!(found, expected, "{variables:?}");
}

fn splunk(loaded: &Loaded) -> (String, IndexerAck, String) {
    match &loaded.settings.sinks[0].kind {
        SinkKindSettings::SplunkHec(splunk) => (splunk.url.to_string(), splunk.ack, format!("{:?}", splunk.token)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_variable_goes_over_the_file() {
    let loaded = over(
        &format!("{ORG}{SPLUNK}"),
        &[
            ("MIRO_SIEM__SINKS__SPLUNK__URL", "https://env:8088"),
            ("MIRO_SIEM__SINKS__SPLUNK__ACK", "true"),
            ("MIRO_SIEM__SINKS__SPLUNK__TOKEN__FILE", "/env"),
            ("MIRO_SIEM__STATE__JOURNAL_MAX", "1GiB"),
            ("MIRO_SIEM__ORGS__ACME__AUDIT__POLL_INTERVAL", "30s"),
            ("MIRO_SIEM__ORGS__ACME__AUDIT__PAGE_SIZE", "50"),
            ("MIRO_SIEM__ORGS__ACME__ID", "99999999999999999999"),
        ],
    );
    assert_eq!(splunk(&loaded), ("https://env:8088/".to_owned(), IndexerAck::On, "File(/env)".to_owned()));
    assert_eq!(loaded.settings.state.journal_bytes_max, 1 << 30);
    let audit = &loaded.settings.orgs[0].streams[0];
    assert_eq!((audit.poll_interval.as_secs(), audit.page_size), (30, 50));
    assert_eq!(loaded.settings.orgs[0].id.as_deref(), Some("99999999999999999999"));
}

#[test]
fn a_secret_of_a_variable_replaces_the_files_whatever_its_source() {
    let token = |name: &str, value: &str| splunk(&over(&format!("{ORG}{SPLUNK}"), &[(name, value)])).2;
    assert_eq!(token("MIRO_SIEM__SINKS__SPLUNK__TOKEN", "plain"), "Literal(…)");
    assert_eq!(token("MIRO_SIEM__SINKS__SPLUNK__TOKEN__FILE", "/other"), "File(/other)");
    assert_eq!(token("MIRO_SIEM__SINKS__SPLUNK__TOKEN__ENV", "NAME"), "Env(NAME)");
    assert_eq!(token("MIRO_SIEM__SINKS__SPLUNK__TOKEN__CREDENTIAL", "name"), "Credential(name)");
    assert_eq!(token("MIRO_SIEM__SINKS__SPLUNK__TOKEN", "{\"env\": \"NAME\"}"), "Env(NAME)");
    let literal = over(&format!("{ORG}{SINK}"), &[("MIRO_SIEM__ORGS__ACME__TOKEN__FILE", "/t")]);
    assert!(matches!(&literal.settings.orgs[0].auth, Some(AuthSettings::Token(Secret::File(path))) if path == Path::new("/t")));
}

#[test]
fn names_are_matched_whatever_their_case_and_dashes() {
    let toml =
        "[orgs.Acme-EU]\ntoken = 'x'\n[orgs.Acme-EU.audit]\n[sinks.My-Splunk]\ntype = 'splunk_hec'\nurl = 'https://file'\ntoken = 'x'\n";
    let loaded = over(toml, &[("MIRO_SIEM__ORGS__ACME_EU__AUDIT__OVERLAP", "20m"), ("MIRO_SIEM__SINKS__MY_SPLUNK__URL", "https://upper")]);
    assert_eq!(loaded.settings.orgs[0].name.as_str(), "Acme-EU");
    assert_eq!(loaded.settings.orgs[0].streams[0].overlap.as_secs(), 20 * 60);
    assert_eq!(splunk(&loaded).0, "https://upper/");
    assert_eq!((loaded.settings.orgs.len(), loaded.settings.sinks.len()), (1, 1));
}

#[test]
fn lists_and_tables_are_written_with_commas_or_as_json() {
    let streams =
        |value: &str| over(&format!("{ORG}{SINK}"), &[("MIRO_SIEM__SINKS__OUT__STREAMS", value)]).settings.sinks[0].streams.clone();
    assert_eq!(streams("audit,content"), [StreamKind::Audit, StreamKind::Content]);
    assert_eq!(streams(" audit , content "), [StreamKind::Audit, StreamKind::Content]);
    assert_eq!(streams("[\"ai\"]"), [StreamKind::Ai]);
    let filter = |name: &str, value: &str| over(&format!("{ORG}{SINK}"), &[(name, value)]).settings.sinks[0].filter.exclude_events.clone();
    assert_eq!(filter("MIRO_SIEM__SINKS__OUT__FILTER__EXCLUDE_EVENTS", "a,b"), ["a", "b"]);
    assert_eq!(filter("MIRO_SIEM__SINKS__OUT__FILTER", "{\"exclude_events\": [\"a\"]}"), ["a"]);
}

#[test]
fn streams_are_switched_by_variables() {
    let kinds = |variables: &[(&str, &str)]| {
        let loaded = over(&format!("{ORG}{SINK}"), variables);
        loaded.settings.orgs[0].streams.iter().map(|stream| stream.kind.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(kinds(&[("MIRO_SIEM__ORGS__ACME__CONTENT", "true")]), ["audit", "content"]);
    assert_eq!(kinds(&[("MIRO_SIEM__ORGS__ACME__CONTENT", "{}")]), ["audit", "content"]);
    assert_eq!(kinds(&[("MIRO_SIEM__ORGS__ACME__AI__POLL_INTERVAL", "1m")]), ["audit", "ai"]);
    assert_eq!(kinds(&[("MIRO_SIEM__ORGS__ACME__AI", "true"), ("MIRO_SIEM__ORGS__ACME__AI__POLL_INTERVAL", "1m")]), ["audit", "ai"]);
    assert_eq!(kinds(&[("MIRO_SIEM__ORGS__ACME__AI", "true"), ("MIRO_SIEM__ORGS__ACME__AUDIT", "false")]), ["ai"]);
}

#[test]
fn an_empty_variable_and_one_of_another_name_count_as_not_set() {
    let loaded = over(
        &format!("{ORG}{SPLUNK}"),
        &[("MIRO_SIEM__SINKS__SPLUNK__URL", ""), ("MIRO_SIEM_LOG", "debug"), ("MIRO_SIEMX__A", "b"), ("PATH", "/bin")],
    );
    assert_eq!(splunk(&loaded).0, "https://file:8088/");
}

#[test]
fn problems_of_variables_name_the_variable() {
    let toml = format!("{ORG}{SPLUNK}");
    check(
        &toml,
        &[("MIRO_SIEM__SINKS__SPLUNK__TIMEOUT", "soon")],
        &[
            "$MIRO_SIEM__SINKS__SPLUNK__TIMEOUT: sinks.splunk.timeout: needs a duration such as \"500ms\", \"30s\", \"5m\", \"1h30m\" or \"90d\"; found \"soon\"",
        ],
    );
    check(&toml, &[("MIRO_SIEM__SINK__X", "y")], &["$MIRO_SIEM__SINK__X: sink: unknown key; did you mean \"sinks\"?"]);
    check(
        &toml,
        &[("MIRO_SIEM__SINKS__SPLUNK__ACK", "perhaps")],
        &["$MIRO_SIEM__SINKS__SPLUNK__ACK: sinks.splunk.ack: needs true or false, without quotes; found a text"],
    );
    check(
        &toml,
        &[("MIRO_SIEM__ORGS__ACME__AUDIT__PAGE_SIZE", "-3")],
        &["$MIRO_SIEM__ORGS__ACME__AUDIT__PAGE_SIZE: orgs.acme.audit.page_size: needs a whole number; found \"-3\""],
    );
    check(&toml, &[("MIRO_SIEM__STATE____DIR", "/x")], &["$MIRO_SIEM__STATE____DIR: names no key: there is nothing between two `__`"]);
    check(
        &toml,
        &[("MIRO_SIEM__STATE", "x"), ("MIRO_SIEM__STATE__DIR", "/x")],
        &["$MIRO_SIEM__STATE__DIR: goes into a table that another variable sets to a plain value"],
    );
    check(
        &toml,
        &[("MIRO_SIEM__STATE__DIR", "/x"), ("MIRO_SIEM__STATE__dir", "/y")],
        &["$MIRO_SIEM__STATE__dir: is set a second time by another variable"],
    );
    check(
        &toml,
        &[("MIRO_SIEM__SINKS__SPLUNK__TOKEN__FILE", "/a"), ("MIRO_SIEM__SINKS__SPLUNK__TOKEN__ENV", "B")],
        &["$MIRO_SIEM__SINKS__SPLUNK__TOKEN__ENV: sinks.splunk.token: needs one source; found file and env"],
    );
}

/// No test writes to the default path, so that without a path there is no file.
#[track_caller]
fn alone(variables: &[(&str, &str)]) -> Loaded {
    load(None, &env(variables)).unwrap_or_else(|errors| panic!("{errors}"))
}

#[test]
fn a_token_alone_is_enough() {
    let loaded = alone(&[("MIRO_ACCESS_TOKEN", "secret"), ("HOME", "/users/me")]);
    assert_eq!(loaded.source, Source::Environment);
    assert_eq!(loaded.warnings, []);
    let [org] = loaded.settings.orgs.as_slice() else { panic!("{:?}", loaded.settings.orgs) };
    assert_eq!(org.name.as_str(), "miro");
    assert!(matches!(&org.auth, Some(AuthSettings::Token(Secret::Env(name))) if name == "MIRO_ACCESS_TOKEN"));
    assert_eq!(org.streams.iter().map(|stream| stream.kind).collect::<Vec<_>>(), [StreamKind::Audit]);
    let [sink] = loaded.settings.sinks.as_slice() else { panic!("{:?}", loaded.settings.sinks) };
    assert_eq!((sink.name.as_str(), sink.kind.type_name()), ("stdout", "stdout"));
}

#[test]
fn variables_change_what_is_built_in() {
    let loaded = alone(&[
        ("MIRO_ACCESS_TOKEN", "secret"),
        ("MIRO_SIEM__ORGS__MIRO__API_URL", "http://127.0.0.1:8080"),
        ("MIRO_SIEM__ORGS__MIRO__AUDIT__START", "24h"),
        ("MIRO_SIEM__SINKS__STDOUT__PROVENANCE", "false"),
        ("MIRO_SIEM__ADMIN__LISTEN", "off"),
    ]);
    assert_eq!(loaded.settings.orgs[0].api_url.as_str(), "http://127.0.0.1:8080/");
    assert_eq!(loaded.settings.orgs[0].streams.len(), 1);
    assert_eq!(loaded.settings.admin.listen, None);
    let content = alone(&[("MIRO_ACCESS_TOKEN", "secret"), ("MIRO_SIEM__ORGS__MIRO__CONTENT", "true")]);
    assert_eq!(content.settings.orgs[0].streams.iter().map(|stream| stream.kind).collect::<Vec<_>>(), [StreamKind::Content]);
    let file = alone(&[("MIRO_ACCESS_TOKEN", "secret"), ("MIRO_SIEM__ORGS__MIRO__TOKEN__FILE", "/t")]);
    assert!(matches!(&file.settings.orgs[0].auth, Some(AuthSettings::Token(Secret::File(_)))));
    let oauth = alone(&[
        ("MIRO_ACCESS_TOKEN", "secret"),
        ("MIRO_SIEM__ORGS__MIRO__OAUTH", "{\"client_id\": \"1\", \"client_secret\": \"a\", \"refresh_token\": \"b\"}"),
    ]);
    assert!(matches!(&oauth.settings.orgs[0].auth, Some(AuthSettings::Oauth { .. })));
}

#[test]
fn names_of_ones_own_replace_what_is_built_in() {
    let loaded = alone(&[
        ("MIRO_ACCESS_TOKEN", "secret"),
        ("MIRO_SIEM__ORGS__ACME__TOKEN__ENV", "MIRO_ACCESS_TOKEN"),
        ("MIRO_SIEM__ORGS__ACME__AUDIT", "true"),
        ("MIRO_SIEM__SINKS__SIEM__TYPE", "syslog"),
        ("MIRO_SIEM__SINKS__SIEM__ADDRESS", "tcp://siem"),
    ]);
    assert_eq!(loaded.settings.orgs.iter().map(|org| org.name.as_str()).collect::<Vec<_>>(), ["acme"]);
    assert_eq!(loaded.settings.sinks.iter().map(|sink| sink.name.as_str()).collect::<Vec<_>>(), ["siem"]);
}

#[test]
fn without_a_file_and_a_token_both_ways_are_named() {
    for variables in [&[][..], &[("MIRO_ACCESS_TOKEN", "")]] {
        let errors = load(None, &env(variables)).expect_err("nothing is configured");
        let message = errors.to_string();
        for way in ["/etc/miro-siem/config.toml", "--config", "MIRO_ACCESS_TOKEN"] {
            assert!(message.contains(way), "{message}");
        }
    }
}

#[test]
fn the_state_directory_is_where_the_process_may_write() {
    let dir = |variables: &[(&str, &str)]| {
        let all = [&[("MIRO_ACCESS_TOKEN", "secret")][..], variables].concat();
        alone(&all).settings.state.dir
    };
    assert_eq!(dir(&[]), PathBuf::from("/var/lib/miro-siem"));
    assert_eq!(dir(&[("HOME", "/users/me")]), PathBuf::from("/users/me/.local/state/miro-siem"));
    assert_eq!(dir(&[("HOME", "/users/me"), ("XDG_STATE_HOME", "/s")]), PathBuf::from("/s/miro-siem"));
    assert_eq!(dir(&[("XDG_STATE_HOME", "/s"), ("STATE_DIRECTORY", "/var/lib/a:/var/lib/b")]), PathBuf::from("/var/lib/a"));
    assert_eq!(dir(&[("STATE_DIRECTORY", "/a"), ("MIRO_SIEM__STATE__DIR", "/mine")]), PathBuf::from("/mine"));
    let with_file = |toml: &str, variables| over(&format!("{toml}{ORG}{SINK}"), variables).settings.state.dir;
    assert_eq!(with_file("", &[("HOME", "/users/me")]), PathBuf::from("/var/lib/miro-siem"));
    assert_eq!(with_file("", &[("STATE_DIRECTORY", "/var/lib/x")]), PathBuf::from("/var/lib/x"));
    assert_eq!(with_file("[state]\ndir = '/mine'\n", &[("STATE_DIRECTORY", "/var/lib/x")]), PathBuf::from("/mine"));
}

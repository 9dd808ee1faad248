//! Sinks that are message brokers and object stores: their defaults, and what does not go together.

use std::time::Duration;

use miro_siem::config::settings::{
    Compression, NatsCredential, NatsSettings, NatsTls, S3Addressing, S3Credential, S3Settings, SinkKindSettings,
};

use super::{ORG, check_sink, loaded};

fn nats(toml: &str) -> NatsSettings {
    let loaded = loaded(&format!("{ORG}[sinks.s]\ntype = 'nats'\n{toml}"));
    match loaded.settings.sinks[0].kind.clone() {
        SinkKindSettings::Nats(nats) => nats,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_nats_sink_needs_a_server_and_at_most_one_credential() {
    let plain = nats("servers = ['nats://localhost']");
    assert_eq!((plain.subject.as_str(), plain.tls, plain.inbox_prefix), ("miro.{org}.{stream}", NatsTls::WhereOffered, None));
    assert!(matches!(plain.credential, NatsCredential::None));
    assert!(matches!(nats("servers = ['tls://x']\nusername = 'u'\npassword = 'p'").credential, NatsCredential::Password { .. }));
    assert!(matches!(nats("servers = ['tls://x']\ntoken = 't'").credential, NatsCredential::Token(_)));
    assert!(matches!(nats("servers = ['tls://x']\nnkey = 'SU'").credential, NatsCredential::Nkey(_)));
    assert!(matches!(nats("servers = ['tls://x']\ncredentials = { file = '/c' }").credential, NatsCredential::Credentials(_)));
    let check = |toml: &str, problem: &str| check_sink(&format!("type = 'nats'\n{toml}"), &[&format!("sinks.s.{problem}")]);
    check("servers = []", "servers: needs to be of at least one server; found an empty list");
    check("servers = ['tls://x']\nusername = 'u'", "password: is missing; `username` needs it");
    check("servers = ['tls://x']\npassword = 'p'", "username: is missing; `password` needs it");
    check("servers = ['tls://x']\ntoken = 't'\nnkey = 'n'", "nkey: stands beside `token`; one of the two is meant");
    check(
        "servers = ['tls://x']\nusername = 'u'\npassword = 'p'\ncredentials = { file = '/c' }",
        "credentials: stands beside `username`; one of the two is meant",
    );
}

#[test]
fn servers_of_nats_are_addresses_and_nothing_more() {
    let meant = "servers[0]: needs a server such as \"tls://nats.example.com:4222\", with nats:// or tls://; found a text";
    let check = |server: &str, problem: &str| {
        check_sink(&format!("type = 'nats'\nservers = ['{server}']"), &[&format!("sinks.s.{meant}{problem}")]);
    };
    check("nats-1:4222", ": its scheme is another");
    check("https://x", ": its scheme is another");
    check("nats://u:p@x", ": it holds a user name or a password; credentials have keys of their own");
    check("nats://x/path", ": only a port can follow the host");
    check("nats://", ": it has no host");
}

#[test]
fn tls_is_insisted_on_where_any_server_or_a_table_asks_for_it() {
    assert_eq!(nats("servers = ['nats://localhost', 'tls://x']").tls, NatsTls::Required);
    assert_eq!(nats("servers = ['nats://x']\ntls = { ca_file = '/ca.pem' }").tls, NatsTls::Required);
    let warnings = |toml: &str| loaded(&format!("{ORG}[sinks.s]\ntype = 'nats'\n{toml}")).warnings;
    assert_eq!(
        warnings("servers = ['nats://x:4222']").iter().map(|warning| format!("{}: {}", warning.key, warning.message)).collect::<Vec<_>>(),
        ["sinks.s.servers: sends events in clear text unless the server insists on TLS; use tls://"]
    );
    for quiet in
        ["servers = ['nats://127.0.0.1']", "servers = ['nats://[::1]']", "servers = ['tls://x']", "servers = ['nats://x']\ntls = {}"]
    {
        assert_eq!(warnings(quiet), [], "{quiet}");
    }
}

#[test]
fn a_subject_has_no_wildcards_and_only_known_placeholders() {
    assert_eq!(nats("servers = ['tls://x']\nsubject = 'siem.{stream}'").subject, "siem.{stream}");
    let meant = "needs a subject without wildcards, such as \"miro.{org}.{stream}\"; found";
    let check = |subject: &str, problem: &str| {
        let toml = format!("type = 'nats'\nservers = ['tls://x']\nsubject = '{subject}'");
        check_sink(&toml, &[&format!("sinks.s.subject: {meant} \"{subject}\"{problem}")]);
    };
    check("miro.*", "");
    check("miro.>", "");
    check("miro..x", "");
    check("a b", "");
    check("miro.{board}", ": only {org} and {stream} can stand in braces");
    check("$JS.API", ": what begins with `$` belongs to the server");
    check_sink(
        "type = 'nats'\nservers = ['tls://x']\ninbox_prefix = '{org}'",
        &["sinks.s.inbox_prefix: needs to be without placeholders; found \"{org}\""],
    );
}

fn s3(toml: &str) -> S3Settings {
    let loaded = loaded(&format!("{ORG}[sinks.s]\ntype = 's3'\n{toml}"));
    match loaded.settings.sinks[0].kind.clone() {
        SinkKindSettings::S3(s3) => s3,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_bucket_is_enough_for_s3() {
    let plain = s3("bucket = 'acme-logs'");
    assert_eq!((plain.bucket.as_str(), plain.prefix.as_str()), ("acme-logs", "miro/{org}/{stream}/date=%Y-%m-%d/"));
    assert_eq!((plain.compression, plain.addressing), (Compression::Zstd, S3Addressing::VirtualHost));
    assert!(matches!(plain.credential, S3Credential::Environment));
    assert_eq!(s3("bucket = 'acme.logs'").addressing, S3Addressing::Path);
    assert_eq!(s3("bucket = 'acme-logs'\nendpoint = 'https://minio:9000'").addressing, S3Addressing::Path);
    assert_eq!(s3("bucket = 'acme-logs'\nendpoint = 'https://x'\npath_style = false").addressing, S3Addressing::VirtualHost);
    assert_eq!(s3("bucket = 'acme-logs'\nprefix = ''").prefix, "");
}

#[test]
fn an_object_waits_longer_to_fill_than_a_request() {
    let flush = |toml: &str| loaded(&format!("{ORG}[sinks.s]\n{toml}")).settings.sinks[0].flush_interval;
    assert_eq!(flush("type = 's3'\nbucket = 'acme-logs'"), Duration::from_secs(60));
    assert_eq!(flush("type = 's3'\nbucket = 'acme-logs'\nflush_interval = '5m'"), Duration::from_secs(300));
    assert_eq!(flush("type = 'stdout'"), Duration::from_secs(1));
}

#[test]
fn a_credential_of_s3_is_whole_and_one() {
    assert!(matches!(s3("bucket = 'logs'\naccess_key_id = 'a'\nsecret_access_key = 'b'").credential, S3Credential::Keys { .. }));
    let identity = "web_identity = { role_arn = 'arn:aws:iam::1:role/r', token_file = '/t' }";
    assert!(matches!(s3(&format!("bucket = 'logs'\n{identity}")).credential, S3Credential::WebIdentity { .. }));
    let check = |toml: &str, problem: &str| check_sink(&format!("type = 's3'\nbucket = 'logs'\n{toml}"), &[&format!("sinks.s.{problem}")]);
    check("access_key_id = 'a'", "secret_access_key: is missing; `access_key_id` needs it");
    check("secret_access_key = 'b'", "access_key_id: is missing; `secret_access_key` needs it");
    check("session_token = 'c'", "access_key_id: is missing; `session_token` needs it and `secret_access_key`");
    let both = format!("access_key_id = 'a'\nsecret_access_key = 'b'\n{identity}");
    check(&both, "web_identity: stands beside `access_key_id`; one of the two is meant");
    check(
        "web_identity = { token_file = '/t' }",
        "web_identity.role_arn: is missing; it needs a text: role_arn = \"arn:aws:iam::123456789012:role/miro-siem\"",
    );
}

#[test]
fn buckets_and_prefixes_are_names_that_s3_takes() {
    let check = |toml: &str, problem: &str| check_sink(&format!("type = 's3'\n{toml}"), &[&format!("sinks.s.{problem}")]);
    let meant = "bucket: needs a bucket's name: 3 to 63 lower-case letters, digits, `-` and `.`; found";
    check("bucket = 'Logs'", &format!("{meant} \"Logs\""));
    check("bucket = 'a/b'", &format!("{meant} \"a/b\""));
    check("bucket = '-logs'", &format!("{meant} \"-logs\""));
    check("bucket = 's3://logs'", &format!("{meant} \"s3://logs\": write the name without s3://"));
    let check = |prefix: &str, problem: &str| check(&format!("bucket = 'logs'\nprefix = '{prefix}'"), &format!("prefix: {problem}"));
    let meant = "needs the beginning of a key, with {org}, {stream} and the event's date as %Y-%m-%d where they are wanted; found";
    check("a b", &format!("{meant} \"a b\""));
    check("/logs", &format!("{meant} \"/logs\": it begins with `/`, or a part of it is empty, `.` or `..`"));
    check("a//b", &format!("{meant} \"a//b\": it begins with `/`, or a part of it is empty, `.` or `..`"));
    check("a/../b", &format!("{meant} \"a/../b\": it begins with `/`, or a part of it is empty, `.` or `..`"));
    check("{board}/", &format!("{meant} \"{{board}}/\": only {{org}} and {{stream}} can stand in braces"));
    check("%!/", &format!("{meant} \"%!/\": a `%` in it is followed by no specifier of strftime"));
    check_sink(
        "type = 's3'\nbucket = 'logs'\nstorage_class = 'standard'",
        &["sinks.s.storage_class: needs to be capital letters, digits and `_`; found a text"],
    );
}

//! Sinks that are message brokers and object stores: their defaults, and what does not go together.

use miro_siem::config::settings::{NatsCredential, NatsSettings, NatsTls, SinkKindSettings};

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

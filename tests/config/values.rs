//! What is written is what is meant: values, defaults, and what is derived from them.

use std::{fmt::Debug, path::PathBuf, time::Duration};

use miro_siem::{
    config::settings::{
        AuthSettings, AzureCredential, AzureMonitorSettings, Compression, FileSettings, Format, IndexerAck, Provenance, QuotaShare,
        SinkKindSettings, SinkSettings, SplunkHecSettings, Start, StreamSettings, SumoSettings, SyslogSettings, SyslogTransport,
    },
    event::{StreamKind, Timestamp},
};

use super::{ORG, SINK, check_org, check_sink, loaded};

fn stream(toml: &str) -> StreamSettings {
    loaded(&format!("{ORG}{toml}\n{SINK}")).settings.orgs[0].streams[0].clone()
}

fn sink(toml: &str) -> SinkSettings {
    loaded(&format!("{ORG}[sinks.s]\n{toml}\n")).settings.sinks[0].clone()
}

fn syslog(toml: &str) -> SyslogSettings {
    match sink(&format!("type = 'syslog'\n{toml}")).kind {
        SinkKindSettings::Syslog(syslog) => syslog,
        other => panic!("{other:?}"),
    }
}

fn splunk(toml: &str) -> SplunkHecSettings {
    match sink(&format!("type = 'splunk_hec'\nurl = 'https://splunk:8088'\ntoken = 'x'\n{toml}")).kind {
        SinkKindSettings::SplunkHec(splunk) => splunk,
        other => panic!("{other:?}"),
    }
}

fn azure(endpoint: &str, toml: &str) -> AzureMonitorSettings {
    match sink(&format!("type = 'azure_monitor'\nendpoint = '{endpoint}'\ndcr_id = 'dcr-1'\n{toml}")).kind {
        SinkKindSettings::AzureMonitor(azure) => azure,
        other => panic!("{other:?}"),
    }
}

fn sumo(toml: &str) -> SumoSettings {
    match sink(&format!("type = 'sumo'\nurl = 'https://x/receiver/v1/http/y'\n{toml}")).kind {
        SinkKindSettings::Sumo(sumo) => sumo,
        other => panic!("{other:?}"),
    }
}

fn file(toml: &str) -> FileSettings {
    match sink(&format!("type = 'file'\npath = '/var/log/miro/{{org}}-{{stream}}-%Y.ndjson'\n{toml}")).kind {
        SinkKindSettings::File(file) => file,
        other => panic!("{other:?}"),
    }
}

#[test]
fn general_defaults_are_those_of_the_reference() {
    let settings = loaded(&format!("{ORG}{SINK}")).settings;
    assert_eq!(settings.state.dir, PathBuf::from("/var/lib/miro-siem"));
    assert_eq!(settings.state.journal_bytes_max, 10 << 30);
    assert_eq!(settings.state.drain_timeout, Duration::from_secs(25));
    assert_eq!(settings.admin.listen.map(|address| address.to_string()).as_deref(), Some("127.0.0.1:9494"));
    assert_eq!(settings.orgs[0].api_url.as_str(), "https://api.miro.com/");
    assert_eq!(settings.orgs[0].id, None);
}

#[test]
fn streams_have_their_defaults_and_each_its_page() {
    let settings = loaded(&format!("{ORG}[orgs.acme.content]\n[orgs.acme.ai]\n{SINK}")).settings;
    let pages: Vec<_> = settings.orgs[0].streams.iter().map(|stream| (stream.kind, stream.page_size)).collect();
    assert_eq!(pages, [(StreamKind::Audit, 500), (StreamKind::Content, 1000), (StreamKind::Ai, 100)]);
    for stream in &settings.orgs[0].streams {
        assert_eq!((stream.poll_interval, stream.overlap, stream.start), (Duration::from_secs(300), Duration::from_secs(900), Start::Now));
        assert!(stream.auth.is_none(), "the organisation's holds");
    }
}

#[test]
fn delays_of_later_listings_are_sorted_and_can_be_switched_off() {
    let check = |toml: &str, secs: &[u64]| {
        let expected: Vec<_> = secs.iter().map(|secs| Duration::from_secs(*secs)).collect();
        assert_eq!(stream(toml).reconcile, expected, "{toml}");
    };
    check("", &[3_600, 86_400, 604_800]);
    check("reconcile = []", &[]);
    check("reconcile = ['2d', '1s', '31d', '2d']", &[1, 2 * 86_400, 31 * 86_400]);
    let refused = |written: &str, found: &str| {
        let message = format!("orgs.acme.audit.reconcile: needs to be at most 8 durations, each from 1s to 31d; found {found}");
        check_org(&format!("token = 'x'\n[orgs.acme.audit]\nreconcile = {written}"), &[&message]);
    };
    refused("['500ms']", "a list");
    refused("['32d']", "a list");
    refused("['1s', '2s', '3s', '4s', '5s', '6s', '7s', '8s', '9s']", "a list");
}

#[test]
fn a_heartbeat_is_off_or_an_interval_that_somebody_hears() {
    assert_eq!(stream("").heartbeat, None);
    assert_eq!(stream("heartbeat = 'off'").heartbeat, None);
    assert_eq!(stream("heartbeat = '90s'").heartbeat, Some(Duration::from_secs(90)));
    let refused = |written: &str, found: &str| {
        let message = format!("orgs.acme.audit.heartbeat: needs to be from 1m to 24h, or \"off\"; found {found}");
        check_org(&format!("token = 'x'\n[orgs.acme.audit]\nheartbeat = {written}"), &[&message]);
    };
    refused("'59s'", "\"59s\"");
    refused("'2d'", "\"2d\"");
    let warnings = |sink: &str| {
        let loaded = loaded(&format!("{ORG}heartbeat = '5m'\n{SINK}{sink}"));
        loaded.warnings.iter().map(|warning| format!("{}: {}", warning.key, warning.message)).collect::<Vec<_>>()
    };
    assert_eq!(warnings(""), ["orgs.acme.audit.heartbeat: is heard by nobody: no sink has forwarder_events = true"]);
    assert!(warnings("forwarder_events = true").is_empty());
}

#[test]
fn a_retention_holds_against_the_start_unless_only_the_start_says_how_long_the_log_is() {
    let check = |kind: &str, toml: &str, days: u64, warnings: &[&str]| {
        let loaded = loaded(&format!("[orgs.acme]\ntoken = 'x'\n[orgs.acme.{kind}]\n{toml}\n{SINK}"));
        assert_eq!(loaded.settings.orgs[0].streams[0].retention, Duration::from_secs(days * 86_400), "{kind} {toml}");
        let found: Vec<_> = loaded.warnings.iter().map(|warning| format!("{}: {}", warning.key, warning.message)).collect();
        assert_eq!(found, warnings, "{kind} {toml}");
    };
    check("audit", "", 90, &[]);
    check("audit", "start = '90d'", 90, &[]);
    let beyond = |kind: &str, days: &str| {
        format!(
            "orgs.acme.{kind}.start: lies further back than `retention` says that Miro's log reaches ({days} days): collection begins there"
        )
    };
    check("audit", "start = '91d'", 90, &[&beyond("audit", "90.0")]);
    check("audit", "start = '60d'\nretention = '30d'", 30, &[&beyond("audit", "30.0")]);
    for kind in ["content", "ai"] {
        check(kind, "", 30, &[]);
        check(kind, "start = '24h'", 30, &[]);
        check(kind, "start = '365d'", 365, &[]);
        check(kind, "start = '90d'\nretention = '60d'", 60, &[&beyond(kind, "60.0")]);
        check(kind, "retention = '365d'", 365, &[]);
    }
    let refused = |toml: &str, message: &str| check_org(&format!("token = 'x'\n{toml}"), &[message]);
    refused("[orgs.acme.audit]\nretention = '91d'", "orgs.acme.audit.retention: needs to be from 1h to 90d; found \"91d\"");
    refused("[orgs.acme.content]\nretention = '5m'", "orgs.acme.content.retention: needs to be from 1h to 3650d; found \"5m\"");
}

#[test]
fn a_share_of_the_quota_is_a_fraction() {
    let share =
        |written: &str| loaded(&format!("[orgs.acme]\ntoken = 'x'\n{written}\n[orgs.acme.audit]\n{SINK}")).settings.orgs[0].quota_share;
    assert_eq!(
        (share(""), share("quota_share = 1"), share("quota_share = 1.0")),
        (QuotaShare::WHOLE, QuotaShare::WHOLE, QuotaShare::WHOLE)
    );
    assert_eq!(share("quota_share = 0.25").of(100_000), 25_000);
    for (written, found) in [("0", "0"), ("1.5", "1.5"), ("-1", "-1"), ("nan", "NaN"), ("'half'", "a text")] {
        let message = format!("orgs.acme.quota_share: needs a fraction above 0 and at most 1, such as 0.5; found {found}");
        check_org(&format!("token = 'x'\nquota_share = {written}\n[orgs.acme.audit]"), &[&message]);
    }
}

#[test]
fn a_start_is_now_an_age_or_a_time_in_any_spelling() {
    let time = |text: &str| Start::At(Timestamp::parse(text).expect("a time"));
    let check = |written: &str, expected: Start| assert_eq!(stream(&format!("start = {written}")).start, expected, "{written}");
    check("'now'", Start::Now);
    check("'24h'", Start::Ago(Duration::from_secs(24 * 3600)));
    check("'90d'", Start::Ago(Duration::from_secs(90 * 24 * 3600)));
    check("'2026-01-31T09:30:00Z'", time("2026-01-31T09:30:00Z"));
    check("'2026-01-31T09:30:00+02:00'", time("2026-01-31T07:30:00Z"));
    check("2026-01-31T09:30:00Z", time("2026-01-31T09:30:00Z"));
    check("2026-01-31 09:30:00.5Z", time("2026-01-31T09:30:00.500Z"));
    let meant = "needs \"now\", an age such as \"24h\" or \"90d\", or a time such as \"2026-01-31T00:00:00Z\"";
    let refused = |written: &str, why: &str| {
        check_org(
            &format!("token = 'x'\n[orgs.acme.audit]\nstart = {written}"),
            &[&format!("orgs.acme.audit.start: {meant}; found {why}")],
        );
    };
    refused("'yesterday'", "\"yesterday\"");
    refused("'2026-01-31'", "\"2026-01-31\": a time needs its clock and an offset, such as Z");
    refused("2026-01-31", "\"2026-01-31\": a time needs its clock and an offset, such as Z");
    refused("2026-01-31T09:30:00", "\"2026-01-31T09:30:00\": a time needs its clock and an offset, such as Z");
    refused("5", "a whole number");
}

#[test]
fn durations_have_units_and_can_be_put_together() {
    let check = |written: &str, millis: u64| {
        assert_eq!(
            sink(&format!("type = 'stdout'\nflush_interval = '{written}'")).flush_interval,
            Duration::from_millis(millis),
            "{written}"
        );
    };
    check("500ms", 500);
    check("1s500ms", 1_500);
    check("1m30s", 90_000);
    check("1m 30s", 90_000);
    check("0s", 0);
    let meant = "needs a duration such as \"500ms\", \"30s\", \"5m\", \"1h30m\" or \"90d\"";
    let refused = |written: &str, why: &str| {
        check_sink(&format!("type = 'stdout'\nflush_interval = {written}"), &[&format!("sinks.s.flush_interval: {meant}; found {why}")]);
    };
    refused("'30'", "\"30\": it has no unit");
    refused("30", "30: it has no unit; write it as text with one");
    refused("'5 minutes'", "\"5 minutes\"");
    refused("'1.5h'", "\"1.5h\"");
    refused("'-1s'", "\"-1s\"");
    refused("''", "an empty text");
    refused("'99999999999999999999s'", "\"99999999999999999999s\"");
    refused("'9999999999999999999w'", "\"9999999999999999999w\": it is too large");
    refused("true", "true");
    refused("['1s']", "a list");
}

#[test]
fn sizes_are_bytes_with_or_without_a_unit() {
    let check = |written: &str, bytes: u64| {
        let settings = loaded(&format!("{ORG}{SINK}[state]\njournal_max = {written}\n")).settings;
        assert_eq!(settings.state.journal_bytes_max, bytes, "{written}");
    };
    check("'10GiB'", 10 << 30);
    check("'512MB'", 512_000_000);
    check("'1048576'", 1 << 20);
    check("1048576", 1 << 20);
    check("'64 kib'", 64 << 10);
    check("'1TB'", 1_000_000_000_000);
    let meant = "needs a size such as \"10GiB\", \"512MB\" or \"1048576\"";
    let refused = |written: &str, why: &str| {
        check_sink(&format!("type = 'stdout'\n[state]\njournal_max = {written}"), &[&format!("state.journal_max: {meant}; found {why}")]);
    };
    refused("'10G'", "\"10G\": write 10GB or 10GiB");
    refused("'lots'", "\"lots\"");
    refused("'1GiB2'", "\"1GiB2\"");
    refused("-5", "-5");
    refused("'99999999999TiB'", "\"99999999999TiB\": it is too large");
}

#[test]
fn the_admin_endpoint_can_be_moved_and_switched_off() {
    let listen =
        |written: &str| loaded(&format!("{ORG}{SINK}[admin]\nlisten = '{written}'")).settings.admin.listen.map(|at| at.to_string());
    assert_eq!(listen("off"), None);
    assert_eq!(listen("[::1]:80").as_deref(), Some("[::1]:80"));
    assert_eq!(listen("localhost:9000").as_deref(), Some("127.0.0.1:9000"));
    let open = loaded(&format!("{ORG}{SINK}[admin]\nlisten = '0.0.0.0:9494'\ntoken = 'secret'")).settings;
    assert!(open.admin.token.is_some());
    check_sink(
        "type = 'stdout'\n[admin]\nlisten = 'siem.example.com:9494'",
        &[
            "admin.listen: needs an IP address with a port such as \"127.0.0.1:9494\" or \"[::]:9494\", or \"off\"; found \"siem.example.com:9494\"",
        ],
    );
}

#[test]
fn the_admin_socket_is_in_the_state_directory_unless_it_is_elsewhere_or_off() {
    let socket = |toml: &str| loaded(&format!("{ORG}{SINK}{toml}")).settings.admin.socket.map(|path| path.display().to_string());
    assert_eq!(socket("").as_deref(), Some("/var/lib/miro-siem/admin.sock"));
    assert_eq!(socket("[state]\ndir = '/srv/m'").as_deref(), Some("/srv/m/admin.sock"));
    assert_eq!(socket("[admin]\nsocket = '/run/m/s'").as_deref(), Some("/run/m/s"));
    assert_eq!(socket("[admin]\nsocket = 'off'"), None);
    let (fits, long) = ("x".repeat(106), "x".repeat(107));
    assert!(socket(&format!("[admin]\nsocket = '/{fits}'")).is_some());
    let why = "it has 108 bytes, and the system takes at most 107 for a socket; choose a shorter one";
    check_sink(
        &format!("type = 'stdout'\n[admin]\nsocket = '/{long}'"),
        &[&format!("admin.socket: needs the path of a unix socket, or \"off\"; found a text: {why}")],
    );
    let dir = "x".repeat(96);
    check_sink(
        &format!("type = 'stdout'\n[state]\ndir = '/{dir}'"),
        &[&format!("admin.socket: is admin.sock in state.dir unless another is chosen: {why}, or \"off\"")],
    );
    assert_eq!(socket(&format!("[state]\ndir = '/{dir}'\n[admin]\nsocket = 'off'")), None);
}

#[test]
fn the_admin_endpoint_has_a_certificate_and_names_of_its_own() {
    let admin = |toml: &str| loaded(&format!("{ORG}{SINK}[admin]\n{toml}")).settings.admin;
    assert_eq!(admin("hosts = ['SIEM.example.com.', '10.0.0.5', '[::2]']").hosts, ["siem.example.com", "10.0.0.5", "::2"]);
    let tls = admin("tls = { cert_file = '/c', key_file = '/k' }").tls.expect("a certificate");
    assert_eq!((tls.cert_file.to_str(), tls.key_file.to_str()), (Some("/c"), Some("/k")));
    let problem = |toml: &str, expected: &str| check_sink(&format!("type = 'stdout'\n[admin]\n{toml}"), &[expected]);
    problem("tls = { cert_file = '/c' }", "admin.tls.key_file: is missing; it needs a path: key_file = \"/etc/miro-siem/admin.key\"");
    for wrong in ["https://siem.example.com", "siem.example.com:9494", "*.example.com", "a b"] {
        let meant = "a host's name such as \"siem.example.com\" or its IP address, without a scheme and a port";
        problem(&format!("hosts = ['{wrong}']"), &format!("admin.hosts[0]: needs {meant}; found {wrong:?}"));
    }
    let warnings = |toml: &str| loaded(&format!("{ORG}{SINK}[admin]\n{toml}")).warnings.iter().map(ToString::to_string).collect::<String>();
    let open = "listen = '0.0.0.0:1'\ntoken = { env = 'T' }\n";
    assert!(warnings(open).contains("the token travels in clear text"), "{}", warnings(open));
    assert_eq!(warnings(&format!("{open}tls = {{ cert_file = '/c', key_file = '/k' }}")), "");
}

#[test]
fn an_organisation_id_can_be_a_number_or_a_text() {
    let id = |written: &str| loaded(&format!("{SINK}[orgs.acme]\nid = {written}\ntoken = 'x'\naudit = {{}}")).settings.orgs[0].id.clone();
    assert_eq!(id("3074457345821141000").as_deref(), Some("3074457345821141000"));
    assert_eq!(id("'3074457345821141000'").as_deref(), Some("3074457345821141000"));
    let meant = "orgs.acme.id: needs an organisation's id such as \"3074457345821141000\"";
    check_org("id = '../x'\ntoken = 'x'\naudit = {}", &[&format!("{meant}; found a text")]);
    check_org("id = -1\ntoken = 'x'\naudit = {}", &[&format!("{meant}; found -1")]);
}

#[test]
fn tokens_belong_to_organisations_and_streams() {
    let settings = loaded(&format!("{ORG}[orgs.acme.content]\ntoken = {{ env = 'MIRO_CONTENT_TOKEN' }}\n{SINK}")).settings;
    assert_eq!(format!("{:?}", settings.orgs[0].auth), "Some(Token(Literal(…)))");
    assert_eq!(format!("{:?}", settings.orgs[0].streams[1].auth), "Some(Token(Env(MIRO_CONTENT_TOKEN)))");
    let toml = "oauth = { client_id = '1', client_secret = { file = '/s' }, refresh_token = { credential = 'r' } }\naudit = {}";
    let oauth = loaded(&format!("{SINK}[orgs.acme]\n{toml}")).settings.orgs[0].auth.clone();
    assert!(matches!(oauth, Some(AuthSettings::Oauth { client_id, .. }) if client_id == "1"));
}

#[test]
fn common_defaults_of_sinks_are_those_of_the_reference() {
    let sink = sink("type = 'stdout'");
    assert_eq!(sink.streams, StreamKind::OF_MIRO);
    assert_eq!((sink.format, sink.provenance), (Format::Raw, Provenance::On));
    assert_eq!((sink.batch_events_max, sink.batch_bytes_max), (None, None));
    assert_eq!((sink.flush_interval, sink.timeout), (Duration::from_secs(1), Duration::from_secs(30)));
    assert_eq!((sink.retry_initial, sink.retry_max), (Duration::from_secs(1), Duration::from_secs(300)));
    assert!(sink.filter.include_events.is_empty() && sink.filter.exclude_events.is_empty());
}

#[test]
fn common_keys_of_sinks_are_read() {
    let sink = sink(
        "type = 'stdout'\nstreams = ['content', 'audit', 'audit']\nprovenance = false\nbatch_events_max = 7\nbatch_bytes_max = '64KiB'\n\
         filter = { include_events = ['board_*'], exclude_events = ['board_opened'] }",
    );
    assert_eq!(sink.streams, [StreamKind::Audit, StreamKind::Content]);
    let own = self::sink("type = 'stdout'\nstreams = ['audit']\nforwarder_events = true");
    assert_eq!(own.streams, [StreamKind::Audit, StreamKind::Forwarder]);
    assert_eq!(sink.provenance, Provenance::Off);
    assert_eq!((sink.batch_events_max, sink.batch_bytes_max), (Some(7), Some(65_536)));
    assert_eq!((sink.filter.include_events, sink.filter.exclude_events), (vec!["board_*".to_owned()], vec!["board_opened".to_owned()]));
}

#[test]
fn tls_of_a_sink_goes_over_the_global_one() {
    let tls = |sink: &str| {
        let toml = format!(
            "{ORG}[tls]\nca_file = '/ca'\ncert_file = '/cert'\nkey_file = '/key'\n[sinks.s]\ntype = 'splunk_hec'\nurl = 'https://x'\ntoken = 'x'\n{sink}"
        );
        let tls = loaded(&toml).settings.sinks[0].tls.clone();
        [tls.ca_file, tls.cert_file, tls.key_file].map(|path| path.map(|path| path.display().to_string()).unwrap_or_default())
    };
    assert_eq!(tls(""), ["/ca", "/cert", "/key"]);
    assert_eq!(tls("tls = { ca_file = '/own' }"), ["/own", "/cert", "/key"]);
    assert_eq!(tls("tls = { cert_file = '/c', key_file = '/k' }"), ["/ca", "/c", "/k"]);
}

#[test]
fn each_type_of_sink_has_its_defaults() {
    let hec = splunk("");
    assert_eq!((hec.ack, hec.ack_timeout, hec.compression), (IndexerAck::Off, Duration::from_secs(300), Compression::Gzip));
    assert_eq!(splunk("ack = true\ncompression = 'none'").ack, IndexerAck::On);
    assert_eq!((file("").compression, file("").mode, file("").size_bytes_max), (Compression::None, 0o640, None));
    assert_eq!((file("mode = '0600'").mode, file("size_max = '1GiB'").size_bytes_max), (0o600, Some(1 << 30)));
    assert_eq!(sumo("").compression, Compression::Gzip);
    assert_eq!(
        sumo("fields = { env = 'prod', team = 'a b' }").fields,
        [("env".to_owned(), "prod".to_owned()), ("team".to_owned(), "a b".to_owned())]
    );
    let plain = syslog("address = 'tls://siem'");
    assert_eq!((plain.facility, plain.severity, plain.message_bytes_max), (13, 5, 8192));
    assert_eq!((plain.app_name.as_str(), plain.hostname), ("miro-siem", None));
}

#[test]
fn syslog_addresses_have_a_scheme_and_perhaps_a_port() {
    let check = |address: &str, transport: SyslogTransport, host: &str, port: u16| {
        let found = syslog(&format!("address = '{address}'"));
        assert_eq!((found.transport, found.host.as_str(), found.port), (transport, host, port), "{address}");
    };
    check("udp://siem.example.com", SyslogTransport::Udp, "siem.example.com", 514);
    check("tcp://10.0.0.1", SyslogTransport::Tcp, "10.0.0.1", 514);
    check("tls://siem", SyslogTransport::Tls, "siem", 6514);
    check("TLS://siem:99/", SyslogTransport::Tls, "siem", 99);
    check("tcp://[2001:db8::1]:601", SyslogTransport::Tcp, "2001:db8::1", 601);
    check("tcp://[::1]", SyslogTransport::Tcp, "::1", 514);
    check("relp://siem", SyslogTransport::Relp, "siem", 2514);
    assert_eq!(syslog("address = 'relp://siem'\ntls = {}").transport, SyslogTransport::RelpTls, "its own table asks for TLS");
    let meant =
        "sinks.s.address: needs an address such as \"tls://siem.example.com:6514\", with udp://, tcp://, tls:// or relp://; found a text";
    let refused = |address: &str, why: &str| check_sink(&format!("type = 'syslog'\naddress = '{address}'"), &[&format!("{meant}: {why}")]);
    refused("siem:514", "it has no scheme");
    refused("http://siem", "its scheme is another");
    refused("tcp://::1", "an IPv6 address is written in brackets");
    refused("tcp://[::1", "its `[` is not closed");
    refused("tcp://[siem]:1", "there is no IPv6 address between its brackets");
    refused("tcp://user@siem", "its host is no name and no IP address");
    refused("tcp://", "its host is no name and no IP address");
    refused("tcp://siem:0", "its port is no number from 1 to 65535");
    refused("tcp://siem:70000", "its port is no number from 1 to 65535");
    refused("tcp://[::1]x", "only a port can follow the host");
}

#[test]
fn facilities_and_severities_have_names_and_numbers() {
    let codes = |keys: &str| {
        let found = syslog(&format!("address = 'tcp://h'\n{keys}"));
        (found.facility, found.severity)
    };
    assert_eq!(codes("facility = 'auth'\nseverity = 'info'"), (4, 6));
    assert_eq!(codes("facility = 'authpriv'\nseverity = 'WARNING'"), (10, 4));
    assert_eq!(codes("facility = 'local7'\nseverity = 0"), (23, 0));
    assert_eq!(codes("facility = '16'\nseverity = '7'"), (16, 7));
    check_sink(
        "type = 'syslog'\naddress = 'tcp://h'\nfacility = 24\nseverity = 'loud'",
        &[
            "sinks.s.facility: needs a facility: 0 to 23, or a name such as \"audit\", \"auth\", \"authpriv\" or \"local0\" to \"local7\"; found 24",
            "sinks.s.severity: needs a severity: 0 to 7, or a name such as \"notice\", \"info\" or \"warning\"; found \"loud\"",
        ],
    );
}

#[track_caller]
fn is<T: Debug>(found: &T, expected: &str) {
    assert_eq!(format!("{found:?}"), expected);
}

#[test]
fn azure_settings_follow_the_cloud_of_the_endpoint() {
    let check = |endpoint: &str, authority: &str, scope: &str| {
        let found = azure(endpoint, "managed_identity = true");
        assert_eq!((found.authority.as_str(), found.scope.as_str()), (authority, scope), "{endpoint}");
    };
    check("https://x.westeurope-1.ingest.monitor.azure.com", "https://login.microsoftonline.com/", "https://monitor.azure.com/.default");
    check("https://x.ingest.monitor.azure.us", "https://login.microsoftonline.us/", "https://monitor.azure.us/.default");
    check("https://x.ingest.monitor.azure.cn", "https://login.chinacloudapi.cn/", "https://monitor.azure.cn/.default");
    let found = azure("https://x", "managed_identity = true\nauthority = 'https://127.0.0.1:1'\nscope = 'https://s/.default'");
    assert_eq!((found.authority.as_str(), found.scope.as_str()), ("https://127.0.0.1:1/", "https://s/.default"));
    assert_eq!((found.audit_stream.as_str(), found.content_stream.as_str()), ("Custom-MiroAuditLogs_CL", "Custom-MiroContentLogs_CL"));
    assert_eq!(
        sink("type = 'azure_monitor'\nendpoint = 'https://x'\ndcr_id = 'dcr-1'\nmanaged_identity = true").provenance,
        Provenance::Off
    );
}

#[test]
fn azure_authenticates_in_one_of_three_ways() {
    let credential = |toml: &str| azure("https://x", toml).credential;
    assert!(matches!(
        credential("tenant_id = 't'\nclient_id = 'c'\nclient_secret = { file = '/s' }"),
        AzureCredential::ClientSecret { tenant_id, client_id, .. } if (tenant_id.as_str(), client_id.as_str()) == ("t", "c")
    ));
    is(&credential("managed_identity = true"), "ManagedIdentity { client_id: None }");
    is(&credential("managed_identity = { client_id = 'c' }"), "ManagedIdentity { client_id: Some(\"c\") }");
    is(&credential("managed_identity = {}"), "ManagedIdentity { client_id: None }");
    is(&credential("workload_identity = true"), "WorkloadIdentity { tenant_id: None, client_id: None, token_file: None }");
    is(
        &credential("workload_identity = { token_file = '/t' }"),
        "WorkloadIdentity { tenant_id: None, client_id: None, token_file: Some(\"/t\") }",
    );
}

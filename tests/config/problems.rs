//! Every kind of problem, in the words in which it is told.

use super::{ORG, SINK, check, check_org, check_sink, loaded};

const AZURE: &str = "type = 'azure_monitor'\nendpoint = 'https://x.ingest.monitor.azure.com'\ndcr_id = 'dcr-0123'\n";

#[test]
fn a_sound_configuration_has_no_problems() {
    check(&format!("{ORG}{SINK}"), &[]);
}

#[test]
fn an_empty_configuration_misses_organisations_and_sinks() {
    check(
        "",
        &[
            "orgs: is missing: no organisation is configured; add [orgs.<name>] with a token, and [orgs.<name>.audit]",
            "sinks: is missing: there is nowhere to deliver to; add [sinks.<name>] with a type",
        ],
    );
}

#[test]
fn all_problems_are_told_at_once() {
    check(
        "[state]\ndri = '/x'\njournal_max = 'much'\n[admin]\nlisten = '0.0.0.0:9494'\n[orgs.acme.audit]\npoll_interval = '1s'\n\
         [sinks.splunk]\ntype = 'splunk_hec'\ntoken = 5\n",
        &[
            "state.dri: unknown key; did you mean \"dir\"?",
            "state.journal_max: needs a size such as \"10GiB\", \"512MB\" or \"1048576\"; found \"much\"",
            "admin.token: is missing; admin.listen is 0.0.0.0:9494, and any address but loopback needs a token: token = { file = \"…\" }",
            "orgs.acme.audit.token: is missing; neither orgs.acme.audit nor orgs.acme has `token` or `oauth`",
            "orgs.acme.audit.poll_interval: needs to be from 10s to 24h; found \"1s\"",
            "sinks.splunk.url: is missing; it needs a URL such as \"https://siem.example.com:8088\": url = \"https://splunk.example.com:8088\"",
            "sinks.splunk.token: needs a secret: { file = \"…\" }, { env = \"…\" }, { credential = \"…\" } or a text; found a whole number",
        ],
    );
}

#[test]
fn unknown_keys_are_refused_and_the_near_ones_named() {
    let check_root = |toml: &str, expected: &str| check(&format!("{toml}\n{ORG}{SINK}"), &[expected]);
    check_root("[sink.x]", "sink: unknown key; did you mean \"sinks\"?");
    check_root("[logging]", "logging: unknown key; known here: state, admin, tls, orgs, sinks");
    check_root("state = 3", "state: needs to be a table; found a whole number");
    check_root("[admin]\nport = 9494", "admin.port: unknown key; known here: listen, socket, token, tls, hosts");
    check_root("[state]\njournalMax = '1GiB'", "state.journalMax: unknown key; did you mean \"journal_max\"?");
    check_root("[tls]\nca_fle = 'x'", "tls.ca_fle: unknown key; did you mean \"ca_file\"?");
    check_org(
        "token = 'x'\n[orgs.acme.audits]",
        &["orgs.acme.audits: unknown key; did you mean \"audit\"?", "orgs.acme: collects nothing: it has no stream; add [orgs.acme.audit]"],
    );
    check_org(
        "token = 'x'\npoll_interval = '5m'\naudit = {}",
        &["orgs.acme.poll_interval: belongs to a stream's table, such as [orgs.acme.audit]"],
    );
    check_org(
        "token = 'x'\n[orgs.acme.audit]\npoll-interval = '5m'",
        &["orgs.acme.audit.poll-interval: unknown key; did you mean \"poll_interval\"?"],
    );
    check_sink("type = 'stdout'\nstream = ['audit']", &["sinks.s.stream: unknown key; did you mean \"streams\"?"]);
    check_sink("type = 'stdout'\ncolour = true", &["sinks.s.colour: unknown key"]);
}

#[test]
fn a_key_of_another_sink_type_says_whose_it_is() {
    check_sink("type = 'stdout'\ndcr_id = 'x'", &["sinks.s.dcr_id: belongs to sinks of type azure_monitor; this one is stdout"]);
    check_sink(
        "type = 'stdout'\nurl = 'x'",
        &["sinks.s.url: belongs to sinks of type splunk_hec or sumo or http or elasticsearch or otlp; this one is stdout"],
    );
    check_sink(
        "type = 'file'\npath = '/x'\ncompression = 'none'\nfacility = 13",
        &["sinks.s.facility: belongs to sinks of type syslog; this one is file"],
    );
}

#[test]
fn types_of_sinks_are_named_and_typos_recognised() {
    check_sink(
        "path = '/x'",
        &[
            "sinks.s.type: is missing; it needs \"stdout\", \"file\", \"splunk_hec\", \"azure_monitor\", \"sumo\", \"syslog\", \"http\", \"elasticsearch\", \"nats\", \"otlp\" or \"s3\": type = \"splunk_hec\"",
        ],
    );
    check_sink(
        "type = 'splunk-hec'\nanything = 1",
        &[
            "sinks.s.type: needs \"stdout\", \"file\", \"splunk_hec\", \"azure_monitor\", \"sumo\", \"syslog\", \"http\", \"elasticsearch\", \"nats\", \"otlp\" or \"s3\"; found \"splunk-hec\": did you mean \"splunk_hec\"?",
        ],
    );
}

#[test]
fn what_is_foreseen_and_not_done_yet_is_refused_by_name() {
    check_sink("type = 'kafka'\nanything = 1", &["sinks.s.type: the sink type \"kafka\" is not supported by this version yet"]);
    check_sink(
        "type = 'stdout'\nstreams = ['audit', 'forwarder']",
        &["sinks.s.streams[1]: is no stream to choose here; set forwarder_events = true for miro-siem's own events"],
    );
    check_sink(
        "type = 'stdout'\nstreams = ['licenses']",
        &["sinks.s.streams[0]: the stream \"licenses\" is not supported by this version yet"],
    );
    check_org(
        "token = 'x'\naudit = {}\n[orgs.acme.licenses]",
        &["orgs.acme.licenses: the stream \"licenses\" is not supported by this version yet"],
    );
    check_org("token = 'x'\n[orgs.acme.licenses]", &["orgs.acme.licenses: the stream \"licenses\" is not supported by this version yet"]);
}

#[test]
fn formats_belong_to_receivers_that_can_read_them() {
    for format in ["cef", "leef"] {
        check_sink(
            &format!("type = 'stdout'\nformat = '{format}'"),
            &["sinks.s.format: cef and leef are for sinks of type syslog; this one is stdout: use raw, ocsf or ecs"],
        );
    }
    for format in ["raw", "ocsf", "ecs"] {
        check_sink(&format!("type = 'stdout'\nformat = '{format}'"), &[]);
    }
    for format in ["raw", "ocsf", "ecs", "cef", "leef"] {
        check_sink(&format!("type = 'syslog'\naddress = 'udp://siem:514'\nformat = '{format}'"), &[]);
    }
    let azure = "type = 'azure_monitor'\nendpoint = 'https://x.ingest.monitor.azure.com'\ndcr_id = 'dcr-1'\nmanaged_identity = true";
    check_sink(
        &format!("{azure}\nformat = 'ocsf'"),
        &[
            "sinks.s.format: has to be raw here: the tables of an azure_monitor sink have the columns of Miro's own object, and drop all others",
        ],
    );
}

#[test]
fn organisations_need_streams_and_streams_need_tokens() {
    check_org("token = 'x'", &["orgs.acme: collects nothing: it has no stream; add [orgs.acme.audit]"]);
    check_org("token = 'x'\naudit = false", &["orgs.acme: collects nothing: all its streams are switched off; add [orgs.acme.audit]"]);
    check_org(
        "[orgs.acme.audit]\ntoken = 'x'\n[orgs.acme.content]",
        &["orgs.acme.content.token: is missing; neither orgs.acme.content nor orgs.acme has `token` or `oauth`"],
    );
    check_org(
        "token = 'x'\noauth = { client_id = '1', client_secret = 'x', refresh_token = 'y' }\naudit = {}",
        &["orgs.acme.oauth: stands beside `token`; one of the two is meant"],
    );
    check_org(
        "oauth = { client_id = '1' }\naudit = {}",
        &[
            "orgs.acme.oauth.client_secret: is missing; it needs a secret: { file = \"…\" }, { env = \"…\" }, { credential = \"…\" } or a text: client_secret = { file = \"/etc/miro-siem/client.secret\" }",
            "orgs.acme.oauth.refresh_token: is missing; it needs a secret: { file = \"…\" }, { env = \"…\" }, { credential = \"…\" } or a text: refresh_token = { file = \"/etc/miro-siem/refresh.token\" }",
        ],
    );
    check_org("token = 'x'\naudit = 'yes please'", &["orgs.acme.audit: needs to be a table; found a text"]);
}

#[test]
fn pages_are_limited_by_what_each_api_answers() {
    let page = |stream: &str, size: &str, limit: &str| {
        check_org(
            &format!("token = 'x'\n[orgs.acme.{stream}]\npage_size = {size}"),
            &[&format!("orgs.acme.{stream}.page_size: needs to be from 1 to {limit}; found {size}")],
        );
    };
    page("audit", "501", "500");
    page("audit", "0", "500");
    page("content", "1001", "1000");
    page("ai", "101", "100");
    check_org("token = 'x'\n[orgs.acme.audit]\npage_size = -1", &["orgs.acme.audit.page_size: needs a whole number; found -1"]);
    check_org("token = 'x'\n[orgs.acme.audit]\npage_size = '500'", &["orgs.acme.audit.page_size: needs a whole number; found a text"]);
    check_org(
        "token = 'x'\n[orgs.acme.audit]\npage_size = 5.5",
        &["orgs.acme.audit.page_size: needs a whole number; found a number with a fraction, or one that is too large"],
    );
}

#[test]
fn intervals_and_overlaps_have_bounds() {
    check_org(
        "token = 'x'\n[orgs.acme.audit]\npoll_interval = '9s'",
        &["orgs.acme.audit.poll_interval: needs to be from 10s to 24h; found \"9s\""],
    );
    check_org(
        "token = 'x'\n[orgs.acme.audit]\npoll_interval = '2d'",
        &["orgs.acme.audit.poll_interval: needs to be from 10s to 24h; found \"2d\""],
    );
    check_org("token = 'x'\n[orgs.acme.audit]\noverlap = '25h'", &["orgs.acme.audit.overlap: needs to be at most 24h; found \"25h\""]);
    check_sink("type = 'stdout'\nretry_initial = '10m'", &["sinks.s.retry_max: needs to be at least retry_initial"]);
    check_sink("type = 'stdout'\ntimeout = '0s'", &["sinks.s.timeout: needs to be from 100ms to 10m; found \"0s\""]);
}

#[test]
fn urls_end_at_the_port_and_hold_no_credentials() {
    let url = |url: &str, why: &str| {
        let toml = format!("type = 'splunk_hec'\ntoken = 'x'\nurl = '{url}'");
        check_sink(&toml, &[&format!("sinks.s.url: needs a URL such as \"https://siem.example.com:8088\": {why}")]);
    };
    url("splunk.example.com", "relative URL without a base");
    url("splunk.example.com:8088", "it must begin with https:// or http://");
    url("ftp://splunk", "it must begin with https:// or http://");
    url("https://user:hunter2@splunk:8088", "it holds a user name or a password; credentials have keys of their own");
    url("https://splunk:8088/?token=hunter2", "it must end before `?` and `#`");
    url("", "relative URL without a base");
}

#[test]
fn urls_do_not_hold_what_is_added_to_them() {
    let added = |path: &str| format!("needs to be without {path}, which is added where it is needed");
    check_sink(
        "type = 'splunk_hec'\ntoken = 'x'\nurl = 'https://splunk:8088/services/collector/event'",
        &[&format!("sinks.s.url: {}; `path` is for another", added("/services/collector"))],
    );
    check_sink("type = 'splunk_hec'\ntoken = 'x'\nurl = 'https://proxy/splunk/'", &[]);
    check_sink(
        "type = 'azure_monitor'\nendpoint = 'https://x/dataCollectionRules/dcr-1'\ndcr_id = 'dcr-1'\nmanaged_identity = true",
        &[&format!("sinks.s.endpoint: {}", added("/dataCollectionRules"))],
    );
    check_org("token = 'x'\naudit = {}\napi_url = 'https://api.miro.com/v2/'", &[&format!("orgs.acme.api_url: {}", added("/v2"))]);
}

#[test]
fn azure_needs_exactly_one_way_to_authenticate() {
    check_sink(
        AZURE,
        &["sinks.s.client_secret: is missing; one of client_secret, managed_identity = true and workload_identity = true has to be there"],
    );
    check_sink(
        &format!("{AZURE}client_secret = 'x'"),
        &["sinks.s.tenant_id: is missing; it belongs to client_secret", "sinks.s.client_id: is missing; it belongs to client_secret"],
    );
    check_sink(
        &format!("{AZURE}managed_identity = true\nworkload_identity = true"),
        &["sinks.s.managed_identity: stands beside other ways to authenticate: managed_identity, workload_identity; one of them is meant"],
    );
    check_sink(
        &format!("{AZURE}managed_identity = true\nclient_id = 'x'"),
        &[
            "sinks.s.client_id: belongs to client_secret; for an identity of your choice write managed_identity = { client_id = \"…\" } or workload_identity = { … }",
        ],
    );
    check_sink(
        &format!("{AZURE}workload_identity = {{ tennant_id = 'x' }}"),
        &["sinks.s.workload_identity.tennant_id: unknown key; did you mean \"tenant_id\"?"],
    );
    check_sink(&format!("{AZURE}managed_identity = true\nworkload_identity = false"), &[]);
    check_sink(
        "type = 'azure_monitor'\nendpoint = 'https://x'\nmanaged_identity = true\ndcr_id = '/subscriptions/1/x'",
        &[
            "sinks.s.dcr_id: needs the immutable id of a data collection rule, such as \"dcr-00000000000000000000000000000000\"; found \"/subscriptions/1/x\": this is its resource id; the immutable one is on its overview page, under JSON view",
        ],
    );
}

#[test]
fn a_sink_refuses_what_it_cannot_do() {
    check_sink(
        "type = 'splunk_hec'\nurl = 'https://x'\ntoken = 'x'\ncompression = 'zstd'",
        &["sinks.s.compression: needs to be \"none\" or \"gzip\"; found \"zstd\""],
    );
    check_sink(
        "type = 'file'\npath = '/x'\ncompression = 'gzip'",
        &["sinks.s.compression: needs to be \"none\" or \"zstd\"; found \"gzip\""],
    );
    check_sink(
        "type = 'file'\npath = '/x'\ntls = { ca_file = '/x' }",
        &["sinks.s.tls: has no meaning here: a sink of type file opens no connection"],
    );
    check_sink(
        "type = 'syslog'\naddress = 'tcp://h'\ntls = { ca_file = '/x' }",
        &["sinks.s.tls: has no meaning here: only an address with tls:// or relp:// opens a TLS connection"],
    );
    check_sink(
        "type = 'syslog'\naddress = 'udp://h'\nmessage_bytes_max = 70000",
        &["sinks.s.message_bytes_max: needs to be at most 65507: a larger message fits into no datagram"],
    );
    check_sink("type = 'stdout'\nstreams = []", &["sinks.s.streams: needs to be of at least one stream; found an empty list"]);
    check_sink(
        "type = 'splunk_hec'\nurl = 'https://x'\ntoken = 'x'\ntls = { cert_file = '/x' }",
        &["sinks.s.tls.key_file: is missing; it belongs to cert_file"],
    );
}

#[test]
fn paths_of_files_are_checked() {
    let path = |path: &str, why: &str| {
        let meant = "needs a path, with {org}, {stream} and the event's date as %Y-%m-%d where they are wanted";
        check_sink(&format!("type = 'file'\npath = '{path}'"), &[&format!("sinks.s.path: {meant}; found {path:?}{why}")]);
    };
    path("/x/{strem}", ": only {org} and {stream} can stand in braces");
    path("/x/%Q", ": a `%` in it is followed by no specifier of strftime; write a plain one as `%%`");
    path("~/x", ": `~` is the shell's and is not expanded here; write the whole path");
    path("/x/", "");
    check_sink(
        "type = 'file'\npath = '/x'\nmode = 640",
        &["sinks.s.mode: needs permissions in octal, as text: \"0640\"; found a whole number"],
    );
    check_sink(
        "type = 'file'\npath = '/x'\nmode = '0999'",
        &["sinks.s.mode: needs permissions in octal, as text: \"0640\"; found \"0999\""],
    );
}

#[test]
fn names_are_plain_and_do_not_collide() {
    let plain = "a name is made of at most 64 letters, digits, `-` and single `_`, and begins with a letter or digit";
    for name in ["\"a b\"", "\"a.b\"", "a__b", "_a", "\"\"", "\"ü\""] {
        let bare = name.trim_matches('"');
        check(&format!("{ORG}[sinks.{name}]\ntype = 'stdout'"), &[&format!("sinks.{bare}: {plain}")]);
    }
    check(
        &format!("{ORG}[sinks.a-b]\ntype = 'stdout'\n[sinks.A_b]\ntype = 'stdout'"),
        &["sinks.a-b: collides with the name \"A_b\": names differ in more than case, `-` and `_`"],
    );
    check(
        &format!("{ORG}[sinks.a]\ntype = 'file'\npath = '/x'\n[sinks.b]\ntype = 'file'\npath = '/x'"),
        &["sinks.b.path: is the path of the sink \"a\" too; two sinks cannot write to one file"],
    );
}

#[test]
fn what_is_allowed_and_doubtful_is_a_warning() {
    let warnings =
        |toml: &str| loaded(toml).warnings.iter().map(|warning| format!("{}: {}", warning.key, warning.message)).collect::<Vec<_>>();
    assert_eq!(
        warnings(&format!("{ORG}{SINK}streams = ['audit', 'ai']")),
        ["sinks.out.streams: lists ai, which no organisation collects; add [orgs.<name>.ai]"]
    );
    assert_eq!(
        warnings(&format!("{ORG}[orgs.acme.content]\n{SINK}streams = ['audit']")),
        ["orgs.acme.content: is collected, and no sink takes it"]
    );
    assert_eq!(
        warnings(&format!("{ORG}overlap = '10s'\n{SINK}")),
        ["orgs.acme.audit.overlap: is shorter than 1m: events that Miro makes visible later than that are not collected"]
    );
    assert_eq!(
        warnings(&format!("{ORG}[sinks.s]\ntype = 'splunk_hec'\ntoken = 'x'\nurl = 'http://splunk:8088'")),
        ["sinks.s.url: sends credentials and events in clear text; use https://"]
    );
    assert!(warnings(&format!("{ORG}[sinks.s]\ntype = 'splunk_hec'\ntoken = 'x'\nurl = 'http://127.0.0.1:8088'")).is_empty());
}

//! The sinks `http`, `elasticsearch` and `otlp`, and the dialects of `splunk_hec`: their defaults, and what does not go together.

use miro_siem::config::settings::{
    Compression, ElasticsearchSettings, HecAuthScheme, HecDialect, HttpCredential, HttpWebhookSettings, OtlpEncoding, OtlpSettings,
    SinkKindSettings, SplunkHecSettings, WebhookBody,
};
use secrecy::ExposeSecret as _;

use super::{ORG, check_sink, loaded};

fn http(toml: &str) -> HttpWebhookSettings {
    let loaded = loaded(&format!("{ORG}[sinks.s]\ntype = 'http'\nurl = 'https://x/in?k=1'\n{toml}"));
    match loaded.settings.sinks[0].kind.clone() {
        SinkKindSettings::HttpWebhook(http) => http,
        other => panic!("{other:?}"),
    }
}

fn elastic(toml: &str) -> ElasticsearchSettings {
    let loaded = loaded(&format!("{ORG}[sinks.s]\ntype = 'elasticsearch'\nurl = 'https://x:9200'\n{toml}"));
    match loaded.settings.sinks[0].kind.clone() {
        SinkKindSettings::Elasticsearch(elastic) => elastic,
        other => panic!("{other:?}"),
    }
}

fn otlp(toml: &str) -> OtlpSettings {
    let loaded = loaded(&format!("{ORG}[sinks.s]\ntype = 'otlp'\nurl = 'https://x:4318'\n{toml}"));
    match loaded.settings.sinks[0].kind.clone() {
        SinkKindSettings::Otlp(otlp) => otlp,
        other => panic!("{other:?}"),
    }
}

fn hec(toml: &str) -> SplunkHecSettings {
    let loaded = loaded(&format!("{ORG}[sinks.s]\ntype = 'splunk_hec'\nurl = 'https://x'\ntoken = 't'\n{toml}"));
    match loaded.settings.sinks[0].kind.clone() {
        SinkKindSettings::SplunkHec(hec) => hec,
        other => panic!("{other:?}"),
    }
}

#[test]
fn otlp_has_protobuf_and_gzip_unless_it_is_told_otherwise() {
    let plain = otlp("");
    assert_eq!((plain.encoding, plain.compression, plain.url.as_str()), (OtlpEncoding::Protobuf, Compression::Gzip, "https://x:4318/"));
    let other = otlp("encoding = 'json'\nresource_attributes = { 'deployment.environment.name' = 'prod' }\nheaders = { X-Key = 'k' }");
    assert_eq!((other.encoding, other.headers[0].0.as_str()), (OtlpEncoding::Json, "x-key"));
    assert_eq!(other.resource_attributes, [("deployment.environment.name".to_owned(), "prod".to_owned())]);
    let check =
        |toml: &str, problem: &str| check_sink(&format!("type = 'otlp'\nurl = 'https://x'\n{toml}"), &[&format!("sinks.s.{problem}")]);
    check("encoding = 'grpc'", "encoding: needs \"protobuf\" or \"json\"; found \"grpc\"");
    check("compression = 'zstd'", "compression: needs to be \"none\" or \"gzip\"; found \"zstd\"");
    check("headers = { content-type = 'x' }", "headers: hold Content-Type, which `encoding` decides");
    check(
        "resource_attributes = { 'a b' = 'x' }",
        "resource_attributes.a b: is no name of an attribute: letters, digits, `_`, `-`, `.` and `/`",
    );
    check(
        "bearer_token = 'x'\nheaders = { authorization = 'y' }",
        "headers: hold Authorization beside a key that writes it; one of the two is meant",
    );
}

#[test]
fn hec_has_dialects_with_a_path_and_a_scheme_of_their_own() {
    let plain = hec("");
    assert_eq!((plain.dialect, plain.path, plain.auth_scheme), (HecDialect::Splunk, None, None));
    let other = hec("dialect = 'logscale'\npath = '/a/b'\nauth_scheme = 'splunk'");
    assert_eq!(
        (other.dialect, other.path.as_deref(), other.auth_scheme),
        (HecDialect::LogScale, Some("/a/b"), Some(HecAuthScheme::Splunk))
    );
    assert_eq!(hec("dialect = 'cribl'").dialect, HecDialect::Cribl);
    let check = |toml: &str, problem: &str| {
        check_sink(&format!("type = 'splunk_hec'\nurl = 'https://x'\ntoken = 't'\n{toml}"), &[&format!("sinks.s.{problem}")]);
    };
    check("dialect = 'humio'", "dialect: needs \"splunk\", \"logscale\" or \"cribl\"; found \"humio\"");
    check("path = 'services'", "path: needs to be a path that begins with `/`; found a text");
    check("path = '/a?b'", "path: needs to be a path that begins with `/`; found a text");
    check("dialect = 'logscale'\nack = true", "ack: has to be false with dialect = \"logscale\", which has no acknowledgement");
    check("dialect = 'logscale'\nindex = 'x'", "index: has no meaning with dialect = \"logscale\": the token names the repository");
}

#[test]
fn signing_switches_compression_off_unless_it_is_configured() {
    assert_eq!(http("").compression, Compression::Gzip);
    assert_eq!(http("signing_secret = 'whsec_x'").compression, Compression::None);
    assert_eq!(http("signing_secret = 'whsec_x'\ncompression = 'zstd'").compression, Compression::Zstd);
    assert_eq!((http("").body, http("body = 'array'").body), (WebhookBody::Ndjson, WebhookBody::Array));
}

#[test]
fn a_header_is_a_text_or_a_secret_under_a_name_without_case() {
    let headers = http("headers = { X-Source = 'miro siem', Authorization = { env = 'KEY' } }").headers;
    let shown: Vec<String> = headers.iter().map(|(name, value)| format!("{name}: {value:?}")).collect();
    assert_eq!(shown, ["authorization: Env(KEY)", "x-source: Literal(…)"]);
    assert_eq!(headers[1].1.read().expect("a text").expose_secret(), "miro siem");
}

#[test]
fn credentials_are_one_of_those_that_the_sink_has() {
    assert!(matches!(http("").credential, HttpCredential::None));
    assert!(matches!(http("bearer_token = 'x'").credential, HttpCredential::Bearer(_)));
    assert!(matches!(http("username = 'u'\npassword = 'p'").credential, HttpCredential::Basic { .. }));
    assert!(matches!(elastic("api_key = 'x'").credential, HttpCredential::ApiKey(_)));
    assert!(matches!(elastic("username = 'u'\npassword = 'p'").credential, HttpCredential::Basic { .. }));
    let http = |toml: &str, problem: &str| check_sink(&format!("type = 'http'\nurl = 'https://x'\n{toml}"), &[problem]);
    http("bearer_token = 'x'\nusername = 'u'\npassword = 'p'", "sinks.s.bearer_token: stands beside `username`; one of the two is meant");
    http("username = 'u'", "sinks.s.password: is missing; `username` needs it");
    http("password = 'p'", "sinks.s.username: is missing; `password` needs it");
    http("username = 'u:v'\npassword = 'p'", "sinks.s.username: needs to be without a colon; found a text");
    http(
        "bearer_token = 'x'\nheaders = { authorization = 'y' }",
        "sinks.s.headers: hold Authorization beside a key that writes it; one of the two is meant",
    );
    check_sink(
        "type = 'elasticsearch'\nurl = 'https://x'\napi_key = 'k'\nusername = 'u'\npassword = 'p'",
        &["sinks.s.api_key: stands beside `username`; one of the two is meant"],
    );
}

#[test]
fn headers_that_the_sink_writes_and_names_that_are_none_are_refused() {
    let check = |headers: &str, problem: &str| {
        check_sink(&format!("type = 'http'\nurl = 'https://x'\nheaders = {{ {headers} }}"), &[&format!("sinks.s.headers{problem}")]);
    };
    check("Host = 'x'", ".Host: is a header that this sink or the connection writes");
    check("webhook-ID = 'x'", ".webhook-ID: is a header that this sink or the connection writes");
    check("'a b' = 'x'", ".a b: is no name of a header");
    check("x = \"a\\nb\"", ".x: needs a text of printable ASCII, or where a secret comes from");
    check("x = ''", ".x: needs a text of printable ASCII, or where a secret comes from");
    check("x-a = '1', X-A = '2'", ": hold x-a twice: the case of a header's name means nothing");
}

#[test]
fn data_streams_have_names_that_elasticsearch_takes() {
    let plain = elastic("");
    assert_eq!((plain.data_stream.as_str(), plain.namespace.as_str()), ("logs-miro.{stream}-{namespace}", "default"));
    assert_eq!(plain.compression, Compression::Gzip);
    assert_eq!(elastic("data_stream = 'logs-{org}.{stream}-x'").data_stream, "logs-{org}.{stream}-x");
    let check = |toml: &str, problem: &str| {
        check_sink(&format!("type = 'elasticsearch'\nurl = 'https://x'\n{toml}"), &[&format!("sinks.s.{problem}")]);
    };
    let meant = "data_stream: needs a data stream's name in lower case, such as \"logs-miro.{stream}-{namespace}\"; found";
    check("data_stream = 'Logs'", &format!("{meant} \"Logs\""));
    check("data_stream = '_x'", &format!("{meant} \"_x\""));
    check("data_stream = 'a/b'", &format!("{meant} \"a/b\""));
    check("data_stream = 'a,b'", &format!("{meant} \"a,b\""));
    check(
        "data_stream = 'x-{kind}'",
        &format!("{meant} \"x-{{kind}}\": it has a placeholder other than {{org}}, {{stream}} and {{namespace}}"),
    );
    let meant = "namespace: needs a name in lower case without `-`, of at most 100 characters; found";
    check("namespace = 'a-b'", &format!("{meant} \"a-b\""));
    check("namespace = 'A'", &format!("{meant} \"A\""));
    check("compression = 'zstd'", "compression: needs to be \"none\" or \"gzip\"; found \"zstd\"");
}

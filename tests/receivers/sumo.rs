//! Sumo Logic: lines, metadata, answers, and that the URL stays a secret.

use std::time::Duration;

use miro_siem::{
    config::{
        Secret,
        settings::{Compression, SumoSettings, TlsSettings},
    },
    sink::{ErrorClass, Receipt, Sink as _, http::Connection, sumo::SumoSink},
};
use testbed::{
    Running,
    ca::{Ca, ClientCertificates},
    faults::{Answer, Fault, RetryAfter},
    ledger::Keep,
    sumo::{Metadata, Sumo, SumoConfig, budget_exhausted, quota_exceeded, timed_out_halfway},
};

use crate::support::{Events, SHORT, Scripted, TIMEOUT, TempFile, answer, assert_clean, connection, error, odd, outcome};

fn source() -> Running<Sumo> {
    Sumo::start(SumoConfig { keep: Keep::Bytes, ..SumoConfig::default() }).expect("a source")
}

fn url_of(source: &Running<Sumo>) -> String {
    format!("{}{}", source.url(), source.service().path())
}

fn settings(url: &str) -> SumoSettings {
    SumoSettings {
        url: Secret::literal(url),
        category: Some("miro".to_owned()),
        name: None,
        host: None,
        fields: Vec::new(),
        compression: Compression::Gzip,
    }
}

fn sink_with(settings: SumoSettings, timeout: Duration) -> SumoSink {
    SumoSink::new(settings, &connection(timeout)).expect("a sink")
}

fn sink_for(source: &Running<Sumo>) -> SumoSink {
    sink_with(settings(&url_of(source)), TIMEOUT)
}

#[tokio::test]
async fn every_odd_record_arrives_as_one_line_byte_for_byte() {
    for compression in [Compression::Gzip, Compression::None] {
        let source = source();
        let sink = sink_with(SumoSettings { compression, ..settings(&url_of(&source)) }, TIMEOUT);
        let records = odd();
        assert_eq!(outcome(&sink, &Events::audit(&records)).await, Ok(Receipt::All));
        assert_eq!(source.ledger().len(), records.len());
        for (n, record) in records.iter().enumerate() {
            let kept = source.ledger().kept(&format!("event#{n}")).expect("the event");
            assert_eq!(String::from_utf8(kept.bytes).expect("UTF-8"), *record, "{compression:?}");
        }
    }
}

#[tokio::test]
async fn line_breaks_between_tokens_become_spaces() {
    let source = source();
    let records = ["{\n  \"id\": \"a\",\r\n  \"text\": \"one\\ntwo\"\n}", "{\"id\":\"b\"}\n"];
    assert_eq!(outcome(&sink_for(&source), &Events::audit(records)).await, Ok(Receipt::All));
    assert_eq!(source.ledger().ids(), ["a", "b"]);
    assert_eq!(source.ledger().kept("a").expect("the event").bytes, br#"{   "id": "a",    "text": "one\ntwo" }"#);
}

#[tokio::test]
async fn zstd_is_sent_where_it_is_asked_for() {
    let receiver = Scripted::start([answer(200, "", "")]).await;
    let sink = sink_with(SumoSettings { compression: Compression::Zstd, ..settings(receiver.url.as_str()) }, TIMEOUT);
    assert_eq!(outcome(&sink, &Events::audit([r#"{"id":"a"}"#])).await, Ok(Receipt::All));
    let seen = &receiver.seen()[0];
    assert_eq!(seen.header("content-encoding").as_deref(), Some("zstd"));
    assert_eq!(zstd::decode_all(&*seen.body).expect("zstd"), b"{\"id\":\"a\"}\n");
}

#[tokio::test]
async fn metadata_travels_in_headers() {
    let source = source();
    let settings = SumoSettings {
        name: Some("audit log".to_owned()),
        host: Some("collector-é".to_owned()),
        fields: vec![("team".to_owned(), "security".to_owned()), ("_siemForward".to_owned(), "true".to_owned())],
        ..settings(&url_of(&source))
    };
    assert_eq!(outcome(&sink_with(settings, TIMEOUT), &Events::ordinary(3)).await, Ok(Receipt::All));
    let expected = Metadata {
        name: Some("audit log".to_owned()),
        host: Some("collector-é".to_owned()),
        category: Some("miro".to_owned()),
        fields: Some("team=security,_siemForward=true".to_owned()),
        content_type: Some("application/x-ndjson".to_owned()),
        content_encoding: Some("gzip".to_owned()),
    };
    assert_eq!(source.service().metadata(), [expected]);
}

#[test]
fn metadata_that_no_header_can_carry_is_refused_at_the_start() {
    let check = |change: fn(&mut SumoSettings), key: &str| {
        let mut settings = settings("https://sumo.example.com/x");
        change(&mut settings);
        let refused = SumoSink::new(settings, &connection(TIMEOUT)).expect_err("refused").to_string();
        assert!(refused.starts_with(key), "{refused}");
    };
    check(|settings| settings.category = Some("a\nb".to_owned()), "category");
    check(|settings| settings.fields = vec![("a=b".to_owned(), "c".to_owned())], "fields");
    check(|settings| settings.fields = vec![("a".to_owned(), "b,c".to_owned())], "fields");
    check(|settings| settings.fields = vec![("a".to_owned(), String::new())], "fields");
}

#[tokio::test]
async fn each_answer_is_taken_for_what_it_means() {
    use ErrorClass::{Ambiguous, Auth, Config, Rejected, Retryable, Throttled, TooLarge};
    let check = async |fault: Fault, expected: Result<Receipt, ErrorClass>| {
        let source = source();
        source.faults().next(1, fault.clone());
        let sink = sink_with(settings(&url_of(&source)), SHORT);
        assert_eq!(outcome(&sink, &Events::ordinary(4)).await, expected, "{fault:?}");
    };
    let secs = Duration::from_secs;
    for (status, class) in [
        (302, Config),
        (400, Rejected),
        (401, Auth),
        (403, Auth),
        (404, Config),
        (405, Config),
        (408, Ambiguous),
        (413, TooLarge),
        (415, Config),
        (429, Throttled(None)),
        (500, Ambiguous),
        (502, Ambiguous),
        (503, Retryable),
        (504, Ambiguous),
    ] {
        check(Fault::answer(Answer::new(status, "")), Err(class)).await;
    }
    check(timed_out_halfway(), Err(Ambiguous)).await;
    check(quota_exceeded(Some(RetryAfter::Seconds(secs(9)))), Err(Throttled(Some(secs(9))))).await;
    check(quota_exceeded(None), Err(Throttled(None))).await;
    // Nobody can tell this loss from a success; the documentation has to.
    check(budget_exhausted(), Ok(Receipt::All)).await;
    check(Fault::stall(), Err(Ambiguous)).await;
    check(Fault::reset_after_taking(), Err(Ambiguous)).await;
    // The status is the whole answer.
    check(Fault::truncate(), Err(Ambiguous)).await;
}

#[tokio::test]
async fn a_wrong_secret_is_a_fault_of_credentials() {
    let source = source();
    let wrong = format!("{}/receiver/v1/http/another-secret", source.url());
    assert_eq!(outcome(&sink_with(settings(&wrong), TIMEOUT), &Events::ordinary(1)).await, Err(ErrorClass::Auth));
}

#[tokio::test]
async fn a_url_that_was_replaced_in_its_file_is_used_at_once() {
    let source = source();
    let file = TempFile::new("not a url");
    let sink = sink_with(SumoSettings { url: Secret::File(file.path.clone()), ..settings("") }, TIMEOUT);
    let fault = error(&sink, &Events::ordinary(1)).await;
    assert_eq!(fault.class(), ErrorClass::Config);
    assert_clean(&fault, &fault.to_string(), &["not a url"]);
    file.write(&url_of(&source));
    assert_eq!(outcome(&sink, &Events::ordinary(1)).await, Ok(Receipt::All));
}

#[tokio::test]
async fn a_probe_connects_without_the_secret_and_sends_no_event() {
    let source = source();
    let sink = sink_with(settings(&url_of(&source)), SHORT);
    assert_eq!(sink.probe().await, Ok(()));
    assert_eq!(source.ledger().counts().events, 0);
    source.faults().next(1, Fault::stall());
    assert!(sink.probe().await.is_err());
    source.down().await;
    assert_eq!(sink.probe().await.map_err(|error| error.class()), Err(ErrorClass::Retryable));

    let scripted = Scripted::start([answer(403, "", "")]).await;
    let secret = scripted.url.join("/receiver/v1/http/hush").expect("a URL");
    assert_eq!(sink_with(settings(secret.as_str()), TIMEOUT).probe().await, Ok(()));
    assert!(scripted.seen()[0].head.starts_with("HEAD / HTTP/1.1"), "{}", scripted.seen()[0].head);
}

#[tokio::test]
async fn tls_is_verified_against_ca_file() {
    let ca = Ca::new().expect("ca");
    let tls = ca.local_server().and_then(|server| server.server_config(ClientCertificates::NotAsked)).expect("tls");
    let source = Sumo::start(SumoConfig { tls: Some(tls), ..SumoConfig::default() }).expect("a source");
    let file = TempFile::new(&ca.pem());
    let tls = TlsSettings { ca_file: Some(file.path.clone()), ..TlsSettings::default() };
    let sink = SumoSink::new(settings(&url_of(&source)), &Connection { timeout: TIMEOUT, tls }).expect("a sink");
    assert_eq!(outcome(&sink, &Events::ordinary(1)).await, Ok(Receipt::All));
    assert_eq!(outcome(&sink_for(&source), &Events::ordinary(1)).await, Err(ErrorClass::Retryable));
}

#[tokio::test]
async fn neither_the_url_nor_events_show_in_errors_or_debug() {
    let source = source();
    let secret = SumoConfig::default().secret;
    let url = url_of(&source);
    let secrets = [secret.as_str(), url.as_str(), "/receiver/v1", "ada.lovelace0@example.com"];
    let sink = sink_with(settings(&url), SHORT);
    let echo = format!("no such source: {url} ({}) {}", source.service().path(), crate::support::ordinary(0));
    let answers = [302, 400, 401, 404, 413, 429, 500, 503].map(|status| Fault::answer(Answer::new(status, echo.clone())));
    for fault in answers.into_iter().chain([Fault::stall(), Fault::reset_before_body(), Fault::truncate()]) {
        source.faults().next(1, fault);
        let fault = error(&sink, &Events::ordinary(2)).await;
        assert_clean(&fault, &fault.to_string(), &secrets);
    }
    source.down().await;
    let fault = error(&sink, &Events::ordinary(2)).await;
    assert_clean(&fault, &fault.to_string(), &secrets);
    let fault = sink.probe().await.expect_err("the source is down");
    assert_clean(&fault, &fault.to_string(), &secrets);
    assert_clean(&sink, "", &secrets);
}

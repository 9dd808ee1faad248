//! OTLP: what a log record holds, what each answer means, and that nothing is lost where the protocol would drop it.

use std::time::Duration;

use miro_siem::{
    config::{
        Secret,
        settings::{Compression, HttpCredential, OtlpEncoding, OtlpSettings, Provenance},
    },
    event::{Origin, StreamKind, Timestamp},
    sink::{ErrorClass, Receipt, Sink as _, Verdict, otlp::OtlpSink},
};
use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, KeyValue, any_value::Value},
    logs::v1::LogRecord,
};
use testbed::{
    Running,
    faults::{Answer, Fault, RetryAfter},
    ledger::Keep,
    otlp::{Otlp, OtlpConfig, Received},
};

use crate::support::{Events, SHORT, Scripted, TIMEOUT, answer, assert_clean, connection, error, odd, ordinary, outcome};

const TOKEN: &str = "b3arer-s3cret";
const ENCODINGS: [OtlpEncoding; 2] = [OtlpEncoding::Protobuf, OtlpEncoding::Json];

fn collector() -> Running<Otlp> {
    let config = OtlpConfig { bearer_token: Some(TOKEN.to_owned()), keep: Keep::Bytes, ..OtlpConfig::default() };
    Otlp::start(config).expect("a collector")
}

fn settings(url: &str) -> OtlpSettings {
    OtlpSettings {
        url: url.parse().expect("a URL"),
        encoding: OtlpEncoding::Protobuf,
        headers: Vec::new(),
        credential: HttpCredential::Bearer(Secret::literal(TOKEN)),
        resource_attributes: Vec::new(),
        compression: Compression::Gzip,
    }
}

fn sink_with(settings: OtlpSettings, timeout: Duration) -> OtlpSink {
    OtlpSink::new(settings, &connection(timeout), Provenance::On).expect("a sink")
}

fn sink_for(collector: &Running<Otlp>) -> OtlpSink {
    sink_with(settings(&collector.url()), TIMEOUT)
}

fn texts(attributes: &[KeyValue]) -> Vec<(&str, String)> {
    let shown = |value: &Option<AnyValue>| match value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::BoolValue(flag)) => flag.to_string(),
        other => panic!("{other:?}"),
    };
    attributes.iter().map(|attribute| (attribute.key.as_str(), shown(&attribute.value))).collect()
}

fn records(received: &Received) -> &[LogRecord] {
    let [logs] = received.request.resource_logs.as_slice() else { panic!("one resource") };
    let [logs] = logs.scope_logs.as_slice() else { panic!("one scope") };
    &logs.log_records
}

#[tokio::test]
async fn every_odd_record_arrives_byte_for_byte_in_both_encodings() {
    for encoding in ENCODINGS {
        for compression in [Compression::Gzip, Compression::None] {
            let collector = collector();
            let sink = sink_with(OtlpSettings { encoding, compression, ..settings(&collector.url()) }, TIMEOUT);
            let records = odd();
            assert_eq!(outcome(&sink, &Events::audit(&records)).await, Ok(Receipt::All));
            for (n, record) in records.iter().enumerate() {
                let kept = collector.ledger().kept(&format!("event#{n}")).expect("the event");
                assert_eq!(String::from_utf8(kept.bytes).expect("UTF-8"), *record);
            }
        }
    }
}

#[tokio::test]
async fn what_is_no_text_keeps_its_bytes() {
    for encoding in ENCODINGS {
        let collector = collector();
        let sink = sink_with(OtlpSettings { encoding, ..settings(&collector.url()) }, TIMEOUT);
        assert_eq!(outcome(&sink, &Events::audit([b"\xff\x00{"])).await, Ok(Receipt::All));
        assert_eq!(collector.ledger().kept("event#0").map(|kept| kept.bytes), Some(b"\xff\x00{".to_vec()));
    }
}

#[tokio::test]
async fn a_log_record_says_who_did_what_when_and_where_it_comes_from() {
    for encoding in ENCODINGS {
        let collector = collector();
        let resource_attributes =
            vec![("deployment.environment.name".to_owned(), "prod".to_owned()), ("service.name".to_owned(), "x".to_owned())];
        let sink = sink_with(OtlpSettings { encoding, resource_attributes, ..settings(&collector.url()) }, TIMEOUT);
        let mut events = Events::new(StreamKind::Audit);
        events.push(Some(Timestamp::from_micros(1_700_000_000_000_001)), Origin::Late, ordinary(0).as_bytes());
        events.push(None, Origin::Backfill, b"[]");
        assert_eq!(outcome(&sink, &events).await, Ok(Receipt::All));
        let received = &collector.service().received()[0];
        let resource = received.request.resource_logs[0].resource.as_ref().expect("a resource");
        let version = ("service.version", env!("CARGO_PKG_VERSION").to_owned());
        let added = [("deployment.environment.name", "prod".to_owned()), ("service.name", "x".to_owned()), ("miro.org", "acme".to_owned())];
        assert_eq!(texts(&resource.attributes), [&[version], &added[..]].concat());
        let scope = received.request.resource_logs[0].scope_logs[0].scope.as_ref().expect("a scope");
        assert_eq!((scope.name.as_str(), scope.version.as_str()), ("miro-siem", env!("CARGO_PKG_VERSION")));
        let [first, second] = records(received) else { panic!("two records") };
        assert_eq!((first.time_unix_nano, first.observed_time_unix_nano), (1_700_000_000_000_001_000, 1_700_000_000_123_000_000));
        assert_eq!((first.severity_number, first.severity_text.as_str()), (9, "INFO"));
        assert_eq!(first.event_name, "miro.board_opened");
        let own = |id: &str, late: bool, backfill: bool| {
            let flags = [("miro.late", late.to_string()), ("miro.backfill", backfill.to_string())];
            let names = [("log.record.uid", id.to_owned()), ("miro.org", "acme".to_owned()), ("miro.stream", "audit".to_owned())];
            [&names[..], &flags].concat()
        };
        let people = [("user.id", "300"), ("user.email", "ada.lovelace0@example.com"), ("client.address", "203.0.113.9")];
        let people = people.map(|(name, value)| (name, value.to_owned()));
        assert_eq!(texts(&first.attributes), [&own("event#0", true, false)[..], &people].concat());
        assert_eq!((second.time_unix_nano, second.event_name.as_str()), (0, ""), "what is unknown is unset");
        assert_eq!(texts(&second.attributes), own("event#1", false, true));
    }
}

#[tokio::test]
async fn json_is_spelled_as_otlp_has_it() {
    let collector = collector();
    let sink = sink_with(OtlpSettings { encoding: OtlpEncoding::Json, ..settings(&collector.url()) }, TIMEOUT);
    assert_eq!(outcome(&sink, &Events::ordinary(1)).await, Ok(Receipt::All));
    let received = &collector.service().received()[0];
    assert_eq!(received.head.header("content-type"), Some("application/json"));
    let json: serde_json::Value = serde_json::from_slice(&received.body).expect("JSON");
    let record = &json["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0];
    assert_eq!(record["timeUnixNano"], "1000000000", "64-bit numbers are texts");
    assert_eq!(record["observedTimeUnixNano"], "1700000000123000000");
    assert_eq!(record["severityNumber"], 9, "enums are numbers");
    assert_eq!(record["body"]["stringValue"], ordinary(0));
    assert_eq!(record["attributes"][3], serde_json::json!({"key": "miro.late", "value": {"boolValue": false}}));
}

#[tokio::test]
async fn without_provenance_only_what_the_record_says_is_there() {
    let collector = collector();
    let sink = OtlpSink::new(settings(&collector.url()), &connection(TIMEOUT), Provenance::Off).expect("a sink");
    assert_eq!(outcome(&sink, &Events::ordinary(1)).await, Ok(Receipt::All));
    let received = &collector.service().received()[0];
    let names: Vec<_> = records(received)[0].attributes.iter().map(|attribute| attribute.key.as_str()).collect();
    assert_eq!(names, ["user.id", "user.email", "client.address"]);
}

#[tokio::test]
async fn a_partial_success_sets_aside_what_it_may_mean_and_sends_nothing_again() {
    for encoding in ENCODINGS {
        let collector = collector();
        collector.service().reject_records_with(Some(b"s3cret"));
        let sink = sink_with(OtlpSettings { encoding, ..settings(&collector.url()) }, TIMEOUT);
        let poison = r#"{"id":"event#1","x":"s3cret"}"#.to_owned();
        let receipt = outcome(&sink, &Events::audit([ordinary(0), poison.clone(), ordinary(2)])).await;
        let Ok(Receipt::Each(verdicts)) = receipt else { panic!("{receipt:?}") };
        let words = "partial success: 1 of 3 log records were rejected (some log records are not valid), and it does not say which";
        for verdict in &verdicts {
            assert!(matches!(verdict, Verdict::MaybeRejected(answer) if answer.starts_with(words)), "{verdict:?}");
        }
        assert_eq!((verdicts.len(), collector.ledger().ids()), (3, vec!["event#0".to_owned(), "event#2".to_owned()]));
        let receipt = outcome(&sink, &Events::audit([poison])).await;
        let expected = "partial success: all 1 log records were rejected (some log records are not valid)".to_owned();
        assert_eq!(receipt, Ok(Receipt::Each(vec![Verdict::Rejected(expected)])), "where all are rejected, it is known which");
        collector.service().reject_records_with(None);
        collector.service().warn(Some("please use another port"));
        assert_eq!(outcome(&sink, &Events::ordinary(3)).await, Ok(Receipt::All), "a warning is a success");
    }
}

#[tokio::test]
async fn each_answer_is_taken_for_what_it_means() {
    use ErrorClass::{Ambiguous, Auth, Config, Rejected, Retryable, Throttled, TooLarge};
    let check = async |status: u16, headers: &str, body: &str, expected: Result<Receipt, ErrorClass>| {
        let receiver = Scripted::start([answer(status, headers, body)]).await;
        let sink = sink_with(settings(receiver.url.as_str()), SHORT);
        assert_eq!(outcome(&sink, &Events::ordinary(4)).await, expected, "{status} {headers} {body}");
    };
    let (json, protobuf) = ("content-type: application/json; charset=utf-8\r\n", "content-type: application/x-protobuf\r\n");
    let all_rejected = |words: &str| Verdict::Rejected(format!("partial success: all 4 log records were rejected ({words})"));
    for (headers, body, expected) in [
        (protobuf, "", Ok(Receipt::All)),
        ("", "", Ok(Receipt::All)),
        (json, "{}", Ok(Receipt::All)),
        (json, r#"{"partialSuccess":{"rejectedLogRecords":0,"errorMessage":"slow down"}}"#, Ok(Receipt::All)),
        (json, r#"{"partialSuccess":{"rejectedLogRecords":"4","errorMessage":"no"}}"#, Ok(Receipt::Each(vec![all_rejected("no"); 4]))),
        (json, r#"{"partialSuccess":{"rejectedLogRecords":"-1","errorMessage":"no"}}"#, Ok(Receipt::Each(vec![all_rejected("no"); 4]))),
        // 0a 04: a partial success of four bytes; 08 04: four rejected; 12 00: no words.
        (protobuf, "\u{a}\u{4}\u{8}\u{4}\u{12}\u{0}", Ok(Receipt::Each(vec![all_rejected(""); 4]))),
        (json, "[]", Err(Config)),
        (json, "", Ok(Receipt::All)),
        (protobuf, "<html>", Err(Config)),
        ("content-type: text/html\r\n", "<html>Sign in", Err(Config)),
    ] {
        check(200, headers, body, expected).await;
    }
    for (status, class) in [
        (302, Config),
        (400, Rejected),
        (401, Auth),
        (403, Auth),
        (404, Config),
        (408, Ambiguous),
        (413, TooLarge),
        (415, Config),
        (422, Rejected),
        (429, Throttled(None)),
        (500, Ambiguous),
        (501, Ambiguous),
        (502, Ambiguous),
        (503, Retryable),
        (504, Ambiguous),
    ] {
        check(status, "", "words", Err(class)).await;
    }
    let wait = Throttled(Some(Duration::from_secs(7)));
    check(429, "retry-after: 7\r\n", "", Err(wait)).await;
    check(503, "retry-after: 7\r\n", "", Err(wait)).await;
    check(400, json, r#"{"code":3,"message":"http: request body too large"}"#, Err(TooLarge)).await;
}

#[tokio::test]
async fn a_server_error_is_doubted_a_few_times_and_then_searched_for_the_event() {
    let collector = collector();
    let sink = sink_for(&collector);
    let failed = || Fault::answer(Answer::new(500, r#"{"code":13,"message":"dropped"}"#).header("content-type", "application/json"));
    let classes = async |events: &Events, count: usize| {
        let mut classes = Vec::new();
        for _ in 0..count {
            collector.faults().next(1, failed());
            classes.push(outcome(&sink, events).await.expect_err("refused"));
        }
        classes
    };
    let (four, one) = (Events::ordinary(4), Events::ordinary(1));
    assert_eq!(classes(&four, 6).await, [[ErrorClass::Ambiguous; 4].as_slice(), &[ErrorClass::Rejected; 2]].concat());
    assert_eq!(
        classes(&one, 3).await,
        [ErrorClass::Rejected, ErrorClass::Ambiguous, ErrorClass::Ambiguous],
        "after one letter, doubt anew"
    );
    assert_eq!(outcome(&sink, &four).await, Ok(Receipt::All));
    assert_eq!(classes(&four, 1).await, [ErrorClass::Ambiguous], "after a success too");
    collector.faults().next(1, failed());
    let fault = error(&sink, &one).await;
    assert!(fault.to_string().contains("HTTP 500 (dropped)"), "{fault}");
}

#[tokio::test]
async fn a_body_that_is_too_large_for_a_collector_is_halved() {
    let config = OtlpConfig { bearer_token: Some(TOKEN.to_owned()), body_bytes_max: 2_000, ..OtlpConfig::default() };
    let collector = Otlp::start(config).expect("a collector");
    assert_eq!(outcome(&sink_for(&collector), &Events::ordinary(50)).await, Err(ErrorClass::TooLarge), "it says 400, and why");
}

#[tokio::test]
async fn a_throttle_is_waited_for_in_both_forms() {
    let collector = collector();
    let sink = sink_for(&collector);
    for form in [RetryAfter::Seconds(Duration::from_secs(9)), RetryAfter::Date(Duration::from_secs(9))] {
        collector.faults().next(1, Fault::answer(Answer::new(429, "").retry_after(form)));
        let Err(ErrorClass::Throttled(Some(wait))) = outcome(&sink, &Events::ordinary(1)).await else { panic!("a throttle") };
        assert!((8..=10).contains(&wait.as_secs()), "{wait:?}");
    }
}

#[tokio::test]
async fn a_probe_tries_address_and_credentials_and_sends_no_event() {
    let collector = collector();
    assert_eq!(sink_for(&collector).probe().await, Ok(()));
    let received = collector.service().received();
    assert_eq!((received.len(), received[0].request.resource_logs.len()), (1, 0));
    let credential = HttpCredential::Bearer(Secret::literal("another"));
    let wrong = sink_with(OtlpSettings { credential, ..settings(&collector.url()) }, TIMEOUT);
    let fault = wrong.probe().await.expect_err("refused");
    assert_eq!(fault.class(), ErrorClass::Auth);
    assert!(fault.to_string().contains("authentication didn't succeed"), "{fault}");
    let elsewhere = sink_with(settings(&format!("{}/elsewhere", collector.url())), TIMEOUT);
    assert_eq!(elsewhere.probe().await.map_err(|fault| fault.class()), Err(ErrorClass::Config));
    assert!(collector.ledger().is_empty());
}

#[tokio::test]
async fn no_secret_and_no_event_shows_in_errors_or_debug() {
    let secrets = [TOKEN, "h3ader-s3cret", "ada.lovelace0@example.com"];
    let echo = serde_json::json!({"code": 3, "message": format!("{} {}", secrets.join(" "), ordinary(0))}).to_string();
    let statuses = [200, 302, 400, 401, 404, 413, 429, 500, 503];
    let header = "content-type: application/json\r\n";
    let body = |status| if status == 200 { format!("[{echo}]") } else { echo.clone() };
    let receiver = Scripted::start(statuses.map(|status| answer(status, header, &body(status)))).await;
    let headers = vec![("x-api-key".to_owned(), Secret::literal("h3ader-s3cret"))];
    let sink = sink_with(OtlpSettings { headers, ..settings(receiver.url.as_str()) }, SHORT);
    // The last one gets no answer.
    for _ in 0..=statuses.len() {
        let fault = error(&sink, &Events::ordinary(2)).await;
        assert_clean(&fault, &fault.to_string(), &secrets);
    }
    assert_eq!(receiver.seen()[0].header("x-api-key").as_deref(), Some("h3ader-s3cret"));
    assert_clean(&sink, "", &secrets);
}

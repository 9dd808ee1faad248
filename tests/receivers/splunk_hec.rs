//! Splunk HEC: what arrives, and how.

use std::time::Duration;

use miro_siem::{
    config::{
        Secret,
        settings::{Compression, HecDialect, IndexerAck, Provenance, SplunkHecSettings, TlsSettings},
    },
    event::{Origin, StreamKind, Timestamp},
    sink::{ErrorClass, Receipt, Sink as _, http::Connection, splunk_hec::SplunkHecSink},
};
use serde_json::Value;
use testbed::{
    Running,
    ca::{Ca, ClientCertificates},
    hec::{Acks, Condition, Hec, HecConfig},
    ledger::Keep,
};

use crate::support::{Events, TIMEOUT, TempFile, assert_clean, connection, error, odd, ordinary, outcome};

/// The token of [`HecConfig::default`].
pub(crate) const TOKEN: &str = "11111111-2222-4333-8444-555555555555";

pub(crate) fn settings(url: &str) -> SplunkHecSettings {
    SplunkHecSettings {
        dialect: HecDialect::Splunk,
        path: None,
        auth_scheme: None,
        url: url.parse().expect("a URL"),
        token: Secret::literal(TOKEN),
        ack: IndexerAck::Off,
        ack_timeout: TIMEOUT,
        compression: Compression::Gzip,
        index: None,
        source: None,
        sourcetype: None,
        host: None,
    }
}

pub(crate) fn sink_with(settings: SplunkHecSettings, timeout: Duration) -> SplunkHecSink {
    SplunkHecSink::new(settings, connection(timeout), Provenance::On).expect("a sink")
}

pub(crate) fn receiver(change: impl FnOnce(&mut HecConfig)) -> Running<Hec> {
    let mut config = HecConfig { keep: Keep::Bytes, ..HecConfig::default() };
    change(&mut config);
    Hec::start(config).expect("a receiver")
}

/// The envelope in which an event arrived.
fn envelope(hec: &Running<Hec>, id: &str) -> String {
    String::from_utf8(hec.ledger().kept(id).expect("the event").context).expect("UTF-8")
}

#[tokio::test]
async fn every_odd_record_arrives_byte_for_byte_with_and_without_gzip() {
    for compression in [Compression::Gzip, Compression::None] {
        let hec = receiver(|_| ());
        let sink = sink_with(SplunkHecSettings { compression, ..settings(&hec.url()) }, TIMEOUT);
        let records = odd();
        assert_eq!(outcome(&sink, &Events::audit(&records)).await, Ok(Receipt::All));
        for (n, record) in records.iter().enumerate() {
            let kept = hec.ledger().kept(&format!("event#{n}")).expect("the event");
            assert_eq!(String::from_utf8(kept.bytes).expect("UTF-8"), *record, "{compression:?}");
        }
        assert_eq!(hec.ledger().counts().gzip_bytes > 0, compression == Compression::Gzip);
    }
}

#[tokio::test]
async fn records_that_are_no_objects_arrive_as_strings_of_their_text() {
    let hec = receiver(|_| ());
    let records = [r#"["event"]"#, "null", "12.50", "true", r#""""#, r#""text""#];
    assert_eq!(outcome(&sink_with(settings(&hec.url()), TIMEOUT), &Events::audit(records)).await, Ok(Receipt::All));
    for (n, record) in records.iter().enumerate() {
        let kept = hec.ledger().kept(&format!("event#{n}")).expect("filed under the id in its fields");
        assert_eq!(serde_json::from_slice::<String>(&kept.bytes).expect("a string"), *record);
    }
}

#[tokio::test]
async fn an_envelope_says_when_whence_and_how_an_event_came() {
    let hec = receiver(|config| config.indexes = vec!["miro".to_owned()]);
    let settings = SplunkHecSettings {
        index: Some("miro".to_owned()),
        source: Some("so\"urce".to_owned()),
        host: Some("collector-1".to_owned()),
        ..settings(&hec.url())
    };
    let mut events = Events::new(StreamKind::Content);
    events.push(Some(Timestamp::from_micros(1_700_000_000_123_456)), Origin::Late, br#"{"id":"a"}"#);
    events.push(None, Origin::Backfill, br#"{"id":"b"}"#);
    assert_eq!(outcome(&sink_with(settings, TIMEOUT), &events).await, Ok(Receipt::All));
    assert_eq!(
        envelope(&hec, "a"),
        concat!(
            r#"{"time":1700000000.123456,"sourcetype":"miro:content","host":"collector-1","source":"so\"urce","index":"miro","#,
            r#""fields":{"miro_org":"acme","miro_stream":"content","miro_event_id":"event#0","#,
            r#""miro_collected_at":"2023-11-14T22:13:20.123Z","miro_late":"true","miro_backfill":"false"},"event":{"id":"a"}}"#
        )
    );
    let second: Value = serde_json::from_str(&envelope(&hec, "b")).expect("JSON");
    assert_eq!(second.get("time"), None);
    assert_eq!((&second["fields"]["miro_late"], &second["fields"]["miro_backfill"]), (&"false".into(), &"true".into()));
}

#[tokio::test]
async fn provenance_can_be_left_off_and_the_sourcetype_set() {
    let hec = receiver(|_| ());
    let settings = SplunkHecSettings { sourcetype: Some("_json".to_owned()), ..settings(&hec.url()) };
    let sink = SplunkHecSink::new(settings, connection(TIMEOUT), Provenance::Off).expect("a sink");
    assert_eq!(outcome(&sink, &Events::audit([r#"{"id":"a"}"#])).await, Ok(Receipt::All));
    assert_eq!(envelope(&hec, "a"), r#"{"time":1.000,"sourcetype":"_json","event":{"id":"a"}}"#);
}

#[tokio::test]
async fn a_time_far_away_or_before_1970_is_exact() {
    let check = async |micros: i64, expected: &str| {
        let hec = receiver(|_| ());
        let mut events = Events::new(StreamKind::Audit);
        events.push(Some(Timestamp::from_micros(micros)), Origin::Live, br#"{"id":"a"}"#);
        assert_eq!(outcome(&sink_with(settings(&hec.url()), TIMEOUT), &events).await, Ok(Receipt::All));
        assert!(envelope(&hec, "a").starts_with(&format!("{{\"time\":{expected},")), "{}", envelope(&hec, "a"));
    };
    check(253_402_300_799_999_999, "253402300799.999999").await;
    check(-62_135_596_800_000_000, "-62135596800.000").await;
    check(-1, "-0.000001").await;
    check(0, "0.000").await;
}

#[tokio::test]
async fn all_batches_travel_over_one_connection() {
    let hec = receiver(|_| ());
    let sink = sink_with(settings(&hec.url()), TIMEOUT);
    for _ in 0..5 {
        assert_eq!(outcome(&sink, &Events::ordinary(10)).await, Ok(Receipt::All));
    }
    assert_eq!((hec.ledger().counts().connections, hec.ledger().counts().requests), (1, 5));
}

#[tokio::test]
async fn a_token_that_was_replaced_in_its_file_is_used_at_once() {
    let hec = receiver(|_| ());
    let file = TempFile::new("an-old-token\n");
    let sink = sink_with(SplunkHecSettings { token: Secret::File(file.path.clone()), ..settings(&hec.url()) }, TIMEOUT);
    assert_eq!(outcome(&sink, &Events::ordinary(1)).await, Err(ErrorClass::Auth));
    file.write(TOKEN);
    assert_eq!(outcome(&sink, &Events::ordinary(1)).await, Ok(Receipt::All));
    std::fs::remove_file(&file.path).expect("removed");
    let missing = error(&sink, &Events::ordinary(1)).await;
    assert_eq!(missing.class(), ErrorClass::Auth);
    assert!(missing.to_string().contains("secret file"), "{missing}");
}

#[tokio::test]
async fn tls_is_verified_against_ca_file_and_a_client_certificate_is_shown() {
    let (ca, other) = (Ca::new().expect("ca"), Ca::new().expect("ca"));
    let (server, client) = (ca.local_server().expect("server"), ca.client("miro-siem").expect("client"));
    let dir = tempfile::tempdir().expect("a directory");
    let files = ca.write_to(dir.path(), &server, &client).expect("written");
    let tls = server.server_config(ClientCertificates::Required(&ca)).expect("tls");
    let hec = receiver(|config| config.tls = Some(tls));
    let check = async |tls: TlsSettings, expected: Result<Receipt, ErrorClass>| {
        let sink = SplunkHecSink::new(settings(&hec.url()), Connection { timeout: TIMEOUT, tls }, Provenance::On).expect("a sink");
        let got = sink.deliver(Events::ordinary(1).batch()).await;
        assert_eq!(got.clone().map_err(|error| error.class()), expected, "{got:?}");
        got.err().map(|error| error.to_string()).unwrap_or_default()
    };
    let both = TlsSettings {
        ca_file: Some(files.ca.clone()),
        cert_file: Some(files.client_certificate.clone()),
        key_file: Some(files.client_key.clone()),
    };
    check(both.clone(), Ok(Receipt::All)).await;
    std::fs::write(&files.ca, other.pem()).expect("written");
    let words = check(both, Err(ErrorClass::Retryable)).await;
    assert!(words.contains("tls.ca_file"), "{words}");
}

#[tokio::test]
async fn a_probe_tries_health_and_token_and_sends_no_event() {
    let check = async |change: fn(&mut HecConfig), settings: fn(SplunkHecSettings) -> SplunkHecSettings, expected| {
        let hec = receiver(change);
        let probed = sink_with(settings(self::settings(&hec.url())), TIMEOUT).probe().await;
        assert_eq!(probed.clone().map_err(|error| error.class()), expected, "{probed:?}");
        assert_eq!(hec.ledger().counts().events, 0);
    };
    let with_ack = |settings| SplunkHecSettings { ack: IndexerAck::On, ..settings };
    let wrong_token = |settings| SplunkHecSettings { token: Secret::literal("wrong"), ..settings };
    check(|_| (), |settings| settings, Ok(())).await;
    check(|_| (), wrong_token, Err(ErrorClass::Auth)).await;
    check(|config| config.disabled_tokens = vec!["wrong".to_owned()], wrong_token, Err(ErrorClass::Auth)).await;
    check(|config| config.acks = Acks::at_once(), with_ack, Ok(())).await;
    check(|_| (), with_ack, Err(ErrorClass::Config)).await;
}

#[tokio::test]
async fn a_probe_says_what_keeps_a_receiver_from_taking_events() {
    let hec = receiver(|_| ());
    let sink = sink_with(settings(&hec.url()), TIMEOUT);
    for condition in [Condition::Busy, Condition::ShuttingDown, Condition::AckUnavailable, Condition::RollingRestart] {
        hec.service().set_condition(condition);
        let class = sink.probe().await.map_err(|error| error.class());
        assert_eq!(class, Err(ErrorClass::Retryable), "{condition:?}");
    }
    hec.down().await;
    assert_eq!(sink.probe().await.map_err(|error| error.class()), Err(ErrorClass::Retryable));
}

#[tokio::test]
async fn neither_token_nor_events_show_in_errors_or_debug() {
    let hec = receiver(|_| ());
    let sink = sink_with(settings(&hec.url()), TIMEOUT);
    let echo = format!("Authorization: Splunk {TOKEN}\r\n\r\n{}", ordinary(0));
    for status in [200, 302, 400, 401, 404, 413, 429, 500, 503] {
        for body in [echo.clone(), serde_json::json!({"code": 6, "text": echo, "invalid-event-number": 0}).to_string()] {
            hec.faults().next(1, testbed::faults::Fault::answer(testbed::faults::Answer::new(status, body)));
            let got = sink.deliver(Events::ordinary(2).batch()).await;
            let shown = got.as_ref().map_or_else(ToString::to_string, |receipt| format!("{receipt:?}"));
            assert_clean(&got, &shown, &[TOKEN, "ada.lovelace0@example.com", "board_opened"]);
        }
    }
    assert_clean(&sink, "", &[TOKEN]);
}

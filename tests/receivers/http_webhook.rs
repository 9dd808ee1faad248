//! Any HTTP receiver: bodies, headers, credentials, signatures, answers, and that nothing secret shows.

use std::time::Duration;

use miro_siem::{
    config::{
        Secret,
        settings::{Compression, HttpCredential, HttpWebhookSettings, TlsSettings, WebhookBody},
    },
    sink::{ErrorClass, Receipt, Sink as _, http::Connection, http_webhook::HttpWebhookSink},
};
use reqwest::header::{HeaderMap, HeaderName};
use serde_json::value::RawValue;
use standardwebhooks::Webhook;
use testbed::{
    ca::{Ca, ClientCertificates},
    sumo::{Sumo, SumoConfig},
};

use crate::support::{Events, SHORT, Scripted, Seen, TIMEOUT, TempFile, answer, assert_clean, connection, error, odd, outcome};

/// Of 24 bytes, the fewest that are allowed.
const SIGNING_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn settings(url: &str) -> HttpWebhookSettings {
    HttpWebhookSettings {
        url: Secret::literal(url),
        body: WebhookBody::Ndjson,
        headers: Vec::new(),
        credential: HttpCredential::None,
        signing_secret: None,
        compression: Compression::None,
    }
}

fn sink_with(settings: HttpWebhookSettings, timeout: Duration) -> HttpWebhookSink {
    HttpWebhookSink::new(settings, &connection(timeout)).expect("a sink")
}

/// What a receiver that answers 200 gets for those events.
async fn seen_by(events: &Events, change: impl FnOnce(&mut HttpWebhookSettings)) -> Seen {
    let receiver = Scripted::start([answer(200, "", "ok")]).await;
    let mut settings = settings(receiver.url.join("/in?k=1").expect("a URL").as_str());
    change(&mut settings);
    assert_eq!(outcome(&sink_with(settings, TIMEOUT), events).await, Ok(Receipt::All));
    let seen = receiver.seen();
    assert_eq!(seen.len(), 1);
    assert!(seen[0].head.starts_with("POST /in?k=1 HTTP/1.1"), "{}", seen[0].head);
    seen[0].clone()
}

#[tokio::test]
async fn lines_hold_every_odd_record_byte_for_byte_in_every_compression() {
    let (records, mut expected) = (odd(), odd().join("\n"));
    expected.push('\n');
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let seen = seen_by(&Events::audit(&records), |settings| settings.compression = compression).await;
        let encoding = seen.header("content-encoding");
        let body = match encoding.as_deref() {
            None => seen.body.clone(),
            Some("gzip") => {
                let mut body = Vec::new();
                std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&*seen.body), &mut body).expect("gzip");
                body
            }
            _ => zstd::decode_all(&*seen.body).expect("zstd"),
        };
        assert_eq!(encoding.is_none(), compression == Compression::None);
        assert_eq!(seen.header("content-type").as_deref(), Some("application/x-ndjson"));
        assert_eq!(String::from_utf8(body).expect("UTF-8"), expected, "{compression:?}");
    }
}

#[tokio::test]
async fn an_array_holds_every_odd_record_byte_for_byte_and_text_as_a_string() {
    let mut records = odd();
    records.push("no JSON \"at\" all".to_owned());
    records.push("[1, 2]".to_owned());
    let seen = seen_by(&Events::audit(&records), |settings| settings.body = WebhookBody::Array).await;
    assert_eq!(seen.header("content-type").as_deref(), Some("application/json"));
    let elements: Vec<&RawValue> = serde_json::from_slice(&seen.body).expect("an array");
    let mut expected = records.clone();
    expected[odd().len()] = r#""no JSON \"at\" all""#.to_owned();
    assert_eq!(elements.iter().map(|element| element.get()).collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn headers_and_credentials_are_sent() {
    let file = TempFile::new("k3y\n");
    let seen = seen_by(&Events::ordinary(1), |settings| {
        settings.headers = vec![
            ("content-type".to_owned(), Secret::literal("application/json; charset=utf-8")),
            ("x-api-key".to_owned(), Secret::File(file.path.clone())),
        ];
        settings.credential = HttpCredential::Bearer(Secret::literal("t0ken"));
    })
    .await;
    assert_eq!(seen.header("x-api-key").as_deref(), Some("k3y"));
    assert_eq!(seen.header("content-type").as_deref(), Some("application/json; charset=utf-8"));
    assert_eq!(seen.header("authorization").as_deref(), Some("Bearer t0ken"));
    let basic = HttpCredential::Basic { username: "Aladdin".to_owned(), password: Secret::literal("open sesame") };
    let seen = seen_by(&Events::ordinary(1), |settings| settings.credential = basic).await;
    // The example of RFC 7617, section 2.
    assert_eq!(seen.header("authorization").as_deref(), Some("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="));
    assert_eq!(seen.header("webhook-signature"), None);
}

fn webhook_headers(seen: &Seen) -> HeaderMap {
    let names = ["webhook-id", "webhook-timestamp", "webhook-signature"];
    let value = |name: &str| seen.header(name).expect(name).parse().expect("a value");
    names.iter().map(|name| (HeaderName::from_static(name), value(name))).collect()
}

#[tokio::test]
async fn the_public_verifier_takes_the_signature_and_no_other() {
    let verifier = Webhook::new(SIGNING_SECRET).expect("a secret");
    for body in [WebhookBody::Ndjson, WebhookBody::Array] {
        let seen = seen_by(&Events::audit(odd()), |settings| {
            (settings.body, settings.signing_secret) = (body, Some(Secret::literal(SIGNING_SECRET)));
        })
        .await;
        let headers = webhook_headers(&seen);
        verifier.verify(&seen.body, &headers).expect("it is signed");
        let mut altered = seen.body.clone();
        altered[0] ^= 1;
        assert!(verifier.verify(&altered, &headers).is_err());
        let other = Webhook::new("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA").expect("a secret");
        assert!(other.verify(&seen.body, &headers).is_err());
    }
}

#[tokio::test]
async fn a_compressed_body_is_signed_before_its_compression() {
    let seen = seen_by(&Events::ordinary(9), |settings| {
        (settings.compression, settings.signing_secret) = (Compression::Zstd, Some(Secret::literal(SIGNING_SECRET)));
    })
    .await;
    let plain = zstd::decode_all(&*seen.body).expect("zstd");
    Webhook::new(SIGNING_SECRET).expect("a secret").verify(&plain, &webhook_headers(&seen)).expect("it is signed");
}

#[tokio::test]
async fn the_same_batch_has_the_same_id_whenever_it_is_sent() {
    let signed = |settings: &mut HttpWebhookSettings| settings.signing_secret = Some(Secret::literal(SIGNING_SECRET));
    let receiver = Scripted::start([answer(503, "", ""), answer(200, "", "")]).await;
    let mut settings = settings(receiver.url.as_str());
    signed(&mut settings);
    let (sink, events) = (sink_with(settings, TIMEOUT), Events::ordinary(5));
    assert_eq!(outcome(&sink, &events).await, Err(ErrorClass::Retryable));
    assert_eq!(outcome(&sink, &events).await, Ok(Receipt::All));
    let id = |seen: &Seen| seen.header("webhook-id").expect("an id");
    let seen = receiver.seen();
    assert_eq!(id(&seen[0]), id(&seen[1]));
    assert_eq!(id(&seen_by(&Events::ordinary(5), signed).await), id(&seen[0]), "another process makes the same");
    for other in [Events::ordinary(4), Events::ordinary(6), Events::new(miro_siem::event::StreamKind::Audit)] {
        if !other.batch().is_empty() {
            assert_ne!(id(&seen_by(&other, signed).await), id(&seen[0]));
        }
    }
    let (_, rest) = events.batch().split_at(1);
    let receiver = Scripted::start([answer(200, "", "")]).await;
    let mut settings = self::settings(receiver.url.as_str());
    signed(&mut settings);
    sink_with(settings, TIMEOUT).deliver(rest).await.expect("taken");
    assert_ne!(id(&receiver.seen()[0]), id(&seen[0]));
}

#[tokio::test]
async fn a_signing_secret_that_is_none_pauses_before_anything_is_sent() {
    let receiver = Scripted::start([]).await;
    for secret in ["whsec_tooshort", "no base64!", "whsec_"] {
        let settings = HttpWebhookSettings { signing_secret: Some(Secret::literal(secret)), ..settings(receiver.url.as_str()) };
        let sink = sink_with(settings, TIMEOUT);
        let fault = error(&sink, &Events::ordinary(1)).await;
        assert_eq!(fault.class(), ErrorClass::Auth);
        assert_eq!(sink.probe().await, Err(fault));
    }
    assert_eq!(receiver.seen().len(), 0);
}

#[tokio::test]
async fn each_answer_is_taken_for_what_it_means() {
    use ErrorClass::{Ambiguous, Auth, Config, Rejected, Retryable, Throttled, TooLarge};
    let check = async |status: u16, headers: &str, expected: Result<Receipt, ErrorClass>| {
        let receiver = Scripted::start([answer(status, headers, "words")]).await;
        let sink = sink_with(settings(receiver.url.as_str()), SHORT);
        assert_eq!(outcome(&sink, &Events::ordinary(4)).await, expected, "{status}");
    };
    for status in [200, 201, 202, 299] {
        check(status, "", Ok(Receipt::All)).await;
    }
    for (status, class) in [
        (302, Config),
        (400, Rejected),
        (401, Auth),
        (403, Auth),
        (404, Config),
        (405, Config),
        (408, Ambiguous),
        (410, Config),
        (413, TooLarge),
        (415, Config),
        (422, Rejected),
        (429, Throttled(None)),
        (500, Ambiguous),
        (502, Ambiguous),
        (503, Retryable),
        (504, Ambiguous),
    ] {
        check(status, "", Err(class)).await;
    }
    let wait = Throttled(Some(Duration::from_secs(7)));
    check(429, "retry-after: 7\r\n", Err(wait)).await;
    check(503, "retry-after: 7\r\n", Err(wait)).await;
    // No answer at all.
    let receiver = Scripted::start([]).await;
    assert_eq!(outcome(&sink_with(settings(receiver.url.as_str()), SHORT), &Events::ordinary(1)).await, Err(Ambiguous));
}

#[tokio::test]
async fn a_client_certificate_is_shown() {
    let dir = tempfile::tempdir().expect("a directory");
    let ca = Ca::new().expect("ca");
    let server = ca.local_server().expect("a server");
    let files = ca.write_to(dir.path(), &server, &ca.client("miro-siem").expect("a client")).expect("files");
    let tls = server.server_config(ClientCertificates::Required(&ca)).expect("tls");
    let receiver = Sumo::start(SumoConfig { tls: Some(tls), ..SumoConfig::default() }).expect("a receiver");
    let url = format!("{}{}", receiver.url(), receiver.service().path());
    let deliver = async |tls: TlsSettings| {
        let sink = HttpWebhookSink::new(settings(&url), &Connection { timeout: TIMEOUT, tls }).expect("a sink");
        outcome(&sink, &Events::ordinary(2)).await
    };
    let bare = TlsSettings { ca_file: Some(files.ca), ..TlsSettings::default() };
    let whole = TlsSettings { cert_file: Some(files.client_certificate), key_file: Some(files.client_key), ..bare.clone() };
    assert_eq!(deliver(whole).await, Ok(Receipt::All));
    assert_eq!(receiver.ledger().len(), 2);
    assert!(deliver(bare).await.is_err());
    assert_eq!(receiver.ledger().totals().repeated, 0);
}

#[tokio::test]
async fn a_probe_connects_without_the_secret_path_and_credentials() {
    let receiver = Scripted::start([answer(403, "", "")]).await;
    let url = receiver.url.join("/hush/hush?token=hush").expect("a URL");
    let credential = HttpCredential::Bearer(Secret::literal("hush"));
    let sink = sink_with(HttpWebhookSettings { credential, ..settings(url.as_str()) }, TIMEOUT);
    assert_eq!(sink.probe().await, Ok(()));
    let seen = &receiver.seen()[0];
    assert!(seen.head.starts_with("HEAD / HTTP/1.1") && !seen.head.contains("hush"), "{}", seen.head);
}

#[tokio::test]
async fn no_secret_and_no_event_shows_in_errors_or_debug() {
    let secrets = ["p4th-s3cret", "qu3ry-s3cret", "b3arer-s3cret", "h3ader-s3cret", &SIGNING_SECRET[6..], "ada.lovelace0@example.com"];
    let echo = format!("{} {}", secrets.join(" "), crate::support::ordinary(0));
    let statuses = [302, 400, 401, 404, 413, 429, 500, 503];
    let receiver = Scripted::start(statuses.map(|status| answer(status, "", &echo))).await;
    let url = receiver.url.join("/p4th-s3cret/in?key=qu3ry-s3cret").expect("a URL");
    let settings = HttpWebhookSettings {
        headers: vec![("x-api-key".to_owned(), Secret::literal("h3ader-s3cret"))],
        credential: HttpCredential::Bearer(Secret::literal("b3arer-s3cret")),
        signing_secret: Some(Secret::literal(SIGNING_SECRET)),
        ..settings(url.as_str())
    };
    let sink = sink_with(settings, SHORT);
    // The last one gets no answer.
    for _ in 0..=statuses.len() {
        let fault = error(&sink, &Events::ordinary(2)).await;
        assert_clean(&fault, &fault.to_string(), &secrets);
    }
    assert_clean(&sink, "", &secrets);
}

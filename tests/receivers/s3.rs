//! The sink `s3` against moto, and against answers of S3 that moto does not give: what is stored, how often, and what each fault is
//! taken for.

use std::time::Duration;

use miro_siem::{
    config::{
        Secret,
        settings::{Compression, S3Addressing, S3Credential, S3Settings},
    },
    event::{Origin, StreamKind, Timestamp},
    sink::{Batch, ErrorClass, Receipt, Sink as _, Verdict, s3::S3Sink},
};

use crate::{
    real::{
        gate::{Gate, Mode},
        moto::{Key, Moto},
    },
    support::{Events, SHORT, Scripted, TIMEOUT, TempFile, answer, assert_clean, connection, error, odd, ordinary, outcome},
};

fn settings(url: &str, bucket: &str) -> S3Settings {
    S3Settings {
        bucket: bucket.to_owned(),
        region: Some("eu-central-1".to_owned()),
        endpoint: Some(url.parse().expect("a URL")),
        addressing: S3Addressing::Path,
        prefix: "miro/{org}/{stream}/date=%Y-%m-%d/".to_owned(),
        compression: Compression::Zstd,
        credential: keys("AKID", Secret::literal("s3cr3t")),
        kms_key_id: None,
        storage_class: None,
    }
}

fn keys(id: &str, secret: Secret) -> S3Credential {
    S3Credential::Keys { access_key_id: id.to_owned(), secret_access_key: secret, session_token: None }
}

fn sink_with(settings: S3Settings) -> S3Sink {
    S3Sink::new(settings, &connection(TIMEOUT)).expect("a sink")
}

async fn bucket(name: &str) -> (&'static Moto, S3Sink) {
    let moto = Moto::open();
    moto.make_bucket(name).await;
    (moto, sink_with(settings(&moto.url, name)))
}

async fn deliver(sink: &S3Sink, batch: Batch<'_>) -> Result<Receipt, ErrorClass> {
    sink.deliver(batch).await.map_err(|error| error.class())
}

#[tokio::test]
async fn every_record_is_a_line_of_one_object_in_each_compression() {
    let moto = Moto::open();
    let cases = [
        (Compression::Zstd, "compression-zstd", ".ndjson.zst", "application/zstd"),
        (Compression::Gzip, "compression-gzip", ".ndjson.gz", "application/gzip"),
        (Compression::None, "compression-none", ".ndjson", "application/x-ndjson"),
    ];
    for (compression, bucket, end, content_type) in cases {
        moto.make_bucket(bucket).await;
        let sink = sink_with(S3Settings { compression, ..settings(&moto.url, bucket) });
        assert_eq!(outcome(&sink, &Events::audit(odd())).await, Ok(Receipt::All));
        let objects = moto.objects(bucket).await;
        assert_eq!(objects.len(), 1);
        assert_eq!((&objects[0].lines, objects[0].content_type.as_str()), (&odd(), content_type));
        let begins = "miro/acme/audit/date=1970-01-01/00000000000000000001-00000000000000000007-";
        assert!(objects[0].key.starts_with(begins) && objects[0].key.ends_with(end), "{}", objects[0].key);
        assert_eq!(sink.probe().await, Ok(()));
    }
}

#[tokio::test]
async fn a_batch_that_is_sent_again_makes_no_second_object() {
    let (moto, sink) = bucket("again").await;
    for _ in 0..3 {
        assert_eq!(outcome(&sink, &Events::ordinary(100)).await, Ok(Receipt::All));
    }
    // As after a restart.
    assert_eq!(outcome(&sink_with(settings(&moto.url, "again")), &Events::ordinary(100)).await, Ok(Receipt::All));
    assert_eq!(moto.keys("again").await.len(), 1);
}

#[tokio::test]
async fn a_batch_whose_answer_was_lost_is_there_once_however_it_is_cut_after_a_restart() {
    let moto = Moto::open();
    moto.make_bucket("recut").await;
    let gate = Gate::before(moto.url.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port")).await;
    let sink = || sink_with(settings(&format!("http://127.0.0.1:{}", gate.port), "recut"));
    let events = Events::ordinary(1_000);
    let before = sink();
    assert_eq!(deliver(&before, events.batch().split_at(100).0).await, Ok(Receipt::All));
    // Of the put, not of the question before it.
    gate.set(Mode::CutReply("ETag: "));
    let lost = events.batch().split_at(100).1.split_at(400).0;
    assert_eq!(deliver(&before, lost).await, Err(ErrorClass::Retryable), "it is known to be safe");
    assert_eq!(moto.keys("recut").await.len(), 2, "and it has arrived");
    // The acks of both are lost as well.
    assert_eq!(deliver(&sink(), events.batch().split_at(800).0).await, Ok(Receipt::All));
    let after = sink();
    assert_eq!(deliver(&after, events.batch().split_at(50).0).await, Ok(Receipt::All), "an object that holds more cannot be told");
    assert_eq!(deliver(&after, events.batch()).await, Ok(Receipt::All));
    let lines = moto.lines("recut").await;
    let times = |n: usize| lines[&ordinary(n)];
    assert_eq!(lines.len(), 1_000);
    assert!((0..50).all(|n| times(n) == 2) && (50..1_000).all(|n| times(n) == 1), "only what was cut smaller is there twice");
    let ranges: Vec<String> = moto
        .keys("recut")
        .await
        .iter()
        .map(|key| key.rsplit('/').next().expect("a name")[15..41].replace("-000000000000000", "-"))
        .collect();
    assert_eq!(ranges, ["00001-00050", "00001-00100", "00101-00500", "00501-00800", "00801-01000"]);
}

#[tokio::test]
async fn each_day_has_objects_of_its_own() {
    let (moto, sink) = bucket("days").await;
    let mut events = Events::new(StreamKind::Content);
    for (n, time) in ["2026-01-31T23:59:59Z", "2026-02-01T00:00:00Z", "2026-01-31T00:00:00Z"].iter().enumerate() {
        events.push(Timestamp::parse(time).ok(), Origin::Live, ordinary(n).as_bytes());
    }
    assert_eq!(outcome(&sink, &events).await, Ok(Receipt::All));
    let objects = moto.objects("days").await;
    let found: Vec<_> = objects.iter().map(|object| (&object.key[..37], object.lines.clone())).collect();
    let expected = [
        ("miro/acme/content/date=2026-01-31/0000", vec![ordinary(0), ordinary(2)]),
        ("miro/acme/content/date=2026-02-01/0000", vec![ordinary(1)]),
    ];
    assert_eq!(found, expected.map(|(key, lines)| (&key[..37], lines)));
}

#[tokio::test]
async fn a_missing_bucket_is_a_fault_of_the_configuration_until_it_is_there() {
    let moto = Moto::open();
    let sink = sink_with(settings(&moto.url, "missing-at-first"));
    for fault in [error(&sink, &Events::ordinary(1)).await, sink.probe().await.expect_err("no bucket")] {
        assert_eq!(fault.class(), ErrorClass::Config, "{fault}");
        assert!(fault.to_string().contains("missing-at-first") && fault.to_string().contains("NoSuchBucket"), "{fault}");
    }
    moto.make_bucket("missing-at-first").await;
    assert_eq!((sink.probe().await, outcome(&sink, &Events::ordinary(1)).await), (Ok(()), Ok(Receipt::All)));
}

#[tokio::test]
async fn a_wrong_key_is_refused_until_its_file_holds_the_right_one() {
    let moto = Moto::guarded();
    let (admin, file) = (moto.key("admin"), TempFile::new("not-the-key"));
    let guarded = |key: &Key| S3Settings {
        region: Some("us-east-1".to_owned()),
        credential: keys(&key.id, Secret::File(file.path.clone())),
        ..settings(&moto.url, "guarded")
    };
    let sink = sink_with(guarded(&admin));
    let fault = error(&sink, &Events::ordinary(3)).await;
    assert_eq!(fault.class(), ErrorClass::Auth, "{fault}");
    assert!(fault.to_string().contains("SignatureDoesNotMatch"), "{fault}");
    assert_clean(&sink, &fault.to_string(), &["not-the-key", &admin.secret, "Quarterly plan"]);
    assert_eq!(sink.probe().await.map_err(|fault| fault.class()), Err(ErrorClass::Auth));
    file.write(&admin.secret);
    // moto signs anew with the second of its own clock: a request that is on its way while the second changes is refused by it.
    let mut told = Vec::new();
    while told.len() < 20 && !told.contains(&(Ok(()), Ok(Receipt::All))) {
        told.push((sink.probe().await, outcome(&sink, &Events::ordinary(3)).await));
    }
    assert_eq!(told.last(), Some(&(Ok(()), Ok(Receipt::All))), "{told:?}");
    let unknown = sink_with(guarded(&Key { id: "AKIAUNKNOWN".to_owned(), secret: String::new() }));
    assert!(error(&unknown, &Events::ordinary(3)).await.to_string().contains("InvalidAccessKeyId"));
}

#[tokio::test]
async fn a_key_that_may_only_write_writes_each_batch_once() {
    let moto = Moto::guarded();
    let writer = moto.key("writer");
    let credential = keys(&writer.id, Secret::literal(writer.secret));
    let writer = S3Settings { prefix: "by-writer/".to_owned(), credential, ..settings(&moto.url, "guarded") };
    let sink = sink_with(writer.clone());
    for _ in 0..2 {
        assert_eq!(outcome(&sink, &Events::ordinary(3)).await, Ok(Receipt::All), "If-None-Match tells that it is there");
    }
    assert_eq!(sink.probe().await, Ok(()), "what it may not list is no fault");
    let elsewhere = sink_with(S3Settings { bucket: "not-there".to_owned(), ..writer });
    assert_eq!(error(&elsewhere, &Events::ordinary(3)).await.class(), ErrorClass::Config);
}

#[tokio::test]
async fn a_web_identity_is_exchanged_for_a_key_that_signs() {
    let given = "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>ASIAROLE</AccessKeyId>\
        <SecretAccessKey>r0le-s3cret</SecretAccessKey><SessionToken>r0le-t0ken</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration>\
        </Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>";
    let sts = Scripted::start([answer(200, "", given), answer(403, "", "<Error><Code>InvalidIdentityToken</Code></Error>")]).await;
    let token = TempFile::new("header.payload.signature");
    let identity = |token_file: &std::path::Path| S3Credential::WebIdentity {
        role_arn: "arn:aws:iam::123456789012:role/miro-siem".to_owned(),
        token_file: token_file.to_owned(),
        sts_endpoint: Some(sts.url.clone()),
    };
    let (store, _) = refused(412, "", "PreconditionFailed").await;
    let by_role = |path| sink_with(S3Settings { credential: identity(path), ..settings(store.url.as_str(), "by-role") });
    let sink = by_role(&token.path);
    assert_eq!(outcome(&sink, &Events::ordinary(3)).await, Ok(Receipt::All));
    let asked = &sts.seen()[0].head;
    assert!(asked.contains("AssumeRoleWithWebIdentity") && asked.contains("header.payload.signature"), "{asked}");
    let put = &store.seen()[1];
    assert_eq!(put.header("x-amz-security-token").as_deref(), Some("r0le-t0ken"));
    assert!(put.header("authorization").is_some_and(|value| value.contains("Credential=ASIAROLE/")));
    // One who is refused, and one without a token.
    for path in [token.path.as_path(), std::path::Path::new("/nowhere/token")] {
        let sink = by_role(path);
        let fault = error(&sink, &Events::ordinary(3)).await;
        assert_eq!(fault.class(), ErrorClass::Auth, "{fault}");
        assert!(fault.to_string().contains("web_identity"), "{fault}");
        assert_clean(&sink, &fault.to_string(), &["header.payload", "r0le-s3cret", "r0le-t0ken"]);
    }
}

#[tokio::test]
async fn a_secret_that_cannot_be_read_is_a_fault_of_credentials() {
    let credential = keys("AKID", Secret::File("/nowhere/key".into()));
    let fault = error(&sink_with(S3Settings { credential, ..settings("http://127.0.0.1:9", "x-y-z") }), &Events::ordinary(1)).await;
    assert_eq!(fault.class(), ErrorClass::Auth, "{fault}");
    assert!(fault.to_string().contains("/nowhere/key"), "{fault}");
}

/// An empty listing, then that answer to the put.
async fn refused(status: u16, headers: &str, code: &str) -> (Scripted, S3Sink) {
    let listed = answer(200, "", "<ListBucketResult><IsTruncated>false</IsTruncated><KeyCount>0</KeyCount></ListBucketResult>");
    let body = format!("<Error><Code>{code}</Code><Message>{}</Message><StringToSign>AKID</StringToSign></Error>", ordinary(0));
    let server = Scripted::start([listed, answer(status, headers, &body)]).await;
    let sink = sink_with(settings(server.url.as_str(), "scripted"));
    (server, sink)
}

#[tokio::test]
async fn an_answer_has_its_class_and_words_without_content() {
    let wait = Duration::from_secs(7);
    let cases = [
        (503, "SlowDown", ErrorClass::Throttled(None)),
        (500, "InternalError", ErrorClass::Retryable),
        (409, "ConditionalRequestConflict", ErrorClass::Retryable),
        (403, "RequestTimeTooSkewed", ErrorClass::Auth),
        (301, "PermanentRedirect", ErrorClass::Config),
        (400, "EntityTooLarge", ErrorClass::TooLarge),
        (501, "NotImplemented", ErrorClass::Config),
    ];
    for (status, code, class) in cases {
        let (server, sink) = refused(status, "", code).await;
        let fault = error(&sink, &Events::ordinary(1)).await;
        assert_eq!(fault.class(), class, "{fault}");
        assert!(fault.to_string().contains(&format!("HTTP {status} ({code}")), "{fault}");
        assert_clean(&sink, &fault.to_string(), &["s3cr3t", "Quarterly plan", "ada.lovelace0@example.com"]);
        let put = &server.seen()[1];
        assert_eq!(put.header("if-none-match").as_deref(), Some("*"));
        assert!(put.header("authorization").is_some_and(|value| value.contains("/eu-central-1/s3/aws4_request")));
        assert!(put.header("x-amz-checksum-sha256").is_some());
    }
    let (_server, sink) = refused(503, "retry-after: 7\r\n", "SlowDown").await;
    assert_eq!(outcome(&sink, &Events::ordinary(1)).await, Err(ErrorClass::Throttled(Some(wait))));
}

#[tokio::test]
async fn what_is_there_already_is_a_success_in_both_spellings() {
    for status in [412, 304] {
        let (_server, sink) = refused(status, "", "PreconditionFailed").await;
        assert_eq!(outcome(&sink, &Events::ordinary(1)).await, Ok(Receipt::All), "{status}");
    }
}

#[tokio::test]
async fn of_two_objects_the_one_that_was_written_is_told() {
    let listed = || answer(200, "", "<ListBucketResult><IsTruncated>false</IsTruncated><KeyCount>0</KeyCount></ListBucketResult>");
    let server = Scripted::start([listed(), answer(200, "etag: \"x\"\r\n", ""), listed(), answer(500, "", "")]).await;
    let mut events = Events::new(StreamKind::Audit);
    for (n, time) in ["2026-01-31T00:00:00Z", "2026-02-01T00:00:00Z", "2026-01-31T00:00:00Z"].iter().enumerate() {
        events.push(Timestamp::parse(time).ok(), Origin::Live, ordinary(n).as_bytes());
    }
    let expected = vec![Verdict::Accepted, Verdict::NotTaken, Verdict::Accepted];
    assert_eq!(outcome(&sink_with(settings(server.url.as_str(), "two-days")), &events).await, Ok(Receipt::Each(expected)));
}

#[tokio::test]
async fn silence_and_nobody_are_retried() {
    let server = Scripted::start([]).await;
    let fault = error(&sink_with(settings(server.url.as_str(), "silent")), &Events::ordinary(1)).await;
    assert_eq!(fault.class(), ErrorClass::Retryable, "{fault}");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let hanging = S3Sink::new(settings(&url, "hanging"), &connection(SHORT)).expect("a sink");
    let fault = error(&hanging, &Events::ordinary(1)).await;
    assert_eq!(fault.class(), ErrorClass::Retryable, "{fault}");
    drop(listener);
    let fault = error(&sink_with(settings(&url, "nobody")), &Events::ordinary(1)).await;
    assert_eq!(fault.class(), ErrorClass::Retryable, "{fault}");
    assert!(fault.to_string().contains("the bucket nobody at 127.0.0.1:"), "{fault}");
}

//! The sink `nats` against the real nats-server: what is stored, how often, and what each fault is taken for.

use std::time::Duration;

use async_nats::{ConnectOptions, jetstream::stream};
use futures_util::StreamExt as _;
use miro_siem::{
    config::{
        Secret,
        settings::{NatsCredential, NatsSettings, NatsTls, TlsSettings},
    },
    event::{Origin, StreamKind},
    sink::{ErrorClass, Receipt, Sink as _, Verdict, nats::NatsSink},
};
use testbed::ca::Ca;

use crate::{
    real::{free_port, nats::NatsServer, nats_operator::Operator},
    support::{Events, SHORT, TIMEOUT, TempFile, assert_clean, error, odd, ordinary, outcome},
};

const SECRET: &str = "s3cr3t-Zx81-and-more";
/// A user's key: the public half, and the seed.
const NKEY: (&str, &str) =
    ("UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4", "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY");

fn settings(url: &str) -> NatsSettings {
    NatsSettings {
        servers: vec![url.parse().expect("a URL")],
        subject: "miro.{org}.{stream}".to_owned(),
        credential: NatsCredential::None,
        inbox_prefix: None,
        tls: NatsTls::WhereOffered,
    }
}

fn sink_with(settings: NatsSettings, timeout: Duration) -> NatsSink {
    NatsSink::new(settings, &TlsSettings::default(), timeout).expect("a sink")
}

fn sink_for(server: &NatsServer) -> NatsSink {
    sink_with(settings(&server.url()), TIMEOUT)
}

fn anybody() -> ConnectOptions {
    ConnectOptions::new()
}

async fn with_stream() -> NatsServer {
    let server = NatsServer::start("").await;
    server.make_stream(anybody()).await;
    server
}

#[tokio::test]
async fn every_record_is_stored_once_to_the_byte_under_its_subject_and_id() {
    let server = with_stream().await;
    let (sink, records) = (sink_for(&server), odd());
    let mut content = Events::new(StreamKind::Content);
    content.push(None, Origin::Live, ordinary(0).as_bytes());
    for _ in 0..3 {
        assert_eq!(outcome(&sink, &Events::audit(&records)).await, Ok(Receipt::All), "a repeat is a success");
        assert_eq!(outcome(&sink, &content).await, Ok(Receipt::All), "the same id in another stream is another event");
    }
    let stored = server.stored(anybody()).await;
    assert_eq!(stored.len(), records.len() + 1);
    for (n, (stored, record)) in stored.iter().zip(&records).enumerate() {
        assert_eq!((stored.subject.as_str(), &stored.payload), ("miro.acme.audit", record));
        assert_eq!(stored.id, format!("acme/audit/event#{n}"));
    }
    let last = &stored[records.len()];
    assert_eq!((last.subject.as_str(), last.id.as_str()), ("miro.acme.content", "acme/content/event#0"));
    assert_eq!((sink.probe().await, sink.close().await), (Ok(()), Ok(())));
}

#[tokio::test]
async fn ten_thousand_events_keep_their_order() {
    let server = with_stream().await;
    let sink = sink_for(&server);
    assert_eq!(outcome(&sink, &Events::ordinary(10_000)).await, Ok(Receipt::All));
    assert_eq!(server.count().await, 10_000);
    let jetstream = server.jetstream(anybody()).await;
    let stream = jetstream.get_stream("MIRO").await.expect("the stream");
    for n in [1, 2_500, 9_999, 10_000_u64] {
        let message = stream.get_raw_message(n).await.expect("a message");
        assert_eq!(message.payload, ordinary(n as usize - 1), "at {n}");
    }
}

#[tokio::test]
async fn a_server_that_dies_in_a_delivery_has_everything_once_after_it_is_back() {
    let mut server = with_stream().await;
    let sink = sink_for(&server);
    let events = Events::ordinary(30_000);
    let delivery = outcome(&sink, &events);
    let death = async {
        while server.count().await == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        server.process().signal("KILL");
    };
    assert_eq!(tokio::join!(delivery, death).0, Err(ErrorClass::Retryable), "the stream knows what it has");
    server.kill();
    assert_eq!(outcome(&sink, &events).await, Err(ErrorClass::Retryable), "nobody is there, and nothing is sent");
    server.begin().await;
    assert_eq!(outcome(&sink, &events).await, Ok(Receipt::All));
    assert_eq!(server.count().await, 30_000);
}

#[tokio::test]
async fn a_restart_between_two_batches_is_not_noticed() {
    let mut server = with_stream().await;
    let sink = sink_for(&server);
    assert_eq!(outcome(&sink, &Events::ordinary(10)).await, Ok(Receipt::All));
    server.stop();
    server.begin().await;
    assert_eq!(outcome(&sink, &Events::ordinary(20)).await, Ok(Receipt::All));
    assert_eq!(server.count().await, 20);
}

#[tokio::test]
async fn a_server_that_hangs_is_given_up_after_the_timeout() {
    let server = with_stream().await;
    let sink = sink_with(settings(&server.url()), SHORT);
    assert_eq!(outcome(&sink, &Events::ordinary(1)).await, Ok(Receipt::All));
    server.process().pause();
    let fault = error(&sink, &Events::ordinary(10)).await;
    assert_eq!(fault.class(), ErrorClass::Retryable, "{fault}");
    assert!(fault.to_string().contains("1500 ms"), "{fault}");
    let fault = error(&sink, &Events::ordinary(10)).await;
    assert_eq!(fault.class(), ErrorClass::Retryable, "not even a connection: {fault}");
    server.process().signal("CONT");
    assert_eq!(outcome(&sink, &Events::ordinary(10)).await, Ok(Receipt::All));
    assert_eq!(server.count().await, 10);
}

#[tokio::test]
async fn what_is_sent_again_after_the_duplicate_window_is_told_to_be_ambiguous_once() {
    let server = NatsServer::start("").await;
    let window = Duration::from_secs(1);
    server.make_stream_with(anybody(), |config| stream::Config { duplicate_window: window, ..config }).await;
    let sink = sink_with(settings(&server.url()), SHORT);
    assert_eq!(outcome(&sink, &Events::ordinary(1)).await, Ok(Receipt::All));
    server.process().pause();
    assert_eq!(outcome(&sink, &Events::ordinary(10)).await, Err(ErrorClass::Retryable));
    server.process().signal("CONT");
    let fault = error(&sink, &Events::ordinary(10)).await;
    assert_eq!(fault.class(), ErrorClass::Ambiguous, "{fault}");
    assert!(fault.to_string().contains("--dupe-window"), "{fault}");
    assert_eq!(outcome(&sink, &Events::ordinary(10)).await, Ok(Receipt::All), "and then it is sent");
}

#[tokio::test]
async fn an_event_above_the_servers_limit_waits_for_its_turn_and_is_named_then() {
    let server = NatsServer::start("max_payload: 65536").await;
    server.make_stream(anybody()).await;
    let sink = sink_for(&server);
    let large = format!(r#"{{"id":"event#1","x":"{}"}}"#, "y".repeat(70_000));
    let batch = Events::audit([ordinary(0), large.clone(), ordinary(2)]);
    let expected = vec![Verdict::Accepted, Verdict::NotTaken, Verdict::Accepted];
    assert_eq!(outcome(&sink, &batch).await, Ok(Receipt::Each(expected)));
    let fault = error(&sink, &Events::audit([large])).await;
    assert_eq!(fault.class(), ErrorClass::TooLarge);
    assert!(fault.to_string().contains("max_payload"), "{fault}");
    assert_eq!(server.count().await, 2);
}

#[tokio::test]
async fn an_event_above_the_streams_limit_is_too_large() {
    let server = NatsServer::start("").await;
    server.make_stream_with(anybody(), |config| stream::Config { max_message_size: 2_000, ..config }).await;
    let fault = error(&sink_for(&server), &Events::audit([format!(r#"{{"x":"{}"}}"#, "y".repeat(3_000))])).await;
    assert_eq!(fault.class(), ErrorClass::TooLarge, "{fault}");
    assert!(fault.to_string().contains("max_msg_size"), "{fault}");
}

#[tokio::test]
async fn a_missing_stream_is_told_with_the_command_that_makes_it() {
    let server = NatsServer::start("").await;
    let sink = sink_for(&server);
    let fault = error(&sink, &Events::ordinary(3)).await;
    assert_eq!(fault.class(), ErrorClass::Config);
    assert!(fault.to_string().contains("nats stream add MIRO --subjects \"miro.acme.audit\""), "{fault}");
    let fault = sink.probe().await.expect_err("there is no stream");
    assert_eq!(fault.class(), ErrorClass::Config);
    assert!(fault.to_string().contains("--subjects \"miro.*.*\""), "{fault}");
    server.make_stream(anybody()).await;
    assert_eq!(sink.probe().await, Ok(()));
    assert_eq!(outcome(&sink, &Events::ordinary(3)).await, Ok(Receipt::All));
}

#[tokio::test]
async fn a_subscriber_without_jetstream_is_no_receiver() {
    let server = NatsServer::start("").await;
    let listener = anybody().connect(server.url()).await.expect("a connection");
    let mut heard = listener.subscribe("miro.>").await.expect("a subscription");
    listener.flush().await.expect("flushed");
    let sink = sink_with(settings(&server.url()), SHORT);
    let fault = error(&sink, &Events::ordinary(1)).await;
    assert_eq!(fault.class(), ErrorClass::Config, "nobody acknowledges, and no stream is there: {fault}");
    let replying = async {
        while let Some(message) = heard.next().await {
            let Some(reply) = message.reply else { continue };
            listener.publish(reply, "thanks".into()).await.expect("published");
        }
    };
    let events = Events::ordinary(1);
    let fault = tokio::select! {
        fault = error(&sink, &events) => fault,
        () = replying => panic!("the subscription ended"),
    };
    assert_eq!(fault.class(), ErrorClass::Config, "{fault}");
}

#[tokio::test]
async fn a_server_without_jetstream_is_a_fault_of_the_configuration() {
    let server = NatsServer::start_bare("").await;
    let fault = error(&sink_for(&server), &Events::ordinary(1)).await;
    assert_eq!(fault.class(), ErrorClass::Config, "{fault}");
}

#[tokio::test]
async fn a_full_stream_takes_what_fits_and_the_rest_when_there_is_room() {
    let server = NatsServer::start("").await;
    let full = |config| stream::Config { max_messages: 3, discard: stream::DiscardPolicy::New, ..config };
    server.make_stream_with(anybody(), full).await;
    let sink = sink_for(&server);
    let expected = vec![Verdict::Accepted, Verdict::Accepted, Verdict::Accepted, Verdict::NotTaken, Verdict::NotTaken];
    assert_eq!(outcome(&sink, &Events::ordinary(5)).await, Ok(Receipt::Each(expected)));
    let rest = Events::audit([r#"{"id":"next"}"#]);
    let mut later = Events::new(StreamKind::Content);
    later.push(None, Origin::Live, b"{}");
    let fault = error(&sink, &later).await;
    assert_eq!(fault.class(), ErrorClass::Retryable);
    assert!(fault.to_string().contains("maximum messages exceeded"), "{fault}");
    let jetstream = server.jetstream(anybody()).await;
    jetstream.get_stream("MIRO").await.expect("the stream").purge().await.expect("purged");
    assert_eq!(outcome(&sink, &later).await, Ok(Receipt::All));
    assert_eq!(outcome(&sink, &rest).await, Ok(Receipt::All));
}

/// With the wrong credential nothing goes, with the right one it does, without a new sink.
async fn refused_then_taken(server: &NatsServer, file: &TempFile, right: &str, credential: NatsCredential) {
    let sink = sink_with(NatsSettings { credential, ..settings(&server.url()) }, TIMEOUT);
    for wrong in ["SUAWRONG-Zx81-and-more", ""] {
        file.write(wrong);
        let fault = error(&sink, &Events::ordinary(3)).await;
        assert_eq!(fault.class(), ErrorClass::Auth, "{fault}");
        assert_eq!(sink.probe().await.map_err(|fault| fault.class()), Err(ErrorClass::Auth));
        assert_clean(&sink, &fault.to_string(), &["SUAWRONG-Zx81", SECRET, right, "Quarterly plan"]);
    }
    file.write(right);
    assert_eq!(sink.probe().await, Ok(()));
    assert_eq!(outcome(&sink, &Events::ordinary(3)).await, Ok(Receipt::All));
    assert_clean(&sink, "", &[SECRET, right]);
}

#[tokio::test]
async fn each_credential_is_refused_while_it_is_wrong_and_taken_when_it_is_right() {
    let file = TempFile::new("");
    let secret = || Secret::File(file.path.clone());

    let server = NatsServer::start(&format!("authorization {{ user: miro, password: '{SECRET}' }}")).await;
    server.make_stream(anybody().user_and_password("miro".to_owned(), SECRET.to_owned())).await;
    refused_then_taken(&server, &file, SECRET, NatsCredential::Password { username: "miro".to_owned(), password: secret() }).await;

    let server = NatsServer::start(&format!("authorization {{ token: '{SECRET}' }}")).await;
    server.make_stream(anybody().token(SECRET.to_owned())).await;
    refused_then_taken(&server, &file, SECRET, NatsCredential::Token(secret())).await;

    let server = NatsServer::start(&format!("authorization {{ users: [ {{ nkey: {} }} ] }}", NKEY.0)).await;
    server.make_stream(anybody().nkey(NKEY.1.to_owned())).await;
    refused_then_taken(&server, &file, NKEY.1, NatsCredential::Nkey(secret())).await;
}

#[tokio::test]
async fn a_creds_file_is_refused_while_it_is_somebody_elses_and_taken_when_it_is_right() {
    let (operator, stranger) = (Operator::new(), Operator::new());
    let file = TempFile::new(&stranger.credentials);
    let server = NatsServer::start(&operator.configuration).await;
    server.make_stream(anybody().credentials(&operator.credentials).expect("credentials")).await;
    let credential = NatsCredential::Credentials(Secret::File(file.path.clone()));
    let sink = sink_with(NatsSettings { credential: credential.clone(), ..settings(&server.url()) }, TIMEOUT);
    assert_eq!(error(&sink, &Events::ordinary(1)).await.class(), ErrorClass::Auth);
    assert_clean(&sink, &error(&sink, &Events::ordinary(1)).await.to_string(), &[&stranger.seed, &operator.seed]);
    refused_then_taken(&server, &file, &operator.credentials, credential).await;
}

#[tokio::test]
async fn a_user_who_may_not_publish_there_is_told_so_at_once() {
    let users = "authorization { users: [ \
        { user: admin, password: a }, \
        { user: miro, password: m, permissions: { publish: [ 'other.>' ], subscribe: [ '_INBOX.>' ] } } ] }";
    let server = NatsServer::start(users).await;
    server.make_stream(anybody().user_and_password("admin".to_owned(), "a".to_owned())).await;
    let credential = NatsCredential::Password { username: "miro".to_owned(), password: Secret::literal("m") };
    let sink = sink_with(NatsSettings { credential, ..settings(&server.url()) }, TIMEOUT);
    let began = std::time::Instant::now();
    let fault = error(&sink, &Events::ordinary(3)).await;
    assert_eq!(fault.class(), ErrorClass::Auth, "{fault}");
    assert!(fault.to_string().contains("miro.acme.audit") && fault.to_string().contains("allow the user"), "{fault}");
    assert!(began.elapsed() < TIMEOUT, "without waiting for an acknowledgement that cannot come");
    assert_eq!(sink.probe().await, Ok(()), "what the server does not let us ask is no fault");
}

#[tokio::test]
async fn a_user_with_an_inbox_of_its_own_needs_no_other() {
    let users = "authorization { users: [ { user: admin, password: a }, { user: miro, password: m, \
        permissions: { publish: [ 'miro.>' ], subscribe: [ '_INBOX_miro.>' ] } } ] }";
    let server = NatsServer::start(users).await;
    let admin = || anybody().user_and_password("admin".to_owned(), "a".to_owned());
    server.make_stream(admin()).await;
    let credential = NatsCredential::Password { username: "miro".to_owned(), password: Secret::literal("m") };
    let own = NatsSettings { inbox_prefix: Some("_INBOX_miro".to_owned()), credential, ..settings(&server.url()) };
    assert_eq!(outcome(&sink_with(own.clone(), TIMEOUT), &Events::ordinary(3)).await, Ok(Receipt::All));
    let fault = error(&sink_with(NatsSettings { inbox_prefix: None, ..own }, TIMEOUT), &Events::ordinary(3)).await;
    assert_eq!(fault.class(), ErrorClass::Auth, "{fault}");
    assert!(fault.to_string().contains("inbox_prefix"), "{fault}");
}

#[tokio::test]
async fn tls_holds_both_sides_to_their_certificates() {
    let dir = tempfile::tempdir().expect("a directory");
    let (ca, other) = (Ca::new().expect("an authority"), Ca::new().expect("an authority"));
    let server_identity = ca.local_server().expect("an identity");
    let files = ca.write_to(&dir.path().join("ca"), &server_identity, &ca.client("miro").expect("an identity")).expect("written");
    let others = other.write_to(&dir.path().join("other"), &server_identity, &other.client("miro").expect("an identity")).expect("written");
    let server = NatsServer::start(&format!(
        "tls {{ cert_file: '{}', key_file: '{}', ca_file: '{}', verify: true }}",
        files.server_certificate.display(),
        files.server_key.display(),
        files.ca.display()
    ))
    .await;
    let tls = |ca: &std::path::Path, client: Option<(&std::path::Path, &std::path::Path)>| TlsSettings {
        ca_file: Some(ca.to_owned()),
        cert_file: client.map(|(certificate, _)| certificate.to_owned()),
        key_file: client.map(|(_, key)| key.to_owned()),
    };
    let url = format!("tls://localhost:{}", server.port);
    let sink = |tls: TlsSettings| NatsSink::new(NatsSettings { tls: NatsTls::Required, ..settings(&url) }, &tls, TIMEOUT).expect("a sink");
    let good = sink(tls(&files.ca, Some((&files.client_certificate, &files.client_key))));
    let fault = error(&good, &Events::ordinary(1)).await;
    assert!(fault.to_string().contains("nats stream add"), "it is in, and there is no stream yet: {fault}");

    let stranger = sink(tls(&files.ca, Some((&others.client_certificate, &others.client_key))));
    let cases = [
        (sink(tls(&others.ca, Some((&files.client_certificate, &files.client_key)))), ErrorClass::Config, "tls.ca_file"),
        (sink(tls(&files.ca, None)), ErrorClass::Auth, "tls.cert_file"),
        (stranger, ErrorClass::Auth, "tls.cert_file"),
    ];
    for (sink, class, mend) in cases {
        let fault = error(&sink, &Events::ordinary(1)).await;
        assert_eq!(fault.class(), class, "{fault}");
        assert!(fault.to_string().contains(mend), "{fault}");
    }
}

#[tokio::test]
async fn a_server_without_tls_is_refused_where_tls_is_meant() {
    let server = with_stream().await;
    let url = format!("tls://127.0.0.1:{}", server.port);
    let sink = sink_with(NatsSettings { tls: NatsTls::Required, ..settings(&url) }, TIMEOUT);
    let fault = error(&sink, &Events::ordinary(1)).await;
    assert!(matches!(fault.class(), ErrorClass::Config | ErrorClass::Retryable), "{fault}");
    assert_eq!(server.count().await, 0);
}

#[tokio::test]
async fn nobody_at_the_address_is_retried_and_the_next_server_is_tried() {
    let server = with_stream().await;
    let nobody = format!("nats://127.0.0.1:{}", free_port());
    let fault = error(&sink_with(settings(&nobody), TIMEOUT), &Events::ordinary(1)).await;
    assert_eq!(fault.class(), ErrorClass::Retryable, "{fault}");
    assert!(fault.to_string().contains(nobody.strip_prefix("nats://").expect("a scheme")), "{fault}");
    let servers = [&nobody, &server.url()].map(|url| url.parse().expect("a URL")).to_vec();
    let sink = sink_with(NatsSettings { servers, ..settings(&nobody) }, TIMEOUT);
    assert_eq!(outcome(&sink, &Events::ordinary(5)).await, Ok(Receipt::All));
}

#[tokio::test]
async fn a_delivery_that_is_dropped_loses_nothing() {
    let server = with_stream().await;
    let sink = sink_for(&server);
    let events = Events::ordinary(20_000);
    let dropped = tokio::time::timeout(Duration::from_millis(20), sink.deliver(events.batch())).await;
    assert!(dropped.is_err(), "twenty thousand messages take longer");
    assert_eq!(outcome(&sink, &events).await, Ok(Receipt::All));
    assert_eq!(server.count().await, 20_000);
}

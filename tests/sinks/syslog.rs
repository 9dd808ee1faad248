//! The syslog sink against the real rsyslogd, and against receivers that behave badly.

use std::time::Duration;

use miro_siem::{
    config::settings::{
        FilterSettings, Format, Provenance, RedactSettings, SinkKindSettings, SinkSettings, SyslogSettings, SyslogTransport, TlsSettings,
    },
    event::{Event, EventId, SinkName, StreamKind},
    sink::{ErrorClass, Receipt, Sink, Verdict, build, syslog::SyslogSink},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::support::{
    pki::Pki,
    records::{Records, events},
    rsyslog::{Listen, Rsyslog},
    syslog::{settings, sink, tls_sink},
};

#[tokio::test]
async fn rsyslog_over_tcp_has_every_event_once_to_the_byte() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut rsyslog = Rsyslog::start(dir.path(), &Listen::Tcp);
    let sink = sink(SyslogTransport::Tcp, rsyslog.port);
    assert_eq!(sink.probe().await, Ok(()));
    let batches = [Records::of(events(0..2_000)), Records::of(events(2_000..2_001)), Records::of(events(2_001..3_000))];
    for batch in &batches {
        assert_eq!(batch.deliver(&sink).await, Ok(Receipt::All));
    }
    rsyslog.assert_received(&batches.each_ref());
    assert_eq!(sink.close().await, Ok(()));
}

#[tokio::test]
async fn rsyslog_over_udp_has_every_event_once_to_the_byte() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut rsyslog = Rsyslog::start(dir.path(), &Listen::Udp);
    let sink = sink(SyslogTransport::Udp, rsyslog.port);
    assert_eq!(sink.probe().await, Ok(()));
    let batches = [Records::of(events(0..1_000)), Records::of(events(1_000..1_200))];
    for batch in &batches {
        assert_eq!(batch.deliver(&sink).await, Ok(Receipt::All));
    }
    rsyslog.assert_received(&batches.each_ref());
}

#[tokio::test]
async fn rsyslog_over_tls_with_a_client_certificate_has_every_event_once_to_the_byte() {
    let dir = tempfile::tempdir().expect("a directory");
    let pki = Pki::new(&dir.path().join("pki"));
    let mut rsyslog = Rsyslog::start(dir.path(), &Listen::Tls(&pki));
    let sink = tls_sink(SyslogTransport::Tls, rsyslog.port, &pki.ca_file(), Some(&pki.client));
    assert_eq!(sink.probe().await, Ok(()));
    let batches = [Records::of(events(0..2_000)), Records::of(events(2_000..2_500))];
    for batch in &batches {
        assert_eq!(batch.deliver(&sink).await, Ok(Receipt::All));
    }
    rsyslog.assert_received(&batches.each_ref());
    assert_eq!(sink.close().await, Ok(()));
}

#[tokio::test]
async fn certificates_that_do_not_fit_lose_nothing_and_say_whose_they_are() {
    let dir = tempfile::tempdir().expect("a directory");
    let (pki, other) = (Pki::new(&dir.path().join("pki")), Pki::new(&dir.path().join("other")));
    let rsyslog = Rsyslog::start(dir.path(), &Listen::Tls(&pki));
    let batch = Records::of(events(0..10));
    let cases = [
        (
            tls_sink(SyslogTransport::Tls, rsyslog.port, &other.ca_file(), Some(&pki.client)),
            "tls.ca_file",
            "an unknown authority of theirs",
        ),
        (tls_sink(SyslogTransport::Tls, rsyslog.port, &pki.ca_file(), None), "tls.cert_file", "no certificate of ours"),
        (
            tls_sink(SyslogTransport::Tls, rsyslog.port, &pki.ca_file(), Some(&other.client)),
            "tls.cert_file",
            "an unknown authority of ours",
        ),
        (tls_sink(SyslogTransport::Tls, rsyslog.port, &pki.ca_file(), Some(&pki.server)), "tls.cert_file", "a name that is not permitted"),
    ];
    for (sink, mend, what) in cases {
        let error = batch.deliver(&sink).await.expect_err(what);
        assert!(!matches!(error.class(), ErrorClass::Rejected | ErrorClass::TooLarge), "{what}: {error:?}");
        assert!(error.to_string().contains(mend), "{what}: {error}");
        assert_eq!(sink.probe().await.map_err(|error| error.class()), Err(error.class()), "{what}");
    }
    assert_eq!(rsyslog.received(), []);
}

#[tokio::test]
async fn a_receiver_that_was_restarted_between_batches_swallows_none() {
    let dir = tempfile::tempdir().expect("a directory");
    let rsyslog = Rsyslog::start(dir.path(), &Listen::Tcp);
    let (port, sink) = (rsyslog.port, sink(SyslogTransport::Tcp, rsyslog.port));
    let batches = [Records::of(events(0..100)), Records::of(events(100..200)), Records::of(events(200..300))];
    assert_eq!(batches[0].deliver(&sink).await, Ok(Receipt::All));
    let mut rsyslog = rsyslog;
    rsyslog.received_after(100);
    rsyslog.stop();
    let error = batches[1].deliver(&sink).await.expect_err("nobody listens");
    assert_eq!(error.class(), ErrorClass::Retryable, "it is known that nothing has arrived: {error}");
    let mut rsyslog = Rsyslog::start_on(dir.path(), &Listen::Tcp, port);
    assert_eq!(batches[1].deliver(&sink).await, Ok(Receipt::All));
    rsyslog.received_after(200);
    rsyslog.stop();
    let mut rsyslog = Rsyslog::start_on(dir.path(), &Listen::Tcp, port);
    assert_eq!(batches[2].deliver(&sink).await, Ok(Receipt::All), "the old connection is not used");
    rsyslog.assert_received(&batches.each_ref());
}

#[tokio::test]
async fn a_large_event_arrives_whole_as_json_and_its_neighbours_are_untouched() {
    for (listen, transport) in [(Listen::Tcp, SyslogTransport::Tcp), (Listen::Udp, SyslogTransport::Udp)] {
        let dir = tempfile::tempdir().expect("a directory");
        let mut rsyslog = Rsyslog::start(dir.path(), &listen);
        let settings = SyslogSettings { message_bytes_max: 2_048, ..settings(transport, rsyslog.port) };
        let sink = SyslogSink::new(&settings, &TlsSettings::default(), Provenance::On).expect("nothing to go wrong");
        let mut of = events(0..5);
        of[2].raw = format!(r#"{{"id":"{}","event":"board_opened","details":{{"x":"{}"}},"a":1}}"#, of[2].id, "漢".repeat(40_000)).into();
        of[4].id = EventId::new("x".repeat(3_000));
        let records = Records::of(of);
        let Ok(Receipt::Each(verdicts)) = records.deliver(&sink).await else { panic!("one event fits in no way") };
        assert_eq!(verdicts[..4], vec![Verdict::Accepted; 4]);
        assert!(matches!(&verdicts[4], Verdict::TooLarge(answer) if answer.contains("message_bytes_max")), "{verdicts:?}");
        let received = rsyslog.received_after(4);
        let expected = records.expected();
        assert_eq!((&received[..2], &received[3..]), (&expected[..2], &expected[3..4]));
        let shrunk: serde_json::Value = serde_json::from_str(&received[2].1).expect("JSON");
        assert_eq!((&shrunk["a"], &shrunk["_miro_siem"]["org"]), (&1.into(), &"acme".into()));
        let truncated = &shrunk["_miro_siem"]["truncated"];
        assert_eq!((&truncated["bytes"], &truncated["left_out"]), (&records.events[2].raw.len().into(), &serde_json::json!(["details"])));
    }
}

#[tokio::test]
async fn a_sink_from_the_configuration_delivers() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut rsyslog = Rsyslog::start(dir.path(), &Listen::Tcp);
    let built = build(&SinkSettings {
        name: SinkName::new("qradar"),
        kind: SinkKindSettings::Syslog(settings(SyslogTransport::Tcp, rsyslog.port)),
        start: miro_siem::config::settings::Start::Now,
        streams: StreamKind::ALL.to_vec(),
        format: Format::Raw,
        provenance: Provenance::On,
        filter: FilterSettings::default(),
        redact: RedactSettings::None,
        batch_events_max: Some(7),
        batch_bytes_max: None,
        flush_interval: Duration::from_secs(1),
        timeout: Duration::from_secs(30),
        retry_initial: Duration::from_secs(1),
        retry_max: Duration::from_secs(60),
        tls: TlsSettings::default(),
    })
    .expect("it can be built");
    assert_eq!((built.limits.events_max, built.transform.provenance), (7, Provenance::On));
    let records = Records::of(events(0..7));
    assert_eq!(records.deliver(&*built.sink).await, Ok(Receipt::All));
    rsyslog.assert_received(&[&records]);
}

#[tokio::test]
async fn nobody_at_the_address_is_retried() {
    let port = {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        listener.local_addr().expect("its address").port()
    };
    let records = Records::of(events(0..40));
    let error = records.deliver(&sink(SyslogTransport::Tcp, port)).await.expect_err("nobody listens");
    assert_eq!(error.class(), ErrorClass::Retryable, "{error}");
    assert!(error.to_string().contains(&format!("tcp://127.0.0.1:{port}")), "{error}");
    let error = records.deliver(&sink(SyslogTransport::Udp, port)).await.expect_err("a refusal comes back");
    assert!(matches!(error.class(), ErrorClass::Retryable | ErrorClass::Ambiguous), "{error}");
    let nowhere = SyslogSettings { host: "nowhere.invalid".to_owned(), ..settings(SyslogTransport::Tcp, port) };
    let sink = SyslogSink::new(&nowhere, &TlsSettings::default(), Provenance::On).expect("nothing to go wrong");
    let error = records.deliver(&sink).await.expect_err("no such name");
    assert_eq!(error.class(), ErrorClass::Retryable, "{error}");
}

/// Octet-counted messages, as RFC 6587 has them; what is left over is no whole message.
fn frames(mut bytes: &[u8]) -> (Vec<String>, usize) {
    let mut messages = Vec::new();
    while let Some(space) = bytes.iter().position(|&byte| byte == b' ') {
        let length: usize = std::str::from_utf8(&bytes[..space]).ok().and_then(|text| text.parse().ok()).expect("a length");
        let Some(message) = bytes.get(space + 1..space + 1 + length) else { break };
        messages.push(String::from_utf8(message.to_vec()).expect("text"));
        bytes = &bytes[space + 1 + length..];
    }
    (messages, bytes.len())
}

#[tokio::test]
async fn a_connection_that_breaks_in_a_batch_is_ambiguous_and_never_used_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let sink = sink(SyslogTransport::Tcp, listener.local_addr().expect("its address").port());
    let records = Records::of(events(0..5_000));
    let receiver = async {
        let (mut first, _) = listener.accept().await.expect("accepted");
        let mut part = vec![0; 5_000];
        first.read_exact(&mut part).await.expect("read");
        drop(first);
        let (mut second, _) = listener.accept().await.expect("accepted");
        let mut bytes = Vec::new();
        let mut piece = vec![0; 65_536];
        while frames(&bytes).0.len() < 5_000 {
            let read = second.read(&mut piece).await.expect("read");
            bytes.extend_from_slice(&piece[..read]);
        }
        (frames(&bytes), second)
    };
    let sender = async {
        let error = records.deliver(&sink).await.expect_err("the connection broke");
        assert_eq!(error.class(), ErrorClass::Ambiguous, "{error}");
        assert_eq!(records.deliver(&sink).await, Ok(Receipt::All));
    };
    let (((messages, rest), _open), ()) = tokio::join!(receiver, sender);
    assert_eq!((messages.len(), rest), (5_000, 0), "the batch began afresh");
}

#[tokio::test]
async fn a_receiver_that_closes_instead_of_reading_does_not_swallow_a_batch() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let sink = sink(SyslogTransport::Tcp, listener.local_addr().expect("its address").port());
    let receiver = tokio::spawn(async move {
        loop {
            let (connection, _) = listener.accept().await.expect("accepted");
            tokio::time::sleep(Duration::from_millis(2)).await;
            drop(connection);
        }
    });
    for _ in 0..20 {
        let error = Records::of(events(0..3)).deliver(&sink).await.expect_err("it was not read");
        assert_eq!(error.class(), ErrorClass::Ambiguous, "{error}");
    }
    receiver.abort();
}

#[tokio::test]
async fn a_receiver_that_does_not_read_is_no_success_and_the_given_up_connection_is_not_used_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let sink = sink(SyslogTransport::Tcp, listener.local_addr().expect("its address").port());
    let large: Vec<_> = events(0..400)
        .into_iter()
        .map(|event| Event { raw: format!(r#"{{"id":"{}","x":"{}"}}"#, event.id, "y".repeat(50_000)).into(), ..event })
        .collect();
    let records = Records::of(large);
    let given_up = tokio::time::timeout(Duration::from_millis(500), records.deliver(&sink)).await;
    assert!(given_up.is_err(), "20 MB fit into no socket buffer");
    let (_stuck, _) = listener.accept().await.expect("accepted");
    let small = Records::of(events(0..1));
    let (delivered, accepted) = tokio::join!(small.deliver(&sink), listener.accept());
    assert!(accepted.is_ok(), "a new connection");
    assert_eq!(delivered, Ok(Receipt::All));
}

#[tokio::test]
async fn a_receiver_that_does_not_speak_tls_is_a_fault_of_the_configuration() {
    let dir = tempfile::tempdir().expect("a directory");
    let pki = Pki::new(dir.path());
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let sink = tls_sink(SyslogTransport::Tls, listener.local_addr().expect("its address").port(), &pki.ca_file(), None);
    let receiver = async {
        let (mut connection, _) = listener.accept().await.expect("accepted");
        connection.write_all(b"220 mail.example.com ESMTP\r\n").await.expect("written");
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    let (error, ()) = tokio::join!(sink.probe(), receiver);
    let error = error.expect_err("no TLS");
    assert_eq!(error.class(), ErrorClass::Config, "{error}");
    assert!(error.to_string().contains("does not speak TLS"), "{error}");
}

//! RELP against the real rsyslogd, and against receivers that do what they are told.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};

use miro_siem::{
    config::settings::SyslogTransport,
    sink::{ErrorClass, Receipt, Sink, Verdict, syslog::SyslogSink},
};

use testbed::{
    ledger::Keep,
    relp::{Relp, Say},
};
use tokio::{io::AsyncWriteExt as _, net::TcpListener};

use crate::support::{
    pki::Pki,
    records::{Records, events},
    rsyslog::{Listen, Rsyslog},
    syslog::{sink, tls_sink},
};

fn relp(port: u16) -> SyslogSink {
    sink(SyslogTransport::Relp, port)
}

/// A receiver that is asked with the number of the connection and the message.
fn receiver(script: impl FnMut(usize, &str) -> Say + Send + 'static) -> Relp {
    let relp = Relp::start(Keep::Digests).expect("a receiver");
    relp.script(script);
    relp
}

/// Verdicts in a letter each.
fn letters(receipt: &Receipt) -> String {
    let letter = |verdict: &Verdict| match verdict {
        Verdict::Accepted => 'a',
        Verdict::Rejected(_) | Verdict::MaybeRejected(_) | Verdict::TooLarge(_) | Verdict::Unencodable(_) => 'r',
        Verdict::NotTaken => '.',
        Verdict::Unknown(_) => '?',
    };
    match receipt {
        Receipt::All | Receipt::AllNearlyFull => "all".to_owned(),
        Receipt::Each(verdicts) => verdicts.iter().map(letter).collect(),
    }
}

/// Whether the message is that of the event at that position.
fn is(message: &str, position: usize) -> bool {
    message.contains(&format!("#{position}-DDB\""))
}

#[tokio::test]
async fn rsyslog_over_relp_has_every_event_once_to_the_byte() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut rsyslog = Rsyslog::start(dir.path(), &Listen::Relp);
    let sink = relp(rsyslog.port);
    assert_eq!(sink.probe().await, Ok(()));
    let batches = [Records::of(events(0..2_000)), Records::of(events(2_000..2_001)), Records::of(events(2_001..3_000))];
    for batch in &batches {
        assert_eq!(batch.deliver(&sink).await, Ok(Receipt::All));
    }
    rsyslog.assert_received(&batches.each_ref());
    assert_eq!(sink.close().await, Ok(()));
}

#[tokio::test]
async fn rsyslog_over_relp_and_tls_with_a_client_certificate_has_every_event_once_to_the_byte() {
    let dir = tempfile::tempdir().expect("a directory");
    let pki = Pki::new(&dir.path().join("pki"));
    let mut rsyslog = Rsyslog::start(dir.path(), &Listen::RelpTls(&pki));
    let sink = tls_sink(SyslogTransport::RelpTls, rsyslog.port, &pki.ca_file(), Some(&pki.client));
    assert_eq!(sink.probe().await, Ok(()));
    let batches = [Records::of(events(0..1_000)), Records::of(events(1_000..1_500))];
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
    let rsyslog = Rsyslog::start(dir.path(), &Listen::RelpTls(&pki));
    let batch = Records::of(events(0..10));
    let with = |ca: &Pki, client| tls_sink(SyslogTransport::RelpTls, rsyslog.port, &ca.ca_file(), client);
    let cases = [
        (with(&other, Some(&pki.client)), "tls.ca_file", "an unknown authority of theirs"),
        (with(&pki, None), "tls.cert_file", "no certificate of ours"),
        (with(&pki, Some(&other.client)), "tls.cert_file", "an unknown authority of ours"),
        (with(&pki, Some(&pki.server)), "tls.cert_file", "a name that is not permitted"),
        (relp(rsyslog.port), "set `tls`", "no TLS of ours"),
    ];
    for (sink, mend, what) in cases {
        let error = batch.deliver(&sink).await.expect_err(what);
        assert!(!matches!(error.class(), ErrorClass::Rejected | ErrorClass::TooLarge), "{what}: {error:?}");
        assert!(error.to_string().contains(mend), "{what}: {error}");
    }
    assert_eq!(rsyslog.received(), []);
}

#[tokio::test]
async fn a_receiver_that_was_restarted_between_batches_swallows_none() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut rsyslog = Rsyslog::start(dir.path(), &Listen::Relp);
    let (port, sink) = (rsyslog.port, relp(rsyslog.port));
    let batches = [Records::of(events(0..100)), Records::of(events(100..200)), Records::of(events(200..300))];
    assert_eq!(batches[0].deliver(&sink).await, Ok(Receipt::All));
    rsyslog.received_after(100);
    rsyslog.stop();
    let error = batches[1].deliver(&sink).await.expect_err("nobody listens");
    assert_eq!(error.class(), ErrorClass::Retryable, "it is known that nothing has arrived: {error}");
    let mut rsyslog = Rsyslog::start_on(dir.path(), &Listen::Relp, port);
    assert_eq!(batches[1].deliver(&sink).await, Ok(Receipt::All));
    rsyslog.received_after(200);
    rsyslog.kill();
    let mut rsyslog = Rsyslog::start_on(dir.path(), &Listen::Relp, port);
    assert_eq!(batches[2].deliver(&sink).await, Ok(Receipt::All), "the old session is not used");
    rsyslog.assert_received(&batches.each_ref());
}

#[tokio::test]
async fn answers_count_in_whatever_order_they_come() {
    let receiver = receiver(|_, message| if is(message, 9) { Say::Accept } else { Say::Later });
    let records = Records::of(events(0..10));
    assert_eq!(records.deliver(&relp(receiver.port())).await, Ok(Receipt::All));
    let came = receiver.came();
    assert_eq!(came.iter().map(|came| came.txnr).collect::<Vec<_>>(), (2..12).collect::<Vec<_>>(), "open was the first");
}

#[tokio::test]
async fn no_more_than_a_window_is_under_way_without_an_answer() {
    let receiver = receiver(|_, _| Say::Nothing);
    let sink = relp(receiver.port()).with_timeout(Duration::from_millis(300));
    let receipt = Records::of(events(0..200)).deliver(&sink).await.expect("it is known of each");
    assert_eq!(letters(&receipt), format!("{}{}", "?".repeat(128), ".".repeat(72)));
    let Receipt::Each(verdicts) = receipt else { panic!("{receipt:?}") };
    assert!(matches!(&verdicts[0], Verdict::Unknown(why) if why.contains("relp://127.0.0.1") && why.contains("in time")), "{verdicts:?}");
    assert_eq!(receiver.came().len(), 128);
}

#[tokio::test]
async fn when_a_session_breaks_what_was_answered_stays_delivered_and_only_the_unanswered_may_be_repeated() {
    for last in [Say::HangUp, Say::Babble, Say::AcceptAndStop] {
        let receiver = receiver(move |connection, message| match connection {
            0 if is(message, 9) => last,
            0 if (4..9).any(|position| is(message, position)) => Say::Nothing,
            _ => Say::Accept,
        });
        let sink = relp(receiver.port());
        let receipt = Records::of(events(0..10)).deliver(&sink).await.expect("it is known of each");
        let expected = if last == Say::AcceptAndStop { "aaaa?????a" } else { "aaaa??????" };
        assert_eq!(letters(&receipt), expected, "{last:?}");
        assert_eq!(Records::of(events(4..10)).deliver(&sink).await, Ok(Receipt::All), "over a new session");
        assert_eq!(receiver.came().last().map(|came| came.connection), Some(1));
    }
}

#[tokio::test]
async fn a_message_that_is_refused_between_others_that_are_taken_is_refused_for_good() {
    let receiver = receiver(|_, message| if is(message, 417) { Say::Refuse("no room for it") } else { Say::Accept });
    let sink = relp(receiver.port());
    let receipt = Records::of(events(0..1_000)).deliver(&sink).await.expect("an answer to each");
    assert_eq!(letters(&receipt), format!("{}r{}", "a".repeat(417), "a".repeat(582)));
    let Receipt::Each(verdicts) = receipt else { panic!("{receipt:?}") };
    assert_eq!(verdicts[417], Verdict::Rejected("500 no room for it".to_owned()));
    assert_eq!(Records::of(events(0..3)).deliver(&sink).await, Ok(Receipt::All));
    assert!(receiver.came().iter().all(|came| came.connection == 0), "a refusal ends no session");
}

#[tokio::test]
async fn a_receiver_that_takes_nothing_for_now_makes_no_dead_letters_of_a_log() {
    static IS_FULL: AtomicBool = AtomicBool::new(true);
    let full = |_, message: &str| if IS_FULL.load(Ordering::Relaxed) && !is(message, 0) { Say::Refuse("disk full") } else { Say::Accept };
    let receiver = receiver(full);
    let sink = relp(receiver.port());
    let receipt = Records::of(events(0..10)).deliver(&sink).await.expect("an answer to each");
    assert_eq!(letters(&receipt), "a.........", "nothing later was taken, so none is to blame");
    let rest = Records::of(events(1..10));
    for _ in 0..4 {
        let error = rest.deliver(&sink).await.expect_err("all are refused");
        assert_eq!(error.class(), ErrorClass::Retryable);
        assert!(error.to_string().contains("500 disk full"), "{error}");
    }
    IS_FULL.store(false, Ordering::Relaxed);
    assert_eq!(rest.deliver(&sink).await, Ok(Receipt::All));
}

#[tokio::test]
async fn a_lone_message_that_is_refused_again_and_again_holds_nothing_up_for_ever() {
    let receiver = receiver(|_, message| if is(message, 7) { Say::Refuse("not this one") } else { Say::Accept });
    let (sink, lone) = (relp(receiver.port()), Records::of(events(7..8)));
    for _ in 0..4 {
        assert_eq!(lone.deliver(&sink).await.map_err(|error| error.class()), Err(ErrorClass::Retryable));
    }
    let refused = Receipt::Each(vec![Verdict::Rejected("500 not this one".to_owned())]);
    assert_eq!(lone.deliver(&sink).await, Ok(refused));
    assert_eq!(lone.deliver(&sink).await.map_err(|error| error.class()), Err(ErrorClass::Retryable), "the count begins anew");
}

#[tokio::test]
async fn the_words_of_a_refusal_never_repeat_an_event() {
    let receiver = receiver(|_, message| if is(message, 1) { Say::Refuse("bad: 12345678901234567890.10") } else { Say::Accept });
    let receipt = Records::of(events(0..3)).deliver(&relp(receiver.port())).await;
    let Ok(Receipt::Each(verdicts)) = receipt else { panic!("{receipt:?}") };
    assert_eq!(verdicts[1], Verdict::Rejected("500 bad: …".to_owned()));
}

#[tokio::test]
async fn a_session_that_was_closed_or_given_up_is_not_used_again() {
    let receiver = receiver(|connection, message| match connection {
        0 if is(message, 1) => Say::AcceptAndStop,
        1 => Say::Nothing,
        _ => Say::Accept,
    });
    let sink = relp(receiver.port());
    assert_eq!(Records::of(events(0..2)).deliver(&sink).await, Ok(Receipt::All));
    let given_up = tokio::time::timeout(Duration::from_millis(300), Records::of(events(2..4)).deliver(&sink)).await;
    assert!(given_up.is_err(), "nobody answers");
    assert_eq!(Records::of(events(2..4)).deliver(&sink).await, Ok(Receipt::All));
    let connections: Vec<_> = receiver.came().iter().map(|came| came.connection).collect();
    assert_eq!(connections, [0, 0, 1, 1, 2, 2]);
}

#[tokio::test]
async fn a_receiver_without_relp_or_syslog_is_a_fault_of_the_configuration() {
    let cases = [
        ("500 unsupported protocol version", "500 (unsupported protocol version)"),
        ("200 OK\nrelp_version=0\ncommands=eventlog", "does not offer the command syslog"),
        ("welcome", "is no RELP"),
    ];
    for (welcome, expected) in cases {
        let receiver = receiver(|_, _| Say::Accept);
        receiver.welcome(welcome);
        let error = relp(receiver.port()).probe().await.expect_err(welcome);
        assert_eq!(error.class(), ErrorClass::Config, "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    }
    let web = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let sink = relp(web.local_addr().expect("its address").port());
    let answer = async {
        let (mut connection, _) = web.accept().await.expect("accepted");
        connection.write_all(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n").await.expect("written");
        connection
    };
    let (error, _open) = tokio::join!(sink.probe(), answer);
    let error = error.expect_err("no RELP");
    assert_eq!(error.class(), ErrorClass::Config, "{error}");
}

#[tokio::test]
async fn streams_deliver_at_once_over_sessions_of_their_own() {
    static OPEN: AtomicUsize = AtomicUsize::new(0);
    let receiver = receiver(|connection, _| {
        OPEN.fetch_max(connection, Ordering::Relaxed);
        Say::Accept
    });
    let sink = relp(receiver.port());
    let (one, other) = (Records::of(events(0..500)), Records::of(events(500..1_000)));
    for _ in 0..3 {
        let (first, second) = tokio::join!(one.deliver(&sink), other.deliver(&sink));
        assert_eq!((first, second), (Ok(Receipt::All), Ok(Receipt::All)));
    }
    assert!(OPEN.load(Ordering::Relaxed) <= 1, "two at once need two sessions, which are used again");
    assert_eq!(receiver.came().len(), 3_000);
}

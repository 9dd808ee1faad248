//! Indexer acknowledgement: only `true` is a delivery.

use std::time::{Duration, Instant};

use miro_siem::{
    config::settings::{IndexerAck, SplunkHecSettings},
    event::{Origin, StreamKind},
    sink::{ErrorClass, Receipt, Sink as _, Verdict, splunk_hec::SplunkHecSink},
};
use testbed::{
    Running,
    faults::{Answer, Fault, Rule, Take},
    hec::{Acks, Hec},
};

use crate::{
    splunk_hec::{receiver, settings, sink_with},
    support::{Events, Scripted, TIMEOUT, answer, error, ordinary, outcome},
};

fn with_ack(url: &str, ack_timeout: Duration) -> SplunkHecSink {
    sink_with(SplunkHecSettings { ack: IndexerAck::On, ack_timeout, ..settings(url) }, TIMEOUT)
}

fn acknowledging(delay: Duration) -> Running<Hec> {
    receiver(|config| config.acks = Acks::after(delay))
}

const SOON: Duration = Duration::from_millis(700);

#[tokio::test]
async fn a_batch_is_delivered_when_it_is_acknowledged_and_not_before() {
    let hec = acknowledging(SOON);
    let sink = with_ack(&hec.url(), TIMEOUT);
    for round in 0..3 {
        let began = Instant::now();
        assert_eq!(outcome(&sink, &Events::ordinary(5)).await, Ok(Receipt::All), "{round}");
        assert!(began.elapsed() >= SOON, "{round}: {:?}", began.elapsed());
    }
    assert_eq!(hec.ledger().counts().connections, 1, "questions travel where the batch did");
}

#[tokio::test]
async fn without_an_acknowledgement_in_time_the_outcome_is_open_and_the_next_channel_is_new() {
    let hec = acknowledging(Duration::from_secs(3600));
    let sink = with_ack(&hec.url(), 2 * SOON);
    let fault = error(&sink, &Events::ordinary(5)).await;
    assert_eq!(fault.class(), ErrorClass::Ambiguous);
    assert!(fault.to_string().contains("acknowledgement"), "{fault}");
    hec.service().set_ack_delay(Duration::ZERO);
    assert_eq!(outcome(&sink, &Events::ordinary(5)).await, Ok(Receipt::All));
    assert_eq!(hec.ledger().times_seen("event#0"), 2);
}

#[tokio::test]
async fn a_channel_that_the_indexer_forgot_is_not_taken_for_acknowledged() {
    let hec = acknowledging(SOON);
    let sink = with_ack(&hec.url(), 4 * SOON);
    let events = Events::ordinary(5);
    let (got, ()) = tokio::join!(outcome(&sink, &events), async {
        hec.ledger().wait_for(5, TIMEOUT).await.expect("taken");
        hec.service().forget_channels();
    });
    assert_eq!(got, Err(ErrorClass::Ambiguous));
    assert_eq!(outcome(&sink, &Events::ordinary(5)).await, Ok(Receipt::All));
}

#[tokio::test]
async fn a_token_without_acknowledgement_is_a_fault_of_configuration() {
    let hec = receiver(|_| ());
    let fault = error(&with_ack(&hec.url(), TIMEOUT), &Events::ordinary(5)).await;
    assert_eq!(fault.class(), ErrorClass::Config);
    assert!(fault.to_string().contains("useACK"), "{fault}");
}

#[tokio::test]
async fn the_key_of_the_id_is_spelled_exactly() {
    let receiver = Scripted::start([answer(200, "", r#"{"text":"Success","code":0,"ackID":0}"#)]).await;
    assert_eq!(outcome(&with_ack(receiver.url.as_str(), TIMEOUT), &Events::ordinary(1)).await, Err(ErrorClass::Config));
}

#[tokio::test]
async fn a_question_that_is_refused_is_never_a_delivery() {
    let check = async |status: u16, body: &str, expected: ErrorClass| {
        let hec = acknowledging(Duration::ZERO);
        hec.faults().add(Rule::next(1000, Fault::answer(Answer::new(status, body))).on("/ack"));
        // Only the open ones need to run out of time.
        let ack_timeout = if expected == ErrorClass::Ambiguous { SOON } else { TIMEOUT };
        assert_eq!(outcome(&with_ack(&hec.url(), ack_timeout), &Events::ordinary(5)).await, Err(expected), "{status} {body}");
    };
    check(400, r#"{"text":"ACK is disabled","code":14}"#, ErrorClass::Config).await;
    check(400, r#"{"text":"Invalid data channel","code":11}"#, ErrorClass::Config).await;
    check(400, r#"{"text":"Invalid data format","code":6}"#, ErrorClass::Config).await;
    check(400, "", ErrorClass::Config).await;
    check(401, "", ErrorClass::Auth).await;
    check(403, r#"{"text":"Invalid token","code":4}"#, ErrorClass::Auth).await;
    check(404, "<html>", ErrorClass::Config).await;
    check(413, "", ErrorClass::Config).await;
    check(200, "<html>", ErrorClass::Config).await;
    check(200, r#"{"acks":[]}"#, ErrorClass::Config).await;
    check(200, r#"{"acks":{"0":false}}"#, ErrorClass::Ambiguous).await;
    check(200, r#"{"acks":{"0":"true"}}"#, ErrorClass::Ambiguous).await;
    check(200, r#"{"acks":{"1":true}}"#, ErrorClass::Ambiguous).await;
    check(429, "", ErrorClass::Ambiguous).await;
    check(500, "", ErrorClass::Ambiguous).await;
    check(503, r#"{"text":"Server is busy","code":9}"#, ErrorClass::Ambiguous).await;
}

#[tokio::test]
async fn a_question_that_fails_for_the_moment_is_asked_again() {
    let check = async |fault: Fault| {
        let hec = acknowledging(Duration::ZERO);
        hec.faults().add(Rule::next(1, fault.clone()).on("/ack"));
        assert_eq!(outcome(&with_ack(&hec.url(), TIMEOUT), &Events::ordinary(5)).await, Ok(Receipt::All), "{fault:?}");
        assert_eq!(hec.ledger().times_seen("event#0"), 1, "{fault:?}");
    };
    // Unread, because a question that was read has used up its `true`.
    let unread = |status| Fault { take: Take::Unread, ..Fault::answer(Answer::new(status, "")) };
    check(unread(503)).await;
    check(unread(429)).await;
    check(Fault::reset_before_body()).await;
}

#[tokio::test]
async fn a_true_that_was_lost_on_the_way_leaves_the_outcome_open() {
    let hec = acknowledging(Duration::ZERO);
    hec.faults().add(Rule::next(1, Fault::reset_after_taking()).on("/ack"));
    // A reset after the answer was made: the indexer has said `true` and will not say it again.
    hec.faults().add(Rule::next(1000, Fault::default()).on("/ack"));
    let got = outcome(&with_ack(&hec.url(), SOON), &Events::ordinary(5)).await;
    assert_eq!(got, Err(ErrorClass::Ambiguous));
}

#[tokio::test]
async fn the_events_before_a_poison_one_count_when_they_are_acknowledged() {
    let poisoned = |at: usize| {
        let mut records: Vec<String> = (0..3).map(ordinary).collect();
        records[at] = format!(r#"{{"id":"poison","state":"{}"}}"#, "x".repeat(1_000));
        Events::audit(records)
    };
    let hec = receiver(|config| {
        config.acks = Acks::after(SOON);
        config.event_bytes_max = 1_000;
    });
    let sink = with_ack(&hec.url(), TIMEOUT);
    for (at, waits) in [(0, false), (1, true), (2, true)] {
        let began = Instant::now();
        let Ok(Receipt::Each(verdicts)) = outcome(&sink, &poisoned(at)).await else { panic!("a verdict for each") };
        assert!(!waits || began.elapsed() >= SOON, "{at}");
        for (n, verdict) in verdicts.iter().enumerate() {
            match n.cmp(&at) {
                std::cmp::Ordering::Less => assert_eq!(*verdict, Verdict::Accepted),
                std::cmp::Ordering::Equal => assert!(matches!(verdict, Verdict::Rejected(_)), "{verdict:?}"),
                std::cmp::Ordering::Greater => assert_eq!(*verdict, Verdict::NotTaken),
            }
        }
    }
    hec.service().set_ack_delay(Duration::from_secs(3600));
    assert_eq!(outcome(&with_ack(&hec.url(), SOON), &poisoned(2)).await, Err(ErrorClass::Ambiguous));
}

#[tokio::test]
async fn a_delivery_that_is_dropped_while_it_waits_can_be_made_again() {
    let hec = acknowledging(SOON);
    let sink = with_ack(&hec.url(), TIMEOUT);
    let events = Events::ordinary(5);
    tokio::select! {
        _ = sink.deliver(events.batch()) => panic!("it is not acknowledged yet"),
        taken = hec.ledger().wait_for(5, TIMEOUT) => taken.expect("taken"),
    }
    assert_eq!(outcome(&sink, &events).await, Ok(Receipt::All));
    assert_eq!(hec.ledger().times_seen("event#0"), 2);
}

#[tokio::test]
async fn questions_carry_the_channel_and_the_cookies_of_the_batch_over_its_connection() {
    let taken = |id| answer(200, "set-cookie: AWSALB=a1; Path=/; Secure\r\nset-cookie: channel_cookie=c1\r\n", &success(id));
    let receiver = Scripted::start([
        taken(0),
        answer(200, "set-cookie: AWSALB=a2; Max-Age=600\r\n", r#"{"acks":{"0":false}}"#),
        answer(200, "set-cookie: channel_cookie=; Max-Age=0\r\n", r#"{"acks":{"0":true}}"#),
        taken(1),
        answer(200, "", r#"{"acks":{"1":true}}"#),
    ])
    .await;
    let sink = with_ack(receiver.url.as_str(), TIMEOUT);
    assert_eq!(outcome(&sink, &Events::ordinary(1)).await, Ok(Receipt::All));
    assert_eq!(outcome(&sink, &Events::ordinary(1)).await, Ok(Receipt::All));
    let seen = receiver.seen();
    let cookies: Vec<Option<String>> = seen.iter().map(|request| request.header("cookie")).collect();
    let expected = [
        None,
        Some("AWSALB=a1; channel_cookie=c1"),
        Some("AWSALB=a2; channel_cookie=c1"),
        Some("AWSALB=a2"),
        Some("AWSALB=a1; channel_cookie=c1"),
    ];
    assert_eq!(cookies, expected.map(|cookie| cookie.map(str::to_owned)));
    let channel = seen[0].header("x-splunk-request-channel");
    assert!(channel.is_some());
    assert!(seen.iter().all(|request| request.header("x-splunk-request-channel") == channel && request.connection == 0));
    assert_eq!(seen[2].body, br#"{"acks":[0]}"#);
}

#[tokio::test]
async fn each_stream_has_a_channel_and_a_connection_of_its_own() {
    let receiver = Scripted::start([
        answer(200, "", &success(0)),
        answer(200, "", r#"{"acks":{"0":true}}"#),
        answer(200, "", &success(0)),
        answer(200, "", r#"{"acks":{"0":true}}"#),
    ])
    .await;
    let sink = with_ack(receiver.url.as_str(), TIMEOUT);
    let mut content = Events::new(StreamKind::Content);
    content.push(None, Origin::Live, br#"{"id":"c"}"#);
    assert_eq!(outcome(&sink, &Events::ordinary(1)).await, Ok(Receipt::All));
    assert_eq!(outcome(&sink, &content).await, Ok(Receipt::All));
    let seen = receiver.seen();
    let channel = |n: usize| (seen[n].header("x-splunk-request-channel"), seen[n].connection);
    assert_eq!(channel(0), channel(1));
    assert_eq!(channel(2), channel(3));
    assert_ne!(channel(0).0, channel(2).0);
    assert_ne!(channel(0).1, channel(2).1);
}

fn success(id: u64) -> String {
    format!(r#"{{"text":"Success","code":0,"ackId":{id}}}"#)
}

//! What each of HEC's answers is taken for.

use std::time::Duration;

use miro_siem::{
    config::settings::{Compression, SplunkHecSettings},
    sink::{ErrorClass, Receipt, Sink as _, Verdict},
};
use testbed::{
    faults::{Answer, Fault, RetryAfter, Take},
    hec::{Condition, Edition},
};

use crate::{
    splunk_hec::{receiver, settings, sink_with},
    support::{Events, SHORT, Scripted, TIMEOUT, answer, error, ordinary, outcome},
};

/// What a batch of three events comes to when it is answered so.
async fn check(status: u16, body: &str, expected: Result<Receipt, ErrorClass>) {
    check_answer(Answer::new(status, body), expected).await;
}

async fn check_answer(answer: Answer, expected: Result<Receipt, ErrorClass>) {
    let hec = receiver(|_| ());
    hec.faults().next(1, Fault::answer(answer.clone()));
    let got = sink_with(settings(&hec.url()), TIMEOUT).deliver(Events::ordinary(3).batch()).await;
    // The words of a rejection are looked at elsewhere.
    let got = got.map(without_words);
    assert_eq!(got.clone().map_err(|error| error.class()), expected, "{answer:?} gave {got:?}");
}

fn without_words(receipt: Receipt) -> Receipt {
    match receipt {
        all @ (Receipt::All | Receipt::AllNearlyFull) => all,
        Receipt::Each(verdicts) => Receipt::Each(
            verdicts
                .into_iter()
                .map(|verdict| match verdict {
                    Verdict::Rejected(_) => rejected(),
                    other => other,
                })
                .collect(),
        ),
    }
}

fn rejected() -> Verdict {
    Verdict::Rejected(String::new())
}

fn each(verdicts: [Verdict; 3]) -> Result<Receipt, ErrorClass> {
    Ok(Receipt::Each(verdicts.to_vec()))
}

#[tokio::test]
async fn each_code_is_taken_for_what_it_means() {
    use ErrorClass::{Ambiguous, Auth, Config, Rejected, Retryable, Throttled};
    let table: [(u16, i64, Result<Receipt, ErrorClass>); 28] = [
        (200, 0, Ok(Receipt::All)),
        (403, 1, Err(Auth)),
        (401, 2, Err(Auth)),
        (401, 3, Err(Auth)),
        (403, 4, Err(Auth)),
        (400, 5, Err(Rejected)),
        (400, 6, Err(Rejected)),
        (400, 7, Err(Config)),
        (500, 8, Err(Ambiguous)),
        (503, 9, Err(Retryable)),
        (400, 10, Err(Config)),
        (400, 11, Err(Config)),
        (400, 12, Err(Rejected)),
        (400, 13, Err(Rejected)),
        (400, 14, Err(Config)),
        (400, 15, Err(Rejected)),
        (400, 16, Err(Config)),
        (503, 18, Err(Retryable)),
        (503, 19, Err(Retryable)),
        (503, 20, Err(Retryable)),
        (400, 21, Err(Config)),
        (400, 22, Err(Config)),
        (503, 23, Err(Retryable)),
        (200, 24, Ok(Receipt::AllNearlyFull)),
        (200, 25, Ok(Receipt::AllNearlyFull)),
        (429, 26, Err(Throttled(None))),
        (429, 27, Err(Throttled(None))),
        (400, 28, Err(Config)),
    ];
    for (status, code, expected) in table {
        check(status, &format!(r#"{{"text":"Something","code":{code}}}"#), expected).await;
    }
}

#[tokio::test]
async fn each_status_without_a_code_is_taken_for_what_it_means() {
    use ErrorClass::{Ambiguous, Auth, Config, Retryable, Throttled, TooLarge};
    let page = "<html><body>nginx</body></html>";
    let table: [(u16, ErrorClass); 15] = [
        (302, Config),
        (400, Config),
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
        (599, Ambiguous),
    ];
    for (status, expected) in table {
        check(status, page, Err(expected)).await;
        check(status, "", Err(expected)).await;
    }
    // HEC's own 404 is that of an indexer that restarts.
    check(404, r#"{"text":"The requested URL was not found on this server.","code":404}"#, Err(Retryable)).await;
}

#[tokio::test]
async fn a_200_is_a_success_only_when_it_is_hecs_own() {
    use ErrorClass::Config;
    check(200, r#"{"text":"Success","code":0}"#, Ok(Receipt::All)).await;
    check(200, r#"{"text":"Success"}"#, Ok(Receipt::All)).await;
    check(200, r#"{"text":"Success, but something new","code":29}"#, Ok(Receipt::All)).await;
    check(200, r#"{"text":"Incorrect index","code":7}"#, Err(Config)).await;
    check(200, "", Err(Config)).await;
    check(200, "<html>Please log in</html>", Err(Config)).await;
    check(200, r#"["Success"]"#, Err(Config)).await;
}

#[tokio::test]
async fn the_events_before_the_invalid_one_are_taken_and_those_after_it_are_not() {
    use Verdict::{Accepted, NotTaken};
    for code in [6, 12, 13, 15] {
        let body = |number: usize| format!(r#"{{"text":"Invalid data format","code":{code},"invalid-event-number":{number}}}"#);
        check(400, &body(0), each([rejected(), NotTaken, NotTaken])).await;
        check(400, &body(1), each([Accepted, rejected(), NotTaken])).await;
        check(400, &body(2), each([Accepted, Accepted, rejected()])).await;
        check(400, &body(3), Err(ErrorClass::Ambiguous)).await;
    }
}

#[tokio::test]
async fn the_number_of_an_incorrect_index_names_the_event_after_it() {
    use Verdict::{Accepted, NotTaken};
    let body = |number: usize| format!(r#"{{"text":"Incorrect index","code":7,"invalid-event-number":{number}}}"#);
    check(400, &body(0), Err(ErrorClass::Config)).await;
    check(400, &body(1), Err(ErrorClass::Config)).await;
    check(400, &body(2), each([Accepted, NotTaken, NotTaken])).await;
    check(400, &body(3), each([Accepted, Accepted, NotTaken])).await;
    check(400, &body(4), Err(ErrorClass::Config)).await;
}

/// Sends what is left until nothing is, as the driver does, and returns who was set aside.
async fn deliver_all(url: &str, records: &[String]) -> Vec<(String, String)> {
    let sink = sink_with(settings(url), TIMEOUT);
    let (mut left, mut aside) = (records.to_vec(), Vec::new());
    while !left.is_empty() {
        match sink.deliver(Events::audit(&left).batch()).await.expect("an answer") {
            Receipt::All | Receipt::AllNearlyFull => left.clear(),
            Receipt::Each(verdicts) => {
                let mut next = Vec::new();
                for (record, verdict) in left.into_iter().zip(verdicts) {
                    match verdict {
                        Verdict::Accepted => {}
                        Verdict::Rejected(words) | Verdict::MaybeRejected(words) => aside.push((record, words)),
                        Verdict::NotTaken | Verdict::Unknown(_) => next.push(record),
                        other => panic!("HEC has no such verdict: {other:?}"),
                    }
                }
                left = next;
            }
        }
    }
    aside
}

#[tokio::test]
async fn one_poison_event_anywhere_in_a_batch_is_set_aside_and_every_other_arrives_once() {
    for at in [0, 5, 9] {
        let hec = receiver(|config| config.event_bytes_max = 1_000);
        let mut records: Vec<String> = (0..10).map(ordinary).collect();
        records[at] = format!(r#"{{"id":"event#{at}","state":"{}"}}"#, "x".repeat(1_000));
        let aside = deliver_all(&hec.url(), &records).await;
        assert_eq!(aside.len(), 1, "at {at}");
        assert_eq!(aside[0], (records[at].clone(), "HTTP 400, code 6 (Invalid data format)".to_owned()));
        assert_eq!(hec.ledger().len(), 9);
        assert!(hec.ledger().duplicates().is_empty());
    }
}

#[tokio::test]
async fn an_index_that_the_token_may_not_write_to_is_a_fault_of_configuration_and_keeps_everything() {
    let hec = receiver(|config| config.indexes = vec!["main".to_owned()]);
    let settings = SplunkHecSettings { index: Some("mian".to_owned()), ..settings(&hec.url()) };
    let fault = error(&sink_with(settings, TIMEOUT), &Events::ordinary(3)).await;
    assert_eq!(fault.class(), ErrorClass::Config);
    assert!(fault.to_string().contains("check index"), "{fault}");
    assert_eq!(hec.ledger().len(), 0);
}

#[tokio::test]
async fn splunk_clouds_refusal_of_a_large_body_is_taken_for_too_large() {
    let hec = receiver(|config| config.edition = Edition::Cloud);
    let sink = sink_with(settings(&hec.url()), TIMEOUT);
    let records: Vec<String> = (0..60).map(|n| format!(r#"{{"id":"event#{n}","state":"{}"}}"#, "x".repeat(100_000))).collect();
    assert_eq!(outcome(&sink, &Events::audit(&records)).await, Err(ErrorClass::TooLarge));
    assert_eq!(outcome(&sink, &Events::audit(&records[..30])).await, Ok(Receipt::All));
    assert_eq!(outcome(&sink, &Events::audit(&records[30..])).await, Ok(Receipt::All));
    assert_eq!(hec.ledger().len(), 60);
}

#[tokio::test]
async fn each_fault_of_the_way_is_taken_for_what_it_means() {
    let check = async |fault: Fault, expected: ErrorClass| {
        let hec = receiver(|_| ());
        hec.faults().next(1, fault.clone());
        assert_eq!(outcome(&sink_with(settings(&hec.url()), SHORT), &Events::ordinary(3)).await, Err(expected), "{fault:?}");
    };
    check(Fault::stall(), ErrorClass::Ambiguous).await;
    check(Fault::stall_after_taking(), ErrorClass::Ambiguous).await;
    check(Fault::reset_before_body(), ErrorClass::Ambiguous).await;
    check(Fault::reset_after_taking(), ErrorClass::Ambiguous).await;
    check(Fault::truncate(), ErrorClass::Ambiguous).await;
    let hec = receiver(|_| ());
    let sink = sink_with(settings(&hec.url()), SHORT);
    hec.down().await;
    assert_eq!(outcome(&sink, &Events::ordinary(3)).await, Err(ErrorClass::Retryable));
    hec.up().expect("the port");
    assert_eq!(outcome(&sink, &Events::ordinary(3)).await, Ok(Receipt::All));
    let nowhere = sink_with(settings("http://no-such-host.invalid:8088"), TIMEOUT);
    let fault = error(&nowhere, &Events::ordinary(1)).await;
    assert_eq!(fault.class(), ErrorClass::Retryable);
    assert!(fault.to_string().contains("no-such-host.invalid"), "{fault}");
}

#[tokio::test]
async fn a_refusal_that_comes_before_the_body_is_read_is_heard() {
    let records: Vec<String> = (0..40).map(|n| format!(r#"{{"id":"event#{n}","state":"{}"}}"#, "x".repeat(100_000))).collect();
    let plain = |url: &str| SplunkHecSettings { compression: Compression::None, ..settings(url) };
    for round in 0..20 {
        let hec = receiver(|_| ());
        hec.faults().next(1, Fault { take: Take::Unread, ..Fault::answer(Answer::new(413, "too large")) });
        let sink = sink_with(plain(&hec.url()), TIMEOUT);
        assert_eq!(outcome(&sink, &Events::audit(&records)).await, Err(ErrorClass::TooLarge), "{round}");
    }
}

#[tokio::test]
async fn a_dictated_wait_is_passed_on_in_both_forms_and_capped() {
    let busy = |status, code| Answer::new(status, format!(r#"{{"text":"Busy","code":{code}}}"#));
    let secs = Duration::from_secs;
    for (status, code) in [(429, 26), (503, 9)] {
        let throttled = |wait| Err(ErrorClass::Throttled(Some(wait)));
        check_answer(busy(status, code).retry_after(RetryAfter::Seconds(secs(7))), throttled(secs(7))).await;
        check_answer(busy(status, code).retry_after(RetryAfter::Seconds(secs(1_000_000))), throttled(secs(3600))).await;
        let date = |date: &str, retry_after: &str| {
            answer(status, &format!("date: {date}\r\nretry-after: {retry_after}\r\n"), &busy(status, code).body)
        };
        let (early, late) = ("Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:50:07 GMT");
        let receiver = Scripted::start([date(early, late), date(late, early)]).await;
        let sink = sink_with(settings(receiver.url.as_str()), TIMEOUT);
        assert_eq!(outcome(&sink, &Events::ordinary(3)).await, throttled(secs(30)));
        assert_eq!(outcome(&sink, &Events::ordinary(3)).await, throttled(secs(0)));
    }
    check_answer(busy(429, 26).header("retry-after", "soon"), Err(ErrorClass::Throttled(None))).await;
}

#[tokio::test]
async fn a_receiver_under_pressure_that_takes_events_is_a_success() {
    let hec = receiver(|_| ());
    let sink = sink_with(settings(&hec.url()), TIMEOUT);
    for condition in [Condition::QueueNearCapacity, Condition::AckNearCapacity] {
        hec.service().set_condition(condition);
        assert_eq!(outcome(&sink, &Events::ordinary(3)).await, Ok(Receipt::AllNearlyFull), "{condition:?}");
    }
}

#[tokio::test]
async fn an_endless_answer_is_not_read_to_its_end() {
    let endless = "x".repeat(3 << 20);
    let receiver = Scripted::start([answer(503, "", &endless), answer(200, "", &endless)]).await;
    let sink = sink_with(settings(receiver.url.as_str()), TIMEOUT);
    let fault = error(&sink, &Events::ordinary(1)).await;
    assert_eq!(fault.class(), ErrorClass::Retryable);
    assert!(fault.to_string().chars().count() < 600, "{}", fault.to_string().len());
    assert_eq!(outcome(&sink, &Events::ordinary(1)).await, Err(ErrorClass::Ambiguous));
}

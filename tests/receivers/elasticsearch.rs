//! Elasticsearch: ids, documents, what each item's answer means, and that a batch can be sent again.

use std::time::Duration;

use miro_siem::{
    config::{
        Secret,
        settings::{Compression, ElasticsearchSettings, HttpCredential},
    },
    event::{Origin, StreamKind},
    sink::{ErrorClass, Receipt, Sink as _, Verdict, elasticsearch::ElasticsearchSink},
};
use serde_json::Value;
use testbed::{
    Running,
    elastic::{Elastic, ElasticConfig, ItemFault},
    faults::{Answer, Fault, RetryAfter},
    ledger::Keep,
};

use crate::support::{Events, SHORT, Scripted, TIMEOUT, answer, assert_clean, connection, error, odd, ordinary, outcome};

fn cluster(change: impl FnOnce(&mut ElasticConfig)) -> Running<Elastic> {
    let mut config = ElasticConfig { keep: Keep::Bytes, ..ElasticConfig::default() };
    change(&mut config);
    Elastic::start(config).expect("a cluster")
}

fn settings(url: &str) -> ElasticsearchSettings {
    ElasticsearchSettings {
        url: url.parse().expect("a URL"),
        data_stream: "logs-miro.{stream}-{namespace}".to_owned(),
        namespace: "prod".to_owned(),
        credential: HttpCredential::ApiKey(Secret::literal(ElasticConfig::default().api_key)),
        compression: Compression::Gzip,
    }
}

fn sink_with(settings: ElasticsearchSettings, timeout: Duration) -> ElasticsearchSink {
    ElasticsearchSink::new(settings, &connection(timeout)).expect("a sink")
}

fn sink_for(cluster: &Running<Elastic>) -> ElasticsearchSink {
    sink_with(settings(&cluster.url()), TIMEOUT)
}

#[tokio::test]
async fn every_odd_record_arrives_with_its_time_and_otherwise_byte_for_byte() {
    for compression in [Compression::Gzip, Compression::None] {
        let cluster = cluster(|_| {});
        let records = odd();
        let sink = sink_with(ElasticsearchSettings { compression, ..settings(&cluster.url()) }, TIMEOUT);
        let receipt = outcome(&sink, &Events::audit(&records)).await.expect("an answer");
        let accepted = |index: usize| match &receipt {
            Receipt::All | Receipt::AllNearlyFull => true,
            Receipt::Each(verdicts) => verdicts[index] == Verdict::Accepted,
        };
        for (n, record) in records.iter().enumerate() {
            assert_eq!(accepted(n), reads_back(record), "{record}");
            if !accepted(n) {
                continue;
            }
            let kept = cluster.ledger().kept(&format!("event#{n}")).expect("the event");
            let expected = format!(r#"{{"@timestamp":"1970-01-01T00:00:{:02}Z",{}"#, n + 1, &record[1..]);
            assert_eq!(String::from_utf8(kept.bytes).expect("UTF-8"), expected);
        }
    }
}

/// What the stand-in's parser cannot read, it refuses as a mapping would: half a surrogate pair, and numbers past a float.
fn reads_back(record: &str) -> bool {
    serde_json::from_str::<Value>(record).is_ok()
}

#[tokio::test]
async fn each_stream_has_a_data_stream_and_an_event_one_id_in_it() {
    let cluster = cluster(|_| {});
    let sink = sink_for(&cluster);
    assert_eq!(outcome(&sink, &Events::ordinary(3)).await, Ok(Receipt::All));
    let mut content = Events::new(StreamKind::Content);
    content.push(None, Origin::Live, ordinary(0).as_bytes());
    assert_eq!(outcome(&sink, &content).await, Ok(Receipt::All));
    let expected = [("logs-miro.audit-prod".to_owned(), 3), ("logs-miro.content-prod".to_owned(), 1)];
    assert_eq!(cluster.service().data_streams(), expected);
    let by_org = ElasticsearchSettings { data_stream: "logs-{org}.x-{namespace}".to_owned(), ..settings(&cluster.url()) };
    assert_eq!(outcome(&sink_with(by_org, TIMEOUT), &Events::ordinary(1)).await, Ok(Receipt::All));
    assert!(cluster.service().data_streams().contains(&("logs-acme.x-prod".to_owned(), 1)));
}

#[tokio::test]
async fn what_is_there_already_is_a_success_and_is_there_once() {
    let cluster = cluster(|_| {});
    let sink = sink_for(&cluster);
    let faults =
        [Fault::reset_after_taking(), Fault::half_then(Answer::new(504, "")), Fault::truncate(), Fault::answer(Answer::new(500, ""))];
    for fault in faults {
        cluster.faults().next(1, fault);
        assert_eq!(outcome(&sink, &Events::ordinary(10)).await, Err(ErrorClass::Retryable), "sending again is safe");
    }
    assert_eq!(outcome(&sink, &Events::ordinary(10)).await, Ok(Receipt::All));
    assert_eq!(cluster.ledger().len(), 10);
    assert_eq!(cluster.ledger().totals().repeated, 0);
    assert!(cluster.service().conflicts() >= 10);
}

#[tokio::test]
async fn after_a_rollover_a_repeat_is_a_second_document() {
    let cluster = cluster(|_| {});
    let sink = sink_for(&cluster);
    for _ in 0..2 {
        assert_eq!(outcome(&sink, &Events::ordinary(1)).await, Ok(Receipt::All));
        cluster.service().rollover();
    }
    assert_eq!(cluster.ledger().times_seen("event#0"), 2, "the ids' limit, which the documentation names");
}

#[tokio::test]
async fn a_full_queue_puts_off_that_event_alone() {
    let cluster = cluster(|_| {});
    let sink = sink_for(&cluster);
    cluster.service().order(ItemFault::queue_full("event#1", 1));
    let expected = [Verdict::Accepted, Verdict::NotTaken, Verdict::Accepted].to_vec();
    assert_eq!(outcome(&sink, &Events::ordinary(3)).await, Ok(Receipt::Each(expected)));
    assert_eq!(outcome(&sink, &Events::ordinary(3)).await, Ok(Receipt::All));
    assert_eq!(cluster.ledger().totals().distinct, 3);
    // All of a batch put off is a throttle, with the receiver's words.
    cluster.service().order(ItemFault::queue_full("event#0", 1));
    let fault = error(&sink, &Events::ordinary(1)).await;
    assert_eq!(fault.class(), ErrorClass::Throttled(None));
    assert!(fault.to_string().contains("es_rejected_execution_exception"), "{fault}");
}

#[tokio::test]
async fn an_event_that_does_not_fit_the_mapping_is_refused_alone_and_without_its_content() {
    let cluster = cluster(|config| config.number_fields = vec!["size".to_owned()]);
    let poison = r#"{"id":"event#1","size":"s3cr3t"}"#.to_owned();
    let receipt = outcome(&sink_for(&cluster), &Events::audit([ordinary(0), poison, ordinary(2)])).await.expect("an answer");
    let Receipt::Each(verdicts) = receipt else { panic!("{receipt:?}") };
    let Verdict::Rejected(reason) = &verdicts[1] else { panic!("{verdicts:?}") };
    assert!(reason.starts_with("status 400 (document_parsing_exception: "), "{reason}");
    assert!(reason.contains("[size]") && !reason.contains("s3cr3t"), "{reason}");
    assert_eq!((&verdicts[0], &verdicts[2]), (&Verdict::Accepted, &Verdict::Accepted));
    assert_eq!(cluster.ledger().ids(), ["event#0", "event#2"]);
}

#[tokio::test]
async fn of_a_thousand_events_with_a_bad_one_the_others_are_stored_once() {
    let cluster = cluster(|config| config.number_fields = vec!["size".to_owned()]);
    let poison = |n: usize| if n == 617 { r#"{"id":"event#617","size":"large"}"#.to_owned() } else { ordinary(n) };
    let receipt = outcome(&sink_for(&cluster), &Events::audit((0..1_000).map(poison))).await.expect("an answer");
    let Receipt::Each(verdicts) = receipt else { panic!("{receipt:?}") };
    let refused: Vec<usize> = (0..1_000).filter(|&n| verdicts[n] != Verdict::Accepted).collect();
    assert_eq!(refused, [617]);
    assert!(matches!(verdicts[617], Verdict::Rejected(_)));
    assert_eq!((cluster.ledger().len(), cluster.ledger().totals().repeated), (999, 0));
}

#[tokio::test]
async fn items_that_want_a_privilege_or_an_index_stop_the_sink_and_not_the_event() {
    let check = async |status: u16, kind: &str, expected: Result<Receipt, ErrorClass>| {
        let cluster = cluster(|_| {});
        cluster.service().order(ItemFault { id: "event#0".to_owned(), times: 1, status, kind: kind.to_owned() });
        assert_eq!(outcome(&sink_for(&cluster), &Events::ordinary(1)).await, expected, "{status} {kind}");
    };
    check(403, "security_exception", Err(ErrorClass::Auth)).await;
    check(404, "index_not_found_exception", Err(ErrorClass::Config)).await;
    check(400, "invalid_index_name_exception", Err(ErrorClass::Config)).await;
    check(403, "cluster_block_exception", Err(ErrorClass::Retryable)).await;
    check(400, "index_closed_exception", Err(ErrorClass::Retryable)).await;
    check(503, "unavailable_shards_exception", Err(ErrorClass::Retryable)).await;
    check(409, "version_conflict_engine_exception", Ok(Receipt::All)).await;
}

#[tokio::test]
async fn each_answer_to_the_whole_is_taken_for_what_it_means() {
    use ErrorClass::{Auth, Config, Rejected, Retryable, Throttled, TooLarge};
    let check = async |answer: Answer, expected: ErrorClass| {
        let cluster = cluster(|_| {});
        cluster.faults().next(1, Fault::answer(answer.clone()));
        let sink = sink_with(settings(&cluster.url()), SHORT);
        assert_eq!(outcome(&sink, &Events::ordinary(4)).await, Err(expected), "{answer:?}");
    };
    for (status, class) in [
        (200, Config),
        (302, Config),
        (400, Rejected),
        (401, Auth),
        (403, Auth),
        (404, Config),
        (408, Retryable),
        (413, TooLarge),
        (429, Throttled(None)),
        (500, Retryable),
        (502, Retryable),
        (503, Retryable),
        (504, Retryable),
    ] {
        check(Answer::new(status, ""), class).await;
    }
    check(Answer::new(200, r#"{"items":[]}"#), Config).await;
    check(Answer::new(400, r#"{"error":{"type":"illegal_argument_exception","reason":"x"}}"#), Config).await;
    let wait = Duration::from_secs(9);
    check(Answer::new(429, "").retry_after(RetryAfter::Seconds(wait)), Throttled(Some(wait))).await;
    let cluster = cluster(|_| {});
    cluster.faults().next(1, Fault::stall());
    assert_eq!(outcome(&sink_with(settings(&cluster.url()), SHORT), &Events::ordinary(1)).await, Err(Retryable));
    let elsewhere = ElasticsearchSettings { data_stream: "no-template".to_owned(), ..settings(&cluster.url()) };
    assert_eq!(outcome(&sink_with(elsewhere, TIMEOUT), &Events::ordinary(1)).await, Err(Config));
}

#[tokio::test]
async fn an_answer_that_was_too_long_asks_for_smaller_bulks() {
    let long = format!(r#"{{"items":[{}"#, " ".repeat(2 << 20));
    for (events, class) in [(2, ErrorClass::TooLarge), (1, ErrorClass::Retryable)] {
        let receiver = Scripted::start([answer(200, "", &long)]).await;
        let sink = sink_with(settings(receiver.url.as_str()), TIMEOUT);
        assert_eq!(outcome(&sink, &Events::ordinary(events)).await, Err(class));
    }
}

#[tokio::test]
async fn words_that_are_no_good_text_do_not_hide_the_verdict() {
    let items = r#"{"items":[{"create":{"status":400,"error":{"type":"x","reason":"\ud800"}}},{"create":{"status":201}}]}"#;
    let receiver = Scripted::start([answer(200, "", items)]).await;
    let sink = sink_with(settings(receiver.url.as_str()), TIMEOUT);
    let expected = [Verdict::Rejected("status 400".to_owned()), Verdict::Accepted].to_vec();
    assert_eq!(outcome(&sink, &Events::ordinary(2)).await, Ok(Receipt::Each(expected)));
}

#[tokio::test]
async fn a_probe_asks_who_is_there_and_writes_nothing() {
    let cluster = cluster(|_| {});
    let sink = sink_for(&cluster);
    assert_eq!(sink.probe().await, Ok(()));
    assert!(cluster.ledger().is_empty());
    // A key that may write and nothing else.
    cluster.faults().next(1, Fault::answer(Answer::new(403, "")));
    assert_eq!(sink.probe().await, Ok(()));
    let credential = HttpCredential::Basic { username: "u".to_owned(), password: Secret::literal("p") };
    let stranger = sink_with(ElasticsearchSettings { credential, ..settings(&cluster.url()) }, TIMEOUT);
    assert_eq!(stranger.probe().await.map_err(|error| error.class()), Err(ErrorClass::Auth));
    assert_eq!(outcome(&stranger, &Events::ordinary(1)).await, Err(ErrorClass::Auth));
    cluster.down().await;
    assert_eq!(sink.probe().await.map_err(|error| error.class()), Err(ErrorClass::Retryable));
}

#[tokio::test]
async fn no_key_and_no_event_shows_in_errors_or_debug() {
    let cluster = cluster(|_| {});
    let key = ElasticConfig::default().api_key;
    let secrets = [key.as_str(), "ada.lovelace0@example.com"];
    let sink = sink_with(settings(&cluster.url()), SHORT);
    let echo = serde_json::json!({"error": {"type": "x", "reason": format!("{key} {}", ordinary(0))}}).to_string();
    for status in [302, 400, 401, 403, 404, 413, 429, 500, 503] {
        cluster.faults().next(1, Fault::answer(Answer::new(status, echo.clone())));
        let fault = error(&sink, &Events::ordinary(2)).await;
        assert_clean(&fault, &fault.to_string(), &secrets);
    }
    let item = serde_json::json!({"items": [{"create": {"status": 400, "error": {"type": "x", "reason": ordinary(0)}}}]}).to_string();
    cluster.faults().next(1, Fault::answer(Answer::new(200, item)));
    let receipt = outcome(&sink, &Events::ordinary(1)).await.expect("an answer");
    assert_clean(&receipt, "", &secrets);
    assert_clean(&sink, "", &secrets);
}

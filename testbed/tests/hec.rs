//! The HEC stand-in, by real requests.

mod support;

use std::time::Duration;

use support::{Client, Seen, gzip};
use testbed::{
    Running,
    hec::{Acks, Condition, Edition, Hec, HecConfig, Parsing, QueryTokens},
    ledger::{Digest, Keep},
};

const TOKEN: &str = "token-of-the-test";
const CHANNEL: &str = "fe0ecfad-13d5-401b-847d-77833bd77131";
const SUCCESS: &str = r#"{"text":"Success","code":0}"#;

fn start(config: HecConfig) -> Running<Hec> {
    Hec::start(HecConfig { token: TOKEN.to_owned(), disabled_tokens: vec!["off".to_owned()], ..config }).expect("start")
}

fn acking(acks: Acks) -> HecConfig {
    HecConfig { acks, ..HecConfig::default() }
}

/// One request on a connection of its own; `headers` each ended with CRLF.
async fn request(hec: &Running<Hec>, line: &str, headers: &str, body: &[u8]) -> Seen {
    let head = format!("{line} HTTP/1.1\r\nhost: hec\r\n{headers}");
    Client::plain(hec.addr()).await.send(&head, body).await.expect("an answer")
}

/// An event request with the right token and channel.
async fn post(hec: &Running<Hec>, body: &str) -> Seen {
    post_with(hec, "", body.as_bytes()).await
}

async fn post_with(hec: &Running<Hec>, headers: &str, body: &[u8]) -> Seen {
    let headers = format!("authorization: Splunk {TOKEN}\r\nx-splunk-request-channel: {CHANNEL}\r\n{headers}");
    request(hec, "POST /services/collector/event", &headers, body).await
}

async fn read_acks(hec: &Running<Hec>, channel: &str, ids: &str) -> Seen {
    let headers = format!("authorization: Splunk {TOKEN}\r\nx-splunk-request-channel: {channel}\r\n");
    request(hec, "POST /services/collector/ack", &headers, format!(r#"{{"acks":{ids}}}"#).as_bytes()).await
}

fn event(id: &str) -> String {
    format!(r#"{{"event":{{"id":"{id}"}}}}"#)
}

#[tokio::test]
async fn every_path_of_the_collector_takes_events() {
    let hec = start(HecConfig::default());
    for (n, path) in ["", "/event", "/event/1.0"].into_iter().enumerate() {
        let line = format!("POST /services/collector{path}?x=1");
        let body = event(&format!("a{n}"));
        let seen = request(&hec, &line, &format!("Authorization: Splunk {TOKEN}\r\n"), body.as_bytes()).await;
        seen.is(200, SUCCESS);
    }
    assert_eq!(hec.ledger().ids(), ["a0", "a1", "a2"]);
    assert_eq!(hec.ledger().digest_of("a0"), Some(Digest::of(br#"{"id":"a0"}"#)));
    assert_eq!(request(&hec, "GET /services/collector/event", "", b"").await.status, 405);
    assert_eq!(request(&hec, "POST /services/other", "", b"").await.status, 404);
    let options = request(&hec, "OPTIONS /services/collector", "", b"").await;
    assert_eq!((options.status, options.header("allow")), (200, Some("POST,OPTIONS")));
}

#[tokio::test]
async fn a_token_is_checked_as_splunk_does() {
    let hec = start(HecConfig::default());
    for (headers, status, answer) in [
        ("", 401, r#"{"text":"Token is required","code":2}"#),
        ("authorization: Bearer x\r\n", 401, r#"{"text":"Invalid authorization","code":3}"#),
        ("authorization: Splunk x\r\n", 403, r#"{"text":"Invalid token","code":4}"#),
        ("authorization: Splunk off\r\n", 403, r#"{"text":"Token disabled","code":1}"#),
        ("authorization: Basic eDp0b2tlbi1vZi10aGUtdGVzdA==\r\n", 200, SUCCESS),
    ] {
        request(&hec, "POST /services/collector", headers, event("a").as_bytes()).await.is(status, answer);
    }
    assert_eq!(hec.ledger().times_seen("a"), 1);
}

#[tokio::test]
async fn a_token_in_the_query_is_refused_unless_allowed_and_then_wins() {
    let line = format!("POST /services/collector?token={TOKEN}");
    let wrong = "authorization: Splunk x\r\n";
    let strict = start(HecConfig::default());
    let refused = r#"{"text":"Query string authorization is not enabled","code":16}"#;
    request(&strict, &line, wrong, event("a").as_bytes()).await.is(400, refused);
    let open = start(HecConfig { query_tokens: QueryTokens::Allowed, ..HecConfig::default() });
    request(&open, &line, wrong, event("a").as_bytes()).await.is(200, SUCCESS);
}

#[tokio::test]
async fn an_acknowledging_token_wants_a_channel() {
    let auth = format!("authorization: Splunk {TOKEN}\r\n");
    let hec = start(acking(Acks::at_once()));
    let cloud = start(HecConfig { edition: Edition::Cloud, ..acking(Acks::at_once()) });
    for path in ["/services/collector/event", "/services/collector/ack"] {
        let line = format!("POST {path}");
        request(&hec, &line, &auth, b"{}").await.is(400, r#"{"text":"Data channel is missing","code":10}"#);
        request(&cloud, &line, &auth, b"{}").await.is(400, r#"{"text":"Data channel is missing","code":28}"#);
        let line = format!("POST {path}?channel=x");
        request(&hec, &line, &auth, b"{}").await.is(400, r#"{"text":"Invalid data channel","code":11}"#);
    }
    let line = format!("POST /services/collector?channel={CHANNEL}");
    let taken = request(&hec, &line, &auth, event("a").as_bytes()).await;
    taken.is(200, r#"{"text":"Success","code":0,"ackId":0}"#);
}

#[tokio::test]
async fn acks_count_per_channel_and_are_true_once() {
    let hec = start(acking(Acks::at_once()));
    for (n, id) in ["a", "b"].into_iter().enumerate() {
        post(&hec, &event(id)).await.is(200, &format!(r#"{{"text":"Success","code":0,"ackId":{n}}}"#));
    }
    let other = "00000000-0000-0000-0000-000000000000";
    read_acks(&hec, other, "[0]").await.is(200, r#"{"acks":{"0":false}}"#);
    read_acks(&hec, CHANNEL, "[0,5]").await.is(200, r#"{"acks":{"0":true,"5":false}}"#);
    read_acks(&hec, CHANNEL, "[0,1]").await.is(200, r#"{"acks":{"0":false,"1":true}}"#);
    read_acks(&hec, CHANNEL, "[]").await.is(200, r#"{"acks":{}}"#);
    let off = start(HecConfig::default());
    read_acks(&off, CHANNEL, "[0]").await.is(400, r#"{"text":"ACK is disabled","code":14}"#);
}

#[tokio::test]
async fn an_ack_takes_its_delay_and_a_forgotten_channel_never_acks() {
    let hec = start(acking(Acks::after(Duration::from_millis(1000))));
    post(&hec, &event("a")).await;
    read_acks(&hec, CHANNEL, "[0]").await.is(200, r#"{"acks":{"0":false}}"#);
    tokio::time::sleep(Duration::from_millis(1050)).await;
    read_acks(&hec, CHANNEL, "[0]").await.is(200, r#"{"acks":{"0":true}}"#);
    hec.service().set_ack_delay(Duration::ZERO);
    post(&hec, &event("b")).await.is(200, r#"{"text":"Success","code":0,"ackId":1}"#);
    hec.service().forget_channels();
    read_acks(&hec, CHANNEL, "[1]").await.is(200, r#"{"acks":{"1":false}}"#);
    post(&hec, &event("b")).await.is(200, r#"{"text":"Success","code":0,"ackId":0}"#);
}

#[tokio::test]
async fn an_idle_channel_expires() {
    let acks = Acks::On { delay: Duration::ZERO, idle_max: Duration::from_millis(1000), pending_max: 1 };
    let hec = start(acking(acks));
    post(&hec, &event("a")).await;
    post(&hec, &event("b")).await.is(429, r#"{"text":"Ack channel is at capacity","code":27}"#);
    tokio::time::sleep(Duration::from_millis(1050)).await;
    read_acks(&hec, CHANNEL, "[0]").await.is(200, r#"{"acks":{"0":false}}"#);
    assert_eq!(hec.ledger().ids(), ["a"], "a refused request is not taken");
}

#[tokio::test]
async fn a_bad_object_stops_the_batch_after_its_prefix_is_indexed() {
    let hec = start(acking(Acks::at_once()));
    let body = format!("{}{}{{\"time\":1}}{}", event("a"), event("b"), event("c"));
    let answer = r#"{"text":"Event field is required","code":12,"invalid-event-number":2,"ackId":0}"#;
    post(&hec, &body).await.is(400, answer);
    assert_eq!(hec.ledger().ids(), ["a", "b"]);
    let first = r#"{"text":"Invalid data format","code":6,"invalid-event-number":0}"#;
    post(&hec, "nonsense").await.is(400, first);
    post(&hec, "").await.is(400, r#"{"text":"No data","code":5}"#);
}

#[tokio::test]
async fn a_resent_batch_is_indexed_twice() {
    let hec = start(HecConfig::default());
    for _ in 0..2 {
        post(&hec, &format!("{}\n{}", event("a"), event("b"))).await.is(200, SUCCESS);
    }
    assert_eq!(hec.ledger().len(), 2);
    assert_eq!(hec.ledger().duplicates().len(), 2);
    assert_eq!(hec.ledger().counts().events, 4);
}

#[tokio::test]
async fn gzip_is_taken_and_deflate_is_refused() {
    let hec = start(HecConfig { keep: Keep::Bytes, ..HecConfig::default() });
    let body = r#"{"time":1.25,"event":{"id":"a"},"host":"h"}"#;
    post_with(&hec, "content-encoding: gzip\r\n", &gzip(body.as_bytes())).await.is(200, SUCCESS);
    let kept = hec.ledger().kept("a").expect("kept");
    assert_eq!((kept.bytes.as_slice(), kept.context.as_slice()), (&br#"{"id":"a"}"#[..], body.as_bytes()));
    assert_eq!(post_with(&hec, "content-encoding: deflate\r\n", b"x").await.status, 415);
    assert_eq!(post_with(&hec, "content-encoding: gzip\r\n", b"not gzip").await.status, 400);
    let counts = hec.ledger().counts();
    assert_eq!(counts.plain_bytes, body.len() as u64);
    assert!(counts.gzip_bytes > 0 && counts.gzip_bytes < counts.body_bytes, "{counts:?}");
}

#[tokio::test]
async fn splunk_cloud_blames_object_0_for_a_large_body() {
    let filler = " ".repeat(5 << 20);
    let cloud = start(HecConfig { edition: Edition::Cloud, ..HecConfig::default() });
    let answer = r#"{"text":"Invalid data format","code":6,"invalid-event-number":0}"#;
    post(&cloud, &format!("{}{filler}", event("a"))).await.is(400, answer);
    assert!(cloud.ledger().is_empty());
    let enterprise = start(HecConfig { body_bytes_max: 6 << 20, ..HecConfig::default() });
    post(&enterprise, &format!("{}{filler}", event("a"))).await.is(200, SUCCESS);
    assert_eq!(post(&enterprise, &" ".repeat((6 << 20) + 1)).await.status, 413);
}

#[tokio::test]
async fn conditions_refuse_or_warn_and_show_in_the_health_check() {
    let hec = start(HecConfig::default());
    for (condition, status, code, taken, health) in [
        (Condition::QueueNearCapacity, 200, 24, 1, 17),
        (Condition::AckNearCapacity, 200, 25, 1, 17),
        (Condition::QueueAtCapacity, 429, 26, 0, 18),
        (Condition::AckAtCapacity, 429, 27, 0, 19),
        (Condition::Busy, 503, 9, 0, 18),
        (Condition::AckUnavailable, 503, 19, 0, 19),
        (Condition::BusyAckUnavailable, 503, 20, 0, 20),
        (Condition::ShuttingDown, 503, 23, 0, 23),
        (Condition::RollingRestart, 404, 404, 0, 404),
        (Condition::Healthy, 200, 0, 1, 17),
    ] {
        hec.service().set_condition(condition);
        let id = format!("{condition:?}");
        let seen = post(&hec, &event(&id)).await;
        assert_eq!((seen.status, seen.json()["code"].as_i64()), (status, Some(code)), "{condition:?}");
        assert_eq!(hec.ledger().times_seen(&id), taken, "{condition:?}");
        let seen = request(&hec, "GET /services/collector/health/1.0", "", b"").await;
        assert_eq!(seen.json()["code"], health, "{condition:?}");
    }
}

#[tokio::test]
async fn counting_lines_acks_at_once_and_files_nothing() {
    let hec = start(HecConfig { parsing: Parsing::CountLines, ..acking(Acks::at_once()) });
    post(&hec, "x\ny\nz").await.is(200, r#"{"text":"Success","code":0,"ackId":0}"#);
    post_with(&hec, "content-encoding: gzip\r\n", &gzip(b"x\ny\n")).await;
    read_acks(&hec, CHANNEL, "[0,1]").await.is(200, r#"{"acks":{"0":true,"1":true}}"#);
    assert_eq!((hec.ledger().counts().events, hec.ledger().len()), (5, 0));
}

//! The Sumo stand-in, by real requests.

mod support;

use support::{Client, Seen, gzip};
use testbed::{
    Running,
    ledger::Digest,
    sumo::{Metadata, Sumo, SumoConfig, budget_exhausted, quota_exceeded, timed_out_halfway},
};

async fn post(sumo: &Running<Sumo>, path: &str, headers: &str, body: &[u8]) -> Seen {
    let head = format!("POST {path} HTTP/1.1\r\nhost: sumo\r\n{headers}");
    Client::plain(sumo.addr()).await.send(&head, body).await.expect("an answer")
}

fn start() -> (Running<Sumo>, String) {
    let sumo = Sumo::start(SumoConfig::default()).expect("start");
    let path = sumo.service().path();
    (sumo, path)
}

#[tokio::test]
async fn each_line_is_an_event_and_its_exact_bytes_are_filed() {
    let (sumo, path) = start();
    let first = r#"{"id":"a", "n":1.0}"#;
    let body = format!("{first}\n\n{{\"id\":\"b\"}}\r\nno json");
    post(&sumo, &path, "", body.as_bytes()).await.is(200, "");
    let no_json = Digest::of(b"no json");
    assert_eq!(sumo.ledger().ids(), ["a", "b", &no_json.to_string()]);
    assert_eq!(sumo.ledger().digest_of("a"), Some(Digest::of(first.as_bytes())));
    assert_eq!(sumo.ledger().digest_of("b"), Some(Digest::of(br#"{"id":"b"}"#)));
}

#[tokio::test]
async fn headers_are_remembered_and_gzip_is_taken() {
    let (sumo, path) = start();
    let headers = "X-Sumo-Category: miro\r\nx-sumo-name: n\r\nx-sumo-host: h\r\nx-sumo-fields: a=1,b=2\r\n\
                   content-type: application/x-ndjson\r\ncontent-encoding: gzip\r\n";
    post(&sumo, &path, headers, &gzip(br#"{"id":"a"}"#)).await.is(200, "");
    let some = |text: &str| Some(text.to_owned());
    let expected = Metadata {
        name: some("n"),
        host: some("h"),
        category: some("miro"),
        fields: some("a=1,b=2"),
        content_type: some("application/x-ndjson"),
        content_encoding: some("gzip"),
    };
    assert_eq!(sumo.service().metadata(), [expected]);
    assert_eq!(sumo.ledger().times_seen("a"), 1);
    assert_eq!(post(&sumo, &path, "content-encoding: br\r\n", b"x").await.status, 415);
}

#[tokio::test]
async fn a_wrong_secret_is_a_401() {
    let (sumo, path) = start();
    assert_eq!(post(&sumo, &format!("{path}x"), "", b"{}").await.status, 401);
    assert_eq!(post(&sumo, "/elsewhere", "", b"{}").await.status, 404);
    assert!(sumo.ledger().is_empty());
}

#[tokio::test]
async fn a_time_out_keeps_half_a_quota_nothing_and_a_budget_lies() {
    let (sumo, path) = start();
    let body = b"{\"id\":\"a\"}\n{\"id\":\"b\"}\n{\"id\":\"c\"}\n";
    sumo.faults().next(1, timed_out_halfway());
    sumo.faults().next(1, quota_exceeded(None));
    sumo.faults().next(1, budget_exhausted());
    for (status, ids) in [(408, vec!["a"]), (429, vec!["a"]), (200, vec!["a"]), (200, vec!["a", "b", "c"])] {
        assert_eq!(post(&sumo, &path, "", body).await.status, status);
        assert_eq!(sumo.ledger().ids(), ids);
    }
    assert_eq!(sumo.ledger().times_seen("a"), 2);
}

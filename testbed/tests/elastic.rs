//! The Elasticsearch stand-in, by real requests.

mod support;

use support::{Client, Seen, gzip};
use testbed::{
    Running,
    elastic::{Elastic, ElasticConfig, ItemFault},
};

const PATH: &str = "/logs-x-y/_bulk";
const ONE: &str = "{\"create\":{\"_id\":\"1\"}}\n{\"id\":\"a\",\"@timestamp\":\"2026-01-31T00:00:00Z\"}\n";

fn start() -> Running<Elastic> {
    Elastic::start(ElasticConfig { number_fields: vec!["n".to_owned()], ..ElasticConfig::default() }).expect("start")
}

async fn post(elastic: &Running<Elastic>, path: &str, headers: &str, body: &[u8]) -> Seen {
    let key = ElasticConfig::default().api_key;
    let head =
        format!("POST {path} HTTP/1.1\r\nhost: elastic\r\nauthorization: ApiKey {key}\r\ncontent-type: application/x-ndjson\r\n{headers}");
    Client::plain(elastic.addr()).await.send(&head, body).await.expect("an answer")
}

#[tokio::test]
async fn an_id_is_taken_once_until_a_rollover() {
    let elastic = start();
    for (status, seen) in [(201, 1), (409, 1)] {
        let path = format!("{PATH}?filter_path=items.*.status");
        post(&elastic, &path, "", ONE.as_bytes()).await.is(200, &format!(r#"{{"items":[{{"create":{{"status":{status}}}}}]}}"#));
        assert_eq!(elastic.ledger().times_seen("a"), seen);
    }
    elastic.service().rollover();
    assert_eq!(post(&elastic, PATH, "content-encoding: gzip\r\n", &gzip(ONE.as_bytes())).await.status, 200);
    assert_eq!((elastic.ledger().times_seen("a"), elastic.service().conflicts()), (2, 1));
}

#[tokio::test]
async fn items_fail_by_themselves_under_a_200() {
    let elastic = start();
    elastic.service().order(ItemFault::queue_full("a", 1));
    let misfit = "{\"create\":{\"_id\":\"2\"}}\n{\"id\":\"b\",\"@timestamp\":\"2026-01-31T00:00:00Z\",\"n\":\"x\"}\n";
    let timeless = "{\"create\":{\"_id\":\"3\"}}\n{\"id\":\"c\"}\n";
    let index = "{\"index\":{\"_id\":\"4\"}}\n{\"id\":\"d\",\"@timestamp\":\"2026-01-31T00:00:00Z\"}\n";
    let path = format!("{PATH}?filter_path=items.*.error.type");
    let expected =
        ["es_rejected_execution_exception", "document_parsing_exception", "document_parsing_exception", "illegal_argument_exception"]
            .map(|kind| format!(r#"{{"create":{{"error":{{"type":"{kind}"}}}}}}"#))
            .join(",");
    post(&elastic, &path, "", format!("{ONE}{misfit}{timeless}{index}").as_bytes()).await.is(200, &format!(r#"{{"items":[{expected}]}}"#));
    assert!(elastic.ledger().is_empty());
}

#[tokio::test]
async fn what_is_no_bulk_is_refused_as_a_whole() {
    let elastic = start();
    for (path, body, status) in
        [(PATH, ONE.trim_end(), 400), (PATH, "{\"create\":{\"_id\":\"1\"}}\n", 400), ("/plain/_bulk", ONE, 404), ("/elsewhere", ONE, 404)]
    {
        assert_eq!(post(&elastic, path, "", body.as_bytes()).await.status, status, "{path}");
    }
    let head = format!("POST {PATH} HTTP/1.1\r\nhost: elastic\r\nauthorization: ApiKey other\r\n");
    let seen = Client::plain(elastic.addr()).await.send(&head, ONE.as_bytes()).await.expect("an answer");
    assert_eq!(seen.status, 401);
    assert!(elastic.ledger().is_empty());
}

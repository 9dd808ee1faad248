//! The OTLP stand-in, by real requests.

mod support;

use opentelemetry_proto::tonic::{
    collector::logs::v1::{ExportLogsPartialSuccess, ExportLogsServiceRequest, ExportLogsServiceResponse},
    common::v1::{AnyValue, KeyValue, any_value::Value},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
};
use prost::Message as _;
use support::{Client, Seen, gzip};
use testbed::{
    Running,
    ledger::Keep,
    otlp::{Otlp, OtlpConfig},
};

const JSON: &str = r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[
    {"timeUnixNano":"1700000000000000001","severityNumber":9,"body":{"stringValue":"{\"id\":\"a\"}"},"traceId":"0af7651916cd43dd8448eb211c80319c"},
    {"body":{"stringValue":"poison"},"attributes":[{"key":"log.record.uid","value":{"stringValue":"b"}}]}]}]}]}"#;

fn start() -> Running<Otlp> {
    Otlp::start(OtlpConfig { bearer_token: Some("t".to_owned()), keep: Keep::Bytes, ..OtlpConfig::default() }).expect("start")
}

async fn post(otlp: &Running<Otlp>, headers: &str, body: &[u8]) -> Seen {
    let head = format!("POST /v1/logs HTTP/1.1\r\nhost: collector\r\nauthorization: Bearer t\r\n{headers}");
    Client::plain(otlp.addr()).await.send(&head, body).await.expect("an answer")
}

fn protobuf() -> ExportLogsServiceRequest {
    let text = |text: &str| Some(AnyValue { value: Some(Value::StringValue(text.to_owned())) });
    let uid = |uid| vec![KeyValue { key: "log.record.uid".to_owned(), value: text(uid), ..KeyValue::default() }];
    let record = |body, id| LogRecord { body: text(body), attributes: uid(id), ..LogRecord::default() };
    let log_records = vec![record("x", "a"), record("poison", "b")];
    let scope_logs = vec![ScopeLogs { log_records, ..ScopeLogs::default() }];
    ExportLogsServiceRequest { resource_logs: vec![ResourceLogs { scope_logs, ..ResourceLogs::default() }] }
}

#[tokio::test]
async fn what_is_rejected_is_counted_and_not_named_and_the_rest_is_in() {
    let otlp = start();
    otlp.service().reject_records_with(Some(b"poison"));
    let answer = post(&otlp, "content-type: application/json\r\n", JSON.as_bytes()).await;
    answer.is(200, r#"{"partialSuccess":{"errorMessage":"some log records are not valid","rejectedLogRecords":"1"}}"#);
    let answer =
        post(&otlp, "content-type: application/x-protobuf\r\ncontent-encoding: gzip\r\n", &gzip(&protobuf().encode_to_vec())).await;
    let response = ExportLogsServiceResponse::decode(answer.body.as_slice()).expect("an answer in protobuf");
    let expected = ExportLogsPartialSuccess { rejected_log_records: 1, error_message: "some log records are not valid".to_owned() };
    assert_eq!(response.partial_success, Some(expected));
    assert_eq!((otlp.ledger().ids(), otlp.ledger().times_seen("a")), (vec!["a".to_owned()], 2));
    let first = &otlp.service().received()[0].request.resource_logs[0].scope_logs[0].log_records[0];
    assert_eq!((first.time_unix_nano, first.trace_id.len()), (1_700_000_000_000_000_001, 16), "trace ids are hex in JSON, times are texts");
}

#[tokio::test]
async fn a_success_says_nothing_and_a_warning_rejects_nothing() {
    let otlp = start();
    post(&otlp, "content-type: application/json\r\n", b"{}").await.is(200, "{}");
    let answer = post(&otlp, "content-type: application/x-protobuf\r\n", &protobuf().encode_to_vec()).await;
    assert_eq!((answer.status, answer.body.len()), (200, 0));
    otlp.service().warn(Some("use another port"));
    let expected = r#"{"partialSuccess":{"errorMessage":"use another port","rejectedLogRecords":"0"}}"#;
    post(&otlp, "content-type: application/json\r\n", b"{}").await.is(200, expected);
}

#[tokio::test]
async fn refusals_are_statuses_in_the_encoding_of_the_request() {
    let otlp = Otlp::start(OtlpConfig { body_bytes_max: 200, bearer_token: Some("t".to_owned()), ..OtlpConfig::default() }).expect("start");
    post(&otlp, "content-type: application/json\r\n", JSON.as_bytes())
        .await
        .is(400, r#"{"code":3,"message":"http: request body too large"}"#);
    assert_eq!(post(&otlp, "content-type: application/json\r\n", b"[").await.status, 400);
    assert_eq!(post(&otlp, "content-type: application/x-protobuf\r\n", b"\xff\xff").await.status, 400);
    assert_eq!(post(&otlp, "content-type: text/plain\r\n", b"x").await.status, 415);
    let head = "POST /v1/logs HTTP/1.1\r\nhost: collector\r\ncontent-type: application/json\r\n";
    let answer = Client::plain(otlp.addr()).await.send(head, b"{}").await.expect("an answer");
    answer.is(401, r#"{"code":16,"message":"authentication didn't succeed"}"#);
    let head = "POST /v1/traces HTTP/1.1\r\nhost: collector\r\ncontent-type: application/json\r\n";
    assert_eq!(Client::plain(otlp.addr()).await.send(head, b"{}").await.expect("an answer").status, 404);
}

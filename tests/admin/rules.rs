//! Who gets what: a request in, an answer out.

use std::os::unix::fs::PermissionsExt;

use super::support::{Endpoint, Reply, TOKEN, exchange, request};

const JSON: &str = "content-type: application/json\r\n";
const BACKFILL: &str = r#"{"org":"acme","stream":"audit","from":"2026-11-01T00:00:00Z"}"#;

fn host(name: &str) -> String {
    format!("host: {name}\r\n")
}

fn auth(token: &str) -> String {
    format!("authorization: Bearer {token}\r\n")
}

#[track_caller]
fn expect(reply: &Reply, status: u16, words: &str) {
    assert_eq!(reply.status, status, "{}", reply.text);
    assert!(reply.text.contains(words), "{words:?} is not in {}", reply.text);
}

/// The endpoint, method, path, headers and body of a request; the status and words of its answer.
type Row<'a> = (&'a Endpoint, &'a str, &'a str, &'a [&'a str], &'a str, u16, &'a str);

#[tokio::test]
async fn over_tcp_each_request_gets_what_the_rules_say() {
    let (open, closed) = (Endpoint::start(None).await, Endpoint::start(Some(TOKEN)).await);
    let (local, own, wrong) = (host("localhost"), auth(TOKEN), auth("wrong"));
    let rows: &[Row<'_>] = &[
        (&open, "GET", "/healthz", &[&local], "", 200, "ok"),
        (&open, "GET", "/api/v1/status", &[&local], "", 200, "\"pid\":7"),
        (&open, "GET", "/api/v1/log-level", &[&local], "", 200, "info"),
        (&open, "GET", "/healthz", &[&host("evil.example")], "", 421, "admin.hosts"),
        (&open, "GET", "/healthz", &[&host("siem.example.com:9494")], "", 200, "ok"),
        (&open, "GET", "/healthz", &[], "", 400, "Host"),
        (&open, "GET", "http://evil.example/healthz", &[&local], "", 400, "two hosts"),
        (&open, "GET", "/healthz", &[&local, "origin: https://evil.example\r\n"], "", 403, "another origin"),
        (&open, "OPTIONS", "/api/v1/backfills", &[&local, "origin: https://evil.example\r\n"], "", 403, "another origin"),
        (&open, "POST", "/api/v1/backfills", &[&local, JSON], BACKFILL, 403, "admin.token"),
        (&open, "DELETE", "/api/v1/backfills/b-1", &[&local], "", 403, "admin.sock"),
        (&open, "POST", "/api/v1/log-level", &[&local, JSON], r#"{"directives":"debug"}"#, 403, "admin.token"),
        (&open, "GET", "/api/v1/events", &[&local], "", 403, "admin.token"),
        (&open, "GET", "/nothing", &[&local], "", 404, "nothing here"),
        (&closed, "GET", "/healthz", &[&local], "", 401, "Bearer"),
        (&closed, "GET", "/nothing", &[&local], "", 401, "Bearer"),
        (&closed, "GET", "/metrics", &[&local, &wrong], "", 401, "Bearer"),
        (&closed, "GET", "/metrics", &[&local, &own], "", 200, "text/plain"),
        (&closed, "POST", "/api/v1/backfills", &[&local, &own, JSON], BACKFILL, 201, "\"id\":\"b-1\""),
        (&closed, "POST", "/api/v1/backfills", &[&local, &own, "content-type: text/plain\r\n"], BACKFILL, 415, "application/json"),
        (&closed, "POST", "/api/v1/backfills", &[&local, &own, JSON, "origin: null\r\n"], BACKFILL, 403, "another origin"),
        (&closed, "POST", "/api/v1/backfills", &[&local, &own, JSON, "sec-fetch-site: cross-site\r\n"], BACKFILL, 403, "another origin"),
        (&closed, "POST", "/api/v1/backfills", &[&local, &own, JSON], "{", 400, "error"),
        (&closed, "POST", "/api/v1/backfills", &[&local, &own, JSON], r#"{"org":"acme","stream":"audit","from":"soon"}"#, 400, "from is"),
        (
            &closed,
            "POST",
            "/api/v1/backfills",
            &[&local, &own, JSON],
            r#"{"org":"acme","stream":"a","from":"x"}"#,
            404,
            "audit, content and ai",
        ),
        (&closed, "DELETE", "/api/v1/backfills/b-9", &[&local, &own], "", 404, "b-9"),
        (&closed, "POST", "/api/v1/log-level", &[&local, &own, JSON], r#"{"directives":"loud"}"#, 400, "no such level"),
        (&closed, "DELETE", "/api/v1/log-level", &[&local, &own], "", 200, "started_with"),
    ];
    for (endpoint, method, path, headers, body, status, words) in rows {
        let sent = request(method, path, &headers.concat(), body);
        let reply = exchange(endpoint.tcp().await, &sent).await;
        expect(&reply, *status, words);
        assert!(!reply.text.to_ascii_lowercase().contains("access-control"), "no answer invites another origin: {}", reply.text);
        assert!(reply.text.contains("cache-control: no-store") && reply.text.contains("nosniff"), "{}", reply.text);
    }
    assert_eq!(open.steered.take(), Vec::<String>::new(), "nothing refused has reached anything");
    let reached = closed.steered.take();
    assert_eq!(reached, ["backfill acme/audit from 2026-11-01T00:00:00Z", "cancel b-9", "log loud", "log reset"]);
}

#[tokio::test]
async fn over_the_socket_changes_and_events_need_no_token() {
    for endpoint in [Endpoint::start(None).await, Endpoint::start(Some(TOKEN)).await] {
        let socket = &endpoint.socket;
        let mode = std::fs::metadata(socket).expect("the socket is there").permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
        // Programs name any host there; no browser can connect.
        let reply = exchange(endpoint.unix().await, &request("POST", "/api/v1/backfills", &(host("x") + JSON), BACKFILL)).await;
        expect(&reply, 201, "b-1");
        let reply = exchange(endpoint.unix().await, &request("POST", "/api/v1/backfills", &host("x"), BACKFILL)).await;
        expect(&reply, 415, "application/json");
        let reply = exchange(endpoint.unix().await, &request("DELETE", "/api/v1/log-level", &host("x"), "")).await;
        expect(&reply, 200, "info");
        assert_eq!(endpoint.steered.take(), ["backfill acme/audit from 2026-11-01T00:00:00Z", "log reset"]);
        endpoint.stop.cancel();
        endpoint.serving.await.expect("it ends");
        assert!(!socket.exists(), "the socket goes with its process");
    }
}

#[tokio::test]
async fn a_tail_ends_with_its_reason_and_its_reader_lets_go_of_it() {
    use miro_siem::admin::control::Tailed;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let endpoint = Endpoint::start(None).await;
    let mut stream = endpoint.unix().await;
    let sent = request("GET", "/api/v1/events?event=board_*", &host("x"), "");
    stream.write_all(sent.as_bytes()).await.expect("sent");
    let mut seen = String::new();
    while !seen.contains("board_opened") {
        let mut part = [0; 1024];
        let length = stream.read(&mut part).await.expect("it goes on");
        seen.push_str(&String::from_utf8_lossy(&part[..length]));
    }
    assert!(seen.contains("application/x-ndjson"), "{seen}");
    assert_eq!(endpoint.steered.take(), ["tail Some(\"board_*\")"]);
    let sender = endpoint.steered.tails.lock().expect("no panic").remove(0);
    sender.try_send(Tailed::End("too slow".to_owned())).expect("there is room");
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.expect("it ends");
    assert!(rest.contains("{\"_miro_siem_end\":\"too slow\"}"), "{rest}");

    let mut gone = endpoint.unix().await;
    gone.write_all(sent.as_bytes()).await.expect("sent");
    gone.read_u8().await.expect("an answer");
    let sender = endpoint.steered.tails.lock().expect("no panic").remove(0);
    drop(gone);
    sender.closed().await;
}

#[tokio::test]
async fn an_unknown_query_is_refused_in_words() {
    let endpoint = Endpoint::start(None).await;
    for query in ["since=yesterday", "strem=audit"] {
        let reply = exchange(endpoint.unix().await, &request("GET", &format!("/api/v1/events?{query}"), &host("x"), "")).await;
        assert_eq!(reply.status, 400, "{}", reply.text);
    }
    assert_eq!(endpoint.steered.take(), Vec::<String>::new());
}

#[tokio::test]
async fn every_documented_route_is_there_and_asks_what_the_page_says() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/admin.md")).expect("the page is there");
    let endpoint = Endpoint::start(None).await;
    let mut count = 0;
    for row in page.lines().filter_map(|line| line.strip_prefix("| `")) {
        let Some((request_line, rest)) = row.split_once("` | ") else { continue };
        let (method, path) = request_line.split_once(' ').expect("a method and a path");
        let needs_token = rest.starts_with("changers");
        count += 1;
        let body = if method == "POST" { "{}" } else { "" };
        let sent = request(method, &path.replace("ID", "b-1"), &(host("localhost") + JSON), body);
        let over_tcp = exchange(endpoint.tcp().await, &sent).await;
        assert_eq!(over_tcp.status == 403, needs_token, "{row}: {}", over_tcp.text);
        if path != "/api/v1/events" {
            let over_socket = exchange(endpoint.unix().await, &sent).await;
            assert!(!matches!(over_socket.status, 403 | 405) && !over_socket.text.contains("nothing here"), "{row}: {}", over_socket.text);
        }
    }
    assert!(count >= 13, "{count} routes are documented");
}

#[test]
fn every_route_is_documented() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/admin.md")).expect("the page is there");
    let mut count = 0;
    for file in std::fs::read_dir(root.join("src/admin")).expect("the module is there") {
        let path = file.expect("an entry").path();
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        for route in text.split(".route(\"").skip(1).filter_map(|rest| rest.split('"').next()) {
            count += 1;
            let row = format!(" {}` |", route.replace("{id}", "ID"));
            assert!(page.contains(&row), "{route} of {} is not in docs/admin.md", path.display());
        }
    }
    assert!(count >= 12, "{count} routes were found");
}

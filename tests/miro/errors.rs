//! Every way in which Miro can refuse: its class, its sentence, and that the sentence tells the causes apart.

use std::{collections::HashMap, sync::Mutex, time::Duration};

use miro_siem::miro::{Cursor, LogKind, MiroClass, MiroError, OrgId, PageRequest, Pages, Priority};

use crate::{
    client::{TOKEN, client, client_with, connection, first_page, static_token, window},
    server::{Reply, Server, Step, json, reply},
};

const CURSOR: &str = "2023-09-01T09:30:10.840687Z#1234567890123456789-DDB";

struct Case {
    kind: LogKind,
    limit: u32,
    cursor: Option<&'static str>,
    answer: Reply,
}

fn case(kind: LogKind, answer: Reply) -> Case {
    Case { kind, limit: 500, cursor: None, answer }
}

fn refusal(status: u16, code: &str, message: &str) -> Reply {
    let body = format!(r#"{{"type":"error","status":{status},"code":"{code}","message":"{message}","context":null}}"#);
    reply(status, "Content-Type: application/json\r\n", body)
}

async fn error_of(case: Case) -> MiroError {
    let answer = case.answer.clone();
    let server = Server::start(move |_| answer.clone()).await;
    let cursor = case.cursor.map(Cursor::new);
    let client = client(&server, case.kind);
    let error = client
        .page(PageRequest { window: window(), cursor: cursor.as_ref(), limit: case.limit, priority: Priority::Live })
        .await
        .expect_err("no page");
    assert_clean(&error);
    error
}

/// What no error may hold: the token, the cursor, the query.
#[track_caller]
fn assert_clean(error: &MiroError) {
    for text in [error.to_string(), format!("{error:?}")] {
        for secret in [TOKEN, CURSOR, "eyJtaXJv", "createdAfter=", "2026-01-31T09:", "from=", "\n", "\u{1b}"] {
            assert!(!text.contains(secret), "{secret:?} in: {text}");
        }
    }
}

#[track_caller]
fn check(error: &MiroError, class: MiroClass, label: &str, words: &[&str]) {
    assert_eq!((error.class(), error.label()), (class, label), "{error}");
    for word in words {
        assert!(error.to_string().contains(word), "no {word:?} in: {error}");
    }
}

#[tokio::test]
async fn each_status_has_its_class_and_its_sentence() {
    use LogKind::{Ai, Audit, Content};
    use MiroClass::{Auth, BadRequest, Config, CursorRejected, NotFound, PageSizeRejected, Permission, Retryable, Throttled};
    let later = |limit, answer| Case { kind: Audit, limit, cursor: Some(CURSOR), answer };
    let limit_named = r#"{"type":"error","code":"2.0703","context":{"fields":[{"field":"limit","message":"must be less than or equal to 100"}]},"message":"Invalid parameters","status":400}"#;
    let window_named = r#"{"type":"error","code":"2.0703","context":{"fields":[{"field":"createdAfter","message":"must be in the last 90 days"}]},"message":"Invalid parameters","status":400}"#;
    let table: Vec<(Case, MiroClass, &str, &[&str])> = vec![
        (case(Audit, reply(400, "", limit_named)), PageSizeRejected, "400", &["500", "2.0703: Invalid parameters", "limit: must be less"]),
        (case(Audit, refusal(400, "invalidParameters", "Wrong")), PageSizeRejected, "400", &["smaller pages"]),
        (case(Audit, reply(400, "", window_named)), BadRequest, "400", &["createdAfter: must be in the last 90 days", "newer miro-siem"]),
        (Case { limit: 100, ..case(Audit, reply(400, "", limit_named)) }, BadRequest, "400", &["limit: must be less"]),
        (case(Content, refusal(400, "invalidParameters", "Wrong")), BadRequest, "400", &["the window or one of its parameters"]),
        (later(500, refusal(400, "invalidCursor", "no")), CursorRejected, "400", &["listed again from its start"]),
        (later(500, reply(400, "", limit_named)), PageSizeRejected, "400", &["smaller pages"]),
        (
            case(Audit, refusal(401, "tokenNotProvided", "No token")),
            Auth,
            "401",
            &["SIEM toggle", "orgs.acme.token", "tokenNotProvided: No token"],
        ),
        (case(Content, refusal(401, "tokenNotProvided", "No token")), Auth, "401", &["eDiscovery toggle"]),
        (case(Ai, refusal(401, "tokenNotProvided", "No token")), Auth, "401", &["aiinteractionlogs:read"]),
        (
            case(Audit, refusal(403, "insufficientPermissions", "Access Denied")),
            Permission,
            "403",
            &["auditlogs:read", "Company Admin", "Enterprise plan"],
        ),
        (case(Content, refusal(403, "forbiddenAccess", "Access Denied")), Permission, "403", &["contentlogs:export", "Enterprise Guard"]),
        (case(Ai, refusal(403, "forbiddenAccess", "Access Denied")), Permission, "403", &["aiinteractionlogs:read", "Enterprise Guard"]),
        (case(Audit, refusal(404, "notFound", "Not found")), NotFound, "404", &["orgs.acme.api_url"]),
        (case(Content, refusal(404, "notFound", "Not found")), NotFound, "404", &["orgs.acme.id"]),
        (case(Audit, refusal(405, "methodNotSupported", "no")), BadRequest, "405", &["methodNotSupported"]),
        (case(Audit, reply(407, "", "")), Config, "407", &["HTTPS_PROXY"]),
        (case(Audit, reply(408, "", "")), Retryable, "408", &["too long to arrive"]),
        (case(Audit, refusal(409, "conflict", "no")), Retryable, "409", &["another change"]),
        (
            case(Audit, refusal(429, "tooManyRequests", "Request rate limit exceed")),
            Throttled(None),
            "429",
            &["after a wait", "another integration"],
        ),
        (case(Audit, reply(429, "Retry-After: 7\r\n", "")), Throttled(Some(Duration::from_secs(7))), "429", &["in 7 s"]),
        (case(Audit, reply(302, "Location: https://elsewhere/\r\n", "")), Config, "302", &["points elsewhere"]),
        (case(Audit, reply(204, "", "")), Retryable, "204", &["a page comes with 200"]),
        (case(Audit, reply(500, "", "")), Retryable, "500", &["without a word", "status.miro.com"]),
        (case(Audit, reply(502, "Content-Type: text/html\r\n", "<html>Bad gateway</html>")), Retryable, "502", &["with a web page"]),
        (case(Audit, reply(503, "", "upstream connect error")), Retryable, "503", &["in a form that is not Miro's"]),
    ];
    let mut sentences: HashMap<String, usize> = HashMap::new();
    for (index, (case, class, label, words)) in table.into_iter().enumerate() {
        let error = error_of(case).await;
        check(&error, class, label, words);
        assert_eq!(error.status().map(|status| status.to_string()).as_deref(), Some(label), "{error}");
        let twin = sentences.insert(error.to_string(), index);
        assert!(
            twin.is_none_or(|twin| [(5, 6), (1, 6), (0, 6)].contains(&(twin, index))),
            "cases {twin:?} and {index} read alike: {error}"
        );
    }
}

#[tokio::test]
async fn an_answer_that_is_no_page_has_a_sentence_of_its_own() {
    let typed = |name: &str, body: &str| reply(200, &format!("Content-Type: {name}\r\n"), body);
    for (answer, words) in [
        (typed("text/html; charset=utf-8", "<html>Sign in</html>"), "its content type is text/html"),
        (typed("application/json", "<html>Sign in</html>"), "no JSON from line 1, column 1"),
        (typed("application/json", ""), "its body is empty"),
        (typed("application/json", "[]"), "its JSON is not an object"),
        (typed("application/json", "{}"), "it has no data"),
        (typed("application/json", r#"{"data":null}"#), "its data is not a list"),
        (typed("application/json", r#"{"data":[],"cursor":5}"#), "its cursor is not text"),
        (typed("application/json", r#"{"data":[],"data":[]}"#), "its data stands twice"),
        (typed("application/json", r#"{"data":[{"id":"a"}"#), "ends in the middle, after 19 bytes"),
    ] {
        let error = error_of(case(LogKind::Audit, answer)).await;
        check(&error, MiroClass::Retryable, "bad_shape", &[words, "failed to list acme/audit: 127.0.0.1"]);
        assert_eq!(error.status(), None);
    }
}

#[tokio::test]
async fn miros_words_are_shown_short_and_without_secrets() {
    let message = format!(
        "cursor {CURSOR} of Bearer {TOKEN} and eyJtaXJvLm9yaWdpbiI6InVzMDEifQ_aaaaaaaaaaaaaaaaaaaaaaaaaaaa\\n\\u001b[31m{}",
        "x".repeat(5_000)
    );
    let case = Case { kind: LogKind::Audit, limit: 100, cursor: Some(CURSOR), answer: refusal(400, "invalidCursor", &message) };
    let error = error_of(case).await;
    check(&error, MiroClass::CursorRejected, "400", &["invalidCursor: cursor … of Bearer … and …"]);
    assert!(error.to_string().len() < 600, "{error}");
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_while_it_comes() {
    let head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    let mut piece = b"1000\r\n".to_vec();
    piece.extend([b' '; 0x1000]);
    piece.extend(b"\r\n");
    let endless = vec![Step::Send(head), Step::SendForever(piece)];
    let announced = vec![Step::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n".to_vec()), Step::Wait(Duration::from_secs(600))];
    for answer in [endless, announced] {
        let error = error_of(case(LogKind::Audit, answer.clone())).await;
        check(&error, MiroClass::PageSizeRejected, "too_large", &["larger than 1 MiB", "page_size"]);
        let error = error_of(Case { limit: 100, ..case(LogKind::Audit, answer) }).await;
        check(&error, MiroClass::Retryable, "too_large", &["larger than 1 MiB", "api_url"]);
    }
}

#[tokio::test]
async fn an_endless_refusal_is_cut_and_still_understood_by_its_status() {
    let answer = vec![Step::Send(b"HTTP/1.1 503 X\r\nContent-Length: 99999999999\r\n\r\n".to_vec()), Step::SendForever(vec![b'x'; 4096])];
    let error = error_of(case(LogKind::Audit, answer)).await;
    check(&error, MiroClass::Retryable, "503", &["in a form that is not Miro's"]);
}

#[tokio::test]
async fn an_answer_that_stalls_or_breaks_off_is_no_page() {
    let begun = Step::Send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{\"data\":[".to_vec());
    for (end, label, words) in [
        (Step::Wait(Duration::from_secs(600)), "stalled", "stopped in the middle of its answer"),
        (Step::Close, "broken", "broke"),
        (Step::Reset, "broken", "broke"),
    ] {
        let error = error_of(case(LogKind::Audit, vec![begun.clone(), end])).await;
        check(&error, MiroClass::Retryable, label, &[words]);
    }
}

#[tokio::test]
async fn every_request_is_counted_by_its_outcome() {
    let answers = Mutex::new(vec![vec![Step::Reset], json("{}"), reply(503, "", ""), json(r#"{"data":[1]}"#), json(r#"{"data":[1]}"#)]);
    let server = Server::start(move |_| answers.lock().expect("no panic").pop().expect("an answer")).await;
    let connection = connection(&server);
    let metrics = connection.metrics.clone();
    let client = client_with(connection, LogKind::Audit, OrgId::from_the_token(), static_token());
    for _ in 0..5 {
        // Which of them fail is for the counters to say.
        let _ = first_page(&client).await;
    }
    let text = metrics.render();
    for (status, count) in [("200", 2), ("503", 1), ("bad_shape", 1), ("broken", 1)] {
        let line = format!(r#"miro_siem_requests_total{{org="acme",stream="audit",status="{status}"}} {count}"#);
        assert!(text.contains(&line), "no {line} in {text}");
    }
}

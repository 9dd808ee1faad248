//! Pages: what is asked, and what is made of the answer.

use std::{sync::Arc, time::Duration};

use miro_siem::{
    clock::Clock,
    config::{
        Secret,
        settings::{QuotaShare, TlsSettings},
    },
    event::{Decoded, OrgName, StreamKind, TimeRange, Timestamp},
    metrics::Metrics,
    miro::{
        Connection, Cursor, Limits, LogClient, LogKind, MiroClass, MiroError, OrgId, Page, PageRequest, Pages, Priority, Quota, TokenInfo,
        auth::{StaticToken, TokenSource},
    },
    net,
};

use proptest::{prelude::*, test_runner::TestRunner};

use crate::server::{EMPTY_PAGE, Server, json, reply};

pub(crate) const TOKEN: &str = "eyJtaXJvLm9yaWdpbiI6ImV1MDEifQ_s3cr3tS3CR3Ts3cr3tS3CR3T";
/// 2026-01-31T09:30:10.840Z
pub(crate) const NOW: Timestamp = Timestamp::from_millis(1_769_851_810_840);

pub(crate) fn connection(server: &Server) -> Connection {
    connection_to(&server.url(), &TlsSettings::default())
}

pub(crate) fn connection_to(api_url: &url::Url, tls: &TlsSettings) -> Connection {
    net::install_tls_provider();
    let limits = Limits { body_bytes_max: 1024 * 1024, total: Duration::from_secs(20), stall: Duration::from_millis(300) };
    let http = net::http_client(tls, limits.total).expect("a client");
    Connection { http, api_url: api_url.clone(), clock: Clock::from_fn(|| NOW), metrics: Metrics::new(), limits }
}

pub(crate) fn static_token() -> Arc<dyn TokenSource> {
    Arc::new(StaticToken::new(Secret::literal(TOKEN), "orgs.acme.token"))
}

pub(crate) fn client_with(connection: Connection, kind: LogKind, org_id: OrgId, auth: Arc<dyn TokenSource>) -> LogClient {
    let org = OrgName::new("acme");
    let quota = Quota::new(org.clone(), QuotaShare::WHOLE, connection.metrics.clone());
    LogClient::new(connection, org, kind, Arc::new(org_id), auth, quota)
}

pub(crate) fn client(server: &Server, kind: LogKind) -> LogClient {
    client_with(connection(server), kind, OrgId::configured("3074457345821141000"), static_token())
}

pub(crate) fn window() -> TimeRange {
    TimeRange::new(NOW.minus(Duration::from_secs(300)), NOW).expect("in order")
}

pub(crate) async fn first_page(client: &LogClient) -> Result<Page, MiroError> {
    client.page(PageRequest { window: window(), cursor: None, limit: 500, priority: Priority::Live }).await
}

#[tokio::test]
async fn each_log_is_asked_for_in_its_own_words() {
    for (kind, path, parameters) in [
        (
            LogKind::Audit,
            "/v2/audit/logs",
            [
                ("createdAfter", "2026-01-31T09:25:10.840Z"),
                ("createdBefore", "2026-01-31T09:30:10.840Z"),
                ("limit", "500"),
                ("sorting", "ASC"),
            ],
        ),
        (
            LogKind::Content,
            "/v2/orgs/3074457345821141000/content-logs/items",
            [("from", "2026-01-31T09:25:10Z"), ("to", "2026-01-31T09:30:11Z"), ("limit", "500"), ("sorting", "asc")],
        ),
        (
            LogKind::Ai,
            "/v2/orgs/3074457345821141000/ai-interaction-logs",
            [("from", "2026-01-31T09:25:10Z"), ("to", "2026-01-31T09:30:11Z"), ("limit", "100"), ("sorting", "asc")],
        ),
    ] {
        let server = Server::start(|_| json(EMPTY_PAGE)).await;
        first_page(&client(&server, kind)).await.expect("a page");
        let [request] = &server.requests()[..] else { panic!("one request") };
        assert_eq!(request.path(), path);
        let expected: Vec<_> = parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        assert_eq!(request.query(), expected);
        assert_eq!(request.bearer(), TOKEN);
        assert!(request.header("user-agent").is_some_and(|agent| agent.starts_with("miro-siem/")));
    }
}

#[tokio::test]
async fn a_page_is_its_records_a_cursor_the_quota_and_the_time() {
    let server = Server::start(|_| {
        reply(
            200,
            "Content-Type: application/json;charset=utf-8\r\nDate: Sat, 31 Jan 2026 09:30:00 GMT\r\nX-RateLimit-Limit: 100000\r\nX-RateLimit-Remaining: 99900\r\nX-RateLimit-Reset: 1769851830\r\n",
            r#"{"type":"cursor-list","limit":500,"size":2,"cursor":"2026#1-DDB","data":[ {"id":"a#1","createdAt":"2026-01-31T09:30:00.001+0000","x":9007199254740993} ,{"event":"?"}]}"#,
        )
    })
    .await;
    let page = first_page(&client(&server, LogKind::Audit)).await.expect("a page");
    assert_eq!(page.next, Some(Cursor::new("2026#1-DDB")));
    assert_eq!(page.server_time, Some(Timestamp::from_millis(1_769_851_800_000)));
    assert_eq!((page.quota.limit, page.quota.remaining), (Some(100_000), Some(99_900)));
    assert_eq!(page.quota.resets_at, Some(NOW.plus(Duration::from_secs(30))));
    let [whole, odd] = &page.events[..] else { panic!("two records") };
    assert_eq!((whole.id.as_str(), whole.decoded), ("a#1", Decoded::Whole));
    assert_eq!(whole.time, Some(Timestamp::from_millis(1_769_851_800_001)));
    assert_eq!(&whole.raw[..], br#"{"id":"a#1","createdAt":"2026-01-31T09:30:00.001+0000","x":9007199254740993}"#);
    assert_eq!((odd.decoded, odd.time, &odd.raw[..]), (Decoded::Undecodable, None, &br#"{"event":"?"}"#[..]));
}

#[tokio::test]
async fn the_organisation_is_asked_for_once_where_it_is_not_configured() {
    let server = Server::start(|request| match request.path() {
        "/v1/oauth-token" => json(r#"{"type":"oAuthToken","organization":{"type":"organization","id":3074457345821141001,"name":"Acme"},"scopes":["contentlogs:export"]}"#),
        _ => json(EMPTY_PAGE),
    })
    .await;
    let client = client_with(connection(&server), LogKind::Content, OrgId::from_the_token(), static_token());
    let (one, other) = tokio::join!(first_page(&client), first_page(&client));
    one.and(other).expect("two pages");
    let paths: Vec<_> = server.requests().iter().map(|request| request.path().to_owned()).collect();
    let page = "/v2/orgs/3074457345821141001/content-logs/items";
    assert_eq!(paths, ["/v1/oauth-token", page, page]);
    assert_eq!(LogKind::of(StreamKind::Licenses), None);
}

#[tokio::test]
async fn a_token_without_organisation_is_a_question_to_the_operator() {
    let server = Server::start(|_| json(r#"{"type":"oAuthToken","scopes":[]}"#)).await;
    let client = client_with(connection(&server), LogKind::Content, OrgId::from_the_token(), static_token());
    let error = first_page(&client).await.expect_err("no organisation");
    assert_eq!(error.class(), MiroClass::Config);
    assert!(error.to_string().contains("orgs.acme.id"), "{error}");
}

#[tokio::test]
async fn a_changed_token_file_is_picked_up_without_a_restart() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("token");
    std::fs::write(&file, "first-token\n").expect("written");
    let rotated = file.clone();
    let server = Server::start(move |request| match request.bearer() {
        "second-token" => json(EMPTY_PAGE),
        _ => {
            // It is replaced while the request with the old one is under way.
            std::fs::write(&rotated, "second-token\n").expect("written");
            reply(401, "", "")
        }
    })
    .await;
    let token: Arc<dyn TokenSource> = Arc::new(StaticToken::new(Secret::File(file.clone()), "orgs.acme.audit.token"));
    let client = client_with(connection(&server), LogKind::Audit, OrgId::from_the_token(), token);
    first_page(&client).await.expect("a page with the new token");
    let tokens: Vec<_> = server.requests().iter().map(|request| request.bearer().to_owned()).collect();
    assert_eq!(tokens, ["first-token", "second-token"]);
    std::fs::remove_file(&file).expect("removed");
    let error = first_page(&client).await.expect_err("no token");
    assert_eq!(error.class(), MiroClass::Config);
    assert!(error.to_string().contains("orgs.acme.audit.token"), "{error}");
}

#[tokio::test]
async fn a_refused_token_that_has_not_changed_is_not_tried_again() {
    let server = Server::start(|_| reply(401, "", "")).await;
    let error = first_page(&client(&server, LogKind::Audit)).await.expect_err("refused");
    assert_eq!((error.class(), server.requests().len()), (MiroClass::Auth, 1));
}

#[tokio::test]
async fn a_token_with_a_line_break_in_it_is_named_and_never_sent() {
    let server = Server::start(|_| json(EMPTY_PAGE)).await;
    let token: Arc<dyn TokenSource> = Arc::new(StaticToken::new(Secret::literal("two\nlines"), "orgs.acme.token"));
    let client = client_with(connection(&server), LogKind::Audit, OrgId::from_the_token(), token);
    let error = first_page(&client).await.expect_err("unsendable");
    assert_eq!(error.class(), MiroClass::Config);
    assert!(error.to_string().contains("orgs.acme.token holds line breaks") && !error.to_string().contains("two"), "{error}");
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn token_info_tells_whose_token_it_is_and_what_it_may_do() {
    let body = r#"{"type":"oAuthToken","application":{"type":"app","name":"siem","id":1},"user":{"type":"user","name":"Jo","id":"7"},
        "team":{"type":"team","id":3074457345821141234},"organization":{"type":"organization","name":"Acme","id":"3074457345821141000"},
        "scopes":["auditlogs:read","organizations:read"],"createdBy":null}"#;
    let server = Server::start(move |_| json(body)).await;
    let info = client(&server, LogKind::Audit).token_info().await.expect("token info");
    let text = |text: &str| Some(text.to_owned());
    let expected = TokenInfo {
        org_id: text("3074457345821141000"),
        org_name: text("Acme"),
        scopes: vec!["auditlogs:read".to_owned(), "organizations:read".to_owned()],
        user: text("Jo"),
        team: text("3074457345821141234"),
    };
    assert_eq!(info, expected);
    for (answer, class) in
        [(reply(400, "", ""), MiroClass::Auth), (reply(401, "", ""), MiroClass::Auth), (json("[]"), MiroClass::Retryable)]
    {
        let server = Server::start(move |_| answer.clone()).await;
        assert_eq!(client(&server, LogKind::Ai).token_info().await.expect_err("refused").class(), class);
    }
}

#[test]
fn a_cursor_of_any_characters_comes_back_as_it_was() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let server = runtime.block_on(Server::start(|_| json(EMPTY_PAGE)));
    let client = client(&server, LogKind::Audit);
    let mut runner = TestRunner::new(ProptestConfig::with_cases(300));
    let hostile = proptest::string::string_regex("([ #=+%&?/\\\\\"'\u{0}\r\n\u{7f}\u{a0}\u{202e}🦀]|\\PC){1,40}").expect("a pattern");
    let outcome = runner.run(&hostile, |cursor| {
        let page = runtime.block_on(client.page(PageRequest {
            window: window(),
            cursor: Some(&Cursor::new(&cursor)),
            limit: 500,
            priority: Priority::Live,
        }));
        page.expect("a page");
        let request = server.requests().pop().expect("a request");
        prop_assert_eq!(request.parameter("cursor"), Some(cursor));
        prop_assert_eq!(request.query().len(), 5);
        prop_assert!(!request.target().contains(['#', '+', ' ']));
        Ok(())
    });
    outcome.expect("every cursor comes back");
}

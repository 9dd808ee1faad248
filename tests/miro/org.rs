//! An organisation's clients, put together from its settings: which of them share a token, a quota and an id.

use std::{path::Path, sync::Arc, time::Duration};

use miro_siem::{
    clock::Clock,
    config::{
        Secret,
        settings::{AuthSettings, OrgSettings, QuotaShare, Start, StreamSettings, TlsSettings},
    },
    event::{OrgName, StreamKind},
    metrics::Metrics,
    miro::{MiroClass, MiroError, OrgApi, OrgParts, Page, PageRequest, Pages, Priority},
    net,
};

use crate::{
    client::{NOW, window},
    grants::{self, CLIENT_SECRET, SEED},
    server::{EMPTY_PAGE, Server, json, reply},
};

fn stream(kind: StreamKind, auth: Option<AuthSettings>) -> StreamSettings {
    StreamSettings {
        kind,
        auth,
        poll_interval: Duration::from_secs(300),
        start: Start::Now,
        overlap: Duration::from_secs(900),
        page_size: 100,
        reconcile: Vec::new(),
        retention: Duration::from_secs(90 * 86_400),
        heartbeat: None,
    }
}

fn grant() -> AuthSettings {
    AuthSettings::Oauth { client_id: "1".to_owned(), client_secret: Secret::literal(CLIENT_SECRET), refresh_token: Secret::literal(SEED) }
}

fn org(server: &Server, auth: Option<AuthSettings>, streams: Vec<StreamSettings>) -> OrgSettings {
    OrgSettings {
        name: OrgName::new("acme"),
        id: Some("1".to_owned()),
        api_url: server.url(),
        auth,
        quota_share: QuotaShare::WHOLE,
        streams,
    }
}

fn api(org: &OrgSettings, state_dir: &Path) -> OrgApi {
    net::install_tls_provider();
    let parts = OrgParts { tls: &TlsSettings::default(), state_dir, clock: Clock::from_fn(|| NOW), metrics: Metrics::new() };
    OrgApi::new(org, parts).expect("an API")
}

async fn page(pages: &Arc<dyn Pages>) -> Result<Page, MiroError> {
    pages.page(PageRequest { window: window(), cursor: None, limit: 100, priority: Priority::Live }).await
}

#[tokio::test]
async fn streams_with_one_grant_refresh_once_and_keep_it_in_one_file() {
    let dir = tempfile::tempdir().expect("a directory");
    let miro = grants::miro();
    let grants = miro.clone();
    let server = Server::start(move |request| {
        if request.path() == "/v1/oauth/token" { grants.lock().expect("no panic").token_endpoint(request) } else { json(EMPTY_PAGE) }
    })
    .await;
    let own = AuthSettings::Token(Secret::literal("a-token-of-its-own"));
    let org = org(
        &server,
        Some(grant()),
        vec![stream(StreamKind::Audit, None), stream(StreamKind::Content, None), stream(StreamKind::Ai, Some(own))],
    );
    let api = api(&org, dir.path());
    let pages: Vec<_> = org.streams.iter().map(|stream| api.pages(stream).expect("a client")).collect();
    for outcome in futures_util::future::join_all(pages.iter().map(page)).await {
        outcome.expect("a page");
    }
    assert_eq!(miro.lock().expect("no panic").sent, [SEED]);
    let access = miro.lock().expect("no panic").access.clone();
    for request in server.requests().iter().filter(|request| request.path().starts_with("/v2")) {
        let expected = if request.path().ends_with("ai-interaction-logs") { "a-token-of-its-own" } else { &access };
        assert_eq!(request.bearer(), expected, "{}", request.path());
    }
    assert!(dir.path().join("tokens/acme.json").exists());
}

#[tokio::test]
async fn a_streams_own_grant_has_a_file_of_its_own() {
    let dir = tempfile::tempdir().expect("a directory");
    let (miro, other) = (grants::miro(), grants::miro());
    let (grants, others) = (miro.clone(), other.clone());
    let server = Server::start(move |request| match request.path() {
        "/v1/oauth/token" if request.body.contains("the-other-seed") => others.lock().expect("no panic").token_endpoint(request),
        "/v1/oauth/token" => grants.lock().expect("no panic").token_endpoint(request),
        _ => json(EMPTY_PAGE),
    })
    .await;
    other.lock().expect("no panic").refresh = "the-other-seed".to_owned();
    let own = AuthSettings::Oauth {
        client_id: "2".to_owned(),
        client_secret: Secret::literal(CLIENT_SECRET),
        refresh_token: Secret::literal("the-other-seed"),
    };
    let org = org(&server, Some(grant()), vec![stream(StreamKind::Audit, None), stream(StreamKind::Content, Some(own))]);
    let api = api(&org, dir.path());
    for stream in &org.streams {
        page(&api.pages(stream).expect("a client")).await.expect("a page");
    }
    let counts = [&miro, &other].map(|grants| grants.lock().expect("no panic").sent.len());
    assert_eq!(counts, [1, 1]);
    assert!(dir.path().join("tokens/acme.json").exists() && dir.path().join("tokens/acme.content.json").exists());
}

#[tokio::test]
async fn a_429_holds_back_the_streams_of_its_token_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(|request| match request.path() {
        "/v2/audit/logs" => reply(429, "Retry-After: 20\r\n", ""),
        _ => json(EMPTY_PAGE),
    })
    .await;
    let token = |text: &str| Some(AuthSettings::Token(Secret::literal(text)));
    let streams = vec![stream(StreamKind::Audit, None), stream(StreamKind::Content, None), stream(StreamKind::Ai, token("another"))];
    let org = org(&server, token("one"), streams);
    let api = api(&org, dir.path());
    let pages: Vec<_> = org.streams.iter().map(|stream| api.pages(stream).expect("a client")).collect();
    let wait = Duration::from_secs(20);
    assert_eq!(page(&pages[0]).await.expect_err("429").class(), MiroClass::Throttled(Some(wait)));
    assert_eq!(pages.iter().map(|pages| pages.ready_in(NOW, Priority::Live)).collect::<Vec<_>>(), [Some(wait), Some(wait), None]);
    assert_eq!(page(&pages[1]).await.expect_err("held back").class(), MiroClass::Throttled(Some(wait)));
    page(&pages[2]).await.expect("a page");
}

#[tokio::test]
async fn a_stream_without_credentials_is_named() {
    let server = Server::start(|_| json(EMPTY_PAGE)).await;
    let org = org(&server, None, vec![stream(StreamKind::Audit, None)]);
    let error = api(&org, Path::new("/nowhere")).pages(&org.streams[0]).expect_err("no credentials");
    assert!(error.to_string().contains("orgs.acme.token"), "{error}");
}

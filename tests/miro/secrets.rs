//! No token, secret, cursor or event body in anything that is logged or printed, at any level.

use std::{
    io::Write,
    sync::{Arc, Mutex},
};

use miro_siem::{
    config::{Secret, settings::QuotaShare},
    event::OrgName,
    miro::{
        Cursor, LogKind, OrgId, PageRequest, Pages, Priority, Quota,
        auth::{OauthGrant, OauthSettings, TokenSource},
    },
};

use crate::{
    client::{TOKEN, client_with, connection, static_token, window},
    grants::{self, CLIENT_SECRET, Whim},
    server::{Server, json, reply},
};

const CURSOR: &str = "cursor-cursor-cursor#1-DDB";
const BODY: &str = "somebody's secret plan";

/// Everything that was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().expect("no panic")).into_owned()
    }

    /// Collects what this thread logs, at every level, until the guard is dropped.
    fn collect(&self) -> tracing::subscriber::DefaultGuard {
        let log = self.clone();
        let subscriber =
            tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_ansi(false).with_writer(move || log.clone()).finish();
        tracing::subscriber::set_default(subscriber)
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[track_caller]
fn check(text: &str) {
    for secret in [TOKEN, CURSOR, BODY, CLIENT_SECRET, "eyJtaXJv", "Bearer"] {
        assert!(!text.contains(secret), "{secret:?} in: {text}");
    }
}

#[tokio::test]
async fn pages_and_their_errors_show_no_secret() {
    let log = Log::default();
    let collecting = log.collect();
    let page = format!(r#"{{"cursor":"{CURSOR}","data":[{{"id":"a","createdAt":"2026-01-31T09:30:00Z","details":"{BODY}"}},"{BODY}"]}}"#);
    let refusal = format!(r#"{{"code":"x","message":"{TOKEN} {CURSOR}"}}"#);
    for answer in [
        json(&page),
        json(format!("{BODY} {page}")),
        json(&page[..page.len() - 9]),
        reply(400, "", &refusal),
        reply(500, "", BODY),
        reply(401, "", &refusal),
    ] {
        let server = Server::start(move |_| answer.clone()).await;
        let client = client_with(connection(&server), LogKind::Audit, OrgId::from_the_token(), static_token());
        let cursor = Cursor::new(CURSOR);
        let request = PageRequest { window: window(), cursor: Some(&cursor), limit: 100, priority: Priority::Live };
        check(&format!("{client:?} {request:?}"));
        match client.page(request).await {
            Ok(page) => check(&format!("{page:?}")),
            Err(error) => check(&format!("{error} {error:?}")),
        }
    }
    drop(collecting);
    assert!(log.text().contains("miro request finished"), "nothing was collected: {}", log.text());
    check(&log.text());
}

#[tokio::test]
async fn refreshes_and_their_errors_show_no_secret() {
    let log = Log::default();
    let collecting = log.collect();
    let dir = tempfile::tempdir().expect("a directory");
    let miro = grants::miro();
    let server = grants::serve(&miro).await;
    let settings = OauthSettings {
        client_id: "1".to_owned(),
        client_secret: Secret::literal(CLIENT_SECRET),
        refresh_token: Secret::literal(miro.lock().expect("no panic").refresh.clone()),
    };
    let grant = OauthGrant::new(connection(&server), OrgName::new("acme"), "orgs.acme.oauth", settings, dir.path(), "acme");
    let echo = |refresh: &str| format!(r#"{{"code":"oauthError","message":"{refresh} {CLIENT_SECRET}"}}"#);
    for status in [429, 500, 404] {
        let body = echo(&miro.lock().expect("no panic").refresh);
        miro.lock().expect("no panic").whim = Whim::Answer(reply(status, "", body));
        let error = grant.token().await.expect_err("refused");
        check(&format!("{error} {error:?} {grant:?}"));
    }
    miro.lock().expect("no panic").whim = Whim::Fair;
    let token = grant.token().await.expect("a token");
    check(&format!("{token:?} {grant:?} {:?}", Quota::new(OrgName::new("acme"), QuotaShare::WHOLE, connection(&server).metrics)));
    drop(collecting);
    assert!(log.text().contains("access token refreshed"), "nothing was collected: {}", log.text());
    check(&log.text());
}

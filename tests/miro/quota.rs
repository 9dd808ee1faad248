//! Credits: learned from the answers, shared by the streams of one token, and minded before a request is sent.

use std::{sync::Arc, time::Duration};

use miro_siem::{
    clock::Clock,
    config::settings::QuotaShare,
    event::OrgName,
    miro::{Endpoint, LogClient, LogKind, MiroClass, OrgId, PageRequest, Pages, Priority, Quota},
};

use crate::{
    client::{NOW, connection, first_page, static_token, window},
    server::{EMPTY_PAGE, Server, reply},
};

/// The audit and the content client of one token.
fn pair(server: &Server) -> (LogClient, LogClient, Quota) {
    let mut connection = connection(server);
    connection.clock = Clock::from_fn(|| NOW);
    let org = OrgName::new("acme");
    let quota = Quota::new(org.clone(), QuotaShare::WHOLE, connection.metrics.clone());
    let (auth, org_id) = (static_token(), Arc::new(OrgId::configured("1")));
    let client = |kind| LogClient::new(connection.clone(), org.clone(), kind, org_id.clone(), auth.clone(), quota.clone());
    (client(LogKind::Audit), client(LogKind::Content), quota)
}

#[tokio::test]
async fn a_request_that_the_minute_cannot_pay_is_held_back_while_a_cheaper_one_goes() {
    let headers = "Date: Sat, 31 Jan 2026 09:30:00 GMT\r\nX-RateLimit-Limit: 100000\r\nX-RateLimit-Remaining: 1999\r\nX-RateLimit-Reset: 1769851823\r\n";
    let server = Server::start(move |_| reply(200, headers, EMPTY_PAGE)).await;
    let (audit, content, quota) = pair(&server);
    first_page(&content).await.expect("nothing is known yet");
    let error = first_page(&content).await.expect_err("1999 credits do not pay for it");
    assert_eq!((error.class(), error.label()), (MiroClass::Throttled(Some(Duration::from_secs(23))), "held"), "{error}");
    assert!(error.to_string().contains("the next request goes in 23 s"), "{error}");
    first_page(&audit).await.expect("100 credits are there");
    assert_eq!(server.requests().len(), 2, "what is held back is not sent");
    assert_eq!(quota.ready_in(Endpoint::Log(LogKind::Content), Priority::Live, NOW.plus(Duration::from_secs(23))), None);
}

#[tokio::test]
async fn after_a_429_every_stream_of_the_token_waits_as_long_as_miro_says() {
    for (headers, wait) in [
        ("Retry-After: 12\r\n", 12),
        ("Date: Sat, 31 Jan 2026 09:30:00 GMT\r\nRetry-After: Sat, 31 Jan 2026 09:30:30 GMT\r\n", 30),
        ("Date: Sat, 31 Jan 2026 09:30:00 GMT\r\nX-RateLimit-Remaining: 0\r\nX-RateLimit-Reset: 1769851805\r\n", 5),
        ("X-RateLimit-Reset: 41\r\n", 41),
    ] {
        let server = Server::start(move |_| reply(429, headers, "")).await;
        let (audit, content, quota) = pair(&server);
        let wait = Duration::from_secs(wait);
        assert_eq!(first_page(&content).await.expect_err("429").class(), MiroClass::Throttled(Some(wait)), "{headers}");
        assert_eq!(first_page(&audit).await.expect_err("held back").class(), MiroClass::Throttled(Some(wait)), "{headers}");
        assert_eq!(server.requests().len(), 1);
        assert_eq!(quota.ready_in(Endpoint::Log(LogKind::Audit), Priority::Live, NOW.plus(wait)), None, "{headers}");
    }
}

#[tokio::test]
async fn the_metric_shows_the_lowest_of_an_organisations_tokens() {
    let server = Server::start(|request| {
        let left = if request.path() == "/v2/audit/logs" { 97_900 } else { 4_000 };
        reply(200, &format!("X-RateLimit-Remaining: {left}\r\nX-RateLimit-Reset: 30\r\n"), EMPTY_PAGE)
    })
    .await;
    let connection = connection(&server);
    let (org, org_id) = (OrgName::new("acme"), Arc::new(OrgId::configured("1")));
    let quota = Quota::new(org.clone(), QuotaShare::WHOLE, connection.metrics.clone());
    let client = |kind, quota| LogClient::new(connection.clone(), org.clone(), kind, org_id.clone(), static_token(), quota);
    let (content, audit) = (client(LogKind::Content, quota.of_another_token()), client(LogKind::Audit, quota));
    let gauge = r#"miro_siem_quota_remaining_credits{org="acme"}"#;
    assert!(!connection.metrics.render().contains(gauge));
    first_page(&audit).await.expect("a page");
    assert!(connection.metrics.render().contains(&format!("{gauge} 97900")), "{}", connection.metrics.render());
    first_page(&content).await.and(first_page(&audit).await).expect("pages");
    assert!(connection.metrics.render().contains(&format!("{gauge} 4000")), "{}", connection.metrics.render());
}

#[tokio::test]
async fn a_backfill_that_is_held_back_is_no_failure_and_a_live_call_goes_all_the_same() {
    let headers = "Date: Sat, 31 Jan 2026 09:30:00 GMT\r\nX-RateLimit-Limit: 100000\r\nX-RateLimit-Remaining: 2100\r\nX-RateLimit-Reset: 1769851823\r\n";
    let server = Server::start(move |_| reply(200, headers, EMPTY_PAGE)).await;
    let (audit, content, _) = pair(&server);
    first_page(&audit).await.expect("nothing is known yet");
    audit.plan_live(NOW.plus(Duration::from_secs(300)));
    content.plan_live(NOW.plus(Duration::from_secs(20)));
    let past = PageRequest { window: window(), cursor: None, limit: 500, priority: Priority::Backfill };
    audit.page(past).await.expect("what is left beside the content poll that falls due suffices for it");
    audit.plan_live(NOW.plus(Duration::from_secs(20)));
    let error = audit.page(past).await.expect_err("the rest is for live calls");
    assert!(error.is_held() && matches!(error.class(), MiroClass::Throttled(Some(_))), "{error}");
    assert_eq!(server.requests().len(), 2, "what is held back is not sent");
    first_page(&content).await.expect("it is for this one");
}

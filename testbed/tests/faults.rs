//! The fault layer, by real requests against the Sumo stand-in, whose answers are the simplest.

mod support;

use std::time::{Duration, Instant};

use support::{Broken, Client, Seen};
use testbed::{
    Running,
    ca::{Ca, ClientCertificates},
    faults::{Answer, Fault, RetryAfter, Rule, Take, Then},
    sumo::{Sumo, SumoConfig},
};
use tokio::net::TcpStream;

fn start() -> Running<Sumo> {
    Sumo::start(SumoConfig::default()).expect("start")
}

fn head(sumo: &Running<Sumo>) -> String {
    format!("POST {} HTTP/1.1\r\nhost: sumo\r\n", sumo.service().path())
}

async fn post(sumo: &Running<Sumo>, id: &str) -> Result<Seen, Broken> {
    let body = format!(r#"{{"id":"{id}"}}"#);
    Client::plain(sumo.addr()).await.send(&head(sumo), body.as_bytes()).await
}

#[tokio::test]
async fn a_reset_before_the_body_takes_nothing_and_one_after_takes_everything() {
    let sumo = start();
    sumo.faults().next(1, Fault::reset_before_body());
    assert!(matches!(post(&sumo, "a").await, Err(Broken::Reset)));
    assert!(sumo.ledger().is_empty());
    sumo.faults().next(1, Fault::reset_after_taking());
    assert!(matches!(post(&sumo, "a").await, Err(Broken::Reset)));
    assert_eq!(sumo.ledger().times_seen("a"), 1);
    assert_eq!(post(&sumo, "a").await.expect("works again").status, 200);
    assert_eq!(sumo.ledger().counts().faults, 2);
}

#[tokio::test]
async fn a_truncated_answer_was_a_taken_request() {
    let sumo = start();
    sumo.faults().next(1, Fault::truncate());
    assert!(matches!(post(&sumo, "a").await, Err(Broken::Truncated)));
    assert_eq!(sumo.ledger().times_seen("a"), 1);
}

#[tokio::test]
async fn a_stall_gives_no_answer_until_the_sender_leaves() {
    let sumo = start();
    for (fault, taken) in [(Fault::stall(), 0), (Fault::stall_after_taking(), 1)] {
        sumo.faults().next(1, fault);
        let answer = tokio::time::timeout(Duration::from_millis(600), post(&sumo, "a")).await;
        assert!(answer.is_err(), "an answer came: {answer:?}");
        assert_eq!(sumo.ledger().times_seen("a"), taken);
    }
}

#[tokio::test]
async fn a_scripted_answer_carries_status_headers_body_and_retry_after() {
    let sumo = start();
    let busy = Answer::new(429, "later").header("x-a", "b").retry_after(RetryAfter::Seconds(Duration::from_secs(7)));
    sumo.faults().next(1, Fault::answer(busy));
    let seen = post(&sumo, "a").await.expect("an answer");
    seen.is(429, "later");
    assert_eq!((seen.header("x-a"), seen.header("retry-after")), (Some("b"), Some("7")));
    let dated = Answer::new(503, "").retry_after(RetryAfter::Date(Duration::from_secs(100)));
    sumo.faults().next(1, Fault::taken_then(dated));
    let seen = post(&sumo, "a").await.expect("an answer");
    let date = seen.header("retry-after").expect("a date");
    let wait = httpdate::parse_http_date(date).expect(date).duration_since(std::time::SystemTime::now()).expect("ahead");
    assert!(wait > Duration::from_secs(95) && wait <= Duration::from_secs(101), "{wait:?}");
    assert_eq!(sumo.ledger().times_seen("a"), 1, "only the second request was taken");
}

#[tokio::test]
async fn a_delay_is_waited_and_a_swallowed_request_looks_fine() {
    let sumo = start();
    sumo.faults().next(1, Fault::delay(Duration::from_millis(120)));
    let started = Instant::now();
    assert_eq!(post(&sumo, "a").await.expect("an answer").status, 200);
    assert!(started.elapsed() >= Duration::from_millis(120));
    sumo.faults().next(1, Fault::swallow());
    assert_eq!(post(&sumo, "b").await.expect("an answer").status, 200);
    assert_eq!(sumo.ledger().ids(), ["a"]);
}

#[tokio::test]
async fn a_rule_lasts_for_its_time_and_can_be_cleared() {
    let sumo = start();
    sumo.faults().add(Rule::during(Duration::from_millis(1000), Fault::answer(Answer::new(403, ""))));
    assert_eq!(post(&sumo, "a").await.expect("an answer").status, 403);
    tokio::time::sleep(Duration::from_millis(1050)).await;
    assert_eq!(post(&sumo, "a").await.expect("an answer").status, 200);
    sumo.faults().add(Rule::chance(1.0, 1, Fault::answer(Answer::new(500, ""))));
    assert_eq!(post(&sumo, "a").await.expect("an answer").status, 500);
    sumo.faults().clear();
    assert_eq!(post(&sumo, "a").await.expect("an answer").status, 200);
}

#[tokio::test]
async fn a_receiver_that_is_down_refuses_and_comes_back_on_the_same_port() {
    let sumo = start();
    let mut open = Client::plain(sumo.addr()).await;
    assert_eq!(open.send(&head(&sumo), b"{}").await.expect("an answer").status, 200);
    for _ in 0..3 {
        sumo.down().await;
        let refused = TcpStream::connect(sumo.addr()).await.expect_err("nobody listens");
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        sumo.up().expect("up");
        assert_eq!(post(&sumo, "a").await.expect("an answer").status, 200);
    }
    assert!(open.send(&head(&sumo), b"{}").await.is_err(), "connections of before are closed");
    let addr = sumo.addr();
    sumo.stop().await;
    assert!(TcpStream::connect(addr).await.is_err());
}

#[tokio::test]
async fn a_connection_serves_request_after_request() {
    let sumo = start();
    let mut client = Client::plain(sumo.addr()).await;
    for n in 0..3 {
        let body = format!(r#"{{"id":"{n}"}}"#);
        assert_eq!(client.send(&head(&sumo), body.as_bytes()).await.expect("an answer").status, 200);
    }
    let chunked = format!("{}transfer-encoding: chunked\r\n\r\na\r\n{{\"id\":\"x\"}}\r\n0\r\n\r\n", head(&sumo));
    assert_eq!(client.raw(chunked.as_bytes()).await.expect("an answer").status, 200);
    let expecting = format!("{}expect: 100-continue\r\ncontent-length: 10\r\n\r\n", head(&sumo));
    assert_eq!(client.raw(expecting.as_bytes()).await.expect("an interim answer").status, 100);
    assert_eq!(client.raw(br#"{"id":"y"}"#).await.expect("an answer").status, 200);
    assert_eq!(sumo.ledger().ids(), ["0", "1", "2", "x", "y"]);
    assert_eq!((sumo.ledger().counts().connections, sumo.ledger().counts().requests), (1, 5));
}

#[tokio::test]
async fn faults_work_the_same_over_tls() {
    let ca = Ca::new().expect("ca");
    let tls = ca.local_server().and_then(|server| server.server_config(ClientCertificates::NotAsked)).expect("tls");
    let sumo = Sumo::start(SumoConfig { tls: Some(tls), ..SumoConfig::default() }).expect("start");
    assert!(sumo.url().starts_with("https://127.0.0.1:"));
    let body = br#"{"id":"a"}"#;
    sumo.faults().next(1, Fault::reset_after_taking());
    let broken = Client::tls(sumo.addr(), &ca).await.send(&head(&sumo), body).await;
    assert!(matches!(broken, Err(Broken::Reset)), "{broken:?}");
    let seen = Client::tls(sumo.addr(), &ca).await.send(&head(&sumo), body).await;
    assert_eq!(seen.expect("an answer").status, 200);
    assert_eq!(sumo.ledger().times_seen("a"), 2);
    let stranger = Ca::new().expect("ca");
    let refused = Client::handshake(sumo.addr(), support::client_config(&stranger, None)).await;
    assert!(refused.is_err(), "a certificate of another authority must not be trusted");
}

#[tokio::test]
async fn an_early_refusal_reaches_a_sender_whose_body_is_never_read() {
    let sumo = start();
    let refusal = Fault { take: Take::Unread, then: Then::Answer(Answer::new(413, "")), ..Fault::default() };
    sumo.faults().next(1, refusal);
    let unfinished = format!("{}content-length: 1000000\r\n\r\nonly the beginning", head(&sumo));
    let seen = Client::plain(sumo.addr()).await.raw(unfinished.as_bytes()).await.expect("an answer");
    assert_eq!((seen.status, seen.header("connection")), (413, Some("close")));
    assert!(sumo.ledger().is_empty());
}

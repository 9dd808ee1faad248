//! Each fault as a client meets it on the wire.

mod common;

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use common::{Answer, Ask, LONG, collect, days, encode, get, listing, raws, send, small, start_time, started, token};
use miro_simulator::{Endpoint, Fault, FaultOrder, FaultPlan, RetryAfter, Running, SimConfig, Simulator, Stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn audit_path(running: &Running, more: &str) -> String {
    listing(running, Stream::Audit, start_time() - days(7), start_time(), more)
}

/// One request that meets the fault, and one right after it that does not.
async fn meet(running: &Running, fault: Fault) -> std::io::Result<Answer> {
    running.sim().order_fault(FaultOrder::once(fault, Endpoint::Audit));
    let path = audit_path(running, "&limit=100");
    let met = tokio::time::timeout(LONG, send(running, Ask { body_max: 3_000_000, ..Ask::get(&path, token(running, "siem")) }))
        .await
        .expect("an end");
    let next = get(running, &path, token(running, "siem")).await;
    assert_eq!((next.status, next.broken), (200, None), "the request after {fault:?}");
    assert_eq!(next.json()["size"], 100);
    met
}

#[tokio::test]
async fn every_status_can_be_ordered_with_miros_error_a_web_page_or_nothing() {
    let running = started(small()).await;
    for status in [400, 401, 403, 404, 409, 429, 500, 502, 503, 504] {
        let answer = meet(&running, Fault::Status(status)).await.expect("an answer");
        assert_eq!((answer.status, answer.json()["status"].as_u64()), (status, Some(u64::from(status))));
        let answer = meet(&running, Fault::Html(status)).await.expect("an answer");
        assert_eq!((answer.status, answer.header("content-type")), (status, Some("text/html")));
        assert!(answer.body.starts_with(b"<html>"));
        let answer = meet(&running, Fault::Empty(status)).await.expect("an answer");
        assert_eq!((answer.status, answer.body.len(), answer.broken), (status, 0, None));
    }
}

#[tokio::test]
async fn a_forced_429_says_when_to_come_back() {
    let running = started(SimConfig { retry_after: RetryAfter::Seconds, ..small() }).await;
    let answer = meet(&running, Fault::Status(429)).await.expect("an answer");
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(answer.header("x-ratelimit-remaining"), Some("0"));
    assert!(answer.header("x-ratelimit-reset").is_some());
}

#[tokio::test]
async fn a_truncated_body_is_half_of_what_its_length_promised() {
    let running = started(small()).await;
    let answer = meet(&running, Fault::Truncated).await.expect("headers");
    let promised: usize = answer.header("content-length").and_then(|length| length.parse().ok()).expect("a length");
    assert_eq!((answer.status, answer.broken), (200, Some(ErrorKind::UnexpectedEof)));
    assert!(answer.body.len() == promised / 2 && answer.body.len() > 10_000, "{} of {promised}", answer.body.len());
}

#[tokio::test]
async fn an_endless_body_goes_on_until_the_client_gives_up() {
    let running = started(small()).await;
    let answer = meet(&running, Fault::Endless).await.expect("headers");
    assert_eq!((answer.status, answer.header("content-length"), answer.broken), (200, None, Some(ErrorKind::FileTooLarge)));
    assert!(answer.body.len() > 2_900_000);
}

#[tokio::test]
async fn resets_are_tcp_resets() {
    let running = started(small()).await;
    for fault in [Fault::Reset, Fault::ResetAfterProcessing] {
        let error = meet(&running, fault).await.expect_err("no answer");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{fault:?}");
    }
    // The kernel may drop what the client has not read when the reset arrives, so how much of the body is seen is open.
    match meet(&running, Fault::ResetInBody).await {
        Ok(answer) => assert_eq!((answer.status, answer.broken), (200, Some(ErrorKind::ConnectionReset))),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
    let seen: Vec<_> = running.sim().requests().iter().filter_map(|request| Some((request.fault?, request.status))).collect();
    assert_eq!(seen, [(Fault::Reset, None), (Fault::ResetAfterProcessing, None), (Fault::ResetInBody, Some(200))]);
}

#[tokio::test]
async fn a_reset_before_processing_spares_the_refresh_token_and_one_after_it_does_not() {
    let running = started(small()).await;
    let app = running.sim().auth().apps[0].clone();
    let form = format!(
        "grant_type=refresh_token&client_id={}&client_secret={}&refresh_token={}",
        app.client_id, app.client_secret, app.refresh_token
    );
    let refresh = async || send(&running, Ask::post("/v1/oauth/token", form.as_bytes(), "application/x-www-form-urlencoded")).await;
    running.sim().order_fault(FaultOrder::once(Fault::Reset, Endpoint::Token));
    assert!(refresh().await.is_err());
    assert_eq!(get(&running, "/v1/oauth-token", &app.access_token).await.status, 200);
    running.sim().order_fault(FaultOrder::once(Fault::ResetAfterProcessing, Endpoint::Token));
    assert!(refresh().await.is_err());
    assert_eq!(get(&running, "/v1/oauth-token", &app.access_token).await.status, 400);
    assert_eq!(refresh().await.expect("an answer").status, 401);
}

#[tokio::test]
async fn stalls_are_silent_and_then_close() {
    let running = started(small()).await;
    let started_at = Instant::now();
    let error = meet(&running, Fault::StallBeforeHeaders(Duration::from_millis(400))).await.expect_err("no answer");
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    assert!(started_at.elapsed() >= Duration::from_millis(400));
    let started_at = Instant::now();
    let answer = meet(&running, Fault::StallInBody(Duration::from_millis(400))).await.expect("headers");
    assert_eq!((answer.status, answer.broken), (200, Some(ErrorKind::UnexpectedEof)));
    assert!(!answer.body.is_empty() && started_at.elapsed() >= Duration::from_millis(400));
}

#[tokio::test]
async fn a_trickle_is_slow_and_whole() {
    let running = started(small()).await;
    let started_at = Instant::now();
    let answer = meet(&running, Fault::Trickle(Duration::from_millis(500))).await.expect("an answer");
    assert!(started_at.elapsed() >= Duration::from_millis(400), "{:?}", started_at.elapsed());
    assert_eq!((answer.broken, answer.json()["size"].as_u64()), (None, Some(100)));
}

#[tokio::test]
async fn invalid_json_and_wrong_types_have_status_200() {
    let running = started(small()).await;
    let answer = meet(&running, Fault::InvalidJson).await.expect("an answer");
    assert_eq!((answer.status, answer.broken), (200, None));
    assert!(serde_json::from_slice::<serde_json::Value>(&answer.body).is_err());
    let answer = meet(&running, Fault::WrongType).await.expect("an answer");
    assert!(answer.json()["data"].is_null());
}

#[tokio::test]
async fn an_expired_cursor_is_refused_and_a_request_without_cursor_is_not() {
    let running = started(small()).await;
    let siem = token(&running, "siem");
    let first_path = audit_path(&running, "&limit=10");
    let cursor = get(&running, &first_path, siem).await.json()["cursor"].as_str().expect("a cursor").to_owned();
    running.sim().order_fault(FaultOrder::once(Fault::ExpiredCursor, Endpoint::Audit));
    assert_eq!(get(&running, &first_path, siem).await.status, 200);
    let next_path = format!("{first_path}&cursor={}", encode(&cursor));
    let refused = get(&running, &next_path, siem).await;
    assert_eq!((refused.status, refused.json().pointer("/context/fields/0/field").cloned()), (400, Some("cursor".into())));
    assert_eq!(get(&running, &next_path, siem).await.status, 200);
}

#[tokio::test]
async fn a_repeating_cursor_leads_nowhere() {
    let running = started(small()).await;
    let siem = token(&running, "admin");
    for (stream, endpoint) in [(Stream::Audit, Endpoint::Audit), (Stream::Content, Endpoint::Content), (Stream::Ai, Endpoint::Ai)] {
        let path = listing(&running, stream, start_time() - days(6), start_time(), "&limit=10");
        let first = get(&running, &path, siem).await.json();
        running.sim().order_fault(FaultOrder::once(Fault::RepeatCursor, endpoint).times(3));
        let page = get(&running, &path, siem).await.json();
        let start = page["cursor"].as_str().expect("a cursor");
        assert_ne!(page["cursor"], first["cursor"]);
        let again = get(&running, &format!("{path}&cursor={}", encode(start)), siem).await.json();
        assert_eq!((&again["cursor"], &again["data"]), (&page["cursor"], &first["data"]), "{stream}: the start repeats");
        let middle = first["cursor"].as_str().expect("a cursor");
        let stuck = get(&running, &format!("{path}&cursor={}", encode(middle)), siem).await.json();
        assert_eq!(stuck["cursor"], middle, "{stream}: the middle repeats");
    }
}

#[tokio::test]
async fn duplicates_repeat_the_page_before_and_unsorted_pages_lose_nothing() {
    let running = started(small()).await;
    let siem = token(&running, "siem");
    let ids = |page: &serde_json::Value| -> Vec<String> {
        page["data"].as_array().expect("data").iter().map(|event| event["id"].as_str().expect("an id").to_owned()).collect()
    };
    let path = audit_path(&running, "&limit=20");
    let first = get(&running, &path, siem).await.json();
    let next_path = format!("{path}&cursor={}", encode(first["cursor"].as_str().expect("a cursor")));
    let next = get(&running, &next_path, siem).await.json();
    for (path, before) in [(&next_path, ids(&first)), (&path, ids(&first))] {
        running.sim().order_fault(FaultOrder::once(Fault::Duplicates, Endpoint::Audit));
        let page = ids(&get(&running, path, siem).await.json());
        assert_eq!(page.len(), 23);
        assert!(page[..3].iter().all(|id| before.contains(id)));
    }
    running.sim().order_fault(FaultOrder::once(Fault::Unsorted, Endpoint::Audit));
    let shuffled = get(&running, &next_path, siem).await.json();
    let (mut shuffled_ids, sorted_ids) = (ids(&shuffled), ids(&next));
    assert_ne!(shuffled_ids, sorted_ids);
    shuffled_ids.sort();
    assert_eq!((shuffled_ids, &shuffled["cursor"]), (sorted_ids, &next["cursor"]));
}

#[tokio::test]
async fn orders_wait_for_their_endpoint_and_their_turn() {
    let running = started(small()).await;
    let admin = token(&running, "admin");
    running.sim().order_fault(FaultOrder::once(Fault::Status(503), Endpoint::Content).times(2).after(1));
    let content = listing(&running, Stream::Content, start_time() - days(1), start_time(), "&limit=1");
    assert_eq!(get(&running, &audit_path(&running, "&limit=1"), admin).await.status, 200);
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(get(&running, &content, admin).await.status);
    }
    assert_eq!(statuses, [200, 503, 503, 200]);
    running.sim().order_fault(FaultOrder::once(Fault::Status(500), Endpoint::Audit).times(u32::MAX));
    for _ in 0..5 {
        assert_eq!(get(&running, &audit_path(&running, ""), admin).await.status, 500);
    }
    running.sim().clear_faults();
    assert_eq!(get(&running, &audit_path(&running, ""), admin).await.status, 200);
}

/// The bytes of a page fetched again and again until an answer is whole and plausible.
async fn insist(running: &Running, path: &str, token: &str) -> (serde_json::Value, u32) {
    for attempt in 1..=8 {
        let ask = Ask { body_max: 2_000_000, ..Ask::get(path, token) };
        let Ok(answer) = tokio::time::timeout(LONG, send(running, ask)).await.expect("an end") else { continue };
        if answer.status != 200 || answer.broken.is_some() {
            continue;
        }
        if let Ok(page) = serde_json::from_slice::<serde_json::Value>(&answer.body)
            && page["data"].is_array()
        {
            return (page, attempt);
        }
    }
    panic!("no whole answer in eight attempts");
}

#[tokio::test]
async fn faults_by_chance_come_often_and_let_a_patient_client_through() {
    let mut plan = FaultPlan { probability: 0.5, ..FaultPlan::rough() };
    // Silence is tested above; here it would only take time.
    plan.faults.retain(|fault| !matches!(fault, Fault::StallBeforeHeaders(_) | Fault::StallInBody(_) | Fault::Trickle(_)));
    let running = started(SimConfig { faults: plan, ..small() }).await;
    let path = audit_path(&running, "&limit=50");
    let mut attempts = 0;
    for _ in 0..40 {
        attempts += insist(&running, &path, token(&running, "siem")).await.1;
    }
    assert!((50..=160).contains(&attempts), "{attempts}");
    let faults = running.sim().requests().iter().filter(|request| request.fault.is_some()).count();
    assert!(faults > 20, "{faults}");
    running.sim().set_faults(FaultPlan::none());
    let truth = raws(&running.sim().truth(Stream::Audit, start_time() - days(7), start_time()));
    assert!(collect(&running, Stream::Audit, start_time() - days(7), start_time(), 100, "").await == truth);
}

#[tokio::test]
async fn a_router_served_by_others_shows_resets_as_broken_answers() {
    let sim = Simulator::new(small());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let server = tokio::spawn(axum::serve(listener, sim.router()).into_future());
    sim.order_fault(FaultOrder::once(Fault::Reset, Endpoint::TokenInfo));
    let request = format!(
        "GET /v1/oauth-token HTTP/1.0\r\nhost: sim\r\nauthorization: Bearer {}\r\n\r\n",
        sim.auth().token("siem").expect("a token")
    );
    let mut answers = Vec::new();
    for _ in 0..2 {
        let mut stream = tokio::net::TcpStream::connect(address).await.expect("a connection");
        stream.write_all(request.as_bytes()).await.expect("a sent request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an end");
        answers.push(answer);
    }
    server.abort();
    assert!(answers[0].contains("content-length: 2") && answers[0].ends_with("\r\n\r\n"), "{}", answers[0]);
    assert!(answers[1].contains("oAuthToken"), "{}", answers[1]);
}

#[tokio::test]
async fn a_request_whose_client_went_away_is_on_the_record() {
    let running = started(small()).await;
    running.sim().order_fault(FaultOrder::once(Fault::StallBeforeHeaders(Duration::from_secs(60)), Endpoint::TokenInfo));
    let path = "/v1/oauth-token";
    let given_up = tokio::time::timeout(Duration::from_millis(300), send(&running, Ask::get(path, token(&running, "siem")))).await;
    assert!(given_up.is_err());
    for _ in 0..100 {
        if let [request] = running.sim().requests().as_slice() {
            assert_eq!((request.path.as_str(), request.status), (path, None));
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("no request was recorded within two seconds");
}

#[tokio::test]
async fn a_stopped_simulator_refuses_connections_and_can_run_again_where_it_was() {
    let sim = Simulator::new(small());
    let running = sim.run("127.0.0.1:0").await.expect("a free port");
    let address = running.address();
    running.sim().order_fault(FaultOrder::once(Fault::StallBeforeHeaders(Duration::from_millis(60_000)), Endpoint::TokenInfo));
    let mut stalled = tokio::net::TcpStream::connect(address).await.expect("a connection");
    let request = format!("GET /v1/oauth-token HTTP/1.1\r\nhost: sim\r\nauthorization: Bearer {}\r\n\r\n", token(&running, "siem"));
    stalled.write_all(request.as_bytes()).await.expect("a sent request");
    tokio::time::sleep(Duration::from_millis(200)).await;
    let started_at = Instant::now();
    running.stop().await.expect("a clean stop");
    assert!(started_at.elapsed() < Duration::from_secs(3), "a stalled answer does not hold up the stop");
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
    let running = sim.run(address).await.expect("the port is free again");
    assert_eq!(get(&running, "/v1/oauth-token", token(&running, "siem")).await.status, 200);
}

#[tokio::test]
async fn answers_take_the_asked_for_time() {
    let running = started(SimConfig { latency: Duration::from_millis(120)..=Duration::from_millis(160), ..small() }).await;
    let started_at = Instant::now();
    for _ in 0..3 {
        assert_eq!(get(&running, "/v1/oauth-token", token(&running, "siem")).await.status, 200);
    }
    assert!(started_at.elapsed() >= Duration::from_millis(360));
}

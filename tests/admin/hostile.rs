//! Callers that are slow, silent, greedy or broken: on a paused clock, so that every limit is reached at once.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::Instant,
};

use super::support::{Endpoint, TOKEN, exchange, request, settings};

const GET: &str = "GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";

/// Sends the bytes and says when the other end hangs up, and after which words.
async fn cut_off(endpoint: &Endpoint, bytes: &[u8]) -> (Duration, String) {
    let began = Instant::now();
    let mut stream = endpoint.tcp().await;
    stream.write_all(bytes).await.expect("sent");
    let mut all = Vec::new();
    let _ = stream.read_to_end(&mut all).await;
    (began.elapsed(), String::from_utf8_lossy(&all).into_owned())
}

#[tokio::test(start_paused = true)]
async fn whoever_says_nothing_or_half_of_it_is_cut_off() {
    let endpoint = Endpoint::start(Some(TOKEN)).await;
    let post = format!(
        "POST /api/v1/log-level HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {TOKEN}\r\ncontent-type: application/json\r\n"
    );
    let rows: [(&[u8], u64, &str); 5] = [
        (b"", 15, ""),
        (b"GET /healthz HT", 15, ""),
        (b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nx-slow: ", 15, ""),
        // An answer, and then nothing: idle connections are closed as well.
        (b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n", 15, "401"),
        (&format!("{post}content-length: 22\r\n\r\n{{\"direc").into_bytes(), 30, "408"),
    ];
    for (bytes, secs, words) in rows {
        let (after, said) = cut_off(&endpoint, bytes).await;
        assert!(said.contains(words), "{said}");
        let sent = String::from_utf8_lossy(bytes);
        assert!(after >= Duration::from_secs(secs) && after < Duration::from_secs(secs + 20), "{sent:?} was held for {after:?}");
    }
    assert_eq!(endpoint.steered.take(), Vec::<String>::new());
}

#[tokio::test]
async fn what_is_too_large_is_refused_and_not_stored() {
    let endpoint = Endpoint::start(Some(TOKEN)).await;
    let head = format!("host: localhost\r\nauthorization: Bearer {TOKEN}\r\ncontent-type: application/json\r\n");
    let long = format!("{head}x-long: {}\r\n", "x".repeat(20 * 1024));
    let many = format!("{head}{}", "x-many: 1\r\n".repeat(100));
    let body = format!("{{\"directives\":\"{}\"}}", "x".repeat(65 * 1024));
    for (request, status) in [
        (request("GET", "/healthz", &long, ""), 431),
        (request("GET", "/healthz", &many, ""), 431),
        (request("GET", &format!("/{}", "x".repeat(20 * 1024)), &head, ""), 431),
        (request("POST", "/api/v1/log-level", &head, &body), 413),
        ("POST /api/v1/log-level HTTP/1.1\r\ncontent-length: x\r\n\r\n".to_owned(), 400),
        ("\u{0}\u{1}\u{2}\r\n\r\n".to_owned(), 400),
    ] {
        let reply = exchange(endpoint.tcp().await, &request).await;
        let beginning: String = request.chars().take(60).collect();
        assert_eq!(reply.status, status, "{beginning}: {}", reply.text);
    }
    assert_eq!(endpoint.steered.take(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn whoever_does_not_read_is_cut_off() {
    let dir = tempfile::tempdir().expect("a directory");
    let settings = settings(dir.path(), None);
    // More than the system's buffers between two ends of one machine.
    let endpoint = Endpoint::with(settings, dir, "m 1\n".repeat(8 << 20)).await;
    let mut stream = endpoint.tcp().await;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n").await.expect("sent");
    tokio::time::sleep(Duration::from_secs(60)).await;
    let mut all = Vec::new();
    let _ = stream.read_to_end(&mut all).await;
    assert!(!all.is_empty() && all.len() < 32 << 20, "{} bytes had been sent when it was cut", all.len());
}

#[tokio::test(start_paused = true)]
async fn a_crowd_on_tcp_takes_neither_the_socket_nor_tcp_for_good() {
    let endpoint = Endpoint::start(None).await;
    let mut crowd = Vec::new();
    for _ in 0..200 {
        crowd.push(endpoint.tcp().await);
    }
    let reply = exchange(endpoint.unix().await, GET).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let reply = exchange(endpoint.tcp().await, GET).await;
    assert_eq!(reply.status, 200, "the silent ones are cut off in turn: {}", reply.text);
}

#[tokio::test(start_paused = true)]
async fn nobody_keeps_the_endpoint_from_closing() {
    let endpoint = Endpoint::start(None).await;
    let mut half = endpoint.tcp().await;
    half.write_all(b"GET /healthz HT").await.expect("sent");
    let _silent = endpoint.unix().await;
    let mut tail = endpoint.unix().await;
    tail.write_all(b"GET /api/v1/events HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("sent");
    tail.read_u8().await.expect("an answer");
    let began = Instant::now();
    endpoint.stop.cancel();
    endpoint.serving.await.expect("it ends");
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

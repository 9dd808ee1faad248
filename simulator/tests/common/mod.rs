//! A raw HTTP/1.1 client: the tests must see truncation, resets and stalls as they are on the wire.

#![allow(dead_code, reason = "each test binary uses its part of the client")]

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use miro_simulator::{LiveMode, Running, SimConfig, Simulator, Stream, TruthEvent};
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What came back, perhaps not all of it.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: Vec<u8>,
    /// How reading ended; `None` where the whole body came.
    pub(crate) broken: Option<io::ErrorKind>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// A request in parts.
#[derive(Clone, Debug)]
pub(crate) struct Ask<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) token: Option<&'a str>,
    pub(crate) body: &'a [u8],
    pub(crate) content_type: &'a str,
    /// Stop reading after that many bytes of body.
    pub(crate) body_max: usize,
}

impl<'a> Ask<'a> {
    pub(crate) fn get(path: &'a str, token: &'a str) -> Self {
        Self { method: "GET", path, token: Some(token), body: b"", content_type: "application/json", body_max: usize::MAX }
    }

    pub(crate) fn post(path: &'a str, body: &'a [u8], content_type: &'a str) -> Self {
        Self { method: "POST", token: None, body, content_type, ..Self::get(path, "") }
    }
}

/// Sends one request on a connection of its own.
///
/// Fails where the connection ends before a status line.
pub(crate) async fn send(running: &Running, ask: Ask<'_>) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(running.address()).await?;
    let mut head = format!("{} {} HTTP/1.1\r\nhost: sim\r\nconnection: close\r\n", ask.method, ask.path);
    if let Some(token) = ask.token {
        head.push_str(&format!("authorization: Bearer {token}\r\n"));
    }
    head.push_str(&format!("content-type: {}\r\ncontent-length: {}\r\n\r\n", ask.content_type, ask.body.len()));
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(ask.body).await?;
    let mut received = Vec::new();
    let mut buffer = vec![0; 65_536];
    let ended = loop {
        match stream.read(&mut buffer).await {
            Ok(0) => break None,
            Ok(count) => received.extend_from_slice(&buffer[..count]),
            Err(error) => break Some(error.kind()),
        }
        if received.len() > ask.body_max {
            break Some(io::ErrorKind::FileTooLarge);
        }
    };
    parse(&received, ended)
}

fn parse(received: &[u8], ended: Option<io::ErrorKind>) -> io::Result<Answer> {
    let Some(end) = received.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Err(ended.unwrap_or(io::ErrorKind::UnexpectedEof).into());
    };
    let head = String::from_utf8_lossy(&received[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|status| status.parse().ok()).expect("a status line");
    let headers: HashMap<String, String> =
        lines.filter_map(|line| line.split_once(": ")).map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
    let rest = &received[end + 4..];
    let (body, complete) = match headers.get("content-length").and_then(|length| length.parse::<usize>().ok()) {
        Some(length) => (rest.to_vec(), rest.len() == length),
        None if headers.get("transfer-encoding").is_some_and(|value| value == "chunked") => dechunk(rest),
        None => (rest.to_vec(), true),
    };
    let broken = (!complete).then(|| ended.unwrap_or(io::ErrorKind::UnexpectedEof));
    Ok(Answer { status, headers, body, broken })
}

fn dechunk(mut rest: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    while let Some(end) = rest.windows(2).position(|window| window == b"\r\n") {
        let size = usize::from_str_radix(&String::from_utf8_lossy(&rest[..end]), 16).expect("a chunk size");
        if size == 0 {
            return (body, true);
        }
        let chunk = &rest[end + 2..];
        if chunk.len() < size + 2 {
            body.extend_from_slice(&chunk[..size.min(chunk.len())]);
            return (body, false);
        }
        body.extend_from_slice(&chunk[..size]);
        rest = &chunk[size + 2..];
    }
    (body, false)
}

pub(crate) async fn get(running: &Running, path: &str, token: &str) -> Answer {
    send(running, Ask::get(path, token)).await.expect("an answer")
}

pub(crate) fn start_time() -> DateTime<Utc> {
    "2026-11-20T13:00:00Z".parse().expect("a time")
}

/// A small organisation at a fixed moment; its clock stands still.
pub(crate) fn small() -> SimConfig {
    SimConfig {
        now: start_time(),
        audit_events: 700,
        content_events: 400,
        ai_events: 230,
        live: LiveMode::Off,
        credits_per_minute: None,
        ..SimConfig::default().with_days(7)
    }
}

pub(crate) async fn started(config: SimConfig) -> Running {
    let now = config.now;
    let running = Simulator::start(config).await.expect("a free port");
    running.sim().clock().freeze_at(now);
    running
}

pub(crate) fn token<'a>(running: &'a Running, name: &str) -> &'a str {
    running.sim().auth().token(name).expect("a default token has this name")
}

pub(crate) fn encode(text: &str) -> String {
    text.bytes().map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// The path of a listing of a window, with what else is wanted.
pub(crate) fn listing(running: &Running, stream: Stream, from: DateTime<Utc>, to: DateTime<Utc>, more: &str) -> String {
    let org = running.sim().org_id();
    let (from, to) = (from.to_rfc3339_opts(chrono::SecondsFormat::Millis, true), to.to_rfc3339_opts(chrono::SecondsFormat::Millis, true));
    match stream {
        Stream::Audit => format!("/v2/audit/logs?createdAfter={from}&createdBefore={to}{more}"),
        Stream::Content => format!("/v2/orgs/{org}/content-logs/items?from={from}&to={to}{more}"),
        Stream::Ai => format!("/v2/orgs/{org}/ai-interaction-logs?from={from}&to={to}{more}"),
    }
}

#[derive(serde::Deserialize)]
struct RawPage<'a> {
    #[serde(borrow)]
    data: Vec<&'a RawValue>,
    size: usize,
    limit: usize,
    cursor: Option<String>,
}

/// Everything in a window, page by page, as the bytes that came.
pub(crate) async fn collect(
    running: &Running,
    stream: Stream,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    limit: usize,
    more: &str,
) -> Vec<Vec<u8>> {
    let mut events = Vec::new();
    let mut cursor: Option<String> = None;
    for _ in 0..20_000 {
        let next = cursor.as_deref().map(|cursor| format!("&cursor={}", encode(cursor))).unwrap_or_default();
        let path = listing(running, stream, from, to, &format!("&limit={limit}{more}{next}"));
        let answer = get(running, &path, token(running, "admin")).await;
        assert_eq!(answer.status, 200, "{path}: {}", String::from_utf8_lossy(&answer.body));
        let page: RawPage<'_> = serde_json::from_slice(&answer.body).expect("a page");
        assert_eq!((page.size, page.limit), (page.data.len(), limit));
        assert!(page.data.len() <= limit);
        events.extend(page.data.iter().map(|event| event.get().as_bytes().to_vec()));
        let same = page.cursor == cursor;
        cursor = page.cursor.filter(|cursor| !cursor.is_empty());
        if cursor.is_none() || page.data.is_empty() || same {
            return events;
        }
    }
    panic!("the listing has no end");
}

pub(crate) fn raws(events: &[TruthEvent]) -> Vec<Vec<u8>> {
    events.iter().map(|event| event.raw.clone()).collect()
}

pub(crate) fn days(count: i64) -> TimeDelta {
    TimeDelta::days(count)
}

pub(crate) const LONG: Duration = Duration::from_secs(20);

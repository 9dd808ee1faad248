//! Events to deliver, and a receiver that says what it is told to.

use std::{
    collections::VecDeque,
    fmt::Debug,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use miro_siem::{
    config::settings::TlsSettings,
    event::{Event, EventId, OrgName, Origin, Position, StreamId, StreamKind, Timestamp},
    sink::{Batch, ErrorClass, Receipt, Sink, SinkError, http::Connection},
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
};

/// Long enough for a busy machine, short enough for a test that waits for it.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(10);
/// For tests in which the receiver does not answer.
pub(crate) const SHORT: Duration = Duration::from_millis(1_500);

pub(crate) fn connection(timeout: Duration) -> Connection {
    Connection { timeout, tls: TlsSettings::default() }
}

/// Events with their records, as the driver hands them to a sink.
pub(crate) struct Events {
    stream: StreamId,
    events: Vec<Event>,
    payloads: Vec<u8>,
    ends: Vec<usize>,
}

impl Events {
    pub(crate) fn new(kind: StreamKind) -> Self {
        let stream = StreamId::new(OrgName::new("acme"), kind);
        Self { stream, events: Vec::new(), payloads: Vec::new(), ends: Vec::new() }
    }

    /// Audit events with those records, at the times 1 s, 2 s and so on.
    pub(crate) fn audit(payloads: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Self {
        let mut events = Self::new(StreamKind::Audit);
        for (n, payload) in payloads.into_iter().enumerate() {
            events.push(Some(Timestamp::from_millis(1_000 * (n as i64 + 1))), Origin::Live, payload.as_ref());
        }
        events
    }

    /// `count` ordinary audit events.
    pub(crate) fn ordinary(count: usize) -> Self {
        Self::audit((0..count).map(ordinary))
    }

    pub(crate) fn push(&mut self, time: Option<Timestamp>, origin: Origin, payload: &[u8]) {
        let n = self.events.len();
        self.payloads.extend_from_slice(payload);
        self.ends.push(self.payloads.len());
        self.events.push(Event {
            position: Position(n as u64 + 1),
            id: EventId::new(format!("event#{n}")),
            time,
            collected_at: Timestamp::from_millis(1_700_000_000_123),
            origin,
            raw: payload.to_vec().into(),
        });
    }

    pub(crate) fn batch(&self) -> Batch<'_> {
        Batch::new(&self.stream, &self.events, &self.payloads, &self.ends)
    }
}

/// An audit event as Miro writes it; its id is `event#<n>`.
pub(crate) fn ordinary(n: usize) -> String {
    format!(
        r#"{{"id":"event#{n}","event":"board_opened","category":"boards","createdAt":"2026-11-01T10:00:00.{:03}+0000","createdBy":{{"type":"user","id":"30{n}","email":"ada.lovelace{n}@example.com"}},"context":{{"ip":"203.0.113.9"}},"object":{{"id":"uXjV{n}=","name":"Quarterly plan"}}}}"#,
        n % 1000
    )
}

/// Records that are legal and easy to damage.
pub(crate) fn odd() -> Vec<String> {
    vec![
        r#"{"id":"event#0","big":9007199254740993,"e":1.0e400,"zero":-0.0,"spelling":1.50}"#.to_owned(),
        "{ \"id\" : \"event#1\" ,\t\"spaced\":  [ 1 ,2 ] }".to_owned(),
        r#"{"id":"event#2","twice":1,"twice":2,"z":1,"a":2}"#.to_owned(),
        r#"{"id":"event#3","escapes":"\u00e9\/\ud83d\ude00\u0000 \u2028","raw":"é😀\u007f"}"#.to_owned(),
        r#"{"id":"event#4","half":"\ud800","actor":null,"team":{}}"#.to_owned(),
        format!(r#"{{"id":"event#5","state":"{}"}}"#, "x".repeat(100_000)),
        format!(r#"{{"id":"event#6","deep":{}1{}}}"#, "[".repeat(100), "]".repeat(100)),
    ]
}

/// What a delivery comes to, without its words.
pub(crate) async fn outcome(sink: &impl Sink, events: &Events) -> Result<Receipt, ErrorClass> {
    sink.deliver(events.batch()).await.map_err(|error| error.class())
}

pub(crate) async fn error(sink: &impl Sink, events: &Events) -> SinkError {
    sink.deliver(events.batch()).await.expect_err("the delivery was expected to fail")
}

/// Fails when a text that people may read holds a secret or a piece of an event.
pub(crate) fn assert_clean(shown: &impl Debug, text: &str, secrets: &[&str]) {
    for (what, text) in [("Debug", format!("{shown:?} {shown:#?}")), ("the text", text.to_owned())] {
        for secret in secrets {
            assert!(!text.contains(secret), "{what} holds {secret}: {text}");
        }
    }
}

/// A file that is gone with the value.
pub(crate) struct TempFile {
    _dir: tempfile::TempDir,
    pub(crate) path: PathBuf,
}

impl TempFile {
    pub(crate) fn new(content: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("content");
        std::fs::write(&path, content).expect("written");
        Self { _dir: dir, path }
    }

    pub(crate) fn write(&self, content: &str) {
        std::fs::write(&self.path, content).expect("written");
    }
}

/// One request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// Which connection it came over, counted from 0.
    pub(crate) connection: usize,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Seen {
    /// A header's value; the name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let line = self.head.lines().find(|line| line.to_ascii_lowercase().starts_with(&format!("{name}:")))?;
        Some(line[name.len() + 1..].trim().to_owned())
    }
}

/// A receiver that gives the next answer of a list to each request, and remembers the requests.
pub(crate) struct Scripted {
    pub(crate) url: url::Url,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Scripted {
    /// Answers are whole: status line, headers and body.
    pub(crate) async fn start(answers: impl IntoIterator<Item = String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address")).parse().expect("a URL");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let answers: Arc<Mutex<VecDeque<String>>> = Arc::new(Mutex::new(answers.into_iter().collect()));
        let (log, script) = (Arc::clone(&seen), answers);
        tokio::spawn(async move {
            let mut connection = 0;
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, connection, Arc::clone(&log), Arc::clone(&script)));
                connection += 1;
            }
        });
        Self { url, seen }
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("no panic").clone()
    }
}

/// An answer in whole.
pub(crate) fn answer(status: u16, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status} Scripted\r\n{headers}content-length: {}\r\n\r\n{body}", body.len())
}

async fn serve(stream: TcpStream, connection: usize, seen: Arc<Mutex<Vec<Seen>>>, script: Arc<Mutex<VecDeque<String>>>) {
    let mut stream = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if stream.read_line(&mut head).await.unwrap_or(0) == 0 {
                return;
            }
        }
        let mut request = Seen { connection, head, body: Vec::new() };
        let length = request.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        request.body.resize(length, 0);
        if stream.read_exact(&mut request.body).await.is_err() {
            return;
        }
        seen.lock().expect("no panic").push(request);
        let Some(answer) = script.lock().expect("no panic").pop_front() else { return };
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

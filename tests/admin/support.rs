//! An endpoint with nothing behind it but what a test puts there, and callers that write their requests by hand.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use futures_util::future::BoxFuture;
use miro_siem::{
    admin::{
        AdminParts, Control, Listeners,
        control::{
            BackfillRequest, BackfillState, BackfillStatus, Backfills, ControlError, Events, LogDirectives, LogLevel, TailRequest, Tailed,
        },
        serve,
        status::Status,
    },
    config::{Secret, settings::AdminSettings},
};
use serde_json::json;
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpStream, UnixStream},
    sync::mpsc,
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

pub(crate) const TOKEN: &str = "the-admin-token-of-this-test";

/// A running endpoint.
pub(crate) struct Endpoint {
    pub(crate) port: u16,
    pub(crate) socket: PathBuf,
    pub(crate) steered: Arc<Steered>,
    pub(crate) stop: CancellationToken,
    pub(crate) serving: JoinHandle<()>,
    pub(crate) dir: TempDir,
}

/// What the routes have asked for.
#[derive(Debug, Default)]
pub(crate) struct Steered {
    pub(crate) calls: Mutex<Vec<String>>,
    /// The sending ends of the tails, kept so that a tail stays open.
    pub(crate) tails: Mutex<Vec<mpsc::Sender<Tailed>>>,
}

impl Steered {
    fn note(&self, call: String) {
        self.calls.lock().expect("no panic").push(call);
    }

    /// What has been asked for since the last time.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.calls.lock().expect("no panic"))
    }
}

fn backfill(wanted: &BackfillRequest) -> BackfillStatus {
    BackfillStatus {
        id: "b-1".to_owned(),
        org: wanted.stream.org.to_string(),
        stream: wanted.stream.kind.to_string(),
        from: wanted.from.to_string(),
        to: wanted.to.map_or_else(|| "now".to_owned(), |to| to.to_string()),
        state: BackfillState::Running,
        range_secs: 100.0,
        missing_at_start_secs: 100.0,
        missing_secs: 25.0,
        events: 7,
        note: None,
        fault: None,
    }
}

impl Backfills for Steered {
    fn request(&self, wanted: BackfillRequest) -> BoxFuture<'_, Result<BackfillStatus, ControlError>> {
        self.note(format!("backfill {} from {}", wanted.stream, wanted.from));
        let known = wanted.stream.org.as_str() == "acme";
        let unknown = || Err(ControlError::Unknown("there is no organisation of that name; the organisations are acme".to_owned()));
        Box::pin(std::future::ready(if known { Ok(backfill(&wanted)) } else { unknown() }))
    }

    fn list(&self) -> Vec<BackfillStatus> {
        Vec::new()
    }

    fn cancel<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<BackfillStatus, ControlError>> {
        self.note(format!("cancel {id}"));
        Box::pin(std::future::ready(Err(ControlError::Unknown(format!("there is no backfill {id:?}")))))
    }
}

impl Events for Steered {
    fn tail(&self, wanted: TailRequest) -> Result<mpsc::Receiver<Tailed>, ControlError> {
        self.note(format!("tail {:?}", wanted.event));
        let (sender, receiver) = mpsc::channel(4);
        sender.try_send(Tailed::Lines("{\"event\":\"board_opened\"}\n".into())).expect("there is room");
        self.tails.lock().expect("no panic").push(sender);
        Ok(receiver)
    }
}

impl LogLevel for Steered {
    fn directives(&self) -> LogDirectives {
        LogDirectives { directives: "info".to_owned(), started_with: "info".to_owned() }
    }

    fn set(&self, directives: &str) -> Result<LogDirectives, String> {
        self.note(format!("log {directives}"));
        if directives == "loud" { Err("there is no such level".to_owned()) } else { Ok(self.directives()) }
    }

    fn reset(&self) -> LogDirectives {
        self.note("log reset".to_owned());
        self.directives()
    }
}

pub(crate) fn status() -> Status {
    const TIME: &str = "2026-11-20T10:00:00.000Z";
    let status = json!({
        "version": "0.1.0", "pid": 7, "started_at": TIME, "now": TIME, "healthy": true, "ready": true, "problems": [], "streams": [], "sinks": [],
        "journal": { "bytes": 1, "bytes_max": 2, "events": 3, "head": 4, "quarantined_records": 0 },
    });
    serde_json::from_value(status).expect("a status")
}

/// Settings of an endpoint in `dir`, on a free port.
pub(crate) fn settings(dir: &Path, token: Option<&str>) -> AdminSettings {
    AdminSettings {
        listen: Some(([127, 0, 0, 1], 0).into()),
        socket: Some(dir.join("admin.sock")),
        token: token.map(Secret::literal),
        tls: None,
        hosts: vec!["siem.example.com".to_owned()],
    }
}

impl Endpoint {
    pub(crate) async fn start(token: Option<&str>) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let settings = settings(dir.path(), token);
        Self::with(settings, dir, String::new()).await
    }

    /// One whose metrics are this text.
    pub(crate) async fn with(settings: AdminSettings, dir: TempDir, metrics: String) -> Self {
        let listeners = Listeners::bind(&settings).await.expect("the endpoint can be bound");
        let port = listeners.address().expect("an address").port();
        let (steered, stop) = (Arc::<Steered>::default(), CancellationToken::new());
        let control =
            Control { backfills: Some(steered.clone()), events: Some(steered.clone()), log: Some(steered.clone()), ..Control::default() };
        let parts = AdminParts { status: Arc::new(status), metrics: Arc::new(move || metrics.clone()), control };
        let (until, socket) = (stop.clone(), settings.socket.clone().expect("a socket"));
        let serving = tokio::spawn(async move { serve(listeners, &settings, parts, until).await });
        Self { port, socket, steered, stop, serving, dir }
    }

    pub(crate) async fn tcp(&self) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.port)).await.expect("the endpoint listens")
    }

    pub(crate) async fn unix(&self) -> UnixStream {
        UnixStream::connect(&self.socket).await.expect("the socket is there")
    }
}

/// What came back: the status and everything.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) text: String,
}

/// A request as a program writes it, which the server closes after its answer.
pub(crate) fn request(method: &str, path: &str, headers: &str, body: &str) -> String {
    let length = if body.is_empty() { String::new() } else { format!("content-length: {}\r\n", body.len()) };
    format!("{method} {path} HTTP/1.1\r\n{headers}{length}connection: close\r\n\r\n{body}")
}

/// Sends the request, and reads until the other end closes.
pub(crate) async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &str) -> Reply {
    stream.write_all(request.as_bytes()).await.expect("the request is taken");
    let mut all = Vec::new();
    // A server that closes while it still has bytes of ours resets the connection, after its answer.
    let _ = stream.read_to_end(&mut all).await;
    let text = String::from_utf8_lossy(&all).into_owned();
    let status = text.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    Reply { status, text }
}

//! The admin endpoint of the whole program: its socket outlives a crash, and no route gives a secret away.

use std::{
    fs,
    io::{Read, Write},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::Path,
    time::Duration,
};

use miro_simulator::FaultPlan;

use crate::{
    daemon::{Daemon, command, free_port},
    world::organisation,
};

/// Asks over the unix socket.
fn ask(socket: &Path, method: &str, path: &str, body: &str) -> String {
    let mut stream = UnixStream::connect(socket).expect("the socket answers");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    let length = body.len();
    let head = format!("{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n");
    stream.write_all(format!("{head}connection: close\r\n\r\n{body}").as_bytes()).expect("sent");
    let mut all = Vec::new();
    // A tail has no end: what came until then is what counts.
    let _ = stream.read_to_end(&mut all);
    String::from_utf8_lossy(&all).into_owned()
}

const READY: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn the_socket_survives_a_kill_and_is_for_its_owner_alone() {
    let miro = organisation(1, 100, 0, FaultPlan::none()).await;
    let dir = tempfile::tempdir().expect("a directory");
    let config = dir.path().join("config.toml");
    let text = format!(
        "[state]\ndir = \"{dir}/state\"\n[admin]\nlisten = \"off\"\n[orgs.acme]\napi_url = \"{url}\"\ntoken = \"{token}\"\n[orgs.acme.audit]\n[sinks.archive]\ntype = \"file\"\npath = \"{dir}/audit.ndjson\"\n",
        dir = dir.path().display(),
        url = miro.url(),
        token = crate::world::token(&miro)
    );
    fs::write(&config, text).expect("the file is written");
    let (log, socket) = (dir.path().join("log"), dir.path().join("state/admin.sock"));
    tokio::task::block_in_place(|| {
        let mut daemon = Daemon::start(&config, &log, "info");
        daemon.wait_until("it is asked over the socket", READY, |status| status["ready"] == true);
        assert_eq!(fs::metadata(&socket).expect("the socket").permissions().mode() & 0o7777, 0o600);
        daemon.kill();
        assert!(socket.exists(), "a kill leaves the file");
        let mut daemon = Daemon::start(&config, &log, "info");
        daemon.wait_until("it is asked again", READY, |status| status["ready"] == true);
        daemon.terminate();
        assert_eq!(daemon.wait(Duration::from_secs(20)).code(), Some(0));
        assert!(!socket.exists(), "an orderly end does not");
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn no_route_gives_a_secret_away() {
    // Every kind of failure, so that errors are among the answers.
    let miro = organisation(1, 100, 0, FaultPlan::none()).await;
    let dir = tempfile::tempdir().expect("a directory");
    let secret = |name: &str| format!("pl4nted-{name}-s3cret");
    let file = dir.path().join("content.token");
    fs::write(&file, secret("file")).expect("written");
    let config = dir.path().join("config.toml");
    let nobody = free_port();
    let text = format!(
        r#"
[state]
dir = "{dir}/state"
[admin]
listen = "127.0.0.1:{port}"
token = "{admin}"
[orgs.acme]
api_url = "{url}"
token = "{token}"
[orgs.acme.audit]
[orgs.acme.content]
token = {{ file = "{file}" }}
[orgs.beta]
api_url = "{url}"
oauth = {{ client_id = "c", client_secret = "{client}", refresh_token = "{refresh}" }}
[orgs.beta.audit]
[sinks.splunk]
type = "splunk_hec"
url = "http://127.0.0.1:{nobody}"
token = "{hec}"
[sinks.sumo]
type = "sumo"
url = "http://127.0.0.1:{nobody}/{sumo}"
[sinks.http]
type = "http"
url = "http://user:{password}@127.0.0.1:{nobody}/{path}?key={query}"
headers = {{ x-api-key = "{header}" }}
bearer_token = "{bearer}"
"#,
        dir = dir.path().display(),
        port = free_port(),
        url = miro.url(),
        file = file.display(),
        admin = secret("admin"),
        token = secret("miro"),
        client = secret("client"),
        refresh = secret("refresh"),
        hec = secret("hec"),
        sumo = secret("sumo"),
        password = secret("password"),
        path = secret("path"),
        query = secret("query"),
        header = secret("header"),
        bearer = secret("bearer"),
    );
    fs::write(&config, text).expect("written");
    let socket = dir.path().join("state/admin.sock");
    tokio::task::block_in_place(|| {
        let daemon = Daemon::start(&config, &dir.path().join("log"), "info");
        let all_have_failed = |status: &serde_json::Value| {
            status["streams"].as_array().is_some_and(|rows| rows.len() == 3 && rows.iter().all(|row| !row["fault"].is_null()))
        };
        daemon.wait_until("every stream has failed", Duration::from_secs(60), all_have_failed);
        let mut answers = Vec::new();
        for (method, path, body) in [
            ("GET", "/", ""),
            ("GET", "/healthz", ""),
            ("GET", "/readyz", ""),
            ("GET", "/metrics", ""),
            ("GET", "/nothing", ""),
            ("GET", "/api/v1/status", ""),
            ("GET", "/api/v1/backfills", ""),
            ("POST", "/api/v1/backfills", r#"{"org":"none","stream":"audit","from":"2026-01-01T00:00:00Z"}"#),
            ("DELETE", "/api/v1/backfills/none", ""),
            ("GET", "/api/v1/attest?from=2026-01-01T00:00:00Z", ""),
            ("GET", "/api/v1/ids?org=none&stream=audit&hour=2026-01-01T00:00:00Z", ""),
            ("POST", "/api/v1/ids/names", r#"{"org":"none","stream":"audit","ids":[]}"#),
            ("GET", "/api/v1/log-level", ""),
            ("POST", "/api/v1/log-level", r#"{"directives":"trace"}"#),
            ("POST", "/api/v1/log-level", r#"{"directives":"info"}"#),
            ("DELETE", "/api/v1/log-level", ""),
        ] {
            let answer = ask(&socket, method, path, body);
            assert!(answer.starts_with("HTTP/1.1 "), "{method} {path}: {answer}");
            answers.push((format!("{method} {path}"), answer));
        }
        let shown = command().args(["status", "--config"]).arg(&config).output().expect("status runs");
        answers.push(("status".to_owned(), String::from_utf8_lossy(&shown.stdout).into_owned()));
        answers.push(("the log".to_owned(), fs::read_to_string(dir.path().join("log")).expect("the log")));
        for (place, answer) in answers {
            let line = answer.lines().find(|line| line.contains("pl4nted"));
            assert_eq!(line, None, "{place}");
        }
        drop(daemon);
    });
}

//! The process `fake-receivers`: its ready line, its control port, its end.

mod support;

use std::{net::SocketAddr, process::Stdio, time::Duration};

use serde_json::Value;
use support::{Client, Seen};
use testbed::ledger::Digest;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpStream,
    process::{Child, Command},
    time::timeout,
};

struct Process {
    child: Child,
    ready: Value,
}

async fn start(args: &[&str]) -> Process {
    let mut child = Command::new(env!("CARGO_BIN_EXE_fake-receivers"))
        .args(args)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("start the process");
    let mut line = String::new();
    let stdout = child.stdout.take().expect("a pipe");
    let read = BufReader::new(stdout).read_line(&mut line).await;
    assert!(read.is_ok_and(|len| len > 0), "a ready line");
    Process { child, ready: serde_json::from_str(&line).expect("JSON") }
}

fn addr_of(url: &Value) -> SocketAddr {
    let url = url.as_str().expect("a URL");
    let rest = url.split_once("://").expect("a scheme").1;
    rest.split('/').next().unwrap_or_default().parse().expect(url)
}

impl Process {
    async fn control(&self, line: &str, body: &str) -> Seen {
        let head = format!("{line} HTTP/1.1\r\nhost: control\r\n");
        let mut client = Client::plain(addr_of(&self.ready["control"])).await;
        client.send(&head, body.as_bytes()).await.expect("an answer of the control port")
    }

    async fn hec(&self, body: &str) -> u16 {
        let head = "POST /services/collector HTTP/1.1\r\nhost: hec\r\nauthorization: Splunk T\r\n";
        let mut client = Client::plain(addr_of(&self.ready["hec"]["url"])).await;
        client.send(head, body.as_bytes()).await.expect("an answer of hec").status
    }
}

#[tokio::test]
async fn the_process_says_what_listens_and_lets_its_ledgers_be_read() {
    let dir = tempfile::tempdir().expect("a directory");
    let tls_dir = dir.path().join("tls");
    let local = "127.0.0.1:0";
    let tls = tls_dir.to_str().expect("UTF-8");
    let process = start(&["--hec", local, "--hec-token", "T", "--azure", local, "--sumo", local, "--tls-dir", tls]).await;
    assert!(process.ready["azure"]["endpoint"].as_str().expect("a URL").starts_with("https://"));
    assert!(process.ready["sumo"]["url"].as_str().expect("a URL").contains("/receiver/v1/http/"));
    for file in ["ca.pem", "server.pem", "server.key", "client.pem", "client.key"] {
        let pem = std::fs::read_to_string(tls_dir.join(file)).expect(file);
        assert!(pem.starts_with("-----BEGIN "), "{file}");
    }
    let event = r#"{"id":"a#1"}"#;
    for _ in 0..2 {
        assert_eq!(process.hec(&format!(r#"{{"event":{event}}}"#)).await, 200);
    }
    let ledger = process.control("GET /_fake/ledger?receiver=hec", "").await;
    let digest = Digest::of(event.as_bytes());
    ledger.is(200, &format!("{{\"id\":\"a#1\",\"seen\":2,\"altered\":0,\"sha256\":\"{digest}\"}}\n"));
    let counts = process.control("GET /_fake/counts", "").await.json();
    assert_eq!(counts["hec"]["totals"]["repeated"], 1);
    assert_eq!(counts["hec"]["counts"]["requests"], 2);
    assert_eq!(counts["azure"]["losses"]["bodies_dropped"], 0);
    assert_eq!(process.control("GET /_fake/ledger", "").await.status, 400, "several receivers: one has to be named");
    assert_eq!(process.control("POST /_fake/clear?receiver=hec", "").await.status, 204);
    process.control("GET /_fake/ledger?receiver=hec", "").await.is(200, "");
}

#[tokio::test]
async fn faults_conditions_and_outages_are_ordered_through_the_control_port() {
    let process = start(&["--hec", "127.0.0.1:0", "--hec-token", "T"]).await;
    let body = r#"{"event":{"id":"a"}}"#;
    let rule = r#"{"next":1,"take":"nothing","then":{"answer":{"status":429}}}"#;
    assert_eq!(process.control("POST /_fake/faults", rule).await.status, 204);
    assert_eq!([process.hec(body).await, process.hec(body).await], [429, 200]);
    assert_eq!(process.control("POST /_fake/faults", r#"{"next":1,"thn":1}"#).await.status, 400);
    let forever = r#"{"probability":1,"take":"nothing","then":{"answer":{"status":500}}}"#;
    assert_eq!(process.control("POST /_fake/faults", forever).await.status, 204);
    assert_eq!(process.hec(body).await, 500);
    assert_eq!(process.control("DELETE /_fake/faults", "").await.status, 204);
    assert_eq!(process.control("POST /_fake/condition?is=queue_at_capacity", "").await.status, 204);
    assert_eq!(process.hec(body).await, 429);
    assert_eq!(process.control("POST /_fake/condition?is=healthy", "").await.status, 204);
    assert_eq!(process.control("POST /_fake/condition?is=odd", "").await.status, 400);
    assert_eq!(process.control("POST /_fake/down", "").await.status, 204);
    let refused = TcpStream::connect(addr_of(&process.ready["hec"]["url"])).await;
    assert!(refused.is_err(), "a receiver that is down refuses");
    assert_eq!(process.control("POST /_fake/up", "").await.status, 204);
    assert_eq!(process.hec(body).await, 200);
    assert_eq!(process.control("POST /_fake/role?is=missing", "").await.status, 400, "azure is not running");
    assert_eq!(process.control("GET /elsewhere", "").await.status, 404);
}

#[tokio::test]
async fn sigterm_ends_the_process_with_success() {
    let mut process = start(&["--sumo", "127.0.0.1:0"]).await;
    let pid = process.child.id().expect("a running process").to_string();
    let killed = Command::new("kill").args(["-TERM", &pid]).status().await.expect("run kill");
    assert!(killed.success());
    let status = timeout(Duration::from_secs(10), process.child.wait()).await.expect("an end").expect("a status");
    assert!(status.success(), "{status}");
}

#[tokio::test]
async fn azure_without_a_directory_for_certificates_is_a_usage_error() {
    let output =
        Command::new(env!("CARGO_BIN_EXE_fake-receivers")).args(["--azure", "127.0.0.1:0"]).output().await.expect("run the process");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--tls-dir"));
}

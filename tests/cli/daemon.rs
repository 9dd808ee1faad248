//! `gaps` and `status` on a running daemon, and on one that says what the test wants.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener},
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{command, run, stdout};

const TIME: &str = "2026-11-20T10:00:00.000Z";

fn status(gaps: &Value) -> Value {
    json!({
        "version": "0.1.0", "pid": 7, "started_at": TIME, "now": TIME, "healthy": true, "ready": true, "problems": [],
        "streams": [{
            "org": "acme", "stream": "audit", "phase": "waiting", "healthy": true, "origin": TIME, "watermark": TIME, "lag_secs": 1.0,
            "coverage": [], "gaps": gaps, "last_success": TIME, "events_collected": 1, "quota_remaining_credits": null,
            "token_expires_at": null, "fault": null,
        }],
        "sinks": [],
        "journal": { "bytes": 1, "bytes_max": 2, "events": 3, "head": 4, "quarantined_records": 0 },
    })
}

/// An admin endpoint that answers everything with this status, as long as the test runs.
fn answering(status: &Value) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let body = status.to_string();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let Ok(mut connection) = connection else { return };
            let mut request = [0; 4096];
            let _ = connection.read(&mut request);
            let length = body.len();
            let _ = write!(connection, "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
        }
    });
    address
}

#[test]
fn open_and_lost_gaps_are_listed_and_are_no_failure() {
    let gap = |state: &str, secs: u32| json!({ "from": TIME, "to": "2026-11-21T10:00:00.000Z", "secs": secs, "state": state });
    let admin = answering(&status(&json!([gap("open", 86_400), gap("lost", 60)]))).to_string();
    let listed: Value = serde_json::from_str(&stdout(&["gaps", "--json", "--admin", &admin])).expect("JSON");
    assert_eq!(listed.as_array().map(Vec::len), Some(2));
    let first = json!({
        "org": "acme", "stream": "audit", "from": TIME, "to": "2026-11-21T10:00:00.000Z", "secs": 86_400.0, "state": "open"
    });
    assert_eq!(listed[0], first);
    let table = stdout(&["gaps", "--admin", &admin]);
    assert!(table.contains("acme/audit") && table.contains("1 open") && table.contains("1 lost"), "{table}");
    let none = answering(&status(&json!([]))).to_string();
    assert_eq!(stdout(&["gaps", "--admin", &none]), "no gaps\n");
    assert_eq!(stdout(&["gaps", "--json", "--admin", &none]), "[]\n");
}

#[test]
fn without_a_daemon_gaps_fails_and_names_the_address() {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").to_string();
    let output = run(&["gaps", "--admin", &free]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains(&free));
}

/// A child that is killed when the test ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn watch_shows_the_status_again_without_colours_in_a_pipe_until_it_is_interrupted() {
    let admin = answering(&status(&json!([]))).to_string();
    let child = command().args(["status", "--watch", "--admin", &admin]).stdout(Stdio::piped()).spawn().expect("it starts");
    let mut watch = Running(child);
    let mut lines = BufReader::new(watch.0.stdout.take().expect("stdout is piped")).lines();
    let mut heads = 0;
    while heads < 3 {
        let line = lines.next().expect("it goes on").expect("text");
        assert!(!line.contains('\u{1b}'), "{line:?}");
        heads += usize::from(line.starts_with("miro-siem 0.1.0 (pid 7) healthy"));
    }
    let interrupted = std::process::Command::new("kill").args(["-INT", &watch.0.id().to_string()]).status().expect("kill runs");
    assert!(interrupted.success());
    assert_eq!(watch.0.wait().expect("it ends").code(), Some(0));
}

#[test]
fn a_real_daemon_is_asked_for_its_gaps() {
    let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port();
    let admin = format!("127.0.0.1:{port}");
    let child = command().args(["demo", "--listen", &admin]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
    let _demo = Running(child);
    let began = Instant::now();
    loop {
        let output = run(&["gaps", "--json", "--admin", &admin]);
        if output.status.success() {
            let gaps: Value = serde_json::from_slice(&output.stdout).expect("JSON");
            assert!(gaps.is_array(), "{gaps}");
            return;
        }
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(began.elapsed() < Duration::from_secs(30), "the demo answers: {said}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

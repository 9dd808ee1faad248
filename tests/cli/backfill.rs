//! `backfill` on a daemon that says what the test wants: each answer of it, and what the command makes of that.

use std::{
    collections::VecDeque,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::Output,
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};

use super::run;

/// A daemon with its answers in order, each to one request; the last one stays. It notes what it was asked.
struct Scripted {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Scripted {
    fn start(answers: Vec<(u16, Value)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let noted = asked.clone();
        std::thread::spawn(move || {
            let mut answers = VecDeque::from(answers);
            for connection in listener.incoming() {
                let Ok(connection) = connection else { return };
                let (status, body) = if answers.len() > 1 { answers.pop_front().expect("one is left") } else { answers[0].clone() };
                if let Some(asked) = answer(connection, status, &body.to_string()) {
                    noted.lock().expect("no panic").push(asked);
                }
            }
        });
        Self { address, asked }
    }

    fn run(&self, args: &[&str]) -> Output {
        run(&[&["backfill", "--admin", &self.address.to_string()], args].concat())
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no panic").clone()
    }
}

/// Reads one request and answers it; the request's line and its body.
fn answer(mut connection: TcpStream, status: u16, body: &str) -> Option<String> {
    let mut reader = BufReader::new(connection.try_clone().ok()?);
    let (mut line, mut length) = (String::new(), 0);
    reader.read_line(&mut line).ok()?;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if header.trim().is_empty() {
            break;
        }
    }
    let mut sent = vec![0; length];
    reader.read_exact(&mut sent).ok()?;
    let head =
        format!("HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    connection.write_all(format!("{head}{body}").as_bytes()).ok()?;
    Some(format!("{} {}", line.trim().trim_end_matches(" HTTP/1.1"), String::from_utf8_lossy(&sent)).trim().to_owned())
}

fn backfill(state: &str, missing_secs: f64, events: u64) -> Value {
    json!({
        "id": "acme/audit/3", "org": "acme", "stream": "audit", "from": "2026-11-01T00:00:00.000Z", "to": "2026-11-11T00:00:00.000Z",
        "state": state, "range_secs": 864_000.0, "missing_at_start_secs": 864_000.0, "missing_secs": missing_secs, "events": events,
        "note": null, "fault": null,
    })
}

const RANGE: [&str; 8] = ["--org", "acme", "--stream", "audit", "--from", "2026-11-01", "--to", "2026-11-11"];

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn each_end_has_its_exit_code_and_its_words() {
    for (last, code, words) in [
        (
            backfill("done", 0.0, 1_234),
            0,
            "acme/audit from 2026-11-01T00:00:00Z to 2026-11-11T00:00:00Z: done, 100 % collected, 1234 new events",
        ),
        (backfill("cancelled", 432_000.0, 600), 3, "cancelled, 50 % collected, 600 new events"),
        (backfill("partly", 8.0, 600), 3, "partly, 99 % collected"),
    ] {
        let daemon =
            Scripted::start(vec![(201, backfill("running", 864_000.0, 0)), (200, backfill("running", 648_000.0, 100)), (200, last)]);
        let output = daemon.run(&RANGE);
        assert_eq!(output.status.code(), Some(code), "{}", said(&output));
        assert!(said(&output).contains(words), "{}", said(&output));
        assert!(said(&output).contains("acme/audit: 0 % of 10d, 0 events"), "not on a terminal it is lines: {}", said(&output));
        let asked = daemon.asked();
        let body = r#"{"from":"2026-11-01T00:00:00.000Z","org":"acme","stream":"audit","to":"2026-11-11T00:00:00.000Z"}"#;
        assert_eq!(asked[0], format!("POST /api/v1/backfills {body}"));
        assert_eq!(asked[1], "GET /api/v1/backfills/acme%2Faudit%2F3");
    }
}

#[test]
fn refusals_are_told_in_the_daemons_words_with_the_code_of_their_kind() {
    for (status, code) in [(404, 2), (400, 2), (409, 1), (403, 1), (500, 1)] {
        let daemon = Scripted::start(vec![(status, json!({ "error": "the streams are acme/audit \u{1b}[2J" }))]);
        let output = daemon.run(&RANGE);
        assert_eq!(output.status.code(), Some(code), "{status}: {}", said(&output));
        assert!(said(&output).contains("the streams are acme/audit ·[2J"), "{:?}", said(&output));
    }
}

#[test]
fn json_is_one_object_and_notes_go_to_stderr() {
    let mut asked = backfill("done", 0.0, 5);
    asked["note"] = json!("Miro's log reaches back to 2026-11-05 only");
    let daemon = Scripted::start(vec![(201, asked.clone())]);
    let output = daemon.run(&[&RANGE[..], &["--json"]].concat());
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(serde_json::from_slice::<Value>(&output.stdout).expect("JSON"), asked);
    assert!(String::from_utf8_lossy(&output.stderr).contains("note: Miro's log reaches back to"));
}

#[test]
fn what_the_daemon_has_forgotten_is_told() {
    let daemon = Scripted::start(vec![(201, backfill("running", 9.0, 0)), (404, json!({ "error": "there is no such backfill" }))]);
    let output = daemon.run(&RANGE);
    assert_eq!(output.status.code(), Some(3));
    assert!(said(&output).contains("started anew") && said(&output).contains("miro-siem gaps"), "{}", said(&output));
}

#[test]
fn list_and_cancel_ask_for_nothing_else() {
    let daemon = Scripted::start(vec![(200, json!([backfill("running", 432_000.0, 10)]))]);
    let listed = said(&daemon.run(&["--list"]));
    assert!(listed.contains("acme/audit/3") && listed.contains(" 50 %") && listed.contains("running"), "{listed}");
    let rows: Value = serde_json::from_slice(&daemon.run(&["--list", "--json"]).stdout).expect("JSON");
    assert_eq!(rows, json!([backfill("running", 432_000.0, 10)]));
    let daemon = Scripted::start(vec![(200, backfill("cancelled", 432_000.0, 10))]);
    assert_eq!(daemon.run(&["--cancel", "acme/audit/3"]).status.code(), Some(0));
    assert_eq!(daemon.asked(), ["DELETE /api/v1/backfills/acme%2Faudit%2F3"]);
    for wrong in [&["--list", "--org", "acme"][..], &["--list", "--cancel", "x"], &["--cancel", "x", "--detach"], &[], &["--org", "acme"]] {
        assert_eq!(daemon.run(wrong).status.code(), Some(2), "{wrong:?}");
    }
}

#[test]
fn with_a_daemon_named_nobody_else_does_it() {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").to_string();
    let output = run(&[&["backfill", "--admin", &free], &RANGE[..]].concat());
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains(&free), "{}", said(&output));
}

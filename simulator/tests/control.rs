//! The control endpoints say what the handle says, and the program is the library behind flags.

mod common;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use common::{Ask, collect, days, get, listing, send, small, start_time, started, token};
use miro_simulator::{Running, SimConfig, Simulator, Stream};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

async fn control(running: &Running, method: &str, path: &str, body: &[u8]) -> common::Answer {
    let ask = Ask { method, token: None, body, ..Ask::get(path, "") };
    send(running, ask).await.expect("an answer")
}

#[tokio::test]
async fn the_truth_over_http_equals_the_truth_in_process() {
    let running = started(SimConfig { late_fraction: 0.1, undecodable_fraction: 0.05, audit_events: 2_500, ..small() }).await;
    let (from, to) = (start_time() - days(5), start_time() - days(1));
    for stream in Stream::ALL {
        let path = format!("/_sim/truth?stream={stream}&from={}&to={}&raw=true", from.format("%FT%TZ"), to.format("%FT%TZ"));
        let answer = control(&running, "GET", &path, b"").await;
        assert_eq!((answer.status, answer.broken), (200, None));
        let text = String::from_utf8(answer.body).expect("UTF-8");
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let truth = running.sim().truth(stream, from, to);
        assert!(truth.len() > 100);
        assert_eq!(lines.len(), truth.len(), "{stream}");
        for (line, event) in lines.iter().zip(&truth) {
            let time = |name: &str| -> DateTime<Utc> { line[name].as_str().expect("a time").parse().expect("a time") };
            assert_eq!((line["id"].as_str(), line["decodable"].as_bool()), (event.id.as_deref(), Some(event.decodable)));
            assert_eq!((time("created_at"), time("visible_at")), (event.created_at, event.visible_at));
            assert_eq!(line["raw"].as_str().map(str::as_bytes), Some(event.raw.as_slice()));
            let digest: String = Sha256::digest(&event.raw).iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(line["sha256"], digest);
        }
    }
}

#[tokio::test]
async fn faults_are_ordered_planned_and_cleared_over_http() {
    let running = started(small()).await;
    let path = listing(&running, Stream::Audit, start_time() - days(1), start_time(), "");
    let orders = json!({ "orders": [
        { "fault": { "status": 503 }, "endpoint": "audit" },
        { "fault": "invalid_json", "endpoint": "audit", "times": 1 },
    ] });
    assert_eq!(control(&running, "POST", "/_sim/faults", orders.to_string().as_bytes()).await.status, 204);
    let siem = token(&running, "siem");
    assert_eq!(get(&running, &path, siem).await.status, 503);
    assert!(serde_json::from_slice::<Value>(&get(&running, &path, siem).await.body).is_err());
    assert_eq!(get(&running, &path, siem).await.status, 200);
    let plan = json!({ "plan": { "probability": 1.0, "faults": [{ "html": 502 }], "in_a_row_max": 2 } });
    assert_eq!(control(&running, "POST", "/_sim/faults", plan.to_string().as_bytes()).await.status, 204);
    let mut statuses = Vec::new();
    for _ in 0..6 {
        statuses.push(get(&running, &path, siem).await.status);
    }
    assert_eq!(statuses, [502, 502, 200, 502, 502, 200]);
    assert_eq!(control(&running, "DELETE", "/_sim/faults", b"").await.status, 204);
    assert_eq!(get(&running, &path, siem).await.status, 200);
    assert_eq!(control(&running, "POST", "/_sim/faults", b"{\"fault\":1}").await.status, 422);
}

#[tokio::test]
async fn events_are_injected_and_the_clock_is_moved_over_http() {
    let running = started(small()).await;
    let at = start_time() + days(1);
    let path = format!("/_sim/inject?stream=audit&created_at={}", at.format("%FT%T.000Z"));
    let raw = b"{\"id\":\"future\",\"n\":-0}";
    assert_eq!(control(&running, "POST", &path, raw).await.status, 204);
    assert_eq!(control(&running, "POST", "/_sim/inject?stream=audit", raw).await.status, 400);
    assert_eq!(control(&running, "POST", &path.replace("audit", "nothing"), raw).await.status, 400);
    assert!(collect(&running, Stream::Audit, at, at + days(1), 100, "").await.is_empty());
    let moved = control(&running, "POST", "/_sim/clock", json!({ "advance_ms": 86_400_000 }).to_string().as_bytes()).await;
    assert_eq!(moved.json()["now"].as_str().map(|now| now.parse::<DateTime<Utc>>()), Some(Ok(at)));
    assert_eq!(collect(&running, Stream::Audit, at, at + days(1), 100, "").await, [raw.to_vec()]);
    let frozen = control(&running, "POST", "/_sim/clock", json!({ "set": start_time() }).to_string().as_bytes()).await;
    assert_eq!(frozen.json()["now"].as_str().map(|now| now.parse::<DateTime<Utc>>()), Some(Ok(start_time())));
}

#[tokio::test]
async fn counts_requests_and_members_are_told_over_http() {
    let running = started(small()).await;
    let path = listing(&running, Stream::Audit, start_time() - days(1), start_time(), "&limit=3");
    get(&running, &path, token(&running, "siem")).await;
    let counts = control(&running, "GET", "/_sim/counts", b"").await.json();
    assert_eq!(counts["events"], json!({ "audit": 700, "content": 400, "ai": 230 }));
    assert_eq!(counts["requests"], json!([{ "endpoint": "audit", "status": 200, "count": 1 }]));
    let requests = control(&running, "GET", "/_sim/requests", b"").await.json();
    assert_eq!(requests.as_array().map(Vec::len), Some(1), "control requests are not counted");
    assert_eq!(requests[0]["token"], token(&running, "siem"));
    assert!(requests[0]["query"].as_str().is_some_and(|query| query.ends_with("&limit=3")));
    assert_eq!(control(&running, "DELETE", "/_sim/requests", b"").await.status, 204);
    assert_eq!(control(&running, "GET", "/_sim/requests", b"").await.json(), json!([]));
    let members = control(&running, "GET", "/_sim/members", b"").await.json();
    let mut member = members[0].clone();
    member["license"] = "full_trial".into();
    assert_eq!(control(&running, "PUT", "/_sim/members", member.to_string().as_bytes()).await.status, 204);
    assert_eq!(running.sim().members()[0].license, "full_trial");
    let id = member["id"].as_str().expect("an id");
    assert_eq!(control(&running, "DELETE", &format!("/_sim/members/{id}"), b"").await.status, 204);
    assert_eq!(control(&running, "DELETE", &format!("/_sim/members/{id}"), b"").await.status, 404);
}

#[tokio::test]
async fn live_events_appear_as_time_passes_and_are_part_of_the_truth() {
    let running = started(SimConfig { live_rate_per_minute: Some(300.0), ..small() }).await;
    let (from, to) = (start_time(), start_time() + days(1));
    assert!(running.sim().truth(Stream::Audit, from, to).len() < 3);
    running.sim().clock().advance(Duration::from_secs(900));
    let truth = running.sim().truth(Stream::Audit, from, to);
    // 300 a minute by chance, and the takeover that every live run shows.
    assert!((4_300..5_100).contains(&truth.len()), "{}", truth.len());
    assert!(collect(&running, Stream::Audit, from, to, 500, "").await == common::raws(&truth));
    let texts: Vec<_> = truth.iter().map(|event| String::from_utf8_lossy(&event.raw)).collect();
    assert!(texts.iter().any(|text| text.contains("scim_api_token_generated") && text.contains("203.0.113.")));
    assert!((750..1_050).contains(&running.sim().truth(Stream::Content, from, to).len()));
}

struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already, as the test wants it to.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_program_announces_itself_serves_the_same_bytes_and_stops_on_sigterm() {
    let mut program = Command::new(env!("CARGO_BIN_EXE_miro-simulator"));
    program.args([
        "--listen",
        "127.0.0.1:0",
        "--seed",
        "7",
        "--days",
        "7",
        "--audit-events",
        "900",
        "--members",
        "60",
        "--latency",
        "1ms..2ms",
    ]);
    program.args(["--now", "2026-11-20T13:00:00Z", "--late-fraction", "0.1", "--late-max", "3h", "--no-quota", "--faults", "none"]);
    let mut program = Program(program.stdout(Stdio::piped()).spawn().expect("the program starts"));
    let mut line = String::new();
    BufReader::new(program.0.stdout.take().expect("its stdout")).read_line(&mut line).expect("a line");
    let said: Value = serde_json::from_str(&line).expect("JSON");
    let base = SimConfig::default().with_days(7);
    let sim = Simulator::new(SimConfig { seed: 7, now: start_time(), audit_events: 900, members: 60, late_fraction: 0.1, ..base });
    assert_eq!(said["org_id"], sim.org_id());
    assert_eq!(said["tokens"]["siem"].as_str(), sim.auth().token("siem"));
    assert_eq!(said["apps"][0]["refresh_token"], sim.auth().apps[0].refresh_token);
    let address = said["url"].as_str().and_then(|url| url.strip_prefix("http://")).expect("a URL").to_owned();
    let (from, to) = (start_time() - days(5), start_time() - days(1));
    let path = format!("/_sim/truth?stream=audit&from={}&to={}&raw=true", from.format("%FT%TZ"), to.format("%FT%TZ"));
    let served: Vec<Value> =
        fetch(&address, &path).lines().filter(|line| line.starts_with('{')).map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let truth = sim.truth(Stream::Audit, from, to);
    assert_eq!(served.len(), truth.len());
    assert!(served.iter().zip(&truth).all(|(line, event)| line["raw"].as_str().map(str::as_bytes) == Some(&event.raw)));
    let status = Command::new("kill").args(["-TERM", &program.0.id().to_string()]).status().expect("kill runs");
    assert!(status.success());
    let asked = Instant::now();
    let status = loop {
        match program.0.try_wait().expect("a child") {
            Some(status) => break status,
            None if asked.elapsed() > Duration::from_secs(10) => panic!("still running ten seconds after SIGTERM"),
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    assert_eq!(status.code(), Some(0));
}

/// A chunked body in HTTP/1.0 style: the server closes at its end, and no chunk sizes are in it.
fn fetch(address: &str, path: &str) -> String {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(address).expect("a connection");
    write!(stream, "GET {path} HTTP/1.0\r\nhost: sim\r\n\r\n").expect("a sent request");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    text.split_once("\r\n\r\n").expect("a head").1.to_owned()
}

#[test]
fn the_program_refuses_values_that_make_no_sense() {
    for (arguments, word) in [
        (["--late-fraction", "2"], "0 to 1"),
        (["--late-max", "3 hours"], "duration"),
        (["--latency", "3s..2s"], "longer"),
        (["--faults", "some"], "default"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_miro-simulator")).args(arguments).output().expect("the program runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(word), "{arguments:?}: {said}");
    }
}

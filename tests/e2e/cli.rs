//! The command line as its users meet it.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    process::Stdio,
    time::{Duration, Instant},
};

use miro_simulator::FaultPlan;
use serde_json::Value;

use crate::{
    daemon::{Daemon, command, free_port},
    world::{organisation, token},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_token_alone_is_enough() {
    let miro = organisation(2, 400, 0, FaultPlan::none()).await;
    let home = tempfile::tempdir().expect("a directory");
    let mut child = command()
        .args(["run", "--log-level", "info"])
        .env("MIRO_ACCESS_TOKEN", token(&miro))
        .env("MIRO_SIEM__ORGS__MIRO__API_URL", miro.url())
        .env("MIRO_SIEM__ORGS__MIRO__AUDIT__START", "3d")
        .env("MIRO_SIEM__ADMIN__LISTEN", format!("127.0.0.1:{}", free_port()))
        .env("HOME", home.path())
        .env_remove("XDG_STATE_HOME")
        .stdout(Stdio::piped())
        .stderr(fs::File::create(home.path().join("log")).expect("a log file"))
        .spawn()
        .expect("the daemon starts");
    let lines = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
    let events: Vec<Value> =
        tokio::task::block_in_place(|| lines.take(400).map(|line| serde_json::from_str(&line.expect("a line")).expect("NDJSON")).collect());
    child.kill().expect("the daemon can be killed");
    child.wait().expect("the daemon has ended");
    let log = fs::read_to_string(home.path().join("log")).expect("a log");
    assert_eq!(events.len(), 400, "{log}");
    assert!(events.iter().all(|event| event["_miro_siem"]["stream"] == "audit" && event["_miro_siem"]["id"].is_string()));
}

#[test]
fn without_anything_configured_the_error_names_both_ways() {
    let home = tempfile::tempdir().expect("a directory");
    let output = command().args(["run"]).env("HOME", home.path()).output().expect("the command runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("MIRO_ACCESS_TOKEN") && said.contains("config"), "{said}");
}

#[test]
fn check_names_every_problem_with_its_key_and_what_was_meant() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = dir.path().join("config.toml");
    let text = "[orgs.acme]\ntokn = \"t\"\n[orgs.acme.audit]\npoll_interval = \"1s\"\n[sinks.s]\ntype = \"splunk_hec\"\nurl = \"https://localhost:8088\"\n";
    fs::write(&config, text).expect("the file is written");
    let output = command().args(["check", "--config"]).arg(&config).output().expect("the command runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    for wanted in ["orgs.acme.tokn", "token", "orgs.acme.audit.poll_interval", "sinks.s.token"] {
        assert!(said.contains(wanted), "{wanted} is named in: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_one_state_directory_is_refused() {
    let miro = organisation(1, 100, 0, FaultPlan::none()).await;
    let dir = tempfile::tempdir().expect("a directory");
    let write = |name: &str| {
        let path = dir.path().join(name);
        let text = format!(
            "[state]\ndir = \"{}/state\"\n[admin]\nlisten = \"127.0.0.1:{}\"\n[orgs.acme]\napi_url = \"{}\"\ntoken = \"{}\"\n[orgs.acme.audit]\n[sinks.out]\ntype = \"stdout\"\n",
            dir.path().display(),
            free_port(),
            miro.url(),
            token(&miro)
        );
        fs::write(&path, text).expect("the file is written");
        path
    };
    let (first, second) = (write("first.toml"), write("second.toml"));
    let daemon = Daemon::start(&first, &dir.path().join("log"), "info");
    tokio::task::block_in_place(|| daemon.wait_until("it runs", Duration::from_secs(30), |status| status["ready"] == true));
    let output = tokio::task::block_in_place(|| command().args(["run", "--config"]).arg(&second).output().expect("the command runs"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("in use by another miro-siem process"), "{said}");
}

#[test]
fn the_demo_shows_events_within_seconds_and_stops_cleanly() {
    let port = free_port();
    let mut child = command()
        .args(["demo", "--listen", &format!("127.0.0.1:{port}")])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the demo starts");
    let began = Instant::now();
    let mut reader = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
    let lines: Vec<String> = reader.by_ref().take(20).map(|line| line.expect("a line")).collect();
    assert_eq!(lines.len(), 20);
    assert!(began.elapsed() < Duration::from_secs(20), "events scroll past within seconds, not {:?}", began.elapsed());
    let status = command().args(["status", "--json", "--admin", &format!("127.0.0.1:{port}")]).output().expect("status runs");
    let status: Value = serde_json::from_slice(&status.stdout).expect("the status answers with JSON");
    assert_eq!(status["streams"].as_array().map(Vec::len), Some(2));
    let interrupted = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill runs");
    assert!(interrupted.success());
    let ended = child.wait().expect("the demo ends");
    assert_eq!(ended.code(), Some(0), "Ctrl-C stops it cleanly");
}

#[test]
fn the_demo_ends_quietly_when_its_reader_goes() {
    let mut child =
        command().args(["demo", "--listen", "127.0.0.1:0"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the demo starts");
    // The reader takes three lines and closes the pipe, as `head -3` does.
    assert_eq!(BufReader::new(child.stdout.take().expect("stdout is piped")).lines().take(3).count(), 3);
    let output = child.wait_with_output().expect("the demo ends by itself");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("nothing is left behind") && !said.contains("journal") && !said.contains("ERROR"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_half_sent_admin_request_does_not_hold_up_a_stop() {
    let miro = organisation(1, 100, 0, FaultPlan::none()).await;
    let dir = tempfile::tempdir().expect("a directory");
    let (config, port) = (dir.path().join("config.toml"), free_port());
    let text = format!(
        "[state]\ndir = \"{dir}/state\"\n[admin]\nlisten = \"127.0.0.1:{port}\"\n[orgs.acme]\napi_url = \"{url}\"\ntoken = \"{token}\"\n[orgs.acme.audit]\n[sinks.archive]\ntype = \"file\"\npath = \"{dir}/audit.ndjson\"\n",
        dir = dir.path().display(),
        url = miro.url(),
        token = token(&miro)
    );
    fs::write(&config, text).expect("the file is written");
    let mut daemon = Daemon::start(&config, &dir.path().join("log"), "info");
    tokio::task::block_in_place(|| daemon.wait_until("it runs", Duration::from_secs(30), |status| status["ready"] == true));
    let mut half = std::net::TcpStream::connect(("127.0.0.1", port)).expect("the admin endpoint answers");
    half.write_all(b"GET /healthz HT").expect("half a request is sent");
    daemon.terminate();
    assert_eq!(tokio::task::block_in_place(|| daemon.wait(Duration::from_secs(10))).code(), Some(0));
    drop(half);
}

//! `attest` and `diff` on a running daemon: both agree with what the simulated organisation knows, also after a kill.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
    time::Duration,
};

use chrono::{DurationRound, TimeDelta, Utc};
use miro_siem::journal::proof::IdSum;
use miro_simulator::{FaultPlan, Running, Stream};
use serde_json::Value;

use crate::{
    daemon::{Daemon, command, free_port},
    world::{organisation, token, truth},
};

const EVENTS: u64 = 1_500;

fn write_config(miro: &Running, dir: &Path) -> PathBuf {
    let path = dir.join("config.toml");
    let text = format!(
        "[state]\ndir = \"{dir}/state\"\n[admin]\nlisten = \"127.0.0.1:{port}\"\n[orgs.acme]\napi_url = \"{url}\"\ntoken = \"{token}\"\n\
         [orgs.acme.audit]\nstart = \"3d\"\npoll_interval = \"10s\"\n[sinks.archive]\ntype = \"file\"\npath = \"{dir}/audit.ndjson\"\n",
        dir = dir.display(),
        port = free_port(),
        url = miro.url(),
        token = token(miro)
    );
    fs::write(&path, text).expect("the file is written");
    path
}

fn run(config: &Path, args: &[&str]) -> Output {
    command().args(args).arg("--config").arg(config).output().expect("the command runs")
}

#[track_caller]
fn json(config: &Path, args: &[&str], code: i32) -> Value {
    let output = run(config, &[args, &["--json"]].concat());
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {said} {}", String::from_utf8_lossy(&output.stdout));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn collected(status: &Value) -> bool {
    let delivered = status["sinks"][0]["backlog_events"] == 0;
    delivered && status["streams"][0]["events_collected"].as_u64().is_some_and(|events| events >= EVENTS)
}

/// The counts of a report, without what changes from one moment to the next.
fn told(report: &Value) -> (Option<u64>, Option<&str>, Option<bool>) {
    let total = &report["streams"][0]["total"];
    (total["collected"].as_u64(), total["id_hash"].as_str(), report["exact"].as_bool())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_daemon_attests_what_miro_has_and_so_does_its_state_after_a_kill() {
    let miro = organisation(2, EVENTS, 0, FaultPlan::none()).await;
    let dir = tempfile::tempdir().expect("a directory");
    let config = write_config(&miro, dir.path());
    let truth = truth(&miro, &[Stream::Audit], Utc::now() - TimeDelta::days(4));
    let mut sum = IdSum::default();
    truth.keys().for_each(|id| sum.add_id(id.as_bytes()));
    let (count, hash) = (Some(truth.len() as u64), sum.to_string());
    let expected = (count, Some(hash.as_str()), Some(true));
    // Single ids are remembered for a good day.
    let recent_from = Utc::now().duration_trunc(TimeDelta::hours(1)).expect("an hour") - TimeDelta::hours(12);
    let recent = crate::world::truth(&miro, &[Stream::Audit], recent_from);
    let mut ids: Vec<&str> = recent.keys().map(String::as_str).collect();
    let recent_from = recent_from.to_rfc3339();
    tokio::task::block_in_place(|| {
        let mut daemon = Daemon::start(&config, &dir.path().join("log"), "info");
        daemon.wait_until("all is collected and delivered", Duration::from_secs(60), collected);
        let report = json(&config, &["attest", "--from", "3d"], 3);
        assert_eq!(told(&report), expected, "the first hour lies before the start, and the rest is there");
        let states: Vec<_> = report["streams"][0]["missing"].as_array().expect("a list").iter().map(|hole| &hole["state"]).collect();
        assert!(states.iter().all(|state| **state == "not_asked" || **state == "pending"), "{states:?}");

        let (missed, file) = (ids.pop().expect("there are some").to_owned(), dir.path().join("ids"));
        fs::write(&file, ids.join("\n") + "\nnobody's\n").expect("written");
        let name = file.to_str().expect("text");
        let args = ["diff", "--org", "acme", "--stream", "audit", "--from", &recent_from, "--ids", name];
        let found = json(&config, &args, 1);
        assert_eq!(found["older"], Value::Null, "{found}");
        assert_eq!(found["not_collected"], serde_json::json!(["nobody's"]), "{found}");
        assert_eq!(found["not_in_file"][0]["id"].as_str(), Some(missed.as_str()), "{found}");

        daemon.kill();
        let report = json(&config, &["attest", "--from", "3d"], 3);
        assert_eq!(told(&report), expected, "from the state");
        let found = json(&config, &args, 1);
        assert_eq!(found["not_in_file"][0]["id"].as_str(), Some(missed.as_str()), "{found}");

        // The delivered segment is deleted at the next start: then the journal has fingerprints only, and Miro the names.
        let daemon = Daemon::start(&config, &dir.path().join("log"), "info");
        daemon.wait_until("it runs", Duration::from_secs(30), |status| status["ready"] == true);
        let found = json(&config, &args, 1);
        assert_eq!(found["not_in_file"][0]["id"], Value::Null, "{found}");
        let page = run(&config, &args);
        assert!(String::from_utf8_lossy(&page.stdout).contains("--ask-miro"), "it says how to name it");
        let found = json(&config, &[&args[..], &["--ask-miro"]].concat(), 1);
        assert_eq!(found["not_in_file"][0]["id"].as_str(), Some(missed.as_str()), "{found}");
    });
}

//! A receiver that is down holds up no other, and catches up.

use std::time::Duration;

use chrono::{TimeDelta, Utc};
use miro_simulator::{FaultPlan, Stream};
use serde_json::Value;

use crate::{
    daemon::{Daemon, free_port},
    receivers::Receivers,
    world::{organisation, token, truth},
};

const LIMIT: Duration = Duration::from_secs(180);

fn backlog(status: &Value, sink: &str) -> Option<u64> {
    status["sinks"].as_array()?.iter().find(|row| row["name"] == sink)?["backlog_events"].as_u64()
}

/// Whether the past is there as well: live polling succeeds before that.
fn is_collected(status: &Value) -> bool {
    let all = |row: &Value| row["last_success"].is_string() && row["lag_secs"].as_f64().is_some_and(|lag| lag < 60.0);
    status["streams"].as_array().is_some_and(|rows| rows.iter().all(all))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_down_holds_up_no_other_and_catches_up() {
    let miro = organisation(10, 8_000, 2_000, FaultPlan::none()).await;
    let receivers = Receivers::start().await;
    receivers.hec.down().await;
    let config = receivers.configure(&miro, "20d");
    let daemon = Daemon::start(&config, &receivers.log(), "info");
    let events = truth(&miro, &[Stream::Audit, Stream::Content], Utc::now() - TimeDelta::days(20));
    let others = ["archive", "sentinel", "sumo", "syslog", "syslog_tls"];
    let status = tokio::task::block_in_place(|| {
        daemon.wait_until("the others have everything", LIMIT, |status| {
            backlog(status, "splunk") == Some(events.len() as u64) && others.iter().all(|sink| backlog(status, sink) == Some(0))
        })
    });
    let splunk = status["sinks"].as_array().and_then(|rows| rows.iter().find(|row| row["name"] == "splunk")).expect("the sink is shown");
    assert!(splunk["fault"]["message"].as_str().is_some_and(|message| !message.is_empty()), "the status says what is wrong: {splunk}");
    assert_eq!(receivers.hec.ledger().len(), 0, "nothing reached the receiver that is down");

    receivers.hec.up().expect("the receiver comes back");
    tokio::task::block_in_place(|| daemon.wait_until("the last one has caught up", LIMIT, |status| backlog(status, "splunk") == Some(0)));
    let lines = receivers.hec.ledger().lines();
    assert_eq!(lines.len(), events.len());
    assert!(lines.iter().all(|line| events.contains_key(&line.id)), "every event is one of the organisation's");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_removed_sink_had_yet_to_deliver_is_named() {
    let miro = organisation(2, 200, 0, FaultPlan::none()).await;
    let dir = tempfile::tempdir().expect("a directory");
    let (config, log) = (dir.path().join("config.toml"), dir.path().join("log"));
    let write = |sink: &str| {
        let text = format!(
            "[state]\ndir = \"{}/state\"\ndrain_timeout = \"1s\"\n[admin]\nlisten = \"127.0.0.1:{}\"\n[orgs.acme]\napi_url = \"{}\"\ntoken = \"{}\"\n\
             [orgs.acme.audit]\nstart = \"3d\"\n[sinks.{sink}]\ntype = \"splunk_hec\"\nurl = \"http://127.0.0.1:9\"\ntoken = \"t\"\n",
            dir.path().display(),
            free_port(),
            miro.url(),
            token(&miro)
        );
        std::fs::write(&config, text).expect("the file is written");
    };
    for sink in ["before", "after"] {
        write(sink);
        let mut daemon = Daemon::start(&config, &log, "info");
        tokio::task::block_in_place(|| {
            let began = daemon.wait_until("it has collected", LIMIT, |status| is_collected(status) && backlog(status, sink).is_some());
            assert_eq!(backlog(&began, sink), Some(if sink == "before" { 200 } else { 0 }));
            daemon.terminate();
            daemon.wait(LIMIT);
        });
    }
    let log = std::fs::read_to_string(&log).expect("a log");
    let told: Vec<&str> = log.lines().filter(|line| line.contains("is given up")).collect();
    assert_eq!(told.len(), 1, "{log}");
    assert!(told[0].contains("\"sink\":\"before\"") && told[0].contains("\"events\":200"), "{}", told[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_is_no_fault() {
    let miro = organisation(2, 200, 0, FaultPlan::none()).await;
    let receivers = Receivers::start().await;
    receivers.hec.down().await;
    let config = receivers.configure(&miro, "3d");
    let mut daemon = Daemon::start(&config, &receivers.log(), "info");
    tokio::task::block_in_place(|| {
        daemon.wait_until("all is collected", LIMIT, |status| status["ready"] == true && backlog(status, "splunk") == Some(200));
        daemon.terminate();
        let status = daemon.wait_until("it drains", LIMIT, |status| status["ready"] == false);
        assert_eq!(status["healthy"], true, "{status:#}");
        daemon.terminate();
        assert_eq!(daemon.wait(LIMIT).code(), Some(3));
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_at_its_deadline_says_what_is_left_and_the_next_start_delivers_it() {
    let miro = organisation(2, 500, 0, FaultPlan::none()).await;
    let receivers = Receivers::start().await;
    receivers.hec.down().await;
    let config = receivers.configure_with(&miro, "5d", "drain_timeout = \"2s\"");
    let mut daemon = Daemon::start(&config, &receivers.log(), "info");
    tokio::task::block_in_place(|| {
        daemon.wait_until("the events wait for the receiver", LIMIT, |status| backlog(status, "splunk") == Some(500))
    });
    daemon.terminate();
    let began = std::time::Instant::now();
    let ended = tokio::task::block_in_place(|| daemon.wait(Duration::from_secs(30)));
    assert_eq!(ended.code(), Some(3), "partly done: the events are in the journal");
    assert!(began.elapsed() >= Duration::from_secs(2), "the drain had its time: {:?}", began.elapsed());

    let mut daemon = Daemon::start(&config, &receivers.log(), "info");
    tokio::task::block_in_place(|| daemon.wait_until("it runs again", LIMIT, |status| backlog(status, "splunk") == Some(500)));
    daemon.terminate();
    // A second signal does not wait for the drain; the pause lets the first one arrive alone.
    tokio::time::sleep(Duration::from_millis(300)).await;
    daemon.terminate();
    let began = std::time::Instant::now();
    assert_eq!(tokio::task::block_in_place(|| daemon.wait(Duration::from_secs(30))).code(), Some(3));
    assert!(began.elapsed() < Duration::from_millis(1_500), "a second signal stops at once: {:?}", began.elapsed());

    receivers.hec.up().expect("the receiver comes back");
    let mut daemon = Daemon::start(&config, &receivers.log(), "info");
    tokio::task::block_in_place(|| daemon.wait_until("what was left is delivered", LIMIT, |status| backlog(status, "splunk") == Some(0)));
    assert_eq!(receivers.hec.ledger().len(), 500);
    daemon.terminate();
    assert_eq!(tokio::task::block_in_place(|| daemon.wait(Duration::from_secs(30))).code(), Some(0), "everything is delivered");
}

//! No token, secret URL or event body in any log, at the most talkative level, with everything failing now and then.

use std::{fs, time::Duration};

use miro_simulator::{FaultPlan, Stream};

use crate::{
    daemon::{Daemon, command},
    receivers::{AZURE_SECRET, HEC_TOKEN, Receivers, SUMO_SECRET},
    world::{organisation, token},
};

#[tokio::test(flavor = "multi_thread")]
async fn nothing_secret_reaches_a_log_at_trace() {
    let miro = organisation(4, 3_000, 600, FaultPlan::rough()).await;
    let marker = "c0nf1dent1al-roadmap-marker";
    let now = chrono::Utc::now();
    let raw = format!(
        r#"{{"id":"{marker}-id","event":"board_renamed","createdAt":"{}","object":{{"id":"1","name":"{marker}"}}}}"#,
        now.format("%Y-%m-%dT%H:%M:%S%.3f+0000")
    );
    miro.sim().inject(Stream::Audit, raw.into_bytes(), now - chrono::TimeDelta::hours(1), now - chrono::TimeDelta::hours(1));
    let receivers = Receivers::start().await;
    // Everything fails in turn: what an error says must be as clean as what a success says.
    receivers.hec.down().await;
    let config = receivers.configure(&miro, "20d");
    let mut daemon = Daemon::start(&config, &receivers.log(), "trace");
    let delivered = |status: &serde_json::Value, sink: &str| {
        status["sinks"]
            .as_array()
            .is_some_and(|rows| rows.iter().any(|row| row["name"] == sink && row["events_delivered"].as_u64() > Some(3_000)))
    };
    tokio::task::block_in_place(|| {
        daemon.wait_until("the others have delivered", Duration::from_secs(120), |status| delivered(status, "sumo"))
    });
    receivers.hec.up().expect("the receiver comes back");
    receivers.sumo.down().await;
    receivers.azure.revoke_tokens();
    let status = tokio::task::block_in_place(|| {
        daemon.wait_until("HEC has delivered", Duration::from_secs(120), |status| delivered(status, "splunk"))
    });
    daemon.terminate();
    tokio::task::block_in_place(|| daemon.wait(Duration::from_secs(60)));

    let log = fs::read_to_string(receivers.log()).expect("the log can be read");
    assert!(log.lines().count() > 100, "a log at trace has lines: {}", log.lines().count());
    let check = command().args(["check", "--config"]).arg(&config).output().expect("check runs");
    let checked = String::from_utf8_lossy(&check.stdout).into_owned() + &String::from_utf8_lossy(&check.stderr);
    for (what, secret) in [
        ("Miro's token", token(&miro)),
        ("HEC's token", HEC_TOKEN),
        ("Sumo's URL", SUMO_SECRET),
        ("Azure's secret", AZURE_SECRET),
        ("an event's body", marker),
    ] {
        for (place, text) in [("the log", &log), ("the status", &status.to_string()), ("check", &checked)] {
            let line = text.lines().find(|line| line.contains(secret));
            assert_eq!(line, None, "{what} is in {place}");
        }
    }
}

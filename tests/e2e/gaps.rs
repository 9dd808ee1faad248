//! An outage of Miro, seen from outside: one gap opens, is listed and counted, and closes; the sink that asked for it is told.

use std::{fs, path::Path, time::Duration};

use chrono::{DateTime, Utc};
use miro_simulator::{Fault, FaultPlan, SimConfig, Simulator, Stream};
use serde_json::Value;

use crate::{
    daemon::{Daemon, command, free_port},
    world::token,
};

const LIMIT: Duration = Duration::from_secs(120);

fn records(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).expect("a line is a record")).collect()
}

/// What `miro-siem gaps` prints.
fn gaps(config: &Path, more: &[&str]) -> Value {
    let output = command().args(["gaps", "--json", "--config"]).arg(config).args(more).output().expect("the command runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_miro_is_one_gap_that_opens_and_closes() {
    let config = SimConfig {
        live_rate_per_minute: Some(120.0),
        late_fraction: 0.0,
        credits_per_minute: None,
        faults: FaultPlan::none(),
        latency: Duration::ZERO..=Duration::ZERO,
        ..SimConfig::default().with_days(1)
    };
    let miro = Simulator::start(config).await.expect("the simulator starts");
    let dir = tempfile::tempdir().expect("a directory");
    let (config, log, port) = (dir.path().join("config.toml"), dir.path().join("log"), free_port());
    let text = format!(
        "[state]\ndir = \"{dir}/state\"\n[admin]\nlisten = \"127.0.0.1:{port}\"\n[orgs.acme]\napi_url = \"{url}\"\ntoken = \"{token}\"\n\
         [orgs.acme.audit]\npoll_interval = \"10s\"\nheartbeat = \"1m\"\n\
         [sinks.told]\ntype = \"file\"\npath = \"{dir}/told-{{stream}}.ndjson\"\nforwarder_events = true\n\
         [sinks.plain]\ntype = \"file\"\npath = \"{dir}/plain-{{stream}}.ndjson\"\n",
        dir = dir.path().display(),
        url = miro.url(),
        token = token(&miro),
    );
    fs::write(&config, text).expect("the configuration is written");
    let mut daemon = Daemon::start(&config, &log, "info");
    tokio::task::block_in_place(|| daemon.wait_until("it has collected", LIMIT, |status| status["ready"] == true));
    assert_eq!(gaps(&config, &[]), serde_json::json!([]));

    miro.sim().set_faults(FaultPlan { probability: 1.0, faults: vec![Fault::Status(503)], in_a_row_max: u32::MAX });
    let status = tokio::task::block_in_place(|| {
        daemon.wait_until("the gap is open", LIMIT, |status| status["streams"][0]["gaps"][0]["opened_at"].is_string())
    });
    let (gap, stream) = (&status["streams"][0]["gaps"][0], &status["streams"][0]);
    assert_eq!((&gap["state"], &gap["from"]), (&Value::from("open"), &stream["watermark"]), "{gap}");
    assert!(gap["cause"].as_str().is_some_and(|cause| cause.contains("503")), "{gap}");
    assert_eq!(gaps(&config, &["--stream", "audit"])[0]["from"], gap["from"]);

    // Killed and started again in the middle: it is the same gap.
    daemon.kill();
    let offline = gaps(&config, &["--org", "acme"]);
    assert_eq!((&offline[0]["from"], &offline[0]["opened_at"]), (&gap["from"], &gap["opened_at"]), "the state says the same");
    daemon = Daemon::start(&config, &log, "info");
    miro.sim().clear_faults();
    let status = tokio::task::block_in_place(|| {
        daemon.wait_until("the gap has closed", LIMIT, |status| {
            let stream = &status["streams"][0];
            stream["gaps"] == serde_json::json!([]) && stream["gaps_ended"].as_array().is_some_and(|ended| ended.len() == 1)
        })
    });
    let instant = |name: &str| status["streams"][0][name].as_str().and_then(|time| time.parse::<DateTime<Utc>>().ok()).expect("a time");
    let (origin, watermark) = (instant("origin"), instant("watermark"));
    let all = gaps(&config, &["--all"]);
    let states: Vec<&str> = all.as_array().into_iter().flatten().filter_map(|row| row["state"].as_str()).collect();
    assert!(states.contains(&"closed") && states.contains(&"verified") && !states.contains(&"open"), "{all:#}");
    daemon.terminate();
    assert_eq!(tokio::task::block_in_place(|| daemon.wait(LIMIT)).code(), Some(0));

    let told = records(&dir.path().join("told-forwarder.ndjson"));
    let of = |name: &str| told.iter().filter(|record| record["event"] == format!("miro_siem.{name}")).collect::<Vec<_>>();
    let (opened, closed) = (of("gap_opened"), of("gap_closed"));
    assert_eq!((opened.len(), closed.len()), (1, 1), "{told:#?}");
    assert_eq!(opened[0]["details"]["from"], gap["from"]);
    assert_eq!(closed[0]["details"]["opened_at"], gap["opened_at"]);
    assert_eq!((&opened[0]["_miro_siem"]["stream"], &opened[0]["_miro_siem"]["org"]), (&"forwarder".into(), &"acme".into()));
    assert!(of("heartbeat").len() >= 2, "one for each start");
    // Nobody gets what he did not ask for, and nothing of Miro's is missing.
    assert!(!dir.path().join("plain-forwarder.ndjson").exists());
    let collected: Vec<String> =
        records(&dir.path().join("plain-audit.ndjson")).iter().map(|record| record["id"].as_str().expect("an id").to_owned()).collect();
    let truth = miro.sim().truth(Stream::Audit, origin, watermark);
    let missing: Vec<_> = truth.iter().filter(|event| event.id.as_ref().is_some_and(|id| !collected.contains(id))).collect();
    assert!(!truth.is_empty() && missing.is_empty(), "{missing:#?}");
}

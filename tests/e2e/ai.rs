//! AI interactions, through faults and a kill: complete on every sink, and without what was asked and answered unless a sink says so.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    time::Duration,
};

use chrono::{TimeDelta, Utc};
use miro_simulator::{FaultPlan, Running, SimConfig, Simulator, Stream};
use serde_json::Value;

use crate::{
    daemon::{Daemon, free_port},
    world::token,
};

const EVENTS: u64 = 3_000;
const LIMIT: Duration = Duration::from_secs(300);

async fn organisation() -> Running {
    let config = SimConfig {
        seed: 5,
        days: 10,
        audit_events: 0,
        content_events: 0,
        ai_events: EVENTS,
        late_fraction: 0.0,
        credits_per_minute: None,
        faults: FaultPlan::rough(),
        latency: Duration::ZERO..=Duration::ZERO,
        ..SimConfig::default()
    };
    Simulator::start(config).await.expect("the simulator starts")
}

fn configuration(dir: &Path, miro: &Running) -> String {
    format!(
        r#"
[state]
dir = "{dir}/state"
[admin]
listen = "127.0.0.1:{admin}"
[orgs.acme]
api_url = "{api}"
token = "{token}"
[orgs.acme.ai]
start = "15d"
poll_interval = "10s"

[sinks.plain]
type = "file"
path = "{dir}/plain/%Y-%m-%d.ndjson"

[sinks.soc]
type = "file"
path = "{dir}/soc/%Y-%m-%d.ndjson"
format = "ocsf"

[sinks.own]
type = "file"
path = "{dir}/own/%Y-%m-%d.ndjson"
redact = {{ drop = ["/actor/name"] }}

[sinks.whole]
type = "file"
path = "{dir}/whole/%Y-%m-%d.ndjson"
provenance = false
redact = "none"
"#,
        dir = dir.display(),
        admin = free_port(),
        api = miro.url(),
        token = token(miro),
    )
}

fn is_through(status: &Value) -> bool {
    let rows = |key: &str| status[key].as_array().cloned().unwrap_or_default();
    let collected = |row: &Value| row["last_success"].is_string() && row["lag_secs"].as_f64().is_some_and(|lag| lag < 60.0);
    !rows("streams").is_empty()
        && rows("streams").iter().all(collected)
        && rows("sinks").iter().all(|row| row["backlog_events"].as_u64() == Some(0))
}

fn has_delivered_some(status: &Value) -> bool {
    status["sinks"].as_array().is_some_and(|sinks| sinks.iter().any(|sink| sink["events_delivered"].as_u64() > Some(500)))
}

/// Every line of a sink's files.
fn lines(dir: &Path) -> Vec<String> {
    let files = fs::read_dir(dir).expect("the sink has written");
    let texts = files.map(|file| fs::read_to_string(file.expect("an entry").path()).expect("text"));
    texts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect()
}

/// What people asked and were answered, in the words of both generations of the log.
fn prompts(event: &Value) -> Vec<String> {
    let old = event["details"]["text"].as_str().map(|text| match serde_json::from_str::<Value>(text) {
        Ok(inner) => inner["text"].as_str().unwrap_or(text).to_owned(),
        Err(_) => text.to_owned(),
    });
    let new = event["details"]["content"].as_array().into_iter().flatten().filter_map(|part| part["text"].as_str()).map(str::to_owned);
    old.into_iter().chain(new).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn ai_interactions_arrive_complete_and_their_texts_only_where_they_are_asked_for() {
    let miro = organisation().await;
    let dir = tempfile::tempdir().expect("a directory");
    let config = dir.path().join("config.toml");
    fs::write(&config, configuration(dir.path(), &miro)).expect("the configuration is written");
    let log = dir.path().join("daemon.log");
    tokio::task::block_in_place(|| {
        let mut daemon = Daemon::start(&config, &log, "info");
        daemon.wait_until("some of it is delivered", LIMIT, has_delivered_some);
        daemon.kill();
        let mut daemon = Daemon::start(&config, &log, "info");
        daemon.wait_until("everything is delivered", LIMIT, is_through);
        daemon.terminate();
        daemon.wait(Duration::from_secs(60));
    });

    let now = Utc::now();
    let truth: BTreeMap<String, String> = miro
        .sim()
        .truth_iter(Stream::Ai, now - TimeDelta::days(14), now + TimeDelta::days(1))
        .map(|event| (event.id.expect("whole records only"), String::from_utf8(event.raw).expect("text").replace(['\r', '\n'], " ")))
        .collect();
    assert!(truth.len() as u64 > EVENTS * 9 / 10, "{} events", truth.len());
    let id_of = |line: &str| serde_json::from_str::<Value>(line).expect("JSON")["id"].as_str().expect("an id").to_owned();

    let whole: BTreeMap<String, String> = lines(&dir.path().join("whole")).into_iter().map(|line| (id_of(&line), line)).collect();
    for (id, raw) in &truth {
        assert_eq!(whole.get(id), Some(raw), "with `redact = \"none\"` an event is what Miro sent");
    }
    let texts: BTreeSet<String> = truth.values().flat_map(|raw| prompts(&serde_json::from_str(raw).expect("JSON"))).collect();
    assert!(texts.len() > 15, "{texts:?}");
    for name in ["plain", "own", "soc"] {
        let found = lines(&dir.path().join(name));
        for text in &texts {
            let spelled = serde_json::to_string(text).expect("a text");
            let spelled = spelled.trim_matches('"');
            let line = found.iter().find(|line| line.contains(spelled) || line.contains(&spelled.replace('\\', "\\\\")));
            assert_eq!(line, None, "{name} has the prompt {text:?}");
        }
    }
    let plain: BTreeMap<String, String> = lines(&dir.path().join("plain")).into_iter().map(|line| (id_of(&line), line)).collect();
    for (id, raw) in &truth {
        let line = plain.get(id).unwrap_or_else(|| panic!("{id} is missing"));
        let (left, sent): (Value, Value) = (serde_json::from_str(line).expect("JSON"), serde_json::from_str(raw).expect("JSON"));
        for kept in ["createdAt", "storedAt", "actor", "surface", "aiFeatureName", "eventType", "logType", "session", "object", "tool"] {
            assert_eq!(left[kept], sent[kept], "{kept} of {id}");
        }
    }
    let own = lines(&dir.path().join("own"));
    assert!(own.iter().all(|line| serde_json::from_str::<Value>(line).expect("JSON")["actor"].get("name").is_none()));
    let ids = |name: &str, pointer: &str| -> BTreeSet<String> {
        let records = lines(&dir.path().join(name)).into_iter().map(|line| serde_json::from_str::<Value>(&line).expect("JSON"));
        records.filter_map(|record| record.pointer(pointer)?.as_str().map(str::to_owned)).collect()
    };
    for (name, pointer) in [("own", "/id"), ("soc", "/metadata/uid")] {
        let ids = ids(name, pointer);
        let missing: Vec<&String> = truth.keys().filter(|id| !ids.contains(*id)).take(5).collect();
        assert!(missing.is_empty(), "{name} misses {missing:?}");
    }
}

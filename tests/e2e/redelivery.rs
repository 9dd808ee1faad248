//! What a person asks for while the daemon runs, and without it: dead letters once more, ranges once more, a new sink that begins in the past.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
    time::Duration,
};

use chrono::{TimeDelta, Utc};
use miro_simulator::{FaultPlan, Running as Miro, Stream};
use serde_json::Value;
use testbed::{
    Running,
    faults::{Fault, Rule},
    hec::{Hec, HecConfig},
    ledger::Ledger,
    sumo::{Sumo, SumoConfig},
};

use crate::{
    daemon::{Daemon, command, free_port},
    world::{Truth, organisation, token, truth},
};

const LIMIT: Duration = Duration::from_secs(120);
const EVENTS: usize = 300;

struct World {
    dir: tempfile::TempDir,
    miro: Miro,
    hec: Running<Hec>,
    sumo: Running<Sumo>,
    admin_port: u16,
}

impl World {
    async fn start() -> Self {
        Self {
            dir: tempfile::tempdir().expect("a directory"),
            miro: organisation(2, EVENTS as u64, 0, FaultPlan::none()).await,
            hec: Hec::start(HecConfig::default()).expect("HEC starts"),
            sumo: Sumo::start(SumoConfig::default()).expect("Sumo starts"),
            admin_port: free_port(),
        }
    }

    fn truth(&self) -> Truth {
        truth(&self.miro, &[Stream::Audit], Utc::now() - TimeDelta::days(20))
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    /// With Splunk, and more sinks.
    fn configure(&self, more: &str) -> PathBuf {
        let text = format!(
            "[state]\ndir = \"{}/state\"\n[admin]\nlisten = \"127.0.0.1:{}\"\n[orgs.acme]\napi_url = \"{}\"\ntoken = \"{}\"\n\
             [orgs.acme.audit]\nstart = \"20d\"\npoll_interval = \"10s\"\n[sinks.splunk]\ntype = \"splunk_hec\"\nurl = \"{}\"\ntoken = \"{}\"\n{more}",
            self.dir.path().display(),
            self.admin_port,
            self.miro.url(),
            token(&self.miro),
            self.hec.url(),
            HecConfig::default().token,
        );
        let path = self.dir.path().join("config.toml");
        fs::write(&path, text).expect("the file is written");
        path
    }

    /// A table of a sink at Sumo.
    fn sumo_table(&self, more: &str) -> String {
        format!("[sinks.second]\ntype = \"sumo\"\nurl = \"{}{}\"\n{more}", self.sumo.url(), self.sumo.service().path())
    }
}

fn run(config: &Path, args: &[&str]) -> Output {
    tokio::task::block_in_place(|| command().args(args).arg("--config").arg(config).output().expect("the command runs"))
}

#[track_caller]
fn json(config: &Path, args: &[&str], code: i32) -> Vec<Value> {
    let output = run(config, args);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text").lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn settled(daemon: &Daemon) -> Value {
    tokio::task::block_in_place(|| {
        daemon.wait_until("everything has its outcome", LIMIT, |status| {
            let sinks = status["sinks"].as_array().cloned().unwrap_or_default();
            let collected: u64 =
                status["streams"].as_array().into_iter().flatten().filter_map(|row| row["events_collected"].as_u64()).sum();
            collected >= EVENTS as u64 && !sinks.is_empty() && sinks.iter().all(|sink| sink["backlog_events"] == 0)
        })
    })
}

/// How often each event of the truth is in a ledger, as a set.
fn times(ledger: &Ledger, truth: &Truth) -> Vec<u32> {
    let mut times: Vec<u32> = truth.keys().map(|id| ledger.times_seen(id)).collect();
    times.sort_unstable();
    times.dedup();
    times
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_event_is_delivered_by_a_retry_once_its_cause_is_gone() {
    let world = World::start().await;
    let (config, truth) = (world.configure(""), world.truth());
    let poison = truth.keys().nth(137).expect("so many events").clone();
    world.hec.service().refuse_events_with(Some(format!("\"id\":\"{poison}\"").as_bytes()));
    let daemon = Daemon::start(&config, &world.log(), "info");
    settled(&daemon);
    assert_eq!((world.hec.ledger().len(), world.hec.ledger().times_seen(&poison)), (truth.len() - 1, 0));
    let listed = json(&config, &["dead-letters", "list", "--json"], 0);
    assert_eq!((listed.len(), listed[0]["id"].as_str(), listed[0]["reason"].as_str()), (1, Some(poison.as_str()), Some("rejected")));
    assert!(listed[0]["answer"].as_str().is_some_and(|answer| answer.contains("code 6")), "{}", listed[0]);

    let refused = json(&config, &["dead-letters", "retry", "--sink", "splunk", "--json"], 3);
    assert_eq!((&refused[0]["delivered"], &refused[0]["refused"]), (&0.into(), &1.into()));
    world.hec.service().refuse_events_with(None);
    let delivered = json(&config, &["dead-letters", "retry", &poison, "--json"], 0);
    assert_eq!((&delivered[0]["delivered"], &delivered[0]["refused"], &delivered[0]["state"]), (&1.into(), &0.into(), &"done".into()));
    assert_eq!(times(world.hec.ledger(), &truth), [1], "every event is there once");
    assert!(json(&config, &["dead-letters", "list", "--json"], 0).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_is_sent_again_to_one_sink_by_the_daemon_and_without_it() {
    let world = World::start().await;
    let (config, truth) = (world.configure(&world.sumo_table("")), world.truth());
    let mut daemon = Daemon::start(&config, &world.log(), "info");
    settled(&daemon);
    let replay = ["replay", "--sink", "splunk", "--from", "20d", "--json"];
    let told = json(&config, &replay, 0);
    assert_eq!((&told[0]["delivered"], &told[0]["state"]), (&truth.len().into(), &"done".into()));
    assert_eq!((times(world.hec.ledger(), &truth), times(world.sumo.ledger(), &truth)), (vec![2], vec![1]));
    let nothing = json(&config, &["replay", "--sink", "splunk", "--from", "400d", "--to", "300d", "--json"], 0);
    assert_eq!(nothing[0]["delivered"], 0);
    assert!(nothing[0]["note"].as_str().is_some_and(|note| note.contains("retention")), "{}", nothing[0]);
    assert_eq!(run(&config, &["replay", "--sink", "splnk", "--from", "1d"]).status.code(), Some(1));
    tokio::task::block_in_place(|| {
        daemon.terminate();
        daemon.wait(LIMIT);
    });
    let told = json(&config, &replay, 0);
    assert_eq!(told[0]["delivered"], truth.len());
    assert_eq!((times(world.hec.ledger(), &truth), times(world.sumo.ledger(), &truth)), (vec![3], vec![1]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_sink_begins_in_the_past_once_whatever_interrupts_it() {
    let world = World::start().await;
    let (config, truth) = (world.configure(""), world.truth());
    let mut daemon = Daemon::start(&config, &world.log(), "info");
    settled(&daemon);
    daemon.kill();
    let config = world.configure(&world.sumo_table("start = \"20d\"\nbatch_events_max = 20\n"));
    world.sumo.faults().add(Rule::during(LIMIT, Fault::delay(Duration::from_millis(100))));
    for _ in 0..2 {
        let mut daemon = Daemon::start(&config, &world.log(), "info");
        let before = world.sumo.ledger().len();
        world.sumo.ledger().wait_for(before + 60, LIMIT).await.expect("it sends");
        daemon.kill();
    }
    world.sumo.faults().clear();
    assert!(world.sumo.ledger().len() < truth.len(), "it was cut short twice");
    let daemon = Daemon::start(&config, &world.log(), "info");
    world.sumo.ledger().wait_for(truth.len(), LIMIT).await.expect("the rest comes");
    tokio::task::block_in_place(|| {
        daemon.wait_until("it is told to be done", LIMIT, |_| {
            let jobs = json(&config, &["replay", "--list", "--json"], 0);
            jobs.len() == 1 && jobs[0]["state"] == "done"
        })
    });
    let repeated = world.sumo.ledger().duplicates().len();
    assert!(repeated <= 2 * 40, "what was settled is not sent again: {repeated} of {} came twice", truth.len());
    assert_eq!(times(world.hec.ledger(), &truth), [1], "the other sink has noticed nothing");
}

//! `backfill`: through the running daemon, and alone where none runs; killed in the middle, and begun again.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use chrono::{TimeDelta, Utc};
use miro_simulator::{FaultPlan, Running as Miro, SimConfig, Simulator, Stream};
use serde_json::Value;

use crate::{
    daemon::{Daemon, command},
    world::{organisation, token, truth},
};

/// An organisation with a past, a configuration that begins now, and a file per stream.
struct World {
    miro: Miro,
    dir: tempfile::TempDir,
    config: PathBuf,
}

impl World {
    async fn new(audit_events: u64) -> Self {
        Self::around(organisation(6, audit_events, 300, FaultPlan::none()).await)
    }

    /// One whose every answer takes that long, so that there is a middle to be interrupted in.
    async fn slow(audit_events: u64, latency: Duration) -> Self {
        let config = SimConfig {
            seed: 11,
            days: 6,
            audit_events,
            content_events: 300,
            ai_events: 0,
            late_fraction: 0.0,
            credits_per_minute: None,
            faults: FaultPlan::none(),
            latency: latency..=latency,
            ..SimConfig::default()
        };
        Self::around(Simulator::start(config).await.expect("the simulator starts"))
    }

    fn around(miro: Miro) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let config = dir.path().join("config.toml");
        let text = format!(
            r#"
[state]
dir = "{dir}/state"
[admin]
listen = "off"
[orgs.acme]
api_url = "{url}"
token = "{token}"
[orgs.acme.audit]
[orgs.acme.content]
[sinks.archive]
type = "file"
path = "{dir}/{{stream}}.ndjson"
"#,
            dir = dir.path().display(),
            url = miro.url(),
            token = token(&miro)
        );
        fs::write(&config, text).expect("written");
        Self { miro, dir, config }
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = command();
        command.arg("backfill").args(args).arg("--config").arg(&self.config);
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("the command runs")
    }

    /// The ids that were delivered of a stream, and how many lines there are.
    fn delivered(&self, stream: &str) -> (BTreeSet<String>, usize) {
        let path = self.dir.path().join(format!("{stream}.ndjson"));
        let lines = if path.exists() { fs::read_to_string(path).expect("the file can be read") } else { String::new() };
        let id =
            |line: &str| serde_json::from_str::<Value>(line).expect("a whole line")["_miro_siem"]["id"].as_str().expect("an id").to_owned();
        (lines.lines().map(id).collect(), lines.lines().count())
    }

    /// The records that came before under the same id.
    fn repeated(&self, stream: &str) -> Vec<String> {
        let lines = fs::read_to_string(self.dir.path().join(format!("{stream}.ndjson"))).expect("the file can be read");
        let mut seen = std::collections::BTreeMap::new();
        let mut repeated = Vec::new();
        for line in lines.lines() {
            let record: Value = serde_json::from_str(line).expect("a whole line");
            let source = record["_miro_siem"].to_string();
            if let Some(before) = seen.insert(record["_miro_siem"]["id"].to_string(), source.clone()) {
                repeated.push(format!("{before} and {source} of {}", record["createdAt"]));
            }
        }
        repeated
    }

    /// The ids that there were in the days before now, but for the newest, of which a poll may have some already.
    fn ids(&self, stream: Stream, days: i64) -> BTreeSet<String> {
        let from = Utc::now() - TimeDelta::days(days);
        truth(&self.miro, &[stream], from).into_keys().collect()
    }
}

const RANGE: [&str; 6] = ["--org", "acme", "--stream", "audit", "--from", "30d"];
const LIMIT: Duration = Duration::from_secs(120);

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args([name, &child.id().to_string()]).status().expect("kill runs");
    assert!(sent.success(), "the process is there");
}

#[tokio::test(flavor = "multi_thread")]
async fn through_the_daemon_the_range_is_collected_and_delivered() {
    let world = World::new(6_000).await;
    tokio::task::block_in_place(|| {
        let daemon = Daemon::start(&world.config, &world.log(), "info");
        daemon.wait_until("it runs", LIMIT, |status| status["ready"] == true);
        let done = world.run(&[&RANGE[..], &["--json"]].concat());
        assert_eq!(done.status.code(), Some(0), "{}", said(&done));
        let status: Value = serde_json::from_slice(&done.stdout).expect("JSON");
        assert_eq!((status["state"].as_str(), status["missing_secs"].as_f64()), (Some("done"), Some(0.0)));
        assert!(status["events"].as_u64() >= Some(5_900), "{status}");
        let expected = world.ids(Stream::Audit, 40);
        daemon.wait_until("all of it is delivered", LIMIT, |_| world.delivered("audit").0.is_superset(&expected));
        assert!(world.delivered("content").0.len() < 100, "the other stream's past was not asked for");

        let again = world.run(&RANGE);
        assert_eq!(again.status.code(), Some(0), "what is collected already is done at once: {}", said(&again));
        assert_eq!(world.repeated("audit"), Vec::<String>::new(), "nothing came twice");
        let listed = said(&world.run(&["--list"]));
        assert!(listed.contains("acme/audit/1") && listed.contains("done") && listed.contains("100 %"), "{listed}");
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_that_cannot_be_is_refused_with_what_there_is() {
    let world = World::new(100).await;
    tokio::task::block_in_place(|| {
        let daemon = Daemon::start(&world.config, &world.log(), "info");
        daemon.wait_until("it runs", LIMIT, |status| status["ready"] == true);
        for (args, words) in [
            (&["--org", "acme", "--stream", "ai", "--from", "30d"][..], "acme/audit, acme/content"),
            (&["--org", "beta", "--stream", "audit", "--from", "30d"], "acme/audit, acme/content"),
            (&["--org", "acme", "--stream", "nonsense", "--from", "30d"], "audit, content and ai"),
            (&["--org", "acme", "--stream", "audit", "--from", "2024-01-01", "--to", "2024-02-01"], "retention"),
            (&["--org", "acme", "--stream", "audit", "--from", "1d", "--to", "2d"], "not after its beginning"),
            (&["--org", "acme", "--stream", "audit", "--from", "soon"], "such as"),
            (&["--org", "acme", "--stream", "audit"], "--from"),
            (&["--cancel", "acme/audit/77"], "--list"),
        ] {
            let output = world.run(args);
            assert_eq!(output.status.code(), Some(2), "{args:?}: {}", said(&output));
            assert!(said(&output).contains(words), "{args:?}: {}", said(&output));
        }
        let cut = world.run(&["--org", "acme", "--stream", "audit", "--from", "2024-01-01"]);
        assert_eq!(cut.status.code(), Some(0), "what falls off the log's end meanwhile is no part of it: {}", said(&cut));
        assert!(said(&cut).contains("note: Miro's log reaches back to") && said(&cut).contains("100 % collected"), "{}", said(&cut));
        drop(daemon);
    });
}

/// Reads lines until one has these words.
fn until(lines: &mut impl Iterator<Item = std::io::Result<String>>, words: &str) -> String {
    let mut all = String::new();
    for line in lines {
        let line = line.expect("a line");
        if line.contains(words) {
            return line;
        }
        all += &(line + "\n");
    }
    panic!("{words:?} is not in {all}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_lets_go_of_the_daemons_backfill_and_cancel_ends_it() {
    let world = World::slow(60_000, Duration::from_millis(700)).await;
    tokio::task::block_in_place(|| {
        let daemon = Daemon::start(&world.config, &world.log(), "info");
        daemon.wait_until("it runs", LIMIT, |status| status["ready"] == true);
        let mut child = world.command(&RANGE).stderr(Stdio::piped()).spawn().expect("it starts");
        let mut lines = BufReader::new(child.stderr.take().expect("stderr is piped")).lines();
        until(&mut lines, "acme/audit: ");
        signal(&child, "-INT");
        let told = until(&mut lines, "goes on");
        assert!(told.contains("--list") && told.contains("--cancel acme/audit/1"), "{told}");
        assert_eq!(child.wait().expect("it ends").code(), Some(3));
        let listed = said(&world.run(&["--list"]));
        assert!(listed.contains("running"), "{listed}");
        let cancelled = world.run(&["--cancel", "acme/audit/1"]);
        assert!(cancelled.status.success() && said(&cancelled).contains("cancelled"), "{}", said(&cancelled));
        let again = world.run(&["--cancel", "acme/audit/1"]);
        assert!(!again.status.success() && said(&again).contains("ended already"), "{}", said(&again));
        let detached = world.run(&[&RANGE[..], &["--detach"]].concat());
        assert!(detached.status.success() && said(&detached).contains("--cancel acme/audit/2"), "{}", said(&detached));
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn alone_the_range_is_collected_delivered_and_the_process_ends() {
    let world = World::new(6_000).await;
    tokio::task::block_in_place(|| {
        let done = world.run(&[&RANGE[..], &["--json"]].concat());
        assert_eq!(done.status.code(), Some(0), "{}", said(&done));
        let status: Value = serde_json::from_slice(&done.stdout).expect("JSON");
        assert_eq!(status["state"], "done", "{status}");
        assert!(said(&done).contains("no daemon runs"), "{}", said(&done));
        let expected = world.ids(Stream::Audit, 40);
        let (ids, lines) = world.delivered("audit");
        assert!(ids.is_superset(&expected) && lines == ids.len(), "{} of {}, {lines} lines", ids.len(), expected.len());
        assert_eq!(world.delivered("content").1, 0, "no other stream was collected");
        assert!(!world.dir.path().join("state/admin.sock").exists());
        let unknown = world.run(&["--org", "acme", "--stream", "ai", "--from", "30d"]);
        assert_eq!(unknown.status.code(), Some(2));
        assert!(said(&unknown).contains("its streams are audit, content"), "{}", said(&unknown));
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn alone_and_killed_in_the_middle_the_same_command_goes_on() {
    let world = World::slow(40_000, Duration::from_millis(800)).await;
    tokio::task::block_in_place(|| {
        for kill in ["-KILL", "-INT"] {
            let before = world.delivered("audit").0.len();
            let mut child = world.command(&RANGE).stderr(Stdio::piped()).spawn().expect("it starts");
            let began = Instant::now();
            while world.delivered_raw() < before + 500 {
                assert!(began.elapsed() < LIMIT, "events arrive");
                if let Some(ended) = child.try_wait().expect("a child") {
                    let mut words = String::new();
                    child.stderr.take().expect("stderr is piped").read_to_string(&mut words).expect("text");
                    panic!("it ended before it was killed, with {ended}, after {before} lines: {words}");
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            signal(&child, kill);
            let mut words = String::new();
            child.stderr.take().expect("stderr is piped").read_to_string(&mut words).expect("text");
            let code = child.wait().expect("it ends").code();
            if kill == "-INT" {
                assert!(code == Some(3) && words.contains("the same command goes on"), "{code:?}: {words}");
            }
        }
        let done = world.run(&RANGE);
        assert_eq!(done.status.code(), Some(0), "{}", said(&done));
        let expected = world.ids(Stream::Audit, 40);
        let (ids, lines) = world.delivered("audit");
        assert!(ids.is_superset(&expected), "{} of {}", ids.len(), expected.len());
        assert!(lines <= ids.len() + 10_000, "{lines} lines of {} ids: what was in flight at a kill comes twice at most", ids.len());
    });
}

impl World {
    /// How many lines there are, whole or not.
    fn delivered_raw(&self) -> usize {
        let path = self.dir.path().join("audit.ndjson");
        fs::read(path).map_or(0, |bytes| bytes.iter().filter(|byte| **byte == b'\n').count())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn alone_every_other_stream_keeps_its_place() {
    let world = World::new(400).await;
    tokio::task::block_in_place(|| {
        let start = |log: &Path| Daemon::start(&world.config, log, "info");
        let mut daemon = start(&world.log());
        daemon.wait_until("it runs", LIMIT, |status| status["ready"] == true);
        daemon.kill();
        let marker = |id: &str| {
            let now = Utc::now();
            let raw = format!(
                r#"{{"id":"{id}","itemType":"widget","actionType":"create","actionTime":"{}"}}"#,
                now.format("%Y-%m-%dT%H:%M:%S%.3fZ")
            );
            world.miro.sim().inject(Stream::Content, raw.into_bytes(), now, now);
        };
        marker("between");
        let done = world.run(&RANGE);
        assert_eq!(done.status.code(), Some(0), "{}", said(&done));
        assert!(!world.delivered("content").0.contains("between"), "that stream was not collected");
        let daemon = start(&world.log());
        daemon.wait_until("what came in between is found", LIMIT, |_| world.delivered("content").0.contains("between"));
        let log = fs::read_to_string(world.log()).expect("the log");
        assert!(!log.contains("no longer takes"), "{log}");
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn alone_a_token_that_is_refused_ends_it_with_the_reason() {
    let world = World::new(100).await;
    let config = fs::read_to_string(&world.config).expect("the configuration").replace(token(&world.miro), "not-a-token");
    fs::write(&world.config, config).expect("written");
    tokio::task::block_in_place(|| {
        let failed = world.run(&RANGE);
        assert_eq!(failed.status.code(), Some(1), "{}", said(&failed));
        assert!(said(&failed).contains("token"), "{}", said(&failed));
    });
}

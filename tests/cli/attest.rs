//! `attest` and `diff` on the state of a daemon that does not run: what they say is the truth, and they change nothing.

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use miro_siem::{
    event::{Decoded, EventId, OrgName, Origin, RawEvent, SinkName, StreamId, StreamKind, TimeRange, Timestamp},
    journal::{Commit, CoverageChange, DiskJournal, Journal, Options, proof::IdSum},
};
use serde_json::Value;

use super::command;

const HOURS: i64 = 72;
const GAP: std::ops::Range<i64> = 40..42;
const EMPTY: i64 = 50;

fn at(hours: i64) -> Timestamp {
    Timestamp::parse("2024-05-01T00:00:00Z")
        .map(|begins| Timestamp::from_micros(begins.as_micros() + hours * 3_600_000_000))
        .expect("a time")
}

/// The ids of events in hours `from..to`.
fn ids(from: i64, to: i64) -> Vec<String> {
    let hours = (from..to).filter(|hour| *hour != EMPTY && !GAP.contains(hour));
    hours.flat_map(|hour| (0..3).map(move |n| format!("événement-{hour}-{n}"))).collect()
}

fn event(id: &str, time: Option<Timestamp>) -> RawEvent {
    RawEvent { id: EventId::new(id), time, raw: format!("{{\"id\":\"{id}\"}}").into(), decoded: Decoded::Whole }
}

/// Where a journal is, and what the configuration says of it.
struct World {
    dir: tempfile::TempDir,
    config: PathBuf,
}

fn options(dir: &Path) -> Options {
    Options { dir: dir.to_owned(), bytes_max: 1 << 30, ids_reach: Duration::from_secs(26 * 3_600) }
}

impl World {
    /// Three days of events, three an hour, with a hole and an hour without any.
    async fn new() -> Self {
        Self::without(GAP).await
    }

    /// The same, where these hours are not covered. A hole keeps the ids behind it.
    async fn without(gap: std::ops::Range<i64>) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let (config, state) = (dir.path().join("config.toml"), dir.path().join("state"));
        let text = format!(
            "[state]\ndir = {state:?}\n[admin]\nlisten = \"off\"\nsocket = \"off\"\n[orgs.acme]\ntoken = {{ env = \"T\" }}\n[orgs.acme.audit]\n[sinks.out]\ntype = \"stdout\"\n"
        );
        fs::write(&config, text).expect("written");
        let journal = DiskJournal::open(options(&state)).expect("opens");
        let stream = StreamId::new(OrgName::new("acme"), StreamKind::Audit);
        journal.subscribe(vec![(SinkName::new("out"), stream.clone())]).await.expect("subscribes");
        let commit = |events: Vec<RawEvent>, coverage| Commit {
            stream: stream.clone(),
            collected_at: at(HOURS - 1),
            events: events.into_iter().map(|event| (event, Origin::Live)).collect(),
            coverage,
        };
        journal.commit(commit(Vec::new(), CoverageChange::Begin(at(0)))).await.expect("begins");
        for hour in (0..HOURS).filter(|hour| !gap.contains(hour)) {
            let events = ids(hour, hour + 1).iter().map(|id| event(id, Some(at(hour).plus(Duration::from_secs(600))))).collect();
            let range = TimeRange::new(at(hour), at(hour + 1)).expect("a range");
            journal.commit(commit(events, CoverageChange::Add(range))).await.expect("commits");
        }
        journal.commit(commit(vec![event("without a time", None)], CoverageChange::None)).await.expect("commits");
        journal.close().await.expect("closes");
        Self { dir, config }
    }

    fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    fn run(&self, args: &[&str], stdin: &str) -> Output {
        let mut child = command()
            .args(args)
            .arg("--config")
            .arg(&self.config)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it runs");
        child.stdin.take().expect("piped").write_all(stdin.as_bytes()).expect("writes");
        child.wait_with_output().expect("it ends")
    }

    #[track_caller]
    fn json(&self, args: &[&str], stdin: &str, code: i32) -> Value {
        let output = self.run(&[args, &["--json"]].concat(), stdin);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {said} {}", String::from_utf8_lossy(&output.stdout));
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    /// The bytes of every file of the state.
    fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        fn add(dir: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
            for entry in fs::read_dir(dir).expect("lists") {
                let path = entry.expect("lists").path();
                if path.is_dir() { add(&path, files) } else { drop(files.insert(path.clone(), fs::read(path).expect("reads"))) }
            }
        }
        let mut files = BTreeMap::new();
        add(&self.state(), &mut files);
        files
    }
}

fn hash(ids: &[String]) -> String {
    let mut sum = IdSum::default();
    ids.iter().for_each(|id| sum.add_id(id.as_bytes()));
    sum.to_string()
}

fn date(hours: i64) -> String {
    at(hours).to_rfc3339_secs()
}

/// The lines that the guide shows, as a program.
fn recipe() -> String {
    let guide = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/attest.md")).expect("the guide is there");
    let program = guide.split("```python\n").nth(1).and_then(|rest| rest.split("```").next()).expect("it shows a program");
    assert!(program.lines().filter(|line| !line.is_empty()).count() <= 10, "{program}");
    program.to_owned()
}

#[tokio::test]
async fn the_attestation_tells_every_hour_and_its_hash_is_the_one_that_anybody_computes() {
    let world = World::new().await;
    let before = world.files();
    let report = world.json(&["attest", "--from", &date(0), "--to", &date(HOURS)], "", 3);
    let stream = &report["streams"][0];
    let hours = stream["hours"].as_array().expect("a list");
    assert_eq!(hours.len() as i64, HOURS);
    for (hour, row) in (0..).zip(hours) {
        let state = if GAP.contains(&hour) { "gap_lost" } else { ["covered", "empty"][usize::from(hour == EMPTY)] };
        let ids = ids(hour, hour + 1);
        let told = (row["state"].as_str(), row["collected"].as_u64(), row["id_hash"].as_str(), row["exact"].as_bool());
        assert_eq!(told, (Some(state), Some(ids.len() as u64), Some(hash(&ids).as_str()), Some(true)), "hour {hour}");
    }
    assert_eq!(stream["undated"][0]["collected"], 1);
    assert_eq!((report["complete"].as_bool(), report["exact"].as_bool()), (Some(false), Some(true)));
    assert_eq!(stream["missing"][0]["from"].as_str(), Some(at(GAP.start).to_rfc3339_millis().as_str()));

    let mut all = ids(0, HOURS);
    all.push("without a time".to_owned());
    let mut python = std::process::Command::new("python3")
        .args(["-c", &recipe()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 is installed");
    python.stdin.take().expect("piped").write_all((all.join("\r\n") + "\n").as_bytes()).expect("writes");
    let computed = String::from_utf8(python.wait_with_output().expect("it ends").stdout).expect("text");
    assert_eq!(computed.trim(), format!("{} {}", all.len(), report["total"]["id_hash"].as_str().expect("text")));

    let whole = world.json(&["attest", "--from", &date(0), "--to", &date(GAP.start), "--stream", "audit", "--org", "acme"], "", 0);
    assert_eq!(whole["complete"], true);
    let earlier = world.json(&["attest", "--from", &date(-3), "--to", &date(1)], "", 3);
    assert_eq!(earlier["streams"][0]["hours"][0]["state"], "not_asked");
    assert_eq!(world.files(), before, "a look changes nothing");
}

#[tokio::test]
async fn the_page_is_for_people() {
    let world = World::new().await;
    let output = world.run(&["attest", "--from", &date(0), "--to", &date(HOURS)], "");
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    for wanted in
        ["NOT COMPLETE", "acme/audit", "2024-05-02 16:00     2 GAP lost", "2024-05-03 02:00     1 empty", "lost: past Miro's retention"]
    {
        assert!(text.contains(wanted), "{wanted} is in: {text}");
    }
    assert!(String::from_utf8_lossy(&output.stderr).contains("no daemon answers"), "it says where it knows that from");
}

#[tokio::test]
async fn what_cannot_be_attested_is_said_in_words() {
    let world = World::new().await;
    let check = |args: &[&str], code: i32, wanted: &str| {
        let output = world.run(args, "");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
        assert!(said.contains(wanted), "{args:?}: {said}");
    };
    check(&["attest", "--from", "2024-05-02", "--to", "2024-05-01"], 2, "is not before");
    check(&["attest", "--from", "2022-05-02", "--to", "2024-05-01"], 2, "400 days");
    check(&["attest", "--from", "yesterday"], 2, "needs a time");
    check(&["attest", "--from", "2024-05-01", "--to", "2024-05-02", "--org", "beta"], 1, "nothing was ever collected");
    check(
        &["diff", "--org", "acme", "--stream", "audit", "--from", "2024-05-01", "--to", "2024-05-02", "--ids", "/nowhere/ids"],
        1,
        "/nowhere/ids",
    );
    let journal = DiskJournal::open(options(&world.state())).expect("opens");
    check(&["attest", "--from", "2024-05-01", "--to", "2024-05-02"], 1, "in use by another miro-siem process");
    drop(journal);
    fs::remove_dir_all(world.state()).expect("removes");
    check(&["attest", "--from", "2024-05-01", "--to", "2024-05-02"], 1, "failed to find a journal in");
    assert!(!world.state().exists(), "and none is made");
}

/// A comparison of the last day, whose single ids are remembered.
fn diff<'a>(from: &'a str, to: &'a str) -> Vec<&'a str> {
    vec!["diff", "--org", "acme", "--stream", "audit", "--from", from, "--to", to, "--ids", "-"]
}

#[tokio::test]
async fn a_file_of_the_same_ids_is_equal_in_every_form() {
    let world = World::new().await;
    let (from, to) = (date(60), date(HOURS));
    let ids = ids(60, HOURS);
    let plain = ids.join("\n");
    let ndjson: String = ids.iter().map(|id| serde_json::json!({ "event": { "id": id } }).to_string() + "\n").collect();
    let csv: String = std::iter::once("time,\"id\"\n".to_owned()).chain(ids.iter().map(|id| format!("1,\"{id}\"\n"))).collect();
    for (form, text) in [(vec![], &plain), (vec!["--field", "/event/id"], &ndjson), (vec!["--column", "id"], &csv)] {
        let found = world.json(&[diff(&from, &to), form].concat(), text, 0);
        assert_eq!((found["equal"].as_bool(), found["matched"].as_u64()), (Some(true), Some(36)), "{found}");
        assert_eq!(found["undated_not_in_file"], 1, "it is told, and no difference: {found}");
    }
    let output = world.run(&diff(&from, &to), &plain);
    assert!(String::from_utf8_lossy(&output.stdout).contains("the same in both: 37 collected, 36 in the file"));
}

#[tokio::test]
async fn what_either_side_misses_is_listed_by_name() {
    let world = World::new().await;
    let (from, to) = (date(60), date(HOURS));
    let mut ids = ids(60, HOURS);
    let missed = ids.remove(7);
    ids.push("from elsewhere".to_owned());
    ids.push("from elsewhere".to_owned());
    let found = world.json(&diff(&from, &to), &ids.join("\n"), 1);
    assert_eq!((found["equal"].as_bool(), found["file_repeats"].as_u64()), (Some(false), Some(1)));
    assert_eq!(found["not_collected"], serde_json::json!(["from elsewhere"]));
    assert_eq!(found["not_in_file"][0]["id"].as_str(), Some(missed.as_str()));
    assert_eq!(found["not_in_file"][0]["hour"].as_str(), Some(date(62).as_str()));
    assert_eq!(found["not_in_file_count"], 1);
    let page = world.run(&diff(&from, &to), &ids.join("\n"));
    let page = String::from_utf8_lossy(&page.stdout).into_owned();
    assert!(page.contains("they DIFFER") && page.contains("  from elsewhere\n") && page.contains(&missed), "{page}");
    let unreadable = world.json(&[diff(&from, &to), vec!["--field", "id"]].concat(), "{\"id\":\"x\"}\nno JSON\n", 1);
    assert_eq!(unreadable["file_lines_without_id"], 1);
}

#[tokio::test]
async fn hours_whose_single_ids_are_forgotten_are_compared_by_count_and_hash() {
    let world = World::without(0..0).await;
    let (from, to) = (date(10), date(HOURS));
    let mut ids = ids(10, HOURS);
    let found = world.json(&diff(&from, &to), &ids.join("\n"), 0);
    let older = &found["older"];
    assert_eq!((older["equal"].as_bool(), older["hours"].as_u64()), (Some(true), Some(14)), "{found}");
    assert_eq!((older["collected"].as_u64(), older["file_ids"].as_u64()), (Some(42), Some(42)), "{found}");
    ids[5] = "changed".to_owned();
    let found = world.json(&diff(&from, &to), &ids.join("\n"), 1);
    assert_eq!((found["older"]["equal"].as_bool(), found["not_in_file_count"].as_u64()), (Some(false), Some(0)), "{found}");
    let page = world.run(&diff(&from, &to), &ids.join("\n"));
    let page = String::from_utf8_lossy(&page.stdout).into_owned();
    assert!(page.contains("by count and hash: DIFFERENT"), "{page}");
}

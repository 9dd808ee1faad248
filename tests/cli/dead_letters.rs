//! `dead-letters` on a store that a daemon's sink has written.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use bytes::Bytes;
use miro_siem::{
    event::{Event, EventId, OrgName, Origin, Position, SinkName, StreamId, StreamKind, Timestamp},
    sink::dead_letters::{DEAD_LETTER_BYTES_MAX, DeadLetter, DeadLetters, Reason},
};
use serde_json::Value;

use super::{command, run};

fn letter(sink: &SinkName, id: &str, reason: Reason) -> DeadLetter {
    let time = Timestamp::parse("2026-11-20T10:15:02.123Z").expect("a time");
    DeadLetter {
        sink: sink.clone(),
        stream: StreamId::new(OrgName::new("acme"), StreamKind::Audit),
        event: Event {
            position: Position(1),
            id: EventId::new(id),
            time: Some(time),
            collected_at: time,
            origin: Origin::Live,
            raw: Bytes::from(format!("{{\"id\": \"{id}\", \"n\": 12345678901234567890}}")),
        },
        reason,
        answer: "Incorrect index \u{1b}[2J at this collector, which says so in a long sentence".to_owned(),
        attempts: 3,
        first_attempt_at: time,
        last_attempt_at: time,
    }
}

/// A configuration with one sink, and letters of that sink and of one that is configured no more.
async fn world(dir: &Path) -> String {
    let state = dir.join("state");
    let config = dir.join("config.toml");
    let text =
        format!("[state]\ndir = {state:?}\n[orgs.acme]\ntoken = {{ env = \"T\" }}\n[orgs.acme.audit]\n[sinks.splunk]\ntype = \"stdout\"\n");
    fs::write(&config, text).expect("written");
    let (splunk, old) = (SinkName::new("splunk"), SinkName::new("old"));
    let put = async |sink: &SinkName, letters| {
        let store = DeadLetters::open(&state, sink, DEAD_LETTER_BYTES_MAX).expect("a store");
        store.put(letters).await.expect("stored");
    };
    put(&splunk, vec![letter(&splunk, "one", Reason::Rejected), letter(&splunk, "two", Reason::TooLarge)]).await;
    put(&old, vec![letter(&old, "one", Reason::Rejected)]).await;
    config.to_str().expect("text").to_owned()
}

#[track_caller]
fn lines(config: &str, args: &[&str]) -> Vec<Value> {
    let output = command().arg("dead-letters").args(args).args(["--config", config]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(0), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text").lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[tokio::test]
async fn sink_and_reason_select_and_old_sinks_are_not_forgotten() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = world(dir.path()).await;
    let check = |args: &[&str], expected: &[(&str, &str)]| {
        let found = lines(&config, args);
        let found: Vec<_> = found.iter().map(|line| (line["sink"].as_str().unwrap_or(""), line["id"].as_str().unwrap_or(""))).collect();
        assert_eq!(found, expected, "{args:?}");
    };
    check(&["list", "--json"], &[("splunk", "one"), ("splunk", "two"), ("old", "one")]);
    check(&["list", "--json", "--sink", "old"], &[("old", "one")]);
    check(&["list", "--json", "--reason", "too_large"], &[("splunk", "two")]);
    check(&["list", "--json", "--sink", "old", "--reason", "too_large"], &[]);
    check(&["show", "one", "--json"], &[("splunk", "one"), ("old", "one")]);
    check(&["export", "--all"], &[("splunk", "one"), ("splunk", "two"), ("old", "one")]);
    check(&["export", "--sink", "splunk", "--reason", "rejected"], &[("splunk", "one")]);
}

#[tokio::test]
async fn an_export_holds_the_original_bytes_in_a_new_file_of_mode_0600() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = world(dir.path()).await;
    let path = dir.path().join("letters.ndjson");
    let export = || run(&["dead-letters", "export", "--all", "--config", &config, "--out", path.to_str().expect("text")]);
    let output = export();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let text = fs::read_to_string(&path).expect("written");
    let first: Value = serde_json::from_str(text.lines().next().expect("a line")).expect("JSON");
    assert_eq!(first["raw"], "{\"id\": \"one\", \"n\": 12345678901234567890}");
    assert_eq!(text.lines().count(), 3);
    assert_eq!(fs::metadata(&path).expect("a file").permissions().mode() & 0o777, 0o600);
    assert_eq!(export().status.code(), Some(1), "it is not written over");
    assert_eq!(fs::read_to_string(&path).expect("still there"), text);
}

#[tokio::test]
async fn the_table_and_the_page_fit_the_terminal_and_do_not_move_its_cursor() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = world(dir.path()).await;
    for (args, wanted) in [(["list", "--all"], "3 in all"), (["show", "two"], "12345678901234567890")] {
        let output = run(&["dead-letters", args[0], args[1], "--config", &config]);
        let text = String::from_utf8(output.stdout).expect("text");
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        assert!(text.contains(wanted) && text.contains("too_large"), "{text}");
        assert!(!text.contains('\u{1b}') && text.lines().all(|line| line.chars().count() <= 100), "{text}");
    }
}

#[tokio::test]
async fn what_is_not_there_is_told_with_what_is() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = world(dir.path()).await;
    let check = |args: &[&str], code: i32, said: &str| {
        let output = command().arg("dead-letters").args(args).args(["--config", &config]).output().expect("it runs");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {stderr}");
        assert!(stderr.contains(said), "{args:?}: {stderr}");
    };
    check(&["list", "--sink", "splnk"], 2, "the sinks are splunk, old");
    check(&["list", "--reason", "odd"], 2, "rejected, too_large");
    check(&["show", "three"], 1, "three");
    check(&["export"], 2, "--all");
    check(&["export", "--all", "--sink", "old"], 2, "--sink");
}

#[tokio::test]
async fn a_damaged_letter_is_named_and_the_others_are_listed() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = world(dir.path()).await;
    let path = dir.path().join("state/dead-letters/splunk/letters.ndjson");
    let text = fs::read_to_string(&path).expect("a store");
    fs::write(&path, format!("{{}}\n{text}")).expect("damaged");
    let output = run(&["dead-letters", "list", "--json", "--config", &config]);
    assert_eq!(output.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&output.stderr).contains("line 1 of"));
    assert_eq!(String::from_utf8(output.stdout).expect("text").lines().count(), 3);
}

#[test]
fn where_nothing_was_ever_refused_there_are_none() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = dir.path().join("config.toml");
    let state = dir.path().join("state");
    let text =
        format!("[state]\ndir = {state:?}\n[orgs.acme]\ntoken = {{ env = \"T\" }}\n[orgs.acme.audit]\n[sinks.out]\ntype = \"stdout\"\n");
    fs::write(&config, text).expect("written");
    let output = run(&["dead-letters", "list", "--config", config.to_str().expect("text")]);
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(0), &b"no dead letters\n"[..]));
    assert!(!state.exists(), "looking makes nothing");
}

#[tokio::test]
async fn dropping_needs_a_selection_and_a_yes_and_says_what_it_dropped() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = world(dir.path()).await;
    let drop_with =
        |args: &[&str]| command().args(["dead-letters", "drop"]).args(args).args(["--config", &config]).output().expect("it runs");
    assert_eq!(drop_with(&["--yes"]).status.code(), Some(2), "all of them are never meant by an oversight");
    let unasked = drop_with(&["--sink", "old"]);
    let said = String::from_utf8_lossy(&unasked.stderr).into_owned();
    assert_eq!(unasked.status.code(), Some(2));
    assert!(said.contains("1 dead letters would be lost") && said.contains("--yes"), "{said}");
    assert_eq!(lines(&config, &["list", "--json"]).len(), 3);

    let dropped = drop_with(&["--sink", "old", "--yes", "--json"]);
    let log = String::from_utf8_lossy(&dropped.stderr).into_owned();
    assert_eq!((dropped.status.code(), &dropped.stdout[..]), (Some(0), &b"{\"dropped\":1}\n"[..]), "{log}");
    assert!(log.contains("thrown away on request") && log.contains("\"one\""), "{log}");
    let left: Vec<_> = lines(&config, &["list", "--json"]).iter().map(|line| line["sink"].clone()).collect();
    assert_eq!(left, ["splunk", "splunk"]);
    assert_eq!(drop_with(&["two", "--yes"]).status.code(), Some(0));
    assert_eq!(lines(&config, &["list", "--json"]).len(), 1);
    assert_eq!(drop_with(&["--all", "--yes"]).status.code(), Some(0));
    assert!(lines(&config, &["list", "--json"]).is_empty());
}

#[tokio::test]
async fn without_a_daemon_letters_are_sent_again_by_the_command_itself() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = world(dir.path()).await;
    let output = command().args(["dead-letters", "retry", "--sink", "splunk", "--config", &config]).output().expect("it runs");
    let (out, said) = (String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned());
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(out.contains("{\"id\": \"one\", \"n\": 12345678901234567890"), "the sink got the original bytes: {out}");
    assert!(out.contains("2 letters: 2 delivered, 0 refused"), "{out}");
    let left: Vec<_> = lines(&config, &["list", "--json"]).iter().map(|line| line["sink"].clone()).collect();
    assert_eq!(left, ["old"]);
    let unconfigured = command().args(["dead-letters", "retry", "--sink", "old", "--config", &config]).output().expect("it runs");
    assert_eq!(unconfigured.status.code(), Some(2), "there is nobody to send it to: {}", String::from_utf8_lossy(&unconfigured.stderr));
}

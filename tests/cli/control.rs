//! Commands that change a running daemon.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    net::TcpListener,
    path::Path,
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{command, run};

/// A demo; ended with its last reader.
struct Demo {
    child: Child,
    admin: String,
}

impl Demo {
    fn start(dir: &Path) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port();
        let admin = format!("127.0.0.1:{port}");
        let log = File::create(dir.join("log")).expect("a log file");
        let mut starting = command();
        starting
            .args(["demo", "--log-format", "json", "--log-level", "info", "--listen", &admin])
            .env("TMPDIR", dir)
            .stdout(Stdio::null())
            .stderr(log);
        let demo = Self { child: starting.spawn().expect("it starts"), admin };
        let began = Instant::now();
        while !run(&["status", "--admin", &demo.admin]).status.success() {
            assert!(began.elapsed() < Duration::from_secs(30), "the demo answers");
            std::thread::sleep(Duration::from_millis(50));
        }
        demo
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The lines of the log so far.
fn log(dir: &Path) -> Vec<String> {
    BufReader::new(File::open(dir.join("log")).expect("the log")).lines().map_while(Result::ok).collect()
}

/// Waits for a line with these words.
fn logged(dir: &Path, words: &str) -> String {
    let began = Instant::now();
    loop {
        if let Some(line) = log(dir).into_iter().find(|line| line.contains(words)) {
            return line;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "{words:?} is not in {:#?}", log(dir));
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn the_log_level_of_a_running_daemon_is_shown_changed_and_reset() {
    let dir = tempfile::tempdir().expect("a directory");
    let demo = Demo::start(dir.path());
    // Without a configuration the socket is found through the refusal that comes over TCP.
    let level = |args: &[&str]| {
        let output = run(&[&["log-level", "--json", "--admin", &demo.admin], args].concat());
        assert_eq!(output.status.code(), Some(0), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<Value>(&output.stdout).expect("JSON")
    };
    let before = level(&[]);
    assert_eq!(before["directives"], before["started_with"]);
    assert!(!log(dir.path()).iter().any(|line| line.contains("\"DEBUG\"")));
    let changed = level(&["miro_siem::source=debug"]);
    assert_eq!(changed["directives"], format!("{},miro_siem::source=debug", before["started_with"].as_str().expect("text")));
    let told = logged(dir.path(), "the log level was changed");
    assert!(told.contains("miro_siem::source=debug"), "{told}");
    let louder = logged(dir.path(), "\"DEBUG\"");
    assert!(louder.contains("miro_siem::source"), "{louder}");
    assert_eq!(level(&["debug"])["directives"], "debug");
    assert_eq!(level(&["--reset"]), before);
    let said = run(&["log-level", "miro_siem=loud", "--admin", &demo.admin]);
    assert_eq!(said.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&said.stderr).contains("info"), "{}", String::from_utf8_lossy(&said.stderr));
    assert_eq!(level(&[]), before, "a level that is none changes nothing");
}

#[test]
fn a_change_is_logged_with_the_user_who_asked_for_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let demo = Demo::start(dir.path());
    let set = |directives: &str| run(&["log-level", directives, "--admin", &demo.admin]);
    assert!(set("info").status.success());
    assert!(set("info,miro_siem=info").status.success());
    let line = logged(dir.path(), "a change was asked for");
    assert!(line.contains("\"change\":\"POST /api/v1/log-level\"") && line.contains("\"caller\":\"uid "), "{line}");
}

#[test]
fn without_a_daemon_the_error_names_the_socket_and_the_address() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = dir.path().join("config.toml");
    let state = dir.path().join("state");
    let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port();
    let text = format!(
        "[state]\ndir = {state:?}\n[admin]\nlisten = \"127.0.0.1:{port}\"\n[orgs.a]\ntoken = {{ env = \"T\" }}\naudit = {{}}\n[sinks.s]\ntype = \"stdout\"\n"
    );
    std::fs::write(&config, text).expect("written");
    let output = run(&["log-level", "--config", config.to_str().expect("text")]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("admin.sock") && said.contains(&format!("127.0.0.1:{port}")) && said.contains("miro-siem run"), "{said}");
}

/// Starts the command, and gives its lines back until it ends.
fn lines_of(args: &[&str]) -> (Child, std::io::Lines<BufReader<std::process::ChildStdout>>) {
    let mut child = command().args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let lines = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
    (child, lines)
}

#[test]
fn tail_shows_events_readably_and_ends_cleanly() {
    let dir = tempfile::tempdir().expect("a directory");
    let demo = Demo::start(dir.path());
    let (mut tail, mut lines) = lines_of(&["tail", "--since", "1h", "--admin", &demo.admin]);
    for line in lines.by_ref().take(10) {
        let line = line.expect("a line");
        assert!(line.contains("demo/audit") || line.contains("demo/content"), "{line}");
        assert!(unicode_width::UnicodeWidthStr::width(line.as_str()) <= 100 && !line.chars().any(char::is_control), "{line:?}");
    }
    let interrupted = std::process::Command::new("kill").args(["-INT", &tail.id().to_string()]).status().expect("kill runs");
    assert!(interrupted.success());
    assert_eq!(tail.wait().expect("it ends").code(), Some(0), "Ctrl-C ends it cleanly");

    let (tail, lines) = lines_of(&["tail", "--since", "1h", "--admin", &demo.admin]);
    assert_eq!(lines.take(2).count(), 2);
    let gone = tail.wait_with_output().expect("it ends by itself when its reader has gone");
    assert_eq!((gone.status.code(), gone.stderr.is_empty()), (Some(0), true), "{}", String::from_utf8_lossy(&gone.stderr));

    let output = run(&["tail", "--json", "-n", "5", "--since", "1h", "--stream", "audit", "--admin", &demo.admin]);
    assert_eq!(output.status.code(), Some(0));
    let events: Vec<Value> =
        String::from_utf8_lossy(&output.stdout).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(events.len(), 5);
    assert!(events.iter().all(|event| event["_miro_siem"]["stream"] == "audit" && event["event"].is_string()), "{events:?}");
    let line = logged(dir.path(), "events are read");
    assert!(line.contains("\"caller\":\"uid "), "who has read personal data is in the log: {line}");
}

#[test]
fn tail_says_what_there_is_and_why_it_ended() {
    let dir = tempfile::tempdir().expect("a directory");
    let demo = Demo::start(dir.path());
    let output = run(&["tail", "--stream", "ai", "--admin", &demo.admin]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("demo/audit, demo/content, demo/forwarder"), "{said}");
    let (tail, mut lines) = lines_of(&["tail", "--since", "1h", "--admin", &demo.admin]);
    assert!(lines.next().is_some());
    let stopped = std::process::Command::new("kill").args(["-TERM", &demo.child.id().to_string()]).status().expect("kill runs");
    assert!(stopped.success());
    while lines.next().is_some() {}
    let output = tail.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(3) && said.contains("stopping"), "{:?}: {said}", output.status);
}

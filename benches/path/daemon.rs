//! The daemon as a child process, and what the kernel says about it.

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    process::{Child, Command},
    time::{Duration, Instant},
};

use crate::roles::{HEC_TOKEN, Role};

/// Clock ticks a second in /proc: 100 on every Linux that we build for (`getconf CLK_TCK`).
const TICKS_PER_SEC: f64 = 100.0;

/// Where events go.
pub(crate) struct Receiver<'a> {
    pub(crate) url: String,
    pub(crate) compression: &'a str,
}

pub(crate) struct Daemon {
    child: Child,
    dir: tempfile::TempDir,
    port: u16,
    miro: (String, String),
    began: Instant,
    /// From the start of the process to the first answer.
    pub(crate) answered_after: Duration,
}

impl Daemon {
    pub(crate) fn start(miro: &Role, receiver: &Receiver<'_>) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        Self::start_in(dir, (miro.url(), miro.token.clone()), receiver)
    }

    /// Stops it without warning and starts it again on the same state.
    pub(crate) fn restart(mut self, receiver: &Receiver<'_>) -> Self {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let dir = std::mem::replace(&mut self.dir, tempfile::tempdir().expect("a directory"));
        Self::start_in(dir, self.miro.clone(), receiver)
    }

    fn start_in(dir: tempfile::TempDir, miro: (String, String), receiver: &Receiver<'_>) -> Self {
        let port = closed_port();
        let config = dir.path().join("config.toml");
        let text = format!(
            "[state]\ndir = \"{dir}/state\"\n[admin]\nlisten = \"127.0.0.1:{port}\"\n\
             [orgs.bench]\napi_url = \"{api}\"\ntoken = \"{token}\"\n[orgs.bench.audit]\nstart = \"89d\"\n\
             [sinks.splunk]\ntype = \"splunk_hec\"\nurl = \"{hec}\"\ntoken = \"{HEC_TOKEN}\"\ncompression = \"{compression}\"\n",
            dir = dir.path().display(),
            api = miro.0,
            token = miro.1,
            hec = receiver.url,
            compression = receiver.compression,
        );
        fs::write(&config, text).expect("the configuration is written");
        let began = Instant::now();
        let child = Command::new(env!("CARGO_BIN_EXE_miro-siem"))
            .args(["run", "--log-format", "json", "--log-level", "warn", "--config"])
            .arg(&config)
            .stderr(fs::File::create(dir.path().join("log")).expect("a log"))
            .spawn()
            .expect("the daemon starts");
        let mut daemon = Self { child, dir, port, miro, began, answered_after: Duration::ZERO };
        daemon.await_answer();
        daemon
    }

    fn await_answer(&mut self) {
        while get(self.port, "/healthz").is_none() {
            assert!(self.began.elapsed() < Duration::from_secs(30), "the daemon does not answer: {}", self.log());
            std::thread::sleep(Duration::from_millis(1));
        }
        self.answered_after = self.began.elapsed();
    }

    /// Waits until something holds and says how long that took since the start.
    pub(crate) fn wait_for(&self, holds: impl Fn() -> bool, limit: Duration) -> Duration {
        while !holds() {
            assert!(self.began.elapsed() < limit, "not within {limit:?}: {}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
        self.began.elapsed()
    }

    /// Events that the sink has yet to deliver.
    pub(crate) fn backlog(&self) -> u64 {
        let text = get(self.port, "/metrics").unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with("miro_siem_sink_backlog_events{"));
        line.and_then(|line| line.rsplit(' ').next()).and_then(|value| value.parse::<f64>().ok()).map_or(0, |value| value as u64)
    }

    /// CPU time of all its threads.
    pub(crate) fn cpu(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("the daemon runs");
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        // Fields 14 and 15 of proc(5), counted from the state, which is field 3.
        let ticks: f64 = fields[11..13].iter().filter_map(|field| field.parse::<f64>().ok()).sum();
        Duration::from_secs_f64(ticks / TICKS_PER_SEC)
    }

    /// The most memory that it has held.
    pub(crate) fn peak_mb(&self) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("the daemon runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        line.and_then(|line| line.trim().strip_suffix(" kB"))
            .and_then(|kb| kb.trim().parse::<f64>().ok())
            .map_or(f64::NAN, |kb| kb / 1024.0)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port on which nobody listens.
pub(crate) fn closed_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port is free").port()
}

/// The body of an answer; `None` while nobody answers.
fn get(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned())
}

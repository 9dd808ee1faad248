//! `miro-siem run` as a child process.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

/// A running daemon; killed when it is dropped.
pub(crate) struct Daemon {
    child: Child,
    config: PathBuf,
}

impl Daemon {
    /// Starts it with that configuration; its log goes to the end of `log`.
    pub(crate) fn start(config: &Path, log: &Path, level: &str) -> Self {
        let log = File::options().create(true).append(true).open(log).expect("the log file opens");
        let child = command()
            .args(["run", "--log-format", "json", "--log-level", level, "--config"])
            .arg(config)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the daemon starts");
        Self { child, config: config.to_owned() }
    }

    /// Ends it without any warning.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("the daemon can be killed");
        self.child.wait().expect("the daemon has ended");
    }

    /// Asks it to stop.
    pub(crate) fn terminate(&self) {
        let killed = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().expect("kill runs");
        assert!(killed.success(), "the daemon is there to be stopped");
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self, limit: Duration) -> ExitStatus {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("the daemon can be waited for") {
                return status;
            }
            assert!(began.elapsed() < limit, "the daemon did not stop within {limit:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What `miro-siem status --json` prints; `None` while nobody answers.
    pub(crate) fn status(&self) -> Option<Value> {
        let output = command().args(["status", "--json", "--config"]).arg(&self.config).output().expect("the command runs");
        output.status.success().then(|| serde_json::from_slice(&output.stdout).expect("the status is JSON"))
    }

    /// Waits until the status has a property.
    pub(crate) fn wait_until(&self, what: &str, limit: Duration, holds: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        let mut last = Value::Null;
        while began.elapsed() < limit {
            if let Some(status) = self.status() {
                if holds(&status) {
                    return status;
                }
                last = status;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("not within {limit:?}: {what}; the last status is {last:#}");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program, without any proxy or configuration of the machine.
pub(crate) fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_miro-siem"));
    for (name, _) in std::env::vars() {
        if name.starts_with("MIRO_") || name.to_ascii_lowercase().ends_with("_proxy") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port is free").port()
}

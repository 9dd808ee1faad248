//! Receivers that are not ours, as processes with a configuration and a directory of their own.

use std::{
    fs,
    net::TcpListener,
    process::{Child, Command},
    sync::atomic::{AtomicU16, Ordering},
    time::{Duration, Instant},
};

#[allow(dead_code, reason = "for the conformance suite, which has this folder too")]
pub(crate) mod gate;
pub(crate) mod moto;
pub(crate) mod nats;
pub(crate) mod nats_operator;

/// A busy machine starts a process slowly.
const PATIENCE: Duration = Duration::from_secs(30);

/// A child process that ends with the value.
pub(crate) struct Process(Child);

impl Process {
    /// `missing` says what to install where the program is not there.
    pub(crate) fn spawn(command: &mut Command, missing: &str) -> Self {
        Self(command.spawn().unwrap_or_else(|error| panic!("{missing} ({error})")))
    }

    /// Waits until `ready`, or fails with what the process has said.
    pub(crate) async fn wait_until(&mut self, what: &str, mut ready: impl FnMut() -> bool, said: impl Fn() -> String) {
        let began = Instant::now();
        while !ready() {
            let exited = self.0.try_wait().expect("its state");
            assert!(exited.is_none() && began.elapsed() < PATIENCE, "waited until {what}; it says: {}", said());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.0.id().to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &pid]).status().expect("kill runs");
        assert!(sent.success());
    }

    /// Stands it still, every thread of it, until it is told `CONT`.
    pub(crate) fn pause(&self) {
        self.signal("STOP");
        let tasks = format!("/proc/{}/task", self.0.id());
        let is_still = |task: fs::DirEntry| {
            // A thread that has just ended stands still too.
            fs::read_to_string(task.path().join("stat"))
                .map_or(true, |stat| stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" T")))
        };
        let began = Instant::now();
        while !fs::read_dir(&tasks).expect("its threads").all(|task| task.is_ok_and(is_still)) {
            assert!(began.elapsed() < PATIENCE, "it does not stand still");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Ends it as a service manager would.
    pub(crate) fn stop(mut self) {
        self.signal("TERM");
        self.0.wait().expect("it ends");
    }

    /// Ends it as a power cut would.
    pub(crate) fn kill(mut self) {
        self.0.kill().expect("it is there");
        self.0.wait().expect("it ends");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A port below those that the system gives to clients, so that none of them takes it meanwhile.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let begin = (std::process::id() % 100) as u16 * 50;
    let ports = std::iter::repeat_with(|| 14_000 + (begin + NEXT.fetch_add(1, Ordering::Relaxed)) % 5_000);
    ports.take(1_000).find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).expect("one port in a thousand is free")
}

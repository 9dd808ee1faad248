//! This program again, as the simulated Miro or as the receiver.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio},
    sync::Mutex,
    time::Duration,
};

use miro_simulator::{SimConfig, Simulator};
use testbed::hec::{Hec, HecConfig, Parsing};

pub(crate) const HEC_TOKEN: &str = "bench";
const DAYS: u32 = 60;

/// A process in a role. It says its URL and token first, and then answers each line with its count of events.
pub(crate) struct Role {
    child: Child,
    url: String,
    pub(crate) token: String,
    talk: Mutex<(ChildStdin, BufReader<ChildStdout>)>,
}

impl Role {
    pub(crate) fn start(role: &str, size: &str) -> Self {
        let program = std::env::current_exe().expect("this program has a path");
        let mut child =
            Command::new(program).args(["--role", role, size]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a role starts");
        let stdin = child.stdin.take().expect("stdin is piped");
        let mut stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let mut hello = String::new();
        stdout.read_line(&mut hello).expect("a role says where it is");
        let (url, token) = hello.trim().split_once(' ').expect("a role says URL and token");
        Self { child, url: url.to_owned(), token: token.to_owned(), talk: Mutex::new((stdin, stdout)) }
    }

    pub(crate) fn url(&self) -> String {
        self.url.clone()
    }

    /// How many events it has taken.
    pub(crate) fn events(&self) -> u64 {
        let mut talk = self.talk.lock().expect("nobody panicked");
        writeln!(talk.0, "count").expect("a role listens");
        let mut answer = String::new();
        talk.1.read_line(&mut answer).expect("a role answers");
        answer.trim().parse().expect("a role answers with a number")
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Plays a role until stdin ends.
pub(crate) fn play(role: &str, size: &str) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    match role {
        "miro" => runtime.block_on(miro(size.parse().expect("a number of events"))),
        "hec" => runtime.block_on(hec()),
        _ => return ExitCode::from(2),
    }
    ExitCode::SUCCESS
}

async fn miro(audit_events: u64) {
    let config = SimConfig { days: DAYS, audit_events, content_events: 0, ai_events: 0, credits_per_minute: None, ..SimConfig::default() };
    let running = Simulator::start(config).await.expect("the simulator starts");
    let token = running.sim().auth().token("admin").expect("the simulator has such a token").to_owned();
    answer(&running.url(), &token, || 0).await;
}

async fn hec() {
    let config = HecConfig { token: HEC_TOKEN.to_owned(), parsing: Parsing::CountLines, ..HecConfig::default() };
    let running = Hec::start(config).expect("HEC starts");
    answer(&running.url(), HEC_TOKEN, || running.ledger().counts().events).await;
}

async fn answer(url: &str, token: &str, count: impl Fn() -> u64) {
    println!("{url} {token}");
    let (lines, mut asked) = tokio::sync::mpsc::channel(1);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines() {
            if line.is_err() || lines.blocking_send(()).is_err() {
                return;
            }
        }
    });
    while asked.recv().await.is_some() {
        println!("{}", count());
    }
    tokio::time::sleep(Duration::from_millis(10)).await;
}

//! Real crashes: a process that writes is killed with SIGKILL at random moments, and everything that it had reported is there.

use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use miro_siem::{
    event::Position,
    journal::{CoverageChange, Journal, disk::DiskJournal},
};

use crate::support::{assert_counted, audit, begin, counted, event, minute, minutes, options, page, raw, read_all, sink, tallies, tuning};

/// Names the state directory to the process that is going to be killed.
const CHILD: &str = "MIRO_SIEM_TEST_WRITER_DIR";

const PAGE_EVENTS: u64 = 12;

/// What the killed process had reported, each line only after the journal had answered.
#[derive(Debug, Default)]
pub(crate) struct Reported {
    /// Pages `0..pages` were committed.
    pages: u64,
    acked: u64,
    state: u64,
}

impl Reported {
    fn take(&mut self, line: &str) {
        let Some((what, number)) = line.split_once(' ') else { return };
        let Ok(number) = number.parse() else { return };
        match what {
            "committed" => self.pages = number,
            "acked" => self.acked = number,
            "stored" => self.state = number,
            _ => {}
        }
    }
}

fn open(dir: &Path) -> DiskJournal {
    DiskJournal::open_tuned(options(dir), tuning(16 << 10)).expect("the journal opens")
}

fn id(page: u64, n: u64) -> String {
    format!("{page}-{n}")
}

fn events(number: u64) -> Vec<miro_siem::event::RawEvent> {
    (0..PAGE_EVENTS).map(|n| event(&id(number, n), number as i64)).collect()
}

/// How many pages are collected, as coverage has it: page n covers minute n.
fn pages(journal: &DiskJournal) -> u64 {
    journal.coverage(&audit()).map_or(0, |held| held.watermark().since(minute(0)).as_secs() / 60)
}

/// Writes until it is killed.
async fn write_until_killed(dir: &Path) {
    let journal = open(dir);
    let mut out = std::io::stdout();
    let mut report = |what: &str, number: u64| writeln!(out, "{what} {number}").and_then(|()| out.flush()).expect("the parent listens");
    let both = || vec![(sink("fast"), audit()), (sink("slow"), audit())];
    journal.subscribe(both()).await.expect("subscribes");
    if journal.coverage(&audit()).is_none() {
        journal.commit(begin(&audit())).await.expect("begins");
    }
    let start = pages(&journal);
    for number in start.saturating_sub(4)..start {
        let again = journal.commit(page(&audit(), events(number), CoverageChange::None)).await.expect("commits");
        assert!(!again.fresh.contains(&true), "page {number} was committed and its ids are forgotten");
    }
    for number in start.. {
        let range = minutes(number as i64, number as i64 + 1);
        let committed = journal.commit(page(&audit(), events(number), CoverageChange::Add(range))).await.expect("commits");
        assert!(!committed.fresh.contains(&false), "page {number} was never committed and is known");
        report("committed", number + 1);
        if number % 3 == 0 {
            journal.ack(&sink("fast"), &audit(), committed.head).await.expect("acks");
        }
        if number % 40 == 39 {
            let up_to = Position(committed.head.0 - 5 * PAGE_EVENTS);
            journal.ack(&sink("slow"), &audit(), up_to).await.expect("acks");
            report("acked", up_to.0);
        }
        if number % 7 == 0 {
            journal.put_state("page", number.to_le_bytes().to_vec()).await.expect("stores");
            report("stored", number);
        }
    }
}

/// Becomes the process that is to be killed, if that is what this one was started for.
pub(crate) fn become_writer() {
    if let Some(dir) = std::env::var_os(CHILD) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(write_until_killed(&PathBuf::from(dir)));
    }
}

/// A process that writes, and what it reports.
#[derive(Debug)]
pub(crate) struct Writer {
    child: Child,
}

impl Writer {
    /// Starts this very binary again with one test, which has to call `become_writer` first.
    pub(crate) fn start(test: &str, dir: &Path) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("known"));
        command.args([test, "--exact", "--nocapture", "--test-threads=1"]).env(CHILD, dir);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
        Self { child }
    }

    /// Kills it after it has reported something and that long.
    pub(crate) fn kill_after(mut self, wait: Duration, reported: &mut Reported) {
        let mut lines = BufReader::new(self.child.stdout.take().expect("piped")).lines();
        let before = reported.pages;
        while reported.pages == before {
            match lines.next() {
                Some(line) => reported.take(&line.expect("text")),
                None => panic!("the writer ended by itself: {}", self.errors()),
            }
        }
        let child = &mut self.child;
        std::thread::scope(|scope| {
            scope.spawn(move || {
                std::thread::sleep(wait);
                child.kill().expect("kills");
            });
            for line in lines.map_while(Result::ok) {
                reported.take(&line);
            }
        });
        let status = self.child.wait().expect("ends");
        assert!(status.code().is_none(), "the writer ended by itself: {}", self.errors());
    }

    fn errors(&mut self) -> String {
        self.child.stderr.take().map(|errors| std::io::read_to_string(errors).unwrap_or_default()).unwrap_or_default()
    }
}

/// Opens what is left and compares it with what was reported.
pub(crate) async fn verify(dir: &Path, reported: &Reported) {
    let journal = open(dir);
    let pages = pages(&journal);
    assert!(pages >= reported.pages, "{pages} pages are covered, {} were committed", reported.pages);
    assert_eq!(journal.coverage(&audit()).map(|held| held.ranges().to_vec()), Some(vec![minutes(0, pages as i64)]));
    let acked = journal.acked(&sink("slow"), &audit()).expect("subscribed").0;
    assert!(acked >= reported.acked, "{acked} is acknowledged, {} was reported", reported.acked);
    let state = journal.state("page").map_or(0, |value| u64::from_le_bytes(value.try_into().expect("8 bytes")));
    assert!(state >= reported.state, "{state} is stored, {} was reported", reported.state);
    let read = read_all(&journal, &audit(), acked, 100).await;
    let expected = (0..pages).flat_map(|page| (0..PAGE_EVENTS).map(move |n| (page, id(page, n)))).skip(acked as usize);
    let mut count = 0;
    for (event, (page, id)) in read.iter().zip(expected) {
        assert_eq!(event.id.as_str(), id);
        assert_eq!(event.raw, raw(&id, page as i64));
        count += 1;
    }
    assert_eq!(count as u64, pages * PAGE_EVENTS - acked, "every event that is not acknowledged, and no other");
    assert_eq!(read.len(), count);
    assert_eq!(journal.stats().quarantined_records, 0, "a crash damages nothing");
    let truth = counted((0..pages).flat_map(|page| (0..PAGE_EVENTS).map(move |n| (id(page, n), page as i64))));
    assert_counted(&tallies(&journal, &audit()).await, &truth);
}

#[test]
fn fifty_kills_lose_nothing_that_was_reported() {
    become_writer();
    let dir = tempfile::tempdir().expect("a directory");
    let state = dir.path().join("state");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut reported = Reported::default();
    for round in 0..50 {
        let writer = Writer::start("crash::fifty_kills_lose_nothing_that_was_reported", &state);
        writer.kill_after(Duration::from_micros(rand::random_range(0..60_000)), &mut reported);
        // Two kills in a row without a look in between are worth trying too.
        if round % 3 != 0 {
            runtime.block_on(verify(&state, &reported));
        }
    }
    runtime.block_on(verify(&state, &reported));
    println!("50 kills: {} pages of {PAGE_EVENTS} events committed, acknowledged up to {}", reported.pages, reported.acked);
}

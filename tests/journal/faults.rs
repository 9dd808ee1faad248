//! Disks that are full or fail: every write, sync, creation and deletion fails once, in every place, and the journal mends itself.

use std::{
    fs::File,
    io,
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use miro_siem::{
    event::Position,
    journal::{
        CoverageChange, Journal, JournalError,
        disk::{Disk, DiskJournal, Storage},
    },
};

use crate::support::{
    assert_counted, audit, begin, counted, event, ids, is_no_space, minutes, options, page, read_all, segments, sink, tallies, tuning,
    tuning_on,
};

const ENOSPC: i32 = 28;
const EIO: i32 = 5;

/// A disk on which some operations fail, counted from its first.
#[derive(Debug)]
struct Faulty {
    done: AtomicU64,
    fails_from: u64,
    fails_to: u64,
    code: i32,
}

impl Faulty {
    fn new(fails_from: u64, fails_to: u64, code: i32) -> Arc<Self> {
        Arc::new(Self { done: AtomicU64::new(0), fails_from, fails_to, code })
    }

    fn try_one(&self) -> io::Result<()> {
        let number = self.done.fetch_add(1, Ordering::SeqCst);
        if (self.fails_from..self.fails_to).contains(&number) { Err(io::Error::from_raw_os_error(self.code)) } else { Ok(()) }
    }
}

impl Storage for Faulty {
    fn create(&self, path: &Path) -> io::Result<File> {
        self.try_one()?;
        Disk.create(path)
    }

    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        // A disk that runs full takes what fits.
        self.try_one().or_else(|error| Disk.write_at(file, &bytes[..bytes.len() / 2], offset).and(Err(error)))?;
        Disk.write_at(file, bytes, offset)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        self.try_one()?;
        Disk.sync(file)
    }

    fn truncate(&self, file: &File, len: u64) -> io::Result<()> {
        self.try_one()?;
        Disk.truncate(file, len)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.try_one()?;
        Disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.try_one()?;
        Disk.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.try_one()?;
        Disk.sync_dir(dir)
    }
}

const PAGES: i64 = 14;
const PAGE_EVENTS: u64 = 6;

fn events(number: i64) -> Vec<miro_siem::event::RawEvent> {
    (0..PAGE_EVENTS).map(|n| event(&format!("{number}-{n}"), number * 61)).collect()
}

/// Does the same thing until it works. A fault lasts for a few operations only.
async fn insist<T, F: Future<Output = Result<T, JournalError>>>(mut attempt: impl FnMut() -> F, failures: &mut Vec<JournalError>) -> T {
    for _ in 0..40 {
        match attempt().await {
            Ok(done) => return done,
            Err(error) => failures.push(error),
        }
    }
    panic!("the fault is over and it still fails: {:?}", failures.last());
}

/// A small life of a journal on that disk; returns its failures.
async fn live(dir: &Path, storage: Arc<Faulty>) -> Vec<JournalError> {
    let mut failures = Vec::new();
    let opened = insist(|| async { DiskJournal::open_tuned(options(dir), tuning_on(2_000, storage.clone())) }, &mut failures);
    let journal = opened.await;
    let subscribed = || journal.subscribe(vec![(sink("one"), audit())]);
    insist(subscribed, &mut failures).await;
    insist(|| journal.commit(begin(&audit())), &mut failures).await;
    for number in 0..PAGES {
        let range = minutes(number * 61, number * 61 + 1);
        let commit = || journal.commit(page(&audit(), events(number), CoverageChange::Add(range)));
        let committed = insist(commit, &mut failures).await;
        assert!(!committed.fresh.contains(&false), "what failed before had left something behind");
        assert_eq!(committed.head.0, (number as u64 + 1) * PAGE_EVENTS);
        if number == 8 {
            let (one, audit) = (sink("one"), audit());
            insist(|| journal.ack(&one, &audit, Position(30)), &mut failures).await;
        }
        insist(|| journal.put_state("page", vec![number as u8]), &mut failures).await;
    }
    check(&journal).await;
    failures
}

async fn check(journal: &DiskJournal) {
    let expected: Vec<String> = (0..PAGES).flat_map(|number| (0..PAGE_EVENTS).map(move |n| format!("{number}-{n}"))).collect();
    assert_eq!(ids(&read_all(journal, &audit(), 30, 10).await), expected[30..]);
    assert_eq!(journal.acked(&sink("one"), &audit()), Some(Position(30)));
    assert_eq!(journal.state("page"), Some(vec![PAGES as u8 - 1]));
    let covered: Vec<_> = (0..PAGES).map(|number| minutes(number * 61, number * 61 + 1)).collect();
    assert_eq!(journal.coverage(&audit()).map(|held| held.ranges().to_vec()), Some(covered));
    assert_eq!(journal.stats().quarantined_records, 0);
    let truth = counted((0..PAGES).flat_map(|number| (0..PAGE_EVENTS).map(move |n| (format!("{number}-{n}"), number * 61))));
    assert_counted(&tallies(journal, &audit()).await, &truth);
}

/// Lets every `step`-th operation of the life fail, and `length - 1` more behind it.
async fn fail_everywhere(code: i32, length: u64, step: usize, expected: fn(&JournalError) -> bool) {
    let dir = tempfile::tempdir().expect("a directory");
    let healthy = Faulty::new(u64::MAX, u64::MAX, code);
    assert!(live(&dir.path().join("healthy"), healthy.clone()).await.is_empty());
    let operations = healthy.done.load(Ordering::SeqCst);
    assert!(operations > 60, "{operations}");
    let mut failed = 0;
    for from in (0..operations).step_by(step) {
        let state = dir.path().join(from.to_string());
        let failures = live(&state, Faulty::new(from, from + length, code)).await;
        for failure in &failures {
            assert!(expected(failure), "operation {from}: {failure}");
        }
        failed += usize::from(!failures.is_empty());
        let journal = DiskJournal::open_tuned(options(&state), tuning(2_000)).expect("opens");
        check(&journal).await;
        for number in 0..PAGES {
            let again = journal.commit(page(&audit(), events(number), CoverageChange::None)).await.expect("commits");
            assert!(!again.fresh.contains(&true), "operation {from}: ids of page {number} are forgotten");
        }
    }
    println!("of {operations} operations every {step}. failed in turn, {failed} of them visibly");
}

#[tokio::test]
async fn no_space_in_any_place_is_survived_in_place() {
    fail_everywhere(ENOSPC, 1, 1, is_no_space).await;
}

#[tokio::test]
async fn a_disk_that_stays_full_for_a_while_is_survived_in_place() {
    fail_everywhere(ENOSPC, 9, 3, is_no_space).await;
}

#[tokio::test]
async fn a_failing_disk_is_survived_in_place() {
    fail_everywhere(EIO, 2, 2, |error| matches!(error, JournalError::Io { .. })).await;
}

/// A file system of that size in memory; unmounted when it goes.
struct Tmpfs(tempfile::TempDir);

impl Tmpfs {
    /// `None` where the operator has said that there is no root; a test that cannot run otherwise fails.
    fn mount(size: &str) -> Option<Self> {
        if std::env::var_os("MIRO_SIEM_TEST_NO_ROOT").is_some() {
            println!("not run: the full disk test on a tmpfs; it needs root, and MIRO_SIEM_TEST_NO_ROOT is set");
            return None;
        }
        let dir = tempfile::tempdir().expect("a directory");
        let option = format!("size={size}");
        let output =
            Command::new("mount").args(["-t", "tmpfs", "-o", &option, "tmpfs"]).arg(dir.path()).output().expect("mount is installed");
        assert!(
            output.status.success(),
            "this test mounts a tmpfs and needs root: {}; run it as root, or set MIRO_SIEM_TEST_NO_ROOT=1 to leave it out",
            String::from_utf8_lossy(&output.stderr)
        );
        Some(Self(dir))
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

/// A page that hardly compresses.
fn bulky(number: i64) -> Vec<miro_siem::event::RawEvent> {
    (0..20)
        .map(|n| {
            let mut event = event(&format!("{number}-{n}"), number);
            let noise: String = (0..800).map(|_| char::from(rand::random_range(b'0'..=b'z'))).collect();
            event.raw = noise.into();
            event
        })
        .collect()
}

/// Commits pages from `number` on until the disk is full; returns the first that was refused.
async fn fill(journal: &DiskJournal, mut number: i64) -> i64 {
    loop {
        match journal.commit(page(&audit(), bulky(number), CoverageChange::Add(minutes(number, number + 1)))).await {
            Ok(_) => number += 1,
            Err(error) => {
                assert!(is_no_space(&error), "{error}");
                return number;
            }
        }
    }
}

#[tokio::test]
async fn a_full_disk_is_freed_by_acknowledging_and_by_whoever_makes_room() {
    let Some(tmpfs) = Tmpfs::mount("12m") else { return };
    let state = tmpfs.0.path().join("state");
    let ballast = tmpfs.0.path().join("ballast");
    std::fs::write(&ballast, vec![1; 3 << 20]).expect("fits");
    let open = || DiskJournal::open_tuned(options(&state), tuning(256 << 10)).expect("opens");
    let journal = open();
    journal.subscribe(vec![(sink("one"), audit())]).await.expect("subscribes");
    journal.commit(begin(&audit())).await.expect("begins");

    let first = fill(&journal, 0).await;
    assert!(first > 50, "{first}");
    assert_eq!(read_all(&journal, &audit(), 0, 100).await.len() as i64, first * 20, "everything is there and can be read");
    std::fs::remove_file(&ballast).expect("removes");
    let second = fill(&journal, first).await;
    assert!(second > first + 50, "somebody made room, and the same handle works again: {first} {second}");

    drop(journal);
    let journal = open();
    assert_eq!(read_all(&journal, &audit(), 0, 100).await.len() as i64, second * 20, "it opens on a full disk");
    let before = segments(&state).len();
    let head = *journal.head().borrow();
    // The checkpoint store finds no room either; what is acknowledged by all may go before that is written down.
    for attempt in 0.. {
        match journal.ack(&sink("one"), &audit(), head).await {
            Ok(()) => break,
            Err(error) => assert!(is_no_space(&error) && attempt < 5, "{error}"),
        }
    }
    assert!(segments(&state).len() < before / 4, "{before} segments, now {}", segments(&state).len());
    let third = fill(&journal, second).await;
    assert!(third > second + 50, "the journal has made room for itself: {second} {third}");
    drop(journal);
    let journal = open();
    let kept = read_all(&journal, &audit(), head.0, 100).await;
    assert_eq!(kept.len() as i64, (third - second) * 20);
    println!(
        "a tmpfs of 12 MiB: full after {first} pages, {} more with room made, {} more after acknowledging",
        second - first,
        third - second
    );
}

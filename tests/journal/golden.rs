//! State directories as each version writes them, kept in the repository: every later version has to open them. Version 1 has no tallies.
//!
//! `MIRO_SIEM_WRITE_GOLDEN=1 cargo test --test journal golden` writes the newest anew. That is right only before a version is released;
//! after that a new version gets a directory of its own beside the old ones.

use std::path::PathBuf;

use miro_siem::{
    event::{Decoded, EventId, Origin, Position, RawEvent, StreamKind},
    journal::{Backlog, CoverageChange, Journal, disk::DiskJournal},
};

use crate::support::{
    assert_counted, audit, begin, copy_dir, counted, event, ids, minute, minutes, options, page, raw, read_all, segments, sink, stream,
    tallies, tuning,
};

fn golden(version: u32) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/journal-v{version}"))
}

/// The version that this program writes.
const NEWEST: u32 = 2;

fn copy_of(version: u32) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    copy_dir(&golden(version), dir.path());
    dir
}

fn reopened(dir: &std::path::Path) -> DiskJournal {
    DiskJournal::open_tuned(options(dir), tuning(600)).expect("opens")
}

/// Everything that a version can store: all kinds of records, several segments, a seal, acknowledgements, ids, small state.
async fn write(dir: &std::path::Path) {
    let journal = DiskJournal::open_tuned(options(dir), tuning(600)).expect("opens");
    let content = stream(StreamKind::Content);
    journal.subscribe(vec![(sink("splunk"), audit()), (sink("archive"), content.clone())]).await.expect("subscribes");
    for stream in [&audit(), &content] {
        journal.commit(begin(stream)).await.expect("begins");
    }
    for number in 0..6 {
        let events = (0..4).map(|n| event(&format!("{number}#{n}"), number * 40)).collect();
        let range = minutes(number * 40, number * 40 + 40);
        journal.commit(page(&audit(), events, CoverageChange::Add(range))).await.expect("commits");
    }
    journal.commit(page(&audit(), Vec::new(), CoverageChange::Add(minutes(300, 310)))).await.expect("commits");
    let odd =
        RawEvent { id: EventId::new("ünïcode-✓"), time: None, raw: "[1e400,\"\\ud800\", 1 ]".into(), decoded: Decoded::Undecodable };
    let mut commit = page(&content, vec![odd, event("late", 7)], CoverageChange::None);
    commit.events[0].1 = Origin::Backfill;
    commit.events[1].1 = Origin::Late;
    journal.commit(commit).await.expect("commits");
    journal.put_state("cursor", vec![0, 255, 7]).await.expect("stores");
    journal.ack(&sink("splunk"), &audit(), Position(9)).await.expect("acks");
    journal.close().await.expect("closes");
}

async fn check(journal: &DiskJournal) {
    let content = stream(StreamKind::Content);
    let expected: Vec<String> = (0..6).flat_map(|number| (0..4).map(move |n| format!("{number}#{n}"))).collect();
    let events = read_all(journal, &audit(), 9, 5).await;
    assert_eq!(ids(&events), expected[9..]);
    for event in &events {
        assert_eq!(event.raw, raw(event.id.as_str(), (event.position.0 as i64 - 1) / 4 * 40));
    }
    let odd = read_all(journal, &content, 0, 5).await;
    assert_eq!(ids(&odd), ["ünïcode-✓", "late"]);
    assert_eq!((&odd[0].raw[..], odd[0].time, odd[0].origin), (&b"[1e400,\"\\ud800\", 1 ]"[..], None, Origin::Backfill));
    assert_eq!((odd[1].time, odd[1].origin, odd[1].position), (Some(minute(7)), Origin::Late, Position(26)));
    assert_eq!(journal.acked(&sink("splunk"), &audit()), Some(Position(9)));
    assert_eq!(journal.acked(&sink("archive"), &content), Some(Position(0)));
    assert_eq!(journal.backlog(&sink("splunk"), &audit()), Backlog { events: 15, oldest_collected_at: Some(minute(60)) });
    assert_eq!(journal.state("cursor"), Some(vec![0, 255, 7]));
    let coverage = |stream| journal.coverage(&stream).map(|held| held.ranges().to_vec());
    assert_eq!(coverage(audit()), Some(vec![minutes(0, 240), minutes(300, 310)]));
    assert_eq!(coverage(content.clone()), Some(vec![]));
    assert_eq!(journal.stats().quarantined_records, 0);
    let again = journal.commit(page(&audit(), vec![event("5#3", 200), event("0#0", 0)], CoverageChange::None)).await.expect("commits");
    assert_eq!((again.fresh, again.head), (vec![false, false], Position(26)));
}

async fn opens_with_its_content(version: u32) {
    let dir = copy_of(version);
    assert!(segments(dir.path()).len() > 2, "it has several segments");
    check(&reopened(dir.path())).await;
    std::fs::remove_dir_all(dir.path().join("checkpoints")).expect("removes");
    let journal = reopened(dir.path());
    assert_eq!(journal.acked(&sink("splunk"), &audit()), Some(Position(9)), "the snapshot in the log has it too");
    check(&journal).await;
}

#[tokio::test]
async fn the_golden_state_of_version_1_opens_with_its_content() {
    opens_with_its_content(1).await;
}

#[tokio::test]
async fn the_golden_state_of_version_2_opens_with_its_content_and_its_tallies() {
    if std::env::var_os("MIRO_SIEM_WRITE_GOLDEN").is_some() {
        let fresh = tempfile::tempdir().expect("a directory");
        write(fresh.path()).await;
        if golden(NEWEST).exists() {
            std::fs::remove_dir_all(golden(NEWEST)).expect("removes");
        }
        copy_dir(fresh.path(), &golden(NEWEST));
        println!("wrote {}", golden(NEWEST).display());
    }
    opens_with_its_content(2).await;
    let dir = copy_of(2);
    let journal = reopened(dir.path());
    let truth = counted((0..6).flat_map(|number| (0..4).map(move |n| (format!("{number}#{n}"), number * 40))));
    assert_counted(&tallies(&journal, &audit()).await, &truth);
    let content = tallies(&journal, &stream(StreamKind::Content)).await;
    let told: Vec<_> = content.rows.iter().map(|row| (row.tally.collected, row.tally.late, row.tally.backfilled, row.exact)).collect();
    assert_eq!((told, content.unsure), (vec![(1, 1, 0, true), (1, 0, 1, true)], vec![]));
}

#[tokio::test]
async fn a_state_from_before_tallies_gains_them_and_says_that_what_it_had_is_not_certain() {
    let dir = copy_of(1);
    assert!(!dir.path().join("tallies").exists());
    let journal = reopened(dir.path());
    let range = CoverageChange::Add(minutes(310, 600));
    journal.commit(page(&audit(), vec![event("new", 500), event("too near", 320)], range)).await.expect("commits");
    let crashed = tempfile::tempdir().expect("a directory");
    copy_dir(dir.path(), crashed.path());
    for journal in [&journal, &reopened(crashed.path())] {
        let told = tallies(journal, &audit()).await;
        // Covered up to minute 310, and an event may lie a little behind that.
        assert_eq!(told.unsure.iter().map(|range| range.to()).collect::<Vec<_>>(), [minute(7 * 60)]);
        let (new, earlier) = told.rows.split_last().expect("there are some");
        assert!(new.exact && new.tally.collected == 1, "{new:?}");
        assert!(!earlier.is_empty() && earlier.iter().all(|row| !row.exact), "{earlier:?}");
    }
}

#[tokio::test]
async fn a_record_of_a_newer_version_is_refused_and_left_alone() {
    let dir = copy_of(1);
    let newest = segments(dir.path()).pop().expect("there is one");
    let mut bytes = std::fs::read(&newest).expect("reads");
    // The version is the fifth byte of a record, and the header's checksum are its last four of 72.
    bytes[4] = 9;
    let crc = crc32fast::hash(&bytes[..68]).to_le_bytes();
    bytes[68..72].copy_from_slice(&crc);
    std::fs::write(&newest, &bytes).expect("writes");
    let refused = DiskJournal::open(options(dir.path())).expect_err("newer").to_string();
    assert!(refused.contains("a newer version of miro-siem wrote it") && refused.contains("version 9"), "{refused}");
    assert_eq!(std::fs::read(&newest).expect("reads"), bytes);
}

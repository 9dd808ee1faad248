//! Damage, case by case: what is lost, what is named, what is asked for again.

use std::{fs, os::unix::fs::FileExt, path::Path};

use miro_siem::{
    event::{Position, StreamKind},
    journal::{CoverageChange, Journal, disk::DiskJournal},
};

use crate::support::{audit, begin, event, ids, minute, minutes, open, page, read_all, segments, sink, stream};

/// Thirty pages of ten events, page n covering minutes 60n to 60n + 60, over several segments, acknowledged by nobody.
async fn written(dir: &Path) -> DiskJournal {
    let journal = open(dir);
    journal.subscribe(vec![(sink("one"), audit())]).await.expect("subscribes");
    journal.commit(begin(&audit())).await.expect("begins");
    for number in 0..30 {
        let events = (0..10).map(|n| event(&format!("{number}-{n}"), number * 60 + n)).collect();
        let range = minutes(number * 60, number * 60 + 60);
        journal.commit(page(&audit(), events, CoverageChange::Add(range))).await.expect("commits");
    }
    assert!(segments(dir).len() > 3);
    journal
}

fn flip(path: &Path, at: u64) {
    let file = fs::OpenOptions::new().read(true).write(true).open(path).expect("opens");
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("reads");
    file.write_all_at(&[byte[0] ^ 0x10], at).expect("writes");
}

/// Where the records of a segment begin.
fn records(path: &Path) -> Vec<usize> {
    let bytes = fs::read(path).expect("reads");
    bytes.windows(4).enumerate().filter(|(_, four)| *four == b"MSJ\xf1").map(|(at, _)| at).collect()
}

fn quarantined(dir: &Path) -> usize {
    fs::read_dir(dir.join("quarantine")).expect("lists").count()
}

/// Whether page n is there, by its events.
async fn pages(journal: &DiskJournal) -> Vec<i64> {
    let read = ids(&read_all(journal, &audit(), 0, 7).await);
    (0..30).filter(|number| (0..10).all(|n| read.contains(&format!("{number}-{n}")))).collect()
}

fn all_but(gone: i64) -> Vec<i64> {
    (0..30).filter(|number| *number != gone).collect()
}

fn gaps(journal: &DiskJournal) -> Vec<miro_siem::event::TimeRange> {
    journal.coverage(&audit()).expect("begun").gaps()
}

/// What was lost is new when it comes again, and covers its time again; what was not lost is known.
async fn collect_again(journal: &DiskJournal, gone: i64) {
    let events = |number: i64| (0..10).map(|n| event(&format!("{number}-{n}"), number * 60 + n)).collect();
    let range = minutes(gone * 60, gone * 60 + 60);
    let again = journal.commit(page(&audit(), events(gone), CoverageChange::Add(range))).await.expect("commits");
    assert!(!again.fresh.contains(&false), "{:?}", again.fresh);
    assert_eq!(again.coverage.ranges(), [minutes(0, 1_800)]);
    let far = if gone < 15 { 29 } else { 0 };
    let known = journal.commit(page(&audit(), events(far), CoverageChange::None)).await.expect("commits");
    assert!(!known.fresh.contains(&true), "{:?}", known.fresh);
    assert_eq!(pages(journal).await.len(), 30);
}

#[tokio::test]
async fn a_body_that_is_damaged_while_the_journal_runs_is_set_aside_and_read_past() {
    let dir = tempfile::tempdir().expect("a directory");
    let journal = written(dir.path()).await;
    let segment = &segments(dir.path())[1];
    let at = records(segment);
    flip(segment, at[2] as u64 - 5);
    let left = pages(&journal).await;
    assert_eq!(left.len(), 29, "one page is gone");
    let gone = (0..30).find(|number| !left.contains(number)).expect("one");
    assert_eq!((journal.stats().quarantined_records, quarantined(dir.path())), (1, 1));
    assert_eq!(gaps(&journal), [minutes(gone * 60, gone * 60 + 60)]);
    assert_eq!(pages(&journal).await, all_but(gone), "it is not counted again");
    assert_eq!(journal.stats().quarantined_records, 1);
    collect_again(&journal, gone).await;
    drop(journal);
    let journal = open(dir.path());
    assert_eq!(pages(&journal).await.len(), 30);
    assert_eq!((journal.stats().quarantined_records, gaps(&journal).len()), (0, 0), "nor after a restart");
}

#[tokio::test]
async fn a_header_that_is_damaged_in_a_complete_segment_is_set_aside_when_it_is_read() {
    let dir = tempfile::tempdir().expect("a directory");
    drop(written(dir.path()).await);
    let segment = &segments(dir.path())[1];
    flip(segment, records(segment)[1] as u64 + 9);
    let journal = open(dir.path());
    assert_eq!(journal.stats().quarantined_records, 0, "opening does not read complete segments");
    let left = pages(&journal).await;
    assert_eq!((left.len(), journal.stats().quarantined_records), (29, 1));
    let gone = (0..30).find(|number| !left.contains(number)).expect("one");
    let coverage = journal.coverage(&audit()).expect("begun");
    assert!((0..60).all(|n| !coverage.contains(minute(gone * 60 + n))), "its time is open: {coverage}");
}

#[tokio::test]
async fn damage_in_the_middle_of_the_newest_segment_keeps_what_follows() {
    for offset in [3_u64, 60, 80, 400] {
        let dir = tempfile::tempdir().expect("a directory");
        let copy = dir.path().join("crashed");
        let journal = written(&dir.path().join("live")).await;
        crate::support::copy_dir(&dir.path().join("live"), &copy);
        drop(journal);
        let newest = segments(&copy).pop().expect("there is one");
        let at = records(&newest);
        assert!(at.len() > 3, "a snapshot and a few pages");
        flip(&newest, at[1] as u64 + offset);
        let journal = open(&copy);
        let left = pages(&journal).await;
        assert_eq!(
            (left.len(), *left.last().expect("some")),
            (29, 29),
            "offset {offset}: only one page is gone, and what follows is there"
        );
        let gone = (0..30).find(|number| !left.contains(number)).expect("one");
        assert_eq!((journal.stats().quarantined_records, quarantined(&copy)), (1, 1));
        let coverage = journal.coverage(&audit()).expect("begun");
        assert!((0..60).all(|n| !coverage.contains(minute(gone * 60 + n))), "offset {offset}: {coverage}");
        drop(journal);
        let journal = open(&copy);
        assert_eq!((pages(&journal).await.len(), journal.stats().quarantined_records), (29, 0), "found once");
    }
}

#[tokio::test]
async fn damaged_ids_alone_lose_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let (live, copy) = (dir.path().join("live"), dir.path().join("crashed"));
    let journal = open(&live);
    journal.commit(begin(&audit())).await.expect("begins");
    journal.commit(page(&audit(), vec![event("a", 1), event("b", 1)], CoverageChange::Add(minutes(0, 5)))).await.expect("commits");
    crate::support::copy_dir(&live, &copy);
    drop(journal);
    let newest = segments(&copy).pop().expect("there is one");
    let page_at = *records(&newest).last().expect("a page");
    let bytes = fs::read(&newest).expect("reads");
    let facts_len = u32::from_le_bytes(bytes[page_at + 8..page_at + 12].try_into().expect("four"));
    flip(&newest, page_at as u64 + 72 + u64::from(facts_len) + 3);
    let journal = open(&copy);
    assert_eq!(ids(&read_all(&journal, &audit(), 0, 10).await), ["a", "b"]);
    assert_eq!(journal.stats().quarantined_records, 0);
    let again = journal.commit(page(&audit(), vec![event("a", 1), event("b", 1)], CoverageChange::None)).await.expect("commits");
    assert_eq!(again.fresh, [false, false], "the ids are made anew from the events");
}

#[tokio::test]
async fn a_record_that_is_torn_at_any_byte_is_cut_and_nothing_else() {
    let dir = tempfile::tempdir().expect("a directory");
    let (live, copy) = (dir.path().join("live"), dir.path().join("torn"));
    let journal = open(&live);
    journal.commit(begin(&audit())).await.expect("begins");
    journal.commit(page(&audit(), vec![event("a", 1)], CoverageChange::Add(minutes(0, 60)))).await.expect("commits");
    crate::support::copy_dir(&live, &copy);
    let checkpoints = dir.path().join("checkpoints");
    crate::support::copy_dir(&live.join("checkpoints"), &checkpoints);
    journal.commit(page(&audit(), vec![event("b", 61)], CoverageChange::Add(minutes(60, 120)))).await.expect("commits");
    drop(journal);
    let newest = segments(&live).into_iter().next().expect("there is one");
    let bytes = fs::read(&newest).expect("reads");
    let at = records(&newest);
    let (start, end) = (at[3], at[4]);
    for cut in start..end {
        let state = dir.path().join(format!("cut-{cut}"));
        crate::support::copy_dir(&copy, &state);
        fs::write(state.join("journal").join(newest.file_name().expect("a name")), &bytes[..cut]).expect("writes");
        let journal = open(&state);
        assert_eq!(ids(&read_all(&journal, &audit(), 0, 10).await), ["a"], "cut at {cut} of {start}..{end}");
        assert_eq!(journal.coverage(&audit()).map(|held| held.ranges().to_vec()), Some(vec![minutes(0, 60)]), "cut at {cut}");
        let again = journal.commit(page(&audit(), vec![event("a", 1), event("b", 61)], CoverageChange::None)).await.expect("commits");
        assert_eq!(again.fresh, [false, true], "cut at {cut}");
        drop(journal);
        fs::remove_dir_all(&state).expect("removes");
    }
}

#[tokio::test]
async fn a_missing_segment_is_noticed_wherever_it_was() {
    let count = {
        let dir = tempfile::tempdir().expect("a directory");
        drop(written(dir.path()).await);
        segments(dir.path()).len()
    };
    for missing in 0..count - 1 {
        let dir = tempfile::tempdir().expect("a directory");
        drop(written(dir.path()).await);
        fs::remove_file(&segments(dir.path())[missing]).expect("removes");
        let journal = open(dir.path());
        let left = pages(&journal).await;
        assert!(left.len() < 30, "segment {missing}");
        assert!(journal.stats().quarantined_records > 0, "segment {missing}");
        let coverage = journal.coverage(&audit()).expect("begun");
        for gone in (0..30).filter(|number| !left.contains(number)) {
            assert!((0..10).all(|n| !coverage.contains(minute(gone * 60 + n))), "segment {missing}, page {gone}: {coverage}");
        }
        drop(journal);
        assert_eq!(open(dir.path()).stats().quarantined_records, 0, "noticed once");
    }
}

#[tokio::test]
async fn deleted_segments_are_not_missed() {
    let dir = tempfile::tempdir().expect("a directory");
    let journal = written(dir.path()).await;
    journal.ack(&sink("one"), &audit(), Position(155)).await.expect("acks");
    let coverage = journal.coverage(&audit());
    drop(journal);
    let journal = open(dir.path());
    assert_eq!((journal.coverage(&audit()), journal.stats().quarantined_records), (coverage, 0));
    assert_eq!(read_all(&journal, &audit(), 155, 10).await.len(), 145);
}

#[tokio::test]
async fn without_checkpoints_and_snapshot_a_new_sink_begins_at_the_oldest_event() {
    let dir = tempfile::tempdir().expect("a directory");
    drop(written(dir.path()).await);
    fs::remove_dir_all(dir.path().join("checkpoints")).expect("removes");
    for segment in segments(dir.path()) {
        let bytes = fs::read(&segment).expect("reads");
        // The kind is the sixth byte of a record; 2 is a snapshot.
        records(&segment).into_iter().filter(|at| bytes[at + 5] == 2).for_each(|at| flip(&segment, at as u64 + 80));
    }
    let journal = open(dir.path());
    assert_eq!(journal.acked(&sink("one"), &audit()), None, "nobody knows who was subscribed");
    journal.subscribe(vec![(sink("one"), audit()), (sink("two"), stream(StreamKind::Ai))]).await.expect("subscribes");
    assert_eq!(journal.acked(&sink("one"), &audit()), Some(Position(0)));
    assert!(!pages(&journal).await.is_empty());
}

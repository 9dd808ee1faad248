//! What the journal says it has collected: right by the hour, after crashes, deletions and damage, and never low without saying so.

use std::{
    fs,
    path::{Path, PathBuf},
};

use miro_siem::{
    event::{Decoded, EventId, Origin, Position, RawEvent, Timestamp},
    journal::{
        CoverageChange, Journal,
        disk::DiskJournal,
        proof::{FingerprintMaker, Proof, Slot, Tally},
    },
};

use crate::support::{
    assert_counted, audit, begin, copy_dir, counted, event, minute, minutes, open, options, page, segments, sink, tallies, tuning,
};

const PAGE_EVENTS: i64 = 5;

fn events(number: i64) -> Vec<RawEvent> {
    (0..PAGE_EVENTS).map(|n| event(&format!("{number}-{n}"), number * 7)).collect()
}

fn truth(pages: i64) -> std::collections::BTreeMap<Slot, Tally> {
    counted((0..pages).flat_map(|number| (0..PAGE_EVENTS).map(move |n| (format!("{number}-{n}"), number * 7))))
}

async fn commit_pages(journal: &DiskJournal, pages: std::ops::Range<i64>) {
    for number in pages {
        let range = CoverageChange::Add(minutes(number * 7, number * 7 + 7));
        journal.commit(page(&audit(), events(number), range)).await.expect("commits");
    }
}

async fn begun(dir: &Path) -> DiskJournal {
    let journal = open(dir);
    journal.subscribe(vec![(sink("one"), audit())]).await.expect("subscribes");
    journal.commit(begin(&audit())).await.expect("begins");
    journal
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let list = fs::read_dir(dir.join("tallies/acme/audit")).expect("lists");
    let mut files: Vec<_> = list.map(|entry| entry.expect("lists").path()).collect();
    files.sort();
    files
}

#[tokio::test]
async fn events_are_counted_by_the_hour_in_which_they_happened_and_by_how_they_came() {
    let dir = tempfile::tempdir().expect("a directory");
    let journal = begun(dir.path()).await;
    let untimed = RawEvent { time: None, decoded: Decoded::Undecodable, ..event("untimed", 0) };
    let foolish = RawEvent { time: Some(Timestamp::from_micros(i64::MAX)), ..event("foolish", 0) };
    let unnamed = RawEvent { id: EventId::new("undecodable-00"), decoded: Decoded::Undecodable, ..event("x", 59) };
    let mut commit = page(&audit(), vec![event("a", 0), event("b", 59), event("c", 60), untimed, foolish, unnamed], CoverageChange::None);
    commit.events[1].1 = Origin::Late;
    commit.events[2].1 = Origin::Backfill;
    journal.commit(commit).await.expect("commits");
    journal.commit(page(&audit(), vec![event("a", 0), event("c", 60), event("a", 0)], CoverageChange::None)).await.expect("commits");
    let sum = |ids: &[&str]| {
        let mut tally = Tally::default();
        ids.iter().for_each(|id| tally.ids.add_id(id.as_bytes()));
        tally.ids
    };
    let expected = [
        (
            Slot::Hour(minute(0)),
            Tally { collected: 3, late: 1, undecodable: 1, duplicates: 2, ids: sum(&["a", "b", "undecodable-00"]), ..Tally::default() },
        ),
        (Slot::Hour(minute(60)), Tally { collected: 1, backfilled: 1, duplicates: 1, ids: sum(&["c"]), ..Tally::default() }),
        (Slot::Undated(minute(0)), Tally { collected: 2, undecodable: 1, ids: sum(&["untimed", "foolish"]), ..Tally::default() }),
    ];
    let told = |tallies: miro_siem::journal::proof::Tallies| {
        assert!(tallies.unsure.is_empty() && tallies.rows.iter().all(|row| row.exact));
        tallies.rows.into_iter().map(|row| (row.slot, row.tally)).collect::<Vec<_>>()
    };
    assert_eq!(told(tallies(&journal, &audit()).await), expected, "from memory");
    journal.close().await.expect("closes");
    drop(journal);
    let journal = open(dir.path());
    assert_eq!(told(tallies(&journal, &audit()).await), expected, "from the file, with the repeats");
    let first_hour = journal.tallies(&audit(), minutes(10, 11)).await.expect("reads");
    assert_eq!(told(first_hour), [expected[0], expected[2]], "whole hours and days that the range touches");
    assert_eq!(journal.tallies(&audit(), minutes(120, 10_000)).await.expect("reads").rows.len(), 1, "the day has no end at an hour");
}

#[tokio::test]
async fn a_crash_counts_every_event_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut state = dir.path().join("0");
    let mut journal = begun(&state).await;
    for round in 0..12 {
        commit_pages(&journal, round * 9..round * 9 + 9).await;
        let copy = dir.path().join((round + 1).to_string());
        copy_dir(&state, &copy);
        drop(journal);
        state = copy;
        journal = open(&state);
        assert_counted(&tallies(&journal, &audit()).await, &truth(round * 9 + 9));
    }
    assert!(segments(&state).len() > 3, "over several segments");
}

#[tokio::test]
async fn what_was_delivered_and_deleted_stays_counted() {
    let root = tempfile::tempdir().expect("a directory");
    let dir = root.path().join("state");
    let journal = begun(&dir).await;
    for round in 0..8 {
        commit_pages(&journal, round * 20..round * 20 + 20).await;
        let head = *journal.head().borrow();
        journal.ack(&sink("one"), &audit(), head).await.expect("acks");
    }
    assert!(segments(&dir).len() < 3, "delivered segments are gone");
    assert_counted(&tallies(&journal, &audit()).await, &truth(160));
    let copy = root.path().join("copy");
    copy_dir(&dir, &copy);
    drop(journal);
    let journal = open(&copy);
    assert_counted(&tallies(&journal, &audit()).await, &truth(160));
}

/// A state with two months of tallies, whose log either still has everything or not.
async fn two_months(dir: &Path, delivered: bool) -> std::collections::BTreeMap<Slot, Tally> {
    let journal = begun(dir).await;
    commit_pages(&journal, 0..30).await;
    let february = 31 * 24 * 60;
    let later: Vec<_> = (0..40).map(|n| event(&format!("later-{n}"), february + n)).collect();
    let range = CoverageChange::Add(minutes(210, february + 60));
    journal.commit(page(&audit(), later, range)).await.expect("commits");
    if delivered {
        journal.ack(&sink("one"), &audit(), Position(150)).await.expect("acks");
    }
    journal.close().await.expect("closes");
    let mut all = truth(30);
    all.extend(counted((0..40).map(|n| (format!("later-{n}"), february + n))));
    all
}

fn quarantined(dir: &Path) -> Vec<String> {
    let list = fs::read_dir(dir.join("quarantine")).expect("lists");
    list.map(|entry| entry.expect("lists").file_name().to_string_lossy().into_owned()).collect()
}

fn flip(path: &Path) {
    let mut bytes = fs::read(path).expect("reads");
    let at = bytes.len() / 2;
    bytes[at] ^= 4;
    fs::write(path, bytes).expect("writes");
}

#[tokio::test]
async fn a_broken_file_is_set_aside_and_counted_again_from_a_log_that_has_everything() {
    let dir = tempfile::tempdir().expect("a directory");
    let truth = two_months(dir.path(), false).await;
    flip(&files(dir.path())[0]);
    let journal = open(dir.path());
    assert!(
        quarantined(dir.path()).iter().any(|name| name.ends_with("tallies-acme-audit-2026-01.tallies")),
        "{:?}",
        quarantined(dir.path())
    );
    assert_counted(&tallies(&journal, &audit()).await, &truth);
}

#[tokio::test]
async fn a_broken_file_whose_records_are_gone_is_in_doubt_and_never_silently_low() {
    for gone in [false, true] {
        let dir = tempfile::tempdir().expect("a directory");
        let truth = two_months(dir.path(), true).await;
        let file = &files(dir.path())[0];
        if gone {
            fs::remove_file(file).expect("removes");
        } else {
            flip(file);
        }
        let journal = open(dir.path());
        let told = tallies(&journal, &audit()).await;
        assert_eq!(told.unsure, [minutes(0, 31 * 24 * 60)], "January");
        for row in &told.rows {
            let is_january = matches!(row.slot, Slot::Hour(begins) if begins < minute(31 * 24 * 60));
            assert_eq!(row.exact, !is_january, "{row:?}");
            assert!(is_january || truth.get(&row.slot) == Some(&row.tally), "{row:?}");
        }
        assert!(told.rows.iter().any(|row| row.exact), "February is not concerned");
        drop(journal);
        let again = tallies(&open(dir.path()), &audit()).await;
        assert_eq!(again, told, "and that is remembered");
    }
}

#[tokio::test]
async fn a_lost_list_of_months_leaves_everything_up_to_now_in_doubt_and_nothing_after() {
    let dir = tempfile::tempdir().expect("a directory");
    two_months(dir.path(), true).await;
    fs::remove_file(dir.path().join("tallies/months")).expect("removes");
    let journal = open(dir.path());
    let newest = 31 * 24 * 60 + 60;
    let march = newest + 60 * 24 * 40;
    journal.commit(page(&audit(), vec![event("new", march)], CoverageChange::Add(minutes(newest, march + 1)))).await.expect("commits");
    let told = tallies(&journal, &audit()).await;
    let (last, earlier) = told.rows.split_last().expect("there are some");
    assert!(last.exact && last.tally.collected == 1, "{last:?}");
    assert!(earlier.iter().all(|row| !row.exact), "{earlier:?}");
    assert_eq!(told.unsure.iter().map(|range| range.to()).collect::<Vec<_>>(), [minute(newest + 120)]);
}

#[tokio::test]
async fn tallies_of_another_journal_do_not_count() {
    let (dir, other) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    two_months(other.path(), false).await;
    begun(dir.path()).await.close().await.expect("closes");
    fs::remove_dir_all(dir.path().join("tallies")).expect("removes");
    copy_dir(&other.path().join("tallies"), &dir.path().join("tallies"));
    let journal = open(dir.path());
    commit_pages(&journal, 0..3).await;
    let told = tallies(&journal, &audit()).await;
    assert_eq!(told.rows.iter().map(|row| row.tally.collected).sum::<u64>(), 3 * PAGE_EVENTS as u64, "{told:?}");
    assert_eq!(quarantined(dir.path()).len(), 2);
}

#[tokio::test]
async fn a_newer_form_of_tallies_or_ids_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    two_months(dir.path(), false).await;
    let ids = fs::read_dir(dir.path().join("seen/acme/audit")).expect("lists").next().expect("one").expect("lists").path();
    let versioned = |path: PathBuf, crc_at: Option<usize>| {
        let mut bytes = fs::read(&path).expect("reads");
        bytes[3] = 9;
        let at = crc_at.unwrap_or(bytes.len() - 4);
        let crc = crc32fast::hash(&bytes[..at]).to_le_bytes();
        bytes[at..at + 4].copy_from_slice(&crc);
        (path, bytes)
    };
    let marker = dir.path().join("seen/reached");
    let manifest = dir.path().join("tallies/months");
    let month = files(dir.path())[1].clone();
    for (path, newer) in [versioned(month, None), versioned(manifest, None), versioned(marker, None), versioned(ids, Some(33))] {
        let before = fs::read(&path).expect("reads");
        fs::write(&path, &newer).expect("writes");
        let refused = DiskJournal::open(options(dir.path())).expect_err("newer").to_string();
        assert!(refused.contains("a newer version of miro-siem wrote") && refused.contains("version 9"), "{refused}");
        assert!(refused.contains(path.to_str().expect("UTF-8")), "{refused}");
        assert_eq!(fs::read(&path).expect("reads"), newer);
        fs::write(&path, before).expect("writes");
    }
    DiskJournal::open(options(dir.path())).expect("opens again");
}

#[tokio::test]
async fn tallies_are_kept_for_400_days_of_collection() {
    let dir = tempfile::tempdir().expect("a directory");
    let journal = begun(dir.path()).await;
    commit_pages(&journal, 0..3).await;
    for days in [100, 399, 431, 500] {
        let newest = journal.coverage(&audit()).expect("begun").newest();
        let to = minute(days * 24 * 60);
        let range = miro_siem::event::TimeRange::new(newest, to).expect("later");
        journal.commit(page(&audit(), vec![event(&days.to_string(), days * 24 * 60)], CoverageChange::Add(range))).await.expect("commits");
        drop(DiskJournal::open(options(dir.path())).expect_err("in use"));
        journal.put_state("flush", vec![0; 5_000]).await.expect("stores");
        journal.put_state("flush", vec![0; 5_000]).await.expect("stores");
        let months = files(dir.path());
        assert_eq!(months[0].ends_with("2026-01.tallies"), days < 431, "day {days}: {months:?}");
    }
}

#[tokio::test]
async fn lost_ids_put_their_hour_in_doubt_when_it_is_looked_at() {
    let dir = tempfile::tempdir().expect("a directory");
    let journal = begun(dir.path()).await;
    commit_pages(&journal, 0..30).await;
    journal.close().await.expect("closes");
    drop(journal);
    let ids = fs::read_dir(dir.path().join("seen/acme/audit")).expect("lists").next().expect("one").expect("lists").path();
    flip(&ids);
    let journal = open(dir.path());
    let again = (0..30).flat_map(events).collect();
    let committed = journal.commit(page(&audit(), again, CoverageChange::None)).await.expect("commits");
    let repeated = committed.fresh.iter().filter(|fresh| **fresh).count() as u64;
    assert!(repeated > 0, "the damaged ids are forgotten, so their events are taken once more");
    let told = tallies(&journal, &audit()).await;
    let truth = truth(30);
    for row in &told.rows {
        let right = truth.get(&row.slot).is_some_and(|truth| truth.ids == row.tally.ids);
        assert!(right || !row.exact, "{row:?}");
    }
    assert!(told.rows.iter().any(|row| !row.exact) && told.rows.iter().any(|row| row.exact), "{told:?}");
}

#[tokio::test]
async fn known_ids_are_told_by_the_hour_and_named_while_the_log_has_them() {
    let dir = tempfile::tempdir().expect("a directory");
    let journal = begun(dir.path()).await;
    commit_pages(&journal, 0..40).await;
    let maker = FingerprintMaker::new(&audit());
    let ids_of = |pages: std::ops::Range<i64>| {
        let ids = pages.flat_map(|number| (0..PAGE_EVENTS).map(move |n| format!("{number}-{n}")));
        let mut ids: Vec<_> = ids.map(|id| maker.id(id.as_bytes())).collect();
        ids.sort_unstable();
        ids
    };
    let known = |begins| journal.known_ids(&audit(), Slot::Hour(begins));
    assert_eq!(known(minute(0)).await.expect("reads").ids, ids_of(0..9));
    assert_eq!(known(minute(60)).await.expect("reads").ids, ids_of(9..18));
    assert_eq!(known(minute(6_000)).await.expect("reads").ids, []);
    let wanted = vec![maker.id(b"0-0"), maker.id(b"39-4"), maker.id(b"never")];
    let mut named = journal.named(&audit(), wanted.clone()).await.expect("reads");
    named.sort_by_key(|named| named.time);
    let told: Vec<_> = named.iter().map(|named| (named.id.as_str(), named.time)).collect();
    assert_eq!(told, [("0-0", Some(minute(0))), ("39-4", Some(minute(39 * 7)))]);
    journal.ack(&sink("one"), &audit(), Position(190)).await.expect("acks");
    let named = journal.named(&audit(), wanted).await.expect("reads");
    assert_eq!(named.iter().map(|named| named.id.as_str()).collect::<Vec<_>>(), ["39-4"], "the first segment is gone");
    let streams = journal.streams().await.expect("answers");
    assert_eq!(streams[0].coverage, journal.coverage(&audit()).expect("begun"));
    assert_eq!(streams[0].ids_from, minute(0), "{:?}", streams[0]);
    assert_ne!(journal.journal_id(), 0);
}

#[tokio::test]
async fn a_long_backfill_is_written_before_it_fills_memory() {
    let dir = tempfile::tempdir().expect("a directory");
    let journal = DiskJournal::open_tuned(options(dir.path()), tuning(64 << 20)).expect("opens");
    journal.commit(begin(&audit())).await.expect("begins");
    for day in 0..200 {
        let hours = (0..24).map(|hour| event(&format!("{day}-{hour}"), (day * 24 + hour) * 60)).collect();
        journal.commit(page(&audit(), hours, CoverageChange::None)).await.expect("commits");
    }
    assert!(files(dir.path()).len() > 4, "no segment is complete, and months are written all the same");
    let all = counted((0..200).flat_map(|day| (0..24).map(move |hour| (format!("{day}-{hour}"), (day * 24 + hour) * 60))));
    assert_counted(&tallies(&journal, &audit()).await, &all);
}

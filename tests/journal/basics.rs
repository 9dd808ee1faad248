//! Ordinary use.

use std::{
    os::unix::fs::MetadataExt,
    task::{Context, Waker},
};

use miro_siem::{
    event::{Decoded, EventId, Origin, Position, RawEvent, StreamKind},
    journal::{Backlog, CoverageChange, Journal, JournalError, Read, disk::DiskJournal},
};

use crate::support::{audit, begin, event, ids, minute, minutes, open, options, page, raw, read_all, segments, sink, stream, tuning};

#[tokio::test]
async fn what_was_committed_is_read_back_byte_for_byte() {
    let dir = tempfile::tempdir().expect("a directory");
    let journal = open(dir.path());
    journal.commit(begin(&audit())).await.expect("begins");
    let mut commit = page(&audit(), vec![event("a#1", 1), event("b", 2)], CoverageChange::Add(minutes(0, 5)));
    commit.events[1].1 = Origin::Late;
    let committed = journal.commit(commit).await.expect("commits");
    assert_eq!((committed.fresh, committed.head), (vec![true, true], Position(2)));
    assert_eq!(committed.coverage.ranges(), [minutes(0, 5)]);
    let events = read_all(&journal, &audit(), 0, 100).await;
    assert_eq!(ids(&events), ["a#1", "b"]);
    assert_eq!((&events[0].raw, events[0].position, events[0].origin), (&raw("a#1", 1), Position(1), Origin::Live));
    assert_eq!((events[1].time, events[1].origin, events[1].collected_at), (Some(minute(2)), Origin::Late, minute(60)));
}

#[tokio::test]
async fn everything_is_there_after_reopening() {
    let dir = tempfile::tempdir().expect("a directory");
    let journal = open(dir.path());
    journal.subscribe(vec![(sink("splunk"), audit())]).await.expect("subscribes");
    journal.commit(begin(&audit())).await.expect("begins");
    journal.commit(page(&audit(), vec![event("a", 1), event("b", 2)], CoverageChange::Add(minutes(0, 5)))).await.expect("commits");
    journal.ack(&sink("splunk"), &audit(), Position(1)).await.expect("acks");
    journal.put_state("cursor", b"opaque".to_vec()).await.expect("stores");
    journal.close().await.expect("closes");
    for _ in 0..3 {
        let journal = open(dir.path());
        assert_eq!(journal.acked(&sink("splunk"), &audit()), Some(Position(1)));
        assert_eq!(journal.state("cursor").as_deref(), Some(&b"opaque"[..]));
        assert_eq!(journal.coverage(&audit()).map(|held| held.ranges().to_vec()), Some(vec![minutes(0, 5)]));
        assert_eq!(ids(&read_all(&journal, &audit(), 1, 100).await), ["b"]);
        let again = journal.commit(page(&audit(), vec![event("a", 1)], CoverageChange::None)).await.expect("commits");
        assert_eq!((again.fresh, again.head), (vec![false], Position(2)));
    }
    assert!(segments(dir.path()).len() <= 2, "restarts leave no trail: {:?}", segments(dir.path()));
}

#[tokio::test]
async fn an_id_is_committed_once_also_within_a_page_and_beside_another_stream() {
    let dir = tempfile::tempdir().expect("a directory");
    let journal = open(dir.path());
    let content = stream(StreamKind::Content);
    for stream in [&audit(), &content] {
        journal.commit(begin(stream)).await.expect("begins");
    }
    let commit = page(&audit(), vec![event("a", 1), event("a", 1), event("b", 1)], CoverageChange::None);
    assert_eq!(journal.commit(commit).await.expect("commits").fresh, [true, false, true]);
    let commit = page(&audit(), vec![event("b", 1), event("c", 1)], CoverageChange::None);
    assert_eq!(journal.commit(commit).await.expect("commits").fresh, [false, true]);
    let commit = page(&content, vec![event("a", 1)], CoverageChange::None);
    assert_eq!(journal.commit(commit).await.expect("commits").fresh, [true]);
    assert_eq!(ids(&read_all(&journal, &audit(), 0, 2).await), ["a", "b", "c"]);
    assert_eq!(ids(&read_all(&journal, &content, 0, 2).await), ["a"]);
}

#[tokio::test]
async fn an_event_without_a_time_is_known_on_later_days() {
    let dir = tempfile::tempdir().expect("a directory");
    let journal = open(dir.path());
    journal.commit(begin(&audit())).await.expect("begins");
    let undated = || RawEvent { id: EventId::new("u"), time: None, raw: "{}".into(), decoded: Decoded::Undecodable };
    for (day, fresh) in [(0, true), (1, false), (6, false)] {
        let mut commit = page(&audit(), vec![undated()], CoverageChange::None);
        commit.collected_at = minute(day * 24 * 60);
        assert_eq!(journal.commit(commit).await.expect("commits").fresh, [fresh], "day {day}");
    }
}

#[tokio::test]
async fn commits_out_of_order_are_refused_without_change() {
    let dir = tempfile::tempdir().expect("a directory");
    let journal = open(dir.path());
    let add = |from, to| page(&audit(), vec![event("x", from)], CoverageChange::Add(minutes(from, to)));
    assert!(matches!(journal.commit(add(0, 5)).await, Err(JournalError::Sequence { .. })));
    journal.commit(begin(&audit())).await.expect("begins");
    assert!(matches!(journal.commit(begin(&audit())).await, Err(JournalError::Sequence { .. })));
    journal.commit(add(0, 5)).await.expect("commits");
    assert!(matches!(journal.commit(add(4, 6)).await, Err(JournalError::Overlap(_))));
    assert_eq!(journal.coverage(&audit()).map(|held| held.ranges().to_vec()), Some(vec![minutes(0, 5)]));
    assert_eq!(journal.stats().events, 1);
    assert_eq!(journal.coverage(&stream(StreamKind::Ai)), None);
}

#[tokio::test]
async fn a_chunk_keeps_to_its_limits_and_skips_other_streams() {
    let dir = tempfile::tempdir().expect("a directory");
    let journal = open(dir.path());
    let content = stream(StreamKind::Content);
    for stream in [&audit(), &content] {
        journal.commit(begin(stream)).await.expect("begins");
    }
    for n in 0..40 {
        let stream = if n % 4 == 0 { &audit() } else { &content };
        let events = (0..5).map(|i| event(&format!("{n}-{i}"), n)).collect();
        journal.commit(page(stream, events, CoverageChange::None)).await.expect("commits");
    }
    assert!(segments(dir.path()).len() > 2, "the events lie in several segments");
    for events_max in [1, 3, 5, 7, 1_000] {
        assert_eq!(read_all(&journal, &audit(), 0, events_max).await.len(), 50, "{events_max}");
        assert_eq!(read_all(&journal, &content, 0, events_max).await.len(), 150, "{events_max}");
    }
    let size = raw("0-0", 0).len();
    let read = |after, bytes_max| Read { stream: audit(), after: Position(after), events_max: 100, bytes_max };
    assert_eq!(journal.read(read(0, size * 3)).await.expect("reads").events.len(), 3);
    assert_eq!(journal.read(read(0, 1)).await.expect("reads").events.len(), 1);
    let end = journal.read(read(185, 1 << 20)).await.expect("reads");
    assert_eq!((end.events.len(), end.up_to), (0, Position(200)));
}

#[tokio::test]
async fn segments_go_when_every_subscriber_is_done_and_the_newest_stays() {
    let dir = tempfile::tempdir().expect("a directory");
    let journal = open(dir.path());
    journal.subscribe(vec![(sink("one"), audit()), (sink("two"), audit())]).await.expect("subscribes");
    journal.commit(begin(&audit())).await.expect("begins");
    for n in 0..50 {
        let events = (0..10).map(|i| event(&format!("{n}-{i}"), n)).collect();
        journal.commit(page(&audit(), events, CoverageChange::Add(minutes(n, n + 1)))).await.expect("commits");
    }
    let before = segments(dir.path()).len();
    assert!(before > 3);
    assert_eq!(journal.backlog(&sink("one"), &audit()), Backlog { events: 500, oldest_collected_at: Some(minute(60)) });
    journal.ack(&sink("one"), &audit(), Position(500)).await.expect("acks");
    assert_eq!(segments(dir.path()).len(), before, "the other one is not done");
    assert_eq!(journal.backlog(&sink("one"), &audit()), Backlog::default());
    journal.ack(&sink("two"), &audit(), Position(123)).await.expect("acks");
    assert_eq!(journal.backlog(&sink("two"), &audit()).events, 377);
    assert_eq!(ids(&read_all(&journal, &audit(), 123, 50).await).len(), 377);
    journal.ack(&sink("two"), &audit(), Position(7)).await.expect("acks");
    assert_eq!(journal.acked(&sink("two"), &audit()), Some(Position(123)), "an acknowledgement never moves back");
    journal.ack(&sink("two"), &audit(), Position(9_999)).await.expect("acks");
    assert_eq!(journal.acked(&sink("two"), &audit()), Some(Position(500)), "nor ahead of what there is");
    assert_eq!(segments(dir.path()).len(), 1);
    drop(journal);
    let journal = open(dir.path());
    let again = journal.commit(page(&audit(), vec![event("3-3", 3)], CoverageChange::None)).await.expect("commits");
    assert_eq!(again.fresh, [false], "ids outlive their segments");
}

#[tokio::test]
async fn new_subscribers_begin_at_the_newest_position_and_old_ones_are_forgotten() {
    let dir = tempfile::tempdir().expect("a directory");
    let journal = open(dir.path());
    journal.subscribe(vec![(sink("one"), audit())]).await.expect("subscribes");
    journal.commit(begin(&audit())).await.expect("begins");
    journal.commit(page(&audit(), vec![event("a", 1)], CoverageChange::None)).await.expect("commits");
    journal.subscribe(vec![(sink("one"), audit()), (sink("two"), audit())]).await.expect("subscribes");
    let acked = |journal: &DiskJournal, name: &str| journal.acked(&sink(name), &audit());
    assert_eq!((acked(&journal, "one"), acked(&journal, "two")), (Some(Position(0)), Some(Position(1))));
    journal.subscribe(vec![(sink("two"), audit())]).await.expect("subscribes");
    drop(journal);
    let journal = open(dir.path());
    assert_eq!((acked(&journal, "one"), acked(&journal, "two")), (None, Some(Position(1))));
}

#[tokio::test]
async fn a_full_journal_refuses_commits_until_sinks_have_caught_up() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut options = options(dir.path());
    options.bytes_max = 24 << 10;
    let journal = DiskJournal::open_tuned(options, tuning(4_096)).expect("opens");
    journal.subscribe(vec![(sink("one"), audit())]).await.expect("subscribes");
    journal.commit(begin(&audit())).await.expect("begins");
    let mut committed = 0;
    for round in 0..3 {
        let refused = loop {
            let events = (0..10).map(|i| event(&format!("{round}-{committed}-{i}"), committed)).collect();
            match journal.commit(page(&audit(), events, CoverageChange::Add(minutes(committed, committed + 1)))).await {
                Ok(_) => committed += 1,
                Err(error) => break error,
            }
            assert!(committed < 10_000, "it never gets full");
        };
        assert!(matches!(refused, JournalError::Full { bytes, bytes_max } if bytes <= bytes_max), "{refused}");
        assert!(journal.stats().bytes <= 24 << 10);
        assert_eq!(read_all(&journal, &audit(), 0, 1_000).await.len() as u64, journal.stats().events);
        let head = *journal.head().borrow();
        journal.ack(&sink("one"), &audit(), head).await.expect("acks");
    }
}

#[tokio::test]
async fn a_second_process_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let journal = open(dir.path());
    let refused = DiskJournal::open(options(dir.path())).expect_err("locked");
    assert!(matches!(&refused, JournalError::Locked { pid, .. } if *pid == std::process::id().to_string()), "{refused}");
    journal.close().await.expect("closes");
    let other = DiskJournal::open(options(dir.path())).expect("free after close");
    assert!(matches!(journal.commit(begin(&audit())).await, Err(JournalError::Closed)));
    assert!(matches!(journal.close().await, Err(JournalError::Closed)));
    drop(other);
}

#[tokio::test]
async fn the_state_directory_is_for_its_owner_only() {
    let dir = tempfile::tempdir().expect("a directory");
    let state = dir.path().join("state");
    let journal = open(&state);
    journal.commit(begin(&audit())).await.expect("begins");
    assert_eq!(std::fs::metadata(&state).expect("there").mode() & 0o777, 0o700);
    for file in segments(&state).into_iter().chain([state.join("lock"), state.join("checkpoints/db")]) {
        assert_eq!(std::fs::metadata(&file).expect("there").mode() & 0o777, 0o600, "{}", file.display());
    }
}

#[tokio::test]
async fn a_commit_whose_caller_has_gone_runs_to_its_end() {
    let dir = tempfile::tempdir().expect("a directory");
    let journal = open(dir.path());
    journal.commit(begin(&audit())).await.expect("begins");
    let mut head = journal.head();
    {
        let mut commit = journal.commit(page(&audit(), vec![event("a", 1)], CoverageChange::None));
        // Polled once, so that it has begun, then dropped.
        assert!(commit.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    head.wait_for(|head| *head == Position(1)).await.expect("it is written");
    assert_eq!(ids(&read_all(&journal, &audit(), 0, 10).await), ["a"]);
}

#[tokio::test]
async fn many_commits_at_once_all_arrive() {
    let dir = tempfile::tempdir().expect("a directory");
    let journal = std::sync::Arc::new(open(dir.path()));
    journal.commit(begin(&audit())).await.expect("begins");
    let tasks: Vec<_> = (0..200)
        .map(|n| {
            let journal = journal.clone();
            tokio::spawn(async move {
                let events = vec![event(&format!("{n}"), n), event("shared", 7)];
                journal.commit(page(&audit(), events, CoverageChange::Add(minutes(n, n + 1)))).await
            })
        })
        .collect();
    let mut shared = 0;
    for task in tasks {
        let committed = task.await.expect("runs").expect("commits");
        assert!(committed.fresh[0]);
        shared += usize::from(committed.fresh[1]);
    }
    assert_eq!(shared, 1, "the same id in 200 commits is new once");
    assert_eq!(journal.coverage(&audit()).map(|held| held.ranges().to_vec()), Some(vec![minutes(0, 200)]));
    assert_eq!(read_all(&*journal, &audit(), 0, 64).await.len(), 201);
}

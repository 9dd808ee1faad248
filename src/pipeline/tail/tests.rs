use std::time::Duration;

use super::*;
use crate::{
    coverage::Coverage,
    event::{Decoded, EventId, OrgName, Origin, RawEvent, SinkName},
    journal::{Commit, CoverageChange, DiskJournal, Options},
};

fn stream(kind: StreamKind) -> StreamId {
    StreamId::new(OrgName::new("acme"), kind)
}

/// A journal with two streams, and what follows it.
struct World {
    journal: Arc<dyn Journal>,
    tail: Tail,
    stop: CancellationToken,
    _dir: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let options = Options { dir: dir.path().join("state"), bytes_max: 1 << 30, ids_reach: Duration::from_secs(3_600) };
        let journal: Arc<dyn Journal> = Arc::new(DiskJournal::open(options).expect("a journal"));
        let streams = vec![stream(StreamKind::Audit), stream(StreamKind::Content)];
        // Somebody has to be waited for, or what is committed is let go of.
        let sink = SinkName::new("file");
        journal.subscribe(streams.iter().map(|stream| (sink.clone(), stream.clone())).collect()).await.expect("subscribed");
        let stop = CancellationToken::new();
        let tail = Tail::new(journal.clone(), followable(streams.into_iter()), stop.clone());
        Self { journal, tail, stop, _dir: dir }
    }

    /// Commits events of these names, collected at that second.
    async fn collect(&self, kind: StreamKind, names: &[&str], at_secs: i64) -> Coverage {
        let stream = stream(kind);
        let collected_at = Timestamp::from_millis(at_secs * 1_000);
        if self.journal.coverage(&stream).is_none() {
            let begin = CoverageChange::Begin(Timestamp::from_millis(0));
            let commit = Commit { stream: stream.clone(), collected_at, events: Vec::new(), coverage: begin };
            self.journal.commit(commit).await.expect("begun");
        }
        let key = if kind == StreamKind::Audit { "event" } else { "actionType" };
        let event = |(index, name): (usize, &&str)| {
            let raw = format!("{{\"{key}\":\"{name}\",\n \"pad\":\"{}\"}}", "x".repeat(100));
            let id = EventId::new(format!("{kind}-{at_secs}-{index}"));
            (RawEvent { id, time: Some(collected_at), raw: raw.into(), decoded: Decoded::Whole }, Origin::Live)
        };
        let events = names.iter().enumerate().map(event).collect();
        let commit = Commit { stream, collected_at, events, coverage: CoverageChange::None };
        self.journal.commit(commit).await.expect("committed").coverage
    }

    fn follow(&self, wanted: TailRequest) -> mpsc::Receiver<Tailed> {
        self.tail.tail(wanted).expect("it can be followed")
    }
}

/// The names of the next events.
async fn names(tail: &mut mpsc::Receiver<Tailed>, count: usize) -> Vec<String> {
    let mut names = Vec::new();
    while names.len() < count {
        let Some(Tailed::Lines(lines)) = tail.recv().await else { panic!("it ended after {names:?}") };
        for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let event: serde_json::Value = serde_json::from_slice(line).expect("one record per line");
            let name = event.get("event").or_else(|| event.get("actionType")).and_then(|name| name.as_str()).expect("a name");
            assert_eq!(event["_miro_siem"]["org"], "acme");
            names.push(name.to_owned());
        }
    }
    names
}

#[tokio::test]
async fn a_follower_sees_what_is_collected_from_now_on_in_its_order() {
    let world = World::new().await;
    world.collect(StreamKind::Audit, &["before"], 1).await;
    let mut tail = world.follow(TailRequest::default());
    world.collect(StreamKind::Audit, &["a", "b"], 2).await;
    world.collect(StreamKind::Content, &["c"], 3).await;
    world.collect(StreamKind::Audit, &["d"], 4).await;
    assert_eq!(names(&mut tail, 4).await, ["a", "b", "c", "d"]);
    world.stop.cancel();
    assert_eq!(tail.recv().await, Some(Tailed::End("the daemon is stopping".to_owned())));
    assert_eq!(tail.recv().await, None);
}

#[tokio::test]
async fn since_begins_with_what_was_collected_then() {
    let world = World::new().await;
    for secs in 1..=40 {
        let name = format!("n{secs}");
        world.collect(if secs % 3 == 0 { StreamKind::Content } else { StreamKind::Audit }, &[&name, &name], secs).await;
    }
    for (since, expected) in [(0, 1), (1, 1), (17, 17), (18, 18), (40, 40)] {
        let mut tail = world.follow(TailRequest { since: Some(Timestamp::from_millis(since * 1_000)), ..TailRequest::default() });
        let wanted: Vec<String> = (expected..=40).flat_map(|secs| [format!("n{secs}"), format!("n{secs}")]).collect();
        assert_eq!(names(&mut tail, wanted.len()).await, wanted, "since {since}");
    }
    let mut tail = world.follow(TailRequest { since: Some(Timestamp::from_millis(41_000)), ..TailRequest::default() });
    world.collect(StreamKind::Audit, &["new"], 42).await;
    assert_eq!(names(&mut tail, 1).await, ["new"]);
}

#[tokio::test]
async fn filters_choose_by_organisation_stream_and_name() {
    let world = World::new().await;
    let from_start = Some(Timestamp::from_millis(0));
    world.collect(StreamKind::Audit, &["board_opened", "team_created", "board_deleted"], 1).await;
    world.collect(StreamKind::Content, &["board_like"], 2).await;
    let wanted = |event: Option<&str>, stream: Option<&str>| TailRequest {
        event: event.map(str::to_owned),
        stream: stream.map(str::to_owned),
        org: Some("acme".to_owned()),
        since: from_start,
    };
    assert_eq!(names(&mut world.follow(wanted(Some("board_*"), None)), 3).await, ["board_opened", "board_deleted", "board_like"]);
    assert_eq!(names(&mut world.follow(wanted(None, Some("content"))), 1).await, ["board_like"]);
    assert_eq!(names(&mut world.follow(wanted(Some("team_?reated"), Some("audit"))), 1).await, ["team_created"]);
    for (wanted, known) in [
        (TailRequest { org: Some("beta".to_owned()), ..TailRequest::default() }, "the organisations are acme"),
        (TailRequest { stream: Some("ai".to_owned()), ..TailRequest::default() }, "acme/audit, acme/content, acme/forwarder"),
    ] {
        let refused = world.tail.tail(wanted).expect_err("there is no such thing");
        assert!(matches!(&refused, ControlError::Unknown(why) if why.contains(known)), "{refused:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_follower_that_does_not_read_is_cut_loose_and_told_and_holds_nothing() {
    let world = World::new().await;
    let mut tail = world.follow(TailRequest::default());
    let pad = vec!["x"; 2_000];
    for secs in 1..=20 {
        world.collect(StreamKind::Audit, &pad, secs).await;
    }
    tokio::time::sleep(PATIENCE * 3).await;
    let (mut events, mut last) = (0, None);
    while let Some(tailed) = tail.recv().await {
        match tailed {
            Tailed::Lines(lines) => events += lines.iter().filter(|byte| **byte == b'\n').count(),
            Tailed::End(why) => last = Some(why),
        }
    }
    assert!(events <= QUEUE_CHUNKS * CHUNK_EVENTS_MAX, "{events} were held for it");
    assert!(last.is_some_and(|why| why.contains("nothing was read for 20 s")));
    let backlog = world.journal.backlog(&SinkName::new("file"), &stream(StreamKind::Audit)).events;
    assert_eq!(backlog, 40_000, "only the sink counts");
}

#[tokio::test(start_paused = true)]
async fn only_so_many_follow_at_once_and_whoever_goes_makes_room() {
    let world = World::new().await;
    let followers: Vec<_> = (0..FOLLOWERS_MAX).map(|_| world.follow(TailRequest::default())).collect();
    assert!(matches!(world.tail.tail(TailRequest::default()), Err(ControlError::Conflict(why)) if why.contains("8 are following")));
    drop(followers);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut one = world.follow(TailRequest::default());
    assert_eq!(one.recv().await, Some(Tailed::Lines("\n".into())), "a sign of life, where nothing is collected");
}

//! The loop against a scripted Miro and a journal in memory, on a clock that stands still until somebody waits.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::watch;

use super::*;
use crate::{
    config::settings::Start,
    event::{EventId, OrgName, Position, RawEvent, SinkName, StreamKind},
    journal::{Backlog, Chunk, Read, Stats},
    miro::{Cursor, QuotaReading},
};

const NOW_SECS: i64 = 1_700_000_000;

#[derive(Debug, Default)]
struct Books {
    coverage: BTreeMap<StreamId, Coverage>,
    state: BTreeMap<String, Vec<u8>>,
    ids: BTreeSet<String>,
    events: Vec<(String, Origin)>,
    refusals: VecDeque<JournalError>,
}

#[derive(Debug)]
struct MemoryJournal(Mutex<Books>, watch::Sender<Position>);

impl MemoryJournal {
    fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::default(), watch::channel(Position(0)).0))
    }

    fn books(&self) -> std::sync::MutexGuard<'_, Books> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, commit: Commit) -> Result<Committed, JournalError> {
        let mut books = self.books();
        if let Some(refusal) = books.refusals.pop_front() {
            return Err(refusal);
        }
        match commit.coverage {
            CoverageChange::None => {}
            CoverageChange::Begin(origin) => {
                let before = books.coverage.insert(commit.stream.clone(), Coverage::starting_at(origin));
                assert!(before.is_none(), "a stream begins once");
            }
            CoverageChange::Add(range) => books.coverage.get_mut(&commit.stream).expect("the stream has begun").add(range)?,
        }
        let mut fresh = Vec::new();
        for (event, origin) in commit.events {
            let id = event.id.as_str().to_owned();
            let new = books.ids.insert(id.clone());
            fresh.push(new);
            if new {
                books.events.push((id, origin));
            }
        }
        let coverage = books.coverage[&commit.stream].clone();
        Ok(Committed { fresh, head: Position(books.events.len() as u64), coverage })
    }
}

type Answer<'a, T> = BoxFuture<'a, Result<T, JournalError>>;

impl Journal for MemoryJournal {
    fn commit(&self, commit: Commit) -> Answer<'_, Committed> {
        Box::pin(std::future::ready(self.take(commit)))
    }
    fn coverage(&self, stream: &StreamId) -> Option<Coverage> {
        self.books().coverage.get(stream).cloned()
    }
    fn read(&self, _: Read) -> Answer<'_, Chunk> {
        unreachable!("a poller does not read")
    }
    fn subscribe(&self, _: Vec<(SinkName, StreamId)>) -> Answer<'_, ()> {
        unreachable!("a poller does not subscribe")
    }
    fn acked(&self, _: &SinkName, _: &StreamId) -> Option<Position> {
        unreachable!("a poller does not ask for acks")
    }
    fn ack<'a>(&'a self, _: &'a SinkName, _: &'a StreamId, _: Position) -> Answer<'a, ()> {
        unreachable!("a poller does not ack")
    }
    fn backlog(&self, _: &SinkName, _: &StreamId) -> Backlog {
        unreachable!("a poller does not ask for backlogs")
    }
    fn head(&self) -> watch::Receiver<Position> {
        self.1.subscribe()
    }
    fn stats(&self) -> Stats {
        Stats::default()
    }
    fn put_state<'a>(&'a self, key: &'a str, value: Vec<u8>) -> Answer<'a, ()> {
        self.books().state.insert(key.to_owned(), value);
        Box::pin(std::future::ready(Ok(())))
    }
    fn state(&self, key: &str) -> Option<Vec<u8>> {
        self.books().state.get(key).cloned()
    }
    fn close(&self) -> Answer<'_, ()> {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// What Miro answers next: a page of events at those seconds, or an error.
#[derive(Debug)]
enum Reply {
    Page(&'static [i64], Option<&'static str>),
    Error(MiroClass),
    /// The look at the clock is refused.
    NoLook(MiroClass),
}

/// A request as it came: window in seconds, cursor, limit, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Asked {
    window: (i64, i64),
    cursor: Option<String>,
    limit: u32,
    at_secs: u64,
}

#[derive(Debug)]
struct ScriptedMiro {
    replies: Mutex<VecDeque<Reply>>,
    asked: Mutex<Vec<Asked>>,
    began: tokio::time::Instant,
    stop: CancellationToken,
    /// What the server says that the time is, where it says so.
    clock_says: Option<Timestamp>,
}

fn secs(time: Timestamp) -> i64 {
    time.as_micros() / 1_000_000 - NOW_SECS
}

fn at(secs: i64) -> Timestamp {
    Timestamp::from_millis((NOW_SECS + secs) * 1_000)
}

impl Pages for ScriptedMiro {
    fn page<'a>(&'a self, request: PageRequest<'a>) -> BoxFuture<'a, Result<Page, MiroError>> {
        if request.limit == 1 {
            // The look at the clock, before a stream begins.
            let mut replies = self.replies.lock().expect("nobody panicked");
            if let Some(&Reply::NoLook(class)) = replies.front() {
                replies.pop_front();
                return Box::pin(std::future::ready(Err(MiroError::new(class, "scripted", "scripted trouble"))));
            }
            return Box::pin(std::future::ready(Ok(Page { server_time: self.clock_says, ..page(&[], None) })));
        }
        self.asked.lock().expect("nobody panicked").push(Asked {
            window: (secs(request.window.from()), secs(request.window.to())),
            cursor: request.cursor.map(|cursor| cursor.as_str().to_owned()),
            limit: request.limit,
            at_secs: self.began.elapsed().as_secs(),
        });
        let reply = self.replies.lock().expect("nobody panicked").pop_front();
        Box::pin(async move {
            match reply {
                Some(Reply::Page(times, next)) => Ok(page(times, next)),
                Some(Reply::Error(class) | Reply::NoLook(class)) => Err(MiroError::new(class, "scripted", "scripted trouble")),
                None => {
                    // The script is over; what would come next is not of interest.
                    self.stop.cancel();
                    std::future::pending().await
                }
            }
        })
    }
    fn token_expires_at(&self) -> Option<Timestamp> {
        None
    }
    fn ready_in(&self, _: Timestamp, _: Priority) -> Option<Duration> {
        None
    }
    fn quota(&self) -> QuotaReading {
        QuotaReading::default()
    }
}

fn page(times: &[i64], next: Option<&str>) -> Page {
    let event = |secs: &i64| RawEvent {
        id: EventId::new(format!("e{secs}")),
        time: Some(at(*secs)),
        raw: Bytes::from_static(b"{}"),
        decoded: Decoded::Whole,
    };
    Page { events: times.iter().map(event).collect(), next: next.map(Cursor::new), quota: QuotaReading::default(), server_time: None }
}

struct Outcome {
    asked: Vec<Asked>,
    journal: Arc<MemoryJournal>,
    health: Health,
    metrics: String,
}

impl Outcome {
    fn events(&self) -> Vec<String> {
        self.journal.books().events.iter().map(|(id, _)| id.clone()).collect()
    }

    fn ranges(&self) -> Vec<(i64, i64)> {
        self.journal
            .coverage(&stream())
            .expect("the stream has begun")
            .ranges()
            .iter()
            .map(|range| (secs(range.from()), secs(range.to())))
            .collect()
    }

    fn windows(&self) -> Vec<(i64, i64)> {
        self.asked.iter().map(|asked| asked.window).collect()
    }
}

fn stream() -> StreamId {
    StreamId::new(OrgName::new("acme"), StreamKind::Audit)
}

async fn play(journal: Arc<MemoryJournal>, start: Start, replies: Vec<Reply>) -> Outcome {
    play_on(journal, start, replies, Clock::starting_at(at(0)), None).await
}

async fn play_on(journal: Arc<MemoryJournal>, start: Start, replies: Vec<Reply>, clock: Clock, clock_says: Option<Timestamp>) -> Outcome {
    let stop = CancellationToken::new();
    let miro = Arc::new(ScriptedMiro {
        replies: Mutex::new(replies.into()),
        asked: Mutex::default(),
        began: tokio::time::Instant::now(),
        stop: stop.clone(),
        clock_says,
    });
    let (health, metrics) = (Health::new(), Metrics::new());
    let poller = Poller::new(PollerParts {
        stream: stream(),
        settings: StreamSettings {
            kind: StreamKind::Audit,
            auth: None,
            poll_interval: Duration::from_secs(300),
            start,
            overlap: Duration::from_secs(900),
            page_size: 500,
            reconcile: Vec::new(),
            retention: Duration::from_secs(90 * 86_400),
            heartbeat: None,
        },
        pages: miro.clone(),
        journal: journal.clone(),
        clock,
        metrics: metrics.clone(),
        health: health.clone(),
    });
    tokio::time::timeout(Duration::from_secs(86_400), poller.run(stop)).await.expect("the poller stops when it is told to");
    let asked = miro.asked.lock().expect("nobody panicked").clone();
    Outcome { asked, journal, health, metrics: metrics.render() }
}

#[tokio::test(start_paused = true)]
async fn each_poll_begins_an_overlap_before_the_watermark_and_sends_nothing_twice() {
    let replies = vec![Reply::Page(&[-3_000, -2_000], None), Reply::Page(&[-500, 100], None), Reply::Page(&[-500, 100, 400], None)];
    let outcome = play(MemoryJournal::new(), Start::Ago(Duration::from_secs(3_600)), replies).await;
    assert_eq!(outcome.windows(), [(-3_600, 0), (-900, 300), (-600, 600), (-300, 900)]);
    assert_eq!(outcome.events(), ["e-3000", "e-2000", "e-500", "e100", "e400"]);
    assert_eq!(outcome.ranges(), [(-3_600, 600)]);
    assert!(outcome.metrics.contains("miro_siem_events_duplicate_total{org=\"acme\",stream=\"audit\"} 2"), "{}", outcome.metrics);
    assert!(
        outcome.metrics.contains("miro_siem_events_late_total{org=\"acme\",stream=\"audit\"} 1"),
        "e-500 was not there at the first poll"
    );
}

#[tokio::test(start_paused = true)]
async fn a_stop_in_mid_window_resumes_where_the_pages_were_committed() {
    let journal = MemoryJournal::new();
    let first = play(
        journal.clone(),
        Start::Ago(Duration::from_secs(7_200)),
        vec![Reply::Page(&[-7_000, -5_000], Some("a")), Reply::Page(&[-4_000], Some("b"))],
    )
    .await;
    assert_eq!(first.ranges(), [(-7_200, -5_000)], "what the second page has proven");
    let second = play(journal, Start::Now, vec![Reply::Page(&[-4_000, -3_000], None)]).await;
    assert_eq!(second.windows()[0], (-5_900, 0), "an overlap before what was committed, not from the start");
    assert_eq!(second.events(), ["e-7000", "e-5000", "e-4000", "e-3000"]);
}

#[tokio::test(start_paused = true)]
async fn an_expired_cursor_restarts_the_window_from_what_is_committed() {
    let replies = vec![
        Reply::Page(&[-7_000, -5_000], Some("a")),
        Reply::Page(&[-4_000], Some("b")),
        Reply::Error(MiroClass::CursorRejected),
        Reply::Page(&[-5_000, -4_000, -100], None),
    ];
    let outcome = play(MemoryJournal::new(), Start::Ago(Duration::from_secs(7_200)), replies).await;
    assert_eq!(outcome.windows()[..4], [(-7_200, 0), (-7_200, 0), (-7_200, 0), (-5_900, 0)]);
    assert_eq!(outcome.events(), ["e-7000", "e-5000", "e-4000", "e-100"]);
    assert_eq!(outcome.ranges()[0], (-7_200, 0));
}

#[tokio::test(start_paused = true)]
async fn a_cursor_that_is_always_refused_does_not_loop_at_full_speed() {
    let mut replies = Vec::new();
    for _ in 0..12 {
        replies.push(Reply::Page(&[-7_000], Some("a")));
        replies.push(Reply::Error(MiroClass::CursorRejected));
    }
    let outcome = play(MemoryJournal::new(), Start::Ago(Duration::from_secs(7_200)), replies).await;
    let last = outcome.asked.last().expect("requests were made");
    assert!(last.at_secs >= 30, "the restarts take longer and longer: {} s for 12", last.at_secs);
    assert!(last.window.1 - last.window.0 < 7_200, "and the window is smaller: {:?}", last.window);
}

#[tokio::test(start_paused = true)]
async fn a_circle_of_cursors_is_noticed() {
    let replies = vec![
        Reply::Page(&[-7_000], Some("a")),
        Reply::Page(&[-6_000], Some("b")),
        Reply::Page(&[-7_000], Some("a")),
        Reply::Page(&[-6_000, -100], None),
    ];
    let outcome = play(MemoryJournal::new(), Start::Ago(Duration::from_secs(7_200)), replies).await;
    assert_eq!(outcome.asked[3].cursor, None, "the window begins anew");
    assert_eq!(outcome.events(), ["e-7000", "e-6000", "e-100"]);
}

#[tokio::test(start_paused = true)]
async fn a_throttle_waits_as_told_and_does_not_grow() {
    let throttled = || Reply::Error(MiroClass::Throttled(Some(Duration::from_secs(20))));
    let outcome = play(MemoryJournal::new(), Start::Now, vec![throttled(), throttled(), throttled(), Reply::Page(&[], None)]).await;
    let times: Vec<_> = outcome.asked.iter().take(4).map(|asked| asked.at_secs).collect();
    assert_eq!(times, [0, 20, 40, 60]);
    assert_eq!(outcome.health.streams().remove(&stream()).and_then(|row| row.fault), None);
}

#[tokio::test(start_paused = true)]
async fn a_throttle_says_why_nothing_is_collected() {
    let outcome = play(MemoryJournal::new(), Start::Now, vec![Reply::Error(MiroClass::Throttled(Some(Duration::from_secs(20))))]).await;
    let row = outcome.health.streams().remove(&stream()).expect("the stream is on the board");
    assert_eq!(row.fault.map(|fault| fault.class).as_deref(), Some("throttled"));
}

#[tokio::test(start_paused = true)]
async fn the_page_size_falls_back_once_and_stays() {
    let replies = vec![Reply::Error(MiroClass::PageSizeRejected), Reply::Page(&[-100], None), Reply::Page(&[], None)];
    let outcome = play(MemoryJournal::new(), Start::Ago(Duration::from_secs(600)), replies).await;
    let limits: Vec<_> = outcome.asked.iter().take(3).map(|asked| asked.limit).collect();
    assert_eq!(limits, [500, 100, 100]);
}

#[tokio::test(start_paused = true)]
async fn a_refused_token_pauses_the_stream_shows_it_and_is_tried_again() {
    let refused = play(
        MemoryJournal::new(),
        Start::Ago(Duration::from_secs(600)),
        vec![Reply::Error(MiroClass::Auth), Reply::Error(MiroClass::Auth)],
    )
    .await;
    let row = refused.health.streams().remove(&stream()).expect("the stream is on the board");
    assert_eq!(row.fault.map(|fault| fault.class).as_deref(), Some("auth"));
    assert!(refused.asked[1].at_secs >= 15, "a dead token is not hammered: {} s", refused.asked[1].at_secs);

    let mended =
        play(MemoryJournal::new(), Start::Ago(Duration::from_secs(600)), vec![Reply::Error(MiroClass::Auth), Reply::Page(&[-100], None)])
            .await;
    assert_eq!(mended.events(), ["e-100"]);
    assert_eq!(mended.health.streams().remove(&stream()).and_then(|row| row.fault), None);
}

#[tokio::test(start_paused = true)]
async fn a_stream_begins_when_it_was_first_asked_for_however_late_the_token_is_mended() {
    let replies = vec![Reply::NoLook(MiroClass::Auth), Reply::NoLook(MiroClass::Auth), Reply::Page(&[5], None)];
    let outcome = play(MemoryJournal::new(), Start::Now, replies).await;
    assert!(outcome.asked[0].at_secs >= 30, "the token was refused for a while: {} s", outcome.asked[0].at_secs);
    assert_eq!(outcome.windows()[0].0, 0, "and that while is collected too");
    assert_eq!(outcome.events(), ["e5"]);
}

#[tokio::test(start_paused = true)]
async fn a_full_journal_holds_the_page_until_there_is_room() {
    let journal = MemoryJournal::new();
    let full = || JournalError::Full { bytes: 2, bytes_max: 1 };
    let first = play(journal.clone(), Start::Ago(Duration::from_secs(600)), vec![]).await;
    assert_eq!(first.ranges(), [], "nothing is covered by a request without an answer");
    journal.books().refusals.extend([full(), full(), full()]);
    let outcome = play(journal, Start::Now, vec![Reply::Page(&[-100], None)]).await;
    assert_eq!(outcome.events(), ["e-100"], "the page was not fetched again and not lost");
}

#[tokio::test(start_paused = true)]
async fn what_was_there_before_collection_began_is_backfill() {
    let outcome =
        play(MemoryJournal::new(), Start::Ago(Duration::from_secs(600)), vec![Reply::Page(&[-100], None), Reply::Page(&[200], None)]).await;
    let origins: Vec<_> = outcome.journal.books().events.iter().map(|(_, origin)| *origin).collect();
    assert_eq!(origins, [Origin::Backfill, Origin::Live]);
}

#[tokio::test(start_paused = true)]
async fn nothing_new_to_ask_for_is_no_success_without_an_answer() {
    // The clock was set back by a day after the first poll: everything up to "now" is covered, and Miro is asked all the same.
    let journal = MemoryJournal::new();
    play(journal.clone(), Start::Ago(Duration::from_secs(3_600)), vec![Reply::Page(&[-100], None)]).await;
    let back = Clock::starting_at(at(-86_400));
    let outcome =
        play_on(journal, Start::Now, vec![Reply::Error(MiroClass::Retryable), Reply::Error(MiroClass::Retryable)], back, None).await;
    assert_eq!(outcome.windows()[0], (-900, 0), "the newest stretch is listed again");
    assert_eq!(outcome.health.streams().remove(&stream()).and_then(|row| row.last_success), None);
}

#[tokio::test(start_paused = true)]
async fn a_stream_begins_by_the_servers_clock() {
    let ahead = Clock::starting_at(at(86_400));
    let outcome = play_on(MemoryJournal::new(), Start::Now, vec![Reply::Page(&[], None)], ahead, Some(at(0))).await;
    let origin = outcome.journal.coverage(&stream()).map(|coverage| secs(coverage.origin()));
    assert_eq!(origin, Some(0), "not a day in the future");
}

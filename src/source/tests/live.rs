//! Live polling against a scripted Miro: what is asked when, and what becomes of each kind of answer. The other jobs never get one.

use std::{collections::VecDeque, sync::Mutex};

use super::*;

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

impl Pages for ScriptedMiro {
    fn page<'a>(&'a self, request: PageRequest<'a>) -> BoxFuture<'a, Result<Page, MiroError>> {
        if request.priority != Priority::Live {
            return Box::pin(std::future::pending());
        }
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
        self.journal.ranges()
    }

    fn windows(&self) -> Vec<(i64, i64)> {
        self.asked.iter().map(|asked| asked.window).collect()
    }

    fn row(&self) -> StreamHealth {
        self.health.streams().remove(&stream()).expect("the stream is on the board")
    }
}

/// A journal in which the stream began so many seconds ago, with nothing collected since.
fn begun(secs: i64) -> Arc<MemoryJournal> {
    let journal = MemoryJournal::new();
    journal.begin(at(-secs));
    journal
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
    let parts = parts(journal.clone(), miro.clone(), StreamSettings { start, ..settings() }, clock);
    let (health, metrics) = (parts.health.clone(), parts.metrics.clone());
    let collector = Collector::new(parts, stop);
    tokio::time::timeout(Duration::from_secs(86_400), collector.run()).await.expect("the collector stops when it is told to");
    let asked = miro.asked.lock().expect("nobody panicked").clone();
    Outcome { asked, journal, health, metrics: metrics.render() }
}

#[tokio::test(start_paused = true)]
async fn each_poll_begins_an_overlap_before_the_watermark_and_sends_nothing_twice() {
    let replies = vec![Reply::Page(&[-3_000, -2_000], None), Reply::Page(&[-500, 100], None), Reply::Page(&[-500, 100, 400], None)];
    let outcome = play(begun(3_600), Start::Now, replies).await;
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
    let journal = begun(3_600);
    let first = play(journal.clone(), Start::Now, vec![Reply::Page(&[-3_400, -2_500], Some("a")), Reply::Page(&[-2_000], Some("b"))]).await;
    assert_eq!(first.ranges(), [(-3_600, -2_500)], "what the second page has proven");
    let second = play(journal, Start::Now, vec![Reply::Page(&[-2_000, -1_500], None)]).await;
    assert_eq!(second.windows()[0], (-3_400, 0), "an overlap before what was committed, not from the start");
    assert_eq!(second.events(), ["e-3400", "e-2500", "e-2000", "e-1500"]);
}

#[tokio::test(start_paused = true)]
async fn an_expired_cursor_restarts_the_window_from_what_is_committed() {
    let replies = vec![
        Reply::Page(&[-3_400, -2_500], Some("a")),
        Reply::Page(&[-2_000], Some("b")),
        Reply::Error(MiroClass::CursorRejected),
        Reply::Page(&[-2_500, -2_000, -100], None),
    ];
    let outcome = play(begun(3_600), Start::Now, replies).await;
    assert_eq!(outcome.windows()[..4], [(-3_600, 0), (-3_600, 0), (-3_600, 0), (-3_400, 0)]);
    assert_eq!(outcome.events(), ["e-3400", "e-2500", "e-2000", "e-100"]);
    assert_eq!(outcome.ranges()[0], (-3_600, 0));
}

#[tokio::test(start_paused = true)]
async fn a_cursor_that_is_always_refused_does_not_loop_at_full_speed() {
    let mut replies = Vec::new();
    for _ in 0..12 {
        replies.push(Reply::Page(&[-3_400], Some("a")));
        replies.push(Reply::Error(MiroClass::CursorRejected));
    }
    let outcome = play(begun(3_600), Start::Now, replies).await;
    let last = outcome.asked.last().expect("requests were made");
    assert!(last.at_secs >= 30, "the restarts take longer and longer: {} s for 12", last.at_secs);
    assert!(last.window.1 - last.window.0 < 3_600, "and the window is smaller: {:?}", last.window);
}

#[tokio::test(start_paused = true)]
async fn a_circle_of_cursors_is_noticed() {
    let replies = vec![
        Reply::Page(&[-3_400], Some("a")),
        Reply::Page(&[-3_000], Some("b")),
        Reply::Page(&[-3_400], Some("a")),
        Reply::Page(&[-3_000, -100], None),
    ];
    let outcome = play(begun(3_600), Start::Now, replies).await;
    assert_eq!(outcome.asked[3].cursor, None, "the window begins anew");
    assert_eq!(outcome.events(), ["e-3400", "e-3000", "e-100"]);
}

#[tokio::test(start_paused = true)]
async fn a_throttle_waits_as_told_and_does_not_grow() {
    let throttled = || Reply::Error(MiroClass::Throttled(Some(Duration::from_secs(20))));
    let outcome = play(MemoryJournal::new(), Start::Now, vec![throttled(), throttled(), throttled(), Reply::Page(&[], None)]).await;
    let times: Vec<_> = outcome.asked.iter().take(4).map(|asked| asked.at_secs).collect();
    assert_eq!(times, [0, 20, 40, 60]);
    assert_eq!(outcome.row().fault, None);
}

#[tokio::test(start_paused = true)]
async fn a_throttle_says_why_nothing_is_collected() {
    let outcome = play(MemoryJournal::new(), Start::Now, vec![Reply::Error(MiroClass::Throttled(Some(Duration::from_secs(20))))]).await;
    assert_eq!(outcome.row().fault.map(|fault| fault.class).as_deref(), Some("throttled"));
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
    assert_eq!(refused.row().fault.map(|fault| fault.class).as_deref(), Some("auth"));
    assert!(refused.asked[1].at_secs >= 15, "a dead token is not hammered: {} s", refused.asked[1].at_secs);

    let mended =
        play(MemoryJournal::new(), Start::Ago(Duration::from_secs(600)), vec![Reply::Error(MiroClass::Auth), Reply::Page(&[-100], None)])
            .await;
    assert_eq!(mended.events(), ["e-100"]);
    assert_eq!(mended.row().fault, None);
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
    let journal = begun(3_600);
    play(journal.clone(), Start::Now, vec![Reply::Page(&[-100], None)]).await;
    let back = Clock::starting_at(at(-86_400));
    let outcome =
        play_on(journal, Start::Now, vec![Reply::Error(MiroClass::Retryable), Reply::Error(MiroClass::Retryable)], back, None).await;
    assert_eq!(outcome.windows()[0], (-900, 0), "the newest stretch is listed again");
    assert_eq!(outcome.row().last_success, None);
}

#[tokio::test(start_paused = true)]
async fn a_stream_begins_by_the_servers_clock() {
    let ahead = Clock::starting_at(at(86_400));
    let outcome = play_on(MemoryJournal::new(), Start::Now, vec![Reply::Page(&[], None)], ahead, Some(at(0))).await;
    let origin = outcome.journal.coverage(&stream()).map(|coverage| secs(coverage.origin()));
    assert_eq!(origin, Some(0), "not a day in the future");
}

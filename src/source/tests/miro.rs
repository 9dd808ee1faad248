//! A Miro that has events, each visible from some moment on, and that fails when it is told to.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;

/// An event in seconds from the test's begin.
#[derive(Clone, Copy, Debug)]
pub(super) struct Listed {
    pub(super) at_secs: i64,
    pub(super) visible_secs: i64,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) window: (i64, i64),
    pub(super) priority: Priority,
    /// Since the test's begin.
    pub(super) at: Duration,
    pub(super) is_first_page: bool,
}

/// Decides about a request, by its number: a failure, or none.
pub(super) type Faults = Box<dyn Fn(&PageRequest<'_>, u64) -> Option<MiroClass> + Send + Sync>;

pub(super) struct TestMiro {
    events: Mutex<Vec<Listed>>,
    clock: Clock,
    began: tokio::time::Instant,
    pub(super) latency: Box<dyn Fn(u64) -> Duration + Send + Sync>,
    pub(super) faults: Faults,
    pub(super) asked: Mutex<Vec<Asked>>,
    requests: AtomicU64,
    pub(super) under_way: AtomicU64,
    pub(super) most_under_way: AtomicU64,
}

impl std::fmt::Debug for TestMiro {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TestMiro")
    }
}

/// Visible at once.
pub(super) fn prompt(at_secs: i64) -> Listed {
    Listed { at_secs, visible_secs: at_secs }
}

impl TestMiro {
    /// Answers in 300 ms and never fails.
    pub(super) fn new(mut events: Vec<Listed>) -> Self {
        events.sort_by_key(|event| event.at_secs);
        Self {
            events: Mutex::new(events),
            clock: Clock::starting_at(at(0)),
            began: tokio::time::Instant::now(),
            latency: Box::new(|_| Duration::from_millis(300)),
            faults: Box::new(|_, _| None),
            asked: Mutex::default(),
            requests: AtomicU64::new(0),
            under_way: AtomicU64::new(0),
            most_under_way: AtomicU64::new(0),
        }
    }

    pub(super) fn clock(&self) -> Clock {
        self.clock.clone()
    }

    pub(super) fn asked(&self, priority: Priority) -> Vec<Asked> {
        self.asked.lock().expect("nobody panicked").iter().filter(|asked| asked.priority == priority).cloned().collect()
    }

    /// The ids that are visible by now.
    pub(super) fn visible_ids(&self) -> Vec<String> {
        let now = secs(self.clock.now());
        let events = self.events.lock().expect("nobody panicked");
        events
            .iter()
            .enumerate()
            .filter(|(_, event)| event.visible_secs <= now && event.at_secs <= now)
            .map(|(number, event)| id(number, event))
            .collect()
    }

    /// The page as it is now: both ends of the window belong to it.
    fn list(&self, request: &PageRequest<'_>) -> Page {
        let now = secs(self.clock.now());
        let after = request.cursor.map_or(-1, |cursor| cursor.as_str().parse::<i64>().expect("a cursor of ours"));
        let events = self.events.lock().expect("nobody panicked");
        let inside = |event: &Listed| at(event.at_secs) >= request.window.from() && at(event.at_secs) <= request.window.to();
        let mut listed: Vec<_> = (0_i64..)
            .zip(events.iter())
            .filter(|(number, event)| *number > after && inside(event) && event.visible_secs <= now && event.at_secs <= now)
            .take(request.limit as usize + 1)
            .collect();
        let has_more = listed.len() > request.limit as usize;
        listed.truncate(request.limit as usize);
        let next = listed.last().filter(|_| has_more).map(|(number, _)| Cursor::new(&number.to_string()));
        let event = |(number, event): &(i64, &Listed)| RawEvent {
            id: EventId::new(id(*number as usize, event)),
            time: Some(at(event.at_secs)),
            raw: Bytes::from_static(b"{}"),
            decoded: Decoded::Whole,
        };
        Page { events: listed.iter().map(event).collect(), next, quota: QuotaReading::default(), server_time: Some(self.clock.now()) }
    }
}

fn id(number: usize, event: &Listed) -> String {
    format!("{number}@{}", event.at_secs)
}

struct UnderWay<'m>(&'m TestMiro);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Pages for TestMiro {
    fn page<'a>(&'a self, request: PageRequest<'a>) -> BoxFuture<'a, Result<Page, MiroError>> {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        if request.limit > 1 {
            self.asked.lock().expect("nobody panicked").push(Asked {
                window: (secs(request.window.from()), secs(request.window.to())),
                priority: request.priority,
                at: self.began.elapsed(),
                is_first_page: request.cursor.is_none(),
            });
        }
        let under_way = self.under_way.fetch_add(1, Ordering::Relaxed) + 1;
        self.most_under_way.fetch_max(under_way, Ordering::Relaxed);
        let guard = UnderWay(self);
        Box::pin(async move {
            tokio::time::sleep((self.latency)(number)).await;
            drop(guard);
            match (self.faults)(&request, number) {
                Some(class) => Err(MiroError::new(class, "made", "made by the test")),
                None => Ok(self.list(&request)),
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

/// A collector's world: it can be run for a while, stopped or killed, and run again.
pub(super) struct World {
    pub(super) miro: Arc<TestMiro>,
    pub(super) journal: Arc<MemoryJournal>,
    pub(super) settings: StreamSettings,
    pub(super) health: Health,
    pub(super) metrics: Metrics,
}

impl World {
    pub(super) fn new(miro: TestMiro, settings: StreamSettings) -> Self {
        Self { miro: Arc::new(miro), journal: MemoryJournal::new(), settings, health: Health::new(), metrics: Metrics::new() }
    }

    pub(super) fn requests(&self) -> BackfillRequests {
        BackfillRequests::load(stream(), self.settings.retention, self.journal.clone(), self.miro.clock())
    }

    fn collector(&self, requests: BackfillRequests, stop: CancellationToken) -> Collector {
        let parts = parts(self.journal.clone(), self.miro.clone(), self.settings.clone(), self.miro.clock());
        let parts = CollectorParts { requests, health: self.health.clone(), metrics: self.metrics.clone(), ..parts };
        Collector::new(parts, stop)
    }

    /// Runs a collector for that long and stops it.
    pub(super) async fn run(&self, time: Duration) {
        self.run_with(self.requests(), time).await;
    }

    pub(super) async fn run_with(&self, requests: BackfillRequests, time: Duration) {
        let stop = CancellationToken::new();
        let collector = self.collector(requests, stop.clone());
        let stopping = async {
            tokio::time::sleep(time).await;
            stop.cancel();
        };
        let (ended, ()) = tokio::join!(tokio::time::timeout(time + Duration::from_secs(3_600), collector.run()), stopping);
        ended.expect("the collector stops when it is told to");
    }

    /// Runs a collector for that long and drops it wherever it is.
    pub(super) async fn run_and_kill(&self, time: Duration) {
        let _ = tokio::time::timeout(time, self.collector(self.requests(), CancellationToken::new()).run()).await;
    }

    pub(super) fn row(&self) -> StreamHealth {
        self.health.streams().remove(&stream()).expect("the stream is on the board")
    }

    pub(super) fn events(&self) -> Vec<(String, Origin)> {
        self.journal.books().events.clone()
    }

    /// Everything that is visible was committed, and once.
    #[track_caller]
    pub(super) fn assert_complete(&self) {
        let mut committed: Vec<_> = self.events().into_iter().map(|(id, _)| id).collect();
        committed.sort();
        let mut visible = self.miro.visible_ids();
        visible.sort();
        let missing: Vec<_> = visible.iter().filter(|id| committed.binary_search(id).is_err()).collect();
        assert!(missing.is_empty(), "{} of {} are missing: {:?}", missing.len(), visible.len(), &missing[..missing.len().min(10)]);
        assert_eq!(committed, visible, "each once");
    }
}

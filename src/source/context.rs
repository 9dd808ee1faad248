//! What the jobs of one stream share: Miro, the journal, the clock as the server has it, the counters, the board.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::{BackfillRequests, SPAN_MAX};
use crate::{
    clock::Clock,
    config::settings::StreamSettings,
    coverage::Coverage,
    event::{Decoded, Origin, RawEvent, StreamId, Timestamp},
    health::{Fault, Health, StreamHealth, StreamPhase},
    journal::{Commit, Committed, CoverageChange, Journal, JournalError},
    metrics::{self, Metrics},
    miro::{Cursor, MiroError, Page, PageRequest, Pages, Priority},
    source::Plan,
};

/// How often a journal at its limit is asked again.
const FULL_WAIT: Duration = Duration::from_secs(1);
/// How often a journal that failed is asked again.
const JOURNAL_RETRY: Duration = Duration::from_secs(5);
/// The page size that every tenant takes.
const PAGE_SIZE_SAFE: u32 = 100;
/// A clock that is further off than this is worth a warning.
const CLOCK_SKEW_WARN: Duration = Duration::from_secs(60);
/// Ids are kept for this much longer than is needed by arithmetic, so that a clock step does not send anything twice.
const IDS_MARGIN: Duration = Duration::from_secs(3_600);

/// What a collector needs.
#[derive(Clone, Debug)]
pub struct CollectorParts {
    /// The stream.
    pub stream: StreamId,
    /// Its settings.
    pub settings: StreamSettings,
    /// Miro.
    pub pages: Arc<dyn Pages>,
    /// Where pages become durable.
    pub journal: Arc<dyn Journal>,
    /// What time it is.
    pub clock: Clock,
    /// Where it counts.
    pub metrics: Metrics,
    /// Where it says how it is doing.
    pub health: Health,
    /// Ranges that were asked for beside what the settings say.
    pub requests: BackfillRequests,
}

/// The collector was asked to stop.
#[derive(Debug)]
pub(super) struct Stopped;

/// What a window brought.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) pages: u64,
    /// Events that were listed, new or not.
    pub(super) listed: u64,
    pub(super) events: u64,
    pub(super) duplicates: u64,
    pub(super) late: u64,
    pub(super) undecodable: u64,
}

/// What the jobs share.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) parts: CollectorParts,
    pub(super) stop: CancellationToken,
    /// Told when there may be something to do for backfill.
    pub(super) backfill_news: Notify,
    counters: Counters,
    page_size: AtomicU32,
    /// How far the server's clock is ahead of ours (or behind, if negative), in microseconds.
    server_ahead_micros: AtomicI64,
    shared: Mutex<Shared>,
}

#[derive(Debug)]
struct Counters {
    collected: ::metrics::Counter,
    duplicate: ::metrics::Counter,
    late: ::metrics::Counter,
    undecodable: ::metrics::Counter,
    lateness: ::metrics::Histogram,
    last_success: ::metrics::Gauge,
}

#[derive(Debug)]
struct Shared {
    live_phase: StreamPhase,
    /// What keeps the other jobs from working, where it keeps everything from working.
    held_by: Option<StreamPhase>,
    /// What live polling takes care of begins here.
    live_front: Timestamp,
    /// The oldest instant that a later listing may still show.
    passes_from: Timestamp,
    /// From when on ids are known.
    ids_from: Timestamp,
}

impl Counters {
    fn new(metrics: &Metrics, stream: &StreamId) -> Self {
        let counters = Self {
            collected: metrics.stream_counter(metrics::EVENTS_COLLECTED, stream),
            duplicate: metrics.stream_counter(metrics::EVENTS_DUPLICATE, stream),
            late: metrics.stream_counter(metrics::EVENTS_LATE, stream),
            undecodable: metrics.stream_counter(metrics::EVENTS_UNDECODABLE, stream),
            lateness: metrics.stream_histogram(metrics::EVENT_LATENESS, stream),
            last_success: metrics.stream_gauge(metrics::LAST_SUCCESS, stream),
        };
        // What has not happened yet is a zero, not an absent series: alerts need it.
        for counter in [&counters.collected, &counters.duplicate, &counters.late, &counters.undecodable] {
            counter.increment(0);
        }
        counters
    }
}

impl Context {
    pub(super) fn new(parts: CollectorParts, stop: CancellationToken) -> Self {
        let counters = Counters::new(&parts.metrics, &parts.stream);
        let (long_ago, never) = (Timestamp::from_micros(i64::MIN), Timestamp::from_micros(i64::MAX));
        let shared =
            Shared { live_phase: StreamPhase::Starting, held_by: None, live_front: long_ago, passes_from: never, ids_from: long_ago };
        Self {
            stop,
            backfill_news: Notify::new(),
            counters,
            page_size: AtomicU32::new(parts.settings.page_size),
            server_ahead_micros: AtomicI64::new(0),
            shared: Mutex::new(shared),
            parts,
        }
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        // Every field stands for itself: a panic of another holder has left nothing half done.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn stream(&self) -> &StreamId {
        &self.parts.stream
    }

    /// Now, by the server's clock as far as it is known: events carry its time.
    pub(super) fn server_now(&self) -> Timestamp {
        self.by_server(self.parts.clock.now())
    }

    /// What the server's clock showed when ours showed that.
    pub(super) fn by_server(&self, ours: Timestamp) -> Timestamp {
        Timestamp::from_micros(ours.as_micros().saturating_add(self.server_ahead_micros.load(Ordering::Relaxed)))
    }

    pub(super) fn learn_clock(&self, page: &Page) {
        let Some(server) = page.server_time else { return };
        self.board(|row| row.server_clock = Some((server, tokio::time::Instant::now())));
        let ahead = server.as_micros() - self.parts.clock.now().as_micros();
        let off = Duration::from_micros(ahead.unsigned_abs());
        let known = self.server_ahead_micros.load(Ordering::Relaxed);
        if off > CLOCK_SKEW_WARN && Duration::from_micros(known.unsigned_abs()) <= CLOCK_SKEW_WARN {
            warn!(stream = %self.stream(), off_secs = ahead / 1_000_000, "this machine's clock differs from the server's; windows follow the server's, set the clock right");
        }
        // The Date header is cut to whole seconds: smaller differences are no differences.
        self.server_ahead_micros.store(if off > Duration::from_secs(2) { ahead } else { 0 }, Ordering::Relaxed);
    }

    /// The oldest instant that Miro can still be asked for.
    pub(super) fn cliff(&self) -> Timestamp {
        self.server_now().minus(self.parts.settings.retention)
    }

    /// The stream's coverage; the stream has begun before any job does.
    pub(super) fn coverage(&self) -> Coverage {
        self.parts.journal.coverage(self.stream()).unwrap_or_else(|| Coverage::starting_at(self.server_now()))
    }

    /// Asks for a page.
    pub(super) async fn ask(&self, plan: Plan, cursor: Option<&Cursor>, priority: Priority) -> Result<Result<Page, MiroError>, Stopped> {
        let request = PageRequest { window: plan.window, cursor, limit: self.page_size(), priority };
        tokio::select! {
            answer = self.parts.pages.page(request) => Ok(answer.inspect(|page| self.learn_clock(page))),
            () = self.stop.cancelled() => Err(Stopped),
        }
    }

    pub(super) fn page_size(&self) -> u32 {
        self.page_size.load(Ordering::Relaxed)
    }

    /// Falls back to a page size that Miro takes; says whether there is a smaller one than was refused.
    pub(super) fn shrink_page_size(&self, refused: u32) -> bool {
        let smaller = if refused > PAGE_SIZE_SAFE { PAGE_SIZE_SAFE } else { refused / 2 };
        if smaller > 0 && self.page_size.fetch_min(smaller, Ordering::Relaxed) > smaller {
            warn!(stream = %self.stream(), page_size = refused, fallback = smaller, "page size refused");
        }
        smaller > 0
    }

    /// Makes a page durable, however long it takes: the page is kept in memory until the journal has taken it. Counts it.
    pub(super) async fn commit(
        &self,
        events: Vec<(RawEvent, Origin)>,
        coverage: CoverageChange,
        tally: &mut Tally,
    ) -> Result<Committed, Stopped> {
        let collected_at = self.parts.clock.now();
        loop {
            // Cloning shares the bytes.
            let commit = Commit { stream: self.stream().clone(), collected_at, events: events.clone(), coverage };
            // Not in a select: a write that has begun runs to its end, and its result is needed.
            match self.parts.journal.commit(commit).await {
                Ok(committed) => {
                    self.journal_works();
                    self.count(&events, &committed, self.by_server(collected_at), tally);
                    return Ok(committed);
                }
                Err(error) => self.endure_journal(&error).await?,
            }
        }
    }

    fn count(&self, events: &[(RawEvent, Origin)], committed: &Committed, collected_at: Timestamp, tally: &mut Tally) {
        let fresh = || events.iter().zip(&committed.fresh).filter(|(_, fresh)| **fresh).map(|(event, _)| event);
        let late = fresh().filter(|(_, origin)| *origin == Origin::Late);
        for (event, _) in late.clone() {
            if let Some(time) = event.time {
                self.counters.lateness.record(collected_at.since(time).as_secs_f64());
            }
        }
        let late = late.count() as u64;
        let undecodable = fresh().filter(|(event, _)| event.decoded == Decoded::Undecodable).count() as u64;
        let new = fresh().count() as u64;
        let duplicates = events.len() as u64 - new;
        self.counters.collected.increment(new);
        self.counters.late.increment(late);
        self.counters.undecodable.increment(undecodable);
        self.count_duplicates(duplicates, tally);
        tally.events += new;
        tally.late += late;
        tally.undecodable += undecodable;
        self.parts.requests.collected(fresh().filter_map(|(event, _)| event.time));
        self.board(|row| row.events_collected += new);
        debug!(stream = %self.stream(), events = new, duplicates, late, undecodable, "page committed");
    }

    pub(super) fn count_duplicates(&self, duplicates: u64, tally: &mut Tally) {
        self.counters.duplicate.increment(duplicates);
        tally.duplicates += duplicates;
    }

    /// Waits after an error of the journal. What holds up one page holds up all of them.
    pub(super) async fn endure_journal(&self, error: &JournalError) -> Result<(), Stopped> {
        let (phase, wait) = match error {
            JournalError::Full { .. } => (StreamPhase::JournalFull, FULL_WAIT),
            JournalError::Closed => return Err(Stopped),
            _ => (StreamPhase::BackingOff, JOURNAL_RETRY),
        };
        self.blame("journal", error.to_string());
        self.held(phase);
        self.sleep(wait).await
    }

    fn journal_works(&self) {
        self.freed(StreamPhase::JournalFull);
        self.freed(StreamPhase::BackingOff);
    }

    pub(super) async fn sleep(&self, wait: Duration) -> Result<(), Stopped> {
        tokio::select! {
            () = tokio::time::sleep(wait) => Ok(()),
            () = self.stop.cancelled() => Err(Stopped),
        }
    }

    /// A live window is finished: the stream makes progress.
    pub(super) fn succeeded(&self) {
        let now = self.parts.clock.now();
        self.counters.last_success.set(now.as_secs_f64());
        let expires_at = self.parts.pages.token_expires_at();
        if let Some(expires_at) = expires_at {
            self.parts.metrics.stream_gauge(metrics::TOKEN_EXPIRY, self.stream()).set(expires_at.as_secs_f64());
        }
        self.board(|row| {
            row.last_success = Some(now);
            row.fault = None;
            row.token_expires_at = expires_at;
        });
    }

    pub(super) fn board(&self, change: impl FnOnce(&mut StreamHealth)) {
        self.parts.health.stream(self.stream(), change);
    }

    /// What live polling is doing; it is what the stream is doing, unless something holds up everything.
    pub(super) fn phase(&self, phase: StreamPhase) {
        self.shared().live_phase = phase;
        self.show_phase();
    }

    /// Something holds up the other jobs as well.
    pub(super) fn held(&self, by: StreamPhase) {
        self.shared().held_by = Some(by);
        self.show_phase();
    }

    /// It does so no longer.
    pub(super) fn freed(&self, from: StreamPhase) {
        let was_held = self.shared().held_by.take_if(|by| *by == from).is_some();
        if was_held {
            self.show_phase();
        }
    }

    /// The stream is not collected any more.
    pub(super) fn ended(&self) {
        self.shared().held_by = None;
        self.phase(StreamPhase::Stopped);
    }

    fn show_phase(&self) {
        let phase = {
            let shared = self.shared();
            // A person is needed, whoever has found out.
            if shared.live_phase == StreamPhase::Paused { StreamPhase::Paused } else { shared.held_by.unwrap_or(shared.live_phase) }
        };
        self.board(|row| row.phase = phase);
    }

    pub(super) fn fault(&self, class: &str, message: String) -> Fault {
        Fault { at: self.parts.clock.now(), class: class.to_owned(), message }
    }

    /// Puts a fault on the board.
    pub(super) fn note(&self, class: &str, message: String) {
        let fault = self.fault(class, message);
        self.board(|row| row.fault = Some(fault));
    }

    /// The same for a fault that mends itself, with a line in the log the first time.
    pub(super) fn blame(&self, class: &str, message: String) {
        if !self.is_noted(&message) {
            warn!(stream = %self.stream(), error = %message, "collection is held up");
        }
        self.note(class, message);
    }

    /// The same for a fault that needs a person.
    pub(super) fn blame_person(&self, fault: &MiroError) {
        let message = fault.to_string();
        if !self.is_noted(&message) {
            tracing::error!(stream = %self.stream(), error = %message, "stream is paused");
        }
        self.note(fault.class().as_str(), message);
    }

    fn is_noted(&self, message: &str) -> bool {
        let mut noted = false;
        self.board(|row| noted = row.fault.as_ref().is_some_and(|fault| fault.message == message));
        noted
    }

    pub(super) fn stored_time(&self, key: &str) -> Option<Timestamp> {
        let micros = <[u8; 8]>::try_from(self.parts.journal.state(key)?).ok()?;
        Some(Timestamp::from_micros(i64::from_be_bytes(micros)))
    }

    /// Makes a small value durable, however long it takes.
    pub(super) async fn store(&self, key: &str, value: Vec<u8>) -> Result<(), Stopped> {
        loop {
            match self.parts.journal.put_state(key, value.clone()).await {
                Ok(()) => {
                    self.journal_works();
                    return Ok(());
                }
                Err(error) => self.endure_journal(&error).await?,
            }
        }
    }

    pub(super) async fn store_time(&self, key: &str, time: Timestamp) -> Result<(), Stopped> {
        self.store(key, time.as_micros().to_be_bytes().to_vec()).await
    }

    pub(super) fn live_since_key(&self) -> String {
        format!("source/live-since/{}", self.stream())
    }

    /// When the stream began; events before it are history.
    pub(super) fn live_since(&self) -> Timestamp {
        self.stored_time(&self.live_since_key()).unwrap_or(Timestamp::from_micros(i64::MIN))
    }

    /// What live polling takes care of begins there; what is missing before it is for backfill.
    pub(super) fn live_front(&self) -> Timestamp {
        self.shared().live_front
    }

    pub(super) fn set_live_front(&self, front: Timestamp) {
        self.shared().live_front = front;
        self.backfill_news.notify_one();
    }

    pub(super) fn set_passes_from(&self, from: Timestamp) {
        self.shared().passes_from = from;
    }

    /// From when on the ids of covered time are known.
    pub(super) fn ids_from(&self) -> Timestamp {
        self.shared().ids_from
    }

    /// Tells the journal which ids are still needed: those of all time that any job may list again, and of a window before it, because a
    /// listing that goes in circles shows a whole window again.
    pub(super) fn settle_ids(&self) {
        let (coverage, cliff) = (self.coverage(), self.cliff());
        let behind = |time: Timestamp| time.minus(SPAN_MAX).minus(IDS_MARGIN);
        let missing = |from: Timestamp, to: Timestamp| {
            let range = crate::event::TimeRange::new(from, to)?;
            coverage.missing(range).first().map(|missing| missing.from())
        };
        let needed = {
            let mut shared = self.shared();
            let live_from = shared.live_front.minus(self.parts.settings.overlap);
            let from = live_from.min(shared.passes_from).min(missing(coverage.origin().max(cliff), shared.live_front).unwrap_or(live_from));
            shared.ids_from = shared.ids_from.max(behind(from));
            let requested = self.parts.requests.wanted().into_iter().filter_map(|range| missing(range.from().max(cliff), range.to()));
            requested.fold(behind(from), |needed, missing| needed.min(behind(missing)))
        };
        self.parts.journal.keep_ids(self.stream(), needed);
    }
}

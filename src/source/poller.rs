//! The loop of one stream: plan a window, walk it, commit each page, wait. It owns every wait; what it calls neither sleeps nor retries.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::{
    clock::Clock,
    config::settings::StreamSettings,
    coverage::Coverage,
    event::{Decoded, Origin, StreamId, TimeRange, Timestamp},
    health::{Fault, Health, StreamPhase},
    journal::{Commit, Committed, CoverageChange, Journal, JournalError},
    metrics::{self, Metrics},
    miro::{MiroClass, MiroError, Page, PageRequest, Pages, Priority},
    retry::Backoff,
    source::{
        Planner,
        walk::{Next, Step, Walk},
    },
};

/// First and last ceiling of the wait after an error at Miro or in the journal.
const RETRY_INITIAL: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(300);
/// First and last ceiling while a person is needed: a mended token is noticed soon, and a dead one is not hammered.
const PAUSE_INITIAL: Duration = Duration::from_secs(30);
const PAUSE_MAX: Duration = Duration::from_secs(300);
/// How long a wait that Miro dictates may be; its quota is counted by the minute.
const THROTTLE_MAX: Duration = Duration::from_secs(900);
/// The wait for a throttle that names none: Miro's quota refills within a minute.
const THROTTLE_UNNAMED: Duration = Duration::from_secs(61);
/// How often a journal at its limit is asked again.
const FULL_WAIT: Duration = Duration::from_secs(1);
/// How much a stream lists before it begins, to learn the server's time.
const FIRST_LOOK: Duration = Duration::from_secs(60);
/// Failures in a row at one page after which its cursor is given up: it may have expired without saying so.
const FAILURES_PER_CURSOR_MAX: u32 = 5;
/// The page size that every tenant takes.
const PAGE_SIZE_SAFE: u32 = 100;
/// A start that is moved by less than this is as near to the configured 90 days as can be.
const START_MOVED_WARN: Duration = Duration::from_secs(3_600);
/// A clock that is further off than this is worth a warning.
const CLOCK_SKEW_WARN: Duration = Duration::from_secs(60);

/// What a poller needs.
#[derive(Debug)]
pub struct PollerParts {
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
}

/// Collects one stream until it is stopped.
#[derive(Debug)]
pub struct Poller {
    parts: PollerParts,
    planner: Planner,
    counters: Counters,
    page_size: u32,
    retry: Backoff,
    pause: Backoff,
    /// The wait before a window begins anew; it outlives the pages that succeed in between.
    anew: Backoff,
    /// Windows in a row that had to begin anew without having got any further.
    fruitless_restarts: u32,
    /// How far the server's clock is ahead of ours (or behind, if negative), in microseconds.
    server_ahead_micros: i64,
}

#[derive(Debug)]
struct Counters {
    collected: ::metrics::Counter,
    duplicate: ::metrics::Counter,
    late: ::metrics::Counter,
    undecodable: ::metrics::Counter,
    last_success: ::metrics::Gauge,
}

/// What a finished window brought.
#[derive(Debug, Default)]
struct Tally {
    pages: u64,
    events: u64,
    duplicates: u64,
    late: u64,
    undecodable: u64,
}

/// The poller was asked to stop.
#[derive(Debug)]
struct Stopped;

/// How a walk ended.
#[derive(Debug)]
enum Walked {
    Done(Tally),
    Restart,
}

impl Poller {
    /// A poller that has not begun.
    pub fn new(parts: PollerParts) -> Self {
        let counters = Counters {
            collected: parts.metrics.stream_counter(metrics::EVENTS_COLLECTED, &parts.stream),
            duplicate: parts.metrics.stream_counter(metrics::EVENTS_DUPLICATE, &parts.stream),
            late: parts.metrics.stream_counter(metrics::EVENTS_LATE, &parts.stream),
            undecodable: parts.metrics.stream_counter(metrics::EVENTS_UNDECODABLE, &parts.stream),
            last_success: parts.metrics.stream_gauge(metrics::LAST_SUCCESS, &parts.stream),
        };
        // What has not happened yet is a zero, not an absent series: alerts need it.
        for counter in [&counters.collected, &counters.duplicate, &counters.late, &counters.undecodable] {
            counter.increment(0);
        }
        Self {
            planner: Planner::new(&parts.settings),
            counters,
            page_size: parts.settings.page_size,
            retry: Backoff::new(RETRY_INITIAL, RETRY_MAX),
            pause: Backoff::new(PAUSE_INITIAL, PAUSE_MAX),
            anew: Backoff::new(RETRY_INITIAL, RETRY_MAX),
            fruitless_restarts: 0,
            server_ahead_micros: 0,
            parts,
        }
    }

    /// Collects until `stop` is cancelled. What has been committed by then is kept, nothing else is.
    pub async fn run(mut self, stop: CancellationToken) {
        let (interval, now) = (self.parts.settings.poll_interval, self.parts.clock.now());
        self.parts.health.stream(&self.parts.stream, |row| {
            row.poll_interval = interval;
            // A restarted task does not begin anew: how long nothing has succeeded counts on.
            row.started_at.get_or_insert(now);
        });
        loop {
            let next = tokio::time::Instant::now() + interval;
            if self.poll(&stop).await.is_err() {
                break;
            }
            self.phase(StreamPhase::Waiting);
            tokio::select! {
                () = tokio::time::sleep_until(next) => {}
                () = stop.cancelled() => break,
            }
        }
        self.phase(StreamPhase::Stopped);
    }

    /// Fetches windows until everything up to now is collected. At least one is fetched: without an answer there is no success.
    async fn poll(&mut self, stop: &CancellationToken) -> Result<(), Stopped> {
        loop {
            if stop.is_cancelled() {
                return Err(Stopped);
            }
            let coverage = self.begin(stop).await?;
            let plan = self.planner.next(&coverage, self.server_now());
            self.phase(StreamPhase::Polling);
            let mut walk = Walk::new(plan, coverage, self.live_since());
            match self.walk(&mut walk, stop).await? {
                Walked::Done(tally) => {
                    self.finished(&walk, &tally);
                    // By the server's clock as it is known now: the walk may have corrected it.
                    if plan.window.to().plus(self.parts.settings.poll_interval) > self.server_now() {
                        return Ok(());
                    }
                }
                Walked::Restart => self.restart(&walk, stop).await?,
            }
        }
    }

    /// The stream's coverage; begins the stream at its first run, by the server's clock and not by ours.
    async fn begin(&mut self, stop: &CancellationToken) -> Result<Coverage, Stopped> {
        if let Some(coverage) = self.parts.journal.coverage(&self.parts.stream) {
            return Ok(coverage);
        }
        // What "now" means is settled when it is first asked for: a token that is refused for days is no reason to begin days later.
        let asked_at = self.first_asked_at(stop).await?;
        self.ask_the_time(stop).await?;
        // Unless our clock was ahead then: a stream does not begin in the future.
        let now = self.by_server(asked_at).min(self.server_now());
        let origin = self.planner.origin(now);
        info!(stream = %self.parts.stream, %origin, "stream begins");
        self.tell_of_moved_start(now, origin);
        // First the instant that tells old events from live ones: a crash in between then leaves a stream that has not begun.
        self.store_time(&self.live_since_key(), now, stop).await?;
        let committed = self.commit(Vec::new(), CoverageChange::Begin(origin), stop).await?;
        Ok(committed.coverage)
    }

    /// What was asked for and cannot be had is said once, when it matters.
    fn tell_of_moved_start(&self, now: Timestamp, origin: Timestamp) {
        let wanted = self.planner.wanted(now);
        if wanted > now {
            warn!(stream = %self.parts.stream, start = %wanted, "start lies in the future; collection begins now");
        } else if origin.since(wanted) > START_MOVED_WARN {
            warn!(stream = %self.parts.stream, start = %wanted, %origin, "start lies further back than retention says that Miro's log reaches; what is older is not collected");
        }
    }

    /// Learns the server's time from the smallest listing that there is. Its event, if there is one, is not kept: it is listed again.
    async fn ask_the_time(&mut self, stop: &CancellationToken) -> Result<(), Stopped> {
        loop {
            self.phase(StreamPhase::Polling);
            self.await_quota(stop).await?;
            let now = self.parts.clock.now();
            let window = TimeRange::new(now.minus(FIRST_LOOK), now).unwrap_or(TimeRange::EMPTY);
            let request = PageRequest { window, cursor: None, limit: 1, priority: Priority::Live };
            let answer = tokio::select! {
                answer = self.parts.pages.page(request) => answer,
                () = stop.cancelled() => return Err(Stopped),
            };
            match answer {
                Ok(page) => {
                    self.learn_clock(&page);
                    return Ok(());
                }
                Err(error) => {
                    self.endure(&error, stop).await?;
                }
            }
        }
    }

    async fn walk(&mut self, walk: &mut Walk, stop: &CancellationToken) -> Result<Walked, Stopped> {
        let mut tally = Tally::default();
        let mut failures = 0;
        loop {
            match self.fetch(walk, stop).await? {
                Ok(page) => {
                    failures = 0;
                    self.learn_clock(&page);
                    let next = self.keep(walk.take(page), &mut tally, stop).await?;
                    match next {
                        Next::Page => {}
                        Next::Done => return Ok(Walked::Done(tally)),
                        Next::Circle => {
                            self.blame(
                                "cursor",
                                "Miro's paging repeats a cursor; the window is begun anew from what is collected".to_owned(),
                            );
                            return Ok(Walked::Restart);
                        }
                    }
                }
                Err(error) => {
                    failures += 1;
                    let gives_up = walk.cursor().is_some() && failures >= FAILURES_PER_CURSOR_MAX;
                    if self.endure(&error, stop).await? == After::Restart || gives_up {
                        return Ok(Walked::Restart);
                    }
                }
            }
        }
    }

    async fn fetch(&mut self, walk: &Walk, stop: &CancellationToken) -> Result<Result<Page, MiroError>, Stopped> {
        self.await_quota(stop).await?;
        let request = PageRequest { window: walk.window(), cursor: walk.cursor(), limit: self.page_size, priority: Priority::Live };
        tokio::select! {
            answer = self.parts.pages.page(request) => Ok(answer),
            () = stop.cancelled() => Err(Stopped),
        }
    }

    /// Waits until Miro's quota has room for one more call, rather than running into a refusal.
    async fn await_quota(&mut self, stop: &CancellationToken) -> Result<(), Stopped> {
        while let Some(wait) = self.parts.pages.ready_in(self.parts.clock.now(), Priority::Live) {
            self.phase(StreamPhase::Throttled);
            self.sleep(wait.min(THROTTLE_MAX), stop).await?;
            self.phase(StreamPhase::Polling);
        }
        Ok(())
    }

    /// Commits a page and counts it.
    async fn keep(&mut self, step: Step, tally: &mut Tally, stop: &CancellationToken) -> Result<Next, Stopped> {
        let kinds: Vec<_> = step.events.iter().map(|(event, origin)| (event.decoded, *origin)).collect();
        let gained = step.coverage != CoverageChange::None;
        tally.pages += 1;
        if !kinds.is_empty() || gained {
            let committed = self.commit(step.events, step.coverage, stop).await?;
            let fresh = self.count(&kinds, &committed, tally);
            if gained || fresh > 0 {
                self.fruitless_restarts = 0;
                self.anew.reset();
            }
        }
        self.retry.reset();
        self.pause.reset();
        self.phase(StreamPhase::Polling);
        Ok(step.next)
    }

    fn count(&self, kinds: &[(Decoded, Origin)], committed: &Committed, tally: &mut Tally) -> u64 {
        let fresh = kinds.iter().zip(&committed.fresh).filter(|(_, fresh)| **fresh).map(|(kind, _)| *kind);
        let late = fresh.clone().filter(|(_, origin)| *origin == Origin::Late).count() as u64;
        let undecodable = fresh.clone().filter(|(decoded, _)| *decoded == Decoded::Undecodable).count() as u64;
        let fresh = fresh.count() as u64;
        let duplicates = kinds.len() as u64 - fresh;
        self.counters.collected.increment(fresh);
        self.counters.duplicate.increment(duplicates);
        self.counters.late.increment(late);
        self.counters.undecodable.increment(undecodable);
        tally.events += fresh;
        tally.duplicates += duplicates;
        tally.late += late;
        tally.undecodable += undecodable;
        self.parts.health.stream(&self.parts.stream, |row| row.events_collected += fresh);
        debug!(stream = %self.parts.stream, events = fresh, duplicates, late, undecodable, "page committed");
        fresh
    }

    /// Makes a page durable, however long it takes: the page is kept in memory until the journal has taken it.
    async fn commit(
        &mut self,
        events: Vec<(crate::event::RawEvent, Origin)>,
        coverage: CoverageChange,
        stop: &CancellationToken,
    ) -> Result<Committed, Stopped> {
        let collected_at = self.parts.clock.now();
        loop {
            // Cloning shares the bytes.
            let commit = Commit { stream: self.parts.stream.clone(), collected_at, events: events.clone(), coverage };
            // Not in a select: a write that has begun runs to its end, and its result is needed.
            match self.parts.journal.commit(commit).await {
                Ok(committed) => return Ok(committed),
                Err(error) => self.endure_journal(&error, stop).await?,
            }
        }
    }

    async fn endure_journal(&mut self, error: &JournalError, stop: &CancellationToken) -> Result<(), Stopped> {
        let (phase, wait) = match error {
            JournalError::Full { .. } => (StreamPhase::JournalFull, FULL_WAIT),
            JournalError::Closed => return Err(Stopped),
            _ => (StreamPhase::BackingOff, self.retry.next_wait()),
        };
        self.blame("journal", error.to_string());
        self.phase(phase);
        self.sleep(wait, stop).await?;
        self.phase(StreamPhase::Polling);
        Ok(())
    }

    /// Does what an error at Miro asks for, wait included.
    async fn endure(&mut self, fault: &MiroError, stop: &CancellationToken) -> Result<After, Stopped> {
        match fault.class() {
            MiroClass::CursorRejected => {
                self.blame("cursor", fault.to_string());
                return Ok(After::Restart);
            }
            MiroClass::PageSizeRejected if self.page_size > 1 => {
                let smaller = if self.page_size > PAGE_SIZE_SAFE { PAGE_SIZE_SAFE } else { self.page_size / 2 };
                warn!(stream = %self.parts.stream, page_size = self.page_size, fallback = smaller, "page size refused");
                self.page_size = smaller;
                return Ok(After::Again);
            }
            // A wait that Miro dictates may be long, and nothing is collected meanwhile: it is told like any other.
            MiroClass::Throttled(wait) => {
                self.blame(fault.class().as_str(), fault.to_string());
                self.phase(StreamPhase::Throttled);
                self.sleep(wait.unwrap_or(THROTTLE_UNNAMED).min(THROTTLE_MAX), stop).await?;
                self.phase(StreamPhase::Polling);
            }
            MiroClass::Retryable => {
                let wait = self.retry.next_wait();
                warn!(stream = %self.parts.stream, error = %fault, wait_secs = wait.as_secs_f64(), "request failed, trying again");
                self.note(fault.class().as_str(), fault.to_string());
                self.phase(StreamPhase::BackingOff);
                self.sleep(wait, stop).await?;
                self.phase(StreamPhase::Polling);
            }
            // Paused stays on the board while it is tried again, until something succeeds.
            MiroClass::PageSizeRejected
            | MiroClass::Auth
            | MiroClass::Permission
            | MiroClass::NotFound
            | MiroClass::BadRequest
            | MiroClass::Config => {
                let wait = PAUSE_INITIAL / 2 + self.pause.next_wait() / 2;
                self.blame_person(fault);
                self.phase(StreamPhase::Paused);
                self.sleep(wait, stop).await?;
            }
        }
        Ok(After::Again)
    }

    /// A walk has to begin anew; where it got nowhere, later and with less to do.
    async fn restart(&mut self, walk: &Walk, stop: &CancellationToken) -> Result<(), Stopped> {
        self.fruitless_restarts += 1;
        debug!(stream = %self.parts.stream, window = %walk.window(), restarts = self.fruitless_restarts, "window begins anew");
        if self.fruitless_restarts > 1 {
            self.planner.shrink();
            self.phase(StreamPhase::BackingOff);
            let wait = self.anew.next_wait();
            self.sleep(wait, stop).await?;
        }
        Ok(())
    }

    fn finished(&mut self, walk: &Walk, tally: &Tally) {
        self.planner.restore();
        info!(
            stream = %self.parts.stream, window = %walk.window(), events = tally.events, duplicates = tally.duplicates, late = tally.late,
            undecodable = tally.undecodable, pages = tally.pages, "window collected"
        );
        self.succeeded();
    }

    fn succeeded(&mut self) {
        let now = self.parts.clock.now();
        self.counters.last_success.set(now.as_secs_f64());
        self.retry.reset();
        self.pause.reset();
        let expires_at = self.parts.pages.token_expires_at();
        if let Some(expires_at) = expires_at {
            self.parts.metrics.stream_gauge(metrics::TOKEN_EXPIRY, &self.parts.stream).set(expires_at.as_secs_f64());
        }
        self.parts.health.stream(&self.parts.stream, |row| {
            row.last_success = Some(now);
            row.fault = None;
            row.token_expires_at = expires_at;
        });
    }

    /// Now, by the server's clock as far as it is known: events carry its time.
    fn server_now(&self) -> Timestamp {
        self.by_server(self.parts.clock.now())
    }

    /// What the server's clock showed when ours showed that.
    fn by_server(&self, ours: Timestamp) -> Timestamp {
        Timestamp::from_micros(ours.as_micros().saturating_add(self.server_ahead_micros))
    }

    fn learn_clock(&mut self, page: &Page) {
        let Some(server) = page.server_time else { return };
        self.parts.health.stream(&self.parts.stream, |row| row.server_clock = Some((server, tokio::time::Instant::now())));
        let ahead = server.as_micros() - self.parts.clock.now().as_micros();
        let off = Duration::from_micros(ahead.unsigned_abs());
        if off > CLOCK_SKEW_WARN && Duration::from_micros(self.server_ahead_micros.unsigned_abs()) <= CLOCK_SKEW_WARN {
            warn!(stream = %self.parts.stream, off_secs = ahead / 1_000_000, "this machine's clock differs from the server's; windows follow the server's, set the clock right");
        }
        // The Date header is cut to whole seconds: smaller differences are no differences.
        self.server_ahead_micros = if off > Duration::from_secs(2) { ahead } else { 0 };
    }

    fn live_since_key(&self) -> String {
        format!("source/live-since/{}", self.parts.stream)
    }

    fn live_since(&self) -> Timestamp {
        self.stored_time(&self.live_since_key()).unwrap_or(Timestamp::from_micros(i64::MIN))
    }

    /// When this stream was first asked for, by our clock; it outlives restarts until the stream has begun.
    async fn first_asked_at(&mut self, stop: &CancellationToken) -> Result<Timestamp, Stopped> {
        let key = format!("source/first-asked/{}", self.parts.stream);
        if let Some(stored) = self.stored_time(&key) {
            return Ok(stored);
        }
        let now = self.parts.clock.now();
        self.store_time(&key, now, stop).await?;
        Ok(now)
    }

    fn stored_time(&self, key: &str) -> Option<Timestamp> {
        let micros = <[u8; 8]>::try_from(self.parts.journal.state(key)?).ok()?;
        Some(Timestamp::from_micros(i64::from_be_bytes(micros)))
    }

    async fn store_time(&mut self, key: &str, time: Timestamp, stop: &CancellationToken) -> Result<(), Stopped> {
        loop {
            match self.parts.journal.put_state(key, time.as_micros().to_be_bytes().to_vec()).await {
                Ok(()) => return Ok(()),
                Err(error) => self.endure_journal(&error, stop).await?,
            }
        }
    }

    fn phase(&self, phase: StreamPhase) {
        self.parts.health.stream(&self.parts.stream, |row| row.phase = phase);
    }

    /// Puts a fault on the board.
    fn note(&self, class: &str, message: String) {
        let fault = Fault { at: self.parts.clock.now(), class: class.to_owned(), message };
        self.parts.health.stream(&self.parts.stream, |row| row.fault = Some(fault));
    }

    /// The same for a fault that mends itself, with a line in the log the first time.
    fn blame(&self, class: &str, message: String) {
        if !self.is_noted(&message) {
            warn!(stream = %self.parts.stream, error = %message, "collection is held up");
        }
        self.note(class, message);
    }

    /// The same for a fault that needs a person.
    fn blame_person(&self, fault: &MiroError) {
        let message = fault.to_string();
        if !self.is_noted(&message) {
            error!(stream = %self.parts.stream, error = %message, "stream is paused");
        }
        self.note(fault.class().as_str(), message);
    }

    fn is_noted(&self, message: &str) -> bool {
        self.parts.health.streams().get(&self.parts.stream).and_then(|row| row.fault.as_ref()).is_some_and(|fault| fault.message == message)
    }

    async fn sleep(&self, wait: Duration, stop: &CancellationToken) -> Result<(), Stopped> {
        tokio::select! {
            () = tokio::time::sleep(wait) => Ok(()),
            () = stop.cancelled() => Err(Stopped),
        }
    }
}

/// What to do after an error has been endured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    Again,
    Restart,
}

#[cfg(test)]
mod tests;

//! The task that keeps a stream's ledger: looks at coverage, decides what has changed, says it, remembers it.

use std::{sync::Arc, time::Duration};

use thiserror::Error;
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::{
    heartbeat::Heartbeat,
    ledger::{Change, ChangeKind, Ledger},
    notice,
    outline::{History, Outline, View},
};
use crate::{
    clock::Clock,
    config::settings::StreamSettings,
    coverage::Coverage,
    event::{Position, StreamId, TimeRange, Timestamp},
    forwarder::Forwarder,
    health::{Health, StreamHealth},
    journal::{Journal, JournalError},
};

/// How often the ledger is looked at, at least.
const LOOK_EVERY_MAX: Duration = Duration::from_secs(30);
/// How often it is looked at, at most: a busy stream commits many pages a second.
const LOOK_EVERY_MIN: Duration = Duration::from_secs(1);

/// How often a gap that grows is written anew. Its end up to now is found again from coverage; this is about one that is then filled at the
/// other end, just after a crash.
const GROWTH_WRITTEN_EVERY: Duration = Duration::from_secs(300);

/// What a keeper needs.
#[derive(Clone, Debug)]
pub struct KeeperParts {
    /// The stream.
    pub stream: StreamId,
    /// Its settings.
    pub settings: StreamSettings,
    /// Where coverage and the ledger are.
    pub journal: Arc<dyn Journal>,
    /// What time it is.
    pub clock: Clock,
    /// What the poller says about the stream.
    pub health: Health,
    /// Where events go.
    pub forwarder: Forwarder,
}

/// Keeps one stream's ledger until it is stopped.
#[derive(Debug)]
pub struct Keeper {
    parts: KeeperParts,
    ledger: Ledger,
    /// The ranges of its gaps as they are stored, and since when.
    stored: (Vec<TimeRange>, Instant),
    /// How much history was covered when it last grew, and when that was.
    history: Option<(Duration, Instant)>,
    heartbeat: Option<Heartbeat>,
    /// Whether the newest failure was logged.
    told: bool,
}

/// Whether a gap that has only grown is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Growth {
    /// It is.
    Written,
    /// It is when it was not for a while, or does not grow any more.
    WrittenNowAndThen,
}

/// The small state could not be written, or an event could not.
#[derive(Debug, Error)]
#[error(transparent)]
struct Unwritten(#[from] JournalError);

/// What is known about a stream without a keeper: as the metrics, the status and the command line need it.
pub fn outlook(journal: &dyn Journal, stream: &StreamId) -> Option<(Coverage, Timestamp, Ledger)> {
    let coverage = known_coverage(journal, stream)?;
    let ledger = journal.state(&key(stream)).and_then(|stored| Ledger::decode(&stored).ok()).unwrap_or_default();
    Some((coverage, live_since(journal, stream), ledger))
}

/// The stream's coverage. One that has not begun, because Miro could not be asked yet, has nothing covered since it was first asked for.
fn known_coverage(journal: &dyn Journal, stream: &StreamId) -> Option<Coverage> {
    let begun = journal.coverage(stream);
    begun.or_else(|| stored_time(journal, &format!("source/first-asked/{stream}")).map(Coverage::starting_at))
}

/// When the stream began to be polled: what lies before is history.
pub fn live_since(journal: &dyn Journal, stream: &StreamId) -> Timestamp {
    stored_time(journal, &format!("source/live-since/{stream}")).unwrap_or(Timestamp::from_micros(i64::MIN))
}

fn stored_time(journal: &dyn Journal, key: &str) -> Option<Timestamp> {
    let micros = <[u8; 8]>::try_from(journal.state(key)?).ok()?;
    Some(Timestamp::from_micros(i64::from_be_bytes(micros)))
}

fn key(stream: &StreamId) -> String {
    format!("source/gaps/{stream}")
}

impl Keeper {
    /// A keeper that has not begun.
    pub fn new(parts: KeeperParts) -> Self {
        let heartbeat = parts.settings.heartbeat.map(|every| Heartbeat::new(every, parts.stream.clone()));
        Self { parts, ledger: Ledger::default(), stored: (Vec::new(), Instant::now()), history: None, heartbeat, told: false }
    }

    /// Keeps the ledger until `stop` is cancelled, and looks once more then: what was collected last closes its gap.
    pub async fn run(mut self, stop: CancellationToken) {
        if self.load().await.is_err() {
            return;
        }
        let mut head = self.parts.journal.head();
        loop {
            let stopping = stop.is_cancelled();
            let growth = if stopping { Growth::Written } else { Growth::WrittenNowAndThen };
            if let Err(error) = self.look(growth).await {
                if matches!(error, Unwritten(JournalError::Closed)) {
                    return;
                }
                self.tell(&error);
            }
            if stopping {
                return;
            }
            tokio::select! {
                () = sleep(self.look_every()) => {}
                () = moved(&mut head) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    fn look_every(&self) -> Duration {
        let every = self.parts.settings.poll_interval.min(LOOK_EVERY_MAX);
        let beat = self.heartbeat.as_ref().map_or(every, Heartbeat::due_in);
        every.min(beat).max(LOOK_EVERY_MIN)
    }

    /// Reads the ledger. One that cannot be read is set aside under a name of its own, and a new one begins.
    async fn load(&mut self) -> Result<(), Unwritten> {
        let key = key(&self.parts.stream);
        let Some(stored) = self.parts.journal.state(&key) else { return Ok(()) };
        match Ledger::decode(&stored) {
            Ok(ledger) => {
                self.stored = (ledger.ranges(), Instant::now());
                self.ledger = ledger;
            }
            Err(problem) => {
                error!(stream = %self.parts.stream, error = %problem, "gap ledger cannot be used; it is set aside and begun anew, so gaps that are open are reported once more");
                self.parts.journal.put_state(&format!("{key}/unreadable"), stored).await?;
            }
        }
        Ok(())
    }

    /// Brings the ledger up to date.
    async fn look(&mut self, growth: Growth) -> Result<(), Unwritten> {
        // What was decided before a crash, or could not be written, comes first: events are in the order of their changes.
        self.say().await?;
        let row = self.parts.health.streams().remove(&self.parts.stream).unwrap_or_default();
        let ours = self.parts.clock.now();
        if let Some(coverage) = known_coverage(&*self.parts.journal, &self.parts.stream) {
            let view = self.view(&coverage, row.server_now(ours));
            self.keep(&view, &row, growth).await?;
            self.beat(&view, &row, ours).await?;
        }
        self.told = false;
        Ok(())
    }

    fn view<'a>(&mut self, coverage: &'a Coverage, now: Timestamp) -> View<'a> {
        let live_since = live_since(&*self.parts.journal, &self.parts.stream);
        let StreamSettings { retention, poll_interval, .. } = self.parts.settings;
        let mut view = View { coverage, now, live_since, retention, poll_interval, history: History::Moving };
        view.history = self.history(&view);
        view
    }

    async fn keep(&mut self, view: &View<'_>, row: &StreamHealth, growth: Growth) -> Result<(), Unwritten> {
        loop {
            let mut next = self.ledger.clone();
            let changes = next.judge(view, &|range| cause(row, range));
            if changes.is_empty() {
                let (grows, (ranges, since)) = (next.gaps().iter().any(|gap| gap.range.to() == view.now), &self.stored);
                let is_due = growth == Growth::Written || !grows || since.elapsed() >= GROWTH_WRITTEN_EVERY;
                if next.ranges() != *ranges && is_due {
                    return self.write(next).await;
                }
                self.ledger = next;
                return Ok(());
            }
            next.unsaid = changes;
            self.write(next).await?;
            self.say().await?;
        }
    }

    /// Whether the first backfill gets on: whether it has covered any more of the time before the stream began to be polled.
    fn history(&mut self, view: &View<'_>) -> History {
        let (origin, until) = (view.coverage.origin(), view.live_since.min(view.now));
        let Some(history) = TimeRange::new(origin, until) else { return History::Moving };
        let covered = history.length().saturating_sub(Outline::total(&view.coverage.missing(history)));
        match self.history {
            Some((before, since)) if before == covered => {
                if since.elapsed() >= view.grace() {
                    History::Stalled
                } else {
                    History::Moving
                }
            }
            _ => {
                self.history = Some((covered, Instant::now()));
                History::Moving
            }
        }
    }

    /// Says what is decided and not said yet, and remembers that it is.
    async fn say(&mut self) -> Result<(), Unwritten> {
        if self.ledger.unsaid.is_empty() {
            return Ok(());
        }
        for change in &self.ledger.unsaid {
            self.parts.forwarder.emit(&notice::event(change, &self.parts.stream, self.parts.forwarder.org_id())).await?;
        }
        self.ledger.unsaid.iter().for_each(|change| log(&self.parts.stream, change));
        let said = Ledger { unsaid: Vec::new(), ..self.ledger.clone() };
        self.write(said).await
    }

    /// Makes a ledger durable, and only then the one that counts.
    async fn write(&mut self, ledger: Ledger) -> Result<(), Unwritten> {
        self.parts.journal.put_state(&key(&self.parts.stream), ledger.encode()).await?;
        self.stored = (ledger.ranges(), Instant::now());
        self.ledger = ledger;
        Ok(())
    }

    async fn beat(&mut self, view: &View<'_>, row: &StreamHealth, ours: Timestamp) -> Result<(), Unwritten> {
        let Some(heartbeat) = self.heartbeat.as_mut().filter(|heartbeat| heartbeat.due_in().is_zero()) else { return Ok(()) };
        let event = heartbeat.event(view, row, ours, self.parts.forwarder.org_id());
        self.parts.forwarder.emit(&event).await?;
        heartbeat.done(row);
        Ok(())
    }

    fn tell(&mut self, error: &Unwritten) {
        if !self.told {
            warn!(stream = %self.parts.stream, error = %error, "gap ledger could not be written, trying again");
        }
        self.told = true;
    }
}

/// A while after the newest look, when something has been committed.
async fn moved(head: &mut watch::Receiver<Position>) {
    sleep(LOOK_EVERY_MIN).await;
    if head.changed().await.is_err() {
        // The journal is gone; whoever stops the keeper says so.
        std::future::pending::<()>().await;
    }
}

/// Why a range was not collected, as far as it can be known: the stream's fault, or that nobody was there to collect it.
fn cause(row: &StreamHealth, range: TimeRange) -> String {
    match (&row.fault, row.started_at) {
        (Some(fault), _) => fault.message.clone(),
        (None, Some(began)) if range.from() < began => "miro-siem was not running then".to_owned(),
        (None, _) => "collection has fallen behind".to_owned(),
    }
}

fn log(stream: &StreamId, change: &Change) {
    let (range, open_secs, lost_secs) = (change.range, change.open.as_secs_f64(), change.lost.as_secs_f64());
    match change.kind {
        ChangeKind::Opened => warn!(%stream, %range, open_secs, lost_secs, cause = %change.gap.cause, "gap opened"),
        ChangeKind::Warned(percent) => {
            warn!(%stream, %range, percent, "gap is on its way out of the retention of Miro's log; it is lost where it is not collected before");
        }
        ChangeKind::PartlyLost => error!(%stream, %range, open_secs, lost_secs, "the oldest part of a gap is lost"),
        ChangeKind::Closed => info!(%stream, %range, "gap closed"),
        ChangeKind::Lost => error!(%stream, %range, lost_secs, "gap is lost: it lies past the retention of Miro's log"),
    }
}

//! Collected time once more, after each of some delays: what Miro has made visible since then is committed, marked as late.
//!
//! Each delay is a pass with a frontier of its own, durable in the journal's small state. Time is listed again in pieces, once a whole piece
//! is that old; holes inside are left out, because backfill lists them when they are older still. A piece that fails is set aside and
//! tried again; on disk the frontier stays in front of it, so a restart does not forget it.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{
    SPAN_MAX,
    aside::{Asides, Retry},
    context::{Context, Stopped, Tally},
    throttle::Throttle,
    window::{Attempts, Ended, Walker, again},
};
use crate::{
    event::{TimeRange, Timestamp},
    health::{Fault, PassHealth},
    miro::Priority,
};

/// The longest piece.
const PIECE_MAX: Duration = Duration::from_secs(6 * 3_600);
/// What is due is looked at anew at least this often: a clock may move.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// The version of what is stored.
const VERSION: u32 = 1;

/// Runs the passes of one stream until it is stopped.
#[derive(Debug)]
pub(super) struct Reconcile<'c> {
    context: &'c Context,
    throttle: Throttle,
    passes: Vec<Pass>,
}

#[derive(Debug)]
struct Pass {
    delay: Duration,
    /// Up to here everything is listed again, but for what is set aside.
    reached: Timestamp,
    asides: Asides,
    fault: Option<Fault>,
    /// It can never find anything.
    is_vain: bool,
}

/// What a pass has to do.
struct Due {
    range: TimeRange,
    retry: Option<Retry>,
}

/// What is stored under the key of the stream.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    version: u32,
    passes: Vec<StoredPass>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredPass {
    delay_micros: u64,
    frontier: Timestamp,
}

/// How large the pieces of a pass are: small against its delay, and not smaller than what one poll brings.
pub fn piece(delay: Duration, poll_interval: Duration) -> Duration {
    (delay / 4).max(poll_interval).min(PIECE_MAX)
}

impl<'c> Reconcile<'c> {
    /// The passes with their frontiers.
    pub(super) async fn load(context: &'c Context) -> Result<Self, Stopped> {
        let stored = stored(context);
        let passes = context.parts.settings.reconcile.iter().map(|delay| Pass::begin(context, *delay, stored.as_ref())).collect();
        let reconcile = Self { context, throttle: Throttle::new(Priority::Reconcile), passes };
        // Also without a pass: a delay that is configured later has to know that this is not the first start.
        reconcile.store().await?;
        Ok(reconcile)
    }

    pub(super) async fn run(mut self) -> Result<(), Stopped> {
        loop {
            self.show();
            if self.context.stop.is_cancelled() {
                return Err(Stopped);
            }
            match (0..self.passes.len()).find_map(|at| Some((at, self.due(at)?))) {
                Some((at, due)) => self.list(at, due).await?,
                None => self.context.sleep(self.wait()).await?,
            }
        }
    }

    fn due(&mut self, at: usize) -> Option<Due> {
        let (now, interval) = (self.context.server_now(), self.context.parts.settings.poll_interval);
        self.passes[at].due(now, interval)
    }

    /// How long nothing will be due.
    fn wait(&self) -> Duration {
        let (now, interval) = (self.context.server_now(), self.context.parts.settings.poll_interval);
        let pieces = self.passes.iter().filter(|pass| !pass.is_vain && !pass.asides.is_full());
        let pieces = pieces.map(|pass| pass.reached.plus(piece(pass.delay, interval)).plus(pass.delay).since(now));
        let retries = self.passes.iter().filter_map(|pass| Some(pass.asides.next_due()?.saturating_duration_since(Instant::now())));
        pieces.chain(retries).min().unwrap_or(LOOK_AGAIN).clamp(Duration::from_millis(1), LOOK_AGAIN)
    }

    /// Lists the covered parts of a range again.
    async fn list(&mut self, at: usize, due: Due) -> Result<(), Stopped> {
        let mut tally = Tally::default();
        let cliff = self.context.cliff();
        let reachable = TimeRange::new(due.range.from().max(cliff), due.range.to()).unwrap_or(TimeRange::EMPTY);
        if reachable.length() < due.range.length() {
            warn!(stream = %self.context.stream(), range = %due.range, "time passed Miro's retention before it could be listed again");
        }
        let mut failed = None;
        let attempts = if due.retry.is_some() { Attempts::One } else { Attempts::Several };
        for part in self.context.coverage().covered(reachable) {
            if let Some(fault) = self.list_part(part, attempts, &mut tally).await? {
                failed = Some(fault);
                break;
            }
        }
        self.settle(at, due, failed, &tally);
        self.store().await
    }

    async fn list_part(&self, part: TimeRange, attempts: Attempts, tally: &mut Tally) -> Result<Option<Fault>, Stopped> {
        let walker = Walker { context: self.context, throttle: &self.throttle, priority: Priority::Reconcile, attempts };
        let next = |context: &Context| Some(again(context, part));
        match walker.collect(next, &CancellationToken::new(), tally).await? {
            Ended::Failed(class, message) => Ok(Some(self.context.fault(class, message))),
            Ended::Done | Ended::HandedBack | Ended::Dismissed => Ok(None),
        }
    }

    fn settle(&mut self, at: usize, due: Due, failed: Option<Fault>, tally: &Tally) {
        let (stream, pass) = (self.context.stream(), &mut self.passes[at]);
        let after_secs = pass.delay.as_secs();
        pass.reached = pass.reached.max(due.range.to());
        match (failed, due.retry) {
            (Some(fault), retry) => {
                warn!(%stream, range = %due.range, after_secs, error = %fault.message, "time that is to be listed again is set aside for a while");
                pass.fault = Some(fault);
                match retry {
                    Some(retry) => pass.asides.add_again(retry, Instant::now()),
                    None => pass.asides.add(due.range, Instant::now()),
                }
            }
            (None, _) if tally.late > 0 => {
                info!(%stream, range = %due.range, after_secs, late = tally.late, pages = tally.pages, "found events that turned up late");
            }
            (None, _) => debug!(%stream, range = %due.range, after_secs, pages = tally.pages, "listed again, nothing was late"),
        }
        if pass.asides.len() == 0 && !pass.is_vain {
            pass.fault = None;
        }
    }

    async fn store(&self) -> Result<(), Stopped> {
        let stored = Stored { version: VERSION, passes: self.passes.iter().map(Pass::to_stored).collect() };
        // Numbers are always JSON.
        self.context.store(&key(self.context), serde_json::to_vec(&stored).unwrap_or_default()).await?;
        let from = self.passes.iter().filter(|pass| !pass.is_vain).map(Pass::frontier).min();
        self.context.set_passes_from(from.unwrap_or(Timestamp::from_micros(i64::MAX)));
        Ok(())
    }

    fn show(&self) {
        let row = |pass: &Pass| PassHealth { after: pass.delay, up_to: pass.frontier(), fault: pass.fault.clone() };
        let passes = self.passes.iter().map(row).collect();
        self.context.board(|row| row.reconcile = passes);
    }
}

impl Pass {
    fn begin(context: &Context, delay: Duration, stored: Option<&Stored>) -> Self {
        let micros = u64::try_from(delay.as_micros()).unwrap_or(u64::MAX);
        let held = stored.and_then(|stored| stored.passes.iter().find(|pass| pass.delay_micros == micros));
        let reached = held.map_or_else(|| first_frontier(context, delay, stored.is_some()), |pass| pass.frontier);
        let mut pass = Self { delay, reached, asides: Asides::default(), fault: None, is_vain: delay >= context.parts.settings.retention };
        if pass.is_vain {
            let message = "this delay is not shorter than `retention`: nothing is left to be listed by then. Shorten it, or raise `retention` if the log reaches further";
            warn!(stream = %context.stream(), after_secs = delay.as_secs(), "{message}");
            pass.fault = Some(context.fault("config", message.to_owned()));
        }
        pass
    }

    /// What is to be listed now: first the next piece that is old enough, which comes now and then, and else what failed and is due again, which
    /// may be due all the time.
    fn due(&mut self, now: Timestamp, poll_interval: Duration) -> Option<Due> {
        if self.is_vain {
            return None;
        }
        let retry = |asides: &mut Asides| asides.take_due(Instant::now()).map(|retry| Due { range: retry.range, retry: Some(retry) });
        self.next_piece(now, poll_interval).map(|range| Due { range, retry: None }).or_else(|| retry(&mut self.asides))
    }

    fn next_piece(&self, now: Timestamp, poll_interval: Duration) -> Option<TimeRange> {
        let old_enough = TimeRange::new(self.reached, now.minus(self.delay))?;
        let is_due = old_enough.length() >= piece(self.delay, poll_interval) && !self.asides.is_full();
        TimeRange::new(self.reached, old_enough.to().min(self.reached.plus(PIECE_MAX))).filter(|_| is_due)
    }

    /// Up to here nothing is left to be listed again.
    fn frontier(&self) -> Timestamp {
        self.asides.ranges().map(|range| range.from()).fold(self.reached, Timestamp::min)
    }

    fn to_stored(&self) -> StoredPass {
        StoredPass { delay_micros: u64::try_from(self.delay.as_micros()).unwrap_or(u64::MAX), frontier: self.frontier() }
    }
}

/// Where a pass begins that was not there before. With the stream it begins that far before the stream's first instant: what is older was
/// older than the delay when it was first collected. A delay that is configured later begins where ids are known for certain: listing older
/// time again would take what was delivered long ago for late events.
fn first_frontier(context: &Context, delay: Duration, has_run_before: bool) -> Timestamp {
    let (coverage, begun) = (context.coverage(), context.live_since());
    let first = if has_run_before || coverage.newest() > begun.max(coverage.origin()) {
        context.server_now().minus(delay.min(SPAN_MAX))
    } else {
        begun.minus(delay)
    };
    first.max(coverage.origin())
}

fn key(context: &Context) -> String {
    format!("source/reconcile/{}", context.stream())
}

fn stored(context: &Context) -> Option<Stored> {
    let bytes = context.parts.journal.state(&key(context))?;
    match serde_json::from_slice::<Stored>(&bytes) {
        Ok(stored) if stored.version == VERSION => Some(stored),
        Ok(Stored { version, .. }) => {
            warn!(stream = %context.stream(), version, "the frontiers of reconcile were stored by another version of miro-siem; they begin anew, a day back at most");
            Some(Stored { version: VERSION, passes: Vec::new() })
        }
        Err(error) => {
            warn!(stream = %context.stream(), %error, "the frontiers of reconcile cannot be read; they begin anew, a day back at most");
            Some(Stored { version: VERSION, passes: Vec::new() })
        }
    }
}

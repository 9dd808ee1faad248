//! One stream, from its first instant on: begins it, then runs its three jobs under one stop.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    CollectorParts, Planner,
    backfill::Backfill,
    context::{Context, Stopped, Tally},
    endure::Patience,
    live::{Live, await_quota},
    reconcile::Reconcile,
};
use crate::{
    event::{TimeRange, Timestamp},
    health::StreamPhase,
    journal::CoverageChange,
    miro::{PageRequest, Priority},
};

/// How much a stream lists before it begins, to learn the server's time.
const FIRST_LOOK: Duration = Duration::from_secs(60);
/// A start that is moved by less than this is as near to the configured retention as can be.
const START_MOVED_WARN: Duration = Duration::from_secs(3_600);

/// Collects one stream until it is stopped: the newest time at each interval, the past wherever it is missing, and collected time once more
/// after some delays.
#[derive(Debug)]
pub struct Collector(Context);

impl Collector {
    /// A collector that has not begun. It ends when `stop` is cancelled.
    pub fn new(parts: CollectorParts, stop: CancellationToken) -> Self {
        Self(Context::new(parts, stop))
    }

    /// Collects until the stop. What has been committed by then is kept, nothing else is.
    pub async fn run(self) {
        let context = &self.0;
        let (interval, now) = (context.parts.settings.poll_interval, context.parts.clock.now());
        context.board(|row| {
            row.poll_interval = interval;
            // A restarted task does not begin anew: how long nothing has succeeded counts on.
            row.started_at.get_or_insert(now);
        });
        // The only way to end is the stop.
        let (Err(Stopped) | Ok(())) = self.work().await;
        context.ended();
    }

    async fn work(&self) -> Result<(), Stopped> {
        let context = &self.0;
        begin(context).await?;
        let reconcile = Reconcile::load(context).await?;
        context.set_live_front(context.coverage().newest().max(context.live_since()));
        context.settle_ids();
        // All of them, to their own ends: a page that is being committed is not dropped because another job has stopped already.
        let (live, later, past) = tokio::join!(Live::new(context).run(), reconcile.run(), Backfill::new(context).run());
        live.and(later).and(past)
    }
}

/// Begins the stream at its first run, by the server's clock and not by ours.
async fn begin(context: &Context) -> Result<(), Stopped> {
    if context.parts.journal.coverage(context.stream()).is_some() {
        return Ok(());
    }
    let planner = Planner::new(&context.parts.settings);
    // What "now" means is settled when it is first asked for: a token that is refused for days is no reason to begin days later.
    let asked_at = first_asked_at(context).await?;
    ask_the_time(context).await?;
    // Unless our clock was ahead then: a stream does not begin in the future.
    let now = context.by_server(asked_at).min(context.server_now());
    let origin = planner.origin(now);
    info!(stream = %context.stream(), %origin, "stream begins");
    tell_of_moved_start(context, planner.wanted(now), now, origin);
    // First the instant that tells old events from live ones: a crash in between then leaves a stream that has not begun.
    context.store_time(&context.live_since_key(), now).await?;
    context.commit(Vec::new(), CoverageChange::Begin(origin), &mut Tally::default()).await?;
    Ok(())
}

/// What was asked for and cannot be had is said once, when it matters.
fn tell_of_moved_start(context: &Context, wanted: Timestamp, now: Timestamp, origin: Timestamp) {
    if wanted > now {
        warn!(stream = %context.stream(), start = %wanted, "start lies in the future; collection begins now");
    } else if origin.since(wanted) > START_MOVED_WARN {
        warn!(stream = %context.stream(), start = %wanted, %origin, "start lies further back than retention says that Miro's log reaches; what is older is not collected");
    }
}

/// When this stream was first asked for, by our clock; it outlives restarts until the stream has begun.
async fn first_asked_at(context: &Context) -> Result<Timestamp, Stopped> {
    let key = format!("source/first-asked/{}", context.stream());
    if let Some(stored) = context.stored_time(&key) {
        return Ok(stored);
    }
    let now = context.parts.clock.now();
    context.store_time(&key, now).await?;
    Ok(now)
}

/// Learns the server's time from the smallest listing that there is. Its event, if there is one, is not kept: it is listed again.
async fn ask_the_time(context: &Context) -> Result<(), Stopped> {
    let mut patience = Patience::new();
    loop {
        context.phase(StreamPhase::Polling);
        await_quota(context).await?;
        let now = context.parts.clock.now();
        let window = TimeRange::new(now.minus(FIRST_LOOK), now).unwrap_or(TimeRange::EMPTY);
        let request = PageRequest { window, cursor: None, limit: 1, priority: Priority::Live };
        let answer = tokio::select! {
            answer = context.parts.pages.page(request) => answer,
            () = context.stop.cancelled() => return Err(Stopped),
        };
        match answer {
            Ok(page) => {
                context.learn_clock(&page);
                return Ok(());
            }
            Err(error) => {
                patience.endure(context, &error).await?;
            }
        }
    }
}

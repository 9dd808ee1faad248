//! The newest time: polled at each interval, before everything else.

use std::time::Duration;

use tracing::{debug, info};

use super::{
    Planner,
    context::{Context, Stopped, Tally},
    endure::{After, Patience, RETRY_INITIAL, RETRY_MAX, THROTTLE_MAX},
    walk::{Next, Sight, Step, Walk},
};
use crate::{
    health::StreamPhase,
    journal::CoverageChange,
    miro::{MiroError, Page, Priority},
    retry::Backoff,
};

/// Failures in a row at one page after which its cursor is given up: it may have expired without saying so.
const FAILURES_PER_CURSOR_MAX: u32 = 5;

/// Polls one stream until it is stopped.
#[derive(Debug)]
pub(super) struct Live<'c> {
    context: &'c Context,
    planner: Planner,
    patience: Patience,
    /// The wait before a window begins anew; it outlives the pages that succeed in between.
    anew: Backoff,
    /// Windows in a row that had to begin anew without having got any further.
    fruitless_restarts: u32,
}

/// How a walk ended.
#[derive(Debug)]
enum Walked {
    Done(Tally),
    Restart,
}

impl<'c> Live<'c> {
    pub(super) fn new(context: &'c Context) -> Self {
        Self {
            planner: Planner::new(&context.parts.settings),
            patience: Patience::new(),
            anew: Backoff::new(RETRY_INITIAL, RETRY_MAX),
            fruitless_restarts: 0,
            context,
        }
    }

    pub(super) async fn run(mut self) -> Result<(), Stopped> {
        let interval = self.context.parts.settings.poll_interval;
        loop {
            let next = tokio::time::Instant::now() + interval;
            self.poll().await?;
            self.context.phase(StreamPhase::Waiting);
            self.context.settle_ids();
            self.context.parts.metrics.settle();
            let wait = next.saturating_duration_since(tokio::time::Instant::now());
            self.context.parts.pages.plan_live(self.context.parts.clock.now().plus(wait));
            self.context.sleep(wait).await?;
        }
    }

    /// Fetches windows until everything up to now is collected. At least one is fetched: without an answer there is no success.
    async fn poll(&mut self) -> Result<(), Stopped> {
        loop {
            if self.context.stop.is_cancelled() {
                return Err(Stopped);
            }
            let (coverage, since) = (self.context.coverage(), self.context.live_since());
            let plan = self.planner.live(&coverage, since, self.context.server_now());
            self.context.set_live_front(plan.new.from());
            self.context.phase(StreamPhase::Polling);
            let mut walk = Walk::new(plan, coverage, Sight::Live { since });
            match self.walk(&mut walk).await? {
                Walked::Done(tally) => {
                    self.finished(&walk, &tally);
                    // By the server's clock as it is known now: the walk may have corrected it.
                    if plan.window.to().plus(self.context.parts.settings.poll_interval) > self.context.server_now() {
                        return Ok(());
                    }
                }
                Walked::Restart => self.restart(&walk).await?,
            }
        }
    }

    async fn walk(&mut self, walk: &mut Walk) -> Result<Walked, Stopped> {
        let mut tally = Tally::default();
        let mut failures = 0;
        loop {
            match self.fetch(walk).await? {
                Ok(page) => {
                    failures = 0;
                    match self.keep(walk.take(page), &mut tally).await? {
                        Next::Page => {}
                        Next::Done => return Ok(Walked::Done(tally)),
                        Next::Circle => {
                            let message = "Miro's paging repeats a cursor; the window is begun anew from what is collected";
                            self.context.blame("cursor", message.to_owned());
                            return Ok(Walked::Restart);
                        }
                    }
                }
                Err(error) => {
                    failures += u32::from(!error.is_held());
                    let gives_up = walk.cursor().is_some() && failures >= FAILURES_PER_CURSOR_MAX;
                    if self.patience.endure(self.context, &error).await? == After::Restart || gives_up {
                        return Ok(Walked::Restart);
                    }
                }
            }
        }
    }

    async fn fetch(&mut self, walk: &Walk) -> Result<Result<Page, MiroError>, Stopped> {
        await_quota(self.context).await?;
        self.context.ask(walk.plan(), walk.cursor(), Priority::Live).await
    }

    /// Commits a page and counts it.
    async fn keep(&mut self, step: Step, tally: &mut Tally) -> Result<Next, Stopped> {
        let gained = step.coverage != CoverageChange::None;
        tally.pages += 1;
        if !step.events.is_empty() || gained {
            let before = tally.events;
            self.context.commit(step.events, step.coverage, tally).await?;
            if gained || tally.events > before {
                self.fruitless_restarts = 0;
                self.anew.reset();
            }
        }
        self.patience.reset();
        self.context.phase(StreamPhase::Polling);
        Ok(step.next)
    }

    /// A walk has to begin anew; where it got nowhere, later and with less to do.
    async fn restart(&mut self, walk: &Walk) -> Result<(), Stopped> {
        self.fruitless_restarts += 1;
        debug!(stream = %self.context.stream(), window = %walk.window(), restarts = self.fruitless_restarts, "window begins anew");
        if self.fruitless_restarts > 1 {
            self.planner.shrink();
            self.context.phase(StreamPhase::BackingOff);
            let wait = self.anew.next_wait();
            self.context.sleep(wait).await?;
        }
        Ok(())
    }

    fn finished(&mut self, walk: &Walk, tally: &Tally) {
        self.planner.restore();
        info!(
            stream = %self.context.stream(), window = %walk.window(), events = tally.events, duplicates = tally.duplicates, late = tally.late,
            undecodable = tally.undecodable, pages = tally.pages, "window collected"
        );
        self.patience.reset();
        self.context.succeeded();
    }
}

/// Waits until Miro's quota has room for one more live call, rather than running into a refusal.
pub(super) async fn await_quota(context: &Context) -> Result<(), Stopped> {
    while let Some(wait) = context.parts.pages.ready_in(context.parts.clock.now(), Priority::Live) {
        context.phase(StreamPhase::Throttled);
        context.sleep(wait.clamp(Duration::from_millis(1), THROTTLE_MAX)).await?;
        context.phase(StreamPhase::Polling);
    }
    Ok(())
}

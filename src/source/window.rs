//! One window of the past, page by page, beside others.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::{
    context::{Context, Stopped, Tally},
    density::PAGES_MAX,
    endure::{RETRY_INITIAL, Reaction},
    throttle::{Permit, Throttle},
    walk::{Next, Sight, Walk},
};
use crate::{
    event::TimeRange,
    health::StreamPhase,
    journal::CoverageChange,
    miro::{MiroError, Page, Priority},
    retry::Backoff,
    source::Plan,
};

/// So many are several attempts.
const SEVERAL: u32 = 3;
/// The longest wait between them.
const RETRY_WAIT_MAX: Duration = Duration::from_secs(10);
/// Walks without any progress after which the window is set aside.
const FRUITLESS_WALKS_MAX: u32 = 3;

/// How a window ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// All of it is listed.
    Done,
    /// It has more pages than a window should have; what is left is cut anew.
    HandedBack,
    /// It cannot be had now: the class of the failure, and what happened.
    Failed(&'static str, String),
    /// Nobody wants it any more.
    Dismissed,
}

/// What walks a window needs.
#[derive(Clone, Copy)]
pub(super) struct Walker<'c> {
    pub(super) context: &'c Context,
    pub(super) throttle: &'c Throttle,
    pub(super) priority: Priority,
    pub(super) attempts: Attempts,
}

/// How often a page is asked for before the window is set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attempts {
    /// It has failed before, and the next attempt comes later.
    One,
    /// Most failures are over in a second.
    Several,
}

/// What a walk came to.
enum Walked {
    Ended(Ended),
    Restart,
}

impl Walker<'_> {
    /// Lists a window of the past, whose plan and sight `next` makes from what is committed; `None` when nothing of it is left.
    pub(super) async fn collect(
        self,
        mut next: impl FnMut(&Context) -> Option<(Plan, Walk)>,
        dismissed: &CancellationToken,
        tally: &mut Tally,
    ) -> Result<Ended, Stopped> {
        let (mut fruitless, mut last) = (0, None);
        while let Some((plan, mut walk)) = next(self.context) {
            // The same part once more is a walk without progress, however it ended.
            fruitless = if last.replace(plan) == Some(plan) { fruitless + 1 } else { 0 };
            if fruitless >= FRUITLESS_WALKS_MAX {
                let message = format!("listing {} leads nowhere: Miro's paging goes in circles, or its clock is behind", plan.window);
                return Ok(Ended::Failed("cursor", message));
            }
            match self.walk(&mut walk, dismissed, tally).await? {
                Walked::Ended(Ended::Done) if plan.new.is_empty() => return Ok(Ended::Done),
                Walked::Ended(Ended::Done) | Walked::Restart => {}
                Walked::Ended(ended) => return Ok(ended),
            }
        }
        Ok(Ended::Done)
    }

    async fn walk(self, walk: &mut Walk, dismissed: &CancellationToken, tally: &mut Tally) -> Result<Walked, Stopped> {
        let (mut failures, mut retry, mut pages) = (0, Backoff::new(RETRY_INITIAL, RETRY_WAIT_MAX), 0);
        let began_at = walk.frontier();
        loop {
            let asked = tokio::select! {
                asked = self.ask(walk) => asked?,
                () = dismissed.cancelled() => return Ok(Walked::Ended(Ended::Dismissed)),
            };
            match asked {
                (Ok(page), permit) => {
                    failures = 0;
                    pages += 1;
                    permit.succeeded(page.events.iter().map(|event| event.raw.len() as u64).sum());
                    self.context.freed(StreamPhase::Paused);
                    match self.keep(walk, page, tally).await? {
                        // Only where something is covered: a listing without order is lost as a whole when it is cut.
                        Next::Page if pages >= PAGES_MAX && walk.frontier() > began_at => return Ok(Walked::Ended(Ended::HandedBack)),
                        Next::Page => {}
                        Next::Done => return Ok(Walked::Ended(Ended::Done)),
                        Next::Circle => return Ok(Walked::Restart),
                    }
                }
                (Err(fault), permit) => {
                    let reaction = Reaction::to(&fault, self.context.page_size());
                    failures += u32::from(matches!(reaction, Reaction::Retry | Reaction::Refused));
                    let attempts = if self.attempts == Attempts::One { 1 } else { SEVERAL };
                    if failures >= attempts || reaction == Reaction::Refused {
                        permit.failed();
                        return Ok(Walked::Ended(Ended::Failed(fault.class().as_str(), fault.to_string())));
                    }
                    if reaction == Reaction::Restart {
                        return Ok(Walked::Restart);
                    }
                    self.endure(reaction, &fault, permit, &mut retry).await?;
                }
            }
        }
    }

    async fn ask<'t>(&'t self, walk: &Walk) -> Result<(Result<Page, MiroError>, Permit<'t>), Stopped> {
        let permit = self.throttle.enter(self.context).await?;
        let answer = self.context.ask(walk.plan(), walk.cursor(), self.priority).await?;
        Ok((answer, permit))
    }

    /// Commits a page.
    async fn keep(self, walk: &mut Walk, page: Page, tally: &mut Tally) -> Result<Next, Stopped> {
        let listed = page.events.len() as u64;
        let step = walk.take(page);
        tally.pages += 1;
        tally.listed += listed;
        if step.left_out > 0 {
            self.context.count_duplicates(step.left_out, tally);
        }
        if !step.events.is_empty() || step.coverage != CoverageChange::None {
            self.context.commit(step.events, step.coverage, tally).await?;
        }
        Ok(step.next)
    }

    async fn endure(self, reaction: Reaction, fault: &MiroError, permit: Permit<'_>, retry: &mut Backoff) -> Result<(), Stopped> {
        let context = self.context;
        match reaction {
            Reaction::SmallerPage => {
                context.shrink_page_size(context.page_size());
            }
            Reaction::Held(_) => debug!(stream = %context.stream(), priority = ?self.priority, "the quota is for others now"),
            Reaction::Throttled(wait) => {
                warn!(stream = %context.stream(), error = %fault, wait_secs = wait.as_secs_f64(), "request refused for a while");
                self.throttle.throttled(wait);
                permit.failed();
            }
            Reaction::Retry => {
                let wait = retry.next_wait();
                warn!(stream = %context.stream(), error = %fault, wait_secs = wait.as_secs_f64(), "request failed, trying again");
                permit.failed();
                self.throttle.rest(context, wait).await?;
            }
            Reaction::Pause | Reaction::Refused | Reaction::Restart => {
                context.blame_person(fault);
                context.held(StreamPhase::Paused);
                self.throttle.pause();
            }
        }
        Ok(())
    }
}

/// A walk through time of the past that is not covered.
pub(super) fn past(context: &Context, part: TimeRange) -> (Plan, Walk) {
    let plan = Plan::past(part, context.cliff());
    (plan, Walk::new(plan, context.coverage(), Sight::Past { part, ids_from: context.ids_from() }))
}

/// A walk through covered time.
pub(super) fn again(context: &Context, part: TimeRange) -> (Plan, Walk) {
    let plan = Plan::again(part, context.cliff());
    (plan, Walk::new(plan, context.coverage(), Sight::Again { part }))
}

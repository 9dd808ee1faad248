//! The past, wherever it is missing: newest first, several windows at once.

use std::{collections::BTreeMap, time::Duration};

use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{
    SPAN_MAX,
    aside::{Asides, Retry},
    context::{Context, Stopped, Tally},
    density::Density,
    throttle::Throttle,
    wanted::{free, missing_length, wanted},
    window::{Attempts, Ended, Walker, past},
};
use crate::{
    coverage::Coverage,
    event::{TimeRange, Timestamp},
    health::{BackfillHealth, RequestHealth},
    miro::Priority,
    source::BackfillState,
};

/// So many windows are open beyond those whose calls are under way, so that there is always one to go on with.
const WINDOWS_READY: usize = 2;
/// What is wanted is looked at anew at least this often: the retention moves, and a clock may.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// Fills what is missing until it is stopped.
#[derive(Debug)]
pub(super) struct Backfill<'c> {
    context: &'c Context,
    throttle: Throttle,
}

/// Who does what.
#[derive(Debug)]
struct Desk {
    density: Density,
    asides: Asides,
    open: BTreeMap<u64, Open>,
    next_number: u64,
    fault: Option<crate::health::Fault>,
}

/// A window in somebody's hands.
#[derive(Debug)]
struct Open {
    range: TimeRange,
    /// It has failed before.
    retry: Option<Retry>,
    dismissed: CancellationToken,
}

/// A finished window.
struct Outcome {
    number: u64,
    ended: Ended,
    tally: Tally,
}

type Workers<'w> = FuturesUnordered<BoxFuture<'w, Result<Outcome, Stopped>>>;

impl<'c> Backfill<'c> {
    pub(super) fn new(context: &'c Context) -> Self {
        Self { context, throttle: Throttle::new(Priority::Backfill) }
    }

    pub(super) async fn run(self) -> Result<(), Stopped> {
        let mut desk = Desk { density: Density::new(), asides: Asides::default(), open: BTreeMap::new(), next_number: 0, fault: None };
        let mut workers = Workers::new();
        let ended = self.work(&mut desk, &mut workers).await;
        // What is being committed is committed; everything else has seen the stop.
        while workers.next().await.is_some() {}
        self.show(&Desk { open: BTreeMap::new(), ..desk }, &self.context.coverage());
        ended
    }

    async fn work<'w>(&'w self, desk: &mut Desk, workers: &mut Workers<'w>) -> Result<(), Stopped> {
        let requests = &self.context.parts.requests;
        loop {
            let moved = self.throttle.moved.notified();
            let coverage = self.context.coverage();
            requests.refresh(&coverage, self.context.cliff()).await;
            self.hand_out(desk, workers, &coverage);
            self.show(desk, &coverage);
            let now = Instant::now();
            let wake_at = desk.asides.next_due().filter(|due| *due > now).unwrap_or(now + LOOK_AGAIN).min(now + LOOK_AGAIN);
            tokio::select! {
                Some(outcome) = workers.next(), if !workers.is_empty() => self.take_back(desk, outcome?),
                () = moved, if !desk.open.is_empty() => {}
                () = self.context.backfill_news.notified() => {}
                () = requests.changed() => {}
                () = tokio::time::sleep_until(wake_at) => {}
                () = self.context.stop.cancelled() => return Err(Stopped),
            }
        }
    }

    /// Opens windows while there is something to do and somebody to do it, and closes those that nobody wants any more.
    fn hand_out<'w>(&'w self, desk: &mut Desk, workers: &mut Workers<'w>, coverage: &Coverage) {
        let wanted = self.wanted(coverage.origin());
        for open in desk.open.values().filter(|open| !wanted.iter().any(|range| overlaps(*range, open.range))) {
            open.dismissed.cancel();
        }
        desk.asides.keep_wanted(&wanted);
        let resting = self.throttle.resting();
        while desk.open.len() < resting + self.throttle.calls_max().min(self.throttle.under_way() + WINDOWS_READY) {
            let Some((range, retry)) = desk.next_window(coverage, &wanted) else { return };
            let attempts = if retry.is_some() { Attempts::One } else { Attempts::Several };
            let number = desk.next_number;
            desk.next_number += 1;
            let dismissed = CancellationToken::new();
            desk.open.insert(number, Open { range, retry, dismissed: dismissed.clone() });
            debug!(stream = %self.context.stream(), window = %range, open = desk.open.len(), "backfill window opened");
            workers.push(Box::pin(self.collect(number, range, attempts, dismissed)));
        }
    }

    fn wanted(&self, origin: Timestamp) -> Vec<TimeRange> {
        wanted(origin, self.context.parts.requests.wanted(), self.context.cliff(), self.context.live_front())
    }

    async fn collect(&self, number: u64, range: TimeRange, attempts: Attempts, dismissed: CancellationToken) -> Result<Outcome, Stopped> {
        let walker = Walker { context: self.context, throttle: &self.throttle, priority: Priority::Backfill, attempts };
        let mut tally = Tally::default();
        let next = |context: &Context| Some(past(context, context.coverage().missing(range).pop()?));
        let ended = walker.collect(next, &dismissed, &mut tally).await?;
        Ok(Outcome { number, ended, tally })
    }

    fn take_back(&self, desk: &mut Desk, outcome: Outcome) {
        let Outcome { number, ended, tally } = outcome;
        let Some(Open { range, retry, .. }) = desk.open.remove(&number) else { return };
        let left = missing_length(&self.context.coverage(), range);
        let walked = range.length().saturating_sub(left);
        match ended {
            Ended::Done | Ended::HandedBack => {
                info!(
                    stream = %self.context.stream(), window = %range, events = tally.events, duplicates = tally.duplicates, late = tally.late,
                    undecodable = tally.undecodable, pages = tally.pages, left_secs = left.as_secs(), "window of the past collected"
                );
                if retry.is_none() {
                    desk.density.observe(walked, tally.listed, self.context.page_size());
                }
                if desk.asides.len() == 0 {
                    desk.fault = None;
                }
            }
            Ended::Failed(class, message) => {
                warn!(stream = %self.context.stream(), window = %range, error = %message, "a window of the past is set aside for a while");
                desk.fault = Some(self.context.fault(class, message));
                desk.density.trouble();
                match retry {
                    Some(retry) => desk.asides.add_again(retry, Instant::now()),
                    None => desk.asides.add(range, Instant::now()),
                }
            }
            Ended::Dismissed => debug!(stream = %self.context.stream(), window = %range, "backfill window dismissed"),
        }
    }

    fn show(&self, desk: &Desk, coverage: &Coverage) {
        let missing = self.wanted(coverage.origin()).into_iter().map(|range| missing_length(coverage, range)).sum();
        let requests = self.context.parts.requests.list().into_iter().filter(|one| one.state == BackfillState::Running);
        let requests =
            requests.map(|one| RequestHealth { id: one.id.0, range: one.range, missing: one.missing_now, events: one.events }).collect();
        let health =
            BackfillHealth { missing, windows: desk.open.len(), set_aside: desk.asides.len(), requests, fault: desk.fault.clone() };
        self.context.board(|row| row.backfill = health);
    }
}

impl Desk {
    /// The newest range that is free, or that failed and is due again.
    fn next_window(&mut self, coverage: &Coverage, wanted: &[TimeRange]) -> Option<(TimeRange, Option<Retry>)> {
        if let Some(retry) = self.asides.take_due(Instant::now()) {
            return Some((retry.range, Some(retry)));
        }
        if self.asides.is_full() {
            return None;
        }
        let taken = self.open.values().map(|open| open.range).chain(self.asides.ranges());
        let hole = free(coverage, wanted, taken).pop()?;
        Some((newest(hole, self.density.span()), None))
    }
}

/// The newest part of a hole, of that length at most; what would be left of it as a splinter goes with it.
fn newest(hole: TimeRange, span: Duration) -> TimeRange {
    let from = hole.to().minus(span).floor_secs();
    if hole.length() <= SPAN_MAX && from <= hole.from().plus(span / 4) {
        return hole;
    }
    TimeRange::new(from.max(hole.from()), hole.to()).unwrap_or(hole)
}

fn overlaps(one: TimeRange, other: TimeRange) -> bool {
    one.from() < other.to() && other.from() < one.to()
}

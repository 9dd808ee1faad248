//! From the supply into a batch: reads ahead by one chunk, filters, formats, and decides when a batch is ready to leave.

use std::collections::VecDeque;

use tokio::{sync::watch, time::Instant};

use super::{Begin, Care, Driver, Earlier, Ended, Extent, Flow, Shutdown, Wanted, pending::Pending};
use crate::{
    event::{Event, Position},
    journal::Chunk,
    retry::Backoff,
    transform::{Mapped, Transform, Transformed, Written},
};

/// A sink that filters nearly everything acks now and then, so that the journal can let go and memory stays bounded.
const FILTERED_MAX: usize = 10_000;

/// What filling came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filled {
    /// There is something to deliver or to ack.
    Batch,
    /// Everything has been delivered, and that was asked for.
    Drained,
    /// It is time to stop, or the supply is gone.
    Stopped,
}

/// The lane's events that come next.
#[derive(Debug)]
pub(super) struct Feed<'a> {
    driver: &'a Driver,
    transform: Transform,
    head: watch::Receiver<Position>,
    /// Read from the supply, not yet in a batch.
    chunk: VecDeque<Event>,
    /// How many events were read.
    read: u64,
    /// Where to read on.
    read_up_to: Position,
    /// Where the next batch begins.
    after: Position,
    backoff: Backoff,
    /// How the run before ended: the first batch may have been sent by it.
    earlier: Earlier,
    /// Why the supply is gone, where it is.
    end: Option<Ended>,
    /// Whether it has been said that the filter's expression fails on events.
    has_told_of_filter: bool,
}

impl<'a> Feed<'a> {
    pub(super) fn new(driver: &'a Driver, begin: Begin) -> Self {
        Self {
            driver,
            transform: Transform::new(&driver.transform, &driver.lane.stream),
            head: driver.supply.head(),
            chunk: VecDeque::new(),
            read: 0,
            read_up_to: begin.after,
            after: begin.after,
            backoff: driver.backoff(),
            earlier: begin.earlier,
            end: None,
            has_told_of_filter: false,
        }
    }

    /// How many events have been put into batches or left out by the filter.
    pub(super) fn taken(&self) -> u64 {
        self.read - self.chunk.len() as u64
    }

    /// How a lane ends whose last fill came to that.
    pub(super) fn ended(self, filled: Filled) -> Ended {
        self.end.unwrap_or(if filled == Filled::Drained { Ended::Delivered } else { Ended::Stopped })
    }

    /// Makes the next batch: returns when it is full, when its first event has waited long enough, or when there is something to ack.
    pub(super) async fn fill(&mut self, pending: &mut Pending, shutdown: &Shutdown) -> Filled {
        pending.clear(self.after);
        let mut leaves_at = None;
        loop {
            if shutdown.stop.is_cancelled() {
                return Filled::Stopped;
            }
            if self.take_from_chunk(pending) == Room::None {
                break;
            }
            let head = *self.head.borrow_and_update();
            if self.read_up_to < head {
                if let Err(end) = self.read(shutdown).await {
                    self.end = Some(end);
                    return Filled::Stopped;
                }
                continue;
            }
            pending.extend_to(self.read_up_to);
            if pending.len() == 0 && pending.filtered_len() > 0 {
                break;
            }
            leaves_at = leaves_at.or_else(|| pending.first().map(|first| self.latest_departure(first)));
            match self.wait_for_more(leaves_at, shutdown).await {
                Wait::More => {}
                Wait::Enough => break,
                Wait::Drained => return Filled::Drained,
                Wait::Stopped => return Filled::Stopped,
            }
        }
        self.after = pending.end();
        if pending.len() > 0 && std::mem::replace(&mut self.earlier, Earlier::AtRest) == Earlier::UnderWay {
            pending.mark_may_have_arrived();
        }
        Filled::Batch
    }

    /// Moves events from the chunk into the batch, until one of them has no more to give.
    fn take_from_chunk(&mut self, pending: &mut Pending) -> Room {
        let limits = self.driver.sink.limits();
        while let Some(event) = self.chunk.pop_front() {
            if pending.len() >= limits.events_max.max(1) || pending.filtered_len() >= FILTERED_MAX {
                self.chunk.push_front(event);
                return Room::None;
            }
            let care = self.driver.supply.care(event.position);
            if care == Care::Alone && pending.len() > 0 {
                self.chunk.push_front(event);
                return Room::None;
            }
            match self.transform.apply(&event, pending.payloads()) {
                Transformed::Filtered => pending.push_filtered(event.position),
                Transformed::Written(_) if pending.len() > 0 && pending.bytes() > limits.bytes_max => {
                    pending.undo();
                    self.chunk.push_front(event);
                    return Room::None;
                }
                Transformed::Written(written) => {
                    self.note(&written);
                    pending.push(event, written.redacted);
                    if care == Care::Alone {
                        pending.mark_may_have_arrived();
                        return Room::None;
                    }
                }
            }
        }
        let full = pending.len() >= limits.events_max.max(1) || pending.bytes() >= limits.bytes_max;
        if full { Room::None } else { Room::Some }
    }

    /// Counts what is remarkable about a record; what the filter could not judge is told once.
    fn note(&mut self, written: &Written) {
        let driver = self.driver;
        if written.mapped == Mapped::Unknown {
            driver.counters.unmapped.increment(1);
        }
        let Some(why) = written.unjudged else { return };
        driver.counters.filter_errors.increment(1);
        if !std::mem::replace(&mut self.has_told_of_filter, true) {
            let (sink, stream, reason) = (driver.sink.name(), &driver.lane.stream, why.as_str());
            tracing::warn!(%sink, %stream, reason, "the filter's expression failed on an event, which is delivered; further ones are only counted");
        }
    }

    /// Reads one chunk, however long it takes.
    async fn read(&mut self, shutdown: &Shutdown) -> Result<(), Ended> {
        let driver = self.driver;
        let limits = driver.sink.limits();
        let wanted = Wanted { after: self.read_up_to, events_max: limits.events_max.max(1), bytes_max: limits.bytes_max };
        let mut failures = 0_u64;
        loop {
            let result = tokio::select! {
                biased;
                () = shutdown.stop.cancelled() => return Err(Ended::Stopped),
                result = driver.supply.read(wanted) => result,
            };
            match result {
                Ok(chunk) if self.is_progress(&chunk) => {
                    if failures > 0 {
                        driver.sink.recovered(&driver.lane);
                    }
                    self.take_chunk(chunk);
                    return Ok(());
                }
                // A newer position is known, and yet there is nothing up to it: asking again at full speed would not help.
                Ok(_) => {
                    tracing::debug!(sink = %driver.sink.name(), lane = %driver.lane, "read made no progress");
                    if driver.wait(self.backoff.next_wait(), shutdown).await == Flow::Stop {
                        return Err(Ended::Stopped);
                    }
                }
                Err(error) => driver.endure(error, &mut self.backoff, shutdown).await?,
            }
            failures += 1;
        }
    }

    fn is_progress(&self, chunk: &Chunk) -> bool {
        !chunk.events.is_empty() || chunk.up_to > self.read_up_to
    }

    fn take_chunk(&mut self, chunk: Chunk) {
        self.backoff.reset();
        self.read_up_to = self.read_up_to.max(chunk.up_to);
        self.read += chunk.events.len() as u64;
        self.chunk = chunk.events.into();
    }

    /// Waits for a newer event, as long as the batch may wait.
    async fn wait_for_more(&mut self, leaves_at: Option<Instant>, shutdown: &Shutdown) -> Wait {
        if shutdown.drain.is_cancelled() || self.driver.supply.extent() == Extent::Ends {
            return if leaves_at.is_some() { Wait::Enough } else { Wait::Drained };
        }
        let flush = async {
            match leaves_at {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = shutdown.stop.cancelled() => Wait::Stopped,
            () = shutdown.drain.cancelled() => Wait::More,
            () = flush => Wait::Enough,
            changed = self.head.changed() => if changed.is_ok() { Wait::More } else { Wait::Stopped },
        }
    }

    /// The flush interval counts from when the event was collected, so that one that waited for a delivery before it does not wait
    /// twice; and never from later than now, whatever the clocks say.
    fn latest_departure(&self, first: &Event) -> Instant {
        let waited = self.driver.sink.clock().now().since(first.collected_at);
        Instant::now() + self.driver.sink.limits().flush_interval.saturating_sub(waited)
    }
}

/// Whether a batch takes more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Room {
    Some,
    None,
}

/// Why a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    More,
    Enough,
    Drained,
    Stopped,
}

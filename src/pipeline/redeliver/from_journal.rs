//! Events of the journal whose time lies in certain ranges, up to a position.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use futures_util::future::BoxFuture;
use tokio::sync::watch;

use super::{
    record::Record,
    replay::{Oldest, oldest},
};
use crate::{
    event::{Event, Position, StreamId, TimeRange},
    journal::{Chunk, Journal, Read},
    sink::driver::{Begin, Earlier, Extent, Supply, SupplyError, Wanted},
};

/// Reads the journal beside the sinks. The journal keeps nothing for it: what it lets go of before it was read is noticed.
#[derive(Debug)]
pub(super) struct FromJournal {
    journal: Arc<dyn Journal>,
    stream: StreamId,
    ranges: Vec<TimeRange>,
    after: Position,
    until: Position,
    /// What the oldest event was at the beginning.
    first: std::sync::Mutex<Option<Oldest>>,
    lost: AtomicBool,
    head: watch::Sender<Position>,
}

impl FromJournal {
    pub(super) fn new(journal: Arc<dyn Journal>, stream: StreamId, ranges: Vec<TimeRange>, record: &Record) -> Self {
        let (after, until) = (Position(record.journal_at), Position(record.until));
        let (head, first) = (watch::Sender::new(Position(u64::MAX)), std::sync::Mutex::default());
        Self { journal, stream, ranges, after, until, first, lost: AtomicBool::new(false), head }
    }

    /// Whether the journal let go of events that were still to be read.
    pub(super) fn has_lost_events(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }

    /// An event without a time counts by when it was collected, as Miro's listing would show it.
    fn takes(&self, event: &Event) -> bool {
        let time = event.time.unwrap_or(event.collected_at);
        event.position <= self.until && self.ranges.iter().any(|range| range.contains(time))
    }

    /// Sees whether what comes next is still there.
    async fn look(&self, after: Position) -> Result<(), SupplyError> {
        let now = oldest(&*self.journal, &self.stream).await?;
        let mut first = self.first.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let before = *first
            .get_or_insert(now.unwrap_or(Oldest { position: Position(u64::MAX), collected_at: crate::event::Timestamp::from_micros(0) }));
        // Without events of its own it may have had some that are gone by now.
        let position = now.map_or(Position(self.until.0 + 1), |oldest| oldest.position);
        if position != before.position && position.0 > after.0 + 1 && before.position <= self.until {
            self.lost.store(true, Ordering::Relaxed);
            return Err(SupplyError::Broken("the journal has let go of events that were to be sent".to_owned()));
        }
        Ok(())
    }
}

impl Supply for FromJournal {
    fn begin(&self) -> BoxFuture<'_, Result<Begin, SupplyError>> {
        Box::pin(async { Ok(Begin { after: self.after, earlier: Earlier::AtRest }) })
    }

    fn read(&self, wanted: Wanted) -> BoxFuture<'_, Result<Chunk, SupplyError>> {
        Box::pin(async move {
            if wanted.after >= self.until {
                return Ok(Chunk { events: Vec::new(), up_to: Position(u64::MAX) });
            }
            let Wanted { after, events_max, bytes_max } = wanted;
            let chunk = self.journal.read(Read { stream: self.stream.clone(), after, events_max, bytes_max }).await?;
            self.look(after).await?;
            let is_last = chunk.up_to >= self.until || (chunk.events.is_empty() && chunk.up_to <= after);
            let events = chunk.events.into_iter().filter(|event| self.takes(event)).collect();
            Ok(Chunk { events, up_to: if is_last { Position(u64::MAX) } else { chunk.up_to } })
        })
    }

    fn head(&self) -> watch::Receiver<Position> {
        self.head.subscribe()
    }

    fn extent(&self) -> Extent {
        Extent::Ends
    }

    fn settled(&self, _: Position) -> BoxFuture<'_, Result<(), SupplyError>> {
        Box::pin(async { Ok(()) })
    }

    fn delivering(&self) -> BoxFuture<'_, Result<(), SupplyError>> {
        Box::pin(async { Ok(()) })
    }

    fn at_rest(&self) -> BoxFuture<'_, Result<(), SupplyError>> {
        Box::pin(async { Ok(()) })
    }
}

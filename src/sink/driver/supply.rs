//! Where a lane's events come from, and who is told when they have their outcome.

use std::{fmt, sync::Arc};

use futures_util::future::BoxFuture;
use thiserror::Error;
use tokio::sync::watch;

use crate::{
    event::{Position, SinkName, StreamId},
    journal::{Chunk, Journal, JournalError, Read},
    sink::dead_letters::{DeadLetter, DeadLetterError, DeadLetters},
};

/// Events in the order of their positions, from where somebody stopped. Dropping a future that it returned loses nothing.
pub trait Supply: Send + Sync + fmt::Debug {
    /// Where to begin.
    fn begin(&self) -> BoxFuture<'_, Result<Begin, SupplyError>>;

    /// The events that come next.
    fn read(&self, wanted: Wanted) -> BoxFuture<'_, Result<Chunk, SupplyError>>;

    /// The newest position, and a notice of each newer one. A supply that ends says `Position(u64::MAX)` and reads up to there at its end.
    fn head(&self) -> watch::Receiver<Position>;

    /// Whether more comes after the head.
    fn extent(&self) -> Extent;

    /// Makes it durable that everything up to that position has its outcome.
    fn settled(&self, up_to: Position) -> BoxFuture<'_, Result<(), SupplyError>>;

    /// How the event at that position, which it has supplied, has to travel.
    fn care(&self, _: Position) -> Care {
        Care::Usual
    }

    /// Makes refused events durable, all or none. Before that, they have no outcome.
    fn set_aside<'a>(&'a self, letters: Vec<DeadLetter>, store: &'a DeadLetters) -> BoxFuture<'a, Result<(), DeadLetterError>> {
        Box::pin(store.put(letters))
    }

    /// From here on a delivery may be under way whenever this process ends. Called once, before the first delivery.
    fn delivering(&self) -> BoxFuture<'_, Result<(), SupplyError>>;

    /// No delivery is under way, and none will begin.
    fn at_rest(&self) -> BoxFuture<'_, Result<(), SupplyError>>;
}

/// What to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Only what comes after this position.
    pub after: Position,
    /// At most so many events.
    pub events_max: usize,
    /// At most so many bytes of raw events together; a single larger event comes alone.
    pub bytes_max: usize,
}

/// How an event has to travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Care {
    /// With its neighbours.
    Usual,
    /// By itself, and as one that may be at the receiver already: nobody knows whether it was among those that were refused, and alone it is
    /// the only one that an answer can be about.
    Alone,
}

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begin {
    /// After this position.
    pub after: Position,
    /// How the time before ended.
    pub earlier: Earlier,
}

/// How the time before ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Earlier {
    /// With nothing under way.
    AtRest,
    /// With a delivery that may have been under way: the first events may be at the receiver already.
    UnderWay,
}

/// Whether more comes after the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Sooner or later.
    Endless,
    /// No: the lane ends there.
    Ends,
}

/// Why a supply could not do what it was asked to.
#[derive(Debug, Error)]
pub enum SupplyError {
    /// It is gone: the lane ends.
    #[error("the supply is closed")]
    Closed,
    /// It failed; to be tried again after a wait.
    #[error("{message}")]
    Failed {
        /// The class, such as `journal`.
        class: &'static str,
        /// What failed, why, and the mend.
        message: String,
        /// How long to wait, where somebody has said so.
        wait: Option<std::time::Duration>,
    },
    /// It has failed for good: the lane ends, and what it has not supplied stays undelivered.
    #[error("{0}")]
    Broken(String),
}

impl From<JournalError> for SupplyError {
    fn from(error: JournalError) -> Self {
        match error {
            JournalError::Closed => Self::Closed,
            other => Self::Failed { class: "journal", message: other.to_string(), wait: None },
        }
    }
}

/// One stream of the journal, from a sink's last ack on.
#[derive(Debug)]
pub(super) struct FromJournal {
    pub(super) journal: Arc<dyn Journal>,
    pub(super) sink: SinkName,
    pub(super) stream: StreamId,
}

/// What the state says while a delivery may be under way.
const UNDER_WAY: &[u8] = b"under way";
const AT_REST: &[u8] = b"at rest";

impl FromJournal {
    fn key(&self) -> String {
        format!("delivery/{}/{}", self.sink, self.stream)
    }
}

impl Supply for FromJournal {
    fn begin(&self) -> BoxFuture<'_, Result<Begin, SupplyError>> {
        Box::pin(async move {
            let Some(after) = self.journal.acked(&self.sink, &self.stream) else {
                let message = format!("the journal has no subscription of the sink {} to {}", self.sink, self.stream);
                return Err(SupplyError::Failed { class: "journal", message, wait: None });
            };
            let is_under_way = self.journal.state(&self.key()).is_some_and(|state| state == UNDER_WAY);
            Ok(Begin { after, earlier: if is_under_way { Earlier::UnderWay } else { Earlier::AtRest } })
        })
    }

    fn read(&self, wanted: Wanted) -> BoxFuture<'_, Result<Chunk, SupplyError>> {
        let Wanted { after, events_max, bytes_max } = wanted;
        let read = Read { stream: self.stream.clone(), after, events_max, bytes_max };
        Box::pin(async move { Ok(self.journal.read(read).await?) })
    }

    fn head(&self) -> watch::Receiver<Position> {
        self.journal.head()
    }

    fn extent(&self) -> Extent {
        Extent::Endless
    }

    fn settled(&self, up_to: Position) -> BoxFuture<'_, Result<(), SupplyError>> {
        Box::pin(async move { Ok(self.journal.ack(&self.sink, &self.stream, up_to).await?) })
    }

    fn delivering(&self) -> BoxFuture<'_, Result<(), SupplyError>> {
        Box::pin(async move {
            let key = self.key();
            if self.journal.state(&key).is_some_and(|state| state == UNDER_WAY) {
                return Ok(());
            }
            Ok(self.journal.put_state(&key, UNDER_WAY.to_vec()).await?)
        })
    }

    fn at_rest(&self) -> BoxFuture<'_, Result<(), SupplyError>> {
        Box::pin(async move {
            let key = self.key();
            if self.journal.state(&key).is_none_or(|state| state == AT_REST) {
                return Ok(());
            }
            Ok(self.journal.put_state(&key, AT_REST.to_vec()).await?)
        })
    }
}

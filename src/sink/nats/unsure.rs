//! What may have been stored although no acknowledgement came, until it is sent again.
//!
//! Sent again in time it does no harm: the stream knows the ids. Later than that it may be there twice, and then it has to be counted.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    event::{Position, StreamId},
    sink::Batch,
};

/// For each stream the first delivery without an answer since the last one with. At most one entry for each stream.
#[derive(Debug, Default)]
pub(super) struct Unsure(Mutex<BTreeMap<StreamId, Sent>>);

#[derive(Clone, Copy, Debug)]
struct Sent {
    at: Instant,
    /// Its last event.
    up_to: Position,
}

impl Unsure {
    /// A delivery that was begun then has ended without an answer.
    pub(super) fn note(&self, batch: &Batch<'_>, began: Instant) {
        let Some(last) = batch.events().last() else { return };
        let mut entries = self.entries();
        let sent = entries.entry(batch.stream().clone()).or_insert(Sent { at: began, up_to: last.position });
        sent.up_to = sent.up_to.max(last.position);
    }

    /// How long ago the oldest event of this batch was sent that may be there; `None` if none of it was.
    pub(super) fn age(&self, batch: &Batch<'_>) -> Option<Duration> {
        let sent = *self.entries().get(batch.stream())?;
        (batch.events().first()?.position <= sent.up_to).then(|| sent.at.elapsed())
    }

    /// A delivery was answered: what it held is settled.
    pub(super) fn settle(&self, batch: &Batch<'_>) {
        let mut entries = self.entries();
        let is_settled = |sent: &Sent| batch.events().last().is_some_and(|last| last.position >= sent.up_to);
        if entries.get(batch.stream()).is_some_and(is_settled) {
            entries.remove(batch.stream());
        }
    }

    /// The driver knows of it now.
    pub(super) fn tell(&self, stream: &StreamId) {
        self.entries().remove(stream);
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<StreamId, Sent>> {
        // Entries are put in and taken out whole, so a thread that panicked has left whole ones.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Event, EventId, OrgName, Origin, StreamKind, Timestamp};

    fn events(positions: std::ops::RangeInclusive<u64>) -> Vec<Event> {
        let now = Timestamp::from_millis(0);
        let event = |position| Event {
            position: Position(position),
            id: EventId::new("x"),
            time: None,
            collected_at: now,
            origin: Origin::Live,
            raw: Vec::new().into(),
        };
        positions.map(event).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_is_unsure_from_its_first_delivery_until_one_is_answered() {
        let [audit, content] = [StreamKind::Audit, StreamKind::Content].map(|kind| StreamId::new(OrgName::new("acme"), kind));
        let (first, half, next) = (events(1..=10), events(1..=5), events(11..=20));
        let ends = [0; 10];
        let (first, half) = (Batch::new(&audit, &first, &[], &ends), Batch::new(&audit, &half, &[], &ends[..5]));
        let (next, other) = (Batch::new(&audit, &next, &[], &ends), Batch::new(&content, &next, &[], &ends));
        let unsure = Unsure::default();
        assert_eq!(unsure.age(&first), None);
        unsure.note(&first, Instant::now());
        tokio::time::advance(Duration::from_secs(5)).await;
        unsure.note(&half, Instant::now());
        assert_eq!((unsure.age(&half), unsure.age(&next), unsure.age(&other)), (Some(Duration::from_secs(5)), None, None));
        unsure.settle(&half);
        assert_eq!(unsure.age(&first), Some(Duration::from_secs(5)), "the other half is not settled");
        unsure.settle(&first);
        assert_eq!(unsure.age(&first), None);
        unsure.note(&first, Instant::now());
        unsure.tell(&audit);
        assert_eq!(unsure.age(&first), None);
    }
}

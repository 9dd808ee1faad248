//! One batch on its way: the events that have no outcome yet, with their records.

use bytes::Bytes;

use crate::{
    event::{Event, Position, StreamId, Timestamp},
    sink::Batch,
};

/// What is known about the attempts to deliver one event.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tries {
    /// How often it was sent.
    pub(super) attempts: u32,
    /// When it was first sent.
    pub(super) first_at: Option<Timestamp>,
    /// Whether an earlier attempt may have arrived.
    pub(super) may_have_arrived: bool,
    /// Whether it has its outcome.
    settled: bool,
}

/// Events in order with their records, and the positions of those that were filtered between them. Its buffers are used again.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// As they may leave.
    events: Vec<Event>,
    /// What Miro sent, where that is something else.
    originals: Vec<Option<Bytes>>,
    payloads: Vec<u8>,
    ends: Vec<usize>,
    tries: Vec<Tries>,
    /// The events before this index have their outcome.
    start: usize,
    filtered: Vec<Position>,
    /// Up to here nothing of the stream is missing from this batch.
    up_to: Position,
}

impl Pending {
    /// Begins a new batch after that position.
    pub(super) fn clear(&mut self, after: Position) {
        self.events.clear();
        self.originals.clear();
        self.payloads.clear();
        self.ends.clear();
        self.tries.clear();
        self.filtered.clear();
        self.start = 0;
        self.up_to = after;
    }

    /// The buffer that the next event's record is written to. Follow it with `push` or `undo`.
    pub(super) fn payloads(&mut self) -> &mut Vec<u8> {
        &mut self.payloads
    }

    /// Takes an event whose record has just been written; `redacted` are its bytes as they may leave, if they are others. From here on a
    /// sink sees nothing else of it.
    pub(super) fn push(&mut self, mut event: Event, redacted: Option<Bytes>) {
        self.originals.push(redacted.map(|redacted| std::mem::replace(&mut event.raw, redacted)));
        self.up_to = event.position;
        self.ends.push(self.payloads.len());
        self.tries.push(Tries::default());
        self.events.push(event);
    }

    /// Forgets the record that was written last and not pushed.
    pub(super) fn undo(&mut self) {
        self.payloads.truncate(self.ends.last().copied().unwrap_or(0));
    }

    /// Notes an event that the filter left out.
    pub(super) fn push_filtered(&mut self, position: Position) {
        self.up_to = position;
        self.filtered.push(position);
    }

    /// Notes that the stream has nothing more up to that position.
    pub(super) fn extend_to(&mut self, up_to: Position) {
        self.up_to = self.up_to.max(up_to);
    }

    /// How many events have no outcome yet.
    pub(super) fn len(&self) -> usize {
        self.events.len() - self.start
    }

    /// How many events are known to be filtered.
    pub(super) fn filtered_len(&self) -> usize {
        self.filtered.len()
    }

    /// Bytes of all records, the settled ones included.
    pub(super) fn bytes(&self) -> usize {
        self.payloads.len()
    }

    /// The first event without an outcome.
    pub(super) fn first(&self) -> Option<&Event> {
        self.events.get(self.start)
    }

    /// How many events from the front fit into so many bytes, one at least.
    pub(super) fn fitting(&self, bytes_max: usize) -> usize {
        let base = self.base();
        let fitting = self.ends[self.start..].iter().take_while(|&&end| end - base <= bytes_max).count();
        fitting.max(1)
    }

    /// The first `count` events without an outcome, to be sent.
    pub(super) fn front<'a>(&'a self, stream: &'a StreamId, count: usize) -> Batch<'a> {
        let whole = Batch::new(stream, &self.events, &self.payloads, &self.ends);
        whole.split_at(self.start).1.split_at(count).0
    }

    /// One of the events without an outcome as Miro sent it, for the dead letters, which stay here.
    pub(super) fn original(&self, index: usize) -> Event {
        let event = self.events[self.start + index].clone();
        match &self.originals[self.start + index] {
            Some(raw) => Event { raw: raw.clone(), ..event },
            None => event,
        }
    }

    /// The tries of the first `count` events without an outcome.
    pub(super) fn tries(&mut self, count: usize) -> &mut [Tries] {
        &mut self.tries[self.start..self.start + count]
    }

    /// Notes that all of them may be at the receiver already.
    pub(super) fn mark_may_have_arrived(&mut self) {
        self.tries[self.start..].iter_mut().for_each(|tries| tries.may_have_arrived = true);
    }

    /// Gives the first `count` events their outcome.
    pub(super) fn settle_front(&mut self, count: usize) {
        self.start += count;
    }

    /// Gives those of the front events their outcome for which `settled` says so; the others stay, in their order.
    pub(super) fn settle_where(&mut self, settled: &[bool]) {
        for (tries, &settled) in self.tries[self.start..].iter_mut().zip(settled) {
            tries.settled = settled;
        }
        while self.tries.get(self.start).is_some_and(|tries| tries.settled) {
            self.start += 1;
        }
        if self.tries[self.start..].iter().any(|tries| tries.settled) {
            self.close_holes();
        }
    }

    /// Moves the events without an outcome together: a batch has no holes.
    fn close_holes(&mut self) {
        let (mut kept, mut written, mut begin) = (self.start, self.base(), self.base());
        for index in self.start..self.events.len() {
            let end = self.ends[index];
            if !self.tries[index].settled {
                self.payloads.copy_within(begin..end, written);
                written += end - begin;
                self.ends[kept] = written;
                self.tries[kept] = self.tries[index];
                self.events.swap(kept, index);
                self.originals.swap(kept, index);
                kept += 1;
            }
            begin = end;
        }
        self.events.truncate(kept);
        self.originals.truncate(kept);
        self.ends.truncate(kept);
        self.tries.truncate(kept);
        self.payloads.truncate(written);
    }

    fn base(&self) -> usize {
        if self.start == 0 { 0 } else { self.ends[self.start - 1] }
    }

    /// Up to here nothing of the stream is missing from this batch.
    pub(super) fn end(&self) -> Position {
        self.up_to
    }

    /// Up to here every event of the stream has its outcome.
    pub(super) fn settled_up_to(&self) -> Position {
        self.first().map_or(self.up_to, |event| Position(event.position.0 - 1))
    }

    /// How many filtered events lie up to that position; each is told once.
    pub(super) fn take_filtered(&mut self, up_to: Position) -> u64 {
        let count = self.filtered.partition_point(|&position| position <= up_to);
        self.filtered.drain(..count).len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{EventId, OrgName, Origin, StreamKind};

    fn pending(positions: &[u64]) -> Pending {
        let mut pending = Pending::default();
        for &position in positions {
            let raw = format!("{position}");
            pending.payloads().extend_from_slice(raw.as_bytes());
            let now = Timestamp::from_millis(0);
            let id = EventId::new(raw.clone());
            pending.push(
                Event { position: Position(position), id, time: None, collected_at: now, origin: Origin::Live, raw: Bytes::from(raw) },
                None,
            );
        }
        pending
    }

    #[track_caller]
    fn check(pending: &Pending, positions: &[u64]) {
        let stream = StreamId::new(OrgName::new("acme"), StreamKind::Audit);
        let batch = pending.front(&stream, pending.len());
        assert_eq!(batch.events().iter().map(|event| event.position.0).collect::<Vec<_>>(), positions);
        for (event, payload) in batch.iter() {
            assert_eq!(payload, event.position.0.to_string().as_bytes());
        }
    }

    #[test]
    fn scattered_outcomes_leave_the_rest_in_order_with_its_records() {
        let mut pending = pending(&[5, 10, 100, 1000, 10_000, 7]);
        pending.settle_where(&[true, false, true, false, true]);
        check(&pending, &[10, 1000, 7]);
        assert_eq!(pending.settled_up_to(), Position(9));
        pending.settle_where(&[false, true]);
        check(&pending, &[10, 7]);
        pending.settle_front(1);
        check(&pending, &[7]);
        pending.settle_where(&[true]);
        assert_eq!((pending.len(), pending.settled_up_to()), (0, Position(7)));
    }

    #[test]
    fn nothing_is_settled_past_the_first_event_without_an_outcome() {
        let mut pending = pending(&[5, 6]);
        pending.push_filtered(Position(9));
        pending.extend_to(Position(20));
        assert_eq!(pending.settled_up_to(), Position(4));
        pending.settle_where(&[false, true]);
        assert_eq!(pending.settled_up_to(), Position(4));
        assert_eq!(pending.take_filtered(Position(4)), 0);
        pending.settle_front(1);
        assert_eq!(pending.settled_up_to(), Position(20));
        assert_eq!((pending.take_filtered(Position(20)), pending.take_filtered(Position(20))), (1, 0));
    }

    #[test]
    fn what_fits_is_counted_from_the_front_and_is_never_nothing() {
        let mut pending = pending(&[1, 22, 333, 4444]);
        assert_eq!([0, 1, 2, 3, 6, 9, 10, 99].map(|bytes| pending.fitting(bytes)), [1, 1, 1, 2, 3, 3, 4, 4]);
        pending.settle_front(2);
        assert_eq!([1, 3, 6, 7].map(|bytes| pending.fitting(bytes)), [1, 1, 1, 2]);
    }
}

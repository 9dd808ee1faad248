//! How much of a batch spans no more time than a table of the Auxiliary plan takes at once.
//!
//! Such a table refuses a whole request whose first and last event are more than 30 minutes apart (the code
//! `RecordsTimeRangeIsMoreThan30Minutes`). Which time it goes by is the rule's transformation: with Miro's tables it is the event's own.

use std::time::Duration;

use crate::event::Event;

/// Half an hour, less a margin for what a transformation rounds.
pub(super) const SPAN_MAX: Duration = Duration::from_secs(29 * 60);

/// How many events from the front are no further apart than that; one at least. An event without a time counts as received now, so it
/// goes only with others like it.
pub(super) fn leading(events: &[Event]) -> usize {
    let Some(first) = events.first() else { return 0 };
    let Some(time) = first.time else { return events.iter().take_while(|event| event.time.is_none()).count() };
    let (mut oldest, mut newest) = (time, time);
    let fits = |event: &&Event| {
        let Some(time) = event.time else { return false };
        (oldest, newest) = (oldest.min(time), newest.max(time));
        newest.since(oldest) <= SPAN_MAX
    };
    events.iter().take_while(fits).count().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{EventId, Origin, Position, Timestamp};

    #[track_caller]
    fn check(minutes: &[Option<i64>], expected: usize) {
        let event = |minute: &Option<i64>| Event {
            position: Position(1),
            id: EventId::new("a"),
            time: minute.map(|minute| Timestamp::from_millis(minute * 60_000)),
            collected_at: Timestamp::from_millis(0),
            origin: Origin::Live,
            raw: "{}".into(),
        };
        assert_eq!(leading(&minutes.iter().map(event).collect::<Vec<_>>()), expected, "{minutes:?}");
    }

    #[test]
    fn the_front_ends_where_the_time_it_spans_would_be_too_long() {
        check(&[], 0);
        check(&[Some(5)], 1);
        check(&[Some(0), Some(29), Some(30)], 2);
        check(&[Some(100), Some(80), Some(72), Some(71), Some(70)], 4);
        check(&[Some(0), Some(60)], 1);
        check(&[Some(0), None, Some(1)], 1);
        check(&[None, None, Some(1)], 2);
    }
}

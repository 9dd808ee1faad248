//! Which object an event belongs to, what it is called and what it holds.

use std::collections::HashMap;

use sha2::{Digest as _, Sha256};

use crate::sink::{Batch, file::template::Template, ndjson};

/// Digits of the digest in a key: enough that two contents with the same positions differ, short enough to be read.
const DIGEST_DIGITS: usize = 16;
/// Digits of a position, so that keys sort as positions do: as many as the largest one has.
const POSITION_DIGITS: usize = 20;

/// The events of a batch that have one prefix.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Group {
    /// What their keys begin with.
    pub(super) prefix: String,
    /// Their indices in the batch, in order.
    pub(super) events: Vec<usize>,
}

/// The events by prefix, in the order in which the prefixes occur.
pub(super) fn groups(template: &Template, batch: &Batch<'_>) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut of_period: HashMap<i64, usize> = HashMap::new();
    for (index, event) in batch.events().iter().enumerate() {
        let time = event.time.unwrap_or(event.collected_at);
        let group = *of_period.entry(template.period(time)).or_insert_with(|| {
            let prefix = template.path(batch.stream(), time).to_string_lossy().into_owned();
            groups.iter().position(|group| group.prefix == prefix).unwrap_or_else(|| {
                groups.push(Group { prefix, events: Vec::new() });
                groups.len() - 1
            })
        });
        groups[group].events.push(index);
    }
    groups
}

/// The lines of these events.
pub(super) fn lines(batch: &Batch<'_>, events: &[usize]) -> Vec<u8> {
    let records = || events.iter().map(|&event| batch.payload(event));
    let mut lines = Vec::with_capacity(records().map(|record| record.len() + 1).sum());
    records().for_each(|record| ndjson::push_line(record, &mut lines));
    lines
}

/// The key of an object with these events, without its end; `None` if there are none.
pub(super) fn key(prefix: &str, batch: &Batch<'_>, events: &[usize]) -> Option<String> {
    let last = batch.events()[*events.last()?].position;
    Some(format!("{}{:0POSITION_DIGITS$}-{}", beginning(prefix, batch, events)?, last.0, digest(batch, events)))
}

/// What the keys of all objects begin with that begin with the first of these events.
pub(super) fn beginning(prefix: &str, batch: &Batch<'_>, events: &[usize]) -> Option<String> {
    let first = batch.events()[*events.first()?].position;
    Some(format!("{prefix}{:0POSITION_DIGITS$}-", first.0))
}

/// How many of these events are in the object of that key, whose beginning is theirs: it has to hold exactly them, byte for byte.
pub(super) fn there(rest_of_key: &str, batch: &Batch<'_>, events: &[usize]) -> Option<usize> {
    let (last, rest) = rest_of_key.split_at_checked(POSITION_DIGITS)?;
    let last: u64 = last.parse().ok()?;
    let digest_there = rest.strip_prefix('-')?.split_once('.')?.0;
    let count = events.iter().take_while(|&&event| batch.events()[event].position.0 <= last).count();
    (count > 0 && digest(batch, &events[..count]) == digest_there).then_some(count)
}

fn digest(batch: &Batch<'_>, events: &[usize]) -> String {
    let digest = Sha256::digest(lines(batch, events));
    let mut digits = digest.iter().fold(String::with_capacity(64), |digits, byte| digits + &format!("{byte:02x}"));
    digits.truncate(DIGEST_DIGITS);
    digits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Event, EventId, OrgName, Origin, Position, StreamId, StreamKind, Timestamp};

    fn event(position: u64, time: &str) -> Event {
        Event {
            position: Position(position),
            id: EventId::new(position.to_string()),
            time: Timestamp::parse(time).ok(),
            collected_at: Timestamp::parse("2026-02-03T00:00:00Z").expect("a time"),
            origin: Origin::Live,
            raw: Vec::new().into(),
        }
    }

    fn with_batch<T>(events: &[Event], check: impl FnOnce(&Batch<'_>) -> T) -> T {
        let (stream, mut payloads, mut ends) = (StreamId::new(OrgName::new("acme"), StreamKind::Audit), Vec::new(), Vec::new());
        for event in events {
            payloads.extend_from_slice(format!("{{\"n\":{}}}", event.position).as_bytes());
            ends.push(payloads.len());
        }
        check(&Batch::new(&stream, events, &payloads, &ends))
    }

    #[test]
    fn events_of_one_day_share_an_object_whatever_their_order() {
        let events = [
            event(1, "2026-01-31T23:59:59Z"),
            event(2, "2026-02-01T00:00:00Z"),
            event(3, "2026-01-31T00:00:00Z"),
            event(4, "no time"),
            event(5, "2026-02-01T10:00:00Z"),
        ];
        let check = |prefix: &str, expected: &[(&str, &[usize])]| {
            let template = Template::prefix(prefix).expect("a prefix");
            let expected: Vec<Group> =
                expected.iter().map(|(prefix, events)| Group { prefix: (*prefix).to_owned(), events: events.to_vec() }).collect();
            with_batch(&events, |batch| assert_eq!(groups(&template, batch), expected));
        };
        check(
            "{org}/{stream}/%F/",
            &[("acme/audit/2026-01-31/", &[0, 2]), ("acme/audit/2026-02-01/", &[1, 4]), ("acme/audit/2026-02-03/", &[3])],
        );
        check("x-", &[("x-", &[0, 1, 2, 3, 4])]);
        check("", &[("", &[0, 1, 2, 3, 4])]);
        check("%Y/%H/", &[("2026/23/", &[0]), ("2026/00/", &[1, 2, 3]), ("2026/10/", &[4])]);
    }

    #[test]
    fn a_key_sorts_by_position_and_tells_its_content() {
        let events: Vec<Event> = (9..=11).map(|position| event(position, "2026-01-31T00:00:00Z")).collect();
        with_batch(&events, |batch| {
            assert_eq!(lines(batch, &[0, 2]), b"{\"n\":9}\n{\"n\":11}\n");
            // sha256sum of these two lines.
            let expected = "p/00000000000000000009-00000000000000000011-f0a8eba20a8099da";
            assert_eq!(key("p/", batch, &[0, 2]).as_deref(), Some(expected));
            assert_eq!(key("p/", batch, &[]), None);
        });
    }

    #[test]
    fn an_object_is_there_only_if_it_holds_exactly_these_events() {
        let events: Vec<Event> = (1..=5).map(|position| event(position, "2026-01-31T00:00:00Z")).collect();
        with_batch(&events, |batch| {
            let (all, some) = ([0, 1, 2, 4], [0, 1, 2]);
            let rest =
                |events: &[usize]| key("p/", batch, events).expect("a key").split_off("p/00000000000000000001-".len()) + ".ndjson.zst";
            assert_eq!(there(&rest(&some), batch, &all), Some(3));
            assert_eq!(there(&rest(&all), batch, &all), Some(4));
            assert_eq!(there(&rest(&all), batch, &some), None, "it holds more than can be told from here");
            assert_eq!(there(&rest(&[0, 2]), batch, &all), None, "it holds something else");
            for odd in ["", "x", "00000000000000000002", "00000000000000000002-", "0000000000000000000é-x.ndjson"] {
                assert_eq!(there(odd, batch, &all), None, "{odd}");
            }
        });
    }
}

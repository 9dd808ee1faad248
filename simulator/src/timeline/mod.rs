//! When things happen: the ordered list of a stream's events, as 16 bytes each.
//!
//! A slot says when an event was created and when it becomes visible. What the event says is rendered from the seed and the slot's
//! number each time it is served, so a million events cost 16 MB and every answer has the same bytes. Time is cut into hours
//! counted from the organisation's start; each hour's slots are a pure function of seed, stream and hour, and future hours are made
//! when the clock reaches them. Events that tests inject are kept beside the slots and merged into every listing.
//!
//! Nothing here is durable: a simulator that starts again with the same configuration is the same, without what was injected.

mod rhythm;
pub(crate) mod story;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::config::{SimConfig, Stream};
use crate::mix::Mix;
use story::Scripted;

const HOUR_US: i64 = 3_600_000_000;
const KEY_HOUR: u64 = 301;

/// Generated numbers stay below this one, injected ones start here; both have 19 digits.
const INJECTED_BASE: u64 = 9_000_000_000_000_000_000;
const NUMBER_BASE: [u64; 3] = [3_458_764_517_517_852_417, 3_458_764_549_483_493_025, 3_458_764_600_000_000_007];
const NUMBER_STEP: u64 = 9_973;

/// This slot's `createdAt` is written in whole seconds.
const TAG_WHOLE_SECOND: u32 = 1 << 31;

/// One generated event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Slot {
    /// Creation, in microseconds since 1970. Whole seconds for content and AI entries.
    pub(crate) at_us: i64,
    /// How long after creation it becomes visible, in milliseconds.
    delay_ms: u32,
    tag: u32,
}

impl Slot {
    pub(crate) fn visible_us(self) -> i64 {
        self.at_us + i64::from(self.delay_ms) * 1_000
    }

    pub(crate) fn whole_second(self) -> bool {
        self.tag & TAG_WHOLE_SECOND != 0
    }

    /// Index into the scripted events.
    pub(crate) fn scripted(self) -> Option<usize> {
        (self.tag & !TAG_WHOLE_SECOND).checked_sub(1).map(|at| at as usize)
    }
}

/// An event made by a test.
#[derive(Debug)]
pub(crate) struct Injected {
    pub(crate) raw: Vec<u8>,
    pub(crate) id: Option<String>,
    pub(crate) visible_us: i64,
}

/// A place in a listing's order: creation time, then number. It is what cursors stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) at_us: i64,
    pub(crate) number: u64,
}

/// One event of a listing, not yet rendered.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: Key,
    pub(crate) what: What,
}

#[derive(Clone, Debug)]
pub(crate) enum What {
    /// The event with this sequence number in its stream.
    Generated(u64, Slot),
    Injected(Arc<Injected>),
}

impl Entry {
    pub(crate) fn visible_us(&self) -> i64 {
        match &self.what {
            What::Generated(_, slot) => slot.visible_us(),
            What::Injected(event) => event.visible_us,
        }
    }
}

/// Whether a listing goes from old to new or back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Ascending,
    Descending,
}

/// Part of a stream: half-open in time, optionally after (or, descending, before) a key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) from_us: i64,
    pub(crate) to_us: i64,
    pub(crate) past: Option<Key>,
    pub(crate) order: Order,
}

/// All events of one stream.
#[derive(Debug)]
pub(crate) struct Timeline {
    plan: Plan,
    slots: Vec<Slot>,
    next_hour: i64,
    injected: BTreeMap<Key, Arc<Injected>>,
}

/// What decides the slots of each hour.
#[derive(Debug)]
struct Plan {
    stream: Stream,
    seed: u64,
    origin_us: i64,
    total_weight: u64,
    total_events: u64,
    live: bool,
    live_per_hour: Option<f64>,
    late_fraction: f64,
    late_max_ms: u32,
    scripted: Arc<Vec<Scripted>>,
}

impl Timeline {
    /// The whole history; `scripted` is empty except for audit events.
    pub(crate) fn new(config: &SimConfig, stream: Stream, scripted: Arc<Vec<Scripted>>) -> Self {
        let origin_us = config.now.timestamp() * 1_000_000;
        let first_hour = -i64::from(config.days) * 24;
        let past_script = scripted.iter().filter(|event| event.at_us < origin_us).count() as u64;
        let plan = Plan {
            stream,
            seed: config.seed,
            origin_us,
            total_weight: (first_hour..0).map(|hour| u64::from(rhythm::weight(origin_us + hour * HOUR_US))).sum::<u64>().max(1),
            total_events: if config.days == 0 { 0 } else { config.events(stream).saturating_sub(past_script) },
            live: config.is_live(),
            live_per_hour: config.live_rate(stream).map(|rate| rate * 60.0),
            late_fraction: config.late_fraction,
            late_max_ms: milliseconds(config.late_max),
            scripted,
        };
        let mut timeline = Self { plan, slots: Vec::new(), next_hour: first_hour, injected: BTreeMap::new() };
        let mut weight_before = 0;
        for hour in first_hour..0 {
            weight_before = timeline.grow_history(hour, weight_before);
        }
        timeline.next_hour = 0;
        timeline
    }

    fn grow_history(&mut self, hour: i64, weight_before: u64) -> u64 {
        let plan = &self.plan;
        let weight_after = weight_before + u64::from(rhythm::weight(plan.origin_us + hour * HOUR_US));
        let share = |weight: u64| (u128::from(plan.total_events) * u128::from(weight) / u128::from(plan.total_weight)) as u64;
        let count = share(weight_after) - share(weight_before);
        plan.fill(hour, count, &mut self.slots);
        weight_after
    }

    /// Whether hours have begun whose slots do not exist yet.
    pub(crate) fn is_behind(&self, now_us: i64) -> bool {
        self.plan.live && self.plan.origin_us + self.next_hour * HOUR_US <= now_us
    }

    /// Makes the slots of every hour that has begun.
    pub(crate) fn catch_up(&mut self, now_us: i64) {
        while self.is_behind(now_us) {
            let count = self.plan.live_count(self.next_hour);
            self.plan.fill(self.next_hour, count, &mut self.slots);
            self.next_hour += 1;
        }
    }

    pub(crate) fn inject(&mut self, at_us: i64, event: Injected) {
        let number = INJECTED_BASE + self.injected.len() as u64;
        self.injected.insert(Key { at_us, number }, Arc::new(event));
    }

    fn key(&self, at: usize) -> Key {
        key_of(self.plan.stream, at as u64, self.slots[at])
    }

    /// How many events exist (not: are visible) at this moment.
    pub(crate) fn len(&self, now_us: i64) -> usize {
        self.slots.partition_point(|slot| slot.at_us <= now_us) + self.injected.len()
    }

    /// The events of a span in its order, visible or not.
    pub(crate) fn entries(&self, span: Span) -> Box<dyn Iterator<Item = Entry> + '_> {
        let (mut low, mut high) = (Key { at_us: span.from_us, number: 0 }, Key { at_us: span.to_us, number: 0 });
        match (span.order, span.past) {
            (Order::Ascending, Some(past)) => low = low.max(Key { number: past.number + 1, ..past }),
            (Order::Descending, Some(past)) => high = high.min(past),
            (_, None) => {}
        }
        if low >= high {
            return Box::new(std::iter::empty());
        }
        let start = self.lower_bound(low);
        let end = self.lower_bound(high).max(start);
        let entry = |at: usize| Entry { key: self.key(at), what: What::Generated(at as u64, self.slots[at]) };
        let extra = self.injected.range(low..high).map(|(key, event)| Entry { key: *key, what: What::Injected(Arc::clone(event)) });
        match span.order {
            Order::Ascending if self.injected.is_empty() => Box::new((start..end).map(entry)),
            Order::Ascending => Box::new(merge((start..end).map(entry), extra, |a, b| a < b)),
            Order::Descending => Box::new(merge((start..end).rev().map(entry), extra.rev(), |a, b| a > b)),
        }
    }

    fn lower_bound(&self, key: Key) -> usize {
        let mut at = self.slots.partition_point(|slot| slot.at_us < key.at_us);
        while at < self.slots.len() && self.slots[at].at_us == key.at_us && self.key(at) < key {
            at += 1;
        }
        at
    }
}

fn key_of(stream: Stream, sequence: u64, slot: Slot) -> Key {
    Key { at_us: slot.at_us, number: NUMBER_BASE[stream.index()] + sequence * NUMBER_STEP }
}

fn merge<'a>(
    left: impl Iterator<Item = Entry> + 'a,
    right: impl Iterator<Item = Entry> + 'a,
    first: impl Fn(Key, Key) -> bool + 'a,
) -> impl Iterator<Item = Entry> + 'a {
    let (mut left, mut right) = (left.peekable(), right.peekable());
    std::iter::from_fn(move || match (left.peek(), right.peek()) {
        (Some(a), Some(b)) if first(b.key, a.key) => right.next(),
        (Some(_), _) => left.next(),
        (None, _) => right.next(),
    })
}

impl Plan {
    fn live_count(&self, hour: i64) -> u64 {
        let mut mix = Mix::of(&[self.seed, KEY_HOUR, 1, self.stream.index() as u64, hour as u64]);
        let weight = f64::from(rhythm::weight(self.origin_us + hour * HOUR_US));
        let expected = match self.live_per_hour {
            Some(rate) => rate,
            None => self.total_events as f64 * weight / self.total_weight as f64,
        };
        expected as u64 + u64::from(mix.chance(expected.fract()))
    }

    /// Adds the slots of one hour, sorted: `count` by chance, and the scripted ones.
    fn fill(&self, hour: i64, count: u64, slots: &mut Vec<Slot>) {
        let mut mix = Mix::of(&[self.seed, KEY_HOUR, 0, self.stream.index() as u64, hour as u64]);
        let start_us = self.origin_us + hour * HOUR_US;
        let from = slots.len();
        let mut previous_us = start_us;
        for _ in 0..count {
            let at_us = match mix.below(1_000) {
                // Several events in one microsecond, and several in one millisecond.
                0..3 => previous_us,
                3..40 => previous_us - previous_us.rem_euclid(1_000) + mix.below(1_000) as i64,
                _ => start_us + mix.below(HOUR_US as u64) as i64,
            };
            previous_us = at_us.max(start_us);
            slots.push(self.slot(previous_us, 0, &mut mix));
        }
        let first = self.scripted.partition_point(|event| event.at_us < start_us);
        let last = self.scripted.partition_point(|event| event.at_us < start_us + HOUR_US);
        for at in first..last {
            slots.push(self.slot(self.scripted[at].at_us, at as u32 + 1, &mut mix));
        }
        slots[from..].sort_unstable();
    }

    fn slot(&self, at_us: i64, script: u32, mix: &mut Mix) -> Slot {
        let late_ms = if mix.chance(self.late_fraction) { 1 + mix.below(u64::from(self.late_max_ms)) as u32 } else { 0 };
        let into_second_ms = (at_us.rem_euclid(1_000_000) / 1_000) as u32 + 1;
        let whole_second = at_us - at_us.rem_euclid(1_000_000);
        if self.stream != Stream::Audit {
            // Such entries show whole seconds, yet come to be within them.
            return Slot { at_us: whole_second, delay_ms: into_second_ms.saturating_add(late_ms), tag: 0 };
        }
        if script == 0 && mix.below(200) == 0 {
            return Slot { at_us: whole_second, delay_ms: late_ms, tag: TAG_WHOLE_SECOND };
        }
        Slot { at_us, delay_ms: late_ms, tag: script }
    }
}

fn milliseconds(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;

use chrono::{DateTime, Utc};

use super::*;

fn start() -> DateTime<Utc> {
    "2026-11-20T13:00:00Z".parse().expect("a time")
}

fn config() -> SimConfig {
    SimConfig { now: start(), audit_events: 5_000, live: crate::LiveMode::Rhythm, late_fraction: 0.1, ..SimConfig::default().with_days(10) }
}

fn timeline(config: &SimConfig) -> Timeline {
    Timeline::new(config, Stream::Audit, Arc::new(Vec::new()))
}

fn all(order: Order) -> Span {
    Span { from_us: 0, to_us: i64::MAX, past: None, order }
}

#[test]
fn the_history_has_the_events_asked_for_sorted_and_before_now() {
    let config = SimConfig { audit_events: 5_000, ..config() };
    let timeline = timeline(&config);
    assert_eq!(timeline.slots.len(), 5_000);
    assert!(timeline.slots.is_sorted());
    assert!(timeline.slots.iter().all(|slot| slot.at_us < start().timestamp_micros()));
    let keys: Vec<Key> = timeline.entries(all(Order::Ascending)).map(|entry| entry.key).collect();
    assert!(keys.windows(2).all(|pair| pair[0] < pair[1]), "keys are unique and ascend");
}

#[test]
fn a_slot_is_sixteen_bytes() {
    assert_eq!(size_of::<Slot>(), 16);
}

#[test]
fn live_hours_do_not_depend_on_when_they_are_asked_for() {
    let now = start().timestamp_micros();
    let (mut at_once, mut in_steps) = (timeline(&config()), timeline(&config()));
    at_once.catch_up(now + 50 * HOUR_US);
    for step in 0..=500 {
        in_steps.catch_up(now + step * HOUR_US / 10);
    }
    assert_eq!(at_once.slots, in_steps.slots);
    assert!(at_once.slots.len() > 5_200);
}

#[test]
fn descending_is_ascending_reversed_with_injected_events_in_place() {
    let mut timeline = timeline(&config());
    let middle = timeline.slots[2_500].at_us;
    for at_us in [0, middle, middle, i64::MAX - 1] {
        timeline.inject(at_us, Injected { raw: b"{}".to_vec(), id: None, visible_us: at_us });
    }
    let keys = |order| -> Vec<Key> { timeline.entries(all(order)).map(|entry| entry.key).collect() };
    let mut backwards = keys(Order::Descending);
    backwards.reverse();
    assert_eq!(backwards, keys(Order::Ascending));
    assert!(backwards.is_sorted());
    assert_eq!(backwards.len(), 5_004);
}

#[test]
fn continuing_past_any_key_gives_exactly_the_rest() {
    let mut timeline = timeline(&SimConfig { audit_events: 300, ..config() });
    timeline.inject(timeline.slots[100].at_us, Injected { raw: b"{}".to_vec(), id: None, visible_us: 0 });
    for order in [Order::Ascending, Order::Descending] {
        let keys: Vec<Key> = timeline.entries(all(order)).map(|entry| entry.key).collect();
        for (at, key) in keys.iter().enumerate() {
            let rest: Vec<Key> = timeline.entries(Span { past: Some(*key), ..all(order) }).map(|entry| entry.key).collect();
            assert_eq!(rest, keys[at + 1..], "{order:?} after {at}");
        }
    }
}

#[test]
fn the_asked_for_share_of_events_is_late() {
    let timeline = timeline(&SimConfig { late_max: Duration::from_secs(7_200), ..config() });
    let late: Vec<i64> = timeline.slots.iter().map(|slot| slot.visible_us() - slot.at_us).filter(|delay| *delay > 0).collect();
    assert!((400..600).contains(&late.len()), "{}", late.len());
    assert!(late.iter().all(|delay| *delay <= 7_200_000_000));
    assert!(late.iter().any(|delay| *delay > 3_600_000_000));
}

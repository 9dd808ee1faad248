//! Whatever a receiver answers, and whenever the driver is dropped: every event gets its outcome, in order, and no ack runs ahead.
//! (That no ack runs ahead is checked at each ack by the bench.)

use std::{collections::BTreeMap, time::Duration};

use miro_siem::{
    config::settings::FilterSettings,
    event::Event,
    sink::{ErrorClass, Verdict, driver::Limits},
};
use proptest::prelude::*;

use crate::support::{Answer, Bench, FILTERED_NAME, ScriptedSink, bench_limits};

/// What is to become of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Fine,
    Filtered,
    Poison,
    TooLarge,
}

/// How the receiver is in one delivery.
#[derive(Clone, Copy, Debug)]
enum Mood {
    Well,
    /// Says which events it has taken up to a point.
    Prefix(usize),
    /// Says of each event whether it has taken it: some are left for later.
    Scattered(u64),
    Down(ErrorClass),
    Lost,
    Hangs,
}

fn fates() -> impl Strategy<Value = Vec<Fate>> {
    let fate = prop_oneof![8 => Just(Fate::Fine), 2 => Just(Fate::Filtered), 1 => Just(Fate::Poison), 1 => Just(Fate::TooLarge)];
    proptest::collection::vec(fate, 1..60)
}

fn moods() -> impl Strategy<Value = Vec<Mood>> {
    let wait = (0_u64..2_000).prop_map(|secs| Mood::Down(ErrorClass::Throttled(Some(Duration::from_secs(secs)))));
    let down = prop::sample::select(vec![
        ErrorClass::Throttled(None),
        ErrorClass::Retryable,
        ErrorClass::Ambiguous,
        ErrorClass::Auth,
        ErrorClass::Config,
    ]);
    let mood = prop_oneof![
        4 => Just(Mood::Well),
        2 => (0_usize..12).prop_map(Mood::Prefix),
        2 => any::<u64>().prop_map(Mood::Scattered),
        1 => wait,
        2 => down.prop_map(Mood::Down),
        2 => Just(Mood::Lost),
        1 => Just(Mood::Hangs),
    ];
    proptest::collection::vec(mood, 0..40)
}

fn answer(mood: Mood, fates: &[Fate]) -> Answer {
    let says = |index: usize, taken: bool| match (fates[index], taken) {
        (Fate::Fine, true) => Verdict::Accepted,
        (Fate::Poison | Fate::TooLarge, true) => Verdict::Rejected("no".to_owned()),
        _ => Verdict::NotTaken,
    };
    let each = |taken: &dyn Fn(usize) -> bool| Answer::Each((0..fates.len()).map(|index| says(index, taken(index))).collect());
    match mood {
        Mood::Prefix(len) => each(&|index| index < len),
        Mood::Scattered(bits) => each(&|index| bits >> (index % 64) & 1 == 1),
        Mood::Down(class) => Answer::Fails(class),
        Mood::Hangs => Answer::Hangs,
        Mood::Well | Mood::Lost if fates.contains(&Fate::TooLarge) => Answer::Fails(ErrorClass::TooLarge),
        Mood::Well | Mood::Lost if fates.contains(&Fate::Poison) => Answer::Fails(ErrorClass::Rejected),
        Mood::Lost => Answer::TakesAndFails(ErrorClass::Ambiguous),
        Mood::Well => Answer::All,
    }
}

fn bench(fates: &[Fate], moods: &[Mood], events_max: usize) -> Bench {
    let (of, moods) = (fates.to_vec(), moods.to_vec());
    let mut moods = moods.into_iter();
    let sink = ScriptedSink::new(move |call| {
        let sent: Vec<_> = call.positions.iter().map(|position| of[*position as usize - 1]).collect();
        answer(moods.next().unwrap_or(Mood::Well), &sent)
    });
    let mut bench = Bench::with(sink, Limits { events_max, ..bench_limits() }, 1 << 20);
    bench.filter = FilterSettings { exclude_events: vec![FILTERED_NAME.to_owned()], ..FilterSettings::default() };
    for fate in fates {
        let name = if *fate == Fate::Filtered { FILTERED_NAME } else { "board_opened" };
        bench.collect_event(|event| Event { raw: format!(r#"{{"id":"{}","event":"{name}"}}"#, event.id).into(), ..event });
    }
    bench
}

/// Copies of each event at the receiver, and dead letters of each.
fn outcomes(bench: &Bench) -> (BTreeMap<u64, u64>, BTreeMap<u64, u64>) {
    let count = |positions: Vec<u64>| {
        let mut counts = BTreeMap::new();
        positions.into_iter().for_each(|position| *counts.entry(position).or_insert(0) += 1);
        counts
    };
    (count(bench.sink.taken()), count(bench.letters().into_iter().map(|letter| letter.event.position.0).collect()))
}

fn of_fate(fates: &[Fate], wanted: &[Fate]) -> Vec<u64> {
    (1..).zip(fates).filter(|(_, fate)| wanted.contains(fate)).map(|(position, _)| position).collect()
}

fn on_paused_clock<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime");
    runtime.block_on(test)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn every_event_gets_exactly_one_outcome(fates in fates(), moods in moods(), events_max in 1_usize..30) {
        on_paused_clock(async {
            let bench = bench(&fates, &moods, events_max);
            bench.deliver_everything().await;
            let (taken, letters) = outcomes(&bench);
            prop_assert_eq!(taken.keys().copied().collect::<Vec<_>>(), of_fate(&fates, &[Fate::Fine]));
            prop_assert_eq!(letters.keys().copied().collect::<Vec<_>>(), of_fate(&fates, &[Fate::Poison, Fate::TooLarge]));
            prop_assert!(letters.values().all(|&count| count == 1));
            let [delivered, filtered, dead_lettered, possible_duplicates] = bench.counts();
            prop_assert_eq!([delivered, dead_lettered], [taken.len() as u64, letters.len() as u64]);
            prop_assert_eq!(filtered, of_fate(&fates, &[Fate::Filtered]).len() as u64);
            let seen_again: u64 = taken.values().map(|copies| copies - 1).sum();
            prop_assert!(possible_duplicates >= seen_again, "{} counted, {} seen", possible_duplicates, seen_again);
            Ok(())
        })?;
    }

    #[test]
    fn the_order_of_a_stream_is_kept_unless_the_receiver_itself_leaves_gaps(fates in fates(), moods in moods(), events_max in 1_usize..30) {
        let moods: Vec<_> = moods.into_iter().filter(|mood| !matches!(mood, Mood::Scattered(_))).collect();
        on_paused_clock(async {
            let bench = bench(&fates, &moods, events_max);
            bench.deliver_everything().await;
            let mut newest = 0;
            for call in bench.sink.calls() {
                prop_assert!(call.positions.windows(2).all(|pair| pair[0] < pair[1]));
                let first = call.positions[0];
                let skipped = (newest + 1..first).any(|position| fates[position as usize - 1] == Fate::Fine && !bench.sink.taken().contains(&position));
                prop_assert!(!skipped, "an event was left behind before {}", first);
                newest = newest.max(*call.positions.last().expect("never empty"));
            }
            let mut first_copies = Vec::new();
            bench.sink.taken().into_iter().for_each(|position| if !first_copies.contains(&position) { first_copies.push(position) });
            prop_assert!(first_copies.is_sorted(), "{:?}", first_copies);
            Ok(())
        })?;
    }

    #[test]
    fn a_driver_dropped_at_random_moments_loses_nothing(
        fates in fates(), moods in moods(), events_max in 1_usize..30, lives in proptest::collection::vec(0_u64..90_000, 0..12),
    ) {
        on_paused_clock(async {
            let bench = bench(&fates, &moods, events_max);
            for millis in lives {
                bench.run_for(Duration::from_millis(millis)).await;
            }
            bench.deliver_everything().await;
            let (taken, letters) = outcomes(&bench);
            prop_assert_eq!(taken.keys().copied().collect::<Vec<_>>(), of_fate(&fates, &[Fate::Fine]));
            prop_assert_eq!(letters.keys().copied().collect::<Vec<_>>(), of_fate(&fates, &[Fate::Poison, Fate::TooLarge]));
            Ok(())
        })?;
    }
}

//! Transitions, step by step, and rules that hold for any history of coverage.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::{
    coverage::Coverage,
    source::gaps::{History, Outline},
};

const MINUTE: Duration = Duration::from_secs(60);
/// Overdue is what has waited for 15 minutes.
const POLL: Duration = Duration::from_secs(300);
const RETENTION_MINUTES: u32 = 1_000;

fn at(minute: i64) -> Timestamp {
    Timestamp::from_millis(1_767_225_600_000 + minute * 60_000)
}

fn minute(time: Timestamp) -> i64 {
    (time.as_micros() - at(0).as_micros()) / 60_000_000
}

fn range(from: i64, to: i64) -> TimeRange {
    span(at(from), at(to))
}

fn coverage(origin: i64, covered: &[(i64, i64)]) -> Coverage {
    let mut coverage = Coverage::starting_at(at(origin));
    covered.iter().for_each(|(from, to)| coverage.add(range(*from, *to)).expect("apart"));
    coverage
}

fn view(coverage: &Coverage, now: i64, live_since: i64, history: History) -> View<'_> {
    View { coverage, now: at(now), live_since: at(live_since), retention: MINUTE * RETENTION_MINUTES, poll_interval: POLL, history }
}

/// A change in a few words: what, which gap, which range, how much of it is lost.
fn told(change: &Change) -> String {
    let what = match change.kind {
        ChangeKind::Opened => "opened".to_owned(),
        ChangeKind::Warned(percent) => format!("warned {percent}"),
        ChangeKind::PartlyLost => "partly lost".to_owned(),
        ChangeKind::Closed => "closed".to_owned(),
        ChangeKind::Lost => "lost".to_owned(),
    };
    let lost = change.lost.as_secs() / 60;
    let lost = if lost > 0 { format!(" lost {lost}") } else { String::new() };
    format!("{} {what} {}..{}{lost}", minute(change.gap.key), minute(change.range.from()), minute(change.range.to()))
}

/// At that minute, with that covered, what changes.
struct Step(i64, &'static [(i64, i64)], &'static [&'static str]);

/// A stream that began at minute 0 and has been polled since then.
#[track_caller]
fn check(steps: &[Step]) -> Ledger {
    check_history(0, &steps.iter().map(|step| (History::Moving, step)).collect::<Vec<_>>())
}

/// One that began to be polled later, so that what lies before is history.
#[track_caller]
fn check_history(live_since: i64, steps: &[(History, &Step)]) -> Ledger {
    let mut ledger = Ledger::default();
    for (history, Step(now, covered, expected)) in steps {
        let coverage = coverage(0, covered);
        let changes = ledger.judge(&view(&coverage, *now, live_since, *history), &|_| "scripted".to_owned());
        assert_eq!(changes.iter().map(told).collect::<Vec<_>>(), *expected, "at minute {now}");
        // What is stored is what counts.
        assert_eq!(Ledger::decode(&ledger.encode()), Ok(ledger.clone()));
    }
    ledger
}

#[test]
fn an_outage_opens_one_gap_after_three_intervals_and_closes_it() {
    let ledger = check(&[
        Step(5, &[(0, 5)], &[]),
        Step(19, &[(0, 5)], &[]),
        Step(20, &[(0, 5)], &["5 opened 5..20"]),
        Step(180, &[(0, 5)], &[]),
        Step(185, &[(0, 5), (184, 185)], &[]),
        Step(186, &[(0, 100), (150, 185)], &[]),
        Step(187, &[(0, 187)], &["5 closed 5..184"]),
        Step(190, &[(0, 187)], &[]),
    ]);
    assert_eq!(ledger.ended().len(), 1);
}

#[test]
fn a_gap_that_splits_is_the_same_gap_until_all_of_it_is_filled() {
    check(&[
        Step(200, &[(0, 50), (100, 200)], &["50 opened 50..100"]),
        Step(201, &[(0, 50), (60, 80), (90, 200)], &[]),
        Step(202, &[(0, 80), (90, 200)], &[]),
        Step(203, &[(0, 200)], &["50 closed 50..100"]),
    ]);
}

#[test]
fn a_hole_is_a_gap_once_it_has_waited_for_three_intervals() {
    check(&[
        Step(100, &[(0, 90), (95, 100)], &[]),
        Step(104, &[(0, 90), (95, 104)], &[]),
        Step(105, &[(0, 90), (95, 105)], &["90 opened 90..95"]),
    ]);
}

#[test]
fn lag_after_a_gap_is_no_part_of_it() {
    // The poll covers up to exactly where the gap was last seen; what comes after waits for the next one.
    check(&[Step(100, &[(0, 50)], &["50 opened 50..100"]), Step(101, &[(0, 100)], &["50 closed 50..100"]), Step(110, &[(0, 100)], &[])]);
}

#[test]
fn the_same_time_that_is_missing_again_is_another_gap() {
    let ledger = check(&[
        Step(100, &[(0, 50), (60, 100)], &["50 opened 50..60"]),
        Step(101, &[(0, 101)], &["50 closed 50..60"]),
        Step(102, &[(0, 50), (60, 102)], &["50 opened 50..60"]),
    ]);
    assert_ne!(ledger.gaps()[0].opened_at, ledger.ended()[0].gap.opened_at);
}

#[test]
fn warnings_come_at_50_75_and_90_percent_and_only_the_highest_at_once() {
    check(&[
        Step(400, &[(0, 100), (200, 400)], &["100 opened 100..200"]),
        Step(599, &[(0, 100), (200, 599)], &[]),
        Step(600, &[(0, 100), (200, 600)], &["100 warned 50 100..200"]),
        Step(601, &[(0, 100), (200, 601)], &[]),
        Step(1_050, &[(0, 100), (200, 1_050)], &["100 warned 90 100..200"]),
        Step(1_051, &[(0, 1_051)], &["100 closed 100..200"]),
    ]);
    check(&[Step(860, &[(0, 100), (200, 860)], &["100 opened 100..200", "100 warned 75 100..200"])]);
}

#[test]
fn what_is_filled_at_its_oldest_end_is_further_from_the_cliff() {
    check(&[
        Step(400, &[(0, 100), (200, 400)], &["100 opened 100..200"]),
        Step(650, &[(0, 180), (200, 650)], &[]),
        Step(680, &[(0, 180), (200, 680)], &["100 warned 50 180..200"]),
    ]);
}

#[test]
fn past_the_retention_a_gap_is_partly_lost_then_lost() {
    check(&[
        Step(400, &[(0, 100), (200, 400)], &["100 opened 100..200"]),
        Step(1_150, &[(0, 100), (200, 1_150)], &["100 partly lost 100..200 lost 50"]),
        Step(1_160, &[(0, 100), (200, 1_160)], &[]),
        Step(1_200, &[(0, 100), (200, 1_200)], &["100 lost 100..200 lost 100"]),
        Step(9_000, &[(0, 100), (200, 9_000)], &[]),
    ]);
}

#[test]
fn a_gap_whose_rest_is_collected_is_lost_with_what_was_not() {
    let ledger = check(&[
        Step(1_150, &[(0, 100), (200, 1_150)], &["100 opened 100..200 lost 50", "100 partly lost 100..200 lost 50"]),
        Step(1_151, &[(0, 100), (151, 1_151)], &["100 lost 100..151 lost 51"]),
        Step(1_300, &[(0, 100), (151, 1_300)], &[]),
    ]);
    assert_eq!((ledger.ended()[0].end, ledger.ended()[0].lost), (End::Lost, MINUTE * 51));
}

#[test]
fn a_long_absence_is_one_gap() {
    check(&[
        Step(100, &[(0, 100)], &[]),
        Step(3_000, &[(0, 100)], &["100 opened 100..3000 lost 1900", "100 partly lost 100..3000 lost 1900"]),
        Step(3_001, &[(0, 100), (2_001, 3_001)], &["100 lost 100..2001 lost 1901"]),
    ]);
}

#[test]
fn history_that_the_backfill_has_not_reached_is_no_gap_while_it_gets_on() {
    use History::{Moving, Stalled};
    check_history(
        500,
        &[
            (Moving, &Step(520, &[(500, 520)], &[])),
            (Moving, &Step(540, &[(400, 540)], &[])),
            (Stalled, &Step(560, &[(400, 560)], &["0 opened 0..400", "0 warned 50 0..400"])),
            (Moving, &Step(580, &[(300, 580)], &[])),
            (Moving, &Step(600, &[(0, 600)], &["0 closed 0..400"])),
        ],
    );
    // An outage while history is pending is a gap of its own, up to now.
    check_history(
        500,
        &[(Moving, &Step(560, &[(400, 530)], &["530 opened 530..560"])), (Moving, &Step(570, &[(300, 570)], &["530 closed 530..560"]))],
    );
}

#[test]
fn history_that_falls_past_the_retention_is_named_once() {
    use History::Moving;
    check_history(
        990,
        &[
            (Moving, &Step(1_000, &[(500, 1_000)], &[])),
            (Moving, &Step(1_001, &[(500, 1_001)], &["0 opened 0..500 lost 1", "0 partly lost 0..500 lost 1"])),
            (Moving, &Step(1_010, &[(200, 1_010)], &[])),
            (Moving, &Step(1_020, &[(20, 1_020)], &["0 lost 0..20 lost 20"])),
            (Moving, &Step(1_030, &[(20, 1_030)], &[])),
        ],
    );
}

#[test]
fn a_clock_that_is_set_back_closes_nothing_and_one_that_was_ahead_is_made_good() {
    check(&[
        Step(200, &[(0, 100)], &["100 opened 100..200"]),
        Step(90, &[(0, 100)], &[]),
        Step(201, &[(0, 100)], &[]),
        Step(202, &[(0, 202)], &["100 closed 100..201"]),
    ]);
    check(&[
        Step(5_000, &[(0, 100)], &["100 opened 100..5000 lost 3900", "100 partly lost 100..5000 lost 3900"]),
        Step(101, &[(0, 101)], &["100 closed 100..5000"]),
    ]);
}

#[test]
fn what_is_found_in_front_of_a_gap_joins_it() {
    let ledger = check(&[
        Step(100, &[(0, 50), (60, 100)], &["50 opened 50..60"]),
        Step(101, &[(0, 40), (60, 101)], &[]),
        Step(102, &[(0, 40), (50, 102)], &[]),
    ]);
    assert_eq!(ledger.ranges(), [range(40, 60)]);
}

#[test]
fn more_gaps_than_are_told_apart_join_their_neighbours() {
    let mut covered = Coverage::starting_at(at(0));
    (0..150).for_each(|hole| covered.add(range(hole * 2, hole * 2 + 1)).expect("apart"));
    covered.add(range(300, 400)).expect("apart");
    let (mut ledger, mut opened) = (Ledger::default(), 0);
    loop {
        let changes = ledger.judge(&view(&covered, 400, 0, History::Moving), &|_| String::new());
        assert!(changes.len() <= CHANGES_MAX);
        if changes.is_empty() {
            break;
        }
        opened += changes.iter().filter(|change| change.kind == ChangeKind::Opened).count();
    }
    assert_eq!((opened, ledger.gaps().len()), (100, 100));
    let outline = ledger.outline(&view(&covered, 400, 0, History::Moving));
    assert_eq!(Outline::total(&outline.open), MINUTE * 150);
    let inside: Duration = ledger.gaps().iter().map(|gap| Outline::total(&Missing::of(gap, &outline).open)).sum();
    assert_eq!(inside, MINUTE * 150, "every open minute is in a gap");
}

#[test]
fn what_ended_leaves_the_ledger_after_90_days_and_is_not_found_again() {
    let mut ledger = check(&[Step(1_200, &[(0, 100), (110, 1_200)], &["100 opened 100..110 lost 10", "100 lost 100..110 lost 10"])]);
    let later = 1_200 + 91 * 24 * 60;
    let covered = coverage(0, &[(0, 100), (110, later)]);
    let outline = ledger.outline(&view(&covered, later, 0, History::Moving));
    assert_eq!(outline.lost, [range(100, 110)], "it is still lost");
    for _ in 0..2 {
        assert!(ledger.judge(&view(&covered, later, 0, History::Moving), &|_| String::new()).is_empty());
        assert!(ledger.ended().is_empty() && ledger.gaps().is_empty());
    }
}

#[test]
fn a_cause_is_cut_where_a_character_ends() {
    let long = cut("é".repeat(200));
    assert!(long.len() <= CAUSE_BYTES_MAX && long.ends_with("é…"), "{long}");
    assert_eq!(cut("short".to_owned()), "short");
}

/// What happens to a stream: time passes, ranges are covered, a damaged record takes some out again.
#[derive(Clone, Debug)]
enum Happening {
    Passes(i64),
    Covers(i64, i64),
    Loses(i64, i64),
    Restart,
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        4 => (0_i64..60).prop_map(Happening::Passes),
        1 => (0_i64..900).prop_map(Happening::Passes),
        6 => (0_i64..3_000, 1_i64..400).prop_map(|(from, length)| Happening::Covers(from, from + length)),
        1 => (0_i64..3_000, 1_i64..100).prop_map(|(from, length)| Happening::Loses(from, from + length)),
        1 => Just(Happening::Restart),
    ]
}

fn minutes(ranges: &[TimeRange]) -> BTreeSet<i64> {
    ranges.iter().flat_map(|range| minute(range.from())..minute(range.to())).collect()
}

/// The events of one gap in order: opened first, warnings that rise, then at most one end.
#[derive(Default)]
struct Life {
    warned: u8,
    losing: bool,
    ended: bool,
}

proptest! {
    // A hundred histories of dozens of steps, each compared minute by minute.
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// Against plain sets of minutes: what the ledger holds is what coverage says, whatever happens, and each gap's events make sense.
    #[test]
    fn the_ledger_agrees_with_coverage(live_since in 0_i64..500, happenings in proptest::collection::vec(happening(), 1..80)) {
        let (mut ledger, mut now, mut covered) = (Ledger::default(), live_since, Coverage::starting_at(at(0)));
        let mut lives: BTreeMap<(i64, i64), Life> = BTreeMap::new();
        for happens in happenings {
            match happens {
                Happening::Passes(minutes) => now += minutes,
                Happening::Covers(from, to) => for part in covered.missing(range(from.min(now), to.min(now))) { covered.add(part).expect("missing"); },
                Happening::Loses(from, to) => covered.remove(range(from, to)),
                Happening::Restart => ledger = Ledger::decode(&ledger.encode()).expect("what was written is read"),
            }
            let view = view(&covered, now, live_since, History::Moving);
            loop {
                let changes = ledger.judge(&view, &|_| String::new());
                if changes.is_empty() { break; }
                for change in changes {
                    let which = (minute(change.gap.key), minute(change.gap.opened_at));
                    match change.kind {
                        ChangeKind::Opened => prop_assert!(lives.insert(which, Life::default()).is_none(), "opened twice: {which:?}"),
                        kind => {
                            let life = lives.get_mut(&which).expect("it was opened");
                            prop_assert!(!life.ended, "ended before: {}", told(&change));
                            match kind {
                                ChangeKind::Warned(percent) => { prop_assert!(percent > life.warned); life.warned = percent; }
                                ChangeKind::PartlyLost => { prop_assert!(!life.losing); life.losing = true; }
                                _ => life.ended = true,
                            }
                        }
                    }
                }
            }
            let outline = ledger.outline(&view);
            let missing: BTreeSet<i64> = (0..now).filter(|minute| !covered.contains(at(*minute))).collect();
            let cliff = now - i64::from(RETENTION_MINUTES);
            let lost: BTreeSet<i64> = missing.iter().copied().filter(|minute| *minute < cliff).collect();
            prop_assert_eq!(&minutes(&outline.lost), &lost);
            prop_assert_eq!(Outline::total(&outline.lost), MINUTE * lost.len() as u32);
            // Whatever can still be collected is exactly one of open, pending and lag.
            let parts = [minutes(&outline.open), minutes(&outline.pending), minutes(outline.lag.as_slice())];
            let together: BTreeSet<i64> = parts.iter().flatten().copied().collect();
            prop_assert_eq!(parts.iter().map(BTreeSet::len).sum::<usize>(), together.len());
            prop_assert_eq!(&together, &missing.difference(&lost).copied().collect::<BTreeSet<_>>());
            // Nothing that is overdue hides, and whatever is open or lost is in a gap, each in one.
            let overdue = parts[1].iter().chain(&parts[2]).find(|minute| **minute >= live_since && **minute <= now - 15);
            prop_assert_eq!(overdue, None);
            let held: Vec<TimeRange> = ledger.gaps().iter().map(|gap| gap.range).collect();
            prop_assert!(held.windows(2).all(|pair| pair[0].to() <= pair[1].from()), "gaps are apart: {held:?}");
            prop_assert!(parts[0].is_subset(&minutes(&held)));
            let ended = ledger.ended().iter().filter(|ended| ended.end == End::Lost).map(|ended| ended.gap.range);
            prop_assert!(lost.is_subset(&minutes(&held.iter().copied().chain(ended).collect::<Vec<_>>())));
            // A gap without anything missing has ended.
            for gap in &held { prop_assert!(!minutes(&[*gap]).is_disjoint(&missing), "{gap:?} is filled"); }
        }
    }
}

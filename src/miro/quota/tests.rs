//! Who may call when: a quota with a clock that the test moves.

use super::*;
use crate::miro::LogKind;

const NOW: Timestamp = Timestamp::from_millis(1_769_851_810_000);
const AUDIT: Endpoint = Endpoint::Log(LogKind::Audit);
const CONTENT: Endpoint = Endpoint::Log(LogKind::Content);
const AI: Endpoint = Endpoint::Log(LogKind::Ai);
const PERIOD: Duration = Duration::from_secs(60);

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn quota() -> Quota {
    share(1.0)
}

fn share(fraction: f64) -> Quota {
    Quota::new(OrgName::new("acme"), QuotaShare::new(fraction).expect("a fraction"), Metrics::new())
}

fn reading(remaining: u32, resets_in_secs: u64) -> QuotaReading {
    QuotaReading { limit: Some(100_000), remaining: Some(remaining), resets_at: Some(NOW.plus(secs(resets_in_secs))) }
}

/// A quota that has just heard that.
fn with(remaining: u32, resets_in_secs: u64) -> Quota {
    let quota = quota();
    quota.observe(None, reading(remaining, resets_in_secs), NOW);
    quota
}

fn live(quota: &Quota, endpoint: Endpoint, now: Timestamp) -> Option<Duration> {
    quota.ready_in(endpoint, Priority::Live, now)
}

#[test]
fn what_nothing_is_known_about_may_go_lower_calls_one_at_a_time() {
    let quota = quota();
    assert_eq!(live(&quota, CONTENT, NOW), None);
    let first = quota.admit(AUDIT, Priority::Backfill, NOW).expect("nothing is known");
    assert_eq!(live(&quota, CONTENT, NOW), None);
    quota.admit(AUDIT, Priority::Backfill, NOW).expect_err("the first has not told yet");
    first.answered(reading(99_900, 60), NOW);
    quota.admit(AUDIT, Priority::Backfill, NOW).expect("now it is known");
}

#[test]
fn a_live_call_waits_for_the_credits_that_it_costs() {
    let quota = with(2_000, 30);
    assert_eq!(live(&quota, CONTENT, NOW), None);
    let under_way = quota.admit(Endpoint::TokenInfo, Priority::Live, NOW).expect("50 credits are there");
    assert_eq!(live(&quota, CONTENT, NOW), Some(secs(30)));
    assert_eq!(live(&quota, AUDIT, NOW), None);
    drop(under_way);
    assert_eq!(live(&quota, CONTENT, NOW), None);
}

#[test]
fn answers_out_of_order_do_not_bring_credits_back() {
    let quota = with(100, 30);
    quota.observe(None, reading(5_000, 31), NOW);
    assert_eq!(quota.reading(), reading(100, 30));
    assert_eq!(live(&quota, CONTENT, NOW), Some(secs(30)));
    quota.observe(None, reading(90_000, 90), NOW);
    assert_eq!(live(&quota, CONTENT, NOW), None, "the next minute");
    quota.observe(None, reading(0, 30), NOW);
    assert_eq!(live(&quota, CONTENT, NOW), None, "a late answer of the minute before");
}

#[test]
fn credits_come_back_at_the_reset_or_after_a_minute() {
    let quota = with(0, 30);
    assert_eq!(live(&quota, AUDIT, NOW.plus(secs(29))), Some(secs(1)));
    assert_eq!(live(&quota, AUDIT, NOW.plus(secs(30))), None);
    let silent_on_reset = self::quota();
    silent_on_reset.observe(None, QuotaReading { remaining: Some(0), ..QuotaReading::default() }, NOW);
    assert_eq!(live(&silent_on_reset, AUDIT, NOW), Some(PERIOD));
}

#[test]
fn of_two_dictated_waits_the_longer_one_counts_and_none_is_shorter_than_a_second() {
    let quota = quota();
    assert_eq!(quota.block(secs(40), NOW), secs(40));
    quota.block(secs(5), NOW.plus(secs(1)));
    assert_eq!(live(&quota, AUDIT, NOW.plus(secs(1))), Some(secs(39)));
    assert_eq!(self::quota().block(Duration::ZERO, NOW), secs(1));
}

#[test]
fn a_clock_that_is_set_back_does_not_make_a_wait_longer() {
    let quota = with(0, 30);
    quota.block(secs(40), NOW);
    let back = NOW.minus(secs(86_400));
    assert_eq!(live(&quota, AUDIT, back), None);
    quota.admit(AUDIT, Priority::Backfill, back).expect("nothing is known of that time");
}

/// How many lower calls of that kind go within a window of that length, one after another, each answered at once.
fn spend(quota: &Quota, endpoint: Endpoint, priority: Priority, from: Timestamp, window: Duration, mut remaining: u32) -> Vec<Duration> {
    let (mut times, mut now) = (Vec::new(), from);
    while now.since(from) < window {
        match quota.admit(endpoint, priority, now) {
            Ok(call) => {
                remaining -= endpoint.documented().0;
                call.answered(QuotaReading { limit: Some(100_000), remaining: Some(remaining), resets_at: Some(from.plus(window)) }, now);
                times.push(now.since(from));
            }
            Err(wait) => now = now.plus(wait.clamp(millis(1), secs(1))),
        }
    }
    times
}

#[test]
fn lower_calls_use_all_of_the_minute_at_an_even_pace() {
    for (endpoint, calls) in [(AUDIT, 1_000), (CONTENT, 50)] {
        let quota = with(100_000, 60);
        let times = spend(&quota, endpoint, Priority::Backfill, NOW, PERIOD, 100_000);
        assert!(times.len() * 100 >= calls * 98 && times.len() <= calls, "{endpoint:?}: {} calls", times.len());
        for tenth in 1..10 {
            let gone = times.iter().filter(|at| **at < secs(6) * tenth).count();
            let (least, most) = (calls * (tenth as usize - 1) / 10, calls * (tenth as usize + 1) / 10);
            assert!((least..=most + 1).contains(&gone), "{endpoint:?}: {gone} calls after {tenth} tenths");
        }
    }
}

#[test]
fn a_share_holds_lower_calls_and_no_live_one() {
    let quota = share(0.25);
    quota.observe(None, reading(100_000, 60), NOW);
    let times = spend(&quota, AUDIT, Priority::Backfill, NOW, PERIOD, 100_000);
    assert!((240..=250).contains(&times.len()), "{} of 250 calls", times.len());
    assert!(quota.ready_in(AUDIT, Priority::Backfill, NOW.plus(secs(58))).is_some());
    assert_eq!(live(&quota, CONTENT, NOW.plus(secs(58))), None, "live is not held by the share");
}

#[test]
fn a_share_holds_where_no_answer_speaks_of_the_quota_and_without_one_calls_just_go() {
    let silent = |fraction| {
        let quota = share(fraction);
        quota.admit(AUDIT, Priority::Live, NOW).expect("nothing is known").answered(QuotaReading::default(), NOW);
        let (mut calls, mut now) = (0, NOW);
        while now.since(NOW) < PERIOD && calls < 5_000 {
            match quota.admit(AUDIT, Priority::Backfill, now) {
                Ok(call) => {
                    call.answered(QuotaReading::default(), now);
                    calls += 1;
                }
                Err(wait) => now = now.plus(wait.max(millis(1))),
            }
        }
        calls
    };
    assert!((480..=500).contains(&silent(0.5)), "{} of 500 calls", silent(0.5));
    assert_eq!(silent(1.0), 5_000);
}

/// Whether a lower call may go with so many credits left, where these live calls are announced, in seconds from now.
#[track_caller]
fn check_reserve(planned: &[(Endpoint, i64)], remaining: u32, lower: Endpoint, goes: bool) {
    let quota = with(remaining, 30);
    for (endpoint, at) in planned {
        let at = if *at < 0 { NOW.minus(secs(at.unsigned_abs())) } else { NOW.plus(secs(at.unsigned_abs())) };
        quota.plan_live(*endpoint, at);
    }
    for priority in [Priority::Reconcile, Priority::Backfill] {
        assert_eq!(with_pace_at_rest(&quota, lower, priority), goes, "{planned:?}, {remaining} left, {lower:?}");
    }
}

fn with_pace_at_rest(quota: &Quota, endpoint: Endpoint, priority: Priority) -> bool {
    quota.state().governor.wait(endpoint, priority, NOW).is_none()
}

#[test]
fn room_is_left_for_live_calls_that_fall_due_before_the_credits_come_back() {
    check_reserve(&[], 100, AUDIT, true);
    check_reserve(&[], 99, AUDIT, false);
    check_reserve(&[(CONTENT, 10)], 2_099, AUDIT, false);
    check_reserve(&[(CONTENT, 10)], 2_100, AUDIT, true);
    check_reserve(&[(CONTENT, 31)], 100, AUDIT, true);
    check_reserve(&[(CONTENT, -5)], 2_099, AUDIT, false);
    check_reserve(&[(CONTENT, -60)], 100, AUDIT, true);
    check_reserve(&[(CONTENT, 10), (AUDIT, 20)], 2_199, AUDIT, false);
    check_reserve(&[(CONTENT, 10), (AUDIT, 20)], 2_200, AUDIT, true);
    // Two content calls and an audit call are within a twentieth of the quota.
    check_reserve(&[(CONTENT, 1), (AI, 2), (AUDIT, 3)], 4_199, AUDIT, false);
    check_reserve(&[(CONTENT, 1), (AI, 2), (AUDIT, 3)], 4_200, AUDIT, true);
}

#[test]
fn the_reserve_is_never_more_than_a_few_per_cent_or_one_call() {
    let limited = |limit: u32, remaining: u32| {
        let quota = quota();
        quota.observe(None, QuotaReading { limit: Some(limit), ..reading(remaining, 30) }, NOW);
        [CONTENT, AI, AUDIT].iter().for_each(|endpoint| quota.plan_live(*endpoint, NOW.plus(secs(1))));
        with_pace_at_rest(&quota, AUDIT, Priority::Backfill)
    };
    assert!(limited(20_000, 2_100) && !limited(20_000, 2_099));
    assert!(limited(60_000, 3_100) && !limited(60_000, 3_099));
}

#[test]
fn a_live_call_that_waits_goes_before_any_lower_one() {
    let quota = with(150, 30);
    assert!(quota.ready_in(CONTENT, Priority::Live, NOW).is_some(), "2 000 credits are not there");
    assert!(quota.admit(AUDIT, Priority::Backfill, NOW).is_err(), "100 are, and they are not for a backfill now");
    assert_eq!(live(&quota, AUDIT, NOW), None);
}

#[test]
fn a_reconcile_call_that_waits_goes_before_a_backfill() {
    let quota = with(100_000, 60);
    // The pace is used up first.
    while quota.admit(AUDIT, Priority::Backfill, NOW).is_ok() {}
    let wait = quota.ready_in(AUDIT, Priority::Reconcile, NOW).expect("it is not due yet");
    let due = NOW.plus(wait);
    assert!(quota.admit(AUDIT, Priority::Backfill, due).is_err(), "reconcile waits");
    quota.admit(AUDIT, Priority::Reconcile, due).expect("it is due");
    let next = quota.ready_in(AUDIT, Priority::Backfill, due).expect("not at the same instant");
    quota.admit(AUDIT, Priority::Backfill, due.plus(next)).expect("nobody else waits");
    // One that was seen waiting and then went away does not hold up anybody for long.
    quota.ready_in(AUDIT, Priority::Reconcile, due).expect("it waits");
    quota.admit(AUDIT, Priority::Backfill, due.plus(secs(6))).expect("it has given up");
}

#[test]
fn at_the_turn_of_the_minute_one_call_finds_out_and_a_reset_that_comes_late_is_waited_for() {
    let quota = with(0, 30);
    let over = NOW.plus(secs(30));
    let probe = quota.admit(AUDIT, Priority::Backfill, over).expect("the minute is over");
    quota.admit(AUDIT, Priority::Backfill, over).expect_err("one at a time");
    // It was not over yet: the reset was rounded down.
    quota.block(Duration::ZERO, over);
    drop(probe);
    quota.observe(None, reading(100_000, 91), over.plus(secs(1)));
    let next = NOW.plus(secs(91));
    assert_eq!(quota.ready_in(AUDIT, Priority::Backfill, next), Some(secs(1)), "from now on a second later");
    quota.admit(AUDIT, Priority::Backfill, next.plus(secs(1))).expect("now it is over");
}

#[test]
fn a_cost_that_is_not_the_documented_one_is_learned_from_what_remains() {
    let quota = with(100_000, 60);
    for (index, remaining) in [99_500, 99_000, 98_500].into_iter().enumerate() {
        let at = NOW.plus(secs(index as u64 * 5));
        let call = quota.admit(AUDIT, Priority::Live, at).expect("there is room");
        call.answered(QuotaReading { resets_at: Some(NOW.plus(secs(60))), ..reading(remaining, 60) }, at);
    }
    let at = NOW.plus(secs(15));
    quota.observe(None, reading(499, 60), at);
    assert_eq!(live(&quota, AUDIT, at), Some(secs(45)), "it costs 500 here");
}

#[test]
fn what_goes_on_beside_a_call_says_nothing_about_its_cost() {
    let quota = with(100_000, 60);
    for remaining in [99_000, 98_000, 97_000, 96_000] {
        let (one, other) =
            (quota.admit(AUDIT, Priority::Live, NOW).expect("room"), quota.admit(CONTENT, Priority::Live, NOW).expect("room"));
        one.answered(reading(remaining, 60), NOW);
        drop((one, other));
    }
    quota.observe(None, reading(100, 60), NOW);
    assert_eq!(live(&quota, AUDIT, NOW), None);
}

#[test]
fn a_quota_that_is_not_counted_is_not_paced() {
    let quota = with(100_000, 60);
    let mut calls = 0;
    while calls < 10_000
        && let Ok(call) = quota.admit(AUDIT, Priority::Backfill, NOW)
    {
        call.answered(reading(100_000, 60), NOW);
        calls += 1;
    }
    assert_eq!(calls, 10_000);
}

#[test]
fn calls_in_parallel_never_spend_more_than_there_is() {
    let quota = with(1_000, 30);
    let mut held = Vec::new();
    let mut now = NOW;
    while now < NOW.plus(secs(30)) {
        match quota.admit(AUDIT, Priority::Backfill, now) {
            Ok(call) => held.push(call),
            Err(wait) => now = now.plus(wait.max(millis(1))),
        }
    }
    assert_eq!(held.len(), 10);
}

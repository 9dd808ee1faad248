//! The past: what is missing comes newest first, several windows at once, without holding up anything newer.

use std::sync::atomic::Ordering;

use super::{
    miro::{TestMiro, World, prompt},
    *,
};

const HOUR: i64 = 3_600;
const DAY: i64 = 86_400;

fn hours(hours: u64) -> Duration {
    Duration::from_secs(hours * 3_600)
}

fn started(ago: Duration) -> StreamSettings {
    StreamSettings { start: Start::Ago(ago), page_size: 10, ..settings() }
}

/// An event every so many seconds.
fn every(step: usize, from: i64, to: i64) -> Vec<miro::Listed> {
    (from..to).step_by(step).map(prompt).collect()
}

/// The windows that were begun, in the order of their first pages.
fn windows(world: &World) -> Vec<(i64, i64)> {
    world.miro.asked(Priority::Backfill).iter().filter(|asked| asked.is_first_page).map(|asked| asked.window).collect()
}

#[tokio::test(start_paused = true)]
async fn yesterday_is_there_before_last_week_and_live_events_before_both() {
    let mut events = every(60, -7 * DAY, 0);
    events.extend(every(30, 1, HOUR));
    let world = World::new(TestMiro::new(events), started(Duration::from_secs(7 * DAY as u64)));
    world.run(hours(1) + Duration::from_secs(20)).await;
    world.assert_complete();
    let begun = windows(&world);
    assert!(begun.windows(2).all(|pair| pair[1].1 <= pair[0].1), "newest first: {begun:?}");
    assert!(begun.len() > 5);
    let at = |wanted: &str| world.events().iter().position(|(id, _)| id.ends_with(wanted)).expect("it is collected");
    assert!(at("@-60") < at(&format!("@{}", -2 * DAY)) && at(&format!("@{}", -2 * DAY)) < at(&format!("@{}", -7 * DAY)));
    let live: Vec<_> =
        world.miro.asked(Priority::Live).iter().filter(|asked| asked.is_first_page).map(|asked| asked.at.as_secs()).collect();
    let due: Vec<_> = (0..12).map(|poll| poll * 300).collect();
    assert_eq!(live[..12], due, "polls come at their times, whatever else is under way");
    assert_eq!(world.row().backfill.missing, Duration::ZERO);
    assert!(world.events().iter().filter(|(id, _)| id.contains("@-")).all(|(_, origin)| *origin == Origin::Backfill));
}

#[tokio::test(start_paused = true)]
async fn several_windows_are_under_way_at_once_and_faster_than_one_call_after_another() {
    let world = World::new(TestMiro::new(every(30, -4 * DAY, 0)), started(Duration::from_secs(4 * DAY as u64)));
    world.run(hours(1)).await;
    world.assert_complete();
    let calls = world.miro.asked(Priority::Backfill);
    let took = calls.last().expect("calls were made").at;
    let one_by_one = Duration::from_millis(300) * calls.len() as u32;
    assert!(took * 6 < one_by_one, "{} calls took {took:?}, one after another {one_by_one:?}", calls.len());
    let most = world.miro.most_under_way.load(Ordering::Relaxed);
    assert!((8..=33).contains(&most), "{most} calls at once");
}

#[tokio::test(start_paused = true)]
async fn after_an_absence_the_newest_hour_comes_first_and_the_hole_is_filled() {
    let world = World::new(TestMiro::new(every(60, -HOUR, 9 * HOUR + 1_800)), started(hours(1)));
    world.run(hours(1)).await;
    tokio::time::sleep(hours(8)).await;
    world.run(Duration::from_secs(3)).await;
    let first = world.miro.asked(Priority::Live).into_iter().find(|asked| asked.at >= hours(9)).expect("it was asked");
    assert_eq!(first.window, (8 * HOUR - 900, 9 * HOUR));
    assert!(world.journal.ranges().iter().any(|range| range.1 == 9 * HOUR), "the newest hour is there: {:?}", world.journal.ranges());
    world.run(hours(1)).await;
    world.assert_complete();
    assert_eq!(world.journal.ranges().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_kill_costs_unfinished_pages_at_most() {
    let world = World::new(TestMiro::new(every(60, -3 * DAY, 0)), started(Duration::from_secs(3 * DAY as u64)));
    for millis in (50..6_000).step_by(370) {
        world.run_and_kill(Duration::from_millis(millis)).await;
    }
    let before = world.events().len();
    assert!(before > 1_000, "progress was made: {before}");
    world.run(hours(1)).await;
    world.assert_complete();
}

#[tokio::test(start_paused = true)]
async fn a_window_that_fails_for_good_does_not_stop_the_others_and_is_tried_again() {
    let mut miro = TestMiro::new(every(120, -4 * DAY, 0));
    // One hour, two days ago, cannot be listed for six hours.
    let poisoned = (-2 * DAY, -2 * DAY + HOUR);
    let clock = miro.clock();
    miro.faults = Box::new(move |request, _| {
        let hits = secs(request.window.from()) < poisoned.1 && secs(request.window.to()) > poisoned.0;
        (hits && secs(clock.now()) < 6 * HOUR).then_some(MiroClass::Retryable)
    });
    let world = World::new(miro, started(Duration::from_secs(4 * DAY as u64)));
    world.run(hours(3)).await;
    let row = world.row().backfill;
    assert!(row.missing >= hours(1) && row.missing < hours(3), "around the hour: {:?} is missing", row.missing);
    assert!(row.set_aside > 0 && row.fault.is_some(), "{row:?}");
    let (older, newer) = (world.events().iter().any(|(id, _)| id.ends_with(&format!("@{}", -4 * DAY + 600))), world.row().last_success);
    assert!(older && newer.is_some(), "older and newer time is collected");
    let tries = world.miro.asked(Priority::Backfill).iter().filter(|asked| asked.at > hours(1)).count();
    assert!(tries < 400, "what fails is tried later and later: {tries} calls in two hours");
    world.run(hours(8)).await;
    world.assert_complete();
    let row = world.row().backfill;
    assert_eq!((row.missing, row.set_aside, row.fault), (Duration::ZERO, 0, None));
}

#[tokio::test(start_paused = true)]
async fn windows_are_as_long_as_what_they_hold_allows() {
    // A quiet week, and in the middle of it a day with an event each second.
    let mut events = every(3_600, -7 * DAY, 0);
    events.extend(every(1, -4 * DAY, -3 * DAY));
    let settings = StreamSettings { page_size: 500, ..started(Duration::from_secs(7 * DAY as u64)) };
    let world = World::new(TestMiro::new(events), settings);
    world.run(hours(1)).await;
    world.assert_complete();
    let length = |from: i64, to: i64| {
        let inside: Vec<_> =
            windows(&world).into_iter().filter(|window| window.0 >= from && window.1 <= to).map(|window| window.1 - window.0).collect();
        (inside.iter().copied().min().unwrap_or(0), inside.iter().copied().max().unwrap_or(0))
    };
    let (_, quiet) = length(-3 * DAY, 1);
    let (busy, _) = length(-4 * DAY - 10, -3 * DAY + 10);
    assert!(quiet > 15 * HOUR && quiet <= DAY + 2, "a quiet window is long: {quiet} s");
    assert!((HOUR..=4 * HOUR).contains(&busy), "a busy one has some twenty pages of 500: {busy} s");
}

#[tokio::test(start_paused = true)]
async fn a_refused_token_pauses_everything_and_is_tried_one_by_one() {
    let mut miro = TestMiro::new(every(60, -2 * DAY, 0));
    let clock = miro.clock();
    miro.faults = Box::new(move |_, number| (number > 20 && secs(clock.now()) < HOUR).then_some(MiroClass::Auth));
    let world = World::new(miro, started(Duration::from_secs(2 * DAY as u64)));
    world.run(Duration::from_secs(3_000)).await;
    assert_eq!(world.row().fault.map(|fault| fault.class).as_deref(), Some("auth"));
    let tries = world.miro.asked(Priority::Backfill).iter().filter(|asked| asked.at > Duration::from_secs(60)).count();
    assert!((5..=100).contains(&tries), "a dead token is not hammered: {tries} calls in 49 minutes");
    world.run(hours(2)).await;
    world.assert_complete();
    assert_eq!(world.row().fault, None);
}

#[tokio::test(start_paused = true)]
async fn miro_out_of_order_makes_calls_rarer_and_not_windows_more() {
    let mut miro = TestMiro::new(every(60, -10 * DAY, 0));
    let clock = miro.clock();
    miro.faults = Box::new(move |request, _| {
        (request.priority == Priority::Backfill && secs(clock.now()) < 2 * HOUR).then_some(MiroClass::Retryable)
    });
    let world = World::new(miro, started(Duration::from_secs(10 * DAY as u64)));
    world.run(hours(2)).await;
    let calls = world.miro.asked(Priority::Backfill).len();
    assert!(calls < 300, "{calls} calls in two hours without one answer");
    assert!(world.row().backfill.set_aside <= 16);
    world.run(hours(4)).await;
    world.assert_complete();
}

#[tokio::test(start_paused = true)]
async fn what_is_asked_for_before_the_origin_is_collected_once_and_survives_a_restart() {
    let world = World::new(TestMiro::new(every(60, -10 * DAY, 0)), started(hours(1)));
    world.run(hours(1)).await;
    let (requests, wanted) = (world.requests(), range(-9 * DAY, -7 * DAY));
    let id = requests.request(wanted).await.expect("it can be had");
    let progress = *requests.progress(id).expect("it is known").borrow();
    assert_eq!((progress.missing_at_start, progress.state), (Duration::from_secs(2 * DAY as u64), BackfillState::Running));
    world.run_with(requests, Duration::from_secs(2)).await;
    let requests = world.requests();
    let resumed = requests.list()[0];
    assert_eq!((resumed.id, resumed.range, resumed.missing_at_start), (id, wanted, progress.missing_at_start));
    assert!(resumed.missing_now < resumed.missing_at_start && resumed.missing_now > Duration::ZERO, "{resumed:?}");
    let watched = requests.progress(id).expect("it is known");
    world.run_with(requests, hours(1)).await;
    let done = *watched.borrow();
    assert_eq!((done.state, done.missing_now), (BackfillState::Done, Duration::ZERO));
    let ids: Vec<_> = world.events().into_iter().map(|(id, _)| id).filter(|id| id.contains("@-")).collect();
    let inside =
        ids.iter().filter(|id| id.split_once('@').is_some_and(|(_, at)| (-9 * DAY..-7 * DAY).contains(&at.parse().expect("a time"))));
    assert_eq!(inside.count(), 2 * 1_440);
    assert_eq!(world.journal.coverage(&stream()).map(|coverage| secs(coverage.origin())), Some(-HOUR), "the origin does not move");
    assert!(world.requests().list().is_empty(), "what is done is not resumed");
    // The same once more: nothing is missing, and nothing is fetched.
    let calls = world.miro.asked(Priority::Backfill).len();
    let requests = world.requests();
    let again = requests.request(wanted).await.expect("it can be had");
    let progress = *requests.progress(again).expect("it is known").borrow();
    assert_eq!((progress.state, progress.missing_at_start, progress.missing_now), (BackfillState::Done, Duration::ZERO, Duration::ZERO));
    world.run_with(requests, Duration::from_secs(600)).await;
    assert_eq!(world.miro.asked(Priority::Backfill).len(), calls);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_request_stops_and_leaves_what_it_brought() {
    let world = World::new(TestMiro::new(every(60, -20 * DAY, 0)), started(hours(1)));
    world.run(hours(1)).await;
    let requests = world.requests();
    let id = requests.request(range(-20 * DAY, -2 * DAY)).await.expect("it can be had");
    let (watched, cancelling) = (requests.progress(id).expect("it is known"), requests.clone());
    let cancel = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert!(cancelling.cancel(id).await.expect("it is stored"));
        assert!(!cancelling.cancel(id).await.expect("nothing to store"), "it is not open any more");
    };
    tokio::join!(world.run_with(requests.clone(), Duration::from_secs(600)), cancel);
    let progress = *watched.borrow();
    assert_eq!(progress.state, BackfillState::Cancelled);
    let collected: i64 = world.journal.ranges().iter().map(|range| range.1 - range.0).sum();
    assert!(collected > 2 * HOUR && collected < 15 * DAY, "{collected} s are collected");
    let last = world.miro.asked(Priority::Backfill).last().expect("calls were made").at;
    assert!(last <= Duration::from_secs(3_604), "no call after the cancel: {last:?}");
    assert!(world.requests().list().is_empty(), "and it does not come back");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_had_on_request_is_said() {
    let world = World::new(TestMiro::new(Vec::new()), started(hours(1)));
    let requests = world.requests();
    assert!(matches!(requests.request(range(-HOUR, 0)).await, Err(RequestError::NotBegun(_))));
    world.run(hours(1)).await;
    assert!(matches!(requests.request(range(5 * HOUR, 6 * HOUR)).await, Err(RequestError::Nothing(..))));
    assert!(matches!(requests.request(range(-99 * DAY, -98 * DAY)).await, Err(RequestError::PastRetention { .. })));
    let id = requests.request(range(-99 * DAY, -89 * DAY)).await.expect("a part of it can be had");
    let progress = *requests.progress(id).expect("it is known").borrow();
    assert!(progress.range.length() < Duration::from_secs(DAY as u64 * 2), "{progress:?}");
    for day in 1..16 {
        requests.request(range((day - 40) * DAY, (day - 39) * DAY)).await.expect("there is room");
    }
    assert!(matches!(requests.request(range(-20 * DAY, -19 * DAY)).await, Err(RequestError::TooMany(16))));
}

#[tokio::test(start_paused = true)]
async fn what_passes_the_retention_while_it_is_asked_for_ends_partly() {
    let mut miro = TestMiro::new(Vec::new());
    miro.faults = Box::new(|request, _| (request.priority == Priority::Backfill).then_some(MiroClass::Retryable));
    let world = World::new(miro, started(hours(1)));
    world.run(hours(1)).await;
    let requests = world.requests();
    let id = requests.request(range(-90 * DAY + 2 * HOUR, -90 * DAY + 3 * HOUR)).await.expect("it can be had");
    let watched = requests.progress(id).expect("it is known");
    world.run_with(requests, hours(4)).await;
    let progress = *watched.borrow();
    assert_eq!((progress.state, progress.missing_now), (BackfillState::Partly, hours(1)));
}

#[tokio::test(start_paused = true)]
async fn a_listing_of_covered_time_at_the_edge_sends_nothing_twice_after_its_ids_are_gone() {
    let world = World::new(TestMiro::new(every(1, -2 * HOUR, 0)), StreamSettings { page_size: 500, ..started(hours(1)) });
    world.run(hours(1)).await;
    tokio::time::sleep(hours(24 * 9)).await;
    world.run(hours(30)).await;
    assert!(world.journal.books().ids.values().all(|time| time.is_none_or(|time| secs(time) > 0)), "the ids of the first hour are gone");
    let requests = world.requests();
    requests.request(range(-2 * HOUR, -HOUR)).await.expect("it can be had");
    world.run_with(requests, hours(1)).await;
    world.assert_complete();
}

#[test]
fn what_is_stored_of_requests_reads_as_version_1_wrote_it() {
    let journal = MemoryJournal::new();
    let golden = br#"{"version":1,"next_id":7,"open":[{"id":7,"range":{"from":1699000000000000,"to":1699003600000000},"missing_at_start_micros":3600000000}],"kept":[{"from":1698000000000000,"to":1698003600000000}]}"#;
    journal.books().state.insert(format!("source/backfill/{}", stream()), golden.to_vec());
    let requests = BackfillRequests::load(stream(), hours(1), journal.clone(), Clock::from_fn(|| at(0)));
    let open = requests.list();
    assert_eq!((open.len(), open[0].id, open[0].range.length(), open[0].missing_at_start), (1, BackfillId(7), hours(1), hours(1)));
    assert_eq!(requests.wanted().len(), 2);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    assert!(runtime.block_on(requests.cancel(BackfillId(7))).expect("it is stored"));
    let stored = journal.state(&format!("source/backfill/{}", stream())).expect("it is stored");
    assert_eq!(
        String::from_utf8_lossy(&stored),
        r#"{"version":1,"next_id":7,"open":[],"kept":[{"from":1698000000000000,"to":1698003600000000}]}"#
    );
}

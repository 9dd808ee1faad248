//! Collected time once more: what became visible late is found, marked and counted, and nothing is sent twice.

use super::{
    miro::{Listed, TestMiro, World, prompt},
    *,
};

const HOUR: i64 = 3_600;

fn hours(hours: u64) -> Duration {
    Duration::from_secs(hours * 3_600)
}

fn after(delays: &[u64]) -> StreamSettings {
    StreamSettings { reconcile: delays.iter().map(|delay| hours(*delay)).collect(), page_size: 50, ..settings() }
}

/// An event a minute; every tenth becomes visible that much later.
fn late_by(late: i64, to: i64) -> Vec<Listed> {
    let event = |(number, at): (usize, i64)| Listed { at_secs: at, visible_secs: at + if number % 10 == 3 { late } else { 0 } };
    (60..to).step_by(60).enumerate().map(event).collect()
}

fn late(world: &World) -> usize {
    world.events().iter().filter(|(_, origin)| *origin == Origin::Late).count()
}

#[tokio::test(start_paused = true)]
async fn what_becomes_visible_two_hours_late_is_found_and_marked() {
    let world = World::new(TestMiro::new(late_by(2 * HOUR, 6 * HOUR)), after(&[1, 3]));
    world.run(hours(12)).await;
    world.assert_complete();
    assert_eq!(late(&world), 36, "every tenth of 359");
    let metrics = world.metrics.render();
    assert!(metrics.contains("miro_siem_events_late_total{org=\"acme\",stream=\"audit\"} 36"), "{metrics}");
    let bucket = |bound: u32| {
        let line = format!("miro_siem_event_lateness_seconds_bucket{{org=\"acme\",stream=\"audit\",le=\"{bound}\"}} ");
        metrics.lines().find_map(|found| found.strip_prefix(&line)).map(|count| count.parse::<u32>().expect("a number"))
    };
    assert_eq!((bucket(7_200), bucket(21_600)), (Some(0), Some(36)), "{metrics}");
    let row = world.row();
    let behind: Vec<_> = row.reconcile.iter().map(|pass| (pass.after, pass.fault.is_some(), 12 * HOUR - secs(pass.up_to))).collect();
    assert_eq!(behind.iter().map(|pass| (pass.0, pass.1)).collect::<Vec<_>>(), [(hours(1), false), (hours(3), false)]);
    assert!((HOUR..=HOUR + 1_200).contains(&behind[0].2) && (3 * HOUR..=4 * HOUR).contains(&behind[1].2), "{behind:?}");
}

#[tokio::test(start_paused = true)]
async fn an_empty_list_switches_it_off() {
    let world = World::new(TestMiro::new(late_by(2 * HOUR, 6 * HOUR)), after(&[]));
    world.run(hours(12)).await;
    assert_eq!((late(&world), world.row().reconcile), (0, Vec::new()));
    assert!(world.miro.asked(Priority::Reconcile).is_empty());
}

#[tokio::test(start_paused = true)]
async fn time_is_listed_again_in_pieces_and_no_more_than_once_a_pass() {
    let world = World::new(TestMiro::new(Vec::new()), after(&[1, 8]));
    world.run(hours(40)).await;
    let asked = world.miro.asked(Priority::Reconcile);
    // Pieces of a quarter of an hour, and of two hours.
    let (short, long): (Vec<_>, Vec<_>) = asked.iter().partition(|asked| asked.window.1 - asked.window.0 <= 902);
    assert!((150..=160).contains(&short.len()) && (14..=16).contains(&long.len()), "{} and {} calls", short.len(), long.len());
    assert!(asked.iter().all(|asked| asked.window.1 - asked.window.0 <= 2 * HOUR + 2));
}

#[tokio::test(start_paused = true)]
async fn a_frontier_outlives_kills_and_holes_are_left_to_backfill() {
    let world = World::new(TestMiro::new(late_by(2 * HOUR, 30 * HOUR)), after(&[3]));
    for _ in 0..20 {
        world.run_and_kill(Duration::from_secs(1_500)).await;
        tokio::time::sleep(Duration::from_secs(1_200)).await;
    }
    // Down for eight hours: the pass is behind, and a hole is in its way.
    tokio::time::sleep(hours(8)).await;
    world.run(hours(20)).await;
    world.assert_complete();
    let asked = world.miro.asked(Priority::Reconcile);
    assert!(asked.len() < 80, "frontiers do not go back: {} calls in 43 hours", asked.len());
}

#[tokio::test(start_paused = true)]
async fn a_delay_that_is_configured_later_takes_nothing_old_for_late() {
    let mut world = World::new(TestMiro::new((60..200 * HOUR).step_by(600).map(prompt).collect()), after(&[]));
    world.run(hours(100)).await;
    world.settings = after(&[1, 90]);
    world.run(hours(99)).await;
    world.assert_complete();
    assert_eq!(late(&world), 0);
}

#[tokio::test(start_paused = true)]
async fn a_pass_that_fails_is_on_the_board_holds_up_no_other_and_catches_up() {
    let mut miro = TestMiro::new(late_by(2 * HOUR, 9 * HOUR));
    let clock = miro.clock();
    miro.faults = Box::new(move |request, _| {
        let hits = request.priority == Priority::Reconcile && secs(request.window.from()) < 2 * HOUR;
        (hits && secs(clock.now()) < 10 * HOUR).then_some(MiroClass::Retryable)
    });
    let world = World::new(miro, after(&[3]));
    world.run(hours(9)).await;
    let pass = world.row().reconcile.remove(0);
    assert!(pass.fault.is_some() && secs(pass.up_to) <= 2 * HOUR, "{pass:?}");
    assert!(late(&world) > 5, "what came after the time that fails was listed again: {}", late(&world));
    world.run(hours(9)).await;
    world.assert_complete();
    assert_eq!(world.row().reconcile[0].fault, None);
}

#[tokio::test(start_paused = true)]
async fn a_delay_beyond_the_retention_says_that_it_is_vain() {
    let settings = StreamSettings { retention: hours(24), ..after(&[1, 24]) };
    let world = World::new(TestMiro::new(Vec::new()), settings);
    world.run(hours(60)).await;
    let faults: Vec<_> = world.row().reconcile.iter().map(|pass| pass.fault.is_some()).collect();
    assert_eq!(faults, [false, true]);
}

#[tokio::test(start_paused = true)]
async fn ids_live_as_long_as_a_pass_can_need_them_and_no_longer() {
    let world = World::new(TestMiro::new((60..20 * 24 * HOUR).step_by(600).map(prompt).collect()), after(&[1, 24 * 7]));
    for day in 1..=20_i64 {
        world.run(hours(24)).await;
        let oldest = world.journal.books().ids.values().filter_map(|time| time.map(secs)).min().unwrap_or(0);
        let reach = day * 24 * HOUR - oldest;
        // A week, a piece of six hours, a window of a day, and an hour; a poll more until it is noticed.
        assert!(reach <= (7 * 24 + 6 + 24 + 1) * HOUR + 900, "day {day}: ids reach {} h back", reach / HOUR);
    }
    world.assert_complete();
    assert_eq!(late(&world), 0);
}

#[tokio::test(start_paused = true)]
async fn frontiers_read_as_version_1_wrote_them() {
    let world = World::new(TestMiro::new(Vec::new()), after(&[1]));
    world.journal.begin(at(0));
    let key = format!("source/reconcile/{}", stream());
    let golden = r#"{"version":1,"passes":[{"delay_micros":3600000000,"frontier":1700000900000000}]}"#;
    world.journal.books().state.insert(key.clone(), golden.as_bytes().to_vec());
    world.run(Duration::from_secs(1)).await;
    assert_eq!(world.journal.state(&key).map(|stored| String::from_utf8_lossy(&stored).into_owned()).as_deref(), Some(golden));
}

//! Whatever comes in whatever order: live polling, backfill and reconcile with random waits, failures and kills end with every visible event
//! committed once.

use proptest::prelude::*;

use super::{
    miro::{Listed, TestMiro, World},
    *,
};

const HOUR: i64 = 3_600;

#[derive(Clone, Debug)]
struct Plan {
    events: Vec<Listed>,
    /// Every request fails with this probability, in per mille.
    failing: u64,
    seed: u64,
    kills: Vec<u64>,
    page_size: u32,
    start_hours: u64,
    requested: Option<(i64, i64)>,
}

/// The visible delay is below the longest pass, so that all of it can be found.
fn listed() -> impl Strategy<Value = Listed> {
    let late = prop_oneof![4 => Just(0_i64), 1 => 0..600_i64, 1 => 0..2 * HOUR + 1_800];
    (-30 * HOUR..6 * HOUR, late).prop_map(|(at_secs, late)| Listed { at_secs, visible_secs: at_secs + late })
}

fn plan() -> impl Strategy<Value = Plan> {
    (
        proptest::collection::vec(listed(), 1..120),
        0_u64..250,
        any::<u64>(),
        proptest::collection::vec(1_u64..4_000, 0..6),
        1_u32..20,
        0_u64..30,
        proptest::option::of((-40 * HOUR..-20 * HOUR, 1..10 * HOUR)),
    )
        .prop_map(|(events, failing, seed, kills, page_size, start_hours, requested)| Plan {
            events,
            failing,
            seed,
            kills,
            page_size,
            start_hours,
            requested: requested.map(|(from, length)| (from, from + length)),
        })
}

/// A number that looks random, the same for the same arguments.
fn mixed(seed: u64, number: u64) -> u64 {
    let mut value = seed ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

fn miro(plan: &Plan) -> TestMiro {
    let mut miro = TestMiro::new(plan.events.clone());
    let (seed, failing) = (plan.seed, plan.failing);
    miro.latency = Box::new(move |number| Duration::from_millis(20 + mixed(seed, number) % 2_000));
    miro.faults = Box::new(move |request, number| {
        let chance = mixed(seed ^ 1, number);
        let class = match chance % 7 {
            0 => MiroClass::Throttled(Some(Duration::from_secs(chance % 30))),
            1 | 2 if request.cursor.is_some() => MiroClass::CursorRejected,
            3 => MiroClass::Throttled(None),
            4 if request.limit > 1 => MiroClass::PageSizeRejected,
            5 => MiroClass::Auth,
            _ => MiroClass::Retryable,
        };
        (chance / 7 % 1_000 < failing).then_some(class)
    });
    miro
}

async fn play(plan: Plan) {
    let settings = StreamSettings {
        start: Start::Ago(Duration::from_secs(plan.start_hours * 3_600)),
        page_size: plan.page_size,
        reconcile: vec![Duration::from_secs(1_800), Duration::from_secs(3 * 3_600)],
        ..settings()
    };
    let world = World::new(miro(&plan), settings);
    for secs in &plan.kills {
        world.run_and_kill(Duration::from_secs(*secs)).await;
    }
    world.run(Duration::from_secs(3_600)).await;
    let requests = world.requests();
    if let Some((from, to)) = plan.requested {
        requests.request(range(from, to)).await.expect("the stream has begun, and the range lies in the past");
    }
    world.run_with(requests, Duration::from_secs(20 * 3_600)).await;
    let origin = world.journal.coverage(&stream()).map(|coverage| coverage.origin()).expect("it has begun");
    let wanted = |at: i64| super::at(at) >= origin || plan.requested.is_some_and(|(from, to)| (from..to).contains(&at));
    let mut committed: Vec<_> = world.events().into_iter().map(|(id, _)| id).collect();
    committed.sort();
    assert!(committed.windows(2).all(|pair| pair[0] != pair[1]), "nothing twice: {committed:?}");
    let is_wanted = |id: &String| id.split_once('@').is_some_and(|(_, at)| wanted(at.parse().expect("a time")));
    let mut visible: Vec<_> = world.miro.visible_ids().into_iter().filter(is_wanted).collect();
    visible.sort();
    // What lies at the edge of a window may have come along.
    committed.retain(is_wanted);
    assert_eq!(committed, visible, "everything, and nothing else");
    assert_eq!(world.row().backfill.missing, Duration::ZERO);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn any_order_of_jobs_with_failures_and_kills_commits_every_visible_event_once(plan in plan()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
        runtime.block_on(play(plan));
    }
}

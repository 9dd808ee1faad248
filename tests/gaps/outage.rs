//! The keeper while time passes: outages, a full journal, heartbeats. The clock stands still until somebody waits.

use std::{sync::Arc, time::Duration};

use miro_siem::{
    clock::Clock,
    event::Timestamp,
    health::{Fault, Health},
    journal::{CoverageChange, Journal},
    source::gaps::Keeper,
};
use serde_json::Value;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::{
    memory::Memory,
    support::{at, audit, keeper_parts, moves, range, told},
};

const POLL_SECS: u64 = 300;

/// A stream and its keeper, at second 0.
struct World {
    journal: Arc<Memory>,
    clock: Clock,
    health: Health,
    /// When it was second 0.
    began: Instant,
    stop: CancellationToken,
    keeper: Option<tokio::task::JoinHandle<()>>,
}

impl World {
    async fn new(heartbeat: Option<Duration>) -> Self {
        let mut world = Self::without_keeper().await;
        world.start(heartbeat);
        world
    }

    async fn without_keeper() -> Self {
        let (journal, clock, health) = (Memory::new(), Clock::starting_at(at(0)), Health::new());
        journal.commit(moves(CoverageChange::Begin(at(0)))).await.expect("begun");
        health.stream(&audit(), |row| {
            row.poll_interval = Duration::from_secs(POLL_SECS);
            row.started_at = Some(at(0));
        });
        Self { journal, clock, health, began: Instant::now(), stop: CancellationToken::new(), keeper: None }
    }

    fn start(&mut self, heartbeat: Option<Duration>) {
        let journal: Arc<dyn Journal> = self.journal.clone();
        let keeper = Keeper::new(keeper_parts(&journal, self.clock.clone(), &self.health, heartbeat));
        self.keeper = Some(tokio::spawn(keeper.run(self.stop.clone())));
    }

    async fn collect(&self, from: u64, to: u64) {
        self.journal.commit(moves(CoverageChange::Add(range(from, to)))).await.expect("new");
    }

    /// Polls in time from one second to another: each poll covers what is new.
    async fn poll(&self, from: u64, to: u64) {
        let mut covered = from;
        while covered < to {
            self.pass_to((covered + POLL_SECS).min(to)).await;
            let now = (covered + POLL_SECS).min(to);
            self.collect(covered, now).await;
            covered = now;
        }
    }

    async fn pass_to(&self, secs: u64) {
        sleep(Duration::from_secs(secs).saturating_sub(self.began.elapsed())).await;
    }

    fn told(&self) -> Vec<(String, Value)> {
        self.journal.events().iter().map(|event| told(&event.raw)).collect()
    }

    fn names(&self) -> Vec<String> {
        self.told().into_iter().map(|(name, _)| name).collect()
    }

    async fn end(mut self) {
        self.stop.cancel();
        self.keeper.take().expect("it runs").await.expect("it ends");
    }
}

fn seconds_between(event: &Timestamp, secs: u64) -> u64 {
    event.since(at(secs)).as_secs()
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_three_hours_opens_one_gap_and_closes_it() {
    let world = World::new(None).await;
    world.poll(0, 3_600).await;
    let fault = Fault { at: at(3_900), class: "retryable".to_owned(), message: "fetch the audit log: HTTP 503".to_owned() };
    world.health.stream(&audit(), |row| row.fault = Some(fault));
    world.pass_to(3 * 3_600 + 3_600).await;
    assert_eq!(world.names(), ["miro_siem.gap_opened"]);
    world.health.stream(&audit(), |row| row.fault = None);
    // The newest first, then the rest in pieces, as polls go on.
    world.collect(14_000, 14_400).await;
    world.pass_to(14_410).await;
    world.collect(9_000, 14_000).await;
    world.pass_to(14_420).await;
    assert_eq!(world.names(), ["miro_siem.gap_opened"]);
    world.collect(3_600, 9_000).await;
    world.poll(14_400, 20_000).await;
    let (events, told) = (world.journal.events(), world.told());
    assert_eq!(world.names(), ["miro_siem.gap_opened", "miro_siem.gap_closed"]);
    let opened = events[0].time.expect("a time");
    assert!((900..=930).contains(&seconds_between(&opened, 3_600)), "opened after three intervals: {opened}");
    let closed = events[1].time.expect("a time");
    assert!(seconds_between(&closed, 14_420) <= 30, "closed at the next look: {closed}");
    assert_eq!(told[0].1["cause"], "fetch the audit log: HTTP 503");
    assert_eq!(told[1].1["cause"], "fetch the audit log: HTTP 503");
    assert_eq!((&told[0].1["from"], &told[1].1["from"]), (&at(3_600).to_rfc3339_millis().into(), &at(3_600).to_rfc3339_millis().into()));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_collected_in_time_has_no_gap_whatever_our_clock_shows() {
    let mut world = World::without_keeper().await;
    // This machine's clock is a day ahead; the server's answers say so.
    let clock = world.clock.clone();
    world.clock = Clock::from_fn(move || clock.now().plus(Duration::from_secs(86_400)));
    world.health.stream(&audit(), |row| row.server_clock = Some((at(0), Instant::now())));
    world.start(None);
    world.poll(0, 7_200).await;
    assert_eq!(world.names(), [""; 0]);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_cannot_begin_has_a_gap_since_it_was_first_asked_for() {
    let (journal, clock, health) = (Memory::new(), Clock::starting_at(at(0)), Health::new());
    journal.put_state("source/first-asked/acme/audit", at(0).as_micros().to_be_bytes().to_vec()).await.expect("stored");
    let mut world = World { journal, clock, health, began: Instant::now(), stop: CancellationToken::new(), keeper: None };
    world.start(None);
    world.pass_to(7_200).await;
    assert_eq!(world.names(), ["miro_siem.gap_opened"]);
    world.journal.commit(moves(CoverageChange::Begin(at(0)))).await.expect("begun");
    world.collect(0, 7_200).await;
    world.pass_to(7_260).await;
    assert_eq!(world.names(), ["miro_siem.gap_opened", "miro_siem.gap_closed"]);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_written_while_the_journal_is_full_is_said_later() {
    let world = World::new(None).await;
    world.collect(0, 10).await;
    world.journal.fill(true);
    world.pass_to(3_600).await;
    world.collect(10, 3_600).await;
    world.pass_to(3_700).await;
    assert_eq!(world.names(), [""; 0]);
    world.journal.fill(false);
    world.pass_to(3_760).await;
    assert_eq!(world.names(), ["miro_siem.gap_opened", "miro_siem.gap_closed"]);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_backfill_that_does_not_get_on_is_a_gap_and_one_that_does_is_none() {
    let mut world = World::without_keeper().await;
    world.journal.put_state("source/live-since/acme/audit", at(100_000).as_micros().to_be_bytes().to_vec()).await.expect("stored");
    world.pass_to(100_000).await;
    world.start(None);
    let polled = world.poll(100_000, 110_000);
    let backfilled = async {
        for step in 0..10 {
            world.pass_to(100_600 + step * 600).await;
            world.collect(99_000 - step * 1_000, 100_000 - step * 1_000).await;
        }
    };
    tokio::join!(polled, backfilled);
    let told = world.told();
    assert_eq!(told.len(), 1, "{told:?}");
    // The newest piece came at 106 000; nothing for three intervals after it.
    assert_eq!((told[0].0.as_str(), &told[0].1["to"]), ("miro_siem.gap_opened", &at(90_000).to_rfc3339_millis().into()));
    let opened = world.journal.events()[0].time.expect("a time");
    assert!((900..=960).contains(&seconds_between(&opened, 106_000)), "{opened}");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_says_at_its_interval_how_the_stream_is_doing() {
    let world = World::new(Some(Duration::from_secs(600))).await;
    world.pass_to(1).await;
    world.health.stream(&audit(), |row| {
        row.events_collected = 7;
        row.last_success = Some(at(1));
    });
    world.poll(0, 599).await;
    world.pass_to(605).await;
    world.health.stream(&audit(), |row| row.events_collected = 9);
    world.pass_to(1_205).await;
    let told = world.told();
    assert_eq!(told.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["miro_siem.heartbeat"; 3]);
    let collected: Vec<_> = told.iter().map(|(_, details)| details["events_collected"].as_u64()).collect();
    assert_eq!(collected, [Some(0), Some(7), Some(2)]);
    let times: Vec<_> = world.journal.events().iter().map(|event| seconds_between(&event.time.expect("a time"), 0)).collect();
    assert!(times[0] <= 1 && (600..=601).contains(&times[1]) && (1_200..=1_201).contains(&times[2]), "{times:?}");
    let last = &told[2].1;
    assert_eq!((&last["watermark"], &last["healthy"]), (&at(599).to_rfc3339_millis().into(), &Value::Bool(false)));
    assert!(last["lag_seconds"].as_f64().is_some_and(|lag| (600.0..=603.0).contains(&lag)), "{last}");
    world.end().await;
}

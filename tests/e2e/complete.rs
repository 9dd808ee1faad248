//! 90 days of an organisation reach six receivers at once: each id, each once, byte for byte; and with kill -9 at random moments.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use miro_simulator::{FaultPlan, Running, Stream};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::Value;

use crate::{
    daemon::Daemon,
    receivers::Receivers,
    world::{Truth, organisation, truth},
};

const STREAMS: [Stream; 2] = [Stream::Audit, Stream::Content];
const AUDIT_EVENTS: u64 = 100_000;
const CONTENT_EVENTS: u64 = 20_000;
const LIMIT: Duration = Duration::from_secs(600);

/// Whether everything that is visible is collected and delivered.
fn is_through(status: &Value) -> bool {
    let collected = |row: &Value| row["last_success"].is_string() && row["lag_secs"].as_f64().is_some_and(|lag| lag < 60.0);
    let delivered = |row: &Value| row["backlog_events"].as_u64() == Some(0);
    rows(status, "streams").all(collected) && rows(status, "sinks").all(delivered)
}

fn rows<'a>(status: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    status[key].as_array().expect("the status has rows").iter()
}

/// The truth from where each stream says that it began.
fn expected(miro: &Running, status: &Value) -> Truth {
    let mut all = Truth::new();
    for (row, stream) in rows(status, "streams").zip(STREAMS) {
        assert_eq!(row["stream"], stream.name());
        let origin: DateTime<Utc> = row["origin"].as_str().and_then(|origin| origin.parse().ok()).expect("a stream has begun");
        all.extend(truth(miro, &[stream], origin));
    }
    all
}

fn assert_complete(receivers: &Receivers, truth: &Truth, repeats: Repeats) {
    let differences: Vec<_> = receivers.seen().into_iter().map(|(name, seen)| (name, seen.difference(truth))).collect();
    for (name, difference) in &differences {
        println!(
            "{name:<12} {} events: {} missing, {} invented, {} altered, {} repeated",
            truth.len(),
            difference.missing.len(),
            difference.unexpected.len(),
            difference.altered.len(),
            difference.repeated.len()
        );
    }
    let sample = |ids: &[String]| ids.iter().take(10).cloned().collect::<Vec<_>>();
    for (name, difference) in &differences {
        assert!(difference.missing.is_empty(), "{name} misses {:?}", sample(&difference.missing));
        assert!(difference.unexpected.is_empty(), "{name} has what nobody sent: {:?}", sample(&difference.unexpected));
        assert!(difference.altered.is_empty(), "{name} has other bytes for {:?}", sample(&difference.altered));
        if repeats == Repeats::Forbidden {
            assert!(difference.repeated.is_empty(), "{name} has {:?} more than once", sample(&difference.repeated));
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Repeats {
    Forbidden,
    Allowed,
}

#[tokio::test(flavor = "multi_thread")]
async fn ninety_days_reach_six_receivers_each_event_once_byte_for_byte() {
    let miro = organisation(90, AUDIT_EVENTS, CONTENT_EVENTS, FaultPlan::rough()).await;
    let receivers = Receivers::start().await;
    let config = receivers.configure(&miro, "90d");
    let began = Instant::now();
    let mut daemon = Daemon::start(&config, &receivers.log(), "info");
    let status = tokio::task::block_in_place(|| daemon.wait_until("everything is delivered", LIMIT, is_through));
    println!("{:.0} s until everything was delivered", began.elapsed().as_secs_f64());
    let truth = expected(&miro, &status);
    assert!(truth.len() > 119_000, "the organisation has 120 000 events, here {}", truth.len());
    daemon.terminate();
    let ended = tokio::task::block_in_place(|| daemon.wait(Duration::from_secs(60)));
    assert_eq!(ended.code(), Some(0), "a drained daemon ends well");
    settle(&receivers, truth.len()).await;
    assert_complete(&receivers, &truth, Repeats::Forbidden);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_fifty_kills_every_event_still_arrives_and_none_is_invented() {
    let seed = 20_261_120;
    let mut rng = StdRng::seed_from_u64(seed);
    let miro = organisation(90, AUDIT_EVENTS, CONTENT_EVENTS, FaultPlan::rough()).await;
    let receivers = Receivers::start().await;
    let config = receivers.configure(&miro, "90d");
    for _ in 0..50 {
        let mut daemon = Daemon::start(&config, &receivers.log(), "info");
        tokio::time::sleep(Duration::from_millis(rng.random_range(20..1_500))).await;
        daemon.kill();
    }
    println!("after 50 kills (seed {seed}): {:?}", receivers.counts());
    let daemon = Daemon::start(&config, &receivers.log(), "info");
    let status = tokio::task::block_in_place(|| daemon.wait_until("everything is delivered", LIMIT, is_through));
    let truth = expected(&miro, &status);
    settle(&receivers, truth.len()).await;
    assert_complete(&receivers, &truth, Repeats::Allowed);
}

/// rsyslog writes behind: wait until every receiver shows what it took.
async fn settle(receivers: &Receivers, wanted: usize) {
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(30) && receivers.counts().iter().any(|(_, count)| *count < wanted) {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

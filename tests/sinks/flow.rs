//! When batches leave, how drivers end, and that nobody waits for anybody else.

use std::time::Duration;

use miro_siem::{
    event::{Position, SinkName, StreamKind, Timestamp},
    health::SinkPhase,
    journal::{Journal, JournalError},
    sink::{
        ErrorClass,
        driver::{Shutdown, publish_backlog},
    },
};

use crate::support::{Answer, Bench, FILTERED_NAME, ScriptedSink, audit, bench_limits, stream};

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// Runs the driver beside what a test does with the bench.
macro_rules! beside {
    ($driver:expr, $what:expr) => {{
        let (driver, shutdown) = ($driver, Shutdown::new());
        tokio::select! {
            () = driver.run(&shutdown) => panic!("the driver ended by itself"),
            done = $what => done,
        }
    }};
}

#[tokio::test(start_paused = true)]
async fn a_single_event_leaves_after_the_flush_interval_without_another_one() {
    let mut bench = Bench::new(ScriptedSink::script([]));
    beside!(bench.driver(), async {
        tokio::time::sleep(secs(60)).await;
        bench.collect(1);
        tokio::time::sleep(Duration::from_millis(900)).await;
        assert_eq!(bench.sink.calls().len(), 0);
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(bench.sink.taken(), [1]);
    });
}

#[tokio::test(start_paused = true)]
async fn a_trickle_does_not_hold_the_first_event_back() {
    let mut bench = Bench::new(ScriptedSink::script([]));
    beside!(bench.driver(), async {
        for _ in 0..40 {
            bench.collect(1);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    assert!(bench.sink.times()[0] <= Duration::from_millis(1_010), "{:?}", bench.sink.times());
    assert!(bench.sink.calls().len() <= 5, "and what comes meanwhile goes with it: {:?}", bench.sink.sizes());
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_runs_behind_does_not_hold_events_back() {
    let mut bench = Bench::new(ScriptedSink::script([]));
    beside!(bench.driver(), async {
        for _ in 0..40 {
            bench.collect_event(|event| miro_siem::event::Event {
                collected_at: Timestamp::parse("2099-01-01T00:00:00Z").expect("a time"),
                ..event
            });
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    assert!(bench.sink.times()[0] <= Duration::from_millis(1_010), "{:?}", bench.sink.times());
}

#[tokio::test(start_paused = true)]
async fn a_full_batch_never_waits_and_a_backlog_goes_in_full_batches() {
    let mut bench = Bench::with(ScriptedSink::script([]), miro_siem::sink::driver::Limits { events_max: 100, ..bench_limits() }, 1 << 20);
    bench.collect(1_050);
    beside!(bench.driver(), async { tokio::time::sleep(Duration::from_millis(10)).await });
    assert_eq!(bench.sink.sizes(), [100; 10]);
    bench.deliver_everything().await;
    assert_eq!(bench.sink.taken(), (1..=1_050).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn batches_keep_to_the_size_limit_of_encoded_bytes() {
    let limits = miro_siem::sink::driver::Limits { bytes_max: 1_000, ..bench_limits() };
    let mut bench = Bench::with(ScriptedSink::script([]), limits, 1 << 20);
    bench.collect(20);
    bench.collect_event(|event| miro_siem::event::Event {
        raw: format!(r#"{{"id":"{}","x":"{}"}}"#, event.id, "y".repeat(5_000)).into(),
        ..event
    });
    bench.collect(3);
    bench.deliver_everything().await;
    let sizes: Vec<_> = bench.sink.calls().iter().map(|call| (call.positions.len(), call.bytes)).collect();
    assert!(sizes.iter().all(|&(events, bytes)| bytes <= 1_000 || events == 1), "{sizes:?}");
    assert!(sizes.len() <= 6, "batches are filled: {sizes:?}");
    assert!(sizes.iter().any(|&(events, bytes)| events == 1 && bytes > 5_000), "a larger event goes alone: {sizes:?}");
    assert_eq!(bench.sink.taken(), (1..=24).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn filtered_events_are_counted_and_acked_once() {
    let mut bench = Bench::new(ScriptedSink::script([]));
    bench.filter.exclude_events = vec![FILTERED_NAME.to_owned()];
    for index in 0..30 {
        let name = if index % 3 == 0 { "board_opened" } else { FILTERED_NAME };
        bench
            .collect_event(|event| miro_siem::event::Event { raw: format!(r#"{{"id":"{}","event":"{name}"}}"#, event.id).into(), ..event });
    }
    bench.deliver_everything().await;
    assert_eq!((bench.acked(), bench.counts()), (Position(30), [10, 20, 0, 0]));
    for _ in 0..25_000 {
        bench.collect_event(|event| miro_siem::event::Event { raw: format!(r#"{{"event":"{FILTERED_NAME}"}}"#).into(), ..event });
    }
    bench.deliver_everything().await;
    assert_eq!((bench.acked(), bench.counts(), bench.sink.calls().len()), (Position(25_030), [10, 25_020, 0, 0], 1));
}

/// Small batches, so that a record is also taken back from a batch that is full, and written again.
#[tokio::test(start_paused = true)]
async fn events_without_a_class_are_delivered_and_each_counted_once() {
    let limits = miro_siem::sink::driver::Limits { bytes_max: 1_500, ..bench_limits() };
    let mut bench = Bench::with(ScriptedSink::script([]), limits, 1 << 20);
    bench.format = miro_siem::config::settings::Format::Ocsf;
    for index in 0..30 {
        let name = if index % 3 == 0 { "board_opened" } else { "nobody_knows" };
        let raw = format!(r#"{{"event":"{name}","object":{{"id":"1"}}}}"#);
        bench.collect_event(|event| miro_siem::event::Event { raw: raw.into(), ..event });
    }
    bench.deliver_everything().await;
    assert_eq!((bench.counts(), bench.metric("miro_siem_events_unmapped_total")), ([30, 0, 0, 0], 20));
    assert!(bench.sink.calls().len() > 10);
}

#[tokio::test(start_paused = true)]
async fn a_cancel_at_any_moment_loses_nothing() {
    let mut bench = Bench::new(ScriptedSink::new(|call| match call.after.as_millis() % 7 {
        0 => Answer::Slowly(Duration::from_millis(400)),
        1 => Answer::Fails(ErrorClass::Retryable),
        2 => Answer::TakesAndFails(ErrorClass::Ambiguous),
        _ => Answer::Slowly(Duration::from_millis(30)),
    }));
    for round in 0..200 {
        bench.collect(3);
        bench.run_for(Duration::from_millis(round % 90)).await;
    }
    bench.deliver_everything().await;
    let mut taken = bench.sink.taken();
    taken.sort_unstable();
    taken.dedup();
    assert_eq!(taken, (1..=600).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_drain_delivers_what_there_is_and_ends() {
    let mut bench = Bench::new(ScriptedSink::script([Answer::Slowly(secs(3)), Answer::Fails(ErrorClass::Retryable)]));
    bench.collect(2_500);
    let (driver, shutdown) = (bench.driver(), Shutdown::new());
    shutdown.drain.cancel();
    driver.run(&shutdown).await;
    assert_eq!((bench.acked(), bench.row().phase), (Position(2_500), SinkPhase::Stopped));
    assert_eq!(bench.state.close().await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_drain_reaches_an_idle_driver_and_one_that_waits_for_a_batch_to_fill() {
    for events in [0, 1] {
        let mut bench = Bench::new(ScriptedSink::script([]));
        bench.collect(events);
        let (driver, shutdown) = (bench.driver(), Shutdown::new());
        let drain = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            shutdown.drain.cancel();
        };
        let (ended, ()) = tokio::join!(tokio::time::timeout(Duration::from_millis(110), driver.run(&shutdown)), drain);
        assert_eq!((ended, bench.acked().0), (Ok(()), events as u64));
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_a_delivery_a_wait_and_a_pause_at_once() {
    let answers = [Answer::Hangs, Answer::Fails(ErrorClass::Throttled(Some(secs(600)))), Answer::Fails(ErrorClass::Auth)];
    for answer in answers {
        let mut bench = Bench::new(ScriptedSink::script([answer]));
        bench.collect(1);
        let (driver, shutdown) = (bench.driver(), Shutdown::new());
        let stop = async {
            tokio::time::sleep(secs(5)).await;
            shutdown.stop.cancel();
        };
        let (ended, ()) = tokio::join!(tokio::time::timeout(Duration::from_millis(5_010), driver.run(&shutdown)), stop);
        assert_eq!((ended, bench.acked()), (Ok(()), Position(0)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_drain_does_not_wait_for_a_paused_sink() {
    let mut bench = Bench::new(ScriptedSink::script([Answer::Fails(ErrorClass::Auth)]));
    bench.collect(1);
    let (driver, shutdown) = (bench.driver(), Shutdown::new());
    shutdown.drain.cancel();
    assert_eq!(tokio::time::timeout(secs(1), driver.run(&shutdown)).await, Ok(()));
    assert_eq!(bench.acked(), Position(0));
}

#[tokio::test(start_paused = true)]
async fn two_streams_of_one_sink_do_not_wait_for_each_other() {
    let content = stream(StreamKind::Content);
    let mut bench = Bench::new(ScriptedSink::new(|call| match call.stream.kind {
        StreamKind::Audit => Answer::Hangs,
        _ => Answer::All,
    }));
    bench.journal.subscribe_now(&bench.name, &content);
    for _ in 0..10 {
        bench.collect(1);
        bench.collect_of(&content, 1);
    }
    let (one, other, shutdown) = (bench.driver(), bench.driver_of(content.clone()), Shutdown::new());
    let both = async { tokio::join!(one.run(&shutdown), other.run(&shutdown)) };
    assert!(tokio::time::timeout(secs(5), both).await.is_err());
    assert_eq!(bench.sink.taken(), (1..=10).map(|n| n * 2).collect::<Vec<_>>());
    assert_eq!(bench.journal.acked(&bench.name, &content), Some(Position(20)));
    assert_eq!(bench.acked(), Position(0));
}

#[tokio::test(start_paused = true)]
async fn a_pause_holds_for_all_streams_of_a_sink_and_one_of_them_probes() {
    let content = stream(StreamKind::Content);
    let mut first = true;
    let mut bench =
        Bench::new(ScriptedSink::new(
            move |_| if std::mem::replace(&mut first, false) { Answer::Fails(ErrorClass::Auth) } else { Answer::All },
        ));
    bench.sink.fail_probes([ErrorClass::Auth, ErrorClass::Auth]);
    bench.journal.subscribe_now(&bench.name, &content);
    bench.collect(1);
    let (one, other, shutdown) = (bench.driver(), bench.driver_of(content.clone()), Shutdown::new());
    tokio::select! {
        _ = async { tokio::join!(one.run(&shutdown), other.run(&shutdown)) } => panic!("the drivers ended by themselves"),
        () = async {
            tokio::time::sleep(secs(2)).await;
            bench.collect_of(&content, 1);
            tokio::time::sleep(secs(150)).await;
            assert_eq!((bench.sink.calls().len(), bench.sink.probes().len()), (1, 2));
            tokio::time::sleep(secs(100)).await;
        } => {}
    }
    assert_eq!((bench.sink.taken().len(), bench.sink.probes().len(), bench.row().phase), (2, 3, SinkPhase::Delivering));
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_is_down_holds_up_no_other() {
    let mut down = Bench::new(ScriptedSink::new(|_| Answer::Fails(ErrorClass::Retryable)));
    let mut well = Bench::new(ScriptedSink::script([]));
    down.collect(100);
    well.collect(100);
    let (one, other, shutdown) = (down.driver(), well.driver(), Shutdown::new());
    let both = async { tokio::join!(one.run(&shutdown), other.run(&shutdown)) };
    assert!(tokio::time::timeout(secs(3), both).await.is_err());
    assert_eq!((down.acked(), well.acked()), (Position(0), Position(100)));
}

#[tokio::test(start_paused = true)]
async fn a_journal_that_fails_is_shown_and_never_asked_at_full_speed() {
    let failure = |_| JournalError::Checkpoint { problem: "no room".to_owned() };
    let mut bench = Bench::new(ScriptedSink::script([]));
    bench.collect(4);
    bench.journal.fail((0..1_000).map(failure));
    bench.run_for(secs(600)).await;
    assert!(bench.journal.reads() < 100, "{} reads in ten minutes", bench.journal.reads());
    let row = bench.row();
    assert_eq!((row.phase, row.fault.map(|fault| fault.class)), (SinkPhase::BackingOff, Some("journal".to_owned())));
    bench.deliver_everything().await;
    assert_eq!((bench.counts(), bench.row().fault), ([4, 0, 0, 0], None));
}

#[tokio::test(start_paused = true)]
async fn an_ack_that_fails_is_repeated_and_the_delivery_is_not() {
    let mut bench = Bench::new(ScriptedSink::script([]));
    bench.collect(4);
    beside!(bench.driver(), async {
        tokio::time::sleep(Duration::from_millis(990)).await;
        bench.journal.fail((0..5).map(|_| JournalError::Checkpoint { problem: "no room".to_owned() }));
        tokio::time::sleep(secs(120)).await;
    });
    assert_eq!((bench.acked(), bench.sink.calls().len(), bench.counts()), (Position(4), 1, [4, 0, 0, 0]));
}

#[tokio::test(start_paused = true)]
async fn a_driver_ends_when_the_journal_is_closed() {
    let mut bench = Bench::new(ScriptedSink::script([]));
    bench.collect(1);
    bench.journal.fail([JournalError::Closed]);
    let shutdown = Shutdown::new();
    assert_eq!(tokio::time::timeout(secs(5), bench.driver().run(&shutdown)).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn the_backlog_is_published_from_the_journal() {
    let mut bench = Bench::new(ScriptedSink::script([]));
    bench.collect(7);
    tokio::time::sleep(secs(90)).await;
    let publish = |bench: &Bench| publish_backlog(&*bench.journal, &bench.metrics, &bench.name, &[audit()], bench.clock.now());
    publish(&bench);
    assert_eq!((bench.metric("miro_siem_sink_backlog_events"), bench.metric("miro_siem_sink_oldest_event_age_seconds")), (7, 90));
    bench.deliver_everything().await;
    publish(&bench);
    assert_eq!((bench.metric("miro_siem_sink_backlog_events"), bench.metric("miro_siem_sink_oldest_event_age_seconds")), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_sink_without_a_subscription_says_so_and_waits() {
    let mut bench = Bench::new(ScriptedSink::script([]));
    bench.name = SinkName::new("splunk");
    bench.collect(1);
    let content = stream(StreamKind::Content);
    let (driver, shutdown) = (bench.driver_of(content.clone()), Shutdown::new());
    let subscribe = async {
        tokio::time::sleep(secs(30)).await;
        assert_eq!(bench.row().phase, SinkPhase::BackingOff);
        bench.journal.subscribe_now(&bench.name, &content);
        bench.collect_of(&content, 1);
        tokio::time::sleep(secs(300)).await;
    };
    tokio::select! {
        () = driver.run(&shutdown) => panic!("the driver ended by itself"),
        () = subscribe => {}
    }
    assert_eq!(bench.sink.taken(), [2]);
}

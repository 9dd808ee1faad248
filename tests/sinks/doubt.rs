//! A receiver that refuses everything, streams that differ, queues that fill up, and a process that ended in the middle.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use miro_siem::{
    event::{Position, StreamKind},
    health::SinkPhase,
    journal::Journal as _,
    sink::{
        ErrorClass, Verdict,
        dead_letters::{Reason, RetryParts, retry},
        driver::{Ended, Limits, Shutdown},
    },
};

use crate::support::{Answer, Bench, ScriptedSink, bench_limits, stream};

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// A receiver that refuses everything until the switch is on: as a whole, or each event by itself.
fn refusing(each: bool) -> (ScriptedSink, Arc<AtomicBool>) {
    let switch = Arc::new(AtomicBool::new(false));
    let is_well = switch.clone();
    let sink = ScriptedSink::new(move |call| match (is_well.load(Ordering::Relaxed), each) {
        (true, _) => Answer::All,
        (false, true) => Answer::Each(vec![Verdict::Rejected("mapping conflict".to_owned()); call.positions.len()]),
        (false, false) => Answer::Fails(ErrorClass::Rejected),
    });
    (sink, switch)
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_refuses_everything_gets_a_thousand_events_and_then_pauses() {
    for each in [false, true] {
        let (sink, is_well) = refusing(each);
        let mut bench = Bench::with(sink, Limits { events_max: 700, ..bench_limits() }, 1 << 30);
        bench.collect(5_000);
        bench.run_for(secs(3_600)).await;
        assert_eq!((bench.letters().len(), bench.counts()[2], bench.acked()), (1_000, 1_000, Position(1_000)), "each: {each}");
        assert_eq!((bench.row().phase, bench.metric("miro_siem_sink_paused")), (SinkPhase::Paused, 1));
        let message = bench.row().fault.expect("a fault").message;
        assert!(message.contains("refused 1000 events") && message.contains("dead-letters retry"), "{message}");
        let calls = bench.sink.calls();
        let trials: Vec<_> = calls.iter().filter(|call| call.after > secs(1)).collect();
        assert!(trials.iter().all(|call| call.positions.len() == 1) && trials.len() < 40, "then it is tried slowly, one event at a time");

        is_well.store(true, Ordering::Relaxed);
        bench.deliver_everything().await;
        assert_eq!(bench.sink.taken(), (1_001..=5_000).collect::<Vec<_>>(), "and goes on by itself");
        assert_eq!((bench.letters().len(), bench.row().phase), (1_000, SinkPhase::Delivering));
    }
}

/// A receiver that refuses the event of that position alone, and of several events says only that one is refused. Events that are sent
/// again have positions of their own, which begin far behind the journal's.
fn refusing_without_a_name(poison: u64) -> ScriptedSink {
    let is_poison = move |position: &u64| position % (1 << 32) == poison;
    ScriptedSink::new(move |call| match (call.positions.iter().any(is_poison), call.positions.len()) {
        (false, _) => Answer::All,
        (true, 1) => Answer::Each(vec![Verdict::Rejected("too old".to_owned())]),
        (true, count) => Answer::Each(vec![Verdict::MaybeRejected("1 of them is too old".to_owned()); count]),
    })
}

#[tokio::test(start_paused = true)]
async fn what_may_have_been_refused_is_sent_again_one_by_one_and_then_it_is_known() {
    let mut bench = Bench::new(refusing_without_a_name(7));
    bench.collect(20);
    bench.deliver_everything().await;
    assert_eq!((bench.sink.sizes(), bench.counts()), (vec![20], [0, 0, 20, 0]), "nothing is sent again by itself");
    assert!(bench.letters().iter().all(|letter| letter.reason == Reason::MaybeRejected));
    let parts = RetryParts { sink: bench.state.clone(), transform: bench.transform(), clock: bench.clock.clone() };
    let (report, ended) = retry(&parts, |_| true, |_| {}, &Shutdown::new()).await.expect("the store can be read");
    assert_eq!((ended, report.delivered, report.refused), (Ended::Delivered, 19, 1));
    assert_eq!(bench.sink.sizes()[1..], [1; 20]);
    let [letter] = bench.letters().try_into().expect("one letter");
    assert_eq!((letter.event.id.as_str(), letter.reason, letter.answer.as_str()), ("id-7", Reason::Rejected, "too old"));
    assert_eq!(bench.counts()[3], 19, "each of the others may be at the receiver twice");
}

#[tokio::test(start_paused = true)]
async fn one_event_that_is_taken_shows_that_the_others_are_at_fault() {
    let sink = ScriptedSink::new(|call| {
        if call.positions.iter().any(|position| position % 900 != 0) { Answer::Fails(ErrorClass::Rejected) } else { Answer::All }
    });
    let mut bench = Bench::with(sink, bench_limits(), 1 << 30);
    bench.collect(3_600);
    bench.deliver_everything().await;
    assert_eq!((bench.sink.taken(), bench.letters().len()), (vec![900, 1_800, 2_700, 3_600], 3_596));
}

#[tokio::test(start_paused = true)]
async fn the_last_event_of_a_batch_can_show_that_the_receiver_is_well() {
    let sink = ScriptedSink::new(|call| {
        if call.positions.iter().any(|position| *position <= 1_200) { Answer::Fails(ErrorClass::Rejected) } else { Answer::All }
    });
    let mut bench = Bench::with(sink, Limits { events_max: 5_000, ..bench_limits() }, 1 << 30);
    bench.collect(1_500);
    bench.deliver_everything().await;
    let mut taken = bench.sink.taken();
    taken.sort_unstable();
    assert_eq!((taken, bench.letters().len()), ((1_201..=1_500).collect(), 1_200));
    assert!(bench.sink.times().last() < Some(&secs(60)), "one pause, and no more: {:?}", bench.sink.times().last());
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_sent_at_all_is_no_fault_of_the_receiver() {
    let sink = ScriptedSink::new(|call| Answer::Each(vec![Verdict::Unencodable("no object".to_owned()); call.positions.len()]));
    let mut bench = Bench::with(sink, bench_limits(), 1 << 30);
    bench.collect(2_500);
    bench.deliver_everything().await;
    assert_eq!((bench.letters().len(), bench.letters()[0].reason), (2_500, Reason::Unencodable));
}

#[tokio::test(start_paused = true)]
async fn a_fault_of_configuration_keeps_no_other_stream_waiting() {
    let content = stream(StreamKind::Content);
    let mut bench = Bench::new(ScriptedSink::new(|call| match call.stream.kind {
        StreamKind::Audit => Answer::Fails(ErrorClass::Config),
        _ => Answer::All,
    }));
    bench.journal.subscribe_now(&bench.name, &content);
    bench.collect(1);
    bench.collect_of(&content, 5);
    let (one, other, shutdown) = (bench.driver(), bench.driver_of(content.clone()), Shutdown::new());
    let both = async { tokio::join!(one.run(&shutdown), other.run(&shutdown)) };
    assert!(tokio::time::timeout(secs(3_600), both).await.is_err());
    assert_eq!((bench.acked(), bench.journal.acked(&bench.name, &content)), (Position(0), Some(Position(6))));
    assert_eq!((bench.row().phase, bench.metric("miro_siem_sink_paused")), (SinkPhase::Paused, 1), "and it shows all the same");
    let tried: Vec<_> =
        bench.sink.calls().iter().filter(|call| call.stream.kind == StreamKind::Audit).map(|call| call.after.as_secs()).collect();
    assert!(tried.len() < 20, "it is tried slowly: {tried:?}");
}

#[tokio::test(start_paused = true)]
async fn a_receiver_whose_queues_fill_up_gets_its_batches_more_slowly() {
    let limits = Limits { events_max: 10, ..bench_limits() };
    let run = async |answer: Answer| {
        let mut bench = Bench::with(ScriptedSink::script((0..30).map(|_| answer.clone())), limits.clone(), 1 << 20);
        bench.collect(310);
        bench.deliver_everything().await;
        assert_eq!(bench.counts(), [310, 0, 0, 0], "a warning is a success");
        bench.sink.times()[30]
    };
    let (unwarned, warned) = (run(Answer::All).await, run(Answer::AllNearlyFull).await);
    assert!(unwarned < secs(2) && warned > secs(30), "{unwarned:?} and {warned:?}");
}

#[tokio::test(start_paused = true)]
async fn after_an_end_in_the_middle_the_first_batch_counts_as_possible_duplicates() {
    let limits = Limits { events_max: 10, ..bench_limits() };
    let mut bench = Bench::with(ScriptedSink::script([Answer::All, Answer::Slowly(secs(20))]), limits, 1 << 20);
    bench.collect(30);
    bench.run_for(secs(5)).await;
    assert_eq!((bench.acked(), bench.counts()), (Position(10), [10, 0, 0, 0]));
    bench.deliver_everything().await;
    assert_eq!(bench.counts(), [30, 0, 0, 10]);
}

#[tokio::test(start_paused = true)]
async fn after_an_end_at_rest_nothing_counts_as_possible_duplicate() {
    let mut bench = Bench::new(ScriptedSink::script([Answer::All, Answer::Fails(ErrorClass::Retryable)]));
    for _ in 0..3 {
        bench.collect(10);
        let (driver, shutdown) = (bench.driver(), Shutdown::new());
        shutdown.drain.cancel();
        driver.run(&shutdown).await;
    }
    assert_eq!((bench.acked(), bench.counts()), (Position(30), [30, 0, 0, 0]));
}

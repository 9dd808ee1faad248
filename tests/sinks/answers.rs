//! What the driver makes of each answer.

use std::time::Duration;

use miro_siem::{
    event::{Position, StreamKind},
    health::SinkPhase,
    sink::{
        ErrorClass, Verdict,
        dead_letters::Reason,
        driver::{Limits, Shutdown},
    },
};

use crate::support::{Answer, Bench, ScriptedSink, bench_limits, stream};

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

#[tokio::test(start_paused = true)]
async fn an_ack_moves_only_after_the_receiver_accepted() {
    let mut bench = Bench::new(ScriptedSink::script([Answer::Slowly(secs(20))]));
    bench.collect(10);
    bench.run_for(secs(20)).await;
    assert_eq!(bench.acked(), Position(0), "the delivery was still under way");
    bench.deliver_everything().await;
    assert_eq!((bench.acked(), bench.counts()), (Position(10), [10, 0, 0, 10]), "what was cut in the middle may have arrived");
    assert_eq!(bench.row().phase, SinkPhase::Delivering);
    assert_eq!(bench.row().events_delivered, 10);
}

#[tokio::test(start_paused = true)]
async fn each_event_gets_its_own_verdict_and_the_order_is_kept() {
    let verdicts = |text: &str| {
        let verdict = |letter| match letter {
            'a' => Verdict::Accepted,
            'r' => Verdict::Rejected("code 12".to_owned()),
            'm' => Verdict::MaybeRejected("1 of 2".to_owned()),
            _ => Verdict::NotTaken,
        };
        Answer::Each(text.chars().map(verdict).collect())
    };
    let mut bench = Bench::new(ScriptedSink::script([verdicts("aar....a.m"), verdicts("a.a.r")]));
    bench.collect(10);
    bench.deliver_everything().await;
    let sent: Vec<_> = bench.sink.calls().into_iter().map(|call| call.positions).collect();
    assert_eq!(sent, [(1..=10).collect(), vec![4, 5, 6, 7, 9], vec![5, 7]]);
    assert_eq!(bench.sink.taken(), [1, 2, 8, 4, 6, 5, 7]);
    let letters: Vec<_> = bench.letters().into_iter().map(|letter| (letter.event.position.0, letter.reason, letter.answer)).collect();
    let refused = |position| (position, Reason::Rejected, "code 12".to_owned());
    assert_eq!(letters, [refused(3), (10, Reason::MaybeRejected, "1 of 2".to_owned()), refused(9)]);
    assert_eq!(bench.counts(), [7, 0, 3, 0]);
    assert_eq!(bench.row().events_dead_lettered, 3);
}

#[tokio::test(start_paused = true)]
async fn of_a_batch_whose_fate_is_known_in_part_only_the_unknown_are_possible_duplicates() {
    let verdict = |letter| match letter {
        'a' => Verdict::Accepted,
        '?' => Verdict::Unknown("the session broke".to_owned()),
        _ => Verdict::NotTaken,
    };
    let verdicts = |text: &str| Answer::Each(text.chars().map(verdict).collect());
    let mut bench = Bench::new(ScriptedSink::script([verdicts("aaa???...."), verdicts("??....."), verdicts(".......")]));
    bench.collect(10);
    bench.deliver_everything().await;
    let sent: Vec<_> = bench.sink.calls().into_iter().map(|call| call.positions.len()).collect();
    assert_eq!(sent, [10, 7, 7, 7]);
    let times = bench.sink.times();
    assert_eq!(times[1], times[0], "there was progress: no wait");
    assert!(times[2] > times[1] && times[3] > times[2], "without progress there is one");
    assert_eq!(bench.counts(), [10, 0, 0, 5], "three are sent again, and two of them a second time");
    assert_eq!(bench.metric_with("miro_siem_sink_errors_total", &[("class", "ambiguous")]), 1);
    assert_eq!(bench.metric_with("miro_siem_sink_errors_total", &[("class", "retryable")]), 1);
}

#[tokio::test(start_paused = true)]
async fn a_dictated_wait_is_kept_and_does_not_make_later_ones_longer() {
    let throttled = |wait| Answer::Fails(ErrorClass::Throttled(Some(wait)));
    let answers = [
        throttled(secs(7)),
        throttled(secs(7)),
        throttled(secs(24 * 3600)),
        throttled(Duration::ZERO),
        Answer::Fails(ErrorClass::Retryable),
    ];
    let mut bench = Bench::new(ScriptedSink::script(answers));
    bench.collect(1_000);
    bench.deliver_everything().await;
    let times = bench.sink.times();
    let waits: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(waits[..3], [secs(7), secs(7), secs(15 * 60)], "a day is cut to a quarter of an hour");
    assert!(waits[3] >= Duration::from_millis(100), "no wait is no reason to spin");
    assert!(waits[4] <= secs(1) + Duration::from_millis(1), "the first error waits for the shortest time, whatever was dictated before it");
    assert_eq!(bench.counts(), [1_000, 0, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_throttle_without_a_time_waits_as_an_error_does() {
    let mut bench = Bench::new(ScriptedSink::script((0..6).map(|_| Answer::Fails(ErrorClass::Throttled(None)))));
    bench.collect(1);
    bench.deliver_everything().await;
    assert_eq!(bench.sink.calls().len(), 7);
    assert_eq!(bench.metric_with("miro_siem_sink_errors_total", &[("class", "throttled")]), 6);
}

#[tokio::test(start_paused = true)]
async fn errors_are_retried_without_end_and_the_waits_grow_to_their_limit() {
    let mut bench = Bench::new(ScriptedSink::script((0..200).map(|_| Answer::Fails(ErrorClass::Retryable))));
    bench.collect(3);
    bench.deliver_everything().await;
    let times = bench.sink.times();
    let waits: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(waits.len(), 200);
    let ceilings = [1, 2, 4, 8, 16, 32, 60, 60];
    assert!(
        waits
            .iter()
            .zip(ceilings.into_iter().chain(std::iter::repeat(60)))
            .all(|(wait, ceiling)| *wait <= secs(ceiling) + Duration::from_millis(2))
    );
    assert!(waits.iter().any(|wait| *wait > secs(30)), "full jitter reaches the upper half of the range");
    assert_eq!(bench.counts(), [3, 0, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_success_makes_the_next_wait_short_again() {
    let fails = || std::iter::repeat_n(Answer::Fails(ErrorClass::Retryable), 12);
    let limits = Limits { events_max: 1, ..bench_limits() };
    let sink = ScriptedSink::script(fails().chain([Answer::All]).chain(fails()));
    let mut bench = Bench::with(sink, limits, 1 << 20);
    bench.collect(2);
    bench.deliver_everything().await;
    let times = bench.sink.times();
    assert!(times[13] - times[12] < Duration::from_millis(10), "the next batch goes at once");
    let ceilings = times[13..].windows(2).zip([1, 2, 4, 8, 16]);
    assert!(ceilings.into_iter().all(|(pair, ceiling)| pair[1] - pair[0] <= secs(ceiling) + Duration::from_millis(2)), "{times:?}");
}

#[tokio::test(start_paused = true)]
async fn too_large_is_halved_down_to_what_is_taken_and_remembered() {
    let sink = ScriptedSink::new(|call| if call.positions.len() > 3 { Answer::Fails(ErrorClass::TooLarge) } else { Answer::All });
    let mut bench = Bench::new(sink);
    let (driver, shutdown) = (bench.driver(), Shutdown::new());
    let collect = async {
        for _ in 0..30 {
            bench.collect(12);
            tokio::time::sleep(secs(2)).await;
        }
    };
    tokio::select! {
        () = driver.run(&shutdown) => panic!("the driver ended by itself"),
        () = collect => {}
    }
    assert_eq!(bench.sink.taken(), (1..=360).collect::<Vec<_>>());
    assert_eq!(bench.counts(), [360, 0, 0, 0]);
    let refused: Vec<_> = bench.sink.sizes().into_iter().filter(|&size| size > 3).collect();
    assert_eq!(refused[..2], [12, 6]);
    assert!(refused.len() <= 12, "the larger size is tried again only now and then: {refused:?}");
}

#[tokio::test(start_paused = true)]
async fn an_event_that_is_too_large_alone_becomes_a_dead_letter() {
    let sink = ScriptedSink::new(|call| if call.positions.contains(&5) { Answer::Fails(ErrorClass::TooLarge) } else { Answer::All });
    let mut bench = Bench::new(sink);
    bench.collect(9);
    bench.deliver_everything().await;
    assert_eq!(bench.sink.taken(), [1, 2, 3, 4, 6, 7, 8, 9]);
    let letters = bench.letters();
    assert_eq!((letters.len(), letters[0].reason, letters[0].event.position), (1, Reason::TooLarge, Position(5)));
    assert_eq!(letters[0].answer, "the receiver says too_large");
    assert_eq!(&letters[0].event.raw[..], br#"{"id":"id-5","event":"board_opened"}"#);
    assert_eq!(bench.counts(), [8, 0, 1, 0]);
}

#[tokio::test(start_paused = true)]
async fn one_poison_event_among_a_thousand_is_found_and_the_others_are_delivered_once() {
    for poison in [1_u64, 2, 500, 501, 777, 999, 1_000] {
        let sink =
            ScriptedSink::new(move |call| if call.positions.contains(&poison) { Answer::Fails(ErrorClass::Rejected) } else { Answer::All });
        let mut bench = Bench::new(sink);
        bench.collect(1_000);
        bench.deliver_everything().await;
        assert_eq!(bench.sink.taken(), (1..=1_000).filter(|&position| position != poison).collect::<Vec<_>>());
        let letters = bench.letters();
        assert_eq!((letters.len(), letters[0].reason, letters[0].event.position), (1, Reason::Rejected, Position(poison)));
        assert_eq!(bench.counts(), [999, 0, 1, 0]);
        assert!(bench.sink.calls().len() <= 40, "{} deliveries for poison at {poison}", bench.sink.calls().len());
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_of_poison_costs_one_delivery_for_each_event() {
    let mut bench = Bench::new(ScriptedSink::new(|_| Answer::Fails(ErrorClass::Rejected)));
    bench.collect(300);
    bench.deliver_everything().await;
    assert_eq!((bench.letters().len(), bench.counts()), (300, [0, 0, 300, 0]));
    assert!(bench.sink.calls().len() <= 310, "{}", bench.sink.calls().len());
}

#[tokio::test(start_paused = true)]
async fn a_credential_fault_pauses_keeps_the_data_and_resumes_by_itself() {
    for class in [ErrorClass::Auth, ErrorClass::Config] {
        let mut bench = Bench::new(ScriptedSink::script([Answer::Fails(class)]));
        bench.sink.fail_probes([
            ErrorClass::Auth,
            ErrorClass::Retryable,
            ErrorClass::Auth,
            ErrorClass::Auth,
            ErrorClass::Auth,
            ErrorClass::Auth,
        ]);
        bench.collect(5);
        bench.run_for(secs(10)).await;
        assert_eq!((bench.row().phase, bench.metric("miro_siem_sink_paused"), bench.acked()), (SinkPhase::Paused, 1, Position(0)));
        assert_eq!(bench.row().fault.map(|fault| fault.class), Some(class.as_str().to_owned()));
        bench.deliver_everything().await;
        let probes = bench.sink.probes();
        let waits: Vec<_> = probes.windows(2).map(|pair| (pair[1] - pair[0]).as_secs()).collect();
        assert_eq!(waits, [60, 120, 240, 300, 300, 300], "probes come slowly");
        assert_eq!((bench.row().phase, bench.metric("miro_siem_sink_paused"), bench.row().fault), (SinkPhase::Delivering, 0, None));
        assert_eq!(
            (bench.sink.calls().len(), bench.counts()),
            (2, [5, 0, 0, 5]),
            "the driver was dropped, which looks like an end in the middle"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_passes_while_deliveries_fail_does_not_make_the_pauses_short() {
    let mut bench = Bench::new(ScriptedSink::script((0..6).map(|_| Answer::Fails(ErrorClass::Auth))));
    bench.collect(1);
    bench.deliver_everything().await;
    let waits: Vec<_> = bench.sink.times().windows(2).map(|pair| (pair[1] - pair[0]).as_secs()).collect();
    assert_eq!(waits, [30, 60, 120, 240, 300, 300]);
}

#[tokio::test(start_paused = true)]
async fn a_reload_probes_at_once() {
    let mut bench = Bench::new(ScriptedSink::script([Answer::Fails(ErrorClass::Auth)]));
    bench.collect(1);
    let (driver, state) = (bench.driver(), bench.state.clone());
    let shutdown = Shutdown::new();
    tokio::select! {
        () = driver.run(&shutdown) => panic!("the driver ended by itself"),
        () = async {
            tokio::time::sleep(secs(5)).await;
            state.probe_now();
            tokio::time::sleep(secs(1)).await;
        } => {}
    }
    assert_eq!((bench.acked(), bench.sink.probes().len()), (Position(1), 1));
}

#[tokio::test(start_paused = true)]
async fn what_may_have_arrived_is_sent_again_and_counted() {
    let lost = || Answer::TakesAndFails(ErrorClass::Ambiguous);
    let mut bench = Bench::new(ScriptedSink::script([lost(), Answer::Fails(ErrorClass::Retryable), lost(), Answer::All]));
    bench.collect(4);
    bench.deliver_everything().await;
    let seen_again = bench.sink.taken().len() as u64 - 4;
    assert_eq!((seen_again, bench.counts()), (8, [4, 0, 0, 8]), "the count is what the receiver saw twice");
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_hangs_is_given_up_and_counts_as_ambiguous() {
    let mut bench = Bench::new(ScriptedSink::script([Answer::Hangs]));
    bench.collect(2);
    bench.deliver_everything().await;
    let times = bench.sink.times();
    assert!((35..=37).contains(&(times[1] - times[0]).as_secs()), "{times:?}");
    assert_eq!(bench.counts(), [2, 0, 0, 2]);
    assert_eq!(bench.metric_with("miro_siem_sink_errors_total", &[("class", "ambiguous")]), 1);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_does_not_fit_the_batch_is_not_believed() {
    let mut bench = Bench::new(ScriptedSink::script([Answer::Each(vec![Verdict::Accepted; 3])]));
    bench.collect(5);
    bench.deliver_everything().await;
    assert_eq!(bench.sink.sizes(), [5, 5]);
    assert_eq!(bench.counts()[0], 5);
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_takes_nothing_is_not_asked_again_at_full_speed() {
    let mut bench = Bench::new(ScriptedSink::script((0..20).map(|_| Answer::Each(vec![Verdict::NotTaken; 2]))));
    bench.collect(2);
    bench.deliver_everything().await;
    assert_eq!(bench.sink.calls().len(), 21);
    assert!(bench.sink.times()[20] > secs(30), "{:?}", bench.sink.times());
}

#[tokio::test(start_paused = true)]
async fn a_full_store_of_dead_letters_pauses_the_sink_instead_of_losing_the_event() {
    let sink = ScriptedSink::new(|call| if call.positions.contains(&2) { Answer::Fails(ErrorClass::Rejected) } else { Answer::All });
    let mut bench = Bench::with(sink, bench_limits(), 10);
    bench.collect(3);
    bench.run_for(secs(3600)).await;
    assert_eq!((bench.acked(), bench.row().phase, bench.metric("miro_siem_sink_paused")), (Position(1), SinkPhase::Paused, 1));
    let message = bench.row().fault.expect("a fault").message;
    assert!(message.contains("dead letters") && message.contains("state.dead_letters_max"), "{message}");
    assert_eq!((bench.counts(), bench.letters().len()), ([1, 0, 0, 0], 0));
}

#[tokio::test(start_paused = true)]
async fn dead_letters_that_cannot_be_written_hold_the_ack_back() {
    let sink = ScriptedSink::new(|call| if call.positions.contains(&2) { Answer::Fails(ErrorClass::Rejected) } else { Answer::All });
    let mut bench = Bench::with_full_disk(sink);
    bench.collect(3);
    bench.run_for(secs(600)).await;
    assert_eq!((bench.acked(), bench.counts()), (Position(1), [1, 0, 0, 0]));
    let row = bench.row();
    assert_eq!((row.phase, row.fault.map(|fault| fault.class)), (SinkPhase::BackingOff, Some("dead_letters".to_owned())));
}

#[tokio::test(start_paused = true)]
async fn a_fault_of_one_stream_shows_until_that_stream_has_recovered() {
    let content = stream(StreamKind::Content);
    let mut bench = Bench::new(ScriptedSink::new(|call| match call.stream.kind {
        StreamKind::Audit => Answer::Fails(ErrorClass::Retryable),
        _ => Answer::All,
    }));
    bench.journal.subscribe_now(&bench.name, &content);
    bench.collect(1);
    bench.collect_of(&content, 5);
    let (one, other, shutdown) = (bench.driver(), bench.driver_of(content), Shutdown::new());
    let both = async { tokio::join!(one.run(&shutdown), other.run(&shutdown)) };
    assert!(tokio::time::timeout(secs(120), both).await.is_err());
    assert_eq!((bench.row().phase, bench.row().events_delivered), (SinkPhase::BackingOff, 5));
    assert!(bench.row().fault.is_some() && bench.row().last_success.is_some());
}

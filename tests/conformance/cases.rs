//! The cases, and how a sink is taken through them.

use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use miro_siem::{
    event::Position,
    health::SinkPhase,
    sink::{dead_letters::Reason, driver::Shutdown},
};

use crate::{
    bench::{Bench, id, until},
    subject::{Behaviour, Cannot, Repeats, Subject},
    table::{Cell, Row},
};

/// What a case comes to where it does not panic.
type Done = Result<(), Cannot>;

/// One case.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    /// A claim.
    pub(crate) name: &'static str,
    /// The column's head.
    pub(crate) short: &'static str,
    run: for<'a> fn(&'a Bench) -> BoxFuture<'a, Done>,
}

/// Every case, in the order of the table's columns.
pub(crate) const CASES: [Case; 10] = [
    Case { name: "an ack comes only after the receiver's acceptance", short: "ack after", run: |bench| Box::pin(ack_after(bench)) },
    Case {
        name: "one refused event among many becomes a dead letter, the others arrive once",
        short: "partial",
        run: |bench| Box::pin(partial(bench)),
    },
    Case {
        name: "of a thousand events one is refused, and is delivered by a retry once its cause is gone",
        short: "poison+retry",
        run: |bench| Box::pin(poison_and_retry(bench)),
    },
    Case { name: "a throttle for a time is waited for", short: "throttle", run: |bench| Box::pin(throttled(bench)) },
    Case { name: "a throttle in the other form is waited for", short: "throttle 2", run: |bench| Box::pin(throttled_otherwise(bench)) },
    Case { name: "what is too large is sent in parts", short: "too large", run: |bench| Box::pin(too_large(bench)) },
    Case { name: "refused credentials pause, and the sink resumes by itself", short: "auth pause", run: |bench| Box::pin(auth(bench)) },
    Case { name: "a cancel in mid-delivery loses nothing", short: "cancel", run: |bench| Box::pin(cancel(bench)) },
    Case { name: "what may have arrived is sent again and counted", short: "ambiguous", run: |bench| Box::pin(ambiguous(bench)) },
    Case { name: "every metric of a sink is there", short: "metrics", run: |bench| Box::pin(metrics(bench)) },
];

/// Events of a case.
pub(crate) const COUNT: usize = 40;

/// Takes a sink through every case, each with a receiver of its own.
pub(crate) async fn run(sink: &'static str, start: impl Fn() -> BoxFuture<'static, Box<dyn Subject>>) -> Row {
    let mut cells = Vec::with_capacity(CASES.len());
    for case in CASES {
        let subject = start().await;
        let done = tokio::spawn(async move { (case.run)(&Bench::new(subject)).await }).await;
        cells.push(match done {
            Ok(Ok(())) => Cell::Passed,
            Ok(Err(why)) => Cell::Cannot(why),
            Err(error) => Cell::Failed(words(error)),
        });
    }
    Row { sink, cells }
}

fn words(error: tokio::task::JoinError) -> String {
    let Ok(panic) = error.try_into_panic() else { return "it was cancelled".to_owned() };
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic without words".to_owned())
}

async fn ack_after(bench: &Bench) -> Done {
    const LATE: Duration = Duration::from_millis(600);
    bench.order(Behaviour::AnswersLate(LATE))?;
    bench.collect(COUNT, &[]);
    let began = Instant::now();
    let early = async {
        tokio::time::sleep(LATE / 2).await;
        // Where the machine stood still meanwhile, nothing can be said.
        if began.elapsed() < LATE {
            assert_eq!(bench.acked(), Position(0), "acked {:?} after the start, and the answer comes after {LATE:?}", began.elapsed());
        }
    };
    tokio::join!(bench.deliver_everything(), early);
    bench.all_arrived(COUNT).await;
    assert_eq!(bench.subject.arrived(), bench.expected(COUNT, 1, &[]));
    assert_eq!(bench.counts(), [COUNT as u64, 0, 0]);
    Ok(())
}

async fn partial(bench: &Bench) -> Done {
    bench.order(Behaviour::Refuses("poison".to_owned()))?;
    bench.collect(COUNT, &[17]);
    bench.deliver_everything().await;
    assert_eq!(bench.subject.arrived(), bench.expected(COUNT, 1, &[18]));
    let letters = bench.letters();
    assert_eq!(letters.len(), 1);
    assert_eq!((letters[0].event.id.as_str(), letters[0].reason), (id(18).as_str(), Reason::Rejected));
    assert!(!letters[0].answer.is_empty() && letters[0].attempts > 0, "the letter says what the receiver said: {:?}", letters[0]);
    assert!(!letters[0].answer.contains("poison"), "and nothing of the event's content: {}", letters[0].answer);
    assert_eq!(bench.counts(), [COUNT as u64 - 1, 1, 0]);
    Ok(())
}

async fn poison_and_retry(bench: &Bench) -> Done {
    const MANY: usize = 1_000;
    bench.order(Behaviour::Refuses("poison".to_owned()))?;
    bench.collect(MANY, &[616]);
    bench.deliver_everything().await;
    assert_eq!(bench.subject.arrived(), bench.expected(MANY, 1, &[617]));
    let letters = bench.letters();
    assert_eq!((letters.len(), bench.counts()), (1, [999, 1, 0]));
    assert!(letters[0].answer.len() > 5, "the receiver's reason is in the letter: {}", letters[0].answer);

    let refused_again = bench.retry().await;
    assert_eq!((refused_again.selected, refused_again.delivered, refused_again.refused), (1, 0, 1));
    let again = bench.letters();
    assert_eq!((again.len(), again[0].attempts > letters[0].attempts), (1, true), "it stays, with one attempt more");
    assert_eq!((again[0].first_attempt_at, &again[0].event.raw), (letters[0].first_attempt_at, &letters[0].event.raw));

    bench.order(Behaviour::Well).expect("what can be broken can be mended");
    let delivered = bench.retry().await;
    assert_eq!((delivered.selected, delivered.delivered, delivered.refused), (1, 1, 0));
    assert_eq!(bench.subject.arrived(), bench.expected(MANY, 1, &[]), "every event is there once");
    assert_eq!((bench.letters().len(), bench.counts()), (0, [999, 1, 0]), "its first outcome was a dead letter, and stays counted as one");
    Ok(())
}

async fn throttled(bench: &Bench) -> Done {
    waits_for(bench, Behaviour::ThrottlesFor(Duration::from_secs(1))).await
}

async fn throttled_otherwise(bench: &Bench) -> Done {
    waits_for(bench, Behaviour::ThrottlesOtherwise(Duration::from_secs(1))).await
}

async fn waits_for(bench: &Bench, behaviour: Behaviour) -> Done {
    bench.order(behaviour)?;
    bench.collect(COUNT, &[]);
    let began = Instant::now();
    bench.deliver_everything().await;
    bench.all_arrived(COUNT).await;
    // A date has whole seconds, and so may be reached a little sooner than a second from now.
    assert!(began.elapsed() >= Duration::from_millis(900), "sent again after {:?}", began.elapsed());
    assert_eq!(bench.subject.arrived(), bench.expected(COUNT, 1, &[]));
    assert_eq!((bench.errors("throttled"), bench.counts()), (1, [COUNT as u64, 0, 0]));
    Ok(())
}

async fn too_large(bench: &Bench) -> Done {
    bench.order(Behaviour::TooLarge)?;
    bench.collect(COUNT, &[]);
    bench.deliver_everything().await;
    bench.all_arrived(COUNT).await;
    assert_eq!(bench.subject.arrived(), bench.expected(COUNT, 1, &[]));
    assert_eq!((bench.errors("too_large"), bench.counts(), bench.letters().len()), (1, [COUNT as u64, 0, 0], 0));
    Ok(())
}

async fn auth(bench: &Bench) -> Done {
    bench.order(Behaviour::RefusesCredentials)?;
    bench.collect(COUNT, &[]);
    let class = bench.subject.refusal_class();
    let mended = async {
        until("it has been refused twice", || bench.errors(class) >= 2).await;
        until("it is paused", || bench.metric("miro_siem_sink_paused", &[("sink", "subject")]) == Some(1.0)).await;
        let row = bench.row();
        assert_eq!(row.phase, SinkPhase::Paused);
        assert!(row.fault.is_some_and(|fault| fault.message.len() > 20), "the board says what to mend");
        assert_eq!((bench.acked(), bench.counts()), (Position(0), [0, 0, 0]), "nothing is given up meanwhile");
        bench.order(Behaviour::Well).expect("what can be broken can be mended");
    };
    tokio::join!(bench.deliver_everything(), mended);
    bench.all_arrived(COUNT).await;
    assert_eq!(bench.subject.arrived(), bench.expected(COUNT, 1, &[]));
    assert_eq!(bench.counts(), [COUNT as u64, 0, 0]);
    assert_eq!(bench.metric("miro_siem_sink_paused", &[("sink", "subject")]), Some(0.0));
    Ok(())
}

/// Where the receiver can keep us waiting, the delivery is cut in the middle of the wait; else at moments that chance decides.
async fn cancel(bench: &Bench) -> Done {
    let stalls = bench.order(Behaviour::Stalls).is_ok();
    bench.collect(COUNT, &[]);
    for round in 0..if stalls { 1 } else { 20 } {
        let (driver, shutdown) = (bench.driver(), Shutdown::new());
        let cut = async {
            tokio::time::sleep(if stalls { Duration::from_millis(300) } else { Duration::from_micros(150 * round) }).await;
            shutdown.stop.cancel();
        };
        let began = Instant::now();
        tokio::join!(driver.run(&shutdown), cut);
        assert!(began.elapsed() < Duration::from_millis(1_500), "a stop ends a delivery at once: {:?}", began.elapsed());
    }
    assert!(!stalls || bench.acked() == Position(0), "nothing that was under way is acked");
    bench.check_acks();
    bench.order(Behaviour::Well).expect("what stalls goes on");
    bench.deliver_everything().await;
    bench.all_arrived(COUNT).await;
    let arrived = bench.subject.arrived();
    assert_eq!(arrived.keys().collect::<Vec<_>>(), bench.expected(COUNT, 1, &[]).keys().collect::<Vec<_>>());
    assert_eq!(bench.letters().len(), 0);
    Ok(())
}

async fn ambiguous(bench: &Bench) -> Done {
    bench.order(Behaviour::LosesAnswer)?;
    bench.collect(COUNT, &[]);
    bench.deliver_everything().await;
    let (times, possible_duplicates) = match bench.subject.repeats() {
        Repeats::Kept => (2, COUNT as u64),
        Repeats::Dropped => (1, 0),
    };
    until("the copies have arrived", || bench.subject.arrived() == bench.expected(COUNT, times, &[])).await;
    assert_eq!(bench.counts(), [COUNT as u64, 0, possible_duplicates], "what the receiver has twice is what was counted");
    Ok(())
}

async fn metrics(bench: &Bench) -> Done {
    drop(bench.driver());
    let of_stream = ["events_delivered_total", "events_dead_lettered_total", "events_filtered_total", "possible_duplicates_total"];
    for name in of_stream {
        let value = bench.metric(&format!("miro_siem_{name}"), &[("sink", "subject"), ("stream", "audit")]);
        assert_eq!(value, Some(0.0), "{name} is there before anything has happened");
    }
    bench.collect(COUNT, &[]);
    assert_eq!(bench.metric("miro_siem_sink_backlog_events", &[("sink", "subject")]), Some(COUNT as f64));
    bench.deliver_everything().await;
    let of_sink = [("sink_backlog_events", 0.0), ("sink_oldest_event_age_seconds", 0.0), ("sink_paused", 0.0)];
    for (name, expected) in of_sink {
        assert_eq!(bench.metric(&format!("miro_siem_{name}"), &[("sink", "subject")]), Some(expected), "{name}");
    }
    assert_eq!(bench.counts(), [COUNT as u64, 0, 0]);
    assert!(bench.row().last_success.is_some() && bench.row().fault.is_none());
    Ok(())
}

//! One sink with its receiver, a journal before it and the real driver between.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use miro_siem::{
    clock::Clock,
    event::{Event, EventId, OrgName, Origin, Position, SinkName, StreamId, StreamKind},
    health::{Health, SinkHealth},
    journal::Journal,
    metrics::Metrics,
    sink::{
        dead_letters::{self, DEAD_LETTER_BYTES_MAX, DeadLetter, DeadLetters, RetryParts, RetryReport},
        driver::{Driver, Ended, Limits, Shutdown, SinkParts, SinkState, publish_backlog},
    },
    transform::TransformSettings,
};

use crate::{
    journal::{MemoryJournal, OnAck},
    subject::{Behaviour, Cannot, Proof, Subject},
};

/// Nothing here takes this long on a machine that is only busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Bench {
    pub(crate) subject: Arc<dyn Subject>,
    pub(crate) journal: Arc<MemoryJournal>,
    pub(crate) state: Arc<SinkState>,
    pub(crate) metrics: Metrics,
    transform: TransformSettings,
    health: Health,
    clock: Clock,
    name: SinkName,
    dir: Arc<tempfile::TempDir>,
    /// Events that were acked before they had an outcome. A panic there would be taken for the driver's.
    early_acks: Arc<Mutex<Vec<String>>>,
}

pub(crate) fn audit() -> StreamId {
    StreamId::new(OrgName::new("acme"), StreamKind::Audit)
}

pub(crate) fn id(number: usize) -> String {
    format!("2026-01-31T09:30:10.{number:06}Z#{number}-DDB")
}

impl Bench {
    pub(crate) fn new(subject: Box<dyn Subject>) -> Self {
        let subject: Arc<dyn Subject> = Arc::from(subject);
        let (name, dir) = (SinkName::new("subject"), Arc::new(tempfile::tempdir().expect("a directory")));
        let (metrics, health, clock) = (Metrics::new(), Health::new(), Clock::system());
        let built = subject.build();
        let limits = Limits { probe_initial: Duration::from_millis(50), probe_max: Duration::from_millis(200), ..built.limits };
        let state = SinkState::new(SinkParts {
            name: name.clone(),
            sink: built.sink,
            limits,
            dead_letters: DeadLetters::open(dir.path(), &name, DEAD_LETTER_BYTES_MAX).expect("the store opens"),
            metrics: metrics.clone(),
            health: health.clone(),
            clock: clock.clone(),
        });
        let early_acks = Arc::default();
        let on_ack = ack_checker(subject.clone(), dir.clone(), name.clone(), Arc::clone(&early_acks));
        let journal = Arc::new(MemoryJournal::new(on_ack));
        journal.subscribe_now(&name, &audit());
        let state = Arc::new(state);
        Self { subject, journal, state, metrics, transform: built.transform, health, clock, name, dir, early_acks }
    }

    pub(crate) fn order(&self, behaviour: Behaviour) -> Result<(), Cannot> {
        self.subject.order(&behaviour)
    }

    /// Adds so many events, of which those at `poisoned` hold the word "poison".
    pub(crate) fn collect(&self, count: usize, poisoned: &[usize]) {
        let first = self.journal.head_position().0;
        for number in 0..count {
            let (position, word) = (first + number as u64 + 1, if poisoned.contains(&number) { "poison" } else { "plan" });
            let id = id(position as usize);
            let raw = format!(
                r#"{{"id":"{id}","event":"board_opened","category":"boards","createdAt":"2026-01-31T09:30:10.000Z","createdBy":{{"type":"user","id":"30744573","email":"ada@example.com"}},"context":{{"ip":"203.0.113.9"}},"object":{{"id":"uXjV=","name":"{word}"}}}}"#
            );
            let now = self.clock.now();
            let event = Event {
                position: Position(position),
                id: EventId::new(id),
                time: Some(now),
                collected_at: now,
                origin: Origin::Live,
                raw: raw.into(),
            };
            self.journal.append(&audit(), event);
        }
    }

    pub(crate) fn driver(&self) -> Driver {
        Driver::new(self.state.clone(), self.journal.clone() as Arc<dyn Journal>, audit(), self.transform.clone())
    }

    /// Delivers until everything is acked.
    pub(crate) async fn deliver_everything(&self) {
        let (driver, shutdown, mut acks) = (self.driver(), Shutdown::new(), self.journal.ack_count());
        let all_acked = async {
            while self.acked() < self.journal.head_position() {
                acks.changed().await.expect("the journal is there");
            }
        };
        tokio::select! {
            () = driver.run(&shutdown) => panic!("the driver ended by itself"),
            () = all_acked => {}
            () = tokio::time::sleep(PATIENCE) => panic!("not everything was delivered: {:?}", self.row()),
        }
        self.check_acks();
    }

    /// Sends every dead letter again.
    pub(crate) async fn retry(&self) -> RetryReport {
        let parts = RetryParts { sink: self.state.clone(), transform: self.transform.clone(), clock: self.clock.clone() };
        let shutdown = Shutdown::new();
        let retry = dead_letters::retry(&parts, |_| true, |_| {}, &shutdown);
        let (report, ended) = tokio::time::timeout(PATIENCE, retry).await.expect("it ends").expect("the store can be read");
        assert_eq!(ended, Ended::Delivered);
        report
    }

    /// Waits until so many different events are at the receiver, which may store what it has confirmed a moment later.
    pub(crate) async fn all_arrived(&self, count: usize) {
        until(&format!("{count} events have arrived"), || self.subject.arrived().len() >= count).await;
    }

    pub(crate) fn check_acks(&self) {
        let early = self.early_acks.lock().expect("no panic");
        assert!(early.is_empty(), "acked before the receiver had them: {early:?}");
    }

    pub(crate) fn acked(&self) -> Position {
        self.journal.acked(&self.name, &audit()).expect("the stream is subscribed")
    }

    pub(crate) fn row(&self) -> SinkHealth {
        self.health.sinks().get(&self.name).cloned().unwrap_or_default()
    }

    pub(crate) fn letters(&self) -> Vec<DeadLetter> {
        let letters = DeadLetters::read(self.dir.path(), &self.name).expect("the store opens");
        letters.map(|letter| letter.expect("a letter")).collect()
    }

    /// The sum of a metric's series that have those labels; `None` where there is none.
    pub(crate) fn metric(&self, metric: &str, labels: &[(&str, &str)]) -> Option<f64> {
        publish_backlog(&*self.journal, &self.metrics, &self.name, &[audit()], self.clock.now());
        let text = self.metrics.render();
        let of_metric = text.lines().filter(|line| line.strip_prefix(metric).is_some_and(|rest| rest.starts_with('{')));
        let selected = of_metric.filter(|line| labels.iter().all(|(label, value)| line.contains(&format!("{label}=\"{value}\""))));
        let values: Vec<f64> =
            selected.map(|line| line.rsplit(' ').next().and_then(|value| value.parse().ok()).expect("a number")).collect();
        if values.is_empty() { None } else { Some(values.iter().sum()) }
    }

    /// Delivered, dead-lettered, possible duplicates.
    pub(crate) fn counts(&self) -> [u64; 3] {
        ["events_delivered", "events_dead_lettered", "possible_duplicates"]
            .map(|name| self.metric(&format!("miro_siem_{name}_total"), &[("sink", "subject"), ("stream", "audit")]).unwrap_or(-1.0) as u64)
    }

    /// How often deliveries failed with that class.
    pub(crate) fn errors(&self, class: &str) -> u64 {
        self.metric("miro_siem_sink_errors_total", &[("class", class)]).unwrap_or_default() as u64
    }

    /// Events 1 to `count` but `without`, each as often as said.
    pub(crate) fn expected(&self, count: usize, times: u32, without: &[usize]) -> BTreeMap<String, u32> {
        (1..=count).filter(|number| !without.contains(number)).map(|number| (id(number), times)).collect()
    }
}

/// Waits until something is so.
pub(crate) async fn until(what: &str, done: impl Fn() -> bool) {
    let wait = async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("waited until {what}"));
}

/// Every ack is held against what has happened: nothing may be acked that is neither at the receiver nor a durable dead letter.
fn ack_checker(subject: Arc<dyn Subject>, dir: Arc<tempfile::TempDir>, name: SinkName, early: Arc<Mutex<Vec<String>>>) -> OnAck {
    Box::new(move |_, event| {
        if subject.proof() == Proof::Sent || subject.arrived().contains_key(event.id.as_str()) {
            return;
        }
        let mut letters = DeadLetters::read(dir.path(), &name).expect("the store opens").map(|letter| letter.expect("a letter"));
        if !letters.any(|letter| letter.event.id == event.id) {
            early.lock().expect("no panic").push(event.id.as_str().to_owned());
        }
    })
}

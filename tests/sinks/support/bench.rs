//! A sink, a journal and what is between them.

use std::{
    collections::HashSet,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use miro_siem::{
    clock::Clock,
    config::settings::{FilterSettings, Format, Provenance},
    event::{Event, Position, SinkName, StreamId},
    health::{Health, SinkHealth},
    journal::Journal,
    metrics::Metrics,
    sink::{
        Sink,
        dead_letters::{DEAD_LETTER_BYTES_MAX, DeadLetter, DeadLetters},
        driver::{Driver, Limits, Shutdown, SinkParts, SinkState},
    },
    transform::{Redaction, TransformSettings},
};

use super::{MemoryJournal, ScriptedSink, audit, began_at, event, journal::OnAck};

pub(crate) struct Bench {
    pub(crate) journal: Arc<MemoryJournal>,
    pub(crate) sink: Arc<ScriptedSink>,
    pub(crate) state: Arc<SinkState>,
    pub(crate) metrics: Metrics,
    pub(crate) health: Health,
    pub(crate) clock: Clock,
    pub(crate) name: SinkName,
    pub(crate) filter: FilterSettings,
    pub(crate) redaction: Redaction,
    pub(crate) format: Format,
    pub(crate) dir: Arc<tempfile::TempDir>,
    next_position: u64,
}

pub(crate) fn limits() -> Limits {
    Limits {
        events_max: 1_000,
        bytes_max: 1 << 20,
        flush_interval: Duration::from_secs(1),
        deliver_timeout: Duration::from_secs(30),
        retry_initial: Duration::from_secs(1),
        retry_max: Duration::from_secs(60),
        probe_initial: Limits::PROBE_INITIAL,
        probe_max: Limits::PROBE_MAX,
    }
}

impl Bench {
    pub(crate) fn new(sink: ScriptedSink) -> Self {
        Self::with(sink, limits(), DEAD_LETTER_BYTES_MAX)
    }

    pub(crate) fn with(sink: ScriptedSink, limits: Limits, dead_letter_bytes_max: u64) -> Self {
        Self::in_dir(tempfile::tempdir().expect("a directory"), sink, limits, dead_letter_bytes_max)
    }

    /// With dead letters that go to a full disk: /dev/full answers every write with ENOSPC.
    pub(crate) fn with_full_disk(sink: ScriptedSink) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let letters = dir.path().join("dead-letters/splunk");
        std::fs::create_dir_all(&letters).expect("a directory");
        std::os::unix::fs::symlink("/dev/full", letters.join("letters.ndjson")).expect("a link");
        Self::in_dir(dir, sink, limits(), DEAD_LETTER_BYTES_MAX)
    }

    fn in_dir(dir: tempfile::TempDir, sink: ScriptedSink, limits: Limits, dead_letter_bytes_max: u64) -> Self {
        let (name, sink, dir) = (SinkName::new("splunk"), Arc::new(sink), Arc::new(dir));
        let (metrics, health, clock) = (Metrics::new(), Health::new(), Clock::starting_at(began_at()));
        let dead_letters = DeadLetters::open(dir.path(), &name, dead_letter_bytes_max).expect("the store opens");
        let state = SinkState::new(SinkParts {
            name: name.clone(),
            sink: sink.clone() as Arc<dyn Sink>,
            limits,
            dead_letters,
            metrics: metrics.clone(),
            health: health.clone(),
            clock: clock.clone(),
        });
        let journal = Arc::new(MemoryJournal::new(ack_checker(sink.clone(), &dir, &name)));
        journal.subscribe_now(&name, &audit());
        Self {
            journal,
            sink,
            state: Arc::new(state),
            metrics,
            health,
            clock,
            name,
            filter: FilterSettings::default(),
            redaction: Redaction::none(),
            format: Format::Raw,
            dir,
            next_position: 1,
        }
    }

    /// Adds so many events to the audit stream.
    pub(crate) fn collect(&mut self, count: usize) {
        self.collect_of(&audit(), count);
    }

    pub(crate) fn collect_of(&mut self, stream: &StreamId, count: usize) {
        for _ in 0..count {
            self.journal.append(stream, event(self.next_position, self.clock.now()));
            self.next_position += 1;
        }
    }

    /// Adds one event of one's own making to the audit stream.
    pub(crate) fn collect_event(&mut self, make: impl FnOnce(Event) -> Event) {
        self.journal.append(&audit(), make(event(self.next_position, self.clock.now())));
        self.next_position += 1;
    }

    pub(crate) fn driver(&self) -> Driver {
        self.driver_of(audit())
    }

    /// What the sink is sent.
    pub(crate) fn transform(&self) -> TransformSettings {
        TransformSettings {
            filter: self.filter.clone(),
            redaction: self.redaction.clone(),
            ..TransformSettings::whole(self.format, Provenance::On)
        }
    }

    pub(crate) fn driver_of(&self, stream: StreamId) -> Driver {
        let transform = self.transform();
        Driver::new(self.state.clone(), self.journal.clone() as Arc<dyn Journal>, stream, transform)
    }

    /// Delivers until everything of the audit stream is acked; a day is longer than any honest wait.
    pub(crate) async fn deliver_everything(&self) {
        let shutdown = Shutdown::new();
        let mut acks = self.journal.ack_count();
        let all_acked = async {
            while self.acked() < self.journal.head_position() {
                acks.changed().await.expect("the journal is there");
            }
        };
        let driver = self.driver();
        tokio::select! {
            () = driver.run(&shutdown) => panic!("the driver ended by itself"),
            () = all_acked => {}
            () = tokio::time::sleep(Duration::from_secs(24 * 3600)) => panic!("not everything was delivered within a day"),
        }
    }

    /// Lets the driver run for that long, then drops it.
    pub(crate) async fn run_for(&self, time: Duration) {
        let (driver, shutdown) = (self.driver(), Shutdown::new());
        let _ = tokio::time::timeout(time, driver.run(&shutdown)).await;
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

    /// A metric of the sink, whatever its other labels.
    pub(crate) fn metric(&self, metric: &str) -> u64 {
        self.metric_with(metric, &[])
    }

    pub(crate) fn metric_with(&self, metric: &str, labels: &[(&str, &str)]) -> u64 {
        let text = self.metrics.render();
        let of_metric = text.lines().filter(|line| line.strip_prefix(metric).is_some_and(|rest| rest.starts_with('{')));
        let selected = of_metric.filter(|line| labels.iter().all(|(label, value)| line.contains(&format!("{label}=\"{value}\""))));
        selected.map(|line| line.rsplit(' ').next().and_then(|value| value.parse::<u64>().ok()).expect("a number")).sum()
    }

    /// The four outcomes' counts: delivered, filtered, dead-lettered, possible duplicates.
    pub(crate) fn counts(&self) -> [u64; 4] {
        ["events_delivered", "events_filtered", "events_dead_lettered", "possible_duplicates"]
            .map(|name| self.metric(&format!("miro_siem_{name}_total")))
    }
}

/// Every ack is held against what has happened: nothing may be acked that is neither at the receiver, nor a durable dead letter, nor
/// filtered (which in these tests is said by the event's own name).
fn ack_checker(sink: Arc<ScriptedSink>, dir: &tempfile::TempDir, name: &SinkName) -> OnAck {
    let letters =
        Mutex::new(Letters { path: dir.path().join("dead-letters").join(name.as_str()).join("letters.ndjson"), ..Letters::default() });
    Box::new(move |stream, event| {
        let is_filtered = event.raw.windows(FILTERED_NAME.len()).any(|window| window == FILTERED_NAME.as_bytes());
        if is_filtered || sink.has_taken(stream, event.position) {
            return;
        }
        let mut letters = letters.lock().expect("no panic");
        letters.read_on();
        let is_set_aside = letters.known.contains(&(stream.to_string(), event.position.0));
        assert!(is_set_aside, "{stream} was acked past {}, which has no outcome", event.position);
    })
}

/// What the file of dead letters has held so far.
#[derive(Default)]
struct Letters {
    path: PathBuf,
    read: usize,
    known: HashSet<(String, u64)>,
}

impl Letters {
    fn read_on(&mut self) {
        let text = std::fs::read(&self.path).unwrap_or_default();
        for line in text[self.read..].split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n")) {
            let line: serde_json::Value = serde_json::from_slice(line).expect("a line of JSON");
            self.known.insert((line["stream"].as_str().expect("a stream").to_owned(), line["position"].as_u64().expect("a position")));
        }
        self.read = text.len();
    }
}

/// The name of events that the tests' filters leave out.
pub(crate) const FILTERED_NAME: &str = "left_out";

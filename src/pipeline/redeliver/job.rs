//! One retry or replay, as it is shown and steered.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use super::record::Record;
use crate::{
    admin::control::{RedeliveryKind, RedeliveryState, RedeliveryStatus},
    event::{SinkName, Timestamp},
    sink::{
        dead_letters::RetryReport,
        driver::{Driver, Tally},
    },
};

/// A job. What it has done is in its state; `cancel` ends it.
#[derive(Debug)]
pub(super) struct Job {
    id: String,
    sink: SinkName,
    pub(super) stop: CancellationToken,
    inner: Mutex<State>,
}

#[derive(Debug)]
struct State {
    what: What,
    /// The driver at work, whose outcomes are not in the record yet.
    driver: Option<Arc<Driver>>,
}

#[derive(Debug)]
enum What {
    Retry { report: RetryReport, state: RedeliveryState, note: Option<String> },
    Replay(Record),
}

/// Eight hexadecimal digits: enough for a hundred jobs to be told apart, and short enough to be typed.
pub(super) fn short_id() -> String {
    let mut id = uuid::Uuid::new_v4().simple().to_string();
    id.truncate(8);
    id
}

impl Job {
    pub(super) fn of_retry(sink: SinkName) -> Self {
        let what = What::Retry { report: RetryReport::default(), state: RedeliveryState::Running, note: None };
        Self::new(format!("retry-{}", short_id()), sink, what)
    }

    pub(super) fn of_replay(record: Record) -> Self {
        Self::new(record.id.clone(), record.sink.clone(), What::Replay(record))
    }

    fn new(id: String, sink: SinkName, what: What) -> Self {
        Self { id, sink, stop: CancellationToken::new(), inner: Mutex::new(State { what, driver: None }) }
    }

    fn inner(&self) -> MutexGuard<'_, State> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn is_over(&self) -> bool {
        self.state().is_over()
    }

    fn state(&self) -> RedeliveryState {
        match &self.inner().what {
            What::Retry { state, .. } => *state,
            What::Replay(record) => record.state,
        }
    }

    /// The replay, with what its driver has done so far.
    pub(super) fn record(&self) -> Option<Record> {
        let inner = self.inner();
        let What::Replay(record) = &inner.what else { return None };
        let mut record = record.clone();
        record.set_tally(joined(record.tally(), inner.driver.as_ref()));
        Some(record)
    }

    /// Changes the replay.
    pub(super) fn change(&self, change: impl FnOnce(&mut Record)) {
        if let What::Replay(record) = &mut self.inner().what {
            change(record);
        }
    }

    /// A driver takes up the work; what the one before has done is added up.
    pub(super) fn work_with(&self, driver: Option<Arc<Driver>>) {
        let mut inner = self.inner();
        let done = std::mem::replace(&mut inner.driver, driver);
        if let What::Replay(record) = &mut inner.what {
            record.set_tally(joined(record.tally(), done.as_ref()));
        }
    }

    pub(super) fn report(&self, told: RetryReport) {
        if let What::Retry { report, .. } = &mut self.inner().what {
            *report = told;
        }
    }

    pub(super) fn end(&self, how: RedeliveryState, why: Option<String>) {
        match &mut self.inner().what {
            What::Retry { state, note, .. } => (*state, *note) = (how, why),
            What::Replay(record) => {
                record.state = how;
                record.note = why.or(record.note.take());
            }
        }
    }

    pub(super) fn fail(&self, why: String) {
        self.end(RedeliveryState::Failed, Some(why));
    }

    /// Says what holds it up, or that nothing does.
    pub(super) fn note(&self, text: Option<String>) {
        match &mut self.inner().what {
            What::Retry { note, .. } => *note = text,
            What::Replay(record) => record.note = text,
        }
    }

    /// Something was settled: what held it up is over.
    pub(super) fn note_progress(&self) {
        if let What::Replay(record) = &mut self.inner().what
            && record.note.as_deref().is_some_and(|note| !note.contains("retention"))
        {
            record.note = None;
        }
    }

    /// Ends it, unless it is over.
    pub(super) fn cancel(&self) -> bool {
        if self.is_over() {
            return false;
        }
        self.end(RedeliveryState::Cancelled, None);
        self.stop.cancel();
        true
    }

    pub(super) fn status(&self) -> RedeliveryStatus {
        let inner = self.inner();
        let status = |kind, state, note: &Option<String>, tally: Tally| RedeliveryStatus {
            id: self.id.clone(),
            kind,
            sink: self.sink.to_string(),
            stream: None,
            from: None,
            to: None,
            reached: None,
            state,
            selected: None,
            delivered: tally.delivered,
            filtered: tally.filtered,
            refused: tally.dead_lettered,
            note: note.clone(),
        };
        match &inner.what {
            What::Retry { report, state, note } => {
                let tally = Tally { delivered: report.delivered, filtered: report.filtered, dead_lettered: report.refused };
                RedeliveryStatus { selected: Some(report.selected), ..status(RedeliveryKind::Retry, *state, note, tally) }
            }
            What::Replay(record) => {
                let time = |micros: Option<i64>| micros.map(|micros| Timestamp::from_micros(micros).to_rfc3339_millis());
                let begin = record.ranges.first().map(|range| range.0).into_iter().chain(record.before_origin).min();
                RedeliveryStatus {
                    stream: Some(record.stream.clone()),
                    from: time(begin),
                    to: time(record.ranges.last().map(|range| range.1)),
                    reached: time(record.miro_at),
                    ..status(RedeliveryKind::Replay, record.state, &record.note, joined(record.tally(), inner.driver.as_ref()))
                }
            }
        }
    }
}

fn joined(tally: Tally, driver: Option<&Arc<Driver>>) -> Tally {
    let more = driver.map(|driver| driver.tally()).unwrap_or_default();
    Tally {
        delivered: tally.delivered + more.delivered,
        filtered: tally.filtered + more.filtered,
        dead_lettered: tally.dead_lettered + more.dead_lettered,
    }
}

//! A receiver that answers as it is told.

use std::{collections::VecDeque, sync::Mutex, time::Duration};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use miro_siem::{
    event::{Position, StreamId},
    sink::{Batch, ErrorClass, Receipt, Sink, SinkError, Verdict},
};
use tokio::time::Instant;

/// What a receiver does with one delivery.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// Takes all of it.
    All,
    /// Takes all of it, and says that its queues fill up.
    AllNearlyFull,
    /// Takes all of it, after that long.
    Slowly(Duration),
    /// Takes what is accepted here.
    Each(Vec<Verdict>),
    /// Takes nothing.
    Fails(ErrorClass),
    /// Takes all of it, but the answer is lost.
    TakesAndFails(ErrorClass),
    /// Takes nothing and never answers.
    Hangs,
}

/// One delivery, as the receiver saw it.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) stream: StreamId,
    pub(crate) positions: Vec<u64>,
    pub(crate) bytes: usize,
    pub(crate) after: Duration,
}

type Brain = Box<dyn FnMut(&Call) -> Answer + Send>;

#[derive(Default)]
struct Seen {
    calls: Vec<Call>,
    /// Each copy of an event that the receiver has taken, in order.
    taken: Vec<(StreamId, u64)>,
    /// All that was handed over: an event's bytes and its record.
    handed_over: Vec<(Bytes, Vec<u8>)>,
    probes: Vec<Duration>,
    probe_answers: VecDeque<SinkError>,
}

pub(crate) struct ScriptedSink {
    brain: Mutex<Brain>,
    seen: Mutex<Seen>,
    began: Instant,
}

impl ScriptedSink {
    /// Answers with what the function says.
    pub(crate) fn new(brain: impl FnMut(&Call) -> Answer + Send + 'static) -> Self {
        Self { brain: Mutex::new(Box::new(brain)), seen: Mutex::default(), began: Instant::now() }
    }

    /// Answers with these, one after the other, then takes everything.
    pub(crate) fn script(answers: impl IntoIterator<Item = Answer>) -> Self {
        let mut answers: VecDeque<Answer> = answers.into_iter().collect();
        Self::new(move |_| answers.pop_front().unwrap_or(Answer::All))
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().expect("no test panics while it holds the lock")
    }

    /// The next probes fail with these; later ones pass.
    pub(crate) fn fail_probes(&self, classes: impl IntoIterator<Item = ErrorClass>) {
        self.seen().probe_answers.extend(classes.into_iter().map(error));
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.seen().calls.clone()
    }

    /// How many events each delivery had.
    pub(crate) fn sizes(&self) -> Vec<usize> {
        self.seen().calls.iter().map(|call| call.positions.len()).collect()
    }

    /// When each delivery came.
    pub(crate) fn times(&self) -> Vec<Duration> {
        self.seen().calls.iter().map(|call| call.after).collect()
    }

    pub(crate) fn probes(&self) -> Vec<Duration> {
        self.seen().probes.clone()
    }

    pub(crate) fn taken(&self) -> Vec<u64> {
        self.seen().taken.iter().map(|(_, position)| *position).collect()
    }

    pub(crate) fn handed_over(&self) -> Vec<(Bytes, Vec<u8>)> {
        self.seen().handed_over.clone()
    }

    pub(crate) fn has_taken(&self, stream: &StreamId, position: Position) -> bool {
        self.seen().taken.iter().any(|(of, taken)| of == stream && *taken == position.0)
    }

    fn take(&self, call: &Call, accepted: impl Fn(usize) -> bool) {
        let positions = call.positions.iter().enumerate().filter(|(index, _)| accepted(*index));
        self.seen().taken.extend(positions.map(|(_, position)| (call.stream.clone(), *position)));
    }

    async fn answer(&self, call: Call) -> Result<Receipt, SinkError> {
        self.seen().calls.push(call.clone());
        let answer = (self.brain.lock().expect("no test panics while it holds the lock"))(&call);
        match answer {
            Answer::All => {}
            Answer::AllNearlyFull => {
                self.take(&call, |_| true);
                return Ok(Receipt::AllNearlyFull);
            }
            Answer::Slowly(wait) => tokio::time::sleep(wait).await,
            Answer::Each(verdicts) => {
                self.take(&call, |index| verdicts.get(index) == Some(&Verdict::Accepted));
                return Ok(Receipt::Each(verdicts));
            }
            Answer::Fails(class) => return Err(error(class)),
            Answer::TakesAndFails(class) => {
                self.take(&call, |_| true);
                return Err(error(class));
            }
            Answer::Hangs => std::future::pending().await,
        }
        self.take(&call, |_| true);
        Ok(Receipt::All)
    }
}

fn error(class: ErrorClass) -> SinkError {
    SinkError::new(class, format!("the receiver says {}", class.as_str()))
}

impl Sink for ScriptedSink {
    fn probe(&self) -> BoxFuture<'_, Result<(), SinkError>> {
        let mut seen = self.seen();
        seen.probes.push(self.began.elapsed());
        let answer = seen.probe_answers.pop_front();
        Box::pin(async move { answer.map_or(Ok(()), Err) })
    }

    fn deliver<'a>(&'a self, batch: Batch<'a>) -> BoxFuture<'a, Result<Receipt, SinkError>> {
        assert!(!batch.is_empty(), "an empty batch is never sent");
        for (event, payload) in batch.iter() {
            let text = std::str::from_utf8(payload).expect("records are text");
            assert!(text.contains(event.id.as_str()), "every event goes with its own record");
            self.seen().handed_over.push((event.raw.clone(), payload.to_vec()));
        }
        let positions = batch.events().iter().map(|event| event.position.0).collect();
        let call = Call { stream: batch.stream().clone(), positions, bytes: batch.bytes(), after: self.began.elapsed() };
        Box::pin(self.answer(call))
    }

    fn close(&self) -> BoxFuture<'_, Result<(), SinkError>> {
        Box::pin(async { Ok(()) })
    }
}

impl std::fmt::Debug for ScriptedSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ScriptedSink")
    }
}

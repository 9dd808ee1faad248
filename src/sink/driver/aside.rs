//! What becomes of refused events: dead letters, as long as the receiver takes others; and what is done where it takes none.

use super::{
    Driver, Flow, Shutdown,
    delivery::Step,
    link::{Link, REFUSED_IN_A_ROW_MAX},
    pending::Pending,
    state::{Failure, Opened},
};
use crate::sink::{
    ErrorClass, Receipt, SinkError, Verdict,
    dead_letters::{DeadLetter, DeadLetterError, Reason},
};

impl Driver {
    /// Sets the first event aside: it was sent alone and refused.
    pub(super) async fn set_front_aside(
        &self,
        pending: &mut Pending,
        reason: Reason,
        error: &SinkError,
        link: &mut Link,
        shutdown: &Shutdown,
    ) -> Step {
        let answer = error.to_string();
        let letters = self.letters(pending, &[(0, reason, &answer)]);
        if self.set_aside(letters, shutdown).await == Flow::Stop {
            return Step::Stop;
        }
        pending.settle_front(1);
        link.backoff.reset();
        link.refused(1);
        self.doubt_if_refused_too_often(link);
        Step::On
    }

    pub(super) fn letters(&self, pending: &mut Pending, refused: &[(usize, Reason, &str)]) -> Vec<DeadLetter> {
        let now = self.sink.clock().now();
        refused
            .iter()
            .map(|&(index, reason, answer)| {
                let tries = pending.tries(index + 1)[index];
                DeadLetter {
                    sink: self.sink.name().clone(),
                    stream: self.lane.stream.clone(),
                    event: pending.original(index),
                    reason,
                    answer: answer.to_owned(),
                    attempts: tries.attempts,
                    first_attempt_at: tries.first_at.unwrap_or(now),
                    last_attempt_at: now,
                }
            })
            .collect()
    }

    /// Makes dead letters durable, however long that takes: before that, their events have no outcome.
    pub(super) async fn set_aside(&self, letters: Vec<DeadLetter>, shutdown: &Shutdown) -> Flow {
        if letters.is_empty() {
            return Flow::Continue;
        }
        let count = letters.len();
        let (mut backoff, mut failures) = (self.backoff(), 0_u64);
        loop {
            match self.supply.set_aside(letters.clone(), self.sink.dead_letters()).await {
                Ok(()) => break,
                Err(error @ DeadLetterError::Full { .. }) => {
                    self.sink.pause(&self.lane, &SinkError::new(ErrorClass::Config, error.to_string()));
                    if self.sink.opened(&self.lane, shutdown).await == Opened::GivenUp {
                        return Flow::Stop;
                    }
                }
                Err(error) => {
                    failures += 1;
                    self.sink.failed(&self.lane, Failure::dead_letters(error.to_string()));
                    if self.wait(backoff.next_wait(), shutdown).await == Flow::Stop {
                        return Flow::Stop;
                    }
                }
            }
        }
        if failures > 0 {
            self.sink.recovered(&self.lane);
        }
        self.counters.dead_lettered(count);
        self.sink.set_aside(&self.lane, &letters);
        Flow::Continue
    }

    /// Pauses where the receiver has refused too many in a row: somebody has to look, and nothing more is given up until then.
    pub(super) fn doubt_if_refused_too_often(&self, link: &Link) {
        if link.refusals_left() == 0 {
            self.sink.pause(&self.lane, &refuses_everything(None));
        }
    }

    /// Tries the first event and the last one, each alone and without giving it up: a receiver that takes either of them is well again. One
    /// that takes neither refuses everything still.
    pub(super) async fn try_single_events(&self, pending: &mut Pending, link: &mut Link, shutdown: &Shutdown) -> Step {
        let mut words = None;
        let places = if pending.len() == 1 { vec![0] } else { vec![0, pending.len() - 1] };
        for index in places {
            let Some(result) = self.attempt(pending, index..index + 1, shutdown).await else { return Step::Cut };
            match Single::of(result) {
                Single::Taken => {
                    self.settle_single(pending, index, link);
                    return Step::On;
                }
                Single::Refused(refusal) => words = Some(refusal),
                Single::Failed(error) => return self.failed(pending, index..index + 1, error, link, shutdown).await,
            }
        }
        self.sink.pause(&self.lane, &refuses_everything(words.as_deref()));
        Step::On
    }

    fn settle_single(&self, pending: &mut Pending, index: usize, link: &mut Link) {
        let mut settled = vec![false; index + 1];
        settled[index] = true;
        self.count_accepted(pending, &settled, link);
        pending.settle_where(&settled);
    }
}

/// What became of an event that was tried alone.
enum Single {
    Taken,
    Refused(String),
    Failed(SinkError),
}

impl Single {
    fn of(result: Result<Receipt, SinkError>) -> Self {
        match result {
            Ok(Receipt::All | Receipt::AllNearlyFull) => Self::Taken,
            Ok(Receipt::Each(verdicts)) => match verdicts.into_iter().next() {
                Some(Verdict::Accepted) => Self::Taken,
                Some(Verdict::Rejected(words) | Verdict::MaybeRejected(words) | Verdict::TooLarge(words) | Verdict::Unencodable(words)) => {
                    Self::Refused(words)
                }
                Some(Verdict::Unknown(why)) => Self::Failed(SinkError::new(ErrorClass::Ambiguous, why)),
                Some(Verdict::NotTaken) | None => {
                    Self::Failed(SinkError::new(ErrorClass::Retryable, "the receiver answered, but did not take the event"))
                }
            },
            Err(error) if matches!(error.class(), ErrorClass::Rejected | ErrorClass::TooLarge) => Self::Refused(error.to_string()),
            Err(error) => Self::Failed(error),
        }
    }
}

fn refuses_everything(words: Option<&str>) -> SinkError {
    let last = words.map(|words| format!("; its last words: {words}")).unwrap_or_default();
    SinkError::new(
        ErrorClass::Config,
        format!(
            "the receiver has refused {REFUSED_IN_A_ROW_MAX} events one after the other and taken none between them, so the fault is hardly theirs: \
             see `miro-siem dead-letters list` for what it says, mend it there or in the sink's table, and send them again with \
             `miro-siem dead-letters retry`. Delivery goes on by itself as soon as it takes one{last}"
        ),
    )
}

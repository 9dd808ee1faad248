//! One batch to its end: send the front of it, judge the answer, and go on until every event has its outcome.

use std::time::Duration;

use super::{
    Driver, Flow, Shutdown,
    pending::Pending,
    state::{Failure, Opened},
};
use crate::{
    retry::Backoff,
    sink::{
        ErrorClass, Receipt, SinkError, Verdict,
        dead_letters::{DeadLetter, DeadLetterError, Reason},
    },
};

/// A sink that keeps to its own timeout never needs this; one that hangs is given up after it.
const HANG_SLACK: Duration = Duration::from_secs(5);
/// A server's dictated wait is honoured up to here: a wrong date in a header must not stop delivery for days.
const THROTTLE_MAX: Duration = Duration::from_secs(15 * 60);
/// "Come back in 0 seconds" is not a wish for a busy loop.
const THROTTLE_MIN: Duration = Duration::from_millis(100);
/// After so many deliveries without a complaint, a larger size is tried again.
const SIZE_RETRIED_AFTER: u32 = 16;

/// What is known about the way to the receiver: lives as long as the driver, longer than a batch.
#[derive(Debug)]
pub(super) struct Link {
    backoff: Backoff,
    /// The receiver has refused more than this as too large, in bytes.
    bytes_cap: Option<usize>,
    /// Deliveries since the cap was last touched.
    accepted_under_cap: u32,
    /// While an event is being searched that the receiver refuses: how many are sent at once.
    events_cap: Option<usize>,
}

impl Link {
    pub(super) fn new(backoff: Backoff) -> Self {
        Self { backoff, bytes_cap: None, accepted_under_cap: 0, events_cap: None }
    }

    /// How many events from the front to send now.
    fn window(&self, pending: &Pending) -> usize {
        let fitting = self.bytes_cap.map_or(pending.len(), |cap| pending.fitting(cap));
        fitting.min(self.events_cap.unwrap_or(usize::MAX)).min(pending.len())
    }

    /// The receiver took `count` events: larger parts may be tried again.
    fn accepted(&mut self, count: usize) {
        self.backoff.reset();
        self.events_cap = self.events_cap.map(|cap| cap.max(count).saturating_mul(2));
        self.accepted_under_cap += 1;
        if self.accepted_under_cap >= SIZE_RETRIED_AFTER {
            self.accepted_under_cap = 0;
            self.bytes_cap = self.bytes_cap.map(|cap| cap.saturating_mul(2));
        }
    }

    /// So many bytes were too many.
    fn too_large(&mut self, bytes: usize) {
        self.bytes_cap = Some(bytes / 2);
        self.accepted_under_cap = 0;
    }

    /// Among so many events is one that the receiver refuses. Once it is found, alone, the next one may be like it: what is sent at once
    /// grows again from one event on.
    fn refused(&mut self, count: usize) {
        self.events_cap = Some((count / 2).max(1));
    }

    /// A new batch is not suspected of anything.
    fn begin_batch(&mut self) {
        self.events_cap = None;
    }
}

impl Driver {
    /// Gives every event of the batch its outcome and acks it; stops only when told to.
    pub(super) async fn deliver(&self, pending: &mut Pending, link: &mut Link, shutdown: &Shutdown) -> Flow {
        link.begin_batch();
        loop {
            if pending.len() == 0 {
                return self.ack(pending, shutdown).await;
            }
            if self.sink.opened(&self.stream, shutdown).await == Opened::GivenUp {
                return Flow::Stop;
            }
            let before = pending.settled_up_to();
            if self.attempt_and_judge(pending, link, shutdown).await == Flow::Stop {
                return Flow::Stop;
            }
            // What is settled in the middle of a batch is acked at once: a long search for a bad event would repeat it after a crash.
            if pending.settled_up_to() > before && pending.len() > 0 && self.ack(pending, shutdown).await == Flow::Stop {
                return Flow::Stop;
            }
        }
    }

    async fn attempt_and_judge(&self, pending: &mut Pending, link: &mut Link, shutdown: &Shutdown) -> Flow {
        let count = link.window(pending);
        let Some(result) = self.attempt(pending, count, shutdown).await else { return Flow::Stop };
        match result {
            Ok(Receipt::All) => {
                self.accepted(pending, count, link);
                pending.settle_front(count);
                Flow::Continue
            }
            Ok(Receipt::Each(verdicts)) if verdicts.len() == count => self.judge_each(pending, verdicts, link, shutdown).await,
            Ok(Receipt::Each(verdicts)) => {
                let message = format!("the sink answered {} verdicts for {count} events; this is a defect of miro-siem", verdicts.len());
                self.failed(pending, count, SinkError::new(ErrorClass::Ambiguous, message), link, shutdown).await
            }
            Err(error) => self.failed(pending, count, error, link, shutdown).await,
        }
    }

    /// Sends the first `count` events once; `None` if told to stop meanwhile.
    async fn attempt(&self, pending: &mut Pending, count: usize, shutdown: &Shutdown) -> Option<Result<Receipt, SinkError>> {
        let now = self.sink.clock().now();
        for tries in pending.tries(count) {
            tries.attempts += 1;
            tries.first_at.get_or_insert(now);
        }
        let timeout = self.sink.limits().deliver_timeout + HANG_SLACK;
        let delivery = tokio::time::timeout(timeout, self.sink.sink().deliver(pending.front(&self.stream, count)));
        tokio::select! {
            biased;
            () = shutdown.stop.cancelled() => None,
            result = delivery => Some(result.unwrap_or_else(|_| Err(hung(timeout)))),
        }
    }

    /// Counts the first `count` events as delivered. They are not settled yet.
    fn accepted(&self, pending: &mut Pending, count: usize, link: &mut Link) {
        let repeated = pending.tries(count).iter().filter(|tries| tries.may_have_arrived).count();
        self.counters.possible_duplicates.increment(repeated as u64);
        self.counters.delivered.increment(count as u64);
        link.accepted(count);
        self.sink.succeeded(&self.stream, count);
    }

    /// Gives each event what the receiver said of it.
    async fn judge_each(&self, pending: &mut Pending, verdicts: Vec<Verdict>, link: &mut Link, shutdown: &Shutdown) -> Flow {
        let count = verdicts.len();
        let letters = self.letters(
            pending,
            verdicts.iter().enumerate().filter_map(|(index, verdict)| match verdict {
                Verdict::Rejected(answer) => Some((index, Reason::Rejected, answer.as_str())),
                Verdict::Accepted | Verdict::NotTaken | Verdict::Unknown(_) => None,
            }),
        );
        let unknown: Vec<bool> = verdicts.iter().map(|verdict| matches!(verdict, Verdict::Unknown(_))).collect();
        let settled: Vec<bool> = verdicts.iter().map(|verdict| matches!(verdict, Verdict::Accepted | Verdict::Rejected(_))).collect();
        let accepted: Vec<bool> = verdicts.iter().map(|verdict| *verdict == Verdict::Accepted).collect();
        let accepted_count = accepted.iter().filter(|&&accepted| accepted).count();
        self.note_ambiguous(pending, &unknown);
        if !settled.contains(&true) {
            return self.none_settled(verdicts, link, shutdown).await;
        }
        let repeated = pending.tries(count).iter().zip(&accepted).filter(|(tries, accepted)| **accepted && tries.may_have_arrived).count();
        self.counters.possible_duplicates.increment(repeated as u64);
        self.counters.delivered.increment(accepted_count as u64);
        link.accepted(accepted_count);
        self.sink.succeeded(&self.stream, accepted_count);
        if self.set_aside(letters, shutdown).await == Flow::Stop {
            return Flow::Stop;
        }
        pending.settle_where(&settled);
        Flow::Continue
    }

    /// The receiver took and refused nothing, as far as is known.
    async fn none_settled(&self, verdicts: Vec<Verdict>, link: &mut Link, shutdown: &Shutdown) -> Flow {
        let why = verdicts.into_iter().find_map(|verdict| match verdict {
            Verdict::Unknown(why) => Some(why),
            Verdict::Accepted | Verdict::Rejected(_) | Verdict::NotTaken => None,
        });
        let error = match why {
            Some(why) => SinkError::new(ErrorClass::Ambiguous, why),
            None => SinkError::new(ErrorClass::Retryable, "the receiver answered, but took none of the events"),
        };
        self.sink.count_error(error.class());
        self.back_off(&error, link, shutdown).await
    }

    /// Does what the class of the error asks for.
    async fn failed(&self, pending: &mut Pending, count: usize, error: SinkError, link: &mut Link, shutdown: &Shutdown) -> Flow {
        self.sink.count_error(error.class());
        match error.class() {
            ErrorClass::Throttled(Some(wait)) => {
                self.sink.failed(&self.stream, Failure::throttled(&error));
                self.wait(wait.clamp(THROTTLE_MIN, THROTTLE_MAX), shutdown).await
            }
            ErrorClass::Throttled(None) => {
                self.sink.failed(&self.stream, Failure::throttled(&error));
                self.wait(link.backoff.next_wait(), shutdown).await
            }
            ErrorClass::Retryable => self.back_off(&error, link, shutdown).await,
            ErrorClass::Ambiguous => {
                self.note_ambiguous(pending, &vec![true; count]);
                self.back_off(&error, link, shutdown).await
            }
            ErrorClass::TooLarge if count > 1 => {
                link.too_large(pending.front(&self.stream, count).bytes());
                Flow::Continue
            }
            ErrorClass::Rejected if count > 1 => {
                link.refused(count);
                Flow::Continue
            }
            ErrorClass::TooLarge => self.set_front_aside(pending, Reason::TooLarge, &error, link, shutdown).await,
            ErrorClass::Rejected => self.set_front_aside(pending, Reason::Rejected, &error, link, shutdown).await,
            ErrorClass::Auth | ErrorClass::Config => {
                self.sink.pause(&self.stream, &error);
                Flow::Continue
            }
        }
    }

    async fn back_off(&self, error: &SinkError, link: &mut Link, shutdown: &Shutdown) -> Flow {
        self.sink.failed(&self.stream, Failure::backing_off(error));
        self.wait(link.backoff.next_wait(), shutdown).await
    }

    /// Of the events in front, those may have arrived: each later attempt that may arrive as well is a possible duplicate.
    fn note_ambiguous(&self, pending: &mut Pending, which: &[bool]) {
        let mut repeated = 0;
        let tries = pending.tries(which.len()).iter_mut();
        for (tries, _) in tries.zip(which).filter(|(_, which)| **which) {
            repeated += u64::from(tries.may_have_arrived);
            tries.may_have_arrived = true;
        }
        self.counters.possible_duplicates.increment(repeated);
    }

    /// Sets the first event aside: it was sent alone and refused.
    async fn set_front_aside(
        &self,
        pending: &mut Pending,
        reason: Reason,
        error: &SinkError,
        link: &mut Link,
        shutdown: &Shutdown,
    ) -> Flow {
        let answer = error.to_string();
        let letters = self.letters(pending, std::iter::once((0, reason, answer.as_str())));
        if self.set_aside(letters, shutdown).await == Flow::Stop {
            return Flow::Stop;
        }
        pending.settle_front(1);
        link.backoff.reset();
        Flow::Continue
    }

    fn letters<'a>(&self, pending: &mut Pending, refused: impl Iterator<Item = (usize, Reason, &'a str)>) -> Vec<DeadLetter> {
        let now = self.sink.clock().now();
        refused
            .map(|(index, reason, answer)| {
                let tries = pending.tries(index + 1)[index];
                DeadLetter {
                    sink: self.sink.name().clone(),
                    stream: self.stream.clone(),
                    event: pending.front(&self.stream, index + 1).events()[index].clone(),
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
    async fn set_aside(&self, letters: Vec<DeadLetter>, shutdown: &Shutdown) -> Flow {
        if letters.is_empty() {
            return Flow::Continue;
        }
        let count = letters.len();
        let mut backoff = self.backoff();
        let mut failures = 0_u64;
        loop {
            match self.sink.dead_letters().put(letters.clone()).await {
                Ok(()) => break,
                Err(error @ DeadLetterError::Full { .. }) => {
                    self.sink.pause(&self.stream, &SinkError::new(ErrorClass::Config, error.to_string()));
                    if self.sink.opened(&self.stream, shutdown).await == Opened::GivenUp {
                        return Flow::Stop;
                    }
                }
                Err(error) => {
                    failures += 1;
                    self.sink.failed(&self.stream, Failure::dead_letters(error.to_string()));
                    if self.wait(backoff.next_wait(), shutdown).await == Flow::Stop {
                        return Flow::Stop;
                    }
                }
            }
        }
        if failures > 0 {
            self.sink.recovered(&self.stream);
        }
        self.counters.dead_lettered.increment(count as u64);
        self.sink.set_aside(&self.stream, &letters);
        Flow::Continue
    }
}

fn hung(timeout: Duration) -> SinkError {
    SinkError::new(
        ErrorClass::Ambiguous,
        format!(
            "no answer within {} s; the events may have arrived. Check that the receiver is well, or raise the sink's timeout",
            timeout.as_secs()
        ),
    )
}

//! One batch to its end: send the front of it, judge the answer, and go on until every event has its outcome.

use std::{ops::Range, time::Duration};

use super::{
    Delivered, Driver, Flow, Shutdown,
    link::Link,
    pending::Pending,
    state::{Failure, Opened},
};
use crate::sink::{ErrorClass, Receipt, SinkError, Verdict, dead_letters::Reason};

/// A sink that keeps to its own timeout never needs this; one that hangs is given up after it.
const HANG_SLACK: Duration = Duration::from_secs(5);
/// A server's dictated wait is honoured up to here: a wrong date in a header must not stop delivery for days.
const THROTTLE_MAX: Duration = Duration::from_secs(15 * 60);
/// "Come back in 0 seconds" is not a wish for a busy loop.
const THROTTLE_MIN: Duration = Duration::from_millis(100);

/// How a step of a batch ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Go on with the batch.
    On,
    /// Told to stop, with nothing under way.
    Stop,
    /// Told to stop in the middle of a delivery.
    Cut,
}

impl From<Flow> for Step {
    fn from(flow: Flow) -> Self {
        match flow {
            Flow::Continue => Self::On,
            Flow::Stop => Self::Stop,
        }
    }
}

impl Driver {
    /// Gives every event of the batch its outcome and makes that durable; stops only when told to.
    pub(super) async fn deliver(&self, pending: &mut Pending, link: &mut Link, shutdown: &Shutdown) -> Delivered {
        link.begin_batch();
        loop {
            if pending.len() == 0 {
                return match self.settle(pending, shutdown).await {
                    Flow::Continue => Delivered::Whole,
                    Flow::Stop => Delivered::StoppedBetween,
                };
            }
            if self.sink.opened(&self.lane, shutdown).await == Opened::GivenUp {
                return Delivered::StoppedBetween;
            }
            let before = pending.settled_up_to();
            match self.step(pending, link, shutdown).await {
                Step::On => {}
                Step::Stop => return Delivered::StoppedBetween,
                Step::Cut => return Delivered::StoppedWithin,
            }
            // What is settled in the middle of a batch is acked at once: a long search for a bad event would repeat it after a crash.
            if pending.settled_up_to() > before && pending.len() > 0 && self.settle(pending, shutdown).await == Flow::Stop {
                return Delivered::StoppedBetween;
            }
        }
    }

    async fn step(&self, pending: &mut Pending, link: &mut Link, shutdown: &Shutdown) -> Step {
        if link.refusals_left() == 0 {
            return self.try_single_events(pending, link, shutdown).await;
        }
        let count = link.window(pending);
        match self.attempt(pending, 0..count, shutdown).await {
            None => Step::Cut,
            Some(result) => self.judge(result, pending, count, link, shutdown).await,
        }
    }

    /// Sends some of the events once; `None` if told to stop meanwhile.
    pub(super) async fn attempt(
        &self,
        pending: &mut Pending,
        which: Range<usize>,
        shutdown: &Shutdown,
    ) -> Option<Result<Receipt, SinkError>> {
        let now = self.sink.clock().now();
        for tries in &mut pending.tries(which.end)[which.clone()] {
            tries.attempts += 1;
            tries.first_at.get_or_insert(now);
        }
        let timeout = self.sink.limits().deliver_timeout + HANG_SLACK;
        let (_, batch) = pending.front(&self.lane.stream, which.end).split_at(which.start);
        let delivery = tokio::time::timeout(timeout, self.sink.sink().deliver(batch));
        tokio::select! {
            biased;
            () = shutdown.stop.cancelled() => None,
            result = delivery => Some(result.unwrap_or_else(|_| Err(hung(timeout)))),
        }
    }

    /// Gives the first `count` events what the answer says of them.
    async fn judge(
        &self,
        result: Result<Receipt, SinkError>,
        pending: &mut Pending,
        count: usize,
        link: &mut Link,
        shutdown: &Shutdown,
    ) -> Step {
        match result {
            Ok(Receipt::All) => {
                link.pace.reset();
                self.accepted_front(pending, count, link);
                Step::On
            }
            Ok(Receipt::AllNearlyFull) => {
                self.accepted_front(pending, count, link);
                self.slow_down(link, shutdown).await.into()
            }
            Ok(Receipt::Each(verdicts)) if verdicts.len() == count => self.judge_each(pending, verdicts, link, shutdown).await,
            Ok(Receipt::Each(verdicts)) => {
                let message = format!("the sink answered {} verdicts for {count} events; this is a defect of miro-siem", verdicts.len());
                self.failed(pending, 0..count, SinkError::new(ErrorClass::Ambiguous, message), link, shutdown).await
            }
            Err(error) => self.failed(pending, 0..count, error, link, shutdown).await,
        }
    }

    fn accepted_front(&self, pending: &mut Pending, count: usize, link: &mut Link) {
        self.count_accepted(pending, &vec![true; count], link);
        pending.settle_front(count);
    }

    /// Counts those of the first events as delivered for which `accepted` says so. They are not settled yet.
    pub(super) fn count_accepted(&self, pending: &mut Pending, accepted: &[bool], link: &mut Link) {
        let tries = pending.tries(accepted.len());
        let repeated = tries.iter().zip(accepted).filter(|(tries, accepted)| **accepted && tries.may_have_arrived).count();
        let count = accepted.iter().filter(|&&accepted| accepted).count();
        self.counters.possible_duplicates.increment(repeated as u64);
        self.counters.delivered(count);
        link.accepted(count);
        self.sink.succeeded(&self.lane, count);
    }

    /// The receiver has taken everything and says that its queues fill up.
    async fn slow_down(&self, link: &mut Link, shutdown: &Shutdown) -> Flow {
        let wait = link.pace.next_wait();
        tracing::debug!(sink = %self.sink.name(), lane = %self.lane, wait_secs = wait.as_secs_f64(), "receiver's queues fill up, slowing down");
        self.wait(wait, shutdown).await
    }

    /// Gives each event what the receiver said of it.
    async fn judge_each(&self, pending: &mut Pending, verdicts: Vec<Verdict>, link: &mut Link, shutdown: &Shutdown) -> Step {
        let unknown = verdicts.iter().enumerate().filter(|(_, verdict)| matches!(verdict, Verdict::Unknown(_) | Verdict::MaybeRejected(_)));
        self.note_ambiguous(pending, unknown.map(|(index, _)| index));
        if verdicts.iter().all(|verdict| matches!(verdict, Verdict::NotTaken | Verdict::Unknown(_))) {
            return self.none_settled(verdicts, link, shutdown).await;
        }
        let mut settled: Vec<bool> = verdicts.iter().map(|verdict| *verdict == Verdict::Accepted).collect();
        if settled.contains(&true) {
            self.count_accepted(pending, &settled, link);
        }
        let letters: Vec<_> =
            verdicts.iter().enumerate().filter_map(|(index, verdict)| refusal(index, verdict)).take(link.refusals_left()).collect();
        link.refused(letters.iter().filter(|letter| letter.1 != Reason::Unencodable).count());
        let refused = self.letters(pending, &letters);
        if self.set_aside(refused, shutdown).await == Flow::Stop {
            return Step::Stop;
        }
        letters.iter().for_each(|(index, ..)| settled[*index] = true);
        pending.settle_where(&settled);
        self.doubt_if_refused_too_often(link);
        Step::On
    }

    /// The receiver took and refused nothing, as far as is known.
    async fn none_settled(&self, verdicts: Vec<Verdict>, link: &mut Link, shutdown: &Shutdown) -> Step {
        let why = verdicts.into_iter().find_map(|verdict| match verdict {
            Verdict::Unknown(why) => Some(why),
            _ => None,
        });
        let error = match why {
            Some(why) => SinkError::new(ErrorClass::Ambiguous, why),
            None => SinkError::new(ErrorClass::Retryable, "the receiver answered, but took none of the events"),
        };
        self.sink.count_error(error.class());
        self.back_off(&error, link, shutdown).await
    }

    /// Does what the class of the error asks for.
    pub(super) async fn failed(
        &self,
        pending: &mut Pending,
        which: Range<usize>,
        error: SinkError,
        link: &mut Link,
        shutdown: &Shutdown,
    ) -> Step {
        self.sink.count_error(error.class());
        let count = which.len();
        match error.class() {
            ErrorClass::Throttled(Some(wait)) => {
                self.sink.failed(&self.lane, Failure::throttled(&error));
                self.wait(wait.clamp(THROTTLE_MIN, THROTTLE_MAX), shutdown).await.into()
            }
            ErrorClass::Throttled(None) => {
                self.sink.failed(&self.lane, Failure::throttled(&error));
                self.wait(link.backoff.next_wait(), shutdown).await.into()
            }
            ErrorClass::Retryable => self.back_off(&error, link, shutdown).await,
            ErrorClass::Ambiguous => {
                self.note_ambiguous(pending, which);
                self.back_off(&error, link, shutdown).await
            }
            ErrorClass::TooLarge if count > 1 => {
                link.too_large(pending.front(&self.lane.stream, count).bytes());
                Step::On
            }
            ErrorClass::Rejected if count > 1 => {
                link.refused_among(count);
                Step::On
            }
            ErrorClass::TooLarge => self.set_front_aside(pending, Reason::TooLarge, &error, link, shutdown).await,
            ErrorClass::Rejected => self.set_front_aside(pending, Reason::Rejected, &error, link, shutdown).await,
            ErrorClass::Auth | ErrorClass::Config => {
                self.sink.pause(&self.lane, &error);
                Step::On
            }
        }
    }

    async fn back_off(&self, error: &SinkError, link: &mut Link, shutdown: &Shutdown) -> Step {
        self.sink.failed(&self.lane, Failure::backing_off(error));
        self.wait(link.backoff.next_wait(), shutdown).await.into()
    }

    /// Those events may have arrived: each later attempt that may arrive as well is a possible duplicate.
    fn note_ambiguous(&self, pending: &mut Pending, which: impl IntoIterator<Item = usize>) {
        let mut repeated = 0;
        for index in which {
            let tries = &mut pending.tries(index + 1)[index];
            repeated += u64::from(tries.may_have_arrived);
            tries.may_have_arrived = true;
        }
        self.counters.possible_duplicates.increment(repeated);
    }
}

/// Why an event will never be taken, with its place in the batch.
fn refusal(index: usize, verdict: &Verdict) -> Option<(usize, Reason, &str)> {
    match verdict {
        Verdict::Rejected(answer) => Some((index, Reason::Rejected, answer)),
        Verdict::TooLarge(answer) => Some((index, Reason::TooLarge, answer)),
        Verdict::Unencodable(answer) => Some((index, Reason::Unencodable, answer)),
        Verdict::MaybeRejected(answer) => Some((index, Reason::MaybeRejected, answer)),
        Verdict::Accepted | Verdict::NotTaken | Verdict::Unknown(_) => None,
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

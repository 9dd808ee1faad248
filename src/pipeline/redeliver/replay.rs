//! A replay from its plan to its end.

use std::{sync::Arc, time::Duration};

use super::{
    Inner, Origin, Target,
    from_journal::FromJournal,
    from_miro::FromMiro,
    job::Job,
    record::{Reason, Record},
};
use crate::{
    admin::control::{ControlError, RedeliveryState, ReplayRequest},
    event::{Position, StreamId, StreamKind, TimeRange, Timestamp},
    journal::{Journal, JournalError, Read},
    sink::driver::{Driver, Ended, Lane, Purpose, Shutdown, Supply},
};

/// Miro's clock and ours may differ by this much: the journal is trusted with events that are newer than its oldest entry by more.
const SKEW_MAX: Duration = Duration::from_secs(600);
/// How often a replay looks whether a stream has begun.
const ORIGIN_WAIT: Duration = Duration::from_secs(1);
/// How long a journal that fails is left alone.
const JOURNAL_WAIT: Duration = Duration::from_secs(5);

/// The replays that a request means: one for each stream.
pub(super) fn plan(inner: &Inner, wanted: &ReplayRequest) -> Result<Vec<Record>, ControlError> {
    let target = inner.target(&wanted.sink)?;
    let now = inner.parts.clock.now();
    let to = wanted.to.unwrap_or(now).min(now);
    let range = TimeRange::new(wanted.from, to).filter(|range| !range.is_empty());
    let range = range.ok_or_else(|| {
        ControlError::Invalid("the range is empty: its end is not after its start, or its start is in the future".to_owned())
    })?;
    let is_chosen = |stream: &&StreamId| {
        stream.kind != StreamKind::Forwarder
            && wanted.org.as_deref().is_none_or(|org| stream.org.as_str() == org)
            && wanted.stream.as_deref().is_none_or(|kind| stream.kind.as_str() == kind)
    };
    let streams: Vec<&StreamId> = target.streams.iter().filter(is_chosen).collect();
    if streams.is_empty() {
        let names = target.streams.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        return Err(ControlError::Unknown(format!("the sink {} takes no such stream; it takes {names}", wanted.sink)));
    }
    let until = inner.parts.journal.head().borrow().0;
    Ok(streams.into_iter().map(|stream| Record::new(Reason::Asked, target.state.name().clone(), stream, &[range], until)).collect())
}

/// Works on a replay until it is over, or the process ends.
pub(super) async fn run(inner: &Inner, job: &Job) {
    let ended = work(inner, job).await.unwrap_or_else(|ended| ended);
    job.work_with(None);
    match ended {
        Ended::Delivered => job.change(|record| record.state = RedeliveryState::Done),
        Ended::Broken(why) => job.fail(why),
        Ended::Stopped => {}
    }
    if let Err(error) = inner.save().await {
        tracing::warn!(id = job.id(), error = %error, "end of a replay was not noted; a part of it may be sent again");
    }
    let status = job.status();
    tracing::info!(
        id = job.id(),
        sink = status.sink,
        stream = status.stream,
        state = status.state.as_str(),
        delivered = status.delivered,
        filtered = status.filtered,
        refused = status.refused,
        "replay ended"
    );
}

async fn work(inner: &Inner, job: &Job) -> Result<Ended, Ended> {
    let Some((target, stream)) = job.record().and_then(|record| Some((inner.target(record.sink.as_str()).ok()?, record.stream()?))) else {
        return Err(Ended::Broken("the sink or the stream is no longer there".to_owned()));
    };
    let _turn = match inner.turns.get(target.state.name()) {
        Some(turn) => Some(unless_stopped(inner, job, turn.lock()).await?),
        None => None,
    };
    unless_stopped(inner, job, find_origin(inner, job, &stream)).await?;
    while job.record().is_some_and(|record| !record.is_journal_done) {
        unless_stopped(inner, job, find_split(inner, job, &stream)).await?;
        deliver_from_journal(inner, job, target, &stream).await?;
    }
    Ok(deliver_from_miro(inner, job, target, &stream).await)
}

/// For what may be dropped at any point. A delivery is told to stop instead.
async fn unless_stopped<T>(inner: &Inner, job: &Job, what: impl Future<Output = T>) -> Result<T, Ended> {
    tokio::select! {
        done = what => Ok(done),
        () = stopped(inner, job) => Err(Ended::Stopped),
    }
}

async fn stopped(inner: &Inner, job: &Job) {
    tokio::select! {
        () = job.stop.cancelled() => {}
        () = inner.parts.stop.cancelled() => {}
    }
}

/// For a new sink on a stream that has not begun: waits until it has, since what comes after its origin the sink gets anyway.
async fn find_origin(inner: &Inner, job: &Job, stream: &StreamId) {
    let Some(from) = job.record().and_then(|record| record.before_origin) else { return };
    let origin = loop {
        match inner.parts.journal.coverage(stream) {
            Some(coverage) => break coverage.origin(),
            None => tokio::time::sleep(ORIGIN_WAIT).await,
        }
    };
    job.change(|record| {
        record.before_origin = None;
        if from < origin.as_micros() {
            record.ranges.insert(0, (from, origin.as_micros()));
        }
    });
    save(inner, job).await;
}

/// Finds from when on the journal has every event: its oldest one was collected then, and what is newer was collected later.
async fn find_split(inner: &Inner, job: &Job, stream: &StreamId) {
    if job.record().is_none_or(|record| record.split.is_some()) {
        return;
    }
    let split = loop {
        match oldest(&*inner.parts.journal, stream).await {
            Ok(oldest) => break oldest.map_or(i64::MAX, |oldest| oldest.collected_at.plus(SKEW_MAX).as_micros()),
            Err(error) => {
                job.note(Some(error.to_string()));
                tokio::time::sleep(JOURNAL_WAIT).await;
            }
        }
    };
    job.change(|record| record.split = Some(split));
    save(inner, job).await;
}

/// The oldest event of a stream that is still in the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Oldest {
    pub(super) position: Position,
    pub(super) collected_at: Timestamp,
}

pub(super) async fn oldest(journal: &dyn Journal, stream: &StreamId) -> Result<Option<Oldest>, JournalError> {
    let chunk = journal.read(Read { stream: stream.clone(), after: Position(0), events_max: 1, bytes_max: 1 }).await?;
    Ok(chunk.events.first().map(|event| Oldest { position: event.position, collected_at: event.collected_at }))
}

/// Sends what the journal has. Where it lets go of events before they were read, the split moves, and Miro is asked for them.
async fn deliver_from_journal(inner: &Inner, job: &Job, target: &Target, stream: &StreamId) -> Result<(), Ended> {
    let Some(record) = job.record() else { return Ok(()) };
    let ranges = record.of_journal();
    if !ranges.is_empty() {
        let supply = Arc::new(FromJournal::new(inner.parts.journal.clone(), stream.clone(), ranges, &record));
        match deliver(inner, job, target, stream, supply.clone(), |record, up_to| record.journal_at = up_to.0.min(record.until)).await {
            Ended::Delivered => {}
            Ended::Broken(_) if supply.has_lost_events() => {
                job.change(|record| record.split = None);
                return Ok(());
            }
            ended => return Err(ended),
        }
    }
    job.change(|record| record.is_journal_done = true);
    unless_stopped(inner, job, save(inner, job)).await
}

async fn deliver_from_miro(inner: &Inner, job: &Job, target: &Target, stream: &StreamId) -> Ended {
    let Some(record) = job.record() else { return Ended::Stopped };
    let ranges = record.of_miro();
    if ranges.is_empty() {
        return Ended::Delivered;
    }
    let Some(origin) = inner.parts.origins.get(stream) else {
        return Ended::Broken(format!("{stream} is not collected from Miro, and the journal no longer has all of the range"));
    };
    let (ranges, too_old) = within_reach(ranges, origin, inner.parts.clock.now());
    if let Some(until) = too_old {
        let note = format!("what is older than {} is past Miro's retention and could not be sent", until.to_rfc3339_secs());
        job.note(Some(note));
        if ranges.is_empty() {
            return Ended::Delivered;
        }
    }
    let supply = Arc::new(FromMiro::new(origin.clone(), ranges, inner.parts.clock.clone(), target.state.reserve_positions()));
    let reached = supply.clone();
    deliver(inner, job, target, stream, supply, move |record, up_to| {
        record.miro_at = reached.reached(up_to).map(Timestamp::as_micros).or(record.miro_at)
    })
    .await
}

/// The ranges that Miro still has, and up to when something is missing from them.
fn within_reach(ranges: Vec<TimeRange>, origin: &Origin, now: Timestamp) -> (Vec<TimeRange>, Option<Timestamp>) {
    let cliff = now.minus(origin.retention);
    let is_cut = ranges.first().is_some_and(|range| range.from() < cliff);
    let left = ranges.into_iter().filter_map(|range| TimeRange::new(range.from().max(cliff), range.to())).filter(|range| !range.is_empty());
    (left.collect(), is_cut.then_some(cliff))
}

/// Runs a driver over a supply, and makes where it stands durable with each step that it settles.
async fn deliver(
    inner: &Inner,
    job: &Job,
    target: &Target,
    stream: &StreamId,
    supply: Arc<dyn Supply>,
    settled: impl Fn(&mut Record, Position),
) -> Ended {
    let (steps, mut taken) = tokio::sync::mpsc::channel(1);
    let supply = Arc::new(Stepwise { supply, steps });
    let lane = Lane { stream: stream.clone(), purpose: Purpose::Replay };
    let driver = Arc::new(Driver::of(target.state.clone(), lane, supply, target.transform.clone()));
    job.work_with(Some(driver.clone()));
    let shutdown = Shutdown::new();
    let run = driver.run_to_the_end(&shutdown);
    let note_steps = async {
        while let Some(Step { up_to, noted }) = taken.recv().await {
            job.change(|record| settled(record, up_to));
            job.note_progress();
            // A step that cannot be noted is tried again by the driver.
            let _ = noted.send(inner.save().await.map_err(|error| error.to_string()));
        }
        std::future::pending::<Ended>().await
    };
    let pass_on_a_stop = async {
        stopped(inner, job).await;
        shutdown.stop.cancel();
        std::future::pending::<Ended>().await
    };
    let ended = tokio::select! {
        ended = run => ended,
        ended = note_steps => ended,
        ended = pass_on_a_stop => ended,
    };
    job.work_with(None);
    ended
}

async fn save(inner: &Inner, job: &Job) {
    while let Err(error) = inner.save().await {
        job.note(Some(error.to_string()));
        tokio::time::sleep(JOURNAL_WAIT).await;
    }
}

pub(super) use stepwise::{Step, Stepwise};

mod stepwise {
    use futures_util::future::BoxFuture;
    use tokio::sync::{mpsc, oneshot, watch};

    use crate::{
        event::Position,
        journal::Chunk,
        sink::driver::{Begin, Extent, Supply, SupplyError, Wanted},
    };

    /// What is settled, to be noted durably.
    #[derive(Debug)]
    pub(in super::super) struct Step {
        pub(in super::super) up_to: Position,
        pub(in super::super) noted: oneshot::Sender<Result<(), String>>,
    }

    /// A supply whose settled steps are noted by somebody else.
    #[derive(Debug)]
    pub(in super::super) struct Stepwise {
        pub(in super::super) supply: std::sync::Arc<dyn Supply>,
        pub(in super::super) steps: mpsc::Sender<Step>,
    }

    impl Supply for Stepwise {
        fn begin(&self) -> BoxFuture<'_, Result<Begin, SupplyError>> {
            self.supply.begin()
        }

        fn read(&self, wanted: Wanted) -> BoxFuture<'_, Result<Chunk, SupplyError>> {
            self.supply.read(wanted)
        }

        fn head(&self) -> watch::Receiver<Position> {
            self.supply.head()
        }

        fn extent(&self) -> Extent {
            self.supply.extent()
        }

        fn settled(&self, up_to: Position) -> BoxFuture<'_, Result<(), SupplyError>> {
            Box::pin(async move {
                self.supply.settled(up_to).await?;
                let (noted, answer) = oneshot::channel();
                self.steps.send(Step { up_to, noted }).await.map_err(|_| SupplyError::Closed)?;
                let answer = answer.await.map_err(|_| SupplyError::Closed)?;
                answer.map_err(|message| SupplyError::Failed { class: "journal", message, wait: None })
            })
        }

        fn delivering(&self) -> BoxFuture<'_, Result<(), SupplyError>> {
            self.supply.delivering()
        }

        fn at_rest(&self) -> BoxFuture<'_, Result<(), SupplyError>> {
            self.supply.at_rest()
        }
    }
}

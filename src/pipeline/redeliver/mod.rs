//! Deliveries that a person asks for, and those that a new sink begins with: dead letters once more, ranges of the past once more.
//!
//! ```text
//!            letters of the store ──► retry  ─┐
//!                                             ├─► driver, on a lane of its own ─► receiver
//! journal, as far as it reaches ─┐            │
//!                                ├─► replay ──┘
//! Miro, for what is older ───────┘
//! ```
//!
//! # What it promises
//!
//! The normal flow is not touched: a retry and a replay have lanes of their own beside it, and its acknowledgements do not move. Each event
//! goes through the sink's filter and format as they are configured now, and gets one outcome as every event does; what is refused is a dead
//! letter. Where a replay stands is durable batch by batch: after a restart, or `kill -9`, it goes on there. A retry that is cut short leaves
//! the rest of the letters in their store.
//!
//! A replay takes from the journal what was collected since the oldest event that is still in it, and asks Miro for what is older. An event
//! near that seam may come twice, under the same id, and so may one that a sink is about to get anyway.
//!
//! # What it does not do
//!
//! It adds nothing to the journal, and its coverage does not change: a replay is for one sink. It does not mark events as repeated: their
//! provenance is what it was, `late` and `backfill` included; what is fetched from Miro once more counts as `backfill`.
//!
//! # On a crash
//!
//! Replays are in the journal's small state and go on. Retries are forgotten; the letters that were not delivered are still there.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_util::future::BoxFuture;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{book::Book, job::Job, letters::Selected, record::Record};
use crate::{
    admin::control::{ControlError, LetterSelection, Redeliveries, RedeliveryStatus, ReplayRequest},
    clock::Clock,
    event::{SinkName, StreamId},
    journal::Journal,
    metrics::Metrics,
    miro::Pages,
    sink::driver::SinkState,
    transform::TransformSettings,
};

mod assembly;
mod book;
mod from_journal;
mod from_miro;
mod job;
mod letters;
mod record;
mod replay;
mod start;

pub(super) use assembly::{Delivery, assemble, new_sinks};
pub(super) use start::{NewSink, begin_new_sinks};

/// A sink that can be delivered to.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) state: Arc<SinkState>,
    pub(super) transform: TransformSettings,
    /// What it takes.
    pub(super) streams: Vec<StreamId>,
}

/// A stream of Miro's.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    pub(super) pages: Arc<dyn Pages>,
    pub(super) page_size: u32,
    /// How far back Miro can be asked.
    pub(super) retention: std::time::Duration,
}

/// What it is made of.
#[derive(Debug)]
pub(super) struct RedeliverParts {
    pub(super) targets: BTreeMap<SinkName, Target>,
    pub(super) origins: BTreeMap<StreamId, Origin>,
    pub(super) journal: Arc<dyn Journal>,
    pub(super) clock: Clock,
    pub(super) metrics: Metrics,
    pub(super) state_dir: PathBuf,
    pub(super) dead_letter_bytes_max: u64,
    /// Ends every job; what is durable goes on at the next start.
    pub(super) stop: CancellationToken,
}

/// Retries and replays. Clones share everything.
#[derive(Clone, Debug)]
pub struct Redeliver(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    parts: RedeliverParts,
    book: Mutex<Book>,
    tasks: TaskTracker,
    /// One at a time for each sink: they share its lanes.
    turns: BTreeMap<SinkName, tokio::sync::Mutex<()>>,
}

impl Redeliver {
    pub(super) fn new(parts: RedeliverParts) -> Self {
        let turns = parts.targets.keys().map(|sink| (sink.clone(), tokio::sync::Mutex::new(()))).collect();
        Self(Arc::new(Inner { parts, book: Mutex::default(), tasks: TaskTracker::new(), turns }))
    }

    /// Takes the replays of the time before into its book without working on them: for a process that has come to do something else.
    pub(super) fn remember(&self) {
        let records = record::read(&*self.0.parts.journal);
        records.into_iter().for_each(|record| self.0.book().add(Arc::new(Job::of_replay(record))));
    }

    /// Goes on with the replays of the time before. Those of sinks and streams that are no longer there are given up.
    pub(super) fn resume(&self) {
        let records = record::read(&*self.0.parts.journal);
        for record in records {
            let is_over = record.is_over();
            let job = Arc::new(Job::of_replay(record));
            if !is_over && let Err(error) = self.target_of(&job) {
                tracing::warn!(replay = job.id(), error = %error, "replay is given up");
                job.fail(error.to_string());
                self.0.book().add(job);
                continue;
            }
            self.0.book().add(job.clone());
            if !is_over {
                tracing::info!(replay = job.id(), "replay goes on");
                self.spawn_replay(job);
            }
        }
    }

    fn target_of(&self, job: &Job) -> Result<(), ControlError> {
        let Some(record) = job.record() else { return Ok(()) };
        let target = self.0.target(record.sink.as_str())?;
        let stream = record.stream();
        let is_taken = stream.as_ref().is_some_and(|stream| target.streams.contains(stream));
        if is_taken { Ok(()) } else { Err(ControlError::Unknown(format!("the sink {} no longer takes {}", record.sink, record.stream))) }
    }

    /// Begins a replay that is recorded already.
    fn spawn_replay(&self, job: Arc<Job>) {
        let this = self.clone();
        self.0.tasks.spawn(async move { replay::run(&this.0, &job).await });
    }

    /// Waits until no job runs any more, after the stop was given.
    pub(super) async fn ended(&self) {
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    async fn add_replays(&self, wanted: ReplayRequest) -> Result<Vec<RedeliveryStatus>, ControlError> {
        let records = replay::plan(&self.0, &wanted)?;
        let jobs: Vec<Arc<Job>> = records.into_iter().map(|record| Arc::new(Job::of_replay(record))).collect();
        {
            let mut book = self.0.book();
            book.has_room(jobs.len())?;
            jobs.iter().for_each(|job| book.add(job.clone()));
        }
        self.0.save().await?;
        jobs.iter().for_each(|job| self.spawn_replay(job.clone()));
        Ok(jobs.iter().map(|job| job.status()).collect())
    }

    fn add_retries(&self, wanted: &LetterSelection) -> Result<Vec<RedeliveryStatus>, ControlError> {
        let selected = Selected::of(wanted)?;
        let sinks = match &wanted.sink {
            Some(name) => vec![self.0.target(name)?.clone()],
            None => self.0.parts.targets.values().cloned().collect(),
        };
        let mut statuses = Vec::new();
        for target in sinks {
            let job = Arc::new(Job::of_retry(target.state.name().clone()));
            let mut book = self.0.book();
            book.has_room(1)?;
            book.add(job.clone());
            drop(book);
            statuses.push(job.status());
            let (inner, selected) = (self.0.clone(), selected.clone());
            self.0.tasks.spawn(async move { letters::run(&inner, &target, &selected, &job).await });
        }
        Ok(statuses)
    }
}

impl Inner {
    fn book(&self) -> MutexGuard<'_, Book> {
        // It is changed in steps that are each whole.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn target(&self, sink: &str) -> Result<&Target, ControlError> {
        let names = || self.parts.targets.keys().map(SinkName::as_str).collect::<Vec<_>>().join(", ");
        let unknown = || ControlError::Unknown(format!("there is no sink {sink:?}; the sinks are {}", names()));
        self.parts.targets.get(&SinkName::new(sink)).ok_or_else(unknown)
    }

    /// Makes where the replays stand durable.
    async fn save(&self) -> Result<(), ControlError> {
        let records: Vec<Record> = self.book().records();
        let written = record::write(&*self.parts.journal, &records).await;
        written.map_err(|error| ControlError::Failed(format!("failed to note the replays: {error}")))
    }
}

impl Redeliveries for Redeliver {
    fn retry(&self, wanted: LetterSelection) -> BoxFuture<'_, Result<Vec<RedeliveryStatus>, ControlError>> {
        Box::pin(async move { self.add_retries(&wanted) })
    }

    fn drop_letters(&self, wanted: LetterSelection) -> BoxFuture<'_, Result<u64, ControlError>> {
        Box::pin(async move { letters::throw_away(&self.0, &wanted).await })
    }

    fn replay(&self, wanted: ReplayRequest) -> BoxFuture<'_, Result<Vec<RedeliveryStatus>, ControlError>> {
        Box::pin(self.add_replays(wanted))
    }

    fn list(&self) -> Vec<RedeliveryStatus> {
        self.0.book().jobs().map(|job| job.status()).collect()
    }

    fn cancel<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<RedeliveryStatus, ControlError>> {
        Box::pin(async move {
            let found = self.0.book().jobs().find(|job| job.id() == id).cloned();
            let job = found.ok_or_else(|| ControlError::Unknown(format!("there is no retry or replay {id:?}")))?;
            if !job.cancel() {
                return Err(ControlError::Conflict(format!("{id} is over already")));
            }
            self.0.save().await?;
            tracing::info!(id, "cancelled on request");
            Ok(job.status())
        })
    }
}

//! The writer: one thread that alone changes anything on disk. It takes what waits in its queue, writes all of it, syncs once,
//! publishes, and answers; then it saves acknowledgements, again all that wait at once.
//!
//! What fails is answered with an error and taken back; the writer goes on. A panic inside a batch counts as a failure of that batch.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tracing::{error, warn};

use super::{
    checkpoint::CheckpointStore,
    index::IndexEntry,
    ledger::Entry,
    lock::Lock,
    log::Log,
    page::{IdMaker, PageEncoder},
    prove::Question,
    record::HEADER_BYTES,
    seen::Seen,
    segment::SegmentName,
    tallies::TallyStore,
    tally::PageTally,
    view::Shared,
};
use crate::{
    coverage::Coverage,
    event::{Position, SinkName, StreamId},
    journal::{Commit, Committed, JournalError},
};

/// So many commands share one sync at most.
const BATCH_MAX: usize = 64;

/// Where an answer goes. A caller that no longer waits for it has lost nothing.
pub(super) type Reply<T> = oneshot::Sender<Result<T, JournalError>>;

/// What the writer can be asked to do.
#[derive(Debug)]
pub(super) enum Command {
    Commit {
        commit: Commit,
        reply: Reply<Committed>,
    },
    Ack {
        sink: SinkName,
        stream: StreamId,
        up_to: Position,
        reply: Reply<()>,
    },
    Subscribe {
        subscriptions: Vec<(SinkName, StreamId)>,
        reply: Reply<()>,
    },
    PutState {
        key: String,
        value: Vec<u8>,
        reply: Reply<()>,
    },
    /// A reader has found a record that does not read back.
    Damaged {
        segment: SegmentName,
        entry: IndexEntry,
        stream: StreamId,
        reply: Reply<()>,
    },
    /// What the tallies and the remembered ids say.
    Prove(Question),
    Close {
        reply: Reply<()>,
    },
}

/// A command in the queue, with its place there, which is free again once the command has been taken out.
#[derive(Debug)]
pub(super) struct Queued {
    pub(super) command: Command,
    pub(super) _place: Option<OwnedSemaphorePermit>,
}

/// A record that is written and not durable yet, and who waits for it.
pub(super) struct Staged {
    pub(super) sequence: u64,
    pub(super) next_position: u64,
    /// `None` where nothing had to be written: only repeats, and no change.
    pub(super) entry: Option<Entry>,
    pub(super) index: Option<IndexEntry>,
    /// What it adds to the tallies of a stream.
    pub(super) tally: Option<(StreamId, PageTally)>,
    pub(super) answer: Answer,
}

/// Who waits for a staged record.
pub(super) enum Answer {
    Commit { fresh: Vec<bool>, coverage: Coverage, reply: Reply<Committed> },
    Done(Reply<()>),
}

/// What has been written since the last sync.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) staged: Vec<Staged>,
    /// Coverage with the batch's changes in it.
    pub(super) coverage: BTreeMap<StreamId, Coverage>,
    pub(super) next_sequence: u64,
    pub(super) next_position: u64,
}

/// What the checkpoint store does not have yet.
#[derive(Default)]
pub(super) struct Due {
    pub(super) streams: BTreeSet<StreamId>,
    pub(super) keys: BTreeSet<String>,
    pub(super) acks: BTreeSet<(SinkName, StreamId)>,
    pub(super) since: Option<Instant>,
}

/// Something that fails again and again, and is worth one line when it begins and one when it is over.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    lasts: bool,
}

impl Trouble {
    /// Notes a failure; says whether it is the first in a row.
    pub(super) fn is_new(&mut self) -> bool {
        !std::mem::replace(&mut self.lasts, true)
    }

    /// Notes a success; says whether it ended a row of failures.
    pub(super) fn is_over(&mut self) -> bool {
        std::mem::replace(&mut self.lasts, false)
    }
}

/// Everything that the writer thread owns.
pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) log: Log,
    pub(super) seen: Seen,
    pub(super) tallies: TallyStore,
    pub(super) store: CheckpointStore,
    /// Whether the store holds all that was published before the last save, so that saving what changed since is enough.
    pub(super) store_is_whole: bool,
    pub(super) encoder: PageEncoder,
    pub(super) makers: HashMap<StreamId, IdMaker>,
    pub(super) batch: Batch,
    pub(super) due: Due,
    pub(super) ids_reach: Duration,
    pub(super) checkpoint_after: Duration,
    pub(super) save_trouble: Trouble,
    pub(super) ids_trouble: Trouble,
    pub(super) tally_trouble: Trouble,
    /// Where the next new subscribers begin, if not at the newest position: set when it is not known any more who was subscribed.
    pub(super) newcomers_start: Option<Position>,
    pub(super) lock: Option<Lock>,
}

impl Writer {
    /// Works until it is told to close, or until nobody is left who could ask for anything.
    pub(super) fn run(mut self, queue: &Receiver<Queued>) {
        self.reset_batch();
        loop {
            let first = match queue.recv_timeout(self.patience()) {
                Ok(first) => Some(first),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            let waiting: Vec<Command> = first.into_iter().chain(queue.try_iter()).take(BATCH_MAX).map(|queued| queued.command).collect();
            let mut closing = None;
            if catch_unwind(AssertUnwindSafe(|| closing = self.handle(waiting))).is_err() {
                error!("the journal's writer panicked; what it was writing is taken back, and it goes on");
                self.take_back();
            }
            if let Some(reply) = closing {
                let _ = reply.send(self.close());
                return;
            }
        }
        if let Err(error) = self.close() {
            warn!(%error, "the journal was not closed cleanly; it recovers at the next start");
        }
    }

    /// How long to wait for the next command.
    fn patience(&self) -> Duration {
        match self.due.since {
            Some(since) => self.checkpoint_after.saturating_sub(since.elapsed()),
            // Long, and not for ever only because waiting for ever has another name.
            None => Duration::from_secs(3_600),
        }
    }

    /// Does what was asked, in its order; returns who waits for the end.
    fn handle(&mut self, commands: Vec<Command>) -> Option<Reply<()>> {
        let (mut acks, mut closing) = (Vec::new(), None);
        for command in commands {
            match command {
                Command::Commit { commit, reply } => self.stage_commit(commit, reply),
                Command::PutState { key, value, reply } => self.stage_state(key, value, reply),
                Command::Ack { sink, stream, up_to, reply } => acks.push((sink, stream, up_to, reply)),
                Command::Subscribe { subscriptions, reply } => {
                    self.finish();
                    let _ = reply.send(self.subscribe(subscriptions));
                }
                Command::Damaged { segment, entry, stream, reply } => {
                    self.finish();
                    let _ = reply.send(self.set_aside(segment, entry, &stream));
                }
                Command::Prove(question) => {
                    self.finish();
                    self.prove(question);
                }
                Command::Close { reply } => closing = Some(reply),
            }
        }
        self.finish();
        self.acknowledge(acks);
        self.checkpoint_if_due();
        self.shrink_ids();
        if self.tallies.is_due() {
            self.flush_tallies_or_warn();
        }
        closing
    }

    fn shrink_ids(&mut self) {
        match self.seen.shrink() {
            Ok(()) => self.ids_trouble.is_over(),
            Err(error) if self.ids_trouble.is_new() => {
                warn!(%error, "failed to write ids to their files; they stay in memory until that works");
                false
            }
            Err(_) => false,
        };
    }

    /// Makes what was staged durable, publishes it and answers.
    pub(super) fn finish(&mut self) {
        if self.batch.staged.is_empty() {
            return;
        }
        if let Err(error) = self.log.sync() {
            self.fail_batch(&error);
            return;
        }
        let staged = std::mem::take(&mut self.batch.staged);
        for (stream, tally) in staged.iter().filter_map(|staged| staged.tally.as_ref()) {
            self.tallies.add(stream, tally);
        }
        let answers: Vec<_> = {
            let mut view = self.shared.view_mut();
            view.active.bytes = self.log.active.len;
            staged.into_iter().map(|staged| publish(&mut view, &mut self.due, staged)).collect()
        };
        self.shared.head.send_if_modified(|head| {
            let newest = Position(self.batch.next_position - 1);
            std::mem::replace(head, newest) != newest
        });
        for answer in answers {
            answer.send();
        }
        self.reset_batch();
    }

    /// Takes back everything that is not durable and tells everybody why.
    fn fail_batch(&mut self, error: &JournalError) {
        let staged = std::mem::take(&mut self.batch.staged);
        self.take_back();
        for staged in staged {
            match staged.answer {
                Answer::Commit { reply, .. } => drop(reply.send(Err(again(error)))),
                Answer::Done(reply) => drop(reply.send(Err(again(error)))),
            }
        }
    }

    /// Returns to what is published.
    fn take_back(&mut self) {
        self.log.take_back();
        self.seen.take_back(self.shared.view().ledger.sequence + 1);
        self.reset_batch();
    }

    pub(super) fn reset_batch(&mut self) {
        let view = self.shared.view();
        let (next_sequence, next_position) = (view.ledger.sequence + 1, view.ledger.next_position);
        self.batch = Batch { next_sequence, next_position, ..Batch::default() };
    }

    /// Writes one record alone, durable on return.
    pub(super) fn write_alone(&mut self, entry: Entry, record: &[u8]) -> Result<(), JournalError> {
        let offset = self.log.append(record)?;
        debug_assert!(offset >= HEADER_BYTES as u64, "a segment begins with a snapshot");
        self.log.sync().inspect_err(|_| self.reset_batch())?;
        {
            let mut view = self.shared.view_mut();
            view.active.bytes = self.log.active.len;
            view.ledger.apply(self.batch.next_sequence, self.batch.next_position, &entry);
        }
        self.reset_batch();
        Ok(())
    }
}

/// An answer that is ready to be sent once the view is free again.
enum Ready {
    Commit(Reply<Committed>, Committed),
    Done(Reply<()>),
}

impl Ready {
    fn send(self) {
        match self {
            Self::Commit(reply, committed) => drop(reply.send(Ok(committed))),
            Self::Done(reply) => drop(reply.send(Ok(()))),
        }
    }
}

fn publish(view: &mut super::view::View, due: &mut Due, staged: Staged) -> Ready {
    if let Some(entry) = &staged.entry {
        view.ledger.apply(staged.sequence, staged.next_position, entry);
        due.since.get_or_insert_with(Instant::now);
        match entry {
            Entry::Page(facts) => {
                due.streams.insert(facts.stream.clone());
                if let Some(index) = staged.index {
                    view.active.events += u64::from(index.count);
                    view.active.index.push(&facts.stream, index);
                }
            }
            Entry::State { key, .. } => {
                due.keys.insert(key.clone());
            }
            Entry::Snapshot(_) | Entry::Reopen(_) | Entry::Trim { .. } => {}
        }
    }
    match staged.answer {
        Answer::Done(reply) => Ready::Done(reply),
        Answer::Commit { fresh, coverage, reply } => Ready::Commit(reply, Committed { fresh, head: view.head(), coverage }),
    }
}

/// The same error for another of those who wait.
fn again(error: &JournalError) -> JournalError {
    match error {
        JournalError::NoSpace { path } => JournalError::NoSpace { path: path.clone() },
        JournalError::Io { action, path, source } => {
            let source =
                source.raw_os_error().map_or_else(|| io::Error::new(source.kind(), source.to_string()), io::Error::from_raw_os_error);
            JournalError::Io { action, path: path.clone(), source }
        }
        other => JournalError::Io { action: "write to", path: "the journal".to_owned(), source: io::Error::other(other.to_string()) },
    }
}

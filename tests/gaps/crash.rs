//! A kill before or after any write of the keeper: each event is in the journal once, whatever was interrupted.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use futures_util::future::BoxFuture;
use miro_siem::{
    clock::Clock,
    coverage::Coverage,
    event::{Position, SinkName, StreamId},
    forwarder::stream_of,
    health::Health,
    journal::{Backlog, Chunk, Commit, Committed, CoverageChange, Journal, JournalError, Read, Stats},
    source::gaps::{Keeper, Ledger},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::support::{at, keeper_parts, moves, open, org, own_events, range, told};

/// Where a write is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    /// It never reaches the disk.
    Before,
    /// It is durable, and nobody learns of it.
    After,
}

/// A journal whose process dies at one of its writes: that one never returns, and neither does any later one.
#[derive(Debug)]
struct Mortal {
    inner: Arc<dyn Journal>,
    /// Writes that still succeed.
    left: AtomicI64,
    cut: Cut,
    dead: CancellationToken,
}

impl Mortal {
    async fn live<T>(&self, write: BoxFuture<'_, Result<T, JournalError>>) -> Result<T, JournalError> {
        let left = self.left.fetch_sub(1, Ordering::SeqCst);
        if left > 0 {
            return write.await;
        }
        if left == 0 && self.cut == Cut::After {
            write.await?;
        }
        self.dead.cancel();
        std::future::pending().await
    }
}

type Answer<'a, T> = BoxFuture<'a, Result<T, JournalError>>;

impl Journal for Mortal {
    fn commit(&self, commit: Commit) -> Answer<'_, Committed> {
        Box::pin(self.live(self.inner.commit(commit)))
    }
    fn put_state<'a>(&'a self, key: &'a str, value: Vec<u8>) -> Answer<'a, ()> {
        Box::pin(self.live(self.inner.put_state(key, value)))
    }
    fn coverage(&self, stream: &StreamId) -> Option<Coverage> {
        self.inner.coverage(stream)
    }
    fn read(&self, read: Read) -> Answer<'_, Chunk> {
        self.inner.read(read)
    }
    fn subscribe(&self, subscriptions: Vec<(SinkName, StreamId)>) -> Answer<'_, ()> {
        self.inner.subscribe(subscriptions)
    }
    fn acked(&self, sink: &SinkName, stream: &StreamId) -> Option<Position> {
        self.inner.acked(sink, stream)
    }
    fn ack<'a>(&'a self, sink: &'a SinkName, stream: &'a StreamId, up_to: Position) -> Answer<'a, ()> {
        self.inner.ack(sink, stream, up_to)
    }
    fn backlog(&self, sink: &SinkName, stream: &StreamId) -> Backlog {
        self.inner.backlog(sink, stream)
    }
    fn head(&self) -> watch::Receiver<Position> {
        self.inner.head()
    }
    fn stats(&self) -> Stats {
        self.inner.stats()
    }
    fn state(&self, key: &str) -> Option<Vec<u8>> {
        self.inner.state(key)
    }
    fn close(&self) -> Answer<'_, ()> {
        self.inner.close()
    }
}

/// The story: at these seconds these ranges are collected, and the keeper looks.
const STORY: [(u64, &[(u64, u64)]); 5] =
    [(600, &[(0, 600)]), (5_000, &[]), (9_000, &[(8_700, 9_000)]), (9_100, &[(600, 4_000), (5_000, 8_700)]), (9_200, &[(4_000, 5_000)])];
/// Each look of each process is a second later than the one before: a repeat is not made at the same time.
const STEP_SECS: u64 = 1;

/// Runs the story with one process per look, killed at its nth write where `kill` says so; returns how many writes there were.
async fn play(dir: &Path, kill: Option<(i64, Cut)>) -> i64 {
    let mut journal = open(dir);
    journal.subscribe(vec![(SinkName::new("s"), stream_of(&org()))]).await.expect("subscribed");
    journal.commit(moves(CoverageChange::Begin(at(0)))).await.expect("begun");
    let (mut writes, mut kill) = (0, kill);
    for (secs, covered) in STORY {
        for (from, to) in covered {
            journal.commit(moves(CoverageChange::Add(range(*from, *to)))).await.expect("new");
        }
        for attempt in 0.. {
            let (left, cut) = kill.unwrap_or((i64::MAX, Cut::After));
            let dead = CancellationToken::new();
            let mortal = Arc::new(Mortal { inner: journal.clone(), left: AtomicI64::new(left), cut, dead: dead.clone() });
            if look(mortal.clone(), secs + attempt * STEP_SECS, &dead).await {
                let used = left - mortal.left.load(Ordering::SeqCst);
                writes += used;
                kill = kill.map(|(left, cut)| (left - used, cut));
                break;
            }
            kill = None;
            journal.close().await.expect("closes");
            journal = open(dir);
        }
    }
    journal.close().await.expect("closes");
    writes
}

/// One look of a new process; false where it died.
async fn look(journal: Arc<dyn Journal>, secs: u64, dead: &CancellationToken) -> bool {
    let stop = CancellationToken::new();
    stop.cancel();
    let keeper = Keeper::new(keeper_parts(&journal, Clock::from_fn(move || at(secs)), &Health::new(), None));
    tokio::select! {
        () = keeper.run(stop) => true,
        () = dead.cancelled() => false,
    }
}

#[tokio::test]
async fn a_kill_at_any_write_loses_no_event_and_repeats_none() {
    let dir = tempfile::tempdir().expect("a directory");
    let writes = play(dir.path(), None).await;
    // A ledger, the stream, an event and a ledger to open; one that has grown; a ledger, an event and a ledger to close.
    assert_eq!(writes, 8);
    for nth in 0..writes {
        for cut in [Cut::Before, Cut::After] {
            let dir = tempfile::tempdir().expect("a directory");
            play(dir.path(), Some((nth, cut))).await;
            let journal = open(dir.path());
            let events = own_events(&journal).await;
            let names: Vec<String> = events.iter().map(|event| told(&event.raw).0).collect();
            assert_eq!(names, ["miro_siem.gap_opened", "miro_siem.gap_closed"], "killed at write {nth}, {cut:?}");
            let stored = journal.state("source/gaps/acme/audit").expect("a ledger");
            let ledger = Ledger::decode(&stored).expect("it reads back");
            assert_eq!((ledger.gaps().len(), ledger.ended().len(), ledger.unsaid().len()), (0, 1, 0), "killed at write {nth}, {cut:?}");
            assert_eq!(ledger.ended()[0].gap.range, range(600, 8_700));
            journal.close().await.expect("closes");
        }
    }
}

#[tokio::test]
async fn a_ledger_of_a_later_version_is_set_aside_and_a_new_one_begins() {
    let dir = tempfile::tempdir().expect("a directory");
    let journal = open(dir.path());
    journal.commit(moves(CoverageChange::Begin(at(0)))).await.expect("begun");
    let later = br#"{"version":2}"#.to_vec();
    journal.put_state("source/gaps/acme/audit", later.clone()).await.expect("written");
    assert!(look(journal.clone(), 5_000, &CancellationToken::new()).await);
    assert_eq!(journal.state("source/gaps/acme/audit/unreadable"), Some(later));
    let stored = journal.state("source/gaps/acme/audit").expect("a ledger");
    assert_eq!(Ledger::decode(&stored).map(|ledger| ledger.gaps().len()), Ok(1));
}

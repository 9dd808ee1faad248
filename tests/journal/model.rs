//! The journal against a plain model: sequences of commits, reads, acknowledgements, restarts, crashes and every kind of damage.
//!
//! Without damage the journal and the model are the same. With damage: nothing is invented, order and positions stay, and whatever is
//! gone is no longer covered and is taken when it comes again.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use miro_siem::{
    coverage::Coverage,
    event::{Event, Position, SinkName, StreamId, StreamKind},
    journal::{
        CoverageChange, Journal, JournalError,
        disk::DiskJournal,
        proof::{Slot, Tally},
    },
};
use proptest::{prelude::*, test_runner::FileFailurePersistence};

use crate::support::{
    assert_counted, audit, begin, copy_dir, counted, event, minute, minutes, options, page, raw, read_all, segments, sink, stream, tallies,
    tuning,
};

/// One step of a sequence.
#[derive(Clone, Debug)]
enum Step {
    Commit {
        stream: usize,
        ids: Vec<u16>,
        change: Change,
    },
    Ack {
        sink: usize,
        stream: usize,
        up_to: u64,
    },
    Subscribe {
        mask: u8,
    },
    PutState {
        value: u8,
    },
    /// Close and open again.
    Reopen,
    /// Go on with a copy of the directory as it is on disk now.
    Crash,
    /// The same, after something was done to the copy.
    Damage(Damage),
}

#[derive(Clone, Debug)]
enum Change {
    None,
    Next { length: i64 },
    Anywhere { from: i64, length: i64 },
}

#[derive(Clone, Debug)]
enum Damage {
    /// So many bytes are missing from the end of the newest segment.
    Torn {
        bytes: u16,
    },
    /// One bit is flipped in one of the files.
    Flip {
        file: u16,
        at: u32,
        bit: u8,
    },
    /// A stretch of a segment is zero.
    Zeros {
        file: u16,
        at: u32,
        len: u16,
    },
    /// A segment is gone.
    SegmentGone {
        file: u16,
    },
    CheckpointsGone,
    CheckpointsEmptied,
    CheckpointsGarbage,
    /// The checkpoint store is as it was at the last restart.
    CheckpointsOld,
    /// The log is as it was at the last restart, the checkpoint store is not.
    LogOld,
    IdsGone,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let change = prop_oneof![
        Just(Change::None),
        (1_i64..30).prop_map(|length| Change::Next { length }),
        (0_i64..600, 1_i64..40).prop_map(|(from, length)| Change::Anywhere { from, length }),
    ];
    let damage = prop_oneof![
        (1_u16..2_000).prop_map(|bytes| Damage::Torn { bytes }),
        (any::<u16>(), any::<u32>(), 0_u8..8).prop_map(|(file, at, bit)| Damage::Flip { file, at, bit }),
        (any::<u16>(), any::<u32>(), 1_u16..900).prop_map(|(file, at, len)| Damage::Zeros { file, at, len }),
        any::<u16>().prop_map(|file| Damage::SegmentGone { file }),
        Just(Damage::CheckpointsGone),
        Just(Damage::CheckpointsEmptied),
        Just(Damage::CheckpointsGarbage),
        Just(Damage::CheckpointsOld),
        Just(Damage::LogOld),
        Just(Damage::IdsGone),
    ];
    let commit = (0_usize..2, proptest::collection::vec(0_u16..300, 0..12), change);
    let step = prop_oneof![
        12 => commit.prop_map(|(stream, ids, change)| Step::Commit { stream, ids, change }),
        4 => (0_usize..2, 0_usize..2, 0_u64..200).prop_map(|(sink, stream, up_to)| Step::Ack { sink, stream, up_to }),
        1 => (0_u8..16).prop_map(|mask| Step::Subscribe { mask }),
        1 => any::<u8>().prop_map(|value| Step::PutState { value }),
        1 => Just(Step::Reopen),
        1 => Just(Step::Crash),
        2 => damage.prop_map(Step::Damage),
    ];
    proptest::collection::vec(step, 1..40)
}

fn streams() -> [StreamId; 2] {
    [audit(), stream(StreamKind::Content)]
}

fn sinks() -> [SinkName; 2] {
    [sink("one"), sink("two")]
}

/// The minute of an event follows from its id.
fn minute_of(id: u16) -> i64 {
    i64::from(id) * 7 % 600
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Kept {
    id: u16,
    position: u64,
}

/// What the journal is expected to hold.
#[derive(Clone, Debug, Default)]
struct Model {
    events: BTreeMap<StreamId, Vec<Kept>>,
    coverage: BTreeMap<StreamId, Coverage>,
    acks: BTreeMap<(SinkName, StreamId), u64>,
    state: Option<u8>,
    head: u64,
    /// Positions that everybody was done with at some time: those events may be deleted, and need not.
    settled: BTreeSet<u64>,
    /// Ids that must be known.
    known: BTreeSet<(StreamId, u16)>,
    /// Ids that must be counted. Those of a lost record are not, once their time is open again: Miro is asked for them.
    counted: BTreeSet<(StreamId, u16)>,
    /// Slots of which the model cannot tell whether an event in them was lost.
    open: BTreeSet<(StreamId, Slot)>,
    /// Ids that may have been forgotten together with damaged ones.
    doubtful: BTreeSet<(StreamId, u16)>,
}

impl Model {
    fn settle(&mut self) {
        for (stream, events) in &self.events {
            let done = self.acks.iter().filter(|((_, of), _)| of == stream).map(|(_, acked)| *acked).min();
            let settled = |event: &&Kept| match done {
                Some(done) => event.position <= done,
                // While others are subscribed, a stream without a subscriber is kept for nobody.
                None => !self.acks.is_empty(),
            };
            self.settled.extend(events.iter().filter(settled).map(|event| event.position));
        }
    }
}

/// How far the journal may differ from the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tolerance {
    /// Not at all.
    Exact,
    /// Acknowledgements may go back.
    Redelivery,
    /// Records may be lost, and then what they proved is open.
    Loss,
}

struct World {
    root: tempfile::TempDir,
    generation: u32,
    dir: PathBuf,
    journal: Option<DiskJournal>,
    model: Model,
    was_damaged: bool,
}

impl World {
    fn new() -> Self {
        let root = tempfile::tempdir().expect("a directory");
        let dir = root.path().join("0");
        let mut world = Self { root, generation: 0, dir, journal: None, model: Model::default(), was_damaged: false };
        world.open();
        world
    }

    fn open(&mut self) {
        self.journal = None;
        fs::create_dir_all(&self.dir).expect("creates");
        self.journal = Some(DiskJournal::open_tuned(options(&self.dir), tuning(3_000)).expect("the journal opens whatever was done to it"));
    }

    fn journal(&self) -> &DiskJournal {
        self.journal.as_ref().expect("open")
    }

    async fn step(&mut self, step: &Step) {
        self.take(step).await;
        self.model.settle();
    }

    async fn take(&mut self, step: &Step) {
        match step {
            Step::Commit { stream, ids, change } => self.commit(&streams()[*stream], ids, change).await,
            Step::Ack { sink, stream, up_to } => self.ack(&sinks()[*sink], &streams()[*stream], *up_to).await,
            Step::Subscribe { mask } => self.subscribe(*mask).await,
            Step::PutState { value } => {
                self.journal().put_state("key", vec![*value]).await.expect("stores");
                self.model.state = Some(*value);
            }
            Step::Reopen => {
                self.journal().close().await.expect("closes");
                self.remember_this_start();
                self.open();
                self.compare(Tolerance::Exact).await;
            }
            Step::Crash => {
                self.crash().await;
                self.remember_this_start();
                self.open();
                self.compare(Tolerance::Exact).await;
            }
            Step::Damage(damage) => {
                self.crash().await;
                let tolerance = self.damage(damage);
                self.open();
                self.compare(tolerance).await;
                self.remember_this_start();
            }
        }
    }

    async fn commit(&mut self, stream: &StreamId, ids: &[u16], change: &Change) {
        if !self.model.coverage.contains_key(stream) {
            self.journal().commit(begin(stream)).await.expect("begins");
            self.model.coverage.insert(stream.clone(), Coverage::starting_at(minute(0)));
        }
        let change = match change {
            Change::None => CoverageChange::None,
            Change::Next { length } => {
                let from = (self.model.coverage[stream].newest().since(minute(0)).as_secs() / 60) as i64;
                CoverageChange::Add(minutes(from, from + length))
            }
            Change::Anywhere { from, length } => CoverageChange::Add(minutes(*from, from + length)),
        };
        let events = ids.iter().map(|id| event(&id.to_string(), minute_of(*id))).collect();
        let committed = self.journal().commit(page(stream, events, change)).await;
        let mut coverage = self.model.coverage[stream].clone();
        if let CoverageChange::Add(range) = change
            && let Err(overlap) = coverage.add(range)
        {
            assert!(matches!(committed, Err(JournalError::Overlap(refused)) if refused == overlap));
            return;
        }
        let committed = committed.expect("commits");
        assert_eq!(committed.coverage, coverage);
        self.model.coverage.insert(stream.clone(), coverage);
        for (id, fresh) in ids.iter().zip(&committed.fresh) {
            let key = (stream.clone(), *id);
            let doubtful = self.model.doubtful.remove(&key);
            assert!(!(*fresh && self.model.known.contains(&key)) || doubtful, "{id} is known and was taken again");
            assert!(*fresh || self.model.known.contains(&key), "{id} is new and was left out");
            self.model.known.insert(key.clone());
            self.model.counted.insert(key);
            if *fresh {
                self.model.head += 1;
                let position = self.model.head;
                self.model.events.entry(stream.clone()).or_default().push(Kept { id: *id, position });
            }
        }
        assert_eq!(committed.head.0, self.model.head);
    }

    async fn ack(&mut self, sink: &SinkName, stream: &StreamId, up_to: u64) {
        self.journal().ack(sink, stream, Position(up_to)).await.expect("acks");
        let head = self.model.head;
        if let Some(acked) = self.model.acks.get_mut(&(sink.clone(), stream.clone())) {
            *acked = (*acked).max(up_to.min(head));
        }
    }

    async fn subscribe(&mut self, mask: u8) {
        let all = sinks().into_iter().flat_map(|sink| streams().map(|stream| (sink.clone(), stream)));
        let wanted: Vec<_> = all.enumerate().filter(|(bit, _)| mask & (1 << bit) != 0).map(|(_, key)| key).collect();
        self.journal().subscribe(wanted.clone()).await.expect("subscribes");
        let head = self.model.head;
        self.model.acks = wanted.into_iter().map(|key| (key.clone(), self.model.acks.get(&key).copied().unwrap_or(head))).collect();
    }

    /// Takes a copy of the directory while the journal is open, and goes on with that.
    async fn crash(&mut self) {
        // The writer answers a commit before it saves checkpoints; it answers this when it has.
        self.journal().ack(&sink("nobody"), &audit(), Position(0)).await.expect("answers");
        self.generation += 1;
        let copy = self.root.path().join(self.generation.to_string());
        copy_dir(&self.dir, &copy);
        self.journal = None;
        self.dir = copy;
    }

    fn earlier(&self) -> PathBuf {
        self.root.path().join("earlier")
    }

    /// Keeps the directory as it is while nobody uses it.
    fn remember_this_start(&mut self) {
        let was_open = self.journal.take().is_some();
        if self.earlier().exists() {
            fs::remove_dir_all(self.earlier()).expect("removes");
        }
        copy_dir(&self.dir, &self.earlier());
        if was_open {
            self.open();
        }
    }

    fn damage(&self, damage: &Damage) -> Tolerance {
        let checkpoints = self.dir.join("checkpoints");
        match damage {
            Damage::Torn { bytes } => {
                let newest = segments(&self.dir).pop().expect("there is one");
                let file = fs::OpenOptions::new().write(true).open(&newest).expect("opens");
                let len = file.metadata().expect("there").len();
                file.set_len(len.saturating_sub(u64::from(*bytes))).expect("cuts");
                Tolerance::Loss
            }
            Damage::Flip { file, at, bit } => {
                let files = all_files(&self.dir);
                let path = &files[usize::from(*file) % files.len()];
                println!("flips bit {bit} at {at} of {}", path.display());
                change(path, *at as usize, |bytes| bytes[0] ^= 1 << bit);
                Tolerance::Loss
            }
            Damage::Zeros { file, at, len } => {
                let files = segments(&self.dir);
                let path = &files[usize::from(*file) % files.len()];
                change(path, *at as usize, |bytes| {
                    let len = bytes.len().min(usize::from(*len));
                    bytes[..len].fill(0);
                });
                Tolerance::Loss
            }
            Damage::SegmentGone { file } => {
                let files = segments(&self.dir);
                fs::remove_file(&files[usize::from(*file) % files.len()]).expect("removes");
                Tolerance::Loss
            }
            Damage::CheckpointsGone => {
                fs::remove_dir_all(checkpoints).expect("removes");
                Tolerance::Redelivery
            }
            Damage::CheckpointsEmptied => {
                fs::write(checkpoints.join("db"), b"").expect("writes");
                Tolerance::Redelivery
            }
            Damage::CheckpointsGarbage => {
                for file in all_files(&checkpoints) {
                    fs::write(file, b"this is no database at all".repeat(400)).expect("writes");
                }
                Tolerance::Redelivery
            }
            Damage::CheckpointsOld => {
                if self.earlier().exists() {
                    fs::remove_dir_all(&checkpoints).expect("removes");
                    copy_dir(&self.earlier().join("checkpoints"), &checkpoints);
                }
                Tolerance::Redelivery
            }
            Damage::LogOld => {
                if self.earlier().exists() {
                    fs::remove_dir_all(self.dir.join("journal")).expect("removes");
                    copy_dir(&self.earlier().join("journal"), &self.dir.join("journal"));
                }
                Tolerance::Loss
            }
            Damage::IdsGone => {
                fs::remove_dir_all(self.dir.join("seen")).expect("removes");
                Tolerance::Loss
            }
        }
    }

    /// Compares, and then takes the journal's word for what it may decide.
    async fn compare(&mut self, tolerance: Tolerance) {
        let (lost, read) = self.compare_events(tolerance).await;
        self.compare_acks(tolerance);
        self.compare_coverage(tolerance, &lost);
        self.was_damaged |= tolerance == Tolerance::Loss;
        if tolerance == Tolerance::Loss {
            self.forget_what_is_open(&lost, &read);
        }
        self.compare_tallies().await;
        if tolerance == Tolerance::Loss {
            let head = self.journal().head().borrow().0;
            self.model.head = head;
            self.model.doubtful = self.model.known.clone();
            for (stream, id) in &lost {
                // Whatever is gone is taken when it comes again, unless it is here all the same.
                self.model.known.remove(&(stream.clone(), *id));
            }
            self.model.state = self.journal().state("key").map(|value| value[0]);
            for (stream, events) in read {
                self.model.events.insert(stream, events);
            }
        } else {
            assert_eq!(self.journal().state("key"), self.model.state.map(|value| vec![value]));
            assert_eq!(self.journal().head().borrow().0, self.model.head);
        }
    }

    async fn compare_events(&mut self, tolerance: Tolerance) -> (Vec<(StreamId, u16)>, BTreeMap<StreamId, Vec<Kept>>) {
        let (mut lost, mut all) = (Vec::new(), BTreeMap::new());
        for stream in streams() {
            let read = read_all(self.journal(), &stream, 0, 5).await;
            let kept: Vec<Kept> = read.iter().map(checked).collect();
            let model = self.model.events.get(&stream).cloned().unwrap_or_default();
            let mut rest = model.iter();
            for event in &kept {
                assert!(rest.any(|expected| expected == event), "{event:?} was invented, moved or out of order in {stream}");
            }
            for event in model.iter().filter(|event| !kept.contains(event) && !self.model.settled.contains(&event.position)) {
                assert_eq!(tolerance, Tolerance::Loss, "{event:?} of {stream} is gone");
                lost.push((stream.clone(), event.id));
            }
            all.insert(stream, kept);
        }
        (lost, all)
    }

    /// What is gone from the log and whose time is not covered will be listed by Miro again, and counted then.
    fn forget_what_is_open(&mut self, lost: &[(StreamId, u16)], read: &BTreeMap<StreamId, Vec<Kept>>) {
        for stream in streams() {
            let coverage = self.journal().coverage(&stream);
            let kept = |id: u16| read[&stream].iter().any(|kept| kept.id == id);
            let open = |id: u16| coverage.as_ref().is_none_or(|held| !held.contains(minute(minute_of(id))));
            let gone = |key: &&(StreamId, u16)| key.0 == stream && (lost.contains(key) || (open(key.1) && !kept(key.1)));
            let ids: Vec<u16> = self.model.counted.iter().filter(gone).map(|(_, id)| *id).collect();
            let slots = counted(ids.iter().map(|id| (id.to_string(), minute_of(*id))));
            self.model.open.extend(slots.into_keys().map(|slot| (stream.clone(), slot)));
            self.model.counted.retain(|key| key.0 != stream || !ids.contains(&key.1));
        }
    }

    /// What a tally calls exact is the truth, whatever was done to the files; and without damage all of it is exact.
    async fn compare_tallies(&mut self) {
        for stream in streams() {
            let ids = self.model.counted.iter().filter(|key| key.0 == stream);
            let truth = counted(ids.map(|(_, id)| (id.to_string(), minute_of(*id))));
            let told = tallies(self.journal(), &stream).await;
            if !self.was_damaged {
                assert_counted(&told, &truth);
                continue;
            }
            let is_open = |slot: Slot| self.model.open.contains(&(stream.clone(), slot));
            for row in told.rows.iter().filter(|row| row.exact && !is_open(row.slot)) {
                let expected = truth.get(&row.slot).copied().unwrap_or_default();
                assert_eq!(Tally { duplicates: 0, ..row.tally }, expected, "{stream} {row:?}");
            }
            for (slot, expected) in &truth {
                let Slot::Hour(begins) = slot else { continue };
                let is_sure = told.unsure.iter().all(|range| !range.contains(*begins));
                let is_told = told.rows.iter().any(|row| row.slot == *slot);
                assert!(is_told || !is_sure || is_open(*slot), "{stream} {slot:?} is empty for sure, and had {expected:?}");
            }
        }
    }

    fn compare_acks(&mut self, tolerance: Tolerance) {
        let head = self.journal().head().borrow().0;
        for sink in sinks() {
            for stream in streams() {
                let key = (sink.clone(), stream.clone());
                let acked = self.journal().acked(&sink, &stream).map(|position| position.0);
                let expected = self.model.acks.get(&key).copied();
                match tolerance {
                    Tolerance::Exact => assert_eq!(acked, expected),
                    Tolerance::Redelivery => {
                        assert_eq!(acked.is_some(), expected.is_some());
                        assert!(acked <= expected, "{acked:?} is ahead of {expected:?}");
                    }
                    Tolerance::Loss => assert!(acked.is_none_or(|acked| acked <= head), "{acked:?} is ahead of {head}"),
                }
                self.model.acks.remove(&key);
                self.model.acks.extend(acked.map(|acked| (key, acked)));
            }
        }
    }

    fn compare_coverage(&mut self, tolerance: Tolerance, lost: &[(StreamId, u16)]) {
        for stream in streams() {
            let coverage = self.journal().coverage(&stream);
            let expected = self.model.coverage.get(&stream).cloned();
            if tolerance != Tolerance::Loss {
                assert_eq!(coverage, expected);
            }
            if let Some(coverage) = &coverage {
                let expected = expected.as_ref().expect("no stream is invented");
                assert_eq!(coverage.origin(), expected.origin());
                for range in coverage.ranges() {
                    assert_eq!(expected.missing(*range), [], "{range} was never collected");
                }
                for (_, id) in lost.iter().filter(|(of, _)| *of == stream) {
                    assert!(!coverage.contains(minute(minute_of(*id))), "{id} of {stream} is lost and its time is not open");
                }
            }
            self.model.coverage.remove(&stream);
            self.model.coverage.extend(coverage.map(|coverage| (stream, coverage)));
        }
    }
}

/// An event as the model knows it, after a look at its bytes.
fn checked(event: &Event) -> Kept {
    let id: u16 = event.id.as_str().parse().expect("one of ours");
    assert_eq!(event.raw, raw(event.id.as_str(), minute_of(id)));
    assert_eq!(event.time, Some(minute(minute_of(id))));
    Kept { id, position: event.position.0 }
}

fn all_files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).expect("lists") {
        let path = entry.expect("lists").path();
        if path.is_dir() { files.extend(all_files(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}

fn change(path: &Path, at: usize, change: impl FnOnce(&mut [u8])) {
    let mut bytes = fs::read(path).expect("reads");
    if !bytes.is_empty() {
        let at = at % bytes.len();
        change(&mut bytes[at..]);
        fs::write(path, bytes).expect("writes");
    }
}

fn run(steps: &[Step]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut world = World::new();
        for step in steps {
            world.step(step).await;
        }
        world.step(&Step::Crash).await;
        world.step(&Step::Reopen).await;
    });
}

/// Each case opens the journal a dozen times; `PROPTEST_CASES=1000` looks deeper.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(48)
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("tests/journal/model.proptest-regressions"))),
        max_shrink_iters: 400,
        cases: cases(),
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_journal_does_what_the_model_does_whatever_happens_to_its_files(steps in steps()) {
        run(&steps);
    }
}

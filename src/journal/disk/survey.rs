//! What the segments hold, and what is missing from them: the first half of opening a journal. Changes nothing on disk except that
//! damaged bytes are copied to the quarantine.

use std::{fs::File, io::ErrorKind, sync::Arc};

use tracing::warn;

use super::{
    Tuning,
    damage::Loss,
    examine::{Examined, begins_with_snapshot, examine},
    ledger::Ledger,
    lock::{Paths, failed},
    quarantine,
    record::VERSION,
    scan::ScanError,
    segment::{IndexAt, Segment, SegmentName},
    sequences::Sequences,
};
use crate::journal::JournalError;

/// A segment that was found.
#[derive(Debug)]
pub(super) struct FoundSegment {
    pub(super) file: Arc<File>,
    pub(super) segment: Segment,
    /// Where its valid part ends, if it has no seal.
    pub(super) unsealed_at: Option<u64>,
}

/// What was found, and what was not.
#[derive(Debug)]
pub(super) struct Survey<'a> {
    pub(super) tuning: &'a Tuning,
    pub(super) paths: &'a Paths,
    /// All that the log proves.
    pub(super) ledger: Ledger,
    pub(super) found: Vec<FoundSegment>,
    /// Whether there was a snapshot to begin with.
    pub(super) grounded: bool,
    /// Records that are gone, found for the first time.
    pub(super) lost: Sequences,
    /// How many positions went with records that tell nothing.
    pub(super) lost_positions: u64,
    pub(super) loss: Loss,
    /// The newest segment as it was read.
    pub(super) newest: Option<Examined>,
    /// Records that are known to be gone since an earlier start.
    known: Sequences,
}

impl<'a> Survey<'a> {
    /// Looks at all segments of a directory.
    pub(super) fn of(paths: &'a Paths, tuning: &'a Tuning, loss: Loss) -> Result<Self, JournalError> {
        let mut survey = Self {
            tuning,
            paths,
            ledger: Ledger { next_position: 1, ..Ledger::default() },
            found: Vec::new(),
            grounded: false,
            lost: Sequences::default(),
            lost_positions: 0,
            loss,
            newest: None,
            known: Sequences::default(),
        };
        let names = list(paths)?;
        let start = survey.replay_start(&names)?;
        for (at, name) in names.iter().enumerate() {
            let next = names.get(at + 1).copied();
            if at < start {
                survey.look_at(*name, next)?;
            } else {
                survey.replay(*name, next)?;
            }
        }
        survey.miss_the_oldest();
        Ok(survey)
    }

    /// Segments that are missing at the front without a word in the log that they were deleted.
    fn miss_the_oldest(&mut self) {
        let Some(first) = self.found.first().map(|found| found.segment.name.first_sequence).filter(|_| self.grounded) else { return };
        let fresh = self.known.missing(self.ledger.oldest, first.saturating_sub(1));
        if self.ledger.oldest < first && !fresh.is_empty() {
            warn!(records = fresh.len(), "the oldest journal records are gone; the hours of their events are collected again");
            fresh.iter().for_each(|(from, to)| self.lost.insert(from, to));
            // How many events were in them cannot be told any more.
            self.lost_positions += 1;
        }
    }

    /// The newest segment that begins with a snapshot. Without one, everything there is is replayed.
    fn replay_start(&mut self, names: &[SegmentName]) -> Result<usize, JournalError> {
        for (at, name) in names.iter().enumerate().rev() {
            let file = self.open(*name)?;
            if begins_with_snapshot(&file).map_err(|error| self.scan_failed(*name, error))? {
                self.grounded = true;
                self.known = self.snapshot(*name)?.lost;
                return Ok(at);
            }
        }
        Ok(0)
    }

    /// A segment in front of the replay: its seal tells enough, unless records are missing behind it.
    fn look_at(&mut self, name: SegmentName, next: Option<SegmentName>) -> Result<(), JournalError> {
        let file = self.open(name)?;
        let end = next.map_or(u64::MAX, |next| next.first_sequence);
        let sealed = Segment::from_seal(name, &file).map_err(failed("read", &name.path(&self.paths.log)))?;
        if let Some(segment) = sealed.filter(|segment| self.known.missing(segment.last_sequence + 1, end - 1).is_empty()) {
            self.found.push(FoundSegment { file, segment, unsealed_at: None });
            return Ok(());
        }
        let mut proven = Ledger::default();
        let examined = examine(&file, name, end, &mut proven).map_err(|error| self.scan_failed(name, error))?;
        if let Some(next) = next
            && self.take_losses(&file, &examined, name, next)
        {
            let claimed = self.snapshot(next)?.coverage;
            self.loss.difference(&claimed, &proven.coverage);
        }
        self.keep(name, file, &examined)
    }

    /// A segment of the replay: read whole, its records applied to the ledger.
    fn replay(&mut self, name: SegmentName, next: Option<SegmentName>) -> Result<(), JournalError> {
        let file = self.open(name)?;
        let end = next.map_or(u64::MAX, |next| next.first_sequence);
        let examined = examine(&file, name, end, &mut self.ledger).map_err(|error| self.scan_failed(name, error))?;
        if let Some(next) = next {
            self.take_losses(&file, &examined, name, next);
        } else {
            let fresh = new_ones(&examined.missing, &self.known);
            let inner = examined.damage.iter().filter(|(from, _)| *from < examined.valid_to);
            if !fresh.is_empty() {
                self.count(name, &file, &examined, &fresh, examined.missing_positions, inner.copied());
            }
        }
        self.keep(name, file, &examined)?;
        if next.is_none() {
            // A torn record at the end was most likely never acknowledged. In case it was, its time is collected again: that costs
            // a few requests, and only ids that are not known lead to anything.
            let torn = examined.broken.iter().filter(|broken| broken.sequence > examined.last_sequence);
            torn.filter_map(|broken| Some((broken.facts.as_ref()?, broken.collected_at))).for_each(|(facts, at)| self.loss.torn(facts, at));
            self.newest = Some(examined);
        }
        Ok(())
    }

    fn keep(&mut self, name: SegmentName, file: Arc<File>, examined: &Examined) -> Result<(), JournalError> {
        let path = name.path(&self.paths.log);
        let streams = examined.index.summaries();
        let sealed = Segment::from_seal(name, &file).map_err(failed("read", &path))?;
        let fits = |segment: &Segment| segment.last_sequence == examined.last_sequence && segment.streams == streams;
        if let Some(segment) = sealed.filter(fits) {
            self.found.push(FoundSegment { file, segment, unsealed_at: None });
            return Ok(());
        }
        let segment = Segment {
            name,
            bytes: file.metadata().map_err(failed("look at", &path))?.len(),
            last_sequence: examined.last_sequence,
            next_position: examined.next_position,
            streams,
            index: IndexAt::Memory(Arc::new(examined.index.clone())),
        };
        self.found.push(FoundSegment { file, segment, unsealed_at: Some(examined.valid_to) });
        Ok(())
    }

    /// Takes note of what is missing inside a segment and between it and the next. Returns whether there was anything new.
    fn take_losses(&mut self, file: &File, examined: &Examined, name: SegmentName, next: SegmentName) -> bool {
        let mut missing = examined.missing.clone();
        missing.insert(examined.last_sequence + 1, next.first_sequence.saturating_sub(1));
        let fresh = new_ones(&missing, &self.known);
        if fresh.is_empty() {
            return false;
        }
        let positions = examined.missing_positions + next.first_position.saturating_sub(examined.next_position);
        self.count(name, file, examined, &fresh, positions, examined.damage.iter().copied());
        true
    }

    /// Takes note of what others know to have come behind the end of the log.
    pub(super) fn take_tail_losses(&mut self, heard: u64, positions: u64) {
        let newest = self.ledger.sequence;
        let lost = Sequences::of(newest + 1, heard);
        if let (Some(examined), Some((file, name))) =
            (self.newest.take(), self.found.last().map(|found| (found.file.clone(), found.segment.name)))
        {
            let behind = examined.damage.iter().filter(|(from, _)| *from >= examined.valid_to).copied().collect::<Vec<_>>();
            self.count(name, &file, &examined, &lost, positions, behind.into_iter());
            return;
        }
        warn!(records = lost.len(), events = positions, "the newest journal records are gone; their time is collected again");
        self.lost.insert(newest + 1, heard);
        self.lost_positions += positions;
    }

    /// Notes lost records, keeps what is left of them, and names them.
    fn count(
        &mut self,
        name: SegmentName,
        file: &File,
        examined: &Examined,
        fresh: &Sequences,
        positions: u64,
        damage: impl Iterator<Item = (u64, u64)>,
    ) {
        let mut told = 0;
        for broken in examined.broken.iter().filter(|broken| fresh.contains(broken.sequence)) {
            if let Some(facts) = &broken.facts {
                self.loss.page(facts, broken.collected_at);
                told += u64::from(broken.count);
            }
        }
        let keep = |(from, to)| quarantine::keep(&*self.tuning.storage, self.paths, file, &name.to_string(), from, to);
        let kept: Vec<String> = damage.filter_map(keep).map(|path| path.display().to_string()).collect();
        warn!(segment = %name, records = fresh.len(), events = positions, ?kept, "journal records are damaged or gone; their time is collected again");
        for (from, to) in fresh.iter() {
            self.lost.insert(from, to);
        }
        self.lost_positions += positions.saturating_sub(told);
    }

    /// The snapshot that a segment begins with; an empty ledger where there is none.
    fn snapshot(&self, name: SegmentName) -> Result<Ledger, JournalError> {
        let mut ledger = Ledger::default();
        examine(&*self.open(name)?, name, name.first_sequence + 1, &mut ledger).map_err(|error| self.scan_failed(name, error))?;
        Ok(ledger)
    }

    fn open(&self, name: SegmentName) -> Result<Arc<File>, JournalError> {
        let path = name.path(&self.paths.log);
        let opened = File::options().read(true).write(true).open(&path).or_else(|error| match error.kind() {
            // To look is possible all the same, and whoever wants to write is told then.
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => File::open(&path),
            _ => Err(error),
        });
        opened.map(Arc::new).map_err(failed("open", &path))
    }

    pub(super) fn scan_failed(&self, name: SegmentName, error: ScanError) -> JournalError {
        let path = name.path(&self.paths.log);
        let version = match error {
            ScanError::Io(error) => return failed("read", &path)(error),
            ScanError::Newer(version) => version,
        };
        let problem =
            format!("a newer version of miro-siem wrote it (record version {version}, this one reads up to {VERSION}); run that version");
        JournalError::Corrupt { path: path.display().to_string(), problem }
    }
}

fn list(paths: &Paths) -> Result<Vec<SegmentName>, JournalError> {
    let entries = std::fs::read_dir(&paths.log).map_err(failed("list", &paths.log))?;
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed("list", &paths.log))?;
        names.extend(entry.file_name().to_str().and_then(SegmentName::parse));
    }
    names.sort_unstable();
    Ok(names)
}

/// The numbers of `missing` that are not `known`.
fn new_ones(missing: &Sequences, known: &Sequences) -> Sequences {
    let mut fresh = Sequences::default();
    for (from, to) in missing.iter().flat_map(|(from, to)| known.missing(from, to).iter().collect::<Vec<_>>()) {
        fresh.insert(from, to);
    }
    fresh
}

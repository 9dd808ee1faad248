//! Tallies on disk: `tallies/<org>/<stream>/<month>.tallies`, and in memory what came since those were written.
//!
//! Counts are not idempotent, so each file says up to which record it counts. What came behind that is in memory, and after a crash
//! it is counted again from the log; a segment is deleted only when all of it is in the files. Memory holds a row for each hour that
//! was touched since, and the writer has them written before there are many.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use tracing::warn;

use super::{
    damage::Doubt,
    dirs::{create_below, entries, stream_dir, streams_in},
    lock::Paths,
    page::Bucket,
    quarantine,
    storage::{Storage, remove_if_there, replace},
    tally::{Month, PageTally, hour_begins, hour_of, is_counted, slot},
    tallyfile::{FILE_BYTES_MAX, Listed, Manifest, MonthTally, Row, Unusable},
};
use crate::{
    event::{StreamId, TimeRange, Timestamp},
    journal::proof::{Counted, Slot, Tallies},
};

const MANIFEST: &str = "months";
const EXTENSION: &str = "tallies";
const HOUR: Duration = Duration::from_secs(3_600);

/// How long tallies are kept: a year and a month, so that a yearly audit can look back at a whole year.
const KEPT: Duration = Duration::from_secs(400 * 86_400);

/// So many rows in memory are written out; 120 bytes each, and about as much again.
const ROWS_MAX: usize = 4_096;

/// How long counts may wait for their files: the log has those of events, but nothing has those of repeats.
const FLUSH_AFTER: Duration = Duration::from_secs(600);

/// A month of a stream.
type Key = (StreamId, Month);

/// The tallies.
pub(super) struct TallyStore {
    storage: Arc<dyn Storage>,
    dir: PathBuf,
    paths: Paths,
    /// As it is on disk, but for changes that the next flush writes.
    manifest: Manifest,
    /// The files that there are, and the record that each counts up to.
    files: BTreeMap<Key, u64>,
    /// What is not in the files yet.
    pending: BTreeMap<Key, MonthTally>,
    rows: usize,
    since: Option<Instant>,
    unsynced: BTreeSet<PathBuf>,
    /// The month that was read last.
    recent: Option<(Key, MonthTally)>,
}

/// What lies in the directory, before it is known to which journal it belongs.
#[derive(Debug, Default)]
pub(super) struct Found {
    manifest: Option<Manifest>,
    files: Vec<(Key, PathBuf, MonthTally)>,
    broken: Vec<(Option<Key>, PathBuf, &'static str)>,
}

impl Found {
    /// Reads and checks everything. Fails where a newer program has been.
    pub(super) fn read(dir: &Path) -> io::Result<Self> {
        let mut found = Self::default();
        let path = dir.join(MANIFEST);
        match read_file(&path)?.map(|bytes| Manifest::decode(&bytes)) {
            None => {}
            Some(Ok(manifest)) => found.manifest = Some(manifest),
            Some(Err(Unusable::Newer(newer))) => return Err(newer.refusal(&path)),
            Some(Err(Unusable::Damaged(problem))) => found.broken.push((None, path, problem)),
        }
        for (stream, path) in months(dir)? {
            let Some(month) = month_of(&path) else { continue };
            let key = (stream, month);
            match read_file(&path)?.map(|bytes| MonthTally::decode(&bytes)) {
                None => {}
                Some(Ok(month)) => found.files.push((key, path, month)),
                Some(Err(Unusable::Newer(newer))) => return Err(newer.refusal(&path)),
                Some(Err(Unusable::Damaged(problem))) => found.broken.push((Some(key), path, problem)),
            }
        }
        Ok(found)
    }

    /// The newest record of that journal which is counted in a file: the log must have had it.
    pub(super) fn reached(&self, journal: u64) -> u64 {
        let manifest = self.manifest.iter().filter(|manifest| manifest.journal == journal).map(|manifest| manifest.through);
        let files = self.files.iter().filter(|(.., month)| month.journal == journal).map(|(.., month)| month.through);
        manifest.chain(files).max().unwrap_or(0)
    }
}

/// What recovery has to count again.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Recount {
    /// From this record on.
    pub(super) from: u64,
    /// There is no list of files: tallies have never been kept here, or it is not known which there were.
    pub(super) unlisted: bool,
    /// Files that there were and that cannot be used.
    pub(super) gone: Vec<Key>,
}

impl TallyStore {
    /// From what was found, for that journal: damaged files and those of another journal do not count.
    pub(super) fn new(storage: Arc<dyn Storage>, paths: &Paths, found: &Found, journal: u64) -> (Self, Recount) {
        let ours = found.manifest.as_ref().filter(|manifest| manifest.journal == journal);
        let mut manifest = ours.cloned().unwrap_or_default();
        manifest.journal = journal;
        let files: BTreeMap<Key, u64> =
            found.files.iter().filter(|(.., month)| month.journal == journal).map(|(key, _, month)| (key.clone(), month.through)).collect();
        let broken = found.broken.iter().filter_map(|(key, ..)| key.clone());
        let listed = manifest.streams.iter().flat_map(|(stream, listed)| listed.months.iter().map(|month| (stream.clone(), *month)));
        let gone: BTreeSet<Key> = listed.chain(broken).filter(|key| !files.contains_key(key)).collect();
        let recount = Recount {
            from: if ours.is_none() || !gone.is_empty() { 0 } else { manifest.through + 1 },
            unlisted: ours.is_none(),
            gone: gone.into_iter().collect(),
        };
        let store = Self {
            storage,
            dir: paths.tallies.clone(),
            paths: paths.clone(),
            manifest,
            files,
            pending: BTreeMap::new(),
            rows: 0,
            since: None,
            unsynced: BTreeSet::new(),
            recent: None,
        };
        (store, recount)
    }

    /// Moves what does not count out of the way, and names it.
    pub(super) fn set_aside(&self, found: &Found) {
        let foreign = found.files.iter().filter(|(.., month)| month.journal != self.manifest.journal);
        let foreign = foreign.map(|(_, path, _)| (path, "it belongs to another journal"));
        for (path, problem) in found.broken.iter().map(|(_, path, problem)| (path, *problem)).chain(foreign) {
            quarantine::set_tallies_aside(&self.paths, path, problem);
        }
    }

    /// Whether any event was ever counted.
    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty() && self.pending.is_empty()
    }

    /// All records up to this one are in the files.
    pub(super) fn through(&self) -> u64 {
        self.manifest.through
    }

    /// Counts what a published record, or a listing that left no record, has added.
    pub(super) fn add(&mut self, stream: &StreamId, tally: &PageTally) {
        for (bucket, tally) in tally {
            self.add_row(stream, *bucket, &Row { tally: *tally, exact: true });
        }
    }

    /// Counts a record of the log again, where its file does not have it.
    pub(super) fn replay(&mut self, stream: &StreamId, sequence: u64, tally: &PageTally) {
        for (bucket, tally) in tally {
            let counted = self.files.get(&(stream.clone(), Month::of(*bucket))).is_some_and(|through| sequence <= *through);
            if !counted {
                self.add_row(stream, *bucket, &Row { tally: *tally, exact: true });
            }
        }
    }

    /// Notes that a slot may miss events or count some twice.
    pub(super) fn doubt(&mut self, stream: &StreamId, bucket: Bucket) {
        if !is_counted(bucket) {
            return;
        }
        self.add_row(stream, bucket, &Row { exact: false, ..Row::default() });
    }

    /// The same for all hours of a range, as far as tallies are kept.
    pub(super) fn doubt_range(&mut self, stream: &StreamId, range: TimeRange) {
        let to = hour_of(range.to());
        let from = hour_of(range.from()).max(to.saturating_sub(i32::try_from(KEPT.as_secs() / 3_600).unwrap_or(i32::MAX)));
        // An hour that the range only touches is part of it.
        let last = if hour_begins(to) < range.to() { to } else { to.saturating_sub(1) };
        (from..=last).for_each(|hour| self.doubt(stream, Bucket::Hour(hour)));
    }

    /// The same for all that was lost.
    pub(super) fn doubt_all(&mut self, doubts: Vec<(StreamId, Doubt)>) {
        for (stream, doubt) in doubts {
            match doubt {
                Doubt::Bucket(bucket) => self.doubt(&stream, bucket),
                Doubt::Range(range) => self.doubt_range(&stream, range),
            }
        }
    }

    /// The same for everything up to a time.
    pub(super) fn doubt_before(&mut self, stream: &StreamId, time: Timestamp) {
        let listed = self.manifest.streams.entry(stream.clone()).or_default();
        // An event may lie a little behind what is covered, so the hour after that is not certain either.
        listed.exact_from_hour = listed.exact_from_hour.max(hour_of(time.plus(HOUR)).saturating_add(1));
        self.since.get_or_insert_with(Instant::now);
    }

    /// The same for a whole month.
    pub(super) fn doubt_month(&mut self, key: &Key) {
        self.pending.entry(key.clone()).or_default().partial = true;
        self.since.get_or_insert_with(Instant::now);
    }

    fn add_row(&mut self, stream: &StreamId, bucket: Bucket, row: &Row) {
        let month = self.pending.entry((stream.clone(), Month::of(bucket))).or_default();
        let before = month.rows.len();
        month.rows.entry(bucket).or_default().add(row);
        self.rows += month.rows.len() - before;
        self.since.get_or_insert_with(Instant::now);
    }

    /// Compares the ids that are remembered of a slot with the events that were counted in it. Where they are not as many, an event may
    /// be counted twice from now on, or has been lost from the count: the slot is in doubt, and the answer is false.
    pub(super) fn compare(&mut self, stream: &StreamId, bucket: Bucket, ids: u64) -> io::Result<bool> {
        // Events whose time cannot be are counted with those that have none, and their ids are not remembered there.
        if !is_counted(bucket) || matches!(bucket, Bucket::Undated(_)) {
            return Ok(true);
        }
        let row = self.row(stream, bucket)?.unwrap_or_default();
        if row.tally.collected == ids || !row.exact || !self.is_sure(stream, bucket)? {
            return Ok(true);
        }
        warn!(
            %stream, slot = ?slot(bucket), ids, counted = row.tally.collected,
            "remembered ids are not as many as events were counted; an event of that time may be delivered once more"
        );
        self.doubt(stream, bucket);
        Ok(false)
    }

    fn row(&mut self, stream: &StreamId, bucket: Bucket) -> io::Result<Option<Row>> {
        let key = (stream.clone(), Month::of(bucket));
        let mut row = self.month(&key)?.rows.get(&bucket).copied();
        if let Some(more) = self.pending.get(&key).and_then(|month| month.rows.get(&bucket)) {
            row.get_or_insert_default().add(more);
        }
        Ok(row)
    }

    fn is_sure(&mut self, stream: &StreamId, bucket: Bucket) -> io::Result<bool> {
        let key = (stream.clone(), Month::of(bucket));
        let partial = self.month(&key)?.partial || self.pending.get(&key).is_some_and(|month| month.partial);
        let from = self.manifest.streams.get(stream).map_or(i32::MIN, |listed| listed.exact_from_hour);
        Ok(!partial && first_hour(bucket) >= from)
    }

    /// A month's file; empty where there is none. One that has been damaged since the start is set aside, and its month is in doubt.
    fn month(&mut self, key: &Key) -> io::Result<&MonthTally> {
        if self.recent.as_ref().is_none_or(|(held, _)| held != key) {
            let month = if self.files.contains_key(key) { self.read_month(key)? } else { MonthTally::default() };
            self.recent = Some((key.clone(), month));
        }
        self.recent.as_ref().map(|(_, month)| month).ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn read_month(&mut self, key: &Key) -> io::Result<MonthTally> {
        let path = self.path(key);
        let problem = match read_file(&path)?.map(|bytes| MonthTally::decode(&bytes)) {
            Some(Ok(month)) if month.journal == self.manifest.journal => return Ok(month),
            Some(Ok(_)) => "it belongs to another journal",
            Some(Err(Unusable::Newer(newer))) => return Err(newer.refusal(&path)),
            Some(Err(Unusable::Damaged(problem))) => problem,
            None => "it is gone",
        };
        quarantine::set_tallies_aside(&self.paths, &path, problem);
        self.files.remove(key);
        self.doubt_month(key);
        Ok(MonthTally { partial: true, ..MonthTally::default() })
    }

    /// Whether what is in memory should be written.
    pub(super) fn is_due(&self) -> bool {
        self.rows > ROWS_MAX || self.since.is_some_and(|since| since.elapsed() > FLUSH_AFTER)
    }

    /// Brings everything to the files and makes it durable: all records up to `through`, and the streams that there are with the newest
    /// time of each.
    pub(super) fn flush(&mut self, through: u64, streams: &[(StreamId, Timestamp)]) -> io::Result<()> {
        let keys: Vec<Key> = self.pending.keys().cloned().collect();
        for key in keys {
            self.write_month(&key, through)?;
        }
        while let Some(dir) = self.unsynced.first().cloned() {
            self.storage.sync_dir(&dir)?;
            self.unsynced.remove(&dir);
        }
        let expired = self.expired(streams);
        let mut manifest = Manifest { journal: self.manifest.journal, through, streams: BTreeMap::new() };
        let known = self.manifest.streams.keys().chain(self.files.keys().map(|(stream, _)| stream));
        for stream in known.chain(streams.iter().map(|(stream, _)| stream)) {
            let exact_from_hour = self.manifest.streams.get(stream).map_or(i32::MIN, |listed| listed.exact_from_hour);
            manifest.streams.entry(stream.clone()).or_insert_with(|| Listed { exact_from_hour, ..Listed::default() });
        }
        for (stream, month) in self.files.keys().filter(|key| !expired.contains(*key)) {
            manifest.streams.entry(stream.clone()).or_default().months.insert(*month);
        }
        if manifest != self.manifest || self.since.is_some() {
            replace(&*self.storage, &self.dir.join(MANIFEST), &manifest.encode())?;
            self.storage.sync_dir(&self.dir)?;
            self.manifest = manifest;
        }
        self.since = None;
        for key in expired {
            remove_if_there(&*self.storage, &self.path(&key))?;
            self.files.remove(&key);
        }
        Ok(())
    }

    fn write_month(&mut self, key: &Key, through: u64) -> io::Result<()> {
        let mut month = self.month(key)?.clone();
        // Read anew next time, whatever becomes of this attempt.
        self.recent = None;
        let Some(pending) = self.pending.get(key) else { return Ok(()) };
        month.merge(pending);
        (month.journal, month.through) = (self.manifest.journal, through);
        let path = self.path(key);
        if let Some(dir) = path.parent() {
            create_below(&*self.storage, &self.dir, dir)?;
            replace(&*self.storage, &path, &month.encode())?;
            self.unsynced.insert(dir.to_owned());
        }
        // From here on the file counts it, so memory must not: whether the directory is durable is another matter.
        self.rows -= self.pending.remove(key).map_or(0, |month| month.rows.len());
        self.files.insert(key.clone(), through);
        Ok(())
    }

    /// Months that lie wholly further back than tallies are kept.
    fn expired(&self, streams: &[(StreamId, Timestamp)]) -> Vec<Key> {
        let ends = |month: Month| Month(month.0.saturating_add(1)).begins();
        let is_old = |(stream, month): &&Key| {
            let newest = streams.iter().find(|(held, _)| held == stream).map(|(_, newest)| newest.minus(KEPT));
            newest.zip(ends(*month)).is_some_and(|(first, end)| end <= first)
        };
        self.files.keys().filter(is_old).cloned().collect()
    }

    /// The tallies that touch a range.
    pub(super) fn query(&mut self, stream: &StreamId, range: TimeRange) -> io::Result<Tallies> {
        let keys: BTreeSet<Key> = self.files.keys().chain(self.pending.keys()).filter(|(held, _)| held == stream).cloned().collect();
        let mut rows: BTreeMap<Slot, Counted> = BTreeMap::new();
        let mut unsure = Vec::new();
        let exact_from = self.manifest.streams.get(stream).map_or(i32::MIN, |listed| listed.exact_from_hour);
        if exact_from > i32::MIN {
            unsure.extend(overlap(Timestamp::from_micros(i64::MIN), hour_begins(exact_from), range));
        }
        for key in keys {
            let (begins, ends) = (key.1.begins(), Month(key.1.0.saturating_add(1)).begins());
            let (Some(begins), Some(ends)) = (begins, ends) else { continue };
            if overlap(begins, ends, range).is_none() {
                continue;
            }
            let mut month = self.month(&key)?.clone();
            if let Some(pending) = self.pending.get(&key) {
                month.merge(pending);
            }
            if month.partial {
                unsure.extend(overlap(begins, ends, range));
            }
            for (bucket, row) in month.rows.iter().filter(|(bucket, _)| touches(slot(**bucket), range)) {
                let exact = row.exact && !month.partial && first_hour(*bucket) >= exact_from;
                rows.insert(slot(*bucket), Counted { slot: slot(*bucket), tally: row.tally, exact });
            }
        }
        Ok(Tallies { rows: rows.into_values().collect(), unsure })
    }

    fn path(&self, (stream, month): &Key) -> PathBuf {
        stream_dir(&self.dir, stream).join(format!("{}.{EXTENSION}", month.name()))
    }
}

fn first_hour(bucket: Bucket) -> i32 {
    match bucket {
        Bucket::Hour(hour) => hour,
        Bucket::Undated(day) => day.saturating_mul(24),
    }
}

fn overlap(from: Timestamp, to: Timestamp, range: TimeRange) -> Option<TimeRange> {
    TimeRange::new(from.max(range.from()), to.min(range.to())).filter(|part| !part.is_empty())
}

fn touches(slot: Slot, range: TimeRange) -> bool {
    match slot {
        Slot::Hour(begins) => overlap(begins, begins.plus(HOUR), range).is_some(),
        Slot::Undated(begins) => overlap(begins, begins.plus(HOUR * 24), range).is_some(),
    }
}

fn read_file(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.len() > FILE_BYTES_MAX => return Ok(Some(Vec::new())),
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    }
    fs::read(path).map(Some)
}

fn months(dir: &Path) -> io::Result<Vec<(StreamId, PathBuf)>> {
    let mut files = Vec::new();
    for (stream, dir) in streams_in(dir)? {
        files.extend(entries(&dir)?.into_iter().map(|path| (stream.clone(), path)));
    }
    Ok(files)
}

fn month_of(path: &Path) -> Option<Month> {
    Month::parse(path.file_name()?.to_str()?.strip_suffix(EXTENSION)?.strip_suffix('.')?)
}

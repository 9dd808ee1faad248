//! Which ids were committed before: on disk by stream and event hour, in memory only the hours in use.
//!
//! An id is remembered the moment its record is written. It reaches its file later: when its hour leaves memory, when the
//! segment is complete, or on close. Until then the record itself has it, and recovery reads it from there; a segment is deleted
//! only when all its ids are in their files and synced.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fs::{self, File, OpenOptions},
    hash::{BuildHasherDefault, Hash, Hasher},
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use super::{
    codec::{Decoder, Encode, Malformed, Newer},
    dirs::{create_below, entries, stream_dir, streams_in},
    idfile,
    page::{Bucket, Id, Run},
    sequences::Sequences,
    storage::{Storage, remove_if_there, replace},
};
use crate::event::{StreamId, Timestamp};

const MARKER: &str = "reached";
const DAY: Duration = Duration::from_secs(86_400);

/// An id is a hash already: its first bytes serve as the table's hash.
#[derive(Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 = u64::from_le_bytes(*first);
        }
    }

    fn write_usize(&mut self, _: usize) {}
}

type IdSet = HashSet<Id, BuildHasherDefault<IdHasher>>;

/// One hour of one stream in memory.
#[derive(Default)]
struct Loaded {
    ids: IdSet,
    /// Not in the file yet, each with the number of its record.
    pending: Vec<(u64, Id)>,
    used: u64,
}

#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Key {
    stream: Arc<StreamId>,
    bucket: Bucket,
}

/// The remembered ids.
pub(super) struct Seen {
    storage: Arc<dyn Storage>,
    dir: PathBuf,
    reach: Duration,
    ids_max: usize,
    streams: Vec<Arc<StreamId>>,
    buckets: HashMap<Key, Loaded>,
    total: usize,
    clock: u64,
    /// Ids of records up to this one may be in the files.
    reached: u64,
    /// Files that were written to and not synced yet.
    unsynced: BTreeSet<PathBuf>,
    /// The first day that is kept, by stream.
    first_days: HashMap<Arc<StreamId>, i32>,
    /// Buckets that were read from their files, and how many ids they held, since somebody asked.
    loads: Vec<(StreamId, Bucket, u64)>,
}

impl Seen {
    pub(super) fn open(storage: Arc<dyn Storage>, dir: PathBuf, reach: Duration, ids_max: usize) -> io::Result<Self> {
        let reached = read_marker(&dir.join(MARKER))?;
        for (_, path) in files(&dir)? {
            idfile::refuse_newer(&path)?;
        }
        Ok(Self {
            storage,
            dir,
            reach,
            ids_max,
            streams: Vec::new(),
            buckets: HashMap::new(),
            total: 0,
            clock: 0,
            reached,
            unsynced: BTreeSet::new(),
            first_days: HashMap::new(),
            loads: Vec::new(),
        })
    }

    /// The newest record whose ids may be in the files.
    pub(super) fn reached(&self) -> u64 {
        self.reached
    }

    /// Remembers the ids of a page and says which of them were new. Repeats inside the page are not new.
    pub(super) fn sift(&mut self, stream: &StreamId, sequence: u64, ids: &[(Bucket, Id)]) -> io::Result<Vec<bool>> {
        self.clock += 1;
        let stream = self.intern(stream);
        let mut fresh = Vec::with_capacity(ids.len());
        let mut start = 0;
        while start < ids.len() {
            let bucket = ids[start].0;
            let end = ids[start..].iter().position(|(other, _)| *other != bucket).map_or(ids.len(), |len| start + len);
            let run = &ids[start..end];
            if let Err(error) = self.sift_run(&stream, bucket, sequence, run, &mut fresh) {
                self.take_back(sequence);
                return Err(error);
            }
            start = end;
        }
        Ok(fresh)
    }

    fn sift_run(
        &mut self,
        stream: &Arc<StreamId>,
        bucket: Bucket,
        sequence: u64,
        run: &[(Bucket, Id)],
        fresh: &mut Vec<bool>,
    ) -> io::Result<()> {
        let elsewhere = match bucket {
            Bucket::Undated(day) => self.known_on_earlier_days(stream, day, run)?,
            Bucket::Hour(_) => HashSet::default(),
        };
        let loaded = self.loaded(stream, bucket)?;
        let before = loaded.ids.len();
        for (_, id) in run {
            let new = !elsewhere.contains(id) && loaded.ids.insert(*id);
            if new {
                loaded.pending.push((sequence, *id));
            }
            fresh.push(new);
        }
        self.total += loaded.ids.len() - before;
        Ok(())
    }

    /// An event without a time is remembered under the day of its collection, and it may be listed again on a later day.
    fn known_on_earlier_days(&mut self, stream: &Arc<StreamId>, day: i32, run: &[(Bucket, Id)]) -> io::Result<IdSet> {
        let days = i32::try_from(self.reach.as_secs() / DAY.as_secs() + 1).unwrap_or(i32::MAX);
        let mut known = IdSet::default();
        for earlier in day.saturating_sub(days)..day {
            let loaded = self.loaded(stream, Bucket::Undated(earlier))?;
            known.extend(run.iter().map(|(_, id)| *id).filter(|id| loaded.ids.contains(id)));
        }
        Ok(known)
    }

    /// Takes back what records from this number on have left, because they were not written. None of it has reached a file yet:
    /// hours leave memory only between batches.
    pub(super) fn take_back(&mut self, from: u64) {
        for loaded in self.buckets.values_mut() {
            while let Some((_, id)) = loaded.pending.last().copied().filter(|(sequence, _)| *sequence >= from) {
                loaded.pending.pop();
                loaded.ids.remove(&id);
                self.total -= 1;
            }
        }
    }

    /// Adds the ids of a record that is in the log, on recovery.
    pub(super) fn remember(&mut self, stream: &StreamId, sequence: u64, runs: &[Run], ids: impl Iterator<Item = Id>) -> io::Result<()> {
        let buckets = runs.iter().flat_map(|run| std::iter::repeat_n(run.bucket, run.count as usize));
        let ids: Vec<(Bucket, Id)> = buckets.zip(ids).collect();
        self.sift(stream, sequence, &ids)?;
        self.shrink()
    }

    /// Lets everything leave memory that is in the files. It is read again where it is needed.
    pub(super) fn unload(&mut self) {
        let (buckets, mut total) = (&mut self.buckets, 0);
        buckets.retain(|_, loaded| !loaded.pending.is_empty());
        buckets.values().for_each(|loaded| total += loaded.ids.len());
        self.total = total;
        self.loads.clear();
    }

    /// Which buckets were read from their files since the last call, and how many ids each held: whoever has counted events can tell
    /// whether some are missing.
    pub(super) fn take_loads(&mut self) -> Vec<(StreamId, Bucket, u64)> {
        std::mem::take(&mut self.loads)
    }

    /// The ids of a bucket, sorted.
    pub(super) fn ids_of(&mut self, stream: &StreamId, bucket: Bucket) -> io::Result<Vec<Id>> {
        let key = Key { stream: self.intern(stream), bucket };
        let mut ids = match self.buckets.get(&key) {
            Some(loaded) => loaded.ids.iter().copied().collect(),
            None => {
                let mut ids = Vec::new();
                idfile::load(&self.file(&key), bucket, |id| ids.push(id))?;
                ids
            }
        };
        ids.sort_unstable();
        ids.dedup();
        Ok(ids)
    }

    /// The first instant from which on all ids are there, where they are kept from `needed` on: days go as a whole, and what is gone
    /// already does not come back.
    pub(super) fn kept_from(&self, stream: &StreamId, needed: Option<Timestamp>) -> io::Result<Option<Timestamp>> {
        let begins = |day: i32| Timestamp::from_millis(i64::from(day) * 86_400_000);
        // What has not reached a file yet is in memory.
        let held =
            self.buckets.iter().filter(|(key, loaded)| *key.stream == *stream && !loaded.ids.is_empty()).map(|(key, _)| key.bucket.day());
        let oldest = days(&self.stream_dir(stream))?.iter().filter_map(|path| day_of(path)).chain(held).min().map(begins);
        Ok(oldest.max(needed.map(|needed| begins(Bucket::of(Some(needed), needed).day()))))
    }

    fn intern(&mut self, stream: &StreamId) -> Arc<StreamId> {
        if let Some(known) = self.streams.iter().find(|known| ***known == *stream) {
            return known.clone();
        }
        let fresh = Arc::new(stream.clone());
        self.streams.push(fresh.clone());
        fresh
    }

    fn loaded(&mut self, stream: &Arc<StreamId>, bucket: Bucket) -> io::Result<&mut Loaded> {
        let key = Key { stream: stream.clone(), bucket };
        if !self.buckets.contains_key(&key) {
            let mut ids = IdSet::default();
            idfile::load(&self.file(&key), bucket, |id| {
                ids.insert(id);
            })?;
            self.total += ids.len();
            self.loads.push(((**stream).clone(), bucket, ids.len() as u64));
            self.buckets.insert(key.clone(), Loaded { ids, ..Loaded::default() });
        }
        let loaded = self.buckets.entry(key).or_default();
        loaded.used = self.clock;
        Ok(loaded)
    }

    /// Lets the hours that were not used for longest leave memory, down to three quarters of the bound. Those in use stay.
    pub(super) fn shrink(&mut self) -> io::Result<()> {
        // An empty bucket costs memory too, about as much as 16 ids.
        if self.total + self.buckets.len() * 16 <= self.ids_max {
            return Ok(());
        }
        let mut oldest: Vec<(u64, Key, usize)> =
            self.buckets.iter().map(|(key, loaded)| (loaded.used, key.clone(), loaded.ids.len() + 16)).collect();
        oldest.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
        let mut left = self.total + self.buckets.len() * 16;
        let mut leaving = Vec::new();
        for (used, key, size) in oldest {
            if left <= self.ids_max / 4 * 3 || used == self.clock {
                break;
            }
            left -= size;
            leaving.push(key);
        }
        self.write_out(&leaving)?;
        for key in leaving {
            self.total -= self.buckets.remove(&key).map_or(0, |loaded| loaded.ids.len());
        }
        Ok(())
    }

    /// Appends what is pending in these hours to their files, one write for each file.
    fn write_out(&mut self, keys: &[Key]) -> io::Result<()> {
        let mut by_file: BTreeMap<PathBuf, Vec<Key>> = BTreeMap::new();
        let mut newest = 0;
        for key in keys {
            let Some(loaded) = self.buckets.get(key).filter(|loaded| !loaded.pending.is_empty()) else { continue };
            newest = loaded.pending.iter().map(|(sequence, _)| *sequence).max().unwrap_or(0).max(newest);
            by_file.entry(self.file(key)).or_default().push(key.clone());
        }
        if newest > self.reached {
            self.mark(newest)?;
        }
        for (path, keys) in by_file {
            self.append(&path, &keys)?;
        }
        Ok(())
    }

    fn append(&mut self, path: &Path, keys: &[Key]) -> io::Result<()> {
        let mut blocks = Vec::new();
        for key in keys {
            for ids in self.buckets.get(key).map_or(&[][..], |loaded| &loaded.pending).chunks(idfile::BLOCK_IDS_MAX) {
                idfile::encode_block(key.bucket, ids, &mut blocks);
            }
        }
        let (file, created) = self.open_or_create(path)?;
        let end = file.metadata()?.len();
        if let Err(error) = self.storage.write_at(&file, &blocks, end) {
            // What is left behind by a cut that fails as well is stepped over when the file is read.
            let _ = self.storage.truncate(&file, end);
            return Err(error);
        }
        self.unsynced.insert(path.to_owned());
        if created && let Some(parent) = path.parent() {
            self.storage.sync_dir(parent)?;
        }
        for key in keys {
            if let Some(loaded) = self.buckets.get_mut(key) {
                loaded.pending = Vec::new();
            }
        }
        Ok(())
    }

    fn open_or_create(&self, path: &Path) -> io::Result<(File, bool)> {
        match OpenOptions::new().read(true).write(true).open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                if let Some(parent) = path.parent() {
                    create_below(&*self.storage, &self.dir, parent)?;
                }
                Ok((self.storage.create(path)?, true))
            }
            opened => Ok((opened?, false)),
        }
    }

    /// Brings everything to the files and makes it durable.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        let all: Vec<Key> = self.buckets.iter().filter(|(_, loaded)| !loaded.pending.is_empty()).map(|(key, _)| key.clone()).collect();
        self.write_out(&all)?;
        while let Some(path) = self.unsynced.first().cloned() {
            match File::open(&path) {
                Ok(file) => self.storage.sync(&file)?,
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            self.unsynced.remove(&path);
        }
        Ok(())
    }

    /// Notes durably that ids of records up to `sequence` may be in the files, before they are: what the files hold of records
    /// that the log then turns out not to have must be found again.
    fn mark(&mut self, sequence: u64) -> io::Result<()> {
        replace(&*self.storage, &self.dir.join(MARKER), &encode_marker(sequence))?;
        self.storage.sync_dir(&self.dir)?;
        self.reached = sequence;
        Ok(())
    }

    /// Forgets all ids that lost records have left, together with some neighbours, and says in which hours they were.
    pub(super) fn forget_records(&mut self, lost: &Sequences) -> io::Result<Vec<(StreamId, Bucket)>> {
        self.flush()?;
        self.buckets.clear();
        self.total = 0;
        let mut hours = Vec::new();
        for (stream, path) in files(&self.dir)? {
            let touched = idfile::touched(&path, lost)?;
            if touched.is_empty() {
                continue;
            }
            idfile::rewrite_without(&*self.storage, &path, lost)?;
            if let Some(parent) = path.parent() {
                self.storage.sync_dir(parent)?;
            }
            hours.extend(touched.into_iter().map(|bucket| (stream.clone(), bucket)));
        }
        Ok(hours)
    }

    /// Deletes the days of a stream that lie wholly before the oldest instant whose ids are needed.
    pub(super) fn expire(&mut self, stream: &StreamId, needed: Timestamp) -> io::Result<()> {
        let first = Bucket::of(Some(needed), needed).day();
        let stream = self.intern(stream);
        if self.first_days.get(&stream).is_some_and(|known| *known == first) {
            return Ok(());
        }
        let dead: Vec<Key> = self.buckets.keys().filter(|key| key.stream == stream && key.bucket.day() < first).cloned().collect();
        for key in dead {
            self.total -= self.buckets.remove(&key).map_or(0, |loaded| loaded.ids.len());
        }
        for path in days(&self.stream_dir(&stream))? {
            if day_of(&path).is_some_and(|day| day < first) {
                remove_if_there(&*self.storage, &path)?;
                self.unsynced.remove(&path);
            }
        }
        self.first_days.insert(stream, first);
        Ok(())
    }

    fn file(&self, key: &Key) -> PathBuf {
        self.stream_dir(&key.stream).join(format!("{}.ids", key.bucket.day()))
    }

    fn stream_dir(&self, stream: &StreamId) -> PathBuf {
        stream_dir(&self.dir, stream)
    }
}

/// All id files with their streams.
fn files(dir: &Path) -> io::Result<Vec<(StreamId, PathBuf)>> {
    let mut files = Vec::new();
    for (stream, dir) in streams_in(dir)? {
        files.extend(days(&dir)?.into_iter().map(|path| (stream.clone(), path)));
    }
    Ok(files)
}

impl Hash for Id {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.0);
    }
}

/// Magic, version, number, checksum.
const MARKER_MAGIC: [u8; 3] = *b"MSr";
const MARKER_VERSION: u8 = 2;

pub(super) fn encode_marker(sequence: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(16);
    bytes.extend_from_slice(&MARKER_MAGIC);
    bytes.put_u8(MARKER_VERSION);
    bytes.put_u64(sequence);
    bytes.put_u32(crc32fast::hash(&bytes));
    bytes
}

/// What the marker says; `None` where it is damaged. The first version had neither magic nor version: a number and its checksum.
pub(super) fn decode_marker(bytes: &[u8]) -> Result<Option<u64>, Newer> {
    let Some((content, crc)) = bytes.len().checked_sub(4).and_then(|len| bytes.split_at_checked(len)) else { return Ok(None) };
    if crc32fast::hash(content).to_le_bytes() != crc {
        return Ok(None);
    }
    let number = |content: &[u8]| -> Result<u64, Malformed> {
        let mut from = Decoder::new(content);
        let number = from.u64()?;
        from.end().map(|()| number)
    };
    match content.strip_prefix(&MARKER_MAGIC) {
        Some([MARKER_VERSION, rest @ ..]) => Ok(number(rest).ok()),
        Some([version, ..]) if content.len() != 8 => Err(Newer(*version)),
        _ => Ok(number(content).ok()),
    }
}

fn read_marker(path: &Path) -> io::Result<u64> {
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(0),
        bytes => bytes?,
    };
    Ok(decode_marker(&bytes).map_err(|newer| newer.refusal(path))?.unwrap_or(0))
}

fn days(dir: &Path) -> io::Result<Vec<PathBuf>> {
    Ok(entries(dir)?.into_iter().filter(|path| day_of(path).is_some()).collect())
}

fn day_of(path: &Path) -> Option<i32> {
    path.file_name()?.to_str()?.strip_suffix(".ids")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::{OrgName, StreamKind},
        journal::disk::{page::IdMaker, storage::Disk},
    };

    const REACH: Duration = Duration::from_secs(8 * 86_400);

    fn stream() -> StreamId {
        StreamId::new(OrgName::new("acme: eu/1"), StreamKind::Audit)
    }

    fn open(dir: &Path, ids_max: usize) -> Seen {
        Seen::open(Arc::new(Disk), dir.to_owned(), REACH, ids_max).expect("opens")
    }

    /// Ids `numbers` in one hour.
    fn ids(hour: i32, numbers: std::ops::Range<u32>) -> Vec<(Bucket, Id)> {
        let maker = IdMaker::new(&stream());
        numbers.map(|number| (Bucket::Hour(hour), maker.id(&number.to_le_bytes()))).collect()
    }

    fn fresh(seen: &mut Seen, sequence: u64, ids: &[(Bucket, Id)]) -> usize {
        seen.sift(&stream(), sequence, ids).expect("readable").into_iter().filter(|fresh| *fresh).count()
    }

    #[test]
    fn hours_leave_memory_and_are_still_known() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut seen = open(dir.path(), 1_000);
        for hour in 0..40 {
            assert_eq!(fresh(&mut seen, hour as u64 + 1, &ids(hour, 0..100)), 100);
            seen.shrink().expect("writes");
            assert!(seen.total <= 1_000, "{} ids are in memory", seen.total);
        }
        for hour in 0..40 {
            assert_eq!(fresh(&mut seen, 50, &ids(hour, 0..101)), 1, "hour {hour}");
            seen.shrink().expect("writes");
        }
        seen.flush().expect("writes");
        let mut again = open(dir.path(), 1_000);
        assert_eq!((again.reached(), fresh(&mut again, 60, &ids(17, 0..101))), (50, 0));
    }

    #[test]
    fn what_was_not_written_is_taken_back() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut seen = open(dir.path(), 1_000);
        assert_eq!(fresh(&mut seen, 1, &ids(1, 0..3)), 3);
        assert_eq!(fresh(&mut seen, 2, &[ids(1, 2..6), ids(2, 7..9)].concat()), 5);
        seen.take_back(2);
        assert_eq!(fresh(&mut seen, 2, &ids(1, 0..6)), 3);
        assert_eq!(fresh(&mut seen, 2, &ids(2, 7..9)), 2);
    }

    #[test]
    fn days_before_what_is_needed_die() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut seen = open(dir.path(), 1_000);
        let hour = |day: i32| day * 24 + 5;
        for day in [100, 109, 120] {
            assert_eq!(fresh(&mut seen, 1, &ids(hour(day), 0..10)), 10);
        }
        seen.flush().expect("writes");
        let needed = Timestamp::from_millis(i64::from(hour(110)) * 3_600_000);
        seen.expire(&stream(), needed).expect("deletes");
        let days: Vec<_> =
            files(&seen.dir).expect("lists").iter().filter_map(|(of, path)| day_of(path).filter(|_| *of == stream())).collect();
        assert_eq!(days.len(), 1, "{days:?}");
        assert_eq!(fresh(&mut seen, 2, &ids(hour(109), 0..10)), 10, "forgotten");
        assert_eq!(fresh(&mut seen, 2, &ids(hour(120), 0..10)), 0, "within reach");
    }
}

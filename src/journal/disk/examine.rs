//! Reads one segment whole and replays it: what is in it, what is missing, and where its valid part ends.

use std::{fs::File, io};

use super::{
    index::{Index, IndexEntry},
    ledger::{Entry, Ledger, Reopen},
    page::{Facts, IdMaker, Page, ids},
    record::{Header, Kind, Sections},
    scan::{Found, ScanError, scan},
    seen::Seen,
    segment::SegmentName,
    sequences::Sequences,
};
use crate::event::Timestamp;

/// A record that cannot be read back, and what it still says.
#[derive(Clone, Debug)]
pub(super) struct Broken {
    pub(super) sequence: u64,
    pub(super) count: u32,
    pub(super) collected_at: Timestamp,
    pub(super) facts: Option<Facts>,
}

/// What a segment turned out to hold.
#[derive(Debug, Default)]
pub(super) struct Examined {
    pub(super) index: Index,
    /// The newest valid record.
    pub(super) last_sequence: u64,
    pub(super) next_position: u64,
    /// Where the newest valid record ends.
    pub(super) valid_to: u64,
    /// Numbers in front of the newest valid record that no valid record has.
    pub(super) missing: Sequences,
    /// How many positions belong to them.
    pub(super) missing_positions: u64,
    /// Records that are damaged and still told something.
    pub(super) broken: Vec<Broken>,
    /// Stretches of the file that are not part of a valid record.
    pub(super) damage: Vec<(u64, u64)>,
    file_len: u64,
}

/// Examines a segment and applies its valid records to the ledger. Records numbered `end` or later are not part of it: they were
/// written, reported as failed, and written again into the next segment.
pub(super) fn examine(file: &File, name: SegmentName, end: u64, ledger: &mut Ledger) -> Result<Examined, ScanError> {
    let file_len = file.metadata()?.len();
    let mut examined = Examined {
        last_sequence: name.first_sequence.saturating_sub(1),
        next_position: name.first_position,
        file_len,
        ..Examined::default()
    };
    scan(file, |found| {
        match found {
            Found::Damage { from, to } => examined.damage.push((from, to)),
            Found::Record { offset, header, sections } => examined.take(offset, header, &sections, end, ledger),
        }
        Ok(())
    })?;
    Ok(examined)
}

impl Examined {
    fn take(&mut self, offset: u64, header: &Header, sections: &Sections<'_>, end: u64, ledger: &mut Ledger) {
        let to = (offset + header.total_len()).min(self.file_len);
        if header.sequence <= self.last_sequence || header.sequence >= end {
            self.damage.push((offset, to));
            return;
        }
        let Some(entry) = decoded(header, sections) else {
            self.damage.push((offset, to));
            let facts = sections.facts.and_then(|facts| Facts::decode(facts).ok()).filter(|_| header.kind == Kind::Page);
            let collected_at = Timestamp::from_micros(header.collected_at);
            self.broken.push(Broken { sequence: header.sequence, count: header.count, collected_at, facts });
            return;
        };
        self.missing.insert(self.last_sequence + 1, header.sequence - 1);
        self.missing_positions += header.first_position.saturating_sub(self.next_position);
        if let Entry::Page(facts) = &entry
            && header.count > 0
        {
            self.index.push(&facts.stream, IndexEntry::new(offset, header));
        }
        self.last_sequence = header.sequence;
        self.next_position = header.first_position + u64::from(header.count);
        self.valid_to = to;
        ledger.apply(header.sequence, self.next_position, &entry);
    }
}

/// What a record says; `None` where that cannot be relied upon. Damaged ids alone do no harm: the body tells them too.
pub(super) fn decoded(header: &Header, sections: &Sections<'_>) -> Option<Entry> {
    let facts = sections.facts?;
    match header.kind {
        Kind::Page => sections.body.and_then(|_| Facts::decode(facts).ok()).map(Entry::Page),
        Kind::Snapshot => Ledger::decode(facts).ok().map(|ledger| Entry::Snapshot(Box::new(ledger))),
        Kind::State => Entry::decode_state(facts).ok(),
        Kind::Reopen => Reopen::decode(facts).ok().map(Entry::Reopen),
        Kind::Trim => Entry::decode_trim(facts).ok(),
        Kind::Seal => None,
    }
}

/// Whether a segment begins with a snapshot that can be read, so that a replay may start here.
pub(super) fn begins_with_snapshot(file: &File) -> Result<bool, ScanError> {
    let mut first = None;
    let stop = scan(file, |found| {
        let Found::Record { offset: 0, header, sections } = found else { return Err(io::ErrorKind::Interrupted.into()) };
        first = Some(matches!(decoded(header, &sections), Some(Entry::Snapshot(_))));
        Err(io::ErrorKind::Interrupted.into())
    });
    match stop {
        Err(ScanError::Io(error)) if error.kind() == io::ErrorKind::Interrupted => Ok(first == Some(true)),
        Err(error) => Err(error),
        Ok(()) => Ok(false),
    }
}

/// Visits the valid pages of a segment that hold events, whose number is `from` or later and before `end`, with what they say.
pub(super) fn pages(
    file: &File,
    from: u64,
    end: u64,
    mut visit: impl FnMut(&Header, &Facts, &Sections<'_>) -> io::Result<()>,
) -> Result<(), ScanError> {
    let mut newest = 0;
    scan(file, |found| {
        let Found::Record { header, sections, .. } = found else { return Ok(()) };
        let wanted = (from..end).contains(&header.sequence) && header.sequence > newest && header.count > 0;
        let Some(Entry::Page(facts)) = decoded(header, &sections).filter(|_| wanted) else { return Ok(()) };
        newest = header.sequence;
        visit(header, &facts, &sections)
    })
}

/// Remembers the ids of a segment's valid pages whose number is `from` or later and before `end`.
pub(super) fn remember_ids(file: &File, from: u64, end: u64, seen: &mut Seen) -> Result<(), ScanError> {
    pages(file, from, end, |header, facts, sections| match (sections.ids, sections.body) {
        (Some(section), _) => seen.remember(&facts.stream, header.sequence, &facts.runs, ids(section)),
        (None, Some(body)) => {
            let page = Page::decode(header, body).map_err(io::Error::other)?;
            seen.remember(&facts.stream, header.sequence, &facts.runs, page.ids(&IdMaker::new(&facts.stream)).into_iter())
        }
        (None, None) => Ok(()),
    })
}

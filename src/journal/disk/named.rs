//! What the open journal can prove, see [`Proof`]; and the search for ids by name, which reads the log beside everything else.

use std::{collections::HashSet, fs::File, path::Path, sync::Arc};

use futures_util::future::BoxFuture;

use super::{
    DiskJournal,
    examine::pages,
    lock::failed,
    page::{Id, IdMaker, Page, ids},
    prove::Question,
    record::{Header, Sections},
    scan::ScanError,
    segment::SegmentName,
    tally,
    writer::Command,
};
use crate::{
    event::{StreamId, TimeRange},
    journal::{
        JournalError,
        proof::{Fingerprint, KnownIds, Named, Proof, Slot, StreamProof, Tallies},
    },
};

impl Proof for DiskJournal {
    fn journal_id(&self) -> u64 {
        self.shared.view().ledger.journal
    }

    fn streams(&self) -> BoxFuture<'_, Result<Vec<StreamProof>, JournalError>> {
        Box::pin(self.ask(|reply| Command::Prove(Question::Streams { reply })))
    }

    fn tallies(&self, stream: &StreamId, range: TimeRange) -> BoxFuture<'_, Result<Tallies, JournalError>> {
        let stream = stream.clone();
        Box::pin(self.ask(move |reply| Command::Prove(Question::Tallies { stream, range, reply })))
    }

    fn known_ids(&self, stream: &StreamId, slot: Slot) -> BoxFuture<'_, Result<KnownIds, JournalError>> {
        let (stream, bucket) = (stream.clone(), tally::bucket(slot));
        Box::pin(self.ask(move |reply| Command::Prove(Question::KnownIds { stream, bucket, reply })))
    }

    fn named(&self, stream: &StreamId, wanted: Vec<Fingerprint>) -> BoxFuture<'_, Result<Vec<Named>, JournalError>> {
        let names: Vec<SegmentName> = {
            let view = self.shared.view();
            let holds = view.sealed.iter().filter(|segment| segment.summary(stream).is_some()).map(|segment| segment.name);
            holds.chain([view.active.name]).collect()
        };
        let (stream, shared) = (stream.clone(), self.shared.clone());
        Box::pin(async move {
            let searched = tokio::task::spawn_blocking(move || search(&names, &shared.log_dir, &stream, &wanted)).await;
            searched.map_err(|_| self.unanswered())?
        })
    }
}

/// Looks for ids in segments. One that is deleted meanwhile holds nothing any more.
pub(super) fn search(names: &[SegmentName], log_dir: &Path, stream: &StreamId, wanted: &[Fingerprint]) -> Result<Vec<Named>, JournalError> {
    let mut search = Search { stream, wanted: wanted.iter().copied().collect(), maker: IdMaker::new(stream), found: Vec::new() };
    for name in names {
        let path = name.path(log_dir);
        let file = match File::open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            opened => Arc::new(opened.map_err(failed("open", &path))?),
        };
        search.segment(&file).map_err(|error| match error {
            ScanError::Io(error) => failed("read", &path)(error),
            ScanError::Newer(newer) => failed("read", &path)(super::codec::Newer(newer).refusal(&path)),
        })?;
    }
    Ok(search.found)
}

struct Search<'a> {
    stream: &'a StreamId,
    wanted: HashSet<Id>,
    maker: IdMaker,
    found: Vec<Named>,
}

impl Search<'_> {
    fn segment(&mut self, file: &File) -> Result<(), ScanError> {
        pages(file, 0, u64::MAX, |header, facts, sections| {
            if facts.stream == *self.stream {
                self.page(header, sections);
            }
            Ok(())
        })
    }

    /// The ids stand apart from the events, so most pages need not be decompressed.
    fn page(&mut self, header: &Header, sections: &Sections<'_>) {
        if sections.ids.is_some_and(|section| ids(section).all(|id| !self.wanted.contains(&id))) {
            return;
        }
        let Some(page) = sections.body.and_then(|body| Page::decode(header, body).ok()) else { return };
        for event in (0..page.len()).filter_map(|index| page.event(index)) {
            let fingerprint = self.maker.id(event.id.as_bytes());
            if self.wanted.remove(&fingerprint) {
                self.found.push(Named { fingerprint, id: event.id.clone(), time: event.time });
            }
        }
    }
}

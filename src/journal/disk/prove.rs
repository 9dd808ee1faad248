//! What the writer does for tallies: has them written in time, compares them with the ids, and answers what is asked of both.

use tracing::{info, warn};

use super::{
    lock::failed,
    page::Bucket,
    writer::{Reply, Writer},
};
use crate::{
    event::{StreamId, TimeRange},
    journal::{
        JournalError,
        proof::{KnownIds, StreamProof, Tallies},
    },
};

/// What can be asked.
#[derive(Debug)]
pub(super) enum Question {
    Streams { reply: Reply<Vec<StreamProof>> },
    Tallies { stream: StreamId, range: TimeRange, reply: Reply<Tallies> },
    KnownIds { stream: StreamId, bucket: Bucket, reply: Reply<KnownIds> },
}

impl Writer {
    pub(super) fn prove(&mut self, question: Question) {
        match question {
            Question::Streams { reply } => drop(reply.send(self.proofs())),
            Question::Tallies { stream, range, reply } => {
                let tallies = self.tallies.query(&stream, range).map_err(failed("read the tallies in", &self.log.paths.tallies));
                let _ = reply.send(tallies);
            }
            Question::KnownIds { stream, bucket, reply } => {
                let ids = self.seen.ids_of(&stream, bucket).map_err(failed("read the known ids in", &self.log.paths.seen));
                let _ = reply.send(ids.map(|ids| KnownIds { ids }));
            }
        }
    }

    fn proofs(&self) -> Result<Vec<StreamProof>, JournalError> {
        let streams: Vec<StreamId> = self.shared.view().ledger.coverage.keys().cloned().collect();
        let mut proofs = Vec::new();
        for (stream, needed) in self.needed_ids(streams.into_iter()) {
            let kept = self.seen.kept_from(&stream, Some(needed)).map_err(failed("list the known ids in", &self.log.paths.seen))?;
            let Some(coverage) = self.shared.view().ledger.coverage.get(&stream).cloned() else { continue };
            proofs.push(StreamProof { ids_from: kept.unwrap_or(needed), stream, coverage });
        }
        Ok(proofs)
    }

    /// Ids that were read from their files must be as many as the events that were counted. A doubt is written down before the page
    /// that has raised it: after a crash nobody could tell any more that the page repeats something.
    pub(super) fn compare_loads(&mut self) {
        let mut in_doubt = false;
        for (stream, bucket, ids) in self.seen.take_loads() {
            match self.tallies.compare(&stream, bucket, ids) {
                Ok(agree) => in_doubt |= !agree,
                Err(error) => warn!(%error, %stream, "failed to compare the known ids with what was counted"),
            }
        }
        if in_doubt {
            self.flush_tallies_or_warn();
        }
    }

    pub(super) fn flush_tallies(&mut self) -> Result<(), JournalError> {
        let (through, streams) = {
            let view = self.shared.view();
            let newest = view.ledger.coverage.iter().map(|(stream, held)| (stream.clone(), held.newest()));
            (view.ledger.sequence, newest.collect::<Vec<_>>())
        };
        self.tallies.flush(through, &streams).map_err(failed("write tallies to", &self.log.paths.tallies))
    }

    pub(super) fn flush_tallies_or_warn(&mut self) {
        match self.flush_tallies() {
            Ok(()) if self.tally_trouble.is_over() => info!("tallies are written again"),
            Ok(()) => {}
            Err(error) if self.tally_trouble.is_new() => {
                warn!(%error, "failed to write tallies to their files; the log has what they count, and it is tried again");
            }
            Err(_) => {}
        }
    }

    /// Of the oldest so many segments, those whose events are all counted in files. On a full disk, those that are go first, and make
    /// room for the rest.
    pub(super) fn counted_segments(&mut self, count: usize) -> Result<usize, JournalError> {
        let newest = self.shared.view().sealed.get(count - 1).map_or(0, |segment| segment.last_sequence);
        if self.tallies.through() >= newest {
            return Ok(count);
        }
        let Err(error) = self.flush_tallies() else { return Ok(count) };
        let through = self.tallies.through();
        let counted = self.shared.view().sealed.iter().take(count).take_while(|segment| segment.last_sequence <= through).count();
        if counted == 0 { Err(error) } else { Ok(counted) }
    }
}

//! The part of opening that is about tallies: counts again what their files do not have, and notes where a count cannot be certain.

use std::collections::BTreeMap;

use tracing::warn;

use super::{
    damage::Doubt,
    examine::pages,
    page::Page,
    survey::Survey,
    tallies::{Found, Recount, TallyStore},
    tally::of_page,
};
use crate::{
    event::{StreamId, Timestamp},
    journal::JournalError,
};

/// Opens the tallies and brings them in line with the log.
pub(super) fn recount(
    survey: &Survey<'_>,
    found: &Found,
    doubts: Vec<(StreamId, Doubt)>,
    had_ids: bool,
) -> Result<TallyStore, JournalError> {
    let (mut store, recount) = TallyStore::new(survey.tuning.storage.clone(), survey.paths, found, survey.ledger.journal);
    store.set_aside(found);
    count(survey, &mut store, &recount, had_ids)?;
    store.doubt_all(doubts);
    if let Err(error) = store.flush(survey.ledger.sequence, &newest_covered(survey)) {
        warn!(%error, "failed to write tallies to their files; it is tried again");
    }
    Ok(store)
}

/// Counts what the files do not have, and notes what nobody has any more.
pub(super) fn count(survey: &Survey<'_>, store: &mut TallyStore, recount: &Recount, had_ids: bool) -> Result<(), JournalError> {
    let (counted_to, had_tallies) = (store.through(), !store.is_empty());
    let collected = replay(survey, store, recount.from)?;
    let oldest = survey.found.first().map_or(survey.ledger.sequence + 1, |first| first.segment.name.first_sequence);
    if oldest <= 1 && survey.ledger.lost.is_empty() {
        // The log has everything that ever was, so all of it was counted.
        return Ok(());
    }
    let ids_gone = !had_ids && had_tallies;
    if recount.unlisted || oldest > counted_to + 1 || ids_gone {
        for (stream, newest) in newest_covered(survey) {
            store.doubt_before(&stream, collected.get(&stream).copied().unwrap_or(newest).max(newest));
        }
    }
    recount.gone.iter().for_each(|key| store.doubt_month(key));
    Ok(())
}

/// Counts the records of the log from that number on; returns when the newest page of each stream was collected.
fn replay(survey: &Survey<'_>, store: &mut TallyStore, from: u64) -> Result<BTreeMap<StreamId, Timestamp>, JournalError> {
    let mut collected: BTreeMap<StreamId, Timestamp> = BTreeMap::new();
    for found in survey.found.iter().filter(|found| found.segment.last_sequence >= from) {
        let counted = pages(&found.file, from, found.segment.last_sequence + 1, |header, facts, sections| {
            let Some(body) = sections.body.filter(|_| !survey.ledger.lost.contains(header.sequence)) else { return Ok(()) };
            // A body whose checksum is right and that does not decode is found when it is read, and set aside then.
            let Ok(page) = Page::decode(header, body) else { return Ok(()) };
            let collected_at = Timestamp::from_micros(header.collected_at);
            store.replay(&facts.stream, header.sequence, &of_page(&page, collected_at));
            let newest = collected.entry(facts.stream.clone()).or_insert(collected_at);
            *newest = collected_at.max(*newest);
            Ok(())
        });
        counted.map_err(|error| survey.scan_failed(found.segment.name, error))?;
    }
    Ok(collected)
}

fn newest_covered(survey: &Survey<'_>) -> Vec<(StreamId, Timestamp)> {
    survey.ledger.coverage.iter().map(|(stream, coverage)| (stream.clone(), coverage.newest())).collect()
}

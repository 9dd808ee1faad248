//! The comparison: ids of a file against what was collected, by single ids where they are remembered, else by count and hash.

use anyhow::Context;
use serde::Serialize;

use super::ids::{Held, IdFile};
use crate::{
    attest::StreamReport,
    cli::evidence::Source,
    event::{StreamId, Timestamp},
    journal::proof::{Fingerprint, IdSum, Slot, Tally},
};

/// More is not listed, only counted: whoever misses a million events has lost a range, and not events.
const LISTED_MAX: usize = 1_000_000;

/// What the comparison came to.
#[derive(Debug, Serialize)]
pub(super) struct Difference {
    /// The organisation's configured name.
    pub(super) org: String,
    /// The kind.
    pub(super) stream: String,
    /// The first instant, widened to a whole hour.
    pub(super) from: String,
    /// The first instant after it, widened to a whole hour.
    pub(super) to: String,
    /// Whether both hold the same.
    pub(super) equal: bool,
    /// Whether all of the range was collected.
    pub(super) complete: bool,
    /// Ids in the file, each once.
    pub(super) file_ids: u64,
    /// Ids that stand in the file more than once.
    pub(super) file_repeats: u64,
    /// Lines of the file without an id.
    pub(super) file_lines_without_id: u64,
    /// Events that were collected in the range.
    pub(super) collected: u64,
    /// Ids that both hold, one by one.
    pub(super) matched: u64,
    /// How many ids of the file were not collected in the range.
    pub(super) not_collected_count: u64,
    /// Those ids, at most a million.
    pub(super) not_collected: Vec<String>,
    /// How many collected ids the file lacks.
    pub(super) not_in_file_count: u64,
    /// Those ids, at most a million.
    pub(super) not_in_file: Vec<Lacking>,
    /// Collected events without a time that the file lacks. An export by time does not find them, so they make no difference.
    pub(super) undated_not_in_file: u64,
    /// What could only be compared as a whole.
    pub(super) older: Option<Older>,
}

/// A collected id that the file lacks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Lacking {
    /// What is remembered of it.
    #[serde(serialize_with = "hex")]
    pub(super) fingerprint: Fingerprint,
    /// The hour in which the event happened.
    pub(super) hour: String,
    /// Miro's id, where the journal still has it or Miro was asked.
    pub(super) id: Option<String>,
}

fn hex<S: serde::Serializer>(fingerprint: &Fingerprint, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(fingerprint)
}

/// Hours whose single ids are not remembered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Older {
    /// How many hours.
    pub(super) hours: u64,
    /// The begin of the first.
    pub(super) from: String,
    /// The begin of the last.
    pub(super) to: String,
    /// What was collected in them.
    pub(super) collected: u64,
    /// The hash over those ids.
    pub(super) id_hash: IdSum,
    /// Whether that is certain.
    pub(super) exact: bool,
    /// Ids of the file that are in no remembered hour.
    pub(super) file_ids: u64,
    /// The hash over those ids.
    pub(super) file_id_hash: IdSum,
    /// Whether both agree.
    pub(super) equal: bool,
}

/// Which ids of a sorted list were seen, one bit each.
struct Marks(Vec<u64>);

impl Marks {
    fn new(len: usize) -> Self {
        Self(vec![0; len.div_ceil(64)])
    }

    /// Marks one; says whether it was not before.
    fn mark(&mut self, at: usize) -> bool {
        let (word, bit) = (&mut self.0[at / 64], 1 << (at % 64));
        let fresh = *word & bit == 0;
        *word |= bit;
        fresh
    }
}

/// The comparison as it goes on.
struct Comparison<'a> {
    held: &'a Held,
    matched: Marks,
    matched_count: u64,
    lacking: Vec<Lacking>,
    lacking_count: u64,
    undated: u64,
    older: Tally,
    older_exact: bool,
    older_hours: Vec<String>,
}

impl Comparison<'_> {
    fn single(&mut self, ids: &[Fingerprint], hour: Option<&str>) {
        for id in ids {
            match (self.held.ids.binary_search(id), hour) {
                (Ok(at), _) => self.matched_count += u64::from(self.matched.mark(at)),
                (Err(_), None) => self.undated += 1,
                (Err(_), Some(hour)) => {
                    self.lacking_count += 1;
                    if self.lacking.len() < LISTED_MAX {
                        self.lacking.push(Lacking { fingerprint: *id, hour: hour.to_owned(), id: None });
                    }
                }
            }
        }
    }

    fn whole(&mut self, tally: &Tally, exact: bool, from: &str) {
        self.older.add(tally);
        self.older_exact &= exact;
        self.older_hours.push(from.to_owned());
    }

    async fn slot(&mut self, source: &Source, stream: &StreamId, slot: Slot, row: Row<'_>) -> anyhow::Result<()> {
        if row.tally.collected == 0 && row.exact {
            return Ok(());
        }
        if !row.is_remembered {
            self.whole(row.tally, row.exact, row.from);
            return Ok(());
        }
        let ids = source.ids(stream, slot).await?;
        // Ids that are not all there, because their file was damaged, prove nothing one by one.
        if row.exact && (ids.len() as u64) < row.tally.collected && matches!(slot, Slot::Hour(_)) {
            self.whole(row.tally, row.exact, row.from);
            return Ok(());
        }
        let hour = matches!(slot, Slot::Hour(_)).then_some(row.from);
        self.single(&ids, hour);
        Ok(())
    }
}

/// A row of the report.
#[derive(Clone, Copy)]
struct Row<'a> {
    from: &'a str,
    tally: &'a Tally,
    exact: bool,
    is_remembered: bool,
}

/// Compares a file with a stream of a report.
pub(super) async fn compare(
    source: &Source,
    stream: &StreamId,
    report: &StreamReport,
    range: (&str, &str),
    file: &mut IdFile,
) -> anyhow::Result<Difference> {
    let held = file.read()?;
    let ids_from = Timestamp::parse(&report.ids_from).context("failed to understand the report")?;
    let mut comparison = Comparison {
        matched: Marks::new(held.ids.len()),
        held: &held,
        matched_count: 0,
        lacking: Vec::new(),
        lacking_count: 0,
        undated: 0,
        older: Tally::default(),
        older_exact: true,
        older_hours: Vec::new(),
    };
    for hour in &report.hours {
        let begins = Timestamp::parse(&hour.from).context("failed to understand the report")?;
        let row = Row { from: &hour.from, tally: &hour.tally, exact: hour.exact, is_remembered: begins >= ids_from };
        comparison.slot(source, stream, Slot::Hour(begins), row).await?;
    }
    for day in &report.undated {
        let begins = Timestamp::parse(&day.day).context("failed to understand the report")?;
        let is_remembered = begins >= crate::attest::floor_day(ids_from);
        let row = Row { from: &day.day, tally: &day.tally, exact: day.exact, is_remembered };
        comparison.slot(source, stream, Slot::Undated(begins), row).await?;
    }
    finish(comparison, stream, report, range, file)
}

/// What is left of the file when all remembered ids have been looked for.
struct Rest {
    count: u64,
    ids: Vec<String>,
    sum: IdSum,
}

fn rest(file: &mut IdFile, held: &Held, mut matched: Marks) -> anyhow::Result<Rest> {
    let mut rest = Rest { count: 0, ids: Vec::new(), sum: IdSum::default() };
    file.each(|fingerprint, id| {
        let Ok(at) = held.ids.binary_search(&fingerprint) else { return Ok(()) };
        if matched.mark(at) {
            rest.count += 1;
            rest.sum.add_id(id);
            if rest.ids.len() < LISTED_MAX {
                rest.ids.push(String::from_utf8_lossy(id).into_owned());
            }
        }
        Ok(())
    })?;
    Ok(rest)
}

fn finish(
    comparison: Comparison<'_>,
    stream: &StreamId,
    report: &StreamReport,
    range: (&str, &str),
    file: &mut IdFile,
) -> anyhow::Result<Difference> {
    let Comparison { held, matched, matched_count, lacking, lacking_count, undated, older, older_exact, older_hours } = comparison;
    let rest = rest(file, held, matched)?;
    let older = older_hours.first().zip(older_hours.last()).map(|(from, to)| Older {
        hours: older_hours.len() as u64,
        from: from.clone(),
        to: to.clone(),
        collected: older.collected,
        id_hash: older.ids,
        exact: older_exact,
        file_ids: rest.count,
        file_id_hash: rest.sum,
        equal: rest.count == older.collected && rest.sum == older.ids,
    });
    // With older hours, what is left of the file may belong to them: then only the whole can be compared.
    let (not_collected_count, not_collected) = if older.is_some() { (0, Vec::new()) } else { (rest.count, rest.ids) };
    let equal = not_collected_count == 0 && lacking_count == 0 && held.unreadable == 0 && older.as_ref().is_none_or(|older| older.equal);
    Ok(Difference {
        org: stream.org.to_string(),
        stream: stream.kind.to_string(),
        from: range.0.to_owned(),
        to: range.1.to_owned(),
        equal,
        complete: report.complete,
        file_ids: held.ids.len() as u64,
        file_repeats: held.repeats,
        file_lines_without_id: held.unreadable,
        collected: report.total.collected,
        matched: matched_count,
        not_collected_count,
        not_collected,
        not_in_file_count: lacking_count,
        not_in_file: lacking,
        undated_not_in_file: undated,
        older,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_id_is_marked_once() {
        let mut marks = Marks::new(130);
        for at in [0, 63, 64, 129] {
            assert!(marks.mark(at));
            assert!(!marks.mark(at));
        }
        assert!(marks.mark(1));
    }
}

//! The ledger as it is stored: JSON with a version, times in microseconds. What has ended is written as rows, because there may be hundreds.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{
    ledger::{Change, ChangeKind, End, Ended, Gap, Ledger},
    outline::span,
};
use crate::event::{TimeRange, Timestamp};

/// The form of the record. A newer one is not read: what it means is not known here.
const VERSION: u32 = 1;
/// How many different causes are kept; gaps come in bursts that have one.
const CAUSES_MAX: usize = 32;

/// Why a stored ledger cannot be used.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum RecordError {
    /// It was written by a newer version.
    #[error("it was written by a newer miro-siem (version {0} of the record)")]
    Newer(u32),
    /// It is not what was written.
    #[error("it is damaged ({0})")]
    Damaged(String),
}

#[derive(Serialize, Deserialize)]
struct Written {
    version: u32,
    causes: Vec<String>,
    gaps: Vec<GapWritten>,
    /// First instant, found, from, to, ended, how, lost microseconds, cause.
    ended: Vec<EndedWritten>,
    forgotten_before: Timestamp,
    unsaid: Vec<ChangeWritten>,
}

type EndedWritten = (Timestamp, Timestamp, Timestamp, Timestamp, Timestamp, EndWritten, u64, Option<usize>);

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum EndWritten {
    Closed,
    Lost,
}

#[derive(Serialize, Deserialize)]
struct GapWritten {
    key: Timestamp,
    opened_at: Timestamp,
    from: Timestamp,
    to: Timestamp,
    warned_percent: u8,
    losing: bool,
    cause: Option<usize>,
}

#[derive(Serialize, Deserialize)]
struct ChangeWritten {
    kind: KindWritten,
    gap: GapWritten,
    at: Timestamp,
    from: Timestamp,
    to: Timestamp,
    open_us: u64,
    lost_us: u64,
    lost_from: Option<Timestamp>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum KindWritten {
    Opened,
    Warned(u8),
    PartlyLost,
    Closed,
    Lost,
}

impl Ledger {
    /// As it is stored.
    pub fn encode(&self) -> Vec<u8> {
        let mut causes = Causes::default();
        let unsaid = self.unsaid.iter().map(|change| change_written(change, &mut causes)).collect();
        let gaps = self.gaps.iter().map(|gap| gap_written(gap, &mut causes)).collect();
        let mut ended: Vec<_> = self.ended.iter().rev().map(|ended| ended_written(ended, &mut causes)).collect();
        ended.reverse();
        let written = Written { version: VERSION, causes: causes.0, gaps, ended, forgotten_before: self.forgotten_before, unsaid };
        serde_json::to_vec(&written).expect("numbers, words and texts are always JSON")
    }

    /// Reads what was stored.
    pub fn decode(stored: &[u8]) -> Result<Self, RecordError> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let damaged = |error: serde_json::Error| RecordError::Damaged(error.to_string());
        match serde_json::from_slice::<Versioned>(stored).map_err(damaged)?.version {
            VERSION => serde_json::from_slice::<Written>(stored).map_err(damaged).and_then(read),
            version => Err(RecordError::Newer(version)),
        }
    }
}

/// Each cause once, by its number. Where there are too many, further ones are left out: those of the newest gaps come first.
#[derive(Default)]
struct Causes(Vec<String>);

impl Causes {
    fn number(&mut self, cause: &str) -> Option<usize> {
        let known = self.0.iter().position(|known| known == cause);
        if known.is_none() && self.0.len() < CAUSES_MAX {
            self.0.push(cause.to_owned());
            return Some(self.0.len() - 1);
        }
        known
    }
}

fn gap_written(gap: &Gap, causes: &mut Causes) -> GapWritten {
    GapWritten {
        key: gap.key,
        opened_at: gap.opened_at,
        from: gap.range.from(),
        to: gap.range.to(),
        warned_percent: gap.warned_percent,
        losing: gap.is_losing,
        cause: causes.number(&gap.cause),
    }
}

fn ended_written(ended: &Ended, causes: &mut Causes) -> EndedWritten {
    let gap = &ended.gap;
    let end = match ended.end {
        End::Closed => EndWritten::Closed,
        End::Lost => EndWritten::Lost,
    };
    let cause = causes.number(&gap.cause);
    (gap.key, gap.opened_at, gap.range.from(), gap.range.to(), ended.ended_at, end, micros(ended.lost), cause)
}

fn change_written(change: &Change, causes: &mut Causes) -> ChangeWritten {
    let kind = match change.kind {
        ChangeKind::Opened => KindWritten::Opened,
        ChangeKind::Warned(percent) => KindWritten::Warned(percent),
        ChangeKind::PartlyLost => KindWritten::PartlyLost,
        ChangeKind::Closed => KindWritten::Closed,
        ChangeKind::Lost => KindWritten::Lost,
    };
    ChangeWritten {
        kind,
        gap: gap_written(&change.gap, causes),
        at: change.at,
        from: change.range.from(),
        to: change.range.to(),
        open_us: micros(change.open),
        lost_us: micros(change.lost),
        lost_from: change.lost_from,
    }
}

fn read(written: Written) -> Result<Ledger, RecordError> {
    let causes = &written.causes;
    let mut gaps: Vec<Gap> = written.gaps.iter().map(|gap| gap_read(gap, causes)).collect::<Result<_, _>>()?;
    gaps.sort_by_key(|gap| gap.range);
    let ended = written.ended.iter().map(|row| ended_read(row, causes)).collect::<Result<_, _>>()?;
    let unsaid = written.unsaid.iter().map(|change| change_read(change, causes)).collect::<Result<_, _>>()?;
    Ok(Ledger { gaps, ended, forgotten_before: written.forgotten_before, unsaid })
}

fn gap_read(gap: &GapWritten, causes: &[String]) -> Result<Gap, RecordError> {
    Ok(Gap {
        key: gap.key,
        opened_at: gap.opened_at,
        range: range(gap.from, gap.to)?,
        warned_percent: gap.warned_percent,
        is_losing: gap.losing,
        cause: cause(gap.cause, causes),
    })
}

fn ended_read(row: &EndedWritten, causes: &[String]) -> Result<Ended, RecordError> {
    let (key, opened_at, from, to, ended_at, end, lost_us, number) = *row;
    let end = match end {
        EndWritten::Closed => End::Closed,
        EndWritten::Lost => End::Lost,
    };
    let range = range(from, to)?;
    let gap = Gap { key, opened_at, range, warned_percent: 0, is_losing: false, cause: cause(number, causes) };
    Ok(Ended { gap, ended_at, end, lost: Duration::from_micros(lost_us) })
}

fn change_read(change: &ChangeWritten, causes: &[String]) -> Result<Change, RecordError> {
    let kind = match change.kind {
        KindWritten::Opened => ChangeKind::Opened,
        KindWritten::Warned(percent) => ChangeKind::Warned(percent),
        KindWritten::PartlyLost => ChangeKind::PartlyLost,
        KindWritten::Closed => ChangeKind::Closed,
        KindWritten::Lost => ChangeKind::Lost,
    };
    Ok(Change {
        kind,
        gap: gap_read(&change.gap, causes)?,
        at: change.at,
        range: range(change.from, change.to)?,
        open: Duration::from_micros(change.open_us),
        lost: Duration::from_micros(change.lost_us),
        lost_from: change.lost_from,
    })
}

fn range(from: Timestamp, to: Timestamp) -> Result<TimeRange, RecordError> {
    if from > to { Err(RecordError::Damaged("a range ends before it begins".to_owned())) } else { Ok(span(from, to)) }
}

fn cause(number: Option<usize>, causes: &[String]) -> String {
    number.and_then(|number| causes.get(number)).cloned().unwrap_or_default()
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE_MICROS: i64 = 60_000_000;

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_micros(1_767_225_600_000_000 + minute * MINUTE_MICROS)
    }

    fn gap(minute: i64, cause: &str) -> Gap {
        Gap {
            key: at(minute),
            opened_at: at(minute + 15),
            range: span(at(minute), at(minute + 60)),
            warned_percent: 50,
            is_losing: true,
            cause: cause.to_owned(),
        }
    }

    fn change(kind: ChangeKind, gap: &Gap) -> Change {
        let (open, lost) = (Duration::from_secs(3_000), Duration::from_secs(600));
        Change { kind, gap: gap.clone(), at: at(200), range: gap.range, open, lost, lost_from: Some(at(129_600)) }
    }

    fn ended(minute: i64, end: End, cause: &str) -> Ended {
        let gap = Gap { warned_percent: 0, is_losing: false, ..gap(minute, cause) };
        Ended { gap, ended_at: at(minute + 90), end, lost: Duration::from_secs(60) }
    }

    fn ledger() -> Ledger {
        let open = gap(100, "fetch the audit log: HTTP 503");
        let kinds = [ChangeKind::Opened, ChangeKind::Warned(90), ChangeKind::PartlyLost, ChangeKind::Closed, ChangeKind::Lost];
        Ledger {
            unsaid: kinds.into_iter().map(|kind| change(kind, &open)).collect(),
            ended: vec![ended(-900, End::Lost, "miro-siem was not running"), ended(-500, End::Closed, "fetch the audit log: HTTP 503")],
            gaps: vec![open],
            forgotten_before: at(-1_000),
        }
    }

    #[test]
    fn a_ledger_is_stored_as_in_the_golden_file_and_reads_back() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/gaps/ledger-v1.json");
        let written = ledger().encode();
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(path, &written).expect("the golden file can be written");
        }
        let golden = std::fs::read(path).expect("the golden file can be read");
        assert_eq!(String::from_utf8_lossy(&written), String::from_utf8_lossy(&golden), "a stored form changed: it needs a new version");
        assert_eq!(Ledger::decode(&golden), Ok(ledger()));
    }

    #[test]
    fn what_is_newer_or_damaged_is_refused_by_name() {
        assert_eq!(Ledger::decode(br#"{"version":2,"gaps":"of another kind"}"#), Err(RecordError::Newer(2)));
        let text = String::from_utf8(ledger().encode()).expect("JSON");
        for broken in [&text[..text.len() / 2], "", "[]", &text.replace("\"to\":", "\"to\":-")] {
            assert!(matches!(Ledger::decode(broken.as_bytes()), Err(RecordError::Damaged(_))), "{broken}");
        }
    }

    #[test]
    fn the_largest_ledger_fits_into_one_value_of_the_small_state() {
        let cause = |number: i64| format!("{number:04}{}", "x".repeat(156));
        let gaps: Vec<Gap> = (0..100).map(|number| gap(number * 100, &cause(number))).collect();
        let ledger = Ledger {
            unsaid: gaps.iter().take(16).map(|gap| change(ChangeKind::Opened, gap)).collect(),
            ended: (0..300).map(|number| ended(-30_000 + number, End::Lost, &cause(number + 100))).collect(),
            gaps,
            forgotten_before: at(-40_000),
        };
        let bytes = ledger.encode().len();
        assert!(bytes <= 64 << 10, "{bytes} bytes");
        assert_eq!(Ledger::decode(&ledger.encode()).map(|read| (read.gaps.len(), read.ended.len())), Ok((100, 300)));
    }
}

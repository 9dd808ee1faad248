//! The attestation itself: its JSON, and how it is made from evidence.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Evidence, HOUR, Hours, MissingState, missing::missing};
use crate::{
    event::{TimeRange, Timestamp},
    journal::proof::{Counted, Slot, Tallies, Tally},
};

/// What was collected in a range. Times are RFC 3339 in UTC.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// The program's version.
    pub version: String,
    /// The journal that it is about: 16 hexadecimal digits, the same for the whole life of a state directory.
    pub journal: String,
    /// When it was made.
    pub made_at: String,
    /// The first instant, widened to a whole hour.
    pub from: String,
    /// The first instant after it, widened to a whole hour.
    pub to: String,
    /// Whether every stream is complete.
    pub complete: bool,
    /// Whether all counts and hashes are certain.
    pub exact: bool,
    /// Each stream.
    pub streams: Vec<StreamReport>,
    /// All streams together.
    pub total: Tally,
}

/// One stream.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StreamReport {
    /// The organisation's configured name.
    pub org: String,
    /// The kind.
    pub stream: String,
    /// Where its collection began.
    pub collected_from: String,
    /// Up to here it is collected without a hole.
    pub collected_to: String,
    /// Ids of events since then are remembered one by one: `miro-siem diff` can tell which of them is missing somewhere.
    pub ids_from: String,
    /// Whether all of the range is collected, apart from what has only just happened.
    pub complete: bool,
    /// Whether all its counts and hashes are certain.
    pub exact: bool,
    /// Each hour of the range, by the time of the events.
    pub hours: Vec<HourReport>,
    /// Events without a time, or with one that cannot be, by the day on which they were collected.
    pub undated: Vec<UndatedReport>,
    /// What is not collected.
    pub missing: Vec<MissingReport>,
    /// All hours and days together.
    pub total: Tally,
}

/// What is known of an hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HourState {
    /// All of it is collected.
    Covered,
    /// All of it is collected, and there was nothing.
    Empty,
    /// A part of it is not collected.
    Partly,
    /// Nothing of it is collected, and it will be.
    GapOpen,
    /// Nothing of it is collected, and it cannot be any more.
    GapLost,
    /// Collection began later.
    NotAsked,
    /// It has only just happened, and is on its way.
    Pending,
}

impl HourState {
    /// The name on the page.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Covered => "covered",
            Self::Empty => "empty",
            Self::Partly => "PARTLY",
            Self::GapOpen => "GAP open",
            Self::GapLost => "GAP lost",
            Self::NotAsked => "not asked",
            Self::Pending => "pending",
        }
    }
}

/// One hour.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HourReport {
    /// Its first instant.
    pub from: String,
    /// What is known of it.
    pub state: HourState,
    /// Whether its count and its hash are certain.
    pub exact: bool,
    /// What was collected.
    #[serde(flatten)]
    pub tally: Tally,
}

/// One day of collection.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UndatedReport {
    /// Its first instant.
    pub day: String,
    /// Whether its count and its hash are certain.
    pub exact: bool,
    /// What was collected.
    #[serde(flatten)]
    pub tally: Tally,
}

/// A part that is not collected.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MissingReport {
    /// Its first instant.
    pub from: String,
    /// The first instant after it.
    pub to: String,
    /// What is to be expected of it.
    pub state: MissingState,
    /// How long it is.
    pub secs: f64,
}

impl Report {
    /// Makes the report of a range.
    pub fn new(journal: u64, evidence: &[Evidence], hours: Hours, now: Timestamp) -> Self {
        let streams: Vec<StreamReport> = evidence.iter().map(|one| stream_report(one, hours, now)).collect();
        let mut total = Tally::default();
        streams.iter().for_each(|stream| total.add(&stream.total));
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            journal: format!("{journal:016x}"),
            made_at: now.to_rfc3339_secs(),
            from: hours.range().from().to_rfc3339_secs(),
            to: hours.range().to().to_rfc3339_secs(),
            complete: streams.iter().all(|stream| stream.complete),
            exact: streams.iter().all(|stream| stream.exact),
            streams,
            total,
        }
    }
}

fn stream_report(evidence: &Evidence, hours: Hours, now: Timestamp) -> StreamReport {
    let Evidence { stream, coverage, tallies, ids_from, rules } = evidence;
    let counted: BTreeMap<Slot, &Counted> = tallies.rows.iter().map(|row| (row.slot, row)).collect();
    let all = missing(coverage, *rules, hours.range(), now);
    let mut holes = all.iter().peekable();
    let mut rows = Vec::new();
    for hour in hours.iter() {
        // Both are in order of time: a hole that ends in this hour is done with.
        while holes.next_if(|hole| hole.range.to() <= hour.from()).is_some() {}
        let inside = holes.clone().take_while(|hole| hole.range.from() < hour.to());
        let parts: Vec<(TimeRange, MissingState)> = inside.map(|hole| (within(hole.range, hour), hole.state)).collect();
        let row = counted.get(&Slot::Hour(hour.from()));
        let tally = row.map(|row| row.tally).unwrap_or_default();
        let exact = row.map_or_else(|| is_sure(tallies, hour), |row| row.exact);
        rows.push(HourReport { from: hour.from().to_rfc3339_secs(), state: state(hour, &parts, &tally, exact), exact, tally });
    }
    let undated: Vec<UndatedReport> = tallies.rows.iter().filter_map(undated).collect();
    let mut total = Tally::default();
    rows.iter().map(|row| &row.tally).chain(undated.iter().map(|row| &row.tally)).for_each(|tally| total.add(tally));
    StreamReport {
        org: stream.org.to_string(),
        stream: stream.kind.to_string(),
        collected_from: coverage.origin().to_rfc3339_millis(),
        collected_to: coverage.watermark().to_rfc3339_millis(),
        ids_from: (*ids_from).max(coverage.origin()).to_rfc3339_millis(),
        complete: all.iter().all(|hole| hole.state == MissingState::Pending),
        exact: rows.iter().all(|row| row.exact) && undated.iter().all(|row| row.exact),
        hours: rows,
        undated,
        missing: all
            .iter()
            .map(|hole| MissingReport {
                from: hole.range.from().to_rfc3339_millis(),
                to: hole.range.to().to_rfc3339_millis(),
                state: hole.state,
                secs: hole.range.length().as_secs_f64(),
            })
            .collect(),
        total,
    }
}

fn within(part: TimeRange, hour: TimeRange) -> TimeRange {
    TimeRange::new(part.from().max(hour.from()), part.to().min(hour.to())).unwrap_or(TimeRange::EMPTY)
}

/// Whether an hour without a row was counted.
fn is_sure(tallies: &Tallies, hour: TimeRange) -> bool {
    tallies.unsure.iter().all(|unsure| unsure.to() <= hour.from() || hour.to() <= unsure.from())
}

/// The state of an hour, from its holes.
fn state(hour: TimeRange, holes: &[(TimeRange, MissingState)], tally: &Tally, exact: bool) -> HourState {
    let length = |wanted: MissingState| -> std::time::Duration {
        holes.iter().filter(|(_, state)| *state == wanted).map(|(part, _)| part.length()).sum()
    };
    let whole = |wanted| length(wanted) == hour.length();
    match holes {
        [] if tally.collected == 0 && exact => HourState::Empty,
        [] => HourState::Covered,
        _ if whole(MissingState::Open) => HourState::GapOpen,
        _ if whole(MissingState::Lost) => HourState::GapLost,
        _ if whole(MissingState::NotAsked) => HourState::NotAsked,
        _ if holes.iter().all(|(_, state)| *state == MissingState::Pending) => HourState::Pending,
        _ => HourState::Partly,
    }
}

fn undated(row: &Counted) -> Option<UndatedReport> {
    let Slot::Undated(day) = row.slot else { return None };
    Some(UndatedReport { day: day.to_rfc3339_secs(), exact: row.exact, tally: row.tally })
}

impl HourReport {
    /// From its first instant to its end; `None` where something else has made the report.
    pub fn range(&self) -> Option<TimeRange> {
        let from = Timestamp::parse(&self.from).ok()?;
        TimeRange::new(from, from.plus(HOUR))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        attest::Rules,
        coverage::Coverage,
        event::{OrgName, StreamId, StreamKind},
    };

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_millis(minutes * 60_000)
    }

    fn range(from: i64, to: i64) -> TimeRange {
        TimeRange::new(at(from), at(to)).expect("from <= to")
    }

    fn evidence(covered: &[(i64, i64)], events: &[(i64, u64)]) -> Evidence {
        let mut coverage = Coverage::starting_at(at(60));
        covered.iter().for_each(|(from, to)| coverage.add(range(*from, *to)).expect("new"));
        let row = |(begins, collected): &(i64, u64)| {
            let tally = Tally { collected: *collected, ..Tally::default() };
            Counted { slot: Slot::Hour(at(*begins)), tally, exact: true }
        };
        Evidence {
            stream: StreamId::new(OrgName::new("acme"), StreamKind::Audit),
            coverage,
            tallies: Tallies { rows: events.iter().map(row).collect(), unsure: Vec::new() },
            ids_from: at(0),
            rules: Rules { retention: Some(Duration::from_secs(36_000)), grace: Duration::from_secs(1_800) },
        }
    }

    fn report(evidence: &Evidence, hours: i64, now: i64) -> StreamReport {
        let hours = Hours::touching(at(0), at(hours * 60)).expect("a range");
        Report::new(7, std::slice::from_ref(evidence), hours, at(now)).streams.remove(0)
    }

    fn states(report: &StreamReport) -> String {
        report.hours.iter().map(|hour| hour.state.as_str()).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn every_hour_has_the_state_that_coverage_gives_it() {
        let evidence = evidence(&[(60, 240), (300, 330), (420, 500)], &[(60, 4), (180, 2), (420, 1)]);
        let report = report(&evidence, 9, 510);
        assert_eq!(states(&report), "not asked, covered, empty, covered, GAP open, PARTLY, GAP open, covered, pending");
        assert!(!report.complete && report.exact);
        assert_eq!(report.total.collected, 7);
    }

    #[test]
    fn what_is_past_retention_is_lost_and_time_that_has_not_come_is_pending() {
        let evidence = evidence(&[(60, 120), (180, 900)], &[]);
        let report = report(&evidence, 17, 905);
        assert!(states(&report).starts_with("not asked, empty, GAP lost, empty"), "{}", states(&report));
        assert!(states(&report).ends_with("empty, pending, pending"), "{}", states(&report));
    }

    #[test]
    fn a_range_that_is_collected_is_complete_while_the_last_minutes_are_on_their_way() {
        let hours = Hours::touching(at(60), at(300)).expect("a range");
        let report = Report::new(7, &[evidence(&[(60, 295)], &[(60, 1)])], hours, at(300));
        assert!(report.complete && report.exact);
        assert_eq!(report.journal, "0000000000000007");
    }

    #[test]
    fn an_hour_that_was_never_counted_is_not_called_empty() {
        let mut evidence = evidence(&[(60, 600)], &[(60, 4)]);
        evidence.tallies.unsure = vec![range(-1_000, 180)];
        let report = report(&evidence, 4, 600);
        assert_eq!(states(&report), "not asked, covered, covered, empty");
        assert_eq!(report.hours.iter().map(|hour| hour.exact).collect::<Vec<_>>(), [false, true, false, true]);
        assert!(!report.exact);
    }

    #[test]
    fn the_report_reads_back_as_it_was_written() {
        let hours = Hours::touching(at(0), at(300)).expect("a range");
        let report = Report::new(u64::MAX, &[evidence(&[(60, 295)], &[(60, 1)])], hours, at(300));
        let text = serde_json::to_string(&report).expect("JSON");
        let again: Report = serde_json::from_str(&text).expect("a report");
        assert_eq!(serde_json::to_string(&again).expect("JSON"), text);
        assert!(text.contains("\"id_hash\":\"0000"), "{text}");
    }
}

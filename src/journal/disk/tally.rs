//! Counting a page: from its events to what it adds to the tally of each hour.

use chrono::{Datelike, NaiveDate};

use super::page::{Bucket, Page};
use crate::{
    event::{EventId, Origin, Timestamp},
    journal::{
        Commit,
        proof::{Slot, Tally},
    },
};

const MICROS_PER_HOUR: i64 = 3_600_000_000;

/// Hours that an event of Miro's can have happened in: from 2010, before Miro was founded, to 2100. What claims another time is
/// counted with the events that have none, so that a foolish time leaves no file behind.
const HOURS: std::ops::Range<i32> = 14_610 * 24..47_482 * 24;

/// What a page adds, by slot.
pub(super) type PageTally = Vec<(Bucket, Tally)>;

/// A calendar month, counted from year 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Month(pub(super) i32);

impl Month {
    /// The UTC month that a slot lies in.
    pub(super) fn of(bucket: Bucket) -> Self {
        // Slots outside of what chrono can express are held at its ends; their hours are outside of `HOURS` anyway.
        let date = NaiveDate::from_epoch_days(bucket.day()).unwrap_or(if bucket.day() < 0 { NaiveDate::MIN } else { NaiveDate::MAX });
        Self(date.year() * 12 + date.month0().cast_signed())
    }

    /// As in a file's name: `2026-03`.
    pub(super) fn name(self) -> String {
        format!("{:04}-{:02}", self.0.div_euclid(12), self.0.rem_euclid(12) + 1)
    }

    /// Reads what `name` gives.
    pub(super) fn parse(name: &str) -> Option<Self> {
        let (year, month) = name.rsplit_once('-')?;
        let (year, month): (i32, i32) = (year.parse().ok()?, month.parse().ok()?);
        let read = Self(year.checked_mul(12)?.checked_add(month - 1)?);
        ((1..=12).contains(&month) && read.name() == name).then_some(read)
    }

    /// Its first instant; `None` past the calendar's end.
    pub(super) fn begins(self) -> Option<Timestamp> {
        let date = NaiveDate::from_ymd_opt(self.0.div_euclid(12), self.0.rem_euclid(12).cast_unsigned() + 1, 1)?;
        Some(Timestamp::from_millis(i64::from(date.to_epoch_days()) * 86_400_000))
    }
}

/// The hour since the epoch that an instant lies in.
pub(super) fn hour_of(time: Timestamp) -> i32 {
    let hour = time.as_micros().div_euclid(MICROS_PER_HOUR);
    i32::try_from(hour).unwrap_or(if hour < 0 { i32::MIN } else { i32::MAX })
}

/// When an hour since the epoch begins.
pub(super) fn hour_begins(hour: i32) -> Timestamp {
    Timestamp::from_micros(i64::from(hour) * MICROS_PER_HOUR)
}

/// A bucket as others see it.
pub(super) fn slot(bucket: Bucket) -> Slot {
    match bucket {
        Bucket::Hour(hour) => Slot::Hour(hour_begins(hour)),
        Bucket::Undated(day) => Slot::Undated(Timestamp::from_millis(i64::from(day) * 86_400_000)),
    }
}

/// And back.
pub(super) fn bucket(slot: Slot) -> Bucket {
    match slot {
        Slot::Hour(time) => Bucket::of(Some(time), time),
        Slot::Undated(time) => Bucket::of(None, time),
    }
}

/// Whether events are counted under that bucket.
pub(super) fn is_counted(bucket: Bucket) -> bool {
    !matches!(bucket, Bucket::Hour(hour) if !HOURS.contains(&hour))
}

/// Where an event is counted.
fn place(time: Option<Timestamp>, collected_at: Timestamp) -> Bucket {
    let bucket = Bucket::of(time, collected_at);
    if is_counted(bucket) { bucket } else { Bucket::of(None, collected_at) }
}

/// Whether an id or a time was missing. Told from what is stored, so that counting again from the log gives the same: an id that Miro
/// did not give is made by [`crate::event::undecodable_id`].
fn is_undecodable(id: &EventId, time: Option<Timestamp>) -> bool {
    time.is_none() || id.as_bytes().starts_with(b"undecodable-")
}

/// Counts the events of one page.
struct Tallier {
    collected_at: Timestamp,
    rows: PageTally,
}

impl Tallier {
    fn new(collected_at: Timestamp) -> Self {
        Self { collected_at, rows: Vec::new() }
    }

    /// Neighbours mostly share an hour, so it is looked for from the end.
    fn row(&mut self, time: Option<Timestamp>) -> &mut Tally {
        let bucket = place(time, self.collected_at);
        let at = self.rows.iter().rposition(|(held, _)| *held == bucket).unwrap_or_else(|| {
            self.rows.push((bucket, Tally::default()));
            self.rows.len() - 1
        });
        &mut self.rows[at].1
    }

    fn event(&mut self, id: &EventId, time: Option<Timestamp>, origin: Origin) {
        let is_undecodable = is_undecodable(id, time);
        self.row(time).count(id, origin, is_undecodable);
    }
}

/// Counts a commit, of whose events some are new and the others repeats.
pub(super) fn of_commit(commit: &Commit, fresh: &[bool]) -> PageTally {
    let mut tallier = Tallier::new(commit.collected_at);
    for ((event, origin), fresh) in commit.events.iter().zip(fresh) {
        if *fresh {
            tallier.event(&event.id, event.time, *origin);
        } else {
            tallier.row(event.time).duplicates += 1;
        }
    }
    tallier.rows
}

/// Counts a page that is in the log. What was dropped from it is not known any more.
pub(super) fn of_page(page: &Page, collected_at: Timestamp) -> PageTally {
    let mut tallier = Tallier::new(collected_at);
    for event in (0..page.len()).filter_map(|index| page.event(index)) {
        tallier.event(&event.id, event.time, event.origin);
    }
    tallier.rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_are_named_and_read_back() {
        for (days, name) in [(0, "1970-01"), (20_454, "2026-01"), (20_484, "2026-01"), (20_485, "2026-02"), (-1, "1969-12")] {
            let month = Month::of(Bucket::Undated(days));
            assert_eq!(month.name(), name);
            assert_eq!(Month::parse(name), Some(month));
        }
        for other in ["", "2026", "2026-13", "2026-00", "26-01", "2026-1", "x-01"] {
            assert_eq!(Month::parse(other), None, "{other}");
        }
        assert_eq!(Month::parse("2026-02").and_then(Month::begins), Some(Timestamp::from_millis(20_485 * 86_400_000)));
    }

    #[test]
    fn a_time_that_cannot_be_counts_with_the_day_of_collection() {
        let day = Timestamp::from_millis(20_454 * 86_400_000);
        for time in [i64::MIN, -1, 0, i64::MAX] {
            assert_eq!(place(Some(Timestamp::from_micros(time)), day), Bucket::Undated(20_454), "{time}");
        }
        assert_eq!(place(Some(day), day), Bucket::Hour(20_454 * 24));
        assert_eq!(place(None, day), Bucket::Undated(20_454));
    }

    #[test]
    fn slots_are_buckets() {
        for held in [Bucket::Hour(490_896), Bucket::Undated(20_454)] {
            assert_eq!(bucket(slot(held)), held);
        }
    }
}

//! Instants and half-open ranges, to the microsecond.

use std::{fmt, time::Duration};

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use thiserror::Error;

const MICROS_PER_SEC: i64 = 1_000_000;

/// An instant: microseconds since 1970-01-01T00:00:00Z. Miro's own ids carry microseconds, its times milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

/// A time that is in none of the forms which Miro uses.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("not a time of the form 2026-01-31T09:30:10.840Z")]
pub struct ParseTimeError;

impl Timestamp {
    /// From microseconds since the epoch.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// From milliseconds since the epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis.saturating_mul(1_000))
    }

    /// Microseconds since the epoch.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Reads RFC 3339 and the two forms beside it that Miro sends: an offset without a colon (`+0000`), and no fraction.
    pub fn parse(text: &str) -> Result<Self, ParseTimeError> {
        parse_fast(text.as_bytes()).or_else(|| parse_any(text)).ok_or(ParseTimeError)
    }

    /// Later by that much.
    pub fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(by.as_micros()).unwrap_or(i64::MAX)))
    }

    /// Earlier by that much.
    pub fn minus(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(by.as_micros()).unwrap_or(i64::MAX)))
    }

    /// How long it was from `earlier` to this; zero if `earlier` is the later one.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Cut down to whole milliseconds.
    pub fn floor_millis(self) -> Self {
        Self(self.0.div_euclid(1_000) * 1_000)
    }

    /// Cut down to whole seconds.
    pub fn floor_secs(self) -> Self {
        Self(self.0.div_euclid(MICROS_PER_SEC) * MICROS_PER_SEC)
    }

    /// Raised to whole seconds.
    pub fn ceil_secs(self) -> Self {
        Self(-((-self.0).div_euclid(MICROS_PER_SEC)) * MICROS_PER_SEC)
    }

    /// Seconds since the epoch, for gauges, where a rounded value is enough.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / MICROS_PER_SEC as f64
    }

    /// The calendar form; instants past chrono's range are held at its ends.
    pub fn to_datetime(self) -> DateTime<Utc> {
        DateTime::from_timestamp_micros(self.0).unwrap_or(if self.0 < 0 { DateTime::<Utc>::MIN_UTC } else { DateTime::<Utc>::MAX_UTC })
    }

    /// `2026-01-31T09:30:10.840Z`, the form that Miro's query parameters take.
    pub fn to_rfc3339_millis(self) -> String {
        self.to_datetime().to_rfc3339_opts(SecondsFormat::Millis, true)
    }

    /// `2026-01-31T09:30:10Z`, the form that Miro documents for content logs.
    pub fn to_rfc3339_secs(self) -> String {
        self.to_datetime().to_rfc3339_opts(SecondsFormat::Secs, true)
    }
}

impl From<DateTime<Utc>> for Timestamp {
    fn from(time: DateTime<Utc>) -> Self {
        Self(time.timestamp_micros())
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_datetime().to_rfc3339_opts(SecondsFormat::AutoSi, true))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The exact shape `YYYY-MM-DDThh:mm:ss[.fraction](Z|+00:00|+0000)` without going through a general parser: this runs once per event.
fn parse_fast(text: &[u8]) -> Option<Timestamp> {
    if text.len() < 20 || text[4] != b'-' || text[7] != b'-' || text[10] != b'T' || text[13] != b':' || text[16] != b':' {
        return None;
    }
    let year = digits(&text[0..4])?;
    let month = u32::try_from(digits(&text[5..7])?).ok()?;
    let day = u32::try_from(digits(&text[8..10])?).ok()?;
    let (hour, minute, second) = (digits(&text[11..13])?, digits(&text[14..16])?, digits(&text[17..19])?);
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let (micros, zone) = fraction(&text[19..])?;
    if !matches!(zone, b"Z" | b"+0000" | b"+00:00") {
        return None;
    }
    let date = chrono::NaiveDate::from_ymd_opt(i32::try_from(year).ok()?, month, day)?;
    let days = i64::from(date.to_epoch_days());
    Some(Timestamp((((days * 24 + hour) * 60 + minute) * 60 + second) * MICROS_PER_SEC + micros))
}

fn digits(text: &[u8]) -> Option<i64> {
    text.iter().try_fold(0_i64, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + i64::from(byte - b'0')))
}

/// The microseconds of an optional fraction, and what follows it. Digits past the sixth are cut off.
fn fraction(text: &[u8]) -> Option<(i64, &[u8])> {
    let Some(rest) = text.strip_prefix(b".") else { return Some((0, text)) };
    let len = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let kept = len.min(6);
    let scale = 10_i64.pow(6 - u32::try_from(kept).ok()?);
    (len > 0).then_some((digits(&rest[..kept])? * scale, &rest[len..]))
}

fn parse_any(text: &str) -> Option<Timestamp> {
    DateTime::parse_from_rfc3339(text)
        .or_else(|_| DateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f%z"))
        .ok()
        .map(|time| time.with_timezone(&Utc).into())
}

/// A half-open range of time, `[from, to)`; never ends before it begins.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TimeRange {
    from: Timestamp,
    to: Timestamp,
}

impl TimeRange {
    /// A range with nothing inside.
    pub const EMPTY: Self = Self { from: Timestamp(0), to: Timestamp(0) };

    /// The range `[from, to)`; `None` where it would end before it begins.
    pub fn new(from: Timestamp, to: Timestamp) -> Option<Self> {
        (from <= to).then_some(Self { from, to })
    }

    /// The first instant that is inside.
    pub fn from(&self) -> Timestamp {
        self.from
    }

    /// The first instant that is no longer inside.
    pub fn to(&self) -> Timestamp {
        self.to
    }

    /// Whether nothing is inside.
    pub fn is_empty(&self) -> bool {
        self.from == self.to
    }

    /// Whether the instant is inside.
    pub fn contains(&self, time: Timestamp) -> bool {
        self.from <= time && time < self.to
    }

    /// From its first instant to its end.
    pub fn length(&self) -> Duration {
        self.to.since(self.from)
    }
}

impl fmt::Display for TimeRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}, {})", self.from, self.to)
    }
}

impl fmt::Debug for TimeRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, micros: Option<i64>) {
        assert_eq!(Timestamp::parse(text).ok().map(Timestamp::as_micros), micros, "{text}");
    }

    #[test]
    fn every_form_that_miro_sends_is_read() {
        check("1970-01-01T00:00:01Z", Some(1_000_000));
        check("2023-09-01T09:30:10.840+0000", Some(1_693_560_610_840_000));
        check("2023-09-01T09:30:10.840687Z", Some(1_693_560_610_840_687));
        check("2023-09-01T09:30:10.8406879Z", Some(1_693_560_610_840_687));
        check("2023-09-01T09:30:10Z", Some(1_693_560_610_000_000));
        check("2023-09-01T11:30:10+02:00", Some(1_693_560_610_000_000));
        check("2023-09-01T11:30:10.5+0200", Some(1_693_560_610_500_000));
        check("1969-12-31T23:59:59.999Z", Some(-1_000));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "yesterday",
            "2023-13-01T00:00:00Z",
            "2023-02-30T00:00:00Z",
            "2023-09-01T24:00:00Z",
            "2023-09-01T09:30:10",
            "2023-09-01T09:30:10.Z",
            "1693560610",
        ] {
            check(text, None);
        }
    }

    #[test]
    fn both_parsers_agree() {
        for text in ["2023-09-01T09:30:10.840+0000", "2000-02-29T23:59:59.000001Z", "1969-12-31T23:59:59.999Z"] {
            assert_eq!(parse_fast(text.as_bytes()), parse_any(text), "{text}");
        }
    }

    #[test]
    fn seconds_are_cut_and_raised_around_the_epoch() {
        assert_eq!(Timestamp::from_millis(-1).floor_secs(), Timestamp::from_millis(-1_000));
        assert_eq!(Timestamp::from_millis(-1).ceil_secs(), Timestamp::from_millis(0));
        assert_eq!(Timestamp::from_millis(1_001).ceil_secs(), Timestamp::from_millis(2_000));
        assert_eq!(Timestamp::from_millis(1_000).ceil_secs(), Timestamp::from_millis(1_000));
    }

    #[test]
    fn a_range_does_not_end_before_it_begins() {
        let (early, late) = (Timestamp::from_millis(1), Timestamp::from_millis(2));
        assert!(TimeRange::new(late, early).is_none());
        assert_eq!(TimeRange::new(early, late).map(|range| (range.contains(early), range.contains(late))), Some((true, false)));
    }
}

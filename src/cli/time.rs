//! Times as an operator types them.

use std::time::Duration;

use chrono::{NaiveDate, NaiveTime};

use crate::event::Timestamp;

/// A time on the command line: RFC 3339, a date (its midnight, UTC), or an age such as `24h`, `90d` or `1h30m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// That instant.
    At(Timestamp),
    /// That long ago.
    Ago(Duration),
}

impl When {
    /// The instant that is meant.
    pub(super) fn instant(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(at) => at,
            Self::Ago(age) => now.minus(age),
        }
    }
}

/// What clap reads a time with.
pub(super) fn when(text: &str) -> Result<When, String> {
    let text = text.trim();
    if text == "now" {
        return Ok(When::Ago(Duration::ZERO));
    }
    if let Ok(date) = NaiveDate::parse_from_str(text, "%Y-%m-%d") {
        return Ok(When::At(date.and_time(NaiveTime::MIN).and_utc().into()));
    }
    if let Ok(at) = Timestamp::parse(text) {
        return Ok(When::At(at));
    }
    let meant =
        "needs a time such as 2026-01-31T09:30:00Z, a date such as 2026-01-31 (from its beginning, UTC), or an age such as 24h or 90d";
    crate::config::age(text).map(When::Ago).ok_or_else(|| meant.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_dates_and_ages_are_read_and_nothing_else() {
        let now = Timestamp::parse("2026-11-20T10:00:00Z").expect("a time");
        for (text, expected) in [
            ("2026-11-19T10:00:00Z", Some("2026-11-19T10:00:00Z")),
            ("2026-11-19T12:00:00+02:00", Some("2026-11-19T10:00:00Z")),
            ("2026-11-19", Some("2026-11-19T00:00:00Z")),
            ("24h", Some("2026-11-19T10:00:00Z")),
            ("1d30m", Some("2026-11-19T09:30:00Z")),
            ("now", Some("2026-11-20T10:00:00Z")),
            ("2026-13-01", None),
            ("yesterday", None),
            ("90", None),
            ("-5m", None),
            ("", None),
            ("99999999999999d", None),
        ] {
            let found = when(text).ok().map(|when| when.instant(now));
            assert_eq!(found, expected.map(|text| Timestamp::parse(text).expect("a time")), "{text:?}");
        }
    }
}

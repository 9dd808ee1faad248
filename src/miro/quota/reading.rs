//! What one answer says about the quota, in whatever units its headers have.

use std::time::Duration;

use reqwest::header::HeaderMap;

use crate::{event::Timestamp, net};

/// A reset that is further away than this is a clock that is wrong, not a quota.
const RESET_MAX: Duration = Duration::from_secs(10 * 60);

/// What one answer said about the quota.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuotaReading {
    /// Credits a minute.
    pub limit: Option<u32>,
    /// Credits that are left in this minute.
    pub remaining: Option<u32>,
    /// When they come back, by our clock.
    pub resets_at: Option<Timestamp>,
}

impl QuotaReading {
    /// Reads the headers of an answer that came at `now`.
    pub(in crate::miro) fn of(headers: &HeaderMap, now: Timestamp) -> Self {
        let number = |name| headers.get(name).and_then(|value| value.to_str().ok()).and_then(|text| text.trim().parse::<u64>().ok());
        let credits = |name| number(name).map(|credits| u32::try_from(credits).unwrap_or(u32::MAX));
        Self {
            limit: credits("x-ratelimit-limit"),
            remaining: credits("x-ratelimit-remaining"),
            resets_at: number("x-ratelimit-reset").map(|reset| reset_time(reset, net::server_time(headers), now)),
        }
    }
}

/// The unit of the header is not documented: past 10^12 it is taken for milliseconds of the epoch, past 10^9 for its seconds, and below
/// for seconds from now. An instant is measured against the answer's own `Date`, so that a wrong clock of ours does not matter.
fn reset_time(reset: u64, server_time: Option<Timestamp>, now: Timestamp) -> Timestamp {
    let millis = |value: u64| Timestamp::from_millis(i64::try_from(value).unwrap_or(i64::MAX));
    let wait = match reset {
        0..=1_000_000_000 => Duration::from_secs(reset),
        1_000_000_001..=1_000_000_000_000 => millis(reset.saturating_mul(1_000)).since(server_time.unwrap_or(now)),
        _ => millis(reset).since(server_time.unwrap_or(now)),
    };
    now.plus(wait.min(RESET_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_769_851_810_000);

    #[track_caller]
    fn check_reset(reset: u64, server_time: Option<Timestamp>, expected: Duration) {
        assert_eq!(reset_time(reset, server_time, NOW), NOW.plus(expected), "{reset}");
    }

    #[test]
    fn a_reset_is_read_in_every_unit_and_by_miros_own_clock() {
        let secs = Duration::from_secs;
        check_reset(30, None, secs(30));
        check_reset(1_769_851_840, None, secs(30));
        check_reset(1_769_851_840_000, None, secs(30));
        check_reset(1_769_855_440, Some(NOW.plus(secs(3_600))), secs(30));
        check_reset(1_769_851_000, None, Duration::ZERO);
        check_reset(1_869_851_840, None, RESET_MAX);
        check_reset(u64::MAX, None, RESET_MAX);
    }
}

//! How busy the organisation is at an hour of the week.

/// Relative number of events in each hour of a working day, in UTC: an office in Europe and one in America.
const WORKDAY: [u32; 24] = [4, 2, 1, 1, 1, 3, 12, 45, 88, 100, 98, 86, 62, 80, 97, 99, 90, 70, 44, 30, 22, 16, 10, 6];

/// Weekends have this share of a working day's events, in percent.
const WEEKEND_PERCENT: u32 = 6;

const HOUR_US: i64 = 3_600_000_000;

/// The relative number of events in the hour that begins at this time (microseconds since 1970).
pub(crate) fn weight(start_us: i64) -> u32 {
    let hour = start_us.div_euclid(HOUR_US);
    let weight = WORKDAY[hour.rem_euclid(24) as usize] * 100;
    // 1970-01-01 was a Thursday, so day 2 was a Saturday.
    let weekend = matches!((hour.div_euclid(24)).rem_euclid(7), 2 | 3);
    if weekend { weight * WEEKEND_PERCENT / 100 } else { weight }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nights_and_weekends_are_quiet() {
        let at = |text: &str| weight(text.parse::<chrono::DateTime<chrono::Utc>>().expect("a time").timestamp_micros());
        assert!(at("2026-11-20T10:00:00Z") > 20 * at("2026-11-20T03:00:00Z"));
        assert!(at("2026-11-20T10:00:00Z") > 10 * at("2026-11-21T10:00:00Z"));
        assert_eq!(at("2026-11-21T10:00:00Z"), at("2026-11-22T10:00:00Z"));
        assert_eq!(at("2026-11-20T10:00:00Z"), at("2026-11-23T10:00:00Z"));
    }
}

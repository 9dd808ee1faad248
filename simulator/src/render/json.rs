//! Writing JSON by hand: pages are rendered anew for every request, and a bench wants hundreds of thousands of events a second.

use crate::mix::Mix;

/// A JSON string with its quotes; only what RFC 8259 section 7 requires is escaped.
pub(crate) fn put_str(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    put_escaped(out, text);
    out.push(b'"');
}

/// The inside of a JSON string.
pub(crate) fn put_escaped(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    let mut plain_from = 0;
    for (at, byte) in bytes.iter().enumerate() {
        if *byte >= 0x20 && *byte != b'"' && *byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&bytes[plain_from..at]);
        plain_from = at + 1;
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
        }
    }
    out.extend_from_slice(&bytes[plain_from..]);
}

pub(crate) fn put_u64(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Exactly `N` decimal digits, zero-padded; higher digits are cut off.
fn put_padded<const N: usize>(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [b'0'; N];
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
    out.extend_from_slice(&digits);
}

/// `2023-09-01T09:30:10`, from microseconds since 1970.
fn put_seconds(out: &mut Vec<u8>, micros: i64) {
    let secs = micros.div_euclid(1_000_000);
    let (day, second) = (secs.div_euclid(86_400), secs.rem_euclid(86_400) as u64);
    let (year, month, date) = civil(day);
    put_padded::<4>(out, year);
    out.push(b'-');
    put_padded::<2>(out, month);
    out.push(b'-');
    put_padded::<2>(out, date);
    out.push(b'T');
    put_padded::<2>(out, second / 3_600);
    out.push(b':');
    put_padded::<2>(out, second / 60 % 60);
    out.push(b':');
    put_padded::<2>(out, second % 60);
}

/// Year, month and day of a day number since 1970, by Howard Hinnant's `civil_from_days`.
fn civil(day: i64) -> (u64, u64, u64) {
    let shifted = day + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let date = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year as u64, month as u64, date as u64)
}

/// `2023-09-01T09:30:10.840687Z`, the form inside audit ids.
pub(crate) fn put_micros_z(out: &mut Vec<u8>, micros: i64) {
    put_seconds(out, micros);
    out.push(b'.');
    put_padded::<6>(out, micros.rem_euclid(1_000_000) as u64);
    out.push(b'Z');
}

/// `2023-09-01T09:30:10.840+0000`, the usual form of an audit event's `createdAt`.
pub(crate) fn put_millis_offset(out: &mut Vec<u8>, micros: i64) {
    put_seconds(out, micros);
    out.push(b'.');
    put_padded::<3>(out, micros.rem_euclid(1_000_000) as u64 / 1_000);
    out.extend_from_slice(b"+0000");
}

/// `2023-09-01T09:30:10.840Z`
pub(crate) fn put_millis_z(out: &mut Vec<u8>, micros: i64) {
    put_seconds(out, micros);
    out.push(b'.');
    put_padded::<3>(out, micros.rem_euclid(1_000_000) as u64 / 1_000);
    out.push(b'Z');
}

/// `2023-09-01T09:30:10Z`, the form of content and AI entries.
pub(crate) fn put_seconds_z(out: &mut Vec<u8>, micros: i64) {
    put_seconds(out, micros);
    out.push(b'Z');
}

/// A random-looking UUID of version 4, without quotes.
pub(crate) fn put_uuid(out: &mut Vec<u8>, mix: &mut Mix) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let high = (mix.next() & !0xF000) | 0x4000;
    let low = (mix.next() >> 2) | 0x8000_0000_0000_0000;
    for nibble in 0..32 {
        if matches!(nibble, 8 | 12 | 16 | 20) {
            out.push(b'-');
        }
        let word = if nibble < 16 { high } else { low };
        out.push(HEX[((word >> (60 - nibble % 16 * 4)) & 15) as usize]);
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, SecondsFormat};

    use super::*;

    #[test]
    fn times_equal_those_of_chrono() {
        for micros in [0, 951_782_400_000_000, 1_693_560_610_840_687, 1_798_761_599_999_999, 4_102_444_800_000_001, 951_868_799_000_000] {
            let time = DateTime::from_timestamp_micros(micros).expect("in range");
            let mut out = Vec::new();
            put_micros_z(&mut out, micros);
            assert_eq!(String::from_utf8(out).expect("ASCII"), time.to_rfc3339_opts(SecondsFormat::Micros, true));
        }
        let mut out = Vec::new();
        put_millis_offset(&mut out, 1_693_560_610_840_687);
        assert_eq!(out, b"2023-09-01T09:30:10.840+0000");
    }

    #[test]
    fn strings_survive_a_json_parser() {
        for text in ["", "plain", "\"\\/\n\t\r\0\u{1f}\u{7f}", "é漢\u{2028}👩🏽‍💻"] {
            let mut out = Vec::new();
            put_str(&mut out, text);
            assert_eq!(serde_json::from_slice::<String>(&out).expect("JSON"), text);
        }
    }

    #[test]
    fn uuids_have_version_4_and_their_variant() {
        let mut mix = Mix::of(&[5]);
        for _ in 0..100 {
            let mut out = Vec::new();
            put_uuid(&mut out, &mut mix);
            let text = String::from_utf8(out).expect("ASCII");
            assert_eq!((text.len(), &text[14..15]), (36, "4"));
            assert!(matches!(&text[19..20], "8" | "9" | "a" | "b"), "{text}");
        }
    }
}

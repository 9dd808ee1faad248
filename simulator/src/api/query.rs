//! Query strings and form bodies: `application/x-www-form-urlencoded`, with repeated keys.

use std::ops::RangeInclusive;

use chrono::{DateTime, Utc};

use super::errors::ApiError;

/// Decoded parameters in their order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Params(Vec<(String, String)>);

impl Params {
    pub(crate) fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        Self(pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).map(|(name, value)| (decode(name), decode(value))).collect())
    }

    pub(crate) fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A required time, in microseconds since 1970.
    pub(crate) fn time_us(&self, name: &'static str) -> Result<i64, ApiError> {
        let text = self.get(name).ok_or_else(|| ApiError::invalid(name, format!("Field [{name}] is required")))?;
        let time: Result<DateTime<Utc>, _> = DateTime::parse_from_rfc3339(text).map(|time| time.to_utc());
        time.map(|time| time.timestamp_micros())
            .map_err(|_| ApiError::invalid(name, format!("Field [{name}] is not an ISO 8601 date and time in UTC")))
    }

    pub(crate) fn limit(&self, allowed: RangeInclusive<u32>, default: u32) -> Result<usize, ApiError> {
        let Some(text) = self.get("limit") else {
            return Ok(default as usize);
        };
        match text.parse() {
            Ok(limit) if allowed.contains(&limit) => Ok(limit as usize),
            _ => Err(ApiError::invalid("limit", format!("Field [limit] must be between {} and {}", allowed.start(), allowed.end()))),
        }
    }

    /// At most so many values of a repeated parameter.
    pub(crate) fn list(&self, name: &'static str, most: usize) -> Result<Vec<&str>, ApiError> {
        let values: Vec<&str> = self.all(name).collect();
        if values.len() > most {
            return Err(ApiError::invalid(name, format!("Field [{name}] must have at most {most} items")));
        }
        Ok(values)
    }
}

/// Percent-decoding with `+` for a blank; what is not UTF-8 afterwards becomes U+FFFD.
fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escaped = (bytes[at] == b'%').then(|| bytes.get(at + 1..at + 3)).flatten().and_then(hex);
        match escaped {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(if bytes[at] == b'+' { b' ' } else { bytes[at] });
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn hex(digits: &[u8]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    Some((digit(digits[0])? * 16 + digit(digits[1])?) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_decode_as_a_form_does() {
        let params = Params::parse("a=1&b=x%23y%3D&b=a+b&c&d=%zz%e2%82%ac&=e");
        assert_eq!(params.get("a"), Some("1"));
        assert_eq!(params.all("b").collect::<Vec<_>>(), ["x#y=", "a b"]);
        assert_eq!((params.get("c"), params.get("d"), params.get("missing")), (Some(""), Some("%zz€"), None));
    }
}

//! Tokens and channels of a request.

use super::{Acks, Edition, HecConfig, QueryTokens, answers::Code};
use crate::http::Head;

/// Checks the token as the collector does: code 2 without one, 3 for a header that is none, 4 for an unknown token, 1 for one that is
/// switched off, 16 for one in the query string.
pub(super) fn check_token(head: &Head, config: &HecConfig) -> Result<(), Code> {
    let token = match (head.query_value("token"), config.query_tokens) {
        (Some(_), QueryTokens::Refused) => return Err(Code::QueryAuthorizationDisabled),
        (Some(token), QueryTokens::Allowed) => token,
        (None, _) => from_header(head.header("authorization").ok_or(Code::TokenRequired)?)?,
    };
    if token == config.token {
        Ok(())
    } else if config.disabled_tokens.contains(&token) {
        Err(Code::TokenDisabled)
    } else {
        Err(Code::InvalidToken)
    }
}

fn from_header(value: &str) -> Result<String, Code> {
    let (scheme, rest) = value.split_once(' ').ok_or(Code::InvalidAuthorization)?;
    let rest = rest.trim();
    if rest.is_empty() {
        return Err(Code::InvalidAuthorization);
    }
    match scheme.to_ascii_lowercase().as_str() {
        "splunk" => Ok(rest.to_owned()),
        "basic" => password(rest).ok_or(Code::InvalidAuthorization),
        _ => Err(Code::InvalidAuthorization),
    }
}

/// With Basic the token is the password, whatever the user's name.
fn password(encoded: &str) -> Option<String> {
    let text = String::from_utf8(base64(encoded)?).ok()?;
    text.split_once(':').map(|(_, password)| password.to_owned())
}

/// Decodes RFC 4648 section 4.
fn base64(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=');
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    let (mut bits, mut held) = (0_u32, 0);
    for symbol in text.bytes() {
        let value = match symbol {
            b'A'..=b'Z' => symbol - b'A',
            b'a'..=b'z' => symbol - b'a' + 26,
            b'0'..=b'9' => symbol - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6) | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from((bits >> held) & 0xff).ok()?);
        }
    }
    Some(bytes)
}

/// The channel of a request; needed, and a GUID, where the token uses acknowledgement.
pub(super) fn channel(head: &Head, config: &HecConfig) -> Result<Option<String>, Code> {
    let named = head.header("x-splunk-request-channel").map(str::to_owned).or_else(|| head.query_value("channel"));
    if config.acks == Acks::Off {
        return Ok(None);
    }
    match named {
        None => Err(match config.edition {
            Edition::Enterprise => Code::ChannelMissing,
            Edition::Cloud => Code::CloudChannelMissing,
        }),
        Some(name) if is_guid(&name) => Ok(Some(name.to_ascii_lowercase())),
        Some(_) => Err(Code::InvalidChannel),
    }
}

fn is_guid(text: &str) -> bool {
    let groups: Vec<&str> = text.split('-').collect();
    let lengths: Vec<usize> = groups.iter().map(|group| group.len()).collect();
    lengths == [8, 4, 4, 4, 12] && groups.iter().all(|group| group.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_from_a_splunk_or_a_basic_header() {
        let check = |value: &str, expected: Result<&str, Code>| {
            assert_eq!(from_header(value), expected.map(str::to_owned), "{value}");
        };
        check("Splunk abc", Ok("abc"));
        check("splunk  abc", Ok("abc"));
        check("Basic eDphYmM=", Ok("abc"));
        check("Basic OmFiYw==", Ok("abc"));
        check("Basic *", Err(Code::InvalidAuthorization));
        check("Bearer abc", Err(Code::InvalidAuthorization));
        check("Splunk ", Err(Code::InvalidAuthorization));
        check("abc", Err(Code::InvalidAuthorization));
    }

    #[test]
    fn a_channel_is_a_guid() {
        assert!(is_guid("FE0ECFAD-13D5-401B-847D-77833BD77131"));
        assert!(!is_guid("FE0ECFAD-13D5-401B-847D-77833BD7713"));
        assert!(!is_guid("fe0ecfad13d5401b847d77833bd77131"));
        assert!(!is_guid("ge0ecfad-13d5-401b-847d-77833bd77131"));
    }
}

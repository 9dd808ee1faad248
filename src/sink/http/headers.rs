//! Headers that the operator has added, any of which may be a secret.

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret as _, SecretString};

use super::{super::SinkError, BuildError, read_secret};
use crate::{config::Secret, sink::ErrorClass};

/// Sees that every name is one that HTTP knows.
///
/// # Errors
/// If one is not.
pub fn check_header_names(headers: &[(String, Secret)]) -> Result<(), BuildError> {
    match headers.iter().find(|(name, _)| HeaderName::from_bytes(name.as_bytes()).is_err()) {
        Some((name, _)) => Err(BuildError::setting("headers", format!("hold {name:?}, which is no name of a header"))),
        None => Ok(()),
    }
}

/// Reads the values now, so that a changed file is picked up; and what of them must not be shown.
///
/// # Errors
/// Auth if a value cannot be read, or if no header can carry it.
pub fn read_headers(headers: &[(String, Secret)]) -> Result<(HeaderMap, Vec<SecretString>), SinkError> {
    let (mut map, mut secrets) = (HeaderMap::new(), Vec::new());
    for (name, value) in headers {
        let key = format!("headers.{name}");
        let value = read_secret(&key, value)?;
        map.insert(header_name(name)?, header_value(&key, &value)?);
        secrets.push(value);
    }
    Ok((map, secrets))
}

fn header_name(name: &str) -> Result<HeaderName, SinkError> {
    HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| SinkError::new(ErrorClass::Config, format!("use headers: {name:?} is no name of a header")))
}

fn header_value(key: &str, value: &SecretString) -> Result<HeaderValue, SinkError> {
    let mut header = HeaderValue::try_from(value.expose_secret()).map_err(|_| {
        SinkError::new(ErrorClass::Auth, format!("use {key}: it holds characters that no HTTP header can carry; check how it was written"))
    })?;
    header.set_sensitive(true);
    Ok(header)
}

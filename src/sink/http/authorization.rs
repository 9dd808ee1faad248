//! The `Authorization` header, from the credential that was configured.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret as _, SecretString};

use super::{super::SinkError, credential_header, read_secret};
use crate::config::settings::HttpCredential;

/// A header for one request, and what of it must not be shown.
pub struct Authorization {
    header: Option<HeaderValue>,
    secrets: Vec<SecretString>,
}

impl Authorization {
    /// Reads the credential now, so that a changed file is picked up.
    ///
    /// # Errors
    /// Auth if it cannot be read, or if no header can carry it.
    pub fn read(credential: &HttpCredential) -> Result<Self, SinkError> {
        match credential {
            HttpCredential::None => Ok(Self { header: None, secrets: Vec::new() }),
            HttpCredential::Bearer(token) => Self::plain("bearer_token", "Bearer", read_secret("bearer_token", token)?),
            HttpCredential::ApiKey(key) => Self::plain("api_key", "ApiKey", read_secret("api_key", key)?),
            HttpCredential::Basic { username, password } => {
                let password = read_secret("password", password)?;
                let pair = SecretString::from(BASE64_STANDARD.encode(format!("{username}:{}", password.expose_secret())));
                let header = credential_header("password", "Basic", &pair)?;
                Ok(Self { header: Some(header), secrets: vec![pair, password] })
            }
        }
    }

    fn plain(key: &str, scheme: &str, secret: SecretString) -> Result<Self, SinkError> {
        Ok(Self { header: Some(credential_header(key, scheme, &secret)?), secrets: vec![secret] })
    }

    /// The header's value, if there is one.
    pub fn header(&self) -> Option<HeaderValue> {
        self.header.clone()
    }

    /// What must not be shown.
    pub fn secrets(&self) -> impl Iterator<Item = &SecretString> {
        self.secrets.iter()
    }
}

impl std::fmt::Debug for Authorization {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authorization(…)")
    }
}

//! Pseudonyms: what a value is replaced by, so that the same value can be recognised and not be read.

use std::fmt;

use hmac::{Hmac, Mac};
use secrecy::ExposeSecret as _;
use sha2::Sha256;
use thiserror::Error;

use super::super::raw::push_hex;
use crate::config::{Secret, secret::SecretError, settings::REDACT_KEY_BYTES_MIN as KEY_BYTES_MIN};

/// Of the 32 bytes of an HMAC-SHA-256. Among ten thousand million values, two have the same 16 bytes with a probability of less
/// than one in 10^18.
const BYTES: usize = 16;

/// Why there are no pseudonyms.
#[derive(Debug, Error)]
pub enum KeyError {
    /// It could not be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// It is too short.
    #[error(
        "the key of `redact` has {bytes} bytes and needs at least {KEY_BYTES_MIN}, because a short one can be found by trying; make one \
         with `openssl rand -hex 32`"
    )]
    Short {
        /// How many it has.
        bytes: usize,
    },
}

/// Makes pseudonyms with one key.
#[derive(Clone)]
pub(super) struct Pseudonyms(Hmac<Sha256>);

impl Pseudonyms {
    /// With the key that is there now.
    pub(super) fn with(key: &Secret) -> Result<Self, KeyError> {
        let key = key.read()?;
        let key = key.expose_secret().as_bytes();
        match Hmac::new_from_slice(key) {
            Ok(keyed) if key.len() >= KEY_BYTES_MIN => Ok(Self(keyed)),
            _ => Err(KeyError::Short { bytes: key.len() }),
        }
    }

    /// Adds the pseudonym of a text as a JSON string: `"hmac-"` and 32 digits.
    pub(super) fn push(&self, text: &[u8], out: &mut Vec<u8>) {
        let mut mac = self.0.clone();
        mac.update(text);
        out.extend_from_slice(b"\"hmac-");
        push_hex(&mac.finalize().into_bytes()[..BYTES], out);
        out.push(b'"');
    }
}

impl fmt::Debug for Pseudonyms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pseudonyms(…)")
    }
}

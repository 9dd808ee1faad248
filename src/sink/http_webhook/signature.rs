//! Standard Webhooks, symmetric signatures (v1): HMAC-SHA256 over `id.timestamp.body`, under a secret written as `whsec_` and base64.

use std::time::SystemTime;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use hmac::{Hmac, Mac as _};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};

use super::super::{Batch, ErrorClass, SinkError, http};
use crate::config::Secret;

/// "Between 24 bytes (192 bits) and 64 bytes (512 bits)", says the specification.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// Of the batch's digest: 128 bits tell any two batches apart.
const ID_BYTES: usize = 16;

const ID: HeaderName = HeaderName::from_static("webhook-id");
const TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// How a secret begins, before its base64.
const PREFIX: &str = "whsec_";

/// A key, ready to sign. It has no `Debug`.
pub(super) struct SigningKey {
    mac: Hmac<Sha256>,
    /// The base64 by itself, without what it begins with: that is in any longer text too.
    secret: SecretString,
}

impl SigningKey {
    /// Reads the secret now.
    pub(super) fn read(secret: &Secret) -> Result<Self, SinkError> {
        let text = http::read_secret("signing_secret", secret)?;
        let text = text.expose_secret();
        let text = text.strip_prefix(PREFIX).unwrap_or(text);
        let bytes = BASE64_STANDARD.decode(text).unwrap_or_default();
        let mac = KEY_BYTES.contains(&bytes.len()).then(|| Hmac::new_from_slice(&bytes).ok()).flatten();
        mac.map(|mac| Self { mac, secret: SecretString::from(text) }).ok_or_else(|| {
            let why = "use signing_secret: it is not whsec_ and 24 to 64 bytes in base64; copy it from the receiver again";
            SinkError::new(ErrorClass::Auth, why)
        })
    }

    /// What must not be shown.
    pub(super) fn secret(&self) -> &SecretString {
        &self.secret
    }

    /// The three headers of a request with that body.
    pub(super) fn headers(&self, batch: &Batch<'_>, body: &[u8], now: SystemTime) -> HeaderMap {
        let id = batch_id(batch);
        let timestamp = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let mut mac = self.mac.clone();
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body);
        let signature = format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()));
        let value = |text: String| HeaderValue::try_from(text).expect("hex, digits and base64 are what a header can carry");
        HeaderMap::from_iter([(ID, value(id)), (TIMESTAMP, value(timestamp.to_string())), (SIGNATURE, value(signature))])
    }
}

/// The same for the same events of the same stream, and for nothing else: what a receiver can drop a repeated request by.
fn batch_id(batch: &Batch<'_>) -> String {
    let mut digest = Sha256::new_with_prefix(batch.stream().to_string());
    for event in batch.events().first().into_iter().chain(batch.events().last()) {
        // A zero byte is in no id, so that two ids cannot be taken for two others.
        digest.update([0]);
        digest.update(event.id.as_bytes());
    }
    digest.update([0]);
    digest.update(batch.len().to_be_bytes());
    digest.finalize()[..ID_BYTES].iter().fold("miro_".to_owned(), |id, byte| id + &format!("{byte:02x}"))
}

//! A token that does not expire.

use futures_util::future::BoxFuture;

use super::{AccessToken, TokenKind, TokenSource};
use crate::{
    config::Secret,
    event::Timestamp,
    miro::{MiroClass, MiroError},
};

/// A token from the configuration, read again at each use.
#[derive(Debug)]
pub struct StaticToken {
    secret: Secret,
    key: String,
}

impl StaticToken {
    /// The token behind a secret; `key` is where it is configured, such as `orgs.acme.token`.
    pub fn new(secret: Secret, key: impl Into<String>) -> Self {
        Self { secret, key: key.into() }
    }

    fn read(&self) -> Result<AccessToken, MiroError> {
        match self.secret.read() {
            Ok(secret) => Ok(AccessToken::new(secret, None)),
            Err(error) => Err(MiroError::new(MiroClass::Config, "secret", format!("failed to get the token at {}: {error}", self.key))),
        }
    }
}

impl TokenSource for StaticToken {
    fn token(&self) -> BoxFuture<'_, Result<AccessToken, MiroError>> {
        Box::pin(std::future::ready(self.read()))
    }

    fn rejected<'a>(&'a self, used: &'a AccessToken) -> BoxFuture<'a, Result<Option<AccessToken>, MiroError>> {
        // It may have been replaced while the request was under way.
        let other = self.read().map(|token| Some(token).filter(|token| !token.is(used.secret())));
        Box::pin(std::future::ready(other))
    }

    fn expires_at(&self) -> Option<Timestamp> {
        None
    }

    fn key(&self) -> &str {
        &self.key
    }

    fn kind(&self) -> TokenKind {
        TokenKind::Static
    }
}

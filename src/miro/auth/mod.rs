//! Access tokens: where they come from, and what happens when one is refused.
//!
//! A static token ([`StaticToken`]) is read from the configuration's secret at each use, so that a changed file is picked up.

use std::fmt::Debug;

use futures_util::future::BoxFuture;
use secrecy::{ExposeSecret, SecretString};

use super::MiroError;
pub use super::sentence::TokenKind;
use crate::event::Timestamp;

pub use fixed::StaticToken;

mod fixed;

/// A token that opens Miro's API for a while or for good.
#[derive(Clone, Debug)]
pub struct AccessToken {
    secret: SecretString,
    expires_at: Option<Timestamp>,
}

impl AccessToken {
    /// A token, and when it expires if it does.
    pub fn new(secret: SecretString, expires_at: Option<Timestamp>) -> Self {
        Self { secret, expires_at }
    }

    /// The token itself.
    pub fn secret(&self) -> &SecretString {
        &self.secret
    }

    /// When it expires, if it does.
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.expires_at
    }

    /// Whether both are the same token.
    pub fn is(&self, other: &SecretString) -> bool {
        self.secret.expose_secret() == other.expose_secret()
    }
}

/// Where access tokens come from. One source may serve several streams at once.
pub trait TokenSource: Send + Sync + Debug {
    /// The token to use now.
    ///
    /// # Errors
    /// When there is none to be had: its secret cannot be read, or it cannot be refreshed.
    fn token(&self) -> BoxFuture<'_, Result<AccessToken, MiroError>>;

    /// Miro has answered 401 to this token: another one to try, once, or `None` if there is no other.
    ///
    /// # Errors
    /// When another one should be had and cannot be.
    fn rejected<'a>(&'a self, used: &'a AccessToken) -> BoxFuture<'a, Result<Option<AccessToken>, MiroError>>;

    /// When the newest token expires, where it does and is known.
    fn expires_at(&self) -> Option<Timestamp>;

    /// The configuration key of the credentials, such as `orgs.acme.token`: named in sentences.
    fn key(&self) -> &str;

    /// How its tokens come to be.
    fn kind(&self) -> TokenKind;
}

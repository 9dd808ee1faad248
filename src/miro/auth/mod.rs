//! Access tokens: where they come from, and what happens when one is refused.
//!
//! - A token that stays ([`StaticToken`]) is read from the configuration's secret at each use, so that a changed file is picked up.
//! - An app's grant ([`OauthGrant`]) has access tokens that live for an hour, and refresh tokens that work once: each refresh brings a new pair,
//!   and Miro drops the old one at once. The newest pair is in the state directory; the configured refresh token only begins the grant.
//!   A new one in the configuration begins it anew.
//!
//! It promises that a refresh token is not sent again once its answer is known to be a new pair, that a new pair is on disk, synced, before it is
//! used, and that all who wait for a token cause one refresh.
//!
//! It does not retry: a refresh that failed is tried again when somebody asks for a token again. A grant that Miro has refused for good is not
//! asked about again before the configured credentials change or the program starts anew.
//!
//! After a crash in the middle of a refresh, a mark on disk says so, see `oauth.rs`: the refresh token is sent once more, and if Miro refuses it then,
//! the error says that the pair was lost with the crash and how to begin anew.

use std::fmt::Debug;

use futures_util::future::BoxFuture;
use secrecy::{ExposeSecret, SecretString};

use super::MiroError;
pub use super::sentence::TokenKind;
use crate::event::Timestamp;

pub use fixed::StaticToken;
pub use oauth::{OauthGrant, OauthSettings};

mod files;
mod fixed;
mod oauth;
mod refresh;
mod store;
mod turn;

#[cfg(test)]
mod killed;

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

    /// When a person has to authorise again, unless a token is refreshed before; `None` where that is never needed or not known.
    fn grant_expires_at(&self) -> Option<Timestamp> {
        None
    }

    /// The configuration key of the credentials, such as `orgs.acme.token`: named in sentences.
    fn key(&self) -> &str;

    /// How its tokens come to be.
    fn kind(&self) -> TokenKind;
}

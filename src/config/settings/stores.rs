//! The sinks that are no HTTP receivers of logs: message brokers and object stores.

use url::Url;

use crate::config::Secret;

/// `type = "nats"`
#[derive(Clone, Debug)]
pub struct NatsSettings {
    /// `servers` of one cluster, nats:// or tls://, without credentials in them.
    pub servers: Vec<Url>,
    /// `subject`, with `{org}` and `{stream}`.
    pub subject: String,
    /// `username` and `password`, `token`, `nkey` or `credentials`.
    pub credential: NatsCredential,
    /// `inbox_prefix` of the subjects that acknowledgements come to; the protocol's own `_INBOX` where it is left out.
    pub inbox_prefix: Option<String>,
    /// Whether a connection without TLS is refused: there is a `tls` table, or a server with tls://.
    pub tls: NatsTls,
}

/// When a connection to NATS is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NatsTls {
    /// When the server asks for it.
    WhereOffered,
    /// Always.
    Required,
}

/// How a `nats` sink authenticates.
#[derive(Clone, Debug)]
pub enum NatsCredential {
    /// It does not, or by its TLS certificate.
    None,
    /// `username` and `password`
    Password {
        /// The user.
        username: String,
        /// The password.
        password: Secret,
    },
    /// `token`
    Token(Secret),
    /// `nkey`: the seed of an Ed25519 key.
    Nkey(Secret),
    /// `credentials`: what a .creds file holds, a JWT and a seed.
    Credentials(Secret),
}

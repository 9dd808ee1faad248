//! The sinks that are no HTTP receivers of logs: message brokers and object stores.

use std::path::PathBuf;

use url::Url;

use super::Compression;
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

/// `type = "s3"`
#[derive(Clone, Debug)]
pub struct S3Settings {
    /// `bucket`
    pub bucket: String,
    /// `region`; from the environment, else us-east-1, where it is left out.
    pub region: Option<String>,
    /// `endpoint` of a store that is not AWS's.
    pub endpoint: Option<Url>,
    /// `path_style`
    pub addressing: S3Addressing,
    /// `prefix` of every key, with `{org}`, `{stream}` and strftime's `%Y-%m-%d` and so on, filled from the event's own time in UTC.
    pub prefix: String,
    /// `compression`: none, gzip or zstd.
    pub compression: Compression,
    /// `access_key_id` and `secret_access_key`, `web_identity`, or what the environment has.
    pub credential: S3Credential,
    /// `kms_key_id` of server-side encryption with KMS.
    pub kms_key_id: Option<String>,
    /// `storage_class`
    pub storage_class: Option<String>,
}

/// Where a bucket's name stands in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum S3Addressing {
    /// In the path: `https://s3.example.com/bucket/key`.
    Path,
    /// In the host's name: `https://bucket.s3.example.com/key`.
    VirtualHost,
}

/// How an `s3` sink authenticates.
#[derive(Clone, Debug)]
pub enum S3Credential {
    /// What the environment has: keys, a web identity, a container's or an instance's role.
    Environment,
    /// `access_key_id`, `secret_access_key` and perhaps `session_token`
    Keys {
        /// The key's id.
        access_key_id: String,
        /// The key.
        secret_access_key: Secret,
        /// The token of a temporary key.
        session_token: Option<Secret>,
    },
    /// `web_identity`
    WebIdentity {
        /// The role to assume.
        role_arn: String,
        /// The file with the identity's token, which is read at each renewal.
        token_file: PathBuf,
        /// Where the role is assumed, but for AWS's own.
        sts_endpoint: Option<Url>,
    },
}

//! One organisation's clients, put together from its settings: which streams share a token, a quota and an id.

use std::{path::Path, sync::Arc};

use thiserror::Error;

use super::{
    Connection, Limits, LogClient, LogKind, OrgId, Pages, Quota,
    auth::{OauthGrant, OauthSettings, StaticToken, TokenSource},
};
use crate::{
    clock::Clock,
    config::{
        Secret,
        settings::{AuthSettings, OrgSettings, StreamSettings, TlsSettings},
    },
    event::{OrgName, StreamKind},
    metrics::Metrics,
    net::{self, TlsError},
};

/// What an organisation's clients are given.
#[derive(Clone, Debug)]
pub struct OrgParts<'a> {
    /// TLS for the connection to Miro.
    pub tls: &'a TlsSettings,
    /// Where refreshed tokens are kept.
    pub state_dir: &'a Path,
    /// What time it is.
    pub clock: Clock,
    /// Where requests are counted.
    pub metrics: Metrics,
}

/// Why an organisation's clients could not be put together.
#[derive(Debug, Error)]
pub enum SetupError {
    /// TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Neither the stream nor its organisation has credentials.
    #[error("the stream {stream} has no token: set orgs.{org}.token, or a token in orgs.{org}.{stream}")]
    NoToken {
        /// The organisation.
        org: OrgName,
        /// The stream.
        stream: &'static str,
    },
    /// There is no log of that kind.
    #[error("the stream {0} is not a log")]
    NotALog(&'static str),
}

/// One organisation as Miro's API shows it.
#[derive(Debug)]
pub struct OrgApi {
    name: OrgName,
    connection: Connection,
    org_id: Arc<OrgId>,
    state_dir: std::path::PathBuf,
    /// The organisation's own credentials with their quota.
    shared: Option<Credentials>,
    /// The board on which all of the organisation's quotas are shown.
    quota: Quota,
}

/// Credentials and the quota that belongs to them.
#[derive(Clone, Debug)]
struct Credentials {
    source: Arc<dyn TokenSource>,
    quota: Quota,
}

impl OrgApi {
    /// Sets the connection up; nothing is sent.
    pub fn new(org: &OrgSettings, parts: OrgParts<'_>) -> Result<Self, SetupError> {
        let limits = Limits::default();
        let http = net::http_client(parts.tls, limits.total)?;
        let connection = Connection { http, api_url: org.api_url.clone(), clock: parts.clock, metrics: parts.metrics.clone(), limits };
        let org_id = org.id.as_deref().map_or_else(OrgId::from_the_token, OrgId::configured);
        let quota = Quota::new(org.name.clone(), org.quota_share, parts.metrics);
        let mut api = Self {
            name: org.name.clone(),
            connection,
            org_id: Arc::new(org_id),
            state_dir: parts.state_dir.to_owned(),
            shared: None,
            quota,
        };
        api.shared = org.auth.as_ref().map(|auth| api.credentials(auth, None, api.quota.clone()));
        Ok(api)
    }

    /// The client of one stream.
    pub fn pages(&self, stream: &StreamSettings) -> Result<Arc<dyn Pages>, SetupError> {
        let kind = LogKind::of(stream.kind).ok_or(SetupError::NotALog(stream.kind.as_str()))?;
        let own = stream.auth.as_ref().map(|auth| self.credentials(auth, Some(stream.kind), self.quota.of_another_token()));
        let missing = || SetupError::NoToken { org: self.name.clone(), stream: stream.kind.as_str() };
        let credentials = own.or_else(|| self.shared.clone()).ok_or_else(missing)?;
        let (connection, org_id) = (self.connection.clone(), self.org_id.clone());
        Ok(Arc::new(LogClient::new(connection, self.name.clone(), kind, org_id, credentials.source, credentials.quota)))
    }

    /// The credentials of one stream, or those of the organisation.
    fn credentials(&self, auth: &AuthSettings, stream: Option<StreamKind>, quota: Quota) -> Credentials {
        let owner = Owner { org: &self.name, stream };
        let source: Arc<dyn TokenSource> = match auth {
            AuthSettings::Token(secret) => Arc::new(StaticToken::new(secret.clone(), token_place(owner.key("token"), secret))),
            AuthSettings::Oauth { client_id, client_secret, refresh_token } => {
                let settings = OauthSettings {
                    client_id: client_id.clone(),
                    client_secret: client_secret.clone(),
                    refresh_token: refresh_token.clone(),
                };
                let (connection, name) = (self.connection.clone(), owner.file_name());
                Arc::new(OauthGrant::new(connection, self.name.clone(), owner.key("oauth"), settings, &self.state_dir, &name))
            }
        };
        Credentials { source, quota }
    }
}

/// Where a token is put. Without a configuration file there is no key to be found anywhere, only the variable.
fn token_place(key: String, secret: &Secret) -> String {
    match secret {
        Secret::Env(name) => format!("{key} (${name})"),
        Secret::Literal(_) | Secret::File(_) | Secret::Credential(_) => key,
    }
}

/// Whose credentials they are.
struct Owner<'a> {
    org: &'a OrgName,
    /// None for those of the whole organisation.
    stream: Option<StreamKind>,
}

impl Owner<'_> {
    /// Where they are configured.
    fn key(&self, leaf: &str) -> String {
        match self.stream {
            Some(stream) => format!("orgs.{}.{stream}.{leaf}", self.org),
            None => format!("orgs.{}.{leaf}", self.org),
        }
    }

    /// The name of the grant's file: `acme`, or `acme.audit`. A dash would not do, because an organisation may be called `acme-audit`; whatever in a
    /// name could be taken for the dot or for a path is encoded. So no two owners share a file.
    fn file_name(&self) -> String {
        let encoded = |byte: u8| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        };
        let name: String = self.org.as_str().bytes().map(encoded).collect();
        self.stream.map_or(name.clone(), |stream| format!("{name}.{stream}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_owners_share_a_file() {
        let name = |org: &str, stream| Owner { org: &OrgName::new(org), stream }.file_name();
        assert_eq!(name("acme", None), "acme");
        assert_eq!(name("acme", Some(StreamKind::Audit)), "acme.audit");
        assert_eq!(name("acme-audit", None), "acme-audit");
        assert_eq!(name("acme.audit", None), "acme%2Eaudit");
        assert_eq!(name("../x", None), "%2E%2E%2Fx");
    }

    #[test]
    fn a_token_of_the_environment_is_named_by_its_variable_too() {
        assert_eq!(
            token_place("orgs.miro.token".to_owned(), &Secret::Env("MIRO_ACCESS_TOKEN".to_owned())),
            "orgs.miro.token ($MIRO_ACCESS_TOKEN)"
        );
        assert_eq!(token_place("orgs.acme.token".to_owned(), &Secret::literal("t")), "orgs.acme.token");
    }

    #[test]
    fn credentials_are_named_by_their_key() {
        let key = |stream| Owner { org: &OrgName::new("acme"), stream }.key("oauth");
        assert_eq!((key(None), key(Some(StreamKind::Ai))), ("orgs.acme.oauth".to_owned(), "orgs.acme.ai.oauth".to_owned()));
    }
}

//! From an organisation's configuration to the clients of its logs: which of them share a token, its quota and the organisation's id.

use std::{path::Path, sync::Arc};

use super::{
    Connection, LogClient, LogKind, MiroClass, MiroError, OrgId, Quota,
    auth::{OauthGrant, OauthSettings, StaticToken, TokenSource},
};
use crate::{
    config::settings::{AuthSettings, OrgSettings, StreamSettings},
    event::{OrgName, StreamKind},
};

/// The clients of the logs that are configured, in the order of the configuration. Streams without credentials of their own share those of the
/// organisation. Nothing is sent or read yet.
///
/// # Errors
/// A stream for which there are no credentials at all.
pub fn log_clients(org: &OrgSettings, connection: &Connection, state_dir: &Path) -> Result<Vec<Arc<LogClient>>, MiroError> {
    let quota = Quota::new(org.name.clone(), connection.metrics.clone());
    let org_id = Arc::new(org.id.as_deref().map_or_else(OrgId::from_the_token, OrgId::configured));
    let shared = org.auth.as_ref().map(|auth| source(auth, &Owner { org: &org.name, stream: None }, connection, state_dir));
    let client = |kind: LogKind, stream: &StreamSettings| {
        let own =
            stream.auth.as_ref().map(|auth| source(auth, &Owner { org: &org.name, stream: Some(stream.kind) }, connection, state_dir));
        let (auth, quota) = match (own, &shared) {
            (Some(own), _) => (own, quota.of_another_token()),
            (None, Some(shared)) => (shared.clone(), quota.clone()),
            (None, None) => return Err(no_credentials(&org.name, stream.kind)),
        };
        Ok(Arc::new(LogClient::new(connection.clone(), org.name.clone(), kind, org_id.clone(), auth, quota)))
    };
    org.streams.iter().filter_map(|stream| LogKind::of(stream.kind).map(|kind| client(kind, stream))).collect()
}

fn no_credentials(org: &OrgName, stream: StreamKind) -> MiroError {
    let message = format!(
        "failed to set up {org}/{stream}: it has no credentials; set orgs.{org}.token, or orgs.{org}.{stream}.token for this stream alone"
    );
    MiroError::new(MiroClass::Config, "config", message)
}

/// Whose credentials they are.
struct Owner<'a> {
    org: &'a OrgName,
    /// None for those of the whole organisation.
    stream: Option<StreamKind>,
}

impl Owner<'_> {
    fn key(&self, leaf: &str) -> String {
        match self.stream {
            Some(stream) => format!("orgs.{}.{stream}.{leaf}", self.org),
            None => format!("orgs.{}.{leaf}", self.org),
        }
    }

    /// The name of the grant's file: `acme`, or `acme.audit`. Whatever in the organisation's name could be taken for the dot or for a path is encoded,
    /// so that no two owners share a file.
    fn file_name(&self) -> String {
        let mut name = String::new();
        for byte in self.org.as_str().bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => name.push(char::from(byte)),
                _ => name.push_str(&format!("%{byte:02X}")),
            }
        }
        self.stream.map_or(name.clone(), |stream| format!("{name}.{stream}"))
    }
}

fn source(auth: &AuthSettings, owner: &Owner<'_>, connection: &Connection, state_dir: &Path) -> Arc<dyn TokenSource> {
    match auth {
        AuthSettings::Token(secret) => Arc::new(StaticToken::new(secret.clone(), owner.key("token"))),
        AuthSettings::Oauth { client_id, client_secret, refresh_token } => {
            let settings =
                OauthSettings { client_id: client_id.clone(), client_secret: client_secret.clone(), refresh_token: refresh_token.clone() };
            let grant = OauthGrant::new(connection.clone(), owner.org.clone(), owner.key("oauth"), settings, state_dir, &owner.file_name());
            Arc::new(grant)
        }
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
        assert_eq!(name("acme.audit", None), "acme%2Eaudit");
        assert_eq!(name("../x", None), "%2E%2E%2Fx");
    }

    #[test]
    fn credentials_are_named_by_their_key() {
        let key = |stream| Owner { org: &OrgName::new("acme"), stream }.key("oauth");
        assert_eq!((key(None), key(Some(StreamKind::Ai))), ("orgs.acme.oauth".to_owned(), "orgs.acme.ai.oauth".to_owned()));
    }
}

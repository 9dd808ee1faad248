//! Which organisation a token belongs to: configured, or asked for once.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::OnceCell;

use super::{
    Connection, MiroClass, MiroError, Priority, Quota,
    api::{Api, Get},
    auth::TokenSource,
    decode::ShapeFault,
    sentence::Call,
};
use crate::event::StreamId;

/// What Miro says about a token: `GET /v1/oauth-token` ("Get access token information" in Miro's REST API reference).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenInfo {
    /// The organisation's id; not every token has one.
    pub org_id: Option<String>,
    /// The organisation's name.
    pub org_name: Option<String>,
    /// What the token may do.
    pub scopes: Vec<String>,
    /// The name of the user who authorised it, or the id where there is no name.
    pub user: Option<String>,
    /// The name of the team in which the app is installed, or the id where there is no name.
    pub team: Option<String>,
}

/// Miro's id of an organisation, shared by its streams.
#[derive(Debug)]
pub struct OrgId(OnceCell<String>);

impl OrgId {
    /// The configured id.
    pub fn configured(id: &str) -> Self {
        Self(OnceCell::new_with(Some(id.to_owned())))
    }

    /// To be found through the token when it is first needed.
    pub fn from_the_token() -> Self {
        Self(OnceCell::new())
    }

    /// The id, asked for by one caller while the others wait. A failure is not remembered.
    pub(super) async fn get(&self, api: &Api) -> Result<&str, MiroError> {
        self.0.get_or_try_init(|| find(api)).await.map(String::as_str)
    }
}

async fn find(api: &Api) -> Result<String, MiroError> {
    let info = ask(api).await?;
    let org = &api.stream.org;
    info.org_id.ok_or_else(|| {
        let message = format!("failed to find the organisation of {org}: Miro does not say which one its token belongs to; set orgs.{org}.id, the number in the address of Miro's company settings");
        MiroError::new(MiroClass::Config, "no_organization", message)
    })
}

/// Asks Miro what a stream's token is and may do.
///
/// # Errors
/// Whatever kept the answer from coming; a token that is refused is of the class [`MiroClass::Auth`].
pub async fn token_info(
    connection: &Connection,
    stream: &StreamId,
    auth: &Arc<dyn TokenSource>,
    quota: &Quota,
) -> Result<TokenInfo, MiroError> {
    let api = Api { connection: connection.clone(), stream: stream.clone(), auth: auth.clone(), quota: quota.clone() };
    ask(&api).await
}

pub(super) async fn ask(api: &Api) -> Result<TokenInfo, MiroError> {
    let url = api.connection.url(&["v1", "oauth-token"], &[]);
    let get = Get { call: Call::TokenInfo, url, priority: Priority::Live, cursor: None };
    api.get(get, |body| read(body)).await.map(|answer| answer.value)
}

fn read(body: &[u8]) -> Result<TokenInfo, ShapeFault> {
    serde_json::from_slice::<Written<'_>>(body).map(TokenInfo::from).map_err(|_| ShapeFault::NotTokenInfo)
}

/// The answer as written; everything in it is optional, and ids are text or numbers past 2^53.
#[derive(Deserialize)]
struct Written<'a> {
    #[serde(borrow)]
    organization: Option<Named<'a>>,
    #[serde(borrow)]
    user: Option<Named<'a>>,
    #[serde(borrow)]
    team: Option<Named<'a>>,
    scopes: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Named<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    name: Option<String>,
}

impl Named<'_> {
    fn id(&self) -> Option<String> {
        super::decode::text_or_number(self.id?.get())
    }
}

impl From<Written<'_>> for TokenInfo {
    fn from(written: Written<'_>) -> Self {
        let label = |named: Option<Named<'_>>| named.and_then(|named| named.name.clone().or_else(|| named.id()));
        Self {
            org_id: written.organization.as_ref().and_then(Named::id),
            org_name: written.organization.and_then(|organization| organization.name),
            scopes: written.scopes.unwrap_or_default(),
            user: label(written.user),
            team: label(written.team),
        }
    }
}

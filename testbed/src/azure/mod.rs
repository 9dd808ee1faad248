//! Azure: the Logs Ingestion API, and the two places its tokens come from.
//!
//! Three receivers that share their tokens, each with its own port, faults and ledger:
//! - [`Entra`], https: `POST /{tenant}/oauth2/v2.0/token` with a client secret or a client assertion (workload identity), and the
//!   discovery documents.
//! - [`ManagedIdentity`], http: the endpoint that App Service puts into `IDENTITY_ENDPOINT`.
//! - [`Ingest`], https: `POST /dataCollectionRules/{dcr}/streams/{stream}?api-version=2023-01-01`.
//!
//! The rules of the ingestion that surprise:
//! - A body that is valid JSON but no array is answered with 204, and nothing is stored.
//! - Members that the stream does not declare are not stored; a value above 64 KB is cut. Both in silence: see
//!   [`Ingest::losses`].
//! - `TimeGenerated` older than two days or more than a day ahead is replaced by the time of receipt.
//! - The limit of 1 MiB is on the body as sent; after decompression it is 50 MiB.
//! - Nothing is deduplicated.
//!
//! Of the error codes, `ContentLengthLimitExceeded`, `PayloadSizeLimitExceeded`, `RecordsTimeRangeIsMoreThan30Minutes` and `OperationFailed` are known; the others are made up, so
//! that a sender has to go by the status.
//!
//! Stricter than what is known: an `Authorization` header or a content type that is not as documented is refused.

mod entra;
mod identity;
mod ingest;
mod row;
mod schema;
mod tokens;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use rustls::ServerConfig;

pub use entra::Entra;
pub use identity::ManagedIdentity;
pub use ingest::{Ingest, Losses, Plan, Role, role_missing, throttled};
pub use schema::StreamSchema;

use crate::{
    http::Reply,
    ledger::{Keep, Ledger},
    running::{Running, StartError},
};
use tokens::Tokens;

/// What the three receivers are set up with.
#[derive(Clone)]
pub struct AzureConfig {
    pub listen_ingest: SocketAddr,
    pub listen_entra: SocketAddr,
    pub listen_identity: SocketAddr,
    /// For ingestion and Entra: clients refuse both over plain HTTP.
    pub tls: Arc<ServerConfig>,
    pub tenant_id: String,
    pub client_id: String,
    pub client_secret: String,
    /// The federated token that counts as a client assertion.
    pub client_assertion: String,
    /// What `IDENTITY_HEADER` has to hold.
    pub identity_header: String,
    /// The resource that tokens are asked for.
    pub audience: String,
    pub token_lifetime: Duration,
    /// The immutable id of the data collection rule.
    pub dcr_id: String,
    pub streams: Vec<StreamSchema>,
    pub keep: Keep,
}

impl AzureConfig {
    /// Free ports, made-up names, and Miro's two streams.
    pub fn new(tls: Arc<ServerConfig>) -> Self {
        let local = SocketAddr::from(([127, 0, 0, 1], 0));
        Self {
            listen_ingest: local,
            listen_entra: local,
            listen_identity: local,
            tls,
            tenant_id: "aaaabbbb-0000-4ccc-8111-dddd2222eeee".to_owned(),
            client_id: "00001111-aaaa-4222-8bbb-3333cccc4444".to_owned(),
            client_secret: "entra-client-secret~1".to_owned(),
            client_assertion: "federated.token.of-the-workload".to_owned(),
            identity_header: "5f3c7a0e-identity-header".to_owned(),
            audience: "https://monitor.azure.com".to_owned(),
            token_lifetime: Duration::from_secs(3599),
            dcr_id: "dcr-00000000000000000000000000000001".to_owned(),
            streams: StreamSchema::miro(),
            keep: Keep::default(),
        }
    }
}

impl std::fmt::Debug for AzureConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The secrets stay out.
        f.debug_struct("AzureConfig").field("tenant_id", &self.tenant_id).field("dcr_id", &self.dcr_id).finish_non_exhaustive()
    }
}

/// The three receivers at work.
#[derive(Debug)]
pub struct Azure {
    ingest: Running<Ingest>,
    entra: Running<Entra>,
    identity: Running<ManagedIdentity>,
    tokens: Arc<Tokens>,
}

impl Azure {
    /// # Errors
    /// When one of the addresses cannot be listened on.
    pub fn start(config: AzureConfig) -> Result<Self, StartError> {
        let config = Arc::new(config);
        let tokens = Arc::new(Tokens::new(config.token_lifetime));
        let ledger = Arc::new(Ledger::new(config.keep));
        let quiet = || Arc::new(Ledger::new(Keep::Digests));
        let tls = || Some(Arc::clone(&config.tls));
        let ingest = Ingest::new(Arc::clone(&config), Arc::clone(&tokens), Arc::clone(&ledger));
        let entra = Entra::new(Arc::clone(&config), Arc::clone(&tokens));
        let identity = ManagedIdentity::new(Arc::clone(&config), Arc::clone(&tokens));
        Ok(Self {
            ingest: Running::start(config.listen_ingest, tls(), ingest, ledger)?,
            entra: Running::start(config.listen_entra, tls(), entra, quiet())?,
            identity: Running::start(config.listen_identity, None, identity, quiet())?,
            tokens,
        })
    }

    /// The ingestion endpoint; its ledger holds the events.
    pub fn ingest(&self) -> &Running<Ingest> {
        &self.ingest
    }

    /// The authority.
    pub fn entra(&self) -> &Running<Entra> {
        &self.entra
    }

    pub fn identity(&self) -> &Running<ManagedIdentity> {
        &self.identity
    }

    /// What `IDENTITY_ENDPOINT` has to hold.
    pub fn identity_endpoint(&self) -> String {
        format!("{}{}", self.identity.url(), identity::PATH)
    }

    /// Every token issued so far is refused with 401 from here on.
    pub fn revoke_tokens(&self) {
        self.tokens.revoke_all();
    }

    /// Ends all three.
    pub async fn stop(self) {
        self.ingest.stop().await;
        self.entra.stop().await;
        self.identity.stop().await;
    }
}

/// The form of errors of the ingestion endpoint.
fn error(status: u16, code: &str, message: &str) -> Reply {
    Reply::json(status, serde_json::json!({"error": {"code": code, "message": message}}).to_string())
}

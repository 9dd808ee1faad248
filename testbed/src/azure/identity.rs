//! The managed identity endpoint of App Service.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::json;

use super::{AzureConfig, tokens::Tokens};
use crate::{
    faults::Take,
    http::{Head, Limits, Refusal, Reply, Request, Service},
};

pub(super) const PATH: &str = "/msi/token";
const API_VERSION: &str = "2019-08-01";
const BODY_BYTES_MAX: usize = 64 * 1024;

/// Answers `GET {IDENTITY_ENDPOINT}?api-version=2019-08-01&resource=…` to callers that send `X-IDENTITY-HEADER`.
#[derive(Debug)]
pub struct ManagedIdentity {
    config: Arc<AzureConfig>,
    tokens: Arc<Tokens>,
}

impl ManagedIdentity {
    pub(super) fn new(config: Arc<AzureConfig>, tokens: Arc<Tokens>) -> Self {
        Self { config, tokens }
    }

    fn token(&self, head: &Head) -> Result<Reply, Reply> {
        if head.header("x-identity-header") != Some(self.config.identity_header.as_str()) {
            return Err(refused(401, "the X-IDENTITY-HEADER header is missing or wrong"));
        }
        if head.query_value("api-version").as_deref() != Some(API_VERSION) {
            return Err(refused(400, "the api-version is missing or not supported"));
        }
        let resource = head.query_value("resource").unwrap_or_default();
        if resource.trim_end_matches('/') != self.config.audience {
            return Err(refused(400, "the resource is unknown"));
        }
        // Without an id the system's identity is meant; with one it has to be known.
        if head.query_value("client_id").is_some_and(|id| id != self.config.client_id) {
            return Err(refused(400, "the requested identity has not been assigned to this resource"));
        }
        let token = self.tokens.issue().ok_or_else(|| refused(429, "too many requests"))?;
        let expires = SystemTime::now() + self.tokens.lifetime();
        let expires_secs = expires.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let body = json!({
            "access_token": token, "expires_on": expires_secs.to_string(), "resource": resource,
            "token_type": "Bearer", "client_id": self.config.client_id,
        });
        Ok(Reply::json(200, body.to_string()))
    }
}

fn refused(status: u16, message: &str) -> Reply {
    Reply::json(status, json!({"statusCode": status, "message": message}).to_string())
}

impl Service for ManagedIdentity {
    fn limits(&self) -> Limits {
        Limits { sent_bytes_max: BODY_BYTES_MAX, plain_bytes_max: BODY_BYTES_MAX, encodings: &[] }
    }

    fn refuse(&self, _head: &Head, _why: Refusal) -> Reply {
        refused(400, "the request cannot be read")
    }

    fn handle(&self, request: &Request<'_>, _take: Take) -> Reply {
        match (request.head.method.as_str(), request.head.path.as_str()) {
            ("GET", PATH) => self.token(request.head).unwrap_or_else(|refusal| refusal),
            (_, PATH) => refused(405, "only GET is allowed"),
            _ => refused(404, "not found"),
        }
    }
}

//! Entra: tokens for a client secret or a client assertion, and the discovery documents.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::json;

use super::{AzureConfig, tokens::Tokens};
use crate::{
    faults::Take,
    http::{Head, Limits, Refusal, Reply, Request, Service, form_value},
};

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const BODY_BYTES_MAX: usize = 64 * 1024;

/// The authority. Errors carry the codes that Microsoft documents for the same mistakes.
#[derive(Debug)]
pub struct Entra {
    config: Arc<AzureConfig>,
    tokens: Arc<Tokens>,
    secret: Mutex<String>,
    assertion: Mutex<String>,
}

/// An error of the token endpoint: HTTP status, OAuth error, AADSTS number, text.
struct TokenError(u16, &'static str, u32, &'static str);

impl Entra {
    pub(super) fn new(config: Arc<AzureConfig>, tokens: Arc<Tokens>) -> Self {
        let (secret, assertion) = (config.client_secret.clone(), config.client_assertion.clone());
        Self { config, tokens, secret: Mutex::new(secret), assertion: Mutex::new(assertion) }
    }

    /// From here on only this secret is right.
    pub fn set_client_secret(&self, secret: impl Into<String>) {
        *lock(&self.secret) = secret.into();
    }

    /// From here on only this assertion is right.
    pub fn set_client_assertion(&self, assertion: impl Into<String>) {
        *lock(&self.assertion) = assertion.into();
    }

    fn token(&self, tenant: &str, form: &str) -> Result<Reply, TokenError> {
        let value = |name| form_value(form, name).unwrap_or_default();
        if tenant != self.config.tenant_id {
            return Err(TokenError(400, "invalid_request", 90002, "Tenant not found."));
        }
        if value("grant_type") != "client_credentials" {
            return Err(TokenError(400, "unsupported_grant_type", 70003, "The app requested an unsupported grant type."));
        }
        if value("client_id") != self.config.client_id {
            return Err(TokenError(400, "unauthorized_client", 700_016, "Application was not found in the directory."));
        }
        self.check_credential(form)?;
        let scope = value("scope");
        // Microsoft's own samples write the scope with two slashes, and both work.
        let resource = scope.strip_suffix("/.default").map(|resource| resource.trim_end_matches('/'));
        if resource != Some(self.config.audience.as_str()) {
            return Err(TokenError(400, "invalid_scope", 70011, "The provided value for scope is not valid."));
        }
        let token = self.tokens.issue().ok_or(TokenError(429, "temporarily_unavailable", 50196, "Too many token requests."))?;
        let lifetime_secs = self.tokens.lifetime().as_secs();
        let body = json!({
            "token_type": "Bearer", "expires_in": lifetime_secs, "ext_expires_in": lifetime_secs, "access_token": token,
        });
        Ok(Reply::json(200, body.to_string()))
    }

    fn check_credential(&self, form: &str) -> Result<(), TokenError> {
        match (form_value(form, "client_secret"), form_value(form, "client_assertion")) {
            (Some(secret), None) if secret == *lock(&self.secret) => Ok(()),
            (Some(_), None) => Err(TokenError(401, "invalid_client", 7_000_215, "Invalid client secret provided.")),
            (None, Some(assertion)) => {
                let typed = form_value(form, "client_assertion_type").as_deref() == Some(ASSERTION_TYPE);
                if typed && assertion == *lock(&self.assertion) {
                    Ok(())
                } else {
                    Err(TokenError(401, "invalid_client", 700_213, "No matching federated identity record found."))
                }
            }
            (Some(_), Some(_)) | (None, None) => {
                let text = "The request body must contain one of: client_assertion, client_secret.";
                Err(TokenError(401, "invalid_client", 7_000_218, text))
            }
        }
    }

    fn discovery(&self, head: &Head) -> Reply {
        let base = format!("https://{}", head.header("host").unwrap_or_default());
        let tenant = &self.config.tenant_id;
        let configuration = format!("{base}/{tenant}/v2.0/.well-known/openid-configuration");
        if head.path.ends_with("/discovery/instance") {
            let host = head.header("host").unwrap_or_default();
            let known = json!({"preferred_network": host, "preferred_cache": host, "aliases": [host]});
            return Reply::json(
                200,
                json!({"tenant_discovery_endpoint": configuration, "api-version": "1.1", "metadata": [known]}).to_string(),
            );
        }
        let body = json!({
            "issuer": format!("{base}/{tenant}/v2.0"),
            "authorization_endpoint": format!("{base}/{tenant}/oauth2/v2.0/authorize"),
            "token_endpoint": format!("{base}/{tenant}/oauth2/v2.0/token"),
            "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt"],
            "jwks_uri": format!("{base}/{tenant}/discovery/v2.0/keys"),
            "response_types_supported": ["code", "id_token"],
            "subject_types_supported": ["pairwise"],
            "id_token_signing_alg_values_supported": ["RS256"],
        });
        Reply::json(200, body.to_string())
    }
}

impl TokenError {
    fn reply(&self) -> Reply {
        let Self(status, error, number, text) = self;
        let body = json!({
            "error": error, "error_description": format!("AADSTS{number}: {text}"), "error_codes": [number],
            "timestamp": chrono::Utc::now().format("%Y-%m-%d %H:%M:%SZ").to_string(),
            "trace_id": "00000000-0000-4000-8000-000000000000",
            "correlation_id": "00000000-0000-4000-8000-000000000001",
        });
        Reply::json(*status, body.to_string())
    }
}

impl Service for Entra {
    fn limits(&self) -> Limits {
        Limits { sent_bytes_max: BODY_BYTES_MAX, plain_bytes_max: BODY_BYTES_MAX, encodings: &[] }
    }

    fn refuse(&self, _head: &Head, _why: Refusal) -> Reply {
        TokenError(400, "invalid_request", 900_144, "The request body cannot be read.").reply()
    }

    fn handle(&self, request: &Request<'_>, _take: Take) -> Reply {
        let head = request.head;
        let discovery = ["/.well-known/openid-configuration", "/discovery/instance"];
        if head.method == "GET" && discovery.iter().any(|end| head.path.ends_with(end)) {
            return self.discovery(head);
        }
        let tenant = head.path.strip_prefix('/').and_then(|path| path.strip_suffix("/oauth2/v2.0/token"));
        match (head.method.as_str(), tenant) {
            ("POST", Some(tenant)) => {
                let form = String::from_utf8_lossy(request.body);
                self.token(tenant, &form).unwrap_or_else(|err| err.reply())
            }
            (_, Some(_)) => TokenError(405, "invalid_request", 900_561, "The endpoint only accepts POST requests.").reply(),
            (_, None) => Reply::empty(404),
        }
    }
}

fn lock(text: &Mutex<String>) -> MutexGuard<'_, String> {
    text.lock().unwrap_or_else(PoisonError::into_inner)
}

//! Access tokens, through Microsoft's identity library over our own connections.
//!
//! The library keeps a token until five minutes before it expires. It neither retries here nor opens connections of its own: the
//! driver waits, and the settings of `tls` and the proxies apply. Only a managed identity is asked without a proxy, because its
//! endpoint exists on this machine alone.

use std::{
    error::Error as _,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use azure_core::{
    cloud::{CloudConfiguration, CustomConfiguration},
    credentials::{Secret as AzureSecret, TokenCredential},
    error::ErrorKind,
    http::{
        AsyncRawResponse, ClientOptions, HttpClient, Method, Request, RetryOptions, Transport,
        headers::{HeaderName, HeaderValue, Headers},
        request::Body,
    },
};
use azure_identity::{
    ClientAssertionCredentialOptions, ClientSecretCredential, ClientSecretCredentialOptions, ManagedIdentityCredential,
    ManagedIdentityCredentialOptions, UserAssignedId, WorkloadIdentityCredential, WorkloadIdentityCredentialOptions,
};
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use super::super::{
    ErrorClass, SinkError,
    http::{BuildError, Connection, Http, Receiver, excerpt, read_secret},
};
use crate::config::settings::{AzureCredential, AzureMonitorSettings};

/// Gets and keeps access tokens.
pub(super) struct Tokens {
    credential: AzureCredential,
    authority: Url,
    scope: String,
    timeout: Duration,
    transport: Transport,
    current: Mutex<Option<Current>>,
}

/// The library's credential, which holds the token, and the secret that it was made with.
#[derive(Clone)]
struct Current {
    credential: Arc<dyn TokenCredential>,
    secret: Option<SecretString>,
}

impl Tokens {
    /// For those settings. Nothing is asked for yet, and no secret is read.
    pub(super) fn new(settings: &AzureMonitorSettings, connection: &Connection) -> Result<Self, BuildError> {
        if settings.authority.scheme() != "https" {
            return Err(BuildError::setting("authority", "is no https URL: secrets are not sent in clear"));
        }
        let http = match settings.credential {
            AzureCredential::ManagedIdentity { .. } => Http::direct(connection)?,
            AzureCredential::ClientSecret { .. } | AzureCredential::WorkloadIdentity { .. } => Http::new(connection)?,
        };
        Ok(Self::over(settings, connection.timeout, Arc::new(Wire(http))))
    }

    fn over(settings: &AzureMonitorSettings, timeout: Duration, wire: Arc<dyn HttpClient>) -> Self {
        Self {
            credential: settings.credential.clone(),
            authority: settings.authority.clone(),
            scope: settings.scope.clone(),
            timeout,
            transport: Transport::new(wire),
            current: Mutex::default(),
        }
    }

    /// A token that is valid for five minutes at least, as far as its issuer says.
    pub(super) async fn token(&self) -> Result<SecretString, SinkError> {
        let current = self.current()?;
        let scopes = [self.scope.as_str()];
        let asked = tokio::time::timeout(self.timeout, current.credential.get_token(&scopes, None)).await;
        match asked {
            Ok(Ok(token)) => Ok(SecretString::from(token.token.secret())),
            Ok(Err(error)) => {
                // The library keeps a projected token for ten minutes; the next attempt has to read the file again.
                self.forget();
                Err(self.failure(&error, current.secret.as_ref()))
            }
            Err(_) => Err(SinkError::new(
                ErrorClass::Retryable,
                format!("get an access token from {} within {:?}; check that it can be reached from here", self.issuer(), self.timeout),
            )),
        }
    }

    /// Drops the token that is kept.
    pub(super) fn forget(&self) {
        *self.lock() = None;
    }

    /// The library's credential; a new one, without the old token, when the secret was replaced.
    fn current(&self) -> Result<Current, SinkError> {
        let secret = match &self.credential {
            AzureCredential::ClientSecret { client_secret, .. } => Some(read_secret("client_secret", client_secret)?),
            AzureCredential::ManagedIdentity { .. } | AzureCredential::WorkloadIdentity { .. } => None,
        };
        let mut current = self.lock();
        let same =
            |kept: &Current| kept.secret.as_ref().map(SecretString::expose_secret) == secret.as_ref().map(SecretString::expose_secret);
        if let Some(kept) = current.as_ref().filter(|kept| same(kept)) {
            return Ok(kept.clone());
        }
        let credential = self.build(secret.as_ref()).map_err(|error| self.failure(&error, secret.as_ref()))?;
        Ok(current.insert(Current { credential, secret }).clone())
    }

    fn build(&self, secret: Option<&SecretString>) -> azure_core::Result<Arc<dyn TokenCredential>> {
        let client_options = self.client_options();
        Ok(match &self.credential {
            AzureCredential::ClientSecret { tenant_id, client_id, .. } => {
                let secret = AzureSecret::new(secret.map(|secret| secret.expose_secret().to_owned()).unwrap_or_default());
                let options = ClientSecretCredentialOptions { client_options };
                ClientSecretCredential::new(tenant_id, client_id.clone(), secret, Some(options))?
            }
            AzureCredential::ManagedIdentity { client_id } => {
                let user_assigned_id = client_id.clone().map(UserAssignedId::ClientId);
                ManagedIdentityCredential::new(Some(ManagedIdentityCredentialOptions { user_assigned_id, client_options }))?
            }
            AzureCredential::WorkloadIdentity { tenant_id, client_id, token_file } => {
                WorkloadIdentityCredential::new(Some(WorkloadIdentityCredentialOptions {
                    credential_options: ClientAssertionCredentialOptions { client_options },
                    client_id: client_id.clone(),
                    tenant_id: tenant_id.clone(),
                    token_file_path: token_file.clone(),
                }))?
            }
        })
    }

    fn client_options(&self) -> ClientOptions {
        let mut cloud = CustomConfiguration::default();
        cloud.authority_host = self.authority.to_string();
        ClientOptions {
            transport: Some(self.transport.clone()),
            retry: RetryOptions::none(),
            cloud: Some(Arc::new(CloudConfiguration::Custom(cloud))),
            ..ClientOptions::default()
        }
    }

    /// Faults of the way are found inside the library's error and keep their class; whatever else it says is about credentials.
    fn failure(&self, error: &azure_core::Error, secret: Option<&SecretString>) -> SinkError {
        let mut cause = error.source();
        let mut refusal = None;
        while let Some(error) = cause {
            if let Some(fault) = error.downcast_ref::<SinkError>() {
                return fault.clone();
            }
            if let Some(error) = error.downcast_ref::<azure_core::Error>()
                && let ErrorKind::HttpResponse { status, error_code, .. } = error.kind()
            {
                let code = error_code.as_ref().map(|code| format!(", AADSTS{code}")).unwrap_or_default();
                refusal = Some((format!("HTTP {}{code}", u16::from(*status)), error.to_string()));
            }
            cause = error.source();
        }
        let secrets: Vec<&SecretString> = secret.into_iter().collect();
        let reason = match refusal {
            Some((status, text)) => format!("{status} ({})", excerpt(&text, &secrets, None)),
            None => excerpt(&error.to_string(), &secrets, None),
        };
        SinkError::new(ErrorClass::Auth, format!("get an access token from {}: {reason}; {}", self.issuer(), self.mend()))
    }

    fn issuer(&self) -> String {
        match self.credential {
            AzureCredential::ManagedIdentity { .. } => "the managed identity of this machine".to_owned(),
            AzureCredential::ClientSecret { .. } | AzureCredential::WorkloadIdentity { .. } => authority_name(&self.authority),
        }
    }

    fn mend(&self) -> &'static str {
        match self.credential {
            AzureCredential::ClientSecret { .. } => "check tenant_id, client_id and client_secret, and that the secret has not expired",
            AzureCredential::ManagedIdentity { .. } => "check that this machine has a managed identity, and its client_id",
            AzureCredential::WorkloadIdentity { .. } => {
                "check tenant_id, client_id, the projected token and the application's federated credential"
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Current>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").field("authority", &self.authority.as_str()).field("scope", &self.scope).finish_non_exhaustive()
    }
}

fn authority_name(authority: &Url) -> String {
    Receiver::new("Microsoft Entra", authority).to_string()
}

/// Our connections in the form that the library asks for: with our timeout, and with a cap on the answer.
#[derive(Debug)]
struct Wire(Http);

#[async_trait::async_trait]
impl HttpClient for Wire {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let url = request.url().clone();
        let issuer = Receiver::new("the token endpoint", &url);
        let method = if request.method() == Method::Post { reqwest::Method::POST } else { reqwest::Method::GET };
        let mut outgoing = self.0.client().request(method, url);
        for (name, value) in request.headers().iter() {
            outgoing = outgoing.header(name.as_str(), value.as_str());
        }
        if let Body::Bytes(bytes) = request.body() {
            outgoing = outgoing.body(bytes.clone());
        }
        let answer = self.0.send(outgoing).await.map_err(|fault| {
            // What failed to arrive is a question for a token: no event can have been taken.
            let error = fault.into_error(&issuer);
            let class = if error.class() == ErrorClass::Ambiguous { ErrorClass::Retryable } else { error.class() };
            library_error(SinkError::new(class, error.to_string()))
        })?;
        let status = answer.status.as_u16();
        if status == 429 || answer.status.is_server_error() {
            let message = format!("get an access token from {issuer}: HTTP {status}: it is overloaded or failed inside");
            return Err(library_error(SinkError::new(answer.not_taken(), message)));
        }
        let mut headers = Headers::new();
        for (name, value) in &answer.headers {
            if let Ok(value) = value.to_str() {
                headers.insert(HeaderName::from(name.as_str().to_owned()), HeaderValue::from(value.to_owned()));
            }
        }
        Ok(AsyncRawResponse::from_bytes(status.into(), headers, answer.body))
    }
}

/// Wraps an error of ours, so that it comes out of the library again.
fn library_error(error: SinkError) -> azure_core::Error {
    azure_core::Error::new(ErrorKind::Io, error)
}

#[cfg(test)]
mod tests;

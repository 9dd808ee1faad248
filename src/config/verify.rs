//! What a configuration names outside itself: secrets and certificates. Looked at by the `check` command, offline.

use secrecy::ExposeSecret as _;

use super::{
    Loaded, Secret,
    node::Origin,
    problem::Problem,
    secret::SecretError,
    settings::{
        AuthSettings, AzureCredential, HttpCredential, NatsCredential, REDACT_KEY_BYTES_MIN, RedactSettings, S3Credential,
        SinkKindSettings, TlsSettings,
    },
};
use crate::net;

/// What was found beside the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// With these, something will not work.
    pub problems: Vec<Problem>,
    /// These depend on the environment that the service itself runs in.
    pub warnings: Vec<Problem>,
}

/// Reads every secret and every certificate that the configuration names, and throws them away. A missing file is a problem; a
/// missing variable or credential is a warning, because only the service may have it.
pub fn verify(loaded: &Loaded) -> Findings {
    let mut findings = Findings::default();
    let mut look = Look { loaded, findings: &mut findings };
    look.global();
    look.orgs();
    look.sinks();
    findings
}

struct Look<'a> {
    loaded: &'a Loaded,
    findings: &'a mut Findings,
}

impl Look<'_> {
    fn global(&mut self) {
        if let Some(token) = &self.loaded.settings.admin.token {
            self.secret("admin.token", token);
        }
        if let Some(tls) = &self.loaded.settings.admin.tls
            && let Err(error) = net::server_tls(tls)
        {
            let problem = self.finding("admin.tls", error.to_string());
            self.findings.problems.push(problem);
        }
        self.tls("tls", &self.loaded.settings.tls);
    }

    fn orgs(&mut self) {
        for org in &self.loaded.settings.orgs {
            let key = format!("orgs.{}", org.name);
            self.auth(&key, org.auth.as_ref());
            for stream in &org.streams {
                self.auth(&format!("{key}.{}", stream.kind), stream.auth.as_ref());
            }
        }
    }

    fn auth(&mut self, key: &str, auth: Option<&AuthSettings>) {
        match auth {
            Some(AuthSettings::Token(token)) => self.secret(&format!("{key}.token"), token),
            Some(AuthSettings::Oauth { client_secret, refresh_token, .. }) => {
                self.secret(&format!("{key}.oauth.client_secret"), client_secret);
                self.secret(&format!("{key}.oauth.refresh_token"), refresh_token);
            }
            None => {}
        }
    }

    fn sinks(&mut self) {
        for sink in &self.loaded.settings.sinks {
            let key = |name: &str| format!("sinks.{}.{name}", sink.name);
            match &sink.kind {
                SinkKindSettings::SplunkHec(splunk) => self.secret(&key("token"), &splunk.token),
                SinkKindSettings::Sumo(sumo) => self.secret(&key("url"), &sumo.url),
                SinkKindSettings::AzureMonitor(azure) => {
                    if let AzureCredential::ClientSecret { client_secret, .. } = &azure.credential {
                        self.secret(&key("client_secret"), client_secret);
                    }
                }
                SinkKindSettings::HttpWebhook(http) => {
                    self.secret(&key("url"), &http.url);
                    http.headers.iter().for_each(|(name, value)| self.secret(&key(&format!("headers.{name}")), value));
                    self.credential(&key, &http.credential);
                    http.signing_secret.iter().for_each(|secret| self.secret(&key("signing_secret"), secret));
                }
                SinkKindSettings::Otlp(otlp) => {
                    otlp.headers.iter().for_each(|(name, value)| self.secret(&key(&format!("headers.{name}")), value));
                    self.credential(&key, &otlp.credential);
                }
                SinkKindSettings::Elasticsearch(elastic) => self.credential(&key, &elastic.credential),
                SinkKindSettings::S3(s3) => match &s3.credential {
                    S3Credential::Keys { secret_access_key, session_token, .. } => {
                        self.secret(&key("secret_access_key"), secret_access_key);
                        session_token.iter().for_each(|token| self.secret(&key("session_token"), token));
                    }
                    S3Credential::Environment | S3Credential::WebIdentity { .. } => {}
                },
                SinkKindSettings::Nats(nats) => match &nats.credential {
                    NatsCredential::None => {}
                    NatsCredential::Password { password, .. } => self.secret(&key("password"), password),
                    NatsCredential::Token(token) => self.secret(&key("token"), token),
                    NatsCredential::Nkey(seed) => self.secret(&key("nkey"), seed),
                    NatsCredential::Credentials(content) => self.secret(&key("credentials"), content),
                },
                SinkKindSettings::Stdout | SinkKindSettings::File(_) | SinkKindSettings::Syslog(_) => {}
            }
            if let RedactSettings::Rules(rules) = &sink.redact {
                rules.key.iter().for_each(|secret| self.redact_key(&key("redact.key"), secret));
            }
            // What a sink has from [tls] has been looked at there.
            if sink.tls != self.loaded.settings.tls {
                self.tls(&key("tls"), &sink.tls);
            }
        }
    }

    fn credential(&mut self, key: &impl Fn(&str) -> String, credential: &HttpCredential) {
        match credential {
            HttpCredential::None => {}
            HttpCredential::Bearer(token) => self.secret(&key("bearer_token"), token),
            HttpCredential::ApiKey(api_key) => self.secret(&key("api_key"), api_key),
            HttpCredential::Basic { password, .. } => self.secret(&key("password"), password),
        }
    }

    fn secret(&mut self, key: &str, secret: &Secret) {
        match secret.read() {
            Ok(_) => {}
            Err(error @ (SecretError::Env { .. } | SecretError::EnvEmpty { .. } | SecretError::NoCredentials { .. })) => {
                let warning = self.finding(key, error.to_string());
                self.findings.warnings.push(warning);
            }
            Err(error @ (SecretError::File { .. } | SecretError::Content { .. })) => {
                let problem = self.finding(key, error.to_string());
                self.findings.problems.push(problem);
            }
        }
    }

    fn redact_key(&mut self, key: &str, secret: &Secret) {
        self.secret(key, secret);
        if secret.read().is_ok_and(|secret| secret.expose_secret().len() < REDACT_KEY_BYTES_MIN) {
            let message = format!("needs at least {REDACT_KEY_BYTES_MIN} bytes; make one with `openssl rand -hex 32`");
            let problem = self.finding(key, message);
            self.findings.problems.push(problem);
        }
    }

    fn tls(&mut self, key: &str, tls: &TlsSettings) {
        if *tls == TlsSettings::default() {
            return;
        }
        if let Err(error) = net::client_tls(tls) {
            let problem = self.finding(key, error.to_string());
            self.findings.problems.push(problem);
        }
    }

    fn finding(&self, key: &str, message: String) -> Problem {
        Problem { place: self.loaded.places.of(key, &Origin::File), key: key.to_owned(), message }
    }
}

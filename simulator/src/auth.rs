//! Tokens: static ones, and apps whose tokens expire and are exchanged.
//!
//! A refresh kills the old pair at once, as Miro documents no grace. Grants live in memory and follow the simulator's clock.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::config::DAY;
use crate::mix::Mix;

const KEY_TOKEN: u64 = 501;

/// Scope of the audit log.
pub const SCOPE_AUDIT: &str = "auditlogs:read";
/// Scope of content logs.
pub const SCOPE_CONTENT: &str = "contentlogs:export";
/// Scope of AI interaction logs.
pub const SCOPE_AI: &str = "aiinteractionlogs:read";
/// Scope of the organisation and its members.
pub const SCOPE_ORG: &str = "organizations:read";

const ALL_SCOPES: [&str; 4] = [SCOPE_AUDIT, SCOPE_CONTENT, SCOPE_AI, SCOPE_ORG];

/// A token that never expires, as the switches under Enterprise integrations hand out.
#[derive(Clone, PartialEq, Eq)]
pub struct StaticToken {
    /// A label for requests and for the binary's first line of output: `siem`, `ediscovery`, `ai`, `admin` by default.
    pub name: String,
    /// The bearer token.
    pub token: String,
    /// What it may do.
    pub scopes: Vec<String>,
}

/// An app with "Expire user authorization token" ticked, installed once.
#[derive(Clone, PartialEq, Eq)]
pub struct OAuthApp {
    /// Shown in token info.
    pub name: String,
    /// The app's id.
    pub client_id: String,
    /// The app's secret.
    pub client_secret: String,
    /// What its tokens may do.
    pub scopes: Vec<String>,
    /// The access token of the pair that exists at the start.
    pub access_token: String,
    /// The refresh token of the pair that exists at the start.
    pub refresh_token: String,
    /// Life of an access token; Miro's is an hour.
    pub access_lifetime: Duration,
    /// Life of a refresh token; Miro's is 60 days.
    pub refresh_lifetime: Duration,
}

impl std::fmt::Debug for StaticToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StaticToken").field("name", &self.name).field("scopes", &self.scopes).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for OAuthApp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OAuthApp").field("name", &self.name).field("client_id", &self.client_id).finish_non_exhaustive()
    }
}

/// The tokens and apps that exist when the simulator starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthConfig {
    /// Tokens without an end.
    pub tokens: Vec<StaticToken>,
    /// Apps with expiring tokens.
    pub apps: Vec<OAuthApp>,
}

impl Default for AuthConfig {
    /// One static token for each purpose (`siem`, `ediscovery`, `ai`), one for everything (`admin`), and one app: the same in every simulator,
    /// whatever its seed.
    fn default() -> Self {
        let mut mix = Mix::of(&[KEY_TOKEN]);
        let mut token = |name: &str, scopes: &[&str]| StaticToken {
            name: name.to_owned(),
            token: mint(&mut mix),
            scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
        };
        let tokens = vec![
            token("siem", &[SCOPE_AUDIT]),
            token("ediscovery", &[SCOPE_CONTENT]),
            token("ai", &[SCOPE_AI]),
            token("admin", &ALL_SCOPES),
        ];
        let app = OAuthApp {
            name: "miro-siem".to_owned(),
            client_id: (3_458_764_600_000_000_000 + mix.below(1_000_000)).to_string(),
            client_secret: secret(&mut mix, 32),
            scopes: ALL_SCOPES.map(str::to_owned).to_vec(),
            access_token: mint(&mut mix),
            refresh_token: mint(&mut mix),
            access_lifetime: Duration::from_secs(3_599),
            refresh_lifetime: 60 * DAY,
        };
        Self { tokens, apps: vec![app] }
    }
}

impl AuthConfig {
    /// The static token of that name.
    #[must_use]
    pub fn token(&self, name: &str) -> Option<&str> {
        self.tokens.iter().find(|token| token.name == name).map(|token| token.token.as_str())
    }
}

/// A token of Miro's look: base64url of `{"miro.origin":"eu01"}`, an underscore, noise.
fn mint(mix: &mut Mix) -> String {
    format!("eyJtaXJvLm9yaWdpbiI6ImV1MDEifQ_{}", secret(mix, 27))
}

fn secret(mix: &mut Mix, length: usize) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    (0..length).map(|_| char::from(*mix.pick(ALPHABET))).collect()
}

/// What a valid token may do.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    /// Name and id of the app.
    pub(crate) app: (String, String),
    pub(crate) scopes: Vec<String>,
}

/// Why a token opens nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    Missing,
    Unknown,
    Expired,
}

/// Why the token endpoint refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GrantError {
    UnknownClient,
    BadRefreshToken,
    BadCode,
    UnsupportedGrantType,
}

/// A fresh pair.
#[derive(Clone)]
pub(crate) struct Pair {
    pub(crate) access_token: String,
    pub(crate) refresh_token: String,
    pub(crate) expires_in: Duration,
    pub(crate) scopes: Vec<String>,
}

/// A grant as it stands now.
struct Grant {
    app: usize,
    access: String,
    access_ends: DateTime<Utc>,
    refresh: String,
    refresh_ends: DateTime<Utc>,
}

/// All tokens, as they are now.
pub(crate) struct TokenStore {
    config: AuthConfig,
    state: Mutex<State>,
}

struct State {
    mix: Mix,
    grants: Vec<Grant>,
    /// Authorization codes: app, and end of validity.
    codes: HashMap<String, (usize, DateTime<Utc>)>,
    revoked: Vec<String>,
}

/// Life of an authorization code.
const CODE_LIFETIME: TimeDelta = TimeDelta::minutes(10);

impl TokenStore {
    pub(crate) fn new(seed: u64, config: AuthConfig, now: DateTime<Utc>) -> Self {
        let grants = config.apps.iter().enumerate().map(|(at, app)| Grant {
            app: at,
            access: app.access_token.clone(),
            access_ends: now + app.access_lifetime,
            refresh: app.refresh_token.clone(),
            refresh_ends: now + app.refresh_lifetime,
        });
        let state = State { mix: Mix::of(&[seed, KEY_TOKEN, 1]), grants: grants.collect(), codes: HashMap::new(), revoked: Vec::new() };
        Self { config, state: Mutex::new(state) }
    }

    pub(crate) fn config(&self) -> &AuthConfig {
        &self.config
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the bearer token allows at this moment.
    pub(crate) fn check(&self, bearer: Option<&str>, now: DateTime<Utc>) -> Result<Access, Denied> {
        let bearer = bearer.ok_or(Denied::Missing)?;
        let state = self.state();
        if state.revoked.iter().any(|token| token == bearer) {
            return Err(Denied::Unknown);
        }
        if let Some(token) = self.config.tokens.iter().find(|token| token.token == bearer) {
            let app = ("Enterprise integrations".to_owned(), "3458764600000000000".to_owned());
            return Ok(Access { app, scopes: token.scopes.clone() });
        }
        let grant = state.grants.iter().find(|grant| grant.access == bearer).ok_or(Denied::Unknown)?;
        if grant.access_ends <= now {
            return Err(Denied::Expired);
        }
        let app = &self.config.apps[grant.app];
        Ok(Access { app: (app.name.clone(), app.client_id.clone()), scopes: app.scopes.clone() })
    }

    fn app(&self, client: (&str, &str)) -> Result<usize, GrantError> {
        let found = self.config.apps.iter().position(|app| (app.client_id.as_str(), app.client_secret.as_str()) == client);
        found.ok_or(GrantError::UnknownClient)
    }

    /// Exchanges a refresh token; the client is checked first, and the old pair is dead afterwards.
    pub(crate) fn refresh(&self, client: (&str, &str), refresh: &str, now: DateTime<Utc>) -> Result<Pair, GrantError> {
        let app = self.app(client)?;
        let mut state = self.state();
        let valid = |grant: &Grant| grant.app == app && grant.refresh == refresh && grant.refresh_ends > now;
        let at = state.grants.iter().position(valid).ok_or(GrantError::BadRefreshToken)?;
        state.grants.swap_remove(at);
        Ok(self.grant(&mut state, app, now))
    }

    /// Exchanges an authorization code, once.
    pub(crate) fn exchange(&self, client: (&str, &str), code: &str, now: DateTime<Utc>) -> Result<Pair, GrantError> {
        let app = self.app(client)?;
        let mut state = self.state();
        match state.codes.remove(code) {
            Some((owner, ends)) if owner == app && ends > now => Ok(self.grant(&mut state, app, now)),
            _ => Err(GrantError::BadCode),
        }
    }

    fn grant(&self, state: &mut State, app: usize, now: DateTime<Utc>) -> Pair {
        let (access, refresh) = (mint(&mut state.mix), mint(&mut state.mix));
        let config = &self.config.apps[app];
        state.grants.push(Grant {
            app,
            access: access.clone(),
            access_ends: now + config.access_lifetime,
            refresh: refresh.clone(),
            refresh_ends: now + config.refresh_lifetime,
        });
        Pair { access_token: access, refresh_token: refresh, expires_in: config.access_lifetime, scopes: config.scopes.clone() }
    }

    /// A code for the app, as if a user had agreed in the browser; `None` for an unknown app.
    pub(crate) fn authorize(&self, client_id: &str, now: DateTime<Utc>) -> Option<String> {
        let app = self.config.apps.iter().position(|app| app.client_id == client_id)?;
        let mut state = self.state();
        let code = secret(&mut state.mix, 24);
        state.codes.insert(code.clone(), (app, now + CODE_LIFETIME));
        Some(code)
    }

    /// Ends the access token and its refresh token. False where the client does not own it.
    pub(crate) fn revoke(&self, client: (&str, &str), access: &str) -> bool {
        let Ok(app) = self.app(client) else {
            return false;
        };
        let mut state = self.state();
        let before = state.grants.len();
        state.grants.retain(|grant| grant.app != app || grant.access != access);
        state.grants.len() < before
    }

    /// Ends a static token, as when an admin switches the integration off.
    pub(crate) fn revoke_static(&self, token: &str) {
        self.state().revoked.push(token.to_owned());
    }
}

impl std::fmt::Debug for TokenStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenStore").finish_non_exhaustive()
    }
}

//! A grant whose access tokens expire: refreshed before they do, once for everybody who waits, and never in a way that loses the grant.
//!
//! A refresh runs in this order, and in a task of its own, so that nobody's cancellation can stop it half-way:
//!
//! ```text
//! 1  lock the grant's file             other processes wait, and then find the new pair
//! 2  write: a refresh has begun        synced; if this fails, nothing is sent. The file for the answer is made
//! 3  POST the refresh token
//! 4  write: the new pair, mark gone    synced; until then, nobody gets the new token
//! 5  hand out the new access token
//! ```
//!
//! A crash before 2 changes nothing, and one after the first write of 4 neither: the next process finds the pair beside the record and puts it
//! in its place. Between them the mark stays, and says that nobody knows whether Miro took the refresh token in. Then, and only then, is it sent
//! again. If Miro takes it, all is well; if Miro refuses it, the pair was lost with the crash, and the operator is told so. The same holds where
//! the connection broke before the answer.

use std::{
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;
use secrecy::ExposeSecret;
use tokio::sync::OwnedMutexGuard;

use super::{
    AccessToken, TokenKind, TokenSource,
    refresh::{Credentials, RefreshFault, refresh},
    store::{Fingerprint, Pair, Prepared, Record, Store, StoreError},
    turn::{Turn, fingerprint_of},
};
use crate::{
    config::Secret,
    event::{OrgName, Timestamp},
    miro::{Connection, MiroClass, MiroError, refusal::Refusal},
};

/// A token that Miro refuses sooner than this after it was issued has not expired; another one would be refused as well.
const FRESH: Duration = Duration::from_secs(60);
/// How long a refresh token of Miro's lives ("Get new access token using refresh token" in Miro's REST API reference).
const REFRESH_TOKEN_LIFETIME: Duration = Duration::from_secs(60 * 24 * 3_600);
/// After a refresh that failed, a token that is still good is used for this long before the next attempt.
const HOLD: Duration = Duration::from_secs(10);

/// The app and the first refresh token, as configured.
#[derive(Clone, Debug)]
pub struct OauthSettings {
    /// The app's public name.
    pub client_id: String,
    /// The app's secret.
    pub client_secret: Secret,
    /// The refresh token that the grant begins with.
    pub refresh_token: Secret,
}

/// A grant of an app with expiring tokens.
#[derive(Clone, Debug)]
pub struct OauthGrant(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    connection: Connection,
    org: OrgName,
    key: String,
    settings: OauthSettings,
    store: Store,
    turn: Arc<tokio::sync::Mutex<Turn>>,
    /// How many refreshes have ended: whoever waited while one ended takes its outcome.
    rounds: AtomicU64,
    newest_expiry: Mutex<Expiry>,
}

/// When what ends.
#[derive(Clone, Copy, Debug, Default)]
struct Expiry {
    token: Option<Timestamp>,
    grant: Option<Timestamp>,
}

impl OauthGrant {
    /// The grant whose record has that name in the state directory; `key` is where it is configured, such as `orgs.acme.oauth`. Nothing is read
    /// before the first token is asked for.
    pub fn new(
        connection: Connection,
        org: OrgName,
        key: impl Into<String>,
        settings: OauthSettings,
        state_dir: &Path,
        name: &str,
    ) -> Self {
        Self::over(connection, org, key.into(), settings, Store::new(state_dir, name))
    }

    /// The same over a store of its own.
    pub(super) fn over(connection: Connection, org: OrgName, key: String, settings: OauthSettings, store: Store) -> Self {
        Self(Arc::new(Shared {
            connection,
            org,
            key,
            settings,
            store,
            turn: Arc::default(),
            rounds: AtomicU64::new(0),
            newest_expiry: Mutex::default(),
        }))
    }

    /// A token that is good now and, if one was refused, another than that one.
    async fn obtain(&self, refused: Option<&AccessToken>) -> Result<AccessToken, MiroError> {
        let shared = &self.0;
        let round = shared.rounds.load(Ordering::Acquire);
        let mut turn = shared.turn.clone().lock_owned().await;
        shared.prepare(&mut turn).await?;
        if let Some(token) = turn.usable(refused, shared.connection.clock.now()) {
            return Ok(token);
        }
        if shared.rounds.load(Ordering::Acquire) != round
            && let Some(error) = &turn.last_error
        {
            return Err(error.clone());
        }
        let (task, refused) = (shared.clone(), refused.cloned());
        let refreshed = tokio::spawn(async move { task.refresh_and_count(turn, refused.as_ref()).await }).await;
        refreshed.unwrap_or_else(|_| Err(shared.error(MiroClass::Retryable, "panic", "the refresh ended early; it is tried again")))
    }
}

impl TokenSource for OauthGrant {
    fn token(&self) -> BoxFuture<'_, Result<AccessToken, MiroError>> {
        Box::pin(self.obtain(None))
    }

    fn rejected<'a>(&'a self, used: &'a AccessToken) -> BoxFuture<'a, Result<Option<AccessToken>, MiroError>> {
        Box::pin(async move {
            let (shared, now) = (&self.0, self.0.connection.clock.now());
            let mut turn = shared.turn.lock().await;
            if turn.was_issued_within(FRESH, used, now) {
                // Unless another process has replaced it since, a fresh token would be refused as well.
                shared.adopt(&mut turn).await?;
                return Ok(turn.usable(Some(used), now));
            }
            drop(turn);
            self.obtain(Some(used)).await.map(Some)
        })
    }

    fn expires_at(&self) -> Option<Timestamp> {
        self.0.expiry().token
    }

    fn grant_expires_at(&self) -> Option<Timestamp> {
        self.0.expiry().grant
    }

    fn key(&self) -> &str {
        &self.0.key
    }

    fn kind(&self) -> TokenKind {
        TokenKind::Expiring
    }
}

impl Shared {
    /// Reads the record at the first use, writes what could not be written before, and begins anew where the configuration has a new refresh token.
    async fn prepare(&self, turn: &mut Turn) -> Result<(), MiroError> {
        if let Some(record) = turn.unsaved.clone() {
            self.save(record.clone()).await.map_err(|error| self.store_error(&error))?;
            turn.record = Some(record);
            turn.unsaved = None;
        }
        if turn.record.is_none() {
            turn.record = self.load().await?;
        }
        match self.settings.refresh_token.read() {
            Ok(seed) => turn.begin_anew_if_changed(&seed),
            // The configured refresh token only begins the grant: what has been going on without it goes on.
            Err(error) if turn.pair().is_some() => {
                tracing::warn!(org = %self.org, %error, "configured refresh token unreadable, stored one used")
            }
            Err(error) => return Err(self.error(MiroClass::Config, "secret", &error.to_string())),
        }
        self.publish_expiry(turn);
        Ok(())
    }

    async fn refresh_and_count(
        self: Arc<Self>,
        mut turn: OwnedMutexGuard<Turn>,
        refused: Option<&AccessToken>,
    ) -> Result<AccessToken, MiroError> {
        let outcome = self.refresh_once(&mut turn, refused).await;
        turn.last_error = outcome.as_ref().err().cloned();
        self.publish_expiry(&turn);
        self.rounds.fetch_add(1, Ordering::Release);
        outcome
    }

    /// The five steps of the module's front page.
    async fn refresh_once(&self, turn: &mut Turn, refused: Option<&AccessToken>) -> Result<AccessToken, MiroError> {
        let now = self.connection.clock.now();
        if let Some(token) = turn.still_good(refused, now).filter(|_| turn.hold_until.is_some_and(|until| until > now)) {
            return Ok(token);
        }
        let store = self.store.clone();
        let locked = move || {
            let lock = store.lock()?;
            store.recover(&lock)?;
            Ok(lock)
        };
        let lock = blocking(locked).await.map_err(|error| self.store_error(&error))?;
        self.adopt(turn).await?;
        if let Some(token) = turn.usable(refused, now) {
            return Ok(token);
        }
        let outcome = self.exchange(turn).await;
        drop(lock);
        match outcome {
            Ok(token) => Ok(token),
            Err(error) => match turn.still_good(refused, now) {
                Some(token) if !error.class().needs_a_person() => {
                    tracing::warn!(org = %self.org, %error, "refresh failed, the token at hand is still good");
                    turn.hold_until = Some(now.plus(HOLD));
                    Ok(token)
                }
                _ => Err(error),
            },
        }
    }

    /// Another process may have refreshed while we waited for the lock.
    async fn adopt(&self, turn: &mut Turn) -> Result<(), MiroError> {
        let Some(stored) = self.load().await? else { return Ok(()) };
        if turn.record.as_ref().is_none_or(|held| held.seed == stored.seed) {
            turn.record = Some(stored);
        }
        Ok(())
    }

    async fn exchange(&self, turn: &mut Turn) -> Result<AccessToken, MiroError> {
        let credentials = self.credentials(turn)?;
        let fingerprint = credentials.fingerprint();
        if let Some((dead, error)) = &turn.dead
            && *dead == fingerprint
        {
            return Err(error.clone());
        }
        let seed = self.seed_of(turn)?;
        let before = turn.record.clone().unwrap_or_else(|| Record::new(seed));
        if let Some(since) = before.in_doubt_since {
            tracing::warn!(org = %self.org, %since, "a refresh was interrupted, its refresh token is sent once more");
        }
        let began = Record { in_doubt_since: before.in_doubt_since.or(Some(self.connection.clock.now())), ..before.clone() };
        self.save(began.clone()).await.map_err(|error| self.store_error(&error))?;
        turn.record = Some(began);
        let store = self.store.clone();
        let prepared = match blocking(move || store.prepare()).await {
            Ok(prepared) => prepared,
            Err(error) => {
                self.undo(turn, before).await;
                return Err(self.store_error(&error));
            }
        };
        match refresh(&self.connection, self.org.as_str(), &self.key, &credentials).await {
            Ok(pair) => self.keep(turn, prepared, before.seed, pair).await,
            Err(RefreshFault::InDoubt(error)) => Err(error),
            Err(fault) => {
                self.undo(turn, before.clone()).await;
                Err(self.settle(turn, fault, fingerprint, before.in_doubt_since))
            }
        }
    }

    /// The new pair, first on disk and then in use.
    async fn keep(&self, turn: &mut Turn, prepared: Prepared, seed: Fingerprint, pair: Pair) -> Result<AccessToken, MiroError> {
        let token = pair.token();
        let record = Record { seed, pair: Some(pair), in_doubt_since: None };
        turn.dead = None;
        turn.hold_until = None;
        let (store, written) = (self.store.clone(), record.clone());
        if let Err(error) = blocking(move || store.save_into(prepared, &written)).await {
            turn.unsaved = Some(record);
            return Err(self.store_error(&error));
        }
        turn.record = Some(record);
        tracing::info!(org = %self.org, expires_at = ?token.expires_at(), "access token refreshed");
        Ok(token)
    }

    /// Miro has not taken the refresh token in, so the mark goes. If it cannot be removed it stays, which is only too careful.
    async fn undo(&self, turn: &mut Turn, before: Record) {
        match self.save(before.clone()).await {
            Ok(()) => turn.record = Some(before),
            Err(error) => tracing::warn!(org = %self.org, %error, "refresh mark not removed"),
        }
    }

    /// The error of a fault, remembered where it is for good.
    fn settle(&self, turn: &mut Turn, fault: RefreshFault, fingerprint: Fingerprint, in_doubt_since: Option<Timestamp>) -> MiroError {
        let (refusal, why) = match fault {
            RefreshFault::NotTaken(error) | RefreshFault::InDoubt(error) => return error,
            RefreshFault::ClientRefused(refusal) => (refusal, self.client_sentence()),
            RefreshFault::TokenDead(refusal) => (refusal, self.token_sentence(in_doubt_since)),
        };
        let error = self.answered(&refusal, &why);
        turn.dead = Some((fingerprint, error.clone()));
        error
    }

    fn client_sentence(&self) -> String {
        let key = &self.key;
        format!(
            "client_id or client_secret is wrong; compare {key}.client_id and {key}.client_secret with the app's settings in Miro. The refresh token was not used up by this"
        )
    }

    fn token_sentence(&self, in_doubt_since: Option<Timestamp>) -> String {
        let key = &self.key;
        let mend = format!("authorise the app again in Miro and put the new refresh token at {key}.refresh_token");
        match in_doubt_since {
            Some(since) => format!(
                "a refresh that began at {since} was interrupted before its answer was kept; Miro had replaced the refresh token by then, and the new one is lost; {mend}"
            ),
            None => format!(
                "the refresh token is used up, revoked or older than 60 days; each works once, so look for another program that uses it; {mend}"
            ),
        }
    }

    fn credentials(&self, turn: &Turn) -> Result<Credentials, MiroError> {
        let read = |secret: &Secret| secret.read().map_err(|error| self.error(MiroClass::Config, "secret", &error.to_string()));
        let refresh_token = match turn.pair() {
            Some(pair) => pair.refresh.clone(),
            None => read(&self.settings.refresh_token)?,
        };
        let client_secret = read(&self.settings.client_secret)?;
        Ok(Credentials { client_id: self.settings.client_id.clone(), client_secret, refresh_token })
    }

    fn seed_of(&self, turn: &Turn) -> Result<Fingerprint, MiroError> {
        match &turn.record {
            Some(record) => Ok(record.seed.clone()),
            None => match self.settings.refresh_token.read() {
                Ok(seed) => Ok(fingerprint_of(&seed)),
                Err(error) => Err(self.error(MiroClass::Config, "secret", &error.to_string())),
            },
        }
    }

    async fn load(&self) -> Result<Option<Record>, MiroError> {
        let store = self.store.clone();
        blocking(move || store.load()).await.map_err(|error| self.store_error(&error))
    }

    async fn save(&self, record: Record) -> Result<(), StoreError> {
        let store = self.store.clone();
        blocking(move || store.save(&record)).await
    }

    fn publish_expiry(&self, turn: &Turn) {
        let token = turn.pair().and_then(|pair| pair.expires_at);
        // A token that does not expire is not refreshed, and what it came with is not needed.
        let grant = turn.pair().filter(|pair| pair.expires_at.is_some()).map(|pair| pair.obtained_at.plus(REFRESH_TOKEN_LIFETIME));
        *self.newest_expiry.lock().unwrap_or_else(PoisonError::into_inner) = Expiry { token, grant };
    }

    fn expiry(&self) -> Expiry {
        *self.newest_expiry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn store_error(&self, error: &StoreError) -> MiroError {
        let class = match error {
            StoreError::Io { .. } | StoreError::Locked { .. } => MiroClass::Retryable,
            StoreError::Damaged { .. } | StoreError::Newer { .. } => MiroClass::Config,
        };
        self.error(class, "state", &error.to_string())
    }

    fn error(&self, class: MiroClass, label: &'static str, why: &str) -> MiroError {
        MiroError::new(class, label, format!("failed to get a token of {}: {why}", self.key))
    }

    fn answered(&self, refusal: &Refusal, why: &str) -> MiroError {
        MiroError::answered(
            MiroClass::Auth,
            refusal.status,
            format!("failed to refresh the token of {}: Miro answered {refusal}: {why}", self.key),
        )
    }
}

impl Credentials {
    fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&[&self.client_id, self.client_secret.expose_secret(), self.refresh_token.expose_secret()])
    }
}

/// Runs file work on a blocking thread. It runs to its end even if nobody waits for it any more.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, StoreError> + Send + 'static) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(error) => {
            Err(StoreError::Io { action: "work on", path: "the stored tokens".into(), source: std::io::Error::other(error.to_string()) })
        }
    }
}

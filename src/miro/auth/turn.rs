//! What is known of a grant while the program runs, and which token is good now. No IO: this is the part that decides.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use super::{
    AccessToken,
    store::{Fingerprint, Pair, Record},
};
use crate::{event::Timestamp, miro::MiroError};

/// A token is refreshed this long before it expires, as Miro's own client does; a token that lives for less than twice that, in its middle.
const REFRESH_BEFORE: Duration = Duration::from_secs(120);

/// What the one who has the turn may see and change.
#[derive(Debug, Default)]
pub(super) struct Turn {
    /// What is on disk; none before it was first read.
    pub(super) record: Option<Record>,
    /// A new pair that could not be written yet. It is not handed out before it is.
    pub(super) unsaved: Option<Record>,
    /// The last refresh's error.
    pub(super) last_error: Option<MiroError>,
    /// Credentials that Miro has refused for good, and how.
    pub(super) dead: Option<(Fingerprint, MiroError)>,
    /// No refresh before this, as long as there is a token that is still good.
    pub(super) hold_until: Option<Timestamp>,
}

impl Turn {
    pub(super) fn pair(&self) -> Option<&Pair> {
        self.record.as_ref()?.pair.as_ref()
    }

    /// The token at hand, if it need not be refreshed.
    pub(super) fn usable(&self, refused: Option<&AccessToken>, now: Timestamp) -> Option<AccessToken> {
        let pair = self.pair()?;
        let other = refused.is_none_or(|token| !token.is(&pair.access));
        (other && !pair.is_due(now)).then(|| pair.token())
    }

    /// The token at hand, if it is still good for a moment although it should be refreshed.
    pub(super) fn still_good(&self, refused: Option<&AccessToken>, now: Timestamp) -> Option<AccessToken> {
        let pair = self.pair().filter(|pair| pair.expires_at.is_some_and(|expiry| expiry > now))?;
        refused.is_none().then(|| pair.token())
    }

    pub(super) fn was_issued_within(&self, age: Duration, used: &AccessToken, now: Timestamp) -> bool {
        // In doubt, the token at hand may have been replaced right after it was issued.
        let in_doubt = self.record.as_ref().is_some_and(|record| record.in_doubt_since.is_some());
        let recent = |pair: &Pair| pair.obtained_at <= now && now.since(pair.obtained_at) < age;
        !in_doubt && self.pair().is_some_and(|pair| used.is(&pair.access) && recent(pair))
    }

    /// Another refresh token in the configuration than the one that the grant began with begins it anew.
    pub(super) fn begin_anew_if_changed(&mut self, seed: &SecretString) {
        let seed = fingerprint_of(seed);
        if self.record.as_ref().is_none_or(|record| record.seed != seed) {
            self.record = Some(Record::new(seed));
            self.dead = None;
            self.hold_until = None;
        }
    }
}

impl Pair {
    pub(super) fn token(&self) -> AccessToken {
        AccessToken::new(self.access.clone(), self.expires_at)
    }

    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|expiry| {
            let lead = REFRESH_BEFORE.min(expiry.since(self.obtained_at) / 2);
            now >= expiry.minus(lead)
        })
    }
}

pub(super) fn fingerprint_of(seed: &SecretString) -> Fingerprint {
    Fingerprint::of(&[seed.expose_secret()])
}

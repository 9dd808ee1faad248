//! A channel: the name under which HEC counts acknowledgement ids, and what keeps us with the indexer that counts them.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use reqwest::{
    RequestBuilder,
    header::{self, HeaderMap},
};
use uuid::Uuid;

use super::super::http::{Answer, Http};

/// The first question about an acknowledgement. A Splunk Cloud stack acknowledges after about a second and a single machine much
/// sooner; with one batch in flight, this wait is the throughput.
pub(super) const POLL_FIRST: Duration = Duration::from_millis(250);
/// The longest wait between two questions.
pub(super) const POLL_LAST: Duration = Duration::from_secs(10);

/// Load balancers set one or two; more are not theirs.
const COOKIES_MAX: usize = 16;

/// One channel with its connections and cookies.
pub(super) struct Channel {
    id: Uuid,
    http: Http,
    /// Load balancers keep a client on one indexer by a cookie. Only name and value count: there is one host and one path.
    cookies: Mutex<BTreeMap<String, String>>,
}

impl Channel {
    /// A new one, under an id that nobody has used.
    pub(super) fn new(http: Http) -> Self {
        Self { id: Uuid::new_v4(), http, cookies: Mutex::default() }
    }

    /// Its connections.
    pub(super) fn http(&self) -> &Http {
        &self.http
    }

    /// Puts the channel and its cookies on a request.
    pub(super) fn mark(&self, request: RequestBuilder) -> RequestBuilder {
        let request = request.header("X-Splunk-Request-Channel", self.id.to_string());
        let cookies = self.cookies();
        if cookies.is_empty() {
            return request;
        }
        let all: Vec<String> = cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        request.header(header::COOKIE, all.join("; "))
    }

    /// Keeps the cookies of an answer.
    pub(super) fn remember(&self, answer: &Answer) {
        self.cookies_from(&answer.headers);
    }

    fn cookies_from(&self, headers: &HeaderMap) {
        let mut cookies = self.cookies();
        for text in headers.get_all(header::SET_COOKIE).iter().filter_map(|value| value.to_str().ok()) {
            let mut parts = text.split(';');
            let Some((name, value)) = parts.next().and_then(|pair| pair.split_once('=')) else { continue };
            let (name, value) = (name.trim(), value.trim());
            let expired = parts.any(|part| part.trim().eq_ignore_ascii_case("max-age=0"));
            if value.is_empty() || expired {
                cookies.remove(name);
            } else if cookies.len() < COOKIES_MAX || cookies.contains_key(name) {
                cookies.insert(name.to_owned(), value.to_owned());
            }
        }
    }

    fn cookies(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.cookies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Channel {
    /// Without the cookies: they belong to a session.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel").field("id", &self.id).finish_non_exhaustive()
    }
}

//! A URL that is a credential as a whole, or may be.

use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use super::{super::SinkError, Http, Receiver, read_secret};
use crate::{config::Secret, sink::ErrorClass};

/// Shorter parts of a path, such as `v1` or `in`, are no secrets, and are in many words.
const PART_BYTES_MIN: usize = 6;

/// The URL as it was read for one request.
pub struct SecretUrl {
    url: Url,
    /// The text, its path, its query, and the parts of both: an error page often repeats one of them without the host.
    parts: Vec<SecretString>,
}

impl SecretUrl {
    /// Reads it now, so that a changed file is picked up. `mend` says what to do about a text that is no URL.
    ///
    /// # Errors
    /// Auth if it cannot be read, config if it is no URL. Neither repeats it.
    pub fn read(key: &str, secret: &Secret, mend: &str) -> Result<Self, SinkError> {
        let text = read_secret(key, secret)?;
        // The parser's error could repeat the URL.
        let url = Url::parse(text.expose_secret()).ok().filter(|url| url.has_host() && matches!(url.scheme(), "https" | "http"));
        let url = url.ok_or_else(|| SinkError::new(ErrorClass::Config, format!("use {key}: it is no https URL; {mend}")))?;
        let parts = parts_of(&url, text);
        Ok(Self { url, parts })
    }

    /// The URL, to begin a request with.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// What must not be shown.
    pub fn secrets(&self) -> impl Iterator<Item = &SecretString> {
        self.parts.iter()
    }

    /// Its host's name for operators.
    pub fn receiver(&self, what: &str) -> Receiver {
        Receiver::new(what, &self.url)
    }

    /// A request without effect to the root of the same host, without the secret path. It shows that name, route, proxy and TLS are
    /// good; whether the receiver takes the path, only an event can show.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn connect(&self, http: &Http, what: &str) -> Result<(), SinkError> {
        let mut url = self.url.clone();
        url.set_path("/");
        url.set_query(None);
        // A user and a password in a URL are sent as a header; both setters only fail without a host.
        let _ = (url.set_username(""), url.set_password(None));
        http.send(http.client().head(url)).await.map(drop).map_err(|fault| fault.into_error(&self.receiver(what)))
    }
}

fn parts_of(url: &Url, text: SecretString) -> Vec<SecretString> {
    let path = url.path().trim_matches('/');
    let values = url.query_pairs().map(|(_, value)| value.into_owned());
    let whole = [url.query().unwrap_or_default(), path, url.password().unwrap_or_default()];
    let plain = whole.into_iter().chain(path.split('/')).map(str::to_owned).chain(values);
    // The longest first: what remains of a text after a part of it was taken out would not be found any more.
    let mut parts: Vec<String> = plain.filter(|part| part.len() >= PART_BYTES_MIN).collect();
    parts.sort_by_key(|part| std::cmp::Reverse(part.len()));
    std::iter::once(text).chain(parts.into_iter().map(SecretString::from)).collect()
}

impl std::fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretUrl(…)")
    }
}

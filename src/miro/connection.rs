//! How Miro is reached: what all clients of one organisation share.

use url::Url;

use super::Limits;
use crate::{clock::Clock, metrics::Metrics};

/// The way to Miro's API.
#[derive(Clone, Debug)]
pub struct Connection {
    /// The HTTP client, with TLS and proxies set up (see [`crate::net::http_client`]).
    pub http: reqwest::Client,
    /// Where the API is; its path, if it has one, is kept.
    pub api_url: Url,
    /// What time it is.
    pub clock: Clock,
    /// Where requests are counted.
    pub metrics: Metrics,
    /// The bounds of each request.
    pub limits: Limits,
}

impl Connection {
    /// The address of a path under the API's, each segment percent-encoded.
    pub(super) fn url(&self, segments: &[&str], query: &[(&str, &str)]) -> Url {
        let mut url = self.api_url.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        if !query.is_empty() {
            let encoded = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
            // A space as a plus sign is a convention of forms; %20 is understood by everybody. A real plus sign is %2B by now.
            url.set_query(Some(&encoded.replace('+', "%20")));
        }
        url
    }

    /// Host and port, for sentences; neither user nor path.
    pub(super) fn host(&self) -> String {
        let host = self.api_url.host_str().unwrap_or("the API");
        self.api_url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(api_url: &str) -> Connection {
        crate::net::install_tls_provider();
        Connection {
            http: crate::net::http_client(&Default::default(), std::time::Duration::from_secs(1)).expect("a client"),
            api_url: api_url.parse().expect("an address"),
            clock: Clock::system(),
            metrics: Metrics::new(),
            limits: Limits::default(),
        }
    }

    #[test]
    fn a_path_of_the_api_is_kept_and_segments_cannot_leave_it() {
        for (base, expected) in [
            ("https://api.miro.com", "https://api.miro.com/v2/orgs/..%2Fa%3Fb%23/x"),
            ("https://api.miro.com/", "https://api.miro.com/v2/orgs/..%2Fa%3Fb%23/x"),
            ("http://proxy:1/miro/", "http://proxy:1/miro/v2/orgs/..%2Fa%3Fb%23/x"),
            ("http://proxy:1/miro", "http://proxy:1/miro/v2/orgs/..%2Fa%3Fb%23/x"),
        ] {
            assert_eq!(connection(base).url(&["v2", "orgs", "../a?b#", "x"], &[]).as_str(), expected);
        }
    }

    #[test]
    fn a_cursor_is_percent_encoded() {
        let url = connection("https://api.miro.com").url(&["v2"], &[("cursor", "2023-09-01T09:30:10.840687Z#12-DDB=+ &%")]);
        assert_eq!(url.query(), Some("cursor=2023-09-01T09%3A30%3A10.840687Z%2312-DDB%3D%2B%20%26%25"));
    }

    #[test]
    fn a_host_is_named_without_user_and_path() {
        assert_eq!(connection("https://user:secret@api.miro.com:8443/path").host(), "api.miro.com:8443");
    }
}

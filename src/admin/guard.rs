//! Who may do what: the rules that every request passes before a handler sees it.
//!
//! 1. Over TCP a request has to be addressed to this endpoint: a web page whose own name was made to point here (DNS rebinding) names itself.
//! 2. A request that a page of another origin has made a browser send is refused, but for a link that is followed.
//! 3. Over TCP the token is asked for where one is configured. Changes, and events, which are personal data, are had with the token only,
//!    also on loopback, where any user's process and any page can connect.
//! 4. Over the unix socket the operating system has asked already: only the service's own user and root get through.
//! 5. What is sent has to be called JSON: a form of a web page cannot do that.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use axum::http::{HeaderMap, Method, StatusCode, Version, header, request::Parts, uri::Authority};
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};

use crate::config::{Secret, settings::AdminSettings};

/// The other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    /// A process on this machine, over the unix socket.
    Socket {
        /// Its effective user.
        uid: u32,
    },
    /// Anybody who can open a TCP connection.
    Tcp(SocketAddr),
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket { uid } => write!(f, "uid {uid}"),
            Self::Tcp(address) => write!(f, "{address}"),
        }
    }
}

/// What a route gives away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gives {
    /// How the daemon is doing.
    State,
    /// Event bodies.
    Events,
}

/// The rules of one endpoint.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    token: Option<Secret>,
    listen: Option<SocketAddr>,
    hosts: Vec<String>,
    socket: Option<PathBuf>,
}

/// Why a request is not served, in words that say what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) why: String,
    /// Where the same request needs no token.
    pub(super) socket: Option<PathBuf>,
}

impl Refusal {
    fn new(status: StatusCode, why: impl Into<String>) -> Self {
        Self { status, why: why.into(), socket: None }
    }
}

impl Rules {
    /// The rules that the settings make.
    pub(super) fn new(settings: &AdminSettings) -> Self {
        Self { token: settings.token.clone(), listen: settings.listen, hosts: settings.hosts.clone(), socket: settings.socket.clone() }
    }

    /// Whether the request may pass.
    pub(super) fn judge(&self, peer: Peer, request: &Parts, gives: Gives) -> Result<(), Refusal> {
        if let Peer::Tcp(_) = peer {
            let host = self.host(request)?;
            same_origin(request, host.as_ref())?;
            self.credentials(&request.headers, is_change(&request.method) || gives == Gives::Events)?;
        }
        content_type(request)
    }

    /// The host that the request is addressed to, which has to be this one. Only HTTP/1.0 knows requests without, and no browser sends those.
    fn host(&self, request: &Parts) -> Result<Option<Authority>, Refusal> {
        let mut named: Vec<Authority> = request.uri.authority().cloned().into_iter().collect();
        for value in request.headers.get_all(header::HOST) {
            let parsed = value.to_str().ok().and_then(|text| text.parse().ok());
            named.push(parsed.ok_or_else(|| Refusal::new(StatusCode::BAD_REQUEST, "the Host header cannot be read"))?);
        }
        match named.as_slice() {
            [] if request.version == Version::HTTP_10 => return Ok(None),
            [] => return Err(Refusal::new(StatusCode::BAD_REQUEST, "the Host header is missing")),
            [first, rest @ ..] if rest.iter().any(|other| other != first) => {
                return Err(Refusal::new(StatusCode::BAD_REQUEST, "the request names two hosts"));
            }
            _ => {}
        }
        let host = named.swap_remove(0);
        if self.is_ours(host.host()) {
            return Ok(Some(host));
        }
        Err(Refusal::new(
            StatusCode::MISDIRECTED_REQUEST,
            "this endpoint goes by another name than the one in the Host header; where that name is meant, add it to admin.hosts",
        ))
    }

    fn is_ours(&self, host: &str) -> bool {
        let bare =
            host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host).trim_end_matches('.').to_ascii_lowercase();
        if bare == "localhost" || self.hosts.contains(&bare) {
            return true;
        }
        let Ok(address) = bare.parse::<IpAddr>() else { return false };
        // Where every address is listened on, so is this one. A page can make its name point here, not an address that is not ours.
        address.is_loopback() || self.listen.is_some_and(|listen| listen.ip().is_unspecified() || listen.ip() == address)
    }

    fn credentials(&self, headers: &HeaderMap, always: bool) -> Result<(), Refusal> {
        let Some(token) = &self.token else {
            return if always { Err(self.token_needed()) } else { Ok(()) };
        };
        let wanted = token.read().map_err(|_| {
            Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "admin.token cannot be read; see `miro-siem check`, run as the service's user")
        })?;
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(bearer);
        // Digests of equal length, compared whole: how long it takes says nothing about the token.
        let same = given.is_some_and(|given| {
            let (given, wanted) = (Sha256::digest(given.trim()), Sha256::digest(wanted.expose_secret()));
            given.iter().zip(wanted.iter()).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
        });
        if same { Ok(()) } else { Err(self.with_socket(StatusCode::UNAUTHORIZED, "send the header `Authorization: Bearer <admin.token>`")) }
    }

    fn token_needed(&self) -> Refusal {
        self.with_socket(
            StatusCode::FORBIDDEN,
            "changes and events are to be had with a token only: set admin.token and send it as `Authorization: Bearer …`",
        )
    }

    fn with_socket(&self, status: StatusCode, why: &str) -> Refusal {
        let why = match &self.socket {
            Some(path) => format!("{why}, or use the unix socket {}", path.display()),
            None => format!("{why}, or switch on admin.socket"),
        };
        Refusal { status, why, socket: self.socket.clone() }
    }
}

/// Whether the method asks for more than an answer (RFC 9110 section 9.2.1).
pub(super) fn is_change(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// The token of an Authorization header; a scheme has no case (RFC 9110 section 11.1).
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token)
}

/// Refuses what a page of another origin has made a browser send. Programs send neither header (Fetch Metadata, and RFC 6454 section 7).
fn same_origin(request: &Parts, host: Option<&Authority>) -> Result<(), Refusal> {
    let headers = &request.headers;
    let word = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("(unreadable)");
    let foreign = || Refusal::new(StatusCode::FORBIDDEN, "a web page of another origin has sent this, and none may");
    if headers.contains_key("sec-fetch-site") && !matches!(word("sec-fetch-site"), "same-origin" | "none") {
        let is_followed_link =
            request.method == Method::GET && word("sec-fetch-mode") == "navigate" && word("sec-fetch-dest") == "document";
        return if is_followed_link { Ok(()) } else { Err(foreign()) };
    }
    if !headers.contains_key(header::ORIGIN) {
        return Ok(());
    }
    let origin = word("origin").split_once("://").and_then(|(scheme, rest)| Some((scheme, rest.parse::<Authority>().ok()?)));
    match (origin, host) {
        (Some((scheme, origin)), Some(host)) if is_same(scheme, &origin, host) => Ok(()),
        _ => Err(foreign()),
    }
}

/// An origin leaves out the port that its scheme implies, and a proxy in front may have taken the TLS off.
fn is_same(scheme: &str, origin: &Authority, host: &Authority) -> bool {
    let implied = if scheme == "https" { 443 } else { 80 };
    let port = |authority: &Authority| authority.port_u16().unwrap_or(implied);
    origin.host().eq_ignore_ascii_case(host.host()) && port(origin) == port(host)
}

fn content_type(request: &Parts) -> Result<(), Refusal> {
    if !matches!(request.method, Method::POST | Method::PUT | Method::PATCH) {
        return Ok(());
    }
    let given = request.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "send JSON, with the header `Content-Type: application/json`"))
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    const TOKEN: &str = "s3cr3t";

    fn rules(listen: &str, token: Option<&str>) -> Rules {
        let listen = Some(listen.parse().expect("an address"));
        let hosts = vec!["siem.example.com".to_owned()];
        Rules { token: token.map(Secret::literal), listen, hosts, socket: Some(PathBuf::from("/run/s.sock")) }
    }

    fn request(method: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().method(method).uri("/api/v1/status");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).expect("a request").into_parts().0
    }

    fn tcp() -> Peer {
        Peer::Tcp("127.0.0.1:5000".parse().expect("an address"))
    }

    #[track_caller]
    fn check(rules: &Rules, method: &str, headers: &[(&str, &str)], expected: u16) {
        let status = rules.judge(tcp(), &request(method, headers), Gives::State).map_or_else(|refusal| refusal.status.as_u16(), |()| 200);
        assert_eq!(status, expected, "{method} {headers:?}");
    }

    #[test]
    fn only_requests_to_names_of_this_endpoint_pass() {
        let loopback = rules("127.0.0.1:9494", None);
        for host in ["localhost", "LOCALHOST:1", "localhost.:9494", "127.0.0.1:9494", "127.1.2.3", "[::1]:9494", "Siem.example.com:443"] {
            check(&loopback, "GET", &[("host", host)], 200);
        }
        for host in ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:9494", "10.0.0.5", "siem.example.com.evil", "::1"] {
            let status = loopback.judge(tcp(), &request("GET", &[("host", host)]), Gives::State).map_err(|refusal| refusal.status.as_u16());
            assert!(matches!(status, Err(421 | 400)), "{host}: {status:?}");
        }
        check(&loopback, "GET", &[], 400);
        check(&loopback, "GET", &[("host", "localhost"), ("host", "evil.example")], 400);
        check(&rules("10.0.0.5:9494", None), "GET", &[("host", "10.0.0.5:9494")], 200);
        check(&rules("10.0.0.5:9494", None), "GET", &[("host", "10.0.0.6:9494")], 421);
        check(&rules("0.0.0.0:9494", None), "GET", &[("host", "10.0.0.6:9494")], 200);
        check(&rules("0.0.0.0:9494", None), "GET", &[("host", "evil.example:9494")], 421);
    }

    #[test]
    fn a_page_of_another_origin_neither_reads_nor_changes_anything() {
        let rules = rules("127.0.0.1:9494", Some(TOKEN));
        let auth = ("authorization", "Bearer s3cr3t");
        let (host, json) = (("host", "localhost:9494"), ("content-type", "application/json"));
        for (name, value, expected) in [
            ("origin", "https://evil.example", 403),
            ("origin", "null", 403),
            ("origin", "http://localhost:3000", 403),
            ("origin", "http://localhost", 403),
            ("origin", "http://localhost:9494", 200),
            ("sec-fetch-site", "cross-site", 403),
            ("sec-fetch-site", "same-site", 403),
            ("sec-fetch-site", "same-origin", 200),
            ("sec-fetch-site", "none", 200),
        ] {
            check(&rules, "POST", &[host, auth, json, (name, value)], expected);
            check(&rules, "GET", &[host, auth, (name, value)], expected);
        }
        let link = [host, auth, ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")];
        check(&rules, "GET", &link, 200);
        check(&rules, "POST", &[&link[..], &[json]].concat(), 403);
    }

    #[test]
    fn changes_and_events_need_the_token_or_the_socket() {
        let (host, json) = (("host", "localhost"), ("content-type", "application/json"));
        let (with, without) = (rules("127.0.0.1:1", Some(TOKEN)), rules("127.0.0.1:1", None));
        check(&without, "GET", &[host], 200);
        check(&without, "POST", &[host, json], 403);
        check(&without, "DELETE", &[host], 403);
        check(&with, "GET", &[host], 401);
        check(&with, "DELETE", &[host, ("authorization", "Bearer other")], 401);
        check(&with, "DELETE", &[host, ("authorization", "bearer s3cr3t")], 200);
        check(&with, "POST", &[host, ("authorization", "Basic s3cr3t"), json], 401);
        for (rules, expected) in [(&with, 401), (&without, 403)] {
            let refusal = rules.judge(tcp(), &request("GET", &[host]), Gives::Events).expect_err("events are not for everybody");
            assert_eq!(refusal.status.as_u16(), expected);
            assert!(refusal.why.contains("admin.token") && refusal.why.contains("/run/s.sock"), "{}", refusal.why);
            let socket = Peer::Socket { uid: 0 };
            assert_eq!(rules.judge(socket, &request("GET", &[]), Gives::Events), Ok(()));
            assert_eq!(rules.judge(socket, &request("POST", &[json]), Gives::State), Ok(()));
        }
    }

    #[test]
    fn what_is_sent_is_called_json() {
        let rules = rules("127.0.0.1:1", Some(TOKEN));
        for (kind, expected) in [
            ("application/json", 200),
            ("Application/JSON; charset=utf-8", 200),
            ("text/plain", 415),
            ("application/x-www-form-urlencoded", 415),
            ("multipart/form-data", 415),
        ] {
            check(&rules, "POST", &[("host", "localhost"), ("authorization", "Bearer s3cr3t"), ("content-type", kind)], expected);
        }
        check(&rules, "POST", &[("host", "localhost"), ("authorization", "Bearer s3cr3t")], 415);
    }

    #[test]
    fn the_scheme_has_no_case_and_is_asked_for() {
        assert_eq!(bearer("Bearer abc"), Some("abc"));
        assert_eq!(bearer("bearer abc"), Some("abc"));
        assert_eq!(bearer("Basic abc"), None);
        assert_eq!(bearer("abc"), None);
    }
}

//! Where receivers are: URLs and syslog addresses.

use std::net::{Ipv4Addr, Ipv6Addr};

use serde_json::{Value as Json, json};
use url::Url;

use super::{
    Secret,
    key::Keys,
    node::{Kind, Node},
    problem::Faulty,
    settings::SyslogTransport,
    table::At,
    value::{FromText, Unfit, Value},
};

/// The base URL of a service: scheme, host, port, a path where a proxy wants one, and nothing that could be a secret.
#[derive(Clone, Debug)]
pub(super) struct BaseUrl(pub(super) Url);

impl Value for BaseUrl {
    const MEANT: &'static str = "a URL such as \"https://siem.example.com:8088\"";
    const SHORT: &'static str = "a URL";

    fn read(at: &At<'_>, node: &Node) -> Result<Self, Faulty> {
        let Kind::Text(text) = &node.kind else {
            return Err(at.problem(node, format!("needs {}; found {}", Self::MEANT, node.describe())));
        };
        // The text is never repeated: whoever has put a password into it must not find it in a log.
        let url = base_url(text.trim()).map_err(|why| at.problem(node, format!("needs {}: {why}", Self::MEANT)))?;
        warn_of_clear_text(at, node, &url);
        Ok(Self(url))
    }

    fn form() -> Json {
        json!({ "type": "string", "pattern": "^\\s*[hH][tT][tT][pP][sS]?:" })
    }
}

fn base_url(text: &str) -> Result<Url, String> {
    let url = http_url(text)?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("it holds a user name or a password; credentials have keys of their own".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("it must end before `?` and `#`".to_owned());
    }
    Ok(url)
}

/// A URL that requests can be sent to.
fn http_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    match (url.scheme(), url.host()) {
        ("http" | "https", Some(_)) => Ok(url),
        _ => Err("it must begin with https:// or http://".to_owned()),
    }
}

/// Warns of a URL that sends credentials over a network in clear text.
fn warn_of_clear_text(at: &At<'_>, node: &Node, url: &Url) {
    if url.scheme() == "http" && !is_loopback(url) {
        at.warning(node, "sends credentials and events in clear text; use https://");
    }
}

/// Whether it is this machine itself.
fn is_loopback(url: &Url) -> bool {
    match url.host() {
        // Of a scheme that is not the web's, an IP address is a name to the parser.
        Some(url::Host::Domain(name)) => {
            name == "localhost" || name.ends_with(".localhost") || name.parse().is_ok_and(|address: Ipv4Addr| address.is_loopback())
        }
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// One server of `servers` of a NATS sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NatsServer(pub(super) Url);

impl NatsServer {
    /// Whether what is sent there can be read on the way, unless the server asks for TLS.
    pub(super) fn is_clear_text(&self) -> bool {
        self.0.scheme() == "nats" && !is_loopback(&self.0)
    }
}

impl FromText for NatsServer {
    const MEANT: &'static str = "a server such as \"tls://nats.example.com:4222\", with nats:// or tls://";
    const SHOWN: bool = false;
    const PATTERN: Option<&'static str> = Some(r"^\s*([nN][aA][tT][sS]|[tT][lL][sS])://");

    fn from_text(text: &str) -> Result<Self, Unfit> {
        let url = Url::parse(text).map_err(|error| Unfit::Because(error.to_string()))?;
        if !matches!(url.scheme(), "nats" | "tls") {
            return Err(because("its scheme is another"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(because("it holds a user name or a password; credentials have keys of their own"));
        }
        let ends_with_port = matches!(url.path(), "" | "/") && url.query().is_none() && url.fragment().is_none();
        match url.host_str() {
            Some(host) if !host.is_empty() && ends_with_port => Ok(Self(url)),
            Some(host) if !host.is_empty() => Err(because("only a port can follow the host")),
            _ => Err(because("it has no host")),
        }
    }
}

/// A URL that is a secret.
#[derive(Debug)]
pub(super) struct SecretUrl(pub(super) Secret);

impl Value for SecretUrl {
    const MEANT: &'static str = "a secret URL: { file = \"…\" }, { env = \"…\" }, { credential = \"…\" } or a text";
    const SHORT: &'static str = "a secret URL";

    fn read(at: &At<'_>, node: &Node) -> Result<Self, Faulty> {
        let secret = <Secret as Value>::read(at, node)?;
        if let Kind::Text(text) = &node.kind {
            let url = http_url(text.trim()).map_err(|why| at.problem(node, format!("needs a URL: {why}")))?;
            warn_of_clear_text(at, node, &url);
        }
        Ok(Self(secret))
    }

    fn sub_keys() -> Keys {
        Secret::sub_keys()
    }

    fn form() -> Json {
        Secret::form()
    }
}

/// `address` of a syslog sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SyslogAddress {
    pub(super) transport: SyslogTransport,
    /// A name or an address, an IPv6 one without its brackets.
    pub(super) host: String,
    pub(super) port: u16,
}

impl FromText for SyslogAddress {
    const MEANT: &'static str = "an address such as \"tls://siem.example.com:6514\", with udp://, tcp://, tls:// or relp://";
    const SHOWN: bool = false;

    fn from_text(text: &str) -> Result<Self, Unfit> {
        let (scheme, rest) = text.split_once("://").ok_or_else(|| because("it has no scheme"))?;
        // The default ports: 514 of RFC 5426 and of long use for TCP, 6514 of RFC 5425. RELP has none of its own; rsyslog's documents
        // use 2514.
        let (transport, default_port) = match scheme.to_ascii_lowercase().as_str() {
            "udp" => (SyslogTransport::Udp, 514),
            "tcp" => (SyslogTransport::Tcp, 514),
            "tls" => (SyslogTransport::Tls, 6514),
            "relp" => (SyslogTransport::Relp, 2514),
            _ => return Err(Unfit::Because("its scheme is another".to_owned())),
        };
        let (host, port) = host_and_port(rest.strip_suffix('/').unwrap_or(rest))?;
        Ok(Self { transport, host, port: port.unwrap_or(default_port) })
    }
}

fn because(why: &str) -> Unfit {
    Unfit::Because(why.to_owned())
}

fn host_and_port(text: &str) -> Result<(String, Option<u16>), Unfit> {
    if let Some(bracketed) = text.strip_prefix('[') {
        let (address, after) = bracketed.split_once(']').ok_or_else(|| because("its `[` is not closed"))?;
        address.parse::<Ipv6Addr>().map_err(|_| because("there is no IPv6 address between its brackets"))?;
        return Ok((address.to_owned(), port(after.strip_prefix(':'), after)?));
    }
    if text.matches(':').count() > 1 {
        return Err(because("an IPv6 address is written in brackets"));
    }
    let (host, after) = text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
    let is_name = !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
    if !is_name {
        return Err(because("its host is no name and no IP address"));
    }
    Ok((host.to_owned(), port(after, "")?))
}

fn port(text: Option<&str>, rest: &str) -> Result<Option<u16>, Unfit> {
    match text {
        None if rest.is_empty() => Ok(None),
        Some(text) => match text.parse() {
            Ok(0) | Err(_) => Err(because("its port is no number from 1 to 65535")),
            Ok(port) => Ok(Some(port)),
        },
        None => Err(because("only a port can follow the host")),
    }
}

/// A syslog facility by its number or name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Facility(pub(super) u8);

/// RFC 5424, table 1; the names are those of RFC 5427, and the usual ones of syslog.conf.
const FACILITIES: [(&str, u8); 26] = [
    ("kern", 0),
    ("user", 1),
    ("mail", 2),
    ("daemon", 3),
    ("auth", 4),
    ("syslog", 5),
    ("lpr", 6),
    ("news", 7),
    ("uucp", 8),
    ("cron", 9),
    ("authpriv", 10),
    ("ftp", 11),
    ("ntp", 12),
    ("audit", 13),
    ("console", 14),
    ("alert", 14),
    ("cron2", 15),
    ("clock", 15),
    ("local0", 16),
    ("local1", 17),
    ("local2", 18),
    ("local3", 19),
    ("local4", 20),
    ("local5", 21),
    ("local6", 22),
    ("local7", 23),
];

impl FromText for Facility {
    const MEANT: &'static str = "a facility: 0 to 23, or a name such as \"audit\", \"auth\", \"authpriv\" or \"local0\" to \"local7\"";

    fn from_text(text: &str) -> Result<Self, Unfit> {
        code(text, &FACILITIES, 23).map(Self)
    }

    fn from_integer(number: i128) -> Option<Result<Self, Unfit>> {
        Some(in_range(number, 23).map(Self))
    }
}

/// A syslog severity by its number or name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Severity(pub(super) u8);

/// RFC 5424, table 2.
const SEVERITIES: [(&str, u8); 11] = [
    ("emerg", 0),
    ("alert", 1),
    ("crit", 2),
    ("err", 3),
    ("error", 3),
    ("warning", 4),
    ("warn", 4),
    ("notice", 5),
    ("info", 6),
    ("informational", 6),
    ("debug", 7),
];

impl FromText for Severity {
    const MEANT: &'static str = "a severity: 0 to 7, or a name such as \"notice\", \"info\" or \"warning\"";

    fn from_text(text: &str) -> Result<Self, Unfit> {
        code(text, &SEVERITIES, 7).map(Self)
    }

    fn from_integer(number: i128) -> Option<Result<Self, Unfit>> {
        Some(in_range(number, 7).map(Self))
    }
}

fn code(text: &str, names: &[(&str, u8)], max: u8) -> Result<u8, Unfit> {
    if let Ok(number) = text.parse::<i128>() {
        return in_range(number, max);
    }
    let lower = text.to_ascii_lowercase();
    names.iter().find(|(name, _)| *name == lower).map(|(_, code)| *code).ok_or(Unfit::Plainly)
}

fn in_range(number: i128, max: u8) -> Result<u8, Unfit> {
    u8::try_from(number).ok().filter(|code| *code <= max).ok_or(Unfit::Plainly)
}

//! What the operator reads: for each way in which a call can fail, its class and a sentence with what failed, why, and the mend.

use std::{fmt, time::Duration};

use super::{Endpoint, Limits, LogKind, MiroClass, MiroError, decode::ShapeFault, error::HELD, refusal::Refusal};
use crate::{
    event::OrgName,
    net::{BodyFault, TransportFault},
};

/// Miro's connector for Sentinel asks for pages of 100, its default: no log refuses them.
pub(super) const PAGE_SIZE_SAFE: u32 = 100;

/// What was asked of Miro.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// A page of a log.
    Page {
        /// Which log.
        kind: LogKind,
        /// How many events were asked for.
        limit: u32,
        /// Where in the window.
        place: Place,
    },
    /// `GET /v1/oauth-token`
    TokenInfo,
}

impl Call {
    /// What it draws on the quota for.
    pub(super) fn endpoint(self) -> Endpoint {
        match self {
            Self::Page { kind, .. } => Endpoint::Log(kind),
            Self::TokenInfo => Endpoint::TokenInfo,
        }
    }
}

/// Where in its window a page is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    First,
    /// Behind a cursor.
    Later,
}

/// How a token comes to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// It stays until somebody takes it away.
    Static,
    /// It expires and is refreshed.
    Expiring,
}

/// Everything that a sentence names.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) call: Call,
    pub(super) org: &'a OrgName,
    /// Host and port of the API.
    pub(super) host: &'a str,
    /// The configuration key of the credentials, such as `orgs.acme.token`.
    pub(super) key: &'a str,
    pub(super) token: TokenKind,
}

impl fmt::Display for Asked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.call {
            Call::Page { kind, .. } => write!(f, "failed to list {}/{}", self.org, kind.stream()),
            Call::TokenInfo => write!(f, "failed to ask Miro about the token of {}", self.org),
        }
    }
}

impl Asked<'_> {
    /// The call had no answer, or none that could be read to its end.
    pub(super) fn failed(&self, fault: &BodyFault, limits: &Limits) -> MiroError {
        let (label, why) = unanswered(fault, self.host, limits.total);
        let (class, mend) = match (fault, self.call) {
            (BodyFault::TooLarge { .. }, Call::Page { limit, .. }) if limit > PAGE_SIZE_SAFE => {
                (MiroClass::PageSizeRejected, format!("; smaller pages are asked for, or set page_size to {PAGE_SIZE_SAFE}"))
            }
            (BodyFault::Transport { fault: TransportFault::Request, .. }, _) => (MiroClass::Config, String::new()),
            _ => (MiroClass::Retryable, String::new()),
        };
        MiroError::new(class, label, format!("{self}: {why}{mend}"))
    }

    /// The answer had status 200 and was not what was asked for.
    pub(super) fn misshapen(&self, fault: &ShapeFault) -> MiroError {
        let message = format!(
            "{self}: {} answered 200, but {fault}; it is tried again, check api_url and whether a proxy answers in Miro's place if it stays so",
            self.host
        );
        MiroError::new(MiroClass::Retryable, "bad_shape", message)
    }

    /// The token holds characters that no header may carry.
    pub(super) fn token_unsendable(&self) -> MiroError {
        let message =
            format!("{self}: the token at {} holds line breaks or control characters; store the token alone, on one line", self.key);
        MiroError::new(MiroClass::Config, "secret", message)
    }

    /// The quota of the minute is used up, by what Miro has said before: nothing was sent.
    pub(super) fn held(&self, wait: Duration) -> MiroError {
        let message = format!("{self}: the credits of this minute are used up, the next request goes in {} s", secs(wait));
        MiroError::new(MiroClass::Throttled(Some(wait)), HELD, message)
    }

    /// Miro has refused.
    pub(super) fn refused(&self, refusal: &Refusal, wait: Option<Duration>) -> MiroError {
        let (class, why) = match refusal.status {
            400 => self.bad_request(refusal),
            401 => (MiroClass::Auth, self.unauthorised()),
            403 => (MiroClass::Permission, self.forbidden()),
            404 => self.not_found(),
            407 => (
                MiroClass::Config,
                "a proxy asks for a user and a password; put them into HTTPS_PROXY, as in http://user:password@proxy:3128".to_owned(),
            ),
            408 | 425 => (MiroClass::Retryable, "the request took too long to arrive; it is tried again".to_owned()),
            409 => (MiroClass::Retryable, "another change was under way at Miro; it is tried again".to_owned()),
            429 => (MiroClass::Throttled(wait), throttled_sentence(wait)),
            300..=399 => (
                MiroClass::Config,
                format!("{} points elsewhere, which Miro's API never does; check api_url and the proxy in between", self.host),
            ),
            500..=599 => {
                (MiroClass::Retryable, "Miro, or a proxy in between, is not well; it is tried again, status.miro.com tells more".to_owned())
            }
            status if (400..500).contains(&status) => (
                MiroClass::BadRequest,
                "Miro does not take this request; check api_url and the proxy in between, else look for a newer miro-siem".to_owned(),
            ),
            _ => (MiroClass::Retryable, "a page comes with 200 and nothing else; it is tried again".to_owned()),
        };
        MiroError::answered(class, refusal.status, format!("{self}: Miro answered {refusal}: {why}"))
    }

    fn bad_request(&self, refusal: &Refusal) -> (MiroClass, String) {
        match self.call {
            Call::TokenInfo => (MiroClass::Auth, self.unauthorised()),
            Call::Page { kind, limit, place } if page_size_is_meant(kind, limit, place, refusal) => {
                (MiroClass::PageSizeRejected, format!("a page of {limit} events is more than Miro gives; smaller pages are asked for, nothing needs to be done"))
            }
            Call::Page { place: Place::Later, .. } => {
                (MiroClass::CursorRejected, "the place inside the window is not valid any more; the window is listed again from its start, nothing needs to be done".to_owned())
            }
            Call::Page { .. } => {
                (MiroClass::BadRequest, "Miro does not take the window or one of its parameters; look for a newer miro-siem, and report this message if there is none".to_owned())
            }
        }
    }

    fn unauthorised(&self) -> String {
        let key = self.key;
        match (self.token, self.call) {
            (TokenKind::Expiring, _) => format!(
                "the access token is refused although it was refreshed; the app of {key} was uninstalled or its consent taken back: install it again and configure the new refresh token"
            ),
            (TokenKind::Static, Call::Page { kind: LogKind::Ai, .. }) => format!(
                "the token is not valid, or not any more; install an app with the scope {} again and put its token at {key}",
                LogKind::Ai.scope()
            ),
            (TokenKind::Static, Call::Page { kind, .. }) => {
                let toggle = if kind == LogKind::Audit { "SIEM" } else { "eDiscovery" };
                format!(
                    "the token is not valid any more, as when somebody switches off the {toggle} toggle or uninstalls the app that it came from; look at Company settings > Apps and integrations > Enterprise integrations and put the new token at {key}"
                )
            }
            (TokenKind::Static, Call::TokenInfo) => {
                format!("the token is not valid; copy it again from where it was made and put it at {key}")
            }
        }
    }

    fn forbidden(&self) -> String {
        let Call::Page { kind, .. } = self.call else {
            return format!("the token may not be asked about; make one anew as a Company Admin and put it at {}", self.key);
        };
        let (log, plan) = match kind {
            LogKind::Audit => ("audit logs", "on an Enterprise plan"),
            LogKind::Content => (
                "content logs",
                "on an Enterprise plan with the Enterprise Guard add-on, and content logs are collected only once an admin has switched them on",
            ),
            LogKind::Ai => (
                "AI interaction logs",
                "on an Enterprise plan with the Enterprise Guard add-on, and they are collected only once an admin has switched them on",
            ),
        };
        format!(
            "the token of {} may not read {log}; that takes the scope {}, and a Company Admin who made the token, {plan}",
            self.key,
            kind.scope()
        )
    }

    fn not_found(&self) -> (MiroClass, String) {
        let org = self.org;
        let why = match self.call {
            Call::Page { kind, .. } if kind.needs_org() => format!(
                "Miro knows no such log of the organisation; check orgs.{org}.id, or leave it out so that it is found from the token, and check that the plan has this log"
            ),
            Call::Page { .. } => format!("{} has no audit log at that address; check orgs.{org}.api_url", self.host),
            Call::TokenInfo => format!("{} does not know what a token is; check orgs.{org}.api_url", self.host),
        };
        (MiroClass::NotFound, why)
    }
}

/// Miro documents no largest page for audit logs; so a refused first page of more than its default may mean the size, unless Miro names
/// another field.
fn page_size_is_meant(kind: LogKind, limit: u32, place: Place, refusal: &Refusal) -> bool {
    let silent = refusal.fields.is_empty() && kind == LogKind::Audit && place == Place::First;
    limit > PAGE_SIZE_SAFE && (refusal.names("limit") || silent)
}

fn throttled_sentence(wait: Option<Duration>) -> String {
    let when = wait.map_or_else(|| "after a wait".to_owned(), |wait| format!("in {} s", secs(wait)));
    format!(
        "the credits of this minute are used up; the next request goes {when}, and if it stays so, another integration uses the same user and app"
    )
}

/// Why there is no whole answer: the label in metrics, and the words.
pub(super) fn unanswered(fault: &BodyFault, host: &str, total: Duration) -> (&'static str, String) {
    match fault {
        BodyFault::TooLarge { bytes_max } => (
            "too_large",
            format!("the answer of {host} is larger than {} MiB; check api_url and the proxy in between", bytes_max.div_ceil(1024 * 1024)),
        ),
        BodyFault::Stalled { after } => {
            let why = format!(
                "{host} stopped in the middle of its answer for {} s; it is tried again, check the proxy if it stays so",
                secs(*after)
            );
            ("stalled", why)
        }
        BodyFault::Transport { fault, detail } => (fault.as_str(), transport_sentence(*fault, host, detail, total)),
    }
}

fn transport_sentence(fault: TransportFault, host: &str, detail: &str, total: Duration) -> String {
    match fault {
        TransportFault::Dns => format!("the name of {host} has no address ({detail}); check DNS, api_url and HTTPS_PROXY"),
        TransportFault::Connect => format!("no connection to {host} ({detail}); check the network, the firewall and HTTPS_PROXY"),
        TransportFault::Tls => {
            format!("no trusted TLS connection to {host} ({detail}); if a proxy inspects TLS, name its CA certificate in tls.ca_file")
        }
        TransportFault::Timeout => {
            format!(
                "no whole answer from {host} within {} s; it is tried again, check the network and the proxy if it stays so",
                secs(total)
            )
        }
        TransportFault::Broken => format!("the connection to {host} broke ({detail}); it is tried again"),
        TransportFault::Request => format!("the request to {host} could not be made ({detail}); check api_url"),
    }
}

/// Whole seconds, rounded up, so that a wait never reads as none.
fn secs(time: Duration) -> u64 {
    time.as_millis().div_ceil(1_000) as u64
}

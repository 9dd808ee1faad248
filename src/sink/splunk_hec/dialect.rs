//! Where and how the receivers differ that speak HEC's protocol.
//!
//! | dialect | path | token | health page | acknowledgement |
//! |---|---|---|---|---|
//! | `splunk` | `/services/collector` and `/event`, `/ack`, `/health` below it | `Splunk` | yes | where the token has it |
//! | `cribl` | the same | `Splunk` | yes | where the source has it: it confirms what Cribl has taken, not what is behind it |
//! | `logscale` | `/api/v1/ingest/hec`, for events alone | `Bearer` | none | none |
//!
//! LogScale chooses its parser by the source type, so none is sent unless it is configured, and the token's repository is its index. Neither it nor Cribl says which event of a request it refuses: such a request is searched for the event.
//! Sources: "Ingesting with HTTP Event Collector (HEC)" of LogScale's documentation, "Splunk HEC Source" of Cribl's.

use url::Url;

use super::super::http;
use crate::config::settings::{HecAuthScheme, HecDialect, SplunkHecSettings};

/// What a receiver is called in messages.
pub(super) fn name(dialect: HecDialect) -> &'static str {
    match dialect {
        HecDialect::Splunk => "Splunk HEC",
        HecDialect::LogScale => "LogScale",
        HecDialect::Cribl => "Cribl",
    }
}

/// Where requests go, and how they are authorised.
#[derive(Debug)]
pub(super) struct Endpoints {
    pub(super) event: Url,
    pub(super) ack: Url,
    pub(super) health: Option<Url>,
    /// The word before the token.
    pub(super) auth_scheme: &'static str,
}

impl Endpoints {
    pub(super) fn of(settings: &SplunkHecSettings) -> Self {
        let (usual_path, usual_scheme) = match settings.dialect {
            HecDialect::Splunk | HecDialect::Cribl => ("/services/collector", HecAuthScheme::Splunk),
            HecDialect::LogScale => ("/api/v1/ingest/hec", HecAuthScheme::Bearer),
        };
        let path = settings.path.as_deref().unwrap_or(usual_path).trim_end_matches('/');
        let below = |part: &str| http::join(&settings.url, &format!("{path}{part}"));
        let has_parts = settings.dialect != HecDialect::LogScale;
        Self {
            event: below(if has_parts { "/event" } else { "" }),
            ack: below("/ack"),
            health: has_parts.then(|| below("/health")),
            auth_scheme: match settings.auth_scheme.unwrap_or(usual_scheme) {
                HecAuthScheme::Splunk => "Splunk",
                HecAuthScheme::Bearer => "Bearer",
            },
        }
    }
}

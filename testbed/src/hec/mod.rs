//! Splunk's HTTP Event Collector.
//!
//! `POST /services/collector/event` (also `/services/collector` and `/services/collector/event/1.0`), `POST
//! /services/collector/ack`, `GET /services/collector/health[/1.0]`, `OPTIONS`.
//!
//! The rules follow Splunk's specification files and error table, and measurements published against Splunk Enterprise 10.4.3 and
//! Splunk Cloud 10.5.2605. The ones that surprise:
//! - An error names `invalid-event-number` N, and the objects 0 to N-1 **are** indexed. The wrong-index error names the object
//!   after the bad one.
//! - An unknown key in an object ends the request with a success; only the objects before it are indexed.
//! - Nothing is deduplicated: what is sent twice is indexed twice.
//! - An acknowledgement is `true` once, then `false` for ever; ids count from 0 in each channel; an idle channel is forgotten.
//! - Splunk Cloud answers a body above about 5 MiB with code 6 on object 0, not with 413.
//!
//! Stricter than what is known: a JSON array as a body, and an event that is neither an object nor a string, are code 6.

mod acks;
mod answers;
mod auth;
mod envelope;
mod service;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use rustls::ServerConfig;

pub use answers::Condition;
pub use service::Hec;

use crate::{
    ledger::{Keep, Ledger},
    running::{Running, StartError},
};

/// Which product answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Edition {
    #[default]
    Enterprise,
    /// Bodies above 5 MiB are code 6 on object 0, and a missing channel is code 28.
    Cloud,
}

/// Indexer acknowledgement of the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Acks {
    #[default]
    Off,
    On {
        /// From taking the events to the moment their id can be answered with `true`.
        delay: Duration,
        /// A channel that is not used for this long is forgotten with its ids. Splunk: `maxIdleTime`, 600 s.
        idle_max: Duration,
        /// Ids of one channel that wait to be read; more are refused with code 27. Splunk: a million.
        pending_max: usize,
    },
}

impl Acks {
    /// Acknowledges at once, forgets after ten minutes, holds a million ids a channel.
    pub fn at_once() -> Self {
        Self::after(Duration::ZERO)
    }

    /// Acknowledges after `delay`.
    pub fn after(delay: Duration) -> Self {
        Self::On { delay, idle_max: Duration::from_secs(600), pending_max: 1_000_000 }
    }
}

/// How closely a body is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Parsing {
    #[default]
    Full,
    /// For benches: lines are counted as events, nothing else is read, and the ledger stays empty.
    CountLines,
}

/// Whether a token in the query string is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum QueryTokens {
    /// Code 16.
    #[default]
    Refused,
    /// It wins over the header (`allowQueryStringAuth`).
    Allowed,
}

/// What the receiver is set up with.
#[derive(Clone)]
pub struct HecConfig {
    pub listen: SocketAddr,
    pub tls: Option<Arc<ServerConfig>>,
    pub token: String,
    /// Tokens that exist but are switched off: code 1.
    pub disabled_tokens: Vec<String>,
    /// Indexes the token may write to; none given means any. Others are code 7.
    pub indexes: Vec<String>,
    pub acks: Acks,
    pub edition: Edition,
    pub parsing: Parsing,
    pub query_tokens: QueryTokens,
    pub keep: Keep,
    /// `max_content_length`; a longer body is answered with 413.
    pub body_bytes_max: usize,
    /// `maxEventSize`; a longer event is code 6.
    pub event_bytes_max: usize,
}

impl Default for HecConfig {
    fn default() -> Self {
        Self {
            listen: ([127, 0, 0, 1], 0).into(),
            tls: None,
            token: "11111111-2222-4333-8444-555555555555".to_owned(),
            disabled_tokens: Vec::new(),
            indexes: Vec::new(),
            acks: Acks::default(),
            edition: Edition::default(),
            parsing: Parsing::default(),
            query_tokens: QueryTokens::default(),
            keep: Keep::default(),
            body_bytes_max: 838_860_800,
            event_bytes_max: 5 << 20,
        }
    }
}

impl std::fmt::Debug for HecConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The tokens stay out.
        f.debug_struct("HecConfig").field("listen", &self.listen).field("acks", &self.acks).finish_non_exhaustive()
    }
}

impl Hec {
    /// # Errors
    /// When the address cannot be listened on.
    pub fn start(config: HecConfig) -> Result<Running<Self>, StartError> {
        let ledger = Arc::new(Ledger::new(config.keep));
        let (listen, tls) = (config.listen, config.tls.clone());
        Running::start(listen, tls, Self::new(config, Arc::clone(&ledger)), ledger)
    }
}

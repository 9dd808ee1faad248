//! Sumo Logic's hosted HTTP source.
//!
//! `POST /receiver/v1/http/{secret}`: the URL is the credential. Each line of the body is one event; empty lines are none. Gzip and
//! deflate bodies are taken. A wrong secret is a 401.
//!
//! The answers that mislead are faults to order: a 408 after a part was taken ([`timed_out_halfway`]), a 200 for data that an ingest
//! budget drops ([`budget_exhausted`]), a 429 that wants everything again ([`quota_exceeded`]).
//!
//! Not reproduced: multi-line detection, the split of messages above 64 KB, and the thirty seconds after which the service cuts a
//! slow upload.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rustls::ServerConfig;

use crate::{
    faults::{Answer, Fault, RetryAfter, Take},
    http::{Encoding, Head, Limits, Refusal, Reply, Request, Service},
    json::id_of,
    ledger::{Keep, Ledger, Record},
    running::{Running, StartError},
};

const PATH: &str = "/receiver/v1/http/";
/// Sumo recommends up to 1 MB before compression; bodies far above that show a batching error in the sender.
const BODY_BYTES_MAX: usize = 16 << 20;
/// Requests whose headers are remembered; the oldest are forgotten first.
const REQUESTS_KEPT: usize = 1000;

/// What the source is set up with.
#[derive(Clone)]
pub struct SumoConfig {
    pub listen: SocketAddr,
    pub tls: Option<Arc<ServerConfig>>,
    pub secret: String,
    pub keep: Keep,
}

impl Default for SumoConfig {
    fn default() -> Self {
        Self { listen: ([127, 0, 0, 1], 0).into(), tls: None, secret: "ZaVnC4dhaV2-secret-of-the-source".to_owned(), keep: Keep::default() }
    }
}

impl std::fmt::Debug for SumoConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SumoConfig").field("listen", &self.listen).finish_non_exhaustive()
    }
}

/// The headers of one accepted request that decide where Sumo files it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Metadata {
    /// `X-Sumo-Name`
    pub name: Option<String>,
    /// `X-Sumo-Host`
    pub host: Option<String>,
    /// `X-Sumo-Category`
    pub category: Option<String>,
    /// `X-Sumo-Fields`
    pub fields: Option<String>,
    pub content_type: Option<String>,
    pub content_encoding: Option<String>,
}

impl Metadata {
    fn of(head: &Head) -> Self {
        let header = |name| head.header(name).map(str::to_owned);
        Self {
            name: header("x-sumo-name"),
            host: header("x-sumo-host"),
            category: header("x-sumo-category"),
            fields: header("x-sumo-fields"),
            content_type: header("content-type"),
            content_encoding: header("content-encoding"),
        }
    }
}

/// The source.
#[derive(Debug)]
pub struct Sumo {
    config: SumoConfig,
    ledger: Arc<Ledger>,
    metadata: Mutex<VecDeque<Metadata>>,
}

impl Sumo {
    /// # Errors
    /// When the address cannot be listened on.
    pub fn start(config: SumoConfig) -> Result<Running<Self>, StartError> {
        let ledger = Arc::new(Ledger::new(config.keep));
        let (listen, tls) = (config.listen, config.tls.clone());
        let service = Self { config, ledger: Arc::clone(&ledger), metadata: Mutex::default() };
        Running::start(listen, tls, service, ledger)
    }

    /// The path of the source, with its secret.
    pub fn path(&self) -> String {
        format!("{PATH}{}", self.config.secret)
    }

    /// The metadata of the latest accepted requests, oldest first.
    pub fn metadata(&self) -> Vec<Metadata> {
        self.remembered().iter().cloned().collect()
    }

    fn remembered(&self) -> MutexGuard<'_, VecDeque<Metadata>> {
        self.metadata.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, head: &Head) {
        let mut remembered = self.remembered();
        if remembered.len() == REQUESTS_KEPT {
            remembered.pop_front();
        }
        remembered.push_back(Metadata::of(head));
    }
}

impl Service for Sumo {
    fn limits(&self) -> Limits {
        Limits { sent_bytes_max: BODY_BYTES_MAX, plain_bytes_max: BODY_BYTES_MAX, encodings: &[Encoding::Gzip, Encoding::Deflate] }
    }

    fn refuse(&self, _head: &Head, why: Refusal) -> Reply {
        Reply::empty(match why {
            Refusal::TooLarge | Refusal::TooLargeUnpacked => 413,
            Refusal::UnknownEncoding => 415,
            Refusal::Undecodable => 400,
        })
    }

    fn handle(&self, request: &Request<'_>, take: Take) -> Reply {
        if request.head.method != "POST" {
            return Reply::empty(405);
        }
        match request.head.path.strip_prefix(PATH) {
            None => return Reply::empty(404),
            Some(secret) if secret != self.config.secret => return Reply::empty(401),
            Some(_) => {}
        }
        let lines: Vec<&[u8]> = lines(request.body).collect();
        let taken = match take {
            Take::All => lines.len(),
            Take::Half => lines.len() / 2,
            Take::Nothing | Take::Unread => 0,
        };
        let records: Vec<Record<'_>> = lines[..taken].iter().map(|line| record(line)).collect();
        self.ledger.record(&records);
        self.remember(request.head);
        Reply::empty(200)
    }
}

fn lines(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    body.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line)).filter(|line| !line.is_empty())
}

fn record(line: &[u8]) -> Record<'_> {
    let id = std::str::from_utf8(line).ok().and_then(id_of);
    Record { id, bytes: line, context: line.into() }
}

/// The first half of the lines is in, and the answer is the 408 of an upload that took too long.
pub fn timed_out_halfway() -> Fault {
    Fault::half_then(Answer::new(408, ""))
}

/// 200, and nothing is in: an ingest budget that stops the collection.
pub fn budget_exhausted() -> Fault {
    Fault::swallow()
}

/// 429, and nothing is in.
pub fn quota_exceeded(retry_after: Option<RetryAfter>) -> Fault {
    Fault::answer(Answer { retry_after, ..Answer::new(429, "") })
}

//! Collectors that speak HEC's protocol and are not Splunk: CrowdStrike Falcon LogScale, and Cribl Stream.
//!
//! Reproduced from their documentation: where they listen, under which word they take a token, that LogScale has neither acknowledgement nor
//! a health page and takes an `index` only if it is the token's repository, that Cribl has a health page, and refuses with 503 while as many
//! requests are active as it may have. Both take gzip.
//!
//! Stricter or simpler than what is known: a request that cannot be read is refused as a whole, in words without a code; what either takes
//! in part is not documented. Cribl's acknowledgement is not reproduced.

use std::{
    borrow::Cow,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use rustls::ServerConfig;
use serde_json::value::RawValue;

use crate::{
    faults::Take,
    http::{Encoding, Head, Limits, Refusal, Reply, Request, Service},
    json::{Members, id_of, text},
    ledger::{Keep, Ledger, Record},
    running::{Running, StartError},
};

/// LogScale's limit on one request, before compression.
const BODY_BYTES_MAX: usize = 32 << 20;

/// Whose collector it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Product {
    LogScale,
    Cribl,
}

/// What the collector is set up with.
#[derive(Clone)]
pub struct LookalikeConfig {
    pub product: Product,
    pub listen: SocketAddr,
    pub tls: Option<Arc<ServerConfig>>,
    pub token: String,
    /// Of LogScale's token.
    pub repository: String,
    /// Where Cribl listens; `/event` and `/health` are below it.
    pub endpoint: String,
    pub keep: Keep,
}

impl LookalikeConfig {
    /// On a free port, with a token, keeping digests.
    pub fn of(product: Product) -> Self {
        Self {
            product,
            listen: ([127, 0, 0, 1], 0).into(),
            tls: None,
            token: "22222222-3333-4444-8555-666666666666".to_owned(),
            repository: "miro".to_owned(),
            endpoint: "/services/collector".to_owned(),
            keep: Keep::default(),
        }
    }
}

impl std::fmt::Debug for LookalikeConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LookalikeConfig").field("product", &self.product).field("listen", &self.listen).finish_non_exhaustive()
    }
}

/// The collector; its switches can be turned while it runs.
#[derive(Debug)]
pub struct Lookalike {
    config: LookalikeConfig,
    ledger: Arc<Ledger>,
    busy: AtomicBool,
    refused: Mutex<Option<Vec<u8>>>,
}

impl Lookalike {
    /// # Errors
    /// When the address cannot be listened on.
    pub fn start(config: LookalikeConfig) -> Result<Running<Self>, StartError> {
        let ledger = Arc::new(Ledger::new(config.keep));
        let (listen, tls) = (config.listen, config.tls.clone());
        let service = Self { config, ledger: Arc::clone(&ledger), busy: AtomicBool::new(false), refused: Mutex::default() };
        Running::start(listen, tls, service, ledger)
    }

    /// Whether as many requests are active as there may be, from here on.
    pub fn set_busy(&self, busy: bool) {
        self.busy.store(busy, Ordering::Relaxed);
    }

    /// Refuses every request that holds those bytes from here on. `None` takes everything again.
    pub fn refuse_requests_with(&self, bytes: Option<&[u8]>) {
        *self.refused() = bytes.map(<[u8]>::to_vec);
    }

    fn refused(&self) -> MutexGuard<'_, Option<Vec<u8>>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_events(&self, path: &str) -> bool {
        match self.config.product {
            Product::LogScale => matches!(path, "/api/v1/ingest/hec" | "/services/collector" | "/services/collector/event"),
            Product::Cribl => path.strip_prefix(&self.config.endpoint).is_some_and(|rest| matches!(rest, "" | "/event")),
        }
    }

    fn is_health(&self, path: &str) -> bool {
        self.config.product == Product::Cribl && path.strip_prefix(&self.config.endpoint) == Some("/health")
    }

    fn check_token(&self, head: &Head) -> Result<(), Reply> {
        let given = head.header("authorization").and_then(|value| value.split_once(' '));
        let known = |(scheme, token): (&str, &str)| {
            let is_scheme = match self.config.product {
                Product::LogScale => scheme.eq_ignore_ascii_case("bearer"),
                Product::Cribl => scheme.eq_ignore_ascii_case("splunk"),
            };
            is_scheme && token == self.config.token
        };
        match self.config.product {
            _ if given.is_some_and(known) => Ok(()),
            Product::LogScale => Err(words(401, "The supplied authentication is invalid")),
            Product::Cribl => Err(Reply::json(403, r#"{"text":"Invalid token","code":4}"#)),
        }
    }

    fn events(&self, body: &[u8], take: Take) -> Result<Reply, Reply> {
        if self.refused().as_ref().is_some_and(|bytes| memchr::memmem::find(body, bytes).is_some()) {
            return Err(words(400, "Could not handle input"));
        }
        let mut records = Vec::new();
        for envelope in serde_json::Deserializer::from_slice(body).into_iter::<Members<'_>>() {
            let envelope = envelope.map_err(|_| words(400, "Could not parse JSON"))?;
            records.push(self.record(&envelope)?);
        }
        let count = match take {
            Take::All => records.len(),
            Take::Half => records.len() / 2,
            Take::Nothing | Take::Unread => 0,
        };
        self.ledger.record(&records[..count]);
        Ok(Reply::json(200, r#"{"text":"Success","code":0}"#))
    }

    fn record<'a>(&self, envelope: &Members<'a>) -> Result<Record<'a>, Reply> {
        let member = |name: &str| envelope.0.iter().find(|(member, _)| member == name).map(|(_, value)| *value);
        let index = member("index").and_then(text);
        if self.config.product == Product::LogScale && index.is_some_and(|index| index != self.config.repository) {
            return Err(words(400, "The index does not match the repository of the token"));
        }
        let event: &'a RawValue = member("event").ok_or_else(|| words(400, "Missing event"))?;
        let own = || serde_json::from_str::<Members<'a>>(member("fields")?.get()).ok();
        let field = || own()?.0.into_iter().find(|(name, _)| name == "miro_event_id").and_then(|(_, value)| text(value));
        let sourcetype = member("sourcetype").map(|value| value.get().as_bytes()).unwrap_or_default();
        Ok(Record { id: id_of(event.get()).or_else(field), bytes: event.get().as_bytes(), context: Cow::Borrowed(sourcetype) })
    }
}

fn words(status: u16, words: &str) -> Reply {
    Reply { status, headers: vec![("content-type".to_owned(), "text/plain".to_owned())], body: words.as_bytes().to_vec() }
}

impl Service for Lookalike {
    fn limits(&self) -> Limits {
        Limits { sent_bytes_max: BODY_BYTES_MAX, plain_bytes_max: BODY_BYTES_MAX, encodings: &[Encoding::Gzip] }
    }

    fn refuse(&self, _head: &Head, why: Refusal) -> Reply {
        match why {
            Refusal::TooLarge | Refusal::TooLargeUnpacked => words(413, "Request entity is too large"),
            Refusal::UnknownEncoding | Refusal::Undecodable => words(400, "The request's Content-Encoding is not supported"),
        }
    }

    fn handle(&self, request: &Request<'_>, take: Take) -> Reply {
        let head = request.head;
        if head.method == "GET" && self.is_health(&head.path) {
            return Reply::json(200, r#"{"text":"HEC is healthy","code":17}"#);
        }
        if head.method != "POST" || !self.is_events(&head.path) {
            return words(404, "The requested resource could not be found.");
        }
        if let Err(refusal) = self.check_token(head) {
            return refusal;
        }
        if self.busy.load(Ordering::Relaxed) {
            return match self.config.product {
                Product::LogScale => words(503, "The service is overloaded"),
                Product::Cribl => Reply::json(503, r#"{"text":"Server is busy","code":9}"#),
            };
        }
        self.events(request.body, take).unwrap_or_else(|refusal| refusal)
    }
}

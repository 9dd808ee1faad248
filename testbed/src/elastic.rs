//! Elasticsearch's `_bulk` into data streams.
//!
//! `POST /{data stream}/_bulk` takes `create` alone and answers for each document: 201, or 409 when the current write index has its
//! `_id` already. Reproduced: that ids are unique only until [`rollover`](Elastic::rollover); that an item can be refused or put off
//! by itself while the answer is a 200; that a refusal quotes the field's value; `filter_path`; API keys.
//!
//! Not reproduced: search, mappings beyond fields declared as numbers, the failure store, privileges per index.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rustls::ServerConfig;
use serde_json::{Value, json};

use crate::{
    faults::Take,
    http::{Encoding, Head, Limits, Refusal, Reply, Request, Service},
    json::id_of,
    ledger::{Keep, Ledger, Record},
    running::{Running, StartError},
};

/// `http.max_content_length`
const BODY_BYTES_MAX: usize = 100 << 20;
/// How much of a value a refusal quotes.
const PREVIEW_CHARS: usize = 50;

/// What the cluster is set up with.
#[derive(Clone)]
pub struct ElasticConfig {
    pub listen: SocketAddr,
    pub tls: Option<Arc<ServerConfig>>,
    /// In its encoded form, as it stands in the header.
    pub api_key: String,
    /// Top-level fields that are mapped as numbers: a document with anything else there is refused.
    pub number_fields: Vec<String>,
    pub keep: Keep,
}

impl Default for ElasticConfig {
    fn default() -> Self {
        Self {
            listen: ([127, 0, 0, 1], 0).into(),
            tls: None,
            api_key: "VnVhQ2ZHY0JDZGJrU-secret-api-key".to_owned(),
            number_fields: Vec::new(),
            keep: Keep::default(),
        }
    }
}

impl std::fmt::Debug for ElasticConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ElasticConfig").field("listen", &self.listen).finish_non_exhaustive()
    }
}

/// An item that fails by itself, ordered by the document's own id.
#[derive(Debug, Clone)]
pub struct ItemFault {
    /// `id` of the document.
    pub id: String,
    /// How many times it fails.
    pub times: u32,
    pub status: u16,
    /// `error.type`
    pub kind: String,
}

impl ItemFault {
    /// 429 of a full write queue.
    pub fn queue_full(id: &str, times: u32) -> Self {
        Self { id: id.to_owned(), times, status: 429, kind: "es_rejected_execution_exception".to_owned() }
    }
}

/// The cluster.
#[derive(Debug)]
pub struct Elastic {
    config: ElasticConfig,
    ledger: Arc<Ledger>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The ids of each data stream's current write index.
    written: HashMap<String, HashSet<String>>,
    faults: Vec<ItemFault>,
    /// How often an id was refused because it was there.
    conflicts: usize,
    refused: Option<Vec<u8>>,
}

impl Elastic {
    /// # Errors
    /// When the address cannot be listened on.
    pub fn start(config: ElasticConfig) -> Result<Running<Self>, StartError> {
        let ledger = Arc::new(Ledger::new(config.keep));
        let (listen, tls) = (config.listen, config.tls.clone());
        let service = Self { config, ledger: Arc::clone(&ledger), state: Mutex::default() };
        Running::start(listen, tls, service, ledger)
    }

    /// Makes an item fail by itself.
    pub fn order(&self, fault: ItemFault) {
        self.state().faults.push(fault);
    }

    /// Refuses every document that holds those bytes from here on, as one that does not fit its mapping. `None` takes everything again.
    pub fn refuse_documents_with(&self, bytes: Option<&[u8]>) {
        self.state().refused = bytes.map(<[u8]>::to_vec);
    }

    /// Begins a new write index for every data stream: ids of the old ones no longer count.
    pub fn rollover(&self) {
        self.state().written.clear();
    }

    /// How many documents were refused because their id was there.
    pub fn conflicts(&self) -> usize {
        self.state().conflicts
    }

    /// The data streams with how many ids their write indices have, by name.
    pub fn data_streams(&self) -> Vec<(String, usize)> {
        let mut all: Vec<_> = self.state().written.iter().map(|(name, ids)| (name.clone(), ids.len())).collect();
        all.sort();
        all
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn bulk(&self, stream: &str, body: &[u8], take: Take) -> Result<Value, Reply> {
        let lines = body.strip_suffix(b"\n").ok_or_else(|| illegal("The bulk request must be terminated by a newline [\\n]"))?;
        let lines: Vec<&[u8]> = lines.split(|byte| *byte == b'\n').collect();
        if !lines.len().is_multiple_of(2) {
            return Err(illegal("Malformed action/metadata line"));
        }
        let count = match take {
            Take::All => lines.len() / 2,
            Take::Half => lines.len() / 4,
            Take::Nothing | Take::Unread => 0,
        };
        let mut items = Vec::with_capacity(count);
        for pair in lines.chunks_exact(2).take(count) {
            items.push(self.item(stream, pair[0], pair[1])?);
        }
        let failed = items.iter().any(|item| item["create"].get("error").is_some());
        Ok(json!({"took": 3, "errors": failed, "items": items}))
    }

    fn item(&self, stream: &str, action: &[u8], document: &[u8]) -> Result<Value, Reply> {
        let action: Value = serde_json::from_slice(action).map_err(|_| illegal("Malformed action/metadata line"))?;
        let Some(create) = action.get("create") else {
            return Ok(refused(400, "illegal_argument_exception", "only write ops with an op_type of create are allowed in data streams"));
        };
        let id = create["_id"].as_str().filter(|id| (1..=512).contains(&id.len())).ok_or_else(|| illegal("_id is missing or too long"))?;
        let own_id = std::str::from_utf8(document).ok().and_then(id_of);
        if let Some(fault) = self.ordered(own_id.as_deref()) {
            return Ok(refused(fault.status, &fault.kind, &format!("rejected execution of [{}]", fault.id)));
        }
        if self.state().refused.as_deref().is_some_and(|bytes| memchr::memmem::find(document, bytes).is_some()) {
            return Ok(refused(400, "document_parsing_exception", "[1:2] failed to parse field [object.name] of type [long]"));
        }
        if let Err(reason) = self.parse(document, id) {
            return Ok(refused(400, "document_parsing_exception", &reason));
        }
        let mut state = self.state();
        if !state.written.entry(stream.to_owned()).or_default().insert(id.to_owned()) {
            state.conflicts += 1;
            let reason = format!("[{id}]: version conflict, document already exists (current version [1])");
            return Ok(refused(409, "version_conflict_engine_exception", &reason));
        }
        drop(state);
        self.ledger.record(&[Record { id: own_id, bytes: document, context: stream.as_bytes().into() }]);
        Ok(json!({"create": {"_index": format!(".ds-{stream}-000001"), "_id": id, "_version": 1, "result": "created", "status": 201}}))
    }

    fn ordered(&self, id: Option<&str>) -> Option<ItemFault> {
        let mut state = self.state();
        let fault = state.faults.iter_mut().find(|fault| Some(fault.id.as_str()) == id && fault.times > 0)?;
        fault.times -= 1;
        Some(fault.clone())
    }

    fn parse(&self, document: &[u8], id: &str) -> Result<(), String> {
        let value: Value = serde_json::from_slice(document).map_err(|error| format!("failed to parse: {error}"))?;
        let object = value.as_object().ok_or("failed to parse: not an object")?;
        if !object.get("@timestamp").is_some_and(Value::is_string) {
            return Err("data stream timestamp field [@timestamp] is missing".to_owned());
        }
        for field in &self.config.number_fields {
            if let Some(value) = object.get(field).filter(|value| !value.is_number()) {
                let preview: String = value.as_str().map_or_else(|| value.to_string(), str::to_owned).chars().take(PREVIEW_CHARS).collect();
                let what = format!("failed to parse field [{field}] of type [long] in document with id '{id}'.");
                return Err(format!("[1:2] {what} Preview of field's value: '{preview}'"));
            }
        }
        Ok(())
    }
}

fn refused(status: u16, kind: &str, reason: &str) -> Value {
    let cause = json!({"type": "input_coercion_exception", "reason": reason});
    json!({"create": {"_id": "x", "status": status, "error": {"type": kind, "reason": reason, "caused_by": cause}}})
}

fn failure(status: u16, kind: &str, reason: &str) -> Reply {
    let cause = json!({"type": kind, "reason": reason});
    Reply::json(status, json!({"error": {"root_cause": [cause], "type": kind, "reason": reason}, "status": status}).to_string())
}

fn illegal(reason: &str) -> Reply {
    failure(400, "illegal_argument_exception", reason)
}

/// What `filter_path` leaves of an answer: paths with `*` for one name; lists are gone through without a name of their own.
fn filtered(value: &Value, paths: &[&[&str]]) -> Value {
    match value {
        Value::Array(elements) => elements.iter().map(|element| filtered(element, paths)).collect(),
        Value::Object(members) => {
            let mut left = serde_json::Map::new();
            for (name, member) in members {
                let matching: Vec<&[&str]> = paths
                    .iter()
                    .filter(|path| path.first().is_some_and(|part| *part == "*" || part == name))
                    .map(|path| &path[1..])
                    .collect();
                if matching.iter().any(|path| path.is_empty()) {
                    left.insert(name.clone(), member.clone());
                } else if !matching.is_empty() && (member.is_object() || member.is_array()) {
                    let inner = filtered(member, &matching);
                    if inner.as_object().is_none_or(|inner| !inner.is_empty()) {
                        left.insert(name.clone(), inner);
                    }
                }
            }
            Value::Object(left)
        }
        other => other.clone(),
    }
}

impl Service for Elastic {
    fn limits(&self) -> Limits {
        Limits { sent_bytes_max: BODY_BYTES_MAX, plain_bytes_max: BODY_BYTES_MAX, encodings: &[Encoding::Gzip] }
    }

    fn refuse(&self, _head: &Head, why: Refusal) -> Reply {
        match why {
            Refusal::TooLarge | Refusal::TooLargeUnpacked => Reply::empty(413),
            Refusal::UnknownEncoding | Refusal::Undecodable => failure(400, "parse_exception", "the body cannot be decompressed"),
        }
    }

    fn handle(&self, request: &Request<'_>, take: Take) -> Reply {
        let head = request.head;
        if head.header("authorization").and_then(|value| value.strip_prefix("ApiKey ")) != Some(&self.config.api_key) {
            return failure(401, "security_exception", "unable to authenticate with provided credentials");
        }
        let stream = head.path.strip_prefix('/').and_then(|path| path.strip_suffix("/_bulk"));
        let stream = match (head.method.as_str(), head.path.as_str(), stream) {
            ("GET", "/", _) => return Reply::json(200, json!({"cluster_name": "testbed", "version": {"number": "9.1.0"}}).to_string()),
            ("POST", _, Some(stream)) if !stream.contains('/') => stream,
            _ => return failure(404, "resource_not_found_exception", "no such resource"),
        };
        if head.header("content-type") != Some("application/x-ndjson") {
            return failure(406, "media_type_header_exception", "Content-Type header is not supported");
        }
        // Other names have no template, and a bulk makes no plain index here.
        if !stream.starts_with("logs-") {
            return failure(404, "index_not_found_exception", &format!("no such index [{stream}]"));
        }
        let reply = match self.bulk(stream, request.body, take) {
            Ok(reply) => reply,
            Err(reply) => return reply,
        };
        let filter = head.query_value("filter_path").unwrap_or_default();
        let paths: Vec<Vec<&str>> = filter.split(',').filter(|path| !path.is_empty()).map(|path| path.split('.').collect()).collect();
        let paths: Vec<&[&str]> = paths.iter().map(Vec::as_slice).collect();
        let reply = if paths.is_empty() { reply } else { filtered(&reply, &paths) };
        Reply::json(200, reply.to_string())
    }
}

//! An OpenTelemetry collector's OTLP/HTTP receiver, for logs.
//!
//! `POST /v1/logs`, in protobuf or JSON, plain or gzip. Answers are in the encoding of the request, refusals are a `google.rpc.Status`.
//! Reproduced from the specification and the collector: an empty request is a success; "partial success" counts what was rejected and does
//! not say which, while the rest is in; a count of 0 with words is a warning; a body that is too large is a 400 with words, not a 413.
//!
//! Not reproduced: gRPC, traces and metrics, back-pressure by itself (order a fault).

use std::{
    borrow::Cow,
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use opentelemetry_proto::tonic::{
    collector::logs::v1::{ExportLogsPartialSuccess, ExportLogsServiceRequest, ExportLogsServiceResponse},
    common::v1::any_value::Value,
    logs::v1::LogRecord,
};
use prost::Message;
use rustls::ServerConfig;
use serde_json::json;

use crate::{
    faults::Take,
    http::{Encoding, Head, Limits, Refusal, Reply, Request, Service},
    json::id_of,
    ledger::{Keep, Ledger, Record},
    running::{Running, StartError},
};

const PATH: &str = "/v1/logs";
/// `max_request_body_size` of the collector's HTTP server.
const BODY_BYTES_MAX: usize = 20 << 20;
/// Requests that are remembered under [`Keep::Bytes`]; the oldest are forgotten first.
const REQUESTS_KEPT: usize = 100;
/// The attribute by which a record is known.
const UID: &str = "log.record.uid";

/// What the receiver is set up with.
#[derive(Clone)]
pub struct OtlpConfig {
    pub listen: SocketAddr,
    pub tls: Option<Arc<ServerConfig>>,
    /// Asked for where there is one.
    pub bearer_token: Option<String>,
    pub body_bytes_max: usize,
    pub keep: Keep,
}

impl Default for OtlpConfig {
    fn default() -> Self {
        let listen = ([127, 0, 0, 1], 0).into();
        Self { listen, tls: None, bearer_token: None, body_bytes_max: BODY_BYTES_MAX, keep: Keep::default() }
    }
}

impl std::fmt::Debug for OtlpConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OtlpConfig").field("listen", &self.listen).finish_non_exhaustive()
    }
}

/// How a message is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    Protobuf,
    Json,
}

impl Written {
    fn of(head: &Head) -> Option<Self> {
        match head.header("content-type")?.split(';').next()?.trim() {
            "application/x-protobuf" => Some(Self::Protobuf),
            "application/json" => Some(Self::Json),
            _ => None,
        }
    }

    fn reply(self, status: u16, protobuf: &impl Message, json: &serde_json::Value) -> Reply {
        let (kind, body) = match self {
            Self::Protobuf => ("application/x-protobuf", protobuf.encode_to_vec()),
            Self::Json => ("application/json", json.to_string().into_bytes()),
        };
        Reply { status, headers: vec![("content-type".to_owned(), kind.to_owned())], body }
    }

    fn refusal(self, status: u16, code: i32, message: &str) -> Reply {
        self.reply(status, &Status { code, message: message.to_owned() }, &json!({"code": code, "message": message}))
    }
}

/// google.rpc.Status, without its details.
#[derive(Clone, PartialEq, ::prost::Message)]
struct Status {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

/// One request that was read.
#[derive(Debug, Clone)]
pub struct Received {
    pub written: Written,
    /// Decompressed.
    pub body: Vec<u8>,
    pub head: Head,
    pub request: ExportLogsServiceRequest,
}

#[derive(Debug, Default)]
struct State {
    rejected: Option<Vec<u8>>,
    warning: Option<String>,
    received: VecDeque<Received>,
}

/// The receiver; its switches can be turned while it runs.
#[derive(Debug)]
pub struct Otlp {
    config: OtlpConfig,
    ledger: Arc<Ledger>,
    state: Mutex<State>,
}

impl Otlp {
    /// # Errors
    /// When the address cannot be listened on.
    pub fn start(config: OtlpConfig) -> Result<Running<Self>, StartError> {
        let ledger = Arc::new(Ledger::new(config.keep));
        let (listen, tls) = (config.listen, config.tls.clone());
        let service = Self { config, ledger: Arc::clone(&ledger), state: Mutex::default() };
        Running::start(listen, tls, service, ledger)
    }

    /// Rejects every log record whose body holds those bytes from here on, by a partial success. `None` takes everything again.
    pub fn reject_records_with(&self, bytes: Option<&[u8]>) {
        self.state().rejected = bytes.map(<[u8]>::to_vec);
    }

    /// Says these words with every success from here on.
    pub fn warn(&self, words: Option<&str>) {
        self.state().warning = words.map(str::to_owned);
    }

    /// The latest requests, oldest first, under [`Keep::Bytes`].
    pub fn received(&self) -> Vec<Received> {
        self.state().received.iter().cloned().collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, request: &ExportLogsServiceRequest, take: Take) -> ExportLogsPartialSuccess {
        let records: Vec<&LogRecord> =
            request.resource_logs.iter().flat_map(|logs| &logs.scope_logs).flat_map(|logs| &logs.log_records).collect();
        let state = self.state();
        let is_rejected =
            |record: &LogRecord| state.rejected.as_ref().is_some_and(|bytes| memchr::memmem::find(body_of(record), bytes).is_some());
        let (rejected, taken): (Vec<&LogRecord>, Vec<&LogRecord>) = records.into_iter().partition(|record| is_rejected(record));
        let count = match take {
            Take::All => taken.len(),
            Take::Half => taken.len() / 2,
            Take::Nothing | Take::Unread => 0,
        };
        let filed: Vec<Record<'_>> = taken[..count].iter().map(|record| filed(record)).collect();
        self.ledger.record(&filed);
        let words =
            if rejected.is_empty() { state.warning.clone().unwrap_or_default() } else { "some log records are not valid".to_owned() };
        ExportLogsPartialSuccess { rejected_log_records: i64::try_from(rejected.len()).unwrap_or(i64::MAX), error_message: words }
    }

    fn remember(&self, received: Received) {
        if !self.ledger.keeps_bytes() {
            return;
        }
        let received_before = &mut self.state().received;
        if received_before.len() == REQUESTS_KEPT {
            received_before.pop_front();
        }
        received_before.push_back(received);
    }
}

fn body_of(record: &LogRecord) -> &[u8] {
    match record.body.as_ref().and_then(|body| body.value.as_ref()) {
        Some(Value::StringValue(text)) => text.as_bytes(),
        Some(Value::BytesValue(bytes)) => bytes,
        _ => b"",
    }
}

fn filed(record: &LogRecord) -> Record<'_> {
    let uid = record.attributes.iter().find(|attribute| attribute.key == UID).and_then(|attribute| attribute.value.as_ref());
    let id = match uid.and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(uid)) => Some(Cow::Borrowed(uid.as_str())),
        _ => std::str::from_utf8(body_of(record)).ok().and_then(id_of),
    };
    Record { id, bytes: body_of(record), context: Cow::Owned(record.encode_to_vec()) }
}

impl Service for Otlp {
    fn limits(&self) -> Limits {
        let bytes_max = self.config.body_bytes_max;
        Limits { sent_bytes_max: bytes_max, plain_bytes_max: bytes_max, encodings: &[Encoding::Gzip] }
    }

    fn refuse(&self, head: &Head, why: Refusal) -> Reply {
        let words = match why {
            Refusal::TooLarge | Refusal::TooLargeUnpacked => "http: request body too large",
            Refusal::UnknownEncoding => "unsupported Content-Encoding",
            Refusal::Undecodable => "gzip: invalid header",
        };
        Written::of(head).unwrap_or(Written::Json).refusal(400, 3, words)
    }

    fn handle(&self, request: &Request<'_>, take: Take) -> Reply {
        let head = request.head;
        if head.path != PATH {
            return Reply { status: 404, body: b"404 page not found\n".to_vec(), ..Reply::default() };
        }
        if head.method != "POST" {
            return Reply { status: 405, body: b"405 method not allowed, supported: [POST]".to_vec(), ..Reply::default() };
        }
        let Some(written) = Written::of(head) else {
            let words = b"415 unsupported media type, supported: [application/json, application/x-protobuf]".to_vec();
            return Reply { status: 415, body: words, ..Reply::default() };
        };
        let expected = self.config.bearer_token.as_ref().map(|token| format!("Bearer {token}"));
        if expected.is_some() && head.header("authorization") != expected.as_deref() {
            return written.refusal(401, 16, "authentication didn't succeed");
        }
        let read = match written {
            Written::Protobuf => ExportLogsServiceRequest::decode(request.body).map_err(|error| error.to_string()),
            Written::Json => serde_json::from_slice(request.body).map_err(|error| error.to_string()),
        };
        let logs = match read {
            Ok(logs) => logs,
            Err(error) => return written.refusal(400, 3, &error),
        };
        let partial = self.take(&logs, take);
        self.remember(Received { written, body: request.body.to_vec(), head: head.clone(), request: logs });
        success(written, partial)
    }
}

/// Without anything to say, the field is not there: that is how a client tells.
fn success(written: Written, partial: ExportLogsPartialSuccess) -> Reply {
    let is_whole = partial == ExportLogsPartialSuccess::default();
    let json = if is_whole {
        json!({})
    } else {
        let count = partial.rejected_log_records.to_string();
        json!({"partialSuccess": {"rejectedLogRecords": count, "errorMessage": partial.error_message}})
    };
    written.reply(200, &ExportLogsServiceResponse { partial_success: (!is_whole).then_some(partial) }, &json)
}

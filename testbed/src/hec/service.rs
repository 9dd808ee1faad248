//! The collector's endpoints.

use std::{
    fmt::Write as _,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde::Deserialize;
use tokio::time::Instant;

use super::{
    Acks, Edition, HecConfig, Parsing,
    acks::Channels,
    answers::{Code, Condition, Verdict, not_found},
    auth::{channel, check_token},
    envelope::{Parsed, parse},
};
use crate::{
    faults::Take,
    http::{Encoding, Head, Limits, Refusal, Reply, Request, Service},
    ledger::{Counters, Ledger},
};

/// The body size above which Splunk Cloud names object 0. Measured between 5,242,881 and 6,000,000 bytes.
const CLOUD_BODY_BYTES_MAX: usize = 5 << 20;

/// The collector; its switches can be turned while it runs.
#[derive(Debug)]
pub struct Hec {
    config: HecConfig,
    ledger: Arc<Ledger>,
    channels: Mutex<Channels>,
    condition: Mutex<Condition>,
    /// Ids under [`Parsing::CountLines`], for all channels together.
    counted_ids: AtomicU64,
    refused: Mutex<Option<Vec<u8>>>,
}

impl Hec {
    pub(super) fn new(config: HecConfig, ledger: Arc<Ledger>) -> Self {
        Self {
            config,
            ledger,
            channels: Mutex::default(),
            condition: Mutex::default(),
            counted_ids: AtomicU64::new(0),
            refused: Mutex::default(),
        }
    }

    /// How the indexer is doing from here on.
    pub fn set_condition(&self, condition: Condition) {
        *self.condition.lock().unwrap_or_else(PoisonError::into_inner) = condition;
    }

    /// Takes no event that holds those bytes from here on: code 6 with its number. `None` takes everything again.
    pub fn refuse_events_with(&self, bytes: Option<&[u8]>) {
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = bytes.map(<[u8]>::to_vec);
    }

    /// Acknowledges what is taken from here on after `delay`.
    pub fn set_ack_delay(&self, delay: Duration) {
        self.channels().delay = Some(delay);
    }

    /// Forgets every channel and every id that was not read, as a restarted indexer does. The events stay indexed.
    pub fn forget_channels(&self) {
        self.channels().forget();
    }

    fn condition(&self) -> Condition {
        *self.condition.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn channels(&self) -> MutexGuard<'_, Channels> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn events(&self, request: &Request<'_>, take: Take) -> Result<Verdict, Reply> {
        check_token(request.head, &self.config).map_err(refused)?;
        if let Some(refusal) = self.condition().refusal() {
            return Err(refusal);
        }
        let channel = channel(request.head, &self.config).map_err(refused)?;
        if self.config.edition == Edition::Cloud && request.body.len() > CLOUD_BODY_BYTES_MAX {
            return Ok(Verdict::at(Code::InvalidDataFormat, 0));
        }
        if self.config.parsing == Parsing::CountLines {
            return Ok(self.count_lines(request.body, take));
        }
        if let Some(channel) = &channel {
            let room = self.channels().has_room(self.config.acks, channel, Instant::now());
            room.map_err(|_| refused(Code::AckAtCapacity))?;
        }
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Parsed { records, verdict } = parse(request.body, &self.config, refused.as_deref());
        match take {
            Take::All => self.ledger.record(&records),
            Take::Half => self.ledger.record(&records[..records.len() / 2]),
            Take::Nothing | Take::Unread => {}
        }
        let ack_id = channel.filter(|_| !records.is_empty()).and_then(|channel| self.issue(&channel));
        Ok(Verdict { ack_id, ..verdict })
    }

    fn issue(&self, channel: &str) -> Option<u64> {
        self.channels().issue(self.config.acks, channel, Instant::now())
    }

    fn count_lines(&self, body: &[u8], take: Take) -> Verdict {
        let unended = body.last().is_some_and(|last| *last != b'\n');
        let lines = memchr::memchr_iter(b'\n', body).count() + usize::from(unended);
        if lines == 0 {
            return Code::NoData.into();
        }
        let taken = match take {
            Take::All => lines,
            Take::Half => lines / 2,
            Take::Nothing | Take::Unread => 0,
        };
        Counters::add(&self.ledger.counters().events, taken as u64);
        let id = || self.counted_ids.fetch_add(1, Ordering::Relaxed);
        Verdict { ack_id: (self.config.acks != Acks::Off).then(id), ..Code::Success.into() }
    }

    fn acks(&self, request: &Request<'_>) -> Result<Reply, Reply> {
        #[derive(Deserialize)]
        struct AckRequest {
            acks: Vec<u64>,
        }
        check_token(request.head, &self.config).map_err(refused)?;
        if self.config.acks == Acks::Off {
            return Err(refused(Code::AckDisabled));
        }
        let channel = channel(request.head, &self.config).map_err(refused)?.unwrap_or_default();
        let asked: AckRequest = serde_json::from_slice(request.body).map_err(|_| refused(Code::InvalidDataFormat))?;
        let known = match self.config.parsing {
            Parsing::Full => self.channels().read(self.config.acks, &channel, &asked.acks, Instant::now()),
            Parsing::CountLines => asked.acks.iter().map(|id| (*id, true)).collect(),
        };
        let mut body = String::from(r#"{"acks":{"#);
        for (n, (id, taken)) in known.iter().enumerate() {
            let comma = if n == 0 { "" } else { "," };
            // Writing into a string cannot fail.
            let _ = write!(body, r#"{comma}"{id}":{taken}"#);
        }
        body.push_str("}}");
        Ok(Reply::json(200, body))
    }
}

fn refused(code: Code) -> Reply {
    Verdict::from(code).reply()
}

/// What a path stands for.
enum Endpoint {
    Event,
    Ack,
    Health,
}

fn endpoint(path: &str) -> Option<Endpoint> {
    match path.strip_prefix("/services/collector")?.trim_end_matches('/') {
        "" | "/event" | "/event/1.0" => Some(Endpoint::Event),
        "/ack" => Some(Endpoint::Ack),
        "/health" | "/health/1.0" => Some(Endpoint::Health),
        _ => None,
    }
}

impl Service for Hec {
    fn limits(&self) -> Limits {
        let bytes_max = self.config.body_bytes_max;
        Limits { sent_bytes_max: bytes_max, plain_bytes_max: bytes_max, encodings: &[Encoding::Gzip] }
    }

    fn refuse(&self, _head: &Head, why: Refusal) -> Reply {
        match why {
            Refusal::TooLarge | Refusal::TooLargeUnpacked => Reply::json(
                413,
                format!(r#"{{"text":"Content-Length is too large (maximum is {})","code":413}}"#, self.config.body_bytes_max),
            ),
            Refusal::UnknownEncoding => Reply::json(415, r#"{"text":"Unsupported content encoding","code":415}"#),
            Refusal::Undecodable => Verdict::at(Code::InvalidDataFormat, 0).reply(),
        }
    }

    fn handle(&self, request: &Request<'_>, take: Take) -> Reply {
        let Some(endpoint) = endpoint(&request.head.path) else {
            return not_found();
        };
        match (request.head.method.as_str(), endpoint) {
            ("OPTIONS", Endpoint::Event | Endpoint::Ack) => Reply::empty(200).header("allow", "POST,OPTIONS"),
            ("OPTIONS", Endpoint::Health) => Reply::empty(200).header("allow", "GET,OPTIONS"),
            ("GET", Endpoint::Health) => self.condition().health(),
            ("POST", Endpoint::Event) => match self.events(request, take) {
                Err(reply) => reply,
                Ok(verdict) if verdict.code == Code::Success => Verdict { code: self.condition().success(), ..verdict }.reply(),
                Ok(verdict) => verdict.reply(),
            },
            ("POST", Endpoint::Ack) => self.acks(request).unwrap_or_else(|refusal| refusal),
            _ => Reply::json(405, r#"{"text":"Method Not Allowed","code":405}"#),
        }
    }
}

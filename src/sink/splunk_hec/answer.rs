//! What HEC's answers mean. The code in the body decides, and the status where there is none.
//!
//! The rule for a batch that HEC takes in part, as Splunk 10 behaves: objects before `invalid-event-number` are indexed, that one
//! and everything after it are not. Code 7 is different: its number names the object after the one with the wrong index.

use reqwest::StatusCode;
use secrecy::SecretString;
use serde_json::Value;

use super::super::{
    Batch, ErrorClass, SinkError,
    http::{Answer, Receiver, Whole, excerpt},
};
use crate::config::settings::HecDialect;

/// Splunk Cloud refuses larger bodies as if their first event were broken. Its limit lies between this and 6 000 000 bytes.
const CLOUD_BODY_BYTES_MAX: usize = 5 * 1024 * 1024;

/// The codes of HEC's answers, by Splunk's names for them.
mod code {
    pub(super) const SUCCESS: i64 = 0;
    pub(super) const NO_DATA: i64 = 5;
    pub(super) const INVALID_DATA_FORMAT: i64 = 6;
    pub(super) const INCORRECT_INDEX: i64 = 7;
    pub(super) const EVENT_MISSING: i64 = 12;
    pub(super) const EVENT_BLANK: i64 = 13;
    pub(super) const ACK_DISABLED: i64 = 14;
    pub(super) const BAD_FIELDS: i64 = 15;
    pub(super) const HEALTHY: i64 = 17;
    pub(super) const QUEUE_NEAR_CAPACITY: i64 = 24;
    pub(super) const ACK_NEAR_CAPACITY: i64 = 25;
}

/// What HEC did with a batch that it took whole or in part.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    /// So many events from the first on are taken.
    pub(super) accepted: usize,
    /// Why the one after them never will be; the rest was not looked at.
    pub(super) refused: Option<String>,
    /// What it says of its queues.
    pub(super) queues: Queues,
}

/// What HEC says of its queues beside a success (`backpressureState = warn_at_80`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Queues {
    /// Nothing.
    Fine,
    /// They fill up: codes 24 and 25.
    NearlyFull,
}

/// The id under which HEC will say that a request's events are indexed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AckId(u64);

impl AckId {
    /// Ids count from here in every channel.
    pub(super) const FIRST: Self = Self(0);

    /// The body of a question about it.
    pub(super) fn question(self) -> Vec<u8> {
        format!("{{\"acks\":[{}]}}", self.0).into_bytes()
    }
}

/// An answer, read as HEC's.
pub(super) struct Hec<'a> {
    pub(super) answer: &'a Answer,
    pub(super) receiver: &'a Receiver,
    pub(super) token: &'a SecretString,
    pub(super) dialect: HecDialect,
}

impl Hec<'_> {
    /// What became of a batch whose body was that large before compression.
    pub(super) fn outcome(&self, batch: &Batch<'_>, plain_bytes: usize) -> Result<Outcome, SinkError> {
        let body = self.body();
        let code = body.as_ref().and_then(|body| body["code"].as_i64());
        let number = body.as_ref().and_then(|body| body["invalid-event-number"].as_u64()).and_then(|number| usize::try_from(number).ok());
        match code {
            Some(code::INVALID_DATA_FORMAT) if number == Some(0) && plain_bytes > CLOUD_BODY_BYTES_MAX => {
                Err(self.error(ErrorClass::TooLarge, Some(batch), "Splunk Cloud answers so to a body of more than 5 MiB"))
            }
            Some(code::INVALID_DATA_FORMAT | code::EVENT_MISSING | code::EVENT_BLANK | code::BAD_FIELDS) => match number {
                Some(number) if number < batch.len() => {
                    Ok(Outcome { accepted: number, refused: Some(self.words(Some(batch))), queues: Queues::Fine })
                }
                Some(_) => Err(self.error(ErrorClass::Ambiguous, Some(batch), "the number of the invalid event is not in the batch")),
                None => Err(self.error(ErrorClass::Rejected, Some(batch), "it does not say which event it refuses")),
            },
            Some(code::INCORRECT_INDEX) => match number.filter(|number| *number <= batch.len()).unwrap_or(0).saturating_sub(1) {
                0 => Err(self.refusal(Some(batch))),
                // What it took is counted; the rest is sent again, and meets the same fault with nothing in front of it.
                accepted => Ok(Outcome { accepted, refused: None, queues: Queues::Fine }),
            },
            _ if self.answer.status.is_success() => self.taken(code, body.as_ref(), batch),
            _ => Err(self.refusal(Some(batch))),
        }
    }

    /// A 2xx is a success when it is HEC's own: a login page and a load balancer's greeting come with 200 too.
    fn taken(&self, code: Option<i64>, body: Option<&Value>, batch: &Batch<'_>) -> Result<Outcome, SinkError> {
        let says_success = || body.and_then(|body| body["text"].as_str()).is_some_and(|text| text.trim().eq_ignore_ascii_case("success"));
        match code {
            // 24 and 25 are warnings about queues that fill up; what was sent is taken.
            Some(code::SUCCESS | code::QUEUE_NEAR_CAPACITY | code::ACK_NEAR_CAPACITY) => {}
            Some(code) if class_of_code(code).is_some() => return Err(self.refusal(Some(batch))),
            Some(_) => {}
            None if says_success() => {}
            None if self.answer.whole == Whole::No => {
                return Err(self.error(ErrorClass::Ambiguous, Some(batch), "the answer broke off"));
            }
            None => return Err(self.not_hec(Some(batch))),
        }
        let is_nearly_full = matches!(code, Some(code::QUEUE_NEAR_CAPACITY | code::ACK_NEAR_CAPACITY));
        let queues = if is_nearly_full { Queues::NearlyFull } else { Queues::Fine };
        Ok(Outcome { accepted: batch.len(), refused: None, queues })
    }

    /// The acknowledgement id that must be there.
    pub(super) fn ack_id(&self) -> Result<AckId, SinkError> {
        match self.body().and_then(|body| body["ackId"].as_u64()) {
            Some(id) => Ok(AckId(id)),
            None if self.answer.whole == Whole::No => Err(self.error(ErrorClass::Ambiguous, None, "the answer broke off")),
            None => Err(self.error(
                ErrorClass::Config,
                None,
                "it has no ackId although ack = true: enable indexer acknowledgement (useACK) for this token, or set ack = false",
            )),
        }
    }

    /// Whether an answer to a question says `true` for that id. Everything else that HEC says about it means "not yet".
    pub(super) fn acknowledged(&self, id: AckId) -> Result<bool, SinkError> {
        let body = self.body();
        let status = self.answer.status;
        if status.is_success() {
            return match body.as_ref().map(|body| &body["acks"]) {
                Some(Value::Object(acks)) => Ok(acks.get(&id.0.to_string()) == Some(&Value::Bool(true))),
                _ if self.answer.whole == Whole::No => Ok(false),
                _ => Err(self.not_hec(None)),
            };
        }
        let error = self.refusal(None);
        match error.class() {
            ErrorClass::Retryable | ErrorClass::Ambiguous | ErrorClass::Throttled(_) => Ok(false),
            ErrorClass::Auth | ErrorClass::Config => Err(error),
            // A question is neither an event nor large: who says so is not the HEC that we were told of.
            ErrorClass::Rejected | ErrorClass::TooLarge => Err(self.error(ErrorClass::Config, None, "the question was refused")),
        }
    }

    /// Whether an empty delivery was answered as it is for a token that is good.
    pub(super) fn no_data(&self) -> Result<(), SinkError> {
        let code = self.body().and_then(|body| body["code"].as_i64());
        match code {
            Some(code::NO_DATA | code::INVALID_DATA_FORMAT | code::EVENT_MISSING | code::EVENT_BLANK) => Ok(()),
            _ if self.answer.status.is_success() => Ok(()),
            // It refuses emptiness in its own words; a token that it does not take, it refuses with another status.
            None if self.dialect != HecDialect::Splunk && self.answer.status == StatusCode::BAD_REQUEST => Ok(()),
            _ => Err(self.refusal(None)),
        }
    }

    /// Whether the health page says that events can be taken.
    pub(super) fn healthy(&self) -> Result<(), SinkError> {
        let code = self.body().and_then(|body| body["code"].as_i64());
        match code {
            Some(code::HEALTHY | code::SUCCESS | code::QUEUE_NEAR_CAPACITY | code::ACK_NEAR_CAPACITY) => Ok(()),
            Some(code) if class_of_code(code).is_some() => Err(self.refusal(None)),
            _ if self.answer.status.is_success() => Ok(()),
            _ => Err(self.refusal(None)),
        }
    }

    fn body(&self) -> Option<Value> {
        serde_json::from_slice::<Value>(&self.answer.body).ok().filter(Value::is_object)
    }

    /// The error of an answer that took nothing.
    fn refusal(&self, batch: Option<&Batch<'_>>) -> SinkError {
        let code = self.body().and_then(|body| body["code"].as_i64());
        let status = self.answer.status;
        match code.and_then(class_of_code) {
            Some((Class::Fixed(class), mend)) => self.error(class, batch, mend),
            Some((Class::NotTaken, mend)) => self.error(self.answer.not_taken(), batch, mend),
            Some((Class::Throttled, mend)) => self.error(ErrorClass::Throttled(self.answer.retry_after()), batch, mend),
            None => match status {
                // In a rolling restart HEC says so in its own form; a wrong URL meets somebody else's page.
                StatusCode::NOT_FOUND if self.dialect == HecDialect::Splunk && self.body().is_some() => {
                    self.error(self.answer.not_taken(), batch, "an indexer that restarts answers so; if it stays, check url")
                }
                // Splunk has a code for whatever it refuses; the others have words.
                StatusCode::BAD_REQUEST if self.dialect != HecDialect::Splunk && batch.is_some() => {
                    self.error(ErrorClass::Rejected, batch, "it refuses what the request holds, and does not say which event")
                }
                _ => self.error(self.answer.class(), batch, mend_of_status(status)),
            },
        }
    }

    fn not_hec(&self, batch: Option<&Batch<'_>>) -> SinkError {
        self.error(ErrorClass::Config, batch, "the answer is not HEC's: check that url is the collector's, and proxies in between")
    }

    fn error(&self, class: ErrorClass, batch: Option<&Batch<'_>>, mend: &str) -> SinkError {
        SinkError::new(class, format!("deliver to {}: {}: {mend}", self.receiver, self.words(batch)))
    }

    /// `HTTP 403, code 4 (Invalid token)`.
    fn words(&self, batch: Option<&Batch<'_>>) -> String {
        let status = self.answer.status.as_u16();
        let show = |text: &str| excerpt(text, &[self.token], batch);
        match self.body().map(|body| (body["code"].as_i64(), show(body["text"].as_str().unwrap_or_default()))) {
            Some((Some(code), text)) if text.is_empty() => format!("HTTP {status}, code {code}"),
            Some((Some(code), text)) => format!("HTTP {status}, code {code} ({text})"),
            _ if self.answer.body.is_empty() => format!("HTTP {status}"),
            _ => format!("HTTP {status} ({})", show(&String::from_utf8_lossy(&self.answer.body))),
        }
    }
}

/// A class, where it depends on a code alone.
enum Class {
    Fixed(ErrorClass),
    /// Not taken: for as long as `Retry-After` says, where it is there.
    NotTaken,
    /// Not taken because a queue is full.
    Throttled,
}

/// Splunk's table of HEC codes ("Troubleshoot HTTP Event Collector"): the class of each that is a refusal, and the mend.
fn class_of_code(code: i64) -> Option<(Class, &'static str)> {
    use ErrorClass::{Ambiguous, Auth, Config, Rejected};
    Some(match code {
        1 => (Class::Fixed(Auth), "enable the token in Splunk"),
        2 => (Class::Fixed(Auth), "a proxy may have removed the Authorization header; check the way to Splunk"),
        3 => (Class::Fixed(Auth), "the Authorization header was not understood; check token"),
        4 => (Class::Fixed(Auth), "check token: Splunk does not know it"),
        code::NO_DATA => (Class::Fixed(Rejected), "the request arrived empty"),
        code::INVALID_DATA_FORMAT => (Class::Fixed(Rejected), "Splunk could not read the request"),
        code::INCORRECT_INDEX => (Class::Fixed(Config), "check index: it must exist and be among the indexes that the token may write to"),
        8 => (Class::Fixed(Ambiguous), "Splunk failed inside; see its splunkd.log"),
        9 => (Class::NotTaken, "Splunk is busy"),
        10 | 28 => (Class::Fixed(Config), "the channel header did not arrive; a proxy may have removed X-Splunk-Request-Channel"),
        11 => (Class::Fixed(Config), "the channel header did not arrive as sent; check proxies"),
        code::EVENT_MISSING | code::EVENT_BLANK | code::BAD_FIELDS => (Class::Fixed(Rejected), "Splunk does not take the event"),
        code::ACK_DISABLED => {
            (Class::Fixed(Config), "enable indexer acknowledgement (useACK) for this token, or set ack = false in the sink's table")
        }
        16 => (Class::Fixed(Config), "Splunk wants no token in the URL; check url"),
        18..=20 => (Class::NotTaken, "Splunk's queues or acknowledgement are not ready"),
        21 | 22 => (Class::Fixed(Config), "the health check refuses the token; check token, and that it is enabled"),
        23 => (Class::NotTaken, "Splunk is shutting down"),
        26 | 27 => (Class::Throttled, "Splunk's queues are full"),
        _ => return None,
    })
}

fn mend_of_status(status: StatusCode) -> &'static str {
    match status.as_u16() {
        300..=399 => "it wants to send us elsewhere, and the data stays here; check url",
        401 | 403 => "check token, and what a proxy in between lets through",
        404 => "there is no event collector at this address; check url and its port, usually 8088",
        408 | 504 => "the answer came too late",
        413 => "the request is larger than it takes",
        415 => "it does not take compressed requests; set compression = \"none\"",
        429 => "it takes no more for now",
        500..=599 => "it failed inside",
        _ => "the answer is none of HEC's; check url and proxies in between",
    }
}

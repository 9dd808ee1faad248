//! What an OTLP receiver's answers mean.

use std::borrow::Cow;

use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsPartialSuccess, ExportLogsServiceResponse};
use prost::Message as _;
use reqwest::header;
use secrecy::SecretString;
use serde_json::Value;

use super::super::{
    Batch, ErrorClass, Receipt, SinkError, Verdict,
    http::{Answer, Receiver, Whole, excerpt},
    patience::{Patience, Word},
};

/// The OpenTelemetry collector answers 400 with these words where another receiver answers 413.
const TOO_LARGE: &str = "request body too large";

/// An answer, and what it is the answer to.
pub(super) struct Reply<'a> {
    pub(super) answer: &'a Answer,
    pub(super) receiver: &'a Receiver,
    pub(super) secrets: &'a [SecretString],
    /// `None` for the empty request of a probe.
    pub(super) batch: Option<&'a Batch<'a>>,
    pub(super) patience: &'a Patience,
}

/// How the body of an answer is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Written {
    Protobuf,
    Json,
    /// Anything else, such as a proxy's page.
    Otherwise,
}

/// google.rpc.Status, as far as it is for people.
#[derive(Clone, PartialEq, Eq, ::prost::Message)]
struct Status {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

impl Reply<'_> {
    /// What became of the request.
    pub(super) fn receipt(&self) -> Result<Receipt, SinkError> {
        if !self.answer.status.is_success() {
            return Err(self.refusal());
        }
        let partial = self.partial_success()?;
        if let Some(batch) = self.batch {
            self.patience.renew(batch.stream());
        }
        let events = self.batch.map_or(0, Batch::len);
        // Fewer than none can only mean that the count was wrong: then none of them is certain.
        let rejected = usize::try_from(partial.rejected_log_records).unwrap_or(events);
        if rejected == 0 || events == 0 {
            return Ok(Receipt::All);
        }
        let words = self.show(&partial.error_message);
        let verdict = if rejected >= events {
            Verdict::Rejected(format!("partial success: all {events} log records were rejected ({words})"))
        } else {
            Verdict::MaybeRejected(format!(
                "partial success: {rejected} of {events} log records were rejected ({words}), and it does not say which; the others are in, \
                 and sending all of them again repeats those"
            ))
        };
        Ok(Receipt::Each(vec![verdict; events]))
    }

    /// The body of a success. An empty one is a whole success in protobuf; an answer that is none of OTLP's is never a success.
    fn partial_success(&self) -> Result<ExportLogsPartialSuccess, SinkError> {
        let body = &self.answer.body;
        if self.answer.whole == Whole::No {
            return Err(self.error(ErrorClass::Ambiguous, "the answer broke off"));
        }
        let read = match self.written() {
            _ if body.is_empty() => Some(ExportLogsPartialSuccess::default()),
            Written::Protobuf => {
                ExportLogsServiceResponse::decode(body.as_slice()).ok().map(|response| response.partial_success.unwrap_or_default())
            }
            Written::Json => serde_json::from_slice(body).ok().and_then(|json| from_json(&json)),
            Written::Otherwise => None,
        };
        read.ok_or_else(|| {
            self.error(ErrorClass::Config, "the answer is none of OTLP's: check that url is an OTLP/HTTP receiver, and proxies in between")
        })
    }

    fn written(&self) -> Written {
        let kind = self.answer.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        match kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
            "application/x-protobuf" | "application/protobuf" => Written::Protobuf,
            "application/json" => Written::Json,
            _ => Written::Otherwise,
        }
    }

    /// The error that an answer without success means.
    fn refusal(&self) -> SinkError {
        let status = self.answer.status.as_u16();
        let (class, mend) = match status {
            300..=399 => (ErrorClass::Config, "it wants to send us elsewhere, and the data stays here; check url"),
            400 if self.words().contains(TOO_LARGE) => (ErrorClass::TooLarge, "the request is larger than it takes"),
            400 | 422 => (self.rejected_or_config(), "it refuses what the request holds; the reason is in its own log"),
            401 | 403 => (ErrorClass::Auth, "check the credentials in the sink's table"),
            404 | 405 => (ErrorClass::Config, "there is no OTLP receiver at this address; check url, /v1/logs is added to it"),
            415 => (ErrorClass::Config, "it does not take this form; check encoding and compression"),
            408 | 502 | 504 => (ErrorClass::Ambiguous, "it waited too long; the request may be in"),
            429 => (self.answer.class(), "it takes no more for now"),
            503 => (self.answer.class(), "it is overloaded or not ready"),
            500..=599 => (self.doubted(), "it failed inside, or refuses what the request holds; the reason is in its own log"),
            _ => (self.answer.class(), "check url and proxies in between"),
        };
        self.error(class, mend)
    }

    /// A request without events cannot be refused for what it holds.
    fn rejected_or_config(&self) -> ErrorClass {
        if self.batch.is_some() { ErrorClass::Rejected } else { ErrorClass::Config }
    }

    /// The specification has 500 and its like for refusals that sending again will not mend, and servers have it for whatever goes wrong.
    fn doubted(&self) -> ErrorClass {
        let Some(batch) = self.batch else { return ErrorClass::Retryable };
        if self.patience.refused(batch.stream()) == Word::Doubted {
            return ErrorClass::Ambiguous;
        }
        // The next event is doubted anew: a receiver that refuses everything gets few dead letters, far between.
        if batch.len() == 1 {
            self.patience.renew(batch.stream());
        }
        ErrorClass::Rejected
    }

    fn error(&self, class: ErrorClass, mend: &str) -> SinkError {
        let (status, words) = (self.answer.status.as_u16(), self.show(&self.words()));
        let words = if words.is_empty() { format!("HTTP {status}") } else { format!("HTTP {status} ({words})") };
        SinkError::new(class, format!("deliver to {}: {words}: {mend}", self.receiver))
    }

    /// The receiver's own words, not fit to be shown yet.
    fn words(&self) -> Cow<'_, str> {
        let body = &self.answer.body;
        let status = match self.written() {
            Written::Protobuf => Status::decode(body.as_slice()).ok().map(|status| status.message),
            Written::Json => serde_json::from_slice::<Value>(body).ok().and_then(|json| json["message"].as_str().map(str::to_owned)),
            Written::Otherwise => None,
        };
        match status.filter(|message| !message.is_empty()) {
            Some(message) => Cow::Owned(message),
            // Protobuf that cannot be read is nothing to show.
            None if self.written() == Written::Protobuf => Cow::Borrowed(""),
            None => String::from_utf8_lossy(body),
        }
    }

    fn show(&self, words: &str) -> String {
        let secrets: Vec<&SecretString> = self.secrets.iter().collect();
        excerpt(words, &secrets, self.batch)
    }
}

/// `{"partialSuccess":{"rejectedLogRecords":"1","errorMessage":"…"}}`: ProtoJSON writes 64-bit numbers as texts and takes both; names may be
/// spelled as in the definition; what is not there has its default.
fn from_json(json: &Value) -> Option<ExportLogsPartialSuccess> {
    let member = |object: &Value, name: &str, other: &str| {
        let object = object.as_object()?;
        Some(object.get(name).or_else(|| object.get(other)).cloned().unwrap_or_default())
    };
    let partial = match member(json, "partialSuccess", "partial_success")? {
        Value::Null => return Some(ExportLogsPartialSuccess::default()),
        partial => partial,
    };
    let rejected_log_records = match member(&partial, "rejectedLogRecords", "rejected_log_records")? {
        Value::Null => 0,
        Value::String(text) => text.parse().ok()?,
        number => number.as_i64()?,
    };
    let error_message = match member(&partial, "errorMessage", "error_message")? {
        Value::Null => String::new(),
        text => text.as_str()?.to_owned(),
    };
    Some(ExportLogsPartialSuccess { rejected_log_records, error_message })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partial_success_is_read_from_every_spelling_of_json() {
        let check = |json: &str, expected: Option<(i64, &str)>| {
            let found = serde_json::from_str(json).ok().and_then(|json| from_json(&json));
            let found = found.map(|partial| (partial.rejected_log_records, partial.error_message));
            assert_eq!(found, expected.map(|(count, words)| (count, words.to_owned())), "{json}");
        };
        check("{}", Some((0, "")));
        check(r#"{"partialSuccess":null}"#, Some((0, "")));
        check(r#"{"partialSuccess":{}}"#, Some((0, "")));
        check(r#"{"partialSuccess":{"rejectedLogRecords":"12","errorMessage":"too old"}}"#, Some((12, "too old")));
        check(r#"{"partial_success":{"rejected_log_records":3,"error_message":"too old"},"more":1}"#, Some((3, "too old")));
        check(r#"{"partialSuccess":{"rejectedLogRecords":"many"}}"#, None);
        check(r#"{"partialSuccess":[]}"#, None);
        check("[]", None);
        check("\"OK\"", None);
    }
}

//! What the answer to a bulk means.
//!
//! 200 says only that the bulk was read. Each item has a status of its own: 201 is stored, 409 was stored before, 429 and 5xx were not
//! taken, another 4xx is refused for good. An item that is refused for want of a privilege or of a data stream is no fault of the
//! event: it stops the sink, and nothing is lost by that, because everything can be sent again.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::{
    Batch, ErrorClass, Receipt, SinkError, Verdict,
    http::{self, Answer, Authorization, Receiver, Whole},
};

/// An answer that was cut, and is longer, is that of too large a bulk.
const CUT_ANSWER_BYTES_MIN: usize = 512 * 1024;
/// What follows it is the event's own content.
const PREVIEW: &str = "Preview of field's value";

#[derive(Deserialize)]
struct Bulk<'a> {
    #[serde(borrow)]
    items: Vec<Item<'a>>,
}

#[derive(Deserialize)]
struct Item<'a> {
    #[serde(borrow)]
    create: Created<'a>,
}

#[derive(Deserialize)]
struct Created<'a> {
    status: u16,
    /// Read when it is needed, so that words that are no good text do not take the status with them.
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

/// An error of an item, or of a whole answer.
#[derive(Default, Deserialize)]
struct Cause<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    reason: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Failed<'a> {
    #[serde(borrow)]
    error: Cause<'a>,
}

/// What one item comes to.
enum Fate {
    Accepted,
    Rejected,
    NotTaken,
    /// Not this event's fault.
    Fault(ErrorClass),
}

impl Created<'_> {
    fn cause(&self) -> Cause<'_> {
        self.error.and_then(|error| serde_json::from_str(error.get()).ok()).unwrap_or_default()
    }

    fn fate(&self) -> Fate {
        match (self.status, &*self.cause().kind) {
            (200..=299 | 409, _) => Fate::Accepted,
            // A disk that is nearly full makes indices read-only, and a closed index can be opened: both pass.
            (_, "cluster_block_exception" | "index_closed_exception") | (429 | 500..=599, _) => Fate::NotTaken,
            (401 | 403, _) => Fate::Fault(ErrorClass::Auth),
            (404, _) | (_, "index_not_found_exception" | "invalid_index_name_exception") => Fate::Fault(ErrorClass::Config),
            _ => Fate::Rejected,
        }
    }
}

/// An answer, with what is needed to speak of it.
pub(super) struct Reply<'a> {
    pub(super) answer: &'a Answer,
    pub(super) receiver: &'a Receiver,
    pub(super) authorization: &'a Authorization,
}

impl Reply<'_> {
    /// What became of each event.
    pub(super) fn receipt(&self, batch: &Batch<'_>) -> Result<Receipt, SinkError> {
        if !self.answer.status.is_success() {
            return Err(self.refusal(Some(batch)));
        }
        if self.answer.whole == Whole::No {
            let is_long = self.answer.body.len() >= CUT_ANSWER_BYTES_MIN && batch.len() > 1;
            let class = if is_long { ErrorClass::TooLarge } else { ErrorClass::Retryable };
            return Err(self.error(class, "the answer was cut", "the batch is sent again, which makes no second documents"));
        }
        match serde_json::from_slice::<Bulk<'_>>(&self.answer.body) {
            Ok(bulk) if bulk.items.len() == batch.len() => self.verdicts(&bulk.items, batch),
            _ => Err(self.error(ErrorClass::Config, "the answer is none to a bulk", "check url and proxies in between")),
        }
    }

    fn verdicts(&self, items: &[Item<'_>], batch: &Batch<'_>) -> Result<Receipt, SinkError> {
        let mut verdicts = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            verdicts.push(match item.create.fate() {
                Fate::Accepted => Verdict::Accepted,
                Fate::NotTaken => Verdict::NotTaken,
                Fate::Rejected => Verdict::Rejected(self.item_words(&item.create, index, batch)),
                Fate::Fault(class) => {
                    let words = self.item_words(&item.create, index, batch);
                    return Err(self.error(class, &words, mend_of(item.create.status)));
                }
            });
        }
        if let Some(item) = items.first().filter(|_| verdicts.iter().all(|verdict| *verdict == Verdict::NotTaken)) {
            let class = if item.create.status == 429 { ErrorClass::Throttled(self.answer.retry_after()) } else { ErrorClass::Retryable };
            return Err(self.error(class, &self.item_words(&item.create, 0, batch), mend_of(item.create.status)));
        }
        let all = verdicts.iter().all(|verdict| *verdict == Verdict::Accepted);
        Ok(if all { Receipt::All } else { Receipt::Each(verdicts) })
    }

    /// The receiver's words about one event. Only that event could be echoed in them.
    fn item_words(&self, item: &Created<'_>, index: usize, batch: &Batch<'_>) -> String {
        let (_, rest) = batch.split_at(index);
        let (alone, _) = rest.split_at(1);
        let cause = item.cause();
        let words = if cause.kind.is_empty() { String::new() } else { self.words(&cause, Some(&alone)) };
        if words.is_empty() { format!("status {}", item.status) } else { format!("status {} ({words})", item.status) }
    }

    fn words(&self, cause: &Cause<'_>, batch: Option<&Batch<'_>>) -> String {
        let reason = cause.reason.split(PREVIEW).next().unwrap_or_default();
        let secrets: Vec<_> = self.authorization.secrets().collect();
        http::excerpt(&format!("{}: {reason}", cause.kind), &secrets, batch)
    }

    /// The error that an answer to the whole request means. Everything that may have arrived can be sent again.
    pub(super) fn refusal(&self, batch: Option<&Batch<'_>>) -> SinkError {
        let status = self.answer.status.as_u16();
        let cause = serde_json::from_slice::<Failed<'_>>(&self.answer.body).map(|failed| failed.error).unwrap_or_default();
        let class = match (status, &*cause.kind) {
            // It refuses the request's form or target, which no search for a bad event would mend.
            (400, "invalid_index_name_exception" | "illegal_argument_exception") => ErrorClass::Config,
            (400, _) => ErrorClass::Rejected,
            (408 | 500..=599, _) => self.answer.not_taken(),
            _ => self.answer.class(),
        };
        let words = if cause.kind.is_empty() { String::new() } else { format!(" ({})", self.words(&cause, batch)) };
        self.error(class, &format!("HTTP {status}{words}"), mend_of(status))
    }

    fn error(&self, class: ErrorClass, words: &str, mend: &str) -> SinkError {
        SinkError::new(class, format!("deliver to {}: {words}: {mend}", self.receiver))
    }
}

fn mend_of(status: u16) -> &'static str {
    match status {
        300..=399 => "it wants to send us elsewhere, and the data stays here; check url",
        400 => "it cannot read the request, or refuses what it holds; check data_stream",
        401 => "check api_key, or username and password",
        403 => "give the credential the privileges create_doc and auto_configure on the data stream",
        404 => "make an index template with a data stream for this name, or check url and data_stream",
        413 => "the request is larger than it takes (http.max_content_length)",
        429 => "it takes no more for now",
        500..=599 => "it failed inside or is overloaded",
        _ => "check url and proxies in between",
    }
}

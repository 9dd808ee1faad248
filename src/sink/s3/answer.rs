//! What the answers of S3 mean. An error has a `Code` in an XML body, and several codes share a status.
//!
//! A store never looks at what an object holds, so nothing is ever refused for an event's sake. And whatever became of a request, it can
//! be made again: the key is the same, and a second object is not written.

use std::fmt;

use super::wire::Outcome;
use crate::{
    config::settings::S3Settings,
    sink::{
        Batch, ErrorClass, SinkError,
        http::{Answer, Receiver, excerpt},
    },
};

/// A bucket's name for operators.
#[derive(Clone, Debug)]
pub(super) struct Bucket {
    name: String,
    receiver: Receiver,
}

impl Bucket {
    pub(super) fn new(settings: &S3Settings) -> Self {
        let name = format!("the bucket {}", settings.bucket);
        let receiver = match &settings.endpoint {
            Some(endpoint) => Receiver::new(&name, endpoint),
            None => Receiver::named(&name),
        };
        Self { name: settings.bucket.clone(), receiver }
    }

    /// What a put that the library calls failed comes to.
    pub(super) fn put(&self, outcome: Option<Outcome>, error: &object_store::Error, batch: &Batch<'_>) -> Result<(), SinkError> {
        match &outcome {
            // Some stores say "not modified" for it.
            Some(Outcome::Answer(answer)) if matches!(answer.status.as_u16(), 304 | 412) => Ok(()),
            _ => Err(self.refusal("put an object into", outcome, error, Some(batch))),
        }
    }

    /// The error that an outcome means.
    pub(super) fn refusal(
        &self,
        doing: &str,
        outcome: Option<Outcome>,
        error: &object_store::Error,
        batch: Option<&Batch<'_>>,
    ) -> SinkError {
        match outcome {
            Some(Outcome::Answer(answer)) => self.answered(doing, &answer, batch),
            Some(Outcome::None(no_answer)) => safe(no_answer.into_error(&self.receiver)),
            // Nothing was sent: what a request is signed with could not be had.
            None => self.no_credential(error),
        }
    }

    fn answered(&self, doing: &str, answer: &Answer, batch: Option<&Batch<'_>>) -> SinkError {
        let text = String::from_utf8_lossy(&answer.body);
        let (code, message) = (element(&text, "Code"), element(&text, "Message"));
        let (class, mend) = class(answer, code);
        let words = excerpt(&format!("{code}: {message}"), &[], batch);
        let words = if code.is_empty() { String::new() } else { format!(" ({words})") };
        SinkError::new(class, format!("{doing} {}: HTTP {}{words}: {mend}", self.receiver, answer.status.as_u16()))
    }

    fn no_credential(&self, error: &object_store::Error) -> SinkError {
        let causes: Vec<String> = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source())
            .filter_map(|cause| cause.downcast_ref::<SinkError>())
            .map(ToString::to_string)
            .collect();
        // Words of ours are shown. The library's name addresses and answers of where credentials come from.
        let words = if causes.is_empty() {
            "no credential was found or given: set access_key_id or web_identity, or check the role of the container or instance".to_owned()
        } else {
            causes.join(": ")
        };
        SinkError::new(ErrorClass::Auth, format!("sign a request for the bucket {}: {words}", self.name))
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.receiver.fmt(f)
    }
}

/// What may have arrived can be sent again: the key sees to it that nothing is there twice.
fn safe(error: SinkError) -> SinkError {
    match error.class() {
        ErrorClass::Ambiguous => SinkError::new(ErrorClass::Retryable, error.to_string()),
        _ => error,
    }
}

/// Whether the credential is known and may only not do this.
pub(super) fn is_want_of_permission(answer: &Answer) -> bool {
    answer.status.as_u16() == 403 && matches!(element(&String::from_utf8_lossy(&answer.body), "Code"), "AccessDenied" | "AllAccessDisabled")
}

/// The text of the first element of that name.
fn element<'a>(xml: &'a str, name: &str) -> &'a str {
    let inner = || xml.split_once(&format!("<{name}>"))?.1.split_once(&format!("</{name}>"));
    inner().map_or("", |(text, _)| text)
}

fn class(answer: &Answer, code: &str) -> (ErrorClass, &'static str) {
    let throttled = || ErrorClass::Throttled(answer.retry_after());
    match (answer.status.as_u16(), code) {
        (_, "SlowDown" | "RequestLimitExceeded" | "TooManyRequests" | "Throttling" | "ThrottlingException") | (429, _) => {
            (throttled(), "it takes no more for now")
        }
        (503, _) => (throttled(), "it is overloaded"),
        (_, "EntityTooLarge") | (413, _) => (ErrorClass::TooLarge, "the object is larger than it takes; lower batch_bytes_max"),
        (_, "ExpiredToken" | "InvalidToken" | "TokenRefreshRequired") => (ErrorClass::Auth, "renew the session's token"),
        (_, "InvalidAccessKeyId" | "SignatureDoesNotMatch") => (ErrorClass::Auth, "check access_key_id and secret_access_key"),
        (_, "RequestTimeTooSkewed" | "RequestExpired") => (ErrorClass::Auth, "set this machine's clock right"),
        (401 | 403, _) => (ErrorClass::Auth, "allow the credential s3:PutObject below the prefix, and what the KMS key needs"),
        (404, _) => (ErrorClass::Config, "make the bucket, or check bucket, region and endpoint"),
        (301 | 307 | 308, _) | (_, "PermanentRedirect" | "AuthorizationHeaderMalformed") => {
            (ErrorClass::Config, "the bucket is elsewhere; check region and endpoint")
        }
        (_, "RequestTimeout" | "BadDigest" | "IncompleteBody" | "XAmzContentSHA256Mismatch") => {
            (ErrorClass::Retryable, "the object did not come through whole")
        }
        (409, _) => (ErrorClass::Retryable, "something else writes the same object"),
        (501, _) => (ErrorClass::Config, "it lacks something of S3 that is needed: If-None-Match with PutObject, or checksums"),
        (408 | 500..=599, _) => (ErrorClass::Retryable, "it failed inside; the object is sent again under the same key"),
        _ => (ErrorClass::Config, "check the sink's settings and proxies in between"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::sink::http::Whole;

    fn answer(status: u16, code: &str, retry_after: Option<&str>) -> Answer {
        let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>words</Message></Error>").into_bytes();
        let mut headers = reqwest::header::HeaderMap::new();
        retry_after.map(|wait| headers.insert("retry-after", wait.parse().expect("a header")));
        Answer { status: status.try_into().expect("a status"), headers, body, whole: Whole::Yes }
    }

    #[track_caller]
    fn check(status: u16, code: &str, expected: ErrorClass) {
        assert_eq!(class(&answer(status, code, None), code).0, expected, "{status} {code}");
    }

    #[test]
    fn an_answer_has_the_class_of_its_code_and_status() {
        use ErrorClass::{Auth, Config, Retryable, Throttled, TooLarge};
        check(503, "SlowDown", Throttled(None));
        check(503, "ServiceUnavailable", Throttled(None));
        check(429, "", Throttled(None));
        check(400, "ThrottlingException", Throttled(None));
        check(400, "EntityTooLarge", TooLarge);
        check(413, "", TooLarge);
        check(400, "ExpiredToken", Auth);
        check(403, "SignatureDoesNotMatch", Auth);
        check(403, "RequestTimeTooSkewed", Auth);
        check(403, "AccessDenied", Auth);
        check(401, "", Auth);
        check(404, "NoSuchBucket", Config);
        check(301, "PermanentRedirect", Config);
        check(400, "AuthorizationHeaderMalformed", Config);
        check(400, "InvalidArgument", Config);
        check(400, "RequestTimeout", Retryable);
        check(409, "ConditionalRequestConflict", Retryable);
        check(500, "InternalError", Retryable);
        check(504, "", Retryable);
        check(501, "NotImplemented", Config);
        let waits = answer(503, "SlowDown", Some("7"));
        assert_eq!(class(&waits, "SlowDown").0, Throttled(Some(Duration::from_secs(7))));
    }

    #[test]
    fn only_a_known_credential_lacks_a_permission() {
        assert!(is_want_of_permission(&answer(403, "AccessDenied", None)));
        assert!(!is_want_of_permission(&answer(403, "InvalidAccessKeyId", None)));
        assert!(!is_want_of_permission(&answer(404, "NoSuchBucket", None)));
    }
}

//! What the answers of NATS mean, in classes and in words.
//!
//! A message that nobody listens to is answered at once (503, "no responders"), one that a stream cannot store with an error of
//! JetStream's own numbers. Everything else that ends without an acknowledgement may have been stored.

use std::{error::Error as _, fmt, io, time::Duration};

use async_nats::{
    ConnectError, ConnectErrorKind, ServerError,
    jetstream::{
        Error as JetStreamError, ErrorCode,
        context::{PublishError, PublishErrorKind},
    },
};
use url::Url;

use super::session::Lost;
use crate::{
    net,
    sink::{ErrorClass, Receipt, SinkError, Verdict, http::excerpt},
};

/// A cluster's name for operators.
#[derive(Clone, Debug)]
pub(super) struct Cluster(String);

impl Cluster {
    pub(super) fn new(servers: &[Url]) -> Self {
        let hosts: Vec<String> =
            servers.iter().map(|url| format!("{}:{}", url.host_str().unwrap_or_default(), url.port().unwrap_or(4222))).collect();
        Self(format!("NATS at {}", hosts.join(", ")))
    }
}

impl fmt::Display for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What all messages of a batch come to. An event that is too large waits until it is sent without others, which then names it.
pub(super) fn receipt(outcomes: Vec<Result<(), SinkError>>) -> Result<Receipt, SinkError> {
    let Some(worst) = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).max_by_key(|error| weight(error.class())) else {
        return Ok(Receipt::All);
    };
    let none_is_settled = outcomes.iter().all(|outcome| matches!(outcome, Err(error) if error.class() != ErrorClass::Rejected));
    if none_is_settled || weight(worst.class()) >= weight(ErrorClass::Config) {
        return Err(worst.clone());
    }
    let verdict = |outcome: Result<(), SinkError>| match outcome {
        Ok(()) => Verdict::Accepted,
        Err(error) if error.class() == ErrorClass::Rejected => Verdict::Rejected(error.to_string()),
        Err(_) => Verdict::NotTaken,
    };
    Ok(Receipt::Each(outcomes.into_iter().map(verdict).collect()))
}

/// Which of several errors a delivery ends with. From config on it is about the whole batch.
fn weight(class: ErrorClass) -> u8 {
    match class {
        ErrorClass::Rejected => 0,
        ErrorClass::TooLarge => 1,
        ErrorClass::Retryable | ErrorClass::Throttled(_) => 2,
        ErrorClass::Config => 3,
        ErrorClass::Auth => 4,
        ErrorClass::Ambiguous => 5,
    }
}

/// The error that one message's answer means.
pub(super) fn refusal(cluster: &Cluster, subject: &str, error: &PublishError) -> SinkError {
    let of = |class, words: &str| SinkError::new(class, format!("publish to {cluster}: {words}"));
    match error.kind() {
        PublishErrorKind::StreamNotFound => no_stream(cluster, subject),
        PublishErrorKind::TimedOut => of(ErrorClass::Ambiguous, "no acknowledgement in time; check its load, or raise timeout"),
        PublishErrorKind::BrokenPipe => of(ErrorClass::Ambiguous, "the connection ended before the acknowledgement"),
        PublishErrorKind::MaxPayloadExceeded => {
            of(ErrorClass::TooLarge, "the message is larger than the server's max_payload; raise that to take such events")
        }
        PublishErrorKind::MaxAckPending => of(ErrorClass::Retryable, "too many messages are on their way"),
        PublishErrorKind::WrongLastMessageId | PublishErrorKind::WrongLastSequence => {
            of(ErrorClass::Config, "the stream expects another message; nothing but streams without such conditions can take events")
        }
        PublishErrorKind::Other => match error.source().and_then(|source| source.downcast_ref::<JetStreamError>()) {
            Some(refused) => stream_refusal(cluster, subject, refused),
            None if error.source().is_some_and(|source| source.is::<serde_json::Error>()) => of(
                ErrorClass::Config,
                &format!("what answers on {subject} is no JetStream stream; check subject, and who else replies to it"),
            ),
            None => of(ErrorClass::Retryable, "the connection has ended"),
        },
    }
}

/// The error that a stream answered with.
fn stream_refusal(cluster: &Cluster, subject: &str, error: &JetStreamError) -> SinkError {
    let (class, mend) = match (error.error_code(), error.code()) {
        (ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM, _) => {
            (ErrorClass::TooLarge, "the message is larger than the stream's max_msg_size; raise that to take such events")
        }
        (ErrorCode::STREAM_HEADER_EXCEEDS_MAXIMUM, _) => (ErrorClass::Rejected, "the message's id is too long for it"),
        (ErrorCode::STREAM_STORE_FAILED, _) => {
            (ErrorClass::Retryable, "the stream cannot store it: make room, raise its limits, or let it discard old messages")
        }
        (ErrorCode::JETSTREAM_NOT_ENABLED | ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT, _) => {
            (ErrorClass::Config, "switch JetStream on for the server and the account")
        }
        (ErrorCode::STREAM_NOT_FOUND, _) => return no_stream(cluster, subject),
        (_, 500..=599) => (ErrorClass::Retryable, "it failed inside or is short of something; check the server's log"),
        _ => (ErrorClass::Config, "check the stream's settings"),
    };
    // Its words are about limits and states; what was published is in none of them.
    let words = excerpt(&error.to_string(), &[], None);
    SinkError::new(class, format!("publish to {cluster}: it answered \"{words}\": {mend}"))
}

/// Nobody listens.
pub(super) fn no_stream(cluster: &Cluster, subject: &str) -> SinkError {
    let message = format!(
        "publish to {cluster}: no JetStream stream takes the subject {subject}; \
         make one: nats stream add MIRO --subjects \"{subject}\" --dupe-window 24h --defaults"
    );
    SinkError::new(ErrorClass::Config, message)
}

/// Somebody should listen, and does not just now: an election, or too few servers.
pub(super) fn no_leader(cluster: &Cluster, stream: &str) -> SinkError {
    let message = format!("publish to {cluster}: the stream {stream} has no leader just now; check that enough of its servers run");
    SinkError::new(ErrorClass::Retryable, message)
}

/// The time was over.
pub(super) fn no_answer(cluster: &Cluster, timeout: Duration) -> SinkError {
    let message = format!(
        "publish to {cluster}: not every message was acknowledged within {} ms; check its load, or raise timeout",
        timeout.as_millis()
    );
    SinkError::new(ErrorClass::Ambiguous, message)
}

/// What may have been stored is not known to the stream any more.
pub(super) fn forgotten(age: Duration, window: Duration) -> SinkError {
    let message = format!(
        "publish again what was not acknowledged {} s ago: the stream knows ids for {} s only, so some may be there twice; \
         raise it: nats stream edit <stream> --dupe-window 24h",
        age.as_secs(),
        window.as_secs()
    );
    SinkError::new(ErrorClass::Ambiguous, message)
}

/// The connection ended with messages on their way.
pub(super) fn lost(cluster: &Cluster, lost: &Lost) -> SinkError {
    match lost {
        Lost::Disconnected => SinkError::new(ErrorClass::Ambiguous, format!("publish to {cluster}: the connection broke")),
        Lost::Said(text) => {
            let (class, mend) = said(text);
            SinkError::new(class, format!("publish to {cluster}: it said \"{}\": {mend}", excerpt(text, &[], None)))
        }
    }
}

/// The server's own errors are texts.
fn said(text: &str) -> (ErrorClass, &'static str) {
    let lower = text.to_ascii_lowercase();
    if lower.contains("permissions violation") {
        (ErrorClass::Auth, "allow the user to publish there, and to subscribe to its inbox (inbox_prefix)")
    } else if lower.contains("authoriz") || lower.contains("authentic") {
        (ErrorClass::Auth, "check the credential")
    } else if lower.contains("tls required") {
        (ErrorClass::Config, "use tls://")
    } else {
        (ErrorClass::Ambiguous, "what was on its way is sent again")
    }
}

/// No connection could be opened. Nothing has been sent.
pub(super) fn no_connection(cluster: &Cluster, error: &ConnectError) -> SinkError {
    let of = |class, words: &str| SinkError::new(class, format!("connect to {cluster}: {words}"));
    let source = error.source().map(ToString::to_string).unwrap_or_default();
    match error.kind() {
        ConnectErrorKind::Dns => of(ErrorClass::Retryable, &format!("{source}; check the hosts' names and DNS")),
        ConnectErrorKind::TimedOut => of(ErrorClass::Retryable, "no answer in time; check that it runs, the port and firewalls"),
        ConnectErrorKind::AuthorizationViolation => of(ErrorClass::Auth, "it refuses the credential; check it, and the server's users"),
        ConnectErrorKind::Authentication => of(ErrorClass::Auth, "the seed cannot sign; check that nkey begins with SU and is whole"),
        ConnectErrorKind::Tls => of(ErrorClass::Config, &format!("{source}; check tls, and the host's name")),
        ConnectErrorKind::ServerParse => of(ErrorClass::Config, "a server's address cannot be used; check servers"),
        ConnectErrorKind::Io | ConnectErrorKind::MaxReconnects => {
            let (class, mend) = broken(error.source());
            of(class, &format!("{source}; {mend}"))
        }
    }
}

/// Why a connection broke before it was one.
fn broken(source: Option<&(dyn std::error::Error + 'static)>) -> (ErrorClass, &'static str) {
    let plain = (ErrorClass::Retryable, "check that it runs, the port and firewalls");
    let Some(source) = source else { return plain };
    if let Some(error) = source.downcast_ref::<ServerError>() {
        return match said(&error.to_string()) {
            (ErrorClass::Ambiguous, _) => (ErrorClass::Retryable, "it has not let us in; check the server's log"),
            told => told,
        };
    }
    match source.downcast_ref::<io::Error>().and_then(net::tls_cause) {
        Some(rustls::Error::InvalidCertificate(_)) => (
            ErrorClass::Config,
            "its certificate is not trusted for that name; set tls.ca_file to the authority that issued it, or mend servers",
        ),
        Some(rustls::Error::AlertReceived(_)) => {
            (ErrorClass::Auth, "it refuses our certificate, or the lack of one; check tls.cert_file and tls.key_file")
        }
        Some(_) => (ErrorClass::Config, "check the TLS settings of both sides"),
        None => plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(class: ErrorClass) -> Result<(), SinkError> {
        Err(SinkError::new(class, "x"))
    }

    #[track_caller]
    fn check(outcomes: Vec<Result<(), SinkError>>, expected: Result<Receipt, ErrorClass>) {
        assert_eq!(receipt(outcomes).map_err(|error| error.class()), expected);
    }

    #[test]
    fn what_is_settled_is_told_unless_something_about_the_whole_batch_failed() {
        use ErrorClass::{Ambiguous, Config, Rejected, Retryable, TooLarge};
        let each = |verdicts: &[Verdict]| Ok(Receipt::Each(verdicts.to_vec()));
        check(vec![Ok(()), Ok(())], Ok(Receipt::All));
        check(vec![Ok(()), error(TooLarge)], each(&[Verdict::Accepted, Verdict::NotTaken]));
        check(vec![error(TooLarge), error(TooLarge)], Err(TooLarge));
        check(vec![error(TooLarge), error(Retryable)], Err(Retryable));
        check(vec![Ok(()), error(Retryable), error(TooLarge)], each(&[Verdict::Accepted, Verdict::NotTaken, Verdict::NotTaken]));
        check(vec![error(Rejected), error(Retryable)], each(&[Verdict::Rejected("x".to_owned()), Verdict::NotTaken]));
        check(vec![Ok(()), error(Config)], Err(Config));
        check(vec![Ok(()), error(Config), error(Ambiguous)], Err(Ambiguous));
    }

    #[test]
    fn a_refusal_of_jetstream_has_the_class_of_its_number() {
        use ErrorClass::{Config, Rejected, Retryable, TooLarge};
        let cluster = Cluster::new(&["nats://n1".parse().expect("a URL"), "nats://n2:4223".parse().expect("a URL")]);
        let check = |code: usize, number: usize, class: ErrorClass| {
            let text = format!(r#"{{"code":{code},"err_code":{number},"description":"words"}}"#);
            let refused = stream_refusal(&cluster, "miro.a.audit", &serde_json::from_str(&text).expect("an error"));
            assert_eq!(refused.class(), class, "{number}: {refused}");
            assert!(refused.to_string().starts_with("publish to NATS at n1:4222, n2:4223: "), "{refused}");
        };
        check(400, 10_054, TooLarge);
        check(400, 10_097, Rejected);
        check(503, 10_077, Retryable);
        check(503, 10_023, Retryable);
        check(500, 10_047, Retryable);
        check(503, 10_076, Config);
        check(503, 10_039, Config);
        check(404, 10_059, Config);
        check(400, 10_109, Config);
    }
}

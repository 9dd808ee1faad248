//! What the answers of the ingestion endpoint mean.

use secrecy::SecretString;
use serde_json::Value;
use uuid::Uuid;

use super::super::{
    Batch, ErrorClass, SinkError,
    http::{Answer, Receiver, excerpt},
};

/// What is known about a refused request.
pub(super) struct Context<'a> {
    pub(super) answer: &'a Answer,
    pub(super) receiver: &'a Receiver,
    pub(super) token: &'a SecretString,
    pub(super) request_id: Uuid,
    pub(super) dcr_id: &'a str,
    pub(super) stream: &'a str,
    pub(super) batch: &'a Batch<'a>,
}

/// Whether it is the refusal of a table of the Auxiliary plan for the whole request.
pub(super) fn spans_too_much_time(answer: &Answer) -> bool {
    let code = |body: &Value| body["error"]["code"].as_str() == Some("RecordsTimeRangeIsMoreThan30Minutes");
    answer.status == 400 && serde_json::from_slice::<Value>(&answer.body).is_ok_and(|body| code(&body))
}

/// The error of an answer other than 204.
pub(super) fn refusal(context: &Context<'_>) -> SinkError {
    let error = serde_json::from_slice::<Value>(&context.answer.body).ok().map(|body| body["error"].clone()).unwrap_or_default();
    let code = error["code"].as_str().unwrap_or_default();
    let (class, mend) = class(context, code);
    let message = format!(
        "deliver to {}: {}: {mend}; client request id {}",
        context.receiver,
        words(context, code, error["message"].as_str()),
        context.request_id
    );
    SinkError::new(class, message)
}

fn class(context: &Context<'_>, code: &str) -> (ErrorClass, String) {
    let answer = context.answer;
    let (class, mend) = match answer.status.as_u16() {
        400 if names_configuration(code) => (ErrorClass::Config, "check dcr_id and the stream's name in the sink's table"),
        // Azure always gives a code; without one it is somebody else who speaks, and no event may be given up for that.
        400 if !code.is_empty() => (ErrorClass::Rejected, "it cannot read something in the request"),
        401 => (ErrorClass::Auth, "a new access token was refused too; check scope and authority, which depend on the cloud"),
        403 => {
            let mend = format!(
                "assign the role Monitoring Metrics Publisher on the data collection rule {} to this application or identity; \
                 a new assignment takes up to 30 minutes to be known",
                context.dcr_id
            );
            return (ErrorClass::Auth, mend);
        }
        404 => {
            let mend = format!("check endpoint, dcr_id ({}) and the stream ({}) against the rule", context.dcr_id, context.stream);
            return (ErrorClass::Config, mend);
        }
        413 => (ErrorClass::TooLarge, "the request is larger than it takes"),
        415 => (ErrorClass::Config, "something on the way does not take compressed JSON; set compression = \"none\""),
        429 => (ErrorClass::Throttled(answer.retry_after()), "the rule's limit of requests or bytes a minute is reached"),
        408 | 500..=599 => (answer.class(), "it failed inside or is overloaded"),
        _ => (answer.class(), "the answer is none that Azure documents; check endpoint and proxies in between"),
    };
    (class, mend.to_owned())
}

/// Whether a 400 is about the request's address, so that no event in it is at fault.
fn names_configuration(code: &str) -> bool {
    ["Stream", "DataCollection", "Dcr", "ApiVersion"].iter().any(|part| code.contains(part))
}

fn words(context: &Context<'_>, code: &str, message: Option<&str>) -> String {
    let status = context.answer.status.as_u16();
    let body = String::from_utf8_lossy(&context.answer.body);
    let text = excerpt(message.unwrap_or(&body), &[context.token], Some(context.batch));
    let code = excerpt(code, &[context.token], Some(context.batch));
    match (code.is_empty(), text.is_empty()) {
        (true, true) => format!("HTTP {status}"),
        (true, false) => format!("HTTP {status} ({text})"),
        (false, true) => format!("HTTP {status}, {code}"),
        (false, false) => format!("HTTP {status}, {code} ({text})"),
    }
}

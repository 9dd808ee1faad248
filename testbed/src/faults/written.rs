//! Rules as JSON, for the control port of the binary.

use std::time::Duration;

use serde::Deserialize;

use super::{Answer, Fault, RetryAfter, Rule, Take, Then};

/// A rule that cannot be used, and why.
#[derive(Debug, thiserror::Error)]
pub enum BadRule {
    #[error("read the rules: {0}")]
    Json(#[from] serde_json::Error),
    #[error("use a rule: it needs exactly one of next, during_ms and probability")]
    When,
    #[error("use a rule: retry_after_ms and retry_at_ms exclude each other")]
    RetryAfter,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenRule {
    path: Option<String>,
    next: Option<u32>,
    during_ms: Option<u64>,
    probability: Option<f64>,
    #[serde(default)]
    seed: u64,
    take: Option<Take>,
    #[serde(default)]
    then: WrittenThen,
    #[serde(default)]
    delay_ms: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum WrittenThen {
    #[default]
    Usual,
    Stall,
    Reset,
    Truncate,
    Answer(WrittenAnswer),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenAnswer {
    status: u16,
    #[serde(default)]
    headers: Vec<(String, String)>,
    #[serde(default)]
    body: String,
    retry_after_ms: Option<u64>,
    retry_at_ms: Option<u64>,
}

/// Reads one rule, or a list of them.
///
/// ```json
/// {"next": 3, "path": "/ack", "take": "nothing", "then": {"answer": {"status": 429, "retry_after_ms": 5000}}}
/// {"probability": 0.1, "seed": 7, "take": "all", "then": "reset"}
/// ```
///
/// `take`: `all`, `half`, `nothing`, `unread`; left out it is `nothing` before an answer, which is then a refusal, else `all`. `then`: `usual`, `stall`, `reset`, `truncate` or an answer, whose wait is
/// `retry_after_ms` (as seconds) or `retry_at_ms` (as a date, from the time of the answer).
///
/// # Errors
/// [`BadRule`] when the JSON is not a rule, or when the rule contradicts itself. Then no rule of the list is used.
pub fn parse_rules(json: &[u8]) -> Result<Vec<Rule>, BadRule> {
    // Told apart by hand, since an untagged enum would hide what is wrong with a rule.
    let written: Vec<WrittenRule> = match json.trim_ascii_start().first() {
        Some(b'[') => serde_json::from_slice(json)?,
        _ => vec![serde_json::from_slice(json)?],
    };
    written.into_iter().map(rule).collect()
}

fn rule(written: WrittenRule) -> Result<Rule, BadRule> {
    let then = then(written.then)?;
    let usual_take = if matches!(then, Then::Answer(_)) { Take::Nothing } else { Take::All };
    let fault = Fault { take: written.take.unwrap_or(usual_take), then, delay: Duration::from_millis(written.delay_ms) };
    let rule = match (written.next, written.during_ms, written.probability) {
        (Some(count), None, None) => Rule::next(count, fault),
        (None, Some(time_ms), None) => Rule::during(Duration::from_millis(time_ms), fault),
        (None, None, Some(probability)) => Rule::chance(probability, written.seed, fault),
        _ => return Err(BadRule::When),
    };
    Ok(match written.path {
        Some(part) => rule.on(part),
        None => rule,
    })
}

fn then(written: WrittenThen) -> Result<Then, BadRule> {
    Ok(match written {
        WrittenThen::Usual => Then::Usual,
        WrittenThen::Stall => Then::Stall,
        WrittenThen::Reset => Then::Reset,
        WrittenThen::Truncate => Then::Truncate,
        WrittenThen::Answer(answer) => {
            let retry_after = match (answer.retry_after_ms, answer.retry_at_ms) {
                (None, None) => None,
                (Some(wait_ms), None) => Some(RetryAfter::Seconds(Duration::from_millis(wait_ms))),
                (None, Some(wait_ms)) => Some(RetryAfter::Date(Duration::from_millis(wait_ms))),
                (Some(_), Some(_)) => return Err(BadRule::RetryAfter),
            };
            Then::Answer(Answer { status: answer.status, headers: answer.headers, body: answer.body, retry_after })
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_rule_becomes_the_fault_it_describes() {
        let check = |json: &str, expected: Fault| {
            let rules = parse_rules(json.as_bytes()).expect(json);
            assert_eq!(rules[0].fault, expected, "{json}");
        };
        check(r#"{"next":1,"take":"all","then":"reset"}"#, Fault::reset_after_taking());
        check(r#"[{"during_ms":50,"take":"unread","then":"reset"}]"#, Fault::reset_before_body());
        check(r#"{"probability":0.5,"seed":3,"delay_ms":20}"#, Fault::delay(Duration::from_millis(20)));
        let busy = Answer::new(429, "busy").retry_after(RetryAfter::Date(Duration::from_secs(2)));
        check(r#"{"next":2,"then":{"answer":{"status":429,"body":"busy","retry_at_ms":2000}}}"#, Fault::answer(busy));
    }

    #[test]
    fn a_rule_that_contradicts_itself_is_refused() {
        let check = |json: &str, expected: &str| {
            let err = parse_rules(json.as_bytes()).expect_err(json).to_string();
            assert!(err.contains(expected), "{json}: {err}");
        };
        check(r#"{"then":"reset"}"#, "exactly one of");
        check(r#"{"next":1,"probability":1.0}"#, "exactly one of");
        check(r#"{"next":1,"then":{"answer":{"status":503,"retry_after_ms":1,"retry_at_ms":1}}}"#, "exclude each other");
        check(r#"{"next":1,"thn":"reset"}"#, "read the rules");
        check("", "read the rules");
    }
}

//! What can go wrong with one request.

use std::time::{Duration, SystemTime};

/// What of the request is ingested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Take {
    #[default]
    All,
    /// The first half of the events, rounded down.
    Half,
    /// The body is read, and thrown away.
    Nothing,
    /// Not even the body is read.
    Unread,
}

/// What the sender sees.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Then {
    /// The receiver's own answer, as if nothing were wrong.
    #[default]
    Usual,
    Answer(Answer),
    /// No answer; the connection stays open until the sender gives up.
    Stall,
    /// The connection is reset (RST) instead of an answer.
    Reset,
    /// The receiver's own answer, cut in the middle, and the connection closed.
    Truncate,
}

/// A ready-made answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
    pub retry_after: Option<RetryAfter>,
}

/// The two forms of `Retry-After` (RFC 9110 section 10.2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryAfter {
    /// `Retry-After: 7`. Whole seconds, rounded up.
    Seconds(Duration),
    /// `Retry-After: Sun, 06 Nov 1994 08:49:37 GMT`: the time of the answer and this much more, rounded up to a whole second.
    Date(Duration),
}

impl RetryAfter {
    /// The header's value, were it sent at `now`.
    pub fn header_value(self, now: SystemTime) -> String {
        match self {
            Self::Seconds(wait) => whole_seconds(wait).to_string(),
            Self::Date(wait) => {
                let at = now + wait;
                let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(whole_seconds(since)))
            }
        }
    }
}

fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

impl Answer {
    pub fn new(status: u16, body: impl Into<String>) -> Self {
        Self { status, body: body.into(), ..Self::default() }
    }

    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    #[must_use]
    pub fn retry_after(mut self, retry_after: RetryAfter) -> Self {
        self.retry_after = Some(retry_after);
        self
    }
}

/// What goes wrong with one request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fault {
    pub take: Take,
    pub then: Then,
    /// Waited after the events were taken and before the sender sees anything.
    pub delay: Duration,
}

impl Fault {
    fn of(take: Take, then: Then) -> Self {
        Self { take, then, delay: Duration::ZERO }
    }

    /// Refused: the body is read, nothing is taken.
    pub fn answer(answer: Answer) -> Self {
        Self::of(Take::Nothing, Then::Answer(answer))
    }

    /// Everything is taken, yet the sender sees `answer`: an ambiguous outcome.
    pub fn taken_then(answer: Answer) -> Self {
        Self::of(Take::All, Then::Answer(answer))
    }

    /// The first half is taken, then `answer`.
    pub fn half_then(answer: Answer) -> Self {
        Self::of(Take::Half, Then::Answer(answer))
    }

    /// Success is answered and nothing is taken: a silent loss.
    pub fn swallow() -> Self {
        Self::of(Take::Nothing, Then::Usual)
    }

    /// Works, but late.
    pub fn delay(delay: Duration) -> Self {
        Self { delay, ..Self::default() }
    }

    /// Nothing is taken and no answer comes.
    pub fn stall() -> Self {
        Self::of(Take::Nothing, Then::Stall)
    }

    /// Everything is taken and no answer comes.
    pub fn stall_after_taking() -> Self {
        Self::of(Take::All, Then::Stall)
    }

    /// The connection is reset before the body is read.
    pub fn reset_before_body() -> Self {
        Self::of(Take::Unread, Then::Reset)
    }

    /// Everything is taken, then the connection is reset.
    pub fn reset_after_taking() -> Self {
        Self::of(Take::All, Then::Reset)
    }

    /// Everything is taken, and the answer breaks off.
    pub fn truncate() -> Self {
        Self::of(Take::All, Then::Truncate)
    }

    /// Adds a wait before the sender sees anything.
    #[must_use]
    pub fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_has_two_forms_and_never_a_shorter_wait_than_asked() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(784_111_776_500);
        let check = |retry_after: RetryAfter, expected: &str| assert_eq!(retry_after.header_value(now), expected);
        check(RetryAfter::Seconds(Duration::from_secs(7)), "7");
        check(RetryAfter::Seconds(Duration::from_millis(6001)), "7");
        check(RetryAfter::Date(Duration::ZERO), "Sun, 06 Nov 1994 08:49:37 GMT");
        check(RetryAfter::Date(Duration::from_millis(1_500)), "Sun, 06 Nov 1994 08:49:38 GMT");
    }
}

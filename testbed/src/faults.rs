//! Faults to order: what a receiver takes of a request, and what the sender gets to see of it, chosen apart.
//!
//! A fault is a pair: [`Take`] says what is ingested, [`Then`] what happens on the wire. A lost answer is `(All, Reset)`, a silent
//! loss is `(Nothing, Usual)`, a time-out in the middle is `(Half, Answer(408))`. A [`Rule`] says when a fault happens. The first
//! rule that applies to a request wins; rules are asked in the order in which they were added.

mod written;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tokio::time::Instant;

pub use written::{BadRule, parse_rules};

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
                let since = at
                    .duration_since(SystemTime::UNIX_EPOCH)
                    .unwrap_or_default();
                httpdate::fmt_http_date(
                    SystemTime::UNIX_EPOCH + Duration::from_secs(whole_seconds(since)),
                )
            }
        }
    }
}

fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

impl Answer {
    pub fn new(status: u16, body: impl Into<String>) -> Self {
        Self {
            status,
            body: body.into(),
            ..Self::default()
        }
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
        Self {
            take,
            then,
            delay: Duration::ZERO,
        }
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
        Self {
            delay,
            ..Self::default()
        }
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

/// When a fault happens, and to which requests.
#[derive(Debug)]
pub struct Rule {
    fault: Fault,
    when: When,
    path: Option<String>,
}

#[derive(Debug)]
enum When {
    Next(u32),
    Until(Instant),
    Chance { probability: f64, rng: Box<StdRng> },
}

impl Rule {
    /// The next `count` requests.
    pub fn next(count: u32, fault: Fault) -> Self {
        Self {
            fault,
            when: When::Next(count),
            path: None,
        }
    }

    /// Every request from now on, for that long.
    pub fn during(time: Duration, fault: Fault) -> Self {
        Self {
            fault,
            when: When::Until(Instant::now() + time),
            path: None,
        }
    }

    /// Each request with this probability (clamped to 0..=1); the same seed makes the same choices in the order of requests.
    pub fn chance(probability: f64, seed: u64, fault: Fault) -> Self {
        let rng = Box::new(StdRng::seed_from_u64(seed));
        Self {
            fault,
            when: When::Chance {
                probability: probability.clamp(0.0, 1.0),
                rng,
            },
            path: None,
        }
    }

    /// Only requests whose path contains `part`.
    #[must_use]
    pub fn on(mut self, part: impl Into<String>) -> Self {
        self.path = Some(part.into());
        self
    }

    fn applies(&mut self, path: &str) -> bool {
        if self
            .path
            .as_deref()
            .is_some_and(|part| !path.contains(part))
        {
            return false;
        }
        match &mut self.when {
            When::Next(0) => false,
            When::Next(left) => {
                *left -= 1;
                true
            }
            When::Until(end) => Instant::now() < *end,
            When::Chance { probability, rng } => rng.random_bool(*probability),
        }
    }

    fn is_over(&self) -> bool {
        match self.when {
            When::Next(left) => left == 0,
            When::Until(end) => Instant::now() >= end,
            When::Chance { .. } => false,
        }
    }
}

/// The faults of one receiver; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    rules: Arc<Mutex<Vec<Rule>>>,
}

impl Faults {
    pub fn add(&self, rule: Rule) {
        self.rules().push(rule);
    }

    /// The next `count` requests meet `fault`.
    pub fn next(&self, count: u32, fault: Fault) {
        self.add(Rule::next(count, fault));
    }

    /// From here on everything works.
    pub fn clear(&self) {
        self.rules().clear();
    }

    /// Whether rules are left that may still fire.
    pub fn is_quiet(&self) -> bool {
        self.rules().iter().all(Rule::is_over)
    }

    pub(crate) fn pick(&self, path: &str) -> Option<Fault> {
        let mut rules = self.rules();
        rules.retain(|rule| !rule.is_over());
        rules
            .iter_mut()
            .find_map(|rule| rule.applies(path).then(|| rule.fault.clone()))
    }

    fn rules(&self) -> MutexGuard<'_, Vec<Rule>> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_fire_in_order_and_only_on_their_path() {
        let faults = Faults::default();
        faults.add(Rule::next(1, Fault::stall()).on("/ack"));
        faults.next(2, Fault::truncate());
        let picked: Vec<Option<Fault>> = ["/event", "/ack", "/event", "/ack"]
            .map(|path| faults.pick(path))
            .into();
        assert_eq!(
            picked,
            [
                Some(Fault::truncate()),
                Some(Fault::stall()),
                Some(Fault::truncate()),
                None
            ]
        );
        assert!(faults.is_quiet());
    }

    #[test]
    fn a_seed_makes_the_same_choices_again() {
        let draw = |seed| {
            let faults = Faults::default();
            faults.add(Rule::chance(0.3, seed, Fault::stall()));
            (0..1000)
                .map(|_| faults.pick("/").is_some())
                .collect::<Vec<bool>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        let hits = draw(7).into_iter().filter(|hit| *hit).count();
        assert!((200..400).contains(&hits), "{hits} of 1000 at 0.3");
    }

    #[test]
    fn retry_after_has_two_forms_and_never_a_shorter_wait_than_asked() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(784_111_776_500);
        let check = |retry_after: RetryAfter, expected: &str| {
            assert_eq!(retry_after.header_value(now), expected)
        };
        check(RetryAfter::Seconds(Duration::from_secs(7)), "7");
        check(RetryAfter::Seconds(Duration::from_millis(6001)), "7");
        check(
            RetryAfter::Date(Duration::ZERO),
            "Sun, 06 Nov 1994 08:49:37 GMT",
        );
        check(
            RetryAfter::Date(Duration::from_millis(1_500)),
            "Sun, 06 Nov 1994 08:49:38 GMT",
        );
    }
}

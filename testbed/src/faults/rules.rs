//! When faults happen.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tokio::time::Instant;

use super::Fault;

/// When a fault happens, and to which requests.
#[derive(Debug)]
pub struct Rule {
    pub(super) fault: Fault,
    when: When,
    path: Option<String>,
}

#[derive(Debug)]
enum When {
    Next(u32),
    Until(Instant),
    Chance {
        probability: f64,
        rng: Box<StdRng>,
    },
    /// For as long as the rule is there, requests whose body holds this.
    Holds(Vec<u8>),
}

impl Rule {
    /// The next `count` requests.
    pub fn next(count: u32, fault: Fault) -> Self {
        Self { fault, when: When::Next(count), path: None }
    }

    /// Every request from now on, for that long.
    pub fn during(time: Duration, fault: Fault) -> Self {
        Self { fault, when: When::Until(Instant::now() + time), path: None }
    }

    /// Each request with this probability (clamped to 0..=1); the same seed makes the same choices in the order of requests.
    pub fn chance(probability: f64, seed: u64, fault: Fault) -> Self {
        let rng = Box::new(StdRng::seed_from_u64(seed));
        Self { fault, when: When::Chance { probability: probability.clamp(0.0, 1.0), rng }, path: None }
    }

    /// Every request whose body, decompressed, holds those bytes: what a receiver refuses for what is in it. Such a rule is asked when the
    /// body has been read, so it cannot leave it unread.
    pub fn holding(bytes: impl Into<Vec<u8>>, fault: Fault) -> Self {
        Self { fault, when: When::Holds(bytes.into()), path: None }
    }

    /// Only requests whose path contains `part`.
    #[must_use]
    pub fn on(mut self, part: impl Into<String>) -> Self {
        self.path = Some(part.into());
        self
    }

    fn applies(&mut self, path: &str) -> bool {
        if self.path.as_deref().is_some_and(|part| !path.contains(part)) {
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
            When::Holds(_) => false,
        }
    }

    fn applies_to(&self, path: &str, body: &[u8]) -> bool {
        let is_path = self.path.as_deref().is_none_or(|part| path.contains(part));
        matches!(&self.when, When::Holds(bytes) if is_path && memchr::memmem::find(body, bytes).is_some())
    }

    fn is_over(&self) -> bool {
        match self.when {
            When::Next(left) => left == 0,
            When::Until(end) => Instant::now() >= end,
            When::Chance { .. } | When::Holds(_) => false,
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
        rules.iter_mut().find_map(|rule| rule.applies(path).then(|| rule.fault.clone()))
    }

    /// The fault of a request for what its body holds.
    pub(crate) fn pick_for_body(&self, path: &str, body: &[u8]) -> Option<Fault> {
        self.rules().iter().find_map(|rule| rule.applies_to(path, body).then(|| rule.fault.clone()))
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
        let picked: Vec<Option<Fault>> = ["/event", "/ack", "/event", "/ack"].map(|path| faults.pick(path)).into();
        assert_eq!(picked, [Some(Fault::truncate()), Some(Fault::stall()), Some(Fault::truncate()), None]);
        assert!(faults.is_quiet());
    }

    #[test]
    fn a_body_is_looked_at_apart_from_the_path_and_as_often_as_it_comes() {
        let faults = Faults::default();
        faults.add(Rule::holding("poison", Fault::stall()).on("/event"));
        assert_eq!(faults.pick("/event"), None);
        for _ in 0..2 {
            assert_eq!(faults.pick_for_body("/event", b"some poison here"), Some(Fault::stall()));
        }
        assert_eq!(faults.pick_for_body("/event", b"nothing"), None);
        assert_eq!(faults.pick_for_body("/ack", b"poison"), None);
        faults.clear();
        assert_eq!(faults.pick_for_body("/event", b"poison"), None);
    }

    #[test]
    fn a_seed_makes_the_same_choices_again() {
        let draw = |seed| {
            let faults = Faults::default();
            faults.add(Rule::chance(0.3, seed, Fault::stall()));
            (0..1000).map(|_| faults.pick("/").is_some()).collect::<Vec<bool>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        let hits = draw(7).into_iter().filter(|hit| *hit).count();
        assert!((200..400).contains(&hits), "{hits} of 1000 at 0.3");
    }
}

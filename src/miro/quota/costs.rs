//! What a call costs: as documented, until the answers say otherwise.
//!
//! A call that was under way alone shows its cost: the credits that were left before it, less those after it. Other programs with the same
//! user and app make some of these differences too large, so the second lowest of the newest few counts. A quota that is not counted at
//! all shows as a cost of nothing.

use std::collections::{BTreeMap, VecDeque};

use crate::miro::LogKind;

/// So many of the newest differences are looked at.
const SAMPLES_MAX: usize = 5;
/// Fewer say nothing yet.
const SAMPLES_MIN: usize = 3;

/// Credits of Miro's quota.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Credits(pub u32);

impl Credits {
    /// Token info, boards, teams.
    pub const LEVEL_1: Self = Self(50);
    /// Audit logs, team members.
    pub const LEVEL_2: Self = Self(100);
    /// The organisation and its members.
    pub const LEVEL_3: Self = Self(500);
    /// Content logs, AI interaction logs.
    pub const LEVEL_4: Self = Self(2_000);
}

/// What is called, as far as its cost goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Endpoint {
    /// A page of a log.
    Log(LogKind),
    /// `GET /v1/oauth-token`
    TokenInfo,
}

impl Endpoint {
    /// The cost by the page "Rate limiting" of Miro's REST API reference. It names no level for token information: the cheapest is assumed.
    pub fn documented(self) -> Credits {
        match self {
            Self::Log(kind) => kind.cost(),
            Self::TokenInfo => Credits::LEVEL_1,
        }
    }
}

/// The costs as they are known.
#[derive(Clone, Debug, Default)]
pub(super) struct Costs(BTreeMap<Endpoint, VecDeque<u32>>);

impl Costs {
    pub(super) fn of(&self, endpoint: Endpoint) -> Credits {
        let Some(samples) = self.0.get(&endpoint).filter(|samples| samples.len() >= SAMPLES_MIN) else { return endpoint.documented() };
        let mut sorted: Vec<u32> = samples.iter().copied().collect();
        sorted.sort_unstable();
        Credits(sorted[1])
    }

    pub(super) fn learn(&mut self, endpoint: Endpoint, credits: u32) {
        let samples = self.0.entry(endpoint).or_default();
        samples.push_back(credits);
        if samples.len() > SAMPLES_MAX {
            samples.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTENT: Endpoint = Endpoint::Log(LogKind::Content);

    #[track_caller]
    fn check(seen: &[u32], expected: u32) {
        let mut costs = Costs::default();
        seen.iter().for_each(|credits| costs.learn(CONTENT, *credits));
        assert_eq!(costs.of(CONTENT), Credits(expected), "{seen:?}");
        assert_eq!(costs.of(Endpoint::Log(LogKind::Audit)), Credits::LEVEL_2, "another endpoint's cost is its own");
    }

    #[test]
    fn a_cost_is_the_documented_one_until_the_answers_agree_on_another() {
        check(&[], 2_000);
        check(&[500, 500], 2_000);
        check(&[500, 500, 500], 500);
        check(&[0, 0, 0], 0);
        check(&[2_000, 2_000, 2_000, 4_000, 4_000, 4_000, 4_000, 4_000], 4_000);
    }

    #[test]
    fn what_others_spend_and_a_counter_that_lags_once_do_not_count() {
        check(&[2_100, 2_000, 9_000], 2_100);
        check(&[2_000, 2_600, 2_000, 50_000, 2_300], 2_000);
        check(&[0, 2_000, 2_000, 2_000, 2_000], 2_000);
    }
}

//! Deterministic randomness: every choice of the simulator is a pure function of the seed and of what is chosen.
//!
//! The generator is SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014), written out
//! here because the bytes of an event must stay the same when a dependency changes its algorithm.

/// A small stream of pseudo-random numbers, keyed by whatever identifies the thing being made up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mix(u64);

const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

fn scramble(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

impl Mix {
    /// The stream of numbers that belongs to these parts, in this order.
    pub(crate) fn of(parts: &[u64]) -> Self {
        let state = parts.iter().fold(GAMMA, |state, part| scramble(state ^ part.wrapping_mul(GAMMA)).wrapping_add(GAMMA));
        Self(state)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GAMMA);
        scramble(self.0)
    }

    /// A number below `bound`; 0 where `bound` is 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// An index below `len`; 0 where `len` is 0.
    pub(crate) fn index(&mut self, len: usize) -> usize {
        self.below(len as u64) as usize
    }

    /// A number in [0, 1).
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.unit() < probability
    }

    pub(crate) fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.index(items.len())]
    }

    /// One of these words.
    pub(crate) fn word(&mut self, words: &[&'static str]) -> &'static str {
        words[self.index(words.len())]
    }

    /// An index below `len` where low indices are far more frequent, as a few people and boards make most of the events.
    pub(crate) fn skewed(&mut self, len: usize) -> usize {
        let unit = self.unit();
        ((unit * unit) * len as f64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_parts_give_the_same_numbers_and_others_do_not() {
        let draw = |parts: &[u64]| -> Vec<u64> {
            let mut mix = Mix::of(parts);
            (0..4).map(|_| mix.next()).collect()
        };
        assert_eq!(draw(&[1, 2, 3]), draw(&[1, 2, 3]));
        assert_ne!(draw(&[1, 2, 3]), draw(&[1, 3, 2]));
        assert_ne!(draw(&[0, 0]), draw(&[0]));
    }

    #[test]
    fn draws_stay_below_their_bound() {
        let mut mix = Mix::of(&[7]);
        for bound in [1, 2, 3, 1000, u64::MAX] {
            assert!((0..200).all(|_| mix.below(bound) < bound));
        }
        assert!((0..200).all(|_| mix.skewed(10) < 10));
        assert_eq!(mix.below(0), 0);
    }
}

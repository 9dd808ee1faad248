//! A small set of record numbers, kept as ranges: the records that are known to be lost.

use super::codec::{Decoder, Encode, Malformed, length};

/// Record numbers as inclusive ranges, sorted and apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sequences(Vec<(u64, u64)>);

impl Sequences {
    /// One range.
    pub(super) fn of(from: u64, to: u64) -> Self {
        let mut set = Self::default();
        set.insert(from, to);
        set
    }

    /// Adds `from..=to`; nothing where that is empty.
    pub(super) fn insert(&mut self, from: u64, to: u64) {
        if from > to {
            return;
        }
        let start = self.0.partition_point(|held| held.1.saturating_add(1) < from);
        let end = self.0.partition_point(|held| held.0 <= to.saturating_add(1));
        let low = self.0.get(start).filter(|_| start < end).map_or(from, |held| held.0.min(from));
        let high = end.checked_sub(1).filter(|_| start < end).and_then(|last| self.0.get(last)).map_or(to, |held| held.1.max(to));
        self.0.splice(start..end, [(low, high)]);
    }

    pub(super) fn contains(&self, sequence: u64) -> bool {
        self.overlaps(sequence, sequence)
    }

    /// Whether any number of `from..=to` is inside.
    pub(super) fn overlaps(&self, from: u64, to: u64) -> bool {
        let at = self.0.partition_point(|held| held.1 < from);
        self.0.get(at).is_some_and(|held| held.0 <= to)
    }

    /// The parts of `from..=to` that are not inside.
    pub(super) fn missing(&self, from: u64, to: u64) -> Self {
        let mut missing = Self::default();
        let mut next = from;
        for &(held_from, held_to) in &self.0 {
            if held_to < next {
                continue;
            }
            if held_from > to {
                break;
            }
            if held_from > next {
                missing.insert(next, held_from - 1);
            }
            next = held_to.saturating_add(1);
        }
        missing.insert(next, to);
        missing
    }

    /// Forgets what lies before `first`: those records are deleted anyway.
    pub(super) fn forget_before(&mut self, first: u64) {
        self.0.retain(|held| held.1 >= first);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many numbers.
    pub(super) fn len(&self) -> u64 {
        self.0.iter().map(|(from, to)| to - from + 1).sum()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, u64)> {
        self.0.iter().copied()
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.put_u32(length(self.0.len()));
        for (from, to) in &self.0 {
            out.put_u64(*from);
            out.put_u64(*to);
        }
    }

    pub(super) fn decode(from: &mut Decoder<'_>) -> Result<Self, Malformed> {
        let mut set = Self::default();
        for _ in 0..from.u32()? {
            set.insert(from.u64()?, from.u64()?);
        }
        Ok(set)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against a plain set of numbers as the model.
        #[test]
        fn sequences_are_a_set_of_numbers(steps in proptest::collection::vec((0_u64..40, 0_u64..40), 0..20), asked in (0_u64..40, 0_u64..40)) {
            let (mut set, mut model) = (Sequences::default(), BTreeSet::new());
            for (from, to) in steps {
                set.insert(from, to);
                model.extend(from..=to);
                prop_assert!(set.0.windows(2).all(|pair| pair[0].1 + 1 < pair[1].0), "ranges stay sorted and apart: {:?}", set);
            }
            prop_assert_eq!((0..50).filter(|n| set.contains(*n)).collect::<BTreeSet<_>>(), model.clone());
            prop_assert_eq!(set.len(), model.len() as u64);
            let (from, to) = (asked.0.min(asked.1), asked.0.max(asked.1));
            prop_assert_eq!(set.overlaps(from, to), (from..=to).any(|n| model.contains(&n)));
            let missing = set.missing(from, to);
            prop_assert_eq!((0..50).filter(|n| missing.contains(*n)).collect::<BTreeSet<_>>(), (from..=to).filter(|n| !model.contains(n)).collect());
        }
    }
}

//! What the journal can say about what it has collected, so that it can be proven: tallies by hour of event time, and the ids it knows.
//!
//! A tally counts events by the hour in which they happened, and adds up their ids: [`IdSum`] is the same for two collections that hold
//! the same ids, in whatever order they came. Ids themselves are remembered as [`Fingerprint`]s for a while; the full id is in the log as
//! long as its segment is there.
//!
//! # What it promises
//!
//! A tally is right after a crash at any moment, but for the repeats that were dropped since the last flush. Where it is not certain
//! (it began later than collection did, a record was lost, a file was damaged) it says so: `exact` is false, never silently low.
//!
//! # What it does not do
//!
//! It is no commitment against somebody who wants to deceive: sums can be made to fit by whoever chooses the ids. It compares honest
//! collections.

use std::fmt;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use sha2::{Digest, Sha256};

use super::JournalError;
use crate::{
    coverage::Coverage,
    event::{EventId, Origin, StreamId, TimeRange, Timestamp},
};

/// The size of a remembered id.
pub const FINGERPRINT_BYTES: usize = 16;

/// What is remembered of an id: the first 128 bits of the SHA-256 of the stream and Miro's id. Two of a thousand million ids are
/// the same with a probability of about 10^-21.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fingerprint(pub [u8; FINGERPRINT_BYTES]);

impl Fingerprint {
    /// Reads 32 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; FINGERPRINT_BYTES];
        read_hex(text, &mut bytes).then_some(Self(bytes))
    }
}

/// Reads exactly as many bytes as there is room for.
fn read_hex(text: &str, bytes: &mut [u8]) -> bool {
    let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = text.as_bytes().chunks_exact(2);
    text.len() == bytes.len() * 2
        && pairs.zip(bytes).all(|(pair, byte)| digit(pair[0]).zip(digit(pair[1])).map(|(high, low)| *byte = high << 4 | low).is_some())
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Makes the fingerprints of one stream.
#[derive(Clone, Debug)]
pub struct FingerprintMaker(Sha256);

impl FingerprintMaker {
    /// For the ids of that stream.
    pub fn new(stream: &StreamId) -> Self {
        Self(Sha256::new().chain_update(stream.org.as_str()).chain_update("/").chain_update(stream.kind.as_str()).chain_update([0]))
    }

    /// The fingerprint of an id.
    pub fn id(&self, of: &[u8]) -> Fingerprint {
        let digest = self.0.clone().chain_update(of).finalize();
        let mut id = [0; FINGERPRINT_BYTES];
        id.copy_from_slice(&digest[..FINGERPRINT_BYTES]);
        Fingerprint(id)
    }
}

/// The sum of the SHA-256 of ids, as 256-bit numbers, modulo 2^256. It does not depend on the order, and sums of parts add up to the
/// sum of the whole. Prints as 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IdSum([u64; 4]);

impl IdSum {
    /// Adds an id: Miro's own bytes of it, without quotes.
    pub fn add_id(&mut self, id: &[u8]) {
        self.add(&Self::from_bytes(Sha256::digest(id).into()));
    }

    /// Adds another sum.
    pub fn add(&mut self, other: &Self) {
        let mut carry = false;
        for (limb, more) in self.0.iter_mut().zip(other.0) {
            let (sum, first) = limb.overflowing_add(more);
            let (sum, second) = sum.overflowing_add(u64::from(carry));
            (*limb, carry) = (sum, first || second);
        }
    }

    /// From its 32 bytes, the most significant one first.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        let mut limbs = [0; 4];
        for (limb, chunk) in limbs.iter_mut().rev().zip(bytes.chunks_exact(8)) {
            *limb = chunk.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        }
        Self(limbs)
    }

    /// Its 32 bytes, the most significant one first.
    pub fn to_bytes(self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for (chunk, limb) in bytes.chunks_exact_mut(8).zip(self.0.iter().rev()) {
            chunk.copy_from_slice(&limb.to_be_bytes());
        }
        bytes
    }

    /// Reads 64 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        read_hex(text, &mut bytes).then(|| Self::from_bytes(bytes))
    }
}

impl fmt::Display for IdSum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Serialize for IdSum {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for IdSum {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| D::Error::custom("a hash of ids has 64 hexadecimal digits"))
    }
}

/// What was collected of one stream in one slot of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Events that were committed.
    pub collected: u64,
    /// Of them those that were found later than their neighbours.
    pub late: u64,
    /// Of them those that a window in the past brought.
    pub backfilled: u64,
    /// Of them those without a readable id or time.
    pub undecodable: u64,
    /// Listings of an event that was committed before, dropped. A crash may lose the last ones' count: they leave no record.
    pub duplicates: u64,
    /// The sum over the ids of the events that were committed.
    #[serde(rename = "id_hash")]
    pub ids: IdSum,
}

impl Tally {
    /// Counts an event that is committed.
    pub fn count(&mut self, id: &EventId, origin: Origin, is_undecodable: bool) {
        self.collected += 1;
        self.late += u64::from(origin == Origin::Late);
        self.backfilled += u64::from(origin == Origin::Backfill);
        self.undecodable += u64::from(is_undecodable);
        self.ids.add_id(id.as_bytes());
    }

    /// Adds another tally.
    pub fn add(&mut self, other: &Self) {
        let pairs = [
            (&mut self.collected, other.collected),
            (&mut self.late, other.late),
            (&mut self.backfilled, other.backfilled),
            (&mut self.undecodable, other.undecodable),
            (&mut self.duplicates, other.duplicates),
        ];
        for (number, more) in pairs {
            *number = number.saturating_add(more);
        }
        self.ids.add(&other.ids);
    }
}

/// Where a tally belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slot {
    /// The hour of event time that begins then.
    Hour(Timestamp),
    /// Events without a time, or with one that cannot be, by the UTC day of collection that begins then.
    Undated(Timestamp),
}

/// One tally and where it belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Where.
    pub slot: Slot,
    /// How many.
    pub tally: Tally,
    /// Whether it is certain that nothing is missing in it and nothing counted twice.
    pub exact: bool,
}

/// The tallies of a stream in a range.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tallies {
    /// Slots in which anything was counted, in their order: hours first.
    pub rows: Vec<Counted>,
    /// Time in which nothing is certain, even where there is no row: tallies began later than collection, or a file of them was lost.
    pub unsure: Vec<TimeRange>,
}

/// The ids of one slot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownIds {
    /// Their fingerprints, sorted.
    pub ids: Vec<Fingerprint>,
}

/// An id by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// What it is remembered by.
    pub fingerprint: Fingerprint,
    /// Miro's id.
    pub id: EventId,
    /// When the event happened.
    pub time: Option<Timestamp>,
}

/// What a stream was asked for and what has come of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamProof {
    /// The stream.
    pub stream: StreamId,
    /// What is collected of it.
    pub coverage: Coverage,
    /// From this time on its ids are remembered.
    pub ids_from: Timestamp,
}

/// What a journal can prove. Apart from [`super::Journal`], because those that move events have no use for it.
pub trait Proof: Send + Sync + fmt::Debug {
    /// Which journal it is: a random number of its first day, never another's.
    fn journal_id(&self) -> u64;

    /// The streams that have begun, in the order of their names.
    fn streams(&self) -> BoxFuture<'_, Result<Vec<StreamProof>, JournalError>>;

    /// The tallies of a stream whose slot touches the range: whole hours, and whole days of collection.
    fn tallies(&self, stream: &StreamId, range: TimeRange) -> BoxFuture<'_, Result<Tallies, JournalError>>;

    /// The remembered ids of one slot. Asked hour by hour, so that the answer is never larger than an hour's ids.
    fn known_ids(&self, stream: &StreamId, slot: Slot) -> BoxFuture<'_, Result<KnownIds, JournalError>>;

    /// The full ids behind fingerprints, as far as the log still holds their records. Reads all of the log.
    fn named(&self, stream: &StreamId, wanted: Vec<Fingerprint>) -> BoxFuture<'_, Result<Vec<Named>, JournalError>>;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_id_is_its_own_hash() {
        let mut sum = IdSum::default();
        sum.add_id(b"abc");
        assert_eq!(sum.to_string(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn a_sum_past_the_end_begins_anew() {
        let mut sum = IdSum::from_bytes([0xff; 32]);
        let mut one = [0; 32];
        one[31] = 2;
        sum.add(&IdSum::from_bytes(one));
        one[31] = 1;
        assert_eq!(sum.to_bytes(), one);
    }

    proptest! {
        #[test]
        fn sums_do_not_depend_on_the_order_and_parts_add_up(ids in proptest::collection::vec("[a-z0-9-]{1,40}", 0..30), cut in 0_usize..30) {
            let sum = |ids: &mut dyn Iterator<Item = &String>| {
                let mut sum = IdSum::default();
                ids.for_each(|id| sum.add_id(id.as_bytes()));
                sum
            };
            let whole = sum(&mut ids.iter());
            prop_assert_eq!(sum(&mut ids.iter().rev()), whole);
            let cut = cut.min(ids.len());
            let mut parts = sum(&mut ids[cut..].iter());
            parts.add(&sum(&mut ids[..cut].iter()));
            prop_assert_eq!(parts, whole);
            prop_assert_eq!(IdSum::parse(&whole.to_string()), Some(whole));
        }
    }
}

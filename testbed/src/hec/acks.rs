//! Indexer acknowledgement: ids per channel, each answered with `true` once.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;

use super::Acks;

/// Splunk holds a million channels; a test that opens more than this has a leak.
const CHANNELS_MAX: usize = 10_000;

#[derive(Debug, Default)]
pub(super) struct Channels {
    channels: HashMap<String, Channel>,
    /// Replaces the configured delay.
    pub(super) delay: Option<Duration>,
}

#[derive(Debug)]
struct Channel {
    next_id: u64,
    /// When each id that was not read yet becomes `true`.
    pending: HashMap<u64, Instant>,
    used: Instant,
}

/// More ids wait than a channel holds: code 27.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct AtCapacity;

impl Channels {
    /// Whether the channel can hold another id; asked before anything is taken.
    pub(super) fn has_room(&mut self, acks: Acks, channel: &str, now: Instant) -> Result<(), AtCapacity> {
        let Acks::On { idle_max, pending_max, .. } = acks else {
            return Ok(());
        };
        self.expire(idle_max, now);
        let full = self.channels.get(channel).is_some_and(|known| known.pending.len() >= pending_max);
        let crowded = self.channels.len() >= CHANNELS_MAX && !self.channels.contains_key(channel);
        if full || crowded { Err(AtCapacity) } else { Ok(()) }
    }

    /// The next id of the channel.
    pub(super) fn issue(&mut self, acks: Acks, channel: &str, now: Instant) -> Option<u64> {
        let Acks::On { delay, .. } = acks else {
            return None;
        };
        let ready = now + self.delay.unwrap_or(delay);
        let known = self.channels.entry(channel.to_owned()).or_insert_with(|| Channel { next_id: 0, pending: HashMap::new(), used: now });
        let id = known.next_id;
        known.next_id += 1;
        known.used = now;
        known.pending.insert(id, ready);
        Some(id)
    }

    /// What an ack request learns: `true` for an id that is ready, which is forgotten with that; `false` for every other.
    pub(super) fn read(&mut self, acks: Acks, channel: &str, ids: &[u64], now: Instant) -> Vec<(u64, bool)> {
        if let Acks::On { idle_max, .. } = acks {
            self.expire(idle_max, now);
        }
        let Some(known) = self.channels.get_mut(channel) else {
            return ids.iter().map(|id| (*id, false)).collect();
        };
        known.used = now;
        ids.iter()
            .map(|id| {
                let ready = known.pending.get(id).is_some_and(|ready| *ready <= now);
                if ready {
                    known.pending.remove(id);
                }
                (*id, ready)
            })
            .collect()
    }

    /// Forgets every channel, as a restarted indexer does.
    pub(super) fn forget(&mut self) {
        self.channels.clear();
    }

    fn expire(&mut self, idle_max: Duration, now: Instant) {
        self.channels.retain(|_, channel| now.duration_since(channel.used) < idle_max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACKS: Acks = Acks::On { delay: Duration::from_secs(2), idle_max: Duration::from_secs(60), pending_max: 2 };

    #[test]
    fn an_id_is_true_once_after_the_delay_and_false_before_and_after() {
        let (mut channels, start) = (Channels::default(), Instant::now());
        let second = |secs| start + Duration::from_secs(secs);
        assert_eq!(channels.issue(ACKS, "a", start), Some(0));
        assert_eq!(channels.issue(ACKS, "a", second(1)), Some(1));
        assert_eq!(channels.issue(ACKS, "b", start), Some(0), "each channel counts from 0");
        assert_eq!(channels.read(ACKS, "a", &[0, 1, 7], second(1)), [(0, false), (1, false), (7, false)]);
        assert_eq!(channels.read(ACKS, "a", &[0, 1], second(2)), [(0, true), (1, false)]);
        assert_eq!(channels.read(ACKS, "a", &[0, 1], second(3)), [(0, false), (1, true)]);
        assert_eq!(channels.read(ACKS, "c", &[0], second(3)), [(0, false)], "a wrong channel is no error");
    }

    #[test]
    fn an_idle_channel_is_forgotten_and_counts_from_zero_again() {
        let (mut channels, start) = (Channels::default(), Instant::now());
        channels.issue(ACKS, "a", start);
        let late = start + Duration::from_secs(60);
        assert_eq!(channels.read(ACKS, "a", &[0], late), [(0, false)]);
        assert_eq!(channels.issue(ACKS, "a", late), Some(0));
    }

    #[test]
    fn a_full_channel_has_no_room_until_its_ids_are_read() {
        let (mut channels, start) = (Channels::default(), Instant::now());
        channels.issue(ACKS, "a", start);
        channels.issue(ACKS, "a", start);
        assert_eq!(channels.has_room(ACKS, "a", start), Err(AtCapacity));
        assert_eq!(channels.has_room(ACKS, "b", start), Ok(()));
        channels.read(ACKS, "a", &[0], start + Duration::from_secs(2));
        assert_eq!(channels.has_room(ACKS, "a", start + Duration::from_secs(2)), Ok(()));
    }
}

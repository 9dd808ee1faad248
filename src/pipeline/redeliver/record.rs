//! A replay as it is written down: what is to be sent, and how far it is.

use serde::{Deserialize, Serialize};

use crate::{
    admin::control::RedeliveryState,
    event::{SinkName, StreamId, TimeRange, Timestamp},
    journal::{Journal, JournalError},
    sink::driver::Tally,
};

const KEY: &str = "redeliver/replays";
/// Version 1. Members are only ever added; a reader that finds another version leaves the replays alone and says so.
const VERSION: u32 = 1;

/// Why there is a replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Reason {
    /// Somebody has asked for it.
    Asked,
    /// The sink is new, and its `start` lies in the past.
    NewSink,
}

/// One replay of one stream to one sink. Times are microseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) id: String,
    pub(super) reason: Reason,
    pub(super) sink: SinkName,
    pub(super) stream: String,
    /// What is to be sent, in order of time, without overlap.
    pub(super) ranges: Vec<(i64, i64)>,
    /// For a new sink on a stream that has not begun: from here to where the stream begins, once that is known.
    pub(super) before_origin: Option<i64>,
    /// The newest position of the journal when it was asked for: what is newer, the sink gets anyway.
    pub(super) until: u64,
    /// From here on the journal has everything; found when the replay begins.
    pub(super) split: Option<i64>,
    /// Up to here the journal's part has its outcome.
    pub(super) journal_at: u64,
    pub(super) is_journal_done: bool,
    /// Up to here Miro's part has its outcome.
    pub(super) miro_at: Option<i64>,
    pub(super) delivered: u64,
    pub(super) filtered: u64,
    pub(super) dead_lettered: u64,
    pub(super) state: RedeliveryState,
    pub(super) note: Option<String>,
}

impl Record {
    /// A replay that has not begun.
    pub(super) fn new(reason: Reason, sink: SinkName, stream: &StreamId, ranges: &[TimeRange], until: u64) -> Self {
        let ranges = ranges.iter().map(|range| (range.from().as_micros(), range.to().as_micros())).collect();
        Self {
            id: format!("replay-{}", super::job::short_id()),
            reason,
            sink,
            stream: stream.to_string(),
            ranges,
            before_origin: None,
            until,
            split: None,
            journal_at: 0,
            is_journal_done: false,
            miro_at: None,
            delivered: 0,
            filtered: 0,
            dead_lettered: 0,
            state: RedeliveryState::Running,
            note: None,
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.state.is_over()
    }

    pub(super) fn stream(&self) -> Option<StreamId> {
        StreamId::parse(&self.stream)
    }

    pub(super) fn tally(&self) -> Tally {
        Tally { delivered: self.delivered, filtered: self.filtered, dead_lettered: self.dead_lettered }
    }

    pub(super) fn set_tally(&mut self, tally: Tally) {
        (self.delivered, self.filtered, self.dead_lettered) = (tally.delivered, tally.filtered, tally.dead_lettered);
    }

    /// The part of what is to be sent that lies in a range of time.
    pub(super) fn part(&self, from: i64, to: i64) -> Vec<TimeRange> {
        let cut = |&(begin, end): &(i64, i64)| {
            TimeRange::new(Timestamp::from_micros(begin.max(from)), Timestamp::from_micros(end.min(to))).filter(|range| !range.is_empty())
        };
        self.ranges.iter().filter_map(cut).collect()
    }

    /// What the journal is asked for.
    pub(super) fn of_journal(&self) -> Vec<TimeRange> {
        self.part(self.split.unwrap_or(i64::MAX), i64::MAX)
    }

    /// What Miro is asked for, from where it stands.
    pub(super) fn of_miro(&self) -> Vec<TimeRange> {
        self.part(self.miro_at.unwrap_or(i64::MIN), self.split.unwrap_or(i64::MAX))
    }
}

#[derive(Serialize, Deserialize)]
struct Written {
    v: u32,
    replays: Vec<Record>,
}

/// The replays of the time before.
pub(super) fn read(journal: &dyn Journal) -> Vec<Record> {
    let Some(stored) = journal.state(KEY) else { return Vec::new() };
    match serde_json::from_slice::<Written>(&stored) {
        Ok(written) if written.v == VERSION => written.replays,
        Ok(written) => {
            tracing::error!(version = written.v, "replays are of another version of miro-siem and do not go on");
            Vec::new()
        }
        Err(error) => {
            tracing::error!(error = %error, "replays cannot be read and do not go on");
            Vec::new()
        }
    }
}

/// Makes them durable.
pub(super) async fn write(journal: &dyn Journal, records: &[Record]) -> Result<(), JournalError> {
    let written = Written { v: VERSION, replays: records.to_vec() };
    // Text, numbers and lists of them: this cannot fail.
    let bytes = serde_json::to_vec(&written).unwrap_or_default();
    journal.put_state(KEY, bytes).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{OrgName, StreamKind};

    fn range(from: i64, to: i64) -> TimeRange {
        TimeRange::new(Timestamp::from_micros(from), Timestamp::from_micros(to)).expect("from <= to")
    }

    #[test]
    fn the_journal_gets_what_is_after_the_split_and_miro_the_rest_from_where_it_stands() {
        let stream = StreamId::new(OrgName::new("acme"), StreamKind::Audit);
        let mut record = Record::new(Reason::Asked, SinkName::new("splunk"), &stream, &[range(10, 20), range(30, 50)], 7);
        record.split = Some(40);
        assert_eq!(record.of_journal(), [range(40, 50)]);
        assert_eq!(record.of_miro(), [range(10, 20), range(30, 40)]);
        record.miro_at = Some(15);
        assert_eq!(record.of_miro(), [range(15, 20), range(30, 40)]);
        record.split = Some(i64::MAX);
        assert_eq!((record.of_journal(), record.of_miro().len()), (vec![], 2));
    }

    #[test]
    fn what_was_written_is_read_by_later_programs() {
        let text = r#"{"v":1,"replays":[{"id":"replay-1","reason":"new_sink","sink":"splunk","stream":"acme/audit","ranges":[[1,2]],"before_origin":null,"until":7,"split":null,"journal_at":0,"is_journal_done":false,"miro_at":null,"delivered":0,"filtered":0,"dead_lettered":0,"state":"running","note":null}]}"#;
        let written: Written = serde_json::from_str(text).expect("readable");
        assert_eq!(serde_json::to_string(&written).expect("text"), text);
    }
}

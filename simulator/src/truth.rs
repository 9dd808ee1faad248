//! What really happened: every event of a stream, when it was created, when it became visible, and its bytes.

use std::sync::Arc;
use std::vec::IntoIter;

use chrono::{DateTime, Utc};

use crate::Simulator;
use crate::config::Stream;
use crate::simulator::Inner;
use crate::timeline::{Entry, Order, Span};

/// One event as it is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TruthEvent {
    /// The id in the bytes; `None` where the record has none.
    pub id: Option<String>,
    /// False for a record without a usable id or time.
    pub decodable: bool,
    /// The creation time that listings filter by: milliseconds for audit events, whole seconds of `actionTime` and `storedAt`.
    pub created_at: DateTime<Utc>,
    /// From when on listings show it.
    pub visible_at: DateTime<Utc>,
    /// The event's JSON object, byte for byte as every listing serves it.
    pub raw: Vec<u8>,
}

/// Walks the truth of a stream without holding all of it. It sees the events that existed when it was made, and
/// perhaps some that were injected since.
#[derive(Debug)]
pub struct TruthIter {
    inner: Arc<Inner>,
    stream: Stream,
    span: Span,
    batch: IntoIter<Entry>,
}

/// So many events are looked up at a time.
const BATCH: usize = 4_096;

impl Simulator {
    /// Every event created in [from, to) and not after the simulator's present moment, visible or not, in order of creation.
    #[must_use]
    pub fn truth(&self, stream: Stream, from: DateTime<Utc>, to: DateTime<Utc>) -> Vec<TruthEvent> {
        self.truth_iter(stream, from, to).collect()
    }

    /// The same, one event at a time.
    #[must_use]
    pub fn truth_iter(&self, stream: Stream, from: DateTime<Utc>, to: DateTime<Utc>) -> TruthIter {
        let inner = Arc::clone(self.inner());
        let after_now_us = inner.now_us() + 1;
        let span = Span {
            from_us: floor(stream, from.timestamp_micros()),
            to_us: floor(stream, to.timestamp_micros()).min(after_now_us),
            past: None,
            order: Order::Ascending,
        };
        inner.catch_up(stream, after_now_us);
        TruthIter { inner, stream, span, batch: Vec::new().into_iter() }
    }
}

/// Bounds of windows count in the precision of the stream's own times.
pub(crate) fn floor(stream: Stream, micros: i64) -> i64 {
    let precision = if stream == Stream::Audit { 1_000 } else { 1_000_000 };
    micros - micros.rem_euclid(precision)
}

impl Iterator for TruthIter {
    type Item = TruthEvent;

    fn next(&mut self) -> Option<TruthEvent> {
        if self.batch.len() == 0 {
            let batch: Vec<Entry> = self.inner.timeline(self.stream).entries(self.span).take(BATCH).collect();
            self.span.past = batch.last().map(|entry| entry.key).or(self.span.past);
            self.batch = batch.into_iter();
        }
        let entry = self.batch.next()?;
        let mut raw = Vec::with_capacity(1_024);
        let renderer = &self.inner.renderer;
        renderer.put(self.stream, &entry, &mut raw);
        let id = renderer.id(self.stream, &entry);
        let decodable = renderer.broken(self.stream, &entry).is_none() && id.is_some();
        let created_us = floor(self.stream, entry.key.at_us);
        Some(TruthEvent { id, decodable, created_at: time(created_us), visible_at: time(entry.visible_us()), raw })
    }
}

fn time(micros: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(micros).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

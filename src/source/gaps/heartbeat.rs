//! The heartbeat of a stream: an event at a fixed interval, so that a receiver can alarm on silence.

use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use super::outline::View;
use crate::{
    event::{StreamId, Timestamp},
    forwarder::{Notice, OwnEvent},
    health::{StreamHealth, StreamPhase},
};

/// When the next one is due, and what the last one said.
#[derive(Debug)]
pub(super) struct Heartbeat {
    every: Duration,
    stream: StreamId,
    due: Instant,
    /// Events collected when the last one was written.
    told: u64,
}

/// `details` of a heartbeat.
#[derive(Serialize)]
struct Details {
    stream: &'static str,
    interval_seconds: u64,
    phase: StreamPhase,
    healthy: bool,
    watermark: String,
    /// Now minus the oldest instant that is missing and can still be collected.
    lag_seconds: f64,
    /// Since the last heartbeat, or since the start.
    events_collected: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<String>,
}

impl Heartbeat {
    /// The first one is due at once.
    pub(super) fn new(every: Duration, stream: StreamId) -> Self {
        Self { every, stream, due: Instant::now(), told: 0 }
    }

    pub(super) fn due_in(&self) -> Duration {
        self.due.saturating_duration_since(Instant::now())
    }

    pub(super) fn event(&self, view: &View<'_>, row: &StreamHealth, ours: Timestamp, org_id: Option<&str>) -> OwnEvent {
        let details = Details {
            stream: self.stream.kind.as_str(),
            interval_seconds: self.every.as_secs(),
            phase: row.phase,
            healthy: row.is_healthy(ours),
            watermark: view.coverage.watermark().to_rfc3339_millis(),
            lag_seconds: view.lag().as_secs_f64(),
            events_collected: row.events_collected.saturating_sub(self.told),
            fault: row.fault.as_ref().map(|fault| fault.message.clone()),
        };
        OwnEvent::new(&Notice { name: "heartbeat", stream: &self.stream, key: &view.now.to_string(), at: view.now }, org_id, &details)
    }

    /// It is durable: the next one follows at the interval, without those that could not be written in between.
    pub(super) fn done(&mut self, row: &StreamHealth) {
        self.told = row.events_collected;
        while self.due <= Instant::now() {
            self.due += self.every;
        }
    }
}

//! Puts the status together and sets the gauges, at each scrape and for each status.

use std::{sync::Arc, time::Duration};

use super::gaps::{Missing, Polled};
use crate::{
    admin::status::{
        BackfillStatus, GapState, JournalStatus, PassStatus, RangeStatus, RequestStatus, SinkStatus, Status, StreamStatus, instant,
    },
    clock::Clock,
    event::{SinkName, StreamId, Timestamp},
    health::{BackfillHealth, Health, PassHealth, RequestHealth, SinkHealth, SinkPhase, StreamHealth},
    journal::{Backlog, Journal},
    metrics::{self, Metrics},
    miro::Pages,
};

/// A sink that is behind by more than this and has delivered nothing for as long is not making progress.
const SINK_STUCK_AFTER: Duration = Duration::from_secs(900);

/// One stream, as the observer knows it.
#[derive(Clone, Debug)]
pub(super) struct ObservedStream {
    pub(super) stream: StreamId,
    pub(super) pages: Arc<dyn Pages>,
    pub(super) polled: Polled,
}

/// Sees the whole pipeline.
#[derive(Clone, Debug)]
pub struct Observer {
    pub(super) journal: Arc<dyn Journal>,
    pub(super) health: Health,
    pub(super) metrics: Metrics,
    pub(super) clock: Clock,
    pub(super) started_at: Timestamp,
    pub(super) streams: Vec<ObservedStream>,
    pub(super) sinks: Vec<(SinkName, Vec<StreamId>)>,
    pub(super) stop: super::Stop,
}

impl Observer {
    /// Everything at this moment.
    pub fn status(&self) -> Status {
        let now = self.clock.now();
        let (streams, sinks) = (self.stream_rows(now), self.sink_rows(now));
        let mut problems: Vec<String> = streams.iter().filter(|row| !row.healthy).map(stream_problem).collect();
        problems.extend(sinks.iter().filter(|row| !row.healthy).map(sink_problem));
        for (name, task) in self.health.tasks() {
            if !task.running && !self.stop.draining().is_cancelled() {
                let fault = task.fault.map(|fault| fault.message).unwrap_or_default();
                problems.push(format!("the task {name} does not run: {fault}"));
            }
        }
        let ready = streams.iter().all(|row| row.last_success.is_some()) && !self.stop.draining().is_cancelled();
        let stats = self.journal.stats();
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            started_at: instant(self.started_at),
            now: instant(now),
            healthy: problems.is_empty(),
            ready,
            problems,
            streams,
            sinks,
            journal: JournalStatus {
                bytes: stats.bytes,
                bytes_max: stats.bytes_max,
                events: stats.events,
                head: stats.head.0,
                quarantined_records: stats.quarantined_records,
            },
        }
    }

    /// The metrics as Prometheus text, with the gauges as they are now.
    pub fn metrics_text(&self) -> String {
        self.set_gauges();
        self.metrics.render()
    }

    fn set_gauges(&self) {
        let (now, health) = (self.clock.now(), self.health.streams());
        for one @ ObservedStream { stream, .. } in &self.streams {
            let row = health.get(stream).cloned().unwrap_or_default();
            self.set_expiry(one);
            let Some(missing) = self.missing(one, &row, now) else { continue };
            self.metrics.stream_gauge(metrics::WATERMARK_LAG, stream).set(missing.lag.as_secs_f64());
            for state in [GapState::Open, GapState::Lost] {
                let secs = missing.total(state).as_secs_f64();
                let labels = [("org", stream.org.as_str()), ("stream", stream.kind.as_str()), ("state", state.as_str())];
                self.metrics.gauge(metrics::GAP_SECONDS, &labels).set(secs);
            }
        }
        for (sink, streams) in &self.sinks {
            let backlog = self.backlog(sink, streams);
            self.metrics.sink_gauge(metrics::SINK_BACKLOG, sink).set(backlog.events as f64);
            self.metrics.sink_gauge(metrics::SINK_OLDEST_AGE, sink).set(age(&backlog, now).as_secs_f64());
        }
        let stats = self.journal.stats();
        self.metrics.gauge(metrics::JOURNAL_BYTES, &[]).set(stats.bytes as f64);
        self.metrics.gauge(metrics::JOURNAL_EVENTS, &[]).set(stats.events as f64);
    }

    /// As the tokens are now, which is before anything has succeeded and after each refresh.
    fn set_expiry(&self, one: &ObservedStream) {
        let known = [(metrics::TOKEN_EXPIRY, one.pages.token_expires_at()), (metrics::GRANT_EXPIRY, one.pages.grant_expires_at())];
        for (metric, time) in known {
            if let Some(time) = time {
                self.metrics.stream_gauge(metric, &one.stream).set(time.as_secs_f64());
            }
        }
    }

    fn stream_rows(&self, now: Timestamp) -> Vec<StreamStatus> {
        let health = self.health.streams();
        self.streams
            .iter()
            .map(|one| {
                let row = health.get(&one.stream).cloned().unwrap_or_default();
                let missing = self.missing(one, &row, now);
                stream_status(one, row, missing.as_ref(), now)
            })
            .collect()
    }

    /// By the server's clock: that is the one which windows follow, and retention.
    fn missing(&self, one: &ObservedStream, row: &StreamHealth, now: Timestamp) -> Option<Missing> {
        Missing::of(&*self.journal, &one.stream, one.polled, row.server_now(now))
    }

    fn sink_rows(&self, now: Timestamp) -> Vec<SinkStatus> {
        let health = self.health.sinks();
        self.sinks
            .iter()
            .map(|(sink, streams)| {
                let row = health.get(sink).cloned().unwrap_or_default();
                let is_stuck = streams.iter().any(|stream| self.is_stuck(sink, stream, &row, now));
                sink_status(sink, row, &self.backlog(sink, streams), is_stuck, now)
            })
            .collect()
    }

    /// Whether a stream's events have waited long for this sink, and it has taken none of that stream for as long.
    fn is_stuck(&self, sink: &SinkName, stream: &StreamId, row: &SinkHealth, now: Timestamp) -> bool {
        let waits = age(&self.journal.backlog(sink, stream), now) > SINK_STUCK_AFTER;
        waits && row.stream_success.get(stream).is_none_or(|last| now.since(*last) > SINK_STUCK_AFTER)
    }

    /// What a sink has yet to deliver, over all its streams.
    fn backlog(&self, sink: &SinkName, streams: &[StreamId]) -> Backlog {
        streams.iter().map(|stream| self.journal.backlog(sink, stream)).fold(Backlog::default(), |sum, one| Backlog {
            events: sum.events + one.events,
            oldest_collected_at: match (sum.oldest_collected_at, one.oldest_collected_at) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            },
        })
    }
}

fn age(backlog: &Backlog, now: Timestamp) -> Duration {
    backlog.oldest_collected_at.map_or(Duration::ZERO, |oldest| now.since(oldest))
}

fn stream_status(one: &ObservedStream, row: StreamHealth, missing: Option<&Missing>, now: Timestamp) -> StreamStatus {
    let ObservedStream { stream, pages, .. } = one;
    let coverage = missing.map(|missing| &missing.coverage);
    let (token, grant) = (pages.token_expires_at(), pages.grant_expires_at());
    let ranges = coverage.map(|coverage| coverage.ranges().to_vec()).unwrap_or_default();
    StreamStatus {
        org: stream.org.to_string(),
        stream: stream.kind.to_string(),
        phase: row.phase,
        healthy: row.is_healthy(now),
        origin: coverage.map(|coverage| instant(coverage.origin())),
        watermark: coverage.map(|coverage| instant(coverage.watermark())),
        lag_secs: missing.map(|missing| missing.lag.as_secs_f64()),
        coverage: ranges.iter().map(|range| RangeStatus { from: instant(range.from()), to: instant(range.to()) }).collect(),
        gaps: missing.map(Missing::gaps).unwrap_or_default(),
        gaps_ended: missing.map(Missing::ended).unwrap_or_default(),
        last_success: row.last_success.map(instant),
        events_collected: row.events_collected,
        quota_remaining_credits: pages.quota().remaining.map(u64::from),
        token_expires_at: token.map(instant),
        token_days_left: token.map(|time| days_until(time, now)),
        grant_expires_at: grant.map(instant),
        grant_days_left: grant.map(|time| days_until(time, now)),
        fault: row.fault,
        backfill: backfill_status(row.backfill),
        reconcile: row.reconcile.into_iter().map(pass_status).collect(),
    }
}

fn backfill_status(health: BackfillHealth) -> BackfillStatus {
    let request = |one: RequestHealth| RequestStatus {
        id: one.id,
        from: instant(one.range.from()),
        to: instant(one.range.to()),
        missing_secs: one.missing.as_secs_f64(),
        events: one.events,
    };
    BackfillStatus {
        missing_secs: health.missing.as_secs_f64(),
        windows: health.windows,
        set_aside: health.set_aside,
        requests: health.requests.into_iter().map(request).collect(),
        fault: health.fault,
    }
}

fn pass_status(health: PassHealth) -> PassStatus {
    PassStatus { after_secs: health.after.as_secs_f64(), up_to: instant(health.up_to), fault: health.fault }
}

/// To a hundredth of a day, which is a quarter of an hour; negative where it is past.
fn days_until(time: Timestamp, now: Timestamp) -> f64 {
    let days = (time.as_secs_f64() - now.as_secs_f64()) / 86_400.0;
    (days * 100.0).round() / 100.0
}

fn sink_status(sink: &SinkName, row: SinkHealth, backlog: &Backlog, is_stuck: bool, now: Timestamp) -> SinkStatus {
    let age = age(backlog, now);
    SinkStatus {
        name: sink.to_string(),
        phase: row.phase,
        paused: row.phase == SinkPhase::Paused,
        healthy: row.phase != SinkPhase::Paused && !is_stuck,
        backlog_events: backlog.events,
        oldest_event_age_secs: age.as_secs_f64(),
        events_delivered: row.events_delivered,
        events_dead_lettered: row.events_dead_lettered,
        last_success: row.last_success.map(instant),
        fault: row.fault,
    }
}

fn stream_problem(row: &StreamStatus) -> String {
    let why = row.fault.as_ref().map_or("it has not finished a window for three poll intervals", |fault| &fault.message);
    format!("the stream {}/{} makes no progress: {why}", row.org, row.stream)
}

fn sink_problem(row: &SinkStatus) -> String {
    let why = row.fault.as_ref().map_or("it has delivered nothing for 15 minutes", |fault| &fault.message);
    format!("the sink {} makes no progress: {why}", row.name)
}

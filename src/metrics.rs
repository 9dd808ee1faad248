//! The metrics, by name: one table that the code, the documents and the tests share.
//!
//! The recorder is passed in, not global, so that two pipelines in one process do not mix.

use std::{fmt, sync::Arc};

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Label, Level, Metadata, Recorder, SharedString, Unit};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use crate::event::{SinkName, StreamId};

/// What a metric measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// How many values fell below each of some bounds.
    Histogram,
}

/// One row of the metrics table.
#[derive(Clone, Copy, Debug)]
pub struct Definition {
    /// The name in the Prometheus text.
    pub name: &'static str,
    /// Counter, gauge or histogram.
    pub kind: Kind,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it says, in one sentence.
    pub help: &'static str,
}

macro_rules! definitions {
    ($($constant:ident = $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(#[doc = $help] pub const $constant: &str = $name;)*
        /// Every metric of the program.
        pub const DEFINITIONS: &[Definition] = &[$(Definition { name: $name, kind: Kind::$kind, labels: &[$($label),*], help: $help }),*];
    };
}

definitions! {
    EVENTS_COLLECTED = Counter "miro_siem_events_collected_total" ["org", "stream"] "Events that were new and are in the journal.";
    EVENTS_DUPLICATE = Counter "miro_siem_events_duplicate_total" ["org", "stream"] "Events that Miro listed again and that were left out.";
    EVENTS_LATE = Counter "miro_siem_events_late_total" ["org", "stream"] "Events that turned up in a range that had been collected before.";
    EVENT_LATENESS = Histogram "miro_siem_event_lateness_seconds" ["org", "stream"] "How long after they happened late events were collected.";
    EVENTS_UNDECODABLE = Counter "miro_siem_events_undecodable_total" ["org", "stream"] "Records without a readable id or time; delivered all the same.";
    REQUESTS = Counter "miro_siem_requests_total" ["org", "stream", "status"] "Requests to Miro by HTTP status, or by the kind of failure where there was none.";
    WATERMARK_LAG = Gauge "miro_siem_watermark_lag_seconds" ["org", "stream"] "Now minus the time up to which the stream is collected without a hole.";
    LAST_SUCCESS = Gauge "miro_siem_last_success_timestamp_seconds" ["org", "stream"] "When the stream last finished a window.";
    QUOTA_REMAINING = Gauge "miro_siem_quota_remaining_credits" ["org"] "Credits that Miro says are left in this minute.";
    GAP_SECONDS = Gauge "miro_siem_gap_seconds" ["org", "stream", "state"] "Seconds that are not collected: open where they are overdue and can still be, lost where they lie past the retention of Miro's log.";
    EVENTS_DELIVERED = Counter "miro_siem_events_delivered_total" ["sink", "stream"] "Events that the receiver has accepted.";
    EVENTS_DEAD_LETTERED = Counter "miro_siem_events_dead_lettered_total" ["sink", "stream"] "Events that were set aside as dead letters.";
    EVENTS_FILTERED = Counter "miro_siem_events_filtered_total" ["sink", "stream"] "Events that the sink's filter left out.";
    EVENTS_WITHOUT_OUTCOME = Counter "miro_siem_events_without_outcome_total" ["sink", "stream"] "Events that left the driver without an outcome, or with two; always 0, else a defect.";
    EVENTS_REPLAYED = Counter "miro_siem_events_replayed_total" ["sink", "stream", "result"] "Events that were sent again by a replay, by result: delivered, filtered, dead_lettered.";
    DEAD_LETTERS_RETRIED = Counter "miro_siem_dead_letters_retried_total" ["sink", "stream", "result"] "Dead letters that were sent again, by result: delivered, filtered, refused.";
    DEAD_LETTERS_DROPPED = Counter "miro_siem_dead_letters_dropped_total" ["sink"] "Dead letters that a person has thrown away.";
    DEAD_LETTER_BYTES = Gauge "miro_siem_dead_letter_bytes" ["sink"] "Bytes of the sink's dead letters on disk; at state.dead_letters_max the sink pauses.";
    FILTER_ERRORS = Counter "miro_siem_filter_errors_total" ["sink", "stream"] "Events on which the sink's filter expression failed; delivered all the same.";
    EVENTS_UNMAPPED = Counter "miro_siem_events_unmapped_total" ["sink", "stream"] "Events that the sink's format has no class for; delivered as events of unknown kind.";
    POSSIBLE_DUPLICATES = Counter "miro_siem_possible_duplicates_total" ["sink", "stream"] "Events that were sent again although they may have arrived.";
    SINK_BACKLOG = Gauge "miro_siem_sink_backlog_events" ["sink"] "Events that the sink has yet to deliver.";
    SINK_OLDEST_AGE = Gauge "miro_siem_sink_oldest_event_age_seconds" ["sink"] "Age of the oldest event that the sink has yet to deliver, since it was collected.";
    SINK_PAUSED = Gauge "miro_siem_sink_paused" ["sink"] "1 while the sink is paused by an authentication or configuration fault.";
    SINK_ERRORS = Counter "miro_siem_sink_errors_total" ["sink", "class"] "Failed deliveries by class.";
    JOURNAL_BYTES = Gauge "miro_siem_journal_bytes" [] "Bytes of the journal on disk.";
    JOURNAL_EVENTS = Gauge "miro_siem_journal_events" [] "Events that are still in the journal.";
    TOKEN_EXPIRY = Gauge "miro_siem_token_expiry_timestamp_seconds" ["org", "stream"] "When the stream's access token expires; absent for tokens that do not.";
    GRANT_EXPIRY = Gauge "miro_siem_grant_expiry_timestamp_seconds" ["org", "stream"] "When a person has to authorise the app again, unless its token is refreshed before: 60 days after the newest refresh. Absent for tokens that do not expire.";
    TASK_RESTARTS = Counter "miro_siem_task_restarts_total" ["task"] "Tasks that failed and were started again.";
}

/// The bounds of the lateness: a minute to a month, with the default delays of reconcile among them.
const LATENESS_SECS: [f64; 12] =
    [60.0, 300.0, 900.0, 1_800.0, 3_600.0, 7_200.0, 21_600.0, 86_400.0, 172_800.0, 604_800.0, 1_209_600.0, 2_592_000.0];

fn recorder() -> PrometheusRecorder {
    let lateness = Matcher::Full(EVENT_LATENESS.to_owned());
    let builder = PrometheusBuilder::new().set_buckets_for_metric(lateness, &LATENESS_SECS);
    // The builder refuses only an empty list of bounds.
    builder.unwrap_or_default().build_recorder()
}

/// Hands out counters and gauges, and prints them all.
#[derive(Clone)]
pub struct Metrics {
    recorder: Arc<PrometheusRecorder>,
    handle: PrometheusHandle,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// An empty set of metrics.
    pub fn new() -> Self {
        let recorder = recorder();
        for definition in DEFINITIONS {
            let (name, help) = (KeyName::from_const_str(definition.name), SharedString::const_str(definition.help));
            match definition.kind {
                Kind::Counter => recorder.describe_counter(name, None::<Unit>, help),
                Kind::Gauge => recorder.describe_gauge(name, None::<Unit>, help),
                Kind::Histogram => recorder.describe_histogram(name, None::<Unit>, help),
            }
        }
        let handle = recorder.handle();
        Self { recorder: Arc::new(recorder), handle }
    }

    /// A counter of that name with those labels.
    pub fn counter(&self, name: &'static str, labels: &[(&'static str, &str)]) -> Counter {
        self.recorder.register_counter(&key(name, labels), &Metadata::new(module_path!(), Level::INFO, None))
    }

    /// A gauge of that name with those labels.
    pub fn gauge(&self, name: &'static str, labels: &[(&'static str, &str)]) -> Gauge {
        self.recorder.register_gauge(&key(name, labels), &Metadata::new(module_path!(), Level::INFO, None))
    }

    /// A histogram of a stream.
    pub fn stream_histogram(&self, name: &'static str, stream: &StreamId) -> Histogram {
        let labels = [("org", stream.org.as_str()), ("stream", stream.kind.as_str())];
        self.recorder.register_histogram(&key(name, &labels), &Metadata::new(module_path!(), Level::INFO, None))
    }

    /// Sorts what histograms have been told into their buckets. Until then each value is kept, so somebody has to call this now and then.
    pub fn settle(&self) {
        self.handle.run_upkeep();
    }

    /// A counter of a stream.
    pub fn stream_counter(&self, name: &'static str, stream: &StreamId) -> Counter {
        self.counter(name, &[("org", stream.org.as_str()), ("stream", stream.kind.as_str())])
    }

    /// A gauge of a stream.
    pub fn stream_gauge(&self, name: &'static str, stream: &StreamId) -> Gauge {
        self.gauge(name, &[("org", stream.org.as_str()), ("stream", stream.kind.as_str())])
    }

    /// A counter of what a sink did with a stream's events.
    pub fn sink_counter(&self, name: &'static str, sink: &SinkName, stream: &StreamId) -> Counter {
        self.counter(name, &[("sink", sink.as_str()), ("stream", stream.kind.as_str())])
    }

    /// A gauge of a sink.
    pub fn sink_gauge(&self, name: &'static str, sink: &SinkName) -> Gauge {
        self.gauge(name, &[("sink", sink.as_str())])
    }

    /// All of them in the Prometheus text format.
    pub fn render(&self) -> String {
        self.handle.render()
    }
}

fn key(name: &'static str, labels: &[(&'static str, &str)]) -> Key {
    Key::from_parts(name, labels.iter().map(|(label, value)| Label::new(*label, (*value).to_owned())).collect::<Vec<_>>())
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_print_with_their_labels_and_help() {
        let metrics = Metrics::new();
        metrics.counter(EVENTS_DELIVERED, &[("sink", "splunk"), ("stream", "audit")]).increment(3);
        let text = metrics.render();
        assert!(text.contains("miro_siem_events_delivered_total{sink=\"splunk\",stream=\"audit\"} 3"), "{text}");
        assert!(text.contains("# TYPE miro_siem_events_delivered_total counter"), "{text}");
    }

    /// The table of docs/metrics.md, as the code has it.
    fn table() -> String {
        let row = |one: &Definition| {
            let labels = if one.labels.is_empty() { "none".to_owned() } else { one.labels.join(", ") };
            format!("| `{}` | {} | {labels} | {} |\n", one.name, format!("{:?}", one.kind).to_lowercase(), one.help)
        };
        DEFINITIONS.iter().map(row).collect()
    }

    #[test]
    fn the_documented_metrics_are_those_of_the_code() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
        let written = std::fs::read_to_string(path).expect("docs/metrics.md can be read");
        let rows: String = written.lines().filter(|line| line.starts_with("| `miro_siem_")).map(|line| format!("{line}\n")).collect();
        assert_eq!(rows, table(), "docs/metrics.md is stale; its rows should be those on the right");
    }

    #[test]
    fn lateness_is_counted_by_bounds_from_a_minute_to_a_month() {
        let metrics = Metrics::new();
        let stream = StreamId::parse("acme/audit").expect("a stream");
        metrics.stream_histogram(EVENT_LATENESS, &stream).record(4_000.0);
        metrics.settle();
        let text = metrics.render();
        let line = |bound: &str, count: u32| {
            format!("miro_siem_event_lateness_seconds_bucket{{org=\"acme\",stream=\"audit\",le=\"{bound}\"}} {count}\n")
        };
        assert!(text.contains("# TYPE miro_siem_event_lateness_seconds histogram"), "{text}");
        assert!(text.contains(&line("60", 0)) && text.contains(&line("3600", 0)) && text.contains(&line("7200", 1)), "{text}");
        assert!(text.contains(&line("2592000", 1)), "{text}");
    }

    #[test]
    fn two_sets_of_metrics_do_not_mix() {
        let (one, other) = (Metrics::new(), Metrics::new());
        one.gauge(JOURNAL_BYTES, &[]).set(5.0);
        assert!(one.render().contains("miro_siem_journal_bytes 5"));
        assert!(!other.render().contains("miro_siem_journal_bytes 5"));
    }
}

//! From settings to a sink: the one place that knows every kind.

use std::{io, sync::Arc, time::Duration};

use thiserror::Error;

use super::{
    Sink,
    azure_monitor::{self, AzureMonitorSink},
    driver::Limits,
    elasticsearch::{self, ElasticsearchSink},
    file::{FileSink, FileSinkError},
    http,
    http_webhook::{self, HttpWebhookSink},
    nats::{self, NatsSink},
    otlp::{self, OtlpSink},
    s3::{self, S3Sink},
    splunk_hec::{self, SplunkHecSink},
    stdout::StdoutSink,
    sumo::{self, SumoSink},
    syslog::SyslogSink,
};
use crate::{
    config::settings::{IndexerAck, Provenance, SinkKindSettings, SinkSettings},
    event::SinkName,
    net::TlsError,
    transform::{RedactionError, TransformSettings},
};

/// A sink, and how its driver is to treat it.
#[derive(Debug)]
pub struct Built {
    /// The sink.
    pub sink: Arc<dyn Sink>,
    /// How much it is sent at once, and how long things may take.
    pub limits: Limits,
    /// What it is sent.
    pub transform: TransformSettings,
}

/// Why a sink could not be made.
#[derive(Debug, Error)]
pub enum BuildError {
    /// TLS could not be set up.
    #[error("sinks.{sink}: {source}")]
    Tls {
        /// The sink.
        sink: SinkName,
        /// What failed.
        source: TlsError,
    },
    /// A file sink's path or compression makes no sense.
    #[error("sinks.{sink}: {source}")]
    File {
        /// The sink.
        sink: SinkName,
        /// What is wrong with it.
        source: FileSinkError,
    },
    /// The operating system refused something.
    #[error("sinks.{sink}: failed to {action}: {source}")]
    Io {
        /// The sink.
        sink: SinkName,
        /// What was being done.
        action: &'static str,
        /// Its answer.
        source: io::Error,
    },
    /// An HTTP sink's settings do not work.
    #[error("sinks.{sink}: {source}")]
    Http {
        /// The sink.
        sink: SinkName,
        /// What is wrong.
        source: http::BuildError,
    },
    /// What should be taken out of events cannot be.
    #[error("sinks.{sink}.redact: {source}")]
    Redaction {
        /// The sink.
        sink: SinkName,
        /// What is wrong.
        source: RedactionError,
    },
}

/// What a kind of sink is sent at once where the configuration does not say.
struct Defaults {
    events_max: usize,
    bytes_max: usize,
    /// How long a delivery may take beyond `timeout`, such as for a receiver's later acknowledgement.
    extra_time: Duration,
    /// Whether the record itself carries our provenance if it is on: not where it travels beside it.
    in_record: Provenance,
}

/// Large enough that a synced write per batch does not matter, small enough that two of them in memory do not either.
const LINES: Defaults = Defaults { events_max: 2_000, bytes_max: 2 << 20, extra_time: Duration::ZERO, in_record: Provenance::On };

/// Makes a sink. Reads certificates where there are any; connects to nobody.
pub fn build(settings: &SinkSettings) -> Result<Built, BuildError> {
    let sink_name = || settings.name.clone();
    let http = |source| BuildError::Http { sink: sink_name(), source };
    let (sink, defaults): (Arc<dyn Sink>, Defaults) = match &settings.kind {
        SinkKindSettings::Stdout => {
            let sink = StdoutSink::new().map_err(|source| BuildError::Io { sink: sink_name(), action: "start a thread", source })?;
            (Arc::new(sink), LINES)
        }
        SinkKindSettings::File(file) => {
            let sink = FileSink::new(file).map_err(|source| BuildError::File { sink: sink_name(), source })?;
            (Arc::new(sink), LINES)
        }
        SinkKindSettings::SplunkHec(hec) => {
            let sink = SplunkHecSink::new(hec.clone(), connection(settings), settings.provenance).map_err(http)?;
            let extra_time = if hec.ack == IndexerAck::On { hec.ack_timeout } else { Duration::ZERO };
            (Arc::new(sink), http_defaults(splunk_hec::DEFAULT_BATCH_EVENTS, splunk_hec::DEFAULT_BATCH_BYTES, extra_time, Provenance::Off))
        }
        SinkKindSettings::AzureMonitor(azure) => {
            let sink = AzureMonitorSink::new(azure.clone(), &connection(settings)).map_err(http)?;
            // A token before the request, both once more after a refused token, and the request in part where it spans too much time.
            let tokens = settings.timeout * 4;
            (Arc::new(sink), http_defaults(azure_monitor::DEFAULT_BATCH_EVENTS, azure_monitor::DEFAULT_BATCH_BYTES, tokens, Provenance::On))
        }
        SinkKindSettings::Sumo(sumo) => {
            let sink = SumoSink::new(sumo.clone(), &connection(settings)).map_err(http)?;
            (Arc::new(sink), http_defaults(sumo::DEFAULT_BATCH_EVENTS, sumo::DEFAULT_BATCH_BYTES, Duration::ZERO, Provenance::On))
        }
        SinkKindSettings::HttpWebhook(webhook) => {
            let sink = HttpWebhookSink::new(webhook.clone(), &connection(settings)).map_err(http)?;
            let (events_max, bytes_max) = (http_webhook::DEFAULT_BATCH_EVENTS, http_webhook::DEFAULT_BATCH_BYTES);
            (Arc::new(sink), http_defaults(events_max, bytes_max, Duration::ZERO, Provenance::On))
        }
        SinkKindSettings::Elasticsearch(elastic) => {
            let sink = ElasticsearchSink::new(elastic.clone(), &connection(settings)).map_err(http)?;
            let (events_max, bytes_max) = (elasticsearch::DEFAULT_BATCH_EVENTS, elasticsearch::DEFAULT_BATCH_BYTES);
            (Arc::new(sink), http_defaults(events_max, bytes_max, Duration::ZERO, Provenance::On))
        }
        SinkKindSettings::Nats(nats) => {
            let sink = NatsSink::new(nats.clone(), &settings.tls, settings.timeout)
                .map_err(|source| BuildError::Tls { sink: sink_name(), source })?;
            let connecting = settings.timeout;
            (Arc::new(sink), http_defaults(nats::DEFAULT_BATCH_EVENTS, nats::DEFAULT_BATCH_BYTES, connecting, Provenance::On))
        }
        SinkKindSettings::Otlp(otlp) => {
            let sink = OtlpSink::new(otlp.clone(), &connection(settings), settings.provenance).map_err(http)?;
            (Arc::new(sink), http_defaults(otlp::DEFAULT_BATCH_EVENTS, otlp::DEFAULT_BATCH_BYTES, Duration::ZERO, Provenance::Off))
        }
        SinkKindSettings::S3(s3) => {
            let sink = S3Sink::new(s3.clone(), &connection(settings)).map_err(http)?;
            // Several objects, and a look before each where one may be there.
            let more_requests = settings.timeout * 2;
            (Arc::new(sink), http_defaults(s3::DEFAULT_BATCH_EVENTS, s3::DEFAULT_BATCH_BYTES, more_requests, Provenance::On))
        }
        SinkKindSettings::Syslog(syslog) => {
            let sink = SyslogSink::new(syslog, &settings.tls, settings.provenance)
                .map_err(|source| BuildError::Tls { sink: sink_name(), source })?;
            (Arc::new(sink.with_format(settings.format).with_timeout(settings.timeout)), LINES)
        }
    };
    Ok(Built { sink, limits: limits(settings, &defaults), transform: transform(settings, &defaults)? })
}

fn connection(settings: &SinkSettings) -> http::Connection {
    http::Connection { tls: settings.tls.clone(), timeout: settings.timeout }
}

fn http_defaults(events_max: usize, bytes_max: usize, extra_time: Duration, in_record: Provenance) -> Defaults {
    Defaults { events_max, bytes_max, extra_time, in_record }
}

fn limits(settings: &SinkSettings, defaults: &Defaults) -> Limits {
    Limits {
        events_max: settings.batch_events_max.unwrap_or(defaults.events_max),
        bytes_max: settings.batch_bytes_max.unwrap_or(defaults.bytes_max),
        flush_interval: settings.flush_interval,
        deliver_timeout: settings.timeout + defaults.extra_time,
        retry_initial: settings.retry_initial,
        retry_max: settings.retry_max,
        probe_initial: Limits::PROBE_INITIAL,
        probe_max: Limits::PROBE_MAX,
    }
}

fn transform(settings: &SinkSettings, defaults: &Defaults) -> Result<TransformSettings, BuildError> {
    let provenance = match defaults.in_record {
        Provenance::On => settings.provenance,
        Provenance::Off => Provenance::Off,
    };
    let transform = TransformSettings::of(settings).map_err(|source| BuildError::Redaction { sink: settings.name.clone(), source })?;
    Ok(TransformSettings { provenance, ..transform })
}

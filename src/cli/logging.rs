//! Logs: to stderr, as text on a terminal and as JSON elsewhere.
//!
//! What libraries log is held at INFO, whatever the level: below it, HTTP and TLS libraries print what they send.

use std::io::IsTerminal;

use tracing::{Level, Metadata};
use tracing_subscriber::{EnvFilter, Layer, filter::filter_fn, layer::SubscriberExt, util::SubscriberInitExt};

use super::{LogFormat, LogOptions};

/// Sets logging up for the process.
pub(super) fn init(options: &LogOptions, default_level: &str) -> Result<(), String> {
    let level = options.log_level.as_deref().unwrap_or(default_level);
    let wanted = EnvFilter::builder().parse(level).map_err(|error| format!("--log-level {level}: {error}; try `info` or `debug`"))?;
    let text = match options.log_format {
        LogFormat::Auto => std::io::stderr().is_terminal(),
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let layer = if text { layer.with_ansi(std::io::stderr().is_terminal()).boxed() } else { layer.json().flatten_event(true).boxed() };
    let subscriber = tracing_subscriber::registry().with(layer.with_filter(filter_fn(is_ours_or_harmless)).with_filter(wanted));
    subscriber.try_init().map_err(|error| error.to_string())
}

fn is_ours_or_harmless(metadata: &Metadata<'_>) -> bool {
    let target = metadata.target();
    target == "miro_siem" || target.starts_with("miro_siem::") || *metadata.level() <= Level::INFO
}

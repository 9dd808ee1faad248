//! Logs: to stderr, as text on a terminal and as JSON elsewhere. Their level can be changed while the process runs.
//!
//! What libraries log is held at INFO, whatever the level: below it, HTTP and TLS libraries print what they send.

use std::{
    fmt,
    io::IsTerminal,
    sync::{Arc, Mutex, PoisonError},
};

use tracing::{Level, Metadata};
use tracing_subscriber::{EnvFilter, Layer, filter::filter_fn, layer::SubscriberExt, reload, util::SubscriberInitExt};

use super::{LogFormat, LogOptions};
use crate::admin::control::{LogDirectives, LogLevel};

/// Longer than anybody writes by hand.
const DIRECTIVES_CHARS_MAX: usize = 1_000;

/// Sets logging up for the process.
pub(super) fn init(options: &LogOptions, default_level: &str) -> Result<Arc<dyn LogLevel>, String> {
    let level = options.log_level.as_deref().unwrap_or(default_level);
    let wanted = filter(level).map_err(|error| format!("--log-level {level}: {error}"))?;
    let text = match options.log_format {
        LogFormat::Auto => std::io::stderr().is_terminal(),
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let layer = if text { layer.with_ansi(std::io::stderr().is_terminal()).boxed() } else { layer.json().flatten_event(true).boxed() };
    let (wanted, handle) = reload::Layer::new(wanted);
    let subscriber = tracing_subscriber::registry().with(layer.with_filter(filter_fn(is_ours_or_harmless)).with_filter(wanted));
    subscriber.try_init().map_err(|error| error.to_string())?;
    let apply = move |filter| handle.reload(filter).map_err(|error| error.to_string());
    Ok(Arc::new(Changeable { apply: Box::new(apply), started_with: level.to_owned(), current: Mutex::new(level.to_owned()) }))
}

fn is_ours_or_harmless(metadata: &Metadata<'_>) -> bool {
    let target = metadata.target();
    target == "miro_siem" || target.starts_with("miro_siem::") || *metadata.level() <= Level::INFO
}

fn filter(directives: &str) -> Result<EnvFilter, String> {
    EnvFilter::builder().with_regex(false).parse(directives).map_err(|error| format!("{error}; try `info` or `debug`"))
}

/// Puts a filter in the place of the former one.
type Apply = Box<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>;

/// The level of this process.
struct Changeable {
    apply: Apply,
    started_with: String,
    current: Mutex<String>,
}

impl Changeable {
    fn told(&self, current: &str) -> LogDirectives {
        LogDirectives { directives: current.to_owned(), started_with: self.started_with.clone() }
    }

    fn put(&self, current: &mut String, directives: String) -> Result<LogDirectives, String> {
        (self.apply)(filter(&directives)?)?;
        // At WARN, which is logged at any level that anybody means: the log itself has to say why it becomes silent or loud.
        tracing::warn!(from = %current, to = %directives, "the log level was changed");
        *current = directives;
        Ok(self.told(current))
    }
}

impl LogLevel for Changeable {
    fn directives(&self) -> LogDirectives {
        self.told(&self.current.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn set(&self, directives: &str) -> Result<LogDirectives, String> {
        if directives.trim().is_empty() || directives.chars().count() > DIRECTIVES_CHARS_MAX {
            return Err(format!("give a level such as `debug`, or directives of at most {DIRECTIVES_CHARS_MAX} characters"));
        }
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = over(&current, directives);
        self.put(&mut current, wanted)
    }

    fn reset(&self) -> LogDirectives {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let started_with = self.started_with.clone();
        match self.put(&mut current, started_with) {
            Ok(told) => told,
            Err(error) => {
                tracing::error!(%error, "failed to change the log level back");
                self.told(&current)
            }
        }
    }
}

impl fmt::Debug for Changeable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Changeable").field("started_with", &self.started_with).finish_non_exhaustive()
    }
}

/// The directives that hold when `wanted` is asked for. With a level for everything in it, it stands alone; for single modules only, it is
/// put over what holds: by themselves, such directives would silence all the others.
fn over(current: &str, wanted: &str) -> String {
    let parts = |text: &str| text.split(',').map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect::<Vec<_>>();
    let (held, wanted) = (parts(current), parts(wanted));
    let is_general = |part: &String| !part.contains(['=', ':', '[']) && part.parse::<tracing::level_filters::LevelFilter>().is_ok();
    if wanted.iter().any(is_general) {
        return wanted.join(",");
    }
    let module = |part: &str| part.split('=').next().unwrap_or_default().to_owned();
    let kept = held.into_iter().filter(|part| is_general(part) || !wanted.iter().any(|new| module(new) == module(part)));
    kept.chain(wanted.iter().cloned()).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directives_for_modules_are_put_over_what_holds() {
        for (held, wanted, expected) in [
            ("info", "debug", "debug"),
            ("info", "warn,miro_siem::sink=debug", "warn,miro_siem::sink=debug"),
            ("info", "miro_siem::sink=debug", "info,miro_siem::sink=debug"),
            ("info,miro_siem::sink=debug", "miro_siem::sink=trace", "info,miro_siem::sink=trace"),
            ("info,miro_siem::sink=debug", " miro_siem::source=trace ,", "info,miro_siem::sink=debug,miro_siem::source=trace"),
            ("info,miro_siem::sink=debug", "info", "info"),
            ("warn", "miro_siem::sink", "warn,miro_siem::sink"),
        ] {
            assert_eq!(over(held, wanted), expected, "{wanted} over {held}");
        }
    }

    fn changeable(applied: &Arc<Mutex<Vec<String>>>) -> Changeable {
        let applied = applied.clone();
        let apply = move |filter: EnvFilter| {
            applied.lock().expect("no panic").push(filter.to_string());
            Ok(())
        };
        Changeable { apply: Box::new(apply), started_with: "info".to_owned(), current: Mutex::new("info".to_owned()) }
    }

    #[test]
    fn a_level_that_is_none_changes_nothing_and_a_reset_goes_back() {
        let applied = Arc::default();
        let log = changeable(&applied);
        for wrong in ["", " ", "miro_siem=loud", "a=b=c", &"x".repeat(2_000)] {
            assert!(log.set(wrong).is_err(), "{wrong}");
        }
        assert!(applied.lock().expect("no panic").is_empty());
        assert_eq!(log.set("miro_siem::sink=debug").expect("directives").directives, "info,miro_siem::sink=debug");
        let back = log.reset();
        assert_eq!((back.directives.as_str(), back.started_with.as_str()), ("info", "info"));
        assert_eq!(applied.lock().expect("no panic").len(), 2);
    }
}

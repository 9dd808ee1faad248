//! `miro-siem run`: the daemon.

use std::sync::Arc;

use anyhow::Context;

use super::{ConfigOption, Exit, LogOptions, fail, logging, report};
use crate::{
    admin::control::LogLevel,
    config::{self, Environment},
    pipeline::{self, Outcome, Signals, Stop},
};

pub(super) fn run(options: &ConfigOption, log: &LogOptions) -> Exit {
    let log = match logging::init(log, "info") {
        Ok(log) => log,
        Err(problem) => {
            report(&format!("error: {problem}"));
            return Exit::Usage;
        }
    };
    let loaded = match config::load(options.config.as_deref(), &Environment::of_process()) {
        Ok(loaded) => loaded,
        Err(problems) => {
            report(&problems.to_string());
            return Exit::Usage;
        }
    };
    for warning in &loaded.warnings {
        tracing::warn!(problem = %warning, "configuration");
    }
    match super::runtime().context("failed to start the runtime").and_then(|runtime| runtime.block_on(serve(loaded.settings, log))) {
        Ok(Outcome::Drained) => Exit::Fine,
        Ok(Outcome::Undelivered) => Exit::Partly,
        Err(error) => fail(&error),
    }
}

async fn serve(settings: config::Settings, log: Arc<dyn LogLevel>) -> anyhow::Result<Outcome> {
    let stop = Stop::new();
    let signals = Signals::listen().context("failed to listen for signals")?;
    let driving = tokio::spawn(signals.drive(stop.clone()));
    let outcome = pipeline::run(pipeline::Parts { log: Some(log), ..pipeline::Parts::new(settings) }, stop).await?;
    driving.abort();
    Ok(outcome)
}

//! The deliveries that a person asks for, without a daemon: sinks and journal as the daemon has them, and nobody who collects.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::{
    RunError,
    assembly::{self, Shared},
    redeliver::{self, Delivery, Redeliver},
    run::{open_journal, sink_states},
};
use crate::{clock::Clock, config::Settings, health::Health, journal::Journal, metrics::Metrics, sink::driver::SinkState};

/// It owns the state directory as long as it is there, as a daemon would.
#[derive(Debug)]
pub struct Alone {
    redeliver: Redeliver,
    journal: Arc<dyn Journal>,
    sinks: Vec<Arc<SinkState>>,
    stop: CancellationToken,
}

impl Alone {
    /// Takes the state directory and makes the sinks. Sends nothing yet, and leaves the replays of the daemon alone.
    ///
    /// # Errors
    /// If a daemon has the state directory, or a sink cannot be made.
    pub async fn open(settings: &Settings) -> Result<Self, RunError> {
        let shared = Shared { clock: Clock::system(), health: Health::new(), metrics: Metrics::new() };
        let journal: Arc<dyn Journal> = open_journal(settings).await?;
        let streams = assembly::streams(settings, &shared)?;
        let sinks = assembly::sinks(&settings.sinks)?;
        let routes = assembly::routes(&streams, &sinks);
        let states = sink_states(settings, &sinks, &shared)?;
        let stop = CancellationToken::new();
        let delivery = Delivery { sinks: &sinks, routes: &routes, states: &states };
        let redeliver = redeliver::assemble(settings, &streams, &delivery, &journal, &shared, stop.clone());
        redeliver.remember();
        Ok(Self { redeliver, journal, sinks: states, stop })
    }

    /// What can be asked of it.
    pub fn redeliveries(&self) -> &Redeliver {
        &self.redeliver
    }

    /// Ends what is under way, and lets go of everything.
    pub async fn close(self) {
        self.stop.cancel();
        self.redeliver.ended().await;
        for sink in &self.sinks {
            if let Err(error) = sink.close().await {
                tracing::warn!(sink = %sink.name(), error = %error, "sink did not close cleanly");
            }
        }
        if let Err(error) = self.journal.close().await {
            tracing::error!(error = %error, "journal did not close cleanly");
        }
    }
}

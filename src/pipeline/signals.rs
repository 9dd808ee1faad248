//! What the outside asks for: drain, and stop at once.

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// The two stages of a stop.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    drain: CancellationToken,
    now: CancellationToken,
}

impl Stop {
    /// Nobody has asked yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Collection ends, what is collected is delivered.
    pub fn drain(&self) {
        self.drain.cancel();
    }

    /// Everything ends; what is not delivered stays in the journal.
    pub fn at_once(&self) {
        self.drain.cancel();
        self.now.cancel();
    }

    /// Cancelled when collection is to end.
    pub fn draining(&self) -> CancellationToken {
        self.drain.clone()
    }

    /// Cancelled when everything is to end.
    pub fn stopping(&self) -> CancellationToken {
        self.now.clone()
    }
}

/// The process's signals.
#[derive(Debug)]
pub struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
}

impl Signals {
    /// Takes the signals over from their defaults.
    pub fn listen() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Turns signals into the stages of a stop: the first SIGTERM or SIGINT drains, the second stops at once.
    pub async fn drive(mut self, stop: Stop) {
        let mut asked = false;
        loop {
            tokio::select! {
                _ = self.terminate.recv() => {}
                _ = self.interrupt.recv() => {}
                _ = self.hangup.recv() => {
                    warn!("a changed configuration takes effect at the next start; changed secret files take effect by themselves");
                    continue;
                }
            }
            if asked {
                warn!("stopping at once");
                stop.at_once();
                return;
            }
            asked = true;
            info!("draining; a second signal stops at once");
            stop.drain();
        }
    }
}

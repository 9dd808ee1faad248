//! How errors at Miro are endured: what an error asks for, and how long to wait.

use std::time::Duration;

use tracing::warn;

use super::context::{Context, Stopped};
use crate::{
    health::StreamPhase,
    miro::{MiroClass, MiroError},
    retry::Backoff,
};

/// First and last ceiling of the wait after an error at Miro.
pub(super) const RETRY_INITIAL: Duration = Duration::from_secs(1);
pub(super) const RETRY_MAX: Duration = Duration::from_secs(300);
/// First and last ceiling while a person is needed: a mended token is noticed soon, and a dead one is not hammered.
const PAUSE_INITIAL: Duration = Duration::from_secs(30);
const PAUSE_MAX: Duration = Duration::from_secs(300);
/// How long a wait that Miro dictates may be; its quota is counted by the minute.
pub(super) const THROTTLE_MAX: Duration = Duration::from_secs(900);
/// The wait for a throttle that names none: Miro's quota refills within a minute.
pub(super) const THROTTLE_UNNAMED: Duration = Duration::from_secs(61);

/// What an error at Miro asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reaction {
    /// Nothing was sent: it goes on as soon as the quota lets it.
    Held(Duration),
    /// The same page again, with fewer events.
    SmallerPage,
    /// The window from what is committed.
    Restart,
    /// Again after the wait that Miro dictates.
    Throttled(Duration),
    /// Again after a wait that grows.
    Retry,
    /// Miro takes everything else and not this.
    Refused,
    /// A person has to change something.
    Pause,
}

impl Reaction {
    pub(super) fn to(fault: &MiroError, page_size: u32) -> Self {
        match fault.class() {
            MiroClass::Throttled(wait) if fault.is_held() => Self::Held(wait.unwrap_or(THROTTLE_UNNAMED).min(THROTTLE_MAX)),
            MiroClass::Throttled(wait) => Self::Throttled(wait.unwrap_or(THROTTLE_UNNAMED).min(THROTTLE_MAX)),
            MiroClass::CursorRejected => Self::Restart,
            MiroClass::PageSizeRejected if page_size > 1 => Self::SmallerPage,
            MiroClass::Retryable => Self::Retry,
            MiroClass::BadRequest => Self::Refused,
            MiroClass::PageSizeRejected | MiroClass::Auth | MiroClass::Permission | MiroClass::NotFound | MiroClass::Config => Self::Pause,
        }
    }
}

/// The waits while a person is needed: at least half of a ceiling that grows.
#[derive(Debug)]
pub(super) struct Pause(Backoff);

impl Pause {
    pub(super) fn new() -> Self {
        Self(Backoff::new(PAUSE_INITIAL, PAUSE_MAX))
    }

    pub(super) fn next_wait(&mut self) -> Duration {
        PAUSE_INITIAL / 2 + self.0.next_wait() / 2
    }

    pub(super) fn reset(&mut self) {
        self.0.reset();
    }
}

/// How live polling endures.
#[derive(Debug)]
pub(super) struct Patience {
    retry: Backoff,
    pause: Pause,
}

/// What to do after an error has been endured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    Again,
    Restart,
}

impl Patience {
    pub(super) fn new() -> Self {
        Self { retry: Backoff::new(RETRY_INITIAL, RETRY_MAX), pause: Pause::new() }
    }

    pub(super) fn reset(&mut self) {
        self.retry.reset();
        self.pause.reset();
    }

    /// Does what an error at Miro asks for, wait included.
    pub(super) async fn endure(&mut self, context: &Context, fault: &MiroError) -> Result<After, Stopped> {
        let page_size = context.page_size();
        match Reaction::to(fault, page_size) {
            Reaction::Restart => {
                context.blame("cursor", fault.to_string());
                return Ok(After::Restart);
            }
            Reaction::SmallerPage => {
                context.shrink_page_size(page_size);
            }
            // A wait that Miro dictates may be long, and nothing is collected meanwhile: it is told like any other.
            Reaction::Throttled(wait) | Reaction::Held(wait) => {
                context.blame(fault.class().as_str(), fault.to_string());
                wait_as(context, StreamPhase::Throttled, wait).await?;
            }
            Reaction::Retry => {
                let wait = self.retry.next_wait();
                warn!(stream = %context.stream(), error = %fault, wait_secs = wait.as_secs_f64(), "request failed, trying again");
                context.note(fault.class().as_str(), fault.to_string());
                wait_as(context, StreamPhase::BackingOff, wait).await?;
            }
            // Paused stays on the board while it is tried again, until something succeeds.
            Reaction::Refused | Reaction::Pause => {
                let wait = self.pause.next_wait();
                context.blame_person(fault);
                context.phase(StreamPhase::Paused);
                context.sleep(wait).await?;
            }
        }
        Ok(After::Again)
    }
}

async fn wait_as(context: &Context, phase: StreamPhase, wait: Duration) -> Result<(), Stopped> {
    context.phase(phase);
    context.sleep(wait).await?;
    context.phase(StreamPhase::Polling);
    Ok(())
}

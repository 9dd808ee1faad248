//! Dead letters on request: once more to their sink, or away.

use std::collections::HashSet;

use super::{Inner, Target, job::Job};
use crate::{
    admin::control::{ControlError, LetterSelection, RedeliveryState},
    event::SinkName,
    metrics,
    sink::{
        dead_letters::{self, DeadLetter, DeadLetterError, DeadLetters, Gone, Reason, RetryParts},
        driver::{Ended, Shutdown},
    },
};

/// So many letters are thrown away in one step.
const DROPPED_AT_ONCE: usize = 1_000;

/// Which letters are meant, checked.
#[derive(Clone, Debug)]
pub(super) struct Selected {
    reason: Option<Reason>,
    ids: HashSet<String>,
}

impl Selected {
    pub(super) fn of(wanted: &LetterSelection) -> Result<Self, ControlError> {
        if !wanted.all && wanted.sink.is_none() && wanted.reason.is_none() && wanted.ids.is_empty() {
            return Err(ControlError::Invalid("which dead letters are meant? Name events, a sink or a reason, or say all".to_owned()));
        }
        let known = || Reason::ALL.map(Reason::as_str).join(", ");
        let unknown = |name: &str| ControlError::Invalid(format!("there is no reason {name:?}; the reasons are {}", known()));
        let reason = wanted.reason.as_deref().map(|name| Reason::parse(name).ok_or_else(|| unknown(name))).transpose()?;
        Ok(Self { reason, ids: wanted.ids.iter().cloned().collect() })
    }

    fn takes(&self, letter: &DeadLetter) -> bool {
        self.reason.is_none_or(|reason| reason == letter.reason) && (self.ids.is_empty() || self.ids.contains(letter.event.id.as_str()))
    }
}

/// Sends them again. One job of a sink at a time.
pub(super) async fn run(inner: &Inner, target: &Target, selected: &Selected, job: &Job) {
    let stop = inner.parts.stop.child_token();
    let _turn = match inner.turns.get(target.state.name()) {
        Some(turn) => tokio::select! {
            turn = turn.lock() => Some(turn),
            () = job.stop.cancelled() => return,
            () = stop.cancelled() => return job.end(RedeliveryState::Cancelled, Some("the daemon was stopped".to_owned())),
        },
        None => None,
    };
    let shutdown = Shutdown::new();
    let parts = RetryParts { sink: target.state.clone(), transform: target.transform.clone(), clock: inner.parts.clock.clone() };
    let ending = async {
        tokio::select! {
            () = stop.cancelled() => {}
            () = job.stop.cancelled() => {}
        }
        shutdown.stop.cancel();
        std::future::pending::<()>().await;
    };
    let retried = tokio::select! {
        retried = dead_letters::retry(&parts, |letter| selected.takes(letter), |told| job.report(told), &shutdown) => retried,
        () = ending => return,
    };
    match retried {
        Err(error) => job.fail(error.to_string()),
        Ok((told, ended)) => {
            job.report(told);
            let unreadable = (told.unreadable > 0).then(|| format!("{} letters cannot be read and stay as they are", told.unreadable));
            match ended {
                Ended::Delivered => job.end(RedeliveryState::Done, unreadable),
                Ended::Stopped if job.is_over() => {}
                Ended::Stopped => job.end(RedeliveryState::Cancelled, Some("the daemon was stopped".to_owned())),
                Ended::Broken(why) => job.fail(why),
            }
        }
    }
    let status = job.status();
    tracing::info!(
        id = job.id(), sink = %target.state.name(), delivered = status.delivered, filtered = status.filtered, refused = status.refused,
        "retry of dead letters ended"
    );
}

/// Throws them away, and says in the log which.
pub(super) async fn throw_away(inner: &Inner, wanted: &LetterSelection) -> Result<u64, ControlError> {
    let selected = Selected::of(wanted)?;
    let failed = |error: DeadLetterError| ControlError::Failed(error.to_string());
    let mut count = 0;
    for sink in sinks(inner, wanted.sink.as_deref())? {
        let store = match inner.parts.targets.get(&sink) {
            Some(target) => target.state.dead_letters().clone(),
            None => DeadLetters::open(&inner.parts.state_dir, &sink, inner.parts.dead_letter_bytes_max).map_err(failed)?,
        };
        count += throw_away_of(inner, &sink, &store, &selected).await.map_err(failed)?;
        if let Some(target) = inner.parts.targets.get(&sink) {
            target.state.show_dead_letters();
        }
    }
    Ok(count)
}

/// The chosen sink, or every one that has letters: also one that is no longer configured.
fn sinks(inner: &Inner, chosen: Option<&str>) -> Result<Vec<SinkName>, ControlError> {
    let all = DeadLetters::sinks(&inner.parts.state_dir).map_err(|error| ControlError::Failed(error.to_string()))?;
    let Some(chosen) = chosen else { return Ok(all) };
    let names = || all.iter().map(SinkName::as_str).collect::<Vec<_>>().join(", ");
    let found: Vec<SinkName> = all.iter().filter(|sink| sink.as_str() == chosen).cloned().collect();
    if found.is_empty() {
        Err(ControlError::Unknown(format!("{chosen} has no dead letters; the sinks that may have some are {}", names())))
    } else {
        Ok(found)
    }
}

async fn throw_away_of(inner: &Inner, sink: &SinkName, store: &DeadLetters, selected: &Selected) -> Result<u64, DeadLetterError> {
    let now = inner.parts.clock.now();
    let dropped = inner.parts.metrics.counter(metrics::DEAD_LETTERS_DROPPED, &[("sink", sink.as_str())]);
    let mut letters = {
        let store = store.clone();
        tokio::task::spawn_blocking(move || store.letters()).await.unwrap_or(Err(DeadLetterError::Ending))?
    };
    let mut count = 0;
    loop {
        let mut keys = Vec::with_capacity(DROPPED_AT_ONCE);
        for letter in letters.by_ref() {
            match letter {
                Ok(letter) if selected.takes(&letter) => {
                    let reason = letter.reason.as_str();
                    tracing::info!(%sink, stream = %letter.stream, event = %letter.event.id, reason, "dead letter thrown away on request");
                    keys.push(letter.key());
                }
                Ok(_) | Err(DeadLetterError::Corrupt { .. }) => {}
                Err(error) => return Err(error),
            }
            if keys.len() == DROPPED_AT_ONCE {
                break;
            }
        }
        if keys.is_empty() {
            return Ok(count);
        }
        store.remove(&keys, Gone::Dropped, now).await?;
        count += keys.len() as u64;
        dropped.increment(keys.len() as u64);
    }
}

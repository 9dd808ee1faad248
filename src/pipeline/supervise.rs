//! Keeps a task running: a panic or an unexpected end is a failure, shown on the board and followed by a restart.

use std::{any::Any, future::Future, panic::AssertUnwindSafe, time::Duration};

use futures_util::FutureExt;
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::{
    clock::Clock,
    health::{Fault, Health},
    metrics::{self, Metrics},
    retry::Backoff,
};

const RESTART_INITIAL: Duration = Duration::from_secs(1);
const RESTART_MAX: Duration = Duration::from_secs(60);
/// A task that has run this long before it failed starts again with the shortest wait.
const STEADY_AFTER: Duration = Duration::from_secs(300);

/// Where a supervisor writes.
#[derive(Clone, Debug)]
pub(super) struct Supervision {
    pub(super) clock: Clock,
    pub(super) health: Health,
    pub(super) metrics: Metrics,
}

/// Runs what `make` makes until `stop` is cancelled and the task has come to its end.
pub(super) async fn supervise<F, M>(name: String, supervision: Supervision, stop: CancellationToken, mut make: M)
where
    F: Future<Output = ()> + Send,
    M: FnMut() -> F + Send,
{
    let mut backoff = Backoff::new(RESTART_INITIAL, RESTART_MAX);
    let restarts = supervision.metrics.counter(metrics::TASK_RESTARTS, &[("task", &name)]);
    loop {
        let began = tokio::time::Instant::now();
        supervision.health.task(&name, |row| row.running = true);
        let ended = AssertUnwindSafe(make()).catch_unwind().await;
        supervision.health.task(&name, |row| row.running = false);
        if stop.is_cancelled() && ended.is_ok() {
            return;
        }
        let message = ended
            .map_or_else(|panic| format!("panicked: {}", panic_text(panic.as_ref())), |()| "ended although nobody stopped it".to_owned());
        error!(task = %name, error = %message, "task failed, starting it again");
        restarts.increment(1);
        let fault = Fault { at: supervision.clock.now(), class: "task".to_owned(), message };
        supervision.health.task(&name, |row| {
            row.restarts += 1;
            row.fault = Some(fault);
        });
        if began.elapsed() > STEADY_AFTER {
            backoff.reset();
        }
        let wait = backoff.next_wait();
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = stop.cancelled() => return,
        }
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without words".to_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use super::*;

    fn supervision() -> Supervision {
        Supervision { clock: Clock::system(), health: Health::new(), metrics: Metrics::new() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_is_shown_and_the_task_starts_again() {
        let (supervision, stop, starts) = (supervision(), CancellationToken::new(), Arc::new(AtomicUsize::new(0)));
        let (health, counted, ends) = (supervision.health.clone(), starts.clone(), stop.clone());
        supervise("audit".to_owned(), supervision.clone(), stop, move || {
            let (starts, stop) = (counted.clone(), ends.clone());
            async move {
                match starts.fetch_add(1, Ordering::SeqCst) {
                    0 => panic!("the first time"),
                    1 => {}
                    _ => stop.cancel(),
                }
            }
        })
        .await;
        assert_eq!(starts.load(Ordering::SeqCst), 3);
        let row = health.tasks().remove("audit").expect("the task is on the board");
        assert_eq!(row.restarts, 2);
        assert_eq!(row.fault.map(|fault| fault.message).as_deref(), Some("ended although nobody stopped it"));
        assert!(supervision.metrics.render().contains("miro_siem_task_restarts_total{task=\"audit\"} 2"));
    }
}

//! Work that can be switched off and on again.

use std::{
    future::Future,
    io,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// One background task, on or off. Dropping the switch turns it off.
#[derive(Debug, Default)]
pub(crate) struct Switch {
    work: Mutex<Option<Work>>,
}

#[derive(Debug)]
struct Work {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Switch {
    /// Starts the work; nothing happens when it is on. The work has to end soon after its token is cancelled.
    pub(crate) fn on<F>(&self, start: impl FnOnce(CancellationToken) -> io::Result<F>) -> io::Result<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut work = self.lock();
        if work.is_none() {
            let stop = CancellationToken::new();
            let task = tokio::spawn(start(stop.clone())?);
            *work = Some(Work { stop, task });
        }
        Ok(())
    }

    /// Ends the work and waits until it has ended.
    pub(crate) async fn off(&self) {
        let work = self.lock().take();
        if let Some(Work { stop, task }) = work {
            stop.cancel();
            // It only fails when the work panicked, and then it has ended as well.
            let _ = task.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Work>> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        if let Some(work) = self.lock().take() {
            work.stop.cancel();
        }
    }
}

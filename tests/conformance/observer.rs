//! A look at a receiver that can only be asked over a connection, from a thread of its own: a test asks in the middle of anything.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        mpsc::{SyncSender, sync_channel},
    },
};

use tokio::runtime::Runtime;

/// How often each event has arrived.
pub(crate) type Arrived = BTreeMap<String, u32>;

pub(crate) struct Observer(Mutex<SyncSender<SyncSender<Arrived>>>);

impl Observer {
    /// `prepare` makes what looks, on the thread and with the runtime that it looks with.
    pub(crate) fn start<F: FnMut(&Runtime) -> Arrived>(prepare: impl FnOnce(&Runtime) -> F + Send + 'static) -> Self {
        let (ask, asked) = sync_channel::<SyncSender<Arrived>>(1);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            let mut look = prepare(&runtime);
            while let Ok(answer) = asked.recv() {
                // Whoever asked may have been cancelled.
                let _ = answer.send(look(&runtime));
            }
        });
        Self(Mutex::new(ask))
    }

    pub(crate) fn arrived(&self) -> Arrived {
        let (answer, answered) = sync_channel(1);
        self.0.lock().expect("no panic").send(answer).expect("the observer is there");
        answered.recv().expect("the observer answers")
    }
}

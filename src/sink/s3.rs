//! Objects in Amazon S3 and in stores with its API: each batch becomes an object for each value of the prefix, one record per line.
//!
//! # What it promises
//!
//! - An event counts as delivered when the store has answered that it has the object (S3 is consistent and durable at that point).
//! - A key is made from what it holds: `<prefix><first position>-<last position>-<SHA-256 of the lines, 16 digits>.ndjson[.gz|.zst]`.
//!   It is written with `If-None-Match: *`, so the same batch that is sent again finds its object there (412), which is a success.
//! - The prefix is filled from the event's own time in UTC, or from when it was collected where it has none. A batch with events of two
//!   days becomes two objects, so that a partition holds its own days and no others.
//! - A batch that is cut differently when it is sent again, after a restart, would make another key. So where a batch may have been sent
//!   before, the sink first lists what begins at its first position, and leaves out what it finds there with the same content.
//!
//! # What can repeat
//!
//! The last of these needs s3:ListBucket; without it, an object whose answer was lost can overlap with the one that follows a restart.
//! So can one of several objects of a batch, when others of it failed before a restart; and what was sent with another `format` or
//! `provenance` before. Repeated events have the same `_miro_siem.id`.
//!
//! # What it does not do
//!
//! It makes no buckets, deletes nothing, reads no profiles of AWS's own tools, and does no multipart uploads: a batch is far below the
//! 5 GiB of a single request. Rules: Amazon S3's API reference, "PutObject", "ListObjectsV2", "Conditional writes" and "Error responses".
//!
//! # On a crash
//!
//! A request that did not end has written nothing, and one that did has written the whole object.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::future::BoxFuture;
use tokio::time::Instant;

use self::{object::Group, store::Store};
use super::{
    Batch, ErrorClass, Receipt, Sink, SinkError, Verdict,
    file::template::Template,
    http::{self, BuildError, Connection},
};
use crate::{
    config::settings::{Compression, S3Settings},
    event::{Position, StreamId},
};

mod answer;
mod object;
mod store;
mod wire;

/// The size in bytes is what usually ends a batch.
pub const DEFAULT_BATCH_EVENTS: usize = 50_000;
/// Of encoded events, before compression. Larger objects suit queries better, and all of a batch is in memory.
pub const DEFAULT_BATCH_BYTES: usize = 5 << 20;

/// A sink of type `s3`.
pub struct S3Sink {
    settings: S3Settings,
    prefix: Template,
    store: Store,
    timeout: Duration,
    /// Up to where this process has begun to send each stream.
    begun: Mutex<BTreeMap<StreamId, Position>>,
}

impl S3Sink {
    /// A sink with those settings. It does not connect.
    ///
    /// # Errors
    /// If TLS cannot be set up, or the prefix or the endpoint cannot be used.
    pub fn new(settings: S3Settings, connection: &Connection) -> Result<Self, BuildError> {
        let prefix = Template::prefix(&settings.prefix).map_err(|error| BuildError::setting("prefix", error.to_string()))?;
        let store = Store::new(&settings, connection)?;
        Ok(Self { settings, prefix, store, timeout: connection.timeout, begun: Mutex::default() })
    }

    async fn send(&self, batch: Batch<'_>) -> Result<Receipt, SinkError> {
        let may_be_there = self.begin(&batch);
        let began = Instant::now();
        let mut accepted = vec![false; batch.len()];
        for group in object::groups(&self.prefix, &batch) {
            let any = accepted.contains(&true);
            // What is done by now is told, and the rest has its time in the next delivery.
            if any && began.elapsed() >= self.timeout {
                break;
            }
            match self.write(&batch, &group, may_be_there).await {
                Ok(()) => group.events.iter().for_each(|&event| accepted[event] = true),
                Err(error) if !any => return Err(error),
                Err(_) => break,
            }
        }
        if !accepted.contains(&false) {
            return Ok(Receipt::All);
        }
        let verdict = |accepted| if accepted { Verdict::Accepted } else { Verdict::NotTaken };
        Ok(Receipt::Each(accepted.into_iter().map(verdict).collect()))
    }

    /// Notes that the batch is being sent; whether some of it may have been sent before: by this process, or by the one before it.
    fn begin(&self, batch: &Batch<'_>) -> MayBeThere {
        let (Some(first), Some(last)) = (batch.events().first(), batch.events().last()) else { return MayBeThere::No };
        let mut begun = self.begun();
        match begun.get_mut(batch.stream()) {
            None => {
                begun.insert(batch.stream().clone(), last.position);
                MayBeThere::Yes
            }
            Some(up_to) => {
                let is_new = first.position > *up_to;
                *up_to = last.position.max(*up_to);
                if is_new { MayBeThere::No } else { MayBeThere::Yes }
            }
        }
    }

    fn begun(&self) -> MutexGuard<'_, BTreeMap<StreamId, Position>> {
        // Positions are put in whole, so a thread that panicked has left whole ones.
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the events of one prefix, but what is there already.
    async fn write(&self, batch: &Batch<'_>, group: &Group, may_be_there: MayBeThere) -> Result<(), SinkError> {
        let mut events = &group.events[..];
        if may_be_there == MayBeThere::Yes {
            events = self.missing(batch, &group.prefix, events).await?;
        }
        let Some(key) = object::key(&group.prefix, batch, events) else { return Ok(()) };
        let (body, _) = http::compressed(self.settings.compression, object::lines(batch, events))?;
        let (end, content_type) = form(self.settings.compression);
        self.store.put_new(&format!("{key}{end}"), body, content_type, batch).await
    }

    /// The events behind those that are in objects already.
    async fn missing<'e>(&self, batch: &Batch<'_>, prefix: &str, mut events: &'e [usize]) -> Result<&'e [usize], SinkError> {
        while let Some(beginning) = object::beginning(prefix, batch, events) {
            let keys = match self.store.keys_that_begin_with(&beginning).await {
                Ok(keys) => keys,
                // Without the permission to look, what is written is written.
                Err(error) if error.class() == ErrorClass::Auth => return Ok(events),
                Err(error) => return Err(error),
            };
            let there = keys.iter().filter_map(|key| object::there(key.strip_prefix(&beginning)?, batch, events)).max();
            let Some(there) = there else { break };
            events = &events[there..];
        }
        Ok(events)
    }
}

/// Whether some of a batch may be in the store already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MayBeThere {
    Yes,
    No,
}

/// What a key ends with, and what the object is. No `Content-Encoding`: whoever fetches it gets the bytes that the key names.
fn form(compression: Compression) -> (&'static str, &'static str) {
    match compression {
        Compression::None => (".ndjson", "application/x-ndjson"),
        Compression::Gzip => (".ndjson.gz", "application/gzip"),
        Compression::Zstd => (".ndjson.zst", "application/zstd"),
    }
}

impl fmt::Debug for S3Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Sink").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Sink for S3Sink {
    fn probe(&self) -> BoxFuture<'_, Result<(), SinkError>> {
        Box::pin(self.store.look())
    }

    fn deliver<'a>(&'a self, batch: Batch<'a>) -> BoxFuture<'a, Result<Receipt, SinkError>> {
        Box::pin(self.send(batch))
    }

    fn close(&self) -> BoxFuture<'_, Result<(), SinkError>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

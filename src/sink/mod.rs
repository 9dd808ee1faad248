//! Where events go. A sink encodes a batch and sends it once; everything else is the driver's.
//!
//! # What a sink promises
//!
//! `deliver` returns `Ok` only for events that the receiver has accepted in the strongest sense that it offers, and an error's
//! class says truthfully whether the events may have arrived. Dropping its future loses nothing: the driver sends the batch again.
//!
//! # What a sink does not do
//!
//! It does not batch, wait, retry, sleep, pause, acknowledge, count or log events. It does not see the journal or the source.

use std::{fmt::Debug, time::Duration};

use futures_util::future::BoxFuture;
use thiserror::Error;

use crate::event::{Event, StreamId};

pub mod azure_monitor;
pub mod build;
pub mod dead_letters;
pub mod driver;
pub mod elasticsearch;
pub mod file;
pub mod http;
pub mod http_webhook;
mod names;
pub mod nats;
pub(crate) mod ndjson;
pub mod otlp;
mod patience;
mod receiver_id;
pub mod s3;
pub mod splunk_hec;
pub mod stdout;
pub mod sumo;
pub mod syslog;

pub use build::{BuildError, Built, build};

/// A destination.
pub trait Sink: Send + Sync + Debug {
    /// Tries whether the receiver can be reached and takes our credentials, without sending an event. What cannot be tried is `Ok`.
    fn probe(&self) -> BoxFuture<'_, Result<(), SinkError>>;

    /// Encodes and sends a batch once.
    fn deliver<'a>(&'a self, batch: Batch<'a>) -> BoxFuture<'a, Result<Receipt, SinkError>>;

    /// Lets go of connections and files, after the last delivery.
    fn close(&self) -> BoxFuture<'_, Result<(), SinkError>>;
}

/// Consecutive events of one stream with their encoded records. Cheap to copy and to cut.
#[derive(Clone, Copy)]
pub struct Batch<'a> {
    stream: &'a StreamId,
    events: &'a [Event],
    /// All records, one after the other.
    payloads: &'a [u8],
    /// Where each record ends in `payloads`, counted from the start of the whole buffer.
    ends: &'a [usize],
    /// Where `payloads` starts in the whole buffer.
    base: usize,
}

impl<'a> Batch<'a> {
    /// A batch of events and, for each, where its record ends in `payloads`.
    ///
    /// # Panics
    ///
    /// If there are not as many ends as events: that is a defect of the caller.
    pub fn new(stream: &'a StreamId, events: &'a [Event], payloads: &'a [u8], ends: &'a [usize]) -> Self {
        assert_eq!(events.len(), ends.len(), "every event has one record");
        Self { stream, events, payloads, ends, base: 0 }
    }

    /// The stream that all its events belong to.
    pub fn stream(&self) -> &'a StreamId {
        self.stream
    }

    /// How many events.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// The events.
    pub fn events(&self) -> &'a [Event] {
        self.events
    }

    /// The record of one event, in the sink's format.
    pub fn payload(&self, index: usize) -> &'a [u8] {
        let start = if index == 0 { self.base } else { self.ends[index - 1] };
        &self.payloads[start - self.base..self.ends[index] - self.base]
    }

    /// Each event with its record.
    pub fn iter(&self) -> impl Iterator<Item = (&'a Event, &'a [u8])> {
        let batch = *self;
        self.events.iter().enumerate().map(move |(index, event)| (event, batch.payload(index)))
    }

    /// The size of all records together, in bytes.
    pub fn bytes(&self) -> usize {
        self.payloads.len()
    }

    /// The first `count` events, and the rest.
    pub fn split_at(self, count: usize) -> (Self, Self) {
        let cut = if count == 0 { self.base } else { self.ends[count - 1] };
        let (head, tail) = self.payloads.split_at(cut - self.base);
        let first = Self { events: &self.events[..count], payloads: head, ends: &self.ends[..count], ..self };
        let rest = Self { events: &self.events[count..], payloads: tail, ends: &self.ends[count..], base: cut, ..self };
        (first, rest)
    }
}

impl Debug for Batch<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batch")
            .field("stream", self.stream)
            .field("events", &self.events.len())
            .field("bytes", &self.payloads.len())
            .finish()
    }
}

/// What a receiver did with a batch that it answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Receipt {
    /// All events were accepted.
    All,
    /// All events were accepted, and the receiver says that its queues fill up: the next delivery waits a little.
    AllNearlyFull,
    /// One verdict for each event of the batch, in its order.
    Each(Vec<Verdict>),
}

/// What a receiver did with one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It has the event.
    Accepted,
    /// It will never take this event; with its own words, at most a few hundred bytes, free of secrets and of the event's content.
    Rejected(String),
    /// The event alone is larger than it takes; in words of the same kind.
    TooLarge(String),
    /// The event cannot be written in the form that it takes, and was not sent; in words of the same kind.
    Unencodable(String),
    /// It refused some of the events that were sent with this one, and maybe this one, and does not say which; with its own words as above.
    MaybeRejected(String),
    /// It did not look at it; to be sent again.
    NotTaken,
    /// It may have the event or not, with what is known about why; to be sent again, and a possible duplicate then.
    Unknown(String),
}

/// What kind of failure it was: this decides what the driver does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorClass {
    /// Not taken; the receiver dictates a wait, or leaves it to us.
    Throttled(Option<Duration>),
    /// Not taken; try again after a wait that grows.
    Retryable,
    /// May have arrived; try again, and count it as a possible duplicate.
    Ambiguous,
    /// The receiver refuses something in this batch for good and does not say what.
    Rejected,
    /// Larger than the receiver takes; send it in smaller parts.
    TooLarge,
    /// Credentials are refused: pause, keep the data, probe slowly.
    Auth,
    /// The sink's configuration does not fit the receiver: pause, keep the data, probe slowly.
    Config,
}

impl ErrorClass {
    /// The name in logs and status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Throttled(_) => "throttled",
            Self::Retryable => "retryable",
            Self::Ambiguous => "ambiguous",
            Self::Rejected => "rejected",
            Self::TooLarge => "too_large",
            Self::Auth => "auth",
            Self::Config => "config",
        }
    }
}

/// Why a delivery or a probe failed, in words for the operator: what failed, why, and the mend. Free of secrets and of event content.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{message}")]
pub struct SinkError {
    class: ErrorClass,
    message: String,
}

impl SinkError {
    /// An error of that class.
    pub fn new(class: ErrorClass, message: impl Into<String>) -> Self {
        Self { class, message: message.into() }
    }

    /// What kind of failure it was.
    pub fn class(&self) -> ErrorClass {
        self.class
    }
}

//! Events that a receiver refused, set aside durably with everything that is needed to send them again.
//!
//! # What it promises
//!
//! A dead letter is on disk, synced, before its event is acknowledged. It holds the event's original bytes, who refused it, why, and
//! how often it was tried. A sink has one letter of an event: one that is refused again takes the place of the earlier one. Nothing is
//! overwritten or dropped to make room: a full store refuses, and the sink pauses. A letter leaves the store when its event has been
//! delivered after all, or when a person has thrown it away; both are durable in one step.
//!
//! # What it does not do
//!
//! It does not decide what becomes a dead letter, and sends nothing: `retry` takes letters through the driver again.
//!
//! # On a crash
//!
//! Letters are lines of one append-only file per sink, `dead-letters/<sink>/letters.ndjson` under the state directory; a later line about
//! the same event takes the place of an earlier one, and a line may say that the letter is gone. A half line at the end was never
//! promised to anybody: it is cut off when the store opens, and the event comes again. A crash between a delivery and the line that says
//! so leads to one more delivery: at least once. Once half of the file is of no use, it is written anew beside itself and renamed: either
//! file is whole. Every line carries a version.

use std::{
    io,
    path::{Path, PathBuf},
};

use thiserror::Error;

use super::names::path_component;
use crate::event::{Event, EventId, SinkName, StreamId, Timestamp};

pub use read::Letters;
pub use retry::{RetryParts, RetryReport, retry};
pub use store::{DeadLetters, Room};

mod index;
mod read;
mod retry;
mod store;
mod wire;

/// The file's name.
const FILE_NAME: &str = "letters.ndjson";
/// Room for hundreds of thousands of refused events; more than that is no longer an exception that somebody reviews one by one.
pub const DEAD_LETTER_BYTES_MAX: u64 = 1 << 30;

/// No event is nearly as large: a longer line is not one of ours.
const LINE_BYTES_MAX: u64 = 128 << 20;

/// Why an event was set aside. The names are stable: commands and alerts select by them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The receiver refuses the event for good.
    Rejected,
    /// The event alone is larger than the receiver takes.
    TooLarge,
    /// The event cannot be written in the form that the receiver takes.
    Unencodable,
    /// The receiver refused some events of a request for good and does not say which: it may have this one. Sent again, each goes alone.
    MaybeRejected,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 4] = [Self::Rejected, Self::TooLarge, Self::Unencodable, Self::MaybeRejected];

    /// The stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::TooLarge => "too_large",
            Self::Unencodable => "unencodable",
            Self::MaybeRejected => "maybe_rejected",
        }
    }

    /// The reason of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == name)
    }
}

/// One event that one sink could not deliver.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    /// The sink.
    pub sink: SinkName,
    /// The stream.
    pub stream: StreamId,
    /// The event, with its original bytes.
    pub event: Event,
    /// Why.
    pub reason: Reason,
    /// What the receiver said.
    pub answer: String,
    /// How often it was sent.
    pub attempts: u32,
    /// When it was first sent.
    pub first_attempt_at: Timestamp,
    /// When it was last sent.
    pub last_attempt_at: Timestamp,
}

/// Why a dead letter could not be stored or read.
#[derive(Debug, Error)]
pub enum DeadLetterError {
    /// The store's limit is reached.
    #[error(
        "the dead letters in {path} take {bytes} bytes of {bytes_max}, and there is no room for more; look into them with \
         `miro-siem dead-letters list`, mend what the receiver refused and `retry` them, or `export` and `drop` them, or raise \
         state.dead_letters_max: delivery then goes on by itself"
    )]
    Full {
        /// The file.
        path: String,
        /// Its size.
        bytes: u64,
        /// The limit.
        bytes_max: u64,
    },
    /// Reading or writing failed.
    #[error("failed to {action} {path}: {source}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// The file or directory.
        path: String,
        /// The operating system's answer.
        source: io::Error,
    },
    /// A stored line is not what was written.
    #[error("line {line} of {path} is no dead letter: {problem}")]
    Corrupt {
        /// The file.
        path: String,
        /// The line, from 1.
        line: u64,
        /// What is wrong with it.
        problem: String,
    },
    /// The writing task was torn down with the runtime.
    #[error("the dead letters were not written because the process is ending")]
    Ending,
}

/// What tells one letter of a sink from another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LetterKey {
    /// The stream.
    pub stream: StreamId,
    /// The event.
    pub id: EventId,
}

impl DeadLetter {
    /// What tells it from the sink's others.
    pub fn key(&self) -> LetterKey {
        LetterKey { stream: self.stream.clone(), id: self.event.id.clone() }
    }
}

/// Why a letter is no longer there. The names are stable: the file holds them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    /// Its event has been delivered after all, or the sink's filter leaves it out by now.
    Settled,
    /// A person has thrown it away.
    Dropped,
}

impl Gone {
    /// The stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Settled => "settled",
            Self::Dropped => "dropped",
        }
    }
}

fn directory(state_dir: &Path, sink: &SinkName) -> PathBuf {
    state_dir.join("dead-letters").join(&*path_component(sink.as_str()))
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> DeadLetterError {
    DeadLetterError::Io { action, path: path.display().to_string(), source }
}

#[cfg(test)]
mod tests;

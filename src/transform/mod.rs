//! What a sink is sent: which events, and each in which form.
//!
//! # What it promises
//!
//! A record is made from an event's bytes and what the journal knows about it, and from nothing else: the same event gives the same
//! record however often it is sent. What cannot be understood is passed on, never left out: a filter leaves out only events whose
//! name it has read, and a format writes a record for every event.
//!
//! # What it does not do
//!
//! It does not batch, count, log or fail. Nothing here waits or does I/O, so there is nothing to lose in a crash.

use crate::{
    config::settings::{FilterSettings, Format, Provenance, SinkSettings},
    event::{Event, StreamId},
};

pub mod filter;
pub(crate) mod names;
pub mod raw;

pub use filter::Filter;

/// The keys of a sink that decide what is sent.
#[derive(Clone, Debug)]
pub struct TransformSettings {
    /// `format`
    pub format: Format,
    /// Whether the record itself carries our provenance.
    pub provenance: Provenance,
    /// `filter`
    pub filter: FilterSettings,
}

impl TransformSettings {
    /// What was configured for that sink.
    pub fn of(settings: &SinkSettings) -> Self {
        Self { format: settings.format, provenance: settings.provenance, filter: settings.filter.clone() }
    }
}

/// What became of an event on its way through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transformed {
    /// Its record was added to the output.
    Written,
    /// The filter left it out; the output is unchanged.
    Filtered,
}

/// Filter and format of one sink for one stream.
#[derive(Debug)]
pub struct Transform {
    filter: Filter,
    formatter: Formatter,
}

impl Transform {
    /// With those settings, for events of that stream.
    pub fn new(settings: &TransformSettings, stream: &StreamId) -> Self {
        Self { filter: Filter::new(&settings.filter, stream.kind), formatter: Formatter::new(settings.format, settings.provenance, stream) }
    }

    /// Adds the event's record to `out`, or leaves the event out.
    pub fn apply(&mut self, event: &Event, out: &mut Vec<u8>) -> Transformed {
        if !self.filter.takes(event) {
            return Transformed::Filtered;
        }
        self.formatter.write(event, out);
        Transformed::Written
    }
}

/// Writes records in one of the formats.
#[derive(Debug)]
pub enum Formatter {
    /// Miro's own object, byte for byte.
    Raw(raw::Raw),
}

impl Formatter {
    /// A writer for that format and stream.
    pub fn new(format: Format, provenance: Provenance, stream: &StreamId) -> Self {
        match format {
            Format::Raw => Self::Raw(raw::Raw::new(provenance, stream)),
        }
    }

    /// Adds the record of an event of that stream to `out`: one JSON value, without a line end.
    pub fn write(&mut self, event: &Event, out: &mut Vec<u8>) {
        match self {
            Self::Raw(raw) => raw.write(event, out),
        }
    }
}

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

pub mod cef;
pub mod ecs;
pub mod filter;
pub mod leef;
mod mapping;
pub(crate) mod members;
pub(crate) mod names;
mod object;
pub mod ocsf;
pub mod raw;
mod reading;

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
    /// The same, but the format has no class for the event: it went out as one of unknown kind.
    Unmapped,
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
        self.formatter.write(event, out)
    }
}

/// How much of an event a record has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    /// Everything that the format has a place for.
    Full,
    /// Without what is large, with the hash of the original instead.
    Reduced,
    /// What it takes to find the event in Miro.
    Minimal,
}

/// Writes records in one of the formats.
#[derive(Debug)]
pub enum Formatter {
    /// Miro's own object, byte for byte.
    Raw(raw::Raw),
    /// Open Cybersecurity Schema Framework.
    Ocsf(ocsf::Ocsf),
    /// Elastic Common Schema.
    Ecs(ecs::Ecs),
    /// Common Event Format.
    Cef(cef::Cef),
    /// Log Event Extended Format.
    Leef(leef::Leef),
}

impl Formatter {
    /// A writer for that format and stream.
    pub fn new(format: Format, provenance: Provenance, stream: &StreamId) -> Self {
        match format {
            Format::Raw => Self::Raw(raw::Raw::new(provenance, stream)),
            Format::Ocsf => Self::Ocsf(ocsf::Ocsf::new(provenance, stream)),
            Format::Ecs => Self::Ecs(ecs::Ecs::new(provenance, stream)),
            Format::Cef => Self::Cef(cef::Cef::new(stream.kind)),
            Format::Leef => Self::Leef(leef::Leef::new(stream.kind)),
        }
    }

    /// Adds the record of an event of that stream to `out`, without a line end: one JSON value, or the text of a format that is none.
    pub fn write(&mut self, event: &Event, out: &mut Vec<u8>) -> Transformed {
        self.write_extent(event, Extent::Full, out)
    }

    /// The record in at most `bytes_max` bytes, by leaving out what the format's own page says; `None` if no form fits. `raw` has no
    /// smaller form: it is Miro's own object or nothing.
    pub fn write_smaller(&mut self, event: &Event, bytes_max: usize) -> Option<Vec<u8>> {
        if matches!(self, Self::Raw(_)) {
            return None;
        }
        [Extent::Reduced, Extent::Minimal].into_iter().find_map(|extent| {
            let mut out = Vec::new();
            self.write_extent(event, extent, &mut out);
            (out.len() <= bytes_max).then_some(out)
        })
    }

    fn write_extent(&mut self, event: &Event, extent: Extent, out: &mut Vec<u8>) -> Transformed {
        match self {
            Self::Raw(raw) => {
                raw.write(event, out);
                Transformed::Written
            }
            Self::Ocsf(ocsf) => ocsf.write(event, extent, out),
            Self::Ecs(ecs) => ecs.write(event, extent, out),
            Self::Cef(cef) => cef.write(event, extent, out),
            Self::Leef(leef) => leef.write(event, extent, out),
        }
    }
}

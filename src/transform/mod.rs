//! What a sink is sent: which events, what of them, and in which form.
//!
//! ```text
//! event ─► filter ─► redact ─► format ─► record
//! ```
//!
//! A filter judges the event as Miro sent it; a format sees what redaction has left of it, and nothing else.
//!
//! # What it promises
//!
//! A record is made from an event's bytes and what the journal knows about it, and from nothing else: the same event gives the same
//! record however often it is sent. What cannot be understood is passed on, never left out: a filter leaves out only events whose
//! name it has read, and a format writes a record for every event.
//!
//! # What it does not do
//!
//! It does not batch, count, log or fail. Nothing here waits, and only the key of pseudonyms is read from outside, once: there is nothing
//! to lose in a crash.

use bytes::Bytes;

use crate::{
    config::settings::{FilterSettings, Format, Provenance, SinkSettings},
    event::{Event, StreamId},
};

pub mod cef;
mod draft;
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
pub mod redact;

pub use filter::{Filter, Unjudged, Verdict};
pub use redact::{Redaction, RedactionError, Redactor};

/// The keys of a sink that decide what is sent.
#[derive(Clone, Debug)]
pub struct TransformSettings {
    /// `format`
    pub format: Format,
    /// Whether the record itself carries our provenance.
    pub provenance: Provenance,
    /// `filter`
    pub filter: FilterSettings,
    /// `redact`
    pub redaction: Redaction,
}

impl TransformSettings {
    /// What was configured for that sink. Reads the key of pseudonyms.
    pub fn of(settings: &SinkSettings) -> Result<Self, RedactionError> {
        Ok(Self {
            format: settings.format,
            provenance: settings.provenance,
            filter: settings.filter.clone(),
            redaction: Redaction::of(&settings.redact)?,
        })
    }

    /// Every event in that format, with nothing filtered and nothing taken out.
    pub fn whole(format: Format, provenance: Provenance) -> Self {
        Self { format, provenance, filter: FilterSettings::default(), redaction: Redaction::none() }
    }
}

/// What became of an event on its way through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transformed {
    /// Its record was added to the output.
    Written(Written),
    /// The filter left it out; the output is unchanged.
    Filtered,
}

/// What is to know about a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Whether the format has a class for the event.
    pub mapped: Mapped,
    /// The event's bytes as they may leave, if they are not those that it has. **What is handed to a sink has to have these.**
    pub redacted: Option<Bytes>,
    /// Why the filter's expression could not be asked about it, if so.
    pub unjudged: Option<Unjudged>,
}

/// Whether a format has a class for an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mapped {
    /// It has, or needs none.
    Known,
    /// It has not: the event went out as one of unknown kind.
    Unknown,
}

/// Filter, redaction and format of one sink for one stream.
#[derive(Debug)]
pub struct Transform {
    filter: Filter,
    redactor: Redactor,
    formatter: Formatter,
}

impl Transform {
    /// With those settings, for events of that stream.
    pub fn new(settings: &TransformSettings, stream: &StreamId) -> Self {
        Self {
            filter: Filter::new(&settings.filter, stream),
            redactor: settings.redaction.for_stream(stream.kind),
            formatter: Formatter::new(settings.format, settings.provenance, stream),
        }
    }

    /// Adds the event's record to `out`, or leaves the event out.
    pub fn apply(&mut self, event: &Event, out: &mut Vec<u8>) -> Transformed {
        let unjudged = match self.filter.judge(event) {
            Verdict::LeftOut => return Transformed::Filtered,
            Verdict::Taken => None,
            Verdict::Unjudged(why) => Some(why),
        };
        let redacted = self.redactor.redact(event);
        let mapped = match &redacted {
            None => self.formatter.write(event, out),
            Some(raw) => self.formatter.write(&Event { raw: raw.clone(), ..event.clone() }, out),
        };
        Transformed::Written(Written { mapped, redacted, unjudged })
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
    pub fn write(&mut self, event: &Event, out: &mut Vec<u8>) -> Mapped {
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

    fn write_extent(&mut self, event: &Event, extent: Extent, out: &mut Vec<u8>) -> Mapped {
        match self {
            Self::Raw(raw) => {
                raw.write(event, out);
                Mapped::Known
            }
            Self::Ocsf(ocsf) => ocsf.write(event, extent, out),
            Self::Ecs(ecs) => ecs.write(event, extent, out),
            Self::Cef(cef) => cef.write(event, extent, out),
            Self::Leef(leef) => leef.write(event, extent, out),
        }
    }
}

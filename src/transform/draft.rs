//! What every format beside `raw` begins with: the event as it was read, its row in the table, and how much of it is wanted.

use sha2::{Digest as _, Sha256};

use super::{
    Extent, Mapped,
    mapping::{self, Class, Mapping, UNMAPPED},
    raw::{ProvenanceWriter, Wrapped, push_hex},
    reading::Reading,
};
use crate::event::{Event, StreamKind};

/// A record that is about to be written.
#[derive(Debug)]
pub(super) struct Draft<'a> {
    pub(super) event: &'a Event,
    pub(super) reading: Reading<'a>,
    /// The event's row in the table.
    pub(super) mapping: &'static Mapping,
    pub(super) extent: Extent,
}

impl<'a> Draft<'a> {
    pub(super) fn of(stream: StreamKind, event: &'a Event, extent: Extent) -> Self {
        let reading = Reading::of(stream, event);
        Self { event, mapping: mapping::of(&reading), reading, extent }
    }

    /// Whether the event's name is in the table.
    pub(super) fn mapped(&self) -> Mapped {
        if self.mapping.class == Class::Base { Mapped::Unknown } else { Mapped::Known }
    }

    /// The row for a format whose classes require more than a minimal record has.
    pub(super) fn claimed(&self) -> &'static Mapping {
        if self.extent == Extent::Minimal { &UNMAPPED } else { self.mapping }
    }

    /// The event's bytes, if they are text.
    pub(super) fn text(&self) -> Option<&'a str> {
        std::str::from_utf8(&self.event.raw).ok()
    }

    /// The event's bytes as a JSON string of hexadecimal digits, for those that are no text.
    pub(super) fn push_raw_hex(&self, out: &mut Vec<u8>) {
        push_quoted_hex(&self.event.raw, out);
    }

    /// The SHA-256 of the event's bytes, for records that leave them out.
    pub(super) fn push_hash(&self, out: &mut Vec<u8>) {
        push_hex(&Sha256::digest(&self.event.raw), out);
    }

    /// The same as a JSON string.
    pub(super) fn push_quoted_hash(&self, out: &mut Vec<u8>) {
        push_quoted_hex(&Sha256::digest(&self.event.raw), out);
    }

    /// Where the record comes from.
    pub(super) fn push_provenance(&self, provenance: &mut ProvenanceWriter, out: &mut Vec<u8>) {
        let wrapped = if self.reading.members.0.is_empty() { Wrapped::Yes } else { Wrapped::No };
        provenance.write(self.event, wrapped, out);
    }
}

fn push_quoted_hex(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    push_hex(bytes, out);
    out.push(b'"');
}

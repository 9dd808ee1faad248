//! Bytes in and out of stored records: little-endian numbers, strings with their length in front.
//!
//! Decoding never panics and never allocates more than the input is long, whatever the input: these bytes come from a disk.

use std::{io, path::Path};

use thiserror::Error;

use crate::{
    coverage::Coverage,
    event::{OrgName, StreamId, StreamKind, TimeRange, Timestamp},
};

/// Stored bytes that are not what this version writes.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("{0}")]
pub(super) struct Malformed(pub(super) &'static str);

/// A newer program has written it; nothing may be changed there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Newer(pub(super) u8);

impl Newer {
    /// What the operator reads.
    pub(super) fn refusal(self, path: &Path) -> io::Error {
        let text = format!("a newer version of miro-siem wrote {} (version {} of its form); run that version", path.display(), self.0);
        io::Error::new(io::ErrorKind::InvalidData, text)
    }
}

/// Appends numbers and strings to a buffer.
pub(super) trait Encode {
    fn put_u8(&mut self, value: u8);
    fn put_u16(&mut self, value: u16);
    fn put_u32(&mut self, value: u32);
    fn put_u64(&mut self, value: u64);
    fn put_i32(&mut self, value: i32);
    fn put_i64(&mut self, value: i64);
    fn put_bytes(&mut self, value: &[u8]);
    fn put_stream(&mut self, stream: &StreamId);
    fn put_range(&mut self, range: TimeRange);
    fn put_coverage(&mut self, coverage: &Coverage);
}

impl Encode for Vec<u8> {
    fn put_u8(&mut self, value: u8) {
        self.push(value);
    }

    fn put_u16(&mut self, value: u16) {
        self.extend_from_slice(&value.to_le_bytes());
    }

    fn put_u32(&mut self, value: u32) {
        self.extend_from_slice(&value.to_le_bytes());
    }

    fn put_u64(&mut self, value: u64) {
        self.extend_from_slice(&value.to_le_bytes());
    }

    fn put_i32(&mut self, value: i32) {
        self.extend_from_slice(&value.to_le_bytes());
    }

    fn put_i64(&mut self, value: i64) {
        self.extend_from_slice(&value.to_le_bytes());
    }

    fn put_bytes(&mut self, value: &[u8]) {
        self.put_u32(length(value.len()));
        self.extend_from_slice(value);
    }

    fn put_stream(&mut self, stream: &StreamId) {
        self.put_bytes(stream.org.as_str().as_bytes());
        self.put_u8(match stream.kind {
            StreamKind::Audit => 1,
            StreamKind::Content => 2,
            StreamKind::Ai => 3,
            StreamKind::Licenses => 4,
            StreamKind::Forwarder => 5,
        });
    }

    fn put_range(&mut self, range: TimeRange) {
        self.put_i64(range.from().as_micros());
        self.put_i64(range.to().as_micros());
    }

    fn put_coverage(&mut self, coverage: &Coverage) {
        self.put_i64(coverage.origin().as_micros());
        self.put_u32(length(coverage.ranges().len()));
        for range in coverage.ranges() {
            self.put_range(*range);
        }
    }
}

/// A length as it is stored. Nothing that is stored reaches 4 GiB: the size cap on a record is checked before.
pub(super) fn length(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

/// Takes numbers and strings from the front of a buffer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Decoder<'a> {
    rest: &'a [u8],
}

impl<'a> Decoder<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(Malformed("it ends too early"))?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(Malformed("it ends too early"))?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Malformed> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn i32(&mut self) -> Result<i32, Malformed> {
        self.array().map(i32::from_le_bytes)
    }

    pub(super) fn i64(&mut self) -> Result<i64, Malformed> {
        self.array().map(i64::from_le_bytes)
    }

    pub(super) fn timestamp(&mut self) -> Result<Timestamp, Malformed> {
        self.i64().map(Timestamp::from_micros)
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let len = self.u32()?;
        self.take(len as usize)
    }

    pub(super) fn str(&mut self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Malformed("a name is not UTF-8"))
    }

    pub(super) fn stream(&mut self) -> Result<StreamId, Malformed> {
        let org = OrgName::new(self.str()?);
        let kind = match self.u8()? {
            1 => StreamKind::Audit,
            2 => StreamKind::Content,
            3 => StreamKind::Ai,
            4 => StreamKind::Licenses,
            5 => StreamKind::Forwarder,
            _ => return Err(Malformed("it names a stream of an unknown kind")),
        };
        Ok(StreamId::new(org, kind))
    }

    pub(super) fn range(&mut self) -> Result<TimeRange, Malformed> {
        TimeRange::new(self.timestamp()?, self.timestamp()?).ok_or(Malformed("a range ends before it begins"))
    }

    pub(super) fn coverage(&mut self) -> Result<Coverage, Malformed> {
        let mut coverage = Coverage::starting_at(self.timestamp()?);
        for _ in 0..self.u32()? {
            coverage.add(self.range()?).map_err(|_| Malformed("covered ranges overlap"))?;
        }
        Ok(coverage)
    }

    /// Refuses bytes that are left over.
    pub(super) fn end(self) -> Result<(), Malformed> {
        if self.rest.is_empty() { Ok(()) } else { Err(Malformed("it is longer than its content")) }
    }
}

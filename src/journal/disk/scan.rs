//! Reads a segment from front to back, whatever has happened to it: yields what is whole, names what is not, and finds the next
//! record behind damage by its first bytes and its header's checksum.

use std::{fs::File, io, os::unix::fs::FileExt};

use super::record::{HEADER_BYTES, Header, Kind, NotAHeader, Sections};

/// How much is looked through at once for the first bytes of a record.
const WINDOW_BYTES: usize = 64 << 10;

/// What stands in a segment, in order.
#[derive(Debug)]
pub(super) enum Found<'a> {
    /// A record with a valid header; its sections may be damaged, and the file may end inside of it.
    Record { offset: u64, header: &'a Header, sections: Sections<'a> },
    /// Bytes that are no record, up to the next one or to the end.
    Damage { from: u64, to: u64 },
}

/// Why a segment cannot be read at all.
#[derive(Debug)]
pub(super) enum ScanError {
    Io(io::Error),
    /// A newer program has written it; nothing may be changed here.
    Newer(u8),
}

impl From<io::Error> for ScanError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Visits all that stands in `file` up to its seal or its end.
pub(super) fn scan(file: &File, mut visit: impl FnMut(Found<'_>) -> io::Result<()>) -> Result<(), ScanError> {
    let len = file.metadata()?.len();
    let (mut at, mut newest, mut buffer) = (0, 0, Vec::new());
    while at < len {
        let Some(header) = header_at(file, at, len)? else {
            let next = resync(file, at + 1, len, newest)?.unwrap_or(len);
            visit(Found::Damage { from: at, to: next })?;
            at = next;
            continue;
        };
        if header.kind == Kind::Seal {
            break;
        }
        let end = at + header.total_len();
        buffer.resize(usize::try_from(end.min(len) - at).unwrap_or(usize::MAX) - HEADER_BYTES, 0);
        file.read_exact_at(&mut buffer, at + HEADER_BYTES as u64)?;
        let sections = header.sections(&buffer);
        let whole = sections.facts.is_some() && sections.ids.is_some() && sections.body.is_some();
        newest = newest.max(header.sequence);
        visit(Found::Record { offset: at, header: &header, sections })?;
        at = if whole || end == len || (end < len && header_at(file, end, len)?.is_some()) {
            end
        } else {
            // Bytes may be missing from its middle, and then the next record begins earlier than this one's header says.
            let next = resync(file, at + HEADER_BYTES as u64, len, newest)?.unwrap_or(len);
            if next > end {
                visit(Found::Damage { from: end, to: next })?;
            }
            next
        };
    }
    Ok(())
}

/// The header at an offset; `None` where there is none. Its record may be cut off by the end of the file.
fn header_at(file: &File, at: u64, len: u64) -> Result<Option<Header>, ScanError> {
    if at + HEADER_BYTES as u64 > len {
        return Ok(None);
    }
    let mut bytes = [0; HEADER_BYTES];
    file.read_exact_at(&mut bytes, at)?;
    match Header::decode(&bytes) {
        Ok(header) => Ok(Some(header)),
        Err(NotAHeader::Newer(version)) => Err(ScanError::Newer(version)),
        Err(NotAHeader::Damaged) => Ok(None),
    }
}

/// The next record behind damage. Its number must be greater than those before: the bytes of an event may look like a record.
fn resync(file: &File, from: u64, len: u64, newest: u64) -> Result<Option<u64>, ScanError> {
    let mut from = from;
    while let Some(at) = find(file, &super::record::MAGIC, from, len)? {
        let follows = |header: &Header| header.kind == Kind::Seal || header.sequence > newest;
        if header_at(file, at, len)?.is_some_and(|header| follows(&header)) {
            return Ok(Some(at));
        }
        from = at + 1;
    }
    Ok(None)
}

/// Where four bytes next stand in a file, from an offset on.
pub(super) fn find(file: &File, magic: &[u8; 4], from: u64, len: u64) -> io::Result<Option<u64>> {
    let mut window = vec![0; WINDOW_BYTES];
    let mut start = from;
    while start + (magic.len() as u64) <= len {
        let size = usize::try_from(len - start).unwrap_or(WINDOW_BYTES).min(WINDOW_BYTES);
        file.read_exact_at(&mut window[..size], start)?;
        if let Some(at) = window[..size].windows(magic.len()).position(|four| four == magic) {
            return Ok(Some(start + at as u64));
        }
        // The four bytes may lie across the edge of two windows.
        start += (size - (magic.len() - 1)) as u64;
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::{
        super::record::{Place, frame},
        *,
    };

    fn record(sequence: u64, facts: &[u8]) -> Vec<u8> {
        frame(Kind::State, Place { sequence, next_position: 1 }, facts)
    }

    /// What a scan finds, as text: whole records by number, damaged ones with a `!`, damage as `~`.
    fn found(bytes: &[u8]) -> String {
        let file = tempfile::tempfile().expect("a file");
        file.write_all_at(bytes, 0).expect("writes");
        let mut out = Vec::new();
        let end = scan(&file, |found| {
            out.push(match found {
                Found::Record { header, sections, .. } if sections.facts.is_some() => header.sequence.to_string(),
                Found::Record { header, .. } => format!("{}!", header.sequence),
                Found::Damage { .. } => "~".to_owned(),
            });
            Ok(())
        });
        match end {
            Ok(()) => out.join(" "),
            Err(ScanError::Newer(version)) => format!("newer {version}"),
            Err(ScanError::Io(error)) => panic!("{error}"),
        }
    }

    #[test]
    fn whole_records_are_found_in_order() {
        assert_eq!(found(&[]), "");
        assert_eq!(found(&[record(1, b"a"), record(2, b""), record(3, b"ccc")].concat()), "1 2 3");
    }

    #[test]
    fn damage_costs_one_record_wherever_it_lies() {
        let records = [record(1, b"first"), record(2, b"second"), record(3, b"third")];
        let bytes = records.concat();
        let (start, end) = (records[0].len(), records[0].len() + records[1].len());
        for at in start..end {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert_eq!(found(&damaged), if at < start + HEADER_BYTES { "1 ~ 3" } else { "1 2! 3" }, "byte {at}");
        }
    }

    #[test]
    fn bytes_that_are_missing_or_too_many_do_not_hide_the_next_record() {
        let (one, two, three) = (record(1, b"first"), record(2, b"second"), record(3, b"third"));
        assert_eq!(found(&[&one[..], &two[..two.len() - 2], &three].concat()), "1 2! 3");
        assert_eq!(found(&[&one[..], &two[..20], &three].concat()), "1 ~ 3");
        assert_eq!(found(&[&one[..], &two[..74], &three[..]].concat()), "1 2! 3");
        assert_eq!(found(&[&one[..], b"garbage", &two, &three].concat()), "1 ~ 2 3");
        assert_eq!(found(&[&one[..], &[0; 100_000], &two].concat()), "1 ~ 2");
    }

    #[test]
    fn a_torn_tail_is_never_whole() {
        let (one, two) = (record(1, b"first"), record(2, b"second"));
        for cut in 1..two.len() {
            let tail = if cut < HEADER_BYTES { "~" } else { "2!" };
            assert_eq!(found(&[&one[..], &two[..cut]].concat()), format!("1 {tail}"), "cut at {cut}");
        }
    }

    #[test]
    fn a_record_inside_an_events_bytes_is_not_taken_for_one() {
        let (inner, outer) = (record(1, b"bait"), record(5, b"x"));
        let mut carrier = record(4, &inner);
        carrier[1] ^= 1;
        assert_eq!(found(&[&record(3, b""), &carrier[..], &outer].concat()), "3 ~ 5");
    }
}

//! The private decoders, each under one function, for the fuzz targets in `fuzz/` and for the property tests that run the same harness
//! without a fuzzer. Not part of the library's interface.
//!
//! Each takes any bytes at all. It fails by a panic: where a decoder panics, and where what was decoded does not survive being written
//! and read again.

use bytes::Bytes;

use crate::{journal, miro};

/// An answer of Miro's: the page object and the heads of its records.
pub fn page(data: &[u8]) {
    miro::fuzz_page(&Bytes::copy_from_slice(data));
}

/// A journal record: the frame, its sections, the events in its body; and a whole segment as it is read on recovery.
pub fn record(data: &[u8]) {
    journal::disk::fuzz_record(data);
}

/// Everything else that is stored: snapshots, small state, ids, tallies, and the values of the checkpoint store.
pub fn state(data: &[u8]) {
    journal::disk::fuzz_state(data);
}

/// Small inputs that get far, to begin with: what this program itself writes.
pub fn seeds(target: &str) -> Vec<Vec<u8>> {
    match target {
        "page" => vec![
            br#"{"type":"list","limit":2,"size":2,"cursor":"MTY=","data":[{"id":"e1","createdAt":"2026-01-31T09:30:10.840Z","n":9007199254740993},{"id":3458764,"createdAt":"2026-01-31T09:30:10+0000","\u0069d":"twice"}]}"#.to_vec(),
            br#"{"data":[{},[],null,1e400,{"id":"\ud800"},{"id":"  ","createdAt":7}],"cursor":null}"#.to_vec(),
        ],
        "record" => journal::disk::record_seeds(),
        "state" => journal::disk::state_seeds(),
        _ => Vec::new(),
    }
}

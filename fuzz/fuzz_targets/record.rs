//! Hostile bytes for the journal's records and segments.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| miro_siem::fuzzing::record(data));

//! Hostile bytes for everything else that is stored.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| miro_siem::fuzzing::state(data));

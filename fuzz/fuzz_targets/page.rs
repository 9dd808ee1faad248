//! Hostile bytes for the decoder of Miro's pages.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| miro_siem::fuzzing::page(data));

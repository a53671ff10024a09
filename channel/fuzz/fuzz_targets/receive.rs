//! Everything that looks at bytes from the other end: `cargo +nightly fuzz run receive`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sluice_channel::fuzzing::receive(data));

//! Any bytes as a frame: `cargo +nightly fuzz run frame` in `dataplane/packet`.

#![no_main]

#[path = "../exercise.rs"]
mod exercise;

libfuzzer_sys::fuzz_target!(|frame: &[u8]| exercise::exercise(frame));

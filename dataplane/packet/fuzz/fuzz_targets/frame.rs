//! Any bytes as a frame: `cargo +nightly fuzz run frame` in `dataplane/packet`.

#![no_main]

#[path = "../exercise.rs"]
mod exercise;

libfuzzer_sys::fuzz_target!(|frame: &[u8]| {
    exercise::exercise(frame);
    // A right checksum is hard to guess and hides what comes after it.
    let mut mended = frame.to_vec();
    exercise::mend(&mut mended);
    exercise::exercise(&mended);
});

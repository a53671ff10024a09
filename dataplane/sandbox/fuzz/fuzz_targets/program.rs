//! Any bytes as a program: `cargo +nightly fuzz run program` in `dataplane/sandbox`. What is let through
//! does no harm on a machine that checks.

#![no_main]

#[path = "../generate.rs"]
mod generate;
#[path = "../machine.rs"]
mod machine;

use sluice_sandbox::{Program, verify};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = Program::read(bytes);
    let made = generate::program(&mut generate::Source(bytes));
    for code in [bytes, &made] {
        let Ok(verified) = verify(code) else { continue };
        for fill in [0, 0x55, 0xff] {
            let mut view = [fill; machine::SIZE];
            for (byte, with) in view.iter_mut().zip(bytes.iter().rev()) {
                *byte ^= with;
            }
            let mut last = u64::from(fill);
            let answers = |_, numbers: [u64; 4]| {
                last = last.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(numbers[0]);
                last
            };
            machine::run(&verified, &mut view, answers).expect("a verified program does no harm");
        }
    }
});

//! What the verifier lets through does no harm on a machine that checks every step, whatever the
//! packet holds and the helpers answer. The fuzz target `program` goes on with it.

#[path = "../fuzz/generate.rs"]
mod generate;
#[path = "../fuzz/machine.rs"]
mod machine;

use std::cell::Cell;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use sluice_sandbox::verify;

thread_local! {
    static PASSED: Cell<(u32, u32)> = const { Cell::new((0, 0)) };
}

#[test]
fn a_verified_program_does_no_harm() {
    let bytes = prop::collection::vec(any::<u8>(), 0..300);
    let view = prop::collection::vec(any::<u8>(), machine::SIZE);
    let cases = ProptestConfig {
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(22),
        ..ProptestConfig::with_cases(20_000)
    };
    proptest!(cases, |(bytes in bytes, view in view, seed: u64)| {
        let code = generate::program(&mut generate::Source(&bytes));
        let (tried, passed) = PASSED.get();
        let Ok(verified) = verify(&code) else {
            PASSED.set((tried + 1, passed));
            return Ok(());
        };
        PASSED.set((tried + 1, passed + 1));
        let mut view = <[u8; machine::SIZE]>::try_from(view).expect("as many");
        let before = view;
        let mut last = seed;
        let answers = |_, numbers: [u64; 4]| {
            last = last.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(numbers[0]);
            last >> (last & 63)
        };
        let ran = machine::run(&verified, &mut view, answers);
        prop_assert!(ran.is_ok(), "{ran:?}");
        let changed = view.iter().zip(&before).rposition(|(now, was)| now != was).unwrap_or(0);
        if changed >= 400 {
            let uses = verified.uses();
            prop_assert!(uses.changes && uses.window > changed - 400, "{uses:?}: {changed}");
        }
    });
    let (tried, passed) = PASSED.get();
    assert!(passed * 10 > tried, "only {passed} of {tried} programs were let through");
}

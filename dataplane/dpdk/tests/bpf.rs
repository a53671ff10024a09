//! Programs in the library: what it compiles does what a machine does that checks every step, and what
//! it does not want is told.

#[path = "../../sandbox/fuzz/generate.rs"]
mod generate;
#[path = "../../sandbox/fuzz/machine.rs"]
mod machine;

use std::cell::Cell;
use std::time::{Duration, Instant};

use generate::instruction;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use sluice_dpdk::bpf::{Frame, Host, Program};
use sluice_sandbox::instruction::decode;
use sluice_sandbox::{Helper, Verified, View, verify};
use zerocopy::{FromBytes, IntoBytes};

/// Answers with numbers that depend on all that was asked.
struct Answers(u64);

impl Answers {
    fn next(&mut self, helper: Helper, numbers: &[u64]) -> u64 {
        let mix = |sum: u64, n: &u64| (sum ^ n).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        self.0 = numbers.iter().fold(self.0 ^ u64::from(helper.number()), mix);
        self.0 >> (self.0 & 63)
    }
}

impl Host for Answers {
    fn call(&mut self, helper: Helper, numbers: [u64; 4]) -> u64 {
        // As code does that the compiler has made for an aligned stack.
        let aligned = std::hint::black_box([0_u128; 8]);
        assert!(aligned.as_ptr().addr().is_multiple_of(16));
        self.next(helper, &numbers[..helper.numbers()])
    }
}

fn framed(view: &[u8; machine::SIZE]) -> Box<Frame> {
    let mut frame = Frame::new();
    *frame.view_mut() = View::read_from_bytes(view).expect("as many bytes");
    frame
}

fn listed(code: &[u8]) -> String {
    let instructions = decode(code).expect("it was verified").into_iter().enumerate();
    instructions.filter_map(|(place, one)| Some(format!("{place}: {}\n", one?))).collect()
}

thread_local! {
    static RAN: Cell<u32> = const { Cell::new(0) };
}

#[test]
fn compiled_code_does_what_a_machine_does_that_checks() {
    let bytes = prop::collection::vec(any::<u8>(), 0..300);
    let view = prop::collection::vec(any::<u8>(), machine::SIZE);
    let cases = ProptestConfig {
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(22),
        ..ProptestConfig::with_cases(6_000)
    };
    proptest!(cases, |(bytes in bytes, view in view, seed: u64)| {
        let code = generate::program(&mut generate::Source(&bytes));
        let Ok(verified) = verify(&code) else { return Ok(()) };
        let mut view = <[u8; machine::SIZE]>::try_from(view).expect("as many");
        let (mut native, mut interpreted) = (framed(&view), framed(&view));
        // The library's verifier refuses some of what ours lets through.
        let Ok(program) = Program::load(&verified) else { return Ok(()) };
        RAN.set(RAN.get() + 1);
        let mut answers = Answers(seed);
        let expected = machine::run(&verified, &mut view, |helper, numbers| {
            answers.next(helper, &numbers[..helper.numbers()])
        });
        let answer = program.run(&mut native, &mut Answers(seed));
        prop_assert_eq!(Ok(answer), expected.clone(), "{}", listed(&code));
        let differs = |frame: &Frame| {
            let views = frame.view().as_bytes().iter().zip(&view);
            let place = views.clone().position(|(is, should)| is != should);
            place.map(|place| format!("byte {place} differs in\n{}", listed(&code)))
        };
        prop_assert_eq!(differs(&native), None);
        prop_assert_eq!(Ok(program.interpret(&mut interpreted, &mut Answers(seed))), expected);
        prop_assert_eq!(differs(&interpreted), None, "interpreted");
    });
    assert!(RAN.get() > 500, "only {} programs ran", RAN.get());
}

fn verified(code: &[[u8; 8]]) -> Verified {
    verify(&code.concat()).unwrap_or_else(|refused| panic!("{refused}"))
}

#[test]
fn a_program_is_compiled_on_this_machine() {
    let program = verified(&[instruction(0xb7, 0, 0, 0, 7), instruction(0x95, 0, 0, 0, 0)]);
    let program = Program::load(&program).unwrap();
    let compiles = cfg!(any(target_arch = "x86_64", target_arch = "aarch64"));
    assert_eq!(program.is_native(), compiles);
    assert_eq!(program.run(&mut Frame::new(), &mut Answers(0)), 7);
}

#[test]
fn loading_ends_whatever_the_program_looks_like() {
    // As many ways as are let through, and jumps of the lengths at which their encoding changes.
    for (turns, filler) in [(12, 0), (11, 14), (10, 30), (6, 4000 / 6)] {
        let mut code = vec![instruction(0xb7, 0, 0, 0, 0)];
        for _ in 0..turns {
            code.push(instruction(0x71, 2, 1, 400, 0));
            code.push(instruction(0x25, 2, 0, 1 + filler, 100));
            code.extend((0..=filler).map(|_| instruction(0x07, 0, 0, 0, 1)));
        }
        code.push(instruction(0x95, 0, 0, 0, 0));
        let code = verify(&code.concat()).unwrap();
        let start = Instant::now();
        Program::load(&code).unwrap();
        let took = start.elapsed();
        println!("{turns} turns over {filler}: {took:?}");
        assert!(took < Duration::from_secs(2), "{took:?}");
    }
}

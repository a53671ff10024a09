//! One refusal after the other, each with what is told; and what must not be refused.

use super::*;

/// An instruction's bytes.
fn i(code: u8, to: u8, from: u8, offset: i16, number: i32) -> [u8; 8] {
    let [o0, o1] = offset.to_le_bytes();
    let [n0, n1, n2, n3] = number.to_le_bytes();
    [code, from << 4 | to, o0, o1, n0, n1, n2, n3]
}

const EXIT: u8 = 0x95;
const CALL: u8 = 0x85;
const JUMP: u8 = 0x05;
/// `to = number`, `to = from`, on 64 bits.
const SET: u8 = 0xb7;
const MOVE: u8 = 0xbf;
const ADD: u8 = 0x07;
const ADD_X: u8 = 0x0f;
const AND: u8 = 0x57;
const LOAD_8: u8 = 0x71;
const LOAD_16: u8 = 0x69;
const LOAD_64: u8 = 0x79;
const STORE_8: u8 = 0x73;
const STORE_32: u8 = 0x63;
const STORE_64: u8 = 0x7b;
const IF_GREATER: u8 = 0x25;
const IF_EQUAL: u8 = 0x15;

const SETTINGS: i16 = 80;
const MEMORY: i16 = 144;
const DATA: i16 = 400;
const L4_OFFSET: i16 = 44;
const END: i16 = 656;

/// The code, with `r0 = 0; exit` behind it.
fn ended(code: &[[u8; 8]]) -> Vec<u8> {
    [code, &[i(SET, 0, 0, 0, 0), i(EXIT, 0, 0, 0, 0)]].concat().concat()
}

#[track_caller]
fn refused(code: &[[u8; 8]], told: &str) {
    let error = verify(&ended(code)).expect_err(told).to_string();
    assert!(error.contains(told), "{error:?} does not say {told:?}");
}

#[track_caller]
fn taken(code: &[[u8; 8]]) -> Verified {
    verify(&ended(code)).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn what_a_program_uses_is_known() {
    let nothing = taken(&[]);
    assert_eq!((nothing.uses(), nothing.steps()), (Uses::default(), 2));
    let facts = taken(&[i(LOAD_16, 2, 1, L4_OFFSET, 0)]);
    assert_eq!(facts.uses(), Uses { facts: true, ..Uses::default() });
    let kept = taken(&[i(LOAD_64, 2, 1, SETTINGS, 0), i(STORE_64, 1, 2, MEMORY, 0)]);
    assert_eq!(kept.uses(), Uses::default());
    let window = taken(&[i(LOAD_16, 2, 1, DATA + 20, 0)]);
    assert_eq!(window.uses(), Uses { window: 22, ..Uses::default() });
    let changes = taken(&[i(SET, 2, 0, 0, 7), i(STORE_8, 1, 2, DATA + 8, 0)]);
    assert_eq!(changes.uses(), Uses { window: 9, changes: true, ..Uses::default() });
    let calls = taken(&[i(CALL, 0, 0, 0, 8)]);
    assert!(calls.uses().calls(Helper::Log) && !calls.uses().calls(Helper::Count));
    assert_eq!(calls.steps(), CALL_STEPS + 2);
}

#[test]
fn loops_and_ways_out_of_the_program_are_refused() {
    refused(&[i(JUMP, 0, 0, -1, 0)], "a loop");
    refused(&[i(SET, 2, 0, 0, 9), i(IF_GREATER, 2, 0, -2, 3)], "a loop");
    refused(&[i(JUMP, 0, 0, 9, 0)], "jumps to 10");
    refused(&[i(JUMP, 0, 0, 1, 0), i(SET, 0, 0, 0, 0)], "instruction 1 (`r0 = 0`): nothing leads");
    // Into the second half of a constant.
    refused(&[i(JUMP, 0, 0, 1, 0), i(0x18, 2, 0, 0, 0), i(0, 0, 0, 0, 0)], "jumps to 2");
    let error = verify(&i(SET, 0, 0, 0, 0)).unwrap_err().to_string();
    assert!(error.contains("behind its end"), "{error}");
    assert!(verify(&[]).is_err());
    // Back and not round is no loop: 0 → 2 → 1 → 3.
    taken(&[i(JUMP, 0, 0, 1, 0), i(JUMP, 0, 0, 1, 0), i(JUMP, 0, 0, -2, 0)]);
}

#[test]
fn a_run_is_bounded() {
    let long = vec![i(SET, 2, 0, 0, 0); MAX_INSTRUCTIONS];
    refused(&long, "4098 instructions");
    let calls = vec![i(CALL, 0, 0, 0, 8); 2]
        .into_iter()
        .flat_map(|call| [i(MOVE, 1, 6, 0, 0), call])
        .collect::<Vec<_>>();
    let mut many = vec![i(MOVE, 6, 1, 0, 0)];
    (0..64).for_each(|_| many.extend_from_slice(&calls));
    refused(&many, "steps");
}

#[test]
fn no_address_gets_out() {
    refused(&[i(STORE_64, 1, 1, MEMORY, 0)], "number (stored)");
    refused(&[i(STORE_64, 1, 10, DATA, 0)], "number (stored)");
    refused(&[i(STORE_64, 10, 1, -8, 0)], "number (stored)");
    refused(&[i(STORE_32, 1, 1, MEMORY, 0)], "number (stored)");
    let returned = [i(MOVE, 0, 1, 0, 0), i(EXIT, 0, 0, 0, 0)].concat();
    assert!(verify(&returned).unwrap_err().to_string().contains("(returned)"));
    refused(&[i(MOVE, 2, 1, 0, 0), i(SET, 3, 0, 0, 1), i(CALL, 0, 0, 0, 1)], "(given to a helper)");
    refused(&[i(MOVE, 2, 1, 0, 0), i(0x1f, 2, 1, 0, 0)], "(calculated with)");
    refused(&[i(0x77, 1, 0, 0, 1)], "(calculated with)");
    refused(&[i(0xbc, 2, 1, 0, 0)], "(calculated with)");
    refused(&[i(0xdc, 1, 0, 0, 64)], "(calculated with)");
    refused(&[i(0x87, 1, 0, 0, 0)], "(calculated with)");
    refused(&[i(IF_GREATER, 1, 0, 0, 0)], "(compared)");
    refused(&[i(SET, 2, 0, 0, 0), i(0x1d, 2, 1, 0, 0)], "(compared)");
    // One way it is a pointer, the other way a number: neither.
    let either = [
        i(LOAD_8, 3, 1, DATA, 0),
        i(SET, 2, 0, 0, 0),
        i(IF_EQUAL, 3, 0, 1, 0),
        i(MOVE, 2, 1, 0, 0),
        i(STORE_64, 1, 2, MEMORY, 0),
    ];
    refused(&either, "r2 is read and nothing is in it");
}

#[test]
fn memory_is_its_own_alone() {
    refused(&[i(LOAD_8, 2, 1, END, 0)], "bytes 656 to 656");
    refused(&[i(LOAD_64, 2, 1, END - 4, 0)], "bytes 652 to 659");
    refused(&[i(LOAD_8, 2, 1, -1, 0)], "bytes -1 to -1");
    refused(&[i(SET, 2, 0, 0, 1), i(STORE_8, 1, 2, L4_OFFSET, 0)], "bytes 44 to 44");
    refused(&[i(SET, 2, 0, 0, 1), i(STORE_64, 1, 2, MEMORY - 4, 0)], "cannot be written");
    refused(&[i(SET, 2, 0, 0, 1), i(LOAD_8, 3, 2, 0, 0)], "r2 is a number");
    refused(&[i(LOAD_64, 2, 1, MEMORY, 0), i(LOAD_8, 3, 2, 0, 0)], "r2 is a number");
    // At an offset of the packet's choice.
    let by = |mask| {
        [
            i(LOAD_16, 2, 1, L4_OFFSET, 0),
            i(AND, 2, 0, 0, mask),
            i(ADD_X, 2, 1, 0, 0),
            i(LOAD_16, 3, 2, DATA, 0),
        ]
    };
    assert_eq!(taken(&by(0x7f)).uses().window, 129);
    refused(&by(0xff), "bytes 400 to 656");
    let mut unbounded = by(0x7f);
    unbounded[0] = i(LOAD_64, 2, 1, MEMORY, 0);
    unbounded[1] = i(ADD, 2, 0, 0, 1);
    refused(&unbounded, "bound the offset first");
    // Or compared.
    let compared = [
        i(LOAD_16, 2, 1, L4_OFFSET, 0),
        i(IF_GREATER, 2, 0, 2, 60),
        i(ADD_X, 2, 1, 0, 0),
        i(LOAD_16, 3, 2, DATA, 0),
    ];
    assert_eq!(taken(&compared).uses().window, 62);
}

#[test]
fn the_stack_is_read_where_it_was_written() {
    refused(&[i(LOAD_64, 2, 10, -8, 0)], "read at -8");
    refused(&[i(SET, 2, 0, 0, 1), i(STORE_32, 10, 2, -8, 0), i(LOAD_64, 2, 10, -8, 0)], "at -8");
    refused(&[i(SET, 2, 0, 0, 1), i(STORE_64, 10, 2, 0, 0)], "bytes 0 to 7");
    refused(&[i(SET, 2, 0, 0, 1), i(STORE_64, 10, 2, -520, 0)], "bytes -520");
    refused(&[i(SET, 10, 0, 0, 1)], "r10 cannot");
    let either = [
        i(LOAD_8, 3, 1, DATA, 0),
        i(IF_EQUAL, 3, 0, 1, 0),
        i(STORE_64, 10, 3, -8, 0),
        i(LOAD_64, 2, 10, -8, 0),
    ];
    refused(&either, "read at -8");
    let moved = [
        i(LOAD_8, 2, 1, DATA, 0),
        i(AND, 2, 0, 0, 0xf),
        i(ADD_X, 2, 10, 0, 0),
        i(LOAD_8, 3, 2, -64, 0),
    ];
    refused(&moved, "not fixed");
    // What is known of a number is known again when it is read back.
    let spilled = [
        i(LOAD_8, 2, 1, DATA, 0),
        i(STORE_64, 10, 2, -16, 0),
        i(LOAD_64, 3, 10, -16, 0),
        i(ADD_X, 3, 1, 0, 0),
        i(LOAD_8, 4, 3, DATA, 0),
    ];
    assert_eq!(taken(&spilled).uses().window, 256);
}

#[test]
fn helpers_are_given_what_they_take() {
    refused(&[i(CALL, 0, 0, 0, 99)], "no helper 99; there are sluice_count (1)");
    refused(&[i(CALL, 0, 0, 0, 0)], "no helper 0");
    refused(&[i(CALL, 0, 0, 0, 1)], "r2 is read");
    refused(&[i(ADD, 1, 0, 0, 8), i(CALL, 0, 0, 0, 8)], "given the packet first");
    refused(&[i(CALL, 0, 1, 0, 3)], "always_inline");
    refused(&[i(CALL, 0, 0, 0, 8), i(LOAD_8, 2, 1, DATA, 0)], "r1 is read");
    refused(&[i(CALL, 0, 0, 0, 8), i(LOAD_8, 2, 0, DATA, 0)], "r0 is a number");
}

#[test]
fn what_the_library_gets_wrong_is_refused() {
    refused(&[i(SET, 2, 0, 0, 1), i(0x45, 2, 0, 0, 1)], "JSET");
    refused(&[i(SET, 2, 0, 0, 1), i(0x6f, 2, 2, 0, 0)], "by itself");
    refused(&[i(SET, 2, 0, 0, 1), i(0x3f, 2, 2, 0, 0)], "by itself");
    refused(&[i(SET, 2, 0, 0, 1), i(0x67, 2, 0, 0, 200)], "a shift by 200 bits");
    refused(&[i(SET, 2, 0, 0, 1), i(0xd4, 2, 0, 0, 16)], "little-endian");
    refused(&[i(SET, 2, 0, 0, 1), i(SET, 3, 0, 0, 1), i(0x3c, 2, 3, 0, 0)], "32 bits");
    refused(&[i(SET, 2, 0, 0, 1), i(0x16, 2, 0, 0, 1)], "-mcpu=v2");
    refused(&[i(SET, 2, 0, 0, 1), i(0xdb, 1, 2, MEMORY, 0)], "an atomic instruction");
    refused(&[i(0x30, 0, 0, 0, 0)], "0x30");
    refused(&[i(SET, 11, 0, 0, 0)], "r11");
    refused(&[i(SET, 2, 1, 0, 0)], "damaged");
}

#[test]
fn nothing_is_divided_by_zero() {
    refused(&[i(SET, 2, 0, 0, 9), i(0x37, 2, 0, 0, 0)], "divide by 0");
    let by = |load| [i(SET, 2, 0, 0, 9), load, i(0x3f, 2, 3, 0, 0)];
    refused(&by(i(LOAD_64, 3, 1, SETTINGS, 0)), "divide by 0");
    let looked_at = [
        i(SET, 2, 0, 0, 9),
        i(LOAD_64, 3, 1, SETTINGS, 0),
        i(IF_EQUAL, 3, 0, 1, 0),
        i(0x3f, 2, 3, 0, 0),
    ];
    taken(&looked_at);
}

#[test]
fn many_ways_are_refused_as_fast_as_few() {
    // 2 to the 500th.
    let twofold = |turns| {
        let turn = [i(LOAD_8, 2, 1, DATA, 0), i(IF_GREATER, 2, 0, 1, 100), i(ADD, 3, 0, 0, 1)];
        [vec![i(SET, 3, 0, 0, 0)], turn.repeat(turns)].concat()
    };
    taken(&twofold(12));
    refused(&twofold(13), "too many ways");
    let start = std::time::Instant::now();
    refused(&twofold(500), "too many ways");
    // As many instructions and branches as there may be, and 2 to the 1,365th ways.
    refused(&twofold((MAX_INSTRUCTIONS - 3) / 3), "too many ways");
    let took = start.elapsed();
    assert!(took < std::time::Duration::from_secs(2), "{took:?}");
    // One more for each that ends early.
    let early = [i(LOAD_8, 0, 1, DATA, 0), i(IF_EQUAL, 0, 0, 1, 7), i(EXIT, 0, 0, 0, 0)];
    taken(&early.repeat(500));
}

//! Programs out of any bytes: most of them nearly right, so that the verifier gets to think.

use sluice_sandbox::{Helper, View};

/// Bytes that come from somewhere; 0 when there are no more.
pub struct Source<'a>(pub &'a [u8]);

impl Source<'_> {
    fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    /// Whether to do something that is rarely right.
    fn is_odd(&mut self) -> bool {
        self.byte() > 250
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::from(self.byte()) % of.len()]
    }

    fn number(&mut self) -> i32 {
        let few = [0, 1, -1, 7, 8, 31, 63, 64, 255, 256, 0xffff, i32::MAX, i32::MIN];
        match self.byte() {
            small @ 0..=99 => i32::from(small),
            100..=199 => self.pick(&few),
            _ => i32::from_le_bytes([self.byte(), self.byte(), self.byte(), self.byte()]),
        }
    }
}

/// Registers that hold numbers. The packet is in r6, and in r1 again after each call.
const NUMBERS: [u8; 8] = [0, 2, 3, 4, 5, 7, 8, 9];
const SIZES: [(u8, i16); 4] = [(0x10, 1), (0x08, 2), (0x00, 4), (0x18, 8)];

/// An instruction's bytes.
pub fn instruction(code: u8, to: u8, from: u8, offset: i16, number: i32) -> [u8; 8] {
    let [o0, o1] = offset.to_le_bytes();
    let [n0, n1, n2, n3] = number.to_le_bytes();
    [code, from << 4 | to, o0, o1, n0, n1, n2, n3]
}

/// A program.
pub fn program(source: &mut Source<'_>) -> Vec<u8> {
    let mut code = vec![instruction(0xbf, 6, 1, 0, 0)];
    for register in NUMBERS {
        let number = source.number();
        code.push(match source.byte() % 3 {
            0 => instruction(0xb7, register, 0, 0, number),
            _ => load(source, register, 6),
        });
    }
    for slot in 1..=8 {
        code.push(instruction(0x7a, 10, 0, -8 * slot, source.byte().into()));
    }
    while !source.0.is_empty() && code.len() < 200 {
        one(source, &mut code);
    }
    if source.byte().is_multiple_of(4) {
        code.push(instruction(0xb7, 0, 0, 0, 0));
    }
    code.push(instruction(0x95, 0, 0, 0, 0));
    code.concat()
}

/// Reads from the packet, somewhere.
fn load(source: &mut Source<'_>, to: u8, base: u8) -> [u8; 8] {
    let (size, bytes) = source.pick(&SIZES);
    let last = size_of::<View>() as i16 - bytes + i16::from(source.byte() == 255);
    let offset = i16::from_le_bytes([source.byte(), source.byte()]).rem_euclid(last + 1);
    instruction(0x61 | size, to, base, offset, 0)
}

fn one(source: &mut Source<'_>, code: &mut Vec<[u8; 8]>) {
    let (a, b) = (source.pick(&NUMBERS), source.pick(&NUMBERS));
    let class = source.pick(&[4, 7]);
    match source.byte() % 16 {
        0..=3 => {
            let op = source.pick(&[0, 0x10, 0x20, 0x40, 0x50, 0x60, 0x70, 0xa0, 0xb0, 0xc0]);
            let class = if op == 0xc0 && !source.is_odd() { 7 } else { class };
            let shift = matches!(op, 0x60 | 0x70 | 0xc0);
            let number = match source.number() {
                by if shift && !source.is_odd() => by & 31,
                number => number,
            };
            code.push(match source.byte() % 2 {
                0 => instruction(class | op, a, 0, 0, number),
                _ if shift && a == b && !source.is_odd() => return,
                _ => instruction(class | op | 8, a, b, 0, 0),
            });
        }
        4 if a == b && !source.is_odd() => {}
        4 => {
            // A divisor that is not 0, more often than not.
            code.push(instruction(0x57, b, 0, 0, source.number() & i32::MAX));
            code.push(instruction(0x47, b, 0, 0, i32::from(!source.is_odd())));
            let op = source.pick(&[0x30, 0x90]);
            let class = if source.is_odd() { class } else { 7 };
            code.push(instruction(class | op | 8, a, b, 0, 0));
        }
        5 => code.push(instruction(class | 0x80, a, 0, 0, 0)),
        6 => code.push(instruction(0xdc, a, 0, 0, source.pick(&[16, 32, 64]))),
        7 => {
            code.push(instruction(0x18, a, 0, 0, source.number()));
            code.push(instruction(0, 0, 0, 0, source.number()));
        }
        8 => code.push(load(source, a, 6)),
        9 => {
            // At an offset that the packet says, within bounds or not.
            let (size, bytes) = source.pick(&SIZES);
            let (mask, offset) = match source.is_odd() {
                true => source.pick(&[(0xff, 500), (0x1ff, 200), (0x3f, 0), (0xff, 401)]),
                false => source.pick(&[(0x3f, 400), (0x7f, 656 - 0x80 - bytes), (0x1f, 150)]),
            };
            code.push(instruction(0x57, a, 0, 0, mask));
            // To the pointer, or the pointer to it, which librte_bpf 22.11 does not let through.
            let pointer = if source.is_odd() { a } else { 1 };
            if pointer == 1 {
                code.push(instruction(0xbf, 1, 6, 0, 0));
                code.push(instruction(0x0f, 1, a, 0, 0));
            } else {
                code.push(instruction(0x0f, a, 6, 0, 0));
            }
            code.push(match source.byte() % 2 {
                0 => instruction(0x61 | size, b, pointer, offset, 0),
                _ => instruction(0x63 | size, pointer, b, offset, 0),
            });
            code.push(instruction(0xb7, a, 0, 0, source.number()));
        }
        10 => {
            let (size, bytes) = source.pick(&SIZES);
            let room = 656 - 144 - bytes;
            let offset =
                144 + i16::from_le_bytes([source.byte(), source.byte()]).rem_euclid(room + 1);
            code.push(match source.byte() % 3 {
                0 => instruction(0x62 | size, 6, 0, offset, source.number()),
                _ => instruction(0x63 | size, 6, a, offset - 145 * i16::from(source.is_odd()), 0),
            });
        }
        11 => {
            let offset = -8 * i16::from(1 + source.byte() % 8);
            code.push(instruction(0x7b, 10, a, offset, 0));
        }
        12 => {
            let offset = -8 * i16::from(1 + source.byte() % 8);
            code.push(instruction(0x79, a, 10, offset, 0));
        }
        13..=14 => {
            let op = source.pick(&[0x10, 0x20, 0x30, 0x50, 0x60, 0x70, 0xa0, 0xb0, 0xc0, 0xd0]);
            let over = i16::from(source.byte() % 6) - i16::from(source.is_odd()) * 9;
            code.push(match source.byte() % 2 {
                0 => instruction(5 | op, a, 0, over, source.number()),
                _ => instruction(5 | op | 8, a, b, over, 0),
            });
        }
        _ => {
            let helper = source.pick(&Helper::ALL).number();
            code.push(instruction(0xbf, 1, 6, 0, 0));
            code.push(instruction(0x85, 0, 0, 0, helper.into()));
            for register in 2..=5 {
                code.push(instruction(0xb7, register, 0, 0, source.number()));
            }
        }
    }
}

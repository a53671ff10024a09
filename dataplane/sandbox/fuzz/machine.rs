//! A machine for verified programs that takes nothing on trust: every register and byte knows what it
//! is, and what a real machine would do harm with is a fault here. What the verifier lets through must
//! run on it without one, whatever the packet holds. The library's compiled code is held to it, too.

use sluice_sandbox::instruction::{Instruction, Operand, Place, Register, decode};
use sluice_sandbox::{Helper, MAX_STEPS, STACK, Verified, View};

/// What is in a register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Word {
    Unset,
    Number(u64),
    Packet(i64),
    Stack(i64),
}

/// A view of the packet as bytes.
pub const SIZE: usize = size_of::<View>();

struct Machine<'a> {
    registers: [Word; Register::COUNT],
    stack: [Option<u8>; STACK],
    view: &'a mut [u8; SIZE],
}

/// Runs a program over a view of a packet. A helper is given its numbers.
///
/// # Errors
/// What it did that it must not.
pub fn run(
    program: &Verified,
    view: &mut [u8; SIZE],
    mut helper: impl FnMut(Helper, [u64; 4]) -> u64,
) -> Result<u64, String> {
    let instructions =
        decode(program.code().as_flattened()).map_err(|(at, why)| format!("{at}: {why}"))?;
    let mut machine =
        Machine { registers: [Word::Unset; Register::COUNT], stack: [None; STACK], view };
    machine.registers[Register::PACKET.index()] = Word::Packet(0);
    machine.registers[Register::FRAME.index()] = Word::Stack(0);
    let mut place = 0;
    for _ in 0..MAX_STEPS {
        let instruction =
            instructions.get(place).copied().flatten().ok_or(format!("nothing at {place}"))?;
        let here = place;
        let fault = |why: String| format!("{here} ({instruction}): {why}");
        place += 1;
        match instruction {
            Instruction::Exit => return machine.number(Register::ANSWER).map_err(fault),
            Instruction::Jump { target } => place = target,
            Instruction::Branch { test, left, right, target } => {
                let left = machine.number(left).map_err(fault)?;
                let right = machine.operand_number(right).map_err(fault)?;
                if test.holds(left, right) {
                    place = target;
                }
            }
            Instruction::Constant { to, number } => {
                machine.registers[to.index()] = Word::Number(number);
                place += 1;
            }
            Instruction::Call { helper: number } => {
                let called = Helper::of_number(number.into())
                    .ok_or("no helper")
                    .map_err(|e| fault(e.into()))?;
                if machine.registers[1] != Word::Packet(0) {
                    return Err(fault("the packet is not given".into()));
                }
                let mut numbers = [0; 4];
                for (index, number) in numbers.iter_mut().take(called.numbers()).enumerate() {
                    let register = Register::of_number(index as u8 + 2).expect("2 to 5");
                    *number = machine.number(register).map_err(fault)?;
                }
                machine.registers[1..=5].fill(Word::Unset);
                machine.registers[0] = Word::Number(helper(called, numbers));
            }
            other => machine.step(other).map_err(fault)?,
        }
    }
    Err("it does not end".into())
}

impl Machine<'_> {
    fn number(&self, register: Register) -> Result<u64, String> {
        match self.registers[register.index()] {
            Word::Number(number) => Ok(number),
            other => Err(format!("{register} is {other:?}, not a number")),
        }
    }

    fn operand(&self, operand: Operand) -> Result<Word, String> {
        match operand {
            Operand::Number(number) => Ok(Word::Number(number)),
            Operand::Register(register) => match self.registers[register.index()] {
                Word::Unset => Err(format!("{register} is not set")),
                word => Ok(word),
            },
        }
    }

    fn operand_number(&self, operand: Operand) -> Result<u64, String> {
        match self.operand(operand)? {
            Word::Number(number) => Ok(number),
            other => Err(format!("{operand} is {other:?}, not a number")),
        }
    }

    fn step(&mut self, instruction: Instruction) -> Result<(), String> {
        use sluice_sandbox::instruction::Alu;
        let (to, word) = match instruction {
            Instruction::Alu { op: Alu::Move, wide: true, to, with } => (to, self.operand(with)?),
            Instruction::Alu { op, wide, to, with } => {
                let before = match op {
                    Alu::Move => Word::Number(0),
                    _ => self.operand(Operand::Register(to))?,
                };
                let with = self.operand(with)?;
                let word = match (before, with, op, wide) {
                    (Word::Number(a), Word::Number(b), _, _) => {
                        let divisor = if wide { b } else { b & 0xffff_ffff };
                        if matches!(op, Alu::Divide | Alu::Modulo) && divisor == 0 {
                            return Err("a division by 0".into());
                        }
                        Word::Number(op.apply(a, b, wide))
                    }
                    (Word::Packet(at), Word::Number(by), Alu::Add, true)
                    | (Word::Number(by), Word::Packet(at), Alu::Add, true) => {
                        Word::Packet(at.wrapping_add(by as i64))
                    }
                    (Word::Stack(at), Word::Number(by), Alu::Add, true)
                    | (Word::Number(by), Word::Stack(at), Alu::Add, true) => {
                        Word::Stack(at.wrapping_add(by as i64))
                    }
                    (Word::Packet(at), Word::Number(by), Alu::Subtract, true) => {
                        Word::Packet(at.wrapping_sub(by as i64))
                    }
                    (Word::Stack(at), Word::Number(by), Alu::Subtract, true) => {
                        Word::Stack(at.wrapping_sub(by as i64))
                    }
                    (a, b, _, _) => return Err(format!("{a:?} with {b:?}")),
                };
                (to, word)
            }
            Instruction::Negate { wide, to } => {
                let number = self.number(to)?;
                (to, Word::Number(Alu::Subtract.apply(0, number, wide)))
            }
            Instruction::Order { bits, to } => {
                let number = self.number(to)?;
                (to, Word::Number(ordered(number, bits)))
            }
            Instruction::Load { to, from } => {
                let mut bytes = [0; 8];
                for (at, byte) in bytes.iter_mut().take(from.bytes.into()).enumerate() {
                    *byte = self.byte(from, at)?.ok_or("the stack is not set there")?;
                }
                (to, Word::Number(u64::from_le_bytes(bytes)))
            }
            Instruction::Store { to, what } => {
                let bytes = self.operand_number(what)?.to_le_bytes();
                for (at, byte) in bytes.iter().take(to.bytes.into()).enumerate() {
                    self.set_byte(to, at, *byte)?;
                }
                return Ok(());
            }
            other => return Err(format!("{other} is none for here")),
        };
        if to == Register::FRAME {
            return Err("r10 is written".into());
        }
        self.registers[to.index()] = word;
        Ok(())
    }

    fn byte(&self, place: Place, at: usize) -> Result<Option<u8>, String> {
        let offset = i64::from(place.offset) + at as i64;
        let outside = || format!("{place} is outside");
        match self.registers[place.base.index()] {
            Word::Packet(start) => {
                let at = usize::try_from(start + offset).map_err(|_| outside())?;
                self.view.get(at).copied().map(Some).ok_or_else(outside)
            }
            Word::Stack(start) => {
                let at = usize::try_from(start + offset + STACK as i64).map_err(|_| outside())?;
                self.stack.get(at).copied().ok_or_else(outside)
            }
            other => Err(format!("{} is {other:?}, no pointer", place.base)),
        }
    }

    fn set_byte(&mut self, place: Place, at: usize, byte: u8) -> Result<(), String> {
        const MEMORY: usize = std::mem::offset_of!(View, memory);
        let offset = i64::from(place.offset) + at as i64;
        let outside = || format!("{place} is outside");
        match self.registers[place.base.index()] {
            Word::Packet(start) => {
                let at = usize::try_from(start + offset).map_err(|_| outside())?;
                if at < MEMORY {
                    return Err(format!("{place} cannot be written"));
                }
                *self.view.get_mut(at).ok_or_else(outside)? = byte;
            }
            Word::Stack(start) => {
                let at = usize::try_from(start + offset + STACK as i64).map_err(|_| outside())?;
                *self.stack.get_mut(at).ok_or_else(outside)? = Some(byte);
            }
            other => return Err(format!("{} is {other:?}, no pointer", place.base)),
        }
        Ok(())
    }
}

/// The low bits of a number, in network byte order.
fn ordered(number: u64, bits: u8) -> u64 {
    match bits {
        16 => u64::from((number as u16).to_be()),
        32 => u64::from((number as u32).to_be()),
        _ => number.to_be(),
    }
}

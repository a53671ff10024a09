//! What is known before an instruction runs: of every register and of the stack.
//!
//! A pointer is in a register or nowhere: what is in memory are numbers, so that none can be read
//! back as an address. What a number in a register can be is a [`Range`]; what a pointer can point to
//! is a part of one region.

use crate::STACK;
use crate::error::Problem;
use crate::helper::Helper;
use crate::instruction::{Alu, Instruction, Operand, Place, Register, Test};
use crate::range::Range;
use crate::verify::Uses;
use crate::view::{Part, View};

/// What a pointer points into.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Region {
    /// The view of the packet; offsets from its start.
    Packet,
    /// The stack; offsets from its end, all of them negative.
    Stack,
}

/// What is in a register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Value {
    /// Nothing that may be read.
    Unset,
    /// A number.
    Number(Range),
    /// A pointer at an offset from `low` to `high`.
    Pointer { region: Region, low: i64, high: i64 },
}

impl Value {
    const ANY: Value = Value::Number(Range::ANY);

    /// What is known of a value that is one or the other.
    fn join(self, other: Value) -> Value {
        match (self, other) {
            (Value::Number(a), Value::Number(b)) => Value::Number(a.union(b)),
            (
                Value::Pointer { region, low, high },
                Value::Pointer { region: other, low: other_low, high: other_high },
            ) if region == other => {
                Value::Pointer { region, low: low.min(other_low), high: high.max(other_high) }
            }
            _ => Value::Unset,
        }
    }
}

/// How far a pointer may point past what it points into.
const FAR: i64 = 1 << 29;
/// Numbers of 64 bits on the stack.
const SLOTS: usize = STACK / 8;

/// What is known at one place of the program.
#[derive(Clone, Debug)]
pub(super) struct State {
    registers: [Value; Register::COUNT],
    /// Which bytes of the stack have been written, a bit each.
    written: [u64; STACK / 64],
    /// What is known of numbers that were written to the stack as a whole.
    slots: [Option<Range>; SLOTS],
    /// The steps that may have been taken so far.
    pub(super) steps: u32,
    /// How many ways lead here.
    pub(super) ways: u64,
}

/// The bits of `written` for the bytes from `start` on, word by word.
fn bytes_of(start: usize, count: usize) -> impl Iterator<Item = (usize, u64)> {
    (start..start + count).map(|byte| (byte / 64, 1 << (byte % 64)))
}

impl State {
    /// The packet in register 1, the frame pointer, and nothing else.
    pub(super) fn at_first() -> State {
        let mut registers = [Value::Unset; Register::COUNT];
        let start = |region| Value::Pointer { region, low: 0, high: 0 };
        registers[Register::PACKET.index()] = start(Region::Packet);
        registers[Register::FRAME.index()] = start(Region::Stack);
        State { registers, written: [0; STACK / 64], slots: [None; SLOTS], steps: 0, ways: 1 }
    }

    /// Keeps what holds in both.
    pub(super) fn join(&mut self, other: &State) {
        for (register, other) in self.registers.iter_mut().zip(&other.registers) {
            *register = register.join(*other);
        }
        for (word, other) in self.written.iter_mut().zip(&other.written) {
            *word &= other;
        }
        for (slot, other) in self.slots.iter_mut().zip(&other.slots) {
            *slot = slot.zip(*other).map(|(a, b)| a.union(b));
        }
        self.steps = self.steps.max(other.steps);
        self.ways = self.ways.saturating_add(other.ways);
    }

    fn read(&self, register: Register) -> Result<Value, Problem> {
        match self.registers[register.index()] {
            Value::Unset => Err(Problem::Unset(register.to_string())),
            value => Ok(value),
        }
    }

    fn number(&self, register: Register, leaks: &'static str) -> Result<Range, Problem> {
        match self.read(register)? {
            Value::Number(range) => Ok(range),
            _ => Err(Problem::Leak(leaks)),
        }
    }

    fn operand(&self, operand: Operand) -> Result<Value, Problem> {
        match operand {
            Operand::Register(register) => self.read(register),
            Operand::Number(number) => Ok(Value::Number(Range::exactly(number))),
        }
    }

    fn write(&mut self, register: Register, value: Value) -> Result<(), Problem> {
        if register == Register::FRAME {
            return Err(Problem::FrameWritten);
        }
        self.registers[register.index()] = value;
        Ok(())
    }

    /// Takes an instruction that is no branch.
    pub(super) fn step(
        &mut self,
        instruction: Instruction,
        uses: &mut Uses,
    ) -> Result<(), Problem> {
        match instruction {
            Instruction::Alu { op, wide, to, with } => self.alu(op, wide, to, with),
            Instruction::Negate { wide, to } => {
                let range = self.number(to, "calculated with")?;
                let zero = Range::exactly(0);
                self.write(to, Value::Number(zero.after(Alu::Subtract, range, wide)))
            }
            Instruction::Order { bits, to } => {
                self.number(to, "calculated with")?;
                self.write(to, Value::Number(Range::of_bits(bits.into())))
            }
            Instruction::Constant { to, number } => {
                self.write(to, Value::Number(Range::exactly(number)))
            }
            Instruction::Load { to, from } => {
                let range = self.load(from, uses)?;
                self.write(to, Value::Number(range))
            }
            Instruction::Store { to, what } => match self.operand(what)? {
                Value::Number(range) => self.store(to, range, uses),
                _ => Err(Problem::Leak("stored")),
            },
            Instruction::Call { helper } => self.call(helper, uses),
            Instruction::Exit => self.number(Register::ANSWER, "returned").map(drop),
            Instruction::Jump { .. } | Instruction::Branch { .. } => Ok(()),
        }
    }

    fn alu(&mut self, op: Alu, wide: bool, to: Register, with: Operand) -> Result<(), Problem> {
        let with = self.operand(with)?;
        if op == Alu::Move && wide {
            return self.write(to, with);
        }
        let before = match op {
            Alu::Move => Value::ANY,
            _ => self.read(to)?,
        };
        let value = match (before, with, op) {
            (Value::Number(a), Value::Number(b), _) => {
                let divisor = if wide { b } else { b.low_word() };
                if matches!(op, Alu::Divide | Alu::Modulo) && divisor.low == 0 {
                    return Err(Problem::DivisionByZero);
                }
                Value::Number(a.after(op, b, wide))
            }
            (pointer @ Value::Pointer { .. }, Value::Number(by), Alu::Add)
            | (Value::Number(by), pointer @ Value::Pointer { .. }, Alu::Add)
                if wide =>
            {
                let (low, high) = signed(by)?;
                moved(pointer, low, high)?
            }
            (pointer @ Value::Pointer { .. }, Value::Number(by), Alu::Subtract) if wide => {
                let (low, high) = signed(by)?;
                moved(pointer, high.saturating_neg(), low.saturating_neg())?
            }
            _ => return Err(Problem::Leak("calculated with")),
        };
        self.write(to, value)
    }

    /// Takes a branch: this is the state where it is not taken then, and what is returned the one
    /// where it is.
    pub(super) fn branch(
        &mut self,
        test: Test,
        left: Register,
        right: Operand,
    ) -> Result<Box<State>, Problem> {
        let a = self.number(left, "compared")?;
        let b = match right {
            Operand::Register(register) => self.number(register, "compared")?,
            Operand::Number(number) => Range::exactly(number),
        };
        let mut taken = Box::new(self.clone());
        if right != Operand::Register(left) {
            for (state, holds) in [(&mut *taken, true), (self, false)] {
                let (a, b) = a.given(test, b, holds);
                state.registers[left.index()] = Value::Number(a);
                if let Operand::Register(right) = right {
                    state.registers[right.index()] = Value::Number(b);
                }
            }
        }
        Ok(taken)
    }

    /// Where in a region a place is: the first byte at the least, and at the most.
    fn place(&self, place: Place) -> Result<(Region, i64, i64), Problem> {
        match self.read(place.base)? {
            Value::Pointer { region, low, high } => {
                let offset = i64::from(place.offset);
                Ok((region, low + offset, high + offset))
            }
            _ => Err(Problem::NoPointer(place.base.to_string())),
        }
    }

    fn load(&self, from: Place, uses: &mut Uses) -> Result<Range, Problem> {
        let any = Range::of_bits(u32::from(from.bytes) * 8);
        let (region, low, high) = self.place(from)?;
        match region {
            Region::Packet => {
                packet(low, high, from.bytes, uses, false)?;
                Ok(any)
            }
            Region::Stack => {
                let start = stack(low, high, from.bytes)?;
                if bytes_of(start, from.bytes.into())
                    .any(|(word, bit)| self.written[word] & bit == 0)
                {
                    return Err(Problem::StackUnset(low));
                }
                let whole = from.bytes == 8 && start.is_multiple_of(8);
                Ok(self.slots[start / 8].filter(|_| whole).unwrap_or(any))
            }
        }
    }

    fn store(&mut self, to: Place, range: Range, uses: &mut Uses) -> Result<(), Problem> {
        let (region, low, high) = self.place(to)?;
        match region {
            Region::Packet => packet(low, high, to.bytes, uses, true),
            Region::Stack => {
                let (start, count) = (stack(low, high, to.bytes)?, usize::from(to.bytes));
                for (word, bit) in bytes_of(start, count) {
                    self.written[word] |= bit;
                }
                self.slots[start / 8..=(start + count - 1) / 8].fill(None);
                if count == 8 && start.is_multiple_of(8) {
                    self.slots[start / 8] = Some(range);
                }
                Ok(())
            }
        }
    }

    fn call(&mut self, number: i32, uses: &mut Uses) -> Result<(), Problem> {
        let Some(helper) = Helper::of_number(number.into()) else {
            return Err(Problem::Helper { number });
        };
        let whole = Value::Pointer { region: Region::Packet, low: 0, high: 0 };
        if self.read(Register::PACKET)? != whole {
            return Err(Problem::HelperPacket(helper.name()));
        }
        let arguments = 1..=helper.numbers() + 1;
        for argument in arguments.skip(1).filter_map(|place| Register::of_number(place as u8)) {
            self.number(argument, "given to a helper")?;
        }
        for scratch in &mut self.registers[1..=5] {
            *scratch = Value::Unset;
        }
        uses.call(helper);
        self.write(Register::ANSWER, Value::ANY)
    }
}

/// A range as what a pointer is moved by.
fn signed(by: Range) -> Result<(i64, i64), Problem> {
    let (low, high) = (by.low as i64, by.high as i64);
    match low <= high {
        true => Ok((low, high)),
        false => Err(Problem::Unbounded { low: i64::MIN, high: i64::MAX }),
    }
}

fn moved(pointer: Value, by_low: i64, by_high: i64) -> Result<Value, Problem> {
    let Value::Pointer { region, low, high } = pointer else { return Ok(pointer) };
    let (low, high) = (low.saturating_add(by_low), high.saturating_add(by_high));
    if low < -FAR || high > FAR {
        return Err(Problem::Unbounded { low: by_low, high: by_high });
    }
    Ok(Value::Pointer { region, low, high })
}

/// Checks a place in the view of the packet, and notes what it is.
fn packet(low: i64, high: i64, bytes: u8, uses: &mut Uses, writes: bool) -> Result<(), Problem> {
    const SIZE: usize = size_of::<View>();
    let (last, end) = (high + i64::from(bytes) - 1, high + i64::from(bytes));
    let (Ok(start), Ok(end)) = (usize::try_from(low), usize::try_from(end)) else {
        return Err(Problem::OutOfPacket { low, high: last, size: SIZE });
    };
    if end > SIZE {
        return Err(Problem::OutOfPacket { low, high: last, size: SIZE });
    }
    for part in Part::ALL {
        let there = part.bytes();
        if end <= there.start || start >= there.end {
            continue;
        }
        if writes && !part.is_writable() {
            return Err(Problem::ReadOnly { low, high: last });
        }
        match part {
            Part::Facts => uses.facts = true,
            Part::Data => {
                uses.window = uses.window.max(end - there.start);
                uses.changes |= writes;
            }
            Part::Settings | Part::Memory => {}
        }
    }
    Ok(())
}

/// Checks a place on the stack: where it is, from the stack's first byte on.
fn stack(low: i64, high: i64, bytes: u8) -> Result<usize, Problem> {
    if low != high {
        return Err(Problem::StackOffset);
    }
    let start = low + STACK as i64;
    if start < 0 || low + i64::from(bytes) > 0 {
        return Err(Problem::OutOfStack { low, high: high + i64::from(bytes) - 1 });
    }
    Ok(start as usize)
}

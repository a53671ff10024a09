//! Reading instructions out of a section's bytes. A field that says nothing has to be 0.

use super::{Alu, Instruction, Operand, Place, Register, Test};
use crate::error::Problem;

/// The fields of an instruction's eight bytes.
struct Fields {
    code: u8,
    to: u8,
    from: u8,
    offset: i16,
    number: i32,
}

impl Fields {
    fn of(bytes: [u8; 8]) -> Fields {
        let [code, registers, o0, o1, n0, n1, n2, n3] = bytes;
        Fields {
            code,
            to: registers & 0xf,
            from: registers >> 4,
            offset: i16::from_le_bytes([o0, o1]),
            number: i32::from_le_bytes([n0, n1, n2, n3]),
        }
    }

    fn to(&self) -> Result<Register, Problem> {
        Register::of_number(self.to).ok_or(Problem::Register(self.to))
    }

    fn from(&self) -> Result<Register, Problem> {
        Register::of_number(self.from).ok_or(Problem::Register(self.from))
    }

    /// The operand that the instruction's source bit says; the field that it leaves is 0.
    fn operand(&self) -> Result<Operand, Problem> {
        match self.code & 8 {
            0 if self.from == 0 => Ok(Operand::Number(i64::from(self.number) as u64)),
            8 if self.number == 0 => Ok(Operand::Register(self.from()?)),
            _ => Err(Problem::Field),
        }
    }

    /// Where a jump at `place` leads to.
    fn target(&self, place: usize, count: usize) -> Result<usize, Problem> {
        let target = place as i64 + 1 + i64::from(self.offset);
        let inside = usize::try_from(target).ok().filter(|&target| target < count);
        inside.ok_or(Problem::Target(target))
    }

    fn memory(&self, base: Register) -> Place {
        let bytes = match self.code & 0x18 {
            0x00 => 4,
            0x08 => 2,
            0x10 => 1,
            _ => 8,
        };
        Place { base, offset: self.offset, bytes }
    }

    fn only(&self, right: bool) -> Result<(), Problem> {
        if right { Ok(()) } else { Err(Problem::Field) }
    }
}

/// Reads all instructions of a section: one a place, `None` where a [`Instruction::Constant`] has its
/// second place.
///
/// # Errors
/// The place of the first that may not be used, and why.
pub fn decode(code: &[u8]) -> Result<Vec<Option<Instruction>>, (usize, Problem)> {
    let (places, rest) = code.as_chunks::<8>();
    if !rest.is_empty() {
        return Err((places.len(), Problem::Field));
    }
    let mut instructions = Vec::with_capacity(places.len());
    while let Some(&bytes) = places.get(instructions.len()) {
        let place = instructions.len();
        let fields = Fields::of(bytes);
        if fields.code == 0x18 {
            let second = places.get(place + 1).map(|&bytes| Fields::of(bytes));
            instructions.push(Some(constant(&fields, second).map_err(|problem| (place, problem))?));
            instructions.push(None);
        } else {
            let one = decode_one(&fields, place, places.len());
            instructions.push(Some(one.map_err(|problem| (place, problem))?));
        }
    }
    let split = |target: usize| instructions[target].is_none();
    for (place, instruction) in instructions.iter().enumerate() {
        match instruction {
            Some(Instruction::Jump { target } | Instruction::Branch { target, .. })
                if split(*target) =>
            {
                return Err((place, Problem::Target(*target as i64)));
            }
            _ => {}
        }
    }
    Ok(instructions)
}

fn constant(first: &Fields, second: Option<Fields>) -> Result<Instruction, Problem> {
    let Some(second) = second else { return Err(Problem::Field) };
    let empty = second.code == 0 && second.to == 0 && second.from == 0 && second.offset == 0;
    // A source other than 0 makes it a map, which there are none of.
    first.only(empty && first.from == 0 && first.offset == 0)?;
    let number = u64::from(first.number as u32) | u64::from(second.number as u32) << 32;
    Ok(Instruction::Constant { to: first.to()?, number })
}

fn decode_one(fields: &Fields, place: usize, count: usize) -> Result<Instruction, Problem> {
    /// Memory at an offset from a register.
    const MEM: u8 = 0x60;
    /// An atomic instruction.
    const ATOMIC: u8 = 0xc0;
    let unknown = Err(Problem::Unknown(fields.code));
    match fields.code & 7 {
        class @ (4 | 7) => alu(fields, class == 7),
        1 if fields.code & 0xe0 == MEM => {
            fields.only(fields.number == 0)?;
            Ok(Instruction::Load { to: fields.to()?, from: fields.memory(fields.from()?) })
        }
        2 if fields.code & 0xe0 == MEM => {
            fields.only(fields.from == 0)?;
            let what = Operand::Number(i64::from(fields.number) as u64);
            Ok(Instruction::Store { to: fields.memory(fields.to()?), what })
        }
        3 if fields.code & 0xe0 == MEM => {
            fields.only(fields.number == 0)?;
            let what = Operand::Register(fields.from()?);
            Ok(Instruction::Store { to: fields.memory(fields.to()?), what })
        }
        3 if fields.code & 0xe0 == ATOMIC => Err(Problem::Atomic),
        5 => jump(fields, place, count),
        6 => Err(Problem::Jump32),
        _ => unknown,
    }
}

fn alu(fields: &Fields, wide: bool) -> Result<Instruction, Problem> {
    let to = fields.to()?;
    fields.only(fields.offset == 0)?;
    match fields.code & 0xf0 {
        0x80 => {
            fields.only(fields.code & 8 == 0 && fields.from == 0 && fields.number == 0)?;
            return Ok(Instruction::Negate { wide, to });
        }
        0xd0 => {
            fields.only(!wide && fields.from == 0)?;
            if fields.code & 8 == 0 {
                return Err(Problem::LittleEndian);
            }
            return match fields.number {
                bits @ (16 | 32 | 64) => Ok(Instruction::Order { bits: bits as u8, to }),
                _ => Err(Problem::Field),
            };
        }
        _ => {}
    }
    let Some(op) = Alu::of_bits(fields.code) else { return Err(Problem::Unknown(fields.code)) };
    let with = fields.operand()?;
    let itself = with == Operand::Register(to);
    let width = if wide { 64 } else { 32 };
    match op {
        Alu::Left | Alu::Right | Alu::ArithmeticRight if itself => Err(Problem::ByItself),
        Alu::Divide | Alu::Modulo if itself => Err(Problem::ByItself),
        Alu::Divide | Alu::Modulo if !wide && matches!(with, Operand::Register(_)) => {
            Err(Problem::Division32)
        }
        Alu::ArithmeticRight if !wide => Err(Problem::Unknown(fields.code)),
        Alu::Left | Alu::Right | Alu::ArithmeticRight => match with {
            Operand::Number(by) if by >= width => Err(Problem::Shift(by as i64)),
            _ => Ok(Instruction::Alu { op, wide, to, with }),
        },
        _ => Ok(Instruction::Alu { op, wide, to, with }),
    }
}

fn jump(fields: &Fields, place: usize, count: usize) -> Result<Instruction, Problem> {
    match fields.code {
        0x05 => {
            fields.only(fields.to == 0 && fields.from == 0 && fields.number == 0)?;
            Ok(Instruction::Jump { target: fields.target(place, count)? })
        }
        0x85 if fields.from == 1 => Err(Problem::LocalCall),
        0x85 => {
            fields.only(fields.to == 0 && fields.from == 0 && fields.offset == 0)?;
            Ok(Instruction::Call { helper: fields.number })
        }
        0x95 => {
            let empty = fields.to == 0 && fields.from == 0;
            fields.only(empty && fields.offset == 0 && fields.number == 0)?;
            Ok(Instruction::Exit)
        }
        code => {
            if code & 0xf0 == 0x40 {
                return Err(Problem::BitTest);
            }
            let Some(test) = Test::of_bits(code) else { return Err(Problem::Unknown(code)) };
            let (left, right) = (fields.to()?, fields.operand()?);
            let target = fields.target(place, count)?;
            Ok(Instruction::Branch { test, left, right, target })
        }
    }
}

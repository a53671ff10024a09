//! eBPF's instructions (RFC 9669), as far as programs may use them.
//!
//! What is left out is left out for a reason: loops have no end that can be seen; atomic instructions
//! are for memory that is shared, and nothing here is; packets are not `LD_ABS`'s; and the following is
//! got wrong by `librte_bpf` 22.11, as its source says and trying shows:
//!
//! * a conversion to little-endian leaves the upper bits when it is interpreted;
//! * `JSET` with a small immediate is written with one byte of it where the machine wants four;
//! * a division of 32 bits by a register cuts r0 to 32 bits;
//! * a shift of a register by itself shifts another;
//! * a division of a register by itself divides by what happens to be in a third.

mod decode;

use std::fmt;

pub use decode::decode;

/// A register: 0 to 10.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Register(u8);

impl Register {
    /// Registers that there are; the last is the frame pointer.
    pub const COUNT: usize = 11;

    /// What a program answers, and what a call answers.
    pub const ANSWER: Register = Register(0);
    /// The packet, at first.
    pub const PACKET: Register = Register(1);
    /// The end of the stack; it cannot be written.
    pub const FRAME: Register = Register(10);

    /// The register of a number.
    #[must_use]
    pub fn of_number(number: u8) -> Option<Register> {
        (usize::from(number) < Register::COUNT).then_some(Register(number))
    }

    /// Its number.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl fmt::Display for Register {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "r{}", self.0)
    }
}

/// What an operation is done with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operand {
    /// What is in a register.
    Register(Register),
    /// A number; 32 bits in the instruction, sign-extended.
    Number(u64),
}

impl fmt::Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Operand::Register(register) => register.fmt(f),
            Operand::Number(number) => (*number as i64).fmt(f),
        }
    }
}

/// An operation on two numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Alu {
    Add,
    Subtract,
    Multiply,
    Divide,
    Or,
    And,
    Left,
    Right,
    Modulo,
    Xor,
    Move,
    ArithmeticRight,
}

impl Alu {
    /// All of them.
    pub const ALL: [Alu; 12] = [
        Alu::Add,
        Alu::Subtract,
        Alu::Multiply,
        Alu::Divide,
        Alu::Or,
        Alu::And,
        Alu::Left,
        Alu::Right,
        Alu::Modulo,
        Alu::Xor,
        Alu::Move,
        Alu::ArithmeticRight,
    ];

    fn of_bits(bits: u8) -> Option<Alu> {
        Some(match bits >> 4 {
            0x0 => Alu::Add,
            0x1 => Alu::Subtract,
            0x2 => Alu::Multiply,
            0x3 => Alu::Divide,
            0x4 => Alu::Or,
            0x5 => Alu::And,
            0x6 => Alu::Left,
            0x7 => Alu::Right,
            0x9 => Alu::Modulo,
            0xa => Alu::Xor,
            0xb => Alu::Move,
            0xc => Alu::ArithmeticRight,
            _ => return None,
        })
    }

    fn sign(self) -> &'static str {
        match self {
            Alu::Add => "+=",
            Alu::Subtract => "-=",
            Alu::Multiply => "*=",
            Alu::Divide => "/=",
            Alu::Or => "|=",
            Alu::And => "&=",
            Alu::Left => "<<=",
            Alu::Right => ">>=",
            Alu::Modulo => "%=",
            Alu::Xor => "^=",
            Alu::Move => "=",
            Alu::ArithmeticRight => "s>>=",
        }
    }

    /// Its result, of 64 bits or of 32; the divisor is not 0. What a shift goes by is taken modulo
    /// the width.
    #[must_use]
    pub fn apply(self, a: u64, b: u64, wide: bool) -> u64 {
        if wide {
            return match self {
                Alu::Add => a.wrapping_add(b),
                Alu::Subtract => a.wrapping_sub(b),
                Alu::Multiply => a.wrapping_mul(b),
                Alu::Divide => a / b,
                Alu::Or => a | b,
                Alu::And => a & b,
                Alu::Left => a.wrapping_shl(b as u32),
                Alu::Right => a.wrapping_shr(b as u32),
                Alu::Modulo => a % b,
                Alu::Xor => a ^ b,
                Alu::Move => b,
                Alu::ArithmeticRight => (a as i64).wrapping_shr(b as u32) as u64,
            };
        }
        let (a, b) = (a as u32, b as u32);
        let result = match self {
            Alu::Left => a.wrapping_shl(b),
            Alu::Right => a.wrapping_shr(b),
            Alu::ArithmeticRight => (a as i32).wrapping_shr(b) as u32,
            other => other.apply(a.into(), b.into(), true) as u32,
        };
        result.into()
    }
}

/// A comparison of two numbers of 64 bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Test {
    Equal,
    NotEqual,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
    SignedGreater,
    SignedGreaterOrEqual,
    SignedLess,
    SignedLessOrEqual,
}

impl Test {
    /// All of them.
    pub const ALL: [Test; 10] = [
        Test::Equal,
        Test::NotEqual,
        Test::Greater,
        Test::GreaterOrEqual,
        Test::Less,
        Test::LessOrEqual,
        Test::SignedGreater,
        Test::SignedGreaterOrEqual,
        Test::SignedLess,
        Test::SignedLessOrEqual,
    ];

    fn of_bits(bits: u8) -> Option<Test> {
        Some(match bits >> 4 {
            0x1 => Test::Equal,
            0x2 => Test::Greater,
            0x3 => Test::GreaterOrEqual,
            0x5 => Test::NotEqual,
            0x6 => Test::SignedGreater,
            0x7 => Test::SignedGreaterOrEqual,
            0xa => Test::Less,
            0xb => Test::LessOrEqual,
            0xc => Test::SignedLess,
            0xd => Test::SignedLessOrEqual,
            _ => return None,
        })
    }

    fn sign(self) -> &'static str {
        match self {
            Test::Equal => "==",
            Test::NotEqual => "!=",
            Test::Greater => ">",
            Test::GreaterOrEqual => ">=",
            Test::Less => "<",
            Test::LessOrEqual => "<=",
            Test::SignedGreater => "s>",
            Test::SignedGreaterOrEqual => "s>=",
            Test::SignedLess => "s<",
            Test::SignedLessOrEqual => "s<=",
        }
    }

    /// The one that holds when this one does not.
    #[must_use]
    pub fn opposite(self) -> Test {
        match self {
            Test::Equal => Test::NotEqual,
            Test::NotEqual => Test::Equal,
            Test::Greater => Test::LessOrEqual,
            Test::GreaterOrEqual => Test::Less,
            Test::Less => Test::GreaterOrEqual,
            Test::LessOrEqual => Test::Greater,
            Test::SignedGreater => Test::SignedLessOrEqual,
            Test::SignedGreaterOrEqual => Test::SignedLess,
            Test::SignedLess => Test::SignedGreaterOrEqual,
            Test::SignedLessOrEqual => Test::SignedGreater,
        }
    }

    /// The same of numbers without a sign.
    #[must_use]
    pub fn unsigned(self) -> Test {
        match self {
            Test::SignedGreater => Test::Greater,
            Test::SignedGreaterOrEqual => Test::GreaterOrEqual,
            Test::SignedLess => Test::Less,
            Test::SignedLessOrEqual => Test::LessOrEqual,
            other => other,
        }
    }

    /// Whether it holds.
    #[must_use]
    pub fn holds(self, a: u64, b: u64) -> bool {
        match self {
            Test::Equal => a == b,
            Test::NotEqual => a != b,
            Test::Greater => a > b,
            Test::GreaterOrEqual => a >= b,
            Test::Less => a < b,
            Test::LessOrEqual => a <= b,
            Test::SignedGreater => a as i64 > b as i64,
            Test::SignedGreaterOrEqual => a as i64 >= b as i64,
            Test::SignedLess => (a as i64) < b as i64,
            Test::SignedLessOrEqual => a as i64 <= b as i64,
        }
    }
}

/// A place in memory: so many bytes at an offset from what a register points to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// The register.
    pub base: Register,
    /// The offset.
    pub offset: i16,
    /// 1, 2, 4 or 8.
    pub bytes: u8,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { base, offset, bytes } = self;
        write!(f, "*(u{} *)({base} {offset:+})", u32::from(*bytes) * 8)
    }
}

/// An instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Instruction {
    /// `to = to OP with`, on 64 bits or, unless `wide`, on the low 32, the upper ones becoming 0.
    Alu {
        /// What is done.
        op: Alu,
        /// Whether it is of 64 bits.
        wide: bool,
        /// The register.
        to: Register,
        /// The other operand.
        with: Operand,
    },
    /// `to = -to`.
    Negate {
        /// Whether it is of 64 bits.
        wide: bool,
        /// The register.
        to: Register,
    },
    /// The low bits in network byte order; the upper ones become 0.
    Order {
        /// 16, 32 or 64.
        bits: u8,
        /// The register.
        to: Register,
    },
    /// A number of 64 bits; the instruction takes two places.
    Constant {
        /// The register.
        to: Register,
        /// The number.
        number: u64,
    },
    /// Reads from memory; the upper bits become 0.
    Load {
        /// The register.
        to: Register,
        /// From where.
        from: Place,
    },
    /// Writes to memory.
    Store {
        /// Where to.
        to: Place,
        /// What.
        what: Operand,
    },
    /// Goes on elsewhere.
    Jump {
        /// The place of the instruction.
        target: usize,
    },
    /// Goes on elsewhere if a comparison holds.
    Branch {
        /// The comparison.
        test: Test,
        /// Its left side.
        left: Register,
        /// Its right side.
        right: Operand,
        /// The place of the instruction.
        target: usize,
    },
    /// Calls a helper, by number.
    Call {
        /// The number.
        helper: i32,
    },
    /// Ends the run.
    Exit,
}

impl fmt::Display for Instruction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let narrow = |wide| if wide { "" } else { "(u32) " };
        match self {
            Instruction::Alu { op, wide, to, with } => {
                write!(f, "{}{to} {} {with}", narrow(*wide), op.sign())
            }
            Instruction::Negate { wide, to } => write!(f, "{}{to} = -{to}", narrow(*wide)),
            Instruction::Order { bits, to } => write!(f, "{to} = be{bits} {to}"),
            Instruction::Constant { to, number } => write!(f, "{to} = {number} ll"),
            Instruction::Load { to, from } => write!(f, "{to} = {from}"),
            Instruction::Store { to, what } => write!(f, "{to} = {what}"),
            Instruction::Jump { target } => write!(f, "goto {target}"),
            Instruction::Branch { test, left, right, target } => {
                write!(f, "if {left} {} {right} goto {target}", test.sign())
            }
            Instruction::Call { helper } => write!(f, "call {helper}"),
            Instruction::Exit => write!(f, "exit"),
        }
    }
}

//! Why a program is refused: what, where in it, and what to do.

use crate::{
    CALL_STEPS, Helper, MAX_FILE, MAX_INSTRUCTIONS, MAX_STEPS, MAX_VISITS, MEMORY, SECTION, STACK,
    VERSION, WINDOW,
};

/// Why a file is no program that may run.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// The file is too large.
    #[error("it has {bytes} bytes, and a program may have {MAX_FILE}: strip it (llvm-strip -g)")]
    File {
        /// Its size.
        bytes: usize,
    },
    /// The file cannot be read as ELF.
    #[error(
        "it is no ELF object for BPF ({reason}): compile it with `clang -O2 -target bpf -mcpu=v2 -c`"
    )]
    Elf {
        /// What is wrong with it.
        reason: String,
    },
    /// The file is for another machine.
    #[error(
        "it is for another machine (ELF machine {machine}, BPF is 247): compile it with \
         `clang -O2 -target bpf -mcpu=v2 -c`"
    )]
    Machine {
        /// The machine.
        machine: u16,
    },
    /// A section that has to be there is not, or is there twice.
    #[error(
        "it has {count} sections `{section}` with something in them, and one is wanted: {cure}"
    )]
    Section {
        /// The section's name.
        section: &'static str,
        /// How many there are.
        count: usize,
        /// What to write.
        cure: &'static str,
    },
    /// Code outside of the section that runs.
    #[error(
        "there is code in its section `{section}`, and only that of `{SECTION}` runs: mark functions \
         `static inline __attribute__((always_inline))`"
    )]
    OtherCode {
        /// The section's name.
        section: String,
    },
    /// The code names something outside of itself.
    #[error(
        "instruction {place} refers to `{symbol}`, which is not in Sluice: call the helpers of bpf.h \
         alone, keep numbers in `packet->memory`, and have no variables of your own outside of the \
         function"
    )]
    Symbol {
        /// The instruction's place.
        place: u64,
        /// The symbol, or the section that it is in.
        symbol: String,
    },
    /// What the program says of itself is of another version.
    #[error("it is made for version {version} of bpf.h, and this is {VERSION}: compile it anew")]
    Version {
        /// The version.
        version: u32,
    },
    /// What the program says of itself cannot be.
    #[error("what it declares cannot be: {what}")]
    Declaration {
        /// What is wrong with it.
        what: String,
    },
    /// Too many instructions.
    #[error("it has {count} instructions, and a program may have {MAX_INSTRUCTIONS}")]
    TooLong {
        /// How many.
        count: usize,
    },
    /// The longest way through it is too long.
    #[error(
        "a run may take {steps} steps (a call counts as {CALL_STEPS}), and {MAX_STEPS} are allowed"
    )]
    TooSlow {
        /// The steps.
        steps: u32,
    },
    /// There are too many ways through it.
    #[error(
        "there are too many ways through it ({visits} instructions when each is gone by itself, and \
         librte_bpf may be given {MAX_VISITS}): return as soon as the answer is known, and calculate \
         instead of branching"
    )]
    TooManyWays {
        /// The instructions on all ways.
        visits: u64,
    },
    /// An instruction may not be.
    #[error("instruction {place}{}: {problem}", shown(text))]
    Instruction {
        /// Its place.
        place: usize,
        /// The instruction, as far as it could be read.
        text: String,
        /// What is wrong with it.
        problem: Problem,
    },
}

fn shown(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(" (`{text}`)") }
}

/// What is wrong with an instruction.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// It is none that may be used.
    #[error("operation {0:#04x} is not allowed: compile with -mcpu=v2")]
    Unknown(u8),
    /// A comparison of 32 bits.
    #[error("a jump that compares 32 bits: compile with -mcpu=v2")]
    Jump32,
    /// A conversion to little-endian, which the library interprets wrongly.
    #[error("a conversion to little-endian: programs run on such machines, leave it out")]
    LittleEndian,
    /// A division of 32 bits by a register, which the library compiles wrongly.
    #[error("a division of 32 bits, which librte_bpf compiles wrongly: compile with -mcpu=v2")]
    Division32,
    /// `JSET`, which the library compiles wrongly.
    #[error("a jump on a bit (JSET): test it with `&` and compare")]
    BitTest,
    /// An atomic instruction.
    #[error("an atomic instruction: each worker has its own memory, add without")]
    Atomic,
    /// A call of a function in the same file.
    #[error(
        "it calls a function of the program's own: mark that `static inline \
         __attribute__((always_inline))`"
    )]
    LocalCall,
    /// A field that is to be 0 is not, or there is half an instruction.
    #[error("its fields are not those of an instruction: the file is damaged")]
    Field,
    /// There is no such register.
    #[error("there is no register r{0}: the file is damaged")]
    Register(u8),
    /// A jump out of the program, or into the middle of an instruction.
    #[error("it jumps to {0}, where no instruction begins")]
    Target(i64),
    /// A register is shifted or divided by itself.
    #[error("a register shifted or divided by itself, which librte_bpf compiles wrongly")]
    ByItself,
    /// A shift by more bits than there are.
    #[error("a shift by {0} bits")]
    Shift(i64),
    /// It leads back.
    #[error(
        "a loop: the program must end whatever the packet holds; unroll it (`#pragma unroll`) with a \
         fixed number of turns"
    )]
    Loop,
    /// The program goes on behind its last instruction.
    #[error("the program runs on behind its end")]
    End,
    /// Nothing leads there.
    #[error("nothing leads there")]
    Unreachable,
    /// A register is read that holds nothing.
    #[error("{0} is read and nothing is in it on some way")]
    Unset(String),
    /// The frame pointer is written.
    #[error("r10 cannot be changed")]
    FrameWritten,
    /// A divisor may be 0.
    #[error("it may divide by 0: compare the divisor with 0 first")]
    DivisionByZero,
    /// A pointer is used as a number.
    #[error(
        "a pointer is used as a number ({0}): the packet's address cannot be stored, returned, \
         compared or given to a helper in place of a number"
    )]
    Leak(&'static str),
    /// A number is used as a pointer.
    #[error("{0} is a number, not a pointer to the packet or the stack")]
    NoPointer(String),
    /// A pointer is moved by who knows how much.
    #[error("the packet's pointer is moved by {low} to {high} bytes: bound the offset first")]
    Unbounded {
        /// The least.
        low: i64,
        /// The most.
        high: i64,
    },
    /// Memory outside of what the program has.
    #[error(
        "bytes {low} to {high} of `struct sluice_packet`, which has {size}: the window on the packet \
         (`data`) is {WINDOW} bytes; bound an offset into it, with `&` for instance, or call \
         sluice_load"
    )]
    OutOfPacket {
        /// The first byte.
        low: i64,
        /// The last byte.
        high: i64,
        /// The size of what there is.
        size: usize,
    },
    /// A part of the packet that is not to be written.
    #[error(
        "bytes {low} to {high} of `struct sluice_packet` cannot be written: only `data` can, and \
         `memory` with its {MEMORY} numbers"
    )]
    ReadOnly {
        /// The first byte.
        low: i64,
        /// The last byte.
        high: i64,
    },
    /// Memory outside of the stack.
    #[error("bytes {low} to {high} from the end of the stack, which has {STACK}")]
    OutOfStack {
        /// The first byte.
        low: i64,
        /// The last byte.
        high: i64,
    },
    /// The stack at a place that depends on the packet.
    #[error("the stack at an offset that is not fixed")]
    StackOffset,
    /// The stack is read where nothing has been written.
    #[error("the stack is read at {0}, where nothing has been written on some way")]
    StackUnset(i64),
    /// There is no such helper.
    #[error("there is no helper {number}; there are {known}", known = known())]
    Helper {
        /// The number.
        number: i32,
    },
    /// A helper is not given the packet first.
    #[error("{0} is to be given the packet first, as the hook was given it")]
    HelperPacket(&'static str),
}

fn known() -> String {
    let known = Helper::ALL.map(|helper| format!("{} ({})", helper.name(), helper.number()));
    known.join(", ")
}

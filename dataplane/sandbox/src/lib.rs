//! Programs of hook authors that run in a sandbox: eBPF (RFC 9669), compiled by clang, loaded while
//! packets flow.
//!
//! This crate reads the file ([`Program::read`]), and [verifies](verify()) every instruction before any
//! of them runs. It runs nothing: `sluice-dpdk` gives what is [`Verified`] to DPDK's `librte_bpf`, which
//! has a verifier of its own that is too lax for us and a compiler to native code that is wrong
//! in corners. A program that passes here keeps to these:
//!
//! * **It ends.** No instruction is reached twice in a run, and the longest way through it, calls
//!   included, is at most [`MAX_STEPS`].
//! * **It touches its own memory alone**: its [`View`] of the packet, of which it may change
//!   [`View::memory`] and [`View::data`], and 512 bytes of stack, of which it reads only what it has
//!   written.
//! * **It learns no address.** A pointer stays in a register; it is neither stored, nor returned, nor
//!   given to a helper in place of a number, nor compared or calculated with beyond an offset.
//! * **It calls what there is**: the [`Helper`]s, each with the packet and numbers.
//! * **It divides by no zero**, and says nothing that the library's compiler is known to get wrong
//!   ([`instruction`]).
//!
//! What it means, and what authors write, is in `include/sluice/bpf.h` and `docs/sandbox.md`.

#![forbid(unsafe_code)]

mod declaration;
mod elf;
mod error;
mod helper;
pub mod instruction;
mod range;
mod verify;
mod view;

pub use declaration::{Declaration, Setting, Table};
pub use elf::{Program, SECTION};
pub use error::{Problem, Refused};
pub use helper::Helper;
pub use range::Range;
pub use verify::{Uses, Verified, verify};
pub use view::{MEMORY, SETTINGS, View, WINDOW};

/// The version of what programs and Sluice have agreed on: `SLUICE_BPF_VERSION` of the header.
pub const VERSION: u32 = 1;

/// The most bytes that a file may have.
pub const MAX_FILE: usize = 1 << 20;

/// The most instructions that a program may have.
pub const MAX_INSTRUCTIONS: usize = 4096;

/// The most steps of one run: an instruction is one, a call counts as [`CALL_STEPS`].
pub const MAX_STEPS: u32 = 4096;

/// What a call counts as.
pub const CALL_STEPS: u32 = 32;

/// The most instructions that `librte_bpf` may meet when it verifies a program, a branch counting as
/// [`BRANCH_VISITS`]: it goes every way by itself, of which there are twice as many with each branch
/// that comes together again, and nobody can stop it. So many take it some tens of milliseconds.
pub const MAX_VISITS: u64 = 1 << 17;

/// What a branch counts as there: all that is known of registers and stack is put aside, some 4 KiB.
pub const BRANCH_VISITS: u64 = 16;

/// Bytes of stack.
pub const STACK: usize = 512;

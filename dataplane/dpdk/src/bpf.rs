//! Verified programs, compiled to native code by DPDK's `librte_bpf`, and run.
//!
//! What makes this sound is what `sluice-sandbox` says of a [`Verified`] program: it ends, and it
//! touches nothing but the [`View`] that its argument points to and its own stack. The library verifies
//! it once more, and may refuse it; where it has no compiler for the machine, it interprets.
//!
//! A program calls helpers through the C shim, which leads to the [`Host`] of the run.

use std::ffi::c_void;
use std::fmt;
use std::ptr::NonNull;

use sluice_dpdk_sys as sys;
use sluice_sandbox::{Helper, Verified, View};

use crate::error::{errno, errno_text};
use crate::{DpdkError, log};

/// What answers a program's calls during one run.
pub trait Host {
    /// Answers a call. Of `numbers`, those that the helper takes are the program's
    /// ([`Helper::numbers`]); the others are anything.
    fn call(&mut self, helper: Helper, numbers: [u64; 4]) -> u64;
}

type Native = unsafe extern "C" fn(*mut c_void) -> u64;

/// A program that can run, on any thread and on several at once.
pub struct Program {
    loaded: NonNull<sys::rte_bpf>,
    native: Option<Native>,
}

// SAFETY: what is loaded is mapped read-only and changed by nobody; what a run changes is its frame.
unsafe impl Send for Program {}
// SAFETY: as above.
unsafe impl Sync for Program {}

/// What a program runs on: its view of a packet and, during a run, who answers its calls.
#[repr(C)]
pub struct Frame {
    // First, so that a pointer to it is one to the frame.
    view: View,
    host: Option<NonNull<dyn Host>>,
}

// SAFETY: the pointer is there during a run alone, which is a borrow.
unsafe impl Send for Frame {}

impl Frame {
    /// A frame with a view of nothing.
    #[must_use]
    pub fn new() -> Box<Frame> {
        Box::new(Frame { view: *View::new(), host: None })
    }

    /// The program's view.
    #[inline]
    #[must_use]
    pub fn view(&self) -> &View {
        &self.view
    }

    /// The program's view, to be filled.
    #[inline]
    #[must_use]
    pub fn view_mut(&mut self) -> &mut View {
        &mut self.view
    }
}

impl Program {
    /// Has a program compiled.
    ///
    /// # Errors
    /// [`DpdkError::Program`] with what the library logs when it refuses it.
    pub fn load(verified: &Verified) -> Result<Program, DpdkError> {
        const { assert!(Helper::ALL.len() == sys::SLUICE_BPF_HELPERS as usize) };
        let numbers = Helper::ALL.map(|helper| helper.numbers() as u8);
        let code = verified.code();
        let (loaded, said) = log::capture(|| {
            // SAFETY: so many instructions are there, which are copied; the argument of every run is
            // a frame, whose view has that size; `call` is the only callback that is ever given.
            let loaded = unsafe {
                sys::sluice_bpf_load(
                    code.as_ptr().cast(),
                    code.len() as u32,
                    size_of::<View>(),
                    numbers.as_ptr(),
                    Some(call),
                )
            };
            NonNull::new(loaded).ok_or_else(errno)
        });
        let loaded = loaded.map_err(|errno| DpdkError::Program {
            reason: if said.is_empty() { errno_text(errno) } else { said },
        })?;
        // SAFETY: it was loaded a moment ago.
        let native = unsafe { sys::sluice_bpf_native(loaded.as_ptr()) };
        Ok(Program { loaded, native })
    }

    /// Whether it was compiled; if not, it is interpreted.
    #[must_use]
    pub fn is_native(&self) -> bool {
        self.native.is_some()
    }

    /// Runs it over a frame. Yields its answer.
    #[inline]
    pub fn run(&self, frame: &mut Frame, host: &mut dyn Host) -> u64 {
        self.run_as(self.native, frame, host)
    }

    /// Runs it interpreted, also where it was compiled: what compiled code is compared with.
    pub fn interpret(&self, frame: &mut Frame, host: &mut dyn Host) -> u64 {
        self.run_as(None, frame, host)
    }

    #[inline]
    fn run_as(&self, native: Option<Native>, frame: &mut Frame, host: &mut dyn Host) -> u64 {
        // SAFETY: only the lifetime is another; the pointer is gone from the frame when the run is
        // over, and so before the borrow ends.
        let host = unsafe {
            std::mem::transmute::<NonNull<dyn Host + '_>, NonNull<dyn Host>>(NonNull::from(host))
        };
        frame.host = Some(host);
        let frame = &raw mut *frame;
        let answer = match native {
            // SAFETY: the code was verified: it ends, and of what its argument leads to it touches
            // the view, which is at the frame's start. What it calls are helpers, with that pointer.
            Some(native) => unsafe { native(frame.cast()) },
            // SAFETY: as above.
            None => unsafe { sys::rte_bpf_exec(self.loaded.as_ptr(), frame.cast()) },
        };
        // SAFETY: the frame is borrowed for the whole of this call, and the program has ended.
        unsafe { (*frame).host = None };
        answer
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // SAFETY: it was loaded, and is destroyed here alone.
        unsafe { sys::rte_bpf_destroy(self.loaded.as_ptr()) };
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Program").field("native", &self.is_native()).finish_non_exhaustive()
    }
}

/// What the shim calls when a program calls a helper.
unsafe extern "C" fn call(helper: u32, frame: *mut c_void, a: u64, b: u64, c: u64, d: u64) -> u64 {
    let Some(helper) = Helper::of_number(helper.into()) else { return 0 };
    // SAFETY: a verified program gives the pointer that it was given itself: to a frame that is
    // borrowed by `run`, on this thread, and that nobody else touches meanwhile.
    let host = unsafe { (*frame.cast::<Frame>()).host };
    let Some(mut host) = host else { return 0 };
    // SAFETY: `run` has put it there from a unique borrow, which lasts until the program has ended.
    unsafe { host.as_mut() }.call(helper, [a, b, c, d])
}

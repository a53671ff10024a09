//! Hooks from outside: shared objects that are loaded into a running dataplane.
//!
//! A file is one of two things. It exports `sluice_hook_program` and is a **hook**, which an operator
//! loads at an event: the C interface of `include/sluice/hook.h` ([`types`]). Or it exports
//! `sluice_module_init` and is a **module**, written for the interface of Solaris' Packet Filtering
//! Hooks (`include/sluice/solaris`), which registers hooks of its own in every instance ([`solaris`]).
//!
//! Neither needs a symbol of the dataplane: it is handed a table of functions, so that a file that was
//! built for another version is refused before any of its code has run that could call one
//! ([ADR 21](../../../../docs/adr/0021-shared-objects.md)).
//!
//! What a foreign object does to memory nobody can check. What crosses the border is checked: a
//! packet that the object holds is known by a place in a table ([`lent`]), so that what is freed
//! twice, or was never lent, is counted and does no harm, and what it has not given back when it is
//! unloaded is freed and told.
//!
//! The invariants that the `unsafe` blocks rest on:
//!
//! * an object's code and data are there as long as an [`Arc`](std::sync::Arc) to its [`Shared`] is,
//!   and everything that can call into it holds one;
//! * what a callback is given (`struct sluice_packet`, an `mblk_t` of a packet in the burst) is used by
//!   it until it returns, and by nobody else meanwhile;
//! * no panic crosses: `extern "C"` ends the process at one, and none of ours panics.

mod calls;
mod choice;
mod hand;
mod hook;
mod lent;
mod object;
mod solaris;
pub mod types;

use std::path::Path;
use std::sync::Arc;

pub use object::ObjectError;

use crate::program::Loadable;
use crate::stack::Api;
use object::{Object, Shared};

/// What a file is.
pub enum Opened {
    /// A hook, to be loaded at an event.
    Hook(Loadable),
    /// A module, which registers hooks itself.
    Module(Box<dyn ModuleFile>),
}

/// A file that registers modules. It runs on the agent's thread.
pub trait ModuleFile: Send {
    /// Has it register them (`_init`). What it has registered is taken back where that fails.
    ///
    /// # Errors
    /// Why it does not want to be loaded.
    fn start(&mut self, api: &mut Api<'_>) -> Result<(), String>;

    /// Has it unregister them (`_fini`). What it leaves is unregistered all the same.
    ///
    /// # Errors
    /// What it left.
    fn stop(&mut self, api: &mut Api<'_>) -> Result<(), String>;

    /// The modules that it has registered, by name.
    fn modules(&self) -> Vec<String>;

    /// Numbers of its own, by name.
    fn statistics(&self) -> Vec<(String, u64)>;
}

/// Loads a shared object: `bytes` are what is in the file of this path.
///
/// # Errors
/// [`ObjectError`] when it cannot be loaded, or is not for this interface.
pub fn open(path: &Path, bytes: &[u8]) -> Result<Opened, ObjectError> {
    let object = Object::load(path, bytes)?;
    if object.has(types::PROGRAM_SYMBOL) {
        return hook::loadable(Arc::new(Shared::new(object))).map(Opened::Hook);
    }
    if object.has(types::MODULE_SYMBOL) {
        return solaris::module(object);
    }
    Err(ObjectError::NoEntry)
}

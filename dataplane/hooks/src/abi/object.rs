//! A shared object in memory.

use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

use super::lent::Lent;
use super::types::{MODULE_SYMBOL, PROGRAM_SYMBOL, SLUICE_HOOK_ABI, sluice_hook_program};

/// `RTLD_NOLOAD`: finds an object that is there, and loads none.
const RTLD_NOLOAD: std::ffi::c_int = 4;

/// Why an object is not loaded.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// There is no memory to load it from.
    #[error("no memory to load it into: {0}")]
    Memory(#[from] std::io::Error),
    /// The system's loader refuses it: a damaged file, a missing symbol or library.
    #[error("it cannot be loaded: {0}")]
    Loader(String),
    /// It exports none of our symbols.
    #[error(
        "it is not for Sluice: it exports neither `{}` (a hook, see include/sluice/hook.h) nor `{}` (a \
         module, see include/sluice/solaris)",
        PROGRAM_SYMBOL.to_string_lossy(), MODULE_SYMBOL.to_string_lossy()
    )]
    NoEntry,
    /// It is written for another version.
    #[error("it is built for version {found} of {of}, this is version {ours}: build it anew")]
    Version {
        /// Which interface.
        of: &'static str,
        /// The version that it is built for.
        found: u32,
        /// Ours.
        ours: u32,
    },
    /// A part of the description is not as it has to be.
    #[error("`{symbol}`: {what}", symbol = PROGRAM_SYMBOL.to_string_lossy())]
    Description {
        /// What is wrong, and what it has to be.
        what: String,
    },
    /// A symbol is missing.
    #[error("it does not export `{0}`")]
    Missing(String),
}

impl ObjectError {
    pub(super) fn description(what: impl Into<String>) -> ObjectError {
        ObjectError::Description { what: what.into() }
    }

    pub(super) fn version(found: u32) -> ObjectError {
        ObjectError::Version { of: "the C interface", found, ours: SLUICE_HOOK_ABI }
    }
}

/// A shared object that is loaded; it is unloaded when this is dropped.
///
/// It is loaded from memory of its own, not from its file: what runs is what was read, two versions
/// of one file are two objects, and writing over the file does no harm.
pub(super) struct Object {
    /// Where it came from, for people.
    pub(super) name: String,
    library: Option<Library>,
    /// What it is loaded from. The loader knows an object by this path, so that the number must not
    /// be another file's as long as the object may be there.
    memory: Option<File>,
}

impl Object {
    /// Loads what was read from `path`. Its constructors run.
    pub(super) fn load(path: &Path, bytes: &[u8]) -> Result<Object, ObjectError> {
        let name = path.file_name().unwrap_or(OsStr::new("hook"));
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let memory = memfd_create(name.as_bytes(), flags).map_err(std::io::Error::from)?;
        let mut memory = File::from(memory);
        memory.write_all(bytes)?;
        let seals = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
        fcntl_add_seals(&memory, seals).map_err(std::io::Error::from)?;
        let place = place(&memory);
        // SAFETY: the object's constructors run here, on the agent's thread. That they do no harm is
        // what whoever loads a shared object vouches for.
        let library = unsafe { Library::open(Some(&place), RTLD_NOW | RTLD_LOCAL) };
        let library = library.map_err(|error| {
            // The loader names the place in memory, which nobody knows.
            ObjectError::Loader(words(&error).replace(&place, &path.to_string_lossy()))
        })?;
        let name = path.display().to_string();
        Ok(Object { name, library: Some(library), memory: Some(memory) })
    }

    /// Whether it exports a symbol.
    pub(super) fn has(&self, symbol: &CStr) -> bool {
        self.symbol::<*const u8>(symbol).is_some()
    }

    /// The address of an exported symbol, as a pointer or a function pointer.
    pub(super) fn symbol<T: Copy>(&self, symbol: &CStr) -> Option<T> {
        const { assert!(size_of::<T>() == size_of::<usize>()) };
        let library = self.library.as_ref()?;
        // SAFETY: only the address is looked up; what it is used for answers for the type.
        unsafe { library.get::<T>(symbol.to_bytes_with_nul()) }.ok().map(|found| *found)
    }

    /// The description of a hook, as it stands in the object.
    pub(super) fn program(&self) -> Option<*const sluice_hook_program> {
        self.symbol(PROGRAM_SYMBOL)
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        drop(self.library.take());
        let Some(memory) = self.memory.take() else { return };
        // SAFETY: nothing is loaded, so nothing of it runs.
        let there = unsafe { Library::open(Some(place(&memory)), RTLD_NOW | RTLD_NOLOAD) };
        if there.is_ok() {
            // It asked not to be unloaded: the number stays its own.
            std::mem::forget(memory);
        }
    }
}

fn place(memory: &File) -> String {
    format!("/proc/self/fd/{}", memory.as_raw_fd())
}

fn words(error: &libloading::Error) -> String {
    match error {
        libloading::Error::DlOpen { desc } => format!("{desc:?}").trim_matches('"').to_owned(),
        other => other.to_string(),
    }
}

/// An object, and what it holds of ours. Everything that can call into the object has a share.
pub(super) struct Shared<T> {
    /// The packets that it holds, each with what it sees of it.
    pub(super) lent: Lent<T>,
    /// Declared last: the code is there until everything else is gone.
    pub(super) object: Object,
}

impl<T: Default> Shared<T> {
    pub(super) fn new(object: Object) -> Shared<T> {
        Shared { lent: Lent::new(), object }
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        self.lent.settle(&self.object.name);
    }
}

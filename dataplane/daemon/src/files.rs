//! Files that hooks are loaded from: reading them, and telling by the ELF header what they are.
//!
//! A file is read once, and what was read is what is loaded: its digest is that of the code that
//! runs, whatever happens to the file afterwards. All of it is done by the agent while a commit is
//! prepared, where everything may still fail.

use std::fmt::Write as _;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use sluice_hooks::abi::{self, Opened};
use sluice_hooks::sandbox::{self, SandboxError};
use sluice_policy::model::Name;

/// The largest file that is read.
const LARGEST: u64 = 64 << 20;

/// The machine that shared objects have to be built for (`e_machine`).
const MACHINE: u16 = if cfg!(target_arch = "aarch64") { 183 } else { 62 };
/// `EM_BPF`.
const BPF: u16 = 247;
/// `ET_REL`, `ET_DYN`.
const RELOCATABLE: u16 = 1;
const DYNAMIC: u16 = 3;

/// Why a file is not loaded.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is a directory, a device or a pipe.
    #[error("{} is no file: give the path of a shared object", .0.display())]
    NoFile(PathBuf),
    /// It is too large to be a hook.
    #[error("{} has {bytes} bytes: at most {LARGEST} are loaded", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// It is not what was committed.
    #[error(
        "{} has changed since it was committed: its sha256 was {committed} and is {is}; put the \
         file back, or load it anew", path.display()
    )]
    Changed {
        /// The file.
        path: PathBuf,
        /// What was in it.
        committed: Name,
        /// What is in it.
        is: Name,
    },
    /// It is not an ELF file of 64 bits in this machine's byte order.
    #[error("{} is not an ELF file of 64 bits: build it with `cc -shared -fPIC`", .0.display())]
    NotElf(PathBuf),
    /// It is an ELF file that nothing can be done with.
    #[error(
        "{} is an ELF file of type {kind} for machine {machine}: a shared object of this machine \
         ({DYNAMIC}, {MACHINE}) can be loaded, and a program for the sandbox ({RELOCATABLE}, {BPF})",
        path.display()
    )]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Its `e_type`.
        kind: u16,
        /// Its `e_machine`.
        machine: u16,
    },
    /// It is an eBPF program that cannot be loaded.
    #[error("{}: {source}", path.display())]
    Sandbox {
        /// The file.
        path: PathBuf,
        /// Why.
        source: SandboxError,
    },
    /// It is a shared object that cannot be loaded.
    #[error("{}: {source}", path.display())]
    Object {
        /// The file.
        path: PathBuf,
        /// Why.
        source: abi::ObjectError,
    },
}

/// A file that was read.
pub struct HookFile {
    path: PathBuf,
    bytes: Vec<u8>,
    /// SHA-256 of its bytes, in hexadecimal.
    pub digest: Name,
}

impl HookFile {
    /// Reads a file.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn read(path: &str) -> Result<HookFile, FileError> {
        let path = PathBuf::from(path);
        let bytes = bytes(&path)?;
        let mut digest = String::new();
        for byte in Sha256::digest(&bytes) {
            // Writing into a string does not fail.
            let _ = write!(digest, "{byte:02x}");
        }
        Ok(HookFile { path, bytes, digest: digest.into() })
    }

    /// Reads a file that was committed with a digest.
    ///
    /// # Errors
    /// [`FileError::Changed`] when it is another by now.
    pub fn committed(path: &str, digest: Option<&Name>) -> Result<HookFile, FileError> {
        let file = HookFile::read(path)?;
        match digest {
            Some(committed) if *committed != file.digest => Err(FileError::Changed {
                path: file.path,
                committed: committed.clone(),
                is: file.digest,
            }),
            _ => Ok(file),
        }
    }

    /// Loads it, as what its header says that it is.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn open(self) -> Result<Opened, FileError> {
        let HookFile { path, bytes, digest: _ } = self;
        match header(&bytes) {
            None => Err(FileError::NotElf(path)),
            Some((RELOCATABLE, BPF)) => match sandbox::load(&bytes) {
                Ok(program) => Ok(Opened::Hook(program)),
                Err(source) => Err(FileError::Sandbox { path, source }),
            },
            Some((DYNAMIC, MACHINE)) => {
                abi::open(&path, &bytes).map_err(|source| FileError::Object { path, source })
            }
            Some((kind, machine)) => Err(FileError::Foreign { path, kind, machine }),
        }
    }
}

fn bytes(path: &Path) -> Result<Vec<u8>, FileError> {
    let unreadable = |source| FileError::Unreadable { path: path.to_owned(), source };
    // A pipe must not be opened: nobody might write.
    let metadata = std::fs::metadata(path).map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(FileError::NoFile(path.to_owned()));
    }
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    let size = (bytes.len() as u64).max(metadata.len());
    if size > LARGEST {
        return Err(FileError::TooLarge { path: path.to_owned(), bytes: size });
    }
    Ok(bytes)
}

/// Type and machine of an ELF file of 64 bits, little-endian.
fn header(bytes: &[u8]) -> Option<(u16, u16)> {
    let header = bytes.first_chunk::<64>()?;
    if !header.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let half = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
    Some((half(16), half(18)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elf(kind: u16, machine: u16) -> Vec<u8> {
        let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
        bytes.resize(16, 0);
        bytes.extend(kind.to_le_bytes());
        bytes.extend(machine.to_le_bytes());
        bytes.resize(64, 0);
        bytes
    }

    fn refusal(bytes: &[u8]) -> String {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.so");
        std::fs::write(&path, bytes).unwrap();
        let file = HookFile::read(path.to_str().unwrap()).unwrap();
        file.open().err().expect("nothing of this is a hook").to_string()
    }

    #[test]
    fn what_is_no_hook_is_told_by_its_header() {
        let elf_of = |kind, machine| refusal(&elf(kind, machine));
        assert!(refusal(b"#!/bin/sh\n").contains("a.so is not an ELF file"));
        assert!(refusal(&elf(DYNAMIC, MACHINE)[..40]).contains("is not an ELF file"));
        assert!(elf_of(RELOCATABLE, MACHINE).contains("type 1 for machine"));
        assert!(elf_of(DYNAMIC, 8).contains("machine 8"));
        assert!(elf_of(RELOCATABLE, BPF).contains("the sandbox refuses the program"));
        assert!(elf_of(DYNAMIC, MACHINE).contains("a.so: "), "an empty object");
    }

    #[test]
    fn what_is_no_file_is_not_read() {
        let error = |path: &str| HookFile::read(path).err().unwrap().to_string();
        assert!(error("/nonexistent/a.so").starts_with("cannot read /nonexistent/a.so: "));
        assert_eq!(error("/dev"), "/dev is no file: give the path of a shared object");
    }

    #[test]
    fn a_file_that_has_changed_is_told_with_both_digests() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_str().unwrap();
        let is = HookFile::read(path).unwrap().digest;
        assert!(is.starts_with("e3b0c44298fc1c14"), "of nothing: {is}");
        assert!(HookFile::committed(path, Some(&is)).is_ok());
        let error = HookFile::committed(path, Some(&"0123".into())).err().unwrap().to_string();
        assert!(error.contains("was 0123 and is e3b0c44298fc1c14"), "{error}");
    }
}

//! What can go wrong with a kernel interface.

use std::io;
use std::path::PathBuf;

/// Why an interface could not be taken or given back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KernelError {
    /// There is no such interface.
    #[error(
        "interface `{name}` does not exist in this network namespace; `ip link` lists those that \
         do"
    )]
    NoSuchInterface {
        /// The name that was asked for.
        name: String,
    },
    /// Somebody uses the interface.
    #[error(
        "interface `{name}` has addresses ({addresses}): whoever reaches this machine by them \
         would be cut off; remove them, or set `steal: true` on the port to have them put aside \
         until Sluice stops"
    )]
    HasAddresses {
        /// The interface.
        name: String,
        /// Its addresses, with prefix lengths.
        addresses: String,
    },
    /// The process may not change interfaces.
    #[error(
        "not permitted to {what} interface `{name}`: the capability CAP_NET_ADMIN is missing; run \
         as root, or give it to the container (`--cap-add NET_ADMIN`)"
    )]
    Denied {
        /// What was tried.
        what: &'static str,
        /// The interface.
        name: String,
    },
    /// The kernel refused something else.
    #[error("cannot {what} interface `{name}`: {source}")]
    Refused {
        /// What was tried.
        what: &'static str,
        /// The interface.
        name: String,
        /// The kernel's reason.
        source: io::Error,
    },
    /// The record of an interface's original state cannot be kept.
    #[error(
        "cannot keep the record of the state to restore in `{path}`: {source}; the directory must \
         be writable"
    )]
    Record {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl KernelError {
    /// An error of the kernel while doing `what` to an interface.
    pub(super) fn refused(what: &'static str, name: &str, source: io::Error) -> KernelError {
        let name = name.to_owned();
        match source.kind() {
            io::ErrorKind::PermissionDenied => KernelError::Denied { what, name },
            _ => KernelError::Refused { what, name, source },
        }
    }
}

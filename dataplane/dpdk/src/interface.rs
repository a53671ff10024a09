//! Kernel interfaces that a port stands on.

use std::ffi::CString;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// The index of an interface in the calling thread's network namespace.
pub(crate) fn index(name: &str) -> Option<u32> {
    let name = CString::new(name).ok()?;
    // SAFETY: the name is a C string.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    (index != 0).then_some(index)
}

/// What an interface receives besides what is addressed to it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mode {
    /// Everything.
    Promiscuous,
    /// Every multicast.
    AllMulticast,
}

/// A mode of an interface for as long as the value lives.
///
/// A membership of a packet socket, not the interface's flag: the kernel takes it back when the
/// socket is closed, also when the process is killed. The socket receives nothing.
#[derive(Debug)]
pub(crate) struct Membership {
    /// Held for its membership.
    _socket: OwnedFd,
}

impl Membership {
    /// Switches the interface to a mode.
    pub(crate) fn new(index: u32, mode: Mode) -> io::Result<Membership> {
        // SAFETY: creates a descriptor; no precondition.
        let socket =
            unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        if socket < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just created and is owned by nobody else.
        let socket = unsafe { OwnedFd::from_raw_fd(socket) };
        let mode = match mode {
            Mode::Promiscuous => libc::PACKET_MR_PROMISC,
            Mode::AllMulticast => libc::PACKET_MR_ALLMULTI,
        };
        let request = libc::packet_mreq {
            mr_ifindex: i32::try_from(index).map_err(io::Error::other)?,
            mr_type: mode as u16,
            mr_alen: 0,
            mr_address: [0; 8],
        };
        // SAFETY: the option takes a packet_mreq of the length given.
        let failed = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_ADD_MEMBERSHIP,
                (&raw const request).cast(),
                mem::size_of::<libc::packet_mreq>() as libc::socklen_t,
            )
        };
        if failed != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Membership { _socket: socket })
    }
}

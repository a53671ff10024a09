//! The socket of a session: who is at the other end, the bell, and when it hangs up.
//!
//! It is `SOCK_SEQPACKET`, so that datagrams stay whole and a hang-up is seen. After the greeting
//! the only datagram is the bell, one byte that says "look at the rings". It is a datagram and no
//! eventfd because an eventfd is one open file for both ends, and either could make the other's
//! next write to it block. A socket's two ends are two files, and ours stays non-blocking.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

use crate::ChannelError;

/// Most datagrams that are taken in one go, so that a peer that rings without end does not keep
/// us.
const DRAIN: usize = 64;

/// One end of a connected, non-blocking socket.
#[derive(Debug)]
pub(crate) struct Socket(OwnedFd);

/// What a socket had.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// A datagram of so many bytes.
    Datagram(usize),
    /// Nothing yet.
    Nothing,
    /// The end of it.
    HungUp,
}

/// Who is at the other end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    /// Its process; 0 when it is of a process-id namespace that is not visible from here.
    pub(crate) pid: u32,
    /// Its user.
    pub(crate) uid: u32,
}

impl Peer {
    /// Whether it is root or runs as the user that we run as; if not, who we are.
    pub(crate) fn permitted(self) -> Result<(), u32> {
        let ours = rustix::process::geteuid().as_raw();
        if self.uid == 0 || self.uid == ours { Ok(()) } else { Err(ours) }
    }
}

impl Socket {
    /// Takes over a connected, non-blocking socket.
    pub(crate) fn new(socket: OwnedFd) -> Socket {
        Socket(socket)
    }

    /// Who connected, or who listened.
    pub(crate) fn peer(&self) -> io::Result<Peer> {
        use std::os::fd::AsRawFd;

        // Not `rustix::net::socket_peercred`, whose process id cannot be 0.
        let mut peer = libc::ucred { pid: 0, uid: u32::MAX, gid: u32::MAX };
        let mut length = size_of::<libc::ucred>() as libc::socklen_t;
        // SAFETY: the descriptor is open; `peer` is writable, `length` is its size, and any bytes
        // the kernel writes there are a valid `ucred`.
        let result = unsafe {
            libc::getsockopt(
                self.0.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERCRED,
                (&raw mut peer).cast(),
                &mut length,
            )
        };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Peer { pid: u32::try_from(peer.pid).unwrap_or(0), uid: peer.uid })
    }

    /// Takes a datagram. Descriptors that came with it are closed by the kernel.
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> Received {
        match rustix::io::retry_on_intr(|| {
            rustix::net::recv(&self.0, &mut *buffer, RecvFlags::DONTWAIT)
        }) {
            // An empty datagram looks like the end, and nobody who means well sends one.
            Ok((0, _)) => Received::HungUp,
            Ok((length, _)) => Received::Datagram(length.min(buffer.len())),
            Err(Errno::AGAIN) => Received::Nothing,
            Err(_) => Received::HungUp,
        }
    }

    /// Sends a datagram, unless that would block.
    pub(crate) fn send(&self, datagram: &[u8]) -> Result<(), Errno> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        rustix::io::retry_on_intr(|| rustix::net::send(&self.0, datagram, flags)).map(drop)
    }

    /// Tells the other end to look at the rings.
    pub(crate) fn ring(&self) {
        // If there is no room, as many bells as fit are waiting; if the other end is gone, the
        // next `drain` says so.
        let _ = self.send(&[0]);
    }

    /// Takes the bells that have rung. Returns whether the other end is still there.
    pub(crate) fn drain(&self) -> bool {
        for _ in 0..DRAIN {
            match self.receive(&mut [0]) {
                Received::Datagram(_) => {}
                Received::Nothing => return true,
                Received::HungUp => return false,
            }
        }
        true
    }

    /// Whether the other end has hung up, without taking anything.
    pub(crate) fn hung_up(&self) -> bool {
        let mut poll = [PollFd::new(&self.0, PollFlags::RDHUP)];
        let hung_up = PollFlags::HUP | PollFlags::RDHUP | PollFlags::ERR;
        match rustix::event::poll(&mut poll, Some(&Timespec::default())) {
            Ok(_) => poll[0].revents().intersects(hung_up),
            Err(_) => false,
        }
    }

    /// Waits until there is something to take, the other end has hung up, or the deadline, and
    /// returns whether it was not the deadline. A signal may end the wait early.
    pub(crate) fn wait(&self, deadline: Instant) -> Result<bool, ChannelError> {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).ok();
        let mut poll = [PollFd::new(&self.0, PollFlags::IN)];
        match rustix::event::poll(&mut poll, timeout.as_ref()) {
            Ok(ready) => Ok(ready > 0),
            Err(Errno::INTR) => Ok(true),
            Err(source) => Err(ChannelError::Socket { action: "waiting", source: source.into() }),
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

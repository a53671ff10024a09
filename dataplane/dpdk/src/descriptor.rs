//! The file descriptors under a port's receive queues, for a thread that wants to sleep.
//!
//! The drivers that stand on the kernel poll descriptors of their own and tell nobody which:
//! `rte_eth_dev_rx_intr_enable` says that it is not supported. They are found by comparing what the
//! process has open before and after the driver worked, and by asking each new one what it is.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;

use crate::device::Driver;
use crate::port::Shared;

/// What a descriptor is of.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum DescriptorKind {
    /// A packet socket.
    Packet,
    /// An XDP socket.
    Xdp,
    /// A queue of a tap interface.
    Tap,
}

/// A duplicate of the descriptor under a receive queue: readable when packets wait.
///
/// Counts as a handle of its port, which is not detached before it is dropped: the duplicate would
/// hold the socket open.
#[derive(Debug)]
pub struct QueueDescriptor {
    queue: u16,
    kind: DescriptorKind,
    descriptor: OwnedFd,
    _shared: Arc<Shared>,
}

/// What the kernel counted at a packet socket since it was last asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct KernelStatistics {
    /// Packets that arrived, those that were dropped included.
    pub packets: u32,
    /// Packets dropped because the ring was full.
    pub drops: u32,
}

impl QueueDescriptor {
    pub(crate) fn new(
        queue: u16,
        kind: DescriptorKind,
        descriptor: RawFd,
        shared: Arc<Shared>,
    ) -> io::Result<QueueDescriptor> {
        // SAFETY: the driver holds the descriptor open until its port is closed, which `shared`
        // prevents.
        let descriptor = unsafe { BorrowedFd::borrow_raw(descriptor) }.try_clone_to_owned()?;
        Ok(QueueDescriptor { queue, kind, descriptor, _shared: shared })
    }

    /// The receive queue that it belongs to.
    #[must_use]
    pub fn queue(&self) -> u16 {
        self.queue
    }

    /// What it is of.
    #[must_use]
    pub fn kind(&self) -> DescriptorKind {
        self.kind
    }

    /// Keeps the kernel from handing what this machine sends on the interface back as received. Nothing
    /// to do on others than packet sockets.
    ///
    /// By a filter on the socket: `PACKET_IGNORE_OUTGOING` has no effect on one that is in a fanout group,
    /// and the driver puts each into one as it opens it.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub fn ignore_outgoing(&self) -> io::Result<()> {
        if self.kind != DescriptorKind::Packet {
            return Ok(());
        }
        let statement =
            |code: u32, jt: u8, jf: u8, k: u32| libc::sock_filter { code: code as u16, jt, jf, k };
        let packet_type = (libc::SKF_AD_OFF + libc::SKF_AD_PKTTYPE) as u32;
        let mut filter = [
            statement(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 0, 0, packet_type),
            statement(libc::BPF_JMP | libc::BPF_JEQ, 0, 1, libc::PACKET_OUTGOING.into()),
            statement(libc::BPF_RET, 0, 0, 0),
            statement(libc::BPF_RET, 0, 0, u32::MAX),
        ];
        let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
        // SAFETY: the option takes a program of as many statements as it says; the kernel copies it.
        let failed = unsafe {
            libc::setsockopt(
                self.descriptor.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_ATTACH_FILTER,
                (&raw const program).cast(),
                mem::size_of::<libc::sock_fprog>() as libc::socklen_t,
            )
        };
        if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// What the kernel counted since the last call; None on others than packet sockets.
    #[must_use]
    pub fn kernel_statistics(&self) -> Option<KernelStatistics> {
        if self.kind != DescriptorKind::Packet {
            return None;
        }
        // struct tpacket_stats: packets, then drops.
        let counts: [u32; 2] =
            socket_option(self.descriptor.as_raw_fd(), libc::SOL_PACKET, libc::PACKET_STATISTICS)?;
        Some(KernelStatistics { packets: counts[0], drops: counts[1] })
    }
}

impl AsFd for QueueDescriptor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl AsRawFd for QueueDescriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.descriptor.as_raw_fd()
    }
}

/// A descriptor that a driver holds, with the inode behind it, so that a number that is used again is
/// told apart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct DriverDescriptor {
    pub(crate) fd: RawFd,
    pub(crate) inode: u64,
}

impl DriverDescriptor {
    /// Whether it is still open, and still the same.
    pub(crate) fn is_open(self) -> bool {
        inode(self.fd) == Some(self.inode)
    }
}

/// What the process has open.
#[derive(Debug, Default)]
pub(crate) struct Open(BTreeSet<DriverDescriptor>);

impl Open {
    /// What is open now.
    pub(crate) fn now() -> Open {
        let numbers = numbers();
        let open = |fd| Some(DriverDescriptor { fd, inode: inode(fd)? });
        Open(numbers.into_iter().filter_map(open).collect())
    }

    /// The descriptors of `driver` on the interface that were opened since, in the order in which they
    /// were: that of their queues.
    pub(crate) fn since(&self, driver: Driver, interface: Option<u32>) -> Vec<DriverDescriptor> {
        let now = Open::now();
        now.0
            .difference(&self.0)
            .filter(|open| match driver {
                Driver::AfPacket => interface.is_some() && packet_interface(open.fd) == interface,
                Driver::AfXdp => domain(open.fd) == Some(libc::AF_XDP),
                Driver::Tap => is_attached_tap(open.fd),
                _ => false,
            })
            .copied()
            .collect()
    }
}

/// The numbers of the descriptors that the process has open.
pub(crate) fn numbers() -> Vec<RawFd> {
    fs::read_dir("/proc/self/fd")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// What kind of descriptor a driver polls, if any.
pub(crate) fn kind(driver: Driver) -> Option<DescriptorKind> {
    match driver {
        Driver::AfPacket => Some(DescriptorKind::Packet),
        Driver::AfXdp => Some(DescriptorKind::Xdp),
        Driver::Tap => Some(DescriptorKind::Tap),
        _ => None,
    }
}

fn inode(fd: RawFd) -> Option<u64> {
    // SAFETY: a stat is plain integers, for which zero is valid.
    let mut stat: libc::stat = unsafe { mem::zeroed() };
    // SAFETY: writes one stat; a closed descriptor is refused.
    (unsafe { libc::fstat(fd, &raw mut stat) } == 0).then_some(stat.st_ino)
}

fn socket_option<T: Default>(fd: RawFd, level: libc::c_int, name: libc::c_int) -> Option<T> {
    let mut value = T::default();
    let mut length = mem::size_of::<T>() as libc::socklen_t;
    // SAFETY: writes at most `length` bytes of integers to `value`.
    let failed =
        unsafe { libc::getsockopt(fd, level, name, (&raw mut value).cast(), &raw mut length) };
    (failed == 0).then_some(value)
}

fn domain(fd: RawFd) -> Option<libc::c_int> {
    socket_option(fd, libc::SOL_SOCKET, libc::SO_DOMAIN)
}

/// The interface that a packet socket is bound to.
fn packet_interface(fd: RawFd) -> Option<u32> {
    if domain(fd)? != libc::AF_PACKET {
        return None;
    }
    // SAFETY: a sockaddr_ll is plain integers, for which zero is valid.
    let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
    let mut length = mem::size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: writes at most `length` bytes to `address`, which is what a packet socket has.
    let failed = unsafe { libc::getsockname(fd, (&raw mut address).cast(), &raw mut length) };
    (failed == 0).then(|| u32::try_from(address.sll_ifindex).ok())?
}

/// Whether it is a queue of a tap interface, and not the detached one that keeps the interface alive.
fn is_attached_tap(fd: RawFd) -> bool {
    // SAFETY: an ifreq is plain integers, for which zero is valid.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    // SAFETY: writes one ifreq; other descriptors and detached queues refuse the request.
    unsafe { libc::ioctl(fd, libc::TUNGETIFF, &raw mut request) == 0 }
}

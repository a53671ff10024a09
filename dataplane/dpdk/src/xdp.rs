//! What the af_xdp driver leaves behind when a port is closed.
//!
//! It takes 2,048 buffers for the kernel to fill when a queue is set up, and forgets them when the port is
//! closed: a pool would be empty after a few interfaces that went and came back. The releases of
//! 22.11 also forget the socket, which keeps the interface busy for as long as the process lives. Both are put
//! right here: [`Rings::map`] before the driver closes, and [`release`] after.

use std::collections::BTreeSet;
use std::fs;
use std::mem;
use std::os::fd::RawFd;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use sluice_dpdk_sys as sys;

use crate::descriptor::{DriverDescriptor, numbers};
use crate::mbuf::Mbuf;
use crate::mempool::Mempool;

/// How long packets that are on their way to a socket may take after its program is gone, and how
/// long the kernel may take to free an interface's queue after the socket is.
const MOMENT: Duration = Duration::from_millis(50);

/// An address in a ring is that of a buffer in its lower 48 bits, and in the upper ones how far into it
/// the packet starts.
const ADDRESS: u64 = (1 << 48) - 1;

/// The most entries that a ring can have.
const ENTRIES: u32 = 1 << 16;

/// The rings of one socket that hold buffers nobody else has.
pub(crate) struct Rings {
    /// Buffers to receive into.
    fill: Ring,
    /// Packets received and not fetched.
    received: Ring,
    /// Packets sent and not yet fetched back.
    completed: Ring,
    pool: Mempool,
}

impl Rings {
    /// Maps the rings of a socket whose buffers are those of `pool`. None where the kernel will not, or
    /// the interface's driver fills the buffers itself and does so until the socket is gone; they are
    /// lost then.
    pub(crate) fn map(socket: RawFd, pool: &Mempool) -> Option<Rings> {
        if is_zero_copy(socket) {
            return None;
        }
        // SAFETY: plain integers, for which zero is valid.
        let mut offsets: libc::xdp_mmap_offsets = unsafe { mem::zeroed() };
        let mut length = mem::size_of_val(&offsets) as libc::socklen_t;
        // SAFETY: writes at most `length` bytes of integers to `offsets`.
        let failed = unsafe {
            libc::getsockopt(
                socket,
                libc::SOL_XDP,
                libc::XDP_MMAP_OFFSETS,
                (&raw mut offsets).cast(),
                &raw mut length,
            )
        };
        if failed != 0 {
            return None;
        }
        let word = mem::size_of::<u64>();
        let descriptor = mem::size_of::<libc::xdp_desc>();
        let fill = libc::XDP_UMEM_PGOFF_FILL_RING as libc::off_t;
        let completion = libc::XDP_UMEM_PGOFF_COMPLETION_RING as libc::off_t;
        Some(Rings {
            fill: Ring::map(socket, fill, offsets.fr, word)?,
            received: Ring::map(socket, libc::XDP_PGOFF_RX_RING, offsets.rx, descriptor)?,
            completed: Ring::map(socket, completion, offsets.cr, word)?,
            pool: pool.clone(),
        })
    }

    /// Gives the buffers in the rings back to their pool. Nothing moves in the rings any more.
    fn reclaim(self) {
        // What waits to be sent is left out: the kernel may have taken it without saying so yet.
        for ring in [&self.fill, &self.received, &self.completed] {
            for address in ring.entries() {
                // SAFETY: the pool lives; the function checks that the address is a buffer of it.
                let mbuf = unsafe { sys::sluice_umem_mbuf(self.pool.raw(), address & ADDRESS) };
                if let Some(mbuf) = NonNull::new(mbuf) {
                    // SAFETY: what is between a ring's consumer and its producer belongs to the ring;
                    // the driver has closed, and its program feeds the socket no more.
                    drop(unsafe { Mbuf::from_raw(mbuf) });
                }
            }
        }
    }
}

/// An open BPF program or map.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct BpfObject {
    fd: RawFd,
    /// What the kernel calls it, so that a number that is used again is told apart.
    id: String,
}

impl BpfObject {
    /// Those that the process has open.
    pub(crate) fn all() -> BTreeSet<BpfObject> {
        numbers().into_iter().filter_map(BpfObject::of).collect()
    }

    /// The object behind a descriptor, if it is one.
    fn of(fd: RawFd) -> Option<BpfObject> {
        let kind = fs::read_link(format!("/proc/self/fd/{fd}")).ok()?;
        if !kind.to_str()?.starts_with("anon_inode:bpf-") {
            return None;
        }
        let about = fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).ok()?;
        let id = about.lines().find(|line| {
            ["prog_id:", "map_id:", "link_id:"].iter().any(|key| line.starts_with(key))
        })?;
        Some(BpfObject { fd, id: id.to_owned() })
    }
}

/// Takes back the buffers in the rings of a closed port and closes what the driver and its libraries left
/// open: `before` are the BPF objects of others. The interface can be attached again then.
pub(crate) fn release(
    rings: Vec<Rings>,
    sockets: &[DriverDescriptor],
    before: &BTreeSet<BpfObject>,
) {
    thread::sleep(MOMENT);
    rings.into_iter().for_each(Rings::reclaim);
    for &socket in sockets {
        if socket.is_open() {
            unmap(socket);
            // SAFETY: an open socket of the driver's, which has forgotten it.
            unsafe { libc::close(socket.fd) };
        }
    }
    for object in BpfObject::all().difference(before) {
        // SAFETY: as above, of a program or map.
        unsafe { libc::close(object.fd) };
    }
    thread::sleep(MOMENT);
}

/// Removes the mappings of a socket that the driver has forgotten: they, too, hold it open.
fn unmap(socket: DriverDescriptor) {
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    for line in maps.lines() {
        if let Some((start, length)) = mapping_of(line, socket.inode) {
            // SAFETY: a mapping of a socket whose port the driver has closed; what it knew of it was
            // freed or forgotten.
            unsafe { libc::munmap(ptr::without_provenance_mut(start), length) };
        }
    }
}

/// Start and length of the mapping in a line of `/proc/self/maps`, if it is of the socket.
fn mapping_of(line: &str, socket: u64) -> Option<(usize, usize)> {
    let mut words = line.split_ascii_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let inode: u64 = words.nth(3)?.parse().ok()?;
    if inode != socket || !words.next()?.starts_with("socket:") {
        return None;
    }
    let start = usize::from_str_radix(start, 16).ok()?;
    Some((start, usize::from_str_radix(end, 16).ok()?.checked_sub(start)?))
}

/// Whether the interface's driver moves packets of the socket without the kernel copying them.
fn is_zero_copy(socket: RawFd) -> bool {
    let mut options = libc::xdp_options { flags: 0 };
    let mut length = mem::size_of_val(&options) as libc::socklen_t;
    // SAFETY: writes at most `length` bytes of integers to `options`.
    let failed = unsafe {
        libc::getsockopt(
            socket,
            libc::SOL_XDP,
            libc::XDP_OPTIONS,
            (&raw mut options).cast(),
            &raw mut length,
        )
    };
    failed != 0 || options.flags & libc::XDP_OPTIONS_ZEROCOPY != 0
}

/// A mapped ring.
struct Ring {
    mapping: NonNull<u8>,
    length: usize,
    offsets: libc::xdp_ring_offset,
    entries: u32,
    entry: usize,
}

impl Ring {
    fn map(
        socket: RawFd,
        page: libc::off_t,
        offsets: libc::xdp_ring_offset,
        entry: usize,
    ) -> Option<Ring> {
        // The kernel does not say how many entries a ring has, but refuses to map more.
        let mut entries = ENTRIES;
        while entries > 0 {
            let length = usize::try_from(offsets.desc).ok()? + entries as usize * entry;
            // SAFETY: a new mapping at an address of the kernel's choice aliases nothing of ours.
            let mapping = unsafe {
                libc::mmap(ptr::null_mut(), length, libc::PROT_READ, libc::MAP_SHARED, socket, page)
            };
            if mapping != libc::MAP_FAILED {
                let mapping = NonNull::new(mapping.cast())?;
                return Some(Ring { mapping, length, offsets, entries, entry });
            }
            entries /= 2;
        }
        None
    }

    fn index(&self, offset: u64) -> u32 {
        // SAFETY: the kernel placed an aligned u32 at each of its offsets, all before the entries.
        unsafe { self.mapping.byte_add(offset as usize).cast::<AtomicU32>().as_ref() }
            .load(Ordering::Acquire)
    }

    /// The addresses between consumer and producer.
    fn entries(&self) -> impl Iterator<Item = u64> {
        let consumer = self.index(self.offsets.consumer);
        let waiting = self.index(self.offsets.producer).wrapping_sub(consumer).min(self.entries);
        (0..waiting).map(move |i| {
            let slot = consumer.wrapping_add(i) & (self.entries - 1);
            let offset = self.offsets.desc as usize + slot as usize * self.entry;
            // SAFETY: the slot is within the mapping; an entry starts with its address.
            unsafe { self.mapping.byte_add(offset).cast::<u64>().read() }
        })
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: exactly the mapping that `map` made, to which no reference is left.
        unsafe { libc::munmap(self.mapping.as_ptr().cast(), self.length) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sockets_mappings_are_found() {
        let line = "7f60dbf6f000-7f60dbf78000 rw-s 100000000 00:08 4711       socket:[4711]";
        assert_eq!(mapping_of(line, 4711), Some((0x7f60_dbf6_f000, 0x9000)));
        assert_eq!(mapping_of(line, 4712), None);
        assert_eq!(mapping_of("7f60dbf6f000-7f60dbf78000 rw-p 00000000 00:00 0", 0), None);
        let file = "7f60dbf6f000-7f60dbf78000 r--p 00000000 fe:00 4711       /lib/socket:";
        assert_eq!(mapping_of(file, 4711), None);
    }
}

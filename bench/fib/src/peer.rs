//! DPDK's tables, by way of `peer/peer.c`.

use std::ffi::c_void;
use std::net::IpAddr;
use std::ptr::NonNull;

use anyhow::{Context, ensure};
use ipnet::IpNet;

/// One of DPDK's structures. The numbers are those in `peer.c`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(i32)]
pub enum Kind {
    Fib = 0,
    Fib6 = 1,
    Lpm = 2,
    Lpm6 = 3,
}

mod c {
    use super::*;

    unsafe extern "C" {
        pub fn peer_create(kind: i32, routes: u32, tbl8: u32) -> *mut c_void;
        pub fn peer_choose(kind: i32, table: *mut c_void, bits: u16) -> i32;
        pub fn peer_free(kind: i32, table: *mut c_void);
        pub fn peer_add(
            kind: i32,
            table: *mut c_void,
            network: *const [u8; 16],
            length: u8,
            leaf: u32,
        ) -> i32;
        pub fn peer_remove(
            kind: i32,
            table: *mut c_void,
            network: *const [u8; 16],
            length: u8,
        ) -> i32;
        pub fn peer_lookup(kind: i32, table: *mut c_void, ips: *const u32, count: u32) -> u64;
        pub fn peer_lookup6(kind: i32, table: *mut c_void, ips: *const [u8; 16], count: u32)
        -> u64;
        pub fn peer_memory() -> u64;
        pub fn heap_memory() -> u64;
    }
}

/// A table of DPDK's. EAL must run.
pub struct Peer {
    kind: Kind,
    table: NonNull<c_void>,
}

impl Peer {
    pub fn new(kind: Kind, routes: usize, tbl8: usize) -> anyhow::Result<Peer> {
        // SAFETY: EAL runs; the arguments are values.
        let table = unsafe { c::peer_create(kind as i32, routes as u32, tbl8 as u32) };
        let table =
            NonNull::new(table).with_context(|| format!("DPDK does not make a {kind:?}"))?;
        Ok(Peer { kind, table })
    }

    /// Has it choose its best lookup for vector registers of so many bits.
    pub fn choose(&self, bits: u16) -> anyhow::Result<()> {
        // SAFETY: the table is of this kind; nobody looks up at the same time.
        let answer = unsafe { c::peer_choose(self.kind as i32, self.table.as_ptr(), bits) };
        ensure!(answer == 0, "{:?} has no lookup of {bits} bits: {answer}", self.kind);
        Ok(())
    }

    pub fn add(&mut self, prefix: IpNet, leaf: u32) -> anyhow::Result<()> {
        let (network, length) = (bytes(prefix), prefix.prefix_len());
        // SAFETY: the table is of this kind and ours alone; the network is read during the call.
        let answer =
            unsafe { c::peer_add(self.kind as i32, self.table.as_ptr(), &network, length, leaf) };
        ensure!(answer == 0, "{:?} refuses {prefix}: {answer}", self.kind);
        Ok(())
    }

    pub fn remove(&mut self, prefix: IpNet) -> anyhow::Result<()> {
        let (network, length) = (bytes(prefix), prefix.prefix_len());
        // SAFETY: as in `add`.
        let answer =
            unsafe { c::peer_remove(self.kind as i32, self.table.as_ptr(), &network, length) };
        ensure!(answer == 0, "{:?} does not remove {prefix}: {answer}", self.kind);
        Ok(())
    }

    /// Looks up all but what is left of the last burst; the sum of what was found.
    pub fn look_up(&self, addresses: &[u32]) -> u64 {
        assert!(matches!(self.kind, Kind::Fib | Kind::Lpm));
        // SAFETY: a table of IPv4; as many addresses as said, which are only read.
        unsafe {
            let (ips, count) = (addresses.as_ptr(), addresses.len() as u32);
            c::peer_lookup(self.kind as i32, self.table.as_ptr(), ips, count)
        }
    }

    /// [`look_up`](Self::look_up) of IPv6.
    pub fn look_up6(&self, addresses: &[[u8; 16]]) -> u64 {
        assert!(matches!(self.kind, Kind::Fib6 | Kind::Lpm6));
        // SAFETY: a table of IPv6; as many addresses as said, which are only read.
        unsafe {
            let (ips, count) = (addresses.as_ptr(), addresses.len() as u32);
            c::peer_lookup6(self.kind as i32, self.table.as_ptr(), ips, count)
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // SAFETY: nobody else knows the table.
        unsafe { c::peer_free(self.kind as i32, self.table.as_ptr()) }
    }
}

/// Bytes that DPDK has allocated.
pub fn memory() -> u64 {
    // SAFETY: reads the statistics of EAL's heap.
    unsafe { c::peer_memory() }
}

/// Bytes that the C library has allocated for this program, headers included.
pub fn heap_memory() -> u64 {
    // SAFETY: reads the statistics of the C library's heap.
    unsafe { c::heap_memory() }
}

/// The network as on the wire; IPv4 at the front.
fn bytes(prefix: IpNet) -> [u8; 16] {
    match prefix.network() {
        IpAddr::V4(v4) => {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&v4.octets());
            bytes
        }
        IpAddr::V6(v6) => v6.octets(),
    }
}

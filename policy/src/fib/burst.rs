//! Many lookups at a time.
//!
//! A lookup is a chain of loads, each of which needs what the one before has found. In a burst,
//! each pass does one link of the chain for all addresses, and little else: these loads do not
//! depend on each other, so the processor has as many cache misses under way as it can. A pass that
//! ends in a load is what a prefetch would be.

use std::ops::BitOr;

use sluice_packet::Mask;

use super::node::Node;
use super::slot::Slot;
use super::table::{Level, Table};
use super::{Address, Fib, Leaf, NO_LEAF};

/// How many addresses go through the passes together: as many as a burst has packets.
const BURST: usize = 64;
/// Less are sooner looked up one by one.
const FEW: usize = 8;

impl Fib {
    /// The leaf of each IPv4 address, [`NO_LEAF`] where there is none. Both slices are of one
    /// length.
    #[inline]
    pub fn lookup_inet(&self, addresses: &[u32], leaves: &mut [Leaf]) {
        passes(&self.inet, addresses, leaves);
    }

    /// [`lookup_inet`](Self::lookup_inet) for IPv6.
    #[inline]
    pub fn lookup_inet6(&self, addresses: &[u128], leaves: &mut [Leaf]) {
        passes(&self.inet6, addresses, leaves);
    }
}

#[inline(always)]
fn passes<A: Address>(table: &Table<impl Level>, addresses: &[A], leaves: &mut [Leaf]) {
    for (addresses, leaves) in addresses.chunks(BURST).zip(leaves.chunks_mut(BURST)) {
        burst(table, addresses, leaves);
    }
}

#[inline(always)]
fn burst<A: Address>(table: &Table<impl Level>, addresses: &[A], slots: &mut [Slot]) {
    for (cell, address) in slots.iter_mut().zip(addresses) {
        *cell = table.cell(*address, 0);
    }
    let mut rest = 0;
    for (i, (slot, address)) in slots.iter_mut().zip(addresses).enumerate() {
        *slot = table.slot(*address, 0, *slot);
        rest |= u64::from(*slot >= NO_LEAF) << i;
    }
    let rest = Mask(rest);
    if rest.len() < FEW {
        for i in rest {
            slots[i] = table.deeper(addresses[i], slots[i]);
        }
    } else {
        deeper(table, addresses, slots, rest);
    }
}

/// What is not found in the cells: the slots of `rest` lead to a node, or nowhere.
#[inline(never)]
fn deeper<A: Address>(table: &Table<impl Level>, addresses: &[A], slots: &mut [Slot], rest: Mask) {
    let mut below = of(rest, |i| slots[i] > NO_LEAF);
    let mut best = [NO_LEAF; BURST];
    let mut nodes = [None::<&Node>; BURST];
    let mut first = 0;
    for i in below {
        (nodes[i], first) = table.child(addresses[i], 0);
    }
    for place in first.. {
        if below.is_empty() {
            break;
        }
        let mut deeper = 0;
        for i in below {
            let Some(node) = nodes[i] else { continue };
            let above = node.leaf_above();
            best[i] = if above == NO_LEAF { best[i] } else { above };
            deeper |= u64::from(node.has_child(addresses[i].byte(place))) << i;
        }
        for i in below & !Mask(deeper) {
            let Some(node) = nodes[i] else { continue };
            slots[i] = node.leaf(addresses[i].byte(place));
        }
        below = Mask(deeper);
        for i in below {
            let Some(node) = nodes[i] else { continue };
            nodes[i] = node.child(addresses[i].byte(place));
        }
    }
    for i in of(rest, |i| slots[i] == NO_LEAF) {
        slots[i] = if best[i] == NO_LEAF { table.shortest(addresses[i], 0) } else { best[i] };
    }
}

/// Those of a set for which something holds.
#[inline(always)]
fn of(mask: Mask, holds: impl Fn(usize) -> bool) -> Mask {
    Mask(mask.into_iter().map(|i| u64::from(holds(i)) << i).fold(0, BitOr::bitor))
}

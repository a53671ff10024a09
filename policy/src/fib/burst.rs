//! Many lookups at a time.
//!
//! A lookup is a chain of loads, each of which needs what the one before has found. In a burst,
//! each pass does one link of the chain for all addresses, and asks for what the next pass loads: a
//! prefetch is done with at once, where a load would hold what comes after it back, so that the
//! processor has as many cache misses under way as it can.

use std::ops::BitOr;

use sluice_flow::prefetch;
use sluice_packet::Mask;

use super::block::Cell;
use super::node::Node;
use super::slot::Slot;
use super::table::{Level, Table};
use super::{Address, Fib, Leaf, MANY, NO_LEAF};

/// How many addresses go through the passes together: as many as a burst has packets.
const BURST: usize = 64;
/// Less are sooner looked up one by one.
const FEW: usize = 8;
/// What stands for a cell before it is known.
static NOTHING: Cell = 0;

impl Fib {
    /// The leaf of each IPv4 address, [`NO_LEAF`] where there is none. Both slices are of one
    /// length.
    #[inline]
    pub fn lookup_inet(&self, addresses: &[u32], leaves: &mut [Leaf]) {
        look_up(&self.inet, addresses, leaves);
    }

    /// [`lookup_inet`](Self::lookup_inet) for IPv6.
    #[inline]
    pub fn lookup_inet6(&self, addresses: &[u128], leaves: &mut [Leaf]) {
        look_up(&self.inet6, addresses, leaves);
    }
}

#[inline(always)]
fn look_up<A: Address>(table: &Table<impl Level>, addresses: &[A], leaves: &mut [Leaf]) {
    if table.len() > MANY {
        return passes(table, addresses, leaves);
    }
    for (leaf, address) in leaves.iter_mut().zip(addresses) {
        *leaf = table.lookup(*address);
    }
}

#[inline(always)]
pub(super) fn passes<A: Address>(table: &Table<impl Level>, addresses: &[A], leaves: &mut [Leaf]) {
    for (addresses, leaves) in addresses.chunks(BURST).zip(leaves.chunks_mut(BURST)) {
        burst(table, addresses, leaves);
    }
}

#[inline(always)]
fn burst<A: Address>(table: &Table<impl Level>, addresses: &[A], slots: &mut [Slot]) {
    let mut cells = [&NOTHING; BURST];
    for (cell, address) in cells.iter_mut().zip(addresses) {
        *cell = table.cell(*address, 0);
        prefetch(*cell);
    }
    let mut no_leaf = 0;
    for ((slot, cell), address) in slots.iter_mut().zip(&cells).zip(addresses) {
        *slot = table.slot(*address, 0, **cell);
        no_leaf |= *slot + 1;
    }
    if no_leaf <= NO_LEAF {
        return;
    }
    let rest = slots.iter().enumerate().map(|(i, slot)| u64::from(*slot >= NO_LEAF) << i);
    let rest = Mask(rest.fold(0, BitOr::bitor));
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
        table.fetch_child(addresses[i], 0);
    }
    for i in below {
        (nodes[i], first) = table.child(addresses[i], 0);
        nodes[i].inspect(|node| node.fetch());
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
            nodes[i].inspect(|node| node.fetch());
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

//! Longest-prefix match for IPv4 and IPv6.
//!
//! * The first byte of an IPv4 address, or the first two of an IPv6 address, lead to a
//!   [`Block`](block::Block), which has a cell for each value of the next two, as DIR-24-8 has
//!   (Gupta, Lin and McKeown, INFOCOM 1998). A cell is one byte, a number in a palette of leaves:
//!   a table of a million routes is 14 MiB of cells, on huge pages, and a lookup is one miss of the
//!   cache. A block that has more leaves than a byte has values has a palette for each part of it.
//! * Further bytes are [`Node`](node::Node)s, which have bits for the values that lead on and for those
//!   where another leaf begins, and count them, as Poptrie does (Asai and Ohara, SIGCOMM 2015). Nodes
//!   of neighbours stand side by side, so that each level is one miss.
//! * Prefixes that end within a block are pushed to its cells, shorter ones are not: a change of the
//!   default route touches no block.
//!
//! Blocks and nodes are immutable while they are shared: changing one route copies those on its
//! way, so two generations of a table share all the rest, and a table is cloned by counting two
//! references. Why it is this structure: `docs/adr/0011-forwarding-table.md`.

mod block;
mod burst;
mod cells;
mod find;
mod node;
mod palette;
mod prefixes;
mod slot;
mod table;
mod values;

use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use sluice_packet::Family;

pub use cells::cell_memory;

use block::Block;
use find::Search;
use table::{Level, Painter, Table};

/// What a lookup yields; its meaning is the owner's. Less than [`NO_LEAF`].
pub type Leaf = u32;

/// The leaf value that stands for "none" and cannot be inserted. Above it nothing is a leaf.
pub const NO_LEAF: Leaf = u32::MAX >> 1;

/// Tables of more prefixes are looked up in bursts. Smaller ones are in the cache, and one lookup
/// after the other is sooner done.
pub(crate) const MANY: usize = 4_096;

/// A forwarding table from prefixes to leaves. Cloning is cheap.
#[derive(Clone, Debug, Default)]
pub struct Fib {
    inet: Arc<Table<Block>>,
    inet6: Arc<Table<Table<Block>>>,
    len: usize,
}

/// An address that is looked up byte by byte.
trait Address: Copy {
    /// The byte at a place, 0 is the first.
    fn byte(self, place: usize) -> u8;
}

impl Address for u32 {
    #[inline(always)]
    fn byte(self, place: usize) -> u8 {
        self.rotate_left(8 * (place as u32 + 1)) as u8
    }
}

impl Address for u128 {
    #[inline(always)]
    fn byte(self, place: usize) -> u8 {
        self.to_be_bytes()[place & 15]
    }
}

impl Fib {
    /// The leaf of the longest prefix that covers `address` (numbered as in
    /// [`sluice_packet::FlowKey`]).
    #[inline]
    pub fn lookup(&self, family: Family, address: u128) -> Option<Leaf> {
        let leaf = match family {
            Family::Inet => self.inet.lookup(address as u32),
            Family::Inet6 => self.inet6.lookup(address),
        };
        (leaf != NO_LEAF).then_some(leaf)
    }

    /// [`lookup`](Self::lookup) of an IPv4 address, [`NO_LEAF`] if there is none: in as few steps as
    /// it takes.
    #[inline(always)]
    pub fn leaf_inet(&self, address: u32) -> Leaf {
        self.inet.lookup(address)
    }

    /// Length and leaf of the longest prefix that covers `address`: [`lookup`](Self::lookup) for
    /// people.
    pub fn longest(&self, family: Family, address: u128) -> Option<(u8, Leaf)> {
        match family {
            Family::Inet => self.inet.longest(&(address as u32).to_be_bytes()),
            Family::Inet6 => self.inet6.longest(&address.to_be_bytes()),
        }
    }

    /// Adds a prefix, or changes where it leads; says where it led.
    pub fn insert(&mut self, prefix: IpNet, leaf: Leaf) -> Option<Leaf> {
        self.set_one(prefix, Some(leaf))
    }

    /// Removes a prefix; says where it led.
    pub fn remove(&mut self, prefix: IpNet) -> Option<Leaf> {
        self.set_one(prefix, None)
    }

    /// How many prefixes are in the table.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the table is empty.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds, changes and removes many prefixes, where `None` removes, and says of which that has changed
    /// anything. In ascending order it is done sooner than one by one.
    pub fn change(
        &mut self,
        changes: impl IntoIterator<Item = (IpNet, Option<Leaf>)>,
        mut changed: impl FnMut(IpNet),
    ) {
        let mut painters = Painters::default();
        for (prefix, leaf) in changes {
            if self.set(prefix, leaf, &mut painters) != leaf {
                changed(prefix);
            }
        }
        self.finish(painters);
    }

    /// The prefixes whose leaf `is` one that is looked for, each once, in no order. It takes as long as
    /// there are prefixes, though not very long.
    pub fn prefixes_to(&self, is: impl Fn(Leaf) -> bool) -> Vec<IpNet> {
        let mut prefixes = Vec::new();
        let found = &mut |address: &[u8; 16], length| {
            let [a, b, c, d, ..] = *address;
            prefixes.extend(Ipv4Net::new([a, b, c, d].into(), length).map(IpNet::from));
        };
        self.inet.find(&mut Search::new(&is, found));
        let found = &mut |address: &[u8; 16], length| {
            prefixes.extend(Ipv6Net::new((*address).into(), length).map(IpNet::from));
        };
        self.inet6.find(&mut Search::new(&is, found));
        prefixes
    }

    fn set_one(&mut self, prefix: IpNet, leaf: Option<Leaf>) -> Option<Leaf> {
        let mut painters = Painters::default();
        let old = self.set(prefix, leaf, &mut painters);
        self.finish(painters);
        old
    }

    fn set(&mut self, prefix: IpNet, leaf: Option<Leaf>, painters: &mut Painters) -> Option<Leaf> {
        debug_assert!(leaf.is_none_or(|leaf| leaf < NO_LEAF), "{leaf:#x?} is no leaf");
        let length = prefix.prefix_len();
        let old = match prefix {
            IpNet::V4(net) => {
                let (table, address) = (Arc::make_mut(&mut self.inet), net.network().octets());
                painters.inet.set(table, &address, length, leaf)
            }
            IpNet::V6(net) => {
                let (table, address) = (Arc::make_mut(&mut self.inet6), net.network().octets());
                painters.inet6.set(table, &address, length, leaf)
            }
        };
        self.len += usize::from(leaf.is_some());
        self.len -= usize::from(old.is_some());
        old
    }

    fn finish(&mut self, painters: Painters) {
        painters.inet.done(&mut self.inet);
        painters.inet6.done(&mut self.inet6);
    }
}

/// Of both families.
#[derive(Default)]
struct Painters {
    inet: Painter,
    inet6: Painter,
}

#[cfg(test)]
mod tests;

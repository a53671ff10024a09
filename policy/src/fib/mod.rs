//! Longest-prefix match for IPv4 and IPv6.
//!
//! * The first byte of an address leads to a [`Block`](block::Block), which has a cell for each
//!   value of the next two, as DIR-24-8 has (Gupta, Lin and McKeown, INFOCOM 1998). A cell is one
//!   byte, a number in the block's palette of leaves: a table of a million routes is 14 MiB of
//!   cells, and a lookup is one miss of the cache. What needs more colours than a byte has is wide.
//! * Further bytes, those of IPv6 above all, are [`Node`](node::Node)s, which keep one slot for each
//!   *run* of equal values and find it by counting bits, as Poptrie does (Asai and Ohara, SIGCOMM
//!   2015).
//! * Prefixes of more than eight bits are pushed to the cells of their block, shorter ones are
//!   not: a change of the default route touches no block.
//!
//! Blocks and nodes are immutable while they are shared: changing one route copies those on its
//! way, so two generations of a table share all the rest, and a table is cloned by counting two
//! references. Why it is this structure: `docs/adr/0011-forwarding-table.md`.

mod block;
mod burst;
mod node;
mod palette;
mod prefixes;
mod runs;
mod slot;
mod table;

use std::sync::Arc;

use ipnet::IpNet;
use sluice_packet::Family;
use sluice_packet::descriptor::number_of;

use table::{Painter, Table};

/// What a lookup yields; its meaning is the owner's. Less than [`NO_LEAF`].
pub type Leaf = u32;

/// The leaf value that stands for "none" and cannot be inserted. Above it nothing is a leaf.
pub const NO_LEAF: Leaf = u32::MAX >> 1;

/// A forwarding table from prefixes to leaves. Cloning is cheap.
#[derive(Clone, Debug, Default)]
pub struct Fib {
    inet: Arc<Table>,
    inet6: Arc<Table>,
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
        debug_assert!(leaf < NO_LEAF, "{leaf:#x} is no leaf");
        let old = self.set(prefix, Some(leaf));
        self.len += usize::from(old.is_none());
        old
    }

    /// Removes a prefix; says where it led.
    pub fn remove(&mut self, prefix: IpNet) -> Option<Leaf> {
        let removed = self.set(prefix, None);
        self.len -= usize::from(removed.is_some());
        removed
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
        let mut painters = [Painter::default(), Painter::default()];
        for (prefix, leaf) in changes {
            debug_assert!(leaf.is_none_or(|leaf| leaf < NO_LEAF), "{leaf:#x?} is no leaf");
            let table = match prefix {
                IpNet::V4(_) => &mut self.inet,
                IpNet::V6(_) => &mut self.inet6,
            };
            let painter = &mut painters[usize::from(matches!(prefix, IpNet::V6(_)))];
            let old = set(Arc::make_mut(table), prefix, leaf, painter);
            self.len += usize::from(leaf.is_some());
            self.len -= usize::from(old.is_some());
            if old != leaf {
                changed(prefix);
            }
        }
        let [inet, inet6] = painters;
        inet.done(&mut self.inet);
        inet6.done(&mut self.inet6);
    }

    fn set(&mut self, prefix: IpNet, leaf: Option<Leaf>) -> Option<Leaf> {
        let table = match prefix {
            IpNet::V4(_) => &mut self.inet,
            IpNet::V6(_) => &mut self.inet6,
        };
        let mut painter = Painter::default();
        let old = set(Arc::make_mut(table), prefix, leaf, &mut painter);
        painter.done(table);
        old
    }
}

fn set(
    table: &mut Table,
    prefix: IpNet,
    leaf: Option<Leaf>,
    painter: &mut Painter,
) -> Option<Leaf> {
    let bytes = number_of(prefix.network()).to_be_bytes();
    let address = match prefix {
        IpNet::V4(_) => &bytes[12..],
        IpNet::V6(_) => &bytes[..],
    };
    table.set(address, prefix.prefix_len(), leaf, painter)
}

#[cfg(test)]
mod tests;

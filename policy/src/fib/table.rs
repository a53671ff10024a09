//! The table of one family: the first byte of the address, or the first two of IPv6, and the way
//! down from there.

use std::array;
use std::fmt::Debug;
use std::sync::Arc;

use super::block::{Cell, Wet};
use super::find::Search;
use super::node::Node;
use super::prefixes::{Place, Prefixes};
use super::slot::Slot;
use super::{Address, Leaf, NO_LEAF};

/// What the way down goes through. `place` is that of the first byte of the address which is the
/// level's own.
pub(super) trait Level: Clone + Default + Debug {
    /// The empty one, which all share.
    fn none() -> Arc<Self>;

    /// Asks for what leads on from a cell, ahead of time.
    fn fetch_child(&self, address: impl Address, place: usize);

    /// What is to be found for an address: the part that is slow.
    fn cell(&self, address: impl Address, place: usize) -> &Cell;

    /// What a cell of an address stands for.
    fn slot(&self, address: impl Address, place: usize, cell: Cell) -> Slot;

    /// The node that an address leads to, and the place of its byte.
    fn child(&self, address: impl Address, place: usize) -> (Option<&Node>, usize);

    /// The leaf of the longest prefix that stands above the cells, or [`NO_LEAF`].
    fn shortest(&self, address: impl Address, place: usize) -> Leaf;

    /// Length and leaf of the longest prefix that covers the rest of an address.
    fn longest(&self, address: &[u8]) -> Option<(u8, Leaf)>;

    /// Sets or removes the prefix of `length` bits of `address`; yields what was there, and cells that
    /// are wrong until they are [painted](Self::paint).
    fn set(
        &mut self,
        address: &[u8],
        length: u8,
        leaf: Option<Leaf>,
    ) -> (Option<Leaf>, Option<Wet>);

    /// Makes cells anew.
    fn paint(&mut self, wet: &Wet, place: usize);

    /// Whether there is no prefix.
    fn is_empty(&self) -> bool;

    /// Goes through the prefixes.
    fn find(&self, search: &mut Search<'_>);
}

/// The prefixes behind a byte, or all.
#[derive(Clone, Debug)]
pub(super) struct Table<B> {
    /// Prefixes of more than eight bits.
    below: [Arc<B>; 256],
    /// The longest prefix of up to eight bits that covers each value.
    leaves: [Leaf; 256],
    prefixes: Prefixes,
    /// How many prefixes there are, those below included.
    len: usize,
}

impl<B: Level> Table<B> {
    /// The leaf of the longest prefix, or [`NO_LEAF`].
    #[inline(always)]
    pub(super) fn lookup(&self, address: impl Address) -> Leaf {
        let slot = self.slot(address, 0, *self.cell(address, 0));
        if slot < NO_LEAF {
            return slot;
        }
        self.deeper(address, slot)
    }

    /// How many prefixes there are.
    #[inline(always)]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// What a slot that is no leaf leads to.
    #[inline(never)]
    pub(super) fn deeper(&self, address: impl Address, slot: Slot) -> Leaf {
        let leaf = match self.child(address, 0) {
            (Some(node), place) if slot != NO_LEAF => node.lookup(address, place),
            _ => NO_LEAF,
        };
        if leaf == NO_LEAF { self.shortest(address, 0) } else { leaf }
    }

    #[inline(always)]
    fn at(&self, address: impl Address, place: usize) -> &B {
        &self.below[usize::from(address.byte(place))]
    }
}

impl<B: Level> Level for Table<B> {
    fn none() -> Arc<Self> {
        Arc::default()
    }

    #[inline(always)]
    fn fetch_child(&self, address: impl Address, place: usize) {
        self.at(address, place).fetch_child(address, place + 1);
    }

    #[inline(always)]
    fn cell(&self, address: impl Address, place: usize) -> &Cell {
        self.at(address, place).cell(address, place + 1)
    }

    #[inline(always)]
    fn slot(&self, address: impl Address, place: usize, cell: Cell) -> Slot {
        self.at(address, place).slot(address, place + 1, cell)
    }

    #[inline(always)]
    fn child(&self, address: impl Address, place: usize) -> (Option<&Node>, usize) {
        self.at(address, place).child(address, place + 1)
    }

    #[inline(always)]
    fn shortest(&self, address: impl Address, place: usize) -> Leaf {
        let leaf = self.at(address, place).shortest(address, place + 1);
        if leaf == NO_LEAF { self.leaves[usize::from(address.byte(place))] } else { leaf }
    }

    fn longest(&self, address: &[u8]) -> Option<(u8, Leaf)> {
        let (&byte, rest) = address.split_first()?;
        let below = self.below[usize::from(byte)].longest(rest);
        let below = below.map(|(length, leaf)| (8 + length, leaf));
        below.or_else(|| self.prefixes.longest(0, byte))
    }

    fn set(
        &mut self,
        address: &[u8],
        length: u8,
        leaf: Option<Leaf>,
    ) -> (Option<Leaf>, Option<Wet>) {
        let Some((&byte, rest)) = address.split_first() else { return (None, None) };
        let (old, wet) = if length > 8 {
            let below = Arc::make_mut(&mut self.below[usize::from(byte)]);
            let (old, mut wet) = below.set(rest, length - 8, leaf);
            if let Some(wet) = &mut wet {
                wet.path = [byte, wet.path[0]];
            }
            (old, wet)
        } else {
            let old = self.prefixes.set(Place::new(0, byte, length), leaf);
            self.leaves = self.prefixes.leaves(0, NO_LEAF);
            (old, None)
        };
        self.len += usize::from(leaf.is_some());
        self.len -= usize::from(old.is_some());
        (old, wet)
    }

    fn paint(&mut self, wet: &Wet, place: usize) {
        let below = &mut self.below[usize::from(wet.path[place])];
        Arc::make_mut(below).paint(wet, place + 1);
    }

    fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn find(&self, search: &mut Search<'_>) {
        for (_, bits, length) in self.prefixes.find(search.is) {
            search.hit(bits, length);
        }
        for (byte, below) in (0..=u8::MAX).zip(&self.below) {
            if !below.is_empty() {
                search.behind(byte, |search| below.find(search));
            }
        }
    }
}

/// Paints the cells of a table in which prefixes are set: those that are close to each other at once,
/// when prefixes of others come. Many prefixes in ascending order are painted row by row.
#[derive(Debug, Default)]
pub(super) struct Painter(Option<Wet>);

impl Painter {
    /// Sets or removes the prefix of `length` bits of `address`; yields what was there. The table is
    /// as it should be when the painter is [done](Painter::done).
    pub(super) fn set(
        &mut self,
        table: &mut impl Level,
        address: &[u8],
        length: u8,
        leaf: Option<Leaf>,
    ) -> Option<Leaf> {
        let (old, wet) = table.set(address, length, leaf);
        match (&mut self.0, wet) {
            (_, None) => {}
            (Some(row), Some(wet)) if (row.path, row.second) == (wet.path, wet.second) => {
                let first = *row.third.start().min(wet.third.start());
                row.third = first..=*row.third.end().max(wet.third.end());
            }
            (_, Some(wet)) => {
                if let Some(row) = self.0.replace(wet) {
                    table.paint(&row, 0);
                }
            }
        }
        old
    }

    /// Paints what is left.
    pub(super) fn done(self, table: &mut Arc<impl Level>) {
        if let Some(row) = self.0 {
            Arc::make_mut(table).paint(&row, 0);
        }
    }
}

impl<B: Level> Default for Table<B> {
    fn default() -> Self {
        let none = B::none();
        Table {
            below: array::from_fn(|_| Arc::clone(&none)),
            leaves: [NO_LEAF; 256],
            prefixes: Prefixes::default(),
            len: 0,
        }
    }
}

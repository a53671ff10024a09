//! The table of one family: the first byte of the address, and the way down from there.

use std::array;
use std::sync::Arc;

use super::block::{Block, Cell, Wet};
use super::node::{self, Children};
use super::prefixes::{Place, Prefixes};
use super::slot::Slot;
use super::{Address, Leaf, NO_LEAF};

/// The prefixes of one family.
#[derive(Clone, Debug)]
pub(super) struct Table {
    /// Prefixes of more than eight bits.
    blocks: [Arc<Block>; 256],
    /// The longest prefix of up to eight bits that covers each value.
    leaves: [Leaf; 256],
    prefixes: Prefixes,
}

impl Table {
    /// What the third byte leads to.
    #[inline(always)]
    pub(super) fn slot(&self, address: impl Address) -> Slot {
        self.slot_of(address, self.cell(address))
    }

    /// The first half of [`slot`](Self::slot): the part that is slow.
    #[inline(always)]
    pub(super) fn cell(&self, address: impl Address) -> Cell {
        self.block(address).cell(address.byte(1), address.byte(2))
    }

    /// The second half of [`slot`](Self::slot).
    #[inline(always)]
    pub(super) fn slot_of(&self, address: impl Address, cell: Cell) -> Slot {
        self.block(address).slot(cell)
    }

    /// What is below the third byte.
    #[inline(always)]
    pub(super) fn children(&self, address: impl Address) -> &Children {
        self.block(address).children(address.byte(1))
    }

    #[inline(always)]
    fn block(&self, address: impl Address) -> &Block {
        &self.blocks[usize::from(address.byte(0))]
    }

    /// The leaf of the longest prefix, or [`NO_LEAF`].
    #[inline(always)]
    pub(super) fn lookup(&self, address: impl Address) -> Leaf {
        let slot = self.slot(address);
        if slot < NO_LEAF {
            return slot;
        }
        self.deeper(address, slot)
    }

    /// What a slot of the third byte that is no leaf leads to.
    #[inline(never)]
    pub(super) fn deeper(&self, address: impl Address, slot: Slot) -> Leaf {
        let leaf = node::lookup(self.children(address), slot, address, 2);
        if leaf == NO_LEAF { self.shortest(address) } else { leaf }
    }

    /// The leaf of the longest prefix of at most one byte, or [`NO_LEAF`].
    #[inline(always)]
    pub(super) fn shortest(&self, address: impl Address) -> Leaf {
        self.leaves[usize::from(address.byte(0))]
    }

    /// Length and leaf of the longest prefix.
    pub(super) fn longest(&self, address: &[u8]) -> Option<(u8, Leaf)> {
        let (&byte, rest) = address.split_first()?;
        let longer =
            self.blocks[usize::from(byte)].longest(rest).map(|(length, leaf)| (8 + length, leaf));
        longer.or_else(|| self.prefixes.longest(0, byte))
    }

    /// Sets or removes the prefix of `length` bits of `address`; yields what was there.
    /// The table is as it should be when `painter` is [done](Painter::done).
    pub(super) fn set(
        &mut self,
        address: &[u8],
        length: u8,
        leaf: Option<Leaf>,
        painter: &mut Painter,
    ) -> Option<Leaf> {
        let (&byte, rest) = address.split_first()?;
        if length > 8 {
            let block = Arc::make_mut(&mut self.blocks[usize::from(byte)]);
            let (old, wet) = block.set(rest, length - 8, leaf);
            if let Some(wet) = wet {
                painter.then(self, byte, wet);
            }
            return old;
        }
        let old = self.prefixes.set(Place::new(0, byte, length), leaf);
        self.leaves = self.prefixes.leaves(0, NO_LEAF);
        old
    }
}

/// Paints the cells of a table in which prefixes are set: those that are close to each other at once,
/// when prefixes of others come. Many prefixes in ascending order are painted row by row.
#[derive(Debug, Default)]
pub(super) struct Painter(Option<(u8, Wet)>);

impl Painter {
    /// Paints what is left.
    pub(super) fn done(mut self, table: &mut Arc<Table>) {
        if self.0.is_some() {
            self.paint(Arc::make_mut(table));
        }
    }

    fn paint(&mut self, table: &mut Table) {
        if let Some((byte, wet)) = self.0.take() {
            Arc::make_mut(&mut table.blocks[usize::from(byte)]).paint(wet);
        }
    }

    fn then(&mut self, table: &mut Table, byte: u8, wet: Wet) {
        match &mut self.0 {
            Some((at, row)) if (*at, row.second) == (byte, wet.second) => {
                let first = *row.third.start().min(wet.third.start());
                row.third = first..=*row.third.end().max(wet.third.end());
            }
            _ => {
                self.paint(table);
                self.0 = Some((byte, wet));
            }
        }
    }
}

impl Default for Table {
    fn default() -> Self {
        let empty = Arc::new(Block::default());
        Table {
            blocks: array::from_fn(|_| Arc::clone(&empty)),
            leaves: [NO_LEAF; 256],
            prefixes: Prefixes::default(),
        }
    }
}

//! What is below one value of the first byte: the second and the third byte of the address.

use std::array;
use std::ops::RangeInclusive;
use std::sync::Arc;

use super::node::Children;
use super::palette::Palette;
use super::prefixes::{ALL, Place, Prefixes};
use super::slot::{CHILD, Slot};
use super::{Leaf, NO_LEAF};

/// The prefixes that begin with one byte, and a cell for each value of the next two.
#[derive(Clone, Debug)]
pub(super) struct Block {
    cells: Cells,
    palette: Palette,
    /// The longest prefix of the second byte that covers each of its values.
    bases: [Leaf; 256],
    /// By value of the second byte.
    children: [Children; 256],
    /// Prefixes that end in the second byte.
    second: Prefixes,
    /// Prefixes that end in the third byte.
    third: Prefixes,
}

/// The longest prefix that covers each value of the second and third byte, or its child.
#[derive(Clone, Debug)]
enum Cells {
    /// The number of a slot in the palette. That is 64 KiB, and one cache line holds all that is
    /// within 18 bits of the address.
    Narrow(Box<[u8; 1 << 16]>),
    /// The slots themselves, by value of the second byte.
    Wide(Box<[Row; 256]>),
}

/// Cells that are to be made anew: those of some values of the third byte behind one of the second.
#[derive(Clone, Debug)]
pub(super) struct Wet {
    pub second: u8,
    pub third: RangeInclusive<u8>,
}

/// What a cell holds: the number of a slot in the palette, or the slot.
pub(super) type Cell = u32;

/// The slots of the values of a byte.
type Row = Arc<[Slot; 256]>;

/// More children make a block wide, whose cells have their numbers.
const MANY_CHILDREN: usize = 1_024;

impl Block {
    /// The cell of the next two bytes: what has to come from far away, and no more.
    #[inline(always)]
    pub(super) fn cell(&self, second: u8, third: u8) -> Cell {
        match &self.cells {
            Cells::Narrow(cells) => cells[usize::from(second) << 8 | usize::from(third)].into(),
            Cells::Wide(rows) => rows[usize::from(second)][usize::from(third)],
        }
    }

    /// What a cell of this block stands for.
    #[inline(always)]
    pub(super) fn slot(&self, cell: Cell) -> Slot {
        match &self.cells {
            Cells::Narrow(_) => self.palette.slot(cell as u8),
            Cells::Wide(_) => cell,
        }
    }

    /// What is below values of the third byte behind a value of the second.
    #[inline(always)]
    pub(super) fn children(&self, second: u8) -> &Children {
        &self.children[usize::from(second)]
    }

    /// Length and leaf of the longest prefix that covers the rest of an address.
    pub(super) fn longest(&self, address: &[u8]) -> Option<(u8, Leaf)> {
        let (&[second, third], rest) = address.split_first_chunk()?;
        let below = self.children(second).longest(third, rest);
        let below = below.or_else(|| self.third.longest(second, third));
        let below = below.map(|(length, leaf)| (8 + length, leaf));
        below.or_else(|| self.second.longest(0, second))
    }

    /// Sets or removes the prefix of `length` bits of `address`; yields what was there, and cells that
    /// are wrong until they are [painted](Self::paint).
    pub(super) fn set(
        &mut self,
        address: &[u8],
        length: u8,
        leaf: Option<Leaf>,
    ) -> (Option<Leaf>, Option<Wet>) {
        let Some((&[second, third], rest)) = address.split_first_chunk() else {
            return (None, None);
        };
        if length > 16 {
            let children = &mut self.children[usize::from(second)];
            let (old, renumbered) = children.set(third, rest, length - 16, leaf);
            return (old, renumbered.then_some(Wet { second, third: ALL }));
        }
        if length > 8 {
            let place = Place::new(second, third, length - 8);
            let old = self.third.set(place, leaf);
            return (old, (old != leaf).then(|| Wet { second, third: place.values() }));
        }
        let place = Place::new(0, second, length);
        let old = self.second.set(place, leaf);
        let bases = self.second.leaves(0, NO_LEAF);
        for second in place.values() {
            let row = usize::from(second);
            if self.bases[row] != bases[row] {
                self.bases[row] = bases[row];
                self.paint(Wet { second, third: ALL });
            }
        }
        (old, None)
    }

    /// Makes cells anew.
    pub(super) fn paint(&mut self, Wet { second, third }: Wet) {
        let slots = self.slots(second, &third);
        match &mut self.cells {
            Cells::Wide(rows) => {
                let painted = usize::from(*third.start())..=usize::from(*third.end());
                let row = Arc::make_mut(&mut rows[usize::from(second)]);
                row[painted.clone()].copy_from_slice(&slots[painted]);
            }
            Cells::Narrow(cells) => {
                let many = self.children.iter().map(Children::len).sum::<usize>() > MANY_CHILDREN;
                if many || !paint_narrow(cells, &mut self.palette, second, third, &slots) {
                    self.repaint(many);
                }
            }
        }
    }

    /// Makes all cells anew, with a palette that has no more than is needed; wide if it must be.
    fn repaint(&mut self, wide: bool) {
        let rows: Box<[Row; 256]> =
            Box::new(array::from_fn(|second| Arc::new(self.slots(second as u8, &ALL))));
        self.palette = Palette::default();
        let mut cells = no_cells();
        let fits = (0..=u8::MAX)
            .zip(rows.iter())
            .all(|(second, slots)| paint_narrow(&mut cells, &mut self.palette, second, ALL, slots));
        self.cells = if wide || !fits || self.palette.is_nearly_full() {
            Cells::Wide(rows)
        } else {
            Cells::Narrow(cells)
        };
    }

    /// What some values of the third byte behind one of the second lead to: all that some prefix
    /// covers.
    fn slots(&mut self, second: u8, third: &RangeInclusive<u8>) -> [Slot; 256] {
        let row = usize::from(second);
        let mut slots = self.third.leaves_of(second, third, self.bases[row]);
        self.children[row].cover(third, &slots);
        for (number, byte) in self.children[row].bytes().enumerate() {
            slots[usize::from(byte)] = CHILD | number as Slot;
        }
        slots
    }
}

/// Whether the palette has sufficed.
fn paint_narrow(
    cells: &mut [u8; 1 << 16],
    palette: &mut Palette,
    second: u8,
    third: RangeInclusive<u8>,
    slots: &[Slot; 256],
) -> bool {
    let (first, last) = (usize::from(*third.start()), usize::from(*third.end()));
    let row = usize::from(second) << 8;
    let mut brush = (NO_LEAF, Palette::NO_LEAF);
    for (cell, &slot) in cells[row + first..=row + last].iter_mut().zip(&slots[first..=last]) {
        if slot != brush.0 {
            let Some(number) = palette.number(slot) else { return false };
            brush = (slot, number);
        }
        *cell = brush.1;
    }
    true
}

fn no_cells() -> Box<[u8; 1 << 16]> {
    Box::new([Palette::NO_LEAF; 1 << 16])
}

impl Default for Block {
    fn default() -> Self {
        Block {
            cells: Cells::Narrow(no_cells()),
            palette: Palette::default(),
            bases: [NO_LEAF; 256],
            children: array::from_fn(|_| Children::default()),
            second: Prefixes::default(),
            third: Prefixes::default(),
        }
    }
}

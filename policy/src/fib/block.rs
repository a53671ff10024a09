//! Two bytes of the address at once: the second and the third of IPv4, the third and the fourth of
//! IPv6, which are called second and third here.

use std::array;
use std::ops::RangeInclusive;
use std::sync::{Arc, LazyLock};

use super::find::Search;
use super::node::{Children, Node};
use super::palette::Palette;
use super::prefixes::{ALL, Place, Prefixes};
use super::slot::{CHILD, Slot};
use super::table::Level;
use super::{Address, Leaf, NO_LEAF};

/// The prefixes that begin with the same byte or bytes, and a cell for each value of the next two.
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
    /// The bytes that lead to the block.
    pub path: [u8; 2],
    pub second: u8,
    pub third: RangeInclusive<u8>,
}

/// What a cell holds: the number of a slot in the palette, or the slot.
pub(super) type Cell = u32;

/// The slots of the values of a byte.
type Row = Arc<[Slot; 256]>;

impl Block {
    fn wet(second: u8, third: RangeInclusive<u8>) -> Wet {
        Wet { path: [0; 2], second, third }
    }

    /// Makes all cells anew, with a palette that has no more than is needed; wide if it must be.
    fn repaint(&mut self) {
        let rows: Box<[Row; 256]> =
            Box::new(array::from_fn(|second| Arc::new(self.slots(second as u8, &ALL))));
        self.palette = Palette::default();
        let mut cells = no_cells();
        let fits = (0..=u8::MAX)
            .zip(rows.iter())
            .all(|(second, slots)| paint_narrow(&mut cells, &mut self.palette, second, ALL, slots));
        self.cells = if !fits || self.palette.is_nearly_full() {
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
        for byte in self.children[row].values().filter(|byte| third.contains(byte)) {
            slots[usize::from(byte)] = CHILD;
        }
        slots
    }
}

impl Level for Block {
    fn none() -> Arc<Block> {
        static NONE: LazyLock<Arc<Block>> = LazyLock::new(Arc::default);
        Arc::clone(&NONE)
    }

    #[inline(always)]
    fn cell(&self, address: impl Address, place: usize) -> Cell {
        let (second, third) = (address.byte(place), address.byte(place + 1));
        match &self.cells {
            Cells::Narrow(cells) => cells[usize::from(second) << 8 | usize::from(third)].into(),
            Cells::Wide(rows) => rows[usize::from(second)][usize::from(third)],
        }
    }

    #[inline(always)]
    fn slot(&self, _: impl Address, _: usize, cell: Cell) -> Slot {
        match &self.cells {
            Cells::Narrow(_) => self.palette.slot(cell as u8),
            Cells::Wide(_) => cell,
        }
    }

    #[inline(always)]
    fn child(&self, address: impl Address, place: usize) -> (Option<&Node>, usize) {
        let (second, third) = (address.byte(place), address.byte(place + 1));
        (self.children[usize::from(second)].get(third), place + 2)
    }

    #[inline(always)]
    fn shortest(&self, _: impl Address, _: usize) -> Leaf {
        NO_LEAF
    }

    fn longest(&self, address: &[u8]) -> Option<(u8, Leaf)> {
        let (&[second, third], rest) = address.split_first_chunk()?;
        let below = self.children[usize::from(second)].longest(third, rest);
        let below = below.or_else(|| self.third.longest(second, third));
        let below = below.map(|(length, leaf)| (8 + length, leaf));
        below.or_else(|| self.second.longest(0, second))
    }

    fn set(
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
            let (old, is_other) = children.set(third, rest, length - 16, leaf);
            return (old, is_other.then(|| Block::wet(second, third..=third)));
        }
        if length > 8 {
            let place = Place::new(second, third, length - 8);
            let old = self.third.set(place, leaf);
            return (old, (old != leaf).then(|| Block::wet(second, place.values())));
        }
        let place = Place::new(0, second, length);
        let old = self.second.set(place, leaf);
        let bases = self.second.leaves(0, NO_LEAF);
        for second in place.values() {
            let row = usize::from(second);
            if self.bases[row] != bases[row] {
                self.bases[row] = bases[row];
                self.paint(&Block::wet(second, ALL), 0);
            }
        }
        (old, None)
    }

    fn paint(&mut self, Wet { second, third, .. }: &Wet, _: usize) {
        let slots = self.slots(*second, third);
        match &mut self.cells {
            Cells::Wide(rows) => {
                let painted = usize::from(*third.start())..=usize::from(*third.end());
                let row = Arc::make_mut(&mut rows[usize::from(*second)]);
                row[painted.clone()].copy_from_slice(&slots[painted]);
            }
            Cells::Narrow(cells) => {
                if !paint_narrow(cells, &mut self.palette, *second, third.clone(), &slots) {
                    self.repaint();
                }
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.second.is_empty()
            && self.third.is_empty()
            && self.children.iter().all(Children::is_empty)
    }

    fn find(&self, search: &mut Search<'_>) {
        for (_, bits, length) in self.second.find(search.is) {
            search.hit(bits, length);
        }
        for (second, bits, length) in self.third.find(search.is) {
            search.behind(second, |search| search.hit(bits, length));
        }
        for (second, children) in (0..=u8::MAX).zip(&self.children) {
            if !children.is_empty() {
                search.behind(second, |search| children.find(search));
            }
        }
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

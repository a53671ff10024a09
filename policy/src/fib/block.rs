//! Two bytes of the address at once: the second and the third of IPv4, the third and the fourth of
//! IPv6, which are called second and third here.

use std::array;
use std::ops::RangeInclusive;
use std::sync::{Arc, LazyLock};

use sluice_flow::prefetch;

use super::cells::Cells;
use super::find::Search;
use super::node::{Children, Node};
use super::palette::Palette;
use super::prefixes::{ALL, Place, Prefixes};
use super::slot::{CHILD, Slot};
use super::table::Level;
use super::{Address, Leaf, NO_LEAF};

/// The prefixes that begin with the same byte or bytes, and a cell for each value of the next two. What
/// each lookup reads is in one cache line.
#[derive(Clone, Debug)]
#[repr(C)]
pub(super) struct Block {
    /// For each value of the second and third byte the longest prefix that covers it, or its child: the
    /// number of a slot in a palette. That is 64 KiB, and one cache line holds all that is within 18
    /// bits of the address.
    cells: Cells,
    /// One for the cells of all values of the second byte; when it does not suffice, two for half of them
    /// each, and so on: the cells behind one value of it never have more slots than a palette.
    palettes: Vec<Palette>,
    /// Values of the second byte that have the same palette are equal but for so many bits.
    alike: u32,
    /// The longest prefix of the second byte that covers each of its values.
    bases: [Leaf; 256],
    /// By value of the second byte.
    children: [Children; 256],
    /// Prefixes that end in the second byte.
    second: Prefixes,
    /// Prefixes that end in the third byte.
    third: Prefixes,
}

/// Cells that are to be made anew: those of some values of the third byte behind one of the second.
#[derive(Clone, Debug)]
pub(super) struct Wet {
    /// The bytes that lead to the block.
    pub path: [u8; 2],
    pub second: u8,
    pub third: RangeInclusive<u8>,
}

/// The number of a slot in a palette.
pub(super) type Cell = u8;

impl Block {
    fn wet(second: u8, third: RangeInclusive<u8>) -> Wet {
        Wet { path: [0; 2], second, third }
    }

    #[inline(always)]
    fn palette(&self, second: u8) -> usize {
        usize::from(second) >> self.alike
    }

    /// Makes the cells anew that have the palette of a value of the second byte, with one that has no
    /// more than is needed; all of them, with more palettes, if it must be.
    fn repaint(&mut self, second: u8) {
        if self.repaint_palette(self.palette(second)) {
            return;
        }
        while self.alike > 0 {
            self.alike -= 1;
            self.palettes = vec![Palette::EMPTY; 256 >> self.alike];
            if (0..self.palettes.len()).all(|palette| self.repaint_palette(palette)) {
                break;
            }
        }
    }

    /// Whether the palette suffices, and will for some time.
    fn repaint_palette(&mut self, palette: usize) -> bool {
        self.palettes[palette] = Palette::EMPTY;
        let first = palette << self.alike;
        let suffices = (first..first + (1 << self.alike)).all(|second| {
            let second = second as u8;
            let slots = self.slots(second, &ALL);
            self.paint_row(second, &ALL, &slots)
        });
        suffices && (self.alike == 0 || !self.palettes[palette].is_nearly_full())
    }

    /// Whether the palette has sufficed.
    fn paint_row(&mut self, second: u8, third: &RangeInclusive<u8>, slots: &[Slot; 256]) -> bool {
        let palette = self.palette(second);
        let palette = &mut self.palettes[palette];
        let (first, last) = (usize::from(*third.start()), usize::from(*third.end()));
        let row = usize::from(second) << 8;
        let mut brush = None;
        for (cell, &slot) in
            self.cells[row + first..=row + last].iter_mut().zip(&slots[first..=last])
        {
            match brush {
                Some((of, number)) if of == slot => *cell = number,
                _ => {
                    let Some(number) = palette.number(slot) else { return false };
                    brush = Some((slot, number));
                    *cell = number;
                }
            }
        }
        true
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
    fn cell(&self, address: impl Address, place: usize) -> &Cell {
        let (second, third) = (address.byte(place), address.byte(place + 1));
        &self.cells[usize::from(second) << 8 | usize::from(third)]
    }

    #[inline(always)]
    fn fetch_child(&self, address: impl Address, place: usize) {
        prefetch(&self.children[usize::from(address.byte(place))]);
    }

    #[inline(always)]
    fn slot(&self, address: impl Address, place: usize, cell: Cell) -> Slot {
        self.palettes[self.palette(address.byte(place))].slot(cell)
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
        if !self.paint_row(*second, third, &slots) {
            self.repaint(*second);
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

impl Default for Block {
    fn default() -> Self {
        Block {
            cells: Cells::of(Palette::NO_LEAF),
            palettes: vec![Palette::default()],
            alike: 8,
            bases: [NO_LEAF; 256],
            children: array::from_fn(|_| Children::default()),
            second: Prefixes::default(),
            third: Prefixes::default(),
        }
    }
}

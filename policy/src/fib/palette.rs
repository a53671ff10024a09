//! Numbers of one byte for the slots of cells.

use super::NO_LEAF;
use super::slot::Slot;

/// Up to 256 slots. It only grows; cells for which it does not suffice get a new one.
#[derive(Clone, Debug)]
pub(super) struct Palette {
    slots: [Slot; 256],
    taken: u16,
}

impl Palette {
    /// The number of [`NO_LEAF`] in a palette by [`default`](Self::default).
    pub(super) const NO_LEAF: u8 = 0;

    pub(super) const EMPTY: Palette = Palette { slots: [NO_LEAF; 256], taken: 0 };

    #[inline(always)]
    pub(super) fn slot(&self, number: u8) -> Slot {
        self.slots[usize::from(number)]
    }

    /// The number of a slot; `None` when all are taken.
    pub(super) fn number(&mut self, slot: Slot) -> Option<u8> {
        let taken = usize::from(self.taken);
        if let Some(number) = self.slots[..taken].iter().position(|known| *known == slot) {
            return Some(number as u8);
        }
        *self.slots.get_mut(taken)? = slot;
        self.taken += 1;
        Some(taken as u8)
    }

    /// Whether it would not be long until it is full.
    pub(super) fn is_nearly_full(&self) -> bool {
        self.taken > 240
    }
}

impl Default for Palette {
    fn default() -> Self {
        Palette { taken: 1, ..Palette::EMPTY }
    }
}

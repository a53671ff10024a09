//! Numbers of one byte for the slots of a block.

use super::NO_LEAF;
use super::slot::{self, Slot};

/// Up to 254 leaves, "none" and "a child". It only grows; a block that runs out of it makes a
/// new one.
#[derive(Clone, Debug)]
pub(super) struct Palette {
    slots: [Slot; 256],
    taken: u8,
}

impl Palette {
    /// The number of [`NO_LEAF`].
    pub(super) const NO_LEAF: u8 = 0;
    /// The number of [`slot::CHILD`].
    const CHILD: u8 = u8::MAX;

    #[inline(always)]
    pub(super) fn slot(&self, number: u8) -> Slot {
        self.slots[usize::from(number)]
    }

    /// The number of a slot; `None` when all are taken.
    pub(super) fn number(&mut self, slot: Slot) -> Option<u8> {
        if slot > NO_LEAF {
            return Some(Self::CHILD);
        }
        let taken = &self.slots[..=usize::from(self.taken)];
        if let Some(number) = taken.iter().position(|known| *known == slot) {
            return Some(number as u8);
        }
        if self.taken + 1 == Self::CHILD {
            return None;
        }
        self.taken += 1;
        self.slots[usize::from(self.taken)] = slot;
        Some(self.taken)
    }

    /// Whether it would not be long until it is full again.
    pub(super) fn is_nearly_full(&self) -> bool {
        self.taken > 240
    }
}

impl Default for Palette {
    fn default() -> Self {
        let mut slots = [NO_LEAF; 256];
        slots[usize::from(Self::CHILD)] = slot::CHILD;
        Palette { slots, taken: 0 }
    }
}

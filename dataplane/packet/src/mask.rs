//! A set of packets of one burst, one bit a packet.

use core::ops::{BitAnd, BitAndAssign, BitOr, BitOrAssign, Not};

/// A subset of the up to 64 packets of a burst: bit *i* stands for the packet in slot *i*.
///
/// Stages select, split and drop packets by mask, so that no packet is ever moved between
/// arrays on its way through the pipeline.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Mask(pub u64);

impl Mask {
    /// No packet.
    pub const EMPTY: Mask = Mask(0);
    /// All 64 slots.
    pub const ALL: Mask = Mask(u64::MAX);

    /// The packets in slots `0..n`; `n` above 64 means all.
    #[inline]
    pub const fn first(n: usize) -> Mask {
        if n >= 64 { Mask::ALL } else { Mask((1 << n) - 1) }
    }

    /// The packet in slot `i` alone.
    #[inline]
    pub const fn only(i: usize) -> Mask {
        Mask(1 << (i & 63))
    }

    /// Whether the mask holds no packet.
    #[inline]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many packets it holds.
    #[inline]
    pub const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Whether slot `i` is in it.
    #[inline]
    pub const fn contains(self, i: usize) -> bool {
        self.0 >> (i & 63) & 1 != 0
    }

    /// Adds slot `i`.
    #[inline]
    pub const fn insert(&mut self, i: usize) {
        self.0 |= 1 << (i & 63);
    }

    /// Adds slot `i`, which is the exception: out of the way of what is the rule.
    #[cold]
    #[inline(never)]
    pub const fn insert_rarely(&mut self, i: usize) {
        self.insert(i);
    }

    /// Removes slot `i`.
    #[inline]
    pub const fn remove(&mut self, i: usize) {
        self.0 &= !(1 << (i & 63));
    }
}

impl IntoIterator for Mask {
    type Item = usize;
    type IntoIter = Slots;

    #[inline]
    fn into_iter(self) -> Slots {
        Slots(self.0)
    }
}

/// The slots of a [`Mask`] in ascending order.
#[derive(Clone)]
pub struct Slots(u64);

impl Iterator for Slots {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        if self.0 == 0 {
            return None;
        }
        let slot = self.0.trailing_zeros() as usize;
        self.0 &= self.0 - 1;
        Some(slot)
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        let n = self.0.count_ones() as usize;
        (n, Some(n))
    }
}

impl ExactSizeIterator for Slots {}

impl BitAnd for Mask {
    type Output = Mask;
    #[inline]
    fn bitand(self, other: Mask) -> Mask {
        Mask(self.0 & other.0)
    }
}

impl BitOr for Mask {
    type Output = Mask;
    #[inline]
    fn bitor(self, other: Mask) -> Mask {
        Mask(self.0 | other.0)
    }
}

impl BitAndAssign for Mask {
    #[inline]
    fn bitand_assign(&mut self, other: Mask) {
        self.0 &= other.0;
    }
}

impl BitOrAssign for Mask {
    #[inline]
    fn bitor_assign(&mut self, other: Mask) {
        self.0 |= other.0;
    }
}

impl Not for Mask {
    type Output = Mask;
    #[inline]
    fn not(self) -> Mask {
        Mask(!self.0)
    }
}

impl core::fmt::Debug for Mask {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_set().entries(*self).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_come_in_ascending_order() {
        let mask = Mask::only(3) | Mask::only(63) | Mask::only(0);
        assert_eq!(mask.into_iter().collect::<Vec<_>>(), [0, 3, 63]);
        assert_eq!(mask.len(), 3);
    }

    #[test]
    fn first_covers_the_edges() {
        assert_eq!(Mask::first(0), Mask::EMPTY);
        assert_eq!(Mask::first(1), Mask::only(0));
        assert_eq!(Mask::first(64), Mask::ALL);
        assert_eq!(Mask::first(65), Mask::ALL);
    }
}

//! What a value of a byte leads to.

use super::NO_LEAF;

/// A leaf, [`NO_LEAF`], or [`CHILD`]: with one added, its first bit says that it is no leaf.
pub(super) type Slot = u32;

/// There is a node below.
pub(super) const CHILD: Slot = NO_LEAF + 1;

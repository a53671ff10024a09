//! What a value of a byte leads to.

/// A leaf, [`NO_LEAF`](super::NO_LEAF), or [`CHILD`] and the number of a child.
pub(super) type Slot = u32;

/// Marks slots that hold the number of a child.
pub(super) const CHILD: Slot = 1 << 31;

/// There is a child, whose number must be searched.
pub(super) const SOME_CHILD: Slot = u32::MAX;

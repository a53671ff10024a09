//! What a value of a byte leads to.

/// A leaf, [`NO_LEAF`](super::NO_LEAF), or [`CHILD`].
pub(super) type Slot = u32;

/// There is a node below.
pub(super) const CHILD: Slot = u32::MAX;

//! IEEE 802.1Q tag: the four bytes between the source address and the inner EtherType.

use zerocopy::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of a tag.
pub const TAG: usize = 4;

/// What follows the tag's own EtherType (0x8100).
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub struct VlanTag {
    /// Priority (3 bits), drop eligible (1), VLAN identifier (12).
    pub tci: U16,
    /// EtherType of the payload.
    pub ethertype: U16,
}

impl VlanTag {
    /// VLAN identifier; 0 in a priority tag, which belongs to no VLAN.
    #[inline]
    pub fn vlan(&self) -> u16 {
        self.tci.get() & 0x0fff
    }

    /// Priority code point.
    #[inline]
    pub fn priority(&self) -> u8 {
        (self.tci.get() >> 13) as u8
    }
}

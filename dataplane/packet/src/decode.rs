//! From a frame to its [`Descriptor`].

use crate::descriptor::{Descriptor, DescriptorFlags};
use crate::ethernet::Mac;
use crate::malformed::Malformed;

/// What the link header says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Link {
    /// Destination address.
    pub dst: Mac,
    /// Source address.
    pub src: Mac,
    /// VLAN identifier; 0 for an untagged frame or a priority tag.
    pub vlan: u16,
    /// EtherType of what follows, any.
    pub ethertype: u16,
    /// Bytes from the start of the frame to what follows.
    pub l3_offset: u8,
    /// `LINK_BROADCAST` or `LINK_MULTICAST`, for the packet's descriptor.
    pub flags: DescriptorFlags,
}

/// Reads the link header.
#[inline]
pub fn link(frame: &[u8]) -> Result<Link, Malformed> {
    let _ = frame;
    Err(Malformed::FrameTruncated)
}

/// Decodes the IPv4 packet at `l3_offset`.
#[inline]
pub fn ipv4(
    frame: &[u8],
    l3_offset: usize,
    wire_length: usize,
    mtu: u16,
) -> Result<Descriptor, Malformed> {
    let _ = (frame, l3_offset, wire_length, mtu);
    Err(Malformed::FrameTruncated)
}

/// Decodes the IPv6 packet at `l3_offset`.
#[inline]
pub fn ipv6(
    frame: &[u8],
    l3_offset: usize,
    wire_length: usize,
    mtu: u16,
) -> Result<Descriptor, Malformed> {
    let _ = (frame, l3_offset, wire_length, mtu);
    Err(Malformed::FrameTruncated)
}

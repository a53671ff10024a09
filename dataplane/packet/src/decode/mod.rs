//! From a frame to its [`Descriptor`](crate::Descriptor).
//!
//! [`link`] reads the link header; the caller then picks [`ipv4()`] or [`ipv6()`] by EtherType and
//! puts the link's flags and the ingress interface into the descriptor. `frame` is the first
//! segment of a buffer chain and `wire_length` counts the bytes of all segments: headers must be
//! in the first, the payload may be anywhere. Padding behind the IP packet is allowed and left
//! out of [`l3_length`](crate::Descriptor::l3_length).
//!
//! Checks run in the order of RFC 1812 section 5.2.2 with one addition: an IP length over the
//! ingress MTU is a [`Malformed::SuperPacket`] before anything else is made of it, because
//! virtual devices cut such packets off and every later check would blame the wrong thing.
//!
//! Each family has two ways: a *plain* one for what nearly every packet is (no options, TCP or
//! UDP, not a fragment, unicast both ends, a hop limit that may be lowered), one predicate over
//! fixed-size loads behind one bounds check; and a *careful* one, which decides everything and names what is wrong. The plain way
//! accepts a subset of what the careful way accepts, with the same descriptor: a test holds them
//! to it.

mod ipv4;
mod ipv6;
mod layer4;
#[cfg(test)]
mod oracle;

use zerocopy::FromBytes;

pub use self::ipv4::{PLAIN as IPV4_PLAIN, ipv4, ipv4_into, ipv4_plain};
pub(crate) use self::ipv6::upper_layer;
pub use self::ipv6::{ipv6, ipv6_into, ipv6_plain};
use crate::descriptor::DescriptorFlags;
use crate::ethernet::{self, EthernetHeader, Mac};
use crate::malformed::Malformed;
use crate::vlan::{self, VlanTag};

/// What the link header says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Link {
    /// Destination address.
    pub dst: Mac,
    /// Source address.
    pub src: Mac,
    /// VLAN identifier; 0 for an untagged frame and for a priority tag.
    pub vlan: u16,
    /// EtherType of what follows; any: the caller knows which it serves.
    pub ethertype: u16,
    /// Bytes from the start of the frame to what follows.
    pub l3_offset: u8,
    /// `LINK_BROADCAST` or `LINK_MULTICAST`, for the packet's descriptor.
    pub flags: DescriptorFlags,
}

/// Reads the link header: Ethernet II with at most one 802.1Q tag.
///
/// A service tag (802.1ad) carries a customer's tag inside, so it counts as stacked.
#[inline]
pub fn link(frame: &[u8]) -> Result<Link, Malformed> {
    let Ok((header, rest)) = EthernetHeader::ref_from_prefix(frame) else {
        return Err(Malformed::FrameTruncated);
    };
    let flags = if !ethernet::is_multicast(&header.dst) {
        DescriptorFlags::empty()
    } else if ethernet::is_broadcast(&header.dst) {
        DescriptorFlags::LINK_BROADCAST
    } else {
        DescriptorFlags::LINK_MULTICAST
    };
    let mut link = Link {
        dst: header.dst,
        src: header.src,
        vlan: 0,
        ethertype: header.ethertype.get(),
        l3_offset: ethernet::HEADER as u8,
        flags,
    };
    if is_tag(link.ethertype) {
        if link.ethertype != ethernet::VLAN {
            return Err(Malformed::VlanStacked);
        }
        let Ok((tag, _)) = VlanTag::ref_from_prefix(rest) else {
            return Err(Malformed::FrameTruncated);
        };
        link.vlan = tag.vlan();
        link.ethertype = tag.ethertype.get();
        link.l3_offset += vlan::TAG as u8;
        if is_tag(link.ethertype) {
            return Err(Malformed::VlanStacked);
        }
    }
    Ok(link)
}

#[inline]
const fn is_tag(ethertype: u16) -> bool {
    matches!(ethertype, ethernet::VLAN | ethernet::SERVICE_VLAN | ethernet::STACKED_VLAN)
}

/// The header `T` at `offset` of a packet that says it has `length` bytes: `short` when it says
/// too few, `HeadersSplit` when the bytes are in a later segment.
#[inline]
fn header<T>(packet: &[u8], offset: usize, length: usize, short: Malformed) -> Result<&T, Malformed>
where
    T: FromBytes + zerocopy::KnownLayout + zerocopy::Immutable + zerocopy::Unaligned,
{
    if offset + size_of::<T>() > length {
        return Err(short);
    }
    let bytes = packet.get(offset..).ok_or(Malformed::HeadersSplit)?;
    T::ref_from_prefix(bytes).map(|(header, _)| header).map_err(|_| Malformed::HeadersSplit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(dst: Mac, tail: &[u8]) -> Vec<u8> {
        [&dst[..], &[2, 0, 0, 0, 0, 2], tail].concat()
    }

    const UNICAST: Mac = [2, 0, 0, 0, 0, 1];

    #[test]
    fn an_untagged_frame() {
        let link = link(&frame(UNICAST, &[8, 0, 0x45])).unwrap();
        assert_eq!(link.dst, UNICAST);
        assert_eq!(link.src, [2, 0, 0, 0, 0, 2]);
        assert_eq!((link.vlan, link.ethertype, link.l3_offset), (0, ethernet::IPV4, 14));
        assert_eq!(link.flags, DescriptorFlags::empty());
    }

    #[test]
    fn conformance_16_one_tag_and_the_priority_tag() {
        let tagged = link(&frame(UNICAST, &[0x81, 0, 0xe0, 10, 0x86, 0xdd])).unwrap();
        assert_eq!((tagged.vlan, tagged.ethertype, tagged.l3_offset), (10, ethernet::IPV6, 18));
        let priority = link(&frame(UNICAST, &[0x81, 0, 0xe0, 0, 8, 0])).unwrap();
        assert_eq!(
            (priority.vlan, priority.ethertype, priority.l3_offset),
            (0, ethernet::IPV4, 18)
        );
    }

    #[test]
    fn conformance_17_stacked_tags_are_refused() {
        for tail in [
            &[0x81, 0, 0, 10, 0x81, 0, 0, 20, 8, 0][..],
            &[0x81, 0, 0, 10, 0x88, 0xa8, 0, 20, 8, 0],
            &[0x88, 0xa8, 0, 10, 0x81, 0, 0, 20, 8, 0],
            &[0x91, 0, 0, 10, 8, 0],
        ] {
            assert_eq!(link(&frame(UNICAST, tail)), Err(Malformed::VlanStacked));
        }
    }

    #[test]
    fn truncated_at_every_length() {
        let whole = frame(UNICAST, &[0x81, 0, 0, 10, 8, 0]);
        for length in 0..whole.len() {
            assert_eq!(link(&whole[..length]), Err(Malformed::FrameTruncated), "{length}");
        }
        assert!(link(&whole).is_ok());
    }

    #[test]
    fn group_frames_are_marked() {
        let flags = |dst| link(&frame(dst, &[8, 0])).unwrap().flags;
        assert_eq!(flags(ethernet::BROADCAST), DescriptorFlags::LINK_BROADCAST);
        assert_eq!(flags([1, 0, 0x5e, 0, 0, 1]), DescriptorFlags::LINK_MULTICAST);
    }
}

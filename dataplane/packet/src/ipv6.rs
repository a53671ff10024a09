//! IPv6 header and extension headers (RFC 8200), and the addresses that follow from a MAC address
//! or from another IPv6 address (RFC 4291).

use core::net::Ipv6Addr;

use zerocopy::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::ethernet::Mac;

/// Bytes of the fixed header.
pub const HEADER: usize = 40;

/// All nodes of the link, `ff02::1`.
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// All routers of the link, `ff02::2`.
pub const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);

/// The IPv6 header.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub struct Ipv6Header {
    /// Version (4 bits), traffic class (8) and flow label (20).
    pub version_class_flow: U32,
    /// Bytes after this header, extension headers included.
    pub payload_length: U16,
    /// Protocol of the first header after this one.
    pub next_header: u8,
    /// Hop limit.
    pub hop_limit: u8,
    /// Source address.
    pub src: [u8; 16],
    /// Destination address.
    pub dst: [u8; 16],
}

impl Ipv6Header {
    /// DSCP and ECN.
    #[inline]
    pub fn traffic_class(&self) -> u8 {
        (self.version_class_flow.get() >> 20) as u8
    }

    /// Source address.
    #[inline]
    pub fn source(&self) -> Ipv6Addr {
        Ipv6Addr::from_bits(u128::from_be_bytes(self.src))
    }

    /// Destination address.
    #[inline]
    pub fn destination(&self) -> Ipv6Addr {
        Ipv6Addr::from_bits(u128::from_be_bytes(self.dst))
    }
}

/// How hop-by-hop options, destination options, routing headers and (in words of four bytes) the
/// authentication header begin.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub struct ExtensionHeader {
    /// Protocol of the next header.
    pub next_header: u8,
    /// Length in units of eight bytes, not counting the first eight.
    pub length: u8,
    /// Routing header: routing type.
    pub routing_type: u8,
    /// Routing header: how many nodes are still to be visited.
    pub segments_left: u8,
}

/// The fragment header (RFC 8200 section 4.5).
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub struct FragmentHeader {
    /// Protocol of the first header of the fragmentable part.
    pub next_header: u8,
    /// Reserved.
    pub reserved: u8,
    /// Offset in units of eight bytes (13 bits), reserved (2), more fragments (1).
    pub offset_more: U16,
    /// Identification.
    pub identification: U32,
}

impl FragmentHeader {
    /// Bytes from the start of the fragmentable part.
    #[inline]
    pub fn offset(&self) -> usize {
        usize::from(self.offset_more.get() & 0xfff8)
    }

    /// Whether more fragments follow.
    #[inline]
    pub fn more(&self) -> bool {
        self.offset_more.get() & 1 != 0
    }
}

/// Whether the address is of `ff00::/8`.
#[inline]
pub const fn is_multicast(address: u128) -> bool {
    address >> 120 == 0xff
}

/// Whether the address is of `fe80::/10`.
#[inline]
pub const fn is_link_local(address: u128) -> bool {
    address >> 118 == 0x3fa
}

/// The link-local address that a station forms from its MAC address (RFC 4291 appendix A): the
/// modified EUI-64 behind `fe80::/64`.
pub const fn link_local(mac: &Mac) -> Ipv6Addr {
    let [a, b, c, d, e, f] = *mac;
    let mut octets = [0; 16];
    octets[0] = 0xfe;
    octets[1] = 0x80;
    octets[8] = a ^ 0x02;
    octets[9] = b;
    octets[10] = c;
    octets[11] = 0xff;
    octets[12] = 0xfe;
    octets[13] = d;
    octets[14] = e;
    octets[15] = f;
    Ipv6Addr::from_bits(u128::from_be_bytes(octets))
}

/// The solicited-node multicast address of an address (RFC 4291 section 2.7.1): `ff02::1:ff` and
/// its low 24 bits.
#[inline]
pub const fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    const PREFIX: u128 = 0xff02_0000_0000_0000_0000_0001_ff00_0000;
    Ipv6Addr::from_bits(PREFIX | address.to_bits() & 0x00ff_ffff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_follow_rfc_4291() {
        // The example of appendix A: 34:56:78:9a:bc:de.
        let address = link_local(&[0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde]);
        assert_eq!(address, "fe80::3656:78ff:fe9a:bcde".parse::<Ipv6Addr>().unwrap());
        // The example of section 2.7.1.
        let node = solicited_node("4037::01:800:200e:8c6c".parse().unwrap());
        assert_eq!(node, "ff02::1:ff0e:8c6c".parse::<Ipv6Addr>().unwrap());
        assert!(is_link_local(address.to_bits()));
        assert!(is_multicast(node.to_bits()));
    }
}

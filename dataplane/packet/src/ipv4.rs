//! IPv4 header (RFC 791 section 3.1).

use core::net::Ipv4Addr;

use zerocopy::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of the header without options.
pub const HEADER: usize = 20;
/// Bytes of the longest header.
pub const HEADER_MAX: usize = 60;
/// Flag *Don't Fragment* in [`Ipv4Header::fragment`].
pub const DONT_FRAGMENT: u16 = 0x4000;
/// Flag *More Fragments* in [`Ipv4Header::fragment`].
pub const MORE_FRAGMENTS: u16 = 0x2000;
/// Mask of the fragment offset, in units of eight bytes.
pub const OFFSET: u16 = 0x1fff;

/// Option: end of the list.
pub const OPTION_END: u8 = 0;
/// Option: no operation.
pub const OPTION_NOP: u8 = 1;
/// Option: loose source and record route.
pub const OPTION_LOOSE_SOURCE_ROUTE: u8 = 131;
/// Option: strict source and record route.
pub const OPTION_STRICT_SOURCE_ROUTE: u8 = 137;

/// The fixed part of the IPv4 header.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub struct Ipv4Header {
    /// Version (4 bits) and header length in words (4 bits).
    pub version_ihl: u8,
    /// Type of service: DSCP and ECN.
    pub tos: u8,
    /// Bytes of header and payload.
    pub total_length: U16,
    /// Identification.
    pub identification: U16,
    /// Flags and fragment offset.
    pub fragment: U16,
    /// Time to live.
    pub ttl: u8,
    /// Protocol of the payload.
    pub protocol: u8,
    /// Header checksum.
    pub checksum: U16,
    /// Source address.
    pub src: U32,
    /// Destination address.
    pub dst: U32,
}

impl Ipv4Header {
    /// Bytes of the header with options, as it says itself.
    #[inline]
    pub fn header_length(&self) -> usize {
        usize::from(self.version_ihl & 0x0f) * 4
    }

    /// Source address.
    #[inline]
    pub fn source(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.src.get())
    }

    /// Destination address.
    #[inline]
    pub fn destination(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.dst.get())
    }
}

/// Whether one host may have the address: not of 0/8, 127/8, 224/4 or 240/4 (RFC 1812 sections
/// 4.2.2.11 and 5.3.7). Directed broadcasts cannot be told by the address alone.
#[inline]
pub const fn is_host(address: u32) -> bool {
    let net = address >> 24;
    // 1 to 223 in one comparison: every packet is asked twice.
    net.wrapping_sub(1) < 223 && net != 127
}

/// Whether the address is of 224/4.
#[inline]
pub const fn is_multicast(address: u32) -> bool {
    address >> 28 == 0xe
}

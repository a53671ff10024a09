//! The headers below what a builder is about.

use core::net::{Ipv4Addr, Ipv6Addr};

use zerocopy::network_endian::{U16, U32};
use zerocopy::{Immutable, IntoBytes};

use super::BuildError;
use crate::checksum::{self, Sum};
use crate::decode::Link;
use crate::descriptor::FlowKey;
use crate::ethernet::{self, EthernetHeader, Mac};
use crate::ipv4::Ipv4Header;
use crate::ipv6::{self, Ipv6Header};
use crate::vlan::{self, VlanTag};

/// TTL and hop limit of what a router says itself (RFC 1700, "default TTL").
pub(super) const HOP_LIMIT: u8 = 64;

/// What to write into the link header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LinkHeader {
    /// Destination address.
    pub dst: Mac,
    /// Source address.
    pub src: Mac,
    /// VLAN identifier; 0 writes no tag.
    pub vlan: u16,
}

impl LinkHeader {
    /// That of an answer: from the station with the address `mac` to where the frame came from,
    /// on the same VLAN.
    pub fn answering(link: &Link, mac: Mac) -> LinkHeader {
        LinkHeader { dst: link.src, src: mac, vlan: link.vlan }
    }

    /// Bytes that the header takes.
    #[inline]
    pub const fn length(&self) -> usize {
        if self.vlan == 0 { ethernet::HEADER } else { ethernet::HEADER + vlan::TAG }
    }

    /// Writes the header in front of a payload of `payload` bytes; returns the payload's place
    /// and the bytes of the frame.
    pub(super) fn write<'b>(
        &self,
        buffer: &'b mut [u8],
        ethertype: u16,
        payload: usize,
    ) -> Result<(&'b mut [u8], usize), BuildError> {
        let needed = self.length() + payload;
        let available = buffer.len();
        let too_small = BuildError::BufferTooSmall { needed, available };
        let frame = buffer.get_mut(..needed).ok_or(too_small)?;
        let outer = if self.vlan == 0 { ethertype } else { ethernet::VLAN };
        let header = EthernetHeader { dst: self.dst, src: self.src, ethertype: U16::new(outer) };
        let rest = put(frame, &header);
        if self.vlan == 0 {
            return Ok((rest, needed));
        }
        let tag = VlanTag { tci: U16::new(self.vlan & 0x0fff), ethertype: U16::new(ethertype) };
        Ok((put(rest, &tag), needed))
    }
}

/// Writes `header` to the start of `bytes`, which is long enough, and returns what follows.
pub(super) fn put<'b, T: IntoBytes + Immutable>(bytes: &'b mut [u8], header: &T) -> &'b mut [u8] {
    let header = header.as_bytes();
    let split = header.len().min(bytes.len());
    let (to, rest) = bytes.split_at_mut(split);
    to.copy_from_slice(&header[..split]);
    rest
}

/// What the IP header of a packet of the router's own says, beside addresses and lengths.
#[derive(Clone, Copy)]
pub(super) struct Ip {
    pub(super) protocol: u8,
    pub(super) traffic_class: u8,
    pub(super) hop_limit: u8,
}

/// An IPv4 header without options in front of `payload` bytes.
pub(super) fn ipv4_header(
    ip: Ip,
    identification: u16,
    fragment: u16,
    (src, dst): (Ipv4Addr, Ipv4Addr),
    payload: usize,
) -> Ipv4Header {
    let mut header = Ipv4Header {
        version_ihl: 0x45,
        tos: ip.traffic_class,
        total_length: U16::new((size_of::<Ipv4Header>() + payload) as u16),
        identification: U16::new(identification),
        fragment: U16::new(fragment),
        ttl: ip.hop_limit,
        protocol: ip.protocol,
        checksum: U16::ZERO,
        src: U32::new(src.to_bits()),
        dst: U32::new(dst.to_bits()),
    };
    header.checksum = U16::new(checksum::ipv4_header(header.as_bytes()));
    header
}

/// An IPv6 header in front of `payload` bytes.
pub(super) fn ipv6_header(ip: Ip, (src, dst): (Ipv6Addr, Ipv6Addr), payload: usize) -> Ipv6Header {
    Ipv6Header {
        version_class_flow: U32::new(6 << 28 | u32::from(ip.traffic_class) << 20),
        payload_length: U16::new(payload as u16),
        next_header: ip.protocol,
        hop_limit: ip.hop_limit,
        src: src.octets(),
        dst: dst.octets(),
    }
}

/// Computes the checksum of the layer-4 packet `bytes`, whose checksum field holds 0, and writes
/// it `field` bytes from the start. `key` is that of the packet, for its pseudo-header; `None`
/// for ICMP, which has none.
pub(super) fn seal(bytes: &mut [u8], field: usize, key: Option<&FlowKey>) {
    let mut sum = key.map_or(Sum::new(), |key| Sum::pseudo_header(key, bytes.len()));
    sum.combine(Sum::of(bytes));
    if let Some(place) = bytes.get_mut(field..field + 2) {
        place.copy_from_slice(&sum.checksum().to_be_bytes());
    }
}

/// The link header of an IPv6 multicast.
pub(super) fn multicast_v6(group: Ipv6Addr, src: Mac, vlan: u16) -> LinkHeader {
    debug_assert!(ipv6::is_multicast(group.to_bits()));
    LinkHeader { dst: ethernet::multicast_v6(group), src, vlan }
}

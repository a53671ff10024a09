//! What decoding a packet yields: the flow key and the other fields that policy may consult.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use zerocopy::IntoBytes;

/// IP version of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, PartialOrd, Ord)]
#[repr(u8)]
pub enum Family {
    /// IPv4 (RFC 791).
    #[default]
    Inet = 4,
    /// IPv6 (RFC 8200).
    Inet6 = 6,
}

/// Where a packet stands in its datagram (RFC 791 section 3.2, RFC 8200 section 4.5).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[repr(u8)]
pub enum Fragment {
    /// A whole datagram; also an IPv6 atomic fragment (RFC 6946).
    #[default]
    Whole = 0,
    /// The first fragment: it carries the layer-4 header.
    First = 1,
    /// A later fragment: ports, flags and ICMP type are not known and read as 0.
    Later = 2,
}

/// The five-tuple of a packet, in host byte order. An IPv4 address occupies the low 32 bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[repr(C)]
pub struct FlowKey {
    /// Source address.
    pub src: u128,
    /// Destination address.
    pub dst: u128,
    /// Source port of TCP, UDP, SCTP and DCCP; identifier of ICMP echo; else 0.
    pub src_port: u16,
    /// Destination port of TCP, UDP, SCTP and DCCP; else 0.
    pub dst_port: u16,
    /// Protocol number of the layer-4 header (after IPv6 extension headers).
    pub protocol: u8,
    /// IP version.
    pub family: Family,
}

impl FlowKey {
    /// Source address as `std` knows it.
    pub fn src_ip(&self) -> IpAddr {
        ip_of(self.family, self.src)
    }

    /// Destination address as `std` knows it.
    pub fn dst_ip(&self) -> IpAddr {
        ip_of(self.family, self.dst)
    }

    /// Source address of an IPv4 packet.
    #[inline(always)]
    pub fn src_inet(&self) -> u32 {
        low(&self.src)
    }

    /// Destination address of an IPv4 packet.
    #[inline(always)]
    pub fn dst_inet(&self) -> u32 {
        low(&self.dst)
    }
}

/// The low 32 bits, read as such: when a number of 128 bits is read and cut, the compiler shifts all
/// of it for every byte that is asked for.
#[inline(always)]
fn low(number: &u128) -> u32 {
    let (words, _) = number.as_bytes().as_chunks::<4>();
    u32::from_ne_bytes(words[if cfg!(target_endian = "little") { 0 } else { 3 }])
}

/// The numeric form of an address that [`FlowKey`] uses.
pub fn number_of(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// The inverse of [`number_of`].
pub fn ip_of(family: Family, number: u128) -> IpAddr {
    match family {
        Family::Inet => IpAddr::V4(Ipv4Addr::from_bits(number as u32)),
        Family::Inet6 => IpAddr::V6(Ipv6Addr::from_bits(number)),
    }
}

/// How a packet stands to the connection that it belongs to: what filters match as `state`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[repr(u8)]
pub enum ConnectionState {
    /// Nothing tracked it, or it is of a kind that has no connections.
    #[default]
    Untracked = 0,
    /// It begins a connection, or goes on with one that nobody has answered yet.
    New = 1,
    /// Of a connection of which packets of both directions were seen.
    Established = 2,
    /// An ICMP error that quotes a packet of a connection.
    Related = 3,
    /// It cannot be of any connection: out of its window or out of order.
    Invalid = 4,
}

bitflags::bitflags! {
    /// Yes-or-no facts about a packet.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    #[repr(transparent)]
    pub struct DescriptorFlags: u8 {
        /// IPv4 Don't Fragment; always set for IPv6, which routers never fragment.
        const DONT_FRAGMENT = 1 << 0;
        /// IPv4 options or IPv6 extension headers are present.
        const OPTIONS = 1 << 1;
        /// The frame was sent to the link's broadcast address (`HPE_BROADCAST`).
        const LINK_BROADCAST = 1 << 2;
        /// The frame was sent to a link multicast address (`HPE_MULTICAST`).
        const LINK_MULTICAST = 1 << 3;
        /// The router itself made this packet: it is not forwarded, so neither FORWARDING nor
        /// the hop limit applies to it.
        const LOCAL_ORIGIN = 1 << 4;
        /// An IPv6 routing header names nodes still to be visited: forwarded like any packet, but
        /// the destination is not its last one, so it is not for delivery here (RFC 8200 section
        /// 4.4), and its layer-4 checksum cannot be checked.
        const SEGMENTS_LEFT = 1 << 5;
        /// A later fragment whose first one is known: ports and protocol are the first's, and so is
        /// the state.
        const FIRST_KNOWN = 1 << 6;
    }
}

/// All that policy may consult about a packet, in one cache line.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Descriptor {
    /// The five-tuple.
    pub key: FlowKey,
    /// Number of the interface it came in by (`InterfaceId` of the policy); the decoder leaves 0.
    pub ingress: u16,
    /// Bytes of the IP packet as its header says: header and payload, without the link header
    /// and without padding.
    pub l3_length: u16,
    /// Bytes from the start of the IP header to the layer-4 header (20 for plain IPv4). For a
    /// later fragment: to its payload.
    pub l4_offset: u16,
    /// Bytes from the start of the frame to the IP header (14, 18 with a VLAN tag).
    pub l3_offset: u8,
    /// IPv4 TTL or IPv6 hop limit.
    pub hop_limit: u8,
    /// IPv4 TOS or IPv6 traffic class: DSCP in the upper six bits, ECN in the lower two.
    pub traffic_class: u8,
    /// TCP flags (FIN 1, SYN 2, RST 4, PSH 8, ACK 16, URG 32, ECE 64, CWR 128); else 0.
    pub tcp_flags: u8,
    /// ICMP or ICMPv6 type; else 0.
    pub icmp_type: u8,
    /// ICMP or ICMPv6 code; else 0.
    pub icmp_code: u8,
    /// Place in the datagram.
    pub fragment: Fragment,
    /// Yes-or-no facts.
    pub flags: DescriptorFlags,
    /// What the connection tracker says of it; the decoder leaves [`ConnectionState::Untracked`].
    pub state: ConnectionState,
}

const _: () = assert!(size_of::<Descriptor>() == 64, "a descriptor is one cache line");

//! ICMP and ICMPv6 error messages, and when they may be sent.
//!
//! Whether an address is a directed broadcast, and how many errors a second are enough, is
//! policy: the caller decides both.

use core::net::{Ipv4Addr, Ipv6Addr};

use zerocopy::network_endian::{U16, U32};

use super::writer::{HOP_LIMIT, Ip, ipv4_header, ipv6_header, put, seal};
use super::{BuildError, LinkHeader};
use crate::descriptor::{Descriptor, DescriptorFlags, Family, FlowKey, Fragment};
use crate::ethernet;
use crate::icmp::{self, IcmpHeader};
use crate::icmpv6;
use crate::ipv4;
use crate::ipv6;
use crate::protocol;

/// Precedence "internetwork control" (RFC 1812 section 4.3.2.5), which is DSCP CS6 (RFC 2474).
const INTERNETWORK_CONTROL: u8 = 0xc0;
/// Bytes of the longest ICMP error (RFC 1812 section 4.3.2.3).
const ICMP_MAX: usize = 576;
/// Bytes of the longest ICMPv6 error: the least MTU of IPv6 (RFC 4443 section 2.4(c)).
const ICMPV6_MAX: usize = 1280;

/// An ICMP error message (RFC 792, RFC 1812 section 5.2.7).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IcmpError {
    /// No route (3/0).
    NetworkUnreachable,
    /// The neighbour does not answer (3/1).
    HostUnreachable,
    /// Nothing here speaks the protocol (3/2).
    ProtocolUnreachable,
    /// Nothing listens on the port (3/3).
    PortUnreachable,
    /// Larger than the next link takes, and may not be fragmented (3/4; RFC 1191).
    FragmentationNeeded {
        /// What the next link takes.
        mtu: u16,
    },
    /// Forbidden by policy (3/13).
    Prohibited,
    /// TTL ran out (11/0).
    TimeExceeded,
    /// The header is wrong (12/0).
    ParameterProblem {
        /// Which byte of it.
        pointer: u8,
    },
}

impl IcmpError {
    /// Type, code and the four bytes behind the checksum.
    const fn wire(self) -> (u8, u8, u32) {
        match self {
            IcmpError::NetworkUnreachable => (icmp::UNREACHABLE, 0, 0),
            IcmpError::HostUnreachable => (icmp::UNREACHABLE, 1, 0),
            IcmpError::ProtocolUnreachable => (icmp::UNREACHABLE, 2, 0),
            IcmpError::PortUnreachable => (icmp::UNREACHABLE, 3, 0),
            IcmpError::FragmentationNeeded { mtu } => (icmp::UNREACHABLE, 4, mtu as u32),
            IcmpError::Prohibited => (icmp::UNREACHABLE, 13, 0),
            IcmpError::TimeExceeded => (icmp::TIME_EXCEEDED, 0, 0),
            IcmpError::ParameterProblem { pointer } => {
                (icmp::PARAMETER_PROBLEM, 0, (pointer as u32) << 24)
            }
        }
    }
}

/// An ICMPv6 error message (RFC 4443 section 3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Icmpv6Error {
    /// No route (1/0).
    NoRoute,
    /// Forbidden by policy (1/1).
    Prohibited,
    /// The source address does not reach that far (1/2).
    BeyondScope,
    /// The neighbour does not answer (1/3).
    AddressUnreachable,
    /// Nothing listens on the port (1/4).
    PortUnreachable,
    /// A reject route (1/6).
    RejectRoute,
    /// Larger than the next link takes (2/0).
    PacketTooBig {
        /// What the next link takes.
        mtu: u32,
    },
    /// Hop limit ran out (3/0).
    HopLimitExceeded,
    /// A header is wrong (4/`code`).
    ParameterProblem {
        /// 0 erroneous field, 1 unknown next header, 2 unknown option.
        code: u8,
        /// Which byte of the packet.
        pointer: u32,
    },
}

impl Icmpv6Error {
    /// Type, code and the four bytes behind the checksum.
    const fn wire(self) -> (u8, u8, u32) {
        match self {
            Icmpv6Error::NoRoute => (icmpv6::UNREACHABLE, 0, 0),
            Icmpv6Error::Prohibited => (icmpv6::UNREACHABLE, 1, 0),
            Icmpv6Error::BeyondScope => (icmpv6::UNREACHABLE, 2, 0),
            Icmpv6Error::AddressUnreachable => (icmpv6::UNREACHABLE, 3, 0),
            Icmpv6Error::PortUnreachable => (icmpv6::UNREACHABLE, 4, 0),
            Icmpv6Error::RejectRoute => (icmpv6::UNREACHABLE, 6, 0),
            Icmpv6Error::PacketTooBig { mtu } => (icmpv6::PACKET_TOO_BIG, 0, mtu),
            Icmpv6Error::HopLimitExceeded => (icmpv6::TIME_EXCEEDED, 0, 0),
            Icmpv6Error::ParameterProblem { code, pointer } => {
                (icmpv6::PARAMETER_PROBLEM, code, pointer)
            }
        }
    }

    /// Whether it is sent about multicasts, too (RFC 4443 section 2.4(e.3)): path MTU discovery
    /// needs it for groups, and unknown options may ask for it.
    const fn about_multicasts(self) -> bool {
        matches!(
            self,
            Icmpv6Error::PacketTooBig { .. } | Icmpv6Error::ParameterProblem { code: 2, .. }
        )
    }
}

/// Whether an ICMP error may be sent about the packet (RFC 1122 section 3.2.2, RFC 1812 section
/// 4.3.2.7): never about an ICMP error, a broadcast or multicast of the link or of IP, a later
/// fragment, or to a source that is no single host. What claims to come from its own destination
/// is not answered either (the "land" attack).
pub fn may_answer_v4(d: &Descriptor) -> bool {
    let about_an_error = d.key.protocol == protocol::ICMP && !icmp::is_query(d.icmp_type);
    d.key.family == Family::Inet
        && d.fragment != Fragment::Later
        && !about_an_error
        && !is_link_group(d)
        && ipv4::is_host(d.key.src as u32)
        && ipv4::is_host(d.key.dst as u32)
        && d.key.src != d.key.dst
}

/// Whether this ICMPv6 error may be sent about the packet (RFC 4443 section 2.4(e)): never about
/// an ICMPv6 error or redirect, a multicast or link broadcast (two kinds of error excepted), or to
/// a source that is no single node. A later fragment gets none either: what it is a fragment of
/// may be an error.
pub fn may_answer_v6(d: &Descriptor, error: Icmpv6Error) -> bool {
    let about_an_error = d.key.protocol == protocol::ICMPV6
        && (icmpv6::is_error(d.icmp_type) || d.icmp_type == icmpv6::REDIRECT);
    let about_a_group = is_link_group(d) || ipv6::is_multicast(d.key.dst);
    d.key.family == Family::Inet6
        && d.fragment != Fragment::Later
        && !about_an_error
        && (!about_a_group || error.about_multicasts())
        // Neither unspecified nor loopback nor a group.
        && d.key.src > 1
        && !ipv6::is_multicast(d.key.src)
        && d.key.src != d.key.dst
}

fn is_link_group(d: &Descriptor) -> bool {
    d.flags.intersects(DescriptorFlags::LINK_BROADCAST | DescriptorFlags::LINK_MULTICAST)
}

/// Writes an ICMP error about the packet that `d` describes and `frame` begins with, from `source`
/// to the packet's source. It quotes as much as fits in 576 bytes (RFC 1812 section 4.3.2.3) and is
/// in the first segment.
///
/// Whether it may be sent is [`may_answer_v4`]'s to say.
pub fn icmp(
    buffer: &mut [u8],
    link: &LinkHeader,
    source: Ipv4Addr,
    error: IcmpError,
    d: &Descriptor,
    frame: &[u8],
) -> Result<usize, BuildError> {
    const NOT: BuildError = BuildError::Unanswerable("IPv4 packet");
    if d.key.family != Family::Inet {
        return Err(NOT);
    }
    let quote = quote(frame, d, ICMP_MAX - ipv4::HEADER - icmp::HEADER).ok_or(NOT)?;
    // The packet's own identification saves a counter and differs from packet to packet.
    let identification = quote.get(4..).and_then(<[u8]>::first_chunk).ok_or(NOT)?;
    let identification = u16::from_be_bytes(*identification);
    let payload = icmp::HEADER + quote.len();
    let (packet, length) = link.write(buffer, ethernet::IPV4, ipv4::HEADER + payload)?;
    let ip =
        Ip { protocol: protocol::ICMP, traffic_class: INTERNETWORK_CONTROL, hop_limit: HOP_LIMIT };
    let addresses = (source, Ipv4Addr::from_bits(d.key.src as u32));
    let message = put(packet, &ipv4_header(ip, identification, 0, addresses, payload));
    write_message(message, error.wire(), quote, None);
    Ok(length)
}

/// Writes an ICMPv6 error about the packet that `d` describes and `frame` begins with, from
/// `source` to the packet's source. It quotes as much as fits in 1280 bytes (RFC 4443 section
/// 2.4(c)) and is in the first segment.
///
/// Whether it may be sent is [`may_answer_v6`]'s to say.
pub fn icmpv6(
    buffer: &mut [u8],
    link: &LinkHeader,
    source: Ipv6Addr,
    error: Icmpv6Error,
    d: &Descriptor,
    frame: &[u8],
) -> Result<usize, BuildError> {
    const NOT: BuildError = BuildError::Unanswerable("IPv6 packet");
    if d.key.family != Family::Inet6 {
        return Err(NOT);
    }
    let quote = quote(frame, d, ICMPV6_MAX - ipv6::HEADER - icmpv6::HEADER).ok_or(NOT)?;
    let payload = icmpv6::HEADER + quote.len();
    let (packet, length) = link.write(buffer, ethernet::IPV6, ipv6::HEADER + payload)?;
    let ip = Ip {
        protocol: protocol::ICMPV6,
        traffic_class: INTERNETWORK_CONTROL,
        hop_limit: HOP_LIMIT,
    };
    let destination = Ipv6Addr::from_bits(d.key.src);
    let message = put(packet, &ipv6_header(ip, (source, destination), payload));
    let key = FlowKey {
        src: source.to_bits(),
        dst: d.key.src,
        protocol: protocol::ICMPV6,
        family: Family::Inet6,
        ..FlowKey::default()
    };
    write_message(message, error.wire(), quote, Some(&key));
    Ok(length)
}

/// The start of the packet, at most `most` bytes, without padding.
fn quote<'f>(frame: &'f [u8], d: &Descriptor, most: usize) -> Option<&'f [u8]> {
    let packet = frame.get(d.l3_offset.into()..)?;
    let length = packet.len().min(d.l3_length.into()).min(most);
    packet.get(..length)
}

/// ICMP and ICMPv6 errors have one layout: header, then the quote.
fn write_message(
    bytes: &mut [u8],
    (icmp_type, code, rest): (u8, u8, u32),
    quote: &[u8],
    pseudo_header: Option<&FlowKey>,
) {
    let header = IcmpHeader { icmp_type, code, checksum: U16::ZERO, rest: U32::new(rest) };
    put(bytes, &header).copy_from_slice(quote);
    seal(bytes, 2, pseudo_header);
}

#[cfg(test)]
#[path = "error_tests.rs"]
mod tests;

//! IPv6 and its extension headers (RFC 8200).

use super::{header, layer4};
use crate::descriptor::{ConnectionState, Descriptor, DescriptorFlags, Family, FlowKey, Fragment};
use crate::ipv6::{self, ExtensionHeader, FragmentHeader, HEADER, Ipv6Header};
use crate::malformed::Malformed;
use crate::protocol;
use crate::tcp;
use crate::udp;

/// How many extension headers are followed. RFC 8200 section 4.1 knows seven places; more is not
/// traffic.
const MAX_HEADERS: usize = 8;

/// Decodes the IPv6 packet at `l3_offset` of `frame`, the first segment of a frame of
/// `wire_length` bytes that came over an interface of the given `mtu`.
#[inline]
pub fn ipv6(
    frame: &[u8],
    l3_offset: usize,
    wire_length: usize,
    mtu: u16,
) -> Result<Descriptor, Malformed> {
    let mut descriptor = Descriptor::default();
    ipv6_into(frame, l3_offset, wire_length, mtu, &mut descriptor)?;
    Ok(descriptor)
}

/// [`ipv6()`] into a descriptor that is there already, as a burst has them: its fields are written
/// once, where they stay. After an error they mean nothing. Says whether the packet is plain.
///
/// # Errors
/// What is malformed.
#[inline(always)]
pub fn ipv6_into(
    frame: &[u8],
    l3_offset: usize,
    wire_length: usize,
    mtu: u16,
    descriptor: &mut Descriptor,
) -> Result<bool, Malformed> {
    if ipv6_plain(frame, l3_offset, wire_length, mtu, descriptor) {
        return Ok(true);
    }
    *descriptor = careful(frame, l3_offset, wire_length, mtu)?;
    Ok(false)
}

/// The plain way alone; when it says `false`, the fields of the descriptor mean nothing. The ingress
/// is not written: the caller has it.
#[inline(always)]
pub fn ipv6_plain(
    frame: &[u8],
    l3_offset: usize,
    wire_length: usize,
    mtu: u16,
    descriptor: &mut Descriptor,
) -> bool {
    plain(frame, l3_offset, wire_length, mtu, descriptor).is_some()
}

/// Bytes that the plain way looks at: the IPv6 header and all of UDP's. Of TCP it looks further.
const PLAIN: usize = HEADER + udp::HEADER;

#[inline(always)]
fn plain(
    frame: &[u8],
    l3_offset: usize,
    wire_length: usize,
    mtu: u16,
    descriptor: &mut Descriptor,
) -> Option<()> {
    let packet = frame.get(l3_offset..)?;
    let (words, _) = packet.first_chunk::<PLAIN>()?.as_chunks::<8>();
    let word = |n: usize| u64::from_be_bytes(words[n]);
    let (first, src, dst, ports) = (word(0), [word(1), word(2)], [word(3), word(4)], word(5));
    let length = HEADER + usize::from((first >> 16) as u16);
    let protocol = (first >> 8) as u8;

    // Written before it is checked: so nothing has to be kept until all is known.
    let d = descriptor;
    d.key.src = number(src);
    d.key.dst = number(dst);
    d.key.src_port = (ports >> 48) as u16;
    d.key.dst_port = (ports >> 32) as u16;
    d.key.protocol = protocol;
    d.key.family = Family::Inet6;
    d.l3_length = length as u16;
    d.l4_offset = HEADER as u16;
    d.l3_offset = l3_offset as u8;
    d.hop_limit = first as u8;
    d.traffic_class = (first >> 52) as u8;
    d.tcp_flags = 0;
    d.icmp_type = 0;
    d.icmp_code = 0;
    d.fragment = Fragment::Whole;
    d.flags = DescriptorFlags::DONT_FRAGMENT;
    d.state = ConnectionState::Untracked;
    let least = match protocol {
        protocol::UDP => PLAIN,
        protocol::TCP => {
            let l4 = packet.get(HEADER..)?.first_chunk::<{ tcp::HEADER }>()?;
            d.tcp_flags = l4[13];
            // A data offset under five words is left for the careful way to refuse.
            let header = usize::from(l4[12] >> 4) * 4;
            if header < tcp::HEADER || packet.len() < HEADER + header {
                return None;
            }
            HEADER + header
        }
        _ => return None,
    };
    let plain = (first >> 60 == 6)
        && (length >= least)
        && (length + l3_offset <= wire_length)
        && (length <= usize::from(mtu))
        && (first as u8 >= 2)
        && is_host(src[0])
        && is_host(dst[0]);
    plain.then_some(())
}

#[inline(always)]
fn number([high, low]: [u64; 2]) -> u128 {
    u128::from(high) << 64 | u128::from(low)
}

/// Whether an address with this upper half is one that packets are routed from and to: not of
/// `::/64`, where all the special unicast addresses are, not of a link alone, not a group's.
#[inline(always)]
const fn is_host(high: u64) -> bool {
    (high != 0) & (high >> 56 < 0xfe)
}

#[cold]
#[inline(never)]
fn careful(
    frame: &[u8],
    l3_offset: usize,
    wire_length: usize,
    mtu: u16,
) -> Result<Descriptor, Malformed> {
    let wire = wire_length.saturating_sub(l3_offset);
    let packet = frame.get(l3_offset..).ok_or(Malformed::FrameTruncated)?;
    let ip: &Ipv6Header = header(packet, 0, wire, Malformed::FrameTruncated)?;

    if ip.version_class_flow.get() >> 28 != 6 {
        return Err(Malformed::Ipv6Version);
    }
    let length = HEADER + usize::from(ip.payload_length.get());
    // A jumbogram (RFC 2675), which Linux uses for TCP super-packets over 64 KB, says 0.
    let big = ip.payload_length == 0 && wire >= usize::from(mtu);
    if length > usize::from(mtu) || big {
        return Err(Malformed::SuperPacket);
    }
    if length > wire {
        return Err(Malformed::Ipv6PayloadLength);
    }
    if ip.hop_limit == 0 {
        return Err(Malformed::HopLimitZero);
    }
    let src = u128::from_be_bytes(ip.src);
    let dst = u128::from_be_bytes(ip.dst);
    martians(src, dst)?;
    let chain = Chain::walk(packet, ip.next_header, length)?;

    let mut descriptor = Descriptor {
        key: FlowKey {
            src,
            dst,
            protocol: chain.protocol,
            family: Family::Inet6,
            ..FlowKey::default()
        },
        l3_length: length as u16,
        l4_offset: chain.l4_offset as u16,
        l3_offset: l3_offset as u8,
        hop_limit: ip.hop_limit,
        traffic_class: ip.traffic_class(),
        fragment: chain.fragment,
        flags: chain.flags | DescriptorFlags::DONT_FRAGMENT,
        ..Descriptor::default()
    };
    layer4::read(&mut descriptor, packet, chain.fragment_offset)?;
    Ok(descriptor)
}

/// Addresses that no packet on a network may have: RFC 4291 sections 2.5.2 (unspecified), 2.5.3
/// (loopback), 2.5.5.2 (IPv4-mapped, with RFC 6890) and 2.7 (a group as source; the scopes 0 and
/// 1, which are not for links).
///
/// The unspecified source stays decodable towards a group of the link, which is never forwarded:
/// duplicate address detection (RFC 4862), router solicitations and MLD reports come from it.
fn martians(src: u128, dst: u128) -> Result<(), Malformed> {
    const LOOPBACK: u128 = 1;
    const LINK_GROUPS: u128 = 0xff02;
    let mapped = |address: u128| address >> 32 == 0xffff;
    let nameless = src == 0 && dst >> 112 == LINK_GROUPS;
    if ipv6::is_multicast(src) || src == LOOPBACK || mapped(src) || src == 0 && !nameless {
        return Err(Malformed::SourceMartian);
    }
    let narrow = ipv6::is_multicast(dst) && (dst >> 112) & 0xf <= 1;
    if dst == 0 || dst == LOOPBACK || mapped(dst) || narrow {
        return Err(Malformed::DestinationMartian);
    }
    Ok(())
}

/// Protocol, offset and place in the datagram of what stands behind the chain of extension headers,
/// as far as the packet is there; `first` is what the fixed header says.
pub(crate) fn upper_layer(packet: &[u8], first: u8) -> Option<(u8, usize, Fragment)> {
    let chain = Chain::walk(packet, first, packet.len()).ok()?;
    Some((chain.protocol, chain.l4_offset, chain.fragment))
}

/// Where the chain of extension headers ends.
struct Chain {
    protocol: u8,
    l4_offset: usize,
    fragment: Fragment,
    fragment_offset: usize,
    flags: DescriptorFlags,
}

impl Chain {
    /// Follows the chain from the fixed header of a packet of `length` bytes. Options within the
    /// headers are not looked at: they are for the destination, and a router may leave
    /// hop-by-hop options alone (RFC 9673 section 5.1).
    fn walk(packet: &[u8], first: u8, length: usize) -> Result<Chain, Malformed> {
        let mut chain = Chain {
            protocol: first,
            l4_offset: HEADER,
            fragment: Fragment::Whole,
            fragment_offset: 0,
            flags: DescriptorFlags::empty(),
        };
        let mut fragmented = false;
        for position in 0..=MAX_HEADERS {
            let short = match chain.fragment {
                // RFC 7112: the first fragment holds the whole chain.
                Fragment::First => Malformed::Ipv6HeaderChain,
                _ => Malformed::Ipv6Extension,
            };
            let start = chain.l4_offset;
            match chain.protocol {
                protocol::HOP_BY_HOP if position > 0 => return Err(Malformed::Ipv6Extension),
                protocol::FRAGMENT if fragmented => return Err(Malformed::Ipv6Extension),
                protocol::FRAGMENT => {
                    let extension: &FragmentHeader = header(packet, start, length, short)?;
                    fragmented = true;
                    chain.protocol = extension.next_header;
                    chain.l4_offset += size_of::<FragmentHeader>();
                    chain.fragment_offset = extension.offset();
                    chain.fragment = match (extension.offset(), extension.more()) {
                        // Whole by itself: an atomic fragment (RFC 6946).
                        (0, false) => Fragment::Whole,
                        (0, true) => Fragment::First,
                        _ => Fragment::Later,
                    };
                    let before = start - HEADER;
                    let payload = length - chain.l4_offset;
                    // The whole datagram could not say its length (RFC 8200 section 4.5).
                    if before + extension.offset() + payload > usize::from(u16::MAX) {
                        return Err(Malformed::Ipv6PayloadLength);
                    }
                }
                protocol::HOP_BY_HOP
                | protocol::DESTINATION_OPTIONS
                | protocol::ROUTING
                | protocol::AH => {
                    let extension: &ExtensionHeader = header(packet, start, length, short)?;
                    if chain.protocol == protocol::ROUTING && extension.segments_left > 0 {
                        // Type 0 is abolished: it multiplies traffic (RFC 5095).
                        if extension.routing_type == 0 {
                            return Err(Malformed::Ipv6Extension);
                        }
                        chain.flags |= DescriptorFlags::SEGMENTS_LEFT;
                    }
                    // Its fixed part alone is twelve bytes (RFC 4302 section 2).
                    if chain.protocol == protocol::AH && extension.length == 0 {
                        return Err(Malformed::Ipv6Extension);
                    }
                    chain.l4_offset += match chain.protocol {
                        // In words of four bytes, without the first two (RFC 4302 section 2.2).
                        protocol::AH => (usize::from(extension.length) + 2) * 4,
                        _ => (usize::from(extension.length) + 1) * 8,
                    };
                    if chain.l4_offset > length {
                        return Err(short);
                    }
                    chain.protocol = extension.next_header;
                }
                _ => return Ok(chain),
            }
            chain.flags |= DescriptorFlags::OPTIONS;
            if chain.fragment == Fragment::Later {
                return Ok(chain);
            }
        }
        Err(Malformed::Ipv6HeaderChain)
    }
}

#[cfg(test)]
#[path = "ipv6_tests.rs"]
mod tests;

//! IPv4 (RFC 791, RFC 1812 section 5.2.2).

use super::{header, layer4};
use crate::checksum;
use crate::descriptor::{ConnectionState, Descriptor, DescriptorFlags, Family, FlowKey, Fragment};
use crate::ipv4::{self, HEADER, HEADER_MAX, Ipv4Header};
use crate::malformed::Malformed;
use crate::protocol;
use crate::tcp;

/// Decodes the IPv4 packet at `l3_offset` of `frame`, the first segment of a frame of
/// `wire_length` bytes that came over an interface of the given `mtu`.
#[inline]
pub fn ipv4(
    frame: &[u8],
    l3_offset: usize,
    wire_length: usize,
    mtu: u16,
) -> Result<Descriptor, Malformed> {
    let mut descriptor = Descriptor::default();
    ipv4_into(frame, l3_offset, wire_length, mtu, &mut descriptor)?;
    Ok(descriptor)
}

/// [`ipv4()`] into a descriptor that is there already, as a burst has them: its fields are written
/// once, where they stay. After an error they mean nothing. Says whether the packet is plain.
///
/// # Errors
/// What is malformed.
#[inline(always)]
pub fn ipv4_into(
    frame: &[u8],
    l3_offset: usize,
    wire_length: usize,
    mtu: u16,
    descriptor: &mut Descriptor,
) -> Result<bool, Malformed> {
    if ipv4_plain(frame, l3_offset, wire_length, mtu, descriptor) {
        return Ok(true);
    }
    *descriptor = careful(frame, l3_offset, wire_length, mtu)?;
    Ok(false)
}

/// The plain way alone; when it says `false`, the fields of the descriptor mean nothing. The ingress
/// is not written: the caller has it.
#[inline(always)]
pub fn ipv4_plain(
    frame: &[u8],
    l3_offset: usize,
    wire_length: usize,
    mtu: u16,
    descriptor: &mut Descriptor,
) -> bool {
    plain(frame, l3_offset, wire_length, mtu, descriptor).is_some()
}

/// Bytes that the plain way looks at: the IPv4 header and, of TCP, up to the checksum.
pub const PLAIN: usize = HEADER + 16;

#[inline(always)]
fn plain(
    frame: &[u8],
    l3_offset: usize,
    wire_length: usize,
    mtu: u16,
    descriptor: &mut Descriptor,
) -> Option<()> {
    let packet = frame.get(l3_offset..)?;
    let (bytes, l4) = packet.first_chunk::<PLAIN>()?.split_first_chunk::<HEADER>()?;
    let l4 = l4.first_chunk::<16>()?;
    // The header as three numbers: fewer loads, and several fields in one comparison.
    let (words, rest) = bytes.as_chunks::<8>();
    let (first, second) = (u64::from_be_bytes(words[0]), u64::from_be_bytes(words[1]));
    let dst = u32::from_be_bytes(*rest.first_chunk::<4>()?);
    let src = second as u32;
    let length = (first >> 32) as u16;
    let protocol = (second >> 48) as u8;

    // Written before it is checked: so nothing has to be kept until all is known.
    let d = descriptor;
    d.key.src = u128::from(src);
    d.key.dst = u128::from(dst);
    d.key.src_port = u16::from_be_bytes([l4[0], l4[1]]);
    d.key.dst_port = u16::from_be_bytes([l4[2], l4[3]]);
    d.key.protocol = protocol;
    d.key.family = Family::Inet;
    d.l3_length = length;
    d.l4_offset = HEADER as u16;
    d.l3_offset = l3_offset as u8;
    d.hop_limit = (second >> 56) as u8;
    d.traffic_class = bytes[1];
    d.tcp_flags = 0;
    d.icmp_type = 0;
    d.icmp_code = 0;
    d.fragment = Fragment::Whole;
    d.flags = dont_fragment(first as u16);
    d.state = ConnectionState::Untracked;
    let least = match protocol {
        protocol::UDP => HEADER + 8,
        protocol::TCP => {
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
    let plain = (first & SHAPE == PLAIN_SHAPE)
        && (usize::from(length) >= least)
        && (usize::from(length) + l3_offset <= wire_length)
        && (length <= mtu)
        && checksum::ipv4_plain_header_is_valid(bytes)
        && (second >> 56 >= 2)
        && (HOST_NETS[(src >> 24) as usize & 255] & HOST_NETS[(dst >> 24) as usize & 255]);
    plain.then_some(())
}

/// Version, header length, "more fragments" and the fragment's offset in the first eight bytes.
const SHAPE: u64 = 0xff << 56 | (ipv4::MORE_FRAGMENTS | ipv4::OFFSET) as u64;
/// Version 4, no options, not a fragment.
const PLAIN_SHAPE: u64 = 0x45 << 56;

/// The first bytes of addresses that are a host's: [`ipv4::is_host`] as a table.
static HOST_NETS: [bool; 256] = {
    let mut nets = [false; 256];
    let mut net = 0;
    while net < nets.len() {
        nets[net] = ipv4::is_host((net as u32) << 24);
        net += 1;
    }
    nets
};

#[inline]
fn dont_fragment(fragment: u16) -> DescriptorFlags {
    const SHIFT: u32 = ipv4::DONT_FRAGMENT.trailing_zeros();
    const { assert!(DescriptorFlags::DONT_FRAGMENT.bits() == 1) };
    DescriptorFlags::from_bits_retain((fragment >> SHIFT) as u8 & 1)
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
    let ip: &Ipv4Header = header(packet, 0, wire, Malformed::FrameTruncated)?;

    if ip.version_ihl >> 4 != 4 {
        return Err(Malformed::Ipv4Version);
    }
    let header_length = ip.header_length();
    if header_length < HEADER || header_length > wire {
        return Err(Malformed::Ipv4HeaderLength);
    }
    let length = usize::from(ip.total_length.get());
    // A TCP super-packet of 64 KB and more has no length that the field could hold: Linux sends 0.
    let big = length == 0 && ip.protocol == protocol::TCP && wire >= usize::from(mtu);
    if length > usize::from(mtu) || big {
        return Err(Malformed::SuperPacket);
    }
    if length < header_length || length > wire {
        return Err(Malformed::Ipv4TotalLength);
    }
    let header_bytes = packet.get(..header_length).ok_or(Malformed::HeadersSplit)?;
    if !checksum::ipv4_header_is_valid(header_bytes) {
        return Err(Malformed::Ipv4Checksum);
    }
    if ip.ttl == 0 {
        return Err(Malformed::HopLimitZero);
    }
    let (src, dst) = (ip.src.get(), ip.dst.get());
    martians(src, dst)?;
    options(header_bytes.get(HEADER..).unwrap_or_default())?;

    let field = ip.fragment.get();
    let offset = usize::from(field & ipv4::OFFSET) * 8;
    let fragment = match (offset, field & ipv4::MORE_FRAGMENTS) {
        (0, 0) => Fragment::Whole,
        (0, _) => Fragment::First,
        _ => Fragment::Later,
    };
    // The whole datagram could not say its length (the "ping of death").
    if offset + length > usize::from(u16::MAX) {
        return Err(Malformed::Ipv4TotalLength);
    }
    let mut flags = dont_fragment(field);
    flags.set(DescriptorFlags::OPTIONS, header_length > HEADER);

    let mut descriptor = Descriptor {
        key: FlowKey {
            src: u128::from(src),
            dst: u128::from(dst),
            protocol: ip.protocol,
            family: Family::Inet,
            ..FlowKey::default()
        },
        l3_length: ip.total_length.get(),
        l4_offset: header_length as u16,
        l3_offset: l3_offset as u8,
        hop_limit: ip.ttl,
        traffic_class: ip.tos,
        fragment,
        flags,
        ..Descriptor::default()
    };
    layer4::read(&mut descriptor, packet, offset)?;
    Ok(descriptor)
}

/// Addresses that no packet on a network may have (RFC 1812 section 5.3.7).
///
/// Two exceptions stay decodable, because they are for this link and not for forwarding: the
/// limited broadcast 255.255.255.255 as a destination, and 0.0.0.0 as the source of who has no
/// address yet (RFC 1122 section 3.2.1.3), to the limited broadcast (DHCP) or to a group of the
/// link (IGMP, RFC 3376 section 4.2.13).
fn martians(src: u32, dst: u32) -> Result<(), Malformed> {
    const LIMITED_BROADCAST: u32 = u32::MAX;
    const LINK_GROUPS: u32 = 0x00e0_0000;
    let nameless = src == 0 && (dst == LIMITED_BROADCAST || dst >> 8 == LINK_GROUPS);
    if !ipv4::is_host(src) && !nameless {
        return Err(Malformed::SourceMartian);
    }
    let reachable = ipv4::is_host(dst) || ipv4::is_multicast(dst) || dst == LIMITED_BROADCAST;
    if reachable { Ok(()) } else { Err(Malformed::DestinationMartian) }
}

/// Walks the options: impossible lengths are refused, and source routes are (RFC 7126 sections
/// 4.3 and 4.4). All others pass as they are.
fn options(mut options: &[u8]) -> Result<(), Malformed> {
    // At most 40 bytes, and each turn takes at least one.
    const { assert!(HEADER_MAX - HEADER == 40) };
    while let [kind, rest @ ..] = options {
        match *kind {
            ipv4::OPTION_END => break,
            ipv4::OPTION_NOP => options = rest,
            kind => {
                let length = usize::from(*rest.first().ok_or(Malformed::Ipv4Options)?);
                if length < 2 {
                    return Err(Malformed::Ipv4Options);
                }
                options = options.get(length..).ok_or(Malformed::Ipv4Options)?;
                if matches!(
                    kind,
                    ipv4::OPTION_LOOSE_SOURCE_ROUTE | ipv4::OPTION_STRICT_SOURCE_ROUTE
                ) {
                    return Err(Malformed::Ipv4SourceRoute);
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "ipv4_tests.rs"]
mod tests;

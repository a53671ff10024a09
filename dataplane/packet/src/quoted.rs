//! The packet that an ICMP error quotes (RFC 792, RFC 4443 section 3).
//!
//! An error carries the IP header of the packet that it is about and, at the least, the eight bytes
//! behind it. Anybody can send one, so nothing in it is trusted: whoever acts on it compares it with
//! what is known of the connection (RFC 5927).

use zerocopy::FromBytes;

use crate::decode;
use crate::descriptor::{Descriptor, Family, FlowKey, Fragment};
use crate::icmp::{self, IcmpHeader};
use crate::icmpv6;
use crate::ipv4::{self, Ipv4Header};
use crate::ipv6::{self, Ipv6Header};
use crate::protocol;

/// What a quoted packet says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Quoted {
    /// Key, ICMP type, length and place in the datagram; offsets are from the start of the quoted
    /// packet. All else reads as 0.
    pub descriptor: Descriptor,
    /// The sequence number of a TCP segment; else 0.
    pub sequence: u32,
}

impl Quoted {
    /// Whether it is an error message that quotes the packet that it is about.
    #[inline]
    pub fn may_quote(error: &Descriptor) -> bool {
        match (error.key.family, error.key.protocol) {
            // Neither redirects, which are for a link, nor source quench, which is no more (RFC 6633).
            (Family::Inet, protocol::ICMP) => matches!(
                error.icmp_type,
                icmp::UNREACHABLE | icmp::TIME_EXCEEDED | icmp::PARAMETER_PROBLEM
            ),
            // RFC 4890 section 4.3.1.
            (Family::Inet6, protocol::ICMPV6) => matches!(
                error.icmp_type,
                icmpv6::UNREACHABLE
                    | icmpv6::PACKET_TOO_BIG
                    | icmpv6::TIME_EXCEEDED
                    | icmpv6::PARAMETER_PROBLEM
            ),
            _ => false,
        }
    }

    /// What the ICMP or ICMPv6 error that `error` describes quotes; `frame` is the first segment
    /// of its buffer chain. `None` if it is no error, or quotes nothing that has ports or the
    /// like: a later fragment, or too few bytes.
    pub fn read(error: &Descriptor, frame: &[u8]) -> Option<Quoted> {
        if !Self::may_quote(error) || error.fragment != Fragment::Whole {
            return None;
        }
        let start = usize::from(error.l3_offset) + usize::from(error.l4_offset) + icmp::HEADER;
        let end = usize::from(error.l3_offset) + usize::from(error.l3_length);
        let packet = frame.get(start..end.min(frame.len()))?;
        match error.key.family {
            Family::Inet => inet(packet),
            Family::Inet6 => inet6(packet),
        }
    }
}

fn inet(packet: &[u8]) -> Option<Quoted> {
    let (header, _) = Ipv4Header::ref_from_prefix(packet).ok()?;
    let l4_offset = header.header_length();
    let field = header.fragment.get();
    if header.version_ihl >> 4 != 4 || l4_offset < ipv4::HEADER || field & ipv4::OFFSET != 0 {
        return None;
    }
    let more = field & ipv4::MORE_FRAGMENTS != 0;
    let key = FlowKey {
        src: header.src.get().into(),
        dst: header.dst.get().into(),
        protocol: header.protocol,
        family: Family::Inet,
        ..FlowKey::default()
    };
    let fragment = if more { Fragment::First } else { Fragment::Whole };
    finish(key, fragment, header.total_length.get(), packet, l4_offset)
}

fn inet6(packet: &[u8]) -> Option<Quoted> {
    let (header, _) = Ipv6Header::ref_from_prefix(packet).ok()?;
    if header.version_class_flow.get() >> 28 != 6 {
        return None;
    }
    let (protocol, l4_offset, fragment) = decode::upper_layer(packet, header.next_header)?;
    if fragment == Fragment::Later {
        return None;
    }
    let key = FlowKey {
        src: u128::from_be_bytes(header.src),
        dst: u128::from_be_bytes(header.dst),
        protocol,
        family: Family::Inet6,
        ..FlowKey::default()
    };
    let length = header.payload_length.get().saturating_add(ipv6::HEADER as u16);
    finish(key, fragment, length, packet, l4_offset)
}

/// Ports, identifier and sequence number from the first eight bytes of layer 4.
fn finish(
    mut key: FlowKey,
    fragment: Fragment,
    l3_length: u16,
    packet: &[u8],
    l4_offset: usize,
) -> Option<Quoted> {
    let first = packet.get(l4_offset..)?.first_chunk::<8>()?;
    let mut descriptor =
        Descriptor { l3_length, l4_offset: l4_offset as u16, fragment, ..Descriptor::default() };
    let mut sequence = 0;
    match key.protocol {
        protocol::TCP | protocol::UDP | protocol::UDP_LITE | protocol::SCTP | protocol::DCCP => {
            key.src_port = u16::from_be_bytes([first[0], first[1]]);
            key.dst_port = u16::from_be_bytes([first[2], first[3]]);
            if key.protocol == protocol::TCP {
                sequence = u32::from_be_bytes([first[4], first[5], first[6], first[7]]);
            }
        }
        protocol::ICMP | protocol::ICMPV6 => {
            let message = IcmpHeader::ref_from_bytes(first).ok()?;
            descriptor.icmp_type = message.icmp_type;
            descriptor.icmp_code = message.code;
            let echo = if key.family == Family::Inet6 { icmpv6::is_echo } else { icmp::is_echo };
            if echo(message.icmp_type) {
                key.src_port = (message.rest.get() >> 16) as u16;
            }
        }
        _ => {}
    }
    descriptor.key = key;
    Some(Quoted { descriptor, sequence })
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::PacketBuilder;

    const ROUTER: [u8; 4] = [192, 0, 2, 1];
    const INSIDE: [u8; 4] = [10, 0, 0, 1];
    const OUTSIDE: [u8; 4] = [203, 0, 113, 9];

    fn tcp() -> Vec<u8> {
        let mut packet = Vec::new();
        PacketBuilder::ipv4(INSIDE, OUTSIDE, 64)
            .tcp(40_000, 443, 0xdead_beef, 1024)
            .write(&mut packet, &[1; 64])
            .expect("written");
        packet
    }

    fn error(quote: &[u8]) -> Option<Quoted> {
        use etherparse::{Icmpv4Type, icmpv4::DestUnreachableHeader};
        let mut frame = Vec::new();
        PacketBuilder::ipv4(ROUTER, INSIDE, 64)
            .icmpv4(Icmpv4Type::DestinationUnreachable(DestUnreachableHeader::Host))
            .write(&mut frame, quote)
            .expect("written");
        let d = decode::ipv4(&frame, 0, frame.len(), 1500).expect("decoded");
        Quoted::read(&d, &frame)
    }

    #[test]
    fn eight_bytes_of_a_tcp_segment_are_enough() {
        let quoted = error(&tcp()[..28]).expect("a quoted packet");
        let key = quoted.descriptor.key;
        assert_eq!((key.src, key.dst), (0x0a00_0001, 0xcb00_7109));
        assert_eq!((key.src_port, key.dst_port, key.protocol), (40_000, 443, protocol::TCP));
        assert_eq!(quoted.sequence, 0xdead_beef);
    }

    #[test]
    fn conformance_103_what_quotes_too_little_quotes_nothing() {
        let packet = tcp();
        for length in 0..28 {
            assert_eq!(error(&packet[..length]), None, "{length}");
        }
        let mut later = packet.clone();
        later[7] = 1;
        assert_eq!(error(&later), None, "a later fragment has no ports");
        let mut version = packet;
        version[0] = 0x65;
        assert_eq!(error(&version), None);
    }

    #[test]
    fn an_echo_is_known_by_its_identifier() {
        let mut packet = Vec::new();
        PacketBuilder::ipv4(INSIDE, OUTSIDE, 64)
            .icmpv4_echo_request(0x1234, 5)
            .write(&mut packet, &[])
            .expect("written");
        let d = error(&packet).expect("a quoted packet").descriptor;
        assert_eq!((d.key.src_port, d.icmp_type), (0x1234, icmp::ECHO_REQUEST));
    }

    #[test]
    fn packet_too_big_quotes_behind_extension_headers() {
        use etherparse::Icmpv6Type;
        let mut quote = vec![0x60, 0, 0, 0, 0, 100, protocol::DESTINATION_OPTIONS, 64];
        quote.extend([0x20; 16]);
        quote.extend([0x30; 16]);
        quote.extend([protocol::UDP, 0, 1, 4, 0, 0, 0, 0]);
        quote.extend([0, 53, 0x10, 0, 0, 92, 0, 0]);
        let mut frame = Vec::new();
        PacketBuilder::ipv6([0x20; 16], [0x30; 16], 64)
            .icmpv6(Icmpv6Type::PacketTooBig { mtu: 1280 })
            .write(&mut frame, &quote)
            .expect("written");
        let d = decode::ipv6(&frame, 0, frame.len(), 1500).expect("decoded");
        let key = Quoted::read(&d, &frame).expect("a quoted packet").descriptor.key;
        assert_eq!((key.src_port, key.dst_port, key.protocol), (53, 0x1000, protocol::UDP));
    }
}

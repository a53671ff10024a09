//! The packet that an ICMP error quotes: which connection the error is about.
//!
//! An error carries the header of the packet that drew it and at least eight bytes behind it
//! (RFC 792, RFC 4443 section 3), as that packet was on the wire where it went no further. What
//! cannot be read is `None`: nobody can tell what such an error belongs to.

use crate::descriptor::{Descriptor, Family, FlowKey};
use crate::{icmp, icmpv6, ipv4, ipv6, protocol};

/// What can be read of a quoted packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Quoted {
    /// Key and ICMP type and code of the quoted packet, as its sender sent it; nothing else of it
    /// is filled in.
    pub descriptor: Descriptor,
    /// The sequence number of a quoted TCP segment.
    pub tcp_sequence: Option<u32>,
}

/// Extension headers of a quoted IPv6 packet that are passed by.
const EXTENSIONS: usize = 8;

/// The packet that an ICMP error in `packet`, which begins with its IP header, quotes. `None` for
/// anything but an error, for an error about a later fragment, and where too little is quoted.
pub fn quoted(d: &Descriptor, packet: &[u8]) -> Option<Quoted> {
    let error = match (d.key.family, d.key.protocol) {
        (Family::Inet, protocol::ICMP) => !icmp::is_query(d.icmp_type),
        (Family::Inet6, protocol::ICMPV6) => icmpv6::is_error(d.icmp_type),
        _ => false,
    };
    if !error || d.fragment != crate::Fragment::Whole {
        return None;
    }
    let inner = packet.get(usize::from(d.l4_offset) + icmp::HEADER..)?;
    let (mut key, l4) = match d.key.family {
        Family::Inet => inner_ipv4(inner)?,
        Family::Inet6 => inner_ipv6(inner)?,
    };
    let mut descriptor = Descriptor::default();
    let mut tcp_sequence = None;
    let l4 = l4.first_chunk::<8>()?;
    let word = |at: usize| u16::from_be_bytes([l4[at], l4[at + 1]]);
    match key.protocol {
        protocol::TCP | protocol::UDP | protocol::SCTP | protocol::DCCP => {
            (key.src_port, key.dst_port) = (word(0), word(2));
            if key.protocol == protocol::TCP {
                tcp_sequence = Some(u32::from_be_bytes([l4[4], l4[5], l4[6], l4[7]]));
            }
        }
        protocol::ICMP | protocol::ICMPV6 => {
            (descriptor.icmp_type, descriptor.icmp_code) = (l4[0], l4[1]);
            let echo = match key.family {
                Family::Inet => icmp::is_echo(l4[0]),
                Family::Inet6 => icmpv6::is_echo(l4[0]),
            };
            if echo {
                key.src_port = word(4);
            }
        }
        _ => {}
    }
    descriptor.key = key;
    Some(Quoted { descriptor, tcp_sequence })
}

fn inner_ipv4(packet: &[u8]) -> Option<(FlowKey, &[u8])> {
    let header = packet.first_chunk::<{ ipv4::HEADER }>()?;
    let length = usize::from(header[0] & 0xf) * 4;
    let fragment = u16::from_be_bytes([header[6], header[7]]);
    if header[0] >> 4 != 4 || length < ipv4::HEADER || fragment & ipv4::OFFSET != 0 {
        return None;
    }
    let address = |at: usize| {
        u128::from(u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]))
    };
    let key = FlowKey {
        src: address(12),
        dst: address(16),
        protocol: header[9],
        family: Family::Inet,
        ..FlowKey::default()
    };
    Some((key, packet.get(length..)?))
}

fn inner_ipv6(packet: &[u8]) -> Option<(FlowKey, &[u8])> {
    let header = packet.first_chunk::<{ ipv6::HEADER }>()?;
    if header[0] >> 4 != 6 {
        return None;
    }
    let (words, _) = header[8..].as_chunks::<16>();
    let mut key = FlowKey {
        src: u128::from_be_bytes(words[0]),
        dst: u128::from_be_bytes(words[1]),
        protocol: header[6],
        family: Family::Inet6,
        ..FlowKey::default()
    };
    let mut rest = packet.get(ipv6::HEADER..)?;
    for _ in 0..EXTENSIONS {
        let length = match key.protocol {
            protocol::HOP_BY_HOP | protocol::ROUTING | protocol::DESTINATION_OPTIONS => {
                (usize::from(*rest.get(1)?) + 1) * 8
            }
            protocol::FRAGMENT => {
                let offset = u16::from_be_bytes([*rest.get(2)?, *rest.get(3)?]) >> 3;
                if offset != 0 {
                    return None;
                }
                8
            }
            _ => return Some((key, rest)),
        };
        key.protocol = *rest.first()?;
        rest = rest.get(length..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use etherparse::PacketBuilder;

    use super::*;

    fn error(family: Family, inner: &[u8]) -> (Descriptor, Vec<u8>) {
        let (protocol, icmp_type, l4_offset) = match family {
            Family::Inet => (protocol::ICMP, icmp::UNREACHABLE, 20),
            Family::Inet6 => (protocol::ICMPV6, 1, 40),
        };
        let key = FlowKey { family, protocol, ..FlowKey::default() };
        let d = Descriptor { key, icmp_type, l4_offset, ..Descriptor::default() };
        (d, [&vec![0; usize::from(l4_offset) + 8], inner].concat())
    }

    fn tcp4() -> Vec<u8> {
        let mut inner = Vec::new();
        PacketBuilder::ipv4([10, 0, 0, 2], [10, 0, 1, 2], 60)
            .tcp(4000, 80, 0x1234_5678, 1000)
            .write(&mut inner, b"data")
            .unwrap();
        inner
    }

    #[test]
    fn eight_bytes_behind_the_header_are_enough() {
        let inner = tcp4();
        let (d, packet) = error(Family::Inet, &inner[..28]);
        let quoted = quoted(&d, &packet).unwrap();
        let key = quoted.descriptor.key;
        assert_eq!(key.src_ip(), Ipv4Addr::new(10, 0, 0, 2));
        assert_eq!((key.src_port, key.dst_port, key.protocol), (4000, 80, protocol::TCP));
        assert_eq!(quoted.tcp_sequence, Some(0x1234_5678));
        for length in 0..packet.len() {
            assert_eq!(super::quoted(&d, &packet[..length]), None, "{length}");
        }
    }

    #[test]
    fn an_echo_is_known_by_its_identifier() {
        let mut inner = Vec::new();
        PacketBuilder::ipv6([1; 16], [2; 16], 60)
            .icmpv6_echo_request(7, 1)
            .write(&mut inner, b"")
            .unwrap();
        let (d, packet) = error(Family::Inet6, &inner);
        let quoted = quoted(&d, &packet).unwrap().descriptor;
        assert_eq!(quoted.key.dst_ip(), Ipv6Addr::from([2; 16]));
        assert_eq!((quoted.key.src_port, quoted.icmp_type), (7, icmpv6::ECHO_REQUEST));
    }

    #[test]
    fn queries_quote_nothing_and_later_fragments_name_no_connection() {
        let (mut d, packet) = error(Family::Inet, &tcp4());
        d.icmp_type = icmp::ECHO_REQUEST;
        assert_eq!(quoted(&d, &packet), None);
        let mut inner = tcp4();
        inner[7] = 3;
        let (d, packet) = error(Family::Inet, &inner);
        assert_eq!(quoted(&d, &packet), None);
    }

    #[test]
    fn extension_headers_are_passed_by() {
        let mut inner = vec![0x60, 0, 0, 0, 0, 16, protocol::HOP_BY_HOP, 9];
        inner.extend([1; 32]);
        inner.extend([protocol::UDP, 0, 1, 4, 0, 0, 0, 0]);
        inner.extend([0, 53, 4, 0, 0, 8, 0, 0]);
        let (d, packet) = error(Family::Inet6, &inner);
        let key = quoted(&d, &packet).unwrap().descriptor.key;
        assert_eq!((key.src_port, key.dst_port, key.protocol), (53, 1024, protocol::UDP));
    }
}

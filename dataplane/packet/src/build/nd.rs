//! Neighbour solicitations and advertisements (RFC 4861).

use core::net::Ipv6Addr;

use zerocopy::network_endian::{U16, U32};

use super::writer::{Ip, ipv6_header, multicast_v6, put, seal};
use super::{BuildError, LinkHeader};
use crate::descriptor::{Family, FlowKey};
use crate::ethernet::{self, Mac};
use crate::icmpv6::{NEIGHBOUR_ADVERTISEMENT, NEIGHBOUR_SOLICITATION};
use crate::ipv6;
use crate::nd::{
    self, HOP_LIMIT, LinkAddressOption, NeighbourMessage, SOURCE_LINK_ADDRESS, Solicitation,
    TARGET_LINK_ADDRESS,
};
use crate::protocol;

/// Writes a solicitation for `target` to its solicited-node group. From the unspecified address
/// it is a probe for a duplicate and carries no MAC address (RFC 4862 section 5.4.2).
pub fn solicitation(
    buffer: &mut [u8],
    vlan: u16,
    mac: Mac,
    source: Ipv6Addr,
    target: Ipv6Addr,
) -> Result<usize, BuildError> {
    let group = ipv6::solicited_node(target);
    let option = (!source.is_unspecified()).then_some((SOURCE_LINK_ADDRESS, mac));
    let link = multicast_v6(group, mac, vlan);
    write(buffer, &link, (source, group), NEIGHBOUR_SOLICITATION, 0, target, option)
}

/// Writes a solicitation to the one station that had `target` last (RFC 4861 section 7.3.3).
pub fn probe(
    buffer: &mut [u8],
    vlan: u16,
    mac: Mac,
    source: Ipv6Addr,
    target: Ipv6Addr,
    target_mac: Mac,
) -> Result<usize, BuildError> {
    let link = LinkHeader { dst: target_mac, src: mac, vlan };
    let option = Some((SOURCE_LINK_ADDRESS, mac));
    write(buffer, &link, (source, target), NEIGHBOUR_SOLICITATION, 0, target, option)
}

/// Writes the advertisement of a router's address `target` to the station `to` that solicited it
/// (RFC 4861 section 7.2.4). `None` advertises to all nodes: unsolicited, or the answer to who
/// probes for a duplicate.
pub fn advertisement(
    buffer: &mut [u8],
    vlan: u16,
    mac: Mac,
    target: Ipv6Addr,
    to: Option<(Ipv6Addr, Mac)>,
) -> Result<usize, BuildError> {
    let (link, dst, flags) = match to {
        Some((dst, dst_mac)) => {
            (LinkHeader { dst: dst_mac, src: mac, vlan }, dst, nd::ROUTER | nd::SOLICITED)
        }
        None => (multicast_v6(ipv6::ALL_NODES, mac, vlan), ipv6::ALL_NODES, nd::ROUTER),
    };
    let option = Some((TARGET_LINK_ADDRESS, mac));
    let flags = flags | nd::OVERRIDE;
    write(buffer, &link, (target, dst), NEIGHBOUR_ADVERTISEMENT, flags, target, option)
}

/// Writes the advertisement that answers `asked`. `frame_src` is the source of its link header:
/// where to answer when the solicitation carries no MAC address, as unicast probes may not.
pub fn answer(
    buffer: &mut [u8],
    vlan: u16,
    mac: Mac,
    asked: &Solicitation,
    frame_src: Mac,
) -> Result<usize, BuildError> {
    let to = (asked.source, asked.source_mac.unwrap_or(frame_src));
    let to = (!asked.source.is_unspecified()).then_some(to);
    advertisement(buffer, vlan, mac, asked.target, to)
}

fn write(
    buffer: &mut [u8],
    link: &LinkHeader,
    (src, dst): (Ipv6Addr, Ipv6Addr),
    icmp_type: u8,
    flags: u32,
    target: Ipv6Addr,
    option: Option<(u8, Mac)>,
) -> Result<usize, BuildError> {
    let payload =
        size_of::<NeighbourMessage>() + option.map_or(0, |_| size_of::<LinkAddressOption>());
    let (packet, length) = link.write(buffer, ethernet::IPV6, ipv6::HEADER + payload)?;
    let ip = Ip { protocol: protocol::ICMPV6, traffic_class: 0, hop_limit: HOP_LIMIT };
    let bytes = put(packet, &ipv6_header(ip, (src, dst), payload));
    let message = NeighbourMessage {
        icmp_type,
        code: 0,
        checksum: U16::ZERO,
        flags: U32::new(flags),
        target: target.octets(),
    };
    let rest = put(bytes, &message);
    if let Some((kind, mac)) = option {
        put(rest, &LinkAddressOption { kind, length: 1, mac });
    }
    let key = FlowKey {
        src: src.to_bits(),
        dst: dst.to_bits(),
        protocol: protocol::ICMPV6,
        family: Family::Inet6,
        ..FlowKey::default()
    };
    seal(bytes, 2, Some(&key));
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode;
    use crate::descriptor::Descriptor;
    use crate::nd::{Advertisement, Invalid};

    const MAC: Mac = [2, 0, 0, 0, 0, 1];
    const PEER: Mac = [2, 0, 0, 0, 0, 2];

    fn address(text: &str) -> Ipv6Addr {
        text.parse().unwrap()
    }

    fn decoded(frame: &[u8]) -> Descriptor {
        let link = decode::link(frame).unwrap();
        decode::ipv6(frame, link.l3_offset.into(), frame.len(), 1500).unwrap()
    }

    /// A solicitation of PEER's for our `fd00::1`.
    fn asked(source: &str) -> Vec<u8> {
        let mut frame = vec![0; 128];
        let length =
            solicitation(&mut frame, 0, PEER, address(source), address("fd00::1")).unwrap();
        frame.truncate(length);
        frame
    }

    #[test]
    fn a_solicitation_goes_to_the_group_and_is_valid() {
        let frame = asked("fd00::2");
        assert_eq!(frame.len(), 86);
        let link = decode::link(&frame).unwrap();
        assert_eq!(link.dst, [0x33, 0x33, 0xff, 0, 0, 1]);
        let d = decoded(&frame);
        assert_eq!(d.key.dst_ip(), address("ff02::1:ff00:1"));
        assert_eq!(
            nd::solicitation(&frame, &d),
            Ok(Solicitation {
                source: address("fd00::2"),
                target: address("fd00::1"),
                source_mac: Some(PEER)
            })
        );
        assert_eq!(nd::advertisement(&frame, &d), Err(Invalid::Kind));
    }

    #[test]
    fn conformance_69_a_solicitation_is_answered() {
        let frame = asked("fd00::2");
        let asked = nd::solicitation(&frame, &decoded(&frame)).unwrap();
        let mut reply = [0; 90];
        let length = answer(&mut reply, 7, MAC, &asked, PEER).unwrap();
        let reply = &reply[..length];
        let link = decode::link(reply).unwrap();
        assert_eq!((link.dst, link.src, link.vlan), (PEER, MAC, 7));
        let d = decoded(reply);
        assert_eq!(d.key.src_ip(), address("fd00::1"));
        assert_eq!(d.key.dst_ip(), address("fd00::2"));
        assert_eq!(
            nd::advertisement(reply, &d),
            Ok(Advertisement {
                target: address("fd00::1"),
                target_mac: Some(MAC),
                router: true,
                solicited: true,
                replaces: true
            })
        );
    }

    #[test]
    fn conformance_69_who_probes_for_a_duplicate_is_answered_at_all_nodes() {
        let frame = asked("::");
        assert_eq!(frame.len(), 78);
        let asked = nd::solicitation(&frame, &decoded(&frame)).unwrap();
        assert_eq!(asked.source_mac, None);
        let mut reply = [0; 86];
        let length = answer(&mut reply, 0, MAC, &asked, PEER).unwrap();
        let d = decoded(&reply[..length]);
        assert_eq!(decode::link(&reply).unwrap().dst, [0x33, 0x33, 0, 0, 0, 1]);
        assert_eq!(d.key.dst_ip(), ipv6::ALL_NODES);
        let told = nd::advertisement(&reply, &d).unwrap();
        assert!(told.router && told.replaces && !told.solicited);
    }

    #[test]
    fn a_unicast_probe_is_a_valid_solicitation() {
        let mut frame = [0; 86];
        probe(&mut frame, 0, MAC, address("fd00::1"), address("fd00::2"), PEER).unwrap();
        assert_eq!(decode::link(&frame).unwrap().dst, PEER);
        assert!(nd::solicitation(&frame, &decoded(&frame)).is_ok());
    }

    #[test]
    fn conformance_70_invalid_solicitations_are_named() {
        // Each change of one byte, with the checksum made right again unless it is the change.
        let cases = [
            (14 + 7, 254, Invalid::HopLimit),
            (14 + 40 + 1, 1, Invalid::Code),
            (14 + 40 + 8, 0xff, Invalid::Target),
            (14 + 40 + 25, 0, Invalid::Option),
            (14 + 40 + 25, 2, Invalid::Option),
            (14 + 40 + 26, 1, Invalid::Option),
        ];
        for (place, value, why) in cases {
            let mut frame = asked("fd00::2");
            frame[place] = value;
            frame[56..58].fill(0);
            let key = decoded(&frame).key;
            seal(&mut frame[54..], 2, Some(&key));
            assert_eq!(nd::solicitation(&frame, &decoded(&frame)), Err(why), "{place}");
        }
        let mut frame = asked("fd00::2");
        frame[56] ^= 1;
        assert_eq!(nd::solicitation(&frame, &decoded(&frame)), Err(Invalid::Checksum));
    }

    #[test]
    fn a_probe_for_a_duplicate_goes_to_its_group_without_a_mac() {
        let mut frame = asked("::");
        frame[53] ^= 1;
        frame[56..58].fill(0);
        let key = decoded(&frame).key;
        seal(&mut frame[54..], 2, Some(&key));
        assert_eq!(nd::solicitation(&frame, &decoded(&frame)), Err(Invalid::Unspecified));
    }
}

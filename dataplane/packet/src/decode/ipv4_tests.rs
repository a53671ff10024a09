//! RFC 791 and RFC 1812, case by case; numbers are those of the conformance list.

use etherparse::PacketBuilder;

use super::*;
use crate::ethernet;

const MTU: u16 = 1500;

/// A UDP packet from 10.0.0.2 to 10.0.1.2 behind an Ethernet header, with 20 bytes of data.
fn udp() -> Vec<u8> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2([2; 6], [4; 6])
        .ipv4([10, 0, 0, 2], [10, 0, 1, 2], 64)
        .udp(1000, 2000)
        .write(&mut frame, &[7; 20])
        .unwrap();
    frame
}

fn tcp() -> Vec<u8> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2([2; 6], [4; 6])
        .ipv4([10, 0, 0, 2], [10, 0, 1, 2], 64)
        .tcp(1000, 80, 1, 2)
        .syn()
        .write(&mut frame, &[])
        .unwrap();
    frame
}

/// Changes bytes of the IP header and makes its checksum right again.
fn changed(mut frame: Vec<u8>, changes: &[(usize, u8)]) -> Vec<u8> {
    for (place, value) in changes {
        frame[14 + place] = *value;
    }
    let end = (14 + usize::from(frame[14] & 0xf) * 4).min(frame.len());
    if end >= 34 {
        let checksum = checksum::ipv4_header(&frame[14..end]);
        frame[24..26].copy_from_slice(&checksum.to_be_bytes());
    }
    frame
}

/// Puts options into the header of `frame`, filled up with zeros.
fn with_options(frame: &[u8], options: &[u8]) -> Vec<u8> {
    let mut options = options.to_vec();
    options.resize(options.len().next_multiple_of(4), 0);
    let mut longer = frame[..34].to_vec();
    longer.extend(&options);
    longer.extend(&frame[34..]);
    let total = (longer.len() - 14) as u8;
    let words = 5 + options.len() as u8 / 4;
    changed(longer, &[(0, 0x40 | words), (3, total)])
}

fn decode(frame: &[u8]) -> Result<Descriptor, Malformed> {
    let decoded = ipv4(frame, 14, frame.len(), MTU);
    // Whatever the plain way accepts, the careful way accepts alike.
    assert_eq!(careful(frame, 14, frame.len(), MTU), decoded);
    decoded
}

/// What the plain way makes of the frame, if it takes it.
fn taken_as_plain(frame: &[u8]) -> Option<Descriptor> {
    let mut descriptor = Descriptor::default();
    plain(frame, 14, frame.len(), MTU, &mut descriptor).map(|()| descriptor)
}

#[track_caller]
fn refused(frame: Vec<u8>, why: Malformed) {
    assert_eq!(decode(&frame), Err(why));
}

#[test]
fn a_plain_packet() {
    let d = decode(&udp()).unwrap();
    assert_eq!(taken_as_plain(&udp()), Some(d));
    assert_eq!((d.key.src, d.key.dst), (0x0a00_0002, 0x0a00_0102));
    assert_eq!((d.key.src_port, d.key.dst_port, d.key.protocol), (1000, 2000, 17));
    assert_eq!((d.l3_offset, d.l4_offset, d.l3_length), (14, 20, 48));
    assert_eq!((d.hop_limit, d.fragment), (64, Fragment::Whole));
    let d = decode(&tcp()).unwrap();
    assert_eq!(taken_as_plain(&tcp()), Some(d));
    assert_eq!(d.tcp_flags, tcp::SYN);
}

#[test]
fn conformance_14_padding_is_not_counted() {
    let mut frame = tcp();
    frame.resize(64, 0xee);
    assert_eq!(decode(&frame).unwrap().l3_length, 40);
}

#[test]
fn conformance_20_header_checksum() {
    for place in 14..34 {
        let mut frame = udp();
        frame[place] ^= 0x10;
        assert!(decode(&frame).is_err(), "{place}");
    }
    let mut frame = udp();
    frame[24] ^= 1;
    refused(frame, Malformed::Ipv4Checksum);
}

#[test]
fn conformance_21_version() {
    refused(changed(udp(), &[(0, 0x55)]), Malformed::Ipv4Version);
    refused(changed(udp(), &[(0, 0x65)]), Malformed::Ipv4Version);
}

#[test]
fn conformance_22_header_length() {
    refused(changed(udp(), &[(0, 0x44)]), Malformed::Ipv4HeaderLength);
    // IHL 15 in a packet of 36 bytes.
    let short = udp()[..50].to_vec();
    refused(changed(short, &[(0, 0x4f), (3, 36)]), Malformed::Ipv4HeaderLength);
    // The same with padding to 60 bytes of packet: under the header, then.
    let mut padded = udp();
    padded.resize(14 + 60, 0);
    refused(changed(padded, &[(0, 0x4f), (3, 36)]), Malformed::Ipv4TotalLength);
}

#[test]
fn conformance_23_total_length_under_the_header() {
    refused(changed(udp(), &[(3, 19)]), Malformed::Ipv4TotalLength);
    refused(changed(udp(), &[(3, 0)]), Malformed::Ipv4TotalLength);
}

#[test]
fn conformance_24_total_length_over_the_wire() {
    refused(changed(udp(), &[(3, 49)]), Malformed::Ipv4TotalLength);
}

#[test]
fn super_packets_are_named_before_all_else() {
    // Cut off at the frame size, with a length that is over the MTU.
    let mut frame = tcp();
    frame.resize(2000, 0);
    refused(changed(frame.clone(), &[(2, 0xff), (3, 0xff)]), Malformed::SuperPacket);
    refused(changed(frame.clone(), &[(2, 0x05), (3, 0xdd)]), Malformed::SuperPacket);
    assert!(decode(&changed(frame.clone(), &[(2, 0x05), (3, 0xdc)])).is_ok());
    // Over 64 KB: no length at all. In a small frame that is no super-packet.
    refused(changed(frame, &[(2, 0), (3, 0)]), Malformed::SuperPacket);
    refused(changed(tcp(), &[(2, 0), (3, 0)]), Malformed::Ipv4TotalLength);
    // The checksum is not looked at.
    let mut wrong = changed(tcp(), &[(2, 0x40)]);
    wrong[24] ^= 1;
    refused(wrong, Malformed::SuperPacket);
}

#[test]
fn conformance_28_ttl() {
    refused(changed(udp(), &[(8, 0)]), Malformed::HopLimitZero);
    assert_eq!(decode(&changed(udp(), &[(8, 1)])).unwrap().hop_limit, 1);
}

fn addressed(src: [u8; 4], dst: [u8; 4]) -> Result<Descriptor, Malformed> {
    let changes: Vec<_> = (12..).zip(src.into_iter().chain(dst)).collect();
    decode(&changed(udp(), &changes))
}

#[test]
fn conformance_49_martian_sources() {
    const OTHER: [u8; 4] = [10, 0, 1, 2];
    for src in [
        [127, 0, 0, 1],
        [224, 0, 0, 1],
        [239, 1, 1, 1],
        [240, 0, 0, 1],
        [255, 255, 255, 255],
        [0, 0, 0, 0],
        [0, 1, 2, 3],
    ] {
        assert_eq!(addressed(src, OTHER), Err(Malformed::SourceMartian), "{src:?}");
    }
    assert!(addressed([126, 255, 255, 255], OTHER).is_ok());
    assert!(addressed([223, 255, 255, 255], OTHER).is_ok());
    // Who has no address yet talks to its link alone (DHCP, IGMP).
    assert!(addressed([0, 0, 0, 0], [255, 255, 255, 255]).is_ok());
    assert!(addressed([0, 0, 0, 0], [224, 0, 0, 22]).is_ok());
    assert_eq!(addressed([0, 0, 0, 0], [239, 1, 1, 1]), Err(Malformed::SourceMartian));
}

#[test]
fn conformance_51_martian_destinations() {
    const OTHER: [u8; 4] = [10, 0, 0, 2];
    for dst in [[127, 0, 0, 1], [0, 0, 0, 0], [0, 1, 2, 3], [240, 0, 0, 1], [255, 255, 255, 254]] {
        assert_eq!(addressed(OTHER, dst), Err(Malformed::DestinationMartian), "{dst:?}");
    }
    // Not for forwarding, but perhaps for us: routing decides.
    assert!(addressed(OTHER, [224, 0, 0, 1]).is_ok());
    assert!(addressed(OTHER, [255, 255, 255, 255]).is_ok());
}

#[test]
fn conformance_45_options_pass() {
    // Two no-operations, router alert, end with garbage behind it.
    let d = decode(&with_options(&udp(), &[1, 1, 0x94, 4, 0, 0, 0, 9])).unwrap();
    assert_eq!((d.l4_offset, d.l3_length, d.key.dst_port), (28, 56, 2000));
    assert!(d.flags.contains(DescriptorFlags::OPTIONS));
    // Record route.
    assert!(decode(&with_options(&udp(), &[7, 7, 4, 0, 0, 0, 0])).is_ok());
}

#[test]
fn conformance_46_source_routes_are_not_obeyed() {
    for kind in [131, 137] {
        let options = [kind, 7, 4, 10, 0, 0, 9];
        refused(with_options(&udp(), &options), Malformed::Ipv4SourceRoute);
    }
}

#[test]
fn conformance_48_impossible_option_lengths() {
    for options in [&[7, 0, 0, 0][..], &[7, 1, 0, 0], &[7, 5, 0, 0], &[1, 1, 1, 7], &[131, 9, 4]] {
        refused(with_options(&udp(), options), Malformed::Ipv4Options);
    }
}

#[test]
fn the_dont_fragment_flag() {
    let flags = |high| decode(&changed(udp(), &[(6, high)])).unwrap().flags;
    assert_eq!(flags(0x40), DescriptorFlags::DONT_FRAGMENT);
    assert_eq!(flags(0x00), DescriptorFlags::empty());
    // The reserved bit means nothing.
    assert_eq!(flags(0x80), DescriptorFlags::empty());
}

#[test]
fn fragments() {
    let d = decode(&changed(tcp(), &[(6, 0x20)])).unwrap();
    assert_eq!((d.fragment, d.key.dst_port, d.tcp_flags), (Fragment::First, 80, tcp::SYN));
    // Later ones have no ports, whatever bytes they begin with; a length of 8 is enough.
    for (flags, offset) in [(0x20, 100), (0, 100), (0, 3)] {
        let d = decode(&changed(tcp(), &[(3, 28), (6, flags), (7, offset)])).unwrap();
        assert_eq!((d.fragment, d.key.dst_port, d.tcp_flags), (Fragment::Later, 0, 0));
        assert_eq!(d.key.protocol, 6);
    }
}

#[test]
fn conformance_107_fragments_that_hide_ports() {
    // A first fragment with 16 bytes of TCP, and one that would overwrite what the first said.
    refused(changed(tcp(), &[(3, 36), (6, 0x20)]), Malformed::L4Truncated);
    refused(changed(tcp(), &[(7, 1)]), Malformed::L4Truncated);
    refused(changed(tcp(), &[(7, 2)]), Malformed::L4Truncated);
    refused(changed(udp(), &[(3, 27), (6, 0x20)]), Malformed::L4Truncated);
}

#[test]
fn conformance_138_the_ping_of_death() {
    refused(changed(udp(), &[(6, 0x1f), (7, 0xff)]), Malformed::Ipv4TotalLength);
}

#[test]
fn layer_4_headers_cut_short() {
    refused(changed(udp(), &[(3, 27)]), Malformed::L4Truncated);
    refused(changed(tcp(), &[(3, 39)]), Malformed::L4Truncated);
    let mut options = tcp();
    options[14 + 20 + 12] = 0x60;
    refused(options, Malformed::L4Truncated);
    let mut offset = tcp();
    offset[14 + 20 + 12] = 0x40;
    refused(offset, Malformed::L4Truncated);
    refused(changed(udp(), &[(3, 27), (9, 1)]), Malformed::L4Truncated);
}

#[test]
fn protocols_with_and_without_ports() {
    for protocol in [17, 33, 132, 136] {
        let d = decode(&changed(udp(), &[(9, protocol)])).unwrap();
        assert_eq!((d.key.src_port, d.key.dst_port), (1000, 2000), "{protocol}");
    }
    // GRE, ESP, ICMPv6 in IPv4, unknown: kept as they are.
    for protocol in [47, 50, 58, 253] {
        let d = decode(&changed(udp(), &[(9, protocol)])).unwrap();
        assert_eq!((d.key.src_port, d.key.dst_port, d.icmp_type), (0, 0, 0), "{protocol}");
        assert_eq!(d.key.protocol, protocol);
    }
}

#[test]
fn icmp_type_code_and_identifier() {
    let icmp = |icmp_type: u8, code: u8| {
        let mut frame = changed(udp(), &[(9, 1)]);
        frame[34..42].copy_from_slice(&[icmp_type, code, 0, 0, 0x12, 0x34, 0, 1]);
        decode(&frame).unwrap()
    };
    let echo = icmp(8, 0);
    assert_eq!((echo.icmp_type, echo.icmp_code, echo.key.src_port), (8, 0, 0x1234));
    assert_eq!(icmp(0, 0).key.src_port, 0x1234);
    let unreachable = icmp(3, 1);
    assert_eq!((unreachable.icmp_type, unreachable.icmp_code), (3, 1));
    assert_eq!(unreachable.key.src_port, 0);
}

#[test]
fn headers_in_a_later_segment_are_named() {
    let frame = tcp();
    for length in 14..54 {
        let split = ipv4(&frame[..length], 14, frame.len(), MTU);
        assert_eq!(split, Err(Malformed::HeadersSplit), "{length}");
    }
    // The payload may be anywhere.
    let whole = udp();
    assert_eq!(ipv4(&whole[..42], 14, whole.len(), MTU), decode(&whole));
}

#[test]
fn truncated_at_every_length() {
    for frame in [udp(), tcp(), with_options(&tcp(), &[1, 1, 1, 1])] {
        for length in 0..frame.len() {
            assert!(decode(&frame[..length]).is_err(), "{length}");
        }
    }
    assert_eq!(ipv4(&[], 14, 0, MTU), Err(Malformed::FrameTruncated));
    assert_eq!(ipv4(&udp()[..33], 14, 33, MTU), Err(Malformed::FrameTruncated));
    assert_eq!(ethernet::HEADER, 14);
}

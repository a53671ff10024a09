//! RFC 8200 and its companions, case by case; numbers are those of the conformance list.

use core::net::Ipv6Addr;

use super::*;
use crate::protocol::{AH, DESTINATION_OPTIONS, ESP, FRAGMENT, HOP_BY_HOP, ROUTING, TCP, UDP};

const MTU: u16 = 1500;
const TCP_SYN: [u8; 20] = [3, 232, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, tcp::SYN, 1, 0, 0, 0, 0, 0];
const DATAGRAM: [u8; 12] = [3, 232, 7, 208, 0, 12, 0, 0, 1, 2, 3, 4];

/// An IPv6 packet behind 14 bytes of link header.
fn packet(next_header: u8, payload: &[&[u8]]) -> Vec<u8> {
    let payload = payload.concat();
    let mut frame = vec![0; 14];
    frame.extend([0x6b, 0x81, 0x23, 0x45]);
    frame.extend((payload.len() as u16).to_be_bytes());
    frame.extend([next_header, 64]);
    frame.extend("2001:db8::2".parse::<Ipv6Addr>().unwrap().octets());
    frame.extend("2001:db8:1::2".parse::<Ipv6Addr>().unwrap().octets());
    frame.extend(payload);
    frame
}

/// Options of the smallest size: six bytes of padding.
fn options(next_header: u8) -> [u8; 8] {
    [next_header, 0, 1, 4, 0, 0, 0, 0]
}

fn routing(next_header: u8, kind: u8, left: u8) -> [u8; 8] {
    [next_header, 0, kind, left, 0, 0, 0, 0]
}

fn fragment(next_header: u8, offset: u16, more: bool) -> [u8; 8] {
    let [high, low] = (offset << 3 | u16::from(more)).to_be_bytes();
    [next_header, 0, high, low, 0, 0, 0, 1]
}

fn decode(frame: &[u8]) -> Result<Descriptor, Malformed> {
    let decoded = ipv6(frame, 14, frame.len(), MTU);
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
fn refused(frame: &[u8], why: Malformed) {
    assert_eq!(decode(frame), Err(why));
}

#[test]
fn a_plain_packet() {
    let frame = packet(TCP, &[&TCP_SYN]);
    let d = decode(&frame).unwrap();
    assert_eq!(taken_as_plain(&frame), Some(d));
    assert_eq!(d.key.src_ip(), "2001:db8::2".parse::<Ipv6Addr>().unwrap());
    assert_eq!(d.key.dst_ip(), "2001:db8:1::2".parse::<Ipv6Addr>().unwrap());
    assert_eq!((d.key.src_port, d.key.dst_port, d.key.protocol), (1000, 80, TCP));
    assert_eq!((d.l3_offset, d.l4_offset, d.l3_length), (14, 40, 60));
    assert_eq!((d.hop_limit, d.traffic_class, d.tcp_flags), (64, 0xb8, tcp::SYN));
    assert_eq!((d.fragment, d.flags), (Fragment::Whole, DescriptorFlags::DONT_FRAGMENT));
}

#[test]
fn a_datagram_without_data_is_plain() {
    let frame = packet(UDP, &[&DATAGRAM[..8]]);
    let d = decode(&frame).unwrap();
    assert_eq!(taken_as_plain(&frame), Some(d));
    assert_eq!((d.key.src_port, d.key.dst_port, d.l3_length), (1000, 2000, 48));
}

#[test]
fn what_may_end_here_or_on_its_link_is_not_plain() {
    let with = |at: usize, byte: u8| {
        let mut frame = packet(UDP, &[&DATAGRAM]);
        frame[at] = byte;
        taken_as_plain(&frame).is_some()
    };
    let (hop_limit, src, dst) = (14 + 7, 14 + 8, 14 + 24);
    assert!(with(hop_limit, 2) && !with(hop_limit, 1) && !with(hop_limit, 0));
    assert!(with(src, 0xfd) && !with(src, 0xfe) && with(dst, 0xfd) && !with(dst, 0xff));
    let mut special = packet(UDP, &[&DATAGRAM]);
    special[dst..dst + 8].fill(0);
    assert_eq!(taken_as_plain(&special), None);
}

#[test]
fn conformance_76_extension_headers_are_followed() {
    let frame = packet(
        HOP_BY_HOP,
        &[
            &options(DESTINATION_OPTIONS),
            &options(ROUTING),
            &routing(AH, 4, 0),
            // RFC 4302: 24 bytes are six words, four without the first two.
            &[FRAGMENT, 4],
            &[0; 22],
            &fragment(DESTINATION_OPTIONS, 0, false),
            &options(TCP),
            &TCP_SYN,
        ],
    );
    let d = decode(&frame).unwrap();
    assert_eq!((d.key.protocol, d.key.dst_port, d.tcp_flags), (TCP, 80, tcp::SYN));
    assert_eq!(d.l4_offset, 40 + 5 * 8 + 24);
    assert_eq!(d.fragment, Fragment::Whole, "atomic fragment, RFC 6946");
    assert_eq!(d.flags, DescriptorFlags::DONT_FRAGMENT | DescriptorFlags::OPTIONS);
}

#[test]
fn conformance_76_unknown_next_headers_are_kept() {
    for next_header in [ESP, 59, 41, 47, 135, 253] {
        let d = decode(&packet(next_header, &[&DATAGRAM])).unwrap();
        assert_eq!((d.key.protocol, d.l4_offset), (next_header, 40));
        assert_eq!((d.key.src_port, d.icmp_type), (0, 0));
        let d = decode(&packet(DESTINATION_OPTIONS, &[&options(next_header)])).unwrap();
        assert_eq!((d.key.protocol, d.l4_offset), (next_header, 48));
    }
}

#[test]
fn conformance_77_unknown_hop_by_hop_options_are_left_alone() {
    for option in [0x40 | 0x1e, 0x80 | 0x1e, 0xc0 | 0x1e] {
        let header = [UDP, 0, option, 4, 1, 2, 3, 4];
        assert!(decode(&packet(HOP_BY_HOP, &[&header, &DATAGRAM])).is_ok());
    }
}

#[test]
fn hop_by_hop_options_stand_first_or_not_at_all() {
    let frame = packet(DESTINATION_OPTIONS, &[&options(HOP_BY_HOP), &options(UDP), &DATAGRAM]);
    refused(&frame, Malformed::Ipv6Extension);
}

#[test]
fn conformance_78_routing_headers() {
    let routed = |kind, left| decode(&packet(ROUTING, &[&routing(UDP, kind, left), &DATAGRAM]));
    assert_eq!(routed(0, 1), Err(Malformed::Ipv6Extension));
    let done = routed(0, 0).unwrap();
    assert!(!done.flags.contains(DescriptorFlags::SEGMENTS_LEFT));
    let underway = routed(4, 1).unwrap();
    assert!(underway.flags.contains(DescriptorFlags::SEGMENTS_LEFT));
    assert_eq!(underway.key.dst_port, 2000);
}

#[test]
fn conformance_79_version_lengths_and_hop_limit() {
    let good = packet(UDP, &[&DATAGRAM]);
    let changed = |place: usize, value: u8| {
        let mut frame = good.clone();
        frame[14 + place] = value;
        frame
    };
    refused(&changed(0, 0x50), Malformed::Ipv6Version);
    refused(&changed(0, 0x4b), Malformed::Ipv6Version);
    refused(&changed(5, 13), Malformed::Ipv6PayloadLength);
    refused(&changed(5, 7), Malformed::L4Truncated);
    refused(&changed(7, 0), Malformed::HopLimitZero);
    for length in 0..54 {
        assert_eq!(ipv6(&good[..length], 14, length, MTU), Err(Malformed::FrameTruncated));
    }
    for length in 54..good.len() {
        refused(&good[..length], Malformed::Ipv6PayloadLength);
    }
}

#[test]
fn padding_is_not_counted() {
    let mut frame = packet(UDP, &[&DATAGRAM]);
    frame.extend([0xee; 30]);
    assert_eq!(decode(&frame).unwrap().l3_length, 52);
}

#[test]
fn super_packets_are_named_before_all_else() {
    let mut frame = packet(TCP, &[&TCP_SYN, &[0; 2000]]);
    refused(&frame, Malformed::SuperPacket);
    frame[18..20].copy_from_slice(&60000u16.to_be_bytes());
    frame.truncate(1514);
    refused(&frame, Malformed::SuperPacket);
    // Over 64 KB Linux puts a jumbo option in front, or nothing, and no length.
    frame[18..20].fill(0);
    refused(&frame, Malformed::SuperPacket);
    // A small packet without payload is none.
    let empty = packet(59, &[]);
    assert_eq!(decode(&empty).unwrap().l3_length, 40);
    refused(&packet(HOP_BY_HOP, &[]), Malformed::Ipv6Extension);
}

fn addressed(src: &str, dst: &str) -> Result<Descriptor, Malformed> {
    let mut frame = packet(UDP, &[&DATAGRAM, &[0; 20]]);
    frame[22..38].copy_from_slice(&src.parse::<Ipv6Addr>().unwrap().octets());
    frame[38..54].copy_from_slice(&dst.parse::<Ipv6Addr>().unwrap().octets());
    decode(&frame)
}

#[test]
fn conformance_75_martians() {
    for src in ["::", "::1", "ff02::1", "ff0e::5", "::ffff:10.0.0.1"] {
        assert_eq!(addressed(src, "2001:db8::1"), Err(Malformed::SourceMartian), "{src}");
    }
    for dst in ["::", "::1", "::ffff:10.0.0.1", "ff00::1", "ff01::1", "ff11::1"] {
        assert_eq!(addressed("2001:db8::1", dst), Err(Malformed::DestinationMartian), "{dst}");
    }
    assert!(addressed("2001:db8::1", "64:ff9b::10.0.0.1").is_ok());
    // Not for forwarding, but perhaps for us: routing decides.
    assert!(addressed("2001:db8::1", "ff02::1").is_ok());
}

#[test]
fn conformance_74_link_local_addresses_are_for_routing_to_judge() {
    assert!(addressed("fe80::1", "2001:db8::1").is_ok());
    assert!(addressed("2001:db8::1", "fe80::1").is_ok());
}

#[test]
fn who_has_no_address_yet_talks_to_its_link_alone() {
    assert!(addressed("::", "ff02::1:ff00:1").is_ok());
    assert!(addressed("::", "ff02::16").is_ok());
    assert_eq!(addressed("::", "ff05::2"), Err(Malformed::SourceMartian));
    assert_eq!(addressed("::", "::"), Err(Malformed::SourceMartian));
}

#[test]
fn fragments() {
    let first = decode(&packet(FRAGMENT, &[&fragment(TCP, 0, true), &TCP_SYN])).unwrap();
    assert_eq!((first.fragment, first.key.dst_port), (Fragment::First, 80));
    assert_eq!(first.l4_offset, 48);
    let later = decode(&packet(FRAGMENT, &[&fragment(TCP, 100, true), &TCP_SYN])).unwrap();
    assert_eq!((later.fragment, later.key.dst_port, later.tcp_flags), (Fragment::Later, 0, 0));
    assert_eq!((later.key.protocol, later.l4_offset), (TCP, 48));
    let last = decode(&packet(FRAGMENT, &[&fragment(UDP, 100, false), &[1]])).unwrap();
    assert_eq!(last.fragment, Fragment::Later);
}

#[test]
fn conformance_82_a_first_fragment_holds_the_whole_chain() {
    let frame = packet(FRAGMENT, &[&fragment(TCP, 0, true), &TCP_SYN[..16]]);
    refused(&frame, Malformed::Ipv6HeaderChain);
    let header = fragment(DESTINATION_OPTIONS, 0, true);
    refused(&packet(FRAGMENT, &[&header]), Malformed::Ipv6HeaderChain);
    let long = [TCP, 9, 1, 4, 0, 0, 0, 0];
    refused(&packet(FRAGMENT, &[&header, &long, &TCP_SYN]), Malformed::Ipv6HeaderChain);
    // The second of such a pair.
    refused(&packet(FRAGMENT, &[&fragment(TCP, 2, false), &[0; 4]]), Malformed::Ipv6HeaderChain);
}

#[test]
fn two_fragment_headers_and_oversized_datagrams_are_refused() {
    let twice = packet(FRAGMENT, &[&fragment(FRAGMENT, 0, false), &fragment(UDP, 0, true)]);
    refused(&twice, Malformed::Ipv6Extension);
    let over = packet(FRAGMENT, &[&fragment(UDP, 8191, false), &[0; 16]]);
    refused(&over, Malformed::Ipv6PayloadLength);
}

#[test]
fn extension_headers_cut_short() {
    for header in [HOP_BY_HOP, DESTINATION_OPTIONS, ROUTING, FRAGMENT, AH] {
        refused(&packet(header, &[]), Malformed::Ipv6Extension);
        refused(&packet(header, &[&[UDP, 0, 0]]), Malformed::Ipv6Extension);
    }
    refused(&packet(HOP_BY_HOP, &[&[UDP, 1, 1, 4, 0, 0, 0, 0]]), Malformed::Ipv6Extension);
}

#[test]
fn overlong_chains_are_refused() {
    let mut payload = vec![options(DESTINATION_OPTIONS); 7];
    let chain = |payload: &[[u8; 8]]| {
        packet(DESTINATION_OPTIONS, &[payload.concat().as_slice(), &options(UDP), &DATAGRAM])
    };
    assert!(decode(&chain(&payload)).is_ok());
    payload.extend([options(DESTINATION_OPTIONS); 2]);
    refused(&chain(&payload), Malformed::Ipv6HeaderChain);
}

#[test]
fn headers_in_a_later_segment_are_named() {
    let frame = packet(HOP_BY_HOP, &[&options(TCP), &TCP_SYN]);
    for length in 14..frame.len() {
        let split = ipv6(&frame[..length], 14, frame.len(), MTU);
        assert_eq!(split, Err(Malformed::HeadersSplit), "{length}");
    }
}

#[test]
fn icmpv6_type_code_and_identifier() {
    let message = [128, 0, 0, 0, 0x12, 0x34, 0, 1];
    let d = decode(&packet(protocol::ICMPV6, &[&message])).unwrap();
    assert_eq!((d.icmp_type, d.icmp_code, d.key.src_port), (128, 0, 0x1234));
    // ICMP for IPv4 is any other protocol here.
    let d = decode(&packet(protocol::ICMP, &[&message])).unwrap();
    assert_eq!((d.icmp_type, d.key.src_port), (0, 0));
}

use etherparse::PacketBuilder;

use super::*;
use crate::checksum;
use crate::decode;

const A: [u8; 6] = [2, 0, 0, 0, 0, 1];
const B: [u8; 6] = [2, 0, 0, 0, 0, 2];
const ROUTER_V4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const ROUTER_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);

fn udp_v4(data: usize) -> (Vec<u8>, Descriptor) {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(A, B)
        .ipv4([10, 0, 0, 2], [10, 0, 9, 9], 1)
        .udp(1000, 2000)
        .write(&mut frame, &vec![7; data])
        .unwrap();
    // An identification, and a padding that no quote may carry.
    frame[18..20].copy_from_slice(&[0xab, 0xcd]);
    let checksum = checksum::ipv4_header(&frame[14..34]);
    frame[24..26].copy_from_slice(&checksum.to_be_bytes());
    frame.extend([0xee; 9]);
    let d = decode::ipv4(&frame, 14, frame.len(), 9000).unwrap();
    (frame, d)
}

fn udp_v6(data: usize) -> (Vec<u8>, Descriptor) {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(A, B)
        .ipv6([0xfd; 16], [0xfc; 16], 1)
        .udp(1000, 2000)
        .write(&mut frame, &vec![7; data])
        .unwrap();
    frame.extend([0xee; 9]);
    let d = decode::ipv6(&frame, 14, frame.len(), 9000).unwrap();
    (frame, d)
}

fn link() -> LinkHeader {
    LinkHeader { dst: A, src: B, vlan: 0 }
}

#[test]
fn conformance_27_an_icmp_error_quotes_what_fits_in_576() {
    for (data, quoted) in [(0, 28), (8, 36), (520, 548), (521, 548), (4000, 548)] {
        let (frame, d) = udp_v4(data);
        assert!(may_answer_v4(&d));
        let mut buffer = [0; 2000];
        let length =
            icmp(&mut buffer, &link(), ROUTER_V4, IcmpError::TimeExceeded, &d, &frame).unwrap();
        assert_eq!(length, 14 + 28 + quoted);
        let reply = &buffer[..length];
        let e = decode::ipv4(reply, 14, length, 1500).unwrap();
        assert_eq!(checksum::verify(&e, [reply]), Ok(()));
        assert_eq!(e.key.src_ip(), ROUTER_V4);
        assert_eq!(e.key.dst, d.key.src);
        assert_eq!((e.icmp_type, e.icmp_code), (11, 0));
        assert_eq!((e.hop_limit, e.traffic_class), (64, 0xc0));
        assert_eq!(reply[18..20], [0xab, 0xcd]);
        assert_eq!(reply[38..42], [0; 4]);
        assert_eq!(reply[42..], frame[14..14 + quoted]);
        assert!(!may_answer_v4(&e), "an error is not answered");
    }
}

#[test]
fn conformance_64_an_icmpv6_error_quotes_what_fits_in_1280() {
    for (data, quoted) in [(0, 48), (1184, 1232), (1185, 1232), (4000, 1232)] {
        let (frame, d) = udp_v6(data);
        let error = Icmpv6Error::HopLimitExceeded;
        assert!(may_answer_v6(&d, error));
        let mut buffer = [0; 2000];
        let length = icmpv6(&mut buffer, &link(), ROUTER_V6, error, &d, &frame).unwrap();
        assert_eq!(length, 14 + 48 + quoted);
        let reply = &buffer[..length];
        let e = decode::ipv6(reply, 14, length, 1500).unwrap();
        assert_eq!(checksum::verify(&e, [reply]), Ok(()));
        assert_eq!(e.key.src_ip(), ROUTER_V6);
        assert_eq!(e.key.dst, d.key.src);
        assert_eq!((e.icmp_type, e.icmp_code, e.hop_limit), (3, 0, 64));
        assert_eq!(reply[62..], frame[14..14 + quoted]);
        assert!(!may_answer_v6(&e, error), "an error is not answered");
    }
}

#[test]
fn conformance_40_and_65_the_mtu_is_told() {
    let (frame, d) = udp_v4(1400);
    let mut buffer = [0; 2000];
    let error = IcmpError::FragmentationNeeded { mtu: 1280 };
    icmp(&mut buffer, &link(), ROUTER_V4, error, &d, &frame).unwrap();
    assert_eq!((buffer[34], buffer[35]), (3, 4));
    assert_eq!(buffer[38..42], [0, 0, 5, 0]);

    let (frame, d) = udp_v6(1400);
    let error = Icmpv6Error::PacketTooBig { mtu: 1280 };
    icmpv6(&mut buffer, &link(), ROUTER_V6, error, &d, &frame).unwrap();
    assert_eq!((buffer[54], buffer[55]), (2, 0));
    assert_eq!(buffer[58..62], [0, 0, 5, 0]);
}

#[test]
fn types_and_codes_are_those_of_the_rfcs() {
    use IcmpError as V4;
    use Icmpv6Error as V6;
    let v4 = [
        (V4::NetworkUnreachable, (3, 0, 0)),
        (V4::HostUnreachable, (3, 1, 0)),
        (V4::ProtocolUnreachable, (3, 2, 0)),
        (V4::PortUnreachable, (3, 3, 0)),
        (V4::Prohibited, (3, 13, 0)),
        (V4::ParameterProblem { pointer: 20 }, (12, 0, 20 << 24)),
    ];
    for (error, wire) in v4 {
        assert_eq!(error.wire(), wire);
    }
    let v6 = [
        (V6::NoRoute, (1, 0, 0)),
        (V6::Prohibited, (1, 1, 0)),
        (V6::BeyondScope, (1, 2, 0)),
        (V6::AddressUnreachable, (1, 3, 0)),
        (V6::PortUnreachable, (1, 4, 0)),
        (V6::RejectRoute, (1, 6, 0)),
        (V6::ParameterProblem { code: 1, pointer: 40 }, (4, 1, 40)),
    ];
    for (error, wire) in v6 {
        assert_eq!(error.wire(), wire);
    }
}

#[test]
fn a_quote_ends_with_the_first_segment() {
    let (frame, d) = udp_v4(4000);
    let mut buffer = [0; 2000];
    let error = IcmpError::HostUnreachable;
    let length = icmp(&mut buffer, &link(), ROUTER_V4, error, &d, &frame[..114]).unwrap();
    assert_eq!(length, 14 + 28 + 100);
    let too_small = icmp(&mut buffer[..100], &link(), ROUTER_V4, error, &d, &frame);
    let needed = 14 + 576;
    assert_eq!(too_small, Err(BuildError::BufferTooSmall { needed, available: 100 }));
    let other = icmpv6(&mut buffer, &link(), ROUTER_V6, Icmpv6Error::NoRoute, &d, &frame);
    assert_eq!(other, Err(BuildError::Unanswerable("IPv6 packet")));
}

#[test]
fn conformance_31_to_35_what_gets_no_icmp_error() {
    let (_, good) = udp_v4(8);
    assert!(may_answer_v4(&good));
    let refused = |change: &dyn Fn(&mut Descriptor)| {
        let mut d = good;
        change(&mut d);
        !may_answer_v4(&d)
    };
    // 31: about an ICMP error, but about an echo.
    for (icmp_type, answered) in [(3, false), (5, false), (11, false), (12, false), (8, true)] {
        let mut d = good;
        d.key.protocol = protocol::ICMP;
        d.icmp_type = icmp_type;
        assert_eq!(may_answer_v4(&d), answered, "{icmp_type}");
    }
    // 32: a later fragment.
    assert!(refused(&|d| d.fragment = Fragment::Later));
    assert!(!refused(&|d| d.fragment = Fragment::First));
    // 33: a link broadcast.
    assert!(refused(&|d| d.flags |= DescriptorFlags::LINK_BROADCAST));
    assert!(refused(&|d| d.flags |= DescriptorFlags::LINK_MULTICAST));
    // 34: to a multicast or broadcast address.
    assert!(refused(&|d| d.key.dst = 0xe000_0005));
    assert!(refused(&|d| d.key.dst = 0xffff_ffff));
    // 35: from no single host.
    for src in [0, 0x7f00_0001, 0xe000_0001, 0xffff_ffff, 0x0000_0001] {
        assert!(refused(&|d| d.key.src = src), "{src:#x}");
    }
    assert!(refused(&|d| d.key.src = d.key.dst));
}

#[test]
fn conformance_67_what_gets_no_icmpv6_error() {
    let (_, good) = udp_v6(8);
    let unreachable = Icmpv6Error::NoRoute;
    let too_big = Icmpv6Error::PacketTooBig { mtu: 1280 };
    let answered = |error, change: &dyn Fn(&mut Descriptor)| {
        let mut d = good;
        change(&mut d);
        may_answer_v6(&d, error)
    };
    for (icmp_type, expected) in [(1, false), (4, false), (137, false), (128, true), (135, true)] {
        let change = |d: &mut Descriptor| {
            d.key.protocol = protocol::ICMPV6;
            d.icmp_type = icmp_type;
        };
        assert_eq!(answered(unreachable, &change), expected, "{icmp_type}");
        assert_eq!(answered(too_big, &change), expected, "{icmp_type}");
    }
    let option = Icmpv6Error::ParameterProblem { code: 2, pointer: 42 };
    for (error, expected) in [(unreachable, false), (too_big, true), (option, true)] {
        assert_eq!(answered(error, &|d| d.key.dst = 0xff0e << 112 | 1), expected);
        assert_eq!(answered(error, &|d| d.flags |= DescriptorFlags::LINK_MULTICAST), expected);
    }
    for src in [0, 1, 0xff02 << 112 | 1, good.key.dst] {
        assert!(!answered(too_big, &|d| d.key.src = src), "{src:#x}");
    }
    assert!(!answered(too_big, &|d| d.fragment = Fragment::Later));
}

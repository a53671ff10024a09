use etherparse::{Icmpv4Type, Icmpv6Type, PacketBuilder, icmpv4, icmpv6};
use proptest::prelude::*;

use super::*;

/// The hash as its description has it: for each bit of the input that is set, the 32 bits of the key
/// that begin there.
fn reference(key: &[u8], input: &[u8]) -> u32 {
    let mut hash = 0;
    for (bit, _) in
        (0..input.len() * 8).zip(0..).filter(|&(bit, _)| input[bit / 8] & (0x80 >> (bit % 8)) != 0)
    {
        let window: u64 =
            key[bit / 8..bit / 8 + 5].iter().fold(0, |all, &b| all << 8 | u64::from(b));
        hash ^= (window >> (8 - bit % 8)) as u32;
    }
    hash
}

/// The key of the published test vectors.
const PUBLISHED: [u8; 40] = [
    0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0,
    0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c,
    0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
];

#[test]
fn the_reference_is_the_published_one() {
    let vectors = [
        ([66, 9, 149, 187], [161, 142, 100, 80], 0x323e_8fc2),
        ([199, 92, 111, 2], [65, 69, 140, 83], 0xd718_262a),
        ([24, 19, 198, 95], [12, 22, 207, 184], 0xd2d0_a5de),
    ];
    for (src, dst, hash) in vectors {
        let input: [[u8; 4]; 2] = [src, dst];
        assert_eq!(reference(&PUBLISHED, &input.concat()), hash);
    }
}

#[test]
fn every_bucket_is_as_likely() {
    let mut counts = [0; BUCKETS as usize];
    for fold in 0..=u16::MAX {
        assert_eq!(u32::from(bucket(fold)), toeplitz(fold) % BUCKETS);
        counts[usize::from(bucket(fold))] += 1;
    }
    assert!(counts.iter().all(|&count| count == 65_536 / BUCKETS), "{counts:?}");
}

fn ethernet() -> etherparse::PacketBuilderStep<etherparse::Ethernet2Header> {
    PacketBuilder::ethernet2([2; 6], [4; 6])
}

fn udp4(src: [u8; 4], dst: [u8; 4]) -> Vec<u8> {
    let mut frame = Vec::new();
    ethernet().ipv4(src, dst, 9).udp(1, 2).write(&mut frame, b"x").unwrap();
    frame
}

#[test]
fn an_icmp_error_goes_where_its_packet_went() {
    let (a, b, router) = ([10, 0, 0, 2], [10, 9, 8, 7], [192, 0, 2, 1]);
    let packet = udp4(a, b);
    let unreachable = Icmpv4Type::DestinationUnreachable(icmpv4::DestUnreachableHeader::Host);
    let echo = Icmpv4Type::EchoRequest(etherparse::IcmpEchoHeader { id: 1, seq: 1 });
    let message = |kind, content: &[u8]| {
        let mut frame = Vec::new();
        ethernet().ipv4(router, a, 9).icmpv4(kind).write(&mut frame, content).unwrap();
        fold(&frame)
    };
    assert_ne!(fold(&udp4(router, a)), fold(&packet));
    assert_eq!(message(unreachable.clone(), &packet[14..]), fold(&packet));
    // What is cut short, or is no error, belongs to its own addresses.
    assert_eq!(message(unreachable, &packet[14..33]), fold(&udp4(router, a)));
    assert_eq!(message(echo, &packet[14..]), fold(&udp4(router, a)));
}

#[test]
fn so_does_one_of_icmpv6() {
    let (mut a, mut b, mut router) = ([0x20; 16], [0x20; 16], [0x20; 16]);
    (a[15], b[15], router[15]) = (1, 2, 4);
    let mut packet = Vec::new();
    ethernet().ipv6(a, b, 9).udp(1, 2).write(&mut packet, b"x").unwrap();
    let mut error = Vec::new();
    let kind = Icmpv6Type::DestinationUnreachable(icmpv6::DestUnreachableCode::NoRoute);
    ethernet().ipv6(router, a, 9).icmpv6(kind).write(&mut error, &packet[14..]).unwrap();
    assert_eq!(fold(&error), fold(&packet));
    assert_ne!(fold(&error), Some(5));
}

#[test]
fn what_is_not_ip_is_anybodys() {
    let mut frame = udp4([10, 0, 0, 2], [10, 0, 0, 3]);
    for length in 0..34 {
        assert_eq!(fold(&frame[..length]), None, "{length}");
    }
    frame[12..14].copy_from_slice(&ethernet::ARP.to_be_bytes());
    assert_eq!(fold(&frame), None);
}

proptest! {
    #[test]
    fn the_bucket_is_the_devices(src: [u8; 4], dst: [u8; 4], src6: [u8; 16], dst6: [u8; 16]) {
        let key = RSS_KEY_WORD.to_be_bytes().repeat(20);
        let expected = |input: &[u8]| (reference(&key, input) % BUCKETS) as u8;
        let frame = udp4(src, dst);
        prop_assert_eq!(fold(&frame).map(bucket), Some(expected(&[src, dst].concat())));
        prop_assert_eq!(fold(&udp4(dst, src)), fold(&frame));

        // The same with a tag.
        let tagged = [&frame[..12], &[0x81, 0, 0, 7], &frame[12..]].concat();
        prop_assert_eq!(fold(&tagged), fold(&frame));

        let mut frame = Vec::new();
        ethernet().ipv6(src6, dst6, 9).tcp(1, 2, 3, 4).write(&mut frame, b"").unwrap();
        prop_assert_eq!(fold(&frame).map(bucket), Some(expected(&[src6, dst6].concat())));
    }

    #[test]
    fn any_bytes_are_read_without_harm(frame in prop::collection::vec(any::<u8>(), 0..120)) {
        fold(&frame);
    }
}

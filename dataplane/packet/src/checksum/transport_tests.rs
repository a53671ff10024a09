//! Against `etherparse`, whose checksums are computed another way.

use etherparse::PacketBuilder;
use proptest::prelude::*;

use super::*;
use crate::decode;

/// A TCP or UDP packet over IPv4 or IPv6, as `etherparse` builds it, and its descriptor.
fn built(tcp: bool, ipv6: bool, addresses: [u8; 4], data: &[u8]) -> (Vec<u8>, Descriptor) {
    let [a, b, c, d] = addresses;
    let link = PacketBuilder::ethernet2([2; 6], [4; 6]);
    let ip = if ipv6 {
        link.ipv6([0x20 | a >> 4; 16], [0x20 | b >> 4; 16], 64)
    } else {
        link.ipv4([10, a, b, 1], [10, c, d, 2], 64)
    };
    let mut frame = Vec::new();
    if tcp {
        ip.tcp(1000, 80, 7, 9).ack(5).write(&mut frame, data).unwrap();
    } else {
        ip.udp(1000, 53).write(&mut frame, data).unwrap();
    }
    let decode = if ipv6 { decode::ipv6 } else { decode::ipv4 };
    let descriptor = decode(&frame, 14, frame.len(), 9000).unwrap();
    (frame, descriptor)
}

/// Where the checksum field of the packet is, and the sum of its pseudo-header.
fn place(frame: &[u8], d: &Descriptor) -> (usize, u16) {
    let covered = Covered::of(d, frame).unwrap();
    (covered.field, Sum::pseudo_header(&d.key, covered.length).value())
}

proptest! {
    #[test]
    fn right_sums_are_right_and_wrong_ones_wrong(
        tcp: bool, ipv6: bool, addresses: [u8; 4],
        data in prop::collection::vec(any::<u8>(), 0..300),
        flip in any::<prop::sample::Index>(), bit in 0u32..8,
    ) {
        let (mut frame, d) = built(tcp, ipv6, addresses, &data);
        prop_assert_eq!(verify(&d, [&frame[..]]), Ok(()));
        // Any one bit of data.
        if !data.is_empty() {
            let place = frame.len() - 1 - flip.index(data.len());
            frame[place] ^= 1 << bit;
            prop_assert_eq!(verify(&d, [&frame[..]]), Err(Malformed::L4Checksum));
        }
    }

    #[test]
    fn a_full_sum_is_the_right_one_whatever_the_field_holds(
        tcp: bool, ipv6: bool, addresses: [u8; 4],
        data in prop::collection::vec(any::<u8>(), 0..300), held: [u8; 2],
        cut in any::<prop::sample::Index>(),
    ) {
        let (right, d) = built(tcp, ipv6, addresses, &data);
        let (field, _) = place(&right, &d);
        let mut frame = right.clone();
        frame[field..field + 2].copy_from_slice(&held);
        let headers = right.len() - data.len();
        let (first, rest) = frame.split_at(headers + cut.index(data.len() + 1));
        let sum = full(&d, [first, rest]).unwrap();
        prop_assert_eq!(sum.offset, field);
        prop_assert_eq!(&sum.checksum.to_be_bytes()[..], &right[field..field + 2]);
    }

    #[test]
    fn a_partial_sum_is_completed_to_the_right_one(
        tcp: bool, ipv6: bool, addresses: [u8; 4],
        data in prop::collection::vec(any::<u8>(), 0..300), padding in 0usize..9,
    ) {
        let (right, d) = built(tcp, ipv6, addresses, &data);
        let mut frame = right.clone();
        let (field, partial) = place(&frame, &d);
        frame[field..field + 2].copy_from_slice(&partial.to_be_bytes());
        frame.resize(frame.len() + padding, 0xee);
        prop_assert!(complete(&d, &mut frame));
        prop_assert_eq!(&frame[..right.len()], &right[..]);
    }

    #[test]
    fn a_partial_sum_is_completed_over_segments(
        tcp: bool, ipv6: bool, addresses: [u8; 4],
        data in prop::collection::vec(any::<u8>(), 0..300),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
    ) {
        let (right, d) = built(tcp, ipv6, addresses, &data);
        let mut frame = right.clone();
        let (field, partial) = place(&frame, &d);
        frame[field..field + 2].copy_from_slice(&partial.to_be_bytes());
        let headers = frame.len() - data.len();
        let mut cuts: Vec<_> =
            cuts.iter().map(|cut| headers + cut.index(data.len() + 1)).collect();
        cuts.extend([0, frame.len()]);
        cuts.sort_unstable();
        let segments: Vec<_> = cuts.windows(2).map(|pair| &frame[pair[0]..pair[1]]).collect();
        let done = completion(&d, segments.iter().copied()).unwrap();
        prop_assert_eq!(done.offset, field);
        prop_assert_eq!(&done.checksum.to_be_bytes()[..], &right[field..field + 2]);
        let segments = cuts.windows(2).map(|pair| &right[pair[0]..pair[1]]);
        prop_assert_eq!(verify(&d, segments), Ok(()));
    }

    #[test]
    fn a_full_sum_is_left_alone(
        tcp: bool, ipv6: bool, addresses: [u8; 4],
        data in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let (right, d) = built(tcp, ipv6, addresses, &data);
        let mut frame = right.clone();
        // Even if it should equal the pseudo-header's sum.
        complete(&d, &mut frame);
        prop_assert_eq!(frame, right);
    }
}

#[test]
fn a_full_sum_that_looks_partial_stays_the_same() {
    let (mut frame, d) = built(false, false, [0; 4], &[0, 0, 0, 0]);
    let (field, partial) = place(&frame, &d);
    // Choose data that makes the two equal.
    let data = frame.len() - 4;
    frame[field..field + 2].copy_from_slice(&partial.to_be_bytes());
    let right = completion(&d, [&frame[..]]).unwrap().checksum;
    // What the sum of all else lacks of the complement of the partial sum.
    let word = !crate::checksum::update16(!right, partial, 0);
    Completion { offset: data, checksum: word }.write(&mut frame);
    let before = frame.clone();
    assert_eq!(verify(&d, [&frame[..]]), Ok(()));
    assert!(complete(&d, &mut frame));
    assert_eq!(frame, before);
}

#[test]
fn behind_extension_headers() {
    use etherparse::{IpHeaders, Ipv6Extensions, Ipv6Header, Ipv6RawExtHeader};
    let options = Ipv6RawExtHeader::new_raw(17.into(), &[1, 4, 0, 0, 0, 0]).unwrap();
    let extensions =
        Ipv6Extensions { destination_options: Some(options), ..Ipv6Extensions::default() };
    let header = Ipv6Header {
        hop_limit: 9,
        source: [0x20; 16],
        destination: [0x21; 16],
        ..Ipv6Header::default()
    };
    let mut right = Vec::new();
    PacketBuilder::ethernet2([2; 6], [4; 6])
        .ip(IpHeaders::Ipv6(header, extensions))
        .udp(1, 2)
        .write(&mut right, &[1, 2, 3])
        .unwrap();
    let d = decode::ipv6(&right, 14, right.len(), 1500).unwrap();
    assert_eq!(d.l4_offset, 48);
    let mut frame = right.clone();
    let (field, partial) = place(&frame, &d);
    frame[field..field + 2].copy_from_slice(&partial.to_be_bytes());
    assert!(complete(&d, &mut frame));
    assert_eq!(frame, right);
}

#[test]
fn a_computed_zero_of_udp_is_sent_as_ones() {
    let (mut frame, d) = built(false, false, [0; 4], &[0, 0]);
    let (field, partial) = place(&frame, &d);
    let data = frame.len() - 2;
    frame[field..field + 2].copy_from_slice(&partial.to_be_bytes());
    // The data takes what the sum lacks of all ones.
    let lacks = completion(&d, [&frame[..]]).unwrap().checksum;
    frame[data..].copy_from_slice(&lacks.to_be_bytes());
    assert!(complete(&d, &mut frame));
    assert_eq!(frame[field..field + 2], [0xff, 0xff]);
    assert_eq!(verify(&d, [&frame[..]]), Ok(()));
}

#[test]
fn conformance_59_udp_without_a_checksum_passes() {
    for ipv6 in [false, true] {
        let (mut frame, d) = built(false, ipv6, [1; 4], &[1, 2, 3]);
        let (field, _) = place(&frame, &d);
        frame[field..field + 2].fill(0);
        assert_eq!(verify(&d, [&frame[..]]), Ok(()));
        assert!(!complete(&d, &mut frame));
        assert_eq!(frame[field..field + 2], [0, 0]);
    }
}

#[test]
fn fragments_and_packets_under_way_to_another_node_are_left_alone() {
    let (mut frame, d) = built(true, false, [1; 4], &[1, 2, 3]);
    let (field, partial) = place(&frame, &d);
    frame[field..field + 2].copy_from_slice(&partial.to_be_bytes());
    for d in [
        Descriptor { fragment: Fragment::First, ..d },
        Descriptor { fragment: Fragment::Later, ..d },
        Descriptor { flags: DescriptorFlags::SEGMENTS_LEFT, ..d },
    ] {
        assert_eq!(completion(&d, [&frame[..]]), None);
        assert_eq!(verify(&d, [&frame[..]]), Ok(()));
    }
}

#[test]
fn missing_bytes_and_impossible_udp_lengths() {
    let (mut frame, d) = built(false, false, [1; 4], &[1, 2, 3]);
    assert_eq!(verify(&d, [&frame[..frame.len() - 1]]), Err(Malformed::L4Checksum));
    assert_eq!(verify(&d, []), Err(Malformed::L4Checksum));
    assert_eq!(completion(&d, []), None);
    for length in [0u16, 7, 12, 0xffff] {
        frame[38..40].copy_from_slice(&length.to_be_bytes());
        assert_eq!(verify(&d, [&frame[..]]), Err(Malformed::L4Checksum), "{length}");
        assert_eq!(completion(&d, [&frame[..]]), None, "{length}");
    }
}

//! Everything the crate does with a frame that came from anywhere, with what must hold of it. The
//! fuzz target and a test of fixed length run the same body.

use sluice_packet::arp::ArpPacket;
use sluice_packet::build::error::{IcmpError, Icmpv6Error};
use sluice_packet::build::{self, LinkHeader};
use sluice_packet::{Descriptor, Family, Malformed, checksum, decode, ethernet, nd, protocol};

const MAC: ethernet::Mac = [2, 0, 0, 0, 0, 1];
const ROUTER_V4: core::net::Ipv4Addr = core::net::Ipv4Addr::new(10, 0, 0, 1);
const ROUTER_V6: core::net::Ipv6Addr = core::net::Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);

fn decode_ip(frame: &[u8], wire: usize, mtu: u16) -> Option<Result<Descriptor, Malformed>> {
    let link = decode::link(frame).ok()?;
    let l3_offset = link.l3_offset.into();
    match link.ethertype {
        ethernet::IPV4 => Some(decode::ipv4(frame, l3_offset, wire, mtu)),
        ethernet::IPV6 => Some(decode::ipv6(frame, l3_offset, wire, mtu)),
        _ => None,
    }
}

/// A packet of our own must be one that we would take ourselves.
fn take_back(frame: &[u8]) -> Descriptor {
    let d = decode_ip(frame, frame.len(), 1500).expect("IP").expect("well-formed");
    let l3 = usize::from(d.l3_offset);
    assert_eq!(l3 + usize::from(d.l3_length), frame.len());
    assert_eq!(checksum::verify(&d, [frame]), Ok(()));
    d
}

/// Reads the frame, answers it in every way there is, and checks what came out.
pub fn exercise(frame: &[u8]) {
    // Headers split over segments, and a wire length that has nothing to do with the frame.
    for length in [frame.len() / 2, frame.len().saturating_sub(1)] {
        let _ = decode_ip(&frame[..length], frame.len(), 1500);
        let _ = decode_ip(frame, length, 1500);
    }
    let Ok(link) = decode::link(frame) else { return };
    if link.ethertype == ethernet::ARP {
        arp(frame, link.l3_offset.into());
    }
    let Some(Ok(d)) = decode_ip(frame, frame.len(), 1500) else { return };
    assert!(d.l4_offset <= d.l3_length && d.l3_length <= 1500);
    assert!(usize::from(d.l3_offset) + usize::from(d.l3_length) <= frame.len());
    assert!(d.hop_limit > 0);

    complete(frame, &d);
    forward(frame, &d);
    neighbour_discovery(frame, &d);
    answers(frame, &d, &LinkHeader::answering(&link, MAC));
}

fn arp(frame: &[u8], l3_offset: usize) {
    let mut reply = frame.to_vec();
    let asked = ArpPacket::parse(&frame[l3_offset..]).is_some_and(ArpPacket::is_request);
    assert_eq!(build::arp::reply_in_place(&mut reply, l3_offset, MAC).is_ok(), asked);
    if asked {
        assert!(!ArpPacket::parse(&reply[l3_offset..]).expect("ARP").is_request());
    }
}

fn complete(frame: &[u8], d: &Descriptor) {
    let intact = checksum::verify(d, [frame]);
    let mut completed = frame.to_vec();
    let partial = checksum::complete(d, &mut completed);
    assert_eq!(checksum::verify(d, [&completed[..]]), if partial { Ok(()) } else { intact });
    // In two segments, cut behind the headers that the decoder demands in the first.
    let cut = (frame.len() / 2).max(usize::from(d.l3_offset) + usize::from(d.l4_offset) + 20);
    let (first, rest) = frame.split_at(cut.min(frame.len()));
    assert_eq!(checksum::completion(d, [first, rest]).is_some(), partial);
}

fn forward(frame: &[u8], d: &Descriptor) {
    let mut sent = frame.to_vec();
    let packet = &mut sent[d.l3_offset.into()..];
    match d.key.family {
        Family::Inet => checksum::decrement_ttl(packet),
        Family::Inet6 => checksum::decrement_hop_limit(packet),
    }
    let next = decode_ip(&sent, sent.len(), 1500).expect("IP");
    if d.hop_limit == 1 {
        assert_eq!(next, Err(Malformed::HopLimitZero));
    } else {
        assert_eq!(next, Ok(Descriptor { hop_limit: d.hop_limit - 1, ..*d }));
    }
}

fn neighbour_discovery(frame: &[u8], d: &Descriptor) {
    let mut buffer = [0; 128];
    if let Ok(asked) = nd::solicitation(frame, d) {
        let length = build::nd::answer(&mut buffer, 0, MAC, &asked, MAC).expect("fits");
        let reply = &buffer[..length];
        let told = nd::advertisement(reply, &take_back(reply)).expect("valid");
        assert_eq!(told.target, asked.target);
    }
    let _ = nd::advertisement(frame, d);
}

fn answers(frame: &[u8], d: &Descriptor, link: &LinkHeader) {
    let mut echo = frame.to_vec();
    let answered = match d.key.family {
        Family::Inet => build::echo::reply_v4(&mut echo, d),
        Family::Inet6 => build::echo::reply_v6(&mut echo, d),
    };
    if answered.is_ok() {
        let reply = decode_ip(&echo, echo.len(), 1500).expect("IP").expect("well-formed");
        assert_eq!((reply.key.src, reply.key.dst), (d.key.dst, d.key.src));
        assert_eq!(reply.hop_limit, 64);
        assert_eq!(checksum::verify(&reply, [&echo[..]]), checksum::verify(d, [frame]));
    }

    let mut buffer = [0; 1600];
    let error = Icmpv6Error::PacketTooBig { mtu: 1280 };
    let (may, length) = match d.key.family {
        Family::Inet => {
            let error = IcmpError::TimeExceeded;
            let may = build::error::may_answer_v4(d);
            (may, build::error::icmp(&mut buffer, link, ROUTER_V4, error, d, frame))
        }
        Family::Inet6 => {
            let may = build::error::may_answer_v6(d, error);
            (may, build::error::icmpv6(&mut buffer, link, ROUTER_V6, error, d, frame))
        }
    };
    let length = length.expect("fits");
    if may {
        let reply = take_back(&buffer[..length]);
        assert_eq!(reply.key.dst, d.key.src);
        assert!(reply.l3_length <= 1280);
        assert!(
            !build::error::may_answer_v4(&reply) && !build::error::may_answer_v6(&reply, error)
        );
    }

    if build::tcp::may_reset(d) {
        let length = build::tcp::reset(&mut buffer, link, d, frame).expect("fits");
        let reply = take_back(&buffer[..length]);
        assert_eq!(reply.key.protocol, protocol::TCP);
        assert_eq!((reply.key.src_port, reply.key.dst_port), (d.key.dst_port, d.key.src_port));
    }
}

/// Makes the IPv4 header checksum right, so that damage is seen by what comes after it.
pub fn mend(frame: &mut [u8]) {
    let Ok(link) = decode::link(frame) else { return };
    let start = usize::from(link.l3_offset);
    let Some(first) = frame.get(start) else { return };
    let end = start + usize::from(first & 0xf) * 4;
    if link.ethertype == ethernet::IPV4 && end >= start + 20 && end <= frame.len() {
        let checksum = checksum::ipv4_header(&frame[start..end]);
        frame[start + 10..start + 12].copy_from_slice(&checksum.to_be_bytes());
    }
}

//! Filters that look at the state of connections. The numbers are those of the conformance list.

use etherparse::{Icmpv4Type, PacketBuilder, icmpv4::DestUnreachableHeader};
use sluice_policy::{DropReason, Stage};

use crate::router::{Router, mac, station};
use crate::{PORTS, asked, router, state};

/// From `p0` anything, from elsewhere answers alone.
const STATEFUL: &str = "
filters:
  forward:
    stateful: true
    default: drop
    rules:
      - { name: out, in: p0, action: accept }
";

fn stateful() -> Router {
    router(STATEFUL, vec![])
}

const SYN: u8 = 1;
const ACK: u8 = 2;
const FIN: u8 = 4;
const RST: u8 = 8;

/// A segment between the stations of two ports; `p0`'s has port 4000, others 80.
fn tcp(from: u8, to: u8, flags: u8, sequence: u32, acknowledgement: u32, data: &[u8]) -> Vec<u8> {
    let port = |side: u8| if side == 0 { 4000 } else { 80 };
    let mut builder = PacketBuilder::ethernet2(station(from.into()), mac(from.into()))
        .ipv4([10, 0, from, 2], [10, 0, to, 2], 64)
        .tcp(port(from), port(to), sequence, 8192);
    if flags & SYN != 0 {
        builder = builder.syn();
    }
    if flags & ACK != 0 {
        builder = builder.ack(acknowledgement);
    }
    if flags & FIN != 0 {
        builder = builder.fin();
    }
    if flags & RST != 0 {
        builder = builder.rst();
    }
    let mut frame = Vec::new();
    builder.write(&mut frame, data).unwrap();
    frame
}

/// A datagram between the stations of two ports.
fn udp(from: u8, to: u8, ports: (u16, u16)) -> Vec<u8> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(station(from.into()), mac(from.into()))
        .ipv4([10, 0, from, 2], [10, 0, to, 2], 64)
        .udp(ports.0, ports.1)
        .write(&mut frame, b"data")
        .unwrap();
    frame
}

#[track_caller]
fn passes(router: &mut Router, from: u8, frame: &[u8]) {
    let to = router.forward(from.into(), frame).expect("it is forwarded").0;
    assert_ne!(to, u16::from(from), "it is forwarded and not answered");
}

#[track_caller]
fn dies(router: &mut Router, from: u8, frame: &[u8], reason: DropReason) {
    let before = router.dropped(reason);
    assert_eq!(router.forward(from.into(), frame), None, "no answer, no packet");
    assert_eq!(router.dropped(reason), before + 1, "dropped as {}", reason.name());
}

/// A connection from `p0` to `p1`, open.
fn open(router: &mut Router) {
    passes(router, 0, &tcp(0, 1, SYN, 1000, 0, b""));
    passes(router, 1, &tcp(1, 0, SYN | ACK, 5000, 1001, b""));
    passes(router, 0, &tcp(0, 1, ACK, 1001, 5001, b""));
}

#[test]
fn conformance_96_97_answers_pass_and_nothing_else() {
    let mut router = stateful();
    dies(&mut router, 1, &udp(1, 0, (53, 4000)), DropReason::ForwardFilter);
    passes(&mut router, 0, &udp(0, 1, (4000, 53)));
    for _ in 0..4 {
        passes(&mut router, 1, &udp(1, 0, (53, 4000)));
        passes(&mut router, 0, &udp(0, 1, (4000, 53)));
    }
    dies(&mut router, 1, &udp(1, 0, (54, 4000)), DropReason::ForwardFilter);
    dies(&mut router, 1, &udp(1, 0, (53, 4001)), DropReason::ForwardFilter);
    dies(&mut router, 2, &udp(2, 0, (53, 4000)), DropReason::ForwardFilter);
    let policy = &router.generation.policy;
    let slot = |name: &str| policy.rules().find(|rule| rule.name == name).unwrap().slot;
    assert_eq!(router.statistics.rule(slot("out")).0, 1, "the first packet alone is new");
    assert_eq!(router.statistics.rule(slot("stateful:established")).0, 8);
    router.assert_balanced();
}

#[test]
fn conformance_99_a_connection_opens_moves_data_and_closes() {
    let mut router = stateful();
    open(&mut router);
    let before = asked(&router, Stage::ForwardFilter);
    for i in 0..20 {
        passes(&mut router, 0, &tcp(0, 1, ACK, 1001 + 100 * i, 5001 + 100 * i, &[1; 100]));
        passes(&mut router, 1, &tcp(1, 0, ACK, 5001 + 100 * i, 1101 + 100 * i, &[2; 100]));
    }
    assert_eq!(asked(&router, Stage::ForwardFilter), before, "all of that is known");
    passes(&mut router, 0, &tcp(0, 1, FIN | ACK, 3001, 7001, b""));
    passes(&mut router, 1, &tcp(1, 0, FIN | ACK, 7001, 3002, b""));
    passes(&mut router, 0, &tcp(0, 1, ACK, 3002, 7002, b""));
    router.assert_balanced();
}

#[test]
fn conformance_100_segments_of_no_connection_are_invalid() {
    let mut router = stateful();
    for flags in [ACK, FIN | ACK, RST, SYN | ACK, 0, SYN | FIN, SYN | RST] {
        for (from, to) in [(0, 1), (1, 0)] {
            dies(&mut router, from, &tcp(from, to, flags, 7, 8, b""), DropReason::InvalidState);
        }
    }
}

#[test]
fn conformance_101_what_is_out_of_the_window_is_dropped_and_the_connection_lives() {
    let mut router = stateful();
    open(&mut router);
    let far = tcp(1, 0, ACK, 5001 + 1_000_000, 1001, b"data");
    dies(&mut router, 1, &far, DropReason::InvalidState);
    let reset = tcp(1, 0, RST, 5001 + 1_000_000, 0, b"");
    dies(&mut router, 1, &reset, DropReason::InvalidState);
    passes(&mut router, 1, &tcp(1, 0, ACK, 5001, 1001, b"data"));
}

#[test]
fn conformance_103_errors_about_a_connection_pass() {
    let mut router = stateful();
    let sent = udp(0, 1, (4000, 53));
    let error = |quoted: &[u8]| {
        let mut frame = Vec::new();
        PacketBuilder::ethernet2(station(1), mac(1))
            .ipv4([10, 0, 1, 2], [10, 0, 0, 2], 64)
            .icmpv4(Icmpv4Type::DestinationUnreachable(DestUnreachableHeader::Port))
            .write(&mut frame, quoted)
            .unwrap();
        frame
    };
    dies(&mut router, 1, &error(&sent[14..]), DropReason::InvalidState);
    passes(&mut router, 0, &sent);
    passes(&mut router, 1, &error(&sent[14..]));
    dies(&mut router, 1, &error(&udp(0, 1, (4001, 53))[14..]), DropReason::InvalidState);
}

#[test]
fn conformance_110_a_wrong_checksum_opens_nothing() {
    let mut router = stateful();
    let mut forged = tcp(0, 1, SYN, 1000, 0, b"");
    forged[50] ^= 0x55;
    // The port completes checksums that were left to hardware, and takes others as they are.
    dies(&mut router, 0, &forged, DropReason::InvalidState);
    dies(&mut router, 1, &tcp(1, 0, SYN | ACK, 5000, 1001, b""), DropReason::InvalidState);
}

/// The fragments of a datagram of 48 bytes from one station to another.
fn fragments(from: u8, to: u8, destination_port: u16) -> Vec<Vec<u8>> {
    let mut datagram = [0; 48];
    datagram[..8].copy_from_slice(&[0x0f, 0xa0, 0, 0, 0, 48, 0, 0]);
    datagram[2..4].copy_from_slice(&destination_port.to_be_bytes());
    let piece = |i: usize| {
        let mut header = etherparse::Ipv4Header::new(
            16,
            64,
            etherparse::ip_number::UDP,
            [10, 0, from, 2],
            [10, 0, to, 2],
        )
        .unwrap();
        header.identification = 77;
        header.more_fragments = i < 2;
        header.fragment_offset = (2 * i as u16).try_into().unwrap();
        let mut frame = Vec::new();
        etherparse::Ethernet2Header {
            source: station(from.into()),
            destination: mac(from.into()),
            ether_type: etherparse::EtherType::IPV4,
        }
        .write(&mut frame)
        .unwrap();
        header.header_checksum = header.calc_header_checksum();
        header.write(&mut frame).unwrap();
        frame.extend(&datagram[16 * i..16 * (i + 1)]);
        frame
    };
    (0..3).map(piece).collect()
}

#[test]
fn conformance_105_106_fragments_share_the_fate_of_their_first() {
    for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2]] {
        let mut router = stateful();
        let pieces = fragments(0, 1, 53);
        let sent: Vec<_> = order.iter().map(|&i| pieces[i].clone()).collect();
        let mut out = router.receive(0, &sent).remove(&1).unwrap_or_default();
        out.extend(router.pass_time(1).remove(&1).unwrap_or_default());
        assert_eq!(out.len(), 3, "{order:?}");
        // Nobody asked for these.
        let denied = router.receive(2, &fragments(2, 0, 53));
        assert!(denied.is_empty());
        std::thread::sleep(std::time::Duration::from_millis(60));
        assert!(router.pass_time(1).is_empty());
        router.assert_balanced();
    }
}

#[test]
fn conformance_106_a_lone_later_fragment_goes_nowhere() {
    let mut router = stateful();
    assert!(router.receive(0, &fragments(0, 1, 53)[1..]).is_empty());
    std::thread::sleep(std::time::Duration::from_millis(60));
    assert!(router.pass_time(1).is_empty());
    assert_eq!(router.dropped(DropReason::InvalidState), 2);
    router.assert_balanced();
}

#[test]
fn conformance_115_an_open_connection_outlives_the_rule_that_let_it_in() {
    let mut router = stateful();
    open(&mut router);
    let none = STATEFUL.replace("in: p0, action: accept", "in: p2, action: accept");
    router.commit(&state(&none));
    passes(&mut router, 1, &tcp(1, 0, ACK, 5001, 1001, b"data"));
    passes(&mut router, 0, &tcp(0, 1, ACK, 1001, 5005, b"more"));
    dies(&mut router, 0, &udp(0, 1, (4000, 53)), DropReason::ForwardFilter);
    let ingress = "  ingress: { rules: [{ in: p0, protocol: tcp, action: drop }] }\n";
    router.commit(&state(&format!("{none}{ingress}")));
    dies(&mut router, 0, &tcp(0, 1, ACK, 1005, 5005, b"more"), DropReason::IngressFilter);
    router.commit(&state(&none));
    passes(&mut router, 0, &tcp(0, 1, ACK, 1005, 5005, b"more"));
}

#[test]
fn r8_f13_a_flood_of_syns_puts_out_no_open_connection() {
    let mut router = stateful();
    open(&mut router);
    // The table has room for 1,024.
    let syn = |n: u32| {
        let [_, _, high, low] = n.to_be_bytes();
        let mut frame = Vec::new();
        PacketBuilder::ethernet2(station(0), mac(0))
            .ipv4([10, 0, 0, 2], [10, 0, 1, 2], 64)
            .tcp(u16::from_be_bytes([high, low]), 81, n, 1024)
            .syn()
            .write(&mut frame, b"")
            .unwrap();
        frame
    };
    let flood: Vec<_> = (1..10_000).map(syn).collect();
    for burst in flood.chunks(500) {
        assert_eq!(router.receive(0, burst)[&1].len(), burst.len(), "all of it is forwarded");
        passes(&mut router, 1, &tcp(1, 0, ACK, 5001, 1001, b"data"));
    }
    // The next one has its place at once.
    passes(&mut router, 0, &udp(0, 1, (4000, 53)));
    passes(&mut router, 1, &udp(1, 0, (53, 4000)));
    router.assert_balanced();
}

#[test]
fn the_router_itself_is_answered_for() {
    let ingress = format!(
        "{PORTS}
filters:
  ingress: {{ stateful: true, default: drop, rules: [{{ protocol: icmp, action: accept }}] }}
  egress: {{ stateful: true, default: drop }}
"
    );
    let mut router = router(&ingress[PORTS.len()..], vec![]);
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(station(0), mac(0))
        .ipv4([10, 0, 0, 2], [10, 0, 0, 1], 64)
        .icmpv4_echo_request(7, 1)
        .write(&mut frame, b"ping")
        .unwrap();
    let (port, answer) = router.forward(0, &frame).expect("an echo reply");
    assert_eq!((port, answer[34]), (0, 0));
    router.assert_balanced();
}

//! Packets through the whole pipeline, in process: what leaves, what is dropped and by what name.

mod router;

use etherparse::{Icmpv4Type, PacketBuilder, SlicedPacket, TransportSlice};
use router::{Router, mac, ports, position, station};
use sluice_policy::DropReason;
use sluice_policy::model::{
    Action, DEFAULT_INSTANCE, Filter, FilterKey, FilterPoint, NextHop, Owner, Route, RouteKey,
    Rule, State, Target,
};

/// Nothing on a packet's way allocates: the test program ends if it does (R7).
#[cfg(debug_assertions)]
#[global_allocator]
static ALLOCATOR: assert_no_alloc::AllocDisabler = assert_no_alloc::AllocDisabler;

const LAN: &[&str] = &["10.0.0.1/24", "fd00:0::1/64"];
const WAN: &[&str] = &["10.0.1.1/24", "fd00:1::1/64"];

fn two_ports() -> State {
    ports(&[(LAN, 1500), (WAN, 1500)])
}

fn ready(state: &State) -> Router {
    let mut router = Router::new(state);
    router.know(0, "10.0.0.2");
    router.know(1, "10.0.1.2");
    router.know(0, "fd00:0::2");
    router.know(1, "fd00:1::2");
    router
}

fn udp4(src: [u8; 4], dst: [u8; 4], ttl: u8, payload: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2(station(0), mac(0)).ipv4(src, dst, ttl).udp(5000, 6000);
    let mut frame = Vec::new();
    builder.write(&mut frame, payload).unwrap();
    frame
}

fn udp6(src: &str, dst: &str, hop_limit: u8, payload: &[u8]) -> Vec<u8> {
    let address = |text: &str| text.parse::<std::net::Ipv6Addr>().unwrap().octets();
    let builder = PacketBuilder::ethernet2(station(0), mac(0))
        .ipv6(address(src), address(dst), hop_limit)
        .udp(5000, 6000);
    let mut frame = Vec::new();
    builder.write(&mut frame, payload).unwrap();
    frame
}

fn ipv4_of(frame: &[u8]) -> (etherparse::Ipv4Header, Vec<u8>) {
    let (_, rest) = etherparse::Ethernet2Header::from_slice(frame).unwrap();
    let (header, payload) = etherparse::Ipv4Header::from_slice(rest).unwrap();
    assert_eq!(header.header_checksum, header.calc_header_checksum(), "IPv4 checksum");
    (header, payload.to_vec())
}

#[test]
fn conformance_19_a_good_packet_changes_in_ttl_checksum_and_macs_alone() {
    let mut router = ready(&two_ports());
    let frame = udp4([10, 0, 0, 2], [10, 0, 1, 2], 64, b"hello");
    let (port, out) = router.forward(0, &frame).expect("it is forwarded");
    assert_eq!(port, 1);
    assert_eq!(out[..6], station(1));
    assert_eq!(out[6..12], mac(1));
    let (header, _) = ipv4_of(&out);
    assert_eq!(header.time_to_live, 63);
    let mut expected = frame.clone();
    expected[..12].copy_from_slice(&out[..12]);
    expected[22] = 63;
    expected[24..26].copy_from_slice(&out[24..26]);
    assert_eq!(out, expected, "every other byte is as it was");
    router.assert_balanced();
}

/// The frame as the first fragment of a longer datagram.
fn first_fragment(mut frame: Vec<u8>) -> Vec<u8> {
    let (mut header, _) = etherparse::Ipv4Header::from_slice(&frame[14..]).unwrap();
    header.more_fragments = true;
    header.header_checksum = header.calc_header_checksum();
    frame[14..34].copy_from_slice(&header.to_bytes());
    frame
}

#[test]
fn r14_a_packet_of_another_kind_does_not_overtake_its_flow() {
    let mut state = two_ports();
    let key = RouteKey::main(DEFAULT_INSTANCE, "192.0.2.0/24".parse().unwrap(), Owner::Static);
    let hop = NextHop { via: Some("10.0.1.2".parse().unwrap()), interface: None, weight: 1 };
    let target = Target::NextHops([hop].into());
    state.routes.insert(key, Route::new(target, &Owner::Static, position()));
    let mut router = ready(&state);
    let frame = |i: u8| {
        let whole = udp4([10, 0, 0, 2], [192, 0, 2, 1], 64, &[i; 16]);
        if i % 3 == 1 { first_fragment(whole) } else { whole }
    };
    let frames: Vec<_> = (0..20).map(frame).collect();
    let out = router.receive(0, &frames);
    let order: Vec<u8> = out[&1].iter().map(|frame| *frame.last().unwrap()).collect();
    assert_eq!(order, (0..20).collect::<Vec<u8>>());
    assert!(out[&1].iter().all(|frame| ipv4_of(frame).0.time_to_live == 63));
    router.assert_balanced();
}

#[test]
fn conformance_63_ipv6_changes_in_hop_limit_and_macs_alone() {
    let mut router = ready(&two_ports());
    let frame = udp6("fd00:0::2", "fd00:1::2", 64, b"hello");
    let (port, out) = router.forward(0, &frame).expect("it is forwarded");
    assert_eq!(port, 1);
    let mut expected = frame.clone();
    expected[..12].copy_from_slice(&out[..12]);
    expected[21] = 63;
    assert_eq!(out, expected);
    router.assert_balanced();
}

#[test]
fn conformance_14_padding_is_not_carried_over() {
    let mut router = ready(&two_ports());
    let mut frame = udp4([10, 0, 0, 2], [10, 0, 1, 2], 64, b"");
    let length = frame.len();
    frame.resize(60, 0xaa);
    let (_, out) = router.forward(0, &frame).unwrap();
    assert_eq!(out.len(), length);
}

#[test]
fn a_burst_of_64_keeps_its_order() {
    let mut router = ready(&two_ports());
    let frames: Vec<_> = (0..200u8).map(|n| udp4([10, 0, 0, 2], [10, 0, 1, 2], 64, &[n])).collect();
    let out = router.receive(0, &frames);
    let payloads: Vec<u8> = out[&1].iter().map(|frame| frame[42]).collect();
    assert_eq!(payloads, (0..200).collect::<Vec<u8>>());
    router.assert_balanced();
}

#[test]
fn conformance_27_ttl_1_draws_time_exceeded_from_the_ingress_address() {
    let mut router = ready(&two_ports());
    let frame = udp4([10, 0, 0, 2], [10, 0, 1, 2], 1, b"probe");
    let (port, out) = router.forward(0, &frame).expect("an ICMP error");
    assert_eq!(port, 0);
    let (header, payload) = ipv4_of(&out);
    assert_eq!((header.source, header.destination), ([10, 0, 0, 1], [10, 0, 0, 2]));
    let icmp = etherparse::Icmpv4Slice::from_slice(&payload).unwrap();
    assert!(matches!(icmp.icmp_type(), Icmpv4Type::TimeExceeded(_)));
    assert_eq!(icmp.payload(), &frame[14..], "it quotes the packet as it came");
    assert_eq!(router.dropped(DropReason::HopLimitExceeded), 1);
    router.assert_balanced();
}

#[test]
fn r9_conformance_36_a_burst_of_expired_packets_draws_few_errors() {
    let mut router = ready(&two_ports());
    let frames = vec![udp4([10, 0, 0, 2], [10, 0, 1, 2], 1, b"probe"); 600];
    let errors = router.receive(0, &frames).remove(&0).unwrap_or_default().len();
    assert!((1..360).contains(&errors), "{errors} errors for 600 packets");
    assert_eq!(router.dropped(DropReason::HopLimitExceeded), 600);
    router.assert_balanced();
}

#[test]
fn conformance_38_no_route_draws_network_unreachable() {
    let mut router = ready(&two_ports());
    let (port, out) = router.forward(0, &udp4([10, 0, 0, 2], [192, 0, 2, 1], 9, b"")).unwrap();
    let (_, payload) = ipv4_of(&out);
    assert_eq!((port, payload[0], payload[1]), (0, 3, 0));
    assert_eq!(router.dropped(DropReason::NoRoute), 1);
    router.assert_balanced();
}

#[test]
fn conformance_40_too_big_with_df_draws_the_mtu() {
    let mut router = ready(&ports(&[(LAN, 1500), (WAN, 1280)]));
    let mut frame = udp4([10, 0, 0, 2], [10, 0, 1, 2], 64, &[7; 1400]);
    frame[20] |= 0x40;
    fix_ipv4_checksum(&mut frame);
    let (port, out) = router.forward(0, &frame).expect("an ICMP error");
    let (_, payload) = ipv4_of(&out);
    assert_eq!((port, payload[0], payload[1]), (0, 3, 4));
    assert_eq!(u16::from_be_bytes([payload[6], payload[7]]), 1280);
    assert_eq!(router.dropped(DropReason::FragmentationNeeded), 1);
    router.assert_balanced();
}

#[test]
fn conformance_65_ipv6_too_big_draws_packet_too_big() {
    let mut router = ready(&ports(&[(LAN, 1500), (WAN, 1280)]));
    let frame = udp6("fd00:0::2", "fd00:1::2", 64, &[7; 1400]);
    let (port, out) = router.forward(0, &frame).expect("an ICMPv6 error");
    assert_eq!((port, out[54], out[55]), (0, 2, 0));
    assert_eq!(out[58..62], 1280u32.to_be_bytes());
    router.assert_balanced();
}

#[test]
fn conformance_30_echo_to_a_far_own_address_is_answered_from_it() {
    let mut router = ready(&two_ports());
    let builder = PacketBuilder::ethernet2(station(0), mac(0))
        .ipv4([10, 0, 0, 2], [10, 0, 1, 1], 1)
        .icmpv4_echo_request(77, 3);
    let mut frame = Vec::new();
    builder.write(&mut frame, b"data").unwrap();
    let (port, out) = router.forward(0, &frame).expect("a reply, although the TTL is 1");
    assert_eq!(port, 0);
    let sliced = SlicedPacket::from_ethernet(&out).unwrap();
    let Some(TransportSlice::Icmpv4(icmp)) = sliced.transport else { panic!("ICMP") };
    assert!(
        matches!(icmp.icmp_type(), Icmpv4Type::EchoReply(echo) if (echo.id, echo.seq) == (77, 3))
    );
    assert_eq!(icmp.payload(), b"data");
    let (header, _) = ipv4_of(&out);
    assert_eq!((header.source, header.destination), ([10, 0, 1, 1], [10, 0, 0, 2]));
    router.assert_balanced();
}

#[test]
fn conformance_1_and_3_arp_is_answered_for_own_addresses_of_the_link_alone() {
    let mut router = ready(&two_ports());
    let request = |target: [u8; 4]| {
        let mut frame = [[0xff; 6], station(0)].concat();
        frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
        frame.extend(station(0));
        frame.extend([10, 0, 0, 2]);
        frame.extend([0; 6]);
        frame.extend(target);
        frame
    };
    let (port, out) = router.forward(0, &request([10, 0, 0, 1])).expect("a reply");
    assert_eq!(port, 0);
    assert_eq!(out[..6], station(0));
    assert_eq!(out[20..22], [0, 2]);
    assert_eq!(out[22..28], mac(0));
    assert_eq!(out[28..32], [10, 0, 0, 1]);
    assert_eq!(router.forward(0, &request([10, 0, 1, 1])), None, "another port's address");
    assert_eq!(router.forward(0, &request([10, 0, 0, 9])), None, "somebody else's address");
    router.assert_balanced();
}

#[test]
fn conformance_4_a_packet_to_an_unknown_neighbour_is_held_until_it_answers() {
    let mut router = Router::new(&two_ports());
    let frame = udp4([10, 0, 0, 2], [10, 0, 1, 9], 64, b"patience");
    assert_eq!(router.forward(0, &frame), None);
    assert_eq!(router.statistics.worker(0).core().held.get(), 1);
    router.assert_balanced();

    let asked = router.pass_time(1).remove(&1).expect("an ARP request");
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0][12..14], [8, 6]);
    assert_eq!(asked[0][38..42], [10, 0, 1, 9]);

    let mut reply = [mac(1), station(1)].concat();
    reply.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 2]);
    reply.extend(station(1));
    reply.extend([10, 0, 1, 9]);
    reply.extend(mac(1));
    reply.extend([10, 0, 1, 1]);
    assert_eq!(router.forward(1, &reply), None);
    let released = router.pass_time(1).remove(&1).expect("the packet that was held");
    assert_eq!(released[0][..6], station(1));
    assert_eq!(&released[0][42..], b"patience");
    router.assert_balanced();
}

#[test]
fn a_later_packet_does_not_overtake_those_that_were_held() {
    let mut router = Router::new(&two_ports());
    let frame = |n: u8| udp4([10, 0, 0, 2], [10, 0, 1, 9], 64, &[n]);
    assert_eq!(router.receive(0, &[frame(1), frame(2)]).len(), 0);
    router.know(1, "10.0.1.9");
    let out = router.receive(0, &[frame(3), frame(4)]);
    let order: Vec<u8> = out[&1].iter().map(|frame| frame[42]).collect();
    assert_eq!(order, [1, 2, 3, 4]);
    router.assert_balanced();
}

#[test]
fn a_held_packet_is_routed_anew_when_policy_changes_meanwhile() {
    let via = |address: &str| {
        let mut state = two_ports();
        let key = RouteKey::main(DEFAULT_INSTANCE, "192.0.2.0/24".parse().unwrap(), Owner::Static);
        let hop = NextHop { via: Some(address.parse().unwrap()), interface: None, weight: 1 };
        let target = Target::NextHops([hop].into());
        state.routes.insert(key, Route::new(target, &Owner::Static, position()));
        state
    };
    let mut router = Router::new(&via("10.0.1.9"));
    router.know(0, "10.0.0.7");
    assert_eq!(router.forward(0, &udp4([10, 0, 0, 2], [192, 0, 2, 1], 64, b"late")), None);
    router.commit(&via("10.0.0.7"));
    let released = router.pass_time(1);
    assert_eq!(released[&0][0][..6], station(0), "by the next hop of the new generation");
    let (header, _) = ipv4_of(&released[&0][0]);
    assert_eq!(header.time_to_live, 63, "one hop, however often it was routed");
    router.assert_balanced();
}

#[test]
fn conformance_6_a_mute_neighbour_draws_host_unreachable() {
    let mut router = Router::new(&two_ports());
    router.know(0, "10.0.0.2");
    assert_eq!(router.forward(0, &udp4([10, 0, 0, 2], [10, 0, 1, 9], 64, b"")), None);
    let mut errors = Vec::new();
    for _ in 0..8 {
        errors.extend(router.pass_time(500).remove(&0).unwrap_or_default());
    }
    assert_eq!(errors.len(), 1);
    let (_, payload) = ipv4_of(&errors[0]);
    assert_eq!((payload[0], payload[1]), (3, 1));
    assert_eq!(router.dropped(DropReason::NeighbourUnresolved), 1);
    router.assert_balanced();
}

#[test]
fn conformance_69_a_solicitation_for_an_own_address_is_answered() {
    let mut router = ready(&two_ports());
    let mut solicitation = vec![0; 128];
    let length = sluice_packet::build::nd::solicitation(
        &mut solicitation,
        0,
        station(0),
        "fd00:0::2".parse().unwrap(),
        "fd00:0::1".parse().unwrap(),
    )
    .unwrap();
    solicitation.truncate(length);
    let (port, out) = router.forward(0, &solicitation).expect("an advertisement");
    assert_eq!((port, &out[..6]), (0, &station(0)[..]));
    assert_eq!((out[21], out[54]), (255, 136), "hop limit and type");
    assert_eq!(out[58] & 0xe0, 0xe0, "router, solicited, override");
    router.assert_balanced();
}

#[test]
fn conformance_13_a_frame_for_another_station_is_not_ours() {
    let mut router = ready(&two_ports());
    let mut frame = udp4([10, 0, 0, 2], [10, 0, 1, 2], 64, b"");
    frame[5] = 0x77;
    assert_eq!(router.forward(0, &frame), None);
    assert_eq!(router.dropped(DropReason::ForeignMac), 1);
    router.assert_balanced();
}

#[test]
fn a_super_packet_is_dropped_by_its_own_name() {
    let mut router = ready(&two_ports());
    let mut frame = udp4([10, 0, 0, 2], [10, 0, 1, 2], 64, &[1; 1600]);
    assert_eq!(router.forward(0, &frame), None);
    // The same, cut off by the ring that it came through.
    frame.truncate(1514);
    assert_eq!(router.forward(0, &frame), None);
    assert_eq!(router.dropped(DropReason::SuperPacket), 2);
    router.assert_balanced();
}

#[test]
fn a_partial_checksum_is_completed_on_the_way() {
    let mut router = ready(&two_ports());
    let good = udp4([10, 0, 0, 2], [10, 0, 1, 2], 64, b"payload");
    let mut partial = good.clone();
    // The folded sum of the pseudo-header, not complemented: what a kernel leaves to hardware.
    let words = [0x0a00u32, 0x0002, 0x0a00, 0x0102, 17, 8 + 7];
    let sum: u32 = words.iter().sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    partial[40..42].copy_from_slice(&(folded as u16).to_be_bytes());
    let (_, out) = router.forward(0, &partial).unwrap();
    assert_eq!(out[40..42], good[40..42]);
}

fn drop_rule(name: &str, action: Action) -> Rule {
    Rule {
        name: name.into(),
        input: vec![],
        output: vec![],
        source: vec![],
        destination: vec!["10.0.1.0/24".parse().unwrap()],
        protocol: vec![17],
        source_port: vec![],
        destination_port: vec![6000..=6000],
        tcp_flags: None,
        icmp: vec![],
        state: vec![],
        sets: Default::default(),
        action,
        limit: None,
        log: false,
        position: position(),
    }
}

fn with_filter(point: FilterPoint, action: Action) -> State {
    let mut state = two_ports();
    let key = FilterKey { instance: DEFAULT_INSTANCE.into(), point };
    let filter = Filter {
        default: Action::Accept,
        stateful: None,
        rules: vec![drop_rule("no-6000", action)],
        sets: Default::default(),
    };
    state.filters.insert(key, filter);
    state
}

#[test]
fn each_filter_drops_under_its_own_name_and_counts_by_rule() {
    for (point, reason) in [
        (FilterPoint::Ingress, DropReason::IngressFilter),
        (FilterPoint::Forward, DropReason::ForwardFilter),
        (FilterPoint::Egress, DropReason::EgressFilter),
    ] {
        let mut router = ready(&with_filter(point, Action::Drop));
        let frame = udp4([10, 0, 0, 2], [10, 0, 1, 2], 64, b"");
        assert_eq!(router.forward(0, &frame), None);
        assert_eq!(router.dropped(reason), 1);
        let slot = router.generation.policy.rules().find(|r| r.name == "no-6000").unwrap().slot;
        assert_eq!(router.statistics.rule(slot), (1, 28));
        router.assert_balanced();
    }
}

#[test]
fn reject_tells_the_sender() {
    let mut router = ready(&with_filter(FilterPoint::Forward, Action::Reject));
    let (port, out) = router.forward(0, &udp4([10, 0, 0, 2], [10, 0, 1, 2], 64, b"")).unwrap();
    let (_, payload) = ipv4_of(&out);
    assert_eq!((port, payload[0], payload[1]), (0, 3, 13));
    router.assert_balanced();
}

#[test]
fn flows_spread_over_two_next_hops_and_stay() {
    let mut state = two_ports();
    let hop = |via: &str| NextHop { via: Some(via.parse().unwrap()), interface: None, weight: 1 };
    let key = RouteKey::main(DEFAULT_INSTANCE, "192.0.2.0/24".parse().unwrap(), Owner::Static);
    let target = Target::NextHops([hop("10.0.1.2"), hop("10.0.0.2")].into());
    state.routes.insert(key, Route::new(target, &Owner::Static, position()));
    let mut router = ready(&state);
    let frames: Vec<_> = (0..=255).map(|n| udp4([10, 0, 0, 2], [192, 0, 2, n], 64, b"")).collect();
    let first = router.receive(0, &frames);
    let shares: Vec<usize> = first.values().map(Vec::len).collect();
    assert!(shares.len() == 2 && shares.iter().all(|n| (64..=192).contains(n)), "{shares:?}");
    assert_eq!(router.receive(0, &frames), first, "a flow keeps its next hop");
    router.assert_balanced();
}

#[test]
fn a_segment_to_the_router_is_reset_and_a_datagram_refused() {
    let mut router = ready(&two_ports());
    let builder = PacketBuilder::ethernet2(station(0), mac(0))
        .ipv4([10, 0, 0, 2], [10, 0, 0, 1], 64)
        .tcp(4000, 179, 100, 1024)
        .syn();
    let mut frame = Vec::new();
    builder.write(&mut frame, b"").unwrap();
    let (_, out) = router.forward(0, &frame).expect("a reset");
    let sliced = SlicedPacket::from_ethernet(&out).unwrap();
    let Some(TransportSlice::Tcp(tcp)) = sliced.transport else { panic!("TCP") };
    assert!(tcp.rst() && tcp.ack() && tcp.acknowledgment_number() == 101);
    let (_, out) = router.forward(0, &udp4([10, 0, 0, 2], [10, 0, 0, 1], 64, b"")).unwrap();
    let (_, payload) = ipv4_of(&out);
    assert_eq!((payload[0], payload[1]), (3, 3));
    assert_eq!(router.dropped(DropReason::LocalUnreachable), 2);
    router.assert_balanced();
}

#[test]
fn vlans_are_taken_off_and_put_on() {
    let mut state = two_ports();
    let mut vlan = state.interfaces["p1"].clone();
    vlan.vlan = Some(10);
    vlan.addresses = vec!["10.0.10.1/24".parse().unwrap()];
    state.interfaces.insert("p1.10".into(), vlan);
    let mut router = ready(&state);
    let interface = router.generation.policy.interface_named("p1.10").unwrap().id;
    let address = sluice_packet::descriptor::number_of("10.0.10.2".parse().unwrap());
    router
        .resolver
        .static_entry(interface, sluice_packet::Family::Inet, address, station(1), 0, &mut vec![])
        .unwrap();
    let frame = udp4([10, 0, 0, 2], [10, 0, 10, 2], 64, b"tagged");
    let (port, out) = router.forward(0, &frame).expect("it leaves with a tag");
    assert_eq!((port, &out[12..18]), (1, &[0x81, 0, 0, 10, 8, 0][..]));

    let mut back = out.clone();
    back[..6].copy_from_slice(&mac(1));
    back[6..12].copy_from_slice(&station(1));
    let (src, dst): ([u8; 4], [u8; 4]) = ([10, 0, 10, 2], [10, 0, 0, 2]);
    back[30..34].copy_from_slice(&src);
    back[34..38].copy_from_slice(&dst);
    fix_checksum_at(&mut back, 18);
    let (port, out) = router.forward(1, &back).expect("it leaves without one");
    assert_eq!((port, &out[12..14]), (0, &[8, 0][..]));
    back[15] = 11;
    assert_eq!(router.forward(1, &back), None);
    assert_eq!(router.dropped(DropReason::VlanUnknown), 1);
    router.assert_balanced();
}

fn fix_ipv4_checksum(frame: &mut [u8]) {
    fix_checksum_at(frame, 14);
}

fn fix_checksum_at(frame: &mut [u8], l3_offset: usize) {
    let header = etherparse::Ipv4HeaderSlice::from_slice(&frame[l3_offset..]).unwrap().to_header();
    let checksum = header.calc_header_checksum().to_be_bytes();
    frame[l3_offset + 10..l3_offset + 12].copy_from_slice(&checksum);
}

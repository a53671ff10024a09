//! The short way, through the whole pipeline in process: packets of a known connection are treated
//! as the stages would, whatever moves between them.

mod hardness;
mod hooks;
mod limits;
#[path = "../router/mod.rs"]
mod router;
mod stateful;

use etherparse::PacketBuilder;
use router::{Registration, Router, mac, station};
use sluice_policy::config;
use sluice_policy::model::State;
use sluice_policy::{DropReason, Stage};

/// Nothing on a packet's way allocates: the test program ends if it does (R7).
#[cfg(debug_assertions)]
#[global_allocator]
static ALLOCATOR: assert_no_alloc::AllocDisabler = assert_no_alloc::AllocDisabler;

/// Three ports: `p0` 10.0.0.0/24, `p1` 10.0.1.0/24, `p2` 10.0.2.0/24, and their like in IPv6.
const PORTS: &str = "
ports:
  p0: { device: net_null0, addresses: [10.0.0.1/24, 'fd00:0::1/64'] }
  p1: { device: net_null1, addresses: [10.0.1.1/24, 'fd00:1::1/64'] }
  p2: { device: net_null2, addresses: [10.0.2.1/24, 'fd00:2::1/64'], mtu: 1280 }
";

/// A rule that makes flows worth remembering, about none of those here.
const ASIDE: &str = "
filters: { ingress: { rules: [{ protocol: sctp, action: drop }] } }
";

/// The state of a configuration over these ports.
fn state(policy: &str) -> State {
    let text = format!("{PORTS}{policy}");
    match config::read(text.as_bytes(), "test.yaml") {
        Ok(configuration) => configuration.state,
        Err(mistakes) => panic!("{mistakes}"),
    }
}

/// A router of which the stations `.2` on each link are known.
fn router(policy: &str, hooks: Vec<Registration>) -> Router {
    let mut router = Router::with_hooks(&state(policy), hooks);
    for port in 0..3 {
        router.know(port, &format!("10.0.{port}.2"));
        router.know(port, &format!("fd00:{port}::2"));
    }
    router
}

/// An IPv4 datagram between the stations of two ports, beginning with the IPv4 header.
fn udp(from: u8, to: u8, edit: impl FnOnce(&mut etherparse::Ipv4Header)) -> Vec<u8> {
    let mut header = etherparse::Ipv4Header::new(
        12,
        64,
        etherparse::ip_number::UDP,
        [10, 0, from, 2],
        [10, 0, to, 2],
    )
    .unwrap();
    edit(&mut header);
    let builder = PacketBuilder::ethernet2(station(from.into()), mac(from.into()))
        .ip(etherparse::IpHeaders::Ipv4(header, Default::default()))
        .udp(4000, 5000);
    let mut frame = Vec::new();
    builder.write(&mut frame, b"data").unwrap();
    frame
}

fn plain_udp() -> Vec<u8> {
    udp(0, 1, |_| {})
}

fn udp6() -> Vec<u8> {
    let address = |text: &str| text.parse::<std::net::Ipv6Addr>().unwrap().octets();
    let builder = PacketBuilder::ethernet2(station(0), mac(0))
        .ipv6(address("fd00:0::2"), address("fd00:1::2"), 64)
        .udp(4000, 5000);
    let mut frame = Vec::new();
    builder.write(&mut frame, b"data").unwrap();
    frame
}

/// Packets that a stage has been asked about.
fn asked(router: &Router, stage: Stage) -> u64 {
    router.statistics.worker(0).stage(stage).packets.get()
}

/// Has two packets pass, so that those that follow are known.
fn acquaint(router: &mut Router, frame: &[u8]) {
    for _ in 0..2 {
        assert!(router.forward(0, frame).is_some(), "it is forwarded");
    }
    let before = asked(router, Stage::Route);
    assert!(router.forward(0, frame).is_some(), "it is forwarded");
    assert_eq!(asked(router, Stage::Route), before, "it is known by now");
}

#[test]
fn the_third_packet_is_known_and_leaves_as_the_first_did() {
    for frame in [plain_udp(), udp6()] {
        let mut router = router(ASIDE, vec![]);
        let first = router.forward(0, &frame).unwrap();
        assert_eq!(asked(&router, Stage::Route), 1);
        for _ in 0..5 {
            assert_eq!(router.forward(0, &frame).unwrap(), first);
        }
        assert!(asked(&router, Stage::Route) <= 2);
        assert_eq!(asked(&router, Stage::Flow), 6);
        router.assert_balanced();
    }
}

#[test]
fn a_router_without_rules_remembers_nothing() {
    let mut router = router("", vec![]);
    for _ in 0..3 {
        assert!(router.forward(0, &plain_udp()).is_some());
    }
    assert_eq!((asked(&router, Stage::Flow), asked(&router, Stage::Route)), (0, 3));
}

#[test]
fn rules_count_packets_of_the_short_way() {
    let mut router = router(
        "
filters:
  ingress: { rules: [{ name: seen, protocol: udp, action: count }] }
  forward: { default: drop, rules: [{ name: let, protocol: udp, destination-port: 5000, action: accept }] }
  egress: { rules: [{ name: other, protocol: tcp, action: drop }] }
policy-routes:
  - { name: steered, protocol: udp, via: 10.0.1.2 }
",
        vec![],
    );
    for _ in 0..10 {
        assert!(router.forward(0, &plain_udp()).is_some());
    }
    let policy = &router.generation.policy;
    let count = |slot| router.statistics.rule(slot).0;
    for rule in policy.rules() {
        let expected = match rule.name {
            "seen" | "let" => 10,
            "default" if rule.point.stage() != Stage::ForwardFilter => 10,
            _ => 0,
        };
        assert_eq!(count(rule.slot), expected, "{} at {:?}", rule.name, rule.point);
    }
    let steered = policy.policy_routes().next().unwrap().slot;
    assert_eq!(router.statistics.rule(steered), (10, 320));
    assert!(asked(&router, Stage::ForwardFilter) <= 2);
}

#[test]
fn a_flow_that_a_new_rule_denies_stops_at_once() {
    let mut router = router(ASIDE, vec![]);
    acquaint(&mut router, &plain_udp());
    let denied = "filters: { forward: { rules: [{ protocol: udp, action: drop }] } }";
    router.commit(&state(denied));
    assert_eq!(router.forward(0, &plain_udp()), None);
    assert_eq!(router.dropped(DropReason::ForwardFilter), 1);
    router.commit(&state(ASIDE));
    assert!(router.forward(0, &plain_udp()).is_some());
    router.assert_balanced();
}

#[test]
fn a_flow_follows_its_route_and_no_other() {
    const TO: &str = "{ to: 192.0.2.0/24, via: 10.0.1.2 }";
    let frame = udp(0, 1, |ip| ip.destination = [192, 0, 2, 7]);
    let with = |routes: &str| format!("{ASIDE}routes: [{routes}]");
    let mut router = router(&with(TO), vec![]);
    acquaint(&mut router, &frame);
    let before = asked(&router, Stage::Route);
    router.commit(&state(&with(&format!("{TO}, {{ to: 198.51.100.0/24, via: 10.0.2.2 }}"))));
    assert_eq!(router.forward(0, &frame).unwrap().0, 1);
    assert_eq!(asked(&router, Stage::Route), before, "another destination's route is no matter");
    let nearer = format!("{TO}, {{ to: 192.0.2.7/32, via: 10.0.2.2 }}");
    router.commit(&state(&with(&nearer)));
    assert_eq!(router.forward(0, &frame).unwrap().0, 2);
    router.commit(&state(&with("{ to: 192.0.2.0/24, blackhole: true }")));
    assert_eq!(router.forward(0, &frame), None);
    assert_eq!(router.dropped(DropReason::Blackhole), 1);
    router.assert_balanced();
}

#[test]
fn every_packet_has_its_hop_limit_and_length_looked_at() {
    let mut router = router(ASIDE, vec![]);
    acquaint(&mut router, &plain_udp());
    let expired = udp(0, 1, |ip| ip.time_to_live = 1);
    assert_eq!(router.forward(0, &expired).unwrap().0, 0, "time exceeded");
    assert_eq!(router.dropped(DropReason::HopLimitExceeded), 1);

    let long = |bytes: usize| {
        let mut frame = Vec::new();
        let builder = PacketBuilder::ethernet2(station(0), mac(0)).ip(etherparse::IpHeaders::Ipv4(
            {
                let mut header = etherparse::Ipv4Header::new(
                    0,
                    64,
                    etherparse::ip_number::UDP,
                    [10, 0, 0, 2],
                    [10, 0, 2, 2],
                )
                .unwrap();
                header.dont_fragment = true;
                header
            },
            Default::default(),
        ));
        builder.udp(4000, 5000).write(&mut frame, &vec![7; bytes]).unwrap();
        frame
    };
    acquaint(&mut router, &long(100));
    let (port, _) = router.forward(0, &long(1300)).unwrap();
    assert_eq!(port, 0, "too big");
    assert_eq!(router.dropped(DropReason::FragmentationNeeded), 1);
    router.assert_balanced();
}

#[test]
fn what_rules_look_at_beside_the_key_is_looked_at() {
    let mut router = router(
        "
policy-routes:
  - { name: fast, dscp: [46], via: 10.0.2.2 }
",
        vec![],
    );
    let frame = |dscp: u8| udp(0, 1, |ip| ip.dscp = dscp.try_into().unwrap());
    acquaint(&mut router, &frame(0));
    assert_eq!(router.forward(0, &frame(46)).unwrap().0, 2);
    assert_eq!(router.forward(0, &frame(0)).unwrap().0, 1);
    assert_eq!(router.forward(0, &frame(46)).unwrap().0, 2);
    router.assert_balanced();
}

#[test]
fn a_rule_that_logs_sees_every_packet() {
    let mut router = router(
        "filters: { forward: { rules: [{ protocol: udp, action: accept, log: true }] } }",
        vec![],
    );
    for _ in 0..5 {
        assert!(router.forward(0, &plain_udp()).is_some());
    }
    assert_eq!(asked(&router, Stage::ForwardFilter), 5);
}

#[test]
fn bursts_of_many_flows_keep_their_order_and_their_ways() {
    let mut router = router(ASIDE, vec![]);
    let frame = |n: u8| {
        let builder = PacketBuilder::ethernet2(station(0), mac(0))
            .ipv4([10, 0, 0, 2], [10, 0, 1 + n % 2, 2], 64)
            .udp(4000 + u16::from(n % 16), 5000);
        let mut frame = Vec::new();
        builder.write(&mut frame, &[n]).unwrap();
        frame
    };
    let frames: Vec<_> = (0..=255).map(frame).collect();
    let first = router.receive(0, &frames);
    for _ in 0..3 {
        assert_eq!(router.receive(0, &frames), first);
    }
    for (port, frames) in first {
        let payloads: Vec<u8> = frames.iter().map(|frame| frame[42]).collect();
        let expected: Vec<u8> = (0..=255).filter(|n| u16::from(1 + n % 2) == port).collect();
        assert_eq!(payloads, expected);
    }
    router.assert_balanced();
}

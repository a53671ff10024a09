//! Policy routes beside the plainest form of them, and what becomes of packets that they cannot
//! send anywhere.

use proptest::prelude::*;
use sluice_packet::{Descriptor, DescriptorFlags, Family, Fragment};

use crate::evaluate::{NoRecorder, Recorder, RouteDecision};
use crate::ids::{InterfaceId, RuleSlot};
use crate::model::{PolicyAction, PolicyRoute, Unreachable};
use crate::policy::Policy;
use crate::policy::tests::{packet, policy, state};

const BASE: &str = "
ports:
  lan: { device: net_null0, addresses: [10.0.1.1/24, 'fd00:1::1/64'] }
  one: { device: net_null1, addresses: [10.0.2.1/24, 'fd00:2::1/64'] }
  two: { device: net_null2, addresses: [10.0.3.1/24] }
  three: { device: net_null3, addresses: [10.0.4.1/24] }
tables: [isp]
routes:
  - { to: 0.0.0.0/0, via: 10.0.2.9 }
  - { to: '::/0', via: 'fd00:2::9' }
  - { table: isp, to: 192.0.2.0/24, via: 10.0.4.9 }
  - { table: isp, to: 198.51.100.0/24, blackhole: true }
";

fn with(list: &str) -> Policy {
    policy(&format!("{BASE}policy-routes:\n{list}"))
}

/// The interface that a packet leaves by, or why it is dropped.
fn way(policy: &Policy, d: &Descriptor) -> String {
    let instance = policy.instance_named("default").unwrap();
    match instance.route(d, &mut NoRecorder) {
        RouteDecision::Forward(hop) => {
            policy.interface(policy.next_hop(hop).interface).unwrap().name.to_string()
        }
        RouteDecision::Local(_) => "local".into(),
        RouteDecision::Drop(reason) => reason.name().into(),
    }
}

fn udp(src: &str, dst: &str, port: u16) -> Descriptor {
    let mut d = packet(src, dst);
    (d.key.protocol, d.key.src_port, d.key.dst_port) = (17, 40_000, port);
    d
}

#[test]
fn services_of_one_host_take_ways_of_their_own() {
    let policy = with(
        "  - { name: mail, protocol: tcp, destination-port: 25, via: 10.0.3.9 }
  - { name: ping, protocol: [icmp, icmpv6], via: [10.0.4.9, 'fd00:2::7'] }
  - { name: marked, dscp: [ef, 10], via: 10.0.3.9 }
  - { name: isp, destination: [192.0.2.0/24, 198.51.100.0/24, 203.0.113.0/24], table: isp }
  - { name: no, in: lan, protocol: tcp, destination-port: 23, reject: true }
  - { name: nor, protocol: tcp, destination-port: 24, drop: true }
",
    );
    let of = |protocol, port, dst: &str| {
        let mut d = udp(if dst.contains(':') { "fd00:1::2" } else { "10.0.1.2" }, dst, port);
        d.key.protocol = protocol;
        d.ingress = policy.interface_named("lan").unwrap().id.0;
        d
    };
    assert_eq!(way(&policy, &of(6, 25, "8.8.8.8")), "two");
    assert_eq!(way(&policy, &of(6, 80, "8.8.8.8")), "one");
    assert_eq!(way(&policy, &of(1, 0, "8.8.8.8")), "three");
    assert_eq!(way(&policy, &of(58, 0, "2001:db8::1")), "one");
    // A rule with next hops of IPv4 says nothing about IPv6.
    assert_eq!(way(&policy, &of(6, 25, "2001:db8::1")), "one");
    let marked = Descriptor { traffic_class: 46 << 2 | 3, ..of(6, 80, "8.8.8.8") };
    assert_eq!(way(&policy, &marked), "two");
    assert_eq!(way(&policy, &of(6, 80, "192.0.2.1")), "three");
    assert_eq!(way(&policy, &of(6, 80, "198.51.100.1")), "blackhole");
    // The table has no route for it: what follows is asked, and at last the main table.
    assert_eq!(way(&policy, &of(6, 80, "203.0.113.1")), "one");
    assert_eq!(way(&policy, &of(6, 23, "8.8.8.8")), "policy-reject");
    assert_eq!(way(&policy, &of(6, 24, "8.8.8.8")), "policy-drop");
    // The router's own packets came in by no interface.
    let own = Descriptor { flags: DescriptorFlags::LOCAL_ORIGIN, ..of(6, 23, "8.8.8.8") };
    assert_eq!(way(&policy, &own), "one");
    // What is for the router, or for a connected network's broadcast address, is no policy's.
    let all = with("  - { via: 10.0.3.9 }\n");
    assert_eq!(way(&all, &udp("10.0.1.2", "10.0.2.1", 1)), "local");
    assert_eq!(way(&all, &udp("10.0.1.2", "10.0.2.255", 1)), "directed-broadcast");
    assert_eq!(way(&all, &udp("10.0.1.2", "10.0.2.7", 1)), "two");
    assert_eq!(way(&all, &udp("10.0.1.2", "224.0.0.5", 1)), "multicast-unrouted");
}

#[test]
fn what_cannot_be_reached_falls_through_or_blocks() {
    let policy = with(
        "  - { name: a, protocol: udp, destination-port: 1, via: 10.0.3.9 }
  - { name: b, protocol: udp, destination-port: 2, via: 10.0.3.9, unreachable: drop }
  - { name: c, protocol: udp, destination-port: 3, via: 10.0.3.9, unreachable: reject }
  - { name: d, protocol: udp, destination-port: 4, via: [10.0.3.9, 10.0.4.9] }
  - { name: e, protocol: udp, destination-port: 5, table: isp, unreachable: drop }
  - { name: f, protocol: udp, destination-port: [1, 5], interface: three }
",
    );
    let ways = |policy: &Policy, dst: &str| -> Vec<String> {
        (1..=5).map(|port| way(policy, &udp("10.0.1.2", dst, port))).collect()
    };
    let reachable = |policy: &Policy| -> String {
        let named = policy.policy_routes().filter(|info| info.reachable);
        named.map(|info| info.route.name.to_string()).collect()
    };
    let up = ways(&policy, "192.0.2.1");
    assert_eq!(up[..3], ["two", "two", "two"]);
    assert_eq!(up[4], "three");
    assert_eq!(reachable(&policy), "abcdef");
    let two = policy.port_named("two").unwrap().id;
    let down = policy.with_down([two]);
    let expected = ["three", "policy-unreachable", "policy-unreachable-reject", "three", "three"];
    assert_eq!(ways(&down, "192.0.2.1"), expected);
    assert_eq!(reachable(&down), "def");
    assert_eq!(ways(&down, "203.0.113.1")[4], "policy-unreachable");
    assert_eq!(ways(&down.with_down([]), "192.0.2.1"), up);
    // An unrelated commit while the port is down keeps it so.
    let more = format!("{BASE}  - {{ to: 10.77.0.0/16, via: 10.0.4.9 }}\n");
    let mut to = state(&more);
    to.policy_routes = down.state().policy_routes.clone();
    let next = down.apply(&down.state().difference(&to)).unwrap();
    assert_eq!(ways(&next, "192.0.2.1"), expected);
}

#[test]
fn later_fragments_have_the_ports_of_their_first_where_it_is_known() {
    let policy = with(
        "  - { name: dns, protocol: udp, destination-port: 53, via: 10.0.3.9 }
  - { name: pieces, fragment: true, destination: 192.0.2.0/24, via: 10.0.4.9 }
  - { name: whole, fragment: false, destination: 192.0.2.0/24, drop: true }
",
    );
    let of = |fragment, known: bool, dst| {
        let flags = if known { DescriptorFlags::FIRST_KNOWN } else { DescriptorFlags::empty() };
        Descriptor { fragment, flags, ..udp("10.0.1.2", dst, 53) }
    };
    assert_eq!(way(&policy, &of(Fragment::Whole, false, "8.8.8.8")), "two");
    assert_eq!(way(&policy, &of(Fragment::First, false, "8.8.8.8")), "two");
    assert_eq!(way(&policy, &of(Fragment::Later, false, "8.8.8.8")), "one");
    assert_eq!(way(&policy, &of(Fragment::Later, true, "8.8.8.8")), "two");
    assert_eq!(way(&policy, &of(Fragment::Later, false, "192.0.2.1")), "three");
    let mut whole = of(Fragment::Whole, false, "192.0.2.1");
    whole.key.dst_port = 54;
    assert_eq!(way(&policy, &whole), "policy-drop");
    let instance = policy.instance_named("default").unwrap();
    assert!(instance.follows_fragments() && instance.steers_by_ports(&whole));
    assert!(!instance.steers_by_ports(&packet("10.0.1.2", "8.8.8.8")));
    assert!(
        !with("  - { fragment: true, drop: true }\n")
            .instances()
            .next()
            .unwrap()
            .follows_fragments()
    );
}

#[test]
fn counters_survive_an_unrelated_commit() {
    let one = "  - { name: a, drop: true }\n  - { name: b, reject: true }\n";
    let first = with(one);
    let slots = |policy: &Policy| -> Vec<(String, RuleSlot)> {
        policy.policy_routes().map(|info| (info.route.name.to_string(), info.slot)).collect()
    };
    let filters = "filters: { forward: { rules: [{ name: x, action: drop }] } }";
    let next =
        state(&format!("{BASE}{filters}\npolicy-routes:\n  - {{ name: c, drop: true }}\n{one}"));
    let second = first.apply(&first.state().difference(&next)).unwrap();
    assert_eq!(slots(&second)[1..], slots(&first)[..]);
    let mut all: Vec<_> = slots(&second).into_iter().map(|(_, slot)| slot).collect();
    all.extend(second.rules().map(|rule| rule.slot));
    let distinct: std::collections::BTreeSet<_> = all.iter().collect();
    assert_eq!(distinct.len(), all.len());
    assert_eq!(second.rule_slots() as usize, all.len() + 1);
    let gone = second.apply(&second.state().difference(&state(BASE))).unwrap();
    assert_eq!((gone.policy_routes().count(), gone.rule_slots()), (0, 1));
}

/// What is counted.
#[derive(Default)]
struct Counted(Vec<RuleSlot>);

impl Recorder for Counted {
    fn rule(&mut self, slot: RuleSlot, _: &Descriptor) {
        self.0.push(slot);
    }
}

/// Whether a policy route matches, said as plainly as can be.
fn matches(route: &PolicyRoute, d: &Descriptor, policy: &Policy) -> bool {
    let list = |empty: bool, any: bool| empty || any;
    let input = route.input.iter().any(|name| {
        !d.flags.contains(DescriptorFlags::LOCAL_ORIGIN)
            && policy.interface_named(name).unwrap().id == InterfaceId(d.ingress)
    });
    let blind = d.fragment == Fragment::Later && !d.flags.contains(DescriptorFlags::FIRST_KNOWN);
    list(route.input.is_empty(), input)
        && list(route.source.is_empty(), route.source.iter().any(|n| n.contains(&d.key.src_ip())))
        && list(
            route.destination.is_empty(),
            route.destination.iter().any(|n| n.contains(&d.key.dst_ip())),
        )
        && list(route.protocol.is_empty(), route.protocol.contains(&d.key.protocol))
        && list(
            route.source_port.is_empty(),
            !blind && route.source_port.iter().any(|r| r.contains(&d.key.src_port)),
        )
        && list(
            route.destination_port.is_empty(),
            !blind && route.destination_port.iter().any(|r| r.contains(&d.key.dst_port)),
        )
        && list(route.dscp.is_empty(), route.dscp.contains(&(d.traffic_class >> 2)))
        && route.fragment.is_none_or(|must| must == (d.fragment != Fragment::Whole))
}

prop_compose! {
    fn line()(
        place in 0..1_000_000_u32,
        input in prop::option::of(prop::sample::select(vec!["lan", "one"])),
        source in prop::option::of(prop::sample::select(vec!["10.0.1.0/24", "10.0.0.0/8", "10.0.1.2"])),
        destination in prop::option::of(prop::sample::select(vec!["192.0.2.0/24", "8.0.0.0/8"])),
        ports in prop::option::of((any::<bool>(), 0..4_u16)),
        dscp in prop::option::of(0..3_u8),
        fragment in prop::option::of(any::<bool>()),
        action in prop::sample::select(vec![
            "via: 10.0.3.9", "via: [10.0.4.9]", "interface: one", "table: isp", "table: main",
            "drop: true", "reject: true",
        ]),
        unreachable in prop::sample::select(vec!["next", "drop", "reject"]),
    ) -> String {
        let mut keys = vec![format!("name: r{place}")];
        keys.extend(input.map(|name| format!("in: {name}")));
        keys.extend(source.map(|net| format!("source: {net}")));
        keys.extend(destination.map(|net| format!("destination: {net}")));
        keys.extend(ports.map(|(source, port)| {
            let key = if source { "source-port" } else { "destination-port" };
            format!("protocol: udp, {key}: [{port}, 40000]")
        }));
        keys.extend(dscp.map(|dscp| format!("dscp: {dscp}")));
        keys.extend(fragment.map(|fragment| format!("fragment: {fragment}")));
        keys.push(action.to_owned());
        if !action.ends_with("true") {
            keys.push(format!("unreachable: {unreachable}"));
        }
        format!("  - {{ {} }}\n", keys.join(", "))
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A list of any length says what its rules say, asked one after another.
    #[test]
    fn the_first_that_matches_and_has_a_way_out_decides(
        lines in prop::collection::vec(line(), 1..40),
        down in any::<bool>(),
        packets in prop::collection::vec((0..3_u8, 0..4_u16, 0..12_u8, 0..3_u8, any::<bool>(), 0..3_u8, 0..3_u16), 1..40),
    ) {
        let mut seen = std::collections::HashSet::new();
        let lines: String = lines.into_iter()
            .filter(|line| seen.insert(line.split(',').next().unwrap_or_default().to_owned()))
            .collect();
        let policy = with(&lines);
        let two = policy.port_named("two").unwrap().id;
        let policy = policy.with_down(down.then_some(two));
        let instance = policy.instance_named("default").unwrap();
        for (fragment, port, dscp, dst, known, src, ingress) in packets {
            let src = ["10.0.1.2", "10.7.7.7", "172.16.0.1"][usize::from(src)];
            let dst = ["192.0.2.1", "8.8.8.8", "203.0.113.1"][usize::from(dst)];
            let mut d = udp(src, dst, port);
            d.ingress = ingress;
            d.traffic_class = dscp;
            d.fragment = [Fragment::Whole, Fragment::First, Fragment::Later][usize::from(fragment)];
            if known && d.fragment == Fragment::Later {
                d.flags |= DescriptorFlags::FIRST_KNOWN;
            }
            prop_assert_eq!(d.key.family, Family::Inet);
            let mut counted = Counted::default();
            let decision = instance.route(&d, &mut counted);
            let mut expected = None;
            let mut matched = Vec::new();
            for info in policy.policy_routes() {
                if !matches(info.route, &d, &policy) {
                    continue;
                }
                matched.push(info.slot);
                let out = |name: &str| if name == "two" && down { None } else { Some(name.to_owned()) };
                let by_table = |table: &str| {
                    let id = instance.table_named(table).unwrap();
                    instance.look_up_in(id, &d, &mut NoRecorder)
                };
                let words = |decision| match decision {
                    RouteDecision::Forward(hop) => policy.interface(policy.next_hop(hop).interface).unwrap().name.to_string(),
                    RouteDecision::Drop(reason) => reason.name().to_owned(),
                    RouteDecision::Local(_) => "local".to_owned(),
                };
                let found = match &info.route.action {
                    PolicyAction::NextHops(hops) => match (&hops[0].via, &hops[0].interface) {
                        (Some(via), _) => out(if via.to_string() == "10.0.3.9" { "two" } else { "three" }),
                        (None, Some(name)) => out(name),
                        (None, None) => None,
                    },
                    PolicyAction::Table(name) => by_table(name).map(words),
                    PolicyAction::Drop => Some("policy-drop".to_owned()),
                    PolicyAction::Reject => Some("policy-reject".to_owned()),
                };
                expected = match (found, info.route.unreachable) {
                    (Some(found), _) => Some(found),
                    (None, Unreachable::Next) => continue,
                    (None, Unreachable::Drop) => Some("policy-unreachable".to_owned()),
                    (None, Unreachable::Reject) => Some("policy-unreachable-reject".to_owned()),
                };
                break;
            }
            let expected = expected.unwrap_or_else(|| "one".to_owned());
            prop_assert_eq!(way(&policy, &d), expected, "{:?} {:?}", d, decision);
            prop_assert_eq!(counted.0, matched);
        }
    }
}

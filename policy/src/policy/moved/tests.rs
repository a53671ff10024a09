//! What has moved is said to have moved; most of what has not is not.

use std::net::IpAddr;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use sluice_packet::{Consulted, Descriptor, FlowKey};

use super::*;
use crate::evaluate::{FilterDecision, NoRecorder, RouteDecision};
use crate::ids::PortId;
use crate::model::{Delta, FilterPoint, Operation, Owner, Route, RouteKey, State, Target};
use crate::policy::Policy;
use crate::policy::tests::{packet, policy, state};

const BASE: &str = "
ports:
  a: { device: net_null0, addresses: [10.1.0.1/24, 'fd00:1::1/64'] }
  b: { device: net_null1, addresses: [10.2.0.1/24, 'fd00:2::1/64'] }
  c: { device: net_null2, addresses: 10.3.0.1/24 }
tables: [side]
routes:
  - { to: 0.0.0.0/0, via: 10.1.0.9 }
  - { to: 10.0.0.0/7, via: 10.2.0.9 }
  - { to: 10.9.0.0/16, via: [10.1.0.2, 10.2.0.2, 10.3.0.2] }
  - { to: 10.9.9.0/24, lookup: { table: side } }
  - { to: 10.9.9.7/32, via: 10.9.7.7 }
  - { to: 10.9.7.0/24, via: 10.3.0.7 }
  - { to: 10.9.8.0/23, blackhole: true }
  - { to: 10.9.9.0/24, via: 10.3.0.2, table: side }
  - { to: 10.9.9.128/25, via: 10.1.0.2, table: side }
  - { to: 0.0.0.0/0, via: 10.2.0.3, table: side }
  - { to: '::/0', via: 'fd00:1::9' }
  - { to: '2000::/3', via: 'fd00:2::9' }
  - { to: '2001:db8::/29', via: 'fd00:1::9' }
  - { to: '2001:db8::/32', via: 'fd00:1::2' }
  - { to: '2001:db8:9::/48', via: 'fd00:2::2' }
  - { to: '2001:db8:9:9::/64', via: ['fd00:2::2', 'fd00:1::2'] }
  - { to: '2001:db8:9:9::9/128', reject: true }
";

const FILTERS: [&str; 3] = [
    "",
    "
filters:
  ingress: { default: accept, rules: [{ name: web, protocol: tcp, destination-port: 80, action: drop }] }
",
    "
filters:
  forward: { default: drop, rules: [{ name: web, protocol: tcp, destination-port: 80, action: accept }] }
",
];

const STEERING: [&str; 3] = [
    "",
    "
policy-routes:
  - { name: web, protocol: tcp, destination-port: 80, via: [10.2.0.5, 'fd00:2::5'] }
",
    "
policy-routes:
  - { name: web, protocol: tcp, destination-port: 80, via: [10.1.0.5, 10.3.0.5] }
  - { name: other, source: 192.0.2.0/24, destination: 10.9.9.0/24, table: side }
",
];

const DESTINATIONS: [&str; 16] = [
    "10.9.9.1",
    "10.9.9.7",
    "10.9.9.200",
    "10.9.7.1",
    "10.9.8.1",
    "10.9.1.1",
    "10.1.0.7",
    "10.3.0.1",
    "11.0.0.1",
    "198.51.100.1",
    "2001:db8:9:9::9",
    "2001:db8:9:9::1",
    "2001:db8:9::1",
    "2001:db8:8::1",
    "2001:dbf::1",
    "2a00::1",
];

/// Packets to everywhere that the routes above lead.
fn packets() -> Vec<Descriptor> {
    let mut packets = Vec::new();
    for dst in DESTINATIONS {
        let src = if dst.contains(':') { "2001:db8:1::1" } else { "192.0.2.1" };
        let d = packet(src, dst);
        for (protocol, dst_port) in [(6, 80), (6, 81), (17, 53)] {
            let key = FlowKey { protocol, dst_port, src_port: dst_port + 1000, ..d.key };
            packets.push(Descriptor { key, ingress: 1, ..d });
        }
    }
    packets
}

/// What is decided about a packet, filters first.
fn answers(policy: &Policy, d: &Descriptor) -> ([FilterDecision; 3], RouteDecision) {
    let instance = policy.instance_named("default").unwrap();
    let filter = |point| instance.filter(point, d, None, &mut NoRecorder);
    (FilterPoint::ALL.map(filter), instance.route(d, &mut NoRecorder))
}

/// What happens to a policy.
#[derive(Clone, Debug)]
enum Step {
    /// A route of the base is set by another owner, to lead as some other does, or taken away.
    Route(Index, Option<Index>),
    Filters(usize),
    Steering(usize),
    Down(u16),
    /// Another address for an interface.
    Address(bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => any::<(Index, Option<Index>)>().prop_map(|(at, to)| Step::Route(at, to)),
        1 => (0..FILTERS.len()).prop_map(Step::Filters),
        1 => (0..STEERING.len()).prop_map(Step::Steering),
        1 => (0..8u16).prop_map(Step::Down),
        1 => any::<bool>().prop_map(Step::Address),
    ]
}

fn after(policy: &Policy, step: &Step) -> Policy {
    let base = state(BASE);
    let routes: Vec<_> = base.routes.iter().collect();
    let mut to = State::clone(policy.state());
    match step {
        Step::Route(at, led) => {
            let (key, _) = at.get(&routes);
            let family = |key: &RouteKey| key.prefix.addr().is_ipv4();
            let leads_back = |route: &Route| matches!(&route.target, Target::Table { table, .. } if *table == key.table);
            let alike = routes.iter().filter(|r| family(r.0) == family(key) && !leads_back(r.1));
            let alike: Vec<_> = alike.collect();
            let key = RouteKey { owner: Owner::Cli, ..RouteKey::clone(key) };
            match led {
                Some(led) => drop(to.routes.insert(key, led.get(&alike).1.clone())),
                None => drop(to.routes.remove(&key)),
            }
        }
        Step::Filters(number) => to.filters = state(&format!("{BASE}{}", FILTERS[*number])).filters,
        Step::Steering(number) => {
            to.policy_routes = state(&format!("{BASE}{}", STEERING[*number])).policy_routes;
        }
        Step::Down(mask) => {
            let set = (0..3).filter(|bit| mask >> bit & 1 == 1).map(PortId);
            return policy.with_down(set);
        }
        Step::Address(other) => {
            let address = if *other { "10.9.9.9/32" } else { "10.3.0.1/24" };
            to.interfaces["c"].addresses = vec![address.parse().unwrap()];
        }
    }
    let generation = policy.generation() + 1;
    policy.apply_as(generation, &policy.state().difference(&to)).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever happens, a packet whose answers differ is told so, also over several editions.
    #[test]
    fn what_differs_has_moved(steps in vec(step(), 1..10)) {
        let mut editions = vec![policy(BASE)];
        for step in &steps {
            editions.push(after(editions.last().unwrap(), step));
        }
        let packets = packets();
        for (i, new) in editions.iter().enumerate() {
            for old in &editions[..=i] {
                let edition = old.edition() as u32;
                for d in &packets {
                    let moved = new.moved().since(edition, d.key.family, d.key.dst);
                    let ((filters, route), (filters_now, route_now)) =
                        (answers(old, d), answers(new, d));
                    if filters != filters_now {
                        prop_assert!(moved.contains(Moved::FILTERS), "{steps:?} {:?}", d.key);
                    }
                    if route != route_now {
                        let by_route = moved.intersects(Moved::STEERING | Moved::ROUTES);
                        prop_assert!(by_route, "{steps:?} {:?}: {route:?} {route_now:?}", d.key);
                    }
                    if let (RouteDecision::Forward(id), false) = (route, moved == Moved::EVERYTHING) {
                        prop_assert_eq!(old.next_hop(id), new.next_hop(id));
                    }
                    if !moved.is_empty() {
                        prop_assert!(!new.moved().is_current(edition));
                    }
                }
            }
        }
    }

    /// Every address of a prefix looks where the prefix was noted.
    #[test]
    fn a_prefix_is_noted_for_all_its_addresses(
        inet: bool, bits: u128, host: u128, length in 0..=128u8, base in select(vec![0u64, u64::from(u32::MAX)]),
    ) {
        let (address, length): (IpAddr, u8) = match inet {
            true => (IpAddr::from((bits as u32).to_be_bytes()), length % 33),
            false => (IpAddr::from(bits.to_be_bytes()), length),
        };
        let prefix = IpNet::new(address, length).unwrap().trunc();
        let editions = Editions::default().next(base);
        let mut after = editions.next(base + 1);
        after.route(prefix);
        let family = if inet { Family::Inet } else { Family::Inet6 };
        let within = number_of(prefix.network()) | host & number_of(prefix.hostmask());
        prop_assert_eq!(after.since(base as u32, family, within), Moved::ROUTES);
        prop_assert_eq!(after.since((base + 1) as u32, family, within), Moved::empty());
        prop_assert_eq!((after.newest(), after.is_current((base + 1) as u32)), (base + 1, true));
        prop_assert!(!after.is_current(base as u32));
    }
}

/// A change of routes to elsewhere, of hooks, or of a neighbour, leaves flows alone.
#[test]
fn what_is_unrelated_does_not_move() {
    let policy = policy(BASE);
    let now = policy.edition() as u32;
    let routes = policy.state().routes.clone();
    let lead = |prefix: &str, as_to: &str| {
        let key = |prefix: &str, owner| RouteKey::main("default", prefix.parse().unwrap(), owner);
        let route = routes[&key(as_to, Owner::Static)].clone();
        let operation = Operation::Route(key(prefix, Owner::Cli), Some(route));
        policy.apply(&Delta { operations: vec![operation] }).unwrap()
    };
    let moved = |policy: &Policy, dst: &str| {
        let dst: IpAddr = dst.parse().unwrap();
        let family = if dst.is_ipv4() { Family::Inet } else { Family::Inet6 };
        policy.moved().since(now, family, number_of(dst))
    };
    let other = lead("203.0.113.0/24", "10.9.0.0/16");
    assert_eq!(moved(&other, "203.0.113.7"), Moved::ROUTES);
    for dst in DESTINATIONS {
        assert_eq!(moved(&other, dst), Moved::empty(), "{dst}");
    }
    let other = lead("2001:db8:77::/48", "2000::/3");
    assert_eq!(moved(&other, "2001:db8:77::1"), Moved::ROUTES);
    for dst in DESTINATIONS {
        assert_eq!(moved(&other, dst), Moved::empty(), "{dst}");
    }
    // A route that is set anew and leads where it did, and one that is not in use.
    let same = lead("10.9.0.0/16", "10.9.0.0/16");
    assert_eq!(moved(&same, "10.9.1.1"), Moved::empty());
    assert!(same.edition() > policy.edition() && same.moved().is_current(now));
    // The default route is everybody's.
    let all = lead("0.0.0.0/0", "10.9.0.0/16");
    assert_eq!(moved(&all, "10.9.1.1"), Moved::ROUTES);
    assert_eq!(moved(&all, "2001:db8::1"), Moved::empty());
}

#[test]
fn what_rules_look_at_is_consulted() {
    let consults = |more: &str| {
        let policy = policy(&format!("{BASE}{more}"));
        policy.instance_named("default").unwrap().consults()
    };
    assert_eq!(consults(FILTERS[1]), Consulted::default());
    assert_eq!(consults(STEERING[2]), Consulted::default());
    let flags = "
filters:
  ingress: { default: accept, rules: [{ protocol: tcp, tcp-flags: 'syn,!ack', action: drop }] }
  egress: { default: accept, rules: [{ protocol: tcp, tcp-flags: 'rst', action: drop }] }
policy-routes: [{ dscp: 46, via: 10.2.0.5 }]
";
    let all = Consulted { tcp_flags: 0x16, traffic_class: 0xfc, ..Consulted::default() };
    assert_eq!(consults(flags), all);
    let icmp = |kind: &str| {
        consults(&format!(
            "\nfilters: {{ forward: {{ default: accept, rules: [{{ protocol: icmp, icmp-type: {kind}, action: drop }}] }} }}\n"
        ))
    };
    assert_eq!(icmp("echo-request"), Consulted::default());
    assert_eq!(icmp("3/4"), Consulted { icmp_code: 255, ..Consulted::default() });
}

//! From generation to generation: numbers stay, slots stay, tables are right.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use ipnet::IpNet;
use proptest::prelude::*;
use sluice_packet::descriptor::number_of;
use sluice_packet::{Descriptor, DescriptorFlags, Family, FlowKey};

use super::*;
use crate::config;
use crate::evaluate::{NoRecorder, RouteDecision};
use crate::event::Event;
use crate::model::{Delta, Operation, Owner, Position, Route, RouteKey, Target};

/// What a configuration file asks for.
pub(crate) fn state(yaml: &str) -> State {
    let read = config::read(yaml.as_bytes(), "test.yaml");
    read.unwrap_or_else(|diagnostics| panic!("{diagnostics}")).state
}

/// A configuration file compiled.
pub(crate) fn policy(yaml: &str) -> Policy {
    next(&Policy::empty(), yaml)
}

/// The generation after `policy` that is as a file says.
fn next(policy: &Policy, yaml: &str) -> Policy {
    policy.apply(&policy.state().difference(&state(yaml))).unwrap()
}

/// A packet from `src` to `dst`.
pub(crate) fn packet(src: &str, dst: &str) -> Descriptor {
    let (src, dst): (IpAddr, IpAddr) = (src.parse().unwrap(), dst.parse().unwrap());
    let family = if src.is_ipv4() { Family::Inet } else { Family::Inet6 };
    Descriptor {
        key: FlowKey { src: number_of(src), dst: number_of(dst), family, ..FlowKey::default() },
        hop_limit: 64,
        l3_length: 100,
        ..Descriptor::default()
    }
}

fn route(policy: &Policy, instance: &str, dst: &str) -> RouteDecision {
    let src = if dst.contains(':') { "2001:db8::1" } else { "192.0.2.1" };
    policy.instance_named(instance).unwrap().route(&packet(src, dst), &mut NoRecorder)
}

/// Interface and neighbour that a destination is forwarded by.
fn way(policy: &Policy, dst: &str) -> (Name, Option<IpAddr>) {
    let RouteDecision::Forward(id) = route(policy, "default", dst) else {
        panic!("{dst} is not forwarded: {:?}", route(policy, "default", dst));
    };
    let hop = policy.next_hop(id);
    let via = hop.via.map(|via| sluice_packet::descriptor::ip_of(hop.family, via));
    (policy.interface(hop.interface).unwrap().name.clone(), via)
}

const BASE: &str = "
ports:
  lan: { device: net_tap0, addresses: [10.0.1.1/24, 'fd00:1::1/64'] }
  wan: { device: net_tap1, addresses: [10.0.2.1/24, 10.0.4.1/31], vlans: { 7: { addresses: 10.0.3.1/24 } } }
  tenant: { device: net_tap2, instance: blue, addresses: 10.0.1.1/24 }
instances: { blue: { routes: [{ to: 0.0.0.0/0, via: 10.0.1.9 }] } }
routes:
  - { to: 0.0.0.0/0, via: 10.0.2.2 }
  - { to: 10.9.0.0/16, via: 10.0.3.3 }
  - { to: 10.9.9.0/24, blackhole: true }
  - { to: 10.9.8.0/24, reject: true }
  - { to: '::/0', via: 'fe80::9', interface: wan }
";

#[test]
fn the_empty_policy_has_an_empty_instance() {
    let policy = Policy::empty();
    assert_eq!((policy.generation(), policy.instances().count()), (0, 1));
    let instance = policy.instance(InstanceId(0)).unwrap();
    assert_eq!(&*instance.name, "default");
    assert_eq!(instance.stages(Event::Forwarding).len(), 3);
    assert_eq!(
        route(&policy, "default", "10.0.0.1"),
        RouteDecision::Drop(crate::DropReason::NoRoute)
    );
    assert_eq!((policy.ports().count(), policy.rules().count(), policy.rule_slots()), (0, 0, 1));
    assert_eq!(policy.next_hop(NextHopId(7)).interface, InterfaceId(0));
}

#[test]
fn tables_follow_the_configuration() {
    let policy = policy(BASE);
    assert_eq!(policy.generation(), 1);
    assert_eq!(way(&policy, "8.8.8.8"), ("wan".into(), Some("10.0.2.2".parse().unwrap())));
    assert_eq!(way(&policy, "10.0.1.77"), ("lan".into(), None));
    assert_eq!(way(&policy, "10.9.1.1"), ("wan.7".into(), Some("10.0.3.3".parse().unwrap())));
    assert_eq!(way(&policy, "2001:db8::5"), ("wan".into(), Some("fe80::9".parse().unwrap())));
    assert_eq!(way(&policy, "fd00:1::5"), ("lan".into(), None));
    let dropped = |dst| match route(&policy, "default", dst) {
        RouteDecision::Drop(reason) => reason.name(),
        other => panic!("{dst}: {other:?}"),
    };
    assert_eq!(dropped("10.9.9.1"), "blackhole");
    assert_eq!(dropped("10.9.8.1"), "reject-route");
    assert_eq!(dropped("10.0.1.255"), "directed-broadcast");
    let lan = policy.interface_named("lan").unwrap();
    assert_eq!(route(&policy, "default", "10.0.1.1"), RouteDecision::Local(lan.id));
    assert_eq!(route(&policy, "default", "fd00:1::1"), RouteDecision::Local(lan.id));
    // /31 has no broadcast address.
    assert_eq!(way(&policy, "10.0.4.0"), ("wan".into(), None));
    let tenant = policy.interface_named("tenant").unwrap();
    assert_eq!(route(&policy, "blue", "10.0.1.1"), RouteDecision::Local(tenant.id));
    let blue = policy.instance_named("blue").unwrap();
    assert_eq!(blue.owns(Family::Inet, 0x0a00_0101), Some(tenant.id));
    assert_eq!(blue.owns(Family::Inet, 0x0a00_0201), None);
}

#[test]
fn interfaces_are_found_by_port_and_vlan() {
    let policy = policy(BASE);
    let wan = policy.port_named("wan").unwrap().id;
    assert_eq!(&*policy.interface_on(wan, 0).unwrap().name, "wan");
    assert_eq!(&*policy.interface_on(wan, 7).unwrap().name, "wan.7");
    for vlan in [1, 8, 4095, u16::MAX] {
        assert_eq!(policy.interface_on(wan, vlan), None);
    }
    assert_eq!(policy.interface_on(PortId(99), 0), None);
    assert!(policy.interfaces().all(|interface| interface.id != InterfaceId(0)));
}

#[test]
fn names_keep_their_numbers() {
    let ports = |names: &[&str]| {
        let line = |(i, name): (usize, &&str)| format!("  {name}: {{ device: net_tap{i} }}\n");
        format!("ports:\n{}", names.iter().enumerate().map(line).collect::<String>())
    };
    let first = policy(&ports(&["b", "d", "f"]));
    let number = |policy: &Policy, name: &str| {
        (policy.port_named(name).unwrap().id.0, policy.interface_named(name).unwrap().id.0)
    };
    assert_eq!(["b", "d", "f"].map(|name| number(&first, name)), [(0, 1), (1, 2), (2, 3)]);
    let second = next(&first, &ports(&["a", "f", "b"]));
    assert_eq!(["b", "f", "a"].map(|name| number(&second, name)), [(0, 1), (2, 3), (1, 2)]);
    let third = next(&second, &ports(&["a"]));
    assert_eq!(number(&third, "a"), (1, 2));
    assert_eq!(third.generation(), 3);
    assert!(third.port(PortId(0)).is_none() && third.interface(InterfaceId(3)).is_none());
}

fn rule_slots(policy: &Policy) -> BTreeMap<String, u16> {
    let name =
        |rule: &RuleInfo<'_>| format!("{}/{}/{}", rule.instance, rule.point.name(), rule.name);
    policy.rules().map(|rule| (name(&rule), rule.slot.0)).collect()
}

#[test]
fn rules_keep_their_slots() {
    let rules = |names: &[&str]| {
        let line = |name: &&str| format!("{{ name: {name}, protocol: tcp, action: drop }}");
        let rules: Vec<_> = names.iter().map(line).collect();
        format!(
            "{BASE}\nfilters: {{ forward: {{ default: drop, rules: [{}] }} }}",
            rules.join(", ")
        )
    };
    let first = policy(&rules(&["x", "y", "z"]));
    let slots = rule_slots(&first);
    assert_eq!(slots.len(), 4);
    assert!(slots.values().all(|&slot| (1..=4).contains(&slot)));
    assert_eq!(first.rule_slots(), 5);
    let second = next(&first, &rules(&["new", "z", "x"]));
    let later = rule_slots(&second);
    for name in ["default/forward/z", "default/forward/x", "default/forward/default"] {
        assert_eq!(later[name], slots[name], "{name}");
    }
    assert_eq!(later["default/forward/new"], slots["default/forward/y"]);
    // Ports come and go; slots do not care.
    let third = next(
        &second,
        &rules(&["new", "z", "x"]).replace("  lan:", "  lon: { device: net_tap9 }\n  lan:"),
    );
    assert_eq!(rule_slots(&third), later);
    let rule = third.rule_at(RuleSlot(later["default/forward/z"])).unwrap();
    assert_eq!((rule.name, rule.action), ("z", Action::Drop));
    assert!(third.rule_at(RuleSlot(0)).is_none());
}

fn route_key(prefix: &str, owner: Owner) -> RouteKey {
    RouteKey::main("default", prefix.parse().unwrap(), owner)
}

fn via(address: &str) -> Route {
    let hop = model::NextHop { via: Some(address.parse().unwrap()), interface: None, weight: 1 };
    let position = Position { file: "cli".into(), line: 0, column: 0 };
    Route::new(Target::NextHops([hop].into()), &Owner::Cli, position)
}

#[test]
fn owners_are_layers() {
    let base = policy(BASE);
    let set = |policy: &Policy, prefix: &str, owner, route: Option<Route>| {
        let operations = vec![Operation::Route(route_key(prefix, owner), route)];
        policy.apply(&Delta { operations })
    };
    let over = set(&base, "10.9.0.0/16", Owner::Cli, Some(via("10.0.1.9"))).unwrap();
    assert_eq!(&*way(&over, "10.9.1.1").0, "lan");
    assert_eq!(&*way(&base, "10.9.1.1").0, "wan.7");
    let routes: Vec<_> = over.routes().filter(|r| r.prefix.to_string() == "10.9.0.0/16").collect();
    assert_eq!(
        routes.iter().map(|r| (r.owner.clone(), r.active)).collect::<Vec<_>>(),
        [(Owner::Cli, true), (Owner::Static, false)]
    );
    let back = set(&over, "10.9.0.0/16", Owner::Cli, None).unwrap();
    assert_eq!(&*way(&back, "10.9.1.1").0, "wan.7");
    assert_eq!(back.state(), base.state());
    // A connected network comes before everyone.
    let shadowed = set(&base, "10.0.1.0/24", Owner::Cli, Some(via("10.0.2.2"))).unwrap();
    assert_eq!(way(&shadowed, "10.0.1.77"), ("lan".into(), None));
    let routes: Vec<_> =
        shadowed.routes().filter(|r| r.prefix.to_string() == "10.0.1.0/24").collect();
    assert!(routes.iter().any(|r| r.owner == Owner::Cli && !r.active));
    assert_eq!(
        shadowed
            .route_to(shadowed.instance_named("default").unwrap(), "10.0.1.77".parse().unwrap())
            .unwrap()
            .owner,
        Owner::Connected
    );
    let wrong = set(&base, "10.0.1.0/24", Owner::Connected, Some(via("10.0.2.2"))).unwrap_err();
    assert_eq!(wrong[0].mistake, Mistake::ConnectedRoute);
}

#[test]
fn the_routes_of_a_prefix_are_all_its_owners() {
    let base = policy(BASE);
    let prefix: IpNet = "10.9.0.0/16".parse().unwrap();
    let longer = route_key("10.9.0.0/24", Owner::Cli);
    let set = |owner| Operation::Route(route_key("10.9.0.0/16", owner), Some(via("10.0.1.9")));
    let operations =
        vec![set(Owner::Dhcp), set(Owner::Cli), Operation::Route(longer, Some(via("10.0.1.9")))];
    let policy = base.apply(&Delta { operations }).unwrap();
    let at = |instance, table, prefix| {
        let routes = policy.routes_at(instance, table, prefix);
        routes.into_iter().map(|route| (route.owner, route.active)).collect::<Vec<_>>()
    };
    let set = [(Owner::Cli, true), (Owner::Dhcp, false), (Owner::Static, false)];
    assert_eq!(at("default", "main", prefix), set);
    let network = "10.0.1.0/24".parse().unwrap();
    assert_eq!(at("default", "main", network), [(Owner::Connected, true)]);
    assert_eq!(at("default", "other", prefix), []);
    assert_eq!(at("other", "main", prefix), []);
}

#[test]
fn a_wrong_commit_says_everything() {
    let base = policy(BASE);
    let operations = vec![
        Operation::Route(route_key("10.5.0.1/16", Owner::Cli), Some(via("10.0.1.9"))),
        Operation::Route(route_key("10.6.0.0/16", Owner::Cli), Some(via("10.66.0.1"))),
        Operation::Interface("wan.7".into(), None),
        Operation::Neighbour(
            model::NeighbourKey { interface: "gone".into(), address: "10.0.0.1".parse().unwrap() },
            Some(MacAddress([2, 0, 0, 0, 0, 1])),
        ),
    ];
    let errors = base.apply(&Delta { operations }).unwrap_err();
    let said: Vec<String> = errors.iter().map(ToString::to_string).collect();
    let expected = [
        "cli: route 10.5.0.1/16 of instance default: to: 10.5.0.1/16 has host bits set: write 10.5.0.0/16",
        "cli: route 10.6.0.0/16 of instance default: via: next hop 10.66.0.1 is in nobody's network",
        "test.yaml:9:5: route 10.9.0.0/16 of instance default: via: next hop 10.0.3.3 is in nobody's network",
        "neighbour 10.0.0.1 on gone: interface: there is no interface `gone`",
    ];
    for start in expected {
        assert!(said.iter().any(|line| line.starts_with(start)), "{start}\n{said:#?}");
    }
    assert_eq!(said.len(), expected.len(), "{said:#?}");
}

#[test]
fn removed_filters_are_gone() {
    let with = policy(&format!("{BASE}\nfilters: {{ forward: {{ default: drop }} }}"));
    let instance = |policy: &Policy| policy.instance_named("default").unwrap().clone();
    assert!(instance(&with).filters(FilterPoint::Forward));
    assert!(!instance(&with).filters(FilterPoint::Egress));
    let without = next(&with, BASE);
    assert!(!instance(&without).filters(FilterPoint::Forward));
    assert_eq!(without.rules().count(), 0);
}

#[test]
fn ten_thousand_routes_and_rules_compile_quickly() {
    let mut yaml = String::from(BASE);
    for i in 0..10_000 {
        yaml.push_str(&format!(
            "  - {{ to: 172.{}.{}.0/24, via: 10.0.2.{} }}\n",
            16 + i / 256,
            i % 256,
            2 + i % 200
        ));
    }
    yaml.push_str("filters:\n  forward:\n    rules:\n");
    for i in 0..10_000 {
        yaml.push_str(&format!("      - {{ protocol: tcp, destination-port: {i}, source: 10.0.1.0/24, action: drop }}\n"));
    }
    let state = state(&yaml);
    let delta = State::default().difference(&state);
    let start = Instant::now();
    let policy = Policy::empty().apply(&delta).unwrap();
    let compile = start.elapsed();
    assert_eq!((policy.routes().count(), policy.rules().count()), (10_000 + 5 + 5 + 2, 10_001));

    let start = Instant::now();
    let delta = Delta {
        operations: vec![Operation::Route(
            route_key("10.77.0.0/16", Owner::Cli),
            Some(via("10.0.1.9")),
        )],
    };
    let more = policy.apply(&delta).unwrap();
    let small = start.elapsed();
    assert_eq!(&*way(&more, "10.77.0.1").0, "lan");
    eprintln!("compile {compile:?}, one route more {small:?}");
    // Generous, for a busy machine: 0.1 s and 10 ms are usual.
    assert!(compile.as_millis() < 2000 && small.as_millis() < 500, "{compile:?} {small:?}");
}

#[test]
fn unused_next_hops_are_swept_out() {
    let mut policy = policy(BASE);
    for i in 0..3000u32 {
        let hop = format!("10.0.{}.{}", 1 + i % 3, 2 + i / 3 % 250);
        let delta = Delta {
            operations: vec![Operation::Route(
                route_key("10.77.0.0/16", Owner::Cli),
                Some(via(&hop)),
            )],
        };
        policy = policy.apply(&delta).unwrap();
        assert_eq!(way(&policy, "10.77.0.1").1, Some(hop.parse().unwrap()));
    }
    assert!(policy.tables.hops.len() <= 1024 + 2 * policy.state().routes.len() + 8);
}

/// Prefixes that nest, from few bits.
fn prefix() -> impl Strategy<Value = IpNet> {
    (0..4u32, 0..4u32, 1..=32u8).prop_map(|(a, b, length)| {
        let address = std::net::Ipv4Addr::from_bits(10 << 24 | 9 << 16 | a << 14 | b << 3);
        IpNet::new(address.into(), length).unwrap().trunc()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// However a state was come by, its tables are those of compiling it from nothing.
    #[test]
    fn the_way_does_not_matter(
        steps in proptest::collection::vec((prefix(), any::<bool>(), proptest::option::weighted(0.7, 2..6u8)), 1..40),
    ) {
        let mut grown = policy(BASE);
        for (prefix, cli, hop) in steps {
            let owner = if cli { Owner::Cli } else { Owner::Static };
            let key = RouteKey::main("default", prefix, owner);
            let route = hop.map(|hop| via(&format!("10.0.2.{hop}")));
            grown = grown.apply(&Delta { operations: vec![Operation::Route(key, route)] }).unwrap();
        }
        let fresh = Policy::empty().apply(&State::default().difference(grown.state())).unwrap();
        let mut probes: BTreeSet<String> = BTreeSet::from(["8.8.8.8".into()]);
        for key in grown.state().routes.keys().filter(|key| key.prefix.addr().is_ipv4()) {
            probes.insert(key.prefix.network().to_string());
            probes.insert(key.prefix.broadcast().to_string());
        }
        for probe in probes {
            let (a, b) = (route(&grown, "default", &probe), route(&fresh, "default", &probe));
            match (a, b) {
                (RouteDecision::Forward(a), RouteDecision::Forward(b)) => {
                    prop_assert_eq!(grown.next_hop(a), fresh.next_hop(b));
                }
                _ => prop_assert_eq!(a, b),
            }
            // And a list of routes agrees.
            let address: IpAddr = probe.parse().unwrap();
            let longest = grown
                .routes()
                .filter(|r| &**r.instance == "default" && r.active && r.prefix.contains(&address))
                .map(|r| r.prefix.prefix_len())
                .max();
            let instance = grown.instance_named("default").unwrap();
            let found = grown.route_to(instance, address).map(|r| r.prefix.prefix_len());
            prop_assert_eq!(found, longest);
        }
    }
}

#[test]
fn local_packets_may_have_a_link_local_source() {
    let policy = policy(BASE);
    let instance = policy.instance_named("default").unwrap();
    let mut d = packet("fe80::1", "2001:db8::5");
    assert!(matches!(instance.route(&d, &mut NoRecorder), RouteDecision::Drop(_)));
    d.flags = DescriptorFlags::LOCAL_ORIGIN;
    assert!(matches!(instance.route(&d, &mut NoRecorder), RouteDecision::Forward(_)));
}

//! Recursive next hops: what they resolve to, what they wait for, and that the way to a state does
//! not matter.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::evaluate::{NoRecorder, RouteDecision};
use crate::ids::PortId;
use crate::model::{MAIN_TABLE, Owner, Position};
use crate::policy::tests::{packet, policy};
use crate::policy::{MatchedRoute, Policy};

const BASE: &str = "
ports:
  a: { device: net_null0, addresses: [10.1.0.1/24, 'fd00:1::1/64'] }
  b: { device: net_null1, addresses: [10.2.0.1/24, 'fd00:2::1/64'] }
  c: { device: net_null2, addresses: 10.3.0.1/24 }
  t: { device: net_null3, instance: blue, addresses: 10.4.0.1/24 }
tables: isp
instances: { blue: {} }
routes:
  - { to: 0.0.0.0/0, via: 10.1.0.9 }
  - { to: 10.50.0.0/16, via: 10.2.0.2 }
";

fn position() -> Position {
    Position { file: "cli".into(), line: 0, column: 0 }
}

fn route(owner: &Owner, target: Target) -> Route {
    Route::new(target, owner, position())
}

fn via(addresses: &str) -> Target {
    let hop = |address: &str| {
        let (address, weight) = address.split_once('*').unwrap_or((address, "1"));
        let via = Some(address.parse().unwrap());
        NextHop { via, interface: None, weight: weight.parse().unwrap() }
    };
    Target::NextHops(addresses.split_whitespace().map(hop).collect())
}

fn on(interface: &str) -> Target {
    let interface = Some(interface.into());
    Target::NextHops([NextHop { via: None, interface, weight: 1 }].into())
}

/// Routes that are set or removed.
fn delta(routes: &[(&str, &str, Option<Target>)]) -> Delta {
    let operation = |(owner, to, target): &(&str, &str, Option<Target>)| {
        let (table, prefix) = to.split_once(' ').unwrap_or((MAIN_TABLE, to));
        let owner: Owner = owner.parse().unwrap();
        let (instance, prefix) = ("default".into(), prefix.parse().unwrap());
        let set = target.clone().map(|target| route(&owner, target));
        Operation::Route(RouteKey { instance, table: table.into(), prefix, owner }, set)
    };
    Delta { operations: routes.iter().map(operation).collect() }
}

/// The neighbours that flows to `dst` are handed to, with the number of 256 flows of each.
fn shares(policy: &Policy, dst: &str) -> BTreeMap<String, usize> {
    let src = if dst.contains(':') { "2001:db8::1" } else { "192.0.2.1" };
    let instance = policy.instance_named("default").unwrap();
    let mut shares = BTreeMap::new();
    for port in 0..256 {
        let mut d = packet(src, dst);
        d.key.src_port = port;
        let way = match instance.route(&d, &mut NoRecorder) {
            RouteDecision::Forward(id) => {
                let hop = policy.next_hop(id);
                let number = hop.via.unwrap_or(d.key.dst);
                let address = sluice_packet::descriptor::ip_of(hop.family, number);
                format!("{} {address}", policy.interface(hop.interface).unwrap().name)
            }
            RouteDecision::Local(_) => "local".into(),
            RouteDecision::Drop(reason) => reason.name().into(),
        };
        *shares.entry(way).or_default() += 1;
    }
    shares
}

fn ways(policy: &Policy, dst: &str) -> String {
    shares(policy, dst).into_keys().collect::<Vec<_>>().join(", ")
}

fn down(policy: &Policy, names: &str) -> Policy {
    let id = |name| policy.port_named(name).unwrap().id;
    policy.with_down(names.split_whitespace().map(id).collect::<Vec<PortId>>())
}

#[test]
fn a_next_hop_on_no_link_is_reached_as_the_routes_say() {
    let policy = policy(BASE);
    let policy = policy
        .apply(&delta(&[
            ("bgp", "172.16.0.0/12", Some(via("10.50.0.1"))),
            ("bgp", "172.17.0.0/16", Some(via("172.16.0.1"))),
            ("bgp", "172.18.0.0/16", Some(via("10.51.0.1"))),
            ("bgp", "172.19.0.0/16", Some(via("10.52.0.1"))),
            ("static", "10.51.0.0/16", Some(on("c"))),
            ("static", "10.52.0.1/32", Some(Target::Blackhole)),
            ("static", "isp 10.60.0.0/16", Some(via("10.50.0.1"))),
        ]))
        .unwrap();
    // Its neighbour is the one behind the route; where all is on a link, it is itself.
    assert_eq!(ways(&policy, "172.16.0.9"), "b 10.2.0.2");
    assert_eq!(ways(&policy, "172.17.0.9"), "b 10.2.0.2");
    assert_eq!(ways(&policy, "172.18.0.9"), "c 10.51.0.1");
    assert_eq!(ways(&policy, "172.19.0.9"), "blackhole");
    let through = |prefix: &str| {
        let route = policy.routes().find(|route| route.prefix.to_string() == prefix).unwrap();
        assert!(route.active && !route.unresolved);
        route.through.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(through("172.17.0.0/16"), ["172.16.0.0/12"]);
    assert_eq!(through("10.60.0.0/16"), ["10.50.0.0/16"]);
    assert_eq!(through("10.50.0.0/16"), [""; 0]);
    // A longer prefix takes over, and everything follows it.
    let next = policy.apply(&delta(&[("ospf", "10.50.0.1/32", Some(via("10.3.0.3")))])).unwrap();
    for dst in ["172.16.0.9", "172.17.0.9"] {
        assert_eq!(ways(&next, dst), "c 10.3.0.3");
    }
    let matched =
        next.route_to(next.instance_named("default").unwrap(), "172.17.0.9".parse().unwrap());
    assert_eq!(matched.unwrap().to_string(), "172.17.0.0/16 (bgp, through 172.16.0.0/12)");
    let back = next.apply(&delta(&[("ospf", "10.50.0.1/32", None)])).unwrap();
    assert_eq!(ways(&back, "172.17.0.9"), "b 10.2.0.2");
}

#[test]
fn what_a_route_resolves_through_may_go_and_come() {
    let base = policy(BASE);
    let policy = base.apply(&delta(&[("bgp", "172.16.0.0/12", Some(via("10.50.0.1")))])).unwrap();
    let without = policy.apply(&delta(&[("static", "10.50.0.0/16", None)])).unwrap();
    // The default route leads everywhere, so that it says nothing.
    assert_eq!(ways(&without, "172.16.0.9"), "a 10.1.0.9");
    let waiting: Vec<_> = without.unresolved_to(
        without.instances().next().unwrap().main_table(),
        "172.16.0.9".parse().unwrap(),
    );
    assert_eq!(waiting.len(), 1);
    assert!(waiting[0].unresolved && !waiting[0].active);
    let again = without.apply(&delta(&[("cli", "10.50.0.0/24", Some(via("10.3.0.3")))])).unwrap();
    assert_eq!(ways(&again, "172.16.0.9"), "c 10.3.0.3");
    // So may the port that it is reached by, and the state stays as it is.
    let lost = down(&again, "c");
    assert_eq!(ways(&lost, "172.16.0.9"), "a 10.1.0.9");
    assert_eq!(ways(&down(&lost, ""), "172.16.0.9"), "c 10.3.0.3");
    let other = lost.apply(&delta(&[("static", "10.50.0.0/16", Some(via("10.2.0.2")))])).unwrap();
    assert_eq!(ways(&other, "172.16.0.9"), "b 10.2.0.2");
    assert_eq!(ways(&down(&other, ""), "172.16.0.9"), "c 10.3.0.3");
    // The last user gone, nothing is left behind.
    let none = other.apply(&delta(&[("bgp", "172.16.0.0/12", None)])).unwrap();
    assert_eq!(*none.links.recursive, Recursive::default());
}

#[test]
fn shares_of_shares_are_kept() {
    let policy = policy(BASE);
    let policy = policy
        .apply(&delta(&[
            ("static", "10.60.0.0/16", Some(via("10.2.0.2 10.3.0.3*3"))),
            ("bgp", "172.16.0.0/12", Some(via("10.60.0.1*2 10.1.0.7*2"))),
        ]))
        .unwrap();
    let shares = shares(&policy, "172.16.0.9");
    let near = |way: &str, expected: usize| shares[way].abs_diff(expected) < 24;
    assert!(near("a 10.1.0.7", 128) && near("b 10.2.0.2", 32), "{shares:?}");
    assert!(near("c 10.3.0.3", 96) && shares.len() == 3, "{shares:?}");
}

#[test]
fn no_route_resolves_through_itself() {
    let policy = policy(BASE);
    let refused = |routes: &[(&str, &str, Option<Target>)]| {
        let errors = policy.apply(&delta(routes)).unwrap_err();
        assert!(matches!(errors[0].mistake, Mistake::NobodysNetwork(_)), "{errors:?}");
        // What was committed is taken all the same, and not used.
        let policy = policy.apply_as(7, &delta(routes)).unwrap();
        assert!(policy.routes().any(|route| route.unresolved));
        policy
    };
    // Nor through anything that it would hide.
    let itself = refused(&[
        ("cli", "172.16.0.0/16", Some(via("172.16.0.1"))),
        ("static", "172.0.0.0/8", Some(via("10.3.0.3"))),
    ]);
    assert_eq!(ways(&itself, "172.16.0.9"), "c 10.3.0.3");
    let each_other = refused(&[
        ("cli", "172.16.0.0/16", Some(via("172.17.0.1"))),
        ("cli", "172.17.0.0/16", Some(via("172.16.0.1"))),
    ]);
    assert_eq!(ways(&each_other, "172.16.0.9"), "a 10.1.0.9");
    refused(&[("cli", "172.16.0.0/16", Some(via("192.0.2.1")))]);
    // In another table it hides nothing: next hops resolve in the main one.
    let other =
        policy.apply(&delta(&[("cli", "isp 10.50.0.0/16", Some(via("10.50.0.1")))])).unwrap();
    assert!(other.routes().all(|route| !route.unresolved));
    // Eight routes deep, and no deeper.
    let chain: Vec<(String, String)> =
        (1..=10).map(|i| (format!("172.16.{i}.0/24"), format!("172.16.{}.1", i - 1))).collect();
    let mut routes: Vec<_> =
        chain.iter().map(|(to, by)| ("bgp", to.as_str(), Some(via(by)))).collect();
    routes.push(("static", "172.16.0.0/24", Some(via("10.2.0.2"))));
    let deep = policy.apply(&delta(&routes)).unwrap();
    assert_eq!(ways(&deep, "172.16.8.9"), "b 10.2.0.2");
    assert_eq!(ways(&deep, "172.16.9.9"), "a 10.1.0.9");
}

#[test]
fn learnt_routes_wait_and_typed_ones_must_lead_somewhere() {
    let base = policy(BASE);
    let to = "172.16.0.0/12";
    for owner in ["kernel", "dhcp", "bgp", "ospf"] {
        let policy = base.apply(&delta(&[(owner, to, Some(via("192.0.2.1")))])).unwrap();
        assert_eq!(ways(&policy, "172.16.0.9"), "a 10.1.0.9");
        let ready = policy.apply(&delta(&[("cli", "192.0.2.0/24", Some(via("10.2.0.2")))]));
        assert_eq!(ways(&ready.unwrap(), "172.16.0.9"), "b 10.2.0.2");
        // What is wrong with it by itself is wrong for everyone.
        assert!(base.apply(&delta(&[(owner, to, Some(via("fd00::1")))])).is_err());
    }
    for owner in ["static", "cli", "policy", "wan-watch"] {
        assert!(base.apply(&delta(&[(owner, to, Some(via("192.0.2.1")))])).is_err(), "{owner}");
    }
    // Links that typed routes need are not taken away; learnt ones are left waiting.
    let without = Delta { operations: vec![Operation::Interface("b".into(), None)] };
    assert!(base.apply(&without).is_err());
    let mut learnt = delta(&[("static", "10.50.0.0/16", None)]);
    learnt.operations.extend(delta(&[("bgp", "10.50.0.0/16", Some(via("10.2.0.2")))]).operations);
    let learnt = base.apply(&learnt).unwrap().apply(&without).unwrap();
    assert_eq!(ways(&learnt, "10.50.0.9"), "a 10.1.0.9");
    assert!(learnt.routes().any(|route| route.unresolved));
    // A typed one that had lost its way by itself does not hold them either.
    let typed = delta(&[("cli", to, Some(via("10.50.0.1")))]);
    let typed = base.apply(&typed).unwrap();
    let lost = typed.apply(&delta(&[("static", "10.50.0.0/16", None)])).unwrap();
    assert!(lost.apply(&without).is_ok());
    let compiled = Policy::empty().apply_as(9, &State::default().difference(lost.state())).unwrap();
    assert_eq!(compiled.digests(), lost.digests());
}

#[test]
fn a_next_hop_may_be_behind_another_table() {
    let policy = policy(BASE);
    let blue = Target::Table { instance: "blue".into(), table: MAIN_TABLE.into() };
    let policy = policy
        .apply(&delta(&[
            ("static", "10.4.0.0/24", Some(blue)),
            ("bgp", "172.16.0.0/12", Some(via("10.4.0.7"))),
        ]))
        .unwrap();
    assert_eq!(ways(&policy, "172.16.0.9"), "t 10.4.0.7");
    assert_eq!(ways(&down(&policy, "t"), "172.16.0.9"), "a 10.1.0.9");
}

#[test]
fn a_port_that_goes_down_moves_its_own_flows_alone() {
    let policy = policy(BASE);
    let members = "10.1.0.2 10.2.0.2 10.3.0.3 fd00:1::2 fd00:2::2";
    let of = |inet: bool| {
        let members = members.split(' ').filter(|m| m.contains(':') != inet);
        via(&members.collect::<Vec<_>>().join(" "))
    };
    let policy = policy
        .apply(&delta(&[
            ("cli", "172.16.0.0/12", Some(of(true))),
            ("cli", "2001:db8::/32", Some(of(false))),
        ]))
        .unwrap();
    let flows = |policy: &Policy| {
        let instance = policy.instance_named("default").unwrap().clone();
        let mut ways = Vec::new();
        for port in 0..2000 {
            for (src, dst) in [("192.0.2.1", "172.16.0.9"), ("2001:db8:1::1", "2001:db8::9")] {
                let mut d = packet(src, dst);
                d.key.src_port = port;
                let RouteDecision::Forward(id) = instance.route(&d, &mut NoRecorder) else {
                    panic!("{dst}")
                };
                let hop = *policy.next_hop(id);
                ways.push((hop.via, policy.interface(hop.interface).unwrap().name.clone()));
            }
        }
        ways
    };
    let all = flows(&policy);
    for port in ["a", "b", "c"] {
        let without = flows(&down(&policy, port));
        let moved = all.iter().zip(&without).filter(|(was, is)| was != is);
        assert!(moved.clone().all(|((_, was), (_, is))| &**was == port && &**is != port));
        assert_eq!(moved.count(), all.iter().filter(|(_, by)| &**by == port).count());
    }
}

#[test]
fn a_round_of_tables_is_refused_where_it_shows() {
    let policy = policy(BASE);
    let table = |instance: &str, table: &str| {
        Some(Target::Table { instance: instance.into(), table: table.into() })
    };
    let there = policy.apply(&delta(&[("cli", "172.16.0.0/12", table("default", "isp"))])).unwrap();
    let back = delta(&[("cli", "isp 0.0.0.0/0", table("default", "main"))]);
    let mistakes = |errors: Vec<crate::policy::PolicyError>| {
        errors.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let said = "packets to 172.16.0.0 would be looked up round and round: table main of instance \
                default, then table isp of instance default, then table main of instance default";
    // Whoever closes the round is told, though its own first address does not go round.
    assert_eq!(
        mistakes(there.apply(&back).unwrap_err()),
        [format!("cli: route 0.0.0.0/0 of table isp of instance default: lookup: {said}")]
    );
    // A round that was there before is nobody else's business.
    let round = there.apply_as(3, &back).unwrap();
    assert_eq!(ways(&round, "172.16.0.9"), "route-loop");
    assert!(round.apply(&delta(&[("cli", "10.7.0.0/16", table("blue", "main"))])).is_ok());
    let both = delta(&[
        ("cli", "isp 0.0.0.0/0", table("default", "main")),
        ("cli", "172.16.0.0/12", table("default", "isp")),
    ]);
    assert_eq!(
        mistakes(policy.apply(&both).unwrap_err()),
        [format!("cli: route 172.16.0.0/12 of instance default: lookup: {said}")]
    );
    // What was committed once is taken, and stopped at run time.
    let taken = policy.apply_as(3, &both).unwrap();
    assert_eq!(ways(&taken, "172.16.0.9"), "route-loop");
}

/// Prefixes that nest and hold the addresses that [`target`] names.
const PREFIXES: [&str; 10] = [
    "0.0.0.0/0",
    "172.16.0.0/12",
    "172.16.0.0/16",
    "172.16.1.0/24",
    "172.16.1.1/32",
    "172.17.0.0/16",
    "172.17.1.1/32",
    "172.18.0.0/16",
    "10.1.0.0/24",
    "172.0.0.0/8",
];

fn target() -> impl Strategy<Value = Target> {
    let vias = [
        "10.1.0.2",
        "10.2.0.2",
        "10.3.0.3",
        "172.16.1.1",
        "172.17.1.1",
        "172.18.1.1",
        "172.16.9.9",
        "192.0.2.1",
    ];
    let hops = prop::collection::vec((prop::sample::select(vias.to_vec()), 1..4_u16), 1..4);
    let hops = hops.prop_map(|hops| {
        let hops: BTreeMap<_, _> = hops.into_iter().collect();
        let words: Vec<_> = hops.iter().map(|(via, weight)| format!("{via}*{weight}")).collect();
        via(&words.join(" "))
    });
    let table =
        prop::sample::select(vec![("default", "isp"), ("blue", "main"), ("default", "main")]);
    let table = table.prop_map(|(instance, table)| Target::Table {
        instance: instance.into(),
        table: table.into(),
    });
    prop_oneof![8 => hops, 1 => Just(Target::Blackhole), 1 => Just(on("c")), 1 => table]
}

fn steps() -> impl Strategy<Value = Vec<(Vec<Operation>, u16)>> {
    let owner = prop::sample::select(vec![Owner::Static, Owner::Cli, Owner::Bgp]);
    let table = prop::sample::select(vec!["main", "main", "main", "isp"]);
    let prefix = prop::sample::select(PREFIXES.to_vec());
    let set = prop::option::weighted(0.75, target());
    let operation = (owner, table, prefix, set).prop_filter_map(
        "its own table",
        |(owner, table, prefix, set)| {
            let key = RouteKey {
                instance: "default".into(),
                table: table.into(),
                prefix: prefix.parse().ok()?,
                owner,
            };
            let own = Target::Table { instance: "default".into(), table: table.into() };
            let set = set.filter(|target| *target != own).map(|target| route(&key.owner, target));
            Some(Operation::Route(key, set))
        },
    );
    let down = prop_oneof![3 => Just(0), 1 => 0..16_u16];
    prop::collection::vec((prop::collection::vec(operation, 1..4), down), 1..12)
}

/// All there is to say about a policy's tables.
type Told = (Vec<BTreeMap<String, usize>>, Vec<Vec<MatchedRoute>>, Vec<String>);

fn told(policy: &Policy) -> Told {
    let probes = PREFIXES.iter().map(|prefix| {
        let net: IpNet = prefix.parse().unwrap();
        if net.prefix_len() < 12 { "172.99.0.1".into() } else { net.broadcast().to_string() }
    });
    let probes: Vec<String> = probes.collect();
    let main = policy.instance_named("default").unwrap().main_table();
    let routes = policy.routes().map(|r| {
        let said = (r.active, r.unresolved, r.through);
        format!("{} {} {} {} {said:?}", r.instance, r.table, r.prefix, r.owner)
    });
    (
        probes.iter().map(|dst| shares(policy, dst)).collect(),
        probes.iter().map(|dst| policy.routes_to(main, dst.parse().unwrap())).collect(),
        routes.collect(),
    )
}

#[test]
fn policy_routes_follow_routes_too() {
    let steered =
        "policy-routes: [{ name: x, source: 192.0.2.0/24, via: [10.50.0.1, 'fd00:2::9'] }]";
    let mut policy = policy(&format!("{BASE}{steered}\n"));
    assert_eq!(ways(&policy, "8.8.8.8"), "b 10.2.0.2");
    let mut step = |routes: &[(&str, &str, Option<Target>)]| {
        let asked = policy.apply(&delta(routes)).unwrap();
        policy = asked.clone();
        let fresh = State::default().difference(asked.state());
        let fresh = Policy::empty().apply_as(asked.generation(), &fresh).unwrap();
        assert_eq!(ways(&fresh, "8.8.8.8"), ways(&asked, "8.8.8.8"));
        assert_eq!(fresh.links.recursive, asked.links.recursive);
        let moved = asked.moved().since(asked.edition() as u32 - 1, Family::Inet, 8);
        (ways(&asked, "8.8.8.8"), moved.contains(crate::policy::Moved::STEERING))
    };
    // A longer route, and its end.
    let longer = ("ospf", "10.50.0.0/24", Some(via("10.3.0.2")));
    assert_eq!(step(&[longer]), ("c 10.3.0.2".into(), true));
    assert_eq!(
        step(&[("ospf", "10.99.0.0/24", Some(via("10.3.0.2")))]),
        ("c 10.3.0.2".into(), false)
    );
    assert_eq!(step(&[("ospf", "10.50.0.0/24", None)]), ("b 10.2.0.2".into(), true));
    // Without any it is unreachable, and what follows is asked: the table.
    assert_eq!(step(&[("static", "10.50.0.0/16", None)]).0, "a 10.1.0.9");
    assert_eq!(step(&[("bgp", "10.50.0.0/16", Some(Target::Blackhole))]).0, "blackhole");
    assert_eq!(
        step(&[("bgp", "10.50.0.0/16", Some(via("10.3.0.7 10.2.0.7")))]).0,
        "b 10.2.0.7, c 10.3.0.7"
    );
    assert_eq!(ways(&down(&policy, "c"), "8.8.8.8"), "b 10.2.0.7");
    assert_eq!(ways(&down(&policy, "b c"), "8.8.8.8"), "a 10.1.0.9");
    // None is left that names the address.
    let gone = Operation::PolicyRoutes("default".into(), None);
    let gone = policy.apply(&Delta { operations: vec![gone] }).unwrap();
    assert!(gone.links.recursive.0.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// However routes and ports came and went, all is as if made at once.
    #[test]
    fn the_way_does_not_matter(steps in steps()) {
        let base = policy(BASE);
        let set = |mask: u16| (0..4).filter(move |bit| mask >> bit & 1 == 1).map(PortId);
        let mut grown = base.clone();
        for (operations, mask) in steps {
            grown = grown.apply_as(2, &Delta { operations }).unwrap().with_down(set(mask));
            let delta = State::default().difference(grown.state());
            let fresh = Policy::empty().apply_as(2, &delta).unwrap().with_down(set(mask));
            prop_assert_eq!(told(&grown), told(&fresh));
            prop_assert_eq!(&grown.links.recursive, &fresh.links.recursive);
            // What is listed as in use is what a packet takes.
            for route in grown.routes().filter(|route| route.active && &*route.table == "main") {
                if &**route.instance == "default" && route.prefix.prefix_len() == 32 {
                    let instance = grown.instance_named("default").unwrap();
                    let matched = &grown.routes_to(instance.main_table(), route.prefix.addr())[0];
                    prop_assert_eq!((&matched.owner, matched.prefix), (&route.owner, route.prefix));
                }
            }
        }
    }
}

//! Tables beside `main`, and routes that lead from one to another.

use super::super::Mistake;
use super::super::tests::{packet, policy, state};
use super::*;
use crate::config;
use crate::evaluate::{NoRecorder, RouteDecision};
use crate::model::{Delta, Operation, Owner, Route, Target};
use crate::policy::Policy;

const LEAKS: &str = "
ports:
  lan: { device: net_tap0, addresses: [10.0.1.1/24, 'fd00:1::1/64'] }
  wan: { device: net_tap1, addresses: 10.0.2.1/24 }
  tenant: { device: net_tap2, instance: blue, addresses: [10.0.3.1/24, 'fd00:3::1/64'] }
tables: [isp-a, isp-b]
instances:
  blue:
    tables: deep
    routes:
      - { to: 10.8.0.0/16, via: 10.0.3.8 }
      - { to: 10.9.0.0/16, via: 10.0.3.9, table: deep }
      - { to: 10.9.0.0/16, lookup: { table: deep } }
      - { to: 10.0.1.0/24, lookup: { instance: default } }
routes:
  - { to: 0.0.0.0/0, via: 10.0.2.2 }
  - { to: 0.0.0.0/0, via: 10.0.2.3, table: isp-a }
  - { to: 10.7.0.0/16, prohibit: true, table: isp-a }
  - { to: 10.7.0.0/16, lookup: { table: isp-a } }
  - { to: 10.6.0.0/16, lookup: { table: isp-b } }
  - { to: 10.0.3.0/24, lookup: { instance: blue } }
  - { to: 'fd00:3::/64', lookup: { instance: blue, table: main } }
  - { to: 10.8.0.0/15, lookup: { instance: blue } }
";

fn said(policy: &Policy, decision: Option<RouteDecision>) -> String {
    match decision {
        None => "none".into(),
        Some(RouteDecision::Drop(reason)) => reason.name().into(),
        Some(RouteDecision::Local(id)) => format!("local {}", policy.interface(id).unwrap().name),
        Some(RouteDecision::Forward(id)) => {
            let hop = policy.next_hop(id);
            let interface = &policy.interface(hop.interface).unwrap().name;
            let via = hop.via.map(|via| sluice_packet::descriptor::ip_of(hop.family, via));
            via.map_or_else(|| interface.to_string(), |via| format!("{interface} {via}"))
        }
    }
}

fn way(policy: &Policy, instance: &str, dst: &str) -> String {
    let src = if dst.contains(':') { "2001:db8::1" } else { "192.0.2.1" };
    let instance = policy.instance_named(instance).unwrap();
    said(policy, Some(instance.route(&packet(src, dst), &mut NoRecorder)))
}

#[test]
fn a_route_may_lead_to_another_table() {
    let policy = policy(LEAKS);
    let ways = [
        ("default", "8.8.8.8", "wan 10.0.2.2"),
        // Of the same instance.
        ("default", "10.7.1.1", "prohibit-route"),
        // Nothing there is nothing at all: no shorter prefix of `main` helps.
        ("default", "10.6.1.1", "no-route"),
        // Of another instance: its connected network, its routes, its further table.
        ("default", "10.0.3.7", "tenant"),
        ("default", "fd00:3::7", "tenant"),
        ("default", "10.8.0.1", "tenant 10.0.3.8"),
        ("default", "10.9.0.1", "tenant 10.0.3.9"),
        ("default", "10.0.3.1", "local tenant"),
        ("default", "10.0.3.255", "directed-broadcast"),
        ("blue", "10.9.0.1", "tenant 10.0.3.9"),
        ("blue", "10.0.1.7", "lan"),
        ("blue", "8.8.8.8", "no-route"),
    ];
    for (instance, dst, expected) in ways {
        assert_eq!(way(&policy, instance, dst), expected, "{instance} {dst}");
    }
    let default = policy.instance_named("default").unwrap();
    let matched = policy.routes_to(default.main_table(), "10.9.0.1".parse().unwrap());
    let matched: Vec<_> =
        matched.iter().map(|m| format!("{} {} {}", m.instance, m.table, m.prefix)).collect();
    assert_eq!(
        matched,
        ["default main 10.8.0.0/15", "blue main 10.9.0.0/16", "blue deep 10.9.0.0/16"]
    );
}

#[test]
fn a_table_can_be_asked_by_itself() {
    let policy = policy(LEAKS);
    let default = policy.instance_named("default").unwrap();
    let ask = |instance: &str, table: &str, dst: &str| {
        let table = policy.instance_named(instance).unwrap().table_named(table).unwrap();
        said(&policy, default.look_up_in(table, &packet("192.0.2.1", dst), &mut NoRecorder))
    };
    assert_eq!(ask("default", "isp-a", "8.8.8.8"), "wan 10.0.2.3");
    assert_eq!(ask("default", "isp-a", "10.7.1.1"), "prohibit-route");
    assert_eq!(ask("default", "isp-b", "8.8.8.8"), "none");
    assert_eq!(ask("default", "main", "10.6.1.1"), "none");
    assert_eq!(ask("blue", "deep", "10.9.1.1"), "tenant 10.0.3.9");
    // Connected networks and own addresses stand in `main` alone.
    assert_eq!(ask("default", "isp-a", "10.0.1.1"), "wan 10.0.2.3");
    let all: Vec<_> = policy.tables().map(|table| (table.instance.0, &*table.name)).collect();
    assert_eq!(all.len(), 5, "{all:?}");
}

#[test]
fn tables_keep_their_numbers() {
    let first = policy(LEAKS);
    let number = |policy: &Policy, instance: &str, table: &str| {
        policy.instance_named(instance).unwrap().table_named(table).unwrap()
    };
    let yaml = LEAKS.replace("[isp-a, isp-b]", "[a-new-one, isp-b, isp-a]");
    let second = first.apply(&first.state().difference(&state(&yaml))).unwrap();
    for (instance, table) in [("default", "main"), ("default", "isp-a"), ("blue", "deep")] {
        assert_eq!(number(&first, instance, table), number(&second, instance, table));
    }
    assert_eq!(way(&second, "default", "10.9.0.1"), "tenant 10.0.3.9");
}

#[test]
fn routes_of_a_table_come_and_go() {
    let policy = policy(LEAKS);
    let table = |instance: &str, table: &str| Target::Table {
        instance: instance.into(),
        table: table.into(),
    };
    let set = |policy: &Policy, table: &str, prefix: &str, target: Option<Target>| {
        let (instance, prefix) = ("default".into(), prefix.parse().unwrap());
        let key = RouteKey { instance, table: table.into(), prefix, owner: Owner::Cli };
        let position = policy.state().ports["lan"].position.clone();
        let route = target.map(|target| Route::new(target, &key.owner, position));
        policy.apply(&Delta { operations: vec![Operation::Route(key, route)] })
    };
    let more = set(&policy, "isp-b", "10.6.6.0/24", Some(Target::Reject)).unwrap();
    assert_eq!(way(&more, "default", "10.6.6.1"), "reject-route");
    assert_eq!(way(&more, "default", "10.6.7.1"), "no-route");
    assert_eq!(way(&policy, "default", "10.6.6.1"), "no-route");
    let active: Vec<_> = more.routes().filter(|r| &*r.table == "isp-b").collect();
    assert!(active.len() == 1 && active[0].active);
    let back = set(&more, "isp-b", "10.6.6.0/24", None).unwrap();
    assert_eq!(way(&back, "default", "10.6.6.1"), "no-route");

    let mistake = |table: &str, target| {
        let errors = set(&policy, table, "10.66.0.0/16", Some(target)).unwrap_err();
        assert_eq!(errors.len(), 1, "{errors:?}");
        (errors[0].subject.field, errors[0].mistake.to_string())
    };
    let unknown = ("table", "instance default has no table `isp-c`; it has: isp-a, isp-b, main");
    assert_eq!(mistake("isp-c", Target::Reject), (unknown.0, unknown.1.into()));
    let unknown = ("lookup", "instance blue has no table `isp-a`; it has: deep, main");
    assert_eq!(mistake("main", table("blue", "isp-a")), (unknown.0, unknown.1.into()));
    let unknown = ("lookup", "there is no instance `red`; there are: blue, default");
    assert_eq!(mistake("main", table("red", "main")), (unknown.0, unknown.1.into()));
    let errors = set(&policy, "isp-a", "10.66.0.0/16", Some(table("default", "isp-a")));
    assert_eq!(errors.unwrap_err()[0].mistake, Mistake::OwnTable);
}

#[test]
fn what_is_wrong_with_a_table_is_said_where_it_stands() {
    let said = |yaml: &str| config::read(yaml.as_bytes(), "t").unwrap_err().to_string();
    let cases = [
        ("tables: main", "t:1:9: tables: table `main` is always there: leave it out"),
        ("tables: [a, b, a]", "t:1:16: tables: table `a` stands twice"),
        (
            "tables: 'a b'",
            "t:1:9: tables: `a b` is not a name: use a letter and then up to 62 letters, digits, - and _",
        ),
        (
            "routes:\n  - { to: 10.0.0.0/8, blackhole: true, table: x }",
            "t:2:47: routes[0].table: instance default has no table `x`; it has: main",
        ),
        (
            "routes:\n  - { to: 10.0.0.0/8, lookup: {} }",
            "t:2:31: routes[0].lookup: the route leads back to its own table: name another",
        ),
        (
            "routes:\n  - { to: 10.0.0.0/8, prohibit: true, lookup: { table: x } }\ntables: x",
            "t:2:5: routes[0]: leads two ways: give one of `via` or `interface`, `blackhole: true`, \
             `reject: true`, `prohibit: true`, `lookup`",
        ),
        (
            "routes:\n  - { to: 10.0.0.0/8, reject: true, metric: -1 }",
            "t:2:45: routes[0].metric: `-1` is not a whole number from 0 to 4294967295",
        ),
    ];
    for (yaml, expected) in cases {
        assert_eq!(said(yaml), expected, "{yaml}");
    }
}

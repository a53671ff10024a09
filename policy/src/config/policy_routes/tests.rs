use crate::config::tests::{bad, good};
use crate::model::{PolicyAction, Unreachable};

const UPLINKS: &str = "
ports:
  lan: { device: net_null0, addresses: [10.0.1.1/24, 'fd00:1::1/64'] }
  one: { device: net_null1, addresses: [10.0.2.1/24, 'fd00:2::1/64'] }
  two: { device: net_null2, addresses: 10.0.3.1/24 }
";

fn policy_routes(list: &str) -> String {
    format!("{UPLINKS}policy-routes: [{list}]\n")
}

#[test]
fn policy_routes_are_read() {
    let configuration = good(&policy_routes(
        "{ name: mail, in: lan, protocol: tcp, destination-port: [25, 587], via: [10.0.2.9, \
         { address: 'fd00:2::9', weight: 3 }], unreachable: drop }, { dscp: [ef, 10, af41], \
         fragment: true, interface: two }, { source: 10.0.1.7, table: main }, { protocol: icmp, \
         reject: true }",
    ));
    let routes = &configuration.state.policy_routes["default"];
    assert_eq!(routes.len(), 4);
    let mail = &routes[0];
    assert_eq!(
        (&*mail.name, &mail.protocol[..], mail.unreachable),
        ("mail", &[6][..], Unreachable::Drop)
    );
    assert_eq!(mail.destination_port, [25..=25, 587..=587]);
    let PolicyAction::NextHops(hops) = &mail.action else { panic!("{mail:?}") };
    assert_eq!(hops.iter().map(|hop| hop.weight).collect::<Vec<_>>(), [1, 3]);
    assert_eq!((&routes[1].dscp[..], routes[1].fragment), (&[46, 10, 34][..], Some(true)));
    assert_eq!(routes[2].action, PolicyAction::Table("main".into()));
    assert_eq!(routes[3].action, PolicyAction::Reject);
    assert!(routes[1].name.starts_with("policy-") && routes[1].name != routes[2].name);
}

#[test]
fn sets_are_what_is_in_them() {
    let sets = |net: &str| {
        let routes = "{ source: $office, protocol: tcp, destination-port: [25, $web], drop: true }";
        format!(
            "{}sets: {{ office: {{ prefixes: [{net}, 10.8.0.0/16] }}, web: {{ ports: [80, 443] }} }}\n",
            policy_routes(routes)
        )
    };
    let one = good(&sets("10.7.0.0/16"));
    let route = &one.state.policy_routes["default"][0];
    assert_eq!(route.source, ["10.7.0.0/16".parse().unwrap(), "10.8.0.0/16".parse().unwrap()]);
    assert_eq!(route.destination_port, [25..=25, 80..=80, 443..=443]);
    let other = good(&sets("10.9.0.0/16"));
    let name = &other.state.policy_routes["default"][0].name;
    assert_eq!(*name, route.name, "it is the same policy route, with another set");
    let wrong = bad(policy_routes("{ source: $office, drop: true }"));
    assert!(wrong.contains("policy-routes[0].source: there is no set `office`"), "{wrong}");
    let wrong = bad(sets("10.7.0.0/16").replace("[25, $web]", "$office"));
    assert!(wrong.contains("`office` is one of prefixes"), "{wrong}");
}

#[test]
fn mistakes_in_policy_routes_are_named_by_their_place() {
    let cases = [
        (
            "{ via: 10.9.9.9 }",
            "6:24: policy-routes[0].via: next hop 10.9.9.9 is in nobody's network",
        ),
        (
            "{ in: wan, drop: true }",
            "6:23: policy-routes[0].in: there is no interface `wan` in instance default; there are: lan, one, two",
        ),
        (
            "{ table: isp }",
            "6:26: policy-routes[0].table: instance default has no table `isp`; it has: main",
        ),
        (
            "{ destination-port: 25, drop: true }",
            "6:37: policy-routes[0].destination-port: ports are for TCP, UDP",
        ),
        (
            "{ protocol: icmp, source-port: 1, drop: true }",
            "6:48: policy-routes[0].source-port: ports are for TCP, UDP",
        ),
        ("{ dscp: 64, drop: true }", "6:25: policy-routes[0].dscp: `64` is not a DSCP"),
        (
            "{ name: a, drop: true }, { name: a, reject: true }",
            "6:50: policy-routes[1].name: policy route `a` stands twice",
        ),
        ("{ source: 10.0.1.0/24 }", "6:17: policy-routes[0]: the policy route leads nowhere"),
        ("{ drop: true, reject: true }", "6:17: policy-routes[0]: leads two ways"),
        ("{ table: main, interface: one }", "6:17: policy-routes[0]: leads two ways"),
        (
            "{ drop: true, unreachable: reject }",
            "6:44: policy-routes[0].unreachable: `drop` and `reject` need no way out",
        ),
        (
            "{ source: 'fd00::/8', via: 10.0.2.9 }",
            "6:44: policy-routes[0].via: the rule can match nothing",
        ),
        (
            "{ source: 10.0.1.0/24, destination: 'fd00::/8', drop: true }",
            "policy-routes[0].destination: the rule can match nothing",
        ),
        (
            "{ source: 10.0.1.1/24, drop: true }",
            "6:27: policy-routes[0].source: 10.0.1.1/24 has host bits set",
        ),
        (
            "{ protocol: [], drop: true }",
            "6:29: policy-routes[0].protocol: an empty list matches nothing",
        ),
        (
            "{ via: [10.0.2.9, 10.0.2.9] }",
            "6:35: policy-routes[0].via[1]: next hop 10.0.2.9 stands twice",
        ),
        (
            "{ via: 10.0.2.1 }",
            "6:24: policy-routes[0].via: next hop 10.0.2.1 is the router's own address",
        ),
        (
            "{ via: 10.0.2.9, unreachable: later }",
            "6:47: policy-routes[0].unreachable: `later` is not one of next, drop, reject",
        ),
        (
            "{ fragment: sometimes, drop: true }",
            "policy-routes[0].fragment: `sometimes` is not one of true, false",
        ),
        ("{ port: 25, drop: true }", "there is no key `port` here"),
    ];
    let wrong: Vec<String> = cases
        .into_iter()
        .map(|(list, expected)| (list, expected, bad(policy_routes(list))))
        .filter(|(_, expected, found)| !found.contains(expected))
        .map(|(list, expected, found)| format!("{list}\n  {expected}\n  {found}"))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

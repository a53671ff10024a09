//! Configuration files that are right, and every way in which they can be wrong.

use std::time::{Duration, Instant};

use crate::config::{Configuration, MAX_BYTES, read};
use crate::model::{Action, ChecksumMode, FilterKey, FilterPoint, Rule, Target, TcpFlags};

pub(super) fn good(text: &str) -> Configuration {
    read(text.as_bytes(), "test.yaml").unwrap_or_else(|diagnostics| panic!("{diagnostics}"))
}

/// The diagnostics, one a line, without the file's name.
pub(super) fn bad(text: impl AsRef<[u8]>) -> String {
    let text = text.as_ref();
    let diagnostics = read(text, "test.yaml").expect_err(&String::from_utf8_lossy(text));
    assert!(!diagnostics.0.is_empty());
    diagnostics.to_string().replace("test.yaml:", "")
}

const LAB: &str = include_str!("../../../conf/lab.yaml");
const METAL: &str = include_str!("../../../conf/metal.yaml");
const CONTAINER: &str = include_str!("../../../conf/container.yaml");

/// Two ports, to be gone on with.
const PORTS: &str = "
ports:
  lan: { device: 'net_af_packet0,iface=a', addresses: [10.0.1.1/24, 'fd00:1::1/64'] }
  wan: { device: 'net_af_packet1,iface=b', addresses: [10.0.2.1/24] }
";

fn rules(lines: &str) -> Vec<Rule> {
    let configuration = good(&format!("{PORTS}filters:\n  forward:\n    rules:\n{lines}\n"));
    let key = FilterKey { instance: "default".into(), point: FilterPoint::Forward };
    configuration.state.filters[&key].rules.clone()
}

#[test]
fn nothing_is_a_configuration() {
    let configuration = good("");
    assert_eq!(configuration.dataplane.cores, [0]);
    assert_eq!(configuration.dataplane.limits.rules, 16_384);
    assert!(configuration.state.ports.is_empty());
    assert_eq!(configuration.state.instances.len(), 1);
    assert_eq!(good("ports:\nroutes:\nfilters:\n"), configuration);
}

#[test]
fn defaults_follow_the_device() {
    let configuration = good(
        "ports:\n  a: { device: 'net_af_packet0,iface=a', mtu: 9000 }\n  b: { device: '0000:03:00.0' }\n  c: { device: virtio_user0 }\n",
    );
    let port = |name: &str| &configuration.state.ports[name];
    assert_eq!(port("a").checksum, ChecksumMode::Complete);
    assert_eq!(port("a").device, "net_af_packet0,iface=a");
    assert_eq!(port("b").checksum, ChecksumMode::Trust);
    assert_eq!((port("b").mtu, port("b").queues), (1500, 1));
    assert_eq!(port("c").checksum, ChecksumMode::Complete);
    assert_eq!(port("b").position.to_string(), "test.yaml:3:3");
}

#[test]
fn vlans_are_interfaces() {
    let configuration = good(
        "ports:\n  a:\n    device: net_tap0\n    mtu: 2000\n    vlans: { 10: { mtu: 1400, addresses: 10.0.0.1/24 }, 20: {} }\n",
    );
    let interfaces = &configuration.state.interfaces;
    assert_eq!(interfaces.keys().map(|n| &**n).collect::<Vec<_>>(), ["a.10", "a.20"]);
    assert_eq!((interfaces["a.10"].vlan, interfaces["a.10"].mtu), (Some(10), 1400));
    assert_eq!(interfaces["a.20"].mtu, 2000);
}

#[test]
fn routes_lead_somewhere() {
    let configuration = good(&format!(
        "{PORTS}routes:\n  - {{ to: 10.9.0.0/16, via: [10.0.2.2, {{ address: 10.0.2.3, weight: 2 }}] }}\n  - {{ to: 10.8.0.0/16, blackhole: true }}\n  - {{ to: 10.7.0.7, interface: wan }}\n  - {{ to: '::/0', via: 'fe80::1', interface: lan }}\n"
    ));
    let target = |prefix: &str| {
        let prefix: ipnet::IpNet = prefix.parse().unwrap();
        let found = configuration.state.routes.iter().find(|(key, _)| key.prefix == prefix);
        found.map(|(_, route)| route.target.clone()).unwrap()
    };
    let Target::NextHops(hops) = target("10.9.0.0/16") else { panic!() };
    assert_eq!(hops.iter().map(|hop| hop.weight).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(target("10.8.0.0/16"), Target::Blackhole);
    let Target::NextHops(hops) = target("10.7.0.7/32") else { panic!() };
    assert_eq!((hops[0].via, hops[0].interface.as_deref()), (None, Some("wan")));
    let Target::NextHops(hops) = target("::/0") else { panic!() };
    assert_eq!(hops[0].interface.as_deref(), Some("lan"));
}

#[test]
fn rules_take_values_and_lists() {
    let rules = rules(
        "      - { name: a, in: lan, out: [wan], protocol: [tcp, 17], destination-port: [80, '1000-2000'], action: drop, log: true }
      - { name: b, tcp-flags: 'syn,!ack', action: reject }
      - { name: c, source: 10.0.0.0/8, destination: [192.0.2.1], action: count }",
    );
    assert_eq!(rules[0].protocol, [6, 17]);
    assert_eq!(rules[0].destination_port, [80..=80, 1000..=2000]);
    assert!(rules[0].log);
    assert_eq!(
        (rules[1].protocol.as_slice(), rules[1].tcp_flags),
        (&[6][..], Some(TcpFlags { set: 2, clear: 16 }))
    );
    assert_eq!(rules[2].action, Action::Count);
    assert_eq!(rules[2].destination[0].to_string(), "192.0.2.1/32");
}

#[test]
fn icmp_types_imply_their_protocol() {
    let of = |keys: &str| {
        let rule = rules(&format!("      - {{ {keys}, action: drop }}")).remove(0);
        (rule.protocol, rule.icmp.iter().map(|m| (m.kind, m.code)).collect::<Vec<_>>())
    };
    assert_eq!(of("icmp-type: echo-request"), (vec![1, 58], vec![(8, None), (128, None)]));
    assert_eq!(of("icmp-type: echo-request, source: 10.0.0.0/8"), (vec![1], vec![(8, None)]));
    assert_eq!(of("icmp-type: echo-request, source: 'fd00::/8'"), (vec![58], vec![(128, None)]));
    assert_eq!(of("icmp-type: [8, '3/4']"), (vec![1], vec![(8, None), (3, Some(4))]));
    assert_eq!(of("icmp-type: packet-too-big"), (vec![58], vec![(2, None)]));
    assert_eq!(of("icmp-type: time-exceeded, protocol: icmpv6"), (vec![58], vec![(3, None)]));
    assert_eq!(of("icmp-type: 135, protocol: icmpv6"), (vec![58], vec![(135, None)]));
    let all = |key: &str| {
        bad(format!("{PORTS}filters: {{ forward: {{ rules: [{{ {key}, action: drop }}] }} }}"))
    };
    assert!(all("icmp-type: time-exceeded").contains("say which with `protocol: icmp`"));
    assert!(
        all("icmp-type: packet-too-big, protocol: icmp")
            .contains("does not exist in the rule's protocol")
    );
    assert!(all("icmp-type: redirect, protocol: [icmp, icmpv6]").contains("one rule for each"));
    assert!(all("icmp-type: 8, protocol: tcp").contains("ICMP types are for ICMP alone"));
}

#[test]
fn unnamed_rules_keep_their_names_when_others_come() {
    let first = rules(
        "      - { protocol: tcp, action: drop }\n      - { protocol: udp, action: drop }\n      - { protocol: tcp, action: drop }",
    );
    let names: Vec<_> = first.iter().map(|rule| rule.name.to_string()).collect();
    assert!(names[0].starts_with("rule-") && names[0].len() == 13);
    assert_eq!(names[2], format!("{}-2", names[0]));
    let later = rules(
        "      - { protocol: icmp, action: drop }\n\n      - { protocol: udp, action: drop }\n      - { action: drop, protocol: tcp }",
    );
    assert_eq!(later[1].name, first[1].name);
    assert_eq!(later[2].name, first[0].name);
}

#[test]
fn shape_is_reported_alone_and_by_place() {
    let cases = [
        (
            "ports:\n  lan:\n    divice: x\n    mtu: 1\n",
            "3:5: divice: there is no key `divice` here; allowed: device, mac, mtu",
        ),
        ("ports:\n  lan: 7\n", "2:8: expected a mapping (`key: value`), found `7`"),
        ("ports: []\n", "1:8: expected a mapping (`key: value`), found `[]`"),
        ("- 1\n", "1:1: expected a mapping (`key: value`), found `- 1`"),
        ("ports:\n  lan:\n    device: [1]\n", "3:13: expected a single value, found `[1]`"),
        (
            "ports: { lan: { device: a }, lan: { device: b } }\n",
            "1:30: lan: the key `lan` stands twice",
        ),
        ("routes:\n  to: 1\n", "2:3: expected a list, found `to: 1`"),
        ("routes: [{ to: a, via: [[1]] }]\n", "1:25: "),
        (
            "pipeline: { loopback: [] }\n",
            "1:13: loopback: there is no key `loopback` here; allowed: physical-in",
        ),
        ("ports:\n  lan: {device: 'x\n", "2:"),
        ("ports: {}\n---\nports: {}\n", "3:1: a second YAML document"),
        ("ports: {lan: {device: *nobody}}\n", "1:23: "),
        ("dataplane: { cores: [~] }\n", "1:22: a value is missing"),
        ("ports:\n  lan:\n", "2:6: expected a mapping (`key: value`), found nothing"),
        ("routes: [{ to: !thing 1 }]\n", "1:23: unsupported tag `!thing`"),
    ];
    for (text, start) in cases {
        let said = bad(text);
        assert!(said.starts_with(start), "{text}\n{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(!said.contains("DuplicateKeyPolicy"), "{said}");
    }
}

#[test]
fn meaning_is_reported_together_and_in_order() {
    let said = bad("\
ports:
  lan:
    device: net_af_packet0,iface=a
    mtu: 67
    mac: 03:00:00:00:00:01
    addresses: [10.0.1.1/24, 10.0.300.1/24]
  wan:
    device: net_af_packet1,iface=a
    queues: none
    checksum: maybe
    workers: [0, 3]
routes:
  - { to: 10.1.2.3/16, via: 10.0.1.2 }
  - { to: 10.2.0.0/16 }
  - { to: 10.3.0.0/16, via: 10.0.1.2, blackhole: true }
  - { via: 10.0.1.2 }
filters:
  forward:
    default: count
    rules:
      - { name: a, in: nowhere, action: drop }
      - { name: b, protocol: tpc, destination-port: 80, action: drop }
      - { name: b, destination-port: '9-1', action: forbid }
neighbours:
  - { interface: lan, address: 10.0.1.1, mac: nonsense }
");
    let expected = [
        "4:10: ports.lan.mtu: `67` is not a whole number from 68 to 16000",
        "5:10: ports.lan.mac: 03:00:00:00:00:01 is a group's address or none",
        "6:30: ports.lan.addresses[1]: `10.0.300.1/24` is not an address with the length",
        "8:13: ports.wan.device: kernel interface `a` is port `lan` already",
        "9:13: ports.wan.queues: `none` is not a whole number from 1 to 64",
        "10:15: ports.wan.checksum: `maybe` is not one of verify, complete, trust",
        "11:18: ports.wan.workers: there is no worker 3: `dataplane.cores` has 1",
        "13:11: routes[0].to: 10.1.2.3/16 has host bits set: write 10.1.0.0/16",
        "14:5: routes[1]: the route leads nowhere",
        "15:5: routes[2]: leads two ways",
        "16:5: routes[3].to: is missing",
        "19:14: filters.forward.default: `count` is not one of accept, drop, reject",
        "22:30: filters.forward.rules[1].protocol: `tpc` is not a protocol: use a number from 0 to 255 or one of tcp",
        "23:17: filters.forward.rules[2].name: rule name `b` stands twice",
        "23:38: filters.forward.rules[2].destination-port: `9-1` ends before it begins: write 1-9",
        "23:53: filters.forward.rules[2].action: `forbid` is not one of accept, drop, reject, count",
        "25:47: neighbours[0].mac: `nonsense` is not a MAC address",
    ];
    let said: Vec<&str> = said.lines().collect();
    for (said, expected) in said.iter().zip(expected) {
        assert!(said.starts_with(expected), "{said}\n{expected}");
    }
    assert_eq!(said.len(), expected.len(), "{said:#?}");
}

#[test]
fn the_whole_is_judged_with_places() {
    let with = |more: &str| bad(format!("{PORTS}{more}"));
    let cases = [
        (
            "routes: [{ to: 10.9.0.0/16, via: 10.0.3.1 }]",
            "5:34: routes[0].via: next hop 10.0.3.1 is in nobody's network",
        ),
        (
            "routes: [{ to: 10.9.0.0/16, via: [10.0.1.2, 10.0.1.1] }]",
            "5:45: routes[0].via[1]: next hop 10.0.1.1 is the router's own address, on `lan`",
        ),
        (
            "routes: [{ to: 10.9.0.0/16, via: 10.0.1.255 }]",
            "5:34: routes[0].via: next hop 10.0.1.255 is no station's address: the broadcast",
        ),
        (
            "routes: [{ to: 10.9.0.0/16, via: 'fd00:1::2' }]",
            "5:34: routes[0].via: next hop fd00:1::2 is of another IP version",
        ),
        (
            "routes: [{ to: 10.9.0.0/16, via: 10.0.1.2, interface: wan }]",
            "5:34: routes[0].via: next hop 10.0.1.2 is not in a network of interface `wan`",
        ),
        (
            "routes: [{ to: 10.9.0.0/16, via: 10.0.1.2, interface: lam }]",
            "5:55: routes[0].interface: there is no interface `lam` in instance default; there are: lan, wan",
        ),
        (
            "routes: [{ to: '::/0', via: 'fe80::1' }]",
            "5:29: routes[0].via: next hop fe80::1 is link-local: say by which interface",
        ),
        (
            "routes: [{ to: 224.0.0.0/4, blackhole: true }]",
            "5:16: routes[0].to: 224.0.0.0/4 is not routed: multicast",
        ),
        (
            "routes: [{ to: 10.9.0.0/16, via: 10.0.1.2 }, { to: 10.9.0.0/16, via: 10.0.1.3 }]",
            "5:46: routes[1]: there is a route for 10.9.0.0/16 already, in line 5",
        ),
        (
            "neighbours: [{ interface: wan, address: 10.0.1.9, mac: 02:00:00:00:00:01 }]",
            "5:41: neighbours[0].address: 10.0.1.9 is in no network of interface `wan`",
        ),
        (
            "neighbours: [{ interface: wan, address: 10.0.2.1, mac: 02:00:00:00:00:01 }]",
            "5:41: neighbours[0].address: 10.0.2.1 is the router's own address",
        ),
        (
            "pipeline: { forwarding: [mtu] }",
            "5:26: pipeline.forwarding: stage `hop-limit` must stand at FORWARDING",
        ),
        (
            "pipeline: { physical-in: [route], route-decision: [route, route] }",
            "5:27: pipeline.physical-in: stage `route` cannot stand at PHYSICAL_IN: it belongs at ROUTE_DECISION\n5:59: pipeline.route-decision[1]: stage `route` stands twice",
        ),
        (
            "filters: { ingress: { rules: [{ out: wan, action: drop }] } }",
            "5:38: filters.ingress.rules[0].out: `out` is not known yet",
        ),
        (
            "filters: { forward: { rules: [{ source: 10.0.0.0/8, destination: 'fd00::/8', action: drop }] } }",
            "5:66: filters.forward.rules[0].destination: the rule can match nothing",
        ),
        (
            "filters: { forward: { rules: [{ destination-port: 80, action: drop }] } }",
            "5:51: filters.forward.rules[0].destination-port: ports are for TCP",
        ),
        (
            "filters: { forward: { rules: [{ protocol: [], action: drop }] } }",
            "5:43: filters.forward.rules[0].protocol: an empty list matches nothing",
        ),
        (
            "filters: { forward: { rules: [{ name: default, action: drop }] } }",
            "5:39: filters.forward.rules[0].name: `default` is what",
        ),
        (
            "instances: { blue: { routes: [{ to: 0.0.0.0/0, via: 10.0.1.2 }] } }",
            "5:53: instances.blue.routes[0].via: next hop 10.0.1.2 is in nobody's network",
        ),
        (
            "instances: { default: {} }",
            "5:14: instances.default: the keys of the instance `default` stand at the top",
        ),
        (
            "dataplane: { limits: { ports: 1 } }",
            "5:31: dataplane.limits.ports: 2 ports are more than the limit, 1",
        ),
    ];
    for (more, start) in cases {
        let said = with(more);
        assert!(said.starts_with(start), "{more}\n{said}");
    }
}

#[test]
fn ports_cannot_quarrel() {
    let cases = [
        (
            "a: { device: net_tap0 }\n  b: { device: net_tap0 }",
            "3:16: ports.b.device: device `net_tap0` is port `a` already",
        ),
        ("a: { device: veth0 }", "2:16: ports.a.device: `veth0` is not a device"),
        (
            "a: { device: net_af_xdp0 }",
            "2:16: ports.a.device: `net_af_xdp0` works on a kernel interface",
        ),
        (
            "a: { device: 'net_af_xdp0,iface=x', mtu: 9000 }",
            "2:44: ports.a.mtu: MTU 9000 is more than `net_af_xdp0` can carry, 3498",
        ),
        (
            "a: { device: 'net_af_packet0,iface=x,framesz=2048', mtu: 9000 }",
            "2:60: ports.a.mtu: MTU 9000 is more than `net_af_packet0` can carry, 1964: its ring has frames of 2048",
        ),
        (
            "a: { device: net_tap0, mtu: 1279, addresses: 'fd00::1/64' }",
            "2:31: ports.a.mtu: MTU 1279 is too small for the interface's IPv6 addresses",
        ),
        (
            "a: { device: net_tap0, vlans: { 1: { mtu: 1501 } } }",
            "2:45: ports.a.vlans.1.mtu: MTU 1501 is over the port's, 1500",
        ),
        (
            "a: { device: net_tap0, vlans: { 4095: {} } }",
            "2:35: ports.a.vlans.4095: `4095` is not a whole number from 1 to 4094",
        ),
        (
            "a: { device: net_tap0, vlans: { 1: {}, '01': {} } }",
            "2:42: ports.a.vlans.01: VLAN 1 stands twice on port `a`",
        ),
        (
            "a: { device: net_tap0, instance: blue }",
            "2:36: ports.a.instance: there is no instance `blue`; there are: default",
        ),
        ("a.b: { device: net_tap0 }", "2:3: ports.a.b: `a.b` is not a name"),
        ("a: { mtu: 1500 }", "2:3: ports.a.device: is missing"),
        (
            "a: { device: net_tap0, addresses: 10.0.0.0/24 }",
            "2:37: ports.a.addresses: 10.0.0.0/24 cannot be an interface's address: the address of the network itself",
        ),
        (
            "a: { device: net_tap0, addresses: [10.0.0.1/24, 10.0.0.1/16] }",
            "2:51: ports.a.addresses[1]: 10.0.0.1 is an address of interface `a` already",
        ),
        (
            "a: { device: net_tap0, addresses: 10.0.0.1/24 }\n  b: { device: net_tap1, addresses: 10.0.0.9/16 }",
            "3:37: ports.b.addresses: 10.0.0.9/16 overlaps 10.0.0.1/24 of interface `a`",
        ),
        (
            "a: { device: net_tap0, addresses: 10.0.0.9/16 }\n  b: { device: net_tap1, addresses: 10.0.0.1/24 }",
            "3:37: ports.b.addresses: 10.0.0.1/24 overlaps 10.0.0.9/16 of interface `a`",
        ),
    ];
    for (ports, start) in cases {
        let said = bad(format!("ports:\n  {ports}\n"));
        assert!(said.starts_with(start), "{ports}\n{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

#[test]
fn a_lost_address_does_not_breed_mistakes() {
    let said = bad(
        "ports: { a: { device: net_tap0, addresses: 10.0.0.1/244 } }\nroutes: [{ to: 0.0.0.0/0, via: 10.0.0.2 }]\n",
    );
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test]
fn text_must_be_utf8_and_bounded() {
    assert!(bad(b"ports:\n  l\xff: {}\n").starts_with("2:4: byte 0xff is not UTF-8"));
    let latin = bad("ports: { ä: {} }".chars().map(|c| c as u32 as u8).collect::<Vec<_>>());
    assert!(latin.starts_with("1:10: byte 0xe4 is not UTF-8"), "{latin}");
    let huge = vec![b'#'; MAX_BYTES + 1];
    assert!(bad(huge).contains("the file has 16777217 bytes; at most 16777216 are read"));
}

/// What must end soon, whatever it says.
fn soon(text: &[u8]) -> bool {
    let start = Instant::now();
    let read = read(text, "test.yaml");
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    read.is_ok()
}

#[test]
fn bombs_are_defused() {
    assert!(bad("[".repeat(100_000)).ends_with("lists and mappings are nested too deeply"));
    let many = bad(format!("dataplane: {{ cores: [{}] }}", "1,".repeat(4_000_000)));
    assert!(many.contains("more than a configuration may have"), "{many}");
    assert!(!soon("{a: ".repeat(100_000).as_bytes()));
    assert!(!soon("- ".repeat(100_000).as_bytes()));
    let nested: String = (0..2000).map(|i| format!("{}a:\n", " ".repeat(i))).collect();
    assert!(!soon(nested.as_bytes()));
    let mut laughs = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for i in 1..12 {
        let list = vec![format!("*a{}", i - 1); 10].join(", ");
        laughs.push_str(&format!("a{i}: &a{i} [{list}]\n"));
    }
    assert!(!soon(laughs.as_bytes()));
    let aliases = format!("routes: [{}]", vec!["*a"; 20_000].join(", ")).replacen("*a", "&a {}", 1);
    assert!(!soon(aliases.as_bytes()));
}

#[test]
fn ten_megabytes_end_soon() {
    let comment = "# nothing to see here\n".repeat(10 << 20 >> 4).into_bytes();
    assert!(soon(&comment[..10 << 20]));
    let scalar = format!("ports: {{ lan: {{ device: '{}' }} }}", "x".repeat(10 << 20));
    assert!(!soon(scalar.as_bytes()));
    let mut routes = String::from("routes:\n");
    while routes.len() < 10 << 20 {
        routes.push_str("  - { to: 10.0.0.0/8, blackhole: true }\n");
    }
    assert!(!soon(routes.as_bytes()));
    let said = bad(&routes);
    assert_eq!(said.lines().count(), 1001);
    assert!(said.ends_with("more mistakes follow"), "{}", said.lines().last().unwrap());
}

#[test]
fn a_truncated_file_never_panics() {
    for text in [LAB, METAL, CONTAINER] {
        for end in 0..text.len() {
            let _ = read(&text.as_bytes()[..end], "test.yaml");
        }
    }
}

#[test]
fn a_garbled_file_never_panics() {
    for text in [LAB, METAL, CONTAINER] {
        for at in (0..text.len()).step_by(7) {
            for byte in [b'\t', b'[', b'*', b'-', b':', b'\n', b'\'', 0, 0xff] {
                let mut garbled = text.as_bytes().to_vec();
                garbled[at] = byte;
                let _ = read(&garbled, "test.yaml");
            }
        }
    }
}

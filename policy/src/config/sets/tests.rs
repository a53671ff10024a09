//! Named sets in configuration files, right and wrong.

use std::fmt::Write;
use std::net::IpAddr;

use sluice_packet::{Descriptor, Family, FlowKey, descriptor::number_of};

use crate::config::read;
use crate::evaluate::NoRecorder;
use crate::model::{Action, Filter, FilterKey, FilterPoint, Set, State};
use crate::{Instance, Policy};

const FORWARD: &str = "filters:\n  forward:\n    rules:\n";

fn good(text: &str) -> State {
    read(text.as_bytes(), "test.yaml").unwrap_or_else(|diagnostics| panic!("{diagnostics}")).state
}

fn bad(text: &str) -> String {
    let diagnostics = read(text.as_bytes(), "test.yaml").expect_err(text);
    diagnostics.to_string().replace("test.yaml:", "")
}

fn forward(state: &State) -> Filter {
    let key = FilterKey { instance: "default".into(), point: FilterPoint::Forward };
    state.filters[&key].clone()
}

fn policy(state: &State) -> Policy {
    Policy::empty().apply(&State::default().difference(state)).unwrap()
}

/// What the forward filter does with a TCP packet.
fn action(instance: &Instance, source: &str, port: u16) -> Action {
    let source: IpAddr = source.parse().unwrap();
    let family = if source.is_ipv4() { Family::Inet } else { Family::Inet6 };
    let src = number_of(source);
    let key = FlowKey { src, dst_port: port, protocol: 6, family, ..FlowKey::default() };
    let d = Descriptor { key, ..Descriptor::default() };
    instance.filter(FilterPoint::Forward, &d, None, &mut NoRecorder).action
}

#[test]
fn a_rule_takes_sets_alone_and_among_values() {
    let text = format!(
        "sets:
  bad-hosts: {{ prefixes: [192.0.2.0/24, 'fd00:bad::/32'] }}
  web: {{ ports: [80, 443, 8000-8099] }}
{FORWARD}      - {{ source: $bad-hosts, action: drop }}
      - {{ source: [10.9.0.1, $bad-hosts], destination-port: [$web, 22], protocol: tcp, action: reject }}
"
    );
    let state = good(&text);
    let filter = forward(&state);
    assert!(matches!(&filter.sets["bad-hosts"], Set::Prefixes(prefixes) if prefixes.len() == 2));
    assert_eq!(filter.rules[0].sets.source, ["bad-hosts".into()]);
    assert_eq!(filter.rules[1].source, ["10.9.0.1/32".parse().unwrap()]);
    assert_eq!(filter.rules[1].sets.destination_port, ["web".into()]);

    let policy = policy(&state);
    let instance = policy.instance_named("default").unwrap();
    assert_eq!(action(instance, "192.0.2.77", 5), Action::Drop);
    assert_eq!(action(instance, "fd00:bad::1", 5), Action::Drop);
    assert_eq!(action(instance, "10.9.0.1", 8042), Action::Reject);
    assert_eq!(action(instance, "10.9.0.1", 22), Action::Reject);
    assert_eq!(action(instance, "10.9.0.1", 8100), Action::Accept);
    assert_eq!(action(instance, "10.9.0.2", 80), Action::Accept);
}

#[test]
fn filters_take_along_the_sets_that_they_use() {
    let text = "sets:
  a: { prefixes: 10.0.0.0/8 }
  b: { prefixes: 10.0.0.0/8 }
filters:
  ingress: { rules: [{ source: $a, action: drop }] }
  forward: { rules: [{ destination: [$b], action: drop }] }
instances:
  blue:
    filters: { forward: { rules: [{ destination: $a, action: drop }] } }
";
    let state = good(text);
    let sets: Vec<Vec<&str>> = state
        .filters
        .values()
        .map(|filter| filter.sets.keys().map(|name| &**name).collect())
        .collect();
    assert_eq!(sets, [["a"], ["a"], ["b"]]);
    // What changes a set changes the filters that use it, and no others.
    let changed = good(&text.replace("b: { prefixes: 10.0.0.0/8", "b: { prefixes: 10.0.0.0/9"));
    assert_eq!(state.difference(&changed).operations.len(), 1);
}

#[test]
fn the_made_names_of_rules_do_not_depend_on_what_is_in_a_set() {
    let of = |prefixes: &str| {
        let sets = format!("sets: {{ s: {{ prefixes: {prefixes} }} }}\n");
        forward(&good(&format!("{sets}{FORWARD}      - {{ source: $s, action: drop }}\n")))
    };
    assert_eq!(of("10.0.0.0/8").rules[0].name, of("[10.0.0.0/8, '::1']").rules[0].name);
}

#[test]
fn every_mistake_has_its_place() {
    let with = |sets: &str, rule: &str| bad(&format!("sets:\n{sets}\n{FORWARD}      - {rule}\n"));
    let used = "{ source: $s, action: drop }";
    for (sets, rule, expected) in [
        (
            "  s: { prefixes: 10.0.0.0/8 }",
            "{ source: [$s, $t], action: drop }",
            "6:24: filters.forward.rules[0].source[1]: there is no set `t`; there are: s. Write it under `sets:`",
        ),
        (
            "  s: { ports: 80 }",
            used,
            "6:19: filters.forward.rules[0].source: set `s` is one of ports; `source` takes sets of prefixes",
        ),
        (
            "  s: { prefixes: 10.0.0.0/8 }",
            "{ protocol: tcp, source-port: $s, action: drop }",
            "6:39: filters.forward.rules[0].source-port: set `s` is one of prefixes; `source-port` takes sets of ports",
        ),
        (
            "  s: { prefixes: 10.0.0.0/8 }",
            "{ source: [$s, 10.1.0.0/16, $s], action: drop }",
            "6:37: filters.forward.rules[0].source[2]: set `$s` stands twice",
        ),
        (
            "  s: { prefixes: 10.0.0.0/8 }",
            "{ source: [$s, 10.1.0.1/16], action: drop }",
            "6:24: filters.forward.rules[0].source[1]: 10.1.0.1/16 has host bits set: write 10.1.0.0/16",
        ),
        (
            "  s: { prefixes: 10.0.0.0/8 }",
            "{ source: $, action: drop }",
            "6:19: filters.forward.rules[0].source: `$` is followed by the name of a set, such as $servers",
        ),
        (
            "  s: { prefixes: 10.0.0.0/8 }",
            "{ source: 10.0.0.0/8, action: drop }",
            "2:3: sets.s: no rule uses the set: refer to it as `$s`, or take it out",
        ),
        (
            "  s: { prefixes: [] }",
            used,
            "2:18: sets.s.prefixes: the set is empty: give it an item, or take it out with the rules that use it",
        ),
        (
            "  s: { prefixes: [10.0.0.0/8, 10.0.0.1/8] }",
            used,
            "2:31: sets.s.prefixes: 10.0.0.1/8 has host bits set: write 10.0.0.0/8",
        ),
        (
            "  s: { prefixes: [10.0.0.0/8, 10.0.0.0/8] }",
            used,
            "2:31: sets.s.prefixes[1]: `10.0.0.0/8` stands in line 2 already",
        ),
        (
            "  s: { prefixes: [10.0.0.0/8, 10.0.0.300] }",
            used,
            "2:31: sets.s.prefixes[1]: `10.0.0.300` is not a network, such as 10.1.0.0/16, 2001:db8::/32 or ::/0",
        ),
        ("  s: {}", used, "2:3: sets.s: a set has `prefixes` or `ports`: give one of them"),
        (
            "  s: { prefixes: 10.0.0.0/8, ports: 80 }",
            used,
            "2:3: sets.s: a set has `prefixes` or `ports`, not both: make two sets of it",
        ),
        (
            "  s: { prefixes: 10.0.0.0/8 }\n  s: { prefixes: 10.0.0.0/8 }",
            used,
            "3:3: s: the key `s` stands twice",
        ),
        (
            "  s: { prefixes: '::1' }",
            "{ source: $s, protocol: icmp, action: drop }",
            "6:33: filters.forward.rules[0].protocol: the rule can match nothing: ICMP is of IPv4, the addresses are of IPv6; use icmpv6",
        ),
        (
            "  s: { ports: 80 }",
            "{ destination-port: $s, action: drop }",
            "6:29: filters.forward.rules[0].destination-port: ports are for TCP, UDP, SCTP and DCCP: add `protocol: tcp` or such",
        ),
    ] {
        assert_eq!(with(sets, rule), expected, "{sets} {rule}");
    }
    let name = with("  5s: { prefixes: 10.0.0.0/8 }", "{ source: $5s, action: drop }");
    assert!(name.starts_with("2:3: sets.5s: `5s` is not a name"), "{name}");
}

#[test]
fn a_set_that_only_the_state_has_wrong_is_refused() {
    let text = format!(
        "sets: {{ s: {{ prefixes: 10.0.0.0/8 }} }}\n{FORWARD}      - {{ source: $s, action: drop }}\n"
    );
    let state = good(&text);
    let wrong = |change: &dyn Fn(&mut Filter)| {
        let mut state = state.clone();
        let keys: Vec<_> = state.filters.keys().cloned().collect();
        keys.iter().for_each(|key| change(state.filters.get_mut(key).unwrap()));
        let errors = Policy::empty().apply(&State::default().difference(&state)).unwrap_err();
        errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    let gone = wrong(&|filter| filter.sets.clear());
    assert!(gone.ends_with("source: there is no set `s` in the filter; there are: none"), "{gone}");
    let empty = wrong(&|filter| {
        filter.sets.insert("s".into(), Set::Prefixes([].into()));
    });
    assert!(empty.contains("set `s` is empty"), "{empty}");
    let unused = wrong(&|filter| filter.rules[0].sets.source.clear());
    assert!(unused.contains("no rule of the filter uses set `s`"), "{unused}");
    let ports = wrong(&|filter| {
        filter.sets.insert("s".into(), Set::Ports([1..=2].into()));
    });
    assert!(ports.contains("set `s` is one of ports; the field takes sets of prefixes"), "{ports}");
}

#[test]
fn a_hundred_thousand_prefixes_are_one_rule() {
    let mut text = "sets:\n  blocked:\n    prefixes:\n".to_owned();
    for n in 0..50_000u32 {
        // Scattered, as the lists of the world are.
        let host = std::net::Ipv4Addr::from_bits(0x2000_0000 | n.wrapping_mul(0x9e37_79b1) >> 2);
        let _ = writeln!(text, "    - {host}");
        let _ = writeln!(text, "    - 2001:db8:{:x}:{:x}::/64", n >> 8, n & 0xff);
    }
    let _ = writeln!(text, "{FORWARD}      - {{ source: $blocked, action: drop }}");
    let state = good(&text);
    let policy = policy(&state);
    let instance = policy.instance_named("default").unwrap();
    for n in [0, 1, 77, 49_999u32] {
        let host = 0x2000_0000 | n.wrapping_mul(0x9e37_79b1) >> 2;
        let text = std::net::Ipv4Addr::from_bits(host).to_string();
        assert_eq!(action(instance, &text, 1), Action::Drop);
    }
    assert_eq!(action(instance, "2001:db8:c3:4f::7", 1), Action::Drop);
    assert_eq!(action(instance, "2001:db8:c3:50::7", 1), Action::Accept);
    assert_eq!(action(instance, "10.0.0.1", 1), Action::Accept);
}

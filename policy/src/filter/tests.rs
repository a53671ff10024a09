//! The compiled filter against the plainest one there is.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use proptest::prelude::*;
use proptest::sample::select;
use sluice_packet::FlowKey;

use super::*;
use crate::model::Position;

fn rule(action: Action) -> Rule {
    Rule {
        name: "r".into(),
        input: Vec::new(),
        output: Vec::new(),
        source: Vec::new(),
        destination: Vec::new(),
        protocol: Vec::new(),
        source_port: Vec::new(),
        destination_port: Vec::new(),
        tcp_flags: None,
        icmp: Vec::new(),
        action,
        log: false,
        position: Position { file: "t".into(), line: 1, column: 1 },
    }
}

/// Interfaces are called by their numbers here.
fn ids(names: &[Name]) -> Box<[InterfaceId]> {
    names.iter().map(|name| InterfaceId(name.parse().unwrap())).collect()
}

fn compile(rules: &[Rule], default: Action) -> Filter {
    let matchers = rules.iter().enumerate().map(|(i, rule)| {
        Matcher::new(rule, ids(&rule.input), ids(&rule.output), RuleSlot(i as u16 + 1))
    });
    Filter {
        matchers: matchers.collect(),
        default,
        default_slot: RuleSlot(999),
        slots: HashMap::new(),
    }
}

/// What the documentation says a rule matches.
fn plainly(rule: &Rule, d: &Descriptor, egress: Option<InterfaceId>) -> bool {
    let FlowKey { src_port, dst_port, protocol, .. } = d.key;
    let any = |list: &[IpNet], ip| list.is_empty() || list.iter().any(|net| net.contains(&ip));
    let port = |list: &[RangeInclusive<u16>], port| {
        list.is_empty() || (d.fragment != Fragment::Later && list.iter().any(|r| r.contains(&port)))
    };
    let came_in = !d.flags.contains(DescriptorFlags::LOCAL_ORIGIN);
    (rule.input.is_empty() || (came_in && ids(&rule.input).contains(&InterfaceId(d.ingress))))
        && (rule.output.is_empty() || egress.is_some_and(|id| ids(&rule.output).contains(&id)))
        && any(&rule.source, d.key.src_ip())
        && any(&rule.destination, d.key.dst_ip())
        && (rule.protocol.is_empty() || rule.protocol.contains(&protocol))
        && port(&rule.source_port, src_port)
        && port(&rule.destination_port, dst_port)
        && rule.tcp_flags.is_none_or(|flags| {
            d.fragment != Fragment::Later
                && d.tcp_flags & flags.set == flags.set
                && d.tcp_flags & flags.clear == 0
        })
        && (rule.icmp.is_empty()
            || (d.fragment != Fragment::Later
                && rule
                    .icmp
                    .iter()
                    .any(|m| m.kind == d.icmp_type && m.code.is_none_or(|c| c == d.icmp_code))))
}

/// Zero to two of some values, so that empty lists are as common as others.
fn few<T: Clone + std::fmt::Debug + 'static>(values: Vec<T>) -> impl Strategy<Value = Vec<T>> {
    prop_oneof![2 => Just(Vec::new()), 1 => proptest::collection::vec(select(values), 1..3)]
}

fn nets() -> impl Strategy<Value = Vec<IpNet>> {
    few([
        "10.0.0.0/8",
        "10.0.1.0/24",
        "0.0.0.0/0",
        "::/0",
        "::a00:101/128",
        "fd00::/16",
        "10.0.1.1/32",
    ]
    .map(|n| n.parse().unwrap())
    .to_vec())
}

fn some_rule() -> impl Strategy<Value = Rule> {
    let names = || few(["1", "2", "3"].map(Name::from).to_vec());
    let ports = || few(vec![80..=80, 0..=79, 1000..=2000]);
    let flags =
        proptest::option::weighted(0.3, (select(vec![0u8, 2, 18]), select(vec![0u8, 1, 16])));
    let icmp = few(vec![IcmpMatch { kind: 8, code: None }, IcmpMatch { kind: 3, code: Some(4) }]);
    let action = select(vec![Action::Accept, Action::Drop, Action::Reject, Action::Count]);
    (
        (names(), names(), nets(), nets()),
        (few(vec![6u8, 17, 1, 132, 255]), ports(), ports()),
        flags,
        icmp,
        action,
    )
        .prop_map(
            |(
                (input, output, source, destination),
                (protocol, source_port, destination_port),
                flags,
                icmp,
                action,
            )| Rule {
                input,
                output,
                source,
                destination,
                protocol,
                source_port,
                destination_port,
                tcp_flags: flags.map(|(set, clear)| TcpFlags { set, clear }),
                icmp,
                ..rule(action)
            },
        )
}

prop_compose! {
    fn some_packet()(
        inet in any::<bool>(),
        (src, dst) in (select(vec![0x0a00_0101u128, 0x0a00_0001, 0x0b00_0001, 0xfd00 << 112]), select(vec![0x0a00_0101u128, 0x0a01_0001, 1])),
        (src_port, dst_port) in (select(vec![0u16, 80, 1000, 2001]), select(vec![0u16, 80, 1500, 65535])),
        protocol in select(vec![6u8, 17, 1, 132, 255, 0]),
        (ingress, egress) in (0..4u16, proptest::option::of(1..4u16)),
        (tcp_flags, icmp_type, icmp_code) in (select(vec![0u8, 2, 16, 18, 255]), select(vec![0u8, 8, 3]), select(vec![0u8, 4])),
        fragment in select(vec![Fragment::Whole, Fragment::First, Fragment::Later]),
        own in proptest::bool::weighted(0.1),
    ) -> (Descriptor, Option<InterfaceId>) {
        let family = if inet { Family::Inet } else { Family::Inet6 };
        let narrow = |n: u128| if inet { n & 0xffff_ffff } else { n };
        let mut flags = DescriptorFlags::empty();
        flags.set(DescriptorFlags::LOCAL_ORIGIN, own);
        let key = FlowKey { src: narrow(src), dst: narrow(dst), src_port, dst_port, protocol, family };
        let d = Descriptor { key, ingress, tcp_flags, icmp_type, icmp_code, fragment, flags, ..Descriptor::default() };
        (d, egress.map(InterfaceId))
    }
}

/// Keeps the slots that were told.
#[derive(Default)]
struct Told(Vec<RuleSlot>);

impl Recorder for Told {
    fn rule(&mut self, slot: RuleSlot, _: &Descriptor) {
        self.0.push(slot);
    }
}

proptest! {
    #[test]
    fn first_match_agrees_with_a_list(
        rules in proptest::collection::vec(some_rule(), 0..12),
        default in select(vec![Action::Accept, Action::Drop, Action::Reject]),
        packets in proptest::collection::vec(some_packet(), 20),
    ) {
        let filter = compile(&rules, default);
        for (d, egress) in packets {
            let mut told = Told::default();
            let decision = filter.decide(&d, egress, &mut told);
            let mut expected = Vec::new();
            let mut action = default;
            for (i, rule) in rules.iter().enumerate() {
                if plainly(rule, &d, egress) {
                    expected.push(RuleSlot(i as u16 + 1));
                    if rule.action != Action::Count {
                        action = rule.action;
                        break;
                    }
                }
            }
            if expected.last().is_none_or(|slot| rules[slot.index() - 1].action == Action::Count) {
                expected.push(RuleSlot(999));
            }
            prop_assert_eq!(decision.action, action);
            prop_assert_eq!(Some(&decision.rule), expected.last());
            prop_assert_eq!(told.0, expected);
        }
    }
}

#[test]
fn log_is_the_deciding_rules() {
    let rules = [
        Rule { log: true, ..rule(Action::Count) },
        Rule { protocol: vec![6], log: true, ..rule(Action::Drop) },
    ];
    let filter = compile(&rules, Action::Accept);
    let mut d = Descriptor::default();
    assert!(!filter.decide(&d, None, &mut Told::default()).log);
    d.key.protocol = 6;
    assert!(filter.decide(&d, None, &mut Told::default()).log);
    assert!(!filter.is_open());
    assert!(compile(&[], Action::Accept).is_open() && !compile(&[], Action::Drop).is_open());
}

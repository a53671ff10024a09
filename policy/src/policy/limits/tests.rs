//! Stateful filters and limits from generation to generation.

use std::collections::BTreeMap;

use sluice_flow::Timeouts;
use sluice_flow::limits::{Allowance, Rate};
use sluice_packet::{ConnectionState, Consulted, Descriptor};

use crate::evaluate::{FilterDecision, NoRecorder};
use crate::ids::RuleSlot;
use crate::model::{Action, Delta, FilterPoint, Operation, Timeout};
use crate::policy::Policy;
use crate::policy::tests::{packet, policy, state};
use crate::{DropReason, Moved};

const PORTS: &str = "ports: { lan: { device: net_null0, addresses: 10.0.1.1/24 } }\n";

fn filter(said: &str) -> String {
    format!("{PORTS}filters:\n  forward:\n    default: reject\n{said}")
}

fn to(policy: &Policy, yaml: &str) -> Policy {
    policy.apply(&policy.state().difference(&state(yaml))).unwrap()
}

fn decided(policy: &Policy, state: ConnectionState) -> FilterDecision {
    let instance = policy.instance_named("default").unwrap();
    let d = Descriptor { state, ..packet("10.0.1.5", "10.9.0.1") };
    instance.filter(FilterPoint::Forward, &d, None, &mut NoRecorder)
}

fn slots(policy: &Policy) -> BTreeMap<String, RuleSlot> {
    policy.rules().map(|rule| (rule.name.to_owned(), rule.slot)).collect()
}

const STATES: [ConnectionState; 5] = [
    ConnectionState::Untracked,
    ConnectionState::New,
    ConnectionState::Established,
    ConnectionState::Related,
    ConnectionState::Invalid,
];

#[test]
fn one_keyword_makes_a_filter_stateful() {
    let rules = "    rules: [{ name: ssh, destination: 10.8.0.0/16, action: accept }]\n";
    let plain = policy(&filter(rules));
    let stateful = to(&plain, &filter(&format!("    stateful: true\n{rules}")));
    let instance = |policy: &Policy| policy.instance_named("default").unwrap().clone();
    assert!(!instance(&plain).tracks() && instance(&stateful).tracks());
    assert_eq!(instance(&stateful).consults(), Consulted { state: true, ..Default::default() });
    assert_eq!(
        stateful.moved().since(plain.edition() as u32, sluice_packet::Family::Inet, 1),
        Moved::FILTERS
    );
    for state in STATES {
        let (said, reason) = match state {
            ConnectionState::Established | ConnectionState::Related => (Action::Accept, None),
            ConnectionState::Invalid => (Action::Drop, Some(DropReason::InvalidState)),
            _ => (Action::Reject, Some(DropReason::ForwardFilter)),
        };
        let decision = decided(&stateful, state);
        assert_eq!(decision.action, said, "{state:?}");
        if let Some(reason) = reason {
            assert_eq!(decision.drop_reason(FilterPoint::Forward), reason);
            let name = stateful.rule_at(decision.rule).unwrap().name;
            assert_eq!(FilterPoint::Forward.drop_reason_of(name), reason);
        }
        assert_eq!(decided(&plain, state).action, Action::Reject);
    }
    // Rules are told with what stands ahead of them, and with its line.
    let told: Vec<_> = stateful
        .rules()
        .map(|r| (r.name.to_owned(), r.action, r.implied(), r.position.map(|p| p.line)))
        .collect();
    let implied = |states: &str| Some(states.to_owned());
    let expected = [
        ("stateful:established".into(), Action::Accept, implied("established, related"), Some(5)),
        ("stateful:invalid".into(), Action::Drop, implied("invalid"), Some(5)),
        ("ssh".into(), Action::Accept, None, Some(6)),
        ("default".into(), Action::Reject, None, None),
    ];
    assert_eq!(told, expected);
}

#[test]
fn slots_stay_when_a_filter_becomes_stateful_and_back() {
    let rules = |more: &str| format!("    rules: [{{ name: a, action: count }}{more}]\n");
    let plain = policy(&filter(&rules("")));
    let stateful = to(&plain, &filter(&format!("    stateful: true\n{}", rules(""))));
    let before = slots(&plain);
    let after = slots(&stateful);
    assert!(before.iter().all(|(name, slot)| after[name] == *slot), "{before:?} {after:?}");
    let more = ", { name: b, action: accept }";
    let grown = to(&stateful, &filter(&format!("    stateful: true\n{}", rules(more))));
    assert!(after.iter().all(|(name, slot)| slots(&grown)[name] == *slot));
    let back = to(&grown, &filter(&rules(more)));
    assert!(slots(&back).iter().all(|(name, slot)| slots(&grown)[name] == *slot));
    assert_eq!(slots(&back).len(), 3);
    // What is free again is given to others, once.
    let again = to(&back, &filter(&format!("    stateful: true\n{}", rules(more))));
    let mut all: Vec<_> = slots(&again).into_values().collect();
    all.dedup();
    assert_eq!(all.len(), 5);
}

#[test]
fn limits_are_found_by_slot() {
    let yaml = filter(
        "    rules:
      - { name: open, state: established, action: accept }
      - { name: some, source: 10.0.1.0/24, action: accept, limit: { new-flows: 30/m, flows-per-source: 20 } }
",
    );
    let policy = policy(&yaml);
    let limit = Allowance {
        new_flows: Some(Rate { count: 30, seconds: 60, burst: 30 }),
        flows_per_source: Some(20),
    };
    let slots = slots(&policy);
    assert_eq!(policy.rule_limit(slots["some"]), Some(limit));
    assert_eq!((policy.rule_limit(slots["open"]), policy.rule_limit(RuleSlot(0))), (None, None));
    assert!(policy.instance_named("default").unwrap().limits());
    assert!(decided(&policy, ConnectionState::New).limited);
    assert!(!decided(&policy, ConnectionState::Established).limited);
    // They stay while other things change, links included, and go with their rule.
    let moved = to(&policy, &yaml.replace("10.0.1.1/24", "10.0.2.1/24"));
    assert_eq!(moved.rule_limit(slots["some"]), Some(limit));
    let without = to(&policy, &filter("    rules: [{ name: some, action: accept }]\n"));
    assert_eq!(without.rule_limit(slots["some"]), None);
    assert!(!without.instance_named("default").unwrap().limits());
}

#[test]
fn timeouts_are_the_usual_ones_but_for_those_that_are_set() {
    let policy = policy(PORTS);
    assert_eq!(*policy.timeouts(), Timeouts::DEFAULT);
    let set =
        to(&policy, &format!("{PORTS}flows: {{ timeouts: {{ udp: 7s, tcp-established: 1h }} }}"));
    let expected = Timeouts { udp: 7, tcp_open: 3600, ..Timeouts::DEFAULT };
    assert_eq!(*set.timeouts(), expected);
    assert!(set.moved().is_current(policy.edition() as u32));
    assert_eq!(set.digests(), set.state().digests());
    assert_eq!(*to(&set, PORTS).timeouts(), Timeouts::DEFAULT);
    for seconds in [0, 604_801] {
        let operations = vec![Operation::Timeout(Timeout::Udp, Some(seconds))];
        let errors = policy.apply(&Delta { operations }).unwrap_err();
        assert!(errors[0].to_string().contains("out of range for `udp`"), "{}", errors[0]);
    }
}

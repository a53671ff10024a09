//! Hooks in the file, and every way in which they can be wrong.

use crate::config::tests::{bad, good};
use crate::event::{Event, Protocol};
use crate::explain::{self, Live, Query};
use crate::model::{Delta, Operation, Owner, State};
use crate::order::{Hint, Place, resolved};
use crate::policy::Policy;

const PORTS: &str = "
ports:
  lan: { device: 'net_af_packet0,iface=a', addresses: [10.0.1.1/24] }
  wan: { device: 'net_af_packet1,iface=b', addresses: [10.0.2.1/24] }
instances: { blue: {} }
";

fn hooks(lines: &str) -> String {
    format!("{PORTS}hooks:\n{lines}\n")
}

fn policy(state: &State) -> Policy {
    let mut delta = State::default().difference(state);
    delta.stamp(1);
    Policy::empty().apply(&delta).unwrap_or_else(|errors| panic!("{errors:?}"))
}

#[test]
fn a_hook_is_read_with_all_its_keys() {
    let state = good(&hooks(
        "  meter: { program: hundredth, event: physical-in }\n  sampler:\n    program: hundredth\n    \
         event: forwarding\n    order: { after: hop-limit }\n    instance: blue\n    protocols: \
         inet6\n    settings: { every: 50, label: a b, exact: true, share: 0.5 }",
    ))
    .state;
    let meter = &state.hooks["meter"];
    assert_eq!((&*meter.program, meter.event), ("hundredth", Some(Event::PhysicalIn)));
    assert_eq!(meter.protocols, [Protocol::Inet, Protocol::Inet6]);
    assert_eq!((&meter.hint, &meter.instance, &meter.owner), (&Hint::None, &None, &Owner::Static));
    assert_eq!(meter.position.to_string(), "test.yaml:7:3");
    let sampler = &state.hooks["sampler"];
    assert_eq!(sampler.hint, Hint::After("hop-limit".into()));
    assert_eq!(sampler.instance.as_deref(), Some("blue"));
    assert_eq!(sampler.protocols, [Protocol::Inet6]);
    let settings: Vec<String> =
        sampler.settings.iter().map(|(key, value)| format!("{key}={value}")).collect();
    assert_eq!(settings, ["every=50", "exact=true", "label=a b", "share=0.5"]);
}

#[test]
fn e6_loaded_hooks_stand_among_the_stages() {
    let state = good(&hooks(
        "  b: { program: p, event: physical-in }\n  a: { program: p, event: physical-in }\n  end: { \
         program: p, event: physical-in, order: last }\n  early: { program: p, event: physical-in, \
         order: { before: ingress-filter } }\n  top: { program: p, event: physical-in, order: first \
         }",
    ))
    .state;
    let policy = policy(&state);
    let foreign: Vec<_> = policy.hooks().map(|(name, hook)| hook.foreign(name).unwrap()).collect();
    let instance = policy.instance_named("blue").unwrap();
    let order = resolved(instance, Protocol::Inet, Event::PhysicalIn, &foreign).unwrap();
    let names: Vec<&str> = order
        .iter()
        .map(|place| match place {
            Place::Stage(stage) => stage.name(),
            Place::Foreign(hook) => &*foreign[*hook].name,
        })
        .collect();
    assert_eq!(names, ["top", "flow", "early", "ingress-filter", "a", "b", "end"]);
}

#[test]
fn the_order_of_registration_is_that_of_commits() {
    let mut state = good(&hooks(
        "  a: { program: p, event: forwarding }\n  b: { program: p, event: forwarding }\n  c: { \
         program: p, event: forwarding }",
    ))
    .state;
    state.hooks.get_mut("a").unwrap().generation = 7;
    state.hooks.get_mut("c").unwrap().generation = 3;
    let policy = policy(&state);
    assert_eq!(policy.hooks().map(|(name, _)| &**name).collect::<Vec<_>>(), ["b", "c", "a"]);
}

#[test]
fn what_a_hook_is_told_is_a_change_and_where_it_stands_is_not() {
    let one = good(&hooks("  a: { program: p, event: forwarding, settings: { x: 1 } }")).state;
    let moved = good(&hooks("\n  a: { program: p, event: forwarding, settings: { x: 1 } }")).state;
    let other = good(&hooks("  a: { program: p, event: forwarding, settings: { x: 2 } }")).state;
    let a = |state: &State| state.hooks["a"].clone();
    assert!(a(&one).runs_as(&a(&moved)) && !a(&one).asks_as(&a(&moved)));
    assert!(!a(&one).runs_as(&a(&other)));
}

#[test]
fn every_mistake_is_named_with_its_place() {
    for (lines, says) in [
        ("  a: { event: forwarding }", "7:3: hooks.a.program: is missing"),
        ("  a: { program: p, file: /p.so }", "7:26: hooks.a.file: give exactly one of"),
        ("  a: { file: p.so }", "7:14: hooks.a.file: `p.so` is not the absolute path of a file"),
        ("  a: { file: /p.so, order: first }", "7:28: hooks.a.order: a module, which stands at"),
        ("  a: { program: p, settings: { x: 1 } }", "hooks.a.settings: a module, which"),
        (
            "  a: { program: p, event: pre-routing }",
            "7:27: hooks.a.event: `pre-routing` is not one of observing, physical-in, loopback-in, \
             loopback-out, route-decision, forwarding, physical-out, nic-events",
        ),
        (
            "  a: { program: p, event: forwarding, protocols: [inet, arp] }",
            "7:57: hooks.a.protocols[1]: protocol arp has no event FORWARDING; it has: PHYSICAL_IN, \
             PHYSICAL_OUT, NIC_EVENTS",
        ),
        (
            "  a: { program: p, event: forwarding, protocols: [ipv4] }",
            "7:51: hooks.a.protocols: `ipv4` is not one of inet, inet6, arp",
        ),
        (
            "  a: { program: p, event: forwarding, protocols: [] }",
            "hooks.a.protocols: the hook sees no protocol",
        ),
        (
            "  a: { program: p, event: forwarding, protocols: [inet, inet] }",
            "hooks.a.protocols[1]: protocol inet stands twice",
        ),
        (
            "  a: { program: p, event: forwarding, instance: red }",
            "7:49: hooks.a.instance: there is no instance `red`; there are: default, blue",
        ),
        (
            "  hop-limit: { program: p, event: forwarding }",
            "7:3: hooks.hop-limit: `hop-limit` is a stage of Sluice's own",
        ),
        ("  9a: { program: p, event: forwarding }", "7:3: hooks.9a: `9a` is not a name"),
        ("  a: { program: p/q, event: forwarding }", "7:17: hooks.a.program: `p/q` is not a name"),
        (
            "  a: { program: p, event: forwarding, order: middle }",
            "7:46: hooks.a.order: `middle` is not one of first, last, { before: HOOK }, { after: HOOK }",
        ),
        (
            "  a: { program: p, event: forwarding, order: { before: x, after: y } }",
            "7:46: hooks.a.order: give exactly one of `before` and `after`",
        ),
        (
            "  a: { program: p, event: forwarding, order: { ahead: x } }",
            "there is no key `ahead` here; allowed: before, after",
        ),
        (
            "  a: { program: p, event: forwarding, order: { after: a } }",
            "7:46: hooks.a.order: a hook cannot stand against itself",
        ),
        (
            "  a: { program: p, event: forwarding, settings: { every: [1, 2] } }",
            "7:58: expected a single value, found `[1, 2] } }`",
        ),
        (
            "  a: { program: p, event: forwarding, settings: { '-x': 1 } }",
            "7:49: hooks.a.settings: `-x` is not a name",
        ),
        (
            "  a: { program: p, event: forwarding, order: first }\n  b: { program: p, event: \
             forwarding, order: first }",
            "8:46: hooks.b.order: instance default, event FORWARDING: `b` cannot be FIRST: `a` \
             already is",
        ),
        (
            "  a: { program: p, event: forwarding, order: { after: mtu } }\n  b: { program: p, event: \
             forwarding, order: { before: hop-limit } }\n  c: { program: p, event: forwarding, order: \
             { after: a } }\n  d: { program: p, event: forwarding, order: { before: c } }",
            "",
        ),
        (
            "  a: { program: p, event: forwarding, order: { before: b } }\n  b: { program: p, event: \
             forwarding, order: { before: a } }",
            "8:46: hooks.b.order: instance default, event FORWARDING: the hints of `a`, `b` \
             contradict each other",
        ),
        ("  a: { program: p, event: forwarding }\n  a: { program: p, event: forwarding }", "a"),
    ] {
        let text = hooks(lines);
        if says.is_empty() {
            good(&text);
            continue;
        }
        let told = bad(&text);
        assert!(told.contains(says), "{lines}\n{told}");
        assert_eq!(told.lines().count(), 1, "{lines}\n{told}");
    }
}

#[test]
fn an_instance_with_a_hook_stays() {
    let state = good(&hooks("  a: { program: p, event: forwarding, instance: blue }")).state;
    let delta = Delta { operations: vec![Operation::Instance("blue".into(), None)] };
    let errors = policy(&state).apply(&delta).unwrap_err();
    assert_eq!(
        errors[0].to_string(),
        "test.yaml:7:3: hook a: instance: there is no instance `blue`; there are: default"
    );
}

#[test]
fn explain_meets_the_hooks_of_the_policy_that_is_asked() {
    let with = policy(&good(&hooks("  a: { program: p, event: forwarding }")).state);
    let without = policy(&good(PORTS).state);
    let query: Query = serde_json::from_str(
        r#"{"input":"lan","src":"10.0.1.2","dst":"10.0.2.2","protocol":17,"dst_port":9}"#,
    )
    .unwrap();
    let told = |policy: &Policy| explain::explain(policy, &Live::default(), &query).unwrap();
    let text = told(&with).to_string();
    assert!(text.contains("program p, loaded at test.yaml:7:3"), "{text}");
    assert!(!told(&without).to_string().contains("program p"));
}

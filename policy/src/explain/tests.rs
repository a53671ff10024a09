//! Explanations say what the evaluator does.

use proptest::prelude::*;
use sluice_packet::ipv6;

use super::*;
use crate::evaluate::{self, NoRecorder, RouteDecision};
use crate::event::Protocol;
use crate::model::{FilterPoint, MacAddress};
use crate::order::{ForeignHook, Hint};
use crate::policy::tests::policy;

const YAML: &str = "\
ports:
  lan: { device: net_tap0, addresses: [10.0.1.1/24, 'fd00:1::1/64'], mtu: 9000 }
  wan: { device: net_tap1, addresses: [10.0.2.1/24, 'fd00:2::1/64'] }
routes:
  - { to: 0.0.0.0/0, via: [10.0.2.2, 10.0.2.3] }
  - { to: 10.9.0.0/16, via: 10.0.2.9 }
  - { to: 10.8.0.0/16, reject: true }
  - { to: 10.7.0.0/16, blackhole: true }
neighbours: [{ interface: wan, address: 10.0.2.9, mac: 02:00:00:00:00:09 }]
filters:
  ingress:
    rules:
      - { name: spoofed, in: wan, source: 10.0.1.0/24, action: drop }
  forward:
    rules:
      - { name: tcp-count, protocol: tcp, action: count }
      - { name: no-smtp, protocol: tcp, destination-port: 25, action: drop }
      - { name: no-telnet, protocol: tcp, destination-port: 23, action: reject }
      - { name: dns, protocol: udp, destination-port: 53, action: accept }
  egress:
    default: drop
    rules:
      - { name: not-to-lan, out: lan, protocol: 99, action: drop }
      - { name: any, action: accept }
";

fn explain(policy: &Policy, q: &Query) -> Result<Explanation, ExplainError> {
    super::explain(policy, &Live::default(), q)
}

fn query(src: &str, dst: &str) -> Query {
    Query {
        input: None,
        src: src.parse().unwrap(),
        dst: dst.parse().unwrap(),
        protocol: 6,
        src_port: 40_000,
        dst_port: 80,
        tcp_flags: 2,
        icmp_type: 0,
        icmp_code: 0,
        hop_limit: 64,
        length: 100,
        dont_fragment: true,
        fragment_offset: 0,
        dscp: 0,
        more_fragments: false,
        link: LinkDestination::Router,
        state: None,
        flow: Remembered::Unasked,
    }
}

#[test]
fn a_drop_names_rule_and_line() {
    let policy = policy(YAML);
    let said = explain(&policy, &Query { dst_port: 25, ..query("10.0.1.5", "10.9.0.1") }).unwrap();
    assert_eq!(said.way.verdict, Verdict::Drop { reason: "forward-filter".into() });
    let rule = said.way.rule.as_ref().unwrap();
    assert_eq!((&*rule.name, rule.action), ("no-smtp", Action::Drop));
    assert_eq!(rule.position.as_ref().unwrap().to_string(), "test.yaml:17:9");
    assert_eq!(said.way.egress.as_deref(), Some("wan"));
    assert_eq!(said.to_string(), "\
decode                          10.0.1.5:40000 > 10.9.0.1:25, 100 bytes, in by lan of instance default
ingress-filter  PHYSICAL_IN     no rule decided, default: accept
local                           not an own address
route           ROUTE_DECISION  10.9.0.0/16 (static, test.yaml:6): via 10.0.2.9, out by wan
forward-filter  FORWARDING      rule tcp-count (test.yaml:16): count, then rule no-smtp (test.yaml:17): drop  <- dropped
verdict: dropped, forward-filter by rule no-smtp (test.yaml:17): drop (generation 1)");
}

fn foreign(name: &str, event: Event, hint: Hint) -> ForeignHook {
    let protocols = vec![Protocol::Inet];
    ForeignHook { instance: None, protocols, event, name: name.into(), hint }
}

#[test]
fn no_verdict_is_stated_past_a_foreign_hook() {
    let policy = policy(YAML);
    let live = |hooks| Live { hooks, ..Live::default() };
    let after =
        live(vec![foreign("meter", Event::Forwarding, Hint::After("forward-filter".into()))]);
    let ask = |live: &Live, q: &Query| super::explain(&policy, live, q).unwrap();
    let passing = query("10.0.1.5", "10.9.0.1");
    let said = ask(&after, &passing);
    let otherwise = Box::new(Verdict::Accept);
    assert_eq!(said.way.verdict, Verdict::Unknown { hook: "meter".into(), otherwise });
    let steps: Vec<_> = said.way.steps.iter().map(|step| &*step.stage).collect();
    let place = |name| steps.iter().position(|step| *step == name).unwrap();
    assert!(place("forward-filter") < place("meter") && place("meter") < place("egress-filter"));
    assert!(said.way.steps[place("meter")].foreign);
    let text = said.to_string();
    let end = "verdict: not known, hook `meter` decides; if it lets the packet pass as it is: \
               forwarded out by wan to 10.0.2.9 (generation 1)";
    assert!(text.ends_with(end), "{text}");

    // What ends before the hook is certain; so is what has another protocol.
    let dropped = Query { dst_port: 25, ..passing.clone() };
    assert_eq!(
        ask(&after, &dropped).way.verdict,
        Verdict::Drop { reason: "forward-filter".into() }
    );
    let inet6 = ask(&after, &query("fd00:1::5", "fd00:2::9"));
    assert_eq!(inet6.way.verdict, Verdict::Accept);

    // What the sender hears is no more certain than what it is told about.
    let first = live(vec![foreign("meter", Event::PhysicalIn, Hint::First)]);
    let lost = ask(&first, &query("10.0.1.5", "10.8.0.1"));
    assert!(matches!(lost.way.verdict, Verdict::Unknown { .. }), "{lost}");
    assert!(matches!(lost.answer.unwrap().way.verdict, Verdict::Unknown { .. }));

    // A policy that the dataplane would refuse for its order has no answer.
    let twice = live(vec![
        foreign("a", Event::PhysicalIn, Hint::First),
        foreign("b", Event::PhysicalIn, Hint::First),
    ]);
    let error = super::explain(&policy, &twice, &passing).unwrap_err();
    assert!(error.to_string().contains("PHYSICAL_IN") && error.to_string().contains("`b`"));
}

fn routed(policy: &Policy, src: Option<&str>, dst: &str) -> Routed {
    let q = RouteQuery {
        instance: None,
        input: None,
        src: src.map(|src| src.parse().unwrap()),
        dst: dst.parse().unwrap(),
        protocol: 6,
        src_port: 0,
        dst_port: 25,
    };
    route(policy, &Live::default(), &q).unwrap()
}

#[test]
fn a_route_is_told_without_the_filters() {
    let policy = policy(YAML);
    // A filter would drop this: its route is told all the same.
    let said = routed(&policy, Some("10.0.1.5"), "10.9.0.1");
    assert_eq!(said.way.verdict, Verdict::Accept);
    assert_eq!((said.ingress.as_deref(), said.way.egress.as_deref()), (Some("lan"), Some("wan")));
    assert_eq!((said.way.mtu, said.path_mtu), (Some(1500), Some(1500)));
    let back = routed(&policy, Some("10.0.2.5"), "10.0.1.9");
    assert_eq!((back.way.mtu, back.path_mtu), (Some(9000), Some(1500)));
    assert_eq!(said.way.route.unwrap().prefix.to_string(), "10.9.0.0/16");
    let rejected = routed(&policy, Some("10.0.1.5"), "10.8.0.1");
    assert_eq!(rejected.way.verdict, Verdict::Reject { reason: "reject-route".into() });
    assert_eq!(routed(&policy, Some("10.0.1.5"), "10.0.2.1").way.verdict, Verdict::Local);
}

#[test]
fn the_routers_own_packets_bear_an_address_of_their_egress() {
    let policy = policy(YAML);
    let source = |dst| {
        let said = routed(&policy, None, dst);
        (said.source.map(|source| source.to_string()), said.source_agrees)
    };
    assert_eq!(source("10.9.0.1"), (Some("10.0.2.1".into()), true));
    assert_eq!(source("10.0.1.77"), (Some("10.0.1.1".into()), true));
    assert_eq!(source("fd00:1::77"), (Some("fd00:1::1".into()), true));
    assert_eq!(source("10.7.0.1"), (None, false), "it has nowhere to go");
    // An address that is bound already is not exchanged.
    let bound = routed(&policy, Some("10.0.1.1"), "10.9.0.1");
    assert_eq!((bound.ingress, bound.source_agrees), (None, false));
    let error = |yaml: &str, instance: Option<&str>, dst: &str| {
        let policy = crate::policy::tests::policy(yaml);
        let (dst, instance) = (dst.parse().unwrap(), instance.map(Into::into));
        let q = RouteQuery {
            instance,
            input: None,
            src: None,
            dst,
            protocol: 6,
            src_port: 0,
            dst_port: 1,
        };
        route(&policy, &Live::default(), &q).unwrap_err().to_string()
    };
    let only4 = "ports: { a: { device: net_tap0, addresses: 10.0.1.1/24 } }";
    assert!(error(only4, None, "fd00::1").contains("instance `default` has no address"));
    assert!(error(only4, Some("blue"), "10.0.0.1").contains("there are: default"));
    assert!(error(only4, None, "0.0.0.0").contains("no packet may be"));
}

#[test]
fn a_forwarded_packet_has_its_whole_way() {
    let policy = policy(YAML);
    let said = explain(&policy, &query("10.0.1.5", "10.9.0.1")).unwrap();
    assert_eq!(said.way.verdict, Verdict::Accept);
    assert_eq!((said.way.mtu, said.way.next_hop), (Some(1500), Some("10.0.2.9".parse().unwrap())));
    let route = said.way.route.as_ref().unwrap();
    assert_eq!((route.prefix.to_string(), route.owner.name()), ("10.9.0.0/16".into(), "static"));
    let text = said.to_string();
    for part in [
        "hop-limit       FORWARDING      64, leaves with 63",
        "10.0.2.9 is at 02:00:00:00:00:09 (static)",
        "verdict: forwarded out by wan to 10.0.2.9",
    ] {
        assert!(text.contains(part), "{text}");
    }
    let many = explain(&policy, &query("10.0.1.5", "192.0.2.1")).unwrap().to_string();
    assert!(
        many.contains("(this flow's, of 2 next hops)") && many.contains("asked for by ARP"),
        "{many}"
    );
    let six = explain(&policy, &query("fd00:1::5", "fd00:2::7")).unwrap();
    assert_eq!(
        (six.way.egress.as_deref(), six.way.next_hop),
        (Some("wan"), Some("fd00:2::7".parse().unwrap()))
    );
}

#[test]
fn every_end_has_its_name() {
    let policy = policy(YAML);
    let base = || query("10.0.1.5", "10.9.0.1");
    let cases: [(Query, &str, &str); 19] = [
        (query("10.0.1.5", "10.0.2.1"), "reject", "local-unreachable"),
        (query("10.0.1.1", "10.9.0.1"), "drop", "source-martian"),
        (
            Query { input: Some("lan".into()), ..query("127.0.0.1", "10.9.0.1") },
            "drop",
            "source-martian",
        ),
        (query("10.0.1.5", "240.0.0.1"), "drop", "destination-martian"),
        (Query { hop_limit: 0, ..base() }, "drop", "hop-limit-zero"),
        (Query { length: 30, ..base() }, "drop", "l4-truncated"),
        (Query { more_fragments: true, dst_port: 23, ..base() }, "drop", "forward-filter"),
        (Query { link: LinkDestination::Broadcast, ..base() }, "drop", "link-broadcast"),
        // What is told to nobody: an ICMP error about an ICMP error.
        (
            Query { protocol: 1, icmp_type: 3, ..query("10.0.1.5", "10.8.0.1") },
            "drop",
            "reject-route",
        ),
        (Query { dst_port: 23, ..base() }, "reject", "forward-filter"),
        (Query { input: Some("wan".into()), ..base() }, "drop", "ingress-filter"),
        (Query { hop_limit: 1, ..base() }, "reject", "hop-limit-exceeded"),
        (Query { length: 1501, ..base() }, "reject", "fragmentation-needed"),
        (Query { length: 9001, ..base() }, "drop", "super-packet"),
        (query("10.0.1.5", "10.8.0.1"), "reject", "reject-route"),
        (query("10.0.1.5", "10.7.0.1"), "drop", "blackhole"),
        (query("fd00:1::5", "2001:db8::1"), "reject", "no-route"),
        (query("10.0.1.5", "239.0.0.1"), "drop", "multicast-unrouted"),
        (query("10.0.1.5", "10.0.2.255"), "drop", "directed-broadcast"),
    ];
    for (q, verdict, reason) in cases {
        let said = explain(&policy, &q).unwrap();
        let json = serde_json::to_value(&said).unwrap();
        assert_eq!(
            (json["verdict"].as_str(), json["reason"].as_str()),
            (Some(verdict), Some(reason)),
            "{said}"
        );
        assert_eq!(serde_json::from_value::<Explanation>(json).unwrap(), said);
    }
}

#[test]
fn what_is_cut_is_said() {
    let long = Query { length: 3000, dont_fragment: false, ..query("10.0.1.5", "10.9.0.1") };
    let said = explain(&policy(YAML), &long).unwrap();
    assert_eq!((said.way.verdict.clone(), said.way.fragments), (Verdict::Accept, Some(3)));
    let mtu = said.way.steps.iter().find(|step| &*step.stage == "mtu").unwrap();
    assert_eq!(mtu.text, "3000 of at most 1500 bytes: fragmented into 3");
}

#[test]
fn an_echo_is_followed_back() {
    let policy = policy(YAML);
    let echo = Query { protocol: 1, icmp_type: 8, ..query("10.0.1.5", "10.0.2.1") };
    let own = explain(&policy, &echo).unwrap();
    assert_eq!(own.way.verdict, Verdict::Local);
    let text = own.to_string();
    assert!(text.contains("10.0.2.1 is an own address, on wan: an echo request"), "{text}");
    let answer = own.answer.unwrap();
    assert_eq!(answer.message, "echo-reply");
    assert_eq!((answer.source.to_string(), answer.destination.to_string()), {
        ("10.0.2.1".into(), "10.0.1.5".into())
    });
    assert_eq!(answer.way.verdict, Verdict::Accept);
    assert_eq!(answer.way.egress.as_deref(), Some("lan"));
    assert_eq!(answer.way.rule.unwrap().name, "any", "the egress filter sees answers, too");
}

#[test]
fn an_answer_too_large_for_its_way_back_is_dropped() {
    let policy = policy(
        "ports:\n  lan: { device: net_tap0, addresses: [10.0.1.1/24] }\n  wan: { device: net_tap1, \
         addresses: [10.0.2.1/24], mtu: 9000 }\n",
    );
    let echo = Query { protocol: 1, icmp_type: 8, ..query("10.0.1.5", "10.0.2.1") };
    let big = Query { input: Some("wan".into()), length: 3000, ..echo };
    let answer = explain(&policy, &big).unwrap().answer.unwrap();
    assert_eq!(answer.way.verdict, Verdict::Drop { reason: "fragmentation-needed".into() });
}

#[test]
fn a_refusal_is_followed_back() {
    let policy =
        policy(&YAML.replace("protocol: 99, action: drop", "tcp-flags: rst, action: drop"));
    let telnet = Query { dst_port: 23, ..query("10.0.1.5", "10.9.0.1") };
    let said = explain(&policy, &telnet).unwrap();
    let answer = said.answer.as_ref().unwrap();
    assert_eq!((&*answer.message, &*answer.source.to_string()), ("reset", "10.9.0.1"));
    assert_eq!(answer.way.verdict, Verdict::Drop { reason: "egress-filter".into() });
    assert_eq!(answer.way.rule.as_ref().unwrap().name, "not-to-lan");
    let text = said.to_string();
    assert!(text.contains("answer:         reset from 10.9.0.1 to 10.0.1.5"), "{text}");
    assert!(text.contains("answer dropped, egress-filter by rule not-to-lan"), "{text}");
    // Of TCP, only the SYN bit went astray: an ICMP error is no reset, and passes.
    let spent = Query { hop_limit: 1, ..query("10.0.1.5", "10.9.0.1") };
    let answer = explain(&policy, &spent).unwrap().answer.unwrap();
    assert_eq!((&*answer.message, &*answer.source.to_string()), ("time-exceeded", "10.0.1.1"));
    assert_eq!(answer.way.verdict, Verdict::Accept);
}

#[test]
fn links_and_neighbours_are_the_dataplanes() {
    let policy = policy(YAML);
    let mac = MacAddress([2, 0, 0, 0, 0, 7]);
    let port = |link, error: Option<&str>| PortFacts { mac, link, error: error.map(Into::into) };
    let mut live = Live::default();
    live.ports.insert("wan".into(), port(true, None));
    let asked = |live: &Live, dst| super::explain(&policy, live, &query("10.0.1.5", dst)).unwrap();
    let key = ("wan".into(), "10.0.2.7".parse().unwrap());
    let said = asked(&live, "10.0.2.7");
    assert_eq!(said.way.next_hop_state.unwrap().state, "unknown");
    assert_eq!(said.way.verdict, Verdict::Accept);

    live.neighbours.insert(key, NextHopState { state: "failed".into(), mac: None });
    let said = asked(&live, "10.0.2.7");
    assert_eq!(said.way.verdict, Verdict::Reject { reason: "neighbour-unresolved".into() });
    assert_eq!(said.answer.unwrap().message, "host-unreachable");
    // The one in the configuration is known whatever the table says.
    let said = asked(&live, "10.9.0.1");
    assert_eq!(said.way.next_hop_state.unwrap().mac.unwrap().to_string(), "02:00:00:00:00:09");

    for error in [None, Some("interface wan is gone")] {
        live.ports.insert("wan".into(), port(false, error));
        let reason = if error.is_some() { "tx-no-queue" } else { "egress-down" };
        let said = asked(&live, "10.9.0.1");
        assert_eq!(said.way.verdict, Verdict::Drop { reason: reason.into() });
        // The dataplane does not let it come that far.
        let followed = live.followed(&policy);
        let said = super::explain(&followed, &live, &query("10.0.1.5", "10.9.0.1")).unwrap();
        assert_eq!(said.way.verdict, Verdict::Reject { reason: "no-route".into() });
        assert!(said.to_string().contains("routes by wan are withdrawn; no route"), "{said}");
        // Nor is what came in by it looked at, malformed or not.
        for length in [100, 9000] {
            let came = Query { input: Some("wan".into()), length, ..query("10.9.0.1", "10.0.1.5") };
            let said = super::explain(&followed, &live, &came).unwrap();
            assert_eq!(said.way.verdict, Verdict::Drop { reason: "ingress-down".into() });
            assert!(said.to_string().contains("wan is down"), "{said}");
        }
    }

    // Only the dataplane knows the ports' link-local addresses.
    let to = ipv6::link_local(&[2, 0, 0, 0, 0, 8]);
    let echo = Query {
        protocol: 58,
        icmp_type: 128,
        input: Some("lan".into()),
        ..query("fe80::1", &to.to_string())
    };
    let asked = |live: &Live| super::explain(&policy, live, &echo).unwrap();
    assert_eq!(asked(&live).way.verdict, Verdict::Drop { reason: "link-local".into() });
    let lan = PortFacts { mac: MacAddress([2, 0, 0, 0, 0, 8]), ..port(true, None) };
    live.ports.insert("lan".into(), lan);
    let said = asked(&live);
    assert_eq!(said.way.verdict, Verdict::Local);
    assert_eq!(said.answer.unwrap().way.egress.as_deref(), Some("lan"), "back to its link");
}

#[test]
fn a_question_without_answer_says_why() {
    let policy = policy(YAML);
    let asked = |q: Query| explain(&policy, &q).unwrap_err().to_string();
    let q = query("172.16.0.1", "10.9.0.1");
    assert!(asked(q.clone()).contains("no single connected network holds 172.16.0.1"));
    let named = asked(Query { input: Some("wam".into()), ..q });
    assert_eq!(named, "there is no interface `wam`; there are: lan, wan");
    assert!(asked(query("10.0.1.5", "fd00::1")).contains("different IP versions"));
}

#[test]
fn a_query_needs_only_addresses() {
    let q: Query = serde_json::from_str(r#"{ "src": "10.0.1.5", "dst": "10.9.0.1" }"#).unwrap();
    assert_eq!((q.hop_limit, q.length, q.protocol), (64, 100, 0));
    assert!(serde_json::from_str::<Query>(r#"{ "src": "10.0.1.5" }"#).is_err());
}

proptest! {
    /// The workers' decision, made by hand, is the explanation's verdict.
    #[test]
    fn the_verdict_is_the_evaluators(
        dst in prop_oneof![Just("10.9.0.1"), Just("192.0.2.1"), Just("10.0.2.7"), Just("10.7.1.1"), Just("10.0.1.9")],
        protocol in prop_oneof![Just(6u8), Just(17), Just(99)],
        dst_port in prop_oneof![Just(23u16), Just(25), Just(53), Just(80)],
        hop_limit in 1..4u8,
        length in 1400..1600u16,
    ) {
        let policy = policy(YAML);
        let q = Query { protocol, dst_port, hop_limit, length, ..query("10.0.1.5", dst) };
        let said = explain(&policy, &q).unwrap();
        let lan = policy.interface_named("lan").unwrap();
        let instance = policy.instance(lan.instance).unwrap();
        let d = q.decode(&q.frame(), lan).unwrap();
        let accepts = |point, egress| {
            instance.filter(point, &d, egress, &mut NoRecorder).action == Action::Accept
        };
        let passes = accepts(FilterPoint::Ingress, None)
            && match instance.route(&d, &mut NoRecorder) {
                RouteDecision::Forward(id) => {
                    let egress = policy.next_hop(id).interface;
                    accepts(FilterPoint::Forward, Some(egress))
                        && evaluate::hop_limit(&d).is_ok()
                        && evaluate::mtu(&d, policy.interface(egress).unwrap().mtu).is_ok()
                        && accepts(FilterPoint::Egress, Some(egress))
                }
                _ => false,
            };
        prop_assert_eq!(said.way.verdict == Verdict::Accept, passes, "{}", said);
        let last = said.way.steps.last().map(|step| step.outcome == Outcome::Pass);
        prop_assert_eq!(last, Some(passes));
    }
}

#[test]
fn f8_what_goes_to_another_instance_passes_both_loopback_events() {
    let policy = policy(
        "ports:\n  lan: { device: net_tap0, addresses: [10.0.1.1/24] }\n  wan: { device: net_tap1, \
         addresses: [10.0.2.1/24], instance: up }\ninstances: { up: {} }\nroutes:\n  - { to: \
         10.0.2.0/24, lookup: { instance: up } }\n",
    );
    let hook = |name: &str, event, instance: &str| ForeignHook {
        instance: Some(instance.into()),
        ..foreign(name, event, Hint::None)
    };
    let hooks = vec![
        hook("leaves", Event::LoopbackOut, "default"),
        hook("enters", Event::LoopbackIn, "up"),
        hook("not-here", Event::LoopbackIn, "default"),
        hook("not-there", Event::LoopbackOut, "up"),
        hook("forwards", Event::Forwarding, "default"),
    ];
    let live = Live { hooks, ..Live::default() };
    let steps = |dst: &str| -> Vec<String> {
        let said = super::explain(&policy, &live, &query("10.0.1.2", dst)).unwrap();
        let foreign = said.way.steps.iter().filter(|step| step.foreign);
        foreign.map(|step| step.stage.to_string()).collect()
    };
    assert_eq!(steps("10.0.2.2"), ["leaves", "enters", "forwards"]);
    assert_eq!(steps("10.0.1.3"), ["forwards"]);
}

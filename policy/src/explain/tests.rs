//! Explanations say what the evaluator does.

use proptest::prelude::*;

use super::*;
use crate::evaluate::{self, NoRecorder, RouteDecision};
use crate::model::FilterPoint;
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
    }
}

#[test]
fn a_drop_names_rule_and_line() {
    let policy = policy(YAML);
    let said = explain(&policy, &Query { dst_port: 25, ..query("10.0.1.5", "10.9.0.1") }).unwrap();
    assert_eq!(said.verdict, Verdict::Drop { reason: "forward-filter".into() });
    let rule = said.rule.as_ref().unwrap();
    assert_eq!((&*rule.name, rule.action), ("no-smtp", Action::Drop));
    assert_eq!(rule.position.as_ref().unwrap().to_string(), "test.yaml:17:9");
    assert_eq!(said.egress.as_deref(), Some("wan"));
    assert_eq!(said.to_string(), "\
decode                          10.0.1.5:40000 > 10.9.0.1:25, 100 bytes, in by lan of instance default
ingress-filter  PHYSICAL_IN     no rule decided, default: accept
local                           not an own address
route           ROUTE_DECISION  10.9.0.0/16 (static, test.yaml:6): via 10.0.2.9, out by wan
forward-filter  FORWARDING      rule tcp-count (test.yaml:16): count, then rule no-smtp (test.yaml:17): drop  <- dropped
verdict: dropped, forward-filter by rule no-smtp (test.yaml:17): drop (generation 1)");
}

#[test]
fn a_forwarded_packet_has_its_whole_way() {
    let policy = policy(YAML);
    let said = explain(&policy, &query("10.0.1.5", "10.9.0.1")).unwrap();
    assert_eq!(said.verdict, Verdict::Accept);
    assert_eq!((said.mtu, said.next_hop), (Some(1500), Some("10.0.2.9".parse().unwrap())));
    let route = said.route.as_ref().unwrap();
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
        (six.egress.as_deref(), six.next_hop),
        (Some("wan"), Some("fd00:2::7".parse().unwrap()))
    );
}

#[test]
fn every_end_has_its_name() {
    let policy = policy(YAML);
    let base = || query("10.0.1.5", "10.9.0.1");
    let cases: [(Query, &str, &str); 11] = [
        (Query { dst_port: 23, ..base() }, "reject", "forward-filter"),
        (Query { input: Some("wan".into()), ..base() }, "drop", "ingress-filter"),
        (Query { hop_limit: 1, ..base() }, "reject", "hop-limit-exceeded"),
        (Query { length: 1501, ..base() }, "reject", "fragmentation-needed"),
        (
            Query { length: 1501, dont_fragment: false, ..base() },
            "drop",
            "fragmentation-unsupported",
        ),
        (Query { length: 9001, ..base() }, "drop", "super-packet"),
        (query("10.0.1.5", "10.8.0.1"), "reject", "reject-route"),
        (query("10.0.1.5", "10.7.0.1"), "drop", "blackhole"),
        (query("fd00:1::5", "2001:db8::1"), "reject", "no-route"),
        (query("10.0.1.5", "224.0.0.1"), "drop", "multicast-unrouted"),
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
    let own = explain(&policy, &query("10.0.1.5", "10.0.2.1")).unwrap();
    assert_eq!(own.verdict, Verdict::Local);
    assert!(own.to_string().contains("10.0.2.1 is an own address, on wan  <- arrived"), "{own}");
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
        let d = q.descriptor(lan.id);
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
        prop_assert_eq!(said.verdict == Verdict::Accept, passes, "{}", said);
        prop_assert_eq!(said.steps.last().map(|s| s.outcome == Outcome::Pass), Some(passes));
    }
}

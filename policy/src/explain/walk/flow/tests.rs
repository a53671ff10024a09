//! States as they are asked for, remembered, and taken from the packet.

use crate::explain::{Explanation, Live, Query, Remembered, Step, explain};
use crate::model::Standing;
use crate::policy::tests::policy;

const STATEFUL: &str = "
ports:
  lan: { device: net_null0, addresses: [10.0.1.1/24, 'fd00:1::1/64'] }
  wan: { device: net_null1, addresses: [10.0.2.1/24, 'fd00:2::1/64'] }
filters:
  forward:
    stateful: true
    default: drop
    rules:
      - { name: web, in: lan, protocol: tcp, destination-port: 80, action: accept }
      - { name: echo, in: lan, protocol: icmp, icmp-type: echo-request, action: accept }
";

fn asked(yaml: &str, q: &Query) -> Explanation {
    explain(&policy(yaml), &Live::default(), q).unwrap()
}

fn tcp(src: &str, dst: &str, ports: (u16, u16), tcp_flags: u8) -> Query {
    let json = serde_json::json!({
        "src": src, "dst": dst, "protocol": 6, "src_port": ports.0, "dst_port": ports.1,
        "tcp_flags": tcp_flags,
    });
    serde_json::from_value(json).unwrap()
}

const SYN: u8 = 2;
const ACK: u8 = 16;

fn step<'a>(said: &'a Explanation, stage: &str) -> &'a Step {
    said.way.steps.iter().find(|step| &*step.stage == stage).unwrap()
}

fn verdict(said: &Explanation) -> String {
    let json = serde_json::to_value(&said.way.verdict).unwrap();
    let word = |key: &str| json[key].as_str().unwrap_or_default().to_owned();
    format!("{} {}", word("verdict"), word("reason")).trim().to_owned()
}

#[test]
fn the_state_decides_ahead_of_the_rules() {
    let out = tcp("10.0.1.5", "10.0.2.9", (40_000, 80), SYN);
    let back = tcp("10.0.2.9", "10.0.1.5", (80, 40_000), SYN | ACK);
    let first = asked(STATEFUL, &out);
    assert_eq!(verdict(&first), "accept");
    assert_eq!(step(&first, "flow").text, "new: taken to be of no connection yet");
    assert!(step(&first, "forward-filter").text.contains("rule web (test.yaml:10): accept"));
    // An answer to nothing is out of state; of a connection it passes, and the keyword is why.
    assert_eq!(verdict(&asked(STATEFUL, &back)), "drop invalid-state");
    for q in [
        Query { state: Some(Standing::Established), ..back.clone() },
        Query { flow: Remembered::Present(Standing::Established), ..back.clone() },
    ] {
        let said = asked(STATEFUL, &q);
        assert_eq!(verdict(&said), "accept");
        let text = &step(&said, "forward-filter").text;
        assert_eq!(text, "rule stateful:established (test.yaml:7): accept");
    }
    let said = asked(STATEFUL, &Query { flow: Remembered::Absent, ..back.clone() });
    assert_eq!(verdict(&said), "drop invalid-state");
    assert_eq!(step(&said, "flow").text, "invalid: the dataplane has no connection of it");
    let rule = said.way.rule.as_ref().unwrap();
    assert_eq!((&*rule.name, rule.position.as_ref().unwrap().line), ("stateful:invalid", 7));
    // What is asked for counts more than what is remembered.
    let other = Query {
        state: Some(Standing::New),
        flow: Remembered::Present(Standing::Established),
        ..back
    };
    assert_eq!(verdict(&asked(STATEFUL, &other)), "drop forward-filter");
}

#[test]
fn a_packet_without_connection_is_what_the_workers_take_it_for() {
    let state = |q: &Query| {
        let said = asked(STATEFUL, q);
        step(&said, "flow").text.split(':').next().unwrap().to_owned()
    };
    let out = tcp("10.0.1.5", "10.0.2.9", (40_000, 80), SYN);
    for (flags, expected) in [(SYN, "new"), (ACK, "invalid"), (0, "invalid"), (SYN | 1, "invalid")]
    {
        assert_eq!(state(&Query { tcp_flags: flags, ..out.clone() }), expected, "{flags:#x}");
    }
    let icmp = |icmp_type| Query { protocol: 1, icmp_type, src_port: 7, ..out.clone() };
    for (icmp_type, expected) in [(8, "new"), (0, "invalid"), (3, "invalid"), (11, "invalid")] {
        assert_eq!(state(&icmp(icmp_type)), expected, "type {icmp_type}");
    }
    assert_eq!(state(&Query { protocol: 17, ..out.clone() }), "new");
    // A later fragment has the state of its first, if the question gives its ports.
    let later = Query { fragment_offset: 1480, ..out.clone() };
    assert_eq!(state(&Query { src_port: 0, dst_port: 0, ..later.clone() }), "invalid");
    let known = Query { state: Some(Standing::New), ..later };
    assert_eq!(verdict(&asked(STATEFUL, &known)), "accept");
}

#[test]
fn where_no_filter_looks_there_is_no_step() {
    let yaml = STATEFUL.replace("    stateful: true\n", "");
    let out = tcp("10.0.1.5", "10.0.2.9", (40_000, 80), ACK);
    let said = asked(&yaml, &out);
    assert_eq!(verdict(&said), "accept");
    assert!(said.way.steps.iter().all(|step| &*step.stage != "flow"));
    let said = asked(&yaml, &Query { state: Some(Standing::Invalid), ..out });
    assert_eq!(verdict(&said), "accept");
    let text = &step(&said, "flow").text;
    assert_eq!(text, "invalid: as the question says; no filter of the instance looks at it");
}

/// What the router sends itself passes a stateful filter at the egress.
#[test]
fn answers_of_the_routers_own_are_established() {
    let yaml = format!("{STATEFUL}  egress: {{ stateful: true, default: drop }}\n");
    let echo = Query { protocol: 1, icmp_type: 8, ..tcp("10.0.1.5", "10.0.1.1", (0, 0), 0) };
    let said = asked(&yaml, &echo);
    let answer = said.answer.unwrap();
    let filter = answer.way.steps.iter().find(|step| &*step.stage == "egress-filter").unwrap();
    assert!(filter.text.contains("stateful:established"), "{}", filter.text);
}

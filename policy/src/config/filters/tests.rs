//! What filters say about connections, as the file has it.

use crate::config;
use crate::model::{
    Filter, FilterKey, FilterPoint, FlowLimit, Position, Rate, Standing, State, Timeout,
};

const PORTS: &str = "ports: { lan: { device: net_null0, addresses: 10.0.1.1/24 } }\n";

fn read(more: &str) -> Result<State, String> {
    let text = format!("{PORTS}{more}");
    let read = config::read(text.as_bytes(), "f.yaml");
    read.map(|read| read.state).map_err(|diagnostics| diagnostics.to_string())
}

fn forward(rules: &str) -> Result<Filter, String> {
    let state = read(&format!("filters:\n  forward:\n    default: drop\n{rules}"))?;
    let key = FilterKey { instance: "default".into(), point: FilterPoint::Forward };
    Ok(state.filters[&key].clone())
}

#[test]
fn states_limits_and_the_keyword_are_read() {
    let filter = forward(
        "    stateful: true
    rules:
      - { state: new, action: accept }
      - { state: [new, untracked], action: accept, limit: { new-flows: 30/m } }
      - { action: accept, limit: { new-flows: 100/s, burst: 200, flows-per-source: 20 } }
      - { action: accept, limit: { flows-per-source: 1 } }
",
    )
    .unwrap();
    assert_eq!(filter.stateful, Some(Position { file: "f.yaml".into(), line: 5, column: 15 }));
    let rate = |count, seconds, burst| Some(Rate { count, seconds, burst });
    let said: Vec<_> = filter.rules.iter().map(|rule| (rule.state.clone(), rule.limit)).collect();
    let both = FlowLimit { new_flows: rate(100, 1, 200), flows_per_source: Some(20) };
    let expected = [
        (vec![Standing::New], None),
        (
            vec![Standing::New, Standing::Untracked],
            Some(FlowLimit { new_flows: rate(30, 60, 30), flows_per_source: None }),
        ),
        (vec![], Some(both)),
        (vec![], Some(FlowLimit { new_flows: None, flows_per_source: Some(1) })),
    ];
    assert_eq!(said, expected);
    assert_eq!(rate(30, 60, 1).unwrap().to_string(), "30/m");
    assert_eq!(forward("    stateful: false").unwrap().stateful, None);
    // Rules that differ in what they say have different names, and those of rules that say nothing
    // of connections are as they were before rules could.
    let names: std::collections::HashSet<_> = filter.rules.iter().map(|rule| &rule.name).collect();
    assert_eq!(names.len(), 4);
    let plain = forward("    rules: [{ protocol: tcp, action: accept }]").unwrap();
    assert_eq!(&*plain.rules[0].name, "rule-c4be8602");
}

#[test]
fn timeouts_are_read_in_seconds() {
    let state = read("flows: { timeouts: { tcp-established: 2h4m, udp: 90s, icmp: 1d } }").unwrap();
    let said: Vec<_> =
        state.timeouts.iter().map(|(timeout, &seconds)| (*timeout, seconds)).collect();
    let expected = [(Timeout::TcpEstablished, 7440), (Timeout::Udp, 90), (Timeout::Icmp, 86_400)];
    assert_eq!(said, expected);
    for timeout in Timeout::ALL {
        let yaml = format!("flows: {{ timeouts: {{ {}: 7s }} }}", timeout.name());
        assert_eq!(read(&yaml).unwrap().timeouts.get(&timeout), Some(&7));
    }
}

#[test]
fn what_makes_no_sense_is_refused_with_its_line() {
    let refused = |rules: &str, expected: &str| {
        let said = forward(rules).unwrap_err();
        assert!(said.contains(expected), "{rules}\n{said}\n{expected}");
    };
    let rule = |rule: &str, expected: &str| {
        refused(&format!("    rules:\n      - {{ {rule} }}\n"), expected);
    };
    rule(
        "state: open, action: accept",
        "f.yaml:6:18: filters.forward.rules[0].state: `open` is not one of new, established, related, invalid, untracked",
    );
    rule(
        "state: [], action: accept",
        "f.yaml:6:18: filters.forward.rules[0].state: an empty list matches nothing",
    );
    rule(
        "action: drop, limit: { new-flows: 1/s }",
        "f.yaml:6:32: filters.forward.rules[0].limit: a limit is of connections that a rule accepts, and this one says drop",
    );
    rule("action: count, limit: { flows-per-source: 1 }", "this one says count");
    rule(
        "action: accept, limit: {}",
        "f.yaml:6:34: filters.forward.rules[0].limit: the limit says nothing",
    );
    rule("action: accept, limit: { burst: 3 }", "limit.burst: is of `new-flows`, which is missing");
    rule(
        "action: accept, limit: { new-flows: 3 }",
        "limit.new-flows: `3` is not a rate, such as 100/s, 30/m or 1000/h",
    );
    rule("action: accept, limit: { new-flows: 0/s }", "`0/s` is not a rate");
    rule("action: accept, limit: { new-flows: 3/d }", "`3/d` is not a rate");
    rule("action: accept, limit: { new-flows: 3/s, burst: 0 }", "`0` is not a whole number from 1");
    rule("action: accept, limit: { flows-per-source: 0 }", "`0` is not a whole number from 1");
    rule(
        "action: accept, state: [established, invalid], limit: { new-flows: 3/s }",
        "limit: only a new connection is limited: add `new` to `state`",
    );
    let decided = "the rule can match nothing: the filter is stateful";
    for (state, place) in [
        ("established", "7:18: filters.forward.rules[0].state"),
        ("invalid", "7:18: filters.forward.rules[0].state"),
        ("[related, invalid]", "7:19: filters.forward.rules[0].state[0]"),
    ] {
        let rule = format!("      - {{ state: {state}, action: accept }}\n");
        refused(
            &format!("    stateful: true\n    rules:\n{rule}"),
            &format!("f.yaml:{place}: {decided}"),
        );
        forward(&format!("    rules:\n{rule}")).unwrap();
    }
    refused(
        "    stateful: maybe",
        "f.yaml:5:15: filters.forward.stateful: `maybe` is not one of true, false",
    );
    for (time, expected) in [
        ("0s", "out of range: whole seconds from 1s to 7d"),
        ("8d", "out of range: whole seconds from 1s to 7d"),
        ("1500ms", "out of range: whole seconds from 1s to 7d"),
        ("60", "`60` is not a time with its unit, such as 90s, 5m or 2h4m"),
        ("soon", "`soon` is not a time"),
    ] {
        let said = read(&format!("flows: {{ timeouts: {{ udp: {time} }} }}")).unwrap_err();
        assert!(
            said.contains(expected) && said.contains("f.yaml:2:27: flows.timeouts.udp"),
            "{said}"
        );
    }
    let said = read("flows: { timeouts: { tcp: 3s } }").unwrap_err();
    assert!(said.contains("f.yaml:2:22") && said.contains("tcp"), "{said}");
}

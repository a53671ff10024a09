//! Words for values of the configuration model and of the channel.

use std::ops::RangeInclusive;
use std::time::Duration;

use sluice_channel::NeighbourState;
use sluice_policy::model::{FlowLimit, IcmpMatch, Name, PolicyRoute, Rule, TcpFlags};

/// A protocol's name, or its number.
pub(crate) fn protocol(number: u8) -> String {
    match number {
        1 => "icmp".into(),
        6 => "tcp".into(),
        17 => "udp".into(),
        58 => "icmpv6".into(),
        132 => "sctp".into(),
        other => format!("protocol {other}"),
    }
}

/// The name of a neighbour's state (RFC 4861 section 7.3.2, and ours).
pub(crate) fn state_name(state: NeighbourState) -> &'static str {
    match state {
        NeighbourState::Incomplete => "incomplete",
        NeighbourState::Reachable => "reachable",
        NeighbourState::Stale => "stale",
        NeighbourState::Probe => "probe",
        NeighbourState::Failed => "failed",
        NeighbourState::Static => "static",
    }
}

/// What is matched where nothing is given.
const EVERYTHING: &str = "everything";

/// What a rule matches, in words: `tcp from 10.0.1.0/24 to any port 80, in lan`.
pub(crate) fn matches(rule: &Rule) -> String {
    let mut words = Vec::new();
    let mut say = |prefix: &str, list: String| {
        if !list.is_empty() {
            words.push(format!("{prefix}{list}"));
        }
    };
    say("", list(&rule.protocol, |number| protocol(*number)));
    say("from ", among(&rule.source, &rule.sets.source, ToString::to_string).join(","));
    say("sport ", among(&rule.source_port, &rule.sets.source_port, range).join(","));
    say("to ", among(&rule.destination, &rule.sets.destination, ToString::to_string).join(","));
    say("dport ", among(&rule.destination_port, &rule.sets.destination_port, range).join(","));
    say("flags ", rule.tcp_flags.map_or_else(String::new, flags));
    say("type ", list(&rule.icmp, icmp));
    say("state ", list(&rule.state, |state| state.name().to_owned()));
    say("in ", list(&rule.input, ToString::to_string));
    say("out ", list(&rule.output, ToString::to_string));
    if words.is_empty() {
        words.push(EVERYTHING.into());
    }
    if let Some(FlowLimit { new_flows, flows_per_source }) = rule.limit {
        let rate = new_flows.map(|rate| format!("{rate} new flows"));
        let sources = flows_per_source.map(|flows| format!("{flows} flows a source"));
        let limits: Vec<String> = rate.into_iter().chain(sources).collect();
        words.push(format!("(at most {})", limits.join(", ")));
    }
    words.join(" ")
}

/// What a policy route matches, in words: `tcp from 10.0.1.0/24 dport 25, in lan, dscp 46`.
pub(crate) fn policy_route_matches(route: &PolicyRoute) -> String {
    let rule = matches(&route.as_rule());
    let dscp = list(&route.dscp, ToString::to_string);
    let more = [
        (!dscp.is_empty()).then(|| format!("dscp {dscp}")),
        route.fragment.map(|must| if must { "fragments".into() } else { "no fragments".into() }),
    ];
    let more: Vec<String> = more.into_iter().flatten().collect();
    match (more.is_empty(), rule == EVERYTHING) {
        (true, _) => rule,
        (false, true) => more.join(" "),
        (false, false) => format!("{rule} {}", more.join(" ")),
    }
}

fn list<T>(items: &[T], text: impl Fn(&T) -> String) -> String {
    items.iter().map(text).collect::<Vec<_>>().join(",")
}

/// Values, and after them the sets that stand among them.
pub(crate) fn among<T>(items: &[T], sets: &[Name], text: impl Fn(&T) -> String) -> Vec<String> {
    items.iter().map(text).chain(sets.iter().map(|name| format!("${name}"))).collect()
}

/// `80`, or `8000-8080`.
pub(crate) fn range(range: &RangeInclusive<u16>) -> String {
    match (range.start(), range.end()) {
        (low, high) if low == high => low.to_string(),
        (low, high) => format!("{low}-{high}"),
    }
}

/// `8`, or `3/4`.
pub(crate) fn icmp(icmp: &IcmpMatch) -> String {
    match icmp.code {
        Some(code) => format!("{}/{code}", icmp.kind),
        None => icmp.kind.to_string(),
    }
}

/// `syn,!ack`.
pub(crate) fn flags(flags: TcpFlags) -> String {
    const NAMES: [&str; 8] = ["fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr"];
    let words: Vec<String> = (0..8)
        .filter_map(|bit| match (flags.set >> bit & 1, flags.clear >> bit & 1) {
            (1, _) => Some(NAMES[bit].to_owned()),
            (_, 1) => Some(format!("!{}", NAMES[bit])),
            _ => None,
        })
        .collect();
    words.join(",")
}

/// `2h4m`.
pub(crate) fn duration(seconds: u32) -> String {
    humantime::format_duration(Duration::from_secs(seconds.into())).to_string().replace(' ', "")
}

#[cfg(test)]
mod tests {
    use sluice_policy::model::{Action, Position, Rate, Standing};

    use super::*;

    #[test]
    fn rules_read_like_sentences() {
        let mut rule = Rule {
            name: "r".into(),
            input: vec!["lan".into()],
            output: Vec::new(),
            source: vec!["10.0.1.0/24".parse().unwrap()],
            destination: Vec::new(),
            protocol: vec![6, 17],
            source_port: Vec::new(),
            destination_port: vec![80..=80, 8000..=8080],
            tcp_flags: Some(TcpFlags { set: 2, clear: 16 }),
            icmp: Vec::new(),
            state: Vec::new(),
            sets: Default::default(),
            action: Action::Drop,
            limit: None,
            log: false,
            position: Position { file: "f".into(), line: 1, column: 1 },
        };
        assert_eq!(
            matches(&rule),
            "tcp,udp from 10.0.1.0/24 dport 80,8000-8080 flags syn,!ack in lan"
        );
        rule = Rule {
            input: Vec::new(),
            source: Vec::new(),
            destination_port: Vec::new(),
            tcp_flags: None,
            protocol: vec![1],
            icmp: vec![IcmpMatch { kind: 8, code: None }, IcmpMatch { kind: 3, code: Some(4) }],
            ..rule
        };
        assert_eq!(matches(&rule), "icmp type 8,3/4");
        rule = Rule { protocol: Vec::new(), icmp: Vec::new(), ..rule };
        assert_eq!(matches(&rule), "everything");
        let limit = FlowLimit {
            new_flows: Some(Rate { count: 100, seconds: 60, burst: 7 }),
            flows_per_source: Some(20),
        };
        rule = Rule { state: vec![Standing::New, Standing::Untracked], limit: Some(limit), ..rule };
        let said = "state new,untracked (at most 100/m new flows, 20 flows a source)";
        assert_eq!(matches(&rule), said);
        assert_eq!((duration(7440), duration(90)), ("2h4m".into(), "1m30s".into()));
    }
}

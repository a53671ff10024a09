//! Flows.

use std::net::IpAddr;

use sluice_control_api::{Flow, FlowDirection, FlowKnown, Flows};

use super::{columns, duration};
use crate::style::{NOTE, paint};

/// A table of them, and how many more there are.
pub(crate) fn flows(all: &Flows) -> String {
    let instances = all.flows.iter().any(|flow| &*flow.instance != "default");
    let rates = all.flows.iter().any(|flow| flow.rate.is_some());
    let mut headings = Vec::new();
    if instances {
        headings.push("INSTANCE");
    }
    headings.extend(["PROTO", "SOURCE", "DESTINATION", "STATE", "#AGE", "#IDLE", "#EXPIRES"]);
    if rates {
        headings.extend(["#PACKETS/S", "#BITS/S"]);
    }
    headings.extend(["#PACKETS", "#BYTES", "OUT", "BACK", "#WORKER"]);
    let rows = all.flows.iter().map(|flow| {
        let Flow { original, reply, .. } = flow;
        let (source, destination) = ends(flow);
        let mut row = Vec::new();
        if instances {
            row.push(flow.instance.to_string());
        }
        row.extend([protocol(flow.protocol), source, destination, flow.state.name().to_owned()]);
        row.extend([flow.age_ms, flow.idle_ms, flow.expires_ms].map(|ms| duration(ms / 1000)));
        if rates {
            let rate = flow.rate.unwrap_or_default();
            row.extend([short(rate.packets_per_second), short(rate.bits_per_second)]);
        }
        row.push(format!("{}/{}", short(original.packets), short(reply.packets)));
        row.push(format!("{}/{}", short(original.bytes), short(reply.bytes)));
        row.extend([way(original), way(reply), flow.worker.to_string()]);
        row
    });
    let mut text = columns(&headings, rows);
    let shown = all.flows.len() as u64;
    if all.matching > shown {
        let more = format!("{shown} of {} flows; --limit shows more", all.matching);
        text.push_str(&format!("{}\n", paint(NOTE, more)));
    }
    if !all.complete {
        let note = "there was no time to look at all of them: say more closely which are meant";
        text.push_str(&format!("{}\n", paint(NOTE, note)));
    }
    text
}

/// A flow in a few words: `tcp 10.0.1.2:40000 > 10.0.2.2:443, established`.
pub(crate) fn flow(flow: &Flow) -> String {
    let (source, destination) = ends(flow);
    format!("{} {source} > {destination}, {}", protocol(flow.protocol), flow.state.name())
}

/// What is known of a packet's flow, if anybody looked.
pub(crate) fn known_flow(known: FlowKnown, found: Option<&Flow>) -> Option<String> {
    match (known, found) {
        (FlowKnown::NotAsked, _) => None,
        (FlowKnown::There, Some(found)) => {
            let (name, idle) = (flow(found), found.idle_ms / 1000);
            Some(format!("{name}, idle for {idle} s, on worker {}", found.worker))
        }
        _ => Some("none is remembered yet".into()),
    }
}

fn protocol(number: u8) -> String {
    match number {
        1 => "icmp".into(),
        6 => "tcp".into(),
        17 => "udp".into(),
        58 => "icmpv6".into(),
        132 => "sctp".into(),
        other => other.to_string(),
    }
}

/// Source and destination, with what tells flows between them apart.
fn ends(flow: &Flow) -> (String, String) {
    match (flow.icmp_type, flow.protocol) {
        (Some(8 | 128), _) => {
            (format!("{} id {}", flow.source, flow.source_port), flow.destination.to_string())
        }
        (Some(kind), _) => {
            let source = format!("{} type {kind} id {}", flow.source, flow.source_port);
            (source, flow.destination.to_string())
        }
        (None, 6 | 17 | 33 | 132 | 136) => {
            (end(flow.source, flow.source_port), end(flow.destination, flow.destination_port))
        }
        (None, _) => (flow.source.to_string(), flow.destination.to_string()),
    }
}

fn end(address: IpAddr, port: u16) -> String {
    std::net::SocketAddr::new(address, port).to_string()
}

/// The interface that packets leave by, and the rules that they count at.
fn way(direction: &FlowDirection) -> String {
    match &direction.way {
        None => "-".into(),
        Some(way) if way.rules.is_empty() => way.egress.to_string(),
        Some(way) => {
            let rules: Vec<&str> = way.rules.iter().map(|rule| &**rule).collect();
            format!("{} ({})", way.egress, rules.join(", "))
        }
    }
}

/// Five digits at most: `99999`, `123k`, `45M`.
fn short(number: u64) -> String {
    match number {
        0..=99_999 => number.to_string(),
        100_000..=99_999_999 => format!("{}k", number / 1000),
        100_000_000..=99_999_999_999 => format!("{}M", number / 1_000_000),
        _ => format!("{}G", number / 1_000_000_000),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use sluice_control_api::FlowRate;

    use super::*;

    fn connection() -> Flow {
        serde_json::from_value(json!({
            "instance": "default", "worker": 1, "protocol": 6,
            "source": "10.0.1.2", "source_port": 40000,
            "destination": "fd00::1", "destination_port": 443,
            "state": "established", "age_ms": 61_999, "idle_ms": 20, "expires_ms": 7_440_000,
            "original": { "packets": 12, "bytes": 123_456, "way":
                { "ingress": "lan", "egress": "wan", "next_hop": null, "rules": ["web"] } },
            "reply": { "packets": 10, "bytes": 99_999 },
        }))
        .unwrap()
    }

    #[test]
    fn a_flow_is_a_line() {
        let all = Flows { flows: vec![connection()], matching: 1, complete: true };
        let text = flows(&all);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        for words in [
            "tcp",
            "10.0.1.2:40000",
            "[fd00::1]:443",
            "established",
            "61 s",
            "0 s",
            "2 h",
            "12/10",
            "123k/99999",
            "wan (web)",
        ] {
            assert!(lines[1].contains(words), "{words}: {text}");
        }
        assert!(!lines[0].contains("INSTANCE") && !lines[0].contains("BITS"), "{text}");
        assert_eq!(flow(&connection()), "tcp 10.0.1.2:40000 > [fd00::1]:443, established");
    }

    #[test]
    fn what_is_not_shown_is_said() {
        let rate = Some(FlowRate { packets_per_second: 7, bits_per_second: 2_000_000_000 });
        let blue = Flow { instance: "blue".into(), rate, ..connection() };
        let all = Flows { flows: vec![blue], matching: 1234, complete: false };
        let text = anstream::adapter::strip_str(&flows(&all)).to_string();
        assert!(text.contains("1 of 1234 flows") && text.contains("no time"), "{text}");
        assert!(text.contains("INSTANCE") && text.contains("2000M"), "{text}");
        let none = flows(&Flows { complete: true, ..Flows::default() });
        assert!(none.ends_with("(none)\n"), "{none}");
    }

    #[test]
    fn queries_without_ports_have_an_identifier() {
        let echo = Flow { protocol: 1, icmp_type: Some(8), source_port: 77, ..connection() };
        assert_eq!(flow(&echo), "icmp 10.0.1.2 id 77 > fd00::1, established");
        let mask = Flow { icmp_type: Some(17), ..echo };
        assert_eq!(ends(&mask).0, "10.0.1.2 type 17 id 77");
        let gre = Flow { protocol: 47, icmp_type: None, ..connection() };
        assert_eq!(flow(&gre), "47 10.0.1.2 > fd00::1, established");
    }
}

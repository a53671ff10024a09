//! `sluice explain`: the question, and the answer for people.

use std::fmt::Write;

use sluice_control_api::{Basis, CandidateQuery, Explained};
use sluice_policy::explain::{LinkDestination, Query, Remembered};

use crate::args::Explain;
use crate::check;
use crate::client::{Client, with_query};
use crate::failed::Failed;
use crate::render;

const TCP: u8 = 6;
const SYN: u8 = 2;
/// Request types of ICMP and ICMPv6 echo.
const ECHO: u8 = 8;
const ECHO6: u8 = 128;

/// The packet that the command line describes. What it leaves out is what such a packet usually
/// has: TCP begins a connection, ICMP asks for an echo.
pub(crate) fn query(packet: &Explain) -> Query {
    let (icmp_type, icmp_code) = packet.icmp.unwrap_or(match packet.proto {
        1 => (ECHO, 0),
        58 => (ECHO6, 0),
        _ => (0, 0),
    });
    Query {
        input: packet.input.as_deref().map(Into::into),
        src: packet.src,
        dst: packet.dst,
        protocol: packet.proto,
        src_port: packet.sport.unwrap_or(0),
        dst_port: packet.dport.unwrap_or(0),
        tcp_flags: packet.tcp_flags.unwrap_or(if packet.proto == TCP { SYN } else { 0 }),
        icmp_type,
        icmp_code,
        hop_limit: packet.hop_limit.unwrap_or(64),
        length: packet.length.unwrap_or(100),
        dont_fragment: packet.dont_fragment,
        fragment_offset: packet.fragment_offset.unwrap_or(0),
        dscp: packet.dscp.unwrap_or(0),
        more_fragments: packet.more_fragments,
        link: LinkDestination::Router,
        state: packet.state,
        flow: Remembered::Unasked,
    }
}

/// Puts the question, to the policy that is meant.
pub(crate) async fn ask(client: &Client, packet: &Explain) -> Result<serde_json::Value, Failed> {
    let query = query(packet);
    let Some(file) = &packet.candidate else {
        let at = packet.at.map(|generation| generation.to_string());
        return client.post(&with_query("/v1/explain", &[("at", at)]), &query).await;
    };
    let (bytes, name) = check::bytes(file)?;
    let yaml = String::from_utf8(bytes)
        .map_err(|error| Failed::Usage(format!("{name}: not UTF-8: {error}")))?;
    let path = with_query("/v1/explain/candidate", &[("file", Some(name))]);
    client.post(&path, &CandidateQuery { query, yaml }).await
}

/// The answer, step by step.
pub(crate) fn text(explained: &Explained) -> String {
    let mut text = explained.explanation.to_string();
    text.push('\n');
    match explained.basis {
        Basis::Live => {}
        Basis::Commit => {
            text.push_str("asked of an earlier commit; links and neighbours are today's\n")
        }
        Basis::Candidate => text.push_str("asked of a file that is not applied\n"),
    }
    let way = &explained.explanation.way;
    if let Some(next_hop) = &way.next_hop_state {
        let mac = next_hop.mac.map_or_else(String::new, |mac| format!(", {mac}"));
        let hint = match next_hop.state.as_str() {
            "unknown" => " (the first packet asks for its link address)",
            "failed" => " (it does not answer: packets to it are dropped)",
            _ => "",
        };
        let _ = writeln!(text, "neighbour: {}{mac}{hint}", next_hop.state);
    }
    if let Some(egress) = &way.egress_state {
        let link = if egress.link { "up" } else { "down: packets to it are dropped" };
        let _ = writeln!(text, "port:      {}, link {link}", egress.port);
        if let Some(error) = &egress.error {
            let _ = writeln!(text, "           {error}");
        }
    }
    if let Some(flow) = render::known_flow(explained.flow_state, explained.flow.as_ref()) {
        let _ = writeln!(text, "flow:      {flow}");
    }
    text
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};

    fn query_of(line: &str) -> Query {
        match Cli::try_parse_from(line.split_whitespace()).unwrap().command {
            Command::Explain(packet) => query(&packet),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_left_out_is_usual() {
        let syn = query_of("sluice explain --in lan --src 10.0.1.2 --dst 10.0.2.2 --dport 25");
        assert_eq!((syn.protocol, syn.tcp_flags, syn.dst_port), (TCP, SYN, 25));
        assert_eq!(syn.input.as_deref(), Some("lan"));
        let echo = query_of("sluice explain --src fd00::1 --dst fd00::2 --proto icmpv6");
        assert_eq!((echo.icmp_type, echo.tcp_flags, echo.input), (ECHO6, 0, None));
    }
}

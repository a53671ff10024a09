//! Files of questions: assertions about a policy, and flows to compare two policies by.

use std::net::IpAddr;

use schemars::{JsonSchema, Schema, json_schema};
use serde::Deserialize;

use super::kinds::{
    Count, Icmp, InstanceName, Interface, IpAddress, Prefix, Protocol, RuleName, State, TcpFlagList,
};
use super::node::{At, Kind, One, Place};
use super::reader::Reader;
use super::{Diagnostics, parse};
use crate::assertion::{Assertion, Expected, Fate, Question};
use crate::explain::{LinkDestination, Query, Remembered, RouteQuery};
use crate::model::{IcmpMatch, Owner};

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;
const SYN: u8 = 2;
const ECHO: u8 = 8;
const ECHO6: u8 = 128;

/// A file of questions.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Sluice questions")]
pub(super) struct Questions {
    /// Assertions, for `sluice test`.
    pub(super) tests: Option<Vec<At<TestDocument>>>,
    /// Flows, for `sluice diff --flows`; tests count as flows, too.
    pub(super) flows: Option<Vec<At<TestDocument>>>,
}

/// A packet, and what is expected to become of it.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(rename = "Test")]
pub(super) struct TestDocument {
    /// Its name in reports; made from the packet if left out.
    name: Option<At<String>>,
    /// The interface that the packet comes in by; if left out, the one whose network holds `from`.
    #[serde(rename = "in")]
    input: Option<One<Interface>>,
    /// The instance of a packet of the router's own; `default` if left out.
    instance: Option<One<InstanceName>>,
    /// Source address; if left out, the packet is the router's own.
    from: Option<One<IpAddress>>,
    /// Destination address.
    #[schemars(required)]
    to: Option<One<IpAddress>>,
    /// Protocol by name or number; tcp if left out.
    proto: Option<One<Protocol>>,
    /// Destination port.
    port: Option<One<Count<0, 65_535>>>,
    /// Source port.
    sport: Option<One<Count<0, 65_535>>>,
    /// TCP flags that are set; `syn` if left out.
    tcp_flags: Option<One<TcpFlagList>>,
    /// ICMP type; an echo request if left out.
    icmp_type: Option<One<Icmp>>,
    /// How the packet stands to its connection; if left out, as a first packet.
    state: Option<One<State>>,
    /// Bytes of the IP packet; 100 if left out.
    length: Option<One<Count<40, 65_535>>>,
    /// What becomes of the packet: accept, drop, reject or local.
    expect: Option<One<Fate>>,
    /// The interface that it leaves by.
    via: Option<One<Interface>>,
    /// The neighbour that it is handed to.
    next_hop: Option<One<IpAddress>>,
    /// The prefix of its route.
    route: Option<One<Prefix>>,
    /// The owner of its route.
    owner: Option<One<Owner>>,
    /// The rule that decides; `default` for a filter's default action.
    rule: Option<One<RuleName>>,
    /// The drop reason.
    reason: Option<At<String>>,
    /// The address that a packet of the router's own must bear.
    source: Option<One<IpAddress>>,
}

impl Kind for Fate {
    type Value = Fate;

    fn parse(text: &str) -> Result<Fate, String> {
        let known = Fate::ALL.into_iter().find(|(name, _)| *name == text);
        known.map(|(_, fate)| fate).ok_or_else(|| {
            format!("`{text}` is not one of {}", Fate::ALL.map(|(name, _)| name).join(", "))
        })
    }

    fn schema() -> Schema {
        json_schema!({ "enum": Fate::ALL.map(|(name, _)| name) })
    }
}

impl Kind for Owner {
    type Value = Owner;

    fn parse(text: &str) -> Result<Owner, String> {
        text.parse().map_err(|error: crate::model::NoOwner| error.to_string())
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string" })
    }
}

/// Reads a file of assertions; `file` is its name in diagnostics. Errors are as those of
/// [`read`](super::read).
pub fn read_assertions(text: &[u8], file: &str) -> Result<Vec<Assertion>, Diagnostics> {
    let document: Questions = parse(text, file)?;
    let mut reader = Reader::new(file);
    let tests = document.tests.unwrap_or_default();
    if tests.is_empty() {
        reader.add(Place { line: 1, column: 1 }, "tests", "there is no test: nothing is asserted");
    }
    let mut assertions = Vec::new();
    for (i, test) in tests.iter().enumerate() {
        let path = format!("tests[{i}]");
        let question = question(&path, test, &mut reader);
        let expected = expected(&path, test, &mut reader);
        let Some((name, question)) = question else { continue };
        if expected.is_empty() {
            let message = "expects nothing: give `expect`, `via`, `next-hop`, `route`, `owner`, \
                           `rule`, `reason` or `source`";
            reader.add(test.place, path, message);
        }
        let position = reader.position(test.place);
        assertions.push(Assertion { name, question, expected, position });
    }
    reader.finish()?;
    Ok(assertions)
}

/// Reads a file of flows, tests included: each flow's name and first packet.
pub fn read_flows(text: &[u8], file: &str) -> Result<Vec<(String, Query)>, Diagnostics> {
    let document: Questions = parse(text, file)?;
    let mut reader = Reader::new(file);
    let mut flows = Vec::new();
    let lists = [("flows", &document.flows), ("tests", &document.tests)];
    for (key, list) in lists {
        for (i, flow) in list.iter().flatten().enumerate() {
            match question(&format!("{key}[{i}]"), flow, &mut reader) {
                Some((name, Question::Received(query))) => flows.push((name, query)),
                // A packet of the router's own passes no filter that could be compared.
                Some((_, Question::Own(_))) if key == "tests" => {}
                Some((_, Question::Own(_))) => {
                    reader.add(flow.place, format!("{key}[{i}].from"), "is missing");
                }
                None => {}
            }
        }
    }
    if flows.is_empty() && reader.mistakes() == 0 {
        reader.add(Place { line: 1, column: 1 }, "flows", "there is no flow to compare by");
    }
    reader.finish()?;
    Ok(flows)
}

fn question(
    path: &str,
    test: &At<TestDocument>,
    reader: &mut Reader,
) -> Option<(String, Question)> {
    let before = reader.mistakes();
    let At { value: test, place } = test;
    let port = |reader: &mut Reader, field, value: &Option<One<Count<0, 65_535>>>| {
        reader.one(path, field, value).map_or(0, |port| port as u16)
    };
    let input = reader.one(path, "in", &test.input);
    let src = reader.one(path, "from", &test.from);
    let dst = reader.required(path, "to", &test.to, *place);
    let protocol = reader.one(path, "proto", &test.proto).unwrap_or(TCP);
    let (src_port, dst_port) =
        (port(reader, "sport", &test.sport), port(reader, "port", &test.port));
    let flags = reader.one(path, "tcp-flags", &test.tcp_flags);
    let usual = if protocol == TCP { SYN } else { 0 };
    let icmp = reader.one(path, "icmp-type", &test.icmp_type);
    let icmp = match protocol {
        ICMP => icmp.map_or(Some(IcmpMatch { kind: ECHO, code: None }), |kind| kind.icmp),
        ICMPV6 => icmp.map_or(Some(IcmpMatch { kind: ECHO6, code: None }), |kind| kind.icmpv6),
        _ => None,
    };
    let length = reader.one(path, "length", &test.length).unwrap_or(100) as u16;
    let state = reader.one(path, "state", &test.state);
    let instance = reader.one(path, "instance", &test.instance);
    if let (Some(source), Some(_)) = (&test.source, &test.from) {
        let message = "is of a packet of the router's own: leave out `from`";
        reader.add(source.place, format!("{path}.source"), message);
    }
    if let (Some(instance), Some(_)) = (&test.instance, &test.from) {
        let message = "a received packet is of its interface's instance: say `in`";
        reader.add(instance.place, format!("{path}.instance"), message);
    }
    if let (Some(state), None) = (&test.state, &test.from) {
        let message = "is of a received packet: give `from`";
        reader.add(state.place, format!("{path}.state"), message);
    }
    if let (Some(input), None) = (&test.input, &test.from) {
        let message = "the router's own packets come in by no interface: give `from`";
        reader.add(input.place, format!("{path}.in"), message);
    }
    if let (Some(src), Some(dst)) = (src, dst)
        && src.is_ipv4() != dst.is_ipv4()
    {
        reader.add(*place, path, format!("{src} and {dst} are of different IP versions"));
    }
    let dst = dst.filter(|_| reader.mistakes() == before)?;
    let name = match &test.name {
        Some(name) => name.value.clone(),
        None => made_name(src, dst, protocol, dst_port),
    };
    let question = match src {
        None => {
            Question::Own(RouteQuery { instance, input, src, dst, protocol, src_port, dst_port })
        }
        Some(src) => Question::Received(Query {
            input,
            src,
            dst,
            protocol,
            src_port,
            dst_port,
            tcp_flags: flags.map_or(usual, |flags| flags.set),
            icmp_type: icmp.map_or(0, |icmp| icmp.kind),
            icmp_code: icmp.and_then(|icmp| icmp.code).unwrap_or(0),
            hop_limit: 64,
            length,
            dont_fragment: false,
            fragment_offset: 0,
            dscp: 0,
            more_fragments: false,
            link: LinkDestination::Router,
            state,
            flow: Remembered::Unasked,
        }),
    };
    Some((name, question))
}

/// `tcp 10.0.1.2 > 192.0.2.1 port 25`.
fn made_name(src: Option<IpAddr>, dst: IpAddr, protocol: u8, port: u16) -> String {
    let src = src.map_or_else(|| "own".to_owned(), |src| src.to_string());
    let protocol = match protocol {
        ICMP => "icmp".to_owned(),
        TCP => "tcp".to_owned(),
        UDP => "udp".to_owned(),
        ICMPV6 => "icmpv6".to_owned(),
        other => format!("protocol {other}"),
    };
    match port {
        0 => format!("{protocol} {src} > {dst}"),
        port => format!("{protocol} {src} > {dst} port {port}"),
    }
}

fn expected(path: &str, test: &At<TestDocument>, reader: &mut Reader) -> Expected {
    let test = &test.value;
    Expected {
        fate: reader.one(path, "expect", &test.expect),
        via: reader.one(path, "via", &test.via),
        next_hop: reader.one(path, "next-hop", &test.next_hop),
        route: reader.one(path, "route", &test.route),
        owner: reader.one(path, "owner", &test.owner),
        rule: reader.one(path, "rule", &test.rule),
        reason: test.reason.as_ref().map(|reason| reason.value.clone()),
        source: reader.one(path, "source", &test.source),
    }
}

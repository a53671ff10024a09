//! From the document to the desired state: filters and their rules.

use std::collections::HashSet;

use ipnet::IpNet;
use serde::Serialize;

use super::document::{FilterDocument, FiltersDocument, LimitDocument, RuleDocument};
use super::kinds::IcmpType;
use super::node::{At, Place};
use super::reader::{Reader, Site, key_of};
use super::sets::{Of, Sets};
use crate::digest;
use crate::model::{
    Action, Filter, FilterKey, FilterPoint, FlowLimit, IcmpMatch, Name, Rate, Rule, RuleSets, Set,
    State, TcpFlags,
};
use crate::policy::Thing;

const ICMP: u8 = 1;
const TCP: u8 = 6;
const ICMPV6: u8 = 58;

/// Converts the filters of an instance.
pub(super) fn convert(
    path: &str,
    instance: &Name,
    document: &FiltersDocument,
    sets: &mut Sets,
    state: &mut State,
    reader: &mut Reader,
) {
    let filters = [
        (FilterPoint::Ingress, &document.ingress),
        (FilterPoint::Forward, &document.forward),
        (FilterPoint::Egress, &document.egress),
    ];
    for (point, document) in filters {
        let Some(document) = document else { continue };
        let key = FilterKey { instance: instance.clone(), point };
        let filter = convert_filter(&key_of(path, point.name()), &key, document, sets, reader);
        state.filters.insert(key, filter);
    }
}

fn convert_filter(
    path: &str,
    key: &FilterKey,
    document: &FilterDocument,
    sets: &mut Sets,
    reader: &mut Reader,
) -> Filter {
    let default = reader.one(path, "default", &document.default).unwrap_or(Action::Accept);
    let documents = document.rules.as_deref().unwrap_or(&[]);
    let place = document.default.as_ref().map(|default| default.place);
    let place = place.or(documents.first().map(|rule| rule.place)).unwrap_or_default();
    let stateful = reader.one(path, "stateful", &document.stateful);
    let keyword = document.stateful.as_ref().filter(|_| stateful == Some(true));
    let stateful = keyword.map(|keyword| reader.position(keyword.place));
    let site = Site::new(path.to_owned(), place).one("default", &document.default);
    reader.site(Thing::Filter(key.clone()), site);

    let mut rules: Vec<Rule> = Vec::with_capacity(documents.len());
    let mut garbled = Vec::with_capacity(documents.len());
    for (i, rule) in documents.iter().enumerate() {
        let before = reader.mistakes();
        rules.push(convert_rule(&format!("{path}.rules[{i}]"), rule, sets, reader));
        garbled.push(reader.mistakes() > before);
    }
    name_the_unnamed(&mut rules);
    for (i, (rule, document)) in rules.iter().zip(documents).enumerate() {
        let At { value, place } = document;
        let site = Site::new(format!("{path}.rules[{i}]"), *place)
            .garbled(garbled[i])
            .one("name", &value.name)
            .many("in", &value.input)
            .many("out", &value.output)
            .mixed("source", &value.source)
            .mixed("destination", &value.destination)
            .many("protocol", &value.protocol)
            .mixed("source-port", &value.source_port)
            .mixed("destination-port", &value.destination_port)
            .many("tcp-flags", &value.tcp_flags)
            .many("icmp-type", &value.icmp_type)
            .many("state", &value.state)
            .one("limit", &value.limit);
        reader.site(Thing::Rule(key.clone(), i, rule.name.clone()), site);
    }
    let named = rules.iter().flat_map(|rule| rule.sets.names());
    let sets = named.filter_map(|name| Some((name.clone(), sets.get(name)?.clone()))).collect();
    Filter { default, stateful, rules, sets }
}

/// Makes names for the rules that have none out of what they say, so that a rule keeps its
/// counters when others come and go; equal rules are told apart by an ordinal.
fn name_the_unnamed(rules: &mut [Rule]) {
    let mut taken = Names::new(rules.iter().map(|rule| &rule.name));
    for rule in rules.iter_mut().filter(|rule| rule.name.is_empty()) {
        let (Rule { input, output, source, destination, protocol, .. }, rest) =
            (&*rule, (&rule.source_port, &rule.destination_port, rule.tcp_flags, &rule.icmp));
        let content = (input, output, source, destination, protocol, rest, rule.action, rule.log);
        // What a rule does not say is no part of its name, so that what rules can say may grow.
        let connections =
            (!rule.state.is_empty() || rule.limit.is_some()).then_some((&rule.state, rule.limit));
        rule.name = match (rule.sets.is_empty(), connections) {
            (true, None) => taken.make("rule", &content),
            (false, None) => taken.make("rule", &(content, &rule.sets)),
            (_, Some(connections)) => taken.make("rule", &(content, &rule.sets, connections)),
        };
    }
}

/// Names that are taken already, and how another is made out of what a thing says.
pub(super) struct Names(HashSet<Name>);

impl Names {
    pub(super) fn new<'a>(names: impl Iterator<Item = &'a Name>) -> Names {
        Names(names.cloned().collect())
    }

    pub(super) fn make(&mut self, prefix: &str, content: &impl Serialize) -> Name {
        let digest = digest::of(content);
        let base = format!("{prefix}-{:08x}", (digest >> 32) as u32 ^ digest as u32);
        let mut name: Name = base.as_str().into();
        let mut ordinal = 2;
        while !self.0.insert(name.clone()) {
            name = format!("{base}-{ordinal}").into();
            ordinal += 1;
        }
        name
    }
}

fn convert_rule(
    path: &str,
    document: &At<RuleDocument>,
    sets: &mut Sets,
    reader: &mut Reader,
) -> Rule {
    let At { value: rule, place } = document;
    let name = reader.one(path, "name", &rule.name);
    let action = reader.required(path, "action", &rule.action, *place);
    if let Some(given) = rule.name.as_ref().filter(|given| given.value.text.is_empty()) {
        reader.add(given.place, key_of(path, "name"), "is empty: leave it out to have one made");
    }
    let (source, sources) = sets.part(Of::Prefixes, path, "source", &rule.source, reader);
    let (destination, destinations) =
        sets.part(Of::Prefixes, path, "destination", &rule.destination, reader);
    let (source_port, source_ports) =
        sets.part(Of::Ports, path, "source-port", &rule.source_port, reader);
    let (destination_port, destination_ports) =
        sets.part(Of::Ports, path, "destination-port", &rule.destination_port, reader);
    let mut protocol = reader.any_of(path, "protocol", &rule.protocol);
    let flags = reader.any_of(path, "tcp-flags", &rule.tcp_flags);
    let tcp_flags = (!flags.is_empty()).then(|| {
        flags.iter().fold(TcpFlags::default(), |all, each| TcpFlags {
            set: all.set | each.set,
            clear: all.clear | each.clear,
        })
    });
    if tcp_flags.is_some() && rule.protocol.is_none() {
        protocol = vec![TCP];
    }
    let types = reader.any_of(path, "icmp-type", &rule.icmp_type);
    let mut icmp = Vec::new();
    if let Some(list) = rule.icmp_type.as_ref().filter(|_| !types.is_empty()) {
        let in_sets = sources.iter().chain(&destinations).flat_map(|name| match sets.get(name) {
            Some(Set::Prefixes(prefixes)) => &prefixes[..],
            _ => &[],
        });
        let nets = source.iter().chain(&destination).chain(in_sets);
        let implied = rule.protocol.is_none();
        let place = list.items.first().map_or(list.place, |item| item.place);
        match resolve_icmp(&types, &protocol, implied, nets) {
            Ok((protocols, matches)) => (protocol, icmp) = (protocols, matches),
            Err(message) => reader.add(place, key_of(path, "icmp-type"), message),
        }
    }
    Rule {
        name: name.unwrap_or_else(|| "".into()),
        input: reader.any_of(path, "in", &rule.input),
        output: reader.any_of(path, "out", &rule.output),
        source,
        destination,
        protocol,
        source_port,
        destination_port,
        tcp_flags,
        icmp,
        state: reader.any_of(path, "state", &rule.state),
        sets: RuleSets {
            source: sources,
            destination: destinations,
            source_port: source_ports,
            destination_port: destination_ports,
        },
        action: action.unwrap_or(Action::Accept),
        limit: rule
            .limit
            .as_ref()
            .map(|limit| convert_limit(&key_of(path, "limit"), limit, reader)),
        log: reader.one(path, "log", &rule.log).unwrap_or(false),
        position: reader.position(if place.line == 0 {
            Place { line: 1, column: 1 }
        } else {
            *place
        }),
    }
}

fn convert_limit(path: &str, document: &At<LimitDocument>, reader: &mut Reader) -> FlowLimit {
    let LimitDocument { new_flows, burst, flows_per_source } = &document.value;
    if let (Some(burst), None) = (burst, new_flows) {
        reader.add(burst.place, key_of(path, "burst"), "is of `new-flows`, which is missing");
    }
    let burst = reader.one(path, "burst", burst);
    let new_flows = reader.one(path, "new-flows", new_flows);
    FlowLimit {
        new_flows: new_flows.map(|(count, seconds)| Rate {
            count,
            seconds,
            burst: burst.unwrap_or(count),
        }),
        flows_per_source: reader.one(path, "flows-per-source", flows_per_source),
    }
}

/// Which of ICMP and ICMPv6 the types of a rule are meant for, and their numbers there. A rule
/// that names no protocol means the one that its networks or the names leave; echo means both; a
/// bare number is ICMP's.
fn resolve_icmp<'a>(
    types: &[IcmpType],
    protocol: &[u8],
    implied: bool,
    mut nets: impl Iterator<Item = &'a IpNet> + Clone,
) -> Result<(Vec<u8>, Vec<IcmpMatch>), &'static str> {
    let (icmp, icmpv6) = if implied {
        let inet = nets.clone().any(|net| net.addr().is_ipv4());
        let inet6 = nets.any(|net| net.addr().is_ipv6());
        let echo = types.iter().all(IcmpType::is_echo);
        let (in_icmp, in_icmpv6) =
            (types.iter().all(|t| t.icmp.is_some()), types.iter().all(|t| t.icmpv6.is_some()));
        let numbers = types.iter().all(|t| t.number);
        match (inet, inet6) {
            (true, false) => (true, false),
            (false, true) => (false, true),
            _ if echo => (true, true),
            _ if numbers || !in_icmpv6 => (true, false),
            _ if !in_icmp => (false, true),
            _ => {
                return Err(
                    "the type is one of both ICMP and ICMPv6: say which with `protocol: icmp` or `protocol: icmpv6`",
                );
            }
        }
    } else {
        (protocol.contains(&ICMP), protocol.contains(&ICMPV6))
    };
    if icmp && icmpv6 && !types.iter().all(IcmpType::is_echo) {
        return Err(
            "types other than echo have different numbers in ICMP and ICMPv6: write one rule for each",
        );
    }
    let mut matches = Vec::new();
    for kind in types {
        let wanted = [icmp.then_some(kind.icmp), icmpv6.then_some(kind.icmpv6)];
        for wanted in wanted.into_iter().flatten() {
            matches.push(wanted.ok_or(
                "this type does not exist in the rule's protocol: use the other of icmp and icmpv6",
            )?);
        }
    }
    // Protocols other than ICMP are left for the policy to complain about.
    if implied {
        let protocols = [icmp.then_some(ICMP), icmpv6.then_some(ICMPV6)];
        return Ok((protocols.into_iter().flatten().collect(), matches));
    }
    if matches.is_empty() {
        matches.extend(types.iter().filter_map(|kind| kind.icmp.or(kind.icmpv6)));
    }
    Ok((protocol.to_vec(), matches))
}

#[cfg(test)]
mod tests;

//! Checks and compiles filters and static neighbours.

use std::collections::HashMap;

use ipnet::IpNet;
use sluice_packet::descriptor::number_of;

use super::error::{Mistake, Thing};
use super::limits;
use super::links::{Links, family_of, no_host, not_a_station, unknown_instance};
use super::report::{Naming, Report, is_name, known};
use super::routes::member;
use super::sets::Sets;
use crate::classifier::Conditions;
use crate::evaluate::FilterDecision;
use crate::filter::{Filter, Stateful};
use crate::ids::{InterfaceId, RuleSlot};
use crate::instance::Instance;
use crate::model::{self, Action, FilterKey, FilterPoint, MacAddress, Name, NeighbourKey, Rule};

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const DCCP: u8 = 33;
const ICMPV6: u8 = 58;
const SCTP: u8 = 132;

/// Hands out rule slots: those of the generation before stay, new rules get the lowest free.
#[derive(Debug, Default)]
pub(super) struct Slots {
    taken: Vec<u64>,
    next: usize,
}

impl Slots {
    /// All slots are free but 0 and those of `kept`.
    pub(super) fn new(kept: impl Iterator<Item = RuleSlot>) -> Slots {
        let mut slots = Slots { taken: vec![0; 1 << 10], next: 1 };
        kept.for_each(|slot| slots.taken[slot.index() >> 6] |= 1 << (slot.0 & 63));
        slots
    }

    pub(super) fn take(&mut self) -> Option<RuleSlot> {
        while self.taken.get(self.next >> 6)? >> (self.next & 63) & 1 != 0 {
            self.next += 1;
        }
        self.next += 1;
        u16::try_from(self.next - 1).ok().map(RuleSlot)
    }
}

/// Checks a filter and compiles it; `old` is the same filter in the generation before.
pub(super) fn compile(
    key: &FilterKey,
    spec: &model::Filter,
    old: Option<&Filter>,
    links: &Links,
    slots: &mut Slots,
    report: &mut Report<'_>,
) -> Option<Filter> {
    let thing = Thing::Filter(key.clone());
    let Some(instance) = links.instance_named(&key.instance) else {
        report.add(&thing, "instance", unknown_instance(report.state, &key.instance));
        return None;
    };
    if spec.default == Action::Count {
        report.add(&thing, "default", Mistake::DefaultCounts);
    }
    let mut sets = Sets::new(&thing, spec, report);
    let empty = HashMap::new();
    let old_slots = old.map_or(&empty, |old| &old.slots);
    let mut new_slots = HashMap::with_capacity(spec.rules.len());
    let mut conditions = Vec::with_capacity(spec.rules.len());
    let mut decisions = Vec::with_capacity(spec.rules.len());
    let mut take = |name: Option<&Name>| {
        let old = match name {
            Some(name) => old_slots.get(name).copied(),
            None => old.map(Filter::default_slot),
        };
        old.or_else(|| slots.take())
    };
    let default_slot = take(None);
    if spec.stateful.is_some() {
        for implied in Stateful::ALL {
            let name: Name = implied.name().into();
            let Some(slot) = take(Some(&name)) else { continue };
            new_slots.insert(name, slot);
            let state = implied.states().iter().map(|&state| state.into()).collect();
            conditions.push(Conditions { state, ..Conditions::default() });
            decisions.push(implied.decision(slot));
        }
    }
    let implied = if spec.stateful.is_some() { Stateful::ALL.len() } else { 0 };
    for (place, rule) in spec.rules.iter().enumerate() {
        let thing = Thing::Rule(key.clone(), place, rule.name.clone());
        if !is_name(&rule.name, Naming::Rule) {
            report.add(&thing, "name", Mistake::BadName(rule.name.clone()));
        } else if &*rule.name == "default" {
            report.add(&thing, "name", Mistake::RuleNamedDefault);
        } else if new_slots.contains_key(&rule.name) {
            report.add(&thing, "name", Mistake::RuleTwice(rule.name.clone()));
        }
        let input = interfaces(&thing, "in", &rule.input, instance, links, report);
        let output = interfaces(&thing, "out", &rule.output, instance, links, report);
        if key.point == FilterPoint::Ingress && !rule.output.is_empty() {
            report.add(&thing, "out", Mistake::OutputAtIngress);
        }
        sets.check(&thing, rule, report);
        let asked = conditions_of(rule, input, output, &mut sets);
        check_rule(&thing, rule, &asked, report);
        limits::check(&thing, rule, spec.stateful.is_some(), report);
        let Some(slot) = take(Some(&rule.name)) else { continue };
        new_slots.insert(rule.name.clone(), slot);
        conditions.push(asked);
        let (log, limited) = (rule.log, rule.limit.is_some());
        decisions.push(FilterDecision { log, limited, ..FilterDecision::plain(rule.action, slot) });
    }
    let Some(default_slot) = default_slot.filter(|_| decisions.len() == implied + spec.rules.len())
    else {
        let (count, most) = (spec.rules.len(), usize::from(u16::MAX));
        report.add(
            &thing,
            "rules",
            Mistake::TooMany { what: "rules and policy routes", count, most },
        );
        return None;
    };
    let default = FilterDecision::plain(spec.default, default_slot);
    Some(Filter::new(spec.stateful.is_some(), &conditions, decisions.into(), default, new_slots))
}

/// What a rule whose interfaces have been looked up asks of a packet.
pub(super) fn conditions_of<'a>(
    rule: &'a Rule,
    input: Box<[InterfaceId]>,
    output: Box<[InterfaceId]>,
    sets: &mut Sets<'a>,
) -> Conditions {
    Conditions {
        input,
        output,
        source: sets.networks(&rule.source, &rule.sets.source),
        destination: sets.networks(&rule.destination, &rule.sets.destination),
        protocol: rule.protocol.as_slice().into(),
        source_port: sets.ports(&rule.source_port, &rule.sets.source_port),
        destination_port: sets.ports(&rule.destination_port, &rule.sets.destination_port),
        tcp_flags: rule.tcp_flags,
        icmp: rule.icmp.as_slice().into(),
        state: rule.state.iter().map(|&state| state.into()).collect(),
    }
}

pub(super) fn interfaces(
    thing: &Thing,
    field: &'static str,
    names: &[Name],
    instance: &Instance,
    links: &Links,
    report: &mut Report<'_>,
) -> Box<[InterfaceId]> {
    let mut ids = Vec::with_capacity(names.len());
    for (i, name) in names.iter().enumerate() {
        match member(name, instance, links) {
            Ok(interface) => ids.push(interface.id),
            Err(mistake) => report.add_item(thing, field, i, mistake),
        }
    }
    ids.into()
}

pub(super) fn check_rule(thing: &Thing, rule: &Rule, asked: &Conditions, report: &mut Report<'_>) {
    for (field, nets) in [("source", &rule.source), ("destination", &rule.destination)] {
        for (i, &prefix) in nets.iter().enumerate().filter(|(_, net)| **net != net.trunc()) {
            report.add_item(thing, field, i, Mistake::HostBits { prefix, right: prefix.trunc() });
        }
    }
    let ports = [("source-port", &rule.source_port), ("destination-port", &rule.destination_port)];
    for (field, ranges) in ports {
        for (i, range) in ranges.iter().enumerate().filter(|(_, range)| range.is_empty()) {
            let mistake = Mistake::EmptyRange(*range.start(), *range.end());
            report.add_item(thing, field, i, mistake);
        }
    }
    let asked_ports =
        [("source-port", &asked.source_port), ("destination-port", &asked.destination_port)];
    if let Some((field, _)) = asked_ports.iter().find(|(_, ranges)| !ranges.is_empty()) {
        let without = rule.protocol.iter().find(|p| ![TCP, UDP, DCCP, SCTP].contains(p));
        if let Some(&protocol) = without {
            report.add(thing, field, Mistake::PortsOfProtocol(protocol));
        } else if rule.protocol.is_empty() {
            report.add(thing, field, Mistake::PortsWithoutProtocol);
        }
    }
    if let Some(flags) = rule.tcp_flags {
        if rule.protocol != [TCP] {
            report.add(thing, "tcp-flags", Mistake::FlagsWithoutTcp);
        }
        if flags.set & flags.clear != 0 {
            report.add(thing, "tcp-flags", Mistake::FlagsContradict);
        }
    }
    let of_icmp = |p: &u8| [ICMP, ICMPV6].contains(p);
    if !rule.icmp.is_empty() && (rule.protocol.is_empty() || !rule.protocol.iter().all(of_icmp)) {
        report.add(thing, "icmp-type", Mistake::IcmpWithoutProtocol);
    }
    if let Some((field, why)) = contradiction(asked) {
        report.add(thing, field, Mistake::MatchesNothing(why));
    }
}

/// Why no packet can match the rule, if so, and the field to blame.
fn contradiction(asked: &Conditions) -> Option<(&'static str, &'static str)> {
    let speaks = |nets: &[IpNet], inet: bool| {
        nets.is_empty() || nets.iter().any(|net| net.addr().is_ipv4() == inet)
    };
    let both = |inet| speaks(&asked.source, inet) && speaks(&asked.destination, inet);
    let (inet, inet6) = (both(true), both(false));
    if !inet && !inet6 {
        return Some(("destination", "source and destination are of different IP versions"));
    }
    match *asked.protocol {
        [ICMP] if !inet => {
            Some(("protocol", "ICMP is of IPv4, the addresses are of IPv6; use icmpv6"))
        }
        [ICMPV6] if !inet6 => {
            Some(("protocol", "ICMPv6 is of IPv6, the addresses are of IPv4; use icmp"))
        }
        _ => None,
    }
}

/// Checks a static neighbour.
pub(super) fn check_neighbour(
    key: &NeighbourKey,
    mac: MacAddress,
    links: &Links,
    report: &mut Report<'_>,
) {
    let thing = Thing::Neighbour(key.clone());
    let NeighbourKey { address, .. } = *key;
    if !mac.is_station() {
        report.add(&thing, "mac", Mistake::NotAStation(mac));
    }
    let Some(interface) = links.by_name.get(&key.interface).and_then(|id| links.interface(*id))
    else {
        let known = known(report.state.interfaces.keys());
        let name = key.interface.clone();
        report.add(&thing, "interface", Mistake::UnknownInterface { name, known });
        return;
    };
    let family = family_of(address);
    let no_station = || {
        let net = interface.addresses.iter().find(|net| net.contains(&address));
        not_a_station(address).or_else(|| no_host(*net?, address))
    };
    let mistake = if let Some(why) = no_station() {
        Mistake::NeighbourNoStation(address, why)
    } else if !interface.on_link(family, number_of(address)) {
        Mistake::NeighbourOffLink { address, interface: interface.name.clone() }
    } else if interface.owns(family, number_of(address)) {
        Mistake::NeighbourOwn(address)
    } else {
        return;
    };
    report.add(&thing, "address", mistake);
}

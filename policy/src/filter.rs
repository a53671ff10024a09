//! First-match filters.
//!
//! A rule is compiled into a flat [`Matcher`] that names the fields it looks at, so that the
//! common rule (a protocol and a port) costs two comparisons. Rules are tried in order.
//!
//! What a rule cannot see, it does not match: ports, TCP flags and ICMP types of a later
//! fragment, the ingress interface of a packet that the router made itself, and addresses of
//! the other IP version.

use std::collections::HashMap;

use ipnet::IpNet;
use sluice_packet::descriptor::number_of;
use sluice_packet::{Descriptor, DescriptorFlags, Family, Fragment};

use crate::evaluate::{FilterDecision, Recorder};
use crate::ids::{InterfaceId, RuleSlot};
use crate::model::{Action, IcmpMatch, Name, Rule, TcpFlags};

/// A filter ready to be asked.
#[derive(Clone, Debug)]
pub(crate) struct Filter {
    pub(crate) matchers: Box<[Matcher]>,
    pub(crate) default: Action,
    pub(crate) default_slot: RuleSlot,
    /// The rules' slots by name: how a rule of the next generation finds its own again.
    pub(crate) slots: HashMap<Name, RuleSlot>,
}

impl Filter {
    /// Whether asking could ever have an effect.
    pub(crate) fn is_open(&self) -> bool {
        self.matchers.is_empty() && self.default == Action::Accept
    }

    /// The decision of the first rule that matches and does more than count.
    #[inline]
    pub(crate) fn decide<R: Recorder>(
        &self,
        d: &Descriptor,
        egress: Option<InterfaceId>,
        recorder: &mut R,
    ) -> FilterDecision {
        for matcher in &self.matchers {
            if matcher.matches(d, egress) {
                recorder.rule(matcher.slot, d);
                if matcher.action != Action::Count {
                    let Matcher { action, slot, log, .. } = *matcher;
                    return FilterDecision { action, rule: slot, log };
                }
            }
        }
        recorder.rule(self.default_slot, d);
        FilterDecision { action: self.default, rule: self.default_slot, log: false }
    }
}

bitflags::bitflags! {
    /// The fields that a rule looks at.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    struct Looks: u16 {
        const PROTOCOL = 1 << 0;
        const INPUT = 1 << 1;
        const OUTPUT = 1 << 2;
        const SOURCE = 1 << 3;
        const DESTINATION = 1 << 4;
        const SOURCE_PORT = 1 << 5;
        const DESTINATION_PORT = 1 << 6;
        const TCP_FLAGS = 1 << 7;
        const ICMP = 1 << 8;
        /// Fields that only the first fragment carries.
        const LAYER4 = Self::SOURCE_PORT.bits() | Self::DESTINATION_PORT.bits()
            | Self::TCP_FLAGS.bits() | Self::ICMP.bits();
    }
}

/// One compiled rule.
#[derive(Clone, Debug)]
pub(crate) struct Matcher {
    looks: Looks,
    action: Action,
    log: bool,
    pub(crate) slot: RuleSlot,
    tcp_flags: TcpFlags,
    /// One bit a protocol number.
    protocol: [u64; 4],
    input: Box<[InterfaceId]>,
    output: Box<[InterfaceId]>,
    source: Box<[Network]>,
    destination: Box<[Network]>,
    source_port: Box<[(u16, u16)]>,
    destination_port: Box<[(u16, u16)]>,
    icmp: Box<[IcmpMatch]>,
}

/// The addresses of one family that equal `value` under `mask`.
#[derive(Clone, Copy, Debug)]
struct Network {
    value: u128,
    mask: u128,
    family: Family,
}

impl Network {
    fn new(net: IpNet) -> Network {
        let family = if net.addr().is_ipv4() { Family::Inet } else { Family::Inet6 };
        Network { value: number_of(net.network()), mask: number_of(net.netmask()), family }
    }

    #[inline]
    fn covers(&self, family: Family, address: u128) -> bool {
        family == self.family && address & self.mask == self.value
    }
}

impl Matcher {
    /// Compiles a rule whose interfaces have been looked up.
    pub(crate) fn new(
        rule: &Rule,
        input: Box<[InterfaceId]>,
        output: Box<[InterfaceId]>,
        slot: RuleSlot,
    ) -> Matcher {
        let ranges = |ports: &[std::ops::RangeInclusive<u16>]| -> Box<[(u16, u16)]> {
            ports.iter().map(|range| (*range.start(), *range.end())).collect()
        };
        let networks = |nets: &[IpNet]| nets.iter().copied().map(Network::new).collect();
        let mut protocol = [0u64; 4];
        for &number in &rule.protocol {
            protocol[usize::from(number >> 6)] |= 1 << (number & 63);
        }
        let mut looks = Looks::empty();
        looks.set(Looks::PROTOCOL, !rule.protocol.is_empty());
        looks.set(Looks::INPUT, !input.is_empty());
        looks.set(Looks::OUTPUT, !output.is_empty());
        looks.set(Looks::SOURCE, !rule.source.is_empty());
        looks.set(Looks::DESTINATION, !rule.destination.is_empty());
        looks.set(Looks::SOURCE_PORT, !rule.source_port.is_empty());
        looks.set(Looks::DESTINATION_PORT, !rule.destination_port.is_empty());
        looks.set(Looks::TCP_FLAGS, rule.tcp_flags.is_some());
        looks.set(Looks::ICMP, !rule.icmp.is_empty());
        Matcher {
            looks,
            action: rule.action,
            log: rule.log,
            slot,
            tcp_flags: rule.tcp_flags.unwrap_or_default(),
            protocol,
            input,
            output,
            source: networks(&rule.source),
            destination: networks(&rule.destination),
            source_port: ranges(&rule.source_port),
            destination_port: ranges(&rule.destination_port),
            icmp: rule.icmp.as_slice().into(),
        }
    }

    #[inline]
    fn matches(&self, d: &Descriptor, egress: Option<InterfaceId>) -> bool {
        let looks = self.looks;
        if looks.contains(Looks::PROTOCOL) {
            let word = self.protocol[usize::from(d.key.protocol >> 6)];
            if word >> (d.key.protocol & 63) & 1 == 0 {
                return false;
            }
        }
        if looks.intersects(Looks::LAYER4) && !self.matches_layer4(d) {
            return false;
        }
        let family = d.key.family;
        if looks.contains(Looks::SOURCE) && !self.source.iter().any(|n| n.covers(family, d.key.src))
        {
            return false;
        }
        if looks.contains(Looks::DESTINATION)
            && !self.destination.iter().any(|n| n.covers(family, d.key.dst))
        {
            return false;
        }
        if looks.contains(Looks::INPUT)
            && (d.flags.contains(DescriptorFlags::LOCAL_ORIGIN)
                || !self.input.contains(&InterfaceId(d.ingress)))
        {
            return false;
        }
        !looks.contains(Looks::OUTPUT) || egress.is_some_and(|id| self.output.contains(&id))
    }

    #[inline]
    fn matches_layer4(&self, d: &Descriptor) -> bool {
        let looks = self.looks;
        if d.fragment == Fragment::Later {
            return false;
        }
        let covers = |ranges: &[(u16, u16)], port| {
            ranges.iter().any(|&(low, high)| low <= port && port <= high)
        };
        if looks.contains(Looks::DESTINATION_PORT)
            && !covers(&self.destination_port, d.key.dst_port)
        {
            return false;
        }
        if looks.contains(Looks::SOURCE_PORT) && !covers(&self.source_port, d.key.src_port) {
            return false;
        }
        if looks.contains(Looks::TCP_FLAGS) {
            let TcpFlags { set, clear } = self.tcp_flags;
            if d.tcp_flags & set != set || d.tcp_flags & clear != 0 {
                return false;
            }
        }
        !looks.contains(Looks::ICMP)
            || self
                .icmp
                .iter()
                .any(|m| m.kind == d.icmp_type && m.code.is_none_or(|c| c == d.icmp_code))
    }
}

#[cfg(test)]
mod tests;

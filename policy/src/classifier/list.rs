//! A few conditions: tried one after another.
//!
//! Each is a flat [`Matcher`] that names the fields it looks at, so that the common rule (a
//! protocol and a port) costs two comparisons.

use ipnet::IpNet;
use sluice_packet::descriptor::number_of;
use sluice_packet::{DescriptorFlags, Family, Fragment};

use super::Packet;
use super::conditions::Conditions;
use crate::ids::InterfaceId;
use crate::model::{IcmpMatch, TcpFlags};

bitflags::bitflags! {
    /// The fields that a condition looks at.
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

/// One compiled condition.
#[derive(Clone, Debug)]
pub(crate) struct Matcher {
    looks: Looks,
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
    pub(super) fn new(conditions: &Conditions) -> Matcher {
        let ranges = |ports: &[std::ops::RangeInclusive<u16>]| -> Box<[(u16, u16)]> {
            ports.iter().map(|range| (*range.start(), *range.end())).collect()
        };
        let networks = |nets: &[IpNet]| nets.iter().copied().map(Network::new).collect();
        let c = conditions;
        let mut protocol = [0u64; 4];
        for &number in &c.protocol {
            protocol[usize::from(number >> 6)] |= 1 << (number & 63);
        }
        let mut looks = Looks::empty();
        looks.set(Looks::PROTOCOL, !c.protocol.is_empty());
        looks.set(Looks::INPUT, !c.input.is_empty());
        looks.set(Looks::OUTPUT, !c.output.is_empty());
        looks.set(Looks::SOURCE, !c.source.is_empty());
        looks.set(Looks::DESTINATION, !c.destination.is_empty());
        looks.set(Looks::SOURCE_PORT, !c.source_port.is_empty());
        looks.set(Looks::DESTINATION_PORT, !c.destination_port.is_empty());
        looks.set(Looks::TCP_FLAGS, c.tcp_flags.is_some());
        looks.set(Looks::ICMP, !c.icmp.is_empty());
        Matcher {
            looks,
            tcp_flags: c.tcp_flags.unwrap_or_default(),
            protocol,
            input: c.input.clone(),
            output: c.output.clone(),
            source: networks(&c.source),
            destination: networks(&c.destination),
            source_port: ranges(&c.source_port),
            destination_port: ranges(&c.destination_port),
            icmp: c.icmp.clone(),
        }
    }

    #[inline]
    pub(super) fn holds(&self, packet: &Packet<'_>) -> bool {
        let looks = self.looks;
        let d = packet.descriptor;
        if looks.contains(Looks::PROTOCOL) {
            let word = self.protocol[usize::from(d.key.protocol >> 6)];
            if word >> (d.key.protocol & 63) & 1 == 0 {
                return false;
            }
        }
        if looks.intersects(Looks::LAYER4) && !self.layer4_holds(packet) {
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
        !looks.contains(Looks::OUTPUT) || packet.egress.is_some_and(|id| self.output.contains(&id))
    }

    #[inline]
    fn layer4_holds(&self, packet: &Packet<'_>) -> bool {
        let looks = self.looks;
        let d = packet.descriptor;
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

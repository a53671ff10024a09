//! Eight rules that are compared with a packet at once.
//!
//! A batch has the rules' values side by side, so that each step is an instruction over all eight
//! ([`crate::simd`]). What it says is a superset: a rule that is *open* has more to be asked for than a
//! batch holds (several networks or ranges, interfaces, flags), and only whether it may hold is known.

use std::array;

use ipnet::IpNet;
use sluice_packet::descriptor::number_of;
use sluice_packet::{Family, Fragment};

use super::Packet;
use super::conditions::{Conditions, has_ports};
use crate::simd::{Lanes, Probe};

/// Rules of a batch.
pub(super) const LANES: usize = Lanes::COUNT;

/// No rule.
pub(super) const NONE: u32 = u32::MAX;

/// What a rule is called in a batch: its place in the list, and whether it is open. Of two rules the
/// earlier one is less.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Name(u32);

impl Name {
    pub(super) const NONE: Name = Name(NONE);

    fn new(rule: u32, open: bool) -> Name {
        Name(rule << 1 | u32::from(open))
    }

    /// The rule; [`NONE`] where there is none.
    #[inline(always)]
    pub(super) fn rule(self) -> u32 {
        if self == Name::NONE { NONE } else { self.0 >> 1 }
    }

    /// Whether there is a rule, and more to be asked.
    #[inline(always)]
    pub(super) fn is_open(self) -> bool {
        self != Name::NONE && self.0 & 1 == 1
    }

    /// The earlier one of two.
    #[inline(always)]
    pub(super) fn or(self, other: Name) -> Name {
        Name(self.0.min(other.0))
    }
}

/// What rules are compared with of a packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sight {
    pub(super) source: u32,
    pub(super) destination: u32,
    /// The ports; and as marks the protocol, and above it what a rule may refuse.
    rest: Probe,
}

/// A mark for each state of a connection, from this bit on.
const STATE: u16 = 8;
/// The ports cannot be seen.
const NO_PORTS: u16 = 1 << 13;
/// A later fragment.
const LATER: u16 = 1 << 14;
const STATES: u16 = 0b1_1111;

impl Sight {
    #[inline(always)]
    pub(super) fn of(packet: &Packet<'_>) -> Sight {
        let d = packet.descriptor;
        let later = d.fragment == Fragment::Later;
        let mut marks = u16::from(d.key.protocol) | 1 << (STATE + d.state as u16);
        marks |= if has_ports(d) { 0 } else { NO_PORTS };
        marks |= if later { LATER } else { 0 };
        Sight {
            source: bits(d.key.family, d.key.src),
            destination: bits(d.key.family, d.key.dst),
            rest: Probe { source_port: d.key.src_port, destination_port: d.key.dst_port, marks },
        }
    }
}

/// The part of an address that is compared: of IPv6 what is behind the first 32 bits, in which the
/// networks of one site differ.
#[inline(always)]
fn bits(family: Family, address: u128) -> u32 {
    match family {
        Family::Inet => address as u32,
        Family::Inet6 => (address >> 64) as u32,
    }
}

/// One rule.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lane {
    address: u32,
    address_mask: u32,
    source_port: (u16, u16),
    destination_port: (u16, u16),
    marks: u16,
    marks_mask: u16,
    name: Name,
}

impl Lane {
    /// A rule as packets of a family are compared with it that have one of its addresses; `other` are
    /// the networks that it asks for of the other. `None` where it holds for none of them.
    pub(super) fn new(
        rule: u32,
        conditions: &Conditions,
        other: &[IpNet],
        family: Family,
    ) -> Option<Lane> {
        let c = conditions;
        let inet = family == Family::Inet;
        let mut nets = other.iter().filter(|net| net.addr().is_ipv4() == inet).map(|net| {
            let (address, mask) = (number_of(net.network()), number_of(net.netmask()));
            (bits(family, address), bits(family, mask))
        });
        let (address, address_mask) = match nets.next() {
            // What they have in common.
            Some(first) => nets.fold(first, |(address, mask), (other, of_other)| {
                let mask = mask & of_other & !(address ^ other);
                (address & mask, mask)
            }),
            None if other.is_empty() => (0, 0),
            None => return None,
        };
        let (source_port, destination_port) = (span(&c.source_port)?, span(&c.destination_port)?);
        let (protocol, mut marks_mask) = match *c.protocol {
            [protocol] => (protocol, 0xff),
            _ => (0, 0),
        };
        if !c.state.is_empty() {
            let allowed = c.state.iter().fold(0, |all, &state| all | 1 << state as u16);
            marks_mask |= (STATES & !allowed) << STATE;
        }
        let first = c.tcp_flags.is_some() || !c.icmp.is_empty();
        let ports = !c.source_port.is_empty() || !c.destination_port.is_empty();
        marks_mask |= if ports { NO_PORTS } else { 0 };
        marks_mask |= if first { LATER } else { 0 };
        let whole_address = other.is_empty() || (inet && other.len() == 1);
        let open = !whole_address
            || c.source_port.len() > 1
            || c.destination_port.len() > 1
            || c.protocol.len() > 1
            || !(c.input.is_empty() && c.output.is_empty())
            || first;
        let marks = protocol.into();
        let name = Name::new(rule, open);
        Some(Lane { address, address_mask, source_port, destination_port, marks, marks_mask, name })
    }

    /// Whether it has more to be asked for.
    pub(super) fn is_open(&self) -> bool {
        self.name.is_open()
    }
}

/// The first port, and how many follow, of all ranges together; `None` where they have no port.
fn span(ranges: &[std::ops::RangeInclusive<u16>]) -> Option<(u16, u16)> {
    if ranges.is_empty() {
        return Some((0, u16::MAX));
    }
    let ranges = || ranges.iter().filter(|range| !range.is_empty());
    let first = *ranges().map(|range| range.start()).min()?;
    let last = *ranges().map(|range| range.end()).max()?;
    Some((first, last - first))
}

/// Up to eight rules, the earlier ones first.
#[derive(Clone, Debug)]
pub(super) struct Batch(Lanes);

impl Batch {
    /// Of up to eight rules. What is left over is never matched.
    pub(super) fn new(lanes: &[Lane]) -> Batch {
        fn all<T>(lanes: &[Lane], otherwise: T, value: impl Fn(&Lane) -> T) -> [T; LANES]
        where
            T: Copy,
        {
            array::from_fn(|at| lanes.get(at).map_or(otherwise, &value))
        }
        Batch(Lanes {
            address: all(lanes, 1, |lane| lane.address),
            address_mask: all(lanes, 0, |lane| lane.address_mask),
            source_port: all(lanes, 0, |lane| lane.source_port.0),
            source_ports: all(lanes, 0, |lane| lane.source_port.1),
            destination_port: all(lanes, 0, |lane| lane.destination_port.0),
            destination_ports: all(lanes, 0, |lane| lane.destination_port.1),
            marks: all(lanes, 0, |lane| lane.marks),
            marks_mask: all(lanes, 0, |lane| lane.marks_mask),
            names: all(lanes, NONE, |lane| lane.name.0),
        })
    }

    /// The first rule, from a place in the list on, that may hold for a packet; `address` is the one
    /// that did not lead here.
    #[inline(always)]
    pub(super) fn first(&self, sight: &Sight, address: u32, from: u32) -> Name {
        Name(self.0.least(address, sight.rest, from << 1))
    }

    /// The first of its rules.
    #[inline(always)]
    pub(super) fn earliest(&self) -> Name {
        Name(self.0.names[0])
    }
}

//! A few conditions: tried one after another.
//!
//! Each is a flat [`Matcher`] that names the fields it looks at. It is asked of many packets at once,
//! so that the common rule (a protocol and a port) costs a packet two comparisons and little else; of
//! full bursts by [`columns`].

mod columns;

use ipnet::IpNet;
use sluice_packet::descriptor::number_of;
use sluice_packet::{ConnectionState, Descriptor, DescriptorFlags, Family, Fragment, Mask};

pub(crate) use columns::Columns;

use super::conditions::{Conditions, has_ports};
use super::{BURST, Packet};
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
        const STATE = 1 << 9;
        /// Fields that only the first fragment carries, and later ones where that one is known.
        const PORTS = Self::SOURCE_PORT.bits() | Self::DESTINATION_PORT.bits();
        /// Fields that only the first fragment carries.
        const FIRST = Self::TCP_FLAGS.bits() | Self::ICMP.bits();
    }
}

/// One compiled condition.
#[derive(Clone, Debug)]
pub(crate) struct Matcher {
    looks: Looks,
    tcp_flags: TcpFlags,
    protocols: Box<[u8]>,
    /// The same, one bit a number.
    protocol: [u64; 4],
    input: Box<[InterfaceId]>,
    output: Box<[InterfaceId]>,
    source: Box<[Network]>,
    destination: Box<[Network]>,
    source_port: Box<[(u16, u16)]>,
    destination_port: Box<[(u16, u16)]>,
    icmp: Box<[IcmpMatch]>,
    states: Box<[ConnectionState]>,
    /// The same, one bit a state.
    state: u8,
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

    #[inline(always)]
    fn among(&self, packets: Mask, address: impl Fn(usize) -> (Family, u128)) -> Mask {
        if self.family == Family::Inet {
            let (value, mask) = (self.value as u32, self.mask as u32);
            return of(packets, |slot| {
                let (family, address) = address(slot);
                family == Family::Inet && address as u32 & mask == value
            });
        }
        of(packets, |slot| {
            let (family, address) = address(slot);
            family == Family::Inet6 && address & self.mask == self.value
        })
    }
}

impl Matcher {
    pub(super) fn new(conditions: &Conditions) -> Matcher {
        // An empty range is met by no port.
        let ranges = |ports: &[std::ops::RangeInclusive<u16>]| -> Box<[(u16, u16)]> {
            let given = ports.iter().filter(|range| !range.is_empty());
            given.map(|range| (*range.start(), *range.end())).collect()
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
        looks.set(Looks::STATE, !c.state.is_empty());
        Matcher {
            looks,
            tcp_flags: c.tcp_flags.unwrap_or_default(),
            protocols: c.protocol.clone(),
            protocol,
            input: c.input.clone(),
            output: c.output.clone(),
            source: networks(&c.source),
            destination: networks(&c.destination),
            source_port: ranges(&c.source_port),
            destination_port: ranges(&c.destination_port),
            icmp: c.icmp.clone(),
            states: c.state.clone(),
            state: c.state.iter().fold(0, |all, &state| all | 1 << state as u8),
        }
    }

    /// Whether it holds for a packet.
    #[inline]
    pub(super) fn holds(&self, packet: &Packet<'_>) -> bool {
        !self.among(Mask::only(0), |_| *packet).is_empty()
    }

    /// Those of some packets that it holds for. Each field is asked of all packets that are left,
    /// and each network and range: what does not change from packet to packet stays in registers.
    #[inline]
    pub(crate) fn among<'a>(&self, packets: Mask, packet: impl Fn(usize) -> Packet<'a>) -> Mask {
        let (looks, d) = (self.looks, |slot| packet(slot).descriptor);
        let mut left = packets;
        if looks.contains(Looks::PROTOCOL) {
            left = of(left, |slot| {
                let number = d(slot).key.protocol;
                self.protocol[usize::from(number >> 6)] >> (number & 63) & 1 != 0
            });
        }
        if looks.contains(Looks::STATE) {
            left = of(left, |slot| self.state >> d(slot).state as u8 & 1 != 0);
        }
        if looks.intersects(Looks::PORTS | Looks::FIRST) && !left.is_empty() {
            left = self.among_layer4(left, d);
        }
        if looks.contains(Looks::SOURCE) {
            left = any(&self.source, left, |net, left| {
                net.among(left, |slot| (d(slot).key.family, d(slot).key.src))
            });
        }
        if looks.contains(Looks::DESTINATION) {
            left = any(&self.destination, left, |net, left| {
                net.among(left, |slot| (d(slot).key.family, d(slot).key.dst))
            });
        }
        if looks.contains(Looks::INPUT) {
            let own = |slot| d(slot).flags.contains(DescriptorFlags::LOCAL_ORIGIN);
            left = any(&self.input, left, |id, left| {
                of(left, |slot| d(slot).ingress == id.0 && !own(slot))
            });
        }
        if looks.contains(Looks::OUTPUT) {
            left = any(&self.output, left, |id, left| {
                of(left, |slot| packet(slot).egress == Some(*id))
            });
        }
        left
    }

    fn among_layer4<'a>(&self, packets: Mask, d: impl Fn(usize) -> &'a Descriptor) -> Mask {
        let looks = self.looks;
        let mut left = match looks.intersects(Looks::FIRST) {
            true => of(packets, |slot| d(slot).fragment != Fragment::Later),
            false => of(packets, |slot| has_ports(d(slot))),
        };
        if looks.contains(Looks::DESTINATION_PORT) {
            left = any(&self.destination_port, left, |&(low, high), left| {
                of(left, |slot| (low..=high).contains(&d(slot).key.dst_port))
            });
        }
        if looks.contains(Looks::SOURCE_PORT) {
            left = any(&self.source_port, left, |&(low, high), left| {
                of(left, |slot| (low..=high).contains(&d(slot).key.src_port))
            });
        }
        if looks.contains(Looks::TCP_FLAGS) {
            let TcpFlags { set, clear } = self.tcp_flags;
            left =
                of(left, |slot| d(slot).tcp_flags & set == set && d(slot).tcp_flags & clear == 0);
        }
        if looks.contains(Looks::ICMP) {
            left = any(&self.icmp, left, |m, left| {
                of(left, |slot| {
                    m.kind == d(slot).icmp_type && m.code.is_none_or(|c| c == d(slot).icmp_code)
                })
            });
        }
        left
    }
}

/// Those of some packets for which something holds.
#[inline(always)]
fn of(packets: Mask, holds: impl Fn(usize) -> bool) -> Mask {
    let mut held = 0;
    for slot in packets {
        held |= u64::from(holds(slot)) << (slot & 63);
    }
    Mask(held)
}

/// Those of some packets that meet one of several demands.
#[inline(always)]
fn any<T>(demands: &[T], packets: Mask, meeting: impl Fn(&T, Mask) -> Mask) -> Mask {
    let mut left = packets;
    for demand in demands {
        if left.is_empty() {
            break;
        }
        left &= !meeting(demand, left);
    }
    packets & !left
}

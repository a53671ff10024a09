//! A few conditions asked about many packets: field by field, all packets at once.
//!
//! [`Columns`] holds each field of a burst in an array of its own, so that one comparison is a loop over
//! neighbours without a branch, of which the compiler makes vector code. Setting them up pays where there
//! are some conditions to ask.

use sluice_packet::{Descriptor, DescriptorFlags, Family, Fragment, Mask};

use super::{BURST, Looks, Matcher, Network, Packet, has_ports};
use crate::model::TcpFlags;

/// One byte a packet: 1 where something holds, else 0.
type Held = [u8; BURST];

/// The fields of a burst's packets. Those of slots without a packet are 0, and those of [`RARE`] where no
/// condition looks at one.
pub(crate) struct Columns {
    protocol: [u8; BURST],
    state: [u8; BURST],
    tcp_flags: [u8; BURST],
    icmp_type: [u8; BURST],
    icmp_code: [u8; BURST],
    source_port: [u16; BURST],
    destination_port: [u16; BURST],
    /// The low 32 bits: all of an IPv4 address.
    source: [u32; BURST],
    destination: [u32; BURST],
    /// [`NO_INTERFACE`] where the packet has none.
    ingress: [u32; BURST],
    egress: [u32; BURST],
    inet: Held,
    /// Whose ports can be seen.
    ports: Held,
    /// Whose layer-4 header can be seen.
    first: Held,
}

/// What few filters look at.
const RARE: Looks = Looks::FIRST.union(Looks::INPUT).union(Looks::OUTPUT);

/// More than the number of any interface.
const NO_INTERFACE: u32 = u32::MAX;

impl Columns {
    /// Those of some packets, as far as some conditions look at them.
    #[inline]
    pub(crate) fn of<'a>(
        packets: Mask,
        conditions: &[Matcher],
        packet: impl Fn(usize) -> Packet<'a>,
    ) -> Columns {
        let mut columns = Columns {
            protocol: [0; BURST],
            state: [0; BURST],
            tcp_flags: [0; BURST],
            icmp_type: [0; BURST],
            icmp_code: [0; BURST],
            source_port: [0; BURST],
            destination_port: [0; BURST],
            source: [0; BURST],
            destination: [0; BURST],
            ingress: [0; BURST],
            egress: [0; BURST],
            inet: [0; BURST],
            ports: [0; BURST],
            first: [0; BURST],
        };
        for slot in packets {
            let d = packet(slot).descriptor;
            let slot = slot % BURST;
            columns.protocol[slot] = d.key.protocol;
            columns.state[slot] = d.state as u8;
            columns.source_port[slot] = d.key.src_port;
            columns.destination_port[slot] = d.key.dst_port;
            columns.source[slot] = d.key.src_inet();
            columns.destination[slot] = d.key.dst_inet();
            columns.inet[slot] = u8::from(d.key.family == Family::Inet);
            columns.ports[slot] = u8::from(has_ports(d));
        }
        if conditions.iter().any(|condition| condition.looks.intersects(RARE)) {
            columns.add_rare(packets, packet);
        }
        columns
    }

    #[inline]
    fn add_rare<'a>(&mut self, packets: Mask, packet: impl Fn(usize) -> Packet<'a>) {
        for slot in packets {
            let Packet { descriptor: d, egress } = packet(slot);
            let slot = slot % BURST;
            let own = d.flags.contains(DescriptorFlags::LOCAL_ORIGIN);
            self.tcp_flags[slot] = d.tcp_flags;
            self.icmp_type[slot] = d.icmp_type;
            self.icmp_code[slot] = d.icmp_code;
            self.ingress[slot] = if own { NO_INTERFACE } else { d.ingress.into() };
            self.egress[slot] = egress.map_or(NO_INTERFACE, |id| id.0.into());
            self.first[slot] = u8::from(d.fragment != Fragment::Later);
        }
    }
}

impl Matcher {
    /// [`among`](Matcher::among) of packets whose fields are in `columns`; addresses of IPv6 are looked up by
    /// `descriptor`.
    pub(crate) fn among_columns<'a>(
        &self,
        columns: &Columns,
        packets: Mask,
        descriptor: impl Fn(usize) -> &'a Descriptor,
    ) -> Mask {
        let (looks, c) = (self.looks, columns);
        let mut held = [1; BURST];
        if looks.contains(Looks::PROTOCOL) {
            one_of(&mut held, &self.protocols, |&number, slot| c.protocol[slot] == number);
        }
        if looks.contains(Looks::STATE) {
            one_of(&mut held, &self.states, |&state, slot| c.state[slot] == state as u8);
        }
        let port = |port: u16, (low, high): (u16, u16)| port.wrapping_sub(low) <= high - low;
        if looks.contains(Looks::DESTINATION_PORT) {
            one_of(&mut held, &self.destination_port, |&range, slot| {
                port(c.destination_port[slot], range)
            });
        }
        if looks.contains(Looks::SOURCE_PORT) {
            one_of(&mut held, &self.source_port, |&range, slot| port(c.source_port[slot], range));
        }
        if looks.intersects(Looks::FIRST) {
            all_of(&mut held, |slot| c.first[slot] != 0);
        } else if looks.intersects(Looks::PORTS) {
            all_of(&mut held, |slot| c.ports[slot] != 0);
        }
        if looks.contains(Looks::TCP_FLAGS) {
            let TcpFlags { set, clear } = self.tcp_flags;
            all_of(&mut held, |slot| {
                (c.tcp_flags[slot] & set == set) & (c.tcp_flags[slot] & clear == 0)
            });
        }
        if looks.contains(Looks::ICMP) {
            one_of(&mut held, &self.icmp, |m, slot| {
                (c.icmp_type[slot] == m.kind) & m.code.is_none_or(|code| c.icmp_code[slot] == code)
            });
        }
        if looks.contains(Looks::INPUT) {
            one_of(&mut held, &self.input, |id, slot| c.ingress[slot] == u32::from(id.0));
        }
        if looks.contains(Looks::OUTPUT) {
            one_of(&mut held, &self.output, |id, slot| c.egress[slot] == u32::from(id.0));
        }
        let mut left = packets & mask(&held);
        if looks.contains(Looks::SOURCE) && !left.is_empty() {
            let address = |slot| (descriptor(slot).key.family, descriptor(slot).key.src);
            left = c.in_networks(&self.source, &c.source, left, address);
        }
        if looks.contains(Looks::DESTINATION) && !left.is_empty() {
            let address = |slot| (descriptor(slot).key.family, descriptor(slot).key.dst);
            left = c.in_networks(&self.destination, &c.destination, left, address);
        }
        left
    }
}

impl Columns {
    /// Those of some packets whose address is in one of the networks. `low` has the addresses of
    /// IPv4, `address` says all of them.
    #[inline(always)]
    fn in_networks(
        &self,
        networks: &[Network],
        low: &[u32; BURST],
        packets: Mask,
        address: impl Fn(usize) -> (Family, u128),
    ) -> Mask {
        let mut inside = Mask::EMPTY;
        for network in networks {
            inside |= match network.family {
                Family::Inet => {
                    let (value, mask_) = (network.value as u32, network.mask as u32);
                    let mut held = self.inet;
                    all_of(&mut held, |slot| low[slot] & mask_ == value);
                    mask(&held)
                }
                Family::Inet6 => network.among(packets, &address),
            };
        }
        packets & inside
    }
}

/// Leaves those that one of several demands is met by.
#[inline(always)]
fn one_of<T>(held: &mut Held, demands: &[T], meets: impl Fn(&T, usize) -> bool) {
    let mut any = [0; BURST];
    for demand in demands {
        for (slot, any) in any.iter_mut().enumerate() {
            *any |= u8::from(meets(demand, slot));
        }
    }
    all_of(held, |slot| any[slot] != 0);
}

/// Leaves those for which something holds.
#[inline(always)]
fn all_of(held: &mut Held, holds: impl Fn(usize) -> bool) {
    for (slot, held) in held.iter_mut().enumerate() {
        *held &= u8::from(holds(slot));
    }
}

/// The packets for which it holds.
#[inline(always)]
fn mask(held: &Held) -> Mask {
    let (words, _) = held.as_chunks::<8>();
    let mut bits = 0;
    for (n, word) in words.iter().enumerate() {
        // The product brings the lowest bit of byte k to bit 56 + k.
        let top = u64::from_le_bytes(*word).wrapping_mul(0x0102_0408_1020_4080) >> 56;
        bits |= top << (8 * n);
    }
    Mask(bits)
}

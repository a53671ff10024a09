//! The neighbour stage: the link address of the next hop, and the hold queue while it is unknown.
//!
//! The table is the agent's ([`resolver`]); workers read it without waiting ([`table`]) and hold
//! packets in a queue of their own ([`hold`]). A worker reports once that a neighbour is wanted
//! and looks at the table again every millisecond until it is there or has failed.

pub mod hold;
pub mod resolver;
pub mod solicit;
pub mod table;

use std::sync::Arc;

use sluice_hooks::{Burst, Context, Parts, Way};
use sluice_packet::{Family, Mask, checksum, ethernet, ipv4, ipv6};
use sluice_policy::DropReason;
use sluice_policy::Interface;

use crate::agent::{AgentLink, Report};
use crate::answer::{self, Answer};
use crate::tx::Output;
use crate::{cut, forward};

use hold::{Fate, Held, HoldQueue};
use table::{NeighbourKey, NeighbourTable, State};

/// How packets leave.
#[derive(Clone, Copy)]
struct Exit<'a> {
    interface: &'a Interface,
    /// The link header; `None` for a frame that is complete.
    header: Option<LinkHeader>,
}

/// A link header, ready to be written before a packet.
#[derive(Clone, Copy)]
pub(crate) struct LinkHeader {
    bytes: [u8; TAGGED],
    length: u8,
    family: Family,
}

const UNTAGGED: usize = 14;
const TAGGED: usize = 18;

impl LinkHeader {
    /// Of a frame in a VLAN; 0 is untagged.
    pub(crate) fn new(
        vlan: u16,
        family: Family,
        destination: [u8; 6],
        source: [u8; 6],
    ) -> LinkHeader {
        let ethertype = match family {
            Family::Inet => ethernet::IPV4.to_be_bytes(),
            Family::Inet6 => ethernet::IPV6.to_be_bytes(),
        };
        let mut bytes = [0; TAGGED];
        bytes[..6].copy_from_slice(&destination);
        bytes[6..12].copy_from_slice(&source);
        if vlan == 0 {
            bytes[12..14].copy_from_slice(&ethertype);
            return LinkHeader { bytes, length: UNTAGGED as u8, family };
        }
        bytes[12..14].copy_from_slice(&ethernet::VLAN.to_be_bytes());
        bytes[14..16].copy_from_slice(&vlan.to_be_bytes());
        bytes[16..].copy_from_slice(&ethertype);
        LinkHeader { bytes, length: TAGGED as u8, family }
    }

    /// The header.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    /// [`write`](Self::write) for a plain packet whose hop limit has yet to be lowered: most often
    /// both in one touch, by `lower` over `IP` bytes of the packet. Its descriptor is not looked at again.
    #[inline(always)]
    fn write_lowered<const IP: usize>(
        &self,
        mut packet: Parts<'_>,
        lower: impl Fn(&mut [u8; IP]),
    ) -> Option<()> {
        let lengths = (packet.descriptor.l3_offset, self.length);
        if lengths != (UNTAGGED as u8, UNTAGGED as u8) {
            forward::decrement_one(packet.reborrow());
            return self.write(packet);
        }
        let (link, ip) = packet.mbuf.data_mut().split_first_chunk_mut::<UNTAGGED>()?;
        *link = *self.bytes.first_chunk::<UNTAGGED>()?;
        lower(ip.first_chunk_mut::<IP>()?);
        Some(())
    }

    /// Puts the header in the place of the one that the packet has. `None` when the buffer has no
    /// room for it.
    #[inline]
    fn write(&self, packet: Parts<'_>) -> Option<()> {
        let Parts { mbuf, descriptor } = packet;
        let (have, want) = (descriptor.l3_offset, self.length);
        if have != want {
            if have > want {
                mbuf.trim_front(usize::from(have - want)).then_some(())?;
            } else {
                mbuf.prepend(usize::from(want - have))?;
            }
            descriptor.l3_offset = want;
        }
        let data = mbuf.data_mut();
        if usize::from(want) == UNTAGGED {
            let header = self.bytes.first_chunk::<UNTAGGED>()?;
            *data.first_chunk_mut::<UNTAGGED>()? = *header;
        } else {
            *data.first_chunk_mut::<TAGGED>()? = self.bytes;
        }
        Some(())
    }
}

/// Packets that were held, by what is to be done with them; the others are ready.
#[derive(Clone, Copy, Debug, Default)]
pub struct Released {
    /// Their next hop did not answer in time.
    pub late: Mask,
    /// Policy has changed since they were routed.
    pub stale: Mask,
}

/// The stage's state in one worker.
pub struct Neighbours {
    table: Arc<NeighbourTable>,
    queue: HoldQueue,
    /// The longest that a packet waits, in TSC cycles: the agent gives a neighbour up after 3 s
    /// (RFC 4861 section 10), so this bound only matters when the agent stalls.
    patience: u64,
    /// How often held packets are looked at, in TSC cycles.
    interval: u64,
    next_look: u64,
}

impl Neighbours {
    /// The stage over the agent's table; `hertz` is the frequency of the time-stamp counter.
    pub fn new(table: Arc<NeighbourTable>, hertz: u64) -> Neighbours {
        Neighbours {
            table,
            queue: HoldQueue::default(),
            patience: 4 * hertz,
            interval: hertz / 1000,
            next_look: 0,
        }
    }

    /// Packets held.
    pub fn held(&self) -> usize {
        self.queue.len()
    }

    /// Hands the decided packets of one instance to their ports, or holds them.
    pub fn process(
        &mut self,
        cx: &mut Context<'_>,
        burst: &mut Burst,
        packets: Mask,
        output: &mut Output,
        agent: &mut AgentLink,
    ) {
        let mut rest = packets;
        while let Some(first) = rest.into_iter().next() {
            let way = burst.way(first);
            let resolved = self.resolve(cx, burst, first, way, output, agent);
            let Some((exit, of_way)) = resolved else {
                rest.remove(first);
                continue;
            };
            // Most bursts leave by few next hops. Packets of one flow leave by one, so that they
            // stay in order.
            let mut alike = if of_way { burst.leaving(rest, way) } else { Mask::only(first) };
            rest &= !alike;
            if burst.longest() > cx.policy.least_mtu() {
                alike = self.send_long(cx, burst, alike, &exit, output);
            }
            send(cx, burst, alike, &exit, output);
        }
    }

    /// Sends packets up to the last one that has to be cut for its egress. Yields those behind it.
    #[cold]
    fn send_long(
        &mut self,
        cx: &mut Context<'_>,
        burst: &mut Burst,
        packets: Mask,
        exit: &Exit<'_>,
        output: &mut Output,
    ) -> Mask {
        let Exit { interface, header: Some(header) } = exit else { return packets };
        let mut rest = packets;
        for slot in cut::to_cut(burst.descriptors(), packets, interface.mtu) {
            // Those of one flow stay in order.
            let before = rest & Mask::first(slot);
            send(cx, burst, before, exit, output);
            rest &= !(before | Mask::only(slot));
            let lower = burst.to_lower().contains(slot);
            let Some(mut packet) = burst.parts(slot) else { continue };
            if lower {
                forward::decrement_one(packet.reborrow());
            }
            let written = header.write(packet).ok_or(DropReason::FrameSplit);
            let sent = written.and_then(|()| {
                let (l3_offset, pool) = (burst.descriptor(slot).l3_offset, cx.outbox.pool());
                let frame = burst.mbuf(slot).ok_or(DropReason::FrameSplit)?;
                cut::send(frame, l3_offset, interface, pool, output, cx.statistics)
            });
            match sent {
                Ok(()) => cx.consume(burst, slot),
                Err(reason) => cx.drop(burst, slot, reason),
            }
        }
        rest
    }

    /// How the packet in `slot` leaves, and whether every packet of the same way leaves so; `None`
    /// when it was held or dropped.
    #[inline(never)]
    fn resolve<'a>(
        &mut self,
        cx: &mut Context<'a>,
        burst: &mut Burst,
        slot: usize,
        way: Way,
        output: &mut Output,
        agent: &mut AgentLink,
    ) -> Option<(Exit<'a>, bool)> {
        let policy = cx.policy;
        let interface = policy.interface(burst.egress(slot));
        let exit = interface.and_then(|i| Some((i, cx.ports.get(i.port)?)));
        let Some((interface, facts)) = exit else {
            cx.drop(burst, slot, DropReason::TxNoQueue);
            return None;
        };
        if !cx.ports.link(interface.port) {
            cx.drop(burst, slot, DropReason::EgressDown);
            return None;
        }
        let d = burst.descriptor(slot);
        let (address, of_way) = match way {
            Way::NextHop(id) => match policy.next_hop(id).via {
                Some(via) => (via, true),
                None => (d.key.dst, false),
            },
            Way::Direct(_) if interface.instance != cx.instance.id => {
                // The number has become another interface's while the packet waited.
                cx.drop(burst, slot, DropReason::InterfaceDown);
                return None;
            }
            Way::OnLink(_) | Way::Direct(_) => (d.key.dst, false),
            Way::Frame(_) => return Some((Exit { interface, header: None }, true)),
            Way::Undecided => {
                cx.drop(burst, slot, DropReason::NoRoute);
                return None;
            }
        };
        let key = NeighbourKey { interface: interface.id, family: d.key.family, address };
        match self.table.lookup(key.interface, key.family, key.address) {
            Some(known) if known.state.usable() => {
                let header = LinkHeader::new(interface.vlan, key.family, known.mac, facts.mac);
                if !self.queue.is_empty() {
                    self.send_held(cx, &key, interface, &header, output);
                }
                return Some((Exit { interface, header: Some(header) }, of_way));
            }
            Some(known) if known.state == State::Failed => unresolved(cx, burst, slot),
            known => {
                if known.is_none() {
                    agent.report(Report::Wanted(key));
                }
                forward::decrement(burst, Mask::only(slot) & burst.to_lower());
                self.hold(cx, burst, slot, key);
            }
        }
        None
    }

    /// Sends what is held for a neighbour that has answered, so that no later packet overtakes it.
    #[cold]
    fn send_held(
        &mut self,
        cx: &Context<'_>,
        neighbour: &NeighbourKey,
        interface: &Interface,
        header: &LinkHeader,
        output: &mut Output,
    ) {
        let edition = cx.policy.edition();
        let mut from = 0;
        while let Some(held) = self.queue.take_next(&mut from, |held| {
            let ready = held.neighbour == *neighbour && held.edition == edition;
            if ready { Fate::Leave } else { Fate::Wait }
        }) {
            let Held { mut mbuf, mut descriptor, .. } = held;
            let packet = Parts { mbuf: &mut mbuf, descriptor: &mut descriptor };
            if header.write(packet).is_none() {
                cx.count_drop(DropReason::FrameSplit);
            } else if cut::is_to_cut(&descriptor, interface.mtu) {
                let (pool, l3_offset) = (cx.outbox.pool(), descriptor.l3_offset);
                match cut::send(&mbuf, l3_offset, interface, pool, output, cx.statistics) {
                    Ok(()) => cx.statistics.core().consumed.add(1),
                    Err(reason) => cx.count_drop(reason),
                }
            } else {
                output.push(interface.port, mbuf, cx.statistics);
            }
        }
    }

    fn hold(&mut self, cx: &mut Context<'_>, burst: &mut Burst, slot: usize, key: NeighbourKey) {
        let (descriptor, metadata) = (*burst.descriptor(slot), burst.metadata(slot));
        let (way, egress, instance) = (burst.way(slot), burst.egress(slot), burst.instance(slot));
        let Some(mbuf) = burst.take(slot) else { return };
        let edition = cx.policy.edition();
        let deadline = cx.now + self.patience;
        let evicted = self.queue.hold(Held {
            mbuf,
            descriptor,
            metadata,
            instance,
            way,
            egress,
            edition,
            neighbour: key,
            deadline,
        });
        if evicted.is_some() {
            cx.count_drop(DropReason::NeighbourQueueFull);
        }
    }

    /// Whether held packets should be looked at now: at most every millisecond.
    #[inline]
    pub fn due(&mut self, now: u64) -> bool {
        if self.queue.is_empty() || now < self.next_look {
            return false;
        }
        self.next_look = now + self.interval;
        true
    }

    /// Moves held packets whose next hop is known, has failed, or has taken too long, into
    /// `burst`, as long as it has room. The caller runs [`process`](Self::process) over them or,
    /// for those whose time is up, [`give_up`](Self::give_up). Those that another edition of the
    /// policy than `edition` decided about have to be routed anew.
    pub fn release(
        &mut self,
        now: u64,
        edition: u64,
        burst: &mut Burst,
        agent: &mut AgentLink,
    ) -> Released {
        let mut released = Released::default();
        let mut from = 0;
        let table = &self.table;
        while burst.live() != Mask::ALL {
            let next = self.queue.take_next(&mut from, |held| {
                if held.edition != edition {
                    return Fate::Leave;
                }
                let key = &held.neighbour;
                match table.lookup(key.interface, key.family, key.address) {
                    Some(adjacency) if adjacency.state != State::Incomplete => Fate::Leave,
                    _ if now >= held.deadline => Fate::Leave,
                    None => {
                        agent.report(Report::Wanted(*key));
                        Fate::Wait
                    }
                    Some(_) => Fate::Wait,
                }
            });
            let Some(held) = next else { break };
            // A direct packet is not routed: its interface is looked at again as it leaves.
            let stale = held.edition != edition && !matches!(held.way, Way::Direct(_));
            let late = now >= held.deadline;
            let way = if stale { Way::Undecided } else { held.way };
            let Ok(slot) = burst.push(held.mbuf, held.descriptor, way) else { break };
            burst.set_instance(slot, held.instance);
            burst.set_way(slot, way, held.egress);
            burst.set_metadata(slot, &held.metadata);
            if stale {
                released.stale.insert(slot);
            } else if late {
                released.late.insert(slot);
            }
        }
        released
    }

    /// Drops packets whose next hop did not answer in time, and tells their senders.
    pub fn give_up(&mut self, cx: &mut Context<'_>, burst: &mut Burst, packets: Mask) {
        for slot in packets {
            unresolved(cx, burst, slot);
        }
    }

    /// Frees everything that is held, counting it as dropped: the worker is stopping.
    pub fn clear(&mut self, mut dropped: impl FnMut(DropReason)) {
        let mut from = 0;
        while self.queue.take_next(&mut from, |_| Fate::Leave).is_some() {
            dropped(DropReason::NeighbourUnresolved);
        }
    }
}

/// Hands packets that leave the same way to their port.
#[inline]
fn send(
    cx: &mut Context<'_>,
    burst: &mut Burst,
    packets: Mask,
    exit: &Exit<'_>,
    output: &mut Output,
) {
    let (port, statistics) = (exit.interface.port, cx.statistics);
    let lower = packets & burst.to_lower();
    let split = match exit.header {
        None => output.take(port, burst, packets, statistics, |_, _| true),
        Some(header) if packets == lower & burst.plain() => match header.family {
            Family::Inet => output.take(port, burst, packets, statistics, |_, packet| {
                let lower = |ip: &mut [u8; ipv4::HEADER]| checksum::decrement_ttl(ip);
                header.write_lowered(packet, lower).is_some()
            }),
            Family::Inet6 => output.take(port, burst, packets, statistics, |_, packet| {
                let lower = |ip: &mut [u8; ipv6::HEADER]| checksum::decrement_hop_limit(ip);
                header.write_lowered(packet, lower).is_some()
            }),
        },
        // In one pass: packets of one flow may be plain and not, and stay in order.
        Some(header) => output.take(port, burst, packets, statistics, |slot, mut packet| {
            if lower.contains(slot) {
                forward::decrement_one(packet.reborrow());
            }
            header.write(packet).is_some()
        }),
    };
    for slot in split {
        cx.drop(burst, slot, DropReason::FrameSplit);
    }
}

/// RFC 1812 section 5.2.7.1, RFC 4443 section 3.1: the sender learns that nobody answered.
#[cold]
#[inline(never)]
fn unresolved(cx: &mut Context<'_>, burst: &mut Burst, slot: usize) {
    answer::send(cx, burst, slot, Answer::HostUnreachable);
    cx.drop(burst, slot, DropReason::NeighbourUnresolved);
}

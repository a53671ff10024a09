//! A compiled network stack: its pipeline, filters, own addresses, policy routes and tables of
//! routes.

use std::collections::BTreeMap;
use std::sync::Arc;

use ipnet::IpNet;
use sluice_packet::{Consulted, Descriptor, Family, Mask};

use crate::classifier::{BURST, Packet};
use crate::evaluate::{FilterDecision, Recorder, RouteDecision};
use crate::event::{Event, Stage};
use crate::fib::{self, Fib, NO_LEAF};
use crate::filter::Filter;
use crate::ids::{InstanceId, InterfaceId, RuleSlot, TableId};
use crate::model::{Action, FilterPoint, Name};
use crate::route::{self, Tables};
use crate::steering::Steering;

/// What no filter says about a packet.
const OPEN: FilterDecision = FilterDecision::plain(Action::Accept, RuleSlot(0));

/// A network stack of its own.
#[derive(Clone, Debug)]
pub struct Instance {
    /// Its number; `default` is 0.
    pub id: InstanceId,
    /// Its name.
    pub name: Name,
    pub(crate) stages: [Box<[Stage]>; Event::ALL.len()],
    pub(crate) filters: [Option<Arc<Filter>>; FilterPoint::ALL.len()],
    pub(crate) own: OwnAddresses,
    /// What the interfaces' addresses put into the table; no other owner's route of the same
    /// prefix is used.
    pub(crate) connected: Arc<BTreeMap<IpNet, Connected>>,
    /// The connected networks alone, to numbers of interfaces.
    pub(crate) connected_fib: Fib,
    /// The numbers of its tables, the main one included.
    pub(crate) table_ids: BTreeMap<Name, TableId>,
    /// The number of the main table.
    pub(crate) main: TableId,
    /// The main table itself: nearly every packet is looked up there.
    pub(crate) fib: Fib,
    /// Policy routes, if there are any.
    pub(crate) steering: Option<Arc<Steering>>,
    /// The tables of all instances, and what they lead to.
    pub(crate) tables: Arc<Tables>,
}

impl Instance {
    /// The stages that run at an event, in order.
    #[inline]
    pub fn stages(&self, event: Event) -> &[Stage] {
        self.stages.get(event as usize).map_or(&[], |stages| stages)
    }

    /// The interface that an own address belongs to. Other addresses, nearly all, are told by
    /// one mark.
    #[inline]
    pub fn owns(&self, family: Family, address: u128) -> Option<InterfaceId> {
        self.own.find(family, address)
    }

    /// Whether [`owns`](Self::owns) may find the address: `false` is certain, `true` is not. One
    /// multiplication and one load.
    #[inline]
    pub fn may_own(&self, address: u128) -> bool {
        self.own.may_have(address)
    }

    /// [`may_own`](Self::may_own) of an IPv4 address.
    #[inline]
    pub fn may_own_inet(&self, address: u32) -> bool {
        self.own.may_have(u128::from(address))
    }

    /// Whether the filter could have any effect: without rules and with `accept` as its default
    /// it is not worth asking.
    #[inline]
    pub fn filters(&self, point: FilterPoint) -> bool {
        self.filter_at(point).is_some_and(|filter| !filter.is_open())
    }

    /// Whether packets meet the filter: the pipeline has its stage, and it could have an effect.
    #[inline]
    pub fn asks(&self, point: FilterPoint) -> bool {
        let stage = point.stage();
        let placed = stage.event().is_some_and(|event| self.stages(event).contains(&stage));
        placed && self.filters(point)
    }

    /// Whether flows are worth remembering: packets are asked more than a table of routes, which is
    /// sooner asked than the flow is found.
    pub fn remembers(&self) -> bool {
        self.steering.is_some() || FilterPoint::ALL.into_iter().any(|point| self.asks(point))
    }

    /// What the filter says about a packet. `egress` is the interface it is to leave by, where
    /// that is known already (forward and egress).
    #[inline]
    pub fn filter<R: Recorder>(
        &self,
        point: FilterPoint,
        d: &Descriptor,
        egress: Option<InterfaceId>,
        recorder: &mut R,
    ) -> FilterDecision {
        let packet = Packet { descriptor: d, egress };
        self.filter_at(point).map_or(OPEN, |filter| filter.decide(packet, recorder))
    }

    /// [`filter`](Self::filter) for each of `packets` of a burst, which says by `packet` what they
    /// are and by which interface they are to leave. Tells `decided` what is decided about which of
    /// them, in any order, everything once; nothing where no filter stands.
    #[inline]
    pub fn filter_burst<B, R: Recorder>(
        &self,
        point: FilterPoint,
        burst: &mut B,
        packets: Mask,
        packet: impl Fn(&B, usize) -> (&Descriptor, Option<InterfaceId>),
        recorder: &mut R,
        decided: impl FnMut(&mut B, Mask, FilterDecision),
    ) {
        let Some(filter) = self.filter_at(point) else { return };
        filter.decide_burst(burst, packets, packet, recorder, decided);
    }

    /// What filters and policy routes look at beside a packet's flow key, the interfaces that it
    /// comes in and leaves by, and whether it is a fragment: packets of a flow that are equal in all
    /// this have the same answers.
    pub fn consults(&self) -> Consulted {
        let filters = self.filters.iter().flatten().map(|filter| filter.consulted());
        let steering = self.steering.iter().map(|steering| steering.consulted());
        filters.chain(steering).fold(Consulted::default(), Consulted::union)
    }

    /// Whether some rule limits the connections that it accepts.
    #[inline]
    pub fn limits(&self) -> bool {
        self.filters.iter().flatten().any(|filter| filter.limits())
    }

    /// Whether a filter looks at the state of connections, so that what is out of state is to be
    /// told from the rest.
    pub fn tracks(&self) -> bool {
        self.consults().state
    }

    /// Where a packet goes; includes what may not be routed at all.
    #[inline]
    pub fn route<R: Recorder>(&self, d: &Descriptor, recorder: &mut R) -> RouteDecision {
        route::decide(&self.fib, &self.tables, self.steering.as_deref(), d, recorder)
    }

    /// Whether a later fragment may be routed otherwise when it is known what ports its datagram
    /// has: some policy route looks at the ports of its protocol.
    #[inline]
    pub fn steers_by_ports(&self, d: &Descriptor) -> bool {
        self.steering.as_deref().is_some_and(|steering| steering.looks_at_ports(d))
    }

    /// Whether a fragment of any kind may be asked for its datagram's ports.
    #[inline]
    pub fn follows_fragments(&self) -> bool {
        self.steering.as_deref().is_some_and(Steering::has_ports)
    }

    /// Where a packet goes by one table, which may be any instance's; `None` where that has no
    /// route. What may not be routed at all is not asked.
    #[inline]
    pub fn look_up_in<R: Recorder>(
        &self,
        table: TableId,
        d: &Descriptor,
        recorder: &mut R,
    ) -> Option<RouteDecision> {
        route::look_up(self.tables.fib(table)?, &self.tables, d.key.family, d, recorder)
    }

    /// One of its tables by name.
    pub fn table_named(&self, name: &str) -> Option<TableId> {
        self.table_ids.get(name).copied()
    }

    /// The table that the instance routes by where no policy says otherwise.
    #[inline]
    pub fn main_table(&self) -> TableId {
        self.main
    }

    /// [`route`](Self::route) for each of `packets` of a burst, which says by `descriptor` what
    /// they are and is told by `decided`. Those in `plain` are IPv4 packets that
    /// [may be routed](sluice_packet::decode) in any case.
    #[inline(always)]
    pub fn route_burst<B, R: Recorder>(
        &self,
        burst: &mut B,
        packets: Mask,
        plain: Mask,
        recorder: &mut R,
        descriptor: impl Fn(&B, usize) -> &Descriptor,
        mut decided: impl FnMut(&mut B, usize, RouteDecision),
    ) {
        // No packet is plain enough to pass policy routes by.
        let plain = if self.steering.is_some() { Mask::EMPTY } else { packets & plain };
        if self.fib.len() > fib::MANY {
            self.route_far(burst, plain, &descriptor, &mut decided);
        } else {
            for slot in plain {
                let d = descriptor(burst, slot);
                let leaf = self.fib.leaf_inet(d.key.dst_inet());
                match route::leaf::next_hop(leaf) {
                    Some(id) => decided(burst, slot, RouteDecision::Forward(id)),
                    None => {
                        let decision = route::decide_plain(leaf, &self.tables, d);
                        decided(burst, slot, decision);
                    }
                }
            }
        }
        let mut rest = packets & !plain;
        if self.steering.is_none() && !rest.is_empty() && self.fib.len() > fib::MANY {
            rest = self.route_far6(burst, rest, recorder, &descriptor, &mut decided);
        }
        // In a loop of their own, so that what is the rule is one with few cases.
        for slot in rest {
            let decision = self.route(descriptor(burst, slot), recorder);
            decided(burst, slot, decision);
        }
    }

    /// Plain packets by a table that is not in the cache.
    #[inline(never)]
    fn route_far<B>(
        &self,
        burst: &mut B,
        plain: Mask,
        descriptor: &impl Fn(&B, usize) -> &Descriptor,
        decided: &mut impl FnMut(&mut B, usize, RouteDecision),
    ) {
        let mut addresses = [0; BURST];
        let mut leaves = [NO_LEAF; BURST];
        let count = plain.len();
        for (slot, address) in plain.into_iter().zip(&mut addresses) {
            *address = descriptor(burst, slot).key.dst_inet();
        }
        self.fib.lookup_inet(&addresses[..count], &mut leaves[..count]);
        for (slot, leaf) in plain.into_iter().zip(leaves) {
            let decision = route::decide_plain(leaf, &self.tables, descriptor(burst, slot));
            decided(burst, slot, decision);
        }
    }

    /// IPv6 packets among others, by a table that is not in the cache; yields the others.
    #[inline(never)]
    fn route_far6<B, R: Recorder>(
        &self,
        burst: &mut B,
        packets: Mask,
        recorder: &mut R,
        descriptor: &impl Fn(&B, usize) -> &Descriptor,
        decided: &mut impl FnMut(&mut B, usize, RouteDecision),
    ) -> Mask {
        let mut addresses = [0; BURST];
        let mut leaves = [NO_LEAF; BURST];
        let mut inet6 = Mask::EMPTY;
        for slot in packets {
            let key = &descriptor(burst, slot).key;
            if key.family == Family::Inet6 {
                addresses[inet6.len()] = key.dst;
                inet6.insert(slot);
            }
        }
        let count = inet6.len();
        self.fib.lookup_inet6(&addresses[..count], &mut leaves[..count]);
        for (slot, leaf) in inet6.into_iter().zip(leaves) {
            let decision = route::decide_by(leaf, &self.tables, descriptor(burst, slot), recorder);
            decided(burst, slot, decision);
        }
        packets & !inet6
    }

    /// The interface in whose connected network the address lies.
    pub fn interface_towards(&self, family: Family, address: u128) -> Option<InterfaceId> {
        let leaf = self.connected_fib.lookup(family, address)?;
        Some(InterfaceId(leaf as u16))
    }

    #[inline]
    fn filter_at(&self, point: FilterPoint) -> Option<&Filter> {
        self.filters.get(point as usize)?.as_deref()
    }
}

/// What an interface's address puts into the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Connected {
    /// The network behind an interface.
    Network(InterfaceId),
    /// The address itself.
    Own(InterfaceId),
    /// The network's broadcast address.
    Broadcast,
}

/// The router's own addresses in an instance, behind a filter of 256 marks.
#[derive(Clone, Debug)]
pub(crate) struct OwnAddresses {
    marks: [bool; 256],
    list: Vec<(u128, Family, InterfaceId)>,
}

impl Default for OwnAddresses {
    fn default() -> Self {
        OwnAddresses { marks: [false; 256], list: Vec::new() }
    }
}

impl OwnAddresses {
    pub(crate) fn insert(&mut self, family: Family, address: u128, interface: InterfaceId) {
        self.marks[usize::from(Self::mark(address))] = true;
        self.list.push((address, family, interface));
    }

    #[inline]
    pub(crate) fn may_have(&self, address: u128) -> bool {
        self.marks[usize::from(Self::mark(address))]
    }

    #[inline]
    pub(crate) fn find(&self, family: Family, address: u128) -> Option<InterfaceId> {
        if !self.may_have(address) {
            return None;
        }
        let own = self.list.iter().find(|own| own.0 == address && own.1 == family);
        own.map(|own| own.2)
    }

    /// The mark of an address: a multiplicative hash, since own addresses tend to end in 1.
    #[inline]
    const fn mark(address: u128) -> u8 {
        let folded = address as u64 ^ (address >> 64) as u64;
        (folded.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
    }
}

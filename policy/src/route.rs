//! The route decision: what may not be routed at all, then the longest prefix, which may lead to
//! another table, then the choice among its next hops.

mod spread;

use std::sync::Arc;

use imbl::HashMap;
use sluice_packet::{Descriptor, DescriptorFlags, Family, FlowKey, Fragment};

use crate::drop_reason::DropReason;
use crate::evaluate::{NoRecorder, Recorder, RouteDecision};
use crate::fib::{Fib, Leaf, NO_LEAF};
use crate::ids::{InterfaceId, NextHopId, TableId};
use crate::interface::is_link_local;
use crate::route::spread::{Member, SLOTS};
use crate::steering::Steering;

/// Where packets of a route leave.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ResolvedNextHop {
    /// The interface to leave by.
    pub interface: InterfaceId,
    /// The neighbour to hand packets to; `None` is the packet's own destination.
    pub via: Option<u128>,
    /// The family of `via` and of the route.
    pub family: Family,
}

impl ResolvedNextHop {
    /// By no interface.
    pub const NOWHERE: ResolvedNextHop =
        ResolvedNextHop { interface: InterfaceId(0), via: None, family: Family::Inet };
}

/// The most tables that a packet is looked up in.
pub(crate) const MAX_TABLES: usize = 8;

/// The tables of routes of all instances, and the next hops that they lead to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tables {
    /// By number.
    pub(crate) fibs: Vec<Fib>,
    pub(crate) hops: NextHops,
}

impl Tables {
    pub(crate) fn fib(&self, table: TableId) -> Option<&Fib> {
        self.fibs.get(table.index())
    }
}

/// All next hops of a policy, each once. It only grows, so that the numbers stay good for every
/// generation that shares it; a commit that changes interfaces starts afresh.
#[derive(Clone, Debug, Default)]
pub(crate) struct NextHops {
    list: Vec<ResolvedNextHop>,
    groups: Vec<Arc<[NextHopId; SLOTS]>>,
    /// Only read and written where policy is made; a copy shares them.
    by_hop: HashMap<ResolvedNextHop, NextHopId>,
    /// By members and their weights, ascending.
    by_group: HashMap<Arc<[(NextHopId, u32)]>, u32>,
}

impl NextHops {
    pub(crate) fn get(&self, id: NextHopId) -> Option<&ResolvedNextHop> {
        self.list.get(id.index())
    }

    /// The number of a next hop, if some route leads to it or has led to it.
    pub(crate) fn find(&self, hop: &ResolvedNextHop) -> Option<NextHopId> {
        self.by_hop.get(hop).copied()
    }

    /// How many next hops and groups are held, those that no route uses any more included.
    pub(crate) fn len(&self) -> usize {
        self.list.len() + self.groups.len()
    }

    /// The number of a next hop.
    pub(crate) fn intern(&mut self, hop: ResolvedNextHop) -> NextHopId {
        let next = NextHopId(self.list.len() as u32);
        *self.by_hop.entry(hop).or_insert_with(|| {
            self.list.push(hop);
            next
        })
    }

    /// Whether a leaf leads to a next hop of which `is` holds, or to so many that some may have been left
    /// out.
    pub(crate) fn leads(
        &self,
        is: impl Fn(&ResolvedNextHop) -> bool,
        most: usize,
    ) -> impl Fn(Leaf) -> bool {
        let hops: Vec<bool> = self.list.iter().map(is).collect();
        let mut groups = vec![false; self.groups.len()];
        for (members, &group) in &self.by_group {
            let any = members.iter().any(|(id, _)| hops.get(id.index()).copied().unwrap_or(true));
            if let Some(leads) = groups.get_mut(group as usize) {
                *leads = any || members.len() >= most;
            }
        }
        move |leaf| match leaf::next_hop(leaf) {
            Some(id) => hops.get(id.index()).copied().unwrap_or(false),
            None => leaf::group_of(leaf).is_some_and(|group| groups.get(group) == Some(&true)),
        }
    }

    /// The same next hops, of which those that are down give up their slots to the others of their
    /// groups; `None` where that changes nothing.
    pub(crate) fn sparing(
        &self,
        is_down: impl Fn(&ResolvedNextHop) -> bool,
        key: impl Fn(&ResolvedNextHop) -> u64,
    ) -> Option<NextHops> {
        let down: Vec<bool> = self.list.iter().map(is_down).collect();
        let mut groups = self.groups.clone();
        let mut moved = false;
        for (members, &group) in &self.by_group {
            let stays = |id: NextHopId| !down.get(id.index()).copied().unwrap_or(true);
            let left = members.iter().filter(|(id, _)| stays(*id));
            let left: Vec<Member> = left
                .filter_map(|&(id, weight)| Some(Member { id, key: key(self.get(id)?), weight }))
                .collect();
            if let Some(slots) = groups.get_mut(group as usize)
                && !left.is_empty()
                && left.len() < members.len()
            {
                *slots = spread::slots(&left);
                moved = true;
            }
        }
        moved.then(|| NextHops { groups, ..self.clone() })
    }

    /// The leaf of a route that leads to these, by weight; `key` calls each by a number that is the
    /// same in every process.
    pub(crate) fn leaf(
        &mut self,
        hops: &[(ResolvedNextHop, u32)],
        key: impl Fn(&ResolvedNextHop) -> u64,
    ) -> Leaf {
        let mut ids: Vec<_> =
            hops.iter().map(|&(hop, weight)| (self.intern(hop), weight)).collect();
        if let [(id, _)] = *ids {
            return leaf::forward(id);
        }
        ids.sort_unstable();
        let next = self.groups.len() as u32;
        let ids: Arc<[(NextHopId, u32)]> = ids.into();
        let groups = &mut self.groups;
        let group = *self.by_group.entry(Arc::clone(&ids)).or_insert_with(|| {
            let members: Vec<Member> = hops
                .iter()
                .map(|&(hop, weight)| Member { id: self.by_hop[&hop], key: key(&hop), weight })
                .collect();
            groups.push(spread::slots(&members));
            next
        });
        leaf::group(group)
    }
}

/// A FIB leaf says by two bits what the rest is a number of; the very first is the FIB's.
pub(crate) mod leaf {
    use super::*;

    const NUMBER: u32 = (1 << 29) - 1;
    const FORWARD: u32 = 0;
    const GROUP: u32 = 1 << 29;
    const LOCAL: u32 = 2 << 29;
    /// Numbers below [`TABLE`] are reasons to drop, others say which table is next.
    const OTHER: u32 = 3 << 29;
    const TABLE: u32 = 1 << 16;

    pub(crate) const fn forward(id: NextHopId) -> Leaf {
        FORWARD | id.0 & NUMBER
    }

    pub(super) const fn group(number: u32) -> Leaf {
        GROUP | number & NUMBER
    }

    pub(crate) const fn local(interface: InterfaceId) -> Leaf {
        LOCAL | interface.0 as u32
    }

    /// Looked up in another table.
    pub(crate) const fn table(table: TableId) -> Leaf {
        OTHER | TABLE | table.0 as u32
    }

    /// The table to look up next, if the leaf says so.
    #[inline]
    pub(crate) const fn next_table(leaf: Leaf) -> Option<TableId> {
        if leaf & (OTHER | TABLE) == OTHER | TABLE { Some(TableId(leaf as u16)) } else { None }
    }

    pub(crate) const BLACKHOLE: Leaf = OTHER;
    pub(crate) const REJECT: Leaf = OTHER | 1;
    /// The broadcast address of a connected network.
    pub(crate) const BROADCAST: Leaf = OTHER | 2;
    pub(crate) const PROHIBIT: Leaf = OTHER | 3;

    /// Whether packets there are for the router itself, or would be: own addresses, and broadcast
    /// addresses of connected networks.
    pub(crate) const fn is_of_router(leaf: Leaf) -> bool {
        leaf & !NUMBER == LOCAL || leaf == BROADCAST
    }

    /// The next hop that a leaf is, if it is a single one.
    #[inline(always)]
    pub(crate) const fn next_hop(leaf: Leaf) -> Option<NextHopId> {
        if leaf & !NUMBER == FORWARD { Some(NextHopId(leaf)) } else { None }
    }

    /// The number of the group that a leaf is, if it is one.
    pub(crate) const fn group_of(leaf: Leaf) -> Option<usize> {
        if leaf & !NUMBER == GROUP { Some((leaf & NUMBER) as usize) } else { None }
    }

    /// What a leaf means to one packet; `None` where it leads to a table that has no route.
    #[inline(always)]
    pub(crate) fn decision<R: Recorder>(
        leaf: Leaf,
        tables: &Tables,
        d: &Descriptor,
        recorder: &mut R,
    ) -> Option<RouteDecision> {
        match next_hop(leaf) {
            Some(id) => Some(RouteDecision::Forward(id)),
            None => rarer(leaf, tables, d, recorder),
        }
    }

    #[inline(never)]
    fn rarer<R: Recorder>(
        mut leaf: Leaf,
        tables: &Tables,
        d: &Descriptor,
        recorder: &mut R,
    ) -> Option<RouteDecision> {
        let mut seen = 1;
        while let Some(next) = next_table(leaf) {
            if seen == MAX_TABLES {
                return Some(RouteDecision::Drop(DropReason::RouteLoop));
            }
            seen += 1;
            leaf = tables.fib(next)?.lookup(d.key.family, d.key.dst)?;
        }
        let number = leaf & NUMBER;
        Some(match leaf & !NUMBER {
            FORWARD => RouteDecision::Forward(NextHopId(leaf)),
            GROUP => choose(tables.hops.groups.get(number as usize)?, d, recorder),
            LOCAL => RouteDecision::Local(InterfaceId(number as u16)),
            _ => RouteDecision::Drop(match leaf {
                BLACKHOLE => DropReason::Blackhole,
                REJECT => DropReason::RejectRoute,
                PROHIBIT => DropReason::ProhibitRoute,
                _ => DropReason::DirectedBroadcast,
            }),
        })
    }
}

/// The next hop of this packet's flow.
#[inline]
fn choose<R: Recorder>(
    group: &[NextHopId; SLOTS],
    d: &Descriptor,
    recorder: &mut R,
) -> RouteDecision {
    let place = (u64::from(flow_hash(d)) * group.len() as u64) >> 32;
    match group.get(place as usize) {
        Some(&chosen) => {
            recorder.spread(d, group, chosen);
            RouteDecision::Forward(chosen)
        }
        None => RouteDecision::Drop(DropReason::NoRoute),
    }
}

/// A hash of the five-tuple that is equal for all packets of a flow. Fragments, the first
/// included, are hashed without ports, so that one datagram takes one way (RFC 2992, RFC 6438).
#[inline]
pub(crate) fn flow_hash(d: &Descriptor) -> u32 {
    let FlowKey { src, dst, src_port, dst_port, protocol, .. } = d.key;
    let ports = match d.fragment {
        Fragment::Whole => u64::from(src_port) << 16 | u64::from(dst_port),
        Fragment::First | Fragment::Later => 0,
    };
    let mut hash = mix(fold(src) ^ 0x9e37_79b9_7f4a_7c15);
    hash = mix(hash ^ fold(dst));
    hash = mix(hash ^ (ports << 8 | u64::from(protocol)));
    (hash >> 32) as u32
}

/// Both halves of an address; the upper one turned, so that equal halves do not cancel out.
#[inline]
const fn fold(address: u128) -> u64 {
    address as u64 ^ ((address >> 64) as u64).rotate_left(29)
}

/// The finaliser of MurmurHash3: every bit of the input moves half the bits of the output.
#[inline]
const fn mix(mut x: u64) -> u64 {
    x ^= x >> 33;
    x = x.wrapping_mul(0xff51_afd7_ed55_8ccd);
    x ^= x >> 33;
    x = x.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    x ^ (x >> 33)
}

/// Decides about one packet. In this order:
///
/// 1. unicast IP in a link broadcast or multicast frame (RFC 1122 section 3.3.6);
/// 2. multicast, which is not routed;
/// 3. destinations that no router forwards to: "this" network, loopback, limited broadcast and
///    240.0.0.0/4 (RFC 1812 section 5.3.7), unspecified and loopback of IPv6;
/// 4. link-local IPv6 (RFC 4291 section 2.5.6); the router's own packets may bear such a source;
/// 5. own addresses and broadcast addresses of connected networks (RFC 2644), which stand in the
///    main table;
/// 6. policy routes, in order;
/// 7. the main table: the longest prefix.
#[inline]
pub(crate) fn decide<R: Recorder>(
    fib: &Fib,
    tables: &Tables,
    steering: Option<&Steering>,
    d: &Descriptor,
    recorder: &mut R,
) -> RouteDecision {
    let decision = match (unroutable(d), steering) {
        (Some(reason), _) => RouteDecision::Drop(reason),
        (None, None) => look_up(fib, tables, d.key.family, d, recorder).unwrap_or(NO_ROUTE),
        (None, Some(steering)) => steer(fib, tables, steering, d, recorder),
    };
    recorder.route(d, decision);
    decision
}

/// [`decide`] about a packet that is [plain](sluice_packet::decode), of which only the table is
/// left, and that has said `leaf`, or [`NO_LEAF`].
#[inline(always)]
pub(crate) fn decide_plain(leaf: Leaf, tables: &Tables, d: &Descriptor) -> RouteDecision {
    debug_assert_eq!(unroutable(d), None, "a plain packet may be routed");
    if leaf == NO_LEAF {
        return NO_ROUTE;
    }
    leaf::decision(leaf, tables, d, &mut NoRecorder).unwrap_or(NO_ROUTE)
}

/// [`decide`] where there are no policy routes, and the table has said `leaf`, or [`NO_LEAF`].
#[inline]
pub(crate) fn decide_by<R: Recorder>(
    leaf: Leaf,
    tables: &Tables,
    d: &Descriptor,
    recorder: &mut R,
) -> RouteDecision {
    let decision = match unroutable(d) {
        Some(reason) => RouteDecision::Drop(reason),
        None if leaf == NO_LEAF => NO_ROUTE,
        None => leaf::decision(leaf, tables, d, recorder).unwrap_or(NO_ROUTE),
    };
    recorder.route(d, decision);
    decision
}

/// [`decide`] about a packet that may be routed, where there are policy routes.
#[inline(never)]
fn steer<R: Recorder>(
    main: &Fib,
    tables: &Tables,
    steering: &Steering,
    d: &Descriptor,
    recorder: &mut R,
) -> RouteDecision {
    let leaf = main.lookup(d.key.family, d.key.dst);
    if !leaf.is_some_and(leaf::is_of_router)
        && let Some(decision) = steering.decide(tables, d, recorder)
    {
        return decision;
    }
    leaf.and_then(|leaf| leaf::decision(leaf, tables, d, recorder)).unwrap_or(NO_ROUTE)
}

const NO_ROUTE: RouteDecision = RouteDecision::Drop(DropReason::NoRoute);

/// What a table says; `None` where it, or the one that it leads to, has no route.
#[inline(always)]
pub(crate) fn look_up<R: Recorder>(
    fib: &Fib,
    tables: &Tables,
    family: Family,
    d: &Descriptor,
    recorder: &mut R,
) -> Option<RouteDecision> {
    leaf::decision(fib.lookup(family, d.key.dst)?, tables, d, recorder)
}

/// Why the packet may not be routed, whatever the table says.
#[inline]
pub(crate) fn unroutable(d: &Descriptor) -> Option<DropReason> {
    let dst = d.key.dst;
    let (multicast, martian) = match d.key.family {
        Family::Inet => {
            let first = (dst >> 24) as u8;
            (first & 0xf0 == 0xe0, first >= 0xf0 || first == 0 || first == 127)
        }
        Family::Inet6 => (dst >> 120 == 0xff, dst <= 1),
    };
    let group = DescriptorFlags::LINK_BROADCAST | DescriptorFlags::LINK_MULTICAST;
    if multicast {
        return Some(DropReason::MulticastRoute);
    }
    if d.flags.intersects(group) && !(martian && d.key.family == Family::Inet) {
        return Some(DropReason::LinkBroadcast);
    }
    if martian {
        return Some(DropReason::DestinationMartian);
    }
    if d.key.family == Family::Inet6 {
        let own = d.flags.contains(DescriptorFlags::LOCAL_ORIGIN);
        if is_link_local(dst) || (is_link_local(d.key.src) && !own) {
            return Some(DropReason::LinkLocal);
        }
    }
    None
}

#[cfg(test)]
mod tests;

//! ROUTE_DECISION in a hook's hands: what the router would do with a packet, and choosing
//! otherwise.
//!
//! A hook AFTER `route` sees the [`Candidate`] and may keep it, choose another next hop or another
//! table, or refuse the packet with a reason ([`Verdict::Drop`](crate::Verdict)). A hook BEFORE
//! `route` that chooses spares the packet the router's own decision. All of it is asked of the
//! generation that handles the burst, and wait-free. The router's own packets come by here, too.
//!
//! What no router may forward, a hook cannot forward either, and what follows is as for every
//! packet: hop limit, MTU, filters and neighbours of the way that was chosen. An ICMP error about
//! it is routed to the packet's sender by itself.

use std::net::IpAddr;

use sluice_packet::descriptor::{ip_of, number_of};
use sluice_packet::{Descriptor, Family};
use sluice_policy::evaluate::may_be_routed;
use sluice_policy::{
    ChosenRoute, DropReason, Event, InterfaceId, NextHopId, NoRecorder, ResolvedNextHop,
    RouteDecision, TableId,
};

use crate::burst::{Burst, Way};
use crate::context::Context;
use crate::packet::Packet;

/// Where a packet would go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Candidate {
    /// The interface that it would leave by.
    pub interface: InterfaceId,
    /// The neighbour that it would be handed to: a gateway, or the destination itself.
    pub next_hop: IpAddr,
    /// The policy's number of the gateway; `None` for a destination on the link that a hook chose.
    pub id: Option<NextHopId>,
}

/// What is kept with a packet whose way a hook has chosen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Choice {
    /// The table, if it was that which was chosen.
    pub table: Option<TableId>,
    /// Whether the router itself was not asked any more.
    pub ahead: bool,
}

/// Why a choice was not taken. The candidate stays as it was.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ChoiceError {
    /// Ways are chosen at ROUTE_DECISION.
    #[error("a way is chosen at ROUTE_DECISION, not at {}: register the hook there", .0.name())]
    Event(Event),
    /// No packet is in the slot.
    #[error("there is no packet in this slot of the burst")]
    NoPacket,
    /// Neither address nor interface.
    #[error("say the next hop's address, its interface, or both")]
    Nothing,
    /// The next hop is of the other IP version.
    #[error("{0} is not of the packet's IP version")]
    Family(IpAddr),
    /// No interface of the instance has the number.
    #[error("the instance has no interface of number {}", .0.0)]
    UnknownInterface(InterfaceId),
    /// No interface of the instance has a network that holds the address.
    #[error("{0} is in no connected network of the instance: say its interface")]
    NotConnected(IpAddr),
    /// The interface's port is down: nothing leaves by it.
    #[error("the port of interface {} has no link", .0.0)]
    Down(InterfaceId),
    /// No route leads to the next hop.
    #[error(
        "no route of the policy leads to {via} by this interface: add one, in a table of its own \
         if nothing else is to use it"
    )]
    UnknownNextHop {
        /// The next hop.
        via: IpAddr,
    },
    /// The instance has no such table.
    #[error("the instance has no table of number {}", .0.0)]
    UnknownTable(TableId),
    /// The table has no route for the packet.
    #[error("the table has no route for the packet")]
    NoRoute,
    /// The table leads to the router itself.
    #[error("the table leads to an own address of the router")]
    Own,
    /// The table refuses the packet, or no router may forward it.
    #[error("{}", .0.help())]
    Refused(DropReason),
}

impl<'a> Context<'a> {
    /// Where the packet would go as it stands: what `route`, or a hook before this one, has
    /// decided. `None` ahead of the decision, and at other events than ROUTE_DECISION.
    #[must_use]
    pub fn candidate(&self, burst: &Burst, slot: usize) -> Option<Candidate> {
        if self.event != Event::RouteDecision || !(burst.live() & burst.decided()).contains(slot) {
            return None;
        }
        let key = &burst.descriptor(slot).key;
        let (number, id) = match burst.way(slot) {
            Way::NextHop(id) => (self.policy.next_hop(id).via.unwrap_or(key.dst), Some(id)),
            Way::OnLink(_) => (key.dst, None),
            _ => return None,
        };
        let next_hop = ip_of(key.family, number);
        Some(Candidate { interface: burst.egress(slot), next_hop, id })
    }

    /// The route that leads to the [candidate](Self::candidate): its prefix, its table and who owns
    /// it, looked up when it is asked for. `None` where there is no candidate, and where a policy
    /// route or a hook has said a next hop.
    #[must_use]
    pub fn candidate_route(&self, burst: &Burst, slot: usize) -> Option<ChosenRoute<'a>> {
        let candidate = self.candidate(burst, slot)?;
        let (policy, d) = (self.policy, burst.descriptor(slot));
        match burst.metadata(slot).choice() {
            Some(choice) => policy.chosen_route_from(choice.table?, d),
            None => {
                let (decision, route) = policy.chosen_route(self.instance, d);
                let is_it = candidate.id.is_some_and(|id| decision == RouteDecision::Forward(id));
                route.filter(|_| is_it)
            }
        }
    }

    /// Sends the packet by another next hop of the policy: the gateway at `via`, by `interface` or
    /// the one in whose network it lies; or, by `interface` alone, to its destination on that link.
    ///
    /// # Errors
    /// [`ChoiceError`].
    pub fn choose_next_hop(
        &self,
        burst: &mut Burst,
        slot: usize,
        via: Option<IpAddr>,
        interface: Option<InterfaceId>,
    ) -> Result<(), ChoiceError> {
        let d = self.undecided(burst, slot)?;
        let family = d.key.family;
        if let Some(id) = interface
            && self.policy.interface(id).is_none_or(|i| i.instance != self.instance.id)
        {
            return Err(ChoiceError::UnknownInterface(id));
        }
        let (way, egress) = match (via, interface) {
            (None, None) => return Err(ChoiceError::Nothing),
            (None, Some(interface)) => (Way::OnLink(interface), interface),
            (Some(via), _) => {
                if via.is_ipv4() != (family == Family::Inet) {
                    return Err(ChoiceError::Family(via));
                }
                let number = number_of(via);
                let interface = interface
                    .or_else(|| self.instance.interface_towards(family, number))
                    .ok_or(ChoiceError::NotConnected(via))?;
                let hop = ResolvedNextHop { interface, via: Some(number), family };
                let id = self.policy.next_hop_id(&hop);
                (Way::NextHop(id.ok_or(ChoiceError::UnknownNextHop { via })?), interface)
            }
        };
        if self.policy.is_down(egress) {
            return Err(ChoiceError::Down(egress));
        }
        choose(burst, slot, way, egress, None);
        Ok(())
    }

    /// Sends the packet where another table of the instance leads it, by the workers' own
    /// evaluator. Policy routes are not asked.
    ///
    /// # Errors
    /// [`ChoiceError`].
    pub fn choose_table(
        &self,
        burst: &mut Burst,
        slot: usize,
        table: TableId,
    ) -> Result<(), ChoiceError> {
        let d = self.undecided(burst, slot)?;
        if self.policy.table(table).is_none_or(|entry| entry.instance != self.instance.id) {
            return Err(ChoiceError::UnknownTable(table));
        }
        match self.instance.look_up_in(table, &d, &mut NoRecorder) {
            Some(RouteDecision::Forward(id)) => {
                let egress = self.policy.next_hop(id).interface;
                choose(burst, slot, Way::NextHop(id), egress, Some(table));
                Ok(())
            }
            Some(RouteDecision::Local(_)) => Err(ChoiceError::Own),
            Some(RouteDecision::Drop(reason)) => Err(ChoiceError::Refused(reason)),
            None => Err(ChoiceError::NoRoute),
        }
    }

    /// The packet whose way may be chosen.
    fn undecided(&self, burst: &Burst, slot: usize) -> Result<Descriptor, ChoiceError> {
        if self.event != Event::RouteDecision {
            return Err(ChoiceError::Event(self.event));
        }
        if !burst.live().contains(slot) {
            return Err(ChoiceError::NoPacket);
        }
        let d = *burst.descriptor(slot);
        may_be_routed(&d).map_err(ChoiceError::Refused)?;
        Ok(d)
    }
}

fn choose(burst: &mut Burst, slot: usize, way: Way, egress: InterfaceId, table: Option<TableId>) {
    let ahead = match burst.metadata(slot).choice() {
        Some(earlier) => earlier.ahead,
        None => !burst.decided().contains(slot),
    };
    burst.metadata_mut(slot).set_choice(Choice { table, ahead });
    burst.set_way(slot, way, egress);
    burst.forget_known(slot);
    burst.set_decided(sluice_packet::Mask::only(slot));
}

impl Packet<'_> {
    /// [`Context::candidate`] of this packet.
    #[must_use]
    pub fn candidate(&self, cx: &Context<'_>) -> Option<Candidate> {
        cx.candidate(self.burst, self.slot)
    }

    /// [`Context::candidate_route`] of this packet.
    #[must_use]
    pub fn candidate_route<'a>(&self, cx: &Context<'a>) -> Option<ChosenRoute<'a>> {
        cx.candidate_route(self.burst, self.slot)
    }

    /// [`Context::choose_next_hop`] for this packet.
    ///
    /// # Errors
    /// [`ChoiceError`].
    pub fn choose_next_hop(
        &mut self,
        cx: &Context<'_>,
        via: Option<IpAddr>,
        interface: Option<InterfaceId>,
    ) -> Result<(), ChoiceError> {
        cx.choose_next_hop(self.burst, self.slot, via, interface)
    }

    /// [`Context::choose_table`] for this packet.
    ///
    /// # Errors
    /// [`ChoiceError`].
    pub fn choose_table(&mut self, cx: &Context<'_>, table: TableId) -> Result<(), ChoiceError> {
        cx.choose_table(self.burst, self.slot, table)
    }
}

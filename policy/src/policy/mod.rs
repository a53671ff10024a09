//! One generation of an appliance's policy: immutable, compiled, shared by all workers.
//!
//! [`Policy::apply`] makes the next generation out of this one; compiling a configuration is
//! `apply` on [`Policy::empty`]. What a delta does not touch is shared with the generation
//! before. A name keeps its number for as long as it exists. [`Policy::with_down`] is the same
//! generation while some ports do not work.

mod apply;
mod chosen;
mod down;
mod error;
mod hooks;
mod hops;
mod limits;
mod links;
mod listing;
mod moved;
mod policy_routes;
mod report;
mod routes;
mod rules;
mod sets;
mod shared;
mod tables;

use std::net::IpAddr;
use std::sync::Arc;

use sluice_flow::Timeouts;
use sluice_flow::limits::Allowance;

pub use chosen::ChosenRoute;
pub use error::{Mistake, PolicyError, Subject, Thing};
use links::Links;
pub(crate) use links::pipeline_field;
pub use listing::{MatchedRoute, RouteInfo};
pub use moved::{Editions, Moved};
pub(crate) use report::{Naming, is_name};
pub(crate) use sets::is_name_of_set;

use crate::digest::Digests;
use crate::filter::{Filter, Stateful};
use crate::hook;
use crate::ids::{InstanceId, InterfaceId, NextHopId, PortId, RuleSlot, TableId};
use crate::instance::Instance;
use crate::interface::Interface;
use crate::model::{
    self, Action, FilterKey, FilterPoint, LoadedHook, MacAddress, Name, Position, State,
};
use crate::route::{ResolvedNextHop, Tables};

/// A port and its number.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PortEntry {
    /// Its number.
    pub id: PortId,
    /// Its name.
    pub name: Name,
    /// What it should be.
    pub spec: model::Port,
}

/// A table of routes and its number.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TableEntry {
    /// Its number.
    pub id: TableId,
    /// The instance that it belongs to.
    pub instance: InstanceId,
    /// Its name.
    pub name: Name,
}

/// A rule, or a filter's default action, and the place of its counters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RuleInfo<'a> {
    /// The instance whose filter it is in.
    pub instance: &'a Name,
    /// The filter it is in.
    pub point: FilterPoint,
    /// Its name; `default` for the default action.
    pub name: &'a str,
    /// What it does.
    pub action: Action,
    /// Place of its counters.
    pub slot: RuleSlot,
    /// The rule; `None` for the default action, and for what a stateful filter does by itself.
    pub rule: Option<&'a model::Rule>,
    /// Where it was configured; `None` for the default action.
    pub position: Option<&'a Position>,
}

impl RuleInfo<'_> {
    /// What it matches where it is not a rule that was written: `established, related` and so on.
    pub fn implied(&self) -> Option<String> {
        let implied = Stateful::ALL.into_iter().find(|implied| implied.name() == self.name)?;
        let names: Vec<&str> = implied.states().iter().map(|state| state.name()).collect();
        Some(names.join(", "))
    }
}

/// A policy route and the place of its counters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PolicyRouteInfo<'a> {
    /// The instance that it is of.
    pub instance: &'a Name,
    /// Place of its counters.
    pub slot: RuleSlot,
    /// What was configured.
    pub route: &'a model::PolicyRoute,
    /// Whether it has a way out now, for some packet of either IP version.
    pub reachable: bool,
}

/// One generation of policy.
#[derive(Clone, Debug)]
pub struct Policy {
    generation: u64,
    edition: u64,
    moved: Editions,
    state: Arc<State>,
    digests: Digests,
    links: Links,
    tables: Arc<Tables>,
    limits: Arc<[(RuleSlot, Allowance)]>,
    timeouts: Timeouts,
    /// Owners of routes that users made, of this policy or one that it was made from.
    owners: Arc<[Name]>,
}

impl Policy {
    /// Its number: that of the commit that made it.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// What was asked for.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The digests of what was asked for.
    pub fn digests(&self) -> Digests {
        self.digests
    }

    /// What the editions that led here have changed, and when.
    #[inline]
    pub fn moved(&self) -> &Editions {
        &self.moved
    }

    /// A port by number.
    #[inline]
    pub fn port(&self, id: PortId) -> Option<&PortEntry> {
        self.links.ports.get(id.index())?.as_ref()
    }

    /// All ports, by number.
    pub fn ports(&self) -> impl Iterator<Item = &PortEntry> {
        self.links.ports.iter().flatten()
    }

    /// A port by name.
    pub fn port_named(&self, name: &str) -> Option<&PortEntry> {
        self.ports().find(|port| &*port.name == name)
    }

    /// An interface by number.
    #[inline]
    pub fn interface(&self, id: InterfaceId) -> Option<&Interface> {
        self.links.interfaces.get(id.index())?.as_ref()
    }

    /// The smallest MTU of an interface: what is no longer fits them all.
    #[inline]
    pub fn least_mtu(&self) -> u16 {
        self.links.least_mtu
    }

    /// All interfaces, by number.
    pub fn interfaces(&self) -> impl Iterator<Item = &Interface> {
        self.links.interfaces.iter().flatten()
    }

    /// An interface by name.
    pub fn interface_named(&self, name: &str) -> Option<&Interface> {
        self.interface(*self.links.by_name.get(name)?)
    }

    /// The interface of a VLAN on a port; VLAN 0 is untagged.
    #[inline]
    pub fn interface_on(&self, port: PortId, vlan: u16) -> Option<&Interface> {
        let id = self.links.by_vlan.get(port.index())?.get(usize::from(vlan))?;
        self.interface(*id)
    }

    /// An instance by number.
    #[inline]
    pub fn instance(&self, id: InstanceId) -> Option<&Instance> {
        self.links.instances.get(id.index())?.as_ref()
    }

    /// All instances, by number.
    pub fn instances(&self) -> impl Iterator<Item = &Instance> {
        self.links.instances.iter().flatten()
    }

    /// An instance by name.
    pub fn instance_named(&self, name: &str) -> Option<&Instance> {
        self.instances().find(|instance| &*instance.name == name)
    }

    /// A table by number.
    pub fn table(&self, id: TableId) -> Option<&TableEntry> {
        self.links.tables.get(id.index())?.as_ref()
    }

    /// All tables of all instances, by number.
    pub fn tables(&self) -> impl Iterator<Item = &TableEntry> {
        self.links.tables.iter().flatten()
    }

    /// A next hop that a [`RouteDecision`](crate::RouteDecision) of this policy names. A number
    /// of another policy may yield another next hop, or one by interface 0, which does not exist.
    #[inline]
    pub fn next_hop(&self, id: NextHopId) -> &ResolvedNextHop {
        self.tables.hops.get(id).unwrap_or(&ResolvedNextHop::NOWHERE)
    }

    /// The number of a next hop of this policy: one that a route leads to. One that routes of an
    /// earlier generation led to may be found too.
    pub fn next_hop_id(&self, hop: &ResolvedNextHop) -> Option<NextHopId> {
        self.tables.hops.find(hop)
    }

    /// All rules and default actions of all filters, those of a filter in order: what it does by
    /// itself where it is stateful, its rules, its default action.
    pub fn rules(&self) -> impl Iterator<Item = RuleInfo<'_>> {
        self.state.filters.iter().flat_map(|(key, spec)| {
            let compiled = self.filter(key);
            compiled.into_iter().flat_map(move |filter| rules_of(key, spec, filter))
        })
    }

    /// What the rule whose counters are at `slot` allows of the connections that it accepts; `None`
    /// where its [decision](crate::FilterDecision::limited) is not limited.
    pub fn rule_limit(&self, slot: RuleSlot) -> Option<Allowance> {
        let place = self.limits.binary_search_by_key(&slot, |(slot, _)| *slot).ok()?;
        Some(self.limits[place].1)
    }

    /// For how long connections that are silent are remembered.
    #[inline]
    pub fn timeouts(&self) -> &Timeouts {
        &self.timeouts
    }

    /// All policy routes, those of an instance in order.
    pub fn policy_routes(&self) -> impl Iterator<Item = PolicyRouteInfo<'_>> {
        self.state.policy_routes.iter().flat_map(|(instance, routes)| {
            let compiled = self.instance_named(instance).and_then(|i| i.steering.as_deref());
            compiled.into_iter().flat_map(move |steering| {
                routes.iter().zip(steering.slots()).map(move |(route, (slot, reachable))| {
                    PolicyRouteInfo { instance, slot, route, reachable }
                })
            })
        })
    }

    /// All hooks that are loaded, in the order of their registration.
    pub fn hooks(&self) -> impl Iterator<Item = (&Name, &LoadedHook)> {
        hook::in_order(&self.state.hooks)
    }

    /// The policy route whose counters are at `slot`.
    pub fn policy_route_at(&self, slot: RuleSlot) -> Option<PolicyRouteInfo<'_>> {
        self.policy_routes().find(|route| route.slot == slot)
    }

    /// The rule, or default action, whose counters are at `slot`.
    pub fn rule_at(&self, slot: RuleSlot) -> Option<RuleInfo<'_>> {
        self.rules().find(|rule| rule.slot == slot)
    }

    /// One more than the highest rule slot in use: how many the statistics segment must have.
    pub fn rule_slots(&self) -> u32 {
        let rules = self.rules().map(|rule| rule.slot);
        let slots = rules.chain(self.policy_routes().map(|route| route.slot));
        slots.map(|slot| u32::from(slot.0)).max().unwrap_or(0) + 1
    }

    /// All static neighbours.
    pub fn static_neighbours(&self) -> impl Iterator<Item = (InterfaceId, IpAddr, MacAddress)> {
        self.state.neighbours.iter().filter_map(|(key, &mac)| {
            Some((self.interface_named(&key.interface)?.id, key.address, mac))
        })
    }

    /// The compiled filter of a key.
    fn filter(&self, key: &FilterKey) -> Option<&Filter> {
        self.instance_named(&key.instance)?.filters[key.point as usize].as_deref()
    }
}

fn rules_of<'a>(
    key: &'a FilterKey,
    spec: &'a model::Filter,
    filter: &'a Filter,
) -> impl Iterator<Item = RuleInfo<'a>> {
    let (instance, point) = (&key.instance, key.point);
    let of = move |name, action, slot| {
        let (rule, position) = (None, None);
        RuleInfo { instance, point, name, action, slot, rule, position }
    };
    let stateful = filter.stateful_slots().map(move |(implied, slot)| {
        let position = spec.stateful.as_ref();
        RuleInfo { position, ..of(implied.name(), implied.action(), slot) }
    });
    let rules = spec.rules.iter().zip(filter.rule_slots()).map(move |(rule, slot)| {
        let position = Some(&rule.position);
        RuleInfo { rule: Some(rule), position, ..of(&rule.name, rule.action, slot) }
    });
    let default = of("default", spec.default, filter.default_slot());
    stateful.chain(rules).chain(std::iter::once(default))
}

#[cfg(test)]
pub(crate) mod tests;

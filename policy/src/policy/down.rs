//! A policy while some of its ports do not work: routes by them are withdrawn.
//!
//! What was asked for stays as it is, and so does the generation: a port that is down is no
//! change of policy. What changes are the tables that packets are looked up in, and the
//! [edition](Policy::edition). The control process applies the same ports to the same policy and
//! has the same tables.

use std::collections::BTreeSet;

use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::Policy;
use super::hops::{self, Via};
use super::tables::{Prefixes, Stale, fill_tables, is_crowded, prefixes_by};
use crate::ids::{InterfaceId, PortId};
use crate::instance::{Connected, Instance};
use crate::model::NextHop;
use crate::route::{ResolvedNextHop, Tables};

impl Policy {
    /// The same policy with exactly these ports down: next hops by their interfaces are not used,
    /// a route is spread over those that are left, and one that is left without any gives way to
    /// the next owner's, then to shorter prefixes. Own addresses stay.
    ///
    /// When ports go down it costs as much as looking over the prefixes of the tables, eight bytes each,
    /// and filling in those that change; when they come back, as much as looking over all routes.
    #[must_use]
    pub fn with_down(&self, down: impl IntoIterator<Item = PortId>) -> Policy {
        let down: BTreeSet<PortId> =
            down.into_iter().filter(|&id| self.port(id).is_some()).collect();
        let mut policy = self.clone();
        if down == self.links.down {
            return policy;
        }
        let changed: BTreeSet<PortId> =
            down.symmetric_difference(&self.links.down).copied().collect();
        // There is one number between: that of the first step.
        policy.edition += 2;
        policy.moved = self.moved.next(policy.edition);
        policy.links.down = down;
        let resolved = hops::resolve_all(&self.state, &mut policy.links);
        let stale = match is_crowded(&self.tables, &self.state) {
            true => Stale::All,
            false => Stale::These(
                self.prefixes_lost(&policy, &resolved)
                    .unwrap_or_else(|| self.prefixes_by(&changed, &resolved)),
            ),
        };
        policy.tables = fill_tables(
            &self.tables,
            &stale,
            true,
            &self.state,
            &mut policy.links,
            &mut policy.moved,
        );
        policy
    }

    /// The first step towards [`with_down`](Self::with_down) of more ports, if it moves anything:
    /// where there are several next hops, those by ports that are down give up their flows to the
    /// others, in place. It costs as much as there are such groups, however many routes lead to them.
    /// All else stays as it is: nothing but packets may be looked up in what this yields, and the
    /// second step starts from this policy, not from that.
    #[must_use]
    pub fn sparing(&self, down: impl IntoIterator<Item = PortId>) -> Option<Policy> {
        let down: BTreeSet<PortId> =
            down.into_iter().filter(|port| !self.links.down.contains(port)).collect();
        let is_down = |hop: &ResolvedNextHop| {
            self.links.interface(hop.interface).is_some_and(|i| down.contains(&i.port))
        };
        let hops = self.tables.hops.sparing(is_down, |hop| self.links.member_key(hop))?;
        let tables = Arc::new(Tables { fibs: self.tables.fibs.clone(), hops });
        let mut policy = self.clone();
        policy.edition += 1;
        policy.moved = self.moved.next(policy.edition);
        policy.moved.steering();
        for all in [IpNet::V4(Ipv4Net::default()), IpNet::V6(Ipv6Net::default())] {
            policy.moved.route(all);
        }
        for instance in policy.links.instances.iter_mut().flatten() {
            instance.tables = Arc::clone(&tables);
        }
        policy.tables = tables;
        Some(policy)
    }

    /// The ports that are down.
    pub fn down(&self) -> &BTreeSet<PortId> {
        &self.links.down
    }

    /// Whether some port is down.
    #[inline]
    pub fn has_down(&self) -> bool {
        !self.links.down.is_empty()
    }

    /// Whether an interface is on a port that is down.
    pub fn is_down(&self, interface: InterfaceId) -> bool {
        self.links.is_down(interface)
    }

    /// The same policy for other hooks: what flows were told while hooks looked on is
    /// [said to have moved](super::Moved::HOOKS), and nothing else. It is the same generation of
    /// another [edition](Self::edition).
    #[must_use]
    pub fn with_hooks_moved(&self) -> Policy {
        let mut policy = self.clone();
        policy.edition += 1;
        policy.moved = self.moved.next(policy.edition);
        policy.moved.hooks();
        policy
    }

    /// A number that no two policies share of which one was made from the other: numbers of next
    /// hops and decisions of one mean nothing to another. Not known outside the process.
    #[inline]
    pub fn edition(&self) -> u64 {
        self.edition
    }

    /// The prefixes, by table, whose way `next`, in which more ports are down, has not: `None` where
    /// something else may be in use there than what is left of that. `resolved` are the addresses that
    /// do not resolve as they did.
    ///
    /// What is withdrawn was in use, so that the tables know all that there is to find. Routes behind it
    /// are asked for prefix by prefix.
    fn prefixes_lost(&self, next: &Policy, resolved: &BTreeSet<Via>) -> Option<Prefixes> {
        if !next.links.down.is_superset(&self.links.down) {
            return None;
        }
        let lost = hops::lost(resolved, &self.links, &next.links)?;
        let is_lost =
            |hop: &ResolvedNextHop| next.links.is_down(hop.interface) || lost.contains(hop);
        let leads = self.tables.hops.leads(is_lost, hops::MAX_HOPS);
        let tables = self.links.all_tables().map(|(table, _)| table.id);
        let prefixes = tables.flat_map(|table| {
            let prefixes = self.tables.fib(table).map(|fib| fib.prefixes_to(&leads));
            prefixes.into_iter().flatten().map(move |prefix| (table, prefix))
        });
        Some(prefixes.collect())
    }

    /// The prefixes, by table, for which some route, whether in use or not, leads to one of these
    /// ports, or to an address that does not resolve as it did.
    fn prefixes_by(&self, ports: &BTreeSet<PortId>, resolved: &BTreeSet<Via>) -> Prefixes {
        let there = |hop: &NextHop, family, instance: &Instance| match hops::leads(
            hop,
            family,
            instance,
            &self.links,
        ) {
            Ok(hops::Leads::OnLink(hop)) => {
                let interface = self.links.interface(hop.interface);
                interface.is_some_and(|interface| ports.contains(&interface.port))
            }
            Ok(hops::Leads::Recursive(via)) => resolved.contains(&(via, instance.id)),
            Err(_) => false,
        };
        let mut prefixes = prefixes_by(&self.state, &self.links, there);
        for instance in self.instances() {
            for (&prefix, connected) in instance.connected.iter() {
                if let Connected::Network(id) = connected
                    && self.interface(*id).is_some_and(|i| ports.contains(&i.port))
                {
                    prefixes.push((instance.main, prefix));
                }
            }
        }
        prefixes.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::evaluate::{NoRecorder, RouteDecision};
    use crate::model::{Owner, State, Target};
    use crate::policy::tests::{packet, policy, state};

    const BASE: &str = "
ports:
  a: { device: net_null0, addresses: 10.1.0.1/24 }
  b: { device: net_null1, addresses: [10.2.0.1/24, 'fd00:2::1/64'] }
  c: { device: net_null2, vlans: { 5: { addresses: 10.3.0.1/24 } } }
routes:
  - { to: 0.0.0.0/0, via: 10.1.0.9 }
  - { to: 10.9.0.0/16, via: [10.1.0.2, 10.2.0.2, 10.3.0.2] }
  - { to: 10.9.9.0/24, via: 10.3.0.2 }
  - { to: 10.8.0.0/16, reject: true }
  - { to: 10.8.8.0/24, via: 10.2.0.2 }
  - { to: 'fd09::/16', via: 'fd00:2::2' }
  - { to: 10.20.0.0/16, via: 10.9.9.9 }
  - { to: 10.21.0.0/16, via: [10.20.0.1, 10.3.0.3] }
  - { to: 10.20.0.0/24, via: 10.8.8.8 }
  - { to: 10.22.0.0/16, via: 10.21.1.1 }
";

    fn ports(policy: &Policy, names: &str) -> Vec<PortId> {
        let named = |name| policy.port_named(name).unwrap().id;
        names.split_whitespace().map(named).collect()
    }

    /// The interfaces that flows to `dst` leave by, or why they are dropped.
    fn ways(policy: &Policy, dst: &str) -> BTreeSet<String> {
        let src = if dst.contains(':') { "2001:db8::1" } else { "192.0.2.1" };
        let instance = policy.instance_named("default").unwrap();
        let way = |port| {
            let mut d = packet(src, dst);
            d.key.src_port = port;
            match instance.route(&d, &mut NoRecorder) {
                RouteDecision::Forward(hop) => {
                    policy.interface(policy.next_hop(hop).interface).unwrap().name.to_string()
                }
                RouteDecision::Local(_) => "local".into(),
                RouteDecision::Drop(reason) => reason.name().into(),
            }
        };
        (0..64).map(way).collect()
    }

    fn is(ways: &BTreeSet<String>, expected: &str) -> bool {
        ways.iter().map(String::as_str).eq(expected.split_whitespace())
    }

    #[test]
    fn routes_by_ports_that_are_down_are_withdrawn() {
        let all = policy(BASE);
        let check = |down: &str, expected: &[(&str, &str)]| {
            let policy = all.with_down(ports(&all, down));
            for (dst, expected) in expected {
                let ways = ways(&policy, dst);
                assert!(is(&ways, expected), "{down} down, {dst}: {ways:?}");
            }
            policy
        };
        check("", &[("10.9.1.1", "a b c.5"), ("10.9.9.1", "c.5"), ("fd09::1", "b")]);
        // Members of a group are left out; a route without any gives way to a shorter prefix.
        check("b", &[("10.9.1.1", "a c.5"), ("10.8.8.1", "reject-route"), ("fd09::1", "no-route")]);
        check("c", &[("10.9.1.1", "a b"), ("10.9.9.1", "a b")]);
        check("b c", &[("10.9.1.1", "a"), ("10.9.9.1", "a"), ("8.8.8.8", "a")]);
        // So do connected networks; own addresses stay.
        check("c", &[("10.3.0.7", "a"), ("10.3.0.1", "local")]);
        let none = check("a b c", &[("10.9.9.1", "no-route"), ("10.1.0.1", "local")]);
        assert_eq!((none.generation(), none.digests()), (all.generation(), all.digests()));
        assert!(none.edition() != all.edition() && none.down().len() == 3);
        // And everything comes back.
        let back = none.with_down([]);
        assert!(is(&ways(&back, "10.9.1.1"), "a b c.5") && is(&ways(&back, "10.3.0.7"), "c.5"));
        assert_eq!(back.with_down([PortId(77)]).edition(), back.edition());
    }

    #[test]
    fn several_next_hops_are_spared_first() {
        let all = policy(BASE);
        let step = all.sparing(ports(&all, "b")).unwrap();
        assert!(is(&ways(&step, "10.9.1.1"), "a c.5"));
        // What has no other way out is left to the second step.
        assert!(is(&ways(&step, "10.8.8.1"), "b") && is(&ways(&step, "10.9.9.1"), "c.5"));
        let down = all.with_down(ports(&all, "b"));
        let instance = |policy: &Policy| policy.instance_named("default").unwrap().clone();
        for port in 0..256 {
            let mut d = packet("192.0.2.1", "10.9.1.1");
            d.key.src_port = port;
            let way = |policy: &Policy| match instance(policy).route(&d, &mut NoRecorder) {
                RouteDecision::Forward(hop) => *policy.next_hop(hop),
                other => panic!("{other:?}"),
            };
            assert_eq!(way(&step), way(&down), "a flow moves once");
            let before = way(&all);
            if before.interface != all.interface_named("b").unwrap().id {
                assert_eq!(way(&step), before, "only its own flows");
            }
        }
        assert!(step.edition() != all.edition() && step.edition() != down.edition());
        assert!(all.sparing(ports(&all, "")).is_none());
        assert!(all.sparing(ports(&all, "a b c")).is_none(), "there is no other way");
        assert!(down.sparing(ports(&all, "b")).is_none(), "nothing is new");
    }

    #[test]
    fn the_next_owner_is_revealed_and_reported() {
        let mut state = state(BASE);
        let (key, route) =
            state.routes.iter().find(|(key, _)| key.prefix.to_string() == "10.9.9.0/24").unwrap();
        let (mut key, mut route) = (key.clone(), route.clone());
        key.owner = Owner::Cli;
        let hop = NextHop { via: Some("10.2.0.3".parse().unwrap()), interface: None, weight: 1 };
        route.target = Target::NextHops([hop].into());
        state.routes.insert(key, route);
        let all = Policy::empty().apply(&State::default().difference(&state)).unwrap();
        let in_use = |policy: &Policy| {
            let active: Vec<_> = policy
                .routes()
                .filter(|r| r.active && r.prefix.to_string() == "10.9.9.0/24")
                .map(|r| r.owner)
                .collect();
            let instance = policy.instance_named("default").unwrap();
            let matched = policy.route_to(instance, "10.9.9.1".parse().unwrap()).unwrap();
            assert!(active.is_empty() || active == [matched.owner.clone()]);
            (matched.prefix.to_string(), matched.owner)
        };
        let of = |down| in_use(&all.with_down(ports(&all, down)));
        assert_eq!(of(""), ("10.9.9.0/24".into(), Owner::Cli));
        assert_eq!(of("b"), ("10.9.9.0/24".into(), Owner::Static));
        assert_eq!(of("b c"), ("10.9.0.0/16".into(), Owner::Static));
        let connected = all.with_down(ports(&all, "c"));
        let connected = connected.routes().find(|r| r.prefix.to_string() == "10.3.0.0/24").unwrap();
        assert_eq!((connected.owner, connected.active), (Owner::Connected, false));
    }

    #[test]
    fn commits_keep_what_is_down() {
        let all = policy(BASE);
        let down = all.with_down(ports(&all, "b c"));
        let more = BASE.replace("8.8.0/24, via: 10.2.0.2", "8.8.0/24, via: [10.2.0.2, 10.1.0.2]");
        let next = down.apply(&down.state().difference(&state(&more))).unwrap();
        assert!(is(&ways(&next, "10.8.8.1"), "a") && is(&ways(&next, "10.9.1.1"), "a"));
        // One that is configured away and comes again is another.
        let without = "ports: { a: { device: net_null0, addresses: 10.1.0.1/24 } }";
        let gone = next.apply(&next.state().difference(&state(without))).unwrap();
        assert!(gone.down().is_empty());
        let again = gone.apply(&gone.state().difference(&state(BASE))).unwrap();
        assert!(is(&ways(&again, "10.9.1.1"), "a b c.5"));
    }

    proptest! {
        /// However a policy got its ports down and its routes set, it is as if made at once.
        #[test]
        fn the_order_of_events_does_not_matter(
            steps in prop::collection::vec((0..8_u16, prop::collection::vec(any::<bool>(), 10)), 1..6),
        ) {
            let whole = state(BASE);
            let keys: Vec<_> = whole.routes.keys().cloned().collect();
            let mut policy = policy(BASE);
            for (mask, present) in &steps {
                let set = |mask: u16| (0..3).filter(move |bit| mask >> bit & 1 == 1).map(PortId);
                let mut to = whole.clone();
                for (key, present) in keys.iter().zip(present) {
                    if !present {
                        to.routes.remove(key);
                    }
                }
                let delta = policy.state().difference(&to);
                let generation = policy.generation() + 1;
                policy = policy.with_down(set(*mask)).apply_as(generation, &delta).unwrap();
                let fresh = State::default().difference(&to);
                let fresh = Policy::empty().apply_as(1, &fresh).unwrap();
                let fresh = fresh.with_down(set(*mask));
                let direct = ["10.9.1.1", "10.9.9.1", "10.8.8.1", "10.3.0.7", "8.8.8.8", "fd09::1"];
                let resolved = ["10.20.1.1", "10.20.0.1", "10.21.1.1", "10.22.1.1"];
                for dst in direct.into_iter().chain(resolved) {
                    prop_assert_eq!(ways(&policy, dst), ways(&fresh, dst));
                    let matched = |p: &Policy| {
                        p.route_to(p.instance_named("default").unwrap(), dst.parse().unwrap())
                    };
                    prop_assert_eq!(matched(&policy), matched(&fresh));
                }
                prop_assert_eq!(policy.digests(), to.digests());
            }
        }
    }
}
